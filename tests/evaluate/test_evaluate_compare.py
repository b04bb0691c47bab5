from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from tests.evaluate.records import make_record

from showtell.errors import InputError
from showtell.evaluate import compare

TRUTH = [0] * 40
ALL = [0] * 40
HALF = [0] * 20 + [1] * 20


def test_the_better_record_comes_first_with_an_exact_test():
    comparison = compare(
        [make_record(HALF, TRUTH, name="half"), make_record(ALL, TRUTH, name="all")]
    )
    assert [r.name for r in comparison.records] == ["all", "half"]
    (pair,) = comparison.pairs
    assert (pair.a, pair.b, pair.n_only_a, pair.n_only_b) == ("all", "half", 20, 0)
    assert pair.difference == -0.5
    assert pair.p_value == pytest.approx(2 * 0.5**20)
    assert pair.low < -0.5 < pair.high < 0
    assert pair.differs
    assert comparison.sentence.startswith("all is better than half by 50.0 points on 40 samples")


def test_p_values_are_corrected_for_all_pairs():
    # 35, 34 and 32 of 40 right: only-one-right counts 1, 3 and 2, all on one side
    def first(n, name):
        return make_record([0] * n + [1] * (40 - n), TRUTH, name=name)

    comparison = compare([first(35, "a"), first(30, "b"), first(29, "c")])
    raw = [pair.p_value for pair in comparison.pairs]
    assert raw == pytest.approx([2 * 0.5**5, 2 * 0.5**6, 1.0])
    assert [pair.p_holm for pair in comparison.pairs] == pytest.approx([0.125, 0.09375, 1.0])
    assert "may well be chance" in comparison.sentence
    assert "after correction" in comparison.sentence


def test_equal_records_are_called_equal():
    comparison = compare([make_record(ALL, TRUTH), make_record(ALL, TRUTH)])
    assert [r.name for r in comparison.records] == ["r #1", "r #2"]
    assert "equally accurate" in comparison.sentence


def test_rows_are_joined_by_name_not_by_position():
    names = [f"{i}.jpg" for i in range(4)]
    a = make_record([0, 1, 0, 1], [0, 1, 1, 1], images=names, name="a")
    order = [2, 0, 3, 1]
    b = make_record(
        [[0, 1, 0, 1][i] for i in order],
        [[0, 1, 1, 1][i] for i in order],
        images=[names[i] for i in order],
        name="b",
    )
    (pair,) = compare([a, b]).pairs
    assert (pair.n_only_a, pair.n_only_b, pair.difference) == (0, 0, 0.0)


def test_ids_win_over_names_and_repeats_are_paired_in_order():
    a = make_record([0, 0], [0, 1], images=["x.jpg", "x.jpg"], ids=["p", "q"])
    b = make_record([0, 0], [1, 0], images=["x.jpg", "x.jpg"], ids=["q", "p"])
    assert compare([a, b]).pairs[0].difference == 0.0
    twice = make_record([0, 0], [0, 1], images=["x.jpg", "x.jpg"])
    assert compare([twice, twice], names=["a", "b"]).pairs[0].n_only_a == 0


def test_other_samples_are_refused_and_named():
    a = make_record([0, 1], [0, 1], images=["1.jpg", "2.jpg"], name="monday")
    b = make_record([0, 1], [0, 1], images=["2.jpg", "3.jpg"], name="friday")
    with pytest.raises(
        InputError,
        match=r"1 only in 'monday' \(for example '1.jpg'\) and 1 only in 'friday' "
        r"\(for example '3.jpg'\), 1 in both",
    ):
        compare([a, b])


def test_other_truths_are_refused_and_named():
    a = make_record([0, 1], [0, 1], name="a")
    b = make_record([0, 1], [0, 0], name="b")
    with pytest.raises(
        InputError, match=r"true label of 1 samples, for example '1.jpg': 'dog' and 'cat'"
    ):
        compare([a, b])


def test_label_order_does_not_matter():
    a = make_record([0, 1, 1], [0, 1, 0], name="a")
    b = make_record([1, 0, 0], [1, 0, 1], classes=("dog", "cat"), name="b")
    comparison = compare([a, b])
    assert comparison.pairs[0].difference == 0.0


def test_comparing_needs_two_and_different_names():
    one = make_record(ALL, TRUTH)
    with pytest.raises(InputError, match="at least two"):
        compare([one])
    with pytest.raises(InputError, match="2 different names"):
        compare([one, one], names=["x", "x"])


def test_rows_and_json_hold_the_numbers():
    comparison = compare(
        [make_record(HALF, TRUTH, name="half"), make_record(ALL, TRUTH, name="all")]
    )
    value = comparison.to_dict()
    assert value["records"][0]["accuracy"] == 1.0
    assert value["pairs"][0]["differs"] is True
    table = comparison.to_pandas()
    assert table["name"].tolist() == ["all", "half"]
    np.testing.assert_allclose(table["accuracy"], [1.0, 0.5])


