"""What things cost together: the model counts and copies, code multiplies and adds."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from showtell.ask.money import parse_price, show_amount

LineStatus: TypeAlias = Literal["ok", "needs_weight", "no_price", "unreadable_price", "two_prices"]

_EACH = ("each", "piece", "pc", "pcs", "ea", "stk", "stück", "pièce", "unit", "")
_SAME = {
    "aubergine": "eggplant", "courgette": "zucchini", "clementine": "mandarin",
    "tangerine": "mandarin", "bilberry": "blueberry", "coriander": "cilantro",
    "capsicum": "bell pepper", "rocket": "arugula",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CountRange:
    """How many there are by several runs of the same question."""

    counts: tuple[int, ...]

    @property
    def mode(self) -> int:
        """The count most often given; of those that tie, the smallest."""
        counted = Counter(self.counts)
        return min(counted, key=lambda n: (-counted[n], n))

    @property
    def agree(self) -> bool:
        """Whether all runs gave the same."""
        return len(set(self.counts)) == 1

    def __str__(self) -> str:
        low, high = min(self.counts), max(self.counts)
        return str(low) if low == high else f"{self.mode} ({low} to {high} in {len(self.counts)})"


@dataclass(frozen=True, kw_only=True)
class Item:
    """Things of one kind that were counted."""

    name: str
    count: CountRange
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PriceRow:
    """A price as it is written."""

    name: str
    price: str
    unit: str
    """Each, kg, g, lb, bunch, pack, l, or unknown."""
    currency: str = ""
    row_text: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """One kind of thing in a calculation."""

    name: str
    count: CountRange
    price: Decimal | None
    currency: str
    unit: str
    subtotal: Decimal | None
    status: LineStatus
    note: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Calculation:
    """A sum, line by line, with the model's own beside ours."""

    lines: tuple[Line, ...]
    totals: Mapping[str, Decimal]
    """Currency to what the lines of that currency come to."""
    is_complete: bool
    """Whether every kind of thing has a subtotal; else `totals` are partial."""
    model_total: Decimal | None = None
    """What the model says that it comes to; never used."""
    agrees: bool | None = None
    """Whether the model's total is ours; None where either is missing."""
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def total(self) -> Decimal | None:
        """The sum, if every line has a subtotal and all are of one currency."""
        if not self.is_complete or len(self.totals) != 1:
            return None
        return next(iter(self.totals.values()))

    @property
    def currency(self) -> str:
        """Of the total; "" where there are several or none is written."""
        return next(iter(self.totals)) if len(self.totals) == 1 else ""

    def sentence(self) -> str:
        """Say what it comes to."""
        if not self.totals:
            return "Nothing has a price that can be added up."
        sums = " and ".join(show_amount(v, c) for c, v in self.totals.items())
        if not self.is_complete:
            missing = ", ".join(line.name for line in self.lines if line.subtotal is None)
            return f"{sums} for what has a price; not counted: {missing}."
        return f"{sums}."

    def rows(self) -> list[dict[str, Any]]:
        """Give one row per line, for a table."""
        return [
            {
                "name": line.name,
                "count": line.count.mode,
                "counts": list(line.count.counts),
                "price": None if line.price is None else str(line.price),
                "currency": line.currency,
                "unit": line.unit,
                "subtotal": None if line.subtotal is None else str(line.subtotal),
                "status": line.status,
                "note": line.note,
                "evidence": list(line.evidence),
            }
            for line in self.lines
        ]


