"""A model that counts what it is asked, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from showtell.errors import MLLMAuthError, MLLMRequestError, MLLMUnreachableError, RateLimitedError
from showtell.mllm import Usage, capabilities_of, estimate_tokens
from showtell.mllm.call import background
from showtell.mllm.prices import is_installed, price
from showtell.mllm.tokens import most_output

if TYPE_CHECKING:
    from showtell.classify import Predictions
    from showtell.mllm import MLLM, Answer, Capabilities, Request


class Meter:
    """A multimodal LLM that counts what it is asked and what that costs.

    Parameters
    ----------
    mllm : MLLM
    announce : callable, optional
        Called before the first question is sent.

    Examples
    --------
    >>> from showtell.mllm import load_mllm
    >>> meter = Meter(load_mllm("ollama:llava"))
    >>> meter.name, meter.n_requests, meter.total
    ('ollama:llava', 0, Decimal('0'))
    """

    def __init__(self, mllm: MLLM, announce: Callable[[Meter], None] | None = None) -> None:
        self.wrapped = mllm
        self._announce = announce
        self.name = mllm.name
        self.place: str = getattr(mllm, "place", "")
        """Where it is; see `showtell.mllm.endpoints`."""
        self.fingerprint = mllm.name
        """By which records name the model."""
        self.capabilities: Capabilities = getattr(mllm, "capabilities", capabilities_of(mllm.name))
        self.n_sent = 0
        """Requests that were tried, tries again included: the sum of the four numbers below."""
        self.n_requests = 0
        """Requests that were answered."""
        self.n_turned_away = 0
        """Requests that were refused, too many at once among them; they cost nothing."""
        self.n_unsent = 0
        """Requests that found no server, so that nothing was sent."""
        self.n_in_doubt = 0
        """Requests that broke off, or whose answer could not be read; they may be billed."""
        self.in_doubt_usd: Decimal | None = Decimal(0)
        """USD that these may cost, by estimate; None once one without a known price is there."""
        self.input_tokens = self.output_tokens = 0
        self.cost_usd = Decimal(0)
        """USD of all answers whose price is known."""
        self.n_unpriced = 0
        """Answers whose price is not known."""

    async def ask(self, request: Request) -> Answer:
        """Pass on a request, and count the answer."""
        self.announce()
        self.n_sent += 1
        try:
            answer = await self.wrapped.ask(request)
        except MLLMUnreachableError:
            self.n_unsent += 1
            raise
        except (MLLMAuthError, MLLMRequestError, RateLimitedError):
            self.n_turned_away += 1
            raise
        except BaseException:
            self._count_doubt(request)
            raise
        self.count(answer)
        return answer

    def count_lost(self, n_requests: int, most: Decimal | None) -> None:
        """Count requests of a batch job that may have been handed in although no answer said so.

        Parameters
        ----------
        n_requests : int
        most : Decimal or None
            USD that they may cost together; None if it is not known.
        """
        self.n_sent += n_requests
        self._add_doubts(n_requests, most)

    def _count_doubt(self, request: Request) -> None:
        """Count a request that may be billed although no answer came of it."""
        most = Decimal(0) if self.capabilities.free else None
        if most is None and is_installed():
            n_input = estimate_tokens(request, self.capabilities).input
            most = price(self.name, Usage(input_tokens=n_input, output_tokens=most_output(request)))
        self._add_doubts(1, most)

    def _add_doubts(self, n: int, most: Decimal | None) -> None:
        self.n_in_doubt += n
        if most is None or self.in_doubt_usd is None:
            self.in_doubt_usd = None
        else:
            self.in_doubt_usd += most

    def announce(self) -> None:
        """Say, unless it was said before, that something is about to be sent."""
        announce, self._announce = self._announce, None
        if announce is not None:
            announce(self)

    def count(self, answer: Answer) -> None:
        """Count an answer, also one that a batch job brought."""
        usage = answer.usage
        cost = usage.cost_usd
        if cost is None and (self.capabilities.free or is_installed()):
            cost = price(self.name, usage)
        self.n_requests += 1
        self.input_tokens += usage.input_tokens or 0
        self.output_tokens += usage.output_tokens or 0
        if cost is None:
            self.n_unpriced += 1
        else:
            self.cost_usd += cost

    async def locate(self) -> str:
        """Name the endpoint, which is part of the key of every answer."""
        find = getattr(self.wrapped, "locate", None)
        return self.place if find is None else str(await find())

    async def is_try_server(self) -> bool | None:
        """Say whether it is ``showtell try-server`` that answers; None where nobody does."""
        look = getattr(self.wrapped, "is_try_server", None)
        found: bool | None = False if look is None else await look()
        return found

    async def aclose(self) -> None:
        """Leave connections open: the next step of the same job uses them too."""

    def close(self) -> None:
        """Close connections."""
        background.wait_for(self.wrapped.aclose())

    @property
    def total(self) -> Decimal | None:
        """USD of all answers; None if it is not known."""
        return None if self.n_unpriced else self.cost_usd

    def __repr__(self) -> str:
        return f"Meter({self.name!r})"


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a run took."""

    n_sent: int
    """Requests that were tried, tries again included."""
    n_requests: int
    """Those that were answered."""
    n_turned_away: int
    n_unsent: int
    """Those that found no server."""
    cost_usd: Decimal | None
    """None: not known."""
    input_tokens: int
    output_tokens: int
    n_rows: int
    n_again: int
    """Rows whose answer was there already."""
    n_never: int
    """Rows that were never asked about, since something stopped the run before."""
    n_in_doubt: int
    """Requests that may be billed although no answer came of them."""
    in_doubt_usd: Decimal | None
    """What they may cost at most; None: not known."""


def taken(meters: Sequence[Meter], predictions: Sequence[Predictions]) -> Taken:
    """Add up what was spent, and what was had for nothing.

    Parameters
    ----------
    meters : sequence of Meter
    predictions : sequence of Predictions
        What came of it.

    Returns
    -------
    taken : Taken
    """
    totals = [meter.total for meter in meters]
    known = [total for total in totals if total is not None]
    n_in_doubt = max((p.n_in_doubt for p in predictions), default=0)  # of one run folder
    doubt: Decimal | None = Decimal(0)
    if n_in_doubt:
        doubt = next(p.in_doubt_usd for p in predictions if p.n_in_doubt == n_in_doubt)
    n_here = sum(meter.n_in_doubt for meter in meters)
    if n_here > n_in_doubt:  # no run folder, or its books were closed before the last one broke off
        doubts = [meter.in_doubt_usd for meter in meters]
        n_in_doubt = n_here
        doubt = None if None in doubts else sum((d for d in doubts if d), Decimal(0))
    return Taken(
        n_sent=sum(meter.n_sent for meter in meters),
        n_turned_away=sum(meter.n_turned_away for meter in meters),
        n_unsent=sum(meter.n_unsent for meter in meters),
        n_never=sum(list(p.columns.get("reason", ())).count("stopped") for p in predictions),
        n_requests=sum(meter.n_requests for meter in meters),
        cost_usd=sum(known, Decimal(0)) if len(known) == len(totals) else None,
        input_tokens=sum(meter.input_tokens for meter in meters),
        output_tokens=sum(meter.output_tokens for meter in meters),
        n_rows=sum(map(len, predictions)),
        n_again=sum(sum(map(bool, p.columns.get("from_cache", ()))) for p in predictions),
        n_in_doubt=n_in_doubt,
        in_doubt_usd=doubt,
    )
