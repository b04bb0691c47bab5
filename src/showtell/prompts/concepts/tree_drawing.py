"""Concept trees as pictures, laid out by Graphviz."""

from __future__ import annotations

import html
import math
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from showtell._extras import need
from showtell.errors import InputError, ShowtellError
from showtell.prompts.answers import normalise
from showtell.prompts.concepts.trees import Attribute, ConceptTree, TreePart, find_part
from showtell.records.files import write_whole

ClueKey: TypeAlias = tuple[tuple[str, ...], str, str]
"""Path of the part, attribute and value of a clue."""

_ENDINGS = (".svg", ".png", ".pdf", ".dot")
_FEW = 60  # values: up to so many, each has a line with its labels
_LINE = 44  # characters of values in one line
_PIXELS = 7  # of a character, about
_SHOWN_LABELS = 4
_COLOURS = ("#2f6f9f", "#a3572b", "#3f7d4e", "#7d4f9e", "#9a7a1c", "#9e3f5f", "#3c7f86", "#5d6470")
_INK, _SOFT, _PALE, _GAP = "#1f2933", "#67737e", "#eef1f4", "#b42318"
_WARM = (217, 95, 14)  # of the most important clue
_QUIET = "Fontconfig warning"
_TOO_LARGE = "too large for cairo"
_lock = threading.Lock()


def draw_concepts(
    tree: ConceptTree,
    path: str | os.PathLike[str],
    *,
    part: str | Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    importances: Mapping[ClueKey, float] | None = None,
) -> Path:
    """Draw a tree, one of its parts, or what it says about some labels.

    Parameters
    ----------
    tree : ConceptTree
    path : path
        A file that ends in .svg, .png or .pdf; .dot holds what Graphviz reads, and needs nothing
        installed.
    part : str or sequence of str, optional
        Name of a part, or its path: "head > ear", or ``("head", "ear")``.
    labels : sequence of str, optional
        Only values that one of them has.
    importances : mapping of ClueKey to float, optional
        How much each clue counts, 0 or more; the more, the deeper its colour.

    Returns
    -------
    path : Path

    Raises
    ------
    MissingExtraError
        If pygraphviz is not installed: ``pip install "showtell[draw]"``. It brings Graphviz.
    InputError
        If the ending, the part or a label is none of the allowed, or nothing is left to draw.

    Examples
    --------
    >>> from showtell.prompts import read_concepts
    >>> tree = read_concepts({"domain": "dog", "parts": [
    ...     {"part": "tail", "attributes": {"length": {"short": ["Corgi"], "long": ["Collie"]}}}]})
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_concepts(tree, f"{folder}/dog.dot", labels=["Corgi"]).name
    'dog.dot'
    """
    target = Path(path)
    ending = check_drawing(target)
    dot = concepts_dot(tree, part=part, labels=labels, importances=importances)
    return write_whole(target, dot if ending == ".dot" else _render(dot, ending[1:]))


def check_drawing(path: str | os.PathLike[str]) -> str:
    """Refuse a drawing that could not be made, before anything is paid for its tree.

    Returns `ending`: ".svg", ".png", ".pdf" or ".dot". Raises InputError, MissingExtraError as
    `draw_concepts`.
    """
    ending = Path(path).suffix.lower()
    if ending not in _ENDINGS:
        raise InputError(
            f"A drawing is a file that ends in {', '.join(_ENDINGS)}; got {str(path)!r}."
        )
    if ending != ".dot":
        _graphviz()
    return ending


def concepts_dot(
    tree: ConceptTree,
    *,
    part: str | Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    importances: Mapping[ClueKey, float] | None = None,
) -> str:
    """Write a tree in the language of Graphviz.

    Parameters
    ----------
    tree, part, labels, importances
        As in `draw_concepts`.

    Returns
    -------
    dot : str

    Raises
    ------
    InputError
        As `draw_concepts`.

    Examples
    --------
    >>> from showtell.prompts import read_concepts
    >>> tree = read_concepts({"domain": "dog", "parts": [{"part": "tail"}]})
    >>> concepts_dot(tree).splitlines()[0]
    'digraph concepts {'
    """
    if not tree.parts:
        raise InputError(f"The tree of {tree.domain!r} has no parts, so there is nothing to draw.")
    above: tuple[str, ...] = ()
    unknown = [label for label in labels or () if label not in tree.labels]
    if unknown:
        raise InputError(
            f"No value of the tree is said to be of {', '.join(map(repr, unknown))}. Labels are: "
            f"{', '.join(tree.labels) or 'none'}."
        )
    if part is not None:
        place = find_part(tree, part)
        above = place[:-1]
        tree = tree.restricted(part=place)
    if labels is not None:
        tree = tree.restricted(labels=labels)
        tree = replace(tree, parts=_pruned(tree.parts))
    if not tree.parts:
        raise InputError(f"That part has no values of {', '.join(labels or ())}: nothing to draw.")
    return _Dot(tree, above, labels, importances or {}).text()


