"""The images of an evolution: those it learns from, and those that only choose the end."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.classify.base import SkippedImagesWarning
from showtell.datasets.shots import support_rows
from showtell.encoders import Embeddings, ImageEmbeddings
from showtell.errors import InputError
from showtell.media import Media, media_name


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Embeddings of the support images, followed by those of the validation images."""

    embeddings: Embeddings
    codes: NDArray[np.intp]
    n_support: int
    digest: str


def part_images(
    found: ImageEmbeddings,
    images: Sequence[Media],
    codes: NDArray[np.intp],
    names: Sequence[str],
    *,
    shots: int | None,
    validation: float,
    seed: int,
) -> Parts:
    """Part labelled images into support and validation, by content.

    Those that cannot be used, and pictures with two labels, are left out with a warning.

    Raises InputError if a label has no usable image.
    """
    if found.errors:
        first = min(found.errors)
        reason = " ".join(str(found.errors[first]).split())
        warnings.warn(
            f"{len(found.errors)} labelled images could not be used and were left out; the "
            f"first, {media_name(images[first])}: {reason}",
            SkippedImagesWarning,
            stacklevel=3,
        )
    owner: dict[int, set[int]] = {}
    for place, code in zip(found.distinct.tolist(), codes.tolist(), strict=True):
        if place >= 0:
            owner.setdefault(place, set()).add(code)
    both = sum(len(of) > 1 for of in owner.values())
    if both:
        warnings.warn(
            f"{both} pictures have two labels each and were left out.",
            SkippedImagesWarning,
            stacklevel=3,
        )
    rows = sorted(
        (place for place, of in owner.items() if len(of) == 1),
        key=lambda place: found.digests[place],
    )
    of_row = np.array([next(iter(owner[place])) for place in rows], np.intp)
    counts = np.bincount(of_row, minlength=len(names))
    if not counts.all():
        missing = [name for name, n in zip(names, counts, strict=True) if not n]
        raise InputError(
            f"Every label needs an image, and {len(missing)} have no usable one: "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}."
        )
    digests = [found.digests[place] for place in rows]
    y = [names[code] for code in of_row]
    order = support_rows(y, len(y), seed=seed, keys=digests)
    support, held = _split(order, y, shots, validation)
    chosen = [*support, *held]
    return Parts(
        embeddings=found.embeddings[[rows[i] for i in chosen]],
        codes=of_row[chosen],
        n_support=len(support),
        digest=digest_of([(digests[i], names[of_row[i]]) for i in chosen]),
    )


def _split(
    order: NDArray[np.intp], y: Sequence[str], shots: int | None, validation: float
) -> tuple[list[int], list[int]]:
    """Take validation from the end of a drawn order, for each label."""
    support: list[int] = []
    held: list[int] = []
    by_label: dict[str, list[int]] = {}
    for row in order.tolist():
        by_label.setdefault(y[row], []).append(row)
    for rows in by_label.values():
        n = len(rows)
        n_held = 0
        if validation > 0 and n > 1:
            n_held = min(n - 1, max(1, round(validation * n)))
        held += rows[n - n_held :]
        support += rows[: n - n_held][:shots]
    return sorted(support), sorted(held)


def digest_of(value: Any) -> str:
    """Hash plain values."""
    text = json.dumps(value, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
