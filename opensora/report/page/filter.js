"use strict";
/* One filter over everything that has a text, a stage, tags or scores. */
report.filter = (function () {
  const offered = { stages: new Set(), tags: new Set(), scores: new Map() };

  /* Say what can be filtered by: {stages: [..], tags: [..], scores: {name: [low, high]}}. */
  function offer({ stages = [], tags = [], scores = {} }) {
    stages.forEach((name) => offered.stages.add(name));
    tags.forEach((name) => offered.tags.add(name));
    for (const [name, [low, high]] of Object.entries(scores)) {
      const [first, last] = offered.scores.get(name) || [Infinity, -Infinity];
      offered.scores.set(name, [Math.min(low, first), Math.max(high, last)]);
    }
  }

  /* The filter as it stands, from the address. */
  function current() {
    const bounds = [];
    for (const key of report.state.keys()) {
      const [, side, name] = key.match(/^(low|high)\.(.+)$/) || [];
      const value = Number(report.state.get(key));
      if (name && Number.isFinite(value)) bounds.push({ key, side, name, value });
    }
    const tags = report.state.get("tag").split(",").filter(Boolean);
    return { q: report.state.get("q"), stage: report.state.get("stage"), tags, bounds };
  }

  /* A function that tells whether an item passes: {text, stage, tags, values}.

     What an item does not have at all does not keep it out; all words must occur in the text. */
  function matcher() {
    const { q, stage, tags, bounds } = current();
    const words = q.toLowerCase().split(/\s+/).filter(Boolean);
    return (item) => {
      if (stage && item.stage !== undefined && item.stage !== stage) return false;
      if (tags.length && item.tags && !tags.every((tag) => item.tags.includes(tag))) return false;
      for (const { side, name, value } of item.values ? bounds : []) {
        const found = item.values[name];
        if (!(side === "low" ? found >= value : found <= value)) return false;
      }
      if (!words.length || item.text === undefined) return true;
      item.lower ??= item.text.toLowerCase(); // made once
      return words.every((word) => item.lower.includes(word));
    };
  }

  function clear() {
    const set = report.state.keys().filter((key) => /^(q$|stage$|tag$|low\.|high\.)/.test(key));
    report.state.set(Object.fromEntries(set.map((key) => [key, null])), { push: true });
  }

  function select(label, key, options) {
    if (!options.length) return null;
    const choices = [["", `any ${label}`], ...options.map((name) => [name, name])];
    const node = report.el(
      "select",
      { on: { change: () => report.state.set({ [key]: node.value }, { push: true }) } },
      choices.map(([value, text]) => report.el("option", { value }, text)),
    );
    report.state.subscribe(() => (node.value = report.state.get(key).split(",")[0]));
    node.value = report.state.get(key).split(",")[0];
    return report.el("label", {}, report.el("span", {}, label), node);
  }

  function scoreBounds() {
    const names = [...offered.scores.keys()];
    if (!names.length) return null;
    const which = report.el("select", {}, names.map((name) => report.el("option", { value: name }, report.format.words(name))));
    const side = report.el("select", { "aria-label": "side of the bound" }, report.el("option", { value: "low" }, "at least"), report.el("option", { value: "high" }, "at most"));
    const value = report.el("input", { type: "number", step: "any", "aria-label": "value of the bound" });
    const hint = () => (value.placeholder = offered.scores.get(which.value).map((v) => report.format.number(v)).join(" to "));
    which.addEventListener("change", hint);
    const add = (event) => {
      event.preventDefault();
      if (value.value !== "") report.state.set({ [`${side.value}.${which.value}`]: value.value }, { push: true });
    };
    hint();
    return report.el("form", { class: "bound", on: { submit: add } }, report.el("label", {}, report.el("span", {}, "score"), which), side, value, report.el("button", {}, "Add"));
  }

  /* What is set, each with a button that takes it back. */
  function chips() {
    const { q, stage, tags, bounds } = current();
    const chip = (text, changes) => {
      const remove = () => report.state.set(changes, { push: true });
      return report.el("button", { class: "chip", type: "button", "aria-label": `remove ${text}`, on: { click: remove } }, `${text} ×`);
    };
    const all = [
      q && chip(`“${q}”`, { q: null }),
      stage && chip(stage, { stage: null }),
      ...tags.map((tag) => chip(tag, { tag: tags.filter((other) => other !== tag).join(",") })),
      ...bounds.map((b) => chip(`${report.format.words(b.name)} ${b.side === "low" ? "≥" : "≤"} ${b.value}`, { [b.key]: null })),
    ].filter(Boolean);
    if (all.length) all.push(report.el("button", { class: "link", type: "button", on: { click: clear } }, "clear all"));
    return all;
  }

  /* Fill the bar above the sections. */
  function build(root) {
    const search = report.el("input", { type: "search", id: "q", placeholder: "words of prompts, captions, names", maxlength: "500" });
    let waiting = 0;
    search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => report.state.set({ q: search.value }), 120);
    });
    const set = report.el("div", { class: "chips", role: "group", "aria-label": "what is filtered by" });
    const show = () => {
      if (document.activeElement !== search) search.value = report.state.get("q");
      set.replaceChildren(...chips());
    };
    root.append(
      report.el("div", { class: "filters" },
        report.el("label", { class: "wide" }, report.el("span", {}, "search"), search),
        select("stage", "stage", [...offered.stages]),
        select("tag", "tag", [...offered.tags].sort()),
        scoreBounds()),
      set,
    );
    report.state.subscribe(show);
    show();
  }

  return { offer, current, matcher, clear, build };
})();
