"""Answers as plain data, for the cache and the journal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from showtell.mllm.base import Answer, TokenLogprob, Usage

__all__ = ["answer_from_record", "answer_to_record", "dumps"]


def dumps(record: Mapping[str, Any]) -> str:
    """Write one line of JSON that is valid UTF-8, whatever a model answered."""
    text = _encoder.encode(record)
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text


_encoder = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=True, check_circular=False
)


def answer_to_record(answer: Answer) -> dict[str, Any]:
    """Turn an answer into plain data, leaving out what is empty."""
    usage = answer.first_usage or answer.usage
    record: dict[str, Any] = {
        "text": answer.text,
        "finish": answer.finish,
        "model": answer.model,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "seconds": round(answer.seconds, 4),
        "attempts": answer.attempts,
    }
    if usage.cached_tokens is not None:
        record["cached_tokens"] = usage.cached_tokens
    if usage.cache_write_tokens is not None:
        record["cache_write_tokens"] = usage.cache_write_tokens
    if usage.cost_usd is not None:
        record["cost_usd"] = str(usage.cost_usd)
    if answer.probabilities is not None:
        record["probabilities"] = dict(answer.probabilities)
    if answer.logprobs is not None:
        record["logprobs"] = [[t.token, t.logprob, t.top] for t in answer.logprobs]
    return record


def answer_from_record(record: Mapping[str, Any], *, from_cache: bool) -> Answer:
    """Make an answer of plain data.

    Parameters
    ----------
    record : mapping
        From `answer_to_record`.
    from_cache : bool
        Whether it is used again: then it took no request, no token and no cent.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the data is not such a record.
    """
    cost = record.get("cost_usd")
    first = usage = Usage(
        input_tokens=record["input_tokens"],
        output_tokens=record["output_tokens"],
        cached_tokens=record.get("cached_tokens"),
        cache_write_tokens=record.get("cache_write_tokens"),
        cost_usd=None if cost is None else Decimal(cost),
    )
    if from_cache:
        zero = Decimal(0)
        usage = Usage(input_tokens=0, output_tokens=0, cached_tokens=0, cost_usd=zero, n_requests=0)
    logprobs = record.get("logprobs")
    return Answer(
        text=str(record["text"]),
        usage=usage,
        finish=record["finish"],
        model=str(record["model"]),
        from_cache=from_cache,
        seconds=0.0 if from_cache else float(record["seconds"]),
        attempts=0 if from_cache else int(record["attempts"]),
        logprobs=None
        if logprobs is None
        else tuple(
            TokenLogprob(token=token, logprob=value, top=tuple((t, v) for t, v in top))
            for token, value, top in logprobs
        ),
        probabilities=record.get("probabilities"),
        first_usage=first if from_cache else None,
    )
