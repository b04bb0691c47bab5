"""The page of an audit: verdicts, pictures, flips; nothing unescaped, nothing fetched."""

from __future__ import annotations

import dataclasses
import html
import re

import numpy as np
import pytest
from PIL import Image

from showtell.errors import InputError
from showtell.evaluate import ArmScore, AttractorRow, Audit, Flip, Gain, write_audit
from showtell.evaluate.audits.plan import plan_audit
from showtell.evaluate.audits.verdicts import judge

HOSTILE = '<img src=x onerror="alert(1)">'
LABELS = (HOSTILE, "marten", "otter", "stoat")


@pytest.fixture
def audit():
    """Answers of a model that follows the example, on noise pictures."""
    plan = plan_audit(LABELS, [0, 1, 2, 3])
    truth = np.arange(40) % 4
    codes = np.repeat(truth[:, None], len(plan.arms), axis=1)
    for column in plan.of_kind("example"):
        codes[::3, column] = plan.arms[column].label
    probes = judge(plan, codes, truth, neutral=truth)
    flips = tuple(
        Flip(
            row=i,
            image=f"{i}.png",
            truth=LABELS[i % 4],
            answers=((LABELS[i % 4], ("as usual",)), (LABELS[(i + 1) % 4], ("example marten",))),
        )
        for i in range(0, 40, 3)
    )
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30, 30, 3), np.uint8)
    return Audit(
        probes=probes,
        arms=(
            ArmScore(name="as usual", kind="base", n=40, n_failed=0, accuracy=1.0, low=0.9, high=1),
            ArmScore(
                name=f"example {HOSTILE}", kind="example", n=30, n_failed=1, accuracy=0.7, low=0.5,
                high=0.8, difference=-0.3, n_lost=9, n_won=0, p_value=0.004,
            ),
        ),
        attractors=(
            AttractorRow(
                label=HOSTILE, n_true=10, n_predicted=10, n_errors=0, n_drawn=0, share=None,
                expected=1 / 3, ratio=None, p_value=1.0,
            ),
        ),
        total_variation=0.0,
        flips=flips,
        gains=(
            Gain(
                name="rotations='all'", n=40, accuracy=0.9, accuracy_before=0.8, p_value=0.1,
                flip_rate=0.0, flip_rate_before=0.2, requests_each=4.0, cost_usd=None,
            ),
        ),
        failures={"refused": 1},
        labels=LABELS,
        n_images=40,
        n_requests=500,
        n_from_cache=0,
        cost_usd=None,
        answers={"images": [f"{i}.png" for i in range(40)]},
        run={"model": f"openai:{HOSTILE}", "data": {"name": "martens"}},
        media=[Image.fromarray(p) for p in pixels],
    )  # fmt: skip


def test_the_page_says_the_verdicts_and_what_they_rest_on(audit, tmp_path):
    page = audit.report(tmp_path / "deep" / "page.html").read_text()
    text = re.sub(r"<[^>]+>", " ", page)
    for words in (
        "1 of 5",
        "Biased",
        "Pass",
        "A label in the example",
        "find a pull of",
        "What corrections gain",
        "refused 1",
        "cost unknown",
    ):
        assert words in text, words
    assert page.count("data:image/webp;base64,") == len(audit.flips)
    assert page.count("<svg") > 10


def test_hostile_names_stay_text_and_nothing_is_fetched(audit, tmp_path):
    page = write_audit(audit, tmp_path / "page.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert "<script" not in page
    assert "default-src 'none'" in html.unescape(page)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)


def test_without_pictures_the_page_is_whole(audit, tmp_path):
    page = write_audit(audit, tmp_path / "page.html", thumbnails_mb=0, title="Mine").read_text()
    assert "<title>Mine</title>" in page
    assert "data:image/webp" not in page
    assert "</html>" in page


def test_a_saved_audit_makes_the_same_page_but_for_the_pictures(audit, tmp_path):
    again = Audit.load(audit.save(tmp_path / "audit.json"))
    pages = [
        write_audit(one, tmp_path / "page.html", thumbnails_mb=0).read_text()
        for one in (audit, again)
    ]
    assert pages[0] == pages[1]


def test_wrong_places_are_refused(audit, tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        write_audit(audit, tmp_path)
    with pytest.raises(InputError, match="thumbnails_mb"):
        write_audit(audit, tmp_path / "page.html", thumbnails_mb=-1)


@pytest.mark.browser
def test_the_page_fits_a_phone_and_complains_of_nothing(audit, tmp_path, open_page):
    path = write_audit(audit, tmp_path / "page.html")
    with open_page(path) as tab:
        tab.set_viewport_size({"width": 390, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert tab.locator(".probe").count() == 5
        widths = tab.eval_on_selector_all(".shaky img", "all => all.map(i => i.naturalWidth)")
        assert len(widths) == len(audit.flips)
        assert min(widths) > 0
        colour = "e => getComputedStyle(e.querySelector('.column.here, .dot')).fill"
        assert tab.locator("svg.audit").first.evaluate(colour) != "rgb(0, 0, 0)"


def test_no_place_is_called_favoured_where_all_are_even(audit, tmp_path):
    shares = [0.25] * 4

    def page(shares):
        position = audit["position"]
        details = {**position.details, "shares": shares, "expected": [0.25] * 4, "favoured": 0}
        probe = dataclasses.replace(position, details=details)
        others = tuple(p for p in audit.probes if p.name != "position")
        changed = dataclasses.replace(audit, probes=(probe, *others))
        return write_audit(changed, tmp_path / "a.html").read_text("utf-8")

    assert "the most favoured place" not in page(shares)
    assert "the most favoured place" in page([0.4, 0.2, 0.2, 0.2])
