"""How words evolved, on its way out: a table of generations, and what it was worth."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from showtell import runs
from showtell.cli.output import counted, dollars, number, print_json, print_table
from showtell.cli.session import Session, is_terminal
from showtell.cli.writing import WHY_NO_DESCRIPTION, print_descriptions, print_price, say_dropped
from showtell.words import chance

if TYPE_CHECKING:
    from showtell.classify.evolving.record import BeforeAfter, Evolution
    from showtell.prompts import DescriptionSet


def print_evolution(
    session: Session, evolution: Evolution, made: DescriptionSet, *, json: bool, written: bool
) -> None:
    """Print generations and descriptions, the latter unless a file has them (`written`)."""
    if json:
        texts = {label: list(made[label]) for label in made}
        print_json({**runs.evolution_facts(evolution), "descriptions": texts})
    elif is_terminal(sys.stdout):
        _show(session, evolution, None if written else made)
    elif not written:
        print_descriptions(session, made)


def priced(cost: Decimal | None) -> str:
    """Write a price that may not be known."""
    return "an unknown price" if cost is None else dollars(cost)


def show_price(session: Session, price: Mapping[str, Any], *, json: bool) -> None:
    """Print what all generations take at most, and say it in a sentence."""
    print_price(session, price, json=json)
    cost = price["cost_usd_to_pay"]
    most = "their price is not known" if cost is None else f"at most about {dollars(cost)} to pay"
    session.summary(
        f"{counted(price['n_requests'], 'question')} in "
        f"{counted(price['n_generations'], 'generation')}: {most}; it ends earlier where "
        "generations do not get better, and an answer that cannot be used is asked for once more. "
        "Nothing was asked."
    )


def sum_up(session: Session, evolution: Evolution, *, stopped: bool) -> None:
    """Say in sentences how the words evolved, and what they are worth."""
    session.summary(_sentence(evolution))
    if evolution.test is not None:
        session.summary(_verdict(evolution, evolution.test))
    elif stopped:
        session.summary("Stopped before its end, so it was not measured on other photos.")


def say_useless(session: Session, evolution: Evolution) -> None:
    """Say which answers and which words could not be used."""
    say_dropped(session, runs.dropped_texts(evolution), WHY_NO_DESCRIPTION)
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
    if made is not None and made.n_descriptions:
        print_descriptions(session, made)


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


def _verdict(evolution: Evolution, test: BeforeAfter) -> str:
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
