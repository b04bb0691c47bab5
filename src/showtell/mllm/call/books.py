"""What the rows of a journal come to: answers, money, requests that may be billed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from showtell._version import __version__
from showtell.errors import SavedFolderError
from showtell.mllm.call.stored import answer_from_record, dollars_from_record

SCHEMA = 1
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What a row raises that is not as it should be."""


class Books:
    """Adds up rows, as they are read and as they are written.

    Parameters
    ----------
    path : path
        Of the journal, for messages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spent = Decimal(0)
        """USD of all answers whose price is known, earlier processes of this run included."""
        self.n_unpriced = 0
        """Answers whose price is not known."""
        self.n_requests = 0
        """Requests that were sent, tries again and earlier processes of this run included."""
        self.in_doubt = Decimal(0)
        """USD, by estimate, of the requests in `doubts`; those without a known price left out."""
        self.n_doubts_unpriced = 0
        """Requests in `doubts` without a known price."""
        self.doubts: Counter[str] = Counter()
        """Keys of requests that were sent and whose answer never came: it was lost on the way, or
        the process was killed before it was written down. The provider may bill them."""
        self.run_id = ""
        """Random name of the run, the same in all its processes."""
        self.has_endpoints = True
        """Whether the keys in it say which server was asked; before, they did not."""
        self.n_damaged = 0
        """Lines that could not be read and were passed over."""
        self._answers: dict[str, int] = {}  # key of a request -> place of its answer
        self._samples: dict[str, int] = {}  # sample id -> place of its last row
        self._prefixes: set[str] = set()
        self._asking: dict[str, str | None] = {}  # requests in flight, and what they may cost
        self._n_partial: Counter[str] = Counter()  # answers that may not be used again

    @property
    def n_in_doubt(self) -> int:
        """How many requests were sent whose answer never came."""
        return self.doubts.total()

    @property
    def n_answers(self) -> int:
        """How many answers there are to be used again."""
        return len(self._answers)

    def _learn(self, row: Mapping[str, Any], place: int) -> None:
        kind = row["kind"]
        if kind == "sample":
            dollars_from_record(row, "price_usd")
            self._samples[_text(row, "id")] = place
        elif kind == "answer":
            _text(row, "key")
            if not isinstance(row["whole"], bool):
                raise TypeError("`whole` is true or false")
            cost = answer_from_record(row, from_cache=False).usage.cost_usd
            self._count_answer(row, cost, place)
        elif kind == "asking":
            self._learn_asking(_text(row, "key"), row.get("estimate_usd"))
            dollars_from_record(row, "estimate_usd")  # the request was sent, whatever it may cost
        elif kind == "turned_away":
            self._asking.pop(_text(row, "key"), None)
        elif kind == "failure":
            if _text(row, "key") in self._asking:
                self._doubt(row["key"])
        elif kind == "prefix":
            self._prefixes.add(_text(row, "name"))
        elif kind == "start":
            if row["schema"] > SCHEMA:
                raise SavedFolderError(
                    f"{self.path} was written by showtell {row.get('showtell')}, which is newer "
                    f"than this one ({__version__}). Upgrade, or choose another run folder."
                )
            if not self.run_id:
                self.run_id = str(row.get("run", ""))
                self.has_endpoints = row.get("endpoints") is True

    def _learn_asking(self, key: str, estimate: str | None) -> None:
        if key in self._asking:  # asked again: the answer to the last time never came
            self._doubt(key)
        self._asking[key] = estimate
        self.n_requests += 1

    def _doubt(self, key: str) -> None:
        self.doubts[key] += 1
        try:
            estimate = dollars_from_record({"usd": self._asking.pop(key)}, "usd")
        except ValueError:
            estimate = None
        if estimate is None:
            self.n_doubts_unpriced += 1
        else:
            self.in_doubt += estimate

    def _count_answer(
        self, row: Mapping[str, Any], cost: Decimal | None, place: int | None
    ) -> None:
        key, whole = row["key"], row["whole"]
        if whole and place is not None:
            self._answers[key] = place
        if row.get("from_cache"):
            return
        if not whole:
            self._n_partial[key] += 1
        if key in self._asking:
            del self._asking[key]
        else:  # of a batch job
            self.n_requests += 1
        if cost is None:
            self.n_unpriced += 1
        else:
            self.spent += cost


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise TypeError(f"`{name}` is a text")
    return value
