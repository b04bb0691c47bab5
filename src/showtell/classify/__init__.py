"""The classifiers, one method per file."""

from __future__ import annotations

from showtell.classify.base import MediaClassifier
from showtell.classify.predictions import STATUSES, Predictions, Status

__all__ = ["STATUSES", "MediaClassifier", "Predictions", "Status"]
