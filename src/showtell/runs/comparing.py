"""A comparison as a job: contenders measured one after another, each kept as it is finished."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import showtell.evaluate as measuring
from showtell import recipes
from showtell._progress import Progress
from showtell.errors import InputError
from showtell.evaluate import folder as files
from showtell.runs.events import Event
from showtell.runs.job import Job
from showtell.runs.requests import deciding

if TYPE_CHECKING:
    from showtell.datasets import Dataset, LabelSet
    from showtell.evaluate import Comparison, Record
    from showtell.recipes import Contender, Estimate, Recipe

_RECORDS = "records"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What asking for a contender would take."""

    name: str
    n_requests: int
    input_tokens: int | None
    output_tokens: int
    cost_usd: Decimal | None
    """Still to pay; None: not known."""
    n_kept: int = field(repr=False)
    """Requests that were answered before."""


@dataclass(kw_only=True)
class ComparingJob(Job):
    """Contenders that are measured on the same images; caps hold for all of them together.

    Parameters
    ----------
    contenders : sequence of Contender
    """

    contenders: Sequence[Contender] = ()

    def _of_recipe(self) -> dict[str, Any]:
        ways = [{"name": one.name, "recipe": deciding(one.recipe)} for one in self.contenders]
        return {"ways": ways}

    def _recipes(self) -> Sequence[Recipe]:
        return [one.recipe for one in self.contenders]

    def told(self, labels: LabelSet) -> None:
        """Tell all contenders the labels."""
        self.contenders = [
            replace(one, recipe=replace(one.recipe, labels=labels)) for one in self.contenders
        ]

    def expected(
        self, test: Dataset, examples: Dataset | None, *, max_cost: str | None = None
    ) -> list[Expected]:
        """Say what each contender that asks would take, before the first of them asks.

        Returns
        -------
        expected : list of Expected
            Without those that a run folder has finished.

        Raises
        ------
        InputError
            If a price is not known, so that a cap cannot be kept.
        """
        found = []
        for number, one in enumerate(self.contenders):
            if not one.recipe.asks or self._is_kept(number):
                continue
            meter = self.meter_of(one.recipe)
            estimate: Estimate = recipes.estimate(
                one.recipe, test, examples=examples, model=meter, jobs=False
            )
            sums = estimate.sums
            if max_cost is not None and sums.cost_usd_to_pay is None:
                raise InputError(
                    f"The price of {one.recipe.model} is not known, so `max_cost` cannot be kept. "
                    "Cap `max_requests` instead, or leave that model out.",
                    param=("max_cost", "max_requests"),
                )
            found.append(
                Expected(
                    name=one.name,
                    n_requests=sums.n_requests - sums.n_requests_kept,
                    input_tokens=sums.input_tokens,
                    output_tokens=sums.output_tokens,
                    cost_usd=sums.cost_usd_to_pay,
                    n_kept=sums.n_requests_kept,
                )
            )
        return found

    def measure_all(
        self,
        test: Dataset,
        examples: Dataset | None,
        *,
        controls: bool,
        progress: Callable[[], AbstractContextManager[Progress]],
    ) -> list[Record]:
        """Measure each contender; what an earlier process has finished is taken from the folder.

        Parameters
        ----------
        test, examples : Dataset
        controls : bool
        progress : callable
            Gives a context in which progress is shown.
        """
        found: list[Record] = []
        for number, one in enumerate(self.contenders):
            kept = self._kept(number, test)
            if kept is not None:
                self.tell(Event(kind="detail", text=f"{one.name} is finished."))
                found.append(kept)
                continue
            classifier = self.fit(examples, one.recipe)
            with progress() as watched:
                record = self.measure(
                    classifier, test, name=one.name, controls=controls, progress=watched
                )
            if self.run is not None:
                record.save(self._folder(number), report=False)
            found.append(record)
        return found

    def keep(self, comparison: Comparison) -> None:
        """Write the final run.json, with what came of the comparison."""
        folders = [self._folder(number).name for number in range(len(self.contenders))]
        self.finish({"comparison": comparison.to_dict(), _RECORDS: folders})

    def _kept(self, number: int, test: Dataset) -> Record | None:
        """Read the record of a contender that is finished."""
        if not self._is_kept(number):
            return None
        record = measuring.Record.load(self._folder(number))
        if "request" in record.predictions.columns.get("reason", ()):
            return None  # something was not asked about
        media = test.images
        return replace(record, media=media if len(media) == len(record) else None)

    def _folder(self, number: int) -> Path:
        """Name the folder of a record, so that a person finds it."""
        assert self.run is not None
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", self.contenders[number].name).strip("-")
        return self.run / _RECORDS / f"{number + 1:02d}-{name[:60]}"

    def _is_kept(self, number: int) -> bool:
        return self.run is not None and (self._folder(number) / "run.json").is_file()


def total_of(expected: Sequence[Expected]) -> Decimal | None:
    """Add up what is to pay; None where a price is not known."""
    costs = [one.cost_usd for one in expected]
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None


def kept_records(folders: Sequence[str]) -> list[Record]:
    """Load run folders; one of a comparison stands for all that it compared.

    Parameters
    ----------
    folders : sequence of str

    Returns
    -------
    records : list of Record

    Raises
    ------
    InputError
        If they hold fewer than two records.
    """
    found: list[str | Path] = []
    for name in folders:
        place = Path(name)
        saved = files.read_json(place / "run.json") if (place / "run.json").exists() else {}
        names = saved.get(_RECORDS)
        if isinstance(names, list):
            found += [place / _RECORDS / Path(str(one)).name for one in names]
        else:
            found.append(name)
    if len(found) < 2:
        raise InputError(
            "Comparing needs --methods zero-shot,prototype,... with one DATA, or two or more run "
            "folders made by `showtell evaluate --run DIR`."
        )
    return [measuring.Record.load(folder) for folder in found]
