"""What `showtell compare` compares: methods, each with a model or an encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from showtell.cli.asking import BY_MODEL
from showtell.cli.choices import check_method
from showtell.cli.local import is_local
from showtell.errors import InputError

__all__ = ["Arm", "arms_of", "base_url_of", "listed"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way that is compared."""

    name: str
    """The method; with ``@`` and what it uses where that alone does not tell."""
    method: str
    target: str
    """The model it asks, or its encoder."""

    @property
    def asks(self) -> bool:
        """Whether a multimodal LLM decides."""
        return self.method in BY_MODEL


def listed(values: Sequence[str] | None) -> list[str]:
    """Take apart what was given several times, or with commas between.

    Examples
    --------
    >>> listed(["openai:a,google:b", "ollama:llava"])
    ['openai:a', 'google:b', 'ollama:llava']
    """
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]


def arms_of(methods: str, models: Sequence[str], encoders: Sequence[str]) -> list[Arm]:
    """Read ``--methods``: each with every model or every encoder, or with the one behind ``@``.

    Parameters
    ----------
    methods : str
        ``"zero-shot,few-shot@mini,in-context@openai:gpt-4.1-mini"``.
    models : sequence of str
        What methods that ask use, unless ``@`` says otherwise.
    encoders : sequence of str
        What the other methods use.

    Returns
    -------
    arms : list of Arm
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
    >>> [arm.name for arm in arms_of("zero-shot,direct", ["openai:a", "google:b"], ["mini"])]
    ['zero-shot', 'direct@openai:a', 'direct@google:b']
    """
    pairs: list[tuple[str, str]] = []
    used: set[str] = set()
    for item in listed([methods]):
        method, at, target = item.partition("@")
        method, target = check_method(method.strip()), target.strip()
        if method == "auto":
            raise InputError("'auto' is no method to compare by: name those it chooses from.")
        if at and not target:
            raise InputError(f"{item!r}: a model or an encoder should follow the @.")
        asks, example = method in BY_MODEL, "openai:gpt-4.1-mini"
        if method == "likelihood":
            example = "hf-hub:ORG/NAME"
        if target and asks and ":" not in target:
            raise InputError(
                f"{item!r}: {method} needs a multimodal LLM, named provider:name, for example "
                f"{method}@{example}."
            )
        targets = list(encoders)
        if asks:
            targets = [one for one in models if is_local(one) == (method == "likelihood")]
        if target:
            targets = [target]
        if not targets:
            raise InputError(
                f"Method {method!r} asks a multimodal LLM: name one with --model {example}, or "
                f"{method}@{example} (`showtell models` lists them; `showtell try-server` is "
                "one without a key)."
            )
        used |= set(targets)
        pairs += [(method, one) for one in targets]
    idle = [model for model in models if model not in used]
    if idle:
        raise InputError(
            f"No method uses {', '.join(idle)}: got --methods {methods!r}. Models behind a server "
            "are asked by direct and in-context, hf-hub: and local-dir: by likelihood. Add one of "
            "them, or leave out --model."
        )
    if len(pairs) < 2 or len(set(pairs)) < len(pairs):
        raise InputError(
            "Comparing needs two or more different methods, models or encoders; got "
            f"--methods {methods!r}{_with(models)}."
        )
    times = Counter(method for method, _ in pairs)
    return [
        Arm(name=method if times[method] == 1 else f"{method}@{one}", method=method, target=one)
        for method, one in pairs
    ]


def _with(models: Sequence[str]) -> str:
    return f" with {', '.join(models)}" if models else ""


def base_url_of(model: str, urls: Sequence[str], models: Sequence[str]) -> str | None:
    """Find the server of a model: ``URL`` for all, or ``PROVIDER=URL`` for those of a provider.

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
            f"--base-url {own} is one server, and the models are of {', '.join(sorted(others))}. "
            f"Say whose it is: --base-url {provider}={own}, once for each provider."
        )
    return own
