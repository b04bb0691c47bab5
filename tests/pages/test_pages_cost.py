"""What accuracy costs, drawn: places of points, columns for free and unknown, the front."""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal

import numpy as np
import pytest
from tests.evaluate.records import make_record

from showtell.evaluate import compare
from showtell.evaluate.pages.cost import Way, draw_cost_accuracy

N = 1000


def way(name, accuracy, price, **more):
    more = {"on_front": True, **more}
    return Way(
        name=name, accuracy=accuracy, low=accuracy - 0.03, high=accuracy + 0.03,
        usd_per_1000=price, **more,
    )  # fmt: skip


def spots(picture):
    found = re.findall(r'<circle class="dot[^"]*" data-way="([^"]*)" cx="([\d.]+)" cy="([\d.]+)"',
                       str(picture))  # fmt: skip
    return {name: (float(x), float(y)) for name, x, y in found}


def test_equal_factors_of_price_are_equal_distances_and_free_is_left_of_all():
    at = spots(
        draw_cost_accuracy(
            [way("a", 0.5, 0.1), way("b", 0.6, 1.0), way("c", 0.7, 10.0), way("none", 0.4, 0.0)]
        )
    )
    assert at["b"][0] - at["a"][0] == pytest.approx(at["c"][0] - at["b"][0], abs=0.2)
    assert at["none"][0] < at["a"][0]
    assert at["a"][1] - at["b"][1] == pytest.approx(at["b"][1] - at["c"][1], abs=0.2)


def test_an_unknown_price_stands_apart_and_is_not_joined():
    picture = str(
        draw_cost_accuracy(
            [way("a", 0.5, 0.1), way("b", 0.6, 1.0), way("x", 0.9, None, on_front=False)]
        )
    )
    at = spots(picture)
    assert at["x"][0] > at["b"][0]
    assert 'class="dot hollow" data-way="x"' in picture
    assert "price unknown" in picture
    front = re.search(r'class="front" points="([^"]+)"', picture)[1]
    assert max(float(p.split(",")[0]) for p in front.split()) < at["x"][0]
    assert str(at["x"][1]) not in front
    assert "price unknown" not in str(draw_cost_accuracy([way("a", 0.5, 0.1), way("b", 0.6, 1)]))


def test_points_on_each_other_are_put_side_by_side():
    at = spots(draw_cost_accuracy([way("a", 0.5, 0.0), way("b", 0.5, 0.0), way("c", 0.5, 1.0)]))
    assert abs(at["a"][0] - at["b"][0]) >= 13
    assert at["a"][1] == at["b"][1]


def test_names_are_text_whatever_they_hold():
    picture = str(draw_cost_accuracy([way("<b>&", 0.5, 0.0), way("b", 0.6, 1.0)]))
    assert "<b>" not in picture
    assert "&lt;b&gt;&amp;" in picture


@pytest.mark.parametrize("price", [0.0, None])
def test_nothing_is_drawn_where_there_is_nothing_to_weigh(price):
    assert draw_cost_accuracy([way("a", 0.5, price), way("b", 0.6, price)]) is None


@pytest.mark.parametrize("prices", [(1e-6, 1e4), (3.0, 3.0), (0.0, 2e-3), (5.0, None)])
def test_any_range_of_prices_stays_inside(prices):
    ways = [way(f"w{i}", 0.02 + 0.95 * i, p) for i, p in enumerate(prices)]
    ways = [dataclasses.replace(w, low=max(w.low, 0), high=min(w.high, 1)) for w in ways]
    picture = str(draw_cost_accuracy(ways, margin=0.02))
    for x, y in spots(picture).values():
        assert 60 <= x <= 744
        assert 18 <= y <= 368
    assert len(re.findall(r'class="tick mid"', picture)) <= 10


def priced(name, n_right, price, *, shift=0):
    """A record of 1,000 samples; `price` in USD for 1,000."""
    right = np.arange(N) < n_right
    truth = np.zeros(N, np.int32)
    record = make_record(np.roll(np.where(right, 0, 1), shift), truth, np.full(N, 0.9), name=name)
    cost = None if price is None else str(Decimal(str(price)) * N / 1000)
    record.run.update(price_usd=cost, seconds=4.0)  # a dict, in these tests
    return record


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    records = [
        priced("zero-shot", 500, 0),
        priced("few-shot@<img src=x onerror=alert(1)>", 820, 0),
        priced("direct@openai:gpt-4.1-mini", 940, 0.2),
        priced("in-context@google:gemini-2.5-flash", 938, 0.5),
        priced("in-context@openai:gpt-4.1-mini", 942, 2),
        priced("direct@house:model", 750, None),
    ]
    comparison = compare(records)
    path = tmp_path_factory.mktemp("cost") / "page.html"
    return comparison, records[4].report(path, comparison=comparison)


@pytest.mark.browser
def test_the_picture_stands_in_the_page_and_says_what_to_take(compared, open_page):
    comparison, page = compared
    assert comparison.choice.name == "direct@openai:gpt-4.1-mini"
    assert comparison.choice.settled
    with open_page(page) as tab:
        chart = tab.locator("svg.cost")
        assert chart.count() == 1
        assert chart.get_attribute("role") == "img"
        dots = chart.locator("circle[data-way]")
        assert dots.count() == 6
        on_front = chart.locator("circle.dot:not(.off):not(.hollow)")
        assert on_front.count() == sum(r.on_front for r in comparison.records)
        assert chart.locator("circle.hollow").get_attribute("data-way") == "direct@house:model"
        ring = chart.locator("circle.ring").bounding_box()
        chosen = chart.locator('circle[data-way="direct@openai:gpt-4.1-mini"]').bounding_box()
        assert ring["x"] + ring["width"] / 2 == pytest.approx(chosen["x"] + chosen["width"] / 2)
        assert tab.locator(".pick").inner_text().split() == ["direct", "openai:gpt-4.1-mini"]
        assert "is the cheapest that is not worse" in tab.inner_text("#comparison .lead")
        table = tab.locator("table.compared tbody tr")
        assert table.count() == 6
        assert "unknown" in table.filter(has_text="house:model").inner_text()
        assert tab.locator("tr.picked th").inner_text().startswith("direct")


@pytest.mark.browser
def test_labels_of_the_picture_do_not_lie_on_each_other_and_stay_inside(compared, open_page):
    with open_page(compared[1]) as tab:
        frame = tab.locator("svg.cost").bounding_box()
        boxes = [box.bounding_box() for box in tab.locator("svg.cost text.name:not(.target)").all()]
        assert len(boxes) == 6
        for box in boxes:
            assert box["x"] >= frame["x"] - 1
            assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                over_x = min(a["x"] + a["width"], b["x"] + b["width"]) - max(a["x"], b["x"])
                over_y = min(a["y"] + a["height"], b["y"] + b["height"]) - max(a["y"], b["y"])
                assert over_x <= 2 or over_y <= 3, (a, b)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_the_picture_scrolls_and_the_page_does_not(compared, open_page, scheme):
    with open_page(compared[1], width=380, height=800, scheme=scheme) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 380
        assert tab.locator("svg.cost").bounding_box()["width"] > 500
