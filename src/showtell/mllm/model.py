"""How a model is reached and within what limits: what every method that asks one has to know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, fields
from decimal import Decimal
from typing import Any, Self, TypeAlias

from showtell.checks import whole
from showtell.errors import InputError
from showtell.media import media_name
from showtell.mllm.base import MLLM
from showtell.mllm.call.background import wait_for
from showtell.mllm.call.budget import Budget
from showtell.mllm.call.cache import AnswerCache, default_cache
from showtell.mllm.call.client import Client
from showtell.mllm.call.journal import Journal
from showtell.mllm.call.limits import RateLimiter
from showtell.mllm.capabilities import Capabilities, capabilities_of
from showtell.mllm.registry import load_mllm, model_id, place_of

_SLOTS, _FREE_SLOTS = 64, 8  # requests in flight, to a vendor and to one's own machine
_OF_THIS_MACHINE = ("run_folder", "jobs", "wait")  # jobs go with a run folder


@dataclass(repr=False)
class Model:
    """A multimodal LLM, the way to it, and the limits of a run.

    Estimators take one as `model`; a name or an object alone stands for a `Model` with everything
    else as it is by default. Parameters are stored unchanged and can be set through an estimator,
    ``clf.set_params(model__max_cost=2)``, so that they can also be searched over.

    Parameters
    ----------
    model : str or MLLM
        ``"provider:name"``, for example ``"openai:gpt-4.1-mini"`` (key from the environment), or
        an object. Objects are shared by ``clone``, never copied.
    base_url : str, optional
        Another server that speaks the provider's wire format.
    cache : AnswerCache, path, "default" or None, default="default"
        Answers that were paid for once; None keeps none.
    run_folder : path, optional
        Where a run keeps its journal; the same run in the same folder resumes.
    max_cost : Decimal, str or float, optional
        USD that one call may spend; what is in flight counts. `BudgetError` stops the run.
    max_requests : int, optional
        Requests that one call may send.
    requests_per_minute, tokens_per_minute : float, optional
        Limits of your account, where the provider does not tell.
    max_concurrency : int, optional
        Requests in flight at most; None for 64, or 8 where the model is one's own.
    timeout : float, default=120.0
        Seconds for one attempt at a request.
    jobs : bool, default=False
        Ask through the provider's batch endpoint: at a lower price, within a day. It needs a
        `run_folder`, through which the jobs are found again, by this process or a later one. Only
        for `DirectClassifier` and `InContextClassifier`.
    wait : bool, default=True
        Wait for the jobs. False hands in and raises `JobsPendingError` as long as jobs are under
        way; the same call later collects them.

    Examples
    --------
    >>> model = Model("openai:gpt-4.1-mini", max_cost="0.50")
    >>> model
    Model('openai:gpt-4.1-mini', max_cost='0.50')
    >>> model.set_params(max_requests=100).get_params()["max_requests"]
    100
    """

    model: str | MLLM
    _: KW_ONLY
    base_url: str | None = None
    cache: AnswerCache | str | os.PathLike[str] | None = "default"
    run_folder: str | os.PathLike[str] | None = None
    max_cost: Decimal | str | float | None = None
    max_requests: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_concurrency: int | None = None
    timeout: float = 120.0
    jobs: bool = False
    wait: bool = True

    @property
    def name(self) -> str:
        """The model as ``"provider:name"``."""
        if isinstance(self.model, str):
            return model_id(self.model)
        if not isinstance(getattr(self.model, "name", None), str):  # as a file may say
            self.check()
        return self.model.name

    @property
    def endpoint(self) -> str:
        """Where the model is, as `showtell.mllm.endpoints` names it; nobody is asked."""
        if isinstance(self.model, str):
            return place_of(self.model, self.base_url)
        return str(getattr(self.model, "place", ""))

    @property
    def capabilities(self) -> Capabilities:
        """What the model takes and offers."""
        known = getattr(self.model, "capabilities", None)
        return known if isinstance(known, Capabilities) else capabilities_of(self.name)

    def check(self, *, takes_jobs: bool = False) -> None:
        """Refuse values that make no sense, before anything is opened.

        Parameters
        ----------
        takes_jobs : bool, default=False
            Whether what asks can wait for batch jobs.
        """
        if not isinstance(self.model, str) and not isinstance(self.model, MLLM):
            raise InputError(
                "`model` is a name such as 'openai:gpt-4.1-mini', an object with `name`, `ask` and "
                f"`aclose`, or a Model of one; got {type(self.model).__name__}."
            )
        Budget(max_cost=self.max_cost, max_requests=self.max_requests)
        whole(1, also=[None], max_concurrency=self.max_concurrency)
        if not self.jobs:
            return
        if not takes_jobs:
            raise InputError(
                "`jobs` go with DirectClassifier and InContextClassifier; everything else builds "
                "on answers as they come. Leave out `jobs`."
            )
        if not self.capabilities.batch:
            raise InputError(
                f"{self.name} has no batch endpoint. Leave out `jobs`, or use a model of openai, "
                "google or anthropic."
            )
        if self.run_folder is None:
            raise InputError(
                "`jobs` need a `run_folder`: they take up to a day, and are found again through it."
            )

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """Give all parameters, as scikit-learn's estimators do.

        Parameters
        ----------
        deep : bool, default=True
            Nothing lies deeper.
        """
        return {name: getattr(self, name) for name in _NAMES}

    def set_params(self, **params: Any) -> Self:
        """Set some parameters.

        Raises
        ------
        InputError
            If there is no such parameter. It is also a ValueError, as scikit-learn's.
        """
        for name, value in params.items():
            if name not in _NAMES:
                raise InputError(
                    f"A Model has no parameter {name!r}; it has {', '.join(map(repr, _NAMES))}."
                )
            setattr(self, name, value)
        return self

    def with_params(self, **params: Any) -> Model:
        """Make a copy in which some parameters are others."""
        return Model(**self.get_params()).set_params(**params)

    def __sklearn_clone__(self) -> Model:
        """Share the model and the cache instead of copying them."""
        return self.with_params()

    def __repr__(self) -> str:
        told = [repr(self.model)]
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                shown = media_name(value) if field.name == "base_url" else value
                told.append(f"{field.name}={shown!r}")
        return f"Model({', '.join(told)})"

    def to_saved(self) -> dict[str, Any]:
        """Give the parameters as they may leave this machine.

        Returns
        -------
        params : dict of str to value
            For JSON: no object, no folder, no password in a URL.
        """
        params = self.get_params() | dict.fromkeys(_OF_THIS_MACHINE)
        params |= {"jobs": False, "wait": True}
        params["model"] = self.model if isinstance(self.model, str) else None
        params["cache"] = None if self.cache is None else "default"
        if self.base_url is not None:
            params["base_url"] = media_name(self.base_url)
        if self.max_cost is not None:
            params["max_cost"] = str(self.max_cost)
        return params


_NAMES = tuple(field.name for field in fields(Model))

Asked: TypeAlias = str | MLLM | Model
"""What the parameter `model` of an estimator takes."""


def as_model(model: Asked) -> Model:
    """Take a name or an object as a `Model` with all else as by default.

    Examples
    --------
    >>> as_model("openai:gpt-4.1-mini")
    Model('openai:gpt-4.1-mini')
    """
    return model if isinstance(model, Model) else Model(model)


def restore_model(params: dict[str, Any], given: Asked | None = None) -> Asked | None:
    """Take what is about the model out of saved parameters.

    `params`: an estimator's, with those of `Model.to_saved` among them, which are taken out;
    `given`: to ask instead of the model of that name: with the saved limits, unless it is a
    `Model`. Returns `model`: as plain as it can be; None if there is neither a name nor a model.
    """
    saved = {name: params.pop(name) for name in _NAMES if name in params}
    named = saved.pop("model", None)
    model = named if given is None else given
    if model is None or isinstance(model, Model):
        return model
    usual = {field.name: field.default for field in fields(Model)}
    changed = {name: value for name, value in saved.items() if value != usual[name]}
    for name in _OF_THIS_MACHINE:
        changed.pop(name, None)
    return Model(model, **changed) if changed else model


@contextmanager
def open_client(model: Asked, *, takes_jobs: bool = False) -> Iterator[Client]:
    """Open a client with its cache, journal, caps and limits, and close what was opened.

    `takes_jobs`: whether what asks can wait for batch jobs. Yields `client`: its `Client.journal`
    is that of the run folder, if there is one. Raises MissingExtraError if the provider's library
    is not installed; MLLMAuthError if no key is found.
    """
    access = as_model(model)
    access.check(takes_jobs=takes_jobs)
    journal = None if access.run_folder is None else Journal(access.run_folder)
    try:
        mllm, ours = _load(access)
        limiter = None
        if access.requests_per_minute is not None or access.tokens_per_minute is not None:
            limiter = RateLimiter(rpm=access.requests_per_minute, tpm=access.tokens_per_minute)
        client = Client(
            mllm,
            cache=_open_cache(access.cache),
            journal=journal,
            limiter=limiter,
            budget=Budget(
                max_cost=access.max_cost,
                max_requests=access.max_requests,
                spent=Decimal(0) if journal is None else journal.spent,
                n_requests=0 if journal is None else journal.n_requests,
                in_doubt=Decimal(0) if journal is None else journal.in_doubt,
            ),
            max_concurrency=access.max_concurrency
            or (_FREE_SLOTS if access.capabilities.free else _SLOTS),
        )
        try:
            wait_for(client.locate())
            yield client
        finally:
            if ours:
                client.close()
    finally:
        if journal is not None:
            journal.close()


def _load(access: Model) -> tuple[MLLM, bool]:
    """Return the model, and whether it was made here."""
    if not isinstance(access.model, str):
        return access.model, False
    return load_mllm(access.model, base_url=access.base_url), True


def _open_cache(cache: AnswerCache | str | os.PathLike[str] | None) -> AnswerCache | None:
    if cache is None or isinstance(cache, AnswerCache):
        return cache
    return default_cache() if cache == "default" else AnswerCache(cache)
