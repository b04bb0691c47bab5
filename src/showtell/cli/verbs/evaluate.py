"""`showtell evaluate`: how often is it right."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import showtell.evaluate as measuring
from showtell import recipes, runs
from showtell.classify import table
from showtell.cli import options as o
from showtell.cli.data import Parts, examples_of, labelled_data, offers_examples, parts_to_measure
from showtell.cli.ending import Writing, fail_without_answers
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
    print_json,
    print_predictions,
    say_what_is_kept,
    what_it_took,
)
from showtell.cli.recipes import begin_job, given_here, given_labels, recipe_of
from showtell.cli.records import print_metrics, show_record
from showtell.cli.session import Session, begin, is_terminal
from showtell.errors import InputError, RunError, RunInterrupt

if TYPE_CHECKING:
    from showtell.classify import Predictions
    from showtell.datasets import LabelSet
    from showtell.evaluate import Record, ShotCurve
    from showtell.recipes import Recipe
    from showtell.runs import Job

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
    jobs: o.Jobs = False,
    no_wait: o.NoWait = False,
    test_size: o.TestSize = None,
    limit: o.Limit = None,
    columns: ColumnOptions,
    boxes: o.Boxes = None,
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
    """Classify labelled images and measure how often the answer is right, and how sure.

    Images of test/ are scored and those of train/ learned from, unless --shots 0 or --method
    zero-shot say otherwise; the last line says which it was. Without such folders zero-shot scores
    everything; --shots, --test-size and methods that learn set a part aside.
    With --predictions no image is looked at: answers that exist already are scored.
    """
    session = begin(ctx, saying)
    check_output(output)
    check_page(report)
    label_set = given_labels(sought.labels, sought.labels_file)
    _check(data, predictions)
    known = None
    if data is not None:
        known = labelled_data(
            session, data, {**asdict(columns), "boxes": boxes}, labels_file=sought.labels_file
        )
    shown = known is not None and (
        offers_examples(known, examples=sought.examples, shots=shots, test_size=test_size)
        or (curve and shots != 0)
    )
    if predictions is not None and not given_here(ctx, "model"):
        recipe = recipes.Recipe()
    else:
        recipe = recipe_of(ctx, shows=shown)
    job = runs.Job(
        recipe=recipe,
        verb="evaluate",
        inputs={
            "data": data,
            "labels": None if label_set is None else list(label_set.labels),
            "examples": sought.examples,
            "test_size": test_size,
            "limit": limit,
            "curve": [curve_shots, seeds] if curve else None,
            "predictions": [predictions, actual, predicted] if predictions else None,
            **({} if boxes is None else {"boxes": boxes}),
        },
        run=run,
        steps=2 if curve else 1,
        tell=session.tell,
    )
    numbers = _numbers(curve_shots) if curve else None
    learns = recipe.learns(available=shown)
    if curve:
        _check_curve(recipe, learns=learns)
    job.claim()
    the_curve: ShotCurve | None = None
    if predictions is not None:
        if recipe.model is not None:
            raise InputError("--predictions scores answers that exist already: leave out --model.")
        record = _score(predictions, actual, predicted, confidence, label_set)
    else:
        assert data is not None
        assert known is not None
        begin_job(session, ctx, job)
        parts = parts_to_measure(
            session,
            data,
            known,
            examples=examples_of(sought.examples),
            needs_examples=learns,
            check_duplicates=check_duplicates,
            test_size=test_size,
            limit=limit,
            seed=seed,
        )
        job.recipe = replace(recipe, labels=label_set or parts.label_set)
        try:
            record, the_curve = _measure(
                session, job, parts, numbers, seeds, learns=learns, controls=controls
            )
        except (RunError, RunInterrupt) as stop:  # no score of a part; its rows are kept
            _write_so_far(session, stop.predictions, output, proba=proba)
            raise
    writing = Writing(session)
    writing.print(lambda: _print(session, record, the_curve, output, json=json))
    _write(session, writing, job, record, the_curve, output=output, proba=proba, report=report)
    _sum_up(session, job, record)
    fail_without_answers(session, ("", record.predictions))
    writing.end()


def _write_so_far(
    session: Session, predictions: Predictions | None, output: Path | None, *, proba: bool
) -> None:
    """Write what was answered before something stopped the run; print it where that fails."""
    if predictions is None or output is None:
        return
    writing = Writing(session)
    said = f"{output}, with what was answered so far"
    if not writing.write(output, lambda: predictions.write(output, proba=proba), said):
        writing.print(lambda: print_predictions(session, predictions, proba=proba))


def _print(
    session: Session, record: Record, curve: ShotCurve | None, output: Path | None, *, json: bool
) -> None:
    """Print what was measured."""
    if json:
        extra = {} if curve is None else {"curve": curve.to_dict()}
        print_json({**record.to_dict(), **extra})
    elif is_terminal(sys.stdout):
        show_record(session, record, curve)
    elif output is None:
        print_metrics(record, curve)


def _check(data: str | None, predictions: str | None) -> None:
    """Refuse both or neither of what may be measured."""
    if predictions is None and data is None:
        raise InputError(
            "What should be measured? Give DATA, a folder with a folder per label or a table, or "
            "answers to score with --predictions TABLE --actual COL --predicted COL."
        )
    if predictions is not None and data is not None:
        raise InputError(f"--predictions scores a table; leave out DATA ({data!r}).")


def _check_curve(recipe: Recipe, *, learns: bool) -> None:
    """Refuse a curve over numbers of examples where there is none to be had."""
    if not learns or not recipe.row(examples=True).curves:
        able = ", ".join(row.name for row in table.methods().values() if row.curves)
        raise InputError(
            f"--curve learns from examples, so it goes with the methods {able}, and not with "
            "--shots 0."
        )
    if recipe.option("jobs"):
        raise InputError(
            "--curve asks one time after another, and each would take up to a day as batch jobs:"
            " leave out --curve or `jobs`.",
            param="jobs",
        )


def _measure(
    session: Session,
    job: Job,
    parts: Parts,
    curve_shots: tuple[int, ...] | None,
    seeds: int,
    *,
    learns: bool,
    controls: bool,
) -> tuple[Record, ShotCurve | None]:
    """Classify what is to be scored, and run the shot curve where one was asked for."""
    classifier = job.fit(parts.support if learns else None)
    with session.progress() as progress:
        record = job.measure(classifier, parts.test, controls=controls, progress=progress)
        if curve_shots is None or parts.support is None:
            return record, None
        try:
            curve = measuring.shot_curve(
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


def _sum_up(session: Session, job: Job, record: Record) -> None:
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


def _score(
    table: str,
    actual: str | None,
    predicted: str | None,
    confidence: str | None,
    label_set: LabelSet | None,
) -> Record:
    """Score the answers of a table."""
    return measuring.score_predictions(
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
    writing: Writing,
    job: Job,
    record: Record,
    curve: ShotCurve | None,
    *,
    output: Path | None,
    proba: bool,
    report: Path | None,
) -> None:
    """Write the table, the page and the run folder that were asked for."""
    if output is not None:
        written = writing.write(output, lambda: record.predictions.write(output, proba=proba))
        if not written:
            writing.print(lambda: print_predictions(session, record.predictions, proba=proba))
    if report is not None:
        writing.write(report, lambda: record.report(report, curve=curve))
    run = job.run
    if run is None:
        return

    def keep() -> None:
        record.save(run, report=False)
        job.finish(None)

    kept = writing.write(run, keep, said=None)
    page = run / "report.html"
    if kept and writing.write(page, lambda: record.report(page, curve=curve), said=None):
        say_what_is_kept(session, run)
