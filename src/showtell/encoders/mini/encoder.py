"""The embedded image-text encoder: works after a bare install, offline, on onnxruntime.

Images go through EfficientNet-Lite0, texts through MiniLM-L6. The two never saw each other in
training: a text is placed where ImageNet's 1000 classes (and 1267 emoji) with related names lie,
by kernel regression over text similarity and noun similarity. ``scripts/build_mini`` makes the
files that lie in ``weights/``; no photograph is needed for the text side.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell._threads import check_threads
from showtell.encoders.base import Embeddings, unit
from showtell.encoders.mini.nouns import AnchorSenses, Nouns
from showtell.encoders.pixels import PixelEncoder, import_onnxruntime
from showtell.errors import InputError, RunError

WEIGHTS = Path(__file__).with_name("weights")
"""Where the embedded weights lie."""
RULES_VERSION = 1
"""Part of the fingerprint: raise it when `prepare` or the treatment of texts changes."""

CROP_SIDE = 224
RESIZE_SIDE = 256
FEATURE_SHARE = 0.7
"""Weight of the pooled features in a cosine; the rest belongs to the class probabilities."""
CLASS_TEMPERATURE = 2.0
"""Divides ImageNet's logits before the softmax."""
TEXT_WIDTH = 0.4
"""Kernel width in units of text cosine."""
NOUN_WIDTH = 0.6
"""Kernel width in units of Lin similarity."""
NOUN_UNKNOWN = 0.7
"""Distance ``1 - Lin similarity`` assumed where a text or an anchor has no known noun."""
SENSE_WEIGHTS = (0.6, 0.25, 0.15)
"""How much the first, second and third sense of a text's noun count."""
ANCHOR_TEMPLATE = "a photo of a {}"
"""What MiniLM reads, for labels and for the names of anchors alike."""

_MAX_TOKENS = 128
_IMAGE_CHUNK = 32  # rows per call of the network: bounds memory whatever the caller's batch
_TEXT_CHUNK = 64
_ARTICLE = r"(?:an?|the|my|one|some|many)"
_LEAD = re.compile(
    rf"^(?:(?:{_ARTICLE}|this is an?|this is the) )?(?:[\w-]+ ){{0,4}}?"
    rf"(?:photo|photograph|picture|image|itap) of (?:{_ARTICLE} )?(?:hard to see )?",
    re.IGNORECASE,
)
_TYPE = re.compile(r", (?:an?|one) (?:type|kind|species|breed) of [\w -]+$", re.IGNORECASE)
_BARE_ARTICLE = re.compile(r"^(?:an?|the) ", re.IGNORECASE)


