"use strict";
/* What is trained on: buckets, batches and tokens, how often it is seen, captions and their words. */
report.section({
  id: "buckets",
  title: "Buckets and captions",
  order: 20,
  lead: "At which resolution, length and aspect ratio clips are trained, how often each is seen, what never is, and what the captions say.",
  needs: ["buckets"],
  absent: "No buckets/STAGE/summary.json and ledger.json yet; rules assign_buckets and settle_plan make them.",
  build(root) {
    const { stages, captions } = report.data.buckets;
    const parts = stages.map((stage) => ({ stage, node: report.el("div", {}, report.el("h3", {}, stage.name), plan(stage), seen(stage)) }));
    root.append(...parts.map((part) => part.node));
    if (captions) root.append(...words(captions));
    return () => {
      const passes = report.filter.matcher();
      for (const { stage, node } of parts) node.hidden = !passes({ stage: stage.name });
    };

    function plan(stage) {
      if (!stage.rows.length) return report.el("p", { class: "absent" }, "No buckets/STAGE/summary.json yet; rule assign_buckets makes it.");
      const rows = stage.rows.map((row) => ({ ...row, size: `${row.height} × ${row.width}`, length: row.num_frames, order: row.height * row.width }));
      const clips = (row) => report.state.link("clips", { tag: `${stage.name}: ${row.bucket}` });
      const leads = report.data.lineage?.stages.includes(stage.name);
      const size = (row) => `${row.size}, ${row.resolution}, ${row.aspect_ratio}`;
      const columns = [
        { key: "order", title: "height × width", cell: (row) => (leads ? report.el("a", { href: clips(row) }, size(row)) : size(row)) },
        { key: "length", title: "frames", kind: "number", cell: (row) => (row.length > 1 ? row.length : "image") },
        { key: "samples", title: "clips", kind: "number" },
        { key: "batches", title: "batches an epoch", kind: "number" },
        { key: "batch_size", title: "batch size", kind: "number" },
        { key: "tokens_per_sample", title: "tokens a clip", kind: "number" },
        { key: "tokens", title: "tokens an epoch", kind: "number" },
        { key: "cropped", title: "cropped", kind: "percent" },
      ];
      const bars = rows.map((row) => ({ label: `${row.size}, ${row.length > 1 ? `${row.length} frames` : "image"}`, value: row.tokens, text: `${report.format.number(row.tokens)} tokens` }));
      const dropped = stage.dropped.map(([reason, count]) => `${report.format.number(count)} ${report.format.words(reason)}`).join(", ");
      return [
        stage.facts.length ? report.el("div", { class: "card" }, report.facts(stage.facts)) : "",
        report.el("div", { class: "card" }, report.table({ caption: `Buckets of ${stage.name}`, columns, rows })),
        report.el("div", { class: "figures" }, report.bars("Tokens of an epoch", bars)),
        stage.sources.length ? sources(stage.sources) : "",
        dropped ? report.el("p", { class: "note" }, `Not trained in the first epoch: ${dropped}.`) : "",
        stage.warnings.map((sentence) => report.el("p", { class: "note warning" }, report.quote(sentence))),
      ];
    }

    function sources(rows) {
      const bars = rows.map((row) => ({
        label: row.source,
        value: row.samples,
        text: `${report.format.number(row.samples)} samples of ${report.format.number(row.clips)} clips, ${(100 * row.share).toFixed(1)} %${row.rate ? `; ${row.rate}` : ""}`,
      }));
      return report.el("div", { class: "figures" }, report.bars("How much of the training each source has", bars));
    }

    function seen(stage) {
      if (!stage.seen.length) return report.el("p", { class: "absent" }, "No buckets/STAGE/ledger.json yet; rule settle_plan makes it.");
      const hasSeconds = stage.seen.some((line) => line.seconds > 0);
      const kinds = { seen: "", never: "lost", "held out": "ghost" };
      const bars = stage.seen.map((line) => ({ label: line.label, value: hasSeconds ? line.seconds : line.clips, text: line.amount, kind: kinds[line.kind] }));
      const unreadable = stage.unreadable.map(([rule, reason, count]) => `${report.format.number(count)} ${report.format.words(reason)} in ${report.format.words(rule)}`).join(", ");
      return [
        report.el("div", { class: "figures" }, report.bars(`How often the ${report.format.number(stage.clips)} clips are seen`, bars)),
        unreadable ? report.el("p", { class: "note" }, `Not readable: ${unreadable}; others took their place.`) : "",
      ];
    }

    function words(found) {
      const facts = [["captions", found.captions], ["different ones", found.distinct], ["different words", found.vocabulary]];
      const lengths = Object.entries(found.lengths).map(([name, one]) => {
        const bars = one.bars.map((bar) => ({ label: bar.from === bar.to ? String(bar.from) : `${bar.from} to ${bar.to}`, value: bar.count }));
        return report.bars(`${name}, median ${report.format.number(one.median)}`, bars);
      });
      const go = (word) => {
        report.state.set({ q: word }, { push: true });
        report.go(report.data.lineage ? "clips" : "gallery");
      };
      const bars = found.words.map(({ word, clips }) => ({ label: word, value: clips, text: report.format.counted(clips, "clip"), go: () => go(word) }));
      return [
        report.el("h3", {}, "Captions"),
        report.el("div", { class: "card" }, report.facts(facts.map(([name, value]) => [name, report.format.number(value)]))),
        report.el("div", { class: "figures" }, report.bars("Words in most captions; a click shows their clips", bars), lengths),
      ];
    }
  },
});
