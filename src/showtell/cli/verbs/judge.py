"""`showtell judge`: whose answers are better."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import showtell.evaluate as measuring
from showtell import runs
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.ending import EXIT_FAILED, Writing
from showtell.cli.judging import JudgingOptions, Setting, print_contest, say_plan, setting_of
from showtell.cli.output import (
    check_output,
    check_page,
    counted,
    print_csv,
    print_json,
    what_it_took,
)
from showtell.cli.recipes import begin_job, writer_of
from showtell.cli.session import begin, is_terminal
from showtell.errors import InputError
from showtell.tables import write_rows

if TYPE_CHECKING:
    from showtell.recipes import Recipe

EPILOG = """# Examples

showtell judge one.csv two.csv --actual labels.csv

showtell judge one.csv two.csv --model openai:gpt-4.1-mini --images photos/ --dry-run

showtell judge one.csv two.csv --model openai:gpt-4.1-mini --images photos/ --report page.html

showtell judge one.csv two.csv --export-human pairs.csv
"""


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """What `judge` is told."""

    answers: Annotated[
        list[str],
        o.argument("ANSWERS...", "Two tables or more, with the columns image and answer."),
    ]
    how: JudgingOptions
    called: g.ModelOptions
    caps: g.BudgetOptions
    max_side: o.MaxSide = 768
    dry_run: o.DryRun = False
    sending: g.RequestOptions
    limit: o.Limit = None
    seed: o.Seed = 0
    output: o.Output = None
    report: o.Report = None
    run: o.RunFolder = None
    json: o.Json = False


@g.grouped
def judge(ctx: typer.Context, *, given: JudgeOptions) -> None:
    """Say whose answers are better, by true labels or by a model asked in both orders.

    Answers are joined by image. With --actual the images decide that exactly one gets right, and
    nobody is asked. Else --model compares them pair by pair; answers of the same words are ties,
    and failed verdicts are none. Time and price of the answers stand beside, where tables have
    the columns seconds and cost_usd.
    """
    session = begin(ctx)
    output, human = given.output, given.how.export_human
    check_output(output)
    check_output(human)
    check_page(given.report)
    recipe = writer_of(ctx)
    setting = setting_of(
        session, given.answers, given.how, limit=given.limit, seed=given.seed,
        max_side=given.max_side,
    )  # fmt: skip
    writing = Writing(session)
    if human is not None:
        drawn = setting.for_a_person(given.how.n_human)
        header = ("image", "first", "second", "verdict")
        if writing.write(human, lambda: write_rows(human, drawn, header)):
            session.summary(
                f"{counted(len(drawn), 'pair')}: fill in verdict with first, second or tie, and "
                f"give the file with --human {human}"
            )
        writing.end()
        return
    job = _job(session, recipe, setting, given.run)
    if recipe is None and not given.dry_run:
        job.claim()
    else:
        begin_job(session, ctx, job, counts=given.dry_run)
    if given.dry_run:
        say_plan(session, job, setting, json=given.json)
        return
    with session.progress() as progress:
        found = setting.judge(None if recipe is None else job.access, progress)
    rows = list(found.rows())
    if given.json:
        writing.print(lambda: print_json(found.to_dict()))
    elif is_terminal(sys.stdout):
        writing.print(lambda: print_contest(session, found))
    elif output is None:
        writing.print(lambda: print_csv(list(rows[0]), (list(row.values()) for row in rows)))
    if output is not None:
        writing.write(output, lambda: write_rows(output, rows))
    writing.page(given.report, found.report)
    writing.keep(job, lambda: _keep(job, found, rows), found.report)
    for one in found.judgements:
        session.summary(one.sentence())
        for note in one.notes:
            session.note(note)
    took = f"; {what_it_took(runs.taken(job.meters, []))}" if job.meters else ""
    failed = f", {found.n_errors:,} without a verdict" if found.n_errors else ""
    session.summary(
        f"{counted(len(found.joined.images), 'image')}, {counted(found.n_verdicts, 'question')}"
        f"{failed}; {session.seconds:.1f} s{took}"
    )
    if found.n_verdicts and found.n_errors == found.n_verdicts:
        first = next(v.error for one in found.judgements for v in one.verdicts)
        session.error(f"Not one question got a verdict. The first reason: {first}")
        raise typer.Exit(EXIT_FAILED)
    writing.end()


def _job(
    session: Any, recipe: Recipe | None, setting: Setting, run: Path | None
) -> runs.WritingJob:
    if recipe is None and setting.gold is None:
        raise InputError(
            "Who judges? Give true labels with `actual` FILE, or name a model with `model` "
            "provider:name (`showtell models` lists them; `showtell try-server` is one without a "
            "key).",
            param=("actual", "model"),
        )
    if recipe is not None and setting.gold is not None:
        raise InputError(
            "With `actual` labels no model is needed: leave out `model`.", param=("actual", "model")
        )
    from showtell import recipes

    return runs.WritingJob(
        recipe=recipes.Recipe() if recipe is None else recipe,
        verb="judge",
        inputs={"model": None if recipe is None else recipe.model, **setting.deciding()},
        run=run,
        steps=setting.n_pairs,
        tell=session.tell,
    )


def _keep(job: runs.WritingJob, found: measuring.Contest, rows: list[dict[str, Any]]) -> None:
    """Fill the run folder."""
    assert job.run is not None
    write_rows(job.run / "verdicts.csv", rows)
    told = found.to_dict()
    cost = told.pop("cost_usd")
    job.finish({**told, "cost_usd": None if cost is None else str(cost)})
