"""Splits, samples of a data set, and the columns behind them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from showtell.datasets import Dataset, LazyRows, limit_dataset, split_dataset
from showtell.errors import DataError, InputError, UnknownNameError


def data_of(codes, groups=None, images=None) -> Dataset:
    codes = np.asarray(codes, np.int32)
    labels = tuple(f"label{i}" for i in range(int(codes.max(initial=0)) + 1))
    images = images or [f"{i}.jpg" for i in range(len(codes))]
    return Dataset(images=images, codes=codes, labels=labels, groups=groups)


def counts(data: Dataset) -> list[int]:
    return np.bincount(data.codes, minlength=len(data.labels)).tolist()


def test_each_label_has_its_share_on_both_sides():
    data = split_dataset(data_of([0] * 40 + [1] * 20 + [2] * 8), test_size=0.25, by_group=False)
    assert counts(data.test) == [10, 5, 2]
    assert counts(data.train) == [30, 15, 6]
    assert [sample.image for sample in data] == [f"{i}.jpg" for i in range(68)]


@pytest.mark.parametrize(("size", "n"), [(0.3, 6), (0.5, 10), (7, 7), (1, 1), (19, 19), (0.01, 1)])
def test_size_is_a_share_or_a_number(size, n):
    data = split_dataset(data_of([0] * 20), test_size=size, by_group=False)
    assert (len(data.test), len(data.train)) == (n, 20 - n)


@pytest.mark.parametrize("size", [0, 1.0, -0.1, 1.5, 20, 25, True, "a", float("nan"), None])
def test_a_size_that_leaves_a_side_empty_is_an_error(size):
    with pytest.raises(InputError, match="`test_size` must be"):
        split_dataset(data_of([0] * 20), test_size=size, by_group=False)


def test_equal_seeds_give_equal_splits_and_others_differ():
    data = data_of([0, 1] * 20)
    one, same, other = (split_dataset(data, seed=s, by_group=False).splits for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_rare_label_is_on_both_sides_if_it_can_be():
    data = split_dataset(data_of([0] * 50 + [1] * 2 + [2]), test_size=0.1, by_group=False)
    assert counts(data.test)[1:] == [1, 0]
    assert counts(data.train)[1:] == [1, 1]
    assert data.notes == ("Label 'label2' (1 samples) is in train only.",)


def test_unlabelled_data_can_be_split():
    data = Dataset(images=list("abcdefgh"))
    assert len(split_dataset(data, by_group=False).test) == 2


def test_data_with_splits_is_not_split_again():
    data = split_dataset(data_of([0] * 8), by_group=False)
    with pytest.raises(InputError, match="has the splits 'train', 'test' already"):
        split_dataset(data)
    with pytest.raises(InputError, match="`seed` is a whole number"):
        split_dataset(data_of([0] * 8), seed=1.5, by_group=False)


@pytest.fixture
def photos(tmp_path):
    """Twelve files, of which 0, 4 and 8 have the same content, and 11 is missing."""
    names = []
    for i in range(12):
        path = tmp_path / f"{i}.png"
        if i < 11:
            Image.new("RGB", (4, 4), (7, 7, 7) if i % 4 == 0 else (i, 0, 0)).save(path)
        names.append(str(path))
    return names


def test_equal_contents_stay_together(photos):
    for seed in range(20):
        data = split_dataset(data_of([0, 1] * 6, images=photos), test_size=0.5, seed=seed)
        assert len({data.splits[i] for i in (0, 4, 8)}) == 1
    assert data.notes == (
        "1 images could not be read when contents were compared.",
        "2 samples repeat the content of another; they stay on its side.",
    )


def test_contents_under_different_labels_are_noted(photos):
    data = split_dataset(data_of([0, 1, 0, 1, 1, 0] * 2, images=photos))
    assert "1 contents occur under different labels." in data.notes


def test_groups_and_contents_join(photos):
    groups = [""] * 12
    groups[4] = groups[1] = "x"  # so 0, 4, 8 and 1 belong together
    for seed in range(10):
        data = split_dataset(data_of([0] * 12, groups, photos), test_size=0.5, seed=seed)
        assert len({data.splits[i] for i in (0, 1, 4, 8)}) == 1


def test_what_belongs_together_cannot_be_parted():
    data = data_of([0] * 4, ["g"] * 4, [f"/missing/{i}.jpg" for i in range(4)])
    with pytest.raises(InputError, match="The 4 samples all belong together"):
        split_dataset(data)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=4, max_size=40),
    size=st.floats(0.1, 0.9),
    seed=st.integers(0, 5),
)
def test_groups_are_never_torn(rows, size, seed):
    groups = [f"g{group}" for _, group in rows]
    images = [f"/missing/{i}.jpg" for i in range(len(rows))]
    data = data_of([code for code, _ in rows], groups, images)
    try:
        split = split_dataset(data, test_size=size, seed=seed)
    except InputError:
        assert len(set(groups)) == 1
        return
    sides = {}
    for group, side in zip(groups, split.splits, strict=True):
        assert sides.setdefault(group, side) == side
    assert set(split.splits) == {"train", "test"}


@settings(max_examples=60, deadline=None)
@given(
    codes=st.lists(st.integers(-1, 3), min_size=1, max_size=50),
    n=st.integers(1, 60),
    seed=st.integers(0, 3),
)
def test_a_sample_keeps_shares_and_order(codes, n, seed):
    data = data_of(codes)
    some = limit_dataset(data, n, seed=seed)
    assert len(some) == min(n, len(codes))
    rows = [int(image.removesuffix(".jpg")) for image in some.images]
    assert rows == sorted(set(rows))
    assert some.codes.tolist() == [codes[row] for row in rows]
    assert some.ids is None or [some.id_of(i) for i in range(len(some))] == [str(r) for r in rows]
    if n >= 5:
        assert set(some.codes.tolist()) == set(codes)
    exact = {code: codes.count(code) * len(some) / len(codes) for code in set(codes)}
    if min(exact.values()) >= 1:
        for code, share in exact.items():
            assert abs(some.codes.tolist().count(code) - share) < 1


def test_a_sample_is_even_over_labels_and_splits():
    data = Dataset(
        images=[f"{i}" for i in range(40)],
        codes=np.array([0, 1] * 20, np.int32),
        labels=("a", "b"),
        splits=["train"] * 20 + ["test"] * 20,
    )
    some = limit_dataset(data, 8)
    assert counts(some.train) == [2, 2]
    assert counts(some.test) == [2, 2]
    assert limit_dataset(data, 40) is data


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "3"])
def test_a_wrong_limit_is_an_error(n):
    with pytest.raises(InputError, match="at least 1"):
        limit_dataset(data_of([0] * 3), n)


def test_rows_of_a_data_set_keep_their_ids():
    data = data_of([0, 1, 0, 1])
    picked = data[[3, 1]][np.array([True, False])]
    assert [sample.id for sample in picked] == ["3"]
    assert data[1:3].images == ["1.jpg", "2.jpg"]
    assert len(data[[]]) == 0
    assert len(data[[]][[]]) == 0
    with pytest.raises(InputError, match="one-dimensional"):
        _ = data[np.zeros((2, 2), int)]


def test_labelled_drops_only_what_has_no_label():
    data = data_of([0, -1, 1])
    assert data.labelled().codes.tolist() == [0, 1]
    full = data_of([0, 1])
    assert full.labelled() is full
    assert len(Dataset(images=["a"]).labelled()) == 0


def test_columns_must_have_one_value_per_image():
    with pytest.raises(DataError, match="Column 'codes' has 1 rows, but there are 2"):
        Dataset(images=["a", "b"], codes=np.zeros(1, np.int32))
    with pytest.raises(DataError, match="must differ"):
        Dataset(images=[], labels=("a", "a"))


def test_unknown_split_is_an_error():
    with pytest.raises(UnknownNameError, match="no splits"):
        _ = data_of([0]).test


def test_lazy_rows_read_only_what_is_asked_for():
    read = []

    def load(row: int) -> str:
        read.append(row)
        return f"image {row}"

    data = Dataset(
        images=LazyRows(load, np.arange(100)), codes=np.zeros(100, np.int32), labels=("a",)
    )
    part = limit_dataset(split_dataset(data, by_group=False), 10).train
    assert read == []
    assert len(part) == 8
    assert part.images[0].startswith("image ")
    assert len(read) == 1
    assert repr(part.images) == "<8 values, read on demand>"
    assert len(part.images[2:4]) == 2
