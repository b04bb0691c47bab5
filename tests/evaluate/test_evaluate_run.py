from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from PIL import Image
from sklearn.base import BaseEstimator

import showtell
from showtell.classify import (
    LimitsWarning,
    MediaClassifier,
    Predictions,
    ZeroShotClassifier,
)
from showtell.datasets import Dataset, Sample
from showtell.errors import DataError, InputError, MediaError
from showtell.evaluate import Record, evaluate
from showtell.evaluate.provenance import about_estimator, data_fingerprint, plain, shown_path
from showtell.media import load_image, media_name
from showtell.testing import ColourEncoder, make_images

RED, BLUE = (200, 10, 10), (10, 10, 200)


class ByColour(MediaClassifier):
    """Says red or blue by the mean colour; abstains on grey; costs a cent."""

    def __init__(self, api_key="s3cr3t", shots=2, cost="0.01"):
        self.api_key, self.shots, self.cost = api_key, shots, cost

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_support_ = len(X)
        return self

    def classify(self, X, *, progress=lambda *a: None):
        codes, status, errors, sure = [], [], {}, []
        for i, image in enumerate(X):
            try:
                r, _, b = load_image(image).reshape(-1, 3).mean(axis=0)
            except MediaError as error:
                codes.append(-1), status.append(2), sure.append(np.nan)
                errors[i] = str(error)
            else:
                codes.append(int(r > b)), status.append(int(abs(r - b) < 20)), sure.append(0.9)
            progress(i + 1, len(X), "classify")
        return Predictions(
            images=[media_name(x) for x in X],
            classes=tuple(self.classes_.tolist()),
            codes=np.array(codes, np.int32),
            confidence_all=np.array(sure, np.float32),
            status_codes=np.array(status, np.int8),
            errors=errors,
            columns={}
            if self.cost == "none"
            else {"cost_usd": [self._cost(i) for i in range(len(X))]},
        )

    def _cost(self, i):
        return None if self.cost == "unknown" and i == 0 else Decimal("0.01")


@pytest.fixture
def data(tmp_path):
    samples = []
    for i, (colour, label) in enumerate(
        [(RED, "red"), (BLUE, "blue"), (RED, "blue"), ((99, 99, 99), "red")]
    ):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{i}.png")
        samples.append(Sample(image=str(tmp_path / f"{i}.png"), label=label, id=f"s{i}"))
    (tmp_path / "4.png").write_bytes(b"")
    samples.append(Sample(image=str(tmp_path / "4.png"), label="red", id="s4"))
    return Dataset.from_samples(samples, name="colours", source=str(tmp_path))


@pytest.fixture
def clf():
    return ByColour().fit([0, 1], ["blue", "red"])


def test_one_row_per_sample_in_order(clf, data):
    record = evaluate(clf, data)
    assert record.keys == ["s0", "s1", "s2", "s3", "s4"]
    assert record.predictions.status.tolist() == ["ok", "ok", "ok", "abstained", "error"]
    assert record.correct.tolist() == [True, True, False, False, False]
    assert record.metrics["accuracy"] == pytest.approx(0.4)
    assert record.metrics["accuracy_answered"] == pytest.approx(2 / 3)


def test_the_room_itself_can_be_called(clf, data):
    assert isinstance(showtell.Record, type)
    assert showtell.evaluate(clf, data).correct.tolist() == evaluate(clf, data).correct.tolist()


def test_x_and_y_apart_or_as_a_pair_give_the_same(clf, data):
    pair = evaluate(clf, (data.images, data.y))
    apart = evaluate(clf, data.images, data.y)
    assert pair.metrics == apart.metrics == evaluate(clf, data).metrics
    assert pair.ids is None
    assert pair.keys == list(data.images)


def test_unlabelled_samples_are_refused(clf, data):
    partly = Dataset(images=data.images[:2], codes=np.array([0, -1], np.int32), labels=data.labels)
    with pytest.raises(DataError, match="1 of 2 samples have no label"):
        evaluate(clf, partly)
    with pytest.raises(InputError, match="Measuring needs labels"):
        evaluate(clf, data.images)
    with pytest.raises(InputError, match="not both"):
        evaluate(clf, data, data.y)
    with pytest.raises(InputError, match="5 images but 1 labels"):
        evaluate(clf, data.images, ["red"])
    with pytest.raises(DataError, match="nothing to measure"):
        evaluate(clf, [], [])


def test_labels_that_the_classifier_cannot_answer_are_named(clf):
    with pytest.raises(DataError, match=r"'rad' \(close: 'red'\).*It knows 'blue', 'red'"):
        evaluate(clf, [b""], ["rad"])


