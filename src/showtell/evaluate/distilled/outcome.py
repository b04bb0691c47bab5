"""What came of a distillation, in numbers: what it rests on, how good it is, what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from showtell.media import Media

if TYPE_CHECKING:
    from showtell.classify import CascadeClassifier, DistilledClassifier
    from showtell.evaluate.record import Record

TERMS = (
    "You are about to train a model on answers of {teacher}. Some providers' terms restrict "
    "training models on their answers. Whether this use is allowed is yours to check."
)
"""Shown before a model behind a server is asked, and stored."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Distilled:
    """A student, what it learned from, and what was measured of it."""

    student: DistilledClassifier
    teacher: str
    """Who was asked."""
    images: Sequence[Media] = field(repr=False)
    """What the student's ``rows_`` count."""
    record: Record | None
    """Measured on gold labels; None where there are none."""
    cascade: CascadeClassifier | None
    """Student and teacher with a promise; None where none was asked for."""
    n_images: int
    """Images that are to be labelled, for the price."""
    terms: str | None = None
    """The notice that was accepted."""

    @property
    def n_teacher(self) -> int:
        """Labels bought to learn from, failed ones included."""
        return len(self.student.teacher_labels_)

    @property
    def usd_per_1000(self) -> Decimal | None:
        """What 1,000 labels of the teacher cost; None if that is not known."""
        cost = self.student.cost_
        return None if cost is None or not self.n_teacher else 1000 * cost / self.n_teacher

    @property
    def cost_usd(self) -> Decimal | None:
        """What all answers cost, those to calibrate included."""
        parts = [self.student.cost_]
        if self.cascade is not None:
            parts.append(self.cascade.cost_)
        return None if None in parts else sum((p for p in parts if p), Decimal(0))

    def quality_sentence(self) -> str:
        """Say how good the student is, or that nobody knows."""
        curve = self.student.curve_
        agrees = f"agrees with its teacher on {100 * self.student.agreement_:.1f} %"
        if self.record is None:
            return (
                f"Not measured on gold labels; {agrees} of {self.student.n_labels_:,} images "
                "(out of fold)."
            )
        m = self.record.metrics
        return (
            f"{100 * m['accuracy']:.1f} % right [{100 * m['accuracy_low']:.1f}, "
            f"{100 * m['accuracy_high']:.1f}] of {len(self.record):,} gold images; {agrees} of "
            f"{curve.n_labels[-1]:,} (out of fold)."
        )

    def price_sentence(self) -> str:
        """Say what labelling costs relative to the teacher, and what that speaks of."""
        share = self.n_teacher / self.n_images
        rate = self.usd_per_1000
        price = "at an unknown price" if rate is None else f"at {rate:.4g} USD per 1,000 images"
        alone = (
            f"The student alone, without a promise: {self.n_teacher:,} of {self.n_images:,} images "
            f"were asked about, {100 * share:.3g} % of asking {self.teacher} about all {price}."
        )
        if self.cascade is None:
            return alone
        return f"{alone} {self.cascade.price_sentence(self.n_images, self.n_teacher)}"

    def to_dict(self) -> dict[str, Any]:
        """Give the numbers as JSON values; money as text."""
        student, cost = self.student, self.cost_usd
        rate = self.usd_per_1000
        found: dict[str, Any] = {
            "teacher": self.teacher,
            "encoder": str(student.encoder),
            "labels": [str(label) for label in student.classes_.tolist()],
            "head": student.head,
            "C": student.C_,
            "temperature": student.temperature_,
            "soft": student.soft_,
            "counts": student.teacher_labels_.counts,
            "n_labels": student.n_labels_,
            "n_suspects": len(student.suspects_),
            "missing": [str(label) for label in student.missing_],
            "agreement": student.agreement_,
            "curve": {
                "n_labels": list(student.curve_.n_labels),
                "accuracy": list(student.curve_.accuracy),
                "on_gold": student.curve_.on_gold,
            },
            "n_images": self.n_images,
            "share_alone": self.n_teacher / self.n_images,
            "usd_per_1000_teacher": None if rate is None else str(rate),
            "cost_usd": None if cost is None else str(cost),
            "terms_accepted": self.terms,
            "quality": self.quality_sentence(),
            "price": self.price_sentence(),
        }
        if self.record is not None:
            names = ("accuracy", "accuracy_low", "accuracy_high", "ece")
            found["gold"] = {name: self.record.metrics[name] for name in names}
            found["gold"]["n_samples"] = len(self.record)
        if self.cascade is not None:
            found["promise"] = self.cascade.promise_.to_record()
            found["promise_sentence"] = self.cascade.promise_.sentence()
            found["share_cascade"] = self.cascade.price_share(self.n_images, self.n_teacher)
        return found
