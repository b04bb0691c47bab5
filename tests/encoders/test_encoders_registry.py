"""Names to encoders."""

from __future__ import annotations

from importlib import metadata

import numpy as np
import pytest

from showtell.encoders import Encoder, PixelEncoder, list_encoders, load_encoder, registry
from showtell.errors import InputError, UnknownNameError
from showtell.testing import ColourEncoder, HashEncoder, WordEncoder


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})


@pytest.fixture
def plugin(monkeypatch):
    """Register `words` as an installed package would."""
    point = metadata.EntryPoint(
        name="words", value="encoders_plugin_for_tests:make", group="showtell.encoders"
    )
    made = []

    def make(*, threads=None):
        made.append(threads)
        return WordEncoder(["cat"])

    monkeypatch.setattr(
        metadata,
        "entry_points",
        lambda *, group: [point] if group == "showtell.encoders" else [],
    )
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda self: make)
    return made


def test_an_object_is_returned_as_it_is():
    for encoder in (WordEncoder(["cat"]), HashEncoder(), ColourEncoder()):
        assert load_encoder(encoder) is encoder
        assert isinstance(encoder, Encoder)


def test_the_embedded_encoder_loads_once():
    first = load_encoder("mini")
    assert first.name == "mini"
    assert load_encoder(" mini ") is first
    assert load_encoder("mini", threads=1) is not first
    assert load_encoder("mini", threads=1) is load_encoder("mini", threads=1)


def test_mini_has_no_other_precision():
    with pytest.raises(InputError, match="no choice of precision, got 'fp32'"):
        load_encoder("mini", precision="fp32")


def test_an_unknown_name_lists_close_and_allowed_ones():
    with pytest.raises(UnknownNameError, match=r"'minni'.*Close: 'mini'.*hf-hub:ORG/NAME"):
        load_encoder("minni")


@pytest.mark.parametrize("name", ["openai/clip-vit-base-patch32"])
def test_a_repository_without_its_prefix_is_explained(name):
    with pytest.raises(UnknownNameError, match="write 'hf-hub:openai/clip-vit-base-patch32'"):
        load_encoder(name)


def test_a_folder_without_its_prefix_is_explained(tmp_path):
    with pytest.raises(UnknownNameError, match="write 'local-dir:"):
        load_encoder(str(tmp_path))


def test_an_unknown_precision_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"'fp16'.*auto, fp32, int8"):
        load_encoder("mini", precision="fp16")


def test_zero_threads_are_refused():
    with pytest.raises(InputError, match="`threads` must be between 1 and "):
        load_encoder("mini", threads=0)


def test_options_do_not_apply_to_objects():
    with pytest.raises(InputError, match="given as an object"):
        load_encoder(HashEncoder(), precision="int8")
    with pytest.raises(InputError, match="given as an object"):
        load_encoder(HashEncoder(), threads=2)


def test_what_an_object_lacks_is_named():
    class Almost:
        name = "almost"
        n_dims = 3
        logit_scale = 1.0
        logit_bias = 0.0
        probability = "softmax"
        zero_shot_note = ""

        def encode_images(self, images):
            return np.zeros((len(images), 3))

    with pytest.raises(InputError, match=r"Almost cannot .* lacks `fingerprint` .*`encode_texts`"):
        load_encoder(Almost())


def test_wrong_attributes_of_an_object_are_named():
    encoder = WordEncoder(["cat"])
    encoder.probability = "argmax"
    with pytest.raises(InputError, match="must be 'softmax' or 'sigmoid', got 'argmax'"):
        load_encoder(encoder)
    encoder = WordEncoder(["cat"])
    encoder.n_dims = "2"
    with pytest.raises(InputError, match="n_dims must be an int"):
        load_encoder(encoder)


def test_a_class_instead_of_an_object_is_explained():
    with pytest.raises(InputError, match=r"write HashEncoder\(\.\.\.\)"):
        load_encoder(HashEncoder)


def test_a_plugin_is_found_by_name(plugin):
    encoder = load_encoder("words")
    assert isinstance(encoder, WordEncoder)
    assert load_encoder("words") is encoder
    load_encoder("words", threads=3)
    assert plugin == [None, 3]
    assert "words" in [info.name for info in list_encoders()]


def test_a_plugin_is_not_given_what_it_does_not_take(plugin):
    with pytest.raises(InputError, match="'words' does not take `precision`"):
        load_encoder("words", precision="int8")


def test_the_list_starts_with_mini_and_ends_with_the_patterns():
    rows = list_encoders()
    assert (rows[0].name, rows[0].n_dims, rows[0].installed) == ("mini", 512, True)
    assert [row.name for row in rows[-2:]] == ["hf-hub:ORG/NAME", "local-dir:PATH"]
    assert all(row.modality and row.note for row in rows)


def test_the_list_is_right_about_mini():
    encoder = load_encoder("mini")
    info = list_encoders()[0]
    folder = encoder.folder
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    assert info.n_dims == encoder.n_dims
    assert abs(info.size_mb - size) < 8


def test_clones_share_the_weights():
    from sklearn.base import clone

    encoder = HashEncoder()
    assert isinstance(encoder, PixelEncoder)
    assert clone(encoder) is encoder
    words = WordEncoder(["cat"])
    assert clone(words) is words
    assert repr(encoder) == "HashEncoder('hash')"
