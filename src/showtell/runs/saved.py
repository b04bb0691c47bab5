"""A saved classifier as a job: nothing is learned, and it is reached as the caller says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from showtell import classify
from showtell.classify.table import methods
from showtell.errors import InputError
from showtell.evaluate import provenance
from showtell.recipes import Recipe
from showtell.records.saved import read_saved
from showtell.runs.job import Job

if TYPE_CHECKING:
    from pathlib import Path

    from showtell.classify import MediaClassifier
    from showtell.runs.events import Tell


class SavedJob(Job):
    """A classifier that `save` wrote, at work.

    Parameters
    ----------
    folder : str
        Where it lies.
    inputs : mapping
        What else decides about the answers.
    access : mapping
        How its model is reached and within what limits, by the names of `showtell.recipes.ACCESS`.
        What the folder says of servers and limits does not count: it may come from elsewhere.
    run : path, optional
    tell : callable

    Raises
    ------
    SavedFolderError
        If it is damaged, incomplete or not ours.
    InputError
        If it asks in a way that a job cannot count.
    """

    def __init__(
        self,
        folder: str,
        *,
        inputs: Mapping[str, Any],
        access: Mapping[str, Any],
        run: Path | None,
        tell: Tell,
    ) -> None:
        self._saved = saved = read_saved(folder)
        recipe = Recipe()
        rows = [row for row in methods().values() if row.factory.endswith(f":{saved.kind}")]
        if not rows and saved.kind != "DistilledClassifier":
            raise InputError(
                f"{saved.folder} holds a {saved.kind}, which no command sets to work: use it in "
                "Python, with showtell.load_classifier."
            )
        if rows and rows[0].asks and not rows[0].local and not rows[0].once:
            name = str(saved.record["model"]["name"])
            recipe = Recipe(method=rows[0].name, model=name, access=access)
        about = {"classifier": [provenance.shown_path(folder), saved.record["sha256"]]}
        super().__init__(recipe=recipe, inputs={**inputs, **about}, run=run, tell=tell)

    def load(self) -> MediaClassifier:
        """Read the classifier; one that asks does so within the limits of this job."""
        model = self.reached() if self.recipe.asks else None
        found: MediaClassifier = classify.load_classifier(self._saved.folder, model=model)
        return found

    def how(self, about: Mapping[str, Any]) -> str:
        """Say which classifier it is."""
        learned = provenance.learned_from(about)
        name = f"{self._saved.kind} of {self._saved.folder}"
        return name if learned is None else f"{name}, {learned}"
