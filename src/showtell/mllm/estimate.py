"""What requests come to before they are sent: tokens, dollars, time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from showtell.mllm.base import Request, Usage
from showtell.mllm.capabilities import Capabilities
from showtell.mllm.prices import is_installed, price
from showtell.mllm.tokens import estimate_tokens, most_output

if TYPE_CHECKING:
    from showtell.mllm.call.cache import AnswerCache

ANSWER_TOKENS = 30
"""Output tokens of one item of an answer, about: id, label and confidence in JSON."""

_OPENING_TOKENS = 10  # of an answer, before its first image
_SECONDS_TO_BEGIN, _TOKENS_PER_SECOND = 1.0, 100.0


@dataclass(kw_only=True)
class Sums:
    """What all requests come to. None is unknown."""

    n_requests: int = 0
    n_asked: int = 0
    """Questions about an image."""
    input_tokens: int | None = 0
    image_tokens: int | None = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    cost_usd_prefix_cached: Decimal | None = Decimal(0)
    """Where the provider caches what requests begin with."""
    cost_usd_batch: Decimal | None = Decimal(0)
    """As batch jobs; None also where there is no such endpoint."""
    n_requests_kept: int = 0
    """Answered before, in the cache."""
    cost_usd_to_pay: Decimal | None = Decimal(0)
    max_cost_to_begin: Decimal | None = Decimal(0)
    """The smallest cap that lets the first request out."""
    max_cost_to_end: Decimal | None = Decimal(0)
    """A cap that suffices however long the answers are."""


def add_up(
    requests: Iterable[Request],
    *,
    name: str,
    capabilities: Capabilities,
    cache: AnswerCache | None,
    endpoint: str = "",
    jobs: bool = False,
    answer_tokens: int | None = None,
) -> Sums:
    """Count and price each request by itself, since prices may depend on its length.

    `name`: the model, ``"provider:name"``; `cache`: what it holds of the same endpoint is not paid
    again; `endpoint`: see `showtell.mllm.endpoints`; `jobs`: whether what is to pay is that of
    batch jobs; `answer_tokens`: of one answer; unless given, as many as labels for the images asked
    about take.
    """
    sums = Sums()
    offered = capabilities.batch and not capabilities.free
    if not offered:
        sums.cost_usd_batch = None
    priced = capabilities.free or is_installed()
    for request in requests:
        tokens = estimate_tokens(request, capabilities)
        n_out = 0
        if not capabilities.decisions:
            n_out = _OPENING_TOKENS + ANSWER_TOKENS * request.n_queries
            if answer_tokens is not None:
                n_out = answer_tokens
        usage = Usage(input_tokens=tokens.input, output_tokens=n_out)
        cost = price(name, usage) if priced else None
        warm = cost
        if sums.n_requests and tokens.prefix and cost is not None:
            warm = price(name, replace(usage, cached_tokens=tokens.prefix))
        kept = cache is not None and cache.get(replace(request, endpoint=endpoint).key) is not None
        sums.n_requests += 1
        sums.n_asked += request.n_queries
        sums.input_tokens = _plus(sums.input_tokens, tokens.input)
        sums.image_tokens = _plus(sums.image_tokens, tokens.images)
        sums.output_tokens += n_out
        sums.cost_usd = _plus(sums.cost_usd, cost)
        sums.cost_usd_prefix_cached = _plus(sums.cost_usd_prefix_cached, warm)
        batch = None
        if offered:
            batch = price(name, usage, batch=True) if priced else None
            sums.cost_usd_batch = _plus(sums.cost_usd_batch, batch)
        sums.n_requests_kept += kept
        to_pay = Decimal(0) if kept else batch if jobs else cost
        sums.cost_usd_to_pay = _plus(sums.cost_usd_to_pay, to_pay)
        if not kept:  # a cap is asked for the longest answer before a request goes out
            longest = replace(usage, output_tokens=most_output(request))
            most = price(name, longest, batch=jobs) if priced else None
            if sums.n_requests - sums.n_requests_kept == 1:
                sums.max_cost_to_begin = most
            sums.max_cost_to_end = _plus(sums.max_cost_to_end, most)
    return sums


def _plus(total: Any, more: Any) -> Any:
    return None if total is None or more is None else total + more


def seconds_for(
    sums: Sums,
    *,
    slots: int,
    latency: float | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
) -> float | None:
    """Say how long it takes: the slowest of what the slots, the requests and the tokens allow.

    `slots`: requests in flight; `latency`: seconds of one request; unless given 1, and 1 more for
    every 100 output tokens. Returns `seconds`: None where the tokens are not known.
    """
    n = sums.n_requests - sums.n_requests_kept
    if not n:
        return 0.0
    each = latency
    if each is None:
        each = _SECONDS_TO_BEGIN + sums.output_tokens / sums.n_requests / _TOKENS_PER_SECOND
    longest = math.ceil(n / slots) * each
    if requests_per_minute is not None:
        longest = max(longest, 60 * n / requests_per_minute)
    if tokens_per_minute is not None:
        if sums.input_tokens is None:
            return None
        share = n / sums.n_requests
        tokens = share * (sums.input_tokens + sums.output_tokens)
        longest = max(longest, 60 * tokens / tokens_per_minute)
    return longest


def rule_in_words(rule: str | None) -> str:
    """Say how a provider counts the tokens of an image.

    `rule`: `Capabilities.image_token_rule`.

    Examples
    --------
    >>> rule_in_words("patch:32:1536:1.62")
    '32 x 32 patches begun, scaled down to at most 1536 of them, times 1.62'
    >>> rule_in_words(None)
    'not known'
    """
    if rule is None:
        return "not known"
    name, *n = rule.split(":")
    forms = {
        "tile": "scaled down to fit {0} x {0} and a shorter side of {1}; {3}, and {4} for every "
        "{2} x {2} tile begun",
        "patch": "{0} x {0} patches begun, scaled down to at most {1} of them, times {2}",
        "crop": "{2} if no side is above {0}; else {2} for every square crop begun, of two thirds "
        "of the shorter side, at least 256 and at most {1}",
        "area": "width x height / {0}, scaled down to a longer side of {1} and about {2} tokens",
        "fixed": "{0}, whatever the size",
    }
    return forms[name].format(*n) if name in forms else rule
