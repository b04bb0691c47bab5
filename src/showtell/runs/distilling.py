"""From a teacher and pictures to a student in a folder: split, ask, train, measure, promise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import showtell.evaluate as measuring
from showtell._progress import Progress, no_progress
from showtell.classify.chain.cascade import CascadeClassifier
from showtell.classify.chain.distill import DistilledClassifier
from showtell.classify.chain.promise import PromiseKind, smallest_sample
from showtell.classify.chain.teacher import TeacherLabels
from showtell.errors import InputError, MissingExtraError, ShowtellError
from showtell.evaluate.distilled.card import card_text
from showtell.evaluate.distilled.outcome import Distilled
from showtell.evaluate.distilled.page import write_distilled
from showtell.media import content_hash, media_name
from showtell.records.files import whole_file
from showtell.tables import write_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from showtell.datasets import Dataset
    from showtell.evaluate.record import Record
    from showtell.media import Media


@dataclass(frozen=True, kw_only=True)
class DistillPlan:
    """What is asked, learned and promised."""

    budget: int = 400
    select: Any = "auto"
    head: Any = "blend"
    suspects: Literal["keep", "drop"] = "keep"
    encoder: str = "mini"
    target_accuracy: float | None = None
    max_loss: float | None = None
    confidence: float = 0.95
    n_calibration: int = 200
    seed: int = 0

    @property
    def promises(self) -> bool:
        """Whether a cascade with a promise is wanted."""
        return self.target_accuracy is not None or self.max_loss is not None

    def parts(
        self, pool: Dataset, gold: Dataset | None
    ) -> tuple[Dataset, Dataset | None, Dataset | None]:
        """Part images into those to learn from, to calibrate on, and to measure on.

        Calibration images are drawn uniformly and used for nothing else: with `target_accuracy`
        of the gold images, at most half of them; with `max_loss` of the pool.

        Parameters
        ----------
        pool : Dataset
        gold : Dataset or None

        Returns
        -------
        train, calibration, test : Dataset or None

        Raises
        ------
        InputError
            If so many cannot carry the promise, even without one error: before anything is asked.
        """
        if not self.promises:
            return pool, None, gold
        if self.target_accuracy is not None and self.max_loss is not None:
            raise InputError(
                "Promise `target_accuracy` or `max_loss`, not both.",
                param=("target_accuracy", "max_loss"),
            )
        by_gold = self.target_accuracy is not None
        level = 1 - self.target_accuracy if self.target_accuracy is not None else self.max_loss
        assert level is not None
        kind: PromiseKind = "accuracy" if by_gold else "agreement"
        need = smallest_sample(level, delta=1 - self.confidence, kind=kind)
        if by_gold and gold is None:
            raise InputError(
                "`target_accuracy` is promised by gold labels: give some with `gold` DIR, or "
                "promise `max_loss` against the teacher, which needs none.",
                param=("target_accuracy", "gold", "max_loss"),
            )
        source = gold if by_gold else pool
        assert source is not None
        most = len(source) // 2
        n = min(self.n_calibration, most)
        if n < need:
            what = "half of the gold images" if by_gold else "half of the images"
            raise InputError(
                f"{n:,} calibration images cannot carry this promise, even without one error: an "
                f"error rate of {100 * level:.3g} % at {100 * self.confidence:.3g} % confidence "
                f"takes at least {need:,}. `calibrate` is {self.n_calibration:,}, and {what} are "
                f"{most:,}.",
                param="calibrate",
            )
        order = np.random.default_rng(self.seed).permutation(len(source))
        drawn, rest = source[np.sort(order[:n])], source[np.sort(order[n:])]
        return (pool, drawn, rest) if by_gold else (rest, drawn, gold)


def without_images(data: Dataset, others: Iterable[Media]) -> Dataset:
    """Leave out files whose content is among others: what was shown, or is measured on.

    Only files of equal size are read.
    """
    known = [path for path in map(_file, others) if path is not None]
    sizes = {os.path.getsize(path) for path in known}  # noqa: PTH202 (names may be bytes)
    digests = {content_hash(path) for path in known}
    keep = []
    for row, image in enumerate(data.images):
        path = _file(image)
        same = path is not None and os.path.getsize(path) in sizes  # noqa: PTH202
        if not (same and content_hash(path) in digests):
            keep.append(row)
    return data if len(keep) == len(data) else data[np.array(keep, np.intp)]


def _file(image: Media) -> Any:
    if not isinstance(image, str | os.PathLike):
        return None
    try:
        return image if os.path.isfile(image) else None  # noqa: PTH113
    except (OSError, ValueError):
        return None


def distill(
    plan: DistillPlan,
    pool: Dataset,
    *,
    teacher: Any = None,
    answers: TeacherLabels | None = None,
    gold: Dataset | None = None,
    labels: Sequence[str] | None = None,
    name: str = "",
    n_images: int | None = None,
    terms: str | None = None,
    store: Any = "default",
    progress: Progress = no_progress,
) -> Distilled:
    """Ask the teacher, train a student, measure it, and promise what was asked for.

    Parameters
    ----------
    plan : DistillPlan
    pool : Dataset
        Images to learn from; their labels are not looked at.
    teacher : classifier, optional
        Fitted.
    answers : TeacherLabels, optional
        Labels that were bought before, by image; then nobody is asked.
    gold : Dataset, optional
        Labelled images, to measure and to calibrate on; never learned from.
    labels : sequence of str, optional
        The label set.
    name : str
        Of the teacher, for people.
    n_images : int, optional
        Images that are to be labelled, for the price; those of the pool unless given.
    terms : str, optional
        The notice that was accepted.
    store : EmbeddingStore, path, "default" or None, default="default"
    progress : Progress

    Returns
    -------
    found : Distilled

    Raises
    ------
    InputError
        If a promise cannot be kept by so few images, or nothing can be learned from.
    BudgetError
        At a cap; with a run folder the same call goes on.
    """
    train, calibration, test = plan.parts(pool, gold)
    if answers is not None:
        if plan.promises:
            raise InputError(
                "A promise needs a teacher that can be asked; a file of answers cannot.",
                param=("target_accuracy", "max_loss", "teacher"),
            )
        train, answers = _answered(train, answers)
    student = DistilledClassifier(
        teacher,
        plan.encoder,
        labels=labels,
        budget=plan.budget,
        select=plan.select,
        head=plan.head,
        suspects=plan.suspects,
        store=store,
        random_state=plan.seed,
    ).fit(train.images, teacher_labels=answers, progress=progress)
    cascade = None
    if calibration is not None:
        cascade = CascadeClassifier(
            [student, teacher],
            target_accuracy=plan.target_accuracy,
            max_loss=plan.max_loss,
            confidence=plan.confidence,
        )
        y = None if plan.target_accuracy is None else calibration.y
        cascade.fit(calibration.images, y, progress=progress)
    record = None if test is None or not len(test) else _measured(student, test, progress)
    return Distilled(
        student=student,
        teacher=name or student.teacher_labels_.source,
        images=train.images,
        record=record,
        cascade=cascade,
        n_images=len(pool) if n_images is None else n_images,
        terms=terms,
    )


def _measured(student: DistilledClassifier, test: Dataset, progress: Progress) -> Record:
    """Measure on gold labels, which have to be the student's."""
    known = set(map(str, student.classes_.tolist()))
    strange = sorted(set(test.y.tolist()) - known)
    if strange:
        raise InputError(
            f"Gold labels {', '.join(strange[:5])} are none of the student's: "
            f"{', '.join(sorted(known))}.",
            param="gold",
        )
    return measuring.evaluate(student, test, name="student", progress=progress)


