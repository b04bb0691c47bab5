"""Cascades of several tiers, with a person at the end, saved whole and loaded again."""

import json
from decimal import Decimal

import numpy as np
import pytest
from tests.classify.test_classify_distill import (
    ANIMALS,
    DOUBTFUL,
    MANY,
    TRUE,
    WORDS,
    Oracle,
    Unsure,
    X,
    Y,
)

from showtell.classify import ZeroShotClassifier, load_classifier
from showtell.classify.chain.cascade import CascadeClassifier
from showtell.classify.chain.distill import DistilledClassifier
from showtell.classify.chain.policies import candidate_policies, undominated
from showtell.classify.chain.promise import Promise
from showtell.classify.predictions import Predictions
from showtell.errors import BudgetError, InputError, SavedFolderError
from showtell.testing import WordEncoder


class Priced(Unsure):
    """Unsure of some, at a price; keeps what it was asked."""

    def __init__(self, doubtful, wrong, price):
        super().__init__(doubtful, wrong)
        self.price = Decimal(price)

    def classify(self, X, *, progress=None):
        found = super().classify(X)
        found.columns["cost_usd"] = [self.price] * len(X)
        return found


HARD = DOUBTFUL[::2]
"""What the middle tier is unsure of too."""


def three(**params):
    student = Priced(DOUBTFUL, DOUBTFUL, "0")
    middle, last = Priced(HARD, HARD, "0.001"), Oracle(price=Decimal("0.05"))
    return CascadeClassifier([student, middle, last], **{"target_accuracy": 0.9, **params})


def test_every_tier_is_asked_about_what_those_before_are_unsure_of():
    made = three().fit(MANY, TRUE)
    assert made.promise_.ok
    assert len(made.thresholds_) == 2
    student, middle, last = made.tiers
    for tier in made.tiers:
        tier.asked.clear()
    found = made.classify(MANY)
    assert (found.label == np.array(TRUE)).all()
    assert len(student.asked) == len(MANY)
    assert sorted(middle.asked) == sorted(DOUBTFUL)
    assert sorted(last.asked) == sorted(HARD)
    tiers = np.array(found.columns["tier"])
    assert [(tiers == k).sum() for k in (1, 2, 3)] == [
        len(MANY) - len(DOUBTFUL), len(DOUBTFUL) - len(HARD), len(HARD),
    ]  # fmt: skip
    paid = Decimal("0.001") * len(DOUBTFUL) + Decimal("0.05") * len(HARD)
    assert sum(found.columns["cost_usd"]) == paid
    assert made.shares_ == pytest.approx((1.0, 0.2, 0.1))
    assert made.tier_costs_ == (Decimal(0), Decimal("0.001"), Decimal("0.05"))


def test_a_person_comes_after_the_last_machine():
    student, middle = Priced(DOUBTFUL, DOUBTFUL, "0"), Priced(HARD, HARD, "0.001")
    made = CascadeClassifier([student, middle], target_accuracy=0.9, last="review")
    made.fit(MANY, TRUE)
    assert made.promise_.kind == "review"
    found = made.classify(MANY)
    waiting = {MANY[i] for i in np.flatnonzero(found.status == "abstained")}
    assert waiting == set(HARD)
    assert {t for t, s in zip(found.columns["tier"], found.status, strict=True) if s != "ok"} == {3}


def test_several_thresholds_need_a_half_to_choose_and_a_half_to_test():
    made = three()
    with pytest.raises(InputError, match="give 200 or more"):
        made.fit(MANY[:199], TRUE[:199])
    assert not any(tier.asked for tier in made.tiers)
    with pytest.raises(InputError, match="takes at least 298"):
        three(target_accuracy=0.98).fit(MANY, TRUE)
    assert three().fit(MANY, TRUE).promise_.n == len(MANY) // 2


def test_where_no_policy_passes_everything_goes_to_the_end():
    last = Oracle(wrong=MANY[::2])
    made = CascadeClassifier(
        [Priced(MANY, MANY, "0"), Priced(MANY, MANY, "1"), last], target_accuracy=0.9
    ).fit(MANY, TRUE)
    assert not made.promise_.ok
    assert set(made.classify(MANY[:9]).columns["tier"]) == {3}


