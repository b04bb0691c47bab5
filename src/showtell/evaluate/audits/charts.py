"""Pictures of an audit: effects with intervals against zero, shares along the list."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from showtell.pages.charts import Drawing, scale
from showtell.words import cut

_WIDTH = 640
_NAME, _VALUE, _ROW = 150, 118, 30


def draw_effect(low: float, value: float, high: float, *, least: float, kind: str) -> Markup:
    """Draw an effect, a share from -1 to 1, with its interval and a grey zone up to `least`."""
    reach = min(1.0, 1.15 * max(abs(low), abs(high), abs(value), 2.5 * least))
    width, pad = 320, 10
    place = scale(-reach, reach, pad, width - pad)

    def x(share: float) -> float:
        return place(max(-reach, min(reach, share)))

    drawing = Drawing(f"effect is-{kind.replace(' ', '-')}", width, 46)
    drawing.box("zone", x(-least), 2, x(least) - x(-least), 24, rx=3)
    drawing.line("zero", x(0), 0, x(0), 28)
    drawing.line("range", x(low), 14, x(high), 14)
    drawing.dot("dot", x(value), 14, 6)
    drawing.text("tick", pad, 43, _points(-reach))
    drawing.text("tick mid", x(0), 43, "0")
    drawing.text("tick end", width - pad, 43, _points(reach))
    return drawing.done(f"{_points(value)} points, 95% interval {_points(low)} to {_points(high)}")


def draw_pairs(rows: Sequence[Mapping[str, Any]], *, pointed: str, otherwise: str) -> Markup:
    """Draw per label how often it is the answer when pointed at, and otherwise.

    Rows have ``label``, ``pointed``, ``otherwise``, ``low`` and ``high`` (of the difference); those
    without ``pointed`` had no answers. `pointed` and `otherwise` say what the two marks mean.
    """
    known = [row for row in rows if row.get("pointed") is not None]
    top = _round_up(max([0.02, *(max(r["pointed"], r["otherwise"] + r["high"]) for r in known)]))
    height = _ROW * len(rows) + 34
    place = scale(0, top, _NAME, _WIDTH - _VALUE)

    def x(share: float) -> float:
        return place(max(0.0, min(share, top)))

    drawing = Drawing("chart audit pairs", _WIDTH, height)
    ticks = (top * k / 4 for k in range(5))
    drawing.columns(((x(v), _percent(v)) for v in ticks), 4, height - 28)
    for number, row in enumerate(rows):
        y = 8 + _ROW * number + _ROW / 2
        name = row["label"]
        drawing.text("label end", _NAME - 12, y + 4, cut(name, 20), title=name)
        if row.get("pointed") is None:
            drawing.text("tick", _NAME, y + 4, "no answers")
            continue
        here, there = x(row["pointed"]), x(row["otherwise"])
        ends = (x(row["otherwise"] + row[end]) for end in ("low", "high"))
        drawing.line("range", next(ends), y, next(ends), y)
        drawing.line("step", there, y, here, y)
        drawing.dot("other", there, y, 5)
        drawing.dot("dot", here, y, 6)
        more = f"{_points(row['effect'], sign=True)} points"
        drawing.text("value", _WIDTH - _VALUE + 12, y + 4, more)
    said = "; ".join(
        f"{r['label']} {_percent(r['pointed'])} {pointed}, {_percent(r['otherwise'])} {otherwise}"
        for r in known
    )
    return drawing.done(said or "no answers")


def draw_shares(
    shares: Sequence[float], expected: Sequence[float], names: Sequence[str], *, favoured: int
) -> Markup:
    """Draw the share of answers at each place of the list, beside what no preference would give.

    The place `favoured` is marked; -1 marks none.
    """
    height, left, right, foot = 260, 54, _WIDTH - 14, 40
    top = _round_up(max([*shares, *expected]) * 1.05)
    floor = height - foot
    y = scale(0, top, floor, 12)
    drawing = Drawing("chart audit shares", _WIDTH, height)
    drawing.rows(((y(v), _percent(v)) for v in (top * k / 4 for k in range(5))), left, right)
    step = (right - left) / len(shares)
    for place, (share, even) in enumerate(zip(shares, expected, strict=True)):
        start = left + step * place
        kind = f"column {'here' if place == favoured else 'there'}"
        drawing.box(kind, start + step * 0.16, y(share), step * 0.68, floor - y(share), rx=3)
        drawing.line("even", start, y(even), start + step, y(even))
        drawing.text("tick mid", start + step / 2, floor + 18, names[place])
    drawing.text("axis mid", (left + right) / 2, height - 4, "place in the list")
    said = ", ".join(f"{n}: {_percent(s)}" for n, s in zip(names, shares, strict=True))
    return drawing.done(f"Share of answers by place. {said}")


def _round_up(share: float) -> float:
    """Round up to a scale whose quarters read well."""
    return next((top for top in (0.04, 0.08, 0.12, 0.2, 0.4, 0.6, 0.8) if share <= top), 1.0)


def _percent(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:g}%"


def _points(share: float, *, sign: bool = False) -> str:
    number = round(100 * share, 1) + 0.0
    text = f"{abs(number):g}" if math.isfinite(number) else "?"
    return f"−{text}" if number < 0 else f"+{text}" if sign and number > 0 else text
