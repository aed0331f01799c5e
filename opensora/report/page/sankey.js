"use strict";
/* The way of the footage: a band that loses a branch for every reason, laid out by d3-sankey. */
report.sankey = function (stages, pick) {
  const hasSeconds = stages.some((stage) => stage.seconds_in > 0);
  const [size, amount] = hasSeconds
    ? [(rows, seconds) => seconds, (rows, seconds) => `${report.format.seconds(seconds)} · ${report.format.counted(rows, "row")}`]
    : [(rows) => rows, (rows) => `${report.format.counted(rows, "row")}`];
  const nodes = stages.map((stage) => ({ id: stage.name, name: stage.name, text: amount(stage.rows_in, stage.seconds_in), kind: "stage" }));
  const last = stages.at(-1);
  nodes.push({ id: "manifest", name: "manifest", text: amount(last.rows_kept, last.seconds_kept), kind: "stage" });
  const links = [];
  const least = Math.max(...stages.map((stage) => size(stage.rows_in, stage.seconds_in)), 1) / 500;
  stages.forEach((stage, k) => {
    links.push({ source: stage.name, target: k + 1 < stages.length ? stages[k + 1].name : "manifest", value: Math.max(size(stage.rows_kept, stage.seconds_kept), least), kind: "kept" });
    for (const loss of stage.losses) {
      const id = `${stage.name}\n${loss.reason}`;
      nodes.push({ id, name: loss.reason, text: amount(loss.rows, loss.seconds), kind: "lost", stage: stage.name });
      links.push({ source: stage.name, target: id, value: Math.max(size(loss.rows, loss.seconds), least), kind: "lost" });
    }
  });
  const losses = Math.max(...stages.map((stage) => stage.losses.length), 0);
  const [width, height] = [Math.max(900, 168 * (stages.length + 1)), 150 + 44 * losses];
  const layout = d3.sankey().nodeId((node) => node.id).nodeAlign(d3.sankeyLeft).nodeWidth(8).nodePadding(34)
    .nodeSort((a, b) => (a.kind === b.kind ? b.value - a.value : a.kind === "stage" ? -1 : 1))
    .extent([[4, 26], [width - 130, height - 16]]);
  const graph = layout({ nodes, links });
  const line = d3.sankeyLinkHorizontal();
  const drawn = [
    graph.links.map((link) => report.svg("path", { d: line(link), class: `flow ${link.kind}`, "stroke-width": Math.max(1, link.width) })),
    graph.nodes.map((node) => {
      const box = report.svg("rect", { class: `node ${node.kind}`, x: node.x0, y: node.y0, width: node.x1 - node.x0, height: Math.max(1, node.y1 - node.y0) });
      const isAbove = node.kind === "stage";
      const [x, y] = isAbove ? [node.x0, node.y0 - 17] : [node.x1 + 6, (node.y0 + node.y1) / 2 - 2];
      const name = report.svg("text", { x, y, class: "name" }, report.format.words(node.name));
      const text = report.svg("text", { x, y: y + 13, class: "amount" }, node.text);
      const open = () => pick(node.stage, node.name);
      const press = (event) => {
        if (!["Enter", " "].includes(event.key)) return;
        event.preventDefault(); // a space would scroll
        open();
      };
      const go = node.kind === "lost" ? { class: "reason", role: "button", tabindex: "0", on: { click: open, keydown: press } } : {};
      return report.svg("g", go, box, name, text, report.svg("title", {}, `${report.format.words(node.name)}: ${node.text}`));
    }),
  ];
  const drawing = report.svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "sankey", role: "group", "aria-label": "Footage kept and lost at each stage; the table below says the same" }, drawn);
  return report.el("div", { class: "scroll card", tabindex: "0", role: "region", "aria-label": "Flow of the footage" }, drawing);
};
