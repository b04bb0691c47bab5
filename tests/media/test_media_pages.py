"""Pages of PDF: pictures, text layers, numbers; broken files and limits."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image

from showtell.errors import InputError, MediaError, MediaFormatError, MediaLimitError
from showtell.media import Limits, Pages, read_pages
from showtell.media.pages import count_pages, parse_pages

pytest.importorskip("pypdfium2", reason="needs the extra pdf")


def pdf(n=3, size=(200, 100)):
    pictures = [Image.new("RGB", size, (60 * i, 0, 0)) for i in range(n)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "PDF", save_all=True, append_images=pictures[1:], resolution=72)
    return buffer.getvalue()


def with_text(text):
    """A page with a text layer, by hand."""
    stream = f"BT /F1 24 Tf 20 50 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 100] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for i, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (i, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 6\n0000000000 65535 f \n"
    return (
        out + head + table + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(out)
    )


def test_pages_come_in_the_order_asked_for():
    found = list(read_pages(Pages(pdf(), [3, 1]), dpi=72))
    assert [page.number for page in found] == [3, 1]
    assert [page.picture.getpixel((5, 5))[0] // 50 for page in found] == [2, 0]
    assert found[0].picture.size == (200, 100)


def test_dots_per_inch_decide_the_size_and_posters_stay_in_bounds():
    [page] = read_pages(pdf(1), dpi=144)
    assert page.picture.size == (400, 200)
    [poster] = read_pages(pdf(1, size=(6000, 3000)), dpi=300)
    assert max(poster.picture.size) == 4096


def test_the_text_layer_is_read():
    [page] = read_pages(with_text("MODEL WX-200"))
    assert page.text == "MODEL WX-200"


def test_numbers_of_pages():
    assert parse_pages("1-3,9, 2") == (1, 2, 3, 9)
    for wrong in ("", "0", "3-1", "a", "1-", "-1", "1;2", "1" * 30, "\u0661"):
        with pytest.raises(InputError, match="Pages are numbers"):
            parse_pages(wrong)
    with pytest.raises(InputError):
        Pages("a.pdf", [])


def test_a_page_that_is_not_there_says_how_many_there_are():
    with pytest.raises(MediaLimitError, match="it has 3 pages, so there is no page 4"):
        list(read_pages(Pages(pdf(), "4")))


def test_limits_of_pages_and_bytes():
    with pytest.raises(MediaLimitError, match=r"Limits\.max_pages"):
        list(read_pages(pdf(), limits=Limits(max_pages=2)))
    with pytest.raises(MediaLimitError, match=r"Limits\.max_bytes"):
        count_pages(pdf(), limits=Limits(max_bytes=100))


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF-1.4 rubbish"])
def test_what_is_no_document_says_so(content):
    with pytest.raises(MediaFormatError, match=r"no PDF|damaged"):
        count_pages(content)


def test_spoiled_documents_are_one_kind_of_error():
    good, rng, reasons = with_text("HELLO"), random.Random(3), set()
    for _ in range(200):
        data = bytearray(good)
        for _ in range(rng.randint(1, 12)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            list(read_pages(bytes(data[: rng.randint(50, len(data))]), dpi=20))
        except MediaError as error:
            reasons.add(str(error))
    assert reasons
    assert not any("\n" in reason for reason in reasons)
