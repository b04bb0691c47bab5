"""Arguments of a classifier that asks a model, sorted: what is the model's, and what is not."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from showtell import Model

_OF_THE_MODEL = {field.name for field in fields(Model)}


def asked(model: Any, params: dict[str, Any]) -> tuple[Model, dict[str, Any]]:
    """Make a `Model` of the parameters that are its, and give back the others."""
    own = {name: value for name, value in params.items() if name in _OF_THE_MODEL}
    rest = {name: value for name, value in params.items() if name not in own}
    return Model(model, **own), rest
