"""Plots of records and curves on matplotlib axes, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from showtell._extras import need
from showtell.errors import InputError

if TYPE_CHECKING:
    from showtell.evaluate.curve import ShotCurve
    from showtell.evaluate.record import Record

__all__ = [
    "plot_confusion",
    "plot_per_class",
    "plot_reliability",
    "plot_risk_coverage",
    "plot_shot_curve",
]

_BLUE, _GREY = "#0b5c8a", "#737b83"


def _axes(ax: Any, width: float, height: float) -> Any:
    """Use the axes given, or make some."""
    if ax is not None:
        return ax
    pyplot = need("matplotlib.pyplot", extra="plot", what="Plotting")
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def plot_confusion(record: Record, ax: Any = None, *, normalise: bool = True) -> Any:
    """Draw the confusion matrix (extra ``plot``); returns the matplotlib axes.

    Parameters
    ----------
    ax : matplotlib axes, optional
        Where to draw; new ones if not given.
    normalise : bool, default=True
        Whether colours are shares of the row.
    """
    counts = record.confusion
    if not counts[:, -1].any():
        counts = counts[:, :-1]
    names = [*record.classes, "no answer"][: counts.shape[1]]
    n = len(record.classes)
    size = max(3.5, 0.42 * n + 1.5)
    ax = _axes(ax, size, size)
    rows = counts.sum(axis=1, keepdims=True)
    shown = counts / np.maximum(rows, 1) if normalise else counts
    ax.imshow(shown, cmap="Blues", vmin=0, vmax=1 if normalise else None)
    ax.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
    ax.set_yticks(range(n), record.classes, parse_math=False)
    ax.set_xlabel("answered")
    ax.set_ylabel("actual")
    if n <= 30:
        limit = 0.6 if normalise else 0.6 * max(int(counts.max()), 1)
        for i, j in np.argwhere(counts > 0).tolist():
            colour = "white" if shown[i, j] > limit else "black"
            ax.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize=8)
    ax.set_title("Confusion")
    return ax


def plot_reliability(record: Record, ax: Any = None) -> Any:
    """Draw accuracy against confidence with intervals (extra ``plot``); returns the axes."""
    bins = [b for b in record.reliability if b["n"]]
    if not bins:
        raise InputError("This record has no confidences, so there is no calibration to draw.")
    ax = _axes(ax, 4.5, 4.5)
    x = np.array([b["confidence"] for b in bins])
    y = np.array([b["accuracy"] for b in bins])
    low = np.array([b["accuracy_low"] for b in bins])
    high = np.array([b["accuracy_high"] for b in bins])
    ax.plot([0, 1], [0, 1], linestyle="--", color=_GREY, linewidth=1)
    ax.errorbar(
        x,
        y,
        yerr=[np.maximum(y - low, 0), np.maximum(high - y, 0)],
        fmt="o-",
        color=_BLUE,
        capsize=2,
    )
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    ax.set_title(
        f"Calibration: ECE {record.metrics['ece']:.3f} "
        f"(chance alone {record.metrics['ece_noise_floor']:.3f})"
    )
    return ax


def plot_risk_coverage(record: Record, ax: Any = None) -> Any:
    """Draw the error rate among the surest (extra ``plot``); returns the axes."""
    curve = record.risk_coverage
    if not len(curve.coverage):
        raise InputError("This record has no confidences, so there is no risk to draw.")
    ax = _axes(ax, 4.5, 4.0)
    ax.plot(curve.coverage, curve.risk, color=_BLUE)
    ax.set(xlim=(0, 1), xlabel="share answered, surest first", ylabel="wrong among them")
    ax.set_ylim(bottom=0)
    ax.set_title(f"Risk and coverage: area {curve.area:.3f}")
    return ax


def plot_per_class(record: Record, ax: Any = None) -> Any:
    """Draw recall per label with its Wilson interval (extra ``plot``); returns the axes."""
    table = sorted(record.per_class.items(), key=lambda item: (item[1]["recall"], item[0]))
    ax = _axes(ax, 5.5, max(2.5, 0.28 * len(table) + 1))
    recall = np.array([row["recall"] for _, row in table])
    low = np.array([row["recall_low"] for _, row in table])
    high = np.array([row["recall_high"] for _, row in table])
    ax.barh(range(len(table)), recall, color=_BLUE, alpha=0.75)
    spread = [np.maximum(recall - low, 0), np.maximum(high - recall, 0)]
    ax.errorbar(recall, range(len(table)), xerr=spread, fmt="none", color=_GREY, capsize=2)
    ax.set_yticks(range(len(table)), [label for label, _ in table], parse_math=False)
    ax.set(xlim=(0, 1), xlabel="recall")
    return ax


def plot_shot_curve(curve: ShotCurve, ax: Any = None) -> Any:
    """Draw accuracy against shots with its interval, and a dot per seed."""
    points = [p for p in curve.points if p.accuracy is not None]
    if not points:
        raise InputError("No point of this curve could be run, so there is nothing to draw.")
    ax = _axes(ax, 5.5, 3.8)
    x = [p.shots for p in points]
    ax.fill_between(x, [p.low for p in points], [p.high for p in points], color=_BLUE, alpha=0.15)
    ax.plot(x, [p.accuracy for p in points], "o-", color=_BLUE)
    for point in points:
        ax.plot([point.shots] * len(point.per_seed), point.per_seed, ".", color=_GREY, alpha=0.6)
    ax.set_xscale("function", functions=(np.sqrt, np.square))
    ax.set_xticks(x, [str(s) for s in x])
    ax.set(xlabel="labelled images per label", ylabel="accuracy")
    return ax
