"""Pictures that show nothing, to see what a model says before it has seen anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from showtell.errors import MediaError
from showtell.media import Media, load_image

_FOR_THE_MEAN = 32
_BLURRED = 2


def content_free_pictures(
    seed: int = 0, *, images: Sequence[Media] = (), side: int = 224
) -> list[Image.Image]:
    """Pictures that show nothing: mid-grey, white noise, blurred noise, and what images blur into.

    `seed`: of the noise, and of which images are taken. `images`: images of the kind that is to be
    classified: adds their mean (over 32 of them) and two of them blurred beyond recognition. Those
    that cannot be read are passed over. `side`: pixels. Returns `pictures`: RGB, square.

    Examples
    --------
    >>> [picture.size for picture in content_free_pictures(side=32)]
    [(32, 32), (32, 32), (32, 32)]
    """
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    blobs = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    blurred = blobs.resize((side, side), Image.Resampling.BICUBIC)
    pictures = [Image.new("RGB", (side, side), (128, 128, 128)), noise, _blurred(blurred)]
    usable: list[Image.Image] = []
    for row in rng.permutation(len(images))[: 2 * _FOR_THE_MEAN].tolist():
        try:
            one = Image.fromarray(load_image(images[row]))
        except MediaError:
            continue
        usable.append(one.resize((side, side), Image.Resampling.BILINEAR))
        if len(usable) == _FOR_THE_MEAN:
            break
    if usable:
        mean = np.mean([np.asarray(one, np.float32) for one in usable], axis=0)
        pictures.append(Image.fromarray(mean.round().astype(np.uint8)))
        pictures += [_blurred(one) for one in usable[:_BLURRED]]
    return pictures


def _blurred(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(picture.width / 8))
