"""A model that answers as told, and an event loop whose time passes without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from showtell.errors import MLLMError
from showtell.mllm import Answer, ImagePart, Request, Settings, TextPart, Usage


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time jumps to the next timer as soon as nothing else is to be done."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        select = self._selector.select

        def at_once(timeout=None):
            if timeout is None:
                return select(timeout)
            events = select(0)
            if not events and timeout > 0:
                self.now += timeout
            return events

        self._selector.select = at_once

    def time(self) -> float:
        return self.now


def run_virtually(make: Callable[[VirtualLoop], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine in virtual time."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(make(loop))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class ScriptedModel:
    """Answers with what `script` says: a text, an answer, or an error to raise."""

    def __init__(
        self,
        script: Callable[[Request, int], str | Answer | Exception] = lambda request, n: "cat",
        *,
        latency: float = 0.0,
        name: str = "toy:scripted",
        cost: Decimal | None = Decimal("0.01"),
        tokens: tuple[int, int] = (100, 10),
    ) -> None:
        self.name = name
        self.script, self.latency, self.cost, self.tokens = script, latency, cost, tokens
        self.asked: list[Request] = []
        self.in_flight = self.peak = 0
        self.closed = False

    async def ask(self, request: Request) -> Answer:
        self.asked.append(request)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await asyncio.sleep(self.latency)
            said = self.script(request, len(self.asked))
        finally:
            self.in_flight -= 1
        if isinstance(said, Exception):
            raise said
        return answer(said, self.cost, self.tokens) if isinstance(said, str) else said

    async def aclose(self) -> None:
        self.closed = True


def answer(text="cat", cost=Decimal("0.01"), tokens=(100, 10), **more) -> Answer:
    usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1], cost_usd=cost)
    more.setdefault("finish", "stop")
    return Answer(text=text, usage=usage, model="scripted-1", **more)


def question(number: int = 0, *, image: bytes = b"", n_demonstrations: int = 0, **more) -> Request:
    """A request that differs from others by its number."""
    demonstrations = [
        part
        for i in range(n_demonstrations)
        for part in (TextPart(text="Example:"), picture(f"demo{i}", image))
    ]
    more.setdefault("settings", Settings(max_tokens=50))
    return Request(
        model=more.pop("model", "toy:scripted"),
        system="Say what it is.",
        parts=(*demonstrations, TextPart(text=f"Image {number}:"), picture(f"q{number}", image)),
        n_prefix=len(demonstrations),
        **more,
    )


def picture(digest: str, data: bytes = b"") -> ImagePart:
    return ImagePart(data=data, media_type="image/jpeg", digest=digest, width=64, height=48)


def kinds(outcomes: list[Answer | MLLMError]) -> list[str]:
    """Texts of answers and names of errors."""
    return [o.text if isinstance(o, Answer) else type(o).__name__ for o in outcomes]
