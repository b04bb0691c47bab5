"""Label sets: --labels, --labels-file in its forms, errors."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from showtell.datasets import LabelSet, parse_labels
from showtell.errors import DataError, InputError


@pytest.fixture
def write(tmp_path):
    def write_file(name: str, content: str | bytes):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("cat,dog", ("cat", "dog")),
        (" cat , golden   retriever ", ("cat", "golden retriever")),
        ("dog,cat", ("dog", "cat")),
        ('"salt, pepper",cat', ("salt, pepper", "cat")),
        ('"say ""hi""",cat', ('say "hi"', "cat")),
        ('"a=b",c', ("a=b", "c")),
        ("it's,don't", ("it's", "don't")),
        ("Straße,日本", ("Straße", "日本")),
    ],
)
def test_names_between_commas(text, labels):
    assert parse_labels(text) == LabelSet(labels=labels)


def test_descriptions_after_an_equals_sign():
    found = parse_labels(
        "cat = a small, , dog".replace(", ,", ",") + '=barks, fish="wet, cold=yes"'
    )
    assert found.labels == ("cat", "dog", "fish")
    assert found.descriptions == {"cat": ["a small"], "dog": ["barks"], "fish": ["wet, cold=yes"]}
    assert parse_labels("e=mc=2").descriptions == {"e": ["mc=2"]}


def test_several_texts_are_read_one_after_the_other():
    assert parse_labels(["cat,dog", "cow"]).labels == ("cat", "dog", "cow")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "A label is empty"),
        ("cat,,dog", "A label is empty in 'cat,,dog'"),
        ("cat,", "A label is empty"),
        ('cat,""', "A label is empty"),
        ("=x", "A label is empty"),
        ("cat=,dog", "'cat' has an equals sign but no description"),
        ("cat,dog,cat", "'cat' occurs twice"),
        ("cat,Cat", "'Cat' differs from 'cat' only by case"),
        ('cat,"dog', "A double quote is opened but not closed"),
        ([], "There are no labels"),
    ],
)
def test_empty_and_repeated_labels_are_errors(text, message):
    with pytest.raises(DataError, match=message):
        parse_labels(text)


def test_labels_are_given_once():
    with pytest.raises(DataError, match="one of both"):
        parse_labels()
    with pytest.raises(DataError, match="one of both"):
        parse_labels("cat", labels_file="x")


def test_one_label_per_line(write):
    path = write("labels.txt", "\ufeffcat\r\n\r\n salt, pepper \ndog=barks\n")
    found = parse_labels(labels_file=path)
    assert found.labels == ("cat", "salt, pepper", "dog")
    assert found.descriptions == {"dog": ["barks"]}
    with pytest.raises(DataError, match=r"l.txt line 2: .*'b' has an equals sign"):
        parse_labels(labels_file=write("l.txt", "a\nb=\n"))
    with pytest.raises(DataError, match=r"l.txt: Label 'a' occurs twice"):
        parse_labels(labels_file=write("l.txt", "a\nb\na\n"))
    with pytest.raises(DataError, match=r"l.txt: There are no labels"):
        parse_labels(labels_file=write("l.txt", "\n"))


def test_csv_with_descriptions_and_aliases(write):
    text = '# Label ,description,Aliases\ncat,"small | soft",kitty|puss\n"dog, big",,\n\n'
    found = parse_labels(labels_file=write("l.csv", text))
    assert found.labels == ("cat", "dog, big")
    assert found.descriptions == {"cat": ["small", "soft"]}
    assert found.aliases == {"cat": ["kitty", "puss"]}
    assert found.find("puss") == "cat"
    assert found.find("nobody") is None
    tsv = parse_labels(labels_file=write("l.tsv", "name\talias\ncat, big\tkitty\n"))
    assert tsv.labels == ("cat, big",)


def test_csv_of_names_only(write):
    assert parse_labels(labels_file=write("l.csv", "cat\ndog\n")).labels == ("cat", "dog")
    assert parse_labels(labels_file=write("l.csv", "label\ndog\n")).labels == ("dog",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", r"l.csv: exactly one column must be called 'label' or 'name'.*'a', 'b'"),
        ("label,name\n1,2\n", r"exactly one column must be called"),
        ("label,alias\ncat\n", r"l.csv line 2: 1 values, but the header has 2"),
        ("label,alias\n,kitty\n", r"l.csv line 2: the label is empty"),
        ("label,alias\ncat,x\ndog,X\n", r"Alias 'X' of label 'dog' also stands for 'cat'"),
        ("label,alias\ncat,dog\ndog,\n", r"Alias 'dog' of label 'cat' also stands for 'dog'"),
        ('label,alias\n"cat,x\n', r"l.csv line 2: "),
        ("label,description\n", r"l.csv: There are no labels"),
        ("", r"There are no labels"),
    ],
)
def test_wrong_csv_is_named_by_line(write, text, message):
    with pytest.raises(DataError, match=message):
        parse_labels(labels_file=write("l.csv", text))


