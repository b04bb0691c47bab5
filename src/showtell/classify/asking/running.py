"""One run of a classifier: opened, asked, and what became of all inputs when it ended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress
from showtell.classify.asking.planning import fingerprint_of, make_run
from showtell.classify.asking.rounds import ask_rounds
from showtell.classify.asking.run import AskRun
from showtell.classify.asking.state import ImageState, ViewAnswer
from showtell.errors import BudgetError, JobsPendingError, RunError
from showtell.media import Media, media_name
from showtell.mllm.call.client import Client
from showtell.mllm.call.journal import Journal
from showtell.mllm.jobs.client import BatchClient
from showtell.mllm.model import open_client

if TYPE_CHECKING:
    from showtell.classify.asking.classifier import MLLMClassifier


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What became of all inputs."""

    items: list[ImageState]
    distinct: NDArray[np.int64]
    errors: dict[int, str]
    stop: RunError | KeyboardInterrupt | None = None
    """What ended the run before all inputs were asked about."""
    stopped: str = ""
    """The line of those that were not."""
    doubts: tuple[int, Decimal | None] = (0, Decimal(0))
    """Requests of the run whose answer never came, and USD that they may cost."""


def ask_all(
    clf: MLLMClassifier, images: Sequence[Media], progress: Progress, *, keeps: bool = False
) -> RunResult:
    """Ask about all images, in as many rounds as the label set takes.

    `keeps`: whether what ends the run is returned with what is known until then, not raised.
    """
    if not len(images):
        return RunResult(items=[], distinct=np.zeros(0, np.int64), errors={})
    stop: RunError | KeyboardInterrupt | None = None
    line = ""
    try:
        with open_run(clf, images, progress) as (run, client):
            journal = client.journal
            notes = _notes(clf, run, journal)
            try:
                items, distinct, errors = ask_rounds(clf, run, notes, images, progress)
                if journal is not None:
                    journal.settle()
            except (RunError, KeyboardInterrupt) as error:
                if not keeps or isinstance(error, JobsPendingError):
                    raise
                stop, line = error, _why_stopped(error)
                notes = _notes(clf, run, journal)
                noted = notes.digests() if isinstance(error, RunError) else frozenset()
                items, distinct, errors = run.so_far(images, line, noted, notes.recall)
                raise
            finally:
                doubts = _doubts_of(client)
    except (RunError, KeyboardInterrupt):
        if stop is None:
            raise
    lines = {row: " ".join(str(error).split()) for row, error in errors.items()}
    return RunResult(
        items=items, distinct=distinct, errors=lines, stop=stop, stopped=line, doubts=doubts
    )


@contextmanager
def open_run(
    clf: MLLMClassifier, images: Sequence[Media], progress: Progress
) -> Iterator[tuple[AskRun, Client]]:
    """Build what a run needs, and close it."""
    access = clf._access()
    with open_client(access, takes_jobs=True) as client:
        journal = client.journal
        run = make_run(clf, client, images)
        jobs: BatchClient | None = None
        try:
            if access.jobs:
                assert journal is not None
                run.client = jobs = BatchClient(
                    client.mllm,
                    journal.folder,
                    kept=client.kept,
                    budget=client.budget,
                    scope=f"{fingerprint_of(clf, run)}:{_named(images)}",
                    wait=access.wait,
                    on_progress=lambda state: progress(state.n_ended, state.n_jobs, "batch jobs"),
                )
            yield run, client
            if jobs is not None:
                jobs.finish()
        finally:
            if jobs is not None:
                jobs.close()


def _notes(clf: MLLMClassifier, run: AskRun, journal: Journal | None) -> Notes:
    again = isinstance(run.client, BatchClient) and not run.client.is_new
    return Notes(journal, fingerprint_of(clf, run), recalls=not again)


def _why_stopped(error: RunError | KeyboardInterrupt) -> str:
    if isinstance(error, BudgetError):
        return (
            f"stopped by the cap of {error.cap}; raise it and run the same command again to go on"
        )
    if isinstance(error, RunError):
        return f"not asked, since the run ended: {' '.join(str(error).split())}"
    return "stopped by Ctrl-C; run the same command again to go on"


def _doubts_of(client: Client) -> tuple[int, Decimal | None]:
    """How many requests may be billed although no answer came of them, and how much."""
    journal, totals = client.journal, client.totals
    if journal is None:
        return totals.n_in_doubt, None if totals.n_doubts_unpriced else totals.in_doubt_usd
    return journal.n_in_doubt, None if journal.n_doubts_unpriced else journal.in_doubt


def _named(images: Sequence[Media]) -> str:
    """Tell one lot of images from another, without looking at all of them."""
    ends = [media_name(images[0]), media_name(images[len(images) - 1])]
    text = "\n".join([str(len(images)), *ends])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


class Notes:
    """What a run folder knows about images."""

    def __init__(self, journal: Journal | None, fingerprint: str, *, recalls: bool = True) -> None:
        self._journal, self._fingerprint = journal, fingerprint
        # Jobs of an earlier process are gone through again from their answers, as it did.
        self._done = {} if journal is None or not recalls else journal.done

    def _id(self, item: ImageState) -> str:
        return f"{item.digest}:{self._fingerprint}"

    def recall(self, item: ImageState) -> bool:
        """Fill in what an earlier process of the run was answered; False if it was not."""
        if self._journal is None or self._id(item) not in self._done:
            return False
        try:
            saved = self._done[self._id(item)]["given"]
            item.answers = {view: _answer_of(values) for view, values in enumerate(saved)}
            price = self._done[self._id(item)].get("price_usd")
            item.spent.price_usd = None if price is None else Decimal(price)
        except (KeyError, TypeError, ValueError, ArithmeticError):
            return False
        item.spent.n_answers = item.spent.n_from_cache = 1
        item.again = bool(self._done[self._id(item)].get("again", True))
        return bool(item.answers)

    def digests(self) -> frozenset[str]:
        """Hashes of the images whose outcome is known."""
        end = f":{self._fingerprint}"
        return frozenset(name.removesuffix(end) for name in self._done if name.endswith(end))

    def record(self, item: ImageState) -> None:
        """Note an outcome; what failed for reasons outside the model stays to be asked."""
        item.done = True
        given = [item.answers[view] for view in sorted(item.answers)]
        if self._journal is None or any(g.reason in ("request", "image") for g in given):
            return
        status = "ok" if any(g.code is not None for g in given) else "open"
        price = item.spent.price_usd
        self._journal.sample(
            self._id(item),
            status=status,
            image=item.digest,
            given=[_values_of(g) for g in given],
            again=item.spent.n_answers > len(given),
            price_usd=None if price is None else str(price),
        )


def _values_of(given: ViewAnswer) -> list[Any]:
    row = None if given.row is None else [round(float(p), 9) for p in given.row]
    return [given.code, given.confidence, row, given.reason, given.text]


def _answer_of(values: Sequence[Any]) -> ViewAnswer:
    code, confidence, row, reason, text = values
    return ViewAnswer(
        code=None if code is None else int(code),
        confidence=None if confidence is None else float(confidence),
        row=None if row is None else np.array(row, np.float64),
        reason=reason,
        text=str(text),
    )
