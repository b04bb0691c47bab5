"""Several records on the same samples, side by side: paired tests, prices, the cheapest to take."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell import metrics as m
from showtell._extras import need
from showtell.errors import InputError
from showtell.evaluate.notebook import html_table
from showtell.evaluate.record import Record
from showtell.words import chance, joined, plain_points, price

LEVEL = 0.05
"""A corrected p-value below this is called a difference."""

_POWER_Z, _LEVEL_Z = 0.8416, 1.96
_MOST_SAMPLES = 100_000

Standing: TypeAlias = Literal["best", "not worse", "worse", "cannot tell"]


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
    brier: float | None
    cost_usd: float | None
    """What was paid for it in this run; answers that were there already cost nothing."""
    usd_per_1000: float | None
    """USD for 1,000 images asked about anew; 0: nothing, None: the price is not known."""
    seconds: float | None
    """From the first image to the last, as it was run."""
    seconds_per_image: float | None
    """None where embeddings or answers were there already, so that the time says little."""
    images_per_second: float | None
    abstained_rate: float
    error_rate: float
    on_front: bool
    """Whether nothing else is both at least as cheap and at least as accurate (Pareto front)."""


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
class Verdict:
    """How a record stands beside the most accurate one."""

    name: str
    difference: float
    """Its accuracy minus that of the most accurate one."""
    low: float
    """Lower end of the score interval of the difference; all of a comparison hold together at
    95 % (Bonferroni)."""
    high: float
    standing: Standing
    """"not worse": the whole interval is above minus the margin; "worse": it is below 0, and not
    above minus the margin; "cannot tell": neither."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which record is the cheapest that is not worse than the most accurate one."""

    name: str | None
    """None if no price is known."""
    best: str
    """The most accurate; of equally accurate ones the cheapest."""
    margin: float
    """Worse by less than this share of samples is called not worse."""
    verdicts: tuple[Verdict, ...]
    """In the order of `Comparison.records`."""
    settled: bool
    """False where a cheaper one may or may not be as good: the data cannot tell."""
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` found; the most accurate record comes first."""

    n_samples: int
    records: tuple[Compared, ...]
    pairs: tuple[PairTest, ...]
    """Every pair; a stands before b in `records`."""
    choice: Choice
    """Which one to take, given what they cost."""

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        best, second = self.records[0], self.records[1]
        pair = self.pairs[0]
        points = f"{plain_points(abs(pair.difference))} points"
        span = f"95% interval {-pair.high * 100:+.1f} to {-pair.low * 100:+.1f}"
        p = chance(pair.p_holm) + (" after correction" if len(self.pairs) > 1 else "")
        if pair.difference == 0:
            level = [r.name for r in self.records if r.accuracy == best.accuracy]
            return (
                f"{joined(level)} are equally accurate on these "
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
        keys = ("name", "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "n_errors",
                "usd_per_1000")  # fmt: skip
        text = f"{self.sentence} {self.choice.sentence}"
        return html_table(text, keys, ([row[k] for k in keys] for row in self.rows()))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "n_samples": self.n_samples,
            "sentence": self.sentence,
            "records": self.rows(),
            "pairs": self.pair_rows(),
            "choice": dataclasses.asdict(self.choice),
        }

    def to_pandas(self) -> Any:
        """Return the records as a pandas DataFrame (extra ``pandas``)."""
        return need("pandas", extra="pandas", what="A comparison as a DataFrame").DataFrame(
            self.rows()
        )


def compare(
    records: Sequence[Record],
    *,
    names: Sequence[str] | None = None,
    margin: float = 0.02,
    random_state: int = 0,
) -> Comparison:
    """Compare records on the same samples, to see whether one way is really better.

    Samples are joined by id, or by the name of the image where there are no ids; never by
    position. Every pair gets an exact McNemar test and a paired bootstrap interval; p-values are
    corrected over all pairs by Holm's method. Errors and abstentions count as not right.

    `Comparison.choice` says which record is the cheapest that is not worse. Not worse means: the
    score interval of its accuracy minus that of the most accurate record lies above ``-margin``,
    with 95 % certainty for all records together. Where no cheaper record is shown to be not
    worse, the sentence says whether they are worse or the samples are too few to tell.

    Parameters
    ----------
    records : sequence of Record, at least two
    names : sequence of str, optional
        What to call them; their own names, made different by numbers, if not given.
    margin : float, default=0.02
        Accuracy that does not matter, as a share of all samples: 0.02 is two points.
    random_state : int, default=0
        Of the bootstrap.

    Returns
    -------
    comparison : Comparison

    Raises
    ------
    InputError
        If the records do not hold the same samples with the same true labels; the message says
        what differs. If `margin` is not between 0 and 1.

    References
    ----------
    METHODS 15: paired tests (exact McNemar), Holm over all pairs. Tango (1998), Equivalence test
    and confidence interval for the difference in proportions for the paired-sample design,
    Statistics in Medicine 17 (not worse).
    """
    records = list(records)
    if not 0 < margin < 1:
        raise InputError(f"`margin` is a share between 0 and 1 (0.02: two points), got {margin!r}.")
    if len(records) < 2:
        raise InputError(f"Comparing needs at least two records, got {len(records)}.")
    shown = _names(records, names)
    order = [
        _order(records[0], record, shown[0], name)
        for record, name in zip(records, shown, strict=True)
    ]
    correct = [record.correct[rows] for record, rows in zip(records, order, strict=True)]
    prices = [_usd_per_1000(record) for record in records]
    ranking = sorted(
        range(len(records)), key=lambda i: (-correct[i].sum(), _or_infinite(prices[i]), i)
    )
    pairs = []
    for i, j in combinations(ranking, 2):
        test = m.mcnemar_exact(correct[i], correct[j])
        boot = m.paired_bootstrap(
            correct[i].astype(float), correct[j].astype(float), random_state=random_state
        )
        pairs.append((i, j, test, boot))
    corrected = m.holm([test.p_value for _, _, test, _ in pairs])
    front = _front([int(c.sum()) for c in correct], prices)
    compared = tuple(
        _compared(records[i], shown[i], prices[i], on_front=i in front) for i in ranking
    )
    return Comparison(
        n_samples=len(records[0]),
        records=compared,
        choice=_choice(compared, [correct[i] for i in ranking], margin),
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


def _usd_per_1000(record: Record) -> float | None:
    """Price 1,000 images; answers that were there already count at what they cost once."""
    price = record.run.get("price_usd", record.cost_usd)  # scored answers have only the latter
    return None if price is None else float(1000 * Decimal(str(price)) / len(record))


def _usd(usd: float | None) -> str:
    """Write a price of 1,000 images."""
    shown = price(usd)
    return f"{shown} per 1,000" if usd else "free" if usd == 0 else "price unknown"


def _or_infinite(price: float | None) -> float:
    return float("inf") if price is None else price


def _front(right: Sequence[int], prices: Sequence[float | None]) -> set[int]:
    """Find the records that no other beats in price and accuracy; unknown prices are no part."""
    known = [(price, -n, i) for i, (n, price) in enumerate(zip(right, prices, strict=True))
             if price is not None]  # fmt: skip
    return {
        i
        for price, wrong, i in known
        if not any(p <= price and w <= wrong and (p, w) != (price, wrong) for p, w, _ in known)
    }


def _choice(
    records: Sequence[Compared], correct: Sequence[NDArray[np.bool_]], margin: float
) -> Choice:
    """Choose the cheapest record that is not worse than the first."""
    best, n = records[0], len(correct[0])
    level = 1 - LEVEL / (len(records) - 1)
    verdicts = [Verdict(name=best.name, difference=0.0, low=0.0, high=0.0, standing="best")]
    discordant = {best.name: 0.0}
    for record, right in zip(records[1:], correct[1:], strict=True):
        found = m.paired_difference(correct[0], right, level=level)
        standing: Standing = "cannot tell"
        if found.low > -margin:
            standing = "not worse"
        elif found.high < 0:
            standing = "worse"
        discordant[record.name] = float((correct[0] != right).mean())
        verdicts.append(
            Verdict(
                name=record.name,
                difference=found.difference,
                low=found.low,
                high=found.high,
                standing=standing,
            )
        )
    by_name = {v.name: v for v in verdicts}
    priced = sorted(
        (r for r in records if r.usd_per_1000 is not None),
        key=lambda r: (_or_infinite(r.usd_per_1000), -r.accuracy),
    )
    taken = next((r for r in priced if by_name[r.name].standing in ("best", "not worse")), None)
    limit = _or_infinite((taken or best).usd_per_1000)
    cheaper = [r for r in priced if _or_infinite(r.usd_per_1000) < limit]
    open_ = [by_name[r.name] for r in cheaper if by_name[r.name].standing == "cannot tell"]
    sentence = _which_to_take(
        best=best,
        taken=taken,
        verdict=None if taken is None else by_name[taken.name],
        n_cheaper=len(cheaper),
        unclear=[(v, next(r for r in cheaper if r.name == v.name)) for v in open_],
        needed=_samples_needed(open_, discordant, margin),
        n=n,
        margin=margin,
        unpriced=[r.name for r in records if r.usd_per_1000 is None],
    )
    return Choice(
        name=None if taken is None else taken.name,
        best=best.name,
        margin=margin,
        verdicts=tuple(verdicts),
        settled=taken is not None and not open_,
        sentence=sentence,
    )


def _samples_needed(
    open_: Sequence[Verdict], discordant: dict[str, float], margin: float
) -> int | None:
    """About how many samples would show the first of them not worse, if it stays as it looks."""
    for verdict in open_:
        room = verdict.difference + margin
        share = max(discordant[verdict.name], 0.01) - verdict.difference**2
        if room <= 0:
            continue
        n = (_LEVEL_Z + _POWER_Z) ** 2 * share / room**2
        if n <= _MOST_SAMPLES:
            return int(np.ceil(n / 10) * 10)
    return None


def _which_to_take(
    *,
    best: Compared,
    taken: Compared | None,
    verdict: Verdict | None,
    n_cheaper: int,
    unclear: Sequence[tuple[Verdict, Compared]],
    needed: int | None,
    n: int,
    margin: float,
    unpriced: Sequence[str],
) -> str:
    """Say it in a sentence, and a second one where prices are unknown."""
    within = f"{margin * 100:g} points"
    left_out = ""
    if unpriced:
        left_out = (
            f" The price of {joined(unpriced)} is not known, so "
            f"{'it is' if len(unpriced) == 1 else 'they are'} not weighed."
        )
    if taken is None:
        if n_cheaper:
            return (
                f"None with a known price is shown to be within {within} of {best.name}, the most "
                f"accurate on these {n:,} samples.{left_out}"
            )
        return "No price is known, so which is the cheapest cannot be said."
    cost = _usd(taken.usd_per_1000)
    if unclear:
        first, record = unclear[0]
        more = f" About {needed:,} samples would tell, if it goes on like this." if needed else ""
        return (
            f"These {n:,} samples cannot tell whether {first.name} ({_usd(record.usd_per_1000)}) "
            f"is as good as {best.name} ({_usd(best.usd_per_1000)}): it may be anything from "
            f"{-first.low * 100:.1f} points behind to {max(first.high, 0) * 100:.1f} ahead. Until "
            f"more is known, {taken.name} ({cost}) is the cheapest shown to be not worse."
            f"{more}{left_out}"
        )
    if taken.name != best.name and verdict is not None:
        level_with = "just as accurate"
        if verdict.difference < 0:
            level_with = f"{-verdict.difference * 100:.1f} points behind"
        return (
            f"{taken.name} ({cost}) is the cheapest that is not worse: {level_with} as seen, and "
            f"with 95% certainty less than {within} behind {best.name} "
            f"({_usd(best.usd_per_1000)}).{left_out}"
        )
    if n_cheaper:
        return (
            f"{best.name} ({cost}) is the cheapest that is not worse: "
            f"{'the cheaper one is' if n_cheaper == 1 else f'all {n_cheaper} cheaper ones are'} "
            f"shown to be worse.{left_out}"
        )
    return f"{best.name} ({cost}) is the most accurate, and none is cheaper.{left_out}"


def _compared(record: Record, name: str, price: float | None, *, on_front: bool) -> Compared:
    """Pick the numbers of one record."""
    values = record.metrics
    seconds = record.run.get("seconds")
    speed = record.run.get("images_per_second")
    n = len(record)
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
                "brier",
                "cost_usd",
            )
        },
        usd_per_1000=price,
        seconds=seconds,
        seconds_per_image=None if not speed else 1 / speed,
        images_per_second=speed,
        abstained_rate=values["n_abstained"] / n,
        error_rate=values["n_errors"] / n,
        on_front=on_front,
    )
