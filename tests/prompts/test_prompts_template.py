"""Templates: sets, filling in, and the words of each error."""

from __future__ import annotations

import json
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import InputError, UnknownNameError
from showtell.prompts import TEMPLATE_SETS, fill, resolve_templates


def test_named_sets_hold_the_published_wording():
    assert resolve_templates("plain") == ("a photo of a {label}.",)
    assert resolve_templates("default") == resolve_templates("plain")
    assert resolve_templates("bare") == ("{label}",)
    openai = resolve_templates("openai-7")
    assert len(openai) == 7
    assert openai[0] == "itap of a {label}."
    assert openai[-1] == "a photo of the small {label}."


def test_every_set_can_be_filled_and_says_where_it_is_from():
    for name, entry in TEMPLATE_SETS.items():
        assert entry.name == name
        assert entry.templates == resolve_templates(name)
        assert len(set(entry.templates)) == len(entry.templates)
        assert entry.about.endswith(".")
        assert entry.source
        for template in entry.templates:
            assert "a-b" in fill(template, "a-b")
    assert {"animals", "pets", "flowers", "food", "satellite", "textures", "digits"} < set(
        TEMPLATE_SETS
    )


def test_the_data_file_has_a_version_and_a_date():
    text = resources.files("showtell.prompts").joinpath("library/templates.json").read_text("utf-8")
    data = json.loads(text)
    assert data["version"] == 1
    assert len(data["date"].split("-")) == 3


def test_sets_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        TEMPLATE_SETS["plain"] = ()


def test_one_template_several_and_names_mix_in_order():
    assert resolve_templates("a {label}") == ("a {label}",)
    mixed = resolve_templates(["a {label}", "plain", "a {label}"])
    assert mixed == ("a {label}", "a photo of a {label}.", "a {label}")
    assert resolve_templates(("bare",)) == ("{label}",)


def test_a_template_without_a_place_for_the_label_says_what_to_write():
    with pytest.raises(InputError) as caught:
        resolve_templates("a photo")
    assert str(caught.value) == (
        "Template 'a photo' has no '{label}' placeholder, so every label would get the same "
        "prompt. Write for example 'a photo of a {label}.'"
    )


def test_an_unknown_set_lists_all_sets_and_the_close_one():
    with pytest.raises(UnknownNameError, match="Unknown template set 'flower'") as caught:
        resolve_templates("flower")
    assert "Close: 'flowers'" in str(caught.value)
    for name in ("default", *TEMPLATE_SETS):
        assert name in caught.value.allowed


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a {}", r"unknown field '\{\}'; the only one is '\{label\}'"),
        ("a {0}", r"unknown field '\{0\}'"),
        ("a {name} of {label}", r"unknown field '\{name\}'"),
        ("a {label.upper}", r"unknown field '\{label.upper\}'"),
        ("a {label[0]}", r"unknown field '\{label\[0\]\}'"),
        ("a { label }", r"unknown field '\{ label \}'"),
        ("a {label:>10}", "formats"),
        ("a {label!r}", "formats"),
        ("a {label", "stray brace"),
        ("a label}", "stray brace"),
        ("a {{label}}", "has no"),
        ("", "has no"),
    ],
)
def test_fields_that_are_not_the_label_are_refused(template, message):
    with pytest.raises(InputError, match=message):
        resolve_templates([template])
    with pytest.raises(InputError, match=message):
        fill(template, "cat")


def test_nothing_and_no_text_are_refused():
    with pytest.raises(InputError, match="At least one template"):
        resolve_templates([])
    with pytest.raises(InputError, match=r"got 3 \(int\)"):
        resolve_templates([3])


@given(st.text())
def test_any_label_stands_in_the_prompt_as_it_is(label):
    assert fill("a photo of a {label}.", label) == f"a photo of a {label}."
    assert fill("{{{label}}}: {label}", label) == "{" + label + "}: " + label


@given(st.text(max_size=30))
def test_any_text_is_a_template_or_a_clear_error(template):
    try:
        templates = resolve_templates(template)
    except InputError:
        with pytest.raises(InputError, match=r"'a photo of a \{label\}\.'|stray brace"):
            resolve_templates(template)
    else:
        assert all("{label}" in t for t in templates)
        assert "\0cat" in fill(templates[0], "\0cat")
