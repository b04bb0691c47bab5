"""Promises of a cascade: thresholds that keep a target with a stated probability.

Pure functions of counts and confidences. Candidates are walked in an order that was fixed before
any label was seen, from dear to cheap, each tested by an exact binomial tail; the walk ends at the
first that fails. So no correction for the number of candidates is needed.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.errors import InputError, UnknownNameError

__all__ = [
    "PROMISE_KINDS",
    "SHARES",
    "Promise",
    "PromiseKind",
    "Walk",
    "loss_bound",
    "most_errors",
    "smallest_sample",
    "starts_for",
    "thresholds_of",
    "walk_accuracy",
    "walk_loss",
]

PromiseKind: TypeAlias = Literal["accuracy", "review", "agreement", "loss"]
PROMISE_KINDS = ("accuracy", "review", "agreement", "loss")

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.0)
"""Shares of the traffic that go on to the next tier, from dear to cheap."""

_TWO_STARTS_FROM = 150  # calibration images
_SECOND_START = 0.3  # share


def most_errors(n: int, level: float, *, delta: float = 0.05) -> int:
    """Return the largest number of errors that still passes the exact binomial test.

    Parameters
    ----------
    n : int
        Calibration images.
    level : float
        Largest error rate that is allowed, 0 to 1.
    delta : float, default=0.05
        Probability with which a broken promise may be given.

    Returns
    -------
    k : int
        Largest k with ``P(Bin(n, level) <= k) <= delta``; -1 if even 0 errors do not pass.

    References
    ----------
    Angelopoulos et al. (2021), Learn then Test, arXiv:2110.01052, section 2.

    Examples
    --------
    >>> [most_errors(200, a) for a in (0.2, 0.1, 0.05, 0.02, 0.01)]
    [30, 12, 4, 0, -1]
    """
    from scipy.stats import binom

    k = int(binom.ppf(delta, n, level))  # the smallest k whose tail reaches delta
    while k >= 0 and binom.cdf(k, n, level) > delta:
        k -= 1
    return k


def smallest_sample(level: float, *, delta: float = 0.05, kind: PromiseKind = "accuracy") -> int:
    """Return how many calibration images it takes, if none of them is an error.

    Parameters
    ----------
    level : float
        Largest error rate that is allowed.
    delta : float, default=0.05
    kind : {"accuracy", "review", "agreement", "loss"}, default="accuracy"
        The two bounds of "loss" share `delta`, so it takes more.

    Examples
    --------
    >>> [smallest_sample(a) for a in (0.1, 0.05, 0.02, 0.01)]
    [29, 59, 149, 299]
    >>> smallest_sample(0.05, kind="loss")
    72
    """
    if not 0 < level < 1:
        raise InputError(f"The error rate to promise is above 0 and below 1; got {level:g}.")
    own = delta / 2 if kind == "loss" else delta
    return math.ceil(math.log(own) / math.log1p(-level))


def starts_for(
    n: int, level: float, *, delta: float = 0.05, kind: PromiseKind = "accuracy"
) -> tuple[float, ...]:
    """Return the shares at which walks begin: one walk, or two where `n` can carry them.

    Parameters
    ----------
    n : int
        Calibration images.
    level, delta, kind
        As in `smallest_sample`: with half of `delta` each, two walks take more images than one.

    Examples
    --------
    >>> starts_for(160, 0.05), starts_for(160, 0.02)
    ((1.0, 0.3), (1.0,))
    """
    least = max(_TWO_STARTS_FROM, smallest_sample(level, delta=delta / 2, kind=kind))
    return (1.0,) if n < least else (1.0, _SECOND_START)


def thresholds_of(
    confidence: NDArray[np.floating[Any]], shares: Sequence[float] = SHARES
) -> NDArray[np.float64]:
    """Return the confidence below which each share of other traffic lies, shape (n_shares,).

    Parameters
    ----------
    confidence : ndarray of shape (n,)
        Of images that are not used to test the promise, and need no label.
    shares : sequence of float

    Returns
    -------
    thresholds : ndarray of shape (n_shares,), float64
        What is below goes on. Share 1 is infinity and share 0 minus infinity, so that the ends
        hold on any traffic.

    Examples
    --------
    >>> thresholds_of(np.array([0.9, 0.5, 0.7, 0.8]), (1.0, 0.5, 0.0)).tolist()
    [inf, 0.8, -inf]
    """
    values = np.sort(np.asarray(confidence, np.float64))
    if not len(values):
        raise InputError("Thresholds need the confidences of at least one image; got none.")
    found = []
    for share in shares:
        place = math.ceil(share * len(values) - 1e-9)
        if share >= 1:
            found.append(math.inf)
        elif share <= 0 or place == 0:
            found.append(-math.inf)
        else:
            found.append(float(values[min(place, len(values) - 1)]))
    return np.array(found, np.float64)


@dataclass(frozen=True)
class Walk:
    """Which candidate a walk ended at."""

    chosen: int | None
    """Index of the cheapest candidate that passed; None if the first one failed."""
    p_values: tuple[float, ...]
    """Of every candidate, NaN for those that were not reached."""


def walk_accuracy(
    errors: Sequence[int],
    n: int,
    level: float,
    *,
    delta: float = 0.05,
    shares: Sequence[float] = SHARES,
    starts: Sequence[float] = (1.0,),
) -> Walk:
    """Test candidates from dear to cheap until one fails.

    Parameters
    ----------
    errors : sequence of int, length n_candidates
        Losses of each candidate on the calibration images.
    n : int
        Calibration images.
    level : float
        Largest error rate that is allowed.
    delta : float, default=0.05
    shares : sequence of float, length n_candidates
        Share that goes on under each candidate, falling.
    starts : sequence of float
        Shares at which independent walks begin; each gets an equal part of `delta`.

    Returns
    -------
    walk : Walk
        The cheapest candidate that any walk accepted.

    Examples
    --------
    >>> walk_accuracy([1, 2, 3, 4, 7, 12], 100, 0.1, shares=(1, 0.5, 0.3, 0.2, 0.1, 0)).chosen
    3
    """
    from scipy.special import bdtr

    p_values = bdtr(np.asarray(errors, np.float64), n, level).tolist()  # P(Bin(n, level) <= e)
    return _walk(p_values, delta, shares=shares, starts=starts)


def loss_bound(worse: int, better: int, n: int, *, delta: float = 0.05) -> float:
    """Upper bound on how much accuracy a candidate loses against the teacher.

    Parameters
    ----------
    worse, better : int
        Kept images on which only the teacher is right, and on which only the student is.
    n : int
        Calibration images.
    delta : float, default=0.05
        Shared by the two one-sided Clopper-Pearson bounds.

    Examples
    --------
    >>> round(loss_bound(4, 1, 400), 5)
    0.02534
    """
    return float(_loss_bounds(np.array([worse]), np.array([better]), n, delta)[0])


def _loss_bounds(
    worse: NDArray[Any], better: NDArray[Any], n: int, delta: float
) -> NDArray[np.float64]:
    from scipy.special import betaincinv

    upper = np.where(worse < n, betaincinv(worse + 1, np.maximum(n - worse, 1), 1 - delta / 2), 1)
    lower = np.where(better > 0, betaincinv(np.maximum(better, 1), n - better + 1, delta / 2), 0)
    bounds: NDArray[np.float64] = upper - lower
    return bounds


def walk_loss(
    worse: Sequence[int],
    better: Sequence[int],
    n: int,
    level: float,
    *,
    delta: float = 0.05,
    shares: Sequence[float] = SHARES,
    starts: Sequence[float] = (1.0,),
) -> Walk:
    """Test candidates by the accuracy they lose against the teacher; see `loss_bound`."""
    part = delta / len(starts)
    if len(worse) != len(better):
        raise InputError(f"{len(worse)} counts of worse need as many of better; got {len(better)}.")
    bounds = _loss_bounds(np.asarray(worse, np.int64), np.asarray(better, np.int64), n, part)
    # as p-values: 0 where the bound holds at this level, 1 where it does not
    p_values = np.where(bounds <= level, 0.0, 1.0).tolist()
    return _walk(p_values, delta, shares=shares, starts=starts)


def _walk(
    p_values: Sequence[float],
    delta: float,
    *,
    shares: Sequence[float],
    starts: Sequence[float],
) -> Walk:
    if len(p_values) != len(shares):
        raise InputError(f"{len(p_values)} candidates need as many shares; got {len(shares)}.")
    reached = [math.nan] * len(p_values)
    chosen: int | None = None
    for start in starts:
        place = next((i for i, s in enumerate(shares) if s <= start + 1e-12), len(shares))
        for i in range(place, len(p_values)):
            reached[i] = p_values[i]
            if p_values[i] > delta / len(starts):
                break
            chosen = i if chosen is None else max(chosen, i)
    return Walk(chosen, tuple(reached))


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a cascade promises, on what it rests, and when it dies.

    With probability `confidence` over the draw of the calibration images, the cascade keeps
    `target` on all traffic they were drawn from.
    """

    kind: PromiseKind
    target: float
    """Least accuracy (kinds accuracy and review), or largest loss (agreement and loss)."""
    confidence: float
    """1 - delta."""
    n: int
    """Calibration images."""
    errors: int | None
    """Losses among them under the chosen threshold; None without a promise."""
    p_value: float | None
    threshold: float | None
    """Confidence of the student below which an image goes on."""
    routed: float | None
    """Share of the calibration images that goes on."""
    routed_low: float | None = None
    routed_high: float | None = None
    """Its 95 % Wilson interval."""
    thresholds: tuple[float, ...] = ()
    """Those of all tiers that may send on, where there are more than one."""
    n_tries: int = 1
    """Targets tried on these images; each further one weakens the promise."""
    made: str = field(default_factory=lambda: dt.datetime.now(dt.UTC).date().isoformat())
    parts: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of student, teacher and prompt; a change of any of them ends the promise."""

    @property
    def ok(self) -> bool:
        """Whether there is a promise at all."""
        return self.threshold is not None

    @property
    def level(self) -> float:
        """Largest rate of losses that is allowed."""
        return 1 - self.target if self.kind in ("accuracy", "review") else self.target

    def sentence(self) -> str:
        """Say in words what is promised, or what it would take.

        Examples
        --------
        >>> Promise(kind="accuracy", target=0.95, confidence=0.95, n=400, errors=9, p_value=0.008,
        ...         threshold=0.81, routed=0.17).sentence()
        'At least 95 % right, with a confidence of 95 %: 9 errors among 400 calibration images; \
17 % of the images go to the teacher.'
        """
        what = {
            "accuracy": f"At least {self.target:.3g} right".replace(
                f"{self.target:.3g}", f"{100 * self.target:.3g} %"
            ),
            "review": f"At least {100 * self.target:.3g} % right, a person's answers included",
            "agreement": f"At most {100 * self.target:.3g} % below the teacher",
            "loss": f"At most {100 * self.target:.3g} % below the teacher",
        }[self.kind]
        if not self.ok:
            need = smallest_sample(self.level, delta=1 - self.confidence, kind=self.kind)
            more = (
                f"it takes at least {need} calibration images without an error"
                if self.n < need
                else "a better last tier, more calibration images or a lower target would help"
            )
            return f"No promise: {what[0].lower()}{what[1:]} cannot be shown with {self.n}; {more}."
        counted = "disagreements" if self.kind == "agreement" else "errors"
        to = "a person" if self.kind == "review" else "the teacher"
        return (
            f"{what}, with a confidence of {100 * self.confidence:.3g} %: {self.errors} {counted} "
            f"among {self.n} calibration images; {100 * (self.routed or 0):.3g} % of the images go "
            f"to {to}."
        )

    def to_record(self) -> dict[str, Any]:
        """Return plain JSON values; infinite thresholds become text."""
        record = asdict(self)
        if self.threshold is not None and math.isinf(self.threshold):
            record["threshold"] = "inf" if self.threshold > 0 else "-inf"
        record["thresholds"] = [t if math.isfinite(t) else str(t) for t in self.thresholds]
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_record` gave."""
        values = dict(record)
        if values.get("kind") not in PROMISE_KINDS:
            raise UnknownNameError("kind of promise", str(values.get("kind")), PROMISE_KINDS)
        if values.get("threshold") is not None:
            values["threshold"] = float(values["threshold"])
        values["thresholds"] = tuple(map(float, values.get("thresholds", ())))
        return cls(**values)
