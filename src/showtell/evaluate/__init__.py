"""An estimator on a data set, measured: records, shot curves, paired comparisons."""

from __future__ import annotations

from showtell.evaluate.record import ParsingRow, Record
from showtell.evaluate.run import evaluate

__all__ = ["ParsingRow", "Record", "evaluate"]
