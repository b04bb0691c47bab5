"""The numbers of a record, from predictions and true labels alone."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell import metrics as m
from showtell.classify.predictions import Predictions

_TOP_K = (3, 5)
_SCORES = (
    "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_precision",
    "weighted_recall", "weighted_f1", "n_correct", "n_answered",
)  # fmt: skip
_BINS = {
    "low": "lower", "high": "upper", "n": "n", "confidence": "mean_confidence",
    "accuracy": "accuracy", "accuracy_low": "low", "accuracy_high": "high",
}  # fmt: skip


def calibration_rows(
    predictions: Predictions, y_true: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp]]:
    """Confidence, correctness and number of the rows with a best label, abstained ones included.

    Abstaining hides a label; it does not change how honest its probability was.
    """
    rows = np.flatnonzero((predictions.codes >= 0) & np.isfinite(predictions.confidence_all))
    confidence = predictions.confidence_all[rows].astype(np.float64)
    return confidence, predictions.codes[rows] == y_true[rows], rows


def measure(
    predictions: Predictions, y_true: NDArray[np.int32], *, cost_usd: Decimal | None
) -> dict[str, Any]:
    """Compute the metrics of a record; keys as `Record.metrics` lists them."""
    classes = predictions.classes
    y_pred = np.where(predictions.ok, predictions.codes, m.NO_ANSWER)
    s = m.scores(y_true, y_pred, len(classes))
    counts = predictions.counts
    answered = m.accuracy_interval(s.n_correct, s.n_answered) if s.n_answered else None
    table = s.per_class
    return {
        "n_samples": s.n_samples,
        "accuracy": s.accuracy,
        "accuracy_low": s.low,
        "accuracy_high": s.high,
        **{name: getattr(s, name) for name in _SCORES},
        "n_abstained": counts["abstained"],
        "n_errors": counts["error"],
        "coverage": s.coverage,
        "accuracy_answered": s.accuracy_answered if s.n_answered else None,
        "accuracy_answered_low": answered.low if answered else None,
        "accuracy_answered_high": answered.high if answered else None,
        **_probabilities(predictions, y_true),
        "cost_usd": None if cost_usd is None else _json_number(cost_usd),
        "per_class": {
            label: {name: column[i].item() for name, column in vars(table).items()}
            for i, label in enumerate(classes)
        },
    }


def _probabilities(predictions: Predictions, y_true: NDArray[np.int32]) -> dict[str, Any]:
    """Measure confidences and probabilities; None where there are none."""
    values: dict[str, Any] = {f"top_{k}_accuracy": None for k in _TOP_K}
    values |= dict.fromkeys(("ece", "ece_noise_floor", "ece_n", "auroc", "brier", "nll"))
    confidence, correct, _ = calibration_rows(predictions, y_true)
    if len(confidence):
        confidence = np.clip(confidence, 0.0, 1.0)
        auroc = m.auroc_of_correctness(confidence, correct)
        values |= {
            "ece": m.ece(confidence, correct),
            "ece_noise_floor": m.ece_noise_floor(confidence),
            "ece_n": len(confidence),
            "auroc": None if math.isnan(auroc) else auroc,
        }
    proba = predictions.proba
    if proba is None:
        return values
    for k in _TOP_K:
        if k < len(predictions.classes):
            values[f"top_{k}_accuracy"] = m.top_k_accuracy(proba, y_true, k=k)
    known = np.isfinite(proba).all(axis=1)
    if known.any():
        values |= {
            "brier": m.brier(proba[known], y_true[known]),
            "nll": m.nll(proba[known], y_true[known]),
        }
    return values


def _json_number(cost: Decimal) -> int | float:
    """Give money as a JSON number: 0 stays 0."""
    return int(cost) if cost == cost.to_integral_value() else float(cost)


def reliability(predictions: Predictions, y_true: NDArray[np.int32]) -> list[dict[str, Any]]:
    """Tabulate accuracy by confidence, as JSON values; empty where there is no confidence."""
    confidence, correct, _ = calibration_rows(predictions, y_true)
    if not len(confidence):
        return []
    table = m.reliability_table(np.clip(confidence, 0.0, 1.0), correct)
    columns = (getattr(table, column).tolist() for column in _BINS.values())
    return [
        {name: None if math.isnan(v) else v for name, v in zip(_BINS, row, strict=True)}
        for row in zip(*columns, strict=True)
    ]


def risk_coverage(predictions: Predictions, y_true: NDArray[np.int32]) -> m.CoverageRisk:
    """Trace the error rate among the surest rows; coverage counts all rows."""
    confidence, correct, rows = calibration_rows(predictions, y_true)
    everyone = np.full(len(predictions), np.nan)
    everyone[rows] = confidence
    right = np.zeros(len(predictions), bool)
    right[rows] = correct
    return m.coverage_risk(everyone, right)
