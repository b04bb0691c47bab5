"""Toy encoders that count what they are asked."""

from __future__ import annotations

import pytest

from showtell.testing import WordEncoder

VOCABULARY = ["cat", "dog", "fox", "grass", "sky", "whiskers", "tail", "stripes"]


class CountingEncoder(WordEncoder):
    """A WordEncoder that notes every caption it embeds as an image and every text."""

    def __init__(self, vocabulary=VOCABULARY, **kwargs):
        super().__init__(vocabulary, **kwargs)
        self.images_seen: list[str] = []
        self.texts_seen: list[str] = []

    def encode_images(self, images):
        self.images_seen.extend(map(str, images))
        texts_before = list(self.texts_seen)
        try:
            return super().encode_images(images)
        finally:
            self.texts_seen = texts_before

    def encode_texts(self, texts):
        self.texts_seen.extend(texts)
        return super().encode_texts(texts)


@pytest.fixture
def encoder():
    return CountingEncoder()
