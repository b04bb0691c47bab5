"""What a run folder knows about images, so that a run goes on where an earlier process stopped."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from showtell.classify.asking.state import ImageState, ViewAnswer
from showtell.mllm.call.journal import Journal


class Notes:
    """What a run folder knows about images."""

    def __init__(self, journal: Journal | None, fingerprint: str, *, recalls: bool = True) -> None:
        self._journal, self._fingerprint = journal, fingerprint
        # Jobs of an earlier process are gone through again from their answers, as it did.
        self._done = {} if journal is None or not recalls else journal.done

    def _id(self, item: ImageState) -> str:
        return f"{item.digest}:{self._fingerprint}"

    def recall(self, item: ImageState) -> bool:
        """Fill in what an earlier process of the run was answered; False if it was not."""
        if self._journal is None or self._id(item) not in self._done:
            return False
        try:
            saved = self._done[self._id(item)]["given"]
            item.answers = {view: _answer_of(values) for view, values in enumerate(saved)}
            price = self._done[self._id(item)].get("price_usd")
            item.spent.price_usd = None if price is None else Decimal(price)
        except (KeyError, TypeError, ValueError, ArithmeticError):
            return False
        item.spent.n_answers = item.spent.n_from_cache = 1
        item.again = bool(self._done[self._id(item)].get("again", True))
        return bool(item.answers)

    def digests(self) -> frozenset[str]:
        """Hashes of the images whose outcome is known."""
        end = f":{self._fingerprint}"
        return frozenset(name.removesuffix(end) for name in self._done if name.endswith(end))

    def record(self, item: ImageState) -> None:
        """Note an outcome; what failed for reasons outside the model stays to be asked."""
        item.done = True
        given = [item.answers[view] for view in sorted(item.answers)]
        if self._journal is None or any(g.reason in ("request", "image") for g in given):
            return
        status = "ok" if any(g.code is not None for g in given) else "open"
        price = item.spent.price_usd
        self._journal.sample(
            self._id(item),
            status=status,
            image=item.digest,
            given=[_values_of(g) for g in given],
            again=item.spent.n_answers > len(given),
            price_usd=None if price is None else str(price),
        )


def _values_of(given: ViewAnswer) -> list[Any]:
    row = None if given.row is None else [round(float(p), 9) for p in given.row]
    return [given.code, given.confidence, row, given.reason, given.text]


def _answer_of(values: Sequence[Any]) -> ViewAnswer:
    code, confidence, row, reason, text = values
    return ViewAnswer(
        code=None if code is None else int(code),
        confidence=None if confidence is None else float(confidence),
        row=None if row is None else np.array(row, np.float64),
        reason=reason,
        text=str(text),
    )