class MiniEncoder(PixelEncoder):
    """EfficientNet-Lite0 and MiniLM-L6 in one space, from files inside the package.

    Good features for few-shot use; zero-shot only for everyday things near ImageNet's classes
    (`zero_shot_note`). Cosines are no confidences: `logit_scale` turns them into probabilities,
    fitted on labelled photos (see ``metadata.json`` beside the weights).

    Parameters
    ----------
    threads : int, optional
        Images that are worked on side by side, and threads of the text network; all cores this
        process may use if not given.
    folder : Path, optional
        Where the weights lie, if not in the package.

    Raises
    ------
    RunError
        If a weight file is missing or has not the size it was built with.

    Notes
    -----
    Image: shorter side to 256 (bicubic), centre crop 224, ``(pixel - 127) / 128``, the network up
    to its mean pool f. With the classifier head W, b of the network and its class probabilities
    ``p = softmax((W f + b) / 2)``,
    ``x = unit(sqrt(.7) unit(f - mean) R1 + sqrt(.3) unit(sqrt(p) - mean) R2)``.

    Text: `strip_template`, then ``k(text, anchor) = exp((cosine - 1) / .4) exp((lin - 1) / .6)``
    against all anchors, with the MiniLM cosine and the Lin similarity of their nouns in WordNet
    (the second factor averaged over the three most frequent senses of the text's noun), then
    ``q = unit(sqrt(.7) unit(k B1) + sqrt(.3) unit(k B2))``, where B1 and B2 are the solved kernel
    regressions onto the head's weight rows and the one-hot classes, both less their mean. R1 and
    R2 are the 512 directions in which the classes differ most. All of x is inside the network.

    Each row depends on its own image or text only.

    References
    ----------
    Akata et al. (2016), Label-Embedding for Image Classification, arXiv:1503.08677, for the idea
    of placing labels among seen classes by side information.

    Examples
    --------
    >>> encoder = MiniEncoder()
    >>> cat, same, rocket = encoder.encode_texts(["cat", "a photo of a cat.", "rocket"])
    >>> bool(np.array_equal(cat, same)), bool(cat @ rocket < 0.5)
    (True, True)
    """

    name = "mini"
    input_side = RESIZE_SIDE
    batch_size = 1  # the network is so small that whole images side by side beat shared batches
    zero_shot_note = (
        "The embedded `mini` encoder learned pictures from ImageNet's 1000 classes only: without "
        "examples it is good at animals and everyday objects with English names, and poor at "
        "fine kinds, digits, views from above, materials, attributes, styles and text. A few "
        "labelled images per label, or a CLIP or SigLIP encoder from a hub, do far better."
    )

    def __init__(self, *, threads: int | None = None, folder: Path | None = None) -> None:
        self.threads = check_threads(threads)
        self.folder = WEIGHTS if folder is None else Path(folder)
        metadata = _read_metadata(self.folder)
        digests = {name: record["sha256"] for name, record in metadata["files"].items()}
        identity = json.dumps([RULES_VERSION, digests], sort_keys=True)
        self.fingerprint = f"mini-{hashlib.sha256(identity.encode()).hexdigest()[:20]}"
        self.n_dims = int(metadata["n_dims"])
        self.logit_scale = float(metadata["logit_scale"])
        self.logit_bias = 0.0
        self._lock = threading.Lock()
        self._images: Any = None  # session of image.onnx
        self._texts: _TextTower | None = None

    def __reduce__(self) -> tuple[Callable[[], MiniEncoder], tuple[()]]:
        return partial(MiniEncoder, threads=self.threads, folder=self.folder), ()

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """Cut the centre and scale the colours, shape (3, 224, 224), about -1 to 1.

        Parameters
        ----------
        image : PIL.Image.Image
            Upright; any mode, any size from 1x1.

        Returns
        -------
        pixels : ndarray of shape (3, 224, 224), float32
        """
        if image.mode != "RGB":
            image = image.convert("RGB")
        width, height = image.size
        scale = RESIZE_SIDE / min(width, height)
        box: list[float] = []
        for side in (width, height):  # the crop in pixels of the original: resize only what stays
            scaled = round(side * scale)
            start = (scaled - CROP_SIDE) // 2
            box += [start * side / scaled, min(side, (start + CROP_SIDE) * side / scaled)]
        left, right, top, bottom = box
        crop = image.resize(
            (CROP_SIDE, CROP_SIDE), Image.Resampling.BICUBIC, box=(left, top, right, bottom)
        )
        pixels = np.empty((3, CROP_SIDE, CROP_SIDE), np.float32)
        np.subtract(np.asarray(crop).transpose(2, 0, 1), np.float32(127), out=pixels)
        pixels *= np.float32(1 / 128)
        return pixels

    def encode_prepared(self, pixels: NDArray[np.float32]) -> Embeddings:
        """Embed prepared pictures.

        Parameters
        ----------
        pixels : ndarray of shape (n_images, 3, 224, 224), float32
            Rows from `prepare`.

        Returns
        -------
        embeddings : ndarray of shape (n_images, n_dims), float32
        """
        expected = (3, CROP_SIDE, CROP_SIDE)
        if pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise InputError(
                f"Prepared pictures have shape (n, {', '.join(map(str, expected))}), "
                f"got {pixels.shape}. Stack what `prepare` returns."
            )
        with self._lock:
            if self._images is None:
                self._images = open_network(self.folder / "image.onnx", 1)
        if not len(pixels):
            return np.zeros((0, self.n_dims), np.float32)
        chunks = [pixels[i : i + _IMAGE_CHUNK] for i in range(0, len(pixels), _IMAGE_CHUNK)]
        parts = [self._images.run(None, {"pixels": np.ascontiguousarray(c)})[0] for c in chunks]
        return np.concatenate(parts)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts; templates around a label are stripped first, see `strip_template`.

        Parameters
        ----------
        texts : sequence of str, length n_texts
            English works; other languages mostly do not. Only the first 128 word pieces count.

        Returns
        -------
        embeddings : ndarray of shape (n_texts, n_dims), float32

        Raises
        ------
        InputError
            If a text is empty or no string.
        """
        if isinstance(texts, str):
            raise InputError(f"Give a list of texts, not one string: [{texts!r}].")
        names = [strip_template(text) for text in texts]
        with self._lock:
            if self._texts is None:
                self._texts = _TextTower(self.folder, self.threads)
        if not names:
            return np.zeros((0, self.n_dims), np.float32)
        distinct = {name: row for row, name in enumerate(dict.fromkeys(names))}
        embedded = self._texts.embed(list(distinct))
        return embedded[[distinct[name] for name in names]]


def strip_template(text: str) -> str:
    """Take the label out of a prompt, because the regression knows bare names only.

    Removed are: "a photo of a", with up to four words before "photo" (or "photograph",
    "picture", "image", "itap"); ", a type of ..." at the end; a leading article; punctuation at
    the end. Underscores become blanks and emoji their names. Whatever would leave nothing is
    left alone. "A painting of a dog" stays: labels may differ by it.

    Returns `label`: never empty. Raises InputError if the text is empty or no string.

    Examples
    --------
    >>> strip_template("a blurry black and white photo of the golden_retriever, a type of pet.")
    'golden retriever'
    >>> strip_template("🐱")
    'cat'
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"A text to encode must be a non-empty string, got {text!r}.")
    label = " ".join(_name_emoji(text.replace("_", " ")).split()) or text.strip()
    for change in (
        lambda t: t.rstrip(" .,;:!?"),
        lambda t: _TYPE.sub("", t),
        lambda t: _LEAD.sub("", t),
        lambda t: _BARE_ARTICLE.sub("", t),
    ):
        label = change(label) or label
    return label.encode("utf-8", "replace").decode("utf-8")


