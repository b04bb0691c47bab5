"""English nouns: from a label to its sense, and how near two senses are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

NO_SENSE = -1
"""Stands for "no noun found" where a sense is expected."""

_PLURALS = (
    ("ies", "y"),
    ("ves", "f"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("xes", "x"),
    ("ses", "s"),
    ("s", ""),
)
_MODIFIER = re.compile(
    r"\s*(?:[,;:(]| (?:which|that|who|with|without|in|on|at|from|for|by|near|under|over|and|or)"
    r"(?= )).*",
    re.DOTALL,
)


class Nouns:
    """A noun taxonomy: senses, the more general senses above each, and the words that name them.

    Kept as flat arrays, so that opening it costs nothing and a word is found by bisection.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        As made by `Nouns.pack`.

    References
    ----------
    Seco, Veale & Hayes (2004), An Intrinsic Information Content Metric for Semantic Similarity in
    WordNet (ECAI). Lin (1998), An Information-Theoretic Definition of Similarity (ICML).

    Examples
    --------
    >>> nouns = Nouns(Nouns.pack(
    ...     parents=[[], [0], [1], [1], [0]],  # entity > animal > dog, cat; entity > stone
    ...     senses={"entity": [0], "animal": [1], "dog": [2], "cat": [3], "stone": [4]},
    ... ))
    >>> nouns.senses("three small dogs")
    (2,)
    >>> round(nouns.similarity(2, 3), 3), nouns.similarity(2, 4)
    (0.317, 0.0)
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._words = arrays["words"].tobytes()
        self._word_at = _starts(arrays["word_lengths"])
        self._senses = arrays["senses"]
        self._senses_at = _starts(arrays["sense_counts"])
        self._parents = arrays["parents"]
        self._parents_at = _starts(arrays["parent_counts"])
        plurals = arrays["irregular"].tobytes().decode("utf-8").splitlines()
        self._irregular = dict(line.split("\t") for line in plurals)
        n_below = arrays["n_below"].astype(np.float64)  # senses below each one, itself included
        self.information = 1.0 - np.log(n_below) / math.log(max(len(n_below), 2))
        self._above: dict[int, frozenset[int]] = {}

    @staticmethod
    def pack(
        parents: Sequence[Sequence[int]],
        senses: Mapping[str, Sequence[int]],
        irregular: Mapping[str, str] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Turn a taxonomy into arrays that can be kept in an ``.npz`` file.

        `parents`, of length n_senses: the more general senses directly above each sense; no cycles;
        `senses`: lower-case word to its senses, most frequent first; `irregular`: irregular plural
        to singular. Returns `arrays`: no object arrays, nothing to unpickle.
        """
        words = sorted(word.encode("utf-8") for word in senses)
        of_word = [senses[word.decode("utf-8")] for word in words]
        lines = [f"{plural}\t{one}" for plural, one in sorted((irregular or {}).items())]
        arrays: dict[str, NDArray[Any]] = {
            "words": np.frombuffer(b"".join(words), np.uint8),
            "word_lengths": np.array([len(word) for word in words], np.uint8),
            "senses": np.array([s for row in of_word for s in row], np.int32),
            "sense_counts": np.array([len(row) for row in of_word], np.uint8),
            "parents": np.array([p for row in parents for p in row], np.int32),
            "parent_counts": np.array([len(row) for row in parents], np.uint8),
            "irregular": np.frombuffer("\n".join(lines).encode("utf-8"), np.uint8),
            "n_below": np.ones(len(parents), np.int32),
        }
        n_below = np.zeros(len(parents), np.int32)
        nouns = Nouns(arrays)
        for sense in range(len(parents)):
            n_below[list(nouns.above(sense))] += 1
        arrays["n_below"] = n_below
        return arrays

    def __len__(self) -> int:
        return len(self.information)

    def above(self, sense: int) -> frozenset[int]:
        """All senses more general than `sense`, and itself."""
        found = self._above.get(sense)
        if found is None:
            start, end = self._parents_at[sense], self._parents_at[sense + 1]
            parents = (self.above(int(parent)) for parent in self._parents[start:end])
            found = self._above[sense] = frozenset({sense}).union(*parents)
        return found

    def look_up(self, word: str) -> tuple[int, ...]:
        """Senses of exactly this lower-case word, most frequent first; empty if unknown."""
        wanted = word.encode("utf-8", "replace")
        low, high = 0, len(self._word_at) - 1
        while low < high:
            middle = (low + high) // 2
            found = self._words[self._word_at[middle] : self._word_at[middle + 1]]
            if found < wanted:
                low = middle + 1
            elif found > wanted:
                high = middle
            else:
                start, end = self._senses_at[middle], self._senses_at[middle + 1]
                return tuple(self._senses[start:end].tolist())
        return ()

    def senses(self, text: str) -> tuple[int, ...]:
        """Senses of the noun that a label or a short phrase is about.

        The whole text if it is a noun ("chest of drawers"); else the longest known tail of the
        part before the first comma, "with", "in", "which" ... ("cabbage white butterfly, orange
        spots" is about "butterfly", "bowl of soup on a table" about "soup"); else the longest
        known tail of the whole. Plurals are stripped and hyphens tried as blanks.

        `text`: any case. Returns `senses`: most frequent first; empty where no noun is known.
        """
        whole = " ".join(text.lower().split())
        head = _MODIFIER.sub("", whole).strip()
        return self._one_noun(whole) or self._longest_tail(head) or self._longest_tail(whole)

    def _longest_tail(self, phrase: str) -> tuple[int, ...]:
        words = phrase.split(" ")
        tails = (" ".join(words[i:]) for i in range(len(words)))
        return next((found for tail in tails if (found := self._one_noun(tail))), ())

    def _one_noun(self, phrase: str) -> tuple[int, ...]:
        """Senses of a phrase as it is, with hyphens for blanks and so on, or made singular."""
        spellings = [
            phrase,
            phrase.replace("-", " "),
            phrase.replace(" ", "-"),
            phrase.replace(" ", ""),
        ]
        forms = list(spellings)
        for spelling in spellings:
            before, _, last = spelling.rpartition(" ")
            if last in self._irregular:
                forms.append(f"{before} {self._irregular[last]}".strip())
            forms += [
                spelling.removesuffix(plural) + singular
                for plural, singular in _PLURALS
                if spelling.endswith(plural)
            ]
        return next((found for form in forms if (found := self.look_up(form))), ())

    def similarity(self, a: int, b: int) -> float:
        """Lin similarity of two senses: 1 for the same, 0 where only the root is shared.

        ``2 IC(c) / (IC(a) + IC(b))`` with ``c`` the most informative sense above both, and the
        intrinsic information content ``IC = 1 - ln(senses below, itself included) / ln(all)``.
        """
        if a == b:
            return 1.0
        shared = max((self.information[s] for s in self.above(a) & self.above(b)), default=0.0)
        total = self.information[a] + self.information[b]
        return float(2 * shared / total) if total > 0 else 0.0


class AnchorSenses:
    """Lin similarity of one sense to a fixed list of senses, all at once.

    Parameters
    ----------
    nouns : Nouns
    senses : sequence of int, length n_anchors
        `NO_SENSE` where an anchor has none.
    """

    def __init__(self, nouns: Nouns, senses: Sequence[int] | NDArray[np.int32]) -> None:
        self.nouns = nouns
        self.senses = np.asarray(senses, np.int32)
        self.known = self.senses != NO_SENSE
        self._information = np.where(self.known, nouns.information[self.senses], 0.0)
        below: dict[int, list[int]] = {}
        for row in np.flatnonzero(self.known).tolist():
            for sense in nouns.above(int(self.senses[row])):
                below.setdefault(sense, []).append(row)
        self._below = {sense: np.array(rows) for sense, rows in below.items()}

    @classmethod
    def of_texts(cls, nouns: Nouns, texts: Sequence[str]) -> Self:
        """Take the most frequent sense of each text."""
        return cls(nouns, [next(iter(nouns.senses(text)), NO_SENSE) for text in texts])

    def similarities(self, sense: int) -> NDArray[np.float64]:
        """Lin similarity of `sense` to each anchor, shape (n_anchors,); 0 for unknown anchors."""
        information = self.nouns.information
        shared = np.zeros(len(self.senses))
        for general in sorted(self.nouns.above(sense), key=information.__getitem__):
            if general in self._below:  # from general to special: the last one written counts
                shared[self._below[general]] = information[general]
        total = information[sense] + self._information
        similarity: NDArray[np.float64] = np.divide(
            2 * shared, total, out=np.zeros_like(total), where=total > 0
        )
        similarity[self.senses == sense] = 1.0
        return similarity


def _starts(lengths: NDArray[Any]) -> list[int]:
    """Where each of some strings or lists laid end to end starts, and where the last one ends."""
    starts: list[int] = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).tolist()
    return starts
