"""Heads of a student: soft-target logistic regression, class means, both, a small network."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell._threads import one_blas_thread
from showtell.errors import InputError, UnknownNameError

__all__ = [
    "HEADS",
    "Head",
    "HeadKind",
    "distillation_loss",
    "fit_head",
    "fold_of",
    "out_of_fold",
    "soft_logistic",
]

HeadKind: TypeAlias = Literal["blend", "linear", "mean", "mlp"]
HEADS = ("blend", "linear", "mean", "mlp")

_MEAN_SCALE = 20.0  # of the class means beside the logistic regression
_HIDDEN = 128
_NEVER = -30.0  # bias of a label without any example


@dataclass(frozen=True, kw_only=True)
class Head:
    """Scores of embeddings: one linear layer, or two with a rectifier between."""

    weights: NDArray[np.float32]
    """Shape (n_classes, n_dims or n_hidden)."""
    bias: NDArray[np.float32]
    """Shape (n_classes,)."""
    hidden_weights: NDArray[np.float32] | None = None
    """Shape (n_hidden, n_dims)."""
    hidden_bias: NDArray[np.float32] | None = None

    def logits(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores before the temperature, shape (n, n_classes)."""
        rows: NDArray[Any] = X.astype(np.float64)  # so that the batch does not show in float32
        if self.hidden_weights is not None and self.hidden_bias is not None:
            rows = np.maximum(rows @ self.hidden_weights.T + self.hidden_bias, 0)
        logits: NDArray[np.float32] = (rows @ self.weights.T + self.bias).astype(np.float32)
        return logits


def distillation_loss(
    z: NDArray[Any],
    q: NDArray[Any],
    hard: NDArray[Any],
    *,
    temperature: float = 1.0,
    alpha: float = 1.0,
    row_weights: NDArray[Any] | None = None,
) -> tuple[float, NDArray[np.float64]]:
    r"""Loss of a student's logits against soft and hard targets, and its gradient.

    Parameters
    ----------
    z : ndarray of shape (n, n_classes)
        Logits.
    q : ndarray of shape (n, n_classes)
        Soft targets.
    hard : ndarray of shape (n, n_classes)
        One-hot targets.
    temperature : float, default=1.0
        T: softens both sides of the soft part.
    alpha : float, default=1.0
        Share of the soft part.
    row_weights : ndarray of shape (n,), optional

    Returns
    -------
    loss : float
        ``sum_i v_i [alpha T^2 KL(q^(T) || softmax(z / T)) + (1 - alpha) CE(hard, softmax z)]``.
    gradient : ndarray of shape (n, n_classes)
        With respect to z.

    References
    ----------
    Hinton, Vinyals, Dean (2015), arXiv:1503.02531, section 2.

    Examples
    --------
    >>> p = np.exp([[4.0, 2.0, 0.0]]); p /= p.sum()
    >>> loss, _ = distillation_loss(np.array([[1.0, 1.0, 0.0]]), p, np.array([[1.0, 0, 0]]),
    ...                             temperature=2.0, alpha=0.7)
    >>> round(loss, 5)
    0.73639
    """
    from scipy.special import log_softmax, xlogy

    v = np.ones(len(z)) if row_weights is None else np.asarray(row_weights, np.float64)
    softened = np.where(q > 0, np.power(np.maximum(q, 1e-300), 1 / temperature), 0.0)
    softened /= softened.sum(axis=1, keepdims=True)
    log_p = log_softmax(z / temperature, axis=1)
    divergence = (xlogy(softened, softened) - softened * log_p).sum(axis=1)
    log_1 = log_softmax(z, axis=1)
    entropy = -(hard * log_1).sum(axis=1)
    loss = float((v * (alpha * temperature**2 * divergence + (1 - alpha) * entropy)).sum())
    gradient = alpha * temperature * (np.exp(log_p) - softened)
    gradient += (1 - alpha) * (np.exp(log_1) - hard)
    return loss, v[:, None] * gradient


