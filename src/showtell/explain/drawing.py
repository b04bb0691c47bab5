"""Bars and heat as inline HTML and SVG: no style attribute, no address, all escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from showtell.pages.charts import Drawing
from showtell.pages.thumbs import data_uri, size_of

FOR, AGAINST = "#e8590c", "#1971c2"
"""What speaks for a label is orange, what speaks against it is blue."""

_STRONGEST = 0.62  # opacity of the square that matters most


def heat_over(picture: bytes, heat: NDArray[np.float64], *, largest: float, title: str) -> Markup:
    """Lay squares over a picture, orange where covering lowers the score, blue where it raises it.

    `heat` has the shape (n_rows, n_columns); the value `largest` is drawn strongest.
    """
    width, height = size_of(picture)
    high, wide = height / heat.shape[0], width / heat.shape[1]
    drawing = Drawing("heat", width, height)
    drawing.mark("image", "", href=data_uri(picture), width=width, height=height)
    for (row, column), value in np.ndenumerate(heat):
        opacity = round(_STRONGEST * min(abs(value) / largest, 1.0), 3) if largest > 0 else 0.0
        if opacity >= 0.02:
            colour = FOR if value > 0 else AGAINST
            drawing.box("", column * wide, row * high, wide, high, fill=colour,
                        fill_opacity=str(opacity))  # fmt: skip
    return drawing.done(title, title)


def bar_list(rows: Iterable[tuple[str, str, float, float, str]]) -> Markup:
    """List texts, what is written beside each, and a bar: its start and length in percent."""
    items = [
        Markup(
            '<li><span class="what">{}</span> <span class="how">{}</span>'
            '<svg viewBox="0 0 100 4" preserveAspectRatio="none" width="100%" height="6" '
            'aria-hidden="true"><rect width="100" height="4" fill="#888" fill-opacity="0.15"/>'
            '<rect x="{}" width="{}" height="4" fill="{}"/></svg></li>'
        ).format(text, shown, round(start, 2), round(length, 2), colour)
        for text, shown, start, length, colour in rows
    ]
    return Markup('<ol class="bars">{}</ol>').format(Markup("").join(items))


def signed_bars(rows: Sequence[tuple[str, float, str]]) -> Markup:
    """List texts with a bar each; all bars share a scale, and 0 is in the middle if need be."""
    most = max((abs(value) for _, value, _ in rows if np.isfinite(value)), default=0.0) or 1.0
    zero, span = (50.0, 50.0) if any(value < 0 for _, value, _ in rows) else (0.0, 100.0)

    def bar(text: str, value: float, shown: str) -> tuple[str, str, float, float, str]:
        length = span * abs(value) / most if np.isfinite(value) else 0.0
        if value >= 0:
            return text, shown, zero, length, FOR
        return text, shown, zero - length, length, AGAINST

    return bar_list(bar(*row) for row in rows)
