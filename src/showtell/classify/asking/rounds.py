"""Rounds of questions: one where a question lists all labels, several where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress
from showtell.classify.asking.arguments import most_labels, needs_rounds
from showtell.classify.asking.run import AskRun
from showtell.classify.asking.state import AskRound, ImageState, Notes
from showtell.classify.embedding.prototypes import cosines
from showtell.encoders import embed_images, load_encoder
from showtell.errors import InputError
from showtell.media import Media

if TYPE_CHECKING:
    from showtell.classify.asking.classifier import MLLMClassifier

_Found: TypeAlias = tuple[list[ImageState], NDArray[np.int64], dict[int, Any]]


def ask_rounds(
    clf: MLLMClassifier, run: AskRun, notes: Notes, images: Sequence[Media], progress: Progress
) -> _Found:
    """Ask in as many rounds as the label set takes; states, the state of each input, errors."""
    most = most_labels(clf, run.capabilities)
    if needs_rounds(clf, most):
        assert most is not None
        return _Knockout(clf, run, notes, most).ask(images, progress)
    only = replace(_only_round(clf, images, most), on_done=notes.record)
    return run.ask_new(images, only, skip=notes.recall, progress=progress)


def first_round(clf: MLLMClassifier, images: Sequence[Media]) -> AskRound:
    """Say what is asked first, for estimates."""
    n, most = len(clf.classes_), most_labels(clf, clf._access().capabilities)
    if not needs_rounds(clf, most):
        return _only_round(clf, images, most)
    assert most is not None
    return _groups_of(clf, most, -(-n // most), lambda _item: range(n))


def _only_round(clf: MLLMClassifier, images: Sequence[Media], most: int | None) -> AskRound:
    """Ask once about every image, of the whole label set or a short list."""
    candidates: Mapping[int, tuple[int, ...]] = {}
    if isinstance(clf.shortlist, int) and clf.shortlist < len(clf.classes_):
        candidates = _candidates(clf, images, clf.shortlist)
    return _final_round(clf, most, lambda item, _view: candidates.get(item.first_row))


def _final_round(
    clf: MLLMClassifier,
    most: int | None,
    choice: Callable[[ImageState, int], tuple[int, ...] | None],
) -> AskRound:
    """Ask in every repetition and rotation."""
    order = clf._label_order()
    return AskRound(
        n_views=clf.n_samples * clf.rotations_,
        choice=choice,
        order=order.listed,
        written=order.written,
        most_labels=most,
    )


def _groups_of(
    clf: MLLMClassifier,
    most: int,
    n_views: int,
    own: Callable[[ImageState], Sequence[int]],
    *,
    first_sample: int = 0,
) -> AskRound:
    """Ask for the best of every `most` of the labels an image has left."""
    order = clf._label_order()
    return AskRound(
        n_views=n_views,
        choice=lambda item, view: tuple(own(item)[view * most : (view + 1) * most]),
        order=lambda _view, codes: order.listed(0, codes),
        most_labels=most,
        first_sample=first_sample,
    )


class _Knockout:
    """Asks for the best of every `most` labels, then for the best of those, down to one."""

    def __init__(self, clf: MLLMClassifier, run: AskRun, notes: Notes, most: int) -> None:
        if most < 2:
            raise InputError(f"{clf.model_} takes {most} labels a question; rounds need 2.")
        self._clf, self._run, self._notes, self._most = clf, run, notes, most
        # Codes that are left, by number of the image; all before it was asked about.
        self._left: dict[int, list[int]] = {}
        # What probability a label has within what its winner stands for.
        self._shares: dict[int, dict[int, NDArray[np.float64]]] = {}
        self._known: set[int] = set()
        self._all = list(range(len(clf.classes_)))

    def ask(self, images: Sequence[Media], progress: Progress) -> _Found:
        """Ask about all images."""
        longest, sample, first = len(self._all), 0, True
        while longest > self._most or first:
            n_views = -(-longest // self._most)
            groups = _groups_of(self._clf, self._most, n_views, self._own, first_sample=sample)
            if first:
                found = self._run.ask_new(images, groups, skip=self._recall, progress=progress)
            else:
                self._run.ask_again(list(self._fresh(found[0])), groups)
            longest = max([1, *(self._advance(item, n_views) for item in self._fresh(found[0]))])
            sample, first = sample + n_views, False
            self._all = []
        self._settle(list(self._fresh(found[0])), sample)
        return found

    def _own(self, item: ImageState) -> list[int]:
        return self._left.get(item.number, self._all)

    def _fresh(self, items: Sequence[ImageState]) -> Iterator[ImageState]:
        return (item for item in items if item.number not in self._known)

    def _recall(self, item: ImageState) -> bool:
        if self._notes.recall(item):
            self._known.add(item.number)
            return True
        return False

    def _advance(self, item: ImageState, n_views: int) -> int:
        """Take the winners of a round on to the next; how many there are."""
        before = self._shares.get(item.number, {})
        winners, after = [], {}
        for view in range(n_views):
            answer = item.answers.get(view)
            if answer is not None and answer.code is not None:
                winners.append(answer.code)
                if answer.row is not None:
                    after[answer.code] = _combined(answer.row, before, self._own(item))
        self._left[item.number], self._shares[item.number] = winners, after
        return len(winners)

    def _settle(self, items: Sequence[ImageState], sample: int) -> None:
        """Ask for the best of those that are left, where there is anything to choose from."""
        for item in items:
            if len(self._left[item.number]) < 2:
                settled = [a for a in item.answers.values() if a.code is not None]
                item.answers = {0: (settled or list(item.answers.values()))[0]}
                self._combine(item)
        final = _final_round(self._clf, self._most, lambda item, _view: tuple(self._own(item)))
        self._run.ask_again(
            [item for item in items if len(self._left[item.number]) > 1],
            replace(final, first_sample=sample, on_done=self._combine),
        )

    def _combine(self, item: ImageState) -> None:
        for answer in item.answers.values():
            if answer.row is not None:
                shares = self._shares.get(item.number, {})
                answer.row = _combined(answer.row, shares, self._own(item))
                answer.code = int(answer.row.argmax())
        self._notes.record(item)


def _candidates(clf: MLLMClassifier, images: Sequence[Media], k: int) -> dict[int, tuple[int, ...]]:
    """For each input, the `k` labels that an encoder finds likeliest, rising."""
    encoder = load_encoder(clf.encoder)
    found = embed_images(encoder, images, store=clf.store)
    scores = cosines(found.embeddings, clf._label_prototypes(encoder))
    top = np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)
    return {row: tuple(int(c) for c in top[d]) for row, d in enumerate(found.distinct) if d >= 0}


def _combined(
    row: NDArray[np.float64], shares: Mapping[int, NDArray[np.float64]], codes: Sequence[int]
) -> NDArray[np.float64]:
    """Spread the probability of every winner over the labels it stands for."""
    total = np.zeros_like(row)
    for code in codes:
        if code in shares:
            total += row[code] * shares[code]
        else:
            total[code] += row[code]
    return total / total.sum() if total.sum() > 0 else row
