"""Images of one data set that occur, exactly or nearly, in another."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.datasets.dataset import Dataset
from showtell.datasets.lazy import Looked, look_at
from showtell.errors import InputError, MediaError
from showtell.media import Media, content_hash, dhash, media_name, read_media

_BLOCK = 512
_MOST_PAIRS = 100_000
_MOST_READ = 20_000


class NearDuplicateWarning(UserWarning):
    """Images to learn from are, exactly or nearly, among those to be asked about."""


@dataclass(frozen=True, kw_only=True)
class NearPair:
    """Two images that look the same."""

    a: int
    """Row in the first data set."""
    b: int
    """Row in the second data set."""
    distance: int
    """How many of the 64 bits of the two difference hashes differ."""
    exact: bool
    """Whether the contents are equal, byte for byte."""


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """What `near_duplicates` found."""

    pairs: tuple[NearPair, ...]
    """Sorted by row in the first, then in the second data set; at most 100,000."""
    n_rows_a: int
    """Samples of the first data set that are in some pair."""
    n_rows_b: int
    """Samples of the second data set that are in some pair."""
    n_unreadable: int
    """Images that could not be read and were skipped."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[NearPair]:
        return iter(self.pairs)


@dataclass(frozen=True, slots=True)
class _Look:
    digest: str
    hash: int


def _look(image: Media) -> _Look:
    raw = read_media(image)
    return _Look(raw.digest, dhash(raw.decode(min_side=32)))


def near_duplicates(
    a: Dataset, b: Dataset, *, max_distance: int = 6, progress: Progress = no_progress
) -> NearDuplicates:
    """Find images of `a` that look like images of `b`.

    Two images are near duplicates when at most `max_distance` of the 64 bits of their difference
    hashes differ: the same photo scaled, compressed or slightly changed, but not cropped, turned or
    mirrored. Plain images of one colour all have the same hash, like even ramps; they count
    only if their contents are equal.

    Parameters
    ----------
    a, b : Dataset
        For example train and test.
    max_distance : int, default=6
        Bits between 0 and 64.
    progress : Progress, optional
        Called while images are read.

    Returns
    -------
    found : NearDuplicates
        Pairs of rows; images that cannot be read are skipped and counted.

    Raises
    ------
    InputError
        If `max_distance` is not between 0 and 64.

    Notes
    -----
    Each distinct image is decoded once. Hashes are compared in blocks, all with all: 20,000 with
    20,000 take about a second.

    References
    ----------
    Krawetz (2013), Kind of Like That, hackerfactor.com: the difference hash.
    """
    if not isinstance(max_distance, int) or not 0 <= max_distance <= 64:
        raise InputError(f"`max_distance` must be between 0 and 64 bits, got {max_distance!r}.")
    looked_a = look_at(a.images, _look, progress=progress, stage="looking for duplicates")
    looked_b = look_at(b.images, _look, progress=progress, stage="looking for duplicates")
    contents_a, contents_b = _Contents(looked_a), _Contents(looked_b)
    pairs: list[NearPair] = []
    rows_a: set[int] = set()
    rows_b: set[int] = set()
    for i, j, distance in _close(contents_a.hashes, contents_b.hashes, max_distance):
        exact = contents_a.digests[i] == contents_b.digests[j]
        if contents_a.hashes[i] in _PLAIN and not exact:
            continue
        rows_a.update(contents_a.rows[i])
        rows_b.update(contents_b.rows[j])
        space = _MOST_PAIRS - len(pairs)
        pairs += (
            NearPair(a=row_a, b=row_b, distance=distance, exact=exact)
            for row_a, row_b in islice(product(contents_a.rows[i], contents_b.rows[j]), space)
        )
    pairs.sort(key=lambda pair: (pair.a, pair.b))
    return NearDuplicates(
        pairs=tuple(pairs),
        n_rows_a=len(rows_a),
        n_rows_b=len(rows_b),
        n_unreadable=looked_a.n_unreadable + looked_b.n_unreadable,
    )


_PLAIN = frozenset({0, 2**64 - 1})


