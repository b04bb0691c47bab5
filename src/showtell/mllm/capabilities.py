"""What a model takes and offers: limits and features as data, with source and date."""

from __future__ import annotations

import fnmatch
import functools
import importlib.resources
import json
from dataclasses import dataclass, fields
from typing import Any

from showtell.checks import no_secret
from showtell.errors import InputError

_SCHEMA = 1
_SAME = {"openai-responses": "openai"}  # another wire format to the same models


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a model takes and offers. None means that no limit is known."""

    max_images: int | None = None
    """Images in one request."""
    max_image_bytes: int | None = None
    """Bytes of one image file, before base64."""
    max_request_bytes: int | None = None
    """Bytes of a whole request, images in base64."""
    max_pixels: int | None = None
    """Width times height of one image; more is refused."""
    max_side: int | None = None
    """Pixels of the longer side; more is refused."""
    max_side_many: int | None = None
    """The same in requests with more than `many_images` images."""
    many_images: int | None = None
    useful_side: int | None = None
    """Pixels of the longer side above which the provider itself scales an image down."""
    formats: tuple[str, ...] = ("image/jpeg", "image/png")
    """Media types that are taken as they are."""
    max_enum: int | None = None
    """Labels that an answer schema, or a classification endpoint, may list."""
    max_enum_characters: int | None = None
    """Characters of all listed labels together, for more than 250 of them."""
    structured_output: bool = False
    """Whether answers can be held to a JSON schema."""
    logprobs: bool = False
    max_top_logprobs: int = 0
    """Alternatives per token that may be asked for."""
    decisions: bool = False
    """Whether this is a classification endpoint: images in, a probability per label out."""
    sampling: bool = True
    """Whether a sampling temperature is taken."""
    video: bool = False
    audio: bool = False
    documents: bool = False
    """Whether PDF is taken as it is."""
    frame_tokens: int | None = None
    """Tokens of one frame of a video; None if not known."""
    audio_tokens: int | None = None
    """Tokens of one second of sound; None if not known."""
    page_tokens: int | None = None
    """Tokens of one page of a document; None if not known."""
    batch: bool = False
    """Whether there is a batch endpoint, at a lower price and within a day."""
    free: bool = False
    """Whether the model runs on one's own machine, at no price per token."""
    image_token_rule: str | None = None
    """Formula for `showtell.mllm.tokens.image_tokens`; None if not known."""
    source: str = ""
    """Where these facts were read."""
    date: str = ""
    """When, as ``YYYY-MM-DD``."""

    def side_limit(self, n_images: int = 1) -> int | None:
        """Longest side in pixels that a request of `n_images` images may hold."""
        many = self.many_images is not None and n_images > self.many_images
        sides = [self.max_side, self.max_side_many if many else None]
        return min((side for side in sides if side is not None), default=None)

    def fits_enum(self, labels: tuple[str, ...]) -> bool:
        """Whether an answer schema may list these labels."""
        if self.max_enum is not None and len(labels) > self.max_enum:
            return False
        if self.max_enum_characters is None or len(labels) <= 250:
            return True
        return sum(map(len, labels)) <= self.max_enum_characters


def split_model_name(model: str) -> tuple[str, str]:
    """Split ``"provider:name"``.

    `model`: the name may hold further colons, as Ollama's tags do. Raises InputError if there is no
    provider or no name.

    Examples
    --------
    >>> split_model_name("ollama:llava:7b")
    ('ollama', 'llava:7b')
    """
    no_secret(model=model)
    provider, colon, name = model.strip().partition(":")
    if not colon or not provider or not name.strip():
        raise InputError(
            f"A model is named 'provider:name', for example 'openai:gpt-4.1-mini', got {model!r}. "
            f"Providers: {', '.join(known_providers())}."
        )
    return provider.lower(), name.strip()


def known_providers() -> tuple[str, ...]:
    """List the providers of which capabilities are known, in the order of the data file."""
    return tuple(dict.fromkeys(row["provider"] for row in _rows()))


@functools.lru_cache(maxsize=1024)
def capabilities_of(model: str) -> Capabilities:
    """Look up what a model takes and offers.

    All rows of ``capabilities.json`` whose pattern fits are applied in order, so a model that is
    not listed has what its provider has in general, and an unknown provider has no known limits.

    Parameters
    ----------
    model : str
        ``"provider:name"``.

    Returns
    -------
    capabilities : Capabilities

    Raises
    ------
    InputError
        If `model` is not of that form.

    Examples
    --------
    >>> capabilities_of("anthropic:claude-haiku-4-5").max_images
    100
    >>> capabilities_of("openai-decisions:gpt-6-luna").decisions
    True
    """
    provider, name = split_model_name(model)
    provider, name = _SAME.get(provider, provider), name.partition("#")[0]
    found: dict[str, Any] = {}
    sources, dates = [], []
    for row in _rows():
        if row["provider"] != provider or not fnmatch.fnmatchcase(name.lower(), row["pattern"]):
            continue
        found.update({key: value for key, value in row.items() if key in _FIELDS})
        sources.append(row["source"])
        dates.append(row["date"])
    if "formats" in found:
        found["formats"] = tuple(found["formats"])
    found["source"] = "; ".join(dict.fromkeys(sources)) or "unknown provider"
    found["date"] = min(dates, default="")
    return Capabilities(**found)


_FIELDS = frozenset(field.name for field in fields(Capabilities)) - {"source", "date"}


@functools.cache
def _rows() -> list[dict[str, Any]]:
    file = importlib.resources.files("showtell.mllm").joinpath("capabilities.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["schema"] == _SCHEMA
    rows: list[dict[str, Any]] = content["rows"]
    return rows
