"""Numbers and lists as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal

__all__ = [
    "chance",
    "count",
    "cut",
    "duration",
    "joined",
    "listed",
    "money",
    "number",
    "percent",
    "plain_points",
    "plural",
    "points",
    "price",
]


def percent(share: float | None, *, digits: int = 1) -> str:
    """Write a share as a percentage; never rounds up to 100 or down to 0.

    Examples
    --------
    >>> percent(0.8416), percent(1.0), percent(0.9999), percent(None)
    ('84.2%', '100%', '99.9%', '–')
    """
    if share is None or math.isnan(share):
        return "–"
    if share in (0.0, 1.0):
        return f"{share * 100:.0f}%"
    step = 10.0**-digits
    shown = min(max(round(share * 100, digits), step), 100 - step)
    return f"{shown:.{digits}f}%"


def count(n: int) -> str:
    """Write a whole number with separators.

    Examples
    --------
    >>> count(10000)
    '10,000'
    """
    return f"{n:,}"


def plural(n: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun.

    Examples
    --------
    >>> plural(1, "picture"), plural(1200, "picture"), plural(0, "class", "classes")
    ('1 picture', '1,200 pictures', '0 classes')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def number(value: float | None, *, digits: int = 3) -> str:
    """Write a number without a unit.

    Examples
    --------
    >>> number(0.77551), number(None)
    ('0.776', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def money(cost: Decimal | float | None) -> str:
    """Write a cost in USD; unknown is not nothing.

    Examples
    --------
    >>> money(None), money(Decimal(0)), money(Decimal("0.00042")), money(Decimal("12.3"))
    ('unknown', 'nothing', '$0.00042', '$12.30')
    """
    if cost is None:
        return "unknown"
    value = Decimal(str(cost))
    if value == 0:
        return "nothing"
    if value >= Decimal("0.01"):
        return f"${value:,.2f}"
    return f"${value.normalize():f}"


def price(usd_per_1000: float | None) -> str:
    """Write what 1,000 pictures cost, with two digits that count; unknown is not nothing.

    Examples
    --------
    >>> price(None), price(0.0), price(0.04234), price(0.5), price(12.3)
    ('unknown', 'free', '$0.042', '$0.50', '$12.30')
    """
    if usd_per_1000 is None:
        return "unknown"
    if usd_per_1000 == 0:
        return "free"
    if usd_per_1000 >= 0.1:
        return f"${usd_per_1000:,.2f}"
    return f"${Decimal(f'{usd_per_1000:.2g}'):f}"


def points(difference: float) -> str:
    """Write a difference of shares in percentage points, with its sign.

    Examples
    --------
    >>> points(0.0812), points(-0.04), points(0.0)
    ('+8.1', '−4.0', '0.0')
    """
    value = round(difference * 100, 1)
    sign = "+" if value > 0 else "−" if value < 0 else ""
    return f"{sign}{abs(value):.1f}"


def plain_points(difference: float) -> str:
    """Write a difference of shares in percentage points as programs write numbers.

    Examples
    --------
    >>> plain_points(0.0812), plain_points(-0.04), plain_points(-0.00001)
    ('8.1', '-4.0', '0.0')
    """
    return f"{round(100 * difference, 1) + 0.0:.1f}"  # never -0.0


def chance(p_value: float) -> str:
    """Write a p-value.

    Examples
    --------
    >>> chance(0.64), chance(0.0000004)
    ('p = 0.640', 'p < 0.001')
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def joined(names: Sequence[str], *, last: str = "and") -> str:
    """Write a list as part of a sentence.

    Examples
    --------
    >>> joined(["cat"]), joined(["cat", "dog", "fox"]), joined(["yes", "no"], last="or")
    ('cat', 'cat, dog and fox', 'yes or no')
    """
    *most, end = names
    return f"{', '.join(most)} {last} {end}" if most else end


def listed(names: Iterable[object], *, most: int = 5) -> str:
    """Name the first of a list and count the others.

    Examples
    --------
    >>> listed(["a", "b"]), listed("abcdefg")
    ('a, b', 'a, b, c, d, e and 2 more')
    """
    every = [str(name) for name in names]
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def cut(text: str, most: int) -> str:
    """Shorten a text to at most `most` characters.

    Examples
    --------
    >>> cut("marten", 6), cut("a marten", 6)
    ('marten', 'a mar…')
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def duration(seconds: float | None) -> str:
    """Write a time span.

    Examples
    --------
    >>> duration(0.25), duration(42.04), duration(150), duration(7322)
    ('0.25 s', '42 s', '2 min 30 s', '2 h 2 min')
    """
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
