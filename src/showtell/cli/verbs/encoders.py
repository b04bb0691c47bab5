"""`showtell encoders`: which encoders there are."""

from __future__ import annotations

from dataclasses import asdict

import typer

from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.output import print_json, print_rows
from showtell.cli.session import begin

EPILOG = """# Examples

showtell encoders

showtell encoders --json
"""


@g.grouped
def encoders(ctx: typer.Context, *, json: o.Json = False) -> None:
    """List the encoders: the embedded one, those of plugins, how to name one of a hub."""
    session = begin(ctx)
    from showtell.encoders import list_encoders

    rows = [asdict(encoder) for encoder in list_encoders()]
    header = list(rows[0]) if rows else []
    if json:
        print_json({"encoders": rows})
    else:
        print_rows(session, header, ([row[name] for name in header] for row in rows))
