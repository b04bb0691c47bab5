"""What accuracy costs: a picture of ways side by side, with those that nothing beats joined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from markupsafe import Markup

from showtell.pages.charts import Drawing, scale
from showtell.words import cut, percent

_WIDTH, _HEIGHT = 760, 430
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 16, 18, 62
_BAND = 104
"""Width of the columns "free" and "price unknown"."""
_GAP = 18
_CHARACTER = 6.7
_LINE = 15
_SMALL_CHARACTER = 5.9
_LONGEST = 34


@dataclass(frozen=True, kw_only=True)
class Way:
    """One point: accuracy with its interval, at a price."""

    name: str
    accuracy: float
    low: float
    high: float
    usd_per_1000: float | None
    """None: not known."""
    on_front: bool
    is_choice: bool = False


@dataclass(frozen=True)
class _Box:
    """Room that a label or a point takes, in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlap(self, other: _Box) -> float:
        """Area that both take."""
        w = min(self.x1, other.x1) - max(self.x0, other.x0)
        h = min(self.y1, other.y1) - max(self.y0, other.y0)
        return w * h if w > 0 and h > 0 else 0.0


class _Axes:
    """Where prices and accuracies are drawn; free and unknown have no place on a log axis."""

    def __init__(self, ways: Sequence[Way]) -> None:
        priced = [w.usd_per_1000 for w in ways if w.usd_per_1000]
        self.has_free = any(w.usd_per_1000 == 0 for w in ways)
        self.has_unknown = any(w.usd_per_1000 is None for w in ways)
        self.x0 = _LEFT + (_BAND + _GAP if self.has_free else 0)
        self.x1 = _WIDTH - _RIGHT - (_BAND + _GAP if self.has_unknown else 0)
        self.priced = bool(priced)
        low = math.log10(min(priced)) if priced else 0.0
        high = math.log10(max(priced)) if priced else 0.0
        wide = max(high - low, 0.9)
        middle = (low + high) / 2
        self.log_low, self.log_high = middle - 0.66 * wide, middle + 0.66 * wide
        lows, highs = min(w.low for w in ways), max(w.high for w in ways)
        self.y_low = max(0.0, math.floor((lows - 0.02) * 10) / 10)
        self.y_high = min(1.0, math.ceil((highs + 0.01) * 10) / 10)
        if self.y_high - self.y_low < 0.2:
            self.y_low = max(0.0, self.y_high - 0.2)

    def px(self, price: float | None) -> float:
        """Pixel of a price."""
        if price is None:
            return self.x1 + _GAP + _BAND / 2
        if price == 0:
            return _LEFT + _BAND / 2
        return scale(self.log_low, self.log_high, self.x0, self.x1)(math.log10(price))

    def py(self, accuracy: float) -> float:
        """Pixel of an accuracy."""
        return scale(self.y_low, self.y_high, _HEIGHT - _BOTTOM, _TOP)(accuracy)

    def price_ticks(self) -> list[float]:
        """Round prices; at most eight."""
        first, last = math.floor(self.log_low), math.ceil(self.log_high)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            ticks = [s * 10.0**e for e in range(first, last + 1) for s in steps]
            ticks = [t for t in ticks if self.log_low <= math.log10(t) <= self.log_high]
            if len(ticks) <= 8:
                return ticks
        return ticks[:: math.ceil(len(ticks) / 8)]

    def accuracy_ticks(self) -> list[float]:
        """Round shares."""
        step = 0.05 if self.y_high - self.y_low <= 0.35 else 0.1
        step = 0.2 if self.y_high - self.y_low > 0.75 else step
        n = round((self.y_high - self.y_low) / step)
        return [self.y_low + i * step for i in range(n + 1) if self.y_low + i * step <= 1.0001]


def _money(price: float) -> str:
    """Write a price on the axis.

    Examples
    --------
    >>> _money(0.05), _money(0.001), _money(20.0), _money(2000.0)
    ('$0.05', '$0.001', '$20', '$2,000')
    """
    if price >= 1:
        return f"${price:,.0f}"
    text = f"{Decimal(f'{price:.1g}'):f}"
    return f"${text if len(text) > 3 else text + '0'}"


