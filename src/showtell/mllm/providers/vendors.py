"""Vendors and servers through pydantic-ai: one try per call, typed errors, nothing secret kept.

The only module that knows pydantic-ai's requests, answers and errors (`batch` adds its jobs).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import inspect
import json
import logging
import re
import socket
import ssl
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

import httpx2
import pydantic_ai
from pydantic_ai import exceptions as theirs
from pydantic_ai.direct import model_request
from pydantic_ai.messages import BinaryContent, CachePoint, ModelRequest, UserPromptPart
from pydantic_ai.messages import TextPart as AnswerText
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.decision import (
    ChoiceAnswer,
    ChoiceQuestion,
    DecisionHandOff,
    DecisionModel,
    DecisionRequest,
    UnfillableRoute,
    UnsureRoute,
)
from pydantic_ai.output import OutputObjectDefinition
from pydantic_core import ValidationError, to_json

from showtell._clean import shown_url
from showtell._extras import need
from showtell._logs import hush
from showtell.errors import (
    InputError,
    MLLMAuthError,
    MLLMError,
    MLLMRequestError,
    MLLMServerError,
    MLLMTimeoutError,
    RateLimitedError,
)
from showtell.mllm.base import Answer, Finish, ImagePart, Request, TokenLogprob, Usage
from showtell.mllm.call.background import close_at_exit
from showtell.mllm.call.connections import make_client
from showtell.mllm.capabilities import Capabilities, capabilities_of

hush("openai", "anthropic", "google_genai", "httpcore2")  # bodies and headers
hush("httpx2", level=logging.WARNING)  # a line per request, with what the server calls its status

__all__ = ["ERRORS", "PydanticAIModel", "Wire"]

Wire: TypeAlias = Literal[
    "openai",
    "openai-responses",
    "openai-decisions",
    "google",
    "google-decisions",
    "anthropic",
    "ollama",
    "systemone",
]
"""Wire format; many servers speak OpenAI's."""

QUESTION = "label"
"""Name of the one question that a classification endpoint is asked."""

_SCHEMA_NAME = "answers"
_FREE = ModelRequestParameters()  # no tools, no schema
_LONGEST_ANSWER = 2048  # tokens for Anthropic, which must be told; without it, it would stream
_MOST_WITHOUT_STREAM = 20_000  # tokens; above, Anthropic's library refuses to wait without a stream
_LONGEST_MESSAGE = 300  # characters of what a provider says

_PACKAGE = {"openai": "openai", "google": "google.genai", "anthropic": "anthropic"}
_EXTRA_OF: dict[str, str] = {
    "openai": "openai",
    "openai-responses": "openai",
    "openai-decisions": "openai",
    "ollama": "openai",
    "google": "google",
    "google-decisions": "google",
    "anthropic": "anthropic",
    "systemone": "mllm",
}

