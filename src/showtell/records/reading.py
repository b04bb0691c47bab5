"""Files that somebody else wrote: bounded in size, depth and digits, with one typed error each.

Every loader reads through here, so that a pipe does not hang it, a device does not fill the memory,
and a file made to break a parser ends in the loader's own error, which names the file.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from showtell.errors import DataError, MissingExtraError, RunError, ShowtellError

SETTINGS_BYTES = 1 << 16
"""64 KiB: no settings file that a person wrote is larger."""
TEXT_BYTES = 1 << 26
"""64 MiB: labels, descriptions, prompts, trees of concepts, configurations of models."""
MOST_BYTES = 1 << 30
"""A gigabyte: larger files are not held in memory as a whole."""
DEEPEST = 100
"""Lists and objects inside each other."""
MOST_DIGITS = 300
"""Digits of a whole number: as many as a float can hold."""

_BUFFER = 1 << 20
_YAML_CHARACTERS = 1 << 22  # PyYAML reads about 100,000 a second
_HALF = r"\\[uU]0*[dD][89a-fA-F]"  # a surrogate, written as an escape
_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


def read_bytes(
    path: str | os.PathLike[str],
    what: str = "file",
    *,
    most: int = MOST_BYTES,
    error: type[ShowtellError] = DataError,
) -> bytes:
    """Read a regular file as a whole, and at once: what it is and how long is looked at when open.

    A pipe is read only where the shell made it, as in ``<(command)``.

    `what`: what it is read as, for messages: ``"settings file"``; `most`: bytes that are read at
    most; `error`: raised with one line that names the file.
    """
    name = os.fspath(path)
    is_pipe = name.startswith(_PIPES)
    try:
        with open(os.fspath(path), "rb", buffering=0, opener=None if is_pipe else _at_once) as file:
            kind = os.fstat(file.fileno()).st_mode
            if not (stat.S_ISREG(kind) or (is_pipe and stat.S_ISFIFO(kind))):
                raise error(f"{name!r} is {_kind(kind)}, not a {what}.")
            data = read_up_to(file, most + 1)
    except FileNotFoundError:
        raise error(f"There is no {what} {name!r}.") from None
    except IsADirectoryError:
        raise error(f"{name!r} is a folder, not a {what}.") from None
    except ShowtellError:
        raise
    except (OSError, ValueError) as refused:  # ValueError: a name that no file can have
        reason = getattr(refused, "strerror", None) or str(refused)
        raise error(f"{name!r} cannot be read as a {what}: {reason}.") from None
    if len(data) > most:
        raise error(f"{name!r} is no {what}: it has more than {most:,} bytes.")
    return data


def read_text(
    path: str | os.PathLike[str],
    what: str = "file",
    *,
    most: int = MOST_BYTES,
    error: type[ShowtellError] = DataError,
) -> str:
    """Read a regular file of UTF-8 text, with or without a byte-order mark; see `read_bytes`."""
    data = read_bytes(path, what, most=most, error=error)
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as bad:
        line = data.count(b"\n", 0, bad.start) + 1
        raise error(
            f"{os.fspath(path)!r} cannot be read as a {what}: line {line} is not UTF-8 text."
        ) from None


def parse_json(
    text: str | bytes,
    where: str,
    *,
    error: type[ShowtellError] = DataError,
    hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    finite: bool = False,
    halves: bool = False,
) -> Any:
    """Parse JSON that is no deeper than `DEEPEST` and holds no number longer than `MOST_DIGITS`.

    `where`: the file, or file and line, at the start of a message; `hook`: the
    ``object_pairs_hook`` of `json.loads`; `finite`: refuse NaN and infinity, which JSON does not
    have, and numbers that no float can hold; `halves`: take halves of characters (surrogates), as
    names of files may have them.

    Examples
    --------
    >>> parse_json("[1, 2", "a.json")
    Traceback (most recent call last):
    showtell.errors.DataError: a.json: not valid JSON (Expecting ',' delimiter, line 1, column 6).
    """
    try:
        whole = _whole if len(text) > MOST_DIGITS else None
        value = json.loads(
            text,
            parse_int=whole,
            parse_float=_finite if finite else None,
            parse_constant=_finite if finite else None,
            object_pairs_hook=hook,
        )
    except json.JSONDecodeError as bad:
        place = f"line {bad.lineno}, column {bad.colno}"
        raise error(f"{where}: not valid JSON ({bad.msg}, {place}).") from None
    except RecursionError:
        raise error(_too_deep(where)) from None
    except UnicodeDecodeError:
        raise error(f"{where}: not valid JSON (not UTF-8 text).") from None
    except ValueError as bad:
        raise error(f"{where}: not valid JSON ({bad}).") from None
    brackets = (b"[", b"{") if isinstance(text, bytes) else ("[", "{")
    if sum(map(text.count, brackets)) > DEEPEST:  # type: ignore[arg-type]
        _check_depth(value, where, error)
    if not halves:
        _check_halves(text, value, where, error)
    return value


def parse_toml(text: str, where: str, *, error: type[ShowtellError] = DataError) -> dict[str, Any]:
    """Parse TOML under the bounds of `parse_json`."""
    # tomllib takes time that grows with the square of a key's parts.
    if any(part.count(".") > DEEPEST for part in re.split(r"[=,{\n]", text)):
        raise error(_too_deep(where))
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise error(_too_deep(where)) from None
    except ValueError as bad:  # also of numbers with more digits than Python turns into one
        raise error(f"{where}: not valid TOML ({short_reason(bad)}).") from None
    _check_depth(value, where, error)
    return value


def parse_yaml(text: str, where: str, *, error: type[ShowtellError] = DataError) -> Any:
    """Parse YAML under the bounds of `parse_json`, without aliases, which make small files huge.

    Raises MissingExtraError if PyYAML is not installed.
    """
    from showtell._extras import need

    yaml: Any = need("yaml", extra="yaml", what=where)
    if len(text) > _YAML_CHARACTERS:
        raise error(f"{where}: YAML of more than {_YAML_CHARACTERS:,} characters; use JSON.")
    loader = _bounded_loader(yaml)
    # The scanner looks far ahead after each bracket, so that these are counted before it.
    if re.search(rf"(?:[\[{{]\s*){{{DEEPEST + 1}}}", text):
        raise error(_too_deep(where))
    try:
        value = yaml.load(text, loader)
    except yaml.YAMLError as bad:
        mark = getattr(bad, "problem_mark", None)
        said = getattr(bad, "problem", None) or " ".join(str(bad).split())
        place = "" if mark is None else f", line {mark.line + 1}"
        raise error(f"{where}: not valid YAML ({said}{place}).") from None
    except RecursionError:
        raise error(_too_deep(where)) from None
    except Exception as bad:  # noqa: BLE001  dates, keys and numbers that Python cannot make
        raise error(f"{where}: not valid YAML ({short_reason(bad)}).") from None
    _check_depth(value, where, error)
    _check_halves(text, value, where, error)
    return value


def csv_rows(
    lines: Iterable[str], where: str, *, error: type[ShowtellError] = DataError, **dialect: Any
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of CSV text with the number of the line each begins in.

    `lines`: an open file, or text as `io.StringIO`; `error`: raised for a row that is no CSV, a
    field of more than 131,072 characters, and bytes that are no UTF-8; it names the line;
    `**dialect`: as `csv.reader` takes them; ``strict=True`` unless given.
    """
    reader = csv.reader(lines, **{"strict": True, **dialect})
    while True:
        first = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as bad:
            raise error(f"{where} line {first}: not valid CSV ({bad}).") from None
        except UnicodeDecodeError:
            raise error(f"{where}: not UTF-8 text after line {reader.line_num}.") from None
        yield first, row


