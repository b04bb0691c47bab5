"""`showtell optimize`: let descriptions evolve on labelled photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import showtell.evaluate as measuring
from showtell import runs
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.data import data_of
from showtell.cli.ending import Writing
from showtell.cli.evolutions import priced, print_evolution, say_useless, show_price, sum_up
from showtell.cli.output import check_output, check_page, counted
from showtell.cli.recipes import begin_job, given_labels, names_in, the_writer
from showtell.cli.session import begin
from showtell.cli.writing import DESCRIPTION_FILES, write_prompts
from showtell.errors import InputError, RunError

_EVOLVE = "How they evolve"

EPILOG = """# Examples

showtell optimize butterflies/ --model openai:gpt-4.1-mini --dry-run

showtell optimize butterflies/ --model openai:gpt-4.1-mini --run evolution/ --max-cost 1

showtell optimize butterflies/ --descriptions animals.json --model ollama:llama3.2 -o best.json

showtell evaluate butterflies/ --method dclip --descriptions best.json
"""


def _whole(names: str, help: str, least: int = 1, **more: Any) -> Any:
    return o.option(names, _EVOLVE, min=least, help=help, **more)


@dataclass(frozen=True, kw_only=True)
class EvolvingOptions:
    """How words evolve."""

    # fmt: off
    descriptions: Annotated[str | None, o.option(
        "--descriptions START", _EVOLVE, common=True,
        help="Phrases to start from, as `showtell describe` writes them; otherwise the names.")
    ] = None
    domain: o.Domain = None
    generations: Annotated[int, _whole(
        "--generations N", "Rounds of rewriting, at most.", 0, common=True)] = 10
    candidates: Annotated[int, _whole("--candidates N", "Answers to each question.")] = 4
    count: Annotated[int, _whole("--count N", "Descriptions of a label, at most.")] = 30
    replace: Annotated[int, _whole(
        "--replace N", "Descriptions of a label to be replaced in a generation.")] = 15
    cluster_size: Annotated[int, _whole(
        "--cluster-size N", "Labels that are rewritten together, about.", 2)] = 10
    patience: Annotated[int, _whole(
        "--patience N", "Stop after so many generations without a better one.")] = 4
    crossover: Annotated[Literal["greedy", "llm"], o.option(
        "--crossover greedy|llm", _EVOLVE,
        help="Mix answers by arithmetic, word by word, which costs nothing; or have the model "
             "mix them, as in the paper.")] = "greedy"
    as_published: Annotated[bool, o.option(
        "--as-published", _EVOLVE,
        help="Go about it as the published code does, without its errors: bare prompts, the best "
             "new words even if worse, the generation chosen by the photos that chose the "
             "words.")] = False
    shots: Annotated[int, o.option(
        "-k, --shots K", _EVOLVE, common=True, min=0,
        help="Photos per label that choose the words; 0: all.")] = 16
    validation: Annotated[float, o.option(
        "--validation PART", _EVOLVE, min=0.0, max=0.99,
        help="Part of each label's photos that only chooses the generation.")] = 0.3
    # fmt: on

    def parameters(self) -> dict[str, Any]:
        """Give them as arguments of the classifier."""
        return {
            "start": self.descriptions,
            "domain": self.domain,
            "n_generations": self.generations,
            "n_candidates": self.candidates,
            "n_start": self.count,
            "n_replaced": self.replace,
            "cluster_size": self.cluster_size,
            "patience": self.patience,
            "crossover": self.crossover,
            "compat": "upstream" if self.as_published else None,
            "shots": self.shots or None,
            "validation": self.validation,
        }


@dataclass(frozen=True, kw_only=True)
class OptimizeOptions:
    """What `optimize` is told."""

    # fmt: off
    data: Annotated[str | None, o.argument("DATA",
        "A folder with a folder per label, or a table. With train/ and test/ the words evolve on "
        "train/ and are measured on test/; else a quarter is kept to measure.")] = None
    labels: o.Labels = None
    labels_file: o.LabelsFile = None
    evolving: EvolvingOptions
    encoder: o.EncoderName = "mini"
    precision: o.Precision = "auto"
    seed: o.Seed = 0
    writer: g.WriterOptions
    dry_run: Annotated[bool, o.option(
        "--dry-run", o.MODEL, common=True,
        help="Only say what it would take at most: requests, tokens, dollars. Nothing is asked, "
             "and no key is needed.")] = False
    test_size: o.TestSize = None
    columns: g.ColumnOptions
    check_duplicates: o.CheckDuplicates = True
    output: Annotated[Path | None, o.option(
        "-o, --output FILE", o.OUTPUT, common=True,
        help="Write the best descriptions to a file that ends in .json, .csv or .yaml.")] = None
    report: o.Report = None
    run: o.RunFolder = None
    json: o.Json = False
    local: g.LocalOptions
    # fmt: on


@g.grouped
def optimize(ctx: typer.Context, *, given: OptimizeOptions) -> None:
    """Have a language model rewrite descriptions until labels are confused no more.

    Each generation tells the model which labels are taken for which, and keeps of its answers the
    words that tell labelled photos apart best. The model sees no photo. Other photos choose the
    generation, and others again say what it is worth: only that number counts.

    Stopped by a cap or Ctrl-C, what there is is written; the same command goes on, and what was
    answered costs nothing again.
    """
    session = begin(ctx)
    if given.writer.copy_prompts is not None:
        write_prompts(session, given.writer.copy_prompts, "evolve")
        return
    output, dry_run = given.output, given.dry_run
    check_output(output, DESCRIPTION_FILES)
    check_page(given.report)
    if given.data is None:
        raise InputError(
            "Which photos? Give DATA, a folder with a folder per label or a table with labels."
        )
    recipe = the_writer(ctx)
    label_set = given_labels(given.labels, given.labels_file)
    told = given.evolving.parameters() | {"prompt_dir": given.writer.sending.prompt_dir}
    job = runs.EvolvingJob(
        recipe=recipe,
        inputs={
            "data": given.data,
            "labels": names_in(label_set),
            "encoder": given.encoder,
            "precision": given.precision,
            "model": recipe.model,
            "test_size": given.test_size,
            "seed": given.seed,
            **{k: v for k, v in told.items() if k not in ("n_generations", "patience")},
        },
        run=given.run,
        tell=session.tell,
        told=told,
    )
    begin_job(session, ctx, job, counts=dry_run)
    looks = given.check_duplicates and not dry_run
    data = data_of(session, ctx, given.data, check_duplicates=looks, shots=None)
    parts = data.parted(needs_examples=True)
    clf = job.build(label_set or parts.label_set)
    price = job.price(clf)
    if dry_run:
        show_price(session, price, json=given.json)
        return
    n = price["n_requests"] - price["n_requests_kept"]
    session.note(
        f"at most {priced(price['cost_usd_to_pay'])} for {counted(n, 'question')}; what was "
        "answered before costs nothing"
    )
    with session.progress() as progress:
        evolution, stop = job.evolve(clf, parts, progress)
    finished = clf if stop is None else None
    domain = told["domain"] if finished is None else finished.descriptions_.domain
    made = evolution.description_set(domain=domain)
    say_useless(session, evolution)
    writing = Writing(session)
    if output is not None:
        bare = "" if evolution.chosen.n_descriptions else ", which has no descriptions"
        said = f"{output}: generation {evolution.best}{bare}"
        if not writing.write(output, lambda: made.write(str(output)), said):
            output = None  # so it is printed: what was paid for is not lost for want of a place

    def draw(page: Path) -> None:
        if finished is None:
            measuring.write_evolution(evolution, page)
        else:
            measuring.write_evolution(finished, page, data=parts.test)

    writing.page(given.report, draw)
    state = "stopped" if finished is None else "finished"
    writing.keep(job, lambda: job.keep(evolution, made, state=state), draw)
    print_evolution(session, evolution, made, json=given.json, written=output is not None)
    sum_up(session, evolution, stopped=finished is None)
    if stop is not None:
        raise stop
    exchanges = [e for generation in evolution.generations for e in generation.exchanges]
    if exchanges and all(exchange.reason is not None for exchange in exchanges):
        raise RunError(f"No answer could be used: {exchanges[0].reason}")
    writing.end()
