"""audit(): planted biases are found, a fair model passes, nothing is paid twice; also over HTTP."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import numpy as np
import pytest
from PIL import Image

from showtell.classify import DirectClassifier, FewShotClassifier, InContextClassifier
from showtell.classify.asking.variants import PromptArm, ask_arms
from showtell.datasets import Dataset
from showtell.errors import BudgetError, InputError, SavedFolderError, UnknownNameError
from showtell.evaluate import Audit, audit, audit_requests
from showtell.media import content_hash
from showtell.mllm.call.cache import AnswerCache
from showtell.mllm.model import Model

pytest.importorskip("starlette", reason="needs the extra mllm")

from tests.asked import asked
from tests.evaluate.audit_engine import Bias, Engine

LABELS = ("lynx", "marten", "otter", "polecat", "stoat", "weasel")
MISTAKES = 9  # every so manieth picture is taken for something else


def picture(n):
    pixels = np.random.default_rng(n).integers(0, 255, (24, 24, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


N = 60
IMAGES = [picture(n) for n in range(N)]
TRUTH = [LABELS[n % len(LABELS)] for n in range(N)]
SHOTS = [picture(1000 + n) for n in range(2 * len(LABELS))]
SHOT_LABELS = [LABELS[n % len(LABELS)] for n in range(len(SHOTS))]
DATA = Dataset(
    images=IMAGES,
    codes=np.array([LABELS.index(t) for t in TRUTH], np.int32),
    labels=LABELS,
    name="martens",
)


def knows():
    """What the mllm takes each picture for."""
    seen = {content_hash(i): t for i, t in zip(IMAGES + SHOTS, TRUTH + SHOT_LABELS, strict=True)}
    for n in range(0, N, MISTAKES):
        seen[content_hash(IMAGES[n])] = LABELS[(n + 1) % len(LABELS)]
    return seen


def model(**settings):
    return Engine(knows(), **settings)


def in_context(mllm, **settings):
    asked_model, settings = asked(mllm, {"cache": None, "random_state": 0} | settings)
    return InContextClassifier(asked_model, shots=1, **settings).fit(SHOTS, SHOT_LABELS)


def direct(mllm, **settings):
    asked_model, settings = asked(mllm, {"cache": None, "random_state": 0} | settings)
    return DirectClassifier(asked_model, labels=list(LABELS), **settings).fit()


def test_a_fair_model_passes_every_probe():
    mllm = model()
    found = audit(in_context(mllm), DATA, random_state=3)
    assert [p.name for p in found.probes] == ["example", "position", "order", "majority", "names"]
    assert {p.verdict for p in found.probes} == {"pass"}, str(found)
    assert found.biased == ()
    assert found.flips == ()
    assert found.n_failed == 0
    usual = found.arms[0]
    assert (usual.kind, usual.n) == ("base", N)
    assert usual.accuracy == pytest.approx(1 - len(range(0, N, MISTAKES)) / N)
    assert found.n_requests - found.n_from_cache == len(mllm.requests)
    assert {r.n_queries for r in mllm.requests} == {1}
    assert found.cost_usd == Decimal("0.001") * len(mllm.requests)


@pytest.mark.parametrize(
    ("bias", "probe"),
    [
        ({"example": 0.15}, "example"),
        ({"first": 0.15}, "position"),
        ({"last": 0.15}, "position"),
        ({"recent": 0.15}, "order"),
        ({"majority": 0.15}, "majority"),
    ],
)
def test_a_planted_bias_is_found_and_no_other(bias, probe):
    mllm = model(bias=Bias(**bias))
    found = audit(in_context(mllm), DATA)
    assert found.biased == (probe,), str(found)
    # what is left to pull at are the answers that it does not hit by itself
    assert found[probe].effect == pytest.approx(0.15, abs=0.06)
    assert found[probe].low < 0.15 < found[probe].high
    assert found.flips
    assert all(len(flip.answers) >= 2 for flip in found.flips)


def test_a_prior_for_a_name_shows_in_names_and_in_the_attractors():
    mllm = model(bias=Bias(prior={"otter": 7.0}))
    found = audit(in_context(mllm), DATA)
    assert found.biased == ("names",)
    assert found["names"].effect < -0.5  # real names mislead
    top = found.attractors[0]
    assert (top.label, top.n_predicted, top.share) == ("otter", N, 1.0)
    assert found.total_variation == pytest.approx(1 - 1 / len(LABELS))


def test_without_demonstrations_only_example_and_position_are_asked():
    mllm = model()
    found = audit(direct(mllm), DATA, n=12)
    assert [p.name for p in found.probes] == ["example", "position"]
    with pytest.raises(InputError, match="InContextClassifier"):
        audit(direct(mllm), DATA, probes=["order"])


def test_arms_differ_in_one_thing_and_the_true_label_is_never_named():
    mllm = model()
    audit(in_context(mllm), DATA, n=6, probes=["example", "position", "names"])
    by_digest = {content_hash(i): t for i, t in zip(IMAGES, TRUTH, strict=True)}
    seen = set()
    for request in mllm.requests:
        text = request.system
        truth = by_digest[request.parts[-3].digest]
        assert f'"label": "{truth}"' not in text
        named = [label for label in (*LABELS, "zorb") if f'"label": "{label}"' in text]
        assert len(named) <= 1
        listed = text.split("Labels:\n")[1].split("\nEnd of labels.")[0].splitlines()
        neutral = not set(listed) & {f"- {label}" for label in LABELS}
        rotated = listed[0] != "- lynx" and not neutral
        assert bool(named) + rotated + neutral <= 1
        seen.add((tuple(named), listed[0], neutral))
    assert len({s[0] for s in seen}) == 1 + 1 + len(LABELS)
    assert {s[1] for s in seen if not s[2]} == {f"- {label}" for label in LABELS}
    assert any(s[2] for s in seen)


def test_calls_are_in_no_order_of_arms():
    mllm = model()
    audit(direct(mllm, max_concurrency=1), DATA, n=12, probes=["example"])
    named = ['"label": "zorb"' in r.system for r in mllm.requests]
    where = np.flatnonzero(named)
    assert len(where) == 12
    assert where.max() - where.min() > len(named) / 2


def test_what_fails_is_counted_and_left_out():
    mllm = model(out_of_set=0.3)
    found = audit(direct(mllm), DATA, n=30)
    assert found.n_failed > 0
    assert set(found.failures) == {"out_of_set"}
    assert found["example"].n_failed + found["position"].n_failed >= found.n_failed
    assert found["position"].n_answers < 30 * len(LABELS)
    assert not found.biased


def test_an_image_that_cannot_be_read_fails_in_every_arm():
    found = audit(direct(model()), [*IMAGES[:6], b"no image"], [*TRUTH[:6], "lynx"])
    arms = 1 + 1 + (len(LABELS) - 1) + (len(LABELS) - 1)
    assert found.failures == {"image": arms}
    assert found["position"].n_images == 6


def test_a_second_audit_costs_nothing(tmp_path):
    mllm = model()
    cache = AnswerCache(tmp_path / "answers.db")
    if cache:
        first = audit(in_context(mllm, cache=cache), DATA, n=12)
        sent = len(mllm.requests)
        again = audit(in_context(mllm, cache=cache), DATA, n=12)
    assert len(mllm.requests) == sent
    assert again.n_from_cache == again.n_requests == first.n_requests
    assert again.cost_usd == 0
    assert [p.p_value for p in again.probes] == [p.p_value for p in first.probes]


def test_one_cap_holds_for_all_steps_and_the_audit_goes_on_from_there(tmp_path):
    mllm = model()
    whole = len({r.key for r in audit_requests(in_context(mllm), DATA, n=12)})
    folder = tmp_path / "run"
    with pytest.raises(BudgetError):
        audit(in_context(mllm, max_requests=whole - 5, run_folder=folder), DATA, n=12)
    assert len(mllm.requests) <= whole - 5
    found = audit(in_context(mllm, max_requests=whole, run_folder=folder), DATA, n=12)
    assert len(mllm.requests) == whole
    assert found.n_failed == 0


def test_the_requests_of_an_audit_are_known_before_it():
    mllm = model()
    planned = [r.key for r in audit_requests(in_context(mllm), DATA, n=12)]
    assert len(mllm.requests) == 0
    found = audit(in_context(mllm), DATA, n=12)
    assert len(planned) == found.n_requests
    assert set(planned) == {r.key for r in mllm.requests}


def test_a_saved_audit_comes_back_whole(tmp_path):
    found = audit(in_context(model(bias=Bias(first=0.3))), DATA, n=24)
    path = found.save(tmp_path / "made" / "audit.json")
    again = Audit.load(path)
    assert again.to_dict() == found.to_dict()
    assert str(again) == str(found)
    assert isinstance(again.cost_usd, Decimal | None)
    json.loads(path.read_text())
    path.write_text("{}")
    with pytest.raises(SavedFolderError, match="no saved audit"):
        Audit.load(path)


def test_corrections_are_measured_through_the_classifier():
    mllm = model(bias=Bias(first=0.3))
    found = audit(direct(mllm), DATA, n=36, probes=["position"], corrections=["rotations"])
    (gain,) = found.gains
    assert gain.name == "rotations='all'"
    assert gain.accuracy > gain.accuracy_before
    assert gain.flip_rate_before > 0.2
    assert gain.flip_rate <= 0.02
    assert gain.requests_each == len(LABELS)


def test_an_audit_of_neutral_names_compares_with_real_ones():
    found = audit(in_context(model(), anonymise=True), DATA, n=18)
    assert {p.verdict for p in found.probes if p.name != "names"} <= {"pass", "inconclusive"}
    assert found["names"].effect == 0
    assert found.run["neutral_names"]


def test_what_cannot_be_audited_is_refused():
    mllm = model()
    with pytest.raises(InputError, match="FewShotClassifier"):
        audit(FewShotClassifier("mini"), DATA)
    with pytest.raises(InputError, match="n_samples"):
        audit(direct(mllm, n_samples=3), DATA, n=6)
    with pytest.raises(InputError, match="shortlist"):
        audit(direct(mllm, shortlist=2), DATA, n=6)
    with pytest.raises(UnknownNameError, match="probe"):
        audit(direct(mllm), DATA, probes=["colour"])
    with pytest.raises(UnknownNameError, match="correction"):
        audit(direct(mllm), DATA, corrections=["hope"])
    with pytest.raises(InputError, match="selection"):
        audit(in_context(mllm, selection="nearest", encoder="mini"), DATA, n=6)


def test_asking_under_arms_keeps_images_and_arms_apart():
    clf = direct(model())
    arms = [PromptArm(name="a"), PromptArm(name="b", example="lynx")]
    wanted = np.ones((N, 2), bool)
    wanted[::2, 1] = False
    found = ask_arms(clf, IMAGES, arms, wanted=wanted)
    expected = [LABELS.index(knows()[content_hash(i)]) for i in IMAGES]
    np.testing.assert_array_equal(found.codes[:, 0], expected)
    np.testing.assert_array_equal(found.codes[1::2, 1], expected[1::2])
    assert (found.codes[::2, 1] == -1).all()
    assert found.n_requests == wanted.sum()
    with pytest.raises(InputError, match="shape"):
        ask_arms(clf, IMAGES, arms, wanted=wanted[:3])


def test_the_same_over_http():
    pytest.importorskip("openai", reason="needs the extra openai")
    from showtell.testing.servers import LocalServer

    with LocalServer("openai", truth=knows(), bias=Bias(example=0.4)) as server:
        clf = DirectClassifier(
            Model("openai:try", base_url=server.base_url, cache=None), labels=list(LABELS)
        ).fit()
        found = audit(clf, DATA, n=24)
        assert found.biased == ("example",), str(found)
        assert found.n_requests == server.stats.n_answered
        assert found.run["model"] == "openai:try"
