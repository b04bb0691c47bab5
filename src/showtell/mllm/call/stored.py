"""Answers as plain data, for the cache and the journal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, get_args

from showtell._clean import escaped, escaped_json, said_by_others, without_secrets
from showtell.mllm.base import Answer, Finish, TokenLogprob, Usage

_LEAST_LOGPROB = -9999.0  # the logarithm of 0, as OpenAI writes it: JSON has no infinity
_MOST = 2**53  # above, what counts them has gone wrong
_MOST_DOLLARS = 10**9
_FINISHES = frozenset(get_args(Finish))


def dumps(record: Mapping[str, Any]) -> str:
    """Write one line of JSON that is valid UTF-8, whatever a model answered."""
    return escaped_json(without_secrets(_encoder.encode(record)))


_encoder = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=True, check_circular=False
)


def loads(line: bytes) -> Any:
    """Read a line that `dumps` wrote; `ValueError` or `RecursionError` if it is something else."""
    return json.loads(line)


def dollars_from_record(record: Mapping[str, Any], name: str) -> Decimal | None:
    """Read an amount of USD; None where there is none.

    Raises ValueError if it is no number from 0 to a billion.
    """
    value = record.get(name)
    if value is None:
        return None
    try:
        dollars = None if isinstance(value, bool) else Decimal(value)
    except (ArithmeticError, TypeError, ValueError):
        dollars = None
    if dollars is None or not dollars.is_finite() or not 0 <= dollars < _MOST_DOLLARS:
        raise ValueError(f"{name} is no amount of USD: {str(value)[:40]!r}")
    return dollars


def _count_from_record(record: Mapping[str, Any], name: str) -> int | None:
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
        raise ValueError(f"{name} is no number of tokens: {str(value)[:40]!r}")
    return value


def _number_from_record(value: Any, name: str, least: float, most: float) -> float:
    """Read a number within bounds; NaN is within none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name} is no number from {least:g} to {most:g}: {str(value)[:40]!r}")
    return float(value)


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
    if answer.made_up:
        record["made_up"] = True
    if answer.logprobs is not None:
        record["logprobs"] = [
            [
                t.token,
                max(t.logprob, _LEAST_LOGPROB),
                [(n, max(p, _LEAST_LOGPROB)) for n, p in t.top],
            ]
            for t in answer.logprobs
        ]
    return record


def check_answer(answer: Answer) -> Answer:
    """Give an answer back, without any secret in it, if it could be kept and read again.

    Raises KeyError, TypeError, ValueError, AttributeError if its text is none, or its numbers
    cannot be: tokens below 0, an infinite price.
    """
    answer_from_record(answer_to_record(answer), from_cache=False)
    return without_secrets_of(answer)


def without_secrets_of(answer: Answer) -> Answer:
    """Take keys and passwords out of everything that an answer says."""
    logprobs, probabilities = answer.logprobs, answer.probabilities
    if logprobs is not None:
        logprobs = tuple(
            replace(
                one,
                token=without_secrets(one.token),
                top=tuple((without_secrets(token), p) for token, p in one.top),
            )
            for one in logprobs
        )
    if probabilities is not None:
        probabilities = {without_secrets(label): p for label, p in probabilities.items()}
    return replace(
        answer,
        text=said_by_others(answer.text),
        model=escaped(said_by_others(answer.model), one_line=True),
        logprobs=logprobs,
        probabilities=probabilities,
    )


def answer_from_record(record: Mapping[str, Any], *, from_cache: bool) -> Answer:
    """Make an answer of plain data.

    `record`: from `answer_to_record`; `from_cache`: whether it is used again: then it took no
    request, no token and no cent. Raises KeyError, TypeError, ValueError if the data is not such a
    record.
    """
    first = usage = Usage(
        input_tokens=_count_from_record(record, "input_tokens"),
        output_tokens=_count_from_record(record, "output_tokens"),
        cached_tokens=_count_from_record(record, "cached_tokens"),
        cache_write_tokens=_count_from_record(record, "cache_write_tokens"),
        cost_usd=dollars_from_record(record, "cost_usd"),
    )
    text, finish, model = record["text"], record["finish"], record["model"]
    if not isinstance(text, str) or not isinstance(model, str) or finish not in _FINISHES:
        raise ValueError("text, model or finish are not those of an answer")
    seconds = _number_from_record(record["seconds"], "seconds", 0, _MOST)
    attempts = _count_from_record(record, "attempts") or 0
    if from_cache:
        zero = Decimal(0)
        usage = Usage(input_tokens=0, output_tokens=0, cached_tokens=0, cost_usd=zero, n_requests=0)
    probabilities = record.get("probabilities")
    if probabilities is not None:
        probabilities = {
            str(label): _number_from_record(p, "probability", 0, 1 + 1e-6)
            for label, p in probabilities.items()
        }
    logprobs = record.get("logprobs")
    return Answer(
        text=text,
        usage=usage,
        finish=finish,
        model=model,
        from_cache=from_cache,
        seconds=0.0 if from_cache else seconds,
        attempts=0 if from_cache else attempts,
        logprobs=None if logprobs is None else tuple(map(_logprob_from_record, logprobs)),
        probabilities=probabilities,
        first_usage=first if from_cache else None,
        made_up=record.get("made_up") is True,
    )


def _logprob_from_record(entry: Any) -> TokenLogprob:
    token, value, top = entry
    return TokenLogprob(
        token=str(token),
        logprob=_logprob(value),
        top=tuple((str(name), _logprob(other)) for name, other in top),
    )


def _logprob(value: Any) -> float:
    """Natural logarithm of a probability; somewhat above 0 is what rounding makes of 1."""
    return max(_number_from_record(value, "logprob", -math.inf, 1.0), _LEAST_LOGPROB)