def merge_counts(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[Item]:
    """Join what several runs counted.

    Parameters
    ----------
    runs : sequence of sequence of mapping
        Per run the items, each with "name", "count" and "evidence".

    Returns
    -------
    items : list of Item
        A kind that a run does not name counts 0 there. Two rows of one kind in a run are added.

    Examples
    --------
    >>> [item] = merge_counts([[{"name": "limes", "count": 4}], [{"name": "Lime", "count": 5}]])
    >>> item.name, str(item.count), item.count.agree
    ('limes', '4 (4 to 5 in 2)', False)
    """
    names: dict[str, str] = {}
    evidence: dict[str, dict[str, None]] = {}
    counts: list[Counter[str]] = []
    for run in runs:
        counted: Counter[str] = Counter()
        for row in run:
            key = _key(str(row["name"]))
            names.setdefault(key, str(row["name"]))
            evidence.setdefault(key, {}).update(dict.fromkeys(row.get("evidence", ())))
            counted[key] += int(row["count"])
        counts.append(counted)
    return [
        Item(
            name=name,
            count=CountRange(counts=tuple(counted[key] for counted in counts)),
            evidence=tuple(evidence[key]),
        )
        for key, name in names.items()
    ]


def calculate(
    items: Sequence[Item],
    prices: Sequence[PriceRow],
    *,
    matches: Mapping[str, int | None] | None = None,
    model_total: str | None = None,
) -> Calculation:
    """Multiply and add.

    Parameters
    ----------
    items : sequence of Item
    prices : sequence of PriceRow
    matches : mapping of str to int or None, optional
        Name of an item to the row of its price, for names that differ. Without it names are equal
        when letter case, accents, plural and a few other names for the same do not count.
    model_total : str, optional
        The model's own sum, to be compared.

    Returns
    -------
    calculation : Calculation
        A price by weight or bunch gives no subtotal for things that were counted, nor does one
        that may mean two things. Currencies are never added together.

    Examples
    --------
    >>> counted = merge_counts([[{"name": "apples", "count": 3}, {"name": "limes", "count": 2}]])
    >>> rows = [PriceRow(name="Apple", price="$0.50", unit="each"),
    ...         PriceRow(name="Lime", price="$1.20", unit="each")]
    >>> found = calculate(counted, rows, model_total="$4.00")
    >>> str(found.total), found.agrees, found.sentence()
    ('3.90', False, '3.90 USD.')
    """
    usual = _usual_currency(prices)
    lines = [_line(item, prices, matches or {}, usual) for item in items]
    totals: dict[str, Decimal] = {}
    for line in lines:
        if line.subtotal is not None:
            totals[line.currency] = totals.get(line.currency, Decimal(0)) + line.subtotal
    complete = bool(lines) and all(line.subtotal is not None for line in lines)
    own = None if model_total is None else parse_price(model_total)
    ours = next(iter(totals.values())) if complete and len(totals) == 1 else None
    notes = [f"{line.name}: {line.note}" for line in lines if line.note]
    agrees = None if own is None or ours is None else own.amount == ours
    if agrees is False and own is not None and ours is not None:
        notes.append(f"The model's own total, {own}, is wrong.")
    if len(totals) > 1:
        notes.append("Prices are of several currencies: one total for each.")
    return Calculation(
        lines=tuple(lines),
        totals=totals,
        is_complete=complete,
        model_total=None if own is None else own.amount,
        agrees=agrees,
        notes=tuple(notes),
    )


def _usual_currency(prices: Sequence[PriceRow]) -> str | None:
    """Find the one currency that is written, for rows of a list that leave it out."""
    written = {p.currency for row in prices if (p := parse_price(row.price, row.currency))} - {""}
    return next(iter(written)) if len(written) == 1 else None


def _line(
    item: Item, prices: Sequence[PriceRow], matches: Mapping[str, int | None], usual: str | None
) -> Line:
    def line(
        status: LineStatus, note: str, row: PriceRow | None = None, price: Decimal | None = None,
        currency: str = "", subtotal: Decimal | None = None,
    ) -> Line:  # fmt: skip
        return Line(
            name=item.name,
            count=item.count,
            price=price,
            currency=currency,
            unit="" if row is None else row.unit,
            subtotal=subtotal,
            status=status,
            note=note,
            evidence=tuple(dict.fromkeys(item.evidence + (() if row is None else row.evidence))),
        )

    rows = _rows_for(item.name, prices, matches)
    if not rows:
        return line("no_price", "no row has its price")
    row = rows[0]
    if len({(r.price, r.unit) for r in rows}) > 1:
        said = " or ".join(dict.fromkeys(r.price for r in rows))
        return line("two_prices", f"there are several prices: {said}", row)
    price = parse_price(row.price, row.currency or usual)
    if price is None:
        return line("unreadable_price", f"{row.price!r} may mean several amounts", row)
    if row.unit.strip().casefold().rstrip(".") not in _EACH:
        unit = "a unit that is not said" if row.unit == "unknown" else row.unit
        note = f"the price is per {unit}; a count gives no sum"
        return line("needs_weight", note, row, price.amount, price.currency)
    note = "" if item.count.agree else f"counted {item.count} times"
    subtotal = item.count.mode * price.amount
    return line("ok", note, row, price.amount, price.currency, subtotal)


def _rows_for(
    name: str, prices: Sequence[PriceRow], matches: Mapping[str, int | None]
) -> list[PriceRow]:
    key = _key(name)
    found = [row for row in prices if _key(row.name) == key]
    if found:
        return found
    place = matches.get(name)
    return [prices[place]] if place is not None and 0 <= place < len(prices) else []


def _key(name: str) -> str:
    """Fold case, accents, plural and other names for the same."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    words = re.findall(r"[^\W_]+", plain)
    words = [_singular(word) for word in words if word not in ("a", "an", "the", "fresh")]
    joined = " ".join(words)
    return _SAME.get(joined, joined)


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if re.search(r"(?:ss|x|zz|ch|sh|[^h]o)es$", word):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