# What each of pydantic-ai's errors means here; the first class of an error's ancestry that is
# listed counts. `tests/mllm/test_mllm_providers.py` checks that every one is covered.
ERRORS: dict[type[BaseException], type[MLLMError]] = {
    theirs.ModelRateLimitError: RateLimitedError,
    theirs.ModelOverloadedError: RateLimitedError,
    theirs.ModelQuotaExceededError: MLLMAuthError,  # no request will pass until the account is fed
    theirs.ModelAuthenticationError: MLLMAuthError,
    theirs.ModelNotFoundError: MLLMAuthError,  # no request to this model will pass
    theirs.ModelContextWindowExceededError: MLLMRequestError,
    theirs.ModelRequestRejectedError: MLLMRequestError,
    theirs.ModelTimeoutError: MLLMTimeoutError,
    theirs.ModelRequestTimeout: MLLMTimeoutError,
    theirs.ModelConnectionError: MLLMServerError,
    theirs.ModelUnavailableError: MLLMServerError,
    theirs.ModelServerError: MLLMServerError,
    theirs.ModelHTTPError: MLLMServerError,
    theirs.ModelAPIError: MLLMServerError,
    theirs.ConcurrencyLimitExceeded: MLLMServerError,
    theirs.UnexpectedModelBehavior: MLLMServerError,  # an answer not in the vendor's own form
    theirs.FallbackExceptionGroup: MLLMServerError,
    theirs.AgentRunError: MLLMRequestError,
    theirs.UserError: MLLMRequestError,
    theirs.ModelRetry: MLLMRequestError,
    theirs.ToolFailed: MLLMRequestError,
    theirs.ToolRetryError: MLLMRequestError,
    theirs.ToolFailedError: MLLMRequestError,
    theirs.CallDeferred: MLLMRequestError,
    theirs.ApprovalRequired: MLLMRequestError,
    theirs.SkipModelRequest: MLLMRequestError,
    theirs.RetryModelRequest: MLLMRequestError,
    theirs.SkipToolValidation: MLLMRequestError,
    theirs.SkipToolExecution: MLLMRequestError,
    DecisionHandOff: MLLMRequestError,
    UnfillableRoute: MLLMRequestError,
    UnsureRoute: MLLMRequestError,
    httpx2.TimeoutException: MLLMTimeoutError,
    httpx2.HTTPError: MLLMServerError,
    OSError: MLLMServerError,  # no connection
    ValueError: MLLMServerError,  # an answer that is no JSON
    IndexError: MLLMServerError,  # an answer of OpenAI's form with no choices in it
    NotImplementedError: MLLMRequestError,
}
_OF_STATUS: dict[int, type[MLLMError]] = {
    401: MLLMAuthError,
    402: MLLMAuthError,
    403: MLLMAuthError,
    408: MLLMTimeoutError,
    429: RateLimitedError,
    529: RateLimitedError,
}
# Where the vendors' libraries go unless told otherwise; every other wire has a URL.
_HOMES = {
    "openai": "https://api.openai.com/v1",
    "google": "https://generativelanguage.googleapis.com",
    "anthropic": "https://api.anthropic.com",
    "ollama": "http://localhost:11434/v1",
    "systemone": "",
}
_LIBRARIES = frozenset(
    ("openai", "anthropic", "google", "httpx2", "httpcore2", "pydantic", "pydantic_ai")
)


