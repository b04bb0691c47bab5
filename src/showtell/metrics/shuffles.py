"""Answers about the same images under several prompts, shuffled within each image."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from showtell.errors import InputError

_EXACT_UP_TO = 20_000  # ways to shuffle
_NUMBERS_AT_ONCE = 2_000_000


def answers_by_arm(
    predicted: ArrayLike, y_true: ArrayLike, arms: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Check shapes."""
    answers, truth, of_arm = (np.asarray(a) for a in (predicted, y_true, arms))
    if answers.ndim != 2 or truth.shape != answers.shape[:1] or of_arm.shape != answers.shape[1:]:
        raise InputError(
            "`predicted` has one row per image and one column per arm: got shape "
            f"{answers.shape} for {truth.shape} true labels and {of_arm.shape} arms."
        )
    if any(a.size and a.dtype.kind not in "iu" for a in (answers, truth, of_arm)):
        raise InputError("Labels are codes, whole numbers from 0; -1 is no answer.")
    if answers.shape[1] < 2:
        raise InputError(f"Two arms or more are needed to compare, got {answers.shape[1]}.")
    return answers.astype(np.int64), truth.astype(np.int64), of_arm.astype(np.int64)


def flips_of(answers: NDArray[np.int64], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the answers of a row differ."""
    top = np.where(valid, answers, -1).max(axis=1)
    flips: NDArray[np.bool_] = (valid & (answers != top[:, None])).any(axis=1)
    return flips


def most_unseen(n: int) -> float:
    """Largest share that n answers without an instance allow: 95 %, one-sided."""
    return float(1 - 0.05 ** (1 / max(n, 1)))


def compact(
    table: NDArray[np.float64], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Put the arms that count first, in both axes; how many they are."""
    order = np.argsort(~valid, axis=1, kind="stable")
    table = np.take_along_axis(table, order[:, :, None], axis=1)
    table = np.take_along_axis(table, order[:, None, :], axis=2)
    return table, valid.sum(axis=1)


def sums_of_shuffles(
    table: NDArray[np.float64],
    m: NDArray[np.int64],
    n_permutations: int,
    random_state: int | None,
) -> tuple[NDArray[np.float64], bool]:
    """Sum over images, for every way to shuffle or for random ones; whether those are all."""
    if not len(table):
        return np.zeros(1), True
    if sum(math.lgamma(k + 1) for k in m.tolist()) <= math.log(_EXACT_UP_TO) + 1e-9:
        sums = np.zeros(1)
        for own, k in zip(table, m.tolist(), strict=True):
            ways = np.array(list(itertools.permutations(range(k))))
            sums = (sums[:, None] + own[ways, np.arange(k)].sum(axis=1)).ravel()
        return sums, True
    sums = np.empty(n_permutations)
    arms, images = np.arange(table.shape[1]), np.arange(len(table))[:, None]
    start = 0
    for orders in random_orders(m, table.shape[1], n_permutations, random_state):
        sums[start : start + len(orders)] = table[images, orders, arms].sum(axis=(1, 2))
        start += len(orders)
    return sums, False


def random_orders(
    m: NDArray[np.int64], n_arms: int, n_permutations: int, random_state: int | None
) -> itertools.chain[NDArray[np.int64]]:
    """Random orders in pieces of shape (n, n_images, n_arms); places from m on stay."""
    rng = np.random.default_rng(random_state)
    still = np.where(np.arange(n_arms) >= m[:, None], np.arange(n_arms) + 1.0, 0.0)
    step = max(1, _NUMBERS_AT_ONCE // (len(m) * n_arms))

    def piece(n: int) -> NDArray[np.int64]:
        keys = rng.random((n, len(m), n_arms), dtype=np.float32)
        keys *= still == 0
        keys += still.astype(np.float32)
        return np.argsort(keys, axis=2)

    sizes = (min(step, n_permutations - start) for start in range(0, n_permutations, step))
    return itertools.chain.from_iterable([piece(n)] for n in sizes)
