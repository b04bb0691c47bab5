"""The arithmetic of evolving descriptions: feedback, fitness, crossover, memory. No model is asked.

Everything works on similarities between images and texts that are computed once. The score of a
label is the mean similarity of its descriptions, so that changing a description changes one
column, and trying every single change of a label costs little more than trying one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.checks import above, at_least
from showtell.errors import InputError, UnknownNameError

NearMissForm: TypeAlias = Literal["ratio", "upstream"]

_UPSTREAM_SCALE = float(
    np.log(100.0)
)  # the logarithm of CLIP's scale, as the published code has it
_SAME = 1e-12  # margins closer than this are equal
_BLOCK = 4_000_000  # numbers per temporary array


@dataclass(frozen=True, order=True)
class Fitness:
    """How good a set of descriptions is on labelled images; compared in this order."""

    accuracy: float
    """Share of images whose label scores strictly higher than every other."""
    margin: float
    """Mean of the label's score less the best other score; breaks ties."""

    def beats(self, other: Fitness) -> bool:
        """Whether this is strictly better, rounding errors of the margin aside."""
        if self.accuracy != other.accuracy:
            return self.accuracy > other.accuracy
        return self.margin > other.margin + _SAME


def fitness_of(scores: NDArray[Any], codes: NDArray[Any]) -> Fitness:
    """Measure scores on labelled images.

    `scores`, of shape (n_images, n_classes); `codes`, of shape (n_images,): index of each image's
    label. Raises InputError if there is no image, or fewer than two classes.

    References
    ----------
    Han et al. (2023), LLMs as Visual Explainers, arXiv:2311.11904. The tie-break is ours.

    Examples
    --------
    >>> scores = np.array([[.30, .29, .20], [.25, .28, .26], [.24, .31, .30], [.22, .23, .29]])
    >>> fitness_of(scores, np.array([0, 0, 1, 2])).accuracy
    0.75
    """
    scores, codes = _checked(scores, codes)
    margins = _margins(scores, codes)
    return Fitness(float((margins > 0).mean()), float(margins.mean()))


def near_misses(
    scores: NDArray[Any],
    codes: NDArray[Any],
    *,
    ratio: float = 0.9,
    form: NearMissForm = "ratio",
    scale: float | None = None,
) -> NDArray[np.int64]:
    """Count, for each pair of labels, the images of one that come close to the other.

    ``M[i, j]`` is the number of images of label ``i`` with ``s(x, j) >= ratio * s(x, i)``: other
    than a confusion matrix it counts near misses.

    `scores`, of shape (n_images, n_classes): mean cosines; negative ones count as 0; `codes`, of
    shape (n_images,); `ratio`: below 1 counts more, above 1 less; `form`, one of {"ratio",
    "upstream"}: "upstream" compares softmax probabilities instead of cosines, as the published code
    does; `scale`: scale of that softmax; by default 4.6052, the logarithm of CLIP's scale that the
    published code takes for the scale itself. Returns `counts`, of shape (n_classes, n_classes):
    the diagonal is 0. Row sums say how difficult a label is.

    References
    ----------
    Han et al. (2023), arXiv:2311.11904, eqs. 3 and 4.

    Examples
    --------
    >>> scores = np.array([[.30, .29, .20], [.25, .28, .26], [.24, .31, .30], [.22, .23, .29]])
    >>> near_misses(scores, np.array([0, 0, 1, 2]))
    array([[0, 2, 1],
           [0, 0, 1],
           [0, 0, 0]])
    """
    scores, codes = _checked(scores, codes)
    if form not in ("ratio", "upstream"):
        raise UnknownNameError("form of near misses", str(form), ("ratio", "upstream"))
    above(0, ratio=ratio)
    if form == "ratio":
        values = np.maximum(scores, 0.0)
    else:
        raised = (_UPSTREAM_SCALE if scale is None else scale) * scores
        values = np.exp(raised - raised.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    own = values[np.arange(len(codes)), codes]
    close = values >= ratio * own[:, None]
    n_classes = scores.shape[1]
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, codes, close)
    np.fill_diagonal(counts, 0)
    return counts


