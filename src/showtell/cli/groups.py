"""Options that several verbs share in groups, each group defined once.

A verb takes a group as one parameter; `grouped` shows its fields to typer as options.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, TypeGuard, get_type_hints

from showtell.cli import options as o


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """What to look for."""

    labels: o.Labels = None
    labels_file: o.LabelsFile = None
    examples: o.Examples = None


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """By which arithmetic and which words an encoder decides."""

    precision: o.Precision = "auto"
    templates: o.Templates = "default"
    descriptions: o.Descriptions = None
    domain: o.Domain = None
    concepts: o.Concepts = None


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which multimodal LLM."""

    model: o.Model = None
    base_url: o.BaseUrl = None


@dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """What may be spent."""

    max_cost: o.MaxCost = None
    max_requests: o.MaxRequests = None


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """What the model is asked, and what is made of its answers."""

    anonymise: o.Anonymise = False
    selection: o.Selection = "balanced"
    role: o.Role = None
    confidence_from: o.ConfidenceFrom = "auto"
    n_samples: o.NSamples = 1
    rotations: o.Rotations = "1"
    debias: o.Debias = None
    calibrate: o.Calibrate = 0
    shortlist: o.Shortlist = None
    score: o.Score = "sum"
    question: o.Question = None
    images_per_request: o.ImagesPerRequest = "auto"
    max_side: o.MaxSide = 768
    temperature: o.Temperature = None


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """How requests are sent, and what is kept of their answers."""

    timeout: o.Timeout = 120.0
    rpm: o.RequestsPerMinute = None
    tpm: o.TokensPerMinute = None
    max_concurrency: o.MaxConcurrency = None
    prompt_dir: o.PromptDir = None
    reuse: o.Reuse = True


@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """Which multimodal LLM is asked what, how, and for how much."""

    called: ModelOptions
    caps: BudgetOptions
    questions: PromptOptions
    sending: RequestOptions


@dataclass(frozen=True, kw_only=True)
class WriterOptions:
    """Which language model writes, for how much, and by which prompts."""

    called: ModelOptions
    caps: BudgetOptions
    sending: RequestOptions
    copy_prompts: o.CopyPrompts = None


@dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    """Which columns of a table say what."""

    image_column: o.ImageColumn = None
    label_column: o.LabelColumn = None
    split_column: o.SplitColumn = None
    group_column: o.GroupColumn = None


@dataclass(frozen=True, kw_only=True)
class LocalOptions:
    """How an encoder on this machine computes."""

    threads: o.Threads = None
    store: o.Store = True


@dataclass(frozen=True, kw_only=True)
class TalkOptions:
    """How much is said, and by which settings; every verb has them."""

    config: o.Config = None
    quiet: o.Quiet = False
    verbose: o.Verbose = False
    debug: o.Debug = False
    help_all: o.HelpAll = False


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """Let a function have groups of options as parameters.

    Parameters
    ----------
    verb : callable
        A function for typer. Parameters whose annotation is a dataclass are groups, and so are
        fields of these.

    Returns
    -------
    verb : callable
        The same with the fields of its groups, and of `TalkOptions`, as parameters.

    Examples
    --------
    >>> def verb(limit: o.Limit = None, *, caps: BudgetOptions) -> None:
    ...     print(limit, caps.max_cost)
    >>> list(inspect.signature(grouped(verb)).parameters)[:4]
    ['limit', 'max_cost', 'max_requests', 'config']
    >>> grouped(verb)(limit=3, max_cost="1.50", max_requests=None)
    3 1.50
    """
    hints = get_type_hints(verb, include_extras=True)
    groups: dict[str, Any] = {}
    shown: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(verb).parameters.items():
        kind = hints[name]
        if _is_group(kind):
            groups[name] = kind
            shown += _options_of(kind)
        else:
            keyword = inspect.Parameter.KEYWORD_ONLY
            shown.append(parameter.replace(kind=keyword, annotation=kind))

    own = {parameter.name for parameter in shown}
    talk = [p for p in _options_of(TalkOptions) if p.name not in own]
    shown += talk

    @functools.wraps(verb)
    def run(**given: Any) -> None:
        for parameter in talk:  # `begin` looks at them
            given.pop(parameter.name, None)
        made = {name: _made(group, given) for name, group in groups.items()}
        verb(**given, **made)

    described: Any = run
    described.__signature__ = inspect.Signature(shown)
    described.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return run


def _is_group(kind: Any) -> TypeGuard[type]:
    return isinstance(kind, type) and is_dataclass(kind)


@functools.cache
def _options_of(group: Any) -> tuple[inspect.Parameter, ...]:
    found: list[inspect.Parameter] = []
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        kind = hints[field.name]
        if _is_group(kind):
            found += _options_of(kind)
            continue
        default = field.default_factory() if callable(field.default_factory) else field.default
        found.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if default is MISSING else default,
                annotation=kind,
            )
        )
    return tuple(found)


def _made(group: Any, given: dict[str, Any]) -> Any:
    """Make a group of what was given, and take that away."""
    hints = get_type_hints(group, include_extras=True)
    values = {
        name: _made(hints[name], given) if _is_group(hints[name]) else given.pop(name)
        for name in (field.name for field in fields(group))
    }
    return group(**values)
