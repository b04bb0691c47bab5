"""Tip-Adapter: zero-shot logits plus votes of a cache of labelled images. No training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.classify.embedding.prototypes import cosines
from showtell.classify.probability import row_losses

_BLOCK = 1024  # queries whose affinities are held at once
_MAX_QUERIES = 1000  # left-out rows that a search looks at


def cache_votes(
    embeddings: NDArray[Any],
    keys: NDArray[Any],
    codes: NDArray[Any],
    n_classes: int,
    *,
    beta: float,
    divide_by_count: bool = True,
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Sum ``exp(-beta (1 - affinity))`` of each query with the keys of each class.

    `embeddings`, of shape (n, n_dims): queries, rows of length 1; `keys`, of shape (n_keys,
    n_dims): support embeddings, rows of length 1; `codes`, of shape (n_keys,): class of each key;
    `beta`: sharpness, no unit: 0 lets all keys count the same, a large one leaves the nearest;
    `divide_by_count`: mean instead of sum over a class, so that classes with more shots are not
    favoured; `mask`, of shape (n, n_keys): False where a key must not vote, for leaving a sample
    out of its own cache. Returns `votes`, of shape (n, n_classes).
    """
    one_hot = np.eye(n_classes)[np.asarray(codes)]  # (n_keys, n_classes)
    votes = np.empty((len(embeddings), n_classes), np.float32)
    for start in range(0, len(embeddings), _BLOCK):
        part = slice(start, start + _BLOCK)
        affinity = cosines(embeddings[part], keys).astype(np.float64)
        phi = np.exp(-beta * (1.0 - affinity))
        allowed = np.ones_like(phi) if mask is None else mask[part].astype(np.float64)
        total = (phi * allowed) @ one_hot
        if divide_by_count:
            total /= np.maximum(allowed @ one_hot, 1.0)
        votes[part] = total
    return votes


def tip_adapter_logits(
    embeddings: NDArray[Any],
    keys: NDArray[Any],
    codes: NDArray[Any],
    text_logits: NDArray[Any],
    *,
    alpha: float,
    beta: float,
    divide_by_count: bool = True,
) -> NDArray[np.float32]:
    r"""Add the votes of labelled images to zero-shot logits.

    ``logits = text_logits + alpha * exp(-beta (1 - X Fᵀ)) L``, with keys ``F`` (n_keys, n_dims)
    and one-hot labels ``L`` (n_keys, n_classes), each column divided by its class count unless
    `divide_by_count` is False (as published, for equal shots).

    Parameters
    ----------
    embeddings : ndarray of shape (n, n_dims)
        Queries, rows of length 1.
    keys : ndarray of shape (n_keys, n_dims)
        Support embeddings, rows of length 1.
    codes : ndarray of shape (n_keys,), int
        Class of each key.
    text_logits : ndarray of shape (n, n_classes)
        ``logit_scale * cosine`` with the label prototypes.
    alpha : float
        Weight of the cache; 0 is zero-shot.
    beta : float
        Sharpness; see `cache_votes`.
    divide_by_count : bool, default=True

    Returns
    -------
    logits : ndarray of shape (n, n_classes), float32

    References
    ----------
    Zhang et al. (2022), Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification,
    arXiv:2207.09519.

    Examples
    --------
    >>> keys, codes = np.eye(2), np.array([0, 1])
    >>> tip_adapter_logits(np.array([[1.0, 0.0]]), keys, codes, np.zeros((1, 2)), alpha=2, beta=1)
    array([[2.       , 0.7357589]], dtype=float32)
    """
    text = np.asarray(text_logits, np.float32)
    votes = cache_votes(
        embeddings, keys, codes, text.shape[1], beta=beta, divide_by_count=divide_by_count
    )
    logits: NDArray[np.float32] = text + np.float32(alpha) * votes
    return logits


@dataclass(frozen=True, kw_only=True)
class TipAdapterChoice:
    """What a search found."""

    alpha: float
    """Weight of the cache."""
    beta: float
    """Sharpness of the cache."""
    rows: NDArray[np.intp]
    """Support rows that were left out in turn, shape (n_left_out,)."""
    logits: NDArray[np.float32]
    """Their logits at this choice, shape (n_left_out, n_classes)."""


def search_tip_adapter(
    keys: NDArray[Any],
    codes: NDArray[Any],
    distinct: NDArray[Any],
    text_logits: NDArray[Any],
    *,
    alphas: NDArray[Any],
    betas: NDArray[Any],
) -> TipAdapterChoice:
    """Choose alpha and beta by leaving each support image out of its own cache.

    A key with the query's own content never votes, else its affinity of 1 would make any sharp
    cache look perfect. The choice has the fewest errors (as published); among equals the lowest
    negative log-likelihood at the best temperature, then the smaller beta and alpha. Only rows
    that leave a key of their own class are judged.

    `keys`, of shape (n_keys, n_dims); `codes`, of shape (n_keys,); `distinct`, of shape (n_keys,):
    equal for keys of the same picture; `text_logits`, of shape (n_keys, n_classes): zero-shot
    logits of the support images themselves; `alphas` and `betas`: candidates. Returns `choice`:
    with no rows if no class has two different images; alpha and beta are then the first.
    """
    codes, distinct = np.asarray(codes), np.asarray(distinct)
    n_classes = text_logits.shape[1]
    same = distinct[:, None] == distinct[None, :]
    left = ((codes[:, None] == codes[None, :]) & ~same).sum(axis=1)
    rows = np.flatnonzero(left > 0)
    if len(rows) > _MAX_QUERIES:
        rows = rows[np.linspace(0, len(rows) - 1, _MAX_QUERIES).astype(np.intp)]
    text = np.asarray(text_logits, np.float32)[rows]
    if not len(rows):
        return TipAdapterChoice(
            alpha=float(alphas[0]), beta=float(betas[0]), rows=rows, logits=text
        )
    fewest, best, choice = len(rows), np.inf, None
    for beta in betas:
        votes = cache_votes(keys[rows], keys, codes, n_classes, beta=beta, mask=~same[rows])
        for alpha in alphas:
            logits = text + np.float32(alpha) * votes
            n_wrong = int((logits.argmax(axis=1) != codes[rows]).sum())
            if n_wrong > fewest:
                continue
            loss = float(row_losses(logits, codes[rows]).mean())
            if n_wrong < fewest or loss < best - 1e-9:
                fewest, best = n_wrong, loss
                choice = TipAdapterChoice(
                    alpha=float(alpha), beta=float(beta), rows=rows, logits=logits
                )
    assert choice is not None
    return choice
