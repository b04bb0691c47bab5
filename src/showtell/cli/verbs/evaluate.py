"""`showtell evaluate`: how often is it right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import typer

import showtell.evaluate as measuring
from showtell import recipes, runs
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.data import data_of
from showtell.cli.ending import Writing, fail_without_answers
from showtell.cli.output import check_output, check_page
from showtell.cli.recipes import begin_job, given_here, given_labels, names_in, recipe_of
from showtell.cli.records import print_record, sum_up
from showtell.cli.session import begin
from showtell.errors import InputError, RunError, RunInterrupt

EPILOG = """# Examples

showtell evaluate butterflies/ --shots 5 --report report.html

showtell evaluate photos.csv --label-column species --method linear --test-size 0.3

showtell evaluate butterflies/ --curve --curve-shots 0,1,5,20 --seeds 5

showtell evaluate butterflies/ --model google:gemini-2.5-flash --shots 5 --anonymise --max-cost 2

showtell evaluate --predictions answers.csv --actual truth --predicted answer
"""

_ANSWERS = "Score answers that exist already"
_CURVE = "Shot curve"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What `evaluate` is told."""

    # fmt: off
    data: Annotated[str | None, o.MEASURED] = None
    sought: g.LabelOptions
    method: o.Method = "auto"
    shots: o.Shots = None
    encoder: o.EncoderName = "mini"
    classifier: o.Classifier = None
    words: g.EncoderOptions
    controls: o.Controls = True
    transductive: o.Transductive = None
    abstain_below: o.AbstainBelow = None
    seed: o.Seed = 0
    asked: g.AskOptions
    jobs: o.Jobs = False
    no_wait: o.NoWait = False
    test_size: o.TestSize = None
    limit: o.Limit = None
    columns: g.ColumnOptions
    boxes: o.Boxes = None
    check_duplicates: o.CheckDuplicates = True
    curve: Annotated[bool, o.option(
        "--curve", _CURVE, common=True, help="Measure several numbers of examples per label.")
    ] = False
    curve_shots: Annotated[str, o.option(
        "--curve-shots K,K,...", _CURVE, help="Which numbers.")] = "0,1,2,5,10,20"
    seeds: Annotated[int, o.option("--seeds N", _CURVE, min=1, help="Draws per number.")] = 5
    predictions: Annotated[str | None, o.option(
        "--predictions TABLE", _ANSWERS, common=True,
        help="A table with the truth and somebody's answers, as words.")] = None
    actual: Annotated[str | None, o.option(
        "--actual COL", _ANSWERS, help="Its column with the truth.")] = None
    predicted: Annotated[str | None, o.option(
        "--predicted COL", _ANSWERS, help="Its column with the answers.")] = None
    confidence: Annotated[str | None, o.option(
        "--confidence COL", _ANSWERS,
        help="Its column with how sure the answer is, 0 to 1.")] = None
    output: o.Output = None
    proba: o.Proba = False
    escape_formulas: o.EscapeFormulas = False
    report: o.Report = None
    run: o.RunFolder = None
    json: o.Json = False
    local: g.LocalOptions
    # fmt: on


@g.grouped
def evaluate(ctx: typer.Context, *, given: EvaluateOptions) -> None:
    """Classify labelled images and measure how often the answer is right, and how sure.

    Images of test/ are scored and those of train/ learned from, unless --shots 0 or --method
    zero-shot say otherwise; the last line says which it was. Without such folders zero-shot scores
    everything; --shots, --test-size and methods that learn set a part aside.
    With --predictions no image is looked at: answers that exist already are scored.
    """
    session = begin(ctx)
    output = given.output
    check_output(output)
    check_page(given.report)
    label_set = given_labels(given.sought.labels, given.sought.labels_file)
    _check(given)
    data = None if given.data is None else data_of(session, ctx, given.data)
    shown = data is not None and (data.offers_examples or (given.curve and given.shots != 0))
    scored = [given.predictions, given.actual, given.predicted]
    scores = given.predictions is not None and not given_here(ctx, "model")
    recipe = recipes.Recipe() if scores else recipe_of(ctx, shows=shown)
    job = runs.MeasuringJob(
        recipe=recipe,
        inputs={
            "data": given.data,
            "labels": names_in(label_set),
            "examples": given.sought.examples,
            "test_size": given.test_size,
            "limit": given.limit,
            "curve": [given.curve_shots, given.seeds] if given.curve else None,
            "predictions": scored if given.predictions else None,
            **({} if given.boxes is None else {"boxes": given.boxes}),
        },
        run=given.run,
        tell=session.tell,
        curve=runs.curve_numbers(given.curve_shots) if given.curve else None,
        seeds=given.seeds,
    )
    learns = recipe.learns(available=shown)
    job.check_curve(learns=learns)
    writing = Writing(session)
    keep_rows = partial(
        writing.predictions, proba=given.proba, escape_formulas=given.escape_formulas
    )
    shots = None
    if data is None:
        if recipe.model is not None:
            raise InputError("--predictions scores answers that exist already: leave out --model.")
        job.claim()
        record = measuring.score_predictions(
            str(given.predictions),
            given.actual,
            given.predicted,
            labels=names_in(label_set),
            aliases=None if label_set is None else label_set.aliases,
            confidence=given.confidence,
        )
    else:
        begin_job(session, ctx, job)
        parts = data.parted(needs_examples=learns)
        job.recipe = replace(recipe, labels=label_set or parts.label_set)
        try:
            with session.progress() as progress:
                record, shots = job.measure_parts(
                    parts, learns=learns, controls=given.controls, progress=progress
                )
        except (RunError, RunInterrupt) as stop:  # no score of a part; its rows are kept
            if stop.predictions is not None and output is not None:
                said = f"{output}, with what was answered so far"
                keep_rows(stop.predictions, output, said=said)
            raise
    silent = output is not None
    writing.print(lambda: print_record(session, record, shots, json=given.json, silent=silent))
    if output is not None:
        keep_rows(record.predictions, output)
    writing.page(given.report, lambda page: record.report(page, curve=shots))
    writing.keep(job, lambda: job.keep(record), lambda page: record.report(page, curve=shots))
    sum_up(session, job, record)
    fail_without_answers(session, ("", record.predictions))
    writing.end()


def _check(given: EvaluateOptions) -> None:
    """Refuse both or neither of what may be measured."""
    if given.predictions is None and given.data is None:
        raise InputError(
            "What should be measured? Give DATA, a folder with a folder per label or a table, or "
            "answers to score with --predictions TABLE --actual COL --predicted COL."
        )
    if given.predictions is not None and given.data is not None:
        raise InputError(f"--predictions scores a table; leave out DATA ({given.data!r}).")
