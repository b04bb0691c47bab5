"""`showtell explain`: why this label."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

import showtell.explain as explaining
from showtell import runs
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.data import data_of, images_of
from showtell.cli.explanations import print_reasons, show_price, sum_up
from showtell.cli.output import check_page, print_json
from showtell.cli.recipes import begin_job, given_labels, recipe_of
from showtell.cli.session import Session, begin
from showtell.errors import InputError
from showtell.evaluate.provenance import about_estimator

EPILOG = """# Examples

showtell explain rex.jpg --labels "dog,wolf,fox"

showtell explain rex.jpg --examples sorted/ --label dog -o why.html

showtell explain butterflies/ --method linear --limit 50 -o why.html

showtell explain photos/ --method dclip --descriptions words.json -o why.html

showtell explain rex.jpg --examples sorted/ --shots 2 --model openai:gpt-4.1-mini --max-cost 0.50
"""

_WHY = "What to find out"


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """What `explain` is told."""

    # fmt: off
    data: Annotated[list[str], o.argument("DATA|IMAGES...",
        "Files, folders, globs, URLs or tables; or one data set with labels, of which test/ is "
        "explained and train/ may be learned from.")]
    sought: g.LabelOptions
    label: Annotated[str | None, o.option(
        "--label TRUE", _WHY, common=True,
        help="The true label of the images, to ask why it was not the answer.")] = None
    parts: Annotated[str | None, o.option(
        "--parts NAME,...", _WHY,
        help="chances, clues, votes, changes, alike, descriptions, opinions, words, occlusion, "
             "examples, demonstrations. Unless given: what the method has.")] = None
    most: Annotated[int, o.option("--most N", _WHY, min=1, help="How many of each to name.")] = 5
    grid: Annotated[int, o.option(
        "--grid N", _WHY, min=2, max=64,
        help="Squares along the longer side that are covered in turn.")] = 8
    dry_run: Annotated[bool, o.option(
        "--dry-run", _WHY,
        help="Only say what leaving out demonstrations would cost; nothing is asked.")] = False
    method: o.Method = "auto"
    shots: o.Shots = None
    encoder: o.EncoderName = "mini"
    words: g.EncoderOptions
    abstain_below: o.AbstainBelow = None
    seed: o.Seed = 0
    asked: g.AskOptions
    test_size: o.TestSize = None
    limit: o.Limit = None
    columns: g.ColumnOptions
    report: Annotated[Path | None, o.option(
        "-o, --report PAGE.html", o.OUTPUT, common=True,
        help="A page to click through, in one file.")] = None
    json: o.Json = False
    local: g.LocalOptions
    # fmt: on


@g.grouped
def explain(ctx: typer.Context, *, given: ExplainOptions) -> None:
    """Say why images get their labels: in words for a few, as a page for many.

    An encoder is watched while parts of the picture are covered. Descriptions and clues say how
    well they fit. Examples and demonstrations are named that are most alike. With --max-cost or
    --max-requests a model is also asked again without each demonstration, after the price was said.

    Without -o the reasons are printed; with it, a page shows them, and for the method of clues
    also the tree of parts and a card for each label.
    """
    session = begin(ctx)
    check_page(given.report)
    dry_run = given.dry_run
    if dry_run and given.asked.called.model is None:
        raise InputError("--dry-run says what asking a model costs: name one with --model.")
    job, task = _task(session, ctx, given)
    if not dry_run:
        begin_job(session, ctx, job)
    classifier = job.prepare(task.support) if dry_run else job.fit(task.support)
    task = job.limited(task, classifier, given.limit)
    if dry_run or job.asks_again(classifier):
        sums = job.price(classifier, task)
        show_price(session, sums, len(task.images), json=dry_run and given.json)
    if dry_run:
        return
    with session.progress() as progress:
        found = job.explain(classifier, task, most=given.most, grid=given.grid, progress=progress)
    how = job.how(about_estimator(classifier))
    if given.report is not None:
        overview = job.overview(classifier, task, found)
        explaining.write_explanations(found, given.report, overview=overview, how=how)
        session.summary(f"wrote {given.report}")
    if given.json:
        print_json({"explanations": [one.to_dict() for one in found]})
    elif given.report is None:
        print_reasons(session, found)
    sum_up(session, found, job, how)


def _task(
    session: Session, ctx: typer.Context, given: ExplainOptions
) -> tuple[runs.ExplainingJob, runs.Explained]:
    """Find out what is explained: of a labelled data set its test part, or images."""
    sought, label = given.sought, given.label
    data = None
    if label is None and len(given.data) == 1:
        data = data_of(session, ctx, given.data[0], limit=None, check_duplicates=False)
    if data is not None and data.is_labelled:
        shows = data.offers_examples
    else:
        data, shows = None, sought.examples is not None and given.shots != 0
    recipe = recipe_of(ctx, shows=shows)
    label_set = given_labels(sought.labels, sought.labels_file)
    truth: list[str] | None
    if data is not None:
        parts = data.parted(needs_examples=recipe.learns(available=shows))
        images, support = parts.test, parts.support
        truth = [str(one) for one in images.y]
        label_set = label_set or parts.label_set
    else:
        support = runs.examples_of(sought.examples)
        images = images_of(session, given.data, given.columns.image_column, None, given.seed)
        truth = None if label is None else [label] * len(images)
    caps = given.asked.caps
    parts_wanted = None if given.parts is None else given.parts.split(",")
    job = runs.ExplainingJob(
        recipe=replace(recipe, labels=label_set),
        tell=session.tell,
        parts=parts_wanted and [name.strip() for name in parts_wanted if name.strip()],
        limits={"max_cost": caps.max_cost, "max_requests": caps.max_requests},
    )
    return job, runs.Explained(images=images, truth=truth, support=support, label_set=label_set)
