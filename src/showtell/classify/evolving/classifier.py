"""EvolvingDescriptionClassifier: the encoder's confusions rewrite the words."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.checks import above, flag, one_of, whole
from showtell.classify.asking.access import AsksModel
from showtell.classify.base import (
    EncoderClassifier,
    media_list,
    read_labelled,
    say_limits_once,
    say_once,
)
from showtell.classify.capabilities import PictureScorer
from showtell.classify.described.described import (
    DescriptionClassifier,
    DescriptionEvidence,
    Descriptions,
)
from showtell.classify.estimator import check_is_fitted
from showtell.classify.evolving.evolve import (
    EvolutionPlan,
    described_by,
    evolve,
    fitted_on,
    plan_evolution,
    start_of,
)
from showtell.classify.evolving.parts import Parts, part_images
from showtell.classify.evolving.record import BeforeAfter, Evolution, Keeping
from showtell.classify.labels import codes_of, true_labels
from showtell.classify.probability import smoothed_temperature
from showtell.encoders import Embeddings, Encoder, embed_images, load_encoder
from showtell.encoders.embed import Store
from showtell.errors import InputError, UnknownNameError
from showtell.media import Media
from showtell.metrics import mcnemar_exact
from showtell.mllm.model import Asked
from showtell.mllm.structured import Spent
from showtell.prompts import DescriptionSet, read_descriptions
from showtell.prompts.descriptions.connectives import Compat

CrossoverBy: TypeAlias = Literal["greedy", "llm"]

_CROSSOVERS = ("greedy", "llm")
_COMPATS = ("upstream", "None")
_MIN_CALIBRATION = 20


class EvolvingDescriptionClassifier(AsksModel, EncoderClassifier):
    r"""Descriptions that a language model rewrites until the encoder stops confusing the labels.

    Starting from label names (or a description set), each generation tells the model which labels
    are taken for which, has it replace words several times over, and keeps what tells labelled
    support images apart best. With ``s(x, c)`` the mean similarity of image ``x`` with the prompts
    of label ``c``:

    - feedback: ``M[i, j]``, the number of images of ``i`` with ``s(x, j) >= ratio * s(x, i)``; the
      worst `n_confused` of each row are told;
    - fitness: share of support images whose label scores highest; ties by the mean margin;
    - crossover: single additions, removals and swaps of the candidates' words, on similarities
      that are computed once, as long as the fitness rises;
    - elitism: words change only where the fitness rises, among the labels that were rewritten
      together and not falling among all;
    - memory: words that helped or harmed are told to the model later on.

    The fitness is training accuracy. Which generation is the result is therefore decided by other
    images, the validation part, and neither says how good it is on new images: measure that on
    images that `fit` has not seen.

    Parameters
    ----------
    model : str, MLLM or Model
        As in `DirectClassifier`. It is only asked in `fit`, and sees no image. The run folder of a
        `Model` keeps all answers, and ``evolution.json`` after every generation: the same call
        with the same folder goes on where it stopped, to the same end; with more `n_generations`
        it goes further.
    encoder : str or Encoder, default="mini"
    labels : sequence of str, or None
        None takes the labels of `y`.
    start : DescriptionSet, mapping or path, optional
        Phrases to start from; None starts from the names alone. Weights are not used.
    n_generations : int, default=10
    n_candidates : int, default=4
        Answers to each question.
    n_start : int, default=30
        Descriptions that are asked for per label, and most that a label may have.
    n_replaced : int, default=15
        Descriptions per label that the model is told to replace.
    n_least : int, default=4
        Fewest descriptions of a label that crossover leaves and that an answer must have.
    cluster_size : int, default=10
        Labels that are rewritten together, about.
    ratio : float, default=0.9
        Of near misses; below 1 counts more.
    n_confused : int, default=5
        Confusions of a label that the model is told of.
    crossover : {"greedy", "llm"}, default="greedy"
        Mix candidates by arithmetic, or have the model do it as in the paper.
    max_sweeps : int, default=3
        Rounds of the greedy crossover.
    shots : int or None, default=16
        Support images per label; None: all that are not for validation.
    validation : float, default=0.3
        Share of each label's images that only choose the final generation, at least one of every
        label with two images. 0: none; then the fitness chooses.
    patience : int or None, default=4
        Stop after so many generations without a better one; None: never.
    template : str, default="a photo of a {label}"
    domain : str, optional
        As in `DescriptionClassifier`.
    compat : {"upstream"}, optional
        As the published code goes about it, without its errors: near misses of softmax
        probabilities at scale 4.6052, prompts "name, descriptor" without template (here also at
        the end), no elitism, answers that lack a label dropped, the final generation chosen by
        the fitness. The paper's full recipe adds ``crossover="llm", shots=None, validation=0``.
    abstain_below, probability
        As in `DescriptionClassifier`.
    calibrate : bool or "auto", default="auto"
        Fit a temperature on the validation images; "auto" if there are 20.
    prompt_dir : path, optional
        Edited prompts; see `showtell.prompts.copy_prompts` with ``library="evolve"``.
    store : EmbeddingStore, path, "default" or None, default="default"
    random_state : int, optional
        Draws support and validation images, groups labels and numbers the answers; None is 0.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    descriptions_ : DescriptionSet
        Of the best generation.
    history_ : list of Generation
        All of them, the start included.
    best_generation_ : int
        Number of the one chosen; 0 if nothing was better than the start.
    evolution_ : Evolution
        All of this as it is written to ``evolution.json``.
    classifier_ : DescriptionClassifier
        Of the best generation, with its calibration: what predicts.
    spent_ : Spent
        What `fit` took.

    See Also
    --------
    DescriptionClassifier : The same classifier with descriptions that stay.

    Notes
    -----
    The order of images and labels does not matter. The same picture given twice counts once;
    with two labels not at all. `classify`, `predict` and `explain` are those of a
    `DescriptionClassifier` with `descriptions_`.

    References
    ----------
    Han, Zhuo, Liao & Liu (2023), LLMs as Visual Explainers: Advancing Image Classification with
    Evolving Visual Descriptions, arXiv:2311.11904. Greedy crossover, elitism, the validation part
    and noting words that were tried and left out are ours.

    Examples
    --------
    >>> from showtell.mllm import Answer, Model, Usage
    >>> from showtell.testing import WordEncoder
    >>> class Toy:
    ...     name = "toy:one"
    ...     async def ask(self, request):
    ...         text = '{"classes": [{"index": 0, "name": "tiger", "descriptors": ["stripes"]},'
    ...         text += '{"index": 1, "name": "leopard", "descriptors": ["spots"]}]}'
    ...         return Answer(text=text, usage=Usage(), finish="stop", model="one")
    ...     async def aclose(self):
    ...         pass
    >>> words = WordEncoder(["stripes", "spots"])
    >>> clf = EvolvingDescriptionClassifier(
    ...     Model(Toy(), cache=None), words, n_start=1, n_generations=1, validation=0
    ... )
    >>> clf = clf.fit(["some stripes", "many spots"], ["tiger", "leopard"])
    >>> [generation.fitness for generation in clf.history_], clf.descriptions_["tiger"]
    ([0.0, 1.0], ('stripes',))
    >>> clf.predict(["it has spots"])
    array(['leopard'], dtype='<U7')
    """

    def __init__(
        self,
        model: Asked = "openai:gpt-4.1-mini",
        encoder: str | Encoder = "mini",
        *,
        labels: Sequence[Any] | None = None,
        start: Descriptions | None = None,
        n_generations: int = 10,
        n_candidates: int = 4,
        n_start: int = 30,
        n_replaced: int = 15,
        n_least: int = 4,
        cluster_size: int = 10,
        ratio: float = 0.9,
        n_confused: int = 5,
        crossover: CrossoverBy = "greedy",
        max_sweeps: int = 3,
        shots: int | None = 16,
        validation: float = 0.3,
        patience: int | None = 4,
        template: str = "a photo of a {label}",
        domain: str | None = None,
        compat: Compat | None = None,
        abstain_below: float | None = None,
        probability: Literal["encoder", "softmax", "sigmoid"] = "encoder",
        calibrate: bool | Literal["auto"] = "auto",
        prompt_dir: str | os.PathLike[str] | None = None,
        store: Store = "default",
        random_state: int | None = None,
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.labels = labels
        self.start = start
        self.n_generations = n_generations
        self.n_candidates = n_candidates
        self.n_start = n_start
        self.n_replaced = n_replaced
        self.n_least = n_least
        self.cluster_size = cluster_size
        self.ratio = ratio
        self.n_confused = n_confused
        self.crossover = crossover
        self.max_sweeps = max_sweeps
        self.shots = shots
        self.validation = validation
        self.patience = patience
        self.template = template
        self.domain = domain
        self.compat = compat
        self.abstain_below = abstain_below
        self.probability = probability
        self.calibrate = calibrate
        self.prompt_dir = prompt_dir
        self.store = store
        self.random_state = random_state

    # Fitting

    def fit(
        self,
        X: Sequence[Media],
        y: Any,
        *,
        progress: Progress = no_progress,
        on_generation: Callable[[Evolution], None] | None = None,
    ) -> Self:
        """Let the descriptions evolve on labelled images.

        Parameters
        ----------
        X : sequence of Media, length n_samples
            At least one usable image of every label, better 16 and more. They are not sent
            anywhere: the model gets words.
        y : array-like of shape (n_samples,)
        progress : Progress
            Called as questions of a generation are answered.
        on_generation : callable, optional
            Called with the evolution so far after each generation, the start included.

        Raises
        ------
        InputError
            If an argument is none of the allowed, a label has no usable image, or `run_folder`
            holds another evolution.
        BudgetError, MLLMAuthError
            As `DirectClassifier.classify`. What was done until then is in `run_folder`.
        """
        self._check_arguments()
        images, words, codes = read_labelled(X, y, self.labels)
        encoder = load_encoder(self.encoder)
        self.classes_ = words.classes
        self._check_abstain_below()
        if len(words.classes) < 2:
            raise InputError("Descriptions tell labels apart, and there is only one label.")
        names = [name[0] for name in words.names]
        parts = part_images(
            embed_images(encoder, images, store=self.store),
            images,
            codes,
            names,
            shots=self.shots,
            validation=self.validation,
            seed=self._seed,
        )
        start = start_of(self, names)
        evolution = evolve(self, encoder, names, start, parts, progress, on_generation)
        self._take(encoder, evolution, start, parts)
        return self

    def _check_arguments(self) -> None:
        one_of("crossover", self.crossover, _CROSSOVERS)
        if self.compat not in ("upstream", None):
            raise UnknownNameError("compat", str(self.compat), _COMPATS)
        least = {
            "n_generations": 0,
            "n_candidates": 1,
            "n_start": 1,
            "n_replaced": 1,
            "n_least": 1,
            "cluster_size": 2,
            "n_confused": 1,
            "max_sweeps": 1,
        }
        for name, fewest in least.items():
            whole(fewest, **{name: getattr(self, name)})
        whole(1, also=[None], shots=self.shots, patience=self.patience)
        if self.n_generations > 999 or self.n_candidates > 999:
            raise InputError("`n_generations` and `n_candidates` are at most 999.")
        above(0, ratio=self.ratio)
        if isinstance(self.validation, bool) or not 0 <= self.validation < 1:
            raise InputError(f"`validation` is a share from 0 to 1, got {self.validation!r}.")
        flag(also=["auto"], calibrate=self.calibrate)
        access = self._access()
        access.check()
        if access.capabilities.decisions:
            raise InputError(
                f"{access.name} is a classification endpoint and writes no text; name a model that "
                "does."
            )

    # The result

    def _take(
        self, encoder: Encoder, evolution: Evolution, start: DescriptionSet, parts: Parts
    ) -> None:
        """Make the classifier of the best generation."""
        self.evolution_ = evolution
        self.history_ = list(evolution.generations)
        self.best_generation_ = evolution.best
        self.model_ = evolution.model
        self.prompt_version_ = evolution.prompt_version
        self.descriptions_ = evolution.description_set(domain=start.domain)
        self.classifier_ = fitted_on(self, encoder, self.descriptions_)
        self.encoder_fingerprint_ = encoder.fingerprint
        say_limits_once(encoder)
        n_held = len(parts.codes) - parts.n_support
        if self.calibrate is True and not n_held:
            raise InputError("`calibrate=True` needs validation images: `validation` above 0.")
        if self.calibrate is True or (self.calibrate == "auto" and n_held >= _MIN_CALIBRATION):
            rows = parts.embeddings[parts.n_support :]
            logits = self.classifier_._logits(rows)
            self.classifier_.temperature_ = smoothed_temperature(
                logits, parts.codes[parts.n_support :], rule=self.classifier_.probability_
            )
            self.classifier_.calibrated_ = True
        self._share()
        if not n_held and self.validation > 0:
            say_once(
                "evolving without validation",
                "Every label has one image only, so none was held out for validation: the words "
                "and the generation were chosen by the same images, which say little of others.",
            )

    def _share(self) -> None:
        """Show what the classifier of the descriptions learned."""
        own = self.classifier_
        self.prototypes_ = own.prototypes_
        self.prompts_ = own.prompts_
        self.temperature_ = own.temperature_
        self.calibrated_ = own.calibrated_
        self.probability_ = own.probability_

    def _score(self, embeddings: Embeddings) -> tuple[NDArray[Any], NDArray[np.float32]]:
        return self.classifier_._score(embeddings)

    def at(self, number: int) -> DescriptionClassifier:
        """Make the classifier of one generation, to compare it with others.

        Parameters
        ----------
        number : int
            0 is the start.

        Returns
        -------
        classifier : DescriptionClassifier
            Fitted, without calibration.

        Raises
        ------
        InputError
            If there is no such generation.
        """
        check_is_fitted(self)
        if not 0 <= number < len(self.history_):
            raise InputError(f"Generations are 0 to {len(self.history_) - 1}; got {number!r}.")
        chosen = self.evolution_.description_set(number, domain=self.descriptions_.domain)
        return fitted_on(self, self._fitted_encoder(), chosen)

    def measure(self, X: Sequence[Media], y: Any) -> BeforeAfter:
        """Compare the start with the end on images that played no part in the evolution.

        Fitness and validation chose the words, so they say too much of them. These images say
        what the words are worth, if `fit` has not seen them.

        Parameters
        ----------
        X : sequence of Media, length n_samples
            Those that cannot be used are left out.
        y : array-like of shape (n_samples,)

        Returns
        -------
        outcome : BeforeAfter
            Also ``evolution_.test``, and in the `evolution.json` of `run_folder`.

        Raises
        ------
        InputError
            If there is no usable image, or a label is none of `classes_`.
        """
        check_is_fitted(self)
        images = media_list(X)
        codes = codes_of(true_labels(y, len(images)), self.classes_)
        found = embed_images(self._fitted_encoder(), images, store=self.store)
        usable = np.array([i for i in range(len(images)) if i not in found.errors], np.intp)
        if not len(usable):
            raise InputError("There is no usable image to measure the descriptions with.")
        rows = found.rows()[usable]
        before, after = (
            own._logits(rows).argmax(axis=1) == codes[usable]
            for own in (self.at(0), self.classifier_)
        )
        tested = mcnemar_exact(before, after)
        outcome = BeforeAfter(
            n=len(usable),
            accuracy_before=float(before.mean()),
            accuracy_after=float(after.mean()),
            n_gained=tested.n_only_b,
            n_lost=tested.n_only_a,
            p_value=tested.p_value,
        )
        self.evolution_ = replace(self.evolution_, test=outcome)
        Keeping(self._access().run_folder).note(self.evolution_)
        return outcome

    def explained_by(self) -> tuple[str, ...]:
        """Names of the parts besides "chances" that explain answers; see `explain`."""
        return ("descriptions", "occlusion")

    @property
    def described_part(self) -> DescriptionClassifier:
        """What goes by the chosen descriptions."""
        return self.classifier_

    def picture_scorer(self) -> PictureScorer:
        """As that of the classifier by the chosen descriptions."""
        return self.classifier_.picture_scorer()

    def explain(
        self, X: Sequence[Media], *, n_most: int | None = None
    ) -> list[DescriptionEvidence]:
        """Say which descriptions spoke for each label, as `DescriptionClassifier.explain`."""
        check_is_fitted(self)
        self._fitted_encoder()
        return self.classifier_.explain(X, n_most=n_most)

    # Before it

    def plan(self, labels: Sequence[str] | None = None) -> EvolutionPlan:
        """Say what `fit` will ask, at most, without asking anything or reading an image.

        Parameters
        ----------
        labels : sequence of str, optional
            Those of `labels`, if that is given.

        Returns
        -------
        plan : EvolutionPlan
            Answers that are known already are not left out: their requests depend on images.
        """
        self._check_arguments()
        return plan_evolution(self, labels)

    # Saving and cloning

    def _saved_params(self) -> dict[str, Any]:
        params = super()._saved_params()
        access = self._access()
        params |= access.to_saved() | {"model": access.name, "prompt_dir": None}
        if isinstance(self.start, str | os.PathLike):  # a path belongs to a machine
            params["start"] = read_descriptions(self.start)
        return params

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        inner, arrays = self.classifier_._saved_state()
        values = {
            "classifier": inner,
            "evolution": self.evolution_.to_record(),
            "descriptions": self.descriptions_.to_record(),
        }
        return values, arrays

    def _saved_shapes(
        self, values: Mapping[str, Any], n_classes: int, n_dims: int
    ) -> dict[str, tuple[int | None, ...]]:
        return DescriptionClassifier()._saved_shapes(values["classifier"], n_classes, n_dims)

    def _restore_state(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.evolution_ = Evolution.from_record(values["evolution"])
        self.history_ = list(self.evolution_.generations)
        self.best_generation_ = self.evolution_.best
        self.model_ = self.evolution_.model
        self.prompt_version_ = self.evolution_.prompt_version
        self.descriptions_ = read_descriptions(values["descriptions"])
        self.spent_ = Spent()
        own = described_by(self, self.descriptions_)
        own.classes_, own.encoder_fingerprint_ = self.classes_, self.encoder_fingerprint_
        own._restore_state(values["classifier"], arrays)
        self.classifier_ = own
        self._share()
