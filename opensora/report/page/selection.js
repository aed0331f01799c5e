"use strict";
/* Which clips stay under given rules: bounds, keep_if, licences, near-duplicates, cap; each step
   sees what the steps before it left, as curation/manifest/selection.py has it.

   rules: {filters: {column: {min, max}}, keep_if: [text], licences: [text], dedup: {max_distance},
           max_clips_per_source, prefer, sources: {name: {filters, keep_if}}}; where there are
           sources, their own filters and keep_if stand in place of the run's. */
report.selection = (function () {
  const VIDEO_ONLY = new Set(["num_frames", "fps", "flow", "frozen_ratio"]); // as filters.py
  const BAND_BITS = 16;
  const BITS = Uint8Array.from({ length: 1 << BAND_BITS }, (_, value) => {
    let count = 0;
    for (let rest = value; rest; rest &= rest - 1) count++;
    return count;
  });

  const isNumber = (value) => value === null || typeof value === "number";

  /* What does not depend on the rules, made once for a table of clips; `sources` names the columns
     that clips of each have, and is empty where the run has one source. */
  function prepare(clips, sources) {
    const count = clips.id.length;
    const all = { name: null, rows: Uint32Array.from({ length: count }, (_, k) => k), columns: Object.keys(clips) };
    const parts = Object.entries(sources).map(([name, columns]) => ({ name, rows: all.rows.filter((k) => clips.source_name[k] === name), columns }));
    for (const part of [all, ...parts]) {
      const kind = (name) => (part.rows.every((k) => isNumber(clips[name][k])) ? "number" : "text");
      part.kinds = new Map(part.columns.filter((name) => name in clips).map((name) => [name, kind(name)]));
    }
    return { clips, count, kinds: all.kinds, parts: parts.length ? parts : [all], ranks: new Map(), hashes: null, keys: new Map() };
  }

  /* Reasons by clip, "" where it stays. Throws a sentence where a rule can not be read. */
  function apply(table, rules) {
    const reasons = new Array(table.count).fill("");
    for (const part of table.parts) applyOwn(table, part, rules.sources?.[part.name] || rules, reasons);
    if (rules.licences?.length) {
      const allowed = new Set(rules.licences);
      if (!table.clips.licence) throw new Error("licences: the clips have none");
      mark(reasons, "licence_not_allowed", (k) => !allowed.has(table.clips.licence[k]));
    }
    const rank = rankBy(table, rules.prefer || null);
    const distance = rules.dedup?.max_distance ?? null;
    if (distance !== null) dropDuplicates(table, distance, rank, reasons);
    if (rules.max_clips_per_source) applyCap(table, rules.max_clips_per_source, rank, reasons);
    return reasons;
  }

  function applyOwn(table, part, own, reasons) {
    try {
      for (const [column, bound] of Object.entries(own.filters || {})) applyBound(table, part, column, bound, reasons);
      for (const text of own.keep_if || []) applyCondition(table, part, text, reasons);
    } catch (error) {
      throw part.name === null ? error : new Error(`source ${part.name}: ${error.message}`);
    }
  }

  function mark(reasons, reason, fails) {
    for (let k = 0; k < reasons.length; k++) if (reasons[k] === "" && fails(k)) reasons[k] = reason;
  }

  function applyBound(table, part, column, { min = null, max = null }, reasons) {
    const values = table.clips[column];
    if (part.kinds.get(column) !== "number") throw new Error(`filters: there is no number column “${column}”`);
    if (min !== null && max !== null && min > max) throw new Error(`filters: ${column}: min is above max`);
    const kind = table.clips.kind;
    const spares = VIDEO_ONLY.has(column);
    for (const k of part.rows) {
      if (reasons[k] !== "" || (spares && kind[k] === "image")) continue;
      const value = values[k];
      if (value === null) reasons[k] = `${column}_missing`;
      else if (min !== null && value < min) reasons[k] = `${column}_too_low`;
      else if (max !== null && value > max) reasons[k] = `${column}_too_high`;
    }
  }

  function applyCondition(table, part, text, reasons) {
    let condition;
    try {
      condition = report.expression.parse(text, (name) => part.kinds.get(name));
    } catch (error) {
      throw new Error(`keep_if “${text}”: ${error.message}`);
    }
    let at = 0;
    const cell = (name) => table.clips[name][at];
    for (at of part.rows) if (reasons[at] === "" && !condition(cell)) reasons[at] = "keep_if";
  }

  /* Place of each clip in the order of preference, 0 is the best; ids break ties. */
  function rankBy(table, prefer) {
    if (table.ranks.has(prefer)) return table.ranks.get(prefer);
    const { clips, count } = table;
    if (prefer !== null && table.kinds.get(prefer) !== "number") throw new Error(`prefer: there is no number column “${prefer}”`);
    const keys = [...(prefer === null ? [] : [prefer]), "resolution", "num_frames"].map((name) => clips[name]);
    const order = Uint32Array.from({ length: count }, (_, k) => k).sort((a, b) => {
      for (const values of keys) {
        const [one, other] = [values[a], values[b]];
        if (one === other) continue;
        if (one === null || other === null) return one === null ? 1 : -1;
        return other - one;
      }
      return clips.id[a] < clips.id[b] ? -1 : 1;
    });
    const rank = new Uint32Array(count);
    order.forEach((clip, place) => (rank[clip] = place));
    table.ranks.set(prefer, rank);
    return rank;
  }

  function dropDuplicates(table, distance, rank, reasons) {
    if (!table.clips.phash) throw new Error("dedup: clips have no hashes to compare; add the scorer phash");
    const { distinct, of } = hashesOf(table);
    const limit = distinct.bands - 1;
    if (distance < 0 || distance > limit) throw new Error(`dedup: max_distance is ${distance}; expected 0 to ${limit} bits`);
    const here = new Uint8Array(distinct.count);
    for (let k = 0; k < reasons.length; k++) if (reasons[k] === "" && of[k] >= 0) here[of[k]] = 1;
    const root = linked(table, distance, here);
    const best = new Map(); // group -> smallest rank
    for (let k = 0; k < reasons.length; k++) {
      if (reasons[k] !== "" || of[k] < 0) continue;
      const group = root[of[k]];
      if (!(best.get(group) <= rank[k])) best.set(group, rank[k]);
    }
    mark(reasons, "near_duplicate", (k) => of[k] >= 0 && best.get(root[of[k]]) !== rank[k]);
  }

  /* Distinct hashes as bands of 16 bits, and which of them each clip has (-1: none). */
  function hashesOf(table) {
    if (table.hashes) return table.hashes;
    const places = new Map();
    const of = Int32Array.from(table.clips.phash, (text) => {
      if (!text) return -1;
      if (!places.has(text)) places.set(text, places.size);
      return places.get(text);
    });
    const texts = [...places.keys()];
    const bands = texts.length ? texts[0].length / 4 : 1;
    const bits = new Uint16Array(texts.length * bands);
    texts.forEach((text, row) => {
      for (let band = 0; band < bands; band++) bits[row * bands + band] = parseInt(text.substr(4 * band, 4), 16);
    });
    table.hashes = { distinct: { bits, bands, count: texts.length }, of };
    return table.hashes;
  }

  /* Hashes that share a whole key; with one key more than bits may differ, none is missed. */
  function runsOf(table, distance) {
    if (table.keys.has(distance)) return table.keys.get(distance);
    const { bits, bands, count } = table.hashes.distinct;
    const runs = [];
    let start = 0;
    for (let key = 0; key <= distance; key++) {
      const end = start + Math.floor(bands / (distance + 1)) + (key < bands % (distance + 1) ? 1 : 0);
      const members = new Map();
      for (let row = 0; row < count; row++) {
        const name = String.fromCharCode(...bits.subarray(row * bands + start, row * bands + end));
        if (members.has(name)) members.get(name).push(row);
        else members.set(name, [row]);
      }
      for (const rows of members.values()) if (rows.length > 1) runs.push(rows);
      start = end;
    }
    table.keys.set(distance, runs);
    return runs;
  }

  /* Root of every hash, after those in `here` within the distance were united. */
  function linked(table, distance, here) {
    const { bits, bands, count } = table.hashes.distinct;
    const label = Uint32Array.from({ length: count }, (_, k) => k);
    const find = (node) => {
      while (label[node] !== node) node = label[node] = label[label[node]];
      return node;
    };
    const apart = (a, b) => {
      let different = 0;
      for (let band = 0; band < bands && different <= distance; band++) different += BITS[bits[a * bands + band] ^ bits[b * bands + band]];
      return different;
    };
    for (const run of runsOf(table, distance)) {
      const rows = run.filter((row) => here[row]);
      for (let k = 0; k < rows.length; k++) {
        for (let other = k + 1; other < rows.length; other++) {
          const [one, two] = [find(rows[k]), find(rows[other])];
          if (one !== two && apart(rows[k], rows[other]) <= distance) label[Math.max(one, two)] = Math.min(one, two);
        }
      }
    }
    return Uint32Array.from({ length: count }, (_, k) => find(k));
  }

  function applyCap(table, cap, rank, reasons) {
    const bySource = new Map();
    for (let k = 0; k < reasons.length; k++) {
      if (reasons[k] !== "") continue;
      const source = table.clips.video_id[k];
      if (!bySource.has(source)) bySource.set(source, []);
      bySource.get(source).push(k);
    }
    for (const clips of bySource.values()) {
      clips.sort((a, b) => rank[a] - rank[b]);
      for (const clip of clips.slice(cap)) reasons[clip] = "source_cap";
    }
  }

  /* Rules of anybody in the form above; what is of another kind is left out. */
  function cleaned(rules) {
    const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
    const texts = (value) => (Array.isArray(value) ? value.filter((one) => typeof one === "string") : []);
    const bound = (sides) => Object.fromEntries(Object.entries({ min: number(sides?.min), max: number(sides?.max) }).filter(([, value]) => value !== null));
    const own = (given) => {
      const bounds = Object.entries(given?.filters || {}).map(([name, sides]) => [name, bound(sides)]);
      return { filters: Object.fromEntries(bounds.filter(([, sides]) => Object.keys(sides).length)), keep_if: texts(given?.keep_if) };
    };
    return {
      ...own(rules),
      sources: Object.fromEntries(Object.entries(rules.sources || {}).map(([name, given]) => [name, own(given)])),
      licences: texts(rules.licences),
      dedup: { max_distance: number(rules.dedup?.max_distance) },
      max_clips_per_source: number(rules.max_clips_per_source),
      prefer: typeof rules.prefer === "string" ? rules.prefer : null,
    };
  }

  /* Bounds and conditions as the workflow's config takes them, of the run or of one source. */
  function ownYaml(own) {
    const filters = Object.entries(own.filters);
    const lines = [filters.length ? "filters:" : "filters: {}"];
    for (const [name, { min = null, max = null }] of filters) {
      const sides = [min === null ? null : `min: ${number(min)}`, max === null ? null : `max: ${number(max)}`];
      lines.push(`  ${word(name)}: {${sides.filter(Boolean).join(", ")}}`);
    }
    return [...lines, ...list("keep_if", own.keep_if)];
  }

  /* The rules that are always the run's. */
  const runYaml = (rules) => [
    ...list("licences", rules.licences),
    `dedup: {max_distance: ${rules.dedup.max_distance ?? "null"}}`,
    `max_clips_per_source: ${rules.max_clips_per_source || "null"}`,
    `prefer: ${rules.prefer ? word(rules.prefer) : "null"}`,
  ];

  const list = (name, items) => [items.length ? `${name}:` : `${name}: []`, ...items.map((item) => `  - ${quoted(item)}`)];

  /* YAML 1.1 reads 1e-7 as text: it wants a point. */
  const number = (value) => String(value).replace(/^(-?\d+)e/, "$1.0e");
  const word = (text) => (/^[a-z][a-z0-9_]{2,}$/.test(text) && !/^(yes|off|true|false|null)$/.test(text) ? text : quoted(text));
  const quoted = (text) => JSON.stringify(text).replace(/[\u007f-\u00a0\u2028\u2029\ufeff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);

  return { prepare, apply, cleaned, ownYaml, runYaml };
})();
