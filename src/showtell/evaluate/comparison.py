"""Several records on the same samples, side by side, with paired tests."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell import metrics as m
from showtell._extras import need
from showtell.errors import InputError
from showtell.evaluate.notebook import html_table
from showtell.evaluate.record import Record

__all__ = ["Compared", "Comparison", "PairTest", "compare"]

LEVEL = 0.05
"""A corrected p-value below this is called a difference."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One record of a comparison, in numbers."""

    name: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    balanced_accuracy: float
    macro_f1: float
    n_abstained: int
    n_errors: int
    ece: float | None
    cost_usd: float | None
    images_per_second: float | None


@dataclass(frozen=True, kw_only=True)
class PairTest:
    """Two records on the same samples."""

    a: str
    b: str
    difference: float
    """Accuracy of b minus accuracy of a."""
    low: float
    """Lower end of the 95 % interval of the difference (paired bootstrap over samples)."""
    high: float
    n_only_a: int
    """Samples that only a has right."""
    n_only_b: int
    p_value: float
    """Exact McNemar, two-sided."""
    p_holm: float
    """`p_value` corrected for the number of pairs (Holm)."""

    @property
    def differs(self) -> bool:
        """Whether the corrected p-value is below .05."""
        return self.p_holm < LEVEL


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` found; the most accurate record comes first."""

    n_samples: int
    records: tuple[Compared, ...]
    pairs: tuple[PairTest, ...]
    """Every pair; a stands before b in `records`."""

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        best, second = self.records[0], self.records[1]
        pair = self.pairs[0]
        points = f"{abs(pair.difference) * 100:.1f} points"
        span = f"95% interval {-pair.high * 100:+.1f} to {-pair.low * 100:+.1f}"
        p = f"p {_p(pair.p_holm)}" + (" after correction" if len(self.pairs) > 1 else "")
        if pair.difference == 0:
            *most, last = [r.name for r in self.records if r.accuracy == best.accuracy]
            return (
                f"{', '.join(most)} and {last} are equally accurate on these "
                f"{self.n_samples} samples ({best.accuracy * 100:.1f}%)."
            )
        if pair.differs:
            return (
                f"{best.name} is better than {second.name} by {points} "
                f"on {self.n_samples} samples ({span}; {p})."
            )
        return (
            f"{best.name} is ahead of {second.name} by {points} on {self.n_samples} samples, "
            f"which may well be chance ({span}; {p})."
        )

    def rows(self) -> list[dict[str, Any]]:
        """One dict per record, the most accurate first."""
        return [dataclasses.asdict(record) for record in self.records]

    def pair_rows(self) -> list[dict[str, Any]]:
        """One dict per pair of records."""
        return [{**dataclasses.asdict(pair), "differs": pair.differs} for pair in self.pairs]

    def _repr_html_(self) -> str:
        """Return a small table for notebooks: one row per record."""
        keys = ("name", "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "n_errors")
        return html_table(self.sentence, keys, ([row[k] for k in keys] for row in self.rows()))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "n_samples": self.n_samples,
            "sentence": self.sentence,
            "records": self.rows(),
            "pairs": self.pair_rows(),
        }

    def to_pandas(self) -> Any:
        """Return the records as a pandas DataFrame (extra ``pandas``)."""
        return need("pandas", extra="pandas", what="A comparison as a DataFrame").DataFrame(
            self.rows()
        )


def compare(
    records: Sequence[Record], *, names: Sequence[str] | None = None, random_state: int = 0
) -> Comparison:
    """Compare records on the same samples, to see whether one way is really better.

    Samples are joined by id, or by the name of the image where there are no ids; never by
    position. Every pair gets an exact McNemar test and a paired bootstrap interval; p-values are
    corrected over all pairs by Holm's method. Errors and abstentions count as not right.

    Parameters
    ----------
    records : sequence of Record, at least two
    names : sequence of str, optional
        What to call them; their own names, made different by numbers, if not given.
    random_state : int, default=0
        Of the bootstrap.

    Returns
    -------
    comparison : Comparison

    Raises
    ------
    InputError
        If the records do not hold the same samples with the same true labels; the message says
        what differs.

    References
    ----------
    METHODS 15: paired tests (exact McNemar), Holm over all pairs.
    """
    records = list(records)
    if len(records) < 2:
        raise InputError(f"Comparing needs at least two records, got {len(records)}.")
    shown = _names(records, names)
    order = [
        _order(records[0], record, shown[0], name)
        for record, name in zip(records, shown, strict=True)
    ]
    correct = [record.correct[rows] for record, rows in zip(records, order, strict=True)]
    ranking = sorted(range(len(records)), key=lambda i: (-correct[i].sum(), i))
    pairs = []
    for i, j in combinations(ranking, 2):
        test = m.mcnemar_exact(correct[i], correct[j])
        boot = m.paired_bootstrap(
            correct[i].astype(float), correct[j].astype(float), random_state=random_state
        )
        pairs.append((i, j, test, boot))
    corrected = m.holm([test.p_value for _, _, test, _ in pairs])
    return Comparison(
        n_samples=len(records[0]),
        records=tuple(_compared(records[i], shown[i]) for i in ranking),
        pairs=tuple(
            PairTest(
                a=shown[i],
                b=shown[j],
                difference=test.difference,
                low=boot.low,
                high=boot.high,
                n_only_a=test.n_only_a,
                n_only_b=test.n_only_b,
                p_value=test.p_value,
                p_holm=float(p),
            )
            for (i, j, test, boot), p in zip(pairs, corrected, strict=True)
        ),
    )


def _names(records: Sequence[Record], names: Sequence[str] | None) -> list[str]:
    """Give every record a name of its own."""
    if names is not None:
        if len(names) != len(records) or len(set(names)) != len(names):
            raise InputError(f"Give {len(records)} different names, got {list(names)}.")
        return [str(name) for name in names]
    given = [record.name for record in records]
    times, seen = Counter(given), Counter[str]()
    shown = []
    for name in given:
        seen[name] += 1
        shown.append(f"{name} #{seen[name]}" if times[name] > 1 else name)
    return shown


def _keys(record: Record) -> list[tuple[str, int]]:
    """Key of each sample: its id or image name, and which occurrence of it this is."""
    seen: Counter[str] = Counter()
    keys = []
    for key in record.keys:
        keys.append((key, seen[key]))
        seen[key] += 1
    return keys


def _order(first: Record, other: Record, name_a: str, name_b: str) -> NDArray[np.intp]:
    """Rows of `other` in the order of `first`, or an error that tells the difference."""
    a, b = _keys(first), _keys(other)
    row = {key: i for i, key in enumerate(b)}
    missing = [key for key in a if key not in row]
    extra = set(b) - set(a)
    if missing or extra:
        parts = []
        if missing:
            parts.append(f"{len(missing)} only in {name_a!r} (for example {missing[0][0]!r})")
        if extra:
            parts.append(f"{len(extra)} only in {name_b!r} (for example {min(extra)[0]!r})")
        raise InputError(
            f"{name_a!r} and {name_b!r} are not about the same samples: {' and '.join(parts)}, "
            f"{len(a) - len(missing)} in both. Evaluate both on the same data; samples are joined "
            "by id, or by image name where there are no ids."
        )
    order = np.array([row[key] for key in a], np.intp)
    truth_a = [first.classes[c] for c in first.y_true]
    truth_b = [other.classes[c] for c in other.y_true[order]]
    differing = [i for i, (x, y) in enumerate(zip(truth_a, truth_b, strict=True)) if x != y]
    if differing:
        i = differing[0]
        raise InputError(
            f"{name_a!r} and {name_b!r} disagree about the true label of {len(differing)} samples, "
            f"for example {a[i][0]!r}: {truth_a[i]!r} and {truth_b[i]!r}. Evaluate both on the "
            "same labels."
        )
    return order


def _compared(record: Record, name: str) -> Compared:
    """Pick the numbers of one record."""
    values = record.metrics
    return Compared(
        name=name,
        **{
            key: values[key]
            for key in (
                "accuracy",
                "accuracy_low",
                "accuracy_high",
                "balanced_accuracy",
                "macro_f1",
                "n_abstained",
                "n_errors",
                "ece",
                "cost_usd",
            )
        },
        images_per_second=record.run.get("images_per_second"),
    )


def _p(value: float) -> str:
    """Write a p-value."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
