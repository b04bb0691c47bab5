from __future__ import annotations

import json

import numpy as np
import pytest

from showtell.classify import DescriptionClassifier, ZeroShotClassifier
from showtell.encoders import embed_images
from showtell.errors import InputError, SavedFolderError
from showtell.evaluate import (
    Control,
    Controls,
    Record,
    description_controls,
    evaluate,
    score_descriptions,
)
from showtell.metrics import holm, mcnemar_exact
from showtell.prompts import DescriptionSet
from showtell.testing import WordEncoder

WORDS = WordEncoder(["stripes", "spots", "mane", "fur", "cat", "tiger", "leopard", "lion"])
LABELS = ["tiger", "leopard", "lion"]
GOOD = {"tiger": ["stripes"], "leopard": ["spots"], "lion": ["a mane"]}
X = ["spots in fur", "stripes on fur", "a mane of fur"] * 10
Y = ["leopard", "tiger", "lion"] * 10


def make(descriptions=None, **more):
    given = GOOD if descriptions is None else descriptions
    return DescriptionClassifier(WORDS, labels=LABELS, descriptions=given, store=None, **more).fit()


def control(name="template", difference=0.0, p=1.0, high=0.01, accuracy=0.5):
    return Control(
        name=name,
        prompt="a photo of a cat.",
        n_prompts=1,
        accuracy=accuracy,
        accuracy_low=0.4,
        accuracy_high=0.6,
        sd=None,
        per_seed=(),
        difference=difference,
        low=-0.1,
        high=high,
        p_value=p,
        p_holm=p,
        p_per_seed=(),
    )


def controls(*given, accuracy=0.712, method="dclip"):
    return Controls(
        method=method,
        n_samples=1000,
        n_prompts=5.0,
        accuracy=accuracy,
        accuracy_low=0.68,
        accuracy_high=0.74,
        controls=given,
        seeds=(0, 1, 2, 3, 4),
    )


def test_good_descriptions_earn_their_place_and_swapped_ones_do_harm():
    found = evaluate(make(), (X, Y)).controls
    assert found.earned
    assert [c.name for c in found.controls] == ["template", "waffle"]
    assert found.accuracy == 1.0
    photos = ["a tiger, stripes on stripes", "a leopard, spots on spots"] * 15
    swapped = {"tiger": ["spots"], "leopard": ["stripes"], "lion": ["a mane"]}
    worse = evaluate(make(swapped), (photos, ["tiger", "leopard"] * 15)).controls
    assert worse.accuracy == 0.0
    assert worse.sentence.startswith("The descriptions did harm: 0% against 100% with")


def test_meaningless_descriptions_do_not_earn_their_place():
    photos, truth = ["a tiger", "a leopard", "a lion"] * 10, ["tiger", "leopard", "lion"] * 10
    found = description_controls(make({label: ["fur"] for label in LABELS}), photos, truth)
    assert not found.earned
    assert "did not earn their place: 100% against 100%" in found.sentence


def test_the_controls_are_what_their_classifiers_say_and_differ_in_words_only():
    clf = make(domain="cat", random_state=7, method="cupl")
    found = description_controls(clf, X, Y)
    assert [c.name for c in found.controls] == ["template", "domain", "waffle"]
    assert found.seeds == (7, 8, 9, 10, 11)
    template, domain, waffle = found.controls
    assert template.prompt == "a photo of a tiger."
    assert domain.prompt == "a photo of a cat: a tiger."
    assert waffle.prompt.startswith("a photo of a cat: a tiger, which ")
    truth = np.array(Y)
    ours = clf.predict(X) == truth
    plain = ZeroShotClassifier(WORDS, labels=LABELS, templates="a photo of a {label}.").fit()
    test = mcnemar_exact(plain.predict(X) == truth, ours)
    assert template.p_value == test.p_value
    assert template.difference == pytest.approx(test.difference)
    for place, seed in enumerate(found.seeds):
        noise = DescriptionClassifier(
            WORDS,
            labels=LABELS,
            method="waffle",
            averaging="embedding",  # as "cupl" averages
            domain="cat",
            n_pairs=1,
            random_state=seed,
        ).fit()
        right = noise.predict(X) == truth
        assert waffle.per_seed[place] == right.mean()
        assert waffle.p_per_seed[place] == mcnemar_exact(right, ours).p_value
    assert waffle.accuracy == pytest.approx(np.mean(waffle.per_seed))
    assert waffle.sd == pytest.approx(np.std(waffle.per_seed, ddof=1))
    corrected = holm([c.p_value for c in found.controls])
    assert [c.p_holm for c in found.controls] == pytest.approx(corrected.tolist())


