"""Names to models: ``"google:gemini-2.5-flash"``, ``"ollama:llava:7b"``, a Modelfile, objects."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from showtell._clean import shown_url
from showtell._extras import need
from showtell.errors import InputError, MissingExtraError, MLLMAuthError, UnknownNameError
from showtell.mllm.base import MLLM
from showtell.mllm.capabilities import Capabilities, capabilities_of, split_model_name
from showtell.mllm.endpoints import endpoint_of
from showtell.mllm.modelfile import Modelfile, read_modelfile
from showtell.mllm.prices import ModelPrice, is_installed, price_of
from showtell.records.reading import SETTINGS_BYTES, read_text


@dataclass(frozen=True, kw_only=True)
class _Provider:
    wire: str
    keys: tuple[str, ...] = ()
    """Environment variables that may hold the key; the first is named in messages."""
    url: str | None = None
    """Where it is, if not at the place the vendor's library knows."""
    url_from: tuple[str, ...] = ()
    """Environment variables that may hold the URL."""
    needs_key: bool = False
    extra: str = "openai"
    own_server: bool = False
    """Whether it is a server of one's own, that is not there unless started."""


_KNOWN = json.loads((Path(__file__).parent / "providers.json").read_text(encoding="utf-8"))


def _provider(about: dict[str, Any]) -> _Provider:
    lists = {key: tuple(value) for key, value in about.items() if isinstance(value, list)}
    return _Provider(**about | lists)


_PROVIDERS = {name: _provider(about) for name, about in _KNOWN["providers"].items()}
_PACKAGES = {"openai": "openai", "google": "google.genai", "anthropic": "anthropic", "mllm": ""}


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """One line of ``showtell models``."""

    name: str
    """``"provider:name"``; NAME stands for whatever the server has."""
    installed: bool
    """Whether everything it needs is installed."""
    extra: str
    """The extra of showtell that brings it."""
    configured: bool
    """Whether a key is there, or none is needed."""
    key_from: str
    """Where the key, or the URL of a server of one's own, comes from; "" for nowhere."""
    capabilities: Capabilities
    price: ModelPrice | None
    """None if it is not known."""


def load_mllm(
    model: str | MLLM,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    modelfile: str | os.PathLike[str] | None = None,
    env_file: str | os.PathLike[str] | None = ".env",
) -> MLLM:
    """Load a multimodal LLM by name, or check one that is an object; nothing is sent yet.

    Parameters
    ----------
    model : str or MLLM
        - ``"openai:NAME"``, ``"google:NAME"``, ``"anthropic:NAME"``, ``"openrouter:NAME"``;
        - ``"openai-decisions:NAME"``, ``"google-decisions:NAME"``: their classification
          endpoints;
        - ``"ollama:NAME"``, ``"vllm:NAME"``, ``"llamacpp:NAME"``, ``"lmstudio:NAME"``,
          ``"systemone:NAME"``: servers on one's own machine, at their usual ports unless
          `base_url` says otherwise;
        - ``"openai-compatible:NAME"`` with `base_url`: any other server that speaks OpenAI's
          format;
        - the path of an Ollama Modelfile, with ``modelfile:`` before it or ``Modelfile`` in its
          name;
        - an object with the attributes and methods of `MLLM`.
    base_url : str, optional
        Another server for the provider's wire format.
    api_key : str, optional
        By default the provider's usual environment variable, or the same name in `env_file`.
    modelfile : str or path-like, optional
        Ollama Modelfile to apply to `model`, whose name wins over the file's.
    env_file : str or path-like, default=".env"
        File of ``NAME=value`` lines to look into; None for none.

    Returns
    -------
    mllm : MLLM

    Raises
    ------
    UnknownNameError
        If there is no such provider.
    InputError
        If the name, the URL or an object is not as it should be.
    MLLMAuthError
        If a key is needed and none is there; the message names the variable.
    MissingExtraError
        If a package is needed; the message has the install line.

    Examples
    --------
    >>> load_mllm("openai:gpt-4.1-mini", api_key="sk-1")
    PydanticAIModel('openai:gpt-4.1-mini', wire='openai')
    """
    if not isinstance(model, str):
        if base_url is not None or api_key is not None or modelfile is not None:
            raise InputError(
                "A model given as an object has its server and key already; leave `base_url`, "
                "`api_key` and `modelfile` alone."
            )
        return _checked(model)
    model, modelfile = _one_modelfile(model, modelfile)
    system, settings, mark = "", {}, ""
    if modelfile is not None:
        said = read_modelfile(modelfile)
        model = model or _base_of(said)
        system, settings, mark = said.system, said.settings, f"#{said.digest}"
    provider_name, name = split_model_name(model)
    if provider_name not in _PROVIDERS:
        raise UnknownNameError(
            "provider", provider_name, _PROVIDERS, "`showtell models` lists what each can do."
        )
    provider = _PROVIDERS[provider_name]
    url, key, key_from = _address_and_key(provider_name, base_url, api_key, env_file)
    _need_packages(provider, f"{provider_name}:{name}")
    from showtell.mllm.providers.vendors import PydanticAIModel, Wire

    loaded = PydanticAIModel(
        f"{provider_name}:{name}{mark}",
        wire=cast(Wire, provider.wire),
        model=name,
        api_key=key,
        base_url=url.rstrip("/") if url else None,
        capabilities=capabilities_of(f"{provider_name}:{name}"),
        system=system,
        settings=settings,
        home=_home_of(provider),
    )
    loaded.key_from = key_from
    return loaded


