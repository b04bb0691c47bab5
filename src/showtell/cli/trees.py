"""Concept trees on their way out: drawn, printed a value a line, and what they lack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from showtell import prompts
from showtell.cli.output import counted, print_json, print_rows
from showtell.cli.session import Session
from showtell.cli.writing import say_dropped
from showtell.errors import InputError

if TYPE_CHECKING:
    from showtell.prompts import Built, ConceptTree

_LEGIBLE = 150  # values of a drawing that can still be read at a glance
_SHOWN_GAPS = 8


@dataclass(frozen=True)
class Drawing:
    """What of a tree is drawn or printed, and where."""

    session: Session
    file: Path | None
    part: str | None
    labels: Sequence[str] | None

    def __post_init__(self) -> None:
        if self.file is not None:
            from showtell.prompts.concepts.tree_drawing import (
                check_drawing,  # only where something is drawn
            )

            check_drawing(self.file)

    def check(self, wanted: Sequence[str], layout: str) -> None:
        """Refuse a label that no value will have, before anything is paid."""
        if not self.labels:
            return
        if layout == "merged":
            raise InputError(
                "--label needs --layout per-label: in a merged tree values belong to no label."
            )
        unknown = [label for label in self.labels if label not in wanted]
        if unknown:
            none = ", ".join(map(repr, unknown))
            raise InputError(f"--label {none} is none of the labels: {', '.join(wanted)}.")

    def draw(self, tree: ConceptTree) -> None:
        """Draw it, if a file was named."""
        if self.file is None:
            return
        prompts.draw_concepts(tree, self.file, part=self.part, labels=self.labels or None)
        self.session.summary(f"wrote {self.file}")
        n = (tree.restricted(labels=self.labels) if self.labels else tree).n_values
        if self.part is None and n > _LEGIBLE:
            self.session.note(f"{counted(n, 'value')}; --part NAME draws one part.")

    def print(self, tree: ConceptTree) -> None:
        """Print a value a line."""
        above: tuple[str, ...] = ()
        if self.part is not None:
            path = prompts.find_part(tree, self.part)
            above, tree = path[:-1], tree.restricted(part=path)
        if self.labels:
            self.check(tree.labels, "per-label")
            tree = tree.restricted(labels=self.labels)
        rows = [
            (" > ".join((*above, *path)), attribute.name, value.text, "; ".join(value.labels))
            for path, part in tree.walk()
            for attribute in part.attributes
            for value in attribute.values
        ]
        print_rows(self.session, ("part", "attribute", "value", "labels"), rows, title=tree.domain)


def look_at(session: Session, file: str, drawing: Drawing, *, has_model: bool, json: bool) -> None:
    """Print or draw a tree that is there."""
    tree = prompts.read_concepts(file)
    if has_model:
        raise InputError(
            f"{file!r} is a tree. To fill what it lacks, name the domain and the file: showtell "
            f'concepts "{tree.domain}" --labels ... --model ... -o {file}'
        )
    drawing.draw(tree)
    if json:
        gaps = [gap.to_dict() for gap in tree.gaps]
        print_json({**tree.counts(), "gaps": gaps, "tree": tree.to_record()})
    elif drawing.file is None:
        drawing.print(tree)
    session.summary(f"{file}: {sizes(tree)}")


def sizes(tree: ConceptTree) -> str:
    """Count what it has and lacks."""
    counts = tree.counts()
    names = ("part", "attribute", "value", "clue")
    had = ", ".join(counted(counts[f"n_{name}s"], name) for name in names)
    return f"{had}; {counted(counts['n_gaps'], 'gap')}"


def say_gaps(session: Session, built: Built) -> None:
    """Name what the tree lacks."""
    gaps = built.gaps
    shown = gaps if len(gaps) <= _SHOWN_GAPS else gaps[: _SHOWN_GAPS - 1]
    for gap in shown:
        session.note(f"no {gap}")
    for gap in gaps[len(shown) :]:
        session.detail(f"no {gap}")
    if len(gaps) > len(shown):
        session.note(f"{counted(len(gaps) - len(shown), 'more gap')}; -v lists them.")
    say_dropped(session, built.dropped, "no value, too long, repeated, or naming a label")