@pytest.mark.parametrize(("n", "expected"), [(1, 2), (2, 2), (3, 4), (6, 6)])
def test_random_words_have_at_least_as_many_prompts(n, expected):
    words = ["stripes", "spots", "mane", "fur", "dark fur", "more fur"][:n]
    found = description_controls(make(dict.fromkeys(LABELS, words)), X, Y)
    assert found.n_prompts == n
    assert found.controls[-1].n_prompts == expected
    own = description_controls(make(method="waffle+descriptions", n_pairs=6), X, Y)
    assert own.n_prompts == own.controls[-1].n_prompts == 12


def test_the_domain_of_the_file_counts_and_an_empty_one_takes_it_away():
    words = DescriptionSet({k: tuple(v) for k, v in GOOD.items()}, domain="cat")
    names = [c.name for c in description_controls(make(words), X, Y).controls]
    assert names == ["template", "domain", "waffle"]
    names = [c.name for c in description_controls(make(words, domain=""), X, Y).controls]
    assert names == ["template", "waffle"]


def test_random_words_stand_after_the_concept_only_where_the_descriptions_do():
    texts = {label: (f"The {label} has {words[0]}.",) for label, words in GOOD.items()}
    words = DescriptionSet(texts, kind="sentences", domain="cat")
    found = description_controls(make(words, method="cupl"), X, Y).controls
    assert [c.name for c in found] == ["template", "domain", "waffle"]
    assert found[-1].prompt.startswith("a photo of a tiger, which ")


def test_random_words_are_not_compared_with_themselves():
    found = description_controls(make(method="waffle"), X, Y)
    assert [c.name for c in found.controls] == ["template"]
    assert found.seeds == ()
    assert found.sentence.startswith("The random words did not earn their place")


def test_same_seed_same_controls_and_samples_that_cannot_be_used_stay_in():
    clf = make()
    photos = [*X, None]
    truth = [*Y, "lion"]
    found = description_controls(clf, photos, truth)
    assert found == description_controls(clf, photos, truth)
    assert found.n_samples == 31
    assert found.accuracy == pytest.approx(30 / 31)


def test_abstaining_changes_nothing_in_the_comparison():
    found = evaluate(make(abstain_below=0.999), (X, Y))
    assert found.metrics["n_abstained"] > 0
    assert found.controls == evaluate(make(), (X, Y)).controls


def test_the_sentence_names_the_control_that_is_hardest_to_beat():
    easy = control("template", 0.02, p=0.001, accuracy=0.692)
    hard = control("waffle", 0.004, p=0.64, accuracy=0.708)
    found = controls(easy, hard)
    assert not found.earned
    assert found.sentence == (
        "The descriptions did not earn their place: 71.2% against 70.8% with random words "
        "(p = 0.640)."
    )
    ahead = control("template", -0.05, p=0.0004, accuracy=0.762, high=-0.01)
    assert controls(hard, ahead).sentence == (
        "The descriptions did harm: 71.2% against 76.2% with the template alone (p < 0.001)."
    )
    unsure = control("waffle", 0.02, p=0.3, accuracy=0.692, high=0.12)
    assert controls(unsure).sentence.endswith("cannot rule out a gain of up to 12 points.")
    assert controls(easy).earned
    assert controls(easy, method="waffle").sentence.startswith("The random words earned")


def test_a_record_keeps_them_in_json_and_in_its_folder(tmp_path):
    record = evaluate(make(domain="cat"), (X, Y))
    told = json.loads(record.to_json())
    assert told["controls"]["sentence"] == record.controls.sentence
    assert told["controls"]["earned"] is record.controls.earned
    assert Controls.from_dict(told["controls"]) == record.controls
    again = Record.load(record.save(tmp_path / "run", report=False))
    assert again.controls == record.controls
    assert tuple(again.described) == tuple(record.described)
    assert record.described


