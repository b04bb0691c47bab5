"""What requests, answers and counts are inside, whatever their wire format."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from showtell.testing.servers.assignments import Assignment
from showtell.testing.servers.counting import TokenCount, Vendor
from showtell.testing.servers.guessing import Guess
from showtell.testing.servers.reading import Part, Scene
from showtell.testing.servers.sight import SentImage, SentMedia
from showtell.testing.servers.writing import Item, Token

__all__ = ["Ask", "BadRequestError", "Finish", "Problem", "ReceivedRequest", "Reply", "Stats"]

Finish: TypeAlias = Literal["stop", "length", "refused", "blocked"]


class BadRequestError(Exception):
    """The request is not as its wire format wants it."""


@dataclass(kw_only=True)
class Ask:
    """A request, out of its wire format."""

    vendor: Vendor
    endpoint: str
    model: str
    system: str
    parts: list[Part]
    schema: Mapping[str, Any] | None = None
    as_json: bool = False
    tool: str | None = None
    """Name of the function that is called with the answer."""
    max_tokens: int | None = None
    temperature: float | None = None
    n_logprobs: int | None = None
    stream: bool = False
    marks: tuple[int, ...] = ()
    """Anthropic's cache marks: number of parts before each."""
    questions: list[dict[str, Any]] = field(default_factory=list)
    """Of a decisions request; see `showtell.testing.servers.decisions`."""
    wants_usage: bool = True
    """Whether a stream ends with usage (OpenAI sends it only if asked)."""
    read: tuple[Scene, Mapping[str, Any] | None, tuple[str, ...]] | None = None
    """What was made of it: scene, schema to follow, labels that the schema allows."""
    assignment: Assignment | None = None
    """What is to be written; None where images are to be labelled. Known once `read` is."""

    def key(self) -> str:
        """Hash of what the answer may depend on."""
        head = json.dumps(
            [
                self.vendor,
                self.model,
                self.system,
                self.schema,
                self.questions,
                self.temperature,
                self.max_tokens,
                [p if isinstance(p, str) else p.digest for p in self.parts],
            ],
            sort_keys=True,
            default=str,
        )
        data = head.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, digest_size=12, usedforsecurity=False).hexdigest()

    @property
    def images(self) -> tuple[SentImage, ...]:
        """All images, in order."""
        return tuple(part for part in self.parts if isinstance(part, SentImage))

    @property
    def media(self) -> tuple[SentMedia, ...]:
        """All sound, videos and documents, in order."""
        return tuple(part for part in self.parts if isinstance(part, SentMedia))

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, the system's first."""
        return (self.system, *(part for part in self.parts if isinstance(part, str)))


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, before it takes a wire format."""

    number: int
    model: str
    text: str
    finish: Finish
    count: TokenCount
    items: tuple[Item, ...] = ()
    tokens: tuple[Token, ...] | None = None
    tool: str | None = None
    guesses: tuple[Guess, ...] = ()
    decisions: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why there is no answer."""

    status: int
    kind: Literal[
        "bad_request", "auth", "not_found", "rate_limit", "server", "overloaded", "blocked"
    ]
    message: str
    retry_after: float | None = None
    """Seconds."""


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """What came over the wire, and what became of it. Pixels are not kept."""

    number: int
    at: float
    """Seconds since the server started."""
    vendor: Vendor
    endpoint: str
    model: str
    texts: tuple[str, ...]
    """The system text, then all pieces of text in order."""
    images: tuple[SentImage, ...]
    """In order; `data` is emptied."""
    media: tuple[SentMedia, ...]
    """Sound, videos and documents, in order; `data` is emptied."""
    layout: str
    """``t`` for each piece of text, ``i`` for each image and ``m`` for other media, in order."""
    ids: tuple[str, ...]
    """Queries."""
    labels: tuple[str, ...]
    """Answered labels, in the order of `ids`; () without an answer."""
    key: str
    attempt: int
    """0 the first time this content came."""
    batch: str | None
    """Id of the batch job it belonged to."""
    status: int
    """HTTP status; 0 where the connection was left open or cut."""
    fault: str | None
    spoiled: Mapping[str, str]
    """Fault by query id."""
    count: TokenCount | None
    task: str | None = None
    """What was to be written; None where images were to be labelled."""


@dataclass(kw_only=True)
class Stats:
    """Counts since the server started; read them at any time."""

    n_requests: int = 0
    n_answered: int = 0
    """Requests answered with 200, complete."""
    n_abandoned: int = 0
    """Requests whose client was gone before the answer."""
    n_replayed: int = 0
    """Requests that came again with the same ``Idempotency-Key``, answered from the books for
    nothing."""
    in_flight: int = 0
    max_in_flight: int = 0
    n_images: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """Faults that were done, by name; `quota` is a 429 because of the quota."""
    paid: Counter[str] = field(default_factory=Counter)
    """How often each query id was in a request that was answered with 200 and so is paid for."""
    paid_images: Counter[str] = field(default_factory=Counter)
    """The same by digest of the query's image."""
    delivered: Counter[str] = field(default_factory=Counter)
    """How often each query id got an unspoiled answer."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    n_batch_requests: int = 0
    """Requests that came inside batch jobs; they are in `n_answered` too."""
    written: Counter[str] = field(default_factory=Counter)
    """Answers with 200 by writing task, such as `describe-label`; they are in `n_answered` too."""