def _answered(pool: Dataset, answers: TeacherLabels) -> tuple[Dataset, TeacherLabels]:
    """Join answers to images by name, or by the end of a path that names one image only."""
    names = [media_name(image) for image in pool.images]
    place = {name: i for i, name in enumerate(answers.images)}
    ends: dict[str, list[int]] = {}
    for i, name in enumerate(answers.images):
        ends.setdefault(Path(name).name, []).append(i)
    rows, found = [], []
    for row, name in enumerate(names):
        at = place.get(name)
        if at is None and len(ends.get(Path(name).name, ())) == 1:
            at = ends[Path(name).name][0]
        if at is not None:
            rows.append(row)
            found.append(at)
    if not rows:
        raise InputError(
            f"The file of answers is about none of the images: it has {answers.images[0]!r}, the "
            f"data {names[0]!r}."
        )
    at_rows = np.array(found, np.intp)
    picked = replace(
        answers,
        images=[answers.images[i] for i in found],
        codes=answers.codes[at_rows],
        proba=None if answers.proba is None else answers.proba[at_rows],
        status=[answers.status[i] for i in found],
    )
    return pool[np.array(rows, np.intp)], picked


def keep_distilled(found: Distilled, folder: Path) -> list[str]:
    """Write a student's folder: classifier, cascade, ONNX file, card, labels, doubts and page.

    Parameters
    ----------
    found : Distilled
    folder : Path
        Made if missing; what is written again is replaced.

    Returns
    -------
    notes : list of str
        What could not be written and why, in sentences.
    """
    notes = []
    student = found.student
    found.student.save(folder / "student")
    if found.cascade is not None:
        try:
            found.cascade.save(folder / "cascade")
        except InputError as error:
            notes.append(f"No cascade was saved: {error}")
    has_onnx = True
    try:
        from showtell.classify.chain.export import export_student

        export_student(student, folder / "student.onnx")
    except (InputError, MissingExtraError) as error:
        has_onnx = False
        notes.append(f"No student.onnx was written: {error}")
    labels = student.teacher_labels_
    rows: list[dict[str, Any]] = []
    for i, row in enumerate(student.rows_.tolist()):
        code = int(labels.codes[i])
        rows.append(
            {
                "image": media_name(found.images[row]),
                "label": None if code < 0 else labels.classes[code],
                "p": None if labels.proba is None or code < 0 else float(labels.proba[i, code]),
                "status": labels.status[i],
            }
        )
    write_rows(folder / "teacher_labels.csv", rows, ("image", "label", "p", "status"))
    doubts = [
        {
            "image": media_name(found.images[s.row]),
            "label": str(s.given),
            "suggested": str(s.suggested),
            "margin": s.margin,
        }
        for s in student.suspects_
    ]
    write_rows(folder / "review.csv", doubts, ("image", "label", "suggested", "margin"))
    with whole_file(folder / "card.md") as part:
        part.write_text(card_text(found, has_onnx=has_onnx), encoding="utf-8")
    write_distilled(found, folder / "report.html")
    if found.record is not None:
        try:
            found.record.report(folder / "gold.html")
        except ShowtellError as error:
            notes.append(f"No gold.html was written: {error}")
    return notes
