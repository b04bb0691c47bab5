"""Whatever the bytes: a picture or a `MediaError`, never anything else."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.spoiled import encoded, exif_bytes, toy_photo

from showtell.errors import MediaError
from showtell.media import Limits, open_image, read_media

LIMITS = Limits(max_pixels=1_000_000)


@functools.cache
def whole_files() -> dict[str, bytes]:
    photo = toy_photo(40, 30)
    grey16 = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    frames = {"save_all": True, "append_images": [photo.rotate(180)]}
    files = {
        "jpeg": encoded(photo, "JPEG", exif=exif_bytes(6)),
        "jpeg progressive": encoded(photo, "JPEG", progressive=True),
        "jpeg cmyk": encoded(photo.convert("CMYK"), "JPEG"),
        "png": encoded(photo, "PNG", exif=exif_bytes(3)),
        "png palette": encoded(photo.quantize(16), "PNG", transparency=b"\0\x80\xff"),
        "png 16": encoded(grey16, "PNG"),
        "apng": encoded(photo, "PNG", **frames),
        "gif": encoded(photo, "GIF", **frames),
        "webp": encoded(photo, "WEBP", exif=exif_bytes(8)),
        "webp animated": encoded(photo, "WEBP", **frames),
        "tiff": encoded(photo, "TIFF"),
        "tiff lzw": encoded(photo, "TIFF", compression="tiff_lzw"),
        "tiff 16": encoded(grey16, "TIFF"),
        "tiff jpeg": encoded(photo, "TIFF", compression="jpeg"),
        "bmp": encoded(photo, "BMP"),
        "ico": encoded(photo, "ICO", sizes=[(16, 16)]),
        "ico bmp": encoded(photo, "ICO", sizes=[(16, 16)], bitmap_format="bmp"),
        "jpeg 2000": encoded(photo, "JPEG2000"),
        "avif": encoded(photo, "AVIF"),
        "ppm": encoded(photo, "PPM"),
        "ppm text": b"P3\n2 1\n255\n1 2 3 4 5 6\n",
        "pfm": encoded(photo.convert("F"), "PPM"),
        "qoi": encoded(photo, "QOI"),
        "psd": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\1\0\0\0\2\0\x08\0\3" + bytes(14) + b"abcdef",
    }
    try:
        import pillow_heif
    except ImportError:
        return files
    stream = io.BytesIO()
    pillow_heif.from_pillow(photo).save(stream, quality=80)
    return {**files, "heic": stream.getvalue()}


def assert_picture_or_media_error(data: bytes) -> None:
    for min_side in (None, 8):
        try:
            picture = open_image(data, min_side=min_side, limits=LIMITS)
        except MediaError as error:
            message = str(error)
            assert len(message.splitlines()) == 1
            assert len(message) < 400
        else:
            assert picture.mode == "RGB"
            assert picture.width * picture.height <= LIMITS.max_pixels
            np.asarray(picture)
    assert len(read_media(data).digest) == 32


@given(st.binary(max_size=200))
def test_random_bytes(data):
    assert_picture_or_media_error(data)


@given(st.data())
@settings(max_examples=60)
def test_random_bytes_after_a_real_beginning(data):
    name = data.draw(st.sampled_from(sorted(whole_files())))
    keep = data.draw(st.integers(4, 40))
    tail = data.draw(st.binary(max_size=100))
    assert_picture_or_media_error(whole_files()[name][:keep] + tail)


@pytest.mark.parametrize("name", sorted(whole_files()))
def test_the_whole_file_is_a_picture(name):
    assert open_image(whole_files()[name], limits=LIMITS).width > 0


@pytest.mark.parametrize("name", sorted(whole_files()))
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_files_with_changed_missing_and_repeated_bytes(name, data):
    spoiled = bytearray(whole_files()[name])
    # Headers are where the readers can go wrong, so half of the changes fall there.
    place = st.integers(0, min(200, len(spoiled) - 1)) | st.integers(0, len(spoiled) - 1)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(place)
        if data.draw(st.booleans()):
            spoiled[at : at + 1] = bytes([data.draw(st.sampled_from([0, 1, 127, 128, 255, 64]))])
        elif data.draw(st.booleans()):
            spoiled[at:at] = spoiled[at : at + data.draw(st.integers(1, 50))]
        else:
            del spoiled[at : at + data.draw(st.integers(1, 50))]
    assert_picture_or_media_error(bytes(spoiled))


@given(st.binary(max_size=300))
@settings(max_examples=60)
def test_random_exif_never_spoils_a_photo(exif):
    plain = whole_files()["jpeg progressive"]
    body = b"Exif\0\0" + exif
    data = plain[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + plain[2:]
    assert sorted(open_image(data).size) == [30, 40]
