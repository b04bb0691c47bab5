"""The page of answers: complete, escaped, and lit by pointing."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

import pytest

from showtell.ask.answer import Answer, Answers, Claim
from showtell.ask.material import gather
from showtell.ask.receipt import PriceRow, calculate, merge_counts
from showtell.errors import InputError
from showtell.mllm import Capabilities
from showtell.testing.world import draw_basket, draw_plate

TAKES = Capabilities(formats=("image/jpeg", "image/png", "image/webp"))


@pytest.fixture(scope="module")
def answer():
    material = gather([draw_basket({"apple": 3}), draw_plate("BAKERY"), "a note"], TAKES)
    a, b = (material.find(ref) for ref in "AB")
    claims = (
        Claim(text="There are 3 apples.", evidence=(a,), basis="visible"),
        Claim(text="It says <b>BAKERY</b>.", evidence=(b,), basis="text", verdict="contradicted"),
        Claim(text="It rains.", evidence=(), basis="visible", verdict="unsupported",
              unknown=("Q",)),
    )  # fmt: skip
    return Answer(
        question_id="q1", question="What <i>is</i> there?", text="Three apples", status="ok",
        claims=claims, material=material, model="toy:one", confidence=0.8,
        languages={"fr": "Trois pommes"}, steps=((1, "Looked."),), cost_usd=Decimal("0.01"),
    )  # fmt: skip


def test_a_page_says_what_was_asked_answered_claimed_and_sent(answer, tmp_path):
    page = answer.report(tmp_path / "a" / "page.html").read_text()
    for text in (
        "What &lt;i&gt;is&lt;/i&gt; there?", "Three apples", "Trois pommes", "Looked.",
        "It says &lt;b&gt;BAKERY&lt;/b&gt;.", "contradicted", "names Q, which was not sent",
        "a note", "Image A", "Image B", "Text C",
    ):  # fmt: skip
        assert text in page, text
    assert page.count("data:image/webp") == 2
    assert "<b>BAKERY" not in page
    assert not re.search(r"""(?:src|href)=["']?https?:""", page)


def test_a_sum_stands_beside_the_models_own(answer, tmp_path):
    items = merge_counts([[{"name": "apple", "count": 3, "evidence": ["A"]}]])
    found = calculate(
        items, [PriceRow(name="apple", price="$0.50", unit="each")], model_total="$1.65"
    )
    page = replace(answer, calculation=found).report(tmp_path / "page.html").read_text()
    assert "1.50 USD" in page
    assert "1.65 USD" in page
    assert "wrong, not used" in page


def test_pictures_stay_within_their_megabytes(answer, tmp_path):
    page = Answers((answer,)).report(tmp_path / "page.html")
    assert "data:image" in page.read_text()
    from showtell.ask.page import write_answers

    bare = write_answers([answer], tmp_path / "bare.html", thumbnails_mb=0)
    assert "data:image" not in bare.read_text()
    with pytest.raises(InputError, match="no answers"):
        write_answers([], tmp_path / "none.html")


def test_pointing_at_a_claim_lights_what_it_rests_on(answer, tmp_path, open_page):
    with open_page(answer.report(tmp_path / "page.html")) as tab:

        def lit():
            return tab.eval_on_selector_all(".lit img", "all => all.map(i => i.alt)")

        assert lit() == []
        tab.hover(".claims li:nth-child(2)")
        assert lit() == ["Image B, B"]
        tab.focus(".claims li:nth-child(1)")
        assert lit() == ["Image A, A"]
        tab.focus(".claims li:nth-child(3)")
        assert lit() == []
