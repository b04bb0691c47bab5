"""`showtell clean`: which labels of a data set are most likely wrong."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import showtell.evaluate as measuring
from showtell import datasets, encoders
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.data import data_of
from showtell.cli.ending import EXIT_FAILED, Writing
from showtell.cli.output import (
    check_output,
    check_page,
    counted,
    number,
    print_csv,
    print_json,
    print_table,
)
from showtell.cli.session import Session, begin, is_terminal
from showtell.media import media_name
from showtell.tables import write_rows

if TYPE_CHECKING:
    from showtell.evaluate import Cleaning

_FOR_A_PERSON = 20

EPILOG = """# Examples

showtell clean butterflies/

showtell clean butterflies/ --report doubtful.html

showtell clean labels.csv -o doubtful.csv --cleaned kept.csv
"""


@dataclass(frozen=True, kw_only=True)
class CleanOptions:
    """What `clean` is told."""

    # fmt: off
    data: Annotated[str, o.argument(
        "DATA", "A folder with a folder per label, or a table with labels.")]
    encoder: o.EncoderName = "mini"
    precision: o.Precision = "auto"
    labels_file: o.LabelsFile = None
    seed: o.Seed = 0
    limit: o.Limit = None
    columns: g.ColumnOptions
    output: o.Output = None
    cleaned: Annotated[Path | None, o.option(
        "--cleaned FILE", o.OUTPUT, common=True,
        help="Also write image and label of all that is no suspect, as .csv, .parquet or "
             ".jsonl.")] = None
    report: o.Report = None
    json: o.Json = False
    local: g.LocalOptions
    # fmt: on


@g.grouped
def clean(ctx: typer.Context, *, given: CleanOptions) -> None:
    """List the labels that are most likely wrong, with pictures; nothing is changed.

    Each image is looked at by a probe that learned from the others. All labels are listed, the
    most doubtful first; suspect says which of them confident learning counts as wrong. About six
    of ten first ones were, where one label in ten had been planted wrong: look before you drop.
    """
    session = begin(ctx)
    output, cleaned = given.output, given.cleaned
    for path in (output, cleaned):
        check_output(path)
    check_page(given.report)
    known = data_of(session, ctx, given.data).samples
    if given.limit is not None:
        known = datasets.limit_dataset(known, given.limit, given.seed)
    with session.progress() as progress:
        found = measuring.clean(
            known.images,
            known.y,
            encoder=encoders.load_encoder(
                given.encoder, precision=given.precision, threads=given.local.threads
            ),
            store="default" if given.local.store else None,
            random_state=given.seed,
            progress=progress,
        )
    writing = Writing(session)
    if given.json:
        writing.print(lambda: print_json(_as_json(found)))
    elif output is None:
        writing.print(lambda: _print(session, found))
    if output is not None:
        writing.write(output, lambda: write_rows(output, found.rows()))
    if cleaned is not None:
        kept = [
            {"image": media_name(known.images[row]), "label": str(known.y[row])}
            for row in found.left.tolist()
        ]
        writing.write(cleaned, lambda: write_rows(cleaned, kept, ("image", "label")))
    writing.page(given.report, found.report)
    counts, n = found.counts, len(found.suspects)
    more = f", {counts['abstained']:,} not to be judged" if counts["abstained"] else ""
    more += f", {counted(counts['error'], 'error')}" if counts["error"] else ""
    session.summary(
        f"{counted(len(found), 'image')}: {counted(n, 'label')} most likely wrong{more}; "
        f"{session.seconds:.1f} s"
    )
    if len(found) and counts["error"] == len(found):
        session.error(f"Not one image could be read. The first reason: {found.doubts[0].error}")
        raise typer.Exit(EXIT_FAILED)
    writing.end()


def _as_json(found: Cleaning) -> dict[str, Any]:
    return {
        "n_images": len(found),
        "n_suspects": len(found.suspects),
        "counts": found.counts,
        "encoder": found.encoder,
        "error_rates": dict(found.error_rates),
        "labels": found.rows(),
    }


def _print(session: Session, found: Cleaning) -> None:
    """Print all rows into a pipe, and the first of them for a person."""
    rows = found.rows()
    if not is_terminal(sys.stdout):
        print_csv(list(rows[0]), (list(row.values()) for row in rows))
        return
    shown = [d for d in found.doubts if d.suspect or (d.margin or 0) < 0][:_FOR_A_PERSON]
    cells = [
        [d.image, d.label, d.suggested or "", number(d.margin, 2), "yes" if d.suspect else ""]
        for d in shown
    ]
    print_table(session, ("image", "label", "rather", "margin", "suspect"), cells, right=[3])
    if len(shown) < len(rows):
        session.note(f"-o FILE lists all {len(rows):,} labels; --report PAGE.html shows pictures.")
