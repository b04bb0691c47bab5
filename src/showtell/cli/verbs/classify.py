"""`showtell classify`: a label for each image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

import showtell.evaluate as measuring
from showtell import datasets, runs
from showtell.classify.chain.opening import holds_cascade, student_folder
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.data import images_of, note_if_shown
from showtell.cli.ending import Writing, fail_without_answers
from showtell.cli.output import (
    check_output,
    check_page,
    counted,
    summary_of,
    what_it_took,
)
from showtell.cli.recipes import begin_job, given_labels, names_in, recipe_of, saved_job
from showtell.cli.session import begin
from showtell.errors import JobsPendingError, RunError
from showtell.evaluate.provenance import about_estimator

if TYPE_CHECKING:
    pass

EPILOG = """# Examples

showtell classify photos/ --labels "cat,dog,garden"

showtell classify photos/ --labels-file labels.txt -o labels.csv --report page.html

showtell classify photos/ --examples sorted/ --sets 0.9

showtell classify photos/ --labels "cat,dog" --model google:gemini-2.5-flash --max-cost 1

showtell classify photos/ --classifier student/

showtell classify photos/ -l "cat,dog" --model openai:gpt-4.1 --jobs --run jobs/ --no-wait

find . -name "*.jpg" | showtell classify - --labels "cat,dog" --json
"""


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions:
    """What `classify` is told."""

    images: o.Images
    sought: g.LabelOptions
    classifier: o.Saved = None
    method: o.Method = "auto"
    encoder: o.EncoderName = "mini"
    words: g.EncoderOptions
    transductive: o.Transductive = None
    shots: o.Shots = None
    abstain_below: o.AbstainBelow = None
    sets: o.Sets = None
    seed: o.Seed = 0
    asked: g.AskOptions
    jobs: o.Jobs = False
    no_wait: o.NoWait = False
    limit: o.Limit = None
    image_column: o.ImageColumn = None
    boxes: o.Boxes = None
    output: o.Output = None
    proba: o.Proba = False
    escape_formulas: o.EscapeFormulas = False
    report: o.Report = None
    run: o.RunFolder = None
    json: o.Json = False
    local: g.LocalOptions


@g.grouped
def classify(ctx: typer.Context, *, given: ClassifyOptions) -> None:
    """Give each image one of the labels you name, or one of those you show examples of.

    One row per image, in order: image, label, confidence, status, error. An image that cannot
    be read gets a row that says why; the others are not affected.

    With --model a multimodal LLM is asked, and rows also tell what they cost: cost_usd,
    input_tokens, output_tokens, from_cache, seconds, and reason where there is no label.
    """
    session = begin(ctx)
    datasets.check_arguments(given.images)
    check_output(given.output)
    check_page(given.report)
    saved = given.classifier
    asks = saved is not None and given.asked.called.model is not None and holds_cascade(saved)
    sought = given.sought if saved is None else g.LabelOptions()
    label_set = given_labels(sought.labels, sought.labels_file)
    sets = given.sets if saved is None else None
    inputs = {
        "images": list(given.images),
        "labels": names_in(label_set),
        "examples": sought.examples,
        "limit": given.limit,
        **({} if given.boxes is None else {"boxes": given.boxes}),
        **({} if sets is None else {"sets": sets}),
    }
    if saved is None or asks:
        shows = sought.examples is not None and given.shots != 0
        recipe = recipe_of(ctx, shows=shows, labels=label_set)
        job = runs.Job(recipe=recipe, inputs=inputs, run=given.run, tell=session.tell)
    else:
        job = saved_job(session, ctx, str(student_folder(saved)), inputs)
    begin_job(session, ctx, job)
    data = images_of(
        session, given.images, given.image_column, given.limit, given.seed, given.boxes
    )
    support = runs.examples_of(sought.examples)
    held = None
    if sets is not None:
        support, held = job.parted_for_sets(support)
    try:
        classifier = job.load() if isinstance(job, runs.SavedJob) else job.fit(support)
    except (RunError, KeyboardInterrupt) as ended:  # while a model was asked to learn from
        if not isinstance(ended, JobsPendingError):
            given_up = job.nothing_asked(data, ended)
            Writing(session).predictions(given_up, given.output, proba=False, json=given.json)
        raise
    note_if_shown(session, classifier, data, support)
    session.detail(
        f"{type(classifier).__name__} with {job.recipe.model or given.encoder}, "
        f"{counted(len(classifier.classes_), 'label')}"
    )
    with session.progress() as progress:
        rule = None
        if held is not None and sets is not None:
            rule = job.calibrate_sets(classifier, held, sets, progress=progress)
        predictions, stop = job.classify(classifier, data, progress=progress)
    if rule is not None:
        predictions = rule.added_to(predictions)
    writing = Writing(session)
    writing.predictions(
        predictions,
        given.output,
        proba=given.proba,
        escape_formulas=given.escape_formulas,
        json=given.json,
    )
    if given.report is not None or given.run is not None:
        facts = job.facts(classifier, data, session.seconds)
        state = "finished" if stop is None else "stopped"

        def draw(page: Path) -> None:
            measuring.write_gallery(predictions, data.images, page, run=facts)

        writing.page(given.report, draw)
        writing.keep(job, lambda: job.keep_predictions(predictions, facts, state=state), draw)
    summary = f"{summary_of(predictions, session.seconds)}; {job.how(about_estimator(classifier))}"
    if job.meters:
        summary += f"; {what_it_took(runs.taken(job.meters, [predictions]))}"
    session.summary(summary)
    if stop is not None:
        raise stop
    fail_without_answers(session, ("", predictions))
    writing.end()
