"use strict";
/* Navigation, and the section that the address names. Loaded last. */
(function () {
  const main = document.getElementById("main");
  const links = new Map();
  const open = new Map(); // id of a section -> {root, update, seen}

  function build(section) {
    const root = report.el("section", { id: `section-${section.id}`, "aria-labelledby": `title-${section.id}` });
    root.append(report.el("h2", { id: `title-${section.id}`, tabindex: "-1" }, section.title));
    if (section.lead) root.append(report.el("p", { class: "lead" }, section.lead));
    main.append(root);
    const made = { root, update: null, seen: null };
    if (section.needs.some((name) => !report.data[name])) {
      root.append(report.el("p", { class: "absent" }, section.absent));
      return made;
    }
    const body = report.el("div");
    root.append(body);
    made.update = section.build(body) || null;
    return made;
  }

  function show() {
    const wanted = report.state.section();
    const section = report.sections.find((one) => one.id === wanted) || report.sections[0];
    if (!open.has(section.id)) open.set(section.id, build(section));
    for (const [id, made] of open) made.root.hidden = id !== section.id;
    for (const [id, link] of links) {
      link.href = report.state.link(id);
      if (id === section.id) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const made = open.get(section.id);
    if (made.update && made.seen !== location.hash) made.update();
    made.seen = location.hash;
    document.title = `${section.title}, ${document.body.dataset.run}`;
    document.body.dataset.section = section.id; // what a test waits for
  }

  function move(event) {
    const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      document.getElementById("q").focus();
    } else if (event.key === "[" || event.key === "]") {
      const at = report.sections.findIndex((one) => one.id === document.body.dataset.section);
      const next = report.sections[at + (event.key === "]" ? 1 : -1)];
      if (next) go(next.id);
    }
  }

  function go(id) {
    report.state.set({}, { push: true, section: id });
    document.getElementById(`title-${id}`).focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  const list = document.getElementById("sections");
  for (const section of report.sections) {
    const link = report.el("a", { href: `#${section.id}` }, section.title);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go(section.id);
    });
    links.set(section.id, link);
    list.append(report.el("li", {}, link));
  }
  report.filter.build(document.getElementById("filter"));
  report.go = go;
  document.addEventListener("keydown", move);
  report.state.subscribe(show);
  show();
})();
