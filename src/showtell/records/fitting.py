"""Whether a value that was read is what an annotation says."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin


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
