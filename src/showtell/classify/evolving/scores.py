"""Scores of descriptions on fixed images; every text is embedded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.encoders import Embeddings, Encoder, embed_texts
from showtell.encoders.embed import Store


class DescriptionScores:
    """Similarities of images with the descriptions of labels.

    Parameters
    ----------
    encoder : Encoder
    images : ndarray of shape (n_images, n_dims), float32
    labels : sequence of str
    prompt : callable
        ``prompt(label, text)`` writes the prompt of a description; with None, that of a label
        without descriptions.
    store : Store
    """

    def __init__(
        self,
        encoder: Encoder,
        images: Embeddings,
        labels: Sequence[str],
        prompt: Callable[[str, str | None], str],
        *,
        store: Store,
    ) -> None:
        self.encoder, self.images, self.labels = encoder, images, tuple(labels)
        self.store = store
        self._prompt = prompt
        self._prompts: dict[tuple[str, str | None], str] = {}
        self._rows: dict[str, NDArray[np.float32]] = {}  # prompt to embedding

    def prompts(self, label: str, texts: Iterable[str]) -> list[str]:
        """Prompts of the descriptions of a label, or its one prompt if there are none."""
        found = []
        for text in tuple(texts) or (None,):
            key = (label, text)
            if key not in self._prompts:
                self._prompts[key] = self._prompt(label, text)
            found.append(self._prompts[key])
        return found

    def learn(self, *sets: Mapping[str, Sequence[str]]) -> None:
        """Embed the prompts of these descriptions that are not known yet, all at once."""
        wanted = {
            prompt: None
            for texts in sets
            for label, of in texts.items()
            for prompt in self.prompts(label, of)
            if prompt not in self._rows
        }
        if wanted:
            rows = embed_texts(self.encoder, list(wanted), store=self.store)
            self._rows.update(zip(wanted, rows, strict=True))

    def vectors(self, label: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of the prompts of a label, one row each."""
        self.learn({label: texts})
        return np.stack([self._rows[prompt] for prompt in self.prompts(label, texts)])

    def similarities(
        self, label: str, texts: Sequence[str], images: NDArray[Any] | slice = slice(None)
    ) -> NDArray[np.float32]:
        """Cosines of images with each prompt of a label, (n_images, n_texts)."""
        found: NDArray[np.float32] = self.images[images] @ self.vectors(label, texts).T
        return found

    def column(
        self, label: str, texts: Sequence[str], images: NDArray[Any] | slice = slice(None)
    ) -> NDArray[np.float64]:
        """Mean similarity of images with the prompts of a label, (n_images,)."""
        found = self.similarities(label, texts, images)
        return found.mean(axis=1, dtype=np.float64)  # type: ignore[no-any-return]

    def scores(
        self,
        descriptions: Mapping[str, Sequence[str]],
        labels: Sequence[str] | None = None,
        images: NDArray[Any] | slice = slice(None),
    ) -> NDArray[np.float64]:
        """Scores of images for labels, (n_images, n_labels)."""
        names = self.labels if labels is None else labels
        self.learn({label: descriptions[label] for label in names})
        return np.stack([self.column(name, descriptions[name], images) for name in names], axis=1)

    def means(self, descriptions: Mapping[str, Sequence[str]]) -> NDArray[np.float64]:
        """Mean text embedding of each label, (n_labels, n_dims)."""
        self.learn(descriptions)
        return np.stack(
            [
                self.vectors(label, descriptions[label]).mean(axis=0, dtype=np.float64)
                for label in self.labels
            ]
        )