def test_policies_are_fixed_before_any_label_is_seen():
    policies = candidate_policies(None, 2)
    assert len(policies) == 7 * 5
    assert (np.inf, np.inf) in policies  # everything to the last
    assert (-np.inf, -np.inf) in policies  # nothing goes on
    kept = undominated(np.array([3.0, 1.0, 2.0, 1.0]), np.array([1.0, 9.0, 5.0, 8.0]))
    assert kept.tolist() == [3, 2, 0]


@pytest.mark.slow
def test_a_promise_over_three_tiers_is_broken_in_at_most_a_share_of_delta():
    """2,000 draws: the accuracy on all traffic is below the promise in at most 5 % of them."""
    rng = np.random.default_rng(0)
    n, broken, given = 4000, 0, 0
    sure = rng.random((2, n))
    right = np.stack(
        [rng.random(n) < 0.55 + 0.44 * sure[0], rng.random(n) < 0.7 + 0.29 * sure[1],
         rng.random(n) < 0.97]
    )  # fmt: skip

    class Drawn(Oracle):
        def __init__(self, k):
            super().__init__()
            self.k = k

        def classify(self, X, *, progress=None):
            rows = np.array([int(x.split()[1]) for x in X])
            codes = np.where(right[self.k][rows], 0, 1).astype(np.int32)
            own = sure[self.k][rows] if self.k < 2 else np.ones(len(rows))
            return Predictions(
                images=list(X), classes=ANIMALS, codes=codes,
                confidence_all=own.astype(np.float32), status_codes=np.zeros(len(X), np.int8),
            )  # fmt: skip

    tiers = [Drawn(0), Drawn(1), Drawn(2)]
    everything = [f"cat {i}" for i in range(n)]
    for _ in range(300):
        drawn = rng.integers(n, size=240)
        made = CascadeClassifier(tiers, target_accuracy=0.9)
        made.fit([everything[i] for i in drawn], ["cat"] * len(drawn))
        if made.promise_.ok:
            given += 1
            broken += (made.classify(everything).label == "cat").mean() < 0.9
    assert given > 100
    assert broken / 300 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)


def test_what_was_answered_before_a_cap_is_in_its_place():
    class Capped(Oracle):
        def classify(self, X, *, progress=None):
            found = super().classify(X)
            status = found.status_codes.copy()
            status[2:] = 2
            partial = Predictions(
                images=found.images, classes=found.classes,
                codes=np.where(status == 0, found.codes, -1).astype(np.int32),
                confidence_all=found.confidence_all, status_codes=status,
                errors=dict.fromkeys(range(2, len(X)), "stopped"),
                columns=found.columns,
            )  # fmt: skip
            error = BudgetError("the cap")
            error.predictions = partial
            raise error

    made = CascadeClassifier([Unsure(DOUBTFUL, DOUBTFUL), Oracle()], target_accuracy=0.95)
    made.fit(MANY, TRUE)
    made.tiers = [made.tiers[0], Capped()]
    made.promise_ = Promise.from_record({**made.promise_.to_record(), "parts": made._parts()})
    with pytest.raises(BudgetError) as stopped:
        made.classify(MANY)
    found = stopped.value.predictions
    assert len(found) == len(MANY)
    assert found.counts == {"ok": len(MANY) - len(DOUBTFUL) + 2, "abstained": 0,
                            "error": len(DOUBTFUL) - 2}  # fmt: skip


# Saving


def two_tiers():
    student = DistilledClassifier(Oracle(), WORDS, budget=30, store=None, random_state=3).fit(X)
    teacher = ZeroShotClassifier(WORDS, labels=list(ANIMALS), store=None).fit()
    return CascadeClassifier([student, teacher], target_accuracy=0.8).fit(MANY, TRUE)


