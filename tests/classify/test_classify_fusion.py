"""FusionClassifier: METHODS 5 in numbers; two questions an image, one outcome."""

from __future__ import annotations

import json
import threading
from decimal import Decimal

import numpy as np
import pytest

from showtell.classify import FusionClassifier, ZeroShotClassifier, load_classifier
from showtell.errors import BudgetError, InputError, SavedFolderError, UnknownNameError
from showtell.mllm import Answer, AnswerCache, ImagePart, TextPart, Usage
from showtell.mllm.model import Model
from showtell.testing import make_images

pytestmark = pytest.mark.filterwarnings("ignore::showtell.classify.LimitsWarning")

LABELS = ["red circle", "green triangle", "blue square"]


class Looker:
    """Answers both questions by rules of the test; keeps what it was shown."""

    name = "toy:looker"

    def __init__(self, *, description="a picture", guess="red circle"):
        self.description, self.guess = description, guess
        self.requests, self.lock = [], threading.Lock()

    async def ask(self, request):
        with self.lock:
            self.requests.append(request)
        is_guess = request.schema is not None or "guess-label" in request.parts[0].text
        said = self.guess if is_guess else self.description
        said = said(request) if callable(said) else said
        finish = "refused" if said == "NO" else "stop"
        text = json.dumps({"label": said}) if is_guess and said != "NO" else said
        usage = Usage(input_tokens=100, output_tokens=10, cost_usd=Decimal("0.001"))
        return Answer(text=text, usage=usage, finish=finish, model="looker")

    async def aclose(self):
        pass


class Table:
    """An encoder that looks vectors up; images are captions."""

    name = fingerprint = "table"
    probability, logit_scale, logit_bias, zero_shot_note = "softmax", 10.0, 0.0, ""

    def __init__(self, texts):
        self.texts = texts
        self.n_dims = len(next(iter(texts.values())))

    def encode_texts(self, texts):
        rows = np.array([self.texts[text] for text in texts], np.float64)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def encode_images(self, images):
        return self.encode_texts(["IMAGE"] * len(images))


@pytest.fixture
def photos(tmp_path):
    return [str(p) for p in make_images(tmp_path / "shapes", labels=LABELS, n_per_label=2)]


def worked(use, **params):
    """METHODS 5.7: two classes, three opinions."""
    encoder = Table(
        {
            "IMAGE": (0.2, 0.1, 0.97),
            "what it sees": (0.75, 0.60, 0.1),
            "one": (0.25, 1, 0.2),
            "A photo of zero": (1, 0.25, 0.2),
            "A photo of one": (0.25, 1, 0.2),
            "its guess": (0.1, 0.99, 0.05),
        }
    )
    return FusionClassifier(
        Model(Looker(description="what it sees", guess="its guess"), cache=None),
        encoder,
        labels=["zero", "one"],
        use=use,
        class_features=("template",),
        store=None,
        **params,
    ).fit()


@pytest.mark.parametrize(
    ("use", "sums", "label"),
    [
        (("image",), (0.400876, 0.329120), "zero"),
        (("description",), (0.907348, 0.796396), "zero"),
        (("guess",), (0.341743, 0.979823), "one"),
        (("image", "description"), (0.805347, 0.692871), "zero"),
        (("image", "description", "guess"), (0.711506, 0.907873), "one"),
    ],
)
def test_the_worked_example(photos, use, sums, label):
    clf = worked(use)
    [evidence] = clf.explain(photos[:1])
    assert evidence.label == label
    predictions = clf.classify(photos[:1])
    assert predictions.label.tolist() == [label]
    scaled = 10 * np.array(sums)
    wanted = np.exp(scaled) / np.exp(scaled).sum()
    assert predictions.proba[0] == pytest.approx(wanted, abs=1e-5)


def test_terms_add_up_to_the_sum_of_the_cosines(photos):
    [evidence] = worked(("image", "description", "guess")).explain(photos[:1])
    ours = sum(term[0] for term in evidence.terms.values())
    theirs = sum(term[1] for term in evidence.terms.values())
    assert (ours, theirs) == pytest.approx((2.105338, 1.649967), abs=1e-5)
    assert evidence.description == "what it sees"
    assert evidence.guess == "its guess"


