"""`showtell estimate`: tokens, requests, dollars and time of a run, before it."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, replace
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from showtell.cli import options as o
from showtell.cli.asking import Asking, asking_of, dollars, start_asking
from showtell.cli.choices import Choices, given_labels, make_classifier
from showtell.cli.data import examples_of
from showtell.cli.groups import (
    BudgetOptions,
    LabelOptions,
    ModelOptions,
    PromptOptions,
    RequestOptions,
    TalkOptions,
    grouped,
)
from showtell.cli.output import counted, print_csv, print_json, print_table
from showtell.cli.session import Session, begin, is_terminal
from showtell.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from showtell.mllm import AnswerCache, Capabilities, Request

__all__ = ["add_to", "add_up", "estimate", "ready_to_count", "rule_in_words"]

_EPILOG = """# Examples

showtell estimate photos/ --labels "cat,dog" --model google:gemini-2.5-flash

showtell estimate photos/ --examples sorted/ --shots 5 --model openai:gpt-4.1-mini --json

showtell estimate photos/ --labels "cat,dog" --model anthropic:claude-haiku-4-5 --rpm 50
"""

_SECONDS_TO_BEGIN, _TOKENS_PER_SECOND = 1.0, 100.0
_OPENING_TOKENS = 10  # of an answer, before its first image


@dataclass(kw_only=True)
class _Sums:
    """What all requests come to. None is unknown."""

    n_requests: int = 0
    n_asked: int = 0
    input_tokens: int | None = 0
    image_tokens: int | None = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    cost_usd_prefix_cached: Decimal | None = Decimal(0)
    cost_usd_batch: Decimal | None = Decimal(0)
    n_requests_kept: int = 0
    cost_usd_to_pay: Decimal | None = Decimal(0)
    max_cost_to_begin: Decimal | None = Decimal(0)
    max_cost_to_end: Decimal | None = Decimal(0)


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("estimate", help=o.paragraphs(estimate.__doc__), epilog=_EPILOG)(estimate)


@grouped
def estimate(
    ctx: typer.Context,
    *,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Files, folders, globs, URLs, tables with a column of images, or - for a list "
            "on standard input.",
        ),
    ],
    sought: LabelOptions,
    method: o.Method = "auto",
    encoder: o.EncoderName = "mini",
    shots: o.Shots = None,
    seed: o.Seed = 0,
    called: ModelOptions,
    caps: BudgetOptions,
    questions: PromptOptions,
    sending: RequestOptions,
    batch_api: o.BatchApi = False,
    latency: Annotated[
        float | None,
        o.option(
            "--latency",
            panel=o.MODEL,
            min=0.0,
            metavar="S",
            help="Seconds that one request takes; unless given 1 and 1 more for every 100 output "
            "tokens.",
        ),
    ] = None,
    limit: o.Limit = None,
    image_column: o.ImageColumn = None,
    json: o.Json = False,
    store: o.Store = True,
    saying: TalkOptions,
) -> None:
    """Say what `classify` would take with the same options: requests, tokens, dollars and time.

    The requests are made as they would be sent, and counted by the provider's formula; nothing
    is sent, and no key is needed. Asking again about images that an answer leaves out comes on
    top. A price that is not known is "unknown".

    A cap, --max-cost, counts each request with its longest answer before it goes out: the table
    names the smallest cap that lets the first request out, and one that suffices for all.
    """
    session = begin(ctx, saying)
    method, asking = asking_of(ctx, method, shows=sought.examples is not None and shots != 0)
    if asking is None:
        raise InputError(
            "Which model? Name it with --model provider:name; `showtell models` lists them. "
            "Encoders run on this machine and cost nothing."
        )
    if not asking.local:
        asking = ready_to_count(session, ctx, asking)
    choices = Choices(
        encoder=encoder,
        method=method,
        shots=shots,
        seed=seed,
        store=store,
        asking=asking,
    )
    from showtell.datasets import expand_images, limit_dataset
    from showtell.mllm import capabilities_of, default_cache

    data = expand_images(images, image_column=image_column)
    for note in data.notes:
        session.note(note)
    if limit is not None:
        data = limit_dataset(data, limit, seed)
    if asking.local:
        from showtell.cli.local import show_estimate

        show_estimate(
            session,
            choices,
            given_labels(sought.labels, sought.labels_file),
            data,
            support=examples_of(sought.examples),
            json=json,
        )
        return
    classifier: Any = make_classifier(
        choices, given_labels(sought.labels, sought.labels_file), examples_of(sought.examples)
    )
    known = asking.meter.capabilities if asking.meter else capabilities_of(asking.model)
    sums = add_up(
        classifier.requests(data.images),
        name=classifier.model_,
        capabilities=known,
        cache=default_cache() if sending.reuse else None,
        batch_api=batch_api,
        answer_tokens=getattr(classifier, "answer_tokens", None),
    )
    if batch_api and not known.batch:
        raise InputError(
            f"{classifier.model_} has no batch endpoint. Leave out --batch-api, or use a model of "
            "openai, google or anthropic."
        )
    slots = sending.max_concurrency or (8 if known.free else 64)
    seconds = None  # of a batch job nobody knows more than "within a day"
    if not batch_api:
        seconds = _seconds(sums, slots=slots, latency=latency, rpm=sending.rpm, tpm=sending.tpm)
    formula = rule_in_words(known.image_token_rule)
    if json or not is_terminal(sys.stdout):
        print_facts = print_json if json else _print_facts
        print_facts(
            {
                "model": classifier.model_,
                "n_images": len(data),
                **asdict(sums),
                "seconds": None if seconds is None else round(seconds, 1),
                "image_token_rule": known.image_token_rule,
                "image_tokens_in_words": formula,
                "source": known.source,
                "date": known.date,
            }
        )
    else:
        time = "within a day" if batch_api else None
        rows = _rows(sums, len(data), seconds, formula, known, time=time)
        print_table(session, ("what", "how much"), rows, title=classifier.model_)
    if sums.cost_usd_to_pay is None:
        told = f"the price of {classifier.model_} is not known; `showtell models` lists known ones"
    else:
        told = (
            f"{_unknown_or(sums.cost_usd_to_pay)} to pay; the formula is the provider's, so expect "
            "a few per cent more or less"
        )
        if sums.max_cost_to_begin and sums.max_cost_to_end:
            told += (
                "; a cap counts the longest answers: --max-cost from "
                f"{_cap(sums.max_cost_to_begin)} on begins, "
                f"and {_cap(sums.max_cost_to_end)} surely suffices"
            )
    session.summary(f"{counted(len(data), 'image')}: {told}")


def _print_facts(facts: dict[str, Any]) -> None:
    """Print what --json prints as CSV."""
    print_csv(("what", "value"), facts.items())


def ready_to_count(session: Session, ctx: typer.Context, asking: Asking) -> Asking:
    """Check the provider's name; load a Modelfile. Nothing is asked."""
    from showtell.mllm.registry import find_key

    asking = replace(asking, asks=False, max_cost=None, max_requests=None, batch_api=False)
    if asking.model.startswith("modelfile:") or Path(asking.model).is_file():
        return start_asking(session, ctx, asking, run=None)
    provider, colon, _ = asking.model.partition(":")
    if colon:
        find_key(provider.strip().lower())
    return asking


