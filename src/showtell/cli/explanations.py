"""Reasons on their way out: in lines, with what they took."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from showtell.cli.output import counted, dollars, kept_before, print_json
from showtell.cli.session import Session, printable

if TYPE_CHECKING:
    from showtell.explain import Explanation
    from showtell.mllm.estimate import Sums
    from showtell.runs import Job


def show_price(session: Session, sums: Sums, n_images: int, *, json: bool) -> None:
    """Say what leaving out demonstrations takes, before it is done."""
    if json:
        print_json(
            {
                "n_images": n_images,
                "n_requests": sums.n_requests,
                "n_requests_kept": sums.n_requests_kept,
                "cost_usd_to_pay": sums.cost_usd_to_pay,
            }
        )
    session.summary(
        "what leaving out each demonstration takes: "
        f"{counted(sums.n_requests, 'request')}{kept_before(sums)}, {dollars(sums.cost_usd_to_pay)}"
    )


def print_reasons(session: Session, found: Sequence[Explanation]) -> None:
    """Print reasons, an empty line between images; names cannot steer the terminal."""
    for place, one in enumerate(found):
        if place:
            sys.stdout.write("\n")
        for line in str(one).splitlines():
            sys.stdout.write(printable(line) + "\n")
    if len(found) > 3:
        session.note("-o why.html makes a page of these to click through.")


def sum_up(session: Session, found: Sequence[Explanation], job: Job, how: str) -> None:
    """Say in a sentence what was explained, and what it took."""
    n_errors = sum(one.status == "error" for one in found)
    known = [one for one in found if one.correct is not None and one.status != "error"]
    parts = [f"{counted(len(found), 'image')} explained"]
    if n_errors:
        parts = [f"{len(found) - n_errors:,} of {counted(len(found), 'image')} explained"]
        parts.append(counted(n_errors, "error"))
    if known:
        parts.append(f"{sum(bool(one.correct) for one in known):,} of {len(known):,} right")
    text = f"{', '.join(parts)}; {how}; {session.seconds:.1f} s"
    for meter in job.meters:
        text += f"; {dollars(meter.total)} for {counted(meter.n_requests, 'request')}"
    session.summary(text)
