"""Concept trees out of files and mappings; whatever is wrong with one is said by its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from showtell.errors import InputError
from showtell.prompts.concepts.trees import (
    FORMAT,
    Attribute,
    ConceptGap,
    ConceptTree,
    TreePart,
    Value,
    json_path,
)
from showtell.prompts.descriptions.descriptions import Provenance
from showtell.records.reading import TEXT_BYTES, loading, parse_json, read_text

_TASKS = ("parts", "attributes", "values")
_DEEPEST = 10  # levels that are read


def read_concepts(source: ConceptTree | Mapping[str, Any] | str | os.PathLike[str]) -> ConceptTree:
    """Read a concept tree.

    Parameters
    ----------
    source : ConceptTree, mapping or path
        A tree is returned as it is. A mapping, or a ``.json`` file of one, has ``domain`` and
        ``parts``; a part has ``part`` (its name) and may have ``children`` (parts) and
        ``attributes``: attribute to values, where values are a list, or an object of value to the
        labels that have it. An object ``{"part": ..., "children": ...}`` alone is the domain with
        its parts.

    Returns
    -------
    tree : ConceptTree

    Raises
    ------
    InputError
        If the file cannot be read or is something else; the message names the place.
    """
    if isinstance(source, ConceptTree):
        return source
    if isinstance(source, Mapping):
        return _from_value(source, "concepts")
    path = json_path(source)
    where = repr(str(path))
    text = read_text(path, "concept tree", most=TEXT_BYTES, error=InputError)
    with loading(where, error=InputError):
        return _from_value(parse_json(text, where, error=InputError), where)


def _from_value(value: Any, where: str) -> ConceptTree:
    if not isinstance(value, Mapping):
        raise InputError(
            f"{where} must hold an object with 'domain' and 'parts', got {type(value).__name__}."
        )
    version = value.get("showtell", FORMAT)
    if str(version).startswith("descriptions-"):
        raise InputError(
            f"{where} holds descriptions of labels, not a concept tree. It goes with the method "
            "'dclip' or 'cupl'; `showtell concepts` writes trees."
        )
    if version != FORMAT:
        raise InputError(f"{where} has the format {version!r}; this version reads {FORMAT!r}.")
    if "parts" not in value and "part" in value:
        value = {"domain": value["part"], "parts": value.get("children", [])}
    domain = value.get("domain")
    if not isinstance(domain, str) or "parts" not in value:
        raise InputError(
            f"{where} must hold an object with 'domain' (a word for what all labels are) and "
            f"'parts' (a list); it has: {', '.join(map(str, value)) or 'nothing'}."
        )
    given = value.get("provenance")
    stated = given if isinstance(given, Mapping) else {}
    return ConceptTree(
        domain=" ".join(domain.split()),
        parts=_read_parts(value["parts"], f"{where}: parts", 1),
        provenance=Provenance(
            **{
                name: stated[name]
                for name in vars(Provenance())
                if isinstance(stated.get(name), str)
            }
        ),
        gaps=_read_gaps(value.get("gaps", []), where),
        asked=_read_parts(value.get("asked", []), f"{where}: asked", 1),
    )


def _read_parts(given: Any, where: str, level: int) -> tuple[TreePart, ...]:
    if not isinstance(given, list | tuple):
        raise InputError(f"{where} must be a list of parts, got {type(given).__name__}.")
    if given and level > _DEEPEST:
        raise InputError(f"{where}: parts go {_DEEPEST} levels deep at most.")
    return tuple(_read_part(one, where, level) for one in given)


def _read_part(given: Any, where: str, level: int) -> TreePart:
    if isinstance(given, str):
        given = {"part": given}
    if not isinstance(given, Mapping) or not isinstance(given.get("part"), str):
        raise InputError(
            f"{where} has {_short(given)}; a part is an object with 'part' (its name), 'children' "
            "and 'attributes'."
        )
    name = " ".join(given["part"].split())
    here = f"{where}, {name!r}"
    attributes = given.get("attributes") or {}
    if isinstance(attributes, list | tuple):
        attributes = {one: [] for one in attributes if isinstance(one, str)}
    if not isinstance(attributes, Mapping):
        raise InputError(f"{here}: 'attributes' must be an object of attribute to values.")
    return TreePart(
        name=name,
        children=_read_parts(given.get("children") or [], here, level + 1),
        attributes=tuple(
            Attribute(name=" ".join(str(key).split()), values=_read_values(of, f"{here}, {key!r}"))
            for key, of in attributes.items()
        ),
    )


def _read_values(given: Any, where: str) -> tuple[Value, ...]:
    if given is None:
        return ()
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list | tuple):
        for one in given:
            if not isinstance(one, str):
                raise InputError(f"{where} has the value {_short(one)}, which is no text.")
        given = dict.fromkeys(given, ())
    if not isinstance(given, Mapping):
        raise InputError(
            f"{where} must be a list of values, or an object of value to labels; got "
            f"{_short(given)}."
        )
    values = []
    for text, labels in given.items():
        listed = [labels] if isinstance(labels, str) else [] if labels is None else labels
        is_list = isinstance(listed, list | tuple)
        if not is_list or not all(isinstance(one, str) for one in listed):
            raise InputError(f"{where}: {text!r} must have a list of labels, got {_short(labels)}.")
        values.append(Value(text=" ".join(str(text).split()), labels=tuple(dict.fromkeys(listed))))
    return tuple(values)


def _read_gaps(given: Any, where: str) -> tuple[ConceptGap, ...]:
    if not isinstance(given, list):
        raise InputError(f"{where}: 'gaps' must be a list, got {type(given).__name__}.")
    found = []
    for one in given:
        known = one if isinstance(one, Mapping) else {}
        if known.get("task") not in _TASKS:
            raise InputError(
                f"{where}: a gap has a 'task' of {', '.join(_TASKS)}; got {_short(one)}."
            )
        part = known.get("part") or ()
        names = [part] if isinstance(part, str) else part
        if not isinstance(names, list | tuple):
            raise InputError(f"{where}: 'part' of a gap is a list of names; got {_short(part)}.")
        attribute, label = known.get("attribute"), known.get("label")
        tries = known.get("tries")
        found.append(
            ConceptGap(
                task=known["task"],
                reason=str(known.get("reason", "")),
                part=tuple(map(str, names)),
                attribute=None if attribute is None else str(attribute),
                label=None if label is None else str(label),
                tries=tries if isinstance(tries, int) and tries > 1 else 1,
            )
        )
    return tuple(found)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
