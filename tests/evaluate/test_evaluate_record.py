from __future__ import annotations

import json
import re
import shutil
from decimal import Decimal
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from tests.evaluate.records import make_record

from showtell.errors import InputError, SavedFolderError
from showtell.evaluate import Record
from showtell.evaluate import folder as run_folder


def test_every_sample_stays_in_the_denominator(record):
    m = record.metrics
    assert (m["n_samples"], m["n_correct"], m["n_answered"]) == (8, 4, 6)
    assert (m["n_abstained"], m["n_errors"]) == (1, 1)
    assert m["accuracy"] == 0.5
    assert m["coverage"] == 0.75
    assert m["accuracy_answered"] == pytest.approx(4 / 6)
    # Wilson, 4 of 8: (0.5 + z²/16 ± z sqrt(1/32 + z²/256)) / (1 + z²/8)
    assert m["accuracy_low"] == pytest.approx(0.21521, abs=1e-5)
    assert m["accuracy_high"] == pytest.approx(0.78479, abs=1e-5)


def test_per_class_numbers_by_hand(record):
    # true cat: rows 0, 1, 4, 7; answered cat: rows 0, 1, 5. true dog: 2, 3, 5, 6; answered: 2, 3, 4
    cat, dog = record.per_class["cat"], record.per_class["dog"]
    assert (cat["support"], cat["n_predicted"], dog["support"], dog["n_predicted"]) == (4, 3, 4, 3)
    assert cat["precision"] == pytest.approx(2 / 3)
    assert cat["recall"] == 0.5
    assert cat["f1"] == pytest.approx(4 / 7)
    assert record.metrics["macro_f1"] == pytest.approx(4 / 7)
    assert record.metrics["balanced_accuracy"] == 0.5
    assert record.confusion.tolist() == [[2, 1, 1], [1, 2, 1]]
    assert int(record.confusion.sum()) == len(record)


def test_calibration_is_measured_before_abstaining(record):
    # seven rows with a confidence, each alone in its bin of width 1/15 but 0.65 with 0.6 apart:
    # .95|.85|.75|.65|.90|.60|.55 -> bins (14/15,1], (12/15,13/15], (11/15,12/15], (9/15,10/15],
    # (13/15,14/15], (8/15,9/15] twice (.60 and .55)
    gaps = [0.05, 0.15, 0.25, 0.35, 0.9, abs((0 + 1) - (0.6 + 0.55))]
    assert record.metrics["ece_n"] == 7
    assert record.metrics["ece"] == pytest.approx(sum(gaps) / 7, abs=1e-6)
    assert sum(b["n"] for b in record.reliability) == 7
    squares = [0.05, 0.15, 0.25, 0.35, 0.9, 0.6, 0.45]
    assert record.metrics["brier"] == pytest.approx(2 * np.mean(np.square(squares)), abs=1e-6)
    likelihood = [0.95, 0.85, 0.75, 0.65, 0.1, 0.4, 0.55]
    assert record.metrics["nll"] == pytest.approx(-np.mean(np.log(likelihood)), abs=1e-6)


def test_ece_of_the_worked_example():
    conf = [0.95, 0.95, 0.9, 0.85, 0.75, 0.75, 0.65, 0.65, 0.55, 0.55]
    correct = [1, 1, 0, 1, 1, 0, 1, 0, 0, 1]
    record = make_record([0] * 10, [1 - c for c in correct], conf)
    assert record.metrics["accuracy"] == 0.6
    risk = record.risk_coverage
    assert risk.coverage.tolist() == pytest.approx([0.2, 0.3, 0.4, 0.6, 0.8, 1.0])
    assert risk.risk.tolist() == pytest.approx([0, 1 / 3, 1 / 4, 2 / 6, 3 / 8, 4 / 10])


