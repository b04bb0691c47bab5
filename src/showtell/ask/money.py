"""Prices as people write them, as exact decimals: never a guess, never a binary fraction."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

CURRENCIES = {
    "$": "USD",
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
    "₹": "INR",
    "₩": "KRW",
    "₽": "RUB",
    "₺": "TRY",
    "zł": "PLN",
    "kr": "kr",
    "Fr.": "CHF",
}
"""Signs of currencies, and what they are taken for; a dollar sign alone is a US dollar."""

_NUMBER = re.compile(r"(?<![\d.,'])([-−]?)(\d[\d.,'\u00a0\u202f ]*\d|\d)(?![\d])")
_CODE = re.compile(r"\b([A-Z]{3})\b")
_PREFIXED = re.compile(r"\b(US|CA|AU|NZ|HK|SG|C|A)\$")
_DOLLARS = {
    "US": "USD", "CA": "CAD", "C": "CAD", "AU": "AUD", "A": "AUD", "NZ": "NZD", "HK": "HKD",
    "SG": "SGD",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Price:
    """An amount of money."""

    amount: Decimal
    currency: str
    """ISO code, the sign where there is no code for it, or "" where none is written."""

    def __str__(self) -> str:
        return show_amount(self.amount, self.currency)


def show_amount(amount: Decimal, currency: str) -> str:
    """Write an amount with at least two decimals.

    Examples
    --------
    >>> show_amount(Decimal("4.9"), "USD"), show_amount(Decimal("1299.955"), "")
    ('4.90 USD', '1299.955')
    """
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent > -2:
        amount = amount.quantize(Decimal("0.01"))
    return f"{amount} {currency}".strip()


def parse_amount(text: str) -> Decimal | None:
    """Read one number as it is written in any country.

    The last of dot and comma is the decimal sign if both occur, or if fewer or more than three
    digits follow it. One sign with exactly three digits after it may be either: None.

    Parameters
    ----------
    text : str
        Exactly one number among other signs.

    Returns
    -------
    amount : Decimal or None
        None if there is no number, more than one, or one that may mean two things.

    Examples
    --------
    >>> [str(parse_amount(t)) for t in ("1,20", "1.299,95", "1,299.95", "1'299.95", "0.125")]
    ['1.20', '1299.95', '1299.95', '1299.95', '0.125']
    >>> parse_amount("1.250") is None
    True
    """
    found = _NUMBER.findall(text)
    if len(found) != 1:
        return None
    sign, digits = found[0]
    digits = re.sub(r"['\u00a0\u202f ]", "", digits)
    signs = [c for c in digits if c in ".,"]
    if not signs:
        return _decimal(sign, digits)
    last = signs[-1]
    whole, _, rest = digits.rpartition(last)
    groups = re.split(r"[.,]", whole)
    if len(set(signs)) == 1:
        if len(signs) > 1:  # 1.299.000
            grouped = all(len(g) == 3 for g in (*groups[1:], rest)) and len(groups[0]) <= 3
            return _decimal(sign, digits.replace(last, "")) if grouped else None
        if len(rest) == 3 and whole.strip("0") and len(whole) <= 3:
            return None  # 1.250: a thousand and more, or one and a quarter
        return _decimal(sign, f"{whole}.{rest}")
    if signs.count(last) > 1 or not all(len(g) == 3 for g in groups[1:]) or len(groups[0]) > 3:
        return None
    return _decimal(sign, f"{''.join(groups)}.{rest}")


def _decimal(sign: str, digits: str) -> Decimal:
    return Decimal(f"{'-' if sign else ''}{digits}")


def parse_price(text: str, currency: str | None = None) -> Price | None:
    """Read a price with its currency.

    Parameters
    ----------
    text : str
        Such as ``"$0.50"`` or ``"1,20 €"``.
    currency : str, optional
        Where the text names none: a sign or an ISO code.

    Returns
    -------
    price : Price or None
        None if the amount cannot be told.

    Examples
    --------
    >>> str(parse_price("$0.50")), str(parse_price("€1.299,95")), parse_price("1.250 EUR")
    ('0.50 USD', '1299.95 EUR', None)
    """
    amount = parse_amount(text)
    if amount is None:
        return None
    return Price(amount=amount, currency=_currency(text) or _currency(currency or "") or "")


def _currency(text: str) -> str | None:
    if (dollar := _PREFIXED.search(text)) is not None:
        return _DOLLARS[dollar[1]]
    for sign, code in CURRENCIES.items():
        if sign in text:
            return code
    found = _CODE.search(text)
    return found[1] if found else None
