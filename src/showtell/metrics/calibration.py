"""Whether confidence means what it says: ECE and its noise floor, Brier, NLL, temperature.

Everything here takes answered samples only: leave out rows without an answer (NaN) first, and
report how many those were.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from showtell.checks import at_least
from showtell.errors import InputError
from showtell.metrics import _check
from showtell.metrics.scores import Interval, wilson_interval

ECE_BINS = 15
"""Default number of bins; ECE depends on it, so it belongs beside every ECE."""

PROBABILITY_FLOOR = 1e-12
"""Probabilities below this count as this in logarithms."""

LN_TEMPERATURE_BOUNDS = (-4.0, 4.0)
"""Search range of ln T in `fit_temperature`."""

_EXACT_UP_TO = 20_000  # more samples than this: bin sums are drawn from their normal limit
_DRAWS_AT_ONCE = 4_000_000


def _bins(
    confidence: NDArray[np.float64], n_bins: int, adaptive: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bin of each sample, and the order of samples the bins refer to."""
    at_least(1, n_bins=n_bins)
    n = len(confidence)
    if adaptive:
        order = np.argsort(confidence, kind="stable")
        return np.arange(n) * min(n_bins, n) // n, order
    # (a, b]; 1e-7 keeps a float32 that stands for an edge, such as 0.3, on its own side of it.
    bin_of = np.ceil((confidence - 1e-7) * n_bins).astype(np.int64) - 1
    return np.clip(bin_of, 0, n_bins - 1), np.arange(n)