def test_all_records_that_are_level_are_named():
    level = [make_record([0, 1], [0, 1], name=name) for name in ("x", "y", "z")]
    worse = make_record([1, 0], [0, 1], name="w")
    assert compare([*level, worse]).sentence.startswith("x, y and z are equally accurate on these")


def test_a_comparison_shows_itself_as_a_table_in_a_notebook():
    text = compare([make_record([0, 1], [0, 1], name="<b>"), make_record([0, 0], [0, 1])])
    assert "&lt;b&gt;" in text._repr_html_()
    assert "<b>" not in text._repr_html_()
    assert "<td>0.500</td>" in text._repr_html_()


N = 2000


def priced(name, n_right, price, n=N):
    """The first `n_right` of `n` samples right, at a price in USD for 1,000."""
    codes = [0] * n_right + [1] * (n - n_right)
    record = make_record(codes, [0] * n, name=name)
    usd = None if price is None else str(Decimal(str(price)) * n / 1000)
    record.run.update(price_usd=usd, seconds=8.0)
    return record


def test_the_cheapest_that_is_not_worse_is_named():
    found = compare([priced("dear", 1900, 5), priced("cheap", 1895, 0.5), priced("bad", 1500, 0)])
    choice = found.choice
    assert (choice.name, choice.best, choice.settled) == ("cheap", "dear", True)
    assert [v.standing for v in choice.verdicts] == ["best", "not worse", "worse"]
    assert choice.sentence == (
        "cheap ($0.50 per 1,000) is the cheapest that is not worse: 0.2 points behind as seen, and "
        "with 95% certainty less than 2 points behind dear ($5.00 per 1,000)."
    )
    assert {r.name for r in found.records if r.on_front} == {"dear", "cheap", "bad"}
    assert [r.usd_per_1000 for r in found.records] == [5.0, 0.5, 0.0]


def test_where_the_samples_cannot_tell_the_sentence_says_so_and_how_many_would():
    found = compare([priced("dear", 95, 5, 100), priced("cheap", 94, 0.5, 100)])
    choice = found.choice
    assert (choice.name, choice.settled) == ("dear", False)
    assert choice.verdicts[1].standing == "cannot tell"
    assert choice.sentence.startswith("These 100 samples cannot tell whether cheap ($0.50 per")
    assert "samples would tell" in choice.sentence
    # Two that are right on the same few samples are not shown to be level by that.
    same = compare([priced("dear", 10, 5, 10), priced("cheap", 10, 0.5, 10)])
    assert same.choice.best == "cheap"
    assert (
        same.choice.sentence == "cheap ($0.50 per 1,000) is the most accurate, and none is cheaper."
    )


def test_where_all_cheaper_ones_are_worse_the_best_is_worth_its_price():
    found = compare([priced("dear", 1900, 5), priced("a", 1700, 0.5), priced("b", 1500, 0)])
    assert (found.choice.name, found.choice.settled) == ("dear", True)
    assert "all 2 cheaper ones are shown to be worse" in found.choice.sentence


def test_a_wider_margin_lets_more_be_not_worse():
    records = [priced("dear", 1900, 5), priced("cheap", 1820, 0.5)]
    assert compare(records).choice.name == "dear"
    assert compare(records, margin=0.1).choice.name == "cheap"
    for margin in (0, 1, -0.1):
        with pytest.raises(InputError, match="`margin` is a share"):
            compare(records, margin=margin)


def test_an_unknown_price_is_not_nothing_and_not_weighed():
    found = compare([priced("best", 1900, None), priced("known", 1895, 1)])
    assert found.choice.name == "known"
    assert "The price of best is not known, so it is not weighed." in found.choice.sentence
    assert {r.name for r in found.records if r.on_front} == {"known"}
    none = compare([priced("a", 1900, None), priced("b", 1800, None)])
    assert (none.choice.name, none.choice.settled) == (None, False)
    assert none.choice.sentence.startswith("No price is known")
    worse = compare([priced("best", 1900, None), priced("known", 1200, 1)])
    assert worse.choice.name is None
    assert worse.choice.sentence.startswith(
        "None with a known price is shown to be within 2 points"
    )


def test_what_something_beats_in_price_and_accuracy_is_not_on_the_front():
    found = compare(
        [priced("a", 1900, 5), priced("b", 1900, 4), priced("c", 1000, 4), priced("d", 900, 0)]
    )
    assert {r.name for r in found.records if r.on_front} == {"b", "d"}
    assert found.records[0].name == "b"  # as accurate as a, and cheaper


def test_time_for_each_is_left_out_where_it_would_say_little():
    record = priced("a", 1900, 5)
    kept = priced("b", 1800, 5)
    kept.run["images_per_second"] = None
    rows = {row["name"]: row for row in compare([record, kept]).rows()}
    assert rows["a"]["seconds_per_image"] == pytest.approx(0.1)
    assert (rows["b"]["seconds_per_image"], rows["b"]["seconds"]) == (None, 8.0)
