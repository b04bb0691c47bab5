"""What descriptions are worth, for a page: beside their controls, and word by word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from showtell.pages.charts import Drawing, scale
from showtell.words import count, percent, points

if TYPE_CHECKING:
    from showtell.evaluate.controls import Control, Controls
    from showtell.evaluate.described import DescriptionScore, LabelDescriptions
    from showtell.evaluate.record import Record

_CARDS, _EACH = 48, 3
_LEFT, _RIGHT, _ROW, _TOP = 150, 26, 44, 8


def controls_section(
    found: Controls | None, *, any_abstained: bool = False
) -> dict[str, Any] | None:
    """Lay out what comes without the descriptions; None where nothing was compared."""
    if found is None:
        return None
    what = "random words" if found.method == "waffle" else "descriptions"
    harmed = any(control.ahead for control in found.controls)
    return {
        "what": what,
        "verdict": "earned" if found.earned else "harm" if harmed else "open",
        "sentence": found.sentence.replace("p = ", "p\u00a0=\u00a0"),
        "drawings": [draw_controls(found, what), draw_controls(found, what, narrow=True)],
        "n": found.n_samples,
        "rows": [_row(control) for control in found.controls],
        "seeds": list(found.seeds),
        "n_prompts": f"{found.n_prompts:g}"
        if found.n_prompts == round(found.n_prompts)
        else f"{found.n_prompts:.1f}",
        "abstained": any_abstained,
    }


def _row(control: Control) -> dict[str, Any]:
    return {
        "control": control,
        "spread": "" if control.sd is None else f"± {100 * control.sd:.1f}",
        "gain": points(control.difference),
        "range": f"{points(control.low)} to {points(control.high)}",
        "chance": "< 0.001" if control.p_holm < 0.001 else f"{control.p_holm:.3f}",
        "verdict": "better without"
        if control.ahead
        else "better with"
        if control.beaten
        else "may be chance",
    }


def draw_controls(found: Controls, what: str, *, narrow: bool = False) -> Markup:
    """Draw accuracy with and without descriptions, on one scale, with intervals and seeds.

    For a phone `narrow` puts the names above the lines.
    """
    left, row = (_RIGHT, _ROW + 20) if narrow else (_LEFT, _ROW)
    ways: list[tuple[str, float, float, float, Sequence[float], str]] = [
        (f"with {what}", found.accuracy, found.accuracy_low, found.accuracy_high, (), "ours")
    ]
    ways += [
        (c.words, c.accuracy, c.accuracy_low, c.accuracy_high, c.per_seed, "theirs")
        for c in found.controls
    ]
    every = [v for _, value, low, high, seeds, _ in ways for v in (value, low, high, *seeds)]
    step = 0.05 if max(every) - min(every) < 0.3 else 0.1 if max(every) - min(every) < 0.6 else 0.2
    start = max(0.0, int(min(every) / step) * step)
    end = min(1.0, (int(max(every) / step - 1e-9) + 1) * step)
    width, height = 360 if narrow else 640, _TOP + row * len(ways) + 34

    px = scale(start, end, left, width - _RIGHT)
    floor = _TOP + row * len(ways)
    drawing = Drawing(f"chart controls {'narrow' if narrow else 'broad'}", width, height)
    ticks = (start + i * step for i in range(round((end - start) / step) + 1))
    drawing.columns(((px(v), f"{round(100 * v)}%") for v in ticks), _TOP, floor)
    drawing.line("here", px(found.accuracy), _TOP, px(found.accuracy), floor)
    for place, (name, value, low, high, seeds, kind) in enumerate(ways):
        y = _TOP + row * (place + 1) - _ROW / 2
        if narrow:
            drawing.text(f"way {kind}", 0, y - 27, name)
        else:
            drawing.text(f"way {kind} end", left - 14, y + 4.5, name)
        drawing.line(f"span {kind}", px(low), y, px(high), y)
        for seed in seeds:
            drawing.dot("seed", px(seed), y + 12, 3)
        title = f"{name}: {percent(value)} ({percent(low)} to {percent(high)})"
        drawing.dot(f"dot {kind}", px(value), y, 6.5, title=title)
        drawing.text("value", px(value), y - 11, f"{100 * value:.1f}%")
    says = "; ".join(f"{name} {percent(value)}" for name, value, *_ in ways)
    return drawing.done(f"Accuracy with and without {what}: {says}.")


def described_section(record: Record) -> dict[str, Any] | None:
    """One card per label: which descriptions tell it apart, and which do not."""
    section = description_cards(record.described)
    if section is None:
        return None
    code_of = {label: code for code, label in enumerate(record.classes)}
    for card in section["cards"]:
        code = code_of[card["label"]]
        others = record.confusion[code, : len(record.classes)].copy()
        others[code] = 0
        worst = int(others.argmax())
        card["code"] = code
        card["recall"] = record.per_class[card["label"]]["recall"]
        card["taken"] = (record.classes[worst], int(others[worst]), worst) if others.any() else None
    return section


def description_cards(labels: Sequence[LabelDescriptions]) -> dict[str, Any] | None:
    """Lay out the best and worst descriptions of each label as bars on one scale."""
    if not labels:
        return None
    shown = list(labels)
    if len(labels) > _CARDS:
        worst = sorted(labels, key=lambda one: _best(one) - one.template)[:_CARDS]
        shown = [one for one in labels if one in worst]
    numbers = [s.contrast for one in shown for s in one.descriptions]
    numbers += [one.template for one in shown]
    low, high = min(0.0, *numbers), max(0.0, *numbers)
    return {
        "cards": [_card(one, low, high) for one in shown],
        "n_labels": len(labels),
        "n_all": count(sum(len(one.descriptions) for one in labels)),
        "n_better": count(sum(one.n_better for one in labels)),
    }


def _best(one: LabelDescriptions) -> float:
    return max((score.contrast for score in one.descriptions), default=-1.0)


def _card(one: LabelDescriptions, low: float, high: float) -> dict[str, Any]:
    def px(value: float) -> float:
        return round(1 + 98 * (value - low) / (high - low or 1), 2)

    def bar(score: DescriptionScore) -> dict[str, Any]:
        at, zero = px(score.contrast), px(0.0)
        return {
            "text": score.text,
            "kind": "better" if score.contrast > one.template else "worse",
            "x": min(at, zero),
            "width": max(round(abs(at - zero), 2), 0.6),
            "value": f"{score.contrast:+.3f}".replace("-", "−"),
            "says": (
                f"own photos {score.own:.3f}, others {score.others:.3f}; the name alone "
                f"{one.template:+.3f}"
            ),
        }

    best, rest = one.descriptions[:_EACH], one.descriptions[_EACH:]
    worst = rest[-_EACH:]
    return {
        "label": one.label,
        "n": one.n_photos,
        "tick": px(one.template),
        "best": [bar(score) for score in best],
        "worst": [bar(score) for score in worst],
        "n_between": len(rest) - len(worst),
        "n_better": one.n_better,
        "n_descriptions": len(one.descriptions),
    }
