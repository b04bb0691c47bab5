"""Does the wording of a prompt decide the answer: attraction, position, order; tests and verdicts.

All statistics compare answers about the *same image* under prompts that differ in one thing only,
so what a model likes or dislikes anyway cancels out. Tests shuffle, within each image, which prompt
an answer belongs to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtrc, pdtrc

from showtell.checks import at_least
from showtell.errors import InputError
from showtell.metrics import _check
from showtell.metrics.compare import paired_bootstrap
from showtell.metrics.scores import NO_ANSWER
from showtell.metrics.shuffles import (
    answers_by_arm,
    compact,
    flips_of,
    most_unseen,
    sums_of_shuffles,
)

Verdict: TypeAlias = Literal["biased", "inconclusive", "pass"]
"""What an audit says of one probe."""

BIAS_ALPHA = 0.01
"""A p-value, corrected for the number of probes, has to be below this to be called a bias."""
LEAST_EFFECT = 0.02
"""Effects below this are negligible, however sure they are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Attraction:
    """How much more often a label is given where the prompt points at it.

    Parameters
    ----------
    effect : float
        Mean over images, -1 to 1; 0 is no effect.
    low, high : float
        95 % interval, by bootstrap over images. Where all images agree, `high` is the most that
        so many answers without a single exception still allow (one-sided, 95 %).
    p_value : float
        One-sided: of an effect as large by shuffling alone.
    per_image : ndarray of shape (n_images,), float64
        NaN for images with too few answers to compare.
    n_images : int
        Images that count.
    n_answers : int
        Answers that count.
    n_permutations : int
        Shufflings looked at.
    exact : bool
        Whether those are all there are.
    """

    effect: float
    low: float
    high: float
    p_value: float
    per_image: NDArray[np.float64]
    n_images: int
    n_answers: int
    n_permutations: int
    exact: bool


@dataclass(frozen=True, kw_only=True)
class Attractor:
    """How many of the errors go to one label.

    Parameters
    ----------
    code : int
        The label.
    n_true, n_predicted : int
        How often it is the truth, and how often the answer.
    n_errors : int
        Wrong answers about images of the other labels.
    n_drawn : int
        Those of them that name this label.
    share : float
        ``n_drawn / n_errors``; NaN without errors.
    expected : float
        The same if errors went to all labels alike: ``1 / (n_labels - 1)``.
    ratio : float
        ``share / expected``.
    p_value : float
        One-sided binomial of so many errors or more by chance.
    """

    code: int
    n_true: int
    n_predicted: int
    n_errors: int
    n_drawn: int
    share: float
    expected: float
    ratio: float
    p_value: float