def test_the_record_says_what_was_run_and_keeps_no_secret(clf, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    run = evaluate(clf, data).run
    assert run["name"] == "ByColour(2 shots)"
    assert run["estimator"]["class"].endswith("ByColour")
    assert run["estimator"]["n_support"] == 2
    assert run["estimator"]["params"] == {"api_key": "(not recorded)", "cost": "0.01", "shots": 2}
    assert run["data"]["source"] == tmp_path.name
    assert run["data"]["n_samples"] == 5
    assert set(run["versions"]) >= {"showtell", "python", "numpy", "sklearn", "onnxruntime"}
    assert run["cost_usd"] == "0.05"
    assert run["images_per_second"] > 0
    assert run["started"] <= run["finished"]
    assert "s3cr3t" not in str(run)


@pytest.mark.parametrize(
    ("cost", "expected"), [("0.01", Decimal("0.05")), ("unknown", None), ("none", None)]
)
def test_unknown_cost_is_none_not_zero(data, cost, expected):
    assert evaluate(ByColour(cost=cost).fit([0], ["blue", "red"]), data).cost_usd == expected


def test_zero_shot_records_carry_the_limits_of_their_encoder(data, tmp_path):
    encoder = ColourEncoder()
    encoder.zero_shot_note = "Knows colours only."
    encoder.name = "colours with a note"  # its limits are said once per name
    with pytest.warns(LimitsWarning, match="colours only"):
        clf = ZeroShotClassifier(encoder, labels=["red", "blue"]).fit()
    run = evaluate(clf, data).run
    assert run["estimator"]["note"] == "Knows colours only."
    assert run["estimator"]["encoder"]["name"] == encoder.name
    assert run["cost_usd"] == "0"


def test_progress_is_passed_on(clf, data):
    seen = []
    evaluate(clf, data, progress=lambda done, total, stage: seen.append((done, total)))
    assert seen[-1] == (5, 5)


class Plain(BaseEstimator):
    """What scikit-learn users bring."""

    def __init__(self, proba=True):
        self.proba = proba

    def fit(self, X, y):
        self.classes_ = np.array(["a", "b"])
        if self.proba:
            self.predict_proba = lambda X: np.tile([0.25, 0.75], (len(X), 1))
        return self

    def predict(self, X):
        return np.array(["b", "?"] * len(X))[: len(X)]


def test_any_classifier_with_probabilities_or_labels_can_be_measured():
    images, y = [b"1", b"2", b"3", b"4"], ["b", "b", "a", "b"]
    record = evaluate(Plain().fit(None, None), images, y)
    assert record.metrics["accuracy"] == 0.75
    assert record.metrics["ece"] == pytest.approx(0)
    words = evaluate(Plain(proba=False).fit(None, None), images, y)
    assert words.predictions.status.tolist() == ["ok", "abstained", "ok", "abstained"]
    assert words.metrics["ece"] is None
    with pytest.raises(InputError, match="Call `fit` first"):
        evaluate(Plain(proba=False), images, y)


def test_fingerprints_tell_data_apart(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"12")
    path = str(tmp_path / "a.jpg")
    first = data_fingerprint([path, b"x"], ["l", "m"])[0]
    assert first == data_fingerprint([path, b"x"], ["l", "m"])[0]
    assert first != data_fingerprint([path, b"x"], ["l", "n"])[0]
    assert first != data_fingerprint([path, b"y"], ["l", "m"])[0]
    (tmp_path / "a.jpg").write_bytes(b"123")
    assert first != data_fingerprint([path, b"x"], ["l", "m"])[0]
    array, picture = np.zeros((2, 3), np.uint8), Image.new("RGB", (2, 2))
    crop = showtell.Crop(image=path, box=(0, 0, 1, 1))
    kinds = [data_fingerprint([one], ["l"])[0] for one in (array, picture, crop, array.T, "no.jpg")]
    assert len(set(kinds)) == 5


def test_values_for_records_are_plain_and_without_secrets():
    class Thing:
        def __repr__(self):
            return "token=abc"

    value = plain(
        {
            "x": np.float32(0.5),
            "n": {1, 2},
            "t": Thing(),
            "password": "p",
            "max_tokens": 9,
            "nan": float("nan"),
            "a": np.arange(3),
            "big": np.zeros((2, 2)),
            "none": None,
            "url": "https://u:p@h.org/x?key=1",
        }
    )
    assert value == {
        "x": 0.5,
        "n": [1, 2],
        "t": value["t"],
        "password": "(not recorded)",
        "max_tokens": 9,
        "nan": "nan",
        "a": [0, 1, 2],
        "big": "array of shape (2, 2), float64",
        "none": None,
        "url": "https://h.org/x",
    }
    assert value["t"].endswith("Thing")
    assert shown_path("http://[broken") == "(unreadable URL)"


def test_encoders_inside_pipelines_are_found():
    class Encoder:
        name, fingerprint = "fake", "f00"

    class Step(BaseEstimator):
        def __init__(self, encoder=None):
            self.encoder = encoder

    class Pipe:
        def __init__(self):
            self.steps = [("embed", Step(Encoder())), ("head", Plain())]

    assert about_estimator(Pipe())["encoder"] == {"name": "fake", "fingerprint": "f00"}
    step = Step("mini")
    step.encoder_fingerprint_ = "beef"
    assert about_estimator(step)["encoder"] == {"name": "mini", "fingerprint": "beef"}
    assert isinstance(Record, type)


def test_speed_is_unknown_where_embeddings_came_from_the_store(tmp_path):
    X = make_images(tmp_path, n_per_label=3)
    y = [path.parent.name for path in X]
    clf = ZeroShotClassifier(ColourEncoder(), labels=sorted(set(y))).fit()

    first, second = evaluate(clf, (X, y)), evaluate(clf, (X, y))

    assert first.run["n_from_store"] == 0
    assert first.run["images_per_second"] > 0
    assert second.run["n_from_store"] == len(X)
    assert second.run["images_per_second"] is None
