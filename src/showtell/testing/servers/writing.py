"""Answers in the form that was asked for: by JSON schema, as JSON, as text; or spoiled."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from showtell.testing.servers.guessing import Guess
from showtell.testing.servers.knobs import Faults, uniform

__all__ = [
    "Item",
    "Token",
    "allowed_labels",
    "break_json",
    "make_items",
    "make_tokens",
    "normalise_schema",
    "write_answer",
]

OTHER_LABELS = ("zorb", "quux", "flimmer", "none of your business")
"""What a label outside the label set may be."""

_MISNAMED = {
    "label": "lable_",
    "answers": "replies",
    "descriptors": "descriptions_",
    "description": "text_",
    "concept": "kind_",
    "children": "parts_",
    "attributes": "properties_",
    "values": "looks_",
}
_TOKEN = 4  # characters
_SURE = -1e-4  # log-probability of a token that nothing else could have been
_NOT_A_LABEL = -12.0


@dataclass(frozen=True, kw_only=True)
class Item:
    """One entry of an answer."""

    id: str
    label: str
    confidence: float
    """0 to 1."""
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class Token:
    """A token with its log-probability and the alternatives, best first."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...]


def make_items(
    guesses: Sequence[Guess], faults: Faults, *draw_key: object
) -> tuple[list[Item], dict[str, str]]:
    """Turn guesses into entries, some of them spoiled; and say which fault a query id met."""
    items: list[Item] = []
    spoiled: dict[str, str] = {}
    to_swap: list[int] = []
    for guess in guesses:
        name = guess.query.id
        item = Item(
            id=name,
            label=guess.label,
            confidence=guess.margin,
            probabilities=dict(zip(guess.labels, map(float, guess.probabilities), strict=True)),
        )
        fault = faults.of_query(uniform(*draw_key, "query", name, guess.query.image.digest))
        if fault == "conflict" and len(guess.labels) < 2:
            fault = None
        if fault == "swap" and len(guesses) < 2:
            fault = None
        if fault is not None:
            spoiled[name] = fault
        if fault == "drop":
            continue
        if fault == "swap":
            to_swap.append(len(items))
        if fault == "out_of_set":
            foreign = [word for word in OTHER_LABELS if word not in guess.labels]
            draw = uniform(*draw_key, "out_of_set", name)
            items.append(replace(item, label=foreign[int(draw * len(foreign))]))
        elif fault == "unknown":
            draw = uniform(*draw_key, "unknown", name)
            items.append(replace(item, id=f"{name}-{int(draw * 0xFFFF):04x}"))
        else:
            items.append(item)
        if fault == "duplicate":
            items.append(item)
        elif fault == "conflict":
            others = [label for label in guess.labels if label != item.label]
            draw = uniform(*draw_key, "conflict", name)
            items.append(replace(item, label=others[int(draw * len(others))]))
    for place in to_swap:
        other = (place + 1) % len(items)
        items[place], items[other] = items[other], items[place]
    return items, spoiled


