"""Ollama's formats: its own, and the one it shares with OpenAI."""

from __future__ import annotations

import json

import pytest
from jsonschema import validate
from tests.servers.wire import LABELS, SCHEMA, SYSTEM, b64, contract, openai_content, png, shots

from showtell.testing import ColourEncoder
from showtell.testing.servers import LocalServer

httpx2 = pytest.importorskip("httpx2", reason="needs the extra `mllm`")


@pytest.fixture(scope="module")
def server():
    with LocalServer("ollama", encoder=ColourEncoder()) as running:
        yield running


def messages(parts):
    """Ollama's messages: the images of a message follow its text."""
    out = [{"role": "system", "content": SYSTEM}]
    for part in parts:
        if isinstance(part, str):
            out.append({"role": "user", "content": part})
        else:
            out[-1]["images"] = [*out[-1].get("images", []), b64(part)]
    return out


def post(server, path, body):
    return httpx2.post(f"http://127.0.0.1:{server.port}{path}", json=body)


def test_native_chat_follows_the_schema(server):
    parts = contract([("b", png(LABELS[2], 1)), ("a", png(LABELS[0], 2))], shots())
    body = {"model": "try", "messages": messages(parts), "format": SCHEMA, "stream": False}
    reply = post(server, "/api/chat", body).json()
    answer = json.loads(reply["message"]["content"])
    validate(answer, SCHEMA)
    found = {entry["id"]: entry["label"] for entry in answer["answers"]}
    assert found == {"a": "red circle", "b": "blue square"}
    assert reply["done"] is True
    assert reply["prompt_eval_count"] > 5 * 256


def test_native_chat_streams_lines_of_json_by_default(server):
    body = {"model": "try", "messages": messages(contract([("q", png("red circle"))]))}
    reply = post(server, "/api/chat", body)
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == "red circle"
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]


def test_native_chat_reports_log_probabilities(server):
    body = {
        "model": "try",
        "messages": messages(contract([("q", png("red circle"))])),
        "stream": False,
        "logprobs": True,
        "top_logprobs": 2,
    }
    reply = post(server, "/api/chat", body).json()
    assert "".join(token["token"] for token in reply["logprobs"]) == "red circle"
    assert len(reply["logprobs"][0]["top_logprobs"]) == 2


def test_an_error_is_one_text(server):
    reply = post(server, "/api/chat", {"messages": []})
    assert reply.status_code == 400
    assert reply.json() == {"error": "model is required"}


def test_models_are_listed_and_shown(server):
    url = f"http://127.0.0.1:{server.port}"
    assert httpx2.get(f"{url}/api/tags").json()["models"][0]["name"] == "try:latest"
    assert "vision" in post(server, "/api/show", {"model": "try"}).json()["capabilities"]
    assert httpx2.get(f"{url}/api/version").status_code == 200


def test_the_openai_form_is_spoken_too_and_priced_by_ollamas_rule(server):
    openai = pytest.importorskip("openai", reason="needs the extra `openai`")
    with openai.OpenAI(base_url=server.base_url, api_key="x") as client:
        reply = client.chat.completions.create(
            model="try",
            messages=[{"role": "user", "content": openai_content([png("red circle")])}],
        )
        assert reply.usage.prompt_tokens == 256
        with pytest.raises(openai.NotFoundError):
            client.batches.list()


def test_system_one_answers_about_images_in_assets(server):
    body = {
        "model": "try",
        "state": {"photo": "img-1"},
        "questions": {
            "label": {
                "type": "choice",
                "instructions": "What is it?",
                "criteria": dict.fromkeys(LABELS),
            },
            "red": {"type": "noul", "instructions": "Is it red?"},
        },
        "assets": {"img-1": {"data_base64": b64(png("blue square")), "media_type": "image/png"}},
    }
    reply = post(server, "/v1/systemone", body)
    answers = reply.json()["answers"]
    assert answers["label"]["choice"] == "blue square"
    assert sum(answers["label"]["probabilities"].values()) == pytest.approx(1)
    assert 0 <= answers["red"]["noul"] <= 1
