"""What all classifiers of media share: rows out of probabilities, and the scikit-learn side."""

from __future__ import annotations

import copy
import os
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell._progress import Progress, no_progress
from showtell.classify.capabilities import PictureScorer
from showtell.classify.estimator import Estimator, check_is_fitted
from showtell.classify.labels import LabelWords, Texts, codes_of, label_words, true_labels
from showtell.classify.predictions import Predictions
from showtell.classify.saved import Saving, rebuild_encoder_classifier, save_classifier
from showtell.encoders import Embeddings, Encoder, ImageEmbeddings, embed_images, load_encoder
from showtell.encoders.embed import Store
from showtell.errors import InputError, MediaError, RunError
from showtell.media import Crop, Media, media_name
from showtell.records.saved import SavedFolder
from showtell.tables import STATUSES
from showtell.words import listed


class LimitsWarning(UserWarning):
    """What one should know before trusting a result; issued once per cause and process."""


class SkippedImagesWarning(UserWarning):
    """Some labelled images could not be used and were left out of the support."""


_said: set[str] = set()


def say_limits_once(encoder: Encoder) -> None:
    """Issue the encoder's zero-shot note as a `LimitsWarning`, once per process."""
    if encoder.zero_shot_note:
        say_once(encoder.fingerprint, encoder.zero_shot_note)


def say_once(key: str, note: str) -> None:
    """Issue a `LimitsWarning`, once per key and process."""
    if key not in _said:
        _said.add(key)
        warnings.warn(note, LimitsWarning, stacklevel=4)


def report_broken(
    images: Sequence[Media],
    broken: Mapping[int, MediaError],
    classes: NDArray[Any],
    left: NDArray[np.intp],
    *,
    all_needed: bool = True,
) -> None:
    """Warn of labelled images that cannot be used, or refuse where a label has no other.

    `broken`: by row; not empty; `classes`, of shape (n_classes,); `left`, of shape (n_classes,):
    usable images of each label; `all_needed`: whether every label needs one.
    """
    names = listed(media_name(images[i]) for i in sorted(broken))
    first = broken[min(broken)]
    if all_needed and (left == 0).any():
        empty = ", ".join(str(c) for c in classes[left == 0])
        raise InputError(
            f"No usable image is left for: {empty}. Unusable: {names}; the first: {first}."
        )
    warnings.warn(
        f"{len(broken)} labelled images could not be used and were left out: {names}; the first: "
        f"{first}.",
        SkippedImagesWarning,
        stacklevel=4,
    )


def media_list(X: Any) -> Sequence[Media]:
    """Take X as a sequence of media, and refuse what surely is a single one.

    `X`: a sequence or an array is taken as it is; other iterables (a pandas column, a generator)
    become a list. Raises InputError for a single path, picture or array, or a data set instead of
    its images.

    Examples
    --------
    >>> media_list("cat.jpg")
    Traceback (most recent call last):
    ...
    showtell.errors.InputError: X must be a sequence of images, got one image: cat.jpg. ...
    """
    single = isinstance(X, str | bytes | os.PathLike | Image.Image | Crop)
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OUS":
        single = X.ndim < 3 or (X.ndim == 3 and X.shape[-1] in (3, 4))
    if single:
        raise InputError(
            f"X must be a sequence of images, got one image: {media_name(X)}. Write [image]."
        )
    if hasattr(X, "images") and hasattr(X, "labels"):
        raise InputError("X must be a sequence of images; of a data set, give `data.images`.")
    if isinstance(X, np.ndarray) and X.dtype.kind == "U":
        return X.tolist()  # type: ignore[no-any-return]  # plain text, named and kept as such
    if isinstance(X, Sequence | np.ndarray):  # a lazy sequence stays unread
        return X  # type: ignore[return-value]
    try:
        return list(X)
    except TypeError:
        raise InputError(
            f"X must be a sequence of images (paths, URLs, bytes, pictures, arrays), got "
            f"{type(X).__name__}."
        ) from None


