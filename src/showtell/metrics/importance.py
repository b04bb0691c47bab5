"""What a prediction by named features rests on: pure functions of arrays and a predict function.

The features of `ConceptClassifier` are clues, but nothing here knows that. Features that say the
same share their importance: permute them as one group instead of adding single importances up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from showtell.checks import at_least, one_of
from showtell.errors import InputError

PredictProba: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
"""Features of shape (n, n_features) to probabilities of shape (n, n_classes)."""

Measure: TypeAlias = Literal["accuracy", "log-loss"]

_MEASURES = ("accuracy", "log-loss")
_TINY = 1e-12
_MOST_VALUES = 20_000_000  # floats of one batch of changed rows
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_HALVINGS = 12


@dataclass(frozen=True, kw_only=True)
class Importances:
    """How much worse predictions get when a group of features is permuted."""

    mean: NDArray[np.float64]
    """Shape (n_groups,): fall of the accuracy, or rise of the log loss."""
    std: NDArray[np.float64]
    """Over the repeats."""
    repeats: NDArray[np.float64]
    """Shape (n_groups, n_repeats)."""
    baseline: float
    """Accuracy or log loss of the features as they are."""


@dataclass(frozen=True, kw_only=True)
class LabelImportances:
    """What characterises each label."""

    importance: NDArray[np.float64]
    """Shape (n_classes, n_groups): by how much a label's probability, on its own samples less that
    on others, falls when the group is permuted."""
    direction: NDArray[np.float64]
    """Shape (n_classes, n_features): mean of the feature with the label less that without, in
    standard deviations; 0 for constant features."""


@dataclass(frozen=True, kw_only=True)
class PairReport:
    """Which features two labels have in common among their most important ones."""

    first: int
    second: int
    n_top: int
    shared: tuple[int, ...]
    """Important for both, most important first (by the lower of both importances)."""
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]

    @property
    def overlap(self) -> float:
        """Share of the top features that are shared, 0 to 1."""
        n = len(self.shared) + max(len(self.only_first), len(self.only_second))
        return len(self.shared) / n if n else 0.0


@dataclass(frozen=True, kw_only=True)
class Change:
    """A feature that would have to be different."""

    feature: int
    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """The fewest and smallest changes found that give a sample another label."""

    label: int
    """Predicted now."""
    target: int
    """Predicted after the changes, if `flips`."""
    changes: tuple[Change, ...]
    """Most effective first."""
    flips: bool
    """Whether the changes are enough."""
    proba_before: NDArray[np.float64]
    """Shape (n_classes,)."""
    proba_after: NDArray[np.float64]


def permutation_importance(
    predict_proba: PredictProba,
    features: ArrayLike,
    codes: ArrayLike,
    *,
    groups: Sequence[Sequence[int]] | None = None,
    n_repeats: int = 10,
    measure: Measure = "accuracy",
    random_state: int = 0,
) -> Importances:
    """Measure how much predictions depend on each feature, or each group of features.

    Parameters
    ----------
    predict_proba : callable
    features : array-like of shape (n_samples, n_features)
        Of samples the model has not learned from.
    codes : array-like of shape (n_samples,), int
        True labels, as columns of the probabilities.
    groups : sequence of sequence of int, optional
        Columns that are permuted together, all by the same permutation of the rows. None: each
        column by itself.
    n_repeats : int, default=10
    measure : {"accuracy", "log-loss"}, default="accuracy"
    random_state : int, default=0
        The permutations are the same for every group.

    Returns
    -------
    importances : Importances
        Exactly 0 for a group of constant columns.

    Raises
    ------
    InputError
        If there are no samples, or shapes or columns do not fit.

    References
    ----------
    Breiman (2001), Random Forests, section 10. Gregorutti, Michel, Saint-Pierre (2015), Grouped
    variable importance with random forests, arXiv:1411.4170.

    Examples
    --------
    >>> X = np.array([[0.0, 5.0], [1.0, 5.0]] * 20)
    >>> y = X[:, 0].astype(int)
    >>> found = permutation_importance(lambda X: np.c_[1 - X[:, 0], X[:, 0]], X, y)
    >>> bool(found.mean[0] > 0.2), float(found.mean[1])
    (True, 0.0)
    """
    one_of("measure", measure, _MEASURES)
    X, y = _checked(features, codes)
    columns = _columns(groups, X.shape[1])
    orders = _orders(len(X), n_repeats, random_state)
    baseline = _worth(predict_proba(X), y, measure)
    sign = 1.0 if measure == "accuracy" else -1.0
    repeats = np.zeros((len(columns), n_repeats))
    for g, of_group in enumerate(columns):
        for r, proba in _permuted(predict_proba, X, of_group, orders):
            repeats[g, r] = sign * (baseline - _worth(proba, y, measure))
    return Importances(
        mean=repeats.mean(axis=1), std=repeats.std(axis=1), repeats=repeats, baseline=baseline
    )


def label_importance(
    predict_proba: PredictProba,
    features: ArrayLike,
    codes: ArrayLike,
    *,
    groups: Sequence[Sequence[int]] | None = None,
    n_repeats: int = 10,
    random_state: int = 0,
) -> LabelImportances:
    """Measure what sets each label apart from all others, and in which direction.

    Examples
    --------
    >>> X = np.array([[0.0, 5.0], [1.0, 5.0]] * 20)
    >>> found = label_importance(lambda X: np.c_[1 - X[:, 0], X[:, 0]], X, X[:, 0].astype(int))
    >>> found.direction
    array([[-2.,  0.],
           [ 2.,  0.]])
    """
    X, y = _checked(features, codes)
    columns = _columns(groups, X.shape[1])
    orders = _orders(len(X), n_repeats, random_state)
    proba = np.asarray(predict_proba(X), np.float64)
    n_classes = proba.shape[1]
    own = y[:, None] == np.arange(n_classes)  # (n_samples, n_classes)
    usable = own.any(axis=0) & ~own.all(axis=0)

    def separation(found: NDArray[Any]) -> NDArray[np.float64]:
        inside = (found * own).sum(axis=0) / np.maximum(own.sum(axis=0), 1)
        outside = (found * ~own).sum(axis=0) / np.maximum((~own).sum(axis=0), 1)
        return np.where(usable, inside - outside, 0.0)

    baseline = separation(proba)
    importance = np.zeros((n_classes, len(columns)))
    for g, of_group in enumerate(columns):
        for _, mixed in _permuted(predict_proba, X, of_group, orders):
            importance[:, g] += (baseline - separation(mixed)) / n_repeats
    return LabelImportances(importance=importance, direction=directions(X, y, n_classes))


def directions(features: ArrayLike, codes: ArrayLike, n_classes: int) -> NDArray[np.float64]:
    """Tell whether a feature is higher or lower with a label than without it.

    Mean with the label less mean without, in standard deviations of the feature, shape
    (n_classes, n_features); 0 for constant features, and for labels without samples or with
    nothing but theirs.

    Examples
    --------
    >>> directions([[0.0, 5.0], [1.0, 5.0]], [0, 1], 2)
    array([[-2.,  0.],
           [ 2.,  0.]])
    """
    X, y = _checked(features, codes)
    spread = X.std(axis=0)
    constant = (X[0] == X).all(axis=0)
    direction = np.zeros((n_classes, X.shape[1]))
    for code in range(n_classes):
        own = y == code
        if own.any() and not own.all():
            gap = X[own].mean(axis=0) - X[~own].mean(axis=0)
            direction[code] = np.where(constant, 0.0, gap / np.where(constant, 1.0, spread))
    return direction


def pair_report(importance: ArrayLike, first: int, second: int, *, n_top: int = 30) -> PairReport:
    """Compare the `n_top` most important features of two labels: what they share confuses them.

    `importance` is that of `label_importance`; only features with one above 0 count.

    Examples
    --------
    >>> report = pair_report([[3, 2, 1, 0], [0, 3, 2, 1]], 0, 1, n_top=2)
    >>> report.shared, report.only_first, report.only_second, report.overlap
    ((1,), (0,), (2,), 0.5)
    """
    rows = np.asarray(importance, np.float64)
    if rows.ndim != 2 or not (0 <= first < len(rows) and 0 <= second < len(rows)):
        raise InputError(
            f"`importance` has shape {rows.shape}; it must be (n_classes, n_features) and have "
            f"rows {first} and {second}."
        )
    at_least(1, n_top=n_top)

    def top(code: int) -> list[int]:
        order = np.argsort(-rows[code], kind="stable")[:n_top]
        return [int(i) for i in order if rows[code, i] > 0]

    ours, theirs = top(first), top(second)
    both = np.minimum(rows[first], rows[second])
    shared = sorted(set(ours) & set(theirs), key=lambda i: (-both[i], i))
    return PairReport(
        first=first,
        second=second,
        n_top=n_top,
        shared=tuple(shared),
        only_first=tuple(i for i in ours if i not in theirs),
        only_second=tuple(i for i in theirs if i not in ours),
    )


def counterfactual(
    predict_proba: PredictProba,
    sample: ArrayLike,
    background: ArrayLike,
    *,
    target: int | None = None,
    target_background: ArrayLike | None = None,
    n_most: int = 10,
) -> Counterfactual:
    """Find the smallest change of feature values that gives a sample another label.

    Features are changed one after another to a value that samples have, each time the one that
    helps most; then changes that are not needed are taken back, and the others made as small as
    can be. No part of the result can be left out; that none elsewhere is smaller is not proven.

    Parameters
    ----------
    predict_proba : callable
    sample : array-like of shape (n_features,)
    background : array-like of shape (n_samples, n_features)
        Samples whose values are taken as possible; their 5th to 95th percentiles are tried.
    target : int, optional
        The other label; None takes the second most probable.
    target_background : array-like of shape (n, n_features), optional
        Samples of the target, whose values are tried before those of `background`.
    n_most : int, default=10
        Features that may change; `flips` is False where so many changes are not enough.

    Returns
    -------
    found : Counterfactual

    Raises
    ------
    InputError
        If shapes do not fit, there is one label only, or the target is predicted already.

    References
    ----------
    Wachter, Mittelstadt, Russell (2018), Counterfactual explanations without opening the black
    box, arXiv:1711.00399.

    Examples
    --------
    >>> def predict(X):
    ...     p = 1 / (1 + np.exp(-(X[:, 0] + 0.1 * X[:, 1])))
    ...     return np.c_[1 - p, p]
    >>> found = counterfactual(predict, [-1.0, 0.0], [[-2.0, -2.0], [2.0, 2.0]])
    >>> found.label, found.target, found.flips, [change.feature for change in found.changes]
    (0, 1, True, [0])
    >>> bool(abs(found.changes[0].after) < 0.001)
    True
    """
    x = np.asarray(sample, np.float64).ravel()
    known = np.asarray(background, np.float64)
    own = known if target_background is None else np.asarray(target_background, np.float64)
    for rows in (known, own):
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != len(x):
            raise InputError(
                f"The background must have shape (n_samples, {len(x)}) with at least one sample, "
                f"got {rows.shape}."
            )
    before = _one(predict_proba, x)
    if len(before) < 2:
        raise InputError("A counterfactual needs two labels, and there is only one.")
    label, second = np.argsort(-before, kind="stable")[:2].tolist()
    wanted = second if target is None else int(target)
    if not 0 <= wanted < len(before) or wanted == label:
        raise InputError(
            f"`target` must be another label than the predicted {label}, from 0 to "
            f"{len(before) - 1}; got {wanted}."
        )
    ends = np.quantile(known, (_QUANTILES[0], _QUANTILES[-1]), axis=0)
    tried = np.concatenate([np.quantile(own, _QUANTILES, axis=0), ends])
    now, changed = _changed(predict_proba, x, tried, wanted, n_most)
    flips = int(_one(predict_proba, now).argmax()) == wanted
    if flips:
        now = _smaller(predict_proba, x, now, changed, wanted)
    return Counterfactual(
        label=label,
        target=wanted,
        changes=tuple(
            Change(feature=f, before=float(x[f]), after=float(now[f]))
            for f in changed
            if now[f] != x[f]
        ),
        flips=flips,
        proba_before=before,
        proba_after=_one(predict_proba, now),
    )


def _changed(
    predict_proba: PredictProba,
    x: NDArray[np.float64],
    tried: NDArray[np.float64],
    wanted: int,
    n_most: int,
) -> tuple[NDArray[np.float64], list[int]]:
    """Change one feature after another until the target wins; the sample then, and which."""
    now = x.copy()
    changed: list[int] = []
    while int(_one(predict_proba, now).argmax()) != wanted and len(changed) < n_most:
        step = _best_step(predict_proba, now, tried, wanted, changed)
        if step is None:
            break
        feature, value = step
        now[feature] = value
        changed.append(feature)
    return now, changed


def _best_step(
    predict_proba: PredictProba,
    now: NDArray[np.float64],
    tried: NDArray[np.float64],
    wanted: int,
    changed: Sequence[int],
) -> tuple[int, float] | None:
    """Find the change of one more feature that brings the target closest to the lead."""
    free = [f for f in range(len(now)) if f not in changed]
    best, lead = None, _lead(_one(predict_proba, now)[None], wanted)[0]
    n_values = len(tried)
    block = max(1, _MOST_VALUES // (n_values * len(now)))
    for start in range(0, len(free), block):
        some = free[start : start + block]
        rows = np.tile(now, (len(some) * n_values, 1))
        for i, feature in enumerate(some):
            rows[i * n_values : (i + 1) * n_values, feature] = tried[:, feature]
        leads = _lead(np.asarray(predict_proba(rows), np.float64), wanted)
        place = int(leads.argmax())
        if leads[place] > lead + _TINY:
            feature = some[place // n_values]
            best, lead = (feature, float(tried[place % n_values, feature])), leads[place]
    return best


def _smaller(
    predict_proba: PredictProba,
    x: NDArray[np.float64],
    now: NDArray[np.float64],
    changed: Sequence[int],
    wanted: int,
) -> NDArray[np.float64]:
    """Take back what is not needed, then halve the way back for each change that is left."""

    def holds(row: NDArray[np.float64]) -> bool:
        return int(_one(predict_proba, row).argmax()) == wanted

    for feature in changed:
        without = now.copy()
        without[feature] = x[feature]
        if holds(without):
            now = without
    for feature in reversed(changed):
        near, far = x[feature], now[feature]
        for _ in range(_HALVINGS if near != far else 0):
            middle = now.copy()
            middle[feature] = (near + far) / 2
            if holds(middle):
                far = middle[feature]
            else:
                near = middle[feature]
        now = now.copy()
        now[feature] = far
    return now


def _lead(proba: NDArray[np.float64], wanted: int) -> NDArray[np.float64]:
    """Probability of a label less the highest of the others, (n,)."""
    lead: NDArray[np.float64] = proba[:, wanted] - np.delete(proba, wanted, axis=1).max(axis=1)
    return lead


def _one(predict_proba: PredictProba, row: NDArray[np.float64]) -> NDArray[np.float64]:
    proba: NDArray[np.float64] = np.asarray(predict_proba(row[None]), np.float64)[0]
    return proba


def _checked(features: ArrayLike, codes: ArrayLike) -> tuple[NDArray[Any], NDArray[np.intp]]:
    X, y = np.asarray(features), np.asarray(codes)
    if X.ndim != 2 or not len(X) or y.shape != (len(X),):
        raise InputError(
            f"Need features of shape (n_samples, n_features) and one code for each sample, got "
            f"shapes {X.shape} and {y.shape}."
        )
    return X, y.astype(np.intp)


def _columns(groups: Sequence[Sequence[int]] | None, n_features: int) -> list[NDArray[np.intp]]:
    if groups is None:
        return [np.array([i]) for i in range(n_features)]
    columns = [np.asarray(group, np.intp) for group in groups]
    for of_group in columns:
        if of_group.size and not (of_group.min() >= 0 and of_group.max() < n_features):
            raise InputError(
                f"A group names column {int(of_group.max())}; there are {n_features} columns."
            )
    return columns


def _orders(n_samples: int, n_repeats: int, random_state: int) -> list[NDArray[np.intp]]:
    at_least(1, n_repeats=n_repeats)
    rng = np.random.default_rng(random_state)
    return [rng.permutation(n_samples) for _ in range(n_repeats)]


def _permuted(
    predict_proba: PredictProba,
    X: NDArray[Any],
    columns: NDArray[np.intp],
    orders: Sequence[NDArray[np.intp]],
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield number and probabilities of each repeat that changes anything; the others count 0.

    Repeats are predicted together, for many small calls take longer than a large one.
    """
    block = X[:, columns]
    numbers = [n for n, order in enumerate(orders) if not np.array_equal(block[order], block)]
    at_once = max(1, _MOST_VALUES // max(X.size, 1))
    for start in range(0, len(numbers), at_once):
        some = numbers[start : start + at_once]
        changed = np.tile(X, (len(some), 1))
        for place, number in enumerate(some):
            changed[place * len(X) : (place + 1) * len(X), columns] = block[orders[number]]
        proba = np.asarray(predict_proba(changed), np.float64)
        for place, number in enumerate(some):
            yield number, proba[place * len(X) : (place + 1) * len(X)]


def _worth(proba: NDArray[Any], y: NDArray[np.intp], measure: Measure) -> float:
    if measure == "accuracy":
        return float((proba.argmax(axis=1) == y).mean())
    own = np.asarray(proba, np.float64)[np.arange(len(y)), y]
    return float(-np.log(np.maximum(own, _TINY)).mean())
