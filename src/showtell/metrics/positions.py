"""Which place in a list of labels is preferred, whatever stands there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from showtell.checks import at_least
from showtell.errors import InputError
from showtell.metrics.compare import paired_bootstrap
from showtell.metrics.scores import NO_ANSWER
from showtell.metrics.shuffles import (
    answers_by_arm,
    compact,
    flips_of,
    most_unseen,
    random_orders,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class PositionEffect:
    """How much the place in the list of labels decides.

    Parameters
    ----------
    effect : float
        Share of answers at the most favoured place minus what no preference would give.
    low, high : float
        95 % interval of that place's excess, by bootstrap over images.
    p_value : float
        Of the larger of the two standardised statistics, the excess and the slope.
    favoured : int
        The most favoured place, 0 the first.
    shares : ndarray of shape (n_places,), float64
        Share of answers at each place; all answers.
    expected : ndarray of shape (n_places,), float64
        The same without a preference: 1 / n_places where all answers are there.
    shares_wrong : ndarray of shape (n_places,), float64
        Among wrong answers; NaN without any.
    recall : ndarray of shape (n_places,), float64
        Share of right answers where the true label stands at a place; NaN without any.
    recall_sd : float
        Standard deviation of `recall` over places.
    slope : float
        Of `shares` on the place: change per place down the list.
    flip_rate : float
        Share of images whose answer changes with the order of the list.
    n_images, n_answers, n_permutations : int
    """

    effect: float
    low: float
    high: float
    p_value: float
    favoured: int
    shares: NDArray[np.float64]
    expected: NDArray[np.float64]
    shares_wrong: NDArray[np.float64]
    recall: NDArray[np.float64]
    recall_sd: float
    slope: float
    flip_rate: float
    n_images: int
    n_answers: int
    n_permutations: int


def list_position(
    predicted: ArrayLike,
    y_true: ArrayLike,
    shifts: ArrayLike,
    n_labels: int,
    *,
    n_permutations: int = 9_999,
    random_state: int | None = 0,
) -> PositionEffect:
    """How much the place of a label in the list decides, from cyclic shifts of the list.

    Under shift s label c stands at place ``(c - s) mod n_labels``, so that without a preference
    every place gets the same share of the answers; with fewer shifts, every of as many parts. The
    test shuffles, within each image, which shift an answer belongs to. Of the largest excess of a
    place and the slope, each in standard deviations under shuffling, the larger counts.

    Parameters
    ----------
    predicted : array-like of shape (n_images, n_shifts), int
        Label codes; -1 where there is no answer.
    y_true : array-like of shape (n_images,), int
    shifts : array-like of shape (n_shifts,), int
        All different, 0 to ``n_labels - 1``, evenly spread.
    n_labels, n_permutations, random_state : int
        The last two as in `label_attraction`; always random here.

    Returns
    -------
    effect : PositionEffect

    Raises
    ------
    InputError
        If shapes do not fit or no image has answers under two shifts.

    References
    ----------
    Zheng et al. (2024), LLMs Are Not Robust Multiple Choice Selectors, arXiv:2309.03882.

    Examples
    --------
    >>> found = list_position([[0, 1, 2], [1, 1, 1]], [0, 1], [0, 1, 2], 3)
    >>> found.favoured, found.shares.round(3).tolist(), found.flip_rate
    (0, [0.667, 0.167, 0.167], 0.5)
    """
    answers, truth, shift_of = answers_by_arm(predicted, y_true, shifts)
    n_places = len(shift_of)
    if n_labels < 2 or len(np.unique(shift_of % n_labels)) < n_places:
        raise InputError(
            f"`shifts` must be different rotations of a list of two labels or more; got {n_places} "
            f"for {n_labels} labels."
        )
    valid = answers != NO_ANSWER
    valid &= valid.sum(axis=1, keepdims=True) >= 2
    if not valid.any():
        raise InputError("No image has answers under two shifts of the list.")
    at, truth_at = (  # part of the list under each shift: (image, answer, shift), (image, shift)
        (codes[..., None] - shift_of) % n_labels * n_places // n_labels
        for codes in (answers, truth)
    )
    n_answers = int(valid.sum())
    by_chance, own = _answers_at(at, valid)
    expected, shares = by_chance.sum(axis=0) / n_answers, own.sum(axis=0) / n_answers
    excess = shares - expected
    favoured = int(excess.argmax())
    used = valid.any(axis=1)
    n_used = int(used.sum())
    chance, seen = (part[used, favoured] * n_used / n_answers for part in (by_chance, own))
    interval = paired_bootstrap(chance, seen)
    flips = flips_of(answers, valid)[used]
    high = interval.high if flips.any() else max(interval.high, most_unseen(n_answers))
    wrong = valid & (answers != truth[:, None])
    recall, shares_wrong = _by_place(np.diagonal(at, axis1=1, axis2=2), truth_at, valid, wrong)
    return PositionEffect(
        effect=float(excess[favoured]),
        low=interval.low,
        high=high,
        p_value=_position_p(at, valid, own, expected, n_permutations, random_state),
        favoured=favoured,
        shares=shares,
        expected=expected,
        shares_wrong=shares_wrong,
        recall=recall,
        recall_sd=float(np.nanstd(recall)),
        slope=float(_slope_of(n_places) @ shares),
        flip_rate=float(flips.mean()),
        n_images=n_used,
        n_answers=n_answers,
        n_permutations=n_permutations,
    )


def _answers_at(
    at: NDArray[np.int64], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Answers at each place, (image, place): as many as chance puts there, and those given."""
    hot = at[..., None] == np.arange(at.shape[2])
    hot &= (valid[:, :, None] & valid[:, None])[..., None]
    own = np.diagonal(hot, axis1=1, axis2=2).sum(axis=2)
    return hot.sum(axis=(1, 2)) / np.maximum(valid.sum(axis=1, keepdims=True), 1), own


