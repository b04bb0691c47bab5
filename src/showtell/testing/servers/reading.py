"""From texts and images in order to: which labels, which demonstrations, which queries."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from showtell.testing.servers.sight import SentImage, SentMedia

__all__ = ["Demonstration", "Part", "Query", "Scene", "interleave", "read_scene", "schema_in_text"]

Part: TypeAlias = str | SentImage | SentMedia
"""A piece of text, an image, or another medium."""

_QUERY_START = re.compile(r"Image (.+?):$")
_QUERY_END = re.compile(r"End of image (.+?)\.$")
_DEMONSTRATION = re.compile(r"Example\b[^:]*:$")
_LABEL = re.compile(r"Label:\s*(.+)$")
_EXAMPLE_LABEL = re.compile(r'"label"\s*:\s*"([^"<>{}]+)"')
_REFERENCE = re.compile(r"<image (\d+)>")
_PLACEHOLDERS = {"...", "…", "string", "label", "a label", "one of the labels"}


@dataclass(frozen=True)
class Demonstration:
    """An image with its answer."""

    image: SentImage
    label: str


@dataclass(frozen=True)
class Query:
    """An image that is asked about."""

    id: str
    image: SentImage


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a request shows and asks."""

    labels: tuple[str, ...]
    """The label list, in its order; () where the request has none."""
    descriptions: dict[str, str]
    demonstrations: tuple[Demonstration, ...]
    queries: tuple[Query, ...]
    example_label: str | None
    """Label of a filled-in answer inside the instructions."""


def read_scene(system: str, parts: Sequence[Part], known: Sequence[str] = ()) -> Scene:
    r"""Find labels, demonstrations and queries.

    A query image follows the text ``Image ID:`` and is followed by ``End of image ID.``; a
    demonstration follows ``Example:`` and is followed by ``Label: NAME``. The label set stands
    one per line as ``- NAME`` or ``- NAME: DESCRIPTION`` between ``Labels:`` and
    ``End of labels.``. An image without such texts is a query numbered by its place.

    Examples
    --------
    >>> scene = read_scene("Labels:\n- cat: a feline\n- dog\nEnd of labels.", [])
    >>> scene.labels, scene.descriptions
    (('cat', 'dog'), {'cat': 'a feline'})
    """
    labels: list[str] = []
    descriptions: dict[str, str] = {}
    demonstrations: list[Demonstration] = []
    queries: list[tuple[str | None, SentImage]] = []
    pending: tuple[str, str] | None = None
    open_images: list[SentImage] = []  # shown after "Example:", label still to come
    in_list = False
    for part in (system, *parts):
        if isinstance(part, SentImage):
            if pending is not None and pending[0] == "query":
                queries.append((pending[1], part))
            elif pending is not None:
                open_images.append(part)
                continue  # a demonstration may have several pictures
            else:
                queries.append((None, part))
            pending = None
            continue
        if isinstance(part, SentMedia):
            continue
        for line in map(str.strip, part.splitlines()):
            if not line:
                continue
            if in_list:
                if line.casefold() == "end of labels.":
                    in_list = False
                elif line.startswith("- "):
                    name, text = _label_line(line[2:].strip(), known)
                    if name not in labels:
                        labels.append(name)
                    if text:
                        descriptions[name] = text
            elif line.casefold() == "labels:":
                in_list = True
            elif match := _QUERY_START.match(line):
                pending = ("query", match[1])
            elif _DEMONSTRATION.match(line):
                pending = ("demonstration", "")
            elif match := _LABEL.match(line):
                if not open_images and pending is None and queries and queries[-1][0] is None:
                    open_images.append(queries.pop()[1])  # shown without "Example:"
                demonstrations += [Demonstration(image, match[1]) for image in open_images]
                open_images, pending = [], None
            elif (match := _QUERY_END.match(line)) and queries and queries[-1][0] is None:
                queries[-1] = (match[1], queries[-1][1])
    taken = {name for name, _ in queries if name is not None}
    named: list[Query] = []
    for number, (given, image) in enumerate(queries, start=1):
        name = given or str(number)
        while given is None and name in taken:
            name += "'"
        named.append(Query(name, image))
    return Scene(
        labels=tuple(labels),
        descriptions=descriptions,
        demonstrations=tuple(demonstrations),
        queries=tuple(named),
        example_label=_example_label([system, *(p for p in parts if isinstance(p, str))]),
    )


def interleave(text: str, images: Sequence[SentImage]) -> list[Part]:
    """Put images where the text refers to them as ``<image N>``; others follow at the end.

    Examples
    --------
    >>> interleave("Nothing to see.", [])
    ['Nothing to see.']
    """
    parts: list[Part] = []
    used: set[int] = set()
    last = 0
    for match in _REFERENCE.finditer(text):
        number = int(match[1]) - 1
        if 0 <= number < len(images):
            parts += [text[last : match.start()], images[number]]
            used.add(number)
            last = match.end()
    parts.append(text[last:])
    parts += [image for number, image in enumerate(images) if number not in used]
    return parts


def schema_in_text(texts: Sequence[str]) -> dict[str, Any] | None:
    """Find a JSON schema written out in the instructions, as clients without one on the wire do.

    Examples
    --------
    >>> schema_in_text(['Answer as {"type": "object", "properties": {"a": {"type": "string"}}}.'])
    {'type': 'object', 'properties': {'a': {'type': 'string'}}}
    """
    decoder = json.JSONDecoder()
    for text in texts:
        start = text.find("{")
        while start >= 0 and '"properties"' in text[start:]:
            try:
                value, end = decoder.raw_decode(text, start)
            except ValueError:
                start = text.find("{", start + 1)
                continue
            if isinstance(value, dict) and isinstance(value.get("properties"), dict):
                return value
            start = text.find("{", end)
    return None


def _label_line(text: str, known: Sequence[str]) -> tuple[str, str]:
    if text in known:
        return text, ""
    for name in known:
        if text.startswith(f"{name}: "):
            return name, text[len(name) + 2 :].strip()
    name, _, description = text.partition(": ")
    return name.strip(), description.strip()


def _example_label(texts: Sequence[str]) -> str | None:
    for text in texts:
        for match in _EXAMPLE_LABEL.finditer(text):
            if match[1].strip().casefold() not in _PLACEHOLDERS:
                return match[1]
    return None
