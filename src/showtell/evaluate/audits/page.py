"""An audit as one self-contained page: verdicts, pictures, the images whose answer flips."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from showtell import words
from showtell.evaluate.audits.charts import draw_effect, draw_pairs, draw_shares
from showtell.evaluate.pages.sections import run_facts
from showtell.evaluate.provenance import dig
from showtell.media import Media
from showtell.metrics import LEAST_EFFECT
from showtell.pages.page import check_page, subtitle, write_page
from showtell.pages.thumbs import Thumbnails, is_there, make_thumbnails

if TYPE_CHECKING:
    from collections.abc import Sequence

    from showtell.evaluate.audits.record import Audit
    from showtell.evaluate.audits.verdicts import Probe

_ATTRACTORS, _ARMS_IN_FULL, _FLIPS = 8, 40, 40
_LEAST_GAP = 0.05
_LISTS = {
    True: "Every label stood at every place equally often.",
    False: "The list was rotated by even steps, and is looked at in as many parts; a part of more "
    "places gets more answers without a preference.",
}
_WORDS = {
    "biased": "Biased",
    "pass": "Pass",
    "inconclusive": "Inconclusive",
    "not tested": "Not tested",
}
_REMEDIES = {
    "example": "Keep real labels out of the example of an answer: showtell's prompts have "
    "placeholders there.",
    "position": "Average over rotations of the list: rotations='all'.",
    "order": "Average over orders of the demonstrations: rotations='all' ends in each label once.",
    "majority": "Show as many demonstrations of every label.",
    "names": "Look at what the names suggest; anonymise=True leaves only what is shown.",
}


def write_audit(
    audit: Audit,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    thumbnails_mb: float = 4.0,
) -> Path:
    """Write one self-contained HTML page about an audit.

    It works offline, in light and dark, on a phone and in print, has no script, and makes no
    request, which its Content-Security-Policy also enforces.

    Parameters
    ----------
    audit : Audit
    path, title, thumbnails_mb
        As in `write_report`.

    Raises
    ------
    InputError
        As `write_report`.
    """
    check_page(path, thumbnails_mb)
    return write_page(
        path,
        "showtell.evaluate.audits",
        "audit.html.j2",
        title=title or _title(audit),
        subtitle=_subtitle(audit),
        headline=_headline(audit),
        cards=[_card(probe) for probe in audit.probes],
        pictures=[p for p in map(_picture, audit.probes) if p is not None],
        arms=_arms(audit),
        attractors=audit.attractors[:_ATTRACTORS],
        tv=audit.total_variation,
        flips=_flips(audit, thumbnails_mb),
        n_flips=len(audit.flips),
        gains=audit.gains,
        failures=sorted(audit.failures.items(), key=lambda item: -item[1]),
        facts=[*_facts(audit), *run_facts(audit.run)],
        run_json=json.dumps(dict(audit.run), ensure_ascii=False, indent=2),
        styles=["audit.css"],
    )


def _title(audit: Audit) -> str:
    data = dig(audit.run, "data", "name")
    name = f"What decides: the picture or the prompt? {audit.run.get('model', '')}".rstrip()
    return f"{name} on {data}" if data else name


def _subtitle(audit: Audit) -> str:
    finished = audit.run.get("finished")
    return subtitle(
        words.plural(audit.n_images, "picture"),
        words.plural(len(audit.labels), "label"),
        words.plural(audit.n_requests, "question"),
        f"cost {words.money(audit.cost_usd)}",
        f"asked {str(finished)[:10]}" if finished else None,
    )


def _chance(p_value: float | None) -> str:
    return "" if p_value is None else words.chance(p_value)


def _headline(audit: Audit) -> dict[str, Any]:
    """Say the result in a line."""
    biased = [p for p in audit.probes if p.verdict == "biased"]
    unsure = [p for p in audit.probes if p.verdict == "inconclusive"]
    tested = [p for p in audit.probes if p.verdict != "not tested"]
    if biased:
        kind, big = "biased", f"{len(biased)} of {len(tested)}"
        unit = "probes found that the prompt decides"
    elif unsure or not tested:
        kind, big = "inconclusive", f"{len(unsure)} of {len(tested)}"
        unit = "probes cannot tell yet; none found a bias"
    else:
        kind, big = "pass", f"{len(tested)} of {len(tested)}"
        unit = "probes passed: answers follow the picture"
    return {
        "kind": kind,
        "big": big,
        "unit": unit,
        "lines": [p.sentence for p in biased]
        or ["No answer was shown to follow the wording of the prompt."],
        "n_failed": audit.n_failed,
    }


def _card(probe: Probe) -> dict[str, Any]:
    """Lay out a verdict."""
    least = _LEAST_GAP if probe.name == "names" else LEAST_EFFECT
    effect: Markup | str = ""
    if probe.effect is not None and probe.low is not None and probe.high is not None:
        effect = draw_effect(probe.low, probe.effect, probe.high, least=least, kind=probe.verdict)
    power = ""
    if probe.detectable is not None:
        power = (
            f"{words.count(probe.n_answers)} answers about "
            f"{words.plural(probe.n_images, 'picture')} find a pull of "
            f"{words.percent(probe.detectable)} 95 times in 100."
        )
    return {
        "probe": probe,
        "verdict": _WORDS[probe.verdict],
        "kind": probe.verdict.replace(" ", "-"),
        "effect": effect,
        "chance": _chance(probe.p_holm),
        "power": power,
        "remedy": _REMEDIES[probe.name] if probe.verdict == "biased" else "",
    }


def _picture(probe: Probe) -> dict[str, Any] | None:
    """Draw what a probe looked at."""
    details = probe.details
    if probe.verdict == "not tested" or probe.name == "names":
        return None
    if probe.name == "position":
        n = len(details["shares"])
        names = [str(i + 1) for i in range(n)]
        ahead = [s - e for s, e in zip(details["shares"], details["expected"], strict=True)]
        favoured = details["favoured"] if max(ahead) > 1e-9 else -1  # none is, where all are even
        here = [("swatch here", "the most favoured place")] if favoured >= 0 else []
        return {
            "probe": probe,
            "drawing": draw_shares(
                details["shares"], details["expected"], names, favoured=favoured
            ),
            "legend": [*here, ("even", "no preference")],
            "text": (
                f"{_LISTS[details['whole']]} Recall differs by place with a standard deviation of "
                f"{100 * (details['recall_sd'] or 0.0):.1f} points; the "
                f"order of the list changes the answer for {words.percent(details['flip_rate'])} "
                "of the pictures."
            ),
        }
    meaning = {
        "example": ("named in the example", "another wrong label named"),
        "order": ("shown last", "shown first"),
        "majority": ("its demonstrations twice", "another wrong label's twice"),
    }[probe.name]
    return {
        "probe": probe,
        "drawing": draw_pairs(details["labels"], pointed=meaning[0], otherwise=meaning[1]),
        "legend": [("dot", meaning[0]), ("other", meaning[1]), ("range", "95% interval")],
        "text": "How often a label is the answer about pictures of other labels.",
    }


def _arms(audit: Audit) -> list[dict[str, Any]]:
    """List accuracy under each prompt, those that differ most first after the usual one."""
    usual, *others = audit.arms
    others.sort(key=lambda a: (a.p_value if a.p_value is not None else 2.0, a.name))
    return [
        {
            "arm": arm,
            "change": "" if arm.difference is None else words.points(arm.difference),
            "chance": _chance(arm.p_value),
        }
        for arm in [usual, *others][:_ARMS_IN_FULL]
    ]


def _flips(audit: Audit, thumbnails_mb: float) -> list[dict[str, Any]]:
    """Lay out pictures whose answer flips, with what was answered under which prompt."""
    shown = audit.flips[:_FLIPS]
    sources: Sequence[Media] = (
        audit.media if audit.media is not None else list(audit.answers["images"])
    )
    thumbs = Thumbnails(of_row=np.full(len(sources), -1, np.int32))
    if thumbnails_mb > 0 and shown and (audit.media is not None or is_there(sources[0])):
        order = [flip.row for flip in shown]
        thumbs = make_thumbnails(
            sources, order, limit_mb=thumbnails_mb, fetch=audit.media is not None
        )
    cards = []
    for flip in shown:
        n = sum(len(arms) for _, arms in flip.answers)
        cards.append(
            {
                "flip": flip,
                "picture": thumbs.address(flip.row),
                "why": thumbs.reasons.get(flip.row, ""),
                "answers": [
                    {
                        "label": label,
                        "n": len(arms),
                        "right": label == flip.truth,
                        "width": round(100 * len(arms) / n, 1),
                        "arms": words.listed(arms, most=3),
                    }
                    for label, arms in flip.answers
                ],
            }
        )
    return cards


def _facts(audit: Audit) -> list[tuple[str, str]]:
    return [
        ("Model", str(audit.run.get("model", ""))),
        ("Prompt", str(audit.run.get("prompt_version", ""))),
        ("Demonstrations", str(audit.run.get("n_demonstrations", 0))),
        ("Already answered", words.count(audit.n_from_cache)),
    ]