def label_attraction(
    predicted: ArrayLike,
    y_true: ArrayLike,
    arms: ArrayLike,
    *,
    n_permutations: int = 9_999,
    random_state: int | None = 0,
) -> Attraction:
    r"""How much pointing at a wrong label makes exactly that label the answer.

    Each column holds the answers under one prompt arm, which points at one label: it stands in
    the filled-in example of an answer, or has twice as many demonstrations. With the arms
    ``E_i`` of image i that do not point at its truth, ``m_i`` of them,

    ``D_i = (1/m_i) Σ_e G_i[e, e] - 1/(m_i (m_i - 1)) Σ_{e≠l} G_i[e, l]``,
    ``A = mean_i D_i``,

    where ``G_i[e, l]`` is 1 if the answer under arm e is label l. A model's own preference for a
    label is the same in every arm and cancels.

    Parameters
    ----------
    predicted : array-like of shape (n_images, n_arms), int
        Label codes; -1 where there is no answer: such an arm is left out for that image.
    y_true : array-like of shape (n_images,), int
    arms : array-like of shape (n_arms,), int
        The label each arm points at; all different.
    n_permutations : int, default=9999
        Random shufflings; where at most 20,000 exist, all of them are looked at instead.
    random_state : int or None, default=0

    Returns
    -------
    attraction : Attraction

    Raises
    ------
    InputError
        If shapes do not fit, or no image has answers under two arms that do not name its truth.

    References
    ----------
    A permutation test of exchangeable rows: Fisher (1935), The Design of Experiments. The
    observation: McDermott (2024), LLM-Image-Classification.

    Examples
    --------
    Labels a, b, c, d; image 1 is an a, image 2 a c, image 3 a d.

    >>> predicted = [[0, 1, 0, 1], [0, 1, 2, 2], [3, 3, 2, 3]]
    >>> found = label_attraction(predicted, [0, 2, 3], [0, 1, 2, 3])
    >>> found.per_image.round(4).tolist()
    [0.1667, 0.6667, 0.3333]
    >>> round(found.effect, 4), round(found.p_value, 4), found.n_permutations
    (0.3889, 0.037, 216)
    """
    answers, truth, of_arm = answers_by_arm(predicted, y_true, arms)
    if len(set(of_arm.tolist())) < len(of_arm):
        raise InputError("`arms` must point at different labels, one arm per label.")
    valid = (answers != NO_ANSWER) & (of_arm[None] != truth[:, None])
    m = valid.sum(axis=1)
    valid &= (m >= 2)[:, None]
    if not valid.any():
        raise InputError(
            "No image has answers under two arms that point at wrong labels. Three labels or more "
            "are needed, and answers."
        )
    m = np.maximum(m, 2)[:, None, None]
    own = answers[:, :, None] == of_arm[None, None, :]
    among = (own & valid[:, None, :]).any(axis=2, keepdims=True)
    worth = own / m - (among & ~own) / (m * (m - 1))
    return _shuffled(worth, valid, n_permutations, random_state)


def recency(
    predicted: ArrayLike,
    y_true: ArrayLike,
    last: ArrayLike,
    first: ArrayLike,
    *,
    n_permutations: int = 9_999,
    random_state: int | None = 0,
) -> Attraction:
    """How much more often a wrong label is given when shown last than when shown first.

    ``P(answer = label of the last demonstration | it is not the truth)`` minus the same for the
    first demonstration, per image, over orders of the demonstrations.

    Parameters
    ----------
    predicted, y_true, n_permutations, random_state
        As in `label_attraction`.
    last, first : array-like of shape (n_orders,), int
        Label of the last and of the first demonstration of each order.

    Returns
    -------
    attraction : Attraction

    Raises
    ------
    InputError
        If shapes do not fit or nothing can be compared.

    References
    ----------
    Zhao et al. (2021), Calibrate Before Use, arXiv:2102.09690, section 4 (recency bias).

    Examples
    --------
    Two orders; image 1 is always called what came last, image 2 never changes.

    >>> found = recency([[1, 2], [0, 0]], [0, 0], last=[1, 2], first=[2, 1])
    >>> found.effect, found.per_image.tolist()
    (0.5, [1.0, 0.0])
    """
    answers, truth, last_of = answers_by_arm(predicted, y_true, last)
    _, _, first_of = answers_by_arm(predicted, y_true, first)
    valid = answers != NO_ANSWER
    worth = np.zeros((*answers.shape, answers.shape[1]))
    enough = valid.sum(axis=1) >= 2
    for label_of, sign in ((last_of, 1.0), (first_of, -1.0)):
        counts = valid & (label_of[None] != truth[:, None])
        m = counts.sum(axis=1)
        enough &= m > 0
        same = answers[:, :, None] == label_of[None, None, :]
        worth += sign * (same & counts[:, None, :]) / np.maximum(m, 1)[:, None, None]
    valid &= enough[:, None]
    if not valid.any():
        raise InputError("No image has answers under two orders that end in wrong labels.")
    return _shuffled(worth, valid, n_permutations, random_state)


def flip_rate(predicted: ArrayLike) -> float:
    """Share of images whose answer is not the same in all columns.

    Parameters
    ----------
    predicted : array-like of shape (n_images, n_arms), int
        Label codes; -1 where there is no answer, which does not count. Images with fewer than two
        answers are left out; NaN if none is left.

    Examples
    --------
    >>> flip_rate([[0, 0, 0], [1, 2, 1], [2, -1, 2]])
    0.3333333333333333
    """
    answers = np.asarray(predicted)
    if answers.ndim != 2:
        raise InputError(f"`predicted` must have shape (n_images, n_arms), got {answers.shape}.")
    valid = answers != NO_ANSWER
    used = valid.sum(axis=1) >= 2
    return float(flips_of(answers, valid)[used].mean()) if used.any() else math.nan


