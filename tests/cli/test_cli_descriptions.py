"""Methods that go by descriptions, on the command line."""

from __future__ import annotations

import json

import pytest

LABELS = ["red circle", "green triangle", "blue square"]


@pytest.fixture
def words(workplace):
    texts = {"red circle": ["red paint", "a red edge"], "green triangle": ["green paint"]}
    (workplace / "words.json").write_text(json.dumps({**texts, "blue square": []}))
    return "words.json"


@pytest.mark.parametrize("method", ["dclip", "cupl", "waffle", "waffle+descriptions"])
def test_every_image_gets_a_row_by_any_of_the_methods(cli, shapes, words, rows, method):
    given = [] if method == "waffle" else ["--descriptions", words]
    done = cli("classify", shapes, "--labels", ",".join(LABELS), "--method", method, *given)
    assert done.exit_code == 0, done.output
    found = rows(done.stdout)
    assert {row["status"] for row in found} == {"ok"}
    if method in ("dclip", "cupl"):
        assert all(row["label"] in row["image"] for row in found)


def test_labels_may_come_from_the_file_and_bare_ones_are_named(cli, shapes, words):
    done = cli("classify", shapes, "--method", "dclip", "--descriptions", words, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["labels"] == LABELS
    assert "No description for blue square" in " ".join(done.stderr.split())


def test_evaluate_measures_them_too(cli, parted, words):
    done = cli("evaluate", parted, "--method", "dclip", "--descriptions", words, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["accuracy"] == 1.0


def test_evaluate_says_what_comes_without_the_descriptions(cli, parted, words):
    given = ["--method", "dclip", "--descriptions", words, "--domain", "shape"]
    done = cli("evaluate", parted, *given, "--seed", 3, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["controls"]
    assert [control["name"] for control in found["controls"]] == ["template", "domain", "waffle"]
    assert found["seeds"] == [3, 4, 5, 6, 7]
    assert found["n_samples"] == 6
    assert found["sentence"] in " ".join(done.stderr.split())
    printed = cli("evaluate", parted, *given)
    assert "accuracy_of_control,waffle," in printed.stdout


def test_no_controls_switches_them_off(cli, parted, words):
    given = ["--method", "dclip", "--descriptions", words, "--no-controls", "--json"]
    done = cli("evaluate", parted, *given)
    assert done.exit_code == 0, done.output
    assert "controls" not in json.loads(done.stdout)
    assert "their place" not in done.stderr


def test_compare_takes_descriptions_for_the_methods_that_go_by_them(cli, parted, words):
    given = ["--methods", "zero-shot,dclip,cupl,waffle", "--descriptions", words]
    done = cli("compare", parted, *given, "--domain", "shape", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    names = {record["name"] for record in found["records"]}
    assert names == {"zero-shot", "dclip", "cupl", "waffle"}
    said = " ".join(done.stderr.split())
    assert "dclip: The descriptions" in said
    assert "waffle: The random words" in said
    off = cli("compare", parted, *given, "--no-controls")
    assert "The descriptions" not in off.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["zero-shot,prototype", "--descriptions", "words.json"],
            "--descriptions belongs to dclip",
        ),
        (["zero-shot,prototype", "--domain", "shape"], "--domain belongs to dclip"),
        (["zero-shot,dclip"], "needs --descriptions FILE"),
    ],
)
def test_compare_refuses_words_that_nobody_uses(cli, parted, words, arguments, said):
    done = cli("compare", parted, "--methods", *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "dclip", "--labels", "a,b"], "needs --descriptions FILE"),
        (
            ["--labels", "a,b", "--descriptions", "x.json"],
            "belongs to --method dclip",
        ),
        (["--labels", "a,b", "--domain", "bird"], "--domain belongs to"),
        (["--labels", "a,b", "--method", "waffle", "--shots", "2"], "does not take --shots"),
        (
            ["--method", "dclip", "--descriptions", "missing.json"],
            "There is no file of descriptions 'missing.json'",
        ),
        (["--method", "dclip", "--descriptions", "words.txt"], "files that end in"),
    ],
)
def test_what_does_not_fit_ends_with_2(cli, shapes, arguments, said):
    done = cli("classify", shapes, *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
