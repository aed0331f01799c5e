"use strict";
/* The models that turn clips and captions into what the transformer trains on. */
report.section({
  id: "encoders",
  title: "Encoders",
  order: 30,
  lead: "The models that turn clips and captions into what the transformer trains on.",
  needs: ["encoders"],
  absent: "No models/*/metrics.jsonl in this run: it uses ready-made encoders, or they are not trained yet.",
  build(root) {
    const { models, gates, psnr, sizes } = report.data.encoders;
    if (psnr.length) root.append(report.el("h3", {}, "VAE reconstruction"), report.el("div", { class: "card" }, report.facts(psnr), sizes.length ? sizeTable() : ""));
    for (const model of models) {
      const curves = model.curves.map((curve) => report.lines({ title: report.format.words(curve.name), note: `${report.format.number(curve.y.at(-1))} at the end`, series: [curve] }));
      root.append(report.el("h3", {}, `${model.name} training`, report.el("small", {}, model.learned_from)), report.el("div", { class: "figures" }, curves));
    }
    for (const gate of gates) root.append(...gateOf(gate));

    function sizeTable() {
      const columns = [
        { key: "size", title: "height × width" },
        { key: "num_frames", title: "frames", kind: "number" },
        { key: "mean", title: "mean PSNR (dB)", kind: "number" },
        { key: "min", title: "worst (dB)", kind: "number" },
      ];
      return report.table({ caption: "By size", columns, rows: sizes });
    }

    function gateOf(gate) {
      const columns = [
        { key: "bucket", title: "bucket" },
        { key: "items", title: "clips", kind: "number" },
        { key: "bad_values", title: "bad values", kind: "number" },
        { key: "low", title: "least deviation", kind: "number" },
        { key: "high", title: "largest deviation", kind: "number" },
        { key: "psnr", title: "PSNR (dB)", kind: "number" },
      ];
      const picture = (one) => report.el("figure", { class: "figure" },
        one.picture ? report.el("img", { class: "small montage", src: one.picture, loading: "lazy", alt: `clips of bucket ${one.bucket} above their reconstructions` }) : report.el("span", { class: "note" }, one.absent),
        report.el("figcaption", {}, one.bucket));
      return [
        report.el("h3", {}, "Latents", report.el("small", {}, gate.stage)),
        report.el("div", { class: "card" },
          report.table({ caption: `Latents of ${gate.stage}, by bucket`, columns, rows: gate.rows }),
          report.el("p", { class: "note" }, report.el("span", { class: "chip good" }, "✓ passed"), gate.warnings.length ? " No bad values, no flat latents; what is worth a look stands below." : " No bad values, no flat latents, and decoded clips look like their sources."),
          gate.warnings.map((sentence) => report.el("p", { class: "note warning" }, report.quote(sentence)))),
        gate.pictures.length ? report.el("p", { class: "note" }, "Clips above what the VAE makes of them, frame by frame:") : "",
        report.el("div", { class: "figures" }, gate.pictures.map(picture)),
      ];
    }
  },
});
