"""ConceptClassifier: visual clues of a concept tree as features of a simple classifier."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.checks import one_of, whole
from showtell.classify.base import media_list
from showtell.classify.concepts.contributions import forest_contributions, vote_contributions
from showtell.classify.concepts.evidence import (
    AlikeImage,
    ClueChange,
    ClueContributions,
    ConceptCounterfactual,
    ConceptEvidence,
    ConceptImportances,
    GroupImportance,
    LabelCard,
    LabelGroup,
    LabelPair,
    PartOpinion,
    percentiles,
)
from showtell.classify.concepts.heads import (
    ClueHeadName,
    ClueModel,
    EstimatorModel,
    Forest,
    PartsVote,
    Scaler,
    fit_estimator,
    fit_forest,
    fit_vote,
)
from showtell.classify.concepts.selection import (
    ClueSelection,
    Fold,
    Trial,
    folds_of,
    select_clues,
    split_of,
)
from showtell.classify.described.described import Descriptions
from showtell.classify.embedding.prototypes import cosines
from showtell.classify.embedding.support import SupportClassifier
from showtell.classify.estimator import check_is_fitted
from showtell.classify.labels import LabelWords, codes_of, label_words, true_labels
from showtell.encoders import Embeddings, Encoder, embed_images, embed_texts, load_encoder
from showtell.encoders.embed import Store
from showtell.errors import InputError, UnknownNameError
from showtell.media import Media, media_name
from showtell.metrics.importance import (
    Measure,
    PredictProba,
    counterfactual,
    directions,
    label_importance,
    pair_report,
    permutation_importance,
)
from showtell.prompts import read_descriptions
from showtell.prompts.concepts.reading import read_concepts
from showtell.prompts.concepts.trees import Clue, CluePrefix, ConceptTree, TreeLayout
from showtell.prompts.descriptions.connectives import described_prompts

__all__ = ["DESCRIPTIONS_PART", "ClueSelector", "ClueVoting", "ConceptClassifier", "Concepts"]

Concepts: TypeAlias = ConceptTree | Mapping[str, Any] | str | os.PathLike[str]
"""A concept tree, a mapping of one, or a ``.json`` file of one."""

ClueVoting: TypeAlias = Literal["parts", "attributes", "all"]
ClueSelector: TypeAlias = Literal["permutation", "permutation-cv"]

DESCRIPTIONS_PART = ("descriptions",)
"""Part of the clues that come from descriptions of the labels."""

_VOTINGS = ("parts", "attributes", "all")
_HEADS = ("vote", "forest")
_SELECTORS = ("permutation", "permutation-cv", "None")
_PLAIN_TEMPLATE = "a photo of a {label}"


class ConceptClassifier(SupportClassifier):
    r"""Classify images by how well visual clues fit them: sentences one can read and weigh.

    Every value of a concept tree makes a sentence ("A photo of tail of short length"). Similarities
    of an image with all of them are the features ``phi = scale * x E^T`` of a simple classifier,
    which learns from labelled images and can be asked what it goes by.

    Parameters
    ----------
    encoder : str or Encoder, default="mini"
        A name that `load_encoder` takes, or an object.
    labels : sequence of label, optional
        The label set and its order; None: the labels of `y`, sorted. Every label needs an image.
    concepts : ConceptTree, mapping or path
        What to look for; see `showtell.prompts.concepts.trees.read_concepts`.
    voting : {"parts", "attributes", "all"}, default="parts"
        Which clues share a logistic regression in ``head="vote"``: those of a part, of an
        attribute of a part, or all of them.
    head : {"vote", "forest"}, default="vote"
        - ``"vote"``: one multinomial logistic regression per part; the majority decides, and
          between equals the sum of the probabilities (Qu & Yatskar).
        - ``"forest"``: a random forest on all clues (Bastide).
    estimator : scikit-learn classifier, optional
        Used instead of `head`, on features scaled to mean 0 and standard deviation 1. It needs
        ``predict_proba``. Such a classifier cannot be saved.
    layout : {"merged", "per-label"}, default="merged"
        One clue per value whichever labels have it, or one per label and value.
    prefix : {"none", "domain", "label"}, default="none"
        What the sentences name besides the part; "label" needs ``layout="per-label"``.
    select : {"permutation", "permutation-cv"}, optional
        Keep the clues whose permutation costs accuracy on images not learned from: on a quarter
        of the images of `fit`, set apart for it, or by five-fold cross-validation. Of the
        published thresholds the one with the best accuracy there wins. Then all images of `fit`
        are learned from.
    select_errors : float, default=0.0
        How many standard errors of the best accuracy fewer clues may cost. 0 is the published
        rule; 1 keeps clearly fewer clues.
    descriptions : DescriptionSet, mapping or path, optional
        Descriptions of the labels as further clues, which make a part of their own; those of a
        `DescriptionClassifier` or, as ``descriptions_``, of an `EvolvingDescriptionClassifier`.
    shots : int, optional
        Use this many images per class, drawn by `random_state`; None uses all.
    C : float, default=1.0
        vote: inverse strength of the L2 penalty.
    n_trees : int, default=100
        forest: number of trees. A tree sees 5,000 images at most.
    abstain_below : float, optional
        Give no label where the best probability is lower.
    store : EmbeddingStore, path, "default" or None, default="default"
        Where embeddings are kept.
    random_state : int, optional
        Seed of the draws: shots, split, permutations, forest. None is 0.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    concepts_ : ConceptTree
    clues_ : tuple of Clue, length n_clues
        All clues, as columns of `features`.
    selected_ : ndarray of shape (n_selected,), int
        Numbers of the clues in use; all where `select` is None.
    selection_ : ClueSelection or None
        How they were chosen.
    head_ : PartsVote, Forest or EstimatorModel
        The classifier on the selected clues; its classes are ``classes_`` sorted.
    text_embeddings_ : ndarray of shape (n_clues, n_dims), float32
    support_embeddings_ : ndarray of shape (n, n_dims), float32
        Of the distinct images learned from, sorted by label.
    support_codes_ : ndarray of shape (n,), int
        Their labels, as places in ``classes_``.
    support_rows_ : ndarray of shape (n,), int
        Their places in what was given to `fit`.
    support_, n_support_, encoder_fingerprint_
        As in `FewShotClassifier`.

    See Also
    --------
    DescriptionClassifier : Words without labelled images.
    FewShotClassifier : Labelled images without words; what clues have to keep up with.

    Notes
    -----
    Probabilities of the vote are shares of the votes, and order images well but are not
    calibrated. Encoders hardly resolve parts: a clue is a text that fits more or less, no proof
    that the part was seen. Clues that say the same share their importance: look at parts and
    attributes before single clues.

    Images can be cut out by annotated boxes: give crops, as data sets with boxes have them.

    References
    ----------
    Qu & Yatskar (2024), LLM-based Hierarchical Concept Decomposition for Interpretable
    Fine-Grained Image Classification, arXiv:2405.18672. Bastide (2024) for the merged tree, the
    forest and the thresholds.

    Examples
    --------
    >>> from showtell.testing import WordEncoder
    >>> words = WordEncoder(["stripes", "spots", "long mane", "tail"])
    >>> tree = {"domain": "cat", "parts": [
    ...     {"part": "fur", "attributes": {"pattern": ["stripes", "spots"]}},
    ...     {"part": "mane", "attributes": {"length": ["long"]}}]}
    >>> X = ["stripes", "stripes and a tail", "spots", "spots and a tail", "a long mane"]
    >>> y = ["tiger", "tiger", "leopard", "leopard", "lion"]
    >>> clf = ConceptClassifier(words, concepts=tree).fit(X, y)
    >>> clf.predict(["stripes, stripes and a tail", "spots"])
    array(['tiger', 'leopard'], dtype='<U7')
    >>> [clue.text for clue in clf.clues_][:2]
    ['A photo of fur of stripes pattern', 'A photo of fur of spots pattern']
    """

    def __init__(
        self,
        encoder: str | Encoder = "mini",
        *,
        labels: Sequence[Any] | None = None,
        concepts: Concepts | None = None,
        voting: ClueVoting = "parts",
        head: ClueHeadName = "vote",
        estimator: Any = None,
        layout: TreeLayout = "merged",
        prefix: CluePrefix = "none",
        select: ClueSelector | None = None,
        select_errors: float = 0.0,
        descriptions: Descriptions | None = None,
        shots: int | None = None,
        C: float = 1.0,
        n_trees: int = 100,
        abstain_below: float | None = None,
        store: Store = "default",
        random_state: int | None = None,
    ) -> None:
        self.encoder = encoder
        self.labels = labels
        self.concepts = concepts
        self.voting = voting
        self.head = head
        self.estimator = estimator
        self.layout = layout
        self.prefix = prefix
        self.select = select
        self.select_errors = select_errors
        self.descriptions = descriptions
        self.shots = shots
        self.C = C
        self.n_trees = n_trees
        self.abstain_below = abstain_below
        self.store = store
        self.random_state = random_state

    # Fitting

    def fit(self, X: Sequence[Media], y: Any) -> Self:
        """Learn from labelled images.

        Parameters
        ----------
        X : sequence of Media, length n_samples
        y : array-like of shape (n_samples,)
            Labels: text, integers or booleans.

        Returns
        -------
        self : ConceptClassifier

        Raises
        ------
        InputError
            If there is no concept tree or no clue in it, y does not fit X or the label set, there
            is one label only, a class is left without a usable image, or an argument is none of
            the allowed ones.
        """
        self._check_arguments()
        images = media_list(X)
        y = true_labels(y, len(images))
        words = label_words(self.labels, y)
        codes = codes_of(y, words.classes)
        if len(words.classes) < 2:
            raise InputError(
                f"There is one label only, {str(words.classes[0])!r}; clues tell labels apart."
            )
        tree = read_concepts(self.concepts)  # type: ignore[arg-type]  # checked: not None
        clues = self._make_clues(tree, words)
        encoder = load_encoder(self.encoder)
        self.classes_ = words.classes
        self._check_abstain_below()
        self.encoder_fingerprint_ = encoder.fingerprint
        self.logit_scale_ = float(encoder.logit_scale)
        support = self._take_support(encoder, images, codes)
        # sorted labels inside, so that the order of `labels` changes nothing but columns
        order = np.argsort(self._ranks[support.codes], kind="stable")
        self.concepts_ = tree
        self.clues_ = clues
        self.support_embeddings_ = support.embeddings[order]
        self.support_codes_ = support.codes[order].astype(np.int64)
        self.support_rows_ = self._rows[order]
        self.text_embeddings_ = embed_texts(
            encoder, [clue.text for clue in clues], store=self.store
        )
        self._label_tables: dict[int, _LabelTable] = {}
        self._fit_clues()
        return self

    def _check_arguments(self) -> None:
        if self.concepts is None:
            raise InputError(
                "ConceptClassifier needs `concepts`: a concept tree, or a .json file of one. "
                "`showtell concepts` writes one."
            )
        one_of("voting", self.voting, _VOTINGS)
        one_of("head", self.head, _HEADS)
        if self.select not in (*_SELECTORS[:-1], None):
            raise UnknownNameError("select", str(self.select), _SELECTORS)
        if isinstance(self.C, bool) or not isinstance(self.C, int | float) or not self.C > 0:
            raise InputError(f"`C` is a number above 0; got {self.C!r}.")
        errors = self.select_errors
        if isinstance(errors, bool) or not isinstance(errors, int | float) or not errors >= 0:
            raise InputError(f"`select_errors` is a number of 0 or more; got {errors!r}.")
        whole(1, n_trees=self.n_trees)
        if self.shots == 0:
            raise InputError("`shots` is 0, but ConceptClassifier learns from labelled images.")
        self._check_draw()

    def _make_clues(self, tree: ConceptTree, words: LabelWords) -> tuple[Clue, ...]:
        """Write the sentences of the tree, and the prompts of descriptions."""
        clues = tree.clues(layout=self.layout, prefix=self.prefix)
        if self.descriptions is not None:
            names = [name[0] for name in words.names]
            known = read_descriptions(self.descriptions).restricted(names)
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

    @property
    def _ranks(self) -> NDArray[np.intp]:
        """Place of each label among the sorted ones, shape (n_classes,)."""
        ranks = np.empty(len(self.classes_), np.intp)
        ranks[np.argsort(self.classes_, kind="stable")] = np.arange(len(self.classes_))
        return ranks

    def _fit_clues(self) -> None:
        """Choose clues if wanted, and fit the classifier on them."""
        features = self._features(self.support_embeddings_)
        codes = self._ranks[self.support_codes_]
        selection = None
        if self.select is not None:
            selection = select_clues(
                self._fit_predictor,
                features,
                codes,
                self._folds_to_select(codes),
                n_errors=self.select_errors,
                random_state=self._seed,
            )
        self._fit_selected(features, codes, selection)

    def _fit_selected(
        self,
        features: NDArray[np.float32],
        codes: NDArray[np.intp],
        selection: ClueSelection | None,
    ) -> None:
        """Fit the classifier on the clues that were chosen, or on all."""
        self.selection_ = selection
        self.selected_ = np.arange(len(self.clues_))
        if selection is not None:
            self.selected_ = np.array(selection.kept, np.intp)
        model = self._fit_model(features[:, self.selected_], codes, self.selected_)
        self.head_: PartsVote | Forest | EstimatorModel = (
            Forest.of(model.forest) if hasattr(model, "forest") else model  # type: ignore[assignment]
        )

    def _folds_to_select(self, codes: NDArray[np.intp]) -> list[Fold]:
        folds = (
            [split_of(codes, random_state=self._seed)]
            if self.select == "permutation"
            else folds_of(codes, random_state=self._seed)
        )
        if not folds or not len(folds[0].select):
            raise InputError(
                f"select={self.select!r} sets images apart to choose clues on: give at least two "
                "different images of a label, better ten of each."
            )
        return folds

    def _fit_model(
        self, features: NDArray[Any], codes: NDArray[Any], columns: NDArray[np.intp]
    ) -> ClueModel:
        """Fit the classifier on some clues; `features` are theirs alone."""
        if self.estimator is not None:
            return fit_estimator(features, codes, self.estimator)
        if self.head == "forest":
            return fit_forest(features, codes, n_trees=self.n_trees, random_state=self._seed)
        return fit_vote(features, codes, self._voters(columns)[1], C=self.C)

    def _fit_predictor(
        self, features: NDArray[Any], codes: NDArray[Any], columns: NDArray[np.intp]
    ) -> PredictProba:
        return self._fit_model(features[:, columns], codes, columns).predict_proba

    def _voters(
        self, columns: NDArray[np.intp]
    ) -> tuple[list[tuple[tuple[str, ...], str | None]], list[int]]:
        """Name what votes, and give the voter of each of some clues."""
        names: dict[tuple[tuple[str, ...], str | None], int] = {}
        numbers = []
        for column in columns.tolist():
            clue = self.clues_[column]
            key: tuple[tuple[str, ...], str | None] = ((), None)
            if self.voting != "all":
                key = (clue.part, clue.attribute if self.voting == "attributes" else None)
            numbers.append(names.setdefault(key, len(names)))
        return list(names), numbers

    # Features and answers

    def features(self, X: Sequence[Media]) -> NDArray[np.float32]:
        """Compare images with all clues.

        Parameters
        ----------
        X : sequence of Media, length n_samples

        Returns
        -------
        features : ndarray of shape (n_samples, n_clues), float32
            Cosines times the encoder's scale; columns as ``clues_``.

        Raises
        ------
        InputError
            If an image cannot be used.
        """
        check_is_fitted(self)
        return self._features(self._embedded(X))

    def _embedded(self, X: Sequence[Media]) -> Embeddings:
        """One embedding per image, or an InputError."""
        images = media_list(X)
        found = embed_images(self._fitted_encoder(), images, store=self.store)
        if found.errors:
            first = min(found.errors)
            raise InputError(
                f"{len(found.errors)} of {len(images)} images could not be used; the first: "
                f"{found.errors[first]}."
            )
        return found.embeddings[found.distinct]

    def _features(
        self, embeddings: Embeddings, columns: NDArray[np.intp] | None = None
    ) -> NDArray[np.float32]:
        texts = self.text_embeddings_ if columns is None else self.text_embeddings_[columns]
        features: NDArray[np.float32] = cosines(embeddings, texts) * np.float32(self.logit_scale_)
        return features

    def predict_features(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Classify by values of the clues, as `features` gives them or as one likes.

        Parameters
        ----------
        features : ndarray of shape (n_samples, n_clues)

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes), float64
            Columns as ``classes_``.
        """
        check_is_fitted(self)
        given = np.asarray(features, np.float32)
        if given.ndim != 2 or given.shape[1] != len(self.clues_):
            raise InputError(
                f"Features must have shape (n_samples, {len(self.clues_)}), got {given.shape}."
            )
        return self._predict_selected(given[:, self.selected_])

    def _predict_selected(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities in the order of ``classes_`` from the clues in use alone."""
        return self.head_.predict_proba(features)[:, self._ranks]

    def _score(self, embeddings: Embeddings) -> tuple[NDArray[Any], NDArray[np.float32]]:
        proba = self._predict_selected(self._features(embeddings, self.selected_))
        rows = proba.astype(np.float32)
        return rows, rows

    # What it goes by

    def importances(
        self,
        X: Sequence[Media] | None = None,
        y: Any = None,
        *,
        n_repeats: int = 10,
        measure: Measure = "accuracy",
    ) -> ConceptImportances:
        """Measure which parts, attributes and clues separate the labels.

        All clues of a group are permuted together: single importances must not be added up,
        because clues that say the same stand in for each other.

        Parameters
        ----------
        X, y : images and labels, optional
            Not those of `fit`. None: the images of `fit`, each predicted by one of five models
            that have not learned from it.
        n_repeats : int, default=10
        measure : {"accuracy", "log-loss"}, default="accuracy"

        Returns
        -------
        importances : ConceptImportances
        """
        check_is_fitted(self)
        groups = self._groups()
        columns = [columns for _, _, _, columns in groups]
        total = np.zeros((len(groups), n_repeats))
        baseline, n = 0.0, 0
        for predict, features, codes in self._held_out(X, y):
            found = permutation_importance(
                predict,
                features,
                codes,
                groups=columns,
                n_repeats=n_repeats,
                measure=measure,
                random_state=self._seed,
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

    def _groups(self) -> list[tuple[tuple[str, ...], str | None, Clue | None, list[int]]]:
        """Name parts (with all below them), attributes and clues, with columns of those in use."""
        parts: dict[tuple[str, ...], list[int]] = {}
        attributes: dict[tuple[tuple[str, ...], str], list[int]] = {}
        singles = []
        for place, number in enumerate(self.selected_.tolist()):
            clue = self.clues_[number]
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
        self, X: Sequence[Media] | None, y: Any
    ) -> Iterator[tuple[PredictProba, NDArray[np.float32], NDArray[np.intp]]]:
        """Yield a function that predicts, features and codes of samples it has not learned from.

        Features are those of the clues in use; classes are in the order of ``classes_``.
        """
        if (X is None) != (y is None):
            raise InputError("Give both images and labels, or neither.")
        if X is not None:
            images = media_list(X)
            codes = codes_of(true_labels(y, len(images)), self.classes_)
            if not len(codes):
                raise InputError("Importances need at least one image.")
            yield (
                self._predict_selected,
                self._features(self._embedded(images), self.selected_),
                codes,
            )
            return
        features = self._features(self.support_embeddings_, self.selected_)
        ranks = self._ranks
        codes = self.support_codes_.astype(np.intp)
        folds = folds_of(ranks[codes], random_state=self._seed)
        if not folds:
            raise InputError(
                "With one image per label none can be held out: give labelled images, X and y."
            )
        for fold in folds:
            model = self._fit_model(features[fold.train], ranks[codes[fold.train]], self.selected_)
            yield _Reordered(model, ranks), features[fold.select], codes[fold.select]

    def label_importances(self, label: Any, *, n_repeats: int = 10) -> LabelCard:
        """Say what sets a label apart from all others, and in which direction.

        Measured on the images of `fit`, each predicted by a model that has not learned from it.

        Parameters
        ----------
        label : one of ``classes_``
        n_repeats : int, default=10

        Returns
        -------
        card : LabelCard

        Raises
        ------
        InputError
            If it is no label.
        """
        code = self._code(label)
        table = self._label_table(n_repeats)
        groups = self._groups()
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
            label=str(self.classes_[code]),
            parts=tuple(one for one in named if one.attribute is None),
            attributes=tuple(one for one in named if one.attribute is not None and not one.clue),
            clues=tuple(one for one in named if one.clue is not None),
            n_images=int(table.confusion[code].sum()),
        )

    def pair_report(
        self, first: Any, second: Any, *, n_top: int = 30, n_repeats: int = 10
    ) -> LabelPair:
        """Say why two labels are confused: which clues are among the most important of both.

        Parameters
        ----------
        first, second : two of ``classes_``
        n_top : int, default=30
            Clues of each label that are compared.
        n_repeats : int, default=10

        Returns
        -------
        pair : LabelPair
        """
        a, b = self._code(first), self._code(second)
        if a == b:
            raise InputError(f"A pair needs two labels, got {str(first)!r} twice.")
        table = self._label_table(n_repeats)
        report = pair_report(table.importance[:, -len(self.selected_) :], a, b, n_top=n_top)
        used = [self.clues_[number] for number in self.selected_.tolist()]
        return LabelPair(
            first=str(self.classes_[a]),
            second=str(self.classes_[b]),
            n_top=n_top,
            shared=tuple(used[i] for i in report.shared),
            only_first=tuple(used[i] for i in report.only_first),
            only_second=tuple(used[i] for i in report.only_second),
            overlap=report.overlap,
            first_as_second=int(table.confusion[a, b]),
            second_as_first=int(table.confusion[b, a]),
        )

    def _code(self, label: Any) -> int:
        check_is_fitted(self)
        return int(codes_of(np.asarray([label]), self.classes_)[0])

    def _label_table(self, n_repeats: int) -> _LabelTable:
        """Measure all groups for all labels, once for each fit."""
        if n_repeats in self._label_tables:
            return self._label_tables[n_repeats]
        columns = [columns for _, _, _, columns in self._groups()]
        n_classes = len(self.classes_)
        importance = np.zeros((n_classes, len(columns)))
        confusion = np.zeros((n_classes, n_classes), np.int64)
        for predict, features, codes in self._held_out(None, None):
            found = label_importance(
                predict,
                features,
                codes,
                groups=columns,
                n_repeats=n_repeats,
                random_state=self._seed,
            )
            own = np.bincount(codes, minlength=n_classes)
            importance += found.importance * own[:, None]
            np.add.at(confusion, (codes, predict(features).argmax(axis=1)), 1)
        features = self._features(self.support_embeddings_, self.selected_)
        table = _LabelTable(
            importance=importance / np.maximum(confusion.sum(axis=1), 1)[:, None],
            direction=directions(features, self.support_codes_, n_classes),
            confusion=confusion,
        )
        self._label_tables[n_repeats] = table
        return table

    # Single images

    def explained_by(self) -> tuple[str, ...]:
        """Names of the parts besides "chances" that explain answers; see `explain`."""
        own = self.estimator is not None  # what it goes by is not known
        return ("alike", "changes") if own else ("clues", "votes", "alike", "changes")

    def explained_on_request(self) -> tuple[str, ...]:
        """Names of the parts that are made only when they are asked for."""
        return ("occlusion", "examples")

    def explain(self, X: Sequence[Media]) -> list[ConceptEvidence]:
        """Say for each input how well the clues fit it, compared with the training images.

        Parameters
        ----------
        X : sequence of Media, length n_samples

        Returns
        -------
        evidence : list of ConceptEvidence, length n_samples
            In input order; unusable inputs have an `error`.

        See Also
        --------
        contributions : What each clue added to the answer.
        """
        check_is_fitted(self)
        images = media_list(X)
        found = embed_images(self._fitted_encoder(), images, store=self.store)
        values = self._features(found.embeddings, self.selected_)
        proba = self._predict_selected(values)
        places = percentiles(values, self._features(self.support_embeddings_, self.selected_))
        clues = tuple(self.clues_[number] for number in self.selected_.tolist())
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
                    label=str(self.classes_[int(proba[place].astype(np.float32).argmax())]),
                    proba=proba[place],
                    clues=clues,
                    values=values[place],
                    percentiles=places[place],
                    opinions=self._opinions(values[place]),
                )
            )
        return evidence

    def _opinions(self, values: NDArray[np.float32]) -> tuple[PartOpinion, ...]:
        if not isinstance(self.head_, PartsVote):
            return ()
        said = self.head_.part_proba(values[None])[0][:, self._ranks]
        names, _ = self._voters(self.selected_)
        return tuple(
            PartOpinion(
                part=part,
                attribute=attribute,
                label=str(self.classes_[int(proba.argmax())]),
                proba=proba,
            )
            for (part, attribute), proba in zip(names, said, strict=True)
        )

    def contributions(self, X: Sequence[Media]) -> ClueContributions:
        """Compute SHAP values: what each clue adds to the output for each label.

        For the forest, of its probabilities, which needs ``pip install "showtell[explain]"``. For
        the vote, which jumps, of the mean log-odds of the parts, which needs nothing.

        Parameters
        ----------
        X : sequence of Media, length n_samples

        Returns
        -------
        contributions : ClueContributions
            ``base`` and ``values`` add up to ``output``; a clue that was the same for all training
            images has exactly 0.

        Raises
        ------
        InputError
            If an image cannot be used, or the classifier is an `estimator` of your own.
        MissingExtraError
            Without the package shap, for a forest.

        References
        ----------
        Lundberg & Lee (2017), arXiv:1705.07874.
        """
        check_is_fitted(self)
        if isinstance(self.head_, EstimatorModel):
            raise InputError(
                "SHAP values are computed for head='vote' and head='forest'. For an estimator of "
                "your own use the package shap with `predict_features`."
            )
        features = self._features(self._embedded(X), self.selected_)
        unit: Literal["probability", "log-odds"]
        if isinstance(self.head_, Forest):
            values, base = forest_contributions(self.head_, features)
            output, unit = self.head_.predict_proba(features), "probability"
        else:
            values, base = vote_contributions(self.head_, features)
            weights, bias = self.head_.log_odds
            output, unit = features.astype(np.float64) @ weights.T + bias, "log-odds"
        ranks = self._ranks
        return ClueContributions(
            values=values[:, :, ranks],
            base=base[ranks],
            output=output[:, ranks],
            clues=tuple(self.clues_[number] for number in self.selected_.tolist()),
            unit=unit,
            features=features,
        )

    def counterfactual(
        self, image: Media, target: Any = None, *, n_most: int = 10
    ) -> ConceptCounterfactual:
        """Find the smallest change of clue values that would give an image another label.

        Parameters
        ----------
        image : Media
        target : one of ``classes_``, optional
            None: the second most probable.
        n_most : int, default=10
            Clues that may change.

        Returns
        -------
        found : ConceptCounterfactual

        Raises
        ------
        InputError
            If the image cannot be used, or the target is its label already.

        References
        ----------
        Wachter, Mittelstadt, Russell (2018), Counterfactual explanations without opening the black
        box, arXiv:1711.00399.
        """
        check_is_fitted(self)
        x = self._features(self._embedded([image]), self.selected_)
        known = self._features(self.support_embeddings_, self.selected_)
        proba = self._predict_selected(x)[0]
        code = int(np.argsort(-proba, kind="stable")[1]) if target is None else self._code(target)
        if code == int(proba.argmax()):
            raise InputError(
                f"The image gets the label {str(self.classes_[code])!r} already; name another one."
            )
        found = counterfactual(
            self._predict_selected,
            x[0],
            known,
            target=code,
            target_background=known[self.support_codes_ == code],
            n_most=n_most,
        )
        moved = [change.feature for change in found.changes]
        before = percentiles(np.array([[c.before for c in found.changes]]), known[:, moved])[0]
        after = percentiles(np.array([[c.after for c in found.changes]]), known[:, moved])[0]
        return ConceptCounterfactual(
            image=media_name(image),
            label=str(self.classes_[found.label]),
            target=str(self.classes_[found.target]),
            flips=found.flips,
            changes=tuple(
                ClueChange(
                    clue=self.clues_[int(self.selected_[change.feature])],
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

    def alike(self, X: Sequence[Media], *, n: int = 5) -> list[list[AlikeImage]]:
        """Find the training images that look most alike to the clues in use.

        Parameters
        ----------
        X : sequence of Media, length n_samples
        n : int, default=5

        Returns
        -------
        found : list of list of AlikeImage
            For each input, most alike first.
        """
        check_is_fitted(self)
        known = self._features(self.support_embeddings_, self.selected_)
        scaler = Scaler.of(known)
        ours, theirs = scaler(self._features(self._embedded(X), self.selected_)), scaler(known)
        for rows in (ours, theirs):
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        similar = ours @ theirs.T
        order = np.argsort(-similar, axis=1, kind="stable")[:, :n]
        return [
            [
                AlikeImage(
                    row=int(self.support_rows_[i]),
                    label=str(self.classes_[self.support_codes_[i]]),
                    similarity=float(similar[row, i]),
                )
                for i in of_row
            ]
            for row, of_row in enumerate(order.tolist())
        ]

    # Saving

    def _saved_params(self) -> dict[str, Any]:
        params = super()._saved_params()
        if isinstance(self.concepts, str | os.PathLike):  # a path belongs to a machine
            params["concepts"] = self.concepts_
        if isinstance(self.descriptions, str | os.PathLike):
            params["descriptions"] = read_descriptions(self.descriptions)
        return params

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        if isinstance(self.head_, EstimatorModel):
            raise InputError(
                "A ConceptClassifier with an `estimator` of your own cannot be saved, because "
                "nothing is pickled; head='vote' and head='forest' can."
            )
        values: dict[str, Any] = {
            "head": "forest" if isinstance(self.head_, Forest) else "vote",
            "logit_scale": self.logit_scale_,
            "clues": [asdict(clue) for clue in self.clues_],
            "n_selected": len(self.selected_),
            "selection": None if self.selection_ is None else asdict(self.selection_),
            "concepts": self.concepts_.to_record(),
        }
        arrays: dict[str, NDArray[Any]] = {
            "support": self.support_.astype(np.int64),
            "selected": self.selected_.astype(np.int64),
            "text_embeddings": self.text_embeddings_,
            "support_embeddings": self.support_embeddings_,
            "support_codes": self.support_codes_,
            "support_rows": self.support_rows_.astype(np.int64),
            **{f"head_{name}": array for name, array in self.head_.arrays().items()},
        }
        return values, arrays

    def _saved_shapes(
        self, values: Mapping[str, Any], n_classes: int, n_dims: int
    ) -> dict[str, tuple[int | None, ...]]:
        if _head_of(values) not in _HEADS:
            raise UnknownNameError("head", _head_of(values), _HEADS)
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

    def _restore_state(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.logit_scale_ = float(values["logit_scale"])
        self.clues_ = tuple(
            Clue(**{**one, "part": tuple(one["part"])})  # as JSON, tuples are lists
            for one in values["clues"]
        )
        self.concepts_ = read_concepts(values["concepts"])
        self.selection_ = _selection(values["selection"])
        self._remember(np.asarray(arrays["support"], np.intp))
        self.selected_ = np.asarray(arrays["selected"], np.intp)
        self.text_embeddings_ = arrays["text_embeddings"]
        self.support_embeddings_ = arrays["support_embeddings"]
        self.support_codes_ = arrays["support_codes"]
        self.support_rows_ = np.asarray(arrays["support_rows"], np.intp)
        n, n_classes = len(self.support_embeddings_), len(self.classes_)
        codes, selected = self.support_codes_, self.selected_
        if not (
            0 < n == len(codes) == len(self.support_rows_)
            and ((codes >= 0) & (codes < n_classes)).all()
            and len(selected)
            and ((selected >= 0) & (selected < len(self.clues_))).all()
        ):
            raise InputError("the images or the clues that were learned from do not fit.")
        own = {k.removeprefix("head_"): a for k, a in arrays.items() if k.startswith("head_")}
        if _head_of(values) == "forest":
            self.head_ = Forest.of_arrays(own, n_features=len(selected))
        else:
            self.head_ = PartsVote.of_arrays(own)
        self._rows = self.support_rows_
        self._label_tables = {}


class _LabelTable:
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


def _head_of(values: Mapping[str, Any]) -> str:
    """Which head was saved; once it was called a model."""
    return str(values["head"] if "head" in values else values["model"])


class _Reordered:
    """A model's prediction with the columns in the order of ``classes_``."""

    def __init__(self, model: ClueModel, ranks: NDArray[np.intp]) -> None:
        self.model, self.ranks = model, ranks

    def __call__(self, features: NDArray[Any]) -> NDArray[np.float64]:
        return self.model.predict_proba(features)[:, self.ranks]


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
