"""One interface for all classifiers: parts, words, numbers, HTML and drawings."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import numpy as np
import pytest
from tests.asked import asked
from tests.classify.scripted import ScriptedMLLM, dumps, picture
from tests.classify.writer import Writer

import showtell as st
from showtell.classify import (
    DescriptionClassifier,
    DirectClassifier,
    EvolvingDescriptionClassifier,
    FewShotClassifier,
    FusionClassifier,
    InContextClassifier,
    ZeroShotClassifier,
)
from showtell.encoders import EmbeddingStore
from showtell.errors import InputError, UnknownNameError
from showtell.explain import (
    Explanation,
    LeftOut,
    Neighbours,
    explain,
    leave_one_out,
    leave_one_out_requests,
    parts_of,
)
from showtell.mllm import Answer, Usage
from showtell.mllm.model import Model
from showtell.testing import ColourEncoder, WordEncoder, draw_shape

COLOURS = ["red", "blue", "green"]
HOSTILE = "<img src=x onerror=alert(1)>"


def shapes(colours, n=3):
    X = [
        draw_shape(f"{c} square", seed=10 * k + i) for i, c in enumerate(colours) for k in range(n)
    ]
    return X, [c for c in colours for _ in range(n)]


@pytest.fixture(scope="module")
def few_shot():
    X, y = shapes(COLOURS)
    return FewShotClassifier(ColourEncoder(), shots=2, text_weight=None).fit(X, y)


def kinds(explanation):
    return [part.kind for part in explanation.parts]


def test_the_room_is_callable_and_public():
    clf = ZeroShotClassifier(WordEncoder(["cat", "dog"]), labels=["cat", "dog"]).fit()
    (found,) = st.explain(clf, ["a cat"])
    assert isinstance(found, st.Explanation)
    assert found.label == "cat"


def test_zero_shot_has_chances_and_a_map():
    clf = ZeroShotClassifier(ColourEncoder(), labels=COLOURS).fit()
    (found,) = explain(clf, [draw_shape("red circle")], grid=4, n_most=2)
    assert kinds(found) == ["bars", "occlusion"]
    assert found.parts[0].bars[0].text == "red"
    assert found.parts[0].note == "and 1 more label"
    assert sum(found.proba.values()) == pytest.approx(1, abs=1e-5)
    assert found.picture


def test_few_shot_names_the_support_images_it_learned_from(few_shot):
    X, y = shapes(COLOURS)
    query = draw_shape("blue square", seed=99)
    (found,) = explain(few_shot, [query], examples=(X, y), grid=4, n_most=3)
    (near,) = [part for part in found.parts if isinstance(part, Neighbours)]
    encoder = few_shot.encoder
    learned = [X[row] for row in few_shot.support_]
    cosines = encoder.encode_images(learned) @ encoder.encode_images([query])[0]
    assert len(learned) == 6
    assert near.neighbours[0].cosine == pytest.approx(float(cosines.max()), abs=1e-6)
    assert [one.label for one in near.neighbours][:2] == ["blue", "blue"]
    assert near.neighbours[0].picture
    assert "learned from" in near.title
    assert "2 of the 3 most alike are labelled blue" in near.sentence()


def test_examples_that_the_classifier_was_not_fitted_with_are_refused(few_shot):
    with pytest.raises(InputError, match="must be what this classifier was fitted with"):
        explain(
            few_shot, [draw_shape("red circle")], examples=([draw_shape("red circle")], ["red"])
        )
    with pytest.raises(InputError, match="3 images and 1 labels"):
        explain(
            few_shot, [draw_shape("red circle")], examples=([draw_shape("red circle")] * 3, "r")
        )
    with pytest.raises(InputError, match="pair"):
        explain(few_shot, [draw_shape("red circle")], examples="folder")


def test_descriptions_speak_for_and_against_in_the_order_of_the_evidence():
    clf = DescriptionClassifier(
        WordEncoder(["stripes", "spots", "mane", "tail"]),
        descriptions={"tiger": ["stripes", "a tail"], "leopard": ["spots"], "lion": ["a mane"]},
    ).fit()
    (found,) = explain(clf, ["stripes and stripes and a mane"])
    (evidence,) = clf.explain(["stripes and stripes and a mane"])
    ours, theirs = [p for p in found.parts if p.kind == "bars" and p.about != "probabilities"]
    assert (ours.about, theirs.about) == ("descriptions-for", "descriptions-rival")
    assert [b.text for b in ours.bars] == [s.text for s in evidence.spoke]
    assert [b.value for b in theirs.bars] == [s.similarity for s in evidence.rival_spoke]
    assert theirs.title == f"Speaks for {evidence.rival}"


def test_evolved_descriptions_speak_as_any_others():
    clf = EvolvingDescriptionClassifier(
        Model(Writer(words=("red", "blue", "green", "sky")), cache=None),
        ColourEncoder(),
        n_generations=1,
        n_candidates=1,
        n_start=2,
        n_replaced=1,
        n_least=1,
        calibrate=False,
    )
    X, y = shapes(COLOURS)
    clf.fit(X, y)
    (found,) = explain(clf, X[:1], grid=4)
    assert kinds(found) == ["bars", "bars", "bars", "occlusion"]
    (evidence,) = clf.explain(X[:1])
    assert [bar.text for bar in found.parts[1].bars] == [one.text for one in evidence.spoke]


def test_covered_pictures_are_not_kept(tmp_path):
    with EmbeddingStore(tmp_path / "store.sqlite") as store:
        clf = ZeroShotClassifier(ColourEncoder(), labels=COLOURS, store=store).fit()
        clf.classify([draw_shape("red circle")])
        before = store.stats().n_rows
        explain(clf, [draw_shape("red circle")], grid=4)
        assert store.stats().n_rows == before > 0


def test_fusion_shares_add_up_and_words_are_quoted():
    class Looker:
        name = "toy:looker"

        async def ask(self, request):
            guesses = request.schema is not None or "guess-label" in request.parts[0].text
            text = '{"label": "blue"}' if guesses else "a red thing"
            return Answer(text=text, usage=Usage(), finish="stop", model="one")

        async def aclose(self):
            pass

    clf = FusionClassifier(Model(Looker(), cache=None), ColourEncoder(), labels=COLOURS).fit()
    (found,) = explain(clf, [draw_shape("red circle")], grid=4)
    (opinions,) = [p for p in found.parts if getattr(p, "about", "") == "opinions"]
    shares = [float(bar.shown.split(", ")[1].rstrip("%")) for bar in opinions.bars]
    assert sum(shares) == pytest.approx(100, abs=1.5)
    by = {bar.text: bar.value for bar in opinions.bars}
    assert by["the picture itself"] > 0 > by["the model's guess"]
    words = {p.title: p.text for p in found.parts if p.kind == "words"}
    assert words == {"What the model sees": "a red thing", "What the model guesses": "blue"}
    assert found.part("occlusion") is not None


def test_a_model_that_only_answers_has_only_chances():
    clf = DirectClassifier(Model(ScriptedMLLM(), cache=None), labels=COLOURS).fit()
    (found,) = explain(clf, [picture("red")])
    assert kinds(found) == ["bars"]
    assert found.label == "red"


def test_the_true_label_is_the_rival_of_a_wrong_answer(few_shot):
    query = draw_shape("blue square", seed=99)
    right, wrong = explain(few_shot, [query, query], y=["blue", "green"], grid=4)
    assert right.correct is True
    assert wrong.correct is False
    assert wrong.part("occlusion").rival == "green"
    assert "it is green" in str(wrong)


def test_an_unusable_image_is_an_explanation_with_an_error():
    clf = ZeroShotClassifier(WordEncoder(["cat", "dog"]), labels=["cat", "dog"]).fit()
    good, bad = explain(clf, ["a cat", " "])
    assert good.status == "ok"
    assert (bad.status, bad.label, bad.parts) == ("error", "", ())
    assert "empty caption" in str(bad)
    assert bad.to_dict()["confidence"] is None


def test_an_abstention_is_explained_too():
    clf = ZeroShotClassifier(
        WordEncoder(["cat", "dog"]), labels=["cat", "dog"], abstain_below=0.9
    ).fit()
    (found,) = explain(clf, ["a cat and a dog"])
    assert found.status == "abstained"
    assert "no label; the best was cat (50.0%)" in str(found)
    assert kinds(found) == ["bars"]


def test_wrong_parts_say_what_there_is(few_shot):
    with pytest.raises(UnknownNameError, match="occlusion"):
        explain(few_shot, [], parts=["magic"])
    with pytest.raises(InputError, match="give `examples`"):
        explain(few_shot, [], parts=["examples"])
    with pytest.raises(InputError, match="has no 'opinions'; it offers: chances, occlusion"):
        explain(few_shot, [], parts=["opinions"])
    with pytest.raises(InputError, match="2 labels in `y` for 1 images"):
        explain(few_shot, [draw_shape("red circle")], y=["a", "b"])
    with pytest.raises(InputError, match="`n_most`"):
        explain(few_shot, [], n_most=0)


def test_a_map_that_was_asked_for_says_why_there_is_none():
    clf = ZeroShotClassifier(WordEncoder(["cat", "dog"]), labels=["cat", "dog"]).fit()
    (found,) = explain(clf, ["a cat"], parts=["occlusion"])
    assert "not known" in str(found)


def test_parts_follow_the_classifier():
    clf = InContextClassifier(ScriptedMLLM(), shots=1)
    assert parts_of(clf) == ("chances", "examples")
    assert parts_of(clf, asks=True) == ("chances", "examples", "demonstrations")


# In-context: leave-one-out


def in_context(mllm, n=2, **arguments):
    X = [picture(c, 100 * i + k) for i, c in enumerate(COLOURS) for k in range(n)]
    y = [c for c in COLOURS for _ in range(n)]
    arguments = {"shots": n, "cache": None, "encoder": ColourEncoder()} | arguments
    model, arguments = asked(mllm, arguments)
    return InContextClassifier(model, **arguments).fit(X, y)


def test_the_only_red_demonstration_decides_and_is_named_first():
    mllm = ScriptedMLLM()
    clf = in_context(mllm, n=1)
    found = leave_one_out(clf, picture("red", 7))
    first = found.tried[0]
    assert (found.label, first.label) == ("red", "red")
    assert first.answer in ("blue", "green")
    assert [one.answer for one in found.tried[1:]] == ["red", "red"]
    assert len(mllm.requests) == 4
    assert [n - 1 for n in mllm.n_images] == [3, 2, 2, 2]
    assert found.cost_usd == Decimal("0.012")
    assert found.sentence().startswith("1 decide: without demonstration")


def test_of_two_alike_demonstrations_neither_decides():
    clf = in_context(ScriptedMLLM(), n=2)
    found = leave_one_out(clf, picture("red", 7))
    assert {one.answer for one in found.tried} == {"red"}
    assert "stays red without any one of them" in found.sentence()


def test_the_demonstration_that_lowers_the_confidence_most_comes_first():
    def script(n, request, items):
        n_red = sum(label == "red" for _, label in shown_in(request))
        return dumps([item | {"confidence": 9 if n_red == 2 else 4} for item in items])

    clf = in_context(ScriptedMLLM(script), n=2)
    found = leave_one_out(clf, picture("red", 7))
    assert [one.label for one in found.tried[:2]] == ["red", "red"]
    assert found.tried[0].change < -0.2
    assert found.tried[-1].change == pytest.approx(0)
    assert "most costs demonstration" in found.sentence()


def shown_in(request):
    from tests.classify.scripted import Scene

    return Scene(request).shown


def test_the_cap_stops_and_says_how_many_are_left():
    mllm = ScriptedMLLM(name="openai:gpt-4.1-mini", image_token_rule="fixed:100")
    clf = in_context(mllm, n=2)
    found = leave_one_out(clf, picture("red", 7), max_cost="0.016")
    assert 0 < len(found.tried) < 6
    assert found.cost_usd <= Decimal("0.016")
    assert "cap" in found.stopped
    assert found.tried[0].label == "red"  # nearest first
    few = leave_one_out(clf, picture("red", 7), max_requests=3)
    assert len(few.tried) == 2
    assert "4 demonstrations to go" in few.stopped
    nothing = leave_one_out(clf, picture("red", 7), max_cost="0")
    assert nothing.tried == ()
    assert "none was left out" in nothing.sentence()


def test_the_requests_are_those_that_are_sent():
    mllm = ScriptedMLLM()
    clf = in_context(mllm, n=1)
    planned = list(leave_one_out_requests(clf, [picture("red", 7)]))
    assert not mllm.requests
    leave_one_out(clf, picture("red", 7))
    assert [r.key for r in planned] == [r.key for r in mllm.requests]


def test_nearest_demonstrations_are_replaced_by_the_next():
    mllm = ScriptedMLLM()
    clf = in_context(mllm, n=3, shots=1, selection="nearest")
    found = leave_one_out(clf, picture("red", 7))
    assert len(found.tried) == 3
    assert {one.answer for one in found.tried} == {"red"}
    assert {n - 1 for n in mllm.n_images} == {3}


def test_explain_asks_again_only_with_a_cap():
    mllm = ScriptedMLLM()
    clf = in_context(mllm, n=1)
    (found,) = explain(clf, [picture("red", 7)])
    assert kinds(found) == ["bars", "neighbours"]
    assert len(mllm.requests) == 1
    (found,) = explain(clf, [picture("red", 7)], max_requests=9)
    assert kinds(found) == ["bars", "neighbours", "left-out"]
    assert found.part("neighbours").neighbours[0].label == "red"
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_leaving_out_needs_demonstrations_and_an_answer():
    with pytest.raises(InputError, match="shows none"):
        leave_one_out(DirectClassifier(ScriptedMLLM(), labels=COLOURS).fit(), picture("red"))
    bare = InContextClassifier(Model(ScriptedMLLM(), cache=None), shots=0, labels=COLOURS).fit()
    with pytest.raises(InputError, match="no demonstrations"):
        leave_one_out(bare, picture("red"))
    silent = in_context(ScriptedMLLM(lambda n, request, items: "I do not know"), n=1)
    with pytest.raises(InputError, match="no label"):
        leave_one_out(silent, picture("red", 7))


# Forms


@pytest.fixture(scope="module")
def hostile():
    X, _ = shapes(["red", "blue"])
    clf = FewShotClassifier(ColourEncoder(), text_weight=None).fit(X, [HOSTILE] * 3 + ["$b_1"] * 3)
    (found,) = explain(clf, [draw_shape("red circle")], examples=(X, [HOSTILE] * 3 + ["$b_1"] * 3))
    return found


def test_html_is_escaped_and_asks_for_nothing(hostile):
    html = str(hostile.to_html())
    assert HOSTILE not in html
    assert "&lt;img src=x" in html
    for forbidden in ("<script", "http:", "https:", 'onerror=a"'):
        assert forbidden not in html
    assert html.count("style=") == 1  # long names break instead of widening a phone's page
    assert html.startswith('<article class="explanation" style="overflow-wrap: anywhere">')
    assert hostile._repr_html_() == html


def test_plots_have_a_panel_each_and_take_any_text(hostile):
    html = hostile._repr_html_()
    titles = re.findall(r"<h3>(.*?)</h3>", html)
    assert {"Chances", "Most alike among what it learned from"} <= set(titles)
    assert len(titles) == len(hostile.parts)
    empty = Explanation(image="x", method="m", label="")._repr_html_()
    assert "<h3>" not in empty


def test_left_out_draws_and_lays_out():
    found = leave_one_out(in_context(ScriptedMLLM(), n=1), picture("red", 7))
    html = str(found.to_html())
    assert html.count("<img") == 3
    assert "style=" not in html
    assert f"<h3>{found.title}</h3>" in html
    assert isinstance(found, LeftOut)
    assert np.isfinite(found.to_dict()["base"])


def test_words_are_drawn_and_quoted():
    from showtell.explain import Words

    part = Words(title="Says", text=HOSTILE)
    assert "<blockquote>&lt;img" in part.to_html()
    assert part.to_dict()["text"] == HOSTILE


class Stranger:
    """A classifier of somebody else: it has no class of ours, and offers what it has."""

    def __init__(self):
        self.own_ = ZeroShotClassifier(ColourEncoder(), labels=COLOURS).fit()
        self.encoder, self.classes_ = self.own_.encoder, self.own_.classes_

    def classify(self, X, **kwargs):
        return self.own_.classify(X, **kwargs)

    def picture_scorer(self):
        return self.own_.picture_scorer()

    def explained_by(self):
        return ("occlusion",)

    def explained_on_request(self):
        return ()


def test_a_classifier_of_another_make_is_explained_by_what_it_offers():
    clf = Stranger()
    assert parts_of(clf) == ("chances", "occlusion")
    (found,) = explain(clf, [draw_shape("red square")], grid=3)
    assert found.label == "red"
    assert kinds(found) == ["bars", "occlusion"]
    with pytest.raises(InputError, match="Stranger has no 'descriptions'; it offers: chances, occ"):
        explain(clf, [draw_shape("red square")], parts="descriptions")
