"""`showtell estimate`: tokens, requests, dollars and time of a run, before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from showtell import runs
from showtell.classify.table import AUTO
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.data import images_of
from showtell.cli.estimates import show_estimate
from showtell.cli.recipes import begin_job, given_labels, recipe_of
from showtell.cli.session import begin
from showtell.errors import InputError

EPILOG = """# Examples

showtell estimate photos/ --labels "cat,dog" --model google:gemini-2.5-flash

showtell estimate photos/ --examples sorted/ --shots 5 --model openai:gpt-4.1-mini --json

showtell estimate photos/ --labels "cat,dog" --model anthropic:claude-haiku-4-5 --rpm 50

showtell estimate photos/ --labels "cat,dog" --model openai:gpt-4.1-mini --to-tell-apart 3
"""


@dataclass(frozen=True, kw_only=True)
class EstimateOptions:
    """What `estimate` is told."""

    # fmt: off
    images: o.Images
    sought: g.LabelOptions
    method: o.Method = "auto"
    encoder: o.EncoderName = "mini"
    classifier: o.Classifier = None
    words: g.EncoderOptions
    shots: o.Shots = None
    seed: o.Seed = 0
    asked: g.AskOptions
    jobs: o.Jobs = False
    latency: Annotated[float | None, o.option(
        "--latency S", o.MODEL, min=0.0,
        help="Seconds that one request takes; unless given 1 and 1 more for every 100 output "
             "tokens.")] = None
    to_tell_apart: Annotated[float | None, o.option(
        "--to-tell-apart POINTS", o.DATA, min=0.1, max=99.0,
        help="Also say how many labelled images show so small a difference of accuracies between "
             "two ways, and what asking about them costs.")] = None
    limit: o.Limit = None
    image_column: o.ImageColumn = None
    json: o.Json = False
    store: o.Store = True
    # fmt: on


@g.grouped
def estimate(ctx: typer.Context, *, given: EstimateOptions) -> None:
    """Say what `classify` would take as it stands: requests, tokens, dollars and time.

    The requests are made as they would be sent, and counted by the provider's formula; nothing
    is sent, and no key is needed. Asking again about images that an answer leaves out comes on
    top. A price that is not known is "unknown".

    A cap, --max-cost, counts each request with its longest answer before it goes out: the table
    names the smallest cap that lets the first request out, and one that suffices for all.
    """
    session = begin(ctx)
    sought, apart = given.sought, given.to_tell_apart
    shows = sought.examples is not None and given.shots != 0
    labels = given_labels(sought.labels, sought.labels_file)
    recipe = recipe_of(ctx, shows=shows, labels=labels)
    if recipe.model is None and recipe.method == AUTO:
        raise InputError(
            "Which model? Name it with `model` provider:name; `showtell models` lists them. "
            "Encoders run on this machine and cost nothing.",
            param="model",
        )
    job = runs.Job(recipe=recipe, verb="estimate", tell=session.tell)
    begin_job(session, ctx, job, counts=True)
    data = images_of(session, given.images, given.image_column, given.limit, given.seed)
    with session.progress() as progress:
        found = job.estimate(
            data,
            runs.examples_of(sought.examples),
            latency=given.latency,
            to_tell_apart=None if apart is None else apart / 100,
            progress=progress,
        )
    if recipe.calibrates and not recipe.asks:
        session.note(
            f"--calibrate looks at {recipe.option('n_calibration'):,} labelled images besides, "
            "which are not counted here."
        )
    show_estimate(session, found, json=given.json, in_jobs=given.jobs)
