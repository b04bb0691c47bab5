"""Thresholds of several tiers: which tier answers, what that costs, and which policies to test.

One threshold is walked along the shares of `showtell.classify.chain.promise`. With more there is no
one order from dear to cheap: half of the calibration images choose policies that no other beats in
both risk and cost, and the other half tests these, the dearest first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEWEST_IMAGES = 200
"""Calibration images with which more than one threshold is tried."""

_FIRST = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.0)  # shares of traffic
_FURTHER = (math.inf, 0.95, 0.8, 0.5, -math.inf)  # confidences


def answering_tier(
    confidence: NDArray[np.float64], thresholds: Sequence[float]
) -> NDArray[np.intp]:
    """Say which tier answers each image, shape (n,).

    Parameters
    ----------
    confidence : ndarray of shape (n_thresholds, n)
        Of the tiers that may send on; -1 where one has no answer.
    thresholds : sequence of float, length n_thresholds

    Returns
    -------
    tier : ndarray of shape (n,), int
        The first that is sure enough, from 0; `n_thresholds` where none is.

    Examples
    --------
    >>> answering_tier(np.array([[.9, .4, .4], [.1, .8, .2]]), [.5, .5]).tolist()
    [0, 1, 2]
    """
    sure = confidence >= np.asarray(thresholds, np.float64)[:, None]
    return np.where(sure.any(axis=0), sure.argmax(axis=0), len(thresholds)).astype(np.intp)


def tier_shares(tier: NDArray[np.intp], n_tiers: int) -> tuple[float, ...]:
    """Share of images that reach each tier.

    Examples
    --------
    >>> tier_shares(np.array([0, 0, 1, 2]), 3)
    (1.0, 0.5, 0.25)
    """
    return tuple(float((tier >= k).mean()) for k in range(n_tiers))


def candidate_policies(
    first: NDArray[np.float64] | None, n_thresholds: int
) -> list[tuple[float, ...]]:
    """List combinations of thresholds; none of them rests on calibration images.

    Parameters
    ----------
    first : ndarray of shape (n_traffic,), or None
        Confidences of the first tier on other traffic, whose quantiles are taken; None for a fixed
        grid of confidences.
    n_thresholds : int
    """
    from showtell.classify.chain.promise import thresholds_of

    own: Sequence[float] = (math.inf, 0.98, 0.95, 0.9, 0.8, 0.6, -math.inf)
    if first is not None:
        own = thresholds_of(first, _FIRST).tolist()
    return list(itertools.product(own, *[_FURTHER] * (n_thresholds - 1)))


def undominated(risk: NDArray[np.float64], cost: NDArray[np.float64]) -> NDArray[np.intp]:
    """Rows that no other beats in risk and cost, the dearest first, shape (n_kept,).

    Examples
    --------
    >>> undominated(np.array([.0, .1, .1, .3]), np.array([9., 5., 6., 1.])).tolist()
    [0, 1, 3]
    """
    order = np.lexsort((risk, cost))  # cheap ones first
    kept, best = [], math.inf
    for row in order.tolist():
        if risk[row] < best:
            kept.append(row)
            best = float(risk[row])
    return np.array(kept[::-1], np.intp)
