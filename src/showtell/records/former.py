"""What parameters were called before they got the names of today: for folders that are read.

Nothing here is ever written, and nobody can use an old name in a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RENAMED = {
    "batch": "transductive",
    "batch_api": "jobs",
    "batch_size": "images_per_request",
    "concept": "domain",
    "correct": "debias",
    "permutations": "rotations",
}
"""Old name to new, wherever either may stand."""

_OF_CLASS = {
    "ConceptClassifier": {"model": "head"},
    "DirectClassifier": {"batch_api": "jobs", "batch_wait": "wait"},
    "InContextClassifier": {"batch_api": "jobs", "batch_wait": "wait"},
}
"""Those of one class, whose old name means something else in others."""


_VALUES = {"corrections": {"permutations": "rotations"}}
"""Names among the values of an option."""


def current_params(kind: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Give parameters of a saved classifier the names they have today.

    `kind`: name of its class.

    Examples
    --------
    >>> current_params("ConceptClassifier", {"model": "vote", "shots": 5})
    {'head': 'vote', 'shots': 5}
    >>> current_params("DirectClassifier", {"calibrate": 40})
    {'calibrate': True, 'n_calibration': 40}
    >>> current_params("ZeroShotClassifier", {"batch": "balance"})
    {'transductive': 'balance'}
    """
    names = {**_RENAMED, **_OF_CLASS.get(kind, {})}
    found = {names.get(name, name): value for name, value in params.items()}
    n = found.get("calibrate")
    if isinstance(n, int) and not isinstance(n, bool):  # once it also said on how many images
        found |= {"calibrate": n > 0, "n_calibration": n or None}
    return found


def current_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options of a run that is kept the names they have today.

    `request`: as in ``run.json``.

    Examples
    --------
    >>> current_request({"verb": "classify", "batch": None})
    {'verb': 'classify', 'transductive': None}
    """
    return {
        _RENAMED.get(name, name): _current(value, _VALUES.get(name, {}))
        for name, value in request.items()
    }


def _current(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_current(one, words) for one in value]
    if isinstance(value, str):
        return words.get(value, value)
    return current_request(value) if isinstance(value, Mapping) else value
