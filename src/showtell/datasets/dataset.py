"""Sample and Dataset: an ordered table of images with labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell._clean import escaped
from showtell.datasets.lazy import LazyRows, pick_rows
from showtell.errors import DataError, InputError, UnknownNameError
from showtell.media import Media


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One item to classify."""

    image: Media
    """The picture; a `Crop` when a box was given."""
    label: str | None = None
    """The human name of its class, or None when unknown."""
    group: str | None = None
    """Samples of one group never end up on both sides of a split."""
    id: str = ""
    """Unique within its data set."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Dataset:
    """An ordered table of images with optional labels, groups and splits.

    Columns are kept as they are in memory: a million rows cost a few bytes each.

    Parameters
    ----------
    images : sequence of Media, length n_samples
    codes : ndarray of shape (n_samples,), int32, or None
        Index into `labels`; -1 where the label is unknown. None when nothing is labelled.
    labels : tuple of str
        The label set, in a fixed order (sorted unless the source gave an order). Control characters
        in a label stand as escapes.
    groups : sequence of str or None
    ids : sequence of str or None
        None means the position, as text.
    splits : sequence of str or None
        Name of the split of each sample, for example ``"train"``.
    name : str
    source : str
        Where it came from, for records; never a key or a password.

    Examples
    --------
    >>> data = Dataset.from_samples(
    ...     [Sample(image="a.jpg", label="cat"), Sample(image="b.jpg", label="dog")])
    >>> len(data), data.labels, data.y
    (2, ('cat', 'dog'), array(['cat', 'dog'], dtype='<U3'))
    """

    images: Sequence[Media]
    codes: NDArray[np.int32] | None = None
    labels: tuple[str, ...] = ()
    groups: Sequence[str] | None = None
    ids: Sequence[str] | None = None
    splits: Sequence[str] | None = None
    name: str = ""
    source: str = ""
    notes: tuple[str, ...] = field(default=(), repr=False)
    """What a reader should know: files passed over, columns guessed."""

    def __post_init__(self) -> None:
        columns = {
            "codes": self.codes,
            "groups": self.groups,
            "ids": self.ids,
            "splits": self.splits,
        }
        for column, values in columns.items():
            if values is not None and len(values) != len(self.images):
                raise DataError(
                    f"Column '{column}' has {len(values)} rows, but there are {len(self.images)} "
                    "images. Give one value per image."
                )
        object.__setattr__(self, "labels", tuple(map(escaped, self.labels)))
        if len(set(self.labels)) != len(self.labels):
            raise DataError(f"Labels must differ from each other, got {list(self.labels)}.")

    @classmethod
    def from_samples(
        cls, samples: Sequence[Sample], *, name: str = "", source: str = ""
    ) -> Dataset:
        """Build a data set from samples; labels are sorted."""
        labels = tuple(sorted({s.label for s in samples if s.label is not None}))
        index = {label: i for i, label in enumerate(labels)}
        codes = np.array([-1 if s.label is None else index[s.label] for s in samples], np.int32)
        return cls(
            images=[s.image for s in samples],
            codes=codes if labels else None,
            labels=labels,
            groups=[s.group or "" for s in samples] if any(s.group for s in samples) else None,
            ids=[s.id for s in samples] if any(s.id for s in samples) else None,
            name=name,
            source=source,
        )

    @property
    def y(self) -> NDArray[np.str_]:
        """Labels of all samples, shape (n_samples,), dtype str.

        Raises
        ------
        DataError
            If any sample has no label.
        """
        if self.codes is None or (self.codes < 0).any():
            n = len(self) if self.codes is None else int((self.codes < 0).sum())
            raise DataError(
                f"{n} of {len(self)} samples have no label. Keep the labelled ones with "
                "`data.labelled()`, or give labels (a folder per label, a label column)."
            )
        return np.asarray(self.labels)[self.codes]

    @property
    def train(self) -> Dataset:
        """The samples of split ``"train"``."""
        return self.split("train")

    @property
    def test(self) -> Dataset:
        """The samples of split ``"test"``."""
        return self.split("test")

    @property
    def split_names(self) -> tuple[str, ...]:
        """Names of the splits, in order of first appearance; empty when there are none."""
        return tuple(dict.fromkeys(self.splits)) if self.splits is not None else ()

    def split(self, name: str) -> Dataset:
        """Return the samples of one split.

        Raises
        ------
        UnknownNameError
            If there is no such split.
        """
        if self.splits is None or name not in self.split_names:
            raise UnknownNameError(
                "split",
                name,
                self.split_names or ("(this data set has no splits)",),
                "Make one with `showtell.datasets.split_dataset(data, test_size=0.25)`.",
            )
        return replace(self[np.flatnonzero(np.asarray(self.splits) == name)], splits=None)

    def labelled(self) -> Dataset:
        """Return only the samples that have a label."""
        if self.codes is None:
            return self[np.zeros(0, np.intp)]
        if (self.codes >= 0).all():
            return self
        return self[np.flatnonzero(self.codes >= 0)]

    def id_of(self, row: int) -> str:
        """Return the id of a sample."""
        return self.ids[row] if self.ids is not None else str(row)

    def __repr__(self) -> str:
        parts = [f"{len(self)} samples"]
        if self.labels:
            parts.append(f"{len(self.labels)} labels")
        parts += [f"{name} {list(self.splits or ()).count(name)}" for name in self.split_names]
        return f"<Dataset {self.name + ': ' if self.name else ''}{', '.join(parts)}>"

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Sample]:
        for row in range(len(self)):
            code = -1 if self.codes is None else int(self.codes[row])
            yield Sample(
                image=self.images[row],
                label=None if code < 0 else self.labels[code],
                group=None if self.groups is None else self.groups[row],
                id=self.id_of(row),
            )

    def __getitem__(self, rows: slice | NDArray[Any] | Sequence[int]) -> Dataset:
        """Return the samples at `rows`, in that order, with the same label set."""
        if isinstance(rows, slice):
            index = np.arange(len(self))[rows]
        else:
            index = np.asarray(rows) if len(rows) else np.zeros(0, np.intp)
            if index.dtype == bool:
                index = np.flatnonzero(index)
        if index.ndim != 1:
            raise InputError(f"Rows must be one-dimensional, got shape {index.shape}.")

        return replace(
            self,
            images=pick_rows(self.images, index),
            codes=None if self.codes is None else self.codes[index],
            groups=None if self.groups is None else pick_rows(self.groups, index),
            ids=LazyRows(str, index) if self.ids is None else pick_rows(self.ids, index),
            splits=None if self.splits is None else pick_rows(self.splits, index),
        )
