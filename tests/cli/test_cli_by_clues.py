"""classify, evaluate, compare and explain by the clues of a concept tree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from showtell.prompts.concepts.reading import read_concepts


@pytest.fixture
def tree(workplace):
    """Clues about colour, which is all that the encoder sees."""
    colours = {"red": ["red circle"], "green": ["green triangle"], "blue": ["blue square"]}
    parts = [
        {"part": "face", "attributes": {"colour": colours}},
        {"part": "edge", "attributes": {"colour": [*colours, "yellow"], "form": ["round"]}},
    ]
    return read_concepts({"domain": "shape", "parts": parts}).write("tree.json")


@pytest.mark.parametrize("method", ["concepts", "concept-forest"])
def test_evaluate_learns_clues_from_train_and_scores_test(cli, parted, tree, method):
    done = cli("evaluate", parted, "--method", method, "--concepts", tree, "--json")
    assert done.exit_code == 0, done.stderr
    value = json.loads(done.stdout)
    assert (value["accuracy"], value["n_samples"]) == (1.0, 6)


def test_classify_learns_from_examples(cli, shapes, parted, tree, rows):
    given = ("--method", "concepts", "--concepts", tree, "--examples", parted / "train", "-k", 2)
    done = cli("classify", shapes, *given)
    assert done.exit_code == 0, done.stderr
    found = rows(done.stdout)
    assert len(found) == 9
    assert all(Path(row["image"]).parent.name == row["label"] for row in found)


def test_compare_gives_the_tree_to_those_that_take_it(cli, parted, tree):
    methods = "zero-shot,concepts,concept-forest,prototype"
    done = cli("compare", parted, "--methods", methods, "--concepts", tree, "--json")
    assert done.exit_code == 0, done.stderr
    names = {record["name"] for record in json.loads(done.stdout)["records"]}
    assert {"zero-shot", "concepts", "concept-forest", "prototype"} == names


def test_explain_names_clues(cli, parted, tree):
    image = next((parted / "test").rglob("*.png"))
    given = ("--method", "concepts", "--concepts", tree, "--examples", parted / "train")
    done = cli("explain", image, *given, "--json", "--parts", "clues")
    assert done.exit_code == 0, done.stderr
    assert "colour" in done.stdout


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (("--method", "concepts"), "needs --concepts FILE"),
        (("--method", "linear", "--concepts", "tree.json"), "--concepts belongs to"),
        (("--method", "concepts", "--concepts", "tree.json", "-k", "0"), "--shots is 1 or more"),
        (("--method", "concepts", "--concepts", "tree.json", "-l", "a,b"), "learns from examples"),
        (("--method", "concepts", "--concepts", "none.json", "--examples", "parted/train"),
         "There is no concept tree 'none.json'"),
        (("--method", "concept-forest", "--concepts", "tree.json", "--examples", "parted/train",
          "--transductive", "adapt"), "--transductive belongs to"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_exit_code_2(cli, parted, tree, given, complaint):
    done = cli("classify", parted / "test", *given)
    assert done.exit_code == 2
    assert complaint in " ".join(done.stderr.split())


def test_compare_refuses_a_tree_that_nobody_takes(cli, parted, tree):
    done = cli("compare", parted, "--methods", "zero-shot,linear", "--concepts", tree)
    assert done.exit_code == 2
    assert "--concepts belongs to concepts, concept-forest" in " ".join(done.stderr.split())
