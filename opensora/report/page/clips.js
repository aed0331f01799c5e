"use strict";
/* Every clip that reached the rules: what it shows, where it was cut from, where it went. */
(function () {
  const data = report.data.lineage;
  const SPLITS = "not in the manifest"; // of clips that the rules of selection rejected
  const time = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, "0")}`;
  const from = (clip) => (clip.end > clip.start ? `${time(clip.start)} to ${time(clip.end)}` : "a still");

  const ofSource = (name) => `source: ${name}`;
  const tags = data ? [...data.splits.map((split) => split || SPLITS), ...Object.keys(data.sources).map(ofSource)] : [];
  if (data) report.filter.offer({ tags, scores: data.ranges });

  /* Clips as items of the filter. A page may hold a quarter of a million: each is a number, its
     fields are looked up in the columns when somebody asks; names that no column has begin with "#". */
  function itemsOf(columns, places, stages) {
    const at = new Map(places.id.map((id, k) => [id, k]));
    class Clip {
      constructor(k) {
        this["#row"] = k;
      }
      get ["#went"]() {
        const place = at.get(this.id);
        return stages.map((stage) => [stage, place === undefined ? "" : places[`in ${stage}`][place]]);
      }
    }
    for (const [name, values] of Object.entries(columns)) {
      Object.defineProperty(Clip.prototype, name, { get() { return values[this["#row"]]; } });
    }
    class Item {
      constructor(k) {
        this.clip = new Clip(k);
      }
      get text() {
        return `${this.clip.id} ${this.clip.caption} ${this.clip.source}`;
      }
      get tags() {
        const buckets = this.clip["#went"].map(([stage, found]) => found.split(", ").filter(Boolean).map((bucket) => `${stage}: ${bucket}`));
        return [this.clip["#was"] || SPLITS, ofSource(this.clip.source_name), ...buckets.flat()];
      }
      get values() {
        return this.clip;
      }
    }
    return columns.id.map((_, k) => new Item(k));
  }

  /* The way of a clip, source first. */
  function way(clip) {
    const step = (name, ...said) => report.el("li", {}, report.el("strong", {}, name), " ", said);
    const note = (text) => report.el("span", { class: "note" }, ` ${text}`);
    const facts = [clip.source_name && `of the source ${clip.source_name}`, clip.codec, clip.licence && `licence ${clip.licence}`].filter(Boolean).join(", ");
    return report.el("ol", { class: "lineage" },
      step("source video", report.quote(clip.source), facts ? note(facts) : null),
      step("cut", from(clip), clip.end > clip.start ? note(`minutes and seconds of the source; ${report.format.seconds(clip.end - clip.start)}`) : null),
      step("clip", report.quote(clip.id), note(`${clip.width}×${clip.height}, ${report.format.number(clip.num_frames)} frames, ${report.format.number(clip.fps)} fps`)),
      step("caption", report.quote(clip.caption || "none")),
      step("manifest", clip["#was"] ? `split ${clip["#was"]}` : SPLITS),
      clip["#went"].map(([stage, bucket]) => step(stage, bucket || "in no bucket")));
  }

  function player(clip) {
    const look = data.looks[clip.id];
    if (!look) return null;
    const label = `clip: ${clip.caption.slice(0, 200)}`;
    if (look.video) return report.el("video", { src: look.video, poster: look.poster, controls: true, loop: true, playsinline: true, preload: "none", "aria-label": label });
    return look.poster ? report.el("img", { src: look.poster, alt: label, loading: "lazy" }) : report.el("span", { class: "note" }, look.absent);
  }

  function look(root, clip) {
    if (root.dataset.clip === (clip ? clip.id : "")) return;
    root.dataset.clip = clip ? clip.id : "";
    if (!clip) return root.replaceChildren();
    const shown = player(clip);
    const scores = data.scores.map((name) => [report.format.words(name), report.format.number(clip[name])]);
    const close = () => report.state.set({ "clips.open": null });
    root.replaceChildren(report.el("section", { class: "card", "aria-label": "Lineage of a clip" },
      report.el("div", { class: "row" }, report.el("h3", { tabindex: "-1" }, "Where this clip comes from"),
        report.el("button", { type: "button", on: { click: close } }, "Close")),
      shown ? report.el("div", { class: "player large" }, shown) : null, way(clip), report.facts(scores)));
    root.querySelector("h3").focus({ preventScroll: true });
    root.scrollIntoView({ block: "nearest" });
  }

  /* Some clips to look at: those with a player. */
  function strip(items, open) {
    const seen = items.filter((item) => data.looks[item.clip.id]?.poster);
    if (!seen.length) return null;
    return report.el("ul", { class: "gallery" }, seen.map(({ clip }) => report.el("li", { class: "sample" },
      report.el("div", { class: "player", style: { "aspect-ratio": `${clip.width} / ${clip.height}` } }, player(clip)),
      report.quote(clip.caption, 140), report.el("p", { class: "note" }, report.quote(clip.source), ` ${from(clip)}`),
      report.el("button", { type: "button", class: "link", on: { click: () => open(clip) } }, "Lineage"))));
  }

  function table(items, open) {
    const name = (row) => report.el("button", { type: "button", class: "link", on: { click: () => open(row) } }, row.id);
    const columns = [
      { key: "id", title: "clip", cell: name }, { key: "caption", title: "caption" }, { key: "source", title: "source video" },
      { key: "start", title: "cut", kind: "number", cell: from }, { key: "#was", title: "split" },
      ...data.scores.map((score) => ({ key: score, title: report.format.words(score), kind: "number" })),
    ];
    return report.table({ caption: "Clips", columns, rows: items.map((item) => item.clip), limit: 50 });
  }

  async function build(root) {
    const { stages } = data;
    const items = itemsOf(await report.unpack(data.clips), await report.unpack(data.buckets), stages);
    const known = {
      stage: false,
      tags: { has: (tag) => tags.includes(tag) || stages.some((name) => tag.startsWith(`${name}: `)) },
      scores: new Set([...data.scores, ...data.numbers]),
    };
    const byId = new Map(items.map((item) => [item.clip.id, item.clip]));
    const open = (clip) => report.state.set({ "clips.open": clip.id }, { push: true });
    const [count, opened, body] = [report.el("p", { class: "note", role: "status" }), report.el("div"), report.el("div")];
    root.append(count, opened, body);
    let before = null;
    return () => {
      const filter = JSON.stringify(report.filter.current(known));
      if (filter !== before) {
        before = filter;
        const found = items.filter(report.filter.matcher(known));
        const seconds = found.reduce((sum, { clip }) => sum + clip.end - clip.start, 0);
        count.textContent = `${report.format.number(found.length)} of ${report.format.number(items.length)} clips, ${report.format.seconds(seconds)}${report.filter.beside(known)}`;
        body.replaceChildren(...[strip(found, open), report.el("div", { class: "card" }, table(found, open))].filter(Boolean));
      }
      look(opened, byId.get(report.state.get("clips.open")));
    };
  }

  report.section({
    id: "clips", title: "Clips", order: 15, needs: ["lineage"],
    lead: "Every clip of the manifest, and those that the rules of selection left out, back to their source video and second.",
    absent: "No manifest yet; rule build_manifest makes it.",
    build(root) {
      let update = null;
      build(root).then((made) => {
        update = made;
        update();
        root.dataset.ready = ""; // what a test waits for
      });
      return () => update && update();
    },
  });
})();