def _one_modelfile(
    model: str, modelfile: str | os.PathLike[str] | None
) -> tuple[str, str | os.PathLike[str] | None]:
    """Tell the name of a model from the Modelfile that may stand in its place."""
    file = _modelfile_path(model)
    if file is None:
        return model, modelfile
    if modelfile is not None:
        raise InputError(f"Two Modelfiles: {file} as the model and {modelfile}. Give one.")
    return "", file


def _address_and_key(
    name: str, base_url: str | None, api_key: str | None, env_file: str | os.PathLike[str] | None
) -> tuple[str | None, str | None, str]:
    """Find where a provider is asked, with which key, and in which file that stands, if in one."""
    provider, variables = _PROVIDERS[name], _variables(env_file)
    elsewhere = _elsewhere(provider, variables, base_url, api_key)
    url = elsewhere or provider.url
    if url is not None:
        _check_url(url)
    if url is None and provider.own_server:
        raise InputError(
            f"The provider {name!r} is a server of your own: say where with `base_url` "
            f"(--base-url), or set {provider.url_from[0]}."
        )
    found = _first(variables, provider.keys)
    key = api_key or found.value
    of_file = found.source if found.from_file and not api_key else ""
    if key is None and provider.needs_key and elsewhere is None:
        raise MLLMAuthError(
            f"No key for provider {name!r}. Set {' or '.join(provider.keys)} or pass "
            "`api_key=`. To try without a key: `showtell try-server`."
        )
    if key is not None:
        _check_key(key, name)
    return url, key, of_file


def place_of(
    model: str, base_url: str | None = None, *, env_file: str | os.PathLike[str] | None = ".env"
) -> str:
    """Name the endpoint of a model without loading it or asking anybody.

    `model`: as `load_mllm` takes it. Returns `endpoint`: see `showtell.mllm.endpoints`; the digest
    of a model of one's own is not in it.

    Examples
    --------
    >>> place_of("openai:gpt-4.1-mini"), place_of("vllm:llava", "http://localhost:8001/v1/")
    ('', 'http://localhost:8001/v1')
    """
    provider = _PROVIDERS.get(split_model_name(model_id(model))[0])
    if provider is None:
        return ""
    url = _elsewhere(provider, _variables(env_file), base_url, None) or provider.url
    return endpoint_of(url, _home_of(provider))


def _home_of(provider: _Provider) -> str | None:
    """Address of a provider, or the vendor whose it is; None for whatever server one has."""
    vendor = provider.wire.partition("-")[0]
    return provider.url or (None if provider.own_server else vendor)


