"""A contest as one self-contained page: who is better, what it is worth, and the pairs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from showtell import words
from showtell.evaluate.provenance import now
from showtell.pages.page import check_page, subtitle, write_page
from showtell.pages.thumbs import Thumbnails, make_thumbnails

if TYPE_CHECKING:
    from showtell.evaluate.judging.run import Judgement, Verdict
    from showtell.evaluate.judging.several import Contest

_ORDER = {"flipped": 0, "decided": 1, "tie": 2, "error": 3}


def write_contest(
    found: Contest,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    most: int = 200,
    thumbnails_mb: float = 4.0,
) -> Path:
    """Write one self-contained HTML page about a contest; it makes no request.

    Parameters
    ----------
    found : Contest
    path : path
        The ``.html`` file; its folder is made if missing. It appears whole or not at all.
    title : str, optional
    most : int, default=200
        Pairs that are shown: those whose verdict flips with the order first.
    thumbnails_mb : float, default=4.0
        Megabytes that small pictures may add; 0 embeds none.

    Returns
    -------
    path : Path

    Raises
    ------
    InputError
        If `path` is a folder or `thumbnails_mb` is negative.
    """
    check_page(path, thumbnails_mb)
    cards = [card for k in range(len(found.pairs)) for card in _cards(found, k)]
    cards.sort(key=lambda card: _ORDER[card["kind"]])
    shown = cards[:most]
    thumbs = Thumbnails(of_row=np.full(len(found.joined.images), -1, np.int32))
    if found.images is not None and shown:
        rows = [card["row"] for card in shown]
        thumbs = make_thumbnails(found.images, rows, limit_mb=thumbnails_mb, fetch=False)
    for card in shown:
        card["picture"] = thumbs.address(card["row"])
    told = found.to_dict()
    return write_page(
        path,
        "showtell.evaluate.judging",
        "contest.html.j2",
        title=title or f"Which is better: {words.listed(found.joined.names)}",
        subtitle=subtitle(
            words.plural(len(found.joined.images), "image"),
            "by gold labels" if told["judge"] == "gold" else f"judged by {told['judge']}",
            f"cost {words.money(found.cost_usd)}",
            f"made {now()[:10]}",
        ),
        sentences=found.sentences(),
        by_gold=told["judge"] == "gold",
        pairs=told["pairs"],
        standings=found.standings,
        padded=found.padded,
        contestants=told["contestants"],
        notes=[note for one in found.judgements for note in one.notes],
        missing={name: n for name, n in found.joined.missing.items() if n},
        cards=shown,
        n_cards=len(cards),
        n_errors=found.n_errors,
        styles=["contest.css"],
    )


def _cards(found: Contest, k: int) -> list[dict[str, Any]]:
    """Lay out the pairs of two contestants that differ."""
    (a, b), judgement = found.pairs[k], found.judgements[k]
    joined = found.joined
    by_item = _verdicts_by_item(judgement)
    cards = []
    for row, image in enumerate(joined.images):
        verdicts = by_item.get(row, [])
        score = float(judgement.scores[row])
        if judgement.judge == "gold":
            if score == 0.5:
                continue
            kind = "decided"
        elif not verdicts:
            continue  # the same words
        elif any(v.status == "error" for v in verdicts):
            kind = "error"
        elif len({v.score_a for v in verdicts}) > 1:
            kind = "flipped"
        else:
            kind = "tie" if score == 0.5 else "decided"
        cards.append(
            {
                "row": row,
                "image": image,
                "kind": kind,
                "names": (joined.names[a], joined.names[b]),
                "answers": (joined.texts[a][row], joined.texts[b][row]),
                "winner": None if kind != "decided" else joined.names[a if score > 0.5 else b],
                "reasons": [v.reasons or v.error or "" for v in verdicts],
            }
        )
    return cards


def _verdicts_by_item(judgement: Judgement) -> dict[int, list[Verdict]]:
    found: dict[int, list[Verdict]] = {}
    for row, verdict in zip(judgement.rows_of_verdicts, judgement.verdicts, strict=True):
        found.setdefault(row, []).append(verdict)
    return found
