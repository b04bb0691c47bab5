"""The public fakes do what their docstrings promise."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from showtell.errors import InputError, MediaFormatError
from showtell.testing import (
    COLOURS,
    SHAPES,
    ColourEncoder,
    HashEncoder,
    WordEncoder,
    draw_shape,
    make_images,
)


def test_words_are_counted_whole_and_in_any_case():
    encoder = WordEncoder(["cat", "hot dog"])
    rows = encoder.encode_texts(["CAT", "catfish", "a hot dog, a hot dog and a cat"])
    np.testing.assert_allclose(rows, [[1, 0, 0], [0, 0, 1], [1 / 5**0.5, 2 / 5**0.5, 0]], atol=1e-6)


def test_captions_and_texts_share_one_space():
    encoder = WordEncoder(["cat", "dog", "grass"])
    image = encoder.encode_images(["a dog on grass"])
    cosines = image @ encoder.encode_texts(["dog", "cat"]).T
    np.testing.assert_allclose(cosines, [[1 / 2**0.5, 0]], atol=1e-6)


@pytest.mark.parametrize("image", ["", "  ", b"bytes", np.zeros((2, 2, 3), np.uint8)])
def test_what_is_no_caption_is_a_media_error(image):
    with pytest.raises(MediaFormatError):
        WordEncoder(["cat"]).encode_images([image])


@pytest.mark.parametrize("vocabulary", [[], "cat"])
def test_a_vocabulary_is_a_sequence_of_words(vocabulary):
    with pytest.raises(InputError, match="sequence of words"):
        WordEncoder(vocabulary)


def test_vocabularies_have_their_own_fingerprints():
    prints = {WordEncoder(v).fingerprint for v in (["a"], ["b"], ["a", "b"], ["a\nb"])}
    assert len(prints) >= 3


@pytest.mark.parametrize("encoder", [HashEncoder(), ColourEncoder()])
def test_embeddings_have_length_one_and_repeat(encoder):
    images = [draw_shape("red circle"), np.full((5, 9, 3), 250, np.uint8), Image.new("L", (3, 3))]
    rows = encoder.encode_images(images)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(rows, encoder.encode_images(images))
    texts = encoder.encode_texts(["one", "two"])
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)


def test_near_pictures_have_near_hash_embeddings():
    picture = draw_shape("red circle")
    slightly = picture.point(lambda value: max(0, value - 2))
    first, near, far = HashEncoder(n_dims=64).encode_images(
        [picture, slightly, Image.new("RGB", (9, 9))]
    )
    assert first @ near > 0.99 > 0.5 > first @ far


def test_every_colour_and_shape_can_be_drawn():
    for colour, value in COLOURS.items():
        for shape in SHAPES:
            picture = draw_shape(f"{colour} {shape}", size=(60, 40), seed=5)
            assert picture.size == (60, 40)
            assert picture.getpixel((30, 22)) == value


@pytest.mark.parametrize("label", ["red", "purple circle", "red hexagon"])
def test_what_cannot_be_drawn_is_explained(label):
    with pytest.raises(InputError, match="Write a colour"):
        draw_shape(label)


def test_pictures_are_written_label_by_label(tmp_path):
    paths = make_images(tmp_path / "a", n_per_label=2, extension="jpg", size=(50, 40))
    again = make_images(tmp_path / "b", n_per_label=2, extension="jpg", size=(50, 40))
    other = make_images(tmp_path / "c", n_per_label=2, extension="jpg", size=(50, 40), seed=9)
    assert [p.parent.name for p in paths] == ["red circle"] * 2 + ["green triangle"] * 2 + [
        "blue square"
    ] * 2
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]
    assert paths[0].read_bytes() != other[0].read_bytes()
    with Image.open(paths[0]) as picture:
        assert picture.size == (50, 40)
    assert len({p.read_bytes() for p in paths}) == 6
