"""Folders: per label, train and test, flat; what is passed over; labels.json."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from showtell.datasets import load_dataset
from showtell.datasets.files import natural_key
from showtell.errors import DataError, InputError, UnknownNameError


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not opened by these tests")
    return root


def under(root: Path, data) -> list[str]:
    return [os.path.relpath(path, root) for path in data.images]


def test_a_folder_per_label_gives_labels_in_natural_order(tmp_path):
    make(tmp_path, "10/a.jpg", "2/b.PNG", "1/c.Jpeg")
    data = load_dataset(tmp_path)
    assert data.labels == ("1", "2", "10")
    assert under(tmp_path, data) == ["1/c.Jpeg", "2/b.PNG", "10/a.jpg"]
    assert data.codes.tolist() == [0, 1, 2]
    assert data.splits is None
    assert data.name == tmp_path.name


def test_files_come_in_natural_order_whatever_order_the_disk_has(tmp_path):
    make(tmp_path, "cat/10.jpg", "cat/9.jpg", "cat/B.jpg", "cat/a.jpg", "cat/1.jpg")
    assert under(tmp_path, load_dataset(tmp_path)) == [
        f"cat/{name}.jpg" for name in ("1", "9", "10", "a", "B")
    ]


def test_natural_order_is_total_and_takes_huge_numbers():
    names = ["a1", "a01", "A1", "a" + "9" * 5000, "", "1", "a", "²", "a2"]
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)
    assert sorted(["a2", "a10", "a1"], key=natural_key) == ["a1", "a2", "a10"]


def test_deeper_folders_belong_to_the_label_above_them(tmp_path):
    make(tmp_path, "cat/indoor/1.jpg", "cat/2.jpg", "dog/x/y/3.jpg")
    data = load_dataset(tmp_path)
    assert data.labels == ("cat", "dog")
    assert data.y.tolist() == ["cat", "cat", "dog"]


def test_hidden_and_other_files_are_passed_over_and_counted(tmp_path):
    make(tmp_path, "cat/1.jpg", "cat/.hidden.jpg", "cat/notes.txt", ".git/2.jpg", "readme.md")
    make(tmp_path, "__MACOSX/cat/1.jpg")
    data = load_dataset(tmp_path)
    assert len(data) == 1
    assert data.notes == (
        "3 hidden files or folders were passed over.",
        "2 files whose names do not end like images were passed over: notes.txt, readme.md.",
    )


def test_broken_images_stay(tmp_path):
    make(tmp_path, "cat/empty.jpg")
    (tmp_path / "cat/empty.jpg").write_bytes(b"")
    (tmp_path / "cat" / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "cat" / "folder.jpg").mkdir()
    assert under(tmp_path, load_dataset(tmp_path)) == [
        "cat/dangling.jpg",
        "cat/empty.jpg",
        "cat/folder.jpg",
    ]


def test_train_and_test_folders_become_splits(tmp_path):
    make(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "test/dog/3.jpg", "val/cow/4.jpg")
    data = load_dataset(tmp_path)
    assert data.split_names == ("train", "validation", "test")
    assert data.labels == ("cat", "cow", "dog")
    assert data.train.y.tolist() == ["cat", "dog"]
    assert data.test.y.tolist() == ["dog"]
    assert data.split("validation").y.tolist() == ["cow"]
    assert data.test.labels == data.labels
    assert load_dataset(tmp_path, split="test").y.tolist() == ["dog"]
    with pytest.raises(UnknownNameError, match="train, validation, test"):
        load_dataset(tmp_path, split="tset")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Valid"])
def test_names_for_validation(tmp_path, name):
    make(tmp_path, "Training/cat/1.jpg", f"{name}/cat/2.jpg", "TESTING/cat/3.jpg")
    assert load_dataset(tmp_path).splits == ["train", "validation", "test"]


def test_a_class_called_train_is_a_class(tmp_path):
    make(tmp_path, "train/1.jpg", "car/2.jpg", "bus/3.jpg")
    data = load_dataset(tmp_path)
    assert data.labels == ("bus", "car", "train")
    assert data.splits is None


def test_folders_beside_splits_are_noted(tmp_path):
    make(tmp_path, "train/cat/1.jpg", "test/cat/2.jpg", "unlabelled/3.jpg")
    data = load_dataset(tmp_path)
    assert len(data) == 2
    assert data.notes == ("Folders beside the splits were passed over: unlabelled.",)


def test_flat_splits_have_no_labels(tmp_path):
    make(tmp_path, "train/1.jpg", "test/2.jpg")
    data = load_dataset(tmp_path)
    assert data.codes is None
    assert data.split_names == ("train", "test")


def test_a_flat_folder_has_no_labels(tmp_path):
    make(tmp_path, "2.jpg", "10.jpg")
    data = load_dataset(tmp_path)
    assert under(tmp_path, data) == ["2.jpg", "10.jpg"]
    assert data.codes is None
    assert data.labels == ()
    with pytest.raises(DataError, match="2 of 2 samples have no label"):
        _ = data.y


def test_images_beside_class_folders_are_noted(tmp_path):
    make(tmp_path, "cat/1.jpg", "loose.jpg")
    data = load_dataset(tmp_path)
    assert data.y.tolist() == ["cat"]
    assert "1 images beside the class folders have no label and were passed over: loose.jpg." in (
        data.notes
    )


def test_empty_folders_are_noted(tmp_path):
    make(tmp_path, "cat/1.jpg", "dog/readme.txt")
    data = load_dataset(tmp_path)
    assert data.labels == ("cat",)
    assert "Folders without images were passed over: dog." in data.notes


def test_no_image_is_an_error_that_lists_the_endings(tmp_path):
    make(tmp_path, "cat/readme.txt")
    with pytest.raises(DataError, match=r"no image in the folder .*\.heic.*\.jpg"):
        load_dataset(tmp_path)


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="There is no file or folder"):
        load_dataset(tmp_path / "no")
    with pytest.raises(DataError, match="There is no file or folder"):
        load_dataset("a\0b")
    with pytest.raises(DataError, match="neither a folder, nor a table"):
        load_dataset(make(tmp_path, "a.txt") / "a.txt")
    with pytest.raises(InputError, match="Cannot load a data set from a int"):
        load_dataset(3)
    with pytest.raises(InputError, match="Cannot load a data set from a bytes"):
        load_dataset(b"abc")
    with pytest.raises(InputError, match="Item 1 of the list is a int"):
        load_dataset(["a.jpg", 1])


def test_a_folder_has_no_columns(tmp_path):
    make(tmp_path, "cat/1.jpg")
    with pytest.raises(InputError, match=r"label_column names a column, but .* has no columns"):
        load_dataset(tmp_path, label_column="label")


def test_one_file_or_a_list_is_a_flat_data_set(tmp_path):
    make(tmp_path, "1.jpg")
    assert load_dataset(str(tmp_path / "1.jpg")).images == [str(tmp_path / "1.jpg")]
    data = load_dataset(["x.jpg", b"bytes", tmp_path])
    assert data.images == ["x.jpg", b"bytes", tmp_path]


def test_a_data_set_comes_back_as_it_is(tmp_path):
    data = load_dataset(make(tmp_path, "cat/1.jpg"))
    assert load_dataset(data) is data


def test_links_are_followed_but_not_in_circles(tmp_path):
    make(tmp_path, "data/cat/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "data/dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/cat/again").symlink_to(tmp_path / "data")
    (tmp_path / "data/cat/self").symlink_to(tmp_path / "data/cat")
    data = load_dataset(tmp_path / "data")
    assert under(tmp_path / "data", data) == ["cat/1.jpg", "dog/2.jpg"]


def test_names_that_are_no_utf8_are_kept(tmp_path):
    folder = os.fsencode(tmp_path) + b"/cat"
    Path(os.fsdecode(folder)).mkdir()
    Path(os.fsdecode(folder + b"/\xff.jpg")).touch()
    data = load_dataset(tmp_path)
    assert os.fsencode(data.images[0]).endswith(b"/\xff.jpg")
    Path(os.fsdecode(folder)).rename(tmp_path / "\udcfe")
    assert load_dataset(tmp_path).labels == ("\\xfe",)


def write_words(root: Path, words: object) -> None:
    (root / "labels.json").write_text(json.dumps(words), encoding="utf-8")


def test_labels_json_maps_folders_to_words(tmp_path):
    make(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg", "d/4.jpg")
    write_words(tmp_path, {"a": "red  apple", "b": "pear", "c": "red apple", "z": "zebra"})
    data = load_dataset(tmp_path)
    assert data.labels == ("red apple", "pear", "d")
    assert data.y.tolist() == ["red apple", "pear", "red apple", "d"]
    assert data.notes == (
        "labels.json names folders that hold no images: z.",
        "Folders that labels.json does not name keep their names: d.",
    )


def test_labels_json_lies_beside_the_folder_of_the_split(tmp_path):
    make(tmp_path, "train/a/1.jpg", "test/a/2.jpg")
    write_words(tmp_path, {"a": "apple"})
    assert load_dataset(tmp_path).labels == ("apple",)
    assert load_dataset(tmp_path / "test").labels == ("apple",)
    (tmp_path / "test").rename(tmp_path / "other")
    assert load_dataset(tmp_path / "other").labels == ("a",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "must be an object that maps folder names"),
        ({"a": 3}, "folder 'a' must map to a label word"),
        ({"a": "  "}, "folder 'a' must map to a label word"),
    ],
)
def test_a_wrong_labels_json_is_an_error(tmp_path, words, message):
    make(tmp_path, "a/1.jpg")
    write_words(tmp_path, words)
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)


def test_labels_json_that_is_no_json_is_an_error(tmp_path):
    make(tmp_path, "a/1.jpg")
    (tmp_path / "labels.json").write_text('{"a": "x", "a": "y"}')
    with pytest.raises(DataError, match="'a' stands twice"):
        load_dataset(tmp_path)
    (tmp_path / "labels.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        load_dataset(tmp_path)


def test_a_labels_file_orders_the_labels_and_is_checked(tmp_path):
    make(tmp_path / "d", "cat/1.jpg", "hound/2.jpg")
    path = tmp_path / "labels.csv"
    path.write_text("label,alias\ncow,\ndog,hound\ncat,\n")
    data = load_dataset(tmp_path / "d", labels_file=path)
    assert data.labels == ("cow", "dog", "cat")
    assert data.y.tolist() == ["cat", "dog"]
    again = load_dataset(load_dataset(tmp_path / "d"), labels_file=path)
    assert again.labels == data.labels
    assert again.y.tolist() == data.y.tolist()
    path.write_text("label\ncow\ncat\n")
    with pytest.raises(DataError, match=r"folder 'hound' .* not in the label set \(cow, cat\)"):
        load_dataset(tmp_path / "d", labels_file=path)
    with pytest.raises(DataError, match=r"'hound' is not in the label set"):
        load_dataset(load_dataset(tmp_path / "d"), labels_file=path)


def test_limit_and_seed(tmp_path):
    make(tmp_path, *(f"{label}/{i}.jpg" for label in ("cat", "dog") for i in range(10)))
    some = load_dataset(tmp_path, limit=6, seed=1)
    assert sorted(some.y.tolist()) == ["cat"] * 3 + ["dog"] * 3
    assert some.images == load_dataset(tmp_path, limit=6, seed=1).images
    assert some.images != load_dataset(tmp_path, limit=6, seed=2).images


def test_what_a_data_set_prints_is_short(tmp_path):
    make(tmp_path / "pets", "train/cat/1.jpg", "test/dog/2.jpg")
    text = repr(load_dataset(tmp_path / "pets"))
    assert text == "<Dataset pets: 2 samples, 2 labels, train 1, test 1>"


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "n_train", "n_test", "n_labels"),
    [
        ("animals", 300, 420, 12),
        ("butterflies", 243, 350, 10),
        ("clothing", 250, 347, 10),
        ("digits", 150, 350, 10),
        ("dog_breeds", 175, 245, 7),
        ("flowers", 125, 175, 5),
        ("satellite", 300, 240, 12),
        ("weather", 96, 140, 4),
    ],
)
def test_shared_sets_load_as_their_readme_says(shared_datasets, name, n_train, n_test, n_labels):
    data = load_dataset(shared_datasets / name)
    words = json.loads((shared_datasets / name / "labels.json").read_text())
    assert (len(data.train), len(data.test), len(data.labels)) == (n_train, n_test, n_labels)
    assert set(data.labels) == set(words.values())
    assert data.notes == ()
    folder = Path(data.images[-1]).parent.name
    assert data.y[-1] == words[folder]
    alone = load_dataset(shared_datasets / name / "test")
    assert (alone.labels, alone.images) == (data.labels, data.test.images)


def test_the_example_photos_load(repository):
    data = load_dataset(repository / "examples" / "photos")
    assert len(data) >= 16
    assert len(data.labels) >= 6
    assert data.notes == ()
    listed = (repository / "examples" / "PHOTOS.md").read_text(encoding="utf-8")
    for path in data.images:
        name = os.path.relpath(path, repository / "examples")
        assert f"| {name} |" in listed
        assert Path(path).stat().st_size < 100_000


def test_example_photos_carry_no_metadata_and_are_small(repository):
    from PIL import Image

    for path in (repository / "examples" / "photos").rglob("*.jpg"):
        with Image.open(path) as picture:
            assert max(picture.size) <= 640
            assert not picture.getexif()
            assert picture.mode == "RGB"


def test_a_link_to_itself_is_no_folder(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError, match="There is no image in the folder"):
        load_dataset(tmp_path)
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert under(tmp_path, load_dataset(tmp_path)) == ["loop.jpg"]
