"""Honest local servers: they speak the vendors' wire formats and look at the images they get.

For tests and for trying every command without a key::

    with LocalServer(kind="openai") as server:
        ...  # any client of OpenAI's API, with base_url=server.base_url and any key

Wire formats: OpenAI (chat completions, responses, decisions, files and batches), Google
(generateContent, its stream, decisions, files and batches), Anthropic (messages, message
batches), Ollama (OpenAI-compatible and native), and ``/v1/systemone`` of local decision servers.
Requests to write, such as `showtell describe` sends, are answered by an `Author`.
"""

from __future__ import annotations

from showtell.testing.servers.author import Author, LabelWords
from showtell.testing.servers.knobs import Bias, Faults, Quota
from showtell.testing.servers.reading import Query
from showtell.testing.servers.records import ReceivedRequest, Stats
from showtell.testing.servers.server import LocalServer
from showtell.testing.servers.sight import SentImage

__all__ = [
    "Author",
    "Bias",
    "Faults",
    "LabelWords",
    "LocalServer",
    "Query",
    "Quota",
    "ReceivedRequest",
    "SentImage",
    "Stats",
]
