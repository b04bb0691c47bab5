"""What is asked and what is answered, without a word on how it travels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

Finish: TypeAlias = Literal["stop", "length", "refused", "blocked", "other"]
"""Why an answer ended: complete, cut at `max_tokens`, declined by the model, held by a filter."""


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """A piece of text between images."""

    text: str


@dataclass(frozen=True, kw_only=True)
class ImagePart:
    """An image as it is sent: upright, without EXIF, in a format and size the provider takes."""

    data: bytes = field(repr=False)
    media_type: str
    """``"image/jpeg"``, ``"image/png"`` or ``"image/webp"``."""
    digest: str
    """Content hash of `data`, hex."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""


@dataclass(frozen=True, kw_only=True)
class AudioPart:
    """Sound as it is sent: without metadata."""

    data: bytes = field(repr=False)
    media_type: str
    """``"audio/wav"``, ``"audio/mpeg"`` ..."""
    digest: str
    """Content hash of `data`, hex."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class VideoPart:
    """A video as it is sent: upright, without metadata, cut to what is asked about."""

    data: bytes = field(repr=False)
    media_type: str
    """``"video/mp4"``, ``"video/webm"`` ..."""
    digest: str
    """Content hash of `data`, hex."""
    seconds: float
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    rate: float = 1.0
    """Frames per second that the model should look at."""


@dataclass(frozen=True, kw_only=True)
class DocumentPart:
    """A document as it is sent."""

    data: bytes = field(repr=False)
    media_type: str
    """``"application/pdf"``."""
    digest: str
    """Content hash of `data`, hex."""
    n_pages: int


Part: TypeAlias = TextPart | ImagePart | AudioPart | VideoPart | DocumentPart
"""What a question is made of."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an answer is generated."""

    temperature: float | None = 0.0
    """Sampling temperature; None leaves it to the provider."""
    max_tokens: int | None = None
    """Longest answer, in tokens."""
    top_logprobs: int | None = None
    """How many alternatives per token to report; None asks for no log-probabilities."""
    seed: int | None = None
    timeout: float = 120.0
    """Seconds for one attempt. Cannot change an answer, so it is no part of `Request.key`."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question: system text, then texts, images, sound, video and documents in order."""

    model: str
    """``"provider:name"``."""
    system: str
    parts: tuple[Part, ...]
    schema: Mapping[str, Any] | None = None
    """JSON schema of the answer, or None for free text."""
    settings: Settings = Settings()
    prompt_version: str = ""
    """Names the prompt files and their content, so that an edited prompt is another question."""
    n_queries: int = 1
    """How many images are asked about; the others are demonstrations."""
    n_prefix: int = 0
    """How many leading parts stay the same from request to request (demonstrations)."""
    labels: tuple[str, ...] = ()
    """The label set of a single question, for providers with a classification endpoint."""
    sample: int = 0
    """Number of the repetition, when the same question is asked several times."""
    endpoint: str = ""
    """Where it is asked, filled in by `Client`: the address, unless it is the provider's own, and
    the digest of a model of one's own, where its server tells one."""
    idempotency_key: str | None = field(default=None, compare=False, repr=False)
    """Sent along by `Client`: the same request come again has the same one, so that a server which
    heeds it answers from its books instead of a second time. Cannot change an answer, so it is no
    part of `key`."""

    @cached_property
    def key(self) -> str:
        """Hash of everything that can change the answer; hex, 32 characters."""
        settings = self.settings
        content = {
            "model": self.model,
            "system": self.system,
            "parts": [_named(part) for part in self.parts],
            "schema": self.schema,
            "settings": [
                settings.temperature,
                settings.max_tokens,
                settings.top_logprobs,
                settings.seed,
            ],
            "prompt_version": self.prompt_version,
            "labels": list(self.labels),
            "sample": self.sample,
        }
        if self.endpoint:
            content["endpoint"] = self.endpoint
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _named(part: Part) -> list[str | float]:
    """Name what of a part can change an answer."""
    if isinstance(part, TextPart):
        return ["text", part.text]
    if isinstance(part, VideoPart):
        return ["video", part.digest, part.rate]
    return [_KINDS[type(part)], part.digest]


_KINDS = {ImagePart: "image", AudioPart: "audio", DocumentPart: "document"}


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What an answer took. None means unknown, zero means nothing."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    """Part of `input_tokens` that the provider had in its prefix cache."""
    cache_write_tokens: int | None = None
    """Part of `input_tokens` put into the prefix cache, for which some providers charge more."""
    cost_usd: Decimal | None = None
    n_requests: int = 1
    """Paid requests; 0 for an answer out of our own cache."""


@dataclass(frozen=True, kw_only=True)
class TokenLogprob:
    """One token of an answer, with the alternatives that were reported."""

    token: str
    logprob: float
    """Natural logarithm of its probability."""
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back for one request."""

    text: str
    usage: Usage
    finish: Finish
    model: str
    """Id of the model that answered, as the provider reports it."""
    from_cache: bool = False
    seconds: float = 0.0
    attempts: int = 1
    logprobs: tuple[TokenLogprob, ...] | None = None
    probabilities: Mapping[str, float] | None = None
    """Probability per label, from a provider's classification endpoint."""
    first_usage: Usage | None = None
    """What it took when it was asked, for an answer that is used again."""
    made_up: bool = False
    """Whether ``showtell try-server`` gave it."""

    @property
    def price_usd(self) -> Decimal | None:
        """USD when it was asked, now or before; None if it is not known."""
        return (self.first_usage or self.usage).cost_usd


@runtime_checkable
class MLLM(Protocol):
    """Anything that answers a `Request`: one try, no retry, no cache."""

    name: str
    """``"provider:name"``, as in `Request.model`."""

    async def ask(self, request: Request) -> Answer:
        """Send the request once and give the answer, or raise an `MLLMError`."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...
