"""DistilledClassifier and CascadeClassifier on words that an encoder knows exactly."""

from dataclasses import replace
from decimal import Decimal
from itertools import combinations_with_replacement

import numpy as np
import pytest

from showtell.classify import ZeroShotClassifier, load_classifier
from showtell.classify.asking.confidence import ConfidenceMap
from showtell.classify.base import MediaClassifier
from showtell.classify.chain.cascade import CascadeClassifier
from showtell.classify.chain.distill import DistilledClassifier
from showtell.classify.chain.teacher import TeacherLabels
from showtell.classify.predictions import Predictions
from showtell.errors import InputError, UnknownNameError
from showtell.testing import WordEncoder

ANIMALS = ("cat", "dog", "fox")
PLACES = ("grass", "sky", "sand", "snow")
WORDS = WordEncoder([*ANIMALS, *PLACES])
X = [f"{a} {w} {n}" for a in ANIMALS for w, n in combinations_with_replacement(PLACES, 2)]
Y = [text.split()[0] for text in X]


class Oracle(MediaClassifier):
    """Knows every answer, makes planted mistakes, and keeps a list of what it was asked."""

    def __init__(self, wrong=(), silent=(), price=Decimal("0.01")):
        self.wrong, self.silent, self.price = wrong, silent, price
        self.classes_ = np.array(ANIMALS)
        self.asked = []

    def fit(self, X=None, y=None):
        return self

    def classify(self, X, *, progress=None):
        self.asked += list(X)
        codes = [ANIMALS.index(x.split()[0]) for x in X]
        codes = [(c + 1) % 3 if x in self.wrong else c for c, x in zip(codes, X, strict=True)]
        status = [2 if x in self.silent else 0 for x in X]
        return Predictions(
            images=list(X),
            classes=ANIMALS,
            codes=np.array([-1 if s else c for c, s in zip(codes, status, strict=True)], np.int32),
            confidence_all=np.array([np.nan if s else 0.9 for s in status], np.float32),
            status_codes=np.array(status, np.int8),
            errors={i: "no answer" for i, s in enumerate(status) if s},
            columns={"cost_usd": [self.price] * len(X)},
        )

    def _to_saved(self):
        raise InputError("an oracle stays where it is")

    @classmethod
    def _from_saved(cls, saved, *, encoder, model):
        raise InputError("an oracle stays where it is")


def test_a_student_asks_within_its_budget_and_nothing_twice():
    teacher = Oracle()
    student = DistilledClassifier(teacher, WORDS, budget=20, store=None).fit(X)
    assert len(teacher.asked) == 20
    assert len(set(teacher.asked)) == 20
    assert student.n_labels_ == 20
    assert student.cost_ == Decimal("0.20")
    assert [X[row] for row in student.rows_] == teacher.asked
    assert (student.predict(X) == np.array(Y)).all()
    assert len(teacher.asked) == 20  # predicting asks nobody


def test_the_first_round_sees_every_label():
    teacher = Oracle()
    DistilledClassifier(teacher, WORDS, budget=3, select="cover", store=None).fit(X)
    assert len({x.split()[0] for x in teacher.asked}) >= 2


def test_failed_and_abstained_rows_are_counted_and_never_learned_from():
    teacher = Oracle(silent=X[::2])
    student = DistilledClassifier(teacher, WORDS, budget=len(X), store=None).fit(X)
    assert student.teacher_labels_.counts == {"ok": 15, "abstained": 0, "error": 15}
    assert student.n_labels_ == 15
    assert student.cost_ == Decimal("0.30")  # failed answers are paid for too


def test_wrong_labels_are_listed_first_and_dropped_only_on_request():
    wrong = (X[1], X[14], X[25])
    kept = DistilledClassifier(Oracle(wrong), WORDS, budget=len(X), store=None).fit(X)
    first = kept.suspects_[:3]
    assert {X[s.row] for s in first} == set(wrong)
    assert [s.suggested for s in first] == [Y[s.row] for s in first]
    assert kept.n_labels_ == len(X)
    dropped = DistilledClassifier(
        Oracle(wrong), WORDS, budget=len(X), suspects="drop", store=None
    ).fit(X)
    assert dropped.n_labels_ < len(X)
    assert dropped.agreement_ > kept.agreement_


def test_labels_bought_before_ask_nobody():
    teacher = Oracle()
    bought = TeacherLabels.from_predictions(teacher.classify(X), source="a file")
    teacher.asked.clear()
    student = DistilledClassifier(None, WORDS, store=None).fit(X, teacher_labels=bought)
    assert teacher.asked == []
    np.testing.assert_array_equal(student.predict(X), Y)
    by_hand = DistilledClassifier(None, WORDS, store=None).fit(X, Y)
    np.testing.assert_allclose(by_hand.predict_proba(X), student.predict_proba(X), atol=1e-6)


