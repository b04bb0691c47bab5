"""Spoiled and odd files: the good ones are right, the rest are one-line errors."""

from __future__ import annotations

import os
import socket
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.memory import needs_peak_memory, run_measured
from tests.spoiled import encoded, make_spoiled_files, png_bomb, toy_photo

from showtell.errors import MediaError, MediaFormatError, MediaLimitError, MediaNotFoundError
from showtell.media import Crop, Limits, formats, load_image, open_image, read_media

GREY = {
    "grey.jpg",
    "grey_16_bit.png",
    "grey_16_bit.tif",
    "grey_16_bit.pgm",
    "grey_alpha.png",
    "float.tif",
}
OPEN_FILES = Path("/proc/self/fd")
BILEVEL = {"black_and_white.png", "black_and_white.tif"}


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoiled")
    return folder, make_spoiled_files(folder)


def test_there_are_at_least_thirty_kinds_of_each(spoiled):
    _, expected = spoiled
    outcomes = list(expected.values())
    assert outcomes.count("ok") >= 30
    assert outcomes.count("error") >= 20


def test_readable_odd_files_show_the_photo_upright(spoiled):
    folder, expected = spoiled
    photo = np.asarray(toy_photo()).astype(float)
    grey = np.asarray(toy_photo().convert("L")).astype(float)
    small_grey = np.asarray(toy_photo().convert("L").resize((12, 8), Image.Resampling.BOX))
    for name in [name for name, outcome in expected.items() if outcome == "ok"]:
        picture = open_image(folder / name)
        if name in BILEVEL:  # dots of black and white: right from a distance
            seen = np.asarray(picture.convert("L").resize((12, 8), Image.Resampling.BOX))
            assert np.abs(seen.astype(float) - small_grey).mean() < 8, ascii(name)
            continue
        image = np.asarray(picture.resize((96, 64))).astype(float)
        wanted = grey[:, :, None] if name in GREY else photo
        assert np.abs(image - wanted).mean() < 2.5, ascii(name)


def test_unreadable_files_are_one_line_errors_that_name_the_file(spoiled):
    folder, expected = spoiled
    for name in [name for name, outcome in expected.items() if outcome == "error"]:
        for min_side in (None, 16):
            with pytest.raises(MediaError) as caught:
                open_image(folder / name, min_side=min_side)
            message = str(caught.value)
            assert message.startswith(f"cannot read {folder / name}: ")
            assert len(message.splitlines()) == 1
            assert len(caught.value.reason) < 200
            for jargon in ("Traceback", "struct", "unpack_", "buffer", "Error(", "0x", "BytesIO"):
                assert jargon not in caught.value.reason


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("empty.jpg", MediaFormatError, "the file is empty (0 bytes)"),
        ("text.jpg", MediaFormatError, "it is text, not a picture"),
        ("web_page.jpg", MediaFormatError, "it is a web page (HTML), not a picture"),
        ("truncated.jpg", MediaFormatError, "the JPEG file is cut short: its end is missing"),
        ("header_only.jpg", MediaFormatError, "the JPEG file is cut short: its end is missing"),
        ("truncated.png", MediaFormatError, "the PNG file is cut short: its end is missing"),
        ("folder.jpg", MediaFormatError, "it is a folder, not a picture"),
        (
            "pipe.jpg",
            MediaFormatError,
            "it is a pipe, a device or a socket, not a picture file",
        ),
        ("link_to_nothing.jpg", MediaNotFoundError, "it is a link to a file that is not there"),
        ("zeros.jpg", MediaFormatError, "it is filled with zeros, so its content was lost"),
        (
            "lfs_pointer.jpg",
            MediaFormatError,
            "it is a Git LFS pointer; fetch the picture with: git lfs pull",
        ),
        (
            "bomb.png",
            MediaLimitError,
            "40000 x 40000 = 1,600,000,000 pixels are more than the 200,000,000 that are allowed "
            "(Limits.max_pixels)",
        ),
        (
            "bomb.webp",
            MediaLimitError,
            "16384 x 16384 = 268,435,456 pixels are more than the 200,000,000 that are allowed "
            "(Limits.max_pixels)",
        ),
    ],
)
def test_reasons_are_words_for_people(spoiled, name, kind, reason):
    folder, _ = spoiled
    with pytest.raises(kind) as caught:
        open_image(folder / name)
    assert type(caught.value) is kind
    assert caught.value.reason == reason


