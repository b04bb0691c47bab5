"""What a job says while it works, also of the generations of words: to a terminal, or nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from showtell.words import number, plural

if TYPE_CHECKING:
    from showtell.classify.evolving.record import Evolution, Generation


@dataclass(frozen=True, kw_only=True)
class Event:
    """A sentence about how it goes."""

    kind: Literal["note", "detail", "line", "always", "resume"]
    """A "note" is worth knowing, a "detail" for those who ask, a "line" part of what comes of it;
    "always" is said even to those who want to hear nothing, such as where pictures go.
    "resume" says how to go on from there, should it be stopped from now on."""
    text: str


Tell: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """Say nothing; the default everywhere."""


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
        return f"{told}the start, {plural(generation.n_descriptions, 'description')}"
    told += f"{plural(generation.n_changed, 'change')}"
    useless = n_useless(generation)
    if useless:
        told += f", {useless:,} of {plural(len(generation.exchanges), 'answer')} of no use"
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
