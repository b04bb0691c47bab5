"""What separates the labels: parts, attributes and clues, permuted on images not learned from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell.classify.base import media_list
from showtell.classify.concepts.evidence import (
    ConceptImportances,
    GroupImportance,
    LabelCard,
    LabelGroup,
    LabelPair,
)
from showtell.classify.concepts.fitting import fit_model
from showtell.classify.concepts.heads import ClueModel
from showtell.classify.concepts.selection import folds_of
from showtell.classify.labels import codes_of, true_labels
from showtell.errors import InputError
from showtell.media import Media
from showtell.metrics.importance import (
    Measure,
    PredictProba,
    directions,
    label_importance,
    pair_report,
    permutation_importance,
)
from showtell.prompts.concepts.trees import Clue

if TYPE_CHECKING:
    from showtell.classify.concepts.classifier import ConceptClassifier


class LabelTable:
    """What `label_importances` and `pair_report` are made of."""

    def __init__(
        self,
        *,
        importance: NDArray[np.float64],
        direction: NDArray[np.float64],
        confusion: NDArray[np.int64],
    ) -> None:
        self.importance = importance  # (n_classes, n_groups), single clues last
        self.direction = direction  # (n_classes, n_selected)
        self.confusion = confusion  # (n_classes, n_classes), true label by predicted one


def measure_importances(
    clf: ConceptClassifier, X: Sequence[Media] | None, y: Any, *, n_repeats: int, measure: Measure
) -> ConceptImportances:
    """Measure all groups; see `ConceptClassifier.importances`."""
    groups = _groups(clf)
    columns = [columns for _, _, _, columns in groups]
    total = np.zeros((len(groups), n_repeats))
    baseline, n = 0.0, 0
    for predict, features, codes in _held_out(clf, X, y):
        found = permutation_importance(
            predict,
            features,
            codes,
            groups=columns,
            n_repeats=n_repeats,
            measure=measure,
            random_state=clf._seed,
        )
        total += found.repeats * len(codes)
        baseline += found.baseline * len(codes)
        n += len(codes)
    repeats = total / n
    named = [
        GroupImportance(
            part=part,
            attribute=attribute,
            clue=clue,
            columns=tuple(of),
            mean=float(row.mean()),
            std=float(row.std()),
        )
        for (part, attribute, clue, of), row in zip(groups, repeats, strict=True)
    ]
    return ConceptImportances(
        parts=tuple(one for one in named if one.attribute is None),
        attributes=tuple(one for one in named if one.attribute is not None and not one.clue),
        clues=tuple(one for one in named if one.clue is not None),
        baseline=baseline / n,
        measure=measure,
        n_samples=n,
    )


def _groups(
    clf: ConceptClassifier,
) -> list[tuple[tuple[str, ...], str | None, Clue | None, list[int]]]:
    """Name parts (with all below them), attributes and clues, with columns of those in use."""
    parts: dict[tuple[str, ...], list[int]] = {}
    attributes: dict[tuple[tuple[str, ...], str], list[int]] = {}
    singles = []
    for place, number in enumerate(clf.selected_.tolist()):
        clue = clf.clues_[number]
        for depth in range(1, len(clue.part) + 1):
            parts.setdefault(clue.part[:depth], []).append(place)
        attributes.setdefault((clue.part, clue.attribute), []).append(place)
        singles.append((clue.part, clue.attribute, clue, [place]))
    return [
        *((part, None, None, of) for part, of in parts.items()),
        *((part, attribute, None, of) for (part, attribute), of in attributes.items()),
        *singles,
    ]


def _held_out(
    clf: ConceptClassifier, X: Sequence[Media] | None, y: Any
) -> Iterator[tuple[PredictProba, NDArray[np.float32], NDArray[np.intp]]]:
    """Yield a function that predicts, features and codes of samples it has not learned from.

    Features are those of the clues in use; classes are in the order of ``classes_``.
    """
    if (X is None) != (y is None):
        raise InputError("Give both images and labels, or neither.")
    if X is not None:
        images = media_list(X)
        codes = codes_of(true_labels(y, len(images)), clf.classes_)
        if not len(codes):
            raise InputError("Importances need at least one image.")
        yield (
            clf._predict_selected,
            clf._features(clf._embedded(images), clf.selected_),
            codes,
        )
        return
    features = clf._features(clf.support_embeddings_, clf.selected_)
    ranks = clf._ranks
    codes = clf.support_codes_.astype(np.intp)
    folds = folds_of(ranks[codes], random_state=clf._seed)
    if not folds:
        raise InputError(
            "With one image per label none can be held out: give labelled images, X and y."
        )
    for fold in folds:
        model = fit_model(clf, features[fold.train], ranks[codes[fold.train]], clf.selected_)
        yield _Reordered(model, ranks), features[fold.select], codes[fold.select]


def label_card(clf: ConceptClassifier, code: int, *, n_repeats: int) -> LabelCard:
    """Say what sets a label apart; see `ConceptClassifier.label_importances`."""
    table = _label_table(clf, n_repeats)
    groups = _groups(clf)
    named = []
    for place, (part, attribute, clue, of) in enumerate(groups):
        row = table.direction[code, of]
        named.append(
            LabelGroup(
                part=part,
                attribute=attribute,
                clue=clue,
                columns=tuple(of),
                importance=float(table.importance[code, place]),
                direction=float(row[np.abs(row).argmax()]),
            )
        )
    named.sort(key=lambda one: -one.importance)
    return LabelCard(
        label=str(clf.classes_[code]),
        parts=tuple(one for one in named if one.attribute is None),
        attributes=tuple(one for one in named if one.attribute is not None and not one.clue),
        clues=tuple(one for one in named if one.clue is not None),
        n_images=int(table.confusion[code].sum()),
    )


def compare_labels(
    clf: ConceptClassifier, a: int, b: int, *, n_top: int, n_repeats: int
) -> LabelPair:
    """Say why two labels are confused; see `ConceptClassifier.pair_report`."""
    table = _label_table(clf, n_repeats)
    report = pair_report(table.importance[:, -len(clf.selected_) :], a, b, n_top=n_top)
    used = [clf.clues_[number] for number in clf.selected_.tolist()]
    return LabelPair(
        first=str(clf.classes_[a]),
        second=str(clf.classes_[b]),
        n_top=n_top,
        shared=tuple(used[i] for i in report.shared),
        only_first=tuple(used[i] for i in report.only_first),
        only_second=tuple(used[i] for i in report.only_second),
        overlap=report.overlap,
        first_as_second=int(table.confusion[a, b]),
        second_as_first=int(table.confusion[b, a]),
    )


def _label_table(clf: ConceptClassifier, n_repeats: int) -> LabelTable:
    """Measure all groups for all labels, once for each fit."""
    if n_repeats in clf._label_tables:
        return clf._label_tables[n_repeats]
    columns = [columns for _, _, _, columns in _groups(clf)]
    n_classes = len(clf.classes_)
    importance = np.zeros((n_classes, len(columns)))
    confusion = np.zeros((n_classes, n_classes), np.int64)
    for predict, features, codes in _held_out(clf, None, None):
        found = label_importance(
            predict,
            features,
            codes,
            groups=columns,
            n_repeats=n_repeats,
            random_state=clf._seed,
        )
        own = np.bincount(codes, minlength=n_classes)
        importance += found.importance * own[:, None]
        np.add.at(confusion, (codes, predict(features).argmax(axis=1)), 1)
    features = clf._features(clf.support_embeddings_, clf.selected_)
    table = LabelTable(
        importance=importance / np.maximum(confusion.sum(axis=1), 1)[:, None],
        direction=directions(features, clf.support_codes_, n_classes),
        confusion=confusion,
    )
    clf._label_tables[n_repeats] = table
    return table


class _Reordered:
    """A model's prediction with the columns in the order of ``classes_``."""

    def __init__(self, model: ClueModel, ranks: NDArray[np.intp]) -> None:
        self.model, self.ranks = model, ranks

    def __call__(self, features: NDArray[Any]) -> NDArray[np.float64]:
        return self.model.predict_proba(features)[:, self.ranks]
