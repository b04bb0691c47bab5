"""Checks of arguments: what came, what is allowed, and the name of the parameter."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from numbers import Integral
from typing import Any

from showtell._clean import looks_secret, said_by_others
from showtell.errors import InputError, UnknownNameError
from showtell.words import joined

__all__ = ["above", "at_least", "between", "flag", "known", "no_secret", "one_of", "whole"]


def at_least(least: float, **values: Any) -> None:
    """Refuse a number that is too small, or none.

    Parameters
    ----------
    least : float
    **values
        By the name of the parameter.

    Raises
    ------
    InputError

    Examples
    --------
    >>> at_least(1, n_seeds=0)
    Traceback (most recent call last):
    ...
    showtell.errors.InputError: `n_seeds` must be at least 1, got 0.
    """
    for name, value in values.items():
        if not value >= least:
            raise InputError(f"`{name}` must be at least {least}, got {value!r}.", param=name)


def no_secret(**names: str) -> None:
    """Refuse a key or a password in the place of a name, before it is shown or written.

    Parameters
    ----------
    **names
        By the name of the parameter.

    Raises
    ------
    InputError

    Examples
    --------
    >>> no_secret(model="openai:sk-proj-a1b2c3d4e5f6g7h8i9")
    Traceback (most recent call last):
    ...
    showtell.errors.InputError: `model` holds what looks like a key or a password: 'openai:***'. ...
    """
    for name, text in names.items():
        if looks_secret(text):
            raise InputError(
                f"`{name}` holds what looks like a key or a password: {said_by_others(text)!r}. "
                "Name the model; a key goes into a variable such as OPENAI_API_KEY.",
                param=name,
            )


def above(limit: float, **values: Any) -> None:
    """Refuse a number that does not lie above a limit; arguments as `at_least`.

    Examples
    --------
    >>> above(0, ratio=-1.0)
    Traceback (most recent call last):
    ...
    showtell.errors.InputError: `ratio` must be above 0, got -1.0.
    """
    for name, value in values.items():
        if not value > limit:
            raise InputError(f"`{name}` must be above {limit}, got {value!r}.", param=name)


def between(low: float, high: float, *, strictly: bool = False, **values: Any) -> None:
    """Refuse a number outside of a range; arguments as `at_least`.

    Parameters
    ----------
    low, high : float
    strictly : bool, default=False
        Whether the ends are refused as well.
    **values
        By the name of the parameter.

    Examples
    --------
    >>> between(0, 1, weight=1.5)
    Traceback (most recent call last):
    ...
    showtell.errors.InputError: `weight` must lie between 0 and 1, got 1.5.
    """
    for name, value in values.items():
        if not (low < value < high if strictly else low <= value <= high):
            how = "strictly between" if strictly else "between"
            raise InputError(
                f"`{name}` must lie {how} {low} and {high}, got {value!r}.", param=name
            )


def whole(least: int | None = None, *, also: Sequence[Any] = (), **values: Any) -> None:
    """Refuse what is no whole number, or too small a one; arguments as `at_least`.

    Parameters
    ----------
    least : int, optional
        None allows all.
    also : sequence
        What is allowed besides: None, "auto" ...
    **values
        By the name of the parameter.

    Examples
    --------
    >>> whole(1, shots=2.5, also=[None])
    Traceback (most recent call last):
    ...
    showtell.errors.InputError: `shots` is a whole number from 1 up, or None; got 2.5.
    """
    for name, value in values.items():
        if any(value is other or (isinstance(value, str) and value == other) for other in also):
            continue
        is_whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not is_whole or (least is not None and value < least):
            up = "" if least is None else f" from {least} up"
            more = "".join(f", or {other!r}" for other in also)
            raise InputError(f"`{name}` is a whole number{up}{more}; got {value!r}.", param=name)


def flag(*, also: Sequence[str] = (), **values: Any) -> None:
    """Refuse what is neither True nor False; arguments as `whole`.

    Examples
    --------
    >>> flag(also=["auto"], calibrate=1)
    Traceback (most recent call last):
    ...
    showtell.errors.InputError: `calibrate` is True, False or 'auto', got 1.
    """
    for name, value in values.items():
        if not isinstance(value, bool) and not (isinstance(value, str) and value in also):
            allowed = joined(["True", "False", *map(repr, also)], last="or")
            raise InputError(f"`{name}` is {allowed}, got {value!r}.", param=name)


def one_of(kind: str, value: object, allowed: Collection[Any]) -> None:
    """Refuse a name that is not one of those allowed.

    Parameters
    ----------
    kind : str
        What the name stands for, in words.
    value : object
    allowed : collection

    Raises
    ------
    UnknownNameError
        It lists the allowed ones, and names one that is close.
    """
    if value not in allowed:
        raise UnknownNameError(kind, str(value), allowed)


def known(kind: str, values: Iterable[object], allowed: Collection[Any]) -> None:
    """Refuse the first of several names that is not one of those allowed; see `one_of`."""
    for value in values:
        one_of(kind, value, allowed)
