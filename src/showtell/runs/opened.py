"""A recipe with its model opened and metered, and the folder that keeps what comes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from showtell import mllm, recipes
from showtell.errors import InputError
from showtell.runs import folder
from showtell.runs.events import Event, Tell, silent
from showtell.runs.meter import Meter
from showtell.runs.requests import deciding

if TYPE_CHECKING:
    from showtell.classify import Predictions
    from showtell.mllm import MLLM, Model
    from showtell.recipes import Recipe

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
class OpenRecipe:
    """A recipe whose model is opened once and metered, with the folder that is kept of it."""

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

        Raises InputError if it holds the run of another request, or files that are no run.
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

        Raises InputError if batch jobs are wanted and there is no run folder.
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
        """Name the host that is about to be asked, and a key that was found; nothing hides it."""
        endpoint = getattr(meter.wrapped, "endpoint", "")
        where = f" at {endpoint}" if endpoint else ""
        found = getattr(meter.wrapped, "key_from", "")
        where += f", with {found}" if found else ""
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

    def reached(self) -> Model:
        """Say how the model is reached; see `showtell.recipes.reached`."""
        return recipes.reached(self.recipe, self.meter_of(self.recipe), self._books)

    def to_count(self) -> None:
        """Know the model well enough to count for it; nothing is asked, and no key is needed."""
        found = recipes.model_to_count(self.recipe)
        if found is not None:
            self._take(str(self.recipe.model), found)

    def keep_predictions(
        self, predictions: Predictions, facts: Mapping[str, Any], *, state: str = "finished"
    ) -> None:
        """Fill the run folder with predictions, what they come to, and `facts`.

        `facts`: as `facts` gives them; `state`, one of {"finished", "stopped"}.
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
