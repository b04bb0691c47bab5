"""The IMAGES of the command line: what each kind of argument names."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from showtell.datasets import expand_images
from showtell.errors import DataError, InputError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")


def test_files_stay_as_they_are_given_and_in_order(here):
    make("b.jpg", "a.txt", "sub/c.png")
    Path("dangling.jpg").symlink_to("gone.jpg")  # it is there; that it cannot be read is its row
    given = ["b.jpg", "./a.txt", "sub//c.png", "b.jpg", "dangling.jpg", "sub/../a.txt"]
    assert expand_images(given).images == given


def test_a_folder_gives_all_images_below_it_in_natural_order(here):
    make("p/10.jpg", "p/9.JPG", "p/a/2.png", "p/a/b/1.gif", "p/notes.txt", "p/.x.jpg", "p/z.webp")
    data = expand_images(["p"])
    assert data.images == ["p/9.JPG", "p/10.jpg", "p/a/2.png", "p/a/b/1.gif", "p/z.webp"]
    assert data.codes is None
    assert data.notes == (
        "1 hidden files or folders were passed over.",
        "1 files whose names do not end like images were passed over: notes.txt.",
    )


def test_labels_json_in_a_folder_is_not_noted(here):
    make("p/cat/1.jpg", "p/labels.json")
    assert expand_images(["p"]).notes == ()


def test_a_folder_that_ends_like_an_image_is_one_damaged_image(here):
    make("p/1.jpg")
    Path("p/x.jpg").mkdir()
    assert expand_images(["p"]).images == ["p/1.jpg", "p/x.jpg"]
    assert expand_images(["p/x.jpg"]).images == ["p/x.jpg"]
    assert expand_images(["p/x.jpg/"]).images == ["p/x.jpg/"]
    make("p/x.jpg/2.jpg")
    assert expand_images(["p/x.jpg"]).images == ["p/x.jpg/2.jpg"]


def test_a_folder_without_images_is_noted_and_alone_an_error(here):
    make("empty/readme.md", "a.jpg")
    data = expand_images(["empty", "a.jpg"])
    assert data.images == ["a.jpg"]
    assert data.notes[0] == "There is no image in 'empty'."
    with pytest.raises(DataError, match="There is no image in 'empty'"):
        expand_images(["empty"])
    with pytest.raises(DataError, match="Name at least one image"):
        expand_images([])


def test_patterns_the_shell_has_left_are_expanded(here):
    make("p/10.jpg", "p/9.jpg", "p/a.txt", "p/sub/1.jpg", "q.jpg")
    assert expand_images(["p/*.jpg"]).images == ["p/9.jpg", "p/10.jpg"]
    data = expand_images(["p/*"])
    assert data.images == ["p/9.jpg", "p/10.jpg", "p/sub/1.jpg"]
    assert data.notes == ("1 files whose names do not end like images were passed over: a.txt.",)
    assert expand_images(["**/*.jpg"]).images == ["p/9.jpg", "p/10.jpg", "p/sub/1.jpg", "q.jpg"]
    assert expand_images(["**"]).images == ["p/9.jpg", "p/10.jpg", "p/sub/1.jpg", "q.jpg"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.jpg", "gone.jpg"], "There is no 'gone.jpg': no file or folder has that name."),
        (["gone/", "gone.csv"], "There is no 'gone/' or 'gone.csv': no file or folder"),
        (["a.jpg", "no*.jpg"], r"Nothing matches 'no\*.jpg'."),
        (["**/no"], r"Nothing matches '\*\*/no'."),
        ([""], "There is no '': no file"),
        (["a\0b.jpg"], r"There is no 'a\\x00b.jpg': no file"),
        ([f"{i}.jpg" for i in range(9)], "or '4.jpg' or 4 others: no file"),
    ],
)
def test_what_is_named_on_a_command_line_exists(here, arguments, said):
    make("a.jpg")
    with pytest.raises(DataError, match=said):
        expand_images(arguments)


def test_what_is_missing_is_told_before_a_table_is_read(here):
    Path("t.csv").write_text("no,column,of,images\n1,2,3,4\n")
    with pytest.raises(DataError, match=r"There is no 'gone\.jpg'"):
        expand_images(["t.csv", "gone.jpg"])


def test_labels_json_is_passed_over_however_it_is_named(here):
    make("p/cat/1.jpg", "p/labels.json")
    for arguments in (["p/cat", "p/labels.json"], ["p/*"]):
        data = expand_images(arguments)
        assert data.images == ["p/cat/1.jpg"]
        assert "passed over: labels.json." in data.notes[0]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(here):
    make("a[1].jpg", "a1.jpg")
    assert expand_images(["a[1].jpg"]).images == ["a[1].jpg"]


def test_urls_stay(here):
    urls = ["https://example.org/a.jpg?x=*", "http://example.org/", "ftp://example.org/b.jpg"]
    assert expand_images(urls).images == urls


def test_a_list_on_standard_input(here):
    make("folder/1.jpg", "first.jpg", "last.jpg")
    content = b"a.jpg\r\n\n with blank.jpg \nfolder\n*.jpg\nhttps://example.org/x.jpg\n-\n\xff.jpg"
    data = expand_images(["first.jpg", "-", "last.jpg"], stdin=io.BytesIO(content))
    assert data.images == [
        "first.jpg",
        "a.jpg",
        " with blank.jpg ",
        "folder",
        "*.jpg",
        "https://example.org/x.jpg",
        "-",
        os.fsdecode(b"\xff.jpg"),
        "last.jpg",
    ]
    assert expand_images(["-"], stdin=io.BytesIO(b"a\nb.jpg\0c.jpg\0")).images == [
        "a\nb.jpg",
        "c.jpg",
    ]
    with pytest.raises(DataError, match="Standard input was empty"):
        expand_images(["-"], stdin=io.BytesIO(b"\n"))


def test_standard_input_is_read_by_default(here, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(b"a.jpg\n")

    monkeypatch.setattr("sys.stdin", Stdin())
    assert expand_images(["-"]).images == ["a.jpg"]


def test_tables_give_the_images_of_their_rows(here):
    make("t/x")
    Path("t/a.csv").write_text("image,label,class\n1.jpg,,\n2.jpg,x,y\n1.jpg,,\n")
    Path("t/b.jsonl").write_text(json.dumps({"photo": "3.jpg", "url": "https://example.org/4.jpg"}))
    images = expand_images(["t/a.csv"]).images
    assert images == ["t/1.jpg", "t/2.jpg", "t/1.jpg"]
    with pytest.raises(DataError, match="image_column"):
        expand_images(["t/b.jsonl"])
    assert expand_images(["t/b.jsonl"], image_column="url").images == ["https://example.org/4.jpg"]
    assert expand_images(["t/*.csv"]).images == images
    Path("t/c.csv").write_text("image\n")
    with pytest.raises(DataError, match=r"There is no image in 't/c.csv'"):
        expand_images(["t/c.csv"])


def test_names_with_impossible_characters_become_rows(here):
    Path("t.jsonl").write_text(json.dumps({"image": "a\0b.jpg"}))
    assert [Path(one).name for one in expand_images(["t.jsonl"]).images] == ["a\0b.jpg"]


def test_names_that_are_no_utf8_are_kept(here):
    name = os.fsdecode(b"p/\xff.jpg")
    make(name)
    data = expand_images(["p", name])
    assert data.images == [name, name]
    assert data.source == "p p/\\xff.jpg"


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=st.lists(st.text(max_size=6) | st.text(alphabet="*?[]./~ab", max_size=6), max_size=4))
def test_any_arguments_give_rows_or_an_input_error(here, names):
    names = [
        name for name in names if not name.startswith("/") and ".." not in name and name != "-"
    ]
    try:
        data = expand_images(names)
    except InputError:
        return
    assert len(data) > 0
