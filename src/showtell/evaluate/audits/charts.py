"""Pictures of an audit: effects with intervals against zero, shares along the list."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from showtell.pages.charts import drawing, element
from showtell.words import cut

__all__ = ["draw_effect", "draw_pairs", "draw_shares"]

_WIDTH = 640
_NAME, _VALUE, _ROW = 150, 118, 30


def draw_effect(low: float, value: float, high: float, *, least: float, kind: str) -> Markup:
    """Draw one effect with its interval: a line at nothing, a grey zone of negligible effects.

    Parameters
    ----------
    low, value, high : float
        Shares, -1 to 1.
    least : float
        Half width of the zone.
    kind : str
        Class of the mark: the verdict.
    """
    ends = [abs(low), abs(high), abs(value), 2.5 * least]
    reach = min(1.0, 1.15 * max(ends))
    width, height, pad = 320, 46, 10

    def x(share: float) -> float:
        inside = max(-reach, min(reach, share))
        return round(pad + (width - 2 * pad) * (inside + reach) / (2 * reach), 1)

    parts = [
        element(
            '<rect class="zone" x="{a}" y="2" width="{w}" height="24" rx="3"/>',
            a=x(-least),
            w=round(x(least) - x(-least), 1),
        ),
        element('<line class="zero" x1="{x}" x2="{x}" y1="0" y2="28"/>', x=x(0)),
        element('<line class="range" x1="{a}" x2="{b}" y1="14" y2="14"/>', a=x(low), b=x(high)),
        element('<circle class="dot" cx="{x}" cy="14" r="6"/>', x=x(value)),
        element('<text class="tick" x="{x}" y="43">{t}</text>', x=pad, t=_points(-reach)),
        element('<text class="tick mid" x="{x}" y="43">0</text>', x=x(0)),
        element(
            '<text class="tick end" x="{x}" y="43">{t}</text>', x=width - pad, t=_points(reach)
        ),
    ]
    label = f"{_points(value)} points, 95% interval {_points(low)} to {_points(high)}"
    return drawing(f"effect is-{kind.replace(' ', '-')}", width, height, parts, label)


def draw_pairs(rows: Sequence[Mapping[str, Any]], *, pointed: str, otherwise: str) -> Markup:
    """Draw per label how often it is the answer when pointed at, and otherwise.

    Parameters
    ----------
    rows : sequence of mapping
        ``label``, ``pointed``, ``otherwise``, ``low``, ``high`` (of the difference), ``n``; rows
        without ``pointed`` had no answers.
    pointed, otherwise : str
        What the two marks mean.
    """
    known = [row for row in rows if row.get("pointed") is not None]
    top = max([0.02, *(max(r["pointed"], r["otherwise"] + r["high"]) for r in known)])
    top = _round_up(top)
    height = _ROW * len(rows) + 34
    left, right = _NAME, _WIDTH - _VALUE

    def x(share: float) -> float:
        return round(left + (right - left) * max(0.0, min(share, top)) / top, 1)

    parts = _grid(top, height - 28, x)
    for place, row in enumerate(rows):
        y = 8 + _ROW * place + _ROW / 2
        parts.append(_name(row["label"], y))
        if row.get("pointed") is None:
            parts.append(
                element('<text class="tick" x="{x}" y="{y}">no answers</text>', x=left, y=y + 4)
            )
            continue
        a, b = x(row["otherwise"] + row["low"]), x(row["otherwise"] + row["high"])
        parts += [
            element('<line class="range" x1="{a}" x2="{b}" y1="{y}" y2="{y}"/>', a=a, b=b, y=y),
            element(
                '<line class="step" x1="{a}" x2="{b}" y1="{y}" y2="{y}"/>',
                a=x(row["otherwise"]),
                b=x(row["pointed"]),
                y=y,
            ),
            element('<circle class="other" cx="{x}" cy="{y}" r="5"/>', x=x(row["otherwise"]), y=y),
            element('<circle class="dot" cx="{x}" cy="{y}" r="6"/>', x=x(row["pointed"]), y=y),
            element(
                '<text class="value" x="{x}" y="{y}">{t}</text>',
                x=right + 12,
                y=y + 4,
                t=f"{_points(row['effect'], sign=True)} points",
            ),
        ]
    said = "; ".join(
        f"{r['label']} {_percent(r['pointed'])} {pointed}, {_percent(r['otherwise'])} {otherwise}"
        for r in known
    )
    return drawing("chart audit pairs", _WIDTH, height, parts, said or "no answers")


def draw_shares(
    shares: Sequence[float], expected: Sequence[float], names: Sequence[str], *, favoured: int
) -> Markup:
    """Draw the share of answers at each place of the list, and what no preference would give.

    Parameters
    ----------
    shares, expected : sequence of float
        One per place.
    names : sequence of str
        What to call the places.
    favoured : int
        The place to mark; -1 for none.
    """
    height, left, right, foot = 260, 54, _WIDTH - 14, 40
    top = _round_up(max([*shares, *expected]) * 1.05)
    floor = height - foot

    def y(share: float) -> float:
        return round(floor - (floor - 12) * share / top, 1)

    parts = []
    for k in range(5):
        value = top * k / 4
        parts += [
            element(
                '<line class="grid" x1="{a}" x2="{b}" y1="{y}" y2="{y}"/>',
                a=left,
                b=right,
                y=y(value),
            ),
            element(
                '<text class="tick end" x="{x}" y="{y}">{t}</text>',
                x=left - 8,
                y=y(value) + 4,
                t=_percent(value),
            ),
        ]
    step = (right - left) / len(shares)
    for place, (share, even) in enumerate(zip(shares, expected, strict=True)):
        a = left + step * (place + 0.16)
        parts += [
            element(
                '<rect class="column {k}" x="{x}" y="{y}" width="{w}" height="{h}" rx="3"/>',
                k="here" if place == favoured else "there",
                x=round(a, 1),
                y=y(share),
                w=round(step * 0.68, 1),
                h=round(floor - y(share), 1),
            ),
            element(
                '<line class="even" x1="{a}" x2="{b}" y1="{y}" y2="{y}"/>',
                a=round(left + step * place, 1),
                b=round(left + step * (place + 1), 1),
                y=y(even),
            ),
            element(
                '<text class="tick mid" x="{x}" y="{y}">{t}</text>',
                x=round(a + step * 0.34, 1),
                y=floor + 18,
                t=names[place],
            ),
        ]
    parts.append(
        element(
            '<text class="axis mid" x="{x}" y="{y}">place in the list</text>',
            x=(left + right) / 2,
            y=height - 4,
        )
    )
    said = ", ".join(f"{n}: {_percent(s)}" for n, s in zip(names, shares, strict=True))
    return drawing(
        "chart audit shares", _WIDTH, height, parts, f"Share of answers by place. {said}"
    )


def _grid(top: float, floor: float, x: Any) -> list[Markup]:
    parts = []
    for k in range(5):
        value = top * k / 4
        parts += [
            element('<line class="grid" x1="{x}" x2="{x}" y1="4" y2="{f}"/>', x=x(value), f=floor),
            element(
                '<text class="tick mid" x="{x}" y="{y}">{t}</text>',
                x=x(value),
                y=floor + 18,
                t=_percent(value),
            ),
        ]
    return parts


def _name(text: str, y: float) -> Markup:
    return element(
        '<text class="label end" x="{x}" y="{y}"><title>{full}</title>{t}</text>',
        x=_NAME - 12,
        y=y + 4,
        full=text,
        t=cut(text, 20),
    )


def _round_up(share: float) -> float:
    """Round up to a scale whose quarters read well."""
    for top in (0.04, 0.08, 0.12, 0.2, 0.4, 0.6, 0.8):
        if share <= top:
            return top
    return 1.0


def _percent(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:g}%"


def _points(share: float, *, sign: bool = False) -> str:
    number = round(100 * share, 1) + 0.0
    text = f"{abs(number):g}" if math.isfinite(number) else "?"
    return f"−{text}" if number < 0 else f"+{text}" if sign and number > 0 else text
