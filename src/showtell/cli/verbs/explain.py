"""`showtell explain`: why this label."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import showtell.explain as explaining
from showtell import datasets, runs
from showtell.cli import options as o
from showtell.cli.data import (
    examples_of,
    images_of,
    labelled_data,
    offers_examples,
    parts_to_measure,
)
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
from showtell.cli.output import check_page, counted, dollars, print_json
from showtell.cli.recipes import begin_job, given_labels, recipe_of
from showtell.cli.session import Session, begin, printable
from showtell.errors import InputError, ShowtellError
from showtell.evaluate.provenance import about_estimator
from showtell.tables import TABLE_SUFFIXES

if TYPE_CHECKING:
    from showtell.classify.base import MediaClassifier
    from showtell.datasets import Dataset, LabelSet
    from showtell.explain import ConceptOverview, Explanation
    from showtell.recipes import Recipe
    from showtell.runs import Job

__all__ = ["add_to", "explain"]

_EPILOG = """# Examples

showtell explain rex.jpg --labels "dog,wolf,fox"

showtell explain rex.jpg --examples sorted/ --label dog -o why.html

showtell explain butterflies/ --method linear --limit 50 -o why.html

showtell explain photos/ --method dclip --descriptions words.json -o why.html

showtell explain rex.jpg --examples sorted/ --shots 2 --model openai:gpt-4.1-mini --max-cost 0.50
"""

_WHY = "What to find out"
_USUAL = 24  # images of a data set, unless --limit says how many
_USUAL_BY_CLUES = 2_000  # clues are quick
_MANY_CLUES = 300
_MEASURED = 500  # images that importances are measured on; more would add little but time
_CONFIRM = "what leaving out each demonstration takes"


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What is explained, and by what was learned from."""

    images: Dataset
    truth: list[str] | None
    support: Dataset | None
    label_set: LabelSet | None


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("explain", help=o.paragraphs(explain.__doc__), epilog=_EPILOG)(explain)


@grouped
def explain(
    ctx: typer.Context,
    *,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA|IMAGES...",
            help="Files, folders, globs, URLs or tables; or one data set with labels, of which "
            "test/ is explained and train/ may be learned from.",
        ),
    ],
    sought: LabelOptions,
    label: Annotated[
        str | None,
        o.option(
            "--label",
            panel=_WHY,
            common=True,
            metavar="TRUE",
            help="The true label of the images, to ask why it was not the answer.",
        ),
    ] = None,
    parts: Annotated[
        str | None,
        o.option(
            "--parts",
            panel=_WHY,
            metavar="NAME,...",
            help="chances, clues, votes, changes, alike, descriptions, opinions, words, occlusion, "
            "examples, demonstrations. Unless given: what the method has.",
        ),
    ] = None,
    most: Annotated[
        int, o.option("--most", panel=_WHY, min=1, metavar="N", help="How many of each to name.")
    ] = 5,
    grid: Annotated[
        int,
        o.option(
            "--grid",
            panel=_WHY,
            min=2,
            max=64,
            metavar="N",
            help="Squares along the longer side that are covered in turn.",
        ),
    ] = 8,
    dry_run: Annotated[
        bool,
        o.option(
            "--dry-run",
            panel=_WHY,
            help="Only say what leaving out demonstrations would cost; nothing is asked.",
        ),
    ] = False,
    method: o.Method = "auto",
    shots: o.Shots = None,
    encoder: o.EncoderName = "mini",
    words: EncoderOptions,
    abstain_below: o.AbstainBelow = None,
    seed: o.Seed = 0,
    called: ModelOptions,
    caps: BudgetOptions,
    questions: PromptOptions,
    sending: RequestOptions,
    test_size: o.TestSize = None,
    limit: o.Limit = None,
    columns: ColumnOptions,
    report: Annotated[
        Path | None,
        o.option(
            "-o, --report",
            panel=o.OUTPUT,
            common=True,
            metavar="PAGE.html",
            help="A page to click through, in one file.",
        ),
    ] = None,
    json: o.Json = False,
    threads: o.Threads = None,
    store: o.Store = True,
    saying: TalkOptions,
) -> None:
    """Say why images get their labels: in words for a few, as a page for many.

    An encoder is watched while parts of the picture are covered. Descriptions and clues say how
    well they fit. Examples and demonstrations are named that are most alike. With --max-cost or
    --max-requests a model is also asked again without each demonstration, after the price was said.

    Without -o the reasons are printed; with it, a page shows them, and for the method of clues
    also the tree of parts and a card for each label.
    """
    session = begin(ctx, saying)
    check_page(report)
    if called.model is None:
        given = [flag for flag, v in (("--dry-run", dry_run),) if v]
        if given:
            raise InputError("--dry-run says what asking a model costs: name one with --model.")
    wanted = _parts(parts)
    known = None
    if label is None and len(data) == 1 and _has_labels(data[0], asdict(columns)):
        known = labelled_data(session, data[0], asdict(columns), labels_file=sought.labels_file)
    if known is None:
        shows = sought.examples is not None and shots != 0
    else:
        shows = offers_examples(known, examples=sought.examples, shots=shots, test_size=test_size)
    recipe = recipe_of(ctx, shows=shows)
    task = _task(
        session, data, known, sought, columns, recipe, label=label, test_size=test_size, shows=shows
    )
    job = runs.Job(recipe=replace(recipe, labels=task.label_set), verb="explain", tell=session.tell)
    if not dry_run:
        begin_job(session, ctx, job)
    classifier = job.prepare(task.support) if dry_run else job.fit(task.support)
    task = _limited(session, task, classifier, limit, seed)
    asks = _asks(classifier, wanted, caps)
    if asks or dry_run:
        _say_price(session, classifier, task, job, dry_run=dry_run, json=json)
    if dry_run:
        return
    _say_left_out(session, classifier, task, wanted)
    shown = getattr(classifier, "demonstrations_", ())  # then those are what it knows
    examples = task.support if len(task.support or ()) and not shown else None
    with session.progress() as progress:
        found = explaining.explain(
            classifier,
            task.images.images,
            y=task.truth,
            examples=examples,
            parts="auto" if wanted is None else wanted,  # type: ignore[arg-type]  # checked there
            n_most=most,
            grid=grid,
            max_cost=caps.max_cost if asks else None,
            max_requests=caps.max_requests if asks else None,
            progress=progress,
        )
    how = job.how(about_estimator(classifier))
    overview = _overview(session, classifier, task, found, report)
    if report is not None:
        explaining.write_explanations(found, report, overview=overview, how=how)
        session.summary(f"wrote {report}")
    if json:
        print_json({"explanations": [one.to_dict() for one in found]})
    elif report is None:
        _print(session, found)
    _sum_up(session, found, job, how)