def test_an_error_is_not_a_wrong_answer():
    wrong = make_record([0, 1, 1], [0, 1, 0])
    failed = make_record([0, 1, -1], [0, 1, 0])
    assert wrong.metrics["accuracy"] == failed.metrics["accuracy"] == pytest.approx(2 / 3)
    assert wrong.per_class["dog"]["precision"] == 0.5
    assert failed.per_class["dog"]["precision"] == 1.0
    assert (wrong.metrics["n_errors"], failed.metrics["n_errors"]) == (0, 1)
    assert failed.metrics["accuracy_answered"] == 1.0


def test_what_is_unknown_is_none_and_json_has_no_nan():
    record = make_record([-1, -1], [0, 1])
    m = record.metrics
    assert m["accuracy"] == 0
    assert {m[k] for k in ("ece", "brier", "nll", "accuracy_answered", "cost_usd")} == {None}
    assert record.reliability == []
    assert not len(record.risk_coverage.coverage)
    json.loads(record.to_json(), parse_constant=lambda name: pytest.fail(name))


def test_json_has_the_promised_keys_and_survives_a_round_trip(record):
    value = json.loads(record.to_json())
    promised = """n_samples accuracy accuracy_low accuracy_high balanced_accuracy macro_precision
        macro_recall macro_f1 weighted_f1 n_abstained n_errors ece cost_usd per_class"""
    assert set(promised.split()) <= set(value)
    assert value == json.loads(json.dumps(record.to_dict()))
    assert set(value["per_class"]["cat"]) >= {"precision", "recall", "f1", "support"}
    assert value["cost_usd"] == 0.7
    assert make_record([0], [0], cost_usd=Decimal(0)).metrics["cost_usd"] == 0
    assert make_record([0], [0]).metrics["cost_usd"] is None


def test_top_k_needs_more_than_k_labels():
    proba = [[0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1]]
    record = make_record([0, 0], [2, 3], [0.4, 0.4], classes=tuple("abcd"), proba=proba)
    assert record.metrics["top_3_accuracy"] == 0.5
    assert record.metrics["top_5_accuracy"] is None


@pytest.mark.parametrize("parquet", [True, False])
def test_a_saved_record_loads_as_it_was(record, tmp_path, monkeypatch, parquet):
    if not parquet:
        monkeypatch.setattr(run_folder, "find_spec", lambda name: None)
    record.save(tmp_path / "run", report=False)
    files = {path.name for path in (tmp_path / "run").iterdir()}
    table = "predictions.parquet" if parquet else "predictions.csv"
    assert files == {"run.json", "arrays.npz", table}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["predictions"] == table

    loaded = Record.load(tmp_path / "run")

    assert loaded.metrics == record.metrics
    assert loaded.to_dict() == record.to_dict()
    assert loaded.cost_usd == Decimal("0.70")
    assert loaded.ids == record.ids
    rows, before = loaded.rows(), record.rows()
    if not parquet:  # a CSV cannot tell "" from nothing
        before[1]["reason"] = None
    assert rows == before
    assert isinstance(rows[0]["cost_usd"], Decimal)
    np.testing.assert_array_equal(loaded.predictions.proba, record.predictions.proba)


def test_the_other_table_is_removed_so_that_two_never_disagree(record, tmp_path, monkeypatch):
    record.save(tmp_path, report=False)
    monkeypatch.setattr(run_folder, "find_spec", lambda name: None)
    record.save(tmp_path, report=False)
    assert (tmp_path / "predictions.csv").is_file()
    assert not (tmp_path / "predictions.parquet").exists()


def test_a_run_folder_holds_the_page(record, tmp_path):
    record.save(tmp_path)
    assert "<!doctype html>" in (tmp_path / "report.html").read_text()


def test_no_run_folder(tmp_path):
    with pytest.raises(SavedFolderError, match="no run folder"):
        Record.load(tmp_path)


