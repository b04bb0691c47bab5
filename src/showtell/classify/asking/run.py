"""Ask about images, ask again about those without an answer, until each has exactly one outcome.

Everything is joined by content and by id. A run goes in waves: the first asks about every distinct
image once per view (a view is a label order of one repetition, or a part of a large label set); the
next ones ask only about what was left open, in batches that are halved when a whole request fails.
What is asked follows from the images and the answers alone, never from timing, so that a run that
is repeated finds its answers in the cache.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Decimal
from itertools import groupby, islice
from typing import Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.classify.asking.confidence import label_probabilities
from showtell.errors import MediaError, MLLMError, MLLMRequestError
from showtell.media import Media, read_media
from showtell.mllm.base import Answer, ImagePart, Request, Settings, Usage
from showtell.mllm.call.background import wait_for
from showtell.mllm.call.client import Client
from showtell.mllm.capabilities import Capabilities
from showtell.mllm.images import prepare_image
from showtell.mllm.jobs.client import BatchClient
from showtell.prompts.answers import AnswerParser
from showtell.prompts.packing import Packed, Packer
from showtell.prompts.reconciled import Outcome, reconcile
from showtell.prompts.requests import (
    Demonstration,
    Query,
    RequestForm,
    query_ids,
    render_decision,
    render_request,
)

__all__ = ["Given", "Item", "Phase", "Reason", "Run", "Spent", "explain", "split_usage"]

Reason: TypeAlias = Literal[
    "image",
    "missing",
    "conflict",
    "out_of_set",
    "refused",
    "blocked",
    "request",
    "unsure",
    "stopped",
]
"""Why a row has no label: the image cannot be used; the model never answered about it, or
contradicted itself, or named no label of the set; it declined; a filter held the answer back; the
request failed; the confidence is below the threshold; the run was stopped before."""

_MOST_AGAIN = 2
_GROUP = 4  # images per task of a worker; what is read ahead is held in memory
_TEXT_BYTES = 65536  # of a request, besides images
_CENT_OF = Decimal("1e-12")  # USD; the smallest share of a request's price
_SAID: dict[str, str] = {
    "missing": "the model's answers left this image out",
    "conflict": "the model gave different labels in one answer",
    "out_of_set": "the model named no label of the set",
    "refused": "the model declined to answer",
    "blocked": "a safety filter held the answer back",
}
T = TypeVar("T")


@dataclass(slots=True)
class Spent:
    """Tokens, money and time of one image. None means unknown, 0 means nothing."""

    cost_usd: Decimal | None = Decimal(0)
    price_usd: Decimal | None = Decimal(0)
    """The same with what is used again at the price it had when it was asked."""
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    seconds: float = 0.0
    n_answers: int = 0
    n_from_cache: int = 0

    @property
    def from_cache(self) -> bool:
        """Whether nothing was asked anew."""
        return self.n_answers == self.n_from_cache > 0

    def add(
        self, usage: Usage, *, price_usd: Decimal | None, seconds: float, from_cache: bool
    ) -> None:
        """Add the share of one answer."""
        self.cost_usd = _sum(self.cost_usd, usage.cost_usd)
        self.price_usd = _sum(self.price_usd, price_usd)
        self.input_tokens = _sum(self.input_tokens, usage.input_tokens)
        self.output_tokens = _sum(self.output_tokens, usage.output_tokens)
        self.seconds += seconds
        self.n_answers += 1
        self.n_from_cache += from_cache


N = TypeVar("N", int, Decimal)


def _sum(a: N | None, b: N | None) -> N | None:
    return None if a is None or b is None else a + b


def split_usage(usage: Usage, n: int) -> list[Usage]:
    """Divide what a request took among its images, so that the parts add up exactly.

    Parameters
    ----------
    usage : Usage
    n : int
        Number of images, at least 1.

    Returns
    -------
    shares : list of Usage, length n

    Examples
    --------
    >>> shares = split_usage(Usage(input_tokens=10, cost_usd=Decimal("0.01")), 3)
    >>> [s.input_tokens for s in shares], sum(s.cost_usd for s in shares)
    ([4, 3, 3], Decimal('0.010000000000'))
    >>> shares[0].output_tokens
    """

    def tokens(total: int | None, place: int) -> int | None:
        return None if total is None else total // n + (place < total % n)

    each = last = usage.cost_usd
    if usage.cost_usd and n > 1:
        each = (usage.cost_usd / n).quantize(_CENT_OF, rounding=ROUND_DOWN)
        last = usage.cost_usd - each * (n - 1)
    return [
        Usage(
            input_tokens=tokens(usage.input_tokens, place),
            output_tokens=tokens(usage.output_tokens, place),
            cached_tokens=tokens(usage.cached_tokens, place),
            cost_usd=last if place == n - 1 else each,
        )
        for place in range(n)
    ]


@dataclass(slots=True)
class Given:
    """One answer about one image in one view."""

    code: int | None = None
    confidence: float | None = None
    """As the model says, 0 to 1."""
    row: NDArray[np.float64] | None = None
    """Probability per label, shape (n_classes,); 0 for labels that were not to choose from."""
    reason: Reason | None = None
    """Why there is no label."""
    text: str = ""


@dataclass(slots=True)
class Item:
    """One distinct image."""

    number: int
    source: Media
    digest: str
    first_row: int
    """Of the inputs that show it, the first."""
    spent: Spent = field(default_factory=Spent)
    known: bool = False
    """An earlier process of the run had its outcome."""
    again: bool = False
    """It took that process more than one answer."""
    done: bool = False
    """It has its outcome."""
    given: dict[int, Given] = field(default_factory=dict)
    """View to answer, of the present phase."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What is asked about every image."""

    n_views: int = 1
    choice: Callable[[Item, int], tuple[int, ...] | None] = lambda _item, _view: None
    """Codes an image has to choose from in a view; None for all; () to leave the view out."""
    order: Callable[[int, tuple[int, ...]], tuple[int, ...]] = lambda _view, codes: codes
    """The order in which codes are listed in a view."""
    written: Callable[[int], Sequence[int] | None] = lambda _view: None
    """By whose name each label goes in a view, as codes; None: each by its own."""
    most_labels: int | None = None
    """Labels a request may list, where images choose from different ones."""
    first_sample: int = 0
    """Number of the first view as a repetition: equal questions of two phases differ by it."""
    on_done: Callable[[Item], None] = lambda _item: None
    """Called as an image has an outcome in every view."""


