"""How an evolution of words goes, generation by generation, in lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from showtell.classify.evolving.record import Evolution, Generation


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
        validation = f", validation {_number(generation.validation)}"
    told = f"generation {generation.number}: fitness {_number(generation.fitness)}{validation}; "
    if not generation.number:
        return f"{told}the start, {_counted(generation.n_descriptions, 'description')}"
    told += f"{_counted(generation.n_changed, 'change')}"
    useless = n_useless(generation)
    if useless:
        told += f", {useless:,} of {_counted(len(generation.exchanges), 'answer')} of no use"
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


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _counted(n: int, singular: str) -> str:
    return f"{n:,} {singular if n == 1 else singular + 's'}"
