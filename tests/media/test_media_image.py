"""Modes, orientations, arrays, crops and options: pixels known by hand."""

from __future__ import annotations

import io
import pickle
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.spoiled import encoded, exif_bytes, toy_photo

from showtell.errors import InputError, MediaError, MediaFormatError, MediaLimitError
from showtell.media import Crop, Limits, load_image, open_image, read_media

# Six colours of a picture with 2 columns and 3 rows, and what each EXIF orientation makes of it
# (TIFF 6.0, section 8, tag 274: where the stored row 0 and column 0 belong).
A, B, C = (255, 0, 0), (0, 255, 0), (0, 0, 255)
D, E, F = (255, 255, 0), (0, 255, 255), (255, 0, 255)
STORED = [[A, B], [C, D], [E, F]]
UPRIGHT = {
    1: [[A, B], [C, D], [E, F]],
    2: [[B, A], [D, C], [F, E]],
    3: [[F, E], [D, C], [B, A]],
    4: [[E, F], [C, D], [A, B]],
    5: [[A, C, E], [B, D, F]],
    6: [[E, C, A], [F, D, B]],
    7: [[F, D, B], [E, C, A]],
    8: [[B, D, F], [A, C, E]],
}


def picture_of(rows, side=1):
    """A picture with one square of `side` pixels per colour."""
    array = np.array(rows, np.uint8).repeat(side, 0).repeat(side, 1)
    return Image.fromarray(array)


def heic(picture, **options):
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra 'heif' is not installed")
    stream = io.BytesIO()
    pillow_heif.from_pillow(picture).save(stream, quality=95, **options)
    return stream.getvalue()


@pytest.mark.parametrize("number", UPRIGHT)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True, "exact": True}),
    ],
)
def test_all_orientations_come_out_upright(kind, options, number):
    place = {"tiffinfo": {274: number}} if kind == "TIFF" else {"exif": exif_bytes(number)}
    data = encoded(picture_of(STORED), kind, **options, **place)
    np.testing.assert_array_equal(load_image(data), UPRIGHT[number])


@pytest.mark.parametrize("number", UPRIGHT)
@pytest.mark.parametrize("min_side", [None, 8])
def test_all_orientations_of_a_jpeg_come_out_upright_also_when_shrunk(number, min_side):
    data = encoded(
        picture_of(STORED, side=32), "JPEG", quality=95, subsampling=0, exif=exif_bytes(number)
    )
    image = load_image(data, min_side=min_side)
    side = 32 if min_side is None else 8
    expected = UPRIGHT[number]
    assert image.shape == (len(expected) * side, len(expected[0]) * side, 3)
    centres = image[side // 2 :: side, side // 2 :: side].astype(int)
    assert np.abs(centres - np.array(expected)).max() <= 6


@pytest.mark.parametrize("number", UPRIGHT)
def test_all_orientations_of_an_avif_and_a_heic_come_out_upright(number):
    picture = picture_of(STORED, side=32)
    expected = np.array(UPRIGHT[number])
    exif = Image.Exif()
    exif[0x0112] = number
    for data in (
        encoded(picture, "AVIF", quality=95, subsampling="4:4:4", exif=exif_bytes(number)),
        heic(picture, exif=exif.tobytes()),
    ):
        image = load_image(data)
        assert image.shape == (expected.shape[0] * 32, expected.shape[1] * 32, 3)
        assert np.abs(image[16::32, 16::32].astype(int) - expected).max() <= 12


@pytest.mark.parametrize("number", UPRIGHT)
def test_a_pil_picture_is_turned_by_its_exif_and_not_changed(number):
    given = Image.open(io.BytesIO(encoded(picture_of(STORED), "PNG", exif=exif_bytes(number))))
    np.testing.assert_array_equal(load_image(given), UPRIGHT[number])
    assert given.size == (2, 3)
    assert given.getexif()[0x0112] == number
    np.testing.assert_array_equal(load_image(ImageOps.exif_transpose(given)), UPRIGHT[number])


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f"]
)
def test_damaged_exif_leaves_the_picture_as_stored(exif):
    data = encoded(picture_of(STORED, side=16), "JPEG", quality=95, subsampling=0, exif=exif)
    assert load_image(data).shape == (48, 32, 3)