@pytest.mark.parametrize(
    "spoil",
    [
        lambda saved: saved["controls"].pop("accuracy"),
        lambda saved: saved["controls"]["controls"][0].update(name="magic"),
        lambda saved: saved["controls"].update(controls=[{}]),
        lambda saved: saved["descriptions"][0].pop("label"),
        lambda saved: saved["descriptions"][0].update(descriptions=3),
    ],
)
def test_a_damaged_folder_says_so(tmp_path, spoil):
    folder = evaluate(make(), (X, Y)).save(tmp_path / "run", report=False)
    saved = json.loads((folder / "run.json").read_text())
    spoil(saved)
    (folder / "run.json").write_text(json.dumps(saved))
    with pytest.raises(SavedFolderError, match=r"Run\s+the evaluation again"):
        Record.load(folder)


def test_without_controls_and_without_descriptions_there_are_none():
    off = evaluate(make(), (X, Y), controls=False)
    assert off.controls is None
    assert "controls" not in off.to_dict()
    plain = evaluate(ZeroShotClassifier(WORDS, labels=LABELS).fit(), (X, Y))
    assert plain.controls is None
    assert plain.described == ()
    with pytest.raises(InputError, match="goes by no descriptions"):
        description_controls(ZeroShotClassifier(WORDS, labels=LABELS).fit(), X, Y)
    with pytest.raises(InputError, match="n_seeds"):
        description_controls(make(), X, Y, n_seeds=0)


def test_descriptions_are_scored_by_the_straightforward_mean():
    words = {"tiger": ["stripes", "fur"], "leopard": ["spots", "stripes"], "lion": ["a mane"]}
    clf = make(words)
    truth = np.array([LABELS.index(label) for label in Y], np.int32)
    found = {one.label: one for one in score_descriptions(clf, X, truth)}
    rows = np.asarray(embed_images(WORDS, X, store=None).embeddings, np.float64)
    rows = rows[embed_images(WORDS, X, store=None).distinct]
    for label, one in found.items():
        assert one.n_photos == 10
        own = truth == LABELS.index(label)
        contrasts = [score.contrast for score in one.descriptions]
        assert contrasts == sorted(contrasts, reverse=True)
        for score in one.descriptions:
            prompt = next(
                p
                for p, t in zip(clf.prompts_[label], clf.texts_[label], strict=True)
                if t == score.text
            )
            vector = WORDS.encode_texts([prompt])[0].astype(np.float64)
            assert score.own == pytest.approx((rows[own] @ vector).mean(), abs=1e-6)
            assert score.others == pytest.approx((rows[~own] @ vector).mean(), abs=1e-6)
    assert found["tiger"].descriptions[0].text == "stripes"
    assert found["leopard"].descriptions[0].text == "spots"
    assert found["tiger"].n_better == 1


def test_templates_random_words_and_repeats_are_no_descriptions():
    truth = np.array([LABELS.index(label) for label in Y], np.int32)
    some = {"tiger": ["stripes"], "leopard": ["spots"]}
    mixed = make(some, method="waffle+descriptions", n_pairs=6)
    found = {one.label: one for one in score_descriptions(mixed, X, truth)}
    told = {label: [score.text for score in one.descriptions] for label, one in found.items()}
    assert told == {"tiger": ["stripes"], "leopard": ["spots"], "lion": []}
    assert found["lion"].n_better == 0
    templated = make(some, templates=["a drawing of a {label}."])
    found = {one.label: one for one in score_descriptions(templated, X, truth)}
    assert [score.text for score in found["tiger"].descriptions] == ["stripes"]


def test_labels_without_photos_have_no_scores():
    truth = np.zeros(3, np.int32)
    assert score_descriptions(make(), X[:3], truth) == ()
    only_two = np.array([0, 1, 0], np.int32)
    assert [one.label for one in score_descriptions(make(), X[:3], only_two)] == LABELS[:2]
