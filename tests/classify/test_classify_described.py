"""DescriptionClassifier: METHODS 2 to 4 in numbers, against a reference written from the text."""

from __future__ import annotations

import json

import numpy as np
import pytest

from showtell.classify import DescriptionClassifier, ZeroShotClassifier, load_classifier
from showtell.datasets import load_dataset
from showtell.encoders import embed_images, embed_texts, load_encoder
from showtell.errors import InputError, UnknownNameError
from showtell.prompts import DescriptionSet, waffle_noise

pytestmark = pytest.mark.filterwarnings("ignore::showtell.classify.LimitsWarning")


class Table:
    """An encoder that looks vectors up: texts and images are keys."""

    name, fingerprint = "table", "table-1"
    probability, logit_scale, logit_bias, zero_shot_note = "softmax", 10.0, 0.0, ""

    def __init__(self, images, texts, n_dims):
        self.images, self.texts, self.n_dims = images, texts, n_dims

    def encode_images(self, images):
        return np.stack([self._unit(self.images[str(key)]) for key in images])

    def encode_texts(self, texts):
        return np.stack([self._unit(self.texts(text)) for text in texts])

    @staticmethod
    def _unit(row):
        row = np.asarray(row, np.float64)
        return (row / np.linalg.norm(row)).astype(np.float32)


def hashed(n_dims):
    """A vector for any text, the same each time."""

    def vector(text):
        seed = list(text.encode())
        return np.random.default_rng(seed).normal(size=n_dims)

    return vector


def scores_of(clf, rows):
    """Scores of embeddings by a fitted classifier, without scale and temperature."""
    return rows.astype(np.float64) @ clf.prototypes_.T.astype(np.float64)


# The reference: METHODS 2.2, 3.1, 3.3 and 4.2 as written there, and nothing of ours


def reference_connective(text):
    first = text.split()[0].lower()
    if first in ("a", "an", "used"):
        return "which is " + text
    if first in ("has", "often", "typically", "may", "can"):
        return "which " + text
    return "which has " + text


def reference_scores(rows, labels, texts, encode, averaging):
    columns = []
    for label in labels:
        start = "a photo of a " + label
        prompts = [start + ", " + reference_connective(t) + "." for t in texts[label]]
        vectors = encode(prompts or [start + "."])
        if averaging == "similarity":
            columns.append(np.mean([rows @ vector for vector in vectors], axis=0))
        else:
            mean = np.mean(vectors, axis=0)
            columns.append(rows @ (mean / np.linalg.norm(mean)))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("method", ["dclip", "cupl", "waffle"])
def test_scores_equal_the_reference_on_random_embeddings(method):
    rng = np.random.default_rng(0)
    n_dims = 32
    rows = rng.normal(size=(1000, n_dims))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = [f"label {i}" for i in range(12)]
    words = ["a tail", "antennae", "may be red", "used often", "blue eyes", "has fur", "an ear"]
    texts = {label: tuple(words[: i % 7 + (i != 3)]) for i, label in enumerate(labels)}
    texts[labels[3]] = ()
    encoder = Table({}, hashed(n_dims), n_dims)
    clf = DescriptionClassifier(
        encoder, labels=labels, descriptions=texts, method=method, store=None
    )
    clf.fit()
    used = texts
    if method == "waffle":
        used = dict.fromkeys(labels, waffle_noise(labels))
    averaging = "embedding" if method == "cupl" else "similarity"
    wanted = reference_scores(
        rows, labels, used, lambda p: encoder.encode_texts(p).astype(np.float64), averaging
    )
    assert np.abs(scores_of(clf, rows) - wanted).max() < 1e-5


@pytest.mark.data
@pytest.mark.parametrize("method", ["dclip", "cupl", "waffle"])
def test_scores_equal_the_reference_on_real_photos(shared_datasets, method):
    folder = shared_datasets / "satellite"
    published = shared_datasets.parent / "data" / "descriptors" / "eurosat.json"
    if not published.exists():
        pytest.skip("no published descriptions among the shared data")
    texts = json.loads(published.read_text())
    labels = list(texts)
    encoder = load_encoder("mini")
    images = load_dataset(folder).test.images[:40]
    rows = embed_images(encoder, images).rows().astype(np.float64)
    clf = DescriptionClassifier(labels=labels, descriptions=published, method=method).fit()
    used = dict.fromkeys(labels, waffle_noise(labels)) if method == "waffle" else texts
    averaging = "embedding" if method == "cupl" else "similarity"
    wanted = reference_scores(
        rows, labels, used, lambda p: embed_texts(encoder, p).astype(np.float64), averaging
    )
    assert np.abs(scores_of(clf, rows) - wanted).max() < 1e-5


# Worked examples


def angle(degrees):
    return [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]


ANGLES = {"a1": 40, "a2": 44, "b1": 0, "b2": -80, "b3": -10}
WORKED = DescriptionSet({"A": ("a1.", "a2."), "B": ("b1.", "b2.", "b3.")}, kind="sentences")


