"use strict";
(() => {
  const { $, make, percent, base, goTo, read } = kit;
  const data = read();
  const n = data.names.length;
  const label = (code) => (code < 0 ? "no label" : data.labels[code]);
  const short = (clue) => data.clues[clue].t.replace(/^A photo of /, "");
  const signed = (value, digits) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
  const isAccuracy = data.tree && data.tree.measure === "accuracy";
  const points = (value) => (isAccuracy ? signed(-value * 100, 1) : signed(value, 3)).replace(/^[−+](0\.0+)$/, "$1");
  const ordinal = (p) => {
    const last = p % 100 > 10 && p % 100 < 14 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[p % 10] || "th";
    return p + last;
  };
  const answerOf = (row) => (data.status[row] === "0" ? data.guess[row] : -1);
  const wrong = (row) => data.truth !== null && data.truth[row] >= 0 && answerOf(row) !== data.truth[row] && data.status[row] !== "2";

  // ---- small things that several places draw --------------------------------------------
  const picture = (row) => {
    const index = data.picture[row];
    if (index >= 0) return image(data.pictures[index], data.names[row]);
    return make("span", "empty", index === -2 ? data.reasons[row] || "cannot be shown" : data.status[row] === "2" ? "cannot be used" : "not embedded");
  };
  const image = (text, name) => {
    const node = make("img");
    node.src = data.mime + text;
    node.alt = base(name);
    node.decoding = "async";
    return node;
  };
  const meter = (what, how, left, width, kind, tag) => {
    const item = make("li");
    const name = make("span", "what", what);
    if (tag) name.append(" ", make("span", "tag", tag));
    const track = make("span", "track");
    const fill = make("i", kind);
    fill.style.left = left + "%";
    fill.style.width = width + "%";
    fill.hidden = !width;
    track.append(fill);
    item.append(name, make("span", "how", how), track);
    return item;
  };
  const share = (value, most) => (most > 0 ? Math.max(0, Math.min(100, (100 * value) / most)) : 0);
  const button = (className, text, act) => {
    const node = make("button", className, text);
    node.type = "button";
    node.addEventListener("click", act);
    return node;
  };
  const strip = (rows) => {
    const list = make("ul", "strip");
    for (const row of rows) {
      const item = make("li");
      const one = button(wrong(row) ? "wrong" : "", undefined, () => show(row, one));
      one.append(picture(row), make("small", "", label(answerOf(row))));
      one.setAttribute("aria-label", base(data.names[row]) + ": " + label(answerOf(row)));
      item.append(one);
      list.append(item);
    }
    return list;
  };

  // ---- the tree of parts ----------------------------------------------------------------
  const tree = $("tree");
  const items = [];
  const most = data.tree ? Math.max(0, ...data.tree.nodes.filter((node) => node.k > 0).map((node) => node.i)) : 0;
  const level = (node) => (node.k > 0 && most > 0 ? Math.max(1, Math.min(7, Math.ceil((7 * node.i) / most))) : 0);
  const topClue = data.tree ? Math.max(0, ...data.clues.map((clue) => clue.i || 0)) : 0;

  const showPart = (at) => {
    const node = data.tree.nodes[at];
    items.forEach((item, i) => item.setAttribute("aria-selected", String(i === at)));
    const box = $("part");
    const lost = isAccuracy ? "accuracy " + points(node.i) + " points" : "log loss " + points(node.i);
    box.replaceChildren(
      make("h3", "", node.path),
      make("p", "lead", lost + (node.s ? " (± " + (isAccuracy ? (100 * node.s).toFixed(1) : node.s.toFixed(3)) + ")" : "") + " without it" + (node.k ? "" : ", within chance") + "; " + node.c.length + (node.c.length === 1 ? " clue" : " clues")),
    );
    const inside = new Set(node.c);
    const groups = data.tree.attributes.filter((one) => one.c.length && one.c.every((clue) => inside.has(clue)));
    const columns = make("div", "columns");
    for (const group of groups) {
      const part = make("div");
      const where = group.p >= 0 && group.p !== at ? data.tree.nodes[group.p].n + ": " : "";
      part.append(make("h4", "", where + group.n + "  " + points(group.i)));
      const sorted = [...group.c].sort((a, b) => data.clues[b].i - data.clues[a].i);
      const most = groups.length > 6 ? 4 : 8;
      const shown = sorted.length > most + 1 ? sorted.slice(0, most) : sorted;
      const listed = (clues) => {
        const list = make("ol", "meters");
        for (const clue of clues) list.append(meter(data.clues[clue].v, points(data.clues[clue].i), 0, share(data.clues[clue].i, topClue), ""));
        return list;
      };
      part.append(listed(shown));
      if (shown.length < sorted.length) {
        const more = make("details", "more");
        more.append(make("summary", "", (sorted.length - shown.length) + " more"), listed(sorted.slice(shown.length)));
        part.append(more);
      }
      columns.append(part);
    }
    box.append(columns);
  };

  const buildTree = () => {
    const parents = [];
    data.tree.nodes.forEach((node, at) => {
      const item = make("li");
      item.setAttribute("role", "treeitem");
      item.setAttribute("aria-level", String(node.d));
      item.setAttribute("aria-selected", "false");
      item.tabIndex = at === 0 ? 0 : -1;
      item.dataset.part = at;
      item.setAttribute("aria-label", node.n + ", " + points(node.i));
      const row = make("div", "row l" + level(node));
      row.append(make("span", "twist"), make("span", "title", node.n), make("span", "much", points(node.i)));
      item.append(row);
      parents.length = node.d - 1;
      const above = parents[node.d - 2];
      if (above) {
        let group = above.querySelector(":scope > ul");
        if (!group) {
          group = make("ul");
          group.setAttribute("role", "group");
          above.append(group);
          above.setAttribute("aria-expanded", "true");
        }
        group.append(item);
      } else tree.append(item);
      parents[node.d - 1] = item;
      items.push(item);
    });
    tree.addEventListener("click", (event) => {
      const item = event.target.closest("[role=treeitem]");
      if (!item) return;
      if (event.target.classList.contains("twist") && item.hasAttribute("aria-expanded")) toggle(item);
      choose(item);
    });
    tree.addEventListener("keydown", (event) => {
      const item = event.target.closest("[role=treeitem]");
      if (!item || event.altKey || event.ctrlKey || event.metaKey) return;
      const visible = items.filter((one) => one.offsetParent !== null);
      const at = visible.indexOf(item);
      const state = item.getAttribute("aria-expanded");
      let next = null;
      if (event.key === "ArrowDown") next = visible[at + 1];
      else if (event.key === "ArrowUp") next = visible[at - 1];
      else if (event.key === "Home") next = visible[0];
      else if (event.key === "End") next = visible[visible.length - 1];
      else if (event.key === "ArrowRight") { if (state === "false") toggle(item); else if (state === "true") next = visible[at + 1]; }
      else if (event.key === "ArrowLeft") { if (state === "true") toggle(item); else next = item.parentElement.closest("[role=treeitem]"); }
      else if (event.key === "Enter" || event.key === " ") next = item;
      else return;
      event.preventDefault();
      if (next) choose(next);
    });
    const best = data.tree.nodes.reduce((top, node, at) => (node.i > data.tree.nodes[top].i ? at : top), 0);
    showPart(best);
    items.forEach((item, at) => { item.tabIndex = at === best ? 0 : -1; });
  };
  const toggle = (item) => {
    const open = item.getAttribute("aria-expanded") !== "true";
    item.setAttribute("aria-expanded", String(open));
    item.querySelector(":scope > ul").hidden = !open;
  };
  const choose = (item) => {
    items.forEach((one) => { one.tabIndex = one === item ? 0 : -1; });
    item.focus({ preventScroll: false });
    showPart(Number(item.dataset.part));
  };

  // ---- labels ---------------------------------------------------------------------------
  const chips = [...document.querySelectorAll("#label-list .chip")];
  const showLabel = (code) => {
    chips.forEach((chip) => chip.setAttribute("aria-pressed", String(Number(chip.dataset.label) === code)));
    const box = $("card");
    box.replaceChildren(make("h3", "", label(code)));
    const rows = [];
    for (let row = 0; row < n; row += 1) if (answerOf(row) === code) rows.push(row);
    const own = data.truth === null ? [] : data.truth.map((t, row) => (t === code ? row : -1)).filter((row) => row >= 0);
    const right = own.filter((row) => answerOf(row) === code);
    const facts = [];
    if (n) facts.push(rows.length + (rows.length === 1 ? " picture" : " pictures") + " answered so");
    if (own.length) facts.push(right.length + " of its " + own.length + " found");
    if (facts.length) box.append(make("p", "lead", facts.join("; ")));
    const card = data.cards.find((one) => one.l === code);
    if (card) {
      const columns = make("div", "columns");
      const top = Math.max(0, ...card.c.map((row) => row[1]));
      for (const [title, keep, kind] of [
        ["More than others", (row) => row[2] >= 0, "up"],
        ["Less than others", (row) => row[2] < 0, "down"],
      ]) {
        const found = card.c.filter(keep);
        if (!found.length) continue;
        const part = make("div");
        part.append(make("h4", "", title));
        const list = make("ol", "meters");
        for (const [clue, importance, direction] of found) {
          list.append(meter(short(clue), signed(direction, 1) + " sd", 0, share(importance, top), kind));
        }
        part.append(list);
        columns.append(part);
      }
      if (card.p.length) {
        const part = make("div");
        part.append(make("h4", "", "By part"));
        const list = make("ol", "meters");
        const topPart = Math.max(...card.p.map((row) => row[1]));
        for (const [node, importance] of card.p) {
          const item = meter("", (100 * importance).toFixed(1), 0, share(importance, topPart), "");
          const link = button("linkish", data.tree.nodes[node].path, () => { choose(items[node]); goTo($("parts")); });
          item.querySelector(".what").append(link);
          list.append(item);
        }
        part.append(list);
        columns.append(part);
      }
      box.append(columns);
      if (!card.c.length) box.append(make("p", "lead", "No clue by itself sets this label apart."));
      else box.append(make("p", "lead", "Bars: what its probability loses when the clue is shuffled, on " + card.n + " of its photos. Numbers: how much more its photos are like the clue than others are, in standard deviations."));
    }
    for (const pair of data.pairs.filter((one) => one.a === code || one.b === code).slice(0, 4)) {
      const other = pair.a === code ? pair.b : pair.a;
      const [to, from] = pair.a === code ? [pair.ab, pair.ba] : [pair.ba, pair.ab];
      const part = make("div");
      const head = make("h4", "", "Mixed up with ");
      head.append(button("linkish", label(other), () => pick(other)));
      part.append(head, make("p", "lead", to + " of its photos taken for that, " + from + " the other way. They share " + pair.ns + " of their " + pair.n + " most important clues" + (pair.s.length ? ": " + pair.s.slice(0, 6).map(short).join("; ") : "") + "."));
      box.append(part);
    }
    const samples = [...new Set([...rows.filter(wrong).slice(0, 6), ...rows.slice(0, 12)])].slice(0, 12);
    if (samples.length) box.append(make("h4", "", "Answered so"), strip(samples));
  };
  const pick = (code) => {
    showLabel(code);
    chips.find((chip) => Number(chip.dataset.label) === code)?.focus();
  };
  chips.forEach((chip) => chip.addEventListener("click", () => showLabel(Number(chip.dataset.label))));

  // ---- pictures -------------------------------------------------------------------------
  const PER_PAGE = window.innerWidth < 700 ? 24 : 48;
  const state = { view: "all", answered: null, text: "", page: 0 };
  const everyRow = Array.from({ length: n }, (_, row) => row);
  let shown = [];
  const chosenRows = () => {
    let rows = everyRow;
    if (state.view === "wrong") rows = rows.filter(wrong);
    if (state.view === "right") rows = rows.filter((row) => data.truth[row] >= 0 && answerOf(row) === data.truth[row]);
    if (state.view === "unsure") rows = rows.filter((row) => data.confidence[row] >= 0).sort((a, b) => data.confidence[a] - data.confidence[b] || a - b);
    if (state.answered !== null) rows = rows.filter((row) => answerOf(row) === state.answered);
    const text = state.text.trim().toLowerCase();
    return text ? rows.filter((row) => data.names[row].toLowerCase().includes(text)) : rows;
  };
  const verdict = (row) => {
    const box = make("span", "verdict");
    const pair = (key, value, kind, note) => {
      const one = make("span", "pair");
      if (key) one.append(make("span", "key", key));
      one.append(make("b", kind, value));
      if (note) one.append(make("span", "sure", note));
      box.append(one);
    };
    if (data.status[row] === "2") pair("", "cannot be used", "bad");
    else pair("", label(answerOf(row)), data.truth === null || data.truth[row] < 0 ? "" : wrong(row) ? "bad" : "good", percent(data.confidence[row]));
    if (wrong(row)) pair("is", label(data.truth[row]), "");
    return box;
  };
  const draw = () => {
    shown = chosenRows();
    const pages = Math.max(1, Math.ceil(shown.length / PER_PAGE));
    state.page = Math.min(state.page, pages - 1);
    const start = state.page * PER_PAGE;
    const rows = shown.slice(start, start + PER_PAGE);
    $("shown").textContent = shown.length
      ? (start + 1) + "–" + (start + rows.length) + " of " + shown.length.toLocaleString("en")
      : "Nothing here. Try another view.";
    $("cards").replaceChildren(...rows.map((row) => {
      const item = make("li");
      const one = make("button", "card " + (wrong(row) ? "is-wrong" : data.status[row] !== "0" ? "is-none" : ""));
      one.type = "button";
      one.dataset.row = row;
      const frame = make("span", "frame");
      frame.append(picture(row));
      const name = make("span", "name", base(data.names[row]));
      name.title = data.names[row];
      one.append(frame, verdict(row), name);
      one.addEventListener("click", () => show(row, one));
      item.append(one);
      return item;
    }));
    document.querySelector(".pager").hidden = pages === 1;
    $("page-at").textContent = (state.page + 1) + " of " + pages;
    $("page-back").disabled = state.page === 0;
    $("page-on").disabled = state.page === pages - 1;
  };

  // ---- one picture and its reasons ------------------------------------------------------
  const dialog = $("picture");
  let cameFrom = null;
  const section = (title, ...content) => {
    const box = make("section", "reason");
    box.append(make("h3", "", title), ...content);
    return box;
  };
  const waterfall = (fall) => {
    let here = fall.b;
    const rows = fall.s.map(([clue, value, place]) => {
      const start = here;
      here += value;
      return { clue, value, place, start, end: here };
    });
    if (fall.m) rows.push({ clue: -1, value: fall.r, start: here, end: here + fall.r });
    const ends = [fall.b, fall.o, ...rows.flatMap((row) => [row.start, row.end])];
    const low = Math.min(...ends), high = Math.max(...ends);
    const px = (value) => (high > low ? (100 * (value - low)) / (high - low) : 0);
    const list = make("ol", "meters");
    for (const row of rows) {
      const left = Math.min(px(row.start), px(row.end));
      const text = row.clue < 0 ? fall.m + (fall.m === 1 ? " other clue" : " other clues") : short(row.clue);
      const item = meter(text, signed(row.value, 3), left, Math.abs(px(row.end) - px(row.start)), row.value < 0 ? "down" : "up", row.clue < 0 ? "" : ordinal(Math.max(1, row.place)) + " of 100");
      list.append(item);
    }
    const title = fall.k === "actual" ? "Why not " + label(fall.l) : fall.k === "rival" ? "What spoke for " + label(fall.l) : "Why " + label(fall.l);
    const unit = fall.u === "probability" ? "probability" : "mean log-odds over the parts";
    const note = make("p");
    note.append(make("small", "", "From " + fall.b.toFixed(3) + ", expected of any photo, to " + fall.o.toFixed(3) + ": " + unit + ". Orange adds, blue takes away; after a clue the photo's place among 100 training photos." + (fall.u === "probability" ? "" : " The answer is the majority of the parts' votes; this sum is of their log-odds, and may be higher for another label.")));
    return section(title, list, note);
  };
  const changes = (found) => {
    const text = found.f && found.s.length
      ? "It would be " + label(found.l) + " with " + found.s.map(([clue, before, after]) => "“" + short(clue) + "” at " + after + " instead of " + before + " of 100").join(" and ") + "."
      : "No small change of clues was found that makes it " + label(found.l) + ".";
    return section("What would change it", make("p", "", text));
  };
  const alike = (rows, title) => {
    const list = make("ol", "alike");
    for (const [index, name, score, file] of rows) {
      const item = make("li");
      if (index >= 0) item.append(image(data.extra[index], file));
      const who = make("b", "", name);
      item.title = file;
      item.append(who, make("span", "", score.toFixed(2)));
      list.append(item);
    }
    return section(title, list);
  };
  const show = (row, from) => {
    if (from) cameFrom = from;
    const body = $("picture-body");
    const whole = make("div", "whole");
    const frame = make("div", "frame");
    frame.append(picture(row));
    const facts = make("div", "facts");
    facts.append(make("h3", "", base(data.names[row])), verdict(row));
    if (data.errors[row]) facts.append(make("p", "", data.errors[row]));
    const list = make("ol", "likely");
    for (let i = 0; i < data.top[row].length; i += 2) {
      const [code, permille] = [data.top[row][i], data.top[row][i + 1]];
      const item = make("li", data.truth !== null && code === data.truth[row] ? "true" : "");
      const bar = make("span", "meter");
      const fill = make("span");
      fill.style.width = Math.max(permille / 10, 0.5) + "%";
      bar.append(fill);
      item.append(make("span", "what", label(code)), bar, make("span", "sure", percent(permille)));
      list.append(item);
    }
    facts.append(list, make("p", "path", data.names[row]));
    whole.append(frame, facts);
    const reasons = make("div", "reasons");
    const why = data.why[row];
    for (const fall of why.w || []) reasons.append(waterfall(fall));
    if (why.a && why.a.length) reasons.append(alike(why.a, why.at));
    if (why.c) reasons.append(changes(why.c));
    const template = document.querySelector('template[data-reasons="' + row + '"]');
    if (template) reasons.append(template.content.cloneNode(true));
    body.replaceChildren(whole);
    if (reasons.childElementCount) body.append(reasons);
    dialog.dataset.row = row;
    const at = shown.indexOf(row);
    $("picture-previous").disabled = at <= 0;
    $("picture-next").disabled = at < 0 || at === shown.length - 1;
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };
  const step = (by) => {
    const row = shown[shown.indexOf(Number(dialog.dataset.row)) + by];
    if (row !== undefined) show(row);
  };

  // ---- start ----------------------------------------------------------------------------
  if (data.tree) buildTree();
  if (chips.length) showLabel(Number(chips[0].dataset.label));
  if (n) {
    document.querySelectorAll("[data-view]").forEach((one) => one.addEventListener("click", () => {
      state.view = one.dataset.view;
      state.page = 0;
      document.querySelectorAll("[data-view]").forEach((other) => other.setAttribute("aria-pressed", String(other === one)));
      draw();
    }));
    $("answered").addEventListener("change", (event) => {
      state.answered = event.target.value === "" ? null : Number(event.target.value);
      state.page = 0;
      draw();
    });
    $("search").addEventListener("input", (event) => { state.text = event.target.value; state.page = 0; draw(); });
    $("page-back").addEventListener("click", () => { state.page -= 1; draw(); goTo($("pictures")); });
    $("page-on").addEventListener("click", () => { state.page += 1; draw(); goTo($("pictures")); });
    $("picture-previous").addEventListener("click", () => step(-1));
    $("picture-next").addEventListener("click", () => step(1));
    $("picture-close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    document.addEventListener("keydown", (event) => {
      if (!dialog.open) return;
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
    dialog.addEventListener("close", () => {
      const card = document.querySelector('#cards [data-row="' + dialog.dataset.row + '"]');
      (card || (cameFrom && cameFrom.isConnected ? cameFrom : null))?.focus();
    });
    draw();
    if (n === 1) show(0);
  }
})();
