"""One number that turns cosines into probabilities, fitted on labelled photos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from showtell.encoders.mini.encoder import MiniEncoder

GRID = np.geomspace(1.0, 200.0, 400)


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """Cosines of one labelled set."""

    name: str
    cosines: NDArray[np.float64]
    """(n_images, n_labels)"""
    truth: NDArray[np.int64]
    """(n_images,): column of the right label."""

    def mean_nll(self, scale: float) -> float:
        """Mean of -ln softmax(scale * cosine) at the right label."""
        logits = scale * self.cosines
        top = logits.max(axis=1)
        log_total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        return float((log_total - logits[np.arange(len(logits)), self.truth]).mean())


def score_set(encoder: MiniEncoder, folder: Path, split: str = "train") -> ScoredSet:
    """Embed the photos of ``folder/split/LABEL`` and the words of ``folder/labels.json``."""
    words = json.loads((folder / "labels.json").read_text("utf-8"))
    labels = sorted(words)
    pixels, truth = [], []
    for column, label in enumerate(labels):
        for path in sorted((folder / split / label).iterdir()):
            with Image.open(path) as file:
                pixels.append(encoder.prepare(ImageOps.exif_transpose(file).convert("RGB")))
            truth.append(column)
    images = encoder.encode_prepared(np.stack(pixels))
    texts = encoder.encode_texts([words[label] for label in labels])
    cosines = (images @ texts.T).astype(np.float64)
    return ScoredSet(name=folder.name, cosines=cosines, truth=np.array(truth))


def best_scale(sets: Sequence[ScoredSet]) -> float:
    """Scale with the smallest mean over sets of the mean NLL; each set counts once."""
    losses = [np.mean([scored.mean_nll(scale) for scored in sets]) for scale in GRID]
    return float(GRID[int(np.argmin(losses))])


def fit_logit_scale(encoder: MiniEncoder, root: Path) -> dict[str, Any]:
    """Fit on the train splits of all sets; report each set with a scale fitted on the others."""
    sets = [score_set(encoder, path.parent) for path in sorted(root.glob("*/labels.json"))]
    scale = round(best_scale(sets), 1)
    left_out = {}
    for i, scored in enumerate(sets):
        other = best_scale(sets[:i] + sets[i + 1 :])
        left_out[scored.name] = {
            "scale_from_the_others": round(other, 1),
            "nll": round(scored.mean_nll(other), 3),
            "nll_own_best_scale": round(scored.mean_nll(best_scale([scored])), 3),
            "nll_of_guessing": round(float(np.log(scored.cosines.shape[1])), 3),
        }
    return {
        "logit_scale": scale,
        "how": "minimises the mean over sets of the mean negative log likelihood of softmax(scale "
        "* cosine); train splits only; labels as in labels.json",
        "images": sum(len(scored.truth) for scored in sets),
        "mean_nll": round(float(np.mean([scored.mean_nll(scale) for scored in sets])), 3),
        "left_out": left_out,
    }
