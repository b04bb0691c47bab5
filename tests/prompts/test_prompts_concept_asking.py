"""Concept trees by a model: what comes back is checked, what does not come is a named gap, and what
a person changed stays."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from showtell.errors import BudgetError, InputError, UnknownNameError
from showtell.mllm import Answer, AnswerCache, Usage
from showtell.mllm.model import Model
from showtell.prompts import build_concepts, copy_prompts, read_concepts, tree_requests
from showtell.prompts.concepts.trees import OTHER

LABELS = ["Corgi", "Collie"]
TAILS = {"part": "dog", "children": [{"part": "tail"}]}
LENGTH = {"part": "tail", "attributes": ["length"]}


class Writer:
    """Answers by task, and for values by label; a list is one answer after the other."""

    name = "toy:writer"

    def __init__(self, parts=TAILS, attributes=LENGTH, values=None):
        self.answers = {
            "parts": parts,
            "attributes": attributes,
            "values": {"length": ["short"]} if values is None else values,
        }
        self.asked = []

    async def ask(self, request):
        text = request.parts[0].text
        lines = dict(li.split(": ", 1) for li in text.splitlines()[:5] if ": " in li)
        self.asked.append((lines["Task"], lines.get("Part"), lines.get("Label"),
                           lines.get("Attributes"), len(request.parts) > 1,
                           request.settings.temperature))  # fmt: skip
        given = self.answers[lines["Task"]]
        for key in (lines.get("Part"), lines.get("Label")):
            given = given.get(key, given) if isinstance(given, dict) else given
        if isinstance(given, list):
            given = given.pop(0) if len(given) > 1 else given[0]
        if lines["Task"] == "values" and isinstance(given, dict) and "values" not in given:
            given = {"part": lines["Part"], "values": given}
        said = given if isinstance(given, str) else json.dumps(given)
        usage = Usage(input_tokens=100, output_tokens=20, cost_usd=Decimal("0.001"))
        finish = "refused" if said == "NO" else "stop"
        return Answer(text=said, usage=usage, finish=finish, model="writer")

    async def aclose(self):
        pass


def build(writer=None, labels=LABELS, *, cache=None, max_cost=None, **more):
    writer = Writer() if writer is None else writer
    access = Model(model=writer, cache=cache, max_cost=max_cost)
    return build_concepts("dog", labels, access, **more)


def record(built):
    return built.tree.to_record()["parts"]


def again(tree, writer, labels=LABELS, **more):
    """Build on, from what a file holds."""
    return build(writer, labels, tree=read_concepts(tree.to_record()), **more)


def edited(tree, old, new):
    """Edit the parts in the text of the file, as a person does; what was asked stays as it is."""
    record = tree.to_record()
    before = json.dumps(record["parts"])
    assert old in before
    return read_concepts({**record, "parts": json.loads(before.replace(old, new))})


# What a model writes


def test_a_tree_is_asked_for_part_by_part_and_label_by_label():
    writer = Writer(
        parts={"part": "dog", "children": [
            {"part": "Head", "children": [{"part": "ears"}]}, {"part": "tail", "children": []}]},
        attributes={"head": {"attributes": ["Shape"]}, "ear": {"attributes": ["shape", "colour"]},
                    "tail": LENGTH},
        values={
            "head": {"shape": ["long"]},
            "ear": {"Corgi": {"shape": ["a pointed tip"], "colour": ["Black, white, or tan"]},
                    "Collie": {"shape": ["folded"], "colour": ["black"]}},
            "tail": {"length": ["short"], OTHER: ["docked"]},
        },
    )  # fmt: skip
    built = build(writer)
    both = ["Corgi", "Collie"]
    assert record(built) == [
        {"part": "head", "attributes": {"shape": {"long": both}}, "children": [
            {"part": "ear", "attributes": {
                "shape": {"pointed tip": ["Corgi"], "folded": ["Collie"]},
                "colour": {"black": both, "white": ["Corgi"], "tan": ["Corgi"]}}}]},
        {"part": "tail", "attributes": {"length": {"short": both}, OTHER: {"docked": both}}},
    ]  # fmt: skip
    assert built.gaps == ()
    assert (built.spent.n_requests, built.spent.cost_usd) == (1 + 3 + 6, Decimal("0.010"))
    made = built.tree.provenance
    assert (made.model, made.note) == ("toy:writer", "per-label")
    assert made.prompt_version.startswith("concepts-")
    assert made.date
    asked = [one for one in writer.asked if one[0] == "values" and one[1] == "ear"]
    assert [one[2:4] for one in asked] == [
        ("Corgi", f"shape; colour; {OTHER}"), ("Collie", f"shape; colour; {OTHER}")
    ]  # fmt: skip


def test_the_merged_layout_asks_once_for_all_labels_and_belongs_to_none():
    writer = Writer(values={"length": ["short", "long"]})
    built = build(writer, layout="merged")
    assert record(built) == [{"part": "tail", "attributes": {"length": ["short", "long"]}}]
    assert [one[0] for one in writer.asked] == ["parts", "attributes", "values"]
    assert built.tree.provenance.note == "merged"
    assert again(built.tree, writer, layout="merged").tree == built.tree
    assert len(writer.asked) == 3
    more = again(built.tree, writer, [*LABELS, "Pug"], layout="merged")
    assert len(writer.asked) == 4
    assert record(more) == record(built)


def test_many_labels_of_a_merged_tree_are_asked_for_in_several_questions():
    labels = [f"breed {chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(60)]
    writer = Writer()
    build(writer, labels, layout="merged")
    assert [one[0] for one in writer.asked].count("values") == 3


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_more_levels_are_kept_than_asked_for(depth):
    deep = {"part": "leaf"}
    for name in ("twig", "branch", "crown"):
        deep = {"part": name, "children": [deep]}
    built = build(Writer(parts={"children": [deep]}), depth=depth, until="parts")
    assert built.tree.depth == depth
    access = Model(model="openai:gpt-4.1-mini")
    [first, *_] = tree_requests("tree", LABELS, access, depth=depth)
    assert json.dumps(first.schema).count('"children": {') == depth
    assert f"at most {depth} levels" in " ".join(first.parts[0].text.split())


def test_one_can_stop_after_the_parts_and_edit_them():
    writer = Writer(parts={"children": [{"part": "tail"}, {"part": "liver"}]})
    built = build(writer, until="parts")
    assert record(built) == [{"part": "tail"}, {"part": "liver"}]
    kept = edited(built.tree, ', {"part": "liver"}', "")
    built = again(kept, writer)
    assert [part["part"] for part in record(built)] == ["tail"]
    assert built.tree.n_values == 1
    assert [one[0] for one in writer.asked] == ["parts", "attributes", "values", "values"]


# Faults


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("NO", "declined"),
        ("A dog has a tail.", "no JSON"),
        ('{"part": "dog", "children": [{"part": "ta', "no JSON"),
        ('{"part": "dog", "children": [{"part": "ear", "children": ["tip"]}, {"pa', "'ear'"),
        ({"part": "dog"}, '"children" is missing'),
        ({"children": []}, "No part can be used"),
        ({"children": [{"part": "N/A"}, {"part": "Dog"}, {"part": "collies"}, 7]}, "No part"),
    ],
)
def test_without_parts_there_is_a_tree_with_one_gap(answer, reason):
    built = build(Writer(parts=answer))
    assert built.tree.parts == ()
    [gap] = built.gaps
    assert (gap.task, gap.part) == ("parts", ())
    assert reason in gap.reason
    assert str(gap).startswith("parts of the domain: ")


def test_parts_that_are_none_are_left_out_and_named():
    names = ["Tails", "tail", "n/a", "Corgi", "dog", "a very long name of a part"]
    built = build(Writer(parts={"children": [{"part": name} for name in names]}))
    assert [part["part"] for part in record(built)] == ["tail"]
    assert built.dropped["parts"] == tuple(names[1:])


def test_a_part_inside_itself_is_left_out():
    built = build(
        Writer(parts={"children": [{"part": "tail", "children": ["Tail", "tip"]}]}), until="parts"
    )
    assert record(built) == [{"part": "tail", "children": [{"part": "tip"}]}]


def test_no_more_than_thirty_parts_are_taken():
    names = [f"part {chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(40)]
    built = build(Writer(parts={"children": names}), until="parts")
    assert [part["part"] for part in record(built)] == names[:30]
    assert built.dropped["parts"] == tuple(names[30:])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("{", "no JSON"),
        ({"attributes": []}, "None of 0 attributes"),
        ({"attributes": ["n/a", "other", "Corgi", "tail", 3]}, "None of 5 attributes"),
        ({"attributes": ["not visible", "black, white, or tan"]}, "None of 2 attributes"),
        ({"part": "ear", "attributes": ["shape"]}, "about 'ear', and 'tail' was asked about"),
        ({"kinds": ["shape"]}, '"attributes" is missing'),
    ],
)
def test_a_part_without_attributes_is_a_gap_and_the_others_stay(answer, reason):
    writer = Writer(
        parts={"children": ["tail", "ear"]},
        attributes={"tail": answer, "ear": {"attributes": ["length"]}},
    )
    built = build(writer)
    [gap] = built.gaps
    assert (gap.task, gap.part) == ("attributes", ("tail",))
    assert reason in gap.reason
    assert [bool(part.get("attributes")) for part in record(built)] == [False, True]


def test_an_attribute_does_not_say_the_part_again():
    built = build(Writer(attributes={"attributes": ["tail_length", "Tail", "tail shape"]}))
    assert list(record(built)[0]["attributes"]) == ["length", "shape"]


def test_six_attributes_are_enough():
    names = ["length", "width", "shape", "colour", "pattern", "texture", "posture"]
    built = build(Writer(attributes={"attributes": [*names, "Length"]}), until="attributes")
    assert list(record(built)[0]["attributes"]) == names[:6]
    assert built.dropped["tail, attributes"] == ("posture", "Length")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("NO", "declined"),
        ("The tail is short.", "no JSON"),
        ({"values": 7}, '"values" is missing'),
        ({"length": []}, "length: no value"),
        ({"length": ["N/A", "not visible"]}, "no value can be used: N/A; not visible"),
        ({"length": "like a Collie"}, "no value can be used: like a collie"),
        ({"length": ["Corgi"]}, "no value can be used: corgi"),
        ({OTHER: ["docked"]}, "length: no value"),
        ({"width": ["broad"]}, "length: no value"),
        ({"length": ["length", "...", "other attributes"]}, "no value can be used: length; ..."),
        ({"length": [["short"], 3, None]}, "no value can be used"),
    ],
)
def test_values_of_a_label_that_cannot_be_used_are_a_gap_and_other_labels_stay(answer, reason):
    built = build(Writer(values={"Corgi": answer, "Collie": {"length": ["long"]}}))
    [gap] = built.gaps
    assert (gap.task, gap.part, gap.label) == ("values", ("tail",), "Corgi")
    assert reason in gap.reason
    assert record(built) == [{"part": "tail", "attributes": {"length": {"long": ["Collie"]}}}]


@pytest.mark.parametrize(
    "answer",
    [
        {"values": {"length": "Short or medium"}},
        {"values": [{"attribute": "Length", "values": ["short", "medium"]}]},
        {"values": [{"attribute": "length", "values": "short"},
                    {"attribute": "length", "values": ["medium, n/a"]}]},
        'Sure! ```json\n{"length": ["short", "medium"]}\n```',
    ],
)  # fmt: skip
def test_values_may_come_in_several_forms(answer):
    built = build(Writer(values=answer), ["Corgi"])
    assert record(built)[0]["attributes"] == {"length": {"short": ["Corgi"], "medium": ["Corgi"]}}


def test_a_few_values_are_enough():
    many = [f"{word} brown" for word in ("dark", "pale", "deep", "light", "warm", "cold", "dull",
                                          "rich", "pure")]  # fmt: skip
    built = build(Writer(values={"length": many}), ["Corgi"])
    assert list(record(built)[0]["attributes"]["length"]) == many[:8]
    assert built.dropped["tail, Corgi"] == (many[8],)


def test_an_attribute_that_is_missing_is_asked_for_once_more_by_itself():
    writer = Writer(
        attributes={"attributes": ["length", "colour"]},
        values=[{"length": ["short"], "colour": ["N/A"]}, {"colour": ["tan"]}],
    )
    built = build(writer, ["Corgi"])
    assert built.gaps == ()
    assert [one[3] for one in writer.asked[2:]] == [f"length; colour; {OTHER}", "colour"]
    assert built.tree.n_values == 2


def test_an_attribute_that_stays_missing_is_a_gap_of_that_attribute():
    writer = Writer(
        attributes={"attributes": ["length", "colour"]},
        values={"length": ["short"], "colour": ["N/A"]},
    )
    built = build(writer, ["Corgi"])
    [gap] = built.gaps
    assert (gap.attribute, gap.label, gap.tries) == ("colour", "Corgi", 1)
    assert "colour: no value can be used: N/A" in gap.reason
    assert built.tree.n_values == 1


def test_a_wrong_answer_is_sent_back_once_with_its_reason():
    writer = Writer(parts=["What?", TAILS])
    built = build(writer)
    assert built.gaps == ()
    assert [one[4] for one in writer.asked if one[0] == "parts"] == [False, True]


WORDS = st.sampled_from(
    ["tail", "Tails", "dog", "Corgi", "length", "black, white, or tan", "N/A", "", "not visible",
     "other attributes", "a/b", "…", "; | \\n", "colour", "🐕", "short"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers(-2, 9) | WORDS
KEYS = st.sampled_from(["part", "children", "parts", "attributes", "values", "attribute", "name",
                        "length", "other attributes"])  # fmt: skip
ANSWERS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(ANSWERS, ANSWERS, ANSWERS, st.sampled_from(["per-label", "merged"]))
@hypothesis_settings(max_examples=40, deadline=None)
def test_whatever_a_model_says_ends_in_a_tree_that_can_be_read_and_filled(
    parts, attributes, values, layout
):
    wild = Writer(json.dumps(parts), json.dumps(attributes), json.dumps(values))
    for first in (
        wild,
        Writer(attributes=json.dumps(attributes)),
        Writer(values=json.dumps(values)),
    ):
        built = build(first, layout=layout)
        assert read_concepts(built.tree.to_record()) == built.tree
        assert all(gap.reason for gap in built.gaps)
        assert built.tree.n_values or built.gaps
        for clue in built.tree.clues():
            assert "Corgi" not in clue.text
            assert clue.value.strip()
        sane = {name: ["curly"] for name in attribute_names(built)}
        writer = Writer(attributes={"attributes": ["texture"]}, values={"values": sane})
        whole = again(built.tree, writer, layout=layout)
        assert whole.gaps == ()
        assert whole.tree.n_values


def attribute_names(built):
    found = {a.name for _, part in built.tree.walk() for a in part.attributes}
    return sorted(found | {"length", "texture"})


def test_a_tree_is_the_same_in_its_file(tmp_path):
    built = build(Writer(values={"Corgi": "NO", "Collie": {"length": ["long"]}}))
    assert built.gaps
    assert read_concepts(built.tree.write(tmp_path / "dog.json")) == built.tree


# Again


def test_a_whole_tree_is_not_asked_for_again_and_stays_as_it_is():
    built = build()
    writer = Writer()
    same = again(built.tree, writer)
    assert writer.asked == []
    assert same.tree == built.tree
    assert same.spent.n_requests == 0


def test_only_gaps_are_filled_by_a_new_answer():
    values = {"Corgi": "NO", "Collie": {"length": ["long"]}}
    built = build(Writer(values=values))
    still = again(built.tree, Writer(values=values))
    assert [gap.tries for gap in still.gaps] == [2]
    writer = Writer(values={"length": ["short"]})
    whole = again(still.tree, writer)
    assert [one[:3] for one in writer.asked] == [("values", "tail", "Corgi")]
    assert writer.asked[0][5] == 0.7
    assert whole.gaps == ()
    assert record(whole)[0]["attributes"] == {"length": {"long": ["Collie"], "short": ["Corgi"]}}


def test_gaps_of_parts_and_attributes_are_filled_too():
    built = build(Writer(parts="NO"))
    built = again(built.tree, Writer(attributes="NO"))
    assert [gap.task for gap in built.gaps] == ["attributes"]
    built = again(built.tree, Writer())
    assert built.gaps == ()
    assert built.tree.n_values == 1


def test_a_gap_is_asked_again_though_its_answers_are_kept(tmp_path):
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        bad = {"Corgi": "{", "Collie": {"length": ["long"]}}
        built = build(Writer(values=bad), cache=cache)
        same = build(Writer(), cache=cache)
        assert (same.tree, same.spent.n_requests) == (built.tree, 0)  # nothing is paid twice
        whole = again(built.tree, Writer(), cache=cache)
        assert (whole.gaps, whole.spent.n_requests) == ((), 1)


def test_values_taken_out_by_hand_stay_out_and_those_put_in_stay():
    writer = Writer(values={"Corgi": {"length": ["short", "stubby"]}, "Collie": {"length": "long"},
                            "Pug": {"length": "short"}})  # fmt: skip
    built = build(writer)
    tree = edited(built.tree, '"stubby": ["Corgi"]', '"very short": ["Corgi"]')
    tree = edited(tree, '"long": ["Collie"]', '"wavy": ["Collie"]')
    after = again(tree, writer, [*LABELS, "Pug"])
    assert record(after)[0]["attributes"]["length"] == {
        "short": ["Corgi", "Pug"], "very short": ["Corgi"], "wavy": ["Collie"],
    }  # fmt: skip
    assert [one[2] for one in writer.asked[4:]] == ["Pug"]


def test_parts_and_attributes_added_by_hand_are_filled_and_removed_ones_stay_out():
    writer = Writer(
        parts={"children": ["tail", "liver"]},
        attributes={"attributes": ["length"]},
        values={"length": ["short"], "curl": ["curled"]},
    )
    built = build(writer)
    n = len(writer.asked)
    tree = edited(built.tree, '"attributes": {"length"', '"attributes": {"curl": [], "length"')
    record_ = tree.to_record()
    record_["parts"] = [record_["parts"][0], {"part": "whisker"}]
    after = again(read_concepts(record_), writer)
    assert [part["part"] for part in record(after)] == ["tail", "whisker"]
    assert {one[:4] for one in writer.asked[n:]} == {
        ("attributes", "whisker", None, None),
        ("values", "tail", "Corgi", "curl"), ("values", "tail", "Collie", "curl"),
        ("values", "whisker", "Corgi", f"length; {OTHER}"),
        ("values", "whisker", "Collie", f"length; {OTHER}"),
    }  # fmt: skip
    assert "tail" in [part.name for part in after.tree.asked]
    assert again(after.tree, Writer(parts="NO", attributes="NO", values="NO")).tree == after.tree


def test_attributes_taken_out_by_hand_stay_out():
    built = build()
    tree = read_concepts({**built.tree.to_record(), "parts": [{"part": "tail"}]})
    writer = Writer()
    assert again(tree, writer).tree.n_values == 0
    assert writer.asked == []


def test_values_of_nobody_in_particular_count_for_everybody():
    tree = read_concepts({"domain": "dog", "parts": [
        {"part": "tail", "attributes": {"length": ["short", "long"]}}]})  # fmt: skip
    writer = Writer()
    assert build(writer, tree=tree).tree == tree
    assert writer.asked == []


def test_a_gap_that_was_filled_by_hand_goes_and_one_of_another_label_stays():
    values = {"Corgi": "NO", "Collie": "NO"}
    built = build(Writer(values=values))
    filled = edited(built.tree, '"length": []', '"length": {"short": ["Corgi"]}')
    after = again(filled, Writer(), ["Corgi"])
    assert [gap.label for gap in after.gaps] == ["Collie"]
    assert after.spent.n_requests == 0


def test_gaps_of_parts_that_are_gone_go_too():
    writer = Writer(parts={"children": ["tail", "ear"]}, attributes={"ear": "NO", "tail": LENGTH})
    built = build(writer)
    tree = edited(built.tree, ', {"part": "ear"}', "")
    assert [gap.part for gap in built.gaps] == [("ear",)]
    assert again(tree, Writer()).gaps == ()
    assert again(tree, Writer(), until="parts").gaps == ()


def test_a_cap_stops_and_what_was_paid_is_kept(tmp_path):
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        with pytest.raises(BudgetError):
            build_concepts("dog", LABELS,
                           Model(model=Writer(), cache=cache, max_requests=3))  # fmt: skip
        writer = Writer()
        built = build(writer, cache=cache)
        assert built.gaps == ()
        assert 0 < len(writer.asked) < 4


# Before it is asked


def test_an_estimate_counts_what_is_known_and_guesses_the_rest():
    access = Model(model="openai:gpt-4.1-mini")
    requests = tree_requests("dog", LABELS, access)
    assert len(requests) == 1 + 12 + 24
    assert len(tree_requests("dog", LABELS, access, layout="merged")) == 1 + 12 + 12
    assert len(tree_requests("dog", LABELS, access, n_parts=3)) == 1 + 3 + 6
    assert len(tree_requests("dog", LABELS, access, until="parts")) == 1
    tree = read_concepts({"domain": "dog", "parts": [{"part": "tail", "children": ["tip"]}]})
    requests = tree_requests("dog", LABELS, access, tree=tree)
    assert len(requests) == 2 + 4
    assert requests[1].parts[0].text.startswith("Task: attributes\nDomain: dog\nPart: tip\n")
    assert requests[0].schema is not None
    assert requests[0].settings.temperature == 0.0
    built = build(Writer(values={"Corgi": "NO", "Collie": {"length": ["long"]}}))
    assert len(tree_requests("dog", LABELS, access, tree=built.tree)) == 1


def test_edited_prompts_are_used_and_change_the_version(tmp_path):
    copy_prompts(tmp_path / "mine", library="concepts")
    (tmp_path / "mine" / "parts.txt").write_text("Task: parts\nDomain: {domain}\nBe brief.")
    access = Model(model="openai:gpt-4.1-mini")
    [usual] = tree_requests("dog", LABELS, access, until="parts")
    [mine] = tree_requests("dog", LABELS, access, until="parts", prompt_dir=tmp_path / "mine")
    assert mine.parts[0].text == "Task: parts\nDomain: dog\nBe brief."
    assert mine.prompt_version != usual.prompt_version


def test_the_texts_say_what_belongs_to_what():
    access = Model(model="openai:gpt-4.1-mini")
    ear = {"part": "ear", "attributes": {"set; on": []}}
    tree = {"domain": "dog", "parts": [{"part": "head", "children": [ear]}]}
    requests = tree_requests("dog", ["Corgi"], access, tree=read_concepts(tree))
    text = requests[-1].parts[0].text
    assert "Part: ear\nLabel: Corgi\nAttributes: set on; other attributes\n" in text
    assert "the ear (part of the head) of Corgi (a kind of dog)" in text
    merged = tree_requests("dog", LABELS, access, layout="merged", tree=read_concepts(tree))
    assert "Labels:\n- Corgi\n- Collie\nEnd of labels.\n" in merged[-1].parts[0].text


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ({"labels": []}, InputError, "at least one label"),
        ({"depth": 0}, InputError, "from 1 to 5, got 0"),
        ({"layout": "heap"}, UnknownNameError, "merged, per-label"),
        ({"until": "never"}, UnknownNameError, "parts, attributes, values"),
        ({"tree": read_concepts({"domain": "cat", "parts": []})}, InputError, "'cat' apart"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        build(Writer(), **{"labels": LABELS, **call})