def _slope_of(n_places: int) -> NDArray[np.float64]:
    """Weights that give the least-squares slope of numbers at so many places."""
    steps = np.arange(n_places, dtype=np.float64) - (n_places - 1) / 2
    weights: NDArray[np.float64] = steps / np.square(steps).sum()
    return weights


def _position_p(
    at: NDArray[np.int64],
    valid: NDArray[np.bool_],
    own: NDArray[np.int64],
    expected: NDArray[np.float64],
    n_permutations: int,
    random_state: int | None,
) -> float:
    """Shuffle shifts within images; p-value of the larger of two standardised statistics."""
    at_least(1, n_permutations=n_permutations)
    n_places, n_answers = len(expected), int(valid.sum())
    excess, slope_of = own.sum(axis=0) / n_answers - expected, _slope_of(n_places)
    top = np.where(valid, at[:, :, 0], -1).max(axis=1)
    moves = (valid & (at[:, :, 0] != top[:, None])).any(axis=1)
    if not moves.any():
        return 1.0
    table, m = compact(np.where(valid[:, :, None] & valid[:, None, :], at, -1)[moves], valid[moves])
    still = own[~moves].sum(axis=0)
    arms, images = np.arange(n_places), np.arange(len(table))[:, None]
    tables = table.astype(np.int8 if n_places < 127 else np.int64)
    counts = []
    for orders in random_orders(m, n_places, n_permutations, random_state):
        places = tables[images, orders, arms].reshape(len(orders), -1)
        counts.append(np.stack([(places == r).sum(axis=1) for r in range(n_places)], axis=1))
    by_chance = (np.concatenate(counts) + still) / n_answers - expected
    both = np.stack([by_chance.max(axis=1), by_chance @ slope_of], axis=1)
    seen = np.array([excess.max(), excess @ slope_of])
    middle, spread = both.mean(axis=0), both.std(axis=0)
    spread = np.where(spread > 1e-12, spread, np.inf)
    both, seen = (both - middle) / spread, (seen - middle) / spread
    both[:, 1], seen[1] = np.abs(both[:, 1]), abs(seen[1])
    hits = int((both.max(axis=1) >= seen.max() - 1e-9).sum())
    return (1 + hits) / (1 + n_permutations)


def _by_place(
    where: NDArray[np.int64],
    truth_at: NDArray[np.int64],
    valid: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall of what stands at each place, and the share of wrong answers that each gets."""
    n_places = where.shape[1]
    right = np.bincount(truth_at[valid & ~wrong], minlength=n_places)
    asked = np.bincount(truth_at[valid], minlength=n_places)
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / asked, np.bincount(where[wrong], minlength=n_places) / wrong.sum()
