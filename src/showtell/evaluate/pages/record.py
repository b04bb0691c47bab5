"""Records and predictions as one self-contained page that makes no request."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell import words
from showtell.classify.predictions import Predictions
from showtell.errors import InputError
from showtell.evaluate.pages.described import controls_section, described_section
from showtell.evaluate.pages.sections import (
    comparison_section,
    confusion_section,
    curve_section,
    error_section,
    label_counts,
    per_class_section,
    run_facts,
    summary,
    trust_section,
)
from showtell.evaluate.provenance import dig, learned_from, now
from showtell.media import Media
from showtell.pages.page import check_page, subtitle, write_page
from showtell.pages.thumbs import MIME, Thumbnails, is_there, make_thumbnails, row_order

if TYPE_CHECKING:
    from showtell.evaluate.comparison import Comparison
    from showtell.evaluate.curve import ShotCurve
    from showtell.evaluate.record import Record

_TOP = 5


def write_report(
    record: Record | Predictions,
    path: str | os.PathLike[str],
    *,
    curve: ShotCurve | None = None,
    comparison: Comparison | None = None,
    title: str | None = None,
    thumbnails_mb: float = 8.0,
) -> Path:
    """Write one self-contained HTML page about a record.

    The page works offline, in light and dark, on a phone and in print. It holds everything it
    shows: no request leaves it, which its Content-Security-Policy also enforces.

    Parameters
    ----------
    record : Record or Predictions
        Predictions without a truth become the page of `write_gallery`.
    path : path
        The ``.html`` file; its folder is made if missing. It appears whole or not at all.
    curve : ShotCurve, optional
        Accuracy by number of shots, drawn in a section of its own.
    comparison : Comparison, optional
        Other records on the same samples, with paired tests.
    title : str, optional
        Heading of the page.
    thumbnails_mb : float, default=8.0
        Megabytes that small pictures may add. The most informative come first: mistakes, least
        sure, a few of each confusion cell. 0 embeds none. The page says how many are missing.

    Returns
    -------
    path : Path

    Raises
    ------
    InputError
        If `path` is a folder or `thumbnails_mb` is negative.
    """
    if isinstance(record, Predictions):
        return write_gallery(record, None, path, title=title, thumbnails_mb=thumbnails_mb)
    check_page(path, thumbnails_mb)
    thumbs = _thumbnails(record.predictions, record.media, record.y_true, thumbnails_mb)
    has_answers = "answer" in record.predictions.columns
    context = {
        "kind": "report",
        "title": title or _title(record, comparison),
        "name": record.name,
        "subtitle": _subtitle(record),
        "summary": summary(record),
        "labels": per_class_section(record),
        "confusion": confusion_section(record),
        "trust": trust_section(record),
        "controls": controls_section(
            record.controls, any_abstained=bool(record.metrics["n_abstained"])
        ),
        "described": described_section(record),
        "curve": curve_section(curve),
        "comparison": comparison_section(comparison, _name_in(comparison, record)),
        "parsing": record.parsing,
        "errors": error_section(record.predictions),
        "note": dig(record.run, "estimator", "note") or "",
        "facts": run_facts(record.run),
        "run_json": json.dumps(dict(record.run), ensure_ascii=False, indent=2),
        "classes": record.classes,
        "views": _views(record.predictions, record.correct),
        "gone": not (thumbs.pictures or thumbnails_mb == 0 or has_answers),
        "counts": record.predictions.counts,
    }
    data = _rows(record.predictions, record.y_true, thumbs)
    data["start"] = "wrong" if (record.y_pred >= 0).sum() > record.correct.sum() else "unsure"
    if data["start"] == "unsure" and not np.isfinite(record.predictions.confidence_all).any():
        data["start"] = "all"
    return _write(path, context, data, thumbs, has_answers=has_answers)


def write_gallery(
    predictions: Predictions,
    images: Sequence[Media] | None,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    thumbnails_mb: float = 8.0,
    run: Mapping[str, Any] | None = None,
) -> Path:
    """Write one self-contained HTML page about predictions without a truth.

    Pictures by label, least sure first, and what could not be read. See `write_report`.

    Parameters
    ----------
    predictions : Predictions
    images : sequence of Media, length n_samples, or None
        The pictures; None takes the files that the rows name.
    path, title, thumbnails_mb
        As in `write_report`; the least sure come first.
    run : mapping, optional
        What was run, as JSON values.

    Raises
    ------
    InputError
        As `write_report`, or if `images` has another length.
    """
    check_page(path, thumbnails_mb)
    if images is not None and len(images) != len(predictions):
        raise InputError(f"{len(images)} images for {len(predictions)} predictions; give one each.")
    thumbs = _thumbnails(predictions, images, None, thumbnails_mb)
    n = len(predictions)
    context = {
        "kind": "gallery",
        "name": "",
        "title": title or f"{words.plural(n, 'picture')} by label",
        "subtitle": subtitle(
            words.plural(len(predictions.classes), "label"),
            learned_from(dig(run or {}, "estimator") or {}),
            f"made {now()[:10]}",
        ),
        "summary": None,
        "labels": label_counts(predictions),
        **dict.fromkeys(("confusion", "trust", "controls", "described", "curve", "comparison")),
        "parsing": (),
        "errors": error_section(predictions),
        "note": dig(run or {}, "estimator", "note") or "",
        "facts": run_facts(run or {}),
        "run_json": json.dumps(dict(run), ensure_ascii=False, indent=2) if run else "",
        "classes": predictions.classes,
        "views": _views(predictions, None),
        "gone": not (thumbs.pictures or thumbnails_mb == 0),
        "counts": predictions.counts,
    }
    data = _rows(predictions, None, thumbs)
    data["start"] = "unsure" if np.isfinite(predictions.confidence_all).any() else "all"
    return _write(path, context, data, thumbs, has_answers=False)


def _name_in(comparison: Comparison | None, record: Record) -> str:
    """Find what a comparison calls the record: records of one name have numbers there."""
    names = [] if comparison is None else [r.name for r in comparison.records]
    return next((n for n in names if n.startswith(f"{record.name} #")), record.name)


def _title(record: Record, comparison: Comparison | None = None) -> str:
    """Name the page after what was measured."""
    data = dig(record.run, "data", "name")
    if comparison is not None and data:
        return f"{len(comparison.records)} ways compared on {data}"
    return f"{record.name} on {data}" if data and data != record.name else record.name


def _subtitle(record: Record) -> str:
    """Say in one line what the page is about."""
    finished = record.run.get("finished")
    return subtitle(
        words.plural(len(record), "sample"),
        words.plural(len(record.classes), "label"),
        learned_from(dig(record.run, "estimator") or {}),
        f"measured {str(finished)[:10]}" if finished else None,
    )


def _thumbnails(
    predictions: Predictions,
    media: Sequence[Media] | None,
    y_true: NDArray[np.int32] | None,
    limit_mb: float,
) -> Thumbnails:
    """Make the pictures of a page; without `media` from the files that the rows name."""
    if limit_mb == 0:
        return Thumbnails(of_row=np.full(len(predictions), -1, np.int32))
    sources: Sequence[Media] = predictions.images if media is None else media
    order = row_order(
        y_true=y_true,
        y_pred=np.where(predictions.ok, predictions.codes, -1).astype(np.int32),
        confidence=predictions.confidence_all,
    )
    if media is None and not any(is_there(source) for source in sources[:200]):
        return Thumbnails(of_row=np.full(len(predictions), -1, np.int32))
    return make_thumbnails(
        sources,
        order,
        limit_mb=limit_mb,
        same=predictions.distinct,
        reasons={i: _reason(text) for i, text in predictions.errors.items()},
        fetch=media is not None,
    )


def _reason(error: str) -> str:
    """Leave the name out of an error line: the card shows it already."""
    return re.sub(r"^cannot read .*?: ", "", error, count=1)


def _views(
    predictions: Predictions, correct: NDArray[np.bool_] | None
) -> list[tuple[str, str, int]]:
    """List the buttons above the pictures as (view, text, how many)."""
    counts = predictions.counts
    sure = int(np.isfinite(predictions.confidence_all).sum())
    views = []
    if correct is not None:
        views.append(("wrong", "Mistakes, surest first", counts["ok"] - int(correct.sum())))
    if sure:
        views.append(("unsure", "Least sure", sure))
    if correct is not None:
        views.append(("right", "Right", int(correct.sum())))
    views.append(("abstained", "Abstained", counts["abstained"]))
    views.append(("error", "Errors", counts["error"]))
    views.append(("all", "All", len(predictions)))
    return [v for v in views if v[2] or v[0] == "all"]


def _rows(
    predictions: Predictions, y_true: NDArray[np.int32] | None, thumbs: Thumbnails
) -> dict[str, Any]:
    """Lay the rows out as columns for the script: codes and permilles, no objects per row."""
    known = np.isfinite(predictions.confidence_all)
    confidence = np.where(known, np.floor(predictions.confidence_all * 1000), -1)
    columns = predictions.columns
    answers = columns.get("answer")
    return {
        "classes": list(predictions.classes),
        "names": list(predictions.images),
        "truth": None if y_true is None else y_true.tolist(),
        "guess": predictions.codes.tolist(),
        "status": "".join(map(str, predictions.status_codes.tolist())),
        "confidence": confidence.astype(int).tolist(),
        "errors": {str(i): text for i, text in predictions.errors.items()},
        "answers": None if answers is None else ["" if a is None else str(a) for a in answers],
        "top": _top(predictions),
        "picture": thumbs.of_row.tolist(),
        "pictures": thumbs.pictures,
        "reasons": {str(i): reason for i, reason in thumbs.reasons.items()},
        "mime": MIME,
        "without": "not embedded",
        "noun": ["picture", "pictures"] if thumbs.pictures else ["row", "rows"],
    }


def _top(predictions: Predictions) -> list[list[int] | None] | None:
    """List the most probable labels of each row as [code, permille, code, permille, ...]."""
    proba, distinct = predictions.distinct_proba, predictions.distinct
    if proba is None or distinct is None or not len(proba):
        return None
    k = min(_TOP, proba.shape[1])
    best = np.argsort(-proba, axis=1, kind="stable")[:, :k]
    share = np.floor(np.take_along_axis(proba, best, axis=1) * 1000).astype(int)
    pairs = np.stack([best, share], axis=2).reshape(len(proba), 2 * k).tolist()
    return [None if d < 0 else pairs[d] for d in distinct.tolist()]


def _write(
    path: str | os.PathLike[str],
    context: Mapping[str, Any],
    data: Mapping[str, Any],
    thumbs: Thumbnails,
    *,
    has_answers: bool,
) -> Path:
    return write_page(
        path,
        "showtell.evaluate.pages",
        "record.html.j2",
        **context,
        scripts=["record.js"],
        data=data,
        n_pictures=len(thumbs.pictures),
        n_left_out=thumbs.n_left_out,
        has_answers=has_answers,
        noun=data["noun"],
    )
