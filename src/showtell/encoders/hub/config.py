"""What a model folder says about itself: family, preprocessing, padding, weights."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from showtell.encoders.hub.image import ImageSpec
from showtell.encoders.hub.text import TextSpec, read_tokenizer
from showtell.errors import InputError
from showtell.records.reading import TEXT_BYTES, parse_json, read_text, read_up_to

CONFIG_FILES = (
    "config.json",
    "open_clip_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)
"""Small files that say how the weights are to be used."""

_FAMILIES = "CLIP, OpenCLIP (ViT towers), SigLIP and SigLIP 2 with a fixed resolution"
_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Which files hold the numbers, and in which form."""

    kind: Literal["towers", "joint", "transformers", "open_clip"]
    """Two ONNX files, one ONNX file, or safetensors in one of two layouts."""
    precision: Literal["fp32", "int8"]
    files: tuple[str, ...]
    """Relative to the folder; for towers the image file first."""


@dataclass(frozen=True, kw_only=True)
class HubModel:
    """A model folder, understood."""

    folder: Path
    family: Literal["clip", "siglip"]
    n_dims: int
    image: ImageSpec
    text: TextSpec
    tokenizer: Any
    weights: Weights
    config: Mapping[str, Any]
    """The file that describes the architecture."""


def choose_weights(files: Sequence[str], precision: str, name: str) -> Weights:
    """Pick the weights to load among the files of a folder or repository.

    ONNX first, because it needs nothing more; of the rest only safetensors, because nothing is
    unpickled. int8 is made from fp32 where it is not published.
    """
    there = {file.replace("\\", "/") for file in files}
    scalars = "model.safetensors" in there
    fp32, int8 = _onnx(there, ("",), scalars), _onnx(there, ("_int8", "_quantized"), scalars)
    if precision == "int8" and int8:
        return Weights(kind=int8[0], precision="int8", files=int8[1])
    if fp32:
        return Weights(kind=fp32[0], precision="fp32", files=fp32[1])
    for kind, stem in (("transformers", "model"), ("open_clip", "open_clip_model")):
        needed = "config.json" if kind == "transformers" else "open_clip_config.json"
        if needed not in there:
            continue
        if f"{stem}.safetensors" in there:
            found: tuple[str, ...] = (f"{stem}.safetensors",)
        elif f"{stem}.safetensors.index.json" in there:
            shards = sorted(f for f in there if f.startswith(f"{stem}-") and f.endswith("tensors"))
            found = (f"{stem}.safetensors.index.json", *shards)
        else:
            continue
        return Weights(kind=kind, precision="fp32", files=found)  # type: ignore[arg-type]
    if int8 and precision == "auto":
        return Weights(kind=int8[0], precision="int8", files=int8[1])
    if int8:
        raise InputError(
            f"{name} has int8 weights only ({', '.join(int8[1])}); use precision='auto' or 'int8'."
        )
    pickles = sorted(f for f in there if f.endswith((".bin", ".pt", ".pth", ".ckpt")))
    if pickles:
        raise InputError(
            f"{name} has its weights only as {', '.join(pickles)}, a pickle format, and showtell "
            "unpickles nothing because that may run code. Convert once, where you trust the "
            "source: in Python, `AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER, "
            "safe_serialization=True)`, or use a repository or revision with model.safetensors."
        )
    raise InputError(
        f"{name} has no weights that can be read: neither ONNX (onnx/vision_model.onnx and "
        "onnx/text_model.onnx, or onnx/model.onnx) nor safetensors (model.safetensors with "
        "config.json, or open_clip_model.safetensors with open_clip_config.json)."
    )


def _onnx(
    there: set[str], endings: Sequence[str], has_scalars: bool
) -> tuple[Literal["towers", "joint"], tuple[str, ...]] | None:
    found: list[tuple[Literal["towers", "joint"], tuple[str, ...]]] = []
    for folder in ("onnx/", ""):
        for ending in endings:
            towers = tuple(f"{folder}{part}_model{ending}.onnx" for part in ("vision", "text"))
            joint = (f"{folder}model{ending}.onnx",)
            if there.issuperset(towers):
                found.append(("towers", towers))
            if there.issuperset(joint):
                found.append(("joint", joint))
    if not found:
        return None
    # the joint file knows the logit scale, towers need it from elsewhere but waste nothing
    found.sort(key=lambda one: one[0] == ("joint" if has_scalars else "towers"))
    kind, files = found[0]
    data = tuple(f"{f}{end}" for f in files for end in ("_data", ".data") if f"{f}{end}" in there)
    return kind, files + data


