"""Charts as inline SVG: no plotting library, colours from the page's style sheet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from showtell.pages.page import asset
from showtell.records.files import whole_file
from showtell.words import count, cut, percent

_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 22, 12, 40
_SHARES = tuple((v / 5, f"{v * 20}%") for v in range(6))


class Chart:
    """A chart that a notebook shows by itself; `save` writes it as an SVG file.

    Examples
    --------
    >>> Chart(draw_interval(0.4, 0.5, 0.6))._repr_svg_()[:44]
    '<svg xmlns="http://www.w3.org/2000/svg" clas'
    """

    def __init__(self, svg: Markup) -> None:
        self.svg = svg

    def __html__(self) -> Markup:
        return self.svg

    def _repr_svg_(self) -> str:
        """Return the picture with its own style sheet, as it stands alone."""
        style = "".join(asset("showtell.pages", name) for name in ("colours.css", "charts.css"))
        head, _, marks = str(self.svg).partition(">")
        head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        return f"{head}><style>{style}</style>{marks}"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write an ``.svg`` file that any browser shows; its folder is made if missing."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as part:
            part.write_text(self._repr_svg_(), encoding="utf-8")
        return target


class Drawing:
    """Marks of one SVG, the last in front; all text in them is escaped.

    The first argument of each mark is its class in the style sheet.
    """

    def __init__(self, kind: str, width: float, height: float) -> None:
        self.kind, self.width, self.height = kind, width, height
        self._marks: list[Markup] = []

    def mark(self, tag: str, kind: str, *, inside: str = "", title: str = "", **at: Any) -> None:
        """Add an element; pixels have one digit after the point, `title` is shown on hovering."""
        places = Markup(" ").join(
            Markup('{}="{}"').format(
                name.replace("_", "-"), round(value, 1) if isinstance(value, float) else value
            )
            for name, value in at.items()
        )
        hover = Markup("<title>{}</title>").format(title) if title else ""
        self._marks.append(
            Markup('<{tag} class="{kind}" {places}>{hover}{inside}</{tag}>').format(
                tag=tag, kind=kind, places=places, hover=hover, inside=inside
            )
        )

    def line(self, kind: str, x1: float, y1: float, x2: float, y2: float, title: str = "") -> None:
        """Add a straight line."""
        self.mark("line", kind, title=title, x1=x1, x2=x2, y1=y1, y2=y2)

    def box(self, kind: str, x: float, y: float, width: float, height: float, **more: Any) -> None:
        """Add a rectangle."""
        self.mark("rect", kind, **more, x=x, y=y, width=width, height=height)

    def dot(self, kind: str, x: float, y: float, r: float, **more: Any) -> None:
        """Add a circle."""
        self.mark("circle", kind, **more, cx=x, cy=y, r=r)

    def text(self, kind: str, x: float, y: float, text: object, **more: Any) -> None:
        """Add a text."""
        self.mark("text", kind, inside=str(text), **more, x=x, y=y)

    def path(
        self, kind: str, points: Iterable[tuple[float, float]], *, closed: bool = False
    ) -> None:
        """Join points, or fill what they enclose."""
        text = " ".join(f"{round(x, 1)},{round(y, 1)}" for x, y in points)
        self.mark("polygon" if closed else "polyline", kind, points=text)

    def columns(self, ticks: Iterable[tuple[float, str]], top: float, floor: float) -> None:
        """Add upright grid lines at pixels, with a text below each."""
        for x, text in ticks:
            self.line("grid", x, top, x, floor)
            self.text("tick mid", x, floor + 18, text)

    def rows(self, ticks: Iterable[tuple[float, str]], left: float, right: float) -> None:
        """Add level grid lines at pixels, with a text before each."""
        for y, text in ticks:
            self.line("grid", left, y, right, y)
            self.text("tick end", left - 7, y + 4, text)

    def names(self, x_label: str, y_label: str, *, x: float, y: float, floor: float) -> None:
        """Name the axes, around the pixel (`x`, `y`)."""
        if x_label:
            self.text("axis mid", x, floor, x_label)
        turn = f"rotate(-90 13 {round(y, 1)})"
        self.text("axis mid", 13, y, y_label, transform=turn)

    def done(self, label: str, title: str = "") -> Markup:
        """Close the drawing, which scales with the page; `label` is said by screen readers."""
        return Markup(
            '<svg class="{kind}" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">'
            "{title}{marks}</svg>"
        ).format(
            kind=self.kind,
            w=self.width,
            h=self.height,
            label=label,
            title=Markup("<title>{}</title>").format(title) if title else "",
            marks=Markup("").join(self._marks),
        )


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Map values from `low` to `high` to pixels from `start` to `end`.

    Examples
    --------
    >>> scale(0, 1, 100, 0)(0.25)
    75.0
    """
    return lambda value: round(start + (end - start) * (value - low) / (high - low or 1), 1)


