"""Which clues to keep: those whose permutation costs accuracy on samples not learned from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.errors import InputError
from showtell.metrics.importance import PredictProba, permutation_importance

THRESHOLDS = (-0.004, -0.003, -0.002, -0.001, 0.0, 0.001, 0.002, 0.003)
"""Of importance, in accuracy, as published; those above are kept."""

FitClues: TypeAlias = Callable[[NDArray[Any], NDArray[Any], NDArray[np.intp]], PredictProba]
"""Features of all clues, codes, and which columns to use, to a function that predicts from these
columns."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Rows to learn from and rows to choose on; they have none in common."""

    train: NDArray[np.intp]
    select: NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a threshold came to."""

    threshold: float
    n_clues: int
    accuracy: float
    """Of a model with these clues alone, on the rows to choose on."""


@dataclass(frozen=True, kw_only=True)
class ClueSelection:
    """Which clues were kept, and why."""

    kept: tuple[int, ...]
    """Numbers of the clues, in order."""
    threshold: float | None
    """Of importance; None where all clues were kept."""
    accuracy: float
    """On the rows to choose on, with the clues that were kept."""
    accuracy_of_all: float
    """With all clues."""
    n_select: int
    """Rows to choose on."""
    importance: tuple[float, ...]
    """Of each clue, in accuracy, on the rows to choose on."""
    trials: tuple[Trial, ...]

    def choose(self, n_errors: float = 0.0) -> ClueSelection:
        """Choose by another rule from the same trials.

        Parameters
        ----------
        n_errors : float, default=0.0
            As in `select_clues`.
        """
        n_clues = len(self.importance)
        tried = [(t.n_clues, -t.accuracy, -t.threshold) for t in self.trials]
        tried.append((n_clues, -self.accuracy_of_all, -np.inf))
        best = -min(accuracy for _, accuracy, _ in tried)
        least = best - n_errors * np.sqrt(best * (1 - best) / self.n_select) - 1e-12
        n_kept, accuracy, threshold = min(one for one in tried if -one[1] >= least)
        kept = tuple(np.flatnonzero(np.array(self.importance) > -threshold).tolist())
        every = n_kept == n_clues
        return replace(
            self,
            kept=tuple(range(n_clues)) if every else kept,
            threshold=None if every else float(-threshold),
            accuracy=float(-accuracy),
        )

    def __str__(self) -> str:
        return (
            f"{len(self.kept)} of {len(self.importance)} clues kept; accuracy {self.accuracy:.3f} "
            f"with them, {self.accuracy_of_all:.3f} with all, on {self.n_select} images that were "
            "not learned from"
        )


def select_clues(
    fit: FitClues,
    features: NDArray[Any],
    codes: NDArray[Any],
    folds: Sequence[Fold],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    n_repeats: int = 10,
    n_errors: float = 0.0,
    random_state: int = 0,
) -> ClueSelection:
    """Choose a threshold of permutation importance, and with it the clues.

    Importances and thresholds are measured on the rows to choose on alone, by models that have
    learned from the other rows. With several folds both are means over all of them.

    `features`, of shape (n_samples, n_clues). `codes`, of shape (n_samples,). `folds`: one for a
    simple split; several for cross-validation. `thresholds`: clues with a greater importance are
    kept. `n_errors`: 0: the threshold with the best accuracy, as published, and of equals the one
    with the fewest clues. Above 0: the one with the fewest clues among those that are not worse
    than the best by more than so many standard errors of its accuracy.

    References
    ----------
    Bastide (2024) for permutation importance and thresholds, there on the test split. Breiman et
    al. (1984), Classification and Regression Trees, section 3.4.3, for one standard error.
    """
    if not folds or not all(len(fold.train) and len(fold.select) for fold in folds):
        raise InputError("Clues are chosen on images not learned from, and there are none.")
    n_clues = features.shape[1]
    every = np.arange(n_clues)
    n_select = sum(len(fold.select) for fold in folds)
    importance = np.zeros(n_clues)
    right_of_all = 0.0
    for fold in folds:
        predict = fit(features[fold.train], codes[fold.train], every)
        found = permutation_importance(
            predict,
            features[fold.select],
            codes[fold.select],
            n_repeats=n_repeats,
            random_state=random_state,
        )
        importance += found.mean * len(fold.select) / n_select
        right_of_all += found.baseline * len(fold.select)
    accuracy_of_all = right_of_all / n_select
    accuracies: dict[tuple[int, ...], float] = {tuple(every.tolist()): accuracy_of_all}
    trials = []
    for threshold in sorted(thresholds):
        kept = tuple(np.flatnonzero(importance > threshold).tolist())
        if kept and kept not in accuracies:
            accuracies[kept] = _accuracy(fit, features, codes, folds, np.array(kept))
        if kept:
            trials.append(
                Trial(threshold=float(threshold), n_clues=len(kept), accuracy=accuracies[kept])
            )
    return ClueSelection(
        kept=tuple(every.tolist()),
        threshold=None,
        accuracy=accuracy_of_all,
        accuracy_of_all=accuracy_of_all,
        n_select=n_select,
        importance=tuple(importance.tolist()),
        trials=tuple(trials),
    ).choose(n_errors)


def _accuracy(
    fit: FitClues,
    features: NDArray[Any],
    codes: NDArray[Any],
    folds: Sequence[Fold],
    columns: NDArray[np.intp],
) -> float:
    """Share of the rows to choose on that models with some of the clues get right."""
    right = 0
    for fold in folds:
        predict = fit(features[fold.train], codes[fold.train], columns)
        proba = predict(features[np.ix_(fold.select, columns)])
        right += int((np.asarray(proba).argmax(axis=1) == codes[fold.select]).sum())
    return right / sum(len(fold.select) for fold in folds)


def split_of(codes: NDArray[Any], *, share: float = 0.25, random_state: int = 0) -> Fold:
    """Set a share of each class apart, at least one row of it; a class keeps one at least.

    Examples
    --------
    >>> fold = split_of(np.array([0] * 8 + [1] * 4))
    >>> len(fold.train), len(fold.select)
    (9, 3)
    """
    rng = np.random.default_rng(random_state)
    apart = np.zeros(len(codes), bool)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        n = min(max(1, round(share * len(rows))), len(rows) - 1)
        apart[rng.permutation(rows)[:n]] = True
    return Fold(train=np.flatnonzero(~apart), select=np.flatnonzero(apart))


def folds_of(codes: NDArray[Any], *, n_folds: int = 5, random_state: int = 0) -> list[Fold]:
    """Split so that every row is apart once, but those of classes with a single row.

    Examples
    --------
    >>> [fold.select.tolist() for fold in folds_of(np.array([0, 0, 1, 1, 2]), random_state=1)]
    [[0, 2], [1, 3]]
    """
    rng = np.random.default_rng(random_state)
    number = np.full(len(codes), -1)
    most = int(np.bincount(codes).max(initial=0))
    n_folds = min(n_folds, most)
    start = 0
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        if len(rows) > 1:
            number[rng.permutation(rows)] = (start + np.arange(len(rows))) % n_folds
            start += len(rows)
    rows_of = [np.flatnonzero(number == n) for n in range(n_folds)]
    return [
        Fold(train=np.flatnonzero(number != n), select=rows)
        for n, rows in enumerate(rows_of)
        if len(rows) and n_folds > 1
    ]
