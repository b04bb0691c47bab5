"""Names to encoders: ``"mini"``, ``"hf-hub:org/name"``, ``"local-dir:path"``, plugins, objects."""

from __future__ import annotations

import importlib.util
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias

from showtell._threads import check_threads
from showtell.checks import one_of
from showtell.encoders.base import Encoder, check_encoder
from showtell.errors import InputError, UnknownNameError

Precision: TypeAlias = Literal["auto", "fp32", "int8"]
"""Numbers of the network: 32-bit floats, or 8-bit integers where the family has them."""

ENTRY_POINT_GROUP = "showtell.encoders"
"""Plugins register ``name = "module:factory"`` here; ``factory()`` returns an `Encoder`."""

_PRECISIONS = ("auto", "fp32", "int8")
_PATTERNS = ("hf-hub:ORG/NAME", "local-dir:PATH")
_loaded: dict[tuple[str, str, int | None], Encoder] = {}
_lock = threading.RLock()


@dataclass(frozen=True, kw_only=True)
class EncoderInfo:
    """One line of ``showtell encoders``."""

    name: str
    n_dims: int | None
    """None where it depends on the model."""
    size_mb: int | None
    """Size of the weights in the package; None where it depends on the model."""
    modality: str
    note: str
    installed: bool
    """Whether everything it needs is installed, the weights of a hub model excepted."""


def load_encoder(
    encoder: str | Encoder, *, precision: Precision = "auto", threads: int | None = None
) -> Encoder:
    """Load an encoder by name, or check one that is given as an object.

    Parameters
    ----------
    encoder : str or Encoder
        - ``"mini"``: embedded, works offline;
        - ``"hf-hub:org/name"`` or ``"hf-hub:org/name@revision"``: a CLIP, OpenCLIP, SigLIP or
          SigLIP 2 model of the Hugging Face hub;
        - ``"local-dir:path"``: the same from a folder;
        - the name of a plugin (entry points ``showtell.encoders``);
        - an object with the attributes and methods of `Encoder`.
    precision : {"auto", "fp32", "int8"}, default="auto"
        ``"auto"`` is what the model is published in: fp32, unless only int8 files are there.
        int8 takes about a third of the time on a CPU.
    threads : int, optional
        CPU threads of the network; all cores by default.

    Returns
    -------
    encoder : Encoder
        Equal arguments give the same instance, so weights are in memory once.

    Raises
    ------
    UnknownNameError
        If there is no encoder of that name.
    InputError
        If an object lacks an attribute or has one that cannot be, such as a scale of NaN, or the
        encoder has no such precision.
    MissingExtraError
        If an optional package is needed; the message has the install line.

    Examples
    --------
    >>> from showtell.testing import WordEncoder
    >>> load_encoder(WordEncoder(["cat", "dog"]))
    WordEncoder(['cat', 'dog'])
    """
    one_of("precision", precision, _PRECISIONS)
    check_threads(threads)
    if not isinstance(encoder, str):
        check_encoder(encoder)
        if precision != "auto" or threads is not None:
            raise InputError(
                f"The encoder {encoder.name!r} is given as an object, so its precision and "
                "threads are already chosen; leave `precision` and `threads` alone."
            )
        return encoder
    name = _canonical(encoder.strip())
    with _lock:
        key = (name, precision, threads)
        if key not in _loaded:
            _loaded[key] = _load(name, precision, threads)
        return _loaded[key]


