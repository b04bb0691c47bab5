"""`showtell distill`: a small model of one's own, taught by a dear one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from showtell import datasets, runs
from showtell.cli import options as o
from showtell.cli.distilling import (
    LearningOptions,
    PromiseOptions,
    accept_terms_of,
    answers_of,
    parts_of,
    plan_of,
    print_distilled,
    teacher_recipe,
)
from showtell.cli.ending import EXIT_FAILED, Writing
from showtell.cli.groups import (
    BudgetOptions,
    ColumnOptions,
    LabelOptions,
    RequestOptions,
    grouped,
)
from showtell.cli.output import counted, print_json, say_what_is_kept, what_it_took
from showtell.cli.recipes import begin_job, given_labels
from showtell.cli.session import begin
from showtell.cli.writing import show_price
from showtell.mllm.estimate import Sums
from showtell.runs.distilling import distill as make_student
from showtell.runs.distilling import keep_distilled

if TYPE_CHECKING:
    from showtell.datasets import Dataset
    from showtell.evaluate.distilled.outcome import Distilled

EPILOG = """# Examples

showtell distill photos/ --teacher google:gemini-2.5-flash --labels "cat,dog" -o student/

showtell distill photos/ --teacher openai:gpt-4.1 --examples sorted/ --max-loss 0.05 -o student/

showtell distill photos/ --teacher answers.csv --gold checked/ -o student/

showtell distill photos/ --teacher zero-shot --labels "cat,dog" -o student/
"""


@grouped
def distill(
    ctx: typer.Context,
    *,
    data: Annotated[
        list[str], o.argument("DATA...", "Images to learn from; labels are not looked at.")
    ],
    learning: LearningOptions,
    sought: LabelOptions,
    promise: PromiseOptions,
    caps: BudgetOptions,
    base_url: o.BaseUrl = None,
    encoder: o.EncoderName = "mini",
    shots: o.Shots = None,
    max_side: o.MaxSide = 768,
    dry_run: o.DryRun = False,
    sending: RequestOptions,
    limit: o.Limit = None,
    seed: o.Seed = 0,
    columns: ColumnOptions,
    output: Annotated[
        Path,
        o.option("-o, --output DIR", o.OUTPUT, common=True, help="Folder of the student."),
    ],
    json: o.Json = False,
    store: o.Store = True,
) -> None:
    """Train a small model on a teacher's answers, to label the rest for almost nothing.

    The teacher, a model or a method or a file of answers, is asked about at most --budget images
    that say most. The student runs on this machine: `showtell classify photos/ --classifier
    student/`. With --target-accuracy or --max-loss the folder also holds a cascade that asks the
    teacher where the student is unsure, and keeps a promise.

    The same command goes on where it stopped: no answer is paid for twice.
    """
    session = begin(ctx)
    datasets.check_arguments(data)
    labels = given_labels(sought.labels, sought.labels_file)
    examples = runs.examples_of(sought.examples)
    plan = plan_of(learning, promise, encoder, seed)
    recipe = teacher_recipe(ctx, learning.teacher, labels, examples)
    pool, gold = parts_of(session, data, columns, learning.gold, examples, limit, seed)
    plan.parts(pool, gold)  # refuses before anything is asked
    job = runs.Job(
        recipe=recipe,
        verb="distill",
        inputs={
            "data": list(data), "teacher": learning.teacher, "gold": learning.gold, "limit": limit,
            "examples": sought.examples,
            "plan": {k: v for k, v in vars(plan).items() if k != "budget"},
        },
        run=None if dry_run else output,
        steps=3,
        tell=session.tell,
    )  # fmt: skip
    if dry_run:
        begin_job(session, ctx, job, counts=True)
        _say_price(job, plan, pool, examples, session, json=json)
        return
    answers = answers_of(learning.teacher)
    terms = accept_terms_of(session, recipe, accepted=learning.accept_terms)
    begin_job(session, ctx, job)
    teacher = None if answers is not None else job.fit(examples)
    with session.progress() as progress:
        found = make_student(
            plan,
            pool,
            teacher=teacher,
            answers=answers,
            gold=gold,
            labels=None if labels is None else list(labels.labels),
            name=learning.teacher,
            n_images=learning.n_images,
            terms=terms,
            store="default" if store else None,
            progress=progress,
        )
    writing = Writing(session)
    _keep(session, writing, job, found, output)
    told = found.to_dict()
    writing.print(lambda: print_json(told) if json else print_distilled(session, found, sys.stdout))
    took = f"; {what_it_took(runs.taken(job.meters, []))}" if job.meters else ""
    session.summary(
        f"{counted(found.student.n_labels_, 'label')} learned from, {told['n_suspects']:,} "
        f"doubtful; {session.seconds:.1f} s{took}"
    )
    writing.end()
    if found.cascade is not None and not found.cascade.promise_.ok:
        session.error(found.cascade.promise_.sentence())
        raise typer.Exit(EXIT_FAILED)


def _say_price(
    job: runs.Job, plan: Any, pool: Dataset, examples: Dataset | None, session: Any, *, json: bool
) -> None:
    """Say what the teacher's answers would cost; nothing is asked."""
    n = min(plan.budget, len(pool)) + (plan.n_calibration if plan.promises else 0)
    sample = datasets.limit_dataset(pool, min(n, len(pool)), plan.seed)
    sums = job.estimate(sample, examples).sums if job.recipe.asks else Sums()
    show_price(session, {"n_teacher": n}, [sums], f"about {n:,} images",
               json=json)  # fmt: skip


def _keep(session: Any, writing: Writing, job: runs.Job, found: Distilled, output: Path) -> None:
    """Fill the folder, and say what could not be written."""

    def keep() -> None:
        for note in keep_distilled(found, output):
            session.note(note)
        job.finish({"distilled": found.to_dict()})

    if writing.write(output, keep, said=None):
        say_what_is_kept(session, output)
