"""A student of a teacher, a cascade with a promise, doubtful labels, and who is better: no key.

    python examples/12_make_it_cheaper.py [OUTPUT FOLDER]

The teacher is the embedded encoder here; any classifier can be one, and a multimodal LLM too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import showtell as st
from showtell.classify import load_classifier
from showtell.evaluate import clean

PHOTOS = Path(__file__).parent / "photos"


def main(out: Path) -> None:
    photos = st.load_dataset(PHOTOS)
    teacher = st.ZeroShotClassifier("mini", labels=photos.labels).fit()

    # what a promise is calibrated on is used for nothing else
    to_learn, to_calibrate = photos.images[::2], photos.images[1::2]
    student = st.DistilledClassifier(teacher, "mini", budget=20).fit(to_learn)
    print(f"{student.n_labels_} labels, {len(student.suspects_)} of them doubtful")

    cascade = st.CascadeClassifier([student, teacher], max_loss=0.3).fit(to_calibrate)
    print(cascade.promise_.sentence())
    print(cascade.price_sentence(200_000, student.n_labels_))
    cascade.save(out / "cascade")
    again = load_classifier(out / "cascade")
    print("loaded, and its promise holds:", again.holds_)

    found = clean(photos.images, photos.y)
    print(f"{len(found.suspects)} of {len(found)} labels are doubtful")
    found.report(out / "doubtful.html")

    verdict = st.judge(
        student.predict(photos.images),
        teacher.predict(photos.images),
        gold=photos.y,
        names=("student", "teacher"),
    )
    print(verdict.sentence())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out"))
