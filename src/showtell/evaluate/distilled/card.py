"""A student's model card: what it is for, what it rests on, how good it is, and its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from showtell.evaluate.provenance import now

if TYPE_CHECKING:
    from showtell.evaluate.distilled.outcome import Distilled

_RUNNING = """```python
import numpy as np, onnxruntime
from PIL import Image, ImageOps
session = onnxruntime.InferenceSession("student.onnx")
picture = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
label, confidence, probabilities = session.run(None, {"image": np.asarray(picture)})
print(LABELS[label[0]], confidence[0])
```"""
_MOST_PAIRS = 5


def card_text(found: Distilled, *, has_onnx: bool) -> str:
    """Write the card as Markdown.

    Parameters
    ----------
    found : Distilled
    has_onnx : bool
        Whether there is a file to run.
    """
    student, counts = found.student, found.student.teacher_labels_.counts
    cost = found.cost_usd
    names = [str(label) for label in student.classes_.tolist()]
    lines = [
        "# A student of " + found.teacher,
        "",
        f"Made {now()[:10]} by showtell. It gives a picture one of {len(names)} labels: "
        f"{', '.join(names)}. A picture that shows none of them gets one all the same.",
        "",
        "## What it rests on",
        "",
        f"- Teacher: {found.teacher}, asked about {found.n_teacher:,} pictures: {counts['ok']:,} "
        f"labels, {counts['abstained']:,} abstained, {counts['error']:,} failed.",
        f"- Learned from {student.n_labels_:,} labels, "
        f"{'soft' if student.soft_ else 'hard'} targets; head {student.head}, C {student.C_:g}, "
        f"temperature {student.temperature_:.3g}.",
        f"- Encoder: {student.encoder}, fingerprint {student.encoder_fingerprint_}. Its licence "
        "is its maker's; mini is Apache-2.0.",
        f"- {len(student.suspects_):,} labels are doubtful; they are in review.csv and were "
        f"{'left out' if student.suspects == 'drop' else 'kept'}.",
        "- Cost of all answers: " + ("unknown." if cost is None else f"{cost:f} USD."),
    ]
    if student.missing_:
        lines.append(f"- No example was seen of: {', '.join(map(str, student.missing_))}.")
    lines += ["", "## How good it is", "", found.quality_sentence()]
    if found.record is not None:
        lines += ["", "| label | precision | recall | F1 | pictures |", "|---|---|---|---|---|"]
        for label, row in found.record.per_class.items():
            lines.append(
                f"| {label} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} | "
                f"{row['support']:,} |"
            )
        worst = _confusions(found)
        if worst:
            lines += ["", "Worst confusions: " + "; ".join(worst) + "."]
    if found.cascade is not None:
        lines += [
            "", "## What is promised", "", found.cascade.promise_.sentence(),
            "", "It holds for pictures like those it was calibrated on, and ends with any change "
            "of student, teacher or prompt.",
        ]  # fmt: skip
    lines += ["", "## What it costs", "", found.price_sentence(), "", "## Limits and terms", ""]
    lines.append(
        "It copies what its teacher gets wrong in the same way again and again. EXIF rotation is "
        "the caller's. The licence of this model is yours to choose."
    )
    if found.terms is not None:
        lines += ["", f"Accepted before training: {found.terms}"]
    if has_onnx:
        lines += ["", "## Running it", "", f"`LABELS = {names!r}`", "", _RUNNING]
    return "\n".join(lines) + "\n"


def _confusions(found: Distilled) -> list[str]:
    assert found.record is not None
    counts, names = found.record.confusion, found.record.classes
    pairs = [
        (int(counts[i, j]), names[i], names[j])
        for i in range(len(names))
        for j in range(len(names))
        if i != j and counts[i, j]
    ]
    pairs.sort(key=lambda pair: -pair[0])
    return [f"{a} taken for {b} ({n})" for n, a, b in pairs[:_MOST_PAIRS]]
