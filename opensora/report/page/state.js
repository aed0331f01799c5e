"use strict";
/* The address keeps everything a reader set: "#section&key=value&key=value".

   So a link shows another reader the same, and the browser's way back works. Keys of the filter
   are q (text), stage, tag (several), low.SCORE and high.SCORE; sections keep theirs as
   "SECTION.KEY". */
report.state = (function () {
  const listeners = [];
  let now = read();

  function read() {
    const [section, ...pairs] = location.hash.slice(1).split("&");
    const values = new Map();
    for (const pair of pairs) {
      const [key, value] = pair.split("=").map((part) => {
        try {
          return decodeURIComponent(part);
        } catch {
          return ""; // half an escape, as of a link cut short
        }
      });
      if (key && value) values.set(key, value);
    }
    return { section, values };
  }

  function address(section, values) {
    const pairs = [...values].map((pair) => pair.map(encodeURIComponent).join("="));
    return `#${[section, ...pairs].join("&")}`;
  }

  function changed() {
    now = read();
    for (const listener of listeners) listener();
  }

  addEventListener("hashchange", changed);
  return {
    section: () => now.section,
    get: (key, otherwise = "") => now.values.get(key) ?? otherwise,
    keys: () => [...now.values.keys()],
    /* Set values by key ("" and null remove); `push` makes a step for the way back. */
    set(changes, { push = false, section = now.section } = {}) {
      const values = new Map(now.values);
      for (const [key, value] of Object.entries(changes)) {
        if (value === null || value === "") values.delete(key);
        else values.set(key, String(value));
      }
      const next = address(section, values);
      if (next === location.hash) return;
      if (push) history.pushState(null, "", next);
      else history.replaceState(null, "", next);
      changed();
    },
    /* The address of a section, with the filter as it stands and other values on top. */
    link(section, changes = {}) {
      const values = new Map([...now.values, ...Object.entries(changes).map(([k, v]) => [k, String(v)])]);
      return address(section, values);
    },
    subscribe: (listener) => listeners.push(listener),
  };
})();
