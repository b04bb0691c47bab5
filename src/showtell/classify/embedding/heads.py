"""Few-shot heads on embeddings: how scores come from a support, and what held-out rows say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell._threads import one_blas_thread
from showtell.classify.embedding.prototypes import class_means, cosines
from showtell.classify.probability import row_losses
from showtell.encoders import Embeddings


@dataclass(frozen=True, kw_only=True)
class Support:
    """Labelled embeddings to learn from."""

    embeddings: Embeddings
    """Shape (n_support, n_dims)."""
    codes: NDArray[np.intp]
    """Class of each row."""
    distinct: NDArray[np.intp]
    """Equal for rows of the same picture."""
    n_classes: int

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def shots(self) -> NDArray[np.intp]:
        """Rows per class, shape (n_classes,)."""
        return np.bincount(self.codes, minlength=self.n_classes)

    def take(self, rows: NDArray[Any]) -> Support:
        """Return some of the rows."""
        return Support(
            embeddings=self.embeddings[rows],
            codes=self.codes[rows],
            distinct=self.distinct[rows],
            n_classes=self.n_classes,
        )


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """Scores that are linear in the embedding: prototypes and linear probes alike."""

    weights: NDArray[np.float32]
    """Shape (n_classes, n_dims)."""
    bias: NDArray[np.float32]
    """Shape (n_classes,)."""
    centre: NDArray[np.float32] | None = None
    """Subtracted from embeddings, which are then scaled to length 1; shape (n_dims,)."""

    def scores(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """Scores, shape (n, n_classes)."""
        x = embeddings if self.centre is None else _centred(embeddings, self.centre)
        scores: NDArray[np.float32] = cosines(x, self.weights) + self.bias
        return scores


_Fit: TypeAlias = Callable[[Support], LinearHead]


def prototype_head(support: Support, *, centre: bool = False) -> LinearHead:
    """Nearest class mean; see `class_means`.

    `centre`: subtract the mean of the classes' means first, which helps where all embeddings share
    a direction. Not done where it would leave nothing of a class: a single class, or classes of the
    same pictures.

    References
    ----------
    Wang, Chao, Weinberger, van der Maaten (2019), SimpleShot: Revisiting Nearest-Neighbor
    Classification for Few-Shot Learning, arXiv:1911.04623, for centring.
    """
    bias = np.zeros(support.n_classes, np.float32)
    if centre:
        sums = np.zeros((support.n_classes, support.embeddings.shape[1]))
        np.add.at(sums, support.codes, support.embeddings)
        middle = (sums / support.shots[:, None]).mean(axis=0).astype(np.float32)
        x = _centred(support.embeddings, middle)
        left = np.zeros_like(sums)
        np.add.at(left, support.codes, x)
        length = np.linalg.norm(left, axis=1) / support.shots
        if x.any(axis=1).all() and support.n_classes > 1 and length.min() > 1e-3:
            weights = class_means(x, support.codes, support.n_classes)
            return LinearHead(weights=weights, bias=bias, centre=middle)
    weights = class_means(support.embeddings, support.codes, support.n_classes)
    return LinearHead(weights=weights, bias=bias)


def linear_head(support: Support, *, C: float) -> LinearHead:
    """Multinomial logistic regression on unit embeddings; scores are log-odds.

    `support`: has rows of every class, and at least two classes; `C`: inverse strength of the L2
    penalty.
    """
    from sklearn.linear_model import LogisticRegression  # 10 MB that few classifiers need

    model = LogisticRegression(C=C, max_iter=5000)
    with one_blas_thread():
        model.fit(support.embeddings.astype(np.float64), support.codes)
    weights, bias = model.coef_, model.intercept_
    if support.n_classes == 2:  # scikit-learn keeps the log-odds of the second class alone
        weights = np.concatenate([-weights, weights]) / 2
        bias = np.concatenate([-bias, bias]) / 2
    return LinearHead(weights=weights.astype(np.float32), bias=bias.astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Scores of support rows by heads that have not seen them."""

    rows: NDArray[np.intp]
    """Row numbers in the support, shape (n_held_out,)."""
    scores: NDArray[np.float32]
    """Shape (n_held_out, n_classes)."""


def held_out(support: Support, fit: _Fit, *, max_folds: int) -> HeldOut:
    """Score each support row by a head fitted without it.

    A fold takes one image (or, above `max_folds` images a class, as equal a share as possible) of
    every class, so that all prototypes of a fold rest on equally many images: leaving out single
    rows would weaken the true class alone and so favour whatever it is blended with. Classes with
    one image always stay.

    `support`: rows in an order that does not depend on the caller's, for the same folds every time;
    `fit`: makes a head of a support; `max_folds`: number of heads fitted at most.
    """
    order = rank_in_class(support.codes)
    shots = support.shots
    n_folds = int(min(max_folds, shots.max()))
    fold = np.where(shots[support.codes] > 1, order % n_folds, -1) if n_folds > 1 else None
    scores = np.zeros((len(support), support.n_classes), np.float32)
    rows: list[NDArray[np.intp]] = []
    for number in range(n_folds if fold is not None else 0):
        out = np.flatnonzero(fold == number)
        kept = np.flatnonzero(~np.isin(support.distinct, support.distinct[out]))
        if len(out) and len(np.unique(support.codes[kept])) == support.n_classes:
            scores[out] = fit(support.take(kept)).scores(support.embeddings[out])
            rows.append(out)
    found = np.sort(np.concatenate(rows)) if rows else np.zeros(0, np.intp)
    return HeldOut(rows=found, scores=scores[found])


def choose(
    logits_of: Callable[[float], NDArray[Any]],
    codes: NDArray[Any],
    *,
    default: float,
    candidates: Sequence[float],
    n_errors: float = 1.0,
) -> float:
    """Choose a value by held-out rows, staying with the default unless another is surely better.

    `logits_of`: value to logits of the held-out rows, shape (n, n_classes); `codes`, of shape (n,);
    `n_errors`: how many standard errors better another value must be. Returns `value`: the
    candidate with the lowest negative log-likelihood (at its own best temperature) if that beats
    the default's by more than `n_errors` standard errors of the difference; else the default.
    """
    if len(codes) < 2:
        return default
    base = row_losses(logits_of(default), codes)
    best, gain = default, 0.0
    for value in candidates:
        difference = base - row_losses(logits_of(value), codes)
        mean = float(difference.mean())
        error = float(difference.std(ddof=1)) / np.sqrt(len(codes))
        if mean > n_errors * error and mean > gain + 1e-9:
            best, gain = value, mean
    return best


def rank_in_class(codes: NDArray[Any]) -> NDArray[np.intp]:
    """Count the earlier rows of the same class, shape (n,).

    Examples
    --------
    >>> rank_in_class(np.array([1, 0, 1, 1, 0]))
    array([0, 0, 1, 2, 1])
    """
    rank = np.empty(len(codes), np.intp)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        rank[rows] = np.arange(len(rows))
    return rank


def _centred(embeddings: Embeddings, middle: NDArray[np.float32]) -> Embeddings:
    """Subtract the middle and scale to length 1; what lies on the middle becomes 0."""
    x = embeddings.astype(np.float64) - middle
    length = np.linalg.norm(x, axis=1, keepdims=True)
    rows: Embeddings = np.where(length > 1e-6, x / np.maximum(length, 1e-6), 0).astype(np.float32)
    return rows