def worst_confusions(counts: NDArray[Any], n_most: int = 5) -> list[list[int]]:
    """For each label, the labels it is most confused with, worst first.

    `counts`, of shape (n_classes, n_classes): from `near_misses`. Returns `confused`: labels
    without a near miss are left out; ties go to the lower index.

    References
    ----------
    Han et al. (2023), arXiv:2311.11904, eq. 5, taken per row.

    Examples
    --------
    >>> worst_confusions(np.array([[0, 2, 5], [0, 0, 0], [1, 0, 0]]), n_most=1)
    [[2], [], [0]]
    """
    counts = np.asarray(counts)
    order = np.argsort(-counts, axis=1, kind="stable")[:, :n_most]
    return [[int(j) for j in row if counts[i, j] > 0] for i, row in enumerate(order)]


def score_columns(
    similarities: Sequence[NDArray[Any]], chosen: Sequence[NDArray[Any]]
) -> NDArray[np.float64]:
    """Mean similarity of the chosen descriptions of each label.

    `similarities`, of shape (n_images, n_texts): one for each label: cosines of the images with its
    pool of descriptions; `chosen`, of shape (n_texts,): which of the pool are in use; at least one
    for each label. Returns `scores`, of shape (n_images, n_classes).
    """
    columns = []
    for code, (values, mask) in enumerate(zip(similarities, chosen, strict=True)):
        if not np.any(mask):
            raise InputError(f"Label {code} has no description in use, so it has no score.")
        columns.append(np.asarray(values)[:, mask].mean(axis=1, dtype=np.float64))
    return np.stack(columns, axis=1)


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """What `greedy_crossover` chose."""

    chosen: list[NDArray[np.bool_]]
    """Per label, which texts of the pool are in use."""
    fitness: Fitness
    before: Fitness
    """Of the start."""
    n_changes: int
    n_tried: int
    """Single changes that were scored."""
    n_sweeps: int


def greedy_crossover(
    similarities: Sequence[NDArray[Any]],
    start: Sequence[NDArray[Any]],
    codes: NDArray[Any],
    *,
    n_least: int = 1,
    n_most: int | None = None,
    max_sweeps: int = 3,
    order: Sequence[int] | None = None,
) -> Crossover:
    """Mix descriptions out of the pools of several candidates, one change at a time.

    Labels are visited in turn. For each, every single addition, removal and swap is tried, and the
    one that improves the fitness most is made; a sweep without a change ends the search.

    `similarities`, of shape (n_images, n_texts): one for each label: cosines of the images with its
    pool of descriptions; `start`, of shape (n_texts,): where to begin: the best candidate; `codes`,
    of shape (n_images,): index of each image's label; `n_least` and `n_most`: bounds on the number
    of descriptions of a label; a start outside of them may stay; `order`: labels in the order of
    the visits; by default the hardest first, by `near_misses`. Returns `crossover`: never less fit
    than the start.

    Notes
    -----
    Exact: all changes of a label are scored at once from similarities that do not change, and the
    result is that of scoring each of them from the embeddings. Cost per visit is
    ``n_images * n_in_use * n_in_pool``.

    References
    ----------
    The search is ours; Han et al. (2023), arXiv:2311.11904, leave the mixing to the language model.

    Examples
    --------
    >>> pool = np.array([[.3, .1], [.2, .4]])  # of each label: a poor text and a good one
    >>> other = np.array([[.1, .4], [.3, .2]])
    >>> first = np.array([True, False])
    >>> found = greedy_crossover([other, pool], [first, first], np.array([0, 1]), n_most=1)
    >>> found.before.accuracy, found.fitness.accuracy, [mask.tolist() for mask in found.chosen]
    (0.0, 1.0, [[False, True], [False, True]])
    """
    pools = [np.asarray(values, np.float64) for values in similarities]
    chosen = [np.array(mask, bool) for mask in start]
    scores = score_columns(pools, chosen)
    scores, codes = _checked(scores, codes)
    at_least(1, n_least=n_least)
    before = best = fitness_of(scores, codes)
    if order is None:
        hardness = near_misses(scores, codes).sum(axis=1)
        order = [int(i) for i in np.argsort(-hardness, kind="stable")]
    n_changes = n_tried = n_sweeps = 0
    for _ in range(max_sweeps):
        n_sweeps += 1
        changed = False
        for code in order:
            pool, mask = pools[code], chosen[code]
            tried = _best_change(pool, mask, scores, codes, code, n_least, n_most)
            n_tried += tried.n_tried
            if tried.fitness is None or not tried.fitness.beats(best):
                continue
            if tried.removed is not None:
                mask[tried.removed] = False
            if tried.added is not None:
                mask[tried.added] = True
            scores[:, code] = pool[:, mask].mean(axis=1)
            best = fitness_of(scores, codes)
            n_changes += 1
            changed = True
        if not changed:
            break
    return Crossover(
        chosen=chosen,
        fitness=best,
        before=before,
        n_changes=n_changes,
        n_tried=n_tried,
        n_sweeps=n_sweeps,
    )


