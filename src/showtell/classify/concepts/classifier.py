"""ConceptClassifier: visual clues of a concept tree as features of a simple classifier."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.classify.base import media_list, read_labelled
from showtell.classify.concepts.evidence import (
    AlikeImage,
    ClueContributions,
    ConceptCounterfactual,
    ConceptEvidence,
    ConceptImportances,
    LabelCard,
    LabelPair,
)
from showtell.classify.concepts.fitting import check_arguments, choose_clues, fit_model, write_clues
from showtell.classify.concepts.heads import ClueHeadName, EstimatorModel, Forest, PartsVote
from showtell.classify.concepts.importances import (
    LabelTable,
    compare_labels,
    label_card,
    measure_importances,
)
from showtell.classify.concepts.saved import restore, saved_shapes, saved_state
from showtell.classify.concepts.selection import ClueSelection
from showtell.classify.concepts.single import (
    alike_images,
    clue_contributions,
    evidence_of,
    smallest_change,
)
from showtell.classify.described.described import Descriptions
from showtell.classify.embedding.prototypes import cosines
from showtell.classify.embedding.support import SupportClassifier
from showtell.classify.estimator import check_is_fitted
from showtell.classify.labels import codes_of
from showtell.encoders import Embeddings, Encoder, embed_images, embed_texts, load_encoder
from showtell.encoders.embed import Store
from showtell.errors import InputError
from showtell.media import Media
from showtell.metrics.importance import Measure
from showtell.prompts import read_descriptions
from showtell.prompts.concepts.reading import read_concepts
from showtell.prompts.concepts.trees import CluePrefix, ConceptTree, TreeLayout

Concepts: TypeAlias = ConceptTree | Mapping[str, Any] | str | os.PathLike[str]
"""A concept tree, a mapping of one, or a ``.json`` file of one."""

ClueVoting: TypeAlias = Literal["parts", "attributes", "all"]
ClueSelector: TypeAlias = Literal["permutation", "permutation-cv"]


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
        X, y : images and labels
            As in `FewShotClassifier.fit`.

        Raises
        ------
        InputError
            If there is no concept tree or no clue in it, y does not fit X or the label set, there
            is one label only, a class is left without a usable image, or an argument is none of
            the allowed ones.
        """
        check_arguments(self)
        images, words, codes = read_labelled(X, y, self.labels)
        if len(words.classes) < 2:
            raise InputError(
                f"There is one label only, {str(words.classes[0])!r}; clues tell labels apart."
            )
        tree = read_concepts(self.concepts)  # type: ignore[arg-type]  # checked: not None
        clues = write_clues(self, tree, words)
        encoder = load_encoder(self.encoder)
        self.classes_ = words.classes
        self._check_abstain_below()
        self.encoder_fingerprint_ = encoder.fingerprint
        self.logit_scale_ = float(encoder.logit_scale)
        support = self._take_support(encoder, images, codes)
        # sorted labels inside, so that the order of `labels` changes nothing but columns
        order = np.argsort(self._ranks[support.codes], kind="stable")
        self.concepts_, self.clues_ = tree, clues
        self.support_embeddings_ = support.embeddings[order]
        self.support_codes_ = support.codes[order].astype(np.int64)
        self.support_rows_ = self._rows[order]
        self.text_embeddings_ = embed_texts(
            encoder, [clue.text for clue in clues], store=self.store
        )
        self._label_tables: dict[int, LabelTable] = {}
        features = self._features(self.support_embeddings_)
        ranks = self._ranks[self.support_codes_]
        self._fit_selected(features, ranks, choose_clues(self, features, ranks))
        return self

    @property
    def _ranks(self) -> NDArray[np.intp]:
        """Place of each label among the sorted ones, shape (n_classes,)."""
        ranks = np.empty(len(self.classes_), np.intp)
        ranks[np.argsort(self.classes_, kind="stable")] = np.arange(len(self.classes_))
        return ranks

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
        model = fit_model(self, features[:, self.selected_], codes, self.selected_)
        self.head_: PartsVote | Forest | EstimatorModel = (
            Forest.of(model.forest) if hasattr(model, "forest") else model  # type: ignore[assignment]
        )

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
        return (rows := proba.astype(np.float32)), rows

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
        """
        check_is_fitted(self)
        return measure_importances(self, X, y, n_repeats=n_repeats, measure=measure)

    def label_importances(self, label: Any, *, n_repeats: int = 10) -> LabelCard:
        """Say what sets a label apart from all others, and in which direction.

        Measured on the images of `fit`, each predicted by a model that has not learned from it.

        Raises
        ------
        InputError
            If it is no label.
        """
        return label_card(self, self._code(label), n_repeats=n_repeats)

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
        """
        a, b = self._code(first), self._code(second)
        if a == b:
            raise InputError(f"A pair needs two labels, got {str(first)!r} twice.")
        return compare_labels(self, a, b, n_top=n_top, n_repeats=n_repeats)

    def _code(self, label: Any) -> int:
        check_is_fitted(self)
        return int(codes_of(np.asarray([label]), self.classes_)[0])

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
        return evidence_of(self, X)

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
        return clue_contributions(self, X)

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
        code = None if target is None else self._code(target)
        return smallest_change(self, image, code, n_most=n_most)

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
        return alike_images(self, X, n=n)

    # Saving

    def _saved_params(self) -> dict[str, Any]:
        params = super()._saved_params()
        if isinstance(self.concepts, str | os.PathLike):  # a path belongs to a machine
            params["concepts"] = self.concepts_
        if isinstance(self.descriptions, str | os.PathLike):
            params["descriptions"] = read_descriptions(self.descriptions)
        return params

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return saved_state(self)

    def _saved_shapes(
        self, values: Mapping[str, Any], n_classes: int, n_dims: int
    ) -> dict[str, tuple[int | None, ...]]:
        return saved_shapes(values, n_classes, n_dims)

    def _restore_state(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        restore(self, values, arrays)
