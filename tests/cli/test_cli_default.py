"""What can learn learns where there are examples, unless told otherwise, and it is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ALL = "learned from 12 examples"
NONE = "learned from no examples"
LABELS = "red circle,green triangle,blue square"


def last_line(result):
    assert result.exit_code == 0, result.output
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("told", "method", "learned"),
    [
        ((), "few-shot", ALL),
        (("--shots", "0"), "zero-shot", NONE),
        (("--method", "zero-shot"), "zero-shot", NONE),
        (("--shots", "2"), "few-shot", "learned from 6 examples"),
        (("--method", "prototype"), "prototype", ALL),
        (("--method", "prototype", "--shots", "0"), "zero-shot", NONE),
    ],
)
@pytest.mark.parametrize("verb", ["evaluate", "explain"])
def test_a_data_set_with_a_train_part_is_learned_from_unless_told_otherwise(
    cli, parted, verb, told, method, learned
):
    result = cli(verb, parted, *told, "--report", "page.html")
    assert f"; {method}, {learned}; " in last_line(result)
    page = Path("page.html").read_text("utf-8")
    assert re.search(rf'<p class="[^"]*">[^<]*{learned}', page) or learned in page


@pytest.mark.parametrize(("told", "method"), [((), "few-shot"), (("--shots", "0"), "zero-shot")])
def test_classify_learns_from_the_examples_it_is_given(cli, parted, told, method):
    common = ("classify", parted / "test", "-o", "o.csv", "--report", "page.html")
    result = cli(*common, "--examples", parted / "train", *told)
    learned = NONE if told else ALL
    assert last_line(result).endswith(f"; {method}, {learned}")
    assert learned in Path("page.html").read_text("utf-8")
    assert last_line(cli(*common, "-l", LABELS)).endswith(f"; zero-shot, {NONE}")


def test_compare_says_which_methods_learned(cli, parted):
    result = cli("compare", parted, "--methods", "zero-shot,prototype", "--report", "page.html")
    assert f"zero-shot: {NONE}; prototype: {ALL}" in result.stderr.splitlines()
    assert "learned from" in Path("page.html").read_text("utf-8")
    result = cli("compare", parted, "--methods", "zero-shot,prototype", "--shots", "1", "--json")
    assert f"zero-shot: {NONE}; prototype: learned from 3 examples" in result.stderr
    assert json.loads(result.stdout)


def test_a_folder_without_a_train_part_is_scored_whole_and_nothing_is_learned(cli, shapes):
    assert "9 samples: accuracy" in last_line(result := cli("evaluate", shapes))
    assert f"; zero-shot, {NONE}; " in last_line(result)
    assert "; few-shot, learned from 6 examples; " in last_line(
        cli("evaluate", shapes, "--test-size", "0.34")
    )