def list_encoders() -> list[EncoderInfo]:
    """List what `load_encoder` takes: the embedded one, plugins, and well-known hub models.

    Returns
    -------
    encoders : list of EncoderInfo

    Examples
    --------
    >>> list_encoders()[0].name
    'mini'
    """
    has_hub = _is_installed("huggingface_hub", "safetensors")
    has_export = has_hub and _is_installed("torch", "transformers", "onnx")
    both = "images and texts"
    rows = [
        EncoderInfo(
            name="mini",
            n_dims=512,
            size_mb=40,
            modality=both,
            note="in the package, offline; good with a few examples, weak without",
            installed=True,
        )
    ]
    rows += [
        EncoderInfo(
            name=name, n_dims=None, size_mb=None, modality=both, note="plugin", installed=True
        )
        for name in sorted(_plugins())
    ]
    for name, n_dims, has_onnx, note in _WELL_KNOWN:
        needs = "ONNX, needs the extra `hub`" if has_onnx else "needs the extra `export` once"
        rows.append(
            EncoderInfo(
                name=f"hf-hub:{name}",
                n_dims=n_dims,
                size_mb=None,
                modality=both,
                note=f"{note}; {needs}",
                installed=has_hub if has_onnx else has_export,
            )
        )
    others = (
        (_PATTERNS[0], "any other CLIP, OpenCLIP, SigLIP or SigLIP 2 repository", has_hub),
        (_PATTERNS[1], "the same from a folder; with ONNX files nothing more is needed", True),
    )
    for name, note, installed in others:
        rows.append(
            EncoderInfo(
                name=name, n_dims=None, size_mb=None, modality=both, note=note, installed=installed
            )
        )
    return rows


_WELL_KNOWN: tuple[tuple[str, int, bool, str], ...] = (
    ("Xenova/clip-vit-base-patch32", 512, True, "CLIP ViT-B/32 of OpenAI"),
    ("Xenova/clip-vit-base-patch16", 512, True, "CLIP ViT-B/16 of OpenAI"),
    ("Xenova/siglip-base-patch16-224", 768, True, "SigLIP base"),
    ("openai/clip-vit-large-patch14", 768, False, "CLIP ViT-L/14 of OpenAI"),
    ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", 512, False, "OpenCLIP ViT-B/32, LAION-2B"),
    ("google/siglip2-base-patch16-224", 768, False, "SigLIP 2 base, many languages"),
)


def _canonical(name: str) -> str:
    if name.startswith("local-dir:"):
        return f"local-dir:{Path(name.removeprefix('local-dir:')).expanduser().resolve()}"
    return name


def _load(name: str, precision: Precision, threads: int | None) -> Encoder:
    if name == "mini":
        from showtell.encoders.mini.encoder import MiniEncoder

        if precision != "auto":
            raise InputError(
                f"The 'mini' encoder has no choice of precision, got {precision!r}; its weights "
                "lie in the package as they are. Use precision='auto'."
            )
        return MiniEncoder(threads=threads)
    if name.startswith(("hf-hub:", "local-dir:")):
        from showtell.encoders.hub.encoder import HubEncoder

        return HubEncoder(name, precision=precision, threads=threads)
    plugins = _plugins()
    if name not in plugins:
        raise UnknownNameError("encoder", name, ("mini", *sorted(plugins), *_PATTERNS), _hint(name))
    factory = plugins[name].load()
    made = _call_factory(factory, name, precision, threads)
    check_encoder(made)
    return made


def _call_factory(
    factory: Callable[..., Encoder], name: str, precision: Precision, threads: int | None
) -> Encoder:
    """Pass `precision` and `threads` on where they were chosen; the factory must then take them."""
    chosen = {"precision": precision} if precision != "auto" else {}
    options = {**chosen, **({"threads": threads} if threads is not None else {})}
    try:
        inspect.signature(factory).bind(**options)
    except TypeError:
        names = " and ".join(f"`{option}`" for option in options)
        raise InputError(f"The encoder {name!r} does not take {names}.") from None
    except ValueError:  # a factory without a signature
        pass
    return factory(**options)


def _hint(name: str) -> str:
    if "/" in name and Path(name).expanduser().is_dir():
        return f"For the folder write 'local-dir:{name}'."
    if name.count("/") == 1:
        return f"For a model of the Hugging Face hub write 'hf-hub:{name}'."
    return "`showtell encoders` lists examples."


def _plugins() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _is_installed(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) is not None for package in packages)
