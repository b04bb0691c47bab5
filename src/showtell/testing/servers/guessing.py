"""From what was shown to a label per query, with planted prejudices where asked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.encoders.base import Embeddings, unit
from showtell.errors import InputError
from showtell.testing.servers.knobs import Bias, uniform
from showtell.testing.servers.reading import Query, Scene
from showtell.testing.servers.sight import Sight

__all__ = ["Guess", "Guesser", "Truth", "is_neutral"]

Truth: TypeAlias = Mapping[str, str] | Callable[[Query], str | None]
"""The right label by image digest or query id, or a function of the query."""

_NEUTRAL = re.compile(
    r"(?:class|label|category|type|group|kind|option|id|code|item|l|c)?[\s_\-#]*[a-z]?[\s_\-]*\d*",
    re.IGNORECASE,
)
_PULL_LOGITS = 0.5  # what a pulled label is above the honest one
_TRUTH_LOGITS = 6.0


def is_neutral(label: str) -> bool:
    """Tell whether a label is a mere code, from which nothing about pictures follows.

    Examples
    --------
    >>> [is_neutral(label) for label in ("class_07", "B", "12", "cat", "monarch")]
    [True, True, True, False, False]
    """
    return _NEUTRAL.fullmatch(label.strip()) is not None


@dataclass(frozen=True, kw_only=True)
class Guess:
    """How a query was answered."""

    query: Query
    label: str
    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    """One per label, in their order."""

    @property
    def margin(self) -> float:
        """First minus second probability."""
        if len(self.labels) < 2:
            return 1.0
        top = np.sort(self.probabilities)
        return float(top[-1] - top[-2])


@dataclass(frozen=True, kw_only=True)
class Guesser:
    """Labels queries by looking at them."""

    sight: Sight
    rule: Literal["mean", "nearest"] = "mean"
    image_scale: float = 20.0
    """Multiplies cosines between images; near the best for `mini` by likelihood of photo labels."""
    bias: Bias = field(default_factory=Bias)
    truth: Truth | None = None
    seed: int = 0

    async def guess(
        self,
        scene: Scene,
        allowed: Sequence[str],
        *,
        key: str = "",
        temperature: float | None = None,
        attempt: int = 0,
    ) -> list[Guess]:
        """Label every query; drawn anew at each `attempt` where `temperature` is above 0."""
        shown = tuple(dict.fromkeys(d.label for d in scene.demonstrations))
        labels = tuple(allowed) or scene.labels or shown
        if not labels:
            return [
                Guess(query=query, label="", labels=(), probabilities=np.zeros(0))
                for query in scene.queries
            ]
        logits = await self._logits(scene, labels)
        logits += self._leaning(scene, labels)
        guesses = []
        for query, row in zip(scene.queries, logits, strict=True):
            row = self._pulled(scene, query, labels, row)
            if temperature is not None and temperature > 0:
                row = _sampled(row, temperature, self.seed, key, attempt, query.id, labels)
            if self.bias.noise and (
                uniform(self.seed, "noise", key, attempt, query.image.digest) < self.bias.noise
            ):
                draw = uniform(self.seed, "noise label", key, attempt, query.image.digest)
                row = _raised(row, int(draw * len(labels)))
            probabilities = _softmax(row)
            label = labels[int(np.argmax(row))]
            guesses.append(
                Guess(query=query, label=label, labels=labels, probabilities=probabilities)
            )
        return guesses

    async def _logits(self, scene: Scene, labels: tuple[str, ...]) -> NDArray[np.float64]:
        """Honest scores, shape (n_queries, n_labels)."""
        queries = scene.queries
        if self.truth is not None:
            logits = np.zeros((len(queries), len(labels)))
            for row, query in zip(logits, queries, strict=True):
                name = self._true_label(query)
                if name is not None and name not in labels:  # the labels are codes
                    name = self._code_of(name, scene)
                if name in labels:
                    row[labels.index(name)] = _TRUTH_LOGITS
                elif name is not None:
                    row[:] = _by_hash(query, labels, self.seed)
            return logits
        if not queries:
            return np.zeros((0, len(labels)))
        demonstrations = [d for d in scene.demonstrations if d.label in labels]
        rows = await self.sight.look([query.image for query in queries])
        if demonstrations:
            shots = await self.sight.look([d.image for d in demonstrations])
            codes = np.array([labels.index(d.label) for d in demonstrations])
            return self._by_demonstrations(rows, shots, codes, len(labels))
        if all(map(is_neutral, labels)):
            return np.stack([_by_hash(query, labels, self.seed) for query in queries])
        try:
            prompts = await self.sight.read([_prompt(scene, label) for label in labels])
        except InputError:
            return np.stack([_by_hash(query, labels, self.seed) for query in queries])
        encoder = self.sight.encoder
        scores: NDArray[np.float64] = (rows @ prompts.T).astype(np.float64) * encoder.logit_scale
        return scores

    def _by_demonstrations(
        self, rows: Embeddings, shots: Embeddings, codes: NDArray[np.int_], n_labels: int
    ) -> NDArray[np.float64]:
        logits = np.full((len(rows), n_labels), -np.inf)
        for code in np.unique(codes):
            own = shots[codes == code]
            if self.rule == "nearest":
                similarity = (rows @ own.T).max(axis=1)
            else:
                mean = own.mean(axis=0)
                similarity = rows @ (unit(mean[None])[0] if np.any(mean) else mean)
            logits[:, code] = self.image_scale * similarity
        # a label that was never shown stays possible, but below every one that was
        finite = np.isfinite(logits[0])
        logits[:, ~finite] = logits[:, finite].min(axis=1, keepdims=True) - 5.0
        return logits

    def _true_label(self, query: Query) -> str | None:
        if callable(self.truth):
            return self.truth(query)
        assert self.truth is not None
        return self.truth.get(query.image.digest, self.truth.get(query.id))

    def _code_of(self, name: str, scene: Scene) -> str:
        """Find what a label is called here, by a demonstration that is known to have it."""
        for shown in scene.demonstrations:
            if self._true_label(Query(shown.label, shown.image)) == name:
                return shown.label
        return name

    def _leaning(self, scene: Scene, labels: tuple[str, ...]) -> NDArray[np.float64]:
        """Logits that do not depend on the image, shape (n_labels,)."""
        extra = np.array([self.bias.prior.get(label, 0.0) for label in labels], float)
        if self.bias.order:
            order = [label for label in scene.labels if label in labels] or list(labels)
            for place, label in enumerate(order):
                share = 1 - place / max(1, len(order) - 1)
                extra[labels.index(label)] += self.bias.order * share
        return extra

    def _pulled(
        self, scene: Scene, query: Query, labels: tuple[str, ...], row: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Give an attractor the answer, as often as the knobs say."""
        listed = [label for label in scene.labels if label in labels] or list(labels)
        pulls: list[tuple[str, float, str | None]] = [
            ("example", self.bias.example, scene.example_label),
            ("first", self.bias.first, listed[0]),
            ("last", self.bias.last, listed[-1]),
        ]
        if scene.demonstrations and (self.bias.recent or self.bias.majority):
            shown = [d.label for d in scene.demonstrations]
            pulls.append(("recent", self.bias.recent, shown[-1]))
            top = Counter(shown).most_common(2)
            if len(top) == 1 or top[0][1] > top[1][1]:
                pulls.append(("majority", self.bias.majority, top[0][0]))
        for name, strength, label in pulls:
            if strength and label in labels:
                draw = uniform(self.seed, name, label, ",".join(listed), query.image.digest)
                if draw < strength:
                    return _raised(row, labels.index(label))
        return row


