"use strict";
/* Which footage stayed, why the rest did not, and what other rules would leave. */
(function () {
  const data = report.data.curation;
  const WITHOUT = {
    import: "No thresholds here: the clips came as a table (manifest: in the config), of which import_manifest takes every row that can be used. To choose among them, give the table as one of sources: with filters and keep_if.",
    manifest: "No thresholds here: the folder of the run holds its manifest without the tables of clips, captions and scores that it was chosen from.",
  };

  report.section({
    id: "curation",
    title: "Curation",
    order: 10,
    lead: "Footage from the source files to the manifest: what each stage kept, and every reason why the rest left.",
    needs: ["curation"],
    absent: "No funnel.json with the footage yet; rule build_manifest makes it.",
    build,
  });

  function build(root) {
    const look = report.el("div", { class: "look" });
    const show = (stage, reason) => showReason(look, data.reasons.find((one) => one.stage === stage && one.reason === reason));
    root.append(report.sankey(data.stages, show), reasonTable(show), look);
    const { clips: packed, origin } = report.data.lineage || {};
    if (!packed || WITHOUT[origin]) {
      root.append(report.el("p", { class: "absent" }, WITHOUT[origin] || "No manifest yet; rule build_manifest makes it."));
      return null;
    }
    const place = report.el("div", {}, report.el("p", { class: "note" }, "Reading the clips …"));
    root.append(place);
    let update = null;
    report.unpack(packed).then((clips) => {
      place.replaceChildren();
      update = report.rules(place, clips);
      update();
      document.body.dataset.clips = clips.id.length; // what a test waits for
    });
    return () => update && update();
  }

  function reasonTable(show) {
    const button = (row) => report.el("button", { type: "button", class: "link", on: { click: () => show(row.stage, row.reason) } }, `look at ${report.format.words(row.reason)}`);
    const columns = [
      { key: "reason", title: "reason", cell: (row) => report.format.words(row.reason) },
      { key: "stage", title: "stage", cell: (row) => report.format.words(row.stage) },
      { key: "rows", title: "rows", kind: "number" },
      { key: "seconds", title: "footage", kind: "seconds" },
      { key: "share", title: "of all footage", kind: "percent" },
      { key: "look", title: "examples", cell: button },
    ];
    if (!data.reasons.length) return report.el("p", { class: "note" }, "Nothing was rejected.");
    return report.el("div", { class: "card" }, report.table({ caption: "Every reason for which footage left", columns, rows: data.reasons }));
  }

  function showReason(root, line) {
    const head = report.el("h3", { tabindex: "-1" }, `${report.format.words(line.reason)}`, report.el("small", {}, `${report.format.counted(line.rows, "row")} in ${report.format.words(line.stage)}`));
    const columns = [
      { key: "id", title: "id" },
      { key: "path", title: "file" },
      { key: "detail", title: "detail" },
    ];
    const rest = line.rows - line.rejected.length;
    root.replaceChildren(
      head,
      report.el("div", { class: "figures" }, line.examples.map(example)),
      report.el("div", { class: "card" }, report.table({ caption: `Rejected: ${report.format.words(line.reason)}`, columns, rows: line.rejected, limit: 20 })),
      rest > 0 ? report.el("p", { class: "note" }, `${report.format.number(rest)} more stand in rejected.csv.`) : "",
    );
    head.focus();
  }

  function example(row) {
    const label = `${row.id}: ${row.detail}`.slice(0, 200);
    let player = report.el("span", { class: "note" }, row.absent || "");
    if (row.video) player = report.el("video", { src: row.video, poster: row.poster, controls: true, muted: true, loop: true, playsinline: true, preload: "none", "aria-label": label });
    else if (row.poster) player = report.el("img", { src: row.poster, alt: label, loading: "lazy" });
    const at = row.end > row.start ? `, ${row.start.toFixed(2)} to ${row.end.toFixed(2)} s` : "";
    return report.el("figure", { class: "figure" }, report.el("div", { class: "player" }, player), report.el("figcaption", {}, report.quote(row.id)), report.el("div", { class: "note" }, report.quote(row.detail), report.el("br"), report.quote(`${row.source || row.path}${at}`)));
  }
})();
