"""`showtell compare`: is one way really better than another."""

from __future__ import annotations

import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from showtell.cli import options as o
from showtell.cli.asking import (
    ASKING,
    asking_of,
    check_asking,
    dollars,
    given_here,
    start_asking,
    what_it_took,
)
from showtell.cli.choices import Choices, check_method, given_labels, make_classifier, remarks
from showtell.cli.data import examples_of, parts_to_measure
from showtell.cli.output import check_page, number, print_csv, print_json, print_table
from showtell.cli.session import Session, begin, is_terminal
from showtell.errors import InputError

if TYPE_CHECKING:
    from showtell.evaluate import Comparison, Record

__all__ = ["add_to", "compare"]

_EPILOG = """[bold]Examples[/bold]

showtell compare butterflies/ --methods zero-shot,prototype,linear

showtell compare butterflies/ --methods prototype,linear --shots 5 --report compare.html

showtell compare butterflies/ --methods linear,direct,in-context --model google:gemini-2.5-flash

showtell compare run-monday/ run-friday/
"""


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("compare", help=o.paragraphs(compare.__doc__), epilog=_EPILOG)(compare)


def compare(
    ctx: typer.Context,
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA | RUN RUN...",
            help="A labelled data set to try --methods on, or run folders of `evaluate --run`.",
        ),
    ],
    methods: Annotated[
        str | None,
        o.option(
            "--methods",
            panel=o.METHOD,
            metavar="NAMES",
            help="Methods to compare on the same images: zero-shot,prototype,linear; with "
            "--model also direct,in-context.",
        ),
    ] = None,
    labels: o.Labels = None,
    labels_file: o.LabelsFile = None,
    examples: o.Examples = None,
    shots: o.Shots = None,
    encoder: o.EncoderName = "mini",
    precision: o.Precision = "auto",
    templates: o.Templates = "default",
    abstain_below: o.AbstainBelow = None,
    seed: o.Seed = 0,
    model: o.Model = None,
    base_url: o.BaseUrl = None,
    max_cost: o.MaxCost = None,
    max_requests: o.MaxRequests = None,
    anonymise: o.Anonymise = False,
    selection: o.Selection = "balanced",
    role: o.Role = None,
    confidence_from: o.ConfidenceFrom = "auto",
    n_samples: o.NSamples = 1,
    permutations: o.Permutations = "1",
    correct: o.Correct = None,
    calibrate: o.Calibrate = 0,
    shortlist: o.Shortlist = None,
    batch_size: o.BatchSize = "auto",
    max_side: o.MaxSide = 768,
    temperature: o.Temperature = None,
    timeout: o.Timeout = 120.0,
    rpm: o.RequestsPerMinute = None,
    tpm: o.TokensPerMinute = None,
    max_concurrency: o.MaxConcurrency = None,
    prompt_dir: o.PromptDir = None,
    reuse: o.Reuse = True,
    test_size: o.TestSize = None,
    limit: o.Limit = None,
    image_column: o.ImageColumn = None,
    label_column: o.LabelColumn = None,
    split_column: o.SplitColumn = None,
    group_column: o.GroupColumn = None,
    check_duplicates: o.CheckDuplicates = True,
    report: o.Report = None,
    json: o.Json = False,
    threads: o.Threads = None,
    store: o.Store = True,
    config: o.Config = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    debug: o.Debug = False,
) -> None:
    """Compare methods on the same images, or runs that are kept, with paired tests.

    Says for each pair how much better one is, how sure that is, and whether the difference
    could be luck, corrected for how many pairs were looked at.
    """
    session = begin(ctx, quiet=quiet, verbose=verbose, debug=debug)
    check_page(report)
    meter = None
    if methods is None:
        records = _runs(targets)
    else:
        names = [check_method(name.strip()) for name in methods.split(",") if name.strip()]
        if len(targets) != 1:
            raise InputError(f"--methods takes one DATA; got {len(targets)}: {', '.join(targets)}.")
        _, asking = asking_of(ctx, "auto", shows=True, alone=False)
        if not set(names) & set(ASKING) and not given_here(ctx, "model"):
            asking = None
        for name in names:
            check_asking(name, asking if name in ASKING else None)
        if asking is not None and not set(names) & set(ASKING):
            raise InputError(
                f"--model is asked by the methods {' and '.join(ASKING)}; got {methods!r}. Add one "
                "of them, or leave out --model."
            )
        if len(names) < 2 or len(set(names)) < len(names):
            raise InputError(f"Comparing needs two or more different methods; got {methods!r}.")
        choices = Choices(
            encoder=encoder,
            precision=precision,
            method="auto",
            templates=templates,
            batch=None,
            shots=shots,
            abstain_below=abstain_below,
            seed=seed,
            threads=threads,
            store=store,
        )
        parts = parts_to_measure(
            session,
            targets[0],
            {
                "image_column": image_column,
                "label_column": label_column,
                "split_column": split_column,
                "group_column": group_column,
            },
            labels_file=labels_file,
            examples=examples_of(examples),
            needs_examples=calibrate > 0
            or any(name not in ("zero-shot", "direct") for name in names),
            check_duplicates=check_duplicates,
            test_size=test_size,
            limit=limit,
            seed=seed,
        )
        label_set = given_labels(labels, labels_file) or parts.label_set
        if asking is not None:
            asking = start_asking(session, ctx, asking, run=None, steps=len(names))
            meter = asking.meter
        from showtell.evaluate import evaluate as measure

        records = []
        for name in names:
            own = replace(
                choices,
                method=name,
                asking=asking if name in ASKING else None,
                shots=None if name == "direct" else shots,
            )
            classifier = make_classifier(own, label_set, parts.support)
            for remark in remarks(own, classifier, parts.support):
                session.note(remark)
            with session.progress() as progress:
                records.append(measure(classifier, parts.test, name=name, progress=progress))
    from showtell.evaluate import compare as compare_records

    comparison = compare_records(records)
    if report is not None:
        _page(records, comparison, report)
        session.summary(f"wrote {report}")
    if json:
        print_json(comparison.to_dict())
    elif is_terminal(sys.stdout):
        _show(session, comparison)
    else:
        _print(comparison)
    session.summary(comparison.sentence)
    if meter is not None:
        session.summary(what_it_took(meter, [r.predictions for r in records if r.name in ASKING]))


