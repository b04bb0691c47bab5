"""What a job says while it works: to a terminal, a page, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, kw_only=True)
class Event:
    """A sentence about how it goes."""

    kind: Literal["note", "detail", "line", "always", "resume"]
    """A "note" is worth knowing, a "detail" for those who ask, a "line" part of what comes of it;
    "always" is said even to those who want to hear nothing, such as where pictures go.
    "resume" says how to go on from there, should it be stopped from now on."""
    text: str


Tell: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """Say nothing; the default everywhere."""
