"""EvolvingDescriptionClassifier: METHODS 6, with a model that draws words by chance."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from sklearn.base import clone
from tests.asked import asked
from tests.classify.writer import WORDS, Writer

from showtell.classify import (
    DescriptionClassifier,
    EvolvingDescriptionClassifier,
    load_classifier,
    read_evolution,
)
from showtell.classify.evolving.arithmetic import near_misses
from showtell.classify.evolving.questions import Asker, Feedback, Version, read_classes
from showtell.classify.evolving.record import BeforeAfter, Evolution, Generation
from showtell.errors import BudgetError, InputError, MLLMError, SavedFolderError
from showtell.mllm.model import Model
from showtell.prompts import DescriptionSet, load_prompts
from showtell.testing import WordEncoder

LABELS = ["tiger", "leopard", "lion"]
OWN = {"tiger": "stripes", "leopard": "spots", "lion": "mane"}
GROUNDS = ("grass", "sky", "snow", "sand")


def captions(n=6):
    """`n` pictures of each label: its own mark, and surroundings that say nothing."""
    X = [
        f"{OWN[label]} {GROUNDS[(k + i) % 4]} {'whiskers ' * (k // 4)}"
        for i, label in enumerate(LABELS)
        for k in range(n)
    ]
    return X, [label for label in LABELS for _ in range(n)]


def make(model=None, **changes):
    options = {
        "n_generations": 3,
        "n_candidates": 2,
        "n_start": 3,
        "n_replaced": 2,
        "n_least": 1,
        "cache": None,
        "calibrate": False,
    }
    model, options = asked(Writer() if model is None else model, options | changes)
    return EvolvingDescriptionClassifier(model, WordEncoder(WORDS), **options)


def told(clf):
    return [(e.task, e.told, e.said) for g in clf.history_ for e in g.exchanges]


def uncounted(clf):
    """Generations without what they cost in the process that ended them."""
    free = {"n_requests": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": Decimal(0)}
    return [replace(generation, **free) for generation in clf.history_]


# What it does


def test_fitness_never_falls_and_the_words_of_the_end_tell_the_labels_apart():
    clf = make(n_generations=5, patience=None).fit(*captions())
    worth = [(g.fitness, g.margin) for g in clf.history_]
    assert worth == sorted(worth)
    assert worth[-1][0] > worth[0][0]
    for label in LABELS:
        assert OWN[label] in clf.descriptions_[label]
    assert clf.predict(["stripes on sand", "spots", "a mane"]).tolist() == LABELS


def test_a_model_that_changes_nothing_changes_nothing():
    def parrot(_n, asked, _classes):
        return json.dumps(
            {"classes": [{"index": 0, "name": k, "descriptors": list(v[0])}
                         for k, v in asked.current.items()]}
        )  # fmt: skip

    start = {"tiger": ["grass", "stripes"], "leopard": ["sky", "spots"], "lion": ["snow"]}
    clf = make(Writer(parrot), start=start).fit(*captions())
    assert dict(clf.descriptions_) == {k: tuple(v) for k, v in start.items()}
    assert clf.best_generation_ == 0
    assert not any(g.changes for g in clf.history_)


def test_a_crossover_chooses_among_the_words_of_its_candidates_and_parent():
    clf = make(n_generations=4, patience=None).fit(*captions())
    n_mixed = 0
    for before, after in zip(clf.history_, clf.history_[1:], strict=False):
        for cluster in after.clusters:
            said = [json.loads(e.said) for e in after.exchanges if e.labels == cluster.labels]
            for label in cluster.labels:
                pool = set(before.descriptions[label])
                for answer in said:
                    pool |= {w for c in answer["classes"] if c["name"] == label
                             for w in c["descriptors"]}  # fmt: skip
                assert set(after.descriptions[label]) <= pool
            n_mixed += cluster.chosen == "crossover"
    assert n_mixed


def test_the_fitness_of_a_crossover_is_at_least_that_of_every_candidate():
    clf = make(n_generations=3, patience=None).fit(*captions())
    for generation in clf.history_[1:]:
        for cluster in generation.clusters:
            tried = [e.accuracy for e in generation.exchanges if e.labels == cluster.labels]
            assert cluster.after >= max([*tried, cluster.before])


def test_memory_holds_no_word_in_use_and_ten_at_most():
    many = tuple(f"word{i}" for i in range(40)) + WORDS
    clf = make(Writer(words=many), n_generations=6, patience=None, n_start=8).fit(*captions())
    n_noted = 0
    for generation in clf.history_:
        for words in (generation.good_words, generation.bad_words):
            for label, noted in words.items():
                assert not set(noted) & set(generation.descriptions[label])
                assert len(noted) <= 10
                n_noted += len(noted)
    assert n_noted
    for label in LABELS:
        both = set(clf.history_[-1].good_words.get(label, ()))
        assert not both & set(clf.history_[-1].bad_words.get(label, ()))


def test_the_model_is_told_of_confusions_and_of_words_that_did_harm():
    writer = Writer()
    clf = make(writer, n_generations=3, patience=None).fit(*captions())
    first = clf.history_[1].exchanges[0]
    assert first.task == "init"
    assert "Task: mutate" in first.told
    assert "Current:" not in first.told
    second = clf.history_[2].exchanges[0]
    assert second.task == "mutate"
    for label, texts in clf.history_[1].descriptions.items():
        assert f"Current: {label}: {' | '.join(texts)}" in second.told
    bad = clf.history_[1].bad_words
    assert bad
    for label, words in bad.items():
        assert f"Bad words: {label}: {'; '.join(words)}" in second.told


def test_what_is_told_of_confusions_is_what_near_misses_count():
    X, y = captions()
    start = {"tiger": ["grass"], "leopard": ["grass"], "lion": ["mane"]}
    clf = make(start=start, n_generations=1, validation=0).fit(X, y)
    own = clf.at(0)
    rows = WordEncoder(WORDS).encode_images(X)
    scores = rows @ own.prototypes_.T
    counts = near_misses(scores, np.array([clf.classes_.tolist().index(v) for v in y]))
    noted = {(c.label, c.taken_for): c.n_near for c in clf.history_[0].confusions}
    classes = clf.classes_.tolist()
    for i, label in enumerate(classes):
        for j, other in enumerate(classes):
            assert noted.get((label, other), 0) == counts[i, j]
    assert "Confused: tiger: leopard" in clf.history_[1].exchanges[0].told


def test_the_numbers_of_a_generation_are_those_of_its_classifier():
    X, y = captions(8)
    clf = make(n_generations=2, validation=0, shots=None, patience=None).fit(X, y)
    for generation in clf.history_:
        own = clf.at(generation.number)
        scores = WordEncoder(WORDS).encode_images(X) @ own.prototypes_.T
        codes = np.array([clf.classes_.tolist().index(v) for v in y])
        best = np.where(np.arange(3) == codes[:, None], -np.inf, scores).max(axis=1)
        margins = scores[np.arange(len(y)), codes] - best
        assert generation.fitness == pytest.approx((margins > 1e-7).mean())
        assert generation.margin == pytest.approx(margins.mean(), abs=1e-6)
        assert isinstance(own, DescriptionClassifier)


def test_predictions_and_evidence_are_those_of_a_description_classifier():
    clf = make().fit(*captions())
    plain = DescriptionClassifier(
        WordEncoder(WORDS), labels=clf.classes_, descriptions=clf.descriptions_
    ).fit()
    X = ["stripes on grass", "spots", "whiskers and a mane"]
    np.testing.assert_array_equal(clf.predict_proba(X), plain.predict_proba(X))
    assert list(map(str, clf.explain(X))) == list(map(str, plain.explain(X)))


# Parts


def test_support_and_validation_share_no_picture_and_leave_out_what_has_two_labels():
    X, y = captions(6)
    X, y = [*X, X[0], X[1]], [*y, y[0], "lion"]  # a copy, and a contradiction
    with pytest.warns(UserWarning, match="1 pictures have two labels"):
        clf = make(n_generations=1).fit(X, y)
    evolution = clf.evolution_
    assert evolution.n_support + evolution.n_validation == 17
    assert evolution.n_validation == 2 + 2 + 2


def test_shots_bound_the_support_and_validation_stays_what_it_is():
    X, y = captions(8)
    few, many = (make(n_generations=0, shots=k).fit(X, y).evolution_ for k in (2, 100))
    assert (few.n_support, many.n_support) == (6, 18)
    assert few.n_validation == many.n_validation == 6
    assert few.generations[0].validation == many.generations[0].validation


def test_the_generation_is_chosen_by_validation_the_earliest_of_equals():
    clf = make(n_generations=4, patience=None).fit(*captions())
    worth = [(g.validation, g.fitness) for g in clf.history_]
    assert clf.best_generation_ == worth.index(max(worth))
    assert dict(clf.descriptions_) == {
        label: clf.history_[clf.best_generation_].descriptions[label] for label in clf.classes_
    }


def test_patience_stops_where_nothing_gets_better():
    clf = make(n_generations=30, patience=2).fit(*captions())
    assert clf.evolution_.state == "patience"
    assert len(clf.history_) == clf.best_generation_ + 3


def test_order_of_images_and_labels_does_not_matter():
    X, y = captions()
    clf = make().fit(X, y)
    turned = make(labels=LABELS[::-1]).fit(X[::-1], y[::-1])
    assert dict(turned.descriptions_) == dict(clf.descriptions_)
    assert told(turned) == told(clf)


def test_the_same_seed_has_the_same_evolution_and_another_one_another():
    X, y = captions()
    first, second = (make(random_state=3).fit(X, y) for _ in range(2))
    assert first.evolution_ == second.evolution_
    other = make(random_state=4).fit(X, y)
    assert told(other) != told(first)


def test_clusters_hold_every_label_once_and_no_label_alone():
    labels = [f"kind{i}" for i in range(7)]
    X = [f"{WORDS[i]} {g}" for i in range(7) for g in ("a", "b b", "c c c")]
    y = [label for label in labels for _ in range(3)]
    clf = make(cluster_size=2, n_generations=2, patience=None).fit(X, y)
    for generation in clf.history_[1:]:
        groups = [cluster.labels for cluster in generation.clusters]
        assert sorted(label for group in groups for label in group) == sorted(labels)
        assert all(len(group) > 1 for group in groups)
        for exchange in generation.exchanges:
            for label in set(labels) - set(exchange.labels):
                assert f"- {label}\n" not in exchange.told


# Answers that will not do


def test_an_answer_that_lacks_a_label_keeps_the_words_it_had_and_says_so():
    def forgets(_n, _asked, classes):
        return json.dumps({"classes": [c for c in classes if c["name"] != "lion"]})

    clf = make(Writer(forgets), start={"lion": ["mane", "sand"]}, n_generations=2).fit(*captions())
    for generation in clf.history_[1:]:
        assert set(generation.descriptions["lion"]) <= {"mane", "sand"}
        assert all(set(e.gaps) == {"lion"} for e in generation.exchanges)


def test_published_behaviour_drops_an_answer_that_lacks_a_label():
    def forgets(_n, _asked, classes):
        return json.dumps({"classes": classes[1:]})

    clf = make(Writer(forgets), compat="upstream", n_generations=1).fit(*captions())
    assert [e.reason is None for e in clf.history_[1].exchanges] == [False, False]
    assert clf.history_[1].clusters[0].n_candidates == 0
    assert clf.history_[1].descriptions == clf.history_[0].descriptions


@pytest.mark.parametrize("fault", ["no json at all", '{"classes": 3}', "[]", '{"classes": [3]}'])
def test_useless_answers_leave_the_parent_and_are_kept_with_their_reason(fault):
    writer = Writer(lambda *_: fault)
    clf = make(writer, n_generations=1).fit(*captions())
    first, _ = clf.history_[1].exchanges
    assert first.said == fault
    assert first.reason
    assert first.n_repairs == 1
    assert len(writer.requests) == 4
    assert clf.history_[1].clusters[0].chosen == "parent"
    assert clf.best_generation_ == 0
    assert clf.predict(["stripes"]).shape == (1,)  # of names alone


def test_what_was_said_before_the_model_failed_is_kept():
    writer = Writer(lambda n, *_: MLLMError("too long") if n % 2 else "no json at all")
    clf = make(writer, n_generations=1, n_candidates=1).fit(*captions())
    [exchange] = clf.history_[1].exchanges
    assert exchange.said == "no json at all"
    assert "too long" in exchange.reason


def test_a_model_that_fails_leaves_the_parent():
    clf = make(Writer(lambda *_: MLLMError("down")), n_generations=1).fit(*captions())
    assert "down" in clf.history_[1].exchanges[0].reason


def test_answers_are_checked_word_by_word():
    check = read_classes(
        ["cat", "bear cub"], ["cat", "bear cub", "bear", "dog"], n_least=1, n_most=3
    )
    found = check(
        {
            "classes": [
                {"name": "CAT", "descriptors": ["- fur", "Fur", "cat", 3, "a dog's nose", "one",
                                                "two", "three"]},
                {"name": "bear cub", "descriptors": ["like a bear", "word " * 13, "brown  \n fur"]},
                {"name": "wolf", "descriptors": ["teeth"]},
                {"name": "cat", "descriptors": ["again"]},
            ]
        }
    )  # fmt: skip
    assert found.texts == {"cat": ("fur", "one", "two"), "bear cub": ("like a bear", "brown fur")}
    assert found.dropped["cat"] == ("Fur", "cat", "a dog's nose", "three")
    assert found.gaps == {}
    with pytest.raises(ValueError, match="'cat'"):
        check({"classes": [{"name": "cat", "descriptors": ["cat"]}]})


# The model mixes


def test_a_crossover_by_the_model_takes_words_of_the_versions_only():
    def adds(_n, asked, classes):
        if asked.task != "crossover":
            return None
        for entry in classes:
            entry["descriptors"] = ["something new", *entry["descriptors"]]
        return json.dumps({"classes": classes})

    clf = make(Writer(adds), crossover="llm", n_generations=2, patience=None).fit(*captions())
    mixed = [e for g in clf.history_ for e in g.exchanges if e.task == "crossover"]
    assert len(mixed) == 2
    assert "Version 1 is right in" in mixed[0].told
    assert all("something new" in e.dropped[label] for e in mixed for label in LABELS)
    assert all(
        "something new" not in words for g in clf.history_ for words in g.descriptions.values()
    )
    assert {e.task for e in clf.history_[1].exchanges} == {"init", "crossover"}


# As published


def test_published_behaviour_uses_bare_prompts_probabilities_and_no_elitism():
    def worse(n, _asked, classes):
        words = {"tiger": "stripes", "leopard": "spots", "lion": "mane"}
        if n >= 2:
            words = dict.fromkeys(words, "grass")
        for entry in classes:
            entry["descriptors"] = [words[entry["name"]]]
        return json.dumps({"classes": classes})

    options = {"n_start": 1, "n_generations": 2, "patience": None, "validation": 0}
    clf = make(Writer(worse), compat="upstream", **options).fit(*captions())
    assert [g.fitness for g in clf.history_] == [0.0, 1.0, 0.0]
    assert clf.best_generation_ == 1  # the best seen is the answer all the same
    assert clf.prompts_["tiger"] == ["tiger, stripes"]
    ours = make(Writer(worse), **options).fit(*captions())
    assert [g.fitness for g in ours.history_] == [0.0, 1.0, 1.0]
    assert ours.prompts_["tiger"] == ["a photo of a tiger, which has stripes."]


def test_near_misses_as_published_differ_from_ours_where_cosines_are_high():
    # cosines with "stripes" and "grass" of 0.725 and 0.689: a ratio of 0.95, a difference of 0.036
    X = ["stripes " * 20 + "grass " * 19, "spots", "mane"]
    y = LABELS
    start = {"tiger": ["stripes"], "leopard": ["grass"], "lion": ["mane"]}
    near = {}
    for compat in (None, "upstream"):
        clf = make(start=start, compat=compat, n_generations=0, validation=0).fit(X, y)
        near[compat] = {(c.label, c.taken_for): c.n_near for c in clf.history_[0].confusions}
    assert near[None]["tiger", "leopard"] == 1
    assert ("tiger", "leopard") not in near["upstream"]


# Cost, folders, resuming


def test_a_plan_counts_what_is_asked_and_asks_nothing():
    writer = Writer()
    clf = make(writer, labels=LABELS, n_generations=3, patience=None)
    plan = clf.plan()
    assert not writer.requests
    assert plan.n_requests == len(plan.requests) == 3 * 2
    assert len({request.key for request in plan.requests}) == 6
    clf.fit(*captions())
    assert len(writer.requests) == 6
    mixing = make(writer, labels=LABELS, n_generations=3, crossover="llm").plan()
    assert mixing.n_requests == 3 * (2 + 1)
    with pytest.raises(InputError, match="only one label"):
        make(labels=["cat"]).plan()


def test_cost_is_counted_per_generation():
    clf = make(n_generations=2, patience=None).fit(*captions())
    assert [g.cost_usd for g in clf.history_] == [0, Decimal("0.02"), Decimal("0.02")]
    assert clf.evolution_.cost_usd == clf.spent_.cost_usd == Decimal("0.04")
    unknown = make(Writer(cost=None), n_generations=1).fit(*captions())
    assert unknown.evolution_.cost_usd is None


def test_a_cap_stops_between_answers_and_a_higher_one_goes_on_for_nothing(tmp_path):
    X, y = captions()
    whole = make(patience=None).fit(X, y)
    writer = Writer()
    with pytest.raises(BudgetError):
        make(writer, patience=None, run_folder=tmp_path, max_requests=3).fit(X, y)
    stopped = read_evolution(tmp_path)
    assert stopped.state == "stopped"
    assert stopped.generations == whole.evolution_.generations[:2]
    clf = make(writer, patience=None, run_folder=tmp_path).fit(X, y)
    assert len(writer.requests) == 6  # as many as without a stop
    assert uncounted(clf) == uncounted(whole)
    assert read_evolution(tmp_path).state == "finished"
    assert read_evolution(tmp_path).cost_usd == Decimal("0.06")


def test_a_finished_run_asks_nothing_and_more_generations_go_further(tmp_path):
    X, y = captions()
    first = make(n_generations=2, patience=None, run_folder=tmp_path).fit(X, y)
    writer = Writer()
    again = make(writer, n_generations=2, patience=None, run_folder=tmp_path).fit(X, y)
    assert not writer.requests
    assert again.history_ == first.history_
    further = make(writer, n_generations=3, patience=None, run_folder=tmp_path).fit(X, y)
    assert len(writer.requests) == 2
    assert further.history_[:3] == first.history_
    assert further.evolution_.generations == make(patience=None).fit(X, y).evolution_.generations


def test_a_folder_of_another_evolution_is_refused(tmp_path):
    X, y = captions()
    make(n_generations=1, run_folder=tmp_path).fit(X, y)
    with pytest.raises(InputError, match=r"another evolution: .*n_start"):
        make(n_generations=1, run_folder=tmp_path, n_start=4).fit(X, y)
    with pytest.raises(InputError, match="another evolution: images"):
        make(n_generations=1, run_folder=tmp_path).fit(X[1:], y[1:])
    with pytest.raises(InputError, match="another evolution: seed"):
        make(n_generations=1, run_folder=tmp_path, random_state=9).fit(X, y)
    (tmp_path / "evolution.json").write_text("{}")
    with pytest.raises(SavedFolderError, match="no record"):
        make(n_generations=1, run_folder=tmp_path).fit(X, y)


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    sys.path.insert(0, sys.argv[2])
    from tests.classify.test_classify_evolving import Writer, captions, make
    n_left = int(sys.argv[3])

    def dies(n, asked, classes):
        if n >= n_left:
            os.kill(os.getpid(), signal.SIGKILL)

    make(Writer(dies), patience=None, run_folder=sys.argv[1], max_concurrency=1).fit(*captions())
    """
)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_and_resumed_it_comes_to_the_same_end_and_pays_for_nothing_twice(
    tmp_path, repository
):
    X, y = captions()
    whole = make(patience=None).fit(X, y)
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(repository), "3"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    seen = read_evolution(tmp_path)
    assert seen.state == "running"
    assert seen.generations == whole.evolution_.generations[:2]
    writer = Writer()
    clf = make(writer, patience=None, run_folder=tmp_path).fit(X, y)
    assert len(writer.requests) == 3  # three of six answers were in the journal
    assert dict(clf.descriptions_) == dict(whole.descriptions_)
    assert told(clf) == told(whole)
    assert uncounted(clf) == uncounted(whole)


