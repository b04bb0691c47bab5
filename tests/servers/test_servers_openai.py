"""OpenAI's own SDK against the local server."""

from __future__ import annotations

import contextlib
import json
import math

import pytest
from jsonschema import validate
from tests.servers.wire import (
    LABELS,
    SCHEMA,
    SYSTEM,
    contract,
    openai_content,
    png,
    responses_content,
    shots,
)

from showtell.testing import ColourEncoder
from showtell.testing.servers import Faults, LocalServer

openai = pytest.importorskip("openai", reason="needs the extra `openai`")

FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}


@pytest.fixture(scope="module")
def server():
    with LocalServer("openai", encoder=ColourEncoder()) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client:
        yield client


def ask(client, parts, **more):
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": openai_content(parts)},
    ]
    more.setdefault("response_format", FORMAT)
    return client.chat.completions.create(model="try", messages=messages, **more)


def test_chat_answers_every_query_by_its_image_and_id(client):
    queries = [("b", png(LABELS[2], 1)), ("a", png(LABELS[0], 2)), ("c", png(LABELS[1], 3))]
    answer = json.loads(ask(client, contract(queries, shots())).choices[0].message.content)
    validate(answer, SCHEMA)
    assert answer["n_images"] == 3
    assert {entry["id"]: entry["label"] for entry in answer["answers"]} == {
        "a": "red circle",
        "b": "blue square",
        "c": "green triangle",
    }


def test_demonstrations_decide_not_label_texts(client):
    swapped = [("red circle", png("blue square", 1)), ("blue square", png("red circle", 1))]
    parts = contract([("q", png("red circle", 2))], swapped)
    answer = json.loads(ask(client, parts).choices[0].message.content)
    assert answer["answers"][0]["label"] == "blue square"


def test_label_texts_decide_without_demonstrations(client):
    parts = contract([("q", png("green triangle", 4))])
    answer = json.loads(ask(client, parts).choices[0].message.content)
    assert answer["answers"][0]["label"] == "green triangle"


def test_codes_without_demonstrations_are_guessed_alike_every_time(client):
    system = "Labels:\n- class_0\n- class_1\nEnd of labels."
    seen = []
    for _ in range(2):
        labels = []
        for seed in range(12):
            parts = contract([("q", png("red circle", seed))])
            reply = client.chat.completions.create(
                model="try",
                messages=[
                    {"role": "system", "content": system},
                    {"role": "user", "content": openai_content(parts)},
                ],
            )
            labels.append(reply.choices[0].message.content)
        seen.append(labels)
    assert seen[0] == seen[1]
    assert set(seen[0]) == {"class_0", "class_1"}


def test_usage_follows_the_published_formula(client):
    parts = contract([("q", png("red circle", 5, size=(1024, 1024)))])
    reply = ask(client, parts, response_format={"type": "json_object"})
    texts = [SYSTEM, "Image q:", "End of image q."]
    # 1024 x 1024 shrinks to 768 x 768: 2 x 2 tiles
    expected = sum(math.ceil(len(text) / 4) for text in texts) + 85 + 4 * 170
    assert reply.usage.prompt_tokens == expected
    assert reply.usage.completion_tokens == math.ceil(len(reply.choices[0].message.content) / 4)
    assert reply.usage.total_tokens == expected + reply.usage.completion_tokens


def test_a_repeated_prefix_is_cached_in_steps_of_128_tokens(client):
    many = [(label, png(label, 200 + n)) for n in range(2) for label in LABELS]
    first = ask(client, contract([("q1", png("red circle", 300))], many)).usage
    second = ask(client, contract([("q2", png("red circle", 301))], many)).usage
    assert first.prompt_tokens_details.cached_tokens == 0
    cached = second.prompt_tokens_details.cached_tokens
    assert cached >= 6 * 255 // 128 * 128
    assert cached % 128 == 0
    assert cached < second.prompt_tokens


