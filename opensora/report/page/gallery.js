"use strict";
/* All samples: filtered with everything else, sorted by any metric, one checkpoint or all. */
(function () {
  const CHUNK = 24; // cards that are made at a time; more come while one scrolls
  const MOST = 4; // columns side by side to begin with
  const data = report.data.gallery;
  if (data) offer();

  function offer() {
    const scores = {};
    for (const sample of data.samples) {
      for (const [metric, value] of Object.entries(sample.values)) {
        const [low, high] = scores[metric] || [Infinity, -Infinity];
        scores[metric] = [Math.min(low, value), Math.max(high, value)];
      }
    }
    const stages = new Set(data.points.map((point) => point.stage));
    report.filter.offer({ stages, tags: data.tags.map(([tag]) => tag), scores });
  }

  const get = (key, otherwise = "") => report.state.get(`gallery.${key}`, otherwise);
  function set(changes, how = {}) {
    report.state.set(Object.fromEntries(Object.entries(changes).map(([key, value]) => [`gallery.${key}`, value])), how);
  }
  const listed = (key) => get(key).split(",").filter(Boolean).map(decodeURIComponent);

  /* The checkpoints among which the slider chooses: those of the stage that is filtered by. */
  function points() {
    const stage = report.state.get("stage");
    const numbers = data.points.map((_, k) => k);
    return stage ? numbers.filter((k) => data.points[k].stage === stage) : numbers;
  }

  /* The number of the checkpoint that is shown; null for all of them. */
  function chosen() {
    const among = points();
    if (get("point") === "all") return null;
    const named = among.find((k) => data.points[k].name === get("point"));
    return named ?? among.at(-1) ?? null;
  }

  function order() {
    const [key, down] = [get("sort"), get("down") === "1"];
    const number = (a, b) => a.pair - b.pair || a.point - b.point;
    if (!key) return down ? (a, b) => number(b, a) : number;
    if (key === "prompt") {
      const text = new Intl.Collator("en", { numeric: true }).compare;
      return (a, b) => (down ? text(b.prompt, a.prompt) : text(a.prompt, b.prompt)) || number(a, b);
    }
    return (a, b) => {
      const [one, other] = [a.values[key], b.values[key]];
      if (one === undefined || other === undefined) return (one === undefined) - (other === undefined) || number(a, b);
      return (down ? other - one : one - other) || number(a, b);
    };
  }

  function wanted(items) {
    const [passes, point] = [report.filter.matcher(report.sample.known()), chosen()];
    const found = items.filter((item) => (point === null || item.sample.point === point) && passes(item));
    return found.map((item) => item.sample).sort(order());
  }

  function card(sample) {
    const name = report.sample.name(sample);
    const key = get("sort");
    const value = key && key !== "prompt" ? `${report.format.words(key)} ${report.format.number(sample.values[key])}` : "";
    const button = (text, click) => report.el("button", { type: "button", class: "link", "aria-label": `${text}: ${sample.prompt.slice(0, 100)}`, on: { click } }, text);
    return report.el("li", { class: "sample", "data-sample": name },
      report.sample.lazy(sample),
      report.sample.references(sample),
      report.quote(sample.prompt, 140),
      report.el("p", { class: "note" }, report.sample.label(sample), value ? report.el("strong", {}, ` · ${value}`) : null),
      report.sample.chips(sample, true),
      report.el("div", { class: "row" },
        button("Details", () => set({ open: name }, { push: true })),
        button("Compare", () => compare(sample))));
  }

  /* Begin with the same noise at other checkpoints; where there are none, with other noise. */
  function compare(sample) {
    const alike = data.samples.filter((one) => one.pair === sample.pair && one !== sample);
    const same = data.samples.filter((one) => one.prompt === sample.prompt && one.pair !== sample.pair && one.point === sample.point);
    const others = (alike.length ? alike : same).slice(1 - MOST);
    const ordered = [...others, sample].sort((a, b) => a.point - b.point || a.pair - b.pair);
    set({ compare: names(ordered.map(report.sample.name)) }, { push: true });
    scrollTo({ top: 0 });
  }

  const names = (list) => list.map(encodeURIComponent).join(",");

  function slider() {
    const among = points();
    const at = chosen();
    const range = report.el("input", { type: "range", id: "checkpoint", min: 0, max: Math.max(among.length - 1, 0), step: 1, disabled: among.length < 2 });
    range.value = at === null ? among.length - 1 : among.indexOf(at);
    const text = (k) => {
      const point = data.points[k];
      return point ? `${point.name}${point.step === null ? "" : `, step ${report.format.number(point.step)}`}` : "none";
    };
    const where = report.el("output", { for: "checkpoint" }, at === null ? "all" : text(at));
    range.setAttribute("aria-valuetext", where.textContent);
    range.addEventListener("input", () => {
      where.textContent = text(among[range.value]);
      range.setAttribute("aria-valuetext", where.textContent);
      all.setAttribute("aria-pressed", "false");
      set({ point: data.points[among[range.value]].name });
    });
    const all = report.el("button", { type: "button", "aria-pressed": String(at === null), on: { click: () => set({ point: at === null ? null : "all" }) } }, "All checkpoints");
    return [report.el("label", { for: "checkpoint" }, "Checkpoint"), range, where, among.length > 1 ? all : null];
  }

  function sorting() {
    const keys = [["", "as sampled"], ["prompt", "prompt"], ...data.metrics.map((metric) => [metric, report.format.words(metric)])];
    const pick = report.el("select", { id: "sort" }, keys.map(([value, text]) => report.el("option", { value }, text)));
    pick.addEventListener("change", () => set({ sort: pick.value, down: data.metrics.includes(pick.value) ? "1" : null }));
    const turn = report.el("button", { type: "button", on: { click: () => set({ down: get("down") === "1" ? null : "1" }) } });
    const show = () => {
      pick.value = get("sort");
      turn.textContent = get("down") === "1" ? "▼ falling" : "▲ rising";
    };
    return { nodes: [report.el("label", { for: "sort" }, "Sort by"), pick, turn], show };
  }

  function build(root) {
    const items = data.samples.map((sample) => ({
      sample, text: `${sample.prompt} ${sample.id}`, stage: data.points[sample.point].stage, tags: sample.tags, values: sample.values,
    }));
    const [side, checkpoint, count] = [report.el("div"), report.el("div", { class: "row" }), report.el("p", { class: "note", role: "status" })];
    const sort = sorting();
    const play = report.el("button", { type: "button", on: { click: () => playSeen(grid, play) } }, "Play what is seen");
    const grid = report.el("ul", { class: "gallery" });
    const more = report.el("button", { type: "button", class: "more" }, "show more");
    const dialog = report.details(set);
    root.append(checkpoint, report.el("div", { class: "row" }, sort.nodes, play), side, count, grid, more, dialog.node);

    let [shown, list, panel, beside] = [0, null, null, null];
    function add() {
      grid.append(...list.slice(shown, shown + CHUNK).map(card));
      shown = Math.min(shown + CHUNK, list.length);
      more.hidden = shown === list.length;
    }
    const end = new IntersectionObserver((entries) => {
      if (more.hidden || !entries.some((entry) => entry.isIntersecting)) return;
      add();
      watchEnd(); // it may be in sight still, which is no news to the observer
    }, { rootMargin: "800px" });
    function watchEnd() {
      end.unobserve(more);
      end.observe(more);
    }
    more.addEventListener("click", add);

    let looks = null; // what the cards depend on besides the list
    function showGrid() {
      const next = wanted(items);
      const said = `${report.format.number(next.length)} of ${report.format.number(items.length)} samples${report.filter.beside(report.sample.known())}`;
      if (count.textContent !== said) count.textContent = said; // else it would be read out again
      const same = list && looks === get("sort") && next.length === list.length && next.every((sample, k) => sample === list[k]);
      if (same) return;
      [list, looks, shown] = [next, get("sort"), 0];
      report.sample.leave(grid);
      grid.replaceChildren();
      add();
      watchEnd();
    }

    function showBeside() {
      if (beside === get("compare")) return;
      beside = get("compare");
      if (panel) panel.end();
      side.replaceChildren();
      panel = beside ? report.compare(side, { names: listed("compare"), change: (chosen) => set({ compare: names(chosen) }) }) : null;
    }

    return () => {
      if (document.activeElement?.id !== "checkpoint") checkpoint.replaceChildren(...slider().filter(Boolean));
      sort.show();
      showBeside();
      showGrid();
      dialog.show(report.sample.find(get("open")), list);
    };
  }

  /* Start the players that are in sight, or stop them all. */
  function playSeen(grid, button) {
    const players = [...grid.querySelectorAll("video")];
    const stop = players.some((video) => !video.paused);
    players.forEach((video) => (stop ? video.pause() : video.play().catch(() => {})));
    button.textContent = stop ? "Play what is seen" : "Pause";
  }

  report.section({
    id: "gallery", title: "Samples", order: 50, needs: ["gallery"],
    lead: "Every sample of the run. Details of one say how it was made and give the command that makes it again.",
    absent: "Nothing is sampled yet; rule sample does it.",
    build,
  });
})();
