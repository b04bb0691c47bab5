"""What the verbs share that have a model write."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from showtell import prompts
from showtell.cli.output import (
    counted,
    dollars,
    print_csv,
    print_json,
    print_rows,
    print_table,
)
from showtell.cli.session import Session, is_terminal

if TYPE_CHECKING:
    from showtell.mllm.estimate import Sums
    from showtell.mllm.structured import Spent
    from showtell.prompts import DescriptionSet

DESCRIPTION_FILES = (".json", ".csv", ".yaml", ".yml")
WHY_NO_DESCRIPTION = "repeated, too long, or naming another label"
_SUMS = (
    "n_requests", "n_requests_kept", "input_tokens", "output_tokens", "cost_usd",
    "cost_usd_to_pay",
)  # fmt: skip


def write_prompts(session: Session, folder: Path, library: str) -> None:
    """Write prompts that may be edited, for ``--copy-prompts``."""
    prompts.copy_prompts(folder, library=library)
    session.summary(f"wrote {folder}. Edit, and use it with --prompt-dir {folder}")


def spent_in_words(spent: Spent) -> str:
    """Say what answers took."""
    if not spent.n_requests:
        return (
            "0 USD: all answers were there already" if spent.n_from_cache else "nothing was asked"
        )
    again = f", {spent.n_from_cache:,} answers were there already" if spent.n_from_cache else ""
    return (
        f"{dollars(spent.cost_usd)} for {counted(spent.n_requests, 'request')}, "
        f"{spent.input_tokens:,} tokens in, {spent.output_tokens:,} out{again}"
    )


def show_price(
    session: Session, facts: Mapping[str, Any], parts: Sequence[Sums], about: str, *, json: bool
) -> None:
    """Print what the questions would take.

    Parameters
    ----------
    session : Session
    facts : mapping
        What stands before the numbers.
    parts : sequence of Sums
        Added up.
    about : str
        What the questions are about.
    json : bool
    """
    shown = {
        **facts,
        **{name: _total([getattr(part, name) for part in parts]) for name in _SUMS},
    }
    print_price(session, shown, json=json)
    session.summary(
        f"{counted(shown['n_requests'], 'question')} {about}: about "
        f"{dollars(shown['cost_usd_to_pay'])} to pay; an answer that cannot be used is asked for "
        "once more. Nothing was asked."
    )


def print_price(session: Session, price: Mapping[str, Any], *, json: bool) -> None:
    """Print numbers and dollars."""
    if json:
        print_json(price)
    elif is_terminal(sys.stdout):
        words = {**price, **{k: dollars(price[k]) for k in ("cost_usd", "cost_usd_to_pay")}}
        print_table(session, ("what", "how much"), [(k, str(v)) for k, v in words.items()])
    else:
        print_csv(("what", "value"), price.items())


def say_dropped(session: Session, dropped: Mapping[str, Sequence[str]], why: str) -> None:
    """Say what was written and left out: how much of it, and with -v what."""
    for place, texts in dropped.items():
        session.detail(f"left out of {place}: {'; '.join(texts)}")
    n_dropped = sum(map(len, dropped.values()))
    if n_dropped:
        session.note(f"{counted(n_dropped, 'text')} left out: {why}; -v lists them.")


def print_descriptions(session: Session, made: DescriptionSet, *, title: str = "") -> None:
    """Print a description a line."""
    rows = [(label, text) for label in made for text in made[label]]
    print_rows(session, ("label", "description"), rows, title=title)


def _total(values: Sequence[Any]) -> Any:
    if any(value is None for value in values):
        return None
    return sum(values, Decimal(0) if isinstance(values[0], Decimal) else 0)
