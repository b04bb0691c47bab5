"""Progress as a callback, so that no room below the command line knows about terminals."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "no_progress"]


class Progress(Protocol):
    """Called as work advances: ``progress(done, total, stage)``."""

    def __call__(self, done: int, total: int, stage: str) -> None:
        """Report that `done` of `total` images of `stage` are finished."""


def no_progress(done: int, total: int, stage: str) -> None:
    """Ignore progress; the default everywhere."""
