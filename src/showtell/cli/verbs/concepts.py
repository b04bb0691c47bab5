"""`showtell concepts`: have a model take a kind of thing apart; edit, look at and draw the tree."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from showtell import prompts, runs
from showtell.cli import options as o
from showtell.cli.ending import Writing
from showtell.cli.groups import BudgetOptions, ModelOptions, RequestOptions, TalkOptions, grouped
from showtell.cli.output import check_output, counted, print_csv, print_json, print_table
from showtell.cli.recipes import begin_job, given_labels, writer_of
from showtell.cli.session import Session, begin, is_terminal
from showtell.cli.writing import show_price, spent_in_words, write_prompts
from showtell.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from showtell.prompts import Built, ConceptTree
    from showtell.runs import WritingJob

__all__ = ["add_to", "concepts"]

_TREE = "How the tree is built"
_DRAWN = "What is drawn"
_LEGIBLE = 150  # values of a drawing that can still be read at a glance
_ANSWER_TOKENS = 90  # of an answer, about
_SHOWN_GAPS = 8

_EPILOG = """# Examples

showtell concepts dog --labels "Corgi,Collie,Pug" --model openai:gpt-4.1-mini --dry-run

showtell concepts dog --labels-file breeds.txt --model ollama:llama3.2 -o dog.json

showtell concepts dog --labels-file breeds.txt --model ollama:llama3.2 -o dog.json --until parts

showtell concepts dog.json --draw dog.svg

showtell concepts dog.json --draw ear.png --part "head > ear" --label Corgi
"""


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("concepts", help=o.paragraphs(concepts.__doc__), epilog=_EPILOG)(concepts)


@dataclass(frozen=True, kw_only=True)
class Growing:
    """How a tree is built."""

    depth: Annotated[
        int,
        o.option(
            "--depth",
            panel=_TREE,
            common=True,
            min=1,
            max=5,
            metavar="N",
            help="Levels of parts, at most.",
        ),
    ] = 3
    layout: Annotated[
        Literal["per-label", "merged"],
        o.option(
            "--layout",
            panel=_TREE,
            metavar="per-label|merged",
            help="per-label: ask for the values of each label, so that the tree knows whose they "
            "are. merged: ask for all labels together, which takes far fewer questions.",
        ),
    ] = "per-label"
    until: Annotated[
        Literal["parts", "attributes", "values"],
        o.option(
            "--until",
            panel=_TREE,
            common=True,
            metavar="parts|attributes|values",
            help="Where to stop, for example to edit the parts before their attributes are asked.",
        ),
    ] = "values"
    overwrite: Annotated[
        bool,
        o.option(
            "--overwrite",
            panel=_TREE,
            help="Build the tree anew. Otherwise the file of -o is kept, with all edits, and only "
            "what it lacks is asked for.",
        ),
    ] = False

    def parameters(self, sending: RequestOptions) -> dict[str, Any]:
        """Give them as arguments of `build_concepts`."""
        return {
            "depth": self.depth,
            "layout": self.layout,
            "until": self.until,
            "prompt_dir": sending.prompt_dir,
        }


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What is drawn, and where."""

    draw: Annotated[
        Path | None,
        o.option(
            "--draw",
            panel=_DRAWN,
            common=True,
            metavar="FILE",
            help="Draw the tree into a file that ends in .svg, .png, .pdf or .dot.",
        ),
    ] = None
    part: Annotated[
        str | None,
        o.option(
            "--part",
            panel=_DRAWN,
            metavar="PART",
            help='Draw or print one part with what is below it: ear, or "head > ear".',
        ),
    ] = None
    label: Annotated[
        list[str] | None,
        o.option(
            "--label",
            panel=_DRAWN,
            metavar="NAME",
            help="Draw or print the values of one label; may be given several times.",
        ),
    ] = None


