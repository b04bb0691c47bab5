"""How labels are written in requests, and the prompts around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from showtell.classify.labels import LabelWords
from showtell.datasets import LabelKey, anonymise_labels
from showtell.errors import InputError
from showtell.prompts import AnswerParser, Demonstration, PromptSet, load_prompts


@dataclass(frozen=True, kw_only=True)
class Wording:
    """Everything that requests say of the labels."""

    names: tuple[str, ...]
    """How each label is written, shape (n_classes,)."""
    known_names: tuple[str, ...]
    """What labels are really called, names and aliases: none of it may leak where it is hidden."""
    aliases: Mapping[str, Sequence[str]]
    """Name as written to other names that an answer may use."""
    sentences: tuple[tuple[str, ...], ...]
    """Descriptions of each label; empty where there are none."""
    prompts: PromptSet
    key: LabelKey | None = None
    """Which neutral name stands for which label."""

    def real_names(self) -> Sequence[str]:
        """Names that mean something to an encoder; it runs here, so nothing leaks."""
        if self.key is None:
            return self.names
        return [self.key.to_label[name] for name in self.names]

    def refuse_leaks(self, role: str) -> None:
        """Refuse a role or edited prompts that name a class which is to stay unknown."""
        if self.key is None:
            return
        usual = load_prompts().texts
        written = [role, *(t for name, t in self.prompts.texts.items() if t != usual[name])]
        parser = AnswerParser(self.known_names)
        for text in written:
            for line in text.splitlines():
                for found in parser.parse(line).candidates:
                    raise InputError(
                        f"`anonymise` hides the class names, but the role or a prompt file says "
                        f"{self.known_names[found]!r}: {line.strip()[:80]!r}. Reword it."
                    )


def write_labels(words: LabelWords, prompts: PromptSet, *, anonymise: bool, seed: int) -> Wording:
    """Fix how the label set is written.

    Raises InputError if two labels cannot be told apart in an answer.
    """
    names = [" ".join(of_class[0].split()) for of_class in words.names]
    known = tuple(dict.fromkeys(name for of_class in words.names for name in of_class))
    key: LabelKey | None = None
    aliases: dict[str, list[str]] = {}
    sentences: tuple[tuple[str, ...], ...] = ()
    if anonymise:
        key = anonymise_labels(names, seed)
        names = [key.to_code[name] for name in names]
    else:
        others = zip(names, words.names, strict=True)
        aliases = {n: [a for a in of if a != n] for n, of in others if set(of) - {n}}
        if any(words.descriptions):
            sentences = words.descriptions
    AnswerParser(names, aliases)
    return Wording(
        names=tuple(names),
        known_names=known,
        aliases=aliases,
        sentences=sentences,
        prompts=prompts,
        key=key,
    )


T = TypeVar("T")


def rotated(items: Sequence[T], rotation: int, n_rotations: int) -> tuple[T, ...]:
    """Shift a list cyclically; rotations are spread evenly over its places.

    Examples
    --------
    >>> [rotated("abcd", rotation, 2) for rotation in range(2)]
    [('a', 'b', 'c', 'd'), ('c', 'd', 'a', 'b')]
    """
    start = _start(len(items), rotation, n_rotations)
    return (*items[start:], *items[:start])


def _start(n: int, rotation: int, n_rotations: int) -> int:
    if not n:
        return 0
    return rotation * n // n_rotations if n_rotations <= n else rotation % n


def ended_by_rotations(
    shown: Sequence[Demonstration], rotation: int, n_rotations: int
) -> tuple[Demonstration, ...]:
    """Shift demonstrations so that each class is shown last in one rotation; 0: as given."""
    classes = list(dict.fromkeys(d.code for d in reversed(shown)))
    if not rotation or not classes:
        return tuple(shown)
    wanted = classes[_start(len(classes), rotation, n_rotations)]
    end = max(i for i, d in enumerate(shown) if d.code == wanted) + 1
    return (*shown[end:], *shown[:end])


@dataclass(frozen=True, kw_only=True)
class LabelOrder:
    """The order of the labels in every view, and by whose name each goes."""

    n_rotations: int
    """A view is a rotation of a repetition: view number = repetition * n_rotations + rotation."""
    seed: int
    neutral: tuple[str, ...] | None = None
    """Neutral names in place of the labels; None where labels go by their own."""

    def listed(self, view: int, codes: tuple[int, ...]) -> tuple[int, ...]:
        """List neutral names by number; shuffle for every repetition, shift for every rotation."""
        sample, rotation = divmod(view, self.n_rotations)
        written = self.written(view)
        if self.neutral is not None:  # names stay where they are, and labels move through them
            held = {code: code for code in codes}
            if written is not None:
                held = {written[code]: code for code in codes}
            codes = tuple(sorted(held, key=self._by_number))
        if sample:
            rng = np.random.default_rng([self.seed % 2**63, sample])
            codes = tuple(int(code) for code in rng.permutation(codes))
        if self.neutral is not None:
            return tuple(held[name] for name in codes)
        return rotated(codes, rotation, self.n_rotations)

    def written(self, view: int) -> tuple[int, ...] | None:
        """By whose neutral name each label goes: every rotation shifts the names by some places."""
        rotation = view % self.n_rotations
        if self.neutral is None or not rotation:
            return None
        by_number = sorted(range(len(self.neutral)), key=self._by_number)
        shifted = rotated(by_number, rotation, self.n_rotations)
        written = [0] * len(by_number)
        for code, name in zip(by_number, shifted, strict=True):
            written[code] = name
        return tuple(written)

    def _by_number(self, code: int) -> tuple[int, str]:
        assert self.neutral is not None
        return len(self.neutral[code]), self.neutral[code]
