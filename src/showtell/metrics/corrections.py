"""Take the prior of a prompt out of probabilities: content-free inputs, batches, permutations.

A model that is shown a list of labels leans towards some of them whatever the picture: those that
are common words, stand first or last, or were shown last. A prior that multiplies probabilities
can be divided out once it is known, and a preference for places cancels when every label has
stood everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax

from showtell.errors import InputError, UnknownNameError
from showtell.metrics import _check

PRIOR_FLOOR = 1e-6
"""Probabilities below this count as this in the corrections, before logarithms and divisions."""

GAMMA_GRID: tuple[float, ...] = tuple(round(-1 + 0.1 * k, 1) for k in range(31))
"""Strengths that `fit_batch_gamma` tries: -1, -0.9 ... 2."""

ContextualForm: TypeAlias = Literal["divide", "subtract"]


def remove_prior(log_p: NDArray[Any], prior: NDArray[Any], gamma: float = 1.0) -> NDArray[Any]:
    """Take a label prior out of log-probabilities: ``log p − γ log prior``.

    With the mean distribution over content-free inputs this is contextual calibration, with the
    mean over an unlabelled batch it is batch calibration.

    Parameters
    ----------
    log_p : ndarray of shape (..., n_classes)
    prior : ndarray of shape (n_classes,)
        Probabilities; values below 1e-6 count as 1e-6.
    gamma : float, default=1.0
        0 changes nothing.

    Returns
    -------
    scores : ndarray of shape (..., n_classes)
        Not normalised.

    References
    ----------
    Zhao et al. (2021), Calibrate Before Use, arXiv:2102.09690. Zhou et al. (2023), Batch
    Calibration, arXiv:2309.17249.

    Examples
    --------
    >>> scores = remove_prior(np.log([0.7, 0.2, 0.1]), np.array([0.6, 0.25, 0.15]))
    >>> (np.exp(scores) / np.exp(scores).sum()).round(4)
    array([0.443 , 0.3038, 0.2532])
    """
    floor = np.maximum(np.asarray(prior, np.float64), PRIOR_FLOOR)
    return np.asarray(log_p, np.float64) - gamma * np.log(floor)


def divide_prior(
    proba: ArrayLike, prior: ArrayLike, gamma: float = 1.0, *, among: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Divide probabilities by ``prior ** gamma`` and normalise.

    What `contextual_calibration` and `batch_calibration` come to, for a prior that is known.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        Values below 1e-6 count as 1e-6.
    prior : array-like of shape (n_classes,)
        Values below 1e-6 count as 1e-6.
    gamma : float, default=1.0
        0 changes nothing.
    among : array-like of shape (n_samples, n_classes), bool, optional
        Labels whose probability is known; only they change, and share what they had together.
        For frequencies of a few answers, where a label that was never named was not measured.

    Returns
    -------
    corrected : ndarray of shape (n_samples, n_classes), float64
        Rows sum to what they did.

    Examples
    --------
    >>> divide_prior([[0.6, 0.4, 0.0]], [0.8, 0.1, 0.1], among=[[True, True, False]]).round(3)
    array([[0.158, 0.842, 0.   ]])
    """
    given = _check.matrix(np.asarray(proba), "proba").astype(np.float64)
    mean = np.asarray(prior, np.float64)
    _same_width(given, mean)
    scores = remove_prior(np.log(np.maximum(given, PRIOR_FLOOR)), mean, gamma)
    if among is None:
        return np.asarray(softmax(scores, axis=1))
    known = np.asarray(among, bool)
    if known.shape != given.shape:
        raise InputError(f"`among` has shape {known.shape} and `proba` {given.shape}.")
    corrected = given.copy()
    for row in np.flatnonzero(known.any(axis=1)):
        own = known[row]
        corrected[row, own] = softmax(scores[row, own]) * given[row, own].sum()
    return corrected


def content_free_prior(null_proba: ArrayLike) -> NDArray[np.float64]:
    """Average what a model says about inputs that show nothing, each normalised first.

    Parameters
    ----------
    null_proba : array-like of shape (n_nulls, n_classes) or (n_classes,)
        Weights or probabilities per label; values below 1e-6 count as 1e-6.

    Returns
    -------
    prior : ndarray of shape (n_classes,), float64
        Sums to 1.

    Raises
    ------
    InputError
        If there is no input, or a number is negative or not finite.

    Examples
    --------
    >>> content_free_prior([[0.7, 0.2, 0.1], [1.0, 0.6, 0.4]])
    array([0.6 , 0.25, 0.15])
    """
    rows = np.atleast_2d(np.asarray(null_proba, np.float64))
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all() or (rows < 0).any():
        raise InputError(
            "A prior needs at least one row of probabilities, shape (n_nulls, n_classes), none "
            f"negative or NaN; got shape {rows.shape}."
        )
    rows = np.maximum(rows / np.maximum(rows.sum(axis=1, keepdims=True), PRIOR_FLOOR), PRIOR_FLOOR)
    mean = (rows / rows.sum(axis=1, keepdims=True)).mean(axis=0)
    return np.asarray(mean / mean.sum())


