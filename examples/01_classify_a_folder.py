"""Classify a folder from label names alone, and write a table and a page.

    python examples/01_classify_a_folder.py [FOLDER] [OUTPUT FOLDER]

Runs offline with the embedded encoder. The labels are the words of labels.json beside the class
folders; for a folder of yours, name your own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import showtell as st
from showtell.evaluate import write_gallery

PHOTOS = Path(__file__).parent / "photos"


def main(folder: Path, out: Path) -> None:
    photos = st.load_dataset(folder)
    labels = photos.labels or ("cat", "dog", "flower", "bridge", "mountain")

    clf = st.ZeroShotClassifier("mini", labels=labels).fit()
    predictions = clf.classify(photos.images)

    for row in list(predictions.rows())[:5]:
        print(f"{Path(row['image']).name:24} {row['label']:12} {row['confidence']:.2f}")
    print("...")
    print(predictions.counts)

    out.mkdir(parents=True, exist_ok=True)
    print("table:", predictions.write(out / "labels.csv", proba=True))
    print("page: ", write_gallery(predictions, photos.images, out / "photos.html"))


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS
    main(folder, Path(sys.argv[2]) if len(sys.argv) > 2 else Path("out"))
