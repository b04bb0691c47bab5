"""The path from images to embeddings: one outcome each, each content once, nothing lost."""

from __future__ import annotations

import os
import shutil
import threading
import warnings

import numpy as np
import pytest
from PIL import Image
from tests.memory import needs_peak_memory, run_measured

from showtell.encoders import (
    EmbeddingStore,
    StoreWarning,
    default_store,
    embed_images,
    embed_texts,
)
from showtell.encoders.base import unit
from showtell.errors import (
    InputError,
    MediaError,
    MediaFormatError,
    MediaNotFoundError,
    RunError,
)
from showtell.media import Crop
from showtell.testing import ColourEncoder, HashEncoder, WordEncoder, draw_shape, make_images


@pytest.fixture
def paths(tmp_path):
    return make_images(tmp_path / "photos", n_per_label=7)


def test_every_input_has_exactly_one_outcome_in_input_order(paths, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    images = [
        paths[0],
        tmp_path / "text.jpg",
        str(paths[1]),
        tmp_path / "missing.png",
        paths[2].read_bytes(),
        tmp_path / "empty.png",
        np.asarray(Image.open(paths[3])),
        tmp_path / "folder.jpg",
        Image.open(paths[4]),
    ]
    result = embed_images(HashEncoder(), images, store=None)

    assert len(result) == 9
    assert sorted(result.errors) == [1, 3, 5, 7] == np.flatnonzero(~result.ok).tolist()
    assert isinstance(result.errors[3], MediaNotFoundError)
    assert all(isinstance(error, MediaError) for error in result.errors.values())
    for row, error in result.errors.items():
        assert os.fspath(images[row]) in str(error)
    rows = result.rows()
    assert np.isnan(rows[[1, 3, 5, 7]]).all()
    for row in (0, 2, 4, 6, 8):
        alone = HashEncoder().encode_images([images[row]])
        np.testing.assert_allclose(rows[row], alone[0], atol=1e-6)


def test_all_inputs_unusable_is_no_exception(tmp_path):
    result = embed_images(HashEncoder(), [tmp_path / "a.jpg", tmp_path / "b.jpg"], store=None)
    assert result.embeddings.shape == (0, 32)
    assert result.rows().shape == (2, 32)
    assert sorted(result.errors) == [0, 1]


def test_no_images_give_no_rows():
    for encoder in (HashEncoder(), WordEncoder(["cat"])):
        result = embed_images(encoder, [], store=None)
        assert result.rows().shape == (0, encoder.n_dims)


def test_equal_content_is_embedded_once_whatever_its_name(paths, tmp_path):
    copy = tmp_path / "copy.png"
    shutil.copyfile(paths[0], copy)
    encoder = HashEncoder()
    result = embed_images(encoder, [paths[0], paths[1], copy, paths[0], str(paths[0])], store=None)
    assert result.distinct.tolist() == [0, 1, 0, 0, 0]
    assert encoder.n_encoded == 2
    assert len(result.digests) == len(result.embeddings) == 2


def test_equal_damaged_files_each_name_themselves(tmp_path):
    images = [tmp_path / f"{number}.jpg" for number in range(20)]
    for image in images:
        image.write_text("the same text in all")
    result = embed_images(HashEncoder(), images, store=None, n_workers=4)
    assert [str(image) for image in images] == [result.errors[i].source for i in range(20)]
    assert {type(error) for error in result.errors.values()} == {MediaFormatError}


@pytest.mark.parametrize("n_workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batch_size_and_workers_do_not_change_results(paths, batch_size, n_workers):
    expected = embed_images(ColourEncoder(), paths, store=None, batch_size=8).rows()
    result = embed_images(
        ColourEncoder(), paths, store=None, batch_size=batch_size, n_workers=n_workers
    )
    np.testing.assert_allclose(result.rows(), expected, atol=1e-6)
    assert result.distinct.tolist() == list(range(len(paths)))


def test_batches_have_the_size_asked_for(paths):
    sizes = []

    class Counting(HashEncoder):
        def encode_prepared(self, pixels):
            sizes.append(len(pixels))
            return super().encode_prepared(pixels)

    embed_images(Counting(), paths, store=None, batch_size=5)
    assert sizes == [5, 5, 5, 5, 1]


def test_pictures_prepared_to_different_sizes_never_share_a_batch():
    class Native(HashEncoder):
        def prepare(self, image):
            return np.asarray(image, np.float32).transpose(2, 0, 1)

        def encode_prepared(self, pixels):
            return unit(np.repeat(pixels.mean(axis=(1, 2, 3))[:, None] + 1, 32, axis=1))

    images = [np.full((4, 4 + side % 2, 3), side, np.uint8) for side in range(6)]
    assert embed_images(Native(), images, store=None).ok.all()


def test_second_run_comes_from_the_store(paths):
    first, second = HashEncoder(), HashEncoder()
    before = embed_images(first, paths)
    after = embed_images(second, paths)
    assert (first.n_encoded, second.n_encoded) == (len(paths), 0)
    assert (before.n_from_store, after.n_from_store) == (0, len(paths))
    np.testing.assert_array_equal(before.rows(), after.rows())
    assert default_store().stats().n_rows == len(paths)


def test_only_what_is_missing_is_computed(paths, tmp_path):
    store = EmbeddingStore(tmp_path / "store.sqlite")
    embed_images(HashEncoder(), paths[::2], store=store)
    encoder = HashEncoder()
    result = embed_images(encoder, paths, store=str(tmp_path / "store.sqlite"))
    assert encoder.n_encoded == len(paths) // 2
    np.testing.assert_array_equal(
        result.rows(), embed_images(HashEncoder(), paths, store=None).rows()
    )


def test_another_background_is_another_embedding(tmp_path):
    transparent = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    transparent.save(tmp_path / "clear.png")
    encoder = HashEncoder()
    white = embed_images(encoder, [tmp_path / "clear.png"]).rows()
    black = embed_images(encoder, [tmp_path / "clear.png"], background=(0, 0, 0)).rows()
    again = embed_images(encoder, [tmp_path / "clear.png"], background=(0, 0, 0))
    assert encoder.n_encoded == 2
    assert again.n_from_store == 1
    assert np.abs(white - black).max() > 0.1


def test_a_crop_is_an_image_of_its_own():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, 20:] = (31, 80, 200)
    crops = [Crop(image=picture, box=(0, 0, 20, 40)), Crop(image=picture, box=(20, 0, 40, 40))]
    rows = embed_images(ColourEncoder(), [picture, *crops], store=None).rows()
    blue = ColourEncoder().encode_texts(["blue"])[0]
    # a share of blue s becomes the cosine s / sqrt(s^2 + 0.02^2); black is no colour word
    np.testing.assert_allclose(
        rows @ blue, [0.5 / np.hypot(0.5, 0.02), 0, 1 / np.hypot(1, 0.02)], atol=1e-5
    )


def test_after_ctrl_c_what_was_done_is_in_the_store(paths):
    class Interrupted(HashEncoder):
        def encode_prepared(self, pixels):
            if self.n_encoded >= 10:
                raise KeyboardInterrupt
            return super().encode_prepared(pixels)

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        embed_images(Interrupted(batch_size=5), paths)
    assert threading.active_count() == before
    resumed = HashEncoder()
    result = embed_images(resumed, paths)
    assert (result.n_from_store, resumed.n_encoded) == (10, len(paths) - 10)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_encoder_that_breaks_stops_the_run_with_its_own_error(paths, batch_size):
    class Broken(HashEncoder):
        def encode_prepared(self, pixels):
            raise ZeroDivisionError("a bug of the encoder")

    with pytest.raises(ZeroDivisionError, match="a bug of the encoder"):
        embed_images(Broken(batch_size=batch_size), paths, store=None)


def test_an_encoder_of_the_wrong_width_is_named(paths):
    class Narrow(HashEncoder):
        def encode_prepared(self, pixels):
            return super().encode_prepared(pixels)[:, :5]

    with pytest.raises(RunError, match=r"'hash' answered 8 images with .*\(8, 5\).*\(8, 32\)"):
        embed_images(Narrow(), paths, store=None)


def test_an_encoder_that_answers_nan_is_refused(paths):
    class Broken(HashEncoder):
        def encode_prepared(self, pixels):
            return np.full((len(pixels), 32), np.nan, np.float32)

    with pytest.raises(RunError, match="NaN"):
        embed_images(Broken(), paths)
    assert default_store().stats().n_rows == 0


def test_a_store_that_fails_warns_once_and_changes_nothing_else(paths, tmp_path):
    (tmp_path / "file").write_text("in the way")
    encoder = HashEncoder(batch_size=2)
    with pytest.warns(StoreWarning, match="Going on without it") as caught:
        result = embed_images(encoder, paths, store=tmp_path / "file" / "store.sqlite")
    assert len(caught) == 1
    assert result.ok.all()
    assert result.n_from_store == 0


def test_a_store_that_fails_midway_warns_once(paths, tmp_path, monkeypatch):
    store = EmbeddingStore(tmp_path / "store.sqlite")

    def full(*args, **options):
        raise RunError("disk full")

    monkeypatch.setattr(store, "put_many", full)
    with pytest.warns(StoreWarning, match="disk full") as caught:
        assert embed_images(HashEncoder(), paths, store=store).ok.all()
    assert len(caught) == 1


def test_no_store_is_touched_when_it_is_switched_off(paths, monkeypatch, tmp_path):
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SHOWTELL_STORE", "off")
    assert default_store() is None
    embed_images(HashEncoder(), paths)
    embed_images(HashEncoder(), paths, store=None)
    assert not (tmp_path / "cache").exists()


def test_a_photo_given_as_the_store_is_refused_and_not_touched(paths):
    before = paths[0].read_bytes()
    with pytest.raises(InputError, match="no store of embeddings"):
        embed_images(HashEncoder(), paths, store=paths[0])
    assert paths[0].read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "photo.jpg"}, "must be a sequence of images"),
        ({"images": b"bytes"}, "must be a sequence of images"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"n_workers": 0}, "`n_workers` must be at least 1"),
        ({"store": 3}, "`store` must be"),
    ],
)
def test_misuse_is_explained(options, message):
    options = {"images": [], **options}
    with pytest.raises(InputError, match=message):
        embed_images(HashEncoder(), options.pop("images"), **options)


