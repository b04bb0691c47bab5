"""A record as a folder: run.json, predictions.parquet (or .csv), arrays.npz."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from showtell._clean import json_text, without_secrets
from showtell.errors import SavedFolderError
from showtell.records.files import whole_file
from showtell.records.reading import parse_json, read_text
from showtell.tables import read_columns, write_columns


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    text = without_secrets(json_text(value, indent=1, allow_nan=False)) + "\n"
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object or say what is wrong with the folder."""
    if not path.exists():
        raise SavedFolderError(
            f"{path.parent} is no run folder: it has no {path.name}. Give a folder that "
            "`record.save` or `showtell evaluate --run` wrote."
        )
    text = read_text(path, "record of a run", error=SavedFolderError)
    value = parse_json(text, f"{path} cannot be read", error=SavedFolderError, finite=True)
    if not isinstance(value, dict):
        raise SavedFolderError(f"{path} holds {type(value).__name__}, not a JSON object.")
    return value


def write_table(folder: Path, columns: Mapping[str, Sequence[Any]]) -> str:
    """Write predictions.parquet, or .csv without pyarrow, and remove the other; return the name."""
    file, other = "predictions.parquet", "predictions.csv"
    if find_spec("pyarrow") is None:
        file, other = other, file
    write_columns(folder / file, columns)
    (folder / other).unlink(missing_ok=True)
    return file


def read_table(folder: Path, file: str) -> dict[str, list[Any]]:
    """Read what `write_table` wrote; empty CSV cells come back as None."""
    path = folder / Path(file).name  # never outside the folder, whatever run.json says
    if not path.is_file():
        raise SavedFolderError(f"{folder} is incomplete: run.json names {file}, which is missing.")
    return read_columns(path, delimiter=",", blanks=False, error=SavedFolderError)


def kind_of(values: Sequence[Any]) -> str:
    """Name the type of a column, for `restore`: decimal, int, float, bool or str."""
    kinds = {type(v.item()) if isinstance(v, np.generic) else type(v) for v in values}
    kinds.discard(type(None))
    for name, types in (
        ("bool", {bool}),
        ("int", {int}),
        ("float", {int, float}),
        ("decimal", {Decimal}),
    ):
        if kinds and kinds <= types:
            return name
    return "str"


def restore(values: Sequence[Any], kind: str) -> list[Any]:
    """Give a column read from a table its types back."""
    makers: dict[str, Callable[[Any], Any]] = {
        "decimal": lambda v: Decimal(str(v)),
        "int": int,
        "float": float,
        "bool": lambda v: v if isinstance(v, bool) else str(v) == "True",
    }
    make = makers.get(kind, str)
    try:
        return [None if v is None else make(v) for v in values]
    except (ValueError, InvalidOperation) as error:
        raise SavedFolderError(f"A column of type {kind} holds something else: {error}") from None
