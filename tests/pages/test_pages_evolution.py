"""The page of an evolution: its numbers by hand, nothing unescaped, nothing fetched."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import numpy as np
import pytest
from tests.classify.writer import Writer
from tests.pages.evolutions import HOSTILE, WON, confusion, evolution, generation, scores

from showtell.classify import EvolvingDescriptionClassifier
from showtell.classify.evolving.record import LabelChange
from showtell.datasets import Dataset
from showtell.errors import DataError, InputError
from showtell.evaluate import evaluate, write_evolution
from showtell.evaluate.pages.progress import draw_progress
from showtell.mllm.model import Model
from showtell.testing import ColourEncoder, draw_shape


def text_of(page):
    """What a reader sees, as one line."""
    bare = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def section(page, name):
    return re.search(rf'<section id="{name}".*?</section>', page, flags=re.DOTALL)[0]


def generations(page):
    found = re.findall(r'<article class="panel generation".*?</article>', page, flags=re.DOTALL)
    return [text_of(one) for one in found]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("evolution") / "deep" / "page.html"
    return write_evolution(evolution(), path, described=scores()).read_text()


def test_the_result_is_that_of_photos_that_played_no_part(page):
    said = text_of(section(page, "result"))
    assert "+12.0 points of accuracy, on photos that played no part" in said
    assert "62.0% against 50.0% at the start, on 100 photos" in said
    assert "The evolved descriptions are better (p = 0.012)." in said
    assert "15 photos became right and 3 became wrong" in said
    assert "it was +20.0 points" in said
    assert "Chosen: generation 2 of 3." in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": replace(WON, p_value=0.2)}, "This may be chance (p = 0.200)"),
        ({"test": replace(WON, accuracy_after=0.4, p_value=1e-9)}, "are worse than the start (p <"),
        ({"test": None}, "55.0% against 40.0% at the start, on the 20 validation photos"),
        ({"test": None, "best": 0}, "No generation was better than the start on the 20 validation"),
        ({"best": 0, "test": replace(WON, accuracy_after=0.5, p_value=1.0)}, "start is the result"),
    ],
)
def test_the_result_says_how_far_it_can_be_believed(changes, words, tmp_path):
    page = write_evolution(evolution(**changes), tmp_path / "page.html").read_text()
    assert words in text_of(section(page, "result"))


def test_without_validation_the_page_warns_of_training_accuracy(tmp_path):
    told = tuple(replace(g, validation=None) for g in evolution().generations)
    without = evolution(generations=told, n_validation=0, test=None)
    page = write_evolution(without, tmp_path / "page.html").read_text()
    assert "70.0% against 50.0% at the start, on the 30 photos" in text_of(page)
    assert "That is training accuracy" in text_of(page)
    assert "validation photo" not in text_of(page)


def test_each_generation_says_what_came_and_went_and_what_it_took(page):
    start, first, second, third = generations(page)
    assert start.startswith("The start")
    assert "Label names alone" in start
    assert "60.0% +10.0" in first
    assert "+3 −1" in first  # two words of otter and one of stoat came, one went
    assert f"otter added: sleek added: {HOSTILE} removed: grey" in first
    assert "4 stayed · removing helped, adding helped" in first
    assert first.index("otter added") < first.index("stoat added")  # most changes first
    assert "1 group of labels took the best of several answers" in first
    assert "1 answer could not be used" in first
    assert "otter for stoat 8 (9 at the start)" in first
    assert "Memory: 2 words that helped and 1 that did harm" in first
    assert f"otter wet; {HOSTILE}" in first
    assert "Not used: no JSON" in first
    assert "Left out: stoat: no descriptors" in first
    assert "2 of 3 questions; evolution.json has all." in first
    assert "questions 3 cost $0.02" in first
    assert "Generation 2 chosen" in second
    assert "55.0% +15.0" in second
    assert "every word stayed" in third
    assert "Nothing is taken for anything else" in third
    assert "chosen by 70.0% on validation photos 50.0% −5.0" in third  # fitness as before


def test_confusions_are_counted_at_the_start_and_as_chosen(page):
    cured = section(page, "cured")
    assert "Of 50 photos that the evolution saw, 15 are taken" in text_of(cured)
    assert "and 5 at generation 2. 2 pairs of labels are confused less, 1 more." in text_of(cured)
    rows = re.findall(r'<tr class="(\w+)">(.*?)</tr>', cured, flags=re.DOTALL)
    assert [(kind, text_of(row)) for kind, row in rows] == [
        ("better", "otter for stoat 9 2 3 → 1"),
        ("better", f"stoat for {HOSTILE} 6 0 2 → 0"),
        ("worse", f"{HOSTILE} for otter 0 3 0 → 3"),
    ]
    widths = [re.findall(r'width="([\d.]+)" height', row) for _, row in rows]
    assert widths == [["100.0", "22.2"], ["66.7", "0.0"], ["0.0", "33.3"]]  # of nine


def test_the_table_has_every_generation(page):
    rows = re.findall(r"<tr.*?</tr>", section(page, "table"), flags=re.DOTALL)
    cells = [text_of(row) for row in rows[1:]]
    assert cells[0] == "start 50.0% 40.0% 0 0 0 15 0 0 0 0 nothing"
    assert cells[1] == "1 60.0% 40.0% 2 3 1 8 3 1 1,200 340 $0.02"
    assert cells[2].startswith("2 chosen 70.0% 55.0%")


def test_bars_lie_on_one_scale_and_name_the_best_and_the_worst(page):
    cards = re.findall(r'<li class="panel">.*?</li>\s*(?=<li class="panel">|</ul>)',
                       section(page, "descriptions"), flags=re.DOTALL)  # fmt: skip
    assert len(cards) == 2
    assert "2 of 7 descriptions reach beyond it" in text_of(section(page, "descriptions"))
    said = text_of(cards[0])
    assert [f"{HOSTILE} {i}" in said for i in range(7)] == [True] * 3 + [False] + [True] * 3
    assert "1 description between; the least telling:" in said
    bars = re.findall(r'<li class="(better|worse)".*?x="([\d.]+)" width="([\d.]+)"', cards[0],
                      flags=re.DOTALL)  # fmt: skip
    # 98 of 100 for the 0.4 from -0.1 to 0.3: zero at 25.5
    assert [(kind, float(x), float(w)) for kind, x, w in bars] == [
        ("better", 25.5, 49.0),
        ("better", 25.5, 36.75),
        ("worse", 25.5, 24.5),
        ("worse", 25.5, 0.6),
        ("worse", 13.25, 12.25),
        ("worse", 1.0, 24.5),
    ]
    assert 'x1="50.0"' in cards[0]  # the name alone, 0.1
    assert "1 photo" in text_of(cards[1])
    assert "No description: its prompt is the template alone." in text_of(cards[1])


def test_the_chart_stands_where_the_numbers_are():
    drawing = str(draw_progress(evolution(), 760, 330, "broad"))
    stops = [float(x) for x in re.findall(r'data-x="([\d.]+)"', drawing)]
    assert len(stops) == 4
    assert np.ptp(np.diff(stops)) < 0.2
    assert f'class="cursor" x1="{stops[2]}"' in drawing
    heights = {}
    for kind in ("support", "validation", "test"):
        points = re.search(rf'class="line {kind}" points="([^"]+)"', drawing)[1].split()
        assert float(points[0].split(",")[0]) == stops[0]
        heights[kind] = [float(p.split(",")[1]) for p in points]
    # pixels per point of accuracy are the same everywhere
    scale = (heights["support"][0] - heights["support"][2]) / 0.2
    assert (heights["validation"][0] - heights["validation"][2]) == pytest.approx(
        0.15 * scale, abs=0.3
    )
    assert heights["test"][0] - heights["test"][1] == pytest.approx(0.12 * scale, abs=0.3)
    assert "on support images 50.0% at the start, 70.0% at the end" in drawing


@pytest.mark.parametrize("n", [1, 2, 200])
def test_any_number_of_generations_is_drawn(n, tmp_path):
    told = tuple(generation(i, min(0.01 * i, 1.0), 0.5) for i in range(n))
    path = write_evolution(evolution(generations=told, best=n - 1), tmp_path / "page.html")
    page = path.read_text()
    assert len(generations(page)) == n
    assert ('id="slider"' in page) == (n > 1)
    assert ('class="dot support"' in re.search(r"<svg class=.chart.*?</svg>", page, re.S)[0]) == (
        n < 60
    )
    assert path.stat().st_size < 3_000_000


def test_of_very_many_changes_the_largest_are_listed(tmp_path):
    changes = tuple(
        LabelChange(label=f"label {i}", added=("x",) * (2 if i == 69 else 1), removed=(), n_kept=0)
        for i in range(70)
    )
    many = evolution(
        generations=(generation(0, 0.5, 0.5), generation(1, 0.6, 0.6, changes=changes)),
        best=1,
    )
    said = generations(write_evolution(many, tmp_path / "page.html").read_text())[1]
    assert said.count("all new") == 60
    assert "label 69" in said
    assert "And 10 labels with fewer changes" in said


def test_pairs_that_changed_little_are_counted_only(tmp_path):
    pairs = [confusion("otter", f"other {i}", i + 1) for i in range(20)]
    told = (generation(0, 0.5, 0.5, confusions=tuple(pairs)), generation(1, 0.9, 0.9))
    page = write_evolution(evolution(generations=told, best=1), tmp_path / "page.html").read_text()
    assert "The 12 pairs of 20 that changed most" in text_of(section(page, "cured"))
    assert "The worst 8 of 20 pairs" in generations(page)[0]


def test_hostile_names_stay_text_and_nothing_is_fetched(page):
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert page.count("</script>") == page.count("<script>") == 1
    assert "default-src 'none'" in html.unescape(page)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert not re.search(r"https?://", re.sub(r'xmlns="[^"]+"', "", page))


# With a classifier and photos


@pytest.fixture(scope="module")
def evolved():
    """Balls are red and boxes blue, which the names alone do not say."""
    photos = [draw_shape(what, seed=i) for what in ("red circle", "blue square") for i in range(8)]
    data = Dataset(
        images=photos, codes=np.repeat([0, 1], 8).astype(np.int32), labels=("ball", "box")
    )
    writer = Writer(words=("bright red", "deep blue", "green grass", "yellow sun"))
    clf = EvolvingDescriptionClassifier(
        Model(writer, cache=None),
        ColourEncoder(),
        n_generations=3,
        n_candidates=2,
        n_start=2,
        n_replaced=1,
        n_least=1,
        calibrate=False,
        store=None,
        patience=None,
    )
    return clf.fit(data.images, data.y), data


def test_photos_that_turned_are_shown_and_descriptions_measured(evolved, tmp_path):
    clf, data = evolved
    assert clf.at(0).predict(data.images).tolist() == ["ball"] * 16
    page = write_evolution(clf, tmp_path / "page.html", data=data).read_text()
    turned = section(page, "turned")
    assert "Became right: 8" in text_of(turned)
    assert "Became wrong" not in text_of(turned)
    assert text_of(turned).count("box was ball") == turned.count("data:image/webp") == 8
    assert "earned their place: 100% against 50.0%" in text_of(section(page, "controls"))
    described = section(page, "descriptions")
    assert described.count("data:image/webp") == 2 * 4
    assert "2 of 2 descriptions reach beyond it" in text_of(described)
    assert "ball 8 photos bright red" in text_of(described)
    with_broken = Dataset(
        images=[*data.images, str(tmp_path / "none.png")],
        codes=np.append(data.codes, 0).astype(np.int32),
        labels=data.labels,
    )
    bare = write_evolution(
        clf, tmp_path / "page.html", data=with_broken, thumbnails_mb=0
    ).read_text()
    assert "data:image/webp" not in bare
    assert "Became right: 8" in text_of(bare)


def test_what_was_measured_already_needs_no_encoder(evolved, tmp_path):
    clf, data = evolved
    record = evaluate(clf, data)
    assert record.controls.accuracy == 1.0  # an evolved classifier has its controls too
    assert record.controls.controls[0].accuracy == 0.5
    assert [one.label for one in record.described] == ["ball", "box"]
    options = {"data": data, "described": record.described}
    page = write_evolution(clf.evolution_, tmp_path / "page.html", **options).read_text()
    ours = write_evolution(clf, tmp_path / "page.html", data=data).read_text()
    assert section(page, "descriptions") == section(ours, "descriptions")
    assert 'id="turned"' not in page
    assert 'id="controls"' not in page
    options["controls"] = record.controls
    page = write_evolution(clf.evolution_, tmp_path / "page.html", **options).read_text()
    assert section(page, "controls") == section(ours, "controls")


def test_what_cannot_be_shown_is_refused(evolved, tmp_path):
    clf, data = evolved
    record, path = clf.evolution_, tmp_path / "page.html"
    with pytest.raises(InputError, match="no encoder"):
        write_evolution(record, path, data=data)
    with pytest.raises(InputError, match="needs a label"):
        write_evolution(clf, path, data=Dataset(images=data.images))
    other = Dataset(images=data.images[:1], codes=np.zeros(1, np.int32), labels=("balls",))
    with pytest.raises(DataError, match="balls"):
        write_evolution(clf, path, data=other)
    with pytest.raises(InputError, match="is a folder"):
        write_evolution(record, tmp_path)
    with pytest.raises(InputError, match="thumbnails_mb"):
        write_evolution(record, path, thumbnails_mb=-1)
    assert not path.exists()
