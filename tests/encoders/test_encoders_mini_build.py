"""The build script of the embedded encoder: its own mathematics and its readers."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

from showtell.encoders.mini.nouns import Nouns


@pytest.fixture
def load(repository, monkeypatch):
    """Import a module of scripts/build_mini."""
    monkeypatch.syspath_prepend(str(repository / "scripts" / "build_mini"))

    def load_module(name):
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load_module


def test_rounding_with_feedback_changes_the_output_less_than_nearest_rounding(load):
    pytest.importorskip("onnx")
    rounding = load("rounding")
    random = np.random.default_rng(0)
    inputs = random.normal(size=(500, 24)) @ random.normal(size=(24, 24))  # correlated
    weights = random.normal(size=(8, 24))
    steps = np.abs(weights).max(axis=1) / 7
    moment = inputs.T @ inputs
    integers = rounding.round_with_feedback(weights, steps, moment, 7)
    nearest = np.clip(np.round(weights / steps[:, None]), -7, 7)

    def error(rounded):
        return np.square(inputs @ (weights - rounded * steps[:, None]).T).sum()

    assert integers.dtype == np.int8
    assert np.abs(integers).max() <= 7
    assert error(integers) < 0.6 * error(nearest)


def test_rounding_with_feedback_of_independent_inputs_is_nearest_rounding(load):
    pytest.importorskip("onnx")
    rounding = load("rounding")
    weights = np.array([[0.24, -0.26, 1.0], [0.49, 0.51, -2.0]])
    integers = rounding.round_with_feedback(weights, np.array([0.5, 0.5]), np.eye(3), 63)
    np.testing.assert_array_equal(integers, [[0, -1, 2], [1, 1, -4]])


def test_patches_are_what_a_convolution_sees(load):
    pytest.importorskip("onnx")
    rounding = load("rounding")
    layer = rounding.Layer(
        weight="w", inputs="x", kernel=(3, 3), strides=(2, 2), pads=(0, 0, 1, 1), depthwise=False
    )
    values = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
    patches = rounding.sample_patches(layer, values, np.random.default_rng(0))
    assert patches.shape == (4, 2, 9)  # 2 x 2 places, all of them taken
    first = [0, 1, 2, 4, 5, 6, 8, 9, 10]
    last = [10, 11, 0, 14, 15, 0, 0, 0, 0]  # padded below and to the right
    found = {tuple(patch[0].astype(int)) for patch in patches}
    assert {tuple(first), tuple(last)} <= found


DATA = """  1 This is the licence, indented by two blanks.
00001740 03 n 01 entity 0 001 ~ 00002000 n 0000 | all
00002000 05 n 02 domestic_dog 0 Dog 1 003 @ 00001740 n 0000 ~ 00003000 n 0000 #m 00001740 n 0000 | a
00003000 05 n 01 Rex 0 001 @i 00002000 n 0000 | an instance
"""
INDEX = """  1 This is the licence.
dog n 1 2 @ ~ 1 1 00002000
domestic_dog n 1 2 @ ~ 1 0 00002000
entity n 1 1 ~ 1 1 00001740
rex n 2 1 @ 2 0 00003000 00002000
"""


def test_wordnet_files_become_parents_senses_and_plurals(load, tmp_path):
    anchors = load("anchors")
    (tmp_path / "data.noun").write_text(DATA)
    (tmp_path / "index.noun").write_text(INDEX)
    (tmp_path / "noun.exc").write_text("dogges dog\nmen_of_war man_of_war\n")
    wordnet = anchors.read_wordnet(tmp_path)
    assert wordnet.number == {"00001740": 0, "00002000": 1, "00003000": 2}
    assert wordnet.parents == [[], [0], [1]]
    assert wordnet.senses["domestic dog"] == [1]
    assert wordnet.senses["rex"] == [2, 1]
    assert wordnet.irregular == {"dogges": "dog", "men of war": "man of war"}
    assert Nouns(wordnet.pack()).senses("two dogges") == (1,)


def test_class_names_are_read_without_running_the_file(load, tmp_path):
    anchors = load("anchors")
    names = ["Tench", "Crane (bird)"] + [f"name {i}" for i in range(998)]
    path = tmp_path / "metadata.py"
    path.write_text(f"raise SystemExit\nIMAGENET_CLASSNAMES = {tuple(names)!r}\n")
    found = anchors.read_class_names(path)
    assert found[:3] == ["tench", "crane", "name 0"]
    path.write_text("IMAGENET_CLASSNAMES = ('one',)\n")
    with pytest.raises(ValueError, match="expected 1000"):
        anchors.read_class_names(path)


def test_the_logit_scale_is_where_the_likelihood_is_highest(load):
    logit_scale = load("logit_scale")
    random = np.random.default_rng(0)
    cosines = random.normal(0, 0.2, (20_000, 3))
    logits = 20.0 * cosines  # answers drawn with scale 20
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (random.random((20_000, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    scored = logit_scale.ScoredSet(name="made", cosines=cosines, truth=truth)
    assert logit_scale.best_scale([scored]) == pytest.approx(20, rel=0.05)
    assert scored.mean_nll(0.0) == pytest.approx(np.log(3))


def test_emoji_are_placed_in_the_middle_of_a_plain_square(load):
    anchors = load("anchors")
    from PIL import Image

    glyph = Image.new("RGBA", (40, 20), (255, 0, 0, 255))
    square = np.asarray(anchors.place_glyph(glyph, (0, 0, 255), 0.5, side=100))
    red = np.argwhere(square[:, :, 0] > 128)
    assert red.min(axis=0).tolist() == [37, 25]
    assert red.max(axis=0).tolist() == [61, 74]
    assert anchors.Emoji(names=["cat face", "kiwifruit"], glyphs=[]).phrases() == [
        "cat",
        "kiwifruit",
    ]