class _Contents:
    """The distinct contents of a data set, and the rows that have each."""

    def __init__(self, looked: Looked[_Look]) -> None:
        first: dict[str, int] = {}
        place = np.full(len(looked.values), -1, np.int64)
        hashes: list[int] = []
        for entry, look in enumerate(looked.values):
            if look is not None:
                place[entry] = first.setdefault(look.digest, len(first))
                if place[entry] == len(hashes):
                    hashes.append(look.hash)
        self.digests = list(first)
        self.hashes = np.array(hashes, np.uint64)
        self.rows: dict[int, list[int]] = defaultdict(list)
        for row, content in enumerate(place[looked.rows].tolist() if len(looked.rows) else []):
            if content >= 0:
                self.rows[content].append(row)


def _close(
    a: NDArray[np.uint64], b: NDArray[np.uint64], max_distance: int
) -> Iterator[tuple[int, int, int]]:
    """Yield the places of all pairs of hashes that differ in few bits, with the distance."""
    for start in range(0, len(a), _BLOCK):
        differ = np.bitwise_count(a[start : start + _BLOCK, None] ^ b[None, :])
        for i, j in np.argwhere(differ <= max_distance).tolist():
            yield start + i, j, int(differ[i, j])


def warn_near_duplicates(
    train: Dataset, test: Dataset, *, max_distance: int = 6, progress: Progress = no_progress
) -> NearDuplicates:
    """Warn if images of `train` are, exactly or nearly, in `test`.

    Parameters
    ----------
    train, test : Dataset
    max_distance : int, default=6
        As in `near_duplicates`.
    progress : Progress, optional

    Returns
    -------
    found : NearDuplicates

    Warns
    -----
    NearDuplicateWarning
        Names the first five pairs and counts all.
    """
    found = near_duplicates(train, test, max_distance=max_distance, progress=progress)
    if found.pairs:
        shown = "; ".join(
            f"{media_name(train.images[pair.a])} and {media_name(test.images[pair.b])} "
            f"({'equal' if pair.exact else f'{pair.distance} of 64 bits differ'})"
            for pair in found.pairs[:5]
        )
        more = f"; and {len(found) - 5} more pairs" if len(found) > 5 else ""
        skipped = f" {found.n_unreadable} unreadable images were skipped." * bool(
            found.n_unreadable
        )
        warnings.warn(
            f"{found.n_rows_b} of {len(test)} test images are near duplicates of training images, "
            f"so the accuracy on them says little: {shown}{more}.{skipped}",
            NearDuplicateWarning,
            stacklevel=2,
        )
    return found


def n_among(images: Sequence[Media], examples: Iterable[Media]) -> int:
    """Count the files among `images` that are also among `examples`, or have the same content.

    Only files of equal size are read, and none where that would be very many. Pictures that are no
    files of this machine are not looked at.

    Parameters
    ----------
    images : sequence of Media
    examples : iterable of Media

    Returns
    -------
    n : int
    """
    if not isinstance(images, list | tuple):
        return 0  # read from a table row by row: looking would mean reading
    shown = [(example, facts) for example in examples if (facts := _facts_of_file(example))]
    same = {(facts.st_dev, facts.st_ino) for _, facts in shown}
    sizes = {facts.st_size for _, facts in shown}
    n, unsure = 0, []
    for image in images:
        facts = _facts_of_file(image)
        if facts is not None and (facts.st_dev, facts.st_ino) in same:
            n += 1
        elif facts is not None and facts.st_size in sizes:
            unsure.append((image, facts.st_size))
    if not unsure or len(unsure) > _MOST_READ:
        return n
    read = {size for _, size in unsure}
    known = {_content(example) for example, facts in shown if facts.st_size in read} - {None}
    return n + sum(_content(image) in known for image, _ in unsure)


def _facts_of_file(image: Media) -> os.stat_result | None:
    if isinstance(image, str | os.PathLike):
        with contextlib.suppress(OSError, ValueError):
            return os.stat(image)
    return None


def _content(image: Media) -> str | None:
    try:
        return content_hash(image)
    except MediaError:
        return None