def test_a_saved_cascade_answers_the_same_and_keeps_its_promise(tmp_path):
    made = two_tiers()
    made.save(tmp_path / "cascade")
    assert sorted(p.name for p in (tmp_path / "cascade").iterdir()) == [
        "arrays.npz", "classifier.json",
    ]  # fmt: skip
    again = load_classifier(tmp_path / "cascade", encoder=WORDS)
    assert again.promise_ == made.promise_
    assert again.holds_
    assert again.thresholds_ == made.thresholds_
    assert (again.routed_, again.shares_) == (made.routed_, made.shares_)
    before, after = made.classify(MANY), again.classify(MANY)
    assert list(before.rows()) == list(after.rows())
    assert again.price_share(1000, 30) == made.price_share(1000, 30)
    again.save(tmp_path / "cascade")  # and once more
    assert load_classifier(tmp_path / "cascade", encoder=WORDS).holds_


def test_a_cascade_without_a_promise_and_one_with_a_person_are_saved_too(tmp_path):
    student = DistilledClassifier(Oracle(), WORDS, budget=30, store=None).fit(X)
    wrong = ["dog" if t == "cat" else "cat" for t in TRUE]
    for name, y in (("none", wrong), ("person", TRUE)):
        made = CascadeClassifier([student], target_accuracy=0.9, last="review").fit(MANY, y)
        made.save(tmp_path / name)
        again = load_classifier(tmp_path / name, encoder=WORDS)
        assert again.promise_ == made.promise_
        assert list(again.classify(X).rows()) == list(made.classify(X).rows())


def test_limits_and_caches_of_a_model_are_no_part_of_a_promise():
    from showtell import DirectClassifier, Model
    from showtell.classify.chain.cascade_saved import fingerprint

    plain = DirectClassifier("openai:gpt-4.1-mini", labels=list(ANIMALS)).fit()
    capped = DirectClassifier(
        Model("openai:gpt-4.1-mini", max_cost="1", cache=None), labels=list(ANIMALS)
    ).fit()
    other = DirectClassifier("openai:gpt-4.1", labels=list(ANIMALS)).fit()
    asked = DirectClassifier("openai:gpt-4.1-mini", labels=list(ANIMALS), role="a vet").fit()
    assert fingerprint(plain) == fingerprint(capped)
    assert len({fingerprint(c) for c in (plain, other, asked)}) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["values"].update(thresholds=["nan"]),
        lambda record: record["values"].update(thresholds=[0.5, 0.5]),
        lambda record: record["values"].update(tiers=[]),
        lambda record: record["values"].update(promise={"kind": "hope"}),
        lambda record: record["values"]["tiers"].__setitem__(0, "a student"),
        lambda record: record["values"]["tiers"][0].update({"class": "Sneaky"}),
    ],
)
def test_a_damaged_cascade_is_refused_in_one_line(tmp_path, change):
    from showtell.records.saved import digest_of

    two_tiers().save(tmp_path / "cascade")
    file = tmp_path / "cascade" / "classifier.json"
    record = json.loads(file.read_text())
    del record["sha256"]
    change(record)
    record["sha256"] = digest_of(record)
    file.write_text(json.dumps(record))
    with pytest.raises(SavedFolderError) as refused:
        load_classifier(tmp_path / "cascade", encoder=WORDS)
    assert "\n" not in str(refused.value)


def test_a_tier_that_is_another_now_ends_the_promise(tmp_path):
    made = two_tiers()
    made.save(tmp_path / "cascade")
    again = load_classifier(tmp_path / "cascade", encoder=WORDS)
    again.tiers[0].fit(X[::-1], Y[::-1])
    assert not again.holds_
    with pytest.raises(InputError, match="promise no longer holds"):
        again.classify(X)
    other = WordEncoder([*ANIMALS, "grass"])
    with pytest.raises(SavedFolderError, match="fingerprint"):
        load_classifier(tmp_path / "cascade", encoder=other)


def test_the_price_says_what_it_speaks_of():
    made = two_tiers()
    text = made.price_sentence(200_000, 400)
    assert "the cascade, with its promise" in text
    assert "The student alone, without a promise, would be 0.2 %" in text
    n_cal, routed = made.routed_[1], made.promise_.routed
    assert f"{100 * (400 + n_cal + routed * 200_000) / 200_000:.3g} %" in text
