"""Near duplicates between train and test."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from showtell.datasets import (
    Dataset,
    NearDuplicateWarning,
    load_dataset,
    near_duplicates,
    warn_near_duplicates,
)
from showtell.datasets.duplicates import _close
from showtell.errors import InputError


def draw(seed: int, size: int = 128) -> Image.Image:
    """Draw a picture of random soft shapes."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (128, 128), tuple(rng.integers(0, 255, 3).tolist()))
    canvas = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, r = rng.integers(0, 128, 3).tolist()
        canvas.ellipse(
            (x - r // 3, y - r // 3, x + r // 3, y + r // 3),
            tuple(rng.integers(0, 255, 3).tolist()),
        )
    return picture.resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def pictures(tmp_path):
    def save(name: str, picture: Image.Image, **options) -> str:
        path = tmp_path / name
        picture.save(path, **options)
        return str(path)

    return save


def test_scaled_and_recompressed_copies_are_found(pictures):
    train = [pictures(f"a{i}.png", draw(i)) for i in range(8)]
    test = [
        pictures("scaled.png", draw(3, 90)),
        pictures("other.png", draw(100)),
        pictures("jpeg.jpg", draw(5), quality=40),
        train[7],
    ]
    found = near_duplicates(Dataset(images=train), Dataset(images=test))
    assert [(pair.a, pair.b) for pair in found] == [(3, 0), (5, 2), (7, 3)]
    assert [pair.exact for pair in found] == [False, False, True]
    assert found.pairs[2].distance == 0
    assert (found.n_rows_a, found.n_rows_b, found.n_unreadable) == (3, 3, 0)


def test_plain_pictures_count_only_if_equal(pictures):
    white = pictures("white.png", Image.new("RGB", (64, 64), "white"))
    grey = pictures("grey.png", Image.new("RGB", (64, 64), "grey"))
    data = Dataset(images=[white])
    assert len(near_duplicates(data, Dataset(images=[grey]))) == 0
    [pair] = near_duplicates(data, Dataset(images=[grey, white]))
    assert (pair.b, pair.exact) == (1, True)


def test_unreadable_images_are_skipped_and_counted(pictures, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    good = pictures("good.png", draw(1))
    a = Dataset(images=[str(tmp_path / "broken.jpg"), good])
    b = Dataset(images=[good, str(tmp_path / "missing.jpg"), draw(1)])
    found = near_duplicates(a, b)
    assert [(pair.a, pair.b) for pair in found] == [(1, 0), (1, 2)]
    assert found.n_unreadable == 2


def test_the_warning_names_five_pairs_and_counts_all(pictures):
    names = [pictures(f"{i}.png", draw(i)) for i in range(7)]
    copies = [pictures(f"copy{i}.png", draw(i, 100)) for i in range(7)]
    train, test = Dataset(images=names), Dataset(images=[*copies, pictures("x.png", draw(99))])
    with pytest.warns(NearDuplicateWarning) as caught:
        found = warn_near_duplicates(train, test)
    message = str(caught[0].message)
    assert len(found) == 7
    assert "7 of 8 test images" in message
    assert "and 2 more pairs" in message
    assert f"{names[0]} and {copies[0]} (" in message
    assert names[5] not in message
    assert Path(caught[0].filename).name == "test_datasets_duplicates.py"


def test_no_warning_without_pairs(pictures):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = warn_near_duplicates(
            Dataset(images=[pictures("a.png", draw(1))]),
            Dataset(images=[pictures("b.png", draw(2))]),
        )
    assert found.pairs == ()
    assert len(near_duplicates(Dataset(images=[]), Dataset(images=[]))) == 0


@pytest.mark.parametrize("distance", [-1, 65, 1.5])
def test_a_wrong_distance_is_an_error(distance):
    with pytest.raises(InputError, match="between 0 and 64"):
        near_duplicates(Dataset(images=[]), Dataset(images=[]), max_distance=distance)


def test_blocks_find_what_comparing_one_by_one_finds():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 2**64, 1300, np.uint64)
    b = a[rng.permutation(1300)[:700]] ^ np.uint64(1 << 5 | 1 << 63)
    close = {(i, j): d for i, j, d in _close(a, b, 2)}
    slow = {
        (i, j): (x ^ y).bit_count()
        for i, x in enumerate(a.tolist())
        for j, y in enumerate(b.tolist())
        if (x ^ y).bit_count() <= 2
    }
    assert close == slow
    assert len(close) == 700


def test_one_path_is_opened_once(pictures, monkeypatch):
    from showtell.datasets import duplicates

    opened = []
    look = duplicates._look
    monkeypatch.setattr(duplicates, "_look", lambda image: opened.append(image) or look(image))
    name = pictures("a.png", draw(1))
    found = near_duplicates(Dataset(images=[name] * 50), Dataset(images=[draw(1)]))
    assert len(found) == 50
    assert opened.count(name) == 1


@pytest.mark.data
def test_a_shared_set_without_near_duplicates_stays_silent(shared_datasets):
    data = load_dataset(shared_datasets / "animals")
    found = near_duplicates(data.train, data.test)
    assert (len(found), found.n_unreadable) == (0, 0)
    assert near_duplicates(data.test, data.test).n_rows_b == len(data.test)
