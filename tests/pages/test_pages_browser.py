from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.pages.conftest import HOSTILE

from showtell.classify import Predictions
from showtell.evaluate import Record, write_gallery

pytestmark = pytest.mark.browser


def test_the_page_opens_without_a_complaint_or_a_request(page, open_page):
    with open_page(page) as tab:
        assert tab.title() == "colours"
        assert tab.locator("#cards li").count() > 0
        widths = tab.eval_on_selector_all("#cards img", "all => all.map(i => i.naturalWidth)")
        assert widths
        assert min(widths) > 0


def test_hostile_names_stay_text(page, open_page):
    with open_page(page) as tab:
        tab.click("[data-view=all]")
        names = tab.locator("#cards .name").all_inner_texts()
        assert any(name.startswith(HOSTILE) for name in names)
        assert tab.locator("#matrix th", has_text=HOSTILE).count() == 2
        assert tab.locator("img[src=x], [onerror]").count() == 0
        tab.click("[data-view=error]")
        assert HOSTILE in tab.locator("#cards li").first.inner_text()


def test_a_cell_shows_its_pictures(page, open_page, record):
    actual, answer = next(
        (i, j) for i in range(3) for j in range(3) if i != j and record.confusion[i, j]
    )
    expected = int(record.confusion[actual, answer])
    rows = np.flatnonzero((record.y_true == actual) & (record.y_pred == answer))
    with open_page(page) as tab:
        cell = tab.locator(f'#matrix [data-cell="{actual},{answer}"]')
        assert cell.inner_text() == str(expected)
        cell.click()
        shown = tab.eval_on_selector_all(
            "#cards button", "all => all.map(b => Number(b.dataset.row))"
        )
        assert sorted(shown) == rows.tolist()
        assert tab.locator("#cards img").count() == expected
        assert f"1–{expected} of {expected} picture" in tab.inner_text("#shown")
        assert cell.get_attribute("aria-current") == "true"
        assert tab.evaluate("document.activeElement.id") == "pictures-title"
        tab.click("#reset")
        assert tab.locator('[aria-current="true"]').count() == 0


def test_the_column_without_answer_shows_abstentions_and_errors(page, open_page, record):
    missing = record.confusion[:, -1]
    code = int(missing.argmax())
    with open_page(page) as tab:
        tab.click(f'#matrix [data-cell="{code},-1"]')
        assert tab.locator("#cards li").count() == missing[code]


def test_the_keyboard_reaches_cells_and_pictures(page, open_page):
    with open_page(page) as tab:
        first = tab.locator("#matrix [data-cell][tabindex='0']")
        assert first.count() == 1
        first.focus()
        before = tab.evaluate("document.activeElement.dataset.cell")
        tab.keyboard.press("ArrowRight")
        after = tab.evaluate("document.activeElement.dataset.cell")
        assert after.split(",")[0] == before.split(",")[0]
        assert after != before
        assert tab.locator("#matrix [data-cell][tabindex='0']").count() == 1
        tab.keyboard.press("Enter")
        count = int(tab.locator(f'#matrix [data-cell="{after}"]').inner_text())
        assert tab.locator("#cards li").count() == count
        tab.locator("#cards button").first.focus()
        tab.keyboard.press("Enter")
        assert tab.locator("#picture[open]").count() == 1
        row = tab.locator("#picture").get_attribute("data-row")
        tab.keyboard.press("Escape")
        assert tab.locator("#picture[open]").count() == 0
        assert tab.evaluate("document.activeElement.dataset.row") == row


def test_one_picture_large_shows_its_probabilities(page, open_page, record):
    with open_page(page) as tab:
        tab.click("[data-view=all]")
        tab.locator("#cards button").first.click()
        likely = tab.locator("#picture .likely li .what").all_inner_texts()
        order = np.argsort(-record.predictions.proba[0])
        assert likely == [record.classes[i] for i in order]
        tab.click("#picture-next")
        assert tab.locator("#picture").get_attribute("data-row") == "1"
        tab.keyboard.press("ArrowLeft")
        assert tab.locator("#picture").get_attribute("data-row") == "0"
        tab.click("#picture-close")


def test_views_filters_and_search(page, open_page, record):
    with open_page(page) as tab:
        sure = tab.locator("#cards .badge").all_inner_texts()
        values = [float(text.rstrip("%")) for text in sure]
        assert values == sorted(values, reverse=True)
        tab.click("[data-view=unsure]")
        values = [float(t.rstrip("%")) for t in tab.locator("#cards .badge").all_inner_texts()]
        assert values == sorted(values)
        tab.click("[data-view=error]")
        assert tab.locator("#cards li").count() == 2
        tab.click("[data-view=all]")
        tab.select_option("#actual", "1")
        assert tab.locator("#cards li").count() == 20
        tab.fill("#search", "photo 1.")
        assert tab.locator("#cards li").count() == 1
        tab.fill("#search", "nowhere")
        assert tab.inner_text("#shown").startswith("Nothing here")
        tab.click("#reset")
        assert "1–48 of 60" in tab.inner_text("#shown")
        tab.click("#page-on")
        assert "49–60 of 60" in tab.inner_text("#shown")


