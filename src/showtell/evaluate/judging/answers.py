"""Answers of contestants: read from tables, joined by image, sampled for a person to judge."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np

from showtell.errors import DataError, InputError
from showtell.evaluate.judging.questions import plain
from showtell.tables import read_columns
from showtell.words import listed, plural

_COLUMNS = ("answer", "label", "caption", "text", "story", "predicted")
_SCORES = {"first": 1.0, "second": 0.0, "tie": 0.5}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one contestant said about each image."""

    name: str
    texts: Mapping[str, str]
    """By image, in the order of the table."""
    n_missing: int = 0
    """Rows without an answer: failed, abstained or empty."""
    seconds: Mapping[str, float] | None = None
    costs: Mapping[str, Decimal] | None = None
    questions: Mapping[str, str] | None = None
    references: Mapping[str, str] | None = None

    def facts(self) -> dict[str, Any]:
        """Say how long answers are, what they took and cost; None is unknown."""
        n = len(self.texts)
        n_characters = sum(map(len, self.texts.values()))
        seconds = None if not self.seconds else sum(self.seconds.values())
        cost = None if not self.costs else sum(self.costs.values(), Decimal(0))
        n_timed = len(self.seconds or {})
        timed = sum(len(self.texts[image]) for image in self.seconds or {})
        return {
            "name": self.name,
            "n_answers": n,
            "n_missing": self.n_missing,
            "characters_each": n_characters / n if n else None,
            "seconds_each": None if seconds is None else seconds / n_timed,
            "seconds_per_1000_characters": (
                None if seconds is None or not timed else 1000 * seconds / timed
            ),
            "usd_per_1000": None if cost is None else float(1000 * cost / len(self.costs or {})),
        }


def read_answers(
    path: str | os.PathLike[str], *, column: str | None = None, name: str | None = None
) -> Answers:
    """Read what a contestant said: a table with the columns image and answer.

    Parameters
    ----------
    path : path
        CSV, JSON Lines, JSON or Parquet. Rows whose ``status`` is not ok, or whose answer is empty,
        have no answer. ``seconds``, ``cost_usd``, ``question`` and ``reference`` are read where
        they are there.
    column : str, optional
        Of the answers; unless given the first of answer, label, caption, text, story, predicted.
    name : str, optional
        Of the contestant; unless given the file's.

    Raises
    ------
    DataError
        If a column is missing or an image has two different answers.
    """
    table = read_columns(path)
    where = os.fspath(path)
    there = ", ".join(map(repr, table)) or "no columns"
    if "image" not in table:
        raise DataError(f"{where}: answers are joined by a column 'image'; the table has {there}.")
    known = (column,) if column is not None else _COLUMNS
    found = next((one for one in known if one in table), None)
    if found is None:
        raise DataError(
            f"{where}: no column of answers. Looked for {', '.join(map(repr, known))}; the table "
            f"has {there}. Name it with `answer_column`."
        )
    status = table.get("status") or ["ok"] * len(table["image"])
    texts: dict[str, str] = {}
    rows: dict[str, int] = {}
    n_missing = 0
    for row, image in enumerate(table["image"]):
        text = table[found][row]
        if image is None:
            raise DataError(f"{where}: row {row + 1} names no image.")
        if status[row] not in ("ok", None) or text is None or not str(text).strip():
            n_missing += 1
            continue
        if texts.setdefault(str(image), str(text)) != str(text):
            raise DataError(f"{where}: {image!r} has two different answers. Keep one row of it.")
        rows[str(image)] = row
    return Answers(
        name=name or Path(where).stem,
        texts=texts,
        n_missing=n_missing,
        seconds=_numbers(table, rows, "seconds", where, float),
        costs=_numbers(table, rows, "cost_usd", where, lambda value: Decimal(str(value))),
        questions=_texts(table, rows, "question"),
        references=_texts(table, rows, "reference"),
    )


def _numbers(
    table: Mapping[str, Sequence[Any]], rows: Mapping[str, int], name: str, where: str, read: Any
) -> dict[str, Any] | None:
    if name not in table:
        return None
    found = {}
    for image, row in rows.items():
        value = table[name][row]
        if value is not None:
            try:
                found[image] = read(value)
            except (ValueError, InvalidOperation):
                raise DataError(f"{where}: {name} {value!r} of {image!r} is no number.") from None
    return found or None