def test_json_in_its_forms(write):
    assert parse_labels(labels_file=write("l.json", '["cat", " dog "]')).labels == ("cat", "dog")
    value = {
        "cat": "small",
        "dog": ["barks", "wags"],
        "cow": {"description": "large", "aliases": ["ox", "bull"]},
        "pig": None,
        "hen": {"descriptions": ["lays"], "alias": "chicken"},
        "bee": {"description": None},
    }
    found = parse_labels(labels_file=write("l.json", json.dumps(value)))
    assert found.labels == ("cat", "dog", "cow", "pig", "hen", "bee")
    assert found.descriptions == {
        "cat": ["small"],
        "dog": ["barks", "wags"],
        "cow": ["large"],
        "hen": ["lays"],
    }
    assert found.aliases == {"cow": ["ox", "bull"], "hen": ["chicken"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "lists and objects inside each other"),
        ("3", "expected a list of labels"),
        ('["cat", 3]', "must hold texts"),
        ('{"cat": 3}', "description of label 'cat' must be a text"),
        ('{"cat": ["", "x"]}', "must be a text or a list of texts"),
        ('{"cat": {"colour": "red"}}', "label 'cat' has 'colour'; allowed are"),
        ('{"cat": "a", "cat": "b"}', "'cat' stands twice"),
        ("[]", "There are no labels"),
        ('["", "a"]', "Label 1 of 2 is empty"),
    ],
)
def test_wrong_json_is_explained(write, text, message):
    with pytest.raises(DataError, match=message):
        parse_labels(labels_file=write("l.json", text))


def test_files_that_cannot_be_read(write, tmp_path):
    with pytest.raises(DataError, match="There is no file of labels"):
        parse_labels(labels_file=tmp_path / "no.txt")
    with pytest.raises(DataError, match="line 1 is not UTF-8"):
        parse_labels(labels_file=write("l.txt", b"a\xff"))


def test_labels_json_beside_its_folders_gives_the_words(write, tmp_path):
    value = {"american_copper": "american copper butterfly", "b": "bee", "b2": "bee", "x": "B"}
    path = write("labels.json", json.dumps(value))
    found = parse_labels(labels_file=path)  # no such folder: names and descriptions
    assert found.labels == ("american_copper", "b", "b2", "x")
    assert found.descriptions["b"] == ["bee"]

    (tmp_path / "test" / "american_copper").mkdir(parents=True)
    found = parse_labels(labels_file=path)
    assert found.labels == ("american copper butterfly", "bee", "B")
    assert found.aliases == {
        "american copper butterfly": ["american_copper"],
        "bee": ["b2"],  # "b" is a label itself, but for its case
        "B": ["x"],
    }
    assert found.descriptions == {}


def test_a_label_set_checks_what_it_is_made_of():
    with pytest.raises(DataError, match="not in the label set: 'dog'"):
        LabelSet(labels=("cat",), descriptions={"dog": ["x"]})
    assert (
        LabelSet(labels=("cat",), aliases={"cat": ["CAT", "Kitty", "kitty"]}).find("CAT") == "cat"
    )


@pytest.mark.data
def test_shared_labels_files_give_the_labels_of_their_sets(shared_datasets):
    from showtell.datasets import load_dataset

    for path in sorted(shared_datasets.glob("*/labels.json")):
        assert set(parse_labels(labels_file=path).labels) == set(load_dataset(path.parent).labels)


SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SETTINGS
@given(st.text(max_size=30) | st.text(alphabet='ab,="\n', max_size=15))
def test_any_text_gives_labels_or_an_input_error(text):
    try:
        found = parse_labels(text)
    except InputError:
        return
    assert found.labels
    assert all(label == " ".join(label.split()) != "" for label in found.labels)


@SETTINGS
@given(
    content=st.binary(max_size=60) | st.text(alphabet='lab,"=\n|[]{}:', max_size=40).map(str.encode)
)
@pytest.mark.parametrize("suffix", ["txt", "csv", "json"])
def test_any_file_gives_labels_or_an_input_error(write, suffix, content):
    try:
        found = parse_labels(labels_file=write(f"f.{suffix}", content))
    except InputError:
        return
    assert isinstance(found, LabelSet)
    assert found.labels


@SETTINGS
@given(
    st.lists(
        st.text(
            st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=6
        ),
        min_size=1,
        max_size=6,
        unique_by=str.casefold,
    )
)
def test_quoted_names_are_read_back(names):
    text = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    assert parse_labels(text).labels == tuple(names)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labels.txt", "%PDF-1.4\n", "is a PDF document"),
        ("d.json", '{"showtell": "descriptions-1", "descriptions": {}}', "with --descriptions"),
        ("t.json", '{"showtell": "concepts-1", "domain": "x", "parts": []}', "with --concepts"),
    ],
)
def test_a_file_of_something_else_says_where_it_belongs(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        parse_labels(labels_file=tmp_path / name)