class PydanticAIModel:
    """A model of a vendor or of a server that speaks a vendor's wire format.

    Made by `showtell.mllm.load_mllm`.

    Parameters
    ----------
    name : str
        ``"provider:name"``, as written into requests and records.
    wire : str
        One of `Wire`.
    model : str
        The name to send.
    api_key : str, optional
        None where none is needed.
    base_url : str, optional
        Another server than the vendor's.
    capabilities : Capabilities, optional
        By default those known for `name`.
    system : str, default=""
        Text put before the system text of every request.
    settings : mapping, optional
        Settings of pydantic-ai that go with every request and win over a request's own.
    """

    def __init__(
        self,
        name: str,
        *,
        wire: Wire,
        model: str,
        api_key: str | None = None,
        base_url: str | None = None,
        capabilities: Capabilities | None = None,
        system: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if wire not in _EXTRA_OF:
            raise InputError(f"`wire` must be one of {', '.join(_EXTRA_OF)}, got {wire!r}.")
        extra = _EXTRA_OF[wire]
        if extra in _PACKAGE:
            need(_PACKAGE[extra], extra=extra, what=f"The model {name}")
        self.name, self.wire, self.model, self.base_url = name, wire, model, base_url
        self.capabilities = capabilities if capabilities is not None else capabilities_of(name)
        self._key = _Secret(api_key)
        self._system, self._settings = system, dict(settings or {})
        # Connections belong to the event loop that opened them.
        self._models: _Connections = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        close_at_exit(self)
        weakref.finalize(self, _let_go, self._models).atexit = False

    async def ask(self, request: Request) -> Answer:
        """Send the request once.

        Parameters
        ----------
        request : Request

        Returns
        -------
        answer : Answer
            A refusal or a block is an answer too; see `Answer.finish`.

        Raises
        ------
        MLLMError
            One of its kinds, with one line of text that holds no key and no image.
        """
        failure: MLLMError
        try:
            model = self.connect()
            if isinstance(model, DecisionModel):
                return await self._decide(model, request)
            settings, parameters = self.settings(request), _FREE
            if self._has_ready_schema(model, request):
                settings["extra_body"] = {**settings.get("extra_body", {}), **_answer_form(request)}
            else:
                parameters = self.parameters(model, request)
            response = await model_request(
                model,
                self.messages(model, request),
                model_settings=settings,  # type: ignore[arg-type]
                model_request_parameters=parameters,
            )
            return self.answer(response)
        except theirs.ContentFilterError as error:
            return self._held_back(error)
        except tuple(ERRORS) as error:
            failure = self.failure(error)
        except Exception as error:
            foreign = self.foreign(error)
            if foreign is None:
                raise
            failure = foreign
        # Outside of `except`, so that no error with headers, body or images hangs on to ours.
        raise failure

    @property
    def endpoint(self) -> str:
        """Where questions and images go, as it may be shown: no user, password or query."""
        return shown_url(self.base_url or _HOMES[self.wire.partition("-")[0]])

    async def aclose(self) -> None:
        """Close the connections of all event loops that still run."""
        with self._lock:
            opened = list(self._models.items())
            self._models.clear()
        here = asyncio.get_running_loop()
        for loop, (_, client) in opened:
            if loop is here:
                await client.aclose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(client.aclose(), loop))

    def __repr__(self) -> str:
        where = f", base_url={shown_url(self.base_url)!r}" if self.base_url else ""
        return f"PydanticAIModel({self.name!r}, wire={self.wire!r}{where})"

    def connect(self) -> Model[Any]:
        """Return the connection of the running event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._models:
                client = make_client()
                self._models[loop] = (self._make(client), client)
            return self._models[loop][0]

    def for_batches(self) -> PydanticAIModel:
        """Return the same model in the wire format that its batch endpoint takes.

        Raises
        ------
        InputError
            If there is no batch endpoint.
        """
        if not self.capabilities.batch:
            raise InputError(
                f"{self.name} has no batch endpoint. Models that have: openai:…, google:…, "
                "anthropic:…."
            )
        if self.wire != "openai":
            return self
        return PydanticAIModel(
            self.name,
            wire="openai-responses",
            model=self.model,
            api_key=self._key.value,
            base_url=self.base_url,
            capabilities=self.capabilities,
            system=self._system,
            settings=self._settings,
        )

    def messages(self, model: Model[Any], request: Request) -> list[Any]:
        """Put a request into pydantic-ai's words."""
        content: list[Any] = []
        for number, part in enumerate(request.parts):
            if number == request.n_prefix and number and self.wire == "anthropic":
                content.append(CachePoint())
            if isinstance(part, ImagePart):
                content.append(BinaryContent(part.data, media_type=part.media_type))
            else:
                content.append(part.text)
        instructions = self._instructions(request, native=self._native(model)) or None
        return [ModelRequest(parts=[UserPromptPart(content)], instructions=instructions)]

    def parameters(self, model: Model[Any], request: Request) -> ModelRequestParameters:
        """Say in which form the answer must come."""
        if request.schema is None or not self._native(model):
            return _FREE
        return ModelRequestParameters(
            output_mode="native",
            output_object=OutputObjectDefinition(
                name=_SCHEMA_NAME, json_schema=dict(request.schema), strict=True
            ),
        )

    def settings(self, request: Request, *, batch: bool = False) -> dict[str, Any]:
        """Say how the answer is made; a batch has no timeout of its own."""
        given = request.settings
        settings: dict[str, Any] = {}
        if not batch:
            settings["timeout"] = given.timeout
        if given.temperature is not None and self.capabilities.sampling:
            settings["temperature"] = given.temperature
        if given.seed is not None:
            settings["seed"] = given.seed
        if given.max_tokens is not None:
            settings["max_tokens"] = given.max_tokens
        if self.wire == "anthropic":
            most = min(settings.get("max_tokens", _LONGEST_ANSWER), _MOST_WITHOUT_STREAM)
            settings["max_tokens"] = most
        if given.top_logprobs is not None and self.capabilities.logprobs:
            most = min(given.top_logprobs, self.capabilities.max_top_logprobs)
            vendor = "google" if self.wire == "google" else "openai"
            settings[f"{vendor}_logprobs"] = True
            if most:
                settings[f"{vendor}_top_logprobs"] = most
        settings = {**settings, **self._settings}
        if request.idempotency_key is not None and not batch:
            settings["extra_headers"] = {
                **_repeatable(request),
                **settings.get("extra_headers", {}),
            }
        return settings

    def answer(self, response: pydantic_ai.ModelResponse) -> Answer:
        """Take an answer out of pydantic-ai's words."""
        text = "".join(part.content for part in response.parts if isinstance(part, AnswerText))
        details = response.provider_details or {}
        return Answer(
            text=text,
            usage=_usage(response.usage),
            finish=_finish(response.finish_reason, details, text),
            model=response.model_name or self.model,
            logprobs=_logprobs(response, details),
        )

    def failure(self, error: BaseException) -> MLLMError:
        """Put an error into our words, without a key, an image or a page of JSON."""
        # An error with an HTTP status is also one of a category, which says more.
        lineage = sorted(type(error).__mro__, key=lambda c: c is theirs.ModelHTTPError)
        status = getattr(error, "status_code", None)
        kind = next((ERRORS[c] for c in lineage if c in ERRORS), MLLMRequestError)
        if kind is MLLMServerError and status is not None and (status < 500 or status == 501):
            kind = MLLMRequestError  # in no category, or not to be had here however often asked
        start = f"{self.name}: "
        nowhere = _unreached(error, "the base URL (--base-url)" if self.base_url else None)
        if nowhere is not None and issubclass(kind, MLLMServerError | MLLMTimeoutError):
            return kind(start + self._clean(nowhere))
        said = self._clean(_said(error))
        if status is not None:
            start += f"HTTP {status}. "
        if kind is RateLimitedError:
            return RateLimitedError(
                f"{start}Too many requests or tokens at once. {said}".strip(),
                getattr(error, "retry_after", None),
            )
        return kind(f"{start}{_ADVICE.get(kind, '')}{said}".strip())

    def foreign(self, error: Exception) -> MLLMError | None:
        """Put an error of a vendor's library into our words; None for one that is a fault here."""
        if type(error).__module__.partition(".")[0] not in _LIBRARIES:
            return None
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        failure = self.failure(error)
        if isinstance(status, int):
            kind = _OF_STATUS.get(status, MLLMServerError if status >= 500 else MLLMRequestError)
            return kind(str(failure))
        return failure

    async def _decide(self, model: DecisionModel[Any], request: Request) -> Answer:
        """Ask a classification endpoint: images in, a probability per label out."""
        if not request.labels:
            raise theirs.UserError(
                "A classification endpoint needs the labels of the question (Request.labels)."
            )
        texts: list[str] = []
        images: list[BinaryContent] = []
        assets: dict[str, dict[str, str]] = {}
        for part in request.parts:
            if isinstance(part, ImagePart):
                name = f"<image {len(images) + 1}>"
                texts.append(name)
                images.append(BinaryContent(part.data, media_type=part.media_type))
                assets[name] = {"data_base64": base64.b64encode(part.data).decode("ascii")}
            else:
                texts.append(part.text)
        settings: dict[str, Any] = {"timeout": request.settings.timeout}
        if request.idempotency_key is not None:
            settings["extra_headers"] = _repeatable(request)
        if self.wire == "systemone":
            images = []
            settings["extra_body"] = {"assets": assets}
        question = ChoiceQuestion(
            criteria=dict.fromkeys(request.labels),
            instructions=self._instructions(request, native=True) or "Which label fits the image?",
        )
        asked = DecisionRequest(
            state="\n".join(texts),
            questions={QUESTION: question},
            images=tuple(images),
            messages=self.messages(model, request) if self.wire == "openai-decisions" else [],
        )
        response = await model.decide(asked, settings)  # type: ignore[arg-type]
        found = response.answers.get(QUESTION)
        if not isinstance(found, ChoiceAnswer):
            raise theirs.UnexpectedModelBehavior("the answer to the question is missing")
        return Answer(
            text=found.choice,
            usage=_usage(response.usage),
            finish="stop",
            model=response.model_name,
            probabilities={label: float(found.probabilities[label]) for label in request.labels}
            if set(request.labels) <= set(found.probabilities)
            else dict(found.probabilities),
        )

    def _held_back(self, error: theirs.ContentFilterError) -> Answer:
        declined = "declined" in str(error) or "efus" in str(error)
        finish: Finish = "refused" if declined else "blocked"
        return Answer(text="", usage=Usage(), finish=finish, model=self.model)

    def _instructions(self, request: Request, *, native: bool) -> str:
        texts = [self._system, request.system]
        if request.schema is not None and not native:
            schema = json.dumps(request.schema, ensure_ascii=False)
            texts.append(f"Answer with one JSON object of this schema and nothing else:\n{schema}")
        return "\n\n".join(text for text in texts if text)

    def _has_ready_schema(self, model: Model[Any], request: Request) -> bool:
        """Whether the schema can go into the body as it is, past a costly walk through it.

        OpenAI's library looks at every node of a schema in every request, which takes a third of
        the processor time of a call, only to leave it as it was.
        """
        return (
            self.wire in ("openai", "ollama")
            and request.schema is not None
            and self._native(model)
            and _is_strict(request.schema)
        )

    def _native(self, model: Model[Any]) -> bool:
        return self.capabilities.structured_output and bool(
            model.profile.get("supports_json_schema_output", False)
        )

    def _clean(self, text: str) -> str:
        """Take keys and images out of what a provider said, and shorten it to a line."""
        key = self._key.value
        if key:
            text = text.replace(key, "***")
        text = _KEY_LIKE.sub("***", text)
        text = _DATA_LIKE.sub("<data>", text)
        text = " ".join(text.split())
        return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"

    def _make(self, client: httpx2.AsyncClient) -> Model[Any]:
        """Make a connection that tries once: trying again is the client's business."""
        key, url = self._key.value, self.base_url
        wire = self.wire
        if wire == "ollama":
            from pydantic_ai.models.ollama import OllamaModel
            from pydantic_ai.providers.ollama import OllamaProvider

            ollama = OllamaProvider(base_url=url, api_key=key or _NO_KEY, http_client=client)
            ollama.client.max_retries = 0
            _send_messages_as_they_are(ollama.client)
            return OllamaModel(self.model, provider=ollama)
        if wire in ("openai", "openai-responses", "openai-decisions"):
            from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
            from pydantic_ai.models.openai_decisions import OpenAIDecisionsModel
            from pydantic_ai.providers.openai import OpenAIProvider

            openai = OpenAIProvider(base_url=url, api_key=key or _NO_KEY, http_client=client)
            openai.client.max_retries = 0
            if wire == "openai-responses":
                return OpenAIResponsesModel(self.model, provider=openai)
            if wire == "openai-decisions":
                return OpenAIDecisionsModel(self.model, provider=openai)
            _send_messages_as_they_are(openai.client)
            return OpenAIChatModel(self.model, provider=openai)
        if wire in ("google", "google-decisions"):
            from pydantic_ai.models.google import GoogleModel
            from pydantic_ai.models.google_decisions import GoogleDecisionsModel
            from pydantic_ai.providers.google import GoogleProvider

            google = GoogleProvider(base_url=url, api_key=key or _NO_KEY, http_client=client)
            if wire == "google-decisions":
                return GoogleDecisionsModel(self.model, provider=google)
            return GoogleModel(self.model, provider=google)
        if wire == "anthropic":
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            anthropic = AnthropicProvider(base_url=url, api_key=key or _NO_KEY, http_client=client)
            anthropic.client.max_retries = 0
            return AnthropicModel(self.model, provider=anthropic)
        from pydantic_ai.models.system_one import SystemOneModel
        from pydantic_ai.providers.system_one import SystemOneProvider

        system_one = SystemOneProvider(base_url=url, api_key=key, http_client=client)
        return SystemOneModel(self.model, provider=system_one)


