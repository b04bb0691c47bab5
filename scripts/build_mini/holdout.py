"""What the choices on the text side bring for classes that the regression has never seen.

A quarter of ImageNet's classes is left out of the regression. Their names are then placed by the
other classes and the emoji, and asked for the class's row of the image network's head (centred):
the direction in which its photos differ from all others. No photo, no test set.

The weight of the descriptions was picked by this table among 0 to 1 (57.9 % without, flat from 0.3
on at 59.3 to 59.9 %), three senses against one and against the sense that agrees best with the
text. The accuracies on the photo sets, test splits included, were seen meanwhile and moved the
same way; so take the last point of either with salt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import joint
import numpy as np
from numpy.typing import NDArray

from showtell.encoders.mini.encoder import SENSE_WEIGHTS, noun_kernel, text_kernel
from showtell.encoders.mini.nouns import AnchorSenses

SPLITS = 8
LEFT_OUT = 250


def held_out_table(
    names: Sequence[str],
    name_texts: NDArray[np.float32],
    descriptions: NDArray[np.float32],
    emoji_texts: NDArray[np.float32],
    anchors: AnchorSenses,
    head_weight: NDArray[np.float64],
    emoji_directions: NDArray[np.float64],
) -> dict[str, Any]:
    """Compare the choices on the same splits.

    Parameters
    ----------
    names : sequence of str, length n_classes
    name_texts, descriptions : ndarray of shape (n_classes, 384)
    emoji_texts : ndarray of shape (n_emoji, 384)
    anchors : AnchorSenses of n_classes + n_emoji senses
    head_weight : ndarray of shape (n_classes, 1280)
    emoji_directions : ndarray of shape (n_emoji, 1280)

    Returns
    -------
    table : dict
        Per cent right among the left-out classes, per choice; and the paired gain.
    """
    rows = {}
    for weight in (0.0, joint.DESCRIPTION_WEIGHT):
        texts = joint.class_texts(name_texts, descriptions, weight)
        for senses in (SENSE_WEIGHTS[:1], SENSE_WEIGHTS):
            key = f"description weight {weight}, {len(senses)} sense(s)"
            rows[key] = _accuracies(
                np.concatenate([texts, emoji_texts]),
                name_texts,
                noun_kernel(anchors, names, senses),
                anchors,
                head_weight - head_weight.mean(axis=0),
                emoji_directions,
            )
    first, *_, last = rows.values()
    gains = np.array(last) - np.array(first)
    return {
        "how": f"{LEFT_OUT} classes left out of the regression, {SPLITS} random splits; right "
        f"name among the {LEFT_OUT} for each class's centred row of the image network's head",
        "percent_right": {key: round(float(np.mean(row)), 2) for key, row in rows.items()},
        "gain_per_split": [round(float(gain), 2) for gain in gains],
    }


def _accuracies(
    anchor_texts: NDArray[np.float32],
    queries: NDArray[np.float32],
    nouns: NDArray[np.float64],
    anchors: AnchorSenses,
    class_directions: NDArray[np.float64],
    emoji_directions: NDArray[np.float64],
) -> list[float]:
    """Per cent right on each split."""
    n_classes = len(class_directions)
    length = np.linalg.norm(class_directions, axis=1).mean()
    targets = np.concatenate([class_directions, length * emoji_directions])
    kernel = joint.ridged_kernel(anchor_texts, anchors, n_classes)
    query_kernel = text_kernel(queries @ anchor_texts.T) * nouns
    accuracies = []
    for seed in range(SPLITS):
        out = np.random.default_rng(seed).choice(n_classes, LEFT_OUT, replace=False)
        kept = np.setdiff1d(np.arange(len(kernel)), out)
        solved = np.linalg.solve(kernel[np.ix_(kept, kept)], targets[kept])
        placed = joint.unit_rows(query_kernel[np.ix_(out, kept)] @ solved)
        cosines = joint.unit_rows(class_directions[out]) @ placed.T
        accuracies.append(100 * float((cosines.argmax(axis=1) == np.arange(LEFT_OUT)).mean()))
    return accuracies
