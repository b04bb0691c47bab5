"""`explain`: reasons on the terminal for a few, a page for many, prices before asking."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.cli.conftest import LABELS

from showtell.testing import ColourEncoder, make_images

EVERY_LABEL = ",".join(LABELS)


def test_one_image_is_explained_in_words(cli, shapes):
    image = next(shapes.rglob("red circle/*.png"))
    result = cli("explain", image, "--labels", EVERY_LABEL, "--grid", "4")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{image}: red circle (")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["Chances", "Where it looks"]
    assert "1 image explained" in result.stderr


def test_the_true_label_is_what_the_answer_is_compared_with(cli, shapes):
    image = next(shapes.rglob("red circle/*.png"))
    result = cli("explain", image, "--labels", EVERY_LABEL, "--label", "blue square", "--json",
                 "--grid", "4")  # fmt: skip
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["explanations"]
    assert (found["label"], found["actual"]) == ("red circle", "blue square")
    (seen,) = [part for part in found["parts"] if part["kind"] == "occlusion"]
    assert seen["rival"] == "blue square"
    assert "0 of 1 right" in result.stderr


def test_a_data_set_is_explained_by_its_test_images_and_learned_from_the_others(cli, parted):
    result = cli("explain", parted, "--method", "prototype", "-o", "why.html", "--grid", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    text = Path("why.html").read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert len(data["names"]) == 6
    assert all("test" in name for name in data["names"])
    assert data["truth"] is not None
    assert text.count("<template") == 6
    assert "Most alike among what it learned from" in text
    assert "6 of 6 right" in result.stderr


def test_images_and_examples_name_their_neighbours(cli, shapes, parted):
    image = next(shapes.rglob("blue square/*.png"))
    result = cli("explain", image, "--examples", parted, "--parts", "examples", "--most", "2")
    assert result.exit_code == 0, result.output
    assert "2 of the 2 most alike are labelled blue square" in result.stdout


def test_a_page_by_clues_has_a_tree_measured_on_the_test_images(cli, parted):
    colours = ["red", "green", "blue"]
    tree = {"domain": "shape", "parts": [{"part": "face", "attributes": {"colour": colours}}]}
    Path("tree.json").write_text(json.dumps(tree))
    common = ("explain", parted, "--method", "concepts", "--concepts", "tree.json", "-o")
    result = cli(*common, "why.html")
    assert result.exit_code == 0, result.output
    text = Path("why.html").read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert data["tree"]["n"] == 6  # the test images
    assert [node["n"] for node in data["tree"]["nodes"]] == ["face"]
    assert {card["l"] for card in data["cards"]} == {0, 1, 2}
    result = cli(*common, "few.html", "--limit", "2")  # not every label: measured by folds
    text = Path("few.html").read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert (data["tree"]["n"], len(data["names"])) == (12, 2)


def test_what_takes_long_is_said_before_and_what_is_left_out_after(cli, parted, monkeypatch):
    colours = ["red", "green", "blue"]
    tree = {"domain": "shape", "parts": [{"part": "face", "attributes": {"colour": colours}}]}
    Path("tree.json").write_text(json.dumps(tree))
    common = ("explain", parted, "--method", "concepts", "--concepts", "tree.json")
    result = cli(*common, "-o", "why.html")
    assert "Measuring what 3 clues are worth" in result.stderr
    assert "not looked for" not in result.stderr
    monkeypatch.setattr("showtell.explain.explaining._CHANGES_WORK", 1)
    result = cli(*common, "--limit", "3")
    assert "3 images and 3 clues would take long" in result.stderr
    assert "Measuring" not in result.stderr  # there is no page
    assert "What would change it" not in result.stdout


def test_descriptions_speak(cli, shapes):
    Path("words.json").write_text(
        json.dumps({label: [f"{label.split()[0]} colour"] for label in LABELS})
    )
    image = next(shapes.rglob("green triangle/*.png"))
    result = cli("explain", image, "--method", "dclip", "--descriptions", "words.json",
                 "--parts", "chances,descriptions")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Speaks for green triangle: green colour" in result.stdout


def test_more_images_than_usual_are_a_sample_that_is_said(cli, workplace, monkeypatch):
    monkeypatch.setattr("showtell.runs.explaining._USUAL", 4)
    make_images("many", labels=LABELS, n_per_label=3)
    result = cli("explain", "many", "--labels", EVERY_LABEL, "--parts", "chances")
    assert "4 of 9 images are explained; --limit N takes more" in result.stderr
    assert result.stdout.count("Chances") == 4
    assert "-o why.html makes a page" in result.stderr
    result = cli("explain", "many", "--labels", EVERY_LABEL, "--parts", "chances", "--limit", "8")
    assert result.stdout.count("Chances") == 8


def test_a_broken_image_is_named_and_the_others_are_explained(cli, shapes):
    Path("broken.png").write_bytes(b"broken")
    image = next(shapes.rglob("red circle/*.png"))
    result = cli("explain", "broken.png", image, "--labels", EVERY_LABEL, "--grid", "4")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("broken.png: cannot read broken.png")
    assert "1 of 2 images explained, 1 error" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--parts", "magic"), "chances"),
        (("--parts", "clues"), "it offers: chances, occlusion"),
        (("-o", "why.pdf"), "should end in .html"),
        (("--dry-run",), "name one with --model"),
        (("--method", "nonsense"), "method"),
    ],
)
def test_wrong_usage_says_what_is_allowed(cli, shapes, arguments, words):
    image = next(shapes.rglob("red circle/*.png"))
    result = cli("explain", image, "--labels", EVERY_LABEL, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_without_labels_it_says_where_they_could_come_from(cli, shapes):
    image = next(shapes.rglob("red circle/*.png"))
    result = cli("explain", image)
    assert result.exit_code == 2
    assert "Which labels?" in result.stderr


@pytest.fixture
def server():
    pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
    servers = pytest.importorskip("showtell.testing.servers")
    with servers.LocalServer("openai", encoder=ColourEncoder(), rule="nearest") as running:
        yield running


def test_demonstrations_are_left_out_after_the_price_was_said(cli, shapes, parted, server):
    pytest.importorskip("openai", reason="needs the extra openai")
    image = next(shapes.rglob("red circle/*.png"))
    common = ("explain", image, "--examples", parted, "--shots", "1",
              "--model", "openai-compatible:toy", "--base-url", server.base_url)  # fmt: skip
    dry = cli(*common, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "4 requests" in dry.stderr
    result = cli(*common, "--max-requests", "10", env={"OPENAI_COMPATIBLE_API_KEY": "x"})
    assert result.exit_code == 0, result.output
    said = result.stderr
    assert said.index("what leaving out each demonstration takes: 4 requests") < said.index(
        "image explained"
    )
    assert "1 decide: without demonstration" in result.stdout
    plain = cli(*common)
    assert "Which demonstrations mattered" not in plain.stdout
    assert "Most alike among the demonstrations" in plain.stdout
    other = cli("explain", image, "--labels", EVERY_LABEL, "--dry-run", "--method", "direct",
                "--model", "openai-compatible:toy", "--base-url", server.base_url)  # fmt: skip
    assert other.exit_code == 2
    assert "nothing to price" in other.stderr.replace("\n", " ")
