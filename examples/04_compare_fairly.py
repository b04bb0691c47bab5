"""Is one way really better than another? Same images, same support, paired tests.

    python examples/04_compare_fairly.py

Three ways of learning from five handwritten digits per label are compared on the same 200 images;
then the planner says how many images it would take to tell two close ways apart.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

import showtell as st
from showtell.metrics import accuracy_interval, sample_size

WORDS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def main() -> None:
    raw = load_digits()
    images = [(255 - 15 * image).astype(np.uint8) for image in raw.images[:400]]
    y = WORDS[raw.target[:400]]

    records = []
    for method in ("prototype", "linear", "tip-adapter"):
        clf = st.FewShotClassifier("mini", shots=5, method=method, random_state=0)
        clf.fit(images[:200], y[:200])
        records.append(st.evaluate(clf, images[200:], y[200:], name=method))

    comparison = st.compare(records)
    for row in comparison.records:
        print(f"{row.name:12} {row.accuracy:.3f} [{row.accuracy_low:.3f}, {row.accuracy_high:.3f}]")
    for pair in comparison.pairs:
        verdict = "differs" if pair.differs else "may be chance"
        print(f"{pair.a} over {pair.b}: {-100 * pair.difference:+.1f} points, {verdict}")
    print(comparison.sentence)

    low, high = accuracy_interval(85, 100)
    needed = sample_size(0.02, expected=0.85)
    print(f"85 of 100 right means {low:.2f} to {high:.2f};")
    print(f"an interval of plus or minus 2 points takes about {needed:,} images.")


if __name__ == "__main__":
    main()
