"""Structured questions: what is no use is asked for once more, and what still fails says why."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal

import pytest

from showtell.errors import InputError, MLLMRequestError
from showtell.mllm import Answer, AnswerCache, Client, TextPart, Usage
from showtell.mllm.json_repair import json_values
from showtell.mllm.model import Model, open_client
from showtell.mllm.structured import Question, ask_checked, requests_of

SCHEMA = {
    "type": "object",
    "properties": {"words": {"type": "array", "items": {"type": "string"}}},
    "required": ["words"],
}


class Scripted:
    """Answers one text after the other, per first part of the request."""

    name = "toy:scripted"

    def __init__(self, answers):
        self.answers = {about: iter(texts) for about, texts in answers.items()}
        self.requests = []

    async def ask(self, request):
        self.requests.append(request)
        given = next(self.answers[request.parts[0].text])
        if isinstance(given, Exception):
            raise given
        if not isinstance(given, Answer):
            usage = Usage(input_tokens=10, output_tokens=5, cost_usd=Decimal("0.01"))
            given = Answer(text=given, usage=usage, finish="stop", model="scripted")
        return given

    async def aclose(self):
        pass


def words(value):
    found = value["words"]
    if len(found) < 2:
        raise ValueError(f"{len(found)} words, and at least 2 are wanted.")
    return found


def question(about, **changes):
    usual = Question(
        system="Write words.",
        parts=(TextPart(text=about),),
        schema=SCHEMA,
        check=words,
        prompt_version="words-1",
    )
    return replace(usual, **changes)


def test_values_come_back_in_the_order_of_the_questions():
    model = Scripted({name: [f'{{"words": ["{name}", "x"]}}'] for name in "abcdef"})
    found = ask_checked(Client(model, max_concurrency=3), [question(name) for name in "abcdef"])
    assert [one.value[0] for one in found] == list("abcdef")
    assert all(one.ok and one.n_repairs == 0 and one.spent.n_requests == 1 for one in found)


def test_equal_questions_are_asked_once_and_all_answered(tmp_path):
    model = Scripted({"a": ['{"words": ["x", "y"]}']})
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        found = ask_checked(Client(model, cache=cache), [question("a"), question("a")])
    assert [one.value for one in found] == [["x", "y"]] * 2
    assert len(model.requests) == 1


def test_repetitions_of_a_question_are_asked_each():
    model = Scripted({"a": ['{"words": ["x", "y"]}', '{"words": ["p", "q"]}']})
    found = ask_checked(
        Client(model, max_concurrency=1), [question("a", sample=0), question("a", sample=1)]
    )
    assert [one.value for one in found] == [["x", "y"], ["p", "q"]]


def test_a_wrong_answer_is_sent_back_with_what_is_wrong():
    model = Scripted({"a": ['{"words": ["one"]}', '{"words": ["one", "two"]}']})
    [found] = ask_checked(Client(model), [question("a")])
    assert found.value == ["one", "two"]
    assert found.n_repairs == 1
    assert found.spent.n_requests == 2
    assert found.spent.cost_usd == Decimal("0.02")
    note = model.requests[1].parts[-1].text
    assert "1 words, and at least 2 are wanted." in note
    assert '{"words": ["one"]}' in note


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (["Sure!", "No idea."], "There is no JSON in it."),
        (['{"words": ["one"]}', '{"words": []}'], "0 words, and at least 2 are wanted."),
        (['{"other": 1}', "[1, 2]"], "It has not the form asked for (TypeError)."),
        ([MLLMRequestError("toy:scripted turned it down.")], "toy:scripted turned it down."),
    ],
)
def test_what_still_fails_says_why_and_the_others_are_not_touched(answers, reason):
    model = Scripted({"bad": answers, "good": ['{"words": ["x", "y"]}']})
    bad, good = ask_checked(Client(model), [question("bad"), question("good")])
    assert (bad.ok, bad.value, bad.reason) == (False, None, reason)
    assert good.value == ["x", "y"]


@pytest.mark.parametrize(
    ("finish", "text", "n_requests", "words_of_reason"),
    [
        ("refused", "I cannot help with that.", 1, "declined"),
        ("blocked", "", 1, "filter"),
        ("stop", "  ", 2, "empty"),
        ("length", '{"words": ["one", "tw', 2, "cut off at its longest"),
    ],
)
def test_a_refusal_is_not_asked_again_but_a_cut_answer_is(
    finish, text, n_requests, words_of_reason
):
    answer = Answer(text=text, usage=Usage(), finish=finish, model="scripted")
    model = Scripted({"a": itertools.repeat(answer)})
    [found] = ask_checked(Client(model), [question("a")])
    assert len(model.requests) == n_requests
    assert words_of_reason in found.reason
    assert found.spent.cost_usd is None  # the price is not known, and not zero


def test_free_text_is_checked_too():
    model = Scripted({"a": ["  a red kite \n"]})
    [found] = ask_checked(Client(model), [question("a", schema=None, check=str.upper)])
    assert found.value == "A RED KITE"
    assert model.requests[0].schema is None


def test_progress_counts_questions_and_not_requests():
    seen = []
    model = Scripted({"a": ["?", '{"words": ["x", "y"]}'], "b": ['{"words": ["x", "y"]}']})
    ask_checked(
        Client(model),
        [question("a"), question("b")],
        progress=lambda done, total, stage: seen.append((done, total, stage)),
        stage="Writing",
    )
    assert seen == [(1, 2, "Writing"), (2, 2, "Writing")]


def test_no_questions_ask_nothing():
    assert ask_checked(Client(Scripted({})), []) == []


def test_a_schema_goes_along_only_where_the_provider_takes_one():
    asked = [question("a")]
    assert requests_of("openai:gpt-4.1-mini", asked, native=True)[0].schema == SCHEMA
    assert requests_of("toy:one", asked, native=False)[0].schema is None


def test_fewer_than_no_repairs_are_refused():
    with pytest.raises(InputError, match="0 or more, got -1"):
        ask_checked(Client(Scripted({})), [question("a")], repairs=-1)


def test_a_run_folder_answers_what_it_has_answered_before(tmp_path):
    model = Scripted({"a": ['{"words": ["x", "y"]}']})
    access = Model(model=model, cache=None, run_folder=tmp_path / "run")
    for n_requests in (1, 0):
        with open_client(access) as client:
            [found] = ask_checked(client, [question("a")])
        assert found.value == ["x", "y"]
        assert found.spent.n_requests == n_requests


def test_access_refuses_what_is_no_model():
    with (
        pytest.raises(InputError, match=r"openai:gpt-4\.1-mini"),
        open_client(Model(model=3)),
    ):
        pass


def test_broken_json_gives_the_whole_objects_inside():
    assert json_values('{"a": {"b": 1}, "c": [1, 2}') == ([{"b": 1}], False)
    assert json_values("7") == ([7], True)
