"""`showtell classify`: a label for each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

import showtell.evaluate as measuring
from showtell import datasets, runs
from showtell.cli import options as o
from showtell.cli.data import examples_of, images_of, n_among
from showtell.cli.ending import Writing, fail_without_answers
from showtell.cli.groups import (
    BudgetOptions,
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
    summary_of,
    what_it_took,
)
from showtell.cli.recipes import begin_job, given_labels, recipe_of
from showtell.cli.session import Session, begin
from showtell.evaluate.provenance import about_estimator

if TYPE_CHECKING:
    from pathlib import Path

    from showtell.classify import Predictions
    from showtell.classify.base import MediaClassifier
    from showtell.datasets import Dataset

__all__ = ["add_to", "classify"]

_EPILOG = """# Examples

showtell classify photos/ --labels "cat,dog,garden"

showtell classify photos/ --labels-file labels.txt -o labels.csv --report page.html

showtell classify photos/ --examples sorted/ --abstain-below 0.6

showtell classify photos/ --examples sorted/ --sets 0.9

showtell classify photos/ --labels "cat,dog" --model google:gemini-2.5-flash --max-cost 1

showtell classify photos/ --examples sorted/ --shots 3 --model ollama:llava --run tuesday/

showtell classify photos/ -l "cat,dog" --model openai:gpt-4.1 --jobs --run jobs/ --no-wait

find . -name "*.jpg" | showtell classify - --labels "cat,dog" --json
"""


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("classify", help=o.paragraphs(classify.__doc__), epilog=_EPILOG)(classify)


@grouped
def classify(
    ctx: typer.Context,
    *,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Files, folders, globs, URLs, tables with a column of images, or - for a list "
            "on standard input.",
        ),
    ],
    sought: LabelOptions,
    method: o.Method = "auto",
    encoder: o.EncoderName = "mini",
    words: EncoderOptions,
    transductive: o.Transductive = None,
    shots: o.Shots = None,
    abstain_below: o.AbstainBelow = None,
    sets: o.Sets = None,
    seed: o.Seed = 0,
    called: ModelOptions,
    caps: BudgetOptions,
    questions: PromptOptions,
    sending: RequestOptions,
    jobs: o.Jobs = False,
    no_wait: o.NoWait = False,
    limit: o.Limit = None,
    image_column: o.ImageColumn = None,
    boxes: o.Boxes = None,
    output: o.Output = None,
    proba: o.Proba = False,
    report: o.Report = None,
    run: o.RunFolder = None,
    json: o.Json = False,
    threads: o.Threads = None,
    store: o.Store = True,
    saying: TalkOptions,
) -> None:
    """Give each image one of the labels you name, or one of those you show examples of.

    One row per image, in order: image, label, confidence, status, error. An image that cannot
    be read gets a row that says why; the others are not affected.

    With --model a multimodal LLM is asked, and rows also tell what they cost: cost_usd,
    input_tokens, output_tokens, from_cache, seconds, and reason where there is no label.
    """
    session = begin(ctx, saying)
    datasets.check_arguments(images)
    check_output(output)
    check_page(report)
    label_set = given_labels(sought.labels, sought.labels_file)
    shows = sought.examples is not None and shots != 0
    recipe = recipe_of(ctx, shows=shows, labels=label_set)
    job = runs.Job(
        recipe=recipe,
        inputs={
            "images": list(images),
            "labels": None if label_set is None else list(label_set.labels),
            "examples": sought.examples,
            "limit": limit,
            **({} if boxes is None else {"boxes": boxes}),
            **({} if sets is None else {"sets": sets}),
        },
        run=run,
        tell=session.tell,
    )
    if job.claim():
        session.detail(f"Going on in {run}.")
    begin_job(session, ctx, job)
    data = images_of(session, images, image_column, limit, seed, boxes)
    support = examples_of(sought.examples)
    held = None
    if sets is not None:
        support, held = job.parted_for_sets(support)
    classifier = job.fit(support)
    _note_if_shown(session, classifier, data, support)
    session.detail(
        f"{type(classifier).__name__} with {recipe.model or encoder}, "
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
    if json:
        writing.print(lambda: print_json(_as_json(predictions, proba=proba)))
    elif output is None:
        writing.print(lambda: print_predictions(session, predictions, proba=proba))
    if output is not None:
        written = writing.write(output, lambda: predictions.write(output, proba=proba))
        if not written and not json:  # what was paid for is not lost for want of a place
            writing.print(lambda: print_predictions(session, predictions, proba=proba))
    _write_more(session, writing, job, classifier, data, predictions, report, done=stop is None)
    how = job.how(about_estimator(classifier))
    summary = f"{summary_of(predictions, session.seconds)}; {how}"
    if job.meters:
        summary += f"; {what_it_took(runs.taken(job.meters, [predictions]))}"
    session.summary(summary)
    if stop is not None:
        raise stop
    fail_without_answers(session, ("", predictions))
    writing.end()


def _as_json(predictions: Predictions, *, proba: bool) -> dict[str, Any]:
    return {
        "n_images": len(predictions),
        "counts": predictions.counts,
        "labels": list(predictions.classes),
        "predictions": list(predictions.rows(proba=proba)),
    }


def _write_more(
    session: Session,
    writing: Writing,
    job: runs.Job,
    classifier: MediaClassifier,
    data: Dataset,
    predictions: Predictions,
    report: Path | None,
    *,
    done: bool,
) -> None:
    """Write the page that was asked for, and fill the run folder."""
    run = job.run
    if report is None and run is None:
        return
    facts = job.facts(classifier, data, session.seconds)

    def draw(page: Path) -> None:
        measuring.write_gallery(predictions, data.images, page, run=facts)

    if report is not None:
        writing.write(report, lambda: draw(report))
    if run is None:
        return
    if not run.is_dir():
        writing.fail(run, "it was moved or removed while the run went on.")
        return
    state = "finished" if done else "stopped"
    kept = writing.write(
        run, lambda: job.keep_predictions(predictions, facts, state=state), said=None
    )
    if writing.write(run / "report.html", lambda: draw(run / "report.html"), said=None) and kept:
        say_what_is_kept(session, run)


def _note_if_shown(
    session: Session, classifier: MediaClassifier, data: Dataset, support: Dataset | None
) -> None:
    """Say how many images the classifier was shown with their labels: knowing these is no feat."""
    rows = getattr(classifier, "support_", None)
    if session.quiet or support is None or rows is None:
        return
    if not isinstance(support.images, list | tuple):
        return  # read from a table row by row: looking would mean reading
    n = n_among(data.images, (support.images[int(row)] for row in rows))
    if n:
        what = "is among the examples, so its label says"
        if n > 1:
            what = "are among the examples, so their labels say"
        session.note(f"{counted(n, 'image')} {what} nothing about new pictures.")