def test_progress_rises_to_the_number_of_inputs(paths):
    calls = []
    images = [*paths, *paths, paths[0]]
    embed_images(
        HashEncoder(), images, store=None, progress=lambda done, total, stage: calls.append(done)
    )
    assert calls == sorted(set(calls))
    assert calls[-1] == len(images)


def test_a_lazy_sequence_is_not_held_in_memory():
    alive = []

    class Drawn:
        def __len__(self):
            return 200

        def __getitem__(self, index):
            if index >= 200:
                raise IndexError
            array = np.full((8, 8, 3), index, np.uint8)
            alive.append(np.copy(array).nbytes)
            return array

    result = embed_images(HashEncoder(), Drawn(), store=None)
    assert result.ok.all()
    assert len(alive) == 200  # each asked for once


def test_any_encoder_gets_batches_and_bad_ones_are_found_one_by_one():
    sizes = []

    class Counting(WordEncoder):
        def encode_images(self, images):
            sizes.append(len(images))
            return super().encode_images(images)

    encoder = Counting(["cat", "dog"])
    result = embed_images(encoder, ["cat", "dog", "", "cat and dog", "cat"], batch_size=2)
    assert sizes == [2, 2, 1, 1]  # "cat" is asked for once, the pair with "" one by one
    assert result.distinct.tolist() == [0, 1, -1, 2, 0]
    assert isinstance(result.errors[2], MediaFormatError)
    np.testing.assert_allclose(result.embeddings[2], [0.5**0.5, 0.5**0.5, 0], atol=1e-6)


