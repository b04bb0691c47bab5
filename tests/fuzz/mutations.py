"""Ways to spoil a file: bytes, lines, JSON values, arrays. Equal seeds spoil it in equal ways."""

from __future__ import annotations

import io
import json
import zipfile
from random import Random
from typing import Any

import numpy as np

__all__ = ["spoil_arrays", "spoil_bytes", "spoil_json", "spoil_text"]

DEEP = 3000
DIGITS = "9" * 6000
ODD_BYTES = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x1b]0;x\x07",
    b"\r",
    b"\n\n",
    b'"',
    b"'",
    b"`",
    b"|",
    b"[" * DEEP,
    b"{" * DEEP,
    b'{"a":' * DEEP,
    b"(" * DEEP,
    b"<a>" * DEEP,
    b"- " * DEEP,
    b"? " * DEEP,
    b"&a [*a]",
    b"!!int 0o8",
    b"2001-99-99",
    b"1e999",
    b"-1e999",
    b"NaN",
    b"Infinity",
    b"nan",
    DIGITS.encode(),
    b"0x" + b"f" * 5000,
    b"-",
    b"\\",
    b"\\ud800",
    b"\xed\xa0\x80",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"a" * 140_000,
    b"," * 5000,
    b"\t" * 50,
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b"&b;",
    b"../" * 40 + b"etc/passwd",
    b"/dev/zero",
    b"%00",
    b"{label}",
    b"{",
    b"}",
    b"{x!r}",
    b"$(x)",
    b"%s%n",
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64,
    10**200,
    -(10**200),
    0.5,
    -0.0,
    1e308,
    1e-320,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "a",
    "\0",
    "\x1b[2J",
    "\ud800",
    "a" * 70_000,
    "NaN",
    "1e999",
    DIGITS,
    "../../x",
    "/dev/zero",
    "str",
    "int",
    "object",
    [],
    [None],
    [[]],
    [1, "a"],
    {},
    {"": None},
    {"a": {"a": {}}},
    {"mapping": 1},
    {"tuple": None},
    {"descriptions": 3},
    "{label}",
)


def spoil_bytes(data: bytes, random: Random) -> bytes:
    """Change, drop, repeat or put in bytes, once or a few times."""
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(data) + 1)
        end = min(len(data), place + random.choice((1, 1, 2, 8, 64, 1024)))
        kind = random.randrange(7)
        if kind == 0:
            data = data[:place] + bytes([random.randrange(256)]) + data[place + 1 :]
        elif kind == 1:
            data = data[:place] + data[end:]
        elif kind == 2:
            data = data[:place]
        elif kind == 3:
            data = data[:place] + data[place:end] * 2 + data[end:]
        elif kind == 4:
            data = data[:place] + random.choice(ODD_BYTES) + data[end:]
        elif kind == 5:
            data = data[:place] + random.choice(ODD_BYTES) + data[place:]
        else:
            other = random.randrange(len(data) + 1)
            data = data[:place] + data[other : other + 64] + data[place:]
    return data


def spoil_text(data: bytes, random: Random) -> bytes:
    """Change whole words or lines, so that what holds them together stays sound."""
    if random.random() < 0.3:
        return spoil_bytes(data, random)
    keep_line = random.random() < 0.5
    parts = data.split(b"\n") if keep_line else data.replace(b"\n", b" \n ").split(b" ")
    for _ in range(random.choice((1, 1, 2))):
        place = random.randrange(len(parts))
        if random.random() < 0.2:
            parts.insert(place, parts[random.randrange(len(parts))])
        elif random.random() < 0.2:
            del parts[place]
            parts = parts or [b""]
        else:
            parts[place] = random.choice(ODD_BYTES)
    return (b"\n" if keep_line else b" ").join(parts)