def contextual_calibration(
    proba: ArrayLike, null_proba: ArrayLike, *, form: ContextualForm = "divide"
) -> NDArray[np.float64]:
    r"""Correct probabilities by what the model says about inputs that show nothing.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        Values below 1e-6 count as 1e-6.
    null_proba : array-like of shape (n_nulls, n_classes) or (n_classes,)
        The same for content-free inputs, with the same prompt and demonstrations: a grey picture,
        noise, the mean picture, blurred pictures. See `content_free_prior`.
    form : {"divide", "subtract"}, default="divide"
        ``"divide"``: ``p / prior``, normalised (the diagonal form ``W = diag(prior)⁻¹``).
        ``"subtract"``: ``softmax(p - prior)``; its ranking moves less where a prior is extreme,
        and its probabilities say little.

    Returns
    -------
    corrected : ndarray of shape (n_samples, n_classes), float64
        Rows sum to 1. Calibrate confidences after this, not before.

    Raises
    ------
    InputError
        If shapes do not fit or values are no probabilities.
    UnknownNameError
        If there is no such form.

    References
    ----------
    Zhao et al. (2021), Calibrate Before Use, arXiv:2102.09690, section 5.

    Examples
    --------
    >>> contextual_calibration([[0.7, 0.2, 0.1], [0.5, 0.45, 0.05]], [0.6, 0.25, 0.15]).round(4)
    array([[0.443 , 0.3038, 0.2532],
           [0.2809, 0.6067, 0.1124]])
    """
    if form not in get_args(ContextualForm):
        raise UnknownNameError("form", str(form), get_args(ContextualForm))
    rows, prior = _rows(proba), content_free_prior(null_proba)
    if form == "divide":
        return divide_prior(rows, prior)
    _same_width(rows, prior)
    return np.asarray(softmax(rows - prior, axis=1))


def batch_calibration(
    proba: ArrayLike, *, gamma: float = 1.0, prior: ArrayLike | None = None
) -> NDArray[np.float64]:
    r"""Correct probabilities by their own mean over many inputs: ``log p − γ log p̄``.

    Right where labels are about even in the batch: it moves mass towards rare labels, also where
    they are rare in truth. Ten inputs a label are advised.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        Values below 1e-6 count as 1e-6.
    gamma : float, default=1.0
        Strength; 0 changes nothing. With labels, `fit_batch_gamma` chooses one.
    prior : array-like of shape (n_classes,), optional
        ``p̄`` of an earlier batch, so that a row does not depend on those beside it; None takes
        the mean over these rows.

    Returns
    -------
    corrected : ndarray of shape (n_samples, n_classes), float64
        Rows sum to 1.

    Raises
    ------
    InputError
        If shapes do not fit, values are no probabilities, or a single row is to be its own
        prior, which would leave nothing of it.

    References
    ----------
    Zhou et al. (2023), Batch Calibration, arXiv:2309.17249.

    Examples
    --------
    >>> rows = [[0.7, 0.2, 0.1], [0.55, 0.4, 0.05], [0.6, 0.1, 0.3], [0.5, 0.45, 0.05]]
    >>> batch_calibration(rows).argmax(axis=1)
    array([0, 1, 2, 1])
    >>> batch_calibration(rows, gamma=0).argmax(axis=1)
    array([0, 0, 0, 0])
    """
    rows = _rows(proba)
    return divide_prior(rows, _batch_prior(rows, prior), gamma)


def fit_batch_gamma(
    proba: ArrayLike,
    y_true: ArrayLike,
    *,
    prior: ArrayLike | None = None,
    among: ArrayLike | None = None,
    grid: Sequence[float] = GAMMA_GRID,
) -> float:
    """Choose the strength of `batch_calibration` that is most often right on labelled inputs.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        Of held-out labelled inputs, never of those that are scored.
    y_true : array-like of shape (n_samples,), int
        True label codes.
    prior : array-like of shape (n_classes,), optional
        As in `batch_calibration`.
    among : array-like of shape (n_samples, n_classes), bool, optional
        As in `divide_prior`; no other label is chosen.
    grid : sequence of float
        What to try.

    Returns
    -------
    gamma : float
        Among strengths of equal accuracy the one nearest to 1, and the lower of two as near.

    Raises
    ------
    InputError
        If shapes do not fit, or the grid is empty.

    Examples
    --------
    >>> rows = [[0.7, 0.2, 0.1], [0.55, 0.4, 0.05], [0.6, 0.1, 0.3], [0.5, 0.45, 0.05]]
    >>> fit_batch_gamma(rows, [0, 1, 2, 1]), fit_batch_gamma(rows, [0, 0, 0, 0])
    (1.0, 0.1)
    """
    rows = _rows(proba)
    codes = _check.codes(np.asarray(y_true), "y_true", rows.shape[1])
    _check.same_length(proba=rows, y_true=codes)
    if not len(grid):
        raise InputError("`grid` is empty; give strengths to try, for example (0, 0.5, 1).")
    mean = _batch_prior(rows, prior)
    barred = 0.0 if among is None else np.where(np.asarray(among, bool), 0.0, -np.inf)

    def worth(gamma: float) -> tuple[int, float, float]:
        found = (remove_prior(np.log(rows), mean, gamma) + barred).argmax(axis=1)
        return int((found == codes).sum()), -round(abs(gamma - 1), 9), -gamma

    return float(max(grid, key=worth))