@pytest.mark.parametrize("number", [0, 9, 255])
def test_an_orientation_that_does_not_exist_is_ignored(number):
    data = encoded(picture_of(STORED), "PNG", exif=exif_bytes(number))
    np.testing.assert_array_equal(load_image(data), STORED)


def test_metadata_stays_behind():
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 29.6)  # GPS latitude
    exif[0x0110] = "Camera"
    data = encoded(toy_photo(), "JPEG", exif=exif.tobytes(), comment=b"secret")
    picture = open_image(data)
    assert picture.info == {}
    assert dict(picture.getexif()) == {}
    assert b"Camera" not in encoded(picture, "JPEG")


# --- colour and depth ---------------------------------------------------------------------------


def test_transparency_shows_the_background():
    array = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], np.uint8)
    for source in (array, encoded(Image.fromarray(array), "PNG"), Image.fromarray(array)):
        image = load_image(source, background=(0, 0, 250))
        # 51 / 255 = 1/5 of the colour over 4/5 of the background
        np.testing.assert_array_equal(image, [[[200, 100, 50], [0, 0, 250], [40, 20, 210]]])
        np.testing.assert_array_equal(load_image(source)[0, 1], [255, 255, 255])


def test_grey_with_alpha_shows_the_background():
    picture = Image.merge("LA", [Image.new("L", (1, 1), 100), Image.new("L", (1, 1), 0)])
    np.testing.assert_array_equal(load_image(encoded(picture, "PNG"))[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(
        load_image(picture.convert("La"), background=(1, 2, 3))[0, 0], [1, 2, 3]
    )


@pytest.mark.parametrize(
    ("kind", "transparency"), [("PNG", 1), ("PNG", b"\xff\x00\xff"), ("GIF", 1)]
)
def test_transparent_palette_entries_show_the_background(kind, transparency):
    picture = Image.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.putdata([0, 1, 2])
    data = encoded(picture, kind, transparency=transparency)
    expected = [[[255, 0, 0], [9, 8, 7], [0, 0, 255]]]
    np.testing.assert_array_equal(load_image(data, background=(9, 8, 7)), expected)


@pytest.mark.parametrize(("mode", "value"), [("L", 7), ("RGB", (7, 7, 7)), ("1", 0)])
def test_a_transparent_colour_shows_the_background(mode, value):
    picture = Image.new(mode, (2, 1), value)
    picture.putpixel((1, 0), 255 if mode != "RGB" else (255, 255, 255))
    image = load_image(encoded(picture, "PNG", transparency=value), background=(1, 2, 3))
    np.testing.assert_array_equal(image, [[[1, 2, 3], [255, 255, 255]]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind):
    array = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    image = load_image(encoded(Image.fromarray(array), kind))
    np.testing.assert_array_equal(image[0, :, 0], [0, 0, 1, 128, 255])
    np.testing.assert_array_equal(load_image(array), image)


def test_a_transparent_sixteen_bit_grey_shows_the_background():
    array = np.array([[1000, 50000]], np.uint16)
    data = encoded(Image.fromarray(array), "PNG")
    body = b"tRNS" + struct.pack(">H", 1000)
    chunk = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
    at = data.index(b"IDAT") - 4
    image = load_image(data[:at] + chunk + data[at:], background=(1, 2, 3))
    np.testing.assert_array_equal(image, [[[1, 2, 3], [195, 195, 195]]])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),  # 127.5 rounds to even
        ([0.0, 2.0, 255.0], [0, 2, 255]),
        ([0.0, 512.0, 65535.0], [0, 2, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([0.0, 50_000.0, 100_000.0], [0, 128, 255]),
        ([float("nan"), 0.0, 1.0], [0, 0, 255]),
        ([float("nan")] * 3, [0, 0, 0]),
        ([float("inf"), 0.0, 1.0], [0, 0, 255]),
        ([7.0, 7.0, 7.0], [7, 7, 7]),
        ([-3.0, -3.0, -3.0], [0, 0, 0]),
    ],
)
def test_float_pictures_are_scaled_by_the_range_they_use(values, expected):
    picture = Image.fromarray(np.array([values], np.float32))
    np.testing.assert_array_equal(load_image(encoded(picture, "TIFF"))[0, :, 0], expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 1, 255], [0, 1, 255]), ([0, 256, 65535], [0, 1, 255]), ([-100, 0, 100], [0, 128, 255])],
)
def test_pictures_of_whole_numbers_are_scaled_by_the_range_they_use(values, expected):
    picture = Image.fromarray(np.array([values], np.int32))
    np.testing.assert_array_equal(load_image(encoded(picture, "TIFF"))[0, :, 0], expected)


