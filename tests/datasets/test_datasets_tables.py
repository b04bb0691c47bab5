"""Tables: CSV, TSV, JSON Lines, JSON, Parquet; columns, lines, encodings."""

from __future__ import annotations

import json
import pickle
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.memory import needs_peak_memory, run_measured

from showtell._clean import escaped
from showtell.datasets import Dataset, expand_images, load_dataset
from showtell.errors import DataError, InputError, MissingExtraError


@pytest.fixture
def write(tmp_path):
    def write_file(name: str, content: str | bytes):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def test_csv_with_usual_names(write, tmp_path):
    data = load_dataset(write("photos.csv", "image,label\na.jpg,cat\nsub/b.jpg,dog\n"))
    assert data.images == [str(tmp_path / "a.jpg"), str(tmp_path / "sub/b.jpg")]
    assert data.y.tolist() == ["cat", "dog"]
    assert data.codes.dtype == np.int32
    assert data.name == "photos"


def test_relative_paths_are_relative_to_the_table(write, tmp_path, monkeypatch):
    write("t.csv", "path\na.jpg\n/abs/b.jpg\nhttps://example.org/c.jpg\n../d.jpg\n")
    monkeypatch.chdir(tmp_path)
    assert load_dataset("t.csv").images == [
        "a.jpg",
        "/abs/b.jpg",
        "https://example.org/c.jpg",
        "../d.jpg",
    ]
    folder = str(tmp_path)
    assert load_dataset(tmp_path / "t.csv").images[0] == f"{folder}/a.jpg"


@pytest.mark.parametrize(
    "header",
    [
        "#image_name, actual",
        " # image_name ,actual ",
        "\ufeffimage_name,actual",
        "Image Name,Actual",
    ],
)
def test_stray_blanks_hashes_and_byte_order_marks_in_the_header_do_not_count(write, header):
    data = load_dataset(write("t.csv", f"{header}\na.jpg, cat \n"))
    assert data.y.tolist() == ["cat"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_recognised(write, delimiter):
    text = f"file{delimiter}class\na.jpg{delimiter}cat\n"
    assert load_dataset(write("t.csv", text)).y.tolist() == ["cat"]


def test_tsv_is_split_at_tabs_only(write):
    assert load_dataset(
        write("t.tsv", "file\tclass,x\na,b.jpg\tcat\n"), label_column="class,x"
    ).y == ["cat"]


def test_quoted_values_may_hold_commas_quotes_and_line_breaks(write, tmp_path):
    text = 'image,label\r\n"a,1.jpg","big\ncat"\r\n"b""2"".jpg", "dog, small"\r\n'
    data = load_dataset(write("t.csv", text))
    assert data.images == [str(tmp_path / "a,1.jpg"), str(tmp_path / 'b"2".jpg')]
    assert data.y.tolist() == ["big cat", "dog, small"]


def test_empty_lines_are_passed_over(write):
    assert len(load_dataset(write("t.csv", "\n\nimage,label\n\na.jpg,cat\n\n"))) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\na.jpg,cat\nb.jpg\n", r"t.csv line 3: 1 values, but the header has 2"),
        ("image,label\na.jpg,cat,x\n", r"t.csv line 2: 3 values, but the header has 2"),
        ('image,label\n"a\n\n.jpg",cat\nb.jpg\n', r"t.csv line 5: 1 values"),
        ('image,label\n"a\n.jpg"\n', r"t.csv line 2 to 3: 1 values"),
        ('image,label\na.jpg,"cat\n', r"t.csv line 2: .*A quote may be opened but not closed"),
        ('image,label\na.jpg,"cat"x\n', r"t.csv line 2: "),
        ("", "t.csv is empty"),
        ("\n\n", "t.csv is empty"),
    ],
)
def test_damaged_rows_are_named_by_line(write, text, message):
    with pytest.raises(DataError, match=message):
        load_dataset(write("t.csv", text))


def test_text_that_is_no_utf8_is_named_by_line(write):
    with pytest.raises(DataError, match=r"t.csv line 3: byte 0xe9 is not UTF-8"):
        load_dataset(write("t.csv", b"image,label\na.jpg,cat\ncaf\xe9.jpg,dog\n"))
    with pytest.raises(DataError, match="is UTF-16"):
        load_dataset(write("t.csv", "image,label\na.jpg,cat\n".encode("utf-16")))
    with pytest.raises(DataError, match=r"t.jsonl line 2: byte 0xff"):
        load_dataset(write("t.jsonl", b'{"image": "a.jpg"}\n\xff\n'))


