"""What a vendor's library raises, in our words: typed, one line, with no key and no image in it."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator, Mapping

import httpx2
from pydantic_ai import exceptions as theirs
from pydantic_ai.models.decision import DecisionHandOff, UnfillableRoute, UnsureRoute

from showtell._clean import escaped, said_by_others
from showtell.errors import (
    MLLMAnswerError,
    MLLMAuthError,
    MLLMError,
    MLLMRequestError,
    MLLMServerError,
    MLLMTimeoutError,
    MLLMUnreachableError,
    RateLimitedError,
)

_LONGEST_MESSAGE = 300  # characters of what a provider says

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
_LIBRARIES = frozenset(
    ("openai", "anthropic", "google", "httpx2", "httpcore2", "pydantic", "pydantic_ai")
)
_ADVICE: dict[type[MLLMError], str] = {
    MLLMAuthError: "The provider lets no request pass: check key, rights, credit and model name. ",
    MLLMTimeoutError: "No answer in time. ",
    MLLMServerError: "Trouble at the provider or on the way. ",
    MLLMRequestError: "The provider will not take this request. ",
}
_STARTED_BY = {
    "ollama": "ollama serve",
    "vllm": "vllm serve NAME",
    "llamacpp": "llama-server -m FILE",
    "lmstudio": "lms server start",
}
_DATA_LIKE = re.compile(r"(?:data:[\w/+.-]+;base64,)?[A-Za-z0-9+/_=-]{80,}")


def failure_of(
    error: BaseException, *, model: str, key: str | None, address: str | None
) -> MLLMError:
    """Put an error into our words.

    `error`: of a library, or of the code that reads an answer; `model`: ``"provider:name"``; `key`:
    taken out of whatever is said; `address`: what to look at if there is no connection, in words;
    None at the provider's own address. Returns `failure`: whatever is not known becomes an
    `MLLMAnswerError`: what came back cannot be read.
    """
    # An error with an HTTP status is also one of a category, which says more.
    lineage = sorted(type(error).__mro__, key=lambda c: c is theirs.ModelHTTPError)
    kind = next((ERRORS[c] for c in lineage if c in ERRORS), None)
    status = getattr(error, "status_code", None)
    if kind is None and type(error).__module__.partition(".")[0] in _LIBRARIES:
        status = status or getattr(error, "code", None)
        kind = MLLMRequestError
        if isinstance(status, int):
            kind = _OF_STATUS.get(status, MLLMServerError if status >= 500 else MLLMRequestError)
    start = f"{model}: "
    if kind is None:
        said = _clean(f"{type(error).__name__}: {error}".rstrip(": "), key)
        return MLLMAnswerError(f"{start}The answer cannot be read ({said}).")
    if kind is MLLMServerError and isinstance(status, int) and (status < 500 or status == 501):
        kind = MLLMRequestError  # in no category, or not to be had here however often asked
    nowhere = _unreached(error, address)
    if nowhere is not None and issubclass(kind, MLLMServerError | MLLMTimeoutError):
        command = _STARTED_BY.get(model.partition(":")[0])
        hint = f" `{command}` starts one." if command and "run" in nowhere else ""
        return MLLMUnreachableError(start + _clean(nowhere + hint, key))
    said = _clean(_said(error), key)
    if status is not None:
        start += f"HTTP {status}. "
    if kind is RateLimitedError:
        return RateLimitedError(
            f"{start}Too many requests or tokens at once. {said}".strip(),
            getattr(error, "retry_after", None),
        )
    return kind(f"{start}{_ADVICE.get(kind, '')}{said}".strip())


def _clean(text: str, key: str | None) -> str:
    """Take keys and images out of what a provider said, and shorten it to a line."""
    if key:
        text = text.replace(key, "***")
    text = _DATA_LIKE.sub("<data>", said_by_others(text))
    text = escaped(" ".join(text.split()), one_line=True)
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"


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
