"use strict";
/* What other rules of selection would leave: thresholds to drag, the clips that stay, the YAML. */
report.rules = function (root, clips) {
  const data = report.data.lineage;
  const table = report.selection.prepare(clips, data.sources);
  const seconds = clips.seconds;
  const known = { stage: false, tags: new Set(), scores: new Set([...data.scores, ...data.numbers]) };
  /* One object gives the scores of whichever clip is asked for: a hundred thousand would be slow. */
  let at = 0;
  const cursor = {};
  for (const name of known.scores) Object.defineProperty(cursor, name, { get: () => clips[name][at] });
  class Clip {
    constructor(k) {
      this.k = k;
    }
    get text() {
      return `${clips.id[this.k]} ${clips.source[this.k]} ${clips.caption[this.k]}`;
    }
    get values() {
      at = this.k;
      return cursor;
    }
  }
  const items = clips.id.map((_, k) => new Clip(k));
  const names = Object.keys(data.sources);
  const given = report.data.curation.rules;
  const ownOf = (name) => given.sources[name] || { filters: given.filters, keep_if: given.keep_if };
  const initial = report.selection.cleaned({ ...given, sources: Object.fromEntries(names.map((name) => [name, ownOf(name)])) });
  let rules = initial;
  let reasons = [];
  let applied = ""; // the rules that gave these reasons
  let picked = null; // {name, low, high}: a bar of a histogram
  let shownSource; // whose histograms are drawn; null where the run has one source
  const histograms = new Map();

  const result = report.el("p", { class: "result" });
  const fault = report.el("p", { class: "warning", role: "alert", hidden: true });
  const yaml = report.el("div");
  const why = report.el("div");
  const list = report.el("div");
  const form = report.rulesForm(clips, data, (changes) => set({ ...rules, ...changes }), setOwn);

  /* The source whose bounds and conditions are shown: one has its own. */
  const source = () => (names.includes(report.state.get("curation.source")) ? report.state.get("curation.source") : names[0] ?? null);
  const own = () => (source() === null ? rules : rules.sources[source()]);
  const part = () => table.parts.find(({ name }) => name === source()); // its clips and columns
  const isOf = () => {
    const name = source();
    return (k) => name === null || clips.source_name[k] === name;
  };

  function set(next) {
    const same = JSON.stringify(next) === JSON.stringify(initial);
    report.state.set({ "curation.rules": same ? null : JSON.stringify(next) });
  }

  function setOwn(changes) {
    const name = source();
    set(name === null ? { ...rules, ...changes } : { ...rules, sources: { ...rules.sources, [name]: { ...own(), ...changes } } });
  }

  /* The rules stand in the address, so that a link shows them; it may come from anybody. */
  function read() {
    const text = report.state.get("curation.rules");
    let found = null;
    try {
      found = text ? JSON.parse(text) : null;
    } catch {
      found = null; // a link cut short
    }
    const asked = report.selection.cleaned({ ...structuredClone(initial), ...(found && typeof found === "object" ? found : {}) });
    return { ...asked, sources: Object.fromEntries(names.map((name) => [name, asked.sources[name] || initial.sources[name]])) };
  }

  function changeBound(name, bound) {
    const filters = { ...own().filters };
    const sides = Object.fromEntries(Object.entries(bound).filter(([, value]) => value !== null));
    if (Object.keys(sides).length) filters[name] = sides;
    else delete filters[name];
    setOwn({ filters });
  }

  function add(names, place) {
    for (const name of names) {
      const made = report.histogram({
        title: name,
        values: clips[name],
        rows: part().rows,
        bound: own().filters[name],
        change: (bound) => changeBound(name, bound),
        pick: (low, high) => {
          picked = { name, low, high };
          update();
          list.scrollIntoView({ block: "nearest" });
        },
      });
      if (!made) continue;
      histograms.set(name, made);
      place.append(made.node);
    }
  }

  function update() {
    rules = read();
    const text = JSON.stringify(rules);
    const [isChanged, isMoved] = [text !== applied, shownSource !== source()];
    if (isChanged) apply();
    if (isMoved) showSource();
    if (isChanged || isMoved) tell();
    applied = text;
    form.set(rules, own());
    const [passes, isOurs] = [report.filter.matcher(known), isOf()];
    const shown = items.filter((item) => isOurs(item.k) && passes(item));
    const seen = new Uint8Array(clips.id.length);
    for (const item of shown) seen[item.k] = 1;
    for (const [name, one] of histograms) {
      one.set(own().filters[name]);
      one.draw((k) => reasons[k] === "", (k) => seen[k]);
    }
    showClips(shown);
  }

  /* Histograms of the source that was chosen. */
  function showSource() {
    [shownSource, picked] = [source(), null];
    histograms.clear();
    for (const place of [scores, others]) place.replaceChildren();
    add(data.scores, scores);
    if (more.open) add(data.numbers, others);
  }

  function apply() {
    try {
      reasons = report.selection.apply(table, rules);
      fault.hidden = true;
    } catch (error) {
      if (!reasons.length) reasons = report.selection.apply(table, {});
      fault.textContent = report.visible(error.message);
      fault.hidden = false;
    }
  }

  /* How many clips stay, and their seconds. */
  function amount(stays) {
    let [rows, sum] = [0, 0];
    for (let k = 0; k < seconds.length; k++) {
      if (!stays(k)) continue;
      rows++;
      sum += seconds[k];
    }
    return [rows, sum];
  }

  function tell() {
    const isOurs = isOf();
    const [kept, of, ours] = [amount((k) => reasons[k] === ""), amount(() => true), amount((k) => reasons[k] === "" && isOurs(k))];
    const was = clips["#was"].reduce((count, split) => count + (split !== ""), 0);
    const evenly = data.held < data.total ? ` (an even part of all ${report.format.number(data.total)})` : "";
    const here = source() === null ? "" : ` Of ${source()} ${report.format.number(ours[0])} of ${report.format.number(part().rows.length)} stay, ${report.format.seconds(ours[1])}.`;
    result.textContent = `${report.format.number(kept[0])} of ${report.format.number(of[0])} clips stay${evenly}, ${report.format.seconds(kept[1])} of ${report.format.seconds(of[1])}; this run kept ${report.format.number(was)}.${here}`;
    [result.dataset.kept, result.dataset.seconds] = kept;
    yaml.replaceChildren(...(fault.hidden ? printed() : []));
    const counts = new Map();
    reasons.forEach((reason, k) => {
      if (reason === "") return;
      const line = counts.get(reason) || { reason, rows: 0, seconds: 0 };
      line.rows++;
      line.seconds += seconds[k];
      counts.set(reason, line);
    });
    const columns = [
      { key: "reason", title: "reason", cell: (row) => report.format.words(row.reason) },
      { key: "rows", title: "clips", kind: "number" },
      { key: "seconds", title: "footage", kind: "seconds" },
    ];
    why.replaceChildren(counts.size ? report.table({ caption: "What these rules reject", columns, rows: [...counts.values()] }) : report.el("p", { class: "note" }, "These rules reject nothing."));
  }

  /* What to paste: all rules, or those of the run and of the sources that were changed or chosen. */
  function printed() {
    const { ownYaml, runYaml } = report.selection;
    const copy = (lines) => report.copy(`${lines.join("\n")}\n`, "Copy YAML");
    if (!names.length) return [copy([...ownYaml(rules), ...runYaml(rules)])];
    const isChanged = (name) => JSON.stringify(rules.sources[name]) !== JSON.stringify(initial.sources[name]);
    const blocks = names.filter((name) => name === source() || isChanged(name)).map((name) => report.el("div", { "data-source": name },
      report.el("p", {}, "Below ", report.el("code", {}, `- name: ${name}`), ", of its sources:"), copy(ownYaml(rules.sources[name]).map((line) => `    ${line}`))));
    return [...blocks, report.el("div", {}, report.el("p", {}, "Of the run, beside its sources:"), copy(runYaml(rules)))];
  }

  function showClips(shown) {
    const inside = (k) => {
      const value = clips[picked.name][k];
      return value !== null && value >= picked.low && value < picked.high;
    };
    const rows = (picked ? shown.filter((item) => inside(item.k)) : shown).map(({ k }) => k);
    const columns = [
      { key: "id", title: "clip" },
      { key: "stays", title: "stays" },
      { key: "source", title: "source" },
      { key: "start", title: "from (s)", kind: "number" },
      { key: "end", title: "to (s)", kind: "number" },
      { key: "caption", title: "caption" },
      ...data.scores.filter((name) => part().kinds.has(name)).map((name) => ({ key: name, title: report.format.words(name), kind: "number" })),
    ];
    const row = (k) => ({ ...Object.fromEntries(columns.map(({ key }) => [key, clips[key]?.[k]])), stays: reasons[k] === "" ? clips["#was"][k] || "yes" : report.format.words(reasons[k]) });
    const where = picked ? `, ${report.format.words(picked.name)} from ${report.format.number(picked.low)} to ${report.format.number(picked.high)}` : "";
    const reset = () => {
      picked = null;
      update();
    };
    list.replaceChildren(
      report.el("h3", {}, "Clips", report.el("small", {}, `${report.format.number(rows.length)} pass the filter${where}${report.filter.beside(known)}`), picked ? report.el("button", { type: "button", class: "link", on: { click: reset } }, "all of them") : ""),
      report.el("div", { class: "card" }, report.table({ caption: "Clips with their source and scores", columns, rows, row, limit: 25 })),
    );
    list.dataset.rows = rows.length;
  }

  const choice = report.el("select", { on: { change: () => report.state.set({ "curation.source": choice.value }, { push: true }) } }, names.map((name) => report.el("option", { value: name }, name)));
  report.state.subscribe(() => (choice.value = source() ?? ""));
  choice.value = source() ?? "";
  const chooser = names.length ? report.el("div", { class: "card rules" }, report.el("label", {}, report.el("span", {}, "bounds and conditions of the source"), choice)) : "";
  const scores = report.el("div", { class: "figures" });
  const others = report.el("div", { class: "figures" });
  const more = report.el("details", {}, report.el("summary", {}, "Thresholds on size, length and format"), others);
  more.addEventListener("toggle", () => {
    if (others.children.length) return;
    add(data.numbers, others);
    update();
  });
  root.append(
    report.el("h3", {}, "What other rules would leave"),
    report.el("p", { class: "lead" }, "Drag a threshold, or type it. Coloured bars stay, grey ones leave; a click on a bar lists its clips. The rules are applied in the order of build_manifest: bounds, conditions, licences, near-duplicates, cap."),
    names.length ? report.el("p", { class: "lead" }, "Each source has bounds and conditions of its own; the other rules are the run's, over all sources.") : "",
    report.el("div", { class: "card sticky" }, result, fault, report.el("button", { type: "button", on: { click: () => set(structuredClone(initial)) } }, "As in this run")),
    chooser, scores, more, form.node,
    report.el("h3", {}, "Rules to paste into the config of the workflow"),
    yaml,
    report.el("div", { class: "card" }, why),
    list,
  );
  report.kept = () => clips.id.filter((_, k) => reasons[k] === ""); // for scripts and tests
  return update;
};

