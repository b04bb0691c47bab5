"""Why an image got its label, in words, numbers and pictures.

The room may be called: ``showtell.explain(clf, images)`` is `explain`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from showtell._lazy import lazy_names

if TYPE_CHECKING:
    from showtell.explain.clues import Changes, ClueStep, Swap, Waterfall
    from showtell.explain.concepts import concept_overview
    from showtell.explain.demonstrations import (
        LeftOut,
        LeftOutOne,
        leave_one_out,
        leave_one_out_requests,
    )
    from showtell.explain.explaining import PARTS, PartName, changes_are_quick, explain, parts_of
    from showtell.explain.explanation import Explanation
    from showtell.explain.occlusion import OcclusionMap, occlusion_map
    from showtell.explain.overview import ConceptOverview
    from showtell.explain.page import write_explanations
    from showtell.explain.parts import Bar, Bars, Neighbour, Neighbours, Part, Words


__all__ = [
    "PARTS",
    "Bar",
    "Bars",
    "Changes",
    "ClueStep",
    "ConceptOverview",
    "Explanation",
    "LeftOut",
    "LeftOutOne",
    "Neighbour",
    "Neighbours",
    "OcclusionMap",
    "Part",
    "PartName",
    "Swap",
    "Waterfall",
    "Words",
    "changes_are_quick",
    "concept_overview",
    "explain",
    "leave_one_out",
    "leave_one_out_requests",
    "occlusion_map",
    "parts_of",
    "write_explanations",
]

_NAMES_OF = {
    "clues": "Changes ClueStep Swap Waterfall",
    "concepts": "concept_overview",
    "demonstrations": "LeftOut LeftOutOne leave_one_out leave_one_out_requests",
    "explaining": "PARTS PartName changes_are_quick explain parts_of",
    "explanation": "Explanation",
    "occlusion": "OcclusionMap occlusion_map",
    "overview": "ConceptOverview",
    "page": "write_explanations",
    "parts": "Bar Bars Neighbour Neighbours Part Words",
}

__getattr__, __dir__ = lazy_names(__name__, _NAMES_OF)


class _Room(ModuleType):
    """Importing this room makes ``showtell.explain`` the module, which shall stay callable."""

    def __call__(self, *args: Any, **kwargs: Any) -> list[Explanation]:
        found: list[Explanation] = __getattr__("explain")(*args, **kwargs)
        return found


sys.modules[__name__].__class__ = _Room