def read_given(
    X: Sequence[Media] | None,
    y: Any,
    labels: Sequence[Any] | Texts | None,
    *,
    descriptions: Texts | None = None,
    aliases: Texts | None = None,
) -> tuple[Sequence[Media] | None, LabelWords, NDArray[np.intp] | None]:
    """Check what `fit` was given where all of it may be missing: images, label set, codes of y."""
    images = None if X is None else media_list(X)
    truth = None if y is None else true_labels(y, None if images is None else len(images))
    words = label_words(labels, truth, descriptions=descriptions, aliases=aliases)
    return images, words, None if truth is None else codes_of(truth, words.classes)


def read_labelled(
    X: Sequence[Media],
    y: Any,
    labels: Sequence[Any] | Texts | None,
    *,
    descriptions: Texts | None = None,
    aliases: Texts | None = None,
) -> tuple[Sequence[Media], LabelWords, NDArray[np.intp]]:
    """Check labelled images that `fit` needs: images, label set, codes of y."""
    images = media_list(X)
    truth = true_labels(y, len(images))
    words = label_words(labels, truth, descriptions=descriptions, aliases=aliases)
    return images, words, codes_of(truth, words.classes)


class MediaClassifier(Estimator):
    """Base of every showtell classifier: X is a sequence of media, not a 2-D array.

    Subclasses implement `fit`, which sets ``classes_``, and `classify`; everything else follows.
    """

    classes_: NDArray[Any]
    abstain_below: float | None
    _shared: ClassVar[tuple[str, ...]] = ()
    """Parameters that a clone shares instead of copying them: models, encoders, stores."""
    _needs_examples: ClassVar[bool] = True
    """Whether `fit` takes labelled images; otherwise it can go without."""

    @abstractmethod
    def classify(self, X: Sequence[Media], *, progress: Progress = no_progress) -> Predictions:
        """Classify each input: one row each, in order; the same content is looked at once.

        Parameters
        ----------
        X : sequence of Media, length n_samples
        progress : Progress
            Called with the number of images that are done.

        Returns
        -------
        predictions : Predictions
            Unusable inputs are rows of status "error", never exceptions.
        """

    def explained_by(self) -> tuple[str, ...]:
        """Names of the parts besides "chances" that explain answers; see `explain`."""
        return ()

    def explained_on_request(self) -> tuple[str, ...]:
        """Names of the parts that are made only when they are asked for."""
        return ()

    def predict(self, X: Sequence[Media]) -> NDArray[Any]:
        """Label of each input, shape (n_samples,); "" where the classifier abstained.

        Labels have the type they had in `fit`: integers stay integers.

        Raises
        ------
        InputError
            If an input could not be used, or has no label and labels are no text, so that ""
            cannot stand for it: scikit-learn's interface has no place for that. `classify` gives
            every input a row.
        """
        predictions = self._all_usable(self.classify(X))
        if self.classes_.dtype.kind == "U":
            return predictions.label
        if not predictions.ok.all():
            first = int(np.flatnonzero(~predictions.ok)[0])
            raise InputError(
                f"{int((~predictions.ok).sum())} images have no label; the first: "
                f"{predictions.images[first]}. Use `classify` instead, which gives every input a "
                "row with its status and reason."
            )
        return self.classes_[predictions.codes]

    def predict_proba(self, X: Sequence[Media]) -> NDArray[np.float32]:
        """Probability of each label, shape (n_samples, n_classes), columns as `classes_`.

        Raises
        ------
        InputError
            If an input could not be used; see `classify`.
        """
        proba = self._all_usable(self.classify(X)).proba
        if proba is None:
            raise InputError(f"{type(self).__name__} gives no probabilities for these settings.")
        return proba

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the fitted classifier into a folder of JSON and arrays; nothing is pickled.

        No key and no password goes with it. An encoder or a model given as an object is not
        saved: hand it to `load_classifier`.

        Parameters
        ----------
        path : str or path
            A new folder, an empty one, or a saved classifier to replace.

        See Also
        --------
        showtell.classify.load_classifier : Read it back.
        """
        return save_classifier(self, path)

    @abstractmethod
    def _to_saved(self) -> Saving:
        """Return what of this classifier goes into a folder."""

    @classmethod
    @abstractmethod
    def _from_saved(cls, saved: SavedFolder, *, encoder: Any, model: Any) -> Self:
        """Make the classifier that a checked folder describes."""

    @classmethod
    def _read_params(cls, params: dict[str, Any], model: Any) -> dict[str, Any]:  # noqa: ARG003
        """Turn saved parameters into those of the constructor; `model` is the one given."""
        return params

    @property
    def _seed(self) -> int:
        seed = getattr(self, "random_state", None)
        return 0 if seed is None else int(seed)

    def _check_abstain_below(self) -> None:
        threshold = self.abstain_below
        if threshold is None:
            return
        if isinstance(threshold, bool) or not 0 <= threshold <= 1:
            raise InputError(
                f"`abstain_below` is a probability from 0 to 1, or None; got {threshold!r}."
            )
        if self.classes_.dtype.kind != "U":
            raise InputError(
                "`abstain_below` needs labels of type str: an abstained prediction is the label "
                f"'', which {self.classes_.dtype} labels cannot express. Convert y to str."
            )

    @staticmethod
    def _all_usable(predictions: Predictions) -> Predictions:
        if predictions.errors:
            first = min(predictions.errors)
            raise InputError(
                f"{len(predictions.errors)} of {len(predictions)} images could not be used; the "
                f"first: {predictions.errors[first]}. Use `classify` instead, which gives every "
                "input a row with its status and reason."
            )
        return predictions

    def __sklearn_clone__(self) -> Self:
        """Clone as scikit-learn does, but share what is in `_shared` instead of copying it."""
        shell = copy.copy(self)
        for name in self._shared:
            setattr(shell, name, None)
        twin: Self = super(MediaClassifier, shell).__sklearn_clone__()
        for name in self._shared:
            value = getattr(self, name)
            own = getattr(value, "__sklearn_clone__", None)  # a `Model` has parameters of its own
            setattr(twin, name, value if own is None else own())
        return twin

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.target_tags.required = self._needs_examples
        return tags


class EncoderClassifier(MediaClassifier):
    """Base of the classifiers that score embeddings.

    Subclasses have the parameters `encoder`, `store` and `abstain_below`, set
    ``encoder_fingerprint_`` in `fit`, and implement `_score`.
    """

    _shared: ClassVar[tuple[str, ...]] = ("encoder", "store")
    encoder: str | Encoder
    store: Store
    abstain_below: float | None
    encoder_fingerprint_: str

    @abstractmethod
    def _score(self, embeddings: Embeddings) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Scores (the largest wins) and probabilities of distinct images, (n, n_classes) each."""

    def explained_by(self) -> tuple[str, ...]:
        """Names of the parts besides "chances" that explain answers; see `explain`."""
        return ("occlusion",)

    def picture_scorer(self) -> PictureScorer:
        """Return a function from pictures to probabilities, shape (n, n_classes).

        Pictures are scored by themselves, without abstaining, and nothing is kept.
        """
        alone = copy.copy(self)
        alone.store, alone.abstain_below = None, None
        return lambda pictures: alone.predict_proba(list(pictures))

    def classify(self, X: Sequence[Media], *, progress: Progress = no_progress) -> Predictions:
        """Embed each input and score it; arguments and result as `MediaClassifier.classify`."""
        check_is_fitted(self)
        images = media_list(X)
        named = _Named(images)
        found = embed_images(self._fitted_encoder(), named, store=self.store, progress=progress)
        scores, proba = self._score(found.embeddings)
        return make_predictions(
            named.names,
            tuple(str(label) for label in self.classes_.tolist()),
            found,
            scores,
            proba,
            abstain_below=self.abstain_below,
        )

    def _fitted_encoder(self) -> Encoder:
        """Resolve the encoder, and refuse one whose embeddings `fit` has not seen."""
        encoder = load_encoder(self.encoder)
        if encoder.fingerprint != self.encoder_fingerprint_:
            raise InputError(
                f"This {type(self).__name__} was fitted with encoder fingerprint "
                f"{self.encoder_fingerprint_!r}, but its encoder {encoder.name!r} now is "
                f"{encoder.fingerprint!r}. Call `fit` again."
            )
        return encoder

    def _to_saved(self) -> Saving:
        values, arrays = self._saved_state()
        params = self._saved_params()
        by_name = isinstance(self.encoder, str)
        params["encoder"] = self.encoder if by_name else None
        params["store"] = None if self.store is None else "default"
        encoder = load_encoder(self.encoder)
        about = {
            "name": encoder.name,
            "fingerprint": self.encoder_fingerprint_,
            "n_dims": int(encoder.n_dims),
            "by_name": by_name,
        }
        return Saving(params, {"encoder": about}, values, arrays)

    @classmethod
    def _from_saved(cls, saved: SavedFolder, *, encoder: Any, model: Any) -> Self:
        return rebuild_encoder_classifier(cls, saved, encoder, model)

    def _check_saved_model(self, saved: SavedFolder) -> None:
        """Refuse another model than the one it was fitted for; most ask none."""

    def _saved_params(self) -> dict[str, Any]:
        """Return the parameters to save; subclasses replace what belongs to a machine."""
        params: dict[str, Any] = self.get_params(deep=False)
        return params

    @abstractmethod
    def _saved_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what `fit` learned: values for JSON, and arrays."""

    def _saved_shapes(
        self,
        values: Mapping[str, Any],  # noqa: ARG002
        n_classes: int,
        n_dims: int,
    ) -> dict[str, tuple[int | None, ...]]:
        """Tell the shape that each saved array must have; None for any length."""
        return {"prototypes": (n_classes, n_dims)}

    @abstractmethod
    def _restore_state(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `_saved_state` gave."""


