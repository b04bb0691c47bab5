"""What verdicts on pairs are worth: win rates, intervals, position bias, ranks. Pure functions.

A verdict is scored for A: 1 if A won, one half for a tie, 0 if B won, NaN where there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.errors import InputError

_Z = 1.959963984540054
_POWER = 7.848879734349086  # (z_.975 + z_.8)^2
_SAME_LENGTH = 0.1
_LENGTH_FIT = 200  # pairs


def pair_scores(verdicts: NDArray[Any]) -> NDArray[np.float64]:
    """Mean of each pair's verdicts over the orders it was asked in, shape (n,).

    Parameters
    ----------
    verdicts : ndarray of shape (n, n_orders)
        Scores of A; NaN for an order that was not asked or not answered.

    Examples
    --------
    >>> pair_scores(np.array([[1, 1], [1, 0], [0.5, 1], [0, np.nan]])).tolist()
    [1.0, 0.5, 0.75, 0.0]
    """
    v = np.asarray(verdicts, np.float64)
    counted = np.isfinite(v)
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = np.where(counted, v, 0).sum(axis=1) / counted.sum(axis=1)
    return means


@dataclass(frozen=True, kw_only=True)
class WinRate:
    """How often A is better, ties counted half."""

    n: int
    """Pairs with a verdict."""
    rate: float
    low: float
    high: float
    """95 % interval over pairs (over images, where several pairs share one)."""
    n_decided: int
    """Pairs that are no tie."""
    p_value: float
    """Exact sign test on decided pairs; 1.0 without any."""

    @property
    def winner(self) -> str | None:
        """Who is better, "A" or "B"; None where that cannot be told."""
        if self.n_decided == 0 or self.p_value > 0.05 or self.low <= 0.5 <= self.high:
            return None
        return "A" if self.rate > 0.5 else "B"


def win_rate(scores: NDArray[Any], groups: NDArray[Any] | None = None) -> WinRate:
    """Estimate how often A is better, with an interval over pairs.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Of A per pair, NaN where there is no verdict; see `pair_scores`.
    groups : ndarray of shape (n,), optional
        Equal for pairs about the same image, which are counted as one draw.

    Examples
    --------
    >>> found = win_rate(np.array([1, 1, 1, .5, .5, 0, 1, .5, 0, 1]))
    >>> round(found.rate, 2), round(found.low, 4), round(found.high, 4), round(found.p_value, 4)
    (0.65, 0.3949, 0.9051, 0.4531)
    """
    from scipy.stats import binomtest

    s = np.asarray(scores, np.float64)
    known = np.isfinite(s)
    own = s[known]
    n = len(own)
    if n == 0:
        return WinRate(n=0, rate=math.nan, low=0.0, high=1.0, n_decided=0, p_value=1.0)
    rate = float(own.mean())
    if groups is None:
        error = float(own.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    else:
        _, place = np.unique(np.asarray(groups)[known], return_inverse=True)
        sums = np.bincount(place, weights=own - rate)
        m = len(sums)
        error = math.sqrt(float((sums**2).sum()) * m / max(m - 1, 1)) / n if m > 1 else math.inf
    wins, losses = int((own > 0.5).sum()), int((own < 0.5).sum())
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    half = _Z * error
    return WinRate(
        n=n,
        rate=rate,
        low=max(0.0, rate - half),
        high=min(1.0, rate + half),
        n_decided=wins + losses,
        p_value=p,
    )


@dataclass(frozen=True, kw_only=True)
class PositionBias:
    """Whether the place of an answer decides."""

    n: int
    """Pairs that were judged in both orders."""
    consistency: float
    """Share with the same verdict in both orders."""
    first_both: int
    second_both: int
    """Pairs won by whoever stood first (or second), both times."""
    bias: float
    """``(first_both - second_both) / n``."""
    p_value: float
    """Exact sign test; 1.0 without any such pair."""


def position_bias(verdicts: NDArray[Any]) -> PositionBias:
    """Compare the verdicts on each pair in both orders.

    Parameters
    ----------
    verdicts : ndarray of shape (n, 2)
        Scores of A, shown first in column 0 and second in column 1.

    Examples
    --------
    >>> always_first = np.array([[1.0, 0.0]] * 8)
    >>> found = position_bias(always_first)
    >>> found.bias, found.consistency, round(found.p_value, 4)
    (1.0, 0.0, 0.0078)
    """
    from scipy.stats import binomtest

    v = np.asarray(verdicts, np.float64)
    both = v[np.isfinite(v).all(axis=1)]
    n = len(both)
    first = int(((both[:, 0] == 1) & (both[:, 1] == 0)).sum())
    second = int(((both[:, 0] == 0) & (both[:, 1] == 1)).sum())
    same = float((both[:, 0] == both[:, 1]).mean()) if n else math.nan
    return PositionBias(
        n=n,
        consistency=same,
        first_both=first,
        second_both=second,
        bias=(first - second) / n if n else math.nan,
        p_value=float(binomtest(first, first + second).pvalue) if first + second else 1.0,
    )


def pairs_needed(difference: float, *, ties: float = 0.0, attenuation: float = 1.0) -> int:
    """Pairs that find a net difference in four of five experiments, at 5 %.

    Parameters
    ----------
    difference : float
        P(A better) - P(B better), above 0: twice what the win rate lies above one half.
    ties : float, default=0.0
        Share of ties.
    attenuation : float, default=1.0
        By how much the judge's errors shrink the difference.

    References
    ----------
    Connor (1987), Sample Size for Testing Differences in Proportions for the Paired-Sample
    Design, Biometrics 43, equation 2.

    Examples
    --------
    >>> pairs_needed(0.05), pairs_needed(0.1, ties=0.5)
    (3132, 385)
    """
    d = difference * attenuation
    if not 0 < d <= 1 or not 0 <= ties < 1:
        raise InputError(
            f"`difference` is above 0 and at most 1, `ties` from 0 to below 1; got {difference!r} "
            f"and {ties!r}."
        )
    return math.ceil(_POWER * ((1 - ties) - d * d) / (d * d))


@dataclass(frozen=True, kw_only=True)
class ByLength:
    """Win rates of A where its answer is longer, shorter, or about as long."""

    longer: WinRate
    shorter: WinRate
    alike: WinRate
    """Lengths within 10 % of each other."""
    at_equal_length: float | None
    """What a logistic curve over the difference of lengths gives at 0; None below 200 pairs."""


def by_length(scores: NDArray[Any], length_a: NDArray[Any], length_b: NDArray[Any]) -> ByLength:
    """Look at the win rate by the difference of the answers' lengths.

    Parameters
    ----------
    scores : ndarray of shape (n,)
    length_a, length_b : ndarray of shape (n,)
        Characters.

    References
    ----------
    Dubois et al. (2024), Length-Controlled AlpacaEval, arXiv:2404.04475, for the idea.
    """
    s = np.asarray(scores, np.float64)
    a, b = np.asarray(length_a, np.float64), np.asarray(length_b, np.float64)
    alike = np.abs(a - b) <= _SAME_LENGTH * np.maximum(np.maximum(a, b), 1)
    known = np.isfinite(s)
    equal: float | None = None
    spread = float((a - b)[known].std()) if known.any() else 0.0
    if known.sum() >= _LENGTH_FIT and spread > 0:
        equal = _at_zero(np.tanh((a - b)[known] / spread), s[known])
    return ByLength(
        longer=win_rate(np.where(~alike & (a > b), s, np.nan)),
        shorter=win_rate(np.where(~alike & (a < b), s, np.nan)),
        alike=win_rate(np.where(alike, s, np.nan)),
        at_equal_length=equal,
    )


def _at_zero(x: NDArray[np.float64], s: NDArray[np.float64]) -> float:
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(ab: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = ab[0] + ab[1] * x
        off = expit(z) - s
        value = float((np.logaddexp(0, z) - s * z).sum() + 0.5e-6 * (ab @ ab))
        return value, np.array([off.sum(), (off * x).sum()]) + 1e-6 * ab

    found = minimize(loss, np.zeros(2), jac=True, method="BFGS")
    return float(expit(found.x[0]))


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """A judge's win rate, corrected by a person's sample."""

    rate: float
    error: float
    """Standard error."""
    low: float
    high: float
    n_human: int
    factor: float
    """How much the judge's scores count (lambda)."""

    def among(self, share: float) -> Corrected:
        """Return the same for all pairs, of which `share` were judged and the others are ties.

        Examples
        --------
        >>> judged = Corrected(rate=0.7, error=0.1, low=0.5, high=0.9, n_human=9, factor=1.0)
        >>> round(judged.among(0.5).rate, 3), judged.among(0.5).error
        (0.6, 0.05)
        """
        rate, error = 0.5 + share * (self.rate - 0.5), share * self.error
        low, high = max(0.0, rate - _Z * error), min(1.0, rate + _Z * error)
        return replace(self, rate=rate, error=error, low=low, high=high)


