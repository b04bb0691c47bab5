"""load_dataset: whatever holds the samples, to a Dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from showtell.datasets.boxes import load_boxes
from showtell.datasets.dataset import Dataset
from showtell.datasets.files import IMAGE_SUFFIXES, shown, suffix_of
from showtell.datasets.folders import load_folder
from showtell.datasets.huggingface import is_hub_dataset, load_hub_dataset
from showtell.datasets.label_set import LabelSet, parse_labels
from showtell.datasets.split import limit_dataset
from showtell.datasets.tables import Columns, load_table
from showtell.errors import DataError, InputError
from showtell.media import Crop, Media
from showtell.tables import TABLE_SUFFIXES


def load_dataset(
    source: Any,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    id_column: str | None = None,
    boxes: str | os.PathLike[str] | None = None,
    labels_file: str | os.PathLike[str] | None = None,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Load samples from a folder, a table, a list or a Hugging Face data set.

    Parameters
    ----------
    source : path, sequence of Media, datasets.Dataset, datasets.DatasetDict or Dataset
        - A folder with a folder per label; folders train and test (also training, val, valid,
          validation, dev, testing) with a folder per label; or a flat folder without labels. A
          ``labels.json`` beside the class folders maps folder names to label words.
        - A table: ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``, ``.json`` or ``.parquet``, whose
          paths are relative to its own folder.
        - One image file, or a sequence of images, without labels.
    image_column, label_column, group_column, split_column, id_column : str, optional
        Columns of a table. One not named is used if exactly one column has a usual name, such as
        ``image``, ``file_name`` or ``url``, and ``label``, ``class`` or ``actual``.
    boxes : path, optional
        Boxes on the images of a folder: a COCO file or a folder of Pascal VOC files. Each box
        becomes a sample, a `Crop`, with its label (`load_coco`, `load_voc`).
    labels_file : path, optional
        The allowed labels, in the order wanted (`parse_labels`); aliases count as their label.
    split : str, optional
        Return only this split, for example ``"test"``.
    limit : int, optional
        Keep only a sample of this size, even over splits and labels (`limit_dataset`).
    seed : int, default=0
        Chooses that sample.

    Returns
    -------
    data : Dataset
        Paths are kept as text, images are not opened: a damaged file is noticed when it is used.
        `Dataset.notes` says what was passed over.

    Raises
    ------
    DataError
        If there is no image, a column is not clear, a table is damaged, or a label is not in
        `labels_file`.
    UnknownNameError
        If there is no split of that name.
    MissingExtraError
        If a Parquet table is given and pyarrow is not installed.

    See Also
    --------
    expand_images : files, folders, globs and URLs of a command line.
    load_voc, load_coco : boxes, wherever their images lie.

    Examples
    --------
    >>> load_dataset(["a.jpg", "b.jpg"]).images
    ['a.jpg', 'b.jpg']
    """
    columns = Columns(
        image=image_column,
        label=label_column,
        group=group_column,
        split=split_column,
        id=id_column,
    )
    label_set = None if labels_file is None else parse_labels(labels_file=labels_file)
    if boxes is None:
        data = _load(source, columns, label_set)
    else:
        data = _load_boxes(source, boxes, columns, label_set)
    if split is not None:
        data = data.split(split)
    return data if limit is None else limit_dataset(data, limit, seed=seed)


def _load(source: Any, columns: Columns, label_set: LabelSet | None) -> Dataset:
    if is_hub_dataset(source):
        return load_hub_dataset(source, columns, label_set)
    is_path = isinstance(source, str | os.PathLike)
    if (
        is_path
        and suffix_of(path := os.fsdecode(source)) in TABLE_SUFFIXES
        and os.path.isfile(path)
    ):
        return load_table(path, columns, label_set)
    if columns.given():
        named = ", ".join(f"{role}_column" for role in columns.given())
        raise InputError(f"{named} names a column, but {_kind(source)} has no columns.")
    if isinstance(source, Dataset):
        return source if label_set is None else _relabel(source, label_set)
    if is_path:
        return _load_path(os.fsdecode(source), label_set)
    return _load_list(source, label_set)


def _load_boxes(
    source: Any, boxes: str | os.PathLike[str], columns: Columns, label_set: LabelSet | None
) -> Dataset:
    if columns.given():
        named = ", ".join(f"{role}_column" for role in columns.given())
        raise InputError(f"{named} names a column, but boxes have no columns.")
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"`boxes` lie on the images of a folder, not on {_kind(source)}.")
    data = load_boxes(boxes, source)
    return data if label_set is None else _relabel(data, label_set)


def _kind(source: Any) -> str:
    if isinstance(source, str | os.PathLike):
        return repr(shown(os.fsdecode(source)))
    return f"a {type(source).__name__}"


def _load_path(path: str, label_set: LabelSet | None) -> Dataset:
    if os.path.isdir(path):
        return load_folder(path, label_set)
    if not os.path.lexists(path):
        raise DataError(f"There is no file or folder {shown(path)!r}.")
    if suffix_of(path) in IMAGE_SUFFIXES:
        return _load_list([path], label_set)
    raise DataError(
        f"{shown(path)!r} is neither a folder, nor a table ({' '.join(sorted(TABLE_SUFFIXES))}), "
        "nor an image by its ending."
    )


def _load_list(source: Any, label_set: LabelSet | None) -> Dataset:
    kinds = (str, os.PathLike, bytes, Image.Image, np.ndarray, Crop)
    if isinstance(source, bytes | Image.Image | Crop) or not isinstance(
        source, Sequence | np.ndarray
    ):
        raise InputError(
            f"Cannot load a data set from {_kind(source)}. Give a folder, a table, a list of "
            "images, a Hugging Face Dataset or DatasetDict, or a showtell Dataset."
        )
    images: list[Media] = list(source)
    for position, image in enumerate(images):
        if not isinstance(image, kinds):
            raise InputError(
                f"Item {position} of the list is a {type(image).__name__}, not an image: give "
                "paths, URLs, bytes, PIL images, arrays or crops."
            )
    labels = () if label_set is None else label_set.labels
    return Dataset(images=images, labels=labels, source=f"a list of {len(images)} images")


def _relabel(data: Dataset, label_set: LabelSet) -> Dataset:
    """Bring the labels into the order of a label set."""
    index = {label: code for code, label in enumerate(label_set.labels)}
    if data.codes is None:
        return replace(data, labels=label_set.labels)
    new = []
    for code, label in enumerate(data.labels):
        found = label_set.find(label)
        if found is None and (data.codes == code).any():
            raise DataError(
                f"Label {label!r} is not in the label set ({', '.join(label_set.labels)})."
            )
        new.append(-1 if found is None else index[found])
    lookup = np.array([*new, -1], np.int32)  # code -1 finds the last entry
    return replace(data, codes=lookup[data.codes], labels=label_set.labels)