def make_predictions(
    names: Sequence[str],
    classes: tuple[str, ...],
    found: ImageEmbeddings,
    scores: NDArray[Any],
    proba: NDArray[np.float32],
    *,
    abstain_below: float | None = None,
) -> Predictions:
    """Spread the outcomes of distinct images over all inputs.

    `names`, of length n_samples: of the inputs, as rows show them; `classes`, of length n_classes;
    `found`: which input is which distinct image, and which could not be used; `scores`, of shape
    (n_distinct, n_classes): the largest wins; ties go to the first; `proba`, of shape (n_distinct,
    n_classes); `abstain_below`: inputs whose best probability is lower get status "abstained".
    """
    if np.isnan(proba).any():  # argmax would make the first label of it
        raise RunError(
            "A probability is not a number, so nothing is answered. What was learned, or what the "
            "encoder says, holds numbers that cannot be; call `fit` again."
        )
    best = np.append(scores.argmax(axis=1), -1).astype(np.int32)  # index -1 picks the last: none
    sure = np.append(proba[np.arange(len(proba)), best[:-1]], np.nan).astype(np.float32)
    status = np.where(found.distinct < 0, STATUSES.index("error"), 0).astype(np.int8)
    confidence = sure[found.distinct]
    if abstain_below is not None:
        status[confidence < abstain_below] = STATUSES.index("abstained")  # NaN compares as False
    return Predictions(
        images=names,
        classes=classes,
        codes=best[found.distinct],
        confidence_all=confidence,
        status_codes=status,
        errors={row: " ".join(str(error).split()) for row, error in found.errors.items()},
        distinct_proba=proba,
        distinct=found.distinct,
        n_from_store=found.n_from_store,
    )


class _Named(Sequence[Media]):
    """Media that leave their names behind when gone through, so that each is read once."""

    def __init__(self, images: Sequence[Media]) -> None:
        self._images = images
        self.names: list[str] = []

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> Media: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Media]: ...
    def __getitem__(self, index: int | slice) -> Media | Sequence[Media]:
        return self._images[index]

    def __iter__(self) -> Iterator[Media]:
        self.names = names = []
        for image in self._images:
            names.append(_name(image))
            yield image


def _name(image: Media) -> str:
    """Name of an input; a plain ASCII path is its own name and is not copied."""
    if type(image) is str and image.isascii() and "\n" not in image and "\r" not in image:
        return image
    return media_name(image)
