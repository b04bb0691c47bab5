"""`--method evolving`, and what `optimize` shares with it: an evolution from the options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from showtell.cli.output import counted, number
from showtell.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from showtell.classify.evolving.classifier import EvolutionPlan, EvolvingDescriptionClassifier
    from showtell.classify.evolving.record import Evolution, Generation
    from showtell.cli.asking import Asking
    from showtell.datasets import Dataset, LabelSet
    from showtell.mllm import Request

__all__ = ["line_of", "live_lines", "make_evolving"]

_FOREIGN = (
    "anonymise",
    "selection",
    "role",
    "confidence_from",
    "n_samples",
    "permutations",
    "correct",
    "calibrate",
    "shortlist",
    "batch_size",
    "temperature",
    "batch_api",
)


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """Stands for the classifier in an estimate: what costs is to fit it, images cost nothing."""

    model_: str
    plan: EvolutionPlan

    @property
    def answer_tokens(self) -> int:
        """Of one answer, about."""
        return self.plan.output_tokens

    def requests(self, _images: object) -> Sequence[Request]:
        """Give all that is asked, however many images there are."""
        return self.plan.requests


def make_evolving(
    asking: Asking,
    *,
    shots: int | None,
    abstain_below: float | None,
    encoder: Any,
    store: str | None,
    seed: int,
    label_set: LabelSet | None,
    support: Dataset | None,
    descriptions: str | None,
    domain: str | None,
) -> Any:
    """Build the classifier whose descriptions evolve, and fit it on labelled images.

    Where nothing is to be asked, give what stands for it in an estimate.

    Raises
    ------
    InputError
        If an option belongs to another method, or there are no labelled images.
    """
    from showtell.classify.evolving.classifier import EvolvingDescriptionClassifier

    usual = {f.name: f.default for f in fields(asking)}
    foreign = [name for name in _FOREIGN if getattr(asking, name) != usual[name]]
    if foreign:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
        raise InputError(f"Method 'evolving' does not use {flags}; leave it out.")
    if shots == 0:
        raise InputError("Method 'evolving' learns from labelled images: --shots is 1 or more.")
    if asking.asks and (support is None or not len(support)):
        raise InputError(
            "Method 'evolving' learns from labelled images. Give some with --examples DIR, a "
            "folder per label."
        )
    labels = label_set.labels if label_set is not None else support.labels if support else ()
    fewer: dict[str, Any] = {} if shots is None else {"shots": shots}
    clf: EvolvingDescriptionClassifier = EvolvingDescriptionClassifier(
        asking.access(),
        encoder,
        labels=list(labels),
        start=descriptions,
        domain=domain,
        abstain_below=abstain_below,
        prompt_dir=asking.prompt_dir,
        **fewer,
        store=store,
        random_state=seed,
    )
    if not asking.asks:
        name = asking.model if asking.meter is None else asking.meter.name
        return _Planned(model_=name, plan=clf.plan())
    assert support is not None
    tell = None if asking.say is None else live_lines(asking.say)
    return clf.fit(support.images, support.y, on_generation=tell)


def live_lines(say: Callable[[str], None]) -> Callable[[Evolution], None]:
    """Say a line after each generation."""

    def tell(evolution: Evolution) -> None:
        say(line_of(evolution, evolution.generations[-1]))

    return tell


def line_of(evolution: Evolution, generation: Generation) -> str:
    """Say what a generation came to.

    Examples
    --------
    >>> from showtell.classify import Evolution, Generation
    >>> start = Generation(
    ...     number=0, descriptions={"cat": ()}, fitness=0.5, margin=0.0, validation=0.25
    ... )
    >>> evolution = Evolution(
    ...     labels=("cat",), model="toy:one", encoder="mini", prompt_version="evolve-1", seed=0,
    ...     n_support=4, n_validation=4, generations=(start,), best=0, state="running",
    ... )
    >>> line_of(evolution, start)
    'generation 0: fitness 0.500, validation 0.250; the start, 0 descriptions'
    """
    validation = ""
    if generation.validation is not None:
        validation = f", validation {number(generation.validation)}"
    told = f"generation {generation.number}: fitness {number(generation.fitness)}{validation}; "
    if not generation.number:
        return f"{told}the start, {counted(generation.n_descriptions, 'description')}"
    told += f"{counted(generation.n_changed, 'change')}"
    useless = n_useless(generation)
    if useless:
        told += f", {useless:,} of {counted(len(generation.exchanges), 'answer')} of no use"
    return f"{told}, best so far" if evolution.best == generation.number else told


def n_useless(generation: Generation) -> int:
    """Count the answers that could not be used at all."""
    return sum(exchange.reason is not None for exchange in generation.exchanges)


def dropped_texts(evolution: Evolution) -> Mapping[str, Sequence[str]]:
    """Collect what was written and left out, by label, each text once."""
    found: dict[str, dict[str, None]] = {}
    for generation in evolution.generations:
        for exchange in generation.exchanges:
            for label, texts in exchange.dropped.items():
                found.setdefault(label, {}).update(dict.fromkeys(texts))
    return {label: tuple(texts) for label, texts in found.items()}
