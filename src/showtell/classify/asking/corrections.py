"""What several orders of a prompt say about one image, and what a prior takes away from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from showtell.classify.asking.confidence import with_confidence
from showtell.metrics import content_free_prior, divide_prior

_NOTHING = 2e-6  # of a label's probability: the floor
_WORDS = 20  # labels whose prior is written out


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What all answers about one image say together."""

    code: int
    """The label they come to."""
    row: NDArray[np.float64]
    """Probability per label, shape (n_classes,)."""
    named: NDArray[np.bool_] | None = None
    """Labels that an answer named, where answers say nothing about the others; None where they
    give a probability to each."""


def named_by(codes: Sequence[int], n_classes: int) -> NDArray[np.bool_]:
    """Mark the labels among the answers; -1 is no answer."""
    named = np.zeros(n_classes, bool)
    named[[code for code in codes if code >= 0]] = True
    return named


def is_certain(evidence: Sequence[Evidence]) -> bool:
    """Whether nothing is left for other labels in any row, so that no prior can change one."""
    return all(
        np.sort(e.row)[-2:-1].max(initial=0) <= _NOTHING if e.named is None else e.named.sum() < 2
        for e in evidence
    )


def prior_of(evidence: Sequence[Evidence]) -> NDArray[np.float64]:
    """Mean over rows; where rows are frequencies of few answers, an even row counts among them."""
    rows = [e.row for e in evidence]
    if any(e.named is not None for e in evidence):
        rows.append(np.full_like(rows[0], 1 / len(rows[0])))
    return content_free_prior(rows)


def correct_evidence(
    evidence: Sequence[Evidence | None], prior: NDArray[np.float64], gamma: float
) -> list[Evidence | None]:
    """Divide rows by ``prior ** gamma``; where labels were only named, only among those."""
    corrected: list[Evidence | None] = []
    for found in evidence:
        if found is None:
            corrected.append(None)
            continue
        among = None if found.named is None else found.named[None]
        row = divide_prior(found.row[None], prior, gamma, among=among)[0]
        code = int(row.argmax())
        if found.named is not None:
            code = int(np.where(found.named, row, -1).argmax())
            row = with_confidence(row, code, float(row[code]))
        corrected.append(Evidence(code=code, row=row, named=found.named))
    return corrected


def prior_in_words(prior: NDArray[np.float64], labels: Sequence[str]) -> str:
    """Write a prior for a record: label and probability, the largest first.

    Examples
    --------
    >>> prior_in_words(np.array([0.25, 0.75]), ["cat", "dog"])
    'dog 0.750, cat 0.250'
    """
    order = np.argsort(-prior, kind="stable")
    listed = ", ".join(f"{labels[i]} {prior[i]:.3f}" for i in order[:_WORDS])
    return f"{listed} and {len(order) - _WORDS} more" if len(order) > _WORDS else listed
