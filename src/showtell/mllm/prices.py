"""Dollars for tokens, from the table of genai-prices; what it does not know is unknown, not free.

Prices may be tiered, so every request is priced by itself and the sums are added.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import warnings
from dataclasses import dataclass
from decimal import Decimal
from types import ModuleType
from typing import Any

from showtell._extras import need
from showtell.mllm.base import Usage
from showtell.mllm.capabilities import capabilities_of, split_model_name

_LONG = 100_000  # tokens
# Providers of ours that the table calls otherwise; the others have the same name in both.
_IN_TABLE = {"google-decisions": "google", "openai-responses": "openai"}
_TRY = re.compile(r"(openai|google|anthropic)[a-z-]*:try")
_TRY_PRICES = (Decimal("0.40"), Decimal("0.10"), Decimal("1.60"), Decimal("0.5"))
"""USD per million tokens in, of these in the prefix cache, and out, and the share of a batch: play
money for the model of ``showtell try-server``, so that caps can be tried with it."""


@dataclass(frozen=True, kw_only=True)
class ModelPrice:
    """List price of a model, in USD per million tokens; None where it is not known."""

    model: str
    """The model as the table names it: `gpt-5.6` may resolve to another name."""
    input: Decimal | None
    cached: Decimal | None
    """Input tokens found in the provider's prefix cache."""
    output: Decimal | None
    batch_factor: Decimal | None
    """Batch price divided by price; None if there is no batch price."""


def price(model: str, usage: Usage, *, batch: bool = False) -> Decimal | None:
    """Price one request.

    Parameters
    ----------
    model : str
        ``"provider:name"``.
    usage : Usage
        Tokens of one request, not of many: prices may depend on the length of a request.
    batch : bool, default=False
        Whether it went through the provider's batch endpoint.

    Returns
    -------
    cost_usd : Decimal or None
        None if the model or a number of tokens is unknown, or the table has no batch price; 0 for
        models on one's own machine.

    Raises
    ------
    MissingExtraError
        If genai-prices is not installed.

    References
    ----------
    Pydantic, genai-prices: list prices of 47 providers, with tiers and batch prices.

    Examples
    --------
    >>> price("ollama:llava", Usage(input_tokens=600, output_tokens=9))
    Decimal('0')
    >>> print(price("google:unheard-of", Usage(input_tokens=600, output_tokens=9)))
    None
    """
    if capabilities_of(model).free:
        return Decimal(0)
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    total = _calculate(
        model,
        usage.input_tokens,
        usage.cached_tokens or 0,
        usage.output_tokens,
        n_written=usage.cache_write_tokens or 0,
        batch=batch,
    )
    if total is None or not batch:
        return total
    # The table answers with the usual price where it knows no batch price: then it is unknown.
    return total if _has_batch_price(model) else None


@functools.lru_cache(maxsize=256)
def price_of(model: str) -> ModelPrice | None:
    """Look up the list price of a model, for requests of 100,000 tokens.

    Parameters
    ----------
    model : str
        ``"provider:name"``.

    Returns
    -------
    price : ModelPrice or None
        None if the table does not have the model.

    Raises
    ------
    MissingExtraError
        If genai-prices is not installed.
    """
    if capabilities_of(model).free:
        zero = Decimal(0)
        name = split_model_name(model)[1]
        return ModelPrice(model=name, input=zero, cached=zero, output=zero, batch_factor=None)
    name_in_table = _resolve(model)
    if name_in_table is None:
        return None
    both = _calculate(model, _LONG, 0, 0)
    cached = _calculate(model, _LONG, _LONG, 0)
    output = _calculate(model, 0, 0, _LONG)
    factor = None
    if _has_batch_price(model) and both:
        reduced = _calculate(model, _LONG, 0, 0, batch=True)
        factor = None if reduced is None else reduced / both

    def per_million(value: Decimal | None) -> Decimal | None:
        return None if value is None else value * 10

    return ModelPrice(
        model=name_in_table,
        input=per_million(both),
        cached=per_million(cached),
        output=per_million(output),
        batch_factor=factor,
    )


def is_installed() -> bool:
    """Whether prices can be looked up."""
    return importlib.util.find_spec("genai_prices") is not None


@functools.lru_cache(maxsize=256)
def _has_batch_price(model: str) -> bool:
    usual = _calculate(model, _LONG, 0, _LONG)
    reduced = _calculate(model, _LONG, 0, _LONG, batch=True)
    return usual is not None and reduced is not None and reduced < usual


@functools.lru_cache(maxsize=256)
def _resolve(model: str) -> str | None:
    """Name of the model in the table."""
    if _TRY.fullmatch(model):
        return "try"
    found = _look_up(model, _table().Usage(input_tokens=1))
    return None if found is None else str(found.model.id)


@functools.lru_cache(maxsize=4096)
def _calculate(
    model: str,
    n_input: int,
    n_cached: int,
    n_output: int,
    *,
    n_written: int = 0,
    batch: bool = False,
) -> Decimal | None:
    """Ask the table; requests of equal counts are common, and a look-up takes 0.2 ms."""
    n_cached = min(n_cached, n_input)
    if _TRY.fullmatch(model):
        new, cached, out, share = _TRY_PRICES
        usd = (n_input - n_cached) * new + n_cached * cached + n_output * out
        return usd / 1_000_000 * (share if batch else 1)
    usage = _table().Usage(
        input_tokens=n_input,
        cache_read_tokens=n_cached,
        cache_write_tokens=min(n_written, n_input - n_cached),
        output_tokens=n_output,
    )
    found = _look_up(model, usage, {"processing": "batch"} if batch else None)
    if found is None:
        return None
    total: Decimal = found.total_price
    return total


def _look_up(model: str, usage: Any, context: dict[str, str] | None = None) -> Any:
    """Find a model of this very provider: a name that a vendor also has says nothing of others."""
    provider, name = split_model_name(model)
    wanted = _IN_TABLE.get(provider, provider)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = _table().calc_price(
                usage, model_ref=name, provider_id=wanted, price_context=context
            )
        except (LookupError, ValueError):
            return None
    return found if found.provider.id == wanted else None


def _table() -> ModuleType:
    return need("genai_prices", extra="mllm", what="Pricing a request")
