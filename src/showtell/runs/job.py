"""A job: recipes, what they are for, and where it is kept. The command line is thin over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import showtell.evaluate as measuring
from showtell import classify, datasets, mllm, recipes
from showtell._progress import Progress, no_progress
from showtell.classify.stopped import nothing_asked
from showtell.errors import InputError, RunError, RunInterrupt
from showtell.evaluate import provenance
from showtell.media import media_name
from showtell.mllm.estimate import Sums, add_up
from showtell.runs import folder
from showtell.runs.events import Event, line_of
from showtell.runs.opened import OpenRecipe

if TYPE_CHECKING:
    from showtell.classify import CalibratedSets, Evolution, MediaClassifier, Predictions
    from showtell.datasets import Dataset
    from showtell.evaluate import Record
    from showtell.mllm import Model, Request
    from showtell.recipes import Estimate, Recipe


@dataclass(kw_only=True)
class Job(OpenRecipe):
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

    # -- its work ----------------------------------------------------------------------------------
    def fit(self, examples: Dataset | None, recipe: Recipe | None = None) -> MediaClassifier:
        """Make and fit the classifier; say how that goes, and what is odd about it.

        Parameters
        ----------
        examples : Dataset or None
        recipe : Recipe, optional
            One of a comparison; unless given that of the job.
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

        Returns
        -------
        predictions : Predictions
            A row for every image.
        stop : RunError, RunInterrupt or None
            To be raised once the rows are written.
        """
        watched = self.watched(progress)
        return folder.until_stopped(lambda: classifier.classify(data.images, progress=watched))

    def nothing_asked(self, data: Dataset, stop: RunError | KeyboardInterrupt) -> Predictions:
        """Give every image the row that says what ended the run before it was looked at."""
        labels = data.labels if self.recipe.labels is None else self.recipe.labels
        classes = labels.labels if isinstance(labels, datasets.LabelSet) else labels
        return nothing_asked([media_name(image) for image in data.images], classes, stop)

    def parted_for_sets(self, examples: Dataset | None) -> tuple[Dataset, Dataset]:
        """Part labelled images into those to learn from and those to calibrate sets on.

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


@dataclass(kw_only=True)
class WritingJob(Job):
    """A job whose recipe only names the model; what decides about the texts is in its inputs."""

    def _of_recipe(self) -> dict[str, Any]:
        return {}

    @property
    def access(self) -> Model:
        """How the model is reached, and within what limits."""
        return self.reached()
