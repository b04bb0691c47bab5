"""Rows and files: one row per input, in order, and back again."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.classify import Predictions, RowWriter
from showtell.classify.prediction_files import html_table
from showtell.errors import DataError, InputError
from showtell.media import media_name

NASTY = [
    "plain.jpg",
    'a, "b".jpg',
    "line\nbreak.jpg",
    "=cmd|' /C calc'!A0",
    "-1.jpg",
    "naïve 猫.jpg",
    " spaces ",
]


def make(names=NASTY, **changes):
    """Rows 0, 3, 6 ... are ok, 1, 4 ... abstained, 2, 5 ... errors."""
    n = len(names)
    status = np.arange(n) % 3
    proba = np.array([[0.9, 0.1], [0.4, 0.6]], np.float32)
    distinct = np.where(status == 2, -1, np.arange(n) % 2).astype(np.int64)
    codes = np.where(status == 2, -1, distinct).astype(np.int32)
    confidence = np.where(status == 2, np.nan, proba.max(axis=1)[distinct]).astype(np.float32)
    settings = {
        "images": list(names),
        "classes": ("cat", "dog"),
        "codes": codes,
        "confidence_all": confidence,
        "status_codes": status.astype(np.int8),
        "errors": {int(i): "broken, badly" for i in np.flatnonzero(status == 2)},
        "distinct_proba": proba,
        "distinct": distinct,
    }
    return Predictions(**{**settings, **changes})


def write_and_stop(path):
    with RowWriter(path, ["image"]) as writer:
        writer.write({"image": "x"})
        raise RuntimeError("stop")


def rows_equal(a, b, *, proba):
    return list(a.rows(proba=proba)) == list(b.rows(proba=proba))


def test_columns_come_in_the_documented_order():
    n = len(NASTY)
    predictions = make(columns={"cost_usd": [None] * n, "reason": ["because"] * n})
    assert predictions.header(proba=True) == (
        "image", "label", "confidence", "status", "error", "cost_usd", "reason", "p_cat", "p_dog",
    )  # fmt: skip
    row = next(predictions.rows(proba=True))
    assert tuple(row) == predictions.header(proba=True)
    assert row["confidence"] == 0.9  # not 0.8999999761581421
    assert (row["p_cat"], row["p_dog"]) == (0.9, 0.1)


def test_label_and_confidence_are_empty_unless_ok():
    rows = list(make().rows(proba=True))
    assert [r["status"] for r in rows[:3]] == ["ok", "abstained", "error"]
    assert (rows[1]["label"], rows[1]["confidence"], rows[1]["p_dog"]) == (None, None, 0.6)
    assert (rows[2]["label"], rows[2]["error"], rows[2]["p_dog"]) == (None, "broken, badly", None)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("proba", [False, True])
def test_what_is_written_reads_back_the_same(tmp_path, suffix, proba):
    predictions = make()
    again = Predictions.read(predictions.write(tmp_path / f"out.{suffix}", proba=proba))
    assert rows_equal(predictions, again, proba=proba)
    assert again.classes == predictions.classes if proba else True
    np.testing.assert_array_equal(again.status, predictions.status)
    if proba:
        np.testing.assert_array_equal(again.codes, predictions.codes)
        np.testing.assert_array_equal(again.confidence_all, predictions.confidence_all)
        np.testing.assert_array_equal(again.proba, predictions.proba)
        assert len(again.distinct_proba) == 2  # equal rows are kept once
    else:
        assert again.codes[1] == -1  # an abstained row keeps no best guess


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_method_columns_keep_their_types(tmp_path, suffix):
    n = len(NASTY)
    columns = {
        "cost_usd": [Decimal("0.000125"), None, Decimal("0.5"), *[None] * (n - 3)],
        "input_tokens": [12, None, 0, *[1] * (n - 3)],
        "from_cache": [True, False, None, *[False] * (n - 3)],
        "seconds": [0.25, None, 1.5, *[0.0] * (n - 3)],
        "reason": ["two\nlines, and a comma", None, '"', *["x"] * (n - 3)],
    }
    again = Predictions.read(make(columns=columns).write(tmp_path / f"o.{suffix}", proba=True))
    assert {name: list(values) for name, values in again.columns.items()} == columns
    assert type(again.columns["cost_usd"][0]) is Decimal
    assert type(again.columns["from_cache"][0]) is bool
    assert again.classes == ("cat", "dog")


def test_numpy_columns_are_written_as_plain_numbers(tmp_path):
    predictions = make(["a", "b"], columns={"seconds": np.array([0.5, np.nan])}, errors={})
    text = predictions.write(tmp_path / "o.csv").read_text(encoding="utf-8")
    assert text.splitlines()[1:] == ["a,cat,0.9,ok,,0.5", "b,,,abstained,,"]
    text = predictions.write(tmp_path / "o.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line)["seconds"] for line in text.splitlines()] == [0.5, None]


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
        max_size=8,
    )
)
def test_any_name_survives_csv(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("fuzz") / "o.csv"
    predictions = make([media_name(name) for name in names])
    again = Predictions.read(predictions.write(path, proba=True))
    assert rows_equal(predictions, again, proba=True)


def test_formulas_stay_as_they_are_unless_asked(tmp_path):
    plain = make().write(tmp_path / "plain.csv").read_text(encoding="utf-8")
    safe = make().write(tmp_path / "safe.csv", escape_formulas=True).read_text(encoding="utf-8")
    first = [row[0] for row in csv.reader(io.StringIO(plain))]
    assert first[4:6] == NASTY[3:5]
    assert [row[0] for row in csv.reader(io.StringIO(safe))][4:6] == [f"'{n}" for n in NASTY[3:5]]


def test_labels_with_odd_characters_make_columns(tmp_path):
    predictions = make(classes=("a,b", 'say "x"'))
    again = Predictions.read(predictions.write(tmp_path / "o.csv", proba=True))
    assert again.classes == ("a,b", 'say "x"')


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = make().write(tmp_path / "o.csv")
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="stop"):
        write_and_stop(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["o.csv"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_crash_half_way_through_any_format_is_clean(tmp_path, suffix):
    with pytest.raises(RuntimeError, match="stop"):
        write_and_stop(tmp_path / f"o.{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_followed_not_replaced(tmp_path):
    (tmp_path / "real.csv").write_text("old", encoding="utf-8")
    (tmp_path / "link.csv").symlink_to("real.csv")
    make().write(tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert len(Predictions.read(tmp_path / "real.csv")) == len(NASTY)


def test_rows_stream_to_an_open_stream():
    out = io.StringIO()
    with RowWriter(out, ["image", "label"], format="jsonl") as writer:
        writer.write({"image": "猫.jpg", "label": "cat"})
    assert out.getvalue() == '{"image": "猫.jpg", "label": "cat"}\n'
    with pytest.raises(InputError, match="'csv' or 'jsonl'"):
        RowWriter(out, ["image"], format="parquet")


def test_parquet_has_row_groups_and_typed_columns(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    n = 50_001
    predictions = make(["x.jpg"] * n, columns={"cost_usd": [Decimal("0.1")] * n})
    path = predictions.write(tmp_path / "o.parquet", proba=True)
    with pq.ParquetFile(path) as file:
        assert file.num_row_groups == 2
        types = {field.name: str(field.type) for field in file.schema_arrow}
    assert types["confidence"] == types["p_cat"] == "float"
    assert types["image"] == types["label"] == types["error"] == "string"
    assert types["cost_usd"].startswith("decimal128")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_no_rows_still_make_a_table(tmp_path, suffix):
    path = Predictions.empty(("cat", "dog")).write(tmp_path / f"o.{suffix}", proba=True)
    again = Predictions.read(path)
    assert len(again) == 0
    if suffix != "jsonl":  # JSON Lines has no header
        assert again.classes == ("cat", "dog")


def test_refusals_say_what_is_allowed(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.csv, \.jsonl or \.parquet"):
        make().write(tmp_path / "out.xlsx")
    with pytest.raises(InputError, match="no folder"):
        make().write(tmp_path / "nowhere" / "out.csv")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        make().write(tmp_path / "d.csv")
    with pytest.raises(InputError, match="no probabilities"):
        make(distinct_proba=None, distinct=None).write(tmp_path / "o.csv", proba=True)
    with pytest.raises(InputError, match="Two columns would be called 'label'"):
        make(columns={"label": NASTY}).write(tmp_path / "o.csv")
    with pytest.raises(DataError, match="no file"):
        Predictions.read(tmp_path / "missing.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["d.csv"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("image,label\na,b\n", "has no column 'confidence', 'status', 'error'"),
        (
            "image,label,confidence,status,error\na,cat,0.5,fine,\n",
            "line 2 .*: status 'fine' is none",
        ),
        ("image,label,confidence,status,error\na,,0.5,ok,\n", "there is no label"),
        ("image,label,confidence,status,error\na,cat,high,ok,\n", "line 2"),
        (
            "image,label,confidence,status,error\na,cat,0.5\n",
            "line 2: 3 values, but the header has 5",
        ),
        ("image,label,confidence,status,error,p_dog\na,cat,0.5,ok,,1\n", "no column 'p_cat'"),
        ("image,label,confidence,status,error,p_cat\na,cat,0.5,ok,,\n", "probability is missing"),
        ('image,label,confidence,status,error\n"a,cat,0.5,ok,\n', "line 2: .*quote"),
        ("", "has no column"),
    ],
)
def test_a_damaged_csv_names_the_line(tmp_path, text, complaint):
    path = tmp_path / "o.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=complaint):
        Predictions.read(path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "line 1: not valid JSON"),
        ("[1]\n", "line 1: expected an object"),
        (
            '{"image":"a","label":"c","confidence":1,"status":"ok","error":null}\n{"image":"b"}\n',
            "line 2: has columns image",
        ),
    ],
)
def test_damaged_json_lines_name_the_line(tmp_path, text, complaint):
    path = tmp_path / "o.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=complaint):
        Predictions.read(path)


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "o.parquet"
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match="as Parquet"):
        Predictions.read(path)


def test_parquet_without_pyarrow_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "showtell\[parquet\]"'):
        make().write(tmp_path / "o.parquet")
    assert list(tmp_path.iterdir()) == []


def test_to_pandas_has_missing_values_not_empty_text():
    pytest.importorskip("pandas")
    predictions = make(columns={"input_tokens": list(range(len(NASTY)))})
    table = predictions.to_pandas(proba=True)
    assert list(table.columns) == list(predictions.header(proba=True))
    assert table["label"].isna().tolist() == (~predictions.ok).tolist()
    assert table["label"][0] == "cat"
    assert table["error"].notna().tolist() == [s == "error" for s in predictions.status]
    assert table["image"].tolist() == NASTY
    np.testing.assert_allclose(table["p_dog"], predictions.proba[:, 1])


def test_a_notebook_shows_both_ends_and_escapes_everything():
    page = make(["<img src=x onerror=alert(1)>"] * 30)._repr_html_()
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "20 more rows" in page
    assert page.count("<tr>") == 1 + 10 + 1
    assert "overflow-wrap: anywhere" in page  # a long path widens no phone
    assert "more rows" not in html_table(make())


def test_the_repr_is_one_short_line():
    assert repr(make()) == ("Predictions(7 rows: 3 ok, 2 abstained, 2 error; 2 classes: cat, dog)")


def test_columns_must_fit():
    with pytest.raises(InputError, match="needs 7 rows"):
        replace(make(), codes=np.zeros(3, np.int32))
    with pytest.raises(InputError, match="exactly the rows"):
        replace(make(), errors={})
    with pytest.raises(InputError, match="one column per class"):
        replace(make(), distinct_proba=np.zeros((2, 3), np.float32))
