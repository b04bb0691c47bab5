"""How often the labels are right: accuracy with its interval, per-class scores, coverage and risk.

Labels are integer codes. A prediction of -1 means "no answer" (abstained, failed, unparsable): it
counts as wrong wherever all samples are counted, has its own column in the confusion matrix, and
is reported beside the accuracy, never silently left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from showtell.checks import at_least, one_of
from showtell.errors import InputError
from showtell.metrics import _check

NO_ANSWER = -1
"""Code of a prediction that is no label."""

Z_95 = 1.959963984540054
"""Standard normal quantile of .975: the z of a two-sided 95 % interval."""

MacroOver: TypeAlias = Literal["present", "support", "all"]
"""Which classes a macro average runs over; see `scores`."""


class Interval(NamedTuple):
    """Two ends of an interval."""

    low: float
    high: float


def wilson_interval(
    k: ArrayLike, n: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson score intervals of many shares at once.

    ``(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)`` with ``p = k/n``. It never leaves [0, 1]
    and stays honest for small n and for shares near 0 or 1.

    Parameters
    ----------
    k, n : array-like of numbers, broadcast against each other
        Successes and trials, ``0 <= k <= n``. Where n is 0 the interval is (0, 1).
    confidence : float, default=0.95
        Between 0 and 1, exclusive.

    Returns
    -------
    low, high : ndarray of float64

    Raises
    ------
    InputError
        If a k is not between 0 and its n, or `confidence` is not between 0 and 1.

    References
    ----------
    Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22.

    Examples
    --------
    >>> low, high = wilson_interval([36, 68], 75)
    >>> low.round(3), high.round(3)
    (array([0.371, 0.82 ]), array([0.591, 0.954]))
    """
    k, n = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    if not ((k >= 0) & (k <= n)).all():
        raise InputError("Successes `k` must lie between 0 and the number of trials `n`.")
    z = float(ndtri(0.5 + _check.level(confidence, "confidence") / 2))
    trials = np.where(n > 0, n, 1.0)
    p = k / trials
    centre = p + z * z / (2 * trials)
    half = z * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low = np.where((n > 0) & (k > 0), (centre - half) / scale, 0.0)  # exact at the ends,
    high = np.where((n > 0) & (k < n), (centre + half) / scale, 1.0)  # where rounding would not be
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def accuracy_interval(k: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of one share, such as an accuracy.

    Parameters
    ----------
    k, n : int
        Samples that are right, and all samples. With 0 samples nothing is known: (0, 1).
    confidence : float, default=0.95

    Returns
    -------
    interval : Interval
        ``low`` and ``high``.

    Raises
    ------
    InputError
        As in `wilson_interval`.

    Examples
    --------
    >>> low, high = accuracy_interval(55, 75)
    >>> print(f"{55 / 75:.3f} ({low:.3f} to {high:.3f})")
    0.733 (0.624 to 0.820)
    """
    low, high = wilson_interval(k, n, confidence)
    return Interval(float(low), float(high))


def confusion_matrix(y_true: ArrayLike, y_pred: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """Count how often each label was answered for each true label.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,), int
        True label codes, 0 to ``n_classes - 1``.
    y_pred : array-like of shape (n_samples,), int
        Predicted label codes; -1 for no answer.
    n_classes : int
        Number of labels in the label set.

    Returns
    -------
    confusion : ndarray of shape (n_classes, n_classes + 1), int64
        Row: true label. Column: predicted label; the last column counts "no answer".

    Raises
    ------
    InputError
        If lengths differ, there are no samples, or a code is out of range.

    Examples
    --------
    >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, -1], 2)
    array([[1, 1, 0],
           [0, 1, 1]])
    """
    at_least(1, n_classes=n_classes)
    true = _check.codes(y_true, "y_true", n_classes)
    pred = _check.codes(y_pred, "y_pred", n_classes, lowest=NO_ANSWER)
    _check.same_length(y_true=true, y_pred=pred)
    width = n_classes + 1
    column = np.where(pred == NO_ANSWER, n_classes, pred)
    flat = np.bincount(true * width + column, minlength=n_classes * width)
    return flat.reshape(n_classes, width)


@dataclass(frozen=True, kw_only=True)
class PerClass:
    """Scores of each class, all arrays of shape (n_classes,), in label order.

    Parameters
    ----------
    precision, recall, f1 : ndarray, float64
        0 where the quotient would be 0/0: precision of a class that was never predicted, recall
        of a class without samples (scikit-learn's ``zero_division=0``).
    support : ndarray, int64
        Samples whose true label this is.
    n_predicted : ndarray, int64
        Samples that were given this label.
    recall_low, recall_high : ndarray, float64
        Wilson interval of the recall; (0, 1) where there is no support.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]
    n_predicted: NDArray[np.int64]
    recall_low: NDArray[np.float64]
    recall_high: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What `scores` found; all shares are between 0 and 1.

    Parameters
    ----------
    n_samples, n_answered, n_correct : int
        All samples; those with an answer; those whose answer is right.
    accuracy, low, high : float
        Share right of **all** samples, no answer being wrong, with its Wilson interval.
    accuracy_answered : float
        Share right of the answered samples; NaN if there are none.
    coverage : float
        Share of samples with an answer.
    balanced_accuracy : float
        Mean recall over the classes that have samples.
    macro_precision, macro_recall, macro_f1 : float
        Plain means over classes; which ones: `macro_over`.
    weighted_precision, weighted_recall, weighted_f1 : float
        Means weighted by support.
    macro_over : {"present", "support", "all"}
        The convention of the macro averages.
    per_class : PerClass
        The table behind the averages.
    confusion : ndarray of shape (n_classes, n_classes + 1), int64
        Row: true label. Last column: no answer.
    """

    n_samples: int
    n_answered: int
    n_correct: int
    accuracy: float
    low: float
    high: float
    accuracy_answered: float
    coverage: float
    balanced_accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    macro_over: MacroOver
    per_class: PerClass
    confusion: NDArray[np.int64]


def scores(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    n_classes: int,
    *,
    confidence: float = 0.95,
    macro_over: MacroOver = "present",
) -> Scores:
    """Score predicted labels against true ones.

    Precision of class c is ``confusion[c, c] / predicted(c)``, recall
    ``confusion[c, c] / support(c)``, ``F1 = 2 confusion[c, c] / (predicted(c) + support(c))``;
    each is 0 where its denominator is. Samples without an answer lower recall and accuracy, not
    precision.

    Parameters
    ----------
    y_true, y_pred, n_classes
        As in `confusion_matrix`.
    confidence : float, default=0.95
        Of the Wilson intervals.
    macro_over : {"present", "support", "all"}, default="present"
        Classes of the macro averages. "present": those that occur among true or predicted labels
        (scikit-learn's default; reproduces the published tables). "support": those with samples, so
        macro recall is the balanced accuracy. "all": the whole label set.

    Returns
    -------
    scores : Scores

    Raises
    ------
    InputError
        If lengths differ, there are no samples, a code is out of range or an option is unknown.

    Examples
    --------
    >>> s = scores([0, 0, 1, 1], [0, 1, 1, -1], 2)
    >>> s.accuracy, s.coverage, round(s.accuracy_answered, 3)
    (0.5, 0.75, 0.667)
    >>> s.per_class.precision, s.per_class.recall
    (array([1. , 0.5]), array([0.5, 0.5]))
    """
    one_of("macro_over", macro_over, get_args(MacroOver))
    confusion = confusion_matrix(y_true, y_pred, n_classes)
    hits = np.diagonal(confusion).astype(np.float64)
    support, n_predicted = confusion.sum(axis=1), confusion[:, :n_classes].sum(axis=0)
    precision = _ratio(hits, n_predicted)
    recall = _ratio(hits, support)
    f1 = _ratio(2 * hits, n_predicted + support)
    recall_low, recall_high = wilson_interval(hits, support, confidence)
    chosen = {"present": support + n_predicted > 0, "support": support > 0, "all": support >= 0}[
        macro_over
    ]
    n_samples, n_answered = int(support.sum()), int(n_predicted.sum())
    n_correct = int(hits.sum())
    low, high = accuracy_interval(n_correct, n_samples, confidence)
    weight = support / n_samples
    return Scores(
        n_samples=n_samples,
        n_answered=n_answered,
        n_correct=n_correct,
        accuracy=n_correct / n_samples,
        low=low,
        high=high,
        accuracy_answered=n_correct / n_answered if n_answered else float("nan"),
        coverage=n_answered / n_samples,
        balanced_accuracy=float(recall[support > 0].mean()),
        macro_precision=float(precision[chosen].mean()),
        macro_recall=float(recall[chosen].mean()),
        macro_f1=float(f1[chosen].mean()),
        weighted_precision=float(precision @ weight),
        weighted_recall=float(recall @ weight),
        weighted_f1=float(f1 @ weight),
        macro_over=macro_over,
        per_class=PerClass(
            precision=precision,
            recall=recall,
            f1=f1,
            support=support,
            n_predicted=n_predicted,
            recall_low=recall_low,
            recall_high=recall_high,
        ),
        confusion=confusion,
    )


def _ratio(top: NDArray[Any], bottom: NDArray[Any]) -> NDArray[np.float64]:
    """Quotient, 0 where the denominator is 0."""
    quotient: NDArray[np.float64] = np.zeros(len(top))
    np.divide(top, bottom, out=quotient, where=bottom > 0)
    return quotient


def top_k_accuracy(proba: ArrayLike, y_true: ArrayLike, k: int = 5) -> float:
    """Share of samples whose true label is among the k most probable ones.

    Ties go to the lower label code, as in ``argmax``, so ``k = 1`` is the accuracy. Rows with NaN
    (no answer) count as wrong. With ``k >= n_classes`` every answered row counts.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        Probabilities, or any scores that rank the labels.
    y_true : array-like of shape (n_samples,), int
        True label codes.
    k : int, default=5
        At least 1.

    Returns
    -------
    accuracy : float

    Raises
    ------
    InputError
        If shapes do not fit, there are no samples or `k` is below 1.

    Examples
    --------
    >>> proba = [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]]
    >>> top_k_accuracy(proba, [1, 0], k=1), top_k_accuracy(proba, [1, 0], k=2)
    (0.0, 0.5)
    """
    p = np.asarray(proba)
    if p.ndim != 2:
        raise InputError(f"`proba` must have shape (n_samples, n_classes), got shape {p.shape}.")
    at_least(1, k=k)
    true = _check.codes(y_true, "y_true", p.shape[1])
    n = _check.same_length(proba=p, y_true=true)
    column = np.arange(p.shape[1])
    hits = 0
    step = max(1, 4_000_000 // p.shape[1])  # rows at a time: the masks below stay small
    for start in range(0, n, step):
        rows, label = p[start : start + step], true[start : start + step, None]
        own = np.take_along_axis(rows, label, axis=1)
        rank = ((rows > own) | ((rows == own) & (column < label))).sum(axis=1)
        hits += int(((rank < k) & ~np.isnan(rows).any(axis=1)).sum())
    return hits / n


@dataclass(frozen=True, kw_only=True)
class CoverageRisk:
    """The risk-coverage curve: what is gained by answering only when sure.

    Parameters
    ----------
    threshold : ndarray of shape (n_points,), float64
        Answer where the confidence is at least this; falling. One point per distinct confidence.
    coverage : ndarray of shape (n_points,), float64
        Share of all samples that are then answered; rising.
    risk : ndarray of shape (n_points,), float64
        Share of the answered ones that are wrong.
    area : float
        Mean risk over the answered counts 1, 2, ... (AURC); lower is better. NaN without points.
    """

    threshold: NDArray[np.float64]
    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    area: float


def coverage_risk(confidence: ArrayLike, correct: ArrayLike) -> CoverageRisk:
    """Trace how the error rate falls when only the surest samples are answered.

    Samples of equal confidence enter together: each point of the curve answers all of them, and
    inside such a block the area uses the expected risk under a random order, so the order of rows
    never matters. Rows with NaN confidence are never answered.

    Parameters
    ----------
    confidence : array-like of shape (n_samples,)
        Any number that is higher where the classifier is surer.
    correct : array-like of shape (n_samples,), bool or 0/1
        Whether the answer is right.

    Returns
    -------
    curve : CoverageRisk

    Raises
    ------
    InputError
        If lengths differ or there are no samples.

    References
    ----------
    El-Yaniv and Wiener (2010), On the Foundations of Noise-free Selective Classification, JMLR 11.

    Examples
    --------
    >>> curve = coverage_risk([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1])
    >>> curve.risk.round(3)
    array([0.   , 0.   , 0.333, 0.25 ])
    >>> round(curve.area, 4)
    0.1458
    """
    sure, right = np.asarray(confidence, np.float64), _check.outcomes(correct)
    n = _check.same_length(confidence=sure, correct=right)
    kept = ~np.isnan(sure)
    values, block, size = np.unique(-sure[kept], return_inverse=True, return_counts=True)
    if not len(values):
        empty = np.zeros(0)
        return CoverageRisk(threshold=empty, coverage=empty, risk=empty, area=float("nan"))
    wrong = np.bincount(block, weights=1 - right[kept], minlength=len(values))
    answered, errors = size.cumsum(), wrong.cumsum()
    # Expected number of errors among the first 1, 2, ... answers, linear inside a block of ties.
    expected = np.repeat(wrong / size, size).cumsum()
    area = float((expected / np.arange(1, len(expected) + 1)).mean())
    return CoverageRisk(threshold=-values, coverage=answered / n, risk=errors / answered, area=area)


def auroc_of_correctness(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Probability that a right answer is surer than a wrong one (ties count one half).

    A constant confidence has .5: it may be calibrated, yet it ranks nothing. Computed as the
    Mann-Whitney statistic from mid-ranks, in O(n log n).

    Parameters
    ----------
    confidence, correct
        As in `coverage_risk`; rows with NaN are left out.

    Returns
    -------
    auroc : float
        Between 0 and 1; NaN if all answers are right or all are wrong.

    Raises
    ------
    InputError
        If lengths differ or there are no samples.

    Examples
    --------
    >>> auroc_of_correctness([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1])
    0.6666666666666666
    """
    sure, right = np.asarray(confidence, np.float64), _check.outcomes(correct)
    _check.same_length(confidence=sure, correct=right)
    kept = ~np.isnan(sure)
    sure, right = sure[kept], right[kept]
    n_right = float(right.sum())
    n_wrong = len(right) - n_right
    if n_right == 0 or n_wrong == 0:
        return float("nan")
    _, block, size = np.unique(sure, return_inverse=True, return_counts=True)
    middle = size.cumsum() - (size - 1) / 2  # mid-rank of each distinct confidence
    rank_sum = float(middle[block] @ right)
    return (rank_sum - n_right * (n_right + 1) / 2) / (n_right * n_wrong)
