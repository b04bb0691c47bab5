"""Through the vendors' own libraries to local servers: nothing lost, added or leaked."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import json
import logging
import pickle
import socket
import ssl
import threading
import time
import traceback
from decimal import Decimal

import pytest

pytest.importorskip("pydantic_ai")
pytest.importorskip("starlette")

import httpx2
import pydantic_ai.exceptions as theirs
from pydantic_ai.models import decision

from showtell.errors import (
    InputError,
    MLLMAuthError,
    MLLMError,
    MLLMRequestError,
    MLLMServerError,
    MLLMTimeoutError,
    MLLMUnreachableError,
    RateLimitedError,
)
from showtell.media import read_media
from showtell.mllm import Answer, Request, Settings, TextPart, load_mllm, prepare_image
from showtell.mllm.call.cache import AnswerCache
from showtell.mllm.call.client import Client
from showtell.mllm.call.journal import Journal
from showtell.mllm.providers.failures import ERRORS
from showtell.mllm.providers.vendors import PydanticAIModel
from showtell.mllm.tokens import estimate_tokens
from showtell.testing import ColourEncoder, draw_shape
from showtell.testing.servers import Faults, LocalServer

KEY = "sk-PLANTED0123456789abcdefKEY"
LABELS = ("red circle", "green square", "blue triangle")
SCHEMA = {
    "type": "object",
    "properties": {
        "n_images": {"type": "integer"},
        "answers": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "label": {"type": "string", "enum": list(LABELS)},
                    "confidence": {"type": "integer"},
                },
                "required": ["id", "label", "confidence"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["n_images", "answers"],
    "additionalProperties": False,
}
SYSTEM = (
    "Say what each image shows.\nLabels:\n" + "".join(f"- {x}\n" for x in LABELS) + "End of labels."
)
CHAT = ["openai", "openai-responses", "google", "anthropic", "ollama", "vllm"]
DECISIONS = ["openai-decisions", "google-decisions", "systemone"]


def kind_of(provider):
    if provider in ("google", "google-decisions"):
        return "google"
    return provider if provider in ("anthropic", "ollama") else "openai"


def shape(label, seed=0, size=(96, 96)):
    return prepare_image(read_media(draw_shape(label, seed=seed, size=size)))


def ask(model, label="red circle", query="q1", n_demonstrations=1, **more):
    parts = []
    for seed in range(n_demonstrations):
        for name in LABELS:
            parts += [
                TextPart(text="Example:"),
                shape(name, seed),
                TextPart(text=f"Label: {name}"),
            ]
    n_prefix = len(parts)
    parts += [
        TextPart(text=f"Image {query}:"),
        shape(label, 7),
        TextPart(text=f"End of image {query}."),
    ]
    more.setdefault("settings", Settings(max_tokens=200, timeout=20))
    more.setdefault("schema", SCHEMA)
    return Request(model=model.name, system=SYSTEM, parts=tuple(parts), n_prefix=n_prefix, **more)


@pytest.fixture(scope="module")
def server():
    with LocalServer("all", encoder=ColourEncoder()) as server:
        server.load()
        yield server


@pytest.fixture
def serve():
    """Servers with options of their own."""
    running = []

    def start(**options):
        options.setdefault("encoder", ColourEncoder())
        running.append(LocalServer(options.pop("kind", "all"), **options).start())
        return running[-1]

    yield start
    for server in running:
        server.stop()


def load(server, provider, model="try", **options):
    return load_mllm(f"{provider}:{model}", base_url=server.url_for(kind_of(provider)), **options)


def one(model, request=None, **options):
    options.setdefault("retries", 1)
    return Client(model, **options).run([request or ask(model)])[0]


@pytest.mark.parametrize("provider", CHAT)
@pytest.mark.parametrize("label", LABELS)
def test_every_wire_format_carries_demonstrations_queries_and_schema(server, provider, label):
    model = load(server, provider)
    before = server.stats.n_requests
    found = one(model, ask(model, label, n_demonstrations=2))
    assert isinstance(found, Answer), found
    assert json.loads(found.text)["answers"][0] | {"confidence": 0} == {
        "id": "q1",
        "label": label,
        "confidence": 0,
    }
    assert (found.finish, found.model, found.attempts) == ("stop", "try", 1)
    assert found.usage.input_tokens > 250
    assert found.usage.output_tokens > 5
    assert server.stats.n_requests == before + 1
    seen = server.requests[-1]
    assert seen.layout.replace("t", "") == "i" * 7
    assert seen.ids == ("q1",)
    assert all(image.upright and not image.has_exif for image in seen.images)
    assert [(i.width, i.height) for i in seen.images] == [(96, 96)] * 7


@pytest.mark.parametrize("provider", CHAT)
def test_images_arrive_byte_for_byte_in_their_order(server, provider):
    model = load(server, provider)
    request = ask(model, n_demonstrations=2)
    one(model, request)
    sent = [part.digest for part in request.parts if hasattr(part, "digest")]
    assert [image.digest for image in server.requests[-1].images] == sent


@pytest.mark.parametrize("provider", DECISIONS)
def test_classification_endpoints_give_a_probability_per_label(server, provider):
    model = load(server, provider)
    parts = (TextPart(text="Image q1:"), shape("green square"), TextPart(text="End of image q1."))
    request = Request(model=model.name, system=SYSTEM, parts=parts, labels=LABELS)
    found = one(model, request)
    assert isinstance(found, Answer), found
    assert found.text == "green square"
    assert list(found.probabilities) == list(LABELS)
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert max(found.probabilities, key=found.probabilities.get) == "green square"
    assert found.usage.input_tokens > 0


def test_a_classification_endpoint_without_labels_says_what_is_missing(server):
    model = load(server, "openai-decisions")
    found = one(model, Request(model=model.name, system="", parts=(TextPart(text="?"),)))
    assert isinstance(found, MLLMRequestError)
    assert "Request.labels" in str(found)


@pytest.mark.parametrize("provider", ["openai", "openai-responses", "google"])
def test_token_logprobs_come_with_their_alternatives(server, provider):
    model = load(server, provider)
    settings = Settings(max_tokens=200, top_logprobs=3)
    found = one(model, ask(model, settings=settings))
    assert "".join(token.token for token in found.logprobs) == found.text
    assert all(token.logprob <= 0 for token in found.logprobs)
    assert any(token.top for token in found.logprobs)


@pytest.mark.parametrize("provider", ["anthropic", "ollama"])
def test_logprobs_that_a_provider_does_not_offer_are_not_asked_for(server, provider):
    model = load(server, provider)
    found = one(model, ask(model, settings=Settings(max_tokens=200, top_logprobs=3)))
    assert found.logprobs is None


@pytest.mark.parametrize("provider", ["openai", "openai-responses", "google"])
def test_a_repeated_prefix_is_reported_as_cached(server, provider):
    model = load(server, provider)
    client = Client(model)
    client.run([ask(model, query="a", n_demonstrations=5)])
    second = client.run([ask(model, "blue triangle", query="b", n_demonstrations=5)])[0]
    assert second.usage.cached_tokens >= 1024
    assert second.usage.cached_tokens < second.usage.input_tokens


def test_anthropic_is_told_where_the_repeating_prefix_ends(server):
    model = load(server, "anthropic")
    client = Client(model)
    first = client.run([ask(model, query="x", n_demonstrations=40)])[0]
    second = client.run([ask(model, "blue triangle", query="y", n_demonstrations=40)])[0]
    assert first.usage.cache_write_tokens >= 1024
    assert second.usage.cached_tokens >= 1024
    assert second.usage.cache_write_tokens is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o"),
        ("openai", "gpt-4.1-mini"),
        ("openai-responses", "gpt-4o"),
        ("google", "gemini-2.5-flash"),
        ("anthropic", "claude-haiku-4-5"),
        ("ollama", "gemma3:4b"),
    ],
)
def test_tokens_are_estimated_within_5_percent_of_what_the_provider_counts(server, provider, model):
    mllm = load(server, provider, model)
    request = ask(mllm, n_demonstrations=5)
    counted = one(mllm, request).usage.input_tokens
    assert estimate_tokens(request, mllm.capabilities).input == pytest.approx(counted, rel=0.05)


def test_answers_of_known_models_are_priced(server):
    model = load(server, "openai", "gpt-4.1-mini")
    usage = one(model).usage
    fresh = usage.input_tokens - usage.cached_tokens
    millionths = (
        fresh * Decimal("0.40")
        + usage.cached_tokens * Decimal("0.10")
        + usage.output_tokens * Decimal("1.60")
    )
    assert usage.cost_usd == millionths / 10**6
    assert one(load(server, "openai", "unheard-of")).usage.cost_usd is None
    assert one(load(server, "ollama")).usage.cost_usd == 0


# One try on the wire per call: the libraries' own second tries are off.
@pytest.mark.parametrize("provider", CHAT + DECISIONS)
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("rate_limit", RateLimitedError),
        ("server_error", (MLLMServerError, RateLimitedError)),
        ("cut", MLLMServerError),
        ("timeout", MLLMTimeoutError),
    ],
)
def test_trouble_becomes_a_typed_error_after_one_try(serve, provider, fault, expected):
    server = serve(faults=Faults(**{fault: 1.0}), retry_after=3.0)
    model = load(server, provider)
    seconds = 0.5 if fault == "timeout" else 60
    request = ask(model, labels=LABELS, settings=Settings(max_tokens=99, timeout=seconds))
    found = asyncio.run(_ask_once(model, request))
    assert isinstance(found, expected), repr(found)
    assert found.retryable
    assert "\n" not in str(found)
    until = time.monotonic() + 60
    while not server.stats.n_requests and time.monotonic() < until:
        time.sleep(0.01)  # a slow server reads what a client has given up already
    assert server.stats.n_requests == 1
    if fault == "rate_limit":
        assert found.retry_after == pytest.approx(3.0)


async def _ask_once(model, request):
    try:
        return await model.ask(request)
    except MLLMError as error:
        return error
    finally:
        await model.aclose()


@pytest.mark.parametrize("provider", CHAT)
@pytest.mark.parametrize(("fault", "finish"), [("refuse", "refused"), ("block", "blocked")])
def test_refusals_and_blocks_are_answers_with_their_own_reason(serve, provider, fault, finish):
    server = serve(faults=Faults(**{fault: 1.0}))
    model = load(server, provider)
    found = asyncio.run(_ask_once(model, ask(model)))
    if isinstance(found, Answer):
        allowed = {finish}
        if provider in ("anthropic", "google", "ollama", "vllm"):
            allowed |= {"refused", "blocked", "stop"}  # some formats have one form for both
        assert found.finish in allowed, found
    else:
        assert fault == "block"  # OpenAI's filters answer with a 400
        assert isinstance(found, MLLMRequestError)


@pytest.mark.parametrize("provider", CHAT)
def test_an_empty_answer_is_no_whole_answer(serve, provider):
    server = serve(faults=Faults(empty=1.0))
    model = load(server, provider)
    found = asyncio.run(_ask_once(model, ask(model)))
    if isinstance(found, Answer):
        assert found.text.strip() == ""
    else:
        assert found.retryable


@pytest.mark.parametrize("provider", [*CHAT, *DECISIONS])
def test_a_wrong_key_is_an_auth_error_that_does_not_show_the_key(serve, provider):
    server = serve(api_keys=("right",))
    model = load(server, provider, api_key=KEY)
    found = asyncio.run(_ask_once(model, ask(model, labels=LABELS)))
    assert isinstance(found, MLLMAuthError), repr(found)
    assert KEY not in str(found)
    assert "PLANTED" not in str(found)


@pytest.mark.parametrize("provider", ["openai", "google", "anthropic", "ollama"])
def test_the_right_key_is_let_in(serve, provider):
    server = serve(api_keys=(KEY,))
    model = load(server, provider, api_key=KEY)
    assert isinstance(asyncio.run(_ask_once(model, ask(model))), Answer)


def test_too_many_images_are_a_request_error_that_is_not_tried_again(serve):
    server = serve(max_images=2)
    model = load(server, "openai")
    found = one(model, retries=5)
    assert isinstance(found, MLLMRequestError)
    assert server.stats.n_requests == 1


def test_no_server_at_all_is_a_server_error():
    model = load_mllm("openai:try", base_url="http://127.0.0.1:9/v1")
    assert isinstance(asyncio.run(_ask_once(model, ask(model))), MLLMServerError)


def test_an_answer_cut_at_its_longest_says_so(server):
    model = load(server, "openai")
    assert one(model, ask(model, settings=Settings(max_tokens=3))).finish == "length"


@pytest.mark.parametrize("max_tokens", [None, 50_000])
def test_anthropic_never_streams_by_accident(server, max_tokens):
    model = load(server, "anthropic", "claude-haiku-4-5")
    found = one(model, ask(model, settings=Settings(max_tokens=max_tokens)))
    assert isinstance(found, Answer), found


def test_all_kinds_of_faults_together_lose_nothing(serve):
    server = serve(
        kind="openai",
        faults=Faults(rate_limit=0.05, server_error=0.05, cut=0.05, timeout=0.01),
        retry_after=0.05,
    )
    model = load(server, "openai")
    requests = [
        ask(model, LABELS[i % 3], query=f"q{i}", settings=Settings(max_tokens=99, timeout=3.0))
        for i in range(60)
    ]
    client = Client(model, max_concurrency=8, draw=lambda: 0.0)  # so that no answer waits long
    outcomes = client.run(requests)
    assert len(outcomes) == 60
    for i, outcome in enumerate(outcomes):
        assert isinstance(outcome, Answer), outcome
        (row,) = json.loads(outcome.text)["answers"]
        assert (row["id"], row["label"]) == (f"q{i}", LABELS[i % 3])
    assert client.totals.n_retried > 5
    assert all(
        server.stats.faults[name] for name in ("rate_limit", "server_error", "cut", "timeout")
    )
    assert client.totals.n_requests == server.stats.n_requests


def test_connections_are_shared_and_belong_to_the_loop_that_opened_them(server):
    model = load(server, "openai")

    async def several():
        try:
            return await asyncio.gather(*(model.ask(ask(model, query=f"{i}")) for i in range(4)))
        finally:
            await model.aclose()

    for _ in range(2):  # a second loop must not touch the connections of the first
        assert len(asyncio.run(several())) == 4
    assert isinstance(one(model), Answer)

    async def clients():
        first = model.connect()
        assert model.connect() is first
        await model.aclose()

    asyncio.run(clients())


def _all_exceptions():
    modules = (theirs, decision)
    return sorted(
        {
            value
            for module in modules
            for value in vars(module).values()
            if inspect.isclass(value)
            and issubclass(value, BaseException)
            and not issubclass(value, Warning)
            and value.__module__ == module.__name__
        },
        key=lambda kind: kind.__name__,
    )


@pytest.mark.parametrize("kind", _all_exceptions(), ids=lambda kind: kind.__qualname__)
def test_every_error_of_pydantic_ai_is_mapped(kind):
    if kind is theirs.ContentFilterError:
        return  # becomes an answer, see above
    assert any(ancestor in ERRORS for ancestor in kind.__mro__[:-4] or kind.__mro__), (
        f"{kind.__name__} is new: say in providers.ERRORS what it means"
    )


def test_the_walk_over_errors_finds_them():
    names = {kind.__name__ for kind in _all_exceptions()}
    assert {"ModelRateLimitError", "UserError", "UnexpectedModelBehavior"} <= names
    assert len(names) > 25


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (theirs.ModelHTTPError(500, "m"), MLLMServerError),
        (theirs.ModelHTTPError(418, "m"), MLLMRequestError),
        (theirs.ModelQuotaExceededError("m", "no credit"), MLLMAuthError),
        (theirs.ModelOverloadedError("m", "busy", retry_after=2.0), RateLimitedError),
        (theirs.UnexpectedModelBehavior("odd", "body"), MLLMServerError),
        (theirs.UserError("bad setting"), MLLMRequestError),
        (ConnectionResetError("reset"), MLLMServerError),
    ],
)
def test_errors_are_put_into_our_words(error, expected):
    model = PydanticAIModel("openai:try", wire="openai", model="try", api_key=KEY)
    found = model.failure(error)
    assert type(found) is expected
    assert str(found).startswith("openai:try: ")
    assert str(pickle.loads(pickle.dumps(found))) == str(found)


@pytest.mark.parametrize("wire", ["openai", "openai-responses", "google", "anthropic", "ollama"])
def test_a_refused_connection_names_host_and_port_and_nothing_else_of_the_address(wire):
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    model = PydanticAIModel(
        "a:b", wire=wire, model="b", api_key=KEY, base_url=f"http://me:pass@127.0.0.1:{port}/v1"
    )
    with pytest.raises(MLLMServerError) as caught:
        asyncio.run(model.ask(ask(model)))
    assert str(caught.value) == (
        f"a:b: 127.0.0.1:{port} refuses connections. Does the server run, and is the base URL "
        "(--base-url) right?"
    )


@pytest.mark.parametrize("wire", ["openai", "google", "anthropic", "ollama"])
def test_a_server_without_tls_is_told_from_one_that_does_not_run(server, wire):
    address = server.base_url.split("/")[2]
    model = PydanticAIModel(
        "a:b", wire=wire, model="b", api_key=KEY, base_url=f"https://{address}/v1"
    )
    with pytest.raises(MLLMServerError) as caught:
        asyncio.run(model.ask(ask(model)))
    said = str(caught.value)
    assert said.startswith(f"a:b: No encrypted connection to {address} (")
    assert said.endswith("speak https there, and is the base URL (--base-url) right?")


def _caused(error, *causes):
    for outer, inner in itertools.pairwise((error, *causes)):
        outer.__cause__ = inner
    return error


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (socket.gaierror(-2, "not known"), "No server is known by the name host.test: "),
        (ExceptionGroup("both", [ConnectionRefusedError()]), "host.test:443 refuses connections. "),
        (
            ssl.SSLCertVerificationError("self-signed"),
            "No connection to host.test:443: its certificate is not trusted ",
        ),
        (OSError("no route"), "No connection to host.test:443 (failed). "),
        (None, "No connection to host.test:443 (failed). "),
    ],
)
def test_why_there_is_no_connection_is_told(cause, said):
    if isinstance(cause, ssl.SSLCertVerificationError):
        cause.verify_message = "self-signed certificate"
    request = httpx2.Request("POST", "https://me:pass@host.test/v1?key=SECRET")
    error = _caused(
        theirs.ModelConnectionError("m", "Connection error."),
        httpx2.ConnectError("failed", request=request),
        cause,
    )
    vendor = PydanticAIModel("openai:try", wire="openai", model="try", api_key=KEY)
    found = vendor.failure(error)
    assert type(found) is MLLMUnreachableError
    assert str(found).startswith(f"openai:try: {said}")
    assert not any(secret in str(found) for secret in ("SECRET", "pass@", "me:pass"))
    assert "base URL" not in str(found)  # none was given
    late = _caused(
        theirs.ModelTimeoutError("m", "slow"), httpx2.ConnectTimeout("late", request=request)
    )
    assert str(vendor.failure(late)).startswith(
        "openai:try: No connection to host.test:443 in time"
    )
    assert type(vendor.failure(late)) is MLLMUnreachableError


def test_what_a_provider_echoes_of_keys_and_images_is_taken_out():
    model = PydanticAIModel("openai:try", wire="openai", model="try", api_key="short-KEY")
    body = {
        "error": {
            "message": "Incorrect key short-KEY or sk-proj-abcdefghijklmnop in data:image/jpeg;"
            "base64," + "QUJD" * 200 + " at line 1\nsecond line"
        }
    }
    said = str(model.failure(theirs.ModelHTTPError(400, "m", body)))
    assert "short-KEY" not in said
    assert "sk-proj" not in said
    assert "QUJD" not in said
    assert "\n" not in said
    assert "Incorrect key ***" in said
    assert len(str(model.failure(theirs.ModelHTTPError(400, "m", {"message": "x " * 9000})))) < 500


def test_keys_and_images_are_in_no_repr_journal_cache_log_or_traceback(serve, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    server = serve(api_keys=("right",), faults=Faults(server_error=0.5))
    planted = draw_shape("red circle")
    model = load(server, "openai", api_key=KEY)
    good = load(server, "openai", api_key="right")
    texts, causes = [repr(model), repr(vars(model)), str(model)], []
    request = ask(model)
    image_bytes = next(part.data for part in request.parts if hasattr(part, "data"))
    with Journal(tmp_path / "run") as journal, AnswerCache(tmp_path / "a.sqlite") as cache:
        for asked in (model, good):
            client = Client(asked, journal=journal, cache=cache, retries=2)
            try:
                client.run([ask(asked)])
            except MLLMAuthError as error:
                texts += [repr(error), "".join(traceback.format_exception(error))]
                causes += [error.__cause__, error.__context__]
    assert causes == [None, None]
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(model._key)
    texts.append(caplog.text)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            texts.append(path.read_bytes().decode("latin-1"))
    everything = "\n".join(texts)
    assert planted is not None
    assert "PLANTED" not in everything
    assert image_bytes.decode("latin-1") not in everything
    assert image_bytes[:40].hex() not in everything


def test_a_system_text_and_settings_of_a_modelfile_go_with_every_request(server, tmp_path):
    path = tmp_path / "Modelfile"
    path.write_text(
        'FROM llava:7b\nPARAMETER temperature 0.25\nPARAMETER num_predict 7\nSYSTEM "Be brief."\n'
    )
    model = load_mllm(str(path), base_url=server.url_for("ollama"))
    assert model.name.startswith("ollama:llava:7b#")
    assert model.capabilities.image_token_rule == "fixed:576"
    found = one(model, ask(model, n_demonstrations=0))
    assert found.finish == "length"  # 7 tokens
    seen = server.requests[-1]
    assert seen.texts[0].startswith("Be brief.\n\n")
    assert seen.model == "llava:7b"


def test_a_schema_is_put_into_words_where_there_is_no_native_one(server):
    model = load(server, "anthropic", "try")
    found = one(model)
    assert json.loads(found.text)["answers"][0]["label"] == "red circle"
    assert '"n_images"' in server.requests[-1].texts[0]


def _body_sent(model, request, monkeypatch):
    """The JSON of a request, as it would go over the wire."""
    import httpx2

    from showtell.mllm.providers import vendors

    seen = []

    def take(sent):
        seen.append(json.loads(sent.content))
        return httpx2.Response(500, json={})

    transport = httpx2.MockTransport(take)
    make = lambda _look_at: httpx2.AsyncClient(transport=transport, timeout=60)  # noqa: E731
    monkeypatch.setattr(vendors, "make_client", make)
    asyncio.run(_ask_once(model, request))
    return seen[0]


def test_a_strict_schema_is_sent_as_the_library_would_have_sent_it(monkeypatch):
    model = load_mllm("openai:gpt-4o", base_url="http://127.0.0.1:9/v1")
    ours = _body_sent(model, ask(model), monkeypatch)
    monkeypatch.setattr(PydanticAIModel, "_has_ready_schema", lambda *args: False)
    theirs_ = _body_sent(model, ask(model), monkeypatch)
    assert ours == theirs_
    assert ours["response_format"]["json_schema"]["strict"] is True


def test_an_open_schema_is_closed_by_the_library(monkeypatch):
    model = load_mllm("openai:gpt-4o", base_url="http://127.0.0.1:9/v1")
    schema = {"type": "object", "properties": {"label": {"type": "string", "minLength": 1}}}
    body = _body_sent(model, ask(model, schema=schema), monkeypatch)
    assert body["response_format"]["json_schema"]["schema"]["additionalProperties"] is False


def test_one_try_means_one_request_and_no_stream(monkeypatch):
    for provider in CHAT:
        url = "http://127.0.0.1:9" + ("" if kind_of(provider) in ("google", "anthropic") else "/v1")
        model = load_mllm(f"{provider}:try", base_url=url)
        body = _body_sent(model, ask(model, settings=Settings(max_tokens=50_000)), monkeypatch)
        assert not body.get("stream"), provider


def test_an_unknown_wire_is_refused():
    with pytest.raises(InputError, match="`wire` must be one of openai, "):
        PydanticAIModel("acme:x", wire="acme", model="x")


def test_closing_twice_and_from_another_loop_is_harmless(server):
    model = load(server, "openai")
    client = Client(model)
    client.run([ask(model)])

    async def close():
        await model.aclose()
        await model.aclose()

    asyncio.run(close())
    assert isinstance(client.run([ask(model, query="again")])[0], Answer)
    client.close()
    gc.collect()


def test_two_threads_may_use_one_model(server):
    model = load(server, "google")
    found = []

    def work(number):
        found.append(Client(model).run([ask(model, query=f"t{number}")])[0])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(answer, Answer) for answer in found)
