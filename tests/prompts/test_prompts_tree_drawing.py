"""Concept trees as pictures: everything is on them, escaped, and told from what is not there."""

from __future__ import annotations

import os
import re
import sys
import xml.etree.ElementTree as ET

import pytest
from PIL import Image

from showtell.errors import InputError, MissingExtraError, ShowtellError
from showtell.prompts import concepts_dot, draw_concepts, read_concepts
from showtell.prompts.concepts.tree_drawing import _without_chatter

DOG = {
    "domain": "dog",
    "parts": [
        {
            "part": "head",
            "attributes": {"shape": {"long": ["Collie"], "flat": ["Pug", "Corgi"]}},
            "children": [
                {"part": "ear", "attributes": {"shape": {"pointed": ["Corgi"]}, "colour": {}}}
            ],
        },
        {"part": "tail", "attributes": {"length": {"short": ["Corgi", "Pug", "Collie"]}}},
        {"part": "whisker"},
    ],
}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def tree():
    return read_concepts(DOG)


@pytest.fixture
def graphviz():
    pytest.importorskip("pygraphviz", reason="needs the extra draw")


def said(dot):
    """The words of a drawing, cell by cell."""
    plain = re.sub(r'"[^"]*"', "", dot)
    return [text for text in re.findall(r">([^<>\n]+)<", plain) if text.strip()]


def texts(path):
    found = ["".join(t.itertext()).strip() for t in ET.parse(path).iter(f"{SVG}text")]
    return [text.replace("\xa0", " ") for text in found]


def big(n_values=200):
    parts = [
        {
            "part": f"part {i}",
            "attributes": {
                f"kind {j}": {f"value {i}{j}{k}": ["a", "b"] for k in range(5)} for j in range(4)
            },
        }
        for i in range(n_values // 20)
    ]
    return read_concepts({"domain": "thing", "parts": parts})


def test_the_whole_tree_is_drawn_with_whose_values_are(tree):
    words = said(concepts_dot(tree))
    assert words[0] == "dog"
    for word in ("head", "ear", "tail", "long", "flat", "pointed", "short"):
        assert word in words
    assert words[words.index("flat") + 1] == "Pug, Corgi"
    assert words[words.index("short") + 1] == "all 3"
    assert "no value yet" in words
    assert words[words.index("whisker") + 1] == "no attributes yet"


def test_one_part_is_drawn_with_what_is_below_it_and_the_way_to_it(tree):
    words = said(concepts_dot(tree, part="head"))
    assert words[0] == "dog"
    assert "ear" in words
    assert "tail" not in words
    for part in ("ear", "head > ear", "Head/Ear", ("head", "ear"), ["ear"]):
        words = said(concepts_dot(tree, part=part))
        assert words[:2] == ["dog &gt; head", "ear"]
        assert "long" not in words


def test_one_label_is_drawn_with_its_values_only(tree):
    words = said(concepts_dot(tree, labels=["Pug"]))
    assert words[:2] == ["Pug", "dog"]
    assert {"flat", "short"} <= set(words)
    assert not {"long", "pointed", "ear", "whisker", "all 1"} & set(words)
    both = said(concepts_dot(tree, labels=["Corgi", "Pug"]))
    assert both[0] == "dog"
    assert "pointed" in both


def test_many_values_stand_side_by_side_and_without_their_labels(tree):
    words = said(concepts_dot(big()))
    assert len([word for word in words if word.startswith("value ")]) == 200
    assert "all 2" not in words


def test_more_than_four_labels_are_counted():
    labels = [f"label {i}" for i in range(9)]
    words = said(concepts_dot(read_concepts({"domain": "x", "parts": [
        {"part": "p", "attributes": {"a": {"v": labels[:7], "w": labels[8:]}}}]})))  # fmt: skip
    assert "label 0, label 1, label 2, label 3 + 3" in words


def test_what_counts_more_is_deeper_in_colour(tree):
    amounts = {(("head",), "shape", "long"): 1.0, (("head",), "Shape", "flat"): 0.5,
               (("head", "ear"), "shape", "pointed"): -1.0,
               (("tail",), "length", "short"): float("nan")}  # fmt: skip
    dot = concepts_dot(tree, importances=amounts)
    cell = r'BGCOLOR="(#\w{6})" STYLE="ROUNDED"><FONT COLOR="([^"]+)">'
    grounds = {
        word: re.search(cell + word, dot).groups() for word in ("long", "flat", "pointed", "short")
    }
    assert grounds["long"] == ("#d95f0e", "white")
    assert grounds["pointed"][0] == grounds["short"][0] == "#f5f5f5"
    red, green, blue = (int(grounds["flat"][0][i : i + 2], 16) for i in (1, 3, 5))
    assert (red, green, blue) == (231, 170, 130)
    part = concepts_dot(tree, part="ear", importances={(("head", "ear"), "shape", "pointed"): 2.0})
    assert "#d95f0e" in part
    nothing = concepts_dot(tree, importances={(("tail",), "length", "short"): 0.0})
    assert "#d95f0e" not in nothing


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"part": "wing"}, "no part 'wing'. Name one of: head; head > ear; tail; whisker"),
        ({"labels": ["Beagle"]}, "of 'Beagle'. Labels are: Collie, Pug, Corgi"),
        ({"part": "whisker", "labels": ["Pug"]}, "nothing to draw"),
    ],
)
def test_what_is_not_there_is_refused(tree, call, words):
    with pytest.raises(InputError, match=re.escape(words)):
        concepts_dot(tree, **call)


