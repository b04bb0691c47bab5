"""Rooms whose names load with the file that holds them, when they are first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    room: str, names_of: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make ``__getattr__`` and ``__dir__`` of a room.

    Parameters
    ----------
    room : str
        Its ``__name__``.
    names_of : mapping of str to str
        A file, as seen from the room, to the names that it defines, with spaces between.

    Returns
    -------
    getattr, dir : callable

    Examples
    --------
    >>> load, _ = lazy_names("showtell.recipes", {"recipe": "Recipe is_local"})
    >>> load("Recipe").__name__
    'Recipe'
    """
    home_of = {name: file for file, names in names_of.items() for name in names.split()}

    def load(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{room}.{home_of[name]}"), name)
        setattr(sys.modules[room], name, value)
        return value

    return load, lambda: sorted(home_of)
