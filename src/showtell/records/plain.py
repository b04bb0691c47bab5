"""Dataclasses as plain JSON values and back, and values as annotations; pydantic loads on use."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

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


def annotations_of(told: Mapping[str, Any], module: str) -> dict[str, Any]:
    """Resolve annotations; `Any` for those that only a type checker can resolve.

    `told`: ``__annotations__`` of a function or class; `module`: where that was defined.
    """
    names = vars(sys.modules[module])
    found: dict[str, Any] = {}
    for name, one in told.items():
        try:
            found[name] = eval(one, names) if isinstance(one, str) else one  # noqa: S307
        except (NameError, TypeError, AttributeError):
            found[name] = Any
    return found


def fits(value: Any, wanted: Any) -> bool:
    """Say whether a value out of a file may stand where an annotation asks for something.

    Lists pass as sequences whatever they hold, numbers must be finite, and classes that no file can
    hold pass as they are.

    `wanted`: as annotations are: a class, a union, ``Literal[...]``, ``Sequence[...]``, ``Any``.

    Examples
    --------
    >>> fits(3, float | None), fits("3", float | None), fits(True, int)
    (True, False, False)
    """
    if wanted is Any:
        return True
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in get_args(wanted))
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in get_args(wanted))
    kind = origin or wanted
    if kind in (None, type(None)):
        return value is None
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is int:
        return isinstance(value, int)
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    if kind is str:
        return isinstance(value, str)
    if not isinstance(kind, type):
        return True
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping)
    if issubclass(kind, Sequence):
        return isinstance(value, list | tuple)
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol that cannot be asked about
        return not isinstance(value, str | int | float | list | dict | None)