/* The rules that are no bounds. */
report.rulesForm = function (clips, data, change, changeOwn) {
  const conditions = report.el("textarea", { rows: "3", spellcheck: "false" });
  conditions.addEventListener("change", () => changeOwn({ keep_if: conditions.value.split("\n").map((line) => line.trim()).filter(Boolean) }));
  const number = (label, set) => {
    const field = report.el("input", { type: "number", min: "0", step: "1", placeholder: "none" });
    field.addEventListener("change", () => set(field.value === "" ? null : Math.round(Number(field.value))));
    return { field, label: report.el("label", {}, report.el("span", {}, label), field) };
  };
  const distance = number("near-duplicates: bits that may differ", (value) => change({ dedup: { max_distance: value } }));
  const cap = number("clips of a source at most", (value) => change({ max_clips_per_source: value || null }));
  const prefer = report.el("select", {}, report.el("option", { value: "" }, "larger, then longer"), data.scores.map((name) => report.el("option", { value: name }, report.format.words(name))));
  prefer.addEventListener("change", () => change({ prefer: prefer.value || null }));
  const names = [...new Set(clips.licence || [])].sort();
  const boxes = names.map((name) => {
    const box = report.el("input", { type: "checkbox" });
    box.addEventListener("change", () => change({ licences: names.filter((_, k) => boxes[k].box.checked) }));
    return { box, name, label: report.el("label", { class: "check" }, box, name === "" ? "(none known)" : report.quote(name)) };
  });
  const node = report.el("div", { class: "card rules" },
    report.el("label", { class: "wide" }, report.el("span", {}, "conditions (keep_if), one a line, as flow > 12 or kind == 'image'"), conditions),
    clips.phash ? distance.label : "", cap.label,
    report.el("label", {}, report.el("span", {}, "preferred among duplicates and under the cap"), prefer),
    names.length ? report.el("fieldset", {}, report.el("legend", {}, "allowed licences; none ticked allows all"), boxes.map((one) => one.label)) : "");

  function set(rules, own) {
    if (document.activeElement !== conditions) conditions.value = own.keep_if.join("\n");
    distance.field.value = rules.dedup?.max_distance ?? "";
    cap.field.value = rules.max_clips_per_source ?? "";
    prefer.value = rules.prefer ?? "";
    for (const { box, name } of boxes) box.checked = rules.licences.includes(name);
  }
  return { node, set };
};
