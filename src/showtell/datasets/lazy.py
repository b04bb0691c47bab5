"""Columns read row by row when a row is asked for; the content of many images, each read once."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.errors import MediaError
from showtell.media import Crop, Media

T_co = TypeVar("T_co", covariant=True)


class LazyRows(Sequence[T_co], Generic[T_co]):
    """Values that `read` gives for row numbers; re-ordering reads nothing.

    Parameters
    ----------
    read : callable
        Row number to value.
    rows : ndarray of shape (n,), int
        The row number behind each position.

    Examples
    --------
    >>> squares = LazyRows(lambda row: row**2, np.arange(10))
    >>> squares[3], list(squares.take([9, 0])), list(squares[:3])
    (9, [81, 0], [0, 1, 4])
    """

    def __init__(self, read: Callable[[int], T_co], rows: NDArray[Any]) -> None:
        self._read = read
        self._rows = np.asarray(rows)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> LazyRows[T_co]: ...
    def __getitem__(self, index: int | slice) -> T_co | LazyRows[T_co]:
        if isinstance(index, slice):
            return LazyRows(self._read, self._rows[index])
        return self._read(int(self._rows[index]))

    def take(self, index: NDArray[Any] | Sequence[int]) -> LazyRows[T_co]:
        """Return the values at the positions `index`, still unread."""
        return LazyRows(self._read, self._rows[np.asarray(index, np.intp)])

    def __repr__(self) -> str:
        return f"<{len(self)} values, read on demand>"


def pick_rows(values: Sequence[Any], index: NDArray[Any]) -> Sequence[Any]:
    """Return the values at `index`: unread from a lazy column, as a list from any other."""
    if isinstance(values, LazyRows):
        return values.take(index)
    return [values[i] for i in index]


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
