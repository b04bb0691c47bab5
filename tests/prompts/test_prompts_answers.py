"""Answers: each rule where it belongs, nothing guessed, nothing crashes."""

from __future__ import annotations

import json
import pickle
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from showtell.errors import InputError, UnknownNameError
from showtell.prompts import ANSWER_RULES, AnswerParser, normalise, parse_answer

PETS = ["cat", "dog", "fish", "guinea pig"]
ALIASES = {"dog": ["puppy", "hound"], "cat": ["kitty"]}


@pytest.fixture(scope="module")
def pets() -> AnswerParser:
    return AnswerParser(PETS, ALIASES)


def outcome(answer):
    return answer.code, answer.rule


# one test per rule


@pytest.mark.parametrize(
    "text",
    [
        "cat",
        "Cat.",
        " CAT ",
        '"cat"',
        "'cat'.",
        "`cat`",
        "\u201ccat\u201d",
        "cat!!",
        "-cat",
        "cat\n",
    ],
)
def test_a_label_alone_is_exact_after_normalisation(pets, text):
    assert outcome(pets.parse(text)) == (0, "exact")


@pytest.mark.parametrize(
    "text", ["guinea pig", "Guinea_Pig", "guinea-pig", "GUINEA \t pig", "\uff27uinea\u00a0pig"]
)
def test_separators_width_and_case_do_not_count(pets, text):
    assert outcome(pets.parse(text)) == (3, "exact")


def test_an_alias_alone_is_alias(pets):
    assert outcome(pets.parse("Puppy.")) == (1, "alias")
    assert outcome(pets.parse("kitty")) == (0, "alias")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Let me think about the dog-like ears.\ncat", 0),
        ("cat\nIt has the ears of no dog.", 0),
        ("Answer:\n**Guinea pig**\n", 3),
        ("1st line\n- fish.\n", 2),
        ("> hound", 1),
        ('{"label": "Cat."}', 0),
        ('Sure! {"label": "cat", "reason": "a dog looks different"}', 0),
        ('```json\n{"answer": {"species": "guinea-pig"}, "why": "no cat, no dog"}\n```', 3),
        ('["dog"]', 1),
        ('{"label": "puppy", "confidence": 0.9}', 1),
        ('{"label": "cat", "other": null, "sure": true}', 0),
        ('broken { not json } then {"label": "cat", "note": "no dog"}', 0),
    ],
)
def test_one_line_or_one_json_field_is_field(pets, text, code):
    assert outcome(pets.parse(text)) == (code, "field")


def test_numbers_in_json_are_labels_only_where_no_words_are():
    digits = AnswerParser([str(i) for i in range(10)])
    assert outcome(digits.parse('{"label": "3", "confidence": 8}')) == (3, "field")
    assert outcome(digits.parse('{"label": 3}')) == (3, "field")
    assert outcome(digits.parse('{"label": 3.0}')) == (3, "field")
    assert outcome(digits.parse('{"label": 3, "confidence": 8}')) == (None, "ambiguous")
    yes = AnswerParser(["true", "false"])
    assert outcome(yes.parse('{"is_cat": true}')) == (0, "field")


def test_a_named_field_is_the_only_one_that_counts():
    parser = AnswerParser(PETS, field="label")
    text = '{"label": "%s", "second": "dog"}'
    assert outcome(parser.parse(text % "cat")) == (0, "field")
    assert outcome(parser.parse(text % "a small cat")) == (0, "containment")
    assert outcome(parser.parse(text % "ferret")) == (None, "invalid")
    assert outcome(parser.parse(text % "")) == (None, "empty")
    assert outcome(parser.parse("a dog")) == (1, "containment")
    assert parse_answer(text % "cat", PETS).rule == "ambiguous"
    digits = AnswerParser(["3", "8"], field="Label")
    assert outcome(digits.parse('{"label": 3, "confidence": 8}')) == (0, "field")


def test_a_key_written_twice_is_not_settled_silently(pets):
    assert outcome(pets.parse('{"label": "cat", "label": "dog"}')) == (None, "ambiguous")


