"""The page of explanations: escaped, offline, its numbers those of the explanations."""

from __future__ import annotations

import dataclasses
import html
import json
import re

import numpy as np
import pytest
from tests.pages.made_explanations import HOSTILE, LABELS, hostile, made

from showtell.errors import InputError
from showtell.explain import Explanation, Waterfall, Words, explain, write_explanations


def data_of(path):
    text = path.read_text("utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    found, overview = made(24, 60)
    path = tmp_path_factory.mktemp("page") / "why.html"
    return write_explanations(found, path, overview=overview), found, overview


def test_numbers_of_the_page_are_those_of_the_explanations(page):
    path, found, _overview = page
    data = data_of(path)
    assert data["labels"] == list(LABELS[:4])
    assert data["names"] == [one.image for one in found]
    assert [data["labels"][code] for code in data["truth"]] == [one.actual for one in found]
    for row, one in enumerate(found):
        falls = [part for part in one.parts if isinstance(part, Waterfall)]
        assert len(data["why"][row]["w"]) == len(falls)
        for drawn, part in zip(data["why"][row]["w"], falls, strict=True):
            assert data["labels"][drawn["l"]] == part.label
            said = [(data["clues"][c]["t"], v) for c, v, *_ in drawn["s"]]
            assert said == [(s.text, pytest.approx(s.contribution, abs=1e-5)) for s in part.steps]
            total = drawn["b"] + sum(v for _, v in said) + drawn["r"]
            assert total == pytest.approx(drawn["o"], abs=1e-3)


def test_the_tree_goes_down_before_it_goes_on_and_counts_every_clue(page):
    path, _, overview = page
    tree = data_of(path)["tree"]
    depth, names = 0, []
    for node in tree["nodes"]:
        assert node["d"] <= depth + 1
        depth = node["d"]
        names = [*names[: depth - 1], node["n"]]
        assert node["path"] == " › ".join(names)
    by = {" › ".join(one.part): one for one in overview.importances.parts}
    assert len(by) == len(tree["nodes"])
    for node in tree["nodes"]:
        assert node["i"] == pytest.approx(by[node["path"]].mean, abs=1e-5)
        assert len(node["c"]) == len(by[node["path"]].columns)


def test_nothing_on_the_page_can_ask_or_run(tmp_path):
    found, overview = hostile()
    path = write_explanations(found, tmp_path / "hostile.html", overview=overview, title=HOSTILE)
    text = path.read_text("utf-8")
    assert "<img src=x" not in text
    assert "default-src 'none'" in html.unescape(text)
    assert len(re.findall(r"<script", text)) == 2
    outside = re.sub(r"data:[^\"']*|http-equiv", "", text)
    assert re.findall(r"https?:", outside) == []
    assert re.findall(r'<[^>]*\sstyle="', outside) == []


def test_explanations_without_clues_have_no_tree(tmp_path):
    one = Explanation(
        image="a.jpg", method="ZeroShotClassifier", label="cat", confidence=0.9,
        proba={"cat": 0.9, "dog": 0.1}, parts=(Words(title="Seen", text="whiskers"),),
    )  # fmt: skip
    text = write_explanations([one], tmp_path / "one.html").read_text("utf-8")
    assert 'id="tree"' not in text
    assert "Why cat" in text
    assert '<template data-reasons="0">' in text
    assert "whiskers" in text
    assert "A clue is" not in text


def test_a_part_that_chance_would_show_as_well_is_not_called_important(tmp_path):
    found, overview = made(4, 20)

    def opening(std):
        parts = tuple(dataclasses.replace(one, std=std) for one in overview.importances.parts)
        importances = dataclasses.replace(overview.importances, parts=parts)
        wavering = dataclasses.replace(overview, importances=importances)
        return write_explanations(found, tmp_path / "a.html", overview=wavering).read_text("utf-8")

    assert "Most depends on" in opening(0.0)
    assert "No part matters by itself" in opening(1.0)


def test_only_parts_beyond_two_standard_errors_are_shaded(tmp_path):
    found, overview = made(4, 20)
    first, *others = overview.importances.parts
    # 34 of 340 photos lost: their own error is 0.1 / 340 under the root, 0.017
    means = {"clear": (0.1, 0.0), "wavering": (0.1, 0.06), "three photos": (3 / 340, 0.0),
             "better without": (-0.1, 0.0)}  # fmt: skip
    for name, (mean, std) in means.items():
        changed = dataclasses.replace(first, mean=mean, std=std)
        importances = dataclasses.replace(overview.importances, parts=(changed, *others))
        shown = dataclasses.replace(overview, importances=importances, n_repeats=3)
        path = write_explanations(found, tmp_path / "a.html", overview=shown)
        node = next(n for n in data_of(path)["tree"]["nodes"] if n["path"] == first.part[0])
        assert node["k"] == {"clear": 1, "better without": -1}.get(name, 0), name
        said = "+: accuracy rose without it, within chance" in path.read_text("utf-8")
        assert said == (name != "better without")
    assert "not learned from, 3 times" in path.read_text("utf-8")


def test_pictures_stay_within_their_limit_and_mistakes_come_first(tmp_path):
    found, overview = made(30, 20)
    path = write_explanations(found, tmp_path / "a.html", overview=overview, thumbnails_mb=0.02)
    data = data_of(path)
    n_bytes = sum(map(len, data["pictures"])) + sum(map(len, data["extra"]))
    assert n_bytes <= 20_000
    has = np.array(data["picture"]) >= 0
    wrong = np.array([not one.correct for one in found])
    assert 0 < has.sum() < len(found)
    assert has[wrong].mean() > has[~wrong].mean()
    assert "had no room" in path.read_text("utf-8")
    none = data_of(
        write_explanations(found, tmp_path / "b.html", overview=overview, thumbnails_mb=0)
    )
    assert none["pictures"] == none["extra"] == []


def test_reasons_that_do_not_fit_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("showtell.explain.page._REASONS_MB", 0.0001)
    part = Words(title="Seen", text="whiskers")
    found = [
        Explanation(image=f"{i}.jpg", method="m", label="cat", parts=(part,)) for i in range(3)
    ]
    text = write_explanations(found, tmp_path / "c.html").read_text("utf-8")
    assert text.count("<template") == 1
    assert "2 pictures had no room" in text


def test_a_page_of_the_whole_alone(page, tmp_path):
    _, _, overview = page
    text = write_explanations([], tmp_path / "d.html", overview=overview).read_text("utf-8")
    assert 'id="tree"' in text
    assert 'id="cards"' not in text


def test_wrong_arguments(tmp_path, page):
    _, found, _ = page
    with pytest.raises(InputError, match="no explanation"):
        write_explanations([], tmp_path / "x.html")
    with pytest.raises(InputError, match="is a folder"):
        write_explanations(found, tmp_path)
    with pytest.raises(InputError, match="0 or more megabytes"):
        write_explanations(found, tmp_path / "x.html", thumbnails_mb=-1)


# In a browser


def becomes(tab, read, wanted):
    """Wait until the page has done what a key asked for."""
    for _ in range(200):
        if read() == wanted:
            break
        tab.wait_for_timeout(50)
    assert read() == wanted


@pytest.mark.browser
class TestBrowser:
    def test_a_part_a_label_and_a_picture_by_mouse(self, page, open_page):
        path, found, _overview = page
        with open_page(path) as tab:
            node = tab.locator('#tree [role=treeitem][data-part="2"]')
            node.locator(":scope > .row .title").click()
            name = node.get_attribute("aria-label").split(",")[0]
            assert tab.locator("#part h3").inner_text().split(" › ")[-1] == name
            n = len(data_of(path)["tree"]["nodes"][2]["c"])
            assert tab.locator("#part .meters li").count() == n
            tab.click('[data-label="2"]')
            assert tab.locator("#card h3").inner_text() == LABELS[2]
            assert tab.locator("#card .meters li").count() > 4
            tab.locator("#card .linkish", has_text=LABELS[3]).first.click()
            assert tab.locator("#card h3").inner_text() == LABELS[3]
            tab.click("[data-view=wrong]")
            assert tab.locator("#cards li").count() == sum(not one.correct for one in found)
            tab.locator("#cards button").first.click()
            titles = tab.locator("#picture .reason h3").all_inner_texts()
            assert titles[0].startswith("Why ")
            assert titles[1].startswith("Why not ")
            assert titles[2:] == ["Most alike by clues", "What would change it"]
            tab.click("#picture-close")
            tab.fill("#search", "no such name")
            assert "Nothing here" in tab.locator("#shown").inner_text()

    def test_the_keyboard_reaches_everything(self, page, open_page):
        path, _found, _ = page
        with open_page(path) as tab:

            def press(key, read, wanted):
                tab.keyboard.press(key)
                becomes(tab, read, wanted)

            def at():
                return tab.evaluate("document.activeElement.dataset.part")

            tab.locator("#tree [tabindex='0']").focus()
            press("Home", at, "0")
            press("ArrowDown", at, "1")
            assert tab.locator("#tree [tabindex='0']").count() == 1
            parent = tab.locator("#tree [aria-expanded]").first
            own = parent.get_attribute("data-part")
            child = str(int(own) + 1)

            def expanded():
                return parent.get_attribute("aria-expanded")

            parent.focus()
            press("ArrowLeft", expanded, "false")
            press("ArrowRight", expanded, "true")
            press("ArrowRight", at, child)
            press("ArrowLeft", at, own)
            press("End", at, str(len(data_of(path)["tree"]["nodes"]) - 1))
            tab.locator('[data-label="1"]').focus()
            press("Enter", tab.locator("#card h3").inner_text, LABELS[1])
            tab.locator("#cards button").first.focus()
            press("Enter", tab.locator("#picture[open]").count, 1)
            press("ArrowRight", lambda: tab.locator("#picture").get_attribute("data-row"), "1")
            press("Escape", tab.locator("#picture[open]").count, 0)
            becomes(tab, lambda: tab.evaluate("document.activeElement.dataset.row"), "1")

    def test_hostile_names_are_only_shown(self, open_page, tmp_path):
        found, overview = hostile()
        path = write_explanations(found, tmp_path / "h.html", overview=overview)
        with open_page(path) as tab:
            tab.locator("#cards button").nth(len(found) - 2).click()
            assert HOSTILE in tab.locator("#picture-body").inner_text()
            assert tab.locator("#picture .reasons blockquote").inner_text() == HOSTILE
            assert tab.locator("img[src=x]").count() == 0
            tab.click("#picture-next")
            assert "cannot be used" in tab.locator("#picture-body").inner_text()
            tab.click("#picture-close")
            tab.click('[data-label="0"]')
            assert tab.locator("#card h3").inner_text() == HOSTILE

    def test_a_phone_never_scrolls_sideways_and_one_picture_opens_itself(
        self, page, open_page, tmp_path
    ):
        path, found, _overview = page
        with open_page(path, width=360, height=740) as tab:
            assert tab.evaluate("document.documentElement.scrollWidth") <= 360
            tab.locator("#cards button").first.click()
            assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        one = write_explanations(found[:1], tmp_path / "one.html")
        with open_page(one, scheme="dark") as tab:
            assert tab.locator("#picture[open]").count() == 1


@pytest.mark.browser
def test_maps_of_real_explanations_open_without_a_complaint(open_page, tmp_path):
    from showtell.classify import FewShotClassifier
    from showtell.testing import ColourEncoder, draw_shape

    X = [draw_shape(f"{c} square", seed=k) for c in ("red", "blue") for k in range(2)]
    y = ["red", "red", "blue", "blue"]
    clf = FewShotClassifier(ColourEncoder(), text_weight=None).fit(X, y)
    found = explain(clf, X, y=y, examples=(X, y), grid=4)
    found[1] = dataclasses.replace(found[1], picture=b"")
    with open_page(write_explanations(found, tmp_path / "maps.html")) as tab:
        tab.locator("#cards button").first.click()
        assert tab.locator("#picture .maps svg").count() == 1
        assert tab.locator("#picture .alike img").count() == 4
