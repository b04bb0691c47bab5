"""Charts as inline SVG: no plotting library, colours from the page's style sheet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from showtell.words import count, percent

__all__ = [
    "draw_calibration",
    "draw_interval",
    "draw_risk_coverage",
    "draw_shot_curve",
    "drawing",
    "element",
]

_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 22, 12, 40


def element(template: str, **values: Any) -> Markup:
    """Fill in an element; values are escaped."""
    return Markup(template).format(**values)  # noqa: S704 (templates are ours)


def drawing(
    kind: str, width: float, height: float, parts: Iterable[Markup], label: str, title: str = ""
) -> Markup:
    """Close a drawing.

    Parameters
    ----------
    kind : str
        Its class in the style sheet.
    width, height : float
        Of the view box: the drawing scales with the page.
    parts : iterable of Markup
    label : str
        Said by screen readers.
    title : str
        Shown on hovering.
    """
    return element(
        '<svg class="{kind}" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">'
        "{title}{parts}</svg>",
        kind=kind,
        w=width,
        h=height,
        label=label,
        title=element("<title>{t}</title>", t=title) if title else "",
        parts=Markup("").join(parts),
    )


class _Chart:
    """A plot area with linear axes from 0 to 1 in y and any scale in x."""

    def __init__(self, width: int, height: int, *, x: tuple[float, float], y: tuple[float, float]):
        self.width, self.height = width, height
        self.x, self.y = x, y
        self.parts: list[Markup] = []

    def px(self, value: float) -> float:
        """Pixel of an x value."""
        low, high = self.x
        span = self.width - _LEFT - _RIGHT
        return round(_LEFT + span * (value - low) / (high - low or 1), 1)

    def py(self, value: float) -> float:
        """Pixel of a y value."""
        low, high = self.y
        span = self.height - _TOP - _BOTTOM
        return round(self.height - _BOTTOM - span * (value - low) / (high - low or 1), 1)

    def add(self, template: str, **values: Any) -> None:
        """Add an element; values are escaped."""
        self.parts.append(element(template, **values))

    def frame(
        self,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
        x_label: str,
        y_label: str,
    ) -> None:
        """Draw grid, ticks and axis names."""
        right, floor = self.width - _RIGHT, self.height - _BOTTOM
        for value, text in y_ticks:
            y = self.py(value)
            self.add(
                '<line class="grid" x1="{a}" x2="{b}" y1="{y}" y2="{y}"/>', a=_LEFT, b=right, y=y
            )
            self.add(
                '<text class="tick end" x="{x}" y="{y}">{t}</text>', x=_LEFT - 6, y=y + 4, t=text
            )
        for value, text in x_ticks:
            self.add(
                '<text class="tick mid" x="{x}" y="{y}">{t}</text>',
                x=self.px(value),
                y=floor + 16,
                t=text,
            )
        self.add(
            '<text class="axis mid" x="{x}" y="{y}">{t}</text>',
            x=(_LEFT + right) / 2,
            y=self.height - 6,
            t=x_label,
        )
        middle = (_TOP + floor) / 2
        self.add(
            '<text class="axis mid" transform="rotate(-90 12 {y})" x="12" y="{y}">{t}</text>',
            y=middle,
            t=y_label,
        )

    def line(self, x: Sequence[float], y: Sequence[float], kind: str) -> None:
        """Draw a line through points."""
        points = " ".join(f"{self.px(a)},{self.py(b)}" for a, b in zip(x, y, strict=True))
        self.add('<polyline class="{k}" points="{p}"/>', k=kind, p=points)

    def done(self, title: str, description: str) -> Markup:
        """Close the drawing."""
        return drawing(
            "chart", self.width, self.height, self.parts, f"{title}. {description}", title
        )


_SHARES = tuple((v / 5, f"{v * 20}%") for v in range(6))


def draw_calibration(bins: Sequence[dict[str, Any]]) -> Markup:
    """Draw accuracy against confidence, one point per bin, with how many rows it holds.

    Parameters
    ----------
    bins : sequence of dict
        ``low, high`` of the confidence, ``n``, mean ``confidence``, ``accuracy`` and its interval
        ``accuracy_low, accuracy_high``.
    """
    chart = _Chart(460, 340, x=(0, 1), y=(0, 1))
    chart.frame(_SHARES, _SHARES, "said confidence", "really right")
    chart.line([0, 1], [0, 1], "ideal")
    filled = [b for b in bins if b["n"]]
    most = max((b["n"] for b in filled), default=1)
    floor = chart.py(0)
    for b in filled:
        left, right = chart.px(b["low"]), chart.px(b["high"])
        height = round(46 * b["n"] / most, 1)
        chart.add(
            '<rect class="bar" x="{x}" y="{y}" width="{w}" height="{h}"/>',
            x=left + 1,
            y=round(floor - height, 1),
            w=max(round(right - left - 2, 1), 1),
            h=height,
        )
    for b in filled:
        x = chart.px(b["confidence"])
        chart.add(
            '<line class="whisker" x1="{x}" x2="{x}" y1="{a}" y2="{b}"/>',
            x=x,
            a=chart.py(b["accuracy_low"]),
            b=chart.py(b["accuracy_high"]),
        )
        chart.add(
            '<circle class="dot" cx="{x}" cy="{y}" r="4.5"><title>{t}</title></circle>',
            x=x,
            y=chart.py(b["accuracy"]),
            t=f"said {percent(b['confidence'])}, right {percent(b['accuracy'])} of {count(b['n'])}",
        )
    return chart.done(
        "Calibration",
        "Points on the dashed line mean that confidence is to be taken at its word; "
        "below it, the classifier is too sure. Bars show how many pictures each point stands for.",
    )


def draw_risk_coverage(
    coverage: NDArray[np.float64], risk: NDArray[np.float64], *, max_points: int = 240
) -> Markup:
    """Draw the error rate among the most confident rows against the share answered."""
    if len(coverage) > max_points:
        keep = np.unique(np.linspace(0, len(coverage) - 1, max_points).round().astype(int))
        coverage, risk = coverage[keep], risk[keep]
    top = max(0.05, float(risk.max()) if len(risk) else 0.05)
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if top / s <= 6)
    ceiling = float(np.ceil(top / step - 1e-9) * step)
    chart = _Chart(460, 340, x=(0, 1), y=(0, ceiling))
    ticks = [(i * step, f"{round(i * step * 100)}%") for i in range(round(ceiling / step) + 1)]
    chart.frame(_SHARES, ticks, "share answered, surest first", "wrong among them")
    chart.line(coverage.tolist(), risk.tolist(), "line")
    return chart.done(
        "Answering only where sure",
        "The share of wrong answers if only the surest pictures were answered.",
    )


def draw_interval(low: float, value: float, high: float, marks: Sequence[float] = ()) -> Markup:
    """Draw an accuracy with its interval on a line from 0 to 100 %; `marks` are baselines."""

    def x(share: float) -> float:
        return round(2 + 296 * share, 1)

    mark = '<line class="mark" x1="{x}" x2="{x}" y1="5" y2="19"/>'
    parts = [
        element('<line class="track" x1="2" x2="298" y1="12" y2="12"/>'),
        *(element(mark, x=x(baseline)) for baseline in marks),
        element('<line class="range" x1="{a}" x2="{b}" y1="12" y2="12"/>', a=x(low), b=x(high)),
        element('<circle class="dot" cx="{x}" cy="12" r="6"/>', x=x(value)),
    ]
    label = f"{percent(value)}, between {percent(low)} and {percent(high)}"
    return drawing("interval", 300, 24, parts, label)


def draw_shot_curve(
    shots: Sequence[int],
    mean: Sequence[float | None],
    low: Sequence[float | None],
    high: Sequence[float | None],
    seeds: Sequence[Sequence[float | None]],
) -> Markup:
    """Draw accuracy against labelled images per class; None marks what could not be run.

    Parameters
    ----------
    shots : sequence of int, length n_shots
    mean, low, high : sequence of float or None, length n_shots
    seeds : sequence of sequences, shape (n_shots, n_seeds)
    """
    x = [float(np.sqrt(s)) for s in shots]
    lows = [v for v in low if v is not None]
    floor = max(0.0, np.floor((min(lows, default=0.0) - 0.02) * 10) / 10)
    chart = _Chart(480, 330, x=(min(x) - 0.15, max(x) + 0.15), y=(floor, 1.0))
    y_ticks = [(v / 10, f"{v * 10}%") for v in range(round(floor * 10), 11)]
    chart.frame(
        [(a, str(s)) for a, s in zip(x, shots, strict=True)],
        y_ticks,
        "labelled pictures per label",
        "accuracy",
    )
    drawn = [i for i, m in enumerate(mean) if m is not None]
    upper = [(x[i], high[i]) for i in drawn]
    lower = [(x[i], low[i]) for i in reversed(drawn)]
    points = " ".join(f"{chart.px(a)},{chart.py(b)}" for a, b in upper + lower if b is not None)
    chart.add('<polygon class="band" points="{p}"/>', p=points)
    for i in drawn:
        for value in seeds[i]:
            if value is not None:
                chart.add(
                    '<circle class="seed" cx="{x}" cy="{y}" r="3"/>',
                    x=chart.px(x[i]),
                    y=chart.py(value),
                )
    chart.line([x[i] for i in drawn], [float(mean[i] or 0) for i in drawn], "line")
    for i, s in enumerate(shots):
        if mean[i] is None:
            chart.add(
                '<text class="missing mid" x="{x}" y="{y}">×</text>',
                x=chart.px(x[i]),
                y=chart.py(floor) - 6,
            )
        else:
            chart.add(
                '<circle class="dot" cx="{x}" cy="{y}" r="5"><title>{t}</title></circle>',
                x=chart.px(x[i]),
                y=chart.py(float(mean[i] or 0)),
                t=f"{s} shots: {percent(mean[i])} ({percent(low[i])} to {percent(high[i])})",
            )
    return chart.done(
        "Accuracy by number of shots", "More labelled pictures per label, to the right."
    )
