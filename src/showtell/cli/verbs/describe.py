"""`showtell describe`: have a model write what labels look like; keep, check and compare sets."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from showtell import datasets, prompts, runs
from showtell.cli import options as o
from showtell.cli.ending import Writing
from showtell.cli.groups import BudgetOptions, ModelOptions, RequestOptions, TalkOptions, grouped
from showtell.cli.output import check_output, counted, print_csv, print_json, print_table
from showtell.cli.recipes import begin_job, given_labels, writer_of
from showtell.cli.session import Session, begin, is_terminal, printable
from showtell.cli.writing import show_price, spent_in_words, write_prompts
from showtell.errors import InputError, RunError
from showtell.mllm.structured import Spent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from showtell._progress import Progress
    from showtell.mllm import Model
    from showtell.prompts import DescriptionDiff, DescriptionNote, DescriptionSet
    from showtell.runs import WritingJob
__all__ = ["add_to", "describe"]

_FILES = (".json", ".csv", ".yaml", ".yml")
_WRITTEN = "What to write"
_PHRASE_TOKENS, _SENTENCE_TOKENS, _FRAME_TOKENS = 10, 24, 20  # of an answer

_EPILOG = """# Examples

showtell describe --labels "tiger,zebra" --model openai:gpt-4.1-mini -o animals.json

showtell describe butterflies/ --domain auto --model google:gemini-2.5-flash --dry-run

showtell describe --labels-file birds.txt --style cupl --model ollama:llama3.2 -o birds.json

showtell describe animals.json --check

