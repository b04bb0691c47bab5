"""`showtell encoders`: which encoders there are."""

from __future__ import annotations

import sys
from dataclasses import asdict

import typer

from showtell.cli import options as o
from showtell.cli.groups import TalkOptions, grouped
from showtell.cli.output import print_csv, print_json, print_table
from showtell.cli.session import begin, is_terminal

EPILOG = """# Examples

showtell encoders

showtell encoders --json
"""


@grouped
def encoders(
    ctx: typer.Context,
    *,
    json: o.Json = False,
    saying: TalkOptions,
) -> None:
    """List the encoders: the embedded one, those of plugins, how to name one of a hub."""
    session = begin(ctx, saying)
    from showtell.encoders import list_encoders

    rows = [asdict(encoder) for encoder in list_encoders()]
    header = list(rows[0]) if rows else []
    if json:
        print_json({"encoders": rows})
    elif is_terminal(sys.stdout):
        print_table(session, header, ([_cell(row[name]) for name in header] for row in rows))
    else:
        print_csv(header, ([row[name] for name in header] for row in rows))


def _cell(value: object) -> str:
    """Write a value for a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
