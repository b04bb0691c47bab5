"""Bytes to pixels: any image a person may have, upright, RGB, uint8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from showtell._lazy import lazy_names

if TYPE_CHECKING:
    from showtell.media.clip import Clip, probe
    from showtell.media.frames import find_cuts, frames_at
    from showtell.media.image import (
        RawMedia,
        content_hash,
        dhash,
        load_image,
        open_image,
        read_media,
    )
    from showtell.media.pages import Pages, read_pages
    from showtell.media.source import DEFAULT_LIMITS, Crop, Limits, Media, is_url, media_name

__all__ = [
    "DEFAULT_LIMITS",
    "Clip",
    "Crop",
    "Limits",
    "Media",
    "Pages",
    "RawMedia",
    "content_hash",
    "dhash",
    "find_cuts",
    "frames_at",
    "is_url",
    "load_image",
    "media_name",
    "open_image",
    "probe",
    "read_media",
    "read_pages",
]

_NAMES_OF = {
    "clip": "Clip probe",
    "frames": "find_cuts frames_at",
    "pages": "Pages read_pages",
    "image": "RawMedia content_hash dhash load_image open_image read_media",
    "source": "Crop DEFAULT_LIMITS Limits Media is_url media_name",
}

__getattr__, __dir__ = lazy_names(__name__, _NAMES_OF)
