"""Samples and labels: from folders, tables and boxes to a `Dataset`, its splits and its shots."""

from __future__ import annotations

from showtell.datasets.dataset import Dataset, Sample

__all__ = ["Dataset", "Sample"]