_Connections: TypeAlias = (
    "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Model[Any], httpx2.AsyncClient]]"
)


def _let_go(models: _Connections) -> None:
    """Close the connections of a model that nobody holds any more."""
    for loop, (_, client) in list(models.items()):
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(client.aclose(), loop)


def _send_messages_as_they_are(client: Any) -> bool:
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


class _Body:
    """Bytes to be sent once, and held no longer than that: answers take longer than sending."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content: bytes | None = content

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        content, self._content = self._content, None
        if content is None:
            raise StopAsyncIteration
        return content


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


class _Secret:
    """Holds a key so that no repr, log or pickle shows it."""

    __slots__ = ("value",)

    def __init__(self, value: str | None) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "***" if self.value else "None"

    def __reduce__(self) -> Any:
        raise TypeError("A key is not pickled; load the model again where it is needed.")


_NO_KEY = "no-key"  # the libraries insist on one, servers of one's own do not
_ADVICE: dict[type[MLLMError], str] = {
    MLLMAuthError: "The provider lets no request pass: check key, rights, credit and model name. ",
    MLLMTimeoutError: "No answer in time. ",
    MLLMServerError: "Trouble at the provider or on the way. ",
    MLLMRequestError: "The provider will not take this request. ",
}
_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|key|AIza|gsk|xai|ant)[-_A-Za-z0-9*]{16,}")
_DATA_LIKE = re.compile(r"(?:data:[\w/+.-]+;base64,)?[A-Za-z0-9+/_=-]{80,}")


def _repeatable(request: Request) -> dict[str, str]:
    """Header by which a server may know a request that comes a second time."""
    return {"Idempotency-Key": str(request.idempotency_key)}


def _answer_form(request: Request) -> dict[str, Any]:
    """Say in OpenAI's words that the answer must follow the schema."""
    wanted = {"name": _SCHEMA_NAME, "schema": request.schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}