def test_the_image_alone_is_zero_shot_and_asks_nothing(photos):
    looker = Looker()
    fused = FusionClassifier(
        Model(looker, cache=None), labels=LABELS, use=("image",), class_features=("template",)
    ).fit()
    plain = ZeroShotClassifier(labels=LABELS, templates="A photo of {label}").fit()
    assert np.abs(fused.predict_proba(photos) - plain.predict_proba(photos)).max() < 1e-5
    assert looker.requests == []


def test_two_calls_an_image_and_none_when_asked_again(photos, tmp_path):
    looker = Looker()
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        clf = FusionClassifier(Model(looker, cache=cache), labels=LABELS).fit()
        first = clf.classify([*photos, photos[0]])
        assert len(looker.requests) == 2 * len(photos)
        again = clf.classify(photos)
        assert len(looker.requests) == 2 * len(photos)
    assert first.columns["cost_usd"] == [Decimal("0.002")] * len(photos) + [Decimal(0)]
    assert first.columns["from_cache"] == [False] * len(photos) + [True]
    assert again.columns["cost_usd"] == [Decimal(0)] * len(photos)
    assert all(again.columns["from_cache"])
    assert first.columns["description"][0] == "a picture"
    assert first.label[-1] == first.label[0]


def test_a_kept_description_leaves_one_call(photos, tmp_path):
    looker = Looker()
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        FusionClassifier(
            Model(looker, cache=cache), labels=LABELS, use=("description",)
        ).fit().classify(photos)
        n = len(looker.requests)
        FusionClassifier(Model(looker, cache=cache), labels=LABELS).fit().classify(photos)
    assert (n, len(looker.requests)) == (len(photos), 2 * len(photos))


def test_the_question_what_is_seen_names_no_label_and_the_guess_lists_all(photos):
    looker = Looker()
    FusionClassifier(Model(looker, cache=None), labels=LABELS).fit().classify(photos)
    orders = set()
    for request in looker.requests:
        text = request.system + "".join(p.text for p in request.parts if isinstance(p, TextPart))
        named = [label for label in LABELS if label in text]
        if "Task: describe-image" in text:
            assert named == []
        else:
            assert sorted(named) == sorted(LABELS)
            orders.add(tuple(sorted(LABELS, key=text.index)))
        [part] = [p for p in request.parts if isinstance(p, ImagePart)]
        assert part.width > 0
    assert len(orders) > 1  # in another order for other images


def test_the_same_seed_asks_the_same(photos):
    keys = []
    for _ in range(2):
        clf = FusionClassifier(Model(Looker(), cache=None), labels=LABELS, random_state=5).fit()
        keys.append([request.key for request in clf.requests(photos)])
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 2 * len(photos)


@pytest.mark.parametrize("name", ["description", "guess"])
def test_a_refusal_is_an_error_row_and_not_a_worse_guess(photos, name):
    shown = {}

    def sometimes(request):
        [part] = [p for p in request.parts if isinstance(p, ImagePart)]
        shown.setdefault(part.digest, len(shown))
        return "NO" if shown[part.digest] == 0 else "blue square"

    clf = FusionClassifier(
        Model(Looker(**{name: sometimes}), cache=None, max_concurrency=1), labels=LABELS
    ).fit()
    found = clf.classify(photos)
    assert found.status.tolist().count("error") == 1
    row = found.status.tolist().index("error")
    assert f"No {name} by the model: The model declined" in found.errors[row]
    assert found.columns["reason"][row] == "model"
    assert found.label[row] == ""


