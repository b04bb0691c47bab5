"""Objects of the Hugging Face datasets library."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from showtell.datasets import load_dataset, support_set
from showtell.errors import DataError
from showtell.media import load_image

hub = pytest.importorskip("datasets", reason="the datasets library is not installed")


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def make(n: int = 4, names=("dog", "cat"), **columns):
    features = hub.Features({"image": hub.Image(), "label": hub.ClassLabel(names=list(names))})
    values = {
        "image": [{"bytes": png(i), "path": None} for i in range(n)],
        "label": [i % len(names) for i in range(n)],
    }
    data = hub.Dataset.from_dict(values, features=features)
    for name, column in columns.items():
        data = data.add_column(name, column)
    return data


def test_image_and_class_label_features_are_found():
    data = load_dataset(make())
    assert data.labels == ("dog", "cat")  # the order of the feature
    assert data.y.tolist() == ["dog", "cat", "dog", "cat"]
    assert data.splits is None
    assert data.images[2] == png(2)
    assert load_image(data.images[3])[0, 0].tolist() == [3, 0, 0]


def test_pictures_are_read_on_demand():
    source = make(6)
    source = source.with_format("numpy")  # formats of the caller do not matter
    data = load_dataset(source)
    picked = data[[5, 1]]
    assert list(picked.images) == [png(5), png(1)]
    assert support_set(data, 1).y.tolist() in (["dog", "cat"], ["cat", "dog"])


def test_a_dict_of_splits_becomes_splits():
    source = hub.DatasetDict({"train": make(4), "valid": make(2), "test": make(3)})
    data = load_dataset(source)
    assert data.splits == ["train"] * 4 + ["validation"] * 2 + ["test"] * 3
    assert data.test.images[2] == png(2)
    assert load_dataset(source, split="test").y.tolist() == ["dog", "cat", "dog"]
    assert len(load_dataset(source, limit=3)) == 3


def test_text_columns_by_usual_names():
    source = hub.Dataset.from_dict(
        {"file_name": ["/a.jpg", "/b.jpg"], "class": ["x", None], "id": [4, 5], "group": ["g", "h"]}
    )
    data = load_dataset(source)
    assert list(data.images) == ["/a.jpg", "/b.jpg"]
    assert data.codes.tolist() == [0, -1]
    assert data.ids == ["4", "5"]
    assert data.groups == ["g", "h"]
    numbers = hub.Dataset.from_dict({"image": ["a", "b"], "label": [12, 7]})
    assert load_dataset(numbers).labels == ("7", "12")


def test_unclear_columns_are_listed():
    source = make().add_column("class", list("abcd")).rename_column("label", "fine")
    assert load_dataset(source).labels == ("dog", "cat")  # the feature decides
    assert load_dataset(source, label_column="class").labels == ("a", "b", "c", "d")
    with pytest.raises(DataError, match=r"There is no column 'x'. The columns are 'image', 'fine'"):
        load_dataset(source, label_column="x")
    with pytest.raises(
        DataError, match=r"No column has a name that is known for the images. The columns are 'x'"
    ):
        load_dataset(hub.Dataset.from_dict({"x": [1]}))
    both = hub.Dataset.from_dict({"image": ["a"], "label": ["b"], "class": ["c"]})
    with pytest.raises(DataError, match=r"Several columns \('label', 'class'\)"):
        load_dataset(both)


def test_several_labels_per_image_are_an_error():
    source = hub.Dataset.from_dict({"image": ["a"], "labels": [["x", "y"]]})
    with pytest.raises(DataError, match="several labels per image"):
        load_dataset(source)


def test_missing_labels_are_minus_one():
    features = hub.Features(
        {"image": hub.Value("string"), "label": hub.ClassLabel(names=["a", "b"])}
    )
    source = hub.Dataset.from_dict(
        {"image": ["x", "y", "z"], "label": [1, -1, None]}, features=features
    )
    assert load_dataset(source).codes.tolist() == [1, -1, -1]


def test_a_label_set_is_checked(tmp_path):
    (tmp_path / "l.txt").write_text("cat\ndog\ncow\n")
    data = load_dataset(make(), labels_file=tmp_path / "l.txt")
    assert data.labels == ("cat", "dog", "cow")
    assert data.y.tolist() == ["dog", "cat", "dog", "cat"]
    (tmp_path / "l.txt").write_text("cat\n")
    with pytest.raises(DataError, match=r"Row 0: label 'dog' is not in the label set \(cat\)"):
        load_dataset(make(), labels_file=tmp_path / "l.txt")


def test_streams_and_unequal_splits_are_errors():
    with pytest.raises(DataError, match="from start to end"):
        load_dataset(make().to_iterable_dataset())
    with pytest.raises(DataError, match="Split 'test' has the columns"):
        load_dataset(hub.DatasetDict({"train": make(), "test": make().remove_columns("label")}))
    with pytest.raises(DataError, match="no splits"):
        load_dataset(hub.DatasetDict())


def test_an_empty_picture_is_empty_bytes():
    features = hub.Features({"image": hub.Image()})
    data = load_dataset(hub.Dataset.from_dict({"image": [None]}, features=features))
    assert list(data.images) == [b""]
    assert data.codes is None


def test_the_library_is_not_imported_for_other_sources():
    code = (
        "import sys; from showtell.datasets import load_dataset; load_dataset(['a.jpg']);"
        "heavy = ('datasets', 'pyarrow', 'pandas', 'torch', 'sklearn');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_codes_are_int32():
    assert load_dataset(make()).codes.dtype == np.int32