class _Dot:
    """A drawing being written."""

    def __init__(
        self,
        tree: ConceptTree,
        above: tuple[str, ...],
        labels: Sequence[str] | None,
        importances: Mapping[ClueKey, float],
    ) -> None:
        self.tree, self.above, self.labels = tree, above, labels
        self.lines: list[str] = []
        self.names = {'"root"'}
        self.by_line = tree.n_values <= _FEW and len(tree.labels) > 1
        self.n_labels = len(tree.labels)
        self.importances = {
            (tuple(map(normalise, at)), normalise(attribute), normalise(value)): amount
            for (at, attribute, value), amount in importances.items()
        }
        attributes = [one for _, part in tree.walk() for one in part.attributes]
        self.name_width = 6 * max((len(one.name) for one in attributes), default=0)
        self.width = max(  # of a line of values, in characters: all cards are as wide as that
            (
                sum(len(one.values[i].text) + 2 for i in line)
                for one in attributes
                for line in _lines(one)
            ),
            default=0,
        )
        self.most = max(self.importances.values(), default=0.0)

    def text(self) -> str:
        """Write the whole."""
        self.lines = [
            "digraph concepts {",
            'graph [rankdir=LR, bgcolor="white", pad=0.3, nodesep=0.16, ranksep=0.6, '
            'charset="UTF-8"]',
            f'node [fontname="Helvetica", fontsize=12, fontcolor="{_INK}", shape=plain]',
            "edge [arrowhead=none, penwidth=1.4]",
        ]
        title = _escaped(" > ".join([self.tree.domain, *self.above]))
        if self.labels is not None and len(self.labels) == 1:
            title = f"<B>{_escaped(self.labels[0])}</B><BR/>{title}"
        self.lines.append(
            f'root [label=<<FONT POINT-SIZE="14">{title}</FONT>>, shape=box, '
            f'style="rounded,filled", penwidth=0, margin="0.18,0.1", fillcolor="{_INK}", '
            'fontcolor="white"]'
        )
        for i, part in enumerate(self.tree.parts):
            self.part(part, (*self.above, part.name), "root:e", _COLOURS[i % len(_COLOURS)])
        return "\n".join([*self.lines, "}", ""])

    def part(self, part: TreePart, path: tuple[str, ...], above: str, colour: str) -> None:
        """Add a part as a card with its attributes, and what is below it."""
        name = _quoted(" > ".join(path))  # shown when one points at it
        while name in self.names:
            name = _quoted(name[1:-1] + " ")
        self.names.add(name)
        rows = [row for one in part.attributes for row in self.rows(one, path)]
        if not part.attributes and not part.children:
            rows = [self.row("", _said("no attributes yet", _GAP))]
        head = (
            '<TR><TD PORT="head" COLSPAN="3" ALIGN="LEFT" CELLPADDING="5" '
            f'BGCOLOR="{_mixed(colour, 0.14)}">'
            f'<FONT POINT-SIZE="13" COLOR="{_darker(colour)}"><B>{_escaped(part.name)}</B></FONT>'
            "</TD></TR>"
        )
        self.lines.append(
            f'{name} [label=<<TABLE BORDER="1" COLOR="{_mixed(colour, 0.45)}" CELLBORDER="0" '
            f'CELLSPACING="0" CELLPADDING="2">{head}{"".join(rows)}</TABLE>>]'
        )
        self.lines.append(f'{above} -> {name}:head:w [color="{_mixed(colour, 0.7)}"]')
        for child in part.children:
            self.part(child, (*path, child.name), f"{name}:head:e", colour)

    def rows(self, attribute: Attribute, path: tuple[str, ...]) -> list[str]:
        """Write the rows of an attribute: its name, and values with or without their labels."""
        name = _said(attribute.name, _SOFT, size=10)
        if not attribute.values:
            return [self.row(name, _said("no value yet", _GAP))]
        chips = [
            _chip(value.text, self.colours(path, attribute.name, value.text))
            for value in attribute.values
        ]
        cells: list[tuple[str, ...]] = []
        if self.by_line:
            cells = [
                (_nested(chip), _said(self.whose(value.labels), _SOFT, size=10))
                for chip, value in zip(chips, attribute.values, strict=True)
            ]
        else:
            for line in _lines(attribute):
                rest = self.width - sum(len(attribute.values[i].text) + 2 for i in line)
                cells.append((_nested("".join(chips[i] for i in line), _PIXELS * rest),))
        return [self.row("" if i else name, *of) for i, of in enumerate(cells)]

    def row(self, name: str, *cells: str) -> str:
        """Write a row of a card: three columns, the last cell as wide as is left."""
        first = f'<TD ALIGN="LEFT" WIDTH="{self.name_width}">{name}</TD>'
        inner = "".join(f'<TD ALIGN="LEFT">{cell}</TD>' for cell in cells[:-1])
        last = f'<TD ALIGN="LEFT" COLSPAN="{3 - len(cells)}">{cells[-1]}</TD>'
        return f"<TR>{first}{inner}{last}</TR>"

    def whose(self, labels: Sequence[str]) -> str:
        """Name the labels that have a value, or say how many."""
        if not labels:
            return ""
        if len(labels) == self.n_labels:
            return f"all {len(labels)}"
        shown = ", ".join(labels[:_SHOWN_LABELS])
        more = len(labels) - _SHOWN_LABELS
        return f"{shown} + {more}" if more > 0 else shown

    def colours(self, path: tuple[str, ...], attribute: str, value: str) -> tuple[str, str]:
        """Return the colours of a value: its ground and its letters."""
        if not self.importances:
            return _PALE, _INK
        key = (tuple(map(normalise, path)), normalise(attribute), normalise(value))
        share = max(self.importances.get(key, 0.0), 0.0) / self.most if self.most > 0 else 0.0
        share = 0.0 if math.isnan(share) else min(share, 1.0)
        ground = "#" + "".join(f"{round(245 + (warm - 245) * share):02x}" for warm in _WARM)
        return ground, "white" if share > 0.75 else _INK


