"""Predictions: one row per input, in input order, kept as columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.errors import InputError

__all__ = ["STATUSES", "Predictions", "Status"]

Status: TypeAlias = Literal["ok", "abstained", "error"]
STATUSES: tuple[Status, ...] = ("ok", "abstained", "error")
"""In the order of their codes in `Predictions.status_codes`."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a classifier said about each input: one row per input, in input order.

    Kept as columns, and probabilities once per distinct image, so a million rows stay small.

    Parameters
    ----------
    images : sequence of str, length n_samples
        Name of each input as rows show it (`showtell.media.media_name`).
    classes : tuple of str, length n_classes
        The label set, in column order of `proba`.
    codes : ndarray of shape (n_samples,), int32
        Best label as index into `classes`; -1 where there is none (error rows). Abstained rows
        keep their best guess here; `label` hides it.
    confidence_all : ndarray of shape (n_samples,), float32
        Probability of the best label; NaN for error rows.
    status_codes : ndarray of shape (n_samples,), int8
        Index into `STATUSES`.
    errors : mapping of int to str
        Row number to one line that says why; exactly the rows of status "error".
    distinct_proba : ndarray of shape (n_distinct, n_classes), float32, or None
    distinct : ndarray of shape (n_samples,), int64, or None
        Row of `distinct_proba` of each input, -1 for error rows.
    columns : mapping of str to sequence
        Further columns, each of length n_samples, in order: ``cost_usd``, ``reason`` ...
    """

    images: Sequence[str]
    classes: tuple[str, ...]
    codes: NDArray[np.int32]
    confidence_all: NDArray[np.float32]
    status_codes: NDArray[np.int8]
    errors: Mapping[int, str] = field(default_factory=dict)
    distinct_proba: NDArray[np.float32] | None = None
    distinct: NDArray[np.int64] | None = None
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.images)
        lengths = {
            "codes": len(self.codes),
            "confidence_all": len(self.confidence_all),
            "status_codes": len(self.status_codes),
            **{name: len(values) for name, values in self.columns.items()},
        }
        wrong = {name: length for name, length in lengths.items() if length != n}
        if wrong:
            raise InputError(f"Every column needs {n} rows, one per image; got {wrong}.")
        error_rows = np.flatnonzero(self.status_codes == STATUSES.index("error"))
        if set(error_rows.tolist()) != set(self.errors):
            raise InputError("`errors` must name exactly the rows whose status is 'error'.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """True where there is a label, shape (n_samples,)."""
        return self.status_codes == STATUSES.index("ok")

    @property
    def status(self) -> NDArray[np.str_]:
        """ "ok", "abstained" or "error" per row, shape (n_samples,)."""
        return np.asarray(STATUSES)[self.status_codes]

    @property
    def label(self) -> NDArray[np.str_]:
        """Label per row, "" unless ok; shape (n_samples,)."""
        names = np.asarray([*self.classes, ""])
        return names[np.where(self.ok, self.codes, len(self.classes))]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Probability of the label, NaN unless ok; shape (n_samples,)."""
        return np.where(self.ok, self.confidence_all, np.float32(np.nan)).astype(np.float32)

    @property
    def proba(self) -> NDArray[np.float32] | None:
        """Probability per label, shape (n_samples, n_classes); NaN in error rows. None: unknown."""
        if self.distinct_proba is None or self.distinct is None:
            return None
        padded = np.vstack(
            [self.distinct_proba, np.full((1, len(self.classes)), np.nan, np.float32)]
        )
        rows: NDArray[np.float32] = padded[self.distinct]  # -1 picks the last row, all NaN
        return rows

    @property
    def counts(self) -> dict[Status, int]:
        """Rows per status."""
        return {s: int((self.status_codes == i).sum()) for i, s in enumerate(STATUSES)}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row as a dict: image, label, confidence, status, error, then `columns`.

        `label` and `confidence` are None unless the row is ok; `error` is None unless it failed.
        """
        for i, image in enumerate(self.images):
            ok = self.status_codes[i] == 0
            yield {
                "image": image,
                "label": self.classes[self.codes[i]] if ok else None,
                "confidence": float(self.confidence_all[i]) if ok else None,
                "status": STATUSES[self.status_codes[i]],
                "error": self.errors.get(i),
                **{name: values[i] for name, values in self.columns.items()},
            }
