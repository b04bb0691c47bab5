"""Pages on descriptions in a browser: one load checks many things."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from tests.pages.evolutions import HOSTILE, LABELS, controls, evolution, scores

from showtell.datasets import Dataset
from showtell.evaluate import write_evolution
from showtell.testing import draw_shape

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    data = Dataset(
        images=[draw_shape("red circle", seed=i) for i in range(6)],
        codes=np.array([0, 0, 0, 0, 0, 1], np.int32),
        labels=LABELS[:2],
    )
    path = tmp_path_factory.mktemp("evolution") / "page.html"
    return write_evolution(evolution(), path, data=data, described=scores())


def shown(tab):
    return tab.eval_on_selector_all(
        ".generation", "all => all.filter(e => e.offsetHeight).map(e => e.dataset.generation)"
    )


def cursor(tab):
    return tab.get_attribute(".chart.broad .cursor", "x1")


def test_an_evolution_plays_by_slider_buttons_chart_and_keyboard(played, open_page):
    with open_page(played) as tab:
        assert shown(tab) == ["2"]  # it opens at the result
        at_best = cursor(tab)
        tab.locator("#slider").focus()
        tab.keyboard.press("ArrowLeft")
        assert shown(tab) == ["1"]
        assert tab.locator("#slider").get_attribute("aria-valuetext") == "Generation 1"
        assert tab.inner_text("#where") == "1 of 3"
        assert cursor(tab) != at_best
        assert "Generation 1: 60.0% on the photos" in tab.text_content("#told")
        assert tab.locator("ins", has_text=HOSTILE).is_visible()
        gone = tab.locator("del", has_text="grey").evaluate(
            "e => getComputedStyle(e).textDecorationLine"
        )
        assert gone == "line-through"
        tab.keyboard.press("Home")
        assert shown(tab) == ["0"]
        assert tab.is_disabled("#back")
        tab.keyboard.press("End")
        assert shown(tab) == ["3"]
        assert tab.is_disabled("#on")
        tab.click("#back")
        assert shown(tab) == ["2"]
        assert cursor(tab) == at_best
        tab.locator(".chart.broad .stop").nth(1).click()
        assert shown(tab) == ["1"]
        tab.click(".generation:not([hidden]) .memory summary")
        assert tab.locator(".generation:not([hidden]) .memory td").first.is_visible()
        assert tab.locator("img[src=x], [onerror]").count() == 0
        widths = tab.eval_on_selector_all(".strip img", "all => all.map(i => i.naturalWidth)")
        assert len(widths) == 4 + 1
        assert min(widths) > 0


def test_play_begins_at_the_start_and_ends_at_the_end(played, chromium):
    with closing(chromium.new_page(reduced_motion="reduce")) as tab:
        tab.clock.install(time=0)
        tab.goto(played.as_uri())
        tab.clock.pause_at(60_000)  # from here on time goes by when told to
        assert shown(tab) == ["2"]
        tab.locator("#play").focus()
        tab.keyboard.press("Space")
        assert shown(tab) == ["0"]
        assert tab.get_attribute("#play", "aria-label") == "Pause"
        tab.clock.run_for(2000)
        assert shown(tab) == ["1"]
        tab.keyboard.press("Space")
        tab.clock.run_for(9000)
        assert shown(tab) == ["1"]  # paused
        tab.keyboard.press("Space")
        tab.clock.run_for(9000)
        assert shown(tab) == ["3"]
        assert tab.get_attribute("#play", "aria-label") == "Play"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_evolution_fits_a_phone_in_light_and_dark(played, open_page, scheme):
    with open_page(played, width=360, height=800, scheme=scheme) as tab:
        for _ in range(2):
            assert tab.evaluate("document.documentElement.scrollWidth") <= 360
            tab.eval_on_selector_all("details", "all => all.forEach(e => { e.open = true; })")
            tab.click("#back")
        assert tab.locator(".chart.narrow").is_visible()
        assert not tab.locator(".chart.broad").is_visible()
        light = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (light == "rgb(250, 249, 246)") == (scheme == "light")


def test_an_evaluation_says_whether_descriptions_earned_their_place(record, open_page, tmp_path):
    described = tuple(
        replace(one, label=label) for one, label in zip(scores(), record.classes, strict=False)
    )
    full = replace(record, controls=controls(), described=described)
    path = full.report(tmp_path / "page.html")
    with open_page(path, scheme="dark") as tab:
        assert "did harm: 70.0% against 80.0%" in tab.inner_text("#controls .lead")
        assert tab.locator(".chart.controls:visible").count() == 1
        assert tab.locator(".worded > li").count() == 2
        assert tab.locator(".worded .strip img").count() == 2 * 4
        assert HOSTILE in tab.locator(".worded .what").first.inner_text()
        assert tab.locator("img[src=x], [onerror]").count() == 0
        tab.locator(".worded .mostly button").first.click()
        assert tab.locator("#cards li").count() > 0
        assert tab.locator('[aria-current="true"]').count() > 0
        tab.set_viewport_size({"width": 360, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        assert tab.locator(".chart.controls:visible").count() == 1
