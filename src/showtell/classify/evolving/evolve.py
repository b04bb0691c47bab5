"""One evolution: the loop with what a classifier is told, kept in a run folder as it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from showtell._progress import Progress
from showtell.classify.evolving.keeping import Keeping, cost_of, with_earlier
from showtell.classify.evolving.loop import Loop, Rules
from showtell.classify.evolving.parts import Parts, digest_of
from showtell.classify.evolving.questions import Asker
from showtell.classify.evolving.record import Evolution, Generation
from showtell.classify.evolving.result import prompt_writer
from showtell.classify.evolving.scores import DescriptionScores
from showtell.encoders import Encoder
from showtell.errors import RunError
from showtell.mllm.model import open_client
from showtell.prompts import DescriptionSet, PromptSet, load_prompts

if TYPE_CHECKING:
    from showtell.classify.evolving.classifier import EvolvingDescriptionClassifier


def evolve(
    clf: EvolvingDescriptionClassifier,
    encoder: Encoder,
    names: Sequence[str],
    start: DescriptionSet,
    parts: Parts,
    progress: Progress,
    on_generation: Callable[[Evolution], None] | None,
) -> Evolution:
    """Run the loop; labels go by name, so that their order does not matter."""
    prompts = load_prompts(clf.prompt_dir, library="evolve")
    access = clf._access()
    labels = sorted(names)
    place = {name: i for i, name in enumerate(labels)}
    of_code = np.array([place[name] for name in names], np.intp)
    scores = DescriptionScores(
        encoder,
        parts.embeddings,
        labels,
        prompt_writer(clf, start.domain),
        store=clf.store,
    )
    settings = {
        **_deciding(clf),
        "encoder": encoder.fingerprint,
        "start": None if clf.start is None else digest_of(sorted(start.items())),
        "images": parts.digest,
    }
    header = Evolution(
        labels=tuple(names),
        model=access.name,
        encoder=encoder.name,
        prompt_version=prompts.version,
        seed=clf._seed,
        n_support=parts.n_support,
        n_validation=len(parts.codes) - parts.n_support,
        generations=(),
        best=0,
        state="running",
        settings=settings,
    )
    keeping = Keeping(access.run_folder)
    before = keeping.earlier(header)
    with open_client(access) as client:
        loop = Loop(
            _rules_of(clf),
            scores,
            asker_of(clf, prompts, labels),
            client,
            of_code[parts.codes],
            parts.n_support,
            timeout=access.timeout,
            progress=progress,
        )
        latest = header

        def after(generations: Sequence[Generation], best: int) -> None:
            nonlocal latest
            told = tuple(with_earlier(one, before) for one in generations)
            cost = cost_of(told, client)
            latest = replace(header, generations=told, best=best, cost_usd=cost)
            keeping.note(latest, keep=before)
            if on_generation is not None:
                on_generation(latest)

        try:
            state = loop.run({label: start[label] for label in labels}, after)
        except (RunError, KeyboardInterrupt):
            if latest.generations:
                cost = cost_of(latest.generations, client)
                keeping.note(replace(latest, state="stopped", cost_usd=cost), keep=before)
            raise
        clf.spent_ = loop.spent
        latest = replace(latest, state=state, cost_usd=cost_of(latest.generations, client))
        keeping.note(latest)
    return latest


def _rules_of(clf: EvolvingDescriptionClassifier) -> Rules:
    return Rules(
        n_generations=int(clf.n_generations),
        n_candidates=int(clf.n_candidates),
        n_start=int(clf.n_start),
        n_least=int(clf.n_least),
        cluster_size=int(clf.cluster_size),
        ratio=float(clf.ratio),
        n_confused=int(clf.n_confused),
        crossover=clf.crossover,
        max_sweeps=int(clf.max_sweeps),
        patience=clf.patience,
        upstream=clf.compat == "upstream",
        seed=clf._seed,
    )


def asker_of(
    clf: EvolvingDescriptionClassifier, prompts: PromptSet, labels: Sequence[str]
) -> Asker:
    """Make what words the questions of an evolution."""
    return Asker(
        prompts=prompts,
        labels=tuple(labels),
        n_start=int(clf.n_start),
        n_replaced=int(clf.n_replaced),
        n_least=int(clf.n_least),
        temperature=1.0 if clf._access().capabilities.sampling else None,
        strict=clf.compat == "upstream",
    )


def _deciding(clf: EvolvingDescriptionClassifier) -> dict[str, Any]:
    """List the parameters that decide about the result, as plain values."""
    names = (
        "n_candidates", "n_start", "n_replaced", "n_least", "cluster_size", "ratio",
        "n_confused", "crossover", "max_sweeps", "shots", "validation", "template", "domain",
        "compat",
    )  # fmt: skip
    values = {name: getattr(clf, name) for name in names}
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}
