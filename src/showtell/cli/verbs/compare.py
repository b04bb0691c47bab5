"""`showtell compare`: is one way really better than another, and which is the cheapest to take."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import showtell.evaluate as measuring
from showtell import recipes, runs
from showtell.classify import table
from showtell.cli import options as o
from showtell.cli.comparisons import (
    print_comparison,
    say_expected,
    show_comparison,
    show_expected,
)
from showtell.cli.data import examples_of, labelled_data, parts_to_measure
from showtell.cli.ending import Writing, fail_without_answers
from showtell.cli.groups import (
    BudgetOptions,
    ColumnOptions,
    EncoderOptions,
    LabelOptions,
    PromptOptions,
    RequestOptions,
    TalkOptions,
    grouped,
)
from showtell.cli.help import ALL_METHODS
from showtell.cli.output import (
    check_page,
    print_json,
    say_what_is_kept,
    what_it_took,
)
from showtell.cli.recipes import (
    begin_job,
    given_here,
    given_labels,
    options_of,
    refuse_untaken,
    to_recipe,
)
from showtell.cli.session import Session, begin, is_terminal
from showtell.errors import InputError
from showtell.evaluate.provenance import learned_from

if TYPE_CHECKING:
    from showtell.evaluate import Comparison, Record
    from showtell.recipes import Contender, Recipe, Way
    from showtell.runs import ComparingJob

__all__ = ["add_to", "compare"]

_EPILOG = """# Examples

showtell compare butterflies/ --methods zero-shot,prototype,linear

showtell compare butterflies/ --methods zero-shot,dclip,waffle --descriptions words.json

showtell compare butterflies/ --methods linear,in-context --shots 5 --model openai:gpt-4.1-mini

showtell compare data/ --methods direct --model openai:gpt-4.1,ollama:llava --report page.html

showtell compare data/ --methods zero-shot,direct@ollama:llava,in-context@openai:gpt-4.1-mini

showtell compare data/ --methods few-shot,direct --model openai:gpt-4.1 --run monday/ --max-cost 2