showtell describe --compare before.json after.json
"""


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("describe", help=o.paragraphs(describe.__doc__), epilog=_EPILOG)(describe)


@grouped
def describe(
    ctx: typer.Context,
    *,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]",
            help="A folder with a folder per label, or a table: its labels are described. With "
            "--check alone, a file of descriptions.",
        ),
    ] = None,
    labels: o.Labels = None,
    labels_file: o.LabelsFile = None,
    style: Annotated[
        Literal["dclip", "cupl"],
        o.option(
            "--style",
            panel=_WRITTEN,
            common=True,
            metavar="dclip|cupl",
            help="dclip: short phrases, one question per label. cupl: whole sentences, five "
            "questions per label.",
        ),
    ] = "dclip",
    count: Annotated[
        int | None,
        o.option(
            "--count",
            panel=_WRITTEN,
            common=True,
            min=1,
            metavar="N",
            help="Descriptions to ask for in each question; unless given 8 phrases or 10 "
            "sentences.",
        ),
    ] = None,
    domain: Annotated[
        str | None,
        o.option(
            "--domain",
            panel=_WRITTEN,
            metavar="TEXT|auto",
            help="What all labels are, to settle which sense of a word is meant: bird. auto asks "
            "the model first.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        o.option(
            "--overwrite",
            panel=_WRITTEN,
            help="Write all labels anew. Otherwise labels that the file of -o describes already "
            "are kept as they are, with all edits.",
        ),
    ] = False,
    check: Annotated[
        bool,
        o.option(
            "--check",
            panel=_WRITTEN,
            common=True,
            help="Look the set over: repeats, names of other labels, labels without any. Without "
            "--model nothing is asked, and DATA is the file to check.",
        ),
    ] = False,
    diff: Annotated[
        Path | None,
        o.option(
            "--diff",
            panel=_WRITTEN,
            metavar="OLD",
            help="Say what is different from this file; it may be that of -o.",
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        o.option(
            "--compare",
            panel=_WRITTEN,
            metavar="A B",
            help="Only say what differs between two files. Nothing is asked.",
        ),
    ] = None,
    called: ModelOptions,
    caps: BudgetOptions,
    sending: RequestOptions,
    copy_prompts: o.CopyPrompts = None,
    dry_run: o.DryRun = False,
    seed: o.Seed = 0,
    output: Annotated[
        Path | None,
        o.option(
            "-o, --output",
            panel=o.OUTPUT,
            common=True,
            metavar="FILE",
            help="Write the descriptions to a file that ends in .json, .csv or .yaml.",
        ),
    ] = None,
    run: o.RunFolder = None,
    json: o.Json = False,
    saying: TalkOptions,
) -> None:
    """Have a language model write what labels look like, for methods that tell an encoder.

    The answers are checked: what repeats, is too long or names another label is left out. A label
    that the model writes nothing usable about is a gap, which is named. Descriptions are a file
    to edit: the same command again asks only for labels that have none.
    """
    session = begin(ctx, saying)
    if copy_prompts is not None:
        write_prompts(session, copy_prompts, "describe")
        return
    if compare is not None:
        _print_diff(session, *_read_both(*compare), json=json)
        return
    named = given_labels(labels, labels_file)
    recipe = writer_of(ctx)
    if recipe is None:
        if not check:
            raise InputError(
                "Which model? Name it with --model provider:name; `showtell models` lists them, "
                "and `showtell try-server` is one without a key."
            )
        _check_file(session, data, None if named is None else named.labels, json=json)
        return
    check_output(output, _FILES)
    wanted = _labels(data, None if named is None else named.labels)
    before, kept = _kept(output, wanted, style, overwrite=overwrite)
    old = None if diff is None else _read(diff)
    missing = [label for label in wanted if label not in kept]
    texts: dict[str, Any] = {"style": style, "count": count, "prompt_dir": sending.prompt_dir}
    job = runs.WritingJob(
        recipe=recipe,
        verb="describe",
        inputs={
            "labels": wanted, "style": style, "count": count, "domain": domain,
            "model": recipe.model, "prompt_dir": sending.prompt_dir, "seed": seed,
        },
        run=run,
        steps=2 if domain == "auto" else 1,
        tell=session.tell,
    )  # fmt: skip
    if dry_run:
        ctx.call_on_close(job.close)
        job.to_count()
        _say_price(
            session, job, missing, texts, domain=domain, n_kept=len(kept), seed=seed, json=json
        )
        return
    job.claim()
    begin_job(session, ctx, job)
    if kept:
        session.note(
            f"{counted(len(kept), 'label')} of {output} {'is' if len(kept) == 1 else 'are'} kept "
            "as written there; --overwrite writes all anew."
        )
    with session.progress() as progress:
        found = _write(
            session, job.access, missing, texts, domain=domain, all_labels=wanted,
            before=before, seed=seed, progress=progress,
        )  # fmt: skip
    made = _without_names_of(_joined(before, found, wanted, kept), wanted, missing, found)
    _say_gaps(session, found)
    notes = made.restricted(wanted).check() if check else []
    writing = Writing(session)
    if output is not None and not writing.write(output, lambda: made.write(str(output))):
        output = None  # so it is printed: what was paid for is not lost for want of a place
    facts = _facts(found, made, wanted, kept, str(recipe.model))
    if run is not None:
        writing.write(run, lambda: _keep(job, made, facts), said=None)
    changes = None if old is None else old.diff(made)
    if json:
        print_json({
            **facts,
            "notes": [vars(note) for note in notes],
            **({} if changes is None else {"diff": _as_json(changes)}),
            "descriptions": {label: list(made[label]) for label in wanted},
        })  # fmt: skip
    else:
        if output is None:
            _print_set(session, made.restricted(wanted))
        if changes is not None:
            session.summary(str(changes)) if output is None else _write_out(str(changes))
        for note in notes:
            session.note(str(note))
    n_described = facts["n_described"]
    session.summary(
        f"{n_described:,} of {counted(len(wanted), 'label')} described, "
        f"{counted(sum(len(made[label]) for label in wanted), 'description')}; "
        f"{session.seconds:.1f} s; {spent_in_words(found.spent)}"
    )
    if not n_described:
        reason = next(iter(found.gaps.values()), "no answer can be used")
        raise RunError(f"No label got a description: {reason}")
    writing.end()


def _keep(job: WritingJob, made: DescriptionSet, facts: dict[str, Any]) -> None:
    """Fill the run folder."""
    assert job.run is not None
    made.write(job.run / "descriptions.json")
    job.finish(facts)


@dataclass(kw_only=True)
class _Found:
    """What the model wrote, and what it took."""

    descriptions: DescriptionSet | None = None
    gaps: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, tuple[str, ...]] = field(default_factory=dict)
    domain: str | None = None
    spent: Spent = field(default_factory=Spent)


def _write(
    session: Session,
    access: Model,
    labels: Sequence[str],
    texts: dict[str, Any],
    *,
    domain: str | None,
    all_labels: Sequence[str],
    before: DescriptionSet | None,
    seed: int,
    progress: Progress,
) -> _Found:
    """Ask for the domain, if it is to be found, and for the descriptions."""
    found = _Found()
    found.domain = None if domain == "auto" else domain
    if found.domain is None and before is not None:
        found.domain = before.domain
    if not labels:
        return found
    if found.domain is None and domain == "auto":
        sought = prompts.find_domain(
            all_labels, access, random_state=seed, prompt_dir=texts["prompt_dir"]
        )
        found.spent.merge(sought.spent)
        found.domain = sought.text
        session.note(
            f"the labels are all of this kind: {sought.text}"
            if sought.text
            else f"no domain: {sought.reason}"
        )
    described = prompts.write_descriptions(
        labels, access, **texts, domain=found.domain, progress=progress
    )
    found.spent.merge(described.spent)
    found.descriptions = described.descriptions
    found.gaps, found.dropped = dict(described.gaps), dict(described.dropped)
    return found


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


def _kept(
    output: Path | None, wanted: Sequence[str], style: str, *, overwrite: bool
) -> tuple[DescriptionSet | None, tuple[str, ...]]:
    """Read the file that is there already, and say which labels it describes."""
    if output is None or overwrite or not output.exists():
        return None, ()
    before = _read(output)
    kept = tuple(label for label in wanted if before.get(label))
    kind = "phrases" if style == "dclip" else "sentences"
    if kept and before.kind != kind and len(kept) < len(wanted):
        raise InputError(
            f"{str(output)!r} holds {before.kind}, and --style {style} writes {kind}, which do not "
            "mix. Give another file, the other --style, or --overwrite."
        )
    return before, kept


def _joined(
    before: DescriptionSet | None, found: _Found, wanted: Sequence[str], kept: Sequence[str]
) -> DescriptionSet:
    """Put what was kept and what was written together: the file's labels first, in its order."""
    new = found.descriptions
    if before is None:
        assert new is not None  # nothing was kept, so everything was asked for
        return new
    if new is None:
        return replace(before, domain=found.domain, notes=())
    written = {label: new[label] for label in new if new[label] or label not in before}
    texts = {**before.texts, **written}
    order = [*before, *(label for label in wanted if label not in before)]
    provenance = new.provenance
    if any(before.values()):
        told = before.provenance
        source = told.model or told.source or "a file"
        n = sum(map(bool, before.values()))
        note = f"{provenance.note}; {counted(n, 'label')} kept from {source}"
        provenance = replace(provenance, note=note)
    return prompts.DescriptionSet(
        {label: texts[label] for label in order},
        kind=new.kind,
        weights={label: w for label, w in before.weights.items() if label not in written},
        domain=found.domain,
        provenance=provenance,
    )