def test_a_dark_sixteen_bit_pgm_stays_dark():
    data = b"P5\n2 1\n65535\n" + struct.pack(">HH", 200, 300)
    np.testing.assert_array_equal(load_image(data)[0, :, 0], [0, 1])


def test_one_bit_pictures_are_black_and_white():
    picture = Image.fromarray(np.array([[True, False]]))
    expected = [[[255, 255, 255], [0, 0, 0]]]
    for source in (picture, encoded(picture, "PNG"), np.array([[True, False]])):
        np.testing.assert_array_equal(load_image(source), expected)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_without_profile_is_ink_on_white_paper(kind):
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]
    colours = [(255, 255, 255), (0, 255, 255), (255, 0, 255), (255, 255, 0), (0, 0, 0)]
    for ink, colour in zip(inks, colours, strict=True):
        data = encoded(Image.new("CMYK", (16, 16), ink), kind)
        assert np.abs(load_image(data)[8, 8].astype(int) - colour).max() <= 3


def test_ycck_jpeg_reads_like_its_cmyk():
    """Photoshop's kind: Adobe marker with transform 2, inks stored inverted, as YCC and K."""
    ink = (200, 0, 0, 30)  # cyan and a little black
    # The decoder turns YCC into 255 - R, 255 - G, 255 - B, and inverting that gives the inks, so
    # the stored YCC is that of the inks taken as RGB. Pillow inverts what it writes as CMYK.
    ycc = Image.new("RGB", (16, 16), ink[:3]).convert("YCbCr").split()
    planes = [Image.eval(plane, lambda v: 255 - v) for plane in ycc]
    planes.append(Image.new("L", (16, 16), ink[3]))
    data = encoded(Image.merge("CMYK", planes), "JPEG", quality=100, subsampling=0)
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    ycck = data[:at] + b"\x02" + data[at + 1 :]
    plain = Image.new("CMYK", (16, 16), ink)
    expected = load_image(encoded(plain, "JPEG", quality=100, subsampling=0))
    assert np.abs(load_image(ycck).astype(int) - expected).max() <= 8


def cmyk_profile(ink_to_lab):
    """A minimal ICC profile (version 2) whose table maps the 16 pure ink mixtures to Lab."""
    table = bytearray()
    for c in (0, 1):
        for m in (0, 1):
            for y in (0, 1):
                for k in (0, 1):
                    light, a, b = ink_to_lab(c, m, y, k)
                    table += bytes([round(light * 255 / 100), a + 128, b + 128])
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    ramp = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + bytes(table) + ramp * 3
    lut += bytes(-len(lut) % 4)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    text += bytes(-len(text) % 4)
    tags, offset, index = [(b"A2B0", lut), (b"wtpt", white), (b"desc", text)], 128 + 4 + 36, b""
    for name, body in tags:
        index += name + struct.pack(">II", offset, len(body))
        offset += len(body)
    head = struct.pack(">I", offset) + b"lcms" + struct.pack(">I", 0x02400000) + b"prtrCMYKLab "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + struct.pack(">I", 3) + index + lut + white + text


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_colour_profile(kind):
    # In this profile all four inks together are black, and cyan is printed red (Lab 53, 80, 67).
    def red_cyan(c, m, y, k):
        if k:
            return 0, 0, 0
        return (53, 80, 67) if c and not (m or y) else (100, 0, 0)

    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    with_profile = encoded(cyan, kind, icc_profile=cmyk_profile(red_cyan))
    red, green, blue = load_image(with_profile)[8, 8].astype(int)
    assert red > 240
    assert green < 40
    assert blue < 40
    damaged = encoded(cyan, kind, icc_profile=cmyk_profile(red_cyan)[:200])
    np.testing.assert_allclose(load_image(damaged)[8, 8], [0, 255, 255], atol=3)


