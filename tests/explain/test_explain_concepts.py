"""Explanations by clues: sums that add up, the right things named, and named things that matter."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ttest_rel
from sklearn.linear_model import LogisticRegression
from tests.classify.test_classify_concepts import (
    PLANTED,
    X_NEW,
    Y_NEW,
    PlantedEncoder,
    X,
    Y,
    planted,
)

import showtell as st
from showtell.classify import ZeroShotClassifier
from showtell.classify.concepts.classifier import ConceptClassifier
from showtell.datasets import limit_dataset
from showtell.errors import InputError, MediaFormatError
from showtell.explain import (
    Changes,
    Neighbours,
    Swap,
    Waterfall,
    concept_overview,
    explain,
    occlusion_map,
    parts_of,
)

pytest.importorskip("shap")


@pytest.fixture(scope="module", params=["vote", "forest"])
def clf(request):
    return planted(head=request.param).fit(X, Y)


@pytest.fixture(scope="module")
def found(clf):
    return explain(clf, X_NEW[:200], y=Y_NEW[:200], examples=(X, Y), parts=["chances", "clues"])


def falls(explanation):
    return [part for part in explanation.parts if isinstance(part, Waterfall)]


def test_every_waterfall_adds_up_to_the_output_of_its_label(clf, found):
    contributions = clf.contributions(X_NEW[:200])
    classes = clf.classes_.tolist()
    for row, one in enumerate(found):
        for part in falls(one):
            total = part.base + sum(step.contribution for step in part.steps) + part.rest
            assert total == pytest.approx(part.output, abs=1e-4)
            code = classes.index(part.label)
            assert part.output == pytest.approx(contributions.output[row, code], abs=1e-9)
            if clf.head == "forest":
                assert part.output == pytest.approx(one.proba[part.label], abs=1e-4)
            assert part.n_rest + len(part.steps) == len(clf.clues_)


def test_a_wrong_answer_is_compared_with_the_true_label_a_right_one_with_the_next_best(found):
    wrong = [one for one in found if not one.correct]
    right = [one for one in found if one.correct]
    assert wrong
    assert right
    for one in wrong:
        assert [(p.label, p.about) for p in falls(one)] == [
            (one.label, "label"), (one.actual, "actual"),
        ]  # fmt: skip
        assert falls(one)[1].title == f"Why not {one.actual}"
    for one in right:
        assert [p.about for p in falls(one)] == ["label", "rival"]
        assert falls(one)[1].label != one.label


def test_steps_hold_value_and_percentile_of_the_evidence(clf, found):
    (evidence,) = clf.explain(X_NEW[:1])
    by_text = {clue.text: i for i, clue in enumerate(evidence.clues)}
    for step in falls(found[0])[0].steps:
        place = by_text[step.text]
        assert step.part == evidence.clues[place].part
        assert step.value == pytest.approx(float(evidence.values[place]))
        assert step.percentile == pytest.approx(float(evidence.percentiles[place]))


def test_steps_come_by_size_and_the_part_that_matters_is_named(found):
    named = []
    for one in found:
        sizes = [abs(step.contribution) for step in falls(one)[0].steps]
        assert sizes == sorted(sizes, reverse=True)
        named.append(falls(one)[0].steps[0].part)
    assert np.mean([part == ("b",) for part in named]) > 0.9


def test_taking_away_the_clues_that_the_page_names_costs_more_than_taking_others(clf, found):
    rng = np.random.default_rng(0)
    features = clf.features(X_NEW[:200])
    mean = clf.features(X).mean(axis=0)
    column = {clue.text: i for i, clue in enumerate(clf.clues_)}
    codes = np.array([clf.classes_.tolist().index(one.label) for one in found])
    named, others = features.copy(), features.copy()
    for row, one in enumerate(found):
        top = [s for s in falls(one)[0].steps if s.contribution > 0][:3]
        own = [column[step.text] for step in top]
        named[row, own] = mean[own]
        drawn = rng.choice(len(mean), len(own), replace=False)
        others[row, drawn] = mean[drawn]
    rows = np.arange(200)
    before = clf.predict_features(features)[rows, codes]
    costs = [before - clf.predict_features(changed)[rows, codes] for changed in (named, others)]
    assert costs[0].mean() > 2 * max(costs[1].mean(), 0.01)
    assert ttest_rel(*costs, alternative="greater").pvalue < 1e-6


def test_everything_there_is_by_itself(clf):
    (one,) = explain(clf, X_NEW[:1], y=Y_NEW[:1], examples=(X, Y), n_most=3)
    votes = ["bars"] if clf.head == "vote" else []
    assert [p.kind for p in one.parts] == [
        "bars", "waterfall", "waterfall", *votes, "neighbours", "changes",
    ]  # fmt: skip
    alike = one.part("neighbours")
    assert isinstance(alike, Neighbours)
    assert alike.by == "clues"
    (expected,) = clf.alike(X_NEW[:1], n=3)
    assert [n.image for n in alike.neighbours] == [X[near.row] for near in expected]
    assert [n.cosine for n in alike.neighbours] == [near.similarity for near in expected]
    changes = one.part("changes")
    assert isinstance(changes, Changes)
    assert changes.flips
    counter = clf.counterfactual(X_NEW[0], changes.target)
    assert [s.text for s in changes.swaps] == [c.clue.text for c in counter.changes]
    json.dumps(one.to_dict(), allow_nan=False)
    text = str(one)
    assert "of 100)" in text
    assert "What would change it: with" in text


def test_parts_vote_and_the_votes_are_counted():
    clf = planted(head="vote").fit(X, Y)
    (one,) = explain(clf, X_NEW[:1], parts=["votes"])
    (evidence,) = clf.explain(X_NEW[:1])
    bars = one.parts[0].bars
    assert sum(bar.value for bar in bars) == pytest.approx(1)
    assert bars[0].text.split(":")[0] == max(
        (o.label for o in evidence.opinions),
        key=[o.label for o in evidence.opinions].count,
    )
    assert bars[0].shown.endswith("of 3")


def test_without_the_training_images_their_numbers_are_named():
    clf = planted().fit(X, Y)
    (one,) = explain(clf, X_NEW[:1], parts=["alike"])
    assert one.parts[0].neighbours[0].image.startswith("training image ")
    assert one.parts[0].neighbours[0].picture == b""


def test_many_images_leave_the_slow_part_out_unless_asked():
    clf = planted().fit(X, Y)
    many = explain(clf, X_NEW[:101])
    assert all(one.part("changes") is None for one in many)
    few = explain(clf, X_NEW[:2])
    assert all(one.part("changes") is not None for one in few)


def test_many_clues_leave_the_slow_part_out_of_more_than_one_image(monkeypatch):
    clf = planted().fit(X, Y)
    work = 2 * len(clf.selected_) ** 2
    monkeypatch.setattr("showtell.explain.explaining._CHANGES_WORK", work)
    assert all(one.part("changes") is not None for one in explain(clf, X_NEW[:2]))
    assert all(one.part("changes") is None for one in explain(clf, X_NEW[:3]))
    asked = explain(clf, X_NEW[:3], parts=["changes"])
    assert all(one.part("changes") is not None for one in asked)
    monkeypatch.setattr("showtell.explain.explaining._CHANGES_WORK", 1)
    assert explain(clf, X_NEW[:1])[0].part("changes") is not None


def test_many_clues_and_images_are_shuffled_fewer_times(monkeypatch):
    clf = planted().fit(X, Y)
    each = len(clf.selected_) * max(len(X), len(X_NEW))
    said = []
    for work in (100 * each, 3 * each, 1):
        monkeypatch.setattr("showtell.explain.concepts._WORK", work)
        said.append(concept_overview(clf, X_NEW, Y_NEW).n_repeats)
    assert said == [5, 3, 2]
    assert concept_overview(clf, X_NEW, Y_NEW, n_repeats=4).n_repeats == 4


class Careful(PlantedEncoder):
    """Refuses an empty name."""

    def encode_images(self, images):
        if not all(str(image).strip() for image in images):
            raise MediaFormatError("''", "there is nothing")
        return super().encode_images(images)


def test_unusable_images_among_others_keep_their_row():
    clf = ConceptClassifier(Careful(), concepts=PLANTED).fit(X, Y)
    found = explain(clf, [X_NEW[0], "", X_NEW[1]], parts=["clues"])
    assert [one.status for one in found] == ["ok", "error", "ok"]
    alone = explain(clf, [X_NEW[1]], parts=["clues"])
    assert falls(found[2])[0].to_dict() == falls(alone[0])[0].to_dict()


def test_an_estimator_of_ones_own_has_neighbours_and_changes_but_no_shares():
    clf = planted(estimator=LogisticRegression()).fit(X, Y)
    assert parts_of(clf) == ("chances", "alike", "changes")
    (one,) = explain(clf, X_NEW[:1])
    assert [part.kind for part in one.parts] == ["bars", "neighbours", "changes"]
    with pytest.raises(InputError, match="has no 'clues'"):
        explain(clf, X_NEW[:1], parts=["clues"])


def test_the_whole_puts_the_part_that_matters_first_and_mixed_up_pairs_in_order(clf):
    overview = concept_overview(clf, X_NEW, Y_NEW)
    assert overview.domain == "thing"
    assert overview.importances.top("parts")[0].name == "b"
    assert overview.importances.n_samples == len(X_NEW)
    assert [card.label for card in overview.cards] == ["x", "y", "z"]
    counts = [pair.first_as_second + pair.second_as_first for pair in overview.pairs]
    assert counts == sorted(counts, reverse=True)
    assert all(counts)


def test_waterfalls_and_changes_in_every_form(found, tmp_path):
    part = falls(found[0])[0]
    html = str(part.to_html())
    assert html.count("<li>") == len(part.steps) + 1
    assert "style=" not in html
    changes = Changes(
        label="a", target="b", flips=True,
        swaps=(Swap(text="A photo of <i>", part=("x",), before=10.0, after=90.0),),
    )  # fmt: skip
    assert "&lt;i&gt;" in changes.to_html()
    nothing = Changes(label="a", target="b", flips=False, swaps=())
    assert "no small change" in nothing.sentence()
    assert "no small change" in nothing.to_html().lower()
    assert changes.to_dict()["swaps"][0]["after"] == 90.0


# On photos

DOGS = {"domain": "dog", "parts": [
    {"part": "coat", "attributes": {"colour": ["black", "white", "golden", "grey", "brown"],
                                    "length": ["short", "long"],
                                    "texture": ["smooth", "curly", "fluffy"]}},
    {"part": "ear", "attributes": {"shape": ["pointed", "drooping", "folded"]}},
    {"part": "muzzle", "attributes": {"length": ["short", "long"], "shape": ["flat", "square"]}},
    {"part": "eye", "attributes": {"colour": ["blue", "dark brown"]}},
    {"part": "body", "attributes": {"size": ["tiny", "large"], "shape": ["slender", "muscular"]}},
    {"part": "tail", "attributes": {"shape": ["curled", "plumed", "docked"]}},
]}  # fmt: skip


@pytest.mark.data
def test_on_photos_of_dogs_the_named_clues_matter(shared_datasets):
    data = st.load_dataset(shared_datasets / "dog_breeds")
    clf = ConceptClassifier("mini", concepts=DOGS, head="forest", shots=12, random_state=0)
    clf.fit(data.train.images, data.train.y)
    images = [data.test.images[i] for i in np.random.default_rng(0).permutation(245)[:200]]
    found = explain(clf, images, parts=["clues"])
    features, mean = clf.features(images), clf.features(data.train.images).mean(axis=0)
    column = {clue.text: i for i, clue in enumerate(clf.clues_)}
    codes = np.array([clf.classes_.tolist().index(one.label) for one in found])
    rng = np.random.default_rng(1)
    named, others = features.copy(), features.copy()
    for row, one in enumerate(found):
        own = [column[s.text] for s in falls(one)[0].steps if s.contribution > 0][:3]
        named[row, own] = mean[own]
        drawn = rng.choice(len(mean), len(own), replace=False)
        others[row, drawn] = mean[drawn]
    rows = np.arange(200)
    before = clf.predict_features(features)[rows, codes]
    costs = [before - clf.predict_features(changed)[rows, codes] for changed in (named, others)]
    assert costs[0].mean() > 2 * costs[1].mean()
    assert ttest_rel(*costs, alternative="greater").pvalue < 1e-6


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::showtell.classify.LimitsWarning")
def test_on_pasted_photos_the_map_finds_each_animal(shared_datasets):
    data = st.load_dataset(shared_datasets / "animals")
    clf = ZeroShotClassifier("mini", labels=data.labels).fit()
    test = limit_dataset(data.test, 72, 0)
    sure = clf.classify(test.images)
    best: dict[str, int] = {}
    for row in np.argsort(-sure.confidence_all):
        if sure.label[row] == test.y[row]:
            best.setdefault(str(test.y[row]), int(row))
    names = sorted(best)[:6]
    hits = 0
    for k, (ours, theirs) in enumerate(zip(names, names[1:] + names[:1], strict=True)):
        picture = Image.new("RGB", (448, 448), (128, 128, 128))
        corner = (k % 2, k // 2 % 2)
        for name, (x, y) in ((ours, corner), (theirs, (1 - corner[0], 1 - corner[1]))):
            with Image.open(test.images[best[name]]) as photo:
                picture.paste(photo.convert("RGB").resize((224, 224)), (224 * x, 224 * y))
        found = occlusion_map(clf, picture, label=ours, rival=theirs, grid=4)
        row, column = found.ranked()[0]
        hits += (column // 2, row // 2) == corner
    assert hits >= 5
