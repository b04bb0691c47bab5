"""FusionClassifier: what an encoder sees, what a model says it sees, and what the model guesses."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell._progress import Progress, no_progress
from showtell.checks import flag, one_of
from showtell.classify.asking.access import AsksModel
from showtell.classify.base import EncoderClassifier, make_predictions, media_list, read_given
from showtell.classify.capabilities import PictureScorer
from showtell.classify.described.described import Descriptions
from showtell.classify.described.opinions import Looks, Opinions, Seen, class_vectors, tuned_weights
from showtell.classify.estimator import check_is_fitted
from showtell.classify.predictions import Predictions
from showtell.classify.probability import probabilities, smoothed_temperature
from showtell.classify.stopped import hand_on
from showtell.encoders import Embeddings, Encoder, ImageEmbeddings, embed_images, load_encoder
from showtell.encoders.base import checked_rows
from showtell.encoders.embed import Store
from showtell.errors import InputError, SavedFolderError, ShowtellError
from showtell.media import Media, media_name
from showtell.mllm.base import Request
from showtell.mllm.model import Asked
from showtell.mllm.structured import Spent
from showtell.prompts import PromptSet, load_prompts, read_descriptions
from showtell.records.saved import SavedFolder

ImageFeature: TypeAlias = Literal["image", "description", "guess"]
ClassFeature: TypeAlias = Literal["name", "template", "descriptions"]

_USE = ("image", "description", "guess")
_CLASS_FEATURES = ("name", "template", "descriptions")
_MIN_CALIBRATION = 20


@dataclass(frozen=True, kw_only=True)
class FusionEvidence:
    """What the label of an image rests on."""

    image: str
    label: str
    rival: str
    """The label with the next best score."""
    description: str | None
    """What the model says it sees."""
    guess: str | None
    """The label it guesses, as it came."""
    terms: Mapping[str, tuple[float, float]]
    """For each feature in use, its weighted score for the label and for the rival."""
    error: str | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.image}: {self.error}"
        parts = ", ".join(f"{k} {ours - theirs:+.3f}" for k, (ours, theirs) in self.terms.items())
        return f"{self.image}: {self.label} before {self.rival} ({parts})"


class FusionClassifier(AsksModel, EncoderClassifier):
    """Add up three opinions on an image: the encoder's, and those of a model's two texts about it.

    With ``u_1`` the embedding of the image, ``u_2`` that of the model's description of it, ``u_3``
    that of the label it guesses, and the class vectors ``w_c``:

    ``q = n(sum_i weight_i u_i)``, ``s_c = <q, w_c>``,

    where ``n`` scales to length 1 and ``w_c`` is ``n(name + template + mean of descriptions)``, of
    those in `class_features`. As ``q`` is a positive multiple of the sum, labels rank as the
    weighted sum of three cosines ranks them.

    Parameters
    ----------
    model : str, MLLM or Model
        As in `DirectClassifier`; asked twice per image, once per text in `use`.
    encoder : str or Encoder, default="mini"
    labels : sequence of str, or None
        None takes the labels of `y` in `fit`.
    use : sequence of {"image", "description", "guess"}
        Opinions that count. ``("image",)`` is plain zero-shot and asks nothing.
    class_features : sequence of {"name", "template", "descriptions"}, optional
        What class vectors are made of; by default the name, the template, and the descriptions if
        there are any.
    descriptions : DescriptionSet, mapping or path, optional
        Sentences on how each label looks.
    template : str, default="A photo of {label}"
    weights : mapping of feature to float, "tune" or None
        Weights of the opinions; None: all 1. "tune" chooses them on the labelled images of `fit`,
        about which the model is then asked too. Never tune on images that are scored later.
    standardise : bool, default=False
        Bring the cosines of each opinion to mean 0 and standard deviation 1 over the labels
        first. Texts are much nearer to texts than images are, so that with equal weights the
        model's texts outweigh the image; this evens them out.
    probability, calibrate, abstain_below
        As in `ZeroShotClassifier`; probabilities are softmax.
    max_side : int or None, default=768
        Longer side of images as they are sent.
    prompt_dir : path, optional
        Edited prompts; see `showtell.prompts.copy_prompts` with ``library="look"``.
    store : EmbeddingStore, path, "default" or None, default="default"
    random_state : int, optional
        Orders the list of labels anew for every image; None is 0.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    prototypes_ : ndarray of shape (n_classes, n_dims), float32
        The class vectors, of length 1.
    weights_ : dict of str to float
        In use.
    tuned_ : dict of str to float
        With ``weights="tune"``: accuracy on the labelled images of each opinion alone ("image",
        ...), of all with equal weights ("equal") and of the chosen weights ("chosen").
    spent_ : Spent
        What `fit` took.

    Notes
    -----
    An image about which the model gives no usable text is a row of status "error" with the
    reason: it is not classified by the other opinions, which would be another method.

    References
    ----------
    Abdelhamed, Afifi & Go (2024), What Do You See? Enhancing Zero-Shot Image Classification with
    Multimodal Large Language Models, arXiv:2405.15668. Weights and standardising are ours.

    Examples
    --------
    >>> from showtell.mllm import Answer, Usage
    >>> from showtell.testing import WordEncoder
    >>> class Toy:
    ...     name = "toy:one"
    ...     async def ask(self, request):
    ...         text = "a dog" if request.schema is None else '{"label": "dog"}'
    ...         return Answer(text=text, usage=Usage(), finish="stop", model="one")
    ...     async def aclose(self):
    ...         pass
    >>> clf = FusionClassifier(
    ...     Toy(), WordEncoder(["cat", "dog"]), labels=["cat", "dog"], use=("image",)
    ... )
    >>> clf.fit().predict(["a dog on a sofa"])
    array(['dog'], dtype='<U3')
    """

    _needs_examples = False

    def __init__(
        self,
        model: Asked = "openai:gpt-4.1-mini",
        encoder: str | Encoder = "mini",
        *,
        labels: Sequence[Any] | None = None,
        use: Sequence[ImageFeature] = ("image", "description", "guess"),
        class_features: Sequence[ClassFeature] | None = None,
        descriptions: Descriptions | None = None,
        template: str = "A photo of {label}",
        weights: Mapping[str, float] | Literal["tune"] | None = None,
        standardise: bool = False,
        abstain_below: float | None = None,
        calibrate: bool | Literal["auto"] = "auto",
        max_side: int | None = 768,
        prompt_dir: str | os.PathLike[str] | None = None,
        store: Store = "default",
        random_state: int | None = None,
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.labels = labels
        self.use = use
        self.class_features = class_features
        self.descriptions = descriptions
        self.template = template
        self.weights = weights
        self.standardise = standardise
        self.abstain_below = abstain_below
        self.calibrate = calibrate
        self.max_side = max_side
        self.prompt_dir = prompt_dir
        self.store = store
        self.random_state = random_state

    # Fitting

    def fit(self, X: Sequence[Media] | None = None, y: Any = None) -> Self:
        """Make the class vectors; with labelled images, tune and calibrate where asked to.

        Parameters
        ----------
        X, y : optional
            As in `ZeroShotClassifier.fit`. The model is asked about the images with
            ``weights="tune"`` or ``calibrate=True``.

        Raises
        ------
        InputError
            If an argument is none of the allowed, or labelled images are missing.
        BudgetError, MLLMAuthError
            If the model has to be asked, as in `classify`.
        """
        use = self._check_arguments()
        images, words, codes = read_given(X, y, self.labels)
        encoder = load_encoder(self.encoder)
        self.classes_ = words.classes
        self._check_abstain_below()
        self.names_ = tuple(name[0] for name in words.names)
        self.prototypes_ = self._class_vectors(encoder)
        self.encoder_fingerprint_ = encoder.fingerprint
        self.logit_scale_ = float(encoder.logit_scale)
        self.model_ = self._access().name
        self._prompts = load_prompts(self.prompt_dir, library="look")
        self.prompt_version_ = self._prompts.version
        self.temperature_, self.calibrated_ = 1.0, False
        self.weights_ = dict.fromkeys(use, 1.0)
        self.tuned_: dict[str, float] = {}
        self.spent_ = Spent()
        if isinstance(self.weights, Mapping):
            self.weights_ = {name: float(self.weights.get(name, 0.0)) for name in use}
        must_tune = self.weights == "tune"
        must_calibrate = self.calibrate is True
        if must_tune or must_calibrate:
            self._learn(encoder, images, codes, tune=must_tune)
        return self

    def _check_arguments(self) -> tuple[str, ...]:
        use = (self.use,) if isinstance(self.use, str) else tuple(self.use)
        for name in use:
            one_of("feature of `use`", name, _USE)
        if not use or len(set(use)) < len(use):
            raise InputError(
                f"`use` names at least one of {', '.join(_USE)}, each once; got {use}."
            )
        for name in self.class_features or ():
            one_of("class feature", name, _CLASS_FEATURES)
        if self.class_features is not None and not self.class_features:
            raise InputError(f"`class_features` needs one of {', '.join(_CLASS_FEATURES)}.")
        if "descriptions" in (self.class_features or ()) and self.descriptions is None:
            raise InputError(
                "`class_features` has 'descriptions', but there are none: give `descriptions` (see "
                "`showtell describe`) or leave it out."
            )
        weights = self.weights
        if isinstance(weights, Mapping):
            unknown = sorted(set(weights) - set(use))
            if unknown:
                raise InputError(
                    f"`weights` names {', '.join(unknown)}, which `use` does not: {', '.join(use)}."
                )
            if any(not w >= 0 for w in weights.values()) or not any(weights.values()):
                raise InputError(f"`weights` are 0 or more and not all 0; got {dict(weights)}.")
        elif weights not in (None, "tune"):
            raise InputError(f"`weights` is a mapping, 'tune' or None; got {weights!r}.")
        flag(also=["auto"], calibrate=self.calibrate)
        if set(use) - {"image"}:
            self._access().check()
        return use

    def _class_vectors(self, encoder: Encoder) -> Embeddings:
        known = None if self.descriptions is None else read_descriptions(self.descriptions)
        self.descriptions_ = None if known is None else known.restricted(self.names_)
        features: Sequence[str] | None = self.class_features
        if features is None:
            features = _CLASS_FEATURES if known is not None else _CLASS_FEATURES[:2]
        return class_vectors(
            encoder,
            self.names_,
            features,
            template=self.template,
            descriptions=self.descriptions_,
            store=self.store,
        )

    def _learn(
        self,
        encoder: Encoder,
        images: Sequence[Media] | None,
        codes: NDArray[np.intp] | None,
        *,
        tune: bool,
    ) -> None:
        """Tune the weights and fit the temperature on labelled images."""
        if images is None or codes is None or not len(images):
            raise InputError(
                "`weights='tune'` and `calibrate=True` need labelled images: call `fit(X, y)` with "
                "some that are not scored later."
            )
        found = embed_images(encoder, images, store=self.store)
        seen = self._look(encoder, images, found, no_progress)
        for spent in seen.spent:
            self.spent_.merge(spent)
        rows = [r for r in range(len(images)) if found.distinct[r] >= 0]
        rows = [r for r in rows if seen.reasons[found.distinct[r]] is None]
        if not rows:
            raise InputError("The model said nothing usable about any of the labelled images.")
        places = found.distinct[rows]
        truth = codes[rows]
        if tune:
            terms = self._opinions().terms(found, seen)
            own = {name: values[places] for name, values in terms.items()}
            self.weights_, self.tuned_ = tuned_weights(own, truth)
        if self.calibrate is True or (self.calibrate == "auto" and len(rows) >= _MIN_CALIBRATION):
            logits = self._logits_of(self._opinions().fused(found, seen)[places])
            self.temperature_ = smoothed_temperature(logits, truth)
            self.calibrated_ = True

    # Asking

    def _looks(self) -> Looks:
        return Looks(
            access=self._access(),
            prompts=self._prompts,
            use=tuple(name for name in self.weights_ if name != "image"),
            names=self.names_,
            max_side=self.max_side,
            seed=self._seed,
        )

    def _look(
        self,
        encoder: Encoder,
        images: Sequence[Media],
        found: ImageEmbeddings,
        progress: Progress,
        *,
        keeps: bool = False,
    ) -> Seen:
        """Ask about each distinct image, and embed what is said."""
        seen = self._looks().look(images, found, progress)
        if seen.stop is not None and not keeps:
            raise seen.stop
        seen.embed(encoder, self.store)
        return seen

    def requests(self, X: Sequence[Media]) -> list[Request]:
        """Write the requests that `classify` would send, without sending any.

        Parameters
        ----------
        X : sequence of Media, length n_samples

        Returns
        -------
        requests : list of Request
            Two per readable image (or as many as `use` needs); duplicates have equal keys.
        """
        check_is_fitted(self)
        return self._looks().requests(media_list(X))

    # Scoring

    def _opinions(self) -> Opinions:
        return Opinions(
            prototypes=self.prototypes_, weights=self.weights_, standardise=self.standardise
        )

    def _logits_of(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return scores if self.standardise else self.logit_scale_ * scores

    def classify(self, X: Sequence[Media], *, progress: Progress = no_progress) -> Predictions:
        """Classify each input; arguments as `MediaClassifier.classify`.

        Returns
        -------
        predictions : Predictions
            With the columns of the classifiers that ask a model, and ``description`` and
            ``guess``: the evidence. Images about which the model gave no usable text are rows of
            status "error".

        Raises
        ------
        BudgetError, MLLMAuthError
            As `DirectClassifier.classify`.
        """
        check_is_fitted(self)
        images = media_list(X)
        encoder = self._fitted_encoder()
        found = embed_images(encoder, images, store=self.store, progress=progress)
        seen = self._look(encoder, images, found, progress, keeps=True)
        scores = self._opinions().fused(found, seen)
        proba = probabilities(self._logits_of(scores) / self.temperature_, "softmax")
        failed = {
            row: _UnseenError(reason)
            for row, place in enumerate(found.distinct.tolist())
            if place >= 0 and (reason := seen.reasons[place]) is not None
        }
        places = found.distinct
        if failed:
            distinct = found.distinct.copy()
            distinct[list(failed)] = -1
            found = replace(found, distinct=distinct, errors={**found.errors, **failed})  # type: ignore[dict-item]
        predictions = make_predictions(
            [media_name(image) for image in images],
            tuple(str(label) for label in self.classes_.tolist()),
            found,
            scores,
            proba,
            abstain_below=self.abstain_below,
        )
        predictions = replace(predictions, columns=seen.columns(places))
        if seen.stop is not None:
            hand_on(seen.stop, predictions)
        return predictions

    def explained_by(self) -> tuple[str, ...]:
        """Names of the parts besides "chances" that explain answers; see `explain`."""
        return ("opinions", "words", "occlusion")

    def picture_scorer(self) -> PictureScorer:
        """Score by the image alone: the other opinions would have to be asked for."""
        encoder = load_encoder(self.encoder)
        scale = self.logit_scale_ / self.temperature_

        def score(pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
            images = encoder.encode_images(list(pictures))
            rows = checked_rows(encoder, images, len(pictures), "images")
            logits = scale * rows @ self.prototypes_.T
            shares = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
            return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)

        return score

    def explain(self, X: Sequence[Media]) -> list[FusionEvidence]:
        """Say for each input what the model said and how much each opinion counted.

        Parameters
        ----------
        X : sequence of Media, length n_samples

        Returns
        -------
        evidence : list of FusionEvidence, length n_samples
            Answers come from the cache where `classify` has asked before.
        """
        check_is_fitted(self)
        if len(self.classes_) < 2:
            raise InputError("Evidence compares two labels, and there is only one.")
        images = media_list(X)
        encoder = self._fitted_encoder()
        found = embed_images(encoder, images, store=self.store)
        seen = self._look(encoder, images, found, no_progress)
        opinions = self._opinions()
        terms = opinions.terms(found, seen)
        order = np.argsort(-opinions.fused(found, seen, terms), axis=1, kind="stable")
        evidence = []
        for row, place in enumerate(found.distinct.tolist()):
            reason = str(found.errors[row]) if place < 0 else seen.reasons[place]
            said = {name: None if place < 0 else of[place] for name, of in seen.texts.items()}
            label = rival = ""
            parts: dict[str, tuple[float, float]] = {}
            if reason is None:
                best, second = int(order[place, 0]), int(order[place, 1])
                label, rival = str(self.classes_[best]), str(self.classes_[second])
                parts = {
                    name: (weight * float(v[place, best]), weight * float(v[place, second]))
                    for name, v in terms.items()
                    for weight in [self.weights_[name]]
                }
            evidence.append(
                FusionEvidence(
                    image=media_name(images[row]),
                    label=label,
                    rival=rival,
                    description=said.get("description"),
                    guess=said.get("guess"),
                    terms=parts,
                    error=None if reason is None else " ".join(reason.split()),
                )
            )
        return evidence

    def _score(self, embeddings: Embeddings) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Scores by the image alone; `classify` adds the other opinions."""
        scores = embeddings.astype(np.float64) @ self.prototypes_.T.astype(np.float64)
        return scores, probabilities(self._logits_of(scores) / self.temperature_, "softmax")

    # Saving and cloning

    def _check_saved_model(self, saved: SavedFolder) -> None:
        """Refuse another model, and none if it is asked."""
        name = saved.values["model"]
        asks = set(self.use) - {"image"}
        if asks and self.model is None:
            raise SavedFolderError(
                f"{saved.folder} asks the model {name!r}, which was given as an object and is not "
                "saved. Hand it over: load_classifier(path, model=...)."
            )
        if self.model is None:
            self.model = name
        given = self._access().name
        if asks and given != name:
            raise SavedFolderError(
                f"{saved.folder} was fitted for the model {name!r}, and the one given is {given!r}."
            )

    def _saved_params(self) -> dict[str, Any]:
        params = super()._saved_params()
        params |= self._access().to_saved() | {"prompt_dir": None}
        if isinstance(self.descriptions, str | os.PathLike):
            params["descriptions"] = self.descriptions_
        return params

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        values = {
            "temperature": self.temperature_,
            "calibrated": self.calibrated_,
            "logit_scale": self.logit_scale_,
            "model": self.model_,
            "weights": self.weights_,
            "tuned": self.tuned_,
            "names": list(self.names_),
            "prompts": {"version": self.prompt_version_, "texts": dict(self._prompts.texts)},
        }
        return values, {"prototypes": self.prototypes_}

    def _restore_state(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.temperature_ = float(values["temperature"])
        self.calibrated_ = bool(values["calibrated"])
        self.logit_scale_ = float(values["logit_scale"])
        self.model_ = str(values["model"])
        self.weights_ = {str(k): float(v) for k, v in values["weights"].items()}
        self.tuned_ = {str(k): float(v) for k, v in values["tuned"].items()}
        self.names_ = tuple(map(str, values["names"]))
        texts = {str(k): str(v) for k, v in values["prompts"]["texts"].items()}
        self.prompt_version_ = str(values["prompts"]["version"])
        self._prompts = PromptSet(version=self.prompt_version_, texts=texts, library="look")
        self.prototypes_ = np.asarray(arrays["prototypes"], np.float32)
        self.spent_ = Spent()
        given = self.descriptions
        known = None if given is None else read_descriptions(given)
        self.descriptions_ = None if known is None else known.restricted(self.names_)


class _UnseenError(ShowtellError):
    """An image about which the model gave no usable text."""
