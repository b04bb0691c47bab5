"use strict";
// Pointing at a claim, or reaching it by key, lights what it rests on.
(() => {
  const light = (row, on) => {
    const section = row.closest("section");
    const places = row.dataset.lights.split(" ").filter(Boolean);
    section.querySelectorAll(".lit").forEach((node) => node.classList.remove("lit"));
    section.classList.toggle("pointed", on && places.length > 0);
    if (!on) return;
    for (const place of places) {
      const node = kit.$(place);
      if (node) node.classList.add("lit");
      // a whole input: all of its pictures
      const all = kit.$(place + "-all");
      if (!node && all) {
        all.parentNode.querySelectorAll(".moments > li").forEach((one) => one.classList.add("lit"));
      }
    }
  };
  document.querySelectorAll("[data-lights]").forEach((row) => {
    row.addEventListener("mouseenter", () => light(row, true));
    row.addEventListener("mouseleave", () => light(row, false));
    row.addEventListener("focus", () => light(row, true));
    row.addEventListener("blur", () => light(row, false));
  });
})();
