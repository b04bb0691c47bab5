"""Media and text to unit vectors."""

from __future__ import annotations

from showtell.encoders.base import Embeddings, Encoder, PixelEncoder, unit

__all__ = ["Embeddings", "Encoder", "PixelEncoder", "unit"]