@pytest.mark.parametrize(
    ("text", "code", "matched"),
    [
        ("It looks like a Cat.", 0, "cat"),
        ("The cat's tail, clearly a cat", 0, "cat"),
        ("a (small) guinea-pig, sleeping", 3, "guinea pig"),
        ("my puppy on a lawn", 1, "puppy"),
        ("Answer: dog", 1, "dog"),
        ('{"category": "a dog with a ball"}', 1, "dog"),
    ],
)
def test_exactly_one_label_as_whole_words_is_containment(pets, text, code, matched):
    answer = pets.parse(text)
    assert (answer.code, answer.rule, answer.matched) == (code, "containment", matched)
    assert answer.candidates == (code,)
    assert answer.text == text


@pytest.mark.parametrize(
    "text", ["catfish", "a bulldog", "concatenate", "dogs", "cat2", "category"]
)
def test_a_label_inside_another_word_is_not_found(pets, text):
    assert outcome(pets.parse(text)) == (None, "invalid")


def test_the_longest_match_wins():
    areas = AnswerParser(["residential", "dense residential", "sparse residential"])
    assert areas.parse("a dense residential area").code == 1
    assert areas.parse("a residential area").code == 0
    assert areas.parse("Dense_Residential").rule == "exact"


def test_a_short_label_beside_a_longer_one_is_ambiguous_and_so_is_an_overlap():
    areas = AnswerParser(["residential", "dense residential"])
    assert areas.parse("residential, not dense residential").rule == "ambiguous"
    foxes = AnswerParser(["red fox", "fox bat"])
    answer = foxes.parse("I see a red fox bat")
    assert (answer.rule, answer.candidates) == ("ambiguous", (0, 1))


@pytest.mark.parametrize("text", ["cat or dog", "cat\ndog", '["cat", "dog"]', "a puppy or a kitty"])
def test_two_labels_are_ambiguous_and_both_are_named(pets, text):
    answer = pets.parse(text)
    assert outcome(answer) == (None, "ambiguous")
    assert answer.candidates == (0, 1)
    assert answer.code is None


def test_two_names_of_one_label_are_one_label(pets):
    assert outcome(pets.parse("a dog, more precisely a puppy")) == (1, "containment")


@pytest.mark.parametrize("text", ["", "  \n", None, float("nan"), '""', "...", "-", "\u200b"])
def test_nothing_is_empty(pets, text):
    assert outcome(pets.parse(text)) == (None, "empty")


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, I cannot identify the animal.",
        "As an AI, I have no eyes.",
        "Sorry, I am unable to determine this",
        "I do not know.",
        "It cannot be determined.",
        "This is against our content policy.",
        "Es tut mir leid, das geht nicht.",
        "Lo siento.",
        "D\u00e9sol\u00e9, je ne peux pas r\u00e9pondre.",
        "抱歉，我无法识别。",
    ],
)
def test_a_refusal_has_its_own_rule_and_no_label(pets, text):
    assert outcome(pets.parse(text)) == (None, "refusal")


@pytest.mark.parametrize(
    "text", ["ferret", "unknown", "none of these", "42", "🙂", "I see an animal"]
)
def test_anything_else_is_invalid(pets, text):
    assert outcome(pets.parse(text)) == (None, "invalid")


def test_meaning_is_not_read(pets):
    # The rules look for words: a negation or a refusal that names one label is taken for it.
    assert outcome(pets.parse("not a cat")) == (0, "containment")
    assert outcome(pets.parse("I'm sorry, I can't say whether this is a cat.")) == (
        0,
        "containment",
    )
    assert outcome(pets.parse("not a cat but a dog")) == (None, "ambiguous")


def test_a_label_may_read_like_a_refusal_or_a_blank():
    parser = AnswerParser(["not sure", "...", "-", "None"])
    codes = [parser.parse(text).code for text in ("Not sure.", "...", "-", "none")]
    assert codes == [0, 1, 2, 3]


# labels with signs, and other scripts


def test_labels_with_punctuation():
    parser = AnswerParser(["t-shirt", "C++", "C", "it's", "shirt", "St. Bernard", "AT&T", "3.5"])
    for text, code in [
        ("T shirt", 0),
        ("a T-Shirt on a hanger", 0),
        ("a shirt on a hanger", 4),
        ("written in C++, I think", 1),
        ("written in C, I think", 2),
        ("I would say it\u2019s", 3),
        ("a St. Bernard dog", 5),
        ("the AT&T logo", 6),
        ("about 3.5 metres", 7),
    ]:
        assert parser.parse(text).code == code, text


