from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from showtell.classify import Predictions
from showtell.datasets import LazyRows
from showtell.errors import InputError
from showtell.evaluate import Record, score_predictions, write_gallery, write_report
from showtell.pages.page import script_json
from showtell.pages.thumbs import SIDE, make_thumbnails, row_order

HOSTILE = "<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Elements and texts of a page."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.scripts, self.text, self.ids = [], [], [], set()
        self._in = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.ids |= {value for name, value in attributes if name == "id"}
        self._in = tag
        if tag in ("script", "style"):
            self.scripts.append((tag, dict(attributes), ""))

    def handle_data(self, text):
        if self._in in ("script", "style"):
            tag, attributes, before = self.scripts[-1]
            self.scripts[-1] = (tag, attributes, before + text)
        else:
            self.text.append(text)

    def handle_endtag(self, tag):
        self._in = None

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    @property
    def data(self):
        return next(json.loads(t) for _, a, t in self.scripts if a.get("id") == "data")


def test_the_page_has_every_section(page):
    sections = "summary comparison shots confusion pictures labels trust errors run"
    assert set(sections.split()) <= Page(page).ids


def test_numbers_on_the_page_are_those_of_the_record(page, record):
    words, m = Page(page).words, record.metrics
    assert f"{m['accuracy'] * 100:.1f}%" in words
    low, high = m["accuracy_low"] * 100, m["accuracy_high"] * 100
    assert f"expect between {low:.1f}% and {high:.1f}% (95% interval)" in words
    assert "2 got no label (abstained) and 2 could not be used (errors)" in words
    assert "$1.25" in words
    assert "not run: few" in words


def test_hostile_names_are_text_everywhere(page):
    parsed = Page(page)
    assert HOSTILE in parsed.words
    assert not [a for tag, a in parsed.elements if tag == "img"]
    assert not [a for _, a in parsed.elements if any(name.startswith("on") for name in a)]
    assert HOSTILE not in page.read_text(encoding="utf-8")
    assert HOSTILE in parsed.data["classes"]


