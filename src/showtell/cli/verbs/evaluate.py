"""`showtell evaluate`: how often is it right."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from showtell.cli import options as o
from showtell.cli.asking import (
    asking_of,
    dollars,
    given_here,
    start_asking,
    watch_jobs,
    what_it_took,
)
from showtell.cli.choices import Choices, given_labels, make_classifier, remarks
from showtell.cli.data import Parts, examples_of, parts_to_measure
from showtell.cli.groups import (
    BudgetOptions,
    ColumnOptions,
    EncoderOptions,
    LabelOptions,
    ModelOptions,
    PromptOptions,
    RequestOptions,
    TalkOptions,
    grouped,
)
from showtell.cli.output import (
    check_output,
    check_page,
    counted,
    note_if_all_failed,
    number,
    print_csv,
    print_json,
    print_table,
)
from showtell.cli.session import Session, begin, is_terminal
from showtell.errors import InputError, RunError, RunInterrupt

if TYPE_CHECKING:
    from showtell.datasets import LabelSet
    from showtell.evaluate import Controls, Record, ShotCurve

__all__ = ["add_to", "evaluate"]

_EPILOG = """# Examples

showtell evaluate butterflies/ --report report.html

showtell evaluate butterflies/ --shots 5 --json

showtell evaluate photos.csv --label-column species --method linear --test-size 0.3

showtell evaluate butterflies/ --curve --curve-shots 0,1,5,20 --seeds 5

showtell evaluate butterflies/ --model google:gemini-2.5-flash --shots 5 --anonymise --max-cost 2

