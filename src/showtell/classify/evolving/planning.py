"""What an evolution will ask, at most: for estimates, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from showtell.classify.evolving.evolve import asker_of
from showtell.classify.evolving.loop import groups_of, sample_number
from showtell.classify.evolving.questions import Feedback, Version
from showtell.classify.evolving.result import prompt_writer, start_of
from showtell.classify.evolving.scores import DescriptionScores
from showtell.classify.labels import label_words
from showtell.encoders import load_encoder
from showtell.errors import InputError
from showtell.mllm.base import Request
from showtell.mllm.structured import Question, requests_of
from showtell.prompts import load_prompts

if TYPE_CHECKING:
    from showtell.classify.evolving.classifier import EvolvingDescriptionClassifier

_USUAL = "a visual feature of some words"  # stands for a description in estimates
_TOKENS_PER_TEXT = 9  # of an answer, on average


@dataclass(frozen=True, kw_only=True)
class EvolutionPlan:
    """What an evolution will ask, at most; made by `EvolvingDescriptionClassifier.plan`."""

    n_generations: int
    n_requests: int
    """Of all generations, repairs of unusable answers left out."""
    requests: tuple[Request, ...]
    """The first generation is as it will be sent, but for what the confusions will be; in later
    ones descriptions of usual length stand in for those to come."""
    output_tokens: int
    """Of one answer, about."""


def plan_evolution(
    clf: EvolvingDescriptionClassifier, labels: Sequence[str] | None
) -> EvolutionPlan:
    """Write the questions of all generations; see `EvolvingDescriptionClassifier.plan`."""
    words = label_words(clf.labels if labels is None else labels, None)
    names = sorted(name[0] for name in words.names)
    if len(names) < 2:
        raise InputError("Descriptions tell labels apart, and there is only one label.")
    encoder = load_encoder(clf.encoder)
    start = start_of(clf, names)
    scores = DescriptionScores(
        encoder,
        np.empty((0, int(encoder.n_dims)), np.float32),
        names,
        prompt_writer(clf, start.domain),
        store=clf.store,
    )
    first = {name: start[name] for name in names}
    groups = groups_of(names, scores.means(first), clf.cluster_size, clf._seed)
    prompts = load_prompts(clf.prompt_dir, library="evolve")
    asker = asker_of(clf, prompts, names)
    usual = tuple(f"{_USUAL} {i}" for i in range(clf.n_start))
    questions: list[Question[Any]] = []
    for number in range(1, clf.n_generations + 1):
        current = first if number == 1 else dict.fromkeys(names, usual)
        for group in groups:
            near = {x: [o for o in group if o != x][: clf.n_confused] for x in group}
            feedback = Feedback(confused=near)
            for k in range(clf.n_candidates):
                sample = sample_number(clf._seed, number, k)
                questions.append(asker.rewrite(group, current, feedback, sample=sample))
            if clf.crossover == "llm" and clf.n_candidates > 1:
                version = _version(dict.fromkeys(group, usual))
                sample = sample_number(clf._seed, number, clf.n_candidates)
                shown = [version] * clf.n_candidates
                questions.append(asker.mix(group, shown, {}, sample=sample))
    access = clf._access()
    native = access.capabilities.structured_output
    requests = requests_of(access.name, questions, native=native)
    largest = max(map(len, groups))
    return EvolutionPlan(
        n_generations=int(clf.n_generations),
        n_requests=len(requests),
        requests=tuple(requests),
        output_tokens=largest * (12 + _TOKENS_PER_TEXT * int(clf.n_start)),
    )


def _version(texts: Mapping[str, Sequence[str]]) -> Version:
    return Version(texts=texts, accuracy=0.5, by_label=dict.fromkeys(texts, 0.5))
