"""What the options say about asking a multimodal LLM, and the meter that counts what it costs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer

from showtell.cli.evolving import make_evolving
from showtell.cli.fusing import make_fusion
from showtell.cli.local import OF_LOCAL, is_local, make_scoring, refuse_foreign
from showtell.cli.output import counted
from showtell.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from showtell._progress import Progress
    from showtell.classify.base import MediaClassifier
    from showtell.classify.predictions import Predictions
    from showtell.cli.session import Session
    from showtell.datasets import Dataset, LabelSet
    from showtell.mllm import MLLM, Answer, Capabilities, Model, Request

__all__ = [
    "ASKING",
    "BY_MODEL",
    "Asking",
    "Meter",
    "asking_of",
    "asking_values",
    "check_asking",
    "dollars",
    "given_here",
    "make_asking",
    "refuse_idle",
    "start_asking",
    "watch_jobs",
    "what_it_took",
]

ASKING = ("direct", "in-context", "fusion", "evolving")
"""Methods that ask a multimodal LLM."""
BY_MODEL = (*ASKING, "likelihood")
"""Methods that need ``--model``."""

_RESUME = (
    "Answers that were paid for are kept: run the same command again to go on from there; they "
    "cost nothing then."
)
_RESUME_JOBS = (
    "They take up to a day. The same command, with --run {}, collects what is done; nothing is "
    "paid twice."
)
_NOT_KEPT = "No cache and no --run: a run that stops keeps no answers and begins anew."
_NO_ANSWER_KEPT = "No answer was kept in a cache or a run folder."
_DEFAULT_SHOTS = 5


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The options of the panel "Asking a multimodal LLM", by their parameter names."""

    model: str
    base_url: str | None = None
    max_cost: str | None = None
    max_requests: int | None = None
    max_side: int = 768
    anonymise: bool = False
    selection: str = "balanced"
    role: str | None = None
    confidence_from: str = "auto"
    n_samples: int = 1
    permutations: str = "1"
    correct: str | None = None
    calibrate: int = 0
    shortlist: str | None = None
    score: str = "sum"
    question: str | None = None
    batch_size: str = "auto"
    temperature: float | None = None
    timeout: float = 120.0
    rpm: float | None = None
    tpm: float | None = None
    max_concurrency: int | None = None
    prompt_dir: str | None = None
    reuse: bool = True
    batch_api: bool = False
    no_wait: bool = False
    asks: bool = field(default=True, compare=False)
    """Whether classifiers are fitted; otherwise only prepared, for an estimate."""
    meter: Meter | None = field(default=None, compare=False)
    """The model itself; None where nothing is to be asked, as for an estimate."""
    run_folder: Path | str | None = field(default=None, compare=False)
    say: Callable[[str], None] | None = field(default=None, compare=False)
    """Takes a line about how it goes; None says nothing."""

    @property
    def local(self) -> bool:
        """Whether the model runs in this process."""
        return is_local(self.model)

    def as_request(self) -> dict[str, Any]:
        """List what decides about answers, for the request of a run folder; caps do not."""
        from showtell.evaluate.provenance import shown_path

        if self.local:
            return {name: getattr(self, name) for name in OF_LOCAL}
        return {
            "model": self.model,
            "base_url": None if self.base_url is None else shown_path(self.base_url),
            "max_side": self.max_side,
            "anonymise": self.anonymise,
            "selection": self.selection,
            "role": self.role,
            "confidence_from": self.confidence_from,
            "n_samples": self.n_samples,
            **({} if self.permutations == "1" else {"permutations": self.permutations}),
            **({} if self.correct is None else {"correct": self.correct}),
            "calibrate": self.calibrate,
            "shortlist": self.shortlist,
            "batch_size": self.batch_size,
            "temperature": self.temperature,
            "prompt_dir": self.prompt_dir,
            **({"batch_api": True} if self.batch_api else {}),
        }

    def access(self) -> Model:
        """Say how the model is reached and within what limits."""
        from showtell.mllm import Model, default_cache

        return Model(
            self.model if self.meter is None else self.meter,
            base_url=self.base_url,
            cache=default_cache() if self.reuse else None,
            run_folder=self.run_folder,
            max_cost=self.max_cost,
            max_requests=self.max_requests,
            requests_per_minute=self.rpm,
            tokens_per_minute=self.tpm,
            max_concurrency=self.max_concurrency,
            timeout=self.timeout,
            jobs=self.batch_api,
            wait=not self.no_wait,
        )

    def parameters(self) -> dict[str, Any]:
        """Give the arguments of the classifiers, model, labels and shots excepted."""
        found: dict[str, Any] = {
            "confidence": None if self.confidence_from == "none" else self.confidence_from,
            "n_samples": self.n_samples,
            "permutations": _whole_or("--permutations", self.permutations, "all"),
            "correct": self.correct,
            "calibrate": self.calibrate or False,
            "shortlist": _whole_or("--shortlist", self.shortlist, "two-step"),
            "batch_size": _whole_or("--batch-size", self.batch_size, "auto"),
            "max_side": self.max_side or None,
            "sampling_temperature": "auto" if self.temperature is None else self.temperature,
            "prompt_dir": self.prompt_dir,
        }
        return found if self.role is None else {**found, "role": self.role}


