"use strict";
/* Several videos that play as one: started together, held together, stepped by frames. */
report.together = function ({ videos, fps, frames, show }) {
  let playing = false;
  let ticket = 0;
  const lead = () => videos.find((video) => !video.error) || videos[0];
  const frameOf = (video) => Math.min(frames - 1, Math.max(0, Math.floor(video.currentTime * fps + 1e-3)));

  /* Wait until a video can show something, or says that it never will. */
  function ready(video) {
    if (video.readyState >= 3 || video.error) return Promise.resolve();
    return new Promise((resolve) => {
      video.addEventListener("canplay", resolve, { once: true });
      video.addEventListener("error", resolve, { once: true });
      if (video.preload === "none") {
        video.preload = "auto";
        video.load();
      }
    });
  }

  async function seek(frame) {
    await Promise.all(videos.map(ready));
    const wanted = Math.min(frames - 1, Math.max(0, frame));
    for (const video of videos) {
      // the middle of the frame: its very edge may show the one before
      video.currentTime = Math.min((wanted + 0.5) / fps, video.duration || 0);
    }
    show(wanted, playing);
  }

  function tick() {
    if (!playing) return;
    const first = lead();
    if (first.ended) {
      for (const video of videos) {
        video.currentTime = 0;
        video.play().catch(() => {});
      }
    }
    for (const video of videos) {
      const apart = Math.abs(video.currentTime - first.currentTime);
      if (video !== first && !video.seeking && !video.ended && apart > 1 / fps) video.currentTime = first.currentTime;
    }
    show(frameOf(first), playing);
    ticket = requestAnimationFrame(tick);
  }

  function pause() {
    playing = false;
    cancelAnimationFrame(ticket);
    videos.forEach((video) => video.pause());
    show(frameOf(lead()), playing);
  }

  async function play() {
    playing = true;
    await Promise.all(videos.map(ready)); // none starts before the slowest can
    if (!playing) return;
    if (frameOf(lead()) >= frames - 1) await seek(0);
    await Promise.allSettled(videos.map((video) => video.play()));
    tick();
  }

  return {
    play,
    pause,
    seek,
    toggle: () => (playing ? pause() : play()),
    step: (by) => {
      if (playing) pause();
      return seek(frameOf(lead()) + by);
    },
    end() {
      playing = false;
      cancelAnimationFrame(ticket);
      videos.forEach(report.sample.release);
    },
  };
};

/* Samples of one prompt side by side: names in the address, each changed by a list. */
report.compare = function (root, { names, change }) {
  const samples = names.map(report.sample.find).filter(Boolean);
  if (!samples.length) return null;
  const family = report.sample.all().filter((one) => one.prompt === samples[0].prompt);
  const numbers = report.data.gallery.metrics.filter((metric) => samples.some((one) => metric in one.values));

  function choice(sample, at) {
    const same = family.filter((one) => one.pair === sample.pair);
    const others = family.filter((one) => one.pair !== sample.pair);
    const option = (one) => report.el("option", { value: report.sample.name(one), selected: one === sample }, report.sample.label(one));
    const pick = report.el("select", { "aria-label": `sample ${at + 1}` },
      report.el("optgroup", { label: "the same noise" }, same.map(option)),
      others.length ? report.el("optgroup", { label: "other noise" }, others.map(option)) : null);
    pick.value = report.sample.name(sample);
    pick.addEventListener("change", () => change(samples.map((one, k) => (k === at ? pick.value : report.sample.name(one)))));
    return pick;
  }

  const videos = [];
  const columns = samples.map((sample, at) => {
    const frame = report.el("div", { class: "player", style: { "aspect-ratio": `${sample.width} / ${sample.height}` } });
    if (!sample.media) frame.append(report.el("span", { class: "note" }, sample.absent));
    else if (sample.is_video) {
      const video = report.sample.video(sample, { loop: false });
      videos.push(video);
      frame.append(video);
    } else frame.append(report.sample.picture(sample, sample.media));
    const leave = () => change(samples.filter((_, k) => k !== at).map(report.sample.name));
    return report.el("div", { class: "column" },
      report.el("div", { class: "row" }, choice(sample, at),
        report.el("button", { type: "button", "aria-label": `remove sample ${at + 1}`, on: { click: leave } }, "×")),
      frame, report.facts(report.sample.values(sample, numbers)));
  });

  const longest = samples.reduce((a, b) => (b.frames > a.frames ? b : a));
  const bar = videos.length ? controls(videos, longest) : null;
  const spare = family.find((one) => !samples.includes(one) && one.pair === samples[0].pair) || family.find((one) => !samples.includes(one));
  const add = () => change([...samples, spare].map(report.sample.name));
  const panel = report.el("section", { class: "card compare", "aria-label": "Side by side" },
    report.el("div", { class: "row" }, report.el("h3", { tabindex: "-1" }, "Side by side"),
      spare ? report.el("button", { type: "button", on: { click: add } }, "Add one") : null,
      report.el("button", { type: "button", on: { click: () => change([]) } }, "Close")),
    report.quote(samples[0].prompt),
    bar && bar.node,
    report.el("div", { class: "columns" }, columns));
  if (bar) panel.addEventListener("keydown", bar.press);
  root.append(panel);
  return { end: () => bar && bar.clock.end() };

  function controls(players, sample) {
    const toggle = report.el("button", { type: "button" }, "Play");
    const place = report.el("input", { type: "range", min: 0, max: sample.frames - 1, step: 1, value: 0, "aria-label": "frame" });
    const where = report.el("output", {});
    const show = (frame, playing) => {
      place.value = frame;
      where.textContent = `frame ${frame + 1} of ${sample.frames}`;
      toggle.textContent = playing ? "Pause" : "Play";
    };
    const clock = report.together({ videos: players, fps: sample.fps, frames: sample.frames, show });
    const button = (text, title, click) => report.el("button", { type: "button", "aria-label": title, title, on: { click } }, text);
    toggle.addEventListener("click", clock.toggle);
    place.addEventListener("input", () => {
      const frame = Number(place.value); // pausing shows another one
      clock.pause();
      clock.seek(frame);
    });
    show(0, false);
    const node = report.el("div", { class: "row", role: "group", "aria-label": "all players" },
      button("‹", "one frame back (,)", () => clock.step(-1)), toggle,
      button("›", "one frame on (.)", () => clock.step(1)), place, where);
    const keys = { ",": () => clock.step(-1), ".": () => clock.step(1), k: clock.toggle };
    const press = (event) => {
      if (keys[event.key] && !/^(SELECT|INPUT|TEXTAREA)$/.test(event.target.tagName)) {
        event.preventDefault();
        keys[event.key]();
      }
    };
    return { node, clock, press };
  }
};
