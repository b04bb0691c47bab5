"""Answers about several images: every id gets exactly one outcome, and never another's."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import InputError
from showtell.prompts import AnswerParser, reconcile

LABELS = ("cat", "dog", "grey fox")
PARSER = AnswerParser(LABELS, {"dog": ["hound"]})
IDS = ("k3f9", "b2mm", "z8wx")


def items(*pairs, **more):
    return [{"id": i, "label": label, **more} for i, label in pairs]


def answer(*pairs, **more):
    return json.dumps({"n_images": len(pairs), "answers": items(*pairs, **more)})


ALL = (("k3f9", "cat"), ("b2mm", "dog"), ("z8wx", "grey fox"))


def codes(text, ids=IDS):
    return [reconcile(text, ids, PARSER).outcomes[i].code for i in ids]


def test_a_perfect_answer():
    found = reconcile(answer(*ALL, confidence=8), IDS, PARSER)
    assert [found.outcomes[i].code for i in IDS] == [0, 1, 2]
    assert [found.outcomes[i].confidence for i in IDS] == [0.8, 0.8, 0.8]
    assert (found.open, found.unknown_ids, found.n_images, found.repaired) == ((), (), 3, False)


def test_reversed_order_changes_nothing():
    assert codes(answer(*ALL[::-1])) == [0, 1, 2]


def test_a_missing_id_is_missing_and_the_others_stay():
    found = reconcile(answer(ALL[0], ALL[2]), IDS, PARSER)
    assert found.open == ("b2mm",)
    assert found.outcomes["b2mm"].status == "missing"
    assert [found.outcomes[i].code for i in ("k3f9", "z8wx")] == [0, 2]


def test_duplicates_that_agree_count_once_and_the_lower_confidence_stands():
    text = json.dumps(
        {"answers": items(ALL[0], confidence=9) + items(("k3f9", "Cat"), confidence=4)}
    )
    outcome = reconcile(text, IDS, PARSER).outcomes["k3f9"]
    assert (outcome.status, outcome.code, outcome.confidence) == ("answered", 0, 0.4)


@pytest.mark.parametrize("second", ["dog", "zorb"])
def test_duplicates_that_differ_answer_nothing(second):
    found = reconcile(answer(*ALL, ("k3f9", second)), IDS, PARSER)
    assert found.outcomes["k3f9"].status == "conflict"
    assert found.outcomes["k3f9"].code is None
    assert found.open == ("k3f9",)


def test_a_label_written_twice_in_one_object_is_a_conflict():
    text = '{"answers": [{"id": "k3f9", "label": "cat", "label": "dog"}]}'
    assert reconcile(text, IDS, PARSER).outcomes["k3f9"].status == "conflict"


def test_an_unknown_id_is_named_and_joined_to_nothing():
    found = reconcile(answer(("k3f8", "cat"), ALL[1]), IDS, PARSER)
    assert found.unknown_ids == ("k3f8",)
    assert found.open == ("k3f9", "z8wx")


def test_an_unknown_id_does_not_answer_for_the_only_image():
    found = reconcile(answer(("other", "cat")), ["k3f9"], PARSER)
    assert found.outcomes["k3f9"].status == "missing"


def test_a_label_out_of_the_set_is_kept_as_text_and_never_guessed():
    outcome = reconcile(answer(("k3f9", "catfish")), IDS, PARSER).outcomes["k3f9"]
    assert (outcome.status, outcome.code, outcome.text) == ("out_of_set", None, "catfish")


def test_aliases_and_words_around_a_label_count_by_the_parser_rules():
    assert codes(answer(("k3f9", "Hound"), ("b2mm", "a Grey_Fox."))) == [1, 2, None]


@pytest.mark.parametrize(
    "wrap",
    [
        "```json\n{}\n```",
        "Sure! Here is what I found:\n\n{}\n\nLet me know if you need more.",
        "{}\n\n{{not json}}",
        "I looked at [all] of them: {}",
    ],
)
def test_prose_and_fences_around_the_json_are_passed_over(wrap):
    found = reconcile(wrap.format(answer(*ALL)), IDS, PARSER)
    assert [found.outcomes[i].code for i in IDS] == [0, 1, 2]
    assert found.repaired


def test_every_cut_keeps_exactly_the_complete_answers():
    text = answer(*ALL, confidence=7)
    ends = [text.index("}", text.index(i)) for i in IDS]
    for stop in range(len(text)):
        found = reconcile(text[:stop], IDS, PARSER)
        for name, end, code in zip(IDS, ends, range(3), strict=True):
            assert found.outcomes[name].code == (code if end < stop else None), text[:stop]


def test_trailing_commas_are_forgiven():
    text = '{"answers": [{"id": "k3f9", "label": "cat",}, {"id": "b2mm", "label": "dog"},],}'
    assert codes(text) == [0, 1, None]


@pytest.mark.parametrize("name", ["lable_", "correct_label", "class", "prediction"])
def test_a_misnamed_label_field_is_read_if_it_names_one_label(name):
    text = json.dumps({"replies": [{"id": "k3f9", name: "cat"}, {"id": "b2mm", name: "zorb"}]})
    found = reconcile(text, IDS, PARSER)
    assert found.outcomes["k3f9"].code == 0
    assert found.outcomes["b2mm"].code is None
    assert found.repaired


def test_a_reason_is_no_label():
    text = '{"answers": [{"id": "k3f9", "reason": "dog"}]}'
    assert codes(text) == [None, None, None]


@pytest.mark.parametrize(
    "text",
    [
        '{"k3f9": "cat", "b2mm": "dog"}',
        '{"answers": {"k3f9": {"label": "cat"}, "b2mm": {"label": "dog"}}}',
        '[{"id": "k3f9", "label": "cat"}, {"id": "b2mm", "label": "dog"}]',
        '{"image_id": "k3f9", "label": "cat"}\n{"image_id": "b2mm", "label": "dog"}',
        "k3f9: cat\nb2mm: dog",
        "- **Image k3f9**: cat\n- Image b2mm - dog.",
    ],
)
def test_other_forms_with_ids_are_understood(text):
    assert codes(text) == [0, 1, None]


def test_a_single_image_needs_no_id():
    for text in (
        '{"label": "dog"}',
        "dog",
        "It looks like a dog.",
        '{"answers": [{"label": "dog"}]}',
    ):
        assert codes(text, ["k3f9"]) == [1]
    assert reconcile("a zorb", ["k3f9"], PARSER).outcomes["k3f9"].status == "out_of_set"
    assert reconcile("", ["k3f9"], PARSER).outcomes["k3f9"].status == "missing"


def test_several_images_are_never_joined_by_position():
    assert codes("cat\ndog\ngrey fox") == [None, None, None]
    assert (
        codes('{"answers": [{"label": "cat"}, {"label": "dog"}, {"label": "cat"}]}') == [None] * 3
    )


def test_a_refusal_is_a_refusal_for_every_id():
    found = reconcile("I'm sorry, I can't help with that.", IDS, PARSER)
    assert {o.status for o in found.outcomes.values()} == {"refused"}


@pytest.mark.parametrize(
    ("value", "confidence"),
    [(0, 0.0), (10, 1.0), (7.5, 0.75), ("8", 0.8), ("8/10", 0.8), (11, None), (-1, None),
     (True, None), ("high", None), (None, None), ([5], None), (float("nan"), None)],
)  # fmt: skip
def test_confidence_is_a_number_from_0_to_10_or_none(value, confidence):
    text = json.dumps({"answers": [{"id": "k3f9", "label": "cat", "confidence": value}]})
    assert reconcile(text, IDS, PARSER).outcomes["k3f9"].confidence == confidence


def test_deep_nesting_and_long_garbage_end():
    for text in ("[" * 5000, '{"a":' * 3000, "{" * 5000, "[" * 200 + "]" * 200, "9" * 9000):
        assert codes(text) == [None, None, None]


def test_ids_must_differ():
    for ids in ([], ["a", "a"]):
        with pytest.raises(InputError, match="all differ"):
            reconcile("", ids, PARSER)


KEYS = st.sampled_from(
    ["id", "label", "confidence", "answers", "n_images", "k3f9", "image_id", "x"]
)
LEAVES = st.one_of(
    st.sampled_from([*IDS, *LABELS, "zorb", "hound", "", "I cannot help"]),
    st.integers(-3, 12), st.floats(), st.booleans(), st.none(), st.text(max_size=8),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=200),
    st.text(alphabet='{}[]":,kf39 abcdogt\n', max_size=200),
    VALUES.map(json.dumps),
    st.tuples(VALUES.map(json.dumps), st.integers(0, 80), st.text(max_size=10)).map(
        lambda t: t[2] + t[0][: t[1]]
    ),
)


@given(text=TEXTS, ids=st.sampled_from([IDS, IDS[:1]]))
def test_any_text_gives_every_id_exactly_one_outcome(text, ids):
    found = reconcile(text, ids, PARSER)
    assert tuple(found.outcomes) == tuple(ids)
    for name, outcome in found.outcomes.items():
        assert outcome.id == name
        assert (outcome.status == "answered") == (outcome.code is not None)
        assert outcome.code is None or 0 <= outcome.code < len(LABELS)
        assert outcome.confidence is None or 0 <= outcome.confidence <= 1
    assert not set(found.unknown_ids) & set(ids)


@given(st.permutations(ALL), st.lists(st.sampled_from(ALL), max_size=3), st.integers(0, 3))
def test_order_repetition_and_strangers_never_move_an_answer(order, again, n_strangers):
    strangers = [(f"x{n}", "dog") for n in range(n_strangers)]
    assert codes(answer(*order, *strangers, *again)) == [0, 1, 2]
