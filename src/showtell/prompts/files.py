"""Prompts as files: read, checked, versioned, and copied out for editing.

Each folder below ``library/`` is a set of texts for one purpose. A text may have fields in braces;
which ones, and which it cannot do without, stands in `LIBRARIES`.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Formatter

from showtell.errors import InputError, UnknownNameError
from showtell.records.reading import TEXT_BYTES, read_text

LIBRARIES: Mapping[str, Mapping[str, Mapping[str, bool]]] = {
    "classify": {
        "system": {
            "role": False,
            "labels": True,
            "examples": False,
            "schema": True,
            "example": False,
            "confidence": False,
        },
        "examples": {},
        "example": {"answer": True},
        "confidence": {},
        "closing": {"n_images": True, "ids": False},
        "again": {"attempt": True},
        "decide": {"role": False, "labels": True, "examples": False, "example": False},
    },
    "describe": {
        "system": {},
        "features": {"label": True, "count": True, "concept": False},
        "sentences": {"label": True, "count": True, "question": True},
        "questions": {"label": True, "concept": False},
        "concept": {"labels": True},
    },
    "concepts": {
        "system": {},
        "parts": {"domain": True, "labels": False, "depth": False, "count": False},
        "attributes": {"domain": True, "part": True, "whole": False},
        "values": {
            "domain": True,
            "part": True,
            "whole": False,
            "labels": True,
            "whose": False,
            "attributes": True,
            "form": False,
        },
    },
    "evolve": {
        "system": {},
        "init": {"labels": True, "confused": False, "count": True, "sample": True},
        "mutate": {
            "labels": True,
            "current": True,
            "confused": False,
            "good": False,
            "bad": False,
            "count": True,
            "replace": True,
            "sample": True,
        },
        "crossover": {
            "labels": True,
            "current": True,
            "bad": False,
            "versions": False,
            "count": True,
            "sample": True,
        },
    },
    "look": {
        "system": {},
        "describe": {},
        "guess": {"labels": True},
    },
    "ask": {
        "system": {"place": False, "languages": False, "schema": True},
        "question": {"history": False, "steps": False, "questions": True, "how": False},
        "items": {},
        "prices": {},
        "total": {},
        "verify": {"claim": True},
        "data": {"note": False},
    },
}
"""Library to file (without ``.txt``) to field; True where the text cannot do without it."""


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """The texts of a request, as files hold them. Made by `load_prompts`."""

    version: str
    """Name and hash of the contents: part of the cache key of every answer."""
    texts: Mapping[str, str]
    """File name without ``.txt`` to text."""
    library: str = "classify"
    """What the texts are for."""

    def render(self, name: str, **values: object) -> str:
        """Fill in one text.

        Parameters
        ----------
        name : str
            ``"system"``, ``"closing"`` ...
        **values : object
            Field to value.

        Raises
        ------
        InputError
            If a field of the text has no value, or a value is given that no such text has.
        """
        allowed = LIBRARIES[self.library][name]
        unknown = sorted(set(values) - set(allowed))
        if unknown:
            raise InputError(f"Prompt {name!r} has no field {', '.join(map(repr, unknown))}.")
        pieces = []
        for text, place in _pieces(f"{name}.txt", self.texts[name], tuple(allowed.items())):
            pieces.append(text)
            if place is not None:
                if place not in values:
                    raise InputError(f"Prompt {name!r} needs a value for '{{{place}}}'.")
                pieces.append(str(values[place]))
        return "".join(pieces).strip()


@functools.lru_cache(maxsize=256)
def _pieces(
    where: str, text: str, fields: tuple[tuple[str, bool], ...]
) -> tuple[tuple[str, str | None], ...]:
    """Split a text at its fields, or say what is wrong with it."""
    allowed = dict(fields)
    shown = ", ".join(f"{{{name}}}" for name in allowed) or "none"
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise InputError(
            f"{where} has a stray brace ({error}). Write '{{{{' or '}}}}' for a brace itself; the "
            f"fields are: {shown}."
        ) from None
    pieces: list[tuple[str, str | None]] = []
    for before, place, format_spec, conversion in parts:
        if place is not None and place not in allowed:
            place_shown = repr(f"{{{place}}}")
            raise InputError(f"{where} has the unknown field {place_shown}. Allowed: {shown}.")
        if format_spec or conversion:
            raise InputError(f"{where} formats '{{{place}}}' with ':' or '!'; write it plain.")
        pieces.append((before, place))
    present = {place for _, place in pieces}
    missing = [f"{{{name}}}" for name, must in fields if must and name not in present]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}, without which it makes no sense.")
    return tuple(pieces)


def load_prompts(
    prompt_dir: str | os.PathLike[str] | None = None, *, library: str = "classify"
) -> PromptSet:
    """Read the prompts, from a folder or as they come with showtell.

    Parameters
    ----------
    prompt_dir : path, optional
        A folder with some of the files that `copy_prompts` writes, edited; the others are taken
        as they come. None takes all as they come.
    library : str, default="classify"
        What the prompts are for: a key of `LIBRARIES`.

    Returns
    -------
    prompts : PromptSet

    Raises
    ------
    InputError
        If the folder is not there, holds no prompt or one of another name, or a text has an
        unknown field or lacks one it needs.
    UnknownNameError
        If there is no such library.

    Examples
    --------
    >>> prompts = load_prompts()
    >>> prompts.version.partition("-")[0]
    'classify'
    >>> prompts.render("again", attempt=2)[-7:]
    '(Try 2)'
    """
    fields = _fields(library)
    own = {} if prompt_dir is None else _read_folder(Path(prompt_dir), fields)
    texts = {**_built_in(library), **own}
    for name, text in texts.items():
        _pieces(f"{name}.txt", text, tuple(fields[name].items()))
    content = "\0".join(f"{name}\0{texts[name]}" for name in sorted(texts))
    digest = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    label = library if prompt_dir is None else Path(prompt_dir).resolve().name or library
    return PromptSet(version=f"{label}-{digest}", texts=texts, library=library)


def _fields(library: str) -> Mapping[str, Mapping[str, bool]]:
    if library not in LIBRARIES:
        raise UnknownNameError("prompt library", library, list(LIBRARIES))
    return LIBRARIES[library]


@functools.cache
def _built_in(library: str) -> Mapping[str, str]:
    folder = resources.files("showtell.prompts") / "library" / library
    return {
        name: (folder / f"{name}.txt").read_text(encoding="utf-8") for name in LIBRARIES[library]
    }


def _read_folder(folder: Path, fields: Mapping[str, Mapping[str, bool]]) -> dict[str, str]:
    if not folder.is_dir():
        raise InputError(
            f"There is no folder of prompts {str(folder)!r}. `copy_prompts` writes one to edit."
        )
    found = sorted(folder.glob("*.txt"))
    names = ", ".join(f"{name}.txt" for name in fields)
    strange = [path.name for path in found if path.stem not in fields]
    if strange or not found:
        what = f"unknown prompts: {', '.join(strange)}" if strange else "no prompt"
        raise InputError(f"{str(folder)!r} holds {what}. Prompts are: {names}.")
    texts = {}
    for path in found:
        texts[path.stem] = read_text(path, "prompt", most=TEXT_BYTES, error=InputError)
    return texts


def copy_prompts(folder: str | os.PathLike[str], *, library: str = "classify") -> list[Path]:
    """Write the prompts into a folder, to edit them and give it as `prompt_dir`.

    Parameters
    ----------
    folder : path
        Made if needed.
    library : str, default="classify"
        What the prompts are for: a key of `LIBRARIES`.

    Returns
    -------
    paths : list of Path

    Raises
    ------
    InputError
        If one of the files is already there: nothing is overwritten.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(path.name for path in copy_prompts(folder))[:3]
    ['README.md', 'again.txt', 'closing.txt']
    """
    fields = _fields(library)
    source = resources.files("showtell.prompts") / "library" / library
    target = Path(folder)
    names = ["README.md", *(f"{name}.txt" for name in fields)]
    taken = [name for name in names if (target / name).exists()]
    if taken:
        raise InputError(
            f"{str(target)!r} already has {', '.join(taken)}; give an empty folder, so that edited "
            "prompts are not overwritten."
        )
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        (target / name).write_text((source / name).read_text(encoding="utf-8"), encoding="utf-8")
    return [target / name for name in names]
