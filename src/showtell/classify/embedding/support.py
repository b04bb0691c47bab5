"""What the classifiers that learn from labelled images share: taking the support."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from showtell.checks import whole
from showtell.classify.base import EncoderClassifier, report_broken
from showtell.classify.embedding.heads import Support, rank_in_class
from showtell.datasets import support_rows
from showtell.datasets.lazy import pick_rows
from showtell.encoders import Encoder, embed_images
from showtell.errors import InputError, MediaError
from showtell.media import Media


class SupportClassifier(EncoderClassifier):
    """Base of the classifiers whose `fit` learns from embeddings of labelled images.

    Subclasses have the parameters `shots` and `random_state` besides those of
    `EncoderClassifier`, and set ``classes_`` before they call `_take_support`.
    """

    shots: int | None
    random_state: int | None
    support_: NDArray[np.intp]
    n_support_: int

    def _check_draw(self) -> None:
        whole(0, also=[None], shots=self.shots)
        whole(also=[None], random_state=self.random_state)

    def _take_support(
        self, encoder: Encoder, images: Sequence[Media], codes: NDArray[np.intp]
    ) -> Support:
        """Embed the images to learn from; replace or leave out what cannot be read."""
        n_classes = len(self.classes_)
        present = np.bincount(codes, minlength=n_classes)
        if (present == 0).any():
            missing = [str(c) for c in self.classes_[present == 0]]
            raise InputError(
                f"Every label needs at least one image; without: {', '.join(missing)}."
            )
        order = self._order_of_choice(codes)
        broken: dict[int, MediaError] = {}
        while True:
            usable = order[~np.isin(order, list(broken))]
            rows = usable[rank_in_class(codes[usable]) < self._most()]
            found = embed_images(encoder, pick_rows(images, rows), store=self.store)
            broken.update((int(rows[i]), error) for i, error in found.errors.items())
            if not found.errors:
                break
        left = np.bincount(codes[rows], minlength=n_classes)
        if broken:
            report_broken(images, broken, self.classes_, left)
        # an order that does not depend on the caller's: by class, then by content
        digests = np.asarray(found.digests, np.str_)[found.distinct]
        order = np.lexsort((digests, codes[rows]))
        keys = list(zip(codes[rows][order].tolist(), found.distinct[order].tolist(), strict=True))
        order = order[[i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]]
        self._remember(rows)
        self._rows = rows[order].astype(np.intp)  # of the support's rows, in what was given
        return Support(
            embeddings=found.embeddings[found.distinct[order]],
            codes=codes[rows][order],
            distinct=found.distinct[order].astype(np.intp),
            n_classes=n_classes,
        )

    def _order_of_choice(self, codes: NDArray[np.intp]) -> NDArray[np.intp]:
        """Rows in the order in which they become part of the support, class by class."""
        if self.shots is None:
            return np.arange(len(codes))
        names = self.classes_.astype(np.str_)[codes]
        return support_rows(names, len(codes), seed=self._seed)

    def _most(self) -> float:
        """Images of a class to learn from, at most."""
        return np.inf if self.shots is None else int(self.shots)

    def _remember(self, rows: NDArray[np.intp]) -> None:
        self.support_ = np.sort(rows)
        self.n_support_ = len(rows)
