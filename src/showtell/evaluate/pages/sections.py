"""What each section of a page shows: plain values, worked out of records."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from showtell.evaluate.pages.cost import Way, draw_cost_accuracy
from showtell.evaluate.provenance import dig
from showtell.metrics import NO_ANSWER
from showtell.pages import charts
from showtell.words import count, duration, money, number, percent, plural

if TYPE_CHECKING:
    from showtell.classify.predictions import Predictions
    from showtell.evaluate.comparison import Comparison
    from showtell.evaluate.curve import ShotCurve
    from showtell.evaluate.record import Record

_MATRIX_LABELS = 40
_LEVELS = 8
_ROWS_SHOWN = 200


def summary(record: Record) -> dict[str, Any]:
    """Say in words how good the answers are, with what they are compared."""
    m = record.metrics
    support = record.confusion.sum(axis=1)
    chance = float(support.max()) / len(record)
    noun = "answers" if "answer" in record.predictions.columns else "pictures"
    of = noun[:-1] if len(record) == 1 else noun
    lines = [
        f"{count(m['n_correct'])} of {count(len(record))} {of} "
        f"{'has' if len(record) == 1 else 'have'} the right label. On more of the same kind, "
        f"expect between {percent(m['accuracy_low'])} and {percent(m['accuracy_high'])} "
        "(95% interval)."
    ]
    if m["n_abstained"] or m["n_errors"]:
        missing = []
        if m["n_abstained"]:
            missing.append(f"{count(m['n_abstained'])} got no label (abstained)")
        if m["n_errors"]:
            missing.append(f"{count(m['n_errors'])} could not be used (errors)")
        lines.append(
            f"{' and '.join(missing)}; they count as not right. Of the {count(m['n_answered'])} "
            f"with an answer, {percent(m['accuracy_answered'])} are right."
        )
    lines.append(
        f"Always giving the same label would be right {percent(chance)} of the time at best "
        "(the tick on the scale)."
    )
    n_wrong = m["n_answered"] - m["n_correct"]
    tiles = [
        (percent(m["balanced_accuracy"]), "balanced accuracy: every label counts the same", ""),
        (number(m["macro_f1"]), "macro F1", ""),
        (count(n_wrong), "wrong answers", "bad" if n_wrong else ""),
        (count(m["n_abstained"]), "abstained", ""),
        (count(m["n_errors"]), "errors", "bad" if m["n_errors"] else ""),
    ]
    if m["top_3_accuracy"] is not None:
        tiles.append((percent(m["top_3_accuracy"]), "right label among the first 3", ""))
    if m["ece"] is not None:
        tiles.append(
            (percent(m["ece"]), f"calibration error; chance {percent(m['ece_noise_floor'])}", "")
        )
    speed = record.run.get("images_per_second")
    if speed:
        tiles.append(
            (f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}", "pictures per second", "")
        )
    tiles.append((money(record.cost_usd), "cost", ""))
    return {
        "accuracy": percent(m["accuracy"]),
        "lines": lines,
        "tiles": tiles,
        "interval": charts.draw_interval(
            m["accuracy_low"], m["accuracy"], m["accuracy_high"], marks=[chance]
        ),
        "chance": percent(chance),
        "noun": noun,
        "note": _note(record),
    }


def _note(record: Record) -> str:
    """Warn where numbers mean less than they look like."""
    support = record.confusion.sum(axis=1)
    few = int(((support > 0) & (support < 10)).sum())
    if few:
        return (
            f"{plural(few, 'label has', 'labels have')} fewer than 10 samples: take their own "
            "numbers as hints."
        )
    return ""


def per_class_section(record: Record) -> dict[str, Any]:
    """One row per label, with what it is most often taken for."""
    wrong = record.confusion[:, :-1].copy()
    np.fill_diagonal(wrong, 0)
    rows = []
    for code, (label, scores) in enumerate(record.per_class.items()):
        worst = int(wrong[code].argmax())
        taken = (record.classes[worst], int(wrong[code, worst]), worst)
        rows.append({**scores, "code": code, "label": label, "taken": taken if taken[1] else None})
    m = record.metrics
    return {
        "kind": "classes",
        "rows": rows,
        "means": [
            ("mean over labels (macro)", m["macro_recall"], m["macro_precision"], m["macro_f1"]),
            (
                "weighted by samples",
                m["weighted_recall"],
                m["weighted_precision"],
                m["weighted_f1"],
            ),
        ],
        "n": len(record),
    }


def label_counts(predictions: Predictions) -> dict[str, Any]:
    """How many pictures each label got."""
    codes = np.where(predictions.ok, predictions.codes, NO_ANSWER)
    counts = np.bincount(codes[codes >= 0], minlength=len(predictions.classes))
    most = max(int(counts.max(initial=0)), 1)
    order = sorted(range(len(counts)), key=lambda i: (-int(counts[i]), i))
    return {
        "kind": "counts",
        "rows": [
            {
                "code": i,
                "label": predictions.classes[i],
                "n": int(counts[i]),
                "width": round(100 * float(counts[i]) / most, 2),
            }
            for i in order
            if counts[i]
        ],
        "empty": [predictions.classes[i] for i in order if not counts[i]],
        "total": len(predictions),
    }


def confusion_section(record: Record) -> dict[str, Any]:
    """Lay out the matrix, of the labels with most mistakes if there are many; worst pairs."""
    counts = record.confusion
    n = len(record.classes)
    wrong = counts[:, :-1].copy()
    np.fill_diagonal(wrong, 0)
    shown = np.arange(n)
    if n > _MATRIX_LABELS:
        involved = wrong.sum(axis=0) + wrong.sum(axis=1) + counts[:, -1]
        shown = np.sort(np.argsort(-involved, kind="stable")[:_MATRIX_LABELS])
    columns = shown.tolist() + ([n] if counts[:, -1].any() else [])
    rows = []
    for i in shown.tolist():
        total = int(counts[i].sum())
        cells = []
        for j in columns:
            times = int(counts[i, j])
            share = times / total if total else 0.0
            kind = "non" if j == n else "yes" if i == j else "no"
            cells.append(
                {
                    "n": times,
                    "kind": kind,
                    "level": max(1, math.ceil(share * _LEVELS)) if times else 0,
                    "answer": NO_ANSWER if j == n else j,
                    "says": _cell_words(record, i, j, times, share),
                }
            )
        rows.append({"code": i, "label": record.classes[i], "cells": cells, "n": total})
    order = np.argsort(-wrong, axis=None, kind="stable")[:12]
    pairs = [
        {
            "actual": int(k // n),
            "answer": int(k % n),
            "actual_label": record.classes[k // n],
            "answer_label": record.classes[k % n],
            "n": int(wrong.flat[k]),
        }
        for k in order.tolist()
        if wrong.flat[k] > 0
    ]
    return {
        "columns": [
            {"label": "no answer" if j == n else record.classes[j], "gap": j == n} for j in columns
        ],
        "rows": rows,
        "pairs": pairs,
        "n_labels": n,
        "n_shown": len(shown),
        "any_missing": bool(counts[:, -1].any()),
    }


def _cell_words(record: Record, i: int, j: int, times: int, share: float) -> str:
    """Say what a cell of the matrix holds."""
    answered = "got no answer" if j == len(record.classes) else f"called {record.classes[j]}"
    return f"{record.classes[i]} {answered}: {times} ({percent(share, digits=0)})"


def trust_section(record: Record) -> dict[str, Any] | None:
    """Calibration and what answering only where sure would give; None without confidences."""
    m = record.metrics
    curve = record.risk_coverage
    if m["ece"] is None or not len(curve.coverage):
        return None
    mean = sum(b["confidence"] * b["n"] for b in record.reliability if b["n"]) / m["ece_n"]
    hit = sum(b["accuracy"] * b["n"] for b in record.reliability if b["n"]) / m["ece_n"]
    beyond = m["ece"] - m["ece_noise_floor"]
    if beyond < 0.02:
        verdict = "The confidence can be taken at its word, as far as so many samples can tell."
    elif mean > hit:
        verdict = "It is too sure of itself."
    else:
        verdict = "It is right more often than it says."
    bands = []
    for target in (0.01, 0.02, 0.05, 0.1, 0.2):
        within = np.flatnonzero(curve.risk <= target)
        if len(within):
            last = int(within[-1])
            bands.append(
                (
                    percent(target, digits=0),
                    percent(float(curve.coverage[last])),
                    f"{math.floor(float(curve.threshold[last]) * 1000) / 1000:.3f}",
                )
            )
    return {
        "calibration": charts.draw_calibration(record.reliability),
        "risk": charts.draw_risk_coverage(curve.coverage, curve.risk),
        "mean": percent(mean),
        "hit": percent(hit),
        "verdict": verdict,
        "ece": percent(m["ece"]),
        "floor": percent(m["ece_noise_floor"]),
        "brier": number(m["brier"]),
        "nll": number(m["nll"]),
        "auroc": number(m["auroc"]),
        "bands": bands,
        "n": m["ece_n"],
    }


def curve_section(curve: ShotCurve | None) -> dict[str, Any] | None:
    """Points and steps of a shot curve."""
    if curve is None:
        return None
    return {
        "sentence": curve.sentence,
        "n_seeds": len(curve.seeds),
        "n_test": curve.n_test,
        "points": curve.points,
        "steps": {s.shots_to: s for s in curve.steps},
        "drawing": curve.drawing() if any(p.accuracy is not None for p in curve.points) else "",
    }


def comparison_section(comparison: Comparison | None, here: str) -> dict[str, Any] | None:
    """Lay out records side by side, what they cost, and the tests between them."""
    if comparison is None:
        return None
    choice = comparison.choice
    ways = [
        Way(
            name=r.name,
            accuracy=r.accuracy,
            low=r.accuracy_low,
            high=r.accuracy_high,
            usd_per_1000=r.usd_per_1000,
            on_front=r.on_front,
            is_choice=r.name == choice.name,
        )
        for r in comparison.records
    ]
    taken = next((r for r in comparison.records if r.name == choice.name), None)
    return {
        "sentence": comparison.sentence,
        "choice": choice,
        "taken": taken,
        "n": comparison.n_samples,
        "records": [
            {
                "row": r,
                "verdict": v,
                "interval": charts.draw_interval(r.accuracy_low, r.accuracy, r.accuracy_high),
                "here": r.name == here,
            }
            for r, v in zip(comparison.records, choice.verdicts, strict=True)
        ],
        "kept": any(r.seconds_per_image is None for r in comparison.records),
        "pairs": comparison.pairs,
        "drawing": draw_cost_accuracy(ways, margin=choice.margin),
        "any_unknown": any(r.usd_per_1000 is None for r in comparison.records),
    }


def error_section(predictions: Predictions) -> dict[str, Any] | None:
    """Rows that could not be used: how often each reason, and the first of them."""
    if not predictions.errors:
        return None
    rows = [(predictions.images[i], predictions.errors[i]) for i in sorted(predictions.errors)]
    reasons = Counter(_short(name, error) for name, error in rows)
    return {
        "n": len(rows),
        "reasons": reasons.most_common(20) if len(reasons) < len(rows) else [],
        "rows": [(name, _short(name, error)) for name, error in rows[:_ROWS_SHOWN]],
        "n_more": max(0, len(rows) - _ROWS_SHOWN),
    }


def _short(name: str, error: str) -> str:
    """Take the name out of an error line; it has its own column."""
    return error.removeprefix(f"cannot read {name}: ")


def run_facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what was run, for a person."""
    versions = dig(run, "versions") or {}
    n_support = dig(run, "estimator", "n_support")
    seconds = dig(run, "seconds")
    speed = dig(run, "images_per_second")
    n_kept = dig(run, "n_from_store")
    aside = f"{speed:,.1f} pictures per second" if speed else ""
    if n_kept:
        aside = f"{plural(n_kept, 'embedding')} found in the store, so this is no measure of speed"
    facts = [
        ("Classifier", str(dig(run, "estimator", "class") or "").rsplit(".", 1)[-1]),
        ("Encoder", dig(run, "estimator", "encoder", "name")),
        ("Learned from", plural(n_support, "labelled picture") if n_support else None),
        ("Templates", _text(dig(run, "estimator", "params", "templates"))),
        ("Answers from", dig(run, "answers", "source")),
        ("Data", dig(run, "data", "name")),
        ("From", dig(run, "data", "source")),
        ("Seed", _text(dig(run, "random_state"))),
        (
            "Time",
            f"{duration(seconds)} ({aside})" if seconds is not None and aside else None,
        ),
        ("Finished", dig(run, "finished")),
        ("Versions", ", ".join(f"{name} {v}" for name, v in versions.items())),
        ("Machine", dig(run, "platform")),
        ("Data fingerprint", (dig(run, "data", "fingerprint") or "")[:16]),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _text(value: Any) -> str | None:
    """Write a parameter in words."""
    if value is None:
        return None
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
