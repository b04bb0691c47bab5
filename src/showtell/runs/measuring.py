"""A measurement as a job: one score, and a curve over numbers of examples where one is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import showtell.evaluate as measuring
from showtell._progress import Progress, no_progress
from showtell.classify import table
from showtell.errors import InputError, RunError, RunInterrupt
from showtell.runs.job import Job

if TYPE_CHECKING:
    from showtell.evaluate import Record, ShotCurve
    from showtell.runs.data import Parts


@dataclass(kw_only=True)
class MeasuringJob(Job):
    """A classifier that is measured on labelled images.

    Parameters
    ----------
    curve : sequence of int, optional
        Numbers of examples per label that are measured besides.
    seeds : int, default=5
        Draws per number.
    """

    verb: str = "evaluate"
    curve: Sequence[int] | None = None
    seeds: int = 5

    def __post_init__(self) -> None:
        if self.curve is not None:
            self.steps = 2

    def check_curve(self, *, learns: bool) -> None:
        """Refuse a curve over numbers of examples where there is none to be had.

        Raises
        ------
        InputError
            If the method does not learn, or asks through batch jobs.
        """
        if self.curve is None:
            return
        if not learns or not self.recipe.row(examples=True).curves:
            able = ", ".join(row.name for row in table.methods().values() if row.curves)
            raise InputError(
                f"`curve` learns from examples, so it goes with the methods {able}, and not with "
                "`shots` 0."
            )
        if self.recipe.option("jobs"):
            raise InputError(
                "`curve` asks one time after another, and each would take up to a day as batch "
                "jobs: leave out `curve` or `jobs`."
            )

    def measure_parts(
        self, parts: Parts, *, learns: bool, controls: bool = True, progress: Progress = no_progress
    ) -> tuple[Record, ShotCurve | None]:
        """Fit, classify what is to be scored, and run the curve where one is wanted.

        Parameters
        ----------
        parts : Parts
        learns : bool
            Whether the classifier is shown what may be learned from.
        controls : bool, default=True
        progress : callable, optional

        Raises
        ------
        RunError, RunInterrupt
            With the predictions that there are.
        """
        classifier = self.fit(parts.support if learns else None)
        record = self.measure(classifier, parts.test, controls=controls, progress=progress)
        if self.curve is None or parts.support is None:
            return record, None
        try:
            curve = measuring.shot_curve(
                classifier,
                parts.support,
                parts.test,
                shots=self.curve,
                seeds=self.seeds,
                progress=progress,
            )
        except (RunError, RunInterrupt) as stop:
            stop.predictions = record.predictions  # not those of a point of the curve
            raise
        return record, curve

    def keep(self, record: Record) -> None:
        """Fill the run folder."""
        assert self.run is not None
        record.save(self.run, report=False)
        self.finish(None)


def curve_numbers(text: str) -> tuple[int, ...]:
    """Read numbers of examples per label.

    Raises
    ------
    InputError
        If it holds anything else.

    Examples
    --------
    >>> curve_numbers("0,1,5")
    (0, 1, 5)
    """
    try:
        shots = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        shots = ()
    if not shots or min(shots) < 0:
        raise InputError(f"`curve_shots` needs numbers like 0,1,5,20; got {text!r}.")
    return shots
