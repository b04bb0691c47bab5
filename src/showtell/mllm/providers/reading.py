"""An answer of pydantic-ai in our words: text, tokens, why it ended, log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic_ai
from pydantic_ai.messages import TextPart

from showtell.mllm.base import Finish, TokenLogprob, Usage

_MOST_TOKENS = 2**53  # above, what counts them has gone wrong


def text_of(response: pydantic_ai.ModelResponse) -> str:
    """Join the texts of an answer; blocks of other kinds, and those without a text, count not."""
    texts = (part.content for part in response.parts if isinstance(part, TextPart))
    return "".join(text for text in texts if isinstance(text, str))


def usage_of(usage: Any) -> Usage:
    """Count tokens; a server that reports none at all, or impossible numbers, tells nothing."""
    n_input, n_output = _count(usage.input_tokens), _count(usage.output_tokens)
    if not n_input and not n_output:
        return Usage()
    return Usage(
        input_tokens=n_input,
        output_tokens=n_output,
        cached_tokens=_count(usage.cache_read_tokens),
        cache_write_tokens=_count(usage.cache_write_tokens) or None,
    )


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < _MOST_TOKENS else None


def finish_of(reason: str | None, details: Mapping[str, Any], text: str) -> Finish:
    """Say why an answer ended."""
    if reason == "content_filter":
        declined = "refusal" in details or details.get("finish_reason") == "refusal"
        return "refused" if declined else "blocked"
    if reason in ("stop", "length"):
        return "stop" if reason == "stop" else "length"
    return "stop" if reason is None and text else "other"


def logprobs_of(
    response: pydantic_ai.ModelResponse, details: Mapping[str, Any]
) -> tuple[TokenLogprob, ...] | None:
    """Read log-probabilities; None where there are none, or none that can be read."""
    try:
        found = _logprobs(response, details)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return None
    if found is None or any(math.isnan(one.logprob) for one in found):
        return None
    return found


def _logprobs(
    response: pydantic_ai.ModelResponse, details: Mapping[str, Any]
) -> tuple[TokenLogprob, ...] | None:
    found: Any = details.get("logprobs")
    if found is None:  # OpenAI's responses have them on the part
        found = next(
            (
                p["logprobs"]
                for part in response.parts
                if (p := getattr(part, "provider_details", None)) and "logprobs" in p
            ),
            None,
        )
    if isinstance(found, Mapping):
        return _google_logprobs(found)
    if not isinstance(found, Sequence):
        return None
    return tuple(
        TokenLogprob(
            token=entry["token"],
            logprob=float(entry["logprob"]),
            top=tuple((t["token"], float(t["logprob"])) for t in entry.get("top_logprobs") or ()),
        )
        for entry in found
    )


def _google_logprobs(found: Mapping[str, Any]) -> tuple[TokenLogprob, ...] | None:
    chosen = found.get("chosen_candidates")
    if not chosen:
        return None
    tops = found.get("top_candidates") or []
    return tuple(
        TokenLogprob(
            token=entry.get("token") or "",
            logprob=float(entry.get("log_probability") or 0.0),
            top=tuple(
                (t.get("token") or "", float(t.get("log_probability") or 0.0))
                for t in ((tops[i].get("candidates") or []) if i < len(tops) else [])
            ),
        )
        for i, entry in enumerate(chosen)
    )