def attractors(y_true: ArrayLike, y_pred: ArrayLike, n_labels: int) -> tuple[Attractor, ...]:
    """Where the errors go, label by label.

    A skewed table says that the model has a favourite, not why: a chess prompt without any example
    was answered with "king" in half of the errors (McDermott 2024).

    Parameters
    ----------
    y_true : array-like of shape (n_samples,), int
    y_pred : array-like of shape (n_samples,), int
        -1 where there is no answer; such samples are left out.
    n_labels : int
        At least 2.

    Returns
    -------
    rows : tuple of Attractor, length n_labels
        The label that draws most errors first.

    Raises
    ------
    InputError
        If lengths differ, or codes are none.

    Examples
    --------
    >>> rows = attractors([0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 0, 1], 3)
    >>> rows[0].code, rows[0].n_drawn, rows[0].n_errors, round(rows[0].p_value, 4)
    (0, 2, 3, 0.5)
    """
    if n_labels < 2:
        raise InputError(f"`n_labels` must be 2 or more, got {n_labels}.")
    truth = _check.codes(y_true, "y_true", n_labels)
    guess = _check.codes(y_pred, "y_pred", n_labels, lowest=NO_ANSWER)
    _check.same_length(y_true=truth, y_pred=guess)
    truth, guess = truth[guess != NO_ANSWER], guess[guess != NO_ANSWER]
    wrong = truth != guess
    expected = 1 / (n_labels - 1)
    rows = []
    for code in range(n_labels):
        n_errors = int((wrong & (truth != code)).sum())
        n_drawn = int((wrong & (guess == code)).sum())
        share = n_drawn / n_errors if n_errors else math.nan
        # bdtrc(k, n, p) is P(X > k)
        p_value = float(bdtrc(n_drawn - 1, n_errors, expected)) if n_drawn else 1.0
        rows.append(
            Attractor(
                code=code,
                n_true=int((truth == code).sum()),
                n_predicted=int((guess == code).sum()),
                n_errors=n_errors,
                n_drawn=n_drawn,
                share=share,
                expected=expected,
                ratio=share / expected,
                p_value=p_value,
            )
        )
    return tuple(sorted(rows, key=lambda row: (-row.n_drawn, row.code)))


def total_variation(y_true: ArrayLike, y_pred: ArrayLike, n_labels: int) -> float:
    """Half the sum of absolute differences of how often labels are true and are answered.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,), int
        -1 in `y_pred`: no answer; such samples are left out.
    n_labels : int

    Returns
    -------
    distance : float
        0 if every label is answered as often as it is true, 1 at most; NaN without answers.

    Examples
    --------
    >>> total_variation([0, 0, 1, 1], [0, 0, 0, 1], 2)
    0.25
    """
    truth = _check.codes(y_true, "y_true", n_labels)
    guess = _check.codes(y_pred, "y_pred", n_labels, lowest=NO_ANSWER)
    _check.same_length(y_true=truth, y_pred=guess)
    kept = guess != NO_ANSWER
    if not kept.any():
        return math.nan
    of_truth = np.bincount(truth[kept], minlength=n_labels)
    of_guess = np.bincount(guess[kept], minlength=n_labels)
    return float(np.abs(of_truth - of_guess).sum() / (2 * kept.sum()))