def test_log_probabilities_of_tokens_multiply_to_the_labels_probability(client):
    parts = contract([("q", png("red circle", 6))], [*shots(), ("red circle", png("red circle"))])
    reply = ask(client, parts, logprobs=True, top_logprobs=3)
    tokens = reply.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == reply.choices[0].message.content
    for token in tokens:
        total = sum(math.exp(top.logprob) for top in token.top_logprobs)
        assert total == pytest.approx(1.0, abs=1e-3)
        assert bytes(token.bytes).decode() == token.token
    first = next(token for token in tokens if token.token == "red ")
    assert {top.token for top in first.top_logprobs} == {"red ", "gree", "blue"}


def test_a_stream_joins_to_the_same_answer_and_reports_usage(client):
    parts = contract([("q", png("red circle", 7))])
    whole = ask(client, parts)
    pieces, usage, finish = [], None, None
    stream = ask(client, parts, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        if chunk.usage is not None:
            usage = chunk.usage
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 3
    assert finish == "stop"
    assert usage.prompt_tokens == whole.usage.prompt_tokens


def test_an_answer_is_cut_at_max_tokens(client):
    reply = ask(client, contract([("q", png("red circle", 8))]), max_completion_tokens=3)
    assert reply.choices[0].finish_reason == "length"
    assert len(reply.choices[0].message.content) == 12


def test_a_function_is_called_with_arguments_of_its_schema(client):
    tool = {"type": "function", "function": {"name": "final", "parameters": SCHEMA}}
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": openai_content(contract([("q", png("red circle", 9))]))},
    ]
    reply = client.chat.completions.create(
        model="try", messages=messages, tools=[tool], tool_choice="required"
    )
    (call,) = reply.choices[0].message.tool_calls
    assert reply.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "final"
    validate(json.loads(call.function.arguments), SCHEMA)


def test_a_damaged_image_is_a_bad_request(client):
    for data in (b"no picture", png("red circle")[:200]):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, contract([("q", data)]))
        assert caught.value.body["type"] == "invalid_request_error"


def test_an_image_by_url_is_a_bad_request(client):
    content = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    with pytest.raises(openai.BadRequestError, match="inline"):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": content}])


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["try"]


def test_unknown_paths_are_404_in_openais_form(client):
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="try", input="x")


def test_responses_answer_like_chat(client, server):
    parts = contract([("q", png("blue square", 10))], shots())
    chat = ask(client, parts)
    reply = client.responses.create(
        model="try",
        instructions=SYSTEM,
        input=[{"role": "user", "content": responses_content(parts)}],
        text={"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}},
        include=["message.output_text.logprobs"],
        top_logprobs=2,
    )
    assert reply.output_text == chat.choices[0].message.content
    assert reply.status == "completed"
    assert reply.usage.input_tokens == chat.usage.prompt_tokens
    logprobs = reply.output[0].content[0].logprobs
    assert "".join(token.token for token in logprobs) == reply.output_text


def test_a_stream_of_responses_has_the_sdk_events_in_order(client):
    parts = contract([("q", png("blue square", 11))])
    kinds, text = [], ""
    with client.responses.stream(
        model="try",
        instructions=SYSTEM,
        input=[{"role": "user", "content": responses_content(parts)}],
    ) as stream:
        for event in stream:
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                text += event.delta
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert text == final.output_text == "blue square"


def test_decisions_give_a_probability_per_option(client):
    parts = [SYSTEM, *contract([("q", png("green triangle", 12))], shots())]
    decision = client.decisions.create(
        model="gpt-6-luna",
        input=[{"role": "user", "content": responses_content(parts)}],
        questions=[
            {
                "type": "choice",
                "name": "label",
                "instructions": "Which label?",
                "choices": [{"value": label} for label in LABELS],
            },
            {"type": "predicate", "name": "is_red", "instructions": "Is it a red circle?"},
            {
                "type": "score",
                "name": "blueness",
                "instructions": "How blue?",
                "levels": [{"label": "green triangle"}, {"label": "blue square"}],
            },
        ],
    )
    choice, predicate, score = decision.answers
    assert choice.choice == "green triangle"
    assert {option.value for option in choice.probabilities} == set(LABELS)
    assert sum(option.probability for option in choice.probabilities) == pytest.approx(1.0)
    assert predicate.probability < 0.5
    assert 0 <= score.score < 0.5
    assert decision.usage.input_tokens > 0


def test_too_many_images_or_options_are_bad_requests_of_decisions(client):
    question = {"type": "choice", "name": "x", "instructions": "?"}
    many = [{"value": str(number)} for number in range(256)]
    with pytest.raises(openai.BadRequestError, match="255"):
        client.decisions.create(model="m", input="x", questions=[{**question, "choices": many}])
    two = [{"value": "a"}, {"value": "b"}]
    content = responses_content([png("red circle")] * 129)
    with pytest.raises(openai.BadRequestError, match="128"):
        client.decisions.create(
            model="m",
            input=[{"role": "user", "content": content}],
            questions=[{**question, "choices": two}],
        )


def line(name, parts):
    body = {
        "model": "try",
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": openai_content(parts)},
        ],
    }
    entry = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(entry).encode()