def _binned(
    confidence: ArrayLike, correct: ArrayLike, n_bins: int, adaptive: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Bin, confidence and outcome per sample, in the order of the bins."""
    sure, right = _check.confidences(confidence), _check.outcomes(correct)
    _check.same_length(confidence=sure, correct=right)
    bin_of, order = _bins(sure, n_bins, adaptive)
    if adaptive:  # tied confidences share their mean outcome: row order then cannot matter
        _, block, size = np.unique(sure, return_inverse=True, return_counts=True)
        right = (np.bincount(block, weights=right) / size)[block]
    return bin_of, sure[order], right[order]


def ece(
    confidence: ArrayLike,
    correct: ArrayLike,
    n_bins: int = ECE_BINS,
    *,
    adaptive: bool = False,
) -> float:
    """Measure the expected calibration error of the top label.

    ``Σ_m (n_m / n) |accuracy_m - mean confidence_m|`` over bins m of equal width, ``(a, b]`` with
    0 in the first; or, adaptive, over bins of equal mass. The value depends on `n_bins`, and
    even a perfectly calibrated classifier has one above 0: see `ece_noise_floor`.

    Parameters
    ----------
    confidence : array-like of shape (n_samples,)
        Probability of the answered label, between 0 and 1. Values within 1e-7 above the edge of
        a bin count as on the edge, so float32 and float64 give the same.
    correct : array-like of shape (n_samples,), bool or 0/1
        Whether that label is right.
    n_bins : int, default=15
        At least 1.
    adaptive : bool, default=False
        Bins of equally many samples instead of equal width. Samples of equal confidence that
        fall into two bins enter with their common mean outcome.

    Returns
    -------
    ece : float
        Between 0 and 1.

    Raises
    ------
    InputError
        If lengths differ, there are no samples, or a value is out of range.

    References
    ----------
    Guo et al. (2017), On Calibration of Modern Neural Networks, arXiv:1706.04599.

    Examples
    --------
    >>> confidence = [0.95, 0.95, 0.9, 0.85, 0.75, 0.75, 0.65, 0.65, 0.55, 0.55]
    >>> correct = [1, 1, 0, 1, 1, 0, 1, 0, 0, 1]
    >>> round(ece(confidence, correct, 10), 3), round(ece(confidence, correct, 5), 3)
    (0.175, 0.155)
    """
    bin_of, sure, right = _binned(confidence, correct, n_bins, adaptive)
    return float(np.abs(np.bincount(bin_of, weights=right - sure)).sum() / len(sure))


def ece_under_calibration(
    confidence: ArrayLike,
    n_bins: int = ECE_BINS,
    *,
    adaptive: bool = False,
    n_repeats: int = 500,
    random_state: int | None = 0,
) -> NDArray[np.float64]:
    """Draw ECE values a perfectly calibrated classifier of these confidences would show.

    Each repeat draws ``correct ~ Bernoulli(confidence)`` for every sample and takes the ECE. The
    share of draws at or above the measured ECE is a p-value for "this is calibrated". Above
    20,000 samples the sum of ``correct - confidence`` in a bin is drawn from its normal limit,
    mean 0 and variance ``Σ c (1 - c)``, which costs the same for any number of samples.

    Parameters
    ----------
    confidence, n_bins, adaptive
        As in `ece`. Outcomes of tied confidences are not averaged here when bins have equal mass,
        so with many ties the draws lie slightly high.
    n_repeats : int, default=500
    random_state : int or None, default=0

    Returns
    -------
    draws : ndarray of shape (n_repeats,), float64

    Raises
    ------
    InputError
        If there are no samples or a value is out of range.

    Examples
    --------
    >>> draws = ece_under_calibration([0.9] * 100, n_bins=10)
    >>> bool(0.01 < draws.mean() < 0.04)
    True
    """
    sure = _check.confidences(confidence)
    n = _check.same_length(confidence=sure)
    at_least(1, n_repeats=n_repeats)
    bin_of, order = _bins(sure, n_bins, adaptive)
    sure = sure[order]
    used, bin_of = np.unique(bin_of, return_inverse=True)
    rng = np.random.default_rng(random_state)
    if n > _EXACT_UP_TO:
        spread = np.sqrt(np.bincount(bin_of, weights=sure * (1 - sure)))
        gaps = rng.standard_normal((n_repeats, len(used))) * spread
        exact: NDArray[np.float64] = np.abs(gaps).sum(axis=1) / n
        return exact
    by_bin = np.argsort(bin_of, kind="stable")
    sure = sure[by_bin]
    starts = np.searchsorted(bin_of[by_bin], np.arange(len(used)))
    draws = np.empty(n_repeats)
    for part in _parts(n_repeats, n):
        right = rng.random((part.stop - part.start, n)) < sure
        gaps = np.add.reduceat(right - sure, starts, axis=1)
        draws[part] = np.abs(gaps).sum(axis=1) / n
    return draws


def _parts(n_repeats: int, n: int) -> Iterator[slice]:
    """Slices of the repeats, each small enough to draw at once."""
    step = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, n_repeats, step):
        yield slice(start, min(start + step, n_repeats))


def ece_noise_floor(
    confidence: ArrayLike,
    n_bins: int = ECE_BINS,
    *,
    adaptive: bool = False,
    n_repeats: int = 500,
    random_state: int | None = 0,
) -> float:
    """Return the ECE to expect from a perfectly calibrated classifier with these confidences.

    An ECE is an average of absolute values, so chance alone keeps it above 0; a measured ECE
    means something only as far as it exceeds this floor. It is the mean of
    `ece_under_calibration`: simulated, seeded, and close to
    ``Σ_m √(2/π · Σ_{i in m} c_i (1 - c_i)) / n``.

    Parameters
    ----------
    confidence, n_bins, adaptive, n_repeats, random_state
        As in `ece_under_calibration`.

    Returns
    -------
    floor : float

    Raises
    ------
    InputError
        If there are no samples or a value is out of range.

    Examples
    --------
    >>> small, large = ece_noise_floor([0.8] * 100), ece_noise_floor([0.8] * 10_000)
    >>> round(small / large)  # ten times as exact with a hundred times the samples
    10
    """
    draws = ece_under_calibration(
        confidence, n_bins, adaptive=adaptive, n_repeats=n_repeats, random_state=random_state
    )
    return float(draws.mean())


def ece_interval(
    confidence: ArrayLike,
    correct: ArrayLike,
    n_bins: int = ECE_BINS,
    *,
    adaptive: bool = False,
    level: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | None = 0,
) -> Interval:
    """Bootstrap percentile interval of the ECE.

    Samples are drawn with replacement; their bins stay as in the original data. Resampling adds
    noise of its own, and an ECE grows with noise, so the interval sits high where the ECE is
    near its noise floor: read it together with `ece_noise_floor`. Above 20,000 samples bin
    counts are drawn from the multinomial and gaps from their normal limit.

    Parameters
    ----------
    confidence, correct, n_bins, adaptive
        As in `ece`.
    level : float, default=0.95
        Share of resamples inside the interval.
    n_resamples : int, default=1000
    random_state : int or None, default=0

    Returns
    -------
    interval : Interval

    Raises
    ------
    InputError
        If lengths differ, there are no samples, or a value is out of range.

    Examples
    --------
    >>> interval = ece_interval([0.9, 0.6] * 50, [1, 0] * 50)
    >>> bool(interval.low < ece([0.9, 0.6] * 50, [1, 0] * 50) < interval.high)
    True
    """
    bin_of, sure, right = _binned(confidence, correct, n_bins, adaptive)
    tail = (1 - _check.level(level, "level")) / 2
    at_least(1, n_resamples=n_resamples)
    n = len(sure)
    gap = right - sure
    used, bin_of = np.unique(bin_of, return_inverse=True)
    rng = np.random.default_rng(random_state)
    draws = np.empty(n_resamples)
    if n > _EXACT_UP_TO:
        size = np.bincount(bin_of)
        mean = np.bincount(bin_of, weights=gap) / size
        variance = np.maximum(np.bincount(bin_of, weights=gap * gap) / size - mean**2, 0)
        drawn = rng.multinomial(n, size / n, size=n_resamples)
        noise = rng.standard_normal((n_resamples, len(used)))
        sums = drawn * mean + noise * np.sqrt(drawn * variance)
        draws = np.abs(sums).sum(axis=1) / n
    else:
        for part in _parts(n_resamples, n):
            rows = rng.integers(0, n, (part.stop - part.start, n))
            flat = bin_of[rows] + len(used) * np.arange(len(rows))[:, None]
            by_bin = np.bincount(
                flat.ravel(), weights=gap[rows].ravel(), minlength=len(used) * len(rows)
            )
            draws[part] = np.abs(by_bin.reshape(len(rows), -1)).sum(axis=1) / n
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(low), float(high))


@dataclass(frozen=True, kw_only=True)
class ReliabilityTable:
    """Confidence against accuracy, one entry per bin; NaN in bins without samples.

    Parameters
    ----------
    lower, upper : ndarray of shape (n_bins,), float64
        Edges: of the bin ``(lower, upper]``, or lowest and highest confidence of an adaptive one.
    n : ndarray of shape (n_bins,), int64
        Samples in the bin.
    mean_confidence, accuracy : ndarray of shape (n_bins,), float64
    low, high : ndarray of shape (n_bins,), float64
        Wilson interval of the accuracy.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    n: NDArray[np.int64]
    mean_confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def reliability_table(
    confidence: ArrayLike,
    correct: ArrayLike,
    n_bins: int = ECE_BINS,
    *,
    adaptive: bool = False,
    level: float = 0.95,
) -> ReliabilityTable:
    """Tabulate accuracy by confidence: the numbers of a reliability diagram.

    Parameters
    ----------
    confidence, correct, n_bins, adaptive
        As in `ece`, whose value is the n-weighted mean of ``|accuracy - mean_confidence|``.
        Adaptive bins are never more than samples.
    level : float, default=0.95
        Of the Wilson intervals.

    Returns
    -------
    table : ReliabilityTable

    Raises
    ------
    InputError
        If lengths differ, there are no samples, or a value is out of range.

    Examples
    --------
    >>> table = reliability_table([0.9, 0.8, 0.3], [1, 0, 0], n_bins=2)
    >>> table.n, table.accuracy
    (array([1, 2]), array([0. , 0.5]))
    """
    bin_of, sure, right = _binned(confidence, correct, n_bins, adaptive)
    _check.level(level, "level")
    n_used = int(bin_of.max()) + 1 if adaptive else n_bins
    n = np.bincount(bin_of, minlength=n_used)
    filled = n > 0
    size = np.where(filled, n, 1)
    hits = np.bincount(bin_of, weights=right, minlength=n_used)
    total = np.bincount(bin_of, weights=sure, minlength=n_used)
    low, high = wilson_interval(np.clip(hits, 0, n), n, level)
    if adaptive:  # bins hold consecutive samples
        ends = n.cumsum()
        lower, upper = sure[ends - n], sure[ends - 1]
    else:
        edges = np.linspace(0, 1, n_bins + 1)
        lower, upper = edges[:-1], edges[1:]
    blank = np.where(filled, 0.0, np.nan)
    return ReliabilityTable(
        lower=lower,
        upper=upper,
        n=n,
        mean_confidence=total / size + blank,
        accuracy=hits / size + blank,
        low=low + blank,
        high=high + blank,
    )


def _proba_and_codes(proba: ArrayLike, y_true: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Check a probability matrix and its true labels."""
    p = _check.matrix(proba, "proba")
    true = _check.codes(y_true, "y_true", p.shape[1])
    _check.same_length(proba=p, y_true=true)
    return p, true


def brier(proba: ArrayLike, y_true: ArrayLike) -> float:
    """Brier score over all labels: mean of ``Σ_j (p_j - [j = y])²``.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        Probabilities.
    y_true : array-like of shape (n_samples,), int
        True label codes.

    Returns
    -------
    brier : float
        Between 0 (sure and right) and 2 (sure and wrong). With two labels it is twice the
        score of the positive class that scikit-learn reports by default.

    Raises
    ------
    InputError
        If shapes do not fit, there are no samples, or a value is no probability.

    References
    ----------
    Brier (1950), Verification of forecasts expressed in terms of probability.

    Examples
    --------
    >>> round(brier([[0.7, 0.2, 0.1]], [0]), 4)
    0.14
    """
    p, true = _proba_and_codes(proba, y_true)
    squares = np.einsum("ij,ij->i", p, p, dtype=np.float64)
    own = np.take_along_axis(p, true[:, None], axis=1)[:, 0].astype(np.float64)
    return float((squares - 2 * own + 1).mean())


def brier_top_label(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Brier score of the answered label: mean of ``(confidence - correct)²``.

    Parameters
    ----------
    confidence, correct
        As in `ece`.

    Returns
    -------
    brier : float
        Between 0 and 1.

    Raises
    ------
    InputError
        If lengths differ, there are no samples, or a value is out of range.

    Examples
    --------
    >>> round(brier_top_label([0.9, 0.6], [1, 0]), 3)
    0.185
    """
    sure, right = _check.confidences(confidence), _check.outcomes(correct)
    _check.same_length(confidence=sure, correct=right)
    return float(((sure - right) ** 2).mean())


def log_proba(proba: ArrayLike) -> NDArray[np.float64]:
    """Logarithm of probabilities, each at least `PROBABILITY_FLOOR` (1e-12).

    Use it as logits for `fit_temperature` when only probabilities are known: softmax undoes it.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)

    Returns
    -------
    logits : ndarray of the same shape, float64

    Raises
    ------
    InputError
        If a value is no probability.

    Examples
    --------
    >>> log_proba([[1.0, 0.0]]).round(2)
    array([[  0.  , -27.63]])
    """
    p = _check.matrix(proba, "proba").astype(np.float64)
    logits: NDArray[np.float64] = np.log(np.clip(p, PROBABILITY_FLOOR, 1.0))
    return logits


def nll(proba: ArrayLike, y_true: ArrayLike) -> float:
    """Negative log-likelihood: mean of ``-ln p_y``, in nats.

    Probabilities below 1e-12 (`PROBABILITY_FLOOR`) count as 1e-12, so one sure and wrong answer
    costs at most 27.6 and a rounded 0 does not make the mean infinite.

    Parameters
    ----------
    proba, y_true
        As in `brier`.

    Returns
    -------
    nll : float
        At least 0.

    Raises
    ------
    InputError
        If shapes do not fit, there are no samples, or a value is no probability.

    Examples
    --------
    >>> round(nll([[0.5, 0.5], [0.25, 0.75]], [0, 1]), 4)
    0.4904
    """
    p, true = _proba_and_codes(proba, y_true)
    own = np.take_along_axis(p, true[:, None], axis=1).astype(np.float64)
    return float(-np.log(np.clip(own, PROBABILITY_FLOOR, 1.0)).mean())


def fit_temperature(logits: ArrayLike, y_true: ArrayLike) -> float:
    """Find the temperature that makes the softmax of logits most likely.

    ``T* = argmin_T mean(-ln softmax(z / T)_y)``, searched over ``ln T`` in [-4, 4]. Order and
    argmax stay as they are. Fit it on samples that are not used to measure calibration. If only
    probabilities exist, pass `log_proba` of them. Where every sample is right with room to
    spare, the likelihood has no optimum inside and the lower end ``e⁻⁴`` is returned.

    Parameters
    ----------
    logits : array-like of shape (n_samples, n_classes)
        Unnormalised scores; any constant may be added to a row.
    y_true : array-like of shape (n_samples,), int
        True label codes.

    Returns
    -------
    temperature : float
        No unit; above 1 flattens.

    Raises
    ------
    InputError
        If shapes do not fit, there are no samples, or a logit is not finite.

    References
    ----------
    Guo et al. (2017), On Calibration of Modern Neural Networks, arXiv:1706.04599, section 4.2.

    Examples
    --------
    >>> logits = [[4, 0, 0], [0, 4, 0], [0, 0, 4], [4, 0, 0], [4, 0, 0]]
    >>> round(fit_temperature(logits, [0, 1, 2, 0, 1]), 6)  # 4 of 5 right: 4 / ln 8
    1.923593
    """
    from scipy.optimize import minimize_scalar  # slow to load, and only needed here

    z = _check.matrix(logits, "logits", probabilities=False)
    true = _check.codes(y_true, "y_true", z.shape[1])
    n = _check.same_length(logits=z, y_true=true)
    if not np.isfinite(z).all():
        raise InputError(
            "`logits` must be finite. Turn probabilities into logits with `log_proba`, which "
            "keeps zeros finite."
        )
    step = max(1, _DRAWS_AT_ONCE // z.shape[1])

    def loss(ln_temperature: float) -> float:
        total = 0.0
        for start in range(0, n, step):
            rows = z[start : start + step].astype(np.float64)
            rows -= rows.max(axis=1, keepdims=True)
            rows *= np.exp(-ln_temperature)
            own = np.take_along_axis(rows, true[start : start + step, None], axis=1)
            total += float(np.log(np.exp(rows).sum(axis=1)).sum() - own.sum())
        return total / n

    found = minimize_scalar(
        loss, bounds=LN_TEMPERATURE_BOUNDS, method="bounded", options={"xatol": 1e-9}
    )
    low, high = LN_TEMPERATURE_BOUNDS
    best = min([low, float(found.x), high], key=loss)  # a bounded search never tries the ends
    return float(np.exp(best))


def apply_temperature(logits: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Turn logits into probabilities: ``softmax(z / T)`` along the last axis.

    Parameters
    ----------
    logits : array-like of shape (..., n_classes)
        Unnormalised scores.
    temperature : float
        Above 0; 1 is the plain softmax.

    Returns
    -------
    proba : ndarray of the same shape, float64
        Rows sum to 1.

    Raises
    ------
    InputError
        If `temperature` is not a positive number.

    Examples
    --------
    >>> apply_temperature([98.387, 60.0], 100.0).round(6)
    array([0.594806, 0.405194])
    """
    if not 0 < temperature < np.inf:
        raise InputError(f"`temperature` must be a positive number, got {temperature!r}.")
    proba: NDArray[np.float64] = softmax(np.asarray(logits, np.float64) / temperature, axis=-1)
    return proba
