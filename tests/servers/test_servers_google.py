"""Google's own SDK against the local server."""

from __future__ import annotations

import io
import json
import math

import pytest
from jsonschema import validate
from tests.servers.wire import LABELS, SCHEMA, SYSTEM, contract, google_parts, png, shots

from showtell.testing import ColourEncoder
from showtell.testing.servers import Faults, LocalServer

genai = pytest.importorskip("google.genai", reason="needs the extra `google`")
types = pytest.importorskip("google.genai.types")
errors = pytest.importorskip("google.genai.errors")


@pytest.fixture(scope="module")
def server():
    with LocalServer("google", encoder=ColourEncoder()) as running:
        yield running


def connect(server):
    options = types.HttpOptions(base_url=server.base_url, api_version="v1beta")
    return genai.Client(api_key="x", http_options=options)


@pytest.fixture(scope="module")
def client(server):
    client = connect(server)
    yield client
    client.close()


def contents(parts):
    return [
        types.Part.from_text(text=part)
        if isinstance(part, str)
        else types.Part.from_bytes(data=part, mime_type="image/png")
        for part in parts
    ]


def config(**more):
    return types.GenerateContentConfig(
        system_instruction=SYSTEM,
        response_mime_type="application/json",
        response_json_schema=SCHEMA,
        **more,
    )


def ask(client, parts, **more):
    return client.models.generate_content(
        model="try", contents=contents(parts), config=config(**more)
    )


def test_generate_answers_every_query_by_its_image_and_id(client):
    queries = [("b", png(LABELS[2], 1)), ("a", png(LABELS[0], 2))]
    reply = ask(client, contract(queries, shots()))
    answer = json.loads(reply.text)
    validate(answer, SCHEMA)
    found = {entry["id"]: entry["label"] for entry in answer["answers"]}
    assert found == {"a": "red circle", "b": "blue square"}
    assert reply.candidates[0].finish_reason == types.FinishReason.STOP


def test_usage_counts_tiles_and_tells_texts_from_images(client):
    reply = ask(client, contract([("q", png("red circle", 1, size=(960, 540)))]))
    schema = json.dumps(SCHEMA, separators=(",", ":"))
    texts = [SYSTEM + schema, "Image q:", "End of image q."]
    n_text = sum(math.ceil(len(text) / 4) for text in texts)
    usage = reply.usage_metadata
    assert usage.prompt_token_count == n_text + 6 * 258  # tiles of 360 x 360
    assert {d.modality.value: d.token_count for d in usage.prompt_tokens_details} == {
        "TEXT": n_text,
        "IMAGE": 6 * 258,
    }
    small = ask(
        client,
        contract([("q", png("red circle", 1, size=(960, 540)))]),
        media_resolution="MEDIA_RESOLUTION_LOW",
    )
    assert small.usage_metadata.prompt_token_count == n_text + 64


def test_a_repeated_prefix_is_cached(client):
    many = [(label, png(label, 500 + n)) for n in range(2) for label in LABELS]
    first = ask(client, contract([("q1", png("red circle", 600))], many)).usage_metadata
    second = ask(client, contract([("q2", png("red circle", 601))], many)).usage_metadata
    assert first.cached_content_token_count is None
    assert 6 * 258 < second.cached_content_token_count < second.prompt_token_count


def test_log_probabilities_join_to_the_answer(client):
    reply = ask(client, contract([("q", png("red circle", 3))]), response_logprobs=True, logprobs=3)
    result = reply.candidates[0].logprobs_result
    assert "".join(token.token for token in result.chosen_candidates) == reply.text
    assert len(result.top_candidates) == len(result.chosen_candidates)
    place = next(i for i, t in enumerate(result.chosen_candidates) if t.token == "red ")
    tops = result.top_candidates[place].candidates
    assert {top.token for top in tops} == {"red ", "gree", "blue"}
    assert sum(math.exp(top.log_probability) for top in tops) == pytest.approx(1, abs=1e-6)


def test_a_stream_joins_to_the_same_answer(client):
    parts = contract([("q", png("blue square", 7))])
    whole = ask(client, parts)
    chunks = list(
        client.models.generate_content_stream(
            model="try", contents=contents(parts), config=config()
        )
    )
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert len(chunks) > 3
    assert chunks[-1].usage_metadata.prompt_token_count == whole.usage_metadata.prompt_token_count


def test_upper_case_schemas_are_followed_too(client):
    schema = {"type": "OBJECT", "properties": {"label": {"type": "STRING", "enum": list(LABELS)}}}
    reply = client.models.generate_content(
        model="try",
        contents=contents(contract([("q", png("green triangle", 3))])),
        config=types.GenerateContentConfig(
            response_mime_type="application/json", response_schema=schema
        ),
    )
    assert json.loads(reply.text) == {"label": "green triangle"}


