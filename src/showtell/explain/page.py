"""Explanations as one self-contained page: parts, labels and pictures to click through."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from showtell.classify.concepts.evidence import ConceptImportances, GroupImportance, LabelPair
from showtell.errors import InputError
from showtell.explain.clues import Changes, Waterfall
from showtell.explain.explanation import Explanation
from showtell.explain.overview import ConceptOverview
from showtell.explain.parts import Neighbours, Part
from showtell.pages.page import check_page, subtitle, write_page
from showtell.pages.thumbs import MIME, SIDE, Thumbnails, shrink, to_base64
from showtell.words import plural

_TOP, _CARD, _PAIRS = 5, 12, 30
_REASONS_MB = 6.0


def write_explanations(
    explanations: Sequence[Explanation],
    path: str | os.PathLike[str],
    *,
    overview: ConceptOverview | None = None,
    title: str | None = None,
    how: str | None = None,
    thumbnails_mb: float = 8.0,
) -> Path:
    """Write one self-contained HTML page of explanations.

    It works offline, in light and dark, on a phone and by keyboard, and makes no request, which
    its Content-Security-Policy also enforces. A click on a picture shows its reasons; with an
    `overview` one can also walk through the tree of parts, coloured by importance, and look at
    the card of each label.

    Parameters
    ----------
    explanations : sequence of Explanation
    overview : ConceptOverview, optional
        Of a classifier by clues; see `showtell.explain.concept_overview`.
    how : str, optional
        How the labels came about: a method, and how many examples it learned from. Names of the
        methods unless given.
    path, title, thumbnails_mb
        As in `showtell.evaluate.write_report`; mistakes come first.

    Raises
    ------
    InputError
        If there is nothing to show, and as `showtell.evaluate.write_report`.

    Examples
    --------
    >>> import tempfile
    >>> from showtell.classify import ZeroShotClassifier
    >>> from showtell.explain import explain
    >>> from showtell.testing import ColourEncoder, draw_shape
    >>> clf = ZeroShotClassifier(ColourEncoder(), labels=["red", "blue"]).fit()
    >>> found = explain(clf, [draw_shape("red circle")], grid=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_explanations(found, f"{folder}/why.html")
    ...     print(page.name, "<title>Why red</title>" in page.read_text("utf-8"))
    why.html True
    """
    check_page(path, thumbnails_mb)
    if not explanations and overview is None:
        raise InputError("There is no explanation to write a page of.")
    tables = _Tables(explanations, overview)
    thumbs = _pictures(explanations, thumbnails_mb)
    tables.room = int(thumbnails_mb * 1_000_000) - thumbs.n_bytes
    data = tables.data(thumbs)
    fragments, n_cut = _fragments(explanations)
    known = [e for e in explanations if e.status != "error" and e.actual is not None]
    return write_page(
        path,
        "showtell.explain",
        "explained.html.j2",
        title=title or _title(explanations, overview),
        subtitle=_subtitle(explanations, overview, how),
        overview=overview,
        tree=None if overview is None else overview.importances,
        best=_best(overview),
        rises=overview is not None
        and any(_clear(one, overview.importances) < 0 for one in overview.importances.parts),
        labels=tables.labels,
        counts=_label_counts(explanations, tables.labels),
        n=len(explanations),
        n_known=len(known),
        n_wrong=sum(not e.correct for e in known),
        n_errors=sum(e.status == "error" for e in explanations),
        n_left_out=thumbs.n_left_out if thumbnails_mb else 0,
        n_cut=n_cut,
        fragments=fragments,
        styles=["explained.css"],
        scripts=["explained.js"],
        data=data,
    )


def _title(explanations: Sequence[Explanation], overview: ConceptOverview | None) -> str:
    if len(explanations) == 1:
        one = explanations[0]
        return f"Why {one.label}" if one.label else "Why no label"
    if overview is not None:
        return f"Why which {overview.domain}"
    return "Why these labels"


def _subtitle(
    explanations: Sequence[Explanation], overview: ConceptOverview | None, how: str | None
) -> str:
    parts = [plural(len(explanations), "picture")]
    if overview is not None:
        parts.append(plural(len(overview.cards), "label"))
        parts.append(plural(len(overview.importances.clues), "clue"))
    methods = sorted({e.method for e in explanations}) if how is None else [how]
    return subtitle(*parts, *methods)


def _best(overview: ConceptOverview | None) -> list[str]:
    """Name the most important parts of the top level; what chance would show as well is none."""
    if overview is None:
        return []
    found = [one for one in overview.importances.top("parts", None) if len(one.part) == 1]
    return [one.name for one in found[:3] if _clear(one, overview.importances) > 0]


def _clear(one: GroupImportance, among: ConceptImportances) -> int:
    """Sign of an importance beyond two standard errors, of the shuffles and of the images; else 0.

    An accuracy that falls by m on n images did so on m x n of them at the least, which by itself
    varies by the root of that number.
    """
    size = abs(one.mean)
    of_images = size / among.n_samples if among.measure == "accuracy" else 0.0
    if size <= 2 * math.sqrt(one.std**2 + of_images):
        return 0
    return 1 if one.mean > 0 else -1


def _label_counts(
    explanations: Sequence[Explanation], labels: Sequence[str]
) -> list[tuple[str, int, int]]:
    """Label, how often it was answered, and how many pictures have it."""
    said = Counter(e.label for e in explanations if e.status == "ok")
    true = Counter(e.actual for e in explanations)
    return [(label, said[label], true[label]) for label in labels]


def _pictures(explanations: Sequence[Explanation], limit_mb: float) -> Thumbnails:
    """Embed the pictures, small ones where the large have no room; mistakes first, then doubts."""
    made = Thumbnails(of_row=np.full(len(explanations), -1, np.int32))
    limit = int(limit_mb * 1_000_000)

    def rank(row: int) -> tuple[bool, float]:
        one = explanations[row]
        return one.correct is not False, float(np.nan_to_num(one.confidence, nan=2.0))

    pictures = {row: one.picture for row, one in enumerate(explanations) if one.picture}
    large = 4 * sum(map(len, set(pictures.values()))) / 3 < limit / 2
    place_of: dict[bytes, int] = {}
    for row in sorted(pictures, key=rank):
        picture = pictures[row]
        if picture not in place_of:
            text = to_base64(picture if large else shrink(picture, SIDE))
            if made.n_bytes + len(text) > limit:
                continue
            place_of[picture] = len(made.pictures)
            made.pictures.append(text)
            made.n_bytes += len(text)
        made.of_row[row] = place_of[picture]
    return made


def _fragments(explanations: Sequence[Explanation]) -> tuple[list[tuple[int, Markup]], int]:
    """Lay out the parts that the script does not draw; count those that the page has no room for.

    The reasons of the first pictures are kept whole.
    """
    found: list[tuple[int, Markup]] = []
    size, n_cut = 0, 0
    for row, one in enumerate(explanations):
        own = [part.to_html() for part in one.parts if not _is_drawn(part)]
        if not own:
            continue
        fragment = Markup("").join(own)
        if found and size + len(fragment) > _REASONS_MB * 1_000_000:
            n_cut += 1
            continue
        size += len(fragment)
        found.append((row, fragment))
    return found, n_cut


def _is_drawn(part: Part) -> bool:
    """Whether the script draws a part from numbers."""
    if isinstance(part, Waterfall | Changes):
        return True
    if isinstance(part, Neighbours):
        return part.by == "clues"
    return getattr(part, "about", "") == "probabilities"


class _Tables:
    """Labels and clues by number, and everything that the script needs in those numbers."""

    def __init__(
        self, explanations: Sequence[Explanation], overview: ConceptOverview | None
    ) -> None:
        self.explanations, self.overview = explanations, overview
        labels: dict[str, None] = {}
        if overview is not None:
            labels.update(dict.fromkeys(card.label for card in overview.cards))
        for one in explanations:
            labels.update(dict.fromkeys(one.proba))
            labels.update(dict.fromkeys(name for name in (one.label, one.actual) if name))
        self.labels = list(labels)
        self.code = {label: i for i, label in enumerate(self.labels)}
        self.clues: list[dict[str, Any]] = []
        self.clue_of: dict[tuple[str, tuple[str, ...]], int] = {}
        self.place: dict[tuple[str, ...], int] = {}
        self.room = 0
        self.extra: list[str] = []
        self._extra_of: dict[bytes, int] = {}

    def clue(self, text: str, part: tuple[str, ...]) -> int:
        """Return the number of a clue."""
        key = (text, part)
        if key not in self.clue_of:
            self.clue_of[key] = len(self.clues)
            self.clues.append({"t": text, "p": " › ".join(part)})
        return self.clue_of[key]

    def data(self, thumbs: Thumbnails) -> dict[str, Any]:
        """Lay everything out for the script."""
        tree = None if self.overview is None else self._tree(self.overview)
        rows = self.explanations
        why = [self._why(one) for one in rows]
        has_truth = any(one.actual is not None for one in rows)
        return {
            "labels": self.labels,
            "clues": self.clues,
            "tree": tree,
            "cards": [] if self.overview is None else self._cards(self.overview),
            "pairs": [] if self.overview is None else self._pairs(self.overview.pairs),
            "names": [one.image for one in rows],
            "truth": [self.code.get(one.actual or "", -1) for one in rows] if has_truth else None,
            "guess": [self.code[one.label] if one.label else -1 for one in rows],
            "status": "".join(str(_STATUS[one.status]) for one in rows),
            "confidence": [_permille(one.confidence) for one in rows],
            "errors": {str(i): one.error or "" for i, one in enumerate(rows) if one.error},
            "top": [self._top(one) for one in rows],
            "why": why,
            "picture": thumbs.of_row.tolist(),
            "pictures": thumbs.pictures,
            "extra": self.extra,
            "reasons": {str(i): reason for i, reason in thumbs.reasons.items()},
            "mime": MIME,
        }

    def _top(self, one: Explanation) -> list[int]:
        """List the most probable labels as [code, permille, code, permille, ...]."""
        best = sorted(one.proba, key=lambda name: -one.proba[name])[:_TOP]
        return [n for name in best for n in (self.code[name], _permille(one.proba[name]))]

    def _tree(self, overview: ConceptOverview) -> dict[str, Any]:
        """List parts and their attributes in the order of the tree, each with its clues."""
        found = overview.importances
        for one in found.clues:
            assert one.clue is not None
            clue = self.clues[self.clue(one.clue.text, one.clue.part)]
            clue.update(a=one.clue.attribute, v=one.clue.value, i=_rounded(one.mean))
        numbers = [self.clue(one.clue.text, one.clue.part) for one in found.clues if one.clue]
        of_column = {one.columns[0]: n for one, n in zip(found.clues, numbers, strict=True)}
        first: dict[tuple[str, ...], int] = {}
        for one in found.parts:
            for depth in range(1, len(one.part) + 1):
                first.setdefault(one.part[:depth], len(first))
        parts = sorted(  # a part before what is below it, and that before the next part
            found.parts, key=lambda one: [first[one.part[: k + 1]] for k in range(len(one.part))]
        )
        self.place = {one.part: i for i, one in enumerate(parts)}
        nodes = [
            {
                "n": one.part[-1],
                "path": " › ".join(one.part),
                "d": len(one.part),
                "i": _rounded(one.mean),
                "s": _rounded(one.std),
                "k": _clear(one, found),
                "c": [of_column[column] for column in one.columns if column in of_column],
            }
            for one in parts
        ]
        attributes = [
            {
                "p": self.place.get(one.part, -1),
                "n": one.attribute,
                "i": _rounded(one.mean),
                "c": [of_column[column] for column in one.columns if column in of_column],
            }
            for one in found.attributes
        ]
        return {
            "domain": overview.domain,
            "measure": found.measure,
            "baseline": _rounded(found.baseline),
            "n": found.n_samples,
            "nodes": nodes,
            "attributes": attributes,
        }

    def _cards(self, overview: ConceptOverview) -> list[dict[str, Any]]:
        cards = []
        for card in overview.cards:
            clues = [g for g in card.clues if g.clue is not None and g.importance > 0][:_CARD]
            cards.append(
                {
                    "l": self.code[card.label],
                    "n": card.n_images,
                    "c": [
                        [
                            self.clue(g.clue.text, g.clue.part),
                            _rounded(g.importance),
                            round(g.direction, 2),
                        ]
                        for g in clues
                        if g.clue is not None
                    ],
                    "p": [
                        [self.place[g.part], _rounded(g.importance)]
                        for g in card.parts
                        if g.part in self.place and g.importance > 0
                    ][:6],
                }
            )
        return cards

    def _pairs(self, pairs: Sequence[LabelPair]) -> list[dict[str, Any]]:
        return [
            {
                "a": self.code[pair.first],
                "b": self.code[pair.second],
                "ab": pair.first_as_second,
                "ba": pair.second_as_first,
                "n": pair.n_top,
                "s": [self.clue(c.text, c.part) for c in pair.shared[:_CARD]],
                "ns": len(pair.shared),
            }
            for pair in pairs[:_PAIRS]
            if pair.first in self.code and pair.second in self.code
        ]

    def _why(self, one: Explanation) -> dict[str, Any]:
        """Reasons of one picture that the script draws."""
        found: dict[str, Any] = {}
        falls = []
        for part in one.parts:
            if isinstance(part, Waterfall):
                falls.append(
                    {
                        "l": self.code.get(part.label, -1),
                        "k": part.about,
                        "u": part.unit,
                        "b": _rounded(part.base),
                        "o": _rounded(part.output),
                        "r": _rounded(part.rest),
                        "m": part.n_rest,
                        "s": [
                            [
                                self.clue(step.text, step.part),
                                _rounded(step.contribution),
                                round(step.percentile),
                                round(step.value, 2),
                            ]
                            for step in part.steps
                        ],
                    }
                )
            elif isinstance(part, Changes):
                found["c"] = {
                    "l": self.code.get(part.target, -1),
                    "f": part.flips,
                    "s": [
                        [self.clue(s.text, s.part), round(s.before), round(s.after)]
                        for s in part.swaps
                    ],
                }
            elif isinstance(part, Neighbours) and part.by == "clues":
                found["a"] = [
                    [self._extra(n.picture), n.label, round(n.cosine, 3), n.image]
                    for n in part.neighbours
                ]
                found["at"] = part.title
        if falls:
            found["w"] = falls
        return found

    def _extra(self, picture: bytes) -> int:
        """Embed a picture of something that is not explained itself; -1 where there is no room."""
        if not picture:
            return -1
        if picture not in self._extra_of:
            text = to_base64(picture)
            if self.room < len(text):
                return -1
            self.room -= len(text)
            self._extra_of[picture] = len(self.extra)
            self.extra.append(text)
        return self._extra_of[picture]


_STATUS = {"ok": 0, "abstained": 1, "error": 2}


def _permille(share: float) -> int:
    return math.floor(share * 1000) if math.isfinite(share) else -1


def _rounded(value: float) -> float:
    return round(float(value), 5) if math.isfinite(value) else 0.0
