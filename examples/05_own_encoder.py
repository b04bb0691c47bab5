"""Bring your own encoder: preprocessing and a network are all there is to write.

    python examples/05_own_encoder.py

Here the "network" is a histogram of colours. Decoding in threads, batches, the store, error rows,
the classifiers and their evaluation come with the base class.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.model_selection import GridSearchCV

import showtell as st
from showtell.encoders import PixelEncoder, unit
from showtell.errors import InputError

PHOTOS = Path(__file__).parent / "photos"


class ColourHistogram(PixelEncoder):
    """Embeds an image as how much of it has each of 64 colours."""

    name = "colour-histogram"
    fingerprint = "colour-histogram-64-v1"  # names the computation: change one, change the other
    n_dims = 64
    logit_scale = 20.0
    input_side = 64

    def prepare(self, image):
        """Shrink to 64 x 64, channels first, shape (3, 64, 64)."""
        return np.asarray(image.resize((64, 64)), np.float32).transpose(2, 0, 1)

    def encode_prepared(self, pixels):
        """Count pixels per colour, shape (n, 64)."""
        steps = (pixels // 64).astype(int)  # 4 per channel
        bins = steps[:, 0] * 16 + steps[:, 1] * 4 + steps[:, 2]
        counts = [np.bincount(one.ravel(), minlength=64) for one in bins]
        return unit(np.sqrt(np.array(counts)) + 1e-6)

    def encode_texts(self, texts):
        """A histogram has no words."""
        raise InputError("The colour histogram knows no words; show it examples instead.")


def main() -> None:
    photos = st.load_dataset(PHOTOS)
    clf = st.FewShotClassifier(ColourHistogram(), text_weight=None)
    clf.fit(photos.images, photos.y)
    print(clf.predict(photos.images[:3]))

    # It is an estimator like any other: leave half out, try both ways of centring.
    pairs = [i for i, label in enumerate(photos.y) if (photos.y == label).sum() == 2]
    half = photos[pairs]
    folds = [(np.arange(0, len(half), 2), np.arange(1, len(half), 2))]
    search = GridSearchCV(clf, {"centre": [False, True]}, cv=folds).fit(half.images, half.y)
    mini = GridSearchCV(clf.set_params(encoder="mini"), {"centre": [False]}, cv=folds)
    mini.fit(half.images, half.y)
    print(f"colours alone: {search.best_score_:.2f}   the embedded encoder: {mini.best_score_:.2f}")


if __name__ == "__main__":
    main()
