"""Saved cascades: all tiers in one folder, each with its own arrays, and the promise they keep."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell.classify.chain.promise import Promise
from showtell.classify.saved import Saving, classes_of, from_record, params_of, to_record
from showtell.errors import InputError
from showtell.mllm.model import Model
from showtell.records.saved import SavedFolder

if TYPE_CHECKING:
    from showtell.classify.chain.cascade import CascadeClassifier

_OF_A_MACHINE = frozenset(("store", "cache", "encoder", "model", "teacher"))


def fingerprint(classifier: Any) -> str:
    """Hash of everything that a classifier's answers depend on, its limits and caches aside."""
    try:
        saving = classifier._to_saved()
    except InputError:
        saving = None
    if saving is None:
        known = {"class": type(classifier).__name__, "repr": repr(classifier)}
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
    reached = _OF_A_MACHINE | set(Model("any:model").get_params())
    told = {name: value for name, value in saving.params.items() if name not in reached}
    digest = hashlib.sha256(type(classifier).__name__.encode())
    about = {"about": saving.about, "values": saving.values, "params": told}
    digest.update(json.dumps(about, sort_keys=True, default=str).encode())
    for name in sorted(saving.arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(saving.arrays[name]).tobytes())
    return digest.hexdigest()[:16]


def cascade_to_saved(clf: CascadeClassifier) -> Saving:
    """Put the tiers beside each other: their records, and their arrays under numbered names."""
    arrays: dict[str, NDArray[Any]] = {}
    records = []
    for i, tier in enumerate(clf.tiers):
        record, own = to_record(tier)
        records.append(record)
        arrays |= {f"{_prefix(i)}{name}": array for name, array in own.items()}
    values = {
        "tiers": records,
        "promise": clf.promise_.to_record(),
        "thresholds": [_as_text(value) for value in clf.thresholds_],
        "routed": list(clf.routed_),
        "shares": list(clf.shares_),
        "tier_costs": [None if cost is None else str(cost) for cost in clf.tier_costs_],
        "cost_usd": None if clf.cost_ is None else str(clf.cost_),
    }
    params = clf.get_params(deep=False) | {"tiers": []}
    return Saving(params, {}, values, arrays)


def cascade_from_saved(
    cls: type[CascadeClassifier], saved: SavedFolder, encoder: Any, model: Any
) -> CascadeClassifier:
    """Build the tiers again, and the cascade over them; the promise has to be theirs."""
    from decimal import Decimal

    clf = cls()
    clf.set_params(**params_of(saved, cls, None))
    values = saved.values
    records = values["tiers"]
    asking = [i for i, record in enumerate(records) if "model" in record]
    tiers = []
    for i, record in enumerate(records):
        part = saved.part(record, _prefix(i))
        given = model if asking and i == asking[-1] else None
        tiers.append(
            from_record(part, encoder=encoder if "encoder" in record else None, model=given)
        )
    clf.tiers = tiers
    clf.classes_ = classes_of(saved)
    clf.promise_ = Promise.from_record(values["promise"])
    clf.thresholds_ = tuple(map(float, values["thresholds"]))
    if any(math.isnan(value) for value in clf.thresholds_):
        raise saved.error("a threshold is no number.")
    n_thresholds = len(tiers) - (clf.last == "answer")
    if len(clf.thresholds_) != n_thresholds or not tiers:
        raise saved.error(f"{len(clf.thresholds_)} thresholds do not go with {len(tiers)} tiers.")
    n_routed, n = map(int, values["routed"])
    clf.routed_ = (n_routed, n)
    clf.shares_ = tuple(map(float, values["shares"]))
    clf.tier_costs_ = tuple(None if c is None else Decimal(c) for c in values["tier_costs"])
    clf.cost_ = None if values["cost_usd"] is None else Decimal(values["cost_usd"])
    return clf


def _prefix(i: int) -> str:
    return f"tier{i}_"


def _as_text(value: float) -> float | str:
    """Infinity is no number of JSON."""
    return value if math.isfinite(value) else str(value)
