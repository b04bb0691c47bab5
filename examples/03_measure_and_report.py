"""Measure a classifier: accuracy with its interval, per-class table, mistakes, a page to click.

    python examples/03_measure_and_report.py [DATA] [OUTPUT FOLDER]

DATA is a folder with a folder per label, with or without train/ and test/ above them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import showtell as st

PHOTOS = Path(__file__).parent / "photos"


def main(folder: Path, out: Path) -> None:
    data = st.load_dataset(folder)
    asked = data.test if "test" in data.split_names else data
    clf = st.ZeroShotClassifier("mini", labels=data.labels).fit()

    record = st.evaluate(clf, asked)
    m = record.metrics
    print(
        f"{m['n_samples']} samples: accuracy {m['accuracy']:.3f} "
        f"[{m['accuracy_low']:.3f}, {m['accuracy_high']:.3f}], macro F1 {m['macro_f1']:.3f}"
    )
    print(f"confidences off by {m['ece']:.2f}; {m['ece_noise_floor']:.2f} would be chance")

    hardest = sorted(record.per_class.items(), key=lambda item: item[1]["recall"])[:3]
    for label, row in hardest:
        print(f"  {label:16} recall {row['recall']:.2f} of {row['support']}")

    print("page:", record.report(out / "report.html"))
    print("kept:", record.save(out / "record"))


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS
    main(folder, Path(sys.argv[2]) if len(sys.argv) > 2 else Path("out"))
