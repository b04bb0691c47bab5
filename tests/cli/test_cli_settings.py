"""Command line over environment over the verb's section over the rest of showtell.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from showtell.cli.main import app
from showtell.cli.settings import envvar_of

NO_SETTINGS = {"help", "help_all"}
LABELS = "red circle,green triangle,blue square"
VERBS = get_command(app).commands


def options():
    for verb, command in VERBS.items():
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name not in NO_SETTINGS:
                yield pytest.param(parameter, id=f"{verb} {parameter.opts[0]}")


OPTIONS = list(options())


def header(result):
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()[0]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_has_the_environment_variable_of_its_name(option):
    assert option.envvar == envvar_of(option.opts[0])
    assert option.help
    assert option.help.rstrip().endswith(".")


@pytest.mark.parametrize("option", [o for o in OPTIONS if not o.id.endswith(" --config")])
def test_every_option_has_a_key_in_the_settings_file(option, cli, workplace):
    key = option.opts[0].removeprefix("--")
    Path("showtell.toml").write_text(f'{key} = "nonsense"\n')
    result = cli("version")
    assert "Unknown key" not in result.stderr


def test_settings_name_what_the_command_line_leaves_out(cli, shapes):
    Path("showtell.toml").write_text(
        'labels = ["red circle", "green triangle"]\n[classify]\nproba = true\n'
    )
    assert header(cli("classify", shapes)).endswith("p_red circle,p_green triangle")


def test_a_section_wins_over_the_keys_above_all_sections(cli, shapes):
    Path("showtell.toml").write_text(
        'proba = true\nlabels = "one"\n[classify]\nlabels = "red circle,blue square"\n'
    )
    assert header(cli("classify", shapes)).endswith("p_red circle,p_blue square")


def test_sections_of_other_verbs_do_not_matter(cli, shapes):
    Path("showtell.toml").write_text("[evaluate]\nabstain-below = 1.0\nshots = 3\n")
    result = cli("classify", shapes, "--labels", LABELS)
    assert "9 ok" in result.stderr


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(cli, shapes):
    Path("showtell.toml").write_text('labels = "from file"\nproba = true\n')
    env = {"SHOWTELL_LABELS": "from env"}
    assert header(cli("classify", shapes)).endswith("p_from file")
    assert header(cli("classify", shapes, env=env)).endswith("p_from env")
    assert header(cli("classify", shapes, "--labels", "given", env=env)).endswith("p_given")


@pytest.mark.parametrize(("value", "columns"), [("1", 6), ("true", 6), ("0", 5), ("no", 5)])
def test_flags_are_switched_by_words(cli, shapes, value, columns):
    result = cli("classify", shapes, "--labels", "red", env={"SHOWTELL_PROBA": value})
    assert len(header(result).split(",")) == columns


def test_the_store_is_switched_off_by_setting_it_to_false(cli, shapes):
    Path("showtell.toml").write_text("store = false\n")
    cli("classify", shapes, "--labels", LABELS)
    assert '"n_embeddings": 0' in cli("cache", "--json").stdout


def test_a_settings_file_elsewhere_is_used_when_named(cli, shapes):
    Path("other.toml").write_text('labels = "x,y"\nproba = true\n')
    assert header(cli("classify", shapes, "--config", "other.toml")).endswith("p_x,p_y")
    env = {"SHOWTELL_CONFIG": "other.toml"}
    assert header(cli("classify", shapes, env=env)).endswith("p_x,p_y")


def test_numbers_and_underscores_are_fine(cli, shapes):
    Path("showtell.toml").write_text("limit = 2\nabstain_below = 0.0\nseed = 1\n")
    assert "2 images: 2 ok" in cli("classify", shapes, "--labels", LABELS).stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("encodr = 'mini'", "Unknown key in showtell.toml: 'encodr'. Close: 'encoder'."),
        ("[classify]\ncurve = true", "'[classify] curve'"),
        ("[clasify]\nproba = true", "[cache], [classify], [clean]"),
        ("labels = ['a', 'b,c']", "contains a comma"),
        ("labels = {a = 1}", "'labels' is a table"),
        ("labels = ", "is not a settings file"),
        ("limit = 'many'", "'--limit'"),
    ],
)
def test_a_wrong_file_is_one_line_and_exit_code_2(cli, shapes, text, message):
    Path("showtell.toml").write_text(text)
    result = cli("classify", shapes, "--labels", LABELS)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_named_file_that_is_missing_is_an_error(cli, shapes):
    result = cli("classify", shapes, "--config", "gone.toml")
    assert (result.exit_code, result.stderr) == (
        2,
        "showtell: There is no settings file 'gone.toml'.\n",
    )


def test_unknown_keys_list_every_valid_one(cli, shapes):
    Path("showtell.toml").write_text("nonsense = 1\n")
    message = cli("classify", shapes).stderr
    names = {p.opts[0].removeprefix("--") for v in VERBS.values() for p in v.params
             if p.param_type_name == "option"} - {"help", "help-all", "config"}  # fmt: skip
    assert all(name in message for name in names)


def test_the_settings_of_the_docs_are_valid(cli, shapes):
    page = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text("utf-8")
    text = page.split("```toml\n")[1].split("```")[0]
    assert tomllib.loads(text)
    Path("showtell.toml").write_text(text)
    assert cli("classify", shapes).exit_code == 0


def test_shell_completion_reads_no_settings(cli, workplace):
    Path("showtell.toml").write_text("nonsense = 1\n")
    env = {"_SHOWTELL_COMPLETE": "complete_bash", "COMP_WORDS": "showtell cl", "COMP_CWORD": "1"}
    assert "classify" in cli(env=env).stdout
    assert typer  # the completion is typer's own


def test_settings_that_lie_in_the_folder_are_named(cli, shapes):
    Path("showtell.toml").write_text(f"labels = {LABELS!r}\nmethod = 'zero-shot'\n")
    told = cli("classify", shapes).stderr
    assert "note: showtell.toml in this folder sets " in told
    assert "labels" in told.split("sets ")[1].split(".")[0]
    assert "method" in told.split("sets ")[1].split(".")[0]
    over = cli("classify", shapes, "--labels", LABELS, "--method", "auto").stderr
    assert "in this folder sets" not in over
    assert "in this folder sets" not in cli("classify", shapes, "-q").stderr


def test_settings_that_are_named_need_no_note(cli, shapes):
    Path("mine.toml").write_text(f"labels = {LABELS!r}\n")
    assert "in this folder sets" not in cli("classify", shapes, "--config", "mine.toml").stderr


def test_a_file_without_quotes_says_how_to_write_it(cli, shapes):
    Path("showtell.toml").write_text("encoder = mini\n")
    assert 'with quotes around text: encoder = "mini"' in cli("classify", shapes).stderr
