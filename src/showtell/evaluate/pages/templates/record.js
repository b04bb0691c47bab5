"use strict";
(() => {
  const { $, make, named, percent, base, goTo, read } = kit;
  const data = read();
  const PER_PAGE = window.innerWidth < 700 ? 24 : 48;
  const n = data.names.length;
  const label = (code) => (code < 0 ? "no answer" : data.classes[code]);
  const answerOf = (row) => (data.status[row] === "0" ? data.guess[row] : -1);

  // ---- which rows, in which order -------------------------------------------------------
  const everyRow = Array.from({ length: n }, (_, row) => row);
  const rising = (a, b) => data.confidence[a] - data.confidence[b] || a - b;
  const falling = (a, b) => data.confidence[b] - data.confidence[a] || a - b;
  const wrong = (row) => data.truth !== null && answerOf(row) >= 0 && answerOf(row) !== data.truth[row];
  const VIEWS = {
    wrong: { rows: () => everyRow.filter(wrong).sort(falling) },
    unsure: { rows: () => everyRow.filter((r) => data.confidence[r] >= 0).sort(rising) },
    right: { rows: () => everyRow.filter((r) => data.truth !== null && answerOf(r) === data.truth[r]).sort(falling) },
    abstained: { rows: () => everyRow.filter((r) => data.status[r] === "1").sort(rising) },
    error: { rows: () => everyRow.filter((r) => data.status[r] === "2") },
    all: { rows: () => everyRow },
  };
  const state = { view: data.start, actual: null, answer: null, text: "", page: 0 };

  const chosenRows = () => {
    let rows = VIEWS[state.view].rows();
    if (state.actual !== null) rows = rows.filter((r) => data.truth[r] === state.actual);
    if (state.answer !== null) rows = rows.filter((r) => answerOf(r) === state.answer);
    const text = state.text.trim().toLowerCase();
    if (text) {
      rows = rows.filter(
        (r) => data.names[r].toLowerCase().includes(text) ||
          (data.answers && data.answers[r] || "").toLowerCase().includes(text),
      );
    }
    return rows;
  };

  // ---- cards ----------------------------------------------------------------------------
  const picture = (row) => {
    const index = data.picture[row];
    if (index >= 0) {
      const image = make("img");
      image.src = data.mime + data.pictures[index];
      image.alt = base(data.names[row]);
      image.decoding = "async";
      return image;
    }
    const why = index === -2 ? data.reasons[row] || "cannot be read" : data.without;
    return make("span", "empty", why);
  };
  const verdict = (row, large) => {
    const box = make("span", "verdict");
    const status = data.status[row];
    const line = (key, value, kind, note) => {
      const one = make("span", "pair");
      if (key) one.append(make("span", "key", key));
      one.append(named("b", kind, value));
      if (note && large) one.append(make("span", "sure", note));
      box.append(one);
    };
    if (status === "2") line("", data.errors[row], "bad");
    else if (status === "1") {
      line("", "abstained", "none");
      if (data.guess[row] >= 0) line("nearest", label(data.guess[row]), "", percent(data.confidence[row]));
    } else {
      const kind = data.truth === null ? "" : wrong(row) ? "bad" : "good";
      line(data.truth === null ? "" : "said", label(data.guess[row]), kind, percent(data.confidence[row]));
    }
    if (data.truth !== null && (status !== "0" || wrong(row))) line("is", label(data.truth[row]), "");
    return box;
  };
  const card = (row) => {
    const item = make("li");
    const button = make("button", "card " + (wrong(row) ? "is-wrong" : data.status[row] !== "0" ? "is-none" : ""));
    button.type = "button";
    button.dataset.row = row;
    const frame = make("span", "frame");
    frame.append(picture(row));
    if (data.confidence[row] >= 0) frame.append(make("span", "badge", percent(data.confidence[row])));
    button.append(frame, verdict(row, false));
    if (data.answers && data.answers[row]) button.append(make("span", "quote", data.answers[row].slice(0, 160)));
    const name = make("span", "name", base(data.names[row]));
    name.title = data.names[row];
    button.append(name);
    item.append(button);
    return item;
  };

  // ---- one picture, large ---------------------------------------------------------------
  const dialog = $("picture");
  let shown = [];
  const show = (row) => {
    const body = $("picture-body");
    body.replaceChildren();
    const frame = make("div", "frame");
    frame.append(picture(row));
    const text = make("div", "facts");
    text.append(make("h3", "", base(data.names[row])), verdict(row, true));
    const top = data.top ? data.top[row] : null;
    if (top) {
      const list = make("ol", "likely");
      for (let i = 0; i < top.length; i += 2) {
        const item = make("li", data.truth !== null && top[i] === data.truth[row] ? "true" : "");
        const meter = make("span", "meter");
        const fill = make("span");
        fill.style.width = Math.max(top[i + 1] / 10, 0.5) + "%";
        meter.append(fill);
        item.append(make("span", "what", label(top[i])), meter, make("span", "sure", percent(top[i + 1])));
        list.append(item);
      }
      text.append(list);
    }
    if (data.answers && data.answers[row]) {
      text.append(make("p", "key", "The answer, word for word:"), make("blockquote", "", data.answers[row]));
    }
    text.append(make("p", "path", data.names[row]));
    body.append(frame, text);
    dialog.dataset.row = row;
    if (!dialog.open) dialog.showModal();
  };
  const step = (by) => {
    const at = shown.indexOf(Number(dialog.dataset.row));
    const next = shown[at + by];
    if (at >= 0 && next !== undefined) show(next);
  };
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  $("picture-previous").addEventListener("click", () => step(-1));
  $("picture-next").addEventListener("click", () => step(1));
  $("picture-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    const button = document.querySelector(`#cards button[data-row="${dialog.dataset.row}"]`);
    if (button) button.focus();
  });

  // ---- the gallery ----------------------------------------------------------------------
  const cards = $("cards");
  const render = () => {
    const rows = chosenRows();
    const pages = Math.max(1, Math.ceil(rows.length / PER_PAGE));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const first = state.page * PER_PAGE;
    const visible = rows.slice(first, first + PER_PAGE);
    shown = rows;
    cards.replaceChildren(...visible.map(card));
    for (const button of document.querySelectorAll("[data-view]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === state.view));
    }
    const parts = [];
    if (state.actual !== null) parts.push(`really ${label(state.actual)}`);
    if (state.answer !== null) parts.push(state.answer < 0 ? "without an answer" : `called ${label(state.answer)}`);
    const subset = parts.length ? `, ${parts.join(", ")}` : "";
    $("shown").textContent = rows.length
      ? `${(first + 1).toLocaleString("en")}–${(first + visible.length).toLocaleString("en")} of ${rows.length.toLocaleString("en")} ${rows.length === 1 ? data.noun[0] : data.noun[1]}${subset}`
      : `Nothing here${subset}.`;
    for (const [id, value] of [["actual", state.actual], ["answer", state.answer]]) {
      if ($(id)) $(id).value = value === null ? "" : String(value);
    }
    $("pages").hidden = pages < 2;
    $("page-at").textContent = `page ${state.page + 1} of ${pages}`;
    $("page-back").disabled = state.page === 0;
    $("page-on").disabled = state.page === pages - 1;
    $("reset").hidden = state.actual === null && state.answer === null && !state.text;
    for (const cell of document.querySelectorAll("[data-cell]")) {
      const [actual, answer] = cell.dataset.cell.split(",").map(Number);
      const here = actual === state.actual && answer === state.answer;
      cell.classList.toggle("here", here);
      if (here) cell.setAttribute("aria-current", "true");
      else cell.removeAttribute("aria-current");
    }
    for (const one of document.querySelectorAll("[data-label]")) {
      one.classList.toggle("here", Number(one.dataset.label) === state.answer && state.actual === null);
    }
  };
  const go = (changes) => { Object.assign(state, { page: 0 }, changes); render(); };
  const openGallery = () => { goTo($("pictures")); $("pictures-title").focus({ preventScroll: true }); };

  cards.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-row]");
    if (button) show(Number(button.dataset.row));
  });
  document.addEventListener("click", (event) => {
    const view = event.target.closest("[data-view]");
    if (view) go({ view: view.dataset.view, actual: null, answer: null });
    const cell = event.target.closest("[data-cell]");
    if (cell) {
      const [actual, answer] = cell.dataset.cell.split(",").map(Number);
      go({ view: "all", actual, answer, text: "" });
      $("search").value = "";
      openGallery();
    }
    const one = event.target.closest("[data-label]");
    if (one) {
      go({ view: data.start, actual: null, answer: Number(one.dataset.label), text: "" });
      openGallery();
    }
  });
  for (const id of ["actual", "answer"]) {
    if (!$(id)) continue;
    $(id).addEventListener("change", (event) => {
      go({ view: state.view === "wrong" ? "all" : state.view, [id]: event.target.value === "" ? null : Number(event.target.value) });
    });
  }
  $("search").addEventListener("input", (event) => go({ text: event.target.value }));
  $("reset").addEventListener("click", () => { $("search").value = ""; go({ actual: null, answer: null, text: "" }); });
  const turn = (by) => { state.page += by; render(); goTo($("pictures")); };
  $("page-back").addEventListener("click", () => turn(-1));
  $("page-on").addEventListener("click", () => turn(1));

  // ---- the matrix by keyboard: one stop for Tab, arrows inside ----------------------------
  const matrix = $("matrix");
  if (matrix) {
    const buttons = [...matrix.querySelectorAll("[data-cell]")];
    const place = (button) => [button.closest("tr").rowIndex, button.closest("td").cellIndex];
    const only = (button) => buttons.forEach((b) => { b.tabIndex = b === button ? 0 : -1; });
    if (buttons.length) only(buttons[0]);
    matrix.addEventListener("focusin", (event) => {
      const button = event.target.closest("[data-cell]");
      if (button) only(button);
    });
    matrix.addEventListener("keydown", (event) => {
      const from = event.target.closest("[data-cell]");
      const way = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
      if (!from || !way) return;
      event.preventDefault();
      const [r, c] = place(from);
      // the nearest filled cell in that direction, straight ahead before sideways
      let best = null;
      let least = Infinity;
      for (const button of buttons) {
        const [r2, c2] = place(button);
        const ahead = (r2 - r) * way[0] + (c2 - c) * way[1];
        const aside = Math.abs((r2 - r) * way[1]) + Math.abs((c2 - c) * way[0]);
        const distance = ahead + 100 * aside;
        if (ahead > 0 && distance < least) { least = distance; best = button; }
      }
      if (best) best.focus();
    });
  }

  // ---- a few pictures beside each label, least sure first ---------------------------------
  const byAnswer = new Map();
  for (const strip of document.querySelectorAll(".strip[data-of]")) byAnswer.set(Number(strip.dataset.of), []);
  if (byAnswer.size && data.pictures.length) {
    for (const row of VIEWS[data.start].rows()) {
      const chosen = byAnswer.get(answerOf(row));
      if (chosen && chosen.length < 8 && data.picture[row] >= 0) chosen.push(row);
    }
    for (const strip of document.querySelectorAll(".strip[data-of]")) {
      strip.replaceChildren(...byAnswer.get(Number(strip.dataset.of)).map(picture));
      for (const image of strip.children) image.alt = "";
    }
  }

  // ---- a few photos of each label beside its descriptions ----------------------------------
  for (const strip of document.querySelectorAll(".strip[data-true]")) {
    const code = Number(strip.dataset.true);
    const own = everyRow.filter((row) => data.truth[row] === code && data.picture[row] >= 0);
    const shown = [...own.filter((row) => !wrong(row)), ...own.filter(wrong)].slice(0, 4);
    strip.replaceChildren(...shown.map(picture));
    for (const image of strip.children) image.alt = "";
    strip.hidden = !shown.length;
  }

  // ---- tables one can sort ----------------------------------------------------------------
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.querySelectorAll("thead th")];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending" && head.dataset.first !== "up" ||
          head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const value = (row) => row.cells[column].dataset.value;
        const body = table.tBodies[0];
        const numeric = head.dataset.kind === "number";
        const rows = [...body.rows].sort((a, b) => numeric
          ? Number(value(a)) - Number(value(b))
          : value(a).localeCompare(value(b), "en", { numeric: true }));
        if (down) rows.reverse();
        body.append(...rows);
      });
    });
  }

  // Printed pages show what is folded.
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  render();
})();
