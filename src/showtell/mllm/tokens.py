"""How many tokens a request takes, before it is sent: the providers' published formulas.

A rule is a short text in ``capabilities.json``:

``tile:FIT:SHORT:TILE:BASE:EACH``
    Scale down to fit FIT x FIT, then the shorter side down to SHORT; BASE tokens and EACH for every
    TILE x TILE tile begun. OpenAI, ``detail: high``, platform.openai.com/docs/guides/images-vision.
``patch:SIDE:MOST:FACTOR``
    SIDE x SIDE patches begun, scaled down to at most MOST of them, times FACTOR. OpenAI, the same
    page: small models.
``crop:SMALL:MOST:EACH``
    EACH tokens where both sides are at most SMALL; else square crops with a side of
    ``floor(shorter side / 1.5)``, at least 256 and at most MOST, EACH tokens for every one begun.
    Google, ai.google.dev/gemini-api/docs/image-understanding.
``area:DIVISOR:SIDE:MOST``
    Width x height / DIVISOR after scaling down to SIDE on the longer side and to about MOST tokens.
    Anthropic, platform.claude.com/docs/en/build-with-claude/vision.
``fixed:N``
    N tokens, whatever the size.

Sound, video and documents are counted by the second, the frame and the page (Google,
ai.google.dev/gemini-api/docs/tokens: 32 a second of sound, 258 a frame and a page).

Text is estimated at 4 characters a token, rounded up for each piece.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from showtell.errors import InputError
from showtell.mllm.base import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Request,
    TextPart,
    VideoPart,
)
from showtell.mllm.capabilities import Capabilities, capabilities_of

_CHARACTERS_PER_TOKEN = 4
_USUAL_OUTPUT = 1000  # tokens, where a request states no longest answer
_ROUNDING = 1e-9  # a side scaled to exactly a whole number of tiles may come out a hair above


@dataclass(frozen=True, kw_only=True)
class TokenEstimate:
    """Tokens of one request, estimated."""

    text: int
    images: int | None
    """None if the model's formula is not known."""
    media: int | None = 0
    """Of sound, video and documents; None if they are not known for this model."""
    n_images: int
    prefix: int | None
    """Part of the input that stays the same from request to request (the system text and the first
    `Request.n_prefix` parts), which a prefix cache may hold."""

    @property
    def input(self) -> int | None:
        """All input tokens; None if those of the images or other media are not known."""
        if self.images is None or self.media is None:
            return None
        return self.text + self.images + self.media


def most_output(request: Request) -> int:
    """Say how many tokens of answer a cap on dollars counts for a request before it is sent.

    Examples
    --------
    >>> from showtell.mllm import Settings
    >>> request = Request(model="m", system="", parts=(), settings=Settings(max_tokens=60))
    >>> most_output(request)
    60
    """
    return request.settings.max_tokens or _USUAL_OUTPUT


def text_tokens(text: str) -> int:
    """Estimate the tokens of a text: characters / 4, rounded up.

    Parameters
    ----------
    text : str

    Returns
    -------
    n_tokens : int

    Examples
    --------
    >>> text_tokens("a photo of a cat")
    4
    """
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


@functools.lru_cache(maxsize=4096)
def image_tokens(rule: str | None, width: int, height: int) -> int | None:
    """Count the tokens of an image.

    Parameters
    ----------
    rule : str or None
        `Capabilities.image_token_rule`.
    width, height : int
        Pixels, as sent.

    Returns
    -------
    n_tokens : int or None
        None if there is no rule: unknown, which is not 0.

    Raises
    ------
    InputError
        If a side is below 1 or the rule is none of those in the module's text.

    Examples
    --------
    >>> image_tokens("tile:2048:768:512:85:170", 1024, 1024)
    765
    >>> image_tokens("crop:384:768:258", 960, 540), image_tokens("area:750:1568:1600", 1000, 750)
    (1548, 1000)
    """
    if width < 1 or height < 1:
        raise InputError(f"An image has at least 1 x 1 pixels, got {width} x {height}.")
    if rule is None:
        return None
    name, *numbers = rule.split(":")
    try:
        return _RULES[name](width, height, *map(float, numbers))
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"Unknown image token rule {rule!r}. Allowed: {', '.join(_RULES)}, each with its "
            "numbers, for example 'fixed:258'."
        ) from None


