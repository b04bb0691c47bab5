"""Label sets that hold the true label with a promised probability: split conformal prediction.

Calibrate on samples that were used for nothing else (no training, prompt or threshold choice);
the promise then is ``P(true label in set) >= 1 - alpha`` on average over calibration and test
samples of the same distribution. It is marginal, not per class, unless ``per_class=True``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from showtell.errors import InputError
from showtell.metrics import _check
from showtell.metrics.scores import Interval, accuracy_interval

ConformalMethod: TypeAlias = Literal["lac", "aps", "raps"]


def conformal_rank(n: int, alpha: float) -> int:
    """Rank of the calibration score that becomes the threshold: ``⌈(n + 1)(1 - alpha)⌉``.

    Parameters
    ----------
    n : int
        Calibration samples.
    alpha : float
        Allowed share of sets without the true label.

    Returns
    -------
    k : int
        Counted from 1. Above `n`: too few samples for this `alpha`, every label is allowed.

    Raises
    ------
    InputError
        If `n` is negative or `alpha` is not between 0 and 1.

    Examples
    --------
    >>> [conformal_rank(n, 0.1) for n in (9, 50, 100, 1000)], conformal_rank(9, 0.05)
    ([9, 46, 91, 901], 10)
    """
    if n < 0:
        raise InputError(f"`n` must not be negative, got {n}.")
    exact = (n + 1) * (1 - _check.level(alpha, "alpha"))
    return math.ceil(exact - 1e-9 * (n + 1))  # 100 * (1 - .07) is 93.00000000000001 in binary


def conformal_threshold(scores: ArrayLike, alpha: float) -> float:
    """k-th smallest calibration score with ``k = ⌈(n + 1)(1 - alpha)⌉``; infinite if k > n.

    This is not ``np.quantile(scores, k / n, method="higher")``, a common recipe whose sets are
    slightly too large.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
        Nonconformity of the true label of each calibration sample; higher is stranger.
    alpha : float
        As in `conformal_rank`.

    Returns
    -------
    threshold : float

    Raises
    ------
    InputError
        If a score is NaN or `alpha` is not between 0 and 1.

    References
    ----------
    Angelopoulos and Bates (2021), A Gentle Introduction to Conformal Prediction,
    arXiv:2107.07511.

    Examples
    --------
    >>> scores = [0.05, 0.10, 0.12, 0.20, 0.25, 0.30, 0.45, 0.60, 0.80]
    >>> conformal_threshold(scores, 0.2), conformal_threshold(scores, 0.05)
    (0.6, inf)
    """
    s = np.asarray(scores, np.float64)
    if s.ndim != 1 or np.isnan(s).any():
        raise InputError("`scores` must be 1-D without NaN, one per calibration sample.")
    k = conformal_rank(len(s), alpha)
    return float(np.partition(s, k - 1)[k - 1]) if k <= len(s) else math.inf


def lac_scores(proba: ArrayLike) -> NDArray[np.float64]:
    """Nonconformity of every label by its own probability: ``1 - p_j``.

    Gives the smallest sets on average, which may be empty.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)

    Returns
    -------
    scores : ndarray of shape (n_samples, n_classes), float64

    Raises
    ------
    InputError
        If a value is no probability.

    References
    ----------
    Sadinle, Lei and Wasserman (2016), Least Ambiguous Set-Valued Classifiers, arXiv:1609.00451.

    Examples
    --------
    >>> lac_scores([[0.75, 0.25]])
    array([[0.25, 0.75]])
    """
    scores: NDArray[np.float64] = 1.0 - _check.matrix(proba, "proba").astype(np.float64)
    return scores


def aps_scores(
    proba: ArrayLike,
    u: ArrayLike | float = 1.0,
    *,
    penalty: float = 0.0,
    k_free: int = 0,
) -> NDArray[np.float64]:
    """Nonconformity of every label by the probability mass ranked before it.

    With labels sorted by falling probability, the label of rank r scores
    ``Σ_{rank < r} p + u · p_r + penalty · max(0, r - k_free)``. APS has no penalty; RAPS has one
    that keeps the sets short. Equal probabilities rank by label code.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
    u : float or array-like of shape (n_samples,), default=1.0
        Between 0 and 1. One uniform number per sample gives exact coverage (randomised), 1 the
        deterministic variant with somewhat larger sets.
    penalty, k_free : float and int, default=0
        Added per rank beyond `k_free` (λ and k_reg of RAPS).

    Returns
    -------
    scores : ndarray of shape (n_samples, n_classes), float64

    Raises
    ------
    InputError
        If a value is no probability, or `u`, `penalty` or `k_free` is out of range.

    References
    ----------
    Romano, Sesia and Candes (2020), arXiv:2006.02544 (APS); Angelopoulos et al. (2020),
    arXiv:2009.14193 (RAPS).

    Examples
    --------
    >>> aps_scores([[0.5, 0.3, 0.15, 0.05]]).round(2)
    array([[0.5 , 0.8 , 0.95, 1.  ]])
    >>> aps_scores([[0.5, 0.3, 0.15, 0.05]], u=0.4).round(2)
    array([[0.2 , 0.62, 0.86, 0.97]])
    """
    p = _check.matrix(proba, "proba").astype(np.float64)
    share = np.asarray(u, np.float64)
    if share.ndim not in (0, 1) or (share.ndim == 1 and len(share) != len(p)):
        raise InputError(f"`u` must be one number or {len(p)}, got shape {share.shape}.")
    if not ((share >= 0) & (share <= 1)).all():
        raise InputError("`u` must lie between 0 and 1.")
    if penalty < 0 or k_free < 0:
        raise InputError(
            f"`penalty` and `k_free` must not be negative, got {penalty!r} and {k_free!r}."
        )
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    before = np.cumsum(ranked, axis=1) - ranked
    score = before + (share[:, None] if share.ndim else share) * ranked
    if penalty:
        score += penalty * np.maximum(0, np.arange(1, p.shape[1] + 1) - k_free)
    out = np.empty_like(score)
    np.put_along_axis(out, order, score, axis=1)
    return out


@dataclass(frozen=True, kw_only=True)
class LabelSets:
    """One set of labels per sample.

    Parameters
    ----------
    members : ndarray of shape (n_samples, n_classes), bool
        True where the label is in the set; no row is empty.
    forced : ndarray of shape (n_samples,), bool
        The set was empty and got its most probable label: treat as "nothing fits".
    """

    members: NDArray[np.bool_]
    forced: NDArray[np.bool_]

    @property
    def size(self) -> NDArray[np.int64]:
        """Labels per set, shape (n_samples,)."""
        size: NDArray[np.int64] = self.members.sum(axis=1)
        return size

    def codes(self, row: int) -> NDArray[np.int64]:
        """Label codes in the set of one sample, rising."""
        return np.flatnonzero(self.members[row])


def conformal_sets(
    scores: ArrayLike, threshold: ArrayLike | float, *, proba: ArrayLike | None = None
) -> LabelSets:
    """Put every label into the set whose score is at most the threshold.

    Parameters
    ----------
    scores : array-like of shape (n_samples, n_classes)
        Nonconformity of every label, computed as for calibration.
    threshold : float or array-like of shape (n_classes,)
        From `conformal_threshold`; one per class when calibrated within classes.
    proba : array-like of shape (n_samples, n_classes), optional
        Ranks labels where a set would be empty. Without it the lowest score is taken.

    Returns
    -------
    sets : LabelSets
        Empty sets get their top label and are flagged, whatever the method: that only raises
        coverage.

    Raises
    ------
    InputError
        If shapes do not fit.

    Examples
    --------
    >>> sets = conformal_sets(lac_scores([[0.5, 0.45, 0.05], [0.34, 0.33, 0.33]]), 0.6)
    >>> sets.members
    array([[ True,  True, False], [ True, False, False]])
    >>> sets.forced
    array([False,  True])
    """
    s = _check.matrix(scores, "scores", probabilities=False)
    limit = np.asarray(threshold, np.float64)
    if limit.ndim not in (0, 1) or (limit.ndim == 1 and len(limit) != s.shape[1]):
        raise InputError(
            f"`threshold` must be one number or one per class ({s.shape[1]}), got shape "
            f"{limit.shape}."
        )
    members: NDArray[np.bool_] = s <= limit
    forced: NDArray[np.bool_] = np.logical_not(members.any(axis=1))
    if forced.any():
        ranking = -s if proba is None else _check.matrix(proba, "proba")
        if ranking.shape != s.shape:
            raise InputError(f"`proba` has shape {ranking.shape}, `scores` {s.shape}.")
        rows = np.flatnonzero(forced)
        members[rows, ranking[rows].argmax(axis=1)] = True
    return LabelSets(members=members, forced=forced)


@dataclass(frozen=True, kw_only=True)
class ConformalSets:
    """A calibrated rule that turns probabilities into label sets; made by `fit_conformal`.

    Parameters
    ----------
    method : {"lac", "aps", "raps"}
    alpha : float
        Allowed share of sets without the true label.
    thresholds : ndarray of shape (1,) or (n_classes,), float64
        One for all classes, or one per class; infinite where samples were too few.
    n_calibration : ndarray of the same shape, int64
        Calibration samples behind each threshold.
    n_classes : int
    randomised : bool
        APS and RAPS draw a fresh uniform number per sample.
    penalty : float
    k_free : int
        Of RAPS.
    """

    method: ConformalMethod
    alpha: float
    thresholds: NDArray[np.float64]
    n_calibration: NDArray[np.int64]
    n_classes: int
    randomised: bool
    penalty: float
    k_free: int

    def predict(
        self, proba: ArrayLike, *, random_state: int | np.random.Generator | None = 0
    ) -> LabelSets:
        """Return the label set of each sample.

        Parameters
        ----------
        proba : array-like of shape (n_samples, n_classes)
            Probabilities computed exactly as for calibration.
        random_state : int, Generator or None, default=0
            For the randomised variants; use another one than for calibration.

        Returns
        -------
        sets : LabelSets

        Raises
        ------
        InputError
            If `proba` has another number of classes than the calibration samples.
        """
        p = _check.matrix(proba, "proba")
        if p.shape[1] != self.n_classes:
            raise InputError(
                f"Calibrated on {self.n_classes} classes, got probabilities of {p.shape[1]}."
            )
        scores = _method_scores(
            p, self.method, self.randomised, self.penalty, self.k_free, random_state
        )
        limit = self.thresholds if len(self.thresholds) > 1 else self.thresholds[0]
        return conformal_sets(scores, limit, proba=p)


def _method_scores(
    proba: NDArray[Any],
    method: ConformalMethod,
    randomised: bool,
    penalty: float,
    k_free: int,
    random_state: int | np.random.Generator | None,
) -> NDArray[np.float64]:
    """Scores of every label by the named method."""
    if method == "lac":
        return lac_scores(proba)
    u = np.random.default_rng(random_state).random(len(proba)) if randomised else 1.0
    if method == "aps":
        return aps_scores(proba, u)
    return aps_scores(proba, u, penalty=penalty, k_free=k_free)


def fit_conformal(
    proba: ArrayLike,
    y_true: ArrayLike,
    *,
    alpha: float = 0.1,
    method: ConformalMethod = "lac",
    per_class: bool = False,
    randomised: bool = True,
    penalty: float = 0.01,
    k_free: int = 5,
    random_state: int | np.random.Generator | None = 1,
) -> ConformalSets:
    """Calibrate label sets on labelled samples that were used for nothing else.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        Probabilities of the calibration samples.
    y_true : array-like of shape (n_samples,), int
        Their true label codes.
    alpha : float, default=0.1
        Allowed share of sets without the true label.
    method : {"lac", "aps", "raps"}, default="lac"
        See `lac_scores` and `aps_scores`. LAC sets are smallest; APS adapts to hard samples.
    per_class : bool, default=False
        Calibrate within each class (Mondrian), so the promise holds for every class. Needs at
        least ``⌈1 / alpha⌉ - 1`` samples of a class; a class with fewer is in every set.
    randomised : bool, default=True
        Of APS and RAPS: exact coverage instead of somewhat larger, repeatable sets.
    penalty : float, default=0.01
    k_free : int, default=5
        Of RAPS: nothing changes up to this rank, so choose it below the number of labels.
    random_state : int, Generator or None, default=1
        For the randomised variants.

    Returns
    -------
    sets : ConformalSets
        Call ``predict(proba)``.

    Raises
    ------
    InputError
        If shapes do not fit, there are no samples, or an option is out of range.

    References
    ----------
    Angelopoulos and Bates (2021), A Gentle Introduction to Conformal Prediction,
    arXiv:2107.07511.

    Examples
    --------
    >>> own = 1 - np.array([0.05, 0.10, 0.12, 0.20, 0.25, 0.30, 0.45, 0.60, 0.80])
    >>> rule = fit_conformal(np.c_[own, 1 - own], np.zeros(9, int), alpha=0.2)
    >>> rule.thresholds  # labels of probability .4 and more
    array([0.6])
    >>> rule.predict([[0.41, 0.59], [0.39, 0.61]]).size
    array([2, 1])
    """
    p = _check.matrix(proba, "proba")
    true = _check.codes(y_true, "y_true", p.shape[1])
    n = _check.same_length(proba=p, y_true=true)
    _check.level(alpha, "alpha")
    if method not in ("lac", "aps", "raps"):
        raise InputError(f"`method` must be 'lac', 'aps' or 'raps', got {method!r}.")
    scores = _method_scores(p, method, randomised, penalty, k_free, random_state)
    own = scores[np.arange(n), true]
    groups = [own[true == c] for c in range(p.shape[1])] if per_class else [own]
    return ConformalSets(
        method=method,
        alpha=float(alpha),
        thresholds=np.array([conformal_threshold(group, alpha) for group in groups]),
        n_calibration=np.array([len(group) for group in groups]),
        n_classes=p.shape[1],
        randomised=randomised and method != "lac",
        penalty=float(penalty),
        k_free=int(k_free),
    )


@dataclass(frozen=True, kw_only=True)
class SetScores:
    """How good label sets are on labelled samples.

    Parameters
    ----------
    n_samples : int
    coverage : float
        Share of sets that hold the true label.
    interval : Interval
        Its Wilson interval at 95 %.
    mean_size : float
        Labels per set.
    n_single, n_forced : int
        Sets of one label (forced ones included); sets that were empty.
    class_coverage : ndarray of shape (n_classes,), float64
        Coverage within each true class; NaN for classes without samples.
    """

    n_samples: int
    coverage: float
    interval: Interval
    mean_size: float
    n_single: int
    n_forced: int
    class_coverage: NDArray[np.float64]


def score_sets(sets: LabelSets, y_true: ArrayLike) -> SetScores:
    """Measure coverage and size of label sets.

    Parameters
    ----------
    sets : LabelSets
    y_true : array-like of shape (n_samples,), int
        True label codes.

    Returns
    -------
    scores : SetScores

    Raises
    ------
    InputError
        If lengths differ, there are no samples or a code is out of range.

    Examples
    --------
    >>> sets = conformal_sets(lac_scores([[0.5, 0.45, 0.05], [0.34, 0.33, 0.33]]), 0.6)
    >>> found = score_sets(sets, [1, 2])
    >>> found.coverage, found.mean_size, found.n_forced
    (0.5, 1.5, 1)
    """
    n_classes = sets.members.shape[1]
    true = _check.codes(y_true, "y_true", n_classes)
    n = _check.same_length(sets=sets.members, y_true=true)
    hit = sets.members[np.arange(n), true]
    support = np.bincount(true, minlength=n_classes)
    hits = np.bincount(true, weights=hit, minlength=n_classes)
    by_class = np.divide(hits, support, out=np.full(n_classes, np.nan), where=support > 0)
    return SetScores(
        n_samples=n,
        coverage=float(hit.mean()),
        interval=accuracy_interval(int(hit.sum()), n),
        mean_size=float(sets.size.mean()),
        n_single=int((sets.size == 1).sum()),
        n_forced=int(sets.forced.sum()),
        class_coverage=by_class,
    )
