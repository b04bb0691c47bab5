"""The label set of a classifier and the words that stand for each label."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell._clean import escaped
from showtell.errors import InputError
from showtell.words import listed

Texts: TypeAlias = Mapping[Any, str | Sequence[str] | None]
"""Label to one text or several."""


@dataclass(frozen=True, kw_only=True)
class LabelWords:
    """A label set with its words."""

    classes: NDArray[Any]
    """Labels in order, shape (n_classes,): text, integers or booleans."""
    names: tuple[tuple[str, ...], ...]
    """Per class, what to call it: the label and its aliases."""
    descriptions: tuple[tuple[str, ...], ...]
    """Per class, sentences on how it looks."""


def label_words(
    labels: Sequence[Any] | Texts | None,
    y: NDArray[Any] | None,
    *,
    descriptions: Texts | None = None,
    aliases: Texts | None = None,
) -> LabelWords:
    """Fix the label set, its order and its words.

    `labels`: None takes the labels of `y`, sorted. `y`, of shape (n_samples,): as `true_labels`
    returns it. `descriptions` and `aliases`: every key must be a label. Labels that are not text
    (integers) are called by their aliases where there are any, else by their digits. Raises
    InputError if there are no labels, a label is empty or comes twice, or a key is no label.

    Examples
    --------
    >>> label_words({"cat": "a purring pet", "dog": None}, None).descriptions
    (('a purring pet',), ())
    """
    if labels is None:
        if y is None:
            raise InputError(
                "Which labels? Give `labels=['cat', 'dog']`, or call `fit(X, y)` with labelled "
                "images."
            )
        classes = np.unique(y)
    elif isinstance(labels, str):
        raise InputError(
            f"`labels` must be a sequence of labels or a mapping, got the single text {labels!r}. "
            f"Write {labels.split(',')!r}."
        )
    else:
        classes = _as_labels(list(labels), "`labels`")
    keys = classes.tolist()
    if not keys:
        raise InputError("Need at least one label, got none.")
    twice = sorted({str(key) for key in keys if keys.count(key) > 1}) if _repeats(keys) else []
    if twice:
        raise InputError(f"Labels must differ from each other; twice: {', '.join(twice)}.")
    descriptions, aliases = _by_shown_label(descriptions), _by_shown_label(aliases)
    own = (_by_shown_label(labels) if isinstance(labels, Mapping) else None) or {}
    sentences = [
        (*_texts(own.get(key), key), *_texts((descriptions or {}).get(key), key)) for key in keys
    ]
    others = [_texts((aliases or {}).get(key), key) for key in keys]
    for what, texts in (("descriptions", descriptions), ("aliases", aliases)):
        _check_keys(what, texts, keys)
    names = [
        (key, *other) if isinstance(key, str) else (other or (str(key),))
        for key, other in zip(keys, others, strict=True)
    ]
    return LabelWords(
        classes=classes,
        names=tuple(tuple(dict.fromkeys(of_class)) for of_class in names),
        descriptions=tuple(tuple(dict.fromkeys(of_class)) for of_class in sentences),
    )


def _by_shown_label(texts: Texts | None) -> Texts | None:
    """Have texts under the labels as they are shown."""
    if texts is None:
        return None
    return {escaped(key) if isinstance(key, str) else key: text for key, text in texts.items()}


def true_labels(y: Any, n_samples: int | None) -> NDArray[Any]:
    """Check y: one label per image, all of one type.

    `y`, of shape (n_samples,): text, integers or booleans; `n_samples`: number of images; None
    where there are none to compare with. Returns `y`, of shape (n_samples,). Raises InputError if
    lengths differ, a label is missing, or types are mixed.
    """
    if y is None:
        raise InputError("y is missing: give one label per image.")
    if isinstance(y, str):
        raise InputError(f"y must be a sequence of labels, got the single text {y!r}.")
    values = y.tolist() if isinstance(y, np.ndarray) else list(y)
    if n_samples is not None and len(values) != n_samples:
        raise InputError(f"X has {n_samples} images, but y has {len(values)} labels.")
    return _as_labels(values, "y")


def _as_labels(values: Sequence[Any], what: str) -> NDArray[Any]:
    """Values as an array of text, int64 or bool; control characters in text as escapes."""
    values = [v.item() if isinstance(v, np.generic) else v for v in values]
    kinds = {type(v) for v in values}
    if all(isinstance(v, str) for v in values):
        empty = [i for i, v in enumerate(values) if not v.strip()]
        if empty:
            raise InputError(
                f"{what}: {len(empty)} labels are empty, the first at {empty[0]}. '' means no "
                "answer and cannot be a label."
            )
        return np.array([escaped(v) for v in values], dtype=np.str_)
    if kinds == {bool}:
        return np.array(values, dtype=np.bool_)
    if kinds == {int}:
        return np.array(values, dtype=np.int64)
    missing = [i for i, v in enumerate(values) if v is None or v != v]
    if missing:
        raise InputError(
            f"{what}: {len(missing)} of {len(values)} labels are missing, the first at "
            f"{missing[0]}. Leave these images out."
        )
    raise InputError(
        f"{what} must be all text, all integers or all booleans; got "
        f"{', '.join(sorted(kind.__name__ for kind in kinds))}."
    )


def codes_of(y: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.intp]:
    """Index of each label in `classes`.

    Raises InputError if a label of `y` is not in the label set; the message names up to five and
    near ones.
    """
    index = {label: i for i, label in enumerate(classes.tolist())}
    values = y.tolist()
    strange = list(dict.fromkeys(v for v in values if v not in index))
    if strange:
        known = [str(label) for label in index]
        near = difflib.get_close_matches(str(strange[0]), known, n=1)
        raise InputError(
            f"y has {len(strange)} labels outside the label set: "
            f"{listed(map(repr, strange))}."
            f"{f' Close to the first: {near[0]!r}.' if near else ''}"
            f" Allowed: {', '.join(known)}. Name them too, or leave their images out."
        )
    return np.array([index[v] for v in values], dtype=np.intp)


def _texts(found: str | Sequence[str] | None, key: Hashable) -> tuple[str, ...]:
    """One text, several or None as a tuple of texts that say something."""
    texts = () if found is None else (found,) if isinstance(found, str) else tuple(found)
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"Texts of label {key!r} must be non-empty, got {text!r}.")
    return texts


def _check_keys(what: str, texts: Texts | None, keys: Sequence[Any]) -> None:
    """Refuse texts for what is no label: most often a typing error."""
    known = set(keys)
    strange = [key for key in (texts or {}) if key not in known]
    if strange:
        raise InputError(
            f"`{what}` names {', '.join(map(repr, strange[:5]))}, which is no label. Labels: "
            f"{', '.join(map(str, keys))}."
        )


def _repeats(keys: Sequence[Any]) -> bool:
    return len(set(keys)) < len(keys)