def test_the_label_table_sorts(page, open_page, record):
    with open_page(page) as tab:
        head = tab.locator("table.sortable thead th").nth(1)
        for direction, reverse in (("descending", True), ("ascending", False)):
            head.locator("button").click()
            assert head.get_attribute("aria-sort") == direction
            values = tab.eval_on_selector_all(
                "table.sortable tbody tr", "all => all.map(r => Number(r.cells[1].dataset.value))"
            )
            assert values == sorted(values, reverse=reverse)


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_never_scrolls_sideways(page, open_page, width):
    with open_page(page, width=width, height=800) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.locator("#cards button").first.click()
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_is_dark_and_text_stays_readable(page, open_page):
    backgrounds = {}
    for scheme in ("light", "dark"):
        with open_page(page, scheme=scheme) as tab:
            ratios = tab.evaluate(_CONTRAST)
            assert ratios
            low = {text: ratio for text, ratio in ratios.items() if ratio < 4.5}
            assert low == {}
            backgrounds[scheme] = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert backgrounds["light"] != backgrounds["dark"]


_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const pixel = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (p) => {
    const [r, g, b] = p.slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let n = node; n; n = n.parentElement) {
      const p = pixel(getComputedStyle(n).backgroundColor);
      if (p[3] > 200) return p;
    }
  };
  const found = {};
  for (const query of ["h1", "p", ".tiles dt", ".tiles dd", "#matrix button", ".card .name",
                       ".card b", ".views button", "caption", ".linkish", "nav a", "summary"]) {
    for (const node of document.querySelectorAll(query)) {
      const pair = [light(pixel(getComputedStyle(node).color)), light(behind(node))].sort();
      const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
      const name = query + " " + node.className;
      found[name] = Math.min(found[name] ?? 99, ratio);
    }
  }
  return found;
}"""


def test_a_gallery_shows_a_labels_pictures_least_sure_first(record, open_page, tmp_path):
    path = write_gallery(record.predictions, record.media, tmp_path / "gallery.html")
    with open_page(path) as tab:
        strips = tab.locator(".strip").all()
        assert len(strips) == 3
        assert all(strip.locator("img").count() > 0 for strip in strips)
        button = tab.locator("[data-label]").first
        code = int(button.get_attribute("data-label"))
        button.click()
        shown = tab.eval_on_selector_all(
            "#cards button", "all => all.map(b => Number(b.dataset.row))"
        )
        rows = np.flatnonzero(record.y_pred == code)
        assert sorted(shown) == rows.tolist()
        sure = record.predictions.confidence_all[shown]
        assert (np.diff(sure) >= -0.001).all()


def test_ten_thousand_rows_open_fast(tmp_path, open_page):
    n, classes = 10_000, tuple(f"label {i}" for i in range(30))
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 30, n)
    proba = rng.random((n, 30)).astype(np.float32)
    proba[np.arange(n), truth] += 1
    proba /= proba.sum(axis=1, keepdims=True)
    photos = [rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(1200)]
    record = Record(
        predictions=Predictions(
            images=[f"some/folder/with/a/long/name/photo_{i:06}.jpg" for i in range(n)],
            classes=classes,
            codes=proba.argmax(axis=1).astype(np.int32),
            confidence_all=proba.max(axis=1),
            status_codes=np.zeros(n, np.int8),
            distinct_proba=proba,
            distinct=np.arange(n),
        ),
        y_true=truth.astype(np.int32),
        run={"name": "large"},
        media=[photos[i % len(photos)] for i in range(n)],
    )
    path = record.report(tmp_path / "large.html", thumbnails_mb=8)
    assert 4e6 < path.stat().st_size < 12e6
    with open_page(path) as tab:
        tab.wait_for_selector("#cards li")
        assert tab.locator("#cards li").count() == 48
        tab.click("[data-view=all]")
        assert "of 10,000 pictures" in tab.inner_text("#shown")


def test_file_names_are_shown_whole_also_those_that_are_not_utf_8(record, open_page, tmp_path):
    names = ["a/caf\\xe9.jpg", "C:\\photos\\x86\\cat.jpg", "a/b/dog.jpg"]
    predictions = dataclasses.replace(
        record.predictions,
        images=names + list(record.predictions.images[3:]),
    )
    page = write_gallery(predictions, None, tmp_path / "names.html")
    with open_page(page) as tab:
        tab.click("[data-view=all]")
        shown = [tab.locator("#cards li").nth(i).inner_text() for i in range(3)]
        ends = ("caf\\xe9.jpg", "cat.jpg", "dog.jpg")
        for text, end in zip(shown, ends, strict=True):
            assert end in text.splitlines()


def test_panels_side_by_side_begin_at_one_height(page, open_page):
    with open_page(page) as tab:
        tops = tab.eval_on_selector_all(
            ".two > .panel", "all => all.map(p => p.getBoundingClientRect().top)"
        )
        assert len(tops) == 2
        assert tops[0] == tops[1]


def test_a_long_name_may_break_after_an_underscore(record, open_page, tmp_path):
    names = np.array(["common_buckeye", *record.predictions.classes[1:]], object)
    renamed = dataclasses.replace(record.predictions, classes=names)
    path = write_gallery(renamed, record.media, tmp_path / "names.html")
    with open_page(path) as tab:
        bold = tab.locator("#cards b", has_text="common_buckeye").first
        assert "common_<wbr>buckeye" in bold.inner_html()
