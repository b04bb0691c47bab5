"""How many samples are needed, and which difference a number of samples can show."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr, ndtri

from showtell.checks import at_least, between
from showtell.errors import InputError
from showtell.metrics import _check

PlanMethod: TypeAlias = Literal["exact", "normal"]

_MOST_SAMPLES = 100_000_000


def sample_size(half_width: float, *, expected: float = 0.5, confidence: float = 0.95) -> int:
    """Fewest samples for which the Wilson interval of an accuracy is this narrow.

    Solves ``z √(n p(1-p) + z²/4) / (n + z²) <= half_width``. Without an idea of the accuracy keep
    ``expected=0.5``, the worst case.

    Parameters
    ----------
    half_width : float
        Half the length of the interval, between 0 and 0.5: 0.03 for plus or minus 3 points.
    expected : float, default=0.5
        Accuracy to plan for.
    confidence : float, default=0.95
        Of the interval.

    Returns
    -------
    n_samples : int
        At least 1.

    Raises
    ------
    InputError
        If a number is out of range.

    References
    ----------
    Wilson (1927), JASA 22; `wilson_interval`.

    Examples
    --------
    >>> sample_size(0.05), sample_size(0.05, expected=0.9), sample_size(0.01)
    (381, 141, 9600)
    """
    if not 0.0 < half_width < 0.5:
        raise InputError(f"`half_width` must lie between 0 and 0.5, got {half_width!r}.")
    between(0, 1, expected=expected)
    p = float(expected)
    z = float(ndtri(0.5 + _check.level(confidence, "confidence") / 2))

    def half(n: int) -> float:
        return z * math.sqrt(n * p * (1 - p) + z * z / 4) / (n + z * z)

    return _first(lambda n: half(n) <= half_width)


def _first(enough: Callable[[int], bool]) -> int:
    """Smallest n >= 1 for which a condition that stays true once true is true."""
    high = 1
    while not enough(high):
        high *= 2
        if high > _MOST_SAMPLES:
            raise InputError(
                f"More than {_MOST_SAMPLES:,} samples would be needed. Ask for less precision."
            )
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _discordant_shares(difference: float, discordance: float) -> tuple[float, float]:
    """Check and return the shares of samples only a, only b has right."""
    between(0, 1, discordance=discordance)
    psi = float(discordance)
    delta = abs(difference)
    if not 0 < delta <= psi:
        raise InputError(
            f"`difference` must not be 0 and at most as large as `discordance` ({discordance!r}), "
            f"the share of samples on which exactly one of the two is right; got {difference!r}."
        )
    return (psi - delta) / 2, (psi + delta) / 2


def paired_power(
    n: int, difference: float, discordance: float, *, significance: float = 0.05
) -> float:
    """Chance that the exact McNemar test on n samples finds a given difference.

    Exact: over the number m of discordant pairs, ``Binomial(n, discordance)``, sums the
    probability that the two-sided exact test on m pairs rejects, where each pair favours the
    better one with probability ``(1 + difference / discordance) / 2``. Values of m beyond 8
    standard deviations (less than 1e-14 of the mass) are left out.

    Parameters
    ----------
    n : int
        Samples.
    difference : float
        True difference of the accuracies; the sign does not matter.
    discordance : float
        Share of samples on which exactly one of the two is right; at least ``|difference|``.
        Two similar classifiers have .1 to .2.
    significance : float, default=0.05

    Returns
    -------
    power : float

    Raises
    ------
    InputError
        If a number is out of range.

    References
    ----------
    Duffy (1984), Asymptotic and exact power for the McNemar test, Biometrics 40.

    Examples
    --------
    >>> round(paired_power(500, 0.05, 0.15), 3)
    0.802
    """
    at_least(1, n=n)
    level = _check.level(significance, "significance")
    _, better = _discordant_shares(difference, discordance)
    spread = 8 * math.sqrt(n * discordance * (1 - discordance)) + 8
    low, high = max(0, int(n * discordance - spread)), min(n, int(n * discordance + spread) + 1)
    m = np.arange(low, high + 1)
    below = float(bdtr(low - 1, n, discordance)) if low > 0 else 0.0
    weight = np.diff(bdtr(m, n, discordance), prepend=below)  # P(m discordant pairs)
    critical = _critical(m, level)
    reachable = critical >= 0
    share, k, pairs = better / discordance, critical[reachable], m[reachable]
    # Rejected when the smaller of the two counts is at most k: either tail.
    tails = bdtr(k, pairs, share) + bdtr(k, pairs, 1 - share)
    return float(min(1.0, weight[reachable] @ np.minimum(tails, 1.0)))


def _critical(m: NDArray[np.int64], level: float) -> NDArray[np.int64]:
    """Largest count k with ``2 P(Binomial(m, 1/2) <= k) <= level``; -1 if there is none."""
    guess = np.floor(m / 2 + ndtri(level / 2) * np.sqrt(m) / 2).astype(np.int64)
    k = np.clip(guess, -1, m)
    for _ in range(64):  # the normal guess is off by a few at most
        too_high = (k >= 0) & (2 * bdtr(np.maximum(k, 0), m, 0.5) > level)
        can_rise = (k + 1 <= m) & (2 * bdtr(np.minimum(k + 1, m), m, 0.5) <= level)
        if not (too_high | can_rise).any():
            break
        k = np.where(too_high, k - 1, np.where(can_rise, k + 1, k))
    return k


def sample_size_paired(
    difference: float,
    discordance: float,
    *,
    power: float = 0.8,
    significance: float = 0.05,
    method: PlanMethod = "exact",
) -> int:
    """Plan how many samples show that two classifiers, asked about the same ones, differ.

    "normal" is ``n = (z_{1-s/2} √ψ + z_power √(ψ - δ²))² / δ²`` with difference δ and
    discordance ψ. "exact" returns an n whose `paired_power` is at least `power` while that of n - 1
    is not, found by bisection; exact power rises with n as a saw-tooth does, so there may be other
    such n close by.

    Parameters
    ----------
    difference, discordance, significance
        As in `paired_power`; the difference is the one worth finding.
    power : float, default=0.8
        Chance to find it.
    method : {"exact", "normal"}, default="exact"

    Returns
    -------
    n_samples : int

    Raises
    ------
    InputError
        If a number is out of range.

    References
    ----------
    Connor (1987), Sample size for testing differences in proportions for the paired-sample
    design, Biometrics 43.

    Examples
    --------
    >>> sample_size_paired(0.05, 0.15, method="normal"), sample_size_paired(0.05, 0.15)
    (469, 498)
    """
    _discordant_shares(difference, discordance)
    delta = abs(difference)
    z_level = float(ndtri(1 - _check.level(significance, "significance") / 2))
    z_power = float(ndtri(_check.level(power, "power")))
    root = z_level * math.sqrt(discordance)
    root += z_power * math.sqrt(max(discordance - delta * delta, 0.0))
    start = max(1, math.ceil(root * root / (delta * delta)))
    if start > _MOST_SAMPLES:
        raise InputError(
            f"More than {_MOST_SAMPLES:,} samples would be needed. Look for a larger difference."
        )
    if method == "normal":
        return start
    if method != "exact":
        raise InputError(f"`method` must be 'exact' or 'normal', got {method!r}.")

    def enough(n: int) -> bool:
        return paired_power(n, delta, discordance, significance=significance) >= power

    low, high = 0, start
    while not enough(high):
        low, high = high, high + max(1, high // 8)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def detectable_difference_paired(
    n: int, discordance: float, *, power: float = 0.8, significance: float = 0.05
) -> float:
    """Smallest difference of accuracies that a paired test on n samples finds.

    Found by bisection on `paired_power` to 1e-6.

    Parameters
    ----------
    n, discordance, power, significance
        As in `sample_size_paired`.

    Returns
    -------
    difference : float
        At most `discordance`.

    Raises
    ------
    InputError
        If a number is out of range, or n samples cannot show any difference at that discordance.

    Examples
    --------
    >>> round(detectable_difference_paired(500, 0.15), 3)
    0.05
    """
    _check.level(power, "power")
    _discordant_shares(discordance, discordance)
    low, high = 0.0, float(discordance)
    best = paired_power(n, high, discordance, significance=significance)
    if best < power:
        raise InputError(
            f"{n} samples are too few: with {discordance:g} of them discordant even the largest "
            f"difference is found with probability {best:.2f} only. Take more samples."
        )
    while high - low > 1e-6:
        middle = (low + high) / 2
        found = paired_power(n, middle, discordance, significance=significance) >= power
        low, high = (low, middle) if found else (middle, high)
    return high


def detectable_difference(
    n: int, accuracy: float, *, power: float = 0.8, significance: float = 0.05
) -> float:
    """Smallest difference from `accuracy` that two **separate** samples of n each can show.

    Normal approximation: the δ with ``δ = z_{1-s/2} √(2 p̄ q̄ / n) + z_power √((p q + p' q') / n)``,
    where ``p' = p - δ`` and p̄ is the mean of both; the lower side is taken where p > .5, else the
    upper. With ``power=0.5`` it is the difference that would just be significant.

    Parameters
    ----------
    n : int
        Samples of each of the two.
    accuracy : float
        Of one of them.
    power, significance
        As in `sample_size_paired`.

    Returns
    -------
    difference : float

    Raises
    ------
    InputError
        If a number is out of range or n is too small to show any difference.

    References
    ----------
    Fleiss, Levin and Paik (2003), Statistical Methods for Rates and Proportions, chapter 4.

    Examples
    --------
    >>> round(detectable_difference(75, 0.8, power=0.5), 2)
    0.14
    """
    at_least(1, n=n)
    between(0, 1, accuracy=accuracy)
    p = float(accuracy)
    z_level = float(ndtri(1 - _check.level(significance, "significance") / 2))
    sign, room = (-1, p) if p > 0.5 else (1, 1 - p)

    def found_with(delta: float) -> float:
        other = p + sign * delta
        mean = (p + other) / 2
        spread = math.sqrt((p * (1 - p) + other * (1 - other)) / n)
        needed = z_level * math.sqrt(2 * mean * (1 - mean) / n)
        if spread == 0.0:
            return float(delta > needed)
        return float(ndtr((delta - needed) / spread))

    _check.level(power, "power")
    low, high = 0.0, room
    if found_with(high) < power:
        raise InputError(f"{n} samples are too few to show any difference. Take more samples.")
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if found_with(middle) >= power else (middle, high)
    return high
