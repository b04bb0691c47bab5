"""What a writing request asks: read from its marked lines, not from its prose."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["TASKS", "Assignment", "read_assignment"]

TASKS = (
    "describe-label",
    "describe-sentences",
    "find-concept",
    "describe-image",
    "mutate",
    "crossover",
    "parts",
    "attributes",
    "values",
    "judge-pair",
)
"""What the line ``Task:`` may name."""

_LINE = re.compile(r"([A-Z][a-z]+(?: [a-z]+)?):\s*(.*)$")
_ANSWER = re.compile(r"(?:First|Second) answer:\n<<<\n(.*?)\n>>>", re.DOTALL)
_NO_WORDS = {"-", "none", "nothing"}


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A task with what it is about."""

    task: str
    """One of `TASKS`."""
    label: str | None = None
    labels: tuple[str, ...] = ()
    """Those of the list, or else those that other lines speak of."""
    count: int | None = None
    """Texts per label that are wanted."""
    replace: int | None = None
    """Texts per label that are to be replaced."""
    current: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """Label to its texts, once for every version that is shown."""
    confused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label to those it is taken for, worst first."""
    good: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label to texts that are said to have helped."""
    bad: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label to texts that are said to have harmed."""
    domain: str | None = None
    part: str | None = None
    attributes: tuple[str, ...] = ()
    sample: int | None = None
    """Number of the repetition, where the same is asked several times."""
    answers: tuple[str, ...] = ()
    """The two that are to be compared, in their order."""


def read_assignment(texts: Sequence[str]) -> Assignment | None:
    r"""Read a writing request; None where no line ``Task: NAME`` names a known task.

    Lines that count: ``Task:``, ``Label:``, ``Count:``, ``Replace:``, ``Sample:``, ``Domain:``,
    ``Part:``, ``Attributes: a; b``, the list from ``Labels:`` to ``End of labels.``, and per label
    ``Current: label: text | text``, ``Confused: label: other, other``,
    ``Good words: label: text; text``, ``Bad words: ...``.

    Examples
    --------
    >>> asked = read_assignment(["Task: mutate\nLabels:\n- cat\n- dog\nEnd of labels.\nReplace: 1\n"
    ...     "Current: cat: fur | ears\nBad words: cat: fur; a promise\nThink well."])
    >>> asked.labels, asked.current["cat"], asked.bad["cat"], asked.replace
    (('cat', 'dog'), (('fur', 'ears'),), ('fur', 'a promise'), 1)
    >>> read_assignment(["Task: sing\nLabel: cat"]) is None
    True
    """
    lines = [line.strip() for text in texts for line in text.splitlines()]
    listed: list[str] = []
    fields: dict[str, str] = {}
    about: dict[str, list[str]] = {"Current": [], "Confused": [], "Good words": [], "Bad words": []}
    in_list = False
    for line in lines:
        if in_list:
            if line.casefold() == "end of labels.":
                in_list = False
            elif line.startswith("- ") and line[2:].strip() not in listed:
                listed.append(line[2:].strip())
            continue
        match = _LINE.match(line)
        if match is None:
            continue
        name, value = match[1], match[2].strip()
        if name == "Labels" and not value:
            in_list = True
        elif name in about:
            about[name].append(value)
        else:
            fields.setdefault(name, value)
    task = fields.get("Task", "")
    if task not in TASKS:
        return None
    current: dict[str, tuple[tuple[str, ...], ...]] = {}
    for value in about["Current"]:
        name, rest = _label_and_rest(value, listed)
        current[name] = (*current.get(name, ()), _split(rest, "|"))
    label = fields.get("Label") or None
    return Assignment(
        task=task,
        label=label,
        labels=tuple(listed) or tuple(current) or ((label,) if label else ()),
        count=_whole(fields.get("Count")),
        replace=_whole(fields.get("Replace")),
        current=current,
        confused=_by_label(about["Confused"], listed, ","),
        good=_by_label(about["Good words"], listed, ";"),
        bad=_by_label(about["Bad words"], listed, ";"),
        domain=fields.get("Domain") or None,
        part=fields.get("Part") or None,
        attributes=_split(fields.get("Attributes", ""), ";"),
        sample=_whole(fields.get("Sample")),
        answers=tuple(_ANSWER.findall("\n".join(texts))),
    )


def _by_label(
    values: Sequence[str], labels: Sequence[str], separator: str
) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for value in values:
        label, rest = _label_and_rest(value, labels)
        found[label] = (*found.get(label, ()), *_split(rest, separator))
    return found


def _label_and_rest(value: str, labels: Sequence[str]) -> tuple[str, str]:
    """Cut after the longest label that the value begins with, else after the first colon."""
    for label in sorted(labels, key=len, reverse=True):
        if value.startswith(f"{label}:"):
            return label, value[len(label) + 1 :]
    label, _, rest = value.partition(":")
    return label.strip(), rest


def _split(text: str, separator: str) -> tuple[str, ...]:
    pieces = tuple(piece.strip() for piece in text.split(separator))
    return tuple(piece for piece in pieces if piece and piece.casefold() not in _NO_WORDS)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
