"use strict";
/* What was measured: numbers with intervals, differences between checkpoints, values of samples. */
(function () {
  const BINS = 12;
  const NOTES = {
    floor: "Floor, a mark on the scale: the distance of validation clips from other validation clips, which samples of a perfect model would have at the same number of videos.",
    score: "VBench's score is its own number of a dimension; for some it is on another scale than the values of videos, or leaves some of them out.",
  };
  const number = (value) => report.format.number(value);
  const show = (value, kind) => (kind === "accuracy" ? report.format.percent(value) : number(value));
  const between = (low, high, kind) => (low === null || high === null ? "no interval" : `${show(low, kind)} to ${show(high, kind)}`);

  /* A number with its interval, and its floor, on the scale of its row, whose ends are said. */
  function whisker(cell, low, high, kind) {
    const place = (value) => 4 + (152 * (value - low)) / (high - low || 1);
    const end = (x, value, anchor) => report.svg("text", { x, y: 24, "text-anchor": anchor, class: "end" }, show(value, kind));
    const line = cell.low === null ? null : report.svg("line", { x1: place(cell.low), x2: place(cell.high), y1: 8, y2: 8, class: "whisker" });
    const floor = "floor" in cell && report.svg("line", { x1: place(cell.floor), x2: place(cell.floor), y1: 2, y2: 14, class: "floor" });
    return report.svg("svg", { width: 160, height: 26, viewBox: "0 0 160 26", "aria-hidden": "true", class: "interval" },
      report.svg("line", { x1: 4, x2: 156, y1: 8, y2: 8, class: "scale" }), line, floor,
      report.svg("circle", { cx: place(cell.value), cy: 8, r: 3.5, class: "value" }),
      end(0, low, "start"), end(160, high, "end"));
  }

  function numbers(points) {
    const rows = report.data.evaluation.rows.map((row) => {
      const cells = points.map((point) => row.cells[report.data.evaluation.points.indexOf(point)]);
      if (!cells.some(Boolean)) return null;
      const [low, high] = row.scale;
      const line = { what: [report.format.words(row.metric), report.format.words(row.part)].filter(Boolean).join(": ") };
      cells.forEach((cell, k) => {
        line[`v${k}`] = cell ? cell.value : null;
        line[`cell${k}`] = cell && { ...cell, kind: row.kind, low, high, own: cell };
      });
      return line;
    }).filter(Boolean);
    const columns = [{ key: "what", title: "metric" }, ...points.map((point, k) => ({ key: `v${k}`, title: point, kind: "number", cell: (row) => cellOf(row[`cell${k}`]) }))];
    const cells = rows.flatMap((row) => points.map((_, k) => row[`cell${k}`])).filter(Boolean);
    const notes = Object.keys(NOTES).filter((name) => cells.some((cell) => name in cell));
    return [report.table({ caption: "Means and shares, each with its 95 % interval on the scale of its row", columns, rows }),
      notes.map((name) => report.el("p", { class: "note" }, NOTES[name]))];
  }

  function cellOf(cell) {
    if (!cell) return "–";
    const beside = ["chance", "shuffled"].filter((name) => name in cell).map((name) => `${name} ${show(cell[name], cell.kind)}`);
    const small = [between(cell.own.low, cell.own.high, cell.kind), cell.n === null || cell.n === undefined ? "" : `n ${number(cell.n)}`, ...beside];
    return report.el("div", { class: "measured" }, report.el("strong", {}, show(cell.value, cell.kind)),
      whisker(cell.own, cell.low, cell.high, cell.kind), report.el("small", {}, small.filter(Boolean).join(", ")),
      "floor" in cell ? report.el("small", {}, `floor ${number(cell.floor)} (n ${number(cell.floor_n)})`) : null,
      "score" in cell ? report.el("small", {}, `VBench's score ${number(cell.score)}`) : null);
  }

  /* What a difference says: nothing, a direction, or whether that is to the good. */
  function verdict({ is_noise: isNoise, mean, better }) {
    if (isNoise) return { text: "within noise", kind: "" };
    if (!better) return { text: mean > 0 ? "rises" : "falls", kind: "marked" };
    return mean > 0 === (better === "higher") ? { text: "better", kind: "good" } : { text: "worse", kind: "bad" };
  }

  function differences(points) {
    const lines = report.data.evaluation.differences.filter((line) => points.includes(line.before) && points.includes(line.after));
    if (!lines.length) return [];
    const most = report.reach(lines);
    const rows = lines.map((line) => ({ ...line, name: report.format.words(line.metric), verdict: verdict(line).text, kind: verdict(line).kind }));
    const drawn = (row) => report.el("div", { class: "measured" }, report.el("strong", {}, number(row.mean)),
      report.around(row, most[row.metric]), report.el("small", {}, between(row.low, row.high)));
    const mark = (row) => report.el("span", { class: `chip ${row.kind}` }, row.verdict);
    return [
      report.el("h3", {}, "Differences", report.el("small", {}, "after minus before, of equal prompts and seeds")),
      report.el("div", { class: "card" }, report.table({
        caption: "Differences between checkpoints, marked where their interval over prompts leaves out zero",
        rows,
        columns: [
          { key: "name", title: "metric" }, { key: "before", title: "before" }, { key: "after", title: "after" },
          { key: "mean", title: "difference, 95 % interval", kind: "number", cell: drawn },
          { key: "prompts", title: "prompts", kind: "number" }, { key: "samples", title: "samples", kind: "number" },
          { key: "verdict", title: "verdict", cell: mark },
        ],
      }), report.el("p", { class: "note" }, "Whole prompts are drawn anew 2,000 times for an interval. Of twenty differences that are nothing but noise one leaves out zero by chance.")),
    ];
  }

  /* Values of samples in bins; a bar leads to its samples. */
  function histogram(metric, samples) {
    const values = samples.map((sample) => sample.values[metric]).filter((value) => value !== undefined);
    if (!values.length) return null;
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const distinct = [...new Set(values)].sort((a, b) => a - b);
    const isFew = distinct.length === 1 || distinct.length <= Math.min(BINS, values.length / 2);
    const bins = Math.min(BINS, Math.ceil(Math.log2(values.length)) + 1); // Sturges 1926
    const edges = isFew ? distinct : Array.from({ length: bins + 1 }, (_, k) => (k === bins ? high : low + ((high - low) * k) / bins));
    const bars = (isFew ? distinct : edges.slice(0, -1)).map((from, k) => {
      const to = isFew ? from : edges[k + 1];
      const inside = (value) => value >= from && (isFew || k === bins - 1 ? value <= to : value < to);
      const held = values.filter(inside);
      const count = held.length;
      // the filter keeps its bounds: those of the bin could keep one of its neighbour
      const changes = { [`low.${metric}`]: Math.min(...held), [`high.${metric}`]: Math.max(...held), "gallery.point": "all" };
      return { label: isFew ? number(from) : `${number(from)}–${number(to)}`, value: count, go: count ? () => report.state.set(changes, { push: true, section: "gallery" }) : null };
    });
    return report.bars(`${report.format.words(metric)}, samples`, bars);
  }

  function raw(samples) {
    const { metrics } = report.data.gallery;
    const open = (row) => report.el("a", { href: report.state.link("gallery", { "gallery.open": row.name }) }, row.id);
    const rows = samples.map((sample) => ({ id: sample.id, name: report.sample.name(sample), at: report.sample.point(sample).name, prompt: sample.prompt, ...Object.fromEntries(metrics.map((metric) => [`m.${metric}`, sample.values[metric] ?? null])) }));
    return report.table({
      caption: "Values of single samples", rows, limit: 50,
      columns: [{ key: "id", title: "sample", cell: open }, { key: "at", title: "checkpoint" }, { key: "prompt", title: "prompt" },
        ...metrics.map((metric) => ({ key: `m.${metric}`, title: report.format.words(metric), kind: "number" }))],
    });
  }

  function confusion(table) {
    const rows = table.expected.map((name, k) => ({ name, ...Object.fromEntries(table.detected.map((_, j) => [`d${j}`, table.counts[k][j]])) }));
    return report.el("div", { class: "card" }, report.table({
      caption: `${table.point}: ${report.format.words(table.part)}`, rows,
      columns: [{ key: "name", title: "expected, below; detected" }, ...table.detected.map((name, k) => ({ key: `d${k}`, title: name, kind: "number" }))],
    }));
  }

  function sentences(title, lines) {
    if (!lines.length) return [];
    const columns = [{ key: "point", title: "checkpoint" }, { key: "name", title: "what" }, { key: "why", title: "why" }];
    return [report.el("h3", {}, title), report.el("div", { class: "card" }, report.table({ caption: title, columns, rows: lines }))];
  }

  function build(root) {
    const samples = (report.data.gallery?.samples || []).filter((sample) => Object.keys(sample.values).length);
    const items = samples.map((sample) => ({ sample, text: `${sample.prompt} ${sample.id}`, stage: report.sample.point(sample).stage, tags: sample.tags, values: sample.values }));
    return () => {
      const stage = report.state.get("stage");
      const { points, confusions, skipped, unreadable } = report.data.evaluation;
      const shown = points.filter((point) => !stage || point.split("@")[0] === stage);
      const of = (lines) => lines.filter((line) => shown.includes(line.point));
      const parts = [report.el("div", { class: "card" }, numbers(shown)), ...differences(shown), ...report.against()];
      if (samples.length) {
        const { metrics } = report.data.gallery;
        const known = report.sample.known();
        const found = items.filter(report.filter.matcher(known)).map((item) => item.sample);
        parts.push(
          report.el("h3", {}, "Values of samples", report.el("small", {}, `${number(found.length)} of ${number(samples.length)}, as filtered${report.filter.beside(known)}`)),
          report.el("div", { class: "figures" }, metrics.map((metric) => histogram(metric, found))),
          report.el("div", { class: "card" }, raw(found)));
      }
      const tables = of(confusions).map(confusion);
      if (tables.length) parts.push(report.el("h3", {}, "What was seen instead"), report.el("div", { class: "figures" }, tables));
      parts.push(...sentences("Not measured", of(skipped)), ...sentences("Samples that could not be read", of(unreadable)));
      root.replaceChildren(...parts);
    };
  }

  report.section({
    id: "evaluation", title: "Evaluation", order: 60, needs: ["evaluation"],
    lead: "What was measured on the samples: numbers with their intervals, differences, and the value of each.",
    absent: "Nothing is measured yet; rule evaluate does it.",
    build,
  });
})();
