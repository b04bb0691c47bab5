"""Sets of labels that hold the right one as often as was promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.errors import InputError
from showtell.metrics.conformal import ConformalSets, conformal_rank, fit_conformal

if TYPE_CHECKING:
    from showtell.classify.base import MediaClassifier
    from showtell.classify.predictions import Predictions
    from showtell.media import Media

SEPARATOR = "|"
"""Between the labels of a set, in a row."""


@dataclass(frozen=True, kw_only=True)
class CalibratedSets:
    """A rule that turns probabilities into sets of labels; made by `calibrate_sets`."""

    rule: ConformalSets
    coverage: float
    """Promised share of sets that hold the right label."""
    n_calibration: int
    """Labelled images that it was calibrated on."""
    n_unusable: int
    """Of those given, images without probabilities: unreadable, or not answered."""
    n_needed: int
    """Images that a promise of this size needs; with fewer every set holds all labels."""

    def added_to(self, predictions: Predictions) -> Predictions:
        """Return predictions with a column ``set``.

        Parameters
        ----------
        predictions : Predictions
            Of the classifier that it was calibrated for, with probabilities.

        Returns
        -------
        predictions : Predictions
            The labels of a set stand between ``|``, the most probable first; None in rows that
            have no probabilities. Abstained rows have a set.

        Raises
        ------
        InputError
            If there are no probabilities, or those of other labels.
        """
        proba = _proba(predictions)
        known = ~np.isnan(proba).any(axis=1)
        members = np.zeros(proba.shape, bool)
        if known.any():
            members[known] = self.rule.predict(proba[known]).members
        order = np.argsort(-np.nan_to_num(proba), axis=1, kind="stable")
        cells = [
            SEPARATOR.join(predictions.classes[code] for code in order[row] if members[row, code])
            if known[row]
            else None
            for row in range(len(proba))
        ]
        return replace(predictions, columns={**predictions.columns, "set": cells})


def calibrate_sets(
    classifier: MediaClassifier,
    X: Sequence[Media],
    y: Sequence[Any] | NDArray[Any],
    *,
    coverage: float = 0.9,
    progress: Progress = no_progress,
) -> CalibratedSets:
    """Find out how large sets of labels must be to hold the right one as often as promised.

    Split conformal prediction with the score ``1 - p`` (LAC): the sets are the smallest on
    average. The promise is about the mean over all images, not about each label.

    Parameters
    ----------
    classifier : MediaClassifier
        Fitted. One that asks a model asks about each image, which costs.
    X : sequence of Media, length n_samples
        Labelled images that it has not learned from, of the kind it is to classify.
    y : sequence of length n_samples
        Their labels.
    coverage : float, default=0.9
        Between 0 and 1. It needs ``coverage / (1 - coverage)`` images or more.
    progress : callable, optional

    Returns
    -------
    sets : CalibratedSets

    Raises
    ------
    InputError
        If `coverage` is not between 0 and 1, a label is none of the classifier's, no image can be
        used, or the classifier gives no probabilities.

    References
    ----------
    Angelopoulos and Bates (2021), A Gentle Introduction to Conformal Prediction, arXiv:2107.07511;
    LAC: Sadinle et al. (2019), arXiv:1609.00451.

    Examples
    --------
    >>> from showtell.classify import ZeroShotClassifier
    >>> from showtell.testing import WordEncoder
    >>> encoder = WordEncoder(["cat", "dog"], logit_scale=2.0)
    >>> clf = ZeroShotClassifier(encoder, labels=["cat", "dog"], store=None).fit()
    >>> images = ["a cat", "a dog", "a cat and a dog", "a dog on grass"]
    >>> sets = calibrate_sets(clf, images, ["cat", "dog", "dog", "dog"], coverage=0.7)
    >>> list(sets.added_to(clf.classify(["a cat", "cat and dog"])).columns["set"])
    ['cat', 'cat|dog']
    """
    if not 0 < coverage < 1:
        raise InputError(f"`sets` is a share between 0 and 1, such as 0.9; got {coverage!r}.")
    labels = [str(label) for label in classifier.classes_.tolist()]
    code_of = {label: code for code, label in enumerate(labels)}
    unknown = sorted({str(label) for label in y} - set(code_of))
    if unknown:
        raise InputError(
            f"Sets are calibrated on images of the labels {', '.join(labels)}; got "
            f"{', '.join(map(repr, unknown))}."
        )
    proba = _proba(classifier.classify(X, progress=progress))
    known = ~np.isnan(proba).any(axis=1)
    if not known.any():
        raise InputError("Not one labelled image could be used, so no set can be calibrated.")
    codes = np.array([code_of[str(label)] for label in y])
    alpha = 1 - coverage
    needed = next(n for n in range(1, 10**7) if conformal_rank(n, alpha) <= n)
    return CalibratedSets(
        rule=fit_conformal(proba[known], codes[known], alpha=alpha),
        coverage=coverage,
        n_calibration=int(known.sum()),
        n_unusable=int((~known).sum()),
        n_needed=needed,
    )


def _proba(predictions: Predictions) -> Any:
    """Give the probabilities of all rows, NaN where there are none."""
    proba = predictions.proba
    if proba is None:
        raise InputError(
            "Sets of labels need the probability of each label, and this classifier gives none."
        )
    return proba
