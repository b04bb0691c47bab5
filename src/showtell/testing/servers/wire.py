"""What all wire formats share: reading, streaming and refusing."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from showtell.testing.servers.counting import Vendor
from showtell.testing.servers.reading import Part
from showtell.testing.servers.records import Ask, Problem, Reply
from showtell.testing.servers.sight import Sight

__all__ = ["Wire", "pieces", "refusal", "texts_of"]

_PIECE = 24  # characters of a streamed piece


class Wire(ABC):
    """A wire format: how a vendor's answers and errors are written."""

    vendor: Vendor

    def __init__(self, sight: Sight) -> None:
        self._sight = sight

    @abstractmethod
    def complete(self, ask: Ask, reply: Reply) -> dict[str, Any]:
        """Write a plain answer."""

    @staticmethod
    @abstractmethod
    def problem(problem: Problem) -> dict[str, Any]:
        """Write an error."""

    def stream(self, ask: Ask, reply: Reply) -> Iterator[bytes]:
        """Write an answer in pieces; what is never streamed comes whole."""
        yield json.dumps(self.complete(ask, reply)).encode()


def pieces(text: str) -> Iterator[str]:
    """Cut a text as it is streamed."""
    for start in range(0, len(text), _PIECE):
        yield text[start : start + _PIECE]


def texts_of(parts: Sequence[Part]) -> str:
    """Join the texts, as of a system prompt."""
    return "\n\n".join(part for part in parts if isinstance(part, str))


def refusal(wire: type[Wire], status: int, message: str) -> Response:
    """Turn a request about jobs or files away."""
    kind = "not_found" if status == 404 else "bad_request"
    problem = Problem(status=status, kind=kind, message=message)  # type: ignore[arg-type]
    return JSONResponse(wire.problem(problem), status_code=status)