def _lines(attribute: Attribute) -> list[list[int]]:
    """Break the values of an attribute into lines, by their positions."""
    lines: list[list[int]] = []
    left = 0
    for i, value in enumerate(attribute.values):
        needed = len(value.text) + 2
        if not lines or left < needed:
            lines.append([])
            left = _LINE
        lines[-1].append(i)
        left -= needed
    return lines


def _said(text: str, colour: str, *, size: int = 12) -> str:
    return f'<FONT POINT-SIZE="{size}" COLOR="{colour}">{_escaped(text)}</FONT>'


def _nested(cells: str, width: int = 0) -> str:
    """Put cells side by side; an empty one of some width keeps the others from being stretched."""
    rest = f'<TD WIDTH="{width}"></TD>' if width else ""
    return (
        f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="2" CELLPADDING="3"><TR>{cells}{rest}</TR>'
        "</TABLE>"
    )


def _chip(text: str, look: tuple[str, str]) -> str:
    ground, letters = look
    return (
        f'<TD BGCOLOR="{ground}" STYLE="ROUNDED"><FONT COLOR="{letters}">{_escaped(text)}</FONT>'
        "</TD>"
    )


def _pruned(parts: Sequence[TreePart]) -> tuple[TreePart, ...]:
    """Leave out what has no value."""
    kept = []
    for part in parts:
        attributes = tuple(one for one in part.attributes if one.values)
        children = _pruned(part.children)
        if attributes or children:
            kept.append(replace(part, attributes=attributes, children=children))
    return tuple(kept)


def _escaped(text: str) -> str:
    """Escape a text for a table of Graphviz, whose letters are those of XML."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return html.escape(" ".join(printable.split())).replace("\\", "\\\\") or " "


def _quoted(text: str) -> str:
    """Write a name of a node: no marks of the language in it."""
    plain = "".join(c if c.isprintable() and c not in '"\\' else " " for c in text)
    return f'"{plain}"'


def _mixed(colour: str, share: float) -> str:
    """Mix a colour with white."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 + (part - 255) * share):02x}" for part in parts)


def _darker(colour: str) -> str:
    return "#" + "".join(f"{round(int(colour[i : i + 2], 16) * 0.75):02x}" for i in (1, 3, 5))


def _graphviz() -> ModuleType:
    return need("pygraphviz", extra="draw", what="Drawing a concept tree")


def _render(dot: str, kind: str) -> bytes:
    """Have Graphviz lay out and draw."""
    pygraphviz = _graphviz()
    with _lock, _without_chatter():
        try:
            graph = pygraphviz.AGraph(string=dot)
            data = graph.draw(format=kind, prog="dot")
            graph.close()
        except (OSError, ValueError, RuntimeError) as error:
            raise ShowtellError(f"Graphviz cannot draw the tree: {error}.") from error
    drawn = bytes(data) if isinstance(data, bytes | bytearray) else str(data).encode()
    if kind == "svg":  # without its document type, so that a page can hold it
        drawn = drawn[max(drawn.find(b"<svg"), 0) :]
    return drawn


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep back what Graphviz's font library says about newer settings of the system."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, ValueError, AttributeError):  # there is no such stream
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            lines = held.read().decode(errors="replace").splitlines()
    if any(_TOO_LARGE in line for line in lines):
        warnings.warn(
            "The tree is too large for one picture to be readable. Write an .svg, or draw a part "
            "of it.",
            stacklevel=5,
        )
    for line in lines:
        if not line.startswith(_QUIET) and _TOO_LARGE not in line:
            os.write(2, f"{line}\n".encode())
