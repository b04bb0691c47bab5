"""The line chart of an evolution: accuracy per generation, with a cursor that a script moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from showtell.metrics import accuracy_interval
from showtell.pages.charts import Drawing, scale
from showtell.words import percent

if TYPE_CHECKING:
    from showtell.classify.evolving.record import Evolution

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


def draw_progress(evolution: Evolution, width: int, height: int, name: str) -> Markup:
    """Draw accuracy on support, validation and, at the start and the end, on test images.

    `width` and `height` are of the view box: the drawing scales with the page. `name` is its class.
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
    py = scale(start, end, floor, _TOP)
    px = scale(0, last, _LEFT, right) if last else lambda _: (_LEFT + right) / 2
    drawing = Drawing(f"chart progress {name}", width, height)
    ticks = (start + i * step for i in range(round((end - start) / step) + 1))
    drawing.rows(((py(value), f"{round(100 * value)}%") for value in ticks), _LEFT, right)
    each = max(1, -(-(last + 1) * 34 // (right - _LEFT)))
    for number in range(0, last + 1, each):
        drawing.text("mid", px(number), floor + 18, number)
    drawing.text("axis mid", (_LEFT + right) / 2, height - 5, "generation")
    if len(held) == len(generations) and last:
        there = [(px(i), py(band.high)) for i, band in enumerate(bands)]
        back = [(px(i), py(band.low)) for i, band in enumerate(bands)]
        drawing.path("band", there + back[::-1], closed=True)
    drawing.line("cursor", px(best), _TOP, px(best), floor)
    support = [(g.number, g.fitness) for g in generations]
    validation = [(g.number, g.validation) for g in generations if g.validation is not None]
    for kind, line in (("support", support), ("validation", validation)):
        spots = [(px(x), py(y)) for x, y in line]
        drawing.path(f"line {kind}", spots)
        for x, y in spots if last < _DOTS else ():
            drawing.dot(f"dot {kind}", x, y, 4)
    at_best = generations[best]
    y = at_best.fitness if at_best.validation is None else at_best.validation
    drawing.dot("ring", px(best), py(y), 9)
    said = [
        f"on support images {percent(generations[0].fitness)} at the start, "
        f"{percent(generations[-1].fitness)} at the end"
    ]
    if held:
        said.append(f"on validation images {percent(held[0])} and {percent(held[-1])}")
    if evolution.test is not None:
        ends = [(0, evolution.test.accuracy_before), (best, evolution.test.accuracy_after)]
        if best:
            drawing.path("line test", [(px(a), py(b)) for a, b in ends])
        for a, b in ends:
            drawing.mark("path", "dot test", d=f"M{px(a)} {py(b)}m0 -7l7 7l-7 7l-7 -7z")
        said.append(f"on test images {percent(ends[0][1])} and, as chosen, {percent(ends[1][1])}")
    half = (right - _LEFT) / (2 * last) if last else (right - _LEFT) / 2
    for number in range(last + 1):
        x = px(number)
        drawing.box("stop", x - half, 0, 2 * half, height, data_go=number, data_x=x)
    return drawing.done(f"Accuracy per generation: {'; '.join(said)}.")
