"""Questions about images, clips, sound, documents and text, with evidence.

The room may be called: ``showtell.ask(model, parts, question)`` is `ask`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from showtell._lazy import lazy_names

if TYPE_CHECKING:
    from showtell.ask.answer import Answer, Answers, Claim
    from showtell.ask.data import SCHEMAS
    from showtell.ask.material import Exhibit, Frames, Material, Moment, gather
    from showtell.ask.money import Price, parse_price
    from showtell.ask.receipt import Calculation, calculate
    from showtell.ask.run import ask

__all__ = [
    "SCHEMAS",
    "Answer",
    "Answers",
    "Calculation",
    "Claim",
    "Exhibit",
    "Frames",
    "Material",
    "Moment",
    "Price",
    "ask",
    "calculate",
    "gather",
    "parse_price",
]

_NAMES_OF = {
    "answer": "Answer Answers Claim",
    "data": "SCHEMAS",
    "material": "Exhibit Frames Material Moment gather",
    "money": "Price parse_price",
    "receipt": "Calculation calculate",
    "run": "ask",
}

__getattr__, __dir__ = lazy_names(__name__, _NAMES_OF)


class _Room(ModuleType):
    """Importing this room makes ``showtell.ask`` the module, which shall stay callable."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return __getattr__("ask")(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
