"""`showtell classify`: a label for each image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from showtell.cli import options as o
from showtell.cli.asking import asking_of, start_asking, watch_jobs, what_it_took
from showtell.cli.choices import Choices, given_labels, make_classifier, remarks
from showtell.cli.data import examples_of, n_among
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
    note_if_all_failed,
    print_json,
    print_predictions,
    summary_of,
)
from showtell.cli.runs import until_stopped
from showtell.cli.session import Session, begin

if TYPE_CHECKING:
    from showtell.classify.base import MediaClassifier
    from showtell.classify.predictions import Predictions
    from showtell.datasets import Dataset

__all__ = ["add_to", "classify"]

_EPILOG = """# Examples

showtell classify photos/ --labels "cat,dog,garden"

showtell classify photos/ --labels-file labels.txt -o labels.csv --report page.html

showtell classify photos/ --examples sorted/ --abstain-below 0.6

showtell classify photos/ --labels "cat,dog" --model google:gemini-2.5-flash --max-cost 1

showtell classify photos/ --examples sorted/ --shots 3 --model ollama:llava --run tuesday/

showtell classify photos/ -l "cat,dog" --model openai:gpt-4.1 --batch-api --run jobs/ --no-wait

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
    seed: o.Seed = 0,
    called: ModelOptions,
    caps: BudgetOptions,
    questions: PromptOptions,
    sending: RequestOptions,
    batch_api: o.BatchApi = False,
    no_wait: o.NoWait = False,
    limit: o.Limit = None,
    image_column: o.ImageColumn = None,
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
    from showtell.datasets.expand import check_arguments

    session = begin(ctx, saying)
    check_arguments(images)
    check_output(output)
    check_page(report)
    method, asking = asking_of(ctx, method, shows=sought.examples is not None and shots != 0)
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
    label_set = given_labels(sought.labels, sought.labels_file)
    request: dict[str, Any] = {
        "verb": "classify",
        "images": list(images),
        "labels": None if label_set is None else list(label_set.labels),
        "examples": sought.examples,
        "limit": limit,
        **choices.as_request(),
    }
    if run is not None:
        from showtell.cli.runs import claim

        if claim(run, request):
            session.detail(f"Going on in {run}.")
    if asking is not None:
        asking = start_asking(session, ctx, asking, run=run)
        choices = replace(choices, asking=asking)
    data = _images(session, images, image_column, limit, seed)
    support = examples_of(sought.examples)
    classifier = make_classifier(choices, label_set, support)
    for remark in remarks(choices, classifier, support):
        session.note(remark)
    _note_if_shown(session, classifier, data, support)
    session.detail(
        f"{type(classifier).__name__} with {encoder if asking is None else asking.model}, "
        f"{counted(len(classifier.classes_), 'label')}"
    )
    with session.progress() as progress:
        watched = watch_jobs(session, asking, progress)
        predictions, stop = until_stopped(
            lambda: classifier.classify(data.images, progress=watched)
        )
    facts = _facts(session, classifier, data) if report is not None or run is not None else {}
    _write(session, data, predictions, facts, output=output, proba=proba, report=report)
    if run is not None:
        state = "finished" if stop is None else "stopped"
        _keep(session, run, request, data, predictions, facts, state=state)
    if json:
        print_json(
            {
                "n_images": len(predictions),
                "counts": predictions.counts,
                "labels": list(predictions.classes),
                "predictions": list(predictions.rows(proba=proba)),
            }
        )
    elif output is None:
        print_predictions(session, predictions, proba=proba)
    summary = summary_of(predictions, session.seconds)
    if asking is not None and asking.meter is not None:
        summary += f"; {what_it_took(asking.meter, [predictions])}"
    session.summary(summary)
    if stop is None:
        note_if_all_failed(session, predictions)
    if stop is not None:
        raise stop


def _images(
    session: Session, arguments: list[str], image_column: str | None, limit: int | None, seed: int
) -> Dataset:
    """Find the images; a sample of them where --limit asks for one."""
    from showtell.datasets import expand_images, limit_dataset

    data = expand_images(arguments, image_column=image_column)
    for note in data.notes:
        session.note(note)
    return data if limit is None else limit_dataset(data, limit, seed)


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


def _write(
    session: Session,
    data: Dataset,
    predictions: Predictions,
    facts: dict[str, Any],
    *,
    output: Path | None,
    proba: bool,
    report: Path | None,
) -> None:
    """Write the table and the page that were asked for."""
    if output is not None:
        predictions.write(output, proba=proba)
        session.summary(f"wrote {output}")
    if report is not None:
        from showtell.evaluate import write_gallery

        write_gallery(predictions, data.images, report, run=facts)
        session.summary(f"wrote {report}")


def _facts(session: Session, classifier: MediaClassifier, data: Dataset) -> dict[str, Any]:
    """Say what was run on what."""
    from showtell.evaluate.provenance import about_data, about_estimator, about_machine, now

    return {
        "name": data.name or "classify",
        "estimator": about_estimator(classifier),
        "data": about_data(data),
        "finished": now(),
        "seconds": round(session.seconds, 3),
        **about_machine(),
    }


def _keep(
    session: Session,
    folder: Path,
    request: dict[str, Any],
    data: Dataset,
    predictions: Predictions,
    facts: dict[str, Any],
    *,
    state: str,
) -> None:
    """Fill the run folder."""
    from importlib.util import find_spec

    from showtell.cli.runs import finish
    from showtell.evaluate import write_gallery

    file = f"predictions.{'parquet' if find_spec('pyarrow') is not None else 'csv'}"
    predictions.write(folder / file, proba=True)
    write_gallery(predictions, data.images, folder / "report.html", run=facts)
    totals: dict[str, Any] = {"n_images": len(predictions)}
    totals |= {str(k): n for k, n in predictions.counts.items()}
    if "cost_usd" in predictions.columns:
        costs = predictions.columns["cost_usd"]
        totals["cost_usd"] = None if None in costs else str(sum(costs))
        doubt = predictions.in_doubt_usd
        totals["n_requests_in_doubt"] = predictions.n_in_doubt
        totals["in_doubt_usd"] = None if doubt is None else str(doubt)
    finish(
        folder,
        request,
        {
            "predictions": file,
            "labels": list(predictions.classes),
            "totals": totals,
            "run": facts,
        },
        state=state,
    )
    session.summary(f"kept in {folder}: {', '.join(sorted(p.name for p in folder.iterdir()))}")
