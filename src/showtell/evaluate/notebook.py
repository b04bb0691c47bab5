"""Records, comparisons and curves as the small tables that notebooks show."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Draw a table under a line of text; everything is escaped, numbers get three digits.

    Examples
    --------
    >>> html_table("a < b", ["n"], [[0.5]])[:40]
    '<div><p>a &lt; b</p><table><thead><tr><t'
    """
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(_text(cell))}</td>' for cell in row)}</tr>"
        for row in rows
    )
    return (
        f"<div><p>{html.escape(caption)}</p><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
