"""k-shot support sets, neutral label names."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.datasets import (
    Dataset,
    LabelKey,
    anonymise_labels,
    split_dataset,
    support_rows,
    support_set,
)
from showtell.errors import DataError, InputError


def data_of(n_per_label: dict[str, int], prefix: str = "") -> Dataset:
    labels = tuple(n_per_label)
    pairs = [(code, i) for code, name in enumerate(labels) for i in range(n_per_label[name])]
    return Dataset(
        images=[f"{prefix}{labels[code]}/{i}.jpg" for code, i in pairs],
        codes=np.array([code for code, _ in pairs], np.int32),
        labels=labels,
    )


@settings(max_examples=100, deadline=None)
@given(
    y=st.lists(st.sampled_from(["cat", "dog", "cow"]), max_size=40),
    seed=st.integers(0, 2**40),
    shots=st.integers(0, 12),
    keyed=st.booleans(),
)
def test_fewer_shots_are_part_of_more(y, seed, shots, keyed):
    keys = [f"{i % 7}" for i in range(len(y))] if keyed else None
    small = support_rows(y, shots, seed=seed, keys=keys)
    large = support_rows(y, shots + 3, seed=seed, keys=keys)
    assert set(small.tolist()) <= set(large.tolist())
    for name in set(y):
        chosen = [row for row in small.tolist() if y[row] == name]
        assert len(chosen) == min(shots, y.count(name))
        assert chosen == [row for row in large.tolist() if y[row] == name][:shots]
    assert len(set(small.tolist())) == len(small)


def test_rows_come_class_by_class_in_sorted_order():
    y = np.array(["dog", "cat", "dog", "cat"])
    assert y[support_rows(y, 1)].tolist() == ["cat", "dog"]
    assert y[support_rows(y, 2)].tolist() == ["cat", "cat", "dog", "dog"]


def test_seeds_choose_differently_and_repeatably():
    y = [0] * 100 + [1] * 100
    draws = [tuple(support_rows(y, 3, seed=seed)) for seed in range(20)]
    assert len(set(draws)) == 20
    assert tuple(support_rows(y, 3, seed=7)) == draws[7]


def test_draws_are_even():
    y = [0] * 10
    times = np.zeros(10)
    keyed = np.zeros(10)
    for seed in range(1000):
        times[support_rows(y, 3, seed=seed)] += 1
        keyed[support_rows(y, 3, seed=seed, keys=[f"k{i}" for i in range(10)])] += 1
    assert times.sum() == keyed.sum() == 3000
    for found in (times, keyed):  # 300 each expected, standard deviation 14.5
        assert found.min() > 230
        assert found.max() < 370


def test_other_classes_do_not_matter():
    y = np.array([0, 1] * 10)
    with_others = support_rows(y, 2, seed=3)
    alone = support_rows(np.where(y == 0, 0, -1), 2, seed=3)
    assert with_others[:2].tolist() == alone.tolist()


def test_keys_make_the_order_of_rows_irrelevant():
    y = np.array(["cat", "dog"] * 10)
    keys = np.array([f"{i}.jpg" for i in range(20)])
    order = np.random.default_rng(0).permutation(20)
    chosen = set(keys[support_rows(y, 3, seed=1, keys=keys.tolist())])
    again = set(keys[order][support_rows(y[order], 3, seed=1, keys=keys[order].tolist())])
    assert chosen == again


def test_copies_are_chosen_last():
    keys = ["a", "a", "a", "b"]
    for seed in range(10):
        assert {keys[r] for r in support_rows([0] * 4, 2, seed=seed, keys=keys)} == {"a", "b"}


def test_unlabelled_rows_are_never_chosen():
    assert support_rows([-1, -1, 0], 5).tolist() == [2]
    assert support_rows(np.array([None, "cat"], object), 5).tolist() == [1]
    assert support_rows([], 5).tolist() == []


def test_small_classes_give_all_they_have_or_raise():
    assert len(support_rows([0, 0, 1], 2)) == 3
    with pytest.raises(InputError, match="2 shots are more than some labels have: '1' has 1"):
        support_rows([0, 0, 1], 2, short="error")


@pytest.mark.parametrize("shots", [-1, 1.5, True, "2", None])
def test_wrong_shots_are_errors(shots):
    with pytest.raises(InputError, match="`shots` is a whole number from 0 up"):
        support_rows([0, 1], shots)


def test_wrong_labels_and_keys_are_errors():
    with pytest.raises(InputError, match="one-dimensional"):
        support_rows([[0], [1]], 1)
    with pytest.raises(InputError, match="1 keys for 2 rows"):
        support_rows([0, 1], 1, keys=["a"])
    with pytest.raises(InputError, match="different types"):
        support_rows(np.array([1, "a"], object), 1)
    with pytest.raises(InputError, match="'take' or 'error'"):
        support_rows([0], 1, short="maybe")


def test_support_set_is_nested_and_keeps_the_labels():
    data = data_of({"cat": 10, "dog": 10, "cow": 2})
    sets = [set(support_set(data, k, seed=5).images) for k in (0, 1, 2, 5, 20)]
    assert [len(s) for s in sets] == [0, 3, 6, 12, 22]
    assert all(a <= b for a, b in itertools.pairwise(sets))
    five = support_set(data, 5, seed=5)
    assert five.labels == ("cat", "dog", "cow")
    assert five.notes == ("Labels with fewer than 5 samples give all they have: cow 2.",)
    with pytest.raises(InputError, match="cow"):
        support_set(data, 5, short="error")


def test_support_set_does_not_depend_on_place_or_order():
    here, there = data_of({"cat": 9, "dog": 9}), data_of({"cat": 9, "dog": 9}, prefix="/mnt/x/")
    turned = there[np.arange(17, -1, -1)]
    chosen = set(support_set(here, 3, seed=2).images)
    assert {f"/mnt/x/{name}" for name in chosen} == set(support_set(turned, 3, seed=2).images)


def test_support_set_comes_from_train():
    data = split_dataset(data_of({"cat": 8, "dog": 8}), by_group=False)
    assert set(support_set(data, 2).images) <= set(data.train.images)
    with pytest.raises(InputError, match="No sample has a label"):
        support_set(Dataset(images=["a"]), 1)


# -- neutral names ---------------------------------------------------------------------------------


def test_neutral_names_are_a_random_renaming():
    labels = [f"label {i}" for i in range(15)]
    keys = [anonymise_labels(labels, seed) for seed in range(5)]
    for key in keys:
        assert list(key.to_code) == labels
        assert set(key.to_code.values()) == {f"class_{i}" for i in range(15)}
        assert [key.to_label[key.to_code[label]] for label in labels] == labels
    assert len({tuple(key.to_code.values()) for key in keys}) == 5
    assert anonymise_labels(labels, 3) == keys[3]
    assert keys[0].codes[:3] == ("class_0", "class_1", "class_2")
    assert keys[0].codes[-1] == "class_14"


def test_neutral_names_are_never_labels():
    key = anonymise_labels(["Class_1", "x"], 0)
    assert set(key.to_code.values()) == {"class__0", "class__1"}


def test_a_data_set_under_neutral_names():
    data = data_of({"cat": 2, "dog": 1})
    key = anonymise_labels(data.labels, 1)
    hidden = key.encode(data)
    assert hidden.labels == ("class_0", "class_1")
    assert key.decode(hidden.y).tolist() == data.y.tolist()
    unlabelled = key.encode(Dataset(images=["a"], codes=np.array([-1], np.int32), labels=("cat",)))
    assert unlabelled.codes.tolist() == [-1]
    with pytest.raises(InputError, match="'cow' is not in the key"):
        key.encode(data_of({"cow": 1}))
    with pytest.raises(InputError, match="'class_9' is not in the key"):
        key.decode(["class_9"])


def test_a_key_is_saved_and_loaded(tmp_path):
    key = anonymise_labels(["Käse", "日本", "c"], 4)
    key.save(tmp_path / "key.json")
    assert LabelKey.load(tmp_path / "key.json") == key
    value = json.loads((tmp_path / "key.json").read_text(encoding="utf-8"))
    assert value["to_label"] == key.to_label

    first = next(iter(value["to_label"]))
    value["to_label"][first] = "c2"
    (tmp_path / "key.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match="contradict each other"):
        LabelKey.load(tmp_path / "key.json")
    for text in (
        "[]",
        '{"to_code": {}}',
        '{"format": "showtell label key 1", "to_code": {"a": 1}}',
    ):
        (tmp_path / "key.json").write_text(text)
        with pytest.raises(DataError, match="is no label key"):
            LabelKey.load(tmp_path / "key.json")
    (tmp_path / "key.json").write_text("{")
    with pytest.raises(DataError, match="Cannot read the label key"):
        LabelKey.load(tmp_path / "key.json")
    with pytest.raises(DataError, match="Two labels have the same neutral name"):
        LabelKey(to_code={"a": "x", "b": "x"})


@pytest.mark.parametrize("labels", [[], ["a", "a"], "ab"])
def test_wrong_labels_cannot_be_hidden(labels):
    with pytest.raises(InputError, match="different names"):
        anonymise_labels(labels)


def test_a_wrong_seed_is_an_error():
    with pytest.raises(InputError, match="`seed`"):
        anonymise_labels(["a"], seed="x")
