"""What could be typed before the rooms were rebuilt can be typed still, or is listed as changed."""

from __future__ import annotations

import json

import pytest
import typer
from tests.frozen import frozen
from tests.frozen.frozen import FORMAT1, RENAMED_NAMES, RENAMED_OPTIONS

import showtell as st
from showtell.cli.main import app

OPTIONS = json.loads((FORMAT1 / "options.json").read_text("utf-8"))


def known(verb):
    """The flags of a verb, or of the program."""
    command = typer.main.get_command(app)
    if verb:
        command = command.commands[verb]
    return {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}


@pytest.mark.parametrize("verb", OPTIONS)
def test_no_option_has_vanished_unless_it_is_listed(verb):
    now = known(verb)
    for flag in OPTIONS[verb]:
        new = RENAMED_OPTIONS.get(f"{verb} {flag}", RENAMED_OPTIONS.get(flag, flag))
        assert new is None or new in now, f"{verb} {flag}"


@pytest.mark.parametrize("verb", OPTIONS)
def test_help_is_printed_and_there_was_help(verb):
    result = frozen.invoke([verb, "--help"] if verb else ["--help"], "")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert "Usage:" in (FORMAT1 / "help" / f"{verb or 'showtell'}.txt").read_text("utf-8")


def test_what_is_listed_as_renamed_was_there_and_is_there():
    before = {flag for flags in OPTIONS.values() for flag in flags}
    now = {flag for verb in OPTIONS for flag in known(verb)}
    for old, new in RENAMED_OPTIONS.items():
        assert old.split()[-1] in before
        assert new is None or new in now


def test_no_public_name_has_vanished_unless_it_is_listed():
    for name in json.loads((FORMAT1 / "public_names.json").read_text("utf-8")):
        new = RENAMED_NAMES.get(name, name)
        assert new is None or new in st.__all__, name
        if new is not None:
            assert getattr(st, new) is not None
