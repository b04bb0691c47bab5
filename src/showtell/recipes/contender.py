"""What is compared: methods, each with a model or an encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from showtell.classify.table import AUTO, Method, find_method, methods
from showtell.errors import InputError
from showtell.recipes.recipe import Recipe, is_local


@dataclass(frozen=True, kw_only=True)
class Way:
    """A method, and what it is to use."""

    name: str
    """The method; with ``@`` and what it uses where that alone does not tell."""
    row: Method
    target: str
    """The model it asks, or its encoder."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One of those that are compared."""

    name: str
    recipe: Recipe


def listed(values: Sequence[str] | None) -> list[str]:
    """Take apart what was given several times, or with commas between.

    Examples
    --------
    >>> listed(["openai:a,google:b", "ollama:llava"])
    ['openai:a', 'google:b', 'ollama:llava']
    """
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]


def contenders(
    methods: str, models: Sequence[str], encoders: Sequence[str], recipe_of: Callable[[Way], Recipe]
) -> list[Contender]:
    """Read ``"linear,in-context@openai:gpt-4.1-mini"``: methods with what each is to use.

    Parameters
    ----------
    methods : str
        Between commas; each with every model or every encoder, or with the one behind ``@``.
    models : sequence of str
        What methods that ask use, unless ``@`` says otherwise.
    encoders : sequence of str
        What the other methods use.
    recipe_of : callable
        Gives the recipe of a `Way`.

    Returns
    -------
    contenders : list of Contender
        At least two, all different.

    Raises
    ------
    UnknownNameError
        If a method does not exist.
    InputError
        If a method needs a model and none is given, a model or encoder is used by no method, or
        there are fewer than two different ways.

    Examples
    --------
    >>> found = contenders(
    ...     "zero-shot,direct", ["openai:a", "google:b"], ["mini"],
    ...     lambda way: Recipe(method=way.row.name, model=way.target if way.row.asks else None),
    ... )
    >>> [(one.name, one.recipe.model) for one in found][1:]
    [('direct@openai:a', 'openai:a'), ('direct@google:b', 'google:b')]
    """
    found = ways_of(methods, models, encoders)
    for name in dict.fromkeys(way.row.name for way in found if way.row.once):
        if sum(way.row.name == name for way in found) > 1:
            raise InputError(
                f"Method {name!r} goes with one model in a comparison. Measure each with `showtell "
                f"evaluate --method {name} --run DIR`, and compare the folders."
            )
    return [Contender(name=way.name, recipe=recipe_of(way)) for way in found]


def ways_of(methods: str, models: Sequence[str], encoders: Sequence[str]) -> list[Way]:
    """Pair methods with what they use; see `contenders`."""
    pairs: list[tuple[Method, str]] = []
    for item in listed([methods]):
        pairs += _pairs_of(item, models, encoders)
    used = {target for _, target in pairs}
    idle = [model for model in models if model not in used]
    if idle:
        raise InputError(
            f"No method uses {', '.join(idle)}: got methods {methods!r}. Models behind a server "
            f"are asked by {_names(local=False)}, hf-hub: and local-dir: by {_names(local=True)}. "
            "Add one of them, or leave out `model`.",
            param="model",
        )
    with_ = f" with {', '.join(models)}" if models else ""
    if len(pairs) < 2 or len({(row.name, target) for row, target in pairs}) < len(pairs):
        raise InputError(
            "Comparing needs two or more different methods, models or encoders; got "
            f"methods {methods!r}{with_}."
        )
    times = Counter(row.name for row, _ in pairs)
    return [
        Way(name=row.name if times[row.name] == 1 else f"{row.name}@{one}", row=row, target=one)
        for row, one in pairs
    ]


def _pairs_of(
    item: str, models: Sequence[str], encoders: Sequence[str]
) -> list[tuple[Method, str]]:
    """Read one method, with all that it is to be tried with."""
    name, at, target = item.partition("@")
    name, target = name.strip(), target.strip()
    if name == AUTO:
        raise InputError(f"{AUTO!r} is no method to compare by: name those it chooses from.")
    row = find_method(name)
    if at and not target:
        raise InputError(f"{item!r}: a model or an encoder should follow the @.")
    example = "hf-hub:ORG/NAME" if row.local else "openai:gpt-4.1-mini"
    if target and row.asks and ":" not in target:
        raise InputError(
            f"{item!r}: {name} needs a multimodal LLM, named provider:name, for example "
            f"{name}@{example}."
        )
    targets = list(encoders)
    if row.asks:
        targets = [one for one in models if is_local(one) == row.local]
    if target:
        targets = [target]
    if not targets:
        raise InputError(
            f"Method {name!r} asks a multimodal LLM: name one with `model`, such as {example}, or "
            f"{name}@{example} (`showtell models` lists them; `showtell try-server` is "
            "one without a key).",
            param="model",
        )
    return [(row, one) for one in targets]


def _names(*, local: bool) -> str:
    names = [row.name for row in methods().values() if row.asks and row.local == local]
    return ", ".join(names)


def base_url_of(model: str, urls: Sequence[str], models: Sequence[str]) -> str | None:
    """Find the server of a model: ``URL`` for all, or ``PROVIDER=URL`` for those of a provider.

    Parameters
    ----------
    model : str
        ``"provider:name"``.
    urls : sequence of str
    models : sequence of str
        All that are asked.

    Returns
    -------
    url : str or None

    Raises
    ------
    InputError
        If one URL is given for models of several providers, which do not speak the same.

    Examples
    --------
    >>> urls = ["openai=http://127.0.0.1:1/v1", "google=http://127.0.0.1:2"]
    >>> base_url_of("google:b", urls, ["openai:a", "google:b"])
    'http://127.0.0.1:2'
    """
    provider = model.partition(":")[0].lower()
    own = None
    for url in urls:
        name, equals, rest = url.partition("=")
        if equals and name.replace("-", "").isalnum():
            if name.lower() == provider:
                return rest
            continue
        own = url
    others = {other.partition(":")[0].lower() for other in models}
    if own is not None and len(others) > 1:
        raise InputError(
            f"`base_url` {own} is one server, and the models are of {', '.join(sorted(others))}. "
            f"Say whose it is: `base_url` {provider}={own}, once for each provider.",
            param="base_url",
        )
    return own
