"""From the options of a command to a recipe, and to a job that does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from showtell import datasets, recipes, runs
from showtell.classify.table import (
    AUTO,
    OPTIONS,
    Method,
    automatic,
    find_method,
    methods,
    takers_of,
)
from showtell.cli.flags import option_of, parameter_of
from showtell.cli.output import spent_so_far
from showtell.errors import InputError

if TYPE_CHECKING:
    from showtell.cli.session import Session
    from showtell.datasets import LabelSet
    from showtell.recipes import Contender, Recipe, Way
    from showtell.runs import Job, SavedJob

_WHOLE_OR = {"rotations": "all", "shortlist": "two-step", "images_per_request": "auto"}
"""Options that are a whole number or this word."""
_OF_A_SAVED = frozenset(
    (
        "images", "classifier", "limit", "seed", "image_column", "boxes", "output", "proba",
        "escape_formulas", "report", "run_folder", "json", "config", "quiet", "verbose", "debug",
        "help_all",
    )
)  # fmt: skip
"""What a command may say beside a saved classifier, by the names of the library."""
_BESIDE = ("encoder", "precision", "seed", "threads", "store")


def given_here(ctx: typer.Context, name: str) -> bool:
    """Say whether an option stands on the command line itself."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def given_labels(labels: str | None, labels_file: str | None) -> LabelSet | None:
    """Read the label set of ``--labels`` or ``--labels-file``; None where neither is given."""
    if labels is not None and labels_file is not None:
        raise InputError("Give the labels once: either with --labels or with --labels-file.")
    if labels is None and labels_file is None:
        return None
    label_set = datasets.parse_labels(labels, labels_file=labels_file)
    if labels_file is not None and Path(labels_file).name == "labels.json":
        # beside class folders the other names are those of folders, which say nothing to an encoder
        label_set = replace(label_set, aliases={})
    return label_set


def names_in(label_set: LabelSet | None) -> list[str] | None:
    """List the labels that were named, for a run folder."""
    return None if label_set is None else list(label_set.labels)


def options_of(ctx: typer.Context) -> dict[str, Any]:
    """Read what methods and models are told by a command, by the names of the library."""
    found = {}
    for parameter, value in ctx.params.items():
        name = option_of(parameter)
        if name in OPTIONS or name in recipes.ACCESS:
            found[name] = _as_argument(name, value)
    return found


def _as_argument(name: str, value: Any) -> Any:
    """Turn what was typed into an argument."""
    if name in _WHOLE_OR:
        return _whole_or(name, value, _WHOLE_OR[name])
    if name == "wait":
        return not value
    if name == "confidence" and value == "none":
        return None
    if name == "max_side" and value == 0:
        return None
    return OPTIONS[name] if value is None and name in OPTIONS else value


def _whole_or(name: str, value: Any, word: str) -> int | str | None:
    if value is None or value == word:
        return None if value is None else word
    try:
        return int(value)
    except ValueError:
        raise InputError(
            f"`{name}` is a whole number or {word!r}; got {value!r}.", param=name
        ) from None


def recipe_of(ctx: typer.Context, *, shows: bool, labels: LabelSet | None = None) -> Recipe:
    """Read the recipe of a command, and settle which of --method and --model counts.

    What stands on the command line wins over settings: ``--method linear`` over a model of the
    environment, ``--model`` over an encoder's method of showtell.toml. Settings that a method has
    no use for are passed over.

    Parameters
    ----------
    ctx : typer.Context
    shows : bool
        Whether there are examples to show, so that "auto" of a model is in-context.
    labels : LabelSet, optional

    Returns
    -------
    recipe : Recipe

    Raises
    ------
    InputError
        If options stand on the command line that do not go together.
    """
    method, model = ctx.params.get("method", AUTO), ctx.params.get("model")
    if ctx.params.get("classifier") is not None:
        told = [name for name in ("labels", "labels_file") if given_here(ctx, name)]
        if told:
            raise InputError(
                f"`{told[0]}`: a saved classifier has its own labels. Leave out `classifier`, or "
                f"`{told[0]}`.",
                param=(told[0], "classifier"),
            )
        if method == AUTO:
            method = "student" if model is None else "cascade"
    if method != AUTO and model is not None and not find_method(method).asks:
        if given_here(ctx, "model") and not given_here(ctx, "method"):
            method = AUTO
        elif given_here(ctx, "method") and not given_here(ctx, "model"):
            model = None
    if model is not None and method == AUTO:
        shots = {"shots": ctx.params.get("shots")}
        method = recipes.Recipe(model=model, options=shots).row(examples=shows).name
    return to_recipe(
        ctx, options_of(ctx), method=method, model=model, encoder=ctx.params.get("encoder", "mini"),
        labels=labels,
    )  # fmt: skip


