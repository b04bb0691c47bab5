"""Prototypes: one unit vector per class, from texts or from labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.encoders import Embeddings, Encoder, embed_texts, unit
from showtell.encoders.embed import Store
from showtell.errors import InputError
from showtell.prompts.template import fill, resolve_templates

_BLOCK = 8192  # rows per product, so that double precision needs little memory


def mean_direction(vectors: NDArray[Any]) -> Embeddings:
    """Average directions: scale each row to length 1, take the mean, scale it to length 1.

    Parameters
    ----------
    vectors : ndarray of shape (n_vectors, n_dims)
        No row may be all zeros.

    Returns
    -------
    direction : ndarray of shape (n_dims,), float32

    Raises
    ------
    InputError
        If there are no vectors, or they cancel each other out.

    Notes
    -----
    Averaging before scaling would let long vectors count more and changes results: the mean of
    (1, 0) and (1.8, 2.4) points at (.894, .447), not at (.759, .651).

    References
    ----------
    Radford et al. (2021), Learning Transferable Visual Models From Natural Language Supervision,
    arXiv:2103.00020: ensembling in embedding space.

    Examples
    --------
    >>> mean_direction(np.array([[1.0, 0.0], [1.8, 2.4]])).round(6)
    array([0.894427, 0.447214], dtype=float32)
    """
    vectors = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not len(vectors) or not np.all(lengths > 0):
        raise InputError("A mean direction needs at least one vector, and none of length 0.")
    mean = (vectors / lengths).mean(axis=0)
    if np.linalg.norm(mean) < 1e-6:
        raise InputError("These vectors cancel each other out, so their mean has no direction.")
    return unit(mean / np.linalg.norm(mean))


def class_means(embeddings: NDArray[Any], codes: NDArray[Any], n_classes: int) -> Embeddings:
    """Prototype of each class: the mean direction of its support (nearest class mean).

    Parameters
    ----------
    embeddings : ndarray of shape (n_support, n_dims)
    codes : ndarray of shape (n_support,), int
        Class of each row, 0 to `n_classes` - 1.
    n_classes : int

    Returns
    -------
    prototypes : ndarray of shape (n_classes, n_dims), float32
        Rows of length 1.

    Raises
    ------
    InputError
        If a class has no row.

    References
    ----------
    Snell, Swersky, Zemel (2017), Prototypical Networks for Few-shot Learning, arXiv:1703.05175.

    Examples
    --------
    >>> class_means(np.array([[1, 0], [0, 1], [1, 1.0]]), np.array([0, 1, 1]), 2).round(3)
    array([[1.   , 0.   ],
           [0.383, 0.924]], dtype=float32)
    """
    codes = np.asarray(codes)
    empty = [code for code in range(n_classes) if not (codes == code).any()]
    if empty:
        raise InputError(f"Every class needs at least one image; classes {empty} have none.")
    return np.stack([mean_direction(embeddings[codes == code]) for code in range(n_classes)])


def cosines(embeddings: NDArray[Any], prototypes: NDArray[Any]) -> NDArray[np.float32]:
    """Cosine of each row with each prototype, both of length 1.

    Summed in double precision, so that a row's numbers do not depend on how many other rows there
    are and near-ties do not flip.

    Parameters
    ----------
    embeddings : ndarray of shape (n, n_dims)
    prototypes : ndarray of shape (n_classes, n_dims)

    Returns
    -------
    cosines : ndarray of shape (n, n_classes), float32

    Examples
    --------
    >>> cosines(np.array([[0.6, 0.8]]), np.eye(2))
    array([[0.6, 0.8]], dtype=float32)
    """
    weights = np.asarray(prototypes, np.float64).T
    out = np.empty((len(embeddings), weights.shape[1]), np.float32)
    for start in range(0, len(embeddings), _BLOCK):
        part = slice(start, start + _BLOCK)
        out[part] = np.asarray(embeddings[part], np.float64) @ weights
    return out


def label_prototypes(
    encoder: Encoder,
    labels: Sequence[str],
    templates: str | Sequence[str] | None = "default",
    *,
    descriptions: Mapping[str, Sequence[str]] | None = None,
    aliases: Mapping[str, Sequence[str]] | None = None,
    store: Store = None,
) -> Embeddings:
    """Embed each label as the unit mean of its prompts.

    Parameters
    ----------
    encoder : Encoder
        Embeds the prompts; its rows have length 1.
    labels : sequence of str, length n_classes
        Label names as a person would say them, for example ``"golden retriever"``.
    templates : str, sequence of str or None, default="default"
        Name of a template set, or templates that each contain ``{label}``; all weigh the same.
        None: labels are not prompted and descriptions alone count.
    descriptions : mapping of label to sequence of str, optional
        Sentences on how a class looks, used as they are. Their mean direction counts as much as
        the names' together.
    aliases : mapping of label to sequence of str, optional
        Other names of the same class. Each name counts the same, the label included.
    store : EmbeddingStore, path, "default" or None, default=None
        Where text embeddings are kept.

    Returns
    -------
    prototypes : ndarray of shape (n_classes, n_dims), float32
        One row of length 1 per label, in the order of `labels`.

    Raises
    ------
    InputError
        If `labels` or `templates` is empty, a template lacks ``{label}``, or a label has no text.

    Notes
    -----
    With ``m`` the mean direction, the prototype of a label is
    ``m(m over names of m over templates, m over descriptions)``.

    References
    ----------
    Radford et al. (2021), arXiv:2103.00020: averaging in embedding space costs one vector per
    label at prediction time, however many templates there are. Pratt et al. (2023), What does a
    platypus look like?, arXiv:2209.03320: sentences on a class, averaged in embedding space.

    Examples
    --------
    >>> from showtell.testing import WordEncoder
    >>> encoder = WordEncoder(["cat", "dog", "puppy"])
    >>> label_prototypes(encoder, ["dog"], ["a {label}."])
    array([[0., 1., 0., 0.]], dtype=float32)
    >>> label_prototypes(encoder, ["dog"], ["a {label}."], aliases={"dog": ["puppy"]}).round(3)
    array([[0.   , 0.707, 0.707, 0.   ]], dtype=float32)
    """
    if not len(labels):
        raise InputError("Need at least one label, got none.")
    names = [(label, *_texts_of(aliases, label)) for label in labels]
    return text_prototypes(
        encoder, names, [_texts_of(descriptions, label) for label in labels], templates, store
    )[0]


def text_prototypes(
    encoder: Encoder,
    names: Sequence[Sequence[str]],
    descriptions: Sequence[Sequence[str]],
    templates: str | Sequence[str] | None,
    store: Store,
) -> tuple[Embeddings, list[list[str]]]:
    """Prototypes by class from its names and descriptions, and the prompts that made them."""
    chosen = () if templates is None else resolve_templates(templates)
    if templates is not None and not chosen:
        raise InputError("Need at least one template, got none.")
    by_name = [[[fill(t, name) for t in chosen] for name in of_class] for of_class in names]
    prompts = [
        [p for group in groups for p in group] + list(sentences)
        for groups, sentences in zip(by_name, descriptions, strict=True)
    ]
    for of_class, texts in zip(names, prompts, strict=True):
        if not texts:
            raise InputError(
                f"Label {of_class[0]!r} has no text: with `templates=None` every label needs a "
                "description."
            )
    distinct = list(dict.fromkeys(p for texts in prompts for p in texts))
    rows = embed_texts(encoder, distinct, store=store)
    row_of = {text: row for row, text in enumerate(distinct)}

    def mean(texts: Sequence[str]) -> Embeddings:
        return mean_direction(rows[[row_of[text] for text in texts]])

    prototypes = np.empty((len(names), rows.shape[1]), np.float32)
    for i, (groups, sentences) in enumerate(zip(by_name, descriptions, strict=True)):
        try:
            parts = [mean_direction(np.stack([mean(g) for g in groups]))] if chosen else []
            parts += [mean(sentences)] if sentences else []
            prototypes[i] = mean_direction(np.stack(parts))
        except InputError as error:
            raise InputError(f"Label {names[i][0]!r}: {error}") from None
    return prototypes, prompts


def _texts_of(texts: Mapping[str, Sequence[str]] | None, label: str) -> tuple[str, ...]:
    """Texts of a label as a tuple; a single text counts as one."""
    found = (texts or {}).get(label, ())
    return (found,) if isinstance(found, str) else tuple(found)
