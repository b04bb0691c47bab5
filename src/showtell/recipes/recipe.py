"""A recipe: which method, with what, told what; plain data that becomes a classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from showtell import datasets
from showtell.checks import no_secret
from showtell.classify.table import (
    AUTO,
    OPTIONS,
    Method,
    automatic,
    find_method,
    methods,
    takers_of,
)
from showtell.errors import InputError, UnknownNameError
from showtell.recipes import building
from showtell.words import listed

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from showtell.classify.base import MediaClassifier
    from showtell.classify.evolving.record import Evolution
    from showtell.datasets import Dataset, LabelSet
    from showtell.mllm import MLLM

_NOTHING: Mapping[str, Any] = MappingProxyType({})

ACCESS: Mapping[str, Any] = MappingProxyType(
    {
        "base_url": None,
        "max_cost": None,
        "max_requests": None,
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "max_concurrency": None,
        "timeout": 120.0,
        "reuse": True,
    }
)
"""How a model behind a server is reached, and within what limits; with the usual values."""

_NEEDED = {
    "descriptions": "`showtell describe` writes one; method 'waffle' needs none.",
    "concepts": "`showtell concepts` writes one.",
    "classifier": "`showtell distill` makes one.",
}


def is_local(model: str | None) -> bool:
    """Say whether the name of a model means one in this process.

    Examples
    --------
    >>> is_local("local-dir:checkpoint"), is_local("ollama:llava"), is_local(None)
    (True, False, False)
    """
    return (model or "").startswith(("local-dir:", "hf-hub:"))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides about answers, except pictures.

    Parameters
    ----------
    method : str, default="auto"
        A method of the table; "auto" goes by whether there is a model, and examples.
    labels : LabelSet, sequence of str or None, default=None
        What the answers may be; None: the labels of the examples.
    encoder : str, default="mini"
    precision : {"auto", "fp32", "int8"}, default="auto"
        Of a hub encoder.
    model : str, optional
        ``"provider:name"``, or ``"hf-hub:..."`` and ``"local-dir:..."`` in this process.
    options : mapping of str to value
        What the method is told, by the names of `showtell.classify.table.OPTIONS`.
    access : mapping of str to value
        How the model is reached and within what limits, by the names of `ACCESS`.
    seed : int, default=0
    threads : int, optional
    store : bool, default=True
        Whether embeddings are kept on disk.

    Raises
    ------
    InputError
        If the parts do not go together: the method does not take an option, needs a model or a
        file that is not given, or does not use a model that is.
    UnknownNameError
        If there is no method, option or limit of a name.

    Examples
    --------
    >>> recipe = Recipe(method="linear", options={"shots": 5})
    >>> recipe.to_dict()
    {'method': 'linear', 'encoder': 'mini', 'options': {'shots': 5}, 'seed': 0}
    >>> Recipe.from_dict(recipe.to_dict()) == recipe
    True
    """

    method: str = AUTO
    labels: LabelSet | Sequence[str] | None = None
    encoder: str = "mini"
    precision: str = "auto"
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    access: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    seed: int = 0
    threads: int | None = None
    store: bool = True

    def __post_init__(self) -> None:
        if self.labels is not None and not isinstance(self.labels, datasets.LabelSet):
            object.__setattr__(self, "labels", datasets.LabelSet(labels=tuple(self.labels)))
        for name, usual, kind in (
            ("options", OPTIONS, "option of a method"),
            ("access", ACCESS, "limit of a model"),
        ):
            object.__setattr__(self, name, _unusual(getattr(self, name), usual, kind))
        if self.method != AUTO:
            find_method(self.method)
        self._check_model()
        self._check_options()

    # -- which method ----------------------------------------------------------------------------
    def row(self, *, examples: bool = False) -> Method:
        """Return the method that it comes to.

        Parameters
        ----------
        examples : bool, default=False
            Whether there are labelled images; decides what "auto" stands for.

        Examples
        --------
        >>> recipe = Recipe(model="openai:gpt-4.1-mini")
        >>> recipe.row().name, recipe.row(examples=True).name
        ('direct', 'in-context')
        """
        shown = self.options.get("shots") != 0
        if self.method != AUTO:
            row = find_method(self.method)
            return find_method(row.without_shots) if row.without_shots and not shown else row
        if self.options.get("classifier") is not None:
            return find_method("student" if self.model is None else "cascade")
        if is_local(self.model):
            return automatic("local model")
        if self.model is not None:
            return automatic("model, examples" if examples and shown else "model")
        return automatic("encoder, examples" if examples and shown else "encoder")

    def settled(self, *, examples: bool = False) -> Recipe:
        """Return the same with the method that "auto" stands for.

        Raises
        ------
        InputError
            If that method does not take an option that is given.
        """
        if self.method != AUTO:
            return self
        return replace(self, method=self.row(examples=examples).name)

    @property
    def label_set(self) -> LabelSet | None:
        """The labels with what is known of each."""
        assert self.labels is None or isinstance(self.labels, datasets.LabelSet)
        return self.labels

    @property
    def asks(self) -> bool:
        """Whether a model behind a server is asked."""
        return self.model is not None and not is_local(self.model)

    @property
    def calibrates(self) -> bool:
        """Whether labelled images are asked about, to learn what a confidence is worth."""
        return bool(self.option("n_calibration"))

    def learns(self, *, available: bool) -> bool:
        """Say whether it looks at labelled images; "auto" does where it can.

        Parameters
        ----------
        available : bool
            Whether there are any.
        """
        row = self.row(examples=available)
        return row.learns == "always" or (row.learns != "never" and self.calibrates)

    def option(self, name: str) -> Any:
        """Return what an option says, or its usual value."""
        return self.options.get(name, OPTIONS[name])

    def telling(self, **options: Any) -> Recipe:
        """Return the same with other values of options."""
        return replace(self, options={**self.options, **options})

    def without_limits(self) -> Recipe:
        """Return the same without caps and jobs, for an estimate of all there is to ask."""
        caps, jobs = ("max_cost", "max_requests"), ("jobs", "wait")
        return replace(
            self,
            access={k: v for k, v in self.access.items() if k not in caps},
            options={k: v for k, v in self.options.items() if k not in jobs},
        )

    # -- a classifier ----------------------------------------------------------------------------
    def build(
        self,
        examples: Dataset | None = None,
        *,
        model: MLLM | None = None,
        run_folder: str | PathLike[str] | None = None,
    ) -> MediaClassifier:
        """Make the classifier, not fitted.

        Parameters
        ----------
        examples : Dataset, optional
            Gives the labels where the recipe has none, and decides what "auto" stands for.
        model : MLLM, optional
            Asked instead of loading the one that is named.
        run_folder : path, optional
            Answers are kept there; the same again resumes.

        Raises
        ------
        InputError
            If there are no labels, or examples are needed and there are none.

        Examples
        --------
        >>> Recipe(model="openai:gpt-4.1-mini", labels=["cat", "dog"]).build().labels
        ['cat', 'dog']
        """
        made: MediaClassifier = building.build(self, examples, model=model, run_folder=run_folder)
        return made

    def fit(
        self,
        examples: Dataset | None = None,
        *,
        model: MLLM | None = None,
        run_folder: str | PathLike[str] | None = None,
        on_generation: Callable[[Evolution], None] | None = None,
    ) -> MediaClassifier:
        """Make the classifier and fit it.

        Parameters
        ----------
        examples, model, run_folder
            As for `build`; the labelled images are learned from where the method does that.
        on_generation : callable, optional
            Called after each generation of words that evolve.

        Raises
        ------
        InputError
            As for `build`.
        """
        found: MediaClassifier = building.fit(
            self, examples, model=model, run_folder=run_folder, on_generation=on_generation
        )
        return found

    def prepare(self, examples: Dataset | None = None, *, model: MLLM | None = None) -> Any:
        """Make what an estimate needs: something with ``requests(images)``; nothing is asked."""
        return building.prepare(self.without_limits(), examples, model=model)

    # -- plain data ------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON values; what is as usual is left out."""
        words = self.label_set
        told: dict[str, Any] = {"method": self.method}
        if words is not None:
            told["labels"] = list(words.labels)
            told |= {"descriptions": words.descriptions} if words.descriptions else {}
            told |= {"aliases": words.aliases} if words.aliases else {}
        told["encoder"] = self.encoder
        for name in ("precision", "model", "options", "access", "threads", "store"):
            value = getattr(self, name)
            if value not in (_USUAL[name], {}):
                told[name] = dict(value) if isinstance(value, Mapping) else value
        return {**told, "seed": self.seed}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Recipe:
        """Read what `to_dict` gave.

        Raises
        ------
        InputError
            If there is something that no recipe has, or it does not go together.
        """
        values = dict(told)
        words = {key: values.pop(key, None) for key in ("labels", "descriptions", "aliases")}
        unknown = sorted(set(values) - set(_USUAL))
        if unknown:
            raise UnknownNameError("key of a recipe", unknown[0], (*_USUAL, *words))
        labels = None
        if words["labels"] is not None:
            labels = datasets.LabelSet(
                labels=tuple(words["labels"]),
                descriptions=dict(words["descriptions"] or {}),
                aliases=dict(words["aliases"] or {}),
            )
        return cls(labels=labels, **values)

    # -- what goes together ----------------------------------------------------------------------
    def _check_model(self) -> None:
        """Refuse a method that does not go with there being a model or none."""
        no_secret(model=self.model or "")
        if self.method == AUTO:
            return
        row = find_method(self.method)
        named = f"Method {self.method!r}"
        if self.model is None and row.local:
            raise InputError(
                f"{named} needs a model that runs in this process: name it with `model` "
                "hf-hub:ORG/NAME or `model` local-dir:PATH.",
                param="model",
            )
        if self.model is None and row.asks:
            raise InputError(
                f"{named} asks a multimodal LLM: name one with `model` provider:name, for example "
                "openai:gpt-4.1-mini (`showtell models` lists them; `showtell try-server` is one "
                "without a key), or use a method of encoders such as zero-shot or few-shot.",
                param="model",
            )
        if self.model is None:
            return
        table = methods().values()
        if not row.asks:
            by_model = ", ".join(one.name for one in table if one.asks)
            raise InputError(
                f"`model` asks a multimodal LLM, and method {self.method!r} uses an encoder. With "
                f"`model` go the methods auto, {by_model}; with `encoder` go "
                f"{', '.join(one.name for one in table if not one.asks)}.",
                param=("model", "encoder"),
            )
        if row.local and not is_local(self.model):
            raise InputError(
                f"{named} reads the log-probabilities of a model in this process; {self.model} is "
                "asked through a server. Name one with `model`, hf-hub:ORG/NAME or "
                "local-dir:PATH, or use the methods direct or in-context.",
                param="model",
            )
        if not row.local and is_local(self.model):
            local = " or ".join(one.name for one in table if one.local)
            raise InputError(
                f"{self.model} runs in this process: use `method` {local} (or auto).",
                param=("model", "method"),
            )

    def _check_options(self) -> None:
        """Refuse options that the method has no use for, and name files that it lacks."""
        if self.method == AUTO:
            return
        row = self.row()
        asked = find_method(self.method)
        for name in self.options:
            if name not in row.takes and not (name == "shots" and not self.options[name]):
                raise InputError(not_taken([name], asked), param=(name, *row.takes))
        if not self.option("wait") and not self.option("jobs"):
            raise InputError(
                "`wait` hands in batch jobs and ends: it goes with `jobs`.",
                param=("wait", "jobs"),
            )
        if asked.learns == "always" and self.options.get("shots") == 0 and not asked.without_shots:
            raise InputError(
                f"Method {self.method!r} learns from examples: `shots` is 1 or more, or left out.",
                param="shots",
            )
        for need, where in _NEEDED.items():
            if need in row.needs and self.options.get(need) is None:
                raise InputError(f"Method {self.method!r} needs `{need}` FILE. {where}", param=need)


