"""Labels that are most likely wrong: planted errors come first, and every image has its row."""

import numpy as np
import pytest

from showtell.datasets import load_dataset
from showtell.errors import InputError
from showtell.evaluate import clean
from showtell.testing import WordEncoder

ANIMALS = ("cat", "dog", "fox")
PLACES = ("grass", "sky", "sand", "snow", "sea", "rock")
WORDS = WordEncoder([*ANIMALS, *PLACES])
X = [f"{a} {w}" for a in ANIMALS for w in PLACES]
Y = [text.split()[0] for text in X]


def planted(wrong):
    """The labels with some of them turned into the next one."""
    turned = dict(zip(ANIMALS, (*ANIMALS[1:], ANIMALS[0]), strict=True))
    return [turned[y] if i in wrong else y for i, y in enumerate(Y)]


def test_planted_errors_come_first_with_the_right_suggestion():
    wrong = {1, 8, 15}
    found = clean(X, planted(wrong), encoder=WORDS, store=None)
    first = found.doubts[:3]
    assert {doubt.row for doubt in first} == wrong
    assert [doubt.suggested for doubt in first] == [Y[doubt.row] for doubt in first]
    assert all(doubt.suspect and doubt.margin < 0 for doubt in first)
    margins = [doubt.margin for doubt in found.doubts]
    assert margins == sorted(margins)


def test_every_image_comes_back_once_and_nothing_is_dropped():
    images = [*X, "   ", "my cat"]
    labels = [*planted({4}), "cat", "lion"]
    found = clean(images, labels, encoder=WORDS, store=None)
    assert sorted(doubt.row for doubt in found.doubts) == list(range(len(images)))
    assert found.counts == {"ok": len(X), "abstained": 1, "error": 1}
    alone, failed = found.doubts[-2:]
    assert (alone.row, alone.status, alone.suspect) == (len(X) + 1, "abstained", False)
    assert (failed.row, failed.status, failed.suggested) == (len(X), "error", None)
    assert failed.error
    assert found.error_rates["lion"] is None
    kept = {doubt.row for doubt in found.doubts if not doubt.suspect}
    assert found.left.tolist() == sorted(kept)
    assert {len(X), len(X) + 1} <= kept  # what cannot be judged is no suspect


def test_a_label_that_one_image_alone_has_is_not_called_wrong():
    found = clean([*X, "fox sea"], [*Y, "wolf"], encoder=WORDS, store=None)
    assert [d.label for d in found.doubts if d.status == "abstained"] == ["wolf"]
    assert "wolf" not in {d.suggested for d in found.doubts}


def test_copies_of_an_image_do_not_vouch_for_each_other():
    """A wrong label that stands on five copies of one image is found all the same."""
    copies = ["cat rock"] * 5
    found = clean([*X, *copies], [*Y, *["dog"] * 5], encoder=WORDS, store=None)
    worst = {doubt.row for doubt in found.doubts[:5]}
    assert worst == set(range(len(X), len(X) + 5))


def test_estimated_error_rates_are_those_of_the_joint_counts():
    found = clean(X, planted({0, 1}), encoder=WORDS, store=None)
    assert found.error_rates["dog"] == pytest.approx(2 / 8)
    assert found.error_rates["cat"] == 0


@pytest.mark.parametrize("labels", [["cat"] * len(X), [f"label {i}" for i in range(len(X))]])
def test_fewer_than_two_labels_with_two_images_are_refused(labels):
    with pytest.raises(InputError, match="two labels or more"):
        clean(X, labels, encoder=WORDS, store=None)


def test_the_page_shows_pictures_and_escapes_what_it_is_told(tmp_path):
    from showtell.testing import ColourEncoder, make_images

    make_images(tmp_path / "shapes", labels=("red circle", "blue square"), n_per_label=4)
    data = load_dataset(tmp_path / "shapes")
    y = data.y.copy().astype("<U40")
    y[0] = "red circle" if y[0] != "red circle" else "blue square"
    y = np.where(y == "red circle", "<b>red</b>", y)
    found = clean(data.images, y, encoder=ColourEncoder(), store=None)
    page = found.report(tmp_path / "page.html").read_text()
    assert "data:image/webp;base64," in page
    assert "&lt;b&gt;red&lt;/b&gt;" in page
    assert "<b>red</b>" not in page
    assert "default-src &#39;none&#39;" in page


def test_on_real_photos_most_of_the_first_k_were_planted(shared_datasets):
    """One label in ten turned into that of another class: a precision of .6 in the first k.

    In the mean of two photo sets and three draws; single draws lie between .53 and .74.
    """
    precision = []
    for name in ("flowers", "weather"):
        data = load_dataset(shared_datasets / name)
        for seed in range(3):
            codes = data.codes.copy()
            wrong = np.random.default_rng(seed).permutation(len(codes))[: len(codes) // 10]
            codes[wrong] = (codes[wrong] + 1) % len(data.labels)
            found = clean(data.images, np.array(data.labels)[codes])
            first = {doubt.row for doubt in found.doubts[: len(wrong)]}
            precision.append(len(first & set(wrong.tolist())) / len(wrong))
    assert np.mean(precision) >= 0.6
