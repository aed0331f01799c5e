"use strict";
/* All that is known of one sample, in a dialog that the address names. */
report.details = function (set) {
  const body = report.el("div");
  const title = report.el("h3", { id: "details-title", tabindex: "-1" }, "Sample");
  const node = report.el("dialog", { class: "details", "aria-labelledby": "details-title" });
  const close = report.el("button", { type: "button", on: { click: () => node.close() } }, "Close");
  const [before, after] = [[-1, "‹ before"], [1, "next ›"]].map(([by, text]) =>
    report.el("button", { type: "button", on: { click: () => go(by) } }, text));
  let [now, list] = [null, []];

  function go(by) {
    const next = list[list.indexOf(now) + by];
    if (next) set({ open: report.sample.name(next) });
  }

  function leave() {
    body.querySelectorAll("video").forEach(report.sample.release);
    body.replaceChildren();
  }

  node.append(report.el("div", { class: "row" }, title, before, after, close), body);
  node.addEventListener("close", () => {
    leave();
    now = null;
    set({ open: null });
  });
  node.addEventListener("keydown", (event) => {
    if (/^(VIDEO|INPUT|SELECT|CODE)$/.test(event.target.tagName)) return; // they have keys of their own
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  });

  function fill(sample) {
    const frame = report.el("div", { class: "player large" });
    if (!sample.media) frame.append(report.el("span", { class: "note" }, sample.absent));
    else frame.append(sample.is_video ? report.sample.video(sample, { controls: true }) : report.sample.picture(sample, sample.media));
    const cleaned = (sample.own.clean_prompts || []).filter((text) => text !== sample.prompt);
    const facts = [
      ["checkpoint", report.sample.label(sample)], ["size", report.sample.size(sample)], ["seed", String(sample.seed)],
      ...report.sample.values(sample, Object.keys(sample.values)),
    ];
    body.append(frame, report.sample.references(sample) || "",
      sample.media && sample.absent ? report.el("p", { class: "warning" }, sample.absent) : "",
      report.el("p", {}, report.quote(sample.prompt, 2000)),
      ...cleaned.map((text) => report.el("p", { class: "note" }, "read as: ", report.quote(text))),
      report.sample.chips(sample), report.facts(facts), report.sample.provenance(sample));
  }

  return {
    node,
    /* Show a sample, or nothing; `samples` are those before and after it. */
    show(sample, samples) {
      list = samples;
      if (!sample) {
        if (node.open) node.close();
        return;
      }
      if (sample !== now) {
        leave();
        now = sample;
        title.textContent = report.visible(sample.id);
        fill(sample);
        node.scrollTop = 0;
      }
      before.disabled = list.indexOf(sample) <= 0;
      after.disabled = !list.includes(sample) || list.indexOf(sample) === list.length - 1;
      if (!node.open) node.showModal();
    },
  };
};
