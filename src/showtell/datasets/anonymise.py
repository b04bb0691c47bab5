"""Neutral names for labels, and the key to undo them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from showtell.checks import whole
from showtell.datasets.dataset import Dataset
from showtell.datasets.files import shown
from showtell.errors import DataError, InputError
from showtell.records.reading import parse_json, read_text

_FORMAT = "showtell label key 1"


@dataclass(frozen=True, kw_only=True)
class LabelKey:
    """Which neutral name stands for which label. Made by `anonymise_labels`.

    Parameters
    ----------
    to_code : dict of str to str
        Label to neutral name, in the order of the labels. All names differ.

    Examples
    --------
    >>> key = LabelKey(to_code={"cat": "class_1", "dog": "class_0"})
    >>> key.codes, key.decode(["class_0", "class_1"])
    (('class_0', 'class_1'), array(['dog', 'cat'], dtype='<U3'))
    """

    to_code: dict[str, str]

    def __post_init__(self) -> None:
        if len(set(self.to_code.values())) < len(self.to_code):
            raise DataError("Two labels have the same neutral name, so the key cannot be undone.")

    @property
    def to_label(self) -> dict[str, str]:
        """Neutral name to label."""
        return {code: label for label, code in self.to_code.items()}

    @property
    def codes(self) -> tuple[str, ...]:
        """The neutral names, sorted by their numbers, so that their order tells nothing."""
        return tuple(sorted(self.to_label, key=lambda code: (len(code), code)))

    def decode(self, codes: Sequence[str] | NDArray[np.str_]) -> NDArray[np.str_]:
        """Return the labels that neutral names stand for, shape (n,).

        Raises
        ------
        InputError
            If a name is not in the key.
        """
        labels = self.to_label
        unknown = sorted({str(code) for code in codes} - set(labels))
        if unknown:
            raise InputError(
                f"{', '.join(map(repr, unknown[:5]))} is not in the key ({', '.join(self.codes)})."
            )
        return np.array([labels[str(code)] for code in codes], np.str_)

    def encode(self, data: Dataset) -> Dataset:
        """Return the data set with neutral names for labels, in the order of `codes`.

        Raises
        ------
        InputError
            If a label is not in the key.
        """
        unknown = [label for label in data.labels if label not in self.to_code]
        if unknown:
            raise InputError(f"{', '.join(map(repr, unknown[:5]))} is not in the key.")
        names = self.codes
        place = {name: i for i, name in enumerate(names)}
        lookup = np.array([*(place[self.to_code[label]] for label in data.labels), -1], np.int32)
        codes = None if data.codes is None else lookup[data.codes]
        return replace(data, labels=names, codes=codes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the key as JSON."""
        value = {"format": _FORMAT, "to_code": self.to_code, "to_label": self.to_label}
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        Path(path).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LabelKey:
        """Read a key that `save` wrote.

        Raises
        ------
        DataError
            If the file cannot be read, or its two directions contradict each other.
        """
        where = shown(os.fsdecode(path))
        value = parse_json(read_text(path, "label key"), f"Cannot read the label key {where!r}")
        to_code = value.get("to_code") if isinstance(value, dict) else None
        if (
            not isinstance(to_code, dict)
            or value.get("format") != _FORMAT
            or not all(isinstance(code, str) for code in to_code.values())
        ):
            raise DataError(f"{where!r} is no label key: expected the format {_FORMAT!r}.")
        key = cls(to_code=to_code)
        if value.get("to_label") != key.to_label:
            raise DataError(f"{where!r}: the two directions of the key contradict each other.")
        return key


def anonymise_labels(labels: Sequence[str], seed: int = 0, *, prefix: str = "class_") -> LabelKey:
    """Give labels neutral names in random order, so that their words cannot help.

    Parameters
    ----------
    labels : sequence of str
        All different.
    seed : int, default=0
    prefix : str, default="class_"
        Names are the prefix with the numbers from 0; an underscore is added to the prefix until
        no name is itself a label.

    Returns
    -------
    key : LabelKey

    Raises
    ------
    InputError
        If labels are missing or repeated.

    References
    ----------
    Castillo (2024), Classifying images with Gemini Flash 1.5: labels become ``class_0`` to
    ``class_{C-1}``, so that only the examples tell what they mean.

    Examples
    --------
    >>> key = anonymise_labels(["cat", "dog", "cow"], seed=1)
    >>> sorted(key.to_code.values())
    ['class_0', 'class_1', 'class_2']
    """
    names = list(labels)
    if isinstance(labels, str) or not names or len(set(names)) < len(names):
        raise InputError(f"Labels must be a list of different names, got {labels!r:.80}.")
    whole(seed=seed)
    taken = {name.casefold() for name in names}
    while any(f"{prefix}{i}".casefold() in taken for i in range(len(names))):
        prefix += "_"
    order = np.random.default_rng(int(seed) % 2**63).permutation(len(names))
    return LabelKey(to_code={name: f"{prefix}{i}" for name, i in zip(names, order, strict=True)})
