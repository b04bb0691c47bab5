"""Options that several verbs share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from showtell._threads import MOST_THREADS
from showtell.cli.help import ALL_METHODS, Panel, help_page
from showtell.cli.settings import envvar_of, use_settings

LABELS = "What to look for"
METHOD = "How to decide"
MODEL = "Asking a multimodal LLM"
DATA = "Which images"
OUTPUT = "What to write"
RUNNING = "How to run"


def option(names: str, panel: str, *, help: str, common: bool = False, **more: Any) -> Any:
    """Make an option.

    Its environment variable follows from its name.

    Parameters
    ----------
    names : str
        As the help shows them, with what is to be given: ``"-l, --labels NAMES"``. A flag takes
        nothing, and may have an opposite: ``"--store/--no-store"``.
    panel : str
        Heading of its group.
    help : str
    common : bool, default=False
        Whether ``--help`` shows it; ``--help-all`` shows all.
    **more : object
        For `typer.Option`.
    """
    words = names.split(" ")
    long, *short = sorted((w.rstrip(",") for w in words if w.startswith("-")), key=len)[::-1]
    known = {
        "metavar": " ".join(words[1 + len(short) :]),
        "envvar": envvar_of(long.split("/")[0]),
        "rich_help_panel": Panel(panel, common=common),
    }
    return typer.Option(long, *short, help=help, show_envvar=False, **(known | more))


def argument(metavar: str, help: str) -> Any:
    """Make what is given without a flag."""
    return typer.Argument(metavar=metavar, help=help)


def _show_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        width = ctx.make_formatter().width
        typer.echo(help_page(ctx.command, ctx, width, everything=True), nl=False)
        raise typer.Exit


def paragraphs(text: str | None) -> str:
    r"""Join the lines of each paragraph, so that help texts wrap at the terminal's width.

    Examples
    --------
    >>> paragraphs("One\n    two.\n\n    Three.")
    'One two.\n\nThree.'
    """
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


# fmt: off
# -- what is looked at ----------------------------------------------------------------------------
Images: TypeAlias = Annotated[list[str], argument("IMAGES...",
    "Files, folders, globs, URLs, tables with a column of images, or - for a list on standard "
    "input.")]
MEASURED = argument("DATA",
    "A folder with a folder per label (train/ and test/ above them are used), or a table with a "
    "column of images and one of labels.")

# -- what to look for -----------------------------------------------------------------------------
Labels: TypeAlias = Annotated[str | None, option(
    "-l, --labels NAMES", LABELS, common=True,
    help='Label names, "cat,dog", or with descriptions, "jam=a jar of jam,tea=a cup of tea".')]
LabelsFile: TypeAlias = Annotated[str | None, option(
    "--labels-file FILE", LABELS, common=True,
    help="Labels one per line, or a CSV or JSON file with descriptions.")]
Examples: TypeAlias = Annotated[str | None, option(
    "--examples DIR", LABELS, common=True,
    help="A folder per label with a few pictures each: learn from these.")]
Saved: TypeAlias = Annotated[str | None, option(
    "--classifier DIR", LABELS,
    help="A folder that `save` wrote in Python, or `showtell distill`: classify with it, as it is; "
         "with --model by the cascade that it holds.")]

# -- how to decide --------------------------------------------------------------------------------
EncoderName: TypeAlias = Annotated[str, option(
    "-e, --encoder NAME", METHOD, common=True,
    help="mini, hf-hub:org/name or local-dir:path. `showtell encoders` lists them.")]
Precision: TypeAlias = Annotated[Literal["auto", "fp32", "int8"], option(
    "--precision auto|fp32|int8", METHOD, help="Arithmetic of a hub encoder.")]
Method: TypeAlias = Annotated[str, option(
    "-m, --method NAME", METHOD, common=True,
    help=f"{ALL_METHODS} auto learns from examples where there are any.")]
Templates: TypeAlias = Annotated[str, option(
    "--templates SET|TEXT|FILE", METHOD,
    help="A template set, one template with {label}, or a file with one per line.")]
Descriptions: TypeAlias = Annotated[str | None, option(
    "--descriptions FILE", METHOD,
    help="What labels look like, as .json, .csv or .yaml, for the methods that go by "
         "descriptions. `showtell describe` writes one.")]
Domain: TypeAlias = Annotated[str | None, option(
    "--domain WORD", METHOD,
    help='What all labels are, for prompts such as "a photo of a bird: a wren"; "" for none '
         'where the file of descriptions names one.')]
Concepts: TypeAlias = Annotated[str | None, option(
    "--concepts FILE", METHOD,
    help="A concept tree, as .json, for the methods that go by clues. `showtell concepts` writes "
         "one.")]
Classifier: TypeAlias = Annotated[str | None, option(
    "--classifier DIR", METHOD,
    help="A saved classifier, or the folder of a student, as it is; with --model its cascade.")]
Controls: TypeAlias = Annotated[bool, option(
    "--controls/--no-controls", METHOD,
    help="Score a method that goes by descriptions beside what comes without them, on the same "
         "images: the template, the domain, random words.")]
Transductive: TypeAlias = Annotated[Literal["balance", "adapt"] | None, option(
    "--transductive balance|adapt", METHOD,
    help="Zero-shot over the whole batch: balance assumes labels are about equally frequent, "
         "adapt moves the labels towards the images at hand (100 or more).")]
Shots: TypeAlias = Annotated[int | None, option(
    "-k, --shots K", METHOD, common=True, min=0,
    help="Examples per label to learn from, or with --model to show; unless given all there are, "
         "or 5 to show. 0: none.")]
AbstainBelow: TypeAlias = Annotated[float | None, option(
    "--abstain-below P", METHOD, min=0.0, max=1.0,
    help="Give no label where the confidence is lower than P.")]
Sets: TypeAlias = Annotated[float | None, option(
    "--sets SHARE", METHOD, min=0.01, max=0.999,
    help="Add a column set: labels of which one is right for this share of images, such as 0.9. "
         "Needs --examples; where the method learns, half of them only say how large sets must "
         "be.")]
Seed: TypeAlias = Annotated[int, option(
    "--seed N", METHOD, min=0, help="Sets every random choice.")]

# -- asking a multimodal LLM ----------------------------------------------------------------------
Model: TypeAlias = Annotated[str | None, option(
    "--model PROVIDER:NAME", MODEL, common=True,
    help="Ask this multimodal LLM: openai:gpt-4.1-mini, google:gemini-2.5-flash, anthropic:NAME, "
         "ollama:llava, or an Ollama Modelfile. `showtell models` lists more. Keys come from the "
         "environment or .env. hf-hub:ORG/NAME and local-dir:PATH run in this process and say "
         "how likely each label is.")]
BaseUrl: TypeAlias = Annotated[str | None, option(
    "--base-url URL", MODEL, help="Another server that speaks the provider's wire format.")]
MaxCost: TypeAlias = Annotated[str | None, option(
    "--max-cost USD", MODEL, common=True,
    help="Stop, with exit code 3, before more than this is spent. The same command with a higher "
         "cap goes on from there.")]
MaxRequests: TypeAlias = Annotated[int | None, option(
    "--max-requests N", MODEL, min=0, help="Stop, with exit code 3, after so many requests.")]
MaxSide: TypeAlias = Annotated[int, option(
    "--max-side PIXELS", MODEL, min=0,
    help="Longer side of images as they are sent; 0: as large as the provider can use.")]
Anonymise: TypeAlias = Annotated[bool, option(
    "--anonymise", MODEL,
    help="Write class_0, class_1 ... for the labels, so that only the examples tell what they "
         "mean.")]
Selection: TypeAlias = Annotated[Literal["balanced", "random", "nearest"], option(
    "--selection balanced|random|nearest", MODEL,
    help="Which examples are shown: --shots of every label, as many whatever their label, or for "
         "each image those most like it.")]
Role: TypeAlias = Annotated[str | None, option(
    "--role WHO", MODEL, help='Who the model is asked to be: "a botanist".')]
ConfidenceFrom: TypeAlias = Annotated[
    Literal["auto", "verbalised", "logprobs", "votes", "decisions", "none"], option(
    "--confidence-from KIND", MODEL,
    help="auto, verbalised (the model says how sure it is), logprobs, votes (needs --n-samples), "
         "decisions or none.")]
NSamples: TypeAlias = Annotated[int, option(
    "--n-samples N", MODEL, min=1,
    help="Ask so many times, each with the labels in another order. Costs N times as much.")]
Rotations: TypeAlias = Annotated[str, option(
    "--rotations N|all", MODEL,
    help="Ask with N shifts of the list of labels, and of the examples, and put the answers "
         "together; all, as many as there are labels, cancel a preference for places. Costs N "
         "times as much.")]
Debias: TypeAlias = Annotated[Literal["contextual", "batch"] | None, option(
    "--debias contextual|batch", MODEL,
    help="Divide out what the prompt says of any image: by pictures that show nothing, or by the "
         "mean over all images, whose labels should be about even. Needs --rotations or "
         "--n-samples, or --confidence-from logprobs or decisions.")]
Calibrate: TypeAlias = Annotated[int, option(
    "--calibrate N", MODEL, min=0,
    help="Ask about N labelled images first, to learn what a confidence is worth. This costs "
         "money too; 40 or more are best.")]
Shortlist: TypeAlias = Annotated[str | None, option(
    "--shortlist K|two-step", MODEL,
    help="For many labels: list only the K that --encoder finds likeliest for an image, or ask "
         "in two steps.")]
Score: TypeAlias = Annotated[Literal["sum", "mean", "sum_eos", "pmi", "letter"], option(
    "--score sum|mean|sum_eos|pmi|letter", MODEL,
    help="How a model in this process scores a label: by its tokens' log-probabilities, per "
         "token, with the end of the text, against pictures that show nothing, or by the letter "
         "of a listed option.")]
Question: TypeAlias = Annotated[str | None, option(
    "--question TEXT", MODEL,
    help='What a model in this process is asked; "What is shown in this picture?" unless given.')]
ImagesPerRequest: TypeAlias = Annotated[str, option(
    "--images-per-request N|auto", MODEL,
    help="Images asked about in one request; auto: from limits and price.")]
Temperature: TypeAlias = Annotated[float | None, option(
    "--temperature T", MODEL, min=0.0, max=2.0,
    help="Of sampling; unless given 0, or 0.7 with --n-samples.")]
Timeout: TypeAlias = Annotated[float, option(
    "--timeout S", MODEL, min=0.001,
    help="Seconds for one attempt; and, from 60, for tries again while nobody is answered.")]
RequestsPerMinute: TypeAlias = Annotated[float | None, option(
    "--rpm N", MODEL, min=0.001, help="Requests per minute that your account may send.")]
TokensPerMinute: TypeAlias = Annotated[float | None, option(
    "--tpm N", MODEL, min=1.0, help="Tokens per minute that your account may use.")]
MaxConcurrency: TypeAlias = Annotated[int | None, option(
    "--max-concurrency N", MODEL, min=1,
    help="Requests in flight at most; 64, or 8 for models on your own machine.")]
PromptDir: TypeAlias = Annotated[str | None, option(
    "--prompt-dir DIR", MODEL,
    help="Edited prompts; `showtell models --copy-prompts DIR` writes those to start from.")]
Reuse: TypeAlias = Annotated[bool, option(
    "--reuse/--no-reuse", MODEL,
    help="Keep answers on disk and take those that were paid for before.")]

Jobs: TypeAlias = Annotated[bool, option(
    "--jobs", MODEL,
    help="Ask through the provider's batch endpoint (OpenAI, Google, Anthropic): for half the "
         "price or so, within a day. Needs --run.")]
NoWait: TypeAlias = Annotated[bool, option(
    "--no-wait", MODEL,
    help="With --jobs: hand in and end, with exit code 3. The same command later collects what "
         "is done.")]

CopyPrompts: TypeAlias = Annotated[Path | None, option(
    "--copy-prompts DIR", MODEL,
    help="Write the prompts into a folder, to be edited and given as --prompt-dir.")]
DryRun: TypeAlias = Annotated[bool, option(
    "--dry-run", MODEL, common=True,
    help="Only say what it would take: requests, tokens, dollars. Nothing is asked, and no key "
         "is needed.")]

# -- which images ---------------------------------------------------------------------------------
Limit: TypeAlias = Annotated[int | None, option(
    "--limit N", DATA, common=True, min=1,
    help="Take only N images, spread over the labels as in the whole; --seed chooses which.")]
ImageColumn: TypeAlias = Annotated[str | None, option(
    "--image-column COL", DATA, help="Column of a table with the images.")]
LabelColumn: TypeAlias = Annotated[str | None, option(
    "--label-column COL", DATA, help="Column of a table with the labels.")]
SplitColumn: TypeAlias = Annotated[str | None, option(
    "--split-column COL", DATA, help="Column of a table that says train or test.")]
GroupColumn: TypeAlias = Annotated[str | None, option(
    "--group-column COL", DATA, help="Rows that are equal here stay on one side of a split.")]
TestSize: TypeAlias = Annotated[float | None, option(
    "--test-size PART", DATA, min=0.0, max=1.0,
    help="Part of a data set without train/ and test/ to be scored; 0.25 where examples are "
         "needed.")]
Boxes: TypeAlias = Annotated[str | None, option(
    "--boxes FILE|DIR", DATA,
    help="Boxes on the images of a folder, each a row of its own: a COCO file (.json) or a "
         "folder of Pascal VOC files (.xml).")]
CheckDuplicates: TypeAlias = Annotated[bool, option(
    "--check-duplicates/--no-check-duplicates", DATA,
    help="Look for images that are, nearly, among the examples and among those scored.")]

# -- what to write --------------------------------------------------------------------------------
Output: TypeAlias = Annotated[Path | None, option(
    "-o, --output FILE", OUTPUT, common=True,
    help="One row per image, as .csv, .parquet or .jsonl.")]
Proba: TypeAlias = Annotated[bool, option(
    "--proba", OUTPUT, help="Add a column p_LABEL with the probability of each label.")]
EscapeFormulas: TypeAlias = Annotated[bool, option(
    "--escape-formulas", OUTPUT,
    help="Put a ' before text of a CSV that a spreadsheet would run as a formula.")]
Report: TypeAlias = Annotated[Path | None, option(
    "--report PAGE.html", OUTPUT, common=True, help="A page to look at, in one file.")]
RunFolder: TypeAlias = Annotated[Path | None, option(
    "--run DIR", OUTPUT, common=True,
    help="Keep everything in a folder: run.json, predictions and report.html. The same command "
         "again goes on where it stopped.")]
Json: TypeAlias = Annotated[bool, option(
    "--json", OUTPUT, common=True, help="Print one JSON object for a program to read.")]

# -- how to run -----------------------------------------------------------------------------------
Threads: TypeAlias = Annotated[int | None, option(
    "--threads N", RUNNING, min=1, max=MOST_THREADS, help="Threads of the computation.")]
Store: TypeAlias = Annotated[bool, option(
    "--store/--no-store", RUNNING,
    help="Keep embeddings on disk, so that the same image is computed once.")]
Config: TypeAlias = Annotated[Path | None, option(
    "--config FILE", RUNNING, is_eager=True, callback=use_settings,
    help="Settings file, which may set every option; showtell.toml in the working directory may "
         "set only harmless ones.")]
Quiet: TypeAlias = Annotated[bool, option(
    "-q, --quiet", RUNNING, help="Say nothing but results and errors.")]
Verbose: TypeAlias = Annotated[bool, option(
    "-v, --verbose", RUNNING, help="Say what is being done.")]
Debug: TypeAlias = Annotated[bool, option(
    "--debug", RUNNING, help="Show where an error comes from.")]
HelpAll: TypeAlias = Annotated[bool, option(
    "--help-all", RUNNING, common=True, is_eager=True, envvar=None, callback=_show_all,
    help="Show every option and exit.")]
# fmt: on
