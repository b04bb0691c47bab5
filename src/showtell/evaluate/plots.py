"""What a record draws: the charts of its page, for notebooks and files."""

from __future__ import annotations

from typing import Any

from showtell.errors import InputError
from showtell.pages.charts import (
    Chart,
    draw_calibration,
    draw_confusion,
    draw_recalls,
    draw_risk_coverage,
)


class RecordPlots:
    """Draws measures that a `Record` has."""

    classes: Any
    confusion: Any
    metrics: Any
    per_class: Any
    reliability: Any
    risk_coverage: Any

    def plot_confusion(self, *, normalise: bool = True) -> Chart:
        """Draw the confusion matrix; colours are shares of a row, or else of the largest count."""
        return Chart(draw_confusion(self.confusion, self.classes, normalise=normalise))

    def plot_per_class(self) -> Chart:
        """Draw the recall of each label with its Wilson interval, the best first."""
        keys = ("recall", "recall_low", "recall_high")
        rows = [(label, *(row[k] for k in keys)) for label, row in self.per_class.items()]
        return Chart(draw_recalls(sorted(rows, key=lambda row: -row[1])))

    def plot_reliability(self) -> Chart:
        """Draw accuracy against confidence with intervals; `InputError` without confidences."""
        if not self.reliability:
            raise InputError("This record has no confidences, so there is no calibration to draw.")
        ece, floor = self.metrics["ece"], self.metrics["ece_noise_floor"]
        about = f" (ECE {ece:.3f}, chance alone {floor:.3f})"
        return Chart(draw_calibration(self.reliability, about))

    def plot_risk_coverage(self) -> Chart:
        """Draw the error rate among the surest; `InputError` without confidences."""
        curve = self.risk_coverage
        if not len(curve.coverage):
            raise InputError("This record has no confidences, so there is no risk to draw.")
        return Chart(draw_risk_coverage(curve.coverage, curve.risk))
