"""`showtell compare`: is one way really better than another, and which is the cheapest to take."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

import showtell.evaluate as measuring
from showtell import recipes, runs
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.comparisons import page_of, print_comparison, say_expected, show_expected, sum_up
from showtell.cli.data import data_of
from showtell.cli.ending import Writing, fail_without_answers
from showtell.cli.help import ALL_METHODS
from showtell.cli.output import check_page
from showtell.cli.recipes import begin_job, contenders_of, given_here, given_labels, names_in
from showtell.cli.session import Session, begin
from showtell.errors import InputError

if TYPE_CHECKING:
    from showtell.evaluate import Record

EPILOG = """# Examples

showtell compare butterflies/ --methods zero-shot,prototype,linear

showtell compare butterflies/ --methods zero-shot,dclip,waffle --descriptions words.json

showtell compare butterflies/ --methods linear,in-context --shots 5 --model openai:gpt-4.1-mini

showtell compare data/ --methods direct --model openai:gpt-4.1,ollama:llava --report page.html

showtell compare data/ --methods zero-shot,direct@ollama:llava,in-context@openai:gpt-4.1-mini

showtell compare data/ --methods few-shot,direct --model openai:gpt-4.1 --run monday/ --max-cost 2

showtell compare run-monday/ run-friday/
"""


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What `compare` is told."""

    # fmt: off
    targets: Annotated[list[str], o.argument("DATA | RUN RUN...",
        "A labelled data set to try --methods on, or run folders of `evaluate --run` and "
        "`compare --run`.")]
    methods: Annotated[str | None, o.option(
        "--methods NAMES", o.METHOD, common=True,
        help="Ways to compare on the same images, such as zero-shot,prototype,linear. "
             f"{ALL_METHODS} Each goes with every --encoder or --model; METHOD@NAME goes with "
             "that one only.")] = None
    sought: g.LabelOptions
    shots: o.Shots = None
    encoder: Annotated[list[str], o.option(
        "-e, --encoder NAME", o.METHOD, common=True,
        help="mini, hf-hub:org/name or local-dir:path; may be given several times. `showtell "
             "encoders` lists them.")] = field(default_factory=lambda: ["mini"])
    classifier: o.Classifier = None
    words: g.EncoderOptions
    controls: o.Controls = True
    abstain_below: o.AbstainBelow = None
    seed: o.Seed = 0
    margin: Annotated[float, o.option(
        "--margin POINTS", o.METHOD, min=0.01, max=50.0,
        help="Points of accuracy that do not matter: less than that behind the most accurate is "
             "not worse.")] = 2.0
    model: Annotated[list[str] | None, o.option(
        "--model PROVIDER:NAME", o.MODEL, common=True,
        help="Ask this multimodal LLM: openai:gpt-4.1-mini, google:gemini-2.5-flash, "
             "anthropic:NAME, ollama:llava; may be given several times. `showtell models` lists "
             "more. Keys come from the environment or .env.")] = None
    base_url: Annotated[list[str] | None, o.option(
        "--base-url [PROVIDER=]URL", o.MODEL,
        help="Another server that speaks the provider's wire format. With models of several "
             "providers say whose it is: google=URL.")] = None
    caps: g.BudgetOptions
    questions: g.PromptOptions
    sending: g.RequestOptions
    dry_run: Annotated[bool, o.option(
        "--dry-run", o.MODEL,
        help="Say what asking the models would take and cost, and end; nothing is asked.")
    ] = False
    test_size: o.TestSize = None
    limit: o.Limit = None
    columns: g.ColumnOptions
    check_duplicates: o.CheckDuplicates = True
    report: o.Report = None
    run: o.RunFolder = None
    json: o.Json = False
    local: g.LocalOptions
    # fmt: on


@g.grouped
def compare(ctx: typer.Context, *, given: CompareOptions) -> None:
    """Compare methods, encoders and models on the same images, or runs that are kept.

    Says how accurate each is and how sure that is, what 1,000 images cost and how long one takes;
    for each pair whether the difference could be luck, corrected for how many pairs were looked
    at; and which is the cheapest that is not worse. Before a model is asked, the price of all is
    estimated; --max-cost holds for all of them together.
    """
    session = begin(ctx)
    check_page(given.report)
    job: runs.ComparingJob | None = None
    if given.methods is None:
        for name, flag in (("model", "--model"), ("run", "--run"), ("dry_run", "--dry-run")):
            if given_here(ctx, name):
                raise InputError(f"{flag} goes with --methods and one DATA.")
        records = runs.kept_records(given.targets)
    else:
        job = _job(session, ctx, given, given.methods)
        found = _measure(session, ctx, given, job)
        if found is None:
            return
        records = found
    comparison = measuring.compare(records, margin=given.margin / 100)
    writing = Writing(session)
    writing.print(lambda: print_comparison(session, comparison, json=given.json))
    draw = page_of(records, comparison)
    writing.page(given.report, draw)
    if job is not None:
        writing.keep(job, functools.partial(job.keep, comparison), draw)
    sum_up(session, job, records, comparison)
    fail_without_answers(session, *((record.name, record.predictions) for record in records))
    writing.end()


def _job(
    session: Session, ctx: typer.Context, given: CompareOptions, methods: str
) -> runs.ComparingJob:
    """Read what is to be compared on which images."""
    if len(given.targets) != 1:
        got = f"{len(given.targets)}: {', '.join(given.targets)}"
        raise InputError(f"--methods takes one DATA; got {got}.")
    label_set = given_labels(given.sought.labels, given.sought.labels_file)
    several = (given.model, given.encoder, given.base_url)
    ways = contenders_of(ctx, methods, *map(recipes.listed, several))
    return runs.ComparingJob(
        recipe=ways[0].recipe,
        contenders=ways,
        verb="compare",
        inputs={
            "data": given.targets[0],
            "labels": names_in(label_set),
            "examples": given.sought.examples,
            "test_size": given.test_size,
            "limit": given.limit,
        },
        run=given.run,
        tell=session.tell,
    )


def _measure(
    session: Session, ctx: typer.Context, given: CompareOptions, job: runs.ComparingJob
) -> list[Record] | None:
    """Measure all ways; None where only the price was asked for."""
    learns = any(one.recipe.learns(available=True) for one in job.contenders)
    begin_job(session, ctx, job, claims=not given.dry_run)
    parts = data_of(session, ctx, given.targets[0]).parted(needs_examples=learns)
    label_set = given_labels(given.sought.labels, given.sought.labels_file)
    job.told(label_set or parts.label_set)
    max_cost = given.caps.max_cost
    expected = job.expected(parts.test, parts.support, max_cost=max_cost)
    say_expected(session, expected, max_cost)
    if given.dry_run:
        show_expected(session, expected, json=given.json)
        return None
    return job.measure_all(
        parts.test, parts.support, controls=given.controls, progress=session.progress
    )
