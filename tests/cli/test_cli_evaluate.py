from __future__ import annotations

import json
from pathlib import Path

import pytest

from showtell.testing import draw_shape, make_images

REQUIRED = {
    "n_samples", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy",
    "macro_precision", "macro_recall", "macro_f1", "weighted_f1", "n_abstained", "n_errors",
    "ece", "cost_usd", "per_class",
}  # fmt: skip


def one_object(result):
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def test_json_is_exactly_one_object_with_the_promised_keys(cli, shapes):
    value = one_object(cli("evaluate", shapes, "--json"))
    assert value.keys() >= REQUIRED
    assert (value["n_samples"], value["accuracy"]) == (9, 1.0)
    assert value["per_class"]["red circle"].keys() >= {"precision", "recall", "f1", "support"}
    assert value["per_class"]["red circle"]["support"] == 3


def test_only_the_test_split_is_scored(cli, parted):
    value = one_object(cli("evaluate", parted, "--json"))
    assert value["n_samples"] == 6


def test_shots_come_from_train(cli, parted):
    value = one_object(cli("evaluate", parted, "--shots", "2", "--json"))
    assert value["n_samples"] == 6
    assert value["run"]["estimator"]["n_support"] == 6
    assert value["run"]["estimator"]["params"]["shots"] == 2


def test_a_method_that_learns_takes_all_of_train_without_shots(cli, parted):
    value = one_object(cli("evaluate", parted, "--method", "prototype", "--json"))
    assert value["run"]["estimator"]["n_support"] == 12


def test_zero_shots_are_zero_shot(cli, parted):
    value = one_object(cli("evaluate", parted, "--shots", "0", "--json"))
    assert value["run"]["estimator"]["class"].endswith("ZeroShotClassifier")


def test_without_splits_zero_shot_scores_everything(cli, shapes):
    assert one_object(cli("evaluate", shapes, "--json"))["n_samples"] == 9


def test_without_splits_learning_sets_a_part_aside_and_says_so(cli, workplace):
    make_images("flat", n_per_label=8)
    result = cli("evaluate", "flat", "--method", "prototype", "--json")
    value = one_object(result)
    assert value["n_samples"] == 6
    assert value["run"]["estimator"]["n_support"] == 18
    assert "note: flat has no train/ and test/: a quarter is scored" in result.stderr


def test_test_size_sets_the_part(cli, workplace):
    make_images("flat", n_per_label=8)
    result = cli("evaluate", "flat", "--method", "prototype", "--test-size", "0.5", "--json")
    assert one_object(result)["n_samples"] == 12
    assert "a quarter" not in result.stderr


def test_test_size_is_refused_where_the_data_set_has_a_test_split(cli, parted):
    result = cli("evaluate", parted, "--test-size", "0.5")
    assert result.exit_code == 2
    assert "has its own test split" in result.stderr


def test_examples_from_elsewhere_are_learned_from(cli, shapes, parted):
    value = one_object(
        cli("evaluate", "parted/test", "--examples", "shapes", "--method", "prototype", "--json")
    )
    assert value["n_samples"] == 6
    assert value["run"]["estimator"]["n_support"] == 9


def test_images_on_both_sides_are_named(cli, parted):
    Path("parted/test/red circle/copy.png").write_bytes(
        Path("parted/train/red circle/0.png").read_bytes()
    )
    result = cli("evaluate", parted, "--shots", "1", "--json")
    assert "near duplicates of training images" in result.stderr
    assert "copy.png" in result.stderr
    silent = cli("evaluate", parted, "--shots", "1", "--json", "--no-check-duplicates")
    assert "near duplicates" not in silent.stderr


def test_the_same_seed_gives_the_same_numbers(cli, parted):
    one, two = (
        one_object(cli("evaluate", parted, "--shots", "1", "--seed", "5", "--json", "-q"))
        for _ in range(2)
    )
    for value in (one, two):
        del value["run"]
    assert one == two


def test_into_a_pipe_the_numbers_are_csv(cli, shapes, rows):
    got = rows(cli("evaluate", shapes).stdout)
    assert {"metric": "accuracy", "label": "", "value": "1.0"} in got
    assert {"metric": "support", "label": "red circle", "value": "3"} in got


def test_summary_has_the_interval(cli, shapes):
    line = cli("evaluate", shapes).stderr
    assert line.startswith("9 samples: accuracy 1.000 [0.701, 1.000], 0 abstained, 0 errors; ")


def test_a_failed_image_stays_in_the_denominator(cli, shapes):
    Path("shapes/red circle/broken.png").write_bytes(b"")
    value = one_object(cli("evaluate", shapes, "--json"))
    assert (value["n_samples"], value["n_errors"], value["accuracy"]) == (10, 1, 0.9)


def test_output_holds_the_scored_rows(cli, parted, rows):
    assert cli("evaluate", parted, "-o", "rows.csv").stdout == ""
    got = rows(Path("rows.csv").read_text("utf-8"))
    assert len(got) == 6
    assert all(Path(row["image"]).parent.name == row["label"] for row in got)


