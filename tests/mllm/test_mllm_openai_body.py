"""What is spared OpenAI's library changes nothing: not what is sent, not what is understood."""

from __future__ import annotations

import asyncio
import copy
import json
from dataclasses import replace

import httpx2
import openai
import pytest
from pydantic_ai.messages import ModelRequest, UserPromptPart
from pydantic_ai.models import ModelRequestParameters

from showtell.errors import MLLMError
from showtell.mllm import ImagePart, Request, Settings, TextPart, load_mllm
from showtell.mllm.providers import openai_body, vendors

IMAGE = ImagePart(
    data=b"\xff\xd8 not looked at", media_type="image/jpeg", digest="0", width=9, height=9
)
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["cat", "dog"]}},
    "required": ["label"],
    "additionalProperties": False,
}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "try-1",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "cat", "refusal": None},
            "finish_reason": "stop",
            "logprobs": {
                "content": [
                    {
                        "token": "cat",
                        "bytes": [99, 97, 116],
                        "logprob": -0.25,
                        "top_logprobs": [{"token": "cat", "bytes": None, "logprob": -0.25}],
                    }
                ],
                "refusal": None,
            },
        }
    ],
    "usage": {
        "prompt_tokens": 90,
        "completion_tokens": 2,
        "total_tokens": 92,
        "prompt_tokens_details": {"cached_tokens": 64},
    },
}


@pytest.fixture(params=["ours", "library"])
def path(request, monkeypatch):
    """Run a test by way of what is measured here, and by way of the library alone."""
    if request.param == "library":
        leave_to_library(monkeypatch)
    return request.param


def leave_to_library(monkeypatch):
    monkeypatch.setattr(vendors, "send_messages_as_they_are", lambda client: False)


def question(model, schema=None):
    return Request(
        model=model.name,
        system="Say what you see.",
        parts=(TextPart(text="Image ä:"), IMAGE, TextPart(text="End of image ä.")),
        schema=schema,
        settings=Settings(max_tokens=99, temperature=0.0, seed=5, timeout=7.5),
        idempotency_key="once",
    )


def answering(monkeypatch, answer):
    """Have every request answered by `answer(request)`; gives the list of what was sent."""
    sent = []

    def take(request):
        sent.append(request)
        found = answer(request)
        if isinstance(found, Exception):
            raise found
        return found

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(take))
    monkeypatch.setattr(vendors, "make_client", lambda _look_at: client)
    return sent


def ask(model, *requests):
    """Ask one after the other; give the last answer, or what went wrong."""

    async def ask_all():
        try:
            for request in requests:
                answer = await model.ask(request)
            return answer
        finally:
            await model.aclose()

    try:
        return asyncio.run(ask_all())
    except MLLMError as error:
        return type(error), str(error), getattr(error, "retry_after", None)


def both_ways(monkeypatch, answer, *, name="openai:try", **options):
    """Ask our way, then the library's; give requests and outcome of each."""
    found = []
    for own in (True, False):
        with monkeypatch.context() as patched:
            if not own:
                leave_to_library(patched)
            model = load_mllm(name, **{"base_url": "http://127.0.0.1:9/v1", **options})
            sent = answering(patched, answer)
            found.append((sent, ask(model, question(model))))
    return found


def failing(request):
    return httpx2.Response(500, json={})


