"""Power and false alarms over 100 seeds: the servers' decision engine against the verdicts.

Answers come from the engine that the local servers answer with, statistics and verdicts are those
of `audit`; only the wire is left out. A mistake in ten is planted in every seed, and answers vary
without a reason in 5 % of the questions.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra mllm")

from tests.evaluate.audit_engine import Bias, answers, balanced

from showtell.evaluate import audit_size
from showtell.evaluate.audits.plan import plan_audit
from showtell.evaluate.audits.verdicts import arm_scores, judge

N_SEEDS, N_PERMUTATIONS, NOISE = 100, 999, 0.05
PLANTED = (
    ("example", {"example": 0.05}),
    ("position", {"first": 0.05}),
    ("position", {"last": 0.05}),
    ("order", {"recent": 0.05}),
    ("majority", {"majority": 0.05}),
)


def verdicts(seed, *, probes=None, n_labels=10, noise=NOISE, **bias):
    labels = [f"creature {chr(97 + i)}x" for i in range(n_labels)]
    shown = list(range(n_labels))
    plan = plan_audit(labels, shown, probes=probes, random_state=seed)
    truth = balanced(audit_size(n_labels), n_labels, seed)
    settings = {"bias": Bias(noise=noise, **bias), "seed": seed}
    codes = answers(plan, shown, truth, **settings)
    neutral = None
    if "names" in plan.probes:
        neutral = answers(plan, shown, truth, neutral=True, **settings)
    found = judge(
        plan, codes, truth, neutral=neutral, n_permutations=N_PERMUTATIONS, random_state=seed
    )
    return {probe.name: probe for probe in found}


@pytest.mark.slow
@pytest.mark.parametrize(("probe", "bias"), PLANTED, ids=lambda v: str(v))
def test_a_pull_of_five_per_cent_is_found_95_times_in_100(probe, bias):
    # Correction for five probes is the hardest case, so p-values are held to a fifth of it.
    found = [verdicts(seed, probes=[probe], **bias)[probe] for seed in range(N_SEEDS)]
    hits = [p.verdict == "biased" and 5 * p.p_value < 0.01 for p in found]
    assert np.mean(hits) >= 0.95
    # what is planted is what is measured, less the answers that are right by the pull itself
    assert np.mean([p.effect for p in found]) == pytest.approx(0.05, abs=0.01)


@pytest.mark.slow
def test_a_fair_model_raises_no_alarm_in_100_whole_audits():
    alarms = [
        [name for name, probe in verdicts(seed).items() if probe.verdict == "biased"]
        for seed in range(N_SEEDS)
    ]
    assert sum(map(bool, alarms)) <= 0.05 * N_SEEDS


@pytest.mark.parametrize("n_labels", [3, 5])
def test_fewer_labels_take_more_images_and_find_as_much(n_labels):
    seeds = range(12)
    found = [verdicts(s, probes=["order"], n_labels=n_labels, recent=0.05) for s in seeds]
    assert sum(p["order"].verdict == "biased" for p in found) >= 11


@pytest.mark.slow
def test_intervals_hold_the_planted_effect():
    """The bootstrap interval of a planted pull covers it about 95 times in 100."""
    inside = 0
    for seed in range(N_SEEDS):
        probe = verdicts(seed, probes=["order"], noise=0.0, recent=0.1)["order"]
        inside += probe.low <= 0.1 <= probe.high
    assert inside >= 88


def test_a_graded_preference_for_early_places_is_found():
    """`Bias.order` adds logits that fade down the list; the engine is sure, so it takes many."""
    probe = verdicts(0, probes=["position"], order=12.0)["position"]
    assert probe.verdict == "biased"
    assert probe.details["favoured"] == 0
    assert probe.details["slope"] < 0


def test_a_prior_is_no_bias_of_the_prompt_but_shows_in_names():
    found = verdicts(0, prior={"creature ax": 8.0}, noise=0.0)
    assert [n for n, p in found.items() if p.verdict == "biased"] == ["names"]


def test_harm_is_measured_on_the_same_images():
    labels = [f"kind {i}q" for i in range(6)]
    plan = plan_audit(labels, probes=["example"])
    truth = balanced(120, 6, 0)
    codes = answers(plan, [], truth, bias=Bias(example=0.4), seed=0, mistakes=0.0)
    usual, nonce, *named = arm_scores(plan, codes, truth)
    assert (usual.accuracy, nonce.accuracy, nonce.p_value) == (1.0, 1.0, 1.0)
    assert usual.difference is None
    for arm in named:
        assert arm.n == 100  # not about pictures of the label it names
        assert arm.difference == pytest.approx(-arm.n_lost / 100)
        assert arm.n_won == 0
        assert arm.p_value < 1e-5


def test_failures_lower_the_counts_and_nothing_else():
    labels = [f"kind {i}q" for i in range(6)]
    plan = plan_audit(labels, list(range(6)))
    truth = balanced(60, 6, 0)
    codes = answers(plan, list(range(6)), truth, bias=Bias(), seed=0)
    lost = np.random.default_rng(0).random(codes.shape) < 0.2
    found = judge(plan, np.where(lost, -1, codes), truth, neutral=codes[:, 0])
    for probe in found:
        assert probe.verdict != "biased"
        assert probe.n_failed > 0
        assert probe.effect == pytest.approx(0, abs=0.01)


def test_nothing_but_failures_is_not_tested():
    plan = plan_audit(["a", "b", "c"])
    truth = np.array([0, 1, 2])
    found = judge(plan, np.full((3, len(plan.arms)), -1), truth)
    assert {p.verdict for p in found} == {"not tested"}
    assert all("answers" in p.sentence for p in found)


def test_two_labels_leave_the_probes_that_need_three():
    plan = plan_audit(["yes", "no"], [0, 1])
    assert set(plan.untested) == {"example", "majority"}
    truth = np.arange(20) % 2
    codes = np.repeat(truth[:, None], len(plan.arms), axis=1)
    found = {p.name: p.verdict for p in judge(plan, codes, truth, neutral=truth)}
    assert found["example"] == found["majority"] == "not tested"
    assert found["position"] in ("pass", "inconclusive")


def test_plans_hold_what_they_promise():
    shown = [2, 0, 1, 0, 2, 1, 3, 3]
    plan = plan_audit(["a", "b", "c", "d"], shown, random_state=5)
    orders = [plan.arms[i] for i in plan.of_kind("order")]
    assert sorted(shown[arm.shown[-1]] for arm in orders) == [0, 1, 2, 3]
    assert sorted(shown[arm.shown[0]] for arm in orders) == [0, 1, 2, 3]
    for arm in orders:
        assert sorted(arm.shown) == list(range(8))
        assert (shown[arm.shown[-1]], shown[arm.shown[0]]) == (arm.label, arm.first)
    for i in plan.of_kind("majority"):
        arm = plan.arms[i]
        again = [k for k in set(arm.shown) if arm.shown.count(k) == 2]
        assert {shown[k] for k in again} == {arm.label}
        assert len(again) == shown.count(arm.label)
        assert (arm.shown[0], arm.shown[-1]) == (0, 7)
    places = [plan.order(plan.arms[i]).index(2) for i in (0, *plan.of_kind("position"))]
    assert sorted(places) == [0, 1, 2, 3]


def test_large_label_sets_are_audited_by_a_part():
    plan = plan_audit([f"l{i}" for i in range(40)], list(range(40)))
    assert len(plan.of_kind("example")) == len(plan.of_kind("order")) == 10
    assert [plan.arms[i].shift for i in plan.of_kind("position")] == list(range(4, 40, 4))
