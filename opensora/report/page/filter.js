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

  /* The filter as it stands in the address, for items that have `known`.

     known: {stage: false where they have none, tags, scores: anything with `has(name)`}; what is
     left out counts as known. `others` names what is set and speaks of items of other sections. */
  function current(known = {}) {
    const all = [];
    for (const key of report.state.keys()) {
      const [, side, name] = key.match(/^(low|high)\.(.+)$/) || [];
      const value = Number(report.state.get(key));
      if (name && Number.isFinite(value)) all.push({ key, side, name, value });
    }
    const every = report.state.get("tag").split(",").filter(Boolean);
    const stage = known.stage === false ? "" : report.state.get("stage");
    const tags = every.filter((tag) => !known.tags || known.tags.has(tag));
    const bounds = all.filter(({ name }) => !known.scores || known.scores.has(name));
    const others = new Set([
      ...(stage ? [] : [report.state.get("stage")]),
      ...every.filter((tag) => !tags.includes(tag)),
      ...all.filter((bound) => !bounds.includes(bound)).map(({ name }) => report.format.words(name)),
    ].filter(Boolean));
    return { q: report.state.get("q"), stage, tags, bounds, others: [...others] };
  }

  /* Said behind a count: what of the filter had no part in it. */
  function beside(known) {
    const { others } = current(known);
    if (!others.length) return "";
    const names = others.length > 1 ? `${others.slice(0, -1).join(", ")} and ${others.at(-1)} do` : `${others[0]} does`;
    return report.visible(`; ${names} not apply here`);
  }

  /* A function that tells whether an item passes: {text, stage, tags, values}.

     `known` as above. All words must occur in the text; a clip or sample without a value that others
     of its section have does not pass a bound on it. */
  function matcher(known) {
    const { q, stage, tags, bounds } = current(known);
    const words = q.toLowerCase().split(/\s+/).filter(Boolean);
    return (item) => {
      if (stage && item.stage !== undefined && item.stage !== stage) return false;
      if (tags.length && item.tags && !tags.every((tag) => item.tags.includes(tag))) return false;
      for (const { side, name, value } of item.values ? bounds : []) {
        const found = item.values[name] ?? NaN; // null would count as 0
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

  function select(label, first, options, choose) {
    if (!options.length) return null;
    const choices = [["", first], ...options.map((name) => [name, name])];
    const node = report.el("select", { on: { change: () => choose(node) } }, choices.map(([value, text]) => report.el("option", { value }, text)));
    return report.el("label", {}, report.el("span", {}, label), node);
  }

  function stages() {
    const label = select("stage", "any stage", [...offered.stages], (node) => report.state.set({ stage: node.value }, { push: true }));
    const show = () => label && (label.querySelector("select").value = report.state.get("stage"));
    report.state.subscribe(show);
    show();
    return label;
  }

  /* A tag is added to those that are set, which stand below, each with its way back. */
  const tags = () => select("tag", "add a tag", [...offered.tags].sort(), (node) => {
    const tag = [...new Set([...current().tags, node.value])].join(",");
    node.value = "";
    report.state.set({ tag }, { push: true });
  });

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
        stages(),
        tags(),
        scoreBounds()),
      set,
    );
    report.state.subscribe(show);
    show();
  }

  return { offer, current, matcher, beside, clear, build };
})();
