"""Pictures to the input of a CLIP-family network, with Pillow and NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_LONGEST = 32  # times the crop: longer pictures are cut before they are resized


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """How one model wants its pictures; every field comes from its configuration."""

    resize: Literal["shortest", "squash", "none"]
    """Shorter side to `side` keeping proportions, or both sides without, or not at all."""
    side: tuple[int, int]
    """Target (height, width) of squashing; the shorter side, twice, otherwise."""
    crop: tuple[int, int] | None
    """(height, width) cut from the centre; black where the picture is smaller."""
    centre: Literal["floor", "round"]
    """How half a pixel is decided when centring: transformers' way or torchvision's."""
    resample: int
    """Pillow's number of the filter; 3 is bicubic."""
    rescale: float
    """Multiplies pixel values; 1/255 for nearly all models."""
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def height_width(self) -> tuple[int, int]:
        """Size of what `prepare` makes."""
        return self.crop or self.side

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """Resize, crop and scale one RGB picture, shape (3, height, width), float32."""
        if image.mode != "RGB":
            image = image.convert("RGB")
        pixels = self._cut(self._sized(image))  # (height, width, 3) uint8
        # value = pixel * rescale, then (value - mean) / std, as one multiplication and addition
        std = np.array(self.std)
        scale = (self.rescale / std).astype(np.float32)
        shift = (-np.array(self.mean) / std).astype(np.float32)
        planes = pixels.transpose(2, 0, 1).astype(np.float32)
        planes *= scale[:, None, None]
        planes += shift[:, None, None]
        return planes

    def _sized(self, image: Image.Image) -> Image.Image:
        resample = Image.Resampling(self.resample)
        if self.resize == "none":
            return image
        if self.resize == "squash":
            height, width = self.side
            return image.resize((width, height), resample)
        short, long = sorted(image.size)
        new_short, new_long = self.side[0], int(self.side[0] * long / short)
        is_upright = image.width <= image.height
        size = (new_short, new_long) if is_upright else (new_long, new_short)
        if self.crop is None or new_long <= _LONGEST * max(self.crop):
            return image.resize(size, resample)
        # a strip: resizing all of it could take gigabytes, so resize only what the crop keeps
        kept = self.crop[0] if is_upright else self.crop[1]
        start = _start(new_long, kept, self.centre)
        first, last = start * long / new_long, (start + kept) * long / new_long
        margin = ceil(3 * max(1.0, short / new_short)) + 2  # as far as any filter reaches
        cut = max(0, int(first) - margin)
        end = min(long, int(last) + margin + 1)
        first, last = first - cut, last - cut
        if is_upright:
            image = image.crop((0, cut, short, end))
            return image.resize((new_short, kept), resample, box=(0, first, short, last))
        image = image.crop((cut, 0, end, short))
        return image.resize((kept, new_short), resample, box=(first, 0, last, short))

    def _cut(self, image: Image.Image) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = np.asarray(image)
        if self.crop is None or pixels.shape[:2] == self.crop:
            return pixels
        height, width = self.crop
        top = _start(pixels.shape[0], height, self.centre)
        left = _start(pixels.shape[1], width, self.centre)
        if top >= 0 and left >= 0:
            return pixels[top : top + height, left : left + width]
        canvas = np.zeros((height, width, 3), np.uint8)  # black before the colours are normalised
        inside = pixels[max(top, 0) : top + height, max(left, 0) : left + width]
        y, x = max(-top, 0), max(-left, 0)
        canvas[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        return canvas


def _start(whole: int, part: int, centre: str) -> int:
    """First pixel of a centred part; negative where the part is larger."""
    return (whole - part) // 2 if centre == "floor" else round((whole - part) / 2)
