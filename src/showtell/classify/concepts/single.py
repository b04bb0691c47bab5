"""Single images: what clues say of them, what each added, what would change the label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from showtell._extras import need
from showtell.classify.base import media_list
from showtell.classify.concepts.evidence import (
    AlikeImage,
    ClueChange,
    ClueContributions,
    ConceptCounterfactual,
    ConceptEvidence,
    PartOpinion,
    percentiles,
)
from showtell.classify.concepts.fitting import voters_of
from showtell.classify.concepts.heads import EstimatorModel, Forest, PartsVote, Scaler
from showtell.encoders import embed_images
from showtell.errors import InputError
from showtell.media import Media, media_name
from showtell.metrics.importance import counterfactual

if TYPE_CHECKING:
    from showtell.classify.concepts.classifier import ConceptClassifier


def evidence_of(clf: ConceptClassifier, X: Sequence[Media]) -> list[ConceptEvidence]:
    """See `ConceptClassifier.explain`."""
    images = media_list(X)
    found = embed_images(clf._fitted_encoder(), images, store=clf.store)
    values = clf._features(found.embeddings, clf.selected_)
    proba = clf._predict_selected(values)
    places = percentiles(values, clf._features(clf.support_embeddings_, clf.selected_))
    clues = tuple(clf.clues_[number] for number in clf.selected_.tolist())
    evidence = []
    for row in range(len(found)):
        place = int(found.distinct[row])
        if place < 0:
            error = " ".join(str(found.errors[row]).split())
            evidence.append(_unusable(media_name(images[row]), error))
            continue
        evidence.append(
            ConceptEvidence(
                image=media_name(images[row]),
                label=str(clf.classes_[int(proba[place].astype(np.float32).argmax())]),
                proba=proba[place],
                clues=clues,
                values=values[place],
                percentiles=places[place],
                opinions=_opinions(clf, values[place]),
            )
        )
    return evidence


def _opinions(clf: ConceptClassifier, values: NDArray[np.float32]) -> tuple[PartOpinion, ...]:
    if not isinstance(clf.head_, PartsVote):
        return ()
    said = clf.head_.part_proba(values[None])[0][:, clf._ranks]
    names, _ = voters_of(clf, clf.selected_)
    return tuple(
        PartOpinion(
            part=part,
            attribute=attribute,
            label=str(clf.classes_[int(proba.argmax())]),
            proba=proba,
        )
        for (part, attribute), proba in zip(names, said, strict=True)
    )


def clue_contributions(clf: ConceptClassifier, X: Sequence[Media]) -> ClueContributions:
    """See `ConceptClassifier.contributions`."""
    if isinstance(clf.head_, EstimatorModel):
        raise InputError(
            "SHAP values are computed for head='vote' and head='forest'. For an estimator of "
            "your own use the package shap with `predict_features`."
        )
    features = clf._features(clf._embedded(X), clf.selected_)
    unit: Literal["probability", "log-odds"]
    if isinstance(clf.head_, Forest):
        values, base = forest_contributions(clf.head_, features)
        output, unit = clf.head_.predict_proba(features), "probability"
    else:
        values, base = vote_contributions(clf.head_, features)
        weights, bias = clf.head_.log_odds
        output, unit = features.astype(np.float64) @ weights.T + bias, "log-odds"
    ranks = clf._ranks
    return ClueContributions(
        values=values[:, :, ranks],
        base=base[ranks],
        output=output[:, ranks],
        clues=tuple(clf.clues_[number] for number in clf.selected_.tolist()),
        unit=unit,
        features=features,
    )


def smallest_change(
    clf: ConceptClassifier, image: Media, target: int | None, *, n_most: int
) -> ConceptCounterfactual:
    """See `ConceptClassifier.counterfactual`."""
    x = clf._features(clf._embedded([image]), clf.selected_)
    known = clf._features(clf.support_embeddings_, clf.selected_)
    proba = clf._predict_selected(x)[0]
    code = int(np.argsort(-proba, kind="stable")[1]) if target is None else target
    if code == int(proba.argmax()):
        raise InputError(
            f"The image gets the label {str(clf.classes_[code])!r} already; name another one."
        )
    found = counterfactual(
        clf._predict_selected,
        x[0],
        known,
        target=code,
        target_background=known[clf.support_codes_ == code],
        n_most=n_most,
    )
    moved = [change.feature for change in found.changes]
    before = percentiles(np.array([[c.before for c in found.changes]]), known[:, moved])[0]
    after = percentiles(np.array([[c.after for c in found.changes]]), known[:, moved])[0]
    return ConceptCounterfactual(
        image=media_name(image),
        label=str(clf.classes_[found.label]),
        target=str(clf.classes_[found.target]),
        flips=found.flips,
        changes=tuple(
            ClueChange(
                clue=clf.clues_[int(clf.selected_[change.feature])],
                before=change.before,
                after=change.after,
                percentile_before=float(before[i]),
                percentile_after=float(after[i]),
            )
            for i, change in enumerate(found.changes)
        ),
        proba_before=found.proba_before,
        proba_after=found.proba_after,
    )


def alike_images(clf: ConceptClassifier, X: Sequence[Media], *, n: int) -> list[list[AlikeImage]]:
    """See `ConceptClassifier.alike`."""
    known = clf._features(clf.support_embeddings_, clf.selected_)
    scaler = Scaler.of(known)
    ours, theirs = scaler(clf._features(clf._embedded(X), clf.selected_)), scaler(known)
    for rows in (ours, theirs):
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    similar = ours @ theirs.T
    order = np.argsort(-similar, axis=1, kind="stable")[:, :n]
    return [
        [
            AlikeImage(
                row=int(clf.support_rows_[i]),
                label=str(clf.classes_[clf.support_codes_[i]]),
                similarity=float(similar[row, i]),
            )
            for i in of_row
        ]
        for row, of_row in enumerate(order.tolist())
    ]


def _unusable(name: str, error: str) -> ConceptEvidence:
    nothing = np.zeros(0)
    return ConceptEvidence(
        image=name,
        label="",
        proba=nothing,
        clues=(),
        values=nothing.astype(np.float32),
        percentiles=nothing,
        opinions=(),
        error=error,
    )


def vote_contributions(
    model: PartsVote, features: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contributions to the parts' mean log-odds, which are linear in the features.

    `features`, of shape (n, n_features). Returns `values`, of shape (n, n_features, n_classes):
    ``weight * (feature - its mean over the training samples)``, exactly 0 for a feature that was
    constant; `base`, of shape (n_classes,): mean log-odds at the mean of the training samples.

    References
    ----------
    Lundberg & Lee (2017), A Unified Approach to Interpreting Model Predictions, arXiv:1705.07874,
    section 4.2: SHAP values of a linear model.
    """
    weights, bias = model.log_odds
    mean = model.scaler.mean.astype(np.float64)
    values = (np.asarray(features, np.float64) - mean)[:, :, None] * weights.T[None]
    return values, bias + weights @ mean


def forest_contributions(
    model: Forest, features: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contributions to the forest's probabilities, by the package shap.

    `features`, of shape (n, n_features). Returns `values`, of shape (n, n_features, n_classes):
    exactly 0 for a feature that no tree asks about; `base`, of shape (n_classes,): mean over the
    training samples of the trees. Raises MissingExtraError: without the package shap.

    References
    ----------
    Lundberg & Lee (2017), arXiv:1705.07874; Lundberg et al. (2020), From local explanations to
    global understanding with explainable AI for trees, doi:10.1038/s42256-019-0138-9.
    """
    shap = need("shap", extra="explain", what="An explanation of a forest")
    explainer = shap.TreeExplainer(
        {"trees": model.trees(), "tree_output": "raw_value", "input_dtype": np.float32},
        feature_perturbation="tree_path_dependent",
    )
    X = np.ascontiguousarray(features, np.float64)
    values = np.asarray(explainer.shap_values(X, check_additivity=False), np.float64)
    base = np.asarray(explainer.expected_value, np.float64)
    return values, base
