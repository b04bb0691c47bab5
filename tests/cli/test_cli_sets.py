"""`classify --sets`: labels of which one is right as often as was promised."""

from __future__ import annotations

import json

import pytest

from showtell.testing import make_images

LABELS = ("red circle", "green triangle", "blue square")


@pytest.fixture
def many(workplace):
    make_images("many", labels=LABELS, n_per_label=12, seed=3)
    return "many"


def test_a_column_names_the_labels_of_each_set_the_likeliest_first(cli, rows, shapes, many):
    done = cli("classify", shapes, "--examples", many, "--sets", "0.9", "-m", "prototype")
    assert done.exit_code == 0, done.stderr
    found = rows(done.stdout)
    for row in found:
        members = row["set"].split("|")
        assert members[0] == row["label"]
        assert set(members) <= set(LABELS)
    assert "18 of 36 examples only say how large sets must be" in done.stderr


def test_a_method_that_does_not_learn_calibrates_on_all_examples(cli, shapes, many):
    done = cli("classify", shapes, "--examples", many, "--sets", "0.8", "-m", "zero-shot", "--json")
    assert done.exit_code == 0, done.stderr
    assert "only say how large" not in done.stderr
    said = json.loads(done.stdout)["predictions"]
    assert all(row["set"].split("|")[0] == row["label"] for row in said)


def test_too_few_examples_for_a_promise_make_sets_of_all_labels(cli, rows, shapes):
    done = cli("classify", shapes, "--examples", shapes, "--sets", "0.99", "-m", "zero-shot")
    assert "A promise of 99 % needs 99 labelled images" in done.stderr
    assert all(set(row["set"].split("|")) == set(LABELS) for row in rows(done.stdout))


def test_an_unreadable_image_has_no_set(cli, rows, many, workplace):
    (workplace / "broken.png").write_bytes(b"no image")
    done = cli("classify", "broken.png", "many", "--examples", many, "--sets", "0.8")
    row = next(row for row in rows(done.stdout) if row["image"] == "broken.png")
    assert (row["status"], row["set"]) == ("error", "")


def test_sets_need_examples(cli, shapes):
    done = cli("classify", shapes, "-l", ",".join(LABELS), "--sets", "0.9")
    assert done.exit_code == 2
    assert "--sets are calibrated on labelled images: give some with --examples DIR" in done.stderr


def test_a_run_with_sets_is_another_request(cli, shapes, many):
    common = ("classify", shapes, "--examples", many, "-m", "zero-shot", "--run", "kept")
    assert cli(*common, "--sets", "0.9").exit_code == 0
    other = cli(*common, "--sets", "0.8")
    assert other.exit_code == 2
    assert "sets was 0.9 and is 0.8" in other.stderr
