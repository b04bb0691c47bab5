"""What ``--help`` and ``--help-all`` print: examples first, then the options."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from showtell.classify import table

ALL_METHODS = "{methods}"
"""Stands in a help text for the names of all methods: those of other packages are looked for only
when somebody reads it."""
_COLUMN = 30  # names of options take no more of a line; a longer one has it to itself
_FEW = 14  # a verb with no more options than this has no use for a shorter list
_HEADING = re.compile(r"^# (.+)$", re.MULTILINE)


class Panel(str):
    """Heading of a group of options, which also says whether one is of those most people use.

    Examples
    --------
    >>> Panel("What to write", common=True).common
    True
    """

    common: bool

    def __new__(cls, heading: str, *, common: bool = False) -> Panel:
        """Make a heading that knows."""
        made = super().__new__(cls, heading)
        made.common = common
        return made


class Verb(TyperCommand):
    """A command whose ``--help`` fits on a screen."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the short page."""
        formatter.write(help_page(self, ctx, formatter.width))


def help_page(command: Any, ctx: Any, width: int, *, everything: bool = False) -> str:
    """Say what a verb is for and how it is called.

    Parameters
    ----------
    command : TyperCommand
    ctx : typer.Context
    width : int
        Columns of text.
    everything : bool, default=False
        All paragraphs and all options, by their panels; else the first paragraph and the options
        that most people use.

    Returns
    -------
    text : str
    """
    options = [p for p in command.get_params(ctx) if p.param_type_name == "option"]
    shown = options if everything else _common(options)
    first, *more = (command.help or "").split("\n\n")
    examples, *sections = sections_of(command.epilog)
    lines = [_usage(command, ctx), "", *_wrapped(first, width), ""]
    lines += [_bold(examples[0]), *(f"  {line}" for line in _lines(examples[1])), ""]
    for argument in (p for p in command.params if p.param_type_name == "argument"):
        lines += [*_row(argument.metavar or argument.name, argument.help, width, 11), ""]
    if everything:
        for paragraph in more:
            lines += [*_wrapped(paragraph, width), ""]
    if everything:
        panels = dict.fromkeys(map(_panel, options))
        for panel in panels:
            lines += [_bold(panel), *_rows([o for o in shown if _panel(o) == panel], width), ""]
        lines += list(_paragraphs(sections, width))
    else:
        lines += [_bold("Options"), *_rows(shown, width), ""]
        if len(shown) < len(options):
            lines += _wrapped(
                f"{ctx.command_path} --help-all shows all {len(options)} options.", width
            )
    return "\n".join(lines).rstrip() + "\n"


def overview(group: Any, ctx: Any, width: int, verbs: Mapping[str, str]) -> str:
    """Say what the program is for, and list its verbs.

    Parameters
    ----------
    group : TyperGroup
    ctx : typer.Context
    width : int
        Columns of text.
    verbs : mapping of str to str
        Name and a sentence.

    Returns
    -------
    text : str
    """
    examples, *sections = sections_of(group.epilog)
    lines = [f"{_usage(group, ctx)} COMMAND ...", ""]
    for paragraph in (group.help or "").split("\n\n"):
        lines += [*_wrapped(paragraph, width), ""]
    lines += [_bold(examples[0]), *(f"  {line}" for line in _lines(examples[1])), ""]
    lines.append(_bold("Commands"))
    for name, sentence in verbs.items():
        lines += _row(f"  {name}", sentence, width, 14)
    options = [p for p in group.get_params(ctx) if p.param_type_name == "option"]
    lines += ["", _bold("Options"), *_rows(options, width), ""]
    lines += _paragraphs(sections, width)
    return "\n".join(lines).rstrip() + "\n"


def sections_of(epilog: str | None) -> list[tuple[str, str]]:
    r"""Part the text below the options at its headings; the first are the examples.

    Examples
    --------
    >>> sections_of("# Examples\n\nshowtell version\n\n# More\n\nNothing.")
    [('Examples', 'showtell version'), ('More', 'Nothing.')]
    """
    _, *parts = _HEADING.split(epilog or "")
    return [(parts[i], parts[i + 1].strip()) for i in range(0, len(parts), 2)]


def examples_of(command: Any) -> list[str]:
    """List the lines of a command's examples."""
    return _lines(sections_of(command.epilog)[0][1])


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def _usage(command: Any, ctx: Any) -> str:
    takes = [p.metavar or p.name for p in command.params if p.param_type_name == "argument"]
    return " ".join(["Usage:", ctx.command_path, *takes, "[OPTIONS]"])


def help_of(option: Any) -> str:
    """Say what an option means; the methods are named where it speaks of all of them."""
    text: str = option.help or ""
    return text.replace(ALL_METHODS, table.in_words()) if ALL_METHODS in text else text


def _common(options: Sequence[Any]) -> list[Any]:
    """Choose what most people use; everything, where that is little."""
    if len(options) <= _FEW:
        return list(options)
    return [o for o in options if getattr(o.rich_help_panel, "common", False)]


def _panel(option: Any) -> str:
    return str(option.rich_help_panel or "How to run")


def _rows(options: Sequence[Any], width: int) -> Iterator[str]:
    """Lay out options: names on the left in one column, what they mean on the right."""
    names = [_names(option) for option in options]
    column = max((len(name) for name in names if len(name) <= _COLUMN), default=0) + 2
    for option, name in zip(options, names, strict=True):
        yield from _row(name, f"{help_of(option)}{_default(option)}", width, column)


def _row(name: str, text: str, width: int, column: int) -> list[str]:
    """One name and its text, which begins below where the name is too long."""
    found = _wrapped(text, width - column) or [""]
    if len(name) > column - 2:
        return [_bold(name), *(" " * column + line for line in found)]
    first = _bold(name) + " " * (column - len(name)) + found[0]
    return [first, *(" " * column + line for line in found[1:])]


def _names(option: Any) -> str:
    """``-l, --labels NAMES``; those without a short name stand below each other's long ones."""
    flags = sorted(option.opts, key=len)
    pad = "  " if len(flags[0]) == 2 else "      "
    if option.secondary_opts:
        flags[-1] += f"/{option.secondary_opts[0]}"
    return f"{pad}{', '.join(flags)} {option.metavar or ''}".rstrip()


def _default(option: Any) -> str:
    value = option.default
    if value is None or value is False or value == "":
        return ""
    return f" [default: {'on' if value is True else value}]"


def _paragraphs(sections: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    for heading, text in sections:
        yield _bold(heading)
        for paragraph in text.split("\n\n"):
            yield from _wrapped(paragraph, width, "  ")
        yield ""


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Break lines at spaces only: an option or a URL stays whole."""
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _bold(text: str) -> str:
    """Bold where a person sees it."""
    try:
        seen = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    except (AttributeError, ValueError):
        seen = False
    return typer.style(text, bold=True) if seen else text
