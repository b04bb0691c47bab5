"""Vendors and servers through pydantic-ai: one try per call, typed errors, nothing secret kept.

The only module that knows pydantic-ai's requests, answers and errors (`batch` adds its jobs).
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
import weakref
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import httpx2
import pydantic_ai
from pydantic_ai import exceptions as theirs
from pydantic_ai.direct import model_request
from pydantic_ai.messages import BinaryContent, CachePoint, ModelRequest, UserPromptPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.decision import ChoiceAnswer, ChoiceQuestion, DecisionModel, DecisionRequest
from pydantic_ai.output import OutputObjectDefinition

from showtell._clean import keep_secret, keep_secrets_of, shown_url
from showtell._extras import need
from showtell._logs import hush
from showtell.errors import InputError, MissingExtraError, MLLMError
from showtell.mllm.base import (
    Answer,
    Finish,
    ImagePart,
    Request,
    TextPart,
    Usage,
    VideoPart,
)
from showtell.mllm.call.background import close_at_exit
from showtell.mllm.call.connections import make_client
from showtell.mllm.capabilities import Capabilities, capabilities_of
from showtell.mllm.endpoints import HOMES, TRY_HEADER, endpoint_of
from showtell.mllm.providers.failures import failure_of
from showtell.mllm.providers.openai_body import send_messages_as_they_are
from showtell.mllm.providers.reading import finish_of, logprobs_of, text_of, usage_of
from showtell.mllm.providers.servers import is_try_server, ollama_digest

hush("openai", "anthropic", "google_genai", "httpcore2")  # bodies and headers
hush("httpx2", level=logging.WARNING)  # a line per request, with what the server calls its status

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
    home : str, optional
        The provider's own address, or the name of its vendor.

    Attributes
    ----------
    place : str
        An endpoint, without the digest of the model; see `showtell.mllm.endpoints`.
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
        home: str | None = None,
    ) -> None:
        if wire not in _EXTRA_OF:
            raise InputError(f"`wire` must be one of {', '.join(_EXTRA_OF)}, got {wire!r}.")
        extra = _EXTRA_OF[wire]
        if extra in _PACKAGE:
            need(_PACKAGE[extra], extra=extra, what=f"The model {name}")
        self.name, self.wire, self.model, self.base_url = name, wire, model, base_url
        self.place = endpoint_of(base_url, home)
        self.capabilities = capabilities if capabilities is not None else capabilities_of(name)
        self._key, self._home = _Secret(api_key), home
        keep_secret(api_key)
        keep_secrets_of(base_url)
        self.key_from = ""  # the variable and its file, if the key comes from one that was found
        self._digest = ""
        self._makes_up = False  # whether the last answer came from a server that does
        self._system, self._settings = system, dict(settings or {})
        # Connections belong to the event loop that opened them.
        self._models: _Connections = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        close_at_exit(self)
        weakref.finalize(self, _let_go, self._models).atexit = False

    async def ask(self, request: Request) -> Answer:
        """Send the request once.

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
            return await self._ask(request)
        except theirs.ContentFilterError as error:
            return self._held_back(error)
        except MissingExtraError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is about this answer alone
            failure = self.failure(error)
        # Outside of `except`, so that no error with headers, body or images hangs on to ours.
        raise failure

    @property
    def endpoint(self) -> str:
        """Where questions and images go, as it may be shown: no user, password or query."""
        return shown_url(self.base_url or HOMES[self.wire.partition("-")[0]])

    async def _ask(self, request: Request) -> Answer:
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

    async def locate(self) -> str:
        """Name the endpoint; of an Ollama server with the digest of the model, if it tells."""
        if self.wire == "ollama" and not self._digest:
            assert self.base_url is not None
            self.connect()
            _, client = self._models[asyncio.get_running_loop()]
            self._digest = await ollama_digest(client, self.base_url, self.model)
        return f"{self.place}#{self._digest}" if self._digest else self.place

    async def is_try_server(self) -> bool | None:
        """Say whether it is ``showtell try-server`` that answers; None where nobody does."""
        if self.base_url is None:
            return False
        self.connect()
        _, client = self._models[asyncio.get_running_loop()]
        return await is_try_server(client, self.base_url)

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
                client = make_client(self._look_at)
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
            home=self._home,
        )

    def messages(self, model: Model[Any], request: Request) -> list[Any]:
        """Put a request into pydantic-ai's words."""
        content: list[Any] = []
        for number, part in enumerate(request.parts):
            if number == request.n_prefix and number and self.wire == "anthropic":
                content.append(CachePoint())
            if isinstance(part, TextPart):
                content.append(part.text)
            elif isinstance(part, VideoPart):
                content.append(
                    BinaryContent(
                        part.data, media_type=part.media_type, vendor_metadata={"fps": part.rate}
                    )
                )
            else:
                content.append(BinaryContent(part.data, media_type=part.media_type))
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
        text = text_of(response)
        details = response.provider_details or {}
        return Answer(
            text=text,
            usage=usage_of(response.usage),
            finish=finish_of(response.finish_reason, details, text),
            model=response.model_name or self.model,
            logprobs=logprobs_of(response, details),
            made_up=self._makes_up,
        )

    async def _look_at(self, response: httpx2.Response) -> None:
        """See whether a server says that it makes answers up."""
        self._makes_up = TRY_HEADER in response.headers

    def failure(self, error: BaseException) -> MLLMError:
        """Put any error into our words, without a key, an image or a page of JSON."""
        address = "the base URL (--base-url)" if self.base_url else None
        return failure_of(error, model=self.name, key=self._key.value, address=address)

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
            elif isinstance(part, TextPart):
                texts.append(part.text)
            else:
                raise theirs.UserError("A classification endpoint takes texts and images only.")
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
            usage=usage_of(response.usage),
            finish="stop",
            model=response.model_name,
            made_up=self._makes_up,
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

    def _make(self, client: httpx2.AsyncClient) -> Model[Any]:
        """Make a connection that tries once: trying again is the client's business."""
        key, url = self._key.value, self.base_url
        wire = self.wire
        if wire == "ollama":
            from pydantic_ai.models.ollama import OllamaModel
            from pydantic_ai.providers.ollama import OllamaProvider

            ollama = OllamaProvider(base_url=url, api_key=key or _NO_KEY, http_client=client)
            ollama.client.max_retries = 0
            send_messages_as_they_are(ollama.client)
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
            send_messages_as_they_are(openai.client)
            return OpenAIChatModel(self.model, provider=openai)
        if wire in ("google", "google-decisions"):
            from pydantic_ai.models.google_decisions import GoogleDecisionsModel
            from pydantic_ai.providers.google import GoogleProvider

            google = GoogleProvider(base_url=url, api_key=key or _NO_KEY, http_client=client)
            if wire == "google-decisions":
                return GoogleDecisionsModel(self.model, provider=google)
            from showtell.mllm.providers.google_parts import PatientGoogleModel

            return PatientGoogleModel(self.model, provider=google)
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
