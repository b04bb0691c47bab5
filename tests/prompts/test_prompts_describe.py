"""Descriptions by a model: what comes back is checked, and what does not come is a named gap."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from showtell.errors import InputError, UnknownNameError
from showtell.mllm import Answer, Usage
from showtell.mllm.model import Model
from showtell.prompts import copy_prompts, describe_requests, find_domain, write_descriptions


class Writer:
    """Answers by the label in the question: a list of descriptors, a text, or one after another."""

    name = "toy:writer"

    def __init__(self, answers):
        self.answers, self.texts = answers, []

    async def ask(self, request):
        text = request.parts[0].text
        self.texts.append(text)
        line = next((li for li in text.splitlines() if li.startswith("Label: ")), "Label: ?")
        given = self.answers[line.removeprefix("Label: ")]
        if isinstance(given, list) and given and isinstance(given[0], list | str | dict):
            again = len(request.parts) > 1
            if isinstance(given[0], list):
                given = given[min(again, len(given) - 1)]
        if isinstance(given, list):
            given = json.dumps({"category": "x", "descriptors": given})
        usage = Usage(input_tokens=100, output_tokens=20, cost_usd=Decimal("0.001"))
        finish = "refused" if given == "NO" else "stop"
        return Answer(text=given, usage=usage, finish=finish, model="writer")

    async def aclose(self):
        pass


def write(answers, labels, **params):
    return write_descriptions(labels, Model(model=Writer(answers), cache=None), **params)


def test_what_is_written_is_a_set_with_its_provenance():
    found = write({"cat": ["whiskers", "- a long tail "], "dog": ["paws", "fur"]}, ["cat", "dog"])
    made = found.descriptions
    assert dict(made) == {"cat": ("whiskers", "a long tail"), "dog": ("paws", "fur")}
    assert (made.kind, made.provenance.model) == ("phrases", "toy:writer")
    assert made.provenance.prompt_version.startswith("describe-")
    assert made.provenance.date
    assert found.gaps == {}
    assert (found.spent.n_requests, found.spent.cost_usd) == (2, Decimal("0.002"))


def test_repeated_long_and_foreign_texts_are_left_out_and_shown():
    long = "very " * 13 + "long"
    texts = ["fur", "Fur.", "like a dog", long, "cat", "...", "ears", 7]
    found = write({"cat": texts, "dog": ["a", "b"]}, ["cat", "dog"])
    assert found.descriptions["cat"] == ("fur", "ears")
    assert found.dropped["cat"] == ("Fur.", "like a dog", long, "cat", "...")


def test_a_label_inside_the_own_name_is_not_another_label():
    found = write(
        {"bear cub": ["a small bear", "round ears"], "bear": ["brown", "big"]}, ["bear cub", "bear"]
    )
    assert found.descriptions["bear cub"] == ("a small bear", "round ears")


def test_too_few_are_asked_for_again_with_the_reason():
    found = write({"cat": [["dog-like"], ["fur", "ears"]], "dog": ["a", "b"]}, ["cat", "dog"])
    assert found.descriptions["cat"] == ("fur", "ears")
    assert found.spent.n_requests == 3


@pytest.mark.parametrize("answer", ["NO", "Cats are lovely!", "{}", '{"descriptors": []}'])
def test_a_label_without_an_answer_is_a_gap_and_the_others_stay(answer):
    found = write({"cat": answer, "dog": ["paws", "fur"]}, ["cat", "dog"])
    assert found.descriptions["cat"] == ()
    assert found.descriptions["dog"] == ("paws", "fur")
    assert set(found.gaps) == {"cat"}
    assert found.gaps["cat"]


def test_sentences_come_from_five_questions_per_label():
    access = Model(model=Writer({"cat": ["A cat has fur.", "A cat is small."]}), cache=None)
    found = write_descriptions(["cat"], access, style="cupl", count=2)
    assert found.descriptions.kind == "sentences"
    assert found.descriptions["cat"] == ("A cat has fur.", "A cat is small.")
    assert len(set(access.model.texts)) == 5
    assert len(describe_requests(["cat", "dog"], access, style="cupl")) == 10


def test_the_concept_settles_what_a_word_means():
    access = Model(model="openai:gpt-4.1-mini")
    [request] = describe_requests(["crane"], access, domain="bird")
    assert "crane (a kind of bird)" in request.parts[0].text
    assert request.schema is not None
    assert request.settings.temperature == 0.0


def test_edited_prompts_are_used_and_change_the_version(tmp_path):
    copy_prompts(tmp_path / "mine", library="describe")
    file = tmp_path / "mine" / "features.txt"
    file.write_text("Label: {label}\nTell me {count} things.")
    access = Model(model="openai:gpt-4.1-mini")
    [usual] = describe_requests(["cat"], access)
    [mine] = describe_requests(["cat"], access, prompt_dir=tmp_path / "mine")
    assert mine.parts[0].text == "Label: cat\nTell me 8 things."
    assert mine.prompt_version != usual.prompt_version


@pytest.mark.parametrize(
    ("answer", "text", "confidence"),
    [
        ('{"concept": "Birds.", "confidence": 9}', "bird", 0.9),
        ('{"concept": "land use class", "confidence": 3}', None, 0.3),
        ('{"concept": "glass", "confidence": 3}', "glass", 0.3),
        ('{"concept": null, "confidence": 2}', None, 0.2),
        ('{"concept": "things", "confidence": 12}', None, None),
    ],
)
def test_the_concept_is_a_plain_singular_or_nothing(answer, text, confidence):
    found = find_domain(["wren", "robin"], Model(model=Writer({"?": answer}), cache=None))
    assert (found.text, found.confidence) == (text, confidence)
    assert (found.reason is None) == (text is not None)


def test_one_of_the_labels_is_no_concept():
    writer = Writer({"?": '{"concept": "Robins", "confidence": 9}'})
    found = find_domain(["wren", "robin"], Model(model=writer, cache=None))
    assert found.text is None
    assert "names one of the labels" in found.reason


def test_a_hundred_labels_show_a_sample_that_the_seed_draws():
    labels = [f"bird {i}" for i in range(100)]
    writer = Writer({"?": '{"concept": "bird", "confidence": 9}'})
    for seed in (0, 0, 1):
        find_domain(labels, Model(model=writer, cache=None), random_state=seed)
    first, again, other = writer.texts
    assert first == again != other
    assert first.count("\n- bird ") == 25


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ({"labels": []}, InputError, "at least one label"),
        ({"labels": ["cat"], "count": 0}, InputError, "at least 1, got 0"),
        ({"labels": ["cat"], "style": "poem"}, UnknownNameError, "dclip, cupl"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, words):
    labels = call.pop("labels")
    with pytest.raises(error, match=words):
        write({}, labels, **call)
