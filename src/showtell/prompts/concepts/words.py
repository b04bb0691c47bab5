"""Words of concept trees as a model writes them, made into names and values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from showtell.prompts.answers import normalise

_MOST_WORDS = 4
_NOTHING = frozenset({
    "", "-", "?", "any", "depends", "different", "invisible", "na", "nil", "none", "nothing",
    "null", "other", "same", "unclear", "unknown", "unsure", "unspecified", "variable", "varied",
    "varies", "various", "vary",
})  # fmt: skip
_DENIALS = frozenset({"no", "non", "not", "cannot"})
_SPLIT = re.compile(
    r"""\s*[,;|\n]\s*(?:(?:or|and)\s+)?  # a list, with or without its last word
    | (?:^|\s+)or(?:\s+|$)               # a whole word
    | (?<=[^\W\d_])\s*/\s*(?=[^\W\d_])   # between words, and not in a fraction
    """,
    re.VERBOSE,
)
_NOT_APPLICABLE = re.compile(r"(?<!\w)n\s*/\s*a(?!\w)")
_IN_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_MARKS = " \t-*•·.:!?\"'`’“”„"
_IRREGULAR = {
    "antennae": "antenna", "calves": "calf", "feet": "foot", "hooves": "hoof", "knives": "knife",
    "leaves": "leaf", "scarves": "scarf", "shelves": "shelf", "teeth": "tooth", "wolves": "wolf",
}  # fmt: skip
_PLURAL_ONLY = frozenset({
    "binoculars", "canvas", "chassis", "clothes", "gas", "glasses", "jeans", "leggings", "lens",
    "overalls", "pants", "pliers", "scissors", "shorts", "surroundings", "tights", "trousers",
})  # fmt: skip


def clean_values(given: str | Iterable[Any] | None) -> tuple[str, ...]:
    """Make values out of an answer: lower case, one alternative each, nothing that says nothing.

    Parameters
    ----------
    given : str, or iterable of str
        Answers as a model writes them. Entries that are no text are left out.

    Returns
    -------
    values : tuple of str
        Of at most four words, each once. Denials ("not visible", "no tail") and answers without
        content ("unknown", "n/a", "varies") are left out; words are looked at as a whole, so that
        "cannon-shaped" stays.

    Examples
    --------
    >>> clean_values("Black, white, or tan")
    ('black', 'white', 'tan')
    >>> clean_values(["cannon-shaped", "knot pattern", "casino green", "N/A", "not visible"])
    ('cannon-shaped', 'knot pattern', 'casino green')
    """
    if given is None:
        return ()
    entries = [given] if isinstance(given, str) else list(given)
    found: dict[str, str] = {}
    todo = [entry for entry in reversed(entries) if isinstance(entry, str)]
    while todo:  # what one pass takes away may show the next what to split
        text = todo.pop()
        pieces = _pieces(text)
        if pieces == [text]:
            words = text.split()
            empty = text in _NOTHING or bool(_DENIALS & set(words))
            if normalise(text) and words and not empty and len(words) <= _MOST_WORDS:
                found.setdefault(normalise(text), text)
        else:
            todo += reversed(pieces)
    return tuple(found.values())


def _pieces(text: str) -> list[str]:
    """Split into alternatives, and take off each what is no part of it."""
    text = _printable(text, "\n").casefold().replace("and/or", "or")
    pieces = []
    for piece in _SPLIT.split(_IN_BRACKETS.sub(" ", _NOT_APPLICABLE.sub(" ", text))):
        value = _plain(piece)
        for word in ("or", "and"):
            value = "" if value == word else value.removeprefix(f"{word} ")
        if value:
            pieces.append(value)
    return pieces


def clean_name(given: Any) -> str:
    """Make the name of a part or attribute: lower case, one line; "" for what is none.

    Examples
    --------
    >>> clean_name(" - Front  Leg. "), clean_name("N/A"), clean_name(7)
    ('front leg', '', '')
    """
    if not isinstance(given, str):
        return ""
    name = _plain(_IN_BRACKETS.sub(" ", _NOT_APPLICABLE.sub(" ", given.casefold())))
    name = name.replace(";", " ").replace("|", " ")
    usable = normalise(name) and name not in _NOTHING - {"other"} and len(name.split()) <= 4
    return " ".join(name.split()) if usable else ""


def _plain(text: str) -> str:
    """One line without marks at its ends."""
    return " ".join(_printable(text).split()).strip(_MARKS)


def _printable(text: str, kept: str = "") -> str:
    """Put a space for each character that cannot be seen."""
    return "".join(c if c.isprintable() or c in kept else " " for c in text)


def one_name(said: Any) -> str:
    """Clean a name; "" for none, a denial or a list.

    Examples
    --------
    >>> [one_name(name) for name in (" Fur_colour.", "not visible", "eyes, ears", "N/A")]
    ['fur colour', '', '', '']
    """
    name = clean_name(said.replace("_", " ") if isinstance(said, str) else said)
    return name if name and clean_values([name]) == (name,) else ""


def singular(name: str) -> str:
    """Put the last word of a part's name into the singular, where that is safe.

    Examples
    --------
    >>> [singular(n) for n in ("eyes", "wing spots", "berries", "hooves", "glass", "branches")]
    ['eye', 'wing spot', 'berry', 'hoof', 'glass', 'branch']
    """
    *before, last = name.split() or [""]
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif len(last) > 3 and last.endswith("s") and last not in _PLURAL_ONLY:
        if last.endswith("ies") and len(last) > 4:
            last = f"{last[:-3]}y"
        elif last.endswith(("sses", "shes", "ches", "xes")):
            last = last[:-2]
        elif not last.endswith(("ss", "us", "is", "as", "os")):
            last = last[:-1]
    return " ".join([*before, last])
