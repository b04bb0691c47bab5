"""From a recipe to a classifier: its arguments, and how it is fitted. No method is named here."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from showtell import datasets, encoders, mllm
from showtell.classify.table import automatic
from showtell.errors import InputError
from showtell.mllm import registry
from showtell.records.reading import TEXT_BYTES, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from showtell.classify.evolving.evolve import EvolutionPlan
    from showtell.classify.evolving.record import Evolution
    from showtell.classify.table import Method
    from showtell.datasets import Dataset
    from showtell.mllm import MLLM, Model, Request
    from showtell.recipes.recipe import Recipe

_OF_THE_MODEL = ("jobs", "wait")  # options that are arguments of `Model`


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Stands for a classifier in an estimate where what costs is to fit it, not to use it."""

    model_: str
    plan: EvolutionPlan

    @property
    def answer_tokens(self) -> int:
        """Of one answer, about."""
        return self.plan.output_tokens

    def requests(self, _images: object) -> Sequence[Request]:
        """Give all that is asked, however many images there are."""
        return self.plan.requests


def build(
    recipe: Recipe,
    examples: Dataset | None,
    *,
    model: MLLM | None = None,
    run_folder: str | PathLike[str] | None = None,
    asks: bool = True,
) -> Any:
    """Make the classifier of a recipe, not fitted; see `Recipe.build`."""
    has_examples = examples is not None and len(examples) > 0
    recipe = recipe.settled(examples=has_examples)
    row = recipe.row(examples=has_examples)
    if row.learns == "always" and asks and not has_examples:
        raise InputError(
            f"Method {row.name!r} learns from examples: show some with `examples` DIR, a folder "
            "per label with a few pictures each, or use `method` "
            f"{automatic('model' if row.asks else 'encoder').name}.",
            param=("examples", "method"),
        )
    arguments: dict[str, Any] = dict(row.fixed)
    for name, value in recipe.options.items():
        if name in _OF_THE_MODEL or (name == "n_calibration" and row.calibrated):
            continue
        if name in row.takes:
            arguments[row.named.get(name, name)] = value
    if recipe.calibrates and (asks or not row.calibrated):
        arguments |= row.calibrated or {"calibrate": True}
    if "templates" in arguments:
        arguments["templates"] = _templates(arguments["templates"])
    if not row.saved:
        arguments |= _words(recipe, row, examples)
        arguments |= _machinery(recipe, row)
    if row.asks:
        here = recipe.model if row.local else reached(recipe, model, run_folder)
        arguments["model"] = here
    return row.load()(**arguments)


def fit(
    recipe: Recipe,
    examples: Dataset | None,
    *,
    model: MLLM | None = None,
    run_folder: str | PathLike[str] | None = None,
    on_generation: Callable[[Evolution], None] | None = None,
) -> Any:
    """Make the classifier of a recipe and fit it; see `Recipe.fit`."""
    clf = build(recipe, examples, model=model, run_folder=run_folder)
    if recipe.row().saved:
        return clf
    shown = _shown(recipe, examples)
    if shown is None:
        return clf.fit()
    more: dict[str, Any] = {}
    if on_generation is not None and "on_generation" in inspect.signature(clf.fit).parameters:
        more["on_generation"] = on_generation
    return clf.fit(shown.images, shown.y, **more)


def prepare(recipe: Recipe, examples: Dataset | None, *, model: MLLM | None = None) -> Any:
    """Make what can tell its requests, without asking; see `Recipe.prepare`."""
    if model is None:
        model = model_to_count(recipe)
    clf = build(recipe, examples, model=model, asks=False)
    if hasattr(clf, "plan"):
        return Planned(model_=_name_of(recipe, model), plan=clf.plan())
    if recipe.row().saved:
        return clf
    ready = getattr(clf, "prepare", clf.fit)
    row = recipe.row(examples=examples is not None and len(examples) > 0)
    shown = None if row.calibrated else _shown(recipe, examples)
    return ready() if shown is None else ready(shown.images, shown.y)


def _name_of(recipe: Recipe, model: MLLM | None) -> str:
    assert recipe.model is not None
    return recipe.model if model is None else model.name


