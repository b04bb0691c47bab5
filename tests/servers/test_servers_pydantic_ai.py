"""pydantic-ai's direct path, batches and decision models against the local server."""

from __future__ import annotations

import asyncio
import json
from typing import Literal

import pytest
from jsonschema import validate
from tests.servers.wire import LABELS, SCHEMA, SYSTEM, contract, png, shots

from showtell.testing import ColourEncoder
from showtell.testing.servers import LocalServer

pytest.importorskip("pydantic_ai", reason="needs the extra `mllm`")
for package in ("openai", "anthropic", "google.genai"):
    pytest.importorskip(package, reason="needs the extras `openai`, `google` and `anthropic`")

from pydantic import BaseModel, Field  # noqa: E402
from pydantic_ai import Agent, BinaryContent, ModelRequest  # noqa: E402
from pydantic_ai.direct import model_request, model_request_stream  # noqa: E402
from pydantic_ai.messages import UserPromptPart  # noqa: E402
from pydantic_ai.models import ModelRequestParameters  # noqa: E402
from pydantic_ai.models.anthropic import AnthropicModel  # noqa: E402
from pydantic_ai.models.batch import BatchRequest  # noqa: E402
from pydantic_ai.models.google import GoogleModel  # noqa: E402
from pydantic_ai.models.google_decisions import GoogleDecisionsModel  # noqa: E402
from pydantic_ai.models.ollama import OllamaModel  # noqa: E402
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel  # noqa: E402
from pydantic_ai.models.openai_decisions import OpenAIDecisionsModel  # noqa: E402
from pydantic_ai.models.system_one import SystemOneModel  # noqa: E402
from pydantic_ai.output import OutputObjectDefinition  # noqa: E402
from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: E402
from pydantic_ai.providers.google import GoogleProvider  # noqa: E402
from pydantic_ai.providers.ollama import OllamaProvider  # noqa: E402
from pydantic_ai.providers.openai import OpenAIProvider  # noqa: E402
from pydantic_ai.providers.system_one import SystemOneProvider  # noqa: E402

NAMES = ("openai-chat", "openai-responses", "google", "anthropic", "ollama")
NATIVE = ModelRequestParameters(
    output_mode="native",
    output_object=OutputObjectDefinition(name="answer", json_schema=SCHEMA, strict=True),
)


@pytest.fixture(scope="module")
def server():
    with LocalServer("all", encoder=ColourEncoder()) as running:
        yield running


def make(name, server):
    """One model of each kind, all on the same port."""
    openai = OpenAIProvider(base_url=server.url_for("openai"), api_key="x")
    google = GoogleProvider(base_url=server.url_for("google"), api_key="x")
    match name:
        case "openai-chat":
            return OpenAIChatModel("try", provider=openai)
        case "openai-responses":
            return OpenAIResponsesModel("try", provider=openai)
        case "google":
            return GoogleModel("try", provider=google)
        case "anthropic":
            url = server.url_for("anthropic")
            # a name of a model that is known to follow schemas
            provider = AnthropicProvider(base_url=url, api_key="x")
            return AnthropicModel("claude-haiku-4-5", provider=provider)
        case "ollama":
            provider = OllamaProvider(base_url=server.url_for("ollama"), api_key="x")
            return OllamaModel("try", provider=provider)
        case "openai-decisions":
            return OpenAIDecisionsModel("gpt-6-luna", provider=openai)
        case "google-decisions":
            return GoogleDecisionsModel("gemini-decision-1", provider=google)
        case _:
            provider = SystemOneProvider(base_url=server.url_for("openai"))
            return SystemOneModel("try", provider=provider)


def request(parts):
    content = [
        part if isinstance(part, str) else BinaryContent(part, media_type="image/png")
        for part in parts
    ]
    return ModelRequest(parts=[UserPromptPart(content)], instructions=SYSTEM)


def run(model, work):
    """Await ``work(model)`` and close the model's connections."""

    async def go():
        async with model:
            return await work(model)

    return asyncio.run(go())


@pytest.mark.parametrize("name", NAMES)
def test_the_direct_path_keeps_images_texts_and_order(name, server):
    queries = [("b", png(LABELS[2], 1)), ("a", png(LABELS[0], 2)), ("c", png(LABELS[1], 3))]
    parts = contract(queries, shots())
    reply = run(
        make(name, server),
        lambda model: model_request(
            model,
            [request(parts)],
            model_request_parameters=NATIVE,
            model_settings={"max_tokens": 500, "temperature": 0},
        ),
    )
    answer = json.loads(reply.text)
    validate(answer, SCHEMA)
    assert [(entry["id"], entry["label"]) for entry in answer["answers"]] == [
        ("b", "blue square"),
        ("a", "red circle"),
        ("c", "green triangle"),
    ]
    seen = server.requests[-1]
    assert seen.layout.removeprefix("t" * seen.layout.index("tit")) == "tit" * 6
    assert seen.texts[0].startswith(SYSTEM)
    assert [image.n_bytes for image in seen.images] == [
        len(part) for part in parts if isinstance(part, bytes)
    ]
    assert all((image.width, image.height) == (96, 96) for image in seen.images)
    assert reply.usage.input_tokens == seen.count.input
    assert reply.usage.output_tokens == seen.count.output


