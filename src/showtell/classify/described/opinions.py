"""Opinions on an image added up: an encoder's, and those of a model's texts about it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from showtell.classify.described.looks import Seen
from showtell.encoders import Embeddings, Encoder, ImageEmbeddings, embed_texts, unit
from showtell.encoders.embed import Store
from showtell.errors import InputError
from showtell.prompts import DescriptionSet
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
