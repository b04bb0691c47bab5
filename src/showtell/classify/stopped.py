"""A run that was ended midway: every input has its row, and says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from showtell.classify.predictions import Predictions
from showtell.errors import BudgetError, RunError, RunInterrupt
from showtell.tables import STATUSES


def why_stopped(error: RunError | KeyboardInterrupt) -> str:
    """Say to an input that was not asked about what ended the run."""
    if isinstance(error, BudgetError):
        return (
            f"stopped by the cap of {error.cap}; raise it and run the same command again to go on"
        )
    if isinstance(error, RunError):
        return f"not asked, since the run ended: {' '.join(str(error).split())}"
    return "stopped by Ctrl-C; run the same command again to go on"


def hand_on(stop: RunError | KeyboardInterrupt, predictions: Predictions) -> NoReturn:
    """Raise what ended a run, with the rows there are."""
    if isinstance(stop, RunError):
        stop.predictions = predictions
        raise stop
    raise RunInterrupt(predictions) from stop


def nothing_asked(
    images: Sequence[str], classes: Sequence[str], stop: RunError | KeyboardInterrupt
) -> Predictions:
    """Give every input the row that says why nothing was asked about it."""
    n, line = len(images), why_stopped(stop)
    return Predictions(
        images=images,
        classes=tuple(classes),
        codes=np.full(n, -1, np.int32),
        confidence_all=np.full(n, np.nan, np.float32),
        status_codes=np.full(n, STATUSES.index("error"), np.int8),
        errors=dict.fromkeys(range(n), line),
        columns={"reason": ["stopped"] * n},
    )
