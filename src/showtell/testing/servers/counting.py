"""Tokens by each vendor's published rule, prefixes that repeat, and quota used.

Text: one token per 4 characters, rounded up, for every piece of text; the answer schema counts as
its compact JSON. Output: the answer's text by the same rule. Images:

* OpenAI, tiles: scale down to fit 2048 x 2048, then the shorter side down to 768; 85 tokens and
  170 for each 512 x 512 tile begun; 85 at ``detail: low``. gpt-5 takes 70 and 140, o1 and o3 75
  and 150, gpt-4o-mini 2833 and 5667. Patches, for the mini and nano models of gpt-4.1 and gpt-5
  and for o4-mini: 32 x 32 patches, scaled down to at most 1536 of them, times 1.62 (mini), 1.72
  (o4-mini), 2.46 (nano).
* Google: 258 tokens where both sides are at most 384; else tiles of side
  ``floor(shorter side / 1.5)``, at least 256 and at most 768, 258 tokens each. Media resolution
  low: 64 tokens; medium: 256. Gemini 3 and later: 1120, low 280, medium 560. Gemma: 256.
* Anthropic: width x height / 750 after scaling down to at most 1568 on the longer side and about
  1600 tokens; claude-opus-4-7: 2576 and 4784.
* Ollama: 256 tokens an image, llava 576.

Cached tokens: what a request shares, from its start, with an earlier one to the same model.
OpenAI: from 1024 tokens on, in steps of 128. Google: from 1024 on. Anthropic: up to the last
``cache_control`` mark that was written before, from 1024 on. Ollama: not reported.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from showtell.errors import InputError
from showtell.media.clip import probe
from showtell.media.pages import count_pages
from showtell.testing.servers.knobs import Quota
from showtell.testing.servers.reading import Part
from showtell.testing.servers.sight import SentImage, SentMedia

__all__ = ["Meter", "PrefixCache", "TokenCount", "Vendor", "image_tokens", "text_tokens"]

Vendor: TypeAlias = Literal["openai", "google", "anthropic", "ollama"]
"""Whose wire format a request speaks."""

_KEPT_PREFIXES = 100_000
_LEAST_CACHED = 1024
_OPENAI_TILES: tuple[tuple[str, int, int], ...] = (
    ("gpt-4o-mini", 2833, 5667),
    ("gpt-5", 70, 140),
    ("o1", 75, 150),
    ("o3", 75, 150),
    ("", 85, 170),
)
_OPENAI_PATCHES = (
    ("gpt-4.1-mini", 1.62),
    ("gpt-4.1-nano", 2.46),
    ("gpt-5-mini", 1.62),
    ("gpt-5-nano", 2.46),
    ("o4-mini", 1.72),
)


@dataclass(frozen=True, kw_only=True)
class TokenCount:
    """Tokens of one request and its answer."""

    text: int
    images: int
    output: int
    cached: int = 0
    """Part of the input that was in the prefix cache."""
    written: int = 0
    """Part of the input that was put into the cache for a price (Anthropic)."""

    @property
    def input(self) -> int:
        """All input tokens."""
        return self.text + self.images


def text_tokens(text: str) -> int:
    """Count a piece of text: characters / 4, rounded up.

    Examples
    --------
    >>> text_tokens("abcde")
    2
    """
    return -(-len(text) // 4)


def media_tokens(part: SentMedia) -> int:
    """Count sound, a video or a document by Google's rule: by the second, the frame, the page.

    What cannot be read counts one token; the answer will be that it cannot be read.
    """
    try:
        if part.kind == "application":
            return 258 * count_pages(part.data)
        seconds = math.ceil(probe(part.data).seconds)
    except InputError:
        return 1
    frames = math.ceil(seconds * part.rate) if part.kind == "video" else 0
    return 32 * seconds + 258 * frames


def image_tokens(
    vendor: Vendor, model: str, width: int, height: int, *, detail: str = "auto"
) -> int:
    """Count an image of so many pixels by the vendor's rule; see the module's text.

    Examples
    --------
    >>> image_tokens("openai", "gpt-4o", 1024, 1024), image_tokens("google", "", 384, 384)
    (765, 258)
    >>> image_tokens("anthropic", "", 1092, 1092), image_tokens("google", "", 960, 540)
    (1590, 1548)
    """
    if vendor == "openai":
        return _openai_tokens(model, width, height, detail)
    if vendor == "google":
        name = model.removeprefix("models/")
        if name.startswith("gemma"):
            return 256
        if re.match(r"gemini-[3-9]", name):
            return {"low": 280, "medium": 560}.get(detail, 1120)
        if detail in ("low", "medium"):
            return 64 if detail == "low" else 256
        if max(width, height) <= 384:
            return 258
        side = min(max(256, int(min(width, height) / 1.5)), 768)
        return 258 * math.ceil(width / side) * math.ceil(height / side)
    if vendor == "anthropic":
        side, most = (2576, 4784) if model.startswith("claude-opus-4-7") else (1568, 1600)
        shrink = min(1.0, side / max(width, height), math.sqrt(most * 750 / (width * height)))
        return math.ceil(int(width * shrink) * int(height * shrink) / 750)
    return 576 if model.startswith("llava") else 256


def _openai_tokens(model: str, width: int, height: int, detail: str) -> int:
    for name, factor in _OPENAI_PATCHES:
        if model.startswith(name):
            shrink = min(1.0, math.sqrt(1536 * 32 * 32 / (width * height)))
            n_patches = math.ceil(width * shrink / 32) * math.ceil(height * shrink / 32)
            return math.ceil(min(n_patches, 1536) * factor)
    base, tile = next((b, t) for name, b, t in _OPENAI_TILES if model.startswith(name))
    if detail == "low":
        return base
    shrink = min(1.0, 2048 / max(width, height))
    width_, height_ = width * shrink, height * shrink
    shrink = min(1.0, 768 / min(width_, height_))
    n_tiles = math.ceil(width_ * shrink / 512 - 1e-9) * math.ceil(height_ * shrink / 512 - 1e-9)
    return base + tile * n_tiles


class PrefixCache:
    """Remembers how requests began, to tell how much of a new one was seen before."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def count(
        self,
        vendor: Vendor,
        model: str,
        system: str,
        parts: Sequence[Part],
        *,
        marks: Sequence[int] | None = None,
        remember: bool = True,
    ) -> TokenCount:
        """Count the input of a request and what of it was cached; output is 0.

        Parameters
        ----------
        vendor, model, system, parts
            The request; the schema's text belongs to `system`.
        marks : sequence of int, optional
            Numbers of parts before each of Anthropic's cache marks, 0 for the system text.
        remember : bool, default=True
            Put it into the cache, as only answered requests are.
        """
        n_text, n_images = text_tokens(system), 0
        state = hashlib.blake2b(f"{vendor} {model} {system}".encode("utf-8", "surrogatepass"))
        chain = [(state.digest()[:16], n_text)]
        for part in parts:
            if isinstance(part, SentImage):
                n_images += image_tokens(vendor, model, part.width, part.height, detail=part.detail)
                state.update(b"image" + part.digest.encode())
            elif isinstance(part, SentMedia):
                n_images += media_tokens(part)
                state.update(b"media" + part.digest.encode())
            else:
                n_text += text_tokens(part)
                state.update(b"text" + part.encode("utf-8", "surrogatepass"))
            chain.append((state.digest()[:16], n_text + n_images))
        cached = written = 0
        if vendor == "anthropic":
            places = [mark for mark in marks or () if mark < len(chain)]
            known = [place for place in places if chain[place][0] in self._seen]
            cached = max((chain[place][1] for place in known), default=0)
            if places and chain[places[-1]][1] >= _LEAST_CACHED:
                written = max(0, chain[places[-1]][1] - cached)
            if remember:
                self._keep(chain[place][0] for place in places if chain[place][1] >= _LEAST_CACHED)
        elif vendor != "ollama":
            for digest, n_tokens in reversed(chain):
                if digest in self._seen:
                    cached = n_tokens
                    break
            if vendor == "openai":
                cached = cached // 128 * 128
            cached = cached if cached >= _LEAST_CACHED else 0
            if remember:
                self._keep(digest for digest, _ in chain)
        return TokenCount(text=n_text, images=n_images, output=0, cached=cached, written=written)

    def _keep(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self._seen[digest] = None
            self._seen.move_to_end(digest)
        while len(self._seen) > _KEPT_PREFIXES:
            self._seen.popitem(last=False)


class Meter:
    """Keeps a quota: nothing passes that would exceed it in the window that ends now.

    Examples
    --------
    >>> meter = Meter(Quota(rpm=2))
    >>> [meter.admit(now, 10) for now in (0.0, 1.0, 2.0, 60.0)]
    [None, None, 58.0, None]
    """

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self._requests: deque[float] = deque()
        self._tokens: deque[tuple[float, int]] = deque()
        self.n_tokens = 0
        """Tokens in the present window."""

    @property
    def n_requests(self) -> int:
        """Requests in the present window."""
        return len(self._requests)

    def admit(self, now: float, n_tokens: int) -> float | None:
        """Let a request pass (None), or tell in how many seconds it would."""
        self._forget(now)
        wait = 0.0
        rpm, tpm, window = self.quota.rpm, self.quota.tpm, self.quota.window
        if rpm is not None and len(self._requests) >= rpm:
            wait = self._requests[len(self._requests) - rpm] + window - now
        if tpm is not None and self.n_tokens + n_tokens > tpm and self._tokens:
            excess = self.n_tokens + n_tokens - tpm
            for when, amount in self._tokens:  # noqa: B007  the last one matters
                excess -= amount
                if excess <= 0:
                    break
            wait = max(wait, when + window - now)
        if wait > 0:
            return wait
        self._requests.append(now)
        self.spend(now, n_tokens)
        return None

    def spend(self, now: float, n_tokens: int) -> None:
        """Count tokens that are already used, such as those of an answer."""
        self._tokens.append((now, n_tokens))
        self.n_tokens += n_tokens

    def _forget(self, now: float) -> None:
        edge = now - self.quota.window
        while self._requests and self._requests[0] <= edge:
            self._requests.popleft()
        while self._tokens and self._tokens[0][0] <= edge:
            self.n_tokens -= self._tokens.popleft()[1]
