"""--boxes: each box on the pictures of a folder is a row of its own."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from showtell.testing import draw_shape

LABELS = ("red circle", "green triangle", "blue square")


@pytest.fixture
def boxed(workplace) -> Path:
    """``sheets/1.png`` and ``2.png`` with three shapes side by side, and ``boxes.json``."""
    Path("sheets").mkdir()
    pictures, boxes = [], []
    for number in (1, 2):
        shapes = [draw_shape(label, seed=number) for label in LABELS]
        width, height = shapes[0].size
        sheet = Image.new("RGB", (3 * width, height))
        for place, shape in enumerate(shapes):
            sheet.paste(shape, (place * width, 0))
            box = [place * width, 0, width, height]
            boxes.append({"image_id": number, "category_id": place, "bbox": box})
        sheet.save(f"sheets/{number}.png")
        pictures.append({"id": number, "file_name": f"{number}.png"})
    categories = [{"id": place, "name": label} for place, label in enumerate(LABELS)]
    value = {"images": pictures, "categories": categories, "annotations": boxes}
    Path("boxes.json").write_text(json.dumps(value))
    return Path("sheets")


def test_classify_gives_each_box_a_row_that_names_it(cli, boxed):
    labels = ("--labels", ",".join(LABELS))
    result = cli("classify", boxed, "--boxes", "boxes.json", *labels, "--report", "page.html")
    assert result.exit_code == 0, result.output
    got = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["label"] for row in got] == [*LABELS, *LABELS]
    with Image.open("sheets/1.png") as sheet:
        width = sheet.width // 3
    assert got[1]["image"].startswith(f"sheets/1.png#{width},0,{2 * width},")
    assert got[1]["image"] in Path("page.html").read_text()


def test_classify_takes_boxes_that_nobody_labelled(cli, boxed):
    value = json.loads(Path("boxes.json").read_text())
    for box in value["annotations"]:
        del box["category_id"]
    Path("boxes.json").write_text(json.dumps({**value, "categories": []}))
    result = cli("classify", boxed, "--boxes", "boxes.json", "-l", ",".join(LABELS), "--json")
    assert json.loads(result.stdout)["counts"] == {"ok": 6, "abstained": 0, "error": 0}


def test_evaluate_scores_the_labels_of_the_boxes(cli, boxed):
    result = cli("evaluate", boxed, "--boxes", "boxes.json", "--json", "--run", "kept")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert (value["n_samples"], value["accuracy"]) == (6, 1.0)
    assert value["per_class"]["red circle"]["support"] == 2


def test_a_box_on_a_picture_that_is_not_there_is_an_error_row(cli, boxed):
    Path("sheets/2.png").unlink()
    result = cli("classify", boxed, "--boxes", "boxes.json", "-l", ",".join(LABELS), "--json")
    assert json.loads(result.stdout)["counts"] == {"ok": 3, "abstained": 0, "error": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sheets", "sheets/1.png"), "goes with one folder"),
        (("sheets/1.png",), "is none"),
        (("sheets", "--image-column", "x"), "goes with one folder"),
    ],
)
def test_boxes_lie_on_one_folder(cli, boxed, arguments, message):
    result = cli("classify", *arguments, "--boxes", "boxes.json", "-l", "a,b")
    assert result.exit_code == 2
    assert message in result.stderr
