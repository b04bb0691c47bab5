from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from showtell.classify import FewShotClassifier, ZeroShotClassifier
from showtell.datasets import Dataset, load_dataset
from showtell.errors import InputError
from showtell.evaluate import shot_curve
from showtell.evaluate.curve import ShotCurve, ShotPoint, _interval


class Nearest(ClassifierMixin, BaseEstimator):
    """Images are numbers written as bytes; the label of the nearest support number wins."""

    fitted_on: ClassVar[list] = []

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.values, self.y = np.array([float(x) for x in X]), np.asarray(y)
        Nearest.fitted_on.append((self.random_state, frozenset(X)))
        return self

    def predict(self, X):
        return self.y[[int(np.abs(self.values - float(x)).argmin()) for x in X]]


def numbers(n, seed):
    """Two labels whose numbers overlap."""
    rng = np.random.default_rng(seed)
    values = np.r_[rng.normal(0, 1, n), rng.normal(2, 1, n)]
    codes = np.repeat([0, 1], n).astype(np.int32)
    return Dataset(images=[b"%.6f" % v for v in values], codes=codes, labels=("low", "high"))


@pytest.fixture(scope="module")
def curve():
    Nearest.fitted_on = []
    return shot_curve(Nearest(), numbers(12, 0), numbers(200, 1), shots=(1, 4, 12, 13), seeds=3)


def test_supports_of_one_seed_are_nested(curve):
    by_seed = {}
    for seed, support in Nearest.fitted_on:
        by_seed.setdefault(seed, []).append(support)
    assert set(by_seed) == {0, 1, 2}
    for supports in by_seed.values():
        small, middle, large = sorted(supports, key=len)
        assert (len(small), len(middle), len(large)) == (2, 8, 24)
        assert small < middle < large


def test_more_shots_than_there_are_is_marked_not_reduced(curve):
    last = curve.points[-1]
    assert last.shots == 13
    assert (last.accuracy, last.low, last.per_seed) == (None, None, ())
    assert last.note == (
        "not run: 13 shots need 13 labelled images of every label, low has 12, high has 12"
    )
    assert [s.shots_to for s in curve.steps] == [4, 12]


def test_points_are_means_over_seeds_inside_their_interval(curve):
    for point in curve.points[:-1]:
        assert point.accuracy == pytest.approx(np.mean(point.per_seed))
        assert point.low < point.accuracy < point.high
    for step, before, after in zip(curve.steps, curve.points, curve.points[1:], strict=False):
        assert step.difference == pytest.approx(after.accuracy - before.accuracy)
        assert step.p_holm >= step.p_value


def test_the_interval_covers_seeds_and_samples():
    rng = np.random.default_rng(0)
    same = np.tile(rng.random(400) < 0.8, (5, 1))
    low, high = _interval(same)  # seeds agree: the luck of 400 samples, 2 * 1.96 * sqrt(.16/400)
    assert high - low == pytest.approx(2 * 1.96 * 0.02, rel=0.15)
    differ = rng.random((5, 400)) < np.array([0.6, 0.7, 0.8, 0.9, 1.0])[:, None]
    wide_low, wide_high = _interval(differ)
    assert wide_high - wide_low > 2 * (high - low)


def test_rows_json_and_pandas_agree(curve):
    value = curve.to_dict()
    assert [p["shots"] for p in value["points"]] == [1, 4, 12, 13]
    assert value["seeds"] == [0, 1, 2]
    assert value["run"]["train"]["n_samples"] == 24
    table = curve.to_pandas()
    assert len(table) == 9
    assert table[table["shots"] == 4]["accuracy"].mean() == pytest.approx(curve.points[1].accuracy)


def test_the_same_seeds_give_the_same_curve(curve):
    again = shot_curve(
        Nearest(), numbers(12, 0), numbers(200, 1), shots=(1, 4, 12, 13), seeds=[0, 1, 2]
    )
    assert again.points == curve.points
    assert again.steps == curve.steps


def test_what_cannot_be_run_is_refused():
    train, test = numbers(3, 0), numbers(3, 1)
    with pytest.raises(InputError, match="leave 0 out"):
        shot_curve(Nearest(), train, test, shots=(0, 1), seeds=1)
    with pytest.raises(InputError, match="from 0 upwards"):
        shot_curve(Nearest(), train, test, shots=(-1,))
    with pytest.raises(InputError, match="different seeds"):
        shot_curve(Nearest(), train, test, shots=(1,), seeds=(1, 1))
    with pytest.raises(InputError, match="test split is empty"):
        shot_curve(Nearest(), train, test[[]], shots=(1,))
    with pytest.raises(InputError, match="no meaning with labelled images"):
        shot_curve(
            ZeroShotClassifier(labels=["a", "b"], transductive="balance"), train, test, shots=(1,)
        )


def test_one_seed_uses_the_interval_of_the_samples():
    low, high = _interval(np.array([[True] * 55 + [False] * 20]))
    assert (round(low, 3), round(high, 3)) == (0.624, 0.820)


def test_curves_can_be_drawn(curve):
    text = curve.plot()._repr_svg_()
    assert re.findall(r'class="tick mid"[^>]*>(\d+)<', text) == ["1", "4", "12", "13"]
    assert text.count("×") == 1  # 13 could not be run
    assert text.count('class="seed"') == sum(len(point.per_seed) for point in curve.points)


def test_a_curve_without_points_says_so():
    empty = shot_curve(Nearest(), numbers(2, 0), numbers(2, 1), shots=(5,), seeds=1)
    assert empty.sentence == "No point of the curve could be run."
    with pytest.raises(InputError, match="nothing to draw"):
        empty.plot()


@pytest.mark.data
def test_real_photos_gain_from_shots_and_are_embedded_once(shared_datasets, monkeypatch):
    from showtell.encoders.mini.encoder import MiniEncoder

    prepared = []
    prepare = MiniEncoder.prepare
    monkeypatch.setattr(
        MiniEncoder, "prepare", lambda self, image: prepared.append(1) or prepare(self, image)
    )
    data = load_dataset(str(shared_datasets / "weather"))
    calls = []
    curve = shot_curve(
        FewShotClassifier("mini", store=None),
        data,
        shots=(1, 5, 40),
        seeds=2,
        progress=lambda *seen: calls.append(seen),
    )
    first, second, missing = curve.points
    assert second.accuracy > first.accuracy
    assert missing.accuracy is None
    assert len(prepared) <= len(data)
    assert calls[-1][:2] == (4, 4)


def test_a_curve_shows_itself_as_a_table_in_a_notebook():
    points = (
        ShotPoint(shots=1, accuracy=0.5, low=0.25, high=0.75, per_seed=(0.5,)),
        ShotPoint(shots=20, accuracy=None, low=None, high=None, per_seed=(), note="not run"),
    )
    curve = ShotCurve(points=points, steps=(), seeds=(0,), n_test=4)
    text = curve._repr_html_()
    assert "<p>1 shot: 50.0%; more shots did not help.</p>" in text
    assert "<td>20</td><td></td><td></td><td></td><td>not run</td>" in text
