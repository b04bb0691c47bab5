"""Responses that come in pieces, and one that breaks off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from showtell.testing.servers.counting import Vendor

__all__ = ["CutResponse", "StreamResponse"]


class StreamResponse(Response):
    """Sends pieces one by one."""

    def __init__(self, pieces: Iterator[bytes], vendor: Vendor) -> None:
        self._pieces = pieces
        self.media_type = "application/x-ndjson" if vendor == "ollama" else "text/event-stream"
        super().__init__()
        del self.headers["content-length"]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send each piece as a part of the body."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async for piece in _given_way(self._pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class CutResponse(Response):
    """Promises a body, sends a part of it and closes the connection."""

    def __init__(self, body: bytes, draw: float, stream: bool) -> None:
        super().__init__(body, media_type="text/event-stream" if stream else "application/json")
        self._part = body[: int(draw * len(body) * 0.9)]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send a part, and end without the rest."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        await send({"type": "http.response.body", "body": self._part, "more_body": True})
        # returning without the rest makes the HTTP server close the connection


async def _given_way(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)