def test_the_policy_allows_only_the_pages_own_style_and_script(page):
    parsed = Page(page)
    policy = next(
        a["content"] for _, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag, attributes, text in parsed.scripts:
        if attributes.get("type") == "application/json":
            continue
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_nothing_on_the_page_points_elsewhere(page):
    for tag, attributes in Page(page).elements:
        for name in ("src", "href", "action", "data", "poster", "srcset", "style"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, name, value)


def test_script_json_holds_any_text():
    nasty = ["</script><script>alert(1)</script>", "<!--", "&amp;", "\u2028\u2029", "é"]
    text = str(script_json(nasty))
    assert not set("<>&\u2028\u2029") & set(text)
    nasty[3] = r"\u2028\u2029"  # shown, for they break lines
    assert json.loads(text) == nasty


def test_rows_of_the_data_are_those_of_the_record(page, record):
    data = Page(page).data
    assert data["names"] == list(record.predictions.images)
    assert data["truth"] == record.y_true.tolist()
    assert data["guess"] == record.predictions.codes.tolist()
    assert data["status"].count("2") == 2
    assert data["confidence"][3] == -1
    row = 10
    assert data["confidence"][row] == int(record.predictions.confidence_all[row] * 1000)
    assert data["top"][row][0] == record.predictions.codes[row]
    assert data["top"][3] is None


def test_pictures_are_small_and_without_metadata(page):
    data = Page(page).data
    assert len(data["pictures"]) == 58
    picture = Image.open(io.BytesIO(base64.b64decode(data["pictures"][0])))
    assert max(picture.size) <= SIDE
    assert not picture.getexif()
    assert data["picture"][3] == -2
    assert data["reasons"]["3"] == f"{HOSTILE} is no image"


def test_the_size_limit_keeps_the_most_informative_pictures(record, tmp_path):
    full = make_thumbnails(record.media, range(60), limit_mb=8, n_threads=2)
    limit = full.n_bytes // 4 / 1e6
    path = record.report(tmp_path / "small.html", thumbnails_mb=limit)
    data = Page(path).data
    assert 0 < sum(map(len, data["pictures"])) <= limit * 1e6
    kept = {i for i, index in enumerate(data["picture"]) if index >= 0}
    wrong = set(np.flatnonzero((record.y_pred >= 0) & ~record.correct).tolist())
    assert kept <= wrong or wrong <= kept
    assert "shown without one to keep this file small" in Page(path).words


def test_no_pictures_if_none_are_wanted(record, tmp_path):
    path = record.report(tmp_path / "none.html", thumbnails_mb=0)
    assert Page(path).data["pictures"] == []
    assert "rows" in Page(path).words
    assert path.stat().st_size < 120_000


def test_one_picture_is_embedded_once(record, tmp_path):
    media = [record.media[0]] * len(record)
    thumbs = make_thumbnails(media, range(len(media)), limit_mb=1)
    assert len(thumbs.pictures) == 1
    assert set(thumbs.of_row.tolist()) == {0}


def test_rows_of_one_content_share_a_picture_and_lazy_ones_are_read_only_when_needed():
    asked = []

    def read(row):
        asked.append(row)
        return np.full((20, 20, 3), row % 256, np.uint8)

    lazy = LazyRows(read, np.arange(300))
    thumbs = make_thumbnails(lazy, range(300), limit_mb=1, same=np.arange(300) // 100)
    assert len(thumbs.pictures) == 3
    assert asked == [0, 100, 200]
    assert thumbs.of_row[[0, 99, 100, 299]].tolist() == [0, 0, 1, 2]
    alone = make_thumbnails(lazy, range(300), limit_mb=1)  # no two rows are taken for the same
    assert len(alone.pictures) == 300


def test_unreadable_pictures_carry_their_reason(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"not a picture")
    thumbs = make_thumbnails([str(tmp_path / "bad.jpg"), "none.jpg"], [0, 1], limit_mb=1)
    assert thumbs.of_row.tolist() == [-2, -2]
    assert all(thumbs.reasons.values())


def test_a_url_of_a_saved_record_is_not_fetched_again():
    thumbs = make_thumbnails(["https://example.org/a.jpg"], [0], limit_mb=1, fetch=False)
    assert thumbs.reasons[0] == "behind a URL, not fetched again"


def test_arrays_bytes_and_crops_have_pictures_too(tmp_path):
    import showtell

    array = np.full((50, 400, 3), 120, np.uint8)
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    sources = [array, stream.getvalue(), Image.fromarray(array), tmp_path / "a.png"]
    sources += [showtell.Crop(image=array, box=(0, 0, 10, 10))]
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    assert make_thumbnails(sources, range(5), limit_mb=1).of_row.tolist() == [0, 1, 2, 3, 4]


def test_mistakes_come_first_then_the_least_sure():
    order = row_order(
        y_true=np.array([0, 0, 0, 0], np.int32),
        y_pred=np.array([0, 1, 1, -1], np.int32),
        confidence=np.array([0.5, 0.6, 0.9, np.nan], np.float32),
    )
    assert order == [2, 1, 0, 3]
    assert row_order(
        y_true=None, y_pred=np.array([0, 0], np.int32), confidence=np.array([0.9, 0.1], np.float32)
    ) == [1, 0]


def test_a_loaded_record_shows_the_files_it_names(record, tmp_path):
    loaded = Record.load(record.save(tmp_path / "run", report=False))
    data = Page(loaded.report(tmp_path / "again.html")).data
    assert len(data["pictures"]) == 58


def test_answers_in_words_have_a_parsing_table(tmp_path):
    record = score_predictions(
        {"actual": ["cat", "dog", "dog"], "predicted": ["It looks like a Cat.", HOSTILE, ""]}
    )
    parsed = Page(record.report(tmp_path / "answers.html"))
    assert "answers" in parsed.ids
    for words in ("containment", "It looks like a Cat.", HOSTILE, "invalid", "(empty)"):
        assert words in parsed.words
    assert parsed.data["answers"] == ["It looks like a Cat.", HOSTILE, ""]
    assert "trust" not in parsed.ids
    assert "unknown" in parsed.words


def test_a_gallery_counts_by_label(record, tmp_path):
    path = write_gallery(record.predictions, record.media, tmp_path / "gallery.html", run={"a": 1})
    parsed = Page(path)
    counts = np.bincount(record.y_pred[record.y_pred >= 0], minlength=3)
    listed = [a["data-label"] for _, a in parsed.elements if "data-label" in a]
    assert listed == [str(i) for i in sorted(range(3), key=lambda i: (-counts[i], i))]
    assert "56 of 60 pictures got a label, 2 abstained, 2 could not be used" in parsed.words
    assert parsed.data["truth"] is None
    assert not {"summary", "confusion", "trust"} & parsed.ids


def test_predictions_alone_become_a_gallery(record, tmp_path):
    path = write_report(record.predictions, tmp_path / "p.html", title="My photos")
    assert "<title>My photos</title>" in path.read_text()
    assert len(Page(path).data["pictures"]) == 58


def test_many_labels_show_the_most_confused_part(tmp_path):
    n = 100
    classes = tuple(f"label {i}" for i in range(n))
    truth = np.repeat(np.arange(n), 2)
    guess = truth.copy()
    guess[40:60] = 0
    record = Record(
        predictions=Predictions(
            images=[f"{i}.jpg" for i in range(2 * n)],
            classes=classes,
            codes=guess.astype(np.int32),
            confidence_all=np.full(2 * n, np.nan, np.float32),
            status_codes=np.zeros(2 * n, np.int8),
        ),
        y_true=truth.astype(np.int32),
        run={},
    )
    path = record.report(tmp_path / "many.html")
    assert "Shown are the 40 labels with most mistakes, of 100." in Page(path).words
    cells = {a["data-cell"] for _, a in Page(path).elements if "data-cell" in a}
    assert {f"{i},0" for i in range(20, 30)} <= cells
    assert path.stat().st_size < 200_000


def test_one_sample_and_no_samples(tmp_path):
    one = score_predictions({"actual": ["a"], "predicted": ["a"]})
    assert "1 of 1 answer has the right label" in Page(one.report(tmp_path / "one.html")).words
    none = write_gallery(Predictions.empty(("a", "b")), [], tmp_path / "none.html")
    assert "0 of 0 pictures got a label" in Page(none).words


def test_where_a_page_cannot_be_written(record, tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        record.report(tmp_path)
    with pytest.raises(InputError, match="0 or more megabytes"):
        record.report(tmp_path / "a.html", thumbnails_mb=-1)
    with pytest.raises(InputError, match="1 images for 60"):
        write_gallery(record.predictions, ["a.jpg"], tmp_path / "a.html")
    assert record.report(tmp_path / "new" / "folder" / "a.html").is_file()
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["a.html"]


def test_lone_surrogates_do_not_stop_the_page(tmp_path):
    record = score_predictions({"actual": ["a"], "predicted": ["a"], "image": ["\udcff.jpg"]})
    assert r"\xff.jpg" in record.report(tmp_path / "s.html").read_text(encoding="utf-8")


def test_charts_hold_the_numbers(page, record):
    text = page.read_text(encoding="utf-8")
    calibration = text[text.index('aria-label="Calibration') :]
    calibration = calibration[: calibration.index("</svg>")]
    filled = [b for b in record.reliability if b["n"]]
    assert calibration.count("<circle") == len(filled)
    assert len(re.findall(r'class="seed"', text)) == 3
    assert 'class="missing mid"' in text


def test_a_page_whose_pictures_are_gone_says_so(record, tmp_path):
    elsewhere = dataclasses.replace(
        record.predictions, images=[f"moved/{i}.jpg" for i in range(len(record))]
    )
    gone = "No picture was found where the rows say"
    for page, expected in (
        (write_gallery(elsewhere, None, tmp_path / "gone.html"), True),
        (write_gallery(elsewhere, None, tmp_path / "none.html", thumbnails_mb=0), False),
        (write_gallery(record.predictions, None, tmp_path / "there.html"), False),
    ):
        assert (gone in page.read_text(encoding="utf-8")) == expected


def test_a_long_title_may_break_before_a_bracket(record, tmp_path):
    path = record.report(tmp_path / "a.html", title="DescriptionClassifier(mini) on <animals>")
    text = path.read_text("utf-8")
    assert "<h1>DescriptionClassifier<wbr>(mini) on &lt;animals&gt;</h1>" in text
