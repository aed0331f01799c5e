"use strict";
/* Conditions of keep_if, read as curation/manifest/expressions.py reads them.

   Known are columns, numbers, quoted text, comparisons (also chained), in, not in, and, or, not,
   + - * / and parentheses. A comparison with an empty cell is false. `parse` returns a function of
   a function that gives a column's cell, and throws a sentence where it can not read a text. */
report.expression = (function () {
  const TOKEN = /\s*(?:(\d+(?:_\d+)*(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)|("[^"\\\n]*"|'[^'\\\n]*')|(<=|>=|==|!=|[<>()[\],+\-*/]))/y;
  const COMPARE = {
    "<": (a, b) => a < b,
    "<=": (a, b) => a <= b,
    ">": (a, b) => a > b,
    ">=": (a, b) => a >= b,
    "==": (a, b) => a === b,
    "!=": (a, b) => a !== b,
  };
  const ARITHMETIC = {
    "+": (a, b) => a + b,
    "-": (a, b) => a - b,
    "*": (a, b) => a * b,
    "/": (a, b) => a / b,
  };
  const WORDS = new Set(["and", "or", "not", "in"]);

  function tokens(text) {
    const found = [];
    TOKEN.lastIndex = 0;
    while (text.slice(TOKEN.lastIndex).trim()) {
      const at = TOKEN.lastIndex;
      const match = TOKEN.exec(text);
      if (!match) throw new Error(`can not read “${text.slice(at).trim().slice(0, 40)}”`);
      const [, number, name, quoted, sign] = match;
      if (number !== undefined) found.push({ kind: "number", value: Number(number.replaceAll("_", "")) });
      else if (quoted !== undefined) found.push({ kind: "text", value: quoted.slice(1, -1) });
      else if (name !== undefined) found.push({ kind: WORDS.has(name) ? "sign" : "name", value: name });
      else found.push({ kind: "sign", value: sign });
    }
    return found;
  }

  const lacks = (value) => value === null || Number.isNaN(value);

  function refuse(what) {
    throw new Error(`${what}; expected for example: flow > 0.5 or kind == 'image'`);
  }

  /* Parts are {kind: "truth" | "number" | "text", value(row)}; `kinds` tells those of columns. */
  function parse(text, kinds) {
    const list = tokens(text);
    let at = 0;
    const sign = () => (list[at]?.kind === "sign" ? list[at].value : null);
    const take = (wanted) => sign() === wanted && Boolean(++at);

    function expect(wanted) {
      if (!take(wanted)) refuse(`“${wanted}” is missing`);
    }

    function need(part, ...allowed) {
      if (!allowed.includes(part.kind)) refuse(part.kind === "truth" ? "a condition can not stand there" : allowed[0] === "truth" ? "a comparison is missing" : "text is no number");
      return part;
    }

    function joined(next, word, all) {
      const parts = [next()];
      while (take(word)) parts.push(next());
      if (parts.length === 1) return parts[0];
      parts.forEach((part) => need(part, "truth"));
      const value = all ? (row) => parts.every((one) => one.value(row)) : (row) => parts.some((one) => one.value(row));
      return { kind: "truth", value };
    }

    const either = () => joined(both, "or", false);
    const both = () => joined(negated, "and", true);

    function negated() {
      if (!take("not")) return comparison();
      const part = need(negated(), "truth");
      return { kind: "truth", value: (row) => !part.value(row) };
    }

    function comparison() {
      const links = [];
      const first = sum();
      let left = first;
      for (;;) {
        const isNot = sign() === "not" && list[at + 1]?.value === "in";
        if (isNot) at++;
        if (take("in")) {
          const [side, allowed] = [need(left, "number", "text"), collection()];
          links.push((row) => allowed.has(side.value(row)) !== isNot);
          break;
        }
        const compare = COMPARE[sign()];
        if (!compare) break;
        at++;
        const [one, other] = [need(left, "number", "text"), need(sum(), "number", "text")];
        if (one.kind !== other.kind) refuse("text and numbers do not compare");
        links.push((row) => {
          const [a, b] = [one.value(row), other.value(row)];
          return !lacks(a) && !lacks(b) && compare(a, b);
        });
        left = other;
      }
      return links.length ? { kind: "truth", value: (row) => links.every((one) => one(row)) } : first;
    }

    function collection() {
      const end = take("[") ? "]" : (expect("("), ")");
      const values = new Set();
      while (!take(end)) {
        const factor = take("-") ? -1 : 1;
        const item = list[at++];
        if (!["number", "text"].includes(item?.kind)) refuse("a list holds numbers and quoted text");
        values.add(item.kind === "number" ? factor * item.value : item.value);
        if (!take(",") && sign() !== end) refuse("a comma is missing");
      }
      return values;
    }

    function calculated(next, signs) {
      let left = next();
      while (signs.includes(sign())) {
        const compute = ARITHMETIC[list[at++].value];
        const [one, other] = [need(left, "number"), need(next(), "number")];
        const value = (row) => {
          const [a, b] = [one.value(row), other.value(row)];
          return lacks(a) || lacks(b) ? null : compute(a, b);
        };
        left = { kind: "number", value };
      }
      return left;
    }

    const sum = () => calculated(product, ["+", "-"]);
    const product = () => calculated(atom, ["*", "/"]);

    function atom() {
      if (take("-")) {
        const inner = need(atom(), "number");
        return { kind: "number", value: (row) => (lacks(inner.value(row)) ? null : -inner.value(row)) };
      }
      if (take("(")) {
        const inner = either();
        expect(")");
        return inner;
      }
      const token = list[at++];
      if (!token || token.kind === "sign") refuse("a column or a number is missing");
      if (token.kind !== "name") return { kind: token.kind, value: () => token.value };
      const kind = kinds(token.value);
      if (!kind) refuse(`there is no column “${token.value}” on this page`);
      return { kind, value: (row) => row(token.value) };
    }

    const condition = need(either(), "truth");
    if (at < list.length) refuse(`“${list[at].value}” can not stand there`);
    return condition.value;
  }

  return { parse };
})();