class Talker(Oracle):
    """Says how sure it is, as a multimodal LLM does."""

    def __init__(self, confidence, n_calibrated):
        super().__init__()
        self.confidence_ = confidence
        self.calibration_ = ConfidenceMap(kind="none", n=n_calibrated)

    def classify(self, X, *, progress=None):
        found = super().classify(X, progress=progress)
        rows = np.full((len(X), 3), 0.05, np.float32)
        rows[np.arange(len(X)), found.codes] = 0.9
        return replace(found, distinct_proba=rows, distinct=np.arange(len(X)))


@pytest.mark.parametrize(
    ("confidence", "n_calibrated", "soft"),
    [("verbalised", 0, False), ("verbalised", 50, True), ("logprobs", 0, True)],
)
def test_how_sure_a_model_says_it_is_is_no_probability(confidence, n_calibrated, soft):
    teacher = Talker(confidence, n_calibrated)
    student = DistilledClassifier(teacher, WORDS, budget=12, store=None).fit(X)
    assert student.teacher_labels_.kind == ("soft" if soft else "hard")
    assert student.soft_ is soft


def test_gold_replaces_the_teacher_and_counts_twice():
    wrong = tuple(X[:4])
    gold = (list(wrong), Y[:4])
    blind = DistilledClassifier(Oracle(wrong), WORDS, budget=len(X), store=None).fit(X)
    seeing = DistilledClassifier(Oracle(wrong), WORDS, budget=len(X), store=None).fit(X, gold=gold)
    assert seeing.n_labels_ == len(X)
    assert len(seeing.suspects_) < len(blind.suspects_)
    assert (seeing.predict(X) == np.array(Y)).all()


def test_the_order_of_the_label_set_is_kept_whatever_the_teachers_order():
    student = DistilledClassifier(
        Oracle(), WORDS, labels=["fox", "cat", "dog"], budget=30, store=None
    ).fit(X)
    assert student.classes_.tolist() == ["fox", "cat", "dog"]
    np.testing.assert_array_equal(student.predict(X), Y)


def test_a_label_the_teacher_never_named_is_said_and_never_answered():
    student = DistilledClassifier(
        Oracle(), WORDS, labels=[*ANIMALS, "owl"], budget=30, store=None
    ).fit(X)
    assert student.missing_ == ("owl",)
    assert student.predict_proba(X).shape == (len(X), 4)
    assert "owl" not in student.predict(X)


@pytest.mark.parametrize("head", ["blend", "linear", "mean", "mlp"])
def test_a_saved_student_predicts_the_same_bits_and_needs_no_teacher(head, tmp_path):
    student = DistilledClassifier(Oracle(), WORDS, head=head, budget=30, store=None).fit(X)
    again = load_classifier(student.save(tmp_path / "s"), encoder=WORDS)
    assert again.teacher is None
    np.testing.assert_array_equal(again.predict_proba(X), student.predict_proba(X))
    assert again.agreement_ == student.agreement_
    assert again.curve_ == student.curve_
    assert again.cost_ == student.cost_


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"head": "tree"}, UnknownNameError, "blend"),
        ({"select": "best"}, UnknownNameError, "cover"),
        ({"suspects": "flip"}, UnknownNameError, "drop"),
        ({"denoise": "all"}, UnknownNameError, "weight"),
        ({"budget": 0}, InputError, "from 1 up"),
        ({"C": 0}, InputError, "above 0"),
        ({"alpha": 2}, InputError, "from 0 to 1"),
        ({"soft": True}, InputError, "gives probabilities"),
    ],
)
def test_what_is_not_allowed_says_so(params, error, match):
    with pytest.raises(error, match=match):
        DistilledClassifier(Oracle(), WORDS, store=None, **params).fit(X)


def test_nobody_to_learn_from_says_so():
    with pytest.raises(InputError, match="nobody to learn from"):
        DistilledClassifier(None, WORDS, store=None).fit(X)
    bought = TeacherLabels.from_predictions(Oracle().classify(X[:3]))
    with pytest.raises(InputError, match="one row per image"):
        DistilledClassifier(None, WORDS, store=None).fit(X, teacher_labels=bought)
    with pytest.raises(InputError, match="no label that can be learned from"):
        DistilledClassifier(Oracle(silent=X), WORDS, store=None).fit(X)


# Cascades


class Unsure(Oracle):
    """Right where it is sure, wrong in half of the rest."""

    def __init__(self, doubtful=(), wrong=()):
        super().__init__(wrong=wrong)
        self.doubtful = doubtful

    def classify(self, X, *, progress=None):
        found = super().classify(X)
        sure = np.array([0.4 if x in self.doubtful else 0.99 for x in X], np.float32)
        return Predictions(
            images=found.images,
            classes=found.classes,
            codes=found.codes,
            confidence_all=sure,
            status_codes=found.status_codes,
            columns={"cost_usd": [Decimal(0)] * len(X)},
        )


MANY = [f"{a} {w} {n} {i}" for a in ANIMALS for w in PLACES for n in PLACES for i in range(5)]
TRUE = [text.split()[0] for text in MANY]
DOUBTFUL, WRONG = tuple(MANY[::5]), tuple(MANY[::10])


def cascade(**params):
    teacher = Oracle()
    made = CascadeClassifier([Unsure(DOUBTFUL, WRONG), teacher], **params)
    return made, teacher


