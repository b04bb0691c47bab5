"""Saved folders: a JSON file and arrays, checked before they are believed.

::

    folder/
    ├── classifier.json   what it is: kind, parameters, values, and the hash of
    └── arrays.npz        the arrays, read with allow_pickle=False

Nothing is unpickled and no file is opened but these two. This room knows no classifier: what the
values mean is the business of the class that is saved.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell._version import __version__
from showtell.errors import InputError, SavedFolderError
from showtell.records.arrays import read_array
from showtell.records.reading import loading, parse_json, read_bytes

FORMAT_VERSION = 1
"""Of the folder; a newer one is refused."""

Shape = tuple[int | None, ...]
"""Of an array; None for any length."""

_FORMAT = "showtell-classifier"
_JSON, _ARRAYS = "classifier.json", "arrays.npz"
_TYPES: dict[str, np.dtype[Any]] = {
    "f": np.dtype("<f4"),
    "i": np.dtype("<i8"),
    "u": np.dtype("u1"),
}
_MAX_JSON_BYTES = 64 * 2**20
_HEADER_BYTES = 4096  # of an array inside the npz, at most


def write_saved(
    path: str | os.PathLike[str], record: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> Path:
    """Write a record and its arrays into a folder, whole or not at all.

    `path`: a new folder, an empty one, or a saved one, which is replaced; `record`: plain JSON
    values; must have the key ``class``; `arrays`: written as float32, int64 or uint8. Raises
    InputError if the folder holds something else.
    """
    target = Path(path)
    if target.exists() and not (
        target.is_dir() and ((target / _JSON).is_file() or not any(target.iterdir()))
    ):
        raise InputError(
            f"{str(target)!r} exists and is no saved classifier; give a new or an empty folder."
        )
    packed = io.BytesIO()
    np.savez(packed, **{name: _portable(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    blob = packed.getvalue()
    whole = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "showtell_version": __version__,
        **record,
        "files": {_ARRAYS: {"sha256": hashlib.sha256(blob).hexdigest(), "n_bytes": len(blob)}},
    }
    whole["sha256"] = digest_of(whole)
    _replace_folder(target, {_JSON: json.dumps(whole, indent=1).encode(), _ARRAYS: blob})
    return target


@dataclass(frozen=True)
class SavedFolder:
    """A folder whose JSON has been checked; its arrays are read when they are asked for."""

    folder: Path
    record: Mapping[str, Any]
    prefix: str = ""
    """With which the names of its arrays begin, where it is a part of a folder."""

    def part(self, record: Mapping[str, Any], prefix: str) -> SavedFolder:
        """Give one of several things that lie in this folder, whose arrays have a prefix."""
        if not isinstance(record, dict) or "class" not in record:
            raise self.error("a part of it is no saved classifier.")
        whole = {**record, "files": self.record["files"]}
        return SavedFolder(self.folder, whole, f"{self.prefix}{prefix}")

    @property
    def kind(self) -> str:
        """Name of the class that was saved."""
        return str(self.record["class"])

    @property
    def values(self) -> Mapping[str, Any]:
        """What `fit` learned, but for the arrays."""
        values: Mapping[str, Any] = self.record["values"]
        return values

    def error(self, reason: str) -> SavedFolderError:
        """Return an error that names the folder: ``FOLDER: reason``."""
        return SavedFolderError(f"{self.folder}: {reason}")

    def arrays(
        self, shapes: Mapping[str, Shape], *, optional: Sequence[str] = ()
    ) -> dict[str, NDArray[Any]]:
        """Read the arrays after checking their hash, names, shapes and types.

        `shapes`: of every array that may be there; `optional`: names of `shapes` that may be
        missing. Raises SavedFolderError if anything is missing, damaged, or not as expected.
        """
        blob = self._blob()
        arrays = {}
        place = f"{self.folder}: {_ARRAYS} is damaged"
        with (
            loading(f"{place} and", error=SavedFolderError),
            zipfile.ZipFile(io.BytesIO(blob)) as archive,
        ):
            names = {
                info.filename.removeprefix(self.prefix)
                for info in archive.infolist()
                if info.filename.startswith(self.prefix)
            }
            wanted = {f"{name}.npy" for name in shapes}
            if not wanted - {f"{name}.npy" for name in optional} <= names <= wanted:
                raise self.error(
                    f"{_ARRAYS} holds {', '.join(sorted(names))}; expected "
                    f"{', '.join(sorted(shapes))}."
                )
            if sum(info.file_size for info in archive.infolist()) > len(blob) + _HEADER_BYTES:
                raise self.error(f"{_ARRAYS} is compressed, which it never is.")
            for name in sorted(shapes):
                if f"{name}.npy" in names:
                    entry = f"{self.prefix}{name}.npy"
                    with archive.open(entry) as stream:
                        size = archive.getinfo(entry).file_size
                        array = read_array(
                            stream,
                            size,
                            f"{place}: {name!r}",
                            error=SavedFolderError,
                        )
                    arrays[name] = self._checked(name, array, shapes[name])
        return arrays

    def _blob(self) -> bytes:
        files = self.record["files"]
        if not isinstance(files, dict) or set(files) != {_ARRAYS}:
            raise self.error(
                f"{_JSON} names the files {', '.join(map(repr, files))}; the only one allowed is "
                f"{_ARRAYS!r}."
            )
        about = files[_ARRAYS]
        if not (self.folder / _ARRAYS).exists():
            raise SavedFolderError(f"{self.folder} is incomplete: {_ARRAYS} is missing.")
        blob = read_bytes(self.folder / _ARRAYS, "file of arrays", error=SavedFolderError)
        if len(blob) != about["n_bytes"] or hashlib.sha256(blob).hexdigest() != about["sha256"]:
            raise self.error(
                f"{_ARRAYS} is damaged or was changed (its size or sha256 does not fit {_JSON}). "
                "Save the classifier again."
            )
        return blob

    def _checked(self, name: str, array: NDArray[Any], shape: Shape) -> NDArray[Any]:
        fits = array.ndim == len(shape) and all(
            wanted is None or wanted == got for wanted, got in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype not in _TYPES.values():
            wanted_text = " x ".join("any" if n is None else str(n) for n in shape)
            raise self.error(
                f"array {name!r} has shape {array.shape} and type {array.dtype}; expected "
                f"({wanted_text}) of f4 or i8 or u1."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise self.error(f"array {name!r} holds NaN or infinity.")
        return array


def read_saved(path: str | os.PathLike[str]) -> SavedFolder:
    """Read and check the JSON of a saved folder.

    Raises SavedFolderError if it is missing, damaged, changed after it was written, or newer than
    this showtell.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise SavedFolderError(f"There is no folder {str(folder)!r}; give one that `save` wrote.")
    if not (folder / _JSON).exists():
        raise SavedFolderError(f"{folder} is no saved classifier: it has no {_JSON}.")
    raw = read_bytes(
        folder / _JSON, "description of a classifier", most=_MAX_JSON_BYTES, error=SavedFolderError
    )
    record = parse_json(raw, f"{folder}: {_JSON} is damaged", error=SavedFolderError, finite=True)
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise SavedFolderError(f"{folder}: {_JSON} does not describe a showtell classifier.")
    version = record.get("format_version")
    if type(version) is not int or version < 1:
        raise SavedFolderError(f"{folder}: {_JSON} has format version {version!r}.")
    if version > FORMAT_VERSION:
        raise SavedFolderError(
            f"{folder} has format version {version}, written by showtell "
            f"{record.get('showtell_version')}; this showtell ({__version__}) reads up to "
            f"{FORMAT_VERSION}. Update showtell."
        )
    if record.get("sha256") != digest_of(record):
        raise SavedFolderError(
            f"{folder}: {_JSON} was changed after it was written (its sha256 does not fit). Save "
            "the classifier again."
        )
    return SavedFolder(folder, record)


def digest_of(record: Mapping[str, Any]) -> str:
    """Hash of everything in the JSON but the hash."""
    rest = {name: value for name, value in record.items() if name != "sha256"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _portable(array: NDArray[Any]) -> NDArray[Any]:
    """Float32, int64 or uint8 in little-endian order, as every machine reads it."""
    kind = "u" if array.dtype == np.uint8 else "f" if array.dtype.kind == "f" else "i"
    portable: NDArray[Any] = np.ascontiguousarray(array, dtype=_TYPES[kind])
    return portable


def _replace_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder beside `target` and swap it in, so that a half-written one is never seen."""
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".showtell-{secrets.token_hex(6)}.tmp")
    fresh.mkdir()
    try:
        for name, blob in files.items():
            (fresh / name).write_bytes(blob)
        if target.exists():
            old = target.with_name(f"{fresh.name}.old")
            target.rename(old)
            fresh.rename(target)
            shutil.rmtree(old)
        else:
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