def rotations_of(n_options: int, n_rotations: int | None) -> list[list[int]]:
    """Cyclic shifts of options: entry ``[r][k]`` is the option at place ``k`` of rotation ``r``.

    Parameters
    ----------
    n_options : int
    n_rotations : int or None
        None, or more than there are options: all of them. Fewer are spread evenly.

    Returns
    -------
    orders : list of list of int

    Examples
    --------
    >>> rotations_of(3, None)
    [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    >>> rotations_of(4, 2)
    [[0, 1, 2, 3], [2, 3, 0, 1]]
    """
    n = n_options if n_rotations is None else min(n_rotations, n_options)
    starts = [r * n_options // n for r in range(n)]
    return [[(s + k) % n_options for k in range(n_options)] for s in starts]


def average_rotations(log_p: NDArray[Any], orders: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Average log-probabilities of places back on their options (geometric mean).

    With all cyclic shifts a bias that multiplies each place by a factor cancels exactly.

    Parameters
    ----------
    log_p : ndarray of shape (n_rotations, n_options)
        Per rotation, by place; each row is normalised here.
    orders : sequence of sequence of int
        As `rotations_of` gives them.

    Returns
    -------
    scores : ndarray of shape (n_options,), float64
        Logarithms, not normalised.

    Examples
    --------
    >>> true, weight = np.array([0.45, 0.40, 0.15]), np.array([2.0, 1.0, 1.0])
    >>> orders = rotations_of(3, None)
    >>> seen = np.log([[true[o] * w for o, w in zip(order, weight)] for order in orders])
    >>> p = np.exp(average_rotations(seen, orders))
    >>> (p / p.sum()).round(6)
    array([0.45, 0.4 , 0.15])
    """
    places = np.asarray(log_p, np.float64)
    places = places - logsumexp(places, axis=1, keepdims=True)
    back = np.empty_like(places)
    for row, order in enumerate(orders):
        back[row, list(order)] = places[row]
    mean: NDArray[np.float64] = back.mean(axis=0)
    return mean


def geometric_mean(proba: ArrayLike) -> NDArray[np.float64]:
    """Average probabilities of the same labels from several orders of the list.

    A bias that multiplies places cancels here and does not in the arithmetic mean.

    Parameters
    ----------
    proba : array-like of shape (n_orders, n_classes)
        Columns follow the labels, not the places. Values below 1e-6 count as 1e-6, except where
        a label has 0 in all rows: it was not to choose from, and keeps its 0.

    Returns
    -------
    mean : ndarray of shape (n_classes,), float64
        Sums to 1.

    Examples
    --------
    >>> geometric_mean([[0.8, 0.2, 0.0], [0.2, 0.8, 0.0]])
    array([0.5, 0.5, 0. ])
    """
    rows = np.asarray(proba, np.float64)
    if rows.ndim != 2 or not rows.size:
        raise InputError(f"`proba` must have shape (n_orders, n_classes), got {rows.shape}.")
    asked = np.flatnonzero((rows > 0).any(axis=0))
    if not len(asked):
        asked = np.arange(rows.shape[1])
    mean = np.zeros(rows.shape[1])
    mean[asked] = softmax(np.log(np.maximum(rows[:, asked], PRIOR_FLOOR)).mean(axis=0))
    return mean


def _rows(proba: ArrayLike) -> NDArray[np.float64]:
    rows = _check.matrix(np.asarray(proba), "proba").astype(np.float64)
    return np.maximum(rows, PRIOR_FLOOR)


def _same_width(rows: NDArray[np.float64], prior: NDArray[np.float64]) -> None:
    if prior.shape != (rows.shape[1],):
        raise InputError(
            f"The prior has {prior.size} labels and `proba` has {rows.shape[1]}; both need the "
            "same label set in the same order."
        )


def _batch_prior(rows: NDArray[np.float64], prior: ArrayLike | None) -> NDArray[np.float64]:
    if prior is not None:
        given = np.asarray(prior, np.float64)
        _same_width(rows, given)
        return given
    if len(rows) < 2:
        raise InputError(
            f"Batch calibration divides by the mean over the batch, and {len(rows)} rows have "
            "none of their own. Give at least 10 rows a label, or the `prior` of another batch."
        )
    mean: NDArray[np.float64] = rows.mean(axis=0)
    return mean
