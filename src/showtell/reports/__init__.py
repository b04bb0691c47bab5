"""Records to pages: one self-contained HTML file, no network needed to read it."""

from __future__ import annotations

from showtell.reports.audit import write_audit
from showtell.reports.evolution import write_evolution
from showtell.reports.explained import write_explanations
from showtell.reports.page import write_gallery, write_report
from showtell.reports.tree_drawing import concepts_dot, draw_concepts

__all__ = [
    "concepts_dot",
    "draw_concepts",
    "write_audit",
    "write_evolution",
    "write_explanations",
    "write_gallery",
    "write_report",
]
