"""A server in a thread: one port, any wire format."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self, TypeAlias

from showtell._extras import need
from showtell.encoders.base import Encoder
from showtell.errors import InputError, RunError
from showtell.media import Media
from showtell.testing.servers.author import Author
from showtell.testing.servers.guessing import Guesser, Truth
from showtell.testing.servers.knobs import Bias, Faults, Quota
from showtell.testing.servers.records import ReceivedRequest, Stats
from showtell.testing.servers.sight import Sight

__all__ = ["Kind", "LocalServer"]

Kind: TypeAlias = Literal["openai", "google", "anthropic", "ollama", "all"]

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


class LocalServer:
    """A server on 127.0.0.1 that answers by looking at the images it was sent.

    It embeds queries and demonstrations with an encoder and answers the label of the nearest
    demonstrations, or without any, of the nearest label text. So answers get better with more
    demonstrations only if everything on the way is right: order, orientation, ids, labels.

    Parameters
    ----------
    kind : {"openai", "google", "anthropic", "ollama", "all"}, default="all"
        Wire format. ``"all"`` speaks every one on the same port.
    port : int, default=0
        0 takes a free one.
    encoder : Encoder or str, default="mini"
        What it looks with.
    rule : {"mean", "nearest"}, default="mean"
        Compare with the mean of a label's demonstrations, or with the nearest one.
    truth : mapping or callable, optional
        Answers the right labels instead of looking: by image digest or query id, or a function
        of a `Query`. None for an image means: look at nothing, guess.
    author : Author, optional
        Answers requests to write something, such as descriptions; unless given one without photos.
    latency, jitter : float
        Seconds before an answer, and at most how many more.
    faults : Faults or str, optional
        What goes wrong, how often; a text is parsed by `Faults.parse`.
    quota : Quota, optional
        Requests and tokens per minute; the rest gets 429 with Retry-After.
    bias : Bias, optional
        Planted prejudices.
    batch_delay : float, default=0.0
        Seconds that a batch job takes.
    api_keys : sequence of str, optional
        Keys that are let in; everybody is, if not given.
    max_images : int, optional
        Images allowed in one request.
    idempotent : bool, default=True
        A request with the ``Idempotency-Key`` of one that was answered gets the same answer again
        and is not paid for; False ignores the header, as most vendors do.
    bill_gone : bool, default=False
        An answer is paid for although the client was gone when it was ready.
    retry_after : float, default=1.0
        Seconds that a 429 fault asks to wait.
    seed : int, default=0
        Of faults, prejudices and guesses.
    model : str, default="try"
        The name it lists; any other is answered too.

    Attributes
    ----------
    base_url : str
        What to give to a client of this kind; for ``"all"`` the root, see `url_for`.
    port : int
    stats : Stats
        Counts.
    requests : list of ReceivedRequest
        What came over the wire, without pixels.

    Raises
    ------
    MissingExtraError
        If starlette or uvicorn is not installed.

    Examples
    --------
    >>> from showtell.testing import ColourEncoder
    >>> with LocalServer(kind="openai", encoder=ColourEncoder()) as server:
    ...     server.base_url.startswith("http://127.0.0.1:"), server.stats.n_requests
    (True, 0)
    """

    def __init__(
        self,
        kind: Kind = "all",
        *,
        port: int = 0,
        encoder: Encoder | str = "mini",
        rule: Literal["mean", "nearest"] = "mean",
        truth: Truth | None = None,
        author: Author | None = None,
        latency: float = 0.0,
        jitter: float = 0.0,
        faults: Faults | str | None = None,
        quota: Quota | None = None,
        bias: Bias | None = None,
        batch_delay: float = 0.0,
        api_keys: Sequence[str] | None = None,
        max_images: int | None = None,
        idempotent: bool = True,
        bill_gone: bool = False,
        retry_after: float = 1.0,
        seed: int = 0,
        model: str = "try",
    ) -> None:
        allowed = ("openai", "google", "anthropic", "ollama", "all")
        if kind not in allowed:
            raise InputError(f"`kind` must be one of {', '.join(allowed)}, got {kind!r}.")
        if latency < 0 or jitter < 0 or batch_delay < 0:
            raise InputError("`latency`, `jitter` and `batch_delay` are seconds and not negative.")
        for package in ("starlette", "uvicorn"):
            need(package, extra="mllm", what="A local server")
        from showtell.testing.servers.engine import Engine

        self.kind: Kind = kind
        self.model = model
        self._sight = Sight(encoder)
        guesser = Guesser(sight=self._sight, rule=rule, bias=bias or Bias(), truth=truth, seed=seed)
        self._engine = Engine(
            guesser,
            author=author,
            latency=latency,
            jitter=jitter,
            faults=Faults.parse(faults) if isinstance(faults, str) else faults or Faults(),
            quota=quota or Quota(),
            retry_after=retry_after,
            keys=None if api_keys is None else frozenset(api_keys),
            max_images=max_images,
            idempotent=idempotent,
            bill_gone=bill_gone,
            seed=seed,
        )
        self._batch_delay = batch_delay
        self._wanted_port = port
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: object = None
        self._failure: BaseException | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._socket is None:
            raise RunError("The server is not running. Use `with LocalServer(...)` or `start()`.")
        return int(self._socket.getsockname()[1])

    @property
    def base_url(self) -> str:
        """The base URL for clients of this kind."""
        return self.url_for(self.kind)

    def url_for(self, kind: Kind) -> str:
        """Return the base URL that clients of a kind expect."""
        root = f"http://127.0.0.1:{self.port}"
        if kind == "ollama" and self.kind == "all":
            return f"{root}/ollama/v1"
        return f"{root}/v1" if kind in ("openai", "ollama") else root

    @property
    def stats(self) -> Stats:
        """Counts since the start."""
        return self._engine.stats

    @property
    def requests(self) -> list[ReceivedRequest]:
        """What came over the wire, oldest first."""
        return list(self._engine.requests)

    def load(self) -> None:
        """Load the encoder now instead of at the first image."""
        _ = self._sight.encoder

    def warm(self, images: Sequence[Media]) -> None:
        """Embed images, as they will be sent byte for byte, so that no request waits for it."""
        self._sight.warm(images)

    def start(self) -> Self:
        """Listen; returns when requests can come. `InputError` if the port is taken."""
        # named as TCP, so that asyncio sends small answers at once (no delay of 40 ms)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self._wanted_port))
        except OSError as error:
            listener.close()
            raise InputError(
                f"Port {self._wanted_port} of 127.0.0.1 cannot be used ({error.strerror}). "
                "Choose another one, or 0 for a free one."
            ) from None
        listener.listen(1024)
        self._socket = listener
        self._engine.stopping = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="showtell-local-server", daemon=True
        )
        self._thread.start()
        if not ready.wait(_START_SECONDS) or self._failure is not None:
            raise RunError(f"The local server did not start: {self._failure or 'too slow'}.")
        return self

    def stop(self) -> None:
        """Close all connections and the port."""
        if self._thread is None or self._loop is None:
            return

        def wind_up() -> None:
            self._engine.stopping.set()
            self._server.should_exit = True  # type: ignore[attr-defined]

        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(wind_up)
            self._thread.join(_STOP_SECONDS)
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self, ready: threading.Event) -> None:
        """Serve until told to stop; the thread's main function."""
        import uvicorn

        from showtell.testing.servers.app import make_app

        stopping = self._engine.stopping

        class Ticking(uvicorn.Server):
            """Notices at once that it is to stop, instead of at the next tenth of a second."""

            async def main_loop(self) -> None:
                tick = 0
                while not await self.on_tick(tick):
                    tick = (tick + 1) % 864_000
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stopping.wait(), 0.1)

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            app = make_app(
                self._engine, self._sight, self.kind, self.model, batch_delay=self._batch_delay
            )
            config = uvicorn.Config(
                app,
                log_config=None,
                log_level="critical",
                access_log=False,
                lifespan="off",
                ws="none",
                timeout_keep_alive=30,
                timeout_graceful_shutdown=2,
                backlog=1024,
            )
            server = Ticking(config)
            self._server = server
            assert self._socket is not None
            ticket = asyncio.create_task(server.serve(sockets=[self._socket]))
            while not server.started and not ticket.done():
                await asyncio.sleep(0.005)
            ready.set()
            await ticket

        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001  told to whoever called `start`
            self._failure = error
        finally:
            ready.set()
