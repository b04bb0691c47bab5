"""Which images a teacher or a person should look at next: pure functions of embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.errors import UnknownNameError

__all__ = [
    "SELECTIONS",
    "SelectionRule",
    "choose_images",
    "copy_groups",
    "cover",
    "margins_of",
    "near_copies",
    "typical",
    "typicality",
]

SelectionRule: TypeAlias = Literal["auto", "cover", "typical", "margin", "random"]
SELECTIONS = ("auto", "cover", "typical", "margin", "random")

_COVER_UNTIL = 4  # labels per class, on average
_MOST_ROWS = 20_000  # for which an all-pairs matrix is made
_COPY = 0.98  # cosine of near duplicates
_NEIGHBOURS = 10


def margins_of(proba: NDArray[Any]) -> NDArray[np.float64]:
    """Best minus second-best probability, shape (n,).

    Examples
    --------
    >>> margins_of(np.array([[.5, .45, .05], [.9, .05, .05], [.4, .3, .3]])).round(2).tolist()
    [0.05, 0.85, 0.1]
    """
    p = np.asarray(proba, np.float64)
    if p.shape[1] < 2:
        return np.ones(len(p))
    top = -np.partition(-p, 1, axis=1)[:, :2]
    margins: NDArray[np.float64] = top[:, 0] - top[:, 1]
    return margins


def typicality(distances: NDArray[Any]) -> NDArray[np.float64]:
    """One over the mean distance to the nearest neighbours, shape (n,).

    Examples
    --------
    >>> typicality(np.array([[.2, .3, .4], [.5, .6, .7]])).round(4).tolist()
    [3.3333, 1.6667]
    """
    mean = np.asarray(distances, np.float64).mean(axis=1)
    values: NDArray[np.float64] = 1 / np.maximum(mean, 1e-9)
    return values


def near_copies(X: NDArray[np.float32], *, above: float = _COPY) -> NDArray[np.intp]:
    """First row that each row is nearly a copy of, shape (n,); itself for the first of its kind."""
    first = np.arange(len(X))
    for start in range(0, len(X), 1024):
        block = X[start : start + 1024] @ X.T
        for i, row in enumerate(block, start):
            earlier = np.flatnonzero(row[:i] > above)
            if len(earlier):
                first[i] = first[earlier[0]]
    return first


def copy_groups(X: NDArray[np.float32], codes: NDArray[Any]) -> NDArray[np.intp]:
    """Give near duplicates one number, so that folds keep them together, shape (n,).

    Parameters
    ----------
    X : ndarray of shape (n, n_dims)
        Unit embeddings.
    codes : ndarray of shape (n,), int
        Label of each row. Where more than half of a label's different images count as copies of
        each other, the encoder sees a likeness there and no copies: only equal ones stay together.

    Examples
    --------
    >>> X = np.array([[1, 0], [1, 0], [.999, .04], [.6, .8], [0, 1]], np.float32)
    >>> copy_groups(X, np.array([0, 0, 1, 1, 1])).tolist()
    [0, 0, 0, 3, 4]
    """
    near = near_copies(X)
    _, first, same = np.unique(X, axis=0, return_index=True, return_inverse=True)
    equal = first[same.ravel()]
    groups = near.copy()
    for code in np.unique(codes):
        own = np.unique(equal[codes == code])
        kinds, counts = np.unique(near[own], return_counts=True)
        alike = kinds[2 * counts > len(own)]
        rows = np.flatnonzero((codes == code) & np.isin(near, alike))
        if len(own) > 1:
            groups[rows] = equal[rows]
    return groups


def cover(
    X: NDArray[np.float32], labelled: Sequence[int] | NDArray[np.intp], budget: int
) -> NDArray[np.intp]:
    """Choose rows that together are near to as many others as possible (facility location).

    Parameters
    ----------
    X : ndarray of shape (n, n_dims)
        Unit embeddings.
    labelled : sequence of int
        Rows that are labelled already.
    budget : int
        Rows to choose.

    Returns
    -------
    rows : ndarray of shape (min(budget, rows left),), in the order of choice
        Greedy maximum of ``sum_i max_j max(0, x_i . x_j)^4``.

    References
    ----------
    Wei, Iyer, Bilmes (2015), Submodularity in Data Subset Selection, section 3.

    Examples
    --------
    >>> X = np.array([[1, 0], [.999, .04], [0, 1], [.04, .999]], np.float32)
    >>> len(set(cover(X, [], 2).tolist()) & {0, 1})
    1
    """
    similar = np.maximum(X @ X.T, 0.0).astype(np.float32) ** 4
    best = np.zeros(len(X), np.float32)
    taken = np.zeros(len(X), bool)
    for row in labelled:
        best = np.maximum(best, similar[row])
        taken[row] = True
    chosen: list[int] = []
    for _ in range(min(budget, int((~taken).sum()))):
        gain = np.maximum(similar - best, 0).sum(axis=1)
        gain[taken] = -1
        row = int(gain.argmax())
        chosen.append(row)
        taken[row] = True
        best = np.maximum(best, similar[row])
    return np.array(chosen, np.intp)


def typical(
    X: NDArray[np.float32],
    labelled: Sequence[int] | NDArray[np.intp],
    budget: int,
    *,
    random_state: int = 0,
) -> NDArray[np.intp]:
    """Choose the most typical row of each cluster that has the fewest labels (TypiClust).

    References
    ----------
    Hacohen, Dekel, Weinshall (2022), Active Learning on a Budget, arXiv:2202.02794.
    """
    from sklearn.cluster import KMeans

    known = {int(row) for row in labelled}
    n_left = len(X) - len(known)
    n_clusters = max(1, min(len(known) + budget, max(1, len(X) // 3)))
    assigned = KMeans(n_clusters, n_init=1, random_state=random_state).fit_predict(X)
    members = {c: np.flatnonzero(assigned == c) for c in range(n_clusters)}
    chosen: list[int] = []
    while len(chosen) < min(budget, n_left):
        open_ = [c for c, rows in members.items() if any(int(r) not in known for r in rows)]
        n_known = {c: sum(int(r) in known for r in members[c]) for c in open_}
        cluster = min(open_, key=lambda c: (n_known[c], -len(members[c]), c))
        rows = members[cluster]
        similar = X[rows] @ X[rows].T
        distance = np.sqrt(np.maximum(2 - 2 * similar, 0))
        k = min(_NEIGHBOURS, max(len(rows) - 1, 1))
        nearest = np.sort(distance, axis=1)[:, 1 : k + 1] if len(rows) > 1 else np.ones((1, 1))
        score = typicality(nearest)
        score[[int(r) in known for r in rows]] = -1
        row = int(rows[int(score.argmax())])
        chosen.append(row)
        known.add(row)
    return np.array(chosen, np.intp)


def choose_images(
    X: NDArray[np.float32],
    budget: int,
    *,
    rule: SelectionRule = "auto",
    labelled: Sequence[int] | NDArray[np.intp] = (),
    n_classes: int | None = None,
    proba: Callable[[], NDArray[Any]] | None = None,
    random_state: int = 0,
) -> NDArray[np.intp]:
    """Choose the next rows to be labelled.

    Parameters
    ----------
    X : ndarray of shape (n, n_dims)
        Unit embeddings; near duplicates (cosine above .98) are chosen once.
    budget : int
    rule : {"auto", "cover", "typical", "margin", "random"}, default="auto"
        "auto" is `cover` until there are 4 labels per class on average, then "margin".
    labelled : sequence of int
    n_classes : int, optional
        Needed by "auto" to change over.
    proba : callable, optional
        Gives the current student's probabilities, shape (n, n_classes); asked only where a margin
        is needed. Without it "margin" and "auto" stay with `cover`.
    random_state : int, default=0

    Returns
    -------
    rows : ndarray of shape (at most budget,)
    """
    if rule not in SELECTIONS:
        raise UnknownNameError("selection", str(rule), SELECTIONS)
    rng = np.random.default_rng(random_state)
    known = np.asarray(labelled, np.intp)
    pool = np.arange(len(X))
    if len(X) > _MOST_ROWS:
        rest = np.setdiff1d(pool, known)
        size = max(0, _MOST_ROWS - len(known))
        pool = np.sort(np.concatenate([known, rng.choice(rest, size, replace=False)]))
    own = X[pool]
    first = near_copies(own)
    place = {int(row): i for i, row in enumerate(pool)}
    known_here = np.array([place[int(row)] for row in known if int(row) in place], np.intp)
    # a copy of a labelled row, or of an earlier row, is not asked about again
    free = (first == np.arange(len(own))) & ~np.isin(first, first[known_here])
    if rule == "random":
        rows = np.asarray(rng.permutation(np.flatnonzero(free))[:budget], np.intp)
        return np.asarray(pool[rows], np.intp)
    by_margin = rule == "margin" or (
        rule == "auto" and n_classes is not None and len(known) >= _COVER_UNTIL * n_classes
    )
    if by_margin and proba is not None:
        margins = margins_of(proba()[pool])
        rows = np.flatnonzero(free)
        best = rows[np.argsort(margins[rows], kind="stable")[:budget]]
        return np.asarray(pool[best], np.intp)
    kept = np.flatnonzero(free | np.isin(np.arange(len(own)), known_here))
    position = {int(row): i for i, row in enumerate(kept)}
    inside = [position[int(row)] for row in known_here]
    if rule == "typical":
        rows = typical(own[kept], inside, budget, random_state=random_state)
    else:
        rows = cover(own[kept], inside, budget)
    return np.asarray(pool[kept[rows]], np.intp)
