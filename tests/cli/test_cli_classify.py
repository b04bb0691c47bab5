from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.spoiled import make_spoiled_files

from showtell.testing import draw_shape

LABELS = "red circle,green triangle,blue square"


def test_each_image_gets_a_row_in_order_and_csv_goes_into_a_pipe(cli, shapes, rows):
    result = cli("classify", shapes, "--labels", LABELS)
    assert result.exit_code == 0
    got = rows(result.stdout)
    assert list(got[0]) == ["image", "label", "confidence", "status", "error"]
    names = [row["image"] for row in got]
    assert names == sorted(names)
    assert len(got) == 9
    assert all(row["label"] == Path(row["image"]).parent.name for row in got)
    assert {row["status"] for row in got} == {"ok"}


def test_summary_goes_to_stderr_and_quiet_hides_it(cli, shapes):
    loud = cli("classify", shapes, "--labels", LABELS)
    assert loud.stderr.startswith("9 images: 9 ok, 0 errors; ")
    assert loud.stdout.startswith("image,")
    quiet = cli("classify", shapes, "--labels", LABELS, "-q")
    assert quiet.stderr == ""
    assert quiet.stdout == loud.stdout


def test_json_is_one_object_with_every_row(cli, shapes):
    result = cli("classify", shapes, "--labels", LABELS, "--json", "--proba")
    value = json.loads(result.stdout)
    assert value["n_images"] == 9
    assert value["counts"] == {"ok": 9, "abstained": 0, "error": 0}
    first = value["predictions"][0]
    assert first["label"] == "blue square"
    assert first["p_blue square"] == pytest.approx(first["confidence"])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_output_file_holds_the_same_rows_in_every_format(cli, shapes, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    from showtell.classify import Predictions

    result = cli("classify", shapes, "--labels", LABELS, "-o", f"new/rows{suffix}", "--proba")
    assert result.exit_code == 0
    assert result.stdout == ""
    read = Predictions.read(f"new/rows{suffix}")
    assert len(read) == 9
    assert read.label.tolist() == ["blue square"] * 3 + ["green triangle"] * 3 + ["red circle"] * 3


def test_unreadable_images_are_rows_and_the_exit_code_stays_0(cli, shapes, rows):
    Path("shapes/a.jpg").write_text("This is a shopping list.")
    listed = ("classify", shapes, "-", "--labels", LABELS)
    result = cli(*listed, stdin="gone.jpg\n")
    assert result.exit_code == 0
    got = rows(result.stdout)
    assert len(got) == 11
    errors = [row for row in got if row["status"] == "error"]
    assert [row["image"] for row in errors] == ["shapes/a.jpg", "gone.jpg"]
    assert all(row["label"] == row["confidence"] == "" for row in errors)
    assert all(row["error"] and "\n" not in row["error"] for row in errors)
    assert "11 images: 9 ok, 2 errors" in result.stderr


def test_spoiled_files_among_good_ones_change_nothing_about_them(cli, workplace, rows):
    """Good ones stay as they are, readable odd ones are right, the rest are error rows."""
    photo = draw_shape("red circle", seed=3)
    Path("mixed").mkdir()
    for i in range(5):
        draw_shape("blue square", seed=i).save(f"mixed/good_{i}.png")
    alone = rows(cli("classify", "mixed", "--labels", LABELS, "--no-store").stdout)
    expected = make_spoiled_files(Path("mixed"), photo)
    assert len(expected) >= 30

    table = Path("out.csv")
    files = sorted(os.listdir(b"mixed"))  # noqa: PTH208 (names as bytes)
    listing = b"\0".join(b"mixed/" + name for name in files)
    from typer.testing import CliRunner

    from showtell.cli.main import app

    result = CliRunner().invoke(
        app, ["classify", "-", "--labels", LABELS, "-o", str(table)], input=listing
    )
    assert result.exit_code == 0, result.output
    with table.open(encoding="utf-8", newline="") as stream:
        got = list(csv.DictReader(stream))
    assert len(got) == len(files)
    by_name = dict(zip((os.fsdecode(name) for name in files), got, strict=True))
    for row in alone:
        same = by_name[Path(row["image"]).name]
        assert (same["label"], same["confidence"]) == (row["label"], row["confidence"])
    wrong = {
        name: by_name[name] for name, kind in expected.items() if by_name[name]["status"] != kind
    }
    assert wrong == {}
    colourless = {"grey", "black", "float", "palette"}
    for name, kind in expected.items():
        if kind == "ok" and not any(word in name for word in colourless):
            assert by_name[name]["label"] == "red circle", name


def test_a_table_gives_its_images_relative_to_itself(cli, shapes, rows):
    Path("lists").mkdir()
    Path("lists/photos.csv").write_text(
        "image,shop\n../shapes/red circle/0.png,A\n../shapes/blue square/1.png,B\n"
        "../shapes/red circle/0.png,C\n"
    )
    result = cli("classify", "lists/photos.csv", "--labels", LABELS)
    assert [row["label"] for row in rows(result.stdout)] == [
        "red circle", "blue square", "red circle",
    ]  # fmt: skip


def test_standard_input_is_a_list(cli, shapes, rows):
    result = cli(
        "classify", "-", "--labels", LABELS,
        stdin="shapes/red circle/0.png\nshapes/green triangle/1.png\n",
    )  # fmt: skip
    assert [row["label"] for row in rows(result.stdout)] == ["red circle", "green triangle"]


def test_globs_that_the_shell_left_are_expanded(cli, shapes, rows):
    result = cli("classify", "shapes/*/0.png", "--labels", LABELS)
    assert [Path(row["image"]).parent.name for row in rows(result.stdout)] == [
        "blue square", "green triangle", "red circle",
    ]  # fmt: skip


def test_labels_file_decides_the_order_of_the_columns(cli, shapes):
    Path("labels.txt").write_text("red circle\nblue square\ngreen triangle\n")
    result = cli("classify", shapes, "--labels-file", "labels.txt", "--proba", "-q")
    header = result.stdout.splitlines()[0]
    assert header.endswith("p_red circle,p_blue square,p_green triangle")


def test_labels_json_beside_class_folders_gives_the_words(cli, shapes, rows):
    Path("shapes/labels.json").write_text('{"red circle": "a red thing", "blue square": "blue"}')
    result = cli("classify", "shapes/red circle", "--labels-file", "shapes/labels.json")
    assert {row["label"] for row in rows(result.stdout)} == {"a red thing"}


def test_examples_teach_labels_that_words_could_not(cli, workplace, rows):
    for label, colour in (("ham", "red"), ("egg", "yellow")):
        Path("seen", label).mkdir(parents=True)
        for i in range(2):
            draw_shape(f"{colour} square", seed=i).save(f"seen/{label}/{i}.png")
    draw_shape("yellow circle", seed=9).save("new.png")
    result = cli("classify", "new.png", "--examples", "seen", "--proba")
    assert result.exit_code == 0
    assert rows(result.stdout)[0]["label"] == "egg"


@pytest.mark.parametrize("method", ["few-shot", "prototype", "tip-adapter", "linear", "zero-shot"])
def test_every_method_runs_on_examples(cli, parted, rows, method):
    result = cli("classify", "parted/test", "--examples", parted, "--method", method)
    assert result.exit_code == 0, result.output
    got = rows(result.stdout)
    assert all(row["label"] == Path(row["image"]).parent.name for row in got)


def test_abstaining_leaves_the_row_without_a_label(cli, shapes, rows):
    Image.fromarray(np.full((40, 40, 3), 255, np.uint8)).save("blank.png")
    result = cli("classify", "blank.png", "--labels", LABELS, "--abstain-below", "0.9")
    row = rows(result.stdout)[0]
    assert (row["status"], row["label"], row["confidence"], row["error"]) == ("abstained",) + (
        "",
    ) * 3
    assert "0 ok, 1 abstained, 0 errors" in result.stderr


def test_limit_takes_the_same_sample_for_the_same_seed(cli, shapes):
    first = cli("classify", shapes, "--labels", LABELS, "--limit", "4", "--seed", "3", "-q")
    again = cli("classify", shapes, "--labels", LABELS, "--limit", "4", "--seed", "3", "-q")
    assert first.stdout == again.stdout
    assert len(first.stdout.splitlines()) == 5


def test_same_inputs_give_the_same_rows_from_the_store_and_without_it(cli, shapes):
    runs = [
        cli("classify", shapes, "--labels", LABELS, "-q", *more)
        for more in ((), (), ("--no-store",))
    ]
    assert runs[0].stdout == runs[1].stdout == runs[2].stdout


def test_threads_and_precision_reach_the_encoder(cli, shapes, loaded):
    cli("classify", shapes, "--labels", LABELS, "--threads", "1")
    assert loaded == [("mini", "auto", 1)]


def test_templates_may_be_a_set_a_template_or_a_file(cli, shapes):
    Path("templates.txt").write_text("a {label}.\n\nthe {label}.\n")
    for templates in ("plain", "one {label}", "templates.txt"):
        result = cli("classify", shapes, "--labels", LABELS, "--templates", templates)
        assert result.exit_code == 0, result.output
    result = cli("classify", shapes, "--labels", LABELS, "--templates", "plainn")
    assert result.exit_code == 2
    assert "Unknown template set 'plainn'" in result.stderr


@pytest.mark.parametrize("batch", ["balance", "adapt"])
def test_batch_modes_run(cli, shapes, batch):
    assert cli("classify", shapes, "--labels", LABELS, "--transductive", batch).exit_code == 0


def test_report_is_one_page_with_the_images(cli, shapes):
    result = cli("classify", shapes, "--labels", LABELS, "--report", "page.html", "-q")
    assert result.exit_code == 0
    assert "<html" in Path("page.html").read_text("utf-8")


def test_a_run_folder_keeps_request_rows_and_page_and_goes_on(cli, shapes):
    command = ("classify", shapes, "--labels", LABELS, "--run", "kept")
    assert cli(*command).exit_code == 0
    names = {path.name for path in Path("kept").iterdir()}
    assert {"run.json", "report.html"} < names
    run = json.loads(Path("kept/run.json").read_text("utf-8"))
    assert run["state"] == "finished"
    assert run["request"]["labels"] == LABELS.split(",")
    assert run["totals"] == {"n_images": 9, "ok": 9, "abstained": 0, "error": 0}
    assert run["run"]["versions"]["showtell"]
    assert (Path("kept") / run["predictions"]).is_file()
    draw_shape("red circle", seed=77).save("shapes/red circle/new.png")
    assert cli(*command).exit_code == 0
    assert json.loads(Path("kept/run.json").read_text("utf-8"))["totals"]["n_images"] == 10


def test_a_run_folder_of_another_request_is_refused_and_left_alone(cli, shapes):
    cli("classify", shapes, "--labels", LABELS, "--run", "kept")
    before = Path("kept/run.json").read_bytes()
    result = cli("classify", shapes, "--labels", "red circle", "--run", "kept")
    assert result.exit_code == 2
    assert "'kept' holds the run of another request: labels was" in result.stderr
    assert Path("kept/run.json").read_bytes() == before


def test_a_folder_with_other_files_is_no_run_folder(cli, shapes):
    result = cli("classify", shapes, "--labels", LABELS, "--run", "shapes")
    assert result.exit_code == 2
    assert "holds files but no run" in result.stderr


def test_without_labels_the_message_says_what_to_give(cli, shapes):
    result = cli("classify", shapes)
    assert result.exit_code == 2
    assert result.stderr == (
        'showtell: Which labels? Name them with --labels "cat,dog" or --labels-file FILE, or show '
        "some pictures of each with --examples DIR (a folder per label).\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--labels", "a", "--labels-file", "f"), "either with --labels or with --labels-file"),
        (("--labels", "a,b", "-o", "rows.xlsx"), "must end in .csv, .parquet, .jsonl"),
        (("--labels", "a,b", "-o", "shapes"), "must end in"),
        (("--labels", "a,b", "--report", "page.pdf"), "should end in .html"),
        (("--labels", "a,b", "--method", "linear"), "learns from examples"),
        (("--labels", "a,b", "--method", "clip"), "Allowed: auto, zero-shot, few-shot"),
        (("--labels", "a,b", "--encoder", "minni"), "Unknown encoder 'minni'. Close: 'mini'."),
        (("--labels", "a,b", "--abstain-below", "2"), "'--abstain-below'"),
        (("--labels", "a,a"), "occurs twice"),
        (("--examples", "nowhere"), "nowhere"),
        (
            ("--examples", "shapes", "--transductive", "adapt"),
            "--transductive belongs to zero-shot",
        ),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(cli, shapes, arguments, message):
    result = cli("classify", shapes, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_nothing_is_written_where_the_request_is_wrong(cli, shapes, workplace):
    cli("classify", shapes, "--labels", "a,b", "--method", "clip", "-o", "rows.csv")
    assert not Path("rows.csv").exists()


def test_notes_of_the_library_are_said_once_on_stderr(cli, shapes, monkeypatch):
    import showtell.classify.base as base
    from showtell.testing import ColourEncoder

    monkeypatch.setattr(base, "_said", set())
    monkeypatch.setattr(ColourEncoder, "zero_shot_note", "It knows four colours.")
    result = cli("classify", shapes, "--labels", LABELS)
    assert result.stderr.count("note: It knows four colours.\n") == 1
    monkeypatch.setattr(base, "_said", set())
    assert "colours" not in cli("classify", shapes, "--labels", LABELS, "-q").stderr


def test_names_that_no_terminal_can_show_are_rows_all_the_same(cli, workplace, rows):
    name = os.fsdecode(b"caf\xe9.png")
    draw_shape("red circle").save(name)
    result = cli("classify", ".", "--labels", LABELS)
    assert result.exit_code == 0
    row = rows(result.stdout)[0]
    assert row["label"] == "red circle"
    assert row["image"].endswith("caf\\xe9.png")


def test_a_single_label_is_remarked_on(cli, shapes):
    result = cli("classify", shapes, "--labels", "red circle")
    assert result.exit_code == 0
    assert "note: There is one label only, so every image gets 'red circle'" in result.stderr
    assert "one label" not in cli("classify", shapes, "--labels", "red circle,x").stderr


def test_labels_with_fewer_examples_than_asked_for_are_named(cli, shapes):
    more = cli("classify", shapes, "--examples", shapes, "--shots", "7")
    assert "--shots 7 is more than some labels have; they give all they have: blue square 3" in (
        more.stderr
    )
    assert "more than some" not in cli("classify", shapes, "--examples", shapes, "-k", "3").stderr


def test_images_that_are_among_the_examples_are_remarked_on(cli, shapes, parted):
    said = "among the examples"
    same = cli("classify", shapes, "--examples", shapes)
    assert (
        "note: 9 images are among the examples, so their labels say nothing about new pictures."
        in same.stderr
    )
    one_each = cli("classify", shapes, "--examples", shapes, "--shots", "1")
    assert f"note: 3 images are {said}, so" in one_each.stderr
    assert said not in cli("classify", parted / "test", "--examples", parted / "train").stderr
    copied = next((parted / "train").rglob("*.png"))
    shutil.copy(copied, parted / "test" / "copy.png")
    padded = bytearray(copied.read_bytes())
    padded[-1] ^= 1  # as long, but not the same
    Path(parted, "test", "other.png").write_bytes(padded)
    both = cli("classify", parted / "test", "--examples", parted / "train")
    assert f"note: 1 image is {said}, so its label says nothing" in both.stderr
    named = cli("classify", shapes, "--examples", shapes, "--method", "zero-shot")
    assert said not in named.stderr  # they gave the labels, and nothing was learned from them


def test_an_empty_standard_input_says_what_it_should_hold(cli):
    result = cli("classify", "-", "--labels", "a,b", stdin="\n")
    assert result.exit_code == 2
    assert "Standard input was empty: - reads one path or URL per line" in result.stderr


def test_a_folder_that_may_not_be_written_is_told_before_work_begins(
    cli, shapes, loaded, monkeypatch
):
    import os

    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    for option in (["-o", "locked/x.csv"], ["--report", "locked/x.html"]):
        result = cli("classify", shapes, "--labels", "a,b", *option)
        assert result.exit_code == 2
        assert f"{option[1]!r}: nothing may be written to its folder" in result.stderr
    assert loaded == []


def test_a_file_in_the_way_of_the_output_is_told_before_work_begins(cli, shapes, loaded, tmp_path):
    (tmp_path / "notes").write_text("text")
    for name in ("notes/x.csv", "notes/deep/x.csv"):
        result = cli("classify", shapes, "--labels", "a,b", "-o", tmp_path / name)
        assert result.exit_code == 2
        assert "would lie in a file, not in a folder" in result.stderr
    assert loaded == []


def test_a_format_without_its_package_is_told_before_work_begins(cli, shapes, loaded, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = cli("classify", shapes, "--labels", "a,b", "-o", "x.parquet")
    assert result.exit_code == 1
    assert 'pip install "showtell[parquet]"' in result.stderr
    assert loaded == []


def test_where_nothing_could_be_used_the_first_reason_is_told(cli, shapes):
    result = cli("classify", "-", "--labels", "a,b", stdin="phtos\n")
    assert result.exit_code == 1
    told = "showtell: Not one image got an answer. The first reason: cannot read phtos: there is no"
    assert told in result.stderr
    assert result.stdout.splitlines()[1].startswith("phtos,,,error,")
    more = cli("classify", shapes, "-", "--labels", "a,b", stdin="phtos\n")
    assert (more.exit_code, "Not one image" in more.stderr) == (0, False)


@pytest.mark.parametrize("name", ["phtos", "shapes/*.gif", "shapes/x[0-9].png", "", "a\nb.jpg"])
@pytest.mark.parametrize("verb", ["classify", "estimate", "explain"])
def test_a_name_or_pattern_that_stands_for_nothing_is_told_before_anything_is_done(
    verb, name, cli, shapes, loaded
):
    more = ("--model", "openai:m") if verb == "estimate" else ()
    result = cli(verb, shapes, name, "--labels", "a,b", *more)
    assert (result.exit_code, result.stdout, loaded) == (2, "", [])
    assert result.stderr.count("\n") == 1
    assert repr(name) in result.stderr or "a\\\\nb.jpg" in result.stderr


def test_what_a_table_or_a_list_names_has_a_row_also_where_it_does_not_exist(cli, shapes, rows):
    Path("list.csv").write_text("image\nshapes/red circle/0.png\ngone.jpg\n")
    result = cli("classify", "list.csv", "-", "--labels", LABELS, stdin="away.jpg\n")
    assert result.exit_code == 0
    assert [row["status"] for row in rows(result.stdout)] == ["ok", "error", "error"]


def test_labels_between_semicolons_are_told_from_one_label(cli, shapes):
    told = cli("classify", shapes, "--labels", "red circle;blue square").stderr
    assert 'Commas part labels, as in "cat,dog".' in told
