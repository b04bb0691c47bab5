"""Bars and heat as inline HTML and SVG: no style attribute, no address, all escaped."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from showtell.pages.thumbs import data_uri, size_of

__all__ = ["AGAINST", "FOR", "draw_bars", "heat_over", "signed_bars"]

FOR, AGAINST = "#e8590c", "#1971c2"
"""What speaks for a label is orange, what speaks against it is blue."""

_STRONGEST = 0.62  # opacity of the square that matters most


def heat_over(picture: bytes, heat: NDArray[np.float64], *, largest: float, title: str) -> Markup:
    """Lay squares over a picture, orange where covering lowers the score, blue where it raises it.

    Parameters
    ----------
    picture : bytes
    heat : ndarray of shape (n_rows, n_columns)
    largest : float
        The value that is drawn strongest.
    title : str
        Said by screen readers and on hovering.
    """
    width, height = size_of(picture)
    n_rows, n_columns = heat.shape
    squares = []
    for row in range(n_rows):
        for column in range(n_columns):
            strength = abs(float(heat[row, column])) / largest if largest > 0 else 0.0
            opacity = round(_STRONGEST * min(strength, 1.0), 3)
            if opacity < 0.02:
                continue
            left, top = column * width / n_columns, row * height / n_rows
            squares.append(
                Markup(
                    '<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="{c}" fill-opacity="{o}"/>'
                ).format(
                    x=round(left, 1),
                    y=round(top, 1),
                    w=round(width / n_columns, 1),
                    h=round(height / n_rows, 1),
                    c=FOR if heat[row, column] > 0 else AGAINST,
                    o=opacity,
                )
            )
    return Markup(
        '<svg class="heat" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
        'aria-label="{title}"><title>{title}</title>'
        '<image href="{src}" width="{w}" height="{h}"/>{squares}</svg>'
    ).format(
        w=width, h=height, title=title, src=data_uri(picture), squares=Markup("").join(squares)
    )


def signed_bars(rows: Sequence[tuple[str, float, str]]) -> Markup:
    """List texts with a bar each; all bars share a scale, and 0 is in the middle if need be."""
    most = max((abs(value) for _, value, _ in rows if np.isfinite(value)), default=0.0) or 1.0
    both = any(value < 0 for _, value, _ in rows)
    zero, span = (50.0, 50.0) if both else (0.0, 100.0)
    items = []
    for text, value, shown in rows:
        length = round(span * abs(value) / most, 2) if np.isfinite(value) else 0.0
        items.append(
            Markup(
                '<li><span class="what">{text}</span> <span class="how">{shown}</span>'
                '<svg viewBox="0 0 100 4" preserveAspectRatio="none" width="100%" height="6" '
                'aria-hidden="true"><rect width="100" height="4" fill="#888" fill-opacity="0.15"/>'
                '<rect x="{x}" width="{w}" height="4" fill="{c}"/></svg></li>'
            ).format(
                text=text,
                shown=shown,
                x=zero if value >= 0 else round(zero - length, 2),
                w=length,
                c=FOR if value >= 0 else AGAINST,
            )
        )
    return Markup('<ol class="bars">{}</ol>').format(Markup("").join(items))


def draw_bars(ax: Any, rows: Sequence[tuple[str, float, str]]) -> None:
    """Draw horizontal bars on matplotlib axes, the first at the top."""
    values = [value for _, value, _ in rows]
    ax.barh(range(len(rows)), values, color=[FOR if value >= 0 else AGAINST for value in values])
    names = [textwrap.shorten(text, 40, placeholder="…") for text, _, _ in rows]
    ax.set_yticks(range(len(rows)), names, parse_math=False)
    ax.invert_yaxis()
    for place, (_, value, shown) in enumerate(rows):
        ax.annotate(
            shown,
            (value, place),
            xytext=(3 if value >= 0 else -3, 0),
            textcoords="offset points",
            va="center",
            ha="left" if value >= 0 else "right",
            fontsize=8,
            parse_math=False,
        )
    ax.margins(x=0.2)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
