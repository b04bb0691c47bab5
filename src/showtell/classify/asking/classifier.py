"""What the classifiers that ask a multimodal LLM share."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.classify.asking.access import AsksModel
from showtell.classify.asking.confidence import (
    UNKNOWN_CONFIDENCE,
    ConfidenceMap,
    spread,
    with_confidence,
)
from showtell.classify.asking.corrections import (
    Evidence,
    correct_evidence,
    is_certain,
    named_by,
    prior_in_words,
    prior_of,
    turned,
)
from showtell.classify.asking.null_images import content_free_pictures
from showtell.classify.asking.run import Given, Item, Phase, Run, explain
from showtell.classify.asking.saved import from_saved, to_saved
from showtell.classify.base import LimitsWarning, MediaClassifier, media_list
from showtell.classify.embedding.prototypes import cosines, text_prototypes
from showtell.classify.estimator import check_is_fitted
from showtell.classify.labels import LabelWords, Texts, codes_of, label_words, true_labels
from showtell.classify.predictions import STATUSES, Predictions
from showtell.classify.saved import Saving
from showtell.datasets import LabelKey, anonymise_labels
from showtell.encoders import Encoder, embed_images, load_encoder
from showtell.encoders.embed import Store
from showtell.errors import (
    BudgetError,
    InputError,
    JobsPendingError,
    RunError,
    RunInterrupt,
    UnknownNameError,
)
from showtell.media import Media, media_name
from showtell.metrics import count_votes, fit_batch_gamma, geometric_mean
from showtell.mllm.base import ImagePart, Request, Settings
from showtell.mllm.call.client import Client
from showtell.mllm.call.journal import Journal
from showtell.mllm.capabilities import Capabilities
from showtell.mllm.jobs.client import BatchClient
from showtell.mllm.model import Asked, open_client
from showtell.mllm.tokens import image_tokens, text_tokens
from showtell.prompts import (
    DEFAULT_ROLE,
    AnswerParser,
    BatchPlan,
    Demonstration,
    PromptSet,
    RequestForm,
    answer_schema,
    load_prompts,
    plan_batches,
    render_request,
)
from showtell.prompts.requests import Query
from showtell.records.saved import SavedFolder

__all__ = ["COLUMNS", "Confidence", "Correction", "MLLMClassifier"]

Confidence: TypeAlias = Literal["auto", "verbalised", "logprobs", "votes", "decisions"]
Correction: TypeAlias = Literal["contextual", "batch"]
_CORRECTIONS = ("contextual", "batch", "None")
_CONFIDENCES = ("auto", "verbalised", "logprobs", "votes", "decisions", "None")

COLUMNS = ("cost_usd", "input_tokens", "output_tokens", "from_cache", "seconds", "reason")
"""Further columns of `Predictions` from these classifiers."""

_USUAL_TOKENS = 300  # of an image whose formula is not known
_OUTPUT_BASE, _OUTPUT_EACH = 4096, 60  # longest answer; models that think first take thousands
_VOTING_TEMPERATURE = 0.7
_ROUND = 50  # labels per question of two steps, where the provider states no limit
_TOP_LOGPROBS = 20
_PER_LABEL = 10  # images that batch calibration should see
_BLANK = ImagePart(data=b"", media_type="image/png", digest="", width=1, height=1)


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """Outcome of one distinct image."""

    code: int
    row: NDArray[np.float64]
    confidence: float
    status: int
    reason: str | None
    error: str | None


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
        permutations: int | Literal["all"] = 1,
        correct: Correction | None = None,
        null_images: Sequence[Media] | Literal["default"] = "default",
        calibrate: bool | int = False,
        abstain_below: float | None = None,
        shortlist: int | Literal["two-step"] | None = None,
        encoder: str | Encoder = "mini",
        store: Store = "default",
        batch_size: int | Literal["auto"] = "auto",
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
        self.permutations = permutations
        self.correct = correct
        self.null_images = null_images
        self.calibrate = calibrate
        self.abstain_below = abstain_below
        self.shortlist = shortlist
        self.encoder = encoder
        self.store = store
        self.batch_size = batch_size
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
        self._check_arguments()
        self.classes_ = words.classes
        self._check_abstain_below()
        self.model_ = self._model_name()
        capabilities = self._capabilities()
        self.confidence_ = self._chosen_confidence(capabilities)
        self.permutations_ = self._n_turns(capabilities)
        self._check_correction()
        names = [" ".join(of_class[0].split()) for of_class in words.names]
        self.label_key_: LabelKey | None = None
        if self._anonymise:
            self.label_key_ = anonymise_labels(names, self._seed)
            names = [self.label_key_.to_code[name] for name in names]
        self.names_sent_ = tuple(names)
        self._known_names = tuple(dict.fromkeys(n for of_class in words.names for n in of_class))
        self._aliases: dict[str, list[str]] = {}
        self._sentences: tuple[tuple[str, ...], ...] = ()
        if not self._anonymise:
            others = zip(names, words.names, strict=True)
            self._aliases = {n: [a for a in of if a != n] for n, of in others if set(of) - {n}}
            if any(words.descriptions):
                self._sentences = words.descriptions
        AnswerParser(self.names_sent_, self._aliases)  # labels that cannot be told apart
        prompts = load_prompts(self.prompt_dir)
        self.prompt_version_, self._texts = prompts.version, dict(prompts.texts)
        self._refuse_leaks()
        self.calibration_ = ConfidenceMap(kind="none")
        self.prior_: NDArray[np.float64] | None = None
        self.gamma_, self.correction_ = 1.0, ""
        if self.correct == "batch":
            self.correction_ = "batch: divided by the mean of each call"
        self.fit_cost_usd_: Decimal | None = Decimal(0)
        self._to_learn = ()
        return words, images, codes

    @property
    def _seed(self) -> int:
        return 0 if self.random_state is None else int(self.random_state)

    def _model_name(self) -> str:
        return self._access().name

    def _capabilities(self) -> Capabilities:
        return self._access().capabilities

    def _check_arguments(self) -> None:
        self._access().check(takes_jobs=True)
        if self.confidence is not None and self.confidence not in _CONFIDENCES[:-1]:
            raise UnknownNameError("confidence", str(self.confidence), _CONFIDENCES)
        _check_whole("n_samples", self.n_samples, least=1)
        if self.permutations != "all":
            _check_whole("permutations", self.permutations, least=1, other="'all'")
        if self.confidence == "votes" and self.n_samples < 2 and self.permutations == 1:
            raise InputError(
                "`confidence='votes'` counts repeated answers: set `n_samples` to 2 or more, or "
                "`permutations`."
            )
        if self.correct is not None and self.correct not in _CORRECTIONS[:-1]:
            raise UnknownNameError("correction", str(self.correct), _CORRECTIONS)
        if isinstance(self.null_images, str) and self.null_images != "default":
            raise InputError(
                f"`null_images` is 'default' or a sequence of images; got {self.null_images!r}."
            )
        if self.shortlist != "two-step" and self.shortlist is not None:
            _check_whole("shortlist", self.shortlist, least=1, other="'two-step' or None")
        if self.batch_size != "auto":
            _check_whole("batch_size", self.batch_size, least=1, other="'auto'")
        if self.max_tokens is not None and self.max_tokens != "auto":
            _check_whole("max_tokens", self.max_tokens, least=1, other="'auto' or None")
        if self.max_side is not None:
            _check_whole("max_side", self.max_side, least=16, other="None")
        if not isinstance(self.calibrate, bool):
            _check_whole("calibrate", self.calibrate, least=0, other="True or False")
        if self.random_state is not None:
            _check_whole("random_state", self.random_state, least=None, other="None")
        if not isinstance(self.role, str) or not self.role.strip():
            raise InputError(f"`role` says who the model is asked to be; got {self.role!r}.")
        temperature = self.sampling_temperature
        if temperature is not None and temperature != "auto" and not 0 <= float(temperature) <= 2:
            raise InputError(
                f"`sampling_temperature` is 0 to 2, 'auto' or None; got {temperature!r}."
            )

    def _chosen_confidence(self, capabilities: Capabilities) -> Confidence | None:
        """Resolve "auto", and refuse what the model does not offer."""
        chosen = self.confidence
        if chosen == "auto":
            if capabilities.decisions:
                return "decisions"
            repeats = self.n_samples > 1 or self.permutations != 1
            return "votes" if repeats else "verbalised"
        offered = {
            "logprobs": capabilities.logprobs,
            "decisions": capabilities.decisions,
            "verbalised": not capabilities.decisions,
        }
        if chosen is not None and not offered.get(chosen, True):
            allowed = [name for name in _CONFIDENCES if offered.get(name, True)]
            raise InputError(
                f"{self.model_} offers no {chosen!r}. Allowed for it: {', '.join(allowed)}."
            )
        if chosen == "logprobs" and self.batch_size not in ("auto", 1):
            raise InputError(
                "`confidence='logprobs'` reads the tokens of one label, so it asks about one image "
                "per request: leave `batch_size` at 'auto'."
            )
        return chosen

    def _n_turns(self, capabilities: Capabilities) -> int:
        """How many shifts of the list are asked with: no more than a question lists labels."""
        n, most = len(self.classes_), self._most_labels(capabilities)
        listed = n
        if isinstance(self.shortlist, int):
            listed = min(n, self.shortlist)
        elif self._needs_rounds(most, decisions=self.confidence_ == "decisions"):
            assert most is not None
            listed = min(most, -(-n // most))  # only the last round is turned
        return listed if self.permutations == "all" else min(int(self.permutations), listed)

    def _check_correction(self) -> None:
        """Refuse a correction that has no probabilities to work on."""
        if self.correct is None:
            return
        if self.confidence_ is None:
            raise InputError("`correct` changes probabilities, and `confidence=None` has none.")
        by_label = self.confidence_ in ("verbalised", "votes")
        if by_label and self.n_samples * self.permutations_ < 2:
            raise InputError(
                f"`correct={self.correct!r}` divides the probabilities of labels by a prior, and "
                "one answer with a stated confidence says nothing of the labels it does not name. "
                "Set `permutations` (or `n_samples`) to 2 or more, so that there are frequencies, "
                "or take confidence='logprobs' or 'decisions' where the model offers them."
            )

    def _check_abstain_below(self) -> None:
        threshold = self.abstain_below
        if threshold is None:
            return
        if isinstance(threshold, bool) or not 0 <= threshold <= 1:
            raise InputError(
                f"`abstain_below` is a probability from 0 to 1, or None; got {threshold!r}."
            )
        if self.confidence is None:
            raise InputError("`abstain_below` needs a confidence; `confidence` is None.")
        if self.classes_.dtype.kind != "U":
            raise InputError(
                "`abstain_below` needs labels of type str: an abstained prediction is the label "
                f"'', which {self.classes_.dtype} labels cannot express. Convert y to str."
            )

    def _refuse_leaks(self) -> None:
        """Refuse a role or edited prompts that name a class which is to stay unknown."""
        if not self._anonymise:
            return
        usual = load_prompts().texts
        written = [self.role, *(t for name, t in self._texts.items() if t != usual[name])]
        parser = AnswerParser(self._known_names)
        for text in written:
            for line in text.splitlines():
                for found in parser.parse(line).candidates:
                    raise InputError(
                        f"`anonymise` hides the class names, but the role or a prompt file says "
                        f"{self._known_names[found]!r}: {line.strip()[:80]!r}. Reword it."
                    )

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

        Returns
        -------
        self : MLLMClassifier
        """
        images, _, rows = self._prepare(X, y)
        nulls, held = self._what_to_learn_from(images, rows)
        self._to_learn = (*nulls, *(images[i] for i in held))
        return self

    def _what_to_learn_from(
        self, images: Sequence[Media], rows: NDArray[np.intp]
    ) -> tuple[Sequence[Media], NDArray[np.intp]]:
        """Pictures that show nothing, and rows of labelled images to ask about."""
        nulls: Sequence[Media] = ()
        if self.correct == "contextual":
            if isinstance(self.null_images, str):
                seen = images or [d.image.data for d in self._usual_demonstrations(None)]
                nulls = content_free_pictures(self._seed % 2**63, images=seen)
            else:
                nulls = media_list(self.null_images)
        if self.calibrate is False or self.confidence_ is None:
            return nulls, rows[:0]
        if not len(rows):
            raise InputError(
                "`calibrate` needs labelled images besides those that are shown: call `fit(X, y)` "
                "with more of them, or set `calibrate=False`."
            )
        if self.calibrate is not True:
            rows = np.random.default_rng(self._seed).permutation(rows)[: int(self.calibrate)]
        return nulls, np.sort(rows)

    def _learn(
        self, images: Sequence[Media], codes: NDArray[np.intp], rows: NDArray[np.intp]
    ) -> None:
        """Ask what the prompt says of nothing, and what answers about labelled images are worth."""
        nulls, held = self._what_to_learn_from(images, rows)
        to_ask = [*nulls, *(images[i] for i in held)]
        if not to_ask:
            return
        found = self._ask(to_ask, no_progress, judged=False)
        costs = [item.spent.cost_usd for item in found.items]
        self.fit_cost_usd_ = None if None in costs else sum(filter(None, costs), Decimal(0))
        evidence = [self._evidence(item) for item in found.items]
        of_row = [None if d < 0 else evidence[d] for d in found.distinct]
        if self.correct == "contextual":
            self._learn_from_nulls(of_row[: len(nulls)])
        of_row, truth = of_row[len(nulls) :], codes[held]
        if self.correct == "batch" and len(held):
            self._learn_batch(of_row, truth)
        if not len(held):
            return
        judged = [self._judge(None, e) for e in self._corrected(of_row)]
        usable = [i for i, j in enumerate(judged) if j.code >= 0]
        sure = [judged[i].confidence for i in usable]
        right = [judged[i].code == truth[i] for i in usable]
        self.calibration_ = ConfidenceMap.fit(np.clip(sure, 0, 1), right)

    def _learn_from_nulls(self, evidence: Sequence[Evidence | None]) -> None:
        usable = [e for e in evidence if e is not None]
        if not usable:
            warnings.warn(
                "correct='contextual' has nothing to work on: the model gave no label to any of "
                f"{len(evidence)} pictures that show nothing. Answers stay as they are; give "
                "other `null_images`, or set correct='batch'.",
                LimitsWarning,
                stacklevel=4,
            )
            self.correction_ = "contextual: nothing learned"
            return
        self.prior_ = prior_of(usable)
        n = len(usable)
        self.correction_ = (
            f"contextual: divided by what {n} picture{'' if n == 1 else 's'} showing nothing "
            f"came to, {self._prior_words()}"
        )

    def _learn_batch(self, evidence: Sequence[Evidence | None], truth: NDArray[np.intp]) -> None:
        """Fix the prior and its strength by labelled images, so that calls need not be large."""
        kept = [(e, int(c)) for e, c in zip(evidence, truth, strict=True) if e is not None]
        if len(kept) < 2:
            return
        usable = [e for e, _ in kept]
        self._say_if_few(len(usable))
        self.prior_ = prior_of(usable)
        among = None
        if any(e.named is not None for e in usable):
            among = np.array([e.row > 0 if e.named is None else e.named for e in usable])
        self.gamma_ = fit_batch_gamma(
            np.array([e.row for e in usable]), [c for _, c in kept], prior=self.prior_, among=among
        )
        self.correction_ = (
            f"batch: divided by the power {self.gamma_:g} of the mean of {len(usable)} labelled "
            f"images, {self._prior_words()}"
        )

    def _prior_words(self) -> str:
        assert self.prior_ is not None
        return prior_in_words(self.prior_, [str(label) for label in self.classes_.tolist()])

    def _say_if_few(self, n: int) -> None:
        wanted = _PER_LABEL * len(self.classes_)
        if n < wanted:
            warnings.warn(
                f"correct='batch' looks at the mean over {n} images, and {len(self.classes_)} "
                f"labels want {wanted} or more. Take the result with care, give `fit` labelled "
                "images with `calibrate` set, or use correct='contextual'.",
                LimitsWarning,
                stacklevel=5,
            )

    # Classifying

    def classify(self, X: Sequence[Media], *, progress: Progress = no_progress) -> Predictions:
        """Ask about each input: one row each, in order; the same content is asked about once.

        Parameters
        ----------
        X : sequence of Media, length n_samples
        progress : Progress
            Called with the number of images that are done.

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
        if self.correct == "batch" and self.prior_ is None and len(images) == 1:
            raise InputError(
                "correct='batch' divides by the mean over all images of a call, and one image has "
                "none. Classify many at once (10 a label), or call `fit(X, y)` with `calibrate` "
                "set, which fixes the mean."
            )
        if self._model_name() != self.model_:
            raise InputError(
                f"This {type(self).__name__} was fitted for model {self.model_!r}, but its model "
                f"now is {self._model_name()!r}. Call `fit` again."
            )
        asked = self._ask(images, progress)
        predictions = self._predictions(images, asked)
        if isinstance(asked.stop, RunError):
            asked.stop.predictions = predictions
            raise asked.stop
        if asked.stop is not None:
            raise RunInterrupt(predictions) from asked.stop
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
        yield from self._first_requests(self._to_learn)
        yield from self._first_requests(media_list(X))

    def _first_requests(self, images: Sequence[Media]) -> Iterator[Request]:
        if not len(images):
            return
        capabilities = self._capabilities()
        run = self._make_run(None, images, capabilities)
        n, most = len(self.classes_), self._most_labels(capabilities)
        if self._needs_rounds(most, decisions=run.decisions):
            assert most is not None
            phase = self._round(most, -(-n // most), lambda _item: range(n))
        else:
            phase = self._only_phase(images, most)
        yield from run.first_requests(images, phase)

    def predict(self, X: Sequence[Media]) -> NDArray[Any]:
        """Label of each input, shape (n_samples,); "" where there is none.

        Raises
        ------
        InputError
            If an input could not be used, or the model named no label and labels are no text, so
            that "" cannot stand for it. `classify` gives every input a row.
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

    def _ask(self, images: Sequence[Media], progress: Progress, *, judged: bool = True) -> _Asked:
        """Ask about all images in as many phases as the label set takes."""
        if not len(images):
            return _Asked(items=[], judged=[], distinct=np.zeros(0, np.int64), errors={})
        stop: RunError | KeyboardInterrupt | None = None
        line = ""
        try:
            with self._open_run(images, progress) as (run, client):
                journal = client.journal
                try:
                    items, distinct, errors = self._phases(run, journal, images, progress)
                    if journal is not None:
                        journal.settle()
                except (RunError, KeyboardInterrupt) as error:
                    if not judged or isinstance(error, JobsPendingError):
                        raise
                    stop, line = error, _why_stopped(error)
                    notes = self._notes(run, journal)
                    noted = notes.digests() if isinstance(error, RunError) else frozenset()
                    items, distinct, errors = run.so_far(images, line, noted, notes.recall)
                    raise
                finally:
                    doubts = _doubts_of(client)
        except (RunError, KeyboardInterrupt):
            if stop is None:
                raise
        outcomes: list[_Judged] = []
        if judged:
            evidence = self._corrected([self._evidence(item) for item in items])
            outcomes = [self._judge(item, e) for item, e in zip(items, evidence, strict=True)]
        lines = {row: " ".join(str(error).split()) for row, error in errors.items()}
        return _Asked(
            items=items,
            judged=outcomes,
            distinct=distinct,
            errors=lines,
            stop=stop,
            stopped=line,
            doubts=doubts,
        )

    @contextmanager
    def _open_run(
        self, images: Sequence[Media], progress: Progress
    ) -> Iterator[tuple[Run, Client]]:
        """Build what a run needs, and close it."""
        access = self._access()
        with open_client(access, takes_jobs=True) as client:
            journal = client.journal
            run = self._make_run(client, images, self._capabilities())
            jobs: BatchClient | None = None
            try:
                if access.jobs:
                    assert journal is not None
                    run.client = jobs = BatchClient(
                        client.mllm,
                        journal.folder,
                        journal=journal,
                        cache=client.kept.cache,
                        budget=client.budget,
                        scope=f"{self._fingerprint(run)}:{_named(images)}",
                        wait=access.wait,
                        on_progress=lambda state: progress(
                            state.n_ended, state.n_jobs, "batch jobs"
                        ),
                    )
                yield run, client
                if jobs is not None:
                    jobs.finish()
            finally:
                if jobs is not None:
                    jobs.close()

    def _form(self, capabilities: Capabilities) -> RequestForm:
        return RequestForm(
            model=self.model_,
            prompts=PromptSet(version=self.prompt_version_, texts=self._texts),
            labels=self.names_sent_,
            descriptions=self._sentences,
            role=self.role.strip(),
            verbalised=self.confidence_ == "verbalised",
            capabilities=capabilities,
        )

    def _make_run(
        self, client: Client | None, images: Sequence[Media], capabilities: Capabilities
    ) -> Run:
        form = self._form(capabilities)
        decisions = self.confidence_ == "decisions"
        most = self._most_labels(capabilities)
        shown = self._usual_demonstrations(most)
        plan = self._plan(form, shown, len(images), capabilities)
        return Run(
            client=client,
            form=form,
            parser=AnswerParser(self.names_sent_, self._aliases),
            settings=self._settings(plan.batch_size, capabilities),
            batch_size=plan.batch_size,
            demonstrations=self._demonstrations(images),
            capabilities=capabilities,
            max_side=self.max_side,
            n_demonstrations=len(shown),
            shared_bytes=sum(len(d.image.data) for d in shown),
            decisions=decisions,
            logprobs=self.confidence_ == "logprobs",
            avoid=self._known_names if self._anonymise else (),
        )

    def _plan(
        self,
        form: RequestForm,
        shown: Sequence[Demonstration],
        n_queries: int,
        capabilities: Capabilities,
    ) -> BatchPlan:
        """Choose the batch size from what requests share and what an image takes."""
        rule, side = capabilities.image_token_rule, self.max_side or 768
        sizes = [image_tokens(rule, d.image.width, d.image.height) for d in shown]
        each = [_USUAL_TOKENS if n is None else n for n in sizes]
        fallback = image_tokens(rule, side, max(1, side * 3 // 4))
        query = int(np.mean(each)) if each else (_USUAL_TOKENS if fallback is None else fallback)
        system = text_tokens(render_request(form, (), [Query(id="x", image=_BLANK)]).system)
        schema = text_tokens(json.dumps(answer_schema(form.labels, verbalised=form.verbalised)))
        single = self.confidence_ in ("decisions", "logprobs") or self._one_by_one()
        size = 1 if single else None if self.batch_size == "auto" else self.batch_size
        n_bytes = sum(len(d.image.data) for d in shown)
        return plan_batches(
            n_queries,
            capabilities=capabilities,
            n_demonstrations=len(shown),
            shared_tokens=system + schema + sum(each) + 6 * len(each),
            query_tokens=query + 15,
            shared_bytes=n_bytes,
            query_bytes=n_bytes // len(shown) if shown else 0,
            max_output_tokens=None if self.max_tokens == "auto" else self.max_tokens,
            batch_size=size,
        )

    def _settings(self, batch_size: int, capabilities: Capabilities) -> Settings:
        temperature = self.sampling_temperature
        if temperature == "auto":
            temperature = 0.0 if self.n_samples == 1 else _VOTING_TEMPERATURE
        longest = self.max_tokens
        if longest == "auto":
            longest = _OUTPUT_BASE + _OUTPUT_EACH * batch_size
        logprobs = None
        if self.confidence_ == "logprobs":
            logprobs = min(_TOP_LOGPROBS, capabilities.max_top_logprobs or _TOP_LOGPROBS)
        decisions = self.confidence_ == "decisions"
        return Settings(
            temperature=temperature if capabilities.sampling and not decisions else None,
            max_tokens=None if decisions else longest,
            top_logprobs=logprobs,
            timeout=self._access().timeout,
        )

    # Phases

    def _phases(
        self, run: Run, journal: Journal | None, images: Sequence[Media], progress: Progress
    ) -> tuple[list[Item], NDArray[np.int64], dict[int, Any]]:
        most = self._most_labels(run.capabilities)
        notes = self._notes(run, journal)
        if self._needs_rounds(most, decisions=run.decisions):
            assert most is not None
            return self._in_rounds(run, notes, images, most, progress)
        phase = replace(self._only_phase(images, most), on_done=notes.record)
        return run.ask_new(images, phase, skip=notes.recall, progress=progress)

    def _notes(self, run: Run, journal: Journal | None) -> _Notes:
        again = isinstance(run.client, BatchClient) and not run.client.is_new
        return _Notes(journal, self._fingerprint(run), recalls=not again)

    def _only_phase(self, images: Sequence[Media], most: int | None) -> Phase:
        """Ask once about every image, of the whole label set or a short list."""
        candidates: Mapping[int, tuple[int, ...]] = {}
        if isinstance(self.shortlist, int) and self.shortlist < len(self.classes_):
            candidates = self._candidates(images, self.shortlist)
        return Phase(
            n_views=self.n_samples * self.permutations_,
            choice=lambda item, _view: candidates.get(item.first_row),
            order=self._order,
            written=self._written,
            most_labels=most,
        )

    def _needs_rounds(self, most: int | None, *, decisions: bool) -> bool:
        crowded = most is not None and len(self.classes_) > most
        return crowded and (decisions or self.shortlist == "two-step")

    def _round(
        self,
        most: int,
        n_views: int,
        own: Callable[[Item], Sequence[int]],
        *,
        first_sample: int = 0,
    ) -> Phase:
        """Ask for the best of every `most` of the labels an image has left."""
        return Phase(
            n_views=n_views,
            choice=lambda item, view: tuple(own(item)[view * most : (view + 1) * most]),
            order=lambda _view, codes: self._order(0, codes),
            most_labels=most,
            first_sample=first_sample,
        )

    def _in_rounds(
        self,
        run: Run,
        notes: _Notes,
        images: Sequence[Media],
        most: int,
        progress: Progress,
    ) -> tuple[list[Item], NDArray[np.int64], dict[int, Any]]:
        """Ask for the best of every `most` labels, then for the best of those, down to one."""
        if most < 2:
            raise InputError(f"{self.model_} takes {most} labels a question; rounds need 2.")
        n = len(self.classes_)
        left: dict[int, list[int]] = {}
        # What probability a label has within what its winner stands for.
        shares: dict[int, dict[int, NDArray[np.float64]]] = {}
        known: set[int] = set()
        sample, longest, is_first = 0, n, True
        items: list[Item] = []
        distinct = np.zeros(0, np.int64)
        errors: dict[int, Any] = {}

        def own(item: Item) -> list[int]:
            return left.get(item.number, list(range(n)) if is_first else [])

        def combine(item: Item) -> None:
            for given in item.given.values():
                if given.row is not None:
                    given.row = _combined(given.row, shares.get(item.number, {}), own(item))
                    given.code = int(given.row.argmax())
            notes.record(item)

        def recall(item: Item) -> bool:
            if notes.recall(item):
                known.add(item.number)
                return True
            return False

        while longest > most or is_first:
            n_views = -(-longest // most)
            phase = self._round(most, n_views, own, first_sample=sample)
            if is_first:
                items, distinct, errors = run.ask_new(images, phase, skip=recall, progress=progress)
            else:
                run.ask_again([i for i in items if i.number not in known], phase)
            longest = 1
            for item in items:
                if item.number in known:
                    continue
                before = shares.get(item.number, {})
                winners, after = [], {}
                for view in range(n_views):
                    given = item.given.get(view)
                    if given is not None and given.code is not None:
                        winners.append(given.code)
                        if given.row is not None:
                            after[given.code] = _combined(given.row, before, own(item))
                left[item.number], shares[item.number] = winners, after
                longest = max(longest, len(winners))
            sample, is_first = sample + n_views, False
        fresh = [item for item in items if item.number not in known]
        for item in fresh:
            if len(left[item.number]) < 2:  # nothing to choose from any more
                settled = [g for g in item.given.values() if g.code is not None]
                item.given = {0: (settled or list(item.given.values()))[0]}
                combine(item)
        final = Phase(
            n_views=self.n_samples * self.permutations_,
            choice=lambda item, _view: tuple(own(item)),
            order=self._order,
            written=self._written,
            most_labels=most,
            first_sample=sample,
            on_done=combine,
        )
        run.ask_again([item for item in fresh if len(left[item.number]) > 1], final)
        return items, distinct, errors

    def _most_labels(self, capabilities: Capabilities) -> int | None:
        """Labels that one question may list, where images choose from different ones."""
        n, most = len(self.classes_), capabilities.max_enum
        if self.shortlist is None:
            return most if self.confidence_ == "decisions" else None
        if self.shortlist == "two-step":
            return min(most or _ROUND, _ROUND)
        wanted = max(3 * int(self.shortlist), 20)
        return min(n, wanted if most is None else max(int(self.shortlist), min(wanted, most)))

    def _order(self, view: int, codes: tuple[int, ...]) -> tuple[int, ...]:
        """List neutral names by number; shuffle for every repetition, shift for every turn."""
        sample, turn = divmod(view, self.permutations_)
        written = self._written(view)
        if self.label_key_ is not None:  # names stay where they are, and labels move through them
            held = {code: code for code in codes}
            if written is not None:
                held = {written[code]: code for code in codes}
            names = self.names_sent_
            codes = tuple(sorted(held, key=lambda c: (len(names[c]), names[c])))
        if sample:
            rng = np.random.default_rng([self._seed % 2**63, sample])
            codes = tuple(int(code) for code in rng.permutation(codes))
        if self.label_key_ is not None:
            return tuple(held[name] for name in codes)
        return turned(codes, turn, self.permutations_)

    def _written(self, view: int) -> tuple[int, ...] | None:
        """By whose neutral name each label goes: every turn shifts the names by some places."""
        turn = view % self.permutations_
        if self.label_key_ is None or not turn:
            return None
        names, n = self.names_sent_, len(self.names_sent_)
        by_number = sorted(range(n), key=lambda c: (len(names[c]), names[c]))
        shifted = turned(by_number, turn, self.permutations_)
        written = [0] * n
        for code, name in zip(by_number, shifted, strict=True):
            written[code] = name
        return tuple(written)

    def _candidates(self, images: Sequence[Media], k: int) -> dict[int, tuple[int, ...]]:
        """For each input, the `k` labels that an encoder finds likeliest, rising."""
        encoder = load_encoder(self.encoder)
        found = embed_images(encoder, images, store=self.store)
        scores = cosines(found.embeddings, self._label_prototypes(encoder))
        top = np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)
        return {
            row: tuple(int(c) for c in top[d]) for row, d in enumerate(found.distinct) if d >= 0
        }

    def _label_prototypes(self, encoder: Encoder) -> NDArray[np.float32]:
        names = [(str(name),) for name in self._words_of_labels()]
        sentences = [()] * len(names) if not self._sentences else list(self._sentences)
        return text_prototypes(encoder, names, sentences, "default", self.store)[0]

    def _words_of_labels(self) -> Sequence[str]:
        """Names that mean something to an encoder; it runs here, so nothing leaks."""
        if self.label_key_ is None:
            return self.names_sent_
        return [self.label_key_.to_label[name] for name in self.names_sent_]

    # Demonstrations: none, unless a subclass has some

    def _demonstrations(
        self,
        images: Sequence[Media],  # noqa: ARG002
    ) -> Callable[[int, tuple[int, ...], Sequence[Item]], Sequence[Demonstration]]:
        return lambda _view, _listed, _items: ()

    def _usual_demonstrations(self, most_labels: int | None) -> Sequence[Demonstration]:  # noqa: ARG002
        """As many demonstrations as a request may show."""
        return ()

    def _one_by_one(self) -> bool:
        return False

    # Judging

    def _evidence(self, item: Item) -> Evidence | None:
        """Put the answers about one image together; None if none names a label.

        Answers to shifts of one list are averaged geometrically where they give probabilities,
        which cancels a preference for places; repetitions are averaged or counted.
        """
        n = len(self.classes_)
        views = sorted(item.given)
        answered = [view for view in views if item.given[view].code is not None]
        if not answered:
            return None
        if self.confidence_ == "votes":
            given = [item.given[view] for view in views]
            code, row = self._counted(item, given, n)
        else:
            samples: dict[int, list[NDArray[np.float64]]] = {}
            for view in answered:
                row = self._row_of(item.given[view], n)
                samples.setdefault(view // self.permutations_, []).append(row)
            weighs = self.confidence_ in ("logprobs", "decisions")
            means = [
                geometric_mean(rows) if weighs and len(rows) > 1 else np.mean(rows, axis=0)
                for rows in samples.values()
            ]
            row = np.average(means, axis=0, weights=[len(rows) for rows in samples.values()])
            code = int(row.argmax())
        named = None
        if self.confidence_ not in ("logprobs", "decisions"):
            named = named_by([int(item.given[view].code or 0) for view in answered], n)
        return Evidence(code=code, row=row, named=named)

    def _corrected(self, evidence: Sequence[Evidence | None]) -> list[Evidence | None]:
        """Divide the prior of the prompt out of all rows."""
        usable = [e for e in evidence if e is not None]
        prior = self.prior_
        if self.correct is None or not usable:
            return list(evidence)
        if self.correct == "batch" and prior is None:
            if len(usable) < 2:
                warnings.warn(
                    "correct='batch' has nothing to work on: only one image was answered.",
                    LimitsWarning,
                    stacklevel=4,
                )
                return list(evidence)
            self._say_if_few(len(usable))
            prior = prior_of(usable)
        if prior is None:
            return list(evidence)
        if len(usable) >= _PER_LABEL and is_certain(usable):
            warnings.warn(
                f"correct={self.correct!r} has nothing to work on: about every image all answers "
                "name one label and leave nothing for others. Answers stay as they are; more "
                "`permutations`, or confidence='logprobs', may show what the model hesitates "
                "between.",
                LimitsWarning,
                stacklevel=4,
            )
        return correct_evidence(evidence, prior, self.gamma_)

    def _judge(self, item: Item | None, evidence: Evidence | None) -> _Judged:
        """Turn what answers come to into the outcome of an image."""
        n = len(self.classes_)
        if evidence is None:
            first = None if item is None else item.given[min(item.given)]
            abstained = first is None or first.reason == "out_of_set"
            error = None
            if first is not None and item is not None and not abstained:
                error = explain(first, item.spent.n_answers)
            return _Judged(
                code=-1,
                row=np.full(n, 1 / n),
                confidence=np.nan,
                status=STATUSES.index("abstained" if abstained else "error"),
                reason=None if first is None else first.reason,
                error=error,
            )
        code, row = evidence.code, evidence.row
        sure = float(row[code])
        if self.calibration_.kind != "none":
            row = with_confidence(row, code, float(self.calibration_.apply(sure)))
            sure = float(row[code])
        status, reason = 0, None
        if self.abstain_below is not None and sure < self.abstain_below:
            status, reason = STATUSES.index("abstained"), "unsure"
        return _Judged(
            code=code, row=row, confidence=sure, status=status, reason=reason, error=None
        )

    def _row_of(self, given: Given, n: int) -> NDArray[np.float64]:
        assert given.code is not None
        if given.row is not None:
            return given.row
        known = given.confidence
        return spread(given.code, UNKNOWN_CONFIDENCE if known is None else known, n)

    def _counted(
        self, item: Item, given: Sequence[Given], n: int
    ) -> tuple[int, NDArray[np.float64]]:
        """Shares of the votes; no answer counts in the shares, and ties are drawn by name."""
        codes = [-1 if g.code is None else g.code for g in given]
        by_name = np.argsort(self.classes_.astype(np.str_), kind="stable")
        place = np.argsort(by_name, kind="stable")  # so that the order of labels decides nothing
        draw = int.from_bytes(hashlib.blake2b(item.digest.encode(), digest_size=4).digest(), "big")
        placed = [-1 if c < 0 else int(place[c]) for c in codes]
        votes = count_votes([placed], n, random_state=(self._seed + draw) % 2**32)
        counts = np.bincount([c for c in codes if c >= 0], minlength=n).astype(np.float64)
        row = counts / len(codes) + codes.count(-1) / len(codes) / n
        code = int(by_name[votes.codes[0]])
        return code, with_confidence(row, code, float(row[code]))

    def _predictions(self, images: Sequence[Media], asked: _Asked) -> Predictions:
        n_rows, n = len(images), len(self.classes_)
        judged, distinct = asked.judged, asked.distinct
        at_error = STATUSES.index("error")
        codes = np.array([*(j.code for j in judged), -1], np.int32)
        sure = np.array([*(j.confidence for j in judged), np.nan], np.float32)
        status = np.array([*(j.status for j in judged), at_error], np.int8)
        has_proba = self.confidence_ is not None
        rows = np.array([j.row for j in judged], np.float32).reshape(len(judged), n)
        errors = dict(asked.errors)
        for row, d in enumerate(distinct.tolist()):
            if d >= 0 and (line := judged[d].error) is not None:
                errors[row] = line
        shown = np.where(status[distinct] == at_error, -1, distinct) if n_rows else distinct
        return Predictions(
            images=[media_name(images[i]) for i in range(n_rows)],
            classes=tuple(str(label) for label in self.classes_.tolist()),
            codes=codes[distinct],
            confidence_all=sure[distinct] if has_proba else np.full(n_rows, np.nan, np.float32),
            status_codes=status[distinct],
            errors=dict(sorted(errors.items())),
            distinct_proba=rows if has_proba else None,
            distinct=shown if has_proba else None,
            columns=self._columns(asked),
            price_usd=_sum_of([item.spent.price_usd for item in asked.items]),
            n_in_doubt=asked.doubts[0],
            in_doubt_usd=asked.doubts[1],
        )

    @staticmethod
    def _columns(asked: _Asked) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for row, d in enumerate(asked.distinct.tolist()):
            values: tuple[Any, ...]
            if d < 0:
                is_stopped = asked.stopped and asked.errors.get(row) == asked.stopped
                values = (Decimal(0), 0, 0, False, 0.0, "stopped" if is_stopped else "image")
            else:
                item, reason = asked.items[d], asked.judged[d].reason
                spent = item.spent
                if item.first_row == row:
                    values = (
                        spent.cost_usd,
                        spent.input_tokens,
                        spent.output_tokens,
                        spent.from_cache,
                        spent.seconds,
                        reason,
                    )
                else:
                    values = (Decimal(0), 0, 0, True, 0.0, reason)
            for name, value in zip(COLUMNS, values, strict=True):
                columns[name].append(value)
        return columns

    def _fingerprint(self, run: Run) -> str:
        """Hash of what decides an answer besides the image, for the samples of a run folder."""
        shown = [(d.image.digest, d.code) for d in self._usual_demonstrations(None)]
        content = {
            "form": [
                run.form.model,
                run.form.prompts.version,
                run.form.labels,
                run.form.descriptions,
                run.form.role,
            ],
            "confidence": self.confidence_,
            "n_samples": self.n_samples,
            "shortlist": self.shortlist,
            "side": self.max_side,
            "settings": [run.settings.temperature],
            "shown": shown,
            "seed": self._seed,
        }
        if self.permutations_ > 1:
            content["permutations"] = self.permutations_
        text = json.dumps(content, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()

    # scikit-learn

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


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What became of all inputs."""

    items: list[Item]
    judged: list[_Judged]
    distinct: NDArray[np.int64]
    errors: dict[int, str]
    stop: RunError | KeyboardInterrupt | None = None
    """What ended the run before all inputs were asked about."""
    stopped: str = ""
    """The line of those that were not."""
    doubts: tuple[int, Decimal | None] = (0, Decimal(0))
    """Requests of the run whose answer never came, and USD that they may cost."""


def _why_stopped(error: RunError | KeyboardInterrupt) -> str:
    if isinstance(error, BudgetError):
        return (
            f"stopped by the cap of {error.cap}; raise it and run the same command again to go on"
        )
    if isinstance(error, RunError):
        return f"not asked, since the run ended: {' '.join(str(error).split())}"
    return "stopped by Ctrl-C; run the same command again to go on"


def _doubts_of(client: Client) -> tuple[int, Decimal | None]:
    """How many requests may be billed although no answer came of them, and how much."""
    journal, totals = client.journal, client.totals
    if journal is None:
        return totals.n_in_doubt, None if totals.n_doubts_unpriced else totals.in_doubt_usd
    return journal.n_in_doubt, None if journal.n_doubts_unpriced else journal.in_doubt


class _Notes:
    """What a run folder knows about images."""

    def __init__(self, journal: Journal | None, fingerprint: str, *, recalls: bool = True) -> None:
        self._journal, self._fingerprint = journal, fingerprint
        # Jobs of an earlier process are gone through again from their answers, as it did.
        self._done = {} if journal is None or not recalls else journal.done

    def _id(self, item: Item) -> str:
        return f"{item.digest}:{self._fingerprint}"

    def recall(self, item: Item) -> bool:
        """Fill in what an earlier process of the run was answered; False if it was not."""
        if self._journal is None or self._id(item) not in self._done:
            return False
        try:
            saved = self._done[self._id(item)]["given"]
            item.given = {view: _given_from(values) for view, values in enumerate(saved)}
            price = self._done[self._id(item)].get("price_usd")
            item.spent.price_usd = None if price is None else Decimal(price)
        except (KeyError, TypeError, ValueError, ArithmeticError):
            return False
        item.spent.n_answers = item.spent.n_from_cache = 1
        item.again = bool(self._done[self._id(item)].get("again", True))
        return bool(item.given)

    def digests(self) -> frozenset[str]:
        """Hashes of the images whose outcome is known."""
        end = f":{self._fingerprint}"
        return frozenset(name.removesuffix(end) for name in self._done if name.endswith(end))

    def record(self, item: Item) -> None:
        """Note an outcome; what failed for reasons outside the model stays to be asked."""
        item.done = True
        given = [item.given[view] for view in sorted(item.given)]
        if self._journal is None or any(g.reason in ("request", "image") for g in given):
            return
        status = "ok" if any(g.code is not None for g in given) else "open"
        price = item.spent.price_usd
        self._journal.sample(
            self._id(item),
            status=status,
            image=item.digest,
            given=[_given_to(g) for g in given],
            again=item.spent.n_answers > len(given),
            price_usd=None if price is None else str(price),
        )


def _given_to(given: Given) -> list[Any]:
    row = None if given.row is None else [round(float(p), 9) for p in given.row]
    return [given.code, given.confidence, row, given.reason, given.text]


def _given_from(values: Sequence[Any]) -> Given:
    code, confidence, row, reason, text = values
    return Given(
        code=None if code is None else int(code),
        confidence=None if confidence is None else float(confidence),
        row=None if row is None else np.array(row, np.float64),
        reason=reason,
        text=str(text),
    )


def _sum_of(prices: Sequence[Decimal | None]) -> Decimal | None:
    known = [price for price in prices if price is not None]
    return sum(known, Decimal(0)) if len(known) == len(prices) else None


def _named(images: Sequence[Media]) -> str:
    """Tell one lot of images from another, without looking at all of them."""
    ends = [media_name(images[0]), media_name(images[len(images) - 1])]
    text = "\n".join([str(len(images)), *ends])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _combined(
    row: NDArray[np.float64], shares: Mapping[int, NDArray[np.float64]], codes: Sequence[int]
) -> NDArray[np.float64]:
    """Spread the probability of every winner over the labels it stands for."""
    total = np.zeros_like(row)
    for code in codes:
        if code in shares:
            total += row[code] * shares[code]
        else:
            total[code] += row[code]
    return total / total.sum() if total.sum() > 0 else row


def _check_whole(name: str, value: Any, *, least: int | None, other: str = "") -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if whole and (least is None or value >= least):
        return
    what = "a whole number" if least is None else f"a whole number from {least} up"
    raise InputError(f"`{name}` is {what}{f', {other}' if other else ''}; got {value!r}.")