showtell evaluate --predictions answers.csv --actual truth --predicted answer
"""

_ANSWERS = "Score answers that exist already"
_CURVE = "Shot curve"

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


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("evaluate", help=o.paragraphs(evaluate.__doc__), epilog=_EPILOG)(evaluate)


@grouped
def evaluate(
    ctx: typer.Context,
    *,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A folder with a folder per label (train/ and test/ above them are used), or a "
            "table with a column of images and one of labels.",
        ),
    ] = None,
    sought: LabelOptions,
    method: o.Method = "auto",
    shots: o.Shots = None,
    encoder: o.EncoderName = "mini",
    words: EncoderOptions,
    controls: o.Controls = True,
    transductive: o.Transductive = None,
    abstain_below: o.AbstainBelow = None,
    seed: o.Seed = 0,
    called: ModelOptions,
    caps: BudgetOptions,
    questions: PromptOptions,
    sending: RequestOptions,
    batch_api: o.BatchApi = False,
    no_wait: o.NoWait = False,
    test_size: o.TestSize = None,
    limit: o.Limit = None,
    columns: ColumnOptions,
    check_duplicates: o.CheckDuplicates = True,
    curve: Annotated[
        bool,
        o.option(
            "--curve",
            panel=_CURVE,
            common=True,
            help="Measure several numbers of examples per label.",
        ),
    ] = False,
    curve_shots: Annotated[
        str,
        o.option("--curve-shots", panel=_CURVE, metavar="K,K,...", help="Which numbers."),
    ] = "0,1,2,5,10,20",
    seeds: Annotated[
        int, o.option("--seeds", panel=_CURVE, min=1, metavar="N", help="Draws per number.")
    ] = 5,
    predictions: Annotated[
        str | None,
        o.option(
            "--predictions",
            panel=_ANSWERS,
            common=True,
            metavar="TABLE",
            help="A table with the truth and somebody's answers, as words.",
        ),
    ] = None,
    actual: Annotated[
        str | None,
        o.option("--actual", panel=_ANSWERS, metavar="COL", help="Its column with the truth."),
    ] = None,
    predicted: Annotated[
        str | None,
        o.option("--predicted", panel=_ANSWERS, metavar="COL", help="Its column with the answers."),
    ] = None,
    confidence: Annotated[
        str | None,
        o.option(
            "--confidence",
            panel=_ANSWERS,
            metavar="COL",
            help="Its column with how sure the answer is, 0 to 1.",
        ),
    ] = None,
    output: o.Output = None,
    proba: o.Proba = False,
    report: o.Report = None,
    run: o.RunFolder = None,
    json: o.Json = False,
    threads: o.Threads = None,
    store: o.Store = True,
    saying: TalkOptions,
) -> None:
    """Classify labelled images and measure how often the answer is right, and how sure it was.

    Images of test/ are scored; examples to learn from come from train/. Without such folders
    zero-shot scores everything, and other methods set a part aside (--test-size).
    With --predictions no image is looked at: answers that exist already are scored.
    """
    session = begin(ctx, saying)
    check_output(output)
    check_page(report)
    label_set = given_labels(sought.labels, sought.labels_file)
    shows = (curve or shots is not None or sought.examples is not None) and shots != 0
    method, asking = asking_of(ctx, method, shows=shows)
    if predictions is not None and not given_here(ctx, "model"):
        asking, method = None, "auto"
    choices = Choices(
        encoder=encoder,
        method=method,
        **words.chosen(),
        transductive=transductive,
        shots=shots,
        abstain_below=abstain_below,
        seed=seed,
        threads=threads,
        store=store,
        asking=asking,
    )
    request: dict[str, Any] = {
        "verb": "evaluate",
        "data": data,
        "labels": None if label_set is None else list(label_set.labels),
        "examples": sought.examples,
        "test_size": test_size,
        "limit": limit,
        "curve": [curve_shots, seeds] if curve else None,
        "predictions": [predictions, actual, predicted] if predictions else None,
        **choices.as_request(),
    }
    if predictions is None and data is None:
        raise InputError(
            "What should be measured? Give DATA, a folder with a folder per label or a table, or "
            "answers to score with --predictions TABLE --actual COL --predicted COL."
        )
    if predictions is not None and data is not None:
        raise InputError(f"--predictions scores a table; leave out DATA ({data!r}).")
    numbers = _numbers(curve_shots) if curve else None
    learns = choices.wants_examples(
        available=curve or shots is not None or sought.examples is not None
    )
    if curve and (not learns or method in ("direct", "fusion", "likelihood", "evolving")):
        raise InputError(
            "--curve learns from examples; --method zero-shot, direct, likelihood and --shots 0 do "
            "not, and evolving is measured with one --shots at a time."
        )
    if curve and batch_api:
        raise InputError(
            "--curve asks one time after another, and each would take up to a day with --batch-api:"
            " leave out one of them."
        )
    if run is not None:
        from showtell.cli.runs import claim

        claim(run, request)
    if asking is not None:
        if predictions is not None:
            raise InputError("--predictions scores answers that exist already: leave out --model.")
        asking = start_asking(session, ctx, asking, run=run, steps=2 if curve else 1)
        choices = replace(choices, asking=asking)
    the_curve: ShotCurve | None = None
    if predictions is not None:
        record = _score(predictions, actual, predicted, confidence, label_set)
    else:
        assert data is not None
        parts = parts_to_measure(
            session,
            data,
            asdict(columns),
            labels_file=sought.labels_file,
            examples=examples_of(sought.examples),
            needs_examples=learns,
            check_duplicates=check_duplicates,
            test_size=test_size,
            limit=limit,
            seed=seed,
        )
        try:
            record, the_curve = _measure(
                session,
                choices,
                label_set or parts.label_set,
                parts,
                learns,
                numbers,
                seeds,
                controls=controls,
            )
        except (RunError, RunInterrupt) as stop:  # no score of a part; its rows are kept
            if output is not None and stop.predictions is not None:
                stop.predictions.write(output, proba=proba)
                session.summary(f"wrote {output}, with what was answered so far")
            raise
    _write(session, record, the_curve, output=output, proba=proba, report=report, run=run)
    if run is not None:
        from showtell.cli.runs import finish

        finish(run, request, None)
    if json:
        extra = {} if the_curve is None else {"curve": the_curve.to_dict()}
        print_json({**record.to_dict(), **extra})
    elif is_terminal(sys.stdout):
        _show(session, record, the_curve)
    elif output is None:
        _print_metrics(record, the_curve)
    m = record.metrics
    took = ""
    if asking is not None and asking.meter is not None:
        took = f"; {what_it_took(asking.meter, [record.predictions])}"
    session.summary(
        f"{counted(m['n_samples'], 'sample')}: accuracy {m['accuracy']:.3f} "
        f"[{m['accuracy_low']:.3f}, {m['accuracy_high']:.3f}], {m['n_abstained']:,} abstained, "
        f"{counted(m['n_errors'], 'error')}; {session.seconds:.1f} s{took}"
    )
    note_if_all_failed(session, record.predictions)
    if record.controls is not None:
        session.summary(record.controls.sentence)


def _measure(
    session: Session,
    choices: Choices,
    label_set: LabelSet,
    parts: Parts,
    learns: bool,
    curve_shots: tuple[int, ...] | None,
    seeds: int,
    *,
    controls: bool,
) -> tuple[Record, ShotCurve | None]:
    """Classify what is to be scored, and run the shot curve where one was asked for."""
    from showtell.evaluate import evaluate as measure
    from showtell.evaluate import shot_curve

    classifier = make_classifier(choices, label_set, parts.support if learns else None)
    for remark in remarks(choices, classifier, parts.support):
        session.note(remark)
    with session.progress() as progress:
        watched = watch_jobs(session, choices.asking, progress)
        record = measure(classifier, parts.test, controls=controls, progress=watched)
        if curve_shots is None or parts.support is None:
            return record, None
        try:
            curve = shot_curve(
                classifier,
                parts.support,
                parts.test,
                shots=curve_shots,
                seeds=seeds,
                progress=progress,
            )
        except (RunError, RunInterrupt) as stop:
            stop.predictions = record.predictions  # not those of a point of the curve
            raise
    return record, curve


def _score(
    table: str,
    actual: str | None,
    predicted: str | None,
    confidence: str | None,
    label_set: LabelSet | None,
) -> Record:
    """Score the answers of a table."""
    from showtell.evaluate import score_predictions

    return score_predictions(
        table,
        actual,
        predicted,
        labels=None if label_set is None else list(label_set.labels),
        aliases=None if label_set is None else label_set.aliases,
        confidence=confidence,
    )


def _numbers(text: str) -> tuple[int, ...]:
    """Read "0,1,5"."""
    try:
        shots = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        shots = ()
    if not shots or min(shots) < 0:
        raise InputError(f"--curve-shots needs numbers like 0,1,5,20; got {text!r}.")
    return shots


def _write(
    session: Session,
    record: Record,
    curve: ShotCurve | None,
    *,
    output: Path | None,
    proba: bool,
    report: Path | None,
    run: Path | None,
) -> None:
    """Write the table, the page and the run folder that were asked for."""
    if output is not None:
        record.predictions.write(output, proba=proba)
        session.summary(f"wrote {output}")
    if report is not None:
        record.report(report, curve=curve)
        session.summary(f"wrote {report}")
    if run is not None:
        record.save(run, report=False)
        record.report(run / "report.html", curve=curve)
        session.summary(f"kept in {run}: {', '.join(sorted(p.name for p in run.iterdir()))}")


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
