"""An audit on its way out: verdicts and gains, as tables for a person or as rows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from showtell.cli.output import print_csv, print_json, print_table
from showtell.cli.session import Session, is_terminal
from showtell.words import plain_points

if TYPE_CHECKING:
    from showtell.evaluate import Audit


def print_audit(session: Session, found: Audit, *, json: bool) -> None:
    """Print what was found."""
    if json:
        print_json({**found.to_dict(), "cost_usd": found.cost_usd})
    elif is_terminal(sys.stdout):
        _show(session, found)
    else:
        rows = found.rows()
        print_csv(list(rows[0]), (list(row.values()) for row in rows))


def _show(session: Session, found: Audit) -> None:
    """Print verdicts and gains for a person."""
    rows = []
    for p in found.probes:
        interval = chance = effect = ""
        if p.effect is not None and p.low is not None and p.high is not None:
            effect = plain_points(p.effect)
            interval = f"[{plain_points(p.low)}, {plain_points(p.high)}]"
        if p.p_holm is not None:
            chance = "< 0.001" if p.p_holm < 0.001 else f"{p.p_holm:.3f}"
        failed = f"{p.n_failed:,}"
        rows.append([p.name, p.verdict, effect, interval, chance, f"{p.n_images:,}", failed])
    header = ("probe", "verdict", "points", "95 % interval", "p (Holm)", "images", "failed")
    print_table(session, header, rows, title=str(found.run.get("name", "")), right=[2, 4, 5, 6])
    for p in found.probes:
        session.summary(f"{p.name}: {p.sentence} {p.note}".rstrip())
    if found.gains:
        gains = [
            [
                g.name,
                f"{100 * g.accuracy_before:.1f}",
                f"{100 * g.accuracy:.1f}",
                "" if g.flip_rate_before is None else f"{100 * g.flip_rate_before:.1f}",
                "" if g.flip_rate is None else f"{100 * g.flip_rate:.1f}",
                f"{g.requests_each:.0f}",
            ]
            for g in found.gains
        ]
        columns = ("correction", "accuracy", "then", "flips", "then", "questions per image")
        print_table(session, columns, gains, right=[1, 2, 3, 4, 5])