_USUAL: dict[str, Any] = {
    one.name: {} if one.default is MISSING else one.default
    for one in fields(Recipe)
    if one.name != "labels"
}


def not_taken(names: Iterable[str], row: Method) -> str:
    """Say that a method has no use for options, what it takes, and whose they are."""
    names = list(names)
    said = ", ".join(f"`{name}`" for name in names)
    takes = ", ".join(f"`{name}`" for name in row.takes)
    takers = [f"`{name}` belongs to {', '.join(takers_of(name)) or 'no method'}" for name in names]
    return (
        f"Method {row.name!r} does not take {said}. It takes {takes or 'no options'}. "
        f"{'; '.join(takers)}."
    )


def _unusual(given: Mapping[str, Any], usual: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Keep what is not as usual; refuse names that do not exist."""
    unknown = sorted(set(given) - set(usual))
    if unknown:
        raise UnknownNameError(kind, unknown[0], usual)
    return {name: value for name, value in given.items() if value != usual[name]}


def remarks(recipe: Recipe, classifier: MediaClassifier, examples: Dataset | None) -> list[str]:
    """Say what is odd about a fitted classifier.

    A single label, labels without a description, labels with too few examples.

    Parameters
    ----------
    recipe : Recipe
        What it was made from.
    classifier : MediaClassifier
    examples : Dataset or None
        The labelled images it was made with.

    Returns
    -------
    remarks : list of str
    """
    found = []
    if len(classifier.classes_) == 1:
        only = str(classifier.classes_[0])
        found.append(
            f"There is one label only, so every image gets {only!r}. "
            + (
                'Commas part labels, as in "cat,dog".'
                if ";" in only or "|" in only
                else 'Name what else it may be, for example "something else".'
            )
        )
    described = getattr(classifier, "descriptions_", None)
    if described is not None and not recipe.row(examples=examples is not None).by_chance:
        bare = [label for label in described if not described[label]]
        if bare:
            found.append(
                f"No description for {listed(bare)}: they have the template alone. "
                "Labels must be spelled as in the file."
            )
    rows = getattr(classifier, "support_", None)
    shots = recipe.option("shots")
    if shots and examples is not None and rows is not None:
        given = Counter(examples.y[rows].tolist())
        few = [f"{label} {n}" for label, n in sorted(given.items()) if n < shots]
        if few:
            found.append(
                f"`shots` {shots} is more than some labels have; they give all they "
                f"have: {listed(few)}."
            )
    return found