@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["free", "schema"])
@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_a_body_says_what_the_library_would_have_said(provider, schema, monkeypatch):
    bodies = []
    for own in (True, False):
        with monkeypatch.context() as patched:
            if not own:
                leave_to_library(patched)
            model = load_mllm(f"{provider}:try", base_url="http://127.0.0.1:9/v1")
            sent = answering(patched, failing)
            ask(model, question(model, schema))
        [request] = sent
        bodies.append(json.loads(request.content))
    ours, theirs = bodies
    assert ours == theirs
    kinds = [part["type"] for part in ours["messages"][-1]["content"]]
    assert kinds == ["text", "image_url", "text"]
    assert ours["messages"][0]["role"] == "system"
    assert ("response_format" in ours) == (schema is not None)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:9",
        "http://127.0.0.1:9/v1/",
        "https://showtell.openai.azure.com/openai/v1/?api-version=preview",
    ],
)
@pytest.mark.parametrize("api_key", ["sk-of-the-test", None], ids=["key", "no-key"])
def test_address_headers_and_key_are_those_of_the_library(base_url, api_key, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-7")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-8")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-not-to-be-sent")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: moths")
    (ours, _), (theirs, _) = both_ways(monkeypatch, failing, base_url=base_url, api_key=api_key)
    assert len(ours) == len(theirs) == 1  # the library tries once: trying again is the client's
    assert ours[0].url == theirs[0].url
    assert ours[0].method == theirs[0].method == "POST"
    headers = dict(ours[0].headers)
    assert headers == {**theirs[0].headers, "content-length": headers["content-length"]}
    assert headers["authorization"] == f"Bearer {api_key or 'no-key'}"
    assert headers["openai-organization"] == "org-7"
    assert headers["openai-project"] == "proj-8"
    assert headers["x-team"] == "moths"
    assert headers["idempotency-key"] == "once"
    assert ours[0].extensions["timeout"] == theirs[0].extensions["timeout"]
    assert ours[0].extensions["timeout"]["read"] == 7.5


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 503, 529]
)
def test_a_status_is_the_same_error(status, monkeypatch):
    def refuse(request):
        body = {"error": {"message": "Not today.", "code": "no", "type": "x"}}
        headers = {"retry-after": "3", "x-request-id": "req-9"}
        return httpx2.Response(status, json=body, headers=headers)

    (sent, ours), (_, theirs) = both_ways(monkeypatch, refuse)
    assert ours == theirs
    assert len(sent) == 1
    kind, text, retry_after = ours
    assert issubclass(kind, MLLMError)
    assert f"HTTP {status}" in text
    assert "Not today." in text
    assert (retry_after == 3) == (status in (429, 529))


@pytest.mark.parametrize(
    "fault",
    [
        httpx2.ReadTimeout("slow"),
        httpx2.ConnectError("nobody there"),
        httpx2.RemoteProtocolError("cut"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_fault_on_the_way_is_the_same_error(fault, monkeypatch):
    (sent, ours), (_, theirs) = both_ways(monkeypatch, lambda request: fault)
    assert ours == theirs
    assert len(sent) == 1
    assert issubclass(ours[0], MLLMError)


def answer_with(message=None, choice=None, **fields):
    """Build the usual answer with parts of it replaced; those given as ... are left out."""
    answer = copy.deepcopy(ANSWER)
    [first] = answer["choices"]
    for place, changes in ((first["message"], message), (first, choice), (answer, fields)):
        for name, value in (changes or {}).items():
            if value is ...:
                place.pop(name, None)
            else:
                place[name] = value
    return answer


ODD_ANSWERS = {
    "plain": ANSWER,
    "created is null": answer_with(created=None),
    "created is left out": answer_with(created=...),
    "no finish reason": answer_with(choice={"finish_reason": None}),
    "unknown finish reason": answer_with(choice={"finish_reason": "end_turn"}),
    "no usage": answer_with(usage=...),
    "usage is null": answer_with(usage=None),
    "no id": answer_with(id=...),
    "another object": answer_with(object="completion"),
    "own fields": answer_with(message={"reasoning_content": "Whiskers."}, x_took_ms=7),
    "unknown tier": answer_with(service_tier="on_demand"),
    "refusal": answer_with(message={"content": None, "refusal": "I will not say."}),
    "held back": answer_with(message={"content": ""}, choice={"finish_reason": "content_filter"}),
    "cut off": answer_with(choice={"finish_reason": "length"}),
    "no logprobs": answer_with(choice={"logprobs": ...}),
    "index in quotes": answer_with(choice={"index": "0"}),
    "a number as text": answer_with(message={"content": 7}),
    "no choices": answer_with(choices=[]),
    "choices are null": answer_with(choices=None),
    "half a character": answer_with(message={"content": "cat \ud83d"}),
    "an error that is none": {"error": {"message": "overloaded"}},
    "empty": {},
    "null": None,
    "list": [ANSWER],
    "string": "cat",
}


@pytest.mark.parametrize("answer", ODD_ANSWERS.values(), ids=ODD_ANSWERS.keys())
def test_an_answer_is_understood_as_the_library_understands_it(answer, monkeypatch):
    (_, ours), (_, theirs) = both_ways(
        monkeypatch, lambda request: httpx2.Response(200, json=answer)
    )
    assert ours == theirs


TEXT = json.dumps(ANSWER)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "text/html", None])
@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-16"),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT[:-20].encode(),
        b"<html>Sign in</html>",
        b"",
    ],
    ids=["json", "utf-16", "bom", "torn", "page", "nothing"],
)
def test_bytes_that_are_no_plain_answer_end_in_the_same_way(content, kind, monkeypatch):
    headers = {} if kind is None else {"content-type": kind}
    (_, ours), (_, theirs) = both_ways(
        monkeypatch, lambda request: httpx2.Response(200, content=content, headers=headers)
    )
    assert ours == theirs