showtell compare run-monday/ run-friday/
"""


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("compare", help=o.paragraphs(compare.__doc__), epilog=_EPILOG)(compare)


@grouped
def compare(
    ctx: typer.Context,
    *,
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA | RUN RUN...",
            help="A labelled data set to try --methods on, or run folders of `evaluate --run` and "
            "`compare --run`.",
        ),
    ],
    methods: Annotated[
        str | None,
        o.option(
            "--methods",
            panel=o.METHOD,
            common=True,
            metavar="NAMES",
            help="Ways to compare on the same images, such as zero-shot,prototype,linear. "
            f"{ALL_METHODS} Each goes with every --encoder or --model; METHOD@NAME goes with that "
            "one only.",
        ),
    ] = None,
    sought: LabelOptions,
    shots: o.Shots = None,
    encoder: Annotated[
        list[str],
        o.option(
            "-e, --encoder",
            panel=o.METHOD,
            common=True,
            metavar="NAME",
            help="mini, hf-hub:org/name or local-dir:path; may be given several times. "
            "`showtell encoders` lists them.",
        ),
    ] = ["mini"],  # noqa: B006 - typer reads it, nobody changes it
    words: EncoderOptions,
    controls: o.Controls = True,
    abstain_below: o.AbstainBelow = None,
    seed: o.Seed = 0,
    margin: Annotated[
        float,
        o.option(
            "--margin",
            panel=o.METHOD,
            min=0.01,
            max=50.0,
            metavar="POINTS",
            help="Points of accuracy that do not matter: less than that behind the most accurate "
            "is not worse.",
        ),
    ] = 2.0,
    model: Annotated[
        list[str] | None,
        o.option(
            "--model",
            panel=o.MODEL,
            common=True,
            metavar="PROVIDER:NAME",
            help="Ask this multimodal LLM: openai:gpt-4.1-mini, google:gemini-2.5-flash, "
            "anthropic:NAME, ollama:llava; may be given several times. `showtell models` lists "
            "more. Keys come from the environment or .env.",
        ),
    ] = None,
    base_url: Annotated[
        list[str] | None,
        o.option(
            "--base-url",
            panel=o.MODEL,
            metavar="[PROVIDER=]URL",
            help="Another server that speaks the provider's wire format. With models of several "
            "providers say whose it is: google=URL.",
        ),
    ] = None,
    caps: BudgetOptions,
    questions: PromptOptions,
    sending: RequestOptions,
    dry_run: Annotated[
        bool,
        o.option(
            "--dry-run",
            panel=o.MODEL,
            help="Say what asking the models would take and cost, and end; nothing is asked.",
        ),
    ] = False,
    test_size: o.TestSize = None,
    limit: o.Limit = None,
    columns: ColumnOptions,
    check_duplicates: o.CheckDuplicates = True,
    report: o.Report = None,
    run: o.RunFolder = None,
    json: o.Json = False,
    threads: o.Threads = None,
    store: o.Store = True,
    saying: TalkOptions,
) -> None:
    """Compare methods, encoders and models on the same images, or runs that are kept.

    Says how accurate each is and how sure that is, what 1,000 images cost and how long one takes;
    for each pair whether the difference could be luck, corrected for how many pairs were looked
    at; and which is the cheapest that is not worse. Before a model is asked, the price of all is
    estimated; --max-cost holds for all of them together.
    """
    session = begin(ctx, saying)
    check_page(report)
    job: ComparingJob | None = None
    if methods is None:
        for name, flag in (("model", "--model"), ("run", "--run"), ("dry_run", "--dry-run")):
            if given_here(ctx, name):
                raise InputError(f"{flag} goes with --methods and one DATA.")
        records = runs.kept_records(targets)
    else:
        if len(targets) != 1:
            raise InputError(f"--methods takes one DATA; got {len(targets)}: {', '.join(targets)}.")
        label_set = given_labels(sought.labels, sought.labels_file)
        ways = _contenders(ctx, methods, *map(recipes.listed, (model, encoder, base_url)))
        job = runs.ComparingJob(
            recipe=ways[0].recipe,
            contenders=ways,
            verb="compare",
            inputs={
                "data": targets[0],
                "labels": None if label_set is None else list(label_set.labels),
                "examples": sought.examples,
                "test_size": test_size,
                "limit": limit,
            },
            run=run,
            tell=session.tell,
        )
        if not dry_run:
            job.claim()
        begin_job(session, ctx, job)
        parts = parts_to_measure(
            session,
            targets[0],
            labelled_data(session, targets[0], asdict(columns), labels_file=sought.labels_file),
            examples=examples_of(sought.examples),
            needs_examples=any(one.recipe.learns(available=True) for one in ways),
            check_duplicates=check_duplicates,
            test_size=test_size,
            limit=limit,
            seed=seed,
        )
        job.told(label_set or parts.label_set)
        expected = job.expected(parts.test, parts.support, max_cost=caps.max_cost)
        say_expected(session, expected, caps.max_cost)
        if dry_run:
            show_expected(session, expected, json=json)
            return
        records = job.measure_all(
            parts.test, parts.support, controls=controls, progress=session.progress
        )
    comparison = measuring.compare(records, margin=margin / 100)
    writing = Writing(session)
    if json:
        writing.print(lambda: print_json(comparison.to_dict()))
    elif is_terminal(sys.stdout):
        writing.print(lambda: show_comparison(session, comparison))
    else:
        writing.print(lambda: print_comparison(comparison))
    if report is not None:
        writing.write(report, lambda: _page(records, comparison, report))
    if run is not None and job is not None:
        _keep(session, writing, job, run, records, comparison)
    _sum_up(session, job, records, comparison)
    fail_without_answers(session, *((record.name, record.predictions) for record in records))
    writing.end()


def _keep(
    session: Session,
    writing: Writing,
    job: ComparingJob,
    run: Path,
    records: Sequence[Record],
    comparison: Comparison,
) -> None:
    """Fill the run folder."""
    page = run / "report.html"
    kept = writing.write(run, lambda: job.keep(comparison), said=None)
    if kept and writing.write(page, lambda: _page(records, comparison, page), said=None):
        say_what_is_kept(session, run)


def _contenders(
    ctx: typer.Context,
    methods: str,
    models: Sequence[str],
    encoders: Sequence[str],
    urls: Sequence[str],
) -> list[Contender]:
    """Read what is to be compared, each with the options that it takes."""
    named = [item.partition("@")[0].strip() for item in recipes.listed([methods])]
    if not given_here(ctx, "model") and not any(
        name != table.AUTO and table.find_method(name).asks for name in named
    ):
        models = []  # one of the settings, which nothing here asks for
    values = options_of(ctx)
    values.pop("base_url", None)
    ways = recipes.ways_of(methods, models, encoders)
    asked = list(dict.fromkeys(way.target for way in ways if way.row.asks))
    refuse_untaken(ctx, values, [way.row for way in ways], asked)

    def recipe_of(way: Way) -> Recipe:
        own = dict(values)
        if way.row.asks and not way.row.local:
            own["base_url"] = recipes.base_url_of(way.target, urls, asked)
        if "shots" not in way.row.takes:
            own.pop("shots", None)
        return to_recipe(
            ctx,
            own,
            method=way.row.name,
            model=way.target if way.row.asks else None,
            encoder=encoders[0] if way.row.asks else way.target,
            refuses=False,
        )

    return recipes.contenders(methods, models, encoders, recipe_of)


def _sum_up(
    session: Session,
    job: ComparingJob | None,
    records: Sequence[Record],
    comparison: Comparison,
) -> None:
    """Say in sentences what came of it, and what it took."""
    learned = _learned(records)
    if learned:
        session.summary(learned)
    session.summary(comparison.sentence)
    session.summary(comparison.choice.sentence)
    for record in records:
        if record.controls is not None:
            session.summary(f"{record.name}: {record.controls.sentence}")
    if job is not None and job.meters:
        asked = [r.predictions for r in records if "cost_usd" in r.predictions.columns]
        session.summary(what_it_took(runs.taken(job.meters, asked)))


def _learned(records: Sequence[Record]) -> str:
    """Say which ways learned from how many examples, and which from none."""
    ways: dict[str, list[str]] = {}
    for record in records:
        said = learned_from(record.run.get("estimator") or {})
        if said is not None:
            ways.setdefault(said, []).append(record.name)
    return "; ".join(f"{', '.join(names)}: {said}" for said, names in ways.items())


def _page(records: Sequence[Record], comparison: Comparison, path: Path) -> None:
    best = next(r for r in records if _is(r, comparison.records[0].name))
    best.report(path, comparison=comparison)


def _is(record: Record, name: str) -> bool:
    return record.name == name or name.startswith(f"{record.name} #")
