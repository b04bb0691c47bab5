"""Questions to multimodal LLMs: one path from a request to an answer, priced and resumable.

Importing this room loads no vendor library; `load_mllm` does, for the provider that is named.
"""

from __future__ import annotations

from showtell.mllm.base import (
    MLLM,
    Answer,
    Finish,
    ImagePart,
    Part,
    Request,
    Settings,
    TextPart,
    TokenLogprob,
    Usage,
)
from showtell.mllm.capabilities import Capabilities, capabilities_of

__all__ = [
    "MLLM",
    "Answer",
    "Capabilities",
    "Finish",
    "ImagePart",
    "Part",
    "Request",
    "Settings",
    "TextPart",
    "TokenLogprob",
    "Usage",
    "capabilities_of",
]
