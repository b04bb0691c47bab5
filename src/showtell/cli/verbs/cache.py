"""`showtell cache`: the embeddings kept on disk."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.output import counted, print_csv, print_json, print_table
from showtell.cli.session import Session, begin, is_terminal
from showtell.errors import InputError

_KEPT = "How much to keep"

EPILOG = """# Examples

showtell cache

showtell cache prune --max-mb 500

showtell cache clear
"""


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """What `cache` is told."""

    # fmt: off
    action: Annotated[Literal["info", "prune", "clear"], o.argument("[info|prune|clear]",
        "info: say what is kept. prune: remove what was not used for longest. clear: remove all.")
    ] = "info"
    max_mb: Annotated[float | None, o.option(
        "--max-mb MB", _KEPT, min=0.0, help="prune: size of what may stay.")] = None
    older_than: Annotated[float | None, o.option(
        "--older-than DAYS", _KEPT, min=0.0,
        help="prune: remove what was not used for so many days.")] = None
    json: o.Json = False
    # fmt: on


@g.grouped
def cache(ctx: typer.Context, *, given: CacheOptions) -> None:
    """Show or shrink the store of embeddings: what makes the second run quick.

    It lies in the cache folder of the system, or in the folder SHOWTELL_CACHE_DIR.
    Removing it loses nothing but time.
    """
    session = begin(ctx)
    action, max_mb, older_than = given.action, given.max_mb, given.older_than
    from showtell.encoders.store import default_store

    store = default_store()
    if store is None:
        raise InputError("There is no folder to keep embeddings in. Set SHOWTELL_CACHE_DIR.")
    if action == "prune" and max_mb is None and older_than is None:
        raise InputError("How much should stay? Give --max-mb or --older-than.")
    removed = 0
    if action == "clear":
        removed = store.clear()
    elif action == "prune":
        if older_than is not None:
            removed += store.clear(older_than=older_than)
        if max_mb is not None:
            removed += store.prune(int(max_mb * 1e6))
    stats = store.stats()
    facts = {
        "path": str(stats.path),
        "n_embeddings": stats.n_rows,
        "n_bytes": stats.n_bytes,
        "encoders": [
            {"name": e.name, "n_embeddings": e.n_rows, "n_bytes": e.n_bytes} for e in stats.encoders
        ],
    }
    if given.json:
        print_json({**facts, "n_removed": removed})
    elif action == "info":
        _show(session, facts)
    else:
        session.summary(f"removed {counted(removed, 'embedding')}, kept {stats.n_rows:,}")


def _show(session: Session, facts: dict[str, object]) -> None:
    """Print what is kept, per encoder."""
    rows = [
        [str(e["name"]), f"{e['n_embeddings']}", f"{e['n_bytes'] / 1e6:.1f}"]
        for e in facts["encoders"]  # type: ignore[attr-defined]
    ]
    header = ["encoder", "embeddings", "MB"]
    if is_terminal(sys.stdout):
        print_table(session, header, rows, title=str(facts["path"]), right=[1, 2])
    else:
        print_csv(header, rows)
        session.summary(str(facts["path"]))
