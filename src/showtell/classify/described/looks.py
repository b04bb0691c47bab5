"""What a multimodal LLM says of images: a description, and the label it guesses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress
from showtell.classify.asking.access import COLUMNS
from showtell.encoders import Embeddings, Encoder, ImageEmbeddings, embed_texts
from showtell.encoders.embed import Store
from showtell.errors import MediaError
from showtell.media import Media, read_media
from showtell.mllm.base import ImagePart, Request, TextPart
from showtell.mllm.images import prepare_image
from showtell.mllm.model import Model, open_client
from showtell.mllm.structured import Checked, Question, Spent, ask_checked, requests_of
from showtell.prompts import PromptSet

_TEMPERATURES = {"description": 0.0, "guess": 0.3}  # as the paper's listing has them
_AT_ONCE = 256  # images held in memory
_GUESS_SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
    "additionalProperties": False,
}


@dataclass
class Seen:
    """What the model said about the distinct images."""

    texts: dict[str, list[str | None]]
    vectors: dict[str, Embeddings]
    reasons: list[str | None]
    """Why an image has no usable text; None where it has all."""
    spent: list[Spent]

    def take(self, place: int, name: str, answer: Checked[str]) -> None:
        """Note the answer to a question about an image."""
        self.spent[place].merge(answer.spent)
        if answer.value is None:
            self.reasons[place] = f"No {name} by the model: {answer.reason}"
        else:
            self.texts[name][place] = answer.value

    def embed(self, encoder: Encoder, store: Store) -> None:
        """Embed what was said; nothing said is a zero vector."""
        n = len(self.reasons)
        for name, said in self.texts.items():
            known = list(dict.fromkeys(text for text in said if text))
            if not known:
                continue
            rows = embed_texts(encoder, known, store=store)
            where = {text: row for row, text in enumerate(known)}
            vectors = np.zeros((n, rows.shape[1]), np.float32)
            for place, text in enumerate(said):
                if text:
                    vectors[place] = rows[where[text]]
            self.vectors[name] = vectors

    def columns(self, places: NDArray[np.int64]) -> dict[str, list[Any]]:
        """Give what the model said and what that took, per input; places as `ImageEmbeddings`."""
        columns: dict[str, list[Any]] = {name: [] for name in (*COLUMNS, *self.texts)}
        known: set[int] = set()
        for place in places.tolist():
            spent = Spent() if place < 0 or place in known else self.spent[place]
            is_cached = place in known or (
                place >= 0 and spent.n_from_cache > 0 and spent.n_requests == 0
            )
            reason = "image" if place < 0 else ("model" if self.reasons[place] else None)
            values = (
                spent.cost_usd,
                spent.input_tokens,
                spent.output_tokens,
                is_cached,
                spent.seconds,
                reason,
            )
            for name, value in zip(COLUMNS, values, strict=True):
                columns[name].append(value)
            for name, texts in self.texts.items():
                columns[name].append(None if place < 0 else texts[place])
            known.add(place)
        return columns


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Asks a model about images."""

    access: Model
    prompts: PromptSet
    use: tuple[str, ...]
    """Which texts are asked for: "description", "guess"."""
    names: tuple[str, ...]
    """Of the labels, shape (n_classes,)."""
    max_side: int | None
    seed: int

    def requests(self, images: Sequence[Media]) -> list[Request]:
        """Write the requests about images, without sending any."""
        asked: list[Question[str]] = []
        for source in images:
            try:
                asked += self.questions(self.part(source))
            except MediaError:
                continue
        native = self.access.capabilities.structured_output
        return requests_of(self.access.name, asked, native=native)

    def questions(self, part: ImagePart) -> list[Question[str]]:
        """Write what is asked about one image, in the order of `use`."""
        asked: list[Question[str]] = []
        system = self.prompts.texts["system"].strip()
        shown = (TextPart(text="Image q:"), part, TextPart(text="End of image q."))
        if "description" in self.use:
            asked.append(
                Question(
                    system=system,
                    parts=(TextPart(text=self.prompts.render("describe")), *shown),
                    schema=None,
                    check=_some_text,
                    prompt_version=self.prompts.version,
                    temperature=self._temperature("description"),
                    max_tokens=1024,
                    name="description",
                )
            )
        if "guess" in self.use:
            digest = hashlib.blake2b(part.digest.encode(), digest_size=8).digest()
            rng = np.random.default_rng([self.seed % 2**63, int.from_bytes(digest, "big") % 2**63])
            listed = [self.names[i] for i in rng.permutation(len(self.names))]
            lines = "\n".join(["Labels:", *(f"- {name}" for name in listed), "End of labels."])
            asked.append(
                Question(
                    system=system,
                    parts=(TextPart(text=self.prompts.render("guess", labels=lines)), *shown),
                    schema=_GUESS_SCHEMA,
                    check=_guessed,
                    prompt_version=self.prompts.version,
                    temperature=self._temperature("guess"),
                    max_tokens=1024,
                    name="guess",
                )
            )
        return asked

    def _temperature(self, name: str) -> float | None:
        return _TEMPERATURES[name] if self.access.capabilities.sampling else None

    def part(self, source: Media) -> ImagePart:
        """Read an image and make it fit to be sent."""
        capabilities = self.access.capabilities
        return prepare_image(read_media(source), max_side=self.max_side, capabilities=capabilities)

    def look(self, images: Sequence[Media], found: ImageEmbeddings, progress: Progress) -> Seen:
        """Ask about each distinct image."""
        n = len(found.embeddings)
        texts: dict[str, list[str | None]] = {name: [None] * n for name in self.use}
        seen = Seen(
            texts=texts,
            vectors={},
            reasons=[None] * n,
            spent=[Spent() for _ in range(n)],
        )
        if not texts or not n:
            return seen
        first: dict[int, int] = {}
        for row, place in enumerate(found.distinct.tolist()):
            if place >= 0:
                first.setdefault(place, row)
        places = sorted(first)
        with open_client(self.access) as client:
            for start in range(0, len(places), _AT_ONCE):
                part_of = places[start : start + _AT_ONCE]
                asked: list[Question[str]] = []
                owners: list[int] = []
                for place in part_of:
                    try:
                        part = self.part(images[first[place]])
                    except MediaError as error:
                        seen.reasons[place] = " ".join(str(error).split())
                        continue
                    new = self.questions(part)
                    asked += new
                    owners += [place] * len(new)
                answers = ask_checked(client, asked, timeout=self.access.timeout)
                for place, question, answer in zip(owners, asked, answers, strict=True):
                    seen.take(place, question.name, answer)
                progress(start + len(part_of), len(places), "Asking")
        return seen


def _some_text(value: Any) -> str:
    text = " ".join(str(value).split())
    if not text:
        raise ValueError("A sentence or more is wanted.")
    return text


def _guessed(value: Any) -> str:
    label = value.get("label") if isinstance(value, dict) else None
    if not isinstance(label, str) or not label.strip():
        raise ValueError('The field "label" must hold one of the labels.')
    return " ".join(label.split())