def test_a_function_is_called(client):
    function = types.FunctionDeclaration(name="final", parameters_json_schema=SCHEMA)
    reply = client.models.generate_content(
        model="try",
        contents=contents(contract([("q", png("green triangle", 3))])),
        config=types.GenerateContentConfig(tools=[types.Tool(function_declarations=[function])]),
    )
    (call,) = reply.function_calls
    validate(call.args, SCHEMA)


def test_a_damaged_image_is_an_invalid_argument(client):
    with pytest.raises(errors.ClientError) as caught:
        ask(client, contract([("q", b"no picture")]))
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")


def test_tokens_can_be_counted(client):
    counted = client.models.count_tokens(model="try", contents=["12345678"])
    assert counted.total_tokens == 2


def test_models_are_listed(client):
    assert [model.name for model in client.models.list()] == ["models/try"]


@pytest.mark.parametrize("fault", ["refuse", "block", "rate_limit"])
def test_refusals_blocks_and_limits_have_googles_form(fault):
    faults = Faults(**{fault: 1.0})
    with LocalServer("google", encoder=ColourEncoder(), faults=faults, retry_after=7) as server:
        client = connect(server)
        parts = contract([("q", png("red circle"))])
        if fault == "rate_limit":
            with pytest.raises(errors.ClientError) as caught:
                ask(client, parts)
            assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
            assert caught.value.details["error"]["details"][0]["retryDelay"] == "7.000s"
            assert caught.value.response.headers["retry-after"] == "7"
        elif fault == "block":
            reply = ask(client, parts)
            assert reply.prompt_feedback.block_reason == types.BlockedReason.SAFETY
            assert not reply.candidates
        else:
            reply = ask(client, parts)
            assert reply.candidates[0].finish_reason == types.FinishReason.SAFETY
            assert reply.candidates[0].content is None
        client.close()
    assert server.stats.faults[fault] == 1


def wait_for(client, job):
    for _ in range(400):
        job = client.batches.get(name=job.name)
        if job.state.value not in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
            return job
    raise AssertionError("the batch did not end")


def test_inlined_batches_answer_in_the_order_of_requests(client):
    requests = [
        types.InlinedRequest(
            contents=[
                types.Content(role="user", parts=contents([SYSTEM, *contract([("q", png(x, 2))])]))
            ],
            metadata={"key": x},
        )
        for x in LABELS
    ]
    job = wait_for(client, client.batches.create(model="try", src=requests))
    assert job.state == types.JobState.JOB_STATE_SUCCEEDED
    assert [entry.response.text for entry in job.dest.inlined_responses] == list(LABELS)
    assert [entry.metadata["key"] for entry in job.dest.inlined_responses] == list(LABELS)
    assert job.name in [listed.name for listed in client.batches.list()]


def test_batches_of_files_answer_by_key(client):
    lines = [
        json.dumps(
            {
                "key": f"r{n}",
                "request": {
                    "systemInstruction": {"parts": [{"text": SYSTEM}]},
                    "contents": [
                        {
                            "role": "user",
                            "parts": google_parts(contract([("q", png(LABELS[n % 3], n))])),
                        }
                    ],
                },
            }
        )
        for n in range(5)
    ]
    upload = client.files.upload(
        file=io.BytesIO("\n".join(lines).encode()),
        config=types.UploadFileConfig(mime_type="application/jsonl", display_name="in"),
    )
    assert upload.size_bytes == len("\n".join(lines))
    job = wait_for(client, client.batches.create(model="try", src=upload.name))
    rows = [json.loads(row) for row in client.files.download(file=job.dest.file_name).splitlines()]
    found = {
        row["key"]: row["response"]["candidates"][0]["content"]["parts"][0]["text"] for row in rows
    }
    assert found == {f"r{n}": LABELS[n % 3] for n in range(5)}
    client.files.delete(name=upload.name)
    with pytest.raises(errors.ClientError):
        client.files.get(name=upload.name)


def test_a_cancelled_job_is_cancelled():
    with LocalServer("google", encoder=ColourEncoder(), batch_delay=60) as server:
        client = connect(server)
        job = client.batches.create(
            model="try", src=[types.InlinedRequest(contents="What is this?")]
        )
        assert job.state == types.JobState.JOB_STATE_RUNNING
        client.batches.cancel(name=job.name)
        job = client.batches.get(name=job.name)
        assert job.state == types.JobState.JOB_STATE_CANCELLED
        client.close()
    assert server.stats.n_answered == 0