@grouped
def concepts(
    ctx: typer.Context,
    *,
    domain: Annotated[
        str | None,
        typer.Argument(
            metavar="DOMAIN",
            help='What all labels are, in a word or two: dog, "piece of clothing". Or a tree that '
            "is there, as a .json file, to be printed or drawn; nothing is asked then.",
        ),
    ] = None,
    labels: o.Labels = None,
    labels_file: o.LabelsFile = None,
    growing: Growing,
    called: ModelOptions,
    caps: BudgetOptions,
    sending: RequestOptions,
    copy_prompts: o.CopyPrompts = None,
    dry_run: o.DryRun = False,
    drawing: Drawing,
    output: Annotated[
        Path | None,
        o.option(
            "-o, --output",
            panel=o.OUTPUT,
            common=True,
            metavar="FILE",
            help="Write the tree to a file that ends in .json, to be edited.",
        ),
    ] = None,
    run: o.RunFolder = None,
    json: o.Json = False,
    saying: TalkOptions,
) -> None:
    """Have a language model take a kind of thing apart: its parts, and what they are like.

    The tree becomes visual clues for an encoder ("a photo of tail of short length"). Answers are
    checked; what has no usable answer is a gap, named in the file. The file is there to be edited:
    the same command again asks only for what it lacks, keeps what was added by hand, and leaves
    out what was taken out.
    """
    session = begin(ctx, saying)
    if copy_prompts is not None:
        write_prompts(session, copy_prompts, "concepts")
        return
    if domain is None:
        raise InputError(
            "What are all labels? Name it in a word, for example: showtell concepts dog. Or give "
            "a tree, as a .json file."
        )
    if drawing.draw is not None:
        from showtell.prompts.concepts.tree_drawing import (
            check_drawing,  # only where something is drawn
        )

        check_drawing(drawing.draw)
    named = given_labels(labels, labels_file)
    if domain.lower().endswith(".json"):
        _look(session, domain, drawing, has_model=called.model is not None, json=json)
        return
    if "/" in domain or "\\" in domain:
        raise InputError(
            f"{domain!r} is no word for what all labels are, such as dog or butterfly. Labels are "
            "named with --labels or --labels-file, and a tree is a file that ends in .json."
        )
    recipe = writer_of(ctx)
    if recipe is None:
        raise InputError(
            "Which model? Name it with --model provider:name; `showtell models` lists them, and "
            "`showtell try-server` is one without a key."
        )
    check_output(output, (".json",))
    before = _kept(output, overwrite=growing.overwrite)
    wanted = _labels(None if named is None else named.labels, before)
    _check_label(drawing, wanted, growing.layout)
    how = growing.parameters(sending)
    job = runs.WritingJob(
        recipe=recipe,
        verb="concepts",
        inputs={"domain": domain, "labels": wanted, "model": recipe.model, **how},
        run=run,
        tell=session.tell,
    )
    if dry_run:
        ctx.call_on_close(job.close)
        job.to_count()
        _say_price(session, job, domain, wanted, before, how, json)
        return
    job.claim()
    begin_job(session, ctx, job)
    if before is not None:
        session.note(
            f"{output} is kept as it stands; only what it lacks is asked for. --overwrite builds "
            "it anew."
        )
    with session.progress() as progress:
        built = prompts.build_concepts(
            domain, wanted, job.access, tree=before, progress=progress, **how
        )
    _say_gaps(session, built)
    tree = built.tree
    writing = Writing(session)
    if output is not None and not writing.write(output, lambda: tree.write(str(output))):
        output = None  # so it is printed: what was paid for is not lost for want of a place
    facts = _facts(built, wanted, str(recipe.model))
    if run is not None:
        writing.write(run, lambda: _keep(job, tree, facts), said=None)
    if tree.parts:
        _draw(session, tree, drawing)
    if json:
        print_json({**facts, "tree": tree.to_record()})
    elif output is None and drawing.draw is None:
        _print_tree(session, tree, drawing)
    session.summary(
        f"{_sizes(tree)}; {counted(len(tree.gaps), 'gap')}; {session.seconds:.1f} s; "
        f"{spent_in_words(built.spent)}"
    )
    _refuse_nothing(tree, growing.until)
    writing.end()


def _keep(job: WritingJob, tree: ConceptTree, facts: dict[str, Any]) -> None:
    """Fill the run folder."""
    assert job.run is not None
    tree.write(job.run / "concepts.json")
    job.finish(facts)


def _look(session: Session, file: str, drawing: Drawing, *, has_model: bool, json: bool) -> None:
    """Print or draw a tree that is there."""
    tree = prompts.read_concepts(file)
    if has_model:
        raise InputError(
            f"{file!r} is a tree. To fill what it lacks, name the domain and the file: showtell "
            f'concepts "{tree.domain}" --labels ... --model ... -o {file}'
        )
    _draw(session, tree, drawing)
    if json:
        print_json({**_sums(tree), "gaps": _gaps(tree), "tree": tree.to_record()})
    elif drawing.draw is None:
        _print_tree(session, tree, drawing)
    session.summary(f"{file}: {_sizes(tree)}; {counted(len(tree.gaps), 'gap')}")


def _kept(output: Path | None, *, overwrite: bool) -> ConceptTree | None:
    """Read the tree that is there already."""
    if output is None or overwrite or not output.exists():
        return None
    return prompts.read_concepts(output)


def _labels(named: Sequence[str] | None, before: ConceptTree | None) -> list[str]:
    """Take the labels that are named, or those of the tree that is there."""
    if named is not None:
        return list(named)
    if before is not None and before.labels:
        return list(before.labels)
    raise InputError('Which labels? Name them with --labels "Corgi,Collie" or --labels-file FILE.')


def _check_label(drawing: Drawing, wanted: Sequence[str], layout: str) -> None:
    """Refuse a label that no value will have, before anything is paid."""
    if not drawing.label:
        return
    if layout == "merged":
        raise InputError(
            "--label needs --layout per-label: in a merged tree values belong to no label."
        )
    unknown = [label for label in drawing.label if label not in wanted]
    if unknown:
        raise InputError(
            f"--label {', '.join(map(repr, unknown))} is none of the labels: {', '.join(wanted)}."
        )


