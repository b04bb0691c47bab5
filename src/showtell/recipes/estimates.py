"""What classifying images would take, before it: requests, tokens, dollars, time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from showtell import media, metrics, mllm
from showtell._progress import Progress, no_progress
from showtell.errors import InputError
from showtell.mllm.estimate import Sums, add_up, rule_in_words, seconds_for
from showtell.recipes.building import reached
from showtell.recipes.recipe import Recipe

if TYPE_CHECKING:
    from showtell.classify.base import MediaClassifier
    from showtell.datasets import Dataset
    from showtell.media import Media
    from showtell.mllm import MLLM, AnswerCache, Capabilities

DISCORDANCE = 0.15
"""Share of images on which exactly one of two similar classifiers is right, unless known."""


@dataclass(frozen=True, kw_only=True)
class TellApart:
    """How many images show a difference between two ways, and what asking about them costs."""

    difference: float
    """Of the accuracies: 0.03 is 3 points."""
    discordance: float
    """Share of images on which exactly one of the two is right."""
    power: float
    """Chance that a difference of that size is found."""
    n_images: int
    cost_usd: Decimal | None = None
    """Of asking about so many in one of the two ways; None: not known."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What classifying images would take. None is unknown."""

    model: str
    """The model, or the encoder where none is asked."""
    n_images: int
    sums: Sums
    """Requests, tokens and dollars."""
    seconds: float | None
    known: Capabilities | None = None
    """What is known of the model; None where it runs here."""
    tell_apart: TellApart | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the numbers by name, as `showtell estimate --json` prints them."""
        found: dict[str, Any] = {
            "model": self.model,
            "n_images": self.n_images,
            **asdict(self.sums),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
        }
        if self.known is not None:
            found |= {
                "image_token_rule": self.known.image_token_rule,
                "image_tokens_in_words": rule_in_words(self.known.image_token_rule),
                "source": self.known.source,
                "date": self.known.date,
            }
        return (
            found if self.tell_apart is None else {**found, "tell_apart": asdict(self.tell_apart)}
        )


def estimate(
    what: Recipe | MediaClassifier,
    images: Dataset | Sequence[Media],
    *,
    examples: Dataset | None = None,
    model: MLLM | None = None,
    jobs: bool | None = None,
    latency: float | None = None,
    to_tell_apart: float | None = None,
    discordance: float | None = None,
    progress: Progress = no_progress,
) -> Estimate:
    """Say what classifying images would take: requests, tokens, dollars and time.

    The requests are made as they would be sent, and counted by the provider's formula; nothing is
    sent, and no key is needed. Asking again about images that an answer leaves out comes on top. A
    model in this process is loaded, and classifies one image to see how long that takes.

    Parameters
    ----------
    what : Recipe or MediaClassifier
        A classifier is fitted.
    images : Dataset or sequence of Media
    examples : Dataset, optional
        Labelled images for a recipe that shows or learns from some.
    model : MLLM, optional
        Stands for the one that a recipe names.
    jobs : bool, optional
        Whether what is to pay is that of batch jobs; None: as the recipe says.
    latency : float, optional
        Seconds of one request; unless given 1, and 1 more for every 100 output tokens.
    to_tell_apart : float, optional
        A difference of accuracies, 0.03 for 3 points: also say how many images show it between
        this way and another on the same images, and what they cost; see `tell_apart`.
    discordance : float, optional
        For `to_tell_apart`.
    progress : callable, optional

    Returns
    -------
    estimate : Estimate
        Its `Estimate.sums` are zero where an encoder decides on this machine.

    Raises
    ------
    InputError
        If the recipe cannot become a classifier, or its model has no batch endpoint.

    Examples
    --------
    >>> import numpy as np
    >>> from showtell.recipes import Recipe
    >>> recipe = Recipe(model="openai:gpt-4.1-mini", labels=["cat", "dog"])
    >>> grey = np.full((64, 64, 3), 128, np.uint8)
    >>> found = estimate(recipe, [grey])
    >>> found.n_images, found.sums.n_requests, found.seconds
    (1, 1, 1.4)
    """
    pictures: Sequence[Media] = getattr(images, "images", images)  # type: ignore[arg-type]
    prepared: Any = what
    recipe = what if isinstance(what, Recipe) else Recipe()
    if isinstance(what, Recipe):
        row = what.row(examples=bool(examples))
        if row.local:
            what = what.telling(n_calibration=0)
        prepared = what.prepare(examples, model=model) if row.asks else None
    if hasattr(prepared, "count_tokens"):
        found = _in_this_process(prepared, pictures, progress)
    elif hasattr(prepared, "requests"):
        as_jobs = bool(recipe.option("jobs") if jobs is None else jobs)
        found = _at_a_provider(prepared, recipe, pictures, as_jobs, latency, model)
    else:
        found = Estimate(
            model=recipe.encoder if prepared is None else type(prepared).__name__,
            n_images=len(pictures),
            sums=Sums(cost_usd_batch=None),
            seconds=None,
        )
    if to_tell_apart is None:
        return found
    planned = tell_apart(to_tell_apart, discordance=discordance)
    cost = found.sums.cost_usd
    each = None if cost is None or not found.n_images else cost / found.n_images
    if found.sums.n_requests == 0:
        each = Decimal(0)
    total = None if each is None else each * planned.n_images
    return replace(found, tell_apart=replace(planned, cost_usd=total))


def tell_apart(
    difference: float, *, discordance: float | None = None, power: float = 0.8
) -> TellApart:
    """Say how many images show a difference between two ways that are asked about the same ones.

    Parameters
    ----------
    difference : float
        Of the accuracies, between 0 and 1: 0.03 for 3 points.
    discordance : float, optional
        Share of images on which exactly one of the two is right; two similar classifiers have .1
        to .2. Unless given 0.15, or the difference where that is larger.
    power : float, default=0.8
        Chance to find it, by an exact McNemar test at 5 %.

    Returns
    -------
    planned : TellApart

    Raises
    ------
    InputError
        If the numbers are out of range.

    See Also
    --------
    showtell.metrics.sample_size_paired : The arithmetic.

    Examples
    --------
    >>> tell_apart(0.05).n_images, tell_apart(0.03).n_images
    (498, 1362)
    """
    if not 0 < difference < 1:
        raise InputError(
            "`to_tell_apart` is a difference of accuracies, more than 0 and less than 100 points; "
            f"got {100 * difference:g} points.",
            param="to_tell_apart",
        )
    share = max(DISCORDANCE, difference) if discordance is None else discordance
    n = metrics.sample_size_paired(difference, share, power=power)
    return TellApart(difference=difference, discordance=share, power=power, n_images=n)


def _at_a_provider(
    prepared: Any,
    recipe: Recipe,
    images: Sequence[Media],
    jobs: bool,
    latency: float | None,
    model: MLLM | None,
) -> Estimate:
    """Count what would be sent."""
    name = prepared.model_
    known: Capabilities = getattr(model, "capabilities", None) or mllm.capabilities_of(name)
    if jobs and not known.batch:
        raise InputError(
            f"{name} has no batch endpoint. Leave out `jobs`, or use a model of "
            "openai, google or anthropic.",
            param="jobs",
        )
    cache: AnswerCache | None = mllm.default_cache() if recipe.access.get("reuse", True) else None
    sums = add_up(
        prepared.requests(images),
        name=name,
        capabilities=known,
        cache=cache,
        endpoint=_endpoint(prepared, recipe, model),
        jobs=jobs,
        answer_tokens=getattr(prepared, "answer_tokens", None),
    )
    seconds = None  # of a batch job nobody knows more than "within a day"
    if not jobs:
        seconds = seconds_for(
            sums,
            slots=recipe.access.get("max_concurrency") or (8 if known.free else 64),
            latency=latency,
            requests_per_minute=recipe.access.get("requests_per_minute"),
            tokens_per_minute=recipe.access.get("tokens_per_minute"),
        )
    return Estimate(model=name, n_images=len(images), sums=sums, seconds=seconds, known=known)


def _endpoint(prepared: Any, recipe: Recipe, model: MLLM | None) -> str:
    """Say where the model is; nobody is asked."""
    if model is not None:
        return str(getattr(model, "place", ""))
    if recipe.model is not None:
        return reached(recipe).endpoint
    access = getattr(prepared, "_access", None)
    return "" if access is None else str(access().endpoint)


def _in_this_process(prepared: Any, images: Sequence[Media], progress: Progress) -> Estimate:
    """Count tokens by the checkpoint's own processor, and time the first usable image."""
    tokens = prepared.count_tokens(images, progress=progress)
    seconds = None
    for image in images:
        start = time.perf_counter()
        if prepared.classify([image]).counts["error"] == 0:
            seconds = tokens.n_images * (time.perf_counter() - start)
            break
    sums = Sums(
        n_asked=tokens.n_images * tokens.n_passes,
        input_tokens=tokens.image + tokens.text,
        image_tokens=tokens.image,
        cost_usd_batch=None,
    )
    name = getattr(prepared, "model", "")
    return Estimate(
        model=name if isinstance(name, str) else media.media_name(name),
        n_images=len(images),
        sums=sums,
        seconds=seconds,
    )
