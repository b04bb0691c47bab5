"""What a client has done so far, and what it expects of the next request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from showtell.errors import (
    MLLMAuthError,
    MLLMError,
    MLLMRequestError,
    MLLMUnreachableError,
    RateLimitedError,
)
from showtell.mllm.base import Answer, Request, Usage
from showtell.mllm.capabilities import Capabilities
from showtell.mllm.prices import is_installed, price
from showtell.mllm.tokens import estimate_tokens, most_output

_LEARN_FROM = 5  # answers, before what they took replaces the longest answer in estimates


@dataclass
class Totals:
    """What a client has done so far."""

    n_requests: int = 0
    """Requests sent, tries again included."""
    n_answers: int = 0
    """Answers got from the provider."""
    n_from_cache: int = 0
    """Answers out of the cache, the journal, or an equal request in flight."""
    n_failed: int = 0
    n_turned_away: int = 0
    """Of `n_requests`, those that were refused: too many at once, a bad key. They cost nothing."""
    n_unsent: int = 0
    """Of `n_requests`, those that found no connection, so that nothing was sent."""
    n_in_doubt: int = 0
    """Of `n_requests`, those that broke off or whose answer could not be read: the provider may
    bill them. Those of an earlier process of the run are in its journal."""
    in_doubt_usd: Decimal = Decimal(0)
    """USD that these may cost, by estimate; those without a known price left out."""
    n_doubts_unpriced: int = 0
    n_unpriced: int = 0
    """Answers whose price is not known; `cost_usd` is then a lower bound."""
    n_rate_limited: int = 0
    n_retried: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    seconds: float = 0.0
    """Of all answers added up; they overlap."""

    def count(self, answer: Answer) -> None:
        """Count an answer of the provider."""
        usage = answer.usage
        self.n_answers += 1
        self.input_tokens += usage.input_tokens or 0
        self.output_tokens += usage.output_tokens or 0
        self.cached_tokens += usage.cached_tokens or 0
        self.seconds += answer.seconds
        if usage.cost_usd is None:
            self.n_unpriced += 1
        else:
            self.cost_usd += usage.cost_usd

    def count_failure(self, error: MLLMError) -> None:
        """Count a try that was turned away, or found nobody; those in doubt are counted apart."""
        refused = MLLMAuthError | MLLMRequestError | RateLimitedError
        self.n_unsent += isinstance(error, MLLMUnreachableError)
        self.n_rate_limited += isinstance(error, RateLimitedError)
        self.n_turned_away += isinstance(error, refused)

    def count_doubt(self, most: Decimal | None) -> None:
        """Count a request that may be billed; `most` in USD, None if it is not known."""
        self.n_in_doubt += 1
        if most is None:
            self.n_doubts_unpriced += 1
        else:
            self.in_doubt_usd += most


class Expectations:
    """What a request will take, by estimate and by what the answers so far took.

    Parameters
    ----------
    name : str
        ``"provider:name"``.
    capabilities : Capabilities
    """

    def __init__(self, name: str, capabilities: Capabilities) -> None:
        self._name, self._capabilities = name, capabilities
        self._n_answers = self._longest_output = 0
        self._underestimated = 1.0  # most that an input was above its estimate, as a factor

    def cost(self, request: Request) -> Decimal | None:
        """USD, at most; None if the price is not known."""
        if self._capabilities.free:
            return Decimal(0)
        tokens = estimate_tokens(request, self._capabilities)
        if tokens.input is None or not is_installed():
            return None
        n_input = math.ceil(tokens.input * self._underestimated)
        usage = Usage(input_tokens=n_input, output_tokens=self._output(request))
        return price(self._name, usage)

    def tokens(self, request: Request) -> int:
        """Tokens in and out."""
        tokens = estimate_tokens(request, self._capabilities)
        return (tokens.input or tokens.text) + self._output(request)

    def learn(self, request: Request, usage: Usage, *, inputs: bool) -> None:
        """Note what an answer took; `inputs`: compare with the estimate of what was sent."""
        self._n_answers += 1
        if usage.output_tokens is not None:
            self._longest_output = max(self._longest_output, usage.output_tokens)
        if inputs and usage.input_tokens:
            expected = estimate_tokens(request, self._capabilities).input
            if expected:
                self._underestimated = max(self._underestimated, usage.input_tokens / expected)

    def _output(self, request: Request) -> int:
        """Tokens of the answer: the most it may have, or twice the longest one so far."""
        most = most_output(request)
        return most if self._n_answers < _LEARN_FROM else min(most, 2 * self._longest_output)
