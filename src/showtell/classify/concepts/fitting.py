"""From a concept tree to clues, from clues to those in use and a classifier on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell.checks import one_of, whole
from showtell.classify.concepts.heads import ClueModel, fit_estimator, fit_forest, fit_vote
from showtell.classify.concepts.saved import HEADS
from showtell.classify.concepts.selection import (
    ClueSelection,
    Fold,
    folds_of,
    select_clues,
    split_of,
)
from showtell.classify.labels import LabelWords
from showtell.errors import InputError, UnknownNameError
from showtell.metrics.importance import PredictProba
from showtell.prompts import read_descriptions
from showtell.prompts.concepts.trees import Clue, ConceptTree
from showtell.prompts.descriptions.connectives import described_prompts

if TYPE_CHECKING:
    from showtell.classify.concepts.classifier import ConceptClassifier

DESCRIPTIONS_PART = ("descriptions",)
"""Part of the clues that come from descriptions of the labels."""

_VOTINGS = ("parts", "attributes", "all")
_SELECTORS = ("permutation", "permutation-cv", "None")
_PLAIN_TEMPLATE = "a photo of a {label}"


def check_arguments(clf: ConceptClassifier) -> None:
    """Refuse values that are none of the allowed ones."""
    if clf.concepts is None:
        raise InputError(
            "ConceptClassifier needs `concepts`: a concept tree, or a .json file of one. "
            "`showtell concepts` writes one."
        )
    one_of("voting", clf.voting, _VOTINGS)
    one_of("head", clf.head, HEADS)
    if clf.select not in (*_SELECTORS[:-1], None):
        raise UnknownNameError("select", str(clf.select), _SELECTORS)
    if isinstance(clf.C, bool) or not isinstance(clf.C, int | float) or not clf.C > 0:
        raise InputError(f"`C` is a number above 0; got {clf.C!r}.")
    errors = clf.select_errors
    if isinstance(errors, bool) or not isinstance(errors, int | float) or not errors >= 0:
        raise InputError(f"`select_errors` is a number of 0 or more; got {errors!r}.")
    whole(1, n_trees=clf.n_trees)
    if clf.shots == 0:
        raise InputError("`shots` is 0, but ConceptClassifier learns from labelled images.")
    clf._check_draw()


def write_clues(clf: ConceptClassifier, tree: ConceptTree, words: LabelWords) -> tuple[Clue, ...]:
    """Write the sentences of the tree, and the prompts of descriptions."""
    clues = tree.clues(layout=clf.layout, prefix=clf.prefix)
    if clf.descriptions is not None:
        names = [name[0] for name in words.names]
        known = read_descriptions(clf.descriptions).restricted(names)
        for name in names:
            if not known[name]:
                continue
            said = list(known[name])
            prompts = said
            if known.kind != "sentences":
                prompts = described_prompts(name, said, template=_PLAIN_TEMPLATE)
            clues += [
                Clue(
                    text=prompt,
                    part=DESCRIPTIONS_PART,
                    attribute=name,
                    value=value,
                    label=name,
                )
                for prompt, value in zip(prompts, said, strict=True)
            ]
    if not clues:
        raise InputError(
            f"The concept tree of {tree.domain!r} has no values, so there are no clues."
        )
    return tuple(clues)


def choose_clues(
    clf: ConceptClassifier, features: NDArray[np.float32], codes: NDArray[np.intp]
) -> ClueSelection | None:
    """Choose clues on images that are not learned from, if that is wanted."""
    if clf.select is None:
        return None

    def fit(features: NDArray[Any], codes: NDArray[Any], columns: NDArray[np.intp]) -> PredictProba:
        return fit_model(clf, features[:, columns], codes, columns).predict_proba

    return select_clues(
        fit,
        features,
        codes,
        _folds_to_select(clf, codes),
        n_errors=clf.select_errors,
        random_state=clf._seed,
    )


def _folds_to_select(clf: ConceptClassifier, codes: NDArray[np.intp]) -> list[Fold]:
    folds = (
        [split_of(codes, random_state=clf._seed)]
        if clf.select == "permutation"
        else folds_of(codes, random_state=clf._seed)
    )
    if not folds or not len(folds[0].select):
        raise InputError(
            f"select={clf.select!r} sets images apart to choose clues on: give at least two "
            "different images of a label, better ten of each."
        )
    return folds


def fit_model(
    clf: ConceptClassifier, features: NDArray[Any], codes: NDArray[Any], columns: NDArray[np.intp]
) -> ClueModel:
    """Fit the classifier on some clues; `features` are theirs alone."""
    if clf.estimator is not None:
        return fit_estimator(features, codes, clf.estimator)
    if clf.head == "forest":
        return fit_forest(features, codes, n_trees=clf.n_trees, random_state=clf._seed)
    return fit_vote(features, codes, voters_of(clf, columns)[1], C=clf.C)


def voters_of(
    clf: ConceptClassifier, columns: NDArray[np.intp]
) -> tuple[list[tuple[tuple[str, ...], str | None]], list[int]]:
    """Name what votes, and give the voter of each of some clues."""
    names: dict[tuple[tuple[str, ...], str | None], int] = {}
    numbers = []
    for column in columns.tolist():
        clue = clf.clues_[column]
        key: tuple[tuple[str, ...], str | None] = ((), None)
        if clf.voting != "all":
            key = (clue.part, clue.attribute if clf.voting == "attributes" else None)
        numbers.append(names.setdefault(key, len(names)))
    return list(names), numbers
