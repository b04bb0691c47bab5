"""Bytes to pixels: any image a person may have, upright, RGB, uint8."""

from __future__ import annotations

from showtell.media.source import Crop, Media, media_name

__all__ = ["Crop", "Media", "media_name"]