def add_up(
    requests: Iterable[Request],
    *,
    name: str,
    capabilities: Capabilities,
    cache: AnswerCache | None,
    batch_api: bool = False,
    answer_tokens: int | None = None,
) -> _Sums:
    """Count and price each request by itself, since prices may depend on its length.

    An answer has `answer_tokens`; unless given, as many as labels for the images asked about take.
    """
    from showtell.mllm import Usage, estimate_tokens, price
    from showtell.mllm.prices import is_installed
    from showtell.mllm.tokens import most_output
    from showtell.prompts.packing import ANSWER_TOKENS

    sums = _Sums()
    if not capabilities.batch or capabilities.free:
        sums.cost_usd_batch = None
    priced = capabilities.free or is_installed()
    for request in requests:
        tokens = estimate_tokens(request, capabilities)
        n_out = 0
        if not capabilities.decisions:
            n_out = _OPENING_TOKENS + ANSWER_TOKENS * request.n_queries
            if answer_tokens is not None:
                n_out = answer_tokens
        usage = Usage(input_tokens=tokens.input, output_tokens=n_out)
        cost = price(name, usage) if priced else None
        warm = cost
        if sums.n_requests and tokens.prefix and cost is not None:
            warm = price(name, replace(usage, cached_tokens=tokens.prefix))
        kept = cache is not None and cache.get(request.key) is not None
        sums.n_requests += 1
        sums.n_asked += request.n_queries
        sums.input_tokens = _plus(sums.input_tokens, tokens.input)
        sums.image_tokens = _plus(sums.image_tokens, tokens.images)
        sums.output_tokens += n_out
        sums.cost_usd = _plus(sums.cost_usd, cost)
        sums.cost_usd_prefix_cached = _plus(sums.cost_usd_prefix_cached, warm)
        batch = None
        if capabilities.batch and not capabilities.free:
            batch = price(name, usage, batch=True) if priced else None
            sums.cost_usd_batch = _plus(sums.cost_usd_batch, batch)
        sums.n_requests_kept += kept
        to_pay = Decimal(0) if kept else batch if batch_api else cost
        sums.cost_usd_to_pay = _plus(sums.cost_usd_to_pay, to_pay)
        if not kept:  # a cap is asked for the longest answer before a request goes out
            longest = replace(usage, output_tokens=most_output(request))
            most = price(name, longest, batch=batch_api) if priced else None
            if sums.n_requests - sums.n_requests_kept == 1:
                sums.max_cost_to_begin = most
            sums.max_cost_to_end = _plus(sums.max_cost_to_end, most)
    return sums


