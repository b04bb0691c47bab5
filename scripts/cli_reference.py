"""Write docs/reference/cli.md from the commands themselves; ``--check`` says whether it is stale.

Everything on the page comes from the commands: what ``--help`` prints, word for word, and all that
``--help-all`` knows, as tables with the environment variables.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from showtell.cli.help import help_of, help_page, sections_of
from showtell.cli.main import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"

WIDTH = 98  # of a terminal with 100 columns

HEAD = """# Command line

<!-- Written by scripts/cli_reference.py from the commands; do not edit. -->

`showtell VERB --help` prints the examples and the options that most people use, as below each verb;
`showtell VERB --help-all` prints all of them, as in the tables.

Every option has an environment variable and a key in a settings file, named in the tables below.
The command line wins, then the environment, then the section of the verb in the settings file, then
the keys above all sections. [Settings](../how-to/settings.md) says which files are read, and what
one that merely lies in the working directory may set:

```toml
seed = 7                  # for every verb that has --seed

[classify]
labels = ["cat", "dog"]
abstain-below = 0.5
```

Exit codes: 0 all inputs got a row (unreadable images are rows too, and a line on standard error
counts them), 1 the run failed or not one input got an answer, 2 bad usage or input, 3 stopped by
Ctrl-C, a cap or a server that died; the same command again goes on from there, 4 all was computed,
but a file could not be written. Before the first image is sent to a model, its host is named on
standard error, also with `-q`.
"""


def page() -> str:
    group: Any = get_command(app)
    parts = [HEAD]
    for name, command in group.commands.items():
        parts.append(section(name, command))
    return "\n".join(parts)


def section(name: str, command: Any) -> str:
    """One verb: usage, text, arguments, options by panel, examples."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [
        p
        for p in command.params
        if p.param_type_name == "option" and p.name not in {"help", "help_all"}
    ]
    context = typer.Context(command, info_name=f"showtell {name}")
    short = help_page(command, context, WIDTH)
    lines = [f"## showtell {name}", "", f"```text\n{short}```", ""]
    for paragraph in (command.help or "").split("\n\n")[1:]:
        lines += [paragraph, ""]
    for argument in arguments:
        lines += [f"`{argument.metavar or argument.name}`", f": {argument.help}", ""]
    panels = dict.fromkeys(p.rich_help_panel or "Options" for p in options)
    for panel in panels:
        lines += [f"**{panel}**", "", "| option | meaning | default |", "|---|---|---|"]
        lines += [row(p) for p in options if (p.rich_help_panel or "Options") == panel]
        lines.append("")
    for heading, text in sections_of(command.epilog)[1:]:
        lines += [f"**{heading}**", "", " ".join(text.split()), ""]
    return "\n".join(lines)


def row(option: Any) -> str:
    """One option as a row of the table."""
    flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    value = f" {option.metavar}" if option.metavar else ""
    default = option.default
    shown = "on" if default is True else "" if default is None or default is False else default
    cells = (
        f"{flags}{value}<br>`{option.envvar}`",
        help_of(option),
        f"`{shown}`" if shown != "" else "",
    )
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the page is stale")
    options = parser.parse_args()
    text = page()
    if options.check:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
            print("docs/reference/cli.md is stale. Write it again: make fix")
            return 1
        return 0
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
