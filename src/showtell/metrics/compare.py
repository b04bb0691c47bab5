"""Whether one way is really better: paired tests, bootstrap intervals, correction for many tests.

Two classifiers asked about the same samples are compared pair by pair. `fisher_exact` is for the
rarer case of different samples; it needs far larger differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtri

from showtell.checks import at_least
from showtell.errors import InputError
from showtell.metrics import _check

_DRAWS_AT_ONCE = 4_000_000


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Paired right and wrong answers of two classifiers, and what they say.

    Parameters
    ----------
    n_samples : int
    n_both_right, n_only_a, n_only_b, n_both_wrong : int
        Who was right. `n_only_a` and `n_only_b` are the discordant pairs; only they count.
    difference : float
        Accuracy of b minus accuracy of a.
    p_value : float
        Exact, two-sided: of "a discordant pair is as likely to favour a as b".
    """

    n_samples: int
    n_both_right: int
    n_only_a: int
    n_only_b: int
    n_both_wrong: int
    difference: float
    p_value: float


def mcnemar_exact(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """Exact McNemar test of two classifiers on the same samples.

    With ``n10`` samples only a has right and ``n01`` only b,
    ``p = min(1, 2 P(Binomial(n10 + n01, 1/2) <= min(n10, n01)))``. Samples without an answer
    count as wrong.

    Parameters
    ----------
    correct_a, correct_b : array-like of shape (n_samples,), bool or 0/1
        Whether each classifier is right about each sample, in the same order.

    Returns
    -------
    result : McNemar

    Raises
    ------
    InputError
        If lengths differ, there are no samples, or a value is not 0 or 1.

    References
    ----------
    McNemar (1947), Psychometrika 12; exact form: binomial sign test on the discordant pairs.

    Examples
    --------
    >>> result = mcnemar_exact([1, 1, 0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1, 1, 1])
    >>> result.n_only_a, result.n_only_b, result.p_value
    (0, 5, 0.0625)
    """
    a, b = _check.outcomes(correct_a, "correct_a"), _check.outcomes(correct_b, "correct_b")
    n = _check.same_length(correct_a=a, correct_b=b)
    both = int((a * b).sum())
    only_a, only_b = int(a.sum()) - both, int(b.sum()) - both
    discordant = only_a + only_b
    p_value = 2 * float(bdtr(min(only_a, only_b), discordant, 0.5)) if discordant else 1.0
    return McNemar(
        n_samples=n,
        n_both_right=both,
        n_only_a=only_a,
        n_only_b=only_b,
        n_both_wrong=n - both - discordant,
        difference=(only_b - only_a) / n,
        p_value=min(1.0, p_value),
    )


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Difference of two paired accuracies with its score interval.

    Parameters
    ----------
    difference : float
        Accuracy of b minus accuracy of a.
    low, high : float
    level : float
        Of the interval.
    n_samples : int
    """

    difference: float
    low: float
    high: float
    level: float
    n_samples: int


def paired_difference(
    correct_a: ArrayLike, correct_b: ArrayLike, *, level: float = 0.95
) -> PairedDifference:
    """Score interval of the difference of two accuracies on the same samples.

    It holds the differences d that the data do not speak against at this level: those with
    ``|n01 - n10 - n d| <= z sqrt(n (2 q + d (1 - d)))``, where n01 and n10 are the samples that
    only b and only a has right, and q is the most likely share of the latter if d is true. Unlike
    a bootstrap it does not shrink to a point where two classifiers happen to agree on the few
    samples there are; so it can show that b is not worse than a by more than a margin.

    Parameters
    ----------
    correct_a, correct_b
        As in `mcnemar_exact`.
    level : float, default=0.95

    Returns
    -------
    result : PairedDifference

    Raises
    ------
    InputError
        As in `mcnemar_exact`, or if `level` is not between 0 and 1.

    References
    ----------
    Tango (1998), Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design, Statistics in Medicine 17.

    Examples
    --------
    Ten samples on which both are right say little:

    >>> result = paired_difference([1] * 10, [1] * 10)
    >>> round(result.low, 3), result.difference, round(result.high, 3)
    (-0.278, 0.0, 0.278)
    """
    test = mcnemar_exact(correct_a, correct_b)
    n, plus, minus = test.n_samples, test.n_only_b, test.n_only_a
    z = float(ndtri((1 + _check.level(level, "level")) / 2))

    def excess(d: float) -> float:
        """How far the data are above a true difference `d`, in standard errors; falls with d."""
        b = -plus - minus + (2 * n - plus + minus) * d
        c = -minus * d * (1 - d)
        q = (np.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        variance = n * (2 * q + d * (1 - d))
        away = plus - minus - n * d
        return float(away / np.sqrt(variance)) if variance > 0 else float(np.sign(away)) * np.inf

    def bound(target: float, start: float, end: float) -> float:
        edge = min(max(excess(end), -1e9), 1e9)
        if (edge - target) * (1 if end < start else -1) <= 0:
            return end
        inner = start if abs(excess(start)) < 1e9 else start + 1e-12 * (end - start)
        from scipy.optimize import brentq  # slow to load, and only needed here

        return float(brentq(lambda d: min(max(excess(d), -1e9), 1e9) - target, inner, end))

    middle = test.difference
    tiny = 1e-12
    return PairedDifference(
        difference=middle,
        low=-1.0 if middle == -1 else bound(z, middle, -1 + tiny),
        high=1.0 if middle == 1 else bound(-z, middle, 1 - tiny),
        level=level,
        n_samples=n,
    )


@dataclass(frozen=True, kw_only=True)
class BootstrapDifference:
    """Mean difference of paired scores with its bootstrap interval.

    Parameters
    ----------
    difference : float
        Mean of b minus a.
    low, high : float
        Percentile interval.
    level : float
        Of the interval.
    n : int
        Pairs: samples, or data sets.
    n_units : int
        What was resampled: the pairs, or the groups they form.
    n_resamples : int
    """

    difference: float
    low: float
    high: float
    level: float
    n: int
    n_units: int
    n_resamples: int


def _paired(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Differences b minus a of two equally long lists of numbers."""
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.ndim != 1 or second.ndim != 1:
        raise InputError("`a` and `b` must be 1-D, one score per sample or per data set.")
    _check.same_length(a=first, b=second)
    difference: NDArray[np.float64] = second - first
    if not np.isfinite(difference).all():
        raise InputError("`a` and `b` must be finite numbers; leave out pairs without a score.")
    return difference


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    n_resamples: int = 10_000,
    random_state: int | None = 0,
) -> BootstrapDifference:
    """Bootstrap interval of the mean difference of paired scores.

    For the difference of two accuracies pass 0/1 per sample; for the difference of two means over
    data sets pass one score per data set. Pairs are drawn with replacement. Where few different
    values occur (0/1 answers), their counts are drawn from the multinomial, which is the same
    thing and costs the same for a million samples.

    Parameters
    ----------
    a, b : array-like of shape (n,)
        Scores of both ways on the same samples or data sets, in the same order.
    groups : array-like of shape (n,), optional
        Samples that belong together (photos of one animal, frames of one video) are drawn
        together; without this their interval would be too short.
    level : float, default=0.95
        Share of resamples inside the interval.
    n_resamples : int, default=10000
    random_state : int or None, default=0

    Returns
    -------
    result : BootstrapDifference

    Raises
    ------
    InputError
        If lengths differ, there is nothing to compare, or a number is not finite.

    References
    ----------
    Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.

    Examples
    --------
    >>> a = np.repeat([1, 1, 0, 0], [60, 5, 15, 20])
    >>> b = np.repeat([1, 0, 1, 0], [60, 5, 15, 20])
    >>> result = paired_bootstrap(a, b)
    >>> result.difference, bool(0.0 < result.low < 0.05 < 0.15 < result.high < 0.2)
    (0.1, True)
    """
    change = _paired(a, b)
    tail = (1 - _check.level(level, "level")) / 2
    at_least(1, n_resamples=n_resamples)
    n = len(change)
    rng = np.random.default_rng(random_state)
    total: NDArray[np.float64]
    if groups is not None:
        names = np.asarray(groups)
        _check.same_length(a=change, groups=names)
        _, group_of = np.unique(names, return_inverse=True)
        total = np.bincount(group_of, weights=change).astype(np.float64)
        size = np.bincount(group_of).astype(np.float64)
    else:
        total, size = change, np.ones(n)
    pairs, count = np.unique(np.c_[total, size], axis=0, return_counts=True)
    n_units = len(total)
    if len(pairs) * 4 <= n_units:
        drawn = rng.multinomial(n_units, count / n_units, size=n_resamples)
        means = (drawn @ pairs[:, 0]) / (drawn @ pairs[:, 1])
    else:
        means = np.empty(n_resamples)
        step = max(1, _DRAWS_AT_ONCE // n_units)
        for start in range(0, n_resamples, step):
            rows = rng.integers(0, n_units, (min(step, n_resamples - start), n_units))
            means[start : start + len(rows)] = total[rows].sum(axis=1) / size[rows].sum(axis=1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return BootstrapDifference(
        difference=float(change.mean()),
        low=float(low),
        high=float(high),
        level=float(level),
        n=n,
        n_units=n_units,
        n_resamples=n_resamples,
    )


def sign_flip_test(
    a: ArrayLike, b: ArrayLike, *, n_resamples: int = 20_000, random_state: int | None = 0
) -> float:
    """Two-sided p-value of "a and b are interchangeable" for a few paired scores.

    The mean difference is compared with those after flipping signs of pairs: all 2ⁿ of them up
    to 14 pairs (exact), else `n_resamples` random ones, with ``(1 + hits) / (1 + n_resamples)``.
    With n pairs no p-value is below ``2^(1-n)``: 6 data sets are needed to pass .05.

    Parameters
    ----------
    a, b
        As in `paired_bootstrap`; one score per data set (or seed).
    n_resamples : int, default=20000
    random_state : int or None, default=0

    Returns
    -------
    p_value : float

    Raises
    ------
    InputError
        If lengths differ, there is nothing to compare, or a number is not finite.

    References
    ----------
    Fisher (1935), The Design of Experiments, section 21.

    Examples
    --------
    >>> sign_flip_test([0.5, 0.6, 0.7, 0.8], [0.6, 0.7, 0.9, 0.9])  # 2 of 16 sign patterns
    0.125
    """
    change = _paired(a, b)
    n = len(change)
    if n <= 14:
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
        means, extra = signs @ change, 0
    else:
        at_least(1, n_resamples=n_resamples)
        rng = np.random.default_rng(random_state)
        means, extra = np.empty(n_resamples), 1
        step = max(1, _DRAWS_AT_ONCE // n)
        for start in range(0, n_resamples, step):
            flips = rng.integers(0, 2, (min(step, n_resamples - start), n)) * 2 - 1
            means[start : start + len(flips)] = flips @ change
    tolerance = 1e-12 * np.abs(change).sum()
    hits = int((np.abs(means) >= abs(change.sum()) - tolerance).sum())
    return (hits + extra) / (len(means) + extra)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values for testing several things at once (Holm's step-down).

    The i-th smallest of m is multiplied by ``m - i + 1``, kept at least as large as the ones
    before, and at most 1. Comparing the result with .05 keeps the chance of any false alarm
    below .05, whatever the dependence.

    Parameters
    ----------
    p_values : array-like of shape (n_tests,)

    Returns
    -------
    adjusted : ndarray of shape (n_tests,), float64
        In the order given.

    Raises
    ------
    InputError
        If a value is not between 0 and 1.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError("`p_values` must be 1-D, each between 0 and 1.")
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def fisher_exact(k_a: int, n_a: int, k_b: int, n_b: int) -> float:
    """Two-sided p-value that two accuracies on **different** samples differ (Fisher's exact test).

    On the same samples use `mcnemar_exact`, which sees much smaller differences.

    Parameters
    ----------
    k_a, k_b : int
        Right answers.
    n_a, n_b : int
        Samples.

    Returns
    -------
    p_value : float

    Raises
    ------
    InputError
        If a k is not between 0 and its n.

    References
    ----------
    Fisher (1935), The logic of inductive inference.

    Examples
    --------
    >>> round(fisher_exact(36, 75, 55, 75), 4)
    0.0025
    """
    from scipy.stats import fisher_exact as exact  # slow to load, and only needed here

    if not (0 <= k_a <= n_a and 0 <= k_b <= n_b):
        raise InputError(
            f"Right answers must lie between 0 and the samples, got {k_a} of {n_a} and "
            f"{k_b} of {n_b}."
        )
    return float(exact(np.array([[k_a, n_a - k_a], [k_b, n_b - k_b]])).pvalue)
