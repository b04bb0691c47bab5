"""showtell.toml: defaults for options, below the command line and the environment."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from showtell.errors import InputError, UnknownNameError

__all__ = ["FILE_NAME", "envvar_of", "found_beside", "use_settings"]

FILE_NAME = "showtell.toml"
_NOT_SETTINGS = {"help", "help_all", "version", "config", "install_completion", "show_completion"}


def envvar_of(flag: str) -> str:
    """Name the environment variable of an option.

    Examples
    --------
    >>> envvar_of("--abstain-below")
    'SHOWTELL_ABSTAIN_BELOW'
    """
    return "SHOWTELL_" + flag.removeprefix("--").replace("-", "_").upper()


def use_settings(ctx: typer.Context, path: Path | None) -> Path | None:
    """Take the settings file as defaults of the command in `ctx`: callback of ``--config``."""
    if ctx.resilient_parsing:  # shell completion
        return path
    if path is None:
        path = Path(FILE_NAME)
        if not path.is_file():
            return None
    ctx.default_map = read_settings(path, ctx)
    return path


def found_beside(ctx: typer.Context) -> list[str]:
    """Name the options that the settings file of the working directory set, asked or not."""
    if _source_of(ctx, "config") != "DEFAULT":
        return []
    taken = (name for name in ctx.params if _source_of(ctx, name) == "DEFAULT_MAP")
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
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no settings file {str(path)!r}.") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"{path} is not a settings file: {error}. Write a line for each setting, with quotes "
            'around text: encoder = "mini", seed = 7.'
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a settings file: {error}.") from None
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
    return name.replace("_", "-")


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
        if _key(key) not in allowed:
            hint = f"Sections: {', '.join(f'[{s}]' for s in sections)}." if sections else ""
            raise UnknownNameError(f"key in {path}:", section + key, allowed, hint)
        found[_key(key).replace("-", "_")] = _as_given(path, section + key, value)
    return found


def _as_given(path: Path, key: str, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
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