def list_models(*, env_file: str | os.PathLike[str] | None = ".env") -> list[ModelInfo]:
    """List well-known models: what is configured and what each can do. Asks no server.

    Parameters
    ----------
    env_file : str or path-like, default=".env"
        As in `load_mllm`.

    Returns
    -------
    models : list of ModelInfo

    Examples
    --------
    >>> [m.name for m in list_models()][:2]
    ['openai:gpt-4.1-mini', 'openai:gpt-4.1']
    """
    variables = _variables(env_file)
    rows = []
    for model in _KNOWN["well_known"]:
        provider = _PROVIDERS[split_model_name(model)[0]]
        key = _first(variables, provider.keys)
        url = _first(variables, provider.url_from)
        if _redirects(provider, url, key):
            url = _NOWHERE
        configured = bool(key.value if provider.needs_key else url.value or provider.url)
        rows.append(
            ModelInfo(
                name=model,
                installed=_has_packages(provider),
                extra=provider.extra,
                configured=configured,
                key_from=key.source or url.source,
                capabilities=capabilities_of(model),
                price=price_of(model) if is_installed() else None,
            )
        )
    return rows


def find_key(
    provider: str, *, env_file: str | os.PathLike[str] | None = ".env"
) -> tuple[str | None, str]:
    """Look for a provider's key.

    Returns `source`: the environment variable, with the file's name if it is from there; "" if
    there is none.
    """
    if provider not in _PROVIDERS:
        raise UnknownNameError("provider", provider, _PROVIDERS)
    found = _first(_variables(env_file), _PROVIDERS[provider].keys)
    return found.value, found.source


def _checked(model: Any) -> MLLM:
    lacking = [
        what
        for attribute, what in (
            ("name", "name: str, 'provider:name'"),
            ("ask", "ask: async method from a Request to an Answer"),
            ("aclose", "aclose: async method that closes connections"),
        )
        if not hasattr(model, attribute)
    ]
    if lacking:
        raise InputError(
            f"A model is given as 'provider:name' or as an object; {type(model).__name__} lacks "
            f"{'; '.join(lacking)}."
        )
    split_model_name(model.name)
    return cast(MLLM, model)


def model_id(model: str) -> str:
    """Name that answers are kept under: of a Modelfile, the model it builds on and its digest.

    `model`: as `load_mllm` takes it. Returns `name`: what the loaded model's ``name`` is; nothing
    is loaded. Raises DataError if a Modelfile cannot be read.

    Examples
    --------
    >>> model_id("openai:gpt-4.1-mini")
    'openai:gpt-4.1-mini'
    """
    file = _modelfile_path(model)
    if file is None:
        return model
    said = read_modelfile(file)
    provider, name = split_model_name(_base_of(said))
    return f"{provider}:{name}#{said.digest}"


def _base_of(said: Modelfile) -> str:
    """Model that a Modelfile builds on, with its provider."""
    return said.model if _has_provider(said.model) else f"ollama:{said.model}"


def _modelfile_path(model: str) -> str | None:
    """Path of a Modelfile, if that is what a model is named by."""
    if model.startswith("modelfile:"):
        return model.removeprefix("modelfile:")
    path = Path(model)
    is_named_so = path.name.lower().startswith("modelfile") or path.suffix.lower() == ".modelfile"
    return model if is_named_so and not _has_provider(model) else None


def _has_provider(model: str) -> bool:
    return model.partition(":")[0] in _PROVIDERS


def _need_packages(provider: _Provider, what: str) -> None:
    need("pydantic_ai", extra=provider.extra, what=f"The model {what}")
    package = _PACKAGES[provider.extra]
    if package:
        need(package, extra=provider.extra, what=f"The model {what}")


def _has_packages(provider: _Provider) -> bool:
    try:
        packages = filter(None, ("pydantic_ai", _PACKAGES[provider.extra]))
        return all(importlib.util.find_spec(package) is not None for package in packages)
    except (ModuleNotFoundError, MissingExtraError):  # the parent of a dotted name
        return False