def _texts(
    table: Mapping[str, Sequence[Any]], rows: Mapping[str, int], name: str
) -> dict[str, str] | None:
    if name not in table:
        return None
    return {image: str(table[name][row] or "") for image, row in rows.items()}


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Answers of all contestants about the images that all of them answered."""

    names: tuple[str, ...]
    images: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    """Of each contestant, in the order of `images`."""
    questions: tuple[str, ...] | None
    references: tuple[str, ...] | None
    missing: Mapping[str, int]
    """Images that a contestant did not answer though another did."""

    def limited(self, limit: int | None, random_state: int) -> Joined:
        """Take only so many images, drawn at random."""
        if limit is None or limit >= len(self.images):
            return self
        drawn = np.random.default_rng(random_state).permutation(len(self.images))[:limit]
        return self._at(np.sort(drawn).tolist())

    def only(self, images: Sequence[str]) -> Joined:
        """Take only these images."""
        wanted = set(images)
        return self._at([row for row, image in enumerate(self.images) if image in wanted])

    def _at(self, rows: Sequence[int]) -> Joined:
        def take(values: Sequence[str]) -> tuple[str, ...]:
            return tuple(values[row] for row in rows)

        return Joined(
            names=self.names,
            images=take(self.images),
            texts=tuple(map(take, self.texts)),
            questions=None if self.questions is None else take(self.questions),
            references=None if self.references is None else take(self.references),
            missing=self.missing,
        )


def join_answers(contestants: Sequence[Answers]) -> Joined:
    """Join answers by image, never by position.

    Parameters
    ----------
    contestants : sequence of Answers
        Two or more, of different names.

    Raises
    ------
    InputError
        If there are fewer than two, two have one name, or no image was answered by all.

    Examples
    --------
    >>> one = Answers(name="one", texts={"b.jpg": "a dog", "a.jpg": "a cat"})
    >>> two = Answers(name="two", texts={"a.jpg": "a lynx", "c.jpg": "a fox"})
    >>> found = join_answers([one, two])
    >>> found.images, found.texts, found.missing
    (('a.jpg',), (('a cat',), ('a lynx',)), {'one': 1, 'two': 1})
    """
    names = [one.name for one in contestants]
    if len(names) < 2:
        raise InputError("Judging compares two tables of answers or more; got one.")
    if len(set(names)) < len(names):
        raise InputError(
            f"Contestants are called by their files: {listed(names)} have one name twice. Rename "
            "a file."
        )
    every = dict.fromkeys(image for one in contestants for image in one.texts)
    images = tuple(i for i in every if all(i in one.texts for one in contestants))
    if not images:
        raise InputError(
            f"No image was answered by all: {names[0]} has {listed(contestants[0].texts, most=2)}; "
            f"{names[1]} has {listed(contestants[1].texts, most=2)}. Answers are joined by the "
            "column 'image'."
        )

    def first_of(field: str) -> tuple[str, ...] | None:
        for one in contestants:
            known = getattr(one, field)
            if known is not None:
                return tuple(known.get(image, "") for image in images)
        return None

    return Joined(
        names=tuple(names),
        images=images,
        texts=tuple(tuple(one.texts[image] for image in images) for one in contestants),
        questions=first_of("questions"),
        references=first_of("references"),
        missing={one.name: sum(image not in one.texts for image in every) for one in contestants},
    )


def pairs_for_a_person(
    joined: Joined, pairs: Sequence[tuple[int, int]], n: int, *, random_state: int = 0
) -> list[dict[str, Any]]:
    """Draw pairs at random for a person to judge, who cannot see whose answer is whose.

    Parameters
    ----------
    joined : Joined
    pairs : sequence of (int, int)
        Contestants that are compared.
    n : int
        Images for each of them; only where the answers differ.
    random_state : int, default=0

    Returns
    -------
    rows : list of dict
        With an empty ``verdict``, to be filled with first, second or tie.
    """
    rng = np.random.default_rng(random_state)
    rows = []
    for a, b in pairs:
        differ = [
            i
            for i in range(len(joined.images))
            if plain(joined.texts[a][i]) != plain(joined.texts[b][i])
        ]
        for i in rng.permutation(len(differ))[:n].tolist():
            row = differ[i]
            two = [joined.texts[a][row], joined.texts[b][row]]
            if rng.integers(2):
                two.reverse()
            question = {} if joined.questions is None else {"question": joined.questions[row]}
            rows.append(
                {
                    "image": joined.images[row], **question, "first": two[0], "second": two[1],
                    "verdict": "",
                }
            )  # fmt: skip
    return rows


def human_scores(
    path: str | os.PathLike[str], joined: Joined, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], dict[int, float]]:
    """Read what a person said of the pairs that `pairs_for_a_person` drew.

    Parameters
    ----------
    path : path
        Columns image, first, second and verdict. Rows without a verdict are passed over.
    joined : Joined
    pairs : sequence of (int, int)

    Returns
    -------
    scores : dict of (int, int) to dict of int to float
        Of the first contestant of each pair, by number of the image.

    Raises
    ------
    DataError
        If a column is missing, a verdict is none, or the two answers are nobody's.
    """
    table = read_columns(path)
    where = os.fspath(path)
    for name in ("image", "first", "second", "verdict"):
        if name not in table:
            raise DataError(
                f"{where} has no column {name!r}; a person's verdicts have image, first, second "
                "and verdict."
            )
    place = {image: i for i, image in enumerate(joined.images)}
    found: dict[tuple[int, int], dict[int, float]] = {pair: {} for pair in pairs}
    for row, said in enumerate(table["verdict"]):
        if said is None or not str(said).strip():
            continue
        verdict = str(said).strip().casefold()
        if verdict not in _SCORES:
            raise DataError(
                f"{where}: row {row + 1} has the verdict {said!r}; it is first, second or tie."
            )
        i = place.get(str(table["image"][row]))
        two = tuple(str(table[name][row] or "") for name in ("first", "second"))
        known = False
        for a, b in pairs if i is not None else ():
            assert i is not None
            own = (joined.texts[a][i], joined.texts[b][i])
            if two in (own, own[::-1]):
                score = _SCORES[verdict]
                found[a, b][i] = score if two == own else 1 - score
                known = True
        if not known:
            raise DataError(
                f"{where}: row {row + 1} is about answers to {table['image'][row]!r} that none of "
                f"{listed(joined.names)} gave."
            )
    return found


def say_missing(joined: Joined) -> str | None:
    """Say which contestants left out images that others answered."""
    parts = [
        f"{name} has no answer to {plural(n, 'image')}" for name, n in joined.missing.items() if n
    ]
    return f"{'; '.join(parts)}: not judged." if parts else None
