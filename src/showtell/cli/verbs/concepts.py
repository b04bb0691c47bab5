"""`showtell concepts`: have a model take a kind of thing apart; edit, look at and draw the tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from showtell import runs
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.ending import Writing
from showtell.cli.output import check_output, counted, print_json
from showtell.cli.recipes import begin_job, given_labels, names_in, the_writer
from showtell.cli.session import begin
from showtell.cli.trees import Drawing, look_at, say_gaps, sizes
from showtell.cli.writing import show_price, spent_in_words, write_prompts
from showtell.errors import InputError

_TREE = "How the tree is built"
_DRAWN = "What is drawn"

EPILOG = """# Examples

showtell concepts dog --labels "Corgi,Collie,Pug" --model openai:gpt-4.1-mini --dry-run

showtell concepts dog --labels-file breeds.txt --model ollama:llama3.2 -o dog.json

showtell concepts dog --labels-file breeds.txt --model ollama:llama3.2 -o dog.json --until parts

showtell concepts dog.json --draw dog.svg

showtell concepts dog.json --draw ear.png --part "head > ear" --label Corgi
"""


@dataclass(frozen=True, kw_only=True)
class ConceptsOptions:
    """What `concepts` is told."""

    # fmt: off
    domain: Annotated[str | None, o.argument("DOMAIN",
        'What all labels are, in a word or two: dog, "piece of clothing". Or a tree that is '
        "there, as a .json file, to be printed or drawn; nothing is asked then.")] = None
    labels: o.Labels = None
    labels_file: o.LabelsFile = None
    depth: Annotated[int, o.option(
        "--depth N", _TREE, common=True, min=1, max=5, help="Levels of parts, at most.")] = 3
    layout: Annotated[Literal["per-label", "merged"], o.option(
        "--layout per-label|merged", _TREE,
        help="per-label: ask for the values of each label, so that the tree knows whose they "
             "are. merged: ask for all labels together, which takes far fewer questions.")
    ] = "per-label"
    until: Annotated[Literal["parts", "attributes", "values"], o.option(
        "--until parts|attributes|values", _TREE, common=True,
        help="Where to stop, for example to edit the parts before their attributes are asked.")
    ] = "values"
    overwrite: Annotated[bool, o.option(
        "--overwrite", _TREE,
        help="Build the tree anew. Otherwise the file of -o is kept, with all edits, and only "
             "what it lacks is asked for.")] = False
    writer: g.WriterOptions
    dry_run: o.DryRun = False
    draw: Annotated[Path | None, o.option(
        "--draw FILE", _DRAWN, common=True,
        help="Draw the tree into a file that ends in .svg, .png, .pdf or .dot.")] = None
    part: Annotated[str | None, o.option(
        "--part PART", _DRAWN,
        help='Draw or print one part with what is below it: ear, or "head > ear".')] = None
    label: Annotated[list[str] | None, o.option(
        "--label NAME", _DRAWN,
        help="Draw or print the values of one label; may be given several times.")] = None
    output: Annotated[Path | None, o.option(
        "-o, --output FILE", o.OUTPUT, common=True,
        help="Write the tree to a file that ends in .json, to be edited.")] = None
    run: o.RunFolder = None
    json: o.Json = False
    # fmt: on


@g.grouped
def concepts(ctx: typer.Context, *, given: ConceptsOptions) -> None:
    """Have a language model take a kind of thing apart: its parts, and what they are like.

    The tree becomes visual clues for an encoder ("a photo of tail of short length"). Answers are
    checked; what has no usable answer is a gap, named in the file. The file is there to be edited:
    the same command again asks only for what it lacks, keeps what was added by hand, and leaves
    out what was taken out.
    """
    session = begin(ctx)
    if given.writer.copy_prompts is not None:
        write_prompts(session, given.writer.copy_prompts, "concepts")
        return
    domain, output = given.domain, given.output
    if domain is None:
        raise InputError(
            "What are all labels? Name it in a word, for example: showtell concepts dog. Or give "
            "a tree, as a .json file."
        )
    drawing = Drawing(session, given.draw, given.part, given.label)
    label_set = given_labels(given.labels, given.labels_file)
    if domain.lower().endswith(".json"):
        has_model = given.writer.called.model is not None
        look_at(session, domain, drawing, has_model=has_model, json=given.json)
        return
    if "/" in domain or "\\" in domain:
        raise InputError(
            f"{domain!r} is no word for what all labels are, such as dog or butterfly. Labels are "
            "named with --labels or --labels-file, and a tree is a file that ends in .json."
        )
    recipe = the_writer(ctx)
    check_output(output, (".json",))
    job = runs.GrowingJob(
        recipe=recipe,
        domain=domain,
        named=names_in(label_set),
        told={
            "depth": given.depth,
            "layout": given.layout,
            "until": given.until,
            "prompt_dir": given.writer.sending.prompt_dir,
        },
        output=output,
        overwrite=given.overwrite,
        run=given.run,
        tell=session.tell,
    )
    drawing.check(job.labels, given.layout)
    begin_job(session, ctx, job, counts=given.dry_run)
    before = job.before
    if given.dry_run:
        guess = "" if before is not None and before.parts else " if there are 12 parts"
        facts = {"model": job.access.name, "domain": domain, "n_labels": len(job.labels)}
        about = f"about {counted(len(job.labels), 'label')}{guess}"
        show_price(session, facts, [job.price()], about, json=given.json)
        return
    if before is not None:
        session.note(
            f"{output} is kept as it stands; only what it lacks is asked for. --overwrite builds "
            "it anew."
        )
    with session.progress() as progress:
        built = job.grow(progress)
    say_gaps(session, built)
    tree = built.tree
    writing = Writing(session)
    if output is not None and not writing.write(output, lambda: tree.write(str(output))):
        output = None  # so it is printed: what was paid for is not lost for want of a place
    writing.keep(job, lambda: job.keep(built))
    if tree.parts:
        drawing.draw(tree)
    if given.json:
        print_json({**job.facts_of(built), "tree": tree.to_record()})
    elif output is None and given.draw is None:
        drawing.print(tree)
    session.summary(f"{sizes(tree)}; {session.seconds:.1f} s; {spent_in_words(built.spent)}")
    job.refuse_nothing(tree)
    writing.end()
