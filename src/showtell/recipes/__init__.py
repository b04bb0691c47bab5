"""From plain data to a fitted classifier: recipes, what they are compared as, what they cost.

Each file loads when one of its names is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from showtell.recipes.contenders import Contender, base_url_of, contenders
    from showtell.recipes.recipe import ACCESS, Recipe, is_local
    from showtell.recipes.remarks import remarks

__all__ = ["ACCESS", "Contender", "Recipe", "base_url_of", "contenders", "is_local", "remarks"]

_HOME_OF = {
    "ACCESS": "recipe",
    "Contender": "contenders",
    "Recipe": "recipe",
    "base_url_of": "contenders",
    "contenders": "contenders",
    "is_local": "recipe",
    "remarks": "remarks",
}


def __getattr__(name: str) -> Any:
    """Load the file that holds `name`."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'showtell.recipes' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"showtell.recipes.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
