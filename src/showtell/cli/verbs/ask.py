"""`showtell ask`: questions about images, clips, sound, documents and text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from showtell import runs
from showtell.cli import options as o
from showtell.cli.asking import (
    AskOptions,
    Quietly,
    ShowOptions,
    cases_from,
    print_answers,
    rows_of,
    say_plan,
    style_of,
)
from showtell.cli.ending import EXIT_FAILED, Writing
from showtell.cli.groups import BudgetOptions, ModelOptions, RequestOptions, grouped
from showtell.cli.output import check_output, check_page, counted, print_json, what_it_took
from showtell.cli.recipes import begin_job, writer_of
from showtell.cli.session import Session, begin, is_terminal
from showtell.errors import InputError
from showtell.tables import write_rows

if TYPE_CHECKING:
    from showtell.ask.answer import Answer
    from showtell.ask.questions import Case
    from showtell.recipes import Recipe

EPILOG = """# Examples

showtell ask basket.png prices.png --schema receipt --model google:gemini-2.5-flash

showtell ask trip.mp4 --from 2:00 -q "Which signs are there?" --model openai:gpt-4.1-mini

showtell ask invoices/*.pdf --schema invoice -o table.csv --model openai:gpt-4.1-mini

showtell ask manual.pdf -q "Which model is it?" -q "What does light 3 mean?" --model ollama:llava
"""


@grouped
def ask(
    ctx: typer.Context,
    *,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILES...",
            help="Images, videos (clip.mp4#2:00-5:30), sound, PDF (manual.pdf#1-3) and texts.",
        ),
    ] = None,
    what: AskOptions,
    show: ShowOptions,
    called: ModelOptions,
    caps: BudgetOptions,
    dry_run: o.DryRun = False,
    sending: RequestOptions,
    output: o.Output = None,
    report: o.Report = None,
    run: o.RunFolder = None,
    json: o.Json = False,
    saying: Quietly,
) -> None:
    """Ask a multimodal LLM about images, videos, sound, PDF and texts.

    Each input has a letter, and each claim of an answer names the inputs, moments or pages that
    show it. What the material does not tell is unknown, not guessed; sums are done by code. What a
    model cannot take is sent as frames, pages or words, and that is said.
    """
    session = begin(ctx)
    check_output(output)
    check_page(report)
    recipe = writer_of(ctx)
    if recipe is None:
        raise InputError(
            "Who is asked? Name a `model` provider:name (`showtell models` lists them; `showtell "
            "try-server` is one without a key).",
            param="model",
        )
    style = style_of(what, show, sending.prompt_dir)
    cases = cases_from(files or [], what, show, style)
    job = _job(session, recipe, cases, what, show, run)
    begin_job(session, ctx, job, counts=dry_run)
    if dry_run:
        say_plan(session, job, cases, style, json=json)
        return
    from showtell.ask.run import ask_cases

    answers = []
    stopped: BaseException | None = None
    with session.progress() as progress:
        try:
            for some in ask_cases(job.access, cases, style, progress):
                answers += some
        except (Exception, KeyboardInterrupt) as error:
            if not answers:
                raise
            stopped = error  # first come the rows of what was answered
    _show(session, job, answers, output, report, json=json, stopped=stopped)


def _job(
    session: Session,
    recipe: Recipe,
    cases: Sequence[Case],
    what: AskOptions,
    show: ShowOptions,
    run: Path | None,
) -> runs.WritingJob:
    """Say what decides about the answers, so that another run does not go on in this folder."""
    return runs.WritingJob(
        recipe=recipe,
        verb="ask",
        inputs={
            "model": recipe.model,
            "cases": [
                {"inputs": [str(s) for s in case.sources], "questions": dict(case.questions)}
                for case in cases
            ],
            "schema": what.schema,
            "steps": what.steps,
            "runs": what.runs,
            "verify": what.verify,
            "languages": what.languages,
            "place_detail": what.place_detail,
            "frames": show.frames,
            "max_frames": show.max_frames,
            "send_as": show.send_as,
            "sound": show.sound,
            "max_side": show.max_side,
        },
        run=run,
        steps=1,
        tell=session.tell,
    )


def _show(
    session: Session,
    job: runs.WritingJob,
    answers: Sequence[Answer],
    output: Path | None,
    report: Path | None,
    *,
    json: bool,
    stopped: BaseException | None,
) -> None:
    """Print and write the rows, whatever ended the run, and say what it took."""
    writing = Writing(session)
    from showtell.ask.answer import Answers

    rows = rows_of(answers)
    if json:
        writing.print(lambda: print_json({"answers": rows}))
    written = output is not None and writing.write(output, lambda: write_rows(output, rows))
    if not json and not written:
        writing.print(lambda: print_answers(answers, terminal=is_terminal(sys.stdout)))
    writing.page(report, lambda path: Answers(answers).report(path))
    kept = job.run
    if kept is not None:
        page = Answers(answers).report
        writing.keep(job, lambda: write_rows(kept / "answers.csv", rows), page)
    for line in dict.fromkeys(line for answer in answers for line in answer.converted):
        session.note(f"sent in another form: {line}")
    n_of = {s: sum(a.status == s for a in answers) for s in ("ok", "abstained", "error")}
    took = f"; {what_it_took(runs.taken(job.meters, []))}" if job.meters else ""
    session.summary(
        f"{counted(len(answers), 'question')}: {n_of['ok']:,} answered, {n_of['abstained']:,} "
        f"unknown, {n_of['error']:,} failed; {session.seconds:.1f} s{took}"
    )
    if stopped is not None:
        raise stopped
    if n_of["error"] == len(answers):
        session.error(f"Not one question got an answer. The first reason: {answers[0].error}")
        raise typer.Exit(EXIT_FAILED)
    writing.end()