def estimate_tokens(request: Request, capabilities: Capabilities | None = None) -> TokenEstimate:
    """Estimate the input tokens of a request.

    Parameters
    ----------
    request : Request
    capabilities : Capabilities, optional
        Of the model; looked up by its name if not given.

    Returns
    -------
    estimate : TokenEstimate

    Examples
    --------
    >>> from showtell.mllm import ImagePart
    >>> part = ImagePart(data=b"", media_type="image/png", digest="0", width=300, height=200)
    >>> request = Request(model="google:gemini-2.5-flash", system="Say what it is.", parts=(part,))
    >>> estimate_tokens(request).input
    262
    """
    known = capabilities if capabilities is not None else capabilities_of(request.model)
    rule = known.image_token_rule
    text = text_tokens(request.system)
    if request.schema is not None:
        schema = json.dumps(request.schema, separators=(",", ":"), ensure_ascii=False)
        text += text_tokens(schema)
    images: int | None = 0
    media: int | None = 0
    n_images = 0
    prefix: int | None = text if request.n_prefix else 0
    for i, part in enumerate(request.parts):
        if isinstance(part, TextPart):
            text += text_tokens(part.text)
        elif isinstance(part, ImagePart):
            n_images += 1
            one = image_tokens(rule, part.width, part.height)
            images = None if one is None or images is None else images + one
        else:
            one = _media_tokens(part, known)
            media = None if one is None or media is None else media + one
        if i + 1 == request.n_prefix:
            prefix = None if images is None or media is None else text + images + media
    return TokenEstimate(text=text, images=images, media=media, n_images=n_images, prefix=prefix)


def _media_tokens(part: AudioPart | VideoPart | DocumentPart, known: Capabilities) -> int | None:
    """Sound by the second, video by frame and second of sound, documents by the page."""
    if isinstance(part, DocumentPart):
        return None if known.page_tokens is None else part.n_pages * known.page_tokens
    if known.audio_tokens is None:
        return None
    seconds = math.ceil(part.seconds)
    if isinstance(part, AudioPart):
        return seconds * known.audio_tokens
    if known.frame_tokens is None:
        return None
    return math.ceil(part.seconds * part.rate) * known.frame_tokens + seconds * known.audio_tokens


def _tile(
    width: int, height: int, fit: float, short: float, side: float, base: float, each: float
) -> int:
    scale = min(1.0, fit / max(width, height))
    scale *= min(1.0, short / (min(width, height) * scale))
    n_tiles = _begun(width * scale, side) * _begun(height * scale, side)
    return int(base + each * n_tiles)


def _patch(width: int, height: int, side: float, most: float, factor: float) -> int:
    scale = min(1.0, math.sqrt(most * side * side / (width * height)))
    n_patches = _begun(width * scale, side) * _begun(height * scale, side)
    return math.ceil(min(n_patches, most) * factor)


def _crop(width: int, height: int, small: float, most: float, each: float) -> int:
    if max(width, height) <= small:
        return int(each)
    side = min(max(256.0, min(width, height) // 1.5), most)
    return int(each) * _begun(width, side) * _begun(height, side)


def _area(width: int, height: int, divisor: float, side: float, most: float) -> int:
    scale = min(1.0, side / max(width, height), math.sqrt(most * divisor / (width * height)))
    return math.ceil(max(1, int(width * scale)) * max(1, int(height * scale)) / divisor)


def _fixed(width: int, height: int, n_tokens: float) -> int:  # noqa: ARG001
    return int(n_tokens)


def _begun(length: float, side: float) -> int:
    return max(1, math.ceil(length / side - _ROUNDING))


_RULES: dict[str, Callable[..., int]] = {
    "tile": _tile,
    "patch": _patch,
    "crop": _crop,
    "area": _area,
    "fixed": _fixed,
}
