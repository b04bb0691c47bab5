"""Odd, damaged and hostile image files, made on the spot, for tests of every room."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms

__all__ = ["encoded", "exif_bytes", "make_spoiled_files", "png_bomb", "toy_photo"]


def toy_photo(width: int = 96, height: int = 64) -> Image.Image:
    """Draw four smooth coloured quarters, different in every corner, so that turns show."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    corners = np.array([[220, 60, 50], [60, 200, 70], [50, 80, 210], [235, 215, 90]], float)
    weights = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], axis=-1) ** 2
    weights /= weights.sum(-1, keepdims=True)
    return Image.fromarray(np.rint(weights @ corners).astype(np.uint8))


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Bytes of a picture as a file of the given Pillow format."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def exif_bytes(orientation: int) -> bytes:
    """EXIF with nothing but an orientation, as it stands in a JPEG."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def png_bomb(side: int = 40_000) -> bytes:
    """A small, valid black-and-white PNG of `side` x `side` pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    packer = zlib.compressobj(1)
    rows = bytes((1 + (side + 7) // 8) * 500)
    body = b"".join(packer.compress(rows) for _ in range(side // 500))
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", body + packer.flush())
        + chunk(b"IEND", b"")
    )


def make_spoiled_files(
    folder: Path, photo: Image.Image | None = None
) -> dict[str, Literal["ok", "error"]]:
    """Write one file of each odd or damaged kind and say which ones can be read.

    Every readable file shows `photo`, upright, so its label should be that of `photo`: exactly,
    or as far as its format allows (fewer colours, grey, another size).

    Parameters
    ----------
    folder : Path
        Gets the files; made if absent.
    photo : PIL.Image.Image of mode RGB, optional
        By default four smooth coloured quarters.

    Returns
    -------
    expected : dict of str to {"ok", "error"}
        By file name. Names that are no UTF-8 hold surrogates, as `os.listdir` gives them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photo = (photo or toy_photo()).convert("RGB")
    files: dict[str, bytes] = {}
    files.update(_readable(photo))
    readable = set(files)
    files.update(_unreadable(photo))
    for name, data in files.items():
        Path(folder, name).write_bytes(data)
    (folder / "folder.jpg").mkdir()
    (folder / "link_to_nothing.jpg").symlink_to("nowhere.jpg")
    others = ["folder.jpg", "link_to_nothing.jpg"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.jpg")
        others.append("pipe.jpg")
    return {name: "ok" if name in readable else "error" for name in (*files, *others)}


def _readable(photo: Image.Image) -> dict[str, bytes]:
    """Odd but whole pictures."""
    jpeg = encoded(photo, "JPEG", quality=95)
    grey = np.asarray(photo.convert("L"))
    see_through = photo.convert("RGBA")
    wide = Image.new("RGBA", (photo.width * 2, photo.height * 2), (9, 9, 9, 0))
    other = photo.transpose(Image.Transpose.ROTATE_180)
    turned = photo.transpose(Image.Transpose.ROTATE_90)  # orientation 6 turns it back
    frames = {"save_all": True, "append_images": [other]}
    broken_exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03\xff\xff\xff\xff"
    rgb = ImageCms.createProfile("sRGB")
    lab = ImageCms.profileToProfile(photo, rgb, ImageCms.createProfile("LAB"), outputMode="LAB")
    assert lab is not None
    return {
        "cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG", quality=95),
        "cmyk.tif": encoded(photo.convert("CMYK"), "TIFF"),
        "lab.tif": encoded(lab, "TIFF"),
        "turned.jpg": encoded(turned, "JPEG", quality=95, exif=exif_bytes(6)),
        "turned.png": encoded(turned, "PNG", exif=exif_bytes(6)),
        "turned.tif": encoded(turned, "TIFF", tiffinfo={274: 6}),
        "broken_exif.jpg": encoded(photo, "JPEG", quality=95, exif=broken_exif),
        "progressive.jpg": encoded(photo, "JPEG", quality=95, progressive=True),
        "grey.jpg": encoded(photo.convert("L"), "JPEG", quality=95),
        "grey_16_bit.png": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
        "grey_16_bit.tif": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF"),
        "grey_16_bit.pgm": b"P5\n%d %d\n65535\n" % photo.size
        + (grey.astype(">u2") * 257).tobytes(),
        "colour_16_bit.png": _png_16_bit(np.asarray(photo)),
        "float.tif": encoded(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
        "black_and_white.png": encoded(photo.convert("1"), "PNG"),
        "black_and_white.tif": encoded(photo.convert("1"), "TIFF", compression="group4"),
        "palette.png": encoded(photo.quantize(255), "PNG", transparency=b"\xff" * 255),
        "transparent.png": encoded(see_through, "PNG"),
        "grey_alpha.png": encoded(photo.convert("LA"), "PNG"),
        "animated.gif": encoded(photo, "GIF", **frames),
        "animated.png": encoded(photo, "PNG", **frames),
        "animated.webp": encoded(photo, "WEBP", quality=95, **frames),
        "pages.tif": encoded(photo, "TIFF", compression="tiff_lzw", **frames),
        "photo.avif": encoded(photo, "AVIF", quality=90),
        "photo.jp2": encoded(photo, "JPEG2000"),
        "photo.bmp": encoded(photo, "BMP"),
        "photo.ico": encoded(photo.resize((64, 64)), "ICO", sizes=[(64, 64)]),
        "png_named.jpg": encoded(photo, "PNG"),
        "no_extension": jpeg,
        "junk_at_the_end.jpg": jpeg + bytes(range(256)),
        os.fsdecode(b"caf\xe9.jpg"): jpeg,
        "Katze \N{CAT} 猫.jpg": jpeg,
        "<img src=x onerror=alert(1)>.jpg": jpeg,
        "two\nlines.jpg": jpeg,
        "-o.jpg": jpeg,
        "[a]*?.jpg": jpeg,
        "hidden_colours.png": encoded(_framed(wide, photo), "PNG"),
    }


def _framed(canvas: Image.Image, photo: Image.Image) -> Image.Image:
    """The photo on a see-through canvas whose hidden pixels are dark."""
    canvas = canvas.copy()
    canvas.paste(photo.convert("RGBA").resize(canvas.size))
    canvas.putpixel((0, 0), (9, 9, 9, 0))
    return canvas


def _unreadable(photo: Image.Image) -> dict[str, bytes]:
    """Damaged files, hostile ones, and ones that are no pictures."""
    # Enough detail that half a file is half a picture.
    noise = np.random.default_rng(0).integers(0, 40, (240, 320, 3), dtype=np.uint8)
    detailed = Image.fromarray(np.asarray(photo.resize((320, 240))) // 2 + noise)
    half = {
        "truncated.jpg": encoded(detailed, "JPEG"),
        "truncated_progressive.jpg": encoded(detailed, "JPEG", progressive=True),
        "truncated.png": encoded(detailed, "PNG"),
        "truncated.gif": encoded(detailed, "GIF"),
        "truncated.webp": encoded(detailed, "WEBP"),
        "truncated.tif": encoded(detailed, "TIFF", compression="tiff_lzw"),
        "truncated_plain.tif": encoded(detailed, "TIFF"),
        "truncated.bmp": encoded(detailed, "BMP"),
        "truncated.avif": encoded(detailed, "AVIF"),
        "truncated.jp2": encoded(detailed, "JPEG2000"),
    }
    vp8x = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\0" * 2
    return {
        **{name: data[: len(data) // 2] for name, data in half.items()},
        "header_only.jpg": encoded(photo, "JPEG")[:4],
        "empty.jpg": b"",
        "text.jpg": b"This is a shopping list, not a photo.\n",
        "web_page.jpg": b"<!DOCTYPE html>\n<html><title>404 Not Found</title></html>",
        "noise.jpg": np.random.default_rng(1).bytes(5000),
        "zeros.jpg": bytes(5000),
        "document.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "drawing.png": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "video.jpg": b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2" + bytes(100),
        "archive.jpg": b"PK\x03\x04" + bytes(100),
        "lfs_pointer.jpg": b"version https://git-lfs.github.com/spec/v1\nsize 12345\n",
        "bomb.png": png_bomb(),
        "bomb.webp": b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x,
    }


def _png_16_bit(rgb: np.ndarray) -> bytes:
    """RGB with 16 bits per channel, which Pillow cannot write."""
    height, width, _ = rgb.shape
    wide = (rgb.astype(">u2") * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
