"""Folders of images: one per label, in train and test, or flat."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from showtell.datasets.dataset import Dataset
from showtell.datasets.files import (
    IMAGE_SUFFIXES,
    PassedOver,
    canonical_split,
    find_images,
    folder_entries,
    is_folder,
    is_hidden,
    natural_key,
    shown,
    suffix_of,
)
from showtell.datasets.label_set import LabelSet, read_folder_words
from showtell.errors import DataError
from showtell.words import listed

_ORDER = ("train", "validation", "test")


@dataclass
class _Found:
    """The images of one folder, by the folder right below it that holds them."""

    classes: dict[str, list[str]] = field(default_factory=dict)
    loose: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def load_folder(folder: str, label_set: LabelSet | None = None) -> Dataset:
    """Load a folder of images.

    A folder per label (deeper folders belong to the label above them); or folders called train
    and test (also training, val, valid, validation, dev, testing) that hold a folder per label;
    or a flat folder of images without labels. A ``labels.json`` beside the class folders, or
    beside the folder of the split, maps folder names to label words.

    `label_set`: the allowed labels; by default the words of the folders, in natural order of the
    folders. Returns `data`: files in natural order: splits as train, validation, test, then
    folders, then names. Raises DataError if there is no image, or a folder's label is not in
    `label_set`.
    """
    passed_over = PassedOver()
    top = _scan(folder, passed_over)
    notes: list[str] = []
    parts = _splits(top)
    words = read_folder_words(os.path.join(folder, "labels.json"))
    if parts:
        splits = {split: _scan_all(folder, names) for split, names in parts.items()}
        ignored = [name for name in top.classes if canonical_split(name) is None]
        if ignored:
            notes.append(f"Folders beside the splits were passed over: {_names(ignored)}.")
    else:
        splits = {"": top}
        if words is None and canonical_split(os.path.basename(os.path.abspath(folder))):
            above = os.path.dirname(os.path.abspath(folder))
            words = read_folder_words(os.path.join(above, "labels.json"))

    labelled = any(found.classes for found in splits.values())
    images: list[str] = []
    folders: list[str] = []
    names: list[str] = []
    for split in sorted(splits, key=lambda s: _ORDER.index(s) if s in _ORDER else -1):
        found = splits[split]
        if not labelled:
            found = _Found(classes={"": found.loose})
        elif found.loose:
            notes.append(
                f"{len(found.loose)} images beside the class folders have no label and were "
                f"passed over: {_names([os.path.basename(path) for path in found.loose])}."
            )
        if found.empty:
            notes.append(f"Folders without images were passed over: {_names(found.empty)}.")
        for name in sorted(found.classes, key=natural_key):
            paths = found.classes[name]
            images += paths
            folders += [name] * len(paths)
            names += [split] * len(paths)
    if not images:
        raise DataError(
            f"There is no image in the folder {shown(folder)!r}. Files count as images by their "
            f"ending: {' '.join(sorted(IMAGE_SUFFIXES))}."
        )
    notes += passed_over.notes()
    codes: NDArray[np.int32] | None = None
    labels: tuple[str, ...] = ()
    if labelled:
        codes, labels, more = _codes(folders, words, label_set, folder)
        notes += more
    return Dataset(
        images=images,
        codes=codes,
        labels=labels,
        splits=names if parts else None,
        name=os.path.basename(os.path.abspath(folder)),
        source=shown(folder),
        notes=tuple(notes),
    )


def _names(names: Sequence[str]) -> str:
    """List up to five names."""
    return listed(shown(name) for name in names)


def _scan(folder: str, passed_over: PassedOver) -> _Found:
    """Find the images of one folder and of the folders right below it."""
    found = _Found()
    for entry in folder_entries(folder):
        if is_hidden(entry.name):
            passed_over.hidden += 1
        elif is_folder(entry):
            paths = list(find_images(entry.path, passed_over))
            if paths:
                found.classes[entry.name] = paths
            elif suffix_of(entry.name) in IMAGE_SUFFIXES:
                found.loose.append(entry.path)
            else:
                found.empty.append(entry.name)
        elif suffix_of(entry.name) in IMAGE_SUFFIXES:
            found.loose.append(entry.path)
        elif entry.name != "labels.json":
            passed_over.others.append(entry.name)
    return found


def _scan_all(folder: str, names: Iterable[str]) -> _Found:
    """Find the images of the folders that make up one split."""
    found = _Found()
    for name in names:
        part = _scan(os.path.join(folder, name), PassedOver())  # counted by the first look
        found.loose += part.loose
        found.empty += part.empty
        for label, paths in part.classes.items():
            found.classes.setdefault(label, []).extend(paths)
    return found


def _splits(top: _Found) -> dict[str, list[str]]:
    """Return split -> folders, or nothing when the folders are classes.

    A single folder called "train" beside others may be a class: trains are things, too. So there
    must be two splits, or nothing but splits.
    """
    parts: dict[str, list[str]] = {}
    for name in top.classes:
        split = canonical_split(name)
        if split is not None:
            parts.setdefault(split, []).append(name)
    if len(parts) < 2 and sum(map(len, parts.values())) < len(top.classes):
        return {}
    return parts


def _codes(
    folders: Sequence[str], words: Mapping[str, str] | None, label_set: LabelSet | None, where: str
) -> tuple[NDArray[np.int32], tuple[str, ...], list[str]]:
    """Return the label code of each image, the labels, and notes."""
    notes = []
    present = sorted(set(folders), key=natural_key)
    words = words or {}
    unused = [name for name in words if name not in present]
    if unused:
        notes.append(f"labels.json names folders that hold no images: {_names(unused)}.")
    missing = [name for name in present if words and name not in words]
    if missing:
        notes.append(f"Folders that labels.json does not name keep their names: {_names(missing)}.")
    word_of = {name: words.get(name, shown(name)) for name in present}
    labels, known = code_of_labels(list(word_of.values()), label_set)
    bad = [name for name, word in word_of.items() if known[word] < 0]
    if bad and label_set is not None:
        raise DataError(
            f"{shown(where)}: folder {shown(bad[0])!r} ({word_of[bad[0]]!r}) is not in the label "
            f"set ({', '.join(label_set.labels)})."
            + (f" {len(bad) - 1} more such folders: {_names(bad[1:])}." if bad[1:] else "")
        )
    code = {name: known[word] for name, word in word_of.items()}
    return np.array([code[name] for name in folders], np.int32), labels, notes


def code_of_labels(
    values: Sequence[str], label_set: LabelSet | None
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Give the distinct labels numbers, in the order of `label_set`, or else as they come.

    Labels that `label_set` does not know get -1.
    """
    if label_set is None:
        labels = tuple(dict.fromkeys(values))
        return labels, {label: code for code, label in enumerate(labels)}
    index = {label: code for code, label in enumerate(label_set.labels)}
    found = {value: label_set.find(value) for value in set(values)}
    return label_set.labels, {v: -1 if f is None else index[f] for v, f in found.items()}
