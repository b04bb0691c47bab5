"""The scikit-learn side of the classifiers, taken up when somebody may want it.

Importing ``sklearn.base`` takes longer than a command takes to classify a folder, and the command
needs nothing of it. So the base class starts with a plain parent; as soon as a classifier is taken
by its public name, or anything of scikit-learn's protocol is asked of one, the parent becomes
scikit-learn's own, for every class below and every instance there is.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Estimator(ClassifierMixin, BaseEstimator):
        """Parent of every classifier."""

else:

    class _Plain:
        """What commands need of an estimator; all else asks scikit-learn."""

        @classmethod
        def _get_param_names(cls) -> list[str]:
            parameters = list(inspect.signature(cls.__init__).parameters)
            return sorted(parameters[1:])  # without self

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            if deep:
                return self._joined().get_params(deep=True)
            return {name: getattr(self, name) for name in self._get_param_names()}

        def set_params(self, **params: Any) -> Any:
            return self._joined().set_params(**params)

        def __repr__(self) -> str:
            return repr(self._joined())

        def __sklearn_tags__(self) -> Any:
            return super(Estimator, self._joined()).__sklearn_tags__()

        def __sklearn_clone__(self) -> Any:
            return super(Estimator, self._joined()).__sklearn_clone__()

        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
            return self._joined().score(X, y, sample_weight)

        def _joined(self) -> Any:
            join_scikit_learn()
            return self

    class Estimator(_Plain):
        """Parent of every classifier."""


def join_scikit_learn() -> None:
    """Make every classifier a true scikit-learn estimator; once is enough."""
    from sklearn.base import BaseEstimator, ClassifierMixin

    if BaseEstimator not in Estimator.__mro__:
        Estimator.__bases__ = (ClassifierMixin, BaseEstimator)
        for cls in _subclasses(Estimator):  # as it would have been told when they were made
            super(Estimator, cls).__init_subclass__()


def _subclasses(cls: type) -> Iterator[Any]:
    below: type
    for below in cls.__subclasses__():
        yield below
        yield from _subclasses(below)


def check_is_fitted(estimator: Any) -> None:
    """Raise NotFittedError unless `fit` has learned something.

    Raises sklearn.exceptions.NotFittedError if no attribute ends in an underscore.
    """
    if any(name.endswith("_") and not name.startswith("__") for name in vars(estimator)):
        return
    from sklearn.exceptions import NotFittedError

    raise NotFittedError(
        f"This {type(estimator).__name__} is not fitted yet. Call `fit` before you use it."
    )
