"""`showtell compare`: is one way really better than another, and which is the cheapest to take."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from showtell.cli import options as o
from showtell.cli.arms import Arm, arms_of, base_url_of, listed
from showtell.cli.asking import (
    BY_MODEL,
    Asking,
    Meter,
    asking_values,
    check_asking,
    dollars,
    given_here,
    refuse_idle,
    start_asking,
    what_it_took,
)
from showtell.cli.choices import (
    BY_CLUES,
    BY_DESCRIPTION,
    TAKE_DESCRIPTIONS,
    TAKE_DOMAIN,
    Choices,
    given_labels,
    make_classifier,
    remarks,
)
from showtell.cli.data import Parts, examples_of, parts_to_measure
from showtell.cli.groups import (
    BudgetOptions,
    ColumnOptions,
    EncoderOptions,
    LabelOptions,
    PromptOptions,
    RequestOptions,
    TalkOptions,
    grouped,
)
from showtell.cli.local import OF_LOCAL, is_local, refuse_foreign
from showtell.cli.output import (
    check_page,
    counted,
    note_if_all_failed,
    number,
    print_csv,
    print_json,
    print_table,
)
from showtell.cli.session import Session, begin, is_terminal
from showtell.errors import InputError

if TYPE_CHECKING:
    from showtell.datasets import LabelSet
    from showtell.evaluate import Comparison, Record

__all__ = ["add_to", "compare"]

_EPILOG = """# Examples

showtell compare butterflies/ --methods zero-shot,prototype,linear

showtell compare butterflies/ --methods zero-shot,dclip,waffle --descriptions words.json

showtell compare butterflies/ --methods linear,in-context --shots 5 --model openai:gpt-4.1-mini

showtell compare data/ --methods direct --model openai:gpt-4.1,ollama:llava --report page.html

showtell compare data/ --methods zero-shot,direct@ollama:llava,in-context@openai:gpt-4.1-mini

showtell compare data/ --methods few-shot,direct --model openai:gpt-4.1 --run monday/ --max-cost 2