def draw_cost_accuracy(ways: Sequence[Way], *, margin: float | None = None) -> Markup | None:
    """Draw accuracy against the price of 1,000 images, with the Pareto front.

    What is free and what has no known price stands in a column of its own: neither has a place
    on a logarithmic axis, and unknown is not nothing. A line shows `margin`, the share of samples
    below the most accurate that does not matter. None where there is nothing to weigh.
    """
    prices = [w.usd_per_1000 for w in ways]
    if all(p is None for p in prices) or all(p == 0 for p in prices):
        return None
    axes = _Axes(ways)
    drawing = Drawing("chart cost", _WIDTH, _HEIGHT)
    _frame(drawing, axes)
    lines = _front_line(drawing, axes, ways)
    if margin is not None:
        enough = max(w.accuracy for w in ways) - margin
        if enough > axes.y_low:
            title = f"{margin * 100:g} points below the most accurate"
            y = axes.py(enough)
            drawing.line("margin", _LEFT, y, _WIDTH - _RIGHT, y, title=title)
    spots = _spots(axes, ways)
    taken = [_Box(x - 8, y - 8, x + 8, y + 8) for x, y in spots]
    for way, (x, _) in zip(ways, spots, strict=True):
        lines.append(_Box(x - 2, axes.py(way.high), x + 2, axes.py(way.low)))
        drawing.line("whisker", x, axes.py(way.low), x, axes.py(way.high))
    for way, (x, y) in zip(ways, spots, strict=True):
        _dot(drawing, way, x, y)
    order = sorted(range(len(ways)), key=lambda i: (not ways[i].is_choice, not ways[i].on_front))
    for i in order:
        taken.append(_label(drawing, ways[i], *spots[i], taken, lines))
    said = [f"{w.name}: {percent(w.accuracy)}, {_price(w.usd_per_1000)}" for w in ways]
    says = "Accuracy and price of 1,000 images. " + "; ".join(said)
    return drawing.done(says, "Accuracy and price")


def _price(price: float | None) -> str:
    if price is None:
        return "price unknown"
    if price == 0:
        return "free"
    return f"${price:,.2f}" if price >= 1 else f"${Decimal(f'{price:.2g}'):f}"


def _frame(drawing: Drawing, axes: _Axes) -> None:
    """Draw grid, ticks, the two columns beside the axis, and names."""
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    columns = [("column", "free", _LEFT)] if axes.has_free else []
    if axes.has_unknown:
        columns.append(("column unknown", "price unknown", axes.x1 + _GAP))
    for kind, name, x in columns:
        drawing.box(kind, x, _TOP - 6, _BAND, floor - _TOP + 6, rx=6)
        drawing.text("tick mid", x + _BAND / 2, floor + 18, name)
    ticks = axes.accuracy_ticks()
    drawing.rows(((axes.py(v), f"{round(v * 100)}%") for v in ticks), _LEFT, right)
    if axes.priced:
        drawing.columns(((axes.px(v), _money(v)) for v in axes.price_ticks()), _TOP, floor)
    name = "dollars for 1,000 images (logarithmic)" if axes.priced else ""
    middle = (axes.x0 + axes.x1) / 2
    drawing.names(name, "accuracy", x=middle, y=(_TOP + floor) / 2, floor=_HEIGHT - 16)


def _front_line(drawing: Drawing, axes: _Axes, ways: Sequence[Way]) -> list[_Box]:
    """Join what nothing beats: at each price the best accuracy to be had for it."""
    front = sorted(
        {(w.usd_per_1000, w.accuracy) for w in ways if w.on_front and w.usd_per_1000 is not None}
    )
    if not front:
        return []
    points: list[tuple[float, float]] = []
    for price, accuracy in front:
        x, y = axes.px(price), axes.py(accuracy)
        if points:
            points.append((x, points[-1][1]))
        points.append((x, y))
    if axes.priced:
        points.append((axes.x1, points[-1][1]))
    ground = [(points[end][0], _HEIGHT - _BOTTOM) for end in (-1, 0)]
    drawing.path("band", [*points, *ground], closed=True)
    drawing.path("front", points)
    return [
        _Box(min(a, c) - 2, min(b, d) - 2, max(a, c) + 2, max(b, d) + 2)
        for (a, b), (c, d) in pairwise(points)
    ]


