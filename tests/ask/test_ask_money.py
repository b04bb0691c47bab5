"""Prices as they are written, and sums that code does."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from showtell.ask.money import parse_amount, parse_price, show_amount
from showtell.ask.receipt import CountRange, Item, PriceRow, calculate, merge_counts


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("$0.50", "0.50"),
        ("1,20 €", "1.20"),
        ("€1.299,95", "1299.95"),
        ("$1,299.95", "1299.95"),
        ("CHF 1'299.95", "1299.95"),
        ("1\u202f299,95 €", "1299.95"),
        ("1.299.000", "1299000"),
        ("0.125", "0.125"),
        ("25,-", "25"),
        ("-3.50", "-3.50"),
    ],
)
def test_prices_of_all_countries_are_read_exactly(text, amount):
    assert parse_amount(text) == Decimal(amount)


@pytest.mark.parametrize(
    "text", ["1.250", "1,250", "", "free", "3 for 5", "1.2.3", "1,29.000,5", "12.5.2026"]
)
def test_what_may_mean_two_amounts_means_none(text):
    assert parse_amount(text) is None


@given(some.decimals(min_value=0, max_value=999_999, places=2))
def test_a_price_with_cents_is_read_as_it_is_written_in_both_ways_of_writing(amount):
    english = f"{amount:,.2f}"
    german = english.replace(",", " ").replace(".", ",").replace(" ", ".")
    assert parse_amount(english) == parse_amount(german) == amount


@given(some.text(max_size=40))
def test_any_text_is_an_amount_or_none(text):
    found = parse_amount(text)
    assert found is None or found.is_finite()


def test_currencies_are_read_from_signs_and_codes():
    said = ["$5", "US$5", "C$5", "5 €", "EUR 5", "5 CHF", "£5", "5"]
    found = [parse_price(text).currency for text in said]
    assert found == ["USD", "USD", "CAD", "EUR", "EUR", "CHF", "GBP", ""]


def counted(**counts):
    return [Item(name=name, count=CountRange(counts=(n,))) for name, n in counts.items()]


def row(name, price, unit="each"):
    return PriceRow(name=name, price=price, unit=unit)


def test_a_basket_comes_to_what_decimals_say():
    items = counted(apple=3, orange=2, lime=4)
    rows = [row("apple", "$0.50"), row("orange", "$1.20"), row("lime", "$0.25")]
    found = calculate(items, rows)
    assert found.total == Decimal("4.90")
    assert [line.subtotal for line in found.lines] == [Decimal("1.50"), Decimal("2.40"), 1]
    assert (found.currency, found.is_complete) == ("USD", True)


def test_three_times_ten_cents_are_thirty_cents():
    assert calculate(counted(sweet=3), [row("sweets", "0.10")]).total == Decimal("0.3")


def test_a_price_by_weight_gives_no_sum_for_things_that_were_counted():
    found = calculate(counted(apple=3, lime=2), [row("apple", "$2", "kg"), row("lime", "$1")])
    assert [line.status for line in found.lines] == ["needs_weight", "ok"]
    assert found.total is None
    assert found.totals == {"USD": Decimal(2)}
    assert found.sentence() == "2.00 USD for what has a price; not counted: apple."


def test_a_missing_row_leaves_a_partial_sum():
    found = calculate(counted(apple=3, plum=2), [row("apple", "$2")])
    assert found.lines[1].status == "no_price"
    assert (found.total, found.totals) == (None, {"USD": Decimal(6)})


def test_currencies_are_never_added_together():
    found = calculate(counted(apple=1, lime=1), [row("apple", "$2"), row("lime", "2 €")])
    assert found.total is None
    assert found.totals == {"USD": Decimal(2), "EUR": Decimal(2)}
    assert found.is_complete


def test_a_row_without_a_sign_has_the_currency_of_its_list():
    found = calculate(counted(apple=1, lime=1), [row("apple", "$2"), row("lime", "3")])
    assert found.totals == {"USD": Decimal(5)}


def test_a_price_that_may_mean_two_things_is_shown_and_not_used():
    found = calculate(counted(apple=1), [row("apple", "1.250")])
    assert found.lines[0].status == "unreadable_price"
    assert "1.250" in found.notes[0]


def test_two_prices_for_one_thing_are_not_chosen_from():
    found = calculate(counted(apple=1), [row("apple", "$1"), row("Apples", "$2")])
    assert found.lines[0].status == "two_prices"


def test_a_wrong_total_of_the_model_is_overruled_and_flagged():
    found = calculate(counted(apple=3), [row("apple", "$0.50")], model_total="$1.65")
    assert (found.total, found.model_total, found.agrees) == (
        Decimal("1.50"),
        Decimal("1.65"),
        False,
    )
    assert "1.65 USD, is wrong" in found.notes[-1]


def test_names_match_without_case_accents_and_plural():
    for item, listed in [("Äpfel", "apfel"), ("berries", "Berry"), ("shoes", "shoe"),
                         ("tomatoes", "Tomato"), ("aubergine", "eggplants")]:  # fmt: skip
        assert calculate(counted(**{item: 1}), [row(listed, "1")]).is_complete, item


def test_runs_that_differ_give_a_range_and_the_count_most_often_given():
    runs = [[{"name": "lime", "count": n}] for n in (4, 5, 4)]
    [item] = merge_counts(runs)
    assert (item.count.mode, item.count.agree, str(item.count)) == (4, False, "4 (4 to 5 in 3)")
    found = calculate([item], [row("lime", "$1")])
    assert found.total == 4
    assert found.notes == ("lime: counted 4 (4 to 5 in 3) times",)


def test_what_one_run_does_not_see_counts_nothing_there():
    [item] = merge_counts([[{"name": "lime", "count": 2}], []])
    assert item.count.counts == (2, 0)


def test_amounts_are_shown_with_cents():
    assert show_amount(Decimal(4), "USD") == "4.00 USD"