def test_a_name_that_several_parts_have_needs_its_path():
    tip = {"part": "tip", "attributes": {"colour": ["white"]}}
    tree = read_concepts({"domain": "dog", "parts": [
        {"part": "tail", "children": [tip]}, {"part": "ear", "children": [tip]}]})  # fmt: skip
    with pytest.raises(InputError, match=re.escape("several parts 'tip'. Name one of: tail > tip")):
        concepts_dot(tree, part="tip")
    assert said(concepts_dot(tree, part="ear > tip"))[0] == "dog &gt; ear"


def test_a_tree_without_parts_cannot_be_drawn():
    with pytest.raises(InputError, match="has no parts"):
        concepts_dot(read_concepts({"domain": "dog", "parts": []}))


def test_another_ending_is_refused(tree, tmp_path):
    with pytest.raises(InputError, match=re.escape(".svg, .png, .pdf, .dot")):
        draw_concepts(tree, tmp_path / "tree.gif")


def test_what_graphviz_reads_needs_nothing_installed(tree, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    path = draw_concepts(tree, tmp_path / "new" / "tree.dot")
    assert path.read_text("utf-8") == concepts_dot(tree)
    with pytest.raises(MissingExtraError, match=re.escape('pip install "showtell[draw]"')):
        draw_concepts(tree, tmp_path / "tree.svg")


def test_a_drawing_that_cannot_be_written_is_said_in_a_line(tree, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write"):
        draw_concepts(tree, tmp_path / "file" / "tree.dot")


# With Graphviz


def test_a_svg_holds_every_word_and_asks_for_nothing(tree, tmp_path, graphviz, capfd):
    path = draw_concepts(tree, tmp_path / "tree.svg")
    assert {"dog", "head", "ear", "pointed", "no value yet", "Pug, Corgi"} <= set(texts(path))
    titles = [title.text for title in ET.parse(path).iter(f"{SVG}title")]
    assert "head > ear" in titles
    content = path.read_text("utf-8")
    assert content.startswith("<svg")
    assert not re.search(r"(?:href|src|url)\s*=", content)
    assert "DOCTYPE" not in content
    assert capfd.readouterr().err == ""


def test_two_hundred_values_are_readable(tmp_path, graphviz):
    path = draw_concepts(big(), tmp_path / "tree.svg")
    found = texts(path)
    assert len([text for text in found if text.startswith("value ")]) == 200
    places = {(float(t.get("x")), float(t.get("y"))) for t in ET.parse(path).iter(f"{SVG}text")}
    assert len(places) == len(found)  # no two texts at one place
    sizes = {float(t.get("font-size")) for t in ET.parse(path).iter(f"{SVG}text")}
    assert min(sizes) >= 10
    draw_concepts(big(), tmp_path / "tree.png")
    with Image.open(tmp_path / "tree.png") as image:
        width, height = image.size
    assert width < 1600
    assert height < 4000


def test_a_png_shows_something_and_a_pdf_is_one(tree, tmp_path, graphviz):
    with Image.open(draw_concepts(tree, tmp_path / "tree.PNG")) as image:
        colours = image.convert("RGB").getcolors(1 << 20)
        assert image.format == "PNG"
    assert len(colours) > 20
    assert draw_concepts(tree, tmp_path / "tree.pdf").read_bytes().startswith(b"%PDF")


def test_any_name_can_be_drawn(tmp_path, graphviz):
    odd = ['a "b" \\N', "<script>alert(1)</script>", "root", "żółw & 象 🐘", "a\tb\u200b", "{x|y}"]
    tree = read_concepts({"domain": "<b>&", "parts": [
        {"part": name, "attributes": {name: {f"{name} {i}": [name, "q"] for i in range(2)}},
         "children": [{"part": name}]}
        for name in odd]})  # fmt: skip
    found = texts(draw_concepts(tree, tmp_path / "tree.svg"))
    for text in ("<b>&", "<script>alert(1)</script>", "root", "żółw & 象 🐘", 'a "b" \\N', "{x|y}"):
        assert text in found


def test_what_graphviz_cannot_draw_is_one_line(tree, tmp_path, graphviz, monkeypatch):
    import pygraphviz

    def broken(self, *args, **kwargs):
        raise OSError("out of ink")

    monkeypatch.setattr(pygraphviz.AGraph, "draw", broken)
    with pytest.raises(ShowtellError, match="Graphviz cannot draw the tree: out of ink"):
        draw_concepts(tree, tmp_path / "tree.svg")


def test_only_the_talk_of_the_font_library_is_kept_back(capfd):
    with _without_chatter():
        os.write(2, b"Fontconfig warning: line 6\nsomething else\n")
    assert capfd.readouterr().err == "something else\n"


def test_a_picture_that_had_to_be_shrunk_is_warned_about(capfd):
    with pytest.warns(UserWarning, match=r"Write an \.svg, or draw a part"), _without_chatter():
        os.write(
            2, b"(null): graph is too large for cairo-renderer bitmaps. Scaling by 0.4 to fit\n"
        )
    assert capfd.readouterr().err == ""
