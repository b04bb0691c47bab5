"""What is asked about images and what comes of it: one state per distinct image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from showtell.media import Media
from showtell.mllm.base import Usage
from showtell.mllm.call.journal import Journal

Reason: TypeAlias = Literal[
    "image",
    "missing",
    "conflict",
    "out_of_set",
    "refused",
    "blocked",
    "cut",
    "request",
    "unsure",
    "stopped",
]
"""Why a row has no label: the image cannot be used; the model never answered about it, or
contradicted itself, or named no label of the set; it declined; a filter held the answer back; the
answer was cut off at its longest; the request failed; the confidence is below the threshold; the
run was stopped before."""

_CENT_OF = Decimal("1e-12")  # USD; the smallest share of a request's price
_SAID: dict[str, str] = {
    "missing": "the model's answers left this image out",
    "conflict": "the model gave different labels in one answer",
    "out_of_set": "the model named no label of the set",
    "refused": "the model declined to answer",
    "blocked": "a safety filter held the answer back",
    "cut": "the answer was cut off at its longest, with nothing complete said about this image",
}


@dataclass(slots=True)
class ImageCost:
    """Tokens, money and time of one image. None means unknown, 0 means nothing."""

    cost_usd: Decimal | None = Decimal(0)
    price_usd: Decimal | None = Decimal(0)
    """The same with what is used again at the price it had when it was asked."""
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    seconds: float = 0.0
    n_answers: int = 0
    n_from_cache: int = 0

    @property
    def from_cache(self) -> bool:
        """Whether nothing was asked anew."""
        return self.n_answers == self.n_from_cache > 0

    def add(
        self, usage: Usage, *, price_usd: Decimal | None, seconds: float, from_cache: bool
    ) -> None:
        """Add the share of one answer."""
        self.cost_usd = _sum(self.cost_usd, usage.cost_usd)
        self.price_usd = _sum(self.price_usd, price_usd)
        self.input_tokens = _sum(self.input_tokens, usage.input_tokens)
        self.output_tokens = _sum(self.output_tokens, usage.output_tokens)
        self.seconds += seconds
        self.n_answers += 1
        self.n_from_cache += from_cache


N = TypeVar("N", int, Decimal)


def _sum(a: N | None, b: N | None) -> N | None:
    return None if a is None or b is None else a + b


def split_usage(usage: Usage, n: int) -> list[Usage]:
    """Divide what a request took among its images, so that the parts add up exactly.

    `n`: number of images, at least 1. Returns `shares`, of length n.

    Examples
    --------
    >>> shares = split_usage(Usage(input_tokens=10, cost_usd=Decimal("0.01")), 3)
    >>> [s.input_tokens for s in shares], sum(s.cost_usd for s in shares)
    ([4, 3, 3], Decimal('0.010000000000'))
    >>> shares[0].output_tokens
    """

    def tokens(total: int | None, place: int) -> int | None:
        return None if total is None else total // n + (place < total % n)

    each = last = usage.cost_usd
    if usage.cost_usd and n > 1:
        each = (usage.cost_usd / n).quantize(_CENT_OF, rounding=ROUND_DOWN)
        last = usage.cost_usd - each * (n - 1)
    return [
        Usage(
            input_tokens=tokens(usage.input_tokens, place),
            output_tokens=tokens(usage.output_tokens, place),
            cached_tokens=tokens(usage.cached_tokens, place),
            cost_usd=last if place == n - 1 else each,
        )
        for place in range(n)
    ]


@dataclass(slots=True)
class ViewAnswer:
    """One answer about one image in one view."""

    code: int | None = None
    confidence: float | None = None
    """As the model says, 0 to 1."""
    row: NDArray[np.float64] | None = None
    """Probability per label, shape (n_classes,); 0 for labels that were not to choose from."""
    reason: Reason | None = None
    """Why there is no label."""
    text: str = ""


@dataclass(slots=True)
class ImageState:
    """One distinct image."""

    number: int
    source: Media
    digest: str
    first_row: int
    """Of the inputs that show it, the first."""
    spent: ImageCost = field(default_factory=ImageCost)
    known: bool = False
    """An earlier process of the run had its outcome."""
    again: bool = False
    """It took that process more than one answer."""
    done: bool = False
    """It has its outcome."""
    answers: dict[int, ViewAnswer] = field(default_factory=dict)
    """View to answer, of the present round."""


@dataclass(frozen=True, kw_only=True)
class AskRound:
    """What is asked about every image."""

    n_views: int = 1
    choice: Callable[[ImageState, int], tuple[int, ...] | None] = lambda _item, _view: None
    """Codes an image has to choose from in a view; None for all; () to leave the view out."""
    order: Callable[[int, tuple[int, ...]], tuple[int, ...]] = lambda _view, codes: codes
    """The order in which codes are listed in a view."""
    written: Callable[[int], Sequence[int] | None] = lambda _view: None
    """By whose name each label goes in a view, as codes; None: each by its own."""
    most_labels: int | None = None
    """Labels a request may list, where images choose from different ones."""
    first_sample: int = 0
    """Number of the first view as a repetition: equal questions of two this_rounds differ by it."""
    on_done: Callable[[ImageState], None] = lambda _item: None
    """Called as an image has an outcome in every view."""


@dataclass(slots=True)
class OpenQuestion:
    """One image in one view, until it is answered."""

    item: ImageState
    view: int
    limit: int
    n_again: int = 0
    n_failed: int = 0
    n_answers: int = 0
    stretch: int = 0
    """How often the longest answer was doubled."""


def why_unlabelled(answer: ViewAnswer, n_asked: int = 1) -> str:
    """Say in one line why an image has no label."""
    if answer.reason in ("image", "request", "stopped"):
        return " ".join(answer.text.split()) or "the request failed"
    said = _SAID[str(answer.reason)]
    times = f" (asked {n_asked} times)" if n_asked > 1 else ""
    quoted = f": {' '.join(answer.text.split())[:120]!r}" if answer.text else ""
    return f"{said}{times}{quoted}"


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
