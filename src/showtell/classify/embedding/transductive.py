"""Zero-shot answers that use the whole batch: no labels, but the other images.

An encoder that places a few labels too near to everything (hubs) gives them most of a batch. Both
functions look at the batch to take that back. They are for many images of one kind: a row's answer
depends on the other rows, and with one image they change nothing or little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.checks import at_least, between
from showtell.errors import InputError


def balance(
    scores: NDArray[Any], temperature: float = 0.04, n_iter: int = 30
) -> NDArray[np.float32]:
    """Scale a batch's scores until every label gets the same share of it (Sinkhorn).

    ``P = exp(scores / temperature)``; then, `n_iter` times, each column is scaled to the sum
    n_samples / n_classes and each row to 1. Right when the classes are about even in the batch;
    wrong when one label rightly has most of it.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_classes)
        Cosines, or whatever goes with `temperature`.
    temperature : float, default=0.04
        Divides the scores; no unit. Smaller follows the scores more closely, row by row.
    n_iter : int, default=30
        Rounds; at least 1.

    Returns
    -------
    probabilities : ndarray of shape (n_samples, n_classes), float32
        Rows sum to 1; columns to about n_samples / n_classes.

    Raises
    ------
    InputError
        If `scores` is no finite matrix with a class, or a parameter is out of range.

    References
    ----------
    Cuturi (2013), Sinkhorn Distances: Lightspeed Computation of Optimal Transport,
    arXiv:1306.0895.

    Examples
    --------
    The second label is the nearest one of both images; the first image is less sure of it. Two
    images, two labels: the odds are ``exp((.20 + .30 - .24 - .10) / (2 * .04)) = exp(2)``.

    >>> balance(np.array([[0.20, 0.24], [0.10, 0.30]])).round(2)
    array([[0.88, 0.12],
           [0.12, 0.88]], dtype=float32)
    """
    logits = _matrix(scores, "scores") / _positive(temperature, "temperature")
    _at_least_one(n_iter)
    n_samples, n_classes = logits.shape
    if n_samples == 0:
        return np.zeros((0, n_classes), np.float32)
    share = np.log(n_samples / n_classes)
    for _ in range(n_iter):  # logarithms: no row or column can vanish
        logits = logits - _log_sum(logits, axis=0) + share
        logits = logits - _log_sum(logits, axis=1)
    return np.exp(logits).astype(np.float32)


def adapt(
    embeddings: NDArray[Any],
    prototypes: NDArray[Any],
    *,
    weight: float = 0.5,
    temperature: float = 0.03,
    n_iter: int = 5,
) -> NDArray[np.float32]:
    """Move the labels to where the images are, without being told any label.

    With x the embeddings, q the prototypes and ``xc = x - mean(x)``, starting from ``S = x q'``,
    `n_iter` times: ``P = softmax(S / temperature)``, ``p = unit(P' xc)``,
    ``S = (1 - weight) x q' + weight xc p'``. Needs about 100 images or more; strengthens whatever
    the encoder already knows, right or wrong.

    Parameters
    ----------
    embeddings : ndarray of shape (n_samples, n_dims)
        Rows of length 1.
    prototypes : ndarray of shape (n_classes, n_dims)
        Rows of length 1, from the label words.
    weight : float, default=0.5
        Share of the moved labels in the scores, 0 to 1.
    temperature : float, default=0.03
        Divides the scores before the softmax; no unit.
    n_iter : int, default=5
        Rounds; at least 1.

    Returns
    -------
    scores : ndarray of shape (n_samples, n_classes), float32
        On the scale of cosines, for argmax or for `balance`; at most 1. Where all images are the
        same there is nothing to learn from and the plain cosines return.

    Raises
    ------
    InputError
        If the shapes do not fit, a value is not finite, or a parameter is out of range.

    References
    ----------
    Hu, Pateux & Gripon (2021), Leveraging the Feature Distribution in Transfer-based Few-Shot
    Learning, arXiv:2006.03806, for centring and for class means from soft assignments.

    Examples
    --------
    Both images are nearest to the first label, the second image less clearly so.

    >>> images = np.array([[0.8, 0.6, 0.0], [0.8, 0.0, 0.6]])
    >>> labels = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> (images @ labels.T).argmax(axis=1), adapt(images, labels).argmax(axis=1)
    (array([0, 0]), array([0, 1]))
    """
    x, q = _matrix(embeddings, "embeddings"), _matrix(prototypes, "prototypes")
    if x.shape[1] != q.shape[1]:
        raise InputError(
            f"Embeddings have {x.shape[1]} columns and prototypes {q.shape[1]}; both must come "
            "from the same encoder."
        )
    between(0, 1, weight=weight)
    _positive(temperature, "temperature")
    _at_least_one(n_iter)
    cosines = x @ q.T
    centred = x - x.mean(axis=0) if len(x) else x
    if not np.linalg.norm(centred) > 1e-6 * np.linalg.norm(x):
        return cosines.astype(np.float32)
    scores = cosines
    for _ in range(n_iter):
        logits = scores / temperature
        shares = np.exp(logits - _log_sum(logits, axis=1))
        moved = shares.T @ centred
        moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
        scores = (1 - weight) * cosines + weight * centred @ moved.T
    return scores.astype(np.float32)


def _log_sum(logits: NDArray[np.float64], *, axis: int) -> NDArray[np.float64]:
    """Logarithm of the sum of exponentials, keeping the axis."""
    top = logits.max(axis=axis, keepdims=True)
    total: NDArray[np.float64] = top + np.log(np.exp(logits - top).sum(axis=axis, keepdims=True))
    return total


def _matrix(values: NDArray[Any], name: str) -> NDArray[np.float64]:
    matrix = np.asarray(values, np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0 or not np.isfinite(matrix).all():
        raise InputError(
            f"`{name}` must be a matrix of finite numbers with at least one column, got shape "
            f"{matrix.shape}{'' if np.isfinite(matrix).all() else ' with NaN or infinity'}."
        )
    return matrix


def _positive(value: float, name: str) -> float:
    if not value > 0:
        raise InputError(f"`{name}` must be above 0, got {value}.")
    return value


def _at_least_one(n_iter: int) -> None:
    at_least(1, n_iter=n_iter)