def test_a_plain_answer_is_whole(path, monkeypatch):
    model = load_mllm("openai:try", base_url="http://127.0.0.1:9/v1")
    answering(monkeypatch, lambda request: httpx2.Response(200, json=ANSWER))
    answer = ask(model, question(model))
    assert (answer.text, answer.finish, answer.model) == ("cat", "stop", "try-1")
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (90, 2, 64)
    assert answer.logprobs[0].top == (("cat", -0.25),)


def test_a_request_may_be_asked_again(path, monkeypatch):
    model = load_mllm("openai:try", base_url="http://127.0.0.1:9/v1")
    sent = answering(monkeypatch, lambda request: httpx2.Response(200, json=ANSWER))
    request = question(model, SCHEMA)
    ask(model, request, replace(request), request)
    assert sent[0].content == sent[1].content == sent[2].content
    assert b"data:image/jpeg;base64," in sent[0].content


def test_settings_of_the_user_go_into_the_body_and_win(path, monkeypatch):
    model = load_mllm("openai:try", base_url="http://127.0.0.1:9/v1")
    model._settings.update(extra_body={"seed": 6, "top_k": 1}, extra_headers={"X-Mine": "yes"})
    sent = answering(monkeypatch, lambda request: httpx2.Response(200, json=ANSWER))
    ask(model, question(model, SCHEMA))
    body = json.loads(sent[0].content)
    assert (body["seed"], body["top_k"]) == (6, 1)
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert sent[0].headers["x-mine"] == "yes"


def test_a_server_that_sends_us_elsewhere_is_an_error_both_ways(monkeypatch):
    def elsewhere(request):
        return httpx2.Response(307, headers={"location": "http://127.0.0.1:8/v1/chat/completions"})

    (sent, ours), (_, theirs) = both_ways(monkeypatch, elsewhere)
    assert ours == theirs
    assert issubclass(ours[0], MLLMError)
    assert len(sent) == 1


def test_who_wants_the_library_to_try_again_gets_that(path, monkeypatch):
    model = load_mllm("openai:try", base_url="http://127.0.0.1:9/v1")
    model._settings.update(max_retries=2)
    sent = answering(
        monkeypatch,
        lambda request: (
            httpx2.Response(500, json={}, headers={"retry-after-ms": "1"})
            if len(sent) < 3
            else httpx2.Response(200, json=ANSWER)
        ),
    )
    assert ask(model, question(model)).text == "cat"
    assert len(sent) == 3
    assert sent[0].content == sent[2].content != b""


