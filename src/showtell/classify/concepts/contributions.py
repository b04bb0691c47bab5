"""SHAP values of the models on clues."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell._extras import need
from showtell.classify.concepts.heads import Forest, PartsVote


def vote_contributions(
    model: PartsVote, features: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contributions to the parts' mean log-odds, which are linear in the features.

    `features`, of shape (n, n_features). Returns `values`, of shape (n, n_features, n_classes):
    ``weight * (feature - its mean over the training samples)``, exactly 0 for a feature that was
    constant; `base`, of shape (n_classes,): mean log-odds at the mean of the training samples.

    References
    ----------
    Lundberg & Lee (2017), A Unified Approach to Interpreting Model Predictions, arXiv:1705.07874,
    section 4.2: SHAP values of a linear model.
    """
    weights, bias = model.log_odds
    mean = model.scaler.mean.astype(np.float64)
    values = (np.asarray(features, np.float64) - mean)[:, :, None] * weights.T[None]
    return values, bias + weights @ mean


def forest_contributions(
    model: Forest, features: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contributions to the forest's probabilities, by the package shap.

    `features`, of shape (n, n_features). Returns `values`, of shape (n, n_features, n_classes):
    exactly 0 for a feature that no tree asks about; `base`, of shape (n_classes,): mean over the
    training samples of the trees. Raises MissingExtraError: without the package shap.

    References
    ----------
    Lundberg & Lee (2017), arXiv:1705.07874; Lundberg et al. (2020), From local explanations to
    global understanding with explainable AI for trees, doi:10.1038/s42256-019-0138-9.
    """
    shap = need("shap", extra="explain", what="An explanation of a forest")
    explainer = shap.TreeExplainer(
        {"trees": model.trees(), "tree_output": "raw_value", "input_dtype": np.float32},
        feature_perturbation="tree_path_dependent",
    )
    X = np.ascontiguousarray(features, np.float64)
    values = np.asarray(explainer.shap_values(X, check_additivity=False), np.float64)
    base = np.asarray(explainer.expected_value, np.float64)
    return values, base