def _parts(given: str | None) -> list[str] | None:
    """Split ``--parts``; names are checked by the library."""
    if given is None:
        return None
    return [name for name in (part.strip() for part in given.split(",")) if name]


def _task(
    session: Session,
    arguments: Sequence[str],
    known: Dataset | None,
    sought: LabelOptions,
    columns: ColumnOptions,
    recipe: Recipe,
    *,
    label: str | None,
    test_size: float | None,
    shows: bool,
) -> _Task:
    """Find out what is explained: of a labelled data set its test part, or images."""
    label_set = given_labels(sought.labels, sought.labels_file)
    examples = examples_of(sought.examples)
    if known is not None:
        of_data = parts_to_measure(
            session,
            arguments[0],
            known,
            examples=examples,
            needs_examples=recipe.learns(available=shows),
            check_duplicates=False,
            test_size=test_size,
            limit=None,
            seed=recipe.seed,
        )
        return _Task(
            images=of_data.test,
            truth=[str(one) for one in of_data.test.y],
            support=of_data.support,
            label_set=label_set or of_data.label_set,
        )
    images = images_of(session, arguments, columns.image_column, None, recipe.seed)
    truth = None if label is None else [label] * len(images)
    return _Task(images=images, truth=truth, support=examples, label_set=label_set)


def _has_labels(source: str, columns: dict[str, Any]) -> bool:
    """Whether an argument is a data set with labels, and no plain folder or list of images."""
    if not (Path(source).is_dir() or Path(source).suffix.lower() in TABLE_SUFFIXES):
        return False
    try:
        return bool(datasets.load_dataset(source, **columns).labels)
    except ShowtellError:  # what is wrong with it is said where it is opened
        return False


def _limited(
    session: Session, task: _Task, classifier: MediaClassifier, limit: int | None, seed: int
) -> _Task:
    """Take a sample, of a size that does not keep one waiting unless it was asked for."""
    most = limit
    if most is None:
        most = _USUAL_BY_CLUES if _has(classifier, "changes") else _USUAL
    n = len(task.images)
    if n <= most:
        return task
    if limit is None:
        session.note(f"{most} of {n:,} images are explained; --limit N takes more.")
    images = datasets.limit_dataset(task.images, most, seed)
    truth = task.truth
    if truth is not None:
        same = len(set(truth)) == 1
        truth = truth[:1] * most if same else [str(one) for one in images.y]
    return replace(task, images=images, truth=truth)