def _say_gaps(session: Session, built: Built) -> None:
    """Name what the tree lacks."""
    gaps = built.gaps
    shown = gaps if len(gaps) <= _SHOWN_GAPS else gaps[: _SHOWN_GAPS - 1]
    for gap in shown:
        session.note(f"no {gap}")
    for gap in gaps[len(shown) :]:
        session.detail(f"no {gap}")
    if len(gaps) > len(shown):
        session.note(f"{counted(len(gaps) - len(shown), 'more gap')}; -v lists them.")
    for place, texts in built.dropped.items():
        session.detail(f"left out of {place}: {'; '.join(texts)}")
    n_dropped = sum(map(len, built.dropped.values()))
    if n_dropped:
        session.note(
            f"{counted(n_dropped, 'text')} left out: no value, too long, repeated, or naming a "
            "label; -v lists them."
        )


def _refuse_nothing(tree: ConceptTree, until: str) -> None:
    n = {
        "parts": len(tree.parts),
        "attributes": sum(len(part.attributes) for _, part in tree.walk()),
        "values": tree.n_values,
    }[until]
    if not n:
        reason = tree.gaps[0].reason if tree.gaps else "no answer can be used"
        raise RunError(f"The tree got no {until}: {reason}")


def _sums(tree: ConceptTree) -> dict[str, Any]:
    return {
        "domain": tree.domain,
        "n_labels": len(tree.labels),
        "n_parts": sum(1 for _ in tree.walk()),
        "depth": tree.depth,
        "n_attributes": sum(len(part.attributes) for _, part in tree.walk()),
        "n_values": tree.n_values,
        "n_clues": len(tree.clues()),
        "n_gaps": len(tree.gaps),
    }


def _sizes(tree: ConceptTree) -> str:
    sums = _sums(tree)
    return ", ".join(
        counted(sums[f"n_{name}s"], name) for name in ("part", "attribute", "value", "clue")
    )


def _gaps(tree: ConceptTree) -> list[dict[str, Any]]:
    return [{**vars(gap), "part": list(gap.part)} for gap in tree.gaps]


def _facts(built: Built, wanted: Sequence[str], model: str) -> dict[str, Any]:
    spent = built.spent
    return {
        "model": model,
        **_sums(built.tree),
        "n_labels": len(wanted),
        "gaps": _gaps(built.tree),
        "dropped": {place: list(texts) for place, texts in built.dropped.items()},
        "n_requests": spent.n_requests,
        "n_from_cache": spent.n_from_cache,
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "cost_usd": None if spent.cost_usd is None else float(spent.cost_usd),
    }


def _draw(session: Session, tree: ConceptTree, drawing: Drawing) -> None:
    if drawing.draw is None:
        return
    prompts.draw_concepts(tree, drawing.draw, part=drawing.part, labels=drawing.label or None)
    session.summary(f"wrote {drawing.draw}")
    n = (tree.restricted(labels=drawing.label) if drawing.label else tree).n_values
    if drawing.part is None and n > _LEGIBLE:
        session.note(f"{counted(n, 'value')}; --part NAME draws one part.")


def _print_tree(session: Session, tree: ConceptTree, drawing: Drawing) -> None:
    """Print a value a line: a table on a terminal, CSV into a pipe."""
    above: tuple[str, ...] = ()
    if drawing.part is not None:
        path = prompts.find_part(tree, drawing.part)
        above, tree = path[:-1], tree.restricted(part=path)
    if drawing.label:
        _check_label(drawing, tree.labels, "per-label")
        tree = tree.restricted(labels=drawing.label)
    rows = [
        (" > ".join((*above, *path)), attribute.name, value.text, "; ".join(value.labels))
        for path, part in tree.walk()
        for attribute in part.attributes
        for value in attribute.values
    ]
    header = ("part", "attribute", "value", "labels")
    if is_terminal(sys.stdout):
        print_table(session, header, rows, title=tree.domain)
    else:
        print_csv(header, rows)


def _say_price(
    session: Session,
    job: WritingJob,
    domain: str,
    labels: Sequence[str],
    before: ConceptTree | None,
    how: Mapping[str, Any],
    json: bool,
) -> None:
    """Count and price the questions, those about parts that nobody knows yet by a guess."""
    requests = prompts.tree_requests(domain, labels, job.access, tree=before, **how)
    sums = job.add_up(requests, answer_tokens=_ANSWER_TOKENS)
    guess = "" if before is not None and before.parts else " if there are 12 parts"
    facts = {"model": job.access.name, "domain": domain, "n_labels": len(labels)}
    about = f"about {counted(len(labels), 'label')}{guess}"
    show_price(session, facts, [sums], about, json=json)
