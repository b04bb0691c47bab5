"""The writing half of the local servers: words that are known to help or to harm, mixed by chance.

It does what it is told, so its words get better only where somebody tells it which ones are bad, or
keeps the better of two answers.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.encoders.base import Encoder
from showtell.errors import InputError
from showtell.media import Media
from showtell.testing.servers.assignments import Assignment
from showtell.testing.servers.knobs import uniform
from showtell.testing.servers.sight import SentImage, Sight

__all__ = ["Author", "LabelWords"]

_SHARPNESS = 50.0  # a word that moves a cosine by 0.02 counts
_SAMPLED_WORDS = 24  # with which the labels beside the measured one are described
_SHARE = 4  # a quarter of the words is called good, a quarter bad
_SAME = 1e-6
_NEAREST_SHARE = 8  # unmeasured, an eighth is called good
_DEFAULT_COUNT = {"describe-label": 8, "describe-sentences": 10, "mutate": 8, "crossover": 8}
_SENTENCES = (
    "A photo of a {label}: {word}.",
    "A typical {label} is known by this: {word}.",
    "What one sees of a {label}: {word}.",
    "In the picture is a {label}, {word}.",
    "The most visible thing about this {label}: {word}.",
)
_SEEN = (("thing", 2), ("colour", 1), ("pattern", 1), ("texture", 1), ("part", 2),
         ("surroundings", 1), ("light", 1))  # fmt: skip
_STRANGERS = ("zebra", "teapot", "lighthouse", "banana")
_MOST_VALUES = 8  # of several labels together
_INVALID = ("N/A", "not visible", "black, white, or tan")
_KINDS_OF_ATTRIBUTE = {
    "colour": ("colour", "color", "tone", "hue"),
    "pattern": ("pattern", "marking", "print"),
    "texture": ("texture", "surface", "material", "fur", "fabric", "coat"),
    "shape": ("shape", "outline", "form", "size", "length", "silhouette", "edge"),
    "surroundings": ("surroundings", "background", "place", "habitat"),
    "light": ("light", "weather"),
    "posture": ("posture", "position", "pose"),
}


@dataclass(frozen=True, kw_only=True)
class LabelWords:
    """What is known about the words of the bank for one label."""

    good: tuple[str, ...]
    """Best first."""
    bad: tuple[str, ...]
    """Worst first; planted nonsense among them."""
    other: tuple[str, ...]
    """Neither helps nor harms much."""
    gains: Mapping[str, float] = field(default_factory=dict)
    """Measured: by how much a word lowers the cross-entropy of all photos beside a word of no
    particular kind; above 0 helps. Empty where nothing was measured."""


class Author:
    """Writes descriptions from a bank of visual words.

    With labelled photos it measures with the encoder which words help to tell a label's photos
    from the others and which harm. It knows that and does not use it: its answers mix good and
    bad words by chance, and change only as they are told. Without photos its good words are those
    whose text embedding is near the label's, and its bad ones are planted nonsense.

    Parameters
    ----------
    images : sequence of Media, optional
        Photos to measure words with. Take none that anything is measured on later.
    labels : sequence of str, optional
        Label of each image.
    share_bad : float, default=0.5
        How many of the words it writes are bad ones.
    words : sequence of str, optional
        A bank of its own instead of the usual one of some 350.
    nonsense : sequence of str, optional
        Planted words instead of the usual ones.
    prompt : str, default="a photo of a {label}, {word}"
        How a word is put before the encoder when it is measured.

    Raises
    ------
    InputError
        If images and labels do not match, or a value makes no sense.

    Examples
    --------
    >>> from showtell.testing import ColourEncoder, draw_shape
    >>> photos = [draw_shape("red circle", seed=i) for i in range(3)]
    >>> photos += [draw_shape("blue square", seed=i) for i in range(3)]
    >>> author = Author(images=photos, labels=["ball"] * 3 + ["box"] * 3,
    ...     words=["bright red", "deep blue"], nonsense=["a promise"])
    >>> known = author.measure(ColourEncoder())
    >>> known["ball"].good, known["ball"].bad
    (('bright red',), ('deep blue', 'a promise'))
    """

    def __init__(
        self,
        *,
        images: Sequence[Media] | None = None,
        labels: Sequence[str] | None = None,
        share_bad: float = 0.5,
        words: Sequence[str] | None = None,
        nonsense: Sequence[str] | None = None,
        prompt: str = "a photo of a {label}, {word}",
    ) -> None:
        n_images = 0 if images is None else len(images)
        n_labels = 0 if labels is None else len(labels)
        if n_images != n_labels:
            raise InputError(f"Each image needs one label, got {n_images} and {n_labels}.")
        if not 0 <= share_bad <= 1:
            raise InputError(f"`share_bad` must be from 0 to 1, got {share_bad!r}.")
        if "{label}" not in prompt or "{word}" not in prompt:
            raise InputError(f"`prompt` needs {{label}} and {{word}}, got {prompt!r}.")
        self.images = [] if images is None else list(images)
        self.labels = [] if labels is None else [str(label) for label in labels]
        self.share_bad, self.prompt = share_bad, prompt
        usual = _bank()
        self.words = tuple(dict.fromkeys(usual.words if words is None else words))
        self.nonsense = tuple(dict.fromkeys(usual.nonsense if nonsense is None else nonsense))
        if not self.words:
            raise InputError("`words` must not be empty.")
        self._lock = threading.Lock()
        self._measured: dict[str, LabelWords] | None = None
        self._guessed: dict[str, LabelWords] = {}

    # What it knows

    def measure(self, encoder: Encoder) -> Mapping[str, LabelWords]:
        """Measure the words with the photos, once; no label is known without photos."""
        with self._lock:
            if self._measured is None:
                self._measured = self._measure(encoder) if self.images else {}
            return self._measured

    def _measure(self, encoder: Encoder) -> dict[str, LabelWords]:
        """Put each word in place of a label's usual description, and see what it does."""
        from showtell.encoders.embed import embed_images

        result = embed_images(encoder, self.images, store=None)
        kept = [i for i in range(len(self.images)) if i not in result.errors]
        rows = result.rows()[kept]  # (n_images, n_dims)
        names = tuple(dict.fromkeys(self.labels))
        y = np.array([names.index(self.labels[i]) for i in kept])
        words = (*self.words, *self.nonsense)
        step = max(1, len(words) // _SAMPLED_WORDS)
        sampled = list(range(0, len(words), step))
        scores = []  # per label (n_images, n_words)
        for name in names:
            prompts = [self.prompt.format(label=name, word=word) for word in words]
            scores.append(_SHARPNESS * (rows @ encoder.encode_texts(prompts).T).astype(np.float64))
        usual = np.stack([own[:, sampled].mean(axis=1) for own in scores], axis=1)
        found = {}
        for code, name in enumerate(names):
            gains = _gains(usual, scores[code], code, y)
            found[name] = _sorted_words(words, self.nonsense, gains)
        return found

    async def words_of(self, label: str, sight: Sight) -> LabelWords:
        """Say what is known about a label's words; measured where there are photos of it."""
        if self.images:
            measured = await asyncio.to_thread(lambda: self.measure(sight.encoder))
            if label in measured:
                return measured[label]
        if label not in self._guessed:
            self._guessed[label] = await self._guess(label, sight)
        return self._guessed[label]

    async def _guess(self, label: str, sight: Sight) -> LabelWords:
        """Take the words whose embedding is nearest the label's, or any if none can be read."""
        try:
            rows = await sight.read([f"a photo of a {label}", *map(_shown, _bank().things)])
            texts = await sight.read([_shown(word) for word in self.words])
            nearness = texts @ rows[0] - (texts @ rows[1:].T).mean(axis=1)
        except InputError:
            nearness = np.zeros(len(self.words))
        if np.ptp(nearness) < _SAME:
            nearness = np.array([uniform("word", label, word) for word in self.words])
        order = [self.words[i] for i in np.argsort(-nearness, kind="stable")]
        n_good = max(1, len(order) // _NEAREST_SHARE)
        return LabelWords(
            good=tuple(order[:n_good]), bad=self.nonsense, other=tuple(order[n_good:])
        )

    # What it writes

    async def write(
        self,
        asked: Assignment,
        sight: Sight,
        *,
        schema: Mapping[str, Any] | None = None,
        images: Sequence[SentImage] = (),
        draw_key: Sequence[object] = (),
        fault: str | None = None,
    ) -> Any:
        """Do a task: the fields of `schema`, spoiled by `fault`, to be written as JSON."""
        pen = _Pen(self, sight, asked, tuple(draw_key), fault)
        match asked.task:
            case "describe-label" | "describe-sentences":
                return _in_form(await pen.list_for_label(), schema)
            case "find-concept":
                return _in_form(await pen.concept(), schema)
            case "describe-image":
                return _in_form(await pen.picture(images), schema)
            case "mutate" | "crossover":
                return await pen.classes()
            case "parts":
                return _pruned(await pen.parts(), schema)
            case "attributes":
                return pen.attributes()
            case _:
                return await pen.values(schema)

    def __repr__(self) -> str:
        n = len(set(self.labels))
        knows = f"{len(self.images)} photos of {n} labels" if self.images else "no photos"
        return f"<Author: {len(self.words)} words, {knows}, share_bad={self.share_bad:g}>"


@dataclass
class _Pen:
    """One task being written."""

    author: Author
    sight: Sight
    asked: Assignment
    draw_key: tuple[object, ...]
    fault: str | None

    def draw(self, *words: object) -> float:
        return uniform(*self.draw_key, "write", *words)

    def shuffled(self, words: Sequence[str], *key: object) -> list[str]:
        return sorted(words, key=lambda word: self.draw(*key, word))

    async def mixed(
        self, label: str, n: int, *, without: Sequence[str] = (), avoid: Sequence[str] = ()
    ) -> list[str]:
        """Draw words for a label, good and bad; `avoid` are used only when all others are."""
        known = await self.author.words_of(label, self.sight)
        barred = {_plain(word) for word in without}
        late = {_plain(word) for word in avoid}

        def usable(words: Sequence[str], taken: set[str]) -> list[str]:
            found = [w for w in words if _plain(w) not in taken]
            return [w for w in self.shuffled(found, label) if not self._names_another(w, label)]

        good, bad = usable(known.good, barred | late), usable(known.bad, barred | late)
        # who wants only good words, or only bad ones, gets no others while there are any
        is_pure = self.author.share_bad in (0.0, 1.0)
        chosen: list[str] = []
        for place in range(n):
            wants_bad = self.draw("bad", label, place) < self.author.share_bad
            first, second = (bad, good) if wants_bad else (good, bad)
            if first:
                chosen.append(first.pop())
            elif second and not is_pure:
                chosen.append(second.pop())
        for words, taken in ((known.other, barred | late), (avoid, barred)):
            if len(chosen) < n:
                more = usable(words, taken | set(map(_plain, chosen)))
                chosen += more[: n - len(chosen)]
        return chosen

    def _names_another(self, word: str, label: str) -> bool:
        text = f" {_plain(word)} "
        return any(f" {_plain(o)} " in text for o in self.asked.labels if o != label)

    def stranger(self, label: str) -> str:
        """Name a label that is not meant."""
        known = [o for o in (*self.asked.labels, *self.author.labels) if o != label]
        others = known or [word for word in _STRANGERS if word != label]
        return others[int(self.draw("stranger", label) * len(others))]

    def spoiled(self, texts: list[str], label: str) -> list[str]:
        """Repeat half of a list, or let one of its texts name another label."""
        if self.fault == "repeat" and texts:
            half = texts[: (len(texts) + 1) // 2]
            return [*half, *(text.capitalize() for text in half)][: max(2, len(texts))]
        if self.fault == "name_other" and texts:
            place = int(self.draw("place", label) * len(texts))
            return [
                f"{text}, like a {self.stranger(label)}" if i == place else text
                for i, text in enumerate(texts)
            ]
        if self.fault == "invalid" and texts:
            return [_INVALID[int(self.draw("invalid", label, *texts) * len(_INVALID))]]
        return texts

    async def list_for_label(self) -> dict[str, Any]:
        asked = self.asked
        label = asked.label or (asked.labels[0] if asked.labels else "thing")
        n = _DEFAULT_COUNT[asked.task] if asked.count is None else asked.count
        if self.fault == "forget_label":
            texts: list[str] = []
        elif asked.task == "describe-label":
            texts = self.spoiled(await self.mixed(label, n), label)
        else:
            words = await self.mixed(label, n)
            frames = [_SENTENCES[int(self.draw("frame", w) * len(_SENTENCES))] for w in words]
            texts = [f.format(label=label, word=w) for f, w in zip(frames, words, strict=True)]
            texts = self.spoiled(texts, label)
        lists = ("descriptors", "descriptions", "features", "sentences", "texts")
        return {"category": label, "label": label, **dict.fromkeys(lists, texts)}

    async def concept(self) -> dict[str, Any]:
        """Name the kind of thing that is nearest all labels, if it is near most of them."""
        labels = self.asked.labels
        listed = set(map(_plain, labels))
        things = [t for t in _bank().things if _bare(t) not in listed]
        nothing = {"concept": None, "confidence": 2}
        if not labels or self.fault == "forget_label":
            return nothing
        try:
            rows = await self.sight.read([f"a photo of a {label}" for label in labels])
            kinds = await self.sight.read([_shown(thing) for thing in things])
        except InputError:
            return nothing
        near = rows @ kinds.T  # (n_labels, n_things)
        if np.ptp(near, axis=1).min() < _SAME:  # the encoder knows no such words
            return nothing
        best = int(near.mean(axis=0).argmax())
        ranks = (near > near[:, [best]]).sum(axis=1)  # how many things are nearer each label
        share = float((ranks < len(things) // 8).mean())
        if share < 0.7:
            return nothing
        return {"concept": _bare(things[best]), "confidence": round(10 * share)}

    async def picture(self, images: Sequence[SentImage]) -> dict[str, Any]:
        """Say what the last image shows, in the words of the bank that are nearest it."""
        if not images:
            return {"description": "There is no image.", "descriptors": [], "confidence": 0}
        [row] = await self.sight.look([images[-1]])
        groups = _bank().groups
        seen: list[str] = []
        sure = 0.0
        try:
            for name, n in _SEEN:
                texts = await self.sight.read([_shown(word) for word in groups[name]])
                nearness = texts @ row
                order = np.argsort(-nearness, kind="stable")
                seen += [groups[name][i] for i in order[:n]]
                sure += float(nearness[order[0]] - nearness.mean()) / len(_SEEN)
        except InputError:
            seen = ["a picture", f"{images[-1].width} by {images[-1].height} pixels"]
        if self.fault == "name_other":
            seen.append(f"like a {self.stranger('')}")
        if self.fault == "repeat":
            seen += seen
        if self.fault == "forget_label":
            seen = seen[-1:]
        text = f"A photo of {seen[0]}" + "".join(f", {word}" for word in seen[1:]) + "."
        return {
            **dict.fromkeys(("description", "caption", "text", "answer"), text),
            **dict.fromkeys(("descriptors", "descriptions", "features"), seen),
            "confidence": max(0, min(10, round(40 * sure))),
        }

    async def classes(self) -> dict[str, Any]:
        """Write every label anew: replaced words, or a mixture of the versions shown."""
        asked = self.asked
        forgotten = None
        if self.fault == "forget_label" and asked.labels:
            forgotten = asked.labels[int(self.draw("forgotten") * len(asked.labels))]
        found = []
        for index, label in enumerate(asked.labels):
            if label == forgotten:
                continue
            crosses = asked.task == "crossover"
            texts = self.crossed(label) if crosses else await self.mutated(label)
            found.append({"index": index, "name": label, "descriptors": self.spoiled(texts, label)})
        return {"classes": found}

    async def mutated(self, label: str) -> list[str]:
        """Drop the bad words it is told of and others to the number asked, and add fresh ones."""
        asked = self.asked
        versions = asked.current.get(label, ())
        now = list(versions[-1]) if versions else []
        bad, good = asked.bad.get(label, ()), asked.good.get(label, ())
        told = {_plain(word) for word in bad}
        kept = [word for word in now if _plain(word) not in told]
        n = asked.count if asked.count is not None else len(now) or _DEFAULT_COUNT["mutate"]
        n_more = (asked.replace or 0) - (len(now) - len(kept))
        if n_more > 0:
            praised = {_plain(word) for word in good}
            free = self.shuffled([w for w in kept if _plain(w) not in praised], "drop", label)
            dropped = set(free[:n_more])
            kept = [word for word in kept if word not in dropped]
        kept = kept[:n]
        used = [*now, *good]
        fresh = await self.mixed(label, n - len(kept), without=(*bad, *kept), avoid=used)
        return [*kept, *fresh]

    def crossed(self, label: str) -> list[str]:
        """Mix the versions shown: only words that stand in one of them, and none it was told of."""
        versions = self.asked.current.get(label, ())
        told = {_plain(word) for word in self.asked.bad.get(label, ())}
        praised = {_plain(word) for word in self.asked.good.get(label, ())}
        pool = {_plain(word): word for version in versions for word in version}
        pool = {plain: word for plain, word in pool.items() if plain not in told}
        in_how_many = {
            plain: sum(plain in map(_plain, version) for version in versions) for plain in pool
        }
        order = sorted(
            pool,
            key=lambda p: (p not in praised, -in_how_many[p], self.draw("cross", label, p)),
        )
        n = self.asked.count or max(map(len, versions), default=0)
        return [pool[plain] for plain in order[:n]]

    async def parts(self) -> dict[str, Any]:
        """Take apart what the domain is most like."""
        domain = self.asked.domain or "thing"
        known = _bank().parts
        kind = await self._nearest(domain, tuple(known))
        children = [
            {"part": part, "children": [{"part": sub, "children": []} for sub in below]}
            for part, below in known[kind].items()
        ]
        if self.fault == "forget_label":  # some parts are missing, or all of them
            children = children[1:] if self.draw("some", domain) < 0.5 else []
        elif self.fault == "repeat":
            children = [*children, *children[:1]]
        elif self.fault == "invalid":
            children = [{"part": "N/A", "children": []}, {"part": "", "children": []}]
        elif self.fault == "name_other":
            children = [*children, {"part": self.stranger(domain), "children": []}]
        return {"part": domain, "children": children}

    def attributes(self) -> dict[str, Any]:
        """Name three to six kinds of attributes."""
        part = self.asked.part or self.asked.domain or "thing"
        usual = _bank().attributes
        names = self.shuffled([names[0] for names in usual.values()], "attributes", part)
        found = names[: 3 + int(self.draw("n", part) * 4)]
        if self.fault == "forget_label":
            found = []
        return {"part": part, "attributes": self.spoiled(found, part)}

    async def values(self, schema: Mapping[str, Any] | None) -> dict[str, Any]:
        """Say for every attribute of a part what it is like with a label, or with all of them."""
        asked = self.asked
        labels = (asked.label,) if asked.label else asked.labels or ("thing",)
        names = list(asked.attributes)
        if self.fault == "forget_label":
            names = names[1:]
        found: dict[str, list[str]] = {}
        for name in names:
            words = [word for label in labels for word in await self._values_of(label, name)]
            words = list(dict.fromkeys(words))
            if len(labels) > 1:
                words = self.shuffled(words, "merged", name)[:_MOST_VALUES]
            if self.fault == "name_other":
                found[name] = [self.stranger(labels[0])]
            else:
                found[name] = self.spoiled(words, labels[0])
        value: Any = found
        if _kind_of(_property(schema, "values")) == "array":
            value = [{"attribute": name, "values": words} for name, words in found.items()]
        whole = {"label": labels[0], "part": asked.part or "thing", "values": value}
        return whole if schema is None else _in_form(whole, schema)

    async def _values_of(self, label: str, attribute: str) -> list[str]:
        known = await self.author.words_of(label, self.sight)
        group = set(_bank().groups[_group_of(attribute)])
        ranked = (*known.good, *known.other, *reversed(known.bad))
        own = [word for word in ranked if word in group][:3] or list(ranked[:1])
        found = own[: 1 + int(self.draw("values", label, attribute) * len(own))]
        if known.bad and self.draw("bad value", label, attribute) < self.author.share_bad:
            bad = [w for w in known.bad if len(w.split()) < 5] or list(known.bad)
            found.append(bad[int(self.draw("which", label, attribute) * len(bad))])
        return list(dict.fromkeys(found))

    async def _nearest(self, word: str, kinds: tuple[str, ...]) -> str:
        for kind in kinds:
            if kind in word.casefold():
                return kind
        try:
            rows = await self.sight.read([f"a photo of a {word}"])
            texts = await self.sight.read([f"a photo of a {kind}" for kind in kinds])
        except InputError:
            return kinds[-1]
        return kinds[int((texts @ rows[0]).argmax())]


@dataclass(frozen=True, kw_only=True)
class _Bank:
    """The words of the data file."""

    groups: Mapping[str, tuple[str, ...]]
    nonsense: tuple[str, ...]
    parts: Mapping[str, Mapping[str, Sequence[str]]]
    attributes: Mapping[str, Sequence[str]]

    @property
    def things(self) -> tuple[str, ...]:
        """Kinds of things, which describe an image and no label."""
        return self.groups["thing"]

    @property
    def words(self) -> tuple[str, ...]:
        """What labels may be described with."""
        return tuple(w for name, group in self.groups.items() if name != "thing" for w in group)


@cache
def _bank() -> _Bank:
    file = resources.files("showtell.testing.servers").joinpath("words.json")
    data = json.loads(file.read_text(encoding="utf-8"))
    return _Bank(
        groups={name: tuple(words) for name, words in data["groups"].items()},
        nonsense=tuple(data["nonsense"]),
        parts=data["parts"],
        attributes=data["attributes"],
    )


def _gains(
    usual: NDArray[np.float64], own: NDArray[np.float64], code: int, y: NDArray[np.int_]
) -> NDArray[np.float64]:
    """Fall of the mean cross-entropy if a label had one word only, shape (n_words,)."""
    others = np.delete(usual, code, axis=1)
    rest = np.full(len(usual), -np.inf)
    if others.shape[1]:
        top = others.max(axis=1)
        rest = top + np.log(np.exp(others - top[:, None]).sum(axis=1))

    def loss(column: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.logaddexp(rest[:, None], column)
        true = np.where((y == code)[:, None], column, usual[np.arange(len(y)), y][:, None])
        cross: NDArray[np.float64] = (total - true).mean(axis=0)
        return cross

    before = loss(usual[:, [code]])
    return before - loss(own)


def _sorted_words(
    words: Sequence[str], nonsense: Sequence[str], gains: NDArray[np.float64]
) -> LabelWords:
    """Call a quarter good and a quarter bad; of the planted words those that do harm are bad."""
    order = [int(i) for i in np.argsort(-gains, kind="stable")]
    n = max(1, len(words) // _SHARE)
    good = [i for i in order[:n] if gains[i] > 0 and words[i] not in nonsense]
    harmful = [i for i in reversed(order) if gains[i] < 0]
    bad = harmful[:n]
    bad += [i for i in harmful[n:] if words[i] in nonsense]
    left = [i for i in order if i not in {*good, *bad} and words[i] not in nonsense]
    return LabelWords(
        good=tuple(words[i] for i in good),
        bad=tuple(words[i] for i in bad),
        other=tuple(words[i] for i in left),
        gains={word: float(gain) for word, gain in zip(words, gains, strict=True)},
    )


def _in_form(content: Mapping[str, Any], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Fill the fields that a schema asks for; without one the usual fields."""
    wanted = schema.get("properties") if schema is not None else None
    if not isinstance(wanted, Mapping) or not wanted:
        usual = ("category", "descriptors", "concept", "confidence", "description")
        return {name: content[name] for name in usual if name in content}
    empty = {"array": [], "number": 0, "integer": 0, "boolean": False, "object": {}}
    return {
        name: content.get(name, empty.get(_kind_of(inner) or "", ""))
        for name, inner in wanted.items()
    }


def _pruned(tree: dict[str, Any], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Cut a tree of parts where its schema has no further level."""
    if schema is None or not isinstance(schema.get("properties"), Mapping):
        return tree
    inner = _property(schema, "children")
    if not isinstance(inner, Mapping):
        return {"part": tree["part"]}
    below = [_pruned(child, inner.get("items")) for child in tree["children"]]
    return {"part": tree["part"], "children": below}


def _property(schema: Mapping[str, Any] | None, name: str) -> Any:
    properties = schema.get("properties") if schema is not None else None
    return properties.get(name) if isinstance(properties, Mapping) else None


def _kind_of(schema: Any) -> str | None:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), None)
    return kind if isinstance(kind, str) else None


def _group_of(attribute: str) -> str:
    plain = attribute.casefold()
    for group, keys in _KINDS_OF_ATTRIBUTE.items():
        if any(key in plain for key in keys):
            return group
    return "part"


def _shown(word: str) -> str:
    """Put a word before the encoder without a label."""
    return f"a photo of {word}" if word in _things() else f"a photo of something with {word}"


@cache
def _things() -> frozenset[str]:
    return frozenset(_bank().things)


def _bare(thing: str) -> str:
    """Leave out the article."""
    first, _, rest = thing.partition(" ")
    return rest if first in ("a", "an", "the") else thing


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())
