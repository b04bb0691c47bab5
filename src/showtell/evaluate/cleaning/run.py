"""Find labels that are most likely wrong, by a probe that has not seen them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.classify.chain.selection import copy_groups
from showtell.classify.chain.student import fold_of, out_of_fold
from showtell.classify.labels import codes_of, label_words, true_labels
from showtell.classify.probability import probabilities
from showtell.encoders import Encoder, embed_images, load_encoder
from showtell.encoders.embed import Store
from showtell.errors import InputError, MediaError
from showtell.media import Media, media_name
from showtell.metrics import find_wrong_labels

_C = 10.0
_FOLDS = 5
_FEWEST = 2  # images of a label without which nobody can say what it looks like


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What the other images say about one label."""

    row: int
    """In what was given."""
    image: str
    label: str
    """As given."""
    suggested: str | None
    """What the other images suggest; None where nothing can be said."""
    margin: float | None
    """Probability of the given label minus that of the best other one: below 0, another wins."""
    self_confidence: float | None
    """Probability of the given label."""
    suspect: bool
    """Whether confident learning counts it under another label."""
    status: Literal["ok", "abstained", "error"]
    """"abstained" where the label has no second image to learn from."""
    error: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Cleaning:
    """The labels of a data set, the most doubtful first."""

    labels: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    """One for every image: by margin, then what nothing can be said of, then what failed."""
    error_rates: Mapping[str, float | None]
    """Estimated share of wrong labels among those given each label; None where it is unknown."""
    images: Sequence[Media] = field(repr=False)
    encoder: str = ""

    def __len__(self) -> int:
        return len(self.doubts)

    @property
    def suspects(self) -> tuple[Doubt, ...]:
        """Labels that are most likely wrong, the worst first."""
        return tuple(doubt for doubt in self.doubts if doubt.suspect)

    @property
    def counts(self) -> dict[str, int]:
        """Images by status."""
        found = [doubt.status for doubt in self.doubts]
        return {status: found.count(status) for status in ("ok", "abstained", "error")}

    @property
    def left(self) -> NDArray[np.intp]:
        """Rows whose label is no suspect, in the order given, shape (n_left,)."""
        return np.sort(np.array([d.row for d in self.doubts if not d.suspect], np.intp))

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per image, for a table."""
        return [
            {
                "image": d.image,
                "label": d.label,
                "suggested": d.suggested,
                "margin": d.margin,
                "self_confidence": d.self_confidence,
                "suspect": d.suspect,
                "status": d.status,
                "error": d.error,
            }
            for d in self.doubts
        ]

    def report(self, path: str | os.PathLike[str], **how: Any) -> Path:
        """Write a page with the pictures; see `showtell.evaluate.write_cleaning`."""
        from showtell.evaluate.cleaning.page import write_cleaning

        return write_cleaning(self, path, **how)

    def __repr__(self) -> str:
        return f"Cleaning({len(self.suspects)} suspects among {len(self)} labels)"


def clean(
    images: Sequence[Media],
    y: Any,
    *,
    encoder: str | Encoder = "mini",
    store: Store = "default",
    random_state: int = 0,
    progress: Progress = no_progress,
) -> Cleaning:
    """List the labels of a data set that are most likely wrong; nothing is changed.

    A logistic regression on the embeddings is fitted five times, each time without a fifth of the
    images (near duplicates stay together), and says of these how likely each label is.

    Parameters
    ----------
    images : sequence of Media, length n_samples
    y : array-like of shape (n_samples,)
    encoder, store, progress
        As in `embed_images`.
    random_state : int, default=0
        Seed of the folds.

    Returns
    -------
    found : Cleaning

    Raises
    ------
    InputError
        If there are fewer than two labels with two images each.

    References
    ----------
    Northcutt, Jiang, Chuang (2021), Confident Learning, arXiv:1911.00068.

    Examples
    --------
    >>> from showtell.testing import WordEncoder as Words
    >>> words = Words(["cat", "dog", "grass", "sky", "sand"])
    >>> X = [f"{a} {b}" for a in ("cat", "dog") for b in ("grass", "sky", "sand", "")]
    >>> y = ["cat", "cat", "dog", "cat", "dog", "dog", "dog", "dog"]
    >>> found = clean(X, y, encoder=words, store=None)
    >>> found.doubts[0].image, found.doubts[0].label, found.doubts[0].suggested
    ('cat sand', 'dog', 'cat')
    """
    given = true_labels(y, len(images))
    classes = label_words(None, given).classes
    codes = codes_of(given, classes)
    loaded = load_encoder(encoder)
    found = embed_images(loaded, images, store=store, progress=progress)
    usable = np.flatnonzero(found.ok)
    known = _known(found.distinct[usable], codes[usable], len(classes))
    rows = usable[np.isin(codes[usable], known)]
    names = [str(label) for label in classes.tolist()]
    rates: dict[str, float | None] = dict.fromkeys(names)
    doubts: list[Doubt] = []
    if len(rows):
        place = np.searchsorted(known, codes[rows])
        X = found.embeddings[found.distinct[rows]]
        fold = fold_of(place, copy_groups(X, place), _FOLDS, random_state=random_state)
        logits = out_of_fold(X, np.eye(len(known))[place], fold, head="linear", C=_C)
        told = find_wrong_labels(probabilities(logits, "softmax"), place)
        suspects = set(told.suspects.tolist())
        for i, rate in zip(known.tolist(), told.error_rates.tolist(), strict=True):
            rates[names[i]] = rate if np.isfinite(rate) else None
        doubts = [
            _doubt(
                images,
                int(rows[i]),
                names[codes[rows[i]]],
                suggested=names[known[told.suggested[i]]],
                margin=float(told.margin[i]),
                self_confidence=float(told.self_confidence[i]),
                suspect=i in suspects,
            )
            for i in told.order.tolist()
        ]
    alone = usable[~np.isin(codes[usable], known)]
    doubts += _without_doubt(images, [names[code] for code in codes], alone, found.errors)
    return Cleaning(
        labels=tuple(names),
        doubts=tuple(doubts),
        error_rates=rates,
        images=images,
        encoder=loaded.name,
    )


def _known(distinct: NDArray[np.intp], codes: NDArray[np.intp], n_classes: int) -> NDArray[np.intp]:
    """Find the labels that have two different images or more."""
    n_images = [len(np.unique(distinct[codes == c])) for c in range(n_classes)]
    known = np.flatnonzero(np.array(n_images) >= _FEWEST)
    if len(codes) and len(known) < 2:
        raise InputError(
            "Which labels are wrong is told from other images: give two labels or more with two "
            f"different images each; here {len(known)} of {n_classes} labels have as many."
        )
    return known


def _without_doubt(
    images: Sequence[Media],
    labels: Sequence[str],
    alone: NDArray[np.intp],
    broken: Mapping[int, MediaError],
) -> list[Doubt]:
    """Rows of labels that one image alone has, and of images that cannot be read."""
    reason = "no other image has this label"
    found = [
        _doubt(images, row, labels[row], status="abstained", error=reason) for row in alone.tolist()
    ]
    return found + [
        _doubt(images, row, labels[row], status="error", error=error.reason)
        for row, error in sorted(broken.items())
    ]


def _doubt(images: Sequence[Media], row: int, label: str, **more: Any) -> Doubt:
    unknown = {"suggested": None, "margin": None, "self_confidence": None, "suspect": False}
    told = {**unknown, "status": "ok", **more}
    return Doubt(row=row, image=media_name(images[row]), label=label, **told)