_STRICT_WORDS = frozenset(
    ("type", "properties", "required", "additionalProperties", "items", "enum", "description")
)


def _is_strict(schema: Any) -> bool:
    """Whether OpenAI takes a schema in strict mode without changes: closed, nothing optional."""
    if not isinstance(schema, Mapping) or not _STRICT_WORDS.issuperset(schema):
        return False
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        closed = schema.get("additionalProperties") is False
        complete = set(schema.get("required", ())) == set(properties)
        return closed and complete and all(map(_is_strict, properties.values()))
    if schema.get("type") == "array":
        return _is_strict(schema.get("items"))
    return isinstance(schema.get("type"), str)


def _said(error: BaseException) -> str:
    """Find what the provider said, in the body of its error where there is one."""
    body = getattr(error, "body", None)
    for _ in range(3):
        if not isinstance(body, Mapping):
            break
        inner = body.get("error", body.get("message", body.get("detail")))
        if inner is None:
            break
        body = inner
    if isinstance(body, str) and body:
        return body
    if isinstance(error, theirs.ModelHTTPError):
        return ""  # its own text is the whole body
    return str(getattr(error, "message", "") or error)


def _unreached(error: BaseException, address: str | None) -> str | None:
    """Say which server there was no connection to, and why; None if there was one.

    Of the address only host and port are told, since the rest may hold a key.
    """
    chain = list(_causes(error))
    refusals = httpx2.ConnectError, httpx2.ConnectTimeout
    first = next((one for one in chain if isinstance(one, refusals)), None)
    if first is None:
        return None
    with contextlib.suppress(RuntimeError):  # it does not know its request
        url = first.request.url
        host = f"[{url.host}]" if ":" in url.host else url.host
        port = url.port or {"https": 443}.get(url.scheme, 80)
        where = f"{host}:{port}"
        right = f"is {address} right" if address else "is this machine online"
        if isinstance(first, httpx2.ConnectTimeout):
            return f"No connection to {where} in time. Does the server run, and {right}?"
        for cause in chain:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return (
                    f"No connection to {where}: its certificate is not trusted "
                    f"({cause.verify_message}). SSL_CERT_FILE names one that is to be."
                )
            if isinstance(cause, ssl.SSLError):
                return (
                    f"No encrypted connection to {where} ({cause.reason or cause}). Does the "
                    f"server speak https there, and {right}?"
                )
            if isinstance(cause, socket.gaierror):
                return f"No server is known by the name {url.host}: {right}?"
            if isinstance(cause, ConnectionRefusedError):
                return f"{where} refuses connections. Does the server run, and {right}?"
        return f"No connection to {where} ({first}). Does the server run, and {right}?"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came of, the members of groups too."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(one.exceptions)
        further = one.__cause__ or one.__context__
        if further is not None:
            waiting.append(further)


