"""Reasons as a job: which images are explained, what is asked for it, and what a page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import showtell.explain as explaining
from showtell import datasets
from showtell._progress import Progress, no_progress
from showtell.errors import InputError
from showtell.runs.events import Event
from showtell.runs.job import Job
from showtell.words import plural

if TYPE_CHECKING:
    from showtell.datasets import Dataset, LabelSet
    from showtell.explain import ConceptOverview, Explanation
    from showtell.mllm.estimate import Sums

_USUAL = 24  # images of a data set, unless it is said how many
_USUAL_BY_CLUES = 2_000  # clues are quick
_MANY_CLUES = 300
_MEASURED = 500  # images that importances are measured on; more would add little but time


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What is explained, and by what was learned from."""

    images: Dataset
    truth: list[str] | None
    support: Dataset | None
    label_set: LabelSet | None


@dataclass(kw_only=True)
class ExplainingJob(Job):
    """Reasons for the labels of images.

    Parameters
    ----------
    parts : sequence of str, optional
        What is found out; unless given what the classifier has.
    limits : mapping, default={}
        ``max_cost`` and ``max_requests``; with either a model is also asked again without each
        demonstration.
    """

    verb: str = "explain"
    parts: Sequence[str] | None = None
    limits: dict[str, Any] = field(default_factory=dict)

    def limited(self, task: Explained, classifier: Any, limit: int | None) -> Explained:
        """Take a sample, of a size that does not keep one waiting unless it was asked for."""
        usual = _USUAL_BY_CLUES if _has(classifier, "changes") else _USUAL
        most = usual if limit is None else limit
        n = len(task.images)
        if n <= most:
            return task
        if limit is None:
            self._note(f"{most} of {n:,} images are explained; `limit` N takes more.")
        images = datasets.limit_dataset(task.images, most, self.recipe.seed)
        truth = task.truth
        if truth is not None:
            same = len(set(truth)) == 1
            truth = truth[:1] * most if same else [str(one) for one in images.y]
        return replace(task, images=images, truth=truth)

    def asks_again(self, classifier: Any) -> bool:
        """Whether a model is to be asked again without each demonstration."""
        if not _has(classifier, "demonstrations"):
            return False
        if self.parts is not None:
            return "demonstrations" in self.parts
        return any(limit is not None for limit in self.limits.values())

    def price(self, classifier: Any, task: Explained) -> Sums:
        """Count and price what leaving out each demonstration takes; nothing is asked.

        Raises
        ------
        InputError
            If the method shows no demonstrations.
        """
        if not _has(classifier, "demonstrations"):
            raise InputError(
                "Only `method` in-context shows demonstrations that could be left out, so there "
                "is nothing to price."
            )
        return self.add_up(explaining.leave_one_out_requests(classifier, task.images.images))

    def explain(
        self,
        classifier: Any,
        task: Explained,
        *,
        most: int,
        grid: int,
        progress: Progress = no_progress,
    ) -> list[Explanation]:
        """Find reasons; see `showtell.explain.explain`."""
        n = len(task.images)
        if (
            self.parts is None
            and _has(classifier, "changes")
            and not explaining.changes_are_quick(classifier, n)
        ):
            self._note(
                f"What would change an answer is not looked for: {plural(n, 'image')} and "
                f"{plural(len(classifier.selected_), 'clue')} would take long. "
                "`parts` chances,clues,changes looks for it."
            )
        shown = getattr(classifier, "demonstrations_", ())  # then those are what it knows
        return explaining.explain(
            classifier,
            task.images.images,
            y=task.truth,
            examples=task.support if len(task.support or ()) and not shown else None,
            parts="auto" if self.parts is None else self.parts,  # type: ignore[arg-type]  # checked
            n_most=most,
            grid=grid,
            progress=progress,
            **(self.limits if self.asks_again(classifier) else {}),
        )

    def overview(
        self, classifier: Any, task: Explained, found: Sequence[Explanation]
    ) -> ConceptOverview | None:
        """Measure what a classifier by clues goes by, for the page; None for others."""
        if not _has(classifier, "changes"):
            return None
        n = len(classifier.selected_)
        self._note(
            f"Measuring what {plural(n, 'clue')} {'is' if n == 1 else 'are'} worth, for all labels "
            f"and for each{'; so many take a while' if n > _MANY_CLUES else ''}."
        )
        usable = [i for i, one in enumerate(found) if one.status != "error"]
        usable = usable[:: -(-len(usable) // _MEASURED) or 1]
        labels = {str(one) for one in classifier.classes_.tolist()}
        truth = task.truth
        if truth is None or {truth[i] for i in usable} != labels:
            return explaining.concept_overview(classifier)
        images = [task.images.images[i] for i in usable]
        return explaining.concept_overview(classifier, images, [truth[i] for i in usable])

    def _note(self, text: str) -> None:
        self.tell(Event(kind="note", text=text))


def _has(classifier: Any, part: explaining.PartName) -> bool:
    """Whether a classifier has a part of an explanation to give."""
    return part in explaining.parts_of(classifier, asks=True)
