"""Anthropic's own SDK against the local server."""

from __future__ import annotations

import json
import math

import pytest
from jsonschema import validate
from tests.servers.wire import LABELS, SCHEMA, SYSTEM, anthropic_content, contract, png, shots

from showtell.testing import ColourEncoder
from showtell.testing.servers import Faults, LocalServer

anthropic = pytest.importorskip("anthropic", reason="needs the extra `anthropic`")

FORMAT = {"format": {"type": "json_schema", "schema": SCHEMA}}


@pytest.fixture(scope="module")
def server():
    with LocalServer("anthropic", encoder=ColourEncoder()) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with anthropic.Anthropic(base_url=server.base_url, api_key="x", max_retries=0) as client:
        yield client


def ask(client, parts, **more):
    more.setdefault("output_config", FORMAT)
    more.setdefault("system", SYSTEM)
    messages = [{"role": "user", "content": anthropic_content(parts)}]
    return client.messages.create(model="try", max_tokens=500, messages=messages, **more)


def test_messages_answer_every_query_by_its_image_and_id(client):
    queries = [("b", png(LABELS[2], 1)), ("a", png(LABELS[0], 2))]
    reply = ask(client, contract(queries, shots()))
    answer = json.loads(reply.content[0].text)
    validate(answer, SCHEMA)
    found = {entry["id"]: entry["label"] for entry in answer["answers"]}
    assert found == {"a": "red circle", "b": "blue square"}
    assert reply.stop_reason == "end_turn"


def test_usage_counts_pixels_by_750(client):
    reply = ask(client, contract([("q", png("red circle", 1, size=(300, 250)))]))
    schema = json.dumps(SCHEMA, separators=(",", ":"))
    texts = [SYSTEM + schema, "Image q:", "End of image q."]
    assert reply.usage.input_tokens == sum(math.ceil(len(t) / 4) for t in texts) + 100
    assert reply.usage.output_tokens == math.ceil(len(reply.content[0].text) / 4)
    counted = client.messages.count_tokens(
        model="try",
        system=SYSTEM,
        messages=[{"role": "user", "content": anthropic_content(["Image q:"])}],
    )
    assert counted.input_tokens == math.ceil(len(SYSTEM) / 4) + 2


def test_prefixes_are_cached_at_marks_only(client):
    many = [(label, png(label, n, size=(600, 500))) for n in range(1) for label in LABELS]
    prefix = anthropic_content(contract([], many))

    def send(name, *, marked):
        content = [dict(block) for block in prefix]
        if marked:
            content[-1]["cache_control"] = {"type": "ephemeral"}
        content += anthropic_content(contract([(name, png("red circle", 50))]))
        return client.messages.create(
            model="try",
            max_tokens=50,
            system=SYSTEM,
            messages=[{"role": "user", "content": content}],
        ).usage

    plain = [send(f"p{n}", marked=False) for n in range(2)]
    assert [usage.cache_read_input_tokens for usage in plain] == [0, 0]
    first, second = send("m1", marked=True), send("m2", marked=True)
    assert first.cache_creation_input_tokens > 1200
    assert first.cache_read_input_tokens == 0
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.cache_creation_input_tokens == 0
    total = plain[0].input_tokens
    assert second.input_tokens + second.cache_read_input_tokens == total


def test_a_stream_joins_to_the_same_answer(client):
    parts = contract([("q", png("blue square", 7))])
    whole = ask(client, parts)
    with client.messages.stream(
        model="try",
        max_tokens=500,
        system=SYSTEM,
        messages=[{"role": "user", "content": anthropic_content(parts)}],
        output_config=FORMAT,
    ) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == whole.content[0].text
    assert len(pieces) > 3
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_a_tool_is_called_with_arguments_of_its_schema(client):
    tool = {"name": "final", "input_schema": SCHEMA}
    reply = client.messages.create(
        model="try",
        max_tokens=500,
        system=SYSTEM,
        messages=[
            {"role": "user", "content": anthropic_content(contract([("q", png("red circle"))]))}
        ],
        tools=[tool],
        tool_choice={"type": "tool", "name": "final"},
    )
    (block,) = reply.content
    assert (block.type, block.name, reply.stop_reason) == ("tool_use", "final", "tool_use")
    validate(block.input, SCHEMA)


def test_a_damaged_image_is_a_bad_request(client):
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(client, contract([("q", b"no picture")]))
    assert caught.value.body["error"]["type"] == "invalid_request_error"


def test_a_missing_max_tokens_is_a_bad_request(server):
    import httpx2

    body = {"model": "try", "messages": [{"role": "user", "content": "x"}]}
    reply = httpx2.post(f"{server.base_url}/v1/messages", json=body)
    assert reply.status_code == 400
    assert "max_tokens" in reply.json()["error"]["message"]


def test_a_wrong_key_is_an_authentication_error():
    with (
        LocalServer("anthropic", encoder=ColourEncoder(), api_keys=["right"]) as server,
        anthropic.Anthropic(base_url=server.base_url, api_key="wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError),
    ):
        ask(client, contract([("q", png("red circle"))]))


@pytest.mark.parametrize("fault", ["refuse", "block"])
def test_refusals_and_blocks_have_anthropics_form(fault):
    with (
        LocalServer("anthropic", encoder=ColourEncoder(), faults=Faults(**{fault: 1.0})) as server,
        anthropic.Anthropic(base_url=server.base_url, api_key="x", max_retries=0) as client,
    ):
        if fault == "refuse":
            reply = ask(client, contract([("q", png("red circle"))]))
            assert reply.stop_reason == "refusal"
            assert reply.stop_details.type == "refusal"
            assert reply.content == []
        else:
            with pytest.raises(anthropic.BadRequestError, match="content filtering"):
                ask(client, contract([("q", png("red circle"))]))
    assert server.stats.faults[fault] == 1


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["try"]


def test_a_message_batch_answers_all(client):
    requests = [
        {
            "custom_id": f"r{n}",
            "params": {
                "model": "try",
                "max_tokens": 50,
                "system": SYSTEM,
                "messages": [
                    {
                        "role": "user",
                        "content": anthropic_content(contract([("q", png(LABELS[n % 3], n))])),
                    }
                ],
            },
        }
        for n in range(5)
    ]
    batch = client.messages.batches.create(requests=requests)
    for _ in range(400):
        batch = client.messages.batches.retrieve(batch.id)
        if batch.processing_status == "ended":
            break
    found = {
        entry.custom_id: entry.result.message.content[0].text
        for entry in client.messages.batches.results(batch.id)
    }
    assert found == {f"r{n}": LABELS[n % 3] for n in range(5)}
    assert batch.request_counts.succeeded == 5
    assert batch.id in [listed.id for listed in client.messages.batches.list()]
    client.messages.batches.delete(batch.id)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch.id)


def test_results_of_a_cancelled_batch_are_cancelled():
    with (
        LocalServer("anthropic", encoder=ColourEncoder(), batch_delay=60) as server,
        anthropic.Anthropic(base_url=server.base_url, api_key="x") as client,
    ):
        params = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
        batch = client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
        assert batch.processing_status == "in_progress"
        batch = client.messages.batches.cancel(batch.id)
        assert batch.request_counts.canceled == 1
        (entry,) = client.messages.batches.results(batch.id)
        assert entry.result.type == "canceled"
