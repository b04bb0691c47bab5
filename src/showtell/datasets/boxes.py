"""Boxes around things: Pascal VOC and COCO files to a data set of crops."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn
from xml.etree import ElementTree as ET
from xml.parsers import expat

import numpy as np

from showtell.datasets.dataset import Dataset
from showtell.datasets.files import (
    IMAGE_SUFFIXES,
    canonical_split,
    folder_entries,
    is_hidden,
    natural_key,
    shown,
    suffix_of,
)
from showtell.errors import DataError
from showtell.media import Crop
from showtell.records.reading import parse_json, read_text


@dataclass
class _Boxes:
    """Collects crops and what was wrong."""

    with_labels: bool = True
    """Whether a box without a label is left out, or kept like all others, without one."""
    images: list[Crop] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def add(self, *, path: str, box: tuple[int, int, int, int], label: str, id_: str) -> None:
        """Keep one box."""
        self.images.append(Crop(image=path, box=box))
        self.words.append(label)
        self.groups.append(path)
        self.ids.append(id_)

    def reject(self, file: str, reason: str) -> None:
        """Note that a box or a file cannot be used."""
        self.wrong.setdefault(file, []).append(reason)

    def notes(self) -> list[str]:
        """Say what was left out, a sentence per file, at most ten."""
        notes = [
            f"{shown(file)}: {len(reasons)} left out ({'; '.join(dict.fromkeys(reasons))})."
            for file, reasons in self.wrong.items()
        ]
        more = [f"{len(notes) - 10} more files with boxes left out."] if len(notes) > 10 else []
        return notes[:10] + more

    def dataset(
        self, labels: Sequence[str], *, name: str, source: str, splits: list[str] | None = None
    ) -> Dataset:
        """Return the crops as a data set; boxes of one picture are one group."""
        code = {label: i for i, label in enumerate(labels)}
        codes = (
            np.array([code[word] for word in self.words], np.int32) if self.with_labels else None
        )
        return Dataset(
            images=self.images,
            codes=codes,
            labels=tuple(labels) if self.with_labels else (),
            groups=self.groups,
            ids=self.ids,
            splits=splits,
            name=name,
            source=shown(source),
            notes=tuple(self.notes()),
        )


def _pixels(
    low: Sequence[float], high: Sequence[float], size: Sequence[float | None]
) -> tuple[int, int, int, int] | str:
    """Round a box outwards to whole pixels inside the picture; a text says why it is unusable."""
    if not all(math.isfinite(value) for value in (*low, *high)):
        return "a coordinate is not a number"
    if any(h <= l for l, h in zip(low, high, strict=True)):  # noqa: E741
        return "the box is empty"
    left, top = (max(0, math.floor(value)) for value in low)
    right, bottom = (
        math.ceil(value) if limit is None else min(math.ceil(value), math.ceil(limit))
        for value, limit in zip(high, size, strict=True)
    )
    return (left, top, right, bottom) if left < right and top < bottom else "the box lies outside"


def load_boxes(
    boxes: str | os.PathLike[str],
    images_folder: str | os.PathLike[str] | None = None,
    *,
    with_labels: bool = True,
) -> Dataset:
    """Load the boxes of a COCO file or of a folder of Pascal VOC files: one sample per box.

    Parameters
    ----------
    boxes : path
        A ``.json`` file as `load_coco` takes it, or a folder as `load_voc` takes it.
    images_folder : path, optional
        Where the images are; by default where the boxes say.
    with_labels : bool, default=True
        False takes boxes without a label, too, and looks at no label.

    Returns
    -------
    data : Dataset

    Raises
    ------
    DataError
        If there are no boxes or no folder of images of these names, or no box can be used.
    """
    where, pictures = os.fsdecode(boxes), images_folder
    if pictures is not None and not os.path.isdir(pictures):
        raise DataError(
            f"Boxes lie on the pictures of a folder, but {shown(os.fsdecode(pictures))!r} is none."
        )
    found = _Boxes(with_labels=with_labels)
    if os.path.isdir(where):
        if os.path.basename(os.path.normpath(where)) == "Annotations":  # lists lie beside it
            where = os.path.dirname(os.path.normpath(where)) or "."
        if pictures is not None and os.path.isdir(inside := os.path.join(pictures, "JPEGImages")):
            pictures = inside
        return _load_voc(where, pictures, found)
    if suffix_of(where) == ".json" and os.path.isfile(where):
        return _load_coco(where, pictures, found)
    reason = "holds no boxes" if os.path.lexists(where) else "does not exist"
    raise DataError(
        f"{shown(where)!r} {reason}: give a COCO file (.json) or a folder of Pascal VOC files "
        "(.xml)."
    )


# -- Pascal VOC ----------------------------------------------------------------------------------


def load_voc(
    folder: str | os.PathLike[str], *, images_folder: str | os.PathLike[str] | None = None
) -> Dataset:
    """Load Pascal VOC annotations: one sample per box.

    Parameters
    ----------
    folder : path
        Holds ``Annotations/*.xml`` and ``JPEGImages/``, or XML files beside the images. Lists in
        ``ImageSets/Main/`` called train, val or test become splits.
    images_folder : path, optional
        Where the images are, if elsewhere.

    Returns
    -------
    data : Dataset
        Each image is a `Crop`, labelled by the name of its object; labels in natural order. VOC
        counts pixels from 1 and includes the last one; crops count from 0 and exclude it, so
        ``xmin ymin xmax ymax`` becomes ``(xmin - 1, ymin - 1, xmax, ymax)``, inside the picture
        where its size is given. The boxes of a picture are one group. Boxes and files that cannot
        be used are left out and noted.

    Raises
    ------
    DataError
        If there is no usable box.

    References
    ----------
    Everingham et al. (2010), The Pascal Visual Object Classes (VOC) Challenge, IJCV 88.
    """
    return _load_voc(folder, images_folder, _Boxes())


def _load_voc(
    folder: str | os.PathLike[str], images_folder: str | os.PathLike[str] | None, boxes: _Boxes
) -> Dataset:
    root = os.fspath(folder)
    annotations = os.path.join(root, "Annotations")
    annotations = annotations if os.path.isdir(annotations) else root
    if images_folder is None:
        pictures = os.path.join(root, "JPEGImages")
        pictures = pictures if os.path.isdir(pictures) else root
    else:
        pictures = os.fspath(images_folder)
    stems = []
    for entry in folder_entries(annotations):
        if suffix_of(entry.name) != ".xml" or is_hidden(entry.name):
            continue
        before = len(boxes.images)
        _read_voc_file(entry.path, entry.name, pictures, boxes)
        stems += [os.path.splitext(entry.name)[0]] * (len(boxes.images) - before)
    if not boxes.images:
        raise DataError(
            f"{shown(root)!r} holds no usable Pascal VOC box. Expected Annotations/*.xml, or XML "
            "files beside the images. " + " ".join(boxes.notes()[:3])
        )
    labels = sorted(set(boxes.words), key=natural_key)
    name = os.path.basename(os.path.abspath(root))
    return boxes.dataset(labels, name=name, source=root, splits=_voc_splits(root, stems))


def _read_voc_file(path: str, name: str, pictures: str, boxes: _Boxes) -> None:
    try:
        tree = _parse_xml(path)
    except (OSError, ValueError, LookupError, expat.ExpatError) as error:
        boxes.reject(name, f"the file cannot be read: {error}")
        return
    picture = _voc_picture(tree, path, pictures)
    size = [_number(tree.findtext(f"size/{side}")) for side in ("width", "height")]
    limits = [side if side is not None and side > 0 else None for side in size]
    for position, thing in enumerate(tree.findall("object"), 1):
        label = " ".join((thing.findtext("name") or "").split())
        values = [_number(thing.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")]
        if not label and boxes.with_labels:
            boxes.reject(name, f"object {position} has no name")
            continue
        left, top, right, bottom = (math.nan if value is None else value for value in values)
        box = _pixels((left - 1, top - 1), (right, bottom), limits)
        if isinstance(box, str):
            boxes.reject(name, f"object {position}: {box}")
        else:
            boxes.add(path=picture, box=box, label=label, id_=f"{name}#{position}")


def _parse_xml(path: str) -> ET.Element:
    """Parse XML that must not define entities or point elsewhere.

    Raises ValueError if it has a document type, the only place where entities can be defined;
    xml.parsers.expat.ExpatError if it is no XML.
    """
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()

    def refuse(*_: Any) -> NoReturn:
        raise ValueError("it has a document type (<!DOCTYPE>), which is refused")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    with open(path, "rb") as file:
        parser.ParseFile(file)
    return builder.close()


def _number(text: str | None) -> float | None:
    """Read a number; None if it is none."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _voc_picture(tree: ET.Element, path: str, pictures: str) -> str:
    """Return the picture of an annotation: the file it names, or the one with its stem."""
    stem = os.path.splitext(os.path.basename(path))[0]
    named = os.path.basename((tree.findtext("filename") or "").strip().replace("\\", "/"))
    if named and suffix_of(named) in IMAGE_SUFFIXES:
        candidate = os.path.join(pictures, named)
        if os.path.exists(candidate):
            return candidate
    for suffix in (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG"):
        candidate = os.path.join(pictures, stem + suffix)
        if os.path.exists(candidate):
            return candidate
    return os.path.join(pictures, named or f"{stem}.jpg")


def _voc_splits(root: str, stems: Iterable[str]) -> list[str] | None:
    """Return the split of each box, by the lists in ImageSets/Main; None if there are none."""
    split_of: dict[str, str] = {}
    for name in ("train", "val", "test"):
        path = os.path.join(root, "ImageSets", "Main", f"{name}.txt")
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    if line.strip():
                        split_of.setdefault(line.split()[0], canonical_split(name) or name)
    return [split_of.get(stem, "") for stem in stems] if split_of else None


# -- COCO ----------------------------------------------------------------------------------------


def load_coco(
    annotations: str | os.PathLike[str], images_folder: str | os.PathLike[str] | None = None
) -> Dataset:
    """Load COCO annotations: one sample per box.

    Parameters
    ----------
    annotations : path
        A JSON file with ``images``, ``annotations`` and ``categories``.
    images_folder : path, optional
        Where the images are; by default the folder of the file.

    Returns
    -------
    data : Dataset
        Each image is a `Crop`; its box is ``[x, y, width, height]`` rounded outwards to whole
        pixels, inside the picture. The labels are the categories of the file, in its order. The
        boxes of a picture are one group. Crowds (``iscrowd``) and boxes that cannot be used are
        left out and noted.

    Raises
    ------
    DataError
        If the file cannot be read or has no usable box.

    References
    ----------
    Lin et al. (2014), Microsoft COCO: Common Objects in Context, arXiv:1405.0312.
    """
    return _load_coco(annotations, images_folder, _Boxes())


def _load_coco(
    annotations: str | os.PathLike[str], images_folder: str | os.PathLike[str] | None, boxes: _Boxes
) -> Dataset:
    path = os.fspath(annotations)
    where = shown(path)
    folder = os.path.dirname(path) if images_folder is None else os.fspath(images_folder)
    value = _read_coco(path, where)
    pictures = {_key(p.get("id")): p for p in value["images"] if isinstance(p, dict)}
    names: dict[Any, str] = {}
    for category in value["categories"]:
        if isinstance(category, dict) and isinstance(category.get("name"), str):
            names[_key(category.get("id"))] = " ".join(category["name"].split())
    used: set[str] = set()
    for position, about in enumerate(value["annotations"], 1):
        _add_coco_box(about, position, pictures, names, folder, where, boxes, used)
    if not boxes.images:
        raise DataError(f"{where} holds no usable box. " + " ".join(boxes.notes()[:3]))
    name = os.path.splitext(os.path.basename(path))[0]
    return boxes.dataset(tuple(dict.fromkeys(names.values())), name=name, source=path)


def _read_coco(path: str, where: str) -> dict[str, list[Any]]:
    value = parse_json(read_text(path, "file of boxes"), f"Cannot read the boxes from {where!r}")
    parts = ("images", "annotations", "categories")
    if not isinstance(value, dict) or not all(isinstance(value.get(p), list) for p in parts):
        raise DataError(
            f"{where} is no COCO file: it must be an object with the lists {', '.join(parts)}."
        )
    return value


def _key(value: Any) -> Any:
    """Return an id that can be looked up."""
    return value if isinstance(value, str | int | float) else None


def _add_coco_box(
    about: Any,
    position: int,
    pictures: dict[Any, dict[str, Any]],
    names: dict[Any, str],
    folder: str,
    where: str,
    boxes: _Boxes,
    used: set[str],
) -> None:
    """Keep one annotation, or note why not."""
    if not isinstance(about, dict):
        return boxes.reject(where, f"annotation {position} is no object")
    picture = pictures.get(_key(about.get("image_id")))
    name = None if picture is None else picture.get("file_name")
    label = names.get(_key(about.get("category_id")))
    if picture is None or not isinstance(name, str) or not name:
        return boxes.reject(where, f"annotation {position} belongs to no image")
    if not label and boxes.with_labels:
        return boxes.reject(name, f"annotation {position} has no category")
    if about.get("iscrowd") in (1, True):
        return boxes.reject(name, "a crowd")
    numbers = about.get("bbox")
    if not isinstance(numbers, list) or len(numbers) != 4 or not all(map(_is_number, numbers)):
        return boxes.reject(name, f"annotation {position}: a box is four numbers")
    x, y, width, height = numbers
    sides: tuple[Any, Any] = (picture.get("width"), picture.get("height"))
    size = [side if _is_number(side) and side > 0 else None for side in sides]
    box = _pixels((x, y), (x + width, y + height), size)
    if isinstance(box, str):
        return boxes.reject(name, f"annotation {position}: {box}")
    id_ = str(about.get("id", position))
    if id_ in used:
        id_ = f"{id_}#{position}"
    used.add(id_)
    return boxes.add(path=os.path.join(folder, name), box=box, label=label or "", id_=id_)


def _is_number(value: Any) -> bool:
    """Say whether a JSON value is a finite number that fits into a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
