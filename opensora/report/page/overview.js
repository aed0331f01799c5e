"use strict";
/* What ran, with what, and what it took. */
report.section({
  id: "overview",
  title: "Overview",
  order: 0,
  needs: ["overview"],
  build(root) {
    const data = report.data.overview;
    const tile = ({ label, value, note }) =>
      report.el("div", { class: "tile" }, report.el("dt", {}, label), report.el("dd", { class: "value" }, value), report.el("dd", { class: "remark" }, note));
    root.append(report.el("dl", { class: "tiles" }, data.tiles.map(tile)));
  },
});

report.section({
  id: "configuration",
  title: "Configuration",
  order: 90,
  needs: ["overview"],
  build(root) {
    const configs = Object.entries(report.data.overview.configs);
    if (!configs.length) root.append(report.el("p", { class: "absent" }, "No configuration is saved in this run."));
    for (const [name, text] of configs) {
      root.append(report.el("details", { class: "card" }, report.el("summary", {}, name), report.el("pre", { tabindex: "0", role: "region", "aria-label": name }, text)));
    }
  },
});
