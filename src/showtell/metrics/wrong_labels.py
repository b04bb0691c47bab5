"""Which given labels are most likely wrong: confident learning, and the order of margins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SuspectLabels:
    """What out-of-fold probabilities say about given labels."""

    self_confidence: NDArray[np.float64]
    """Probability of the given label, shape (n,)."""
    margin: NDArray[np.float64]
    """Self-confidence minus the largest probability of another label, shape (n,)."""
    order: NDArray[np.intp]
    """Rows by margin, the most doubtful first, shape (n,)."""
    suspects: NDArray[np.intp]
    """Rows that confident learning counts under another label, by margin."""
    suggested: NDArray[np.intp]
    """The label that the probabilities favour, shape (n,)."""
    joint: NDArray[np.intp]
    """Counts by given and by confident label, shape (n_classes, n_classes)."""
    thresholds: NDArray[np.float64]
    """Mean self-confidence of each label, shape (n_classes,); NaN for a label without rows."""

    @property
    def error_rates(self) -> NDArray[np.float64]:
        """Estimated share of wrong labels among those given each label, shape (n_classes,)."""
        counted = self.joint.sum(axis=1)
        wrong = counted - np.diag(self.joint)
        with np.errstate(invalid="ignore", divide="ignore"):
            rates: NDArray[np.float64] = wrong / counted
        return rates


def find_wrong_labels(proba: NDArray[Any], codes: NDArray[Any]) -> SuspectLabels:
    r"""Order given labels by how likely they are wrong.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        Out of fold: of a classifier that has not learned from the row.
    codes : ndarray of shape (n,), int
        Given label of each row.

    Returns
    -------
    found : SuspectLabels

    Raises
    ------
    InputError
        If the shapes do not fit, a code is no column, or a probability is no number.

    Notes
    -----
    The threshold of a label is the mean self-confidence of its rows; a row is counted under the
    most probable label among those that reach their threshold, and under none if none does.

    References
    ----------
    Northcutt, Jiang, Chuang (2021), Confident Learning, arXiv:1911.00068, equations 1 and 2.

    Examples
    --------
    >>> P = np.array([(.9, .1), (.8, .2), (.3, .7), (.2, .8), (.4, .6), (.85, .15)])
    >>> found = find_wrong_labels(P, np.array([0, 0, 0, 1, 1, 1]))
    >>> found.suspects, found.order[:2]
    (array([5, 2]), array([5, 2]))
    >>> found.joint.tolist()
    [[2, 1], [1, 2]]
    """
    p = np.asarray(proba, np.float64)
    y = np.asarray(codes)
    if p.ndim != 2 or y.shape != (len(p),):
        raise InputError(f"`proba` is (n, n_classes) and `codes` (n,); got {p.shape}, {y.shape}.")
    if not np.isfinite(p).all():
        raise InputError("`proba` holds NaN or infinity; leave rows without an answer out.")
    n, n_classes = p.shape
    if n and not (y.min() >= 0 and y.max() < n_classes):
        raise InputError(f"`codes` are from 0 to {n_classes - 1}; got {y.min()} to {y.max()}.")
    rows = np.arange(n)
    own = p[rows, y]
    others = p.copy()
    others[rows, y] = -np.inf
    margin = own - (others.max(axis=1) if n_classes > 1 else 0.0)
    counts = np.bincount(y, minlength=n_classes)
    sums = np.bincount(y, weights=own, minlength=n_classes)
    thresholds = np.full(n_classes, np.nan)
    thresholds[counts > 0] = sums[counts > 0] / counts[counts > 0]
    reaches = p >= np.nan_to_num(thresholds, nan=np.inf)
    counted = reaches.any(axis=1)
    confident = np.where(reaches, p, -1.0).argmax(axis=1)
    joint = np.zeros((n_classes, n_classes), np.intp)
    np.add.at(joint, (y[counted], confident[counted]), 1)
    order = np.argsort(margin, kind="stable")
    wrong = counted & (confident != y)
    return SuspectLabels(
        self_confidence=own,
        margin=margin,
        order=order.astype(np.intp),
        suspects=order[wrong[order]].astype(np.intp),
        suggested=p.argmax(axis=1).astype(np.intp) if n_classes else np.zeros(0, np.intp),
        joint=joint,
        thresholds=thresholds,
    )
