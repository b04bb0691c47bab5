"""An estimate on its way out: a table, CSV or JSON, and a sentence."""

from __future__ import annotations

import sys
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from showtell.cli.output import counted, dollars, print_csv, print_json, print_table
from showtell.cli.session import Session, is_terminal

if TYPE_CHECKING:
    from showtell.recipes import Estimate, TellApart


def show_estimate(session: Session, found: Estimate, *, json: bool, in_jobs: bool) -> None:
    """Print what classifying would take, and say it in a sentence."""
    facts = found.to_dict()
    if json:
        print_json(facts)
    elif not is_terminal(sys.stdout):
        apart = facts.pop("tell_apart", {})
        print_csv(
            ("what", "value"),
            [*facts.items(), *((f"tell_apart_{name}", value) for name, value in apart.items())],
        )
    else:
        rows = _rows(found, facts, in_jobs=in_jobs)
        if found.tell_apart is not None:
            rows += _of_difference(found.tell_apart)
        print_table(session, ("what", "how much"), rows, title=found.model)
    session.summary(f"{counted(found.n_images, 'image')}: {_sentence(found)}")
    if found.tell_apart is not None:
        session.summary(_of_telling(found.tell_apart))


def _sentence(found: Estimate) -> str:
    sums = found.sums
    if found.known is None:
        if found.seconds is None:
            return "0 USD to pay, the encoder runs on this machine"
        return (
            "0 USD to pay, the model runs on this machine; the time is that of one image, times all"
        )
    if sums.cost_usd_to_pay is None:
        return f"the price of {found.model} is not known; `showtell models` lists known ones"
    told = (
        f"{_known(sums.cost_usd_to_pay)} to pay; the formula is the provider's, so expect "
        "a few per cent more or less"
    )
    if sums.max_cost_to_begin and sums.max_cost_to_end:
        told += (
            "; a cap counts the longest answers: --max-cost from "
            f"{_cap(sums.max_cost_to_begin)} on begins, "
            f"and {_cap(sums.max_cost_to_end)} surely suffices"
        )
    return told


def _of_telling(planned: TellApart) -> str:
    return (
        f"{counted(planned.n_images, 'labelled image')} tell {_points(planned.difference)} apart "
        f"in {100 * planned.power:.0f} of 100 comparisons, where {100 * planned.discordance:g} % "
        f"of the images have exactly one of two right: {_known(planned.cost_usd)} for one of them"
    )


def _of_difference(planned: TellApart) -> list[tuple[str, str]]:
    return [
        (f"images that tell {_points(planned.difference)} apart", f"{planned.n_images:,}"),
        ("  cost of asking about them", _known(planned.cost_usd)),
    ]


def _points(difference: float) -> str:
    return f"{100 * difference:g} point{'' if round(100 * difference, 6) == 1 else 's'}"


def _rows(found: Estimate, facts: dict[str, Any], *, in_jobs: bool) -> list[tuple[str, str]]:
    """Lay out the numbers for a person."""
    sums, seconds = found.sums, found.seconds
    time = "unknown" if seconds is None else f"{seconds:,.0f}"
    if found.known is None:
        return [
            ("images", f"{found.n_images:,}"),
            ("requests", "0"),
            ("readings of picture and prompt", f"{sums.n_asked:,}"),
            ("tokens read", _count(sums.input_tokens)),
            ("  of images", _count(sums.image_tokens)),
            ("tokens written", "0"),
            ("cost in USD", "0"),
            ("seconds, about", "unknown" if seconds is None else f"{facts['seconds']:,}"),
        ]
    each = None
    if sums.cost_usd is not None and sums.n_asked:
        each = 1000 * sums.cost_usd / sums.n_asked
    rows = [
        ("images", f"{found.n_images:,}"),
        ("questions about an image", f"{sums.n_asked:,}"),
        ("requests", f"{sums.n_requests:,}"),
        ("  answered before, in the cache", f"{sums.n_requests_kept:,}"),
        ("input tokens", _count(sums.input_tokens)),
        ("  of images", _count(sums.image_tokens)),
        ("output tokens, about", _count(sums.output_tokens)),
        ("cost", _known(sums.cost_usd)),
        ("  still to pay", _known(sums.cost_usd_to_pay)),
        ("  per 1,000 questions", _known(each)),
    ]
    if sums.cost_usd_prefix_cached != sums.cost_usd:
        rows.append(("  if the provider caches prefixes", _known(sums.cost_usd_prefix_cached)))
    if sums.cost_usd_batch is not None:
        rows.append(("  as a batch job, within a day", _known(sums.cost_usd_batch)))
    if sums.max_cost_to_begin and sums.max_cost_to_end:
        rows.append(("smallest --max-cost that begins", _cap(sums.max_cost_to_begin)))
        rows.append(("  that surely suffices", _cap(sums.max_cost_to_end)))
    rows.append(("seconds, about", "within a day" if in_jobs else time))
    rows.append(("tokens of an image", facts["image_tokens_in_words"]))
    date = f" ({found.known.date})" if found.known.date else ""
    rows.append(("  source", f"{found.known.source}{date}"))
    return rows


def _count(n: int | None) -> str:
    return "unknown" if n is None else f"{n:,}"


def _known(cost: Decimal | None) -> str:
    return "unknown" if cost is None else dollars(cost)


def _cap(cost: Decimal) -> str:
    """Write a cap that is enough: rounded up."""
    step = Decimal("0.01") if cost >= 1 else Decimal(1).scaleb(cost.adjusted() - 1)
    return dollars((cost / step).to_integral_value(ROUND_CEILING) * step)
