"use strict";
/* Curves of every stage of training. */
(function () {
  const MOST = 6; // lines of a chart to begin with; more can not be told apart
  const SMOOTHING = 30; // lines of the running mean: a line holds few clips of a noise band
  const TITLES = {
    loss: "Loss", grad_norm: "Gradient norm", lr: "Learning rate", loss_by_band: "Loss by noise", loss_by_bucket: "Loss by size",
    held_out_loss: "Held-out loss", samples_per_s: "Samples a second", tokens_per_s: "Tokens a second",
    mfu: "Model FLOPs utilisation", data_wait_s: "Seconds waited for data, a line", memory_gb: "Peak memory, GB",
  };
  const WITHOUT_LOG = new Set(["lr", "mfu", "data_wait_s", "samples_per_s", "tokens_per_s", "memory_gb"]);
  const title = (name) => TITLES[name] || report.format.words(name);
  const smoothing = () => Math.max(1, Number(report.state.get("training.mean")) || SMOOTHING);
  const isLog = (name) => report.state.get("training.log") === "1" && !WITHOUT_LOG.has(name);

  /* The running mean of what is known: exponential, each line weighs 2 / (span + 1). */
  function mean(values, span) {
    const weight = 2 / (span + 1);
    let [sum, total] = [0, 0];
    return values.map((value) => {
      if (value === null) return null;
      sum = sum * (1 - weight) + value * weight;
      total = total * (1 - weight) + weight;
      return sum / total;
    });
  }

  const last = (values) => values.findLast((value) => value !== null);

  function middle(values) {
    const known = values.filter((value) => value !== null).sort((a, b) => a - b);
    return known[Math.floor(known.length / 2)];
  }

  function chart(name, series, note) {
    return report.lines({ title: title(name), note, series, isLog: isLog(name) });
  }

  /* One chart of the parts of a loss; those with the most values where there are many. */
  function parts(name, steps, group, span, prefix = "") {
    const names = Object.keys(group);
    if (names.length < 2) return null; // the only one is the whole, which has a chart
    const count = (part) => group[part].filter((value) => value !== null).length;
    const kept = new Set([...names].sort((a, b) => count(b) - count(a)).slice(0, MOST));
    const series = (of) => of.map((part) => ({ name: part, x: steps, y: span > 1 ? mean(group[part], span) : group[part] }));
    const rest = names.filter((part) => !kept.has(part));
    const note = `${span > 1 ? "running mean" : "each measurement"}${rest.length ? `; ${rest.length} more below` : ""}`;
    const label = prefix ? `${prefix}${title(name).toLowerCase()}` : title(name);
    const draw = (of, remark) => report.lines({ title: label, note: remark, series: series(of), isLog: isLog(name) });
    const figures = [draw(names.filter((part) => kept.has(part)), note)];
    for (let k = 0; k < rest.length; k += MOST) figures.push(draw(rest.slice(k, k + MOST), "those with fewer values"));
    return figures;
  }

  function losses(one, span) {
    const { steps, curves } = one;
    if (!curves.loss) return null;
    // where several lines became one their mean is no longer that of each line
    const smooth = curves.loss_ema && span === SMOOTHING ? curves.loss_ema : mean(curves.loss, Math.max(1, span / one.every));
    const series = [{ name: "each line", x: steps, y: curves.loss, faint: true, colour: "soft" }, { name: "running mean", x: steps, y: smooth, colour: "accent" }];
    return chart("loss", series, `${report.format.number(last(smooth))} at the end`);
  }

  function heldOut(one) {
    const { held_out: found } = one;
    if (!found) return null;
    const values = found.curves.held_out_loss;
    return [
      chart("held_out_loss", [{ name: "held out", x: found.steps, y: values }], `${report.format.number(last(values))} at the end`),
      ...Object.entries(found.groups).map(([name, group]) => parts(name, found.steps, group, 1, "Held-out ")),
    ];
  }

  function figures(one) {
    const span = smoothing();
    const single = Object.entries(one.curves).filter(([name]) => !["loss", "loss_ema"].includes(name));
    const others = single.map(([name, values]) => chart(name, [{ name: title(name), x: one.steps, y: values, colour: "second" }],
      WITHOUT_LOG.has(name) ? `median ${report.format.number(middle(values))}` : `${report.format.number(last(values))} at the end`));
    const groups = Object.entries(one.groups).map(([name, group]) => parts(name, one.steps, group, Math.max(1, span / one.every)));
    return [losses(one, span), groups, heldOut(one), others].flat(2).filter(Boolean);
  }

  function facts(one) {
    const pairs = [["steps", report.format.number(one.steps.at(-1))]];
    if (one.seconds !== null) pairs.push(["time", report.format.seconds(one.seconds)]);
    if (one.every > 1) pairs.push(["each point", `mean of ${one.every} lines of ${report.format.number(one.lines)}`]);
    const rate = one.curves.samples_per_s;
    if (rate) pairs.push(["samples a second", report.format.number(middle(rate))]);
    if (!one.curves.mfu && one.curves.tokens_per_s) pairs.push(["MFU", "not known on this device"]);
    return report.facts(pairs);
  }

  /* Checkpoints between, each a way to its samples. */
  function milestones(one) {
    if (!one.milestones?.length) return null;
    const ways = one.milestones.map((step) => report.el("a", { href: report.state.link("gallery", { "gallery.point": `${one.name}@${step}`, stage: one.name }) }, `step ${report.format.number(step)}`));
    return report.el("p", { class: "note" }, "Samples of milestones: ", ways.flatMap((way, k) => (k ? [", ", way] : [way])));
  }

  function part(one) {
    return report.el("div", { class: "stage", "data-stage": one.name },
      report.el("h3", {}, report.format.words(one.name)), facts(one),
      one.notes.map((note) => report.el("p", { class: "warning" }, note)),
      milestones(one), report.el("div", { class: "figures" }, figures(one)));
  }

  function settings() {
    const span = report.el("input", { type: "number", min: 1, max: 1000, id: "mean", value: smoothing() });
    span.addEventListener("change", () => report.state.set({ "training.mean": span.value }));
    const log = report.el("input", { type: "checkbox", id: "log", checked: report.state.get("training.log") === "1" });
    log.addEventListener("change", () => report.state.set({ "training.log": log.checked ? "1" : null }));
    return report.el("div", { class: "row" }, report.el("label", { for: "mean" }, "Running mean over"), span, "lines",
      report.el("label", {}, log, " logarithmic losses"));
  }

  function build(root) {
    const body = report.el("div");
    root.append(settings(), body);
    let drawn = null;
    return () => {
      const stage = report.state.get("stage");
      const looks = [stage, smoothing(), report.state.get("training.log")].join("|");
      if (looks === drawn) return;
      drawn = looks;
      const { stages } = report.data.training;
      const shown = stages.filter((one) => !stage || one.name.split("@")[0] === stage);
      body.replaceChildren(...shown.map(part));
      if (!body.children.length) body.append(report.el("p", { class: "absent" }, `${report.visible(stage)} is not trained yet.`));
    };
  }

  report.filter.offer({ stages: (report.data.training?.stages || []).map((one) => one.name.split("@")[0]) });
  report.section({
    id: "training", title: "Training", order: 40, needs: ["training"],
    lead: "Loss by noise and size, what is held out, pace and memory of every stage.",
    absent: "Nothing is trained yet; rule train does it.",
    build,
  });
})();
