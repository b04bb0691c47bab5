"""Cut a data set in two, or down to a sample, with the same mix of labels."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.checks import whole
from showtell.datasets.dataset import Dataset
from showtell.datasets.lazy import look_at
from showtell.errors import InputError
from showtell.media import content_hash


def split_dataset(
    data: Dataset,
    *,
    test_size: float = 0.25,
    seed: int = 0,
    by_group: bool = True,
    progress: Progress = no_progress,
) -> Dataset:
    """Give every sample a split, train or test, with the same mix of labels in both.

    Samples of one group, and samples with the same content, always come to the same side: an
    image that was learned from must not be asked about. Groups are dealt out in random order,
    large ones first, each to the side whose label counts it brings closer to the wanted ones; with
    single samples only, the counts are met exactly.

    Parameters
    ----------
    data : Dataset
        Without splits. Unlabelled samples are dealt out like a label of their own.
    test_size : float or int, default=0.25
        Share of the samples between 0 and 1, or their number.
    seed : int, default=0
    by_group : bool, default=True
        Whether groups and equal content are kept together; False looks at no image.
    progress : Progress, optional
        Called while images are read.

    Returns
    -------
    data : Dataset
        The same samples in the same order, with splits ``"train"`` and ``"test"``. A label whose
        samples cannot be parted is in train only, which is noted, like images that could not be
        read (each counts as different from all others).

    Raises
    ------
    InputError
        If `test_size` leaves one side empty, or the data set has splits.

    References
    ----------
    METHODS 15, point 1: hash images, and let no duplicate cross a split. scikit-learn's
    StratifiedGroupKFold follows the same idea for k equal folds.

    Examples
    --------
    >>> from showtell.datasets import Dataset
    >>> data = Dataset(images=list("abcdefgh"), codes=np.array([0, 1] * 4, np.int32),
    ...                labels=("cat", "dog"))
    >>> split_dataset(data, test_size=0.25, by_group=False).test.y
    array(['cat', 'dog'], dtype='<U3')
    """
    if data.splits is not None:
        raise InputError(
            f"This data set has the splits {', '.join(map(repr, data.split_names))} already. "
            f"Split a part of it: data.split({data.split_names[0] if len(data) else 'train'!r})."
        )
    n = len(data)
    wanted = _number(test_size, n)
    codes = np.full(n, -1, np.int32) if data.codes is None else data.codes
    notes: list[str] = []
    if by_group:
        groups, more = _groups(data, codes, progress)
        notes += more
    else:
        groups = np.arange(n)
    classes, y = np.unique(codes, return_inverse=True)
    test = _deal(groups, y, len(classes), wanted, np.random.default_rng(_seed(seed)))
    if not test.any() or test.all():
        raise InputError(
            f"The {n} samples all belong together, so they cannot be parted into train and test: "
            "they are one group, or have the same content."
        )
    for position, code in enumerate(classes):
        sides = test[y == position]
        if not sides.any() and code >= 0:
            notes.append(f"Label {data.labels[code]!r} ({len(sides)} samples) is in train only.")
        elif sides.all() and code >= 0:
            notes.append(f"Label {data.labels[code]!r} ({len(sides)} samples) is in test only.")
    names = ("train", "test")
    return replace(
        data, splits=[names[side] for side in test.astype(int)], notes=(*data.notes, *notes)
    )


def _seed(seed: int) -> int:
    """Return a seed that numpy takes."""
    whole(seed=seed)
    return int(seed) % 2**63


def _number(test_size: float, n: int) -> int:
    """Return how many of n samples are wanted in test."""
    valid = isinstance(test_size, int | float | np.number) and not isinstance(test_size, bool)
    whole = valid and isinstance(test_size, int | np.integer)
    if not valid or not (0 < test_size < (n if whole else 1)):
        raise InputError(
            f"`test_size` must be a share between 0 and 1 or a number below {n}, the number of "
            f"samples; got {test_size!r}."
        )
    number = int(test_size) if whole else round(float(test_size) * n)
    return min(max(number, 1), n - 1) if n > 1 else 0


def _groups(
    data: Dataset, codes: NDArray[np.int32], progress: Progress
) -> tuple[NDArray[np.intp], list[str]]:
    """Return a group number per sample, joined by name and by content, and notes."""
    found = look_at(data.images, content_hash, progress=progress, stage="comparing contents")
    parent = list(range(len(data)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    by_name: dict[str, int] = {}
    by_content: dict[str, int] = {}
    labels_of: dict[str, set[int]] = defaultdict(set)
    for row in range(len(data)):
        content = found[row]
        if data.groups is not None and data.groups[row]:
            parent[root(row)] = root(by_name.setdefault(data.groups[row], row))
        if content is not None:
            parent[root(row)] = root(by_content.setdefault(content, row))
            labels_of[content].add(int(codes[row]))
    notes = []
    if found.n_unreadable:
        notes.append(f"{found.n_unreadable} images could not be read when contents were compared.")
    repeated = len(data) - found.n_unreadable - len(by_content)
    if repeated:
        notes.append(f"{repeated} samples repeat the content of another; they stay on its side.")
    if torn := sum(len(labels) > 1 for labels in labels_of.values()):
        notes.append(f"{torn} contents occur under different labels.")
    return np.array([root(row) for row in range(len(data))], np.intp), notes


def _shares(counts: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Share `wanted` out in proportion to `counts`, by largest remainder."""
    exact = counts * (wanted / max(int(counts.sum()), 1))
    shares: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    rest = wanted - int(shares.sum())
    if rest > 0:
        order = np.lexsort((np.arange(len(counts)), -(exact - shares)))
        shares[order[:rest]] += 1
    return np.minimum(shares, counts, out=shares)


