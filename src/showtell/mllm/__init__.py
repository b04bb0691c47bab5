"""Questions to multimodal LLMs, and what comes back."""

from __future__ import annotations

from showtell.mllm.base import (
    MLLM,
    Answer,
    ImagePart,
    Part,
    Request,
    Settings,
    TextPart,
    TokenLogprob,
    Usage,
)

__all__ = [
    "MLLM",
    "Answer",
    "ImagePart",
    "Part",
    "Request",
    "Settings",
    "TextPart",
    "TokenLogprob",
    "Usage",
]