@dataclass(frozen=True)
class _Change:
    """The best single change of a label."""

    fitness: Fitness | None
    removed: int | None
    added: int | None
    n_tried: int


def _best_change(
    pool: NDArray[np.float64],
    mask: NDArray[np.bool_],
    scores: NDArray[np.float64],
    codes: NDArray[np.intp],
    code: int,
    n_least: int,
    n_most: int | None,
) -> _Change:
    """Score every addition, removal and swap of one label; the earliest of equals wins."""
    judge = _ColumnJudge(scores, codes, code)
    inside, outside = np.flatnonzero(mask), np.flatnonzero(~mask)
    n = len(inside)
    total = pool[:, mask].sum(axis=1)
    best: Fitness | None = None
    pair: tuple[int | None, int | None] = (None, None)
    n_tried = 0

    def consider(columns: NDArray[np.float64], removed: int | None, texts: NDArray[Any]) -> None:
        """Judge columns that differ in the text added (or, for removals, removed)."""
        nonlocal best, pair, n_tried
        accuracy, margin = judge(columns)
        n_tried += len(texts)
        top = np.flatnonzero(accuracy == accuracy.max())
        place = int(top[margin[top].argmax()])
        found = Fitness(float(accuracy[place]), float(margin[place]))
        if best is None or found.beats(best):
            best = found
            text = int(texts[place])
            pair = (removed, text) if removed != _REMOVALS else (text, None)

    if len(outside) and (n_most is None or n < n_most):
        for part in _parts(outside, len(pool)):
            consider((total[:, None] + pool[:, part]) / (n + 1), None, part)
    if n > n_least and n > 1:
        for part in _parts(inside, len(pool)):
            consider((total[:, None] - pool[:, part]) / (n - 1), _REMOVALS, part)
    if len(outside):
        for removed in inside:
            rest = total - pool[:, removed]
            for part in _parts(outside, len(pool)):
                consider((rest[:, None] + pool[:, part]) / n, int(removed), part)
    return _Change(best, pair[0], pair[1], n_tried)


_REMOVALS = -1  # marks columns that differ in the text removed


