"""How many images one request asks about: as many as pays, within what the provider takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from showtell.checks import whole
from showtell.errors import InputError
from showtell.mllm.capabilities import Capabilities
from showtell.mllm.estimate import ANSWER_TOKENS

MOST_QUERIES = 100
"""Queries in one request unless a number is asked for: longer answers lose items more often."""

_SHARED_SHARE = 0.1  # of a query's own tokens that the shared part may add
_BASE64 = 4 / 3

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How queries are spread over requests. Made by `plan_batches`."""

    images_per_request: int
    """Queries per request, at most."""
    n_requests: int
    limit: str
    """What decided: ``"asked for"``, ``"price"``, ``"number of queries"``, ``"images"``,
    ``"bytes"``, ``"answer tokens"`` or ``"longest batch"``."""
    tokens_per_query: float
    """Input tokens, the shared part spread over the queries."""


def plan_batches(
    n_queries: int,
    *,
    capabilities: Capabilities,
    n_demonstrations: int = 0,
    shared_tokens: int = 0,
    query_tokens: int = 300,
    shared_bytes: int = 0,
    query_bytes: int = 0,
    max_output_tokens: int | None = 8192,
    images_per_request: int | None = None,
) -> BatchPlan:
    r"""Choose the number of queries per request.

    With ``S`` shared tokens, ``q`` tokens of a query and ``B`` queries in a request, a query costs
    ``S / B + q`` input tokens. The smallest ``B`` with ``S / B <= 0.1 q`` pays most of what
    batching can pay. Limits of the provider come first, then batches are made even: 101 queries
    are 51 and 50, not 100 and 1.

    Parameters
    ----------
    n_queries : int
        At least 0.
    capabilities : Capabilities
        Images and bytes a request may hold.
    n_demonstrations : int, default=0
        Images that every request shows besides its queries.
    shared_tokens, query_tokens : int
        Input tokens of what requests share, and of one query.
    shared_bytes, query_bytes : int, default=0
        Bytes of their images before base64; 0 for unknown.
    max_output_tokens : int or None, default=8192
        Longest answer; None for no limit.
    images_per_request : int, optional
        What the user asks for: taken as it is, unless the provider refuses so much.

    Returns
    -------
    plan : BatchPlan

    Raises
    ------
    InputError
        If the demonstrations alone are more than a request may hold, or `images_per_request` is
        below 1.

    References
    ----------
    Jiang et al. (2024), Many-Shot In-Context Learning in Multimodal Foundation Models,
    arXiv:2405.09798, section 4.3: batches of up to 50 queries lose little accuracy or gain, and
    cost up to 45 times less with many demonstrations.

    Examples
    --------
    >>> plan = plan_batches(75, capabilities=Capabilities(max_images=3000), n_demonstrations=75,
    ...                     shared_tokens=75 * 270 + 300, query_tokens=270)
    >>> plan.images_per_request, plan.n_requests, round(plan.tokens_per_query)
    (75, 1, 544)
    >>> plan_batches(75, capabilities=Capabilities(max_images=100), n_demonstrations=75,
    ...              shared_tokens=75 * 270 + 300, query_tokens=270).images_per_request
    25
    """
    whole(1, also=[None], images_per_request=images_per_request)
    hard = _most_allowed(n_queries, capabilities, n_demonstrations, shared_bytes, query_bytes)
    if images_per_request is not None:
        best = min(hard, (images_per_request, "asked for"), key=lambda pair: pair[0])
    else:
        wanted = [hard, (MOST_QUERIES, "longest batch")]
        if max_output_tokens is not None:
            fits = max(1, math.floor(0.75 * max_output_tokens / ANSWER_TOKENS))
            wanted.append((fits, "answer tokens"))
        pays = math.ceil(shared_tokens / (_SHARED_SHARE * max(query_tokens, 1)))
        wanted.append((max(1, pays), "price"))
        best = min(wanted, key=lambda pair: pair[0])
    n_requests = -(-n_queries // best[0])
    even = images_per_request is None and n_queries > 0
    size = -(-n_queries // n_requests) if even else best[0]
    return BatchPlan(
        images_per_request=size,
        n_requests=n_requests,
        limit=best[1],
        tokens_per_query=shared_tokens / size + query_tokens,
    )


def _most_allowed(
    n_queries: int,
    capabilities: Capabilities,
    n_demonstrations: int,
    shared_bytes: int,
    query_bytes: int,
) -> tuple[int, str]:
    """Find what the provider takes at most, and which of its limits says so."""
    room: dict[str, float] = {"number of queries": max(n_queries, 1)}
    if capabilities.max_images is not None:
        room["images"] = capabilities.max_images - n_demonstrations
    if capabilities.max_request_bytes is not None and query_bytes:
        left = capabilities.max_request_bytes - _BASE64 * shared_bytes
        room["bytes"] = left / (_BASE64 * query_bytes)
    hard = min((math.floor(value), name) for name, value in room.items())
    if hard[0] < 1:
        what, allowed = f"{n_demonstrations} demonstrations", f"{capabilities.max_images} images"
        if hard[1] == "bytes":
            what += f" of {shared_bytes:,} bytes"
            allowed = f"{capabilities.max_request_bytes:,} bytes in base64"
        raise InputError(
            f"{what} leave no room for a query: the model takes {allowed} per request. Show fewer "
            "`shots`, make images smaller with `max_side`, or use a model that takes more."
        )
    return hard


@dataclass(frozen=True, kw_only=True)
class Packed(Generic[T]):
    """Items that go into one request, and the labels it lists."""

    items: list[T]
    candidates: tuple[int, ...] | None
    """Codes of the labels, rising; None for the whole label set."""


class Packer(Generic[T]):
    """Fills batches in order, each within its limits; items come one at a time.

    Parameters
    ----------
    images_per_request : int
        Items per batch, at most.
    max_bytes : float, default=inf
        Of a batch; a single item that is larger goes alone, and the provider will tell.
    max_labels : int, optional
        Different candidates of a batch together, at most.

    Examples
    --------
    >>> packer = Packer(images_per_request=2)
    >>> [[batch.items for batch in packer.push(letter)] for letter in "abc"]
    [[], [['a', 'b']], []]
    >>> [batch.items for batch in packer.flush()]
    [['c']]
    """

    def __init__(
        self, *, images_per_request: int, max_bytes: float = math.inf, max_labels: int | None = None
    ) -> None:
        self.images_per_request = images_per_request
        self.max_bytes, self.max_labels = max_bytes, max_labels
        self._clear()

    def _clear(self) -> None:
        self._items: list[T] = []
        self._bytes = 0
        self._labels: set[int] = set()
        self._whole = False

    def push(
        self, item: T, *, n_bytes: int = 0, candidates: Sequence[int] | None = None
    ) -> list[Packed[T]]:
        """Take an item, and give the batches that are complete by that: none, one or two.

        `n_bytes`: what it adds to the batch. `candidates`: codes of the labels it has to choose
        from; None for the whole label set. Items of the two kinds do not go together.
        """
        done: list[Packed[T]] = []
        whole = candidates is None
        union = self._labels.union(candidates or ())
        heavy = self._bytes + n_bytes > self.max_bytes
        crowded = not whole and self.max_labels is not None and len(union) > self.max_labels
        if self._items and (heavy or crowded or whole != self._whole):
            done += self.flush()
            union = set(candidates or ())
        self._items.append(item)
        self._bytes += n_bytes
        self._labels, self._whole = union, whole
        if len(self._items) >= self.images_per_request:
            done += self.flush()
        return done

    def flush(self) -> list[Packed[T]]:
        """Give what is left, if anything is."""
        if not self._items:
            return []
        labels = None if self._whole else tuple(sorted(self._labels))
        batch = Packed(items=self._items, candidates=labels)
        self._clear()
        return [batch]