@dataclass(slots=True)
class _Ask:
    """One image in one view, until it is answered."""

    item: Item
    view: int
    limit: int
    n_again: int = 0
    n_failed: int = 0
    n_answers: int = 0
    stretch: int = 0
    """How often the longest answer was doubled."""


@dataclass(kw_only=True)
class Run:
    """Asks about images through a `Client`."""

    client: Client | BatchClient | None
    """None only to look at what would be asked."""
    form: RequestForm
    parser: AnswerParser
    settings: Settings
    batch_size: int
    demonstrations: Callable[[int, tuple[int, ...], Sequence[Item]], Sequence[Demonstration]]
    """Of a view, the codes listed in a request, and the images it asks about."""
    capabilities: Capabilities
    max_side: int | None = None
    n_demonstrations: int = 0
    shared_bytes: int = 0
    """Of the demonstrations, before base64."""
    decisions: bool = False
    """Whether the provider's classification endpoint is asked."""
    logprobs: bool = False
    avoid: tuple[str, ...] = ()
    """Texts that no id may contain."""
    n_workers: int = min(4, os.cpu_count() or 1)

    def __post_init__(self) -> None:
        self._stopped = False
        self._n_done = 0
        self._phase = Phase()
        self._found: _Found | None = None
        # Requests under way, by number: what each asks about, and by which ids.
        self._sent: dict[int, tuple[list[_Ask], list[str]]] = {}

    # Looking at images

    def _look(self, images: Sequence[Media], found: _Found) -> Iterator[tuple[Item, ImagePart]]:
        """Yield each distinct image with what is to be sent, in order of the inputs."""
        fresh = found.first_mentions(images)
        for row, source, (digest, part, error) in self._prepared(fresh):
            if error is not None:
                found.errors[row] = error
                continue
            assert part is not None
            item = found.add(row, source, digest)
            if item is not None:
                yield item, part

    def _prepared(self, sources: Iterable[tuple[T, Media]]) -> Iterator[tuple[T, Media, _Looked]]:
        """Read and prepare in threads, a little ahead, in order."""
        source = iter(sources)
        waiting: deque[tuple[list[tuple[T, Media]], Future[list[_Looked]]]] = deque()
        pool = ThreadPoolExecutor(self.n_workers, thread_name_prefix="showtell-media")
        try:
            while True:
                while len(waiting) <= self.n_workers + 1 and (
                    group := list(islice(source, _GROUP))
                ):
                    task = pool.submit(self._look_at, [media for _, media in group])
                    waiting.append((group, task))
                if not waiting:
                    return
                group, task = waiting.popleft()
                for (tag, media), looked in zip(group, task.result(), strict=True):
                    yield tag, media, looked
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _look_at(self, sources: Sequence[Media]) -> list[_Looked]:
        return [self.look_at(source) for source in sources]

    def look_at(self, source: Media) -> _Looked:
        """Read an image and make it fit to be sent: its content hash and itself, or the error."""
        n_queries = 1 if self.decisions else self.batch_size
        try:
            raw = read_media(source)
            part = prepare_image(
                raw,
                max_side=self.max_side,
                capabilities=self.capabilities,
                n_images=n_queries + self.n_demonstrations,
            )
        except MediaError as error:
            return "", None, error
        return raw.digest, part, None

    # Asking

    def ask_new(
        self,
        images: Sequence[Media],
        phase: Phase,
        *,
        skip: Callable[[Item], bool] = lambda _: False,
        progress: Progress = no_progress,
    ) -> tuple[list[Item], NDArray[np.int64], dict[int, MediaError]]:
        """Read all images and ask about each distinct one.

        Parameters
        ----------
        images : sequence of Media
        phase : Phase
        skip : callable
            Says of an image that it need not be asked about.
        progress : Progress
            Called with the number of images that are done.

        Returns
        -------
        items : list of Item
            Each with one `Given` per view, those skipped excepted.
        distinct : ndarray of shape (n_images,), int64
            Item of each input, -1 for one that cannot be used.
        errors : dict of int to MediaError
            By input.

        Raises
        ------
        BudgetError
            If a cap stopped the run.
        MLLMAuthError
            If the provider takes no question at all.
        """
        found = self._found = _Found(len(images))

        def queries() -> Iterator[tuple[Item, ImagePart]]:
            for item, part in self._look(images, found):
                item.known = item.done = skip(item)
                self._n_done += item.known
                yield item, part

        def report() -> None:
            progress(min(self._n_done, len(images)), len(images), "ask")

        self._wait(queries(), phase, report)
        progress(len(images), len(images), "ask")
        return found.items, found.distinct(), found.errors

    def so_far(
        self,
        images: Sequence[Media],
        line: str,
        noted: frozenset[str] = frozenset(),
        recall: Callable[[Item], bool] = lambda _: False,
    ) -> tuple[list[Item], NDArray[np.int64], dict[int, str]]:
        """Say what is known of all inputs after a run was stopped.

        Parameters
        ----------
        images : sequence of Media
            As given to `ask_new`.
        line : str
            Why the others have no answer.
        noted : frozenset of str
            Hashes of images whose outcome is known. As long as some of them were not looked at
            before the stop, further images are; these are few, since asking goes nearly in order.
        recall : callable
            Fills in such an outcome.

        Returns
        -------
        items, distinct, errors
            As of `ask_new`. Inputs without an outcome are items of reason "stopped", or errors
            with the line.
        """
        found = (self._found or _Found(len(images))).copy()
        left = noted.difference(item.digest for item in found.items)
        for row, source in list(found.first_mentions(images)):
            if not left:
                break
            if found.has(row):
                continue
            digest, _, error = self.look_at(source)
            left -= {digest}
            if error is not None:
                found.errors[row] = error
            elif (item := found.add(row, source, digest)) is not None:
                item.known = item.done = recall(item)
        for item in found.items:
            if not item.done:
                item.given = {0: Given(reason="stopped", text=line)}
        distinct = found.distinct()
        errors = {row: " ".join(str(error).split()) for row, error in found.errors.items()}
        for row in np.flatnonzero(distinct < 0).tolist():
            errors.setdefault(row, line)
        return found.items, distinct, errors

    def ask_again(self, items: Sequence[Item], phase: Phase) -> None:
        """Ask about images that were looked at before; their `given` is filled anew."""
        for item in items:
            item.given = {}

        def queries() -> Iterator[tuple[Item, ImagePart]]:
            for item, _, (_, part, error) in self._prepared((item, item.source) for item in items):
                if part is not None:
                    yield item, part
                    continue
                lost = Given(reason="image", text=str(error))  # the disk changed under the run
                item.given = dict.fromkeys(range(phase.n_views), lost)

        self._wait(queries(), phase, lambda: None)

    def _wait(
        self, queries: Iterator[tuple[Item, ImagePart]], phase: Phase, report: Callable[[], None]
    ) -> None:
        wait_for(self._waves(queries, phase, report), stop=self._stop)

    def _stop(self) -> None:
        self._stopped = True
        if self.client is not None:
            self.client.stop()

    async def _waves(
        self, queries: Iterator[tuple[Item, ImagePart]], phase: Phase, report: Callable[[], None]
    ) -> None:
        self._n_done, self._phase = 0, phase
        wave: Iterator[_Batch] = self._first_wave(queries, phase)
        while not self._stopped:
            still_open: list[_Ask] = []

            def take(
                number: int,
                request: Request,
                outcome: Answer | MLLMError,
                still: list[_Ask] = still_open,
            ) -> None:
                asks, ids = self._sent.pop(number)
                still.extend(self._taken(asks, ids, request, outcome))
                report()

            assert self.client is not None
            await self.client.map_numbered(self._requests(wave, phase), take)
            if not still_open:
                return
            still_open.sort(key=_wave_order)
            wave = self._next_wave(still_open, phase)

    def first_requests(self, images: Sequence[Media], phase: Phase) -> Iterator[Request]:
        """Yield the requests of the first wave without sending them."""
        queries = self._look(images, _Found(len(images)))
        for batch in self._first_wave(queries, phase):
            yield self._request(batch, phase)[0]

    def _requests(self, batches: Iterator[_Batch], phase: Phase) -> Iterator[Request]:
        for number, batch in enumerate(batches):
            request, ids = self._request(batch, phase)
            self._sent[number] = [ask for ask, _ in batch.items], ids
            del batch  # its images live on in the request alone
            yield request

    def _first_wave(
        self, queries: Iterator[tuple[Item, ImagePart]], phase: Phase
    ) -> Iterator[_Batch]:
        """Yield batches as images come in; every view of a batch in turn."""
        packers = [self._packer(phase, self.batch_size) for _ in range(phase.n_views)]
        loose = [self._packer(phase, self.batch_size) for _ in range(phase.n_views)]
        for item, part in queries:
            for view, packer in enumerate(packers):
                ask = _Ask(item=item, view=view, limit=self.batch_size)
                for batch in self._push(packer, ask, part, phase):
                    yield from self._left_of(batch, phase, loose[view])
        for packer, rest in zip(packers, loose, strict=True):
            for batch in packer.flush():
                yield from self._left_of(batch, phase, rest)
            yield from rest.flush()

    def _left_of(self, batch: _Batch, phase: Phase, loose: Packer[_Pair]) -> Iterator[_Batch]:
        """Leave out what an earlier process knows, but put the same questions as it did.

        They are found again by their keys, with their answers or with the name under which they
        were in flight; so images stay together as they were then. Where they were together with
        others, those without an answer are gathered anew.
        """
        items = [ask.item for ask, _ in batch.items]
        if not any(item.known for item in items):
            yield batch
        elif all(item.known and not item.again for item in items):
            return
        elif self._has_answer(self._request(batch, phase)[0].key):
            yield batch
        else:
            for ask, part in batch.items:
                if not ask.item.known:
                    yield from self._push(loose, ask, part, phase)

    def _has_answer(self, key: str) -> bool:
        return self.client is not None and self.client.kept.knows(key)

    def _next_wave(self, asks: Sequence[_Ask], phase: Phase) -> Iterator[_Batch]:
        for (_, limit, *_), group in groupby(asks, key=lambda ask: _wave_order(ask)[:4]):
            packer, loose = self._packer(phase, limit), self._packer(phase, limit)
            pairs = ((ask, ask.item.source) for ask in group)
            for ask, _, (_, part, error) in self._prepared(pairs):
                if part is None:
                    self._finish(ask, Given(reason="image", text=str(error)))
                else:
                    for batch in self._push(packer, ask, part, phase):
                        yield from self._left_of(batch, phase, loose)
            for batch in packer.flush():
                yield from self._left_of(batch, phase, loose)
            yield from loose.flush()

    def _packer(self, phase: Phase, limit: int) -> Packer[_Pair]:
        most_bytes = math.inf
        if self.capabilities.max_request_bytes is not None:
            room = self.capabilities.max_request_bytes - _TEXT_BYTES
            most_bytes = room * 3 / 4 - self.shared_bytes  # base64 makes 4 bytes of 3
        return Packer(batch_size=limit, max_bytes=most_bytes, max_labels=phase.most_labels)

    @staticmethod
    def _push(packer: Packer[_Pair], ask: _Ask, part: ImagePart, phase: Phase) -> list[_Batch]:
        choice = phase.choice(ask.item, ask.view)
        if choice == ():
            return []
        return packer.push((ask, part), n_bytes=len(part.data), candidates=choice)

    def _request(self, batch: _Batch, phase: Phase) -> tuple[Request, list[str]]:
        asks, parts = [ask for ask, _ in batch.items], [part for _, part in batch.items]
        view, candidates = asks[0].view, batch.candidates
        codes = tuple(range(len(self.form.labels))) if candidates is None else candidates
        listed = phase.order(view, codes)
        shown = self.demonstrations(view, listed, [ask.item for ask in asks])
        if (written := phase.written(view)) is not None:
            listed = tuple(written[code] for code in listed)
            shown = [replace(d, code=written[d.code]) for d in shown]
        sample = phase.first_sample + view
        settings = self.settings
        if settings.max_tokens is not None and (stretch := max(a.stretch for a in asks)):
            settings = replace(settings, max_tokens=settings.max_tokens * 2**stretch)
        if self.decisions:
            request = render_decision(
                self.form, shown, parts[0], settings=settings, order=listed, sample=sample
            )
            return request, [asks[0].item.digest]
        ids = query_ids([ask.item.digest for ask in asks], avoid=self.avoid)
        request = render_request(
            self.form,
            shown,
            [Query(id=name, image=part) for name, part in zip(ids, parts, strict=True)],
            settings=settings,
            order=listed,
            attempt=max(ask.n_answers for ask in asks),
            sample=sample,
        )
        return request, ids

    def _taken(
        self, asks: list[_Ask], ids: list[str], request: Request, outcome: Answer | MLLMError
    ) -> list[_Ask]:
        """Note what became of a request, and return what is to be asked again."""
        if isinstance(outcome, MLLMError):
            if isinstance(outcome, MLLMRequestError) and len(asks) > 1:
                # perhaps too large, perhaps one image that is not taken
                return [self._halved(ask, len(asks)) for ask in asks]
            if outcome.retryable and isinstance(self.client, BatchClient):
                for ask in asks:
                    ask.n_failed += 1
                if max(ask.n_failed for ask in asks) <= _MOST_AGAIN:
                    return asks  # in the next job
            for ask in asks:
                self._finish(ask, Given(reason="request", text=" ".join(str(outcome).split())))
            return []
        answer = outcome
        shares = split_usage(answer.usage, len(asks))
        first = shares
        if answer.first_usage is not None:
            first = split_usage(answer.first_usage, len(asks))
        for ask, share, once in zip(asks, shares, first, strict=True):
            ask.n_answers += 1
            if ask.item.known:
                continue
            ask.item.spent.add(
                share,
                price_usd=once.cost_usd,
                seconds=answer.seconds / len(asks),
                from_cache=answer.from_cache,
            )
        if self.decisions:
            return self._decided(asks[0], request, answer)
        return self._reconciled(asks, ids, answer)

    @staticmethod
    def _halved(ask: _Ask, n: int) -> _Ask:
        ask.limit = -(-n // 2)
        return ask

    def _reconciled(self, asks: Sequence[_Ask], ids: Sequence[str], answer: Answer) -> list[_Ask]:
        if answer.finish in ("refused", "blocked"):
            outcomes = [Outcome(id=name, status="refused") for name in ids]
        else:
            found = reconcile(answer.text, ids, self.parser).outcomes
            outcomes = [found[name] for name in ids]
        n, n_answered = len(asks), sum(o.status == "answered" for o in outcomes)
        again = []
        for ask, outcome in zip(asks, outcomes, strict=True):
            if outcome.status == "answered":
                self._finish(ask, self._given(outcome, answer))
            elif outcome.status == "refused":
                if n > 1:  # one image may have spoiled it for all
                    again.append(self._halved(ask, n))
                else:
                    reason: Reason = "blocked" if answer.finish == "blocked" else "refused"
                    self._finish(ask, Given(reason=reason, text=outcome.text))
            elif answer.finish == "length" and n > 1:
                ask.stretch = min(ask.stretch + 1, 2)
                again.append(self._halved(ask, n))
            elif n > 1 and not n_answered and ask.n_again:
                again.append(self._halved(ask, n))
            elif ask.n_again < _MOST_AGAIN:
                ask.n_again += 1
                ask.stretch += answer.finish == "length"
                again.append(ask)
            else:
                assert outcome.status in ("missing", "conflict", "out_of_set")
                self._finish(ask, Given(reason=outcome.status, text=outcome.text))
        return again

    def _given(self, outcome: Outcome, answer: Answer) -> Given:
        row = None
        if self.logprobs and answer.logprobs:
            row = label_probabilities(answer.logprobs, self.form.labels)
        return Given(code=outcome.code, confidence=outcome.confidence, row=row)

    def _decided(self, ask: _Ask, request: Request, answer: Answer) -> list[_Ask]:
        """Take the probabilities of a classification endpoint."""
        row = np.zeros(len(self.form.labels))
        for label, p in (answer.probabilities or {}).items():
            code = self.parser.parse(label).code
            if code is not None and label in request.labels and np.isfinite(p) and p > 0:
                row[code] += p
        if row.sum() > 0:
            row /= row.sum()
            self._finish(ask, Given(code=int(row.argmax()), row=row))
        elif answer.finish in ("refused", "blocked"):
            reason: Reason = "blocked" if answer.finish == "blocked" else "refused"
            self._finish(ask, Given(reason=reason, text=answer.text))
        elif (code := self.parser.parse(answer.text).code) is not None:
            self._finish(ask, Given(code=code))
        else:
            self._finish(ask, Given(reason="out_of_set", text=answer.text[:200]))
        return []

    def _finish(self, ask: _Ask, given: Given) -> None:
        if ask.item.known:
            return
        if (written := self._phase.written(ask.view)) is not None and given.code is not None:
            row = None if given.row is None else given.row[list(written)]
            given = replace(given, code=list(written).index(given.code), row=row)
        ask.item.given[ask.view] = given
        if len(ask.item.given) == self._phase.n_views:
            self._n_done += 1
            self._phase.on_done(ask.item)


def explain(given: Given, n_asked: int = 1) -> str:
    """Say in one line why an image has no label."""
    if given.reason in ("image", "request", "stopped"):
        return " ".join(given.text.split()) or "the request failed"
    said = _SAID[str(given.reason)]
    times = f" (asked {n_asked} times)" if n_asked > 1 else ""
    quoted = f": {' '.join(given.text.split())[:120]!r}" if given.text else ""
    return f"{said}{times}{quoted}"


_Looked: TypeAlias = tuple[str, ImagePart | None, MediaError | None]
_Pair: TypeAlias = tuple[_Ask, ImagePart]
_Batch: TypeAlias = Packed[_Pair]


def _wave_order(ask: _Ask) -> tuple[int, int, int, int, int]:
    return ask.view, ask.limit, ask.n_answers, ask.stretch, ask.item.number


class _Found:
    """Which input shows which distinct image."""

    def __init__(self, n_rows: int) -> None:
        self.items: list[Item] = []
        self.errors: dict[int, MediaError] = {}
        self._by_digest: dict[str, Item] = {}
        self._item_of = np.full(n_rows, -1, np.int64)
        self._same_as = np.arange(n_rows)

    def first_mentions(self, images: Sequence[Media]) -> Iterable[tuple[int, Media]]:
        """Rows and sources; a path that came before is not looked at again."""
        seen: dict[str, int] = {}
        for row in range(len(images)):
            source = images[row]
            if isinstance(source, str | os.PathLike):
                first = seen.setdefault(os.fsdecode(source), row)
                self._same_as[row] = first
                if first != row:
                    continue
            yield row, source

    def add(self, row: int, source: Media, digest: str) -> Item | None:
        """Note what a row shows; the item if it is the first."""
        known = self._by_digest.get(digest)
        if known is not None:
            self._item_of[row] = known.number
            return None
        item = Item(number=len(self.items), source=source, digest=digest, first_row=row)
        self._by_digest[digest] = item
        self._item_of[row] = item.number
        self.items.append(item)
        return item

    def has(self, row: int) -> bool:
        """Whether the input of a row was looked at."""
        return self._item_of[row] >= 0 or row in self.errors

    def copy(self) -> _Found:
        """Copy what is there, while another thread may still be looking at images."""
        twin = _Found(len(self._item_of))
        twin._item_of, twin._same_as = self._item_of.copy(), self._same_as.copy()
        twin.items, twin.errors = list(self.items), dict(self.errors)
        twin._item_of[twin._item_of >= len(twin.items)] = -1
        twin._by_digest = {item.digest: item for item in twin.items}
        return twin

    def distinct(self) -> NDArray[np.int64]:
        """Item of each row, -1 where there is none; errors go to every row of a source."""
        for row in np.flatnonzero(self._same_as != np.arange(len(self._same_as))):
            first = int(self._same_as[row])
            if first in self.errors:
                self.errors[int(row)] = self.errors[first]
        return self._item_of[self._same_as]
