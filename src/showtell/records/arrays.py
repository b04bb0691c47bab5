"""Arrays in numpy's format that somebody else wrote."""

from __future__ import annotations

import ast
import io
import math
import os
import zipfile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from showtell.errors import DataError, ShowtellError
from showtell.records.reading import MOST_BYTES, loading, read_bytes, read_up_to, short_reason

_HEADER_BYTES = 10_000  # as numpy's own limit
_DENSEST = 1100  # deflate makes nothing smaller by more


def read_arrays(
    path: str | os.PathLike[str], *, most: int = MOST_BYTES, error: type[ShowtellError] = DataError
) -> dict[str, NDArray[Any]]:
    """Read a file of arrays that `numpy.savez` or `numpy.savez_compressed` wrote.

    `most`: bytes of all arrays together, as they are in memory.
    """
    where = os.fspath(path)
    blob = read_bytes(path, "file of arrays", most=most, error=error)
    found: dict[str, NDArray[Any]] = {}
    with loading(where, error=error), zipfile.ZipFile(io.BytesIO(blob)) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > min(most, _DENSEST * len(blob)):
            raise error(f"{where} holds more than {most:,} bytes of arrays, or says so.")
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            with archive.open(entry) as stream:
                found[name] = read_array(stream, entry.file_size, f"{where}: {name!r}", error=error)
    return found


def read_array(
    stream: IO[bytes],
    size: int,
    where: str,
    *,
    kinds: str = "biufUS",
    error: type[ShowtellError] = DataError,
) -> NDArray[Any]:
    """Read an array in numpy's format; nothing is allocated that the file does not hold.

    `size`: bytes that the stream has, header included. `kinds`: kinds of dtype that are taken, as
    in `numpy.dtype.kind`. Never objects.
    """
    try:
        version = np.lib.format.read_magic(stream)
        length_size = 2 if version == (1, 0) else 4
        length = int.from_bytes(stream.read(length_size), "little")
        if length > min(_HEADER_BYTES, size):
            raise ValueError("its header is too long")
        header = ast.literal_eval(stream.read(length).decode("latin-1"))
        shape, order = tuple(header["shape"]), bool(header["fortran_order"])
        dtype = np.dtype(header["descr"])
        if dtype.hasobject or dtype.kind not in kinds:
            raise ValueError(f"values of type {dtype} are not allowed")
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("its shape is none")
        n_bytes = math.prod(shape) * dtype.itemsize
        if n_bytes != size - 6 - 2 - length_size - length:
            raise ValueError("it is longer or shorter than its shape says")
        data = read_up_to(stream, n_bytes)
        if len(data) != n_bytes:
            raise ValueError("it ends too early")
        flat = np.frombuffer(data, dtype=dtype)
        return flat.reshape(shape, order="F" if order else "C").copy()
    except ShowtellError:
        raise
    except Exception as bad:  # noqa: BLE001  a header may hold anything
        raise error(f"{where}: not an array in numpy's format ({short_reason(bad)}).") from None