def _spots(axes: _Axes, ways: Sequence[Way]) -> list[tuple[float, float]]:
    """Place the points; those that would lie on each other stand side by side."""
    spots: list[tuple[float, float]] = []
    for way in ways:
        x, y = axes.px(way.usd_per_1000), axes.py(way.accuracy)
        step = 0
        while any(abs(x - a) < 13 and abs(y - b) < 13 for a, b in spots) and step < 6:
            step += 1
            x = axes.px(way.usd_per_1000) + 15 * ((step + 1) // 2) * (1 if step % 2 else -1)
        spots.append((round(x, 1), y))
    return spots


def _dot(drawing: Drawing, way: Way, x: float, y: float) -> None:
    kind = "dot" if way.on_front else "dot off"
    if way.usd_per_1000 is None:
        kind = "dot hollow"
    if way.is_choice:
        drawing.dot("ring", x, y, 11)
    title = (
        f"{way.name}: {percent(way.accuracy)} ({percent(way.low)} to {percent(way.high)}), "
        f"{_price(way.usd_per_1000)}"
    )
    drawing.dot(kind, x, y, 6, data_way=way.name, title=title)


def _label(
    drawing: Drawing, way: Way, x: float, y: float, taken: Sequence[_Box], lines: Sequence[_Box]
) -> _Box:
    """Write a name where it covers least: the method, and below it what it uses."""
    method, at, target = way.name.partition("@")
    said = [cut(method, _LONGEST)] + ([cut(target, _LONGEST)] if at else [])
    width = max(
        len(said[0]) * _CHARACTER * (1.08 if way.is_choice else 1),
        *(len(text) * _SMALL_CHARACTER for text in said[1:]),
        0.0,
    )
    height = _LINE * len(said)
    best: tuple[float, _Box, str] | None = None
    for rank, (dx, dy, anchor) in enumerate(_places(15 if way.is_choice else 11, height)):
        left = x + {"start": dx, "end": dx - width, "middle": -width / 2}[anchor]
        if anchor == "middle":  # may slide along, to stay inside
            left = min(max(left, _LEFT + 2), _WIDTH - _RIGHT - width)
        box = _Box(left, y + dy, left + width, y + dy + height)
        outside = max(0.0, _LEFT - left) + max(0.0, box.x1 - (_WIDTH - _RIGHT + 6))
        outside += max(0.0, _TOP - 12 - box.y0) + max(0.0, box.y1 - (_HEIGHT - _BOTTOM))
        cost = 40 * outside + sum(box.overlap(other) for other in taken) + 4.0 * rank
        cost += 0.5 * sum(box.overlap(other) for other in lines)
        if best is None or cost < best[0]:
            best = (cost, box, anchor)
    assert best is not None
    _, box, anchor = best
    at_x = {"start": box.x0, "end": box.x1, "middle": (box.x0 + box.x1) / 2}[anchor]
    near = min(max(y, box.y0), box.y1)
    if abs(near - y) > 20:
        drawing.line("leader", x, y, min(max(x, box.x0), box.x1), near)
    side = {"start": "", "end": " end", "middle": " mid"}[anchor]
    for i, text in enumerate(said):
        kind = " target" if i else " choice" if way.is_choice else ""
        drawing.text(f"name{kind}{side}", at_x, box.y0 + 11.5 + _LINE * i, text)
    return box


def _places(away: float, height: float) -> list[tuple[float, float, str]]:
    """List where the box of a label may begin beside its point, the best first."""
    beside = -height / 2
    places = [(away, beside, "start"), (-away, beside, "end")]
    for k in range(5):
        step = 9.0 * k
        places += [
            (0.0, -away - 1 - height - step, "middle"),
            (0.0, away + 1 + step, "middle"),
            (away, beside - step - 9, "start"),
            (away, beside + step + 9, "start"),
            (-away, beside - step - 9, "end"),
            (-away, beside + step + 9, "end"),
        ]
    return places
