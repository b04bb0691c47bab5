"""How labels are written in requests, and the prompts around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from showtell.classify.labels import LabelWords
from showtell.datasets import LabelKey, anonymise_labels
from showtell.errors import InputError
from showtell.prompts import AnswerParser, PromptSet, load_prompts


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
