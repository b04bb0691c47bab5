"""What all classifiers of media share: rows out of probabilities, and the scikit-learn side."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from showtell._progress import Progress, no_progress
from showtell.classify.predictions import Predictions
from showtell.errors import InputError
from showtell.media import Media

__all__ = ["MediaClassifier"]


class MediaClassifier(ClassifierMixin, BaseEstimator):
    """Base of every showtell classifier: X is a sequence of media, not a 2-D array.

    Subclasses implement `fit`, which sets ``classes_``, and `classify`; everything else follows.
    """

    classes_: NDArray[np.str_]

    @abstractmethod
    def classify(self, X: Sequence[Media], *, progress: Progress = no_progress) -> Predictions:
        """Classify each input; unusable ones become error rows, never exceptions."""

    def predict(self, X: Sequence[Media]) -> NDArray[np.str_]:
        """Label of each input, shape (n_samples,); "" where the classifier abstained.

        Raises
        ------
        InputError
            If an input could not be used: scikit-learn's interface has no place for an error
            row. `classify` gives every input a row.
        """
        return self._all_usable(self.classify(X)).label

    def predict_proba(self, X: Sequence[Media]) -> NDArray[np.float32]:
        """Probability of each label, shape (n_samples, n_classes), columns as `classes_`.

        Raises
        ------
        InputError
            If an input could not be used; see `classify`.
        """
        proba = self._all_usable(self.classify(X)).proba
        if proba is None:
            raise InputError(f"{type(self).__name__} gives no probabilities for these settings.")
        return proba

    @staticmethod
    def _all_usable(predictions: Predictions) -> Predictions:
        if predictions.errors:
            first = min(predictions.errors)
            raise InputError(
                f"{len(predictions.errors)} of {len(predictions)} images could not be used; the "
                f"first: {predictions.errors[first]}. Use `classify` instead, which gives every "
                "input a row with its status and reason."
            )
        return predictions

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags
