"""A cap on dollars and requests, checked before each request with what is in flight counted."""

from __future__ import annotations

import asyncio
import math
import threading
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from showtell.errors import (
    BudgetError,
    InputError,
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Reservation:
    """A request that was allowed and has not been settled yet."""

    estimate: Decimal | None


class Budget:
    """Dollars and requests that may be spent, shared by threads.

    A request is allowed while what is spent, what is in flight (by its estimate) and the request
    itself (by its estimate) stay within the caps. Where only what is in flight stands in the way,
    the request waits for it, since it may turn out cheaper. So the caps are passed by no more than
    the requests in flight cost above their estimates.

    Parameters
    ----------
    max_cost : Decimal, str, int or float, optional
        USD. None for no cap.
    max_requests : int, optional
        Requests sent, tries again included. None for no cap.
    spent : Decimal, default=0
        USD that an earlier process of the same run has spent.
    n_requests : int, default=0
        Requests that an earlier process of the same run has sent.
    in_doubt : Decimal, default=0
        USD, by estimate, of those of them whose answer never came: see `Journal.in_doubt`.

    Raises
    ------
    InputError
        If a cap is negative or no number.

    Examples
    --------
    >>> budget = Budget(max_cost="0.05")
    >>> one = budget.reserve_now(Decimal("0.03"))
    >>> budget.settle(one, Decimal("0.02"))
    >>> budget.spent, budget.in_flight
    (Decimal('0.02'), Decimal('0.00'))
    """

    def __init__(
        self,
        *,
        max_cost: Decimal | str | float | None = None,
        max_requests: int | None = None,
        spent: Decimal = Decimal(0),
        n_requests: int = 0,
        in_doubt: Decimal = Decimal(0),
    ) -> None:
        self.max_cost = None if max_cost is None else _dollars(max_cost)
        if max_requests is not None and (not isinstance(max_requests, int) or max_requests < 0):
            raise InputError(
                f"`max_requests` must be a whole number from 0, or left out for no cap, got "
                f"{max_requests!r}."
            )
        self.max_requests = max_requests
        self.spent = spent
        """USD of all settled requests whose cost is known."""
        self.in_doubt = in_doubt
        """USD, by estimate, of requests that broke off: the provider may or may not bill them."""
        self.n_requests = n_requests
        """Requests sent."""
        self.n_unpriced = 0
        """Settled requests whose cost is not known."""
        self.in_flight = Decimal(0)
        """USD, by estimate, of requests without an answer yet."""
        self.n_in_flight = 0
        self._lock = threading.Lock()
        self._waiting: list[asyncio.Future[None]] = []

    def reserve_now(self, estimate: Decimal | None) -> Reservation | None:
        """Allow a request, or say that it must wait for those in flight.

        Parameters
        ----------
        estimate : Decimal or None
            Most that it may cost, in USD; None if its price is not known.

        Returns
        -------
        reservation : Reservation or None
            None if the caps would be passed by what is in flight.

        Raises
        ------
        BudgetError
            If the caps would be passed even if nothing were in flight.
        InputError
            If there is a cap on dollars, and the price is not known.
        """
        with self._lock:
            return self._reserve(estimate)

    async def reserve(self, estimate: Decimal | None) -> Reservation:
        """Allow a request, after waiting for those in flight if need be.

        Parameters
        ----------
        estimate : Decimal or None
            As in `reserve_now`.

        Returns
        -------
        reservation : Reservation
            To be given to `settle` once, whatever happens.

        Raises
        ------
        BudgetError, InputError
            As in `reserve_now`.
        """
        while True:
            with self._lock:
                reservation = self._reserve(estimate)
                if reservation is not None:
                    return reservation
                waiting = asyncio.get_running_loop().create_future()
                self._waiting.append(waiting)
            try:
                await waiting
            finally:
                with self._lock:
                    if waiting in self._waiting:
                        self._waiting.remove(waiting)

    def settle(
        self,
        reservation: Reservation,
        cost: Decimal | None,
        *,
        in_doubt: bool = False,
        sent: bool = True,
    ) -> None:
        """Replace the estimate of a request by what it cost.

        Parameters
        ----------
        reservation : Reservation
        cost : Decimal or None
            USD; 0 for a request that was turned away, None if it is not known.
        in_doubt : bool, default=False
            The request broke off, so it may be billed: its estimate goes on counting.
        sent : bool, default=True
            False if it was not sent after all.
        """
        with self._lock:
            self.n_in_flight -= 1
            self.n_requests -= not sent
            estimate = reservation.estimate
            if estimate is not None:
                self.in_flight -= estimate
            if in_doubt:
                self.in_doubt += estimate or 0
            elif cost is None:
                self.n_unpriced += 1
                self.in_doubt += estimate or 0
            else:
                self.spent += cost
            waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.get_loop().call_soon_threadsafe(_wake, one)

    def __repr__(self) -> str:
        return (
            f"Budget(max_cost={self.max_cost}, max_requests={self.max_requests}, "
            f"spent={self.spent}, n_requests={self.n_requests})"
        )

    def _reserve(self, estimate: Decimal | None) -> Reservation | None:
        if self.max_requests is not None and self.n_requests >= self.max_requests:
            raise BudgetError(
                f"Stopped at the cap: {self.n_requests} of `max_requests` {self.max_requests} are "
                "sent. Raise `max_requests` and run again to resume.",
                f"{self.max_requests:,} request{'' if self.max_requests == 1 else 's'}",
            )
        if self.max_cost is not None:
            if estimate is None:
                raise InputError(
                    "The price of this model is not known, so `max_cost` cannot be kept. Cap "
                    "`max_requests` instead, or choose a model with a known price: "
                    "`showtell models`."
                )
            settled = self.spent + self.in_doubt + estimate
            if settled > self.max_cost:  # what is in flight can only add to it
                raise BudgetError(self._stopped(estimate), f"{self.max_cost} USD")
            if settled + self.in_flight > self.max_cost:
                return None
        self.n_requests += 1
        self.n_in_flight += 1
        if estimate is not None:
            self.in_flight += estimate
        return Reservation(estimate=estimate)

    def _stopped(self, estimate: Decimal) -> str:
        doubt = f" and up to {self.in_doubt:.4f} USD are in doubt" if self.in_doubt else ""
        return (
            f"Stopped at the cap: {self.spent:.4f} of `max_cost` {self.max_cost} USD are "
            f"spent{doubt}, and the next request may cost up to {estimate:.4f} USD, with the "
            "longest answer. Raise `max_cost` and run again to resume."
        )


def _dollars(value: Decimal | str | float) -> Decimal:
    try:
        dollars = Decimal(str(value))
    except InvalidOperation:
        dollars = Decimal("NaN")
    if isinstance(value, bool) or not dollars.is_finite() or dollars < 0:
        raise InputError(
            f"`max_cost` must be a number of USD from 0, or left out for no cap, got {value!r}."
        )
    return dollars


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


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
