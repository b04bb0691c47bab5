"""`showtell audit`: does the wording of the prompt decide the answer."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

import showtell.evaluate as measuring
from showtell import runs
from showtell.cli import options as o
from showtell.cli.data import Parts, examples_of, labelled_data, parts_to_measure
from showtell.cli.ending import Writing
from showtell.cli.groups import (
    BudgetOptions,
    ColumnOptions,
    LabelOptions,
    ModelOptions,
    RequestOptions,
    TalkOptions,
    grouped,
)
from showtell.cli.output import (
    check_page,
    counted,
    dollars,
    print_csv,
    print_json,
    print_table,
    say_what_is_kept,
    what_it_took,
)
from showtell.cli.recipes import begin_job, given_labels, recipe_of
from showtell.cli.session import Session, begin, is_terminal
from showtell.errors import InputError, RunError, UnknownNameError
from showtell.words import plain_points

if TYPE_CHECKING:
    from pathlib import Path

    from showtell.evaluate import Audit
    from showtell.mllm import Request
    from showtell.runs import Job

__all__ = ["add_to", "audit"]

_PROBES = ("example", "position", "order", "majority", "names")
_SHOWING = ("order", "majority", "names")
_CORRECTIONS = ("rotations", "contextual", "batch")
_AUDIT = "What to audit"

_EPILOG = """# Examples

showtell audit butterflies/ --model google:gemini-2.5-flash --report audit.html

showtell audit butterflies/ --model openai:gpt-4.1-mini --probes example,position --shots 0

showtell audit butterflies/ --model ollama:llava --n 60 --corrections rotations --run audit/

# Probes

example: a label named in the example of an answer   position: place in the list of labels
order: what was shown last   majority: what was shown most   names: real or neutral names
"""


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("audit", help=o.paragraphs(audit.__doc__), epilog=_EPILOG)(audit)


@grouped
def audit(
    ctx: typer.Context,
    *,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A folder with a folder per label (train/ and test/ above them are used), or a "
            "table with a column of images and one of labels.",
        ),
    ],
    sought: LabelOptions,
    probes: Annotated[
        str | None,
        o.option(
            "--probes",
            panel=_AUDIT,
            common=True,
            metavar="NAMES",
            help="Some of example,position,order,majority,names; unless given all of them, or "
            "with --shots 0 the first two.",
        ),
    ] = None,
    n: Annotated[
        int | None,
        o.option(
            "--n",
            panel=_AUDIT,
            common=True,
            min=1,
            metavar="N",
            help="Images to ask about. Unless given 100, or more where there are few labels: "
            "enough to find a pull of 5 % with a chance of 95 %.",
        ),
    ] = None,
    corrections: Annotated[
        str | None,
        o.option(
            "--corrections",
            panel=_AUDIT,
            common=True,
            metavar="NAMES",
            help="Measure what rotations, contextual or batch gain. Each asks about every image "
            "twice per label.",
        ),
    ] = None,
    shots: Annotated[
        int | None,
        o.option(
            "-k, --shots",
            panel=_AUDIT,
            common=True,
            min=0,
            metavar="K",
            help="Examples per label to show; unless given 1 where a probe needs some. "
            "0 shows none.",
        ),
    ] = None,
    seed: o.Seed = 0,
    called: ModelOptions,
    caps: BudgetOptions,
    anonymise: o.Anonymise = False,
    role: o.Role = None,
    confidence_from: o.ConfidenceFrom = "auto",
    max_side: o.MaxSide = 768,
    temperature: o.Temperature = None,
    sending: RequestOptions,
    test_size: o.TestSize = None,
    columns: ColumnOptions,
    check_duplicates: o.CheckDuplicates = True,
    report: o.Report = None,
    run: o.RunFolder = None,
    json: o.Json = False,
    saying: TalkOptions,
) -> None:
    """Find out whether a multimodal LLM answers what it sees or what the prompt suggests.

    Asks about the same images under prompts that differ in one thing only: the label in the
    example of an answer, the order of the list, the order and number of the demonstrations, real
    or neutral names. Says for each how many answers follow the prompt, how sure that is, and
    "biased", "pass" or "inconclusive". What it will cost is said before anything is asked.
    """
    session = begin(ctx, saying)
    check_page(report)
    named = _names("probe", probes, _PROBES)
    corrected = _names("correction", corrections, _CORRECTIONS) or []
    shots = _shots(shots, named)
    shows = shots > 0
    recipe = recipe_of(ctx, shows=shows)
    if recipe.model is None or recipe.row().local:
        raise InputError(
            "An audit asks a multimodal LLM: name one with --model provider:name, for example "
            "openai:gpt-4.1-mini (`showtell models` lists them; `showtell try-server` is one "
            "without a key)."
        )
    recipe = replace(recipe.telling(shots=shots) if shows else recipe, store=False)
    label_set = given_labels(sought.labels, sought.labels_file)
    job = runs.Job(
        recipe=recipe,
        verb="audit",
        inputs={
            "data": data,
            "labels": None if label_set is None else list(label_set.labels),
            "examples": sought.examples,
            "probes": named,
            "n": n,
            "corrections": corrected,
            "shots": shots,
            "test_size": test_size,
        },
        run=run,
        steps=2 + 2 * len(corrected),
        tell=session.tell,
    )
    job.claim()
    begin_job(session, ctx, job)
    parts = _parts(
        session,
        data,
        asdict(columns),
        labels_file=sought.labels_file,
        examples=examples_of(sought.examples),
        needs_examples=shows,
        check_duplicates=check_duplicates,
        test_size=test_size,
        limit=None,
        seed=seed,
    )
    job.recipe = replace(recipe, labels=label_set or parts.label_set)
    classifier = job.fit(parts.support if shows else None)
    wanted = measuring.audit_size(len(classifier.classes_)) if n is None else n
    if len(parts.test) < wanted:
        session.note(
            f"{counted(len(parts.test), 'image')} to ask about; {wanted:,} would find a pull of "
            "5 % with a chance of 95 %. The audit says what so many can find."
            if n is None
            else f"--n {n} is more than there are: {counted(len(parts.test), 'image')}."
        )
    settings: dict[str, Any] = {
        "probes": named,
        "n": n,
        "corrections": corrected,
        "random_state": seed,
    }
    if not session.quiet:
        _say_price(session, job, measuring.audit_requests(classifier, parts.test, **settings))
    with session.progress() as progress:
        found = measuring.audit(classifier, parts.test, **settings, progress=progress)
    writing = Writing(session)
    writing.print(lambda: _print(session, found, json=json))
    if report is not None:
        writing.write(report, lambda: found.report(report))
    if run is not None:
        _keep(session, writing, job, run, found)
    failed = f"{found.n_failed:,} without an answer; " if found.n_failed else ""
    took = what_it_took(runs.taken(job.meters, []))
    session.summary(
        f"{counted(found.n_images, 'image')}, {counted(found.n_requests, 'question')}: "
        f"{found.sentence}; {failed}{session.seconds:.1f} s; {took}"
    )
    if found.n_requests and found.n_failed == found.n_requests:
        raise RunError("Not one question got an answer, so there is nothing to judge.")
    writing.end()


def _print(session: Session, found: Audit, *, json: bool) -> None:
    """Print what was found."""
    if json:
        cost = None if found.cost_usd is None else float(found.cost_usd)
        print_json({**found.to_dict(), "cost_usd": cost})
    elif is_terminal(sys.stdout):
        _show(session, found)
    else:
        rows = found.rows()
        print_csv(list(rows[0]), (list(row.values()) for row in rows))


def _keep(session: Session, writing: Writing, job: Job, run: Path, found: Audit) -> None:
    """Fill the run folder."""

    def keep() -> None:
        found.save(run / "audit.json")
        job.finish({**found.run, "audit": found.sentence})

    page = run / "report.html"
    kept = writing.write(run, keep, said=None)
    if kept and writing.write(page, lambda: found.report(page), said=None):
        say_what_is_kept(session, run)


def _names(what: str, text: str | None, allowed: tuple[str, ...]) -> list[str] | None:
    """Read names separated by commas, each once, in the usual order."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in allowed:
            raise UnknownNameError(what, name, allowed)
    if not names:
        raise InputError(f"Which {what}s? Name some of {', '.join(allowed)}.")
    return [name for name in allowed if name in names]


