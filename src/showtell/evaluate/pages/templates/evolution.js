"use strict";
(() => {
  const { $ } = kit;
  const panels = [...document.querySelectorAll(".generation")];
  const slider = $("slider");
  if (!slider) return;
  const last = panels.length - 1;
  const PAUSE_MS = 1800;
  const places = new Map();
  for (const stop of document.querySelectorAll(".stop")) {
    const chart = stop.closest("svg");
    if (!places.has(chart)) places.set(chart, []);
    places.get(chart)[Number(stop.dataset.go)] = stop.dataset.x;
  }
  let at = -1;
  let timer = null;
  let untouched = true; // the page opens at the result; the first play begins at the start

  const show = (number, aloud) => {
    at = Math.min(Math.max(number, 0), last);
    panels.forEach((panel, i) => { panel.hidden = i !== at; });
    for (const [chart, xs] of places) {
      const cursor = chart.querySelector(".cursor");
      cursor.setAttribute("x1", xs[at]);
      cursor.setAttribute("x2", xs[at]);
    }
    const panel = panels[at];
    const name = panel.querySelector("h3").textContent;
    const numbers = [...panel.querySelectorAll(".tiles > div")].slice(0, 2)
      .map((tile) => `${tile.querySelector("dd").firstChild.textContent.trim()} ${tile.querySelector("dt").textContent}`);
    slider.value = String(at);
    slider.setAttribute("aria-valuetext", name);
    $("where").textContent = `${at} of ${last}`;
    $("back").disabled = at === 0;
    $("on").disabled = at === last;
    if (aloud) $("told").textContent = `${name}: ${numbers.join(", ")}`;
  };
  const halt = () => {
    clearInterval(timer);
    timer = null;
    $("play").classList.remove("playing");
    $("play").setAttribute("aria-label", "Play");
  };
  const play = () => {
    show(untouched || at === last ? 0 : at, true);
    untouched = false;
    $("play").classList.add("playing");
    $("play").setAttribute("aria-label", "Pause");
    timer = setInterval(() => {
      show(at + 1, true);
      if (at === last) halt();
    }, PAUSE_MS);
  };
  const go = (number) => { halt(); untouched = false; show(number, true); };

  $("play").addEventListener("click", () => (timer === null ? play() : halt()));
  $("back").addEventListener("click", () => go(at - 1));
  $("on").addEventListener("click", () => go(at + 1));
  slider.addEventListener("input", () => go(Number(slider.value)));
  document.addEventListener("click", (event) => {
    const stop = event.target.closest(".stop");
    if (stop) go(Number(stop.dataset.go));
  });
  $("deck").hidden = false;
  show(Number(slider.defaultValue), false);
})();