def spoil_json(value: Any, random: Random) -> Any:
    """Put something else in the place of one or a few values or keys."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        value = _spoil_one(value, random) if isinstance(value, dict | list) else value
    return value


def _spoil_one(value: Any, random: Random) -> Any:
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        pairs = one.items() if isinstance(one, dict) else enumerate(one)
        for key, inner in list(pairs):
            places.append((one, key))
            if isinstance(inner, dict | list):
                waiting.append(inner)
    if not places or random.random() < 0.02:
        return _odd(random)
    holder, key = random.choice(places)
    kind = random.randrange(10)
    if kind < 6:
        holder[key] = _odd(random)
    elif kind == 6:
        del holder[key]
    elif kind == 7:
        other, there = random.choice(places)
        holder[key] = json.loads(json.dumps(_at(other, there)))
    elif kind == 8 and isinstance(holder, dict):
        holder[str(_odd(random))[:50]] = holder.pop(key)
    elif isinstance(holder, list):
        holder.append(json.loads(json.dumps(holder[key])))
    return value


def _odd(random: Random) -> Any:
    """Choose an odd value, of which each file has its own: lists may be spoiled further."""
    value = random.choice(ODD_VALUES)
    if not isinstance(value, dict | list):
        return value
    try:
        return json.loads(json.dumps(value))
    except RecursionError:
        return value.copy()


def _at(holder: Any, key: Any) -> Any:
    try:
        return holder[key]
    except (KeyError, IndexError):
        return None


def spoil_arrays(data: bytes, random: Random) -> bytes:
    """Change the arrays of an npz, their headers, or the archive."""
    if random.random() < 0.2:
        return spoil_bytes(data, random)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(sorted(entries))
    kind = random.randrange(8)
    if kind == 0:
        entries[name] = spoil_bytes(entries[name], random)
    elif kind == 1:
        del entries[name]
    elif kind == 2:
        entries[f"{random.choice(('x', '../x', name))}.npy"] = entries[name]
    elif kind == 3:
        entries[name] = _with_header(entries[name], random)
    else:
        array = np.load(io.BytesIO(entries[name]))
        stream = io.BytesIO()
        np.save(stream, _other_array(array, random))
        entries[name] = stream.getvalue()
    packed = io.BytesIO()
    how = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(packed, "w", how) as archive:
        for key, content in entries.items():
            archive.writestr(key, content)
    return packed.getvalue()


def _with_header(data: bytes, random: Random) -> bytes:
    """A header that claims another shape or type; the data stay."""
    array = np.load(io.BytesIO(data))
    shape = random.choice(
        ((10**9,), (10**9, 10**9), (2**62, 4), (-1,), (), (0,), ("a",), (1.5,), "x", None, (True,))
    )
    descr = random.choice(("<f4", "<f8", "|O", "<U1000000000", "|V9", "x", [("a", "<f4")], 7, None))
    header = {
        "descr": random.choice((descr, array.dtype.str)),
        "fortran_order": random.choice((False, True, None, "x")),
        "shape": random.choice((shape, array.shape)),
    }
    text = repr(random.choice((header, header, header, {}, [], "(" * DEEP, DIGITS))).encode()
    return (
        b"\x93NUMPY\x01\x00" + min(len(text), 65535).to_bytes(2, "little") + text + array.tobytes()
    )


def _other_array(array: Any, random: Random) -> Any:
    kind = random.randrange(7)
    if kind == 0:
        return array[:0]
    if kind == 1:
        return array[..., None]
    if kind == 2:
        return np.concatenate([array, array]) if array.ndim else np.stack([array, array])
    if kind == 3:
        return array.astype(random.choice(("f8", "i1", "u1", "i8", "f4", "?", "c8")))
    if kind == 4:
        return np.full(array.shape, random.choice((0, -1, 127)), array.dtype.str.replace("u", "i"))
    if kind == 5 and array.dtype.kind == "f" and array.size:
        changed = array.copy()
        changed.flat[random.randrange(array.size)] = random.choice((np.nan, np.inf, 3e38, -1e30))
        return changed
    if array.dtype.kind in "iu" and array.size:
        changed = array.astype("i8")
        changed.flat[random.randrange(array.size)] = random.choice((-1, 100, -128))
        return changed
    return np.arange(array.size, dtype=array.dtype).reshape(array.shape)