def test_each_generation_is_written_and_told_as_it_ends(tmp_path):
    seen = []

    def look(evolution):
        seen.append(len(evolution.generations))
        assert read_evolution(tmp_path) == evolution

    make(n_generations=2, patience=None, run_folder=tmp_path).fit(*captions(), on_generation=look)
    assert seen == [1, 2, 3]
    assert not list(tmp_path.glob(".*"))


# Records


def test_a_record_comes_back_equal():
    evolution = make(n_generations=2).fit(*captions()).evolution_
    outcome = BeforeAfter(
        n=10, accuracy_before=0.5, accuracy_after=0.7, n_gained=3, n_lost=1, p_value=0.625
    )
    evolution = replace(evolution, test=outcome)
    again = Evolution.from_record(json.loads(json.dumps(evolution.to_record())))
    assert again == evolution
    assert again.chosen.n_descriptions > 0


@pytest.mark.parametrize(
    "change",
    [
        {"showtell": "showtell-evolution-9"},
        {"generations": []},
        {"best": 7},
        {"labels": "cat"},
        {"cost_usd": "much"},
    ],
)
def test_a_damaged_record_is_refused(tmp_path, change):
    record = make(n_generations=1).fit(*captions()).evolution_.to_record() | change
    path = tmp_path / "evolution.json"
    path.write_text(json.dumps(record))
    with pytest.raises(SavedFolderError):
        read_evolution(tmp_path)
    with pytest.raises(SavedFolderError, match="no evolution"):
        read_evolution(tmp_path / "other")


