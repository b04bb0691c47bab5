"""Options that several verbs share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from showtell.cli.settings import envvar_of, use_settings

LABELS = "What to look for"
METHOD = "How to decide"
DATA = "Which images"
OUTPUT = "What to write"
RUNNING = "How to run"


def option(*flags: str, help: str, panel: str, **more: Any) -> Any:
    """Make an option whose environment variable follows from its name; no metavar: a flag."""
    long = next(flag for flag in flags if flag.startswith("--")).split("/")[0]
    more.setdefault("metavar", "")
    return typer.Option(
        *flags, help=help, rich_help_panel=panel, envvar=envvar_of(long), show_envvar=False, **more
    )


def paragraphs(text: str | None) -> str:
    r"""Join the lines of each paragraph, so that help texts wrap at the terminal's width.

    Examples
    --------
    >>> paragraphs("One\n    two.\n\n    Three.")
    'One two.\n\nThree.'
    """
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


# -- what to look for -----------------------------------------------------------------------------
Labels: TypeAlias = Annotated[
    str | None,
    option(
        "--labels",
        "-l",
        panel=LABELS,
        metavar="NAMES",
        help='Label names, "cat,dog", or with descriptions, "jam=a jar of jam,tea=a cup of tea".',
    ),
]
LabelsFile: TypeAlias = Annotated[
    str | None,
    option(
        "--labels-file",
        panel=LABELS,
        metavar="FILE",
        help="Labels one per line, or a CSV or JSON file with descriptions.",
    ),
]
Examples: TypeAlias = Annotated[
    str | None,
    option(
        "--examples",
        panel=LABELS,
        metavar="DIR",
        help="A folder per label with a few pictures each: learn from these.",
    ),
]

# -- how to decide --------------------------------------------------------------------------------
EncoderName: TypeAlias = Annotated[
    str,
    option(
        "--encoder",
        "-e",
        panel=METHOD,
        metavar="NAME",
        help="mini, hf-hub:org/name or local-dir:path. `showtell encoders` lists them.",
    ),
]
Precision: TypeAlias = Annotated[
    Literal["auto", "fp32", "int8"],
    option(
        "--precision", panel=METHOD, metavar="auto|fp32|int8", help="Arithmetic of a hub encoder."
    ),
]
Method: TypeAlias = Annotated[
    str,
    option(
        "--method",
        "-m",
        panel=METHOD,
        metavar="NAME",
        help="auto, zero-shot, few-shot, prototype, tip-adapter or linear. "
        "auto: few-shot where there are examples, else zero-shot.",
    ),
]
Templates: TypeAlias = Annotated[
    str,
    option(
        "--templates",
        panel=METHOD,
        metavar="SET|TEXT|FILE",
        help="A template set, one template with {label}, or a file with one per line.",
    ),
]
Batch: TypeAlias = Annotated[
    Literal["balance", "adapt"] | None,
    option(
        "--batch",
        panel=METHOD,
        metavar="balance|adapt",
        help="Zero-shot over the whole batch: balance assumes labels are about equally frequent, "
        "adapt moves the labels towards the images at hand (100 or more).",
    ),
]
Shots: TypeAlias = Annotated[
    int | None,
    option(
        "--shots",
        "-k",
        panel=METHOD,
        min=0,
        metavar="K",
        help="Examples per label to learn from; all there are unless given. 0: zero-shot.",
    ),
]
AbstainBelow: TypeAlias = Annotated[
    float | None,
    option(
        "--abstain-below",
        panel=METHOD,
        min=0.0,
        max=1.0,
        metavar="P",
        help="Give no label where the confidence is lower than P.",
    ),
]
Seed: TypeAlias = Annotated[
    int, option("--seed", panel=METHOD, min=0, metavar="N", help="Sets every random choice.")
]

# -- which images ---------------------------------------------------------------------------------
Limit: TypeAlias = Annotated[
    int | None,
    option(
        "--limit",
        panel=DATA,
        min=1,
        metavar="N",
        help="Take only N images, spread over the labels as in the whole; --seed chooses which.",
    ),
]
ImageColumn: TypeAlias = Annotated[
    str | None,
    option("--image-column", panel=DATA, metavar="COL", help="Column of a table with the images."),
]
LabelColumn: TypeAlias = Annotated[
    str | None,
    option("--label-column", panel=DATA, metavar="COL", help="Column of a table with the labels."),
]
SplitColumn: TypeAlias = Annotated[
    str | None,
    option(
        "--split-column",
        panel=DATA,
        metavar="COL",
        help="Column of a table that says train or test.",
    ),
]
GroupColumn: TypeAlias = Annotated[
    str | None,
    option(
        "--group-column",
        panel=DATA,
        metavar="COL",
        help="Rows that are equal here stay on one side of a split.",
    ),
]
TestSize: TypeAlias = Annotated[
    float | None,
    option(
        "--test-size",
        panel=DATA,
        min=0.0,
        max=1.0,
        metavar="PART",
        help="Part of a data set without train/ and test/ to be scored; 0.25 where examples are "
        "needed.",
    ),
]
CheckDuplicates: TypeAlias = Annotated[
    bool,
    option(
        "--check-duplicates/--no-check-duplicates",
        panel=DATA,
        help="Look for images that are, nearly, among the examples and among those scored.",
    ),
]

# -- what to write --------------------------------------------------------------------------------
Output: TypeAlias = Annotated[
    Path | None,
    option(
        "--output",
        "-o",
        panel=OUTPUT,
        metavar="FILE",
        help="One row per image, as .csv, .parquet or .jsonl.",
    ),
]
Proba: TypeAlias = Annotated[
    bool,
    option(
        "--proba", panel=OUTPUT, help="Add a column p_LABEL with the probability of each label."
    ),
]
Report: TypeAlias = Annotated[
    Path | None,
    option("--report", panel=OUTPUT, metavar="PAGE.html", help="A page to look at, in one file."),
]
RunFolder: TypeAlias = Annotated[
    Path | None,
    option(
        "--run",
        panel=OUTPUT,
        metavar="DIR",
        help="Keep everything in a folder: run.json, predictions and report.html. "
        "The same command again goes on where it stopped.",
    ),
]
Json: TypeAlias = Annotated[
    bool, option("--json", panel=OUTPUT, help="Print one JSON object for a program to read.")
]

# -- how to run -----------------------------------------------------------------------------------
Threads: TypeAlias = Annotated[
    int | None,
    option("--threads", panel=RUNNING, min=1, metavar="N", help="Threads of the encoder."),
]
Store: TypeAlias = Annotated[
    bool,
    option(
        "--store/--no-store",
        panel=RUNNING,
        help="Keep embeddings on disk, so that the same image is computed once.",
    ),
]
Config: TypeAlias = Annotated[
    Path | None,
    option(
        "--config",
        panel=RUNNING,
        metavar="FILE",
        is_eager=True,
        callback=use_settings,
        help="Settings file; showtell.toml in the working directory unless given.",
    ),
]
Quiet: TypeAlias = Annotated[
    bool, option("--quiet", "-q", panel=RUNNING, help="Say nothing but results and errors.")
]
Verbose: TypeAlias = Annotated[
    bool, option("--verbose", "-v", panel=RUNNING, help="Say what is being done.")
]
Debug: TypeAlias = Annotated[
    bool, option("--debug", panel=RUNNING, help="Show where an error comes from.")
]
