"""Opinions on an image added up: an encoder's, and those of a model's texts about it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress
from showtell.classify.asking.access import COLUMNS
from showtell.classify.stopped import why_stopped
from showtell.encoders import Embeddings, Encoder, ImageEmbeddings, embed_texts, unit
from showtell.encoders.embed import Store
from showtell.errors import InputError, JobsPendingError, MediaError, RunError
from showtell.media import Media, read_media
from showtell.mllm.base import ImagePart, Request, TextPart
from showtell.mllm.images import prepare_image
from showtell.mllm.model import Model, open_client
from showtell.mllm.structured import Checked, Question, Spent, ask_checked, requests_of
from showtell.prompts import DescriptionSet, PromptSet
from showtell.prompts.template import fill

_GRID = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # weights tried, relative to each other


def class_vectors(
    encoder: Encoder,
    names: Sequence[str],
    features: Sequence[str],
    *,
    template: str,
    descriptions: DescriptionSet | None,
    store: Store,
) -> Embeddings:
    """Give ``n(name + template + mean of descriptions)`` of each label, those in `features`."""
    vectors = np.zeros((len(names), int(encoder.n_dims)), np.float64)
    if "name" in features:
        vectors += embed_texts(encoder, list(names), store=store)
    if "template" in features:
        vectors += embed_texts(encoder, [fill(template, name) for name in names], store=store)
    if "descriptions" in features and descriptions is not None:
        vectors += _described(encoder, descriptions, store, only=len(features) == 1)
    return unit(vectors)


def _described(
    encoder: Encoder, descriptions: DescriptionSet, store: Store, *, only: bool
) -> NDArray[np.float64]:
    """Mean embedding of each label's descriptions; zeros where it has none."""
    texts = list(dict.fromkeys(text for of in descriptions.values() for text in of))
    if not texts:
        raise InputError("None of the labels has a description; see their spelling.")
    rows = embed_texts(encoder, texts, store=store).astype(np.float64)
    place = {text: row for row, text in enumerate(texts)}
    found = np.zeros((len(descriptions), rows.shape[1]))
    for code, (label, of) in enumerate(descriptions.items()):
        if of:
            share = np.asarray(descriptions.weights_of(label))
            found[code] = share @ rows[[place[t] for t in of]] / share.sum()
        elif only:
            raise InputError(f"{label!r} has no description, and nothing else describes it.")
    return found


@dataclass(frozen=True, kw_only=True)
class Opinions:
    """Cosines of opinions with the class vectors, and how they are added up."""

    prototypes: Embeddings
    """The class vectors, shape (n_classes, n_dims)."""
    weights: Mapping[str, float]
    standardise: bool

    def terms(self, found: ImageEmbeddings, seen: Seen) -> dict[str, NDArray[np.float64]]:
        """Cosines of every opinion with the class vectors, (n_distinct, n_classes) each."""
        weights = self.prototypes.T.astype(np.float64)
        terms = {}
        for name in self.weights:
            rows = found.embeddings if name == "image" else seen.vectors.get(name)
            if rows is None:
                rows = np.zeros_like(found.embeddings)
            values = rows.astype(np.float64) @ weights
            if self.standardise:
                spread = values.std(axis=1, keepdims=True)
                values = (values - values.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-9)
            terms[name] = values
        return terms

    def fused(
        self,
        found: ImageEmbeddings,
        seen: Seen,
        terms: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> NDArray[np.float64]:
        """Scores of distinct images: cosines with ``q``, or means of standardised cosines."""
        known = self.terms(found, seen) if terms is None else terms
        total = np.zeros((len(found.embeddings), len(self.prototypes)))
        q = np.zeros((len(found.embeddings), self.prototypes.shape[1]))
        for name, weight in self.weights.items():
            total += weight * known[name]
            rows = found.embeddings if name == "image" else seen.vectors.get(name)
            if rows is not None:
                q += weight * rows.astype(np.float64)
        if self.standardise:
            total /= sum(self.weights.values())
        else:
            total /= np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-12)
        return total