def correct_by_person(
    human: NDArray[Any], judge: NDArray[Any], rest: NDArray[Any], *, factor: float | None = None
) -> Corrected:
    r"""Prediction-powered win rate.

    Parameters
    ----------
    human : ndarray of shape (m,)
        A person's scores on pairs drawn at random.
    judge : ndarray of shape (m,)
        The judge's scores on the same pairs.
    rest : ndarray of shape (n - m,)
        The judge's scores on all others.
    factor : float, optional
        Lambda; None for the one with the least variance.

    Notes
    -----
    ``lambda mean(rest) + mean(human - lambda judge)``, with
    ``lambda = cov(human, judge) / (var(judge) (1 + m / (n - m)))``.

    References
    ----------
    Angelopoulos et al. (2023), PPI++, arXiv:2311.01453.

    Examples
    --------
    >>> found = correct_by_person(np.array([1, 0, .5, 1]), np.array([1, .5, .5, 1]),
    ...                           np.array([1, 1, .5, 0, 1, .5, 1, 1]), factor=1.0)
    >>> found.rate, round(found.error, 4)
    (0.625, 0.183)
    """
    h, f, u = (np.asarray(x, np.float64) for x in (human, judge, rest))
    m = len(h)
    if m < 2 or len(f) != m:
        raise InputError(f"A person's sample needs two pairs or more, got {m} and {len(f)}.")
    if not len(u):
        lam, rate, variance = 0.0, float(h.mean()), float(h.var(ddof=1)) / m
    else:
        spread = float(f.var(ddof=1))
        if factor is not None:
            lam = factor
        elif spread > 0:
            lam = float(np.cov(h, f, ddof=1)[0, 1]) / (spread * (1 + m / len(u)))
        else:
            lam = 0.0
        rate = float(lam * u.mean() + (h - lam * f).mean())
        of_rest = float(u.var(ddof=1)) / len(u) if len(u) > 1 else 0.0
        variance = lam**2 * of_rest + float((h - lam * f).var(ddof=1)) / m
    error = math.sqrt(variance)
    return Corrected(
        rate=rate,
        error=error,
        low=max(0.0, rate - _Z * error),
        high=min(1.0, rate + _Z * error),
        n_human=m,
        factor=lam,
    )


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """Bradley-Terry strengths of several contestants."""

    log: NDArray[np.float64]
    """Logarithms, mean 0, shape (k,)."""
    padded: bool
    """Whether half a virtual tie against every other was added, because somebody never won."""


