"""CLIP and SigLIP families from the Hugging Face hub or a folder, run by onnxruntime."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from math import exp
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell._threads import check_threads
from showtell.encoders.base import Embeddings, unit
from showtell.encoders.hub.config import CONFIG_FILES, read_model, read_scalars
from showtell.encoders.hub.export import (
    IMAGE_FILE,
    INT8_SCHEME,
    TEXT_FILE,
    TorchTowers,
    export_towers,
    quantize_tower,
)
from showtell.encoders.hub.files import find_folder
from showtell.encoders.hub.text import Tokens
from showtell.encoders.pixels import PixelEncoder, import_onnxruntime
from showtell.errors import InputError, RunError, UnknownNameError
from showtell.records.files import cache_folder, digest_files
from showtell.records.reading import loading

RULES_VERSION = 1
"""Part of the fingerprint: raise it when preprocessing, padding or export change results."""

_TEXTS_AT_ONCE = 32
_CLIP_SCALE = 100.0  # where CLIP's training stops it, and where the released models are


class HubWarning(UserWarning):
    """Something about a model had to be assumed."""


class HubEncoder(PixelEncoder):
    """A model of the CLIP or SigLIP family with its own preprocessing, tokenizer and scale.

    Parameters
    ----------
    name : str
        ``"hf-hub:org/name"``, with ``@revision`` if wanted, or ``"local-dir:path"``.
    precision : {"auto", "fp32", "int8"}, default="auto"
        ``"auto"`` takes fp32, or int8 if nothing else is published. If int8 is asked for and not
        published, it is made once from fp32: 8-bit weights, activations quantized per image or
        text (which is why images then go through one at a time, and results never depend on
        what else is in a batch). Embeddings stay within a cosine of 0.99 of fp32.
    threads : int, optional
        CPU threads; all cores by default.
    runtime : {"onnx", "torch"}, default="onnx"
        ``"onnx"``: if the folder has no ONNX files, they are exported once through torch (extra
        ``export``) into the cache and checked against it. ``"torch"``: run in torch, fp32 only.

    Attributes
    ----------
    family : {"clip", "siglip"}
    precision : {"fp32", "int8"}
        What is used.
    n_truncated : int
        Texts that were longer than the model reads, so far.

    Raises
    ------
    InputError
        If the folder is of another family, lacks a file, or its weights are pickled.
    MissingExtraError
        If a download or an export needs a package; the message has the install line.
    RunError
        If the hub cannot be reached or an export fails.

    Notes
    -----
    Pictures are prepared as transformers' processors do it (embeddings equal within 1e-4); JPEGs
    with a side of more than twice the model's are shrunk while they are decoded, which changes
    pixels by about 0.2 of 255.

    References
    ----------
    Radford et al. (2021), Learning Transferable Visual Models From Natural Language Supervision,
    arXiv:2103.00020. Zhai et al. (2023), Sigmoid Loss for Language Image Pre-Training,
    arXiv:2303.15343. Tschannen et al. (2025), SigLIP 2, arXiv:2502.14786.

    Examples
    --------
    >>> encoder = HubEncoder("hf-hub:Xenova/clip-vit-base-patch32")  # doctest: +SKIP
    >>> encoder.encode_texts(["a photo of a cat."]).shape  # doctest: +SKIP
    (1, 512)
    """

    def __init__(
        self,
        name: str,
        *,
        precision: Literal["auto", "fp32", "int8"] = "auto",
        threads: int | None = None,
        runtime: Literal["onnx", "torch"] = "onnx",
    ) -> None:
        if precision not in {"auto", "fp32", "int8"}:
            raise UnknownNameError("precision", str(precision), ("auto", "fp32", "int8"))
        if runtime not in {"onnx", "torch"}:
            raise UnknownNameError("runtime", str(runtime), ("onnx", "torch"))
        if runtime == "torch" and precision == "int8":
            raise InputError("runtime='torch' computes in fp32; for int8 use runtime='onnx'.")
        self.name, self.threads, self.runtime = name, check_threads(threads), runtime
        self._asked = precision
        folder = find_folder(name, precision)
        with loading(name, error=InputError):
            model = self._model = read_model(folder, precision, name)
        self.precision: Literal["fp32", "int8"] = (
            "int8" if precision == "int8" else model.weights.precision
        )
        if runtime == "torch" and model.weights.kind in {"towers", "joint"}:
            raise InputError(
                f"{name} is published in ONNX; runtime='torch' needs safetensors. "
                "Use runtime='onnx'."
            )
        self.family = model.family
        self.n_dims = model.n_dims
        self.probability = "softmax" if model.family == "clip" else "sigmoid"
        self.input_side = min(model.image.side)
        self.batch_size = 1 if self.precision == "int8" else 8
        self._weights_digest = digest_files(model.folder, model.weights.files)
        self.fingerprint = f"hub-{self._identity()}"
        self._tokens = Tokens(model.tokenizer, model.text, name)
        self._lock = threading.Lock()
        self._torch: TorchTowers | None = None
        self._sessions: dict[str, Any] = {}
        self._files = self._ready_files()
        self.logit_scale, self.logit_bias = self._scale_and_bias()

    @property
    def n_truncated(self) -> int:
        """Texts that were cut so far."""
        return self._tokens.n_truncated

    def __reduce__(self) -> tuple[Callable[[], HubEncoder], tuple[()]]:
        remake = partial(
            HubEncoder,
            self.name,
            precision=self._asked,
            threads=self.threads,
            runtime=self.runtime,
        )
        return remake, ()

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """Resize, crop and normalise as the model's configuration says.

        Parameters
        ----------
        image : PIL.Image.Image
            Upright; any mode.

        Returns
        -------
        pixels : ndarray of shape (3, height, width), float32
        """
        return self._model.image.prepare(image)

    def encode_prepared(self, pixels: NDArray[np.float32]) -> Embeddings:
        """Embed prepared pictures, shape (n, 3, height, width), to rows of length 1."""
        expected = (3, *self._model.image.height_width)
        if pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise InputError(
                f"Prepared pictures have shape (n, {', '.join(map(str, expected))}), "
                f"got {pixels.shape}. Stack what `prepare` returns."
            )
        if not len(pixels):
            return np.zeros((0, self.n_dims), np.float32)
        step = self.batch_size
        parts = [self._run_images(pixels[i : i + step]) for i in range(0, len(pixels), step)]
        return self._rows(parts)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts to rows of length 1.

        Parameters
        ----------
        texts : sequence of str, length n_texts
            Longer ones than the model reads are cut, with one `TruncationWarning`.

        Returns
        -------
        embeddings : ndarray of shape (n_texts, n_dims), float32

        Raises
        ------
        InputError
            If `texts` is a single string or holds something else than strings.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"`texts` must be a sequence of strings, got {texts!r}.")
        if not len(texts):
            return np.zeros((0, self.n_dims), np.float32)
        with self._lock:
            ids = self._tokens.encode(texts)
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))  # little padding per batch
        step = 1 if self.precision == "int8" else _TEXTS_AT_ONCE
        parts = [
            self._run_texts([ids[row] for row in order[i : i + step]])
            for i in range(0, len(order), step)
        ]
        sorted_rows = self._rows(parts)
        rows = np.empty_like(sorted_rows)
        rows[order] = sorted_rows
        return rows

    def _rows(self, parts: list[NDArray[np.float32]]) -> Embeddings:
        vectors = np.concatenate(parts)
        if vectors.ndim != 2 or vectors.shape[1] != self.n_dims:
            raise RunError(
                f"{self.name} gives vectors of shape {vectors.shape[1:]}, its configuration says "
                f"({self.n_dims},): the weights do not belong to the configuration."
            )
        return unit(vectors)

    def _run_images(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        pixels = np.ascontiguousarray(pixels)
        if self.runtime == "torch":
            return self._towers().embed_images(pixels)
        session = self._session("image")
        feeds = {"pixel_values": pixels}
        if self._files["image"] == self._files["text"]:  # the joint graph wants some text too
            feeds |= self._text_feeds(session, [[0, 0]])
        return self._fetch(session, feeds, "image")

    def _run_texts(self, ids: list[list[int]]) -> NDArray[np.float32]:
        if self.runtime == "torch":
            return self._towers().embed_texts(self._tokens.pad(ids))
        session = self._session("text")
        feeds = self._text_feeds(session, ids)
        if self._files["image"] == self._files["text"]:
            feeds["pixel_values"] = np.zeros((1, 3, *self._model.image.height_width), np.float32)
        return self._fetch(session, feeds, "text")

    def _text_feeds(self, session: Any, ids: list[list[int]]) -> dict[str, NDArray[Any]]:
        inputs = {one.name: one for one in session.get_inputs()}
        length = inputs["input_ids"].shape[1] if "input_ids" in inputs else None
        rows = self._tokens.pad(ids, length if isinstance(length, int) else None)
        feeds: dict[str, NDArray[Any]] = {"input_ids": rows}
        if "attention_mask" in inputs:
            mask = np.ones_like(rows)
            if not self._model.text.is_padded:  # SigLIP was trained to see its padding
                for row, one in zip(mask, ids, strict=True):
                    row[len(one) :] = 0
            feeds["attention_mask"] = mask
        kinds = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}
        return {
            key: value.astype(kinds.get(inputs[key].type, np.int64))
            for key, value in feeds.items()
            if key in inputs
        }

    def _fetch(
        self, session: Any, feeds: dict[str, NDArray[Any]], side: Literal["image", "text"]
    ) -> NDArray[np.float32]:
        outputs = [one.name for one in session.get_outputs()]
        wanted = f"{side}_embeds"
        if wanted not in outputs:
            # SigLIP has no projection after pooling, CLIP has: its pooled state will not do
            wanted = "pooler_output" if self.family == "siglip" else wanted
        if wanted not in outputs:
            raise InputError(
                f"{self.name}: the ONNX file for {side}s has no output {wanted!r} but "
                f"{', '.join(outputs)}. Export it with its projection."
            )
        try:
            (vectors,) = session.run([wanted], feeds)
        except Exception as error:
            raise RunError(f"{self.name}: onnxruntime failed: {error}") from error
        return np.asarray(vectors, np.float32)

    def _towers(self) -> TorchTowers:
        with self._lock:
            if self._torch is None:
                self._torch = TorchTowers(self._model, self.name, self.threads)
            return self._torch

    def _session(self, side: Literal["image", "text"]) -> Any:
        with self._lock:
            path = str(self._files[side])
            if path not in self._sessions:
                is_alone = side == "image" and self.batch_size == 1
                self._sessions[path] = _open_session(
                    path, 1 if is_alone else (self.threads or _n_cores()), self.name
                )
            return self._sessions[path]

    def _identity(self) -> str:
        model = self._model
        said = {
            "rules": RULES_VERSION,
            "weights": self._weights_digest,
            "config": digest_files(model.folder, CONFIG_FILES),
            "precision": self._scheme(),
            "runtime": self.runtime,
            "image": asdict(model.image),
            "text": asdict(model.text),
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:24]

    def _scheme(self) -> str:
        """How weights are rounded, and that their products are summed without overflow."""
        if self.precision == "fp32":
            return "fp32"
        is_made = self._model.weights.precision == "fp32"
        return f"{INT8_SCHEME if is_made else 'int8_as_published'}, exact sums"

    def _ready_files(self) -> dict[str, Path]:
        """Give the two ONNX files to run, exported or quantized first if need be."""
        model, weights = self._model, self._model.weights
        if self.runtime == "torch":
            self._towers()
            return {}
        made = cache_folder() / "onnx"
        if weights.kind in {"towers", "joint"}:
            files = [model.folder / file for file in weights.files if file.endswith(".onnx")]
            plain = {"image": files[0], "text": files[-1]}
            key = f"{self._weights_digest[:24]}-{RULES_VERSION}"
        else:
            said = self._weights_digest + digest_files(
                model.folder, ("config.json", "open_clip_config.json")
            )
            key = f"{hashlib.sha256(said.encode()).hexdigest()[:24]}-{RULES_VERSION}"
            folder = made / key
            plain = {"image": folder / IMAGE_FILE, "text": folder / TEXT_FILE}
        small = {side: made / f"{key}-{INT8_SCHEME}" / path.name for side, path in plain.items()}
        wants_small = self.precision == "int8" and weights.precision == "fp32"
        if wants_small and all(path.is_file() for path in small.values()):
            return small
        try:
            if not all(path.is_file() for path in plain.values()):
                export_towers(model, self.name, made / key)
            if wants_small:
                for side, path in small.items():
                    if not path.is_file():
                        quantize_tower(plain[side], path, self.name)
                return small
        except OSError as error:
            raise RunError(
                f"{self.name}: the converted model cannot be written to {str(made)!r}: {error}. "
                "Choose another folder with SHOWTELL_CACHE_DIR."
            ) from error
        return plain

    def _scale_and_bias(self) -> tuple[float, float]:
        """Read the learned scale and bias; they are never guessed silently."""
        found: dict[str, float] = {}
        for path in self._model.folder.glob("*.safetensors"):
            found |= read_scalars(path, ("logit_scale", "logit_bias"), self.name)
        if "logit_scale" in found:
            return exp(found["logit_scale"]), found.get("logit_bias", 0.0)
        if self._model.weights.kind == "joint":
            probed = self._probe_scale()
            if probed is not None:
                return probed
        if self.family == "clip":
            warnings.warn(
                f"{self.name}: its ONNX files do not hold the logit scale; {_CLIP_SCALE:g} is "
                "used, the value of the released CLIP models. Put model.safetensors or "
                "onnx/model.onnx beside them to have the true one.",
                HubWarning,
                stacklevel=3,
            )
            return _CLIP_SCALE, 0.0
        raise InputError(
            f"{self.name}: logit scale and bias of a SigLIP model are learned, and neither "
            "model.safetensors nor onnx/model.onnx is there to read them from. Add one of them."
        )

    def _probe_scale(self) -> tuple[float, float] | None:
        """Solve ``logits = scale * cosine + bias`` on what the joint graph says of noise."""
        session = self._session("image")
        names = [one.name for one in session.get_outputs()]
        wanted = ["logits_per_image", "image_embeds", "text_embeds"]
        if not set(wanted) <= set(names):
            return None
        rng = np.random.default_rng(0)
        pixels = rng.normal(size=(4, 3, *self._model.image.height_width)).astype(np.float32)
        ids = self._tokens.encode(["a cat", "two red cars", "snow", "the old city by the sea"])
        logits, images, texts = session.run(
            wanted, {"pixel_values": pixels} | self._text_feeds(session, ids)
        )
        cosines = (unit(images) @ unit(texts).T).astype(np.float64).ravel()
        matrix = np.stack([cosines, np.ones_like(cosines)], axis=1)
        if self.family == "clip":
            matrix = matrix[:, :1]
        solution = np.linalg.lstsq(matrix, logits.astype(np.float64).ravel(), rcond=None)[0]
        return float(solution[0]), float(solution[1]) if len(solution) > 1 else 0.0


def _open_session(path: str, threads: int, name: str) -> Any:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads decode too
    # Processors with AVX2 but not VNNI add pairs of 8-bit products in 16 bits, which overflows
    # where weights are signed. With this switch they add in 32 bits; others do it anyway.
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise RunError(f"{name}: onnxruntime cannot open {path!r}: {error}") from error


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
