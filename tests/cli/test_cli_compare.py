from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_methods_are_compared_on_the_same_images(cli, parted):
    result = cli("compare", parted, "--methods", "zero-shot,prototype", "--shots", "1", "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["n_samples"] == 6
    assert {row["name"] for row in value["records"]} == {"zero-shot", "prototype"}
    assert len(value["pairs"]) == 1
    assert result.stderr.strip().endswith(value["sentence"])


def test_into_a_pipe_the_methods_are_csv(cli, parted, rows):
    got = rows(cli("compare", parted, "--methods", "zero-shot,prototype,linear").stdout)
    assert len(got) == 3
    assert {"name", "accuracy", "accuracy_low", "accuracy_high"} <= got[0].keys()


def test_a_report_is_written(cli, parted):
    result = cli("compare", parted, "--methods", "zero-shot,prototype", "--report", "c.html")
    assert result.exit_code == 0, result.output
    page = Path("c.html").read_text("utf-8")
    assert "zero-shot" in page
    assert "prototype" in page


def test_runs_that_were_kept_are_compared_by_their_folders(cli, parted):
    cli("evaluate", parted, "--run", "a")
    cli("evaluate", parted, "--run", "b", "--shots", "1")
    result = cli("compare", "a", "b", "--json")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["records"]) == 2


def test_runs_about_other_images_are_not_compared(cli, parted, shapes):
    cli("evaluate", parted, "--run", "a")
    cli("evaluate", shapes, "--run", "b")
    result = cli("compare", "a", "b")
    assert result.exit_code == 2
    assert "not about the same samples" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("parted",),
            "or two or more run folders made by",
        ),
        (("parted", "shapes"), "run.json"),
        (("parted", "--methods", "zero-shot"), "two or more different methods"),
        (("parted", "--methods", "linear,linear"), "two or more different methods"),
        (("parted", "--methods", "zero-shot,magic"), "Unknown method 'magic'"),
        (("parted", "x", "--methods", "zero-shot,linear"), "--methods takes one DATA"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(cli, parted, shapes, arguments, message):
    result = cli("compare", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