@contextlib.contextmanager
def loading(where: str, *, error: type[ShowtellError] = DataError) -> Iterator[None]:
    """Turn whatever goes wrong while what was read is taken apart into the loader's error.

    A file may say anything in a place where a loader expects something; what that leads to is the
    file's fault and not a fault of the program. The first error stays the cause.

    `where`: the file, at the start of the message.

    Examples
    --------
    >>> with loading("a.json"):
    ...     len(7)
    Traceback (most recent call last):
    showtell.errors.DataError: a.json cannot be used: TypeError: object of type 'int' has no len().
    """
    try:
        yield
    except (error, MissingExtraError, RunError, Warning):
        raise
    except Exception as bad:
        said = short_reason(bad, most=1000)
        if isinstance(bad, KeyError):
            said = f"it lacks {said}"
        elif isinstance(bad, ShowtellError):
            said = str(bad)
        elif isinstance(bad, OSError):
            said = bad.strerror or said
        elif not isinstance(bad, ValueError):
            said = f"{type(bad).__name__}: {said}" if str(bad) else type(bad).__name__
        raise error(f"{where} cannot be used: {said.rstrip('.')}.") from bad


def resolved_name(path: str | os.PathLike[str]) -> Path:
    """Follow links as far as they go, also in a circle."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError):
        return Path(path).absolute()


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for a pipe's other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_up_to(file: Any, most: int) -> bytes:
    """Read as much as there is, and never more than `most` bytes."""
    parts: list[bytes] = []
    left = most
    while left > 0 and (part := file.read(min(left, _BUFFER))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _kind(mode: int) -> str:
    for test, words in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return words
    return "a device"


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS + 1:  # and a sign
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _check_halves(text: str | bytes, value: Any, where: str, error: type[ShowtellError]) -> None:
    """Refuse text that cannot be written again, if an escape may have made some."""
    escape = _HALF.encode() if isinstance(text, bytes) else _HALF
    if re.search(escape, text) is None:  # type: ignore[arg-type]
        return
    try:
        json.dumps(value, ensure_ascii=False, default=str, skipkeys=True).encode("utf-8")
    except UnicodeEncodeError as bad:
        half = f"{bad.object[bad.start]!r}"
        raise error(f"{where}: half a character ({half}), which is no text.") from None


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"the number {number:.30}")
    return value


def _too_deep(where: str) -> str:
    return f"{where}: more than {DEEPEST} lists and objects inside each other."


def short_reason(bad: BaseException, most: int = 200) -> str:
    """Say what was wrong in one short line; Python's words on digits advise a programmer."""
    said = " ".join(str(bad).split())[:most] or type(bad).__name__
    return "a number of too many digits" if "integer string conversion" in said else said


def _check_depth(value: Any, where: str, error: type[ShowtellError]) -> None:
    """Refuse what is too deep to be walked through, and numbers too long to be written."""
    level: list[Any] = [[value]]
    for _ in range(DEEPEST + 1):
        inner: list[Any] = []
        for one in level:
            for child in one.values() if type(one) is dict else one:
                kind = type(child)
                if kind is dict or kind is list:
                    inner.append(child)
                elif kind is int and child.bit_length() > 4 * MOST_DIGITS:
                    raise error(f"{where}: a number of too many digits.")
        if not inner:
            return
        level = inner
    raise error(_too_deep(where))


_loaders: dict[int, Any] = {}


def _bounded_loader(yaml: Any) -> Any:
    """Make a safe loader that stops at the bounds instead of going down to them."""
    if id(yaml) in _loaders:
        return _loaders[id(yaml)]

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark
                raise yaml.composer.ComposerError(
                    None, None, "aliases (*name) are not taken; write it out", mark
                )
            self.depth += 1
            if self.depth > DEEPEST:
                raise RecursionError
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

    _loaders[id(yaml)] = Loader
    return Loader
