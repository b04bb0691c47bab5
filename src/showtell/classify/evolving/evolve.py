"""One evolution: the loop with what a classifier is told, kept in a run folder as it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from showtell._progress import Progress
from showtell.classify.described.described import DescriptionClassifier
from showtell.classify.evolving.loop import Loop, Rules, groups_of, sample_number
from showtell.classify.evolving.parts import Parts, digest_of
from showtell.classify.evolving.questions import Asker, Feedback, Version
from showtell.classify.evolving.record import Evolution, Generation, Keeping, cost_of, with_earlier
from showtell.classify.evolving.scores import DescriptionScores
from showtell.classify.labels import label_words
from showtell.encoders import Encoder, load_encoder
from showtell.errors import InputError, RunError
from showtell.mllm.base import Request
from showtell.mllm.model import open_client
from showtell.mllm.structured import Question, requests_of
from showtell.prompts import DescriptionSet, PromptSet, load_prompts, read_descriptions

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


def start_of(clf: EvolvingDescriptionClassifier, names: Sequence[str]) -> DescriptionSet:
    """Read what generation 0 has, without repeats and weights."""
    if clf.start is None:
        return DescriptionSet(dict.fromkeys(names, ()))
    given = read_descriptions(clf.start).without_repeats()
    if given.kind == "sentences":
        raise InputError(
            "`start` holds sentences, and phrases evolve, such as 'a long tail'. `showtell "
            "describe --style dclip` writes some; None starts from the names."
        )
    chosen = given.restricted(list(names))
    if not chosen.n_descriptions:
        theirs = ", ".join(map(repr, list(given)[:5])) or "nobody"
        raise InputError(
            f"None of the {len(names)} labels has a description in `start`; it describes "
            f"{theirs}. Its labels must be spelled as yours are."
        )
    return replace(chosen, weights={})


def described_by(
    clf: EvolvingDescriptionClassifier, descriptions: DescriptionSet
) -> DescriptionClassifier:
    """Make the classifier of a description set, not yet fitted."""
    template, domain = clf.template, clf.domain
    if clf.compat == "upstream":
        template, domain = "{label}", ""
        texts = {k: tuple(f"{k}, {text}" for text in v) for k, v in descriptions.items()}
        descriptions = DescriptionSet(texts, kind="sentences")
    classes = getattr(clf, "classes_", None)
    return DescriptionClassifier(
        clf.encoder,
        labels=descriptions.labels if classes is None else classes.tolist(),
        descriptions=descriptions,
        averaging="similarity",
        template=template,
        domain=domain,
        abstain_below=clf.abstain_below,
        probability=clf.probability,
        calibrate=False,
        store=clf.store,
    )


def fitted_on(
    clf: EvolvingDescriptionClassifier, encoder: Encoder, descriptions: DescriptionSet
) -> DescriptionClassifier:
    """Fit the classifier of a description set, be it one without any description."""
    own = described_by(clf, descriptions)
    own._check_arguments()
    own.classes_ = clf.classes_
    assert isinstance(own.descriptions, DescriptionSet)
    own.descriptions_ = own.descriptions
    own._embed(encoder, list(descriptions))
    own._take_scale(encoder)
    return own


def prompt_writer(
    clf: EvolvingDescriptionClassifier, domain: str | None
) -> Callable[[str, str | None], str]:
    """Write prompts as the final classifier does."""

    def write(label: str, text: str | None) -> str:
        texts = () if text is None else (text,)
        found = described_by(clf, DescriptionSet({label: texts}, domain=domain))
        assert isinstance(found.descriptions, DescriptionSet)
        found.descriptions_ = found.descriptions
        [[(prompt, _, _)]] = found._texts([label])
        return prompt

    return write