def tuned_weights(
    terms: Mapping[str, NDArray[np.float64]], truth: NDArray[np.intp]
) -> tuple[dict[str, float], dict[str, float]]:
    """Choose the weights that are right most often, by the widest margin among equals.

    `terms`, of shape (n, n_classes); `truth`, of shape (n,). Returns `accuracy`: of each opinion
    alone, of "equal" weights and of those "chosen".
    """

    def judge(weights: Mapping[str, float]) -> tuple[float, float]:
        total = sum(w * terms[name] for name, w in weights.items())
        scores = np.asarray(total) / max(sum(weights.values()), 1e-12)
        own = scores[np.arange(len(truth)), truth]
        others = scores.copy()
        others[np.arange(len(truth)), truth] = -np.inf
        margin = own - others.max(axis=1)
        return float((margin > 0).mean()), float(margin.mean())

    names = list(terms)
    equal = dict.fromkeys(names, 1.0)
    chosen, best = equal, judge(equal)
    for values in itertools.product(_GRID, repeat=len(names)):
        weights = dict(zip(names, values, strict=True))
        if max(values) == 0 or 1.0 not in values:
            continue  # the same as another one, but for scale
        found = judge(weights)
        if found > best:
            chosen, best = weights, found
    alone = {name: judge({name: 1.0})[0] for name in names}
    return chosen, {**alone, "equal": judge(equal)[0], "chosen": best[0]}


_TEMPERATURES = {"description": 0.0, "guess": 0.3}  # as the paper's listing has them
_AT_ONCE = 256  # images held in memory
_GUESS_SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
    "additionalProperties": False,
}


