"""The classifiers on top of clues: a vote of one logistic regression per part, and a forest.

Both are plain arrays, so that they can be saved without pickle, and predict in float64 from float32
numbers, so that a saved one gives the same bits. Columns of features are clues; nothing here knows
what they say.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from showtell.errors import InputError

ClueHeadName: TypeAlias = Literal["vote", "forest"]

_MAX_ITER = 5000
_EQUAL = 1e-6  # probabilities that differ by less are the same
_TREE_ROWS = 5_000  # images that a tree sees at most
_PARALLEL_FROM = 2_000_000  # values; below it threads cost more than they gain
_BLOCK = 2_000_000  # pairs of row and tree, or values, that are worked on at once


class ClueModel(Protocol):
    """What predicts from features."""

    def predict_proba(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities, shape (n, n_classes), of features of shape (n, n_features)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Scaler:
    """Brings each feature to mean 0 and standard deviation 1 over the training samples."""

    mean: NDArray[np.float32]
    """Shape (n_features,)."""
    std: NDArray[np.float32]
    """Shape (n_features,); 1 for a constant feature, which becomes exactly 0."""

    @classmethod
    def of(cls, features: NDArray[Any]) -> Scaler:
        """Measure the training samples, shape (n, n_features)."""
        X = np.asarray(features, np.float32)
        constant = (X[0] == X).all(axis=0)
        mean = np.where(constant, X[0], X.mean(axis=0, dtype=np.float64)).astype(np.float32)
        std = np.where(constant, 1, X.std(axis=0, dtype=np.float64)).astype(np.float32)
        return cls(mean=mean, std=np.where(std > 0, std, np.float32(1)))

    def __call__(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Scale, shape (n, n_features)."""
        X = np.asarray(features, np.float32).astype(np.float64)
        scaled: NDArray[np.float64] = (X - self.mean) / self.std
        return scaled


# One logistic regression per part