def soft_logistic(
    X: NDArray[Any],
    q: NDArray[Any],
    *,
    C: float,
    temperature: float = 1.0,
    alpha: float = 1.0,
    row_weights: NDArray[Any] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logistic regression on soft targets.

    Parameters
    ----------
    X : ndarray of shape (n, n_dims)
    q : ndarray of shape (n, n_classes)
        Targets, rows summing to 1; the hard targets of the second part are their largest entries.
    C : float
        Inverse strength of the L2 penalty, as scikit-learn's: same optimum on hard targets.
    temperature, alpha, row_weights
        As in `distillation_loss`.

    Returns
    -------
    weights : ndarray of shape (n_classes, n_dims)
    bias : ndarray of shape (n_classes,)
        Not penalised; its mean is 0.
    """
    from scipy.optimize import minimize

    x = np.asarray(X, np.float64)
    n_dims, n_classes = x.shape[1], q.shape[1]
    basis: NDArray[np.float64] | None = None
    if n_dims > len(x):  # the optimum lies in the span of the rows
        basis, _ = np.linalg.qr(x.T)
        x = x @ basis
    hard = np.zeros_like(q, np.float64)
    hard[np.arange(len(q)), q.argmax(axis=1)] = 1.0
    size = x.shape[1] * n_classes

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = flat[:size].reshape(n_classes, -1)
        z = x @ w.T + flat[size:]
        loss, gradient = distillation_loss(
            z, q, hard, temperature=temperature, alpha=alpha, row_weights=row_weights
        )
        loss += float((w * w).sum()) / (2 * C)
        by_weight = gradient.T @ x + w / C
        return loss, np.concatenate([by_weight.ravel(), gradient.sum(axis=0)])

    with one_blas_thread():
        found = minimize(
            objective,
            np.zeros(size + n_classes),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 2000, "ftol": 1e-12, "gtol": 1e-6, "maxcor": 20},
        )
    weights = found.x[:size].reshape(n_classes, -1)
    bias = found.x[size:]
    if basis is not None:
        weights = weights @ basis.T
    return weights, bias - bias.mean()


def fit_head(
    X: NDArray[np.float32],
    targets: NDArray[Any],
    *,
    head: HeadKind = "blend",
    C: float = 10.0,
    temperature: float = 1.0,
    alpha: float = 1.0,
    row_weights: NDArray[Any] | None = None,
    random_state: int = 0,
) -> Head:
    """Fit a student's head on embeddings.

    Parameters
    ----------
    X : ndarray of shape (n, n_dims), float32
        Unit embeddings.
    targets : ndarray of shape (n, n_classes)
        Rows sum to 1. A label that is no row's best target gets no weights and never wins.
    head : {"blend", "linear", "mean", "mlp"}, default="blend"
        "blend" adds the logits of the logistic regression and 20 times the cosines with the class
        means: one linear layer, insured against wrong labels.
    C : float, default=10.0
    temperature, alpha, row_weights
        As in `distillation_loss`.
    random_state : int, default=0
        Only "mlp" is random.

    Returns
    -------
    head : Head
    """
    if head not in HEADS:
        raise UnknownNameError("head", str(head), HEADS)
    if not len(X):
        raise InputError("A student needs at least one image with a teacher's label; got none.")
    n_classes, n_dims = targets.shape[1], X.shape[1]
    best = targets.argmax(axis=1)
    seen = np.unique(best)
    weights = np.zeros((n_classes, n_dims))
    bias = np.full(n_classes, _NEVER)
    bias[seen] = 0.0
    if head == "mlp" and len(seen) > 1:
        return _mlp(X, best, seen, n_classes, row_weights, random_state)
    if head in ("blend", "linear") and len(seen) > 1:
        own = targets[:, seen]
        own = own / own.sum(axis=1, keepdims=True)
        w, b = soft_logistic(
            X, own, C=C, temperature=temperature, alpha=alpha, row_weights=row_weights
        )
        weights[seen], bias[seen] = w, b
    if head in ("blend", "mean") or len(seen) == 1:
        v = np.ones(len(X)) if row_weights is None else np.asarray(row_weights, np.float64)
        sums = np.zeros((n_classes, n_dims))
        np.add.at(sums, best, v[:, None] * X)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        means = sums / np.maximum(length, 1e-12)
        weights[seen] += _MEAN_SCALE * means[seen]
    return Head(weights=weights.astype(np.float32), bias=bias.astype(np.float32))


def _mlp(
    X: NDArray[np.float32],
    best: NDArray[np.intp],
    seen: NDArray[np.intp],
    n_classes: int,
    row_weights: NDArray[Any] | None,
    random_state: int,
) -> Head:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        (_HIDDEN,), alpha=1e-3, max_iter=300, n_iter_no_change=20, random_state=random_state
    )
    with one_blas_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early on purpose
        model.fit(X.astype(np.float64), best, sample_weight=row_weights)
    w1, w2 = model.coefs_
    b1, b2 = model.intercepts_
    if len(seen) == 2:  # scikit-learn keeps the log-odds of the second class alone
        w2, b2 = np.concatenate([-w2, w2], axis=1) / 2, np.concatenate([-b2, b2]) / 2
    weights = np.zeros((n_classes, _HIDDEN), np.float32)
    bias = np.full(n_classes, _NEVER, np.float32)
    weights[seen], bias[seen] = w2.T, b2
    return Head(
        weights=weights,
        bias=bias,
        hidden_weights=w1.T.astype(np.float32),
        hidden_bias=b1.astype(np.float32),
    )


def fold_of(
    codes: NDArray[Any], groups: NDArray[Any], n_folds: int = 5, *, random_state: int = 0
) -> NDArray[np.intp]:
    """Fold of each row, stratified by label; rows of one group stay together.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
    groups : ndarray of shape (n,), int
        Equal for near duplicates.
    n_folds : int, default=5
    random_state : int, default=0

    Returns
    -------
    fold : ndarray of shape (n,), int
    """
    rng = np.random.default_rng(random_state)
    fold = np.zeros(len(codes), np.intp)
    _, first = np.unique(codes, return_index=True)
    for code in codes[np.sort(first)]:  # not by number, which the order of the labels decides
        own = np.unique(groups[codes == code])
        number = (rng.permutation(len(own)) + rng.integers(n_folds)) % n_folds
        for group, k in zip(own.tolist(), number.tolist(), strict=True):
            fold[groups == group] = k
    return fold


def out_of_fold(
    X: NDArray[np.float32],
    targets: NDArray[Any],
    fold: NDArray[np.intp],
    *,
    row_weights: NDArray[Any] | None = None,
    **how: Any,
) -> NDArray[np.float32]:
    """Logits of each row by a head that has not seen its fold, shape (n, n_classes).

    Parameters
    ----------
    X, targets, row_weights
        As in `fit_head`.
    fold : ndarray of shape (n,), int
    **how
        Further arguments of `fit_head`.
    """
    logits = np.zeros(targets.shape, np.float32)
    for k in np.unique(fold):
        out, kept = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        if not len(kept):
            continue
        weights = None if row_weights is None else row_weights[kept]
        logits[out] = fit_head(X[kept], targets[kept], row_weights=weights, **how).logits(X[out])
    return logits