def test_text_that_is_no_unicode_ends_as_with_the_library(monkeypatch):
    found = []
    for own in (True, False):
        with monkeypatch.context() as patched:
            if not own:
                leave_to_library(patched)
            model = load_mllm("openai:try", base_url="http://127.0.0.1:9/v1")
            sent = answering(patched, failing)
            asked = replace(question(model), parts=(TextPart(text="half \ud83d"),))
            found.append((ask(model, asked), len(sent)))
    assert found[0] == found[1]
    assert found[0][1] == 0


def test_a_stream_is_the_library_s_business(path, monkeypatch):
    chunk = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "try-1",
        "choices": [{"index": 0, "delta": {"content": "cat"}, "finish_reason": "stop"}],
    }
    events = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    headers = {"content-type": "text/event-stream"}
    sent = answering(
        monkeypatch, lambda request: httpx2.Response(200, content=events, headers=headers)
    )
    model = load_mllm("openai:try", base_url="http://127.0.0.1:9/v1")

    async def stream():
        asked = [ModelRequest(parts=[UserPromptPart("What is it?")])]
        settings = {"extra_body": {"top_k": 1}, "timeout": 7.5}
        async with model.connect().request_stream(
            asked, settings, ModelRequestParameters()
        ) as streamed:
            async for _ in streamed:
                pass
            found = streamed.get()
        await model.aclose()
        return found

    found = asyncio.run(stream())
    assert [part.content for part in found.parts] == ["cat"]
    body = json.loads(sent[0].content)
    assert (body["stream"], body["top_k"]) == (True, 1)
    assert body["messages"] == [{"role": "user", "content": "What is it?"}]
    assert sent[0].extensions["timeout"]["read"] == 7.5


def test_more_of_the_query_is_the_library_s_business(monkeypatch):
    sent = answering(monkeypatch, lambda request: httpx2.Response(200, json=ANSWER))

    async def create():
        async with openai.AsyncOpenAI(
            api_key="k", base_url="http://h/v1", http_client=vendors.make_client(None)
        ) as client:
            assert openai_body.send_messages_as_they_are(client)
            return await client.chat.completions.create(
                messages=[], model="m", stream=False, extra_query={"api-version": "1"}
            )

    asyncio.run(create())
    assert sent[0].url == "http://h/v1/chat/completions?api-version=1"
    assert "extra_query" not in json.loads(sent[0].content)


def library_client():
    return openai.AsyncOpenAI(api_key="k", base_url="http://127.0.0.1:9/v1")


def test_the_installed_version_of_the_library_is_one_whose_door_is_known():
    assert openai_body.send_messages_as_they_are(library_client()), (
        f"openai {openai.__version__} is left alone, so calls cost a third more processor time: "
        "see `_has_known_door`."
    )


def test_another_version_of_the_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(openai, "__version__", "4.0.0")
    client = library_client()
    before = client.chat.completions.create
    assert not openai_body.send_messages_as_they_are(client)
    assert client.chat.completions.create == before
    sent = answering(monkeypatch, lambda request: httpx2.Response(200, json=ANSWER))
    model = load_mllm("openai:try", base_url="http://127.0.0.1:9/v1")
    assert ask(model, question(model)).text == "cat"
    assert len(sent) == 1


def test_a_client_whose_door_is_another_is_left_alone(monkeypatch):
    async def post(self, path, *, cast_to, body=None, options=None):
        raise AssertionError("not to be called")

    monkeypatch.setattr(openai.AsyncOpenAI, "post", post)
    assert not openai_body.send_messages_as_they_are(library_client())


def test_azure_s_client_is_left_alone():
    client = openai.AsyncAzureOpenAI(
        api_key="k", azure_endpoint="http://127.0.0.1:9", api_version="1"
    )
    assert not openai_body.send_messages_as_they_are(client)
