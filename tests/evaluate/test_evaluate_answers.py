from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.datasets import Dataset
from showtell.errors import DataError, InputError
from showtell.evaluate import Record, score_predictions

MESSY = [
    # truth, answer, rule, label
    ("cat", "Cat.", "exact", "cat"),
    ("cat", "  'CAT' ", "exact", "cat"),
    ("cat", "It looks like a Cat.", "containment", "cat"),
    ("cat", "catfish", "invalid", ""),
    ("dog", "a cat or a dog", "ambiguous", ""),
    ("dog", "", "empty", ""),
    ("dog", "I'm sorry, I cannot help with that.", "refusal", ""),
    ("dog", "puppy", "alias", "dog"),
    ("dog", '{"label": "dog"}', "field", "dog"),
    ("dog", "zebra", "invalid", ""),
    ("dog", "cat", "exact", "cat"),
]


@pytest.mark.parametrize(
    ("name", "n", "accuracy", "macro_f1"),
    [
        ("animals", 500, 0.7740, 0.775512),
        ("mnist", 500, 0.7920, 0.804210),
        ("chess", 465, 0.1656, 0.136602),
    ],
)
def test_published_tables_are_reproduced(shared_data, name, n, accuracy, macro_f1):
    record = score_predictions(shared_data / f"llava7b-{name}.csv", "actual", "predicted")
    assert len(record) == n
    assert round(record.metrics["accuracy"], 4) == accuracy
    assert round(record.metrics["macro_f1"], 6) == macro_f1
    assert record.predictions.images[0].endswith(".jpg")
    assert record.cost_usd is None


def _write(path):
    lines = ["#image_name, actual , # predicted"]
    lines += [
        f'{i}.jpg, {truth}, "{answer.replace(chr(34), chr(34) * 2)}"'
        for i, (truth, answer, _, _) in enumerate(MESSY)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_every_messy_answer_lands_where_the_rules_say(tmp_path):
    record = score_predictions(
        _write(tmp_path / "messy.csv"), "actual", "predicted", aliases={"dog": ["puppy"]}
    )
    assert list(record.predictions.columns["rule"]) == [rule for _, _, rule, _ in MESSY]
    assert record.predictions.label.tolist() == [label for *_, label in MESSY]
    assert record.metrics["n_abstained"] == 5
    assert record.metrics["n_correct"] == 5
    table = {row.rule: (row.n_answers, row.n_correct) for row in record.parsing}
    assert table == {
        "exact": (3, 2),
        "alias": (1, 1),
        "field": (1, 1),
        "containment": (1, 1),
        "ambiguous": (1, 0),
        "invalid": (2, 0),
        "refusal": (1, 0),
        "empty": (1, 0),
    }
    invalid = next(row for row in record.parsing if row.rule == "invalid")
    assert set(invalid.examples) == {("catfish", "", 1), ("zebra", "", 1)}


def test_a_scored_table_is_saved_with_its_answers(tmp_path):
    record = score_predictions(_write(tmp_path / "messy.csv"), "actual", "predicted")
    loaded = Record.load(record.save(tmp_path / "run", report=False))
    assert loaded.to_dict()["parsing"] == record.to_dict()["parsing"]
    assert loaded.run["answers"]["labels_from"] == "distinct true labels"


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".json", ".parquet"])
def test_all_table_formats_give_the_same(tmp_path, suffix):
    rows = [{"actual": t, "predicted": a} for t, a, _, _ in MESSY]
    path = tmp_path / f"answers{suffix}"
    if suffix == ".tsv":
        path.write_text(
            "actual\tpredicted\n"
            + "".join(
                "{}\t{}\n".format(
                    r["actual"],
                    json.dumps(r["predicted"])
                    if "{" not in r["predicted"]
                    else '"' + r["predicted"].replace('"', '""') + '"',
                )
                for r in rows
            )
        )
    elif suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(rows), path)
    memory = score_predictions({k: [r[k] for r in rows] for k in rows[0]})
    assert score_predictions(path).metrics == memory.metrics


def test_data_frames_are_tables():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({" truth": ["a", "b"], "answer": ["a", None]})
    record = score_predictions(frame)
    assert [row.rule for row in record.parsing] == ["exact", "empty"]


def test_confidences_give_calibration():
    table = {"actual": ["a", "b"], "predicted": ["a", "a"], "sure": ["0.75", ""]}
    record = score_predictions(table, "actual", "predicted", confidence="sure")
    assert record.metrics["ece_n"] == 1
    assert record.metrics["ece"] == pytest.approx(0.25)
    with pytest.raises(InputError, match="Divide percentages by 100"):
        score_predictions({**table, "sure": ["75", "1"]}, confidence="sure")
    with pytest.raises(InputError, match="Row 2: confidence 'high'"):
        score_predictions({**table, "sure": ["0.1", "high"]}, confidence="sure")


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ({"actual": ["a"], "x": ["a"]}, {}, "Which column holds the answer"),
        ({"actual": ["a"], "x": ["a"]}, {"predicted": "y"}, "no column 'y'.*'actual', 'x'"),
        ({"actual": ["a", ""], "predicted": ["a", "b"]}, {}, "1 of 2 rows have no true label"),
        (
            {"actual": ["a"], "predicted": ["a"]},
            {"labels": ["b", "c"]},
            "not in the label set: 'a'",
        ),
        ({"actual": ["a"], "predicted": ["a"]}, {"labels": ["a", "a"]}, "differ"),
        ({"actual": ["a"], "predicted": ["a"]}, {"image": "img"}, "no column 'img'"),
        ({"actual": [], "predicted": []}, {}, "no rows"),
        ({"actual": ["a"], "predicted": ["a", "b"]}, {}, "differ in length"),
        ({"actual": ["a"], "#actual": ["a"], "predicted": ["a"]}, {}, "Two columns"),
        (7, {}, "Cannot take answers from int"),
    ],
)
def test_unusable_tables_say_what_to_do(table, options, message):
    with pytest.raises((DataError, InputError), match=message):
        score_predictions(table, **options)


def test_a_data_set_holds_no_answers():
    with pytest.raises(InputError, match="no answers"):
        score_predictions(Dataset(images=[]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"actual,predicted\ncat\n", "1 values, but the header has 2"),
        ("a.csv", b'actual,predicted\n"cat,dog\n', "line 2"),
        ("a.csv", b"actual,actual\na,b\n", "two columns of one name"),
        ("a.csv", b"actual,predicted\n\xff\xfe,x\n", "not UTF-8"),
        ("a.jsonl", b"{", "line 1: not valid JSON"),
        ("a.json", b"3", "must hold a list of objects such as .*actual"),
        ("a.parquet", b"PAR1", "as Parquet"),
        ("a.xlsx", b"", "Cannot tell the format"),
    ],
)
def test_unreadable_files_say_what_is_wrong(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        score_predictions(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        score_predictions(tmp_path / "nothing.csv")


@settings(max_examples=60, deadline=None)
@given(answers=st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_no_answer_is_lost_and_none_gets_a_label_it_does_not_hold(answers):
    record = score_predictions({"actual": ["zebra"] * len(answers), "predicted": answers})
    assert sum(row.n_answers for row in record.parsing) == len(answers)
    for answer, label in zip(answers, record.predictions.label, strict=True):
        if label:
            assert "zebra" in answer.lower() or not answer.isascii()
