"""Which descriptions tell a label apart: how near each is to its own photos and to the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.classify.described.described import DescriptionClassifier
from showtell.encoders import embed_images, embed_texts
from showtell.errors import SavedFolderError
from showtell.media import Media
from showtell.prompts.template import fill


@dataclass(frozen=True, kw_only=True)
class DescriptionScore:
    """How a description of a label fits the photos that were scored."""

    text: str
    own: float
    """Mean cosine of its prompt with the photos of its label."""
    others: float
    """Mean cosine with the photos of all other labels."""

    @property
    def contrast(self) -> float:
        """`own` minus `others`: how well it tells the label apart."""
        return self.own - self.others


@dataclass(frozen=True, kw_only=True)
class LabelDescriptions:
    """The descriptions of a label, the one that tells it apart best first."""

    label: str
    n_photos: int
    """Photos of the label that were scored."""
    template: float
    """Contrast of the template alone: what the name says without any description."""
    descriptions: tuple[DescriptionScore, ...]

    @property
    def n_better(self) -> int:
        """Descriptions that tell the label apart better than its name alone."""
        return sum(one.contrast > self.template for one in self.descriptions)


def score_descriptions(
    clf: DescriptionClassifier, images: Sequence[Media], y_true: NDArray[np.int32]
) -> tuple[LabelDescriptions, ...]:
    """Measure each description on labelled photos.

    Parameters
    ----------
    clf : DescriptionClassifier
        Fitted, with descriptions.
    images : sequence of Media, length n_samples
    y_true : ndarray of shape (n_samples,), int32
        Codes of the labels of ``clf.classes_``.

    Returns
    -------
    labels : tuple of LabelDescriptions
        In the order of ``clf.classes_``. Labels without photos, or that have all of them, are left
        out: nothing can be said of them.

    Notes
    -----
    A mean cosine with many photos is the cosine with their mean, so this costs no more than one
    pass over the photos, however many descriptions there are.
    """
    encoder = clf._fitted_encoder()
    found = embed_images(encoder, images, store=clf.store)
    usable = found.ok
    rows = found.embeddings[found.distinct[usable]].astype(np.float64)
    codes = np.asarray(y_true)[usable]
    total = rows.sum(axis=0)
    names = [str(label) for label in clf.classes_.tolist()]
    start = clf.template.rstrip().removesuffix(".")
    plain = embed_texts(encoder, [f"{fill(start, name)}." for name in names], store=clf.store)
    owners = np.repeat(np.arange(len(names)), [len(clf.texts_[name]) for name in names])
    said = []
    for code, name in enumerate(names):
        n_own = int((codes == code).sum())
        if not n_own or n_own == len(codes):
            continue
        sum_own = rows[codes == code].sum(axis=0)
        own, others = sum_own / n_own, (total - sum_own) / (len(codes) - n_own)
        texts = clf.text_embeddings_[owners == code].astype(np.float64)
        words = frozenset(() if clf.descriptions_ is None else clf.descriptions_[name])
        scores = {
            text: DescriptionScore(text=text, own=float(a), others=float(b))
            for text, a, b in zip(clf.texts_[name], texts @ own, texts @ others, strict=True)
            if text in words  # templates, random words and repeats are none
        }
        said.append(
            LabelDescriptions(
                label=name,
                n_photos=n_own,
                template=float(plain[code].astype(np.float64) @ (own - others)),
                descriptions=tuple(sorted(scores.values(), key=lambda one: -one.contrast)),
            )
        )
    return tuple(said)


def read_scores(values: Iterable[Mapping[str, Any]]) -> tuple[LabelDescriptions, ...]:
    """Read what a record saved of them, else `SavedFolderError`."""
    fields = [f.name for f in dataclasses.fields(DescriptionScore)]
    try:
        return tuple(
            LabelDescriptions(
                label=str(one["label"]),
                n_photos=int(one["n_photos"]),
                template=float(one["template"]),
                descriptions=tuple(
                    DescriptionScore(**{name: given[name] for name in fields})
                    for given in one["descriptions"]
                ),
            )
            for one in values
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SavedFolderError(
            f"The scores of the descriptions cannot be read: {type(error).__name__}: {error}. Run "
            "the evaluation again."
        ) from None
