"""Ollama's Modelfile, read: which model, with which words before each question, set how."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from showtell.errors import DataError
from showtell.records.reading import TEXT_BYTES, read_text

_LINE = re.compile(r"\s*([A-Za-z]+)(?:\s+(.*))?", re.DOTALL)
_INSTRUCTIONS = frozenset(
    ("FROM", "PARAMETER", "SYSTEM", "TEMPLATE", "ADAPTER", "LICENSE", "MESSAGE", "REQUIRES")
)
# What a request can say, in pydantic-ai's words.
_SETTINGS: dict[str, tuple[str, type]] = {
    "temperature": ("temperature", float),
    "num_predict": ("max_tokens", int),
    "seed": ("seed", int),
    "top_p": ("top_p", float),
    "presence_penalty": ("presence_penalty", float),
    "frequency_penalty": ("frequency_penalty", float),
}


class ModelfileWarning(UserWarning):
    """A line of a Modelfile has no effect on single requests."""


@dataclass(frozen=True, kw_only=True)
class Modelfile:
    """What a Modelfile says."""

    model: str
    """The model it starts from, ``FROM``."""
    system: str = ""
    """Words before each question, ``SYSTEM``."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of pydantic-ai, from ``PARAMETER``."""
    digest: str = ""
    """Hash of all of this, 8 hexadecimal digits: another file is another model."""


def read_modelfile(path: str | os.PathLike[str]) -> Modelfile:
    r'''Read a Modelfile.

    ``FROM``, ``SYSTEM`` and those ``PARAMETER`` that a request can carry (temperature,
    num_predict, seed, top_p, stop and the penalties) are taken over. Others, such as num_ctx,
    only the server can set, so they bring a warning that says how. ``LICENSE`` is passed over.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    modelfile : Modelfile

    Raises
    ------
    DataError
        If the file cannot be read, has no ``FROM``, or a line that is no instruction.

    References
    ----------
    docs.ollama.com/modelfile

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "Modelfile")
    ...     text = 'FROM llava:7b\nPARAMETER temperature 0\nSYSTEM """Answer with one word."""\n'
    ...     _ = path.write_text(text)
    ...     found = read_modelfile(path)
    >>> found.model, found.system, found.settings
    ('llava:7b', 'Answer with one word.', {'temperature': 0.0})
    '''
    path = Path(path)
    text = read_text(path, "Modelfile", most=TEXT_BYTES)
    model, system = "", ""
    settings: dict[str, Any] = {}
    without_effect: list[str] = []
    for number, name, value in _instructions(text, path):
        if name == "FROM":
            model = value
        elif name == "SYSTEM":
            system = value
        elif name == "PARAMETER":
            _parameter(value, f"{path} line {number}", settings, without_effect)
        elif name != "LICENSE":
            without_effect.append(name)
    if not model:
        raise DataError(f"{path} has no FROM line. Write for example 'FROM llava:7b' first.")
    if without_effect:
        warnings.warn(
            f"{path}: {', '.join(dict.fromkeys(without_effect))} cannot be sent with a request. "
            f"Run `ollama create NAME -f {path}` and use the model 'ollama:NAME' instead.",
            ModelfileWarning,
            stacklevel=2,
        )
    content = repr((model, system, sorted(settings.items(), key=str))).encode()
    digest = hashlib.blake2b(content, digest_size=4).hexdigest()
    return Modelfile(model=model, system=system, settings=settings, digest=digest)


def _parameter(value: str, where: str, settings: dict[str, Any], without_effect: list[str]) -> None:
    name, _, given = value.partition(" ")
    name, given = name.lower(), given.strip().strip('"')
    if not given:
        raise DataError(f"{where}: PARAMETER {name} has no value.")
    if name == "stop":
        settings.setdefault("stop_sequences", []).append(given)
        return
    if name not in _SETTINGS:
        without_effect.append(f"PARAMETER {name}")
        return
    ours, kind = _SETTINGS[name]
    try:
        number = kind(given)
    except ValueError:
        raise DataError(f"{where}: PARAMETER {name} must be a number, got {given!r}.") from None
    if name == "num_predict" and number < 0:
        return  # without end: the provider's own limit
    settings[ours] = number


def _instructions(text: str, path: Path) -> list[tuple[int, str, str]]:
    """Lines with their numbers; a value in triple quotes may span several."""
    found: list[tuple[int, str, str]] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at].strip()
        at += 1
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        name = match[1].upper() if match else ""
        if match is None or name not in _INSTRUCTIONS:
            raise DataError(
                f"{path} line {number}: {line[:60]!r} is no instruction of a Modelfile. Allowed: "
                f"{', '.join(sorted(_INSTRUCTIONS))}."
            )
        value = (match[2] or "").strip()
        for quotes in ('"""', '"'):
            if not value.startswith(quotes):
                continue
            rest = value[len(quotes) :]
            while quotes not in rest and at < len(lines) and quotes == '"""':
                rest += "\n" + lines[at]
                at += 1
            if quotes not in rest:
                raise DataError(f"{path} line {number}: the {quotes} is not closed.")
            value = rest[: rest.rindex(quotes)].strip("\n")
            break
        found.append((number, name, value))
    return found
