"""`showtell describe`: have a model write what labels look like; keep, check and compare sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from showtell import datasets, prompts, runs
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.descriptions import check_file, print_described, print_diff, say_gaps
from showtell.cli.ending import Writing
from showtell.cli.output import check_output, counted
from showtell.cli.recipes import begin_job, given_labels, names_in, the_writer, writer_of
from showtell.cli.session import begin
from showtell.cli.writing import DESCRIPTION_FILES, show_price, spent_in_words, write_prompts
from showtell.errors import InputError, RunError

_WRITTEN = "What to write"

EPILOG = """# Examples

showtell describe --labels "tiger,zebra" --model openai:gpt-4.1-mini -o animals.json

showtell describe butterflies/ --domain auto --model google:gemini-2.5-flash --dry-run

showtell describe --labels-file birds.txt --style cupl --model ollama:llama3.2 -o birds.json

showtell describe animals.json --check

showtell describe --compare before.json after.json
"""


@dataclass(frozen=True, kw_only=True)
class DescribeOptions:
    """What `describe` is told."""

    # fmt: off
    data: Annotated[str | None, o.argument("[DATA]",
        "A folder with a folder per label, or a table: its labels are described. With --check "
        "alone, a file of descriptions.")] = None
    labels: o.Labels = None
    labels_file: o.LabelsFile = None
    style: Annotated[Literal["dclip", "cupl"], o.option(
        "--style dclip|cupl", _WRITTEN, common=True,
        help="dclip: short phrases, one question per label. cupl: whole sentences, five "
             "questions per label.")] = "dclip"
    count: Annotated[int | None, o.option(
        "--count N", _WRITTEN, common=True, min=1,
        help="Descriptions to ask for in each question; unless given 8 phrases or 10 "
             "sentences.")] = None
    domain: Annotated[str | None, o.option(
        "--domain TEXT|auto", _WRITTEN,
        help="What all labels are, to settle which sense of a word is meant: bird. auto asks the "
             "model first.")] = None
    overwrite: Annotated[bool, o.option(
        "--overwrite", _WRITTEN,
        help="Write all labels anew. Otherwise labels that the file of -o describes already are "
             "kept as they are, with all edits.")] = False
    check: Annotated[bool, o.option(
        "--check", _WRITTEN, common=True,
        help="Look the set over: repeats, names of other labels, labels without any. Without "
             "--model nothing is asked, and DATA is the file to check.")] = False
    diff: Annotated[Path | None, o.option(
        "--diff OLD", _WRITTEN,
        help="Say what is different from this file; it may be that of -o.")] = None
    compare: Annotated[tuple[Path, Path] | None, o.option(
        "--compare A B", _WRITTEN,
        help="Only say what differs between two files. Nothing is asked.")] = None
    writer: g.WriterOptions
    dry_run: o.DryRun = False
    seed: o.Seed = 0
    output: Annotated[Path | None, o.option(
        "-o, --output FILE", o.OUTPUT, common=True,
        help="Write the descriptions to a file that ends in .json, .csv or .yaml.")] = None
    run: o.RunFolder = None
    json: o.Json = False
    # fmt: on


@g.grouped
def describe(ctx: typer.Context, *, given: DescribeOptions) -> None:
    """Have a language model write what labels look like, for methods that tell an encoder.

    The answers are checked: what repeats, is too long or names another label is left out. A label
    that the model writes nothing usable about is a gap, which is named. Descriptions are a file
    to edit: the same command again asks only for labels that have none.
    """
    session = begin(ctx)
    if given.writer.copy_prompts is not None:
        write_prompts(session, given.writer.copy_prompts, "describe")
        return
    if given.compare is not None:
        print_diff(session, *map(prompts.read_descriptions, given.compare), json=given.json)
        return
    named = names_in(given_labels(given.labels, given.labels_file))
    if given.check and writer_of(ctx) is None:
        check_file(session, given.data, named, json=given.json)
        return
    recipe = the_writer(ctx)
    output = given.output
    check_output(output, DESCRIPTION_FILES)
    job = runs.DescribingJob(
        recipe=recipe,
        labels=_labels(given.data, named),
        style=given.style,
        count=given.count,
        domain=given.domain,
        prompt_dir=given.writer.sending.prompt_dir,
        output=output,
        overwrite=given.overwrite,
        run=given.run,
        tell=session.tell,
    )
    old = None if given.diff is None else prompts.read_descriptions(given.diff)
    begin_job(session, ctx, job, counts=given.dry_run)
    n_kept = len(job.kept)
    if given.dry_run:
        what = {"model": job.access.name, "n_labels": len(job.missing), "n_kept": n_kept}
        about = f"about {counted(len(job.missing), 'label')}"
        show_price(session, what, job.price(), about, json=given.json)
        return
    if n_kept:
        session.note(
            f"{counted(n_kept, 'label')} of {output} {'is' if n_kept == 1 else 'are'} kept as "
            "written there; --overwrite writes all anew."
        )
    with session.progress() as progress:
        found = job.write(progress)
    say_gaps(session, found)
    made = found.descriptions
    writing = Writing(session)
    if output is not None and not writing.write(output, lambda: made.write(str(output))):
        output = None  # so it is printed: what was paid for is not lost for want of a place
    writing.keep(job, lambda: job.keep(found))
    changes = None if old is None else old.diff(made)
    shown = made.restricted(job.labels)
    notes = shown.check() if given.check else []
    facts = job.facts_of(found)
    print_described(
        session,
        shown,
        notes,
        changes,
        facts=facts if given.json else None,
        written=output is not None,
    )
    session.summary(
        f"{facts['n_described']:,} of {counted(len(job.labels), 'label')} described, "
        f"{counted(facts['n_descriptions'], 'description')}; {session.seconds:.1f} s; "
        f"{spent_in_words(found.spent)}"
    )
    if not facts["n_described"]:
        reason = next(iter(found.gaps.values()), "no answer can be used")
        raise RunError(f"No label got a description: {reason}")
    writing.end()


def _labels(data: str | None, named: Sequence[str] | None) -> list[str]:
    """Take the labels of --labels or --labels-file, or those of DATA."""
    if named is not None:
        if data is not None:
            raise InputError(
                "Give the labels once: DATA, whose labels are described, or --labels or "
                "--labels-file."
            )
        return list(named)
    if data is None:
        raise InputError(
            'Which labels? Name them with --labels "cat,dog" or --labels-file FILE, or give a '
            "folder with a folder per label."
        )
    found = list(datasets.load_dataset(data).labels)
    if not found:
        raise InputError(f"Nothing in {data!r} has a label. Name labels with --labels.")
    return found