def _plus(total: Any, more: Any) -> Any:
    return None if total is None or more is None else total + more


def _seconds(
    sums: _Sums, *, slots: int, latency: float | None, rpm: float | None, tpm: float | None
) -> float | None:
    """Say how long it takes: the slowest of what the slots, the requests and the tokens allow."""
    n = sums.n_requests - sums.n_requests_kept
    if not n:
        return 0.0
    each = latency
    if each is None:
        each = _SECONDS_TO_BEGIN + sums.output_tokens / sums.n_requests / _TOKENS_PER_SECOND
    longest = math.ceil(n / slots) * each
    if rpm is not None:
        longest = max(longest, 60 * n / rpm)
    if tpm is not None:
        if sums.input_tokens is None:
            return None
        share = n / sums.n_requests
        longest = max(longest, 60 * share * (sums.input_tokens + sums.output_tokens) / tpm)
    return longest


def _rows(
    sums: _Sums,
    n_images: int,
    seconds: float | None,
    formula: str,
    known: Capabilities,
    *,
    time: str | None,
) -> list[tuple[str, str]]:
    def tokens(n: int | None) -> str:
        return "unknown" if n is None else f"{n:,}"

    per_thousand = None
    if sums.cost_usd is not None and sums.n_asked:
        per_thousand = 1000 * sums.cost_usd / sums.n_asked
    rows = [
        ("images", f"{n_images:,}"),
        ("questions about an image", f"{sums.n_asked:,}"),
        ("requests", f"{sums.n_requests:,}"),
        ("  answered before, in the cache", f"{sums.n_requests_kept:,}"),
        ("input tokens", tokens(sums.input_tokens)),
        ("  of images", tokens(sums.image_tokens)),
        ("output tokens, about", tokens(sums.output_tokens)),
        ("cost", _unknown_or(sums.cost_usd)),
        ("  still to pay", _unknown_or(sums.cost_usd_to_pay)),
        ("  per 1,000 questions", _unknown_or(per_thousand)),
    ]
    if sums.cost_usd_prefix_cached != sums.cost_usd:
        rows.append(("  if the provider caches prefixes", _unknown_or(sums.cost_usd_prefix_cached)))
    if sums.cost_usd_batch is not None:
        rows.append(("  as a batch job, within a day", _unknown_or(sums.cost_usd_batch)))
    if sums.max_cost_to_begin and sums.max_cost_to_end:
        rows.append(("smallest --max-cost that begins", _cap(sums.max_cost_to_begin)))
        rows.append(("  that surely suffices", _cap(sums.max_cost_to_end)))
    if time is None:
        time = "unknown" if seconds is None else f"{seconds:,.0f}"
    rows.append(("seconds, about", time))
    rows.append(("tokens of an image", formula))
    rows.append(("  source", f"{known.source} ({known.date})" if known.date else known.source))
    return rows


def _unknown_or(cost: Decimal | None) -> str:
    return "unknown" if cost is None else dollars(cost)


def _cap(cost: Decimal) -> str:
    """Write a cap that is enough: rounded up."""
    step = Decimal("0.01") if cost >= 1 else Decimal(1).scaleb(cost.adjusted() - 1)
    return dollars((cost / step).to_integral_value(ROUND_CEILING) * step)


def rule_in_words(rule: str | None) -> str:
    """Say how a provider counts the tokens of an image.

    Parameters
    ----------
    rule : str or None
        `Capabilities.image_token_rule`.

    Examples
    --------
    >>> rule_in_words("patch:32:1536:1.62")
    '32 x 32 patches begun, scaled down to at most 1536 of them, times 1.62'
    >>> rule_in_words(None)
    'not known'
    """
    if rule is None:
        return "not known"
    name, *n = rule.split(":")
    forms = {
        "tile": "scaled down to fit {0} x {0} and a shorter side of {1}; {3}, and {4} for every "
        "{2} x {2} tile begun",
        "patch": "{0} x {0} patches begun, scaled down to at most {1} of them, times {2}",
        "crop": "{2} if no side is above {0}; else {2} for every square crop begun, of two thirds "
        "of the shorter side, at least 256 and at most {1}",
        "area": "width x height / {0}, scaled down to a longer side of {1} and about {2} tokens",
        "fixed": "{0}, whatever the size",
    }
    return forms[name].format(*n) if name in forms else rule