def wait_for(client, batch):
    for _ in range(400):
        batch = client.batches.retrieve(batch.id)
        if batch.status in ("completed", "cancelled"):
            return batch
    raise AssertionError("the batch did not end")


def test_a_batch_of_files_answers_all_in_another_order(client):
    lines = [line(f"r{n}", contract([("q", png(LABELS[n % 3], n))])) for n in range(6)]
    file = client.files.create(file=("in.jsonl", b"\n".join(lines)), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"run": "7"},
    )
    batch = wait_for(client, batch)
    assert batch.request_counts.completed == 6
    assert batch.metadata == {"run": "7"}
    out = [json.loads(row) for row in client.files.content(batch.output_file_id).text.splitlines()]
    answers = {
        row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in out
    }
    assert answers == {f"r{n}": LABELS[n % 3] for n in range(6)}
    assert [row["custom_id"] for row in out] != [f"r{n}" for n in range(6)]
    assert batch.id in [listed.id for listed in client.batches.list()]
    client.files.delete(file.id)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_a_batch_writes_failures_into_the_error_file():
    with (
        LocalServer("openai", encoder=ColourEncoder(), faults=Faults(server_error=0.4)) as server,
        openai.OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client,
    ):

        def again(call, *args, **kwargs):
            for _ in range(50):
                with contextlib.suppress(openai.InternalServerError):
                    return call(*args, **kwargs)
            raise AssertionError("50 server errors in a row")

        lines = [line(f"r{n}", contract([("q", png("red circle", n))])) for n in range(20)]
        upload = ("in.jsonl", b"\n".join(lines))
        file = again(client.files.create, file=upload, purpose="batch")
        batch = again(
            client.batches.create,
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
        )
        while batch.status != "completed":
            batch = again(client.batches.retrieve, batch.id)
        good = again(client.files.content, batch.output_file_id).text.splitlines()
        bad = again(client.files.content, batch.error_file_id).text.splitlines()
    assert len(good) + len(bad) == 20
    assert bad
    assert all(json.loads(row)["response"]["status_code"] >= 500 for row in bad)
    assert sum(server.stats.paid.values()) == len(good)


def test_a_cancelled_batch_is_not_paid():
    with (
        LocalServer("openai", encoder=ColourEncoder(), batch_delay=60) as server,
        openai.OpenAI(base_url=server.base_url, api_key="x") as client,
    ):
        lines = [line("r", contract([("q", png("red circle", 1))]))]
        file = client.files.create(file=("in.jsonl", b"\n".join(lines)), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert client.batches.retrieve(batch.id).status == "in_progress"
        assert client.batches.cancel(batch.id).status == "cancelled"
    assert not server.stats.paid
