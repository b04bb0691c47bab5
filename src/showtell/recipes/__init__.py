"""From plain data to a fitted classifier: recipes, what they are compared as, what they cost.

Each file loads when one of its names is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from showtell._lazy import lazy_names

if TYPE_CHECKING:
    from showtell.recipes.building import model_to_count, reached
    from showtell.recipes.contender import Contender, Way, base_url_of, contenders, listed, ways_of
    from showtell.recipes.estimates import Estimate, TellApart, estimate, tell_apart
    from showtell.recipes.oddities import remarks
    from showtell.recipes.recipe import ACCESS, Recipe, is_local, not_taken

__all__ = [
    "ACCESS", "Contender", "Estimate", "Recipe", "TellApart", "Way", "base_url_of", "contenders",
    "estimate", "is_local", "listed", "model_to_count", "not_taken", "reached", "remarks",
    "tell_apart", "ways_of",
]  # fmt: skip

_HOME_OF = {
    "ACCESS": "recipe",
    "Contender": "contender",
    "Estimate": "estimates",
    "Recipe": "recipe",
    "TellApart": "estimates",
    "base_url_of": "contender",
    "contenders": "contender",
    "estimate": "estimates",
    "is_local": "recipe",
    "model_to_count": "building",
    "not_taken": "recipe",
    "reached": "building",
    "remarks": "oddities",
    "Way": "contender",
    "listed": "contender",
    "tell_apart": "estimates",
    "ways_of": "contender",
}

__getattr__, __dir__ = lazy_names(__name__, _HOME_OF)
