"""Honest local servers: they speak the vendors' wire formats and look at the images they get.

For tests and for trying every command without a key::

    with LocalServer(kind="openai") as server:
        ...  # any client of OpenAI's API, with base_url=server.base_url and any key

Wire formats: OpenAI (chat completions, responses, decisions, files and batches), Google
(generateContent, its stream, decisions, files and batches), Anthropic (messages, message
batches), Ollama (OpenAI-compatible and native), and ``/v1/systemone`` of local decision servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from showtell.testing.servers.knobs import Bias, Faults, Quota

if TYPE_CHECKING:
    from showtell.testing.servers.engine import ReceivedRequest, Stats
    from showtell.testing.servers.reading import Query
    from showtell.testing.servers.server import LocalServer
    from showtell.testing.servers.sight import SentImage

__all__ = [
    "Bias",
    "Faults",
    "LocalServer",
    "Query",
    "Quota",
    "ReceivedRequest",
    "SentImage",
    "Stats",
]

_HOMES = {
    "LocalServer": "server",
    "Query": "reading",
    "ReceivedRequest": "engine",
    "SentImage": "sight",
    "Stats": "engine",
}


def __getattr__(name: str) -> Any:
    """Load what needs the web libraries on first use."""
    if name in _HOMES:
        from showtell._extras import need

        for package in ("starlette", "uvicorn"):
            need(package, extra="mllm", what="A local server")
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