def test_report_and_run_folder_are_written_and_can_be_loaded(cli, parted):
    import showtell as st

    result = cli("evaluate", parted, "--report", "page.html", "--run", "kept", "--shots", "1")
    assert result.exit_code == 0, result.output
    assert "<html" in Path("page.html").read_text("utf-8")
    record = st.Record.load("kept")
    assert record.metrics["n_samples"] == 6
    run = json.loads(Path("kept/run.json").read_text("utf-8"))
    assert run["request"]["recipe"]["options"]["shots"] == 1
    assert (Path("kept") / "report.html").is_file()
    again = cli("evaluate", parted, "--run", "kept", "--shots", "1")
    assert again.exit_code == 0, again.output
    other = cli("evaluate", parted, "--run", "kept", "--shots", "2")
    assert other.exit_code == 2
    assert "shots was 1 and is 2" in other.stderr


def test_shot_curve_is_measured_and_printed(cli, parted):
    result = cli(
        "evaluate", parted, "--curve", "--curve-shots", "0,1,2,9", "--seeds", "2", "--json"
    )
    curve = one_object(result)["curve"]
    assert [point["shots"] for point in curve["points"]] == [0, 1, 2, 9]
    assert curve["seeds"] == [0, 1]
    assert curve["points"][3]["accuracy"] is None
    assert "9 shots need 9" in curve["points"][3]["note"]


@pytest.mark.parametrize("shots", ["", "1,x", "-1"])
def test_a_curve_of_nonsense_is_refused(cli, parted, shots):
    result = cli("evaluate", parted, "--curve", f"--curve-shots={shots}")
    assert result.exit_code == 2
    assert "--curve-shots needs numbers like 0,1,5,20" in result.stderr


@pytest.mark.parametrize("how", [("--method", "zero-shot"), ("--shots", "0")])
def test_a_curve_without_learning_is_refused(cli, parted, how):
    result = cli("evaluate", parted, "--curve", *how)
    assert result.exit_code == 2
    assert "--curve learns from examples" in result.stderr


def test_learning_needs_a_train_split_or_examples(cli, parted):
    import shutil

    shutil.rmtree("parted/train")
    result = cli("evaluate", parted, "--shots", "2")
    assert result.exit_code == 2
    assert "has a test split but no train split" in result.stderr


def test_a_wrong_request_leaves_no_run_folder(cli, parted):
    cli("evaluate", parted, "--curve", "--shots", "0", "--run", "kept")
    cli("evaluate", "--run", "kept")
    assert not Path("kept").exists()


def test_a_table_is_measured_with_columns_named(cli, shapes):
    lines = ["file,species,part"]
    for label in ("red circle", "blue square"):
        lines += [f"shapes/{label}/{i}.png,{label},{'test' if i else 'train'}" for i in range(3)]
    Path("photos.csv").write_text("\n".join(lines) + "\n")
    result = cli(
        "evaluate", "photos.csv", "--image-column", "file", "--label-column", "species",
        "--split-column", "part", "--shots", "1", "--json", "--no-check-duplicates",
    )  # fmt: skip
    value = one_object(result)
    assert (value["n_samples"], value["accuracy"]) == (4, 1.0)


def test_labels_of_the_command_line_may_add_wrong_answers(cli, shapes):
    value = one_object(
        cli("evaluate", shapes, "--labels",
            "red circle,green triangle,blue square,yellow circle", "--json")
    )  # fmt: skip
    assert "yellow circle" in value["labels"]
    assert value["per_class"]["yellow circle"]["support"] == 0


def test_a_label_outside_the_label_set_is_an_error(cli, shapes):
    result = cli("evaluate", shapes, "--labels", "red circle,green triangle")
    assert result.exit_code == 2
    assert "blue square" in result.stderr


def test_unlabelled_images_cannot_be_measured(cli, workplace):
    Path("flat").mkdir()
    draw_shape("red circle").save("flat/1.png")
    result = cli("evaluate", "flat")
    assert result.exit_code == 2
    assert "Nothing in 'flat' has a label" in result.stderr


def test_without_data_the_message_says_what_to_give(cli):
    result = cli("evaluate")
    assert result.exit_code == 2
    assert "--predictions TABLE --actual COL --predicted COL" in result.stderr


ANSWERS = (
    "# image, actual , predicted\n"
    "1.jpg,cat,It looks like a Cat.\n"
    "2.jpg,cat,catfish\n"
    "3.jpg,dog,a cat or a dog\n"
    "4.jpg,dog,\n"
    "5.jpg,dog,Dog!\n"
    "6.jpg,dog,I cannot help with that.\n"
)


def test_answers_of_anybody_are_scored_by_the_parsing_rules(cli, workplace):
    Path("answers.csv").write_text(ANSWERS)
    value = one_object(
        cli("evaluate", "--predictions", "answers.csv", "--actual", "actual",
            "--predicted", "predicted", "--json")
    )  # fmt: skip
    assert value["n_samples"] == 6
    assert value["accuracy"] == pytest.approx(2 / 6)
    assert value["n_abstained"] == 4
    assert value["cost_usd"] is None
    counts = {row["rule"]: row["n_answers"] for row in value["parsing"]}
    assert counts == {
        "exact": 1, "containment": 1, "invalid": 1, "ambiguous": 1, "empty": 1, "refusal": 1,
    }  # fmt: skip


