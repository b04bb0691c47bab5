"""Data sets of the Hugging Face `datasets` library, pictures read on demand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.datasets.dataset import Dataset
from showtell.datasets.files import canonical_split, natural_key
from showtell.datasets.folders import code_of_labels
from showtell.datasets.label_set import LabelSet
from showtell.datasets.lazy import LazyRows
from showtell.datasets.tables import Columns, guess_column
from showtell.errors import DataError
from showtell.media import Media


def is_hub_dataset(source: object) -> bool:
    """Say whether this is an object of the `datasets` library, without importing that."""
    hub = sys.modules.get("datasets")
    kinds = ("Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict")
    classes = tuple(c for name in kinds if isinstance(c := getattr(hub, name, None), type))
    return bool(classes) and isinstance(source, classes)


def load_hub_dataset(source: Any, columns: Columns, label_set: LabelSet | None) -> Dataset:
    """Turn a `datasets.Dataset` or `datasets.DatasetDict` into a data set.

    `source`: the image column is the one with an `Image` feature, the label column the one with a
    `ClassLabel` feature, if there is one each; else the names decide. Pictures stay where they are:
    a row is read, as the bytes of its file, when it is asked for. Raises DataError if the columns
    are not clear, or the object can only be read once from start to end.
    """
    hub = sys.modules["datasets"]
    if isinstance(source, hub.IterableDataset | hub.IterableDatasetDict):
        raise DataError(
            "An IterableDataset can only be read from start to end. Keep what you need first: "
            "datasets.Dataset.from_list(list(data.take(1000)), features=data.features)."
        )
    parts = dict(source) if isinstance(source, hub.DatasetDict) else {"": source}
    if not parts:
        raise DataError("The DatasetDict has no splits.")
    features = next(iter(parts.values())).features
    for name, part in parts.items():
        if set(part.features) != set(features):
            raise DataError(
                f"Split {name!r} has the columns {', '.join(map(repr, part.features))}, but the "
                f"first split has {', '.join(map(repr, features))}."
            )
    chosen = {
        role: column
        for role, kind in (
            ("image", hub.Image),
            ("label", hub.ClassLabel),
            ("group", None),
            ("split", None),
            ("id", None),
        )
        if (column := _choose(role, features, kind, columns)) is not None
    }
    rows = [len(part) for part in parts.values()]
    codes, labels = _labels(parts, chosen.get("label"), features, label_set)
    texts = {
        role: [str(v) for part in parts.values() for v in _values(part, chosen[role])]
        for role in ("group", "split", "id")
        if role in chosen
    }
    splits = texts.get("split")
    if len(parts) > 1 or "" not in parts:
        splits = [n for n, count in zip(parts, rows, strict=True) for _ in range(count)]
    if splits is not None:
        splits = [canonical_split(name) or name for name in splits]
    ids = texts.get("id")
    if ids is not None and len(set(ids)) < len(ids):
        ids = None
    info = next(iter(parts.values())).info
    return Dataset(
        images=_images(parts, chosen["image"], hub),
        codes=codes,
        labels=labels,
        groups=texts.get("group"),
        ids=ids,
        splits=splits,
        name=str(info.dataset_name or info.builder_name or ""),
        source="an object of the datasets library",
    )


def _choose(role: str, features: Any, kind: type | None, columns: Columns) -> str | None:
    """Return the column for a role: the one that was named, has the feature, or a usual name."""
    named = columns.given().get(role)
    listed = ", ".join(map(repr, features))
    if named is not None:
        if named not in features:
            raise DataError(f"There is no column {named!r}. The columns are {listed}.")
        return named
    found = [c for c, feature in features.items() if kind is not None and isinstance(feature, kind)]
    if not found:
        found = guess_column(role, list(features))
    if len(found) == 1:
        return found[0]
    if role == "image" or (found and role == "label"):
        if found:
            which = f"Several columns ({', '.join(map(repr, found))}) may hold"
        else:
            which = "No column has a name that is known for"
        raise DataError(
            f"{which} the {role}s. The columns are {listed}. Say which with `{role}_column=`."
        )
    return None


def _values(part: Any, column: str) -> list[Any]:
    """Return one column as a list."""
    return list(part.select_columns([column]).with_format(None)[:][column])


def _labels(
    parts: dict[str, Any], column: str | None, features: Any, label_set: LabelSet | None
) -> tuple[NDArray[np.int32] | None, tuple[str, ...]]:
    if column is None:
        return None, () if label_set is None else label_set.labels
    values = [value for part in parts.values() for value in _values(part, column)]
    if any(isinstance(value, list | dict) for value in values):
        raise DataError(f"Column {column!r} holds several labels per image; one is needed.")
    names = getattr(features[column], "names", None)
    if names:
        words = ["" if v is None or not 0 <= v < len(names) else names[v] for v in values]
        order = list(names)
    else:
        words = ["" if v is None else " ".join(str(v).split()) for v in values]
        order = sorted({word for word in words if word}, key=natural_key)
    labels, known = code_of_labels(order, label_set)
    bad = next((row for row, word in enumerate(words) if word and known[word] < 0), None)
    if bad is not None:
        raise DataError(
            f"Row {bad}: label {words[bad]!r} is not in the label set ({', '.join(labels)})."
        )
    return np.array([known[word] if word else -1 for word in words], np.int32), labels


def _images(parts: dict[str, Any], column: str, hub: Any) -> Sequence[Media]:
    """Return the pictures, or the paths, of all parts, one after the other."""
    encoded = []
    for part in parts.values():
        only = part.select_columns([column]).with_format(None)
        if isinstance(only.features[column], hub.Image):
            only = only.cast_column(column, hub.Image(decode=False))
        encoded.append(only)
    starts = np.cumsum([0, *(len(part) for part in encoded)])
    return LazyRows[Media](_HubPictures(encoded, column, starts), np.arange(starts[-1]))


class _HubPictures:
    """Reads the picture of one row as bytes or path."""

    def __init__(self, parts: list[Any], column: str, starts: NDArray[Any]) -> None:
        self.parts, self.column, self.starts = parts, column, starts

    def __call__(self, row: int) -> Media:
        """Return the file of one row."""
        part = int(np.searchsorted(self.starts, row, "right")) - 1
        value: Any = self.parts[part][row - int(self.starts[part])][self.column]
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        return b"" if value is None else value
