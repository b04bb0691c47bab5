"""The same images asked about under prompts that differ in one thing: what an audit needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from showtell._progress import Progress, no_progress
from showtell.classify.asking.arguments import most_labels
from showtell.classify.asking.classifier import MLLMClassifier
from showtell.classify.asking.in_context import InContextClassifier
from showtell.classify.asking.planning import make_run, settings_of
from showtell.classify.asking.run import AskRun
from showtell.classify.asking.running import open_run
from showtell.classify.asking.state import AskRound, ImageState, OpenQuestion, why_unlabelled
from showtell.classify.base import media_list
from showtell.classify.estimator import check_is_fitted
from showtell.errors import InputError
from showtell.media import Media
from showtell.metrics import NO_ANSWER
from showtell.mllm.base import Request
from showtell.prompts import Demonstration


@dataclass(frozen=True, kw_only=True)
class PromptArm:
    """One way to word the question.

    Parameters
    ----------
    name : str
    example : str, optional
        A label, as it is written in the request, that stands in a filled-in example of an answer.
    order : tuple of int, optional
        Codes of the labels in the order of the list; None for the usual one.
    demonstrations : tuple of Demonstration, optional
        What is shown, in order; None for the usual ones.
    """

    name: str
    example: str | None = None
    order: tuple[int, ...] | None = None
    demonstrations: tuple[Demonstration, ...] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmAnswers:
    """Answers by image and arm.

    Parameters
    ----------
    codes : ndarray of shape (n_images, n_arms), int64
        Index into ``classes_``; -1 where there is none.
    asked : ndarray of shape (n_images, n_arms), bool
        False where an arm was not wanted for an image.
    failures : dict of (int, int) to (str, str)
        Image and arm to reason and one line, for what was asked and has no label.
    cost_usd : Decimal or None
        What asking cost; None if a price is not known.
    input_tokens, output_tokens : int or None
        None where a provider does not tell.
    n_requests, n_from_cache : int
        Answers, and those of them that were there already.
    """

    codes: NDArray[np.int64]
    asked: NDArray[np.bool_]
    failures: dict[tuple[int, int], tuple[str, str]]
    cost_usd: Decimal | None
    input_tokens: int | None
    output_tokens: int | None
    n_requests: int
    n_from_cache: int


@dataclass(kw_only=True)
class _ArmRun(AskRun):
    """Asks about one image per request: images in the order given, arms mixed for each."""

    arms: Sequence[PromptArm] = ()
    seed: int = 0
    n_wanted: int = 1
    n_images: int = 1
    n_cells: int = field(default=0, init=False)

    def _first_wave(self, queries: Iterator[Any], this_round: AskRound) -> Iterator[Any]:
        packer = self._packer(this_round, 1)
        for item, part in queries:
            rng = np.random.default_rng([self.seed, item.number])
            for view in rng.permutation(this_round.n_views).tolist():
                ask = OpenQuestion(item=item, view=view, limit=1)
                yield from self._push(packer, ask, part, this_round)
                yield from packer.flush()

    def _request(self, batch: Any, this_round: AskRound) -> tuple[Request, list[str]]:
        arm = self.arms[batch.items[0][0].view]
        usual = self.form
        self.form = replace(usual, example=arm.example)
        try:
            request, ids = super()._request(batch, this_round)
        finally:
            self.form = usual
        return replace(request, sample=0), ids  # an arm is known by its words, not by its number

    def _finish(self, ask: Any, given: Any) -> None:
        super()._finish(ask, given)
        self.n_cells += 1
        self._n_done = self.n_cells * self.n_images // self.n_wanted


def ask_arms(
    classifier: MLLMClassifier,
    X: Sequence[Media],
    arms: Sequence[PromptArm],
    *,
    wanted: ArrayLike | None = None,
    random_state: int = 0,
    progress: Progress = no_progress,
) -> ArmAnswers:
    """Ask about every image under every arm, one image per request.

    Everything else is as the classifier does it: words, settings, cache, journal, caps, asking
    again where an answer is none. Images are taken in a random order, and for each the arms in a
    random order, so that what changes with time touches all arms alike.

    `classifier`: fitted; `X`, of length n_images; `arms`: all different in what they send;
    `wanted`, of shape (n_images, n_arms): which arm to ask about which image; default: all;
    `random_state`: of the order of calls. Raises InputError if the classifier asks in a way that
    arms cannot be laid over; BudgetError if a cap stopped the run; what was answered is kept.
    """
    images, order, run_images, asked = _prepare(classifier, X, arms, wanted, random_state)
    codes = np.full(asked.shape, NO_ANSWER, np.int64)
    failures: dict[tuple[int, int], tuple[str, str]] = {}
    if not len(images):
        return ArmAnswers(
            codes=codes,
            asked=asked,
            failures=failures,
            cost_usd=Decimal(0),
            input_tokens=0,
            output_tokens=0,
            n_requests=0,
            n_from_cache=0,
        )
    with open_run(classifier, run_images, progress) as (usual, _):
        run, this_round = _arm_run(classifier, usual, arms, asked[order], random_state)
        items, distinct, errors = run.ask_new(run_images, this_round, progress=progress)
    for place, row in enumerate(order.tolist()):
        d = int(distinct[place])
        for arm in np.flatnonzero(asked[row]).tolist():
            if d < 0:
                line = " ".join(str(errors[place]).split())
                failures[row, arm] = ("image", line)
                continue
            given = items[d].answers.get(arm)
            if given is None:  # the same picture came before, with another truth
                asked[row, arm] = False
            elif given.code is None:
                failures[row, arm] = (str(given.reason), why_unlabelled(given))
            else:
                codes[row, arm] = given.code
    spent = [item.spent for item in items]
    costs = [s.cost_usd for s in spent]
    return ArmAnswers(
        codes=codes,
        asked=asked,
        failures=failures,
        cost_usd=_total(costs, Decimal(0)),
        input_tokens=_total([s.input_tokens for s in spent], 0),
        output_tokens=_total([s.output_tokens for s in spent], 0),
        n_requests=sum(s.n_answers for s in spent),
        n_from_cache=sum(s.n_from_cache for s in spent),
    )


def arm_requests(
    classifier: MLLMClassifier,
    X: Sequence[Media],
    arms: Sequence[PromptArm],
    *,
    wanted: ArrayLike | None = None,
    random_state: int = 0,
) -> Iterator[Request]:
    """Yield the requests that `ask_arms` would send first, without sending any.

    `classifier`, `X`, `arms`, `wanted` and `random_state`: as in `ask_arms`.
    """
    images, order, run_images, asked = _prepare(classifier, X, arms, wanted, random_state)
    if not len(images):
        return
    usual = make_run(classifier, None, run_images)
    run, this_round = _arm_run(classifier, usual, arms, asked[order], random_state)
    yield from run.first_requests(run_images, this_round)


def _prepare(
    classifier: MLLMClassifier,
    X: Sequence[Media],
    arms: Sequence[PromptArm],
    wanted: ArrayLike | None,
    random_state: int,
) -> tuple[Sequence[Media], NDArray[np.intp], list[Media], NDArray[np.bool_]]:
    """Check what is given; draw the order of the images."""
    check_is_fitted(classifier)
    _check_usable(classifier)
    images = media_list(X)
    shape = len(images), len(arms)
    asked = np.ones(shape, bool) if wanted is None else np.array(wanted, bool)
    if asked.shape != shape:
        raise InputError(f"`wanted` must have shape {shape}, one row per image, got {asked.shape}.")
    order = np.random.default_rng([random_state, 1]).permutation(len(images))
    return images, order, [images[i] for i in order.tolist()], asked


def _check_usable(classifier: MLLMClassifier) -> None:
    most = most_labels(classifier, classifier._access().capabilities)
    if classifier.shortlist is not None or (most is not None and most < len(classifier.classes_)):
        raise InputError(
            "An audit compares answers to the same list of labels: `shortlist` must be None, and "
            "the model must take all labels in one question."
        )
    if classifier.n_samples != 1:
        raise InputError(
            f"An audit asks once per prompt: `n_samples` must be 1, got {classifier.n_samples}."
        )
    if isinstance(classifier, InContextClassifier) and classifier.selection == "nearest":
        raise InputError(
            "An audit shows every image the same demonstrations: `selection` must be 'balanced' or "
            "'random', not 'nearest'."
        )


def _arm_run(
    classifier: MLLMClassifier,
    usual: AskRun,
    arms: Sequence[PromptArm],
    asked: NDArray[np.bool_],
    random_state: int,
) -> tuple[_ArmRun, AskRound]:
    """Lay arms over an ordinary run; `asked` in the order of its images."""
    values = {f.name: getattr(usual, f.name) for f in fields(AskRun) if f.init}
    shown = usual.demonstrations

    def demonstrations(
        view: int, listed: tuple[int, ...], items: Sequence[ImageState]
    ) -> Sequence[Demonstration]:
        own = arms[view].demonstrations
        return shown(0, listed, items) if own is None else own

    def order(view: int, codes: tuple[int, ...]) -> tuple[int, ...]:
        own = arms[view].order
        return classifier._label_order().listed(0, codes) if own is None else own

    def choice(item: ImageState, view: int) -> tuple[int, ...] | None:
        return None if asked[item.first_row, view] else ()

    values |= {
        "images_per_request": 1,
        "demonstrations": demonstrations,
        "settings": settings_of(classifier, 1, usual.capabilities),
        "n_demonstrations": max(
            [usual.n_demonstrations, *(len(a.demonstrations or ()) for a in arms)]
        ),
    }
    run = _ArmRun(
        **values,
        arms=arms,
        seed=random_state,
        n_wanted=max(1, int(asked.sum())),
        n_images=len(asked),
    )
    return run, AskRound(n_views=len(arms), choice=choice, order=order)


def _total(values: Sequence[Any], nothing: Any) -> Any:
    """Add up; None if one of them is not known."""
    return None if any(v is None for v in values) else sum(values, nothing)
