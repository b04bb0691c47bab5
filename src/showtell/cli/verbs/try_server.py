"""`showtell try-server`: a server to try MLLM commands with, without a key."""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from showtell import runs
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.output import print_json
from showtell.cli.session import begin

EPILOG = """# Examples

showtell try-server --port 8765

showtell classify photos/ --labels cat,dog --model openai:try --base-url http://127.0.0.1:8765/v1

showtell try-server --latency 0.3 --faults 429=0.05,500=0.05,drop=0.03,broken-json=0.03
"""

_SERVER = "What it is like"


@dataclass(frozen=True, kw_only=True)
class TryServerOptions:
    """What `try-server` is told."""

    # fmt: off
    kind: Annotated[Literal["openai", "google", "anthropic", "ollama", "all"], o.option(
        "--kind openai|google|anthropic|ollama|all", _SERVER,
        help="Wire format; all speaks every one on the same port.")] = "all"
    port: Annotated[int, o.option(
        "--port N", _SERVER, common=True, min=0, max=65535, help="0 takes a free one.")] = 0
    latency: Annotated[float, o.option(
        "--latency S", _SERVER, common=True, min=0.0, help="Seconds before each answer.")] = 0.0
    faults: Annotated[str, o.option(
        "--faults SPEC", _SERVER, common=True,
        help="What goes wrong, how often: 429, 500, timeout, cut, refuse, block, empty, "
             "broken-json per request; drop, duplicate, conflict, swap, unknown, out-of-set "
             "per image; forget-label, repeat, name-other, invalid per written text; all=0.2 "
             "shares a part among them.")] = ""
    bias: Annotated[str, o.option(
        "--bias SPEC", _SERVER,
        help="Planted prejudices, how often they decide: example, first, last, recent, majority, "
             "noise. For trying audits.")] = ""
    photos: Annotated[str | None, o.option(
        "--photos DIR", _SERVER,
        help="A folder per label with photos: what it writes then mixes words that help to tell "
             "these apart with words that harm. For trying describe and optimize; keep other "
             "photos to measure with.")] = None
    share_bad: Annotated[float, o.option(
        "--share-bad P", _SERVER, min=0.0, max=1.0,
        help="How many of the words it writes are bad ones.")] = 0.5
    batch_delay: Annotated[float, o.option(
        "--batch-delay S", _SERVER, min=0.0, help="Seconds a batch job takes.")] = 0.0
    rpm: Annotated[int | None, o.option(
        "--rpm N", _SERVER, min=1, help="Requests allowed per minute.")] = None
    tpm: Annotated[int | None, o.option(
        "--tpm N", _SERVER, min=1, help="Tokens allowed per minute.")] = None
    encoder: o.EncoderName = "mini"
    seed: o.Seed = 0
    json: o.Json = False
    # fmt: on


@g.grouped
def try_server(ctx: typer.Context, *, given: TryServerOptions) -> None:
    """Run a server that speaks the providers' formats, to try commands without a key.

    It answers by looking at the images it is sent, with the embedded encoder: the label of the
    nearest examples, or of the nearest label text. What it is asked to write it puts together from
    a bank of visual words and some nonsense. It listens on this machine only. Ctrl-C ends it.
    """
    session = begin(ctx)
    from showtell.testing.servers import Author, Bias, Faults, LocalServer, Quota

    shown = runs.examples_of(given.photos, "photos")
    author = Author(
        images=None if shown is None else shown.images,
        labels=None if shown is None else [str(label) for label in shown.y],
        share_bad=given.share_bad,
    )

    server = LocalServer(
        kind=given.kind,
        port=given.port,
        latency=given.latency,
        faults=Faults.parse(given.faults),
        bias=Bias.parse(given.bias),
        author=author,
        batch_delay=given.batch_delay,
        quota=Quota(rpm=given.rpm, tpm=given.tpm),
        encoder=given.encoder,
        seed=given.seed,
    )
    server.load()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with server:
        kinds: tuple[Any, ...] = ("openai", "google", "anthropic", "ollama")
        spoken = [one for one in kinds if given.kind in (one, "all")]
        urls = {one: server.url_for(one) for one in spoken}
        if given.json:
            models = {one: f"{one}:{server.model}" for one in spoken}
            print_json({"port": server.port, "models": models, "base_urls": urls})
        else:
            for one, url in urls.items():
                sys.stdout.write(f"--model {one}:{server.model} --base-url {url}\n")
        sys.stdout.flush()
        session.summary("Any API key will do. Ctrl-C ends the server.")
        try:
            while not ended.wait(0.5):
                continue
        except KeyboardInterrupt:
            ended.set()
        stats = server.stats
    session.summary(
        f"{stats.n_answered} of {stats.n_requests} requests answered, {stats.n_images} images "
        f"seen, {sum(stats.written.values())} texts written."
    )
