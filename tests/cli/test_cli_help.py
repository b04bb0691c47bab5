"""`--help` is a screen that a person can read; `--help-all` leaves nothing out."""

from __future__ import annotations

import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from showtell.cli.help import Panel, examples_of, help_of, sections_of
from showtell.cli.main import app
from showtell.cli.verbs import VERBS

COMMANDS = get_command(app).commands
WIDTH = 98  # of text on 100 columns


def options_of(verb):
    return [p for p in COMMANDS[verb].params if p.param_type_name == "option"]


def page(*arguments):
    result = CliRunner().invoke(app, arguments, terminal_width=WIDTH)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def flags_in(text):
    """Flags that begin a row of options."""
    rows = re.findall(r"^ {2,6}(-[^\s,]+(?:, -[^\s,]+)*)", text, re.M)
    return {flag for row in rows for flag in re.split(r"[,/] ?", row)}


@pytest.mark.parametrize("verb", [(), *((verb,) for verb in COMMANDS)], ids=lambda v: " ".join(v))
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_help_fits_on_a_screen_of_100_columns_and_50_lines(verb, flag):
    lines = page(*verb, flag).splitlines()
    assert len(lines) < 50  # the prompt needs one
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_help_shows_examples_before_options(verb):
    for flag in ("--help", "--help-all"):
        usage, _, rest = page(verb, flag).partition("\nExamples\n")
        assert usage.startswith(f"Usage: showtell {verb}")
        assert not flags_in(usage)
        examples, _, rest = rest.partition("\n\n")
        assert [line.strip() for line in examples.splitlines()] == examples_of(COMMANDS[verb])
        assert any(f"showtell {verb}" in line for line in examples.splitlines())
        assert "--help-all" in flags_in(rest)


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_option_is_in_help_all_under_its_panel(verb):
    text = page(verb, "--help-all")
    found = flags_in(text)
    for option in options_of(verb):
        assert {*option.opts, *option.secondary_opts} <= found
        assert re.search(rf"^{re.escape(str(option.rich_help_panel))}$", text, re.M)
        assert help_of(option).split()[0] in text
    assert {"-h", "--help"} <= found


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_shows_a_dozen_options_or_all_where_they_are_few(verb):
    text = page(verb, "--help")
    shown, every = flags_in(text), options_of(verb)
    listed = [o for o in every if shown & set(o.opts)]
    assert len(listed) <= 18
    if len(listed) < len(every):
        assert [o for o in every if o.rich_help_panel.common] == listed
        assert f"showtell {verb} --help-all shows all {len(every) + 1} options." in text


def test_the_overview_says_of_each_verb_what_its_help_begins_with():
    assert list(VERBS) == list(COMMANDS)
    for name, sentence in VERBS.items():
        assert COMMANDS[name].help.split("\n\n")[0] == sentence
        assert COMMANDS[name].name == name
    text = " ".join(page("--help").split())
    assert all(f"{name} {sentence}" in text for name, sentence in VERBS.items())


def test_headings_part_the_text_below_the_options():
    assert sections_of("# Examples\n\nshowtell x\n\n# More\n\nOne.\n") == [
        ("Examples", "showtell x"),
        ("More", "One."),
    ]
    assert sections_of(None) == []
    assert (Panel("a"), Panel("a").common, Panel("a", common=True).common) == ("a", False, True)


def test_only_a_terminal_gets_bold_letters(monkeypatch):
    assert "\x1b" not in page("classify", "--help")
    from showtell.cli import help as pages

    class Terminal:
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(pages.sys, "stdout", Terminal())
    assert pages._bold("Options") == "\x1b[1mOptions\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert pages._bold("Options") == "Options"
