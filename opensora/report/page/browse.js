"use strict";
/* Rows of one table, each with its player and, where rows are clips, with what a person says of it.

   The server of `opensora browse` gives the table as data and takes corrections. */
(function () {
  const { numbers, texts, tags, ranges, caption, ofClips, corrections, file, isNamed } = report.data.browse;
  const NOTHING = { caption: "", mark: "", detail: "" };
  const said = new Map(Object.entries(corrections));
  const tag = (name, word) => `${name}: ${word}`.replaceAll(",", " "); // the address separates them by commas
  const ours = ofClips ? ["corrected", "marked out"] : [];
  const words = [...Object.entries(tags).flatMap(([name, found]) => found.map((word) => tag(name, word))), ...ours];
  const known = { stage: false, tags: new Set(words), scores: new Set(numbers) };
  const of = (id) => said.get(id) || NOTHING;

  report.filter.offer({ tags: words, scores: ranges });
  // the secret is a cookie by now, and need not stand in the history
  if (location.search) history.replaceState(null, "", location.pathname + location.hash);

  /* A row is a number; its fields are looked up in the columns when somebody asks. Names that no
     column has begin with "#". */
  function itemsOf(columns) {
    class Row {
      constructor(k) {
        this["#row"] = k;
      }
      get ["#now"]() {
        return of(this.id).caption || (caption ? this[caption] : "");
      }
      get ["#mark"]() {
        const own = of(this.id);
        return [own.mark && "out", own.caption && "caption", own.detail && "note"].filter(Boolean).join(", ");
      }
    }
    for (const [name, values] of Object.entries(columns)) {
      Object.defineProperty(Row.prototype, name, { get() { return values[this["#row"]]; } });
    }
    class Item {
      constructor(k) {
        this.row = new Row(k);
      }
      get text() {
        return `${this.row.id} ${texts.map((name) => this.row[name]).join(" ")}`;
      }
      get tags() {
        const own = of(this.row.id);
        const found = Object.keys(tags).map((name) => tag(name, this.row[name]));
        return [...found, own.caption && "corrected", own.mark && "marked out"];
      }
      get values() {
        return this.row;
      }
    }
    return columns.id.map((_, k) => new Item(k));
  }

  function player(row) {
    const address = `media/${row["#row"]}${row["#part"] && row.end > row.start ? `#t=${row.start},${row.end}` : ""}`;
    const name = String(row.path || row.source || "");
    const frame = report.el("div", { class: "player" });
    const absent = () => frame.replaceChildren(report.el("p", { class: "absent" }, `This browser can not show ${name || "it"}: the file is not there, or of a kind that it does not play.`));
    const on = { error: absent };
    const isStill = row.kind === "image" || /\.(png|jpe?g|webp|avif|bmp|gif)$/i.test(name);
    if (!row.path && !row.source) absent();
    else if (isStill) frame.append(report.el("img", { src: address, alt: row["#now"].slice(0, 200), on }));
    else frame.append(report.el("video", { src: address, controls: true, loop: true, playsinline: true, autoplay: true, muted: true, "aria-label": `clip: ${row["#now"].slice(0, 200)}`, on }));
    return frame;
  }

  /* What was typed and not saved: kept while other clips are looked at. */
  const drafts = new Map();
  addEventListener("beforeunload", (event) => drafts.size && event.preventDefault());

  /* What a person says of a clip; `done` is called with what is so after it was written, and by how
     many rows to go on. */
  function form(row, done) {
    const before = of(row.id);
    const found = caption ? row[caption] : "";
    const text = report.el("textarea", { rows: 5, maxlength: 5000, dir: "auto", id: "caption" });
    const out = report.el("input", { type: "checkbox", id: "out" });
    const note = report.el("input", { type: "text", maxlength: 1000, dir: "auto", id: "note" });
    const state = report.el("p", { class: "note", role: "status" });
    text.value = found;
    const plain = text.value.trim(); // as the field has it, which knows one kind of line end
    const typed = () => ({ caption: text.value.trim() === plain ? "" : text.value.trim(), mark: out.checked ? "out" : "", detail: note.value.trim() });
    const place = before.caption ? `In place of: ${found.length > 300 ? `${found.slice(0, 300)}…` : found}` : "";
    function fill({ caption: own, mark, detail }) {
      [text.value, out.checked, note.value] = [own || found, mark === "out", detail];
    }
    function changed() {
      const now = typed();
      if (Object.keys(now).some((name) => now[name] !== before[name])) drafts.set(row.id, now);
      else drafts.delete(row.id);
      state.textContent = [drafts.has(row.id) ? "Not saved yet." : "", place].filter(Boolean).join(" ");
    }
    async function send(told, by) {
      const { caption: c, mark: m, detail: d } = before;
      try {
        const answer = await fetch("correct", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ id: row.id, ...told, before: { caption: c, mark: m, detail: d } }) });
        const reply = await answer.json();
        if (!answer.ok) return (state.textContent = report.visible(`Not saved: ${reply.sentence}. Reload the page to see what is so now.`));
        drafts.delete(row.id);
        done(reply, by);
      } catch {
        state.textContent = "Not saved: opensora browse does not answer; is it still running?";
      }
    }
    const save = (by) => (event) => (event.preventDefault(), send(typed(), by));
    const keys = (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && save(1)(event);
    const button = (label, click, title) => report.el("button", { type: "button", title, on: { click } }, label);
    fill(drafts.get(row.id) || before);
    changed();
    return report.el("form", { class: "correct", on: { submit: save(0), input: changed, keydown: keys } },
      report.el("label", { for: "caption" }, report.el("span", {}, "caption"), text),
      report.el("label", { class: "box", for: "out" }, out, "out: leave this clip out of the manifest"),
      report.el("label", { for: "note" }, report.el("span", {}, "note"), note),
      report.el("div", { class: "buttons" }, report.el("button", { type: "submit" }, "Save"),
        button("Save and next", save(1), "also Ctrl and Enter"),
        said.has(row.id) ? button("Take back", () => send(NOTHING, 0), "the caption as it was found, and the clip in") : null), state);
  }

  function facts(row) {
    const [shown, long] = [[["id", report.quote(String(row.id))]], []];
    const held = texts.filter((name) => row[name] !== "" && !(name === caption && ofClips)); // that one is in the form
    for (const name of held) {
      const [value, isLong] = [report.quote(String(row[name]), 300), String(row[name]).length > 40];
      (isLong ? long : shown).push([report.format.words(name), isLong ? report.el("span", { class: "wide" }, value) : value]);
    }
    for (const name of numbers) if (row[name] !== null) shown.push([report.format.words(name), report.format.number(row[name])]);
    return report.facts([...shown, ...long]);
  }

  function table(items, open, sorted) {
    const short = texts.filter((name) => ![caption, "text", "path", "source"].includes(name));
    const name = (row) => report.el("button", { type: "button", class: "link", on: { click: () => open(row) } }, String(row.id));
    const columns = [
      { key: "id", title: "id", cell: name },
      ...(caption ? [{ key: "#now", title: "caption", cell: (row) => report.quote(row["#now"], 160) }] : []),
      ...(ofClips ? [{ key: "#mark", title: "corrected" }] : []),
      ...short.map((key) => ({ key, title: report.format.words(key) })),
      ...numbers.map((key) => ({ key, title: report.format.words(key), kind: "number" })),
    ];
    return report.table({ caption: "Rows", columns, rows: items.map((item) => item.row), limit: 50, sorted });
  }

  async function build(root) {
    const items = itemsOf(await report.unpack(report.data.browse.rows));
    const byId = new Map(items.map(({ row }) => [String(row.id), row]));
    const open = (row) => report.state.set({ open: row.id }, { push: true });
    const [count, opened, body] = [report.el("p", { class: "note", role: "status" }), report.el("div"), report.el("div")];
    root.append(count, opened, body);
    let [before, shown, order] = [null, null, []];

    function step(row, by) {
      const next = order[order.indexOf(row) + by];
      if (next) open(next);
      else report.say(by > 0 ? "That was the last row" : "That was the first row");
    }

    function saved(row, reply, by) {
      if (reply.caption || reply.mark || reply.detail) said.set(row.id, reply);
      else said.delete(row.id);
      const next = by && order[order.indexOf(row) + by]; // it may leave the rows that are shown
      [before, shown] = [null, null];
      if (next) open(next);
      update();
      report.say(by && !next ? `Saved in ${file}; that was the last row` : `Saved in ${file}`);
    }

    function look(row) {
      if (shown === row) return;
      shown = row;
      if (!row) return opened.replaceChildren();
      const button = (label, click) => report.el("button", { type: "button", on: { click } }, label);
      const right = report.el("div", {}, report.el("div", { class: "buttons" },
        button("Previous", () => step(row, -1)), button("Next", () => step(row, 1)), button("Close", () => report.state.set({ open: null }))),
        ofClips ? form(row, (reply, by) => saved(row, reply, by)) : null);
      opened.replaceChildren(report.el("section", { class: "card", "aria-label": "One row" },
        report.el("h3", { tabindex: "-1" }, report.quote(String(row.id))),
        report.el("div", { class: "look" }, player(row), right), facts(row)));
      opened.querySelector("h3").focus({ preventScroll: true });
      opened.scrollIntoView({ block: "nearest" });
    }

    function update() {
      const filter = JSON.stringify(report.filter.current(known));
      if (filter !== before) {
        before = filter;
        const found = items.filter(report.filter.matcher(known));
        const hint = isNamed ? "" : `, which no run takes before its config says corrections: ${file}`;
        const told = ofClips ? `; ${said.size} corrected in ${file}${hint}` : "";
        count.textContent = `${report.format.number(found.length)} of ${report.format.number(items.length)} rows${report.filter.beside(known)}${report.visible(told)}`;
        body.replaceChildren(report.el("div", { class: "card" }, table(found, open, (rows) => (order = rows))));
      }
      look(byId.get(report.state.get("open")) || null);
    }
    return update;
  }

  report.section({
    id: "rows", title: "Rows", order: 1, needs: ["browse"],
    lead: ofClips ? "A row that is opened can be played, its caption corrected, and the clip marked out." : "A row that is opened can be played.",
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
