"""What a run folder was asked for: what decides about answers, and how older folders said it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from showtell.classify.table import AUTO, OPTIONS, Method, automatic, find_method
from showtell.evaluate import provenance
from showtell.recipes import Recipe

_RENAMED = {
    "confidence_from": "confidence",
    "temperature": "sampling_temperature",
    "score": "rule",
    "calibrate": "n_calibration",
}
"""What options were called in run folders before they held recipes."""

_BESIDE = ("encoder", "precision", "seed", "model", "base_url")


def deciding(recipe: Recipe) -> dict[str, Any]:
    """Give of a recipe what decides about answers, as JSON values; caps and machinery do not.

    Returns `told`: labels are left out: a request says which were named.
    """
    told: dict[str, Any] = {"method": recipe.method, "encoder": recipe.encoder}
    if recipe.precision != "auto":
        told["precision"] = recipe.precision
    if recipe.model is not None:
        told["model"] = recipe.model
    url = recipe.access.get("base_url")
    if url is not None:
        told["base_url"] = provenance.shown_path(url)
    row = None if recipe.method == AUTO else find_method(recipe.method)
    options = {
        name: value
        for name, value in recipe.options.items()
        if name != "wait" and _decides(name, row)
    }
    return {**told, "options": options, "seed": recipe.seed}


def upgraded(request: Mapping[str, Any]) -> dict[str, Any]:
    """Say a request of an older run folder as one is said today.

    Returns `request`: with the key "recipe" where a method decides, and "ways" of recipes in a
    comparison.

    Examples
    --------
    >>> upgraded({"verb": "classify", "encoder": "mini", "method": "linear", "shots": 5,
    ...           "templates": "default", "seed": 0})
    {'verb': 'classify', 'recipe': {'method': 'linear', 'encoder': 'mini', 'options': {'shots': 5},
     'seed': 0}}
    """
    found = dict(request)
    if "ways" in found:
        found["ways"] = [_upgraded_way(way) for way in found["ways"]]
    elif "method" in found and "recipe" not in found:
        found = _upgraded_way(found)
    elif "asking" in found:  # of an audit
        asked = found.pop("asking")
        shots = found.get("shots")
        row = automatic("model, examples" if shots else "model")
        flat = {"method": row.name, "encoder": "mini", "seed": found.pop("seed", 0), **asked}
        found |= _upgraded_way({**flat, "shots": shots or None})
    return found


def _upgraded_way(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Part what was said of a recipe from what stood beside it."""
    if "recipe" in flat:
        return dict(flat)
    rest = dict(flat)
    method = rest.pop("method")
    row = None if method == AUTO else find_method(method)
    recipe: dict[str, Any] = {"method": method}
    for name in _BESIDE:
        value = rest.pop(name, None)
        if value is not None and (name, value) != ("precision", "auto"):
            recipe[name] = value
    seed = recipe.pop("seed", 0)
    options = {}
    for name in list(rest):
        now = _RENAMED.get(name, name)
        if now in OPTIONS:
            value = _value(now, rest.pop(name))
            if value != OPTIONS[now] and _decides(now, row):
                options[now] = value
    return {**rest, "recipe": {**recipe, "options": options, "seed": seed}}


def _decides(option: str, row: Method | None) -> bool:
    """Whether a method has a use for an option; what it has none for was written all the same."""
    if row is None or option in row.takes:
        return True
    return option == "shots" and bool(row.without_shots)


def _value(option: str, value: Any) -> Any:
    """Read a value as it was typed."""
    if option in ("rotations", "shortlist", "images_per_request") and isinstance(value, str):
        return int(value) if value.isdecimal() else value
    if option == "confidence" and value == "none":
        return None
    if option == "max_side" and value == 0:
        return None
    if option == "sampling_temperature" and value is None:
        return OPTIONS[option]
    return value


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name what differs between two requests, old value and new.

    Examples
    --------
    >>> changes({"images": ["a"], "recipe": {"seed": 0}}, {"images": ["a"], "recipe": {"seed": 1}})
    'seed was 0 and is 1'
    """
    old, new = _flat(upgraded(before)), _flat(upgraded(now))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return ", ".join(f"{key} was {old.get(key)!r} and is {new.get(key)!r}" for key in keys)


def _flat(request: Mapping[str, Any]) -> dict[str, Any]:
    """Lay what a recipe says beside the rest, since that is how a person sees it."""
    flat = dict(request)
    recipe = dict(flat.pop("recipe", {}))
    usual, options = (OPTIONS, recipe.pop("options", {})) if recipe else ({}, {})
    return {**usual, **flat, **options, **recipe}
