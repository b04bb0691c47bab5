"""Records to pages: one self-contained HTML file, no network needed to read it."""

from __future__ import annotations

from showtell.reports.audit import write_audit
from showtell.reports.evolution import write_evolution
from showtell.reports.page import write_gallery, write_report

__all__ = ["write_audit", "write_evolution", "write_gallery", "write_report"]
