"""Everything showtell raises on purpose.

::

    ShowtellError
    ├── InputError (ValueError)            what was given cannot be used; nothing was computed
    │   ├── MediaError                     one image cannot be used; becomes an error row
    │   │   ├── MediaNotFoundError (FileNotFoundError)
    │   │   ├── MediaFormatError           not an image, damaged, or a format nobody here reads
    │   │   ├── MediaLimitError            too many bytes or pixels, or too slow
    │   │   └── MediaUrlError              a URL was refused or could not be fetched
    │   ├── DataError                      a table, folder or box file is not as it should be
    │   ├── UnknownNameError (LookupError) no encoder, method, template set or split of that name
    │   └── SavedFolderError               a saved classifier or run is damaged or from elsewhere
    ├── MissingExtraError (ImportError)    an optional dependency is not installed
    └── RunError (RuntimeError)            the run itself failed, although the input was fine
        ├── BudgetError                    stopped by a cap; everything paid for is kept
        ├── ServerDownError                nobody answers any more; run again to go on
        ├── NoRoomError                    the disk takes nothing more; make room and run again
        ├── JobsPendingError               batch jobs are under way; run again to collect them
        └── MLLMError                      a question to an MLLM got no answer
            ├── MLLMAuthError              key missing, wrong or without rights
            ├── MLLMRequestError           the provider will never take this request
            ├── MLLMServerError            trouble at the provider or on the way; try again
            │   └── MLLMUnreachableError   no connection, so nothing was sent
            ├── MLLMAnswerError            what came back cannot be read
            ├── MLLMTimeoutError (TimeoutError)
            └── RateLimitedError           too many requests or tokens per minute; wait

    KeyboardInterrupt
    └── RunInterrupt                       Ctrl-C; what was answered until then comes with it

Each message says what came, what is allowed and what to do next. All of them pickle.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = [
    "BudgetError",
    "DataError",
    "InputError",
    "MLLMAnswerError",
    "MLLMAuthError",
    "MLLMError",
    "MLLMRequestError",
    "MLLMServerError",
    "MLLMTimeoutError",
    "MLLMUnreachableError",
    "MediaError",
    "MediaFormatError",
    "MediaLimitError",
    "MediaNotFoundError",
    "MediaUrlError",
    "MissingExtraError",
    "NoRoomError",
    "RateLimitedError",
    "RunError",
    "RunInterrupt",
    "SavedFolderError",
    "ServerDownError",
    "ShowtellError",
    "UnknownNameError",
]


_NAMED = re.compile(r"`([a-z][a-z0-9_]*)`")
"""A parameter in a message."""


class ShowtellError(Exception):
    """Root of all errors that showtell raises on purpose.

    Parameters
    ----------
    *args : object
        The message, where parameters stand between backticks.
    param : str or sequence of str, optional
        Names of the parameters that the message speaks of; unless given, all words between
        backticks. The command line shows their options.

    Examples
    --------
    >>> error = InputError("`max_cost` must not be negative.", param="max_cost")
    >>> error.param, error.told(lambda name: "--max-cost")
    (('max_cost',), '--max-cost must not be negative.')
    """

    def __init__(self, *args: object, param: str | Sequence[str] | None = None) -> None:
        if param is None:
            param = tuple(dict.fromkeys(_NAMED.findall(" ".join(map(str, args)))))
        self.param: tuple[str, ...] = (param,) if isinstance(param, str) else tuple(param)
        super().__init__(*args)

    def told(self, named: Callable[[str], str]) -> str:
        """Give the message with its parameters named in another way.

        Parameters
        ----------
        named : callable
            From the name of a parameter to what stands in its place.

        Returns
        -------
        message : str
        """
        message = str(self)
        for name in self.param:
            message = message.replace(f"`{name}`", named(name))
        return message


class InputError(ShowtellError, ValueError):
    """What was given cannot be used; nothing was computed."""


class MediaError(InputError):
    """One image cannot be used.

    Parameters
    ----------
    source : str
        The image as a person would name it: path, URL, or a few words on what it was.
    reason : str
        Why it cannot be used, without the name; one line.
    """

    def __init__(self, source: str, reason: str) -> None:
        self.source = source
        self.reason = " ".join(reason.split())
        super().__init__(f"cannot read {source}: {self.reason}")

    def __reduce__(self) -> tuple[type[MediaError], tuple[str, str]]:
        return type(self), (self.source, self.reason)


class MediaNotFoundError(MediaError, FileNotFoundError):
    """There is no such file."""


class MediaFormatError(MediaError):
    """Not an image, a damaged one, or a format that nothing installed here reads."""


class MediaLimitError(MediaError):
    """More bytes, pixels or seconds than allowed."""


class MediaUrlError(MediaError):
    """A URL was refused by the rules or could not be fetched."""


class DataError(InputError):
    """A table, a folder or a box file is not as it should be."""


class UnknownNameError(InputError, LookupError):
    """A name that is not in the list of valid ones.

    Parameters
    ----------
    kind : str
        What was named: ``"encoder"``, ``"template set"`` ...
    name : str
        The name that came.
    allowed : iterable of str
        All valid names; they go into the message.
    hint : str, default=""
        A further sentence: what to do next.
    """

    def __init__(self, kind: str, name: str, allowed: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.allowed, self.hint = kind, name, tuple(allowed), hint
        close = difflib.get_close_matches(str(name), self.allowed, n=3)
        parts = [f"Unknown {kind} {name!r}."]
        if close:
            parts.append(f"Close: {', '.join(map(repr, close))}.")
        parts.append(f"Allowed: {', '.join(self.allowed)}.")
        if hint:
            parts.append(hint)
        super().__init__(" ".join(parts))

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, tuple[str, ...], str]]:
        return type(self), (self.kind, self.name, self.allowed, self.hint)


class SavedFolderError(InputError):
    """A saved classifier or run folder is damaged, incomplete or not ours."""


class MissingExtraError(ShowtellError, ImportError):
    """An optional dependency is not installed.

    Parameters
    ----------
    what : str
        What needs it, at the start of a sentence: ``"HEIC pictures"``.
    package : str
        The import name that was not found.
    extra : str
        The extra of showtell that brings it.
    """

    def __init__(self, what: str, package: str, extra: str) -> None:
        self.what, self.package, self.extra = what, package, extra
        super().__init__(
            f"{what} needs the optional package '{package}'. "
            f'Install it with: pip install "showtell[{extra}]"'
        )

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        return type(self), (self.what, self.package, self.extra)


class RunError(ShowtellError, RuntimeError):
    """The run itself failed, although the input was fine."""

    predictions: Any = None
    """Where a classifier was stopped, its `Predictions`: what was answered until then; every other
    input is a row of status "error" that says why."""


class BudgetError(RunError):
    """Stopped by a cap on dollars or requests; run again with a higher one to go on.

    Parameters
    ----------
    message : str
        What is spent, and what to do.
    cap : str, default=""
        The cap in words: ``"100 requests"``.
    """

    def __init__(
        self, message: str, cap: str = "", *, param: str | Sequence[str] | None = None
    ) -> None:
        self.cap = cap
        super().__init__(message, param=param)


class ServerDownError(RunError):
    """The server of a model answers nobody any more; what was answered is kept, so run again."""


class NoRoomError(RunError):
    """The disk takes nothing more, so nothing is sent that could not be written down."""


class RunInterrupt(KeyboardInterrupt):
    """Ctrl-C ended a classifier's run, with what was in flight finished.

    Parameters
    ----------
    predictions : Predictions
        As in `RunError`.
    """

    def __init__(self, predictions: Any) -> None:
        self.predictions = predictions
        super().__init__(predictions)


class JobsPendingError(RunError):
    """Batch jobs are with the provider and were not waited for; run again to collect them."""


class MLLMError(RunError):
    """A question to a multimodal LLM got no answer.

    Parameters
    ----------
    message : str
        What happened and what to do; never a key, never image bytes.
    """

    retryable = False
    """Whether asking the same again may help."""


class MLLMAuthError(MLLMError):
    """The key is missing, wrong or without rights."""


class MLLMRequestError(MLLMError):
    """The provider will never take this request: too large, too many images, a bad schema."""


class MLLMServerError(MLLMError):
    """Trouble at the provider or on the way to it."""

    retryable = True


class MLLMUnreachableError(MLLMServerError):
    """No connection to the server, so nothing was sent: it refuses, its name is not known ..."""


class MLLMAnswerError(MLLMError):
    """What came back is no answer that can be read; it may be billed all the same."""


class MLLMTimeoutError(MLLMError, TimeoutError):
    """No answer within the time allowed."""

    retryable = True


class RateLimitedError(MLLMError):
    """Too many requests or tokens per minute.

    Parameters
    ----------
    message : str
    retry_after : float, optional
        Seconds the provider asks to wait; None if it did not say.
    """

    retryable = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)

    def __reduce__(self) -> tuple[type[RateLimitedError], tuple[str, float | None]]:
        return type(self), (str(self.args[0]), self.retry_after)