def test_a_digit_is_not_found_inside_a_number():
    digits = AnswerParser([str(i) for i in range(10)])
    for text in ("pi is 3.14159", "1,000 things", "27", "3a"):
        assert digits.parse(text).code is None, text
    assert digits.parse("It is a 3.").code == 3
    assert digits.parse("I see the digit 7, handwritten").code == 7


@pytest.mark.parametrize(
    ("labels", "text", "code"),
    [
        (["кот", "собака"], "Это кот.", 0),
        (["кот", "собака"], "Это котёнок.", None),
        (["Straße", "Wald"], "eine STRASSE bei Nacht", 0),
        (["café", "bar"], "un cafe\u0301 parisien", 0),
        (["γάτα", "σκύλος"], "ΣΚΎΛΟΣ", 1),
        (["قط", "كلب"], "هذا قط.", 0),
        (["बिल्ली", "कुत्ता"], "यह एक बिल्ली है।", 0),
        (["बिल", "कुत्ता"], "यह एक बिल्ली है।", None),
        (["고양이", "개"], "이것은 고양이 사진", 0),
        (["고양이", "개"], "개구리", None),
        (["猫", "狗"], "这是一只猫。", 0),
        (["猫", "熊猫"], "这是一只熊猫。", 1),
        (["ねこ", "いぬ"], "これはねこです", 0),
        (["ネコ", "イヌ"], "ネコ科", 0),
        (["ネコ", "イヌ"], "ネコバス", None),
        (["แมว", "สุนัข"], "นี่คือแมว", 0),
        (["🐱", "🐶"], "I see a 🐱!", 0),
        (["❤", "★"], "❤\ufe0f", 0),
    ],
)
def test_words_are_told_apart_in_any_script(labels, text, code):
    assert parse_answer(text, labels).code == code


# label sets that cannot work


def test_labels_that_are_the_same_answer_are_named():
    with pytest.raises(
        InputError, match=r"'T-shirt' and 't shirt' are the same answer \('t shirt'"
    ):
        AnswerParser(["hat", "T-shirt", "t shirt"])


@pytest.mark.parametrize("labels", [[], "cat", ()])
def test_a_label_set_is_a_sequence_of_labels(labels):
    with pytest.raises(InputError, match="at least one label"):
        AnswerParser(labels)


@pytest.mark.parametrize("label", ["", "  ", "\u200b"])
def test_an_empty_label_is_refused(label):
    with pytest.raises(InputError, match="Label 1 is empty"):
        AnswerParser(["cat", label])


def test_an_alias_means_one_label():
    with pytest.raises(InputError, match="'Hound' of label 'cat' also means 'dog'"):
        AnswerParser(PETS, {"dog": ["hound"], "cat": ["Hound"]})
    with pytest.raises(InputError, match="'Dog' of label 'cat' also means 'dog'"):
        AnswerParser(PETS, {"cat": ["Dog"]})
    with pytest.raises(InputError, match="empty alias"):
        AnswerParser(PETS, {"cat": [" "]})
    with pytest.raises(UnknownNameError, match="Unknown label 'cow'"):
        AnswerParser(PETS, {"cow": ["bull"]})


def test_an_alias_equal_to_its_own_label_is_no_matter_and_one_text_is_one_alias():
    parser = AnswerParser(PETS, {"cat": ["CAT", "kitty", "Kitty"], "dog": "puppy"})
    assert outcome(parser.parse("Cat")) == (0, "exact")
    assert outcome(parser.parse("puppy")) == (1, "alias")
    assert parser.parse("p").code is None


# any text


def label_sets():
    text = st.text(min_size=1, max_size=12)
    return st.lists(text, min_size=1, max_size=8, unique_by=normalise).filter(
        lambda labels: all(normalise(label) for label in labels)
    )


@given(label_sets())
@example(["-", "_", "...", "\u2014"])
@example(["{", "[", "```", '{"a": 1}'])
@example(["\u0130", "i"])
def test_every_label_is_parsed_as_itself(labels):
    parser = AnswerParser(labels)
    for code, label in enumerate(labels):
        assert outcome(parser.parse(label)) == (code, "exact")
        assert parser.parse(f"  {label}\n").code == code