def worked(**params):
    encoder = Table({"x": angle(0)}, lambda t: angle(ANGLES[t.rstrip(".")]), 2)
    return DescriptionClassifier(encoder, descriptions=WORKED, store=None, **params).fit()


def test_averaging_similarities_and_embeddings_disagree_as_computed():
    row = np.array([[1.0, 0.0]])
    similarity, embedding = worked(), worked(method="cupl")
    assert scores_of(similarity, row)[0] == pytest.approx([0.742692, 0.719485], abs=1e-6)
    assert scores_of(embedding, row)[0] == pytest.approx([0.743145, 0.881116], abs=1e-6)
    assert similarity.lengths_ == pytest.approx([0.999391, 0.816561], abs=1e-6)


def test_mean_similarity_is_the_length_times_the_cosine_of_the_mean():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(50, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    texts = {f"l{i}": [f"text {i} {j}" for j in range(i + 1)] for i in range(5)}
    encoder = Table({}, hashed(16), 16)
    made = [
        DescriptionClassifier(encoder, descriptions=texts, averaging=a, store=None).fit()
        for a in ("similarity", "embedding")
    ]
    left, right = (scores_of(clf, rows) for clf in made)
    assert np.abs(left - right * made[0].lengths_).max() < 1e-6


# Invariances (METHODS 2.7, 3.6, 4.7)


def words_encoder():
    return Table({}, hashed(16), 16)


ROWS = np.random.default_rng(7).normal(size=(40, 16))
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)


def fitted(descriptions, **params):
    clf = DescriptionClassifier(words_encoder(), descriptions=descriptions, store=None, **params)
    return clf.fit()


def test_one_description_per_label_is_zero_shot_with_that_prompt():
    clf = fitted({"cat": ["whiskers"], "dog": ["paws"]})
    prompts = {"cat": ["a photo of a cat, which has whiskers."], "dog": clf.prompts_["dog"]}
    plain = ZeroShotClassifier(
        words_encoder(), labels=["cat", "dog"], templates=None, descriptions=prompts, store=None
    ).fit()
    assert np.abs(scores_of(clf, ROWS) - scores_of(plain, ROWS)).max() < 1e-6


def test_repeating_every_description_of_a_label_changes_nothing():
    texts = {"cat": ["whiskers", "fur"], "dog": ["paws"]}
    twice = {**texts, "cat": texts["cat"] * 2}
    for method in ("dclip", "cupl"):
        left, right = fitted(texts, method=method), fitted(twice, method=method)
        assert np.abs(scores_of(left, ROWS) - scores_of(right, ROWS)).max() < 1e-6


def test_a_weight_of_two_is_standing_there_twice():
    weighted = DescriptionSet({"cat": ("fur", "ears"), "dog": ("paws",)}, weights={"cat": (2, 1)})
    repeated = {"cat": ["fur", "fur", "ears"], "dog": ["paws"]}
    assert (
        np.abs(scores_of(fitted(weighted), ROWS) - scores_of(fitted(repeated), ROWS)).max() < 1e-6
    )


def test_sentences_of_another_label_pull_towards_it():
    other = fitted({"cat": ["fur"], "dog": ["paws", "a bark"]}, method="cupl")
    target = other.prototypes_[1]
    last = -2.0
    for n in range(4):
        copied = other.prompts_["dog"] * n
        mixed = DescriptionSet(
            {"cat": (other.prompts_["cat"][0], *copied), "dog": tuple(other.prompts_["dog"])},
            kind="sentences",
        )
        likeness = float(fitted(mixed, method="cupl").prototypes_[0] @ target)
        assert likeness > last
        last = likeness


def test_waffle_prompts_are_the_same_for_every_label_and_thirty():
    clf = fitted(None, labels=["tiger cat", "goldfish"], method="waffle", random_state=3)
    cats, fish = clf.prompts_["tiger cat"], clf.prompts_["goldfish"]
    assert len(cats) == 30
    assert [p.replace("tiger cat", "goldfish") for p in cats] == fish


def test_waffle_with_descriptions_keeps_thirty_with_at_least_ten_of_each():
    texts = {"cat": ["whiskers", "fur"], "dog": ["paws", "a bark"]}
    clf = fitted(texts, method="waffle+descriptions")
    for label, own in texts.items():
        n_own = sum(text in own for text in clf.texts_[label])
        assert len(clf.prompts_[label]) == 30
        assert 10 <= n_own <= 20


def test_label_order_only_permutes_the_columns():
    texts = {"cat": ["whiskers", "fur"], "dog": ["paws"], "eel": []}
    for method in ("dclip", "cupl", "waffle"):
        left = fitted(texts, labels=["cat", "dog", "eel"], method=method)
        right = fitted(texts, labels=["eel", "cat", "dog"], method=method)
        assert np.allclose(scores_of(left, ROWS)[:, [2, 0, 1]], scores_of(right, ROWS), atol=1e-6)


# What it says about itself


