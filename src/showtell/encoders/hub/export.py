"""Weights in safetensors to two ONNX files, once; the only module that meets torch."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell._extras import need, quiet_transformers, refuse_missing
from showtell.encoders.hub.config import HubModel
from showtell.encoders.pixels import import_onnxruntime
from showtell.errors import InputError, RunError

IMAGE_FILE, TEXT_FILE = "image.onnx", "text.onnx"
"""Names inside an exported folder."""

INT8_SCHEME = "int8_signed_per_channel"
"""What `quantize_tower` does; part of the fingerprint and of the folder that keeps its files.

Signed weights are what processors with VNNI multiply quickest. Without VNNI their products
overflow, unless sessions are opened with `session.x64quantprecision`, as `HubEncoder` does.
"""

_OPSET = 17
_AGREEMENT = 1e-3  # allowed difference of a unit vector's entries between torch and the export

_VISION_SAME = {
    "ls_init_value": None,
    "attentional_pool": False,
    "global_average_pool": False,
    "pool_type": "tok",
    "no_ln_pre": False,
    "final_ln_after_pool": False,
    "pos_embed_type": "learnable",
    "act_kwargs": None,
    "norm_kwargs": None,
    "timm_model_name": None,
}
_TEXT_SAME = {
    "ls_init_value": None,
    "embed_cls": False,
    "no_causal_mask": False,
    "pool_type": "argmax",
    "proj_bias": False,
    "proj_type": "linear",
    "final_ln_after_pool": False,
    "act_kwargs": None,
    "norm_kwargs": None,
    "hf_model_name": None,
}
_NO_EFFECT = {
    "patch_dropout",
    "output_tokens",
    "hf_tokenizer_name",
    "tokenizer_kwargs",
    "pad_id",
    "input_patchnorm",
    "attn_pooler_queries",
    "attn_pooler_heads",
}


class TorchTowers:
    """The two towers of a model in torch.

    Parameters
    ----------
    model : HubModel
        Its weights lie in safetensors.
    name : str
        The encoder, for messages.
    """

    def __init__(self, model: HubModel, name: str, threads: int | None = None) -> None:
        self._torch = need("torch", extra="export", what=f"{name} (weights without ONNX)")
        need("transformers", extra="export", what=f"{name} (weights without ONNX)")
        self._threads = threads
        with quiet_transformers():
            network = _load_open_clip(model) if _is_open_clip(model) else _load(model, name)
        self.network = network.eval()
        torch = self._torch

        class Image(torch.nn.Module):  # type: ignore[name-defined, misc]
            def __init__(self, network: Any) -> None:
                super().__init__()
                self.network = network

            def forward(self, pixels: Any) -> Any:
                return self.network.get_image_features(pixel_values=pixels).pooler_output

        class Text(torch.nn.Module):  # type: ignore[name-defined, misc]
            def __init__(self, network: Any) -> None:
                super().__init__()
                self.network = network

            def forward(self, ids: Any) -> Any:
                return self.network.get_text_features(input_ids=ids).pooler_output

        self.image, self.text = Image(network), Text(network)

    def embed_images(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the image tower, shape (n, n_dims), not normalised."""
        return self._run(self.image, pixels)

    def embed_texts(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Run the text tower, shape (n, n_dims), not normalised."""
        return self._run(self.text, ids)

    def _run(self, tower: Any, values: NDArray[Any]) -> NDArray[np.float32]:
        torch = self._torch
        before = torch.get_num_threads()
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                result: NDArray[np.float32] = tower(torch.from_numpy(values)).numpy()
        finally:
            torch.set_num_threads(before)
        return result


def export_towers(model: HubModel, name: str, target: Path) -> None:
    """Write both towers as ONNX into a new folder, and check them against torch.

    Raises MissingExtraError: without torch, transformers or onnx; RunError if the export fails or
    does not compute what torch computes.
    """
    need("onnx", extra="export", what=f"{name} (weights without ONNX)")
    towers = TorchTowers(model, name)
    torch = towers._torch
    rng = np.random.default_rng(0)
    height, width = model.image.height_width
    pixels = rng.normal(size=(2, 3, height, width)).astype(np.float32)
    length = model.text.max_tokens if model.text.is_padded else 8
    vocabulary = towers.network.config.text_config.vocab_size
    ids = rng.integers(0, vocabulary, size=(2, length))
    with _fresh_folder(target) as folder:
        for tower, example, file, name_in, name_out in (
            (towers.image, pixels, IMAGE_FILE, "pixel_values", "image_embeds"),
            (towers.text, ids, TEXT_FILE, "input_ids", "text_embeds"),
        ):
            axes = {name_in: {0: "n"}, name_out: {0: "n"}}
            if name_in == "input_ids" and not model.text.is_padded:
                axes[name_in][1] = "length"
            try:
                with quiet_transformers(), torch.inference_mode():
                    torch.onnx.export(
                        tower,
                        (torch.from_numpy(example),),
                        str(folder / file),
                        dynamo=False,  # quantizing needs the shapes that only this exporter leaves
                        input_names=[name_in],
                        output_names=[name_out],
                        dynamic_axes=axes,
                        opset_version=_OPSET,
                    )
            except Exception as error:
                raise RunError(
                    f"{name} cannot be exported to ONNX: {type(error).__name__}: {error}. "
                    "HubEncoder(..., runtime='torch') runs it without."
                ) from error
        _verify(folder, towers, pixels, ids, model, name)
        record = {
            "made_from": name,
            "torch": torch.__version__,
            "transformers": need("transformers", extra="export", what=name).__version__,
            "opset": _OPSET,
        }
        (folder / "export.json").write_text(json.dumps(record, indent=1), "utf-8")


def quantize_tower(source: Path, target: Path, name: str) -> None:
    """Write an ONNX file with 8-bit weights in its matrix products.

    Raises MissingExtraError: without onnx; RunError if onnxruntime cannot quantize the file.
    """
    need("onnx", extra="export", what=f"{name} as int8, which is not published,")
    import_onnxruntime()
    quantization = need("onnxruntime.quantization", extra="export", what=f"{name} as int8")
    shapes = need("onnxruntime.quantization.shape_inference", extra="export", what=name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="int8-", dir=target.parent) as folder:
        ready, finished = Path(folder) / "ready.onnx", Path(folder) / target.name
        try:
            with quiet_transformers():
                shapes.quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
                quantization.quantize_dynamic(
                    str(ready),
                    str(finished),
                    op_types_to_quantize=["MatMul", "Gemm"],
                    weight_type=quantization.QuantType.QInt8,
                    per_channel=True,
                )
        except Exception as error:
            raise RunError(
                f"{name} cannot be quantized to int8: {type(error).__name__}: {error}. "
                "Use precision='fp32'."
            ) from error
        finished.replace(target)


def _verify(
    folder: Path,
    towers: TorchTowers,
    pixels: NDArray[np.float32],
    ids: NDArray[np.int64],
    model: HubModel,
    name: str,
) -> None:
    """Compare on other batch sizes and lengths than the export saw."""
    onnxruntime = import_onnxruntime()
    pixels = np.concatenate([pixels, pixels[:1] * 0.5])
    if not model.text.is_padded:
        ids = np.concatenate([ids, ids[:, ::-1]], axis=1)[:1]
    values: NDArray[Any]
    for file, values, theirs in (
        (IMAGE_FILE, pixels, towers.embed_images(pixels)),
        (TEXT_FILE, ids, towers.embed_texts(ids)),
    ):
        session = onnxruntime.InferenceSession(
            str(folder / file), providers=["CPUExecutionProvider"]
        )
        (ours,) = session.run(None, {session.get_inputs()[0].name: values})
        scale = np.linalg.norm(theirs, axis=1, keepdims=True)
        gap = float(np.abs((ours - theirs) / scale).max())
        if not gap < _AGREEMENT:
            raise RunError(
                f"{name}: the exported {file} differs from torch by {gap:.2g}, so it is not used. "
                "HubEncoder(..., runtime='torch') runs the model without an export."
            )


@contextlib.contextmanager
def _fresh_folder(target: Path) -> Iterator[Path]:
    """Fill a folder beside the target and move it there when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    try:
        yield folder
        if target.exists():  # another process was quicker; equal names mean equal content
            return
        with contextlib.suppress(FileExistsError):
            folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _load(model: HubModel, name: str) -> Any:
    transformers = need("transformers", extra="export", what=f"{name} (weights without ONNX)")
    torch = need("torch", extra="export", what=f"{name} (weights without ONNX)")
    kind = transformers.CLIPModel if model.family == "clip" else transformers.SiglipModel
    try:
        network, report = kind.from_pretrained(
            str(model.folder),
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except Exception as error:
        raise InputError(
            f"{name}: transformers cannot load the weights: {type(error).__name__}: {error}"
        ) from error
    refuse_missing(report, name)
    return network


def _is_open_clip(model: HubModel) -> bool:
    return model.weights.kind == "open_clip"


def _load_open_clip(model: HubModel) -> Any:
    """Build transformers' CLIP and fill it from an OpenCLIP state, tensor by tensor."""
    transformers = need("transformers", extra="export", what="An OpenCLIP model")
    safetensors = need("safetensors.torch", extra="export", what="An OpenCLIP model")
    config = model.config["model_cfg"]
    vision, text = config["vision_cfg"], config["text_cfg"]
    _refuse_unknown(vision, _VISION_SAME, "vision_cfg")
    _refuse_unknown(text, _TEXT_SAME, "text_cfg")
    if not isinstance(vision["layers"], int):
        raise InputError("This OpenCLIP model has a ResNet image tower; only ViT is readable.")
    act = "quick_gelu" if config.get("quick_gelu") else "gelu"
    width, side = vision["width"], vision.get("image_size", 224)
    if not isinstance(side, int) and side[0] != side[1]:
        raise InputError(f"This OpenCLIP model takes pictures of {side}, not squares.")
    network = transformers.CLIPModel(
        transformers.CLIPConfig(
            projection_dim=config["embed_dim"],
            vision_config={
                "hidden_size": width,
                "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
                "num_hidden_layers": vision["layers"],
                "num_attention_heads": width // vision.get("head_width", 64),
                "image_size": side if isinstance(side, int) else side[0],
                "patch_size": vision["patch_size"],
                "hidden_act": act,
                "projection_dim": config["embed_dim"],
            },
            text_config={
                "vocab_size": text.get("vocab_size", 49408),
                "hidden_size": text["width"],
                "intermediate_size": int(text["width"] * text.get("mlp_ratio", 4.0)),
                "num_hidden_layers": text["layers"],
                "num_attention_heads": text["heads"],
                "max_position_embeddings": text.get("context_length", 77),
                "hidden_act": act,
                "projection_dim": config["embed_dim"],
                "eos_token_id": 2,  # means: the highest token number ends a text
            },
            attn_implementation="eager",
        )
    )
    state: dict[str, Any] = {}
    for file in model.weights.files:
        if file.endswith(".safetensors"):
            state.update(safetensors.load_file(str(model.folder / file)))
    mapped = open_clip_to_transformers(state)
    expected = {key for key in network.state_dict() if not key.endswith("position_ids")}
    if set(mapped) != expected:
        odd = sorted(set(mapped) ^ expected)
        raise InputError(
            f"The OpenCLIP weights do not fit a plain ViT CLIP; {len(odd)} tensors are missing or "
            f"left over: {', '.join(odd[:4])} ..."
        )
    try:
        network.load_state_dict({key: value.float() for key, value in mapped.items()}, strict=False)
    except RuntimeError as error:
        raise InputError(f"The OpenCLIP weights do not fit their configuration: {error}") from None
    return network


def _refuse_unknown(config: Mapping[str, Any], same: Mapping[str, Any], where: str) -> None:
    known = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"}
    known |= {"context_length", "vocab_size", "heads"} | _NO_EFFECT
    odd = {
        key: value
        for key, value in config.items()
        if key not in known and not key.startswith("timm_") and value != same.get(key, object())
    }
    if odd:
        raise InputError(
            f"This OpenCLIP model is no plain ViT CLIP: {where} has {odd}. Readable are the plain "
            "ViT towers; look for the same model with transformers' config.json."
        )


def open_clip_to_transformers(state: Mapping[str, Any]) -> dict[str, Any]:
    """Rename (and where packed, split) the tensors of an OpenCLIP ViT model.

    `state`: with or without the ``text.`` prefix of newer files. Returns `state`: as
    `transformers.CLIPModel` names them.
    """
    whole = {
        "logit_scale": "logit_scale",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "ln_final.weight": "text_model.final_layer_norm.weight",
        "ln_final.bias": "text_model.final_layer_norm.bias",
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
        "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
        "visual.ln_post.weight": "vision_model.post_layernorm.weight",
        "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    }
    turned = {
        "text_projection": "text_projection.weight",
        "visual.proj": "visual_projection.weight",
    }
    inside = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
        "attn.out_proj": "self_attn.out_proj",
    }
    renamed: dict[str, Any] = {}
    for long_key, tensor in state.items():
        key = long_key.removeprefix("text.")
        if key in whole:
            renamed[whole[key]] = tensor
        elif key in turned:
            renamed[turned[key]] = tensor.T.contiguous()
        elif "transformer.resblocks." in key:
            tower, _, rest = key.partition("transformer.resblocks.")
            number, _, part = rest.partition(".")
            layer = f"{'vision_model' if tower else 'text_model'}.encoder.layers.{number}"
            if part in {"attn.in_proj_weight", "attn.in_proj_bias"}:
                end = part.removeprefix("attn.in_proj_")
                for letter, third in zip("qkv", tensor.chunk(3, dim=0), strict=True):
                    renamed[f"{layer}.self_attn.{letter}_proj.{end}"] = third.contiguous()
            else:
                stem, _, end = part.rpartition(".")
                renamed[f"{layer}.{inside.get(stem, stem)}.{end}"] = tensor
        elif key != "attn_mask":
            renamed[key] = tensor  # reported by whoever compares the keys
    return renamed