def _name_emoji(text: str) -> str:
    """Replace emoji by their Unicode names; drop joiners and variation selectors."""
    if text.isascii():
        return text
    parts = []
    for character in text:
        category = unicodedata.category(character)
        name = unicodedata.name(character, "").lower() if category in {"So", "Sk"} else ""
        if name:
            parts.append(f" {name.replace(' face', '')} ")
        elif category not in {"Cf", "Me"} and not "\ufe00" <= character <= "\ufe0f":
            parts.append(character)
    return "".join(parts)


class _TextTower:
    """Stripped texts to rows of the joint space."""

    def __init__(self, folder: Path, threads: int | None) -> None:
        self._words = WordTower(folder, threads)
        with np.load(folder / "joint.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        self._anchor_texts = arrays["anchor_texts"].astype(np.float32)
        self._by_features = arrays["feature_coefficients"].astype(np.float32)
        self._by_classes = arrays["class_coefficients"].astype(np.float32)
        nouns = Nouns({k.removeprefix("nouns_"): v for k, v in arrays.items() if "nouns_" in k})
        self._anchors = AnchorSenses(nouns, arrays["anchor_senses"])

    def embed(self, names: Sequence[str]) -> Embeddings:
        cosines = self._words.embed(names) @ self._anchor_texts.T
        kernel = text_kernel(cosines) * noun_kernel(self._anchors, names)
        return mix(_direction(kernel @ self._by_features), _direction(kernel @ self._by_classes))


class WordTower:
    """MiniLM-L6: texts to rows of length 1 and 384 columns, before the joint space.

    Parameters
    ----------
    folder : Path
        Holds ``text.onnx`` and ``tokenizer.json``.
    threads : int or None
        Threads of the network; None for all cores this process may use.
    """

    def __init__(self, folder: Path, threads: int | None) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.no_padding()
        self._session = open_network(folder / "text.onnx", threads, fp32=True)

    def embed(self, names: Sequence[str]) -> Embeddings:
        """Embed ``a photo of a NAME`` for each name, shape (n_names, 384)."""
        return self.embed_sentences([ANCHOR_TEMPLATE.format(name) for name in names])

    def embed_sentences(self, sentences: Sequence[str]) -> Embeddings:
        """Embed sentences as they are, shape (n_sentences, 384).

        Those of equal length go together, so that no padding enters any row.
        """
        encodings = self._tokenizer.encode_batch(list(sentences))
        of_length: dict[int, list[int]] = {}
        for row, encoding in enumerate(encodings):
            of_length.setdefault(len(encoding.ids), []).append(row)
        embedded = np.empty((len(encodings), 384), np.float32)
        for rows in of_length.values():
            for i in range(0, len(rows), _TEXT_CHUNK):
                chunk = rows[i : i + _TEXT_CHUNK]
                ids = np.array([encodings[row].ids for row in chunk], np.int64)
                (embedded[chunk],) = self._session.run(None, {"ids": ids})
        return embedded


def text_kernel(cosines: NDArray[np.float32]) -> NDArray[np.float64]:
    """First factor of the kernel, from MiniLM cosines of any shape; 1 for the same text."""
    kernel: NDArray[np.float64] = np.exp((cosines.astype(np.float64) - 1.0) / TEXT_WIDTH)
    return kernel


def noun_kernel(
    anchors: AnchorSenses, names: Sequence[str], weights: Sequence[float] = SENSE_WEIGHTS
) -> NDArray[np.float64]:
    """Second factor of the kernel, shape (n_names, n_anchors), averaged over likely senses."""
    kernel = np.full((len(names), len(anchors.senses)), np.exp(-NOUN_UNKNOWN / NOUN_WIDTH))
    for row, name in enumerate(names):
        senses = anchors.nouns.senses(name)[: len(weights)]
        if senses:
            rows = [sense_kernel(anchors, sense) for sense in senses]
            kernel[row] = np.average(rows, axis=0, weights=weights[: len(senses)])
    return kernel


def sense_kernel(anchors: AnchorSenses, sense: int) -> NDArray[np.float64]:
    """Second factor of the kernel for one known sense, shape (n_anchors,)."""
    distance = np.where(anchors.known, 1.0 - anchors.similarities(sense), NOUN_UNKNOWN)
    kernel: NDArray[np.float64] = np.exp(-distance / NOUN_WIDTH)
    return kernel


def mix(by_features: NDArray[Any], by_classes: NDArray[Any]) -> Embeddings:
    """Add the two parts of an embedding with their shares, to rows of length 1."""
    return unit(np.sqrt(FEATURE_SHARE) * by_features + np.sqrt(1 - FEATURE_SHARE) * by_classes)


def open_network(path: Path, threads: int | None, *, fp32: bool = False) -> Any:
    """Open an ONNX file on the CPU; `fp32` turns 8-bit weights into fp32 once, here."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    if fp32:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.intra_op_num_threads = threads or _n_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others decode
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _n_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_metadata(folder: Path) -> Mapping[str, Any]:
    """Read metadata.json and look whether the files it names are there, whole."""
    advice = "Reinstall showtell, or rebuild the weights with scripts/build_mini/build.sh."
    try:
        metadata: Mapping[str, Any] = json.loads((folder / "metadata.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"The `mini` encoder's metadata.json is unusable: {error}. {advice}"
        ) from None
    for name, record in metadata["files"].items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != record["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes, not {record['bytes']}"
            raise RunError(f"The `mini` encoder's {name} {found} (in {folder}). {advice}")
    return metadata


def _direction(vectors: NDArray[Any]) -> NDArray[Any]:
    """Scale rows to length 1; rows of length 0 stay 0."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[Any] = vectors / np.maximum(length, 1e-9)
    return scaled