def _shown(recipe: Recipe, examples: Dataset | None) -> Dataset | None:
    """Give the labelled images that `fit` is called with."""
    has_examples = examples is not None and len(examples) > 0
    row = recipe.row(examples=has_examples)
    if row.learns == "always":
        return examples
    if row.learns == "never":
        return None
    if recipe.calibrates and not has_examples:
        raise InputError(
            "`n_calibration` looks at labelled images: give some with `examples` DIR.",
            param=("n_calibration", "examples"),
        )
    looks = any(
        name in recipe.options and value in (None, recipe.options[name])
        for name, value in row.examples_for.items()
    )
    if examples is None or not has_examples or not looks:
        return None
    n = recipe.option("n_calibration")
    if row.calibrated and n < len(examples):
        return datasets.limit_dataset(examples, n, recipe.seed)
    return examples


def _words(recipe: Recipe, row: Method, examples: Dataset | None) -> dict[str, Any]:
    """Collect what the class is told of the labels."""
    known = recipe.label_set
    if known is None:
        labels = list(examples.labels) if examples is not None else []
        if not labels and "descriptions" in row.needs:
            return {}  # those of the file
        if not labels:
            raise InputError(
                'Which labels? Name them with `labels` "cat,dog" or `labels_file` FILE, or show '
                "some pictures of each with `examples` DIR (a folder per label).",
                param=("labels", "labels_file", "examples"),
            )
        return {"labels": labels}
    arguments: dict[str, Any] = {"labels": list(known.labels)}
    if "described names" in row.told:
        arguments["labels"] = {name: known.descriptions.get(name) for name in known.labels}
    if "descriptions" in row.told and known.descriptions:
        arguments["descriptions"] = known.descriptions
    if "aliases" in row.told and known.aliases:
        arguments["aliases"] = known.aliases
    return arguments


def _machinery(recipe: Recipe, row: Method) -> dict[str, Any]:
    """Collect the encoder and what else is the same for all methods."""
    arguments: dict[str, Any] = {"random_state": recipe.seed}
    if row.local:
        arguments["threads"] = recipe.threads
    looks = {"shortlist", "selection"} & set(row.takes)
    if "encoder" in row.needs or looks:
        arguments["encoder"] = encoders.load_encoder(
            recipe.encoder,
            precision=recipe.precision,  # type: ignore[arg-type]
            threads=recipe.threads,
        )
        arguments["store"] = "default" if recipe.store else None
    return arguments


def reached(
    recipe: Recipe, model: MLLM | None = None, run_folder: str | PathLike[str] | None = None
) -> Model:
    """Say how a model is reached, and within what limits: the one place that does.

    Parameters
    ----------
    recipe : Recipe
        Of a model behind a server.
    model : MLLM, optional
        Asked instead of the one that is named.
    run_folder : path, optional

    Returns
    -------
    model : Model
    """
    limits = dict(recipe.access)
    reuse = limits.pop("reuse", True)
    limits |= {name: value for name, value in recipe.options.items() if name in _OF_THE_MODEL}
    return mllm.Model(
        model or str(recipe.model),
        **limits,
        cache=mllm.default_cache() if reuse else None,
        run_folder=run_folder,
    )


def model_to_count(recipe: Recipe) -> MLLM | None:
    """Check the name of a model that is to be counted for; read it, where it is a Modelfile.

    Parameters
    ----------
    recipe : Recipe

    Returns
    -------
    model : MLLM or None
        None where the name says enough; no key is needed then.

    Raises
    ------
    UnknownNameError
        If there is no such provider.
    """
    name = str(recipe.model)
    if not recipe.asks:
        return None
    if name.startswith("modelfile:") or Path(name).is_file():
        return mllm.load_mllm(name, base_url=recipe.access.get("base_url"))
    provider, colon, _ = name.partition(":")
    if colon:
        registry.find_key(provider.strip().lower())
    return None


def _templates(value: Any) -> Any:
    """Read a file with one template per line; names and templates are given as they are."""
    if not isinstance(value, str) or "{" in value or not Path(value).is_file():
        return value
    lines = read_text(value, "file of templates", most=TEXT_BYTES, error=InputError).splitlines()
    return tuple(line.strip() for line in lines if line.strip())
