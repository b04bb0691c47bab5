"""Content hashes: equal for equal content, different for all else."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.spoiled import encoded, exif_bytes, toy_photo

from showtell.media import Crop, content_hash, dhash, open_image, read_media


def test_the_hash_of_a_file_is_blake2b_of_its_bytes_however_it_is_given(tmp_path):
    data = encoded(toy_photo(), "JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    expected = hashlib.blake2b(data, digest_size=16).hexdigest()
    assert content_hash(data) == content_hash(path) == content_hash(str(path)) == expected
    assert read_media(path).digest == expected


def test_the_orientation_of_a_file_counts():
    picture = toy_photo()
    assert content_hash(encoded(picture, "JPEG", exif=exif_bytes(1))) != content_hash(
        encoded(picture, "JPEG", exif=exif_bytes(6))
    )


def test_everything_that_changes_the_look_of_an_array_changes_its_hash():
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    different = [
        array,
        array.reshape(4, 2, 3),
        array[::-1],
        array[:, :, 0],
        array[:, :, :1],
        array + 1,
        array.astype(np.uint16),
        array > 3,
        array.tobytes(),
    ]
    assert len({content_hash(a) for a in different}) == len(different)


def test_memory_layout_and_byte_order_do_not_change_the_hash():
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert content_hash(np.asfortranarray(array)) == content_hash(array)
    assert content_hash(array[::-1][::-1]) == content_hash(array)
    wide = array[:, :, 0].astype(np.uint16)
    assert content_hash(wide.astype(">u2")) == content_hash(wide)


def test_everything_that_changes_the_look_of_a_picture_changes_its_hash():
    grey = Image.frombytes("L", (2, 2), bytes([0, 1, 0, 1]))
    palette = Image.frombytes("P", (2, 2), bytes([0, 1, 0, 1]))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    other_palette = palette.copy()
    other_palette.putpalette([0, 0, 255, 0, 255, 0])
    see_through = palette.copy()
    see_through.info["transparency"] = 0
    wide = Image.frombytes("L", (4, 1), bytes([0, 1, 0, 1]))
    turned = Image.open(io.BytesIO(encoded(grey, "PNG", exif=exif_bytes(6))))
    pictures = [grey, palette, other_palette, see_through, wide, turned]
    assert len({content_hash(p) for p in pictures}) == len(pictures)
    assert content_hash(grey.copy()) == content_hash(grey)
    assert content_hash(Image.open(io.BytesIO(encoded(grey, "PNG")))) == content_hash(grey)


def test_the_hash_of_a_crop_is_that_of_its_picture_and_its_box():
    array = np.zeros((9, 9), np.uint8)
    a = Crop(image=array, box=(0, 0, 2, 3))
    assert content_hash(a) == content_hash(Crop(image=array.copy(), box=(0, 0, 2, 3)))
    assert content_hash(a) == content_hash(Crop(image=array, box=tuple(np.array([0, 0, 2, 3]))))
    others = [
        array,
        Crop(image=array, box=(0, 0, 3, 2)),
        Crop(image=array + 1, box=(0, 0, 2, 3)),
        Crop(image=a, box=(0, 0, 2, 3)),
    ]
    assert len({content_hash(a), *map(content_hash, others)}) == 5


def test_hashing_does_not_decode_files():
    assert len(content_hash(b"not a picture at all")) == 32


def test_a_picture_is_read_and_hashed_once(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(toy_photo(), "PNG"))
    calls = []
    real = hashlib.blake2b
    monkeypatch.setattr(hashlib, "blake2b", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    raw = read_media(path)
    raw.decode()
    raw.decode(min_side=8)
    assert calls == [1]
    open_image(path)
    assert calls == [1]  # opening alone hashes nothing


# --- difference hash ----------------------------------------------------------------------------


def test_the_difference_hash_follows_its_formula():
    # Exactly 9 x 8, so nothing is resized: one brighter step per row i, at pair i.
    grey = np.full((8, 9), 100, np.uint8)
    for row in range(8):
        grey[row, row + 1 :] = 101
    expected = sum(1 << (63 - (8 * row + row)) for row in range(8))
    assert dhash(Image.fromarray(grey)) == expected == 0x8040201008040201


def test_an_even_picture_has_the_hash_zero():
    assert dhash(Image.new("RGB", (50, 40), (7, 8, 9))) == 0


@pytest.mark.parametrize("change", ["smaller", "worse", "brighter"])
def test_near_duplicates_have_near_hashes(change):
    photo = toy_photo(640, 480)
    other = {
        "smaller": lambda: photo.resize((200, 150)),
        "worse": lambda: open_image(encoded(photo, "JPEG", quality=30)),
        "brighter": lambda: Image.eval(photo, lambda v: min(255, v + 20)),
    }[change]()
    assert (dhash(photo) ^ dhash(other)).bit_count() <= 6


def test_a_mirrored_picture_has_a_far_hash():
    photo = toy_photo(640, 480)
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert (dhash(photo) ^ dhash(mirrored)).bit_count() >= 24


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_difference_hashes_fit_64_bits(width, height, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert 0 <= dhash(Image.fromarray(pixels)) < 2**64
