"""Checks that all metrics share: shapes, ranges, and codes of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from showtell.checks import between
from showtell.errors import InputError


def same_length(**arrays: NDArray[Any]) -> int:
    """Return the common length of 1-D or 2-D arrays, which must not be 0."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"`{name}` has {length}" for name, length in lengths.items())
        raise InputError(f"One row per sample is needed in each argument, but {listed}.")
    n = next(iter(lengths.values()))
    if n == 0:
        raise InputError("There are no samples, so there is nothing to measure.")
    return n


def codes(values: ArrayLike, name: str, n_classes: int, *, lowest: int = 0) -> NDArray[np.int64]:
    """Label codes as int64, each in ``lowest .. n_classes - 1``."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(
            f"`{name}` must be a 1-D array of label codes (integers), got shape {array.shape} "
            f"and dtype {array.dtype}. Turn labels into codes first."
        )
    array = array.astype(np.int64, copy=False)
    wrong = np.flatnonzero((array < lowest) | (array >= n_classes))
    if wrong.size:
        none = " or -1 for no answer" if lowest == -1 else ""
        raise InputError(
            f"`{name}` holds {int(array[wrong[0]])} in row {int(wrong[0])}; allowed are 0 to "
            f"{n_classes - 1}{none}. {wrong.size} such rows."
        )
    return array


def matrix(values: ArrayLike, name: str, *, probabilities: bool = True) -> NDArray[Any]:
    """Scores of shape (n_samples, n_classes), floating point, finite where probabilities."""
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] < 1:
        raise InputError(
            f"`{name}` must have shape (n_samples, n_classes), got shape {array.shape}."
        )
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        raise InputError(f"`{name}` must hold numbers, got dtype {array.dtype}.")
    if np.isnan(array).any():
        row = int(np.flatnonzero(np.isnan(array).any(axis=1))[0])
        raise InputError(
            f"`{name}` has NaN in row {row}. Leave out samples without an answer (errors) first."
        )
    if probabilities and array.size:
        low, high = float(array.min()), float(array.max())
        if low < -1e-6 or high > 1 + 1e-6:
            raise InputError(
                f"`{name}` must hold probabilities between 0 and 1, got {low:.6g} to {high:.6g}. "
                "Turn logits into probabilities with `apply_temperature(logits, 1.0)`."
            )
    return array


def confidences(values: ArrayLike, name: str = "confidence") -> NDArray[np.float64]:
    """Confidences as float64 in [0, 1]; float32 rounding just outside is clipped."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"`{name}` must be 1-D, one number per sample, got shape {array.shape}.")
    bad = np.flatnonzero(~((array >= -1e-6) & (array <= 1 + 1e-6)))
    if bad.size:
        raise InputError(
            f"`{name}` must lie between 0 and 1, got {array[bad[0]]:.6g} in row {int(bad[0])}. "
            f"{bad.size} such rows; leave out samples without an answer first."
        )
    return np.clip(array, 0.0, 1.0)


def outcomes(values: ArrayLike, name: str = "correct") -> NDArray[np.float64]:
    """Right (1) or wrong (0) per sample, as float64."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise InputError(
            f"`{name}` must be a 1-D array of True/False or 1/0, got shape {array.shape} and "
            f"dtype {array.dtype}."
        )
    result: NDArray[np.float64] = array.astype(np.float64)
    if not np.isin(result, (0.0, 1.0)).all():
        raise InputError(f"`{name}` must hold only True/False or 1/0.")
    return result


def level(value: float, name: str) -> float:
    """Check a number strictly between 0 and 1."""
    between(0, 1, strictly=True, **{name: value})
    return float(value)
