"""Dataclasses as plain JSON values and back, by their types; loads pydantic when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from showtell.errors import InputError, ShowtellError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


def to_plain(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON has them: tuples as lists, decimals as text.

    Examples
    --------
    >>> from decimal import Decimal
    >>> from dataclasses import make_dataclass
    >>> Bill = make_dataclass("Bill", [("usd", Decimal), ("items", tuple[str, ...])])
    >>> to_plain(Bill(Decimal("0.10"), ("tea",)))
    {'usd': '0.10', 'items': ['tea']}
    """
    plain: dict[str, Any] = _adapter(type(value)).dump_python(value, mode="json")
    return plain


def from_plain(
    kind: type[T], plain: Any, what: str, *, error: type[ShowtellError] = InputError
) -> T:
    """Make a dataclass of what `to_plain` returned.

    Fields that it does not know are passed over, so that later versions may write more.

    Raises InputError: or `error`: with the first field that is missing or holds something else.

    Examples
    --------
    >>> from dataclasses import make_dataclass
    >>> from_plain(make_dataclass("Bill", [("n", int)]), {"n": "x"}, "The bill")
    Traceback (most recent call last):
    showtell.errors.InputError: The bill is damaged: n: Input should be a valid integer, ...
    """
    from pydantic import ValidationError

    try:
        value: T = _adapter(kind).validate_python(plain)
    except ValidationError as bad:
        first = bad.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or kind.__name__
        raise error(f"{what} is damaged: {place}: {first['msg']}.") from None
    return value


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Make an adapter once: it takes milliseconds."""
    if kind not in _adapters:
        from pydantic import TypeAdapter

        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]