def test_a_cascade_sends_on_what_is_doubtful_and_keeps_its_promise():
    made, teacher = cascade(target_accuracy=0.95)
    made.fit(MANY, TRUE)
    assert made.promise_.ok
    assert made.promise_.kind == "accuracy"
    assert len(teacher.asked) == len(MANY)  # calibration
    teacher.asked.clear()
    found = made.classify(MANY)
    assert (found.label == np.array(TRUE)).all()
    assert sorted(teacher.asked) == sorted(DOUBTFUL)
    tiers = dict(zip(MANY, found.columns["tier"], strict=True))
    assert {x for x, tier in tiers.items() if tier == 2} == set(DOUBTFUL)
    assert sum(found.columns["cost_usd"]) == Decimal("0.01") * len(DOUBTFUL)
    assert made.cost_ == Decimal("0.01") * len(MANY)


def test_an_agreement_needs_no_gold():
    made, _ = cascade(max_loss=0.05)
    made.fit(MANY)
    assert made.promise_.kind == "agreement"
    assert made.promise_.ok
    gold, _ = cascade(max_loss=0.05)
    assert gold.fit(MANY, TRUE).promise_.kind == "loss"


def test_too_few_images_are_refused_before_anything_is_asked():
    made, teacher = cascade(target_accuracy=0.99)
    with pytest.raises(InputError, match="takes at least 299"):
        made.fit(MANY[:100], TRUE[:100])
    assert teacher.asked == []
    made, teacher = cascade(max_loss=0.02)
    with pytest.raises(InputError, match="takes at least 183"):
        made.fit(MANY[:150], TRUE[:150])
    assert teacher.asked == []


def test_where_nothing_can_be_promised_everything_goes_on():
    made = CascadeClassifier(
        [Unsure(MANY, MANY), Oracle(wrong=MANY[::3])], target_accuracy=0.95
    ).fit(MANY, TRUE)
    assert not made.promise_.ok
    assert "No promise" in made.promise_.sentence()
    assert made.price_share(1000) is None
    assert set(made.classify(MANY[:10]).columns["tier"]) == {2}


def test_a_person_as_last_tier_gets_abstained_rows():
    first = Unsure(DOUBTFUL, WRONG)
    made = CascadeClassifier([first], target_accuracy=0.95, last="review").fit(MANY, TRUE)
    assert made.promise_.kind == "review"
    found = made.classify(MANY)
    waiting = {MANY[i] for i in np.flatnonzero(found.status == "abstained")}
    assert waiting == set(DOUBTFUL)
    assert (found.label[found.ok] == np.array(TRUE)[found.ok]).all()


def test_a_promise_dies_with_its_parts():
    first = DistilledClassifier(Oracle(), WORDS, budget=30, store=None).fit(X)
    made = CascadeClassifier([first, Oracle()], target_accuracy=0.8).fit(MANY, TRUE)
    assert made.holds_
    first.fit(X[::-1], Y[::-1])
    assert not made.holds_
    with pytest.raises(InputError, match="promise no longer holds"):
        made.classify(X)


def test_the_price_is_that_of_the_formula():
    made, _ = cascade(target_accuracy=0.95)
    made.fit(MANY, TRUE)
    assert made.promise_.routed == pytest.approx(0.2)
    assert made.price_share(200_000, 400) == pytest.approx((400 + 240 + 0.2 * 200_000) / 200_000)


def test_a_moved_share_raises_an_alarm():
    made, _ = cascade(target_accuracy=0.95)
    made.fit(MANY, TRUE)
    assert not made.drift(made.classify(MANY)).alarm
    moved = made.drift(made.classify(list(DOUBTFUL)))
    assert moved.alarm
    assert moved.routed == 1.0


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({}, "what is to be promised"),
        ({"target_accuracy": 0.9, "max_loss": 0.1}, "what is to be promised"),
        ({"target_accuracy": 1.0}, "between 0 and 1"),
        ({"target_accuracy": 0.9, "confidence": 1}, "above 0 and below 1"),
        ({"target_accuracy": 0.9, "last": "guess"}, "review"),
        ({"target_accuracy": 0.9, "starts": 3}, "1, 2 or 'auto'"),
    ],
)
def test_a_cascade_says_what_is_not_allowed(params, match):
    made, _ = cascade(**params)
    with pytest.raises((InputError, UnknownNameError), match=match):
        made.fit(MANY, TRUE)
    with pytest.raises(InputError, match="needs 2 tiers"):
        CascadeClassifier([Oracle()], target_accuracy=0.9).fit(MANY, TRUE)
    with pytest.raises(InputError, match="needs gold labels"):
        cascade(target_accuracy=0.9)[0].fit(MANY)


def test_tiers_with_other_labels_are_refused():
    other = ZeroShotClassifier(WORDS, labels=["cat", "dog"], store=None).fit()
    with pytest.raises(InputError, match="same labels"):
        CascadeClassifier([Oracle(), other], target_accuracy=0.9).fit(MANY, TRUE)
