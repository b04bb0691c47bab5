"""Answers as one self-contained page: pointing at a claim lights what it rests on."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from showtell import words
from showtell.ask.money import show_amount
from showtell.errors import InputError
from showtell.media.clip import clip_time
from showtell.pages.page import check_page, subtitle, write_page
from showtell.pages.thumbs import data_uri, small_picture

if TYPE_CHECKING:
    from showtell.ask.answer import Answer, Claim
    from showtell.ask.material import Exhibit, Moment

_WORDS = {"image": "Image", "video": "Clip", "sound": "Sound", "document": "Document",
          "text": "Text"}  # fmt: skip
_LONGEST_TEXT = 1200  # characters of a text or page that are shown


def write_answers(
    answers: Sequence[Answer],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    thumbnails_mb: float = 8.0,
) -> Path:
    """Write one self-contained HTML page about answers; it makes no request.

    Parameters
    ----------
    answers : sequence of Answer
    path : path
        The ``.html`` file; its folder is made if missing. It appears whole or not at all.
    title : str, optional
    thumbnails_mb : float, default=8.0
        Megabytes that small pictures may add; what claims rest on comes first. 0 embeds none.

    Returns
    -------
    path : Path

    Raises
    ------
    InputError
        If there are no answers, `path` is a folder, or `thumbnails_mb` is negative.
    """
    check_page(path, thumbnails_mb)
    if not answers:
        raise InputError("There are no answers to show.")
    pictures = _pictures(answers, round(thumbnails_mb * 1e6))
    costs = [answer.cost_usd for answer in answers]
    known = [cost for cost in costs if cost is not None]
    total = sum(known) if len(known) == len(costs) else None
    return write_page(
        path,
        "showtell.ask",
        "answers.html.j2",
        title=title or (answers[0].question if len(answers) == 1 else "") or "Answers",
        subtitle=subtitle(
            words.plural(len(answers), "question"),
            f"asked of {answers[0].model}",
            f"cost {words.money(total)}",
        ),
        answers=[_told(i, answer, pictures) for i, answer in enumerate(answers)],
        styles=["answers.css"],
        scripts=["answers.js"],
    )


def _pictures(answers: Sequence[Answer], limit: int) -> dict[str, str]:
    """Make small pictures by digest, those that claims rest on first, until the limit."""
    first = [m for answer in answers for claim in answer.claims for m in claim.evidence]
    rest = [
        m
        for answer in answers
        if answer.material is not None
        for exhibit in answer.material.exhibits
        for m in exhibit.moments
    ]
    made: dict[str, str] = {}
    for moment in [*first, *rest]:
        part = moment.picture
        if part is None or part.digest in made:
            continue
        with Image.open(io.BytesIO(part.data)) as picture:
            small = data_uri(small_picture(picture))
        limit -= len(small)
        if limit < 0:
            break
        made[part.digest] = small
    return made


def _told(number: int, answer: Answer, pictures: dict[str, str]) -> dict[str, Any]:
    exhibits = () if answer.material is None else answer.material.exhibits
    return {
        "number": number,
        "question": answer.question or ", ".join(answer.inputs),
        "said": answer.sentence(),
        "status": answer.status,
        "confidence": answer.confidence,
        "languages": dict(answer.languages),
        "steps": answer.steps,
        "claims": [_claim(number, claim) for claim in answer.claims],
        "data": _data(number, answer),
        "sum": _sum(number, answer),
        "exhibits": [_exhibit(number, exhibit, pictures) for exhibit in exhibits],
        "inputs": answer.inputs,
    }


def _place(number: int, ref: str) -> str:
    """Name a piece of material by an id of its own in the page."""
    safe = "".join(c if c.isalnum() else "-" for c in ref)
    return f"m{number}-{safe}"


def _places(number: int, refs: Sequence[str]) -> str:
    return " ".join(_place(number, ref) for ref in refs)


def _claim(number: int, claim: Claim) -> dict[str, Any]:
    return {
        "text": claim.text,
        "places": _places(number, claim.refs),
        "refs": claim.refs,
        "basis": claim.basis.replace("_", " "),
        "verdict": claim.verdict,
        "unknown": claim.unknown,
    }


def _data(number: int, answer: Answer) -> list[dict[str, Any]]:
    if answer.calculation is not None or not isinstance(answer.data, dict):
        return []
    return [
        {
            "name": name,
            "value": "" if value is None else str(value),
            "refs": answer.data_evidence.get(name, ()),
            "places": _places(number, answer.data_evidence.get(name, ())),
        }
        for name, value in answer.data.items()
    ]


def _sum(number: int, answer: Answer) -> dict[str, Any] | None:
    found = answer.calculation
    if found is None:
        return None
    return {
        "lines": [
            {
                "name": line.name,
                "count": str(line.count),
                "price": "" if line.price is None else show_amount(line.price, line.currency),
                "unit": line.unit,
                "subtotal": ""
                if line.subtotal is None
                else show_amount(line.subtotal, line.currency),
                "note": line.note,
                "places": _places(number, line.evidence),
            }
            for line in found.lines
        ],
        "totals": [show_amount(value, name) for name, value in found.totals.items()],
        "is_complete": found.is_complete,
        "model_total": None
        if found.model_total is None
        else show_amount(found.model_total, found.currency),
        "agrees": found.agrees,
        "notes": found.notes,
    }


def _exhibit(number: int, exhibit: Exhibit, pictures: dict[str, str]) -> dict[str, Any]:
    word = _WORDS[exhibit.kind]
    shown = [_moment(number, exhibit, moment, pictures) for moment in exhibit.moments]
    return {
        "title": f"{word} {exhibit.id}",
        "place": _place(number, exhibit.id),
        "name": exhibit.name,
        "converted": exhibit.converted,
        "moments": shown,
        "lines": [str(line) for line in exhibit.lines],
    }


def _moment(
    number: int, exhibit: Exhibit, moment: Moment, pictures: dict[str, str]
) -> dict[str, Any]:
    if moment.page is not None:
        caption = f"page {moment.page}"
    elif moment.time is not None:
        caption = clip_time(moment.time)
    else:
        caption = exhibit.id
    part = moment.picture
    return {
        "place": _place(number, moment.ref),
        "caption": caption,
        "alt": f"{_WORDS[exhibit.kind]} {exhibit.id}, {caption}",
        "picture": "" if part is None else pictures.get(part.digest, ""),
        "text": moment.text[:_LONGEST_TEXT],
    }