def test_texts_are_encoded_once_per_text_and_kept():
    asked = []

    class Counting(HashEncoder):
        def encode_texts(self, texts):
            asked.extend(texts)
            return super().encode_texts(texts)

    rows = embed_texts(Counting(), ["a cat", "a dog", "a cat"])
    again = embed_texts(Counting(), ["a dog", "a cow"])
    assert asked == ["a cat", "a dog", "a cow"]
    np.testing.assert_array_equal(rows[0], rows[2])
    np.testing.assert_array_equal(again[0], rows[1])
    assert embed_texts(Counting(), [], store=None).shape == (0, 32)


def test_a_single_text_is_refused():
    with pytest.raises(InputError, match="sequence of texts"):
        embed_texts(HashEncoder(), "a cat")


def test_encode_images_raises_the_first_error(paths, tmp_path):
    (tmp_path / "bad.jpg").write_text("no picture")
    with pytest.raises(MediaFormatError, match=r"bad\.jpg"):
        HashEncoder().encode_images([paths[0], tmp_path / "bad.jpg", tmp_path / "missing.jpg"])


@needs_peak_memory
def test_a_million_rows_of_few_images_stay_small(tmp_path):
    make_images(tmp_path, n_per_label=3)
    script = f"""
        from pathlib import Path
        from showtell.encoders import embed_images
        from showtell.testing import HashEncoder
        names = sorted(map(str, Path({str(tmp_path)!r}).rglob("*.png")))
        images = [names[row % len(names)] for row in range(1_000_000)]
        result = embed_images(HashEncoder(), images, store=None)
        assert result.distinct[-1] == 999_999 % len(names) and len(result.embeddings) == len(names)
        print(peak_mb())
    """
    (peak,) = run_measured(script)
    assert float(peak) < 150  # measured: 70


def test_warnings_of_the_store_come_from_the_calling_thread(paths, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(StoreWarning):
            embed_images(HashEncoder(), paths, store=tmp_path / "file" / "store.sqlite")


def test_drawn_pictures_are_told_apart_by_colour():
    labels = ["red circle", "green triangle", "blue square", "yellow circle"]
    encoder = ColourEncoder()
    images = encoder.encode_images([draw_shape(label, seed=3) for label in labels])
    texts = encoder.encode_texts([f"a photo of a {label}." for label in labels])
    assert (images @ texts.T).argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_kept_errors_hold_no_traceback_and_so_no_bytes_of_the_file(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff" + bytes(1000))
    for encoder in (HashEncoder(), WordEncoder(["cat"])):
        result = embed_images(encoder, [broken if isinstance(encoder, HashEncoder) else ""])
        error = result.errors[0]
        assert error.__traceback__ is error.__cause__ is error.__context__ is None
