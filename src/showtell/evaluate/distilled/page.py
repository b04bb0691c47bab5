"""A distillation as one self-contained page: quality, promise, price, and doubtful labels."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from showtell import words
from showtell.evaluate.provenance import now
from showtell.media import media_name
from showtell.pages.page import check_page, subtitle, write_page
from showtell.pages.thumbs import make_thumbnails

if TYPE_CHECKING:
    from showtell.evaluate.distilled.outcome import Distilled


def write_distilled(
    found: Distilled,
    path: str | os.PathLike[str],
    *,
    most: int = 60,
    thumbnails_mb: float = 4.0,
) -> Path:
    """Write one self-contained HTML page about a student; it makes no request.

    Parameters
    ----------
    found : Distilled
    path : path
        The ``.html`` file; its folder is made if missing. It appears whole or not at all.
    most : int, default=60
        Doubtful labels that are shown.
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
    shown = found.student.suspects_[:most]
    thumbs = make_thumbnails(
        found.images, [s.row for s in shown if s.row >= 0], limit_mb=thumbnails_mb, fetch=False
    )
    cards = [
        {
            "suspect": suspect,
            "name": media_name(found.images[suspect.row]),
            "picture": thumbs.address(suspect.row),
        }
        for suspect in shown
    ]
    told = found.to_dict()
    curve = found.student.curve_
    return write_page(
        path,
        "showtell.evaluate.distilled",
        "distilled.html.j2",
        title=f"A student of {found.teacher}",
        subtitle=subtitle(
            words.plural(found.student.n_labels_, "label"),
            f"on {found.student.encoder}",
            f"cost {words.money(found.cost_usd)}",
            f"made {now()[:10]}",
        ),
        quality=found.quality_sentence(),
        promise=told.get("promise_sentence"),
        price=found.price_sentence(),
        counts=told["counts"],
        curve=list(zip(curve.n_labels, curve.accuracy, strict=True)),
        on_gold=curve.on_gold,
        classes=[] if found.record is None else list(found.record.per_class.items()),
        missing=told["missing"],
        cards=cards,
        n_suspects=told["n_suspects"],
        facts_json=json.dumps(told, ensure_ascii=False, indent=2),
    )