def to_recipe(
    ctx: typer.Context,
    values: Mapping[str, Any],
    *,
    method: str,
    model: str | None,
    encoder: str,
    labels: LabelSet | None = None,
    refuses: bool = True,
) -> Recipe:
    """Give a method what it takes of the options; refuse others that were typed.

    Parameters
    ----------
    ctx : typer.Context
    values : mapping
        As `options_of` reads them.
    method : str
    model : str or None
    encoder : str
    labels : LabelSet, optional
    refuses : bool, default=True
        Whether what the method does not take is refused; otherwise others may take it.
    """
    params = ctx.params
    reached = model is not None and not recipes.is_local(model)
    taken = _taken_by(method, values)
    recipe = recipes.Recipe(
        method=method,
        labels=labels,
        encoder=encoder,
        precision=params.get("precision", "auto"),
        model=model,
        options={name: value for name, value in values.items() if name in taken},
        access={
            name: value for name, value in values.items() if name in recipes.ACCESS and reached
        },
        seed=params.get("seed", 0),
        threads=params.get("threads"),
        store=params.get("store", True),
    )
    if refuses:
        free = {*taken, *(recipes.ACCESS if reached else ()), *(("max_cost",) if model else ())}
        idle = sorted(name for name in values if name not in free and _typed(ctx, name))
        if idle:
            raise _refusal(idle, recipe)
    return recipe


def _typed(ctx: typer.Context, name: str) -> bool:
    return given_here(ctx, parameter_of(name))


def _taken_by(method: str, values: Mapping[str, Any]) -> set[str]:
    """Name the options that a method has a use for; "auto" may become one of two."""
    if method == AUTO:
        kinds = (automatic("encoder"), automatic("encoder, examples"))
        return {name for row in kinds for name in row.takes}
    row = find_method(method)
    if values.get("shots") != 0:
        return set(row.takes)
    found = set((find_method(row.without_shots) if row.without_shots else row).takes)
    return found | {"shots"}  # none is what all others show


def _refusal(idle: Sequence[str], recipe: Recipe) -> InputError:
    """Say why options are out of place."""
    said = ", ".join(f"`{name}`" for name in idle)
    verb = "is" if len(idle) == 1 else "are"
    if recipes.is_local(recipe.model):
        own = ", ".join(f"`{name}`" for name in recipe.row().takes)
        return InputError(
            f"{said} {verb} about models behind a server; {recipe.model} runs in this process. It "
            f"goes with {own}.",
            param=(*idle, *recipe.row().takes),
        )
    about = [name for name in idle if name in recipes.ACCESS or _only_asked(name)]
    if recipe.model is None and about:
        return idle_refusal(about)
    if recipe.method == AUTO:
        return InputError(
            f"`{idle[0]}` belongs to `method` {', '.join(takers_of(idle[0]))}; name one of them.",
            param=(idle[0], "method"),
        )
    row = find_method(recipe.method)
    return InputError(recipes.not_taken(idle, row), param=(*idle, *row.takes))


def refuse_untaken(
    ctx: typer.Context, values: Mapping[str, Any], rows: Sequence[Method], models: Sequence[str]
) -> None:
    """Refuse options that were typed and that none of several methods has a use for.

    Parameters
    ----------
    ctx : typer.Context
    values : mapping
        As `options_of` reads them.
    rows : sequence of Method
    models : sequence of str
        All that are asked.

    Raises
    ------
    InputError
        It names them.
    """
    free = {name for row in rows for name in row.takes} | {"shots"}
    if not all(map(recipes.is_local, models)):
        free |= set(recipes.ACCESS)
    elif models:
        free.add("max_cost")
    typed = [name for name in (*values, "base_url") if _typed(ctx, name)]
    idle = sorted(name for name in typed if name not in free)
    if not idle:
        return
    if models and all(map(recipes.is_local, models)):
        raise _refusal(idle, recipes.Recipe(model=models[0]))
    about = [name for name in idle if name in recipes.ACCESS or _only_asked(name)]
    if about and not models:
        raise idle_refusal(about)
    raise InputError(
        f"`{idle[0]}` belongs to {', '.join(takers_of(idle[0]))}; compared are "
        f"{', '.join(row.name for row in rows)}.",
        param=idle[0],
    )


