"""The IMAGES of a command line: files, folders, globs, URLs, a list on stdin, tables."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from showtell.datasets.dataset import Dataset
from showtell.datasets.files import (
    IMAGE_SUFFIXES,
    PassedOver,
    find_images,
    natural_key,
    shown,
    suffix_of,
)
from showtell.datasets.tables import Columns, load_table
from showtell.errors import DataError
from showtell.media import Media, is_url
from showtell.tables import TABLE_SUFFIXES


def check_arguments(arguments: Iterable[str]) -> None:
    """Refuse arguments that name nothing, before anything else is done.

    Parameters
    ----------
    arguments : iterable of str
        As `expand_images` takes them.

    Raises
    ------
    DataError
        It names those that do not exist, and patterns without a match.
    """
    absent, unmatched = [], []
    for argument in map(os.fsdecode, arguments):
        if argument == "-" or os.path.lexists(argument) or is_url(argument):
            continue
        if not glob.has_magic(argument):
            absent.append(argument)
        elif next(glob.iglob(argument, recursive=True), None) is None:
            unmatched.append(argument)
    if absent:
        raise DataError(f"There is no {_either(absent)}: no file or folder has that name.")
    if unmatched:
        raise DataError(f"Nothing matches {_either(unmatched)}.")


def _either(names: Sequence[str]) -> str:
    more = f" or {len(names) - 5:,} others" if len(names) > 5 else ""
    return " or ".join(repr(shown(name)) for name in names[:5]) + more


@dataclass
class _Expanded:
    images: list[Media] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)
    nothing: list[str] = field(default_factory=list)


def expand_images(
    arguments: Sequence[str], *, image_column: str | None = None, stdin: BinaryIO | None = None
) -> Dataset:
    r"""List the images that the arguments of a command name, in their order.

    Parameters
    ----------
    arguments : sequence of str
        - A file, whatever its name.
        - A folder: all files below it, at any depth, that end like an image, in natural order;
          hidden and other files are passed over and noted. A folder without images that ends like
          an image itself (``x.jpg/``) counts as one damaged image.
        - A pattern with ``*``, ``?``, ``[...]`` or ``**`` that the shell has left: its matches in
          natural order; files that end like neither image nor table are passed over. At least
          one has to match.
        - An http(s) URL.
        - ``-``: a list on standard input, one path or URL per line, or between NUL characters if
          there is one (as ``find -print0`` writes it). Each is taken as it is: one that does not
          exist stays in the list, and its outcome is an error, as for the rows of a table.
        - A table (``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``, ``.json``, ``.parquet``): the
          images of its rows.
    image_column : str, optional
        Column of the tables that holds the images.
    stdin : binary file, optional
        Read instead of standard input.

    Returns
    -------
    data : Dataset
        Without labels. What is named twice is there twice.

    Raises
    ------
    DataError
        If nothing is named, an argument names or matches nothing that exists, no image is found at
        all, or a table cannot be read.

    Examples
    --------
    >>> import io
    >>> expand_images(["-"], stdin=io.BytesIO(b"a b.jpg\nc.jpg\n")).images
    ['a b.jpg', 'c.jpg']
    """
    if isinstance(arguments, str | os.PathLike):
        arguments = [os.fspath(arguments)]
    if not arguments:
        raise DataError("Name at least one image, folder, URL or table.")
    check_arguments(arguments)
    found = _Expanded()
    for argument in arguments:
        _expand(os.fsdecode(argument), found, image_column, stdin)
    if not found.images:
        nothing = ", ".join(repr(shown(name)) for name in found.nothing)
        if not nothing:
            raise DataError(
                "Standard input was empty: - reads one path or URL per line, for example from "
                "`find . -name '*.jpg'`."
            )
        raise DataError(
            f"There is no image in {nothing}. In a folder, files count as images by their ending: "
            f"{' '.join(sorted(IMAGE_SUFFIXES))}."
        )
    found.notes += [f"There is no image in {shown(name)!r}." for name in found.nothing]
    return Dataset(
        images=found.images,
        source=" ".join(shown(os.fsdecode(a)) for a in arguments[:5])
        + (" ..." if len(arguments) > 5 else ""),
        notes=(*found.notes, *found.passed_over.notes()),
    )


def _expand(argument: str, found: _Expanded, column: str | None, stdin: BinaryIO | None) -> None:
    """Add what one argument names."""
    if argument == "-":
        found.images += _listed((stdin or sys.stdin.buffer).read())
    elif is_url(argument) and not os.path.exists(argument):
        found.images.append(argument)
    elif not os.path.lexists(argument) and glob.has_magic(argument):
        _expand_pattern(argument, found, column)
    else:
        _expand_path(argument, found, column)


def _expand_path(path: str, found: _Expanded, column: str | None) -> None:
    """Add a file, a table or a folder."""
    if os.path.isdir(path):
        images = list(find_images(path, found.passed_over))
        if images:
            found.images += images
        elif suffix_of(path.rstrip(os.sep)) in IMAGE_SUFFIXES:
            found.images.append(path)
        else:
            found.nothing.append(path)
    elif os.path.basename(path) == "labels.json":  # p/* names it, too; it is no list of images
        found.passed_over.others.append("labels.json")
    elif suffix_of(path) in TABLE_SUFFIXES:
        table = load_table(path, Columns(image=column), with_labels=False)
        found.images += table.images
        found.notes += table.notes
        if not len(table):
            found.nothing.append(path)
    else:
        found.images.append(path)


def _expand_pattern(pattern: str, found: _Expanded, column: str | None) -> None:
    """Add the matches of a pattern."""
    matches = sorted(glob.glob(pattern, recursive=True), key=natural_key)
    inside: list[str] = []  # folders that are added already: ** names their contents, too
    for path in matches:
        if any(path.startswith(folder) for folder in inside):
            continue
        if os.path.isdir(path):
            inside.append(os.path.join(path, ""))
            _expand_path(path, found, column)
        elif suffix_of(path) in IMAGE_SUFFIXES | TABLE_SUFFIXES:
            _expand_path(path, found, column)
        else:
            found.passed_over.others.append(os.path.basename(path))


def _listed(content: bytes) -> list[str]:
    """Read a list of paths, one per line or between NUL characters."""
    if b"\0" in content:
        names = content.split(b"\0")
    else:
        names = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    return [os.fsdecode(name) for name in names if name.strip()]