def test_lab_pictures_are_converted():
    data = encoded(Image.frombytes("LAB", (1, 1), bytes([255, 0, 0])), "TIFF")
    np.testing.assert_allclose(load_image(data)[0, 0], [255, 255, 255], atol=2)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBX", "YCbCr", "HSV", "RGBa", "PA"])
def test_any_mode_of_a_picture_is_accepted(mode):
    white = Image.new("RGB", (4, 3), (255, 255, 255))
    picture = (
        white.convert("RGBA").convert("P").convert("PA")
        if mode == "PA"
        else (white.convert("RGBA").convert(mode) if mode == "RGBa" else white.convert(mode))
    )
    image = load_image(picture)
    assert image.shape == (3, 4, 3)
    np.testing.assert_allclose(image, 255, atol=1)


def test_the_first_frame_of_an_animation_counts():
    red, blue = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    for kind, options in [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})]:
        data = encoded(red, kind, save_all=True, append_images=[blue], **options)
        np.testing.assert_array_equal(load_image(data)[4, 4], [255, 0, 0])


def test_ppm_psd_qoi_and_jpeg_2000_are_read():
    psd = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 1, 2, 8, 3) + bytes(12) + b"\0\0"
    psd += bytes([10, 40, 20, 50, 30, 60])  # planes R, G, B
    expected = [[[10, 20, 30], [40, 50, 60]]]
    picture = Image.fromarray(np.array(expected, np.uint8))
    np.testing.assert_array_equal(load_image(psd), expected)
    for kind in ("PPM", "QOI", "JPEG2000", "BMP"):
        np.testing.assert_array_equal(load_image(encoded(picture, kind)), expected)


def test_heic_needs_its_extra_and_says_so(monkeypatch):
    data = heic(toy_photo())
    assert open_image(data).size == (96, 64)
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(MediaFormatError, match=r'pip install "showtell\[heif\]"'):
        open_image(data)


def test_reading_heic_registers_nothing_for_others():
    heic(toy_photo())
    before = set(Image.OPEN)
    open_image(heic(toy_photo()))
    assert {name for name in set(Image.OPEN) - before if name.startswith("HEI")} == set()


# --- what may be given --------------------------------------------------------------------------


def test_every_kind_of_source_gives_the_same_pixels(tmp_path):
    array = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    data = encoded(Image.fromarray(array), "PNG")
    path = tmp_path / "picture.png"
    path.write_bytes(data)

    class BytesPath:
        def __fspath__(self):
            return bytes(path)

    sources = [path, str(path), np.str_(path), BytesPath(), data, Image.open(path), array]
    for source in sources:
        image = load_image(source)
        np.testing.assert_array_equal(image, array)
        assert image.dtype == np.uint8
        assert image.flags.writeable
        assert open_image(source).mode == "RGB"
        np.testing.assert_array_equal(read_media(source).decode(), array)
        if isinstance(source, Image.Image):
            source.close()


def test_the_result_is_independent_of_what_was_given():
    array = np.zeros((2, 2, 3), np.uint8)
    picture = Image.fromarray(array.copy())
    for source in (array, picture):
        image = open_image(source)
        image.putpixel((0, 0), (255, 255, 255))
        assert np.asarray(source).max() == 0


def test_array_layouts_do_not_matter():
    array = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    for same in (np.asfortranarray(array), array[::-1][::-1], array.astype(np.uint8, copy=True)):
        np.testing.assert_array_equal(load_image(same), array)
    wide = np.array([[256, 65535]], np.uint16)
    np.testing.assert_array_equal(load_image(wide.astype(">u2")), load_image(wide))
    np.testing.assert_array_equal(load_image(array[:, :, :1]), load_image(array[:, :, 0]))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4), np.float32), r"uint8, uint16 or bool values, not float32.*\* 255"),
        (np.zeros((4, 4), np.int64), "not int64"),
        (np.zeros((4, 4), np.uint32), "not uint32"),
        (np.zeros((4, 4), object), "not object"),
        (np.zeros((3, 4, 5), np.uint8), r"not \(3, 4, 5\).*transpose\(1, 2, 0\)"),
        (np.zeros((2, 4, 5, 3), np.uint8), "one by one"),
        (np.zeros((4, 4, 2), np.uint8), r"not \(4, 4, 2\)"),
        (np.zeros(4, np.uint8), r"not \(4,\)"),
        (np.zeros((), np.uint8), r"not \(\)"),
        (np.zeros((0, 5), np.uint8), "no pixels"),
        (np.zeros((5, 0, 3), np.uint8), "no pixels"),
    ],
)
def test_arrays_without_a_clear_meaning_are_refused(array, words):
    for call in (load_image, read_media):
        with pytest.raises(MediaFormatError, match=words):
            call(array)