def _deal(
    groups: NDArray[np.intp],
    y: NDArray[np.intp],
    n_classes: int,
    wanted: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Say for each sample whether it comes to test."""
    counts = np.bincount(y, minlength=n_classes)
    targets = _shares(counts, wanted)
    members, number = np.unique(groups, return_inverse=True)
    parts = np.zeros(n_classes, np.int64)  # groups per class
    np.add.at(parts, np.unique(np.stack([number, y]), axis=1)[1], 1)
    partable = parts > 1
    if wanted >= n_classes:
        targets = np.where(partable, np.maximum(targets, 1), targets)
    targets = np.where(partable, np.minimum(targets, counts - 1), 0 if n_classes > 1 else targets)

    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], np.arange(len(members) + 1))
    sizes = np.diff(starts)
    shuffled = rng.permutation(len(members))
    shuffled = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    have = np.zeros(n_classes, np.int64)
    test = np.zeros(len(y), bool)
    for group in shuffled:
        rows = order[starts[group] : starts[group + 1]]
        gain = np.bincount(y[rows], minlength=n_classes) if len(rows) > 1 else None
        if gain is None:
            better = have[y[rows[0]]] < targets[y[rows[0]]]
        else:
            missing = targets - have
            better = bool(((missing - gain) ** 2).sum() < (missing**2).sum())
        if better:
            test[rows] = True
            have += np.bincount(y[rows], minlength=n_classes)
    if len(members) > 1 and (test.all() or not test.any()):  # large groups only: move the smallest
        test[number == shuffled[-1]] ^= True
    return test


def limit_dataset(data: Dataset, n: int, seed: int = 0) -> Dataset:
    """Keep a random sample of `n`, with the same mix of labels and splits.

    Parameters
    ----------
    data : Dataset
    n : int
        At least 1. With as many as there are or more, `data` comes back as it is.
    seed : int, default=0

    Returns
    -------
    data : Dataset
        In the order of `data`. Each label of each split gets its share of `n`, rounded by largest
        remainder, and at least one sample where `n` allows.

    Raises
    ------
    InputError
        If `n` is below 1.

    Examples
    --------
    >>> from showtell.datasets import Dataset
    >>> data = Dataset(images=list("abcdefgh"), codes=np.array([0] * 6 + [1] * 2, np.int32),
    ...                labels=("cat", "dog"))
    >>> limit_dataset(data, 4).y
    array(['cat', 'cat', 'cat', 'dog'], dtype='<U3')
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InputError(f"The limit must be a whole number of at least 1, got {n!r}.")
    if n >= len(data):
        return data
    strata = np.zeros(len(data), np.int64)
    if data.codes is not None:
        strata = data.codes.astype(np.int64) + 1
    if data.splits is not None:
        names = {name: i for i, name in enumerate(dict.fromkeys(data.splits))}
        split = np.fromiter((names[name] for name in data.splits), np.int64, len(data))
        strata = strata + split * (len(data.labels) + 2)
    _, y = np.unique(strata, return_inverse=True)
    counts = np.bincount(y)
    shares = _shares(counts, int(n))
    if n >= len(counts):
        while (shares == 0).any():  # the largest shares give to the empty ones
            shares[np.argmax(shares)] -= 1
            shares[np.argmin(shares)] += 1
    rng = np.random.default_rng(_seed(seed))
    rows = [
        rng.permutation(np.flatnonzero(y == stratum))[:share]
        for stratum, share in enumerate(shares)
    ]
    return data[np.sort(np.concatenate(rows))]
