"""`showtell try-server`: a server to try MLLM commands with, without a key."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Annotated, Any, Literal

import typer

from showtell import runs
from showtell.cli import options as o
from showtell.cli.groups import TalkOptions, grouped
from showtell.cli.output import print_json
from showtell.cli.session import begin

EPILOG = """# Examples

showtell try-server --port 8765

showtell classify photos/ --labels cat,dog --model openai:try --base-url http://127.0.0.1:8765/v1

showtell try-server --latency 0.3 --faults 429=0.05,500=0.05,drop=0.03,broken-json=0.03
"""

_SERVER = "What it is like"

Kind = Annotated[
    Literal["openai", "google", "anthropic", "ollama", "all"],
    o.option(
        "--kind",
        panel=_SERVER,
        metavar="openai|google|anthropic|ollama|all",
        help="Wire format; all speaks every one on the same port.",
    ),
]
Port = Annotated[
    int,
    o.option(
        "--port",
        panel=_SERVER,
        common=True,
        min=0,
        max=65535,
        metavar="N",
        help="0 takes a free one.",
    ),
]
Latency = Annotated[
    float,
    o.option(
        "--latency",
        panel=_SERVER,
        common=True,
        min=0.0,
        metavar="S",
        help="Seconds before each answer.",
    ),
]
FaultSpec = Annotated[
    str,
    o.option(
        "--faults",
        panel=_SERVER,
        common=True,
        metavar="SPEC",
        help="What goes wrong, how often: 429, 500, timeout, cut, refuse, block, empty, "
        "broken-json per request; drop, duplicate, conflict, swap, unknown, out-of-set per image; "
        "forget-label, repeat, name-other, invalid per written text; all=0.2 shares a part among "
        "them.",
    ),
]
BiasSpec = Annotated[
    str,
    o.option(
        "--bias",
        panel=_SERVER,
        metavar="SPEC",
        help="Planted prejudices, how often they decide: example, first, last, recent, majority, "
        "noise. For trying audits.",
    ),
]
Photos = Annotated[
    str | None,
    o.option(
        "--photos",
        panel=_SERVER,
        metavar="DIR",
        help="A folder per label with photos: what it writes then mixes words that help to tell "
        "these apart with words that harm. For trying describe and optimize; keep other photos to "
        "measure with.",
    ),
]
ShareBad = Annotated[
    float,
    o.option(
        "--share-bad",
        panel=_SERVER,
        min=0.0,
        max=1.0,
        metavar="P",
        help="How many of the words it writes are bad ones.",
    ),
]
BatchDelay = Annotated[
    float,
    o.option(
        "--batch-delay", panel=_SERVER, min=0.0, metavar="S", help="Seconds a batch job takes."
    ),
]
Rpm = Annotated[
    int | None,
    o.option("--rpm", panel=_SERVER, min=1, metavar="N", help="Requests allowed per minute."),
]
Tpm = Annotated[
    int | None,
    o.option("--tpm", panel=_SERVER, min=1, metavar="N", help="Tokens allowed per minute."),
]


@grouped
def try_server(
    ctx: typer.Context,
    *,
    kind: Kind = "all",
    port: Port = 0,
    latency: Latency = 0.0,
    faults: FaultSpec = "",
    bias: BiasSpec = "",
    photos: Photos = None,
    share_bad: ShareBad = 0.5,
    batch_delay: BatchDelay = 0.0,
    rpm: Rpm = None,
    tpm: Tpm = None,
    encoder: o.EncoderName = "mini",
    seed: o.Seed = 0,
    json: o.Json = False,
    saying: TalkOptions,
) -> None:
    """Run a server that speaks the providers' formats, to try commands without a key.

    It answers by looking at the images it is sent, with the embedded encoder: the label of the
    nearest examples, or of the nearest label text. What it is asked to write it puts together from
    a bank of visual words and some nonsense. It listens on this machine only. Ctrl-C ends it.
    """
    session = begin(ctx, saying)
    from showtell.testing.servers import Author, Bias, Faults, LocalServer, Quota

    shown = runs.examples_of(photos, "photos")
    author = Author(
        images=None if shown is None else shown.images,
        labels=None if shown is None else [str(label) for label in shown.y],
        share_bad=share_bad,
    )

    server = LocalServer(
        kind=kind,
        port=port,
        latency=latency,
        faults=Faults.parse(faults),
        bias=Bias.parse(bias),
        author=author,
        batch_delay=batch_delay,
        quota=Quota(rpm=rpm, tpm=tpm),
        encoder=encoder,
        seed=seed,
    )
    server.load()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with server:
        kinds: tuple[Any, ...] = ("openai", "google", "anthropic", "ollama")
        spoken = [one for one in kinds if kind in (one, "all")]
        urls = {one: server.url_for(one) for one in spoken}
        if json:
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
