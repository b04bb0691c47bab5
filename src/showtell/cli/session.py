"""One invocation of the command line: how much it says, and where."""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from showtell._clean import without_secrets
from showtell._progress import Progress, no_progress
from showtell.cli.flags import flag_of, parameter_of
from showtell.cli.settings import FILE_NAME, found_beside

if TYPE_CHECKING:
    import typer
    from rich.console import Console

    from showtell.runs import Event

_NAMED = re.compile(r"`([a-z][a-z0-9_]*)`")
_RESUME = "Images that were embedded are kept: run the same command again to go on from there."


def is_terminal(stream: TextIO) -> bool:
    """Say whether a person sees what is written to `stream`."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def printable(text: str) -> str:
    r"""Show control characters as escapes, so that a file name cannot steer a terminal.

    Examples
    --------
    >>> printable("cat\x1b[31m.jpg")
    'cat\\x1b[31m.jpg'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


@dataclass
class Session:
    """How much this invocation says, and what it has said already."""

    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    resume_hint: str = _RESUME
    live: Callable[[], str] = str
    """Asked for a few words to show beside the progress, such as what was spent so far."""
    parameters: frozenset[str] = frozenset()
    """Of the command that runs."""
    started: float = field(default_factory=time.perf_counter)
    _said: set[str] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def error(self, message: str) -> None:
        """Say in one line what went wrong; not even -q hides it."""
        self._say(f"showtell: {message}")

    def note(self, message: str) -> None:
        """Say something once; -q hides it."""
        line = " ".join(message.split())
        if not self.quiet and line not in self._said:
            self._said.add(line)
            self._say(f"note: {line}")

    def always(self, message: str) -> None:
        """Say something once that not even -q hides, such as where pictures go."""
        line = " ".join(message.split())
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def summary(self, message: str) -> None:
        """Say how it ended; -q hides it."""
        if not self.quiet:
            self._say(message)

    def flag_of(self, name: str) -> str:
        """Say what the command calls a parameter of the library, if it has it."""
        known = parameter_of(name) in self.parameters
        return flag_of(name) if known else f"`{name}`"

    def tell(self, event: Event) -> None:
        """Say what a job says."""
        text = _NAMED.sub(lambda found: self.flag_of(found[1]), event.text)
        if event.kind == "resume":
            self.resume_hint = text
        else:
            say = {"note": self.note, "detail": self.detail, "line": self.summary}
            say.get(event.kind, self.always)(text)

    def detail(self, message: str) -> None:
        """Say something that only -v asks for."""
        if self.verbose or self.debug:
            self._say(message)

    def _say(self, message: str) -> None:
        try:
            print(printable(without_secrets(message)), file=sys.stderr, flush=True)  # noqa: T201
        except BrokenPipeError:  # nobody listens
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123

    def show_warnings_as_notes(self) -> None:
        """Print warnings of showtell as one-line notes; others only under --debug."""

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            ours = category.__module__.startswith("showtell") or (
                issubclass(category, UserWarning) and f"{os.sep}showtell{os.sep}" in filename
            )
            if ours:
                self.note(str(message))
            elif self.debug:
                self.note(f"{category.__name__}: {message} ({filename}:{lineno})")

        warnings.simplefilter("default")
        warnings.showwarning = show

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Draw progress on stderr while a person watches; else do nothing."""
        if self.quiet or not is_terminal(sys.stderr):
            yield no_progress
            return
        from rich import progress as rich

        columns = (
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TimeRemainingColumn(),
        )
        with rich.Progress(*columns, console=self.console(sys.stderr), transient=True) as bar:
            tasks: dict[str, Any] = {}

            def report(done: int, total: int, stage: str) -> None:
                if stage not in tasks:
                    tasks[stage] = bar.add_task(stage, total=total)
                words = f"{stage}  {self.live()}".rstrip()
                bar.update(tasks[stage], completed=done, total=total, description=words)

            yield report

    def console(self, stream: TextIO) -> Console:
        """Make a rich console that takes text as it is: no markup, no guessing of numbers."""
        from rich.console import Console

        seen = is_terminal(stream) or None  # None: rich finds out
        return Console(file=stream, force_terminal=seen, markup=False, highlight=False, emoji=False)


def begin(ctx: typer.Context) -> Session:
    """Take the session of this invocation and set how much it says."""
    session: Session = ctx.obj
    session.parameters = frozenset(ctx.params)
    session.quiet, session.verbose = ctx.params["quiet"], ctx.params["verbose"]
    session.debug = ctx.params["debug"]
    taken = found_beside(ctx)
    if taken:
        session.note(f"{FILE_NAME} in this folder sets {', '.join(taken)}.")
    return session
