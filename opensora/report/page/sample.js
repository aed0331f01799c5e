"use strict";
/* One sample: its player, its card in the gallery, and all that is known of it. */
report.sample = (function () {
  const all = () => (report.data.gallery ? report.data.gallery.samples : []);
  const point = (sample) => report.data.gallery.points[sample.point];
  const name = (sample) => `${point(sample).name}/${sample.id}`; // in the address
  /* What samples can be filtered by, as filter.js asks. */
  const known = () => ({ tags: new Map(report.data.gallery.tags), scores: new Set(report.data.gallery.metrics) });
  let byName = null;

  function find(wanted) {
    byName ??= new Map(all().map((sample) => [name(sample), sample]));
    return byName.get(wanted);
  }

  /* What tells samples of one prompt apart. */
  function label(sample) {
    const { name: at, step } = point(sample);
    const steps = step === null || at.includes("@") ? "" : ` (step ${report.format.number(step)})`;
    return `${at}${steps}, seed ${sample.seed}${sample.k === null ? "" : `, no. ${sample.k}`}`;
  }

  const size = (sample) => `${sample.width}×${sample.height}, ${sample.frames === 1 ? "image" : `${report.format.number(sample.frames)} frames, ${report.format.number(sample.fps)} fps`}`;
  const isSmall = (sample) => Math.max(sample.width, sample.height) < 128; // pixels are shown as such
  const said = (sample) => `sample: ${sample.prompt.slice(0, 200)}`;

  function picture(sample, address) {
    const kind = isSmall(sample) ? "small" : null;
    return report.el("img", { src: address, alt: said(sample), loading: "lazy", decoding: "async", class: kind });
  }

  function video(sample, more = {}) {
    const node = report.el("video", {
      src: sample.media, poster: sample.poster || null, preload: "none", playsinline: true, loop: true,
      "aria-label": said(sample), class: isSmall(sample) ? "small" : null, ...more,
    });
    node.muted = true;
    return node;
  }

  /* Let a player's memory go: a page holds a thousand of them. */
  function release(node) {
    node.pause();
    node.removeAttribute("src");
    node.load();
  }

  const still = (sample) => (sample.poster ? picture(sample, sample.poster) : report.el("span", { class: "note" }, "no picture"));

  // a player is there while it can be seen, a picture before and after
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const player = target.querySelector("video");
      if (isIntersecting && !player) wake(target);
      else if (!isIntersecting && player) {
        release(player);
        target.replaceChildren(still(target.sample));
        target.setAttribute("aria-pressed", "false");
      }
    }
  }, { rootMargin: "100px" });

  function wake(frame) {
    const player = video(frame.sample);
    for (const event of ["play", "pause"]) {
      player.addEventListener(event, () => frame.setAttribute("aria-pressed", String(!player.paused)));
    }
    frame.replaceChildren(player);
  }

  function toggle(frame) {
    if (!frame.querySelector("video")) wake(frame);
    const player = frame.querySelector("video");
    if (player.paused) player.play().catch(() => report.say("This browser can not play it"));
    else player.pause();
  }

  /* The picture of a sample that becomes a player once it is seen; pressing it plays. */
  function lazy(sample) {
    const shape = { "aspect-ratio": `${sample.width} / ${sample.height}` };
    if (!sample.media || !sample.is_video) {
      const inside = sample.media ? picture(sample, sample.poster || sample.media) : report.el("span", { class: "note" }, sample.absent);
      return report.el("div", { class: "player", style: shape }, inside);
    }
    const frame = report.el("button", {
      type: "button", class: "player plays", style: shape, "aria-pressed": "false", "aria-label": `play ${said(sample)}`, on: { click: () => toggle(frame) },
    }, still(sample));
    frame.sample = sample;
    seen.observe(frame);
    return frame;
  }

  /* What a sample was made from, beside it. */
  function references(sample) {
    const shown = sample.references.map((address, k) => report.el("img", { src: address, alt: `reference ${k + 1} of: ${sample.prompt.slice(0, 200)}`, loading: "lazy", decoding: "async" }));
    return shown.length ? report.el("div", { class: "references" }, report.el("span", { class: "note" }, "made from"), shown) : null;
  }

  /* Forget the players below an element that is about to go. */
  function leave(root) {
    root.querySelectorAll(".player").forEach((frame) => seen.unobserve(frame));
    root.querySelectorAll("video").forEach(release);
  }

  /* Tags of a sample; `few` leaves out those that all samples have. */
  function chips(sample, few = false) {
    const kinds = { right: "good", wrong: "bad" };
    const { tags, samples } = report.data.gallery;
    const everywhere = new Set(few ? tags.filter(([, count]) => count === samples.length).map(([tag]) => tag) : []);
    return report.el("div", { class: "chips" }, sample.tags.filter((tag) => !everywhere.has(tag)).map((tag) =>
      report.el("span", { class: `chip ${kinds[tag.split(" ").at(-1)] || ""}` }, tag)));
  }

  const values = (sample, names) => names.map((metric) => [report.format.words(metric), report.format.number(sample.values[metric])]);

  /* Settings as pairs of a path and a value. */
  function flat(value, path = "") {
    if (value === null || typeof value !== "object") return [[path, String(value)]];
    if (Array.isArray(value) && value.every((part) => typeof part !== "object")) return [[path, value.join(", ")]];
    return Object.entries(value).flatMap(([key, part]) => flat(part, path ? `${path}.${key}` : key));
  }

  /* Where a sample comes from, as a list that is opened, and the command that makes it again. */
  function provenance(sample) {
    const settings = { ...sample.own, ...report.data.gallery.settings[sample.setting] };
    const rows = flat(settings).map(([key, value]) => ({ key, value }));
    const columns = [{ key: "key", title: "setting" }, { key: "value", title: "value" }];
    return report.el("div", {},
      report.el("h4", {}, "Make it again"),
      sample.replay
        ? report.copy(sample.replay, "Copy the command")
        : report.el("p", { class: "note" }, "There is no record beside this sample that is as it was written, so no command makes it again."),
      rows.length ? report.table({ caption: "Made with", columns, rows, limit: 200 }) : null);
  }

  return { all, point, name, known, find, label, size, video, picture, release, lazy, references, leave, chips, values, provenance };
})();