@pytest.mark.parametrize(
    "source", [None, 3, 1.5, ["a.jpg"], bytearray(b"x"), object(), io.BytesIO()]
)
def test_other_objects_are_refused_with_what_is_allowed(source):
    for call in (load_image, read_media):
        with pytest.raises(
            MediaFormatError, match=f"a path.*Crop; this is {type(source).__name__}"
        ):
            call(source)


# --- crops --------------------------------------------------------------------------------------


def test_a_crop_is_cut_from_the_upright_picture():
    data = encoded(picture_of(STORED), "PNG", exif=exif_bytes(6))  # upright 3 wide, 2 high
    np.testing.assert_array_equal(load_image(Crop(image=data, box=(1, 0, 3, 1))), [[C, A]])
    inner = Crop(image=Crop(image=data, box=(1, 0, 3, 2)), box=(1, 1, 2, 2))
    np.testing.assert_array_equal(load_image(inner), [[B]])
    np.testing.assert_array_equal(read_media(inner).decode(min_side=1), [[B]])


def test_a_crop_of_a_large_jpeg_is_not_shrunk():
    data = encoded(toy_photo(800, 600), "JPEG", quality=95)
    crop = Crop(image=data, box=(100, 50, 300, 250))
    np.testing.assert_array_equal(load_image(crop, min_side=10), load_image(data)[50:250, 100:300])


@pytest.mark.parametrize(
    "box",
    [(0, 0, 4, 1), (0, 0, 1, 3), (-1, 0, 1, 1), (1, 1, 1, 2), (2, 0, 1, 1), (0, 0, 1), None,
     (0.5, 0, 1, 1), "abcd", (0, 0, 10**12, 1)],
)  # fmt: skip
def test_a_box_outside_the_picture_is_refused(box):
    array = np.zeros((2, 3, 3), np.uint8)
    with pytest.raises(MediaFormatError, match="box"):
        load_image(Crop(image=array, box=box))


def test_a_box_outside_says_how_large_the_picture_is():
    with pytest.raises(MediaError) as caught:
        open_image(Crop(image=np.zeros((2, 3), np.uint8), box=(0, 0, 9, 1)))
    assert str(caught.value) == (
        "cannot read <array 2x3>#0,0,9,1: the box (0, 0, 9, 1) reaches outside the picture, "
        "which is 3 wide and 2 high (upright)"
    )


def test_a_box_of_numpy_numbers_is_accepted():
    box = tuple(np.array([0, 0, 2, 1]))
    assert load_image(Crop(image=np.zeros((2, 3), np.uint8), box=box)).shape == (1, 2, 3)


def test_a_crop_of_a_missing_file_names_the_file(tmp_path):
    with pytest.raises(MediaError, match=r"gone\.jpg#0,0,1,1: there is no such file"):
        load_image(Crop(image=tmp_path / "gone.jpg", box=(0, 0, 1, 1)))


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize("min_side", [0, -1, 1.5, "224"])
def test_a_senseless_min_side_is_no_fault_of_the_image(min_side):
    for call in (open_image, lambda s, **o: read_media(s).decode(**o)):
        with pytest.raises(InputError, match="min_side") as caught:
            call(np.zeros((2, 2), np.uint8), min_side=min_side)
        assert not isinstance(caught.value, MediaError)


@pytest.mark.parametrize("background", [(0, 0), (0, 0, 256), (0.5, 0, 0), "white", 7, None])
def test_a_senseless_background_is_no_fault_of_the_image(background):
    with pytest.raises(InputError, match="background") as caught:
        open_image(np.zeros((2, 2), np.uint8), background=background)
    assert not isinstance(caught.value, MediaError)


