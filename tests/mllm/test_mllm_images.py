"""What is sent: upright, without a trace of metadata, untouched where nothing needs to change."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from showtell.errors import InputError, MediaError, MediaFormatError, MediaLimitError
from showtell.media import Crop, open_image, read_media
from showtell.mllm import Capabilities, capabilities_of
from showtell.mllm.images import prepare_image

GPS = b"51deg30m26s-PLANTED-N-0deg7m39s-W"
ANY = Capabilities(formats=("image/jpeg", "image/png", "image/webp"))


def picture(width=64, height=48, seed=0):
    """A ramp with some noise: directions can be told apart, and it compresses like a photo."""
    noise = np.random.default_rng(seed).integers(0, 24, (height, width, 3))
    ramp = np.linspace(0, 200, width)[None, :, None] + np.linspace(0, 30, height)[:, None, None]
    return Image.fromarray((ramp + noise).astype(np.uint8))


def exif(orientation=None):
    block = Image.Exif()
    block[0x010F] = GPS.decode()  # maker
    if orientation is not None:
        block[0x0112] = orientation
    place = block.get_ifd(0x8825)
    place[1], place[3] = "N", "W"
    place[2] = (51.0, 30.0, 26.0)
    place[29] = GPS.decode()
    return block


def encode(image, format_, **options):
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def prepare(data, **options):
    options.setdefault("capabilities", ANY)
    return prepare_image(read_media(data), **options)


def opened(part):
    return Image.open(io.BytesIO(part.data))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_an_image_that_needs_no_change_is_sent_byte_for_byte(format_):
    data = encode(picture(), format_)
    raw = read_media(data)
    part = prepare_image(raw, capabilities=ANY)
    assert part.data is data
    assert part.media_type == f"image/{format_.lower()}"
    assert (part.width, part.height) == (64, 48)
    assert part.digest == raw.digest


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 1}])
def test_progressive_jpegs_and_restart_markers_are_followed_to_the_end(options):
    data = encode(picture(200, 100), "JPEG", **options)
    assert prepare(data).data is data
    with_exif = encode(picture(200, 100), "JPEG", exif=exif(), **options)
    assert prepare(with_exif).data == data


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_metadata_is_cut_out_and_the_pixels_stay_as_they_were_compressed(format_):
    options = {"lossless": True} if format_ == "WEBP" else {}
    clean = encode(picture(), format_, **options)
    data = encode(picture(), format_, exif=exif(orientation=1), **options)
    assert GPS in data
    part = prepare(data)
    assert GPS not in part.data
    assert b"Exif" not in part.data
    assert b"EXIF" not in part.data
    assert b"eXIf" not in part.data
    assert len(part.data) <= len(clean) + 20  # WebP keeps its extended header
    np.testing.assert_array_equal(
        np.asarray(opened(part)), np.asarray(Image.open(io.BytesIO(data)))
    )


def test_comments_xmp_texts_thumbnails_and_whatever_follows_the_image_are_cut_out():
    jpeg = encode(picture(), "JPEG", comment=GPS, xmp=b"<x>" + GPS + b"</x>")
    jpeg = (
        jpeg[:2]
        + b"\xff\xe0"
        + struct.pack(">H", 2 + 7 + len(GPS))
        + b"JFXX\0\x10\0"
        + GPS
        + jpeg[2:]
    )
    jpeg += GPS + encode(picture(8, 8), "JPEG")
    info = PngImagePlugin.PngInfo()
    info.add_text("place", GPS.decode())
    info.add_itxt("XML:com.adobe.xmp", GPS.decode())
    png = encode(picture(), "PNG", pnginfo=info) + GPS
    webp = encode(picture(), "WEBP", xmp=GPS) + GPS
    for data in (jpeg, png, webp):
        assert GPS in data
        part = prepare(data)
        assert GPS not in part.data
        assert opened(part).size == (64, 48)
        opened(part).load()
    assert prepare(jpeg).data == encode(picture(), "JPEG")
    assert prepare(png).data == encode(picture(), "PNG")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_image_arrives_upright_and_without_its_exif(format_, orientation):
    data = encode(picture(), format_, exif=exif(orientation))
    part = prepare(data)
    want = open_image(data)
    assert GPS not in part.data
    assert (part.width, part.height) == want.size == opened(part).size
    assert opened(part).getexif().get(0x0112) is None
    difference = np.asarray(opened(part), float) - np.asarray(want, float)
    assert np.abs(difference).mean() < 8  # JPEG at high quality
    # A wrong turn would differ by far more than the compression does.
    assert np.abs(difference[:, ::-1] - difference).mean() < 16


def test_damaged_exif_leads_to_decoding_so_that_nothing_can_hide():
    data = encode(picture(), "JPEG")
    segment = b"Exif\0\0II*\0" + struct.pack("<I", 60_000) + GPS
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(segment)) + segment + data[2:]
    part = prepare(data)
    assert GPS not in part.data
    assert part.data != encode(picture(), "JPEG")


def test_a_colour_profile_stays_with_the_file_it_belongs_to():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encode(picture(), "JPEG", icc_profile=profile)
    assert prepare(data).data is data


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((64, 48), 64, (64, 48)),
        ((64, 48), 32, (32, 24)),
        ((48, 64), 32, (24, 32)),
        ((1000, 3), 100, (100, 1)),
        ((333, 333), 100, (100, 100)),
        ((4000, 1), 100, (100, 1)),
    ],
)
def test_larger_images_are_scaled_down_to_max_side(size, max_side, expected):
    part = prepare(encode(picture(*size), "PNG"), max_side=max_side)
    assert (part.width, part.height) == expected == opened(part).size


def test_an_image_that_must_be_scaled_carries_no_metadata_either():
    for data in (
        encode(picture(), "JPEG", exif=exif(), comment=GPS),
        encode(picture(), "PNG", exif=exif()),
        encode(picture(), "GIF", comment=GPS),
        encode(picture(), "TIFF", exif=exif()),
    ):
        part = prepare(data, max_side=32)
        assert GPS not in part.data
        assert part.media_type == "image/jpeg"


def test_other_formats_arrays_pictures_and_crops_become_jpeg():
    array = np.asarray(picture())
    sources = [
        encode(picture(), "BMP"),
        encode(picture(), "TIFF"),
        array,
        picture(),
        Crop(image=encode(picture(), "JPEG", exif=exif()), box=(10, 10, 40, 30)),
    ]
    for source in sources:
        part = prepare(source)
        assert part.media_type == "image/jpeg"
        assert GPS not in part.data
        assert opened(part).size == (part.width, part.height)
    assert (part.width, part.height) == (30, 20)


def test_cmyk_and_animations_are_decoded_because_not_every_provider_reads_them():
    cmyk = encode(picture().convert("CMYK"), "JPEG")
    assert opened(prepare(cmyk)).mode == "RGB"
    frames = [picture(seed=i) for i in range(3)]
    for format_ in ("PNG", "WEBP"):
        data = encode(frames[0], format_, save_all=True, append_images=frames[1:])
        part = prepare(data)
        assert part.media_type == "image/jpeg"
        assert not getattr(opened(part), "is_animated", False)


def test_a_format_the_model_does_not_take_is_converted():
    part = prepare(encode(picture(), "WEBP"), capabilities=capabilities_of("ollama:llava"))
    assert part.media_type == "image/jpeg"
    with pytest.raises(MediaFormatError, match="takes image/png only"):
        prepare(encode(picture(), "BMP"), capabilities=Capabilities(formats=("image/png",)))


def test_limits_of_the_model_decide_size_and_bytes():
    noise = np.random.default_rng(0).integers(0, 256, (800, 1000, 3)).astype(np.uint8)
    data = encode(Image.fromarray(noise), "PNG")
    part = prepare(data, capabilities=Capabilities(max_image_bytes=100_000))
    assert len(part.data) <= 100_000
    assert part.width < 1000
    assert part.width / part.height == pytest.approx(1.25, rel=0.02)
    part = prepare(data, capabilities=Capabilities(max_pixels=10_000))
    assert part.width * part.height <= 10_000
    part = prepare(data, capabilities=Capabilities(max_side=500))
    assert part.width == 500
    part = prepare(data, capabilities=Capabilities(useful_side=600))
    assert part.width == 600
    part = prepare(
        data, capabilities=Capabilities(max_side=900, max_side_many=200, many_images=3), n_images=4
    )
    assert part.width == 200
    with pytest.raises(MediaLimitError, match="below the model's 10 bytes"):
        prepare(data, capabilities=Capabilities(max_image_bytes=10))


def test_a_given_side_beats_the_useful_one_but_never_the_limit():
    data = encode(picture(300, 200), "PNG")
    known = Capabilities(useful_side=100, max_side=200)
    assert prepare(data, capabilities=known).width == 100
    assert prepare(data, capabilities=known, max_side=150).width == 150
    assert prepare(data, capabilities=known, max_side=250).width == 200


def test_quality_survives_shrinking_while_decoding():
    large = picture(2000, 1500)
    part = prepare(encode(large, "JPEG", quality=95), max_side=500)
    want = np.asarray(large.resize((500, 375), Image.Resampling.LANCZOS), float)
    assert np.abs(np.asarray(opened(part), float) - want).mean() < 3


def test_equal_content_gives_an_equal_digest_whatever_the_metadata():
    plain, tagged = encode(picture(), "JPEG"), encode(picture(), "JPEG", exif=exif())
    assert prepare(plain).digest == prepare(tagged).digest


def test_bytes_never_show_in_the_repr():
    part = prepare(encode(picture(), "JPEG"))
    assert "data" not in repr(part)


def test_a_damaged_image_is_an_error_of_that_image():
    with pytest.raises(MediaError, match="cut short"):
        prepare(encode(picture(400, 400), "JPEG")[:-3000])
    with pytest.raises(InputError, match="max_side"):
        prepare(encode(picture(), "JPEG"), max_side=0)


BASES = {
    format_: encode(picture(40, 30), format_, exif=exif()) for format_ in ("JPEG", "PNG", "WEBP")
}


@given(
    format_=st.sampled_from(sorted(BASES)),
    place=st.floats(0, 1),
    junk=st.binary(max_size=12),
    cut=st.booleans(),
)
def test_no_damage_leads_to_anything_but_a_picture_or_a_media_error(format_, place, junk, cut):
    data = BASES[format_]
    at = int(place * len(data))
    spoiled = data[:at] + junk + (b"" if cut else data[at + len(junk) :])
    try:
        part = prepare(spoiled)
    except MediaError:
        return
    assert part.width > 0
    assert part.height > 0
    assert part.media_type in ANY.formats