def test_unclear_columns_are_listed_with_the_option_to_give(write):
    path = write("t.csv", "url,file,label\na,b,c\n")
    with pytest.raises(DataError) as error:
        load_dataset(path)
    message = str(error.value)
    for part in ("Several columns ('url', 'file')", "'url', 'file', 'label'", "image_column=",
                 "--image-column"):  # fmt: skip
        assert part in message
    assert load_dataset(path, image_column="file").y.tolist() == ["c"]

    path = write("u.csv", "image,label,class\na,b,c\n")
    with pytest.raises(DataError, match=r"Several columns \('label', 'class'\).*--label-column"):
        load_dataset(path)
    assert load_dataset(path, label_column="class").y.tolist() == ["c"]
    assert len(expand_images([str(path)])) == 1  # labels do not matter there

    with pytest.raises(
        DataError,
        match=r"No column has a name that is known for the images.*if the first line is no",
    ):
        load_dataset(write("v.csv", "a.jpg,cat\nb.jpg,dog\n"))


def test_a_named_column_must_exist(write):
    path = write("t.csv", "image,label\na,b\n")
    with pytest.raises(
        DataError, match=r"No column is called 'labell'. The columns are 'image', 'l"
    ):
        load_dataset(path, label_column="labell")
    assert load_dataset(path, label_column="LABEL").y.tolist() == ["b"]
    with pytest.raises(DataError, match="2 columns are called 'x'"):
        load_dataset(write("u.csv", "image,x,x\na,b,c\n"), label_column="x")


def test_a_column_has_one_role(write):
    data = load_dataset(write("t.csv", "image,class,id\na.jpg,cat,7\n"), group_column="class")
    assert data.groups == ["cat"]
    assert data.codes is None
    assert data.ids == ["7"]


def test_groups_splits_and_ids(write):
    text = "image,label,group,split,id\na,x,g1,training,1\nb,y,,Val,2\nc,x,g1,fold9,3\n"
    data = load_dataset(write("t.csv", text))
    assert data.groups == ["g1", "", "g1"]
    assert data.splits == ["train", "validation", "fold9"]
    assert data.ids == ["1", "2", "3"]
    assert data.train.images[0].endswith("a")


def test_ids_must_differ(write):
    path = write("t.csv", "image,id\na,1\nb,2\nc, 1\n")
    data = load_dataset(path)
    assert data.ids is None
    assert any("line 4: id '1' stands in an earlier row" in note for note in data.notes)
    with pytest.raises(DataError, match=r"t.csv line 4: id '1' .*must differ"):
        load_dataset(path, id_column="id")


def test_missing_labels_and_images_stay_as_rows(write):
    data = load_dataset(write("t.csv", "image,label\na.jpg,cat\nb.jpg,\n ,dog\n"))
    assert data.codes.tolist() == [0, -1, 1]
    assert data.images[2] == ""
    assert "1 of 3 rows have no label." in data.notes
    assert "1 rows name no image: line 4." in data.notes
    with pytest.raises(DataError, match="1 of 3 samples have no label"):
        _ = data.y
    assert data.labelled().y.tolist() == ["cat", "dog"]


def test_labels_outside_of_the_label_set_are_named_by_line(write):
    rows = ["cat"] * 16 + ["cta", "cow", "cta", "dgo", "cta"]
    path = write(
        "photos.csv", "image,label\n" + "".join(f"{i}.jpg,{r}\n" for i, r in enumerate(rows))
    )
    labels = write("labels.txt", "cat\ncow\ndog\n")
    with pytest.raises(DataError) as error:
        load_dataset(path, labels_file=labels)
    assert str(error.value).endswith(
        "photos.csv line 18: label 'cta' is not in the label set (cat, cow, dog). "
        "3 more such lines: 20, 21, 22."
    )


def test_aliases_of_a_label_set_are_understood(write):
    path = write("t.csv", "image,label\na,kitty\nb,dog\n")
    labels = write("l.json", json.dumps({"dog": None, "cat": {"aliases": ["kitty"]}, "cow": []}))
    data = load_dataset(path, labels_file=labels)
    assert data.labels == ("dog", "cat", "cow")
    assert data.y.tolist() == ["cat", "dog"]


