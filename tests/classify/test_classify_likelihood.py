"""LikelihoodClassifier on tiny checkpoints: the estimator contract, the corrections, training."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from PIL import Image
from scipy.special import log_softmax, softmax
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

pytest.importorskip("transformers", reason="extra `local` is not installed")

from tests.mllm.tiny_vlm import make_idefics3, make_llava, train_on_pictures

from showtell.classify import LikelihoodClassifier, LimitsWarning, base, load_classifier
from showtell.classify.asking.null_images import content_free_pictures
from showtell.errors import InputError, SavedFolderError, UnknownNameError
from showtell.media import load_image
from showtell.mllm.local.continuations import score_labels
from showtell.mllm.local.vlm import LocalVLM
from showtell.testing import WordEncoder

LABELS = ["cat", "bear", "bear cub", "tabby cat", "dog"]
RULES = ("sum", "mean", "sum_eos", "pmi", "letter")


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize((40, 50))


PICTURES = [picture(i) for i in range(6)]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llava")
    make_llava(folder)
    return LocalVLM(f"local-dir:{folder}", threads=1)


@pytest.fixture(scope="module")
def idefics3(tmp_path_factory):
    folder = tmp_path_factory.mktemp("idefics3")
    make_idefics3(folder)
    return LocalVLM(f"local-dir:{folder}", threads=1)


@pytest.fixture(params=["llava", "idefics3"])
def vlm(request):
    return request.getfixturevalue(request.param)


def brute_force(vlm: LocalVLM, clf: LikelihoodClassifier, rule: str) -> np.ndarray:
    """Scores by a full pass per label, shape (n_pictures, n_labels)."""
    labels = vlm.continuations(clf.prompt_, LABELS)
    rows = [vlm.score(p, clf.prompt_, labels, with_end=True, reuse_prefix=False) for p in PICTURES]
    return np.stack([score_labels(row, rule) for row in rows])


@pytest.mark.parametrize("rule", ["sum", "mean", "sum_eos"])
def test_probabilities_equal_brute_force(vlm, rule):
    clf = LikelihoodClassifier(vlm, labels=LABELS, rule=rule).fit()
    wanted = softmax(brute_force(vlm, clf, rule), axis=1)
    np.testing.assert_allclose(clf.predict_proba(PICTURES), wanted, atol=1e-4)


def test_pmi_takes_off_the_mean_over_the_null_pictures(llava):
    clf = LikelihoodClassifier(llava, labels=LABELS, rule="pmi").fit()
    null = np.mean(
        [
            score_labels(llava.score(p, clf.prompt_, clf.continuations_), "sum")
            for p in content_free_pictures(0)
        ],
        axis=0,
    )
    assert clf.null_scores_.shape == (3, 5)
    wanted = softmax(brute_force(llava, clf, "sum") - null, axis=1)
    np.testing.assert_allclose(clf.predict_proba(PICTURES), wanted, atol=1e-4)


def test_the_picture_itself_as_null_leaves_nothing(llava):
    clf = LikelihoodClassifier(llava, labels=LABELS, rule="pmi", null_images=[PICTURES[0]]).fit()
    np.testing.assert_allclose(clf.predict_proba(PICTURES[:1]), 1 / 5, atol=1e-6)


def test_null_images_divide_the_probabilities_of_other_rules(llava):
    plain = LikelihoodClassifier(llava, labels=LABELS).fit()
    clf = LikelihoodClassifier(llava, labels=LABELS, null_images=PICTURES[:2]).fit()
    proba = plain.predict_proba(PICTURES).astype(np.float64)
    ratio = proba / proba[:2].mean(axis=0)
    np.testing.assert_allclose(
        clf.predict_proba(PICTURES), ratio / ratio.sum(axis=1, keepdims=True), atol=1e-5
    )


def test_batch_calibration_divides_by_the_mean_of_the_batch(llava):
    proba = LikelihoodClassifier(llava, labels=LABELS).fit().predict_proba(PICTURES)
    ratio = proba / proba.mean(axis=0) ** 0.5
    wanted = ratio / ratio.sum(axis=1, keepdims=True)
    clf = LikelihoodClassifier(llava, labels=LABELS, batch_calibration=0.5)
    base._said.discard("likelihood batch")
    clf.fit()
    with pytest.warns(LimitsWarning, match="say little"):
        got = clf.predict_proba(PICTURES)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    fixed = clf.fit(PICTURES)  # no labels: the prior of these images, for all later calls
    np.testing.assert_allclose(fixed.predict_proba(PICTURES[:1]), wanted[:1], atol=1e-5)
    zero = LikelihoodClassifier(llava, labels=LABELS, batch_calibration=0.0).fit(PICTURES)
    np.testing.assert_allclose(zero.predict_proba(PICTURES), proba, atol=1e-6)


def test_letters_are_averaged_over_all_rotations(llava):
    clf = LikelihoodClassifier(llava, labels=LABELS, rule="letter").fit()
    total = np.zeros(5)
    for shift in range(5):
        order = [(shift + k) % 5 for k in range(5)]
        listed = "\n".join(f"{a}. {LABELS[c]}" for a, c in zip("ABCDE", order, strict=True))
        prompt = llava.prompt(
            f"What is shown in this picture?\n{listed}\nReply with the letter of one option.",
            stub="The answer is",
        )
        follow = llava.continuations(prompt, list("ABCDE"))
        row = log_softmax(llava.score(PICTURES[0], prompt, follow).logprobs[:, 0])
        total[order] += row / 5
    np.testing.assert_allclose(clf.predict_proba(PICTURES[:1])[0], softmax(total), atol=1e-5)


def test_fewer_rotations_ask_less(llava, monkeypatch):
    asked = []
    score = llava.score
    monkeypatch.setattr(llava, "score", lambda *a, **k: asked.append(a) or score(*a, **k))
    clf = LikelihoodClassifier(llava, labels=LABELS, rule="letter", rotations=2).fit()
    asked.clear()
    clf.predict(PICTURES[:1])
    assert len(asked) == 2


def test_more_labels_than_letters_need_a_short_list(llava):
    many = [f"thing {i}" for i in range(27)]
    with pytest.raises(InputError, match="Set `shortlist` to 26 or fewer"):
        LikelihoodClassifier(llava, labels=many, rule="letter").fit()


class Colours(WordEncoder):
    """Sees the red of a picture as "cat", the green as "dog", the blue as "bear"."""

    def encode_images(self, images):
        rows = np.zeros((len(images), self.n_dims), np.float32)
        for row, image in zip(rows, images, strict=True):
            row[:3] = np.asarray(image).mean(axis=(0, 1)) / 255 + 0.01
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("rule", ["sum", "pmi", "letter"])
def test_only_the_short_list_is_asked_about(llava, rule):
    names = ["cat", "dog", "bear"]
    clf = LikelihoodClassifier(
        llava, labels=names, rule=rule, shortlist=2, encoder=Colours(names)
    ).fit()
    X = [Image.new("RGB", (32, 32), c) for c in [(250, 200, 0), (0, 200, 250), (250, 0, 200)]]
    proba = clf.predict_proba(X)
    assert (proba == 0).tolist() == [
        [False, False, True],
        [True, False, False],
        [False, True, False],
    ]
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    whole = LikelihoodClassifier(llava, labels=names, rule=rule).fit()
    if rule != "letter":  # whose options differ
        wanted = whole.predict_proba(X) * (proba > 0)
        wanted /= wanted.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(proba, wanted, atol=1e-5)
    warm = clf.set_params(calibrate=True).fit(X, ["cat", "dog", "dog"])  # the last is outside
    assert warm.calibrated_
    np.testing.assert_array_equal(warm.predict(X), whole.classes_[proba.argmax(axis=1)])


def test_aliases_add_their_probabilities(llava):
    plain = LikelihoodClassifier(llava, labels=LABELS).fit().predict_proba(PICTURES)
    clf = LikelihoodClassifier(
        llava, labels=["cat", "bear", "dog"], aliases={"cat": "tabby cat", "bear": ["bear cub"]}
    ).fit()
    wanted = np.stack([plain[:, 0] + plain[:, 3], plain[:, 1] + plain[:, 2], plain[:, 4]], axis=1)
    np.testing.assert_allclose(clf.predict_proba(PICTURES), wanted, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_label_order_only_permutes_the_columns(llava, rule):
    forward = LikelihoodClassifier(llava, labels=LABELS, rule=rule).fit()
    backward = LikelihoodClassifier(llava, labels=LABELS[::-1], rule=rule).fit()
    if rule == "letter":  # cyclic shifts of the reversed list are other lists
        assert list(backward.classes_) == list(forward.classes_)[::-1]
        return
    np.testing.assert_allclose(
        forward.predict_proba(PICTURES), backward.predict_proba(PICTURES)[:, ::-1], atol=1e-5
    )


@pytest.mark.parametrize("rule", RULES)
def test_the_batch_does_not_matter_and_twice_is_the_same(llava, rule):
    clf = LikelihoodClassifier(llava, labels=LABELS, rule=rule).fit()
    whole = clf.predict_proba(PICTURES)
    np.testing.assert_array_equal(whole, clf.predict_proba(PICTURES))
    np.testing.assert_array_equal(whole, np.vstack([clf.predict_proba([p]) for p in PICTURES]))
    np.testing.assert_array_equal(whole[::-1], clf.predict_proba(PICTURES[::-1]))
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-5)


def test_duplicates_are_scored_once(llava, monkeypatch):
    clf = LikelihoodClassifier(llava, labels=LABELS).fit()
    asked = []
    score = llava.score
    monkeypatch.setattr(llava, "score", lambda *a, **k: asked.append(a) or score(*a, **k))
    rows = clf.predict_proba([p.copy() for _ in range(4) for p in PICTURES])
    assert len(asked) == len(PICTURES)
    np.testing.assert_array_equal(rows[:6], rows[-6:])


def test_a_bad_image_is_an_error_row_and_changes_no_other(llava, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    clf = LikelihoodClassifier(llava, labels=LABELS).fit()
    seen = []
    mixed = clf.classify(
        [PICTURES[0], bad, PICTURES[1], tmp_path / "missing.png"],
        progress=lambda done, total, stage: seen.append((done, total)),
    )
    assert mixed.status.tolist() == ["ok", "error", "ok", "error"]
    assert "missing.png" in mixed.errors[3]
    np.testing.assert_array_equal(mixed.proba[[0, 2]], clf.predict_proba(PICTURES[:2]))
    assert seen[-1] == (4, 4)
    with pytest.raises(InputError, match="Use `classify` instead"):
        clf.predict([bad])
    assert len(clf.classify([])) == 0


def test_calibration_keeps_labels_and_lowers_the_loss(llava):
    X = [picture(i) for i in range(24)]
    plain = LikelihoodClassifier(llava, labels=LABELS).fit()
    rng = np.random.default_rng(0)
    y = rng.choice(LABELS, 24)
    warm = LikelihoodClassifier(llava, labels=LABELS).fit(X, y)
    assert (warm.calibrated_, plain.calibrated_, plain.temperature_) == (True, False, 1.0)
    np.testing.assert_array_equal(warm.predict(X), plain.predict(X))

    def loss(clf):
        rows = np.log(clf.predict_proba(X))
        return -rows[np.arange(24), [LABELS.index(v) for v in y]].mean()

    assert loss(warm) < loss(plain)
    few = LikelihoodClassifier(llava, labels=LABELS).fit(X[:5], y[:5])
    never = LikelihoodClassifier(llava, labels=LABELS, calibrate=False).fit(X, y)
    assert not few.calibrated_
    assert not never.calibrated_
    with pytest.raises(InputError, match="needs labelled images"):
        LikelihoodClassifier(llava, labels=LABELS, calibrate=True).fit()


def test_it_abstains_below_the_threshold(llava):
    sure = LikelihoodClassifier(llava, labels=LABELS).fit().classify(PICTURES).confidence
    threshold = float(np.median(sure)) + 1e-6
    clf = LikelihoodClassifier(llava, labels=LABELS, abstain_below=threshold).fit()
    found = clf.classify(PICTURES)
    assert found.status.tolist() == ["abstained" if c < threshold else "ok" for c in sure]
    assert "" in clf.predict(PICTURES).tolist()


def test_scikit_learn_finds_its_way(llava):
    clf = LikelihoodClassifier(llava, labels=None, calibrate=False)
    assert is_classifier(clf)
    twin = clone(clf)
    assert twin.model is llava
    assert twin.get_params() == clf.get_params()
    y = np.array(["cat", "dog"] * 3)
    scores = cross_val_score(clf, np.array([*PICTURES, None], object)[:-1], y, cv=3)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()
    fitted = clf.fit(PICTURES, y)
    assert fitted is clf
    assert clf.classes_.tolist() == ["cat", "dog"]
    np.testing.assert_array_equal(
        copy.deepcopy(clf).predict_proba(PICTURES), clf.predict_proba(PICTURES)
    )
    with pytest.raises(NotFittedError):
        clone(clf).predict(PICTURES)


def test_integer_labels_stay_integers(llava):
    clf = LikelihoodClassifier(llava, labels=[3, 5], aliases={3: "cat", 5: "dog"}).fit()
    assert clf.predict(PICTURES).dtype == np.int64
    with pytest.raises(InputError, match="needs labels of type str"):
        clf.set_params(abstain_below=0.5).fit()


def test_a_model_by_name_is_loaded_in_fit(llava):
    clf = LikelihoodClassifier(llava.name, labels=LABELS, threads=1).fit()
    assert clf.vlm_ is not llava
    np.testing.assert_array_equal(
        clf.predict_proba(PICTURES),
        LikelihoodClassifier(llava, labels=LABELS).fit().predict_proba(PICTURES),
    )


def test_another_model_after_fit_is_noticed(llava, idefics3):
    clf = LikelihoodClassifier(llava, labels=LABELS).fit()
    with pytest.raises(InputError, match="Call `fit` again"):
        clf.set_params(model=idefics3).predict(PICTURES)


SAVED = [
    {"rule": "sum"},
    {"rule": "sum_eos", "aliases": {"cat": "tabby", "dog": ["hound", "puppy"]}},
    {"rule": "pmi"},
    {"rule": "mean", "null_images": PICTURES[:2], "abstain_below": 0.3},
    {"rule": "letter", "rotations": 2, "null_images": "default"},
    {"rule": "sum", "batch_calibration": 0.7},
]


@pytest.mark.parametrize("params", SAVED, ids=lambda p: "-".join(p))
def test_a_saved_one_gives_the_same_bits(vlm, params, tmp_path):
    params = {"labels": ["dog", "cat", "bear cub"], "question": "Which animal?", **params}
    rng = np.random.default_rng(1)
    X = [picture(i) for i in range(24)]
    clf = LikelihoodClassifier(vlm.name, threads=1, **params)
    clf.fit(X, rng.choice(params["labels"], 24))
    assert clf.calibrated_
    files = sorted(path.name for path in clf.save(tmp_path / "clf").iterdir())
    assert files == ["arrays.npz", "classifier.json"]
    again = load_classifier(tmp_path / "clf")
    np.testing.assert_array_equal(again.predict_proba(PICTURES), clf.predict_proba(PICTURES))
    assert again.classify(PICTURES).status.tolist() == clf.classify(PICTURES).status.tolist()
    assert again.temperature_ == clf.temperature_
    kept, own = again.get_params(), clf.get_params()
    if not isinstance(own["null_images"], str):
        own["null_images"] = None  # pictures are not saved
    assert kept == own
    again.save(tmp_path / "clf")  # replaces itself
    np.testing.assert_array_equal(
        load_classifier(tmp_path / "clf").predict_proba(PICTURES), clf.predict_proba(PICTURES)
    )


def test_saved_integer_labels_and_a_model_object_come_back(llava, tmp_path):
    clf = LikelihoodClassifier(llava, labels=[3, 5], aliases={3: "cat", 5: "dog"}).fit()
    clf.save(tmp_path / "clf")
    with pytest.raises(SavedFolderError, match=r"made with a model object.*Hand it over"):
        load_classifier(tmp_path / "clf")
    with pytest.raises(SavedFolderError, match="not a WordEncoder"):
        load_classifier(tmp_path / "clf", model=WordEncoder(["cat"]))
    again = load_classifier(tmp_path / "clf", model=llava)
    assert again.model is llava
    np.testing.assert_array_equal(again.predict(PICTURES), clf.predict(PICTURES))
    assert again.predict(PICTURES).dtype == np.int64


def test_a_saved_short_list_needs_its_encoder(llava, tmp_path):
    names = ["cat", "dog", "bear"]
    colours = Colours(names)
    clf = LikelihoodClassifier(llava, labels=names, shortlist=2, encoder=colours).fit()
    clf.save(tmp_path / "clf")
    with pytest.raises(SavedFolderError, match="made with an encoder object"):
        load_classifier(tmp_path / "clf", model=llava)
    with pytest.raises(SavedFolderError, match="was fitted with encoder"):
        load_classifier(tmp_path / "clf", model=llava, encoder=Colours(["other"]))
    again = load_classifier(tmp_path / "clf", model=llava, encoder=colours)
    np.testing.assert_array_equal(again.predict_proba(PICTURES), clf.predict_proba(PICTURES))


def test_a_checkpoint_that_changed_is_refused_when_loading(tmp_path):
    folder = tmp_path / "checkpoint"
    make_llava(folder, seed=1)
    clf = LikelihoodClassifier(f"local-dir:{folder}", labels=LABELS, threads=1).fit()
    clf.save(tmp_path / "clf")
    make_llava(folder, seed=2)
    with pytest.raises(SavedFolderError, match=r"fingerprint 'vlm-.*now has 'vlm-"):
        load_classifier(tmp_path / "clf")


def test_a_saved_folder_that_was_changed_is_refused(llava, tmp_path):
    place = LikelihoodClassifier(llava, labels=LABELS, rule="pmi").fit().save(tmp_path / "clf")
    text = (place / "classifier.json").read_text()
    (place / "classifier.json").write_text(text.replace("tabby cat", "tabby dog"))
    with pytest.raises(SavedFolderError, match="was changed after it was written"):
        load_classifier(place, model=llava)
    (place / "classifier.json").write_text(text)
    blob = (place / "arrays.npz").read_bytes()
    (place / "arrays.npz").write_bytes(blob[:-1] + b"x")
    with pytest.raises(SavedFolderError, match="damaged"):
        load_classifier(place, model=llava)


def test_only_into_a_folder_of_its_own(llava, tmp_path):
    clf = LikelihoodClassifier(llava, labels=LABELS)
    with pytest.raises(NotFittedError):
        clf.save(tmp_path / "clf")
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="no saved classifier"):
        clf.fit().save(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"rule": "best"}, UnknownNameError, "letter"),
        ({"model": 3}, InputError, "LocalVLM"),
        ({"calibrate": "yes"}, InputError, "calibrate"),
        ({"null_images": "grey"}, InputError, "null_images"),
        ({"null_images": []}, InputError, "there are none"),
        ({"null_images": ["nowhere.png"]}, InputError, r"nowhere\.png"),
        ({"batch_calibration": 99}, InputError, "batch_calibration"),
        ({"rotations": 2}, InputError, "rule='letter'"),
        ({"rotations": 0, "rule": "letter"}, InputError, "rotations"),
        ({"shortlist": 0}, InputError, "shortlist"),
        ({"shortlist": 2, "batch_calibration": 1.0}, InputError, "short list"),
        ({"shortlist": 2, "rule": "letter", "null_images": "default"}, InputError, "common null"),
        ({"question": None}, InputError, "question"),
        ({"abstain_below": 2}, InputError, "abstain_below"),
        ({"labels": None}, InputError, "Which labels"),
    ],
)
def test_impossible_arguments_are_refused(llava, changes, error, complaint):
    with pytest.raises(error, match=complaint):
        LikelihoodClassifier(**{"model": llava, "labels": LABELS, **changes}).fit()


@pytest.mark.parametrize("X", ["cat.jpg", b"bytes", np.zeros((9, 9, 3), np.uint8), 3])
def test_a_single_image_is_not_taken_for_many(llava, X):
    with pytest.raises(InputError, match="sequence of images"):
        LikelihoodClassifier(llava, labels=LABELS).fit().predict(X)


WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def digits(shared_datasets):
    """Files and words of the digits, by split; the splits share no file."""
    found = {}
    for split in ("train", "test"):
        files = sorted((shared_datasets / "digits" / split).glob("*/*.jpg"))
        found[split] = files, np.array([WORDS[int(file.parent.name)] for file in files])
    return found


@pytest.fixture(scope="module")
def reader(digits, tmp_path_factory):
    """A folder with a Llava that learned to read from the 150 digits of train/, from scratch."""
    folder = tmp_path_factory.mktemp("reader")
    small = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    model, processor = make_llava(
        folder, vision=small, spread=1.0,
        text={**small, "num_key_value_heads": 4, "num_hidden_layers": 1},
    )  # fmt: skip
    prompt = LocalVLM(f"local-dir:{folder}").prompt("Which digit?", stub="a")
    files, words = digits["train"]
    pixels = np.stack([load_image(file)[..., 0] for file in files])
    train_on_pictures(model, processor, pixels, words.tolist(), prompt=prompt)
    model.save_pretrained(folder)
    return folder


def reading(folder, **params):
    return LikelihoodClassifier(
        f"local-dir:{folder}", labels=WORDS, question="Which digit?", stub="a", threads=1, **params
    ).fit()


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("rule", ["sum", "mean", "sum_eos"])
def test_a_model_trained_for_a_minute_reads_nine_of_ten_held_out_digits(reader, digits, rule):
    files, words = digits["test"]
    assert len(files) == 350
    assert np.mean(reading(reader, rule=rule).predict(files) == words) > 0.9


@pytest.mark.slow
@pytest.mark.data
def test_a_trained_model_scores_as_full_passes_do_and_reads_a_third_at_most(
    reader, digits, monkeypatch
):
    clf = reading(reader, rule="sum_eos")
    vlm, n_read = clf.vlm_, []
    language = vlm._model.get_decoder()
    forward = language.forward

    def counted(*args, **kw):
        n_read.append(kw["inputs_embeds"].shape[:2].numel())
        return forward(*args, **kw)

    monkeypatch.setattr(language, "forward", counted)
    pictures = [Image.fromarray(load_image(file)) for file in digits["test"][0][::25]]
    n_tokens = {}
    found = {}
    for reuse in (True, False):
        n_read.clear()
        rows = [
            vlm.score(p, clf.prompt_, clf.continuations_, with_end=True, reuse_prefix=reuse)
            for p in pictures
        ]
        n_tokens[reuse] = sum(n_read)
        found[reuse] = np.stack([score_labels(row, "sum_eos") for row in rows])
    np.testing.assert_allclose(found[True], found[False], atol=1e-4)
    np.testing.assert_allclose(
        clf.predict_proba(pictures), softmax(found[False], axis=1), atol=1e-4
    )
    assert n_tokens[False] >= 3 * n_tokens[True] > 0  # what the time goes into