def read_model(folder: Path, precision: str, name: str) -> HubModel:
    """Read all configuration files of a folder."""
    if not folder.is_dir():
        raise InputError(f"{name}: there is no folder {str(folder)!r}.")
    files = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    if not {"config.json", "open_clip_config.json"} & set(files):
        raise InputError(
            f"{name} has neither config.json nor open_clip_config.json, so it is not the folder "
            f"of a model. Readable are {_FAMILIES}."
        )
    config = _json(folder, "config.json", name)
    family = _family(config, name) if config else None
    weights = choose_weights(files, precision, name)
    if weights.kind == "open_clip" or family is None:
        return _read_open_clip(folder, weights, name)
    text, vision = config.get("text_config") or {}, config.get("vision_config") or {}
    if family == "clip":
        n_dims = int(config.get("projection_dim") or 512)
    else:
        n_dims = int(text.get("projection_size") or text.get("hidden_size") or 768)
    tokenizer = read_tokenizer(folder, name)
    n_positions = int(text.get("max_position_embeddings") or 0)
    return HubModel(
        folder=folder,
        family=family,
        n_dims=n_dims,
        image=_image_spec(folder, family, vision, name),
        text=_text_spec(folder, family, tokenizer, n_positions, name),
        tokenizer=tokenizer,
        weights=weights,
        config=config,
    )


def _family(config: Mapping[str, Any], name: str) -> Literal["clip", "siglip"] | None:
    kind = config.get("model_type")
    if kind == "clip":
        return "clip"
    if kind == "siglip":
        return "siglip"
    if kind == "siglip2":
        raise InputError(
            f"{name} is a SigLIP 2 model of variable resolution (NaFlex), which is not supported; "
            "take its sister with a fixed one, for example google/siglip2-base-patch16-224."
        )
    if kind is None:
        return None
    raise InputError(f"{name} is of type {kind!r}. Readable are {_FAMILIES}.")


def _image_spec(
    folder: Path, family: Literal["clip", "siglip"], vision: Mapping[str, Any], name: str
) -> ImageSpec:
    settings = _json(folder, "preprocessor_config.json", name)
    if not settings:
        settings = (_json(folder, "processor_config.json", name)).get("image_processor") or {}
    if not settings:
        raise InputError(
            f"{name} has no preprocessor_config.json, so how its pictures are to be prepared is "
            "not known. Copy the file from the model it was made from."
        )
    size = settings.get("size", 224)
    resize: Literal["shortest", "squash", "none"]
    if not settings.get("do_resize", True):
        side = int(vision.get("image_size", 224))
        resize, sides = "none", (side, side)
    elif isinstance(size, int):
        resize, sides = ("shortest" if family == "clip" else "squash"), (size, size)
    elif set(size) == {"shortest_edge"}:
        resize, sides = "shortest", (int(size["shortest_edge"]),) * 2
    elif set(size) == {"height", "width"}:
        resize, sides = "squash", (int(size["height"]), int(size["width"]))
    else:
        raise InputError(
            f"{name} resizes pictures by {sorted(size)}; known are shortest_edge, or height and "
            "width."
        )
    crop: tuple[int, int] | None = None
    if settings.get("do_center_crop", family == "clip"):
        cut = settings.get("crop_size", 224)
        if not isinstance(cut, int) and set(cut) != {"height", "width"}:
            raise InputError(f"{name} crops pictures by {sorted(cut)}; known is height and width.")
        crop = (cut, cut) if isinstance(cut, int) else (int(cut["height"]), int(cut["width"]))
    if crop is None and resize != "squash":
        raise InputError(
            f"{name} neither crops nor squashes its pictures, so they have no common size."
        )
    is_normalised = settings.get("do_normalize", True)
    default = (_OPENAI_MEAN, _OPENAI_STD) if family == "clip" else ((0.5,) * 3, (0.5,) * 3)
    return ImageSpec(
        resize=resize,
        side=sides,
        crop=crop,
        centre="floor",
        resample=int(settings.get("resample", 3)),
        rescale=(
            float(settings.get("rescale_factor", 1 / 255))
            if settings.get("do_rescale", True)
            else 1.0
        ),
        mean=_three(settings.get("image_mean") or default[0]) if is_normalised else (0.0,) * 3,
        std=_three(settings.get("image_std") or default[1]) if is_normalised else (1.0,) * 3,
    )