def test_answers_and_a_data_set_together_are_refused(cli, shapes):
    Path("answers.csv").write_text(ANSWERS)
    result = cli("evaluate", shapes, "--predictions", "answers.csv")
    assert result.exit_code == 2
    assert "leave out DATA" in result.stderr


def test_an_unknown_column_lists_the_columns_there_are(cli, workplace):
    Path("answers.csv").write_text(ANSWERS)
    result = cli("evaluate", "--predictions", "answers.csv", "--actual", "truth")
    assert result.exit_code == 2
    assert "'image', 'actual', 'predicted'" in result.stderr


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "accuracy", "macro_f1"),
    [("animals", 0.7740, 0.775512), ("mnist", 0.7920, 0.804210), ("chess", 0.1656, 0.136602)],
)
def test_published_tables_are_reproduced(cli, shared_data, name, accuracy, macro_f1):
    table = shared_data / f"llava7b-{name}.csv"
    header = table.read_text("utf-8").splitlines()[0]
    actual = next(c for c in header.split(",") if "actual" in c)
    predicted = next(c for c in header.split(",") if "predicted" in c)
    value = one_object(
        cli("evaluate", "--predictions", table, f"--actual={actual}", f"--predicted={predicted}",
            "--json")
    )  # fmt: skip
    assert value["accuracy"] == pytest.approx(accuracy, abs=5e-5)
    assert value["macro_f1"] == pytest.approx(macro_f1, abs=5e-7)


def test_examples_without_labels_are_refused(cli, shapes):
    Path("loose").mkdir()
    draw_shape("red circle").save("loose/1.png")
    result = cli("evaluate", shapes, "--examples", "loose")
    assert result.exit_code == 2
    assert "--examples 'loose' has no labels" in result.stderr


def test_limit_scores_only_a_part_of_the_test_split(cli, parted):
    assert one_object(cli("evaluate", parted, "--limit", "3", "--json"))["n_samples"] == 3


def test_duplicates_are_not_looked_for_where_it_would_take_long(cli, parted, monkeypatch):
    monkeypatch.setattr("showtell.runs.data._DUPLICATES_UP_TO", 5)
    result = cli("evaluate", parted, "--shots", "1", "--json", "-v")
    assert "More than 5 images: not looked for near duplicates." in result.stderr


def test_a_run_folder_that_is_a_file_or_of_another_program_is_refused(cli, parted):
    Path("file").write_text("")
    assert "is a file; --run needs a folder" in cli("evaluate", parted, "--run", "file").stderr
    Path("other").mkdir()
    Path("other/run.json").write_text("{}")
    assert "that this command did not make" in cli("evaluate", parted, "--run", "other").stderr


def test_a_passed_over_file_is_noted(cli, shapes):
    Path("shapes/red circle/notes.txt").write_text("a note")
    result = cli("classify", shapes, "--labels", "red circle,blue square")
    assert "note: " in result.stderr
    assert "notes.txt" in result.stderr or "1 file" in result.stderr


def test_a_table_without_a_clear_column_of_labels_lists_its_columns(cli, shapes):
    Path("t.csv").write_text("photo,#species\nshapes/red circle/0.png,red circle\n")
    result = cli("evaluate", "t.csv")
    assert result.exit_code == 2
    assert "Name the column of labels with --label-column; the table has 'photo', 'species'." in (
        result.stderr
    )
    assert cli("evaluate", "t.csv", "--label-column", "species").exit_code == 0


def test_a_folder_without_labels_is_told_to_have_folders(cli, workplace):
    (workplace / "flat").mkdir()
    draw_shape("red circle").save("flat/a.png")
    result = cli("evaluate", "flat")
    assert result.exit_code == 2
    assert "Put the images into a folder per label." in result.stderr


def test_a_curve_is_among_the_numbers_of_a_pipe(cli, parted, rows):
    table = rows(
        cli("evaluate", parted, "--curve", "--curve-shots", "1,2,9", "--seeds", "2").stdout
    )
    found = {r["label"]: r["value"] for r in table if r["metric"] == "accuracy_at_shots"}
    assert list(found) == ["1", "2", "9"]
    assert 0 <= float(found["2"]) <= 1
    assert found["9"] == ""  # labels have four pictures


def test_where_every_image_fails_the_first_reason_is_told(cli, workplace):
    for label in ("cat", "dog"):
        Path("broken", label).mkdir(parents=True)
        Path("broken", label, "1.jpg").write_text("no picture")
    result = cli("evaluate", "broken")
    told = "showtell: Not one image got an answer. The first reason: cannot read broken"
    assert (result.exit_code, told in result.stderr) == (1, True)
    result = cli("compare", "broken", "--methods", "zero-shot,waffle")
    told = "showtell: zero-shot: not one image got an answer. The first reason: cannot read"
    assert (result.exit_code, told in result.stderr) == (1, True)
    assert "showtell: waffle: not one image" in result.stderr
