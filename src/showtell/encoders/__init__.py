"""Media and text to unit vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from showtell._lazy import lazy_names

if TYPE_CHECKING:
    from showtell.encoders.base import Embeddings, Encoder, unit
    from showtell.encoders.embed import ImageEmbeddings, embed_images, embed_texts
    from showtell.encoders.pixels import PixelEncoder
    from showtell.encoders.registry import EncoderInfo, list_encoders, load_encoder
    from showtell.encoders.store import (
        EmbeddingStore,
        StoredEncoder,
        StoreStats,
        StoreWarning,
        default_store,
    )


__all__ = [
    "EmbeddingStore",
    "Embeddings",
    "Encoder",
    "EncoderInfo",
    "ImageEmbeddings",
    "PixelEncoder",
    "StoreStats",
    "StoreWarning",
    "StoredEncoder",
    "default_store",
    "embed_images",
    "embed_texts",
    "list_encoders",
    "load_encoder",
    "unit",
]

_NAMES_OF = {
    "base": "Embeddings Encoder unit",
    "embed": "ImageEmbeddings embed_images embed_texts",
    "pixels": "PixelEncoder",
    "registry": "EncoderInfo list_encoders load_encoder",
    "store": "EmbeddingStore StoreStats StoreWarning StoredEncoder default_store",
}

__getattr__, __dir__ = lazy_names(__name__, _NAMES_OF)
