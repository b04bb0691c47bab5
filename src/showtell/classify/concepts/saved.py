"""Saved concept classifiers: clues, the images learned from, and the classifier on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell.classify.concepts.heads import EstimatorModel, Forest, PartsVote
from showtell.classify.concepts.selection import ClueSelection, Trial
from showtell.errors import InputError, UnknownNameError
from showtell.prompts.concepts.reading import read_concepts
from showtell.prompts.concepts.trees import Clue

if TYPE_CHECKING:
    from showtell.classify.concepts.classifier import ConceptClassifier

HEADS = ("vote", "forest")
"""Classifiers on clues that can be saved."""


def saved_state(clf: ConceptClassifier) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Give what `fit` learned: values for JSON, and arrays."""
    if isinstance(clf.head_, EstimatorModel):
        raise InputError(
            "A ConceptClassifier with an `estimator` of your own cannot be saved, because "
            "nothing is pickled; head='vote' and head='forest' can."
        )
    values: dict[str, Any] = {
        "head": "forest" if isinstance(clf.head_, Forest) else "vote",
        "logit_scale": clf.logit_scale_,
        "clues": [asdict(clue) for clue in clf.clues_],
        "n_selected": len(clf.selected_),
        "selection": None if clf.selection_ is None else asdict(clf.selection_),
        "concepts": clf.concepts_.to_record(),
    }
    arrays: dict[str, NDArray[Any]] = {
        "support": clf.support_.astype(np.int64),
        "selected": clf.selected_.astype(np.int64),
        "text_embeddings": clf.text_embeddings_,
        "support_embeddings": clf.support_embeddings_,
        "support_codes": clf.support_codes_,
        "support_rows": clf.support_rows_.astype(np.int64),
        **{f"head_{name}": array for name, array in clf.head_.arrays().items()},
    }
    return values, arrays


def saved_shapes(
    values: Mapping[str, Any], n_classes: int, n_dims: int
) -> dict[str, tuple[int | None, ...]]:
    """Tell the shape that each saved array must have."""
    if _head_of(values) not in HEADS:
        raise UnknownNameError("head", _head_of(values), HEADS)
    n_selected = int(values["n_selected"])
    kind = Forest if _head_of(values) == "forest" else PartsVote
    return {
        "support": (None,),
        "selected": (n_selected,),
        "text_embeddings": (len(values["clues"]), n_dims),
        "support_embeddings": (None, n_dims),
        "support_codes": (None,),
        "support_rows": (None,),
        **{f"head_{k}": shape for k, shape in kind.shapes(n_classes, n_selected).items()},
    }


def restore(
    clf: ConceptClassifier, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Take back what `saved_state` gave."""
    clf.logit_scale_ = float(values["logit_scale"])
    clf.clues_ = tuple(
        Clue(**{**one, "part": tuple(one["part"])})  # as JSON, tuples are lists
        for one in values["clues"]
    )
    clf.concepts_ = read_concepts(values["concepts"])
    clf.selection_ = _selection(values["selection"])
    clf._remember(np.asarray(arrays["support"], np.intp))
    clf.selected_ = np.asarray(arrays["selected"], np.intp)
    clf.text_embeddings_ = arrays["text_embeddings"]
    clf.support_embeddings_ = arrays["support_embeddings"]
    clf.support_codes_ = arrays["support_codes"]
    clf.support_rows_ = np.asarray(arrays["support_rows"], np.intp)
    n, n_classes = len(clf.support_embeddings_), len(clf.classes_)
    codes, selected = clf.support_codes_, clf.selected_
    if not (
        0 < n == len(codes) == len(clf.support_rows_)
        and ((codes >= 0) & (codes < n_classes)).all()
        and len(selected)
        and ((selected >= 0) & (selected < len(clf.clues_))).all()
    ):
        raise InputError("the images or the clues that were learned from do not fit.")
    own = {k.removeprefix("head_"): a for k, a in arrays.items() if k.startswith("head_")}
    if _head_of(values) == "forest":
        clf.head_ = Forest.of_arrays(own, n_features=len(selected))
    else:
        clf.head_ = PartsVote.of_arrays(own)
    clf._rows = clf.support_rows_
    clf._label_tables = {}


def _head_of(values: Mapping[str, Any]) -> str:
    """Which head was saved; once it was called a model."""
    return str(values["head"] if "head" in values else values["model"])


def _selection(saved: Mapping[str, Any] | None) -> ClueSelection | None:
    if saved is None:
        return None
    return ClueSelection(
        **{
            **saved,
            "kept": tuple(saved["kept"]),
            "importance": tuple(saved["importance"]),
            "trials": tuple(Trial(**one) for one in saved["trials"]),
        }
    )
