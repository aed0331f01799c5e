"use strict";
/* Lines over steps, drawn by uPlot in the colours of the page; below each its numbers as a table. */
report.lines = (function () {
  const colours = ["accent", "second", "third", "lost", "good", "soft"];
  const drawn = new Set(); // charts to draw again when the page turns light or dark

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  /* Values of all lines at all places: uPlot wants one column of places for all of them. */
  function align(series) {
    const places = [...new Set(series.flatMap((one) => one.x))].sort((a, b) => a - b);
    const columns = series.map((one) => {
      const at = new Map(one.x.map((x, k) => [x, one.y[k]]));
      return places.map((x) => at.get(x) ?? null);
    });
    return [places, ...columns];
  }

  function options(chart, width) {
    const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px sans-serif" };
    return {
      width,
      height: chart.height,
      cursor: { focus: { prox: 16 } },
      scales: { x: { time: false }, y: { distr: chart.isLog ? 3 : 1 } },
      axes: [axis, { ...axis, size: 64, values: (_, ticks) => ticks.map((v) => (v === null ? "" : report.format.number(v))) }],
      series: [
        { label: chart.x },
        ...chart.series.map((one, k) => ({
          label: report.visible(one.name),
          stroke: colour(one.colour || colours[k % colours.length]),
          width: one.faint ? 0.7 : 1.8,
          dash: k >= colours.length ? [6, 4] : undefined,
          spanGaps: true,
          points: { show: one.x.length < 3 },
          value: (_, v) => report.format.number(v),
        })),
      ],
    };
  }

  function draw(chart) {
    const width = Math.floor(chart.root.clientWidth);
    if (!width) return;
    if (chart.plot) chart.plot.destroy();
    chart.plot = new uPlot(options(chart, width), chart.data, chart.root);
    chart.root.querySelector("canvas").setAttribute("aria-hidden", "true"); // the table says it
  }

  function numbers(chart) {
    const columns = [{ key: "x", title: chart.x, kind: "number" }, ...chart.series.map((one, k) => ({ key: `y${k}`, title: one.name, kind: "number" }))];
    const details = report.el("details", { class: "numbers" }, report.el("summary", {}, "as a table"));
    details.addEventListener("toggle", () => {
      if (details.children.length > 1) return;
      const rows = chart.data[0].map((x, i) => Object.fromEntries([["x", x], ...chart.series.map((_, k) => [`y${k}`, chart.data[k + 1][i]])]));
      details.append(report.table({ caption: chart.title, columns, rows }));
    });
    return details;
  }

  const again = () => drawn.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const chart = target.chart;
      if (!chart.plot || chart.plot.width !== Math.floor(target.clientWidth)) requestAnimationFrame(() => draw(chart));
    }
  });

  /* A figure of lines: {title, note, x: "step", series: [{name, x: [], y: [], faint, colour}], isLog}.

     Points whose value is null are left out; a logarithmic axis leaves out what is not above 0. */
  return function ({ title, note = "", x = "step", series, isLog = false, height = 220 }) {
    const clean = series.map((one) => {
      const good = one.x.map((_, k) => k).filter((k) => Number.isFinite(one.y[k]) && (!isLog || one.y[k] > 0));
      return { ...one, x: good.map((k) => one.x[k]), y: good.map((k) => one.y[k]) };
    }).filter((one) => one.x.length);
    const root = report.el("div", { class: "chart", role: "img", "aria-label": `${title}: ${clean.map((one) => one.name).join(", ")}` });
    const chart = { title, x, series: clean, isLog, height, root, data: align(clean), plot: null };
    root.chart = chart;
    drawn.add(chart);
    sizes.observe(root);
    return report.figure(title, report.el("div", {}, root, numbers(chart)), note);
  };
})();