def test_the_evidence_averages_exactly_to_the_score():
    encoder = Table({"x": angle(0)}, lambda t: angle(ANGLES[t.rstrip(".")]), 2)
    from showtell.testing import WordEncoder

    words = WordEncoder(["whiskers", "fur", "paws", "tail"])
    texts = {"cat": ["whiskers", "fur", "a tail"], "dog": ["paws", "a tail"]}
    for method in ("dclip", "cupl"):
        clf = DescriptionClassifier(words, descriptions=texts, method=method).fit()
        [found] = clf.explain(["whiskers and a tail"])
        assert (found.label, found.rival) == ("cat", "dog")
        scale = 1 / found.length if method == "cupl" else 1
        mean = np.mean([one.similarity for one in found.spoke])
        assert mean * scale == pytest.approx(found.score, abs=1e-6)
        middle = (found.score + found.rival_score) / 2
        assert sum(s.contribution for s in found.spoke) == pytest.approx(found.score - middle)
        first = found.spoke[0]
        assert first.contrast == pytest.approx(first.similarity - found.rival_score)
        assert [s.similarity for s in found.spoke] == sorted(
            (s.similarity for s in found.spoke), reverse=True
        )
    assert encoder.n_dims == 2


def test_taking_out_the_weakest_description_never_lowers_the_score():
    from showtell.testing import WordEncoder

    words = WordEncoder(["whiskers", "fur", "paws", "tail"])
    texts = {"cat": ["whiskers", "fur", "a tail"], "dog": ["paws", "a tail"]}
    [found] = DescriptionClassifier(words, descriptions=texts).fit().explain(["whiskers, tail"])
    left = [t for t in texts["cat"] if t != found.spoke[-1].text]
    [after] = (
        DescriptionClassifier(words, descriptions={**texts, "cat": left})
        .fit()
        .explain(["whiskers, tail"])
    )
    assert after.score >= found.score


def test_an_unusable_input_has_a_reason_instead_of_evidence():
    from showtell.testing import WordEncoder

    clf = DescriptionClassifier(
        WordEncoder(["fur", "paws"]), descriptions={"cat": ["fur"], "dog": ["paws"]}
    ).fit()
    good, bad = clf.explain(["fur", "   "])
    assert good.error is None
    assert bad.error
    assert bad.spoke == ()


def test_a_label_without_descriptions_has_its_template_alone():
    clf = fitted({"cat": ["fur"], "dog": []})
    assert clf.prompts_["dog"] == ["a photo of a dog."]
    upstream = fitted({"cat": ["antennae"], "dog": []}, compat="upstream")
    assert upstream.prompts_ == {
        "cat": ["a photo of a cat, which is antennae."],
        "dog": ["a photo of a dog, which has ."],
    }


def test_the_concept_goes_into_the_prompt():
    texts = DescriptionSet({"wren": ("a short tail",)}, domain="bird")
    start = "a photo of a bird: a wren, which is a short tail."
    assert fitted(texts).prompts_["wren"] == [start]
    assert fitted(texts, domain="").prompts_["wren"] == [start.replace("bird: a ", "")]
    assert "garden {x}" in fitted(texts, domain="garden {x}").prompts_["wren"][0]


def test_templates_can_be_pooled_by_count_or_by_share():
    texts = {"cat": ["fur", "whiskers", "a tail"], "dog": ["paws"]}
    by_count = fitted(texts, templates=["a {label}", "the {label}"])
    assert by_count.weights_["cat"] == [1.0] * 5
    by_share = fitted(texts, templates=["a {label}", "the {label}"], templates_share=0.5)
    assert by_share.weights_["cat"] == [1.0, 1.0, 1.0, 1.5, 1.5]
    assert by_share.weights_["dog"] == [1.0, 0.5, 0.5]


def test_a_saved_one_explains_as_before(tmp_path):
    from showtell.testing import WordEncoder

    words = WordEncoder(["fur", "paws", "tail"])
    texts = DescriptionSet(
        {"cat": ("fur", "a tail"), "dog": ("paws",)}, weights={"cat": (1, 3)}, domain="pet"
    )
    clf = DescriptionClassifier(words, descriptions=texts, method="cupl").fit()
    again = load_classifier(clf.save(tmp_path / "saved"), encoder=words)
    assert again.explain(["fur and paws"]) == clf.explain(["fur and paws"])
    assert again.descriptions == texts


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "needs `descriptions`"),
        ({"descriptions": {"cat": ["fur"]}, "labels": ["eel"]}, "None of the 1 labels"),
        ({"method": "waffle", "labels": ["cat"], "n_pairs": 0}, "from 1 up; got 0"),
        ({"descriptions": {"a": ["b"]}, "templates_share": 0.5}, "goes with `templates`"),
        ({"method": "waffle"}, "Which labels"),
    ],
)
def test_what_makes_no_sense_is_refused(params, words):
    with pytest.raises(InputError, match=words):
        DescriptionClassifier(words_encoder(), store=None, **params).fit()


@pytest.mark.parametrize("name", ["method", "averaging", "probability", "compat"])
def test_unknown_choices_list_the_known_ones(name):
    with pytest.raises(UnknownNameError, match="'other'"):
        fitted({"cat": ["fur"]}, **{name: "other"})