def test_a_picture_cut_anywhere_is_an_error_or_whole():
    """Never half a picture: each format is cut at many places."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 40, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(np.asarray(toy_photo(80, 60)) // 2 + noise)
    files = {
        "JPEG": encoded(picture, "JPEG"),
        "progressive JPEG": encoded(picture, "JPEG", progressive=True),
        "PNG": encoded(picture, "PNG"),
        "GIF": encoded(picture, "GIF", interlace=True),
        "WebP": encoded(picture, "WEBP"),
        "lossless WebP": encoded(picture, "WEBP", lossless=True),
        "TIFF": encoded(picture, "TIFF"),
        "deflated TIFF": encoded(picture, "TIFF", compression="tiff_adobe_deflate"),
        "BMP": encoded(picture, "BMP"),
        "AVIF": encoded(picture, "AVIF"),
        "JPEG 2000": encoded(picture, "JPEG2000"),
        "PPM": encoded(picture, "PPM"),
        "QOI": encoded(picture, "QOI"),
    }
    for kind, data in files.items():
        whole = load_image(data)
        failed = 0
        for end in [
            *range(0, len(data), max(1, len(data) // 50)),
            *range(len(data) - 9, len(data)),
        ]:
            try:
                image = load_image(data[:end])
            except MediaFormatError:
                failed += 1
            else:
                np.testing.assert_array_equal(image, whole, err_msg=f"{kind} cut at {end}")
        assert failed >= 45, kind


@needs_peak_memory
def test_a_bomb_is_refused_without_memory(tmp_path):
    """As grey bytes the picture would take 1.6 GB; the process may grow by 50 MB."""
    (tmp_path / "bomb.png").write_bytes(png_bomb())
    code = """
        import sys
        from showtell.errors import MediaLimitError
        from showtell.media import open_image
        before = peak_mb()
        try:
            open_image(sys.argv[1], min_side=224)
        except MediaLimitError:
            print(peak_mb() - before)
    """
    (grown_mb,) = run_measured(code, tmp_path / "bomb.png")
    assert float(grown_mb) < 50


def test_pictures_between_pillows_limits_are_silently_fine(monkeypatch):
    """Pillow warns above its own limit and refuses above twice that; here only `Limits` counts."""
    photo = toy_photo()  # 6144 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"):
        assert open_image(encoded(photo, kind)).size == (96, 64)
    assert load_image(Crop(image=photo, box=(0, 0, 96, 63))).shape == (63, 96, 3)
    assert Image.MAX_IMAGE_PIXELS == 5000
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    for kind in ("PNG", "JPEG", "GIF", "BMP"):
        assert open_image(encoded(photo, kind)).size == (96, 64)
    for kind in ("TIFF", "WEBP"):  # these readers check by themselves
        with pytest.raises(MediaLimitError, match="too many pixels"):
            open_image(encoded(photo, kind))


def test_pillows_warnings_do_not_come_through_and_its_settings_stay():
    tiff = bytearray(encoded(toy_photo(), "TIFF", tiffinfo={270: "x" * 40}))
    tag = tiff.index(b"\x0e\x01\x02\x00")
    tiff[tag + 4 : tag + 8] = b"\xff\xff\xff\x00"  # a description longer than the file
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        assert open_image(bytes(tiff)).size == (96, 64)
        assert warnings.filters == before
    assert caught == []
    assert formats._quiet_users == 0


def test_filters_are_as_before_after_many_threads():
    before = list(warnings.filters)
    data = encoded(toy_photo(), "TIFF")

    def work():
        for _ in range(30):
            with warnings.catch_warnings() if threading.get_ident() % 2 else formats.quiet_pillow():
                open_image(data)

    with formats.quiet_pillow():
        inside = list(warnings.filters)
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert formats._QUIET in inside
    assert formats._QUIET not in warnings.filters
    assert [f for f in warnings.filters if f != formats._QUIET] == before


# --- files --------------------------------------------------------------------------------------


def test_a_missing_file_says_so(tmp_path):
    for name, reason in [
        ("gone.jpg", "there is no such file"),
        ("gone/gone.jpg", "there is no such file"),
        ("a\0b.jpg", "there is no such file; the name holds a character no file name can have"),
    ]:
        with pytest.raises(MediaNotFoundError) as caught:
            read_media(str(tmp_path / name))
        assert isinstance(caught.value, FileNotFoundError)
        assert caught.value.reason.startswith(reason[:22])
    with pytest.raises(MediaNotFoundError, match="the file name is empty"):
        open_image("")


def test_a_name_longer_than_the_system_allows_is_an_error_row():
    with pytest.raises(MediaError, match=r"[Nn]ame too long") as caught:
        open_image("x" * 20_000)
    assert len(str(caught.value)) < 300


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_at_once_even_with_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(MediaFormatError, match="a pipe"):
        open_image(tmp_path / "pipe.jpg")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no device files here")
def test_a_device_is_refused():
    with pytest.raises(MediaFormatError, match="a device"):
        open_image("/dev/zero")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no socket files here")
def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("s.jpg")
        with pytest.raises(MediaFormatError, match="a socket"):
            open_image("s.jpg")


def test_a_forbidden_file_says_permission_denied(tmp_path, monkeypatch):
    path = tmp_path / "private.jpg"
    path.write_bytes(encoded(toy_photo(), "JPEG"))

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)  # a test run as root may read everything
    with pytest.raises(MediaError, match="permission denied") as caught:
        open_image(path)
    assert str(caught.value).count(str(path)) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_read_permission_is_an_error(tmp_path):
    path = tmp_path / "private.jpg"
    path.write_bytes(encoded(toy_photo(), "JPEG"))
    path.chmod(0)
    with pytest.raises(MediaError, match="permission denied"):
        open_image(path)


def test_byte_limits_hold_for_files_and_bytes(tmp_path):
    data = encoded(toy_photo(), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    tight = Limits(max_bytes=len(data) - 1)
    for source in (path, data):
        with pytest.raises(MediaLimitError, match=f"{len(data):,} bytes are more than"):
            open_image(source, limits=tight)
        open_image(source, limits=Limits(max_bytes=len(data)))


def test_a_file_that_grows_after_it_was_looked_at_is_read_whole_within_limits(
    tmp_path, monkeypatch
):
    data = encoded(toy_photo(), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    real = os.stat

    def early(p, *args, **kwargs):
        status = real(p, *args, **kwargs)
        return os.stat_result([*status[:6], 10, *status[7:10]]) if p == path else status

    monkeypatch.setattr(os, "stat", early)
    assert open_image(path).size == (96, 64)
    with pytest.raises(MediaLimitError):
        open_image(path, limits=Limits(max_bytes=len(data) - 1))


def test_files_are_closed(tmp_path):
    if not OPEN_FILES.is_dir():
        pytest.skip("open files cannot be counted here")
    folder = tmp_path / "files"
    expected = make_spoiled_files(folder)
    before = len(list(OPEN_FILES.iterdir()))
    for name in expected:
        try:
            picture = open_image(folder / name)
        except MediaError:
            continue
        assert picture.size[0] > 0
    assert len(list(OPEN_FILES.iterdir())) == before


def test_a_damaged_picture_opened_by_the_user_is_named_by_its_file(tmp_path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(encoded(toy_photo(), "JPEG")[:-50])
    with Image.open(path) as picture:
        for call in (open_image, read_media):
            with pytest.raises(MediaFormatError, match=r"cut\.jpg: the .* is cut short"):
                call(picture)


def test_whatever_a_reader_raises_becomes_a_format_error(monkeypatch):
    data = encoded(toy_photo(), "PNG")
    for error in (
        MemoryError(), OverflowError("x"), RecursionError("deep"), ZeroDivisionError(), KeyError(3),
        AssertionError(), UserWarning("w"), UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
    ):  # fmt: skip

        def fail(*args, error=error):
            raise error

        monkeypatch.setattr(formats, "open_picture", fail)
        with pytest.raises(MediaFormatError, match="PNG file") as caught:
            open_image(data)
        assert caught.value.__cause__ is error


def test_ctrl_c_is_not_swallowed(monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(formats, "open_picture", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_image(encoded(toy_photo(), "PNG"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
        (b"\x1aE\xdf\xa3\x01", "Matroska"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera raw"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video"),
        (b"  <svg xmlns='x'>", "SVG"),
        (b"\n<HTML>", "web page"),
        (b"photos/cat.jpg", "text"),
        ("Grüße ".encode() * 1000, "text"),
        ("Grüße".encode("latin-1"), "not a picture that can be read here"),
        (b"Rar!\x1a\x07", "RAR"),
    ],
)
def test_what_is_no_picture_is_called_by_its_name(data, words):
    with pytest.raises(MediaFormatError, match=words):
        open_image(data)


def test_no_reader_that_starts_another_program_is_used():
    """Pillow hands EPS to Ghostscript; here EPS is not read at all."""
    eps = encoded(toy_photo(), "EPS")
    with pytest.raises(MediaFormatError, match="PostScript"):
        open_image(eps)
    with pytest.raises(MediaFormatError, match="PostScript"):
        open_image(b"\xc5\xd0\xd3\xc6" + eps)


def test_an_avif_by_compatible_brand_is_an_avif():
    data = bytearray(encoded(toy_photo(), "AVIF"))
    assert formats.sniff(bytes(data)) == "AVIF"
    assert data[8:12] == b"avif"
    data[8:12] = b"mif1"
    assert formats.sniff(bytes(data)) == "AVIF"
    assert open_image(bytes(data)).size == (96, 64)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}])
def test_the_size_of_a_webp_is_known_from_its_header(options):
    data = encoded(toy_photo(301, 203), "WEBP", **options)
    assert formats.webp_size(data) == (301, 203)
    assert formats.webp_size(data[:25]) is None
    assert formats.webp_size(data[:12] + b"ALPH" + data[16:]) is None
