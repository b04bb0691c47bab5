"""`showtell audit`: does the wording of the prompt decide the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from showtell import runs
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.audits import print_audit
from showtell.cli.data import data_of
from showtell.cli.ending import Writing
from showtell.cli.output import check_page, counted, dollars, kept_before, what_it_took
from showtell.cli.recipes import begin_job, given_labels, names_in, recipe_of
from showtell.cli.session import begin
from showtell.errors import InputError, RunError

_AUDIT = "What to audit"

EPILOG = """# Examples

showtell audit butterflies/ --model google:gemini-2.5-flash --report audit.html

showtell audit butterflies/ --model openai:gpt-4.1-mini --probes example,position --shots 0

showtell audit butterflies/ --model ollama:llava --n 60 --corrections rotations --run audit/

# Probes

example: a label named in the example of an answer   position: place in the list of labels
order: what was shown last   majority: what was shown most   names: real or neutral names
"""


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """What `audit` is told."""

    # fmt: off
    data: Annotated[str, o.MEASURED]
    sought: g.LabelOptions
    probes: Annotated[str | None, o.option(
        "--probes NAMES", _AUDIT, common=True,
        help="Some of example,position,order,majority,names; unless given all of them, or with "
             "--shots 0 the first two.")] = None
    n: Annotated[int | None, o.option(
        "--n N", _AUDIT, common=True, min=1,
        help="Images to ask about. Unless given 100, or more where there are few labels: enough "
             "to find a pull of 5 % with a chance of 95 %.")] = None
    corrections: Annotated[str | None, o.option(
        "--corrections NAMES", _AUDIT, common=True,
        help="Measure what rotations, contextual or batch gain. Each asks about every image "
             "twice per label.")] = None
    shots: Annotated[int | None, o.option(
        "-k, --shots K", _AUDIT, common=True, min=0,
        help="Examples per label to show; unless given 1 where a probe needs some. 0 shows "
             "none.")] = None
    seed: o.Seed = 0
    called: g.ModelOptions
    caps: g.BudgetOptions
    anonymise: o.Anonymise = False
    role: o.Role = None
    confidence_from: o.ConfidenceFrom = "auto"
    max_side: o.MaxSide = 768
    temperature: o.Temperature = None
    sending: g.RequestOptions
    test_size: o.TestSize = None
    columns: g.ColumnOptions
    check_duplicates: o.CheckDuplicates = True
    report: o.Report = None
    run: o.RunFolder = None
    json: o.Json = False
    # fmt: on


@g.grouped
def audit(ctx: typer.Context, *, given: AuditOptions) -> None:
    """Find out whether a multimodal LLM answers what it sees or what the prompt suggests.

    Asks about the same images under prompts that differ in one thing only: the label in the
    example of an answer, the order of the list, the order and number of the demonstrations, real
    or neutral names. Says for each how many answers follow the prompt, how sure that is, and
    "biased", "pass" or "inconclusive". What it will cost is said before anything is asked.
    """
    session = begin(ctx)
    check_page(given.report)
    probes, corrections = runs.audit_names(given.probes, given.corrections)
    shots = runs.shots_to_audit(given.shots, probes)
    recipe = recipe_of(ctx, shows=shots > 0)
    if recipe.model is None or recipe.row().local:
        raise InputError(
            "An audit asks a multimodal LLM: name one with --model provider:name, for example "
            "openai:gpt-4.1-mini (`showtell models` lists them; `showtell try-server` is one "
            "without a key)."
        )
    recipe = replace(recipe.telling(shots=shots) if shots else recipe, store=False)
    label_set = given_labels(given.sought.labels, given.sought.labels_file)
    job = runs.AuditingJob(
        recipe=recipe,
        inputs={
            "data": given.data,
            "labels": names_in(label_set),
            "examples": given.sought.examples,
            "probes": probes,
            "n": given.n,
            "corrections": corrections,
            "shots": shots,
            "test_size": given.test_size,
        },
        run=given.run,
        tell=session.tell,
        probes=probes,
        n=given.n,
        corrections=corrections,
    )
    begin_job(session, ctx, job)
    data = data_of(session, ctx, given.data, otherwise="audit without examples: `shots` 0")
    parts = data.parted(needs_examples=shots > 0)
    job.recipe = replace(recipe, labels=label_set or parts.label_set)
    classifier = job.fit(parts.support if shots else None)
    job.tell_if_few(classifier, parts.test)
    if not session.quiet:
        sums = job.price(classifier, parts.test)
        tokens = "" if sums.input_tokens is None else f", about {sums.input_tokens:,} tokens in"
        session.summary(
            f"to ask: {counted(sums.n_requests, 'question')}{kept_before(sums)}{tokens}; to pay: "
            f"{dollars(sums.cost_usd_to_pay)}"
        )
    with session.progress() as progress:
        found = job.audit(classifier, parts.test, progress)
    writing = Writing(session)
    writing.print(lambda: print_audit(session, found, json=given.json))
    writing.page(given.report, found.report)
    writing.keep(job, lambda: job.keep(found), found.report)
    failed = f"{found.n_failed:,} without an answer; " if found.n_failed else ""
    session.summary(
        f"{counted(found.n_images, 'image')}, {counted(found.n_requests, 'question')}: "
        f"{found.sentence}; {failed}{session.seconds:.1f} s; "
        f"{what_it_took(runs.taken(job.meters, []))}"
    )
    if found.n_requests and found.n_failed == found.n_requests:
        raise RunError("Not one question got an answer, so there is nothing to judge.")
    writing.end()