def allowed_labels(schema: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the texts that the schema's label field may hold; () where it does not say.

    The label field is the enum of strings named "label", else the longest enum of strings.

    Examples
    --------
    >>> allowed_labels({"type": "object", "properties": {"label": {"enum": ["cat", "dog"]}}})
    ('cat', 'dog')
    """
    found: list[tuple[bool, int, tuple[str, ...]]] = []

    def visit(node: Any, name: str) -> None:
        if isinstance(node, list):
            for child in node:
                visit(child, name)
        if not isinstance(node, Mapping):
            return
        options = node.get("enum")
        if isinstance(options, list) and options and all(isinstance(o, str) for o in options):
            found.append((name == "label", len(options), tuple(options)))
        for key, child in node.items():
            if key in ("properties", "$defs", "definitions") and isinstance(child, Mapping):
                for inner, value in child.items():
                    visit(value, inner if key == "properties" else name)
            elif key not in ("enum", "const", "default", "examples"):
                visit(child, name)

    visit(schema, "")
    return max(found, key=lambda entry: entry[:2])[2] if found else ()


def normalise_schema(schema: Any) -> Any:
    """Write Google's upper-case types (``STRING``) as JSON schema does (``string``)."""
    if isinstance(schema, list):
        return [normalise_schema(value) for value in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        key: value.lower() if key == "type" and isinstance(value, str) else normalise_schema(value)
        for key, value in schema.items()
    }


def write_answer(
    items: Sequence[Item], n_images: int, schema: Mapping[str, Any] | None, *, as_json: bool
) -> str:
    """Write entries by a schema, as showtell's own JSON, or as text."""
    if schema is not None:
        value = _Filler(schema, items, n_images).fill(schema, "", None)
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if as_json:
        answers = [
            {"id": item.id, "label": item.label, "confidence": round(10 * item.confidence)}
            for item in items
        ]
        value = {"n_images": n_images, "answers": answers}
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if n_images == 1 and items:
        return items[0].label or "A picture."
    if not items:
        return f"I see {n_images} images."
    return "\n".join(f"{item.id}: {item.label}" for item in items)


def break_json(text: str, draw: float) -> str:
    """Spoil an answer: cut it off, wrap it in prose or a code fence, or misname its fields.

    Examples
    --------
    >>> break_json('{"label": "cat"}', 0.0)
    '{"label":'
    >>> break_json('{"label": "cat"}', 0.99)
    '{"lable_": "cat"}'
    """
    kind = int(draw * 4)
    if kind == 0:
        return text[: max(1, int(len(text) * 0.6))]
    if kind == 1:
        return f"Sure! Here is what I found:\n\n{text}\n\nLet me know if you need anything else."
    if kind == 2:
        return f"```json\n{text}\n```"
    for name, wrong in _MISNAMED.items():
        text = text.replace(f'"{name}"', f'"{wrong}"')
    return text


def make_tokens(text: str, items: Sequence[Item], n_top: int) -> list[Token]:
    """Cut an answer into tokens of at most 4 characters, with log-probabilities.

    Tokens of a label are conditional on those before, so that the tokens of a label and of what
    follows it multiply to the label's probability; all other tokens are all but certain.
    """
    tokens: list[Token] = []
    done = 0
    for item in items:
        quoted = json.dumps(item.label, ensure_ascii=False)
        start = text.find(quoted, done)
        bare = start < 0
        if bare:
            start = text.find(item.label, done)
        if start < 0 or not item.label:
            continue
        inner = item.label if bare else quoted[1:-1]
        first = start if bare else start + 1
        tokens += _plain_tokens(text[done:first])
        end = "\n" if bare else '"'
        tokens += _label_tokens(inner, item.probabilities, n_top, end)
        done = first + len(inner)
        if text[done : done + 1] == end:
            done += 1
        else:
            tokens.pop()  # the text ends with the label: nothing follows it
    tokens += _plain_tokens(text[done:])
    return tokens


def _plain_tokens(text: str) -> list[Token]:
    pieces = [text[i : i + _TOKEN] for i in range(0, len(text), _TOKEN)]
    return [Token(piece, _SURE, ((piece, _SURE),)) for piece in pieces]


def _label_tokens(
    label: str, probabilities: Mapping[str, float], n_top: int, end: str
) -> list[Token]:
    def cut(name: str) -> list[str]:
        return [*(name[i : i + _TOKEN] for i in range(0, len(name), _TOKEN)), end]

    paths = [
        (cut(json.dumps(name, ensure_ascii=False)[1:-1]), p) for name, p in probabilities.items()
    ]
    tokens = []
    for place, piece in enumerate(cut(label)):
        total = sum(p for _, p in paths)
        mass: dict[str, float] = {}
        for path, p in paths:
            mass[path[place]] = mass.get(path[place], 0.0) + p
        top = sorted(
            ((text, _log(p / total)) for text, p in mass.items() if total > 0),
            key=lambda entry: -entry[1],
        )
        known = dict(top).get(piece, _NOT_A_LABEL)
        tokens.append(Token(piece, known, tuple(top[: max(n_top, 1)]) or ((piece, known),)))
        paths = [(path, p) for path, p in paths if path[place] == piece]
    return tokens


def _log(p: float) -> float:
    return math.log(p) if p > 1e-300 else -700.0


class _Filler:
    """Fills a JSON schema with what was seen."""

    def __init__(self, root: Mapping[str, Any], items: Sequence[Item], n_images: int) -> None:
        self.root, self.items, self.n_images = root, items, n_images

    def fill(self, schema: Any, name: str, item: Item | None) -> Any:
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if isinstance(options := schema.get("enum"), list) and options:
            return self._choose(options, name, item)
        for union in ("anyOf", "oneOf"):
            if isinstance(branches := schema.get(union), list):
                kept = [b for b in branches if self._resolve(b).get("type") != "null"]
                return self.fill((kept or branches)[0], name, item)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((k for k in kind if k != "null"), "null")
        if kind is None:
            kind = "object" if "properties" in schema else "string"
        match kind:
            case "object":
                return self._object(schema, item)
            case "array":
                return self._array(schema, name, item)
            case "integer" | "number":
                return self._number(schema, name, item, whole=kind == "integer")
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._text(name, item)

    def _resolve(self, schema: Any) -> Mapping[str, Any]:
        for _ in range(20):
            if not isinstance(schema, Mapping):
                return {}
            reference = schema.get("$ref")
            if isinstance(reference, str) and reference.startswith("#/"):
                target: Any = self.root
                for key in reference[2:].split("/"):
                    target = target.get(key, {}) if isinstance(target, Mapping) else {}
                schema = target
            elif isinstance(parts := schema.get("allOf"), list):
                merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
                for part in parts:
                    part = self._resolve(part)
                    properties = {**merged.get("properties", {}), **part.get("properties", {})}
                    merged = {**part, **merged}
                    if properties:
                        merged["properties"] = properties
                schema = merged
            else:
                return schema
        return {}

    def _choose(self, options: list[Any], name: str, item: Item | None) -> Any:
        item = item or (self.items[0] if self.items else None)
        if item is None:
            return options[0]
        if item.label in options or (item.label in OTHER_LABELS and name == "label"):
            return item.label
        if item.id in options:
            return item.id
        return options[0]

    def _object(self, schema: Mapping[str, Any], item: Item | None) -> dict[str, Any]:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or not properties:
            inner = schema.get("additionalProperties")
            if isinstance(inner, Mapping) and item is None:
                return {one.id: self.fill(inner, "label", one) for one in self.items}
            return {}
        if item is None and not self._has_list(properties):
            item = self.items[0] if self.items else None
        return {name: self.fill(value, name, item) for name, value in properties.items()}

    def _has_list(self, properties: Mapping[str, Any]) -> bool:
        return any(self._resolve(value).get("type") == "array" for value in properties.values())

    def _array(self, schema: Mapping[str, Any], name: str, item: Item | None) -> list[Any]:
        inner = schema.get("items", {})
        if item is None:
            return [self.fill(inner, name, one) for one in self.items]
        n_least = schema.get("minItems", 0)
        return [self.fill(inner, name, item) for _ in range(int(n_least))]

    def _number(
        self, schema: Mapping[str, Any], name: str, item: Item | None, *, whole: bool
    ) -> float | int:
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        value: float
        if item is not None and name in item.probabilities:
            value = item.probabilities[name]
        elif (item is not None and name == "id") or name.endswith("_id"):
            digits = item.id if item is not None else ""
            value = int(digits) if digits.isdigit() else 0
        elif item is not None and not name.startswith(("n_", "number")):
            top = high if high is not None else (10 if whole else 1)
            bottom = low if low is not None else 0
            value = bottom + item.confidence * (top - bottom)
        else:
            value = self.n_images
        if low is not None:
            value = max(value, low)
        if high is not None:
            value = min(value, high)
        return round(value) if whole else round(float(value), 6)

    def _text(self, name: str, item: Item | None) -> str:
        if item is None:
            item = self.items[0] if self.items else None
        if item is None:
            return "no image"
        if name == "id" or name.endswith("_id"):
            return item.id
        if name in ("reason", "explanation", "rationale", "evidence", "description", "caption"):
            return f"It looks most like {item.label}."
        return item.label
