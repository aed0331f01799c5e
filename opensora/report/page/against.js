"use strict";
/* Other evaluations against one of them: differences with intervals, marked where they are no noise. */
(function () {
  const KINDS = { better: "good", worse: "bad", higher: "marked", lower: "marked" };
  const number = (value) => report.format.number(value);
  const between = ({ low, high }) => (low === null || high === null ? "no interval" : `${number(low)} to ${number(high)}`);

  /* A difference with its interval, around zero; the scale is that of its metric. */
  report.around = function (span, most) {
    const place = (value) => 60 + (56 * value) / (most || 1);
    return report.svg("svg", { width: 120, height: 16, viewBox: "0 0 120 16", "aria-hidden": "true", class: "interval" },
      report.svg("line", { x1: 60, x2: 60, y1: 1, y2: 15, class: "scale" }),
      span.low === null ? null : report.svg("line", { x1: place(span.low), x2: place(span.high), y1: 8, y2: 8, class: "whisker" }),
      report.svg("circle", { cx: place(span.mean), cy: 8, r: 4, class: "value" }));
  };

  /* By metric, how far its differences and their intervals reach from zero. */
  report.reach = function (spans) {
    const most = {};
    for (const { metric, mean, low, high } of spans) most[metric] = Math.max(most[metric] || 0, ...[mean, low, high].map((v) => Math.abs(v ?? 0)));
    return most;
  };

  function measured(span, picture = null) {
    return report.el("div", { class: "measured" }, report.el("strong", {}, number(span.mean)), picture, report.el("small", {}, between(span)));
  }

  function table({ base, lines }) {
    const most = report.reach(lines.map(({ metric, difference }) => ({ metric, ...difference })));
    const rows = lines.map((line) => ({ ...line, name: report.format.words(line.metric), v: line.value.mean, b: line.base.mean, d: line.difference.mean }));
    const verdict = (row) => report.el("span", { class: `chip ${KINDS[row.verdict] || ""}` }, row.is_noise ? "within noise" : row.verdict);
    const columns = [
      { key: "name", title: "metric" }, { key: "of", title: "of" },
      { key: "b", title: base, kind: "number", cell: (row) => measured(row.base) },
      { key: "v", title: "value", kind: "number", cell: (row) => measured(row.value) },
      { key: "d", title: "difference", kind: "number", cell: (row) => measured(row.difference, report.around(row.difference, most[row.metric])) },
      { key: "count", title: "pairs", kind: "number", cell: (row) => (row.count ? number(row.count) : "means alone") },
      { key: "verdict", title: "verdict", cell: verdict },
    ];
    return report.table({ caption: `Differences from ${base}, each with its 95 % interval`, columns, rows });
  }

  report.against = () => (report.data.against || []).flatMap((found) => [
    report.el("h3", {}, `Against ${found.base}`, report.el("small", {}, `${found.lines.filter((line) => !line.is_noise).length} of ${found.lines.length} differences are not noise`)),
    report.el("div", { class: "card" }, table(found),
      found.skipped.length ? report.el("details", {}, report.el("summary", {}, `${found.skipped.length} do not compare`),
        report.facts(found.skipped.map(({ name, why }) => [name, report.quote(why)]))) : null),
  ]);
})();
