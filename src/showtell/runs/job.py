"""A job: recipes, what they are for, and where it is kept. The command line is thin over it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import showtell.evaluate as measuring
from showtell import classify, datasets, mllm, recipes
from showtell._progress import Progress, no_progress
from showtell.errors import InputError, RunError, RunInterrupt
from showtell.evaluate import provenance
from showtell.mllm.estimate import Sums, add_up
from showtell.runs import folder
from showtell.runs.events import Event, Tell, line_of, silent
from showtell.runs.meter import Meter
from showtell.runs.requests import deciding

if TYPE_CHECKING:
    from showtell.classify import CalibratedSets, Evolution, MediaClassifier, Predictions
    from showtell.datasets import Dataset
    from showtell.evaluate import Record
    from showtell.mllm import MLLM, Model, Request
    from showtell.recipes import Estimate, Recipe

_RESUME = (
    "Answers that were paid for are kept: run the same command again to go on from there; they "
    "cost nothing then."
)
_RESUME_JOBS = (
    "They take up to a day. The same command, with `run` {}, collects what is done; nothing is "
    "paid twice."
)
_NOT_KEPT = "No cache and no `run`: a run that stops keeps no answers and begins anew."
_NO_ANSWER_KEPT = "No answer was kept in a cache or a run folder."


@dataclass(kw_only=True)
class Job:
    """A recipe at work: its model is opened once and metered, a folder keeps what came of it.

    Parameters
    ----------
    recipe : Recipe
    verb : str, default="classify"
    inputs : mapping, default={}
        What else decides about the answers, as JSON values: names of images, of examples.
    run : path, optional
        The run folder; the same job in the same folder goes on where it stopped.
    steps : int, default=1
        How often classifiers are set to work. One cap holds for all of them together.
    tell : callable, optional
        Called with each `Event`.

    Examples
    --------
    >>> from showtell.recipes import Recipe
    >>> with Job(recipe=Recipe(labels=["cat", "dog"]), inputs={"images": ["a.jpg"]}) as job:
    ...     print(job.meters, job.request["recipe"]["method"])
    [] auto
    """

    recipe: Recipe
    verb: str = "classify"
    inputs: Mapping[str, Any] = field(default_factory=dict)
    run: Path | None = None
    steps: int = 1
    tell: Tell = silent
    _meters: dict[str, Meter] = field(default_factory=dict, init=False, repr=False)
    _books: Path | str | None = field(default=None, init=False, repr=False)
    _closing: ExitStack = field(default_factory=ExitStack, init=False, repr=False)

    # -- its folder --------------------------------------------------------------------------------
    @property
    def request(self) -> dict[str, Any]:
        """What decides about the answers, as JSON values."""
        return {"verb": self.verb, **self.inputs, **self._of_recipe()}

    def _of_recipe(self) -> dict[str, Any]:
        return {"recipe": deciding(self.recipe)}

    def claim(self) -> bool:
        """Take the run folder, if there is one; say whether the same was run there before.

        Raises
        ------
        InputError
            If it holds the run of another request, or files that are no run.
        """
        if self.run is None or not folder.claim(self.run, self.request):
            return False
        self.tell(Event(kind="detail", text=f"Going on in {self.run}."))
        return True

    def finish(self, facts: Mapping[str, Any] | None, *, state: str = "finished") -> None:
        """Write the final run.json, if there is a folder; see `showtell.runs.folder.finish`."""
        if self.run is not None:
            folder.finish(self.run, self.request, facts, state=state)

    # -- its models --------------------------------------------------------------------------------
    def open(self) -> None:
        """Load all models, so that a wrong name or a missing key is known before anything is read.

        Raises
        ------
        InputError
            If batch jobs are wanted and there is no run folder.
        """
        asking = [one for one in self._recipes() if one.asks]
        if not asking:
            return
        reuse = asking[0].access.get("reuse", True)
        jobs = any(one.option("jobs") for one in asking)
        # At once, since loading what speaks with providers takes a while, in which Ctrl-C may come.
        self._resume(_RESUME if self.run is not None or reuse else _NO_ANSWER_KEPT)
        if jobs and self.run is None:
            raise InputError(
                "`jobs` needs `run` DIR: they take up to a day, and are found again through it.",
                param=("jobs", "run"),
            )
        self._books = self.run
        for one in asking:
            self._load(one)
            again = len(asking) > 1 or self.steps > 1 or one.calibrates or one.option("debias")
            if self._books is None and again and {"max_cost", "max_requests"} & set(one.access):
                self._books = self._closing.enter_context(
                    tempfile.TemporaryDirectory(prefix="showtell-")
                )
        for meter in self.meters if jobs else ():
            if meter.capabilities.batch:  # jobs are handed in past the meter
                meter.announce()
        if jobs:
            self._resume(_RESUME_JOBS.format(self.run))
        elif self.run is None and not (reuse and mllm.default_cache() is not None):
            self.tell(Event(kind="note", text=_NOT_KEPT))
            self._resume(_NO_ANSWER_KEPT)

    def _recipes(self) -> Sequence[Recipe]:
        return [self.recipe]

    def _load(self, recipe: Recipe) -> None:
        name = str(recipe.model)
        if name not in self._meters:
            self._take(name, mllm.load_mllm(name, base_url=recipe.access.get("base_url")))

    def _take(self, name: str, model: MLLM) -> None:
        self._meters[name] = Meter(model, self._say_where)
        self._closing.callback(self._meters[name].close)

    def _say_where(self, meter: Meter) -> None:
        """Name the host that is about to be asked; nothing hides it."""
        endpoint = getattr(meter.wrapped, "endpoint", "")
        where = f" at {endpoint}" if endpoint else ""
        self.tell(Event(kind="always", text=f"Asking {meter.name}{where}."))

    def _resume(self, text: str) -> None:
        self.tell(Event(kind="resume", text=text))

    @property
    def meters(self) -> list[Meter]:
        """Count what each model is asked, one for each."""
        return list(self._meters.values())

    def meter_of(self, recipe: Recipe) -> Meter | None:
        """Return what counts the requests of a recipe; None where nothing is paid."""
        return self._meters.get(recipe.model or "")

    def close(self) -> None:
        """Close connections, and forget what was kept for the caps alone."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- its work ----------------------------------------------------------------------------------
    def fit(self, examples: Dataset | None, recipe: Recipe | None = None) -> MediaClassifier:
        """Make and fit the classifier; say how that goes, and what is odd about it.

        Parameters
        ----------
        examples : Dataset or None
        recipe : Recipe, optional
            One of a comparison; unless given that of the job.

        Returns
        -------
        classifier : MediaClassifier
        """
        recipe = self.recipe if recipe is None else recipe
        classifier = recipe.fit(
            examples,
            model=self.meter_of(recipe),
            run_folder=self._books,
            on_generation=self.tell_generation,
        )
        for remark in recipes.remarks(recipe, classifier, examples):
            self.tell(Event(kind="note", text=remark))
        return classifier

    def tell_generation(self, evolution: Evolution) -> None:
        """Say a line after a generation of words."""
        self.tell(Event(kind="line", text=line_of(evolution, evolution.generations[-1])))

    def prepare(self, examples: Dataset | None, recipe: Recipe | None = None) -> Any:
        """Make what says which requests there will be; nothing is asked."""
        recipe = self.recipe if recipe is None else recipe
        return recipe.prepare(examples, model=self.meter_of(recipe))

    def estimate(self, data: Dataset, examples: Dataset | None, **more: Any) -> Estimate:
        """Say what classifying would take; see `showtell.estimate`."""
        model = self.meter_of(self.recipe)
        return recipes.estimate(self.recipe, data, examples=examples, model=model, **more)

    def add_up(self, requests: Iterable[Request], *, answer_tokens: int | None = None) -> Sums:
        """Count and price requests to the model; see `showtell.mllm.estimate.add_up`."""
        meter = self.meter_of(self.recipe)
        name = meter.name if meter is not None else str(self.recipe.model)
        reuse = self.recipe.access.get("reuse", True)
        return add_up(
            requests,
            name=name,
            capabilities=mllm.capabilities_of(name) if meter is None else meter.capabilities,
            cache=mllm.default_cache() if reuse else None,
            endpoint=self.reached().endpoint if meter is None else meter.place,
            answer_tokens=answer_tokens,
        )

    def reached(self) -> Model:
        """Say how the model is reached; see `showtell.recipes.reached`."""
        return recipes.reached(self.recipe, self.meter_of(self.recipe), self._books)

    def to_count(self) -> None:
        """Know the model well enough to count for it; nothing is asked, and no key is needed."""
        found = recipes.model_to_count(self.recipe)
        if found is not None:
            self._take(str(self.recipe.model), found)

    def watched(self, progress: Progress) -> Progress:
        """Pass on progress, and say once that batch jobs are under way: one need not sit by."""
        if not self.recipe.option("jobs") or not self.recipe.option("wait"):
            return progress
        said: list[int] = []

        def report(done: int, total: int, stage: str) -> None:
            if stage == "batch jobs" and done < total and not said:
                said.append(total)
                jobs = "1 batch job" if total == 1 else f"{total:,} batch jobs"
                self.tell(
                    Event(
                        kind="note",
                        text=f"handed in {jobs}, which may take up to a day. Ctrl-C ends the "
                        "waiting, not the jobs; the same command goes on.",
                    )
                )
            progress(done, total, stage)

        return report

    def classify(
        self, classifier: MediaClassifier, data: Dataset, *, progress: Progress = no_progress
    ) -> tuple[Predictions, RunError | RunInterrupt | None]:
        """Classify all images; where a cap or Ctrl-C stops that, give what was answered until then.

        Parameters
        ----------
        classifier : MediaClassifier
        data : Dataset
        progress : callable, optional

        Returns
        -------
        predictions : Predictions
            A row for every image.
        stop : RunError, RunInterrupt or None
            To be raised once the rows are written.
        """
        watched = self.watched(progress)
        return folder.until_stopped(lambda: classifier.classify(data.images, progress=watched))

    def parted_for_sets(self, examples: Dataset | None) -> tuple[Dataset, Dataset]:
        """Part labelled images into those to learn from and those to calibrate sets on.

        Parameters
        ----------
        examples : Dataset or None

        Returns
        -------
        examples, held : Dataset
            Both all of them where the method does not learn.

        Raises
        ------
        InputError
            If there are none.
        """
        if examples is None or not len(examples):
            raise InputError(
                "`sets` are calibrated on labelled images: give some with `examples` DIR, a folder "
                "per label.",
                param=("sets", "examples"),
            )
        if not self.recipe.learns(available=True):
            return examples, examples
        parts = datasets.split_dataset(examples, test_size=0.5, seed=self.recipe.seed)
        text = f"{len(parts.test):,} of {len(examples):,} examples only say how large sets must be"
        self.tell(Event(kind="note", text=f"{text}; the others are learned from."))
        return parts.train, parts.test

    def calibrate_sets(
        self,
        classifier: MediaClassifier,
        held: Dataset,
        coverage: float,
        *,
        progress: Progress = no_progress,
    ) -> CalibratedSets:
        """Calibrate sets of labels, and say where there are too few images for the promise."""
        rule = classify.calibrate_sets(
            classifier, held.images, held.y, coverage=coverage, progress=progress
        )
        if rule.n_calibration < rule.n_needed:
            text = (
                f"A promise of {100 * coverage:g} % needs {rule.n_needed:,} labelled images that "
                f"are not learned from; there are {rule.n_calibration:,}, so every set holds all "
                "labels."
            )
            self.tell(Event(kind="note", text=text))
        return rule

    def measure(
        self,
        classifier: MediaClassifier,
        test: Dataset,
        *,
        name: str | None = None,
        controls: bool = True,
        progress: Progress = no_progress,
    ) -> Record:
        """Classify labelled images and score the answers; see `showtell.evaluate.evaluate`."""
        more = {} if name is None else {"name": name}
        return measuring.evaluate(
            classifier, test, controls=controls, progress=self.watched(progress), **more
        )

    def how(self, about: Mapping[str, Any]) -> str:
        """Say by which method it is decided, and how many examples it learned from.

        Parameters
        ----------
        about : mapping
            Of the classifier, as `facts` and records have it: their "estimator".

        Returns
        -------
        text : str
            Such as "few-shot, learned from 12 examples".
        """
        name = self.recipe.row(examples=bool(about.get("n_support"))).name
        learned = provenance.learned_from(about)
        return name if learned is None else f"{name}, {learned}"

    def facts(self, classifier: MediaClassifier, data: Dataset, seconds: float) -> dict[str, Any]:
        """Say what was run on what, for a page and the run folder."""
        return {
            "name": data.name or self.verb,
            "estimator": provenance.about_estimator(classifier),
            "data": provenance.about_data(data),
            "finished": provenance.now(),
            "seconds": round(seconds, 3),
            **provenance.about_machine(),
        }

    def keep_predictions(
        self, predictions: Predictions, facts: Mapping[str, Any], *, state: str = "finished"
    ) -> None:
        """Fill the run folder with predictions, what they come to, and `facts`.

        Parameters
        ----------
        predictions : Predictions
        facts : mapping
            As `facts` gives them.
        state : {"finished", "stopped"}
        """
        if self.run is None:
            return
        file = f"predictions.{'parquet' if find_spec('pyarrow') is not None else 'csv'}"
        predictions.write(self.run / file, proba=True)
        totals: dict[str, Any] = {"n_images": len(predictions)}
        totals |= {str(k): n for k, n in predictions.counts.items()}
        if "cost_usd" in predictions.columns:
            costs = predictions.columns["cost_usd"]
            totals["cost_usd"] = None if None in costs else str(sum(costs))
            doubt = predictions.in_doubt_usd
            totals["n_requests_in_doubt"] = predictions.n_in_doubt
            totals["in_doubt_usd"] = None if doubt is None else str(doubt)
        kept = {
            "predictions": file,
            "labels": list(predictions.classes),
            "totals": totals,
            "run": dict(facts),
        }
        self.finish(kept, state=state)
