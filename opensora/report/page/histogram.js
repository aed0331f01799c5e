"use strict";
/* A histogram with two thresholds that are dragged, moved by the arrow keys, or typed.

   report.histogram({title, values, rows, bound: {min, max}, change(bound), pick(low, high)}) returns
   {node, draw(stays, isShown), set(bound)}; `rows` are the clips that it speaks of, both functions
   tell something of a clip by its number. */
report.histogram = (function () {
  const [WIDTH, HEIGHT, BINS] = [360, 96, 40];

  function edges(values, rows) {
    let [low, high] = [Infinity, -Infinity];
    for (const k of rows) {
      const value = values[k];
      if (value === null) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (low > high) return null;
    return low === high ? [low - 0.5, high + 0.5] : [low, high];
  }

  /* Thresholds are round numbers, about two hundred steps over the whole range. */
  function rounded(value, span) {
    const step = 10 ** Math.floor(Math.log10(span / 100));
    const digits = Math.max(0, -Math.floor(Math.log10(step)));
    return Number((Math.round(value / step) * step).toFixed(Math.min(digits, 15)));
  }

  return function ({ title, values, rows, bound, change, pick }) {
    const range = edges(values, rows);
    if (!range) return null;
    const [low, high] = range;
    const span = high - low;
    const place = Int16Array.from(rows, (k) => (values[k] === null ? -1 : Math.min(BINS - 1, Math.floor(((values[k] - low) / span) * BINS))));
    const now = { min: bound?.min ?? null, max: bound?.max ?? null };
    const share = (value) => Math.min(1, Math.max(0, (value - low) / span));

    const bars = Array.from({ length: BINS }, (_, k) => {
      const [from, to] = [low + (k * span) / BINS, low + ((k + 1) * span) / BINS];
      const click = () => pick(from, k === BINS - 1 ? Infinity : to);
      const name = report.svg("title", {});
      const box = { x: (k * WIDTH) / BINS, width: WIDTH / BINS - 1 };
      const all = report.svg("rect", { class: "gone", ...box });
      const kept = report.svg("rect", { class: "kept", ...box });
      const hit = report.svg("rect", { class: "hit", ...box, y: 0, height: HEIGHT, on: { click } }, name);
      return { all, kept, hit, name, from, to };
    });
    const drawing = report.svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "histogram", "aria-hidden": "true" }, bars.map((bar) => [bar.all, bar.kept, bar.hit]));

    const sides = {};
    for (const side of ["min", "max"]) {
      const field = report.el("input", { type: "number", step: "any", "aria-label": `${title}, ${side === "min" ? "at least" : "at most"}`, placeholder: "no bound" });
      field.addEventListener("change", () => move(side, field.value === "" ? null : Number(field.value)));
      const handle = report.el("div", { class: `handle ${side}`, role: "slider", tabindex: "0", "aria-label": `${title}, ${side === "min" ? "lower" : "upper"} threshold`, "aria-valuemin": low, "aria-valuemax": high, "data-side": side });
      handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
      handle.addEventListener("pointermove", (event) => {
        if (!handle.hasPointerCapture(event.pointerId)) return;
        const box = stage.getBoundingClientRect();
        const at = low + span * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
        move(side, rounded(at, span));
      });
      handle.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
        const ends = { Home: low, End: high }[event.key];
        if (event.key === "Delete") move(side, null);
        else if (ends !== undefined) move(side, ends);
        else if (step) move(side, Math.min(high, Math.max(low, rounded((now[side] ?? (side === "min" ? low : high)) + (step * span) / 100, span))));
        else return;
        event.preventDefault();
      });
      sides[side] = { field, handle };
    }

    function move(side, value) {
      const other = side === "min" ? now.max : now.min;
      if (value !== null && !Number.isFinite(value)) return;
      if (value !== null && other !== null && (side === "min" ? value > other : value < other)) value = other;
      if (value === now[side]) return show();
      now[side] = value;
      show();
      change({ ...now });
    }

    function show() {
      for (const side of ["min", "max"]) {
        const value = now[side];
        const at = value === null ? (side === "min" ? 0 : 1) : share(value);
        const { field, handle } = sides[side];
        field.value = value ?? "";
        handle.style.setProperty("left", `${100 * at}%`);
        handle.setAttribute("aria-valuenow", value ?? (side === "min" ? low : high));
        handle.setAttribute("aria-valuetext", value === null ? "no bound" : String(value));
      }
    }

    const missing = rows.reduce((count, k) => count + (values[k] === null), 0);
    const stage = report.el("div", { class: "stage" }, drawing, sides.min.handle, sides.max.handle);
    const ends = report.el("div", { class: "ends" }, report.el("span", {}, report.format.number(low)), report.el("span", {}, report.format.number(high)));
    const fields = report.el("div", { class: "fields" }, sides.min.field, report.el("span", {}, "to"), sides.max.field);
    const node = report.figure(report.format.words(title), report.el("div", {}, stage, ends, fields), missing ? `${report.format.number(missing)} without a value` : "");

    function draw(stays, isShown) {
      const [all, kept] = [new Uint32Array(BINS), new Uint32Array(BINS)];
      for (let at = 0; at < place.length; at++) {
        if (place[at] < 0 || !isShown(rows[at])) continue;
        all[place[at]]++;
        if (stays(rows[at])) kept[place[at]]++;
      }
      const top = Math.max(...all) || 1;
      bars.forEach((bar, k) => {
        for (const [rect, count] of [[bar.all, all[k]], [bar.kept, kept[k]]]) {
          const tall = count ? Math.max(1, (HEIGHT * count) / top) : 0;
          rect.setAttribute("y", HEIGHT - tall);
          rect.setAttribute("height", tall);
        }
        bar.name.textContent = `${report.format.number(bar.from)} to ${report.format.number(bar.to)}: ${kept[k]} of ${all[k]} stay`;
      });
    }

    show();
    return { node, draw, set: (next) => {
      now.min = next?.min ?? null;
      now.max = next?.max ?? null;
      show();
    } };
  };
})();
