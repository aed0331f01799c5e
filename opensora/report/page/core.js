"use strict";
/* The frame of the page: sections, what they share, and how they are reached.

   Classic scripts under one global `report`, because a page opened from a disk loads no modules.
   Files of data say `report.data.NAME = {...}`; a file of a section calls `report.section(...)`;
   start.js opens the section that the address names. */
const report = { data: {}, sections: [] };

/* Add a section.

   section.id      name in the address, as "gallery"
   section.title   name in the navigation
   section.order   place in the navigation
   section.lead    one sentence below the title, or ""
   section.needs   names of data without which there is nothing to show
   section.absent  sentence shown in that case
   section.build   function (root): fills an empty element when the section is first opened; may
                   return a function that is called then, and whenever address or filter change
                   while the section is open */
report.section = function (section) {
  report.sections.push({ lead: "", needs: [], absent: "", ...section });
  report.sections.sort((a, b) => a.order - b.order);
};

/* An element. Text goes in as text, never as markup; `on: {click: f}` adds listeners. */
report.el = function (tag, attributes, ...children) {
  return report._fill(document.createElement(tag), attributes, children);
};

/* The same for drawings. */
report.svg = function (tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  return report._fill(node, attributes, children);
};

report._fill = function (node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (name === "style") {
      for (const [key, setting] of Object.entries(value)) node.style.setProperty(key, setting);
    } else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, report._safe(name, String(value)));
    }
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) {
      node.append(child instanceof Node ? child : report.visible(String(child)));
    }
  }
  return node;
};

/* Addresses lead to files of the report or to places of the page, nowhere else. */
report._safe = function (name, value) {
  const isAddress = ["href", "src", "poster", "xlink:href"].includes(name);
  const isOurs = /^(#|[\w%~.-]+\/)/.test(value) && !/^\w+:|^\/|\\|(^|\/)\.\.(\/|$)/.test(value);
  if (name.startsWith("on") || (isAddress && !isOurs)) throw new Error(`refused: ${name}`);
  return isAddress ? value : report.visible(value);
};

/* Text of strangers: characters that steer, hide or turn text are shown as escapes. */
report.visible = function (text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\ud800-\udfff]/gu, (char) => {
    if ("\n\t\u200c\u200d\u00ad".includes(char)) return char;
    const code = char.codePointAt(0);
    return code < 256
      ? `\\x${code.toString(16).padStart(2, "0")}`
      : `\\u${code.toString(16).padStart(4, "0")}`;
  });
};

/* Text of strangers as an element that keeps its own direction; a long one can be opened. */
report.quote = function (text, limit = 400) {
  const short = text.length > limit;
  const shown = report.el("span", { class: "quote", dir: "auto" }, short ? text.slice(0, limit) : text);
  if (!short) return shown;
  const open = (event) => {
    shown.textContent = report.visible(text);
    event.target.remove();
  };
  const label = `… show all ${report.format.number(text.length)} characters`;
  return report.el("span", {}, shown, report.el("button", { class: "link", type: "button", on: { click: open } }, label));
};

/* A button that copies text; where the browser does not let it, the text is selected instead. */
report.copy = function (text, label = "Copy") {
  const code = report.el("code", { class: "command", tabindex: "0" }, text);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      report.say("Copied");
    } catch {
      getSelection().selectAllChildren(code);
      report.say("Selected; copy it with the keyboard");
    }
  };
  return report.el("div", { class: "copy" }, code, report.el("button", { type: "button", on: { click: copy } }, label));
};

/* One sentence for everyone, also for those who listen. */
report.say = function (sentence) {
  document.getElementById("said").textContent = report.visible(sentence);
};

report.format = {
  number(value, digits = 3) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    if (Number.isInteger(value) && Math.abs(value) < 1e12) return value.toLocaleString("en-US");
    const size = Math.abs(value);
    if (size >= 10 ** digits) return Math.round(value).toLocaleString("en-US");
    return size >= 1e-3 ? value.toPrecision(digits) : value.toExponential(digits - 1);
  },
  percent(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    const share = 100 * value;
    return share > 0 && share < 1 ? `${share.toFixed(1)} %` : `${share.toFixed(0)} %`;
  },
  counted(value, noun) {
    return `${report.format.number(value)} ${noun}${value === 1 ? "" : "s"}`;
  },
  seconds(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    if (Math.abs(value) < 9.95) return value ? `${value.toFixed(1)} s` : "0 s";
    if (Math.round(Math.abs(value)) < 60) return `${value.toFixed(0)} s`;
    const whole = Math.round(value);
    if (Math.abs(value) < 600) {
      return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
    }
    if (Math.round(Math.abs(value) / 60) < 100) return `${(value / 60).toFixed(0)} min`;
    return `${(value / 3600).toLocaleString("en-US", { maximumFractionDigits: 1 })} h`;
  },
  mebibytes(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    return value >= 1024 ? `${(value / 1024).toFixed(1)} GiB` : `${value.toFixed(0)} MiB`;
  },
  words: (name) => String(name).replaceAll("_", " "),
};

/* Columns of a large table, packed by `packed` of script.py: a promise of {name: [values]}. */
report.unpack = async function (text) {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(plain).text());
};
