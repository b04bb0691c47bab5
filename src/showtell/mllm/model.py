"""How a model is reached and within what limits: what every method that asks one has to know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

from showtell.errors import InputError
from showtell.mllm.base import MLLM
from showtell.mllm.call.budget import Budget
from showtell.mllm.call.cache import AnswerCache, default_cache
from showtell.mllm.call.client import Client
from showtell.mllm.call.journal import Journal
from showtell.mllm.call.limits import RateLimiter
from showtell.mllm.capabilities import Capabilities, capabilities_of
from showtell.mllm.registry import load_mllm, model_id

__all__ = ["ModelAccess", "open_client"]

_SLOTS, _FREE_SLOTS = 64, 8  # requests in flight, to a vendor and to one's own machine


@dataclass(frozen=True, kw_only=True)
class ModelAccess:
    """A model, the way to it, and the limits of a run.

    Examples
    --------
    >>> ModelAccess(model="openai:gpt-4.1-mini", max_cost="0.50").name
    'openai:gpt-4.1-mini'
    """

    model: str | MLLM
    """``"provider:name"`` or an object."""
    base_url: str | None = None
    """Another server that speaks the provider's form."""
    cache: AnswerCache | str | os.PathLike[str] | None = "default"
    """Where answers are kept: "default", a file, an object, or None to keep none."""
    run_folder: str | os.PathLike[str] | None = None
    """A journal is kept there; the same run in the same folder resumes."""
    max_cost: Decimal | str | float | None = None
    """USD."""
    max_requests: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_concurrency: int | None = None
    """Requests in flight; None for 64, or 8 where the model is one's own."""
    timeout: float = 120.0
    """Seconds for one try of a request."""

    @property
    def name(self) -> str:
        """The model as ``"provider:name"``."""
        return model_id(self.model) if isinstance(self.model, str) else self.model.name

    @property
    def capabilities(self) -> Capabilities:
        """What the model takes and offers."""
        known = getattr(self.model, "capabilities", None)
        return known if isinstance(known, Capabilities) else capabilities_of(self.name)

    def check(self) -> None:
        """Refuse values that make no sense, before anything is opened.

        Raises
        ------
        InputError
        """
        if not isinstance(self.model, str) and not isinstance(self.model, MLLM):
            raise InputError(
                "`model` is a name such as 'openai:gpt-4.1-mini' or an object with `name`, `ask` "
                f"and `aclose`; got {type(self.model).__name__}."
            )
        Budget(max_cost=self.max_cost, max_requests=self.max_requests)


@contextmanager
def open_client(access: ModelAccess) -> Iterator[Client]:
    """Open a client with its cache, journal, caps and limits, and close what was opened.

    Parameters
    ----------
    access : ModelAccess

    Yields
    ------
    client : Client
        Its `Client.journal` is that of the run folder, if there is one.

    Raises
    ------
    MissingExtraError
        If the provider's library is not installed.
    MLLMAuthError
        If no key is found.
    """
    access.check()
    journal = None if access.run_folder is None else Journal(access.run_folder)
    try:
        mllm, ours = _load(access)
        limiter = None
        if access.requests_per_minute is not None or access.tokens_per_minute is not None:
            limiter = RateLimiter(rpm=access.requests_per_minute, tpm=access.tokens_per_minute)
        client = Client(
            mllm,
            cache=_open_cache(access.cache),
            journal=journal,
            limiter=limiter,
            budget=Budget(
                max_cost=access.max_cost,
                max_requests=access.max_requests,
                spent=Decimal(0) if journal is None else journal.spent,
                n_requests=0 if journal is None else journal.n_requests,
                in_doubt=Decimal(0) if journal is None else journal.in_doubt,
            ),
            max_concurrency=access.max_concurrency
            or (_FREE_SLOTS if access.capabilities.free else _SLOTS),
        )
        try:
            yield client
        finally:
            if ours:
                client.close()
    finally:
        if journal is not None:
            journal.close()


def _load(access: ModelAccess) -> tuple[MLLM, bool]:
    """Return the model, and whether it was made here."""
    if not isinstance(access.model, str):
        return access.model, False
    return load_mllm(access.model, base_url=access.base_url), True


def _open_cache(cache: AnswerCache | str | os.PathLike[str] | None) -> AnswerCache | None:
    if cache is None or isinstance(cache, AnswerCache):
        return cache
    return default_cache() if cache == "default" else AnswerCache(cache)
