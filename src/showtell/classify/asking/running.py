"""One run of a classifier: opened, asked, and what became of all inputs when it ended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress
from showtell.classify.asking.planning import fingerprint_of, make_run
from showtell.classify.asking.rounds import ask_rounds
from showtell.classify.asking.run import AskRun
from showtell.classify.asking.state import ImageState, Notes
from showtell.classify.stopped import why_stopped
from showtell.errors import JobsPendingError, RunError
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
                stop, line = error, why_stopped(error)
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
