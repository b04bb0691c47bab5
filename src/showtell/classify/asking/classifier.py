"""What the classifiers that ask a multimodal LLM share."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.classify.asking.access import AsksModel
from showtell.classify.asking.arguments import (
    Confidence,
    Debias,
    check_arguments,
    check_correction,
    chosen_confidence,
    n_rotations,
)
from showtell.classify.asking.confidence import ConfidenceMap
from showtell.classify.asking.judging import Judge, to_predictions
from showtell.classify.asking.learning import corrected, what_to_learn_from
from showtell.classify.asking.planning import make_run
from showtell.classify.asking.rounds import first_round
from showtell.classify.asking.running import ask_all
from showtell.classify.asking.saved import from_saved, to_saved
from showtell.classify.asking.state import ImageState
from showtell.classify.asking.wording import LabelOrder, write_labels
from showtell.classify.base import MediaClassifier, media_list
from showtell.classify.embedding.prototypes import text_prototypes
from showtell.classify.estimator import check_is_fitted
from showtell.classify.labels import LabelWords, Texts, codes_of, label_words, true_labels
from showtell.classify.predictions import Predictions
from showtell.classify.saved import Saving
from showtell.classify.stopped import hand_on
from showtell.encoders import Encoder
from showtell.encoders.embed import Store
from showtell.errors import InputError
from showtell.media import Media
from showtell.mllm.base import Request
from showtell.mllm.model import Asked
from showtell.prompts import DEFAULT_ROLE, Demonstration, load_prompts
from showtell.records.saved import SavedFolder


class MLLMClassifier(AsksModel, MediaClassifier):
    """Base of the classifiers that ask a multimodal LLM.

    Subclasses implement `_prepare` and `fit`, and what they show.
    """

    _anonymise = False
    _to_learn: tuple[Media, ...] = ()
    """What `fit` would still ask about, after `prepare`."""

    def __init__(
        self,
        model: Asked,
        *,
        labels: Sequence[Any] | Texts | None = None,
        descriptions: Texts | None = None,
        aliases: Texts | None = None,
        role: str = DEFAULT_ROLE,
        confidence: Confidence | None = "auto",
        n_samples: int = 1,
        rotations: int | Literal["all"] = 1,
        debias: Debias | None = None,
        null_images: Sequence[Media] | Literal["default"] = "default",
        calibrate: bool | Literal["auto"] = False,
        n_calibration: int | None = None,
        abstain_below: float | None = None,
        shortlist: int | Literal["two-step"] | None = None,
        encoder: str | Encoder = "mini",
        store: Store = "default",
        images_per_request: int | Literal["auto"] = "auto",
        max_side: int | None = 768,
        sampling_temperature: float | Literal["auto"] | None = "auto",
        max_tokens: int | Literal["auto"] | None = "auto",
        prompt_dir: str | os.PathLike[str] | None = None,
        random_state: int | None = None,
    ) -> None:
        self.model = model
        self.labels = labels
        self.descriptions = descriptions
        self.aliases = aliases
        self.role = role
        self.confidence = confidence
        self.n_samples = n_samples
        self.rotations = rotations
        self.debias = debias
        self.null_images = null_images
        self.calibrate = calibrate
        self.n_calibration = n_calibration
        self.abstain_below = abstain_below
        self.shortlist = shortlist
        self.encoder = encoder
        self.store = store
        self.images_per_request = images_per_request
        self.max_side = max_side
        self.sampling_temperature = sampling_temperature
        self.max_tokens = max_tokens
        self.prompt_dir = prompt_dir
        self.random_state = random_state

    # Fitting

    def _fit_words(self, X: Any, y: Any) -> tuple[LabelWords, Sequence[Media], NDArray[np.intp]]:
        """Check the arguments; fix the label set and how it is written."""
        images: Sequence[Media] = [] if X is None else media_list(X)
        given = None if y is None else true_labels(y, None if X is None else len(images))
        if X is not None and y is None and len(images):
            raise InputError("y is missing: give one label per image, or no images.")
        words = label_words(
            self.labels, given, descriptions=self.descriptions, aliases=self.aliases
        )
        codes = np.zeros(0, np.intp) if given is None else codes_of(given, words.classes)
        check_arguments(self)
        self.classes_ = words.classes
        self._check_abstain_below()
        access = self._access()
        self.model_ = access.name
        self.confidence_ = chosen_confidence(self, access.capabilities)
        self.rotations_ = n_rotations(self, access.capabilities)
        check_correction(self)
        self._wording = write_labels(
            words, load_prompts(self.prompt_dir), anonymise=self._anonymise, seed=self._seed
        )
        self._wording.refuse_leaks(self.role)
        self._show_wording()
        self.calibration_ = ConfidenceMap(kind="none")
        self.prior_: NDArray[np.float64] | None = None
        self.gamma_, self.correction_ = 1.0, ""
        if self.debias == "batch":
            self.correction_ = "batch: divided by the mean of each call"
        self.fit_cost_usd_: Decimal | None = Decimal(0)
        self._to_learn = ()
        return words, images, codes

    def _show_wording(self) -> None:
        self.names_sent_ = self._wording.names
        self.label_key_ = self._wording.key
        self.prompt_version_ = self._wording.prompts.version

    def _check_abstain_below(self) -> None:
        super()._check_abstain_below()
        if self.abstain_below is not None and self.confidence is None:
            raise InputError("`abstain_below` needs a confidence; `confidence` is None.")

    @abstractmethod
    def _prepare(
        self, X: Sequence[Media] | None, y: Any
    ) -> tuple[Sequence[Media], NDArray[np.intp], NDArray[np.intp]]:
        """Do what `fit` does without asking; images, their codes, and rows that are not shown."""

    def prepare(self, X: Sequence[Media] | None = None, y: Any = None) -> Self:
        """Do all of `fit` that asks nothing; `requests` then begins with what `fit` would ask.

        For estimates. Before `classify`, call `fit`.

        Parameters
        ----------
        X : sequence of Media, optional
        y : array-like of shape (n_samples,), optional
            As in `fit`.
        """
        images, _, rows = self._prepare(X, y)
        nulls, held = what_to_learn_from(self, images, rows)
        self._to_learn = (*nulls, *(images[i] for i in held))
        return self

    # Classifying

    def classify(self, X: Sequence[Media], *, progress: Progress = no_progress) -> Predictions:
        """Ask about each input; arguments as `MediaClassifier.classify`.

        Returns
        -------
        predictions : Predictions
            With the columns ``cost_usd``, ``input_tokens``, ``output_tokens``, ``from_cache``,
            ``seconds`` and ``reason``. What a request took is divided among its images, so columns
            add up to the run's totals; of several inputs that show the same image the first has
            its share and the others are from the cache. Inputs that cannot be used, and images
            about which the model gave no answer, are rows of status "error".

        Raises
        ------
        BudgetError
            If `max_cost` or `max_requests` of the `Model` stopped the run. What was answered is
            kept (cache, and run folder), so a run with a higher cap goes on from there. Its
            ``predictions`` have a row for every input: those that were not asked about are errors
            of reason "stopped".
        ServerDownError
            If nobody answers any more, with the same ``predictions``.
        RunError
            If the disk of the run folder is full, with the same ``predictions``; nothing is sent
            that could not be written down.
        RunInterrupt
            At Ctrl-C, with the same ``predictions``. It is a KeyboardInterrupt.
        MLLMAuthError
            If the provider refuses the key, with the same ``predictions``.
        """
        check_is_fitted(self)
        images = media_list(X)
        if self._to_learn:
            raise InputError(
                f"This {type(self).__name__} is prepared for an estimate, not fitted: `fit` asks "
                f"about {len(self._to_learn)} pictures first. Call `fit`."
            )
        if self.debias == "batch" and self.prior_ is None and len(images) == 1:
            raise InputError(
                "debias='batch' divides by the mean over all images of a call, and one image has "
                "none. Classify many at once (10 a label), or call `fit(X, y)` with `calibrate` "
                "set, which fixes the mean."
            )
        model = self._access().name
        if model != self.model_:
            raise InputError(
                f"This {type(self).__name__} was fitted for model {self.model_!r}, but its model "
                f"now is {model!r}. Call `fit` again."
            )
        asked = ask_all(self, images, progress, keeps=True)
        judge = self._judge()
        evidence = corrected(self, [judge.evidence(item) for item in asked.items])
        judged = [judge.verdict(i, e) for i, e in zip(asked.items, evidence, strict=True)]
        has_proba = self.confidence_ is not None
        predictions = to_predictions(images, asked, judged, self.classes_, has_proba=has_proba)
        if asked.stop is not None:
            hand_on(asked.stop, predictions)
        return predictions

    def requests(self, X: Sequence[Media]) -> Iterator[Request]:
        """Yield the requests that `classify` would send first, without sending any.

        For estimates, and to see what a model is asked. After `prepare`, those that `fit` would
        send come first. Answers may bring more: images left out are asked about again, and label
        sets that go in rounds have further rounds.

        Parameters
        ----------
        X : sequence of Media, length n_samples

        Yields
        ------
        request : Request
            In the order they would be sent, images read as they are needed.
        """
        check_is_fitted(self)
        for images in (self._to_learn, media_list(X)):
            if len(images):
                run = make_run(self, None, images)
                yield from run.first_requests(images, first_round(self, images))

    # For one run

    def _label_order(self) -> LabelOrder:
        neutral = None if self.label_key_ is None else self.names_sent_
        return LabelOrder(n_rotations=self.rotations_, seed=self._seed, neutral=neutral)

    def _judge(self) -> Judge:
        return Judge(
            classes=self.classes_,
            confidence=self.confidence_,
            n_rotations=self.rotations_,
            seed=self._seed,
            calibration=self.calibration_,
            abstain_below=self.abstain_below,
        )

    # Demonstrations: none, unless a subclass has some

    def _demonstrations(
        self,
        images: Sequence[Media],  # noqa: ARG002
    ) -> Callable[[int, tuple[int, ...], Sequence[ImageState]], Sequence[Demonstration]]:
        return lambda _view, _listed, _items: ()

    def _usual_demonstrations(self, most_labels: int | None) -> Sequence[Demonstration]:  # noqa: ARG002
        """As many demonstrations as a request may show."""
        return ()

    def _one_by_one(self) -> bool:
        return False

    def _label_prototypes(self, encoder: Encoder) -> NDArray[np.float32]:
        """Give a vector per label, shape (n_classes, n_dims), for short lists."""
        names = [(str(name),) for name in self._wording.real_names()]
        sentences = list(self._wording.sentences) or [()] * len(names)
        return text_prototypes(encoder, names, sentences, "default", self.store)[0]

    # Saving

    def _to_saved(self) -> Saving:
        return to_saved(self)

    @classmethod
    def _from_saved(cls, saved: SavedFolder, *, encoder: Any, model: Any) -> Self:
        return from_saved(cls, saved, encoder=encoder, model=model)

    def _saved_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays beside the images that are shown."""
        return {}

    def _restore_arrays(
        self, arrays: Mapping[str, NDArray[Any]], shown: tuple[Demonstration, ...]
    ) -> None:
        """Take back what was shown, and what `_saved_arrays` gave."""
