"""Doubtful labels as one self-contained page: the pictures, the worst first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from showtell import words
from showtell.evaluate.provenance import now
from showtell.pages.page import check_page, subtitle, write_page
from showtell.pages.thumbs import make_thumbnails

if TYPE_CHECKING:
    from showtell.evaluate.cleaning.run import Cleaning


def write_cleaning(
    found: Cleaning,
    path: str | os.PathLike[str],
    *,
    title: str = "Labels that are most likely wrong",
    most: int = 200,
    thumbnails_mb: float = 4.0,
) -> Path:
    """Write one self-contained HTML page about doubtful labels; it makes no request.

    Parameters
    ----------
    found : Cleaning
    path : path
        The ``.html`` file; its folder is made if missing. It appears whole or not at all.
    title : str
    most : int, default=200
        Labels that are shown: all suspects up to so many, then the next by margin.
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
    doubtful = [d for d in found.doubts if d.suspect or (d.margin is not None and d.margin < 0)]
    shown = sorted(doubtful, key=lambda d: not d.suspect)[:most]
    thumbs = make_thumbnails(found.images, [d.row for d in shown], limit_mb=thumbnails_mb)
    cards = [
        {
            "doubt": doubt,
            "picture": thumbs.address(doubt.row),
            "why": thumbs.reasons.get(doubt.row, ""),
        }
        for doubt in shown
    ]
    given = [d.label for d in found.doubts]
    suspected = [d.label for d in found.suspects]
    rates: list[dict[str, Any]] = [
        {"label": label, "n": given.count(label), "n_suspects": suspected.count(label), "rate": r}
        for label, r in found.error_rates.items()
    ]
    rates.sort(key=lambda row: (-(row["rate"] or 0.0), row["label"]))
    return write_page(
        path,
        "showtell.evaluate.cleaning",
        "cleaning.html.j2",
        title=title,
        subtitle=subtitle(
            words.plural(len(found), "picture"),
            words.plural(len(found.labels), "label"),
            f"seen by {found.encoder}",
            f"made {now()[:10]}",
        ),
        n_suspects=len(found.suspects),
        counts=found.counts,
        n_doubtful=len(doubtful),
        cards=cards,
        rates=rates,
    )