class _Plot(Drawing):
    """A drawing with two linear axes."""

    def __init__(
        self, width: int, height: int, *, x: tuple[float, float], y: tuple[float, float]
    ) -> None:
        super().__init__("chart", width, height)
        self.px = scale(*x, _LEFT, width - _RIGHT)
        self.py = scale(*y, height - _BOTTOM, _TOP)

    def frame(
        self,
        x_ticks: Iterable[tuple[float, str]],
        y_ticks: Iterable[tuple[float, str]],
        x_label: str,
        y_label: str,
    ) -> None:
        """Draw grid, ticks and axis names."""
        right, floor = self.width - _RIGHT, self.height - _BOTTOM
        self.rows(((self.py(v), text) for v, text in y_ticks), _LEFT, right)
        for value, text in x_ticks:
            self.text("tick mid", self.px(value), floor + 16, text)
        middle = (_LEFT + right) / 2
        self.names(x_label, y_label, x=middle, y=(_TOP + floor) / 2, floor=self.height - 6)

    def curve(self, kind: str, x: Sequence[float], y: Sequence[float]) -> None:
        """Draw a line through values."""
        self.path(kind, ((self.px(a), self.py(b)) for a, b in zip(x, y, strict=True)))


def draw_calibration(bins: Sequence[dict[str, Any]], about: str = "") -> Markup:
    """Draw accuracy against confidence, one point per bin, with how many rows it holds.

    Parameters
    ----------
    bins : sequence of dict
        ``low, high`` of the confidence, ``n``, mean ``confidence``, ``accuracy`` and its interval
        ``accuracy_low, accuracy_high``.
    about : str
        Written behind the name of the confidence.
    """
    plot = _Plot(460, 340, x=(0, 1), y=(0, 1))
    plot.frame(_SHARES, _SHARES, f"said confidence{about}", "really right")
    plot.curve("ideal", [0, 1], [0, 1])
    filled = [b for b in bins if b["n"]]
    most = max((b["n"] for b in filled), default=1)
    for b in filled:
        left, right = plot.px(b["low"]), plot.px(b["high"])
        height = 46 * b["n"] / most
        plot.box("bar", left + 1, plot.py(0) - height, max(right - left - 2, 1.0), height)
    for b in filled:
        x = plot.px(b["confidence"])
        plot.line("whisker", x, plot.py(b["accuracy_low"]), x, plot.py(b["accuracy_high"]))
        said = f"said {percent(b['confidence'])}, right {percent(b['accuracy'])} of {count(b['n'])}"
        plot.dot("dot", x, plot.py(b["accuracy"]), 4.5, title=said)
    return plot.done(
        "Calibration. Points on the dashed line mean that confidence is to be taken at its word; "
        "below it, the classifier is too sure. Bars show how many pictures each point stands for.",
        "Calibration",
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
    plot = _Plot(460, 340, x=(0, 1), y=(0, ceiling))
    ticks = [(i * step, f"{round(i * step * 100)}%") for i in range(round(ceiling / step) + 1)]
    plot.frame(_SHARES, ticks, "share answered, surest first", "wrong among them")
    plot.curve("line", coverage.tolist(), risk.tolist())
    title = "Answering only where sure"
    return plot.done(
        f"{title}. The share of wrong answers if only the surest pictures were answered.", title
    )


def draw_interval(low: float, value: float, high: float, marks: Sequence[float] = ()) -> Markup:
    """Draw an accuracy with its interval on a line from 0 to 100 %; `marks` are baselines."""
    x = scale(0, 1, 2, 298)
    drawing = Drawing("interval", 300, 24)
    drawing.line("track", 2, 12, 298, 12)
    for baseline in marks:
        drawing.line("mark", x(baseline), 5, x(baseline), 19)
    drawing.line("range", x(low), 12, x(high), 12)
    drawing.dot("dot", x(value), 12, 6)
    return drawing.done(f"{percent(value)}, between {percent(low)} and {percent(high)}")


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
    plot = _Plot(480, 330, x=(min(x) - 0.15, max(x) + 0.15), y=(floor, 1.0))
    plot.frame(
        [(a, str(s)) for a, s in zip(x, shots, strict=True)],
        [(v / 10, f"{v * 10}%") for v in range(round(floor * 10), 11)],
        "labelled pictures per label",
        "accuracy",
    )
    drawn = [i for i, m in enumerate(mean) if m is not None]
    around = [(x[i], high[i]) for i in drawn] + [(x[i], low[i]) for i in reversed(drawn)]
    band = [(plot.px(a), plot.py(b)) for a, b in around if b is not None]
    plot.path("band", band, closed=True)
    for i in drawn:
        for value in seeds[i]:
            if value is not None:
                plot.dot("seed", plot.px(x[i]), plot.py(value), 3)
    plot.curve("line", [x[i] for i in drawn], [float(mean[i] or 0) for i in drawn])
    for i, s in enumerate(shots):
        if mean[i] is None:
            plot.text("missing mid", plot.px(x[i]), plot.py(floor) - 6, "×")
            continue
        said = f"{s} shots: {percent(mean[i])} ({percent(low[i])} to {percent(high[i])})"
        plot.dot("dot", plot.px(x[i]), plot.py(float(mean[i] or 0)), 5, title=said)
    title = "Accuracy by number of shots"
    return plot.done(f"{title}. More labelled pictures per label, to the right.", title)


def draw_confusion(
    counts: NDArray[np.int64], classes: Sequence[str], *, normalise: bool = True
) -> Markup:
    """Draw the confusion matrix; colours are shares of the row, or of the largest count.

    Parameters
    ----------
    counts : ndarray of shape (n_classes, n_classes + 1), int64
        As `showtell.metrics.confusion_matrix` gives; the last column is left out where empty.
    classes : sequence of str, length n_classes
    normalise : bool, default=True
    """
    n = len(classes)
    columns = [*classes, "no answer"] if counts[:, -1].any() else list(classes)
    shown = counts / np.maximum(counts.sum(axis=1, keepdims=True) if normalise else counts.max(), 1)
    side, room = 34, 40 + 7 * min(max(map(len, columns)), 22)
    drawing = Drawing("chart", room + side * len(columns) + 8, room + side * n + 8)
    drawing.names("answered", "actual", x=room + side * len(columns) / 2, y=room + side * n / 2,
                  floor=14)  # fmt: skip
    for j, name in enumerate(columns):
        x, y = room + side * (j + 0.5) + 4, room - 8
        drawing.text("tick", x, y, cut(name, 22), transform=f"rotate(-90 {x} {y})", title=name)
    for i, name in enumerate(classes):
        y = room + side * i
        drawing.text("tick end", room - 8, y + side / 2 + 4, cut(name, 22), title=name)
        for j, other in enumerate(columns):
            share, times = float(shown[i, j]), int(counts[i, j])
            drawing.box("cell", room + side * j, y, side - 2, side - 2,
                        fill_opacity=f"{share:.3f}", title=f"{name}, {other}: {times}")  # fmt: skip
            if times and n <= 30:
                kind = "on mid" if share > 0.6 else "mid"
                drawing.text(kind, room + side * (j + 0.5) - 1, y + side / 2 + 4, times)
    right = "; ".join(f"{name} {int(counts[i, i])} of {int(counts[i].sum())}"
                      for i, name in enumerate(classes))  # fmt: skip
    return drawing.done(f"Confusion. Right: {right}", "Confusion")


def draw_recalls(rows: Sequence[tuple[str, float, float, float]]) -> Markup:
    """Draw a bar per label with its interval; `rows` are label, recall, low and high."""
    left, each = 150, 26
    drawing = Drawing("chart", 560, each * len(rows) + 46)
    x, floor = scale(0, 1, left, 540), each * len(rows) + 8
    drawing.columns(((x(v), text) for v, text in _SHARES), 4, floor)
    for place, (label, recall, low, high) in enumerate(rows):
        y = each * (place + 0.5) + 6
        drawing.text("tick end", left - 10, y + 4, cut(label, 20), title=label)
        title = f"{label}: {percent(recall)} ({percent(low)} to {percent(high)})"
        drawing.box("cell", left, y - 8, x(recall) - left, 16, fill_opacity="0.35", title=title)
        drawing.line("whisker", x(low), y, x(high), y)
    drawing.text("axis mid", (left + 540) / 2, floor + 34, "recall")
    said = "; ".join(f"{label} {percent(recall)}" for label, recall, *_ in rows)
    return drawing.done(f"Recall of each label. {said}", "Recall")
