"""Descriptions on their way out: what was written, what is odd about it, what has changed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from showtell import prompts
from showtell.cli.output import counted, print_json, print_rows
from showtell.cli.session import Session, printable
from showtell.cli.writing import WHY_NO_DESCRIPTION, print_descriptions, say_dropped
from showtell.errors import InputError

if TYPE_CHECKING:
    from showtell.prompts import Described, DescriptionDiff, DescriptionNote, DescriptionSet


def say_gaps(session: Session, found: Described) -> None:
    """Name the labels that the model wrote nothing, or not all, about."""
    for label, reason in found.gaps.items():
        n = len(found.descriptions[label])
        if n:
            session.note(f"{label}: {counted(n, 'description')}; a question failed: {reason}")
        else:
            session.note(f"no descriptions of {label}: {reason}")
    say_dropped(session, found.dropped, WHY_NO_DESCRIPTION)


def print_described(
    session: Session,
    made: DescriptionSet,
    notes: Sequence[DescriptionNote],
    changes: DescriptionDiff | None,
    *,
    facts: Mapping[str, Any] | None,
    written: bool,
) -> None:
    """Print what was written, unless a file has it (`written`), and what has changed.

    Parameters
    ----------
    session : Session
    made : DescriptionSet
    notes : sequence of DescriptionNote
    changes : DescriptionDiff or None
    facts : mapping or None
        All of it is printed as JSON, with these.
    written : bool
    """
    if facts is not None:
        print_json({
            **facts,
            "notes": [vars(note) for note in notes],
            **({} if changes is None else {"diff": changes.to_dict()}),
            "descriptions": {label: list(made[label]) for label in made},
        })  # fmt: skip
        return
    if not written:
        print_descriptions(session, made, title=str(made.domain or ""))
    if changes is not None and written:
        _print_lines(str(changes))
    elif changes is not None:
        session.summary(str(changes))
    for note in notes:
        session.note(str(note))


def check_file(
    session: Session, file: str | None, labels: Sequence[str] | None, *, json: bool
) -> None:
    """Say what is odd about a file of descriptions."""
    if file is None:
        raise InputError(
            "Which file? --check without --model looks over DATA, a file of descriptions."
        )
    found = prompts.read_descriptions(file)
    notes = found.check(labels)
    if json:
        print_json({
            "file": file,
            "kind": found.kind,
            "n_labels": len(found),
            "n_descriptions": found.n_descriptions,
            "notes": [vars(note) for note in notes],
        })  # fmt: skip
    else:
        rows = [(note.kind, note.label, note.text, note.message) for note in notes]
        print_rows(session, ("what", "label", "text", "note"), rows)
    session.summary(
        f"{file}: {found.n_descriptions:,} {found.kind} of {counted(len(found), 'label')}; "
        f"{counted(len(notes), 'remark')}"
    )


def print_diff(
    session: Session, before: DescriptionSet, after: DescriptionSet, *, json: bool
) -> None:
    """Print what differs between two sets."""
    changes = before.diff(after)
    if json:
        print_json(changes.to_dict())
    else:
        _print_lines(str(changes))
    session.detail("The sets are the same." if not changes else "The sets differ.")


def _print_lines(text: str) -> None:
    sys.stdout.write("".join(f"{printable(line)}\n" for line in text.splitlines()))
