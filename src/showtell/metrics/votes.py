"""How much repeated answers about the same sample agree (self-consistency)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from showtell.errors import InputError
from showtell.metrics import _check
from showtell.metrics.scores import NO_ANSWER


@dataclass(frozen=True, kw_only=True)
class Votes:
    """What repeated answers agree on; all arrays of shape (n_samples,).

    Parameters
    ----------
    codes : ndarray, int64
        The most frequent label; -1 where no answer names a label.
    share : ndarray, float64
        Share of all answers that name it. No unit, 0 to 1.
    margin : ndarray, float64
        That share minus the share of the second most frequent label.
    entropy : ndarray, float64
        Of the answers, in nats; "no answer" is an outcome of its own. 0: all agree.
    tied : ndarray, bool
        Several labels were equally frequent and one of them was drawn.
    """

    codes: NDArray[np.int64]
    share: NDArray[np.float64]
    margin: NDArray[np.float64]
    entropy: NDArray[np.float64]
    tied: NDArray[np.bool_]


def count_votes(votes: ArrayLike, n_classes: int, *, random_state: int | None = 0) -> Votes:
    """Count repeated answers: the most frequent label, and how sure that makes one.

    Parameters
    ----------
    votes : array-like of shape (n_samples, n_votes), int
        Label codes answered about each sample; -1 for no answer, which counts in the shares.
    n_classes : int
        Number of labels in the label set.
    random_state : int or None, default=0
        Ties are drawn, not given to the first label, which would favour it.

    Returns
    -------
    votes : Votes

    Raises
    ------
    InputError
        If there are no votes or a code is out of range.

    References
    ----------
    Wang et al. (2022), Self-Consistency Improves Chain of Thought Reasoning, arXiv:2203.11171.

    Examples
    --------
    >>> found = count_votes([[0, 0, 0, 0, 1, 1, 2]], 3)
    >>> found.codes, found.share.round(3), found.margin.round(3), found.entropy.round(3)
    (array([0]), array([0.571]), array([0.286]), array([0.956]))
    """
    array = np.asarray(votes)
    if array.ndim != 2 or not array.size:
        raise InputError(
            f"`votes` must have shape (n_samples, n_votes) with at least one of each, got shape "
            f"{array.shape}."
        )
    flat = _check.codes(array.ravel(), "votes", n_classes, lowest=NO_ANSWER)
    n, m = array.shape
    row = np.repeat(np.arange(n), m)
    width = n_classes + 1  # the last column counts "no answer"
    column = np.where(flat == NO_ANSWER, n_classes, flat)
    counts = np.bincount(row * width + column, minlength=n * width).reshape(n, width)
    named = counts[:, :n_classes]
    most = named.max(axis=1)
    leads = (named == most[:, None]) & (most[:, None] > 0)
    draw = np.random.default_rng(random_state).random(named.shape)
    winner = np.where(leads, draw, -1.0).argmax(axis=1)
    others = named.copy()
    others[np.arange(n), winner] = 0
    second = others.max(axis=1)
    return Votes(
        codes=np.where(most > 0, winner, NO_ANSWER),
        share=most / m,
        margin=(most - second) / m,
        entropy=entr(counts / m).sum(axis=1),
        tied=leads.sum(axis=1) > 1,
    )
