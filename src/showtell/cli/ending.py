"""How an invocation ends: exit codes, files that could not be written, runs without an answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from showtell.cli.output import (
    print_json,
    print_predictions,
    rows_as_json,
    say_what_is_kept,
)
from showtell.cli.session import Session
from showtell.errors import ShowtellError

if TYPE_CHECKING:
    from showtell.classify.predictions import Predictions
    from showtell.runs import Job

EXIT_OK, EXIT_FAILED, EXIT_INPUT, EXIT_STOPPED, EXIT_UNWRITTEN = 0, 1, 2, 3, 4
"""All inputs got a row; the run failed, or not one input got an answer; bad usage or input;
stopped, and can be resumed; all was computed, but a file could not be written."""


def got_answers(predictions: Predictions | None) -> bool:
    """Whether anything else than errors came of a run."""
    return predictions is not None and predictions.counts["error"] < len(predictions)


def fail_without_answers(session: Session, *runs: tuple[str, Predictions]) -> None:
    """End with exit code 1 where every image of every run is an error.

    Parameters
    ----------
    session : Session
    *runs : tuple of str and Predictions
        Name, "" for the only one, and rows.

    Raises
    ------
    typer.Exit
    """
    lost = [(name, p) for name, p in runs if len(p) and not got_answers(p)]
    all_lost = lost and len(lost) == len([1 for _, p in runs if len(p)])
    for name, predictions in lost:
        first = next(iter(predictions.errors.values()))
        before = f"{name}: not" if name else "Not"
        line = f"{before} one image got an answer. The first reason: {first}"
        if all_lost:
            session.error(line)
        else:
            session.note(line)
    if all_lost:
        raise typer.Exit(EXIT_FAILED)


class Writing:
    """Writes files one after the other; one that fails is named and stops no other.

    Examples
    --------
    >>> writing = Writing(Session(quiet=True))
    >>> def full():
    ...     raise OSError(28, "No space left on device")
    >>> writing.write("page.html", full)
    False
    >>> writing.failed
    ['page.html']
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pipe: BrokenPipeError | None = None
        self.failed: list[str] = []
        """Names of the files that could not be written."""

    def write(self, name: object, work: Callable[[], object], said: str | None = "") -> bool:
        """Write one file.

        Parameters
        ----------
        name : object
            Of the file, for messages.
        work : callable
        said : str or None, default=""
            What is said of it if it is not its name; None for nothing.

        Returns
        -------
        written : bool
        """
        try:
            work()
        except (OSError, ShowtellError) as error:
            self.fail(name, why_unwritten(error))
            return False
        if said is not None:
            self._session.summary(f"wrote {said or name}")
        return True

    def predictions(
        self,
        predictions: Predictions,
        output: Path | None,
        *,
        proba: bool,
        escape_formulas: bool = False,
        json: bool = False,
        said: str = "",
    ) -> None:
        """Write or print a row per image; where a file takes none, they are printed.

        So what was paid for is not lost for want of a place.
        """
        of_rows = {"proba": proba, "escape_formulas": escape_formulas}
        if json:
            self.print(lambda: print_json(rows_as_json(predictions, proba=proba)))
        if output is not None:
            written = self.write(output, lambda: predictions.write(output, **of_rows), said)
        if not json and (output is None or not written):
            self.print(lambda: print_predictions(self._session, predictions, **of_rows))

    def page(self, path: Path | None, draw: Callable[[Path], object]) -> None:
        """Draw a page, if one was asked for."""
        if path is not None:
            self.write(path, lambda: draw(path))

    def keep(
        self, job: Job, work: Callable[[], object], page: Callable[[Path], object] | None = None
    ) -> None:
        """Fill the run folder of a job, if it has one, and draw its page."""
        run = job.run
        if run is None:
            return
        if not run.is_dir():
            self.fail(run, "it was moved or removed while the run went on.")
            return
        kept = self.write(run, work, said=None)
        if page is None:
            return
        place = run / "report.html"
        if self.write(place, lambda: page(place), said=None) and kept:
            say_what_is_kept(self._session, run)

    def fail(self, name: object, why: str) -> None:
        """Note that a file could not be written."""
        self.failed.append(str(name))
        self._session.error(f"{name} could not be written: {why}")

    def print(self, work: Callable[[], object]) -> None:
        """Print what came of it; a reader that had enough, or a full disk, stops no file."""
        try:
            work()
            sys.stdout.flush()
        except BrokenPipeError as error:
            self._pipe = error
            forget_stdout()
        except OSError as error:
            self.fail("standard output", why_unwritten(error))
            forget_stdout()

    def end(self) -> None:
        """End with exit code 4 where something could not be written.

        Raises
        ------
        typer.Exit
        BrokenPipeError
            If nobody reads what is printed.
        """
        if self.failed:
            it = "it" if len(self.failed) == 1 else "them"
            self._session.error(
                f"All was computed, but {', '.join(self.failed)} could not be written. Make room "
                f"or give another place, and run the same command again for {it}."
            )
            raise typer.Exit(EXIT_UNWRITTEN)
        if self._pipe is not None:
            raise self._pipe


def forget_stdout() -> None:
    """Keep the interpreter from complaining at exit about a place that takes nothing."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):  # stdout is not a real file
        return


def why_unwritten(error: BaseException) -> str:
    """Say why a file could not be written, in one line."""
    if isinstance(error, OSError) and not isinstance(error, ShowtellError):
        return f"{error.strerror or error}."
    return " ".join(str(error).split())
