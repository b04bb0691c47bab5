"""How sure an answer in words is: what the model says, its token probabilities, calibration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from showtell._threads import one_blas_thread
from showtell.errors import InputError
from showtell.mllm.base import TokenLogprob

CalibrationKind: TypeAlias = Literal["none", "platt", "isotonic"]
_KINDS = ("none", "platt", "isotonic")

UNKNOWN_CONFIDENCE = 0.5
"""Stands where a model was asked for its confidence and gave none that could be read."""

_PER_BIN = 20
_FOR_PLATT = 10
_EDGE = 0.01  # of signals, before their log-odds are taken
_FLOOR = 1e-6  # of a label's probability
_LABEL_VALUE = re.compile(r'"label"\s*:\s*"')
_QUOTE = re.compile(r'(?:[^"\\]|\\.)*"', re.DOTALL)
_TIE = 1 + 1e-5  # how much the best label stays above the second


def spread(code: int, confidence: float, n_classes: int) -> NDArray[np.float64]:
    """Make a row of probabilities out of one label and how sure it is.

    `code`: index of the label. `confidence`: 0 to 1. Below ``1 / n_classes`` another label would be
    likelier than the answer; then the answer gets just above that. Returns `row`, of shape
    (n_classes,): the rest is shared evenly by the other labels, of which nothing is known.

    Examples
    --------
    >>> spread(1, 0.8, 3)
    array([0.1, 0.8, 0.1])
    """
    row = np.full(n_classes, 1.0)
    return with_confidence(row, code, confidence)


def with_confidence(row: ArrayLike, code: int, confidence: float) -> NDArray[np.float64]:
    """Set the probability of the best label and scale the others to the rest.

    `row`, of shape (n_classes,): weights; only the proportions of the others count. `code`: index
    of the best label. It stays the best, if only just. `confidence`: its probability, 0 to 1.
    Returns `row`, of shape (n_classes,).

    Examples
    --------
    >>> with_confidence([0.2, 0.6, 0.2], 1, 0.9)
    array([0.05, 0.9 , 0.05])
    """
    others = np.array(row, np.float64)
    others[code] = 0
    total = others.sum()
    if total <= 0:
        if len(others) == 1:
            return np.ones(1)
        others[:] = 1.0
        others[code] = 0
        total = others.sum()
    others /= total
    most = float(others.max())
    sure = min(1.0, max(float(confidence), most / (1 + most) * _TIE))
    others *= 1 - sure
    others[code] = sure
    return others


def label_probabilities(
    tokens: Sequence[TokenLogprob], labels: Sequence[str]
) -> NDArray[np.float64] | None:
    r"""Compute the probability of each label from the tokens of an answer about one image.

    At every token of the label the model's alternatives say where else it might have gone. The
    probability of a way is the product of its tokens; a way that is left by an alternative goes
    to the labels that begin like it, in equal parts. Labels that no alternative leads to get a
    floor. Rows are normalised over the labels.

    Parameters
    ----------
    tokens : sequence of TokenLogprob
        Of the whole answer, in order: JSON with a field ``label``, or the label alone.
    labels : sequence of str
        As they were written in the request; they may share beginnings.

    Returns
    -------
    row : ndarray of shape (n_labels,), float64, or None
        None if the answer's label is none of these, letter by letter.

    Examples
    --------
    >>> from math import log
    >>> tokens = [TokenLogprob(token='{"label": "', logprob=0.0),
    ...           TokenLogprob(token="cat", logprob=log(0.7),
    ...                        top=(("cat", log(0.7)), ("dog", log(0.2)))),
    ...           TokenLogprob(token='"}', logprob=0.0)]
    >>> label_probabilities(tokens, ["cat", "dog"]).round(3)
    array([0.778, 0.222])
    """
    text = "".join(token.token for token in tokens)
    match = _LABEL_VALUE.search(text)
    start = match.end() if match else len(text) - len(text.lstrip())
    written = [json.dumps(label, ensure_ascii=False)[1:-1] if match else label for label in labels]
    masses = np.zeros(len(labels))
    so_far, position, log_mass = "", 0, 0.0
    for token in tokens:
        begin, position = position, position + len(token.token)
        if position <= start:
            continue
        before = max(0, start - begin)  # characters of the token that are not the label yet
        top = dict(token.top)
        top[token.token] = token.logprob
        for other, logprob in top.items():
            if other == token.token or other[:before] != token.token[:before]:
                continue
            way = so_far + other[before:]
            if way == so_far:
                continue
            led = _led_to(way, written, in_quotes=match is not None)
            masses[led] += np.exp(log_mass + logprob) / max(1, len(led))
        log_mass += token.logprob
        so_far += token.token[before:]
        if match and _ended(so_far) is not None:
            break
    end = _ended(so_far) if match else None
    said = so_far.rstrip(" \n.") if end is None else so_far[:end]
    if said not in written:
        return None
    masses[written.index(said)] += np.exp(log_mass)
    floored = np.maximum(masses, _FLOOR)
    row: NDArray[np.float64] = floored / floored.sum()
    return row


def _ended(text: str) -> int | None:
    """Where a JSON string ends: at a quote that is not escaped."""
    found = _QUOTE.match(text)
    return None if found is None else found.end() - 1


def _led_to(way: str, written: Sequence[str], *, in_quotes: bool) -> list[int]:
    """Labels that a beginning may still become, or has become."""
    end = _ended(way) if in_quotes else None
    if end is not None:
        return [i for i, label in enumerate(written) if label == way[:end]]
    return [i for i, label in enumerate(written) if label.startswith(way.rstrip("\n"))]


@dataclass(frozen=True, kw_only=True)
class ConfidenceMap:
    """What answers of a given confidence turned out to be worth, on labelled images.

    Made by `fit`. ``"isotonic"``: a rising line through the accuracies of bins of at least 20
    answers each, where there are two such bins. ``"platt"``: a logistic curve over the log-odds of
    the confidence, from 10 answers up. ``"none"``: with fewer, confidences stay as they are.

    References
    ----------
    Zadrozny and Elkan (2002), Transforming classifier scores into accurate multiclass probability
    estimates (isotonic regression). Platt (1999), Probabilistic Outputs for Support Vector
    Machines, section 2.2 (smoothed targets).

    Examples
    --------
    >>> overconfident = ConfidenceMap.fit([1.0] * 40 + [0.9] * 40, [True, False] * 40)
    >>> overconfident.kind, overconfident.apply([1.0, 0.9]).round(2)
    ('isotonic', array([0.5, 0.5]))
    """

    kind: CalibrationKind
    x: tuple[float, ...] = ()
    """Confidences; slope and intercept for ``"platt"``."""
    y: tuple[float, ...] = ()
    """Their accuracies, rising."""
    n: int = 0
    """Answers it was made of."""

    def __post_init__(self) -> None:
        fits = {"none": not self.x, "platt": len(self.x) == 2, "isotonic": len(self.x) >= 2}
        finite = np.isfinite([*self.x, *self.y]).all()
        if self.kind not in _KINDS or not fits[self.kind] or not finite:
            raise InputError(f"Not a calibration: {self.kind!r} with {len(self.x)} numbers.")
        if self.kind == "isotonic" and (
            len(self.x) != len(self.y)
            or np.any(np.diff(self.x) <= 0)
            or np.any(np.diff(self.y) < 0)
        ):
            raise InputError("Confidences and accuracies of a calibration must rise.")

    @classmethod
    def fit(cls, confidence: ArrayLike, correct: ArrayLike) -> ConfidenceMap:
        """Learn from answers whose truth is known.

        Parameters
        ----------
        confidence : array-like of shape (n,)
            0 to 1.
        correct : array-like of shape (n,), bool
        """
        x, hit = np.asarray(confidence, np.float64), np.asarray(correct, bool)
        if x.shape != hit.shape or x.ndim != 1 or not (np.isfinite(x) & (x >= 0) & (x <= 1)).all():
            raise InputError("`confidence` and `correct` are rows of equal length, 0 to 1.")
        n = len(x)
        bins = _bins(x)
        if len(bins) >= 2:
            middle = np.array([x[rows].mean() for rows in bins])
            weight = np.array([len(rows) for rows in bins], np.float64)
            rate = np.array([(hit[rows].sum() + 1) / (len(rows) + 2) for rows in bins])
            from sklearn.isotonic import isotonic_regression  # only needed here

            rising = isotonic_regression(rate, sample_weight=weight)
            return cls(
                kind="isotonic", x=tuple(map(float, middle)), y=tuple(map(float, rising)), n=n
            )
        if n >= _FOR_PLATT:
            slope, intercept = _platt(x, hit)
            return cls(kind="platt", x=(slope, intercept), n=n)
        return cls(kind="none", n=n)

    def apply(self, confidence: ArrayLike) -> NDArray[np.float64]:
        """Turn confidences into the shares of right answers to expect, of the same shape."""
        x = np.asarray(confidence, np.float64)
        if self.kind == "isotonic":
            return np.asarray(np.interp(x, self.x, self.y))
        if self.kind == "platt":
            slope, intercept = self.x
            return np.asarray(expit(slope * logit(np.clip(x, _EDGE, 1 - _EDGE)) + intercept))
        return x

    def to_json(self) -> dict[str, Any]:
        """Values for JSON."""
        return {"kind": self.kind, "x": list(self.x), "y": list(self.y), "n": self.n}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ConfidenceMap:
        """Take back what `to_json` gave."""
        x, y = (tuple(map(float, values[name])) for name in ("x", "y"))
        return cls(kind=values["kind"], x=x, y=y, n=int(values["n"]))


def _bins(x: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Rows by rising confidence in bins of at least 20; equal confidences stay together."""
    bins: list[list[NDArray[np.intp]]] = [[]]
    for value in np.unique(x):
        if sum(map(len, bins[-1])) >= _PER_BIN:
            bins.append([])
        bins[-1].append(np.flatnonzero(x == value))
    if len(bins) > 1 and sum(map(len, bins[-1])) < _PER_BIN:
        rest = bins.pop()
        bins[-1] += rest
    return [np.concatenate(rows) for rows in bins if rows]


def _platt(x: NDArray[np.float64], hit: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope (never negative) and intercept over log-odds, with Platt's smoothed targets."""
    n_hit, n_miss = int(hit.sum()), int((~hit).sum())
    target = np.where(hit, (n_hit + 1) / (n_hit + 2), 1 / (n_miss + 2))
    z = logit(np.clip(x, _EDGE, 1 - _EDGE))
    varies = bool(np.ptp(z) > 1e-9)

    def loss(parameters: NDArray[np.float64]) -> float:
        slope, intercept = parameters
        a = slope * z + intercept if varies else intercept + 0 * z
        return float(np.sum(np.logaddexp(0, a) - target * a))

    from scipy.optimize import minimize  # slow to load, and only needed here

    start = np.array([1.0 if varies else 0.0, 0.0])
    with one_blas_thread():
        found = minimize(loss, start, method="L-BFGS-B", bounds=[(0, 10), (-20, 20)])
    return float(found.x[0]) if varies else 0.0, float(found.x[1])