def _prompt(scene: Scene, label: str) -> str:
    words = label.replace("_", " ").strip()
    description = scene.descriptions.get(label)
    return f"a photo of a {words}, {description}" if description else f"a photo of a {words}"


def _by_hash(query: Query, labels: Sequence[str], seed: int) -> NDArray[np.float64]:
    """Scores without a reason that are always the same for the same image."""
    return np.array([uniform(seed, "guess", query.image.digest, label) for label in labels])


def _raised(row: NDArray[np.float64], code: int) -> NDArray[np.float64]:
    raised = row.copy()
    raised[code] = raised.max() + _PULL_LOGITS
    return raised


def _sampled(
    row: NDArray[np.float64],
    temperature: float,
    seed: int,
    key: str,
    attempt: int,
    query: str,
    labels: Sequence[str],
) -> NDArray[np.float64]:
    """Draw a label from the softmax at a temperature (Gumbel's trick); the winner is raised."""
    draws = [uniform(seed, "sample", key, attempt, query, label) for label in labels]
    gumbel = -np.log(-np.log(np.clip(draws, 1e-12, 1 - 1e-12)))
    winner = int(np.argmax(row / temperature + gumbel))
    return row if winner == int(np.argmax(row)) else _raised(row, winner)


def _softmax(row: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = np.exp(row - row.max())
    probabilities: NDArray[np.float64] = shifted / shifted.sum()
    return probabilities