showtell compare run-monday/ run-friday/
"""

_RECORDS = "records"
_NO_EXAMPLES = ("zero-shot", "direct", "fusion", "likelihood", *BY_DESCRIPTION)
_TAKES = {"descriptions": TAKE_DESCRIPTIONS, "domain": TAKE_DOMAIN, "concepts": BY_CLUES}
"""Methods that have a use for an option about words."""


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("compare", help=o.paragraphs(compare.__doc__), epilog=_EPILOG)(compare)


@grouped
def compare(
    ctx: typer.Context,
    *,
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA | RUN RUN...",
            help="A labelled data set to try --methods on, or run folders of `evaluate --run` and "
            "`compare --run`.",
        ),
    ],
    methods: Annotated[
        str | None,
        o.option(
            "--methods",
            panel=o.METHOD,
            common=True,
            metavar="NAMES",
            help="Ways to compare on the same images: zero-shot,prototype,linear; with "
            "--model also direct,in-context,fusion,evolving or likelihood. Each goes with every "
            "--encoder or --model; METHOD@NAME goes with that one only.",
        ),
    ] = None,
    sought: LabelOptions,
    shots: o.Shots = None,
    encoder: Annotated[
        list[str],
        o.option(
            "--encoder",
            "-e",
            panel=o.METHOD,
            common=True,
            metavar="NAME",
            help="mini, hf-hub:org/name or local-dir:path; may be given several times. "
            "`showtell encoders` lists them.",
        ),
    ] = ["mini"],  # noqa: B006 - typer reads it, nobody changes it
    words: EncoderOptions,
    controls: o.Controls = True,
    abstain_below: o.AbstainBelow = None,
    seed: o.Seed = 0,
    margin: Annotated[
        float,
        o.option(
            "--margin",
            panel=o.METHOD,
            min=0.01,
            max=50.0,
            metavar="POINTS",
            help="Points of accuracy that do not matter: less than that behind the most accurate "
            "is not worse.",
        ),
    ] = 2.0,
    model: Annotated[
        list[str] | None,
        o.option(
            "--model",
            panel=o.MODEL,
            common=True,
            metavar="PROVIDER:NAME",
            help="Ask this multimodal LLM: openai:gpt-4.1-mini, google:gemini-2.5-flash, "
            "anthropic:NAME, ollama:llava; may be given several times. `showtell models` lists "
            "more. Keys come from the environment or .env.",
        ),
    ] = None,
    base_url: Annotated[
        list[str] | None,
        o.option(
            "--base-url",
            panel=o.MODEL,
            metavar="[PROVIDER=]URL",
            help="Another server that speaks the provider's wire format. With models of several "
            "providers say whose it is: google=URL.",
        ),
    ] = None,
    caps: BudgetOptions,
    questions: PromptOptions,
    sending: RequestOptions,
    dry_run: Annotated[
        bool,
        o.option(
            "--dry-run",
            panel=o.MODEL,
            help="Say what asking the models would take and cost, and end; nothing is asked.",
        ),
    ] = False,
    test_size: o.TestSize = None,
    limit: o.Limit = None,
    columns: ColumnOptions,
    check_duplicates: o.CheckDuplicates = True,
    report: o.Report = None,
    run: o.RunFolder = None,
    json: o.Json = False,
    threads: o.Threads = None,
    store: o.Store = True,
    saying: TalkOptions,
) -> None:
    """Compare methods, encoders and models on the same images, or runs that are kept.

    Says how accurate each is and how sure that is, what 1,000 images cost and how long one takes;
    for each pair whether the difference could be luck, corrected for how many pairs were looked
    at; and which is the cheapest that is not worse. Before a model is asked, the price of all is
    estimated; --max-cost holds for all of them together.
    """
    session = begin(ctx, saying)
    check_page(report)
    ways: _Ways | None = None
    if methods is None:
        for name, flag in (("model", "--model"), ("run", "--run"), ("dry_run", "--dry-run")):
            if given_here(ctx, name):
                raise InputError(f"{flag} goes with --methods and one DATA.")
        records = _runs(targets)
    else:
        if len(targets) != 1:
            raise InputError(f"--methods takes one DATA; got {len(targets)}: {', '.join(targets)}.")
        choices = Choices(
            encoder="mini",
            precision=words.precision,
            method="auto",
            templates=words.templates,
            shots=shots,
            abstain_below=abstain_below,
            seed=seed,
            threads=threads,
            store=store,
        )
        ways = _ways(
            ctx,
            methods,
            listed(model),
            listed(encoder),
            listed(base_url),
            choices,
            words={name: getattr(words, name) for name in _TAKES},
        )
        label_set = given_labels(sought.labels, sought.labels_file)
        request: dict[str, Any] = {
            "verb": "compare",
            "data": targets[0],
            "labels": None if label_set is None else list(label_set.labels),
            "examples": sought.examples,
            "test_size": test_size,
            "limit": limit,
            "ways": [
                {"name": arm.name, **own.as_request()}
                for arm, own in zip(ways.arms, ways.choices, strict=True)
            ],
        }
        if run is not None and not dry_run:
            from showtell.cli.runs import claim

            claim(run, request)
        _start(session, ctx, ways, run=None if dry_run else run)
        parts = parts_to_measure(
            session,
            targets[0],
            asdict(columns),
            labels_file=sought.labels_file,
            examples=examples_of(sought.examples),
            needs_examples=questions.calibrate > 0
            or any(arm.method not in _NO_EXAMPLES for arm in ways.arms),
            check_duplicates=check_duplicates,
            test_size=test_size,
            limit=limit,
            seed=seed,
        )
        label_set = label_set or parts.label_set
        before = _estimate(session, ways, label_set, parts, run=run, max_cost=caps.max_cost)
        if dry_run:
            _show_estimate(session, before, json=json)
            return
        records = _measure_all(session, ways, label_set, parts, run, controls=controls)
    from showtell.evaluate import compare as compare_records

    comparison = compare_records(records, margin=margin / 100)
    if report is not None:
        _page(records, comparison, report)
        session.summary(f"wrote {report}")
    if run is not None and ways is not None:
        from showtell.cli.runs import finish

        _page(records, comparison, run / "report.html")
        folders = [_folder(run, i, arm).name for i, arm in enumerate(ways.arms)]
        finish(run, request, {"comparison": comparison.to_dict(), _RECORDS: folders})
        session.summary(f"kept in {run}: {', '.join(sorted(p.name for p in run.iterdir()))}")
    if json:
        print_json(comparison.to_dict())
    elif is_terminal(sys.stdout):
        _show(session, comparison)
    else:
        _print(comparison)
    for record in records:
        note_if_all_failed(session, record.predictions, record.name)
    session.summary(comparison.sentence)
    session.summary(comparison.choice.sentence)
    for record in records:
        if record.controls is not None:
            session.summary(f"{record.name}: {record.controls.sentence}")
    if ways is not None and ways.meters:
        asked = [r.predictions for r in records if "cost_usd" in r.predictions.columns]
        session.summary(what_it_took(list(ways.meters.values()), asked))


# -- what is compared -----------------------------------------------------------------------------
@dataclass
class _Ways:
    """All that is compared, in the order it was named."""

    arms: list[Arm]
    choices: list[Choices]
    meters: dict[str, Meter]
    """Model to what counts its requests."""


def _ways(
    ctx: typer.Context,
    methods: str,
    models: Sequence[str],
    encoders: Sequence[str],
    urls: Sequence[str],
    common: Choices,
    *,
    words: dict[str, str | None],
) -> _Ways:
    """Read what is to be compared, and check each with its options."""
    settled = methods
    if not given_here(ctx, "model") and not any(
        item.partition("@")[0].strip() in BY_MODEL for item in listed([methods])
    ):
        models = []  # one of the settings, which nothing here asks for
    arms = arms_of(settled, models, encoders)
    for name, takers in _TAKES.items():
        if given_here(ctx, name) and not any(arm.method in takers for arm in arms):
            raise InputError(f"--{name} belongs to {', '.join(takers)}; got --methods {methods!r}.")
    if sum(arm.method == "evolving" for arm in arms) > 1:
        raise InputError(
            "Method 'evolving' goes with one model in a comparison. Measure each with `showtell "
            "evaluate --method evolving --run DIR`, and compare the folders."
        )
    asked = list(dict.fromkeys(arm.target for arm in arms if arm.asks))
    values = asking_values(ctx)
    for name in ("model", "base_url"):
        values.pop(name, None)
    if not asked:
        refuse_idle(ctx, [*values, "base_url"])
    _refuse_foreign(ctx, values, asked)
    found = {}
    for one in asked:
        own = values
        if is_local(one):
            own = {name: value for name, value in values.items() if name in OF_LOCAL}
        else:
            own = {**values, "base_url": base_url_of(one, urls, asked)}
        found[one] = Asking(model=one, **own)
    choices = []
    for arm in arms:
        asking = found[arm.target] if arm.asks else None
        check_asking(arm.method, asking)
        choices.append(
            replace(
                common,
                encoder=encoders[0] if arm.asks else arm.target,
                method=arm.method,
                asking=asking,
                shots=None if arm.method in _NO_EXAMPLES[1:] else common.shots,
                **{name: words[name] for name in _TAKES if arm.method in _TAKES[name]},  # type: ignore[arg-type]
            )
        )
    return _Ways(arms=arms, choices=choices, meters={})


def _refuse_foreign(ctx: typer.Context, values: dict[str, Any], asked: Sequence[str]) -> None:
    """Refuse options on the command line that none of the models has a use for."""
    if not asked:
        return
    if all(map(is_local, asked)):
        foreign = [name for name in values if name not in (*OF_LOCAL, "max_cost")]
    elif not any(map(is_local, asked)):
        foreign = ["score", "question"]
    else:
        return
    refuse_foreign([name for name in sorted(foreign) if given_here(ctx, name)], asked[0])


def _start(session: Session, ctx: typer.Context, ways: _Ways, *, run: Path | None) -> None:
    """Load all models, so that a wrong name or a missing key is known before anything is read."""
    started: dict[str, Asking] = {}
    n_asking = sum(own.asking is not None for own in ways.choices)
    books: Path | str | None = run
    for own in ways.choices:
        if own.asking is None or own.asking.model in started:
            continue
        asking = own.asking
        capped = asking.max_cost is not None or asking.max_requests is not None
        if books is None and capped and n_asking > 1 and not asking.local:
            kept = tempfile.TemporaryDirectory(prefix="showtell-")  # one cap holds for all
            ctx.call_on_close(kept.cleanup)
            books = kept.name
        asking = start_asking(session, ctx, asking, run=run)
        if asking.meter is not None:
            ways.meters[asking.model] = asking.meter
            asking = replace(asking, run_folder=books)
        started[asking.model] = asking
    ways.choices[:] = [
        own if own.asking is None else replace(own, asking=started[own.asking.model])
        for own in ways.choices
    ]
    meters = list(ways.meters.values())

    def live() -> str:
        totals = [meter.total for meter in meters]
        if not any(meter.n_requests for meter in meters):
            return ""
        return dollars(None if None in totals else sum((t for t in totals if t), Decimal(0)))

    session.live = live


# -- what it would take ---------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class _Estimate:
    name: str
    n_requests: int
    input_tokens: int | None
    output_tokens: int
    cost_usd: Decimal | None
    """Still to pay."""


def _estimate(
    session: Session,
    ways: _Ways,
    label_set: LabelSet,
    parts: Parts,
    *,
    run: Path | None,
    max_cost: str | None,
) -> list[_Estimate]:
    """Say what each way that asks would take, before the first of them asks."""
    from showtell.cli.verbs.estimate import add_up
    from showtell.mllm import default_cache

    found = []
    for i, (arm, own) in enumerate(zip(ways.arms, ways.choices, strict=True)):
        if own.asking is None or own.asking.meter is None or _is_kept(run, i, arm):
            continue
        bare = replace(own.asking, asks=False, max_cost=None, max_requests=None, run_folder=None)
        classifier: Any = make_classifier(replace(own, asking=bare), label_set, parts.support)
        sums = add_up(
            classifier.requests(parts.test.images),
            name=classifier.model_,
            capabilities=own.asking.meter.capabilities,
            cache=default_cache() if own.asking.reuse else None,
            answer_tokens=getattr(classifier, "answer_tokens", None),
        )
        one = _Estimate(
            name=arm.name,
            n_requests=sums.n_requests - sums.n_requests_kept,
            input_tokens=sums.input_tokens,
            output_tokens=sums.output_tokens,
            cost_usd=sums.cost_usd_to_pay,
        )
        if max_cost is not None and one.cost_usd is None:
            raise InputError(
                f"The price of {arm.target} is not known, so --max-cost cannot be kept. Cap "
                "--max-requests instead, or leave that model out."
            )
        found.append(one)
        there = f", {sums.n_requests_kept:,} more were answered before" * bool(sums.n_requests_kept)
        session.note(
            f"{arm.name}: {_price(one.cost_usd)} for {counted(one.n_requests, 'request')}{there}"
        )
    total = _total(found)
    if len(found) > 1:
        session.note(f"all together: {_price(total)}")
    if max_cost is not None and total is not None and total > Decimal(str(max_cost)):
        session.note(
            f"that is more than --max-cost {max_cost}: it will stop on the way, with exit code 3, "
            "and can go on with a higher cap"
        )
    return found


def _price(cost: Decimal | None) -> str:
    return "an unknown price" if cost is None else f"about {dollars(cost)}"


def _total(found: Sequence[_Estimate]) -> Decimal | None:
    costs = [one.cost_usd for one in found]
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None


def _show_estimate(session: Session, found: Sequence[_Estimate], *, json: bool) -> None:
    """Print what asking would take."""
    from dataclasses import asdict

    if json:
        print_json({"ways": [asdict(one) for one in found], "cost_usd": _total(found)})
        return
    header = ("name", "n_requests", "input_tokens", "output_tokens", "cost_usd")
    if not is_terminal(sys.stdout):
        print_csv(header, (list(asdict(one).values()) for one in found))
        return
    rows = [
        [
            one.name,
            f"{one.n_requests:,}",
            "unknown" if one.input_tokens is None else f"{one.input_tokens:,}",
            f"{one.output_tokens:,}",
            dollars(one.cost_usd),
        ]
        for one in found
    ]
    words = ("what", "requests", "tokens in", "out, about", "to pay, about")
    print_table(session, words, rows, right=[1, 2, 3, 4])


# -- running it -----------------------------------------------------------------------------------
def _folder(run: Path, number_: int, arm: Arm) -> Path:
    """Name the folder of a record, so that a person finds it."""
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", arm.name).strip("-")
    return run / _RECORDS / f"{number_ + 1:02d}-{name[:60]}"


def _is_kept(run: Path | None, number_: int, arm: Arm) -> bool:
    return run is not None and (_folder(run, number_, arm) / "run.json").is_file()


def _measure_all(
    session: Session,
    ways: _Ways,
    label_set: LabelSet,
    parts: Parts,
    run: Path | None,
    *,
    controls: bool,
) -> list[Record]:
    """Measure each way; what an earlier process of the run has finished is taken from there."""
    from showtell.evaluate import Record
    from showtell.evaluate import evaluate as measure

    records: list[Record] = []
    for i, (arm, own) in enumerate(zip(ways.arms, ways.choices, strict=True)):
        if run is not None and _is_kept(run, i, arm):
            record = Record.load(_folder(run, i, arm))
            if "request" not in record.predictions.columns.get("reason", ()):
                session.detail(f"{arm.name} is finished.")
                media = parts.test.images
                fits = len(media) == len(record)
                records.append(replace(record, media=media if fits else None))
                continue
        classifier = make_classifier(own, label_set, parts.support)
        for remark in remarks(own, classifier, parts.support):
            session.note(remark)
        with session.progress() as progress:
            record = measure(
                classifier, parts.test, name=arm.name, controls=controls, progress=progress
            )
        if run is not None:
            record.save(_folder(run, i, arm), report=False)
        records.append(record)
    return records


def _runs(folders: list[str]) -> list[Record]:
    """Load run folders; one of a comparison stands for all that it compared."""
    from showtell.evaluate import Record
    from showtell.evaluate.folder import read_json

    found: list[str | Path] = []
    for folder in folders:
        saved = read_json(Path(folder) / "run.json") if (Path(folder) / "run.json").exists() else {}
        names = saved.get(_RECORDS)
        if isinstance(names, list):
            found += [Path(folder) / _RECORDS / Path(str(name)).name for name in names]
        else:
            found.append(folder)
    if len(found) < 2:
        raise InputError(
            "Comparing needs --methods zero-shot,prototype,... with one DATA, or two or more run "
            "folders made by `showtell evaluate --run DIR`."
        )
    return [Record.load(folder) for folder in found]


# -- showing it -----------------------------------------------------------------------------------
def _page(records: list[Record], comparison: Comparison, path: Path) -> None:
    best = next(r for r in records if _is(r, comparison.records[0].name))
    best.report(path, comparison=comparison)


def _is(record: Record, name: str) -> bool:
    return record.name == name or name.startswith(f"{record.name} #")


def _print(comparison: Comparison) -> None:
    """Print one line per way as CSV; --json has the pairs too."""
    rows = comparison.rows()
    print_csv(list(rows[0]), (list(row.values()) for row in rows))


def _show(session: Session, comparison: Comparison) -> None:
    """Print ways and pairs for a person."""
    taken = comparison.choice.name
    header = [
        "way", "accuracy", "95 % interval", "USD per 1,000", "s per image", "macro F1", "ECE",
        "Brier", "abstained", "failed",
    ]  # fmt: skip
    rows = [
        [
            f"{r.name}{' *' if r.name == taken else ''}",
            number(r.accuracy),
            f"[{number(r.accuracy_low)}, {number(r.accuracy_high)}]",
            _per_thousand(r.usd_per_1000),
            number(r.seconds_per_image, 2 if (r.seconds_per_image or 0) >= 0.1 else 4),
            number(r.macro_f1),
            number(r.ece),
            number(r.brier),
            f"{100 * r.abstained_rate:.1f}%",
            f"{100 * r.error_rate:.1f}%",
        ]
        for r in comparison.records
    ]
    # a terminal is narrow: columns in which no way has anything to say are left out
    keep = [i for i in range(len(header)) if any(row[i] not in ("", "0.0%") for row in rows)]
    title = f"{comparison.n_samples:,} samples; * the cheapest that is not worse"
    print_table(
        session,
        [header[i] for i in keep],
        [[row[i] for i in keep] for row in rows],
        title=title,
        right=[place for place, i in enumerate(keep) if i not in (0, 2)],
    )
    of_pairs = ("pair", "points ahead", "95 % interval", "p (Holm)", "verdict")
    pairs = [
        [
            f"{p.a} over {p.b}",
            _points(-p.difference),
            f"[{_points(-p.high)}, {_points(-p.low)}]",
            "< 0.001" if p.p_holm < 0.001 else number(p.p_holm),
            "better" if p.differs else "may be chance",
        ]
        for p in comparison.pairs
    ]
    print_table(session, of_pairs, pairs, right=[1, 3])


def _per_thousand(price: float | None) -> str:
    """Write dollars per 1,000 samples; unknown is not nothing."""
    return "unknown" if price is None else dollars(Decimal(str(price))).removesuffix(" USD")


def _points(difference: float) -> str:
    """Write a difference of accuracies in points, without a minus before nothing."""
    return f"{round(100 * difference, 1) + 0.0:.1f}"
