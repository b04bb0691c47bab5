"""A record on its way out: its numbers as CSV, and as tables for a person."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from showtell import runs
from showtell.cli.output import (
    counted,
    dollars,
    number,
    print_csv,
    print_json,
    print_table,
    what_it_took,
)
from showtell.cli.session import Session, is_terminal

if TYPE_CHECKING:
    from showtell.evaluate import Controls, Record, ShotCurve
    from showtell.runs import Job

_HEADLINE = (
    ("accuracy", "accuracy"),
    ("balanced_accuracy", "balanced accuracy"),
    ("macro_precision", "macro precision"),
    ("macro_recall", "macro recall"),
    ("macro_f1", "macro F1"),
    ("weighted_f1", "weighted F1"),
    ("ece", "calibration error (ECE)"),
    ("ece_noise_floor", "  that chance would show"),
    ("n_abstained", "abstained"),
    ("n_errors", "errors"),
)


def print_record(
    session: Session, record: Record, curve: ShotCurve | None, *, json: bool, silent: bool
) -> None:
    """Print what was measured; into a pipe nothing where a file has it (`silent`)."""
    if json:
        extra = {} if curve is None else {"curve": curve.to_dict()}
        print_json({**record.to_dict(), **extra})
    elif is_terminal(sys.stdout):
        _show(session, record, curve)
    elif not silent:
        _print_metrics(record, curve)


def sum_up(session: Session, job: Job, record: Record) -> None:
    """Say in a sentence what was measured, and what it took."""
    m = record.metrics
    took, about = "", record.run.get("estimator")
    learned = "" if about is None else f"; {job.how(about)}"
    if job.meters:
        took = f"; {what_it_took(runs.taken(job.meters, [record.predictions]))}"
    session.summary(
        f"{counted(m['n_samples'], 'sample')}: accuracy {m['accuracy']:.3f} "
        f"[{m['accuracy_low']:.3f}, {m['accuracy_high']:.3f}], {m['n_abstained']:,} abstained, "
        f"{counted(m['n_errors'], 'error')}{learned}; {session.seconds:.1f} s{took}"
    )
    if record.controls is not None:
        session.summary(record.controls.sentence)


def _print_metrics(record: Record, curve: ShotCurve | None) -> None:
    """Print the numbers as CSV: metric, label, value; of a curve metric, shots, value."""
    rows: list[Sequence[Any]] = []
    for name, value in record.metrics.items():
        if name == "per_class":
            for label, scores in value.items():
                rows += [(metric, label, score) for metric, score in scores.items()]
        elif not isinstance(value, Mapping | list):
            rows.append((name, "", value))
    for control in () if record.controls is None else record.controls.controls:
        rows.append(("accuracy_of_control", control.name, control.accuracy))
        rows.append(("p_holm_of_control", control.name, control.p_holm))
    for point in () if curve is None else curve.points:
        rows.append(("accuracy_at_shots", point.shots, point.accuracy))
        rows.append(("accuracy_at_shots_low", point.shots, point.low))
        rows.append(("accuracy_at_shots_high", point.shots, point.high))
    print_csv(("metric", "label", "value"), rows)


def _show(session: Session, record: Record, curve: ShotCurve | None) -> None:
    """Print the numbers for a person."""
    m = record.metrics
    rows = [(words, number(m.get(key))) for key, words in _HEADLINE if m.get(key) is not None]
    rows[0] = (
        rows[0][0],
        f"{m['accuracy']:.3f}  [{m['accuracy_low']:.3f}, {m['accuracy_high']:.3f}]",
    )
    if record.cost_usd:
        rows.append(("cost", dollars(record.cost_usd)))
    print_table(session, ("measure", "value"), rows, title=record.name)
    scores = [
        [label, *(number(row[k]) for k in ("precision", "recall", "f1", "support"))]
        for label, row in record.per_class.items()
    ]
    header = ("label", "precision", "recall", "F1", "support")
    print_table(session, header, scores, right=[1, 2, 3, 4])
    confused = _most_confused(record)
    if confused:
        print_table(session, ("actual", "answered", "times"), confused, right=[2])
    if record.controls is not None:
        _show_controls(session, record.controls)
    unparsed = [
        [row.rule, str(row.n_answers), row.meaning] for row in record.parsing if row.rule != "exact"
    ]
    if unparsed:
        print_table(session, ("rule", "answers", "meaning"), unparsed, right=[1])
    if curve is not None:
        _show_curve(session, curve)


def _show_controls(session: Session, found: Controls) -> None:
    """Print what comes without the descriptions."""
    rows = [
        [
            control.words,
            number(control.accuracy) + (f" ± {control.sd:.3f}" if control.sd is not None else ""),
            f"{100 * control.difference:+.1f}",
            f"[{100 * control.low:+.1f}, {100 * control.high:+.1f}]",
            "< 0.001" if control.p_holm < 0.001 else number(control.p_holm),
        ]
        for control in found.controls
    ]
    header = ("without them", "accuracy", "gain", "95 % interval", "p (Holm)")
    title = f"What the {'random words' if found.method == 'waffle' else 'descriptions'} gain"
    print_table(session, header, rows, title=title, right=[1, 2, 4])


def _most_confused(record: Record, n: int = 5) -> list[list[str]]:
    """List the most frequent mistakes: actual label, answered label, how often."""
    confusion = record.confusion[:, :-1].copy()
    k = len(record.classes)
    confusion[range(k), range(k)] = 0
    order = confusion.ravel().argsort(kind="stable")[::-1][:n]
    return [
        [record.classes[i // k], record.classes[i % k], str(confusion[i // k, i % k])]
        for i in order.tolist()
        if confusion[i // k, i % k] > 1
    ]


def _show_curve(session: Session, curve: ShotCurve) -> None:
    """Print the shot curve for a person."""
    rows = [
        [
            str(p.shots),
            number(p.accuracy),
            p.note if p.accuracy is None else f"[{number(p.low)}, {number(p.high)}]",
        ]
        for p in curve.points
    ]
    print_table(
        session, ("shots", "accuracy", "95 % interval"), rows, title=curve.sentence, right=[0, 1]
    )
