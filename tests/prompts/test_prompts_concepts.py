"""Concept trees: what is read, cleaned, said in sentences, and kept when a model writes again."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from showtell.errors import InputError, UnknownNameError
from showtell.prompts.answers import normalise
from showtell.prompts.concepts.reading import read_concepts
from showtell.prompts.concepts.trees import (
    Attribute,
    ConceptGap,
    ConceptTree,
    TreePart,
    Value,
    clue_text,
)
from showtell.prompts.concepts.words import clean_name, clean_values

DOGS = {
    "domain": "dog",
    "parts": [
        {
            "part": "tail",
            "attributes": {
                "length": {"short": ["Corgi", "French Bulldog"], "long": ["Collie"]},
                "other attributes": {"docked": ["Corgi"]},
            },
        },
        {
            "part": "head",
            "attributes": {"shape": {"long": ["Collie"]}},
            "children": [{"part": "ear", "attributes": {"shape": {"pointed": ["Corgi"]}}}],
        },
    ],
}


def texts(tree, part, attribute):
    """Values of an attribute of a part of the top level."""
    [found] = [p for p in tree.parts if p.name == part]
    [values] = [a.values for a in found.attributes if a.name == attribute]
    return [value.text for value in values]


# Sentences


def test_the_published_sentences():
    assert clue_text("tail", "length", "short", of="French Bulldog") == (
        "A photo of a French Bulldog with tail of short length"
    )
    assert clue_text("tail", "other attributes", "docked") == "A photo of docked tail"


def test_longer_other_attributes_stand_after_the_part():
    assert clue_text("tail", "Other attributes", "often docked", of="dog") == (
        "A photo of a dog with tail of often docked"
    )


def test_an_attribute_that_the_value_names_is_not_said_twice():
    assert clue_text("tail", "length", "medium length") == "A photo of tail of medium length"
    assert clue_text("ear", "shape", "pointed", of="Afghan Hound").startswith("A photo of an A")


def test_merged_clues_name_no_label_and_come_once():
    clues = read_concepts(DOGS).clues()
    assert [clue.text for clue in clues] == [
        "A photo of tail of short length",
        "A photo of tail of long length",
        "A photo of docked tail",
        "A photo of head of long shape",
        "A photo of ear of pointed shape",
    ]
    assert {clue.label for clue in clues} == {None}
    assert clues[-1].part == ("head", "ear")


def test_the_same_sentence_from_two_places_is_one_merged_clue_and_two_of_the_labels():
    tree = read_concepts({"domain": "dog", "parts": [
        {"part": "front", "children": [{"part": "paw", "attributes": {"size": {"big": ["A"]}}}]},
        {"part": "back", "children": [{"part": "paw", "attributes": {"size": {"big": ["A"]}}}]},
    ]})  # fmt: skip
    assert [clue.part for clue in tree.clues()] == [("front", "paw")]
    assert len(tree.clues(layout="per-label", prefix="label")) == 2


def test_clues_per_label_name_it_only_where_wanted():
    tree = read_concepts(DOGS)
    named = tree.clues(layout="per-label", prefix="label")
    assert len(named) == 6
    assert named[1].text == "A photo of a French Bulldog with tail of short length"
    assert [clue.label for clue in named[:3]] == ["Corgi", "French Bulldog", "Collie"]
    plain = tree.clues(layout="per-label")
    assert [clue.label for clue in plain] == [clue.label for clue in named]
    assert not any(label in clue.text for clue in plain for label in tree.labels)
    assert tree.clues(prefix="domain")[0].text == "A photo of a dog with tail of short length"


def test_a_value_of_nobody_is_a_clue_of_nobody():
    tree = read_concepts({"domain": "dog", "parts": [
        {"part": "tail", "attributes": {"length": ["short"]}}]})  # fmt: skip
    [clue] = tree.clues(layout="per-label", prefix="label")
    assert (clue.label, clue.text) == (None, "A photo of a dog with tail of short length")


def test_merged_clues_cannot_name_labels():
    tree = read_concepts(DOGS)
    with pytest.raises(InputError, match="per-label"):
        tree.clues(prefix="label")
    with pytest.raises(UnknownNameError, match="merged, per-label"):
        tree.clues(layout="flat")
    with pytest.raises(UnknownNameError, match="none, domain, label"):
        tree.clues(prefix="breed")


# Cleaning


@pytest.mark.parametrize("kept", ["cannon-shaped", "knot pattern", "casino green", "nonagonal",
                                  "northern", "orange", "notched", "annatto red", "non-slip",
                                  "black and white", "mirror-like", "1/2 inch"])  # fmt: skip
def test_words_that_only_contain_a_denial_or_an_or_survive(kept):
    assert clean_values(kept) == (kept,)


@pytest.mark.parametrize("dropped", ["N/A", "n / a", "none", "Not visible", "no tail", "unknown.",
                                     "varies", "", "  ", "-", "?", "cannot be seen",
                                     "...", "a value of too many words", None, 7, {}])  # fmt: skip
def test_answers_that_say_nothing_are_dropped(dropped):
    assert clean_values([dropped]) == ()


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("black, white, or tan", ("black", "white", "tan")),
        ("Black or White", ("black", "white")),
        ("black; white | tan", ("black", "white", "tan")),
        ("black/white", ("black", "white")),
        ("black and/or white", ("black", "white")),
        ("red, green, and blue", ("red", "green", "blue")),
        ("or tan", ("tan",)),
        ("tan or", ("tan",)),
        ("black, n/a, tan", ("black", "tan")),
        ("brown (rarely black, or grey)", ("brown",)),
        (["- short.", "Short", '"long"'], ("short", "long")),
        ("red\ngreen", ("red", "green")),
        ("light-or-dark", ("light-or-dark",)),
        ("A/\U00018cd6A", ("a",)),  # what cannot be seen separates nothing
        ('"or or tan', ("tan",)),
        ("black, \u201cor\u201d", ("black",)),
    ],
)
def test_alternatives_are_split_without_fragments(given, values):
    assert clean_values(given) == values


def test_names_are_cleaned_or_refused():
    assert clean_name("*Front leg*") == "front leg"
    assert clean_name("Other attributes") == "other attributes"
    for nothing in ("", "none", "N/A", None, 3, "!!", "one two three four five"):
        assert clean_name(nothing) == ""


@given(st.one_of(st.text(), st.lists(st.one_of(st.text(), st.none(), st.integers()))))
@example("A/\U00018cd6A")
@example('"or or tan')
def test_cleaned_values_are_clean_whatever_came(answer):
    values = clean_values(answer)
    assert len(set(map(normalise, values))) == len(values)
    for value in values:
        assert 0 < len(value.split()) <= 4
        assert value == " ".join(value.split())
        assert not {"or", "no", "not", "non"} & set(value.split()[:1])
        assert clean_values(value) == (value,)


# Reading and writing


def test_it_is_the_same_after_writing_and_reading(tmp_path):
    tree = read_concepts(DOGS)
    gap = ConceptGap(task="values", reason="No JSON.", part=("head", "ear"), label="Collie")
    tree = ConceptTree(domain="dog", parts=tree.parts, gaps=(gap,), asked=tree.parts[:1])
    path = tree.write(tmp_path / "new" / "tree.json")
    assert read_concepts(path) == tree
    assert read_concepts(tree.to_record()) == tree
    assert '"short": ["Corgi", "French Bulldog"]' in path.read_text()  # one line, to edit
    assert str(gap) == "values of head > ear, for 'Collie': No JSON."


def test_difficult_texts_survive_the_compact_writing(tmp_path):
    labels = ('a", "b', "[x]", "back\\", "ü\u2028", "[", '"]')
    values = (Value(text='say "hi", [1]', labels=labels), Value(text="x"))
    part = TreePart(name="a [b", attributes=(Attribute(name='", "', values=values),))
    tree = ConceptTree(domain="thing", parts=(part,))
    assert read_concepts(tree.write(tmp_path / "t.json")) == tree


def test_short_forms_are_read():
    tree = read_concepts({"part": "dog", "children": ["tail", {"part": "head"}]})
    assert (tree.domain, [part.name for part in tree.parts]) == ("dog", ["tail", "head"])
    tree = read_concepts({"domain": "dog", "parts": [
        {"part": "tail", "attributes": ["length"]}, {"part": "ear", "attributes": {"size": "big"}},
    ]})  # fmt: skip
    assert tree.parts[0].attributes == (Attribute(name="length"),)
    assert texts(tree, "ear", "size") == ["big"]
    assert read_concepts(tree) is tree


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([], "got list"),
        ({}, "'domain'"),
        ({"domain": "dog"}, "'parts'"),
        ({"domain": " ", "parts": []}, "needs a domain"),
        ({"domain": "dog", "parts": {}}, "list of parts, got dict"),
        ({"domain": "dog", "parts": [3]}, "a part is an object"),
        ({"domain": "dog", "parts": ["tail", "Tail"]}, "'Tail' stands twice"),
        ({"domain": "dog", "parts": [" "]}, "no word"),
        ({"domain": "dog", "parts": [{"part": "a", "attributes": 1}]}, "'a': 'attributes'"),
        ({"domain": "dog", "parts": [{"part": "a", "attributes": {"b": 1}}]}, "'a', 'b' must be"),
        ({"domain": "dog", "parts": [{"part": "a", "attributes": {"b": [1]}}]}, "no text"),
        ({"domain": "dog", "parts": [{"part": "a", "attributes": {"b": {"c": [1]}}}]}, "labels"),
        ({"domain": "dog", "parts": [], "gaps": [{}]}, "parts, attributes, values"),
        ({"domain": "dog", "parts": [], "showtell": "concepts-9"}, "'concepts-1'"),
    ],
)
def test_what_is_no_tree_is_refused_with_its_place(tmp_path, value, complaint):
    with pytest.raises(InputError, match=complaint):
        read_concepts(value) if isinstance(value, dict) else _file(tmp_path, value)


def _file(folder, value):
    path = folder / "tree.json"
    path.write_text(json.dumps(value))
    return read_concepts(path)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    broken = tmp_path / "tree.json"
    with pytest.raises(InputError, match="There is no concept tree"):
        read_concepts(broken)
    broken.write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match="UTF-8"):
        read_concepts(broken)
    broken.write_text("[" * 100_000)
    with pytest.raises(InputError, match="inside each other"):
        read_concepts(broken)
    with pytest.raises(InputError, match=r"\.json"):
        read_concepts(tmp_path / "tree.txt")
    deep = {"part": "x"}
    for _ in range(40):
        deep = {"part": "x", "children": [deep]}
    with pytest.raises(InputError, match="10 levels"):
        read_concepts({"domain": "dog", "parts": [deep]})


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["domain", "parts", "part", "children", "attributes", "gaps",
                                 "asked", "provenance", "task", "showtell"]),
                st.text(max_size=4),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip
PARTS = st.deferred(
    lambda: st.lists(
        st.fixed_dictionaries(
            {"part": st.text(max_size=4)},
            optional={
                "children": PARTS,
                "attributes": st.dictionaries(
                    st.text(max_size=4),
                    st.one_of(
                        st.lists(st.text(max_size=4), max_size=3),
                        st.dictionaries(st.text(max_size=4), st.lists(st.text(max_size=3))),
                    ),
                    max_size=3,
                ),
            },
        ),
        max_size=3,
    )
)


@given(st.one_of(JSON, st.builds(lambda parts: {"domain": "dog", "parts": parts}, PARTS)))
def test_reading_either_gives_a_tree_that_comes_back_or_says_no(value):
    if not isinstance(value, dict):
        value = {"domain": "dog", "parts": value}
    try:
        tree = read_concepts(value)
    except InputError:
        return
    assert read_concepts(json.loads(json.dumps(tree.to_record()))) == tree
    for layout, prefix in (("merged", "none"), ("per-label", "label")):
        clues = tree.clues(layout=layout, prefix=prefix)
        assert len({(clue.text, clue.part, clue.label) for clue in clues}) == len(clues)
    assert tree.merge(tree).parts == tree.parts


# Looking at it


def test_a_tree_tells_what_is_in_it():
    tree = read_concepts(DOGS)
    assert [path for path, _ in tree.walk()] == [("tail",), ("head",), ("head", "ear")]
    assert (tree.n_values, tree.depth) == (5, 2)
    assert tree.labels == ("Corgi", "French Bulldog", "Collie")
    assert repr(tree) == "<ConceptTree of 'dog': 3 parts, 5 values, 3 labels, 0 gaps>"


def test_a_tree_of_one_label_or_one_part():
    tree = read_concepts(DOGS)
    collie = tree.restricted(labels=["Collie"])
    assert [clue.value for clue in collie.clues()] == ["long", "long"]
    assert collie.labels == ("Collie",)
    ear = tree.restricted(part=("head", "ear"))
    assert [clue.value for clue in ear.clues()] == ["pointed"]
    with pytest.raises(InputError, match="head > ear"):
        tree.restricted(part=("ear",))


# Merging


def written(*values, part="tail", attribute="length", labels=("Corgi",)):
    return ConceptTree(
        domain="dog",
        parts=(TreePart(name=part, attributes=(Attribute(
            name=attribute, values=tuple(Value(text=v, labels=labels) for v in values)),)),),
    )  # fmt: skip


def test_what_a_model_wrote_first_is_remembered():
    empty = ConceptTree(domain="dog")
    tree = empty.merge(written("short", "long"))
    assert tree.parts == tree.asked == written("short", "long").parts


def test_hand_edits_survive_another_writing(tmp_path):
    tree = ConceptTree(domain="dog").merge(written("short", "long"))
    path = tree.write(tmp_path / "tree.json")
    record = json.loads(path.read_text())
    record["parts"][0]["attributes"]["length"] = {"long": ["Corgi"], "curled": ["Collie"]}
    record["parts"].append({"part": "nose", "attributes": {"colour": ["black"]}})
    path.write_text(json.dumps(record))
    edited = read_concepts(path)

    again = edited.merge(written("short", "long", "medium"))

    assert texts(again, "tail", "length") == ["long", "curled", "medium"]
    assert texts(again, "nose", "colour") == ["black"]
    once_more = read_concepts(again.write(path)).merge(written("short", "medium"))
    assert once_more.parts == again.parts


def test_removed_parts_attributes_and_labels_do_not_come_back():
    both = written("short", labels=("Corgi", "Collie"))
    first = ConceptTree(domain="dog").merge(both).merge(written("round", part="eye"))
    bare = TreePart(name="tail", attributes=(Attribute(name="length", values=(
        Value(text="short", labels=("Corgi",)),)),))  # fmt: skip
    edited = ConceptTree(domain="dog", parts=(bare,), asked=first.asked)
    again = edited.merge(both).merge(written("round", part="eye"))
    assert again.parts == (bare,)
    empty = ConceptTree(domain="dog", parts=(TreePart(name="tail"),), asked=first.asked)
    assert empty.merge(both).parts == (TreePart(name="tail"),)


def test_new_labels_join_the_values_that_are_there():
    tree = ConceptTree(domain="dog").merge(written("short"))
    again = tree.merge(written("Short", labels=("Collie",)))
    [value] = again.parts[0].attributes[0].values
    assert value == Value(text="short", labels=("Corgi", "Collie"))


def test_descriptions_are_told_from_a_concept_tree(tmp_path):
    file = tmp_path / "words.json"
    file.write_text(json.dumps({"showtell": "descriptions-1", "descriptions": {"cat": ["fur"]}}))
    with pytest.raises(InputError, match="holds descriptions of labels, not a concept tree"):
        read_concepts(file)