def bradley_terry(wins: NDArray[Any], *, max_steps: int = 10_000) -> Strengths:
    r"""Strengths from a table of wins, ties counted half to each.

    Parameters
    ----------
    wins : ndarray of shape (k, k)
        ``wins[i, j]``: how often i beat j.
    max_steps : int, default=10000

    Notes
    -----
    Minorise-maximise: ``pi_i = sum_j w_ij / sum_j (n_ij / (pi_i + pi_j))``, normalised to a
    geometric mean of 1.

    References
    ----------
    Hunter (2004), MM Algorithms for Generalized Bradley-Terry Models, Annals of Statistics 32,
    equation 3.

    Examples
    --------
    >>> bradley_terry(np.array([[0, 6, 8], [4, 0, 7], [2, 3, 0]])).log.round(4).tolist()
    [0.5915, 0.1491, -0.7406]
    """
    w = np.array(wins, np.float64)
    np.fill_diagonal(w, 0)
    k = len(w)
    padded = bool((w.sum(axis=1) == 0).any() or (w.sum(axis=0) == 0).any() or not _connected(w))
    if padded:
        w += 0.5 * (1 - np.eye(k))
    n = w + w.T
    pi = np.ones(k)
    for _ in range(max_steps):
        fresh = w.sum(axis=1) / (n / (pi[:, None] + pi[None, :])).sum(axis=1)
        fresh /= np.exp(np.log(fresh).mean())
        done = float(np.abs(np.log(fresh / pi)).max()) < 1e-12
        pi = fresh
        if done:
            break
    return Strengths(log=np.log(pi), padded=padded)


def _connected(wins: NDArray[np.float64]) -> bool:
    """Whether everyone is reached from everyone along wins."""
    reach = (wins > 0) | np.eye(len(wins), dtype=bool)
    for _ in range(len(wins)):
        reach = reach | ((reach.astype(int) @ reach.astype(int)) > 0)
    return bool(reach.all())
