"""What can be made to go wrong, how often, and how much quota there is."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from showtell.errors import InputError, UnknownNameError

__all__ = ["Bias", "Faults", "Quota", "uniform"]

_REQUEST_FAULTS = (
    "rate_limit",
    "server_error",
    "timeout",
    "cut",
    "refuse",
    "block",
    "empty",
    "broken_json",
)
_QUERY_FAULTS = ("drop", "duplicate", "conflict", "swap", "unknown", "out_of_set")
_WRITING_FAULTS = ("forget_label", "repeat", "name_other", "invalid")
_LOOKING_FAULTS = ("miscount", "false_total", "blind")
_PULLS = ("example", "first", "last", "recent", "majority", "noise")
_SPELLINGS = {"429": "rate_limit", "500": "server_error"}


def uniform(*words: object) -> float:
    """Draw a number in [0, 1) that is always the same for the same words.

    Examples
    --------
    >>> uniform(0, "a") == uniform(0, "a"), uniform(0, "a") == uniform(1, "a")
    (True, False)
    """
    text = "\x1f".join(map(str, words)).encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")
    return (number >> 3) / (1 << 53)


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often what goes wrong: probabilities, no unit.

    Faults of a request exclude each other, as do faults of a query and those of a written text, so
    each group adds up to at most 1. Draws depend on the seed, the content of the request and how
    often the same content came before: the same run meets the same faults whatever the order of
    arrival, and a second try has a new chance.

    Examples
    --------
    >>> Faults.parse("429=0.05, drop=0.03")
    Faults(rate_limit=0.05, drop=0.03)
    >>> Faults.parse("all=0.14").broken_json
    0.01
    """

    rate_limit: float = 0.0
    """Answered with 429 and Retry-After; written ``429`` in a specification."""
    server_error: float = 0.0
    """Answered with 500, 502, 503 or the vendor's own "overloaded"; written ``500``."""
    timeout: float = 0.0
    """Never answered: the connection stays open until the client gives up."""
    cut: float = 0.0
    """The connection closes in the middle of the answer."""
    refuse: float = 0.0
    """The model declines, in the vendor's form."""
    block: float = 0.0
    """A safety filter holds the question or the answer back, in the vendor's form."""
    empty: float = 0.0
    """The answer has no text."""
    broken_json: float = 0.0
    """Truncated, with prose around it, in a code fence, or with a misnamed field."""
    drop: float = 0.0
    """A query is left out of the answer."""
    duplicate: float = 0.0
    """A query is answered twice, alike."""
    conflict: float = 0.0
    """A query is answered twice, with different labels; the first is the honest one."""
    swap: float = 0.0
    """A query's answer stands where another's belongs; ids stay right."""
    unknown: float = 0.0
    """A query's answer carries an id that was never asked."""
    out_of_set: float = 0.0
    """A query's label is not in the label set."""
    forget_label: float = 0.0
    """Written: a label is left out, or its list is empty."""
    repeat: float = 0.0
    """Written: half of a list says again what the other half says."""
    name_other: float = 0.0
    """Written: a description names another label."""
    invalid: float = 0.0
    """Written: a text is none ("N/A"), or says several things in one."""
    miscount: float = 0.0
    """Asked: one thing too many is counted."""
    false_total: float = 0.0
    """Asked: the sum of prices is a little too high."""
    blind: float = 0.0
    """Asked: answered without looking or listening, as if it had been."""

    def __post_init__(self) -> None:
        for knob in fields(self):
            value = getattr(self, knob.name)
            if not 0 <= value <= 1:
                raise InputError(f"`{knob.name}` must be a probability from 0 to 1, got {value!r}.")
        groups = (
            (_REQUEST_FAULTS, "request"),
            (_QUERY_FAULTS, "query"),
            (_WRITING_FAULTS, "written text"),
            (_LOOKING_FAULTS, "look"),
        )
        for group, what in groups:
            total = sum(getattr(self, name) for name in group)
            if total > 1 + 1e-9:
                raise InputError(
                    f"Faults of a {what} exclude each other, so {', '.join(group)} may add up to "
                    f"at most 1, not {total:g}."
                )

    def __repr__(self) -> str:
        shown = [f"{k.name}={getattr(self, k.name)!r}" for k in fields(self)]
        return f"Faults({', '.join(s for s in shown if not s.endswith('=0.0'))})"

    @classmethod
    def parse(cls, spec: str) -> Faults:
        """Read ``name=probability`` pairs separated by commas.

        Names are those of the fields (``-`` and ``_`` are the same), ``429``, ``500``, and ``all``,
        which shares a probability evenly among the kinds that a request about images meets; those
        of a written text get as much each. Other names, and what is no probability, raise
        `InputError`.
        """
        kinds = [knob.name for knob in fields(cls)]
        shares = dict.fromkeys(kinds, 0.0)
        for name, share in _pairs(spec, "fault", "429=0.05,drop=0.03"):
            name = _SPELLINGS.get(name, name)
            if name == "all":
                each = share / (len(_REQUEST_FAULTS) + len(_QUERY_FAULTS))
                shares = {kind: shares[kind] + each for kind in kinds}
            elif name in shares:
                shares[name] += share
            else:
                allowed = ["429", "500", *(kind.replace("_", "-") for kind in kinds), "all"]
                raise UnknownNameError("fault", name, allowed)
        return cls(**shares)

    def of_request(self, draw: float) -> str | None:
        """Return the fault that a draw in [0, 1) means for a request, or None."""
        return _pick(self, _REQUEST_FAULTS, draw)

    def of_query(self, draw: float) -> str | None:
        """Return the fault that a draw in [0, 1) means for one query, or None."""
        return _pick(self, _QUERY_FAULTS, draw)

    def of_writing(self, draw: float) -> str | None:
        """Return the fault that a draw in [0, 1) means for a written text, or None."""
        return _pick(self, _WRITING_FAULTS, draw)


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Requests and tokens allowed in any span of `window` seconds; None is no limit."""

    rpm: int | None = None
    """Requests per window."""
    tpm: int | None = None
    """Input and output tokens per window."""
    window: float = 60.0
    """Seconds."""

    def __post_init__(self) -> None:
        for name in ("rpm", "tpm"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"`{name}` must be at least 1 or None, got {value!r}.")
        if self.window <= 0:
            raise InputError(f"`window` must be above 0 seconds, got {self.window!r}.")


@dataclass(frozen=True, kw_only=True)
class Bias:
    """Planted prejudices.

    `example`, `first`, `last`, `recent`, `majority` and `noise` are probabilities that an answer
    is replaced; `order` and `prior` are added to the logits of labels.
    """

    example: float = 0.0
    """Pull towards the label named in a filled-in example (``"label": "X"``) of the prompt."""
    first: float = 0.0
    """Pull towards the first label of the list."""
    last: float = 0.0
    """Pull towards the last label of the list."""
    recent: float = 0.0
    """Pull towards the label of the last demonstration."""
    majority: float = 0.0
    """Pull towards the label with most demonstrations, where one has more than all others."""
    noise: float = 0.0
    """Chance of a random label: what a model gets wrong differently each time."""
    order: float = 0.0
    """Logits on top for the first label of the list, falling evenly to 0 for the last."""
    prior: Mapping[str, float] = field(default_factory=dict)
    """Logits on top per label."""

    @classmethod
    def parse(cls, spec: str) -> Bias:
        """Read ``name=probability`` pairs, of the pulls and the noise, else raise `InputError`.

        Examples
        --------
        >>> Bias.parse("example=0.05, first=0.1").example
        0.05
        """
        pulls = dict(_pairs(spec, "bias", "example=0.05,first=0.1"))
        for name in pulls:
            if name not in _PULLS:
                raise UnknownNameError("bias", name, _PULLS)
        return cls(**pulls)  # type: ignore[arg-type]  # all of them are floats

    def __post_init__(self) -> None:
        for name in _PULLS:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"`{name}` must be a probability from 0 to 1, got {value!r}.")


def _pairs(spec: str, what: str, example: str) -> list[tuple[str, float]]:
    """Split ``name=number`` pairs; ``-`` in a name becomes ``_``."""
    pairs = []
    for pair in filter(None, (piece.strip() for piece in spec.split(","))):
        name, equals, value = pair.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not equals or not 0 <= number <= 1:
            raise InputError(f"{pair!r} is no {what}. Write name=probability, as in {example!r}.")
        pairs.append((name.strip().replace("-", "_"), number))
    return pairs


def _pick(faults: Faults, kinds: tuple[str, ...], draw: float) -> str | None:
    for kind in kinds:
        draw -= float(getattr(faults, kind))
        if draw < 0:
            return kind
    return None