def test_unreadable_images_are_error_rows_and_cost_nothing(photos, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    looker = Looker()
    found = (
        FusionClassifier(Model(looker, cache=None), labels=LABELS)
        .fit()
        .classify([photos[0], str(tmp_path / "bad.jpg")])
    )
    assert found.status.tolist() == ["ok", "error"]
    assert found.columns["reason"] == [None, "image"]
    assert len(looker.requests) == 2


def test_weights_are_tuned_on_the_labelled_images_only(photos):
    truth = {"0": "red circle"}

    def knows(request):
        [part] = [p for p in request.parts if isinstance(p, ImagePart)]
        return truth.get(part.digest, "blue square")

    from showtell.media import read_media
    from showtell.mllm.images import prepare_image

    y = [label for label in LABELS for _ in range(2)]
    for path, label in zip(photos, y, strict=True):
        truth[prepare_image(read_media(path), max_side=768).digest] = label
    looker = Looker(description="a grey nothing", guess=knows)
    clf = FusionClassifier(Model(looker, cache=None), labels=LABELS, weights="tune").fit(photos, y)
    assert clf.tuned_["guess"] == 1.0
    assert clf.tuned_["chosen"] == 1.0
    assert clf.weights_["guess"] > 0
    assert clf.spent_.n_requests == 2 * len(photos)
    n = len(looker.requests)
    assert clf.predict(photos).tolist() == y
    assert len(looker.requests) == 2 * n


def test_standardising_evens_the_opinions_out(photos):
    clf = worked(("image", "guess"), standardise=True)
    [evidence] = clf.explain(photos[:1])
    assert [abs(a) for pair in evidence.terms.values() for a in pair] == pytest.approx([1.0] * 4)


def test_weights_by_hand_and_a_weight_of_none(photos):
    clf = worked(("image", "description", "guess"), weights={"image": 1, "description": 1})
    assert clf.predict(photos[:1]).tolist() == ["zero"]  # as without the guess


def test_a_cap_stops_the_run(photos):
    clf = FusionClassifier(Model(Looker(), cache=None, max_requests=3), labels=LABELS).fit()
    with pytest.raises(BudgetError):
        clf.classify(photos)


def test_a_run_folder_resumes(photos, tmp_path):
    looker = Looker()
    clf = FusionClassifier(
        Model(looker, cache=None, max_requests=3, max_concurrency=1, run_folder=tmp_path / "run"),
        labels=LABELS,
    ).fit()
    with pytest.raises(BudgetError):
        clf.classify(photos)
    clf.set_params(model__max_requests=None).fit()
    assert clf.classify(photos).status.tolist() == ["ok"] * len(photos)
    assert len(looker.requests) == 2 * len(photos)


def test_a_saved_one_answers_as_before(photos, tmp_path):
    looker = Looker(description="a blue square", guess="blue square")
    clf = FusionClassifier(
        Model(looker, cache=None),
        labels=LABELS,
        descriptions={"red circle": ["a red disc"]},
        weights={"image": 1, "guess": 2},
    ).fit()
    folder = clf.save(tmp_path / "saved")
    again = load_classifier(folder, model=looker)
    np.testing.assert_array_equal(again.predict_proba(photos), clf.predict_proba(photos))
    with pytest.raises(SavedFolderError, match="load_classifier"):
        load_classifier(folder)
    other = Looker()
    other.name = "toy:other"
    with pytest.raises(SavedFolderError, match="toy:other"):
        load_classifier(folder, model=other)


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"use": ()}, InputError, "at least one of image, description, guess"),
        ({"use": ("caption",)}, UnknownNameError, "image, description, guess"),
        ({"class_features": ("colour",)}, UnknownNameError, "name, template, descriptions"),
        ({"class_features": ("descriptions",)}, InputError, "there are none"),
        ({"use": ("image",), "weights": {"guess": 1}}, InputError, "which `use` does not"),
        ({"weights": {"image": -1}}, InputError, "0 or more"),
        ({"weights": "learn"}, InputError, "a mapping, 'tune' or None"),
        ({"weights": "tune"}, InputError, "need labelled images"),
        ({"model": 3}, InputError, "openai:gpt"),
    ],
)
def test_what_makes_no_sense_is_refused(params, error, words):
    with pytest.raises(error, match=words):
        FusionClassifier(params.pop("model", Looker()), labels=LABELS, **params).fit()
