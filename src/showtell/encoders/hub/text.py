"""Texts to token numbers, as the CLIP and SigLIP families pad and cut them."""

from __future__ import annotations

import re
import string
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from showtell.errors import InputError
from showtell.records.reading import TEXT_BYTES, parse_json, read_text

_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TruncationWarning(UserWarning):
    """Texts were longer than the encoder reads, so their ends did not count."""


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """How one model wants its texts; every field comes from its configuration."""

    max_tokens: int
    """Longer texts are cut; start and end tokens included."""
    is_padded: bool
    """Whether each text is filled up to `max_tokens`: SigLIP reads the last position."""
    pad_id: int
    pad_side: Literal["left", "right"]
    clean: Literal["none", "lower", "canonical"]
    """Before tokenizing: nothing, lower case (SigLIP 2), or also without punctuation (SigLIP)."""


class Tokens:
    """Tokenizer of one model with its cleaning, padding and cutting.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
        From `read_tokenizer`.
    spec : TextSpec
    name : str
        The encoder, for messages.
    """

    def __init__(self, tokenizer: Any, spec: TextSpec, name: str) -> None:
        self.spec, self._name = spec, name
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.n_truncated = 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of each text; too long ones are cut, counted and warned about once."""
        cleaned = [clean_text(text, self.spec.clean) for text in texts]
        ids = [list(encoding.ids) for encoding in self._tokenizer.encode_batch(cleaned)]
        too_long = [row for row, one in enumerate(ids) if len(one) > self.spec.max_tokens]
        if too_long:
            self._tokenizer.enable_truncation(self.spec.max_tokens)
            for row in too_long:
                ids[row] = list(self._tokenizer.encode(cleaned[row]).ids)
            self._tokenizer.no_truncation()
            is_first = self.n_truncated == 0
            self.n_truncated += len(too_long)
            if is_first:
                warnings.warn(
                    f"{len(too_long)} of {len(texts)} texts have more than the "
                    f"{self.spec.max_tokens} tokens that {self._name!r} reads; their ends do not "
                    f"count. The first: {texts[too_long[0]][:80]!r}. Write shorter descriptions.",
                    TruncationWarning,
                    stacklevel=3,
                )
        return ids

    def pad(self, ids: Sequence[Sequence[int]], length: int | None = None) -> NDArray[np.int64]:
        """Fill rows up to one length, shape (n_texts, length)."""
        if length is None:
            length = self.spec.max_tokens if self.spec.is_padded else max(map(len, ids))
        rows = np.full((len(ids), length), self.spec.pad_id, np.int64)
        for row, one in zip(rows, ids, strict=True):
            if self.spec.pad_side == "left":
                row[length - len(one) :] = one
            else:
                row[: len(one)] = one
        return rows


def clean_text(text: str, how: Literal["none", "lower", "canonical"]) -> str:
    """Bring a text into the form the model was trained on.

    Examples
    --------
    >>> clean_text("A photo of a  Cat.", "canonical"), clean_text("A Cat.", "lower")
    ('a photo of a cat', 'a cat.')
    """
    if how == "none":
        return text
    text = text.lower()
    if how == "canonical":
        text = re.sub(r"\s+", " ", text.translate(_PUNCTUATION)).strip()
    return text


def read_tokenizer(folder: Path, name: str) -> Any:
    """Read a fast tokenizer; CLIP's two older files will do as well."""
    from tokenizers import Tokenizer

    if (folder / "tokenizer.json").is_file():
        try:
            return Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # noqa: BLE001 (the library raises bare Exception)
            raise InputError(f"{name}: tokenizer.json cannot be read: {error}") from None
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return _clip_tokenizer(folder)
    raise InputError(
        f"{name} has no tokenizer.json (nor CLIP's vocab.json and merges.txt). With transformers "
        "and sentencepiece installed, write one: "
        "AutoTokenizer.from_pretrained(FOLDER, use_fast=True).save_pretrained(FOLDER)."
    )


def _clip_tokenizer(folder: Path) -> Any:
    """Byte-pair encoding of CLIP from the files its first releases came with."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    start, end = "<|startoftext|>", "<|endoftext|>"
    text = read_text(folder / "vocab.json", "vocabulary", most=TEXT_BYTES, error=InputError)
    vocabulary = parse_json(text, "vocab.json", error=InputError)
    merged = read_text(folder / "merges.txt", "list of merges", most=TEXT_BYTES, error=InputError)
    lines = merged.splitlines()
    pairs = [line.split() for line in lines if line and not line.startswith("#version")]
    merges = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", unk_token=end)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([start, end])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])],
    )
    return tokenizer
