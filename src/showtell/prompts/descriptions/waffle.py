"""Waffle: prompts of the shape of descriptions without their meaning, as a control for them."""

from __future__ import annotations

import functools
import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from showtell.checks import at_least
from showtell.errors import InputError
from showtell.prompts.descriptions.connectives import Compat


@dataclass(frozen=True, kw_only=True)
class WaffleShape:
    """How long random descriptions are, so that they resemble the label names."""

    n_words: int
    """Words of a random-word description."""
    word_length: int
    """Letters after which its words are cut."""
    n_groups: int
    """Groups of a random-character description."""
    group_length: int
    """Characters of each group."""


def waffle_shape(labels: Sequence[str], *, compat: Compat | None = None) -> WaffleShape:
    """Measure label names for `waffle_noise`.

    Parameters
    ----------
    labels : sequence of str
    compat : {"upstream"}, optional
        As published: underscores part words for the words but not for the characters, and one
        character more goes into each group where they come out even.

    Returns
    -------
    shape : WaffleShape

    References
    ----------
    Roth et al. (2023), Waffling around for Performance, arXiv:2306.07282, and its code.

    Examples
    --------
    >>> waffle_shape(["tiger cat", "goldfish", "great white shark"])
    WaffleShape(n_words=2, word_length=6, n_groups=2, group_length=3)
    >>> waffle_shape(["cat", "dog"], compat="upstream").group_length
    4
    """
    if not labels:
        raise InputError("Need at least one label, got none.")
    names = [label.replace("_", " ") for label in labels]
    words = [name.split(" ") for name in names]
    raw = list(labels) if compat == "upstream" else names
    n_groups = round(float(np.mean([name.count(" ") for name in raw]))) + 1
    longest = [max(map(len, name.split(" "))) for name in raw]
    n_characters = math.ceil(float(np.mean(longest)))
    if compat == "upstream" or n_characters % n_groups:
        n_characters += n_groups - n_characters % n_groups
    return WaffleShape(
        n_words=max(1, round(float(np.mean([len(name) for name in words])))),
        word_length=round(float(np.mean([np.mean([len(w) for w in name]) for name in words]))),
        n_groups=n_groups,
        group_length=n_characters // n_groups,
    )


def waffle_noise(
    labels: Sequence[str],
    *,
    n_pairs: int = 15,
    random_state: int = 0,
    words: Sequence[str] | None = None,
    characters: str = string.ascii_lowercase,
    compat: Compat | None = None,
) -> list[str]:
    """Draw random descriptions: the same for every label, half of words, half of characters.

    Parameters
    ----------
    labels : sequence of str
        Set the lengths, see `waffle_shape`.
    n_pairs : int, default=15
        Twice as many descriptions come back.
    random_state : int, default=0
    words : sequence of str, optional
        What to draw words from; by default `common_words`.
    characters : str
        What to draw characters from.
    compat : {"upstream"}, optional
        As in `waffle_shape`.

    Returns
    -------
    noise : list of str, length 2 * n_pairs
        Words and characters by turns.

    References
    ----------
    Roth et al. (2023), arXiv:2306.07282, section 3.

    Examples
    --------
    >>> noise = waffle_noise(["cat", "dog"], n_pairs=2)
    >>> len(noise), noise == waffle_noise(["cat", "dog"], n_pairs=2)
    (4, True)
    """
    at_least(1, n_pairs=n_pairs)
    shape = waffle_shape(labels, compat=compat)
    bank = list(common_words() if words is None else words)
    if not bank or not characters:
        raise InputError("Waffle needs at least one word and one character to draw from.")
    letters = list(characters)
    rng = np.random.default_rng(random_state)
    noise = []
    for _ in range(n_pairs):
        drawn = [bank[i][: shape.word_length] for i in rng.integers(len(bank), size=shape.n_words)]
        noise.append(" ".join(drawn))
        signs = rng.integers(len(letters), size=(shape.n_groups, shape.group_length))
        noise.append(", ".join("".join(letters[i] for i in group) for group in signs))
    return noise


@functools.cache
def common_words() -> tuple[str, ...]:
    """Return the everyday English words that random descriptions are drawn from."""
    file = resources.files("showtell.prompts") / "library" / "words.txt"
    return tuple(file.read_text(encoding="utf-8").split())