@dataclass
class Seen:
    """What the model said about the distinct images."""

    texts: dict[str, list[str | None]]
    vectors: dict[str, Embeddings]
    reasons: list[str | None]
    """Why an image has no usable text; None where it has all."""
    spent: list[Spent]
    stop: RunError | KeyboardInterrupt | None = None
    """What ended the run before all images were asked about."""
    stopped: set[int] = field(default_factory=set)
    """Images that were not asked about, or in part."""

    def cut(self, places: Iterable[int], stop: RunError | KeyboardInterrupt) -> None:
        """Note what ended the run, and which images do not have all their texts."""
        self.stop, line = stop, why_stopped(stop)
        for place in places:
            if self.reasons[place] is None and any(t[place] is None for t in self.texts.values()):
                self.reasons[place] = line
                self.stopped.add(place)

    def take(self, place: int, name: str, answer: Checked[str]) -> None:
        """Note the answer to a question about an image."""
        self.spent[place].merge(answer.spent)
        if answer.value is None:
            self.reasons[place] = f"No {name} by the model: {answer.reason}"
        else:
            self.texts[name][place] = answer.value

    def embed(self, encoder: Encoder, store: Store) -> None:
        """Embed what was said; nothing said is a zero vector."""
        n = len(self.reasons)
        for name, said in self.texts.items():
            known = list(dict.fromkeys(text for text in said if text))
            if not known:
                continue
            rows = embed_texts(encoder, known, store=store)
            where = {text: row for row, text in enumerate(known)}
            vectors = np.zeros((n, rows.shape[1]), np.float32)
            for place, text in enumerate(said):
                if text:
                    vectors[place] = rows[where[text]]
            self.vectors[name] = vectors

    def columns(self, places: NDArray[np.int64]) -> dict[str, list[Any]]:
        """Give what the model said and what that took, per input; places as `ImageEmbeddings`."""
        columns: dict[str, list[Any]] = {name: [] for name in (*COLUMNS, *self.texts)}
        known: set[int] = set()
        for place in places.tolist():
            spent = Spent() if place < 0 or place in known else self.spent[place]
            is_cached = place in known or (
                place >= 0 and spent.n_from_cache > 0 and spent.n_requests == 0
            )
            reason = "image" if place < 0 else ("model" if self.reasons[place] else None)
            reason = "stopped" if place in self.stopped else reason
            values = (
                spent.cost_usd,
                spent.input_tokens,
                spent.output_tokens,
                is_cached,
                spent.seconds,
                reason,
            )
            for name, value in zip(COLUMNS, values, strict=True):
                columns[name].append(value)
            for name, texts in self.texts.items():
                columns[name].append(None if place < 0 else texts[place])
            known.add(place)
        return columns


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Asks a model about images."""

    access: Model
    prompts: PromptSet
    use: tuple[str, ...]
    """Which texts are asked for: "description", "guess"."""
    names: tuple[str, ...]
    """Of the labels, shape (n_classes,)."""
    max_side: int | None
    seed: int

    def requests(self, images: Sequence[Media]) -> list[Request]:
        """Write the requests about images, without sending any."""
        asked: list[Question[str]] = []
        for source in images:
            try:
                asked += self.questions(self.part(source))
            except MediaError:
                continue
        native = self.access.capabilities.structured_output
        return requests_of(self.access.name, asked, native=native)

    def questions(self, part: ImagePart) -> list[Question[str]]:
        """Write what is asked about one image, in the order of `use`."""
        asked: list[Question[str]] = []
        system = self.prompts.texts["system"].strip()
        shown = (TextPart(text="Image q:"), part, TextPart(text="End of image q."))
        if "description" in self.use:
            asked.append(
                Question(
                    system=system,
                    parts=(TextPart(text=self.prompts.render("describe")), *shown),
                    schema=None,
                    check=_some_text,
                    prompt_version=self.prompts.version,
                    temperature=self._temperature("description"),
                    max_tokens=1024,
                    name="description",
                )
            )
        if "guess" in self.use:
            digest = hashlib.blake2b(part.digest.encode(), digest_size=8).digest()
            rng = np.random.default_rng([self.seed % 2**63, int.from_bytes(digest, "big") % 2**63])
            listed = [self.names[i] for i in rng.permutation(len(self.names))]
            lines = "\n".join(["Labels:", *(f"- {name}" for name in listed), "End of labels."])
            asked.append(
                Question(
                    system=system,
                    parts=(TextPart(text=self.prompts.render("guess", labels=lines)), *shown),
                    schema=_GUESS_SCHEMA,
                    check=_guessed,
                    prompt_version=self.prompts.version,
                    temperature=self._temperature("guess"),
                    max_tokens=1024,
                    name="guess",
                )
            )
        return asked

    def _temperature(self, name: str) -> float | None:
        return _TEMPERATURES[name] if self.access.capabilities.sampling else None

    def part(self, source: Media) -> ImagePart:
        """Read an image and make it fit to be sent."""
        capabilities = self.access.capabilities
        return prepare_image(read_media(source), max_side=self.max_side, capabilities=capabilities)

    def look(self, images: Sequence[Media], found: ImageEmbeddings, progress: Progress) -> Seen:
        """Ask about each distinct image; what ends the run comes back with what was said."""
        n = len(found.embeddings)
        texts: dict[str, list[str | None]] = {name: [None] * n for name in self.use}
        seen = Seen(
            texts=texts,
            vectors={},
            reasons=[None] * n,
            spent=[Spent() for _ in range(n)],
        )
        if not texts or not n:
            return seen
        first: dict[int, int] = {}
        for row, place in enumerate(found.distinct.tolist()):
            if place >= 0:
                first.setdefault(place, row)
        try:
            self._ask(images, first, seen, progress)
        except JobsPendingError:
            raise
        except (RunError, KeyboardInterrupt) as stop:
            seen.cut(first, stop)
        return seen

    def _ask(
        self, images: Sequence[Media], first: Mapping[int, int], seen: Seen, progress: Progress
    ) -> None:
        places = sorted(first)
        with open_client(self.access) as client:
            for start in range(0, len(places), _AT_ONCE):
                part_of = places[start : start + _AT_ONCE]
                asked: list[Question[str]] = []
                owners: list[int] = []
                for place in part_of:
                    try:
                        part = self.part(images[first[place]])
                    except MediaError as error:
                        seen.reasons[place] = " ".join(str(error).split())
                        continue
                    new = self.questions(part)
                    asked += new
                    owners += [place] * len(new)
                names = [question.name for question in asked]

                def take(
                    i: int,
                    answer: Checked[str],
                    owners: Sequence[int] = owners,
                    names: Sequence[str] = names,
                ) -> None:
                    seen.take(owners[i], names[i], answer)

                ask_checked(client, asked, timeout=self.access.timeout, on_done=take)
                progress(start + len(part_of), len(places), "Asking")


def _some_text(value: Any) -> str:
    text = " ".join(str(value).split())
    if not text:
        raise ValueError("A sentence or more is wanted.")
    return text


def _guessed(value: Any) -> str:
    label = value.get("label") if isinstance(value, dict) else None
    if not isinstance(label, str) or not label.strip():
        raise ValueError('The field "label" must hold one of the labels.')
    return " ".join(label.split())
