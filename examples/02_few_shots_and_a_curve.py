"""How far do 0, 1, 2, 5 and 10 examples per label get me?

    python examples/02_few_shots_and_a_curve.py

First one photo per label of examples/photos teaches what the other one is. Then a curve over
handwritten digits, which come with scikit-learn: labels that words alone cannot tell this encoder.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import showtell as st
from showtell.datasets import Dataset

PHOTOS = Path(__file__).parent / "photos"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def one_photo_each() -> None:
    """Learn from the first photo of each label, ask about the second."""
    photos = st.load_dataset(PHOTOS)
    pairs = {label for label, n in Counter(photos.y.tolist()).items() if n == 2}
    rows = [i for i, label in enumerate(photos.y) if label in pairs]
    first, second = photos[rows[::2]], photos[rows[1::2]]

    shown = st.FewShotClassifier("mini", text_weight=None).fit(first.images, first.y)
    both = st.FewShotClassifier("mini").fit(first.images, first.y)
    print(f"{len(pairs)} labels, one photo of each:")
    print(f"  pictures alone      {shown.score(second.images, second.y):.2f}")
    print(f"  pictures and words  {both.score(second.images, second.y):.2f}")


def digits(n: int = 300) -> Dataset:
    """Digits as 8 x 8 pictures, dark on white; the last two fifths are asked about."""
    raw = load_digits()
    return Dataset(
        images=[(255 - 15 * image).astype(np.uint8) for image in raw.images[:n]],
        codes=raw.target[:n].astype(np.int32),
        labels=WORDS,
        splits=["train"] * (3 * n // 5) + ["test"] * (n - 3 * n // 5),
        name="digits",
    )


def curve() -> None:
    """Draw three supports of each size, and score them on the same test images."""
    result = st.shot_curve(st.FewShotClassifier("mini"), digits(), shots=(0, 1, 2, 5, 10), seeds=3)
    print(f"digits, {result.n_test} test images, seeds {result.seeds}:")
    for point in result.points:
        bar = "#" * round(40 * (point.accuracy or 0))
        interval = f"[{point.low:.2f}, {point.high:.2f}]"
        print(f"  {point.shots:2} shots  {point.accuracy:.2f} {interval}  {bar}")
    print(result.sentence)


if __name__ == "__main__":
    one_photo_each()
    curve()
