"""Which files of a folder are images, and in which order they come."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from showtell.errors import DataError

IMAGE_SUFFIXES = frozenset(
    [
        ".apng",
        ".avif",
        ".avifs",
        ".bmp",
        ".dib",
        ".gif",
        ".heic",
        ".heif",
        ".hif",
        ".ico",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpf",
        ".jpg",
        ".jpx",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".psd",
        ".qoi",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""Endings of file names that count as images in a folder, in lower case."""

_DIGITS = re.compile("([0-9]+)")
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def canonical_split(name: str) -> str | None:
    """Return "train", "validation" or "test" for the usual names of splits, else None."""
    return _SPLITS.get(name.casefold())


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key in which numbers count as numbers: 2.jpg comes before 10.jpg.

    Examples
    --------
    >>> sorted(["10.jpg", "B.jpg", "2.jpg", "a.jpg"], key=natural_key)
    ['2.jpg', '10.jpg', 'a.jpg', 'B.jpg']
    """
    parts = _DIGITS.split(name.casefold())
    key = tuple(
        (0, int(part), "") if position % 2 and len(part) < 100 else (1, 0, part)
        for position, part in enumerate(parts)
        if part
    )
    return key, name


def suffix_of(path: str) -> str:
    """Return the ending of a file name, with its dot, in lower case."""
    return os.path.splitext(path)[1].lower()


def is_hidden(name: str) -> bool:
    """Say whether a file or folder is not meant to be seen."""
    return name.startswith(".") or name in {"__MACOSX", "@eaDir", "$RECYCLE.BIN"}


def shown(path: str) -> str:
    """Return a path as one line of valid Unicode, for messages."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text.replace("\n", "\\n").replace("\r", "\\r")


@dataclass
class PassedOver:
    """Counts what was found but is no image."""

    hidden: int = 0
    others: list[str] = field(default_factory=list)

    def notes(self) -> tuple[str, ...]:
        """Say what was passed over, in at most two sentences."""
        notes = []
        if self.hidden:
            notes.append(f"{self.hidden} hidden files or folders were passed over.")
        if self.others:
            names = ", ".join(shown(name) for name in self.others[:5])
            more = ", ..." if len(self.others) > 5 else ""
            notes.append(
                f"{len(self.others)} files whose names do not end like images were passed over: "
                f"{names}{more}."
            )
        return tuple(notes)


def folder_entries(folder: str) -> list[os.DirEntry[str]]:
    """List a folder in natural order.

    Raises DataError if it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: natural_key(entry.name))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"Cannot list the folder {shown(folder)!r}: {reason}.") from None


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Say whether an entry is a folder or leads to one; a link in a circle does not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def find_images(folder: str, passed_over: PassedOver) -> Iterator[str]:
    """Yield the images in a folder and all folders below it, in natural order.

    `passed_over`: counts hidden and other files. Yields `path`: `folder` joined with the way down.
    Files that end like an image, readable or not, and folders that end like an image but hold none:
    each is an input and gets its outcome. Links are followed, except back to a folder one is in.
    Raises DataError if a folder cannot be listed.
    """
    parent = os.stat(os.path.join(folder, os.pardir))
    yield from _find(folder, passed_over, ((parent.st_dev, parent.st_ino),))


def _find(
    folder: str, passed_over: PassedOver, above: tuple[tuple[int, int], ...]
) -> Iterator[str]:
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in folder_entries(folder):
        if is_hidden(entry.name):
            passed_over.hidden += 1
        elif is_folder(entry):
            found = _find(entry.path, passed_over, (*above, here))
            first = next(found, None)
            if first is not None:
                yield first
                yield from found
            elif suffix_of(entry.name) in IMAGE_SUFFIXES:
                yield entry.path
        elif suffix_of(entry.name) in IMAGE_SUFFIXES:
            yield entry.path
        elif entry.name != "labels.json":
            passed_over.others.append(entry.name)