def test_a_label_set_for_a_table_without_labels(write):
    data = load_dataset(write("t.csv", "image\na\n"), labels_file=write("l.txt", "cat\ndog\n"))
    assert data.labels == ("cat", "dog")
    assert data.codes is None


def test_jsonl(write, tmp_path):
    lines = [
        {"label": "dog", "image": "a.jpg", "more": [1]},
        {"image": "b.jpg", "label": 3},
        {"image": "c.jpg"},
        {"image": "d.jpg", "label": None},
    ]
    text = "\n\n".join(json.dumps(line) for line in lines)
    data = load_dataset(write("t.jsonl", text))
    assert data.labels == ("3", "dog")
    assert data.codes.tolist() == [1, 0, -1, -1]
    assert data.images[1] == str(tmp_path / "b.jpg")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"image": "a"}\n{"image": }\n', "line 2: not valid JSON"),
        ('{"image": "a"}\n[1]\n', "line 2: expected an object"),
        ('{"image": "a"}\n\n{"image": {"x": 1}}\n', "line 3: 'image' must be a text or a number"),
        ("", "holds no objects"),
        ('{"x": "a"}\n', "No column has a name that is known for the images. The columns are 'x'"),
        ("{}\n", "The columns are none"),
        ("[" * 100_000, "line 1: more than 100 lists"),
    ],
)
def test_damaged_jsonl_is_named_by_line(write, text, message):
    with pytest.raises(DataError, match=message):
        load_dataset(write("t.jsonl", text))


def test_json_lists(write):
    data = load_dataset(write("t.json", json.dumps([{"image": "a", "class": "cat"}])))
    assert data.y.tolist() == ["cat"]
    with pytest.raises(DataError, match="entry 2: expected an object"):
        load_dataset(write("t.json", '[{"image": "a"}, 3]'))
    with pytest.raises(DataError, match="must hold a list"):
        load_dataset(write("t.json", "{}"))
    with pytest.raises(DataError, match="looks like COCO boxes"):
        load_dataset(write("t.json", '{"images": [], "annotations": []}'))
    with pytest.raises(DataError, match="not valid JSON"):
        load_dataset(write("t.json", "x"))


def test_parquet_gives_what_csv_gives(write, tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    images = [f"{i % 3}.jpg" for i in range(100)]
    labels = [None if i % 10 == 0 else f"c{i % 7}" for i in range(100)]
    write(
        "t.csv",
        "image,label\n" + "".join(f"{i},{c or ''}\n" for i, c in zip(images, labels, strict=True)),
    )
    for kind in (pa.array(labels), pa.array(labels).dictionary_encode()):
        parquet.write_table(
            pa.table({"image": images, "label": kind, "n": range(100)}),
            tmp_path / "t.parquet",
            row_group_size=30,
        )
        a, b = load_dataset(tmp_path / "t.parquet"), load_dataset(tmp_path / "t.csv")
        assert list(a.images) == list(b.images)
        assert a.labels == b.labels
        assert a.codes.tolist() == b.codes.tolist()


def test_parquet_numbers_and_rows_in_messages(write, tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"image": ["a", "b"], "label": [7, 12]}), tmp_path / "t.parquet")
    assert load_dataset(tmp_path / "t.parquet").y.tolist() == ["7", "12"]
    with pytest.raises(
        DataError, match=r"t.parquet row 2: label '12' is not in the label set \(7\)"
    ):
        load_dataset(tmp_path / "t.parquet", labels_file=write("l.txt", "7\n"))
    parquet.write_table(pa.table({"image": [["a"]], "label": [1]}), tmp_path / "u.parquet")
    with pytest.raises(DataError, match="column 'image' holds list"):
        load_dataset(tmp_path / "u.parquet")
    with pytest.raises(DataError, match="as Parquet"):
        load_dataset(write("v.parquet", b"PAR1 not really PAR1"))
    parquet.write_table(pa.table({"image": pa.array([], pa.string())}), tmp_path / "w.parquet")
    assert len(load_dataset(tmp_path / "w.parquet")) == 0