@pytest.mark.parametrize(
    "limits",
    [{"max_bytes": 0}, {"max_pixels": -1}, {"timeout": float("nan")}, {"timeout": "30"}],
)
def test_senseless_limits_are_refused(limits):
    with pytest.raises(InputError, match="positive number"):
        Limits(**limits)


def test_pixel_limits_hold_for_every_kind_of_source():
    array = np.zeros((10, 11), np.uint8)
    limits = Limits(max_pixels=100)
    picture = Image.fromarray(array)
    kinds = ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF"]
    files = [encoded(picture.convert("RGB"), kind) for kind in kinds]
    for source in (array, picture, *files):
        with pytest.raises(MediaLimitError, match="11 x 10 = 110 pixels are more than the 100"):
            open_image(source, limits=limits)
        assert open_image(source, limits=Limits(max_pixels=110)).size == (11, 10)
        with pytest.raises(MediaLimitError):
            open_image(source, limits=limits, min_side=1)


def test_errors_travel_between_processes(tmp_path):
    with pytest.raises(MediaError) as caught:
        open_image(tmp_path / "gone.jpg")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value)
    assert str(again) == str(caught.value)


def test_raw_media_decodes_in_many_threads_and_more_than_once(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(toy_photo(), "JPEG", exif=exif_bytes(6)))
    raw = read_media(path)
    path.unlink()  # the file is not needed again
    expected = np.asarray(raw.decode())
    results = []

    def work():
        results.extend(np.array_equal(raw.decode(), expected) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 160
    assert pickle.loads(pickle.dumps(raw)).digest == raw.digest
    assert "content" not in repr(raw)


def test_shrinking_while_decoding_hardly_changes_the_resized_picture(shared_photo):
    """Mean difference up to 1.0 and single values up to 24 of 255, at 224 pixels."""
    for quality in (70, 95):
        data = encoded(shared_photo, "JPEG", quality=quality)
        full, shrunk = open_image(data), open_image(data, min_side=224)
        assert shrunk.width < full.width
        assert min(shrunk.size) >= 2 * 224
        size = (299, 224)
        a, b = (
            np.asarray(p.resize(size, Image.Resampling.BICUBIC)).astype(int) for p in (full, shrunk)
        )
        assert np.abs(a - b).mean() <= 1.0
        assert np.abs(a - b).max() <= 24


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((895, 2000), (895, 2000)),
        ((896, 2001), (448, 1001)),
        ((2000, 896), (1000, 448)),
        ((3584, 3600), (448, 450)),
    ],
)
def test_a_jpeg_keeps_at_least_twice_the_shorter_side_asked_for(size, expected):
    data = encoded(Image.new("RGB", size), "JPEG")
    assert open_image(data, min_side=224).size == expected
    assert open_image(data).size == size
    turned = encoded(Image.new("RGB", size), "JPEG", exif=exif_bytes(6))
    assert open_image(turned, min_side=224).size == expected[::-1]
    grey = encoded(Image.new("L", size), "JPEG")
    assert open_image(grey, min_side=224).size == expected


@pytest.fixture(scope="module")
def shared_photo():
    """A detailed picture of 3 megapixels, made of the example photos."""
    folder = Path(__file__).resolve().parents[2] / "examples" / "photos"
    photos = sorted(p for p in folder.rglob("*.jpg"))[:12]
    assert len(photos) == 12
    sheet = Image.new("RGB", (2016, 1512))
    for i, path in enumerate(photos):
        tile = open_image(path).resize((504, 504), Image.Resampling.LANCZOS)
        sheet.paste(tile, (i % 4 * 504, i // 4 * 504))
    return sheet


@pytest.mark.data
def test_ordinary_photos_are_what_pillow_makes_of_them(shared_datasets):
    paths = sorted(p for p in shared_datasets.glob("*/test/*/*") if p.is_file())[::40]
    assert len(paths) >= 50
    for path in paths:
        with Image.open(path) as picture:
            expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        np.testing.assert_array_equal(load_image(path), expected, err_msg=path.name)
