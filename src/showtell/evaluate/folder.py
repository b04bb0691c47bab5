"""A record as a folder: run.json, predictions.parquet (or .csv), arrays.npz."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from showtell._extras import need
from showtell.errors import SavedFolderError

__all__ = ["kind_of", "read_json", "read_table", "restore", "write_json", "write_table"]


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object or say what is wrong with the folder."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SavedFolderError(
            f"{path.parent} is no run folder: it has no {path.name}. Give a folder that "
            "`record.save` or `showtell evaluate --run` wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise SavedFolderError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise SavedFolderError(f"{path} holds {type(value).__name__}, not a JSON object.")
    return value


def write_table(folder: Path, columns: Mapping[str, Sequence[Any]]) -> str:
    """Write columns as predictions.parquet where pyarrow is installed, else predictions.csv.

    Returns
    -------
    file : str
        The name of the file written; a file of the other kind is removed.
    """
    if find_spec("pyarrow") is not None:
        file, other = "predictions.parquet", "predictions.csv"
        pyarrow = need("pyarrow", extra="parquet", what="Writing Parquet")
        parquet = need("pyarrow.parquet", extra="parquet", what="Writing Parquet")
        arrays = {name: pyarrow.array(_for_arrow(values)) for name, values in columns.items()}
        parquet.write_table(pyarrow.table(arrays), folder / f"{file}.part")
    else:
        file, other = "predictions.csv", "predictions.parquet"
        with (folder / f"{file}.part").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(columns)
            writer.writerows(
                ["" if v is None else v for v in row] for row in zip(*columns.values(), strict=True)
            )
    (folder / f"{file}.part").replace(folder / file)
    (folder / other).unlink(missing_ok=True)
    return file


def _for_arrow(values: Sequence[Any]) -> list[Any]:
    """Give Arrow one type per column: numbers and text as they are, the rest as text."""
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {int, float} or kinds <= {bool} or kinds <= {str}:
        return list(values)
    return [None if v is None else str(v) for v in values]


def read_table(folder: Path, file: str) -> dict[str, list[Any]]:
    """Read what `write_table` wrote; empty CSV cells come back as None."""
    path = folder / Path(file).name  # never outside the folder, whatever run.json says
    if not path.is_file():
        raise SavedFolderError(f"{folder} is incomplete: run.json names {file}, which is missing.")
    if path.suffix == ".parquet":
        parquet = need("pyarrow.parquet", extra="parquet", what="Reading this run folder")
        try:
            columns: dict[str, list[Any]] = parquet.read_table(path).to_pydict()
        except (OSError, ValueError) as error:
            raise SavedFolderError(f"{path} cannot be read: {error}") from None
        return columns
    with path.open(encoding="utf-8", newline="") as stream:
        try:
            rows = list(csv.reader(stream))
        except (csv.Error, UnicodeDecodeError) as error:
            raise SavedFolderError(f"{path} cannot be read: {error}") from None
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise SavedFolderError(f"{path} is damaged: its rows differ in length.")
    return {
        name: [row[i] if row[i] != "" else None for row in rows[1:]]
        for i, name in enumerate(rows[0])
    }


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