def bias_verdict(
    p_value: float,
    effect: float,
    high: float,
    *,
    alpha: float = BIAS_ALPHA,
    least: float = LEAST_EFFECT,
) -> Verdict:
    """Say "biased", "inconclusive" or "pass".

    *Biased* needs both ``p < alpha`` and an effect of `least` or more. *Inconclusive*: not shown,
    but the interval still holds effects of `least`. *Pass*: effects of `least` are excluded, or
    the effect is real and negligible.

    Parameters
    ----------
    p_value : float
        Corrected for how many audits were made (`holm`).
    effect, high : float
        The effect, and the upper end of its 95 % interval.
    alpha : float, default=0.01
    least : float, default=0.02

    Examples
    --------
    >>> bias_verdict(0.001, 0.05, 0.07), bias_verdict(0.4, 0.01, 0.04)
    ('biased', 'inconclusive')
    >>> bias_verdict(0.001, 0.01, 0.015), bias_verdict(0.4, 0.0, 0.01)
    ('pass', 'pass')
    """
    if p_value < alpha:
        return "biased" if effect >= least else "pass"
    return "inconclusive" if high >= least else "pass"


def detectable_pull(
    n_answers: int,
    n_arms: int,
    *,
    n_probes: int = 1,
    alpha: float = BIAS_ALPHA,
    least: float = LEAST_EFFECT,
    power: float = 0.95,
) -> float:
    """Smallest pull that an audit of this size finds, for a model that is otherwise steady.

    A pull of q makes a share q of the answers follow the prompt. Each answer that does is, under
    shuffling, where it is by chance with probability ``1 / n_arms``, so h of them give
    ``p = n_arms^-h``; their number is Poisson. The effect has to reach `least` as well. A model
    that contradicts itself without a reason needs more.

    Parameters
    ----------
    n_answers : int
        Answers that could follow the prompt into an error.
    n_arms : int
        Arms per image, at least 2.
    n_probes : int, default=1
        Audits made at once: the smallest p-value is multiplied by it.
    alpha, least : float
    power : float, default=0.95

    Returns
    -------
    pull : float
        1 if none can be found.

    Examples
    --------
    >>> round(detectable_pull(900, 9, n_probes=5), 3), round(detectable_pull(60, 2), 3)
    (0.028, 0.197)
    """
    if n_answers < 1 or n_arms < 2:
        return 1.0
    hits = math.ceil(math.log(n_probes / alpha) / math.log(n_arms))
    hits = max(hits, math.ceil(least * n_answers))
    low, high = 0.0, float(n_answers)
    while high - low > 1e-6 * n_answers:
        middle = (low + high) / 2
        enough = float(pdtrc(hits - 1, middle)) >= power  # P(Poisson > hits - 1)
        low, high = (low, middle) if enough else (middle, high)
    return min(1.0, high / n_answers)


def _shuffled(
    worth: NDArray[np.float64],
    valid: NDArray[np.bool_],
    n_permutations: int,
    random_state: int | None,
) -> Attraction:
    """Mean over images of the sum of what each answer is worth in its arm, and its p-value.

    ``worth[i, j, a]``: what the answer that was given in arm j would be worth in arm a.
    """
    at_least(1, n_permutations=n_permutations)
    worth = worth * valid[:, :, None] * valid[:, None, :]
    each = np.trace(worth, axis1=1, axis2=2)
    used = valid.any(axis=1)
    scores = each[used]
    table, m = compact(worth[used], valid[used])
    same = (table == table[:, :1, :]) | (np.arange(table.shape[1]) >= m[:, None])[:, :, None]
    moves = ~same.all(axis=(1, 2))
    table, m = table[moves], m[moves]
    observed = float(scores[moves].sum())
    sums, exact = sums_of_shuffles(table, m, n_permutations, random_state)
    n_ways = len(sums)
    hits = int((sums >= observed - 1e-9).sum())
    p_value = hits / n_ways if exact else (1 + hits) / (1 + n_ways)
    interval = paired_bootstrap(np.zeros(len(scores)), scores)
    high = interval.high
    n_answers = int(valid.sum())
    if not moves.any():
        high = max(high, most_unseen(n_answers))
    return Attraction(
        effect=float(scores.mean()),
        low=interval.low,
        high=high,
        p_value=p_value,
        per_image=np.where(used, each, np.nan),
        n_images=int(used.sum()),
        n_answers=n_answers,
        n_permutations=n_ways,
        exact=exact,
    )
