"""From what became of all inputs to their rows."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.classify.asking.access import COLUMNS
from showtell.classify.asking.judging import Judged
from showtell.classify.asking.running import RunResult
from showtell.classify.predictions import Predictions
from showtell.media import Media, media_name
from showtell.tables import STATUSES


def to_predictions(
    images: Sequence[Media],
    asked: RunResult,
    judged: Sequence[Judged],
    classes: NDArray[Any],
    *,
    has_proba: bool,
) -> Predictions:
    """Spread the outcomes of distinct images, as judged, over all inputs."""
    n_rows, n = len(images), len(classes)
    distinct = asked.distinct
    at_error = STATUSES.index("error")
    codes = np.array([*(j.code for j in judged), -1], np.int32)
    sure = np.array([*(j.confidence for j in judged), np.nan], np.float32)
    status = np.array([*(j.status for j in judged), at_error], np.int8)
    rows = np.array([j.row for j in judged], np.float32).reshape(len(judged), n)
    errors = dict(asked.errors)
    for row, d in enumerate(distinct.tolist()):
        if d >= 0 and (line := judged[d].error) is not None:
            errors[row] = line
    shown = np.where(status[distinct] == at_error, -1, distinct) if n_rows else distinct
    return Predictions(
        images=[media_name(images[i]) for i in range(n_rows)],
        classes=tuple(str(label) for label in classes.tolist()),
        codes=codes[distinct],
        confidence_all=sure[distinct] if has_proba else np.full(n_rows, np.nan, np.float32),
        status_codes=status[distinct],
        errors=dict(sorted(errors.items())),
        distinct_proba=rows if has_proba else None,
        distinct=shown if has_proba else None,
        columns=_columns(asked, judged),
        price_usd=_sum_of([item.spent.price_usd for item in asked.items]),
        n_in_doubt=asked.doubts[0],
        in_doubt_usd=asked.doubts[1],
    )


def _columns(asked: RunResult, judged: Sequence[Judged]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for row, d in enumerate(asked.distinct.tolist()):
        values: tuple[Any, ...]
        if d < 0:
            is_stopped = asked.stopped and asked.errors.get(row) == asked.stopped
            values = (Decimal(0), 0, 0, False, 0.0, "stopped" if is_stopped else "image")
        else:
            item, reason = asked.items[d], judged[d].reason
            spent = item.spent
            if item.first_row == row:
                values = (
                    spent.cost_usd,
                    spent.input_tokens,
                    spent.output_tokens,
                    spent.from_cache,
                    spent.seconds,
                    reason,
                )
            else:
                values = (Decimal(0), 0, 0, True, 0.0, reason)
        for name, value in zip(COLUMNS, values, strict=True):
            columns[name].append(value)
    return columns


def _sum_of(prices: Sequence[Decimal | None]) -> Decimal | None:
    known = [price for price in prices if price is not None]
    return sum(known, Decimal(0)) if len(known) == len(prices) else None