def _without_names_of(
    made: DescriptionSet, wanted: Sequence[str], written: Sequence[str], found: _Found
) -> DescriptionSet:
    """Leave out what was written now and names a label that was kept."""
    if len(written) == len(wanted):
        return made
    changes: dict[str, tuple[str, ...]] = {}
    for note in made.restricted(wanted).check():
        if note.kind == "names-other-label" and note.label in written:
            left = changes.get(note.label, made[note.label])
            changes[note.label] = tuple(text for text in left if text != note.text)
            found.dropped[note.label] = (*found.dropped.get(note.label, ()), note.text)
    return made.with_texts(changes) if changes else made


def _say_gaps(session: Session, found: _Found) -> None:
    """Name the labels that the model wrote nothing, or not all, about."""
    for label, reason in found.gaps.items():
        n = 0 if found.descriptions is None else len(found.descriptions[label])
        if n:
            session.note(f"{label}: {counted(n, 'description')}; a question failed: {reason}")
        else:
            session.note(f"no descriptions of {label}: {reason}")
    for label, texts in found.dropped.items():
        session.detail(f"left out of {label}: {'; '.join(texts)}")
    n_dropped = sum(map(len, found.dropped.values()))
    if n_dropped:
        session.note(
            f"{counted(n_dropped, 'text')} left out: repeated, too long, or naming another label; "
            "-v lists them."
        )


