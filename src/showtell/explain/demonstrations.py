"""Which demonstrations mattered: leave them out one at a time, and ask the model again."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.classify.capabilities import Shows, offers
from showtell.encoders import embed_images, load_encoder
from showtell.errors import BudgetError, InputError
from showtell.explain.neighbours import picture_of
from showtell.explain.parts import Part, framed
from showtell.media import Media
from showtell.mllm.base import Request
from showtell.mllm.model import as_model
from showtell.pages.thumbs import inline_picture
from showtell.words import plural

_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class LeftOutOne:
    """What became of the answer without one demonstration."""

    number: int
    """Place among the demonstrations, from 1."""
    label: str
    """Label it was shown with."""
    answer: str
    """Label without it; "" where the model gave none."""
    confidence: float
    """Probability, without it, of the label that was answered with all."""
    change: float
    """That less the one with all; negative where the demonstration spoke for the label."""
    cosine: float
    """With the image that is explained, by the encoder; NaN if it cannot be embedded."""
    picture: bytes


@dataclass(frozen=True, kw_only=True)
class LeftOut(Part):
    """How the answer changes when each demonstration is left out, those that mattered most first.

    A model's stated confidence jumps a little by itself; a change of the label says more than one
    of a few points. Two demonstrations that tell the same may both seem not to matter.
    """

    kind: ClassVar[str] = "left-out"
    title: str = "Which demonstrations mattered"
    label: str
    """Answered with all of them."""
    base: float
    """Its probability then."""
    tried: tuple[LeftOutOne, ...]
    n_demonstrations: int
    cost_usd: Decimal | None
    """Of all that was asked; None if a price is not known."""
    stopped: str = ""
    """Why not all were tried."""

    def sentence(self) -> str:
        """Say which one mattered most."""
        if not self.tried:
            return f"none was left out; {self.stopped or 'there is none'}"
        flips = [one for one in self.tried if one.answer != self.label]
        tried = f"{len(self.tried)} of {self.n_demonstrations} left out in turn"
        if flips:
            first = flips[0]
            return (
                f"{len(flips)} decide: without demonstration {first.number} ({first.label}) the "
                f"answer is {first.answer or 'none'}; {tried}"
            )
        first = self.tried[0]
        if first.change < 0:
            return (
                f"the answer stays {self.label} without any one of them; most costs "
                f"demonstration {first.number} ({first.label}), {100 * first.change:+.1f} points; "
                f"{tried}"
            )
        return f"the answer stays {self.label} without any one of them; {tried}"

    def to_dict(self) -> dict[str, Any]:
        """Return what each one changed, and the cost."""
        return {
            "kind": self.kind,
            "title": self.title,
            "label": self.label,
            "base": self.base,
            "n_demonstrations": self.n_demonstrations,
            "cost_usd": None if self.cost_usd is None else str(self.cost_usd),
            "stopped": self.stopped,
            "tried": [
                {
                    "number": one.number,
                    "label": one.label,
                    "answer": one.answer,
                    "confidence": one.confidence,
                    "change": one.change,
                    "cosine": one.cosine,
                }
                for one in self.tried
            ],
        }

    def to_html(self) -> Markup:
        """Show the demonstrations that mattered most, with what became of the answer."""
        items = Markup("").join(
            Markup('<li class="{kind}">{picture}<b>{label}</b> <span>{text}</span></li>').format(
                kind="same" if one.label == self.label else "other",
                picture=inline_picture(one.picture, f"demonstration {one.number}"),
                label=one.label,
                text=_effect(one, self.label),
            )
            for one in self.tried[:_SHOWN]
        )
        note = (
            f"{self.sentence()[:1].upper()}{self.sentence()[1:]}. Below each: what its loss does "
            f"to the probability of {self.label or 'the answer'}."
        )
        if self.stopped:
            note += f" {self.stopped[:1].upper()}{self.stopped[1:]}."
        return framed(self.title, Markup('<ol class="alike">{}</ol>').format(items), note=note)


def _effect(one: LeftOutOne, label: str) -> str:
    if one.answer != label:
        return f"else {one.answer or 'no answer'}"
    return f"{100 * one.change:+.1f} points"


def leave_one_out(
    classifier: Any,
    image: Media,
    *,
    max_cost: Decimal | str | float | None = None,
    max_requests: int | None = None,
    progress: Progress = no_progress,
) -> LeftOut:
    """Ask again without each demonstration in turn, those nearest to the image first.

    As many requests as there are demonstrations, plus one; `leave_one_out_requests` writes them
    without sending any. With ``selection="nearest"`` those count that the image is shown with,
    and the next one of the class takes the place of what is left out.

    Parameters
    ----------
    classifier : InContextClassifier
        Fitted.
    image : Media
    max_cost : Decimal, str or float, optional
        USD that all this may cost; what is left then is not tried. None: no cap. Answers that
        the cache holds cost nothing.
    max_requests : int, optional
        Requests that may be sent, where prices are not known.
    progress : Progress
        Called with the number of demonstrations that were left out.

    Returns
    -------
    part : LeftOut

    Raises
    ------
    InputError
        If the classifier shows no demonstrations, or gives the image no label.

    Examples
    --------
    >>> from showtell.classify import InContextClassifier
    >>> from showtell.mllm import Answer, Model, Usage
    >>> from showtell.testing import ColourEncoder, draw_shape
    >>> class Toy:  # says "b" while two demonstrations are shown, else "a"
    ...     name = "toy:one"
    ...     async def ask(self, request):
    ...         n_images = sum(hasattr(part, "digest") for part in request.parts)
    ...         [query] = [p.text[6:-1] for p in request.parts
    ...                    if hasattr(p, "text") and p.text.startswith("Image ")]
    ...         label = "b" if n_images == 3 else "a"
    ...         text = f'{{"answers": [{{"id": "{query}", "label": "{label}", "confidence": 9}}]}}'
    ...         return Answer(text=text, usage=Usage(), finish="stop", model="one")
    ...     async def aclose(self):
    ...         pass
    >>> shown = [(draw_shape("red circle"), "a"), (draw_shape("blue circle"), "b")]
    >>> clf = InContextClassifier(
    ...     Model(Toy(), cache=None), demonstrations=shown, encoder=ColourEncoder()).fit()
    >>> found = leave_one_out(clf, draw_shape("red square"))
    >>> found.label, sorted((one.label, one.answer) for one in found.tried)
    ('b', [('a', 'a'), ('b', 'a')])
    """
    places, cosines = _candidates(classifier, image)
    usd = None if max_cost is None else Decimal(str(max_cost))
    purse = _Purse(usd=usd, n_requests=max_requests)
    label, base, stopped = "", float("nan"), ""
    tried: list[LeftOutOne] = []
    try:
        whole = _ask(classifier, image, None, purse)
        if whole.code < 0:
            raise InputError("The model gave this image no label, so there is nothing to explain.")
        label, base = str(classifier.classes_[whole.code]), whole.confidence_in(whole.code)
        for place in places:
            reply = _ask(classifier, image, place, purse)
            tried.append(_without_one(classifier, place, reply, whole, float(cosines[place])))
            progress(len(tried), len(places), "Leaving out")
    except BudgetError as error:
        to_go = f" with {plural(len(places) - len(tried), 'demonstration')} to go" if label else ""
        stopped = f"stopped by the cap of {error.cap}{to_go}"
    tried.sort(key=lambda one: (one.answer == label, np.nan_to_num(one.change), one.number))
    return LeftOut(
        label=label,
        base=base,
        tried=tuple(tried),
        n_demonstrations=len(classifier.demonstrations_),
        cost_usd=purse.spent,
        stopped=stopped,
    )


def _without_one(classifier: Any, place: int, reply: Any, whole: Any, cosine: float) -> LeftOutOne:
    """Say what one demonstration changes: `reply` came without it, `whole` with all."""
    names = [str(label) for label in classifier.classes_.tolist()]
    shown = classifier.demonstrations_[place]
    sure = reply.confidence_in(whole.code)
    return LeftOutOne(
        number=place + 1,
        label=names[shown.code],
        answer=names[reply.code] if reply.code >= 0 else "",
        confidence=sure,
        change=sure - whole.confidence_in(whole.code),
        cosine=cosine,
        picture=picture_of(shown.image.data),
    )


def leave_one_out_requests(classifier: Any, X: Sequence[Media]) -> Iterator[Request]:
    """Write what `leave_one_out` would ask about images, without sending any: for its price."""
    for image in X:
        places, _ = _candidates(classifier, image)
        for place in (None, *places):
            yield from _without(classifier, place).requests([image])


def _candidates(classifier: Any, image: Media) -> tuple[list[int], NDArray[np.float64]]:
    """Places of the demonstrations to leave out, nearest first, and the cosines of all."""
    if not offers(classifier, Shows):
        raise InputError(
            f"Demonstrations are shown by InContextClassifier; {type(classifier).__name__} shows "
            "none."
        )
    shown = classifier.demonstrations_
    if not shown:
        raise InputError("This classifier shows no demonstrations (`shots=0`): none can matter.")
    encoder = load_encoder(classifier.encoder)
    found = embed_images(encoder, [d.image.data for d in shown], store=classifier.store)
    query = embed_images(encoder, [image], store=classifier.store)
    if not query.ok[0]:
        raise InputError(f"{query.errors[0]}")
    cosines = found.rows().astype(np.float64) @ query.embeddings[0].astype(np.float64)
    order = np.argsort(-np.nan_to_num(cosines, nan=-2.0), kind="stable").tolist()
    if classifier.selection != "nearest" or classifier.demonstrations is not None:
        return order, cosines
    counts: dict[int, int] = {}
    places = []
    for place in order:
        code = shown[place].code
        counts[code] = counts.get(code, 0) + 1
        if counts[code] <= int(classifier.shots):
            places.append(place)
    return places, cosines


def _without(classifier: Any, place: int | None) -> Any:
    """Copy a classifier that shows all demonstrations but one."""
    alone = copy.copy(classifier)
    alone.model = as_model(classifier.model).with_params(run_folder=None, jobs=False)
    if alone.debias == "batch" and alone.prior_ is None:
        alone.debias = None  # one image has no mean to divide by
    if place is None:
        return alone
    shown = classifier.demonstrations_
    alone.demonstrations_ = (*shown[:place], *shown[place + 1 :])
    if alone._pool is not None:
        alone._pool = np.delete(alone._pool, place, axis=0)
    return alone


@dataclass(kw_only=True)
class _Purse:
    """What is left of the caps, and what was spent."""

    usd: Decimal | None
    n_requests: int | None
    spent: Decimal | None = Decimal(0)

    def pay(self, cost: Decimal | None, *, asked: bool) -> None:
        self.spent = None if self.spent is None or cost is None else self.spent + cost
        if self.usd is not None:
            self.usd = max(self.usd - (cost or Decimal(0)), Decimal(0))
        if self.n_requests is not None and asked:
            self.n_requests = max(self.n_requests - 1, 0)


@dataclass(frozen=True, kw_only=True)
class _Reply:
    """An answer about the image."""

    code: int
    row: NDArray[np.float64] | None

    def confidence_in(self, code: int) -> float:
        return float("nan") if self.row is None else float(self.row[code])


def _ask(classifier: Any, image: Media, without: int | None, purse: _Purse) -> _Reply:
    """Classify the image without a demonstration; raises `BudgetError` where a cap is reached."""
    alone = _without(classifier, without)
    alone.set_params(model__max_cost=purse.usd, model__max_requests=purse.n_requests)
    predictions = alone.classify([image])
    purse.pay(predictions.columns["cost_usd"][0], asked=not predictions.columns["from_cache"][0])
    proba = predictions.proba
    code = int(predictions.codes[0])
    row = None if proba is None or code < 0 else np.asarray(proba[0], np.float64)
    return _Reply(code=code, row=row)
