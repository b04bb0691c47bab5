"""`showtell clean`: exit codes, what is printed and written; nothing is changed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from showtell.testing import make_images


@pytest.fixture
def doubtful(workplace) -> Path:
    """Six pictures of each of two labels; one red circle lies among the blue squares."""
    make_images("data", labels=("red circle", "blue square"), n_per_label=6)
    red = sorted(Path("data/red circle").iterdir())[0]
    red.rename(Path("data/blue square") / "stray.png")
    return Path("data")


def test_the_wrong_label_comes_first_and_every_image_has_a_row(cli, doubtful, rows):
    result = cli("clean", doubtful)
    assert result.exit_code == 0
    found = rows(result.stdout)
    assert len(found) == 12
    assert list(found[0]) == [
        "image", "label", "suggested", "margin", "self_confidence", "suspect", "status", "error",
    ]  # fmt: skip
    assert found[0]["image"].endswith("stray.png")
    assert (found[0]["label"], found[0]["suggested"]) == ("blue square", "red circle")
    assert "12 images: 1 label most likely wrong" in result.stderr
    assert (doubtful / "blue square" / "stray.png").is_file()  # nothing was moved or dropped


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_files_hold_all_labels_and_what_is_no_suspect(cli, doubtful, suffix):
    result = cli("clean", doubtful, "-o", f"all{suffix}", "--cleaned", "kept.csv")
    assert (result.exit_code, result.stdout) == (0, "")
    assert len(Path(f"all{suffix}").read_text().splitlines()) == 12 + (suffix == ".csv")
    with Path("kept.csv").open() as stream:
        kept = list(csv.DictReader(stream))
    assert len(kept) == 11
    assert not any(row["image"].endswith("stray.png") for row in kept)
    again = cli("clean", "kept.csv", "--json")
    assert json.loads(again.stdout)["n_images"] == 11


def test_json_is_one_object(cli, doubtful):
    result = cli("clean", doubtful, "--json", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert (found["n_images"], found["n_suspects"]) == (12, 1)
    assert len(found["labels"]) == 12


def test_a_page_is_written(cli, doubtful):
    result = cli("clean", doubtful, "--report", "page.html", "-q")
    assert result.exit_code == 0
    assert "stray.png" in Path("page.html").read_text()


def test_a_broken_picture_is_an_error_row_and_stops_nothing(cli, doubtful, rows):
    (doubtful / "red circle" / "broken.jpg").write_bytes(b"no picture")
    result = cli("clean", doubtful)
    assert result.exit_code == 0
    last = rows(result.stdout)[-1]
    assert (last["status"], last["suggested"]) == ("error", "")
    assert last["error"]
    assert "1 error" in result.stderr


def test_where_no_picture_can_be_read_the_run_has_failed(cli, workplace):
    for label in ("a", "b"):
        folder = Path("broken") / label
        folder.mkdir(parents=True)
        for n in range(2):
            (folder / f"{n}.jpg").write_bytes(b"no picture")
    result = cli("clean", "broken")
    assert result.exit_code == 1
    assert "Not one image could be read" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere/"], "nowhere"),
        (["data", "-o", "all.txt"], "must end in .csv, .parquet, .jsonl"),
        (["data", "--cleaned", "all.txt"], "must end in .csv, .parquet, .jsonl"),
        (["data", "--report", "page.pdf"], "HTML page"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, doubtful, arguments, told):
    result = cli("clean", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_labels_of_one_image_each_are_refused(cli, workplace):
    make_images("few", labels=("red circle", "blue square"), n_per_label=1)
    result = cli("clean", "few")
    assert result.exit_code == 2
    assert "two different images each" in result.stderr
