"""What is spared OpenAI's library leaves the body of a request as the library would write it."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest

from showtell.errors import MLLMError
from showtell.mllm import ImagePart, Request, Settings, TextPart, load_mllm

IMAGE = ImagePart(
    data=b"\xff\xd8 not looked at", media_type="image/jpeg", digest="0", width=9, height=9
)
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["cat", "dog"]}},
    "required": ["label"],
    "additionalProperties": False,
}


def body_sent(provider, schema, monkeypatch):
    """Ask once; the server fails, and what it was sent is returned."""
    model = load_mllm(f"{provider}:try", base_url="http://127.0.0.1:9/v1")
    seen = []

    def take(sent):
        seen.append(json.loads(sent.content))
        return httpx2.Response(500, json={})

    transport = httpx2.MockTransport(take)
    monkeypatch.setattr(
        "showtell.mllm.providers.make_client", lambda: httpx2.AsyncClient(transport=transport)
    )
    request = Request(
        model=model.name,
        system="Say what you see.",
        parts=(TextPart(text="Image a:"), IMAGE, TextPart(text="End of image a.")),
        schema=schema,
        settings=Settings(max_tokens=99, temperature=0.0),
    )

    async def ask_once():
        with pytest.raises(MLLMError):
            await model.ask(request)
        await model.aclose()

    asyncio.run(ask_once())
    (body,) = seen
    return body


@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["free", "schema"])
@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_messages_are_sent_as_the_library_would_have_sent_them(provider, schema, monkeypatch):
    ours = body_sent(provider, schema, monkeypatch)
    name = "showtell.mllm.providers._send_messages_as_they_are"
    monkeypatch.setattr(name, lambda client: None)
    assert ours == body_sent(provider, schema, monkeypatch)
    kinds = [part["type"] for part in ours["messages"][-1]["content"]]
    assert kinds == ["text", "image_url", "text"]
    assert ours["messages"][0]["role"] == "system"
