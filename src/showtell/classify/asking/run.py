"""Ask about images, ask again about those without an answer, until each has exactly one outcome.

Everything is joined by content and by id. A run goes in waves: the first asks about every distinct
image once per view (a view is a label order of one repetition, or a part of a large label set); the
next ones ask only about what was left open, in batches that are halved when a whole request fails.
What is asked follows from the images and the answers alone, never from timing, so that a run that
is repeated finds its answers in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.classify.asking.looking import Distinct, Looking
from showtell.classify.asking.replies import Replies
from showtell.classify.asking.state import AskRound, ImageState, OpenQuestion, ViewAnswer
from showtell.errors import MediaError, MLLMError
from showtell.media import Media
from showtell.mllm.base import Answer, ImagePart, Request, Settings
from showtell.mllm.call.background import wait_for
from showtell.mllm.call.client import Client
from showtell.mllm.capabilities import Capabilities
from showtell.mllm.jobs.client import BatchClient
from showtell.prompts.answers import AnswerParser
from showtell.prompts.packing import Packed, Packer
from showtell.prompts.requests import (
    Demonstration,
    Query,
    RequestForm,
    query_ids,
    render_decision,
    render_request,
)

_TEXT_BYTES = 65536  # of a request, besides images
_Pair: TypeAlias = tuple[OpenQuestion, ImagePart]
_Batch: TypeAlias = Packed[_Pair]


@dataclass(kw_only=True)
class AskRun:
    """Asks about images through a `Client`."""

    client: Client | BatchClient | None
    """None only to look at what would be asked."""
    form: RequestForm
    parser: AnswerParser
    settings: Settings
    images_per_request: int
    demonstrations: Callable[[int, tuple[int, ...], Sequence[ImageState]], Sequence[Demonstration]]
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

    def __post_init__(self) -> None:
        self._stopped = False
        self._n_done = 0
        self._round = AskRound()
        self._found: Distinct | None = None
        self._looking = Looking(
            capabilities=self.capabilities,
            max_side=self.max_side,
            n_images=self.n_demonstrations + (1 if self.decisions else self.images_per_request),
        )
        self._replies = Replies(
            labels=self.form.labels,
            parser=self.parser,
            finish=self._finish,
            decisions=self.decisions,
            logprobs=self.logprobs,
        )
        # Requests under way, by number: what each asks about, and by which ids.
        self._sent: dict[int, tuple[list[OpenQuestion], list[str]]] = {}

    def ask_new(
        self,
        images: Sequence[Media],
        this_round: AskRound,
        *,
        skip: Callable[[ImageState], bool] = lambda _: False,
        progress: Progress = no_progress,
    ) -> tuple[list[ImageState], NDArray[np.int64], dict[int, MediaError]]:
        """Read all images and ask about each distinct one.

        `skip`: says of an image that it need not be asked about; `progress`: called with the number
        of images that are done. Returns `items`: each with one `ViewAnswer` per view, those skipped
        excepted; `distinct`, of shape (n_images,): number of the state of each input, -1 for one
        that cannot be used; `errors`: by input. Raises BudgetError if a cap stopped the run;
        MLLMAuthError if the provider takes no question at all.
        """
        found = self._found = Distinct(len(images))

        def queries() -> Iterator[tuple[ImageState, ImagePart]]:
            for item, part in self._looking.distinct(images, found):
                item.known = item.done = skip(item)
                self._n_done += item.known
                yield item, part

        def report() -> None:
            progress(min(self._n_done, len(images)), len(images), "ask")

        self._wait(queries(), this_round, report)
        progress(len(images), len(images), "ask")
        return found.items, found.distinct(), found.errors

    def so_far(
        self,
        images: Sequence[Media],
        line: str,
        noted: frozenset[str] = frozenset(),
        recall: Callable[[ImageState], bool] = lambda _: False,
    ) -> tuple[list[ImageState], NDArray[np.int64], dict[int, str]]:
        """Say what is known of all inputs after a run was stopped.

        `images`: as given to `ask_new`. `line`: why the others have no answer. `noted`: hashes of
        images whose outcome is known. As long as some of them were not looked at before the stop,
        further images are; these are few, since asking goes nearly in order. `recall`: fills in
        such an outcome. Returns what `ask_new` does. Inputs without an outcome are items of reason
        "stopped", or errors with the line.
        """
        found = (self._found or Distinct(len(images))).copy()
        left = noted.difference(item.digest for item in found.items)
        for row, source in list(found.first_mentions(images)):
            if not left:
                break
            if found.has(row):
                continue
            digest, _, error = self._looking.look_at(source)
            left -= {digest}
            if error is not None:
                found.errors[row] = error
            elif (item := found.add(row, source, digest)) is not None:
                item.known = item.done = recall(item)
        for item in found.items:
            if not item.done:
                item.answers = {0: ViewAnswer(reason="stopped", text=line)}
        distinct = found.distinct()
        errors = {row: " ".join(str(error).split()) for row, error in found.errors.items()}
        for row in np.flatnonzero(distinct < 0).tolist():
            errors.setdefault(row, line)
        return found.items, distinct, errors

    def ask_again(self, items: Sequence[ImageState], this_round: AskRound) -> None:
        """Ask about images that were looked at before; their answers are filled anew."""
        for item in items:
            item.answers = {}

        def queries() -> Iterator[tuple[ImageState, ImagePart]]:
            for item, _, (_, part, error) in self._looking.prepared(
                (item, item.source) for item in items
            ):
                if part is not None:
                    yield item, part
                    continue
                lost = ViewAnswer(reason="image", text=str(error))  # the disk changed under the run
                item.answers = dict.fromkeys(range(this_round.n_views), lost)

        self._wait(queries(), this_round, lambda: None)

    def _wait(
        self,
        queries: Iterator[tuple[ImageState, ImagePart]],
        this_round: AskRound,
        report: Callable[[], None],
    ) -> None:
        wait_for(self._waves(queries, this_round, report), stop=self._stop)

    def _stop(self) -> None:
        self._stopped = True
        if self.client is not None:
            self.client.stop()

    async def _waves(
        self,
        queries: Iterator[tuple[ImageState, ImagePart]],
        this_round: AskRound,
        report: Callable[[], None],
    ) -> None:
        self._n_done, self._round = 0, this_round
        in_jobs = isinstance(self.client, BatchClient)
        wave: Iterator[_Batch] = self._first_wave(queries, this_round)
        while not self._stopped:
            still_open: list[OpenQuestion] = []

            def take(
                number: int,
                request: Request,
                outcome: Answer | MLLMError,
                still: list[OpenQuestion] = still_open,
            ) -> None:
                asks, ids = self._sent.pop(number)
                still.extend(self._replies.take(asks, ids, request, outcome, in_jobs=in_jobs))
                report()

            assert self.client is not None
            await self.client.map_numbered(self._requests(wave, this_round), take)
            if not still_open:
                return
            still_open.sort(key=_wave_order)
            wave = self._next_wave(still_open, this_round)

    def first_requests(self, images: Sequence[Media], this_round: AskRound) -> Iterator[Request]:
        """Yield the requests of the first wave without sending them."""
        queries = self._looking.distinct(images, Distinct(len(images)))
        for batch in self._first_wave(queries, this_round):
            yield self._request(batch, this_round)[0]

    def _requests(self, batches: Iterator[_Batch], this_round: AskRound) -> Iterator[Request]:
        for number, batch in enumerate(batches):
            request, ids = self._request(batch, this_round)
            self._sent[number] = [ask for ask, _ in batch.items], ids
            del batch  # its images live on in the request alone
            yield request

    def _first_wave(
        self, queries: Iterator[tuple[ImageState, ImagePart]], this_round: AskRound
    ) -> Iterator[_Batch]:
        """Yield batches as images come in; every view of a batch in turn."""
        packers = [
            self._packer(this_round, self.images_per_request) for _ in range(this_round.n_views)
        ]
        loose = [
            self._packer(this_round, self.images_per_request) for _ in range(this_round.n_views)
        ]
        for item, part in queries:
            for view, packer in enumerate(packers):
                ask = OpenQuestion(item=item, view=view, limit=self.images_per_request)
                for batch in self._push(packer, ask, part, this_round):
                    yield from self._left_of(batch, this_round, loose[view])
        for packer, rest in zip(packers, loose, strict=True):
            for batch in packer.flush():
                yield from self._left_of(batch, this_round, rest)
            yield from rest.flush()

    def _left_of(
        self, batch: _Batch, this_round: AskRound, loose: Packer[_Pair]
    ) -> Iterator[_Batch]:
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
        elif self._has_answer(self._request(batch, this_round)[0]):
            yield batch
        else:
            for ask, part in batch.items:
                if not ask.item.known:
                    yield from self._push(loose, ask, part, this_round)

    def _has_answer(self, request: Request) -> bool:
        return self.client is not None and self.client.kept.knows(request)

    def _next_wave(self, asks: Sequence[OpenQuestion], this_round: AskRound) -> Iterator[_Batch]:
        for (_, limit, *_), group in groupby(asks, key=lambda ask: _wave_order(ask)[:4]):
            packer, loose = self._packer(this_round, limit), self._packer(this_round, limit)
            pairs = ((ask, ask.item.source) for ask in group)
            for ask, _, (_, part, error) in self._looking.prepared(pairs):
                if part is None:
                    self._finish(ask, ViewAnswer(reason="image", text=str(error)))
                else:
                    for batch in self._push(packer, ask, part, this_round):
                        yield from self._left_of(batch, this_round, loose)
            for batch in packer.flush():
                yield from self._left_of(batch, this_round, loose)
            yield from loose.flush()

    def _packer(self, this_round: AskRound, limit: int) -> Packer[_Pair]:
        most_bytes = math.inf
        if self.capabilities.max_request_bytes is not None:
            room = self.capabilities.max_request_bytes - _TEXT_BYTES
            most_bytes = room * 3 / 4 - self.shared_bytes  # base64 makes 4 bytes of 3
        return Packer(
            images_per_request=limit, max_bytes=most_bytes, max_labels=this_round.most_labels
        )

    @staticmethod
    def _push(
        packer: Packer[_Pair], ask: OpenQuestion, part: ImagePart, this_round: AskRound
    ) -> list[_Batch]:
        choice = this_round.choice(ask.item, ask.view)
        if choice == ():
            return []
        return packer.push((ask, part), n_bytes=len(part.data), candidates=choice)

    def _request(self, batch: _Batch, this_round: AskRound) -> tuple[Request, list[str]]:
        asks, parts = [ask for ask, _ in batch.items], [part for _, part in batch.items]
        view, candidates = asks[0].view, batch.candidates
        codes = tuple(range(len(self.form.labels))) if candidates is None else candidates
        listed = this_round.order(view, codes)
        shown = self.demonstrations(view, listed, [ask.item for ask in asks])
        if (written := this_round.written(view)) is not None:
            listed = tuple(written[code] for code in listed)
            shown = [replace(d, code=written[d.code]) for d in shown]
        sample = this_round.first_sample + view
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

    def _finish(self, ask: OpenQuestion, given: ViewAnswer) -> None:
        if ask.item.known:
            return
        if (written := self._round.written(ask.view)) is not None and given.code is not None:
            row = None if given.row is None else given.row[list(written)]
            given = replace(given, code=list(written).index(given.code), row=row)
        ask.item.answers[ask.view] = given
        if len(ask.item.answers) == self._round.n_views:
            self._n_done += 1
            self._round.on_done(ask.item)


def _wave_order(ask: OpenQuestion) -> tuple[int, int, int, int, int]:
    return ask.view, ask.limit, ask.n_answers, ask.stretch, ask.item.number
