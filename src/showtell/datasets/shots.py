"""k-shot support sets."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from showtell.checks import whole
from showtell.datasets.dataset import Dataset
from showtell.datasets.lazy import name_key
from showtell.errors import InputError
from showtell.media import Media

Short = Literal["take", "error"]


def support_rows(
    y: Sequence[Any] | NDArray[Any],
    shots: int,
    *,
    seed: int = 0,
    keys: Sequence[Hashable] | None = None,
    short: Short = "take",
) -> NDArray[np.intp]:
    """Choose `shots` rows of every class.

    The rows of a class stand in a random order that the seed, the name of the class and (with
    `keys`) the keys decide; the first `shots` are taken. So fewer shots are always part of more,
    other classes do not matter, and with keys neither does the order of the rows.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels, or codes; codes below 0 and None are unlabelled and never chosen. Labels and
        codes of the same data give different rows.
    shots : int
        Rows per class, at least 0.
    seed : int, default=0
    keys : sequence of str or other hashable, length n_samples, optional
        Names that stay with a sample wherever it stands. Samples of one key are copies: the
        second is chosen only after every other sample.
    short : {"take", "error"}, default="take"
        What to do with a class of fewer than `shots` samples: take all it has, or raise.

    Returns
    -------
    rows : ndarray of shape (n_chosen,), intp
        Row numbers, class by class in sorted order, within a class in the order of choice.

    Raises
    ------
    InputError
        If `shots` is no whole number of at least 0, `y` is not one-dimensional, or a class is too
        small and `short` is "error".

    Examples
    --------
    >>> y = ["dog", "cat", "dog", "cat", "dog"]
    >>> one, two = support_rows(y, 1), support_rows(y, 2)
    >>> len(one), len(two), set(one) <= set(two)
    (2, 4, True)
    """
    whole(0, shots=shots)
    if short not in ("take", "error"):
        raise InputError(f"`short` must be 'take' or 'error', got {short!r}.")
    classes, codes = _codes(y)
    if keys is not None and len(keys) != len(codes):
        raise InputError(f"There are {len(keys)} keys for {len(codes)} rows.")
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(classes) + 1))
    if short == "error":
        few = [f"{c!r} has {n}" for c, n in zip(classes, np.diff(starts), strict=True) if n < shots]
        if few:
            raise InputError(f"{shots} shots are more than some labels have: {', '.join(few)}.")
    chosen = [np.zeros(0, np.intp)]
    for code, name in enumerate(classes):
        rows = order[starts[code] : starts[code + 1]]
        if keys is None:
            rng = np.random.default_rng(_number("class", seed, name))
            chosen.append(rng.permutation(rows)[:shots])
        else:
            chosen.append(_by_key(rows, keys, f"{seed} {name}")[:shots])
    return np.concatenate(chosen).astype(np.intp)


def _codes(y: Sequence[Any] | NDArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the classes as text, sorted as they are, and the class of each row (-1: none)."""
    values = np.asarray(y)
    if values.ndim != 1:
        raise InputError(f"`y` must be one-dimensional, got shape {values.shape}.")
    if values.dtype == object:
        known = np.array([value is not None for value in values], bool)
    elif np.issubdtype(values.dtype, np.signedinteger):
        known = values >= 0
    else:
        known = np.ones(len(values), bool)
    try:
        classes, inverse = np.unique(values[known], return_inverse=True)
    except TypeError:
        raise InputError("`y` mixes labels of different types; make all of them text.") from None
    codes = np.full(len(values), -1, np.int64)
    codes[known] = inverse
    return [str(value) for value in classes], codes


def _number(*parts: object) -> int:
    """Return a number made from texts, the same on every machine."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _by_key(rows: NDArray[np.intp], keys: Sequence[Hashable], salt: str) -> NDArray[np.intp]:
    """Order rows by a hash of their key; repeated keys come after all first ones."""
    seen: Counter[Hashable] = Counter()
    ranked = []
    for row in rows.tolist():
        key = keys[row]
        ranked.append((seen[key], _number(salt, key), row))
        seen[key] += 1
    return np.array([row for _, _, row in sorted(ranked)], np.intp)


def _key(image: Media, row: int) -> Hashable:
    """Return the last two parts of a path, bytes themselves, or else the position."""
    key = name_key(image)
    if isinstance(key, str):
        return "/".join(key.replace(os.sep, "/").split("/")[-2:])
    return ("row", row) if key is None else key


def support_set(data: Dataset, shots: int, *, seed: int = 0, short: Short = "take") -> Dataset:
    """Choose `shots` labelled samples of every label to learn from.

    Parameters
    ----------
    data : Dataset
        Of a data set with a split "train" only that is used.
    shots : int
        Samples per label.
    seed : int, default=0
        The same seed gives nested sets: the 1-shot set is part of the 5-shot set. The choice
        depends on folder and file names, not on where the data set lies or how it is ordered.
    short : {"take", "error"}, default="take"
        What to do with a label of fewer than `shots` samples: take all it has and note it, or
        raise.

    Returns
    -------
    support : Dataset
        In the order of `data`, with its label set.

    Raises
    ------
    InputError
        If nothing is labelled, or a label is too small and `short` is "error".

    Examples
    --------
    >>> from showtell.datasets import Dataset
    >>> data = Dataset(images=["a.jpg", "b.jpg", "c.jpg", "d.jpg"], labels=("cat", "dog"),
    ...                codes=np.array([0, 0, 1, 1], np.int32))
    >>> support_set(data, 1).y
    array(['cat', 'dog'], dtype='<U3')
    """
    if data.splits is not None and "train" in data.split_names:
        data = data.train
    data = data.labelled()
    if not len(data):
        raise InputError("No sample has a label, so none can be learned from.")
    rows = support_rows(data.y, shots, seed=seed, keys=_keys(data), short=short)
    support = data[np.sort(rows)]
    assert data.codes is not None
    counts = np.bincount(data.codes, minlength=len(data.labels))
    few = [f"{data.labels[c]} {counts[c]}" for c in np.flatnonzero(counts < shots)]
    if not few:
        return support
    note = f"Labels with fewer than {shots} samples give all they have: {', '.join(few)}."
    return replace(support, notes=(*support.notes, note))


def _keys(data: Dataset) -> list[Hashable]:
    """Return a name per sample that does not depend on its place, as far as there is one."""
    if not isinstance(data.images, list | tuple):
        return [("row", row) for row in range(len(data))]  # reading every picture would be dear
    return [_key(image, row) for row, image in enumerate(data.images)]
