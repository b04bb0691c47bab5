"""The content of many images: equal paths are read once, failures are kept apart."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.errors import MediaError
from showtell.media import Crop, Media

T = TypeVar("T")


class Looked(Generic[T]):
    """What was found out about each image.

    Parameters
    ----------
    values : list
        One entry per distinct image, None where it cannot be read.
    rows : ndarray of shape (n_images,), int64
        The entry of each image.
    """

    def __init__(self, values: list[T | None], rows: NDArray[np.int64]) -> None:
        self.values = values
        self.rows = rows

    def __getitem__(self, row: int) -> T | None:
        return self.values[int(self.rows[row])]

    @property
    def n_unreadable(self) -> int:
        """Images that cannot be read."""
        bad = np.array([value is None for value in self.values], bool)
        return int(bad[self.rows].sum()) if len(self.rows) else 0


def name_key(image: Media) -> Hashable | None:
    """Return what makes two images the same without looking at them; None if nothing does."""
    if isinstance(image, str | bytes):
        return image
    if isinstance(image, os.PathLike):
        return os.fsdecode(image)
    if isinstance(image, Crop):
        inner = name_key(image.image)
        return None if inner is None else (inner, tuple(image.box))
    return None


def look_at(
    images: Sequence[Media],
    look: Callable[[Media], T],
    *,
    progress: Progress = no_progress,
    stage: str = "reading images",
    n_workers: int | None = None,
) -> Looked[T]:
    """Apply `look` to every distinct image, in threads; unreadable ones give None."""
    seen: dict[Hashable, int] = {}
    first: list[int] = []
    rows = np.empty(len(images), np.int64)
    for row in range(len(images)):
        # Lazy columns would be read here already; their rows count as distinct.
        image = images[row] if isinstance(images, list | tuple) else row
        key = row if isinstance(image, int) else name_key(image)
        entry = len(first) if key is None else seen.setdefault(key, len(first))
        if entry == len(first):
            first.append(row)
        rows[row] = entry

    def attempt(row: int) -> T | None:
        try:
            return look(images[row])
        except MediaError:
            return None

    values: list[T | None] = []
    workers = n_workers or min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(first), 64 * workers):
            values += pool.map(attempt, first[start : start + 64 * workers])
            progress(len(values), len(first), stage)
    return Looked(values, rows)
