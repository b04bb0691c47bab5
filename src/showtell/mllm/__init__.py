"""Questions to multimodal LLMs: one path from a request to an answer, priced and resumable.

Importing this room loads no vendor library; `load_mllm` does, for the provider that is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from showtell._lazy import lazy_names
from showtell.mllm.base import (
    MLLM,
    Answer,
    AudioPart,
    DocumentPart,
    Finish,
    ImagePart,
    Part,
    Request,
    Settings,
    TextPart,
    TokenLogprob,
    Usage,
    VideoPart,
)
from showtell.mllm.capabilities import Capabilities, capabilities_of

if TYPE_CHECKING:
    from showtell.mllm.call.budget import Budget, Totals
    from showtell.mllm.call.cache import AnswerCache, default_cache
    from showtell.mllm.call.client import Client, Outcome
    from showtell.mllm.call.journal import Journal
    from showtell.mllm.call.limits import AdaptiveConcurrency, RateLimiter
    from showtell.mllm.images import prepare_image
    from showtell.mllm.model import Model
    from showtell.mllm.prices import ModelPrice, price, price_of
    from showtell.mllm.registry import ModelInfo, list_models, load_mllm
    from showtell.mllm.tokens import TokenEstimate, estimate_tokens, image_tokens, text_tokens

__all__ = [
    "MLLM",
    "AdaptiveConcurrency",
    "Answer",
    "AnswerCache",
    "AudioPart",
    "Budget",
    "Capabilities",
    "Client",
    "DocumentPart",
    "Finish",
    "ImagePart",
    "Journal",
    "Model",
    "ModelInfo",
    "ModelPrice",
    "Outcome",
    "Part",
    "RateLimiter",
    "Request",
    "Settings",
    "TextPart",
    "TokenEstimate",
    "TokenLogprob",
    "Totals",
    "Usage",
    "VideoPart",
    "capabilities_of",
    "default_cache",
    "estimate_tokens",
    "image_tokens",
    "list_models",
    "load_mllm",
    "prepare_image",
    "price",
    "price_of",
    "text_tokens",
]

_NAMES_OF = {
    "call.budget": "Budget Totals",
    "call.cache": "AnswerCache default_cache",
    "call.client": "Client Outcome",
    "call.journal": "Journal",
    "call.limits": "AdaptiveConcurrency RateLimiter",
    "images": "prepare_image",
    "model": "Model",
    "prices": "ModelPrice price price_of",
    "registry": "ModelInfo list_models load_mllm",
    "tokens": "TokenEstimate estimate_tokens image_tokens text_tokens",
}


__getattr__, __dir__ = lazy_names(__name__, _NAMES_OF)
