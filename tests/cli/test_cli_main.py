"""Exit codes, one-line errors, help: what holds for every command."""

from __future__ import annotations

import json
import re

import pytest
from typer.main import get_command

import showtell
from showtell.cli.main import app
from showtell.errors import MissingExtraError, RunError
from showtell.recipes import Recipe
from showtell.testing import ColourEncoder

VERBS = list(get_command(app).commands)
LABELS = "red circle,green triangle,blue square"


def breaking(error):
    def broken(*args, **kwargs):
        raise error

    return broken


def test_the_verbs_of_the_main_job_are_there():
    assert {"classify", "evaluate", "compare", "encoders", "cache", "version"} <= set(VERBS)


def test_help_names_every_verb_settings_and_exit_codes(cli):
    result = cli("--help")
    assert result.exit_code == 0
    assert all(verb in result.stdout for verb in VERBS)
    assert "showtell.toml" in result.stdout
    assert "3 stopped, run again to resume" in " ".join(result.stdout.split())


def test_without_a_verb_the_help_comes_with_exit_code_2(cli):
    result = cli()
    assert result.exit_code == 2
    assert "Usage" in result.output


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_is_told_before_any_verb(cli, flag):
    result = cli(flag)
    assert (result.exit_code, result.stdout) == (0, f"showtell {showtell.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["clasify"],
            "showtell: No such command 'clasify'. Did you mean 'classify'? See: showtell --help\n",
        ),
        (["classify"], "showtell: Missing argument 'IMAGES...'. See: showtell classify --help\n"),
        (
            ["evaluate", "--jsn"],
            "showtell: No such option: --jsn (Possible options: --jobs, --json, --run). See: "
            "showtell evaluate --help\n",
        ),
    ],
)
def test_wrong_usage_is_one_line_that_says_where_help_is(cli, arguments, line):
    result = cli(*arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", line)


def test_a_run_that_fails_ends_with_1(cli, shapes, monkeypatch):
    monkeypatch.setattr(ColourEncoder, "encode_prepared", breaking(RunError("The network broke.")))
    result = cli("classify", shapes, "--labels", LABELS, "--no-store")
    assert (result.exit_code, result.stderr) == (1, "showtell: The network broke.\n")


def test_a_missing_extra_ends_with_1_and_the_install_line(cli, shapes, monkeypatch):
    error = MissingExtraError("HEIC pictures", "pillow_heif", "heif")
    monkeypatch.setattr(Recipe, "fit", breaking(error))
    result = cli("classify", shapes, "--labels", LABELS)
    assert result.exit_code == 1
    assert 'Install it with: pip install "showtell[heif]"' in result.stderr


def test_a_bug_is_called_a_bug_without_a_traceback(cli, shapes, monkeypatch):
    monkeypatch.setattr(Recipe, "fit", breaking(KeyError("oops")))
    result = cli("classify", shapes, "--labels", LABELS)
    assert result.exit_code == 1
    assert result.stderr == (
        "showtell: This is a bug in showtell, not in your input: KeyError: 'oops'. Run again with "
        "--debug to see where.\n"
    )


def test_debug_shows_the_traceback_after_the_line(cli, shapes, monkeypatch):
    monkeypatch.setattr(Recipe, "fit", breaking(KeyError("oops")))
    result = cli("classify", shapes, "--labels", LABELS, "--debug")
    assert result.exit_code == 1
    first, *rest = result.stderr.splitlines()
    assert first.startswith("showtell: This is a bug")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "KeyError: 'oops'"


def test_ctrl_c_ends_with_3_and_says_how_to_go_on(cli, shapes, monkeypatch):
    monkeypatch.setattr(ColourEncoder, "encode_prepared", breaking(KeyboardInterrupt()))
    result = cli("classify", shapes, "--labels", LABELS, "--no-store")
    assert result.exit_code == 3
    assert result.stderr == (
        "showtell: Stopped. Images that were embedded are kept: run the same command again to go "
        "on from there.\n"
    )


def test_after_ctrl_c_the_same_command_computes_only_the_rest(cli, shapes, monkeypatch):
    original, computed = ColourEncoder.encode_prepared, []

    def stop_after_some(self, pixels):
        if computed and stopping:
            raise KeyboardInterrupt
        computed.append(len(pixels))
        return original(self, pixels)

    monkeypatch.setattr(ColourEncoder, "encode_prepared", stop_after_some)
    monkeypatch.setattr(ColourEncoder, "__init__", lambda self: (
        setattr(self, "batch_size", 2), setattr(self, "name", "colours"),
        setattr(self, "fingerprint", "colours-1"), setattr(self, "n_dims", 5), None)[-1],
    )  # fmt: skip
    stopping = True
    assert cli("classify", shapes, "--labels", LABELS).exit_code == 3
    assert sum(computed) < 9
    stopping = False
    result = cli("classify", shapes, "--labels", LABELS)
    assert result.exit_code == 0
    assert "9 images: 9 ok" in result.stderr
    assert sum(computed) == 9


def test_a_full_disk_is_one_line(cli, shapes, monkeypatch):
    error = OSError(28, "No space left on device", "rows.csv")
    monkeypatch.setattr("showtell.classify.Predictions.write", breaking(error))
    result = cli("classify", shapes, "--labels", LABELS, "-o", "rows.csv")
    assert result.exit_code == 4
    assert "showtell: rows.csv could not be written: No space left on device.\n" in result.stderr
    assert result.stderr.endswith("run the same command again for it.\n")
    assert len(result.stdout.splitlines()) > 1  # the rows are not lost


def test_running_out_of_memory_is_one_line(cli, shapes, monkeypatch):
    monkeypatch.setattr(Recipe, "fit", breaking(MemoryError()))
    result = cli("classify", shapes, "--labels", LABELS)
    assert (result.exit_code, "Out of memory" in result.stderr) == (1, True)


def test_version_is_one_line_and_verbose_lists_libraries(cli):
    assert cli("version").stdout == f"showtell {showtell.__version__}\n"
    verbose = cli("version", "-v").stdout
    assert re.search(r"^python 3\.\d+", verbose, re.M)
    assert re.search(r"^numpy \d", verbose, re.M)
    value = json.loads(cli("version", "--json").stdout)
    assert value["showtell"] == showtell.__version__
    assert "onnxruntime" in value


def test_encoders_lists_the_embedded_one_first(cli, rows):
    result = cli("encoders")
    assert result.exit_code == 0
    assert rows(result.stdout)[0]["name"] == "mini"
    value = json.loads(cli("encoders", "--json").stdout)
    assert value["encoders"][0]["name"] == "mini"
    assert {"local-dir:PATH", "hf-hub:ORG/NAME"} <= {row["name"] for row in value["encoders"]}


def test_the_cache_says_what_it_holds_and_forgets_on_demand(cli, shapes):
    cli("classify", shapes, "--labels", LABELS)
    held = json.loads(cli("cache", "--json").stdout)
    assert held["n_embeddings"] >= 9
    assert held["encoders"][0]["name"] == "colours"
    assert "colours," in cli("cache", "info").stdout
    assert cli("cache", "prune", "--older-than", "30").stderr.startswith("removed 0 embeddings")
    pruned = cli("cache", "prune", "--max-mb", "0.00008")
    assert re.match(r"removed \d+ embeddings, kept \d\n", pruned.stderr)
    assert json.loads(cli("cache", "clear", "--json").stdout)["n_embeddings"] == 0


def test_pruning_needs_to_know_how_much(cli):
    result = cli("cache", "prune")
    assert result.exit_code == 2
    assert "Give --max-mb or --older-than" in result.stderr


def test_an_unknown_cache_action_lists_the_known_ones(cli):
    result = cli("cache", "burn")
    assert result.exit_code == 2
    assert all(action in result.stderr for action in ("info", "prune", "clear"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--transductive", "balanse"],
            "'--transductive': 'balanse' is not one of 'balance', 'adapt'. See: ",
        ),
        (["--limit", "0"], "'--limit': it should be greater than or equal to 1. See: "),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(cli, shapes, arguments, line):
    result = cli("classify", shapes, "--labels", "a,b", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert line in result.stderr
    assert "Value error" not in result.stderr


def test_the_version_comes_in_the_way_many_try_first(cli):
    first, second = cli("--version"), cli("version")
    assert (first.exit_code, first.stdout) == (0, second.stdout)


def test_the_package_can_be_run_as_a_module():
    import subprocess
    import sys

    command = [sys.executable, "-m", "showtell", "version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("showtell ")


def test_an_option_without_all_of_its_values_names_the_help_of_its_verb(cli, workplace):
    result = cli("describe", "a.json", "--compare", "b.json")
    assert result.exit_code == 2
    assert result.stderr.endswith("See: showtell describe --help\n")
