"""From the answers about one image to its label and probabilities, or the reason why none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.classify.asking.access import COLUMNS
from showtell.classify.asking.arguments import Confidence
from showtell.classify.asking.confidence import (
    UNKNOWN_CONFIDENCE,
    ConfidenceMap,
    spread,
    with_confidence,
)
from showtell.classify.asking.learning import Evidence, named_by
from showtell.classify.asking.running import RunResult
from showtell.classify.asking.state import ImageState, ViewAnswer, why_unlabelled
from showtell.classify.predictions import Predictions
from showtell.media import Media, media_name
from showtell.metrics import count_votes, geometric_mean
from showtell.tables import STATUSES


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Outcome of one distinct image."""

    code: int
    row: NDArray[np.float64]
    confidence: float
    status: int
    reason: str | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Judges the images of one run."""

    classes: NDArray[np.generic]
    confidence: Confidence | None
    n_rotations: int
    seed: int
    calibration: ConfidenceMap
    abstain_below: float | None

    def evidence(self, item: ImageState) -> Evidence | None:
        """Put the answers about one image together; None if none names a label.

        Answers to rotations of one list are averaged geometrically where they give probabilities,
        which cancels a preference for places; repetitions are averaged or counted.
        """
        n = len(self.classes)
        views = sorted(item.answers)
        answered = [view for view in views if item.answers[view].code is not None]
        if not answered:
            return None
        if self.confidence == "votes":
            given = [item.answers[view] for view in views]
            code, row = self._counted(item, given, n)
        else:
            samples: dict[int, list[NDArray[np.float64]]] = {}
            for view in answered:
                row = self._row_of(item.answers[view], n)
                samples.setdefault(view // self.n_rotations, []).append(row)
            weighs = self.confidence in ("logprobs", "decisions")
            means = [
                geometric_mean(rows) if weighs and len(rows) > 1 else np.mean(rows, axis=0)
                for rows in samples.values()
            ]
            row = np.average(means, axis=0, weights=[len(rows) for rows in samples.values()])
            code = int(row.argmax())
        named = None
        if self.confidence not in ("logprobs", "decisions"):
            named = named_by([int(item.answers[view].code or 0) for view in answered], n)
        return Evidence(code=code, row=row, named=named)

    def verdict(self, item: ImageState | None, evidence: Evidence | None) -> Judged:
        """Turn what answers come to into the outcome of an image."""
        n = len(self.classes)
        if evidence is None:
            first = None if item is None else item.answers[min(item.answers)]
            abstained = first is None or first.reason == "out_of_set"
            error = None
            if first is not None and item is not None and not abstained:
                error = why_unlabelled(first, item.spent.n_answers)
            return Judged(
                code=-1,
                row=np.full(n, 1 / n),
                confidence=np.nan,
                status=STATUSES.index("abstained" if abstained else "error"),
                reason=None if first is None else first.reason,
                error=error,
            )
        code, row = evidence.code, evidence.row
        sure = float(row[code])
        if self.calibration.kind != "none":
            row = with_confidence(row, code, float(self.calibration.apply(sure)))
            sure = float(row[code])
        status, reason = 0, None
        if self.abstain_below is not None and sure < self.abstain_below:
            status, reason = STATUSES.index("abstained"), "unsure"
        return Judged(code=code, row=row, confidence=sure, status=status, reason=reason, error=None)

    def _row_of(self, given: ViewAnswer, n: int) -> NDArray[np.float64]:
        assert given.code is not None
        if given.row is not None:
            return given.row
        known = given.confidence
        return spread(given.code, UNKNOWN_CONFIDENCE if known is None else known, n)

    def _counted(
        self, item: ImageState, given: Sequence[ViewAnswer], n: int
    ) -> tuple[int, NDArray[np.float64]]:
        """Shares of the votes; no answer counts in the shares, and ties are drawn by name."""
        codes = [-1 if g.code is None else g.code for g in given]
        by_name = np.argsort(self.classes.astype(np.str_), kind="stable")
        place = np.argsort(by_name, kind="stable")  # so that the order of labels decides nothing
        draw = int.from_bytes(hashlib.blake2b(item.digest.encode(), digest_size=4).digest(), "big")
        placed = [-1 if c < 0 else int(place[c]) for c in codes]
        votes = count_votes([placed], n, random_state=(self.seed + draw) % 2**32)
        counts = np.bincount([c for c in codes if c >= 0], minlength=n).astype(np.float64)
        row = counts / len(codes) + codes.count(-1) / len(codes) / n
        code = int(by_name[votes.codes[0]])
        return code, with_confidence(row, code, float(row[code]))


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
