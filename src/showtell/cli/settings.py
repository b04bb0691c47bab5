"""showtell.toml: defaults for options, below the command line and the environment.

A file that was named, or that lies in the user's own folder for settings, may set every option. One
that merely lies in the working directory may have come with the pictures: it says what these are
and how to tell them apart, and nothing about where they go, what is written or what is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from showtell.errors import InputError, UnknownNameError
from showtell.records.files import settings_folder
from showtell.records.reading import SETTINGS_BYTES, parse_toml, read_text, resolved_name

FILE_NAME = "showtell.toml"
_NOT_SETTINGS = {"help", "help_all", "version", "config", "install_completion", "show_completion"}
FOUND_MAY_SET = frozenset(
    (
        "abstain_below", "actual", "check_duplicates", "confidence", "controls",
        "curve", "curve_shots", "depth", "domain", "grid", "group_column", "image_column", "label",
        "label_column", "labels", "limit", "margin", "method", "most", "part", "parts", "precision",
        "predicted", "proba", "probes", "seed", "seeds", "shots", "split_column", "store",
        "test_size", "threads", "transductive",
    )
)  # fmt: skip
"""What a settings file may set that was only found; an option that is not here, it may not."""
FOUND_MAY_NAME = frozenset(
    ("boxes", "concepts", "descriptions", "examples", "labels_file", "predictions", "templates")
)
"""Options that name files; a settings file that was only found may name those beside it."""
_FOUND = "showtell.settings.found"


def envvar_of(flag: str) -> str:
    """Name the environment variable of an option.

    Examples
    --------
    >>> envvar_of("--abstain-below")
    'SHOWTELL_ABSTAIN_BELOW'
    """
    return "SHOWTELL_" + flag.removeprefix("--").replace("-", "_").upper()


def use_settings(ctx: typer.Context, path: Path | None) -> Path | None:
    """Take settings as defaults of the command in `ctx`: callback of ``--config``.

    The user's own file lies below; over it comes the file that was named, or else what a file in
    the working directory may say.
    """
    if ctx.resilient_parsing:  # shell completion
        return path
    own, found = settings_folder(), Path(FILE_NAME)
    settings: dict[str, Any] = {}
    if own is not None and _exists(own / FILE_NAME):
        settings = read_settings(own / FILE_NAME, ctx)
    is_own = own is not None and resolved_name(found) == resolved_name(own / FILE_NAME)
    if path is not None:
        settings |= read_settings(path, ctx)
    elif _exists(found) and not is_own:
        beside = _only_harmless(read_settings(found, ctx))
        ctx.meta[_FOUND] = frozenset(beside)
        settings |= beside
    if settings:
        ctx.default_map = settings
    return path


def _exists(path: Path) -> bool:
    """Whether there is something of that name, be it a pipe or a link to nowhere."""
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True


def _only_harmless(settings: dict[str, Any]) -> dict[str, Any]:
    """Let a file pass that was found, not named, if it leaves everything alone that is not its own.

    Raises
    ------
    InputError
        It names the keys, and how to allow them.
    """
    refused = [
        _key(name)
        for name, value in settings.items()
        if name not in FOUND_MAY_SET and not (name in FOUND_MAY_NAME and _is_beside(name, value))
    ]
    if refused:
        files = sorted(map(_key, FOUND_MAY_NAME & {name.replace("-", "_") for name in refused}))
        of_files = f" ({', '.join(files)}: only files in this folder)" if files else ""
        raise InputError(
            f"{FILE_NAME} lies in this folder and was not named, so it may have come with the "
            f"pictures. It may not set {', '.join(sorted(refused))}{of_files}. If you trust it, "
            f"say so: --config {FILE_NAME}"
        )
    return settings


def _is_beside(name: str, value: str) -> bool:
    """Whether a value names no file, or one in the working directory or below it."""
    if "://" in value or value == "-" or value.startswith("~"):
        return False
    try:
        place = resolved_name(value)
        # A table of examples may list pictures that lie anywhere.
        return place.is_relative_to(resolved_name(".")) and (name != "examples" or place.is_dir())
    except ValueError:  # no file can have this name
        return True


def found_beside(ctx: typer.Context) -> list[str]:
    """Name the options that the settings file of the working directory set, asked or not."""
    found: frozenset[str] = ctx.meta.get(_FOUND, frozenset())
    taken = (n for n in ctx.params if n in found and _source_of(ctx, n) == "DEFAULT_MAP")
    return [_key(name) for name in taken]


def _source_of(ctx: typer.Context, name: str) -> str:
    source = ctx.get_parameter_source(name)
    return "DEFAULT" if source is None else source.name


def read_settings(path: Path, ctx: typer.Context) -> dict[str, Any]:
    """Read the settings of one verb: its own section over the keys above all sections.

    Raises
    ------
    InputError
        If the file cannot be read or holds a key or section that no verb has.
    """
    text = read_text(path, "settings file", most=SETTINGS_BYTES, error=InputError)
    try:
        content = parse_toml(text, f"{path} is not a settings file", error=InputError)
    except InputError as error:
        raise InputError(
            f"{error} Write a line for each setting, with quotes around text: "
            'encoder = "mini", seed = 7.'
        ) from None
    options = _options_of_each_verb(ctx)
    verb = ctx.command.name or ""
    every_key = sorted(set().union(*options.values()))
    shared: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for key, value in content.items():
        if key in options and isinstance(value, dict):
            section = _check(path, f"[{key}] ", value, sorted(options[key]))
            if key == verb:
                own = section
        else:
            shared |= _check(path, "", {key: value}, every_key, sections=sorted(options))
    several = {p.name for p in _options(ctx.command) if getattr(p, "multiple", False)}
    return {k: [v] if k in several else v for k, v in {**shared, **own}.items() if k in _names(ctx)}


def _options_of_each_verb(ctx: typer.Context) -> dict[str, set[str]]:
    """List the keys each verb knows, as written in the file: names of options without dashes."""
    group: Any = ctx.find_root().command
    commands = getattr(group, "commands", {ctx.command.name: ctx.command})
    return {name: {_key(p.name) for p in _options(command)} for name, command in commands.items()}


def _options(command: Any) -> list[Any]:
    return [
        p for p in command.params if p.param_type_name == "option" and p.name not in _NOT_SETTINGS
    ]


def _names(ctx: typer.Context) -> set[str]:
    return {p.name for p in _options(ctx.command)}


def _key(name: str) -> str:
    return _WORDS.get(name, name.replace("_", "-"))


_WORDS = {"start": "from", "end": "to", "send_as": "as"}  # which Python keeps for itself
_PARAMETERS = {key: name for name, key in _WORDS.items()}


def _check(
    path: Path,
    section: str,
    values: dict[str, Any],
    allowed: list[str],
    sections: Sequence[str] = (),
) -> dict[str, Any]:
    """Turn keys into parameter names and values into what the command line would have given."""
    found = {}
    for key, value in values.items():
        named = _key(key.replace("-", "_"))
        if named not in allowed:
            hint = f"Sections: {', '.join(f'[{s}]' for s in sections)}." if sections else ""
            raise UnknownNameError(f"key in {path}:", section + key, allowed, hint)
        name = _PARAMETERS.get(named, named.replace("-", "_"))
        found[name] = _as_given(path, section + key, value)
    return found


def _as_given(path: Path, key: str, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        if any(isinstance(one, list | dict) for one in value):
            raise InputError(f"{path}: '{key}' is a list of lists or tables; write plain values.")
        texts = [str(v) for v in value]
        if any("," in text for text in texts):
            raise InputError(
                f"{path}: an element of '{key}' contains a comma. Put such labels one per line "
                "into a file and name it with labels-file."
            )
        return ",".join(texts)
    if isinstance(value, dict):
        raise InputError(f"{path}: '{key}' is a table; write one value or a list of values.")
    return str(value)