def contenders_of(
    ctx: typer.Context,
    methods: str,
    models: Sequence[str],
    encoders: Sequence[str],
    urls: Sequence[str],
) -> list[Contender]:
    """Read what is to be compared, each with the options that it takes."""
    named = [item.partition("@")[0].strip() for item in recipes.listed([methods])]
    if not given_here(ctx, "model") and not any(
        name != AUTO and find_method(name).asks for name in named
    ):
        models = []  # one of the settings, which nothing here asks for
    values = options_of(ctx)
    values.pop("base_url", None)
    ways = recipes.ways_of(methods, models, encoders)
    asked = list(dict.fromkeys(way.target for way in ways if way.row.asks))
    refuse_untaken(ctx, values, [way.row for way in ways], asked)

    def recipe_of(way: Way) -> Recipe:
        own = dict(values)
        if way.row.asks and not way.row.local:
            own["base_url"] = recipes.base_url_of(way.target, urls, asked)
        if "shots" not in way.row.takes:
            own.pop("shots", None)
        return to_recipe(
            ctx,
            own,
            method=way.row.name,
            model=way.target if way.row.asks else None,
            encoder=encoders[0] if way.row.asks else way.target,
            refuses=False,
        )

    return recipes.contenders(methods, models, encoders, recipe_of)


def _only_asked(name: str) -> bool:
    """Whether only methods that ask a model have a use for an option."""
    return all(row.asks for row in methods().values() if name in row.takes)


def idle_refusal(names: Sequence[str]) -> InputError:
    """Say that options are about asking, where nothing is to be asked."""
    one = len(names) == 1
    said = ", ".join(f"`{name}`" for name in sorted(names))
    return InputError(
        f"{said} {'is' if one else 'are'} about asking a multimodal LLM: name one with `model` "
        "provider:name (`showtell models` lists them), or leave "
        f"{'it' if one else 'them'} out.",
        param=(*names, "model"),
    )


def refuse_idle(ctx: typer.Context, names: Iterable[str]) -> None:
    """Refuse options about asking that were typed where nothing is to be asked.

    Raises
    ------
    InputError
        It names them.
    """
    idle = sorted(name for name in names if _typed(ctx, name))
    if idle:
        raise idle_refusal(idle)


def the_writer(ctx: typer.Context) -> Recipe:
    """Read the model that is to write, with its limits.

    Raises
    ------
    InputError
        As `writer_of`, and if none is named.
    """
    recipe = writer_of(ctx)
    if recipe is None:
        raise InputError(
            "Which model? Name it with `model` provider:name; `showtell models` lists them, "
            "and `showtell try-server` is one without a key.",
            param="model",
        )
    return recipe


def writer_of(ctx: typer.Context) -> Recipe | None:
    """Read the model that is to write, with its limits; None where none is named.

    Raises
    ------
    InputError
        If it runs in this process, or options about asking were typed without a model.
    """
    about = {*recipes.ACCESS, "prompt_dir"}  # other options of such a verb are its own
    values = {name: value for name, value in options_of(ctx).items() if name in about}
    model = ctx.params["model"]
    if model is None:
        refuse_idle(ctx, values)
        return None
    if recipes.is_local(model):
        raise InputError(
            f"{model} runs in this process and scores labels; it writes nothing. Name a "
            "model behind a server, for example ollama:llama3.2."
        )
    limits = {name: value for name, value in values.items() if name in recipes.ACCESS}
    others = {name: ctx.params[name] for name in _BESIDE if name in ctx.params}
    return recipes.Recipe(model=model, access=limits, **others)


def saved_job(
    session: Session, ctx: typer.Context, folder: str, inputs: Mapping[str, Any]
) -> SavedJob:
    """Set a saved classifier to work; it has been told everything but limits.

    Raises
    ------
    InputError
        If options stand on the command line that it has no use for.
    """
    job = runs.SavedJob(
        folder,
        inputs=inputs,
        access={k: v for k, v in options_of(ctx).items() if k in recipes.ACCESS},
        run=ctx.params["run"],
        tell=session.tell,
    )
    free = {*_OF_A_SAVED, *(recipes.ACCESS if job.recipe.asks else ())}
    idle = [name for name in ctx.params if given_here(ctx, name) and option_of(name) not in free]
    if idle:
        said = ", ".join(f"`{option_of(name)}`" for name in idle)
        raise InputError(
            f"{said}: a saved classifier was told what it needs when it was made, and takes no "
            "more. Leave out `classifier`, or the others.",
            param=(*map(option_of, idle), "classifier"),
        )
    return job


def begin_job(
    session: Session, ctx: typer.Context, job: Job, *, counts: bool = False, claims: bool = True
) -> None:
    """Load the models of a job; connections are closed when the command ends.

    Parameters
    ----------
    session : Session
    ctx : typer.Context
    job : Job
    counts : bool, default=False
        Whether it only says what asking would take: then no key is needed, and nothing is kept.
    claims : bool, default=True
        Whether it takes its run folder.
    """
    ctx.call_on_close(job.close)
    if counts:
        job.to_count()
        return
    if claims:
        job.claim()
    job.open()
    if job.meters:
        from showtell.mllm.call.background import tell_of_waiting

        tell_of_waiting(session.always)
        session.live = lambda: spent_so_far(job.meters)
