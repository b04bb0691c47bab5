"""Occlusion: the planted object is found, and the numbers are those of covering by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from showtell.classify import (
    DescriptionClassifier,
    DirectClassifier,
    FewShotClassifier,
    FusionClassifier,
    ZeroShotClassifier,
)
from showtell.errors import InputError, MediaError, UnknownNameError
from showtell.explain import occlusion_map
from showtell.explain.occlusion import cover, filling_of, place_of, working_picture
from showtell.testing import ColourEncoder, WordEncoder, draw_shape

LABELS = ["red", "blue"]


def composite(places, *, n=4, side=48):
    """Shapes on a light ground: {label: (row, column)} on a grid of n x n cells."""
    picture = Image.new("RGB", (n * side, n * side), (240, 240, 240))
    for label, (row, column) in places.items():
        shape = draw_shape(f"{label} square", size=(side, side), seed=row * n + column)
        picture.paste(shape, (column * side, row * side))
    return picture


@pytest.fixture(scope="module")
def zero_shot():
    return ZeroShotClassifier(ColourEncoder(), labels=LABELS).fit()


@pytest.mark.parametrize("fill", ["blur", "grey", "mean"])
@pytest.mark.parametrize(("red", "blue"), [((0, 3), (3, 0)), ((2, 1), (0, 0)), ((3, 3), (1, 2))])
def test_the_planted_object_is_where_covering_costs_most(zero_shot, red, blue, fill):
    picture = composite({"red": red, "blue": blue})
    found = occlusion_map(zero_shot, picture, label="red", grid=4, window=1, fill=fill)
    assert found.ranked()[0] == red
    assert found.ranked()[-1] == blue
    assert found.drop[red] > 0 > found.drop[blue]


def test_every_class_of_encoder_classifiers_has_a_map(zero_shot):
    picture = composite({"red": (0, 0), "blue": (3, 3)})
    X = [composite({c: (1, k)}) for c in LABELS for k in range(3)]
    y = [c for c in LABELS for _ in range(3)]
    encoder = ColourEncoder()
    few = FewShotClassifier(encoder, text_weight=None).fit(X, y)
    described = DescriptionClassifier(
        encoder, descriptions={"red": ["red parts"], "blue": ["blue parts"]}
    ).fit()
    fused = FusionClassifier("openai:any", encoder, labels=LABELS, use=("image",)).fit()
    for classifier in (zero_shot, few, described, fused):
        found = occlusion_map(classifier, picture, label="red", grid=4, window=1, fill="grey")
        assert found.ranked()[0] == (0, 0)
        assert found.ranked()[-1] == (3, 3)


def test_the_map_is_the_mean_over_the_windows_that_cover_a_cell(zero_shot):
    picture = composite({"red": (0, 1), "blue": (2, 2)})
    found = occlusion_map(
        zero_shot, picture, label="red", grid=3, window=2, fill="grey", measure="probability"
    )
    small = working_picture(picture, zero_shot)
    grey = filling_of(small, "grey", 2 / 3)
    boxes = [(c / 3, r / 3, (c + 2) / 3, (r + 2) / 3) for r in range(2) for c in range(2)]
    proba = zero_shot.predict_proba([small, *(cover(small, [box], grey) for box in boxes)])
    falls = (proba[0, 0] - proba[1:, 0]).reshape(2, 2)
    assert found.drop[0, 0] == pytest.approx(falls[0, 0], abs=1e-6)
    assert found.drop[1, 1] == pytest.approx(falls.mean(), abs=1e-6)
    assert found.drop[0, 1] == pytest.approx(falls[0].mean(), abs=1e-6)
    assert found.n_covered == 4
    assert found.covered == pytest.approx(proba[1:, 0].tolist(), abs=1e-6)


def test_with_two_labels_the_rivals_map_is_the_labels_turned_round(zero_shot):
    picture = composite({"red": (0, 0), "blue": (3, 3)})
    found = occlusion_map(zero_shot, picture, label="red", grid=4)
    np.testing.assert_allclose(found.rival_drop, -found.drop, atol=1e-9)
    assert found.to_html().count("<svg") == 1


def test_three_labels_show_a_map_for_the_rival_too():
    clf = ZeroShotClassifier(ColourEncoder(), labels=["red", "blue", "green"]).fit()
    picture = composite({"red": (0, 0), "blue": (3, 3), "green": (0, 3)})
    found = occlusion_map(clf, picture, label="red", rival="green", grid=4)
    assert found.rival == "green"
    assert not np.allclose(found.rival_drop, -found.drop, atol=0.01)
    assert found.to_html().count("<svg") == 2


def test_the_sentence_names_the_place_and_the_loss(zero_shot):
    picture = composite({"red": (0, 3)})
    found = occlusion_map(zero_shot, picture, label="red", grid=4, window=1, fill="grey")
    words = "covering the square at the top right lowers red from 100% to 50.0%"
    assert found.sentence() == words
    plain = Image.new("RGB", (96, 96), (240, 240, 240))
    assert occlusion_map(zero_shot, plain, grid=4).sentence().startswith("no single square decides")


def test_a_wide_picture_has_square_cells(zero_shot):
    picture = Image.new("RGB", (400, 100), (240, 240, 240))
    found = occlusion_map(zero_shot, picture, grid=8)
    assert found.drop.shape == (2, 8)


def test_one_label_has_no_rival():
    clf = ZeroShotClassifier(ColourEncoder(), labels=["red"]).fit()
    found = occlusion_map(clf, composite({"red": (0, 0)}), grid=4)
    assert found.rival == ""
    assert not found.drop.any()


def test_numbers_and_drawing(zero_shot):
    found = occlusion_map(zero_shot, composite({"red": (0, 0)}), grid=4)
    values = found.to_dict()
    assert values["label"] == "red"
    assert np.array(values["drop"]).shape == (4, 4)
    assert len(values["boxes"]) == len(values["covered"]) == 9
    html = str(found.to_html())
    assert "http" not in html.replace("data:image", "")
    assert "style=" not in html
    assert "<script" not in html
    assert "Where it looks" in html
    assert "for <b>red</b>" in html
    assert html.count("<image ") == html.count('<svg class="heat"') >= 1


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"grid": 1}, InputError, "2 to 64"),
        ({"grid": 4, "window": 4}, InputError, "smaller than `grid`"),
        ({"window": 0}, InputError, "`window` is a whole number"),
        ({"grid": True}, InputError, "`grid` is a whole number"),
        ({"fill": "pink"}, UnknownNameError, "blur, grey, mean"),
        ({"measure": "margin"}, UnknownNameError, "log-odds, probability"),
        ({"label": "pink"}, UnknownNameError, "red"),
        ({"label": "red", "rival": "red"}, InputError, "give two labels"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(zero_shot, arguments, error, words):
    with pytest.raises(error, match=words):
        occlusion_map(zero_shot, composite({"red": (0, 0)}), **arguments)


def test_classifiers_without_an_encoder_are_refused():
    clf = DirectClassifier("openai:any", labels=LABELS).fit()
    with pytest.raises(InputError, match="needs a classifier with an encoder"):
        occlusion_map(clf, composite({"red": (0, 0)}))


def test_captions_are_no_pictures():
    clf = ZeroShotClassifier(WordEncoder(LABELS), labels=LABELS).fit()
    with pytest.raises(MediaError):
        occlusion_map(clf, "a red dog")


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((0, 0.8, 0.2, 1), "at the bottom left"),
        ((0.4, 0, 0.6, 0.2), "at the top"),
        ((0.8, 0.4, 1, 0.6), "at the right"),
        ((0.4, 0.4, 0.6, 0.6), "in the middle"),
    ],
)
def test_places_in_words(box, place):
    assert place_of(box) == place