def _check_key(key: str, provider: str) -> None:
    """Refuse what no header can carry, without showing it."""
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise MLLMAuthError(
            f"The key for provider {provider!r} holds characters that no key has (spaces, line "
            "breaks or others); copy it again."
        )


@dataclass(frozen=True, kw_only=True)
class _Variable:
    value: str | None = None
    source: str = ""
    """Its name, with the file's if it is from there."""
    from_file: bool = False


_NOWHERE = _Variable()


def _first(variables: Mapping[str, _Variable], names: tuple[str, ...]) -> _Variable:
    """Take the first of several names that is set; the environment wins over the file."""
    found = [variables[name] for name in names if name in variables]
    return min(found, key=lambda variable: variable.from_file, default=_NOWHERE)


def _elsewhere(
    provider: _Provider,
    variables: Mapping[str, _Variable],
    base_url: str | None,
    api_key: str | None,
) -> str | None:
    """Find out which other server is to be asked than the provider's usual one.

    Raises InputError if a file of variables says so about a key or pictures that it has nothing to
    do with.
    """
    if base_url:
        return base_url
    url = _first(variables, provider.url_from)
    key = _first(variables, provider.keys) if api_key is None else _Variable(value=api_key)
    if _redirects(provider, url, key):
        what = (
            "images that would have stayed on this machine" if provider.url else "images and a key"
            if key.value else "images"
        )  # fmt: skip
        raise InputError(
            f"{url.source} would send {what} to {shown_url(str(url.value))}. A file that lies in "
            "the working directory may have come with the images, so its URL is taken only with a "
            "key of the same file, and never in place of a server of your own. If you mean it, say "
            f"so: `base_url` {shown_url(str(url.value))}"
        )
    return url.value


def _redirects(provider: _Provider, url: _Variable, key: _Variable) -> bool:
    """Whether a URL of a file would lead away what does not come from the same file."""
    return url.from_file and (not key.from_file or provider.url is not None)


def _check_url(url: str) -> None:
    """Refuse a URL that different programs would read as different places.

    Raises InputError: it shows neither user nor password.
    """
    if not re.match(r"https?://", url):
        raise InputError(f"`base_url` must begin with http:// or https://, got {shown_url(url)!r}.")
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and "@" not in url.partition(parts.netloc)[2]
        sound = sound and url.isprintable() and not re.search(r"[\s\\]", url)
        _ = parts.port
    except ValueError:
        sound = False
    if not sound:
        raise InputError(
            f"`base_url` is no URL of a server: {shown_url(url)!r}. Write it as "
            "http://HOST:PORT/PATH; in a user name or password, write %40 for @ and %2F for /."
        )


def _variables(env_file: str | os.PathLike[str] | None) -> dict[str, _Variable]:
    """Variables with their source; the environment wins over the file."""
    found: dict[str, _Variable] = {}
    if env_file is not None:
        for name, value in _read_env_file(Path(env_file)).items():
            if value:
                found[name] = _Variable(value=value, source=f"{name} in {env_file}", from_file=True)
    for name, value in os.environ.items():
        if value.strip():
            found[name] = _Variable(value=value.strip(), source=name)
    return found


_ENV_NAME = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*")


def _read_env_file(path: Path) -> dict[str, str]:
    """Read ``NAME=value`` lines: ``export``, quotes and comments as a shell has them.

    Raises InputError if it is a pipe, a device, too large or no text. A folder of that name is none
    of it.
    """
    if not path.exists() or path.is_dir():
        return {}
    text = read_text(path, "file of variables", most=SETTINGS_BYTES, error=InputError)
    found: dict[str, str] = {}
    for line in text.splitlines():
        before, is_one, value = line.partition("=")
        match = _ENV_NAME.fullmatch(before)
        if match is None or not is_one:
            continue
        value = value.strip()
        if value[:1] in ("'", '"') and value.find(value[0], 1) > 0:
            value = value[1 : value.index(value[0], 1)]
        else:
            value = re.split(r"\s#", value)[0].strip()
        found[match[1]] = value
    return found
