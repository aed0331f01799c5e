"use strict";
/* What ran, with what, what it took, and what changed since the last report. */
(function () {
  const data = report.data.overview;
  const since = report.data.changes;
  if (data) report.filter.offer({ stages: data.stages.map((stage) => stage.name) });

  report.section({ id: "overview", title: "Overview", order: 0, needs: ["overview"], absent: "", build: overview });
  report.section({ id: "configuration", title: "Configuration", order: 90, needs: ["overview"], absent: "", build: configuration });

  function overview(root) {
    const tile = ({ label, value, note }) => report.el("div", { class: "tile" }, report.el("dt", {}, label), report.el("dd", { class: "value" }, value), report.el("dd", { class: "remark" }, note));
    root.append(
      report.el("dl", { class: "tiles" }, data.tiles.map(tile)),
      report.el("h3", {}, "Stages of training"),
      data.stages.length ? stages() : report.el("p", { class: "absent" }, "No train/STAGE yet; rule train makes it."),
      report.el("h3", {}, "What changed since the last report of this run"),
      changes(),
      report.el("h3", {}, "Time, memory and cost"),
      data.times.length ? times() : report.el("p", { class: "absent" }, "No benchmark files were given (--benchmarks)."),
      report.el("h3", {}, "Code"),
      code(),
    );
  }

  function stages() {
    const dash = (text) => text || "–";
    const columns = [
      { key: "name", title: "stage" },
      { key: "steps", title: "steps", kind: "number" },
      { key: "seconds", title: "time", kind: "seconds" },
      { key: "gpu_hours", title: "GPU hours", kind: "number" },
      { key: "samples", title: "samples", kind: "number" },
      { key: "config", title: "config hash", cell: (row) => report.el("code", {}, dash(row.config)) },
      { key: "plan", title: "plan hash", cell: (row) => report.el("code", {}, dash(row.plan)) },
      { key: "certificate", title: "resumes exactly", cell: certificate },
    ];
    return report.el("div", { class: "card" }, report.table({ caption: "Stages, what decided them, and whether they resume", columns, rows: data.stages }));
  }

  function certificate(stage) {
    if (stage.milestone) return "–";
    if (!stage.certificate.length) return report.el("span", {}, "not checked; ", report.el("code", {}, "snakemake certify_all"), " checks it");
    return stage.certificate.map((check) => {
      const [kind, word] = check.passed ? ["good", "✓ passed"] : check.passed === null ? ["", "not checked"] : ["bad", "✗ failed"];
      return report.el("div", { class: "resumes" }, report.el("span", { class: `chip ${kind}` }, word), " ", report.quote(`${check.name}: ${check.words}`));
    });
  }

  function changes() {
    if (since.first) return report.el("p", { class: "note" }, "This is the first one, or nothing changed since it.");
    const columns = [
      { key: "name", title: "what" },
      { key: "before", title: "before", cell: (row) => report.quote(String(row.before ?? "–"), 200) },
      { key: "now", title: "now", cell: (row) => report.quote(String(row.now ?? "–"), 200) },
    ];
    return report.el("div", { class: "card" }, report.table({ caption: "Settings, plans and numbers that are others", columns, rows: since.lines }));
  }

  // at cluster's prices a minute is nothing
  const hours = (value) => (value == null ? "–" : value < 0.01 ? "< 0.01" : report.format.number(value));

  function times() {
    const columns = [
      { key: "rule", title: "rule", cell: (row) => report.format.words(row.rule) },
      { key: "stage", title: "stage", cell: (row) => row.stage || "–" },
      { key: "seconds", title: "time", kind: "seconds" },
      { key: "longest", title: "longest job", kind: "seconds" },
      { key: "jobs", title: "jobs", kind: "number" },
      { key: "memory", title: "peak memory", kind: "mebibytes" },
      { key: "cpu_hours", title: "CPU hours", kind: "number", cell: (row) => hours(row.cpu_hours) },
      { key: "gpu_hours", title: "GPU hours", kind: "number", cell: (row) => hours(row.gpu_hours) },
    ];
    const bars = data.times.map((row) => ({ label: [report.format.words(row.rule), row.stage].join(" "), value: row.seconds, text: report.format.seconds(row.seconds) }));
    return report.el("div", {},
      report.bars("Wall time of the jobs of each rule and stage", bars),
      report.el("div", { class: "card" }, report.table({ caption: "From Snakemake's benchmark files", columns, rows: data.times }),
        report.el("p", { class: "note" }, "GPU hours are wall time by the GPUs that a job asks for, CPU hours the time of all processors of a job without any.")));
  }

  function code() {
    const versions = Object.entries(data.versions).map(([rule, number]) => [report.format.words(rule), number]);
    return report.el("div", { class: "card" },
      report.facts([["opensora", data.version], ["config hash", data.config || "–"]]),
      report.el("details", {}, report.el("summary", {}, "Versions of the steps whose results are kept"), report.facts(versions)));
  }

  function configuration(root) {
    const configs = Object.entries(data.configs);
    if (!configs.length) root.append(report.el("p", { class: "absent" }, "No configuration is saved in this run."));
    for (const [name, text] of configs) {
      root.append(report.el("details", { class: "card" }, report.el("summary", {}, name), report.el("pre", { tabindex: "0", role: "region", "aria-label": name }, text)));
    }
  }
})();
