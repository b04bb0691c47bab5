"""What answers about a concept tree are made of: their schemas, and the pieces of a tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from showtell.prompts.answers import normalise
from showtell.prompts.concepts.trees import Attribute, TreePart, Value

PartPath: TypeAlias = tuple[str, ...]
"""Names of a part and of those it is in, from the top."""

ATTRIBUTES_SCHEMA = {
    "type": "object",
    "properties": {
        "part": {"type": "string"},
        "attributes": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["part", "attributes"],
    "additionalProperties": False,
}
# Pairs, not a field per attribute: providers take few characters in names of fields.
VALUES_SCHEMA = {
    "type": "object",
    "properties": {
        "part": {"type": "string"},
        "values": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "attribute": {"type": "string"},
                    "values": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["attribute", "values"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["part", "values"],
    "additionalProperties": False,
}


def parts_schema(depth: int) -> dict[str, Any]:
    """Write out as many levels as are wanted: not every provider takes a schema in itself."""
    schema: dict[str, Any] = {"part": {"type": "string"}}
    for _ in range(depth):
        item = _object(schema)
        schema = {"part": {"type": "string"}, "children": {"type": "array", "items": item}}
    return _object(schema)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def pairs_of(value: Any, names: Mapping[str, str]) -> dict[str, list[Any]] | None:
    """Read values by attribute: pairs, an object of lists, or that object alone."""
    given = value.get("values") if isinstance(value, dict) else value
    if given is None and isinstance(value, dict) and set(map(normalise, value)) & set(names):
        given = value
    entries: list[tuple[Any, Any]]
    if isinstance(given, dict):
        entries = list(given.items())
    elif isinstance(given, list):
        entries = [(e.get("attribute"), e.get("values")) for e in given if isinstance(e, dict)]
    else:
        return None
    found: dict[str, list[Any]] = {}
    for name, values in entries:
        if isinstance(name, str):
            listed = values if isinstance(values, list) else [values]
            found.setdefault(normalise(name), []).extend(x for x in listed if x is not None)
    return found


def attributes_of(
    told: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]],
) -> tuple[Attribute, ...]:
    """Put values of several labels together; the first spelling counts."""
    made = []
    for name, values in told.items():
        found: dict[str, tuple[str, list[str]]] = {}
        for text, labels in values:
            found.setdefault(normalise(text), (text, []))[1].extend(labels)
        made.append(
            Attribute(
                name=name,
                values=tuple(
                    Value(text=text, labels=tuple(dict.fromkeys(labels)))
                    for text, labels in found.values()
                ),
            )
        )
    return tuple(made)


def without_labels(part: TreePart) -> TreePart:
    """Say of no value who has it."""
    return replace(
        part,
        attributes=tuple(
            replace(one, values=tuple(Value(text=value.text) for value in one.values))
            for one in part.attributes
        ),
    )


def skeleton_of(parts: Mapping[PartPath, TreePart]) -> tuple[TreePart, ...]:
    """Put parts at their places in a tree that has nothing else."""
    tops = dict.fromkeys(path[0] for path in parts)
    made = []
    for top in tops:
        below = {path[1:]: part for path, part in parts.items() if path[0] == top and path[1:]}
        own = parts.get((top,), TreePart(name=top))
        made.append(replace(own, children=skeleton_of(below)))
    return tuple(made)


def with_parts(
    parts: Sequence[TreePart], other: Mapping[PartPath, TreePart], above: PartPath = ()
) -> tuple[TreePart, ...]:
    """Give parts the attributes of others."""
    made = []
    for part in parts:
        path = (*above, part.name)
        attributes = other[path].attributes if path in other else part.attributes
        children = with_parts(part.children, other, path)
        made.append(replace(part, attributes=attributes, children=children))
    return tuple(made)


def walk(parts: Sequence[TreePart], above: PartPath = ()) -> list[tuple[PartPath, TreePart]]:
    """List parts with their paths, each before what is in it."""
    found: list[tuple[PartPath, TreePart]] = []
    for part in parts:
        path = (*above, part.name)
        found += [(path, part), *walk(part.children, path)]
    return found