# Saving, cloning, refusing


def test_a_saved_one_predicts_the_same_bits_and_keeps_its_history(tmp_path):
    clf = make(calibrate=True, abstain_below=0.2).fit(*captions(8))
    again = load_classifier(clf.save(tmp_path / "clf"), encoder=WordEncoder(WORDS))
    X = captions()[0]
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert again.history_ == clf.history_
    assert again.descriptions_ == clf.descriptions_
    assert again.temperature_ == clf.temperature_ != 1.0
    assert again.model == Model("writer:v1", cache=None)
    assert list(map(str, again.explain(X))) == list(map(str, clf.explain(X)))
    assert sorted(p.name for p in (tmp_path / "clf").iterdir()) == ["arrays.npz", "classifier.json"]


def test_one_that_ended_with_names_alone_is_saved_too(tmp_path):
    clf = make(Writer(lambda *_: "no"), n_generations=1).fit(*captions())
    again = load_classifier(clf.save(tmp_path / "clf"), encoder=WordEncoder(WORDS))
    X = captions()[0]
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_a_clone_shares_model_and_encoder():
    clf = make()
    twin = clone(clf)
    assert twin.model.model is clf.model.model
    assert twin.model is not clf.model  # it has parameters of its own
    assert twin.encoder is clf.encoder
    assert twin.get_params() == clf.get_params()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_generations": -1}, "n_generations"),
        ({"n_candidates": 0}, "n_candidates"),
        ({"n_start": True}, "n_start"),
        ({"cluster_size": 1}, "cluster_size"),
        ({"shots": 0}, "shots"),
        ({"patience": 0}, "patience"),
        ({"ratio": 0}, "ratio"),
        ({"validation": 1.0}, "validation"),
        ({"crossover": "best"}, "greedy, llm"),
        ({"compat": "old"}, "upstream"),
        ({"calibrate": "yes"}, "calibrate"),
        ({"calibrate": True, "validation": 0}, "validation"),
        ({"model": Writer(decisions=True)}, "writes no text"),
        ({"start": DescriptionSet({"lion": ["It has a mane."]}, kind="sentences")}, "phrases"),
        ({"start": {"wolf": ["teeth"]}}, "spelled"),
        ({"labels": [*LABELS, "panther"]}, "panther"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    writer = change.pop("model", Writer()) if "model" in change else Writer()
    with pytest.raises((InputError, ValueError), match=message):
        make(writer, **({"n_generations": 1} | change)).fit(*captions())
    if "calibrate" not in change:
        assert not writer.requests


def test_one_label_is_nothing_to_tell_apart():
    with pytest.raises(InputError, match="only one label"):
        make().fit(["stripes", "more stripes"], ["tiger", "tiger"])


def test_bad_images_are_left_out_and_named():
    X, y = captions()
    with pytest.warns(UserWarning, match="1 labelled images could not be used"):
        clf = make(n_generations=1).fit([*X, "   "], [*y, "lion"])
    assert clf.evolution_.n_support + clf.evolution_.n_validation == len(X)


# Prompts


def test_prompts_carry_the_lines_that_programs_read():
    from showtell.testing.servers.assignments import read_assignment

    asker = Asker(
        prompts=load_prompts(library="evolve"), labels=tuple(LABELS), n_start=5, n_replaced=9,
        n_least=1, temperature=1.0,
    )  # fmt: skip
    current = {"tiger": ("a | b", "c"), "leopard": ("d",), "lion": ()}
    feedback = Feedback(
        confused={"tiger": ["lion", "leopard"]}, good={"lion": ["e; f"]}, bad={"tiger": ["g", "h"]}
    )
    question = asker.rewrite(LABELS, current, feedback, sample=7)
    asked = read_assignment([question.parts[0].text])
    assert (asked.task, asked.count, asked.replace, asked.sample) == ("mutate", 5, 4, 7)
    assert asked.labels == tuple(LABELS)
    assert asked.current == {"tiger": (("a / b", "c"),), "leopard": (("d",),), "lion": ((),)}
    assert asked.confused["tiger"] == ("lion", "leopard")
    assert asked.confused["lion"] == ()
    assert asked.good == {"lion": ("e, f",)}
    assert asked.bad == {"tiger": ("g", "h")}
    assert question.temperature == 1.0
    versions = [
        Version(texts=dict.fromkeys(LABELS, (w,)), accuracy=0.5, by_label=dict.fromkeys(LABELS, 1))
        for w in ("one", "two")
    ]
    mixed = read_assignment([asker.mix(LABELS, versions, {}, sample=8).parts[0].text])
    assert mixed.task == "crossover"
    assert mixed.current["lion"] == (("one",), ("two",))


def test_a_generation_without_changes_counts_none():
    generation = Generation(
        number=0, descriptions={"cat": ("a", "b")}, fitness=1.0, margin=0.1, validation=None
    )
    assert (generation.n_descriptions, generation.n_changed) == (2, 0)


def test_integer_labels_stay_integers(tmp_path):
    X, y = captions()
    codes = np.array([10 * LABELS.index(label) for label in y])
    clf = make(n_generations=2).fit(X, codes)
    assert clf.classes_.tolist() == [0, 10, 20]
    assert clf.predict(X[:2]).dtype == np.int64
    assert clf.measure(X, codes).n == len(X)
    again = load_classifier(clf.save(tmp_path / "clf"), encoder=WordEncoder(WORDS))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


# On new images


def test_start_and_end_are_compared_on_new_images_with_a_paired_test(tmp_path):
    start = {"tiger": ["grass"], "leopard": ["grass"], "lion": ["grass"]}
    clf = make(start=start, run_folder=tmp_path, n_generations=5, patience=None).fit(*captions())
    X = ["stripes on sand", "spots in snow", "a mane and sky", "stripes", "grass"]
    y = ["tiger", "leopard", "lion", "lion", "lion"]
    with_bad = clf.measure([*X, "   "], [*y, "lion"])
    outcome = clf.measure(X, y)
    assert with_bad == outcome == clf.evolution_.test == read_evolution(tmp_path).test
    before = clf.at(0).predict(X) == y
    after = clf.predict(X) == y
    assert outcome.n == 5
    assert (outcome.accuracy_before, outcome.accuracy_after) == (before.mean(), after.mean())
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    assert (outcome.n_gained, outcome.n_lost) == (gained, lost)
    assert gained > lost
    expected = {1: 1.0, 2: 0.5, 3: 0.25}  # exact McNemar with nothing lost
    assert outcome.p_value == pytest.approx(expected[gained] if not lost else 1.0)
    with pytest.raises(InputError, match="no usable image"):
        clf.measure(["  "], ["lion"])
    with pytest.raises(InputError, match="'panther'"):
        clf.measure(X, ["panther"] * 5)


def test_what_comes_without_the_descriptions_is_measured_beside_them():
    from showtell.evaluate import evaluate

    X, y = captions()
    clf = make(n_generations=3).fit(X, y)
    record = evaluate(clf, (X, y))
    assert record.controls is not None
    assert [control.name for control in record.controls.controls] == ["template", "waffle"]
    assert record.controls.accuracy == (clf.predict(X) == np.array(y)).mean()
