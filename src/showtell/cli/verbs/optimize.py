"""`showtell optimize`: let descriptions evolve on labelled photos."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import showtell.evaluate as measuring
from showtell import classify, encoders, runs
from showtell.cli import options as o
from showtell.cli.data import labelled_data, parts_to_measure
from showtell.cli.ending import Writing
from showtell.cli.groups import (
    BudgetOptions,
    ColumnOptions,
    ModelOptions,
    RequestOptions,
    TalkOptions,
    grouped,
)
from showtell.cli.output import (
    check_output,
    check_page,
    counted,
    dollars,
    number,
    print_csv,
    print_json,
    print_table,
    say_what_is_kept,
)
from showtell.cli.recipes import begin_job, given_labels, writer_of
from showtell.cli.session import Session, begin, is_terminal
from showtell.cli.writing import write_prompts
from showtell.errors import InputError, RunError
from showtell.words import chance

if TYPE_CHECKING:
    from showtell.classify.evolving.classifier import EvolvingDescriptionClassifier
    from showtell.classify.evolving.record import Evolution, Outcome
    from showtell.cli.data import Parts
    from showtell.prompts import DescriptionSet
    from showtell.runs import Job, WritingJob
__all__ = ["add_to", "optimize"]

_FILES = (".json", ".csv", ".yaml", ".yml")
_EVOLVE = "How they evolve"

_EPILOG = """# Examples

showtell optimize butterflies/ --model openai:gpt-4.1-mini --dry-run

showtell optimize butterflies/ --model openai:gpt-4.1-mini --run evolution/ --max-cost 1

showtell optimize butterflies/ --descriptions animals.json --model ollama:llama3.2 -o best.json