def _text_spec(
    folder: Path, family: Literal["clip", "siglip"], tokenizer: Any, n_positions: int, name: str
) -> TextSpec:
    settings = _json(folder, "tokenizer_config.json", name)
    kind = str(settings.get("tokenizer_class") or "").removesuffix("Fast")
    clean: Literal["none", "lower", "canonical"] = "none"
    if family == "siglip":
        n_positions = min(n_positions or 64, 64)
        if kind in {"SiglipTokenizer", "T5Tokenizer"}:
            clean = "canonical"
        elif kind in {"GemmaTokenizer", "Siglip2Tokenizer"}:
            clean = "lower"
    side = settings.get("padding_side", "left" if kind == "Siglip2Tokenizer" else "right")
    return TextSpec(
        max_tokens=n_positions or 77,
        is_padded=family == "siglip",
        pad_id=_pad_id(folder, tokenizer, settings, family, name),
        pad_side="left" if side == "left" else "right",
        clean=clean,
    )


def _pad_id(
    folder: Path, tokenizer: Any, settings: Mapping[str, Any], family: str, name: str
) -> int:
    special = _json(folder, "special_tokens_map.json", name)
    token = settings.get("pad_token") or special.get("pad_token")
    if isinstance(token, Mapping):
        token = token.get("content")
    if token is None and family == "clip":
        token = "<|endoftext|>"  # noqa: S105 (a word piece)
    number = tokenizer.token_to_id(token) if isinstance(token, str) else None
    if number is None and tokenizer.padding:
        number = tokenizer.padding["pad_id"]
    if number is None:
        raise InputError(
            f"{name}: tokenizer_config.json names no padding token that is in the vocabulary "
            f"(found {token!r}); SigLIP models need one."
        )
    return int(number)


def _read_open_clip(folder: Path, weights: Weights, name: str) -> HubModel:
    whole = _json(folder, "open_clip_config.json", name)
    model, prepare = whole.get("model_cfg") or {}, whole.get("preprocess_cfg") or {}
    vision, text = model.get("vision_cfg") or {}, model.get("text_cfg") or {}
    if "timm_model_name" in vision or "hf_model_name" in text or "init_logit_bias" in model:
        raise InputError(
            f"{name} is an OpenCLIP model with towers of timm or transformers or with SigLIP's "
            "loss; of OpenCLIP only the plain ViT towers are readable. Many of these models are "
            "also published for transformers (google/siglip-..., apple/... with config.json)."
        )
    side = vision.get("image_size", 224)
    height_width = (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))
    mode = prepare.get("resize_mode", "shortest")
    if mode not in {"shortest", "squash"}:
        raise InputError(f"{name} resizes by {mode!r}; known are 'shortest' and 'squash'.")
    interpolation = prepare.get("interpolation", "bicubic")
    if interpolation not in _FILTERS:
        raise InputError(
            f"{name} interpolates by {interpolation!r}; known are {', '.join(_FILTERS)}."
        )
    tokenizer = read_tokenizer(folder, name)
    return HubModel(
        folder=folder,
        family="clip",
        n_dims=int(model.get("embed_dim", 512)),
        image=ImageSpec(
            resize=mode,
            side=height_width,
            crop=height_width if mode == "shortest" else None,
            centre="round",
            resample=_FILTERS[interpolation],
            rescale=1 / 255,
            mean=_three(prepare.get("mean", _OPENAI_MEAN)),
            std=_three(prepare.get("std", _OPENAI_STD)),
        ),
        text=_text_spec(folder, "clip", tokenizer, int(text.get("context_length", 77)), name),
        tokenizer=tokenizer,
        weights=weights,
        config=whole,
    )


def read_scalars(path: Path, names: Sequence[str], encoder: str) -> dict[str, float]:
    """Read one-number tensors of a safetensors file without a library."""
    codes = {"F32": "<f", "F16": "<e", "F64": "<d", "BF16": "<f"}
    found: dict[str, float] = {}
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > TEXT_BYTES:
                raise ValueError("its header is too long")
            header = parse_json(read_up_to(file, length), path.name)
            for name in names:
                if name in header:
                    start, end = header[name]["data_offsets"]
                    file.seek(8 + length + start)
                    data = file.read(end - start)
                    if header[name]["dtype"] == "BF16":  # the upper half of a float32
                        data = b"\0\0" + data
                    (found[name],) = struct.unpack(codes[header[name]["dtype"]], data)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, struct.error) as error:
        raise InputError(
            f"{encoder}: {path.name} is no whole safetensors file ({error}); download it again."
        ) from None
    return found


def _three(values: Any) -> tuple[float, ...]:
    numbers = (values,) * 3 if isinstance(values, int | float) else values
    return tuple(float(value) for value in numbers)


def _json(folder: Path, file: str, name: str) -> dict[str, Any]:
    path = folder / file
    if not path.is_file():
        return {}
    text = read_text(path, "configuration", most=TEXT_BYTES, error=InputError)
    content = parse_json(text, f"{name}: {file}", error=InputError)
    if not isinstance(content, dict):
        raise InputError(f"{name}: {file} holds no JSON object.")
    return content
