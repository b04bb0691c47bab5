"""LikelihoodClassifier: a local vision-language model says how likely each label is."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import log_softmax, softmax

from showtell._progress import Progress, no_progress
from showtell.checks import flag, one_of, whole
from showtell.classify.asking.null_images import content_free_pictures
from showtell.classify.base import (
    MediaClassifier,
    _Named,
    make_predictions,
    media_list,
    read_given,
    say_once,
)
from showtell.classify.embedding.prototypes import cosines, text_prototypes
from showtell.classify.estimator import check_is_fitted
from showtell.classify.labels import Texts
from showtell.classify.likelihood.saved import from_saved, to_saved
from showtell.classify.predictions import Predictions
from showtell.classify.probability import probabilities, smoothed_temperature
from showtell.classify.saved import Saving
from showtell.encoders import Embeddings, Encoder, ImageEmbeddings, PixelEncoder, embed_images
from showtell.encoders import load_encoder as _load_encoder
from showtell.encoders.base import checked_rows
from showtell.encoders.embed import Store
from showtell.errors import InputError
from showtell.media import Media
from showtell.metrics import average_rotations, remove_prior, rotations_of
from showtell.mllm.local.continuations import Continuations, merge_aliases, pmi_scores, score_labels
from showtell.mllm.local.vlm import LocalVLM
from showtell.records.saved import SavedFolder

LikelihoodRule: TypeAlias = Literal["sum", "mean", "sum_eos", "pmi", "letter"]

_MIN_CALIBRATION = 20
_LONGEST_SIDE = 2048  # pixels that are kept of a picture; no model here reads more
_OUTSIDE = np.float32(-1e30)  # stands for minus infinity, which embeddings may not hold
_STUB, _LETTER_STUB = "It shows a", "The answer is"


@dataclass(frozen=True, kw_only=True)
class LikelihoodTokens:
    """What a model reads to classify images."""

    n_images: int
    """Distinct images that can be used."""
    n_passes: int
    """How often picture and prompt are read for each: once, or once per rotation."""
    n_errors: int
    """Inputs that cannot be read."""
    image: int
    """Tokens of pictures."""
    text: int
    """Tokens of prompts and labels."""


class LikelihoodClassifier(MediaClassifier):
    r"""Classify by the likelihood of each label as the next words of a local model's reply.

    The model reads the picture, the question and an opened reply once; all labels are then
    scored from there in one padded batch. The answer is always one of the labels, and nothing
    leaves the machine.

    Parameters
    ----------
    model : str or LocalVLM
        ``"local-dir:path"``, ``"hf-hub:org/name"``, or a model that is already loaded.
    labels : sequence of str, mapping of label to description(s), or None
        The label set. None takes the labels of `y` in `fit`, sorted. Descriptions serve the short
        list only.
    question : str
        What the model is asked about each picture.
    stub : str, default="auto"
        Start of the reply, so that a label is the grammatical next word; "auto" is "It shows a",
        and "The answer is" for ``rule="letter"``. "" opens none.
    rule : {"sum", "mean", "sum_eos", "pmi", "letter"}, default="sum"
        How a label is scored.

        - ``"sum"``: log-probability of the label's tokens; favours short labels.
        - ``"mean"``: per token; favours long, predictable labels.
        - ``"sum_eos"``: also that the reply ends there; for labels that begin like others.
        - ``"pmi"``: ``sum`` less the same with pictures that show nothing, which removes how
          common a label is in language.
        - ``"letter"``: the options are listed with letters and one token is asked for; at most
          26 labels, or a short list. Averaged over `rotations`.
    calibrate : bool or "auto", default="auto"
        Fit a temperature on the images and labels given to `fit`; "auto" with at least 20 usable
        ones, True must, False never. It changes confidences, never labels.
    null_images : sequence of Media, "default" or None, default=None
        Pictures that show nothing; "default" is three (grey, noise, blurred noise). For "pmi"
        they are the null (None means "default"), for other scores the probabilities are divided
        by their mean distribution on these pictures (contextual calibration).
    batch_calibration : float, optional
        γ of batch calibration: ``log p − γ log p̄``, with ``p̄`` the mean over the images given to
        `fit` (y may be None), or over the distinct images of a call where there were none. Right
        where labels are about even; 1 is usual. Use at least ten images a label.
    rotations : int, optional
        How many cyclic shifts of the options "letter" asks with; None is all, which cancels a
        preference for places exactly.
    shortlist : int, optional
        Ask only about this many labels, those an encoder puts first. All other labels get
        probability 0.
    encoder : str or Encoder, default="mini"
        Makes the short list.
    store : EmbeddingStore, path, "default" or None, default="default"
        Where the encoder's embeddings of label texts are kept.
    aliases : mapping of label to str or sequence of str, optional
        Other names of a class; their probabilities are added.
    abstain_below : float, optional
        Give no label where the best probability is lower.
    threads : int, optional
        CPU threads of a model given by name.
    random_state : int, optional
        Seed of the noise in ``null_images="default"``; None is 0.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    vlm_ : LocalVLM
        The loaded model.
    prompt_ : str
        What precedes each label (for "letter": of the first rotation, without a short list).
    continuations_ : Continuations or None
        The tokens of all labels and aliases; None for "letter".
    null_scores_ : ndarray of shape (n_nulls, n_classes) or None
    batch_prior_ : ndarray of shape (n_classes,) or None
        ``p̄`` where `fit` had images.
    temperature_ : float
        1.0 unless calibrated.
    calibrated_ : bool

    See Also
    --------
    showtell.mllm.local.vlm.LocalVLM : The model and its options.
    ZeroShotClassifier : Much faster, often better.

    Notes
    -----
    On many label sets a CLIP model beats the likelihoods of larger vision-language models, and
    the gap shrinks with the number of labels: a short list of 5 to 20 is a good start.

    References
    ----------
    Zhang et al. (2024), Why are Visually-Grounded Language Models Bad at Image Classification?,
    arXiv:2405.18415. Holtzman et al. (2021), Surface Form Competition, arXiv:2104.08315. Zhao et
    al. (2021), Calibrate Before Use, arXiv:2102.09690. Zhou et al. (2023), Batch Calibration,
    arXiv:2309.17249.

    Examples
    --------
    >>> clf = LikelihoodClassifier(  # doctest: +SKIP
    ...     "hf-hub:HuggingFaceTB/SmolVLM-256M-Instruct", labels=["cat", "dog"]
    ... )
    >>> clf.fit().predict(["cat.jpg"])  # doctest: +SKIP
    array(['cat'], dtype='<U3')
    """

    _shared = ("model", "encoder", "store")

    _needs_examples = False

    def __init__(
        self,
        model: str | LocalVLM,
        *,
        labels: Sequence[Any] | Texts | None = None,
        question: str = "What is shown in this picture?",
        stub: str = "auto",
        rule: LikelihoodRule = "sum",
        calibrate: bool | Literal["auto"] = "auto",
        null_images: Sequence[Media] | Literal["default"] | None = None,
        batch_calibration: float | None = None,
        rotations: int | None = None,
        shortlist: int | None = None,
        encoder: str | Encoder = "mini",
        store: Store = "default",
        aliases: Texts | None = None,
        abstain_below: float | None = None,
        threads: int | None = None,
        random_state: int | None = None,
    ) -> None:
        self.model = model
        self.labels = labels
        self.question = question
        self.stub = stub
        self.rule = rule
        self.calibrate = calibrate
        self.null_images = null_images
        self.batch_calibration = batch_calibration
        self.rotations = rotations
        self.shortlist = shortlist
        self.encoder = encoder
        self.store = store
        self.aliases = aliases
        self.abstain_below = abstain_below
        self.threads = threads
        self.random_state = random_state

    def fit(self, X: Sequence[Media] | None = None, y: Any = None) -> Self:
        """Load the model, tokenise the labels, score the null pictures; calibrate where possible.

        Parameters
        ----------
        X, y : optional
            As in `ZeroShotClassifier.fit`. Images are for `calibrate` (with y) and
            `batch_calibration`, and looked at for nothing else.

        Raises
        ------
        InputError
            If there are no labels, arguments do not fit each other, or the tokenizer merges the
            end of the prompt with a label.
        RunError
            If the model's scores depend on how the prompt is read; see `LocalVLM.check`.
        """
        check_arguments(self)
        images, words, codes = read_given(X, y, self.labels, aliases=self.aliases)
        check_sizes(self, len(words.classes))
        self.classes_ = words.classes
        self._check_abstain_below()
        self.vlm_ = self._load_model()
        self._read_labels(words.names)
        self._check_reading()
        self._prototypes: NDArray[np.float32] | None = None
        if self.shortlist is not None and self.shortlist < len(self.classes_):
            encoder = _load_encoder(self.encoder)
            self._prototypes, _ = text_prototypes(
                encoder, words.names, words.descriptions, "default", self.store
            )
            self._encoder_fingerprint = encoder.fingerprint
        self.null_scores_: NDArray[np.float64] | None = self._score_nulls()
        self.batch_prior_: NDArray[np.float64] | None = None
        self.temperature_, self.calibrated_ = 1.0, False
        self._learn(images, codes)
        return self

    def classify(self, X: Sequence[Media], *, progress: Progress = no_progress) -> Predictions:
        """Score the labels for each input; arguments and result as `MediaClassifier.classify`."""
        check_is_fitted(self)
        images = media_list(X)
        self._check_model()
        named = _Named(images)
        found = self._embed(named, progress)
        logits = self._logits(_scores_of(found.embeddings))
        proba = probabilities(logits / self.temperature_, "softmax")
        return make_predictions(
            named.names,
            tuple(str(label) for label in self.classes_.tolist()),
            found,
            logits,
            proba,
            abstain_below=self.abstain_below,
        )

    def count_tokens(
        self, X: Sequence[Media], *, progress: Progress = no_progress
    ) -> LikelihoodTokens:
        """Count what `classify` would make the model read; nothing is scored.

        Arguments as those of `classify`.

        Returns
        -------
        tokens : LikelihoodTokens
            Sums over distinct usable images. With a short list the labels' tokens are those of
            labels of mean length.

        Examples
        --------
        >>> clf.count_tokens(["cat.jpg"])  # doctest: +SKIP
        LikelihoodTokens(n_images=1, n_passes=1, n_errors=0, image=1088, text=61)
        """
        check_is_fitted(self)
        self._check_model()
        n_asked = min(len(self.classes_), self.shortlist or len(self.classes_))
        n_passes, of_labels = 1, 0.0
        if self.continuations_ is None:
            n_passes = len(rotations_of(n_asked, self.rotations))
        else:
            unread = 0 if self.rule == "sum_eos" else 1  # the last token is only predicted
            read = sum(len(ids) - unread for ids in self.continuations_.tokens)
            of_labels = read * n_asked / len(self.classes_)

        def count(picture: Image.Image) -> NDArray[np.float64]:
            image, text = self.vlm_.count_tokens(picture, self.prompt_)
            return np.array([n_passes * image, n_passes * text + of_labels])

        counter = _Scorer(self.vlm_, 2, count)
        found = embed_images(counter, media_list(X), store=None, progress=progress)
        image, text = found.embeddings.sum(axis=0, dtype=np.float64)
        return LikelihoodTokens(
            n_images=len(found.embeddings),
            n_passes=n_passes,
            n_errors=len(found.errors),
            image=round(image),
            text=round(text),
        )

    def _to_saved(self) -> Saving:
        return to_saved(self)

    @classmethod
    def _from_saved(cls, saved: SavedFolder, *, encoder: Any, model: Any) -> Self:
        return from_saved(cls, saved, encoder=encoder, model=model)

    # The model

    def _load_model(self) -> LocalVLM:
        """Load a model by name, unless this very one is loaded already."""
        if not isinstance(self.model, str):
            return self.model
        return LocalVLM(self.model, threads=self.threads)

    def _check_model(self) -> None:
        same = (
            self.vlm_.name == self.model
            if isinstance(self.model, str)
            else self.vlm_.fingerprint == self.model.fingerprint
        )
        if not same:
            raise InputError(
                f"This {type(self).__name__} was fitted with {self.vlm_.name!r}, but its model now "
                f"is {self.model!r}. Call `fit` again."
            )

    # Scores

    def _read_labels(self, texts: Sequence[Sequence[str]]) -> None:
        """Write the prompt, and tokenise all labels and aliases (per class, what it is called)."""
        self._texts = tuple(tuple(" ".join(t.split()) for t in of_class) for of_class in texts)
        self._names = [of_class[0] for of_class in self._texts]
        if self.rule == "letter":
            self.continuations_: Continuations | None = None
            self.prompt_, self._letters = self._letter_prompt(range(min(len(self._names), 26)))
            return
        stub = _STUB if self.stub == "auto" else self.stub
        self.prompt_ = self.vlm_.prompt(self.question, stub=stub)
        self._class_of = np.array([c for c, of in enumerate(self._texts) for _ in of])
        self.continuations_ = self.vlm_.continuations(
            self.prompt_, [t for of_class in self._texts for t in of_class]
        )

    def _check_reading(self) -> None:
        """Make sure that the model scores alike with and without reuse of the prompt."""
        follow = self.continuations_
        self.vlm_.check(self.prompt_, self._letters if follow is None else follow)

    def _letter_prompt(self, order: Sequence[int]) -> tuple[str, Continuations]:
        """List the options in this order; the letters are what may follow."""
        letters = LETTERS[: len(order)]
        options = "\n".join(f"{a}. {self._names[c]}" for a, c in zip(letters, order, strict=True))
        stub = _LETTER_STUB if self.stub == "auto" else self.stub
        prompt = self.vlm_.prompt(
            f"{self.question}\n{options}\nReply with the letter of one option.", stub=stub
        )
        follow = self.vlm_.continuations(prompt, list(letters))
        long = [a for a, ids in zip(letters, follow.tokens, strict=True) if len(ids) > 1]
        if long:
            raise InputError(
                f"{self.vlm_.name}: its tokenizer has no single token for the letters "
                f"{', '.join(long)} after this prompt. Use another rule, or another `stub`."
            )
        return prompt, follow

    def _score_picture(self, picture: Image.Image, *, short: bool = True) -> NDArray[np.float64]:
        """Score of each class, shape (n_classes,); minus infinity outside the short list."""
        kept = np.arange(len(self.classes_))
        if short and self._prototypes is not None:
            kept = self._short_list(picture)
        if self.rule == "letter":
            return self._score_letters(picture, kept)
        assert self.continuations_ is not None
        asked = np.flatnonzero(np.isin(self._class_of, kept))
        all_texts = self.continuations_
        texts = Continuations(
            labels=tuple(all_texts.labels[i] for i in asked),
            prefix=all_texts.prefix,
            tokens=tuple(all_texts.tokens[i] for i in asked),
        )
        with_end = self.rule == "sum_eos"
        found = self.vlm_.score(picture, self.prompt_, texts, with_end=with_end)
        rule = "sum" if self.rule == "pmi" else self.rule
        return merge_aliases(
            score_labels(found, rule), self._class_of[asked].tolist(), len(self.classes_)
        )

    def _score_letters(self, picture: Image.Image, kept: NDArray[np.intp]) -> NDArray[np.float64]:
        """Ask with rotated options; average the letters' log-probabilities per option."""
        orders = rotations_of(len(kept), self.rotations)
        rows = []
        for order in orders:
            prompt, letters = self._letter_prompt(kept[order].tolist())
            rows.append(self.vlm_.score(picture, prompt, letters).logprobs[:, 0])
        scores = np.full(len(self.classes_), -np.inf)
        scores[kept] = average_rotations(np.stack(rows), orders)
        return scores

    def _short_list(self, picture: Image.Image) -> NDArray[np.intp]:
        """Classes that the encoder puts first, in the order of the label set."""
        encoder = _load_encoder(self.encoder)
        if encoder.fingerprint != self._encoder_fingerprint:
            raise InputError(
                f"The encoder {encoder.name!r} is not the one this {type(self).__name__} was "
                "fitted with. Call `fit` again."
            )
        assert self._prototypes is not None
        assert self.shortlist is not None
        row = checked_rows(encoder, encoder.encode_images([picture]), 1, "images")
        near = cosines(row, self._prototypes)[0]
        best: NDArray[np.intp] = np.argsort(-near, kind="stable")[: self.shortlist]
        return np.sort(best)

    def _score_nulls(self) -> NDArray[np.float64] | None:
        """Scores of all labels on pictures that show nothing, shape (n_nulls, n_classes)."""
        nulls = self.null_images
        if nulls is None and self.rule != "pmi":
            return None
        if nulls is None or isinstance(nulls, str):
            nulls = content_free_pictures(self.random_state or 0)
        found = self._embed(media_list(nulls), no_progress, short=False)
        if found.errors or not len(found):
            reason = str(found.errors[min(found.errors)]) if found.errors else "there are none"
            raise InputError(f"`null_images` cannot be used: {reason}")
        return _scores_of(found.embeddings)[found.distinct]

    def _embed(
        self, images: Sequence[Media], progress: Progress, *, short: bool = True
    ) -> ImageEmbeddings:
        """Scores of all distinct images, by the path that all images take."""

        def score(picture: Image.Image) -> NDArray[np.float64]:
            return self._score_picture(picture, short=short)

        scorer = _Scorer(self.vlm_, len(self.classes_), score)
        return embed_images(scorer, images, store=None, progress=progress)

    def _corrected(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores after the null pictures, shape (n, n_classes)."""
        if self.null_scores_ is None:
            return scores
        if self.rule == "pmi":
            return pmi_scores(scores, self.null_scores_)
        prior = softmax(self.null_scores_, axis=1).mean(axis=0)
        return cast(NDArray[np.float64], remove_prior(log_softmax(scores, axis=1), prior))

    def _logits(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logits before the temperature, shape (n, n_classes)."""
        logits = self._corrected(scores)
        gamma = self.batch_calibration
        if gamma is None or not len(logits):
            return logits
        log_p = log_softmax(logits, axis=1)
        prior = self.batch_prior_
        if prior is None:
            prior = np.exp(log_p).mean(axis=0)
            if len(logits) < 2 * len(self.classes_):
                say_once(
                    "likelihood batch",
                    f"batch_calibration looks at all images of a call, and {len(logits)} different "
                    f"ones for {len(self.classes_)} labels say little. Give `fit` unlabelled "
                    "images, or set batch_calibration=None.",
                )
        return cast(NDArray[np.float64], remove_prior(log_p, prior, gamma))

    def _learn(self, images: Sequence[Media] | None, codes: NDArray[np.intp] | None) -> None:
        """Fit the batch prior and the temperature on the images of `fit`."""
        must = self.calibrate is True
        if must and (images is None or codes is None):
            raise InputError("`calibrate=True` needs labelled images: call `fit(X, y)`.")
        warms = codes is not None and (
            must or (self.calibrate == "auto" and len(codes) >= _MIN_CALIBRATION)
        )
        if images is None or not (warms or self.batch_calibration is not None):
            return
        found = self._embed(images, no_progress)
        scores = _scores_of(found.embeddings)
        if self.batch_calibration is not None and len(scores):
            self.batch_prior_ = softmax(self._corrected(scores), axis=1).mean(axis=0)
        usable = np.flatnonzero(found.ok)
        if not warms or codes is None:
            return
        if not must and len(usable) < _MIN_CALIBRATION:
            return
        logits = self._logits(scores)[found.distinct[usable]]
        logits, truth = _within(logits, codes[usable])
        if not len(truth):
            if must:
                raise InputError(
                    f"`calibrate=True`: none of the {len(codes)} labelled images could be used"
                    + (f"; the first: {found.errors[min(found.errors)]}." if found.errors else ".")
                )
            return
        self.temperature_ = smoothed_temperature(logits, truth)
        self.calibrated_ = True


class _Scorer(PixelEncoder):
    """A model's label scores in the place of embeddings: read, hashed and decoded alike."""

    _rows_are_scores = True  # and not directions of length 1
    input_side = 1024
    batch_size = 2  # more than 1: called from one thread

    def __init__(
        self, vlm: LocalVLM, n_classes: int, score: Callable[[Image.Image], NDArray[np.float64]]
    ) -> None:
        self.name, self.fingerprint, self.n_dims = vlm.name, vlm.fingerprint, n_classes
        self._score = score

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        if max(image.size) > _LONGEST_SIDE:
            image = image.copy()
            image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        return np.asarray(image, np.float32).transpose(2, 0, 1)

    def encode_prepared(self, pixels: NDArray[np.float32]) -> Embeddings:
        rows = []
        for one in pixels:
            picture = Image.fromarray(one.transpose(1, 2, 0).astype(np.uint8))
            rows.append(np.maximum(self._score(picture), _OUTSIDE))
        return np.asarray(rows, np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:  # noqa: ARG002
        raise InputError("Label scores exist for pictures only.")


def _scores_of(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scores with minus infinity where a label was not asked about."""
    return np.where(rows <= _OUTSIDE / 2, -np.inf, rows.astype(np.float64))


def _within(
    logits: NDArray[np.float64], codes: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Rows whose true label was asked about, with only the columns that were (as many in each)."""
    asked = np.isfinite(logits)
    rows = np.flatnonzero(asked[np.arange(len(codes)), codes])
    if asked.all() or not len(rows):
        return logits[rows], codes[rows]
    narrow = np.stack([logits[i, asked[i]] for i in rows])
    places = [int(asked[i, : codes[i]].sum()) for i in rows]
    return narrow, np.array(places, np.intp)


LETTERS = string.ascii_uppercase
"""Of the options of rule="letter"."""

_RULES = ("sum", "mean", "sum_eos", "pmi", "letter")


def check_arguments(clf: LikelihoodClassifier) -> None:
    """Refuse values that are none of the allowed ones."""
    if not isinstance(clf.model, str | LocalVLM):
        raise InputError(
            "`model` is 'local-dir:PATH', 'hf-hub:ORG/NAME' or a LocalVLM; got "
            f"{type(clf.model).__name__}."
        )
    one_of("rule", clf.rule, _RULES)
    flag(also=["auto"], calibrate=clf.calibrate)
    if isinstance(clf.null_images, str) and clf.null_images != "default":
        raise InputError(
            f"`null_images` is 'default', a sequence of images or None; got {clf.null_images!r}."
        )
    gamma = clf.batch_calibration
    if gamma is not None and (isinstance(gamma, bool) or not -10 <= gamma <= 10):
        raise InputError(f"`batch_calibration` is a number near 1, or None; got {gamma!r}.")
    whole(1, also=[None], rotations=clf.rotations, shortlist=clf.shortlist)
    if clf.rotations is not None and clf.rule != "letter":
        raise InputError("`rotations` turns the options of rule='letter'; set that, or None.")
    for name in ("question", "stub"):
        if not isinstance(getattr(clf, name), str):
            raise InputError(f"`{name}` is text, got {getattr(clf, name)!r}.")


def check_sizes(clf: LikelihoodClassifier, n_classes: int) -> None:
    """Refuse what does not go with so many labels."""
    short = clf.shortlist is not None and clf.shortlist < n_classes
    n_asked = min(n_classes, clf.shortlist or n_classes)
    if clf.rule == "letter" and n_asked > len(LETTERS):
        raise InputError(
            f"rule='letter' has {len(LETTERS)} letters for {n_asked} labels. Set "
            f"`shortlist` to {len(LETTERS)} or fewer, or take rule='sum'."
        )
    if short and clf.batch_calibration is not None:
        raise InputError(
            "`batch_calibration` needs the probability of every label for every image, which "
            "a short list does not give. Set one of the two to None."
        )
    if short and clf.rule == "letter" and clf.null_images is not None:
        raise InputError(
            "With rule='letter' and a short list each image has options of its own, so there "
            "is no common null. Set `null_images=None` or `shortlist=None`."
        )
