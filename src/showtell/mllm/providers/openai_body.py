"""Chat requests of OpenAI's library past its walks through them: written as they are, read at once.

Without this a request takes half as much processor time again: 9.3 ms in the place of 6.2 on a
machine with others at work (``benchmarks/mllm_overhead.py``, 500 photos, one per request, 64 at
once; medians of 4 rounds in turn), where the library alone takes 6.2.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any

import httpx2
from pydantic_core import ValidationError, to_json


def send_messages_as_they_are(client: Any) -> bool:
    """Spare OpenAI's library walks through what is ready for the wire, and through plain answers.

    For every part of every message, setting and answer it asks which of its types this may be,
    which takes a third of the processor time of a call. So the body that pydantic-ai made is
    written by the compiled JSON writer, sent through the library's door for requests that it has
    no method for, and the answer is read by the compiled reader of the library's own type.
    Addresses, headers, keys, limits and errors stay the library's. A version whose door is not
    known is left alone, which is slower; says whether it was not.
    """
    import openai
    from openai.types.chat import ChatCompletion

    kind: Any = type(client)
    if kind is not openai.AsyncOpenAI or not _has_known_door(openai.__version__, client):
        return False
    nothing = openai.Omit, openai.NotGiven
    create = client.chat.completions.create
    base = client.base_url
    url = str(base.copy_with(raw_path=base.raw_path + b"chat/completions"))  # once, not every time

    async def create_unseen(*, messages: Any, **given: Any) -> Any:
        content = None
        if given.get("stream") is False and "extra_query" not in given:
            content = _written({"messages": messages, **given}, nothing)
        if content is None:
            return await create(messages=messages, **given)
        if isinstance(messages, list):
            messages.clear()  # made for this call: the texts of images need not wait for the answer
        options = {
            "headers": {
                **(given.get("extra_headers") or {}),
                "Content-Length": str(len(content)),
            },
            "timeout": given.get("timeout", openai.not_given),
            "security": {"bearer_auth": True},
        }
        response = await client.post(url, cast_to=httpx2.Response, content=content, options=options)
        return _read_completion(response, ChatCompletion)

    client.chat.completions.create = create_unseen
    return True


def _has_known_door(version: str, client: Any) -> bool:
    """Whether `client.post` of this version of OpenAI's library takes a body that is written."""
    takes = inspect.signature(client.post).parameters
    return version.partition(".")[0] == "3" and {"cast_to", "content", "options"} <= set(takes)


_NOT_IN_BODY = frozenset(("extra_headers", "extra_body", "timeout"))


def _written(given: Mapping[str, Any], nothing: tuple[type, ...]) -> bytes | None:
    """Write what goes into the body of a request; None for what only the library can write."""
    body = {name: value for name, value in given.items() if name not in _NOT_IN_BODY}
    body |= given.get("extra_body") or {}
    try:
        return to_json({name: v for name, v in body.items() if not isinstance(v, nothing)})
    except ValueError:
        return None


def _read_completion(response: httpx2.Response, kind: Any) -> Any:
    """Read an answer; one of another form as leniently as OpenAI's library does."""
    with contextlib.suppress(ValidationError):
        return kind.model_validate_json(response.content)
    try:
        found = response.json()
    except ValueError:
        if response.headers.get("content-type", "").partition(";")[0].endswith("json"):
            raise
        return response.text
    return kind.construct(**found) if isinstance(found, dict) else found