def _edit(path, **changes):
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "run.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "run.json").write_text("[]"), "not a JSON object"),
        (lambda f: _edit(f / "run.json", format="other"), "something else"),
        (lambda f: _edit(f / "run.json", version=99), "Upgrade"),
        (lambda f: _edit(f / "run.json", labels=["cat"]), "damaged"),
        (lambda f: _edit(f / "run.json", predictions="../../etc/passwd"), "missing"),
        (lambda f: (f / "predictions.parquet").unlink(), "missing"),
        (
            lambda f: (f / "predictions.parquet").write_bytes(b"PAR1"),
            "predictions.parquet. as Parq",
        ),
        (lambda f: (f / "arrays.npz").unlink(), "damaged"),
        (lambda f: (f / "arrays.npz").write_bytes(b"no"), "damaged"),
        (
            lambda f: np.savez(f / "arrays.npz", codes=np.zeros(8), confidence=np.ones(8)),
            "disagree",
        ),
        (lambda f: np.savez(f / "arrays.npz", codes=np.array([None])), "damaged"),
    ],
)
def test_a_damaged_run_folder_says_so(record, tmp_path, damage, message):
    record.save(tmp_path, report=False)
    damage(tmp_path)
    with pytest.raises(SavedFolderError, match=message):
        Record.load(tmp_path)


def test_records_check_what_they_are_given(record):
    with pytest.raises(InputError, match="one per prediction"):
        make_record([0, 1], [0])
    with pytest.raises(InputError, match="indices 0 to 1"):
        make_record([0, 1], [0, 2])
    with pytest.raises(InputError, match="no samples"):
        make_record([], [])
    with pytest.raises(InputError, match="3 ids for 2"):
        make_record([0, 1], [0, 1], ids=["a", "b", "c"])


def test_repr_says_how_good(record):
    assert repr(record) == (
        "Record('r': accuracy 0.500 [0.215, 0.785] of 8 samples, 1 abstained, 1 errors)"
    )


def texts_of(chart):
    """What is written in a chart, and the titles of its marks."""
    root = ET.fromstring(chart._repr_svg_())
    found = [(node.tag.rpartition("}")[2], "".join(node.itertext())) for node in root.iter()]
    return [[text for tag, text in found if tag == kind] for kind in ("text", "title")]


def test_plots_draw_what_the_record_says(record):
    written, said = texts_of(record.plot_confusion())
    assert {"1", "2"} <= set(written)
    assert sum(text.isdigit() for text in written) == np.count_nonzero(record.confusion)
    assert any(text.endswith("no answer") for text in written)
    assert f"cat, dog: {record.confusion[0, 1]}" in said
    _, said = texts_of(record.plot_per_class())
    assert sum(text.startswith(("cat: 50.0%", "dog: 50.0%")) for text in said) == 2
    written, _ = texts_of(record.plot_reliability())
    assert any(f"ECE {record.metrics['ece']:.3f}" in text for text in written)
    points = re.search(r'class="line" points="([^"]*)"', str(record.plot_risk_coverage().svg))[1]
    x = np.array([float(point.split(",")[0]) for point in points.split()])
    np.testing.assert_allclose((x - 60) / 378, record.risk_coverage.coverage, atol=1e-3)
    shares, counts = (record.plot_confusion(normalise=n)._repr_svg_() for n in (True, False))
    assert shares != counts


def test_a_plot_stands_alone_as_a_file(record, tmp_path):
    path = record.plot_confusion().save(tmp_path / "new" / "confusion.svg")
    text = path.read_text("utf-8")
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert text.count("http") == 1  # nothing but the name of the format: no request
    assert ".cell" in text.partition("</style>")[0]


def test_plots_without_confidence_say_why():
    record = make_record([0, 1], [0, 1])
    for plot in (record.plot_reliability, record.plot_risk_coverage):
        with pytest.raises(InputError, match="no confidences"):
            plot()


def test_a_copied_run_folder_is_whole(record, tmp_path):
    record.save(tmp_path / "a", report=False)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert Record.load(tmp_path / "b").metrics == record.metrics


def test_a_record_shows_itself_as_a_table_in_a_notebook():
    record = make_record([0, 1, 1], [0, 0, 1], classes=("<i>", "dog"))
    text = record._repr_html_()
    assert "accuracy 0.667" in text
    assert "<tr><td>&lt;i&gt;</td><td>1.000</td><td>0.500</td><td>0.667</td><td>2</td></tr>" in text