def _parts(texts: NDArray[Any], n_images: int) -> list[NDArray[Any]]:
    size = max(1, _BLOCK // max(1, n_images))
    return [texts[i : i + size] for i in range(0, len(texts), size)]


class _ColumnJudge:
    """Fitness of scores in which one column is replaced, for many replacements at once."""

    def __init__(self, scores: NDArray[np.float64], codes: NDArray[np.intp], code: int) -> None:
        rows = np.arange(len(codes))
        others = scores.copy()
        others[:, code] = -np.inf
        self.own = codes == code
        self.rivals = others[self.own].max(axis=1)  # images of the label: its best rival
        true = scores[rows, codes]
        others[rows, codes] = -np.inf
        self.true = true[~self.own]  # other images: their own score, and their best other rival
        self.second = others[~self.own].max(axis=1)
        self.n = len(codes)

    def __call__(
        self, columns: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Accuracy and mean margin of each column, shape (n_columns,)."""
        gained = columns[self.own] - self.rivals[:, None]
        kept = self.true[:, None] - np.maximum(columns[~self.own], self.second[:, None])
        n_right = (gained > 0).sum(axis=0) + (kept > 0).sum(axis=0)
        return n_right / self.n, (gained.sum(axis=0) + kept.sum(axis=0)) / self.n


@dataclass
class MemoryBank:
    """Words that helped and words that did not, per label; the last ones are kept.

    References
    ----------
    Han et al. (2023), arXiv:2311.11904: the positive and negative history of the mutation prompt.

    Examples
    --------
    >>> bank = MemoryBank(n_most=2)
    >>> bank.add("cat", good=["whiskers", "fur"], bad=["plastic"])
    >>> bank.add("cat", good=["ears"], in_use=["fur"])
    >>> bank.good["cat"], bank.bad["cat"]
    (['whiskers', 'ears'], ['plastic'])
    """

    n_most: int = 10
    good: dict[str, list[str]] = field(default_factory=dict)
    bad: dict[str, list[str]] = field(default_factory=dict)

    def add(
        self,
        label: str,
        *,
        good: Sequence[str] = (),
        bad: Sequence[str] = (),
        in_use: Sequence[str] = (),
    ) -> None:
        """Note words of a label; those in use are in neither bank.

        A word that changes sides leaves the bank where it was.
        """
        used = set(in_use)
        for bank, new, other in ((self.good, good, bad), (self.bad, bad, good)):
            words = [w for w in bank.get(label, []) if w not in used and w not in set(other)]
            words = [w for w in words if w not in set(new)]
            words += [w for w in dict.fromkeys(new) if w not in used]
            bank[label] = words[-self.n_most :]

    def to_record(self) -> dict[str, dict[str, list[str]]]:
        """Return plain values."""
        return {
            "good": {label: list(words) for label, words in self.good.items()},
            "bad": {label: list(words) for label, words in self.bad.items()},
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], n_most: int = 10) -> MemoryBank:
        """Make a bank of what `to_record` returned."""
        return cls(
            n_most=n_most,
            good={str(k): list(v) for k, v in record.get("good", {}).items()},
            bad={str(k): list(v) for k, v in record.get("bad", {}).items()},
        )


def bank_changes(
    scores: NDArray[Any],
    codes: NDArray[Any],
    *,
    code: int,
    kept: NDArray[Any] | None,
    after: NDArray[Any],
) -> tuple[int, int]:
    """Say whether the words removed from a label were good or bad, and likewise those added.

    `scores`, of shape (n_images, n_classes): of the whole set before the change; the base for every
    label; `codes`, of shape (n_images,); `code`: the label whose words changed; `kept`, of shape
    (n_images,): its score with only the words that stayed; None if none stayed: then nothing can be
    said of what was removed, and what was added is compared with `scores`; `after`, of shape
    (n_images,): its score with the words it has now. Returns `removed` and `added`: 1 good
    (removing them hurt, adding them helped), -1 bad, 0 neither.

    References
    ----------
    Han et al. (2023), arXiv:2311.11904, and its code, which overwrites the base while it goes
    through the labels, so that from the second one on removed words are never noted. Here the base
    stays what it is.

    Examples
    --------
    >>> scores = np.array([[.2, .3], [.1, .3]])
    >>> bank_changes(
    ...     scores, np.array([0, 1]), code=0, kept=np.array([.2, .1]), after=np.array([.4, .1])
    ... )
    (0, 1)
    """
    scores, codes = _checked(scores, codes)
    base = _share_right(scores, codes)
    if kept is None:
        return 0, int(np.sign(_with_column(scores, codes, code, after) - base))
    without = _with_column(scores, codes, code, kept)
    removed = int(np.sign(base - without))
    return removed, int(np.sign(_with_column(scores, codes, code, after) - without))


def _with_column(
    scores: NDArray[np.float64], codes: NDArray[np.intp], code: int, column: NDArray[Any]
) -> float:
    changed = scores.copy()
    changed[:, code] = column
    return _share_right(changed, codes)


def balanced_clusters(
    embeddings: NDArray[Any], *, size: int = 10, random_state: int = 0, n_rounds: int = 20
) -> list[list[int]]:
    """Group labels that resemble each other, with about as many in each group.

    k-means on directions, in which every group has a place for at most ``ceil(n / k)`` labels; the
    labels that would lose most by going elsewhere choose first.

    `embeddings`, of shape (n_classes, n_dims): mean text embedding of each label; `size`: labels
    per group, about. Returns `clusters`: every label is in one of them; both levels rise.

    Examples
    --------
    >>> balanced_clusters(np.array([[1, 0], [.9, .1], [0, 1], [.1, .9]]), size=2)
    [[0, 1], [2, 3]]
    """
    from sklearn.cluster import kmeans_plusplus  # 20 MB, and only needed here

    at_least(1, size=size)
    vectors = np.asarray(embeddings, np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(lengths > 0, lengths, 1.0)
    n = len(vectors)
    n_clusters = max(1, -(-n // size))
    if n_clusters == 1:
        return [list(range(n))]
    places = -(-n // n_clusters)
    middles, _ = kmeans_plusplus(vectors, n_clusters, random_state=random_state)
    owner = np.full(n, -1)
    for _ in range(n_rounds):
        likeness = vectors @ middles.T
        ranked = np.sort(likeness, axis=1)
        regret = ranked[:, -1] - ranked[:, -2]
        room = np.full(n_clusters, places)
        new = np.full(n, -1)
        for label in np.argsort(-regret, kind="stable"):
            open_ones = np.where(room > 0, likeness[label], -np.inf)
            new[label] = int(open_ones.argmax())
            room[new[label]] -= 1
        if np.array_equal(new, owner):
            break
        owner = new
        for number in range(n_clusters):
            mine = vectors[owner == number]
            if len(mine):
                mean = mine.mean(axis=0)
                middles[number] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    groups = [np.flatnonzero(owner == number).tolist() for number in range(n_clusters)]
    return sorted(group for group in groups if group)


def _checked(
    scores: NDArray[Any], codes: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    scores = np.asarray(scores, np.float64)
    codes = np.asarray(codes, np.intp)
    if scores.ndim != 2 or scores.shape[1] < 2 or not len(scores):
        raise InputError(
            "Scores must be of shape (n_images, n_classes), with an image and two classes at "
            f"least; got {scores.shape}."
        )
    if codes.shape != (len(scores),):
        raise InputError(f"Need one label for each of {len(scores)} images, got {codes.shape}.")
    if codes.min() < 0 or codes.max() >= scores.shape[1]:
        raise InputError(
            f"Labels are 0 to {scores.shape[1] - 1}, got {codes.min()}..{codes.max()}."
        )
    return scores, codes


def _margins(scores: NDArray[np.float64], codes: NDArray[np.intp]) -> NDArray[np.float64]:
    rows = np.arange(len(codes))
    true = scores[rows, codes]
    others = scores.copy()
    others[rows, codes] = -np.inf
    margins: NDArray[np.float64] = true - others.max(axis=1)
    return margins


def _share_right(scores: NDArray[np.float64], codes: NDArray[np.intp]) -> float:
    return float((_margins(scores, codes) > 0).mean())