def test_parquet_may_hold_the_pictures_and_reads_them_on_demand(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    pictures = [{"bytes": bytes([i]) * 3, "path": f"{i}.jpg"} for i in range(10)]
    pictures[4] = {"bytes": None, "path": "/x/4.jpg"}
    pictures[5] = None
    table = pa.table({"image": pictures, "label": [i % 2 for i in range(10)]})
    features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=4)
    data = load_dataset(tmp_path / "t.parquet")
    assert data.labels == ("cat", "dog")
    assert data.y[:2].tolist() == ["cat", "dog"]
    assert data.images[9] == b"\t\t\t"
    assert data.images[4] == "/x/4.jpg"
    assert data.images[5] == b""
    picked = data[[9, 0]]
    assert list(picked.images) == [b"\t\t\t", b"\0\0\0"]
    assert pickle.loads(pickle.dumps(picked)).images[1] == b"\0\0\0"
    parquet.write_table(pa.table({"image": [b"abc"]}), tmp_path / "u.parquet")
    assert list(load_dataset(tmp_path / "u.parquet").images) == [b"abc"]


def test_without_pyarrow_the_install_line_is_given(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    with pytest.raises(MissingExtraError, match=r"showtell\[parquet\]"):
        load_dataset(write("t.parquet", b""))


def test_equal_paths_and_groups_are_one_object(write):
    text = "image,label,group\n" + "a.jpg,cat,g\n" * 1000
    data = load_dataset(write("t.csv", text))
    assert len({id(path) for path in data.images}) == 1
    assert len({id(group) for group in data.groups}) == 1


def test_a_table_that_is_a_folder_or_missing(tmp_path):
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(DataError, match="There is no image in the folder"):
        load_dataset(tmp_path / "x.csv")
    with pytest.raises(DataError, match="There is no file or folder"):
        load_dataset(tmp_path / "y.csv")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "n", "n_labels"), [("animals", 500, 10), ("chess", 465, 6), ("mnist", 500, 10)]
)
def test_published_answer_tables_load(shared_data, name, n, n_labels):
    data = load_dataset(shared_data / f"llava7b-{name}.csv")
    assert (len(data), len(data.labels)) == (n, n_labels)
    assert data.notes == ()
    answers = load_dataset(shared_data / f"llava7b-{name}.csv", label_column="predicted")
    assert len(answers) == n


@pytest.mark.slow
@needs_peak_memory
def test_a_million_rows_over_few_images_need_little_memory(tmp_path):
    path = tmp_path / "big.csv"
    with path.open("w") as file:
        file.write("image,label\n")
        file.writelines(f"{i % 50}.jpg,c{i % 7}\n" for i in range(1_000_000))
    code = """
        import sys
        from showtell.datasets import load_dataset
        before = peak_mb()
        data = load_dataset(sys.argv[1])
        print(len(data), peak_mb() - before)
    """
    n_rows, megabytes = run_measured(code, path)
    assert int(n_rows) == 1_000_000
    assert float(megabytes) < 100  # 35 measured


SETTINGS = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CELL = st.one_of(
    st.sampled_from(
        ["image", "label", "a.jpg", "cat", '"', '""', "#", ",", "\n", "\r", "\t", "\0"]
    ),
    st.text(max_size=4),
)


@SETTINGS
@given(content=st.one_of(st.binary(max_size=200), st.lists(CELL, max_size=30).map("".join)))
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_any_bytes_give_a_data_set_or_an_input_error(write, suffix, content):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    try:
        data = load_dataset(write(f"t.{suffix}", content))
    except InputError:
        return
    assert isinstance(data, Dataset)
    assert all(isinstance(image, str | bytes) for image in data.images)


@SETTINGS
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), max_size=8),
            st.text(st.characters(codec="utf-8"), max_size=8),
        ),
        max_size=20,
    )
)
def test_what_the_csv_module_writes_is_read_back(write, rows):
    import csv
    import io

    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("image", "label"), *rows])
    data = load_dataset(write("t.csv", buffer.getvalue().encode()))
    assert len(data) == len(rows)
    for row, (_, label) in enumerate(rows):
        label = escaped(" ".join(label.split()))
        code = int(data.codes[row])
        assert (data.labels[code] if code >= 0 else "") == label


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@SETTINGS
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["image", "label", "split", "id"]), JSON), max_size=5
    )
)
def test_any_json_rows_give_a_data_set_or_an_input_error(write, rows):
    text = "\n".join(json.dumps(row) for row in rows)
    try:
        data = load_dataset(write("t.jsonl", text))
    except InputError:
        return
    assert len(data) == len(rows)
