"use strict";
report._words = new Intl.Collator("en", { numeric: true }); // made once: it takes its time

/* A table that can be sorted by its heads and shows more rows on demand.

   columns: [{key, title, kind: "text"|"number"|"percent"|"seconds"|"mebibytes", cell(row)}];
   `cell` may return a node and decides only what is shown, sorting goes by row[key]. Where `row` is
   given, rows are whatever it makes a row of: of a long table few are made. `sorted` is told the rows
   in their order, whenever that changes. */
report.table = function ({ caption, columns, rows, row: make = (row) => row, limit = 100, sort = null, sorted: tell = () => {} }) {
  const body = report.el("tbody");
  const table = report.el("table", {}, report.el("caption", {}, caption));
  const more = report.el("button", { class: "more", type: "button" });
  let order = sort; // {key, down}
  let sorted = rows;
  let shown = 0;

  function compare(a, b) {
    const [one, other] = [a[order.key], b[order.key]];
    const lacks = (value) => value === null || value === undefined || value === "";
    if (lacks(one) || lacks(other)) return lacks(one) - lacks(other); // empty cells come last
    const found = typeof one === "number" ? one - other : report._words.compare(String(one), String(other));
    return order.down ? -found : found;
  }

  function line(row) {
    return report.el("tr", {}, columns.map((column, k) => {
      const value = row[column.key];
      const format = report.format[column.kind];
      const content = column.cell ? column.cell(row) : format ? format(value) : report.quote(String(value ?? ""), 200);
      const kind = column.kind && column.kind !== "text" ? "number" : null;
      return report.el(k ? "td" : "th", { class: kind, scope: k ? null : "row" }, content);
    }));
  }

  function add(count) {
    const next = sorted.slice(shown, shown + count);
    body.append(...(order ? next : next.map(make)).map(line));
    shown = Math.min(shown + count, sorted.length);
    more.hidden = shown === sorted.length;
    more.textContent = `show ${Math.min(limit * 5, sorted.length - shown)} more of ${sorted.length}`;
  }

  function draw() {
    sorted = order ? rows.map(make).sort(compare) : rows;
    tell(sorted);
    shown = 0;
    body.replaceChildren();
    add(limit);
    [...heads.children].forEach((head, k) => {
      const is = order && order.key === columns[k].key;
      head.setAttribute("aria-sort", is ? (order.down ? "descending" : "ascending") : "none");
    });
  }

  const heads = report.el("tr", {}, columns.map((column) => {
    const click = () => {
      const first = column.kind && column.kind !== "text"; // figures: the largest first
      order = { key: column.key, down: order && order.key === column.key ? !order.down : Boolean(first) };
      draw();
    };
    const kind = column.kind && column.kind !== "text" ? "number" : null;
    return report.el("th", { scope: "col", class: kind }, report.el("button", { type: "button", class: "sort", on: { click } }, column.title));
  }));
  more.addEventListener("click", () => add(limit * 5));
  table.append(report.el("thead", {}, heads), body);
  draw();
  const frame = report.el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
  return report.el("div", {}, frame, more);
};

/* Names with their values, beside each other. */
report.facts = function (pairs) {
  return report.el("dl", { class: "pairs" }, pairs.map(([name, value]) =>
    report.el("div", {}, report.el("dt", {}, name), report.el("dd", {}, value instanceof Node ? value : String(value)))));
};

/* Bars, one below the other: [{label, value, text, kind, go}]; `go` makes a bar a button. */
report.bars = function (title, bars) {
  const top = Math.max(...bars.map((bar) => bar.value), 0) || 1;
  const list = report.el("ul", { class: "bars", "aria-label": title }, bars.map((bar) => {
    const parts = [
      report.el("span", { class: "name" }, bar.label),
      report.el("span", { class: "track" }, report.el("i", { class: `bar ${bar.kind || ""}`, style: { width: `${(100 * bar.value) / top}%` } })),
      report.el("span", { class: "amount" }, bar.text ?? report.format.number(bar.value)),
    ];
    return report.el("li", {}, bar.go
      ? report.el("button", { type: "button", on: { click: bar.go } }, parts)
      : report.el("div", {}, parts));
  }));
  return report.figure(title, list);
};

/* A chart with its title and remark. */
report.figure = function (title, content, note = "") {
  const head = report.el("figcaption", {}, report.el("span", {}, title), note ? report.el("small", {}, note) : null);
  return report.el("figure", { class: "figure" }, head, content);
};
