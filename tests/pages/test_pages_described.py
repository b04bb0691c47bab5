"""Descriptions in the page of an evaluation: what comes without them, and which ones tell."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest
from tests.pages.evolutions import HOSTILE, controls, scores

from showtell.evaluate.pages.described import controls_section, described_section, draw_controls


def test_harm_is_said_in_plain_words_with_its_numbers():
    found = controls_section(controls())
    assert found["verdict"] == "harm"
    assert found["sentence"] == (
        "The descriptions did harm: 70.0% against 80.0% with the template alone (p < 0.001)."
    )
    assert [row["gain"] for row in found["rows"]] == ["−10.0", "−1.0"]
    assert [row["range"] for row in found["rows"]] == ["−15.0 to −5.0", "−3.0 to +1.0"]
    assert [row["chance"] for row in found["rows"]] == ["< 0.001", "0.400"]
    assert [row["verdict"] for row in found["rows"]] == ["better without", "may be chance"]
    assert [row["spread"] for row in found["rows"]] == ["", "± 1.2"]
    assert controls_section(None) is None


@pytest.mark.parametrize(
    ("difference", "p", "verdict", "words"),
    [
        (0.1, 0.001, "earned", "The descriptions earned their place: 70.0% against"),
        (0.01, 0.5, "open", "The descriptions did not earn their place: 70.0% against"),
        (-0.1, 0.001, "harm", "The descriptions did harm: 70.0% against"),
    ],
)
def test_the_verdict_follows_the_tests(difference, p, verdict, words):
    one = replace(controls().controls[0], difference=difference, p_holm=p)
    found = controls_section(controls(controls=(one,)))
    assert found["verdict"] == verdict
    assert found["sentence"].startswith(words)


@pytest.mark.parametrize("narrow", [False, True])
def test_dots_stand_where_the_accuracies_are(narrow):
    drawing = str(draw_controls(controls(), "descriptions", narrow=narrow))
    dots = [float(x) for x in re.findall(r'class="dot \w+" cx="([\d.]+)"', drawing)]
    seeds = [float(x) for x in re.findall(r'class="seed" cx="([\d.]+)"', drawing)]
    scale = (dots[1] - dots[0]) / 0.1  # pixels from 70 to 80 %
    assert scale > 0
    assert dots[2] - dots[0] == pytest.approx(0.01 * scale, abs=0.11)
    assert seeds[1] - seeds[0] == pytest.approx(0.02 * scale, abs=0.11)
    assert f'class="here" x1="{dots[0]}"' in drawing
    right = 360 if narrow else 640
    assert all(0 < x < right for x in map(float, re.findall(r' (?:x[12]?|cx)="([\d.]+)"', drawing)
                                          ) if x)  # fmt: skip
    assert "Accuracy with and without descriptions: with descriptions 70.0%" in drawing


def test_cards_name_what_a_label_is_taken_for(record):
    names = [record.classes[2], record.classes[0]]
    described = tuple(replace(one, label=label) for one, label in zip(scores(), names, strict=True))
    found = described_section(replace(record, described=described))
    assert (found["n_all"], found["n_better"], found["n_labels"]) == ("7", "2", 2)
    for card, code in zip(found["cards"], (2, 0), strict=True):
        row = record.confusion[code, :3].copy()
        row[code] = 0
        assert card["taken"][1:] == (row.max(), row.argmax())
        assert card["recall"] == record.per_class[record.classes[code]]["recall"]
    assert described_section(record) is None


def test_of_very_many_labels_those_least_helped_are_shown(record):
    base = scores()[0]
    described = tuple(replace(base, label=f"label {i}", template=i / 100) for i in range(60))
    classes = tuple(one.label for one in described)
    many = described_section_of(described)
    assert many["n_labels"] == 60
    assert [card["label"] for card in many["cards"]] == list(classes[12:])


def described_section_of(described):
    from showtell.evaluate.pages.described import description_cards

    return description_cards(described)


def test_the_page_holds_both_and_escapes_them(record, tmp_path):
    described = tuple(
        replace(one, label=label) for one, label in zip(scores(), record.classes, strict=False)
    )
    full = replace(record, controls=controls(), described=described)
    page = full.report(tmp_path / "page.html", thumbnails_mb=0).read_text()
    assert "The descriptions did harm" in page
    assert "<img src=x" not in page
    assert f"{HOSTILE} 0" in html.unescape(page)
    assert "No description: its prompt is the template alone." in page
    assert page.count('class="chart controls') == 2  # a broad and a narrow drawing
