"use strict";
// What the scripts of all pages share.
const kit = (() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  // a long name breaks after _ before it breaks anywhere
  const named = (tag, className, text) => {
    const node = make(tag, className);
    String(text).split(/(?<=_)/).forEach((part, i) => {
      if (i) node.append(make("wbr"));
      node.append(part);
    });
    return node;
  };
  const percent = (permille) => {
    if (permille < 0) return "";
    if (permille >= 1000) return "100%";
    return (permille / 10).toFixed(permille >= 995 || permille < 100 ? 1 : 0) + "%";
  };
  // a backslash parts folders of Windows; \xe9 is a byte of a name that is not UTF-8
  const base = (name) => name.split(/\/|\\(?!x[0-9a-f]{2})/).pop() || name;
  const goTo = (node) => {
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    node.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  };
  const read = () => JSON.parse($("data").textContent);
  return { $, make, named, percent, base, goTo, read };
})();