def _whole_or(flag: str, value: str | None, word: str) -> int | str | None:
    if value is None or value == word:
        return value
    try:
        return int(value)
    except ValueError:
        raise InputError(f"{flag} is a whole number or {word!r}; got {value!r}.") from None


def given_here(ctx: typer.Context, name: str) -> bool:
    """Say whether an option stands on the command line itself."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def asking_of(
    ctx: typer.Context, method: str, *, shows: bool, alone: bool = True
) -> tuple[str, Asking | None]:
    """Read the options about asking, and settle which of --method and --model counts.

    What stands on the command line wins over settings: ``--method linear`` over a model of the
    environment, ``--model`` over an encoder's method of showtell.toml.

    Parameters
    ----------
    ctx : typer.Context
        Of a verb with all options of the panel.
    method : str
    shows : bool
        Whether there are examples to show, so that "auto" is in-context.
    alone : bool, default=True
        Whether nothing but the model decides, so that options of encoders are out of place.

    Returns
    -------
    method : str
        One of `ASKING` if a model is to be asked.
    asking : Asking or None
        None if no multimodal LLM is to be asked.

    Raises
    ------
    InputError
        If options stand on the command line that do not go together.
    """
    values = asking_values(ctx)
    model = values.pop("model")
    by_encoder = method not in (*BY_MODEL, "auto")
    if model is not None and by_encoder:
        if given_here(ctx, "model") and not given_here(ctx, "method"):
            method = "auto"
        elif given_here(ctx, "method") and not given_here(ctx, "model"):
            model = None
    if model is not None:
        for name, flag in (("templates", "--templates"), ("transductive", "--transductive")):
            if alone and name in ctx.params and given_here(ctx, name):
                raise InputError(
                    f"{flag} belongs to methods that use an encoder; leave it out with --model. "
                    "What a model is told is edited with --role and --prompt-dir; its provider's "
                    "batch endpoint is asked with --batch-api."
                )
        foreign = [] if is_local(model) else ["score", "question"]
        if is_local(model):
            foreign = [name for name in values if name not in (*OF_LOCAL, "max_cost")]
            values = {name: value for name, value in values.items() if name in OF_LOCAL}
            method = "likelihood" if method == "auto" else method
        refuse_foreign([name for name in sorted(foreign) if given_here(ctx, name)], model)
        if method == "auto":
            method = "in-context" if shows else "direct"
        if values.get("no_wait") and not values.get("batch_api"):
            raise InputError("--no-wait hands in batch jobs and ends: it goes with --batch-api.")
        return method, Asking(model=model, **values)
    refuse_idle(ctx, values)
    return method, None


def asking_values(ctx: typer.Context) -> dict[str, Any]:
    """Read the options of the panel that a verb has, by their parameter names."""
    names = {f.name for f in fields(Asking)} & ctx.params.keys()
    return {name: ctx.params[name] for name in names}


def refuse_idle(ctx: typer.Context, values: Iterable[str]) -> None:
    """Refuse options about asking on the command line where nothing is to be asked.

    Raises
    ------
    InputError
        It names them.
    """
    idle = sorted(f"--{name.replace('_', '-')}" for name in values if given_here(ctx, name))
    if idle:
        raise InputError(
            f"{', '.join(idle)} {'is' if len(idle) == 1 else 'are'} about asking a multimodal LLM: "
            "name one with --model provider:name (`showtell models` lists them), or leave "
            f"{'it' if len(idle) == 1 else 'them'} out."
        )


def check_asking(method: str, asking: Asking | None) -> None:
    """Refuse a method that does not go with there being a model or none."""
    if asking is None and method == "likelihood":
        raise InputError(
            "Method 'likelihood' needs a model that runs in this process: name it with --model "
            "hf-hub:ORG/NAME or --model local-dir:PATH."
        )
    if asking is not None and method in BY_MODEL and (method == "likelihood") != asking.local:
        raise InputError(
            f"{asking.model} runs in this process: use --method likelihood (or auto)."
            if asking.local
            else f"Method 'likelihood' reads the log-probabilities of a model in this process; "
            f"{asking.model} is asked through a server. Name one with --model hf-hub:ORG/NAME or "
            "local-dir:PATH, or use --method direct or in-context."
        )
    if asking is None and method in ASKING:
        raise InputError(
            f"Method {method!r} asks a multimodal LLM: name one with --model provider:name, for "
            "example openai:gpt-4.1-mini (`showtell models` lists them; `showtell try-server` is "
            "one without a key), or use a method of encoders such as zero-shot or few-shot."
        )
    if asking is not None and method not in (*BY_MODEL, "auto"):
        raise InputError(
            f"--model asks a multimodal LLM, and method {method!r} uses an encoder. With --model "
            f"go --method auto, {', '.join(BY_MODEL)}; with --encoder go zero-shot, few-shot, "
            "prototype, tip-adapter, linear."
        )
    if asking is not None and asking.anonymise and method == "direct":
        raise InputError(
            "--anonymise lets only the examples tell what the labels mean: use --method in-context "
            "with --examples or --shots."
        )


class Meter:
    """A multimodal LLM that counts what it is asked and what that costs.

    Parameters
    ----------
    mllm : MLLM
    announce : callable, optional
        Called before the first question is sent.
    """

    def __init__(self, mllm: MLLM, announce: Callable[[Meter], None] | None = None) -> None:
        from showtell.mllm import capabilities_of

        self.wrapped = mllm
        self._announce = announce
        self.name = mllm.name
        self.fingerprint = mllm.name
        """By which records name the model."""
        self.capabilities: Capabilities = getattr(mllm, "capabilities", capabilities_of(mllm.name))
        self.n_requests = 0
        """Requests that were answered."""
        self.input_tokens = self.output_tokens = 0
        self.cost_usd = Decimal(0)
        """USD of all answers whose price is known."""
        self.n_unpriced = 0
        """Answers whose price is not known."""

    async def ask(self, request: Request) -> Answer:
        """Pass on a request, and count the answer."""
        self.announce()
        answer = await self.wrapped.ask(request)
        self.count(answer)
        return answer

    def announce(self) -> None:
        """Say, unless it was said before, that something is about to be sent."""
        announce, self._announce = self._announce, None
        if announce is not None:
            announce(self)

    def count(self, answer: Answer) -> None:
        """Count an answer, also one that a batch job brought."""
        from showtell.mllm.prices import is_installed, price

        usage = answer.usage
        cost = usage.cost_usd
        if cost is None and (self.capabilities.free or is_installed()):
            cost = price(self.name, usage)
        self.n_requests += 1
        self.input_tokens += usage.input_tokens or 0
        self.output_tokens += usage.output_tokens or 0
        if cost is None:
            self.n_unpriced += 1
        else:
            self.cost_usd += cost

    async def aclose(self) -> None:
        """Leave connections open: the next step of the same command uses them too."""

    def close(self) -> None:
        """Close connections."""
        from showtell.mllm.call.background import wait_for

        wait_for(self.wrapped.aclose())

    @property
    def total(self) -> Decimal | None:
        """USD of all answers; None if it is not known."""
        return None if self.n_unpriced else self.cost_usd

    def live(self) -> str:
        """Say in a word or two what was spent so far."""
        return dollars(self.total) if self.n_requests else ""

    def __repr__(self) -> str:
        return f"Meter({self.name!r})"


def start_asking(
    session: Session, ctx: typer.Context, asking: Asking, *, run: Path | None, steps: int = 1
) -> Asking:
    """Load the model, so that a wrong name or a missing key is known before anything is read.

    Parameters
    ----------
    session : Session
        Told how to resume, and to show what is spent.
    ctx : typer.Context
        When it ends, connections are closed.
    asking : Asking
    run : Path or None
        The run folder; its journal lets the run resume.
    steps : int, default=1
        How often classifiers are set to work. One cap holds for all of them together, so with
        more than one there is a journal that they share.

    Returns
    -------
    asking : Asking
        With its `meter` and `run_folder`.
    """
    if asking.local:
        return asking  # loaded when it is fitted; nothing is paid, so nothing is metered
    # At once, since loading what speaks with providers takes a while, in which Ctrl-C may come.
    session.resume_hint = _RESUME if run is not None or asking.reuse else _NO_ANSWER_KEPT

    from showtell.mllm import default_cache, load_mllm

    if asking.batch_api and run is None:
        raise InputError(
            "--batch-api needs --run DIR: jobs take up to a day, and are found again through it."
        )
    mllm = load_mllm(asking.model, base_url=asking.base_url)
    meter = Meter(mllm, lambda meter: _say_where(session, meter))
    ctx.call_on_close(meter.close)
    if asking.batch_api and meter.capabilities.batch:  # jobs are handed in past the meter
        meter.announce()
    folder: Path | str | None = run
    capped = asking.max_cost is not None or asking.max_requests is not None
    if run is None and capped and (steps > 1 or asking.calibrate or asking.correct):
        books = tempfile.TemporaryDirectory(prefix="showtell-")
        ctx.call_on_close(books.cleanup)
        folder = books.name
    if asking.batch_api:
        session.resume_hint = _RESUME_JOBS.format(run)
    elif run is None and not (asking.reuse and default_cache() is not None):
        session.note(_NOT_KEPT)
        session.resume_hint = _NO_ANSWER_KEPT
    session.live = meter.live
    return replace(asking, meter=meter, run_folder=folder, say=session.summary)


def _say_where(session: Session, meter: Meter) -> None:
    """Name the host that is about to be asked; nothing hides it."""
    endpoint = getattr(meter.wrapped, "endpoint", "")
    session.always(f"Asking {meter.name}{f' at {endpoint}' if endpoint else ''}.")


def watch_jobs(session: Session, asking: Asking | None, progress: Progress) -> Progress:
    """Say once that batch jobs are under way, and that one need not sit and wait for them."""
    if asking is None or not asking.batch_api or asking.no_wait:
        return progress

    def report(done: int, total: int, stage: str) -> None:
        if stage == "batch jobs" and done < total:
            session.note(
                f"handed in {counted(total, 'batch job')}, which may take up to a day. Ctrl-C ends "
                "the waiting, not the jobs; the same command goes on."
            )
        progress(done, total, stage)

    return report


def make_asking(
    asking: Asking,
    *,
    method: str,
    shots: int | None,
    abstain_below: float | None,
    encoder: Any,
    store: str | None,
    seed: int,
    label_set: LabelSet | None,
    support: Dataset | None,
    threads: int | None = None,
    descriptions: str | None = None,
    domain: str | None = None,
) -> MediaClassifier:
    """Build and fit the classifier that asks a multimodal LLM.

    Raises
    ------
    InputError
        If there are neither labels nor examples, or none to show.
    """
    from showtell.classify.asking.direct import DirectClassifier
    from showtell.classify.asking.in_context import InContextClassifier

    if label_set is None and (support is None or not support.labels):
        raise InputError(
            'Which labels? Name them with --labels "cat,dog" or --labels-file FILE, or show some '
            "pictures of each with --examples DIR (a folder per label)."
        )
    if asking.local:
        return make_scoring(
            asking,
            abstain_below=abstain_below,
            encoder=encoder,
            store=store,
            seed=seed,
            label_set=label_set,
            support=support,
            threads=threads,
        )
    if method == "fusion":
        return make_fusion(
            asking,
            shots=shots,
            abstain_below=abstain_below,
            encoder=encoder,
            store=store,
            seed=seed,
            label_set=label_set,
            support=support,
            descriptions=descriptions,
        )
    if method == "evolving":
        evolving: MediaClassifier = make_evolving(
            asking,
            shots=shots,
            abstain_below=abstain_below,
            encoder=encoder,
            store=store,
            seed=seed,
            label_set=label_set,
            support=support,
            descriptions=descriptions,
            domain=domain,
        )
        return evolving
    parameters = asking.parameters() | {
        "abstain_below": abstain_below,
        "encoder": encoder,
        "store": store,
        "random_state": seed,
    }
    if label_set is None:
        assert support is not None
        parameters["labels"] = list(support.labels)
    else:
        parameters["labels"] = list(label_set.labels)
        parameters["descriptions"] = label_set.descriptions or None
        parameters["aliases"] = label_set.aliases or None
    model = asking.access()
    has_examples = support is not None and len(support) > 0
    if method == "direct":
        direct = DirectClassifier(model, **parameters)
        fit = direct.fit if asking.asks else direct.prepare
        if asking.calibrate and not has_examples:
            raise InputError("--calibrate asks about labelled images: give some, --examples DIR.")
        if has_examples and (asking.calibrate or asking.correct == "contextual"):
            assert support is not None
            return fit(support.images, support.y)
        return fit()
    if not has_examples:
        raise InputError(
            "Method 'in-context' shows examples. Give some with --examples DIR, a folder per label "
            "with a few pictures each, or use --method direct."
        )
    assert support is not None
    shown = InContextClassifier(
        model,
        shots=_DEFAULT_SHOTS if shots is None else shots,
        anonymise=asking.anonymise,
        selection=asking.selection,  # type: ignore[arg-type]
        **parameters,
    )
    return (shown.fit if asking.asks else shown.prepare)(support.images, support.y)


def dollars(cost: Decimal | None) -> str:
    """Write money: cents where it is much, more digits where it is little.

    Examples
    --------
    >>> dollars(None), dollars(Decimal(0)), dollars(Decimal("0.000421")), dollars(Decimal("1234.5"))
    ('price unknown', '0 USD', '0.00042 USD', '1,234.50 USD')
    """
    if cost is None:
        return "price unknown"
    if cost == 0:
        return "0 USD"
    if cost >= 1:
        return f"{cost:,.2f} USD"
    return f"{Decimal(f'{cost:.2g}'):f} USD"


def what_it_took(meters: Meter | Sequence[Meter], predictions: Sequence[Predictions]) -> str:
    """Say what a run spent, and what it had for nothing.

    Parameters
    ----------
    meters : Meter or sequence of Meter
    predictions : sequence of Predictions
        What came of it.
    """
    again = sum(sum(map(bool, p.columns.get("from_cache", ()))) for p in predictions)
    n_rows = sum(map(len, predictions))
    all_of = [meters] if isinstance(meters, Meter) else list(meters)
    n_requests = sum(meter.n_requests for meter in all_of)
    totals = [meter.total for meter in all_of]
    total = None if None in totals else sum((t for t in totals if t is not None), Decimal(0))
    doubts = _in_doubt(predictions)
    if not n_requests:
        if again and again == n_rows:
            return f"0 USD: all {n_rows:,} answers were there already{doubts}"
        return f"0 USD: nothing was asked{doubts}"
    parts = [
        f"{dollars(total)} for {n_requests:,} request{'' if n_requests == 1 else 's'}",
        f"{sum(meter.input_tokens for meter in all_of):,} tokens in",
        f"{sum(meter.output_tokens for meter in all_of):,} out",
    ]
    if again:
        parts.append(f"{again:,} of {n_rows:,} answers were there already")
    return ", ".join(parts) + doubts


def _in_doubt(predictions: Sequence[Predictions]) -> str:
    """Say what may be billed although no answer came of it."""
    n = max((p.n_in_doubt for p in predictions), default=0)  # of one run folder
    if not n:
        return ""
    most = next(p.in_doubt_usd for p in predictions if p.n_in_doubt == n)
    amount = "an unknown amount" if most is None else f"at most {dollars(most)}"
    return (
        f"; {counted(n, 'request')} of this run broke off, or had no answer when it was killed, "
        f"and may be billed on top: {amount}"
    )
