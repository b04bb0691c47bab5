"""The line chart of an evolution: accuracy per generation, with a cursor that a script moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from showtell.metrics import accuracy_interval
from showtell.pages.charts import drawing, element
from showtell.words import percent

if TYPE_CHECKING:
    from showtell.classify.evolving.record import Evolution

__all__ = ["draw_progress"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 20, 16, 42
_LEAST_SPAN = 0.1
_DOTS = 60  # generations beyond which single ones get no dot


def _scale(values: list[float]) -> tuple[float, float, float]:
    """Return start, end and step of an axis that holds shares.

    Examples
    --------
    >>> [round(v, 2) for v in _scale([0.41, 0.74])]
    [0.4, 0.8, 0.1]
    """
    low, high = min(values), max(values)
    if high - low < _LEAST_SPAN:
        low, high = max(0.0, low - _LEAST_SPAN / 2), min(1.0, high + _LEAST_SPAN / 2)
    step = next(s for s in (0.02, 0.05, 0.1, 0.2) if (high - low) / s <= 5 or s == 0.2)
    first, last = int(low / step + 1e-9), int(high / step - 1e-9) + 1
    return first * step, min(last * step, 1.0), step


def draw_progress(evolution: Evolution, *, width: int, height: int, name: str) -> Markup:
    """Draw accuracy on support, validation and, at the start and the end, on test images.

    Parameters
    ----------
    evolution : Evolution
    width, height : int
        Of the view box: the drawing scales with the page.
    name : str
        Class of the drawing.
    """
    generations = evolution.generations
    last = len(generations) - 1
    best = evolution.best
    held = [g.validation for g in generations if g.validation is not None]
    bands = [
        accuracy_interval(round(v * evolution.n_validation), evolution.n_validation) for v in held
    ]
    every = [g.fitness for g in generations] + held
    every += [end for band in bands for end in (band.low, band.high)]
    if evolution.test is not None:
        every += [evolution.test.accuracy_before, evolution.test.accuracy_after]
    start, end, step = _scale(every)
    right, floor = width - _RIGHT, height - _BOTTOM

    def px(number: float) -> float:
        return round(_LEFT + (right - _LEFT) * (number / last if last else 0.5), 1)

    def py(value: float) -> float:
        return round(floor - (floor - _TOP) * (value - start) / (end - start), 1)

    parts: list[Markup] = []

    def add(template: str, **values: object) -> None:
        parts.append(element(template, **values))

    for i in range(round((end - start) / step) + 1):
        value = start + i * step
        add('<line class="grid" x1="{a}" x2="{b}" y1="{y}" y2="{y}"/>', a=_LEFT, b=right,
            y=py(value))  # fmt: skip
        add('<text class="end" x="{x}" y="{y}">{t}</text>', x=_LEFT - 8, y=py(value) + 4.5,
            t=f"{round(100 * value)}%")  # fmt: skip
    each = max(1, -(-(last + 1) * 34 // (right - _LEFT)))
    for number in range(0, last + 1, each):
        add('<text class="mid" x="{x}" y="{y}">{t}</text>', x=px(number), y=floor + 18, t=number)
    add('<text class="axis mid" x="{x}" y="{y}">generation</text>', x=(_LEFT + right) / 2,
        y=height - 5)  # fmt: skip
    if len(held) == len(generations) and last:
        there = [f"{px(i)},{py(band.high)}" for i, band in enumerate(bands)]
        back = [f"{px(i)},{py(band.low)}" for i, band in enumerate(bands)]
        add('<polygon class="band" points="{p}"/>', p=" ".join(there + back[::-1]))
    add('<line class="cursor" x1="{x}" x2="{x}" y1="{a}" y2="{b}"/>', x=px(best), a=_TOP, b=floor)
    support = [(g.number, g.fitness) for g in generations]
    validation = [(g.number, g.validation) for g in generations if g.validation is not None]
    for kind, line in (("support", support), ("validation", validation)):
        points = " ".join(f"{px(x)},{py(y)}" for x, y in line)
        add('<polyline class="{k}" points="{p}"/>', k=f"line {kind}", p=points)
        if last < _DOTS:
            for x, y in line:
                add('<circle class="{k}" cx="{x}" cy="{y}" r="4"/>', k=f"dot {kind}", x=px(x),
                    y=py(y))  # fmt: skip
    at_best = generations[best]
    y = at_best.fitness if at_best.validation is None else at_best.validation
    add('<circle class="ring" cx="{x}" cy="{y}" r="9"/>', x=px(best), y=py(y))
    said = [
        f"on support images {percent(generations[0].fitness)} at the start, "
        f"{percent(generations[-1].fitness)} at the end"
    ]
    if held:
        said.append(f"on validation images {percent(held[0])} and {percent(held[-1])}")
    if evolution.test is not None:
        ends = [(0, evolution.test.accuracy_before), (best, evolution.test.accuracy_after)]
        if best:
            points = " ".join(f"{px(a)},{py(b)}" for a, b in ends)
            add('<polyline class="line test" points="{p}"/>', p=points)
        for a, b in ends:
            add('<path class="dot test" d="M{x} {y}m0 -7l7 7l-7 7l-7 -7z"/>', x=px(a), y=py(b))
        said.append(f"on test images {percent(ends[0][1])} and, as chosen, {percent(ends[1][1])}")
    half = (right - _LEFT) / (2 * last) if last else (right - _LEFT) / 2
    for number in range(last + 1):
        add('<rect class="stop" data-go="{n}" data-x="{x}" x="{a}" y="0" width="{w}" '
            'height="{h}"/>', n=number, x=px(number), a=round(px(number) - half, 1),
            w=round(2 * half, 1), h=height)  # fmt: skip
    label = f"Accuracy per generation: {'; '.join(said)}."
    return drawing(f"chart progress {name}", width, height, parts, label)