def _usage(theirs_: Any) -> Usage:
    """Count tokens; a server that reports none at all is not one that took none."""
    n_input, n_output = int(theirs_.input_tokens), int(theirs_.output_tokens)
    unknown = n_input == 0 and n_output == 0
    return Usage(
        input_tokens=None if unknown else n_input,
        output_tokens=None if unknown else n_output,
        cached_tokens=None if unknown else int(theirs_.cache_read_tokens),
        cache_write_tokens=int(theirs_.cache_write_tokens) or None,
    )


def _finish(reason: str | None, details: Mapping[str, Any], text: str) -> Finish:
    if reason == "content_filter":
        declined = "refusal" in details or details.get("finish_reason") == "refusal"
        return "refused" if declined else "blocked"
    if reason in ("stop", "length"):
        return "stop" if reason == "stop" else "length"
    return "stop" if reason is None and text else "other"


def _logprobs(
    response: pydantic_ai.ModelResponse, details: Mapping[str, Any]
) -> tuple[TokenLogprob, ...] | None:
    found: Any = details.get("logprobs")
    if found is None:  # OpenAI's responses have them on the part
        found = next(
            (
                p["logprobs"]
                for part in response.parts
                if (p := getattr(part, "provider_details", None)) and "logprobs" in p
            ),
            None,
        )
    if isinstance(found, Mapping):
        return _google_logprobs(found)
    if not isinstance(found, Sequence):
        return None
    return tuple(
        TokenLogprob(
            token=entry["token"],
            logprob=float(entry["logprob"]),
            top=tuple((t["token"], float(t["logprob"])) for t in entry.get("top_logprobs") or ()),
        )
        for entry in found
    )


def _google_logprobs(found: Mapping[str, Any]) -> tuple[TokenLogprob, ...] | None:
    chosen = found.get("chosen_candidates")
    if not chosen:
        return None
    tops = found.get("top_candidates") or []
    return tuple(
        TokenLogprob(
            token=entry.get("token") or "",
            logprob=float(entry.get("log_probability") or 0.0),
            top=tuple(
                (t.get("token") or "", float(t.get("log_probability") or 0.0))
                for t in ((tops[i].get("candidates") or []) if i < len(tops) else [])
            ),
        )
        for i, entry in enumerate(chosen)
    )