def _has(classifier: Any, part: explaining.PartName) -> bool:
    """Whether a classifier has a part of an explanation to give."""
    return part in explaining.parts_of(classifier, asks=True)


def _asks(classifier: MediaClassifier, wanted: list[str] | None, caps: BudgetOptions) -> bool:
    """Whether a model is to be asked again without each demonstration."""
    if not _has(classifier, "demonstrations"):
        return False
    if wanted is not None:
        return "demonstrations" in wanted
    return caps.max_cost is not None or caps.max_requests is not None


def _say_price(
    session: Session,
    classifier: Any,
    task: _Task,
    job: Job,
    *,
    dry_run: bool,
    json: bool,
) -> None:
    """Say what leaving out demonstrations takes, before it is done."""
    if not _has(classifier, "demonstrations"):
        raise InputError(
            "Only --method in-context shows demonstrations that could be left out, so there is "
            "nothing to price."
        )
    sums = job.add_up(explaining.leave_one_out_requests(classifier, task.images.images))
    if dry_run and json:
        cost = sums.cost_usd_to_pay
        print_json(
            {
                "n_images": len(task.images),
                "n_requests": sums.n_requests,
                "n_requests_kept": sums.n_requests_kept,
                "cost_usd_to_pay": None if cost is None else float(cost),
            }
        )
    kept = f", {sums.n_requests_kept:,} of them answered before" if sums.n_requests_kept else ""
    session.summary(
        f"{_CONFIRM}: {counted(sums.n_requests, 'request')}{kept}, {dollars(sums.cost_usd_to_pay)}"
    )


def _say_left_out(session: Session, classifier: Any, task: _Task, wanted: list[str] | None) -> None:
    """Say that the slow part is not made, and how to have it."""
    n = len(task.images)
    if wanted is not None or not _has(classifier, "changes"):
        return
    if not explaining.changes_are_quick(classifier, n):
        session.note(
            f"What would change an answer is not looked for: {counted(n, 'image')} and "
            f"{counted(len(classifier.selected_), 'clue')} would take long. "
            "--parts chances,clues,changes looks for it."
        )


def _overview(
    session: Session,
    classifier: Any,
    task: _Task,
    found: Sequence[Explanation],
    report: Path | None,
) -> ConceptOverview | None:
    """Measure what a classifier by clues goes by, for the page."""
    if report is None or not _has(classifier, "changes"):
        return None
    n = len(classifier.selected_)
    session.note(
        f"Measuring what {counted(n, 'clue')} {'is' if n == 1 else 'are'} worth, for all labels "
        f"and for each{'; so many take a while' if n > _MANY_CLUES else ''}."
    )
    usable = [i for i, one in enumerate(found) if one.status != "error"]
    usable = usable[:: -(-len(usable) // _MEASURED) or 1]
    labels = {str(one) for one in classifier.classes_.tolist()}
    truth = task.truth
    if truth is None or {truth[i] for i in usable} != labels:
        return explaining.concept_overview(classifier)
    return explaining.concept_overview(
        classifier, [task.images.images[i] for i in usable], [truth[i] for i in usable]
    )


def _print(session: Session, found: Sequence[Explanation]) -> None:
    """Print reasons, an empty line between images; names cannot steer the terminal."""
    for place, one in enumerate(found):
        if place:
            sys.stdout.write("\n")
        for line in str(one).splitlines():
            sys.stdout.write(printable(line) + "\n")
    if len(found) > 3:
        session.note("-o why.html makes a page of these to click through.")


def _sum_up(session: Session, found: Sequence[Explanation], job: Job, how: str) -> None:
    n_errors = sum(one.status == "error" for one in found)
    known = [one for one in found if one.correct is not None and one.status != "error"]
    parts = [f"{counted(len(found), 'image')} explained"]
    if n_errors:
        parts = [f"{len(found) - n_errors:,} of {counted(len(found), 'image')} explained"]
        parts.append(counted(n_errors, "error"))
    if known:
        parts.append(f"{sum(bool(one.correct) for one in known):,} of {len(known):,} right")
    text = f"{', '.join(parts)}; {how}; {session.seconds:.1f} s"
    for meter in job.meters:
        text += f"; {dollars(meter.total)} for {counted(meter.n_requests, 'request')}"
    session.summary(text)
