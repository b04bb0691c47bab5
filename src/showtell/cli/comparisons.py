"""A comparison on its way out: what it would take, and what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from showtell import runs
from showtell.cli.output import (
    counted,
    dollars,
    number,
    print_csv,
    print_json,
    print_table,
    what_it_took,
)
from showtell.cli.session import Session, is_terminal
from showtell.evaluate.provenance import learned_from
from showtell.words import plain_points

if TYPE_CHECKING:
    from pathlib import Path

    from showtell.evaluate import Comparison, Record
    from showtell.runs import ComparingJob, Expected


def say_expected(session: Session, found: Sequence[Expected], max_cost: str | None) -> None:
    """Say what asking will take, before the first question."""
    for one in found:
        there = f", {one.n_kept:,} more were answered before" * bool(one.n_kept)
        session.note(
            f"{one.name}: {_price(one.cost_usd)} for {counted(one.n_requests, 'request')}{there}"
        )
    total = runs.total_of(found)
    if len(found) > 1:
        session.note(f"all together: {_price(total)}")
    if max_cost is not None and total is not None and total > Decimal(str(max_cost)):
        session.note(
            f"that is more than --max-cost {max_cost}: it will stop on the way, with exit code 3, "
            "and can go on with a higher cap"
        )


def _facts(one: Expected) -> dict[str, Any]:
    facts = asdict(one)
    del facts["n_kept"]
    return facts


def _price(cost: Decimal | None) -> str:
    return "an unknown price" if cost is None else f"about {dollars(cost)}"


def show_expected(session: Session, found: Sequence[Expected], *, json: bool) -> None:
    """Print what asking would take."""
    if json:
        print_json({"ways": [_facts(one) for one in found], "cost_usd": runs.total_of(found)})
        return
    header = ("name", "n_requests", "input_tokens", "output_tokens", "cost_usd")
    if not is_terminal(sys.stdout):
        print_csv(header, (list(_facts(one).values()) for one in found))
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


def print_comparison(session: Session, comparison: Comparison, *, json: bool) -> None:
    """Print ways and pairs for a person; into a pipe one line per way, the pairs with --json."""
    if json:
        print_json(comparison.to_dict())
    elif is_terminal(sys.stdout):
        _show(session, comparison)
    else:
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
            plain_points(-p.difference),
            f"[{plain_points(-p.high)}, {plain_points(-p.low)}]",
            "< 0.001" if p.p_holm < 0.001 else number(p.p_holm),
            "better" if p.differs else "may be chance",
        ]
        for p in comparison.pairs
    ]
    print_table(session, of_pairs, pairs, right=[1, 3])


def page_of(records: Sequence[Record], comparison: Comparison) -> Callable[[Path], object]:
    """Give what draws the page: the report of the most accurate, beside the others."""
    name = comparison.records[0].name
    best = next(r for r in records if r.name == name or name.startswith(f"{r.name} #"))
    return lambda path: best.report(path, comparison=comparison)


def _per_thousand(price: float | None) -> str:
    """Write dollars per 1,000 samples; unknown is not nothing."""
    return "unknown" if price is None else dollars(Decimal(str(price))).removesuffix(" USD")


def sum_up(
    session: Session,
    job: ComparingJob | None,
    records: Sequence[Record],
    comparison: Comparison,
) -> None:
    """Say in sentences what came of it, and what it took."""
    learned = _learned(records)
    if learned:
        session.summary(learned)
    session.summary(comparison.sentence)
    session.summary(comparison.choice.sentence)
    for record in records:
        if record.controls is not None:
            session.summary(f"{record.name}: {record.controls.sentence}")
    if job is not None and job.meters:
        asked = [r.predictions for r in records if "cost_usd" in r.predictions.columns]
        session.summary(what_it_took(runs.taken(job.meters, asked)))


def _learned(records: Sequence[Record]) -> str:
    """Say which ways learned from how many examples, and which from none."""
    ways: dict[str, list[str]] = {}
    for record in records:
        said = learned_from(record.run.get("estimator") or {})
        if said is not None:
            ways.setdefault(said, []).append(record.name)
    return "; ".join(f"{', '.join(names)}: {said}" for said, names in ways.items())