def _facts(
    found: _Found,
    made: DescriptionSet,
    wanted: Sequence[str],
    kept: Sequence[str],
    model: str,
) -> dict[str, Any]:
    spent = found.spent
    return {
        "model": model,
        "kind": made.kind,
        "domain": made.domain,
        "n_labels": len(wanted),
        "n_described": sum(bool(made[label]) for label in wanted),
        "n_kept": len(kept),
        "n_descriptions": sum(len(made[label]) for label in wanted),
        "gaps": found.gaps,
        "dropped": {label: list(texts) for label, texts in found.dropped.items()},
        "n_requests": spent.n_requests,
        "n_from_cache": spent.n_from_cache,
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "cost_usd": None if spent.cost_usd is None else float(spent.cost_usd),
    }


def _say_price(
    session: Session,
    job: WritingJob,
    labels: Sequence[str],
    texts: dict[str, Any],
    *,
    domain: str | None,
    n_kept: int,
    seed: int,
    json: bool,
) -> None:
    """Count and price the first round of questions."""
    access = job.access
    requests = []
    if labels:
        told = None if domain == "auto" else domain
        requests = prompts.describe_requests(labels, access, **texts, domain=told)
    each = _SENTENCE_TOKENS if texts["style"] == "cupl" else _PHRASE_TOKENS
    wanted = texts["count"] or (10 if texts["style"] == "cupl" else 8)
    parts = [job.add_up(requests, answer_tokens=_FRAME_TOKENS + each * wanted)]
    if domain == "auto" and labels:
        asked = prompts.domain_requests(
            labels, access, random_state=seed, prompt_dir=texts["prompt_dir"]
        )
        parts.append(job.add_up(asked, answer_tokens=_FRAME_TOKENS))
    facts = {"model": access.name, "n_labels": len(labels), "n_kept": n_kept}
    show_price(session, facts, parts, f"about {counted(len(labels), 'label')}", json=json)


def _check_file(
    session: Session, file: str | None, labels: Sequence[str] | None, *, json: bool
) -> None:
    """Say what is odd about a file of descriptions."""
    if file is None:
        raise InputError("Which file? --check without --model looks over DATA, a file of "
                         "descriptions.")  # fmt: skip
    found = _read(Path(file))
    notes = found.check(labels)
    if json:
        print_json({
            "file": file,
            "kind": found.kind,
            "n_labels": len(found),
            "n_descriptions": found.n_descriptions,
            "notes": [vars(note) for note in notes],
        })  # fmt: skip
    elif is_terminal(sys.stdout):
        print_table(session, ("what", "label", "text", "note"), map(_note_row, notes))
    else:
        print_csv(("what", "label", "text", "note"), map(_note_row, notes))
    session.summary(
        f"{file}: {found.n_descriptions:,} {found.kind} of {counted(len(found), 'label')}; "
        f"{counted(len(notes), 'remark')}"
    )


def _note_row(note: DescriptionNote) -> tuple[str, str, str, str]:
    return (note.kind, note.label, note.text, note.message)


def _read(path: Path) -> DescriptionSet:
    return prompts.read_descriptions(path)


def _read_both(before: Path, after: Path) -> tuple[DescriptionSet, DescriptionSet]:
    return _read(before), _read(after)


def _print_diff(
    session: Session, before: DescriptionSet, after: DescriptionSet, *, json: bool
) -> None:
    changes = before.diff(after)
    if json:
        print_json(_as_json(changes))
    else:
        _write_out(str(changes))
    session.detail("The sets are the same." if not changes else "The sets differ.")


def _as_json(changes: DescriptionDiff) -> dict[str, Any]:
    return {
        "added": {label: list(texts) for label, texts in changes.added.items()},
        "removed": {label: list(texts) for label, texts in changes.removed.items()},
        "n_kept": changes.n_kept,
        "new_labels": list(changes.new_labels),
        "lost_labels": list(changes.lost_labels),
    }


def _write_out(text: str) -> None:
    sys.stdout.write("".join(f"{printable(line)}\n" for line in text.splitlines()))


def _print_set(session: Session, made: DescriptionSet) -> None:
    """Print the descriptions: a table on a terminal, CSV into a pipe."""
    rows = [(label, text) for label in made for text in made[label]]
    if is_terminal(sys.stdout):
        print_table(session, ("label", "description"), rows, title=str(made.domain or ""))
    else:
        print_csv(("label", "description"), rows)
