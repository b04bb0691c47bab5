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
    from showtell.recipes.recipe import ACCESS, Recipe, is_local, not_taken, remarks

__all__ = [
    "ACCESS", "Contender", "Estimate", "Recipe", "TellApart", "Way", "base_url_of", "contenders",
    "estimate", "is_local", "listed", "model_to_count", "not_taken", "reached", "remarks",
    "tell_apart", "ways_of",
]  # fmt: skip

_NAMES_OF = {
    "building": "model_to_count reached",
    "contender": "Contender Way base_url_of contenders listed ways_of",
    "estimates": "Estimate TellApart estimate tell_apart",
    "recipe": "ACCESS Recipe is_local not_taken remarks",
}

__getattr__, __dir__ = lazy_names(__name__, _NAMES_OF)