showtell evaluate butterflies/ --method dclip --descriptions best.json
"""


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("optimize", help=o.paragraphs(optimize.__doc__), epilog=_EPILOG)(optimize)


def _whole(flag: str, help: str, least: int = 1, **more: Any) -> Any:
    return o.option(flag, panel=_EVOLVE, min=least, metavar="N", help=help, **more)


@dataclass(frozen=True, kw_only=True)
class Evolving:
    """How words evolve."""

    descriptions: Annotated[
        str | None,
        o.option(
            "--descriptions",
            panel=_EVOLVE,
            common=True,
            metavar="START",
            help="Phrases to start from, as `showtell describe` writes them; otherwise the names.",
        ),
    ] = None
    domain: o.Domain = None
    generations: Annotated[
        int, _whole("--generations", "Rounds of rewriting, at most.", 0, common=True)
    ] = 10
    candidates: Annotated[int, _whole("--candidates", "Answers to each question.")] = 4
    count: Annotated[int, _whole("--count", "Descriptions of a label, at most.")] = 30
    replace: Annotated[
        int, _whole("--replace", "Descriptions of a label to be replaced in a generation.")
    ] = 15
    cluster_size: Annotated[
        int, _whole("--cluster-size", "Labels that are rewritten together, about.", 2)
    ] = 10
    patience: Annotated[
        int, _whole("--patience", "Stop after so many generations without a better one.")
    ] = 4
    crossover: Annotated[
        Literal["greedy", "llm"],
        o.option(
            "--crossover",
            panel=_EVOLVE,
            metavar="greedy|llm",
            help="Mix answers by arithmetic, word by word, which costs nothing; or have the model "
            "mix them, as in the paper.",
        ),
    ] = "greedy"
    as_published: Annotated[
        bool,
        o.option(
            "--as-published",
            panel=_EVOLVE,
            help="Go about it as the published code does, without its errors: bare prompts, the "
            "best new words even if worse, the generation chosen by the photos that chose the "
            "words.",
        ),
    ] = False
    shots: Annotated[
        int,
        o.option(
            "-k, --shots",
            panel=_EVOLVE,
            common=True,
            min=0,
            metavar="K",
            help="Photos per label that choose the words; 0: all.",
        ),
    ] = 16
    validation: Annotated[
        float,
        o.option(
            "--validation",
            panel=_EVOLVE,
            min=0.0,
            max=0.99,
            metavar="PART",
            help="Part of each label's photos that only chooses the generation.",
        ),
    ] = 0.3

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


@grouped
def optimize(
    ctx: typer.Context,
    *,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A folder with a folder per label, or a table. With train/ and test/ the words "
            "evolve on train/ and are measured on test/; else a quarter is kept to measure.",
        ),
    ] = None,
    labels: o.Labels = None,
    labels_file: o.LabelsFile = None,
    evolving: Evolving,
    encoder: o.EncoderName = "mini",
    precision: o.Precision = "auto",
    seed: o.Seed = 0,
    called: ModelOptions,
    caps: BudgetOptions,
    sending: RequestOptions,
    copy_prompts: o.CopyPrompts = None,
    dry_run: Annotated[
        bool,
        o.option(
            "--dry-run",
            panel=o.MODEL,
            common=True,
            help="Only say what it would take at most: requests, tokens, dollars. Nothing is "
            "asked, and no key is needed.",
        ),
    ] = False,
    test_size: o.TestSize = None,
    columns: ColumnOptions,
    check_duplicates: o.CheckDuplicates = True,
    output: Annotated[
        Path | None,
        o.option(
            "-o, --output",
            panel=o.OUTPUT,
            common=True,
            metavar="FILE",
            help="Write the best descriptions to a file that ends in .json, .csv or .yaml.",
        ),
    ] = None,
    report: o.Report = None,
    run: o.RunFolder = None,
    json: o.Json = False,
    threads: o.Threads = None,
    store: o.Store = True,
    saying: TalkOptions,
) -> None:
    """Have a language model rewrite descriptions until labels are confused no more.

    Each generation tells the model which labels are taken for which, and keeps of its answers the
    words that tell labelled photos apart best. The model sees no photo. Other photos choose the
    generation, and others again say what it is worth: only that number counts.

    Stopped by a cap or Ctrl-C, what there is is written; the same command goes on, and what was
    answered costs nothing again.
    """
    session = begin(ctx, saying)
    if copy_prompts is not None:
        write_prompts(session, copy_prompts, "evolve")
        return
    check_output(output, _FILES)
    check_page(report)
    if data is None:
        raise InputError(
            "Which photos? Give DATA, a folder with a folder per label or a table with labels."
        )
    recipe = writer_of(ctx)
    if recipe is None:
        raise InputError(
            "Which model writes? Name it with --model provider:name; `showtell models` lists them, "
            "and `showtell try-server` is one without a key."
        )
    label_set = given_labels(labels, labels_file)
    told = evolving.parameters() | {"prompt_dir": sending.prompt_dir}
    job = runs.WritingJob(
        recipe=recipe,
        verb="optimize",
        inputs={
            "data": data,
            "labels": None if label_set is None else list(label_set.labels),
            "encoder": encoder,
            "precision": precision,
            "model": recipe.model,
            "test_size": test_size,
            "seed": seed,
            **{k: v for k, v in told.items() if k not in ("n_generations", "patience")},
        },
        run=run,
        tell=session.tell,
    )
    if dry_run:
        ctx.call_on_close(job.close)
        job.to_count()
    else:
        if job.claim():
            session.detail(f"Going on in {run}.")
        begin_job(session, ctx, job)
    parts = parts_to_measure(
        session,
        data,
        labelled_data(session, data, asdict(columns), labels_file=labels_file),
        examples=None,
        needs_examples=True,
        check_duplicates=check_duplicates and not dry_run,
        test_size=test_size,
        limit=None,
        seed=seed,
    )
    clf = classify.EvolvingDescriptionClassifier(
        job.access,
        encoders.load_encoder(encoder, precision=precision, threads=threads),
        labels=list((label_set or parts.label_set).labels),
        **told,
        store="default" if store else None,
        random_state=seed,
    )
    price = _price(clf, job)
    if dry_run:
        _show_price(session, price, json=json)
        return
    session.note(
        f"at most {_dollars(price['cost_usd_to_pay'])} for "
        f"{counted(price['n_requests'] - price['n_requests_kept'], 'question')}; what was answered "
        "before costs nothing"
    )
    evolution, stop = _evolve(session, job, clf, parts)
    writing = _finish(
        session, evolution, clf if stop is None else None, parts, output=output, report=report,
        job=job, json=json,
    )  # fmt: skip
    if stop is not None:
        raise stop
    _refuse_nothing(evolution)
    writing.end()


def _evolve(
    session: Session, job: Job, clf: EvolvingDescriptionClassifier, parts: Parts
) -> tuple[Evolution, RunError | KeyboardInterrupt | None]:
    """Let the words evolve and measure them; where that is stopped, take what there is."""
    seen: list[Evolution] = []

    def watch(evolution: Evolution) -> None:
        seen[:] = [evolution]
        job.tell_generation(evolution)

    assert parts.support is not None
    try:
        with session.progress() as progress:
            clf.fit(
                parts.support.images,
                parts.support.y,
                progress=lambda done, total, _: progress(done, total, "next generation"),
                on_generation=watch,
            )
    except (RunError, KeyboardInterrupt) as stop:
        if not seen:
            raise
        folder = job.reached().run_folder
        if folder is None:
            return replace(seen[0], state="stopped"), stop
        kept = classify.read_evolution(folder)
        return kept, stop  # also knows what came to no generation
    clf.measure(parts.test.images, parts.test.y)
    return clf.evolution_, None


# Before it


def _price(clf: EvolvingDescriptionClassifier, job: WritingJob) -> dict[str, Any]:
    """Count and price all questions of all generations."""
    plan = clf.plan()
    sums = job.add_up(plan.requests, answer_tokens=plan.output_tokens)
    return {
        "model": job.access.name,
        "n_generations": plan.n_generations,
        "n_requests": sums.n_requests,
        "n_requests_kept": sums.n_requests_kept,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "cost_usd": sums.cost_usd,
        "cost_usd_to_pay": sums.cost_usd_to_pay,
    }


def _show_price(session: Session, price: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(price)
    elif is_terminal(sys.stdout):
        words = ("cost_usd", "cost_usd_to_pay")
        shown = {**price, **{name: _dollars(price[name]) for name in words}}
        print_table(session, ("what", "how much"), [(k, str(v)) for k, v in shown.items()])
    else:
        print_csv(("what", "value"), price.items())
    session.summary(
        f"{counted(price['n_requests'], 'question')} in "
        f"{counted(price['n_generations'], 'generation')}: "
        f"{_at_most(price['cost_usd_to_pay'])}; it ends earlier where generations do not "
        "get better, and an answer that cannot be used is asked for once more. Nothing was asked."
    )


def _at_most(cost: Any) -> str:
    return "their price is not known" if cost is None else f"at most about {dollars(cost)} to pay"


def _dollars(cost: Any) -> str:
    return "an unknown price" if cost is None else dollars(cost)


# After it


def _finish(
    session: Session,
    evolution: Evolution,
    clf: EvolvingDescriptionClassifier | None,
    parts: Parts,
    *,
    output: Path | None,
    report: Path | None,
    job: Job,
    json: bool,
) -> Writing:
    """Write and say what came of it; `clf` is None where it was stopped."""
    domain = job.inputs["domain"] if clf is None else clf.descriptions_.domain
    made = evolution.description_set(domain=domain)
    facts = _facts(evolution)
    _say_dropped(session, evolution)
    writing = Writing(session)
    if output is not None:
        bare = "" if evolution.chosen.n_descriptions else ", which has no descriptions"
        said = f"{output}: generation {evolution.best}{bare}"
        if not writing.write(output, lambda: made.write(str(output)), said):
            output = None  # so it is printed: what was paid for is not lost for want of a place
    if report is not None:
        writing.write(report, lambda: _page(evolution, clf, parts, report))
    if job.run is not None:
        _keep(session, writing, job, evolution, clf, parts, made, facts)
    if json:
        print_json({**facts, "descriptions": {label: list(made[label]) for label in made}})
    elif is_terminal(sys.stdout):
        _show(session, evolution, made if output is None else None)
    elif output is None:
        rows = [(label, text) for label in made for text in made[label]]
        print_csv(("label", "description"), rows)
    session.summary(_sentence(evolution))
    if evolution.test is not None:
        session.summary(_verdict(evolution, evolution.test))
    elif clf is None:
        session.summary("Stopped before its end, so it was not measured on other photos.")
    return writing


def _keep(
    session: Session,
    writing: Writing,
    job: Job,
    evolution: Evolution,
    clf: EvolvingDescriptionClassifier | None,
    parts: Parts,
    made: DescriptionSet,
    facts: dict[str, Any],
) -> None:
    """Fill the run folder."""
    run = job.run
    assert run is not None

    def keep() -> None:
        made.write(run / "descriptions.json")
        job.finish(facts, state="stopped" if clf is None else "finished")

    page = run / "report.html"
    kept = writing.write(run, keep, said=None)
    if kept and writing.write(page, lambda: _page(evolution, clf, parts, page), said=None):
        say_what_is_kept(session, run)


def _page(
    evolution: Evolution, clf: EvolvingDescriptionClassifier | None, parts: Parts, path: Path
) -> None:
    if clf is None:
        measuring.write_evolution(evolution, path)
    else:
        measuring.write_evolution(clf, path, data=parts.test)


def _facts(evolution: Evolution) -> dict[str, Any]:
    test = evolution.test
    return {
        "model": evolution.model,
        "encoder": evolution.encoder,
        "state": evolution.state,
        "seed": evolution.seed,
        "n_labels": len(evolution.labels),
        "n_support": evolution.n_support,
        "n_validation": evolution.n_validation,
        "n_descriptions": evolution.chosen.n_descriptions,
        "best_generation": evolution.best,
        "test": None if test is None else asdict(test),
        "n_requests": sum(g.n_requests for g in evolution.generations),
        "input_tokens": sum(g.input_tokens for g in evolution.generations),
        "output_tokens": sum(g.output_tokens for g in evolution.generations),
        "cost_usd": None if evolution.cost_usd is None else float(evolution.cost_usd),
        "dropped": {label: list(texts) for label, texts in runs.dropped_texts(evolution).items()},
        "generations": [
            {
                "number": g.number,
                "fitness": g.fitness,
                "margin": g.margin,
                "validation": g.validation,
                "n_descriptions": g.n_descriptions,
                "n_changed": g.n_changed,
                "n_answers": len(g.exchanges),
                "n_useless": runs.n_useless(g),
                "cost_usd": None if g.cost_usd is None else float(g.cost_usd),
            }
            for g in evolution.generations
        ],
    }


def _say_dropped(session: Session, evolution: Evolution) -> None:
    """Say which answers and which words could not be used."""
    dropped = runs.dropped_texts(evolution)
    for label, texts in dropped.items():
        session.detail(f"left out of {label}: {'; '.join(texts)}")
    n = sum(map(len, dropped.values()))
    if n:
        session.note(
            f"{counted(n, 'text')} left out: repeated, too long, or naming another label; -v lists "
            "them."
        )
    reasons = [e.reason for g in evolution.generations for e in g.exchanges if e.reason]
    gaps = [gap for g in evolution.generations for e in g.exchanges for gap in e.gaps.items()]
    if reasons:
        session.note(
            f"{counted(len(reasons), 'answer')} could not be used; the first: {reasons[0]}"
        )
    if gaps:
        label, reason = gaps[0]
        session.note(
            f"{counted(len(gaps), 'time')} an answer had nothing for a label, which kept its "
            f"words; the first: {label}: {reason}"
        )


def _show(session: Session, evolution: Evolution, made: DescriptionSet | None) -> None:
    """Print the generations, and the descriptions where no file has them."""
    rows = [
        [
            f"{g.number}{' *' if g.number == evolution.best else ''}",
            number(g.fitness),
            number(g.validation),
            f"{g.n_descriptions:,}",
            f"{g.n_changed:,}",
            f"{len(g.exchanges) - runs.n_useless(g):,} of {len(g.exchanges):,}",
        ]
        for g in evolution.generations
    ]
    header = ("generation", "fitness", "validation", "descriptions", "changes", "answers used")
    print_table(session, header, rows, title="* the one that is taken", right=[1, 2, 3, 4])
    texts = [] if made is None else [(label, text) for label in made for text in made[label]]
    if texts:
        print_table(session, ("label", "description"), texts)


def _sentence(evolution: Evolution) -> str:
    """Say how the evolution went on the photos that it used."""
    start, chosen = evolution.start, evolution.chosen
    n = len(evolution.generations) - 1
    told = f"{counted(n, 'generation')}; "
    if not evolution.best:
        told += "none was better than the start"
    else:
        told += f"generation {evolution.best} is the best: fitness {number(start.fitness)} to "
        told += number(chosen.fitness)
        if chosen.validation is not None:
            told += f", validation {number(start.validation)} to {number(chosen.validation)}"
    n_asked = sum(g.n_requests for g in evolution.generations)
    return f"{told}; {dollars(evolution.cost_usd)} for {counted(n_asked, 'request')}"


def _verdict(evolution: Evolution, test: Outcome) -> str:
    """Say what the words are worth on photos that played no part."""
    p = chance(test.p_value)
    told = (
        f"On {counted(test.n, 'photo')} that played no part: accuracy "
        f"{number(test.accuracy_before)} at the start, {number(test.accuracy_after)} now "
    )
    if not evolution.best:
        return f"{told}(nothing was changed)."
    if test.p_value >= 0.05:
        return f"{told}({p}): that may be chance."
    better = test.accuracy_after > test.accuracy_before
    return f"{told}({p}): {'better' if better else 'worse'} beyond chance."


def _refuse_nothing(evolution: Evolution) -> None:
    """Fail where the model answered nothing that could be used."""
    exchanges = [e for g in evolution.generations for e in g.exchanges]
    if exchanges and all(exchange.reason is not None for exchange in exchanges):
        raise RunError(f"No answer could be used: {exchanges[0].reason}")
