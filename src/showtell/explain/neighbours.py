"""The labelled images that look most alike: those that a classifier learned from, or was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.classify.base import media_list
from showtell.classify.capabilities import Learns
from showtell.datasets.lazy import pick_rows
from showtell.encoders import embed_images, load_encoder
from showtell.errors import InputError, MediaError, ShowtellError
from showtell.explain.parts import Neighbour, Neighbours
from showtell.media import Media, media_name, open_image
from showtell.pages.thumbs import small_picture

_SIDE = 144


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Labelled images to compare with."""

    images: Sequence[Media]
    labels: NDArray[np.str_]
    """Shape (n_examples,)."""
    title: str
    given: Sequence[Media]
    """All that was given, to be looked up by row number."""

    def __len__(self) -> int:
        return len(self.images)


def examples_from(classifier: Any, given: Any) -> Examples | None:
    """Find out which labelled images a classifier knows.

    One that was shown demonstrations needs nothing else. Of one that learned from labelled images
    those rows count, so `given` must be what its `fit` was given; `InputError` if it cannot be.
    """
    shown = getattr(classifier, "demonstrations_", None)
    if given is None:
        if not shown:
            return None
        names = [str(label) for label in classifier.classes_.tolist()]
        parts = [d.image.data for d in shown]
        return Examples(
            images=parts,
            given=parts,
            labels=np.array([names[d.code] for d in shown], np.str_),
            title="Most alike among the demonstrations",
        )
    images, labels = _pair(given)
    if not isinstance(classifier, Learns):
        return Examples(
            images=images, given=images, labels=labels, title="Most alike among the examples"
        )
    rows = classifier.support_
    if len(rows) and int(rows.max()) >= len(images):
        raise InputError(
            f"`examples` must be what this classifier was fitted with: it learned from row "
            f"{int(rows.max())}, and there are {len(images)} images."
        )
    return Examples(
        images=pick_rows(images, rows),
        given=images,
        labels=labels[rows],
        title="Most alike among what it learned from",
    )


def _pair(given: Any) -> tuple[Sequence[Media], NDArray[np.str_]]:
    if hasattr(given, "images") and hasattr(given, "y"):
        images, y = given.images, given.y
    elif isinstance(given, tuple | list) and len(given) == 2:
        images, y = media_list(given[0]), given[1]
    else:
        raise InputError(
            f"`examples` is a data set, or a pair (images, labels); got {type(given).__name__}."
        )
    labels = np.array([str(label) for label in y], np.str_)
    if len(labels) != len(images):
        raise InputError(f"`examples` has {len(images)} images and {len(labels)} labels.")
    return images, labels


def nearest_examples(
    classifier: Any,
    X: Sequence[Media],
    examples: Examples,
    labels: Sequence[str],
    *,
    n_most: int = 5,
) -> list[Neighbours | None]:
    """Find for each image the examples with the highest cosine, by the classifier's encoder.

    A few-shot classifier goes by closeness in this space (Snell, Swersky, Zemel 2017,
    arXiv:1703.05175), so what is close is what the answer rests on. None for unreadable images.
    """
    encoder, store = load_encoder(classifier.encoder), classifier.store
    pool = embed_images(encoder, examples.images, store=store)
    usable = np.flatnonzero(pool.ok)
    rows = pool.rows()[usable]
    queries = embed_images(encoder, X, store=store)
    pictures: dict[int, bytes] = {}
    found: list[Neighbours | None] = []
    for query, label in enumerate(labels):
        place = int(queries.distinct[query])
        if place < 0 or not len(usable):
            found.append(None)
            continue
        cosines = rows.astype(np.float64) @ queries.embeddings[place].astype(np.float64)
        order = np.argsort(-cosines, kind="stable")[:n_most]
        neighbours = []
        for i in order.tolist():
            row = int(usable[i])
            if row not in pictures:
                pictures[row] = picture_of(examples.images[row])
            neighbours.append(
                Neighbour(
                    image=_name(examples.images[row], row),
                    label=str(examples.labels[row]),
                    cosine=float(cosines[i]),
                    picture=pictures[row],
                )
            )
        found.append(
            Neighbours(
                title=examples.title,
                neighbours=tuple(neighbours),
                label=label,
                note=f"Of {len(usable):,}; cosines of {encoder.name} embeddings, 1 is the same.",
            )
        )
    return found


def picture_of(image: Media, side: int = _SIDE) -> bytes:
    """Make a small WebP of an image; empty where it is no picture that can be shown."""
    try:
        return small_picture(open_image(image, min_side=side), side)
    except (MediaError, ShowtellError, OSError, ValueError):
        return b""


def _name(image: Media, row: int) -> str:
    return f"example {row + 1}" if isinstance(image, bytes) else media_name(image)