@dataclass(frozen=True, kw_only=True)
class PartsVote:
    """One multinomial logistic regression per part; the majority of the parts decides."""

    weights: NDArray[np.float32]
    """Shape (n_classes, n_features), for scaled features; a feature belongs to one part."""
    bias: NDArray[np.float32]
    """Shape (n_parts, n_classes)."""
    part_of: NDArray[np.int64]
    """Part of each feature, shape (n_features,)."""
    scaler: Scaler

    def part_logits(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Log-odds of each part, shape (n, n_parts, n_classes)."""
        z = self.scaler(features)
        out = np.empty((len(z), *self.bias.shape), np.float32)
        weights = self.weights.astype(np.float64)
        for part, bias in enumerate(self.bias):
            own = np.flatnonzero(self.part_of == part)
            out[:, part] = z[:, own] @ weights[:, own].T + bias
        return out

    def part_proba(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities of each part, shape (n, n_parts, n_classes)."""
        proba: NDArray[np.float64] = softmax(self.part_logits(features).astype(np.float64), axis=2)
        return proba

    def predict_proba(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Shares of the votes; see `majority`."""
        n_parts, n_classes = self.bias.shape
        out = np.empty((len(features), n_classes))
        step = max(1, _BLOCK // (n_parts * n_classes + features.shape[1]))
        for start in range(0, len(features), step):
            out[start : start + step] = majority(self.part_proba(features[start : start + step]))
        return out

    @property
    def log_odds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights (n_classes, n_features) and bias (n_classes,) of the parts' mean log-odds."""
        weights = self.weights.astype(np.float64) / self.scaler.std / len(self.bias)
        bias = self.bias.astype(np.float64).mean(axis=0) - weights @ self.scaler.mean
        return weights, bias

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name the arrays that make it."""
        return {
            "weights": self.weights,
            "bias": self.bias,
            "part_of": self.part_of,
            "mean": self.scaler.mean,
            "std": self.scaler.std,
        }

    @staticmethod
    def shapes(n_classes: int, n_features: int) -> dict[str, tuple[int | None, ...]]:
        """Tell the shapes of the arrays."""
        return {
            "weights": (n_classes, n_features),
            "bias": (None, n_classes),
            "part_of": (n_features,),
            "mean": (n_features,),
            "std": (n_features,),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> PartsVote:
        """Put it together again; InputError if the arrays do not fit each other."""
        part_of, n_parts = arrays["part_of"], len(arrays["bias"])
        if sorted(set(part_of.tolist())) != list(range(n_parts)) or not (arrays["std"] > 0).all():
            raise InputError("the parts of the clues do not fit the models.")
        return cls(
            weights=arrays["weights"],
            bias=arrays["bias"],
            part_of=part_of,
            scaler=Scaler(mean=arrays["mean"], std=arrays["std"]),
        )


def majority(part_proba: NDArray[Any]) -> NDArray[np.float64]:
    """Count the votes of the parts; the sum of their probabilities decides between equals.

    A part for which the best two labels are equally probable has no vote.

    `part_proba`, of shape (n, n_parts, n_classes). Returns `proba`, of shape (n, n_classes):
    ``(votes + sum / (n_parts + 1))``, scaled to sum to 1: the sums stay below one vote.

    References
    ----------
    Qu & Yatskar (2024), arXiv:2405.18672, whose ties go to the first class instead.

    Examples
    --------
    Five parts say 2, 0, 2, 0, 1, and those for 2 are surer than those for 0:

    >>> sure, unsure = [0.1, 0.1, 0.8], [0.4, 0.3, 0.3]
    >>> proba = majority(np.array([[sure, unsure, sure, unsure, [0.2, 0.6, 0.2]]]))
    >>> proba.round(3), int(proba.argmax())
    (array([[0.377, 0.211, 0.411]]), 2)
    """
    said = np.asarray(part_proba, np.float64)
    n_parts = said.shape[1]
    best = said >= said.max(axis=2, keepdims=True) - _EQUAL
    votes = (best & (best.sum(axis=2, keepdims=True) == 1)).sum(axis=1)
    scores = votes + said.sum(axis=1) / (n_parts + 1)
    proba: NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
    return proba


def fit_vote(
    features: NDArray[Any], codes: NDArray[Any], part_of: Sequence[int], *, C: float = 1.0
) -> PartsVote:
    """Fit one multinomial logistic regression per part.

    `features`, of shape (n, n_features); `codes`, of shape (n,): 0 to n_classes - 1, each of them
    present; `part_of`, of length n_features: part of each feature, from 0 up; parts without a
    feature have no vote; `C`: inverse strength of the L2 penalty on the weights of scaled features.
    """
    from sklearn.linear_model import LogisticRegression

    scaler = Scaler.of(features)
    z = scaler(features)
    n_classes = int(codes.max()) + 1
    used, numbers = np.unique(np.asarray(part_of), return_inverse=True)
    weights = np.zeros((n_classes, z.shape[1]))
    bias = np.zeros((len(used), n_classes))
    for part in range(len(used)):
        own = np.flatnonzero(numbers == part)
        model = LogisticRegression(C=C, max_iter=_MAX_ITER).fit(z[:, own], codes)
        found, intercept = model.coef_, model.intercept_
        if n_classes == 2:  # scikit-learn keeps the log-odds of the second class alone
            found = np.concatenate([-found, found]) / 2
            intercept = np.concatenate([-intercept, intercept]) / 2
        weights[:, own], bias[part] = found, intercept
    return PartsVote(
        weights=weights.astype(np.float32),
        bias=bias.astype(np.float32),
        part_of=numbers.astype(np.int64),
        scaler=scaler,
    )


# A forest


@dataclass(frozen=True, kw_only=True)
class Forest:
    """A random forest as arrays over the nodes of all its trees, tree after tree.

    A node sends a sample to `left` where ``x[feature] <= threshold``, compared in float32. Leaves
    have themselves as children.
    """

    feature: NDArray[np.int64]
    """Shape (n_nodes,)."""
    threshold: NDArray[np.float32]
    left: NDArray[np.int64]
    """Number of a node; greater than its own, or its own for a leaf."""
    right: NDArray[np.int64]
    values: NDArray[np.float32]
    """Share of the classes among the node's training samples, shape (n_nodes, n_classes)."""
    weight: NDArray[np.float32]
    """Training samples of the node."""
    roots: NDArray[np.int64]
    """First node of each tree, shape (n_trees,)."""

    def predict_proba(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Mean over the trees of the shares at the leaf a sample comes to."""
        X = np.ascontiguousarray(features, np.float32)
        out = np.empty((len(X), self.values.shape[1]))
        step = max(1, _BLOCK // len(self.roots))
        for start in range(0, len(X), step):
            part = slice(start, start + step)
            leaves = self._leaves(X[part])
            total = np.zeros((len(leaves), self.values.shape[1]))
            for tree in range(len(self.roots)):
                total += self.values[leaves[:, tree]]
            out[part] = total / len(self.roots)
        return out

    def _leaves(self, X: NDArray[np.float32]) -> NDArray[np.int64]:
        """Leaf of each row in each tree, shape (n, n_trees)."""
        n, n_trees = len(X), len(self.roots)
        nodes = np.tile(self.roots, n)  # row after row
        rows = np.repeat(np.arange(n), n_trees)
        moving = np.arange(len(nodes))
        while len(moving):
            here = nodes[moving]
            goes_left = X[rows[moving], self.feature[here]] <= self.threshold[here]
            there = np.where(goes_left, self.left[here], self.right[here])
            nodes[moving] = there
            moving = moving[there != here]
        return nodes.reshape(n, n_trees)

    def trees(self) -> list[dict[str, NDArray[Any]]]:
        """Give each tree as the dictionary of arrays that the package shap reads.

        Their values are divided by the number of trees, so that the trees' sum is the forest.
        """
        ends = [*self.roots[1:].tolist(), len(self.feature)]
        found = []
        for start, end in zip(self.roots.tolist(), ends, strict=True):
            part = slice(start, end)
            own = np.arange(start, end)
            leaf = self.left[part] == own
            found.append({
                "children_left": np.where(leaf, -1, self.left[part] - start),
                "children_right": np.where(leaf, -1, self.right[part] - start),
                "children_default": np.where(leaf, -1, self.left[part] - start),
                "features": np.where(leaf, -1, self.feature[part]),
                "thresholds": np.where(leaf, -1.0, self.threshold[part].astype(np.float64)),
                "values": self.values[part].astype(np.float64) / len(self.roots),
                "node_sample_weight": self.weight[part].astype(np.float64),
            })  # fmt: skip
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name the arrays that make it."""
        return {
            "feature": self.feature,
            "threshold": self.threshold,
            "left": self.left,
            "right": self.right,
            "values": self.values,
            "weight": self.weight,
            "roots": self.roots,
        }

    @staticmethod
    def shapes(n_classes: int, n_features: int) -> dict[str, tuple[int | None, ...]]:  # noqa: ARG004
        """Tell the shapes of the arrays."""
        node: tuple[int | None, ...] = (None,)
        return {
            "feature": node,
            "threshold": node,
            "left": node,
            "right": node,
            "values": (None, n_classes),
            "weight": node,
            "roots": node,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, n_features: int) -> Forest:
        """Put it together again; InputError if the arrays make no trees."""
        n = len(arrays["feature"])
        own = np.arange(n)
        left, right, roots = arrays["left"], arrays["right"], arrays["roots"]
        fits = all(len(array) == n for name, array in arrays.items() if name != "roots")
        whole = (arrays["feature"], left, right, roots)
        fits = fits and all(array.dtype.kind in "iu" for array in whole)
        fits = fits and n > 0 and len(roots) > 0 and roots[0] == 0
        if fits:
            fits = bool((np.diff(roots) > 0).all() and roots[-1] < n)
        if fits:
            end = np.append(roots[1:], n)[np.searchsorted(roots, own, side="right") - 1]
            leaf = (left == own) & (right == own)
            inner = (left > own) & (right > own) & (left < end) & (right < end)
            known = (arrays["feature"] >= 0) & (arrays["feature"] < n_features)
            fits = bool((leaf | inner).all() and known.all() and (arrays["weight"] > 0).all())
        if not fits:
            raise InputError("the nodes of the forest make no trees.")
        return cls(**{name: arrays[name] for name in Forest.shapes(0, 0)})

    @classmethod
    def of(cls, forest: Any) -> Forest:
        """Take over a fitted scikit-learn forest.

        Thresholds are rounded down to float32, which changes no decision about float32 features.
        """
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in cls.shapes(0, 0)}
        start = 0
        for one in forest.estimators_:
            tree = one.tree_
            own = np.arange(start, start + tree.node_count)
            leaf = tree.children_left < 0
            rounded = tree.threshold.astype(np.float32)
            lower = np.nextafter(rounded, np.float32(-np.inf))
            threshold = np.where(rounded > tree.threshold, lower, rounded)
            shares = tree.value[:, 0, :]
            parts["feature"].append(np.where(leaf, 0, tree.feature))
            parts["threshold"].append(np.where(leaf, np.float32(0), threshold))
            parts["left"].append(np.where(leaf, own, tree.children_left + start))
            parts["right"].append(np.where(leaf, own, tree.children_right + start))
            parts["values"].append(shares / shares.sum(axis=1, keepdims=True))
            parts["weight"].append(tree.weighted_n_node_samples)
            parts["roots"].append(np.array([start]))
            start += tree.node_count
        whole = ("feature", "left", "right", "roots")
        arrays: dict[str, Any] = {
            name: np.concatenate(of).astype(np.int64 if name in whole else np.float32)
            for name, of in parts.items()
        }
        return cls(**arrays)


class _QuickForest:
    """A scikit-learn forest without what its own `predict_proba` checks on every call."""

    def __init__(self, forest: Any) -> None:
        self.forest = forest

    def predict_proba(self, features: NDArray[Any]) -> NDArray[np.float64]:
        X = np.ascontiguousarray(features, np.float32)
        trees = [one.tree_ for one in self.forest.estimators_]
        total = trees[0].predict(X)
        for tree in trees[1:]:
            total += tree.predict(X)
        total = total.reshape(len(X), -1)
        proba: NDArray[np.float64] = total / total.sum(axis=1, keepdims=True)
        return proba


def fit_forest(
    features: NDArray[Any], codes: NDArray[Any], *, n_trees: int = 100, random_state: int = 0
) -> _QuickForest:
    """Fit a random forest; `Forest.of` its ``forest`` keeps it.

    Each tree draws its samples with replacement: as many as there are, up to 5,000.

    `features`, of shape (n, n_features): as they are: a forest needs no scaling; `codes`, of shape
    (n,).

    References
    ----------
    Breiman (2001), Random Forests.
    """
    from sklearn.ensemble import RandomForestClassifier

    X = np.ascontiguousarray(features, np.float32)
    n_jobs = os.cpu_count() if X.size >= _PARALLEL_FROM else 1
    forest = RandomForestClassifier(
        n_trees,
        random_state=random_state % 2**32,
        n_jobs=n_jobs,
        max_samples=_TREE_ROWS if len(X) > _TREE_ROWS else None,
    )
    return _QuickForest(forest.fit(X, codes))


# Whatever classifier


class EstimatorModel:
    """A fitted scikit-learn classifier on scaled features."""

    def __init__(self, estimator: Any, scaler: Scaler) -> None:
        self.estimator = estimator
        self.scaler = scaler

    def predict_proba(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Ask the classifier, shape (n, n_classes)."""
        return np.asarray(self.estimator.predict_proba(self.scaler(features)), np.float64)


def fit_estimator(features: NDArray[Any], codes: NDArray[Any], estimator: Any) -> EstimatorModel:
    """Fit a clone of a classifier on scaled features.

    Raises InputError if it is none, or gives no probabilities.
    """
    from sklearn.base import clone, is_classifier

    if isinstance(estimator, type) or not hasattr(estimator, "fit") or not is_classifier(estimator):
        raise InputError(
            f"`estimator` must be a scikit-learn classifier, for example SVC(probability=True); "
            f"got {estimator!r}."
        )
    scaler = Scaler.of(features)
    fitted = clone(estimator).fit(scaler(features), codes)
    if not hasattr(fitted, "predict_proba"):
        raise InputError(
            f"`estimator` must give probabilities (`predict_proba`); {estimator!r} does not."
        )
    return EstimatorModel(fitted, scaler)
