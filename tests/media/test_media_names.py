"""Names in rows and messages: one printable line, and no secrets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from showtell.media import Crop, is_url, media_name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("photos/cat.jpg", "photos/cat.jpg"),
        (Path("photos/cat.jpg"), "photos/cat.jpg"),
        ("C:\\photos\\cat.jpg", "C:\\photos\\cat.jpg"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\xe9.jpg"),
        ("\ud800.jpg", "\\ud800.jpg"),
        ("two\nlines\t.jpg", "two\\nlines\\t.jpg"),
        ("red\x1b[31m.jpg", "red\\x1b[31m.jpg"),
        ("a\u2028b\x85c", "a\\u2028b\\x85c"),
        ("Katze 猫.jpg", "Katze 猫.jpg"),
        (b"abc", "<3 bytes>"),
        (np.zeros((4, 6, 3), np.uint8), "<array 4x6x3>"),
        (np.uint8(3) * np.ones((), np.uint8), "<uint8>"),
        (np.zeros((), np.uint8), "<array without axes>"),
        (Image.new("L", (3, 2)), "<picture 3x2>"),
        (Crop(image="a.jpg", box=(0, 1, 2, 3)), "a.jpg#0,1,2,3"),
        (Crop(image="a.jpg", box=None), "a.jpg#None"),
        (None, "<NoneType>"),
        ("https://example.org/a.jpg?size=2", "https://example.org/a.jpg?size=2"),
        ("https://me:p%40ss@example.org/a.jpg", "https://example.org/a.jpg"),
        ("https://me:p@ss@example.org:81/a@b.jpg", "https://example.org:81/a@b.jpg"),
        ("http://h/a?api_key=K&x=1", "http://h/a?api_key=***&x=1"),
        ("http://h/a?x=1&X-Amz-Signature=abc&y", "http://h/a?x=1&X-Amz-Signature=***&y"),
        ("http://h/a?AWSAccessKeyId=K;token=T", "http://h/a?AWSAccessKeyId=***;token=***"),
        ("http://h/a?sig=S#top", "http://h/a?sig=***#top"),
        ("http://h/a?monkey=1&design=2", "http://h/a?monkey=1&design=2"),
        ("data:image/png;base64,iVBORw0KGgo=", "data:image/png;base64,<34 characters>"),
        ("x" * 10_001, "x" * 100 + "...<10001 characters>"),
    ],
)
def test_names_are_as_given_but_printable_and_without_secrets(source, name):
    assert media_name(source) == name


def test_a_picture_from_a_file_is_named_by_the_file(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert media_name(picture) == str(tmp_path / "a.png")


@given(st.text() | st.binary().map(os.fsdecode))
def test_any_name_is_one_line_of_valid_text(text):
    name = media_name(text)
    name.encode("utf-8")
    assert len(name.splitlines()) <= 1
    assert name.isprintable() or any(c.isspace() or not c.isprintable() for c in text)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("http://x/y", True), ("HTTPS://x", True), ("ftp://x", True), ("file:///etc", True),
        ("data:image/png;base64,xx", True), ("data:,x", True), ("C:\\x.jpg", False),
        ("c://x", False), ("a/http://x", False), ("data:x.jpg", False), ("", False),
        (Path("http://x/y"), False), (b"http://x/y", False),
    ],
)  # fmt: skip
def test_only_text_with_a_scheme_is_a_url(source, expected):
    assert is_url(source) is expected