@given(label_sets(), st.text(max_size=60))
def test_any_text_gives_an_answer(labels, text):
    answer = AnswerParser(labels).parse(text)
    assert answer.rule in ANSWER_RULES
    assert answer.text == text
    assert (answer.code is not None) == (ANSWER_RULES.index(answer.rule) < 4)
    if answer.code is not None:
        assert answer.candidates == (answer.code,)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["cat", "Dog", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values, st.sampled_from(["{}", "```json\n{}\n```", "Here: {} .", "[[{} {{"]))
def test_any_json_gives_an_answer(pets, value, around):
    answer = pets.parse(around.replace("{}", json.dumps(value), 1))
    assert answer.rule in ANSWER_RULES


words = st.lists(
    st.sampled_from(["cat", "dog", "guinea", "pig", "catfish", "a", "the", "is", "not"]), max_size=8
)


@given(words)
def test_containment_equals_looking_at_every_span(words):
    text = " ".join(["well", *words, "then"])  # never exact
    names = {tuple(name.split()): code for code, name in enumerate(PETS)}
    n = len(words)
    spans = [(i, j) for i in range(n) for j in range(i + 1, n + 1) if tuple(words[i:j]) in names]
    kept = [s for s in spans if not any(o != s and o[0] <= s[0] and s[1] <= o[1] for o in spans)]
    codes = {names[tuple(words[i:j])] for i, j in kept}
    answer = AnswerParser(PETS).parse(text)
    assert set(answer.candidates) == codes
    assert answer.code == (codes.pop() if len(codes) == 1 else None)


@given(st.permutations(range(4)), st.sampled_from(["Cat", "a dog", "cat or dog", "fish?", "no"]))
def test_label_order_only_renames_the_code(order, text):
    here, there = parse_answer(text, PETS), parse_answer(text, [PETS[i] for i in order])
    assert here.rule == there.rule
    assert sorted(here.candidates) == sorted(order[c] for c in there.candidates)


@given(st.text(st.characters(codec="ascii"), max_size=40))
def test_normalising_twice_changes_nothing_for_ascii(text):
    assert normalise(normalise(text)) == normalise(text)


# many answers


def test_many_answers_in_order_and_as_codes(pets):
    texts = ["cat", None, "a dog", "cat", 7, float("nan")]
    answers = [pets.parse(text) for text in texts]
    assert [a.rule for a in answers] == [
        "exact",
        "empty",
        "containment",
        "exact",
        "invalid",
        "empty",
    ]
    assert [a.code for a in answers] == [0, None, 1, 0, None, None]


def test_numbers_from_tables_are_labels_too():
    digits = AnswerParser(["3", "4"])
    assert [digits.parse(x).code for x in (3, 3.0, "3", 3.5)] == [0, 0, 0, None]


def test_answers_pickle(pets):
    answer = pets.parse("a dog")
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert pickle.loads(pickle.dumps(pets)).parse("a dog") == answer


def quickest(parser, texts):
    """Processor time of reading the texts, the best of three."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for text in texts:
            parser.parse(text)
        seconds.append(time.process_time() - start)
    return min(seconds)


def test_a_thousand_labels_take_no_longer_than_ten():
    labels = [f"kind {i} of thing" for i in range(1000)]
    texts = [f"It looks to me like kind {i % 10} of thing, number {i}." for i in range(10_000)]
    many, few = AnswerParser(labels), AnswerParser(labels[:10])
    assert [many.parse(text).code for text in texts[:3]] == [0, 1, 2]
    assert quickest(many, texts) < 4 * quickest(few, texts)  # a look at each would take 100 times


@pytest.mark.parametrize("text", ["{" * 100_000, "[" * 100_000, '{"a":' * 50_000, "cat " * 100_000])
def test_long_and_nested_answers_take_no_longer_than_their_length(pets, text):
    assert pets.parse(text).rule in ANSWER_RULES
    whole, tenth = quickest(pets, [text]), quickest(pets, [text[: len(text) // 10]] * 10)
    assert whole < 4 * tenth  # 10 times where the square of the length counts


def test_messy_answers_land_where_the_rules_say(pets):
    expected = {
        "It looks like a Cat.": (0, "containment"),
        "catfish": (None, "invalid"),
        "cat, dog": (None, "ambiguous"),
        "": (None, "empty"),
        "I cannot help with this image.": (None, "refusal"),
        "kitty": (0, "alias"),
        '{"label": "fish"}': (2, "field"),
        "GUINEA_PIG": (3, "exact"),
    }
    assert {text: outcome(pets.parse(text)) for text in expected} == expected