@pytest.mark.parametrize("name", NAMES)
def test_the_stream_of_the_direct_path_joins_to_the_answer(name, server):
    parts = contract([("q", png(LABELS[2], 4))], shots())

    async def stream(model):
        settings = {"max_tokens": 500}
        async with model_request_stream(
            model,
            [request(parts)],
            model_request_parameters=NATIVE,
            model_settings=settings,
        ) as events:
            n_events = 0
            async for _ in events:
                n_events += 1
            return n_events, events.get()

    n_events, reply = run(make(name, server), stream)
    assert json.loads(reply.text)["answers"][0]["label"] == "blue square"
    assert n_events > 3
    assert reply.usage.output_tokens == server.requests[-1].count.output


@pytest.mark.parametrize("name", ["openai-chat", "google", "openai-responses"])
def test_log_probabilities_come_through(name, server):
    settings = {
        "openai-chat": {"openai_logprobs": True, "openai_top_logprobs": 3},
        "openai-responses": {"openai_logprobs": True, "openai_top_logprobs": 3},
        "google": {"google_logprobs": True, "google_top_logprobs": 3},
    }[name]
    reply = run(
        make(name, server),
        lambda model: model_request(
            model,
            [request(contract([("q", png("red circle", 5))]))],
            model_settings={"max_tokens": 50, **settings},
        ),
    )
    assert reply.text == "red circle"
    details = reply.provider_details or {}
    if name == "openai-responses":
        details = reply.parts[0].provider_details
    assert "red " in json.dumps(details["logprobs"], default=str)


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_gets_its_output_type(name, server):
    class Seen(BaseModel):
        label: Literal["red circle", "green triangle", "blue square"]
        confidence: int = Field(ge=0, le=10)

    prompt = [BinaryContent(png("green triangle", 6), media_type="image/png")]

    def work(model):
        agent = Agent(model, output_type=Seen, instructions=SYSTEM)
        return agent.run(prompt, model_settings={"max_tokens": 100})

    result = run(make(name, server), work)
    assert result.output.label == "green triangle"


@pytest.mark.parametrize("name", ["openai-decisions", "google-decisions"])
def test_decision_models_see_demonstrations_and_queries(name, server):
    class Seen(BaseModel):
        label: Literal["red circle", "green triangle", "blue square"] = Field(
            description="Which label does Image q have?"
        )

    # the labels of two demonstrations are exchanged: only who looks at them knows
    wrong = dict(zip(LABELS, ("blue square", "green triangle", "red circle"), strict=True))
    demonstrations = [(wrong[label], png(label, 7)) for label in LABELS]
    parts = contract([("q", png("red circle", 8))], demonstrations)
    content = [
        part if isinstance(part, str) else BinaryContent(part, media_type="image/png")
        for part in parts
    ]
    model = make(name, server)
    result = run(model, lambda model: Agent(model, output_type=Seen).run(content))
    assert result.output.label == "blue square"
    probabilities = result.response.provider_details["probabilities"]["label"]
    assert set(probabilities) == set(LABELS)
    assert probabilities["blue square"] == max(probabilities.values())
    seen = server.requests[-1]
    assert (seen.endpoint, seen.layout.count("i"), seen.ids) == ("decisions", 4, ("q",))
    assert result.usage.input_tokens == seen.count.input


def test_system_one_models_answer_texts(server):
    class Seen(BaseModel):
        urgent: bool = Field(description="Is this urgent?")

    model = make("system-one", server)
    result = run(model, lambda model: Agent(model, output_type=Seen).run("Help!"))
    assert result.output.urgent in (True, False)


@pytest.mark.parametrize("name", ["openai-responses", "google", "anthropic"])
def test_batches_are_submitted_polled_and_collected(name, server):
    async def go(model):
        requests = [
            BatchRequest(
                custom_id=f"r{n}",
                messages=[request(contract([(f"q{n}", png(LABELS[n % 3], 20 + n))]))],
                model_settings={"max_tokens": 200},
                model_request_parameters=NATIVE,
            )
            for n in range(4)
        ]
        encoded = [await model.batch_encode(one) for one in requests]
        batch = await model.batch_create(encoded)
        for _ in range(400):
            batch = await model.batch_status(batch)
            if batch.status == "ended":
                break
        by_id = {one.custom_id: one for one in requests}
        return {
            result.custom_id: json.loads(model.batch_decode(result, by_id[result.custom_id]).text)[
                "answers"
            ][0]
            for result in await model.batch_results(batch)
        }

    paid = sum(server.stats.paid.values())
    found = run(make(name, server), go)
    assert {name: entry["id"] for name, entry in found.items()} == {
        f"r{n}": f"q{n}" for n in range(4)
    }
    assert {name: entry["label"] for name, entry in found.items()} == {
        f"r{n}": LABELS[n % 3] for n in range(4)
    }
    assert sum(server.stats.paid.values()) == paid + 4