def _shots(shots: int | None, named: list[str] | None) -> int:
    """Show one example per label where a probe is about what is shown."""
    needs = _SHOWING if named is None else tuple(set(named) & set(_SHOWING))
    if shots == 0 and named is not None and needs:
        raise InputError(
            f"Probe {', '.join(n for n in _SHOWING if n in needs)} is about examples that are "
            "shown: --shots must be 1 or more."
        )
    return (1 if needs else 0) if shots is None else shots


def _parts(session: Session, data: str, columns: dict[str, Any], **settings: Any) -> Parts:
    """Load DATA; without examples say that there is a way without."""
    try:
        labels_file = settings.pop("labels_file")
        known = labelled_data(session, data, columns, labels_file=labels_file)
        return parts_to_measure(session, data, known, **settings)
    except InputError as error:
        if "no train split" not in str(error):
            raise
        raise InputError(
            f"{data!r} has a test split but no train split to show examples from. Give --examples "
            "DIR, or audit without examples: --shots 0."
        ) from None


def _say_price(session: Session, job: Job, requests: Iterable[Request]) -> None:
    """Say what is about to be asked and paid."""
    sums = job.add_up(requests)
    kept = f", {sums.n_requests_kept:,} of them answered before" if sums.n_requests_kept else ""
    tokens = "" if sums.input_tokens is None else f", about {sums.input_tokens:,} tokens in"
    session.summary(
        f"to ask: {counted(sums.n_requests, 'question')}{kept}{tokens}; to pay: "
        f"{dollars(sums.cost_usd_to_pay)}"
    )


def _show(session: Session, found: Audit) -> None:
    """Print verdicts and gains for a person."""
    rows = []
    for p in found.probes:
        interval = chance = effect = ""
        if p.effect is not None and p.low is not None and p.high is not None:
            effect = plain_points(p.effect)
            interval = f"[{plain_points(p.low)}, {plain_points(p.high)}]"
        if p.p_holm is not None:
            chance = "< 0.001" if p.p_holm < 0.001 else f"{p.p_holm:.3f}"
        failed = f"{p.n_failed:,}"
        rows.append([p.name, p.verdict, effect, interval, chance, f"{p.n_images:,}", failed])
    header = ("probe", "verdict", "points", "95 % interval", "p (Holm)", "images", "failed")
    print_table(session, header, rows, title=str(found.run.get("name", "")), right=[2, 4, 5, 6])
    for p in found.probes:
        session.summary(f"{p.name}: {p.sentence} {p.note}".rstrip())
    if found.gains:
        gains = [
            [
                g.name,
                f"{100 * g.accuracy_before:.1f}",
                f"{100 * g.accuracy:.1f}",
                "" if g.flip_rate_before is None else f"{100 * g.flip_rate_before:.1f}",
                "" if g.flip_rate is None else f"{100 * g.flip_rate:.1f}",
                f"{g.requests_each:.0f}",
            ]
            for g in found.gains
        ]
        columns = ("correction", "accuracy", "then", "flips", "then", "questions per image")
        print_table(session, columns, gains, right=[1, 2, 3, 4, 5])