def _runs(folders: list[str]) -> list[Record]:
    """Load run folders."""
    from showtell.evaluate import Record

    if len(folders) < 2:
        raise InputError(
            "Comparing needs --methods zero-shot,prototype,... with one DATA, or two or more run "
            "folders made by `showtell evaluate --run DIR`."
        )
    return [Record.load(folder) for folder in folders]


def _page(records: list[Record], comparison: Comparison, path: Path) -> None:
    best = max(records, key=lambda record: record.metrics["accuracy"])
    best.report(path, comparison=comparison)


def _print(comparison: Comparison) -> None:
    """Print one line per method as CSV; --json has the pairs too."""
    rows = comparison.rows()
    print_csv(list(rows[0]), (list(row.values()) for row in rows))


def _show(session: Session, comparison: Comparison) -> None:
    """Print methods and pairs for a person."""
    header = ["method", "accuracy", "95 % interval", "macro F1", "ECE", "abstained", "errors"]
    costs = any(r.cost_usd for r in comparison.records)
    if costs:
        header.append("USD per 1,000")
    methods = [
        [
            r.name,
            number(r.accuracy),
            f"[{number(r.accuracy_low)}, {number(r.accuracy_high)}]",
            number(r.macro_f1),
            number(r.ece),
            number(r.n_abstained),
            number(r.n_errors),
            *([_per_thousand(r.cost_usd, comparison.n_samples)] if costs else []),
        ]
        for r in comparison.records
    ]
    title = f"{comparison.n_samples:,} samples"
    print_table(session, header, methods, title=title, right=[1, 3, 4, 5, 6, 7])
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


def _per_thousand(cost: float | None, n_samples: int) -> str:
    """Write dollars per 1,000 samples; unknown is not nothing."""
    return "unknown" if cost is None else dollars(1000 * Decimal(str(cost)) / n_samples)


def _points(difference: float) -> str:
    """Write a difference of accuracies in points, without a minus before nothing."""
    return f"{round(100 * difference, 1) + 0.0:.1f}"
