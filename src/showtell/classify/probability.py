"""Logits to probabilities, and the temperature that makes them honest."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

ProbabilityRule: TypeAlias = Literal["softmax", "sigmoid"]

_LOG_T = 4.0  # how far ln T may be from the logarithm of the logits' range


def probabilities(logits: NDArray[Any], rule: ProbabilityRule) -> NDArray[np.float32]:
    """Turn logits into probabilities.

    `logits`, of shape (n, n_classes). `rule`, one of {"softmax", "sigmoid"}: ``softmax`` rows sum
    to 1: one of the labels is right. ``sigmoid`` asks each label on its own, so rows sum to
    anything and all labels may be improbable. Returns `proba`, of shape (n, n_classes).

    Examples
    --------
    >>> probabilities(np.array([[0.983870, 0.6]]), "softmax").round(6)
    array([[0.594806, 0.405194]], dtype=float32)
    """
    z = np.asarray(logits, np.float64)
    # Written out: scipy.special takes longer to load than a folder takes to be classified.
    if rule == "softmax":
        rows = np.exp(z - z.max(axis=1, keepdims=True))
        rows /= rows.sum(axis=1, keepdims=True)
    else:
        rows = np.exp(-np.logaddexp(0, -z))
    return np.asarray(rows, np.float32)


def smoothed_temperature(
    logits: NDArray[Any], codes: NDArray[Any], *, rule: ProbabilityRule = "softmax"
) -> float:
    r"""Fit a temperature on few labelled rows, with Platt's smoothed targets.

    `logits`, of shape (n, n_classes): of rows that the classifier has not learned from; `codes`, of
    shape (n,): true class of each row; `rule`, one of {"softmax", "sigmoid"}. Returns
    `temperature`: no unit; logits are to be divided by it. Between e⁻⁴ and e⁴ times the mean range
    of a row of logits; 1.0 where nothing can be learned (no rows, a single class, all logits
    equal).

    Notes
    -----
    Minimises over ``T`` the cross-entropy between ``softmax(logits / T)`` and targets of
    ``(n + 1) / (n + 2)`` for the true class, the rest spread over the others. Hard targets would
    drive ``T`` to its lower end, and confidences to 1, whenever all of a handful of rows are
    right. With many rows the two agree. For ``sigmoid`` the targets are those of each yes/no
    question: ``(n₊ + 1) / (n₊ + 2)`` and ``1 / (n₋ + 2)``.

    References
    ----------
    Guo et al. (2017), On Calibration of Modern Neural Networks, arXiv:1706.04599. Platt (1999),
    Probabilistic Outputs for Support Vector Machines, section 2.2 (targets).

    Examples
    --------
    Four right answers of four: the fitted confidence is 5/6, not 1.

    >>> logits = np.array([[3.0, 0], [3, 0], [0, 3], [0, 3]])
    >>> t = smoothed_temperature(logits, np.array([0, 0, 1, 1]))
    >>> probabilities(logits / t, "softmax")[0, 0].round(3)
    np.float32(0.833)
    """
    from scipy.optimize import minimize_scalar  # slow to load, and only needed to fit
    from scipy.special import log_expit, log_softmax

    z = np.asarray(logits, np.float64)
    n, n_classes = z.shape
    if n == 0 or n_classes < 2:
        return 1.0
    spread = float(np.ptp(z, axis=1).mean())
    if not spread > 0:
        return 1.0
    truth = np.zeros(z.shape, bool)
    truth[np.arange(n), np.asarray(codes)] = True
    if rule == "softmax":
        targets = np.where(truth, (n + 1) / (n + 2), 1 / (n + 2) / (n_classes - 1))
    else:
        targets = np.where(truth, (n + 1) / (n + 2), 1 / (n * (n_classes - 1) + 2))

    def loss(log_t: float) -> float:
        scaled = z * np.exp(-log_t)
        if rule == "softmax":
            gain = targets * log_softmax(scaled, axis=1)
            return float(-np.sum(gain) / n)
        gain = targets * log_expit(scaled) + (1 - targets) * log_expit(-scaled)
        return float(-np.sum(gain) / n)

    middle = float(np.log(spread))
    found = minimize_scalar(
        loss,
        bounds=(middle - _LOG_T, middle + _LOG_T),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def row_losses(logits: NDArray[Any], codes: NDArray[Any]) -> NDArray[np.float64]:
    """Negative log-likelihood of each row at its best temperature, shape (n,).

    Free of the logits' scale, so heads of different kinds can be compared.
    """
    from scipy.special import log_softmax  # slow to load, and only needed to fit

    t = smoothed_temperature(logits, codes)
    losses: NDArray[np.float64] = -log_softmax(np.asarray(logits, np.float64) / t, axis=1)[
        np.arange(len(codes)), codes
    ]
    return losses
