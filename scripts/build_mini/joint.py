"""The joint space: its basis, and the kernel regression that places texts in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from towers import Head

from showtell.encoders.mini.encoder import (
    CLASS_TEMPERATURE,
    FEATURE_SHARE,
    NOUN_UNKNOWN,
    NOUN_WIDTH,
    sense_kernel,
    text_kernel,
)
from showtell.encoders.mini.nouns import AnchorSenses

N_DIMS = 512
CLASS_RIDGE = 0.1
DESCRIPTION_WEIGHT = 0.5
"""A class's text is the direction of name + weight * description; see holdout.py."""
EMOJI_RIDGE = 5.0
"""Emoji are drawings, not photographs: trusted fifty times less than classes."""


def unit_rows(matrix: NDArray[Any]) -> NDArray[np.float64]:
    return matrix / (np.linalg.norm(matrix, axis=-1, keepdims=True) + 1e-12)


def joint_arrays(
    head: Head,
    anchor_texts: NDArray[np.float32],
    anchors: AnchorSenses,
    emoji_directions: NDArray[np.float64],
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Solve for the joint space.

    Parameters
    ----------
    head : Head
    anchor_texts : ndarray of shape (n_anchors, 384)
        MiniLM rows: the classes in order, then the emoji.
    anchors : AnchorSenses of n_anchors senses
    emoji_directions : ndarray of shape (n_emoji, 1280)
        Unit rows: where each emoji's features lie, seen from the mean of all emoji.

    Returns
    -------
    text : dict of str to ndarray, float16
        As `showtell.encoders.mini.encoder` reads them from joint.npz.
    image : dict of str to ndarray, float16
        As `towers.append_head` puts them behind the image network.
    """
    n_classes, n_emoji = len(head.weight), len(emoji_directions)
    mean_row = head.weight.mean(axis=0)
    centred = head.weight - mean_row
    feature_basis, class_basis = _basis(centred)

    # Targets have mean 0 over the classes, so the regression needs no offset.
    length = np.linalg.norm(centred, axis=1).mean()
    to_features = np.concatenate([centred, length * emoji_directions])
    one_hot = np.concatenate([np.eye(n_classes), np.zeros((n_emoji, n_classes))])
    to_classes = one_hot - 1 / n_classes

    kernel = ridged_kernel(anchor_texts, anchors, n_classes)
    solved = np.linalg.solve(kernel, np.concatenate([to_features, to_classes], axis=1))
    by_features, by_classes = solved[:, : centred.shape[1]], solved[:, centred.shape[1] :]
    by_classes = by_classes - by_classes.mean(axis=1, keepdims=True)
    text = {
        "anchor_texts": anchor_texts,
        "feature_coefficients": by_features @ feature_basis,
        "class_coefficients": by_classes @ class_basis,
    }
    image = {
        "weight": head.weight.T / CLASS_TEMPERATURE,
        "bias": head.bias / CLASS_TEMPERATURE,
        "mean_features": head.mean_features,
        "feature_basis": np.sqrt(FEATURE_SHARE) * feature_basis,
        "class_basis": np.sqrt(1 - FEATURE_SHARE) * class_basis,
    }
    return (
        {name: array.astype(np.float16) for name, array in text.items()},
        {name: array.astype(np.float16) for name, array in image.items()},
    )


def class_texts(
    names: NDArray[np.float32], descriptions: NDArray[np.float32], weight: float
) -> NDArray[np.float32]:
    """Mix what MiniLM says of names and of descriptions, to rows of length 1."""
    return unit_rows(names + weight * descriptions).astype(np.float32)


def ridged_kernel(
    anchor_texts: NDArray[np.float32], anchors: AnchorSenses, n_classes: int
) -> NDArray[np.float64]:
    """Kernel between all anchors, with what is added to its diagonal."""
    kernel = text_kernel(anchor_texts @ anchor_texts.T) * _noun_kernel(anchors)
    kernel = (kernel + kernel.T) / 2
    n_emoji = len(kernel) - n_classes
    ridge = np.concatenate([np.full(n_classes, CLASS_RIDGE), np.full(n_emoji, EMOJI_RIDGE)])
    np.fill_diagonal(kernel, 1.0 + ridge)
    return kernel


def _noun_kernel(anchors: AnchorSenses) -> NDArray[np.float64]:
    """Second kernel factor between all anchors."""
    n = len(anchors.senses)
    kernel = np.full((n, n), np.exp(-NOUN_UNKNOWN / NOUN_WIDTH))
    for row in np.flatnonzero(anchors.known):
        kernel[row] = sense_kernel(anchors, int(anchors.senses[row]))
    return kernel


def _basis(centred: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions in which the classes differ most: (n_features, 512) and (n_classes, 512)."""
    one_hot = np.eye(len(centred)) - 1 / len(centred)
    joined = np.concatenate(
        [
            np.sqrt(FEATURE_SHARE) * unit_rows(centred),
            np.sqrt(1 - FEATURE_SHARE) * unit_rows(one_hot),
        ],
        axis=1,
    )
    directions = np.linalg.svd(joined, full_matrices=False)[2][:N_DIMS]
    return directions[:, : centred.shape[1]].T, directions[:, centred.shape[1] :].T


def emoji_directions(views: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Average, over the views, each emoji's direction from the mean emoji of that view."""
    parts = [unit_rows(features - features.mean(axis=0)) for features in views]
    return unit_rows(np.sum(parts, axis=0))
