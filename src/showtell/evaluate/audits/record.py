"""Audit: what the probes found, saved as one JSON file, shown as a table and as a page."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from showtell.errors import InputError, SavedFolderError
from showtell.evaluate.audits.page import write_audit
from showtell.evaluate.audits.verdicts import ArmScore, Probe
from showtell.evaluate.folder import read_json, write_json
from showtell.evaluate.notebook import html_table
from showtell.evaluate.provenance import checked_run
from showtell.media import Media
from showtell.records.reading import loading
from showtell.words import plain_points

_AS_SAVED = (
    "total_variation", "failures", "n_images", "n_requests", "n_from_cache", "answers",
)  # fmt: skip
_FORMAT, _VERSION = "showtell-audit", 1


@dataclass(frozen=True, kw_only=True)
class AttractorRow:
    """How many of the usual prompt's errors go to one label.

    Parameters
    ----------
    label : str
    n_true, n_predicted, n_errors, n_drawn : int
        See `showtell.metrics.Attractor`.
    share, ratio : float or None
        None without errors.
    expected, p_value : float
    """

    label: str
    n_true: int
    n_predicted: int
    n_errors: int
    n_drawn: int
    share: float | None
    expected: float
    ratio: float | None
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Flip:
    """An image whose answer depends on the prompt.

    Parameters
    ----------
    row : int
        Of the images asked about.
    image, truth : str
    answers : tuple of (str, tuple of str)
        Each label that was given, with the arms that brought it, the most frequent first.
    """

    row: int
    image: str
    truth: str
    answers: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a correction is worth, on the images of the audit.

    Parameters
    ----------
    name : str
        What the classifier is set to: ``"debias='batch'"``.
    n : int
        Images with an answer before and after.
    accuracy, accuracy_before : float
    p_value : float
        Exact McNemar test of the two.
    flip_rate, flip_rate_before : float or None
        Share of images whose answer changes with the order of the list; None if not measured.
    requests_each : float
        Requests per image.
    cost_usd : Decimal or None
        Of measuring it.
    note : str
    """

    name: str
    n: int
    accuracy: float
    accuracy_before: float
    p_value: float
    flip_rate: float | None
    flip_rate_before: float | None
    requests_each: float
    cost_usd: Decimal | None
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """Whether the wording of the prompt decides the answer. Made by `audit`.

    Parameters
    ----------
    probes : tuple of Probe
    arms : tuple of ArmScore
        Accuracy under every prompt, the usual one first.
    attractors : tuple of AttractorRow
        Where the errors of the usual prompt go; a description, not a test of the prompt.
    total_variation : float or None
        Between how often labels are true and are answered, 0 to 1.
    flips : tuple of Flip
        Images whose answer depends on the prompt, the shakiest first.
    gains : tuple of Gain
        What corrections are worth, where they were measured.
    failures : mapping of str to int
        Reason to number of questions without an answer that is a label.
    labels : tuple of str
    n_images, n_requests, n_from_cache : int
    cost_usd : Decimal or None
        None when a price is not known.
    answers : mapping
        ``images``, ``truth``, ``arms`` and ``codes`` (image by arm; -1 is none, -2 not asked).
    run : mapping
        What was run: model, data, seeds, versions.
    media : sequence of Media or None
        The pictures, for the page; not saved.
    """

    probes: tuple[Probe, ...]
    arms: tuple[ArmScore, ...]
    attractors: tuple[AttractorRow, ...]
    total_variation: float | None
    flips: tuple[Flip, ...]
    gains: tuple[Gain, ...]
    failures: Mapping[str, int]
    labels: tuple[str, ...]
    n_images: int
    n_requests: int
    n_from_cache: int
    cost_usd: Decimal | None
    answers: Mapping[str, Any]
    run: Mapping[str, Any]
    media: Sequence[Media] | None = field(default=None, repr=False)

    @property
    def biased(self) -> tuple[str, ...]:
        """Names of the probes that found a bias."""
        return tuple(probe.name for probe in self.probes if probe.verdict == "biased")

    @property
    def n_failed(self) -> int:
        """Questions without an answer that is a label; no statistic counts them."""
        return sum(self.failures.values())

    @property
    def sentence(self) -> str:
        """All in one line."""
        by_verdict: dict[str, list[str]] = {}
        for probe in self.probes:
            by_verdict.setdefault(probe.verdict, []).append(probe.name)
        parts = [
            f"{verdict}: {', '.join(by_verdict[verdict])}"
            for verdict in ("biased", "inconclusive", "pass", "not tested")
            if verdict in by_verdict
        ]
        return "; ".join(parts)

    def __getitem__(self, name: str) -> Probe:
        for probe in self.probes:
            if probe.name == name:
                return probe
        known = ", ".join(probe.name for probe in self.probes)
        raise InputError(f"This audit has no probe {name!r}; it has {known}.")

    def rows(self) -> list[dict[str, Any]]:
        """One row per probe: verdict, effect and interval in points, p-values, counts."""
        keys = (
            "verdict", "effect", "low", "high", "p_value", "p_holm", "n_images", "n_answers",
            "n_failed", "detectable",
        )  # fmt: skip
        return [{"probe": p.name, **{key: getattr(p, key) for key in keys}} for p in self.probes]

    def __str__(self) -> str:
        header = ("probe", "verdict", "effect", "95 % interval", "p (Holm)", "images", "failed")
        table = [header]
        for p in self.probes:
            if p.effect is None or p.low is None or p.high is None or p.p_holm is None:
                table.append((p.name, p.verdict, "", "", "", "", ""))
                continue
            interval = f"{plain_points(p.low)} to {plain_points(p.high)}"
            chance = "< 0.001" if p.p_holm < 0.001 else f"{p.p_holm:.3f}"
            effect = plain_points(p.effect)
            numbers = f"{p.n_images:,}", f"{p.n_failed:,}"
            table.append((p.name, p.verdict, effect, interval, chance, *numbers))
        widths = [max(len(row[i]) for row in table) for i in range(len(header))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in table
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Audit({self.sentence}; {self.n_images} images, {self.n_requests} requests)"

    def _repr_html_(self) -> str:
        """Return a small table for notebooks: one row per probe."""
        rows = self.rows()
        return html_table(self.sentence, tuple(rows[0]), (tuple(row.values()) for row in rows))

    def to_dict(self) -> dict[str, Any]:
        """Return all of it but the pictures as JSON values; money as text."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["media"]
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "sentence": self.sentence,
            "biased": list(self.biased),
            "n_failed": self.n_failed,
            **{name: _plain(value) for name, value in fields.items()},
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one JSON file.

        Parameters
        ----------
        path : path
            Its folder is made if missing.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(target, self.to_dict())
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Audit:
        """Read what `save` wrote.

        Raises
        ------
        SavedFolderError
            If the file is no saved audit.
        """
        value = read_json(Path(path))
        if value.get("format") != _FORMAT or value.get("version") != _VERSION:
            raise SavedFolderError(
                f"{path} is no saved audit of this version. Give a file that `audit.save` or "
                "`showtell audit --run` wrote."
            )
        with loading(f"{path} is no whole audit and", error=SavedFolderError):
            counts = dict(value["failures"]).values()
            if not all(type(n) is int for n in counts):
                raise TypeError("failures are no counts")
            return cls(
                probes=tuple(_texts_in(Probe(**p)) for p in value["probes"]),
                arms=tuple(_texts_in(ArmScore(**a)) for a in value["arms"]),
                attractors=tuple(_texts_in(AttractorRow(**a)) for a in value["attractors"]),
                flips=tuple(
                    Flip(**{**f, "answers": tuple((name, tuple(a)) for name, a in f["answers"])})
                    for f in value["flips"]
                ),
                gains=tuple(
                    _texts_in(Gain(**{**g, "cost_usd": _money(g["cost_usd"])}))
                    for g in value["gains"]
                ),
                labels=tuple(value["labels"]),
                cost_usd=_money(value["cost_usd"]),
                run=checked_run(value["run"]),
                **{name: value[name] for name in _AS_SAVED},
            )

    def report(
        self, path: str | os.PathLike[str], *, title: str | None = None, thumbnails_mb: float = 4.0
    ) -> Path:
        """Write one self-contained page; see `showtell.evaluate.write_audit`."""
        return write_audit(self, path, title=title, thumbnails_mb=thumbnails_mb)


def _plain(value: Any) -> Any:
    """Turn records into JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _texts_in(record: Any) -> Any:
    """Give a record back whose texts are texts, whatever a file held."""
    for one in dataclasses.fields(record):
        value = getattr(record, one.name)
        is_text = one.type in ("str", "ProbeName", "ProbeVerdict")
        if is_text and not isinstance(value, str):
            raise TypeError(f"{one.name} is no text but {type(value).__name__}")
    return record


def _money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
