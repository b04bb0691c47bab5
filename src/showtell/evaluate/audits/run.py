"""audit(): ask a multimodal LLM the same in different words, and test whether the words decide."""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from showtell._progress import Progress, no_progress
from showtell.checks import known
from showtell.classify.asking.variants import ArmAnswers, PromptArm, arm_requests, ask_arms
from showtell.classify.capabilities import Prompted, offers
from showtell.classify.estimator import check_is_fitted
from showtell.datasets import Dataset, limit_dataset
from showtell.errors import InputError
from showtell.evaluate.audits.plan import MOST_ARMS, NONCE, AuditPlan, audit_size, plan_audit
from showtell.evaluate.audits.record import AttractorRow, Audit, Flip, Gain
from showtell.evaluate.audits.verdicts import Probe, arm_scores, judge
from showtell.evaluate.provenance import about_run, now
from showtell.evaluate.samples import as_dataset, true_codes
from showtell.media import Media, media_name
from showtell.metrics import (
    NO_ANSWER,
    attractors,
    flip_rate,
    mcnemar_exact,
    total_variation,
)
from showtell.mllm.base import Request
from showtell.mllm.model import as_model

CORRECTIONS = {
    "rotations": {"rotations": "all"},
    "contextual": {"rotations": "all", "debias": "contextual"},
    "batch": {"rotations": "all", "debias": "batch"},
}
"""Corrections that can be measured, and what the classifiers are set to."""

_NOT_ASKED = -2
_MOST_FLIPS = 60


def audit(
    classifier: Any,
    data: Dataset | tuple[Sequence[Media], Sequence[str]] | Sequence[Media],
    y: Sequence[str] | None = None,
    *,
    probes: Sequence[str] | None = None,
    n: int | None = None,
    corrections: Sequence[str] = (),
    most_arms: int = MOST_ARMS,
    n_permutations: int = 9_999,
    random_state: int = 0,
    progress: Progress = no_progress,
) -> Audit:
    """Find out whether the wording of the prompt decides the answers.

    Every image is asked about under prompts that differ in one thing only, one image per request,
    in random order. Tests shuffle, within each image, which prompt an answer belongs to, so a
    model's own favourites cancel. Questions that fail or bring no label are counted and left out.

    Parameters
    ----------
    classifier : DirectClassifier or InContextClassifier
        Fitted. Its cache, run folder and caps hold for the audit.
    data, y
        Labelled images that are not among the demonstrations, as in `evaluate`.
    probes : sequence of {"example", "position", "order", "majority", "names"}, optional
        Default: all that can be made; the last three need demonstrations.
    n : int, optional
        Images to ask about, drawn with the mix of labels; default: `audit_size`.
    corrections : sequence of {"rotations", "contextual", "batch"}, default=()
        Options whose gain is measured, by asking about every image twice per label.
    most_arms, n_permutations, random_state : int, default=10, 9999 and 0
        Labels pointed at and rotations at most; shufflings of a test, and their seed.
    progress : Progress

    Returns
    -------
    audit : Audit

    Raises
    ------
    InputError, DataError
        If the classifier cannot be audited, lacks demonstrations for a probe or a label of `data`.
    BudgetError
        If a cap stopped the audit; it goes on from there with a higher cap.

    References
    ----------
    McDermott (2024). Zhao et al. (2021), arXiv:2102.09690. Zheng et al. (2024), arXiv:2309.03882.
    """
    plan, samples, truth, has_neutral = _planned(
        classifier, data, y, probes=probes, n=n, most_arms=most_arms, random_state=random_state
    )
    known("correction", corrections, CORRECTIONS)
    started, images = now(), samples.images
    settings: dict[str, Any] = {"random_state": random_state, "progress": progress}
    with _one_purse(classifier) as payer:
        arms = _prompt_arms(payer, plan)
        found = ask_arms(payer, images, arms, wanted=plan.wanted(truth), **settings)
        renamed, why = _under_neutral_names(payer, images, arms[:has_neutral], settings)
        other = None if renamed is None else renamed.codes[:, 0]
        parts = [found] if renamed is None else [found, renamed]
        gains = _gains(payer, plan, images, truth, found, corrections, parts, progress)
    probes_found = _judged(classifier, plan, found, truth, other, why, n_permutations, random_state)
    names = [media_name(image) for image in images]
    return Audit(
        probes=probes_found,
        arms=arm_scores(plan, found.codes, truth, neutral=other, asked=found.asked),
        attractors=_attractor_rows(found.codes[:, 0], truth, plan.labels),
        total_variation=_known(total_variation(truth, found.codes[:, 0], len(plan.labels))),
        flips=_flips(plan, found, truth, names),
        gains=gains,
        labels=plan.labels,
        n_images=len(images),
        **_added_up(parts),
        answers={
            "images": names,
            "truth": truth.tolist(),
            "arms": [arm.name for arm in arms],
            "codes": np.where(found.asked, found.codes, _NOT_ASKED).tolist(),
            "other_names": None if other is None else other.tolist(),
        },
        run={
            **_about(classifier),
            "n_permutations": n_permutations,
            **about_run(classifier, samples, started, random_state),
        },
        media=images,
    )


def _under_neutral_names(
    payer: Any, images: Sequence[Media], arms: list[PromptArm], settings: dict[str, Any]
) -> tuple[ArmAnswers | None, str]:
    """Ask with names that say nothing; None, and why, where there can be none."""
    if not arms:
        return None, ""
    try:
        twin = _renamed(payer)
    except InputError as error:
        return None, str(error)
    return ask_arms(twin, images, arms, **settings), ""


def _about(classifier: Any) -> dict[str, Any]:
    """Tell which prompt of which model was audited."""
    return {
        "name": f"audit of {classifier.model_}",
        "model": classifier.model_,
        "n_demonstrations": len(getattr(classifier, "demonstrations_", ())),
        "neutral_names": bool(getattr(classifier, "anonymise", False)),
        "prompt_version": classifier.prompt_version_,
    }


def audit_requests(
    classifier: Any,
    data: Dataset | tuple[Sequence[Media], Sequence[str]] | Sequence[Media],
    y: Sequence[str] | None = None,
    *,
    probes: Sequence[str] | None = None,
    n: int | None = None,
    corrections: Sequence[str] = (),
    most_arms: int = MOST_ARMS,
    random_state: int = 0,
) -> Iterator[Request]:
    """Yield the requests of an audit without sending any: what it will cost.

    Asking again where an answer is none comes on top.

    Parameters
    ----------
    classifier, data, y, probes, n, corrections, most_arms, random_state
        As in `audit`.
    """
    plan, samples, truth, has_neutral = _planned(
        classifier, data, y, probes=probes, n=n, most_arms=most_arms, random_state=random_state
    )
    images, arms = samples.images, _prompt_arms(classifier, plan)
    yield from arm_requests(
        classifier, images, arms, wanted=plan.wanted(truth), random_state=random_state
    )
    if has_neutral:
        yield from arm_requests(_renamed(classifier), images, arms[:1])
    for name in corrections:
        for labels in _two_orders(plan.labels):
            yield from _corrected(classifier, name, labels, fits=False).requests(images)


def _planned(
    classifier: Any,
    data: Any,
    y: Sequence[str] | None,
    *,
    probes: Sequence[str] | None,
    n: int | None,
    most_arms: int,
    random_state: int,
) -> tuple[AuditPlan, Dataset, NDArray[np.int64], bool]:
    """Check what is given, and lay out the arms."""
    if not offers(classifier, Prompted):
        raise InputError(
            "An audit is about prompts: it takes a fitted DirectClassifier or InContextClassifier, "
            f"not {type(classifier).__name__}."
        )
    check_is_fitted(classifier)
    labels = tuple(str(label) for label in classifier.classes_)
    shown = [d.code for d in getattr(classifier, "demonstrations_", ())]
    plan = plan_audit(labels, shown, probes=probes, most_arms=most_arms, random_state=random_state)
    if (
        "{example}" not in classifier._wording.prompts.texts[_prompt_of(classifier)]
        and "example" in plan.probes
    ):
        raise InputError(
            "The edited prompt has no field {example}, where the audit would put a label. Add it "
            "after {schema}, or leave out the probe 'example'."
        )
    samples = as_dataset(data, y)
    size = audit_size(len(labels)) if n is None else n
    if size < 1:
        raise InputError(f"`n` must be 1 or more, got {n}.")
    if size < len(samples):
        samples = limit_dataset(samples, size, random_state)
    truth = np.asarray(true_codes(samples.y.tolist(), labels), np.int64)
    return plan, samples, truth, "names" in plan.probes


def _prompt_of(classifier: Any) -> str:
    return "decide" if classifier.confidence_ == "decisions" else "system"


@contextmanager
def _one_purse(classifier: Any) -> Iterator[Any]:
    """Make one cap hold for all steps: without a run folder, they share a passing journal."""
    model = as_model(classifier.model)
    capped = model.max_cost is not None or model.max_requests is not None
    if model.run_folder is not None or not capped:
        yield classifier
        return
    with tempfile.TemporaryDirectory(prefix="showtell-") as folder:
        payer = copy.copy(classifier)
        payer.model = model.with_params(run_folder=folder)
        yield payer


def _prompt_arms(classifier: Any, plan: AuditPlan) -> list[PromptArm]:
    """Turn planned arms into what is asked."""
    usual = tuple(getattr(classifier, "demonstrations_", ()))
    written = classifier.names_sent_
    arms = []
    for arm in plan.arms:
        example = NONCE if arm.kind == "nonce" else None
        if arm.kind == "example":
            assert arm.label is not None
            example = written[arm.label]
        arms.append(
            PromptArm(
                name=arm.name(plan.labels),
                example=example,
                order=plan.order(arm),
                demonstrations=tuple(usual[i] for i in arm.shown),
            )
        )
    return arms


def _renamed(classifier: Any) -> Any:
    """Make the same classifier with neutral names, or with real ones if it has neutral names."""
    return _refitted(classifier, anonymise=not classifier.anonymise)


def _refitted(classifier: Any, **parameters: Any) -> Any:
    """Fit a clone with the same demonstrations; nothing is asked but what `debias` asks."""
    twin = clone(classifier)
    shown = getattr(classifier, "demonstrations_", None)
    if shown is not None:
        pairs = [(d.image.data, classifier.classes_[d.code]) for d in shown]
        parameters |= {"demonstrations": pairs} if pairs else {"shots": 0}
    parameters = {"labels": list(classifier.classes_), "calibrate": False, **parameters}
    twin.set_params(**parameters)
    return twin.fit()


def _judged(
    classifier: Any,
    plan: AuditPlan,
    found: ArmAnswers,
    truth: NDArray[np.int64],
    other: NDArray[np.int64] | None,
    why: str,
    n_permutations: int,
    random_state: int,
) -> tuple[Probe, ...]:
    codes = found.codes
    if why:
        plan = replace(plan, untested={**plan.untested, "names": why})
    if other is not None and classifier.anonymise:  # the usual answers are the neutral ones
        swapped = codes.copy()
        swapped[:, 0] = other
        asked = {"n_permutations": n_permutations, "random_state": random_state}
        named = judge(plan, swapped, truth, neutral=codes[:, 0], asked=found.asked, **asked)
        usual = judge(plan, codes, truth, neutral=other, asked=found.asked, **asked)
        by_name = {p.name: p for p in named}
        return tuple(by_name["names"] if p.name == "names" else p for p in usual)
    return judge(
        plan,
        codes,
        truth,
        neutral=other,
        asked=found.asked,
        n_permutations=n_permutations,
        random_state=random_state,
    )


def _attractor_rows(
    codes: NDArray[np.int64], truth: NDArray[np.int64], labels: Sequence[str]
) -> tuple[AttractorRow, ...]:
    found = [vars(row).copy() for row in attractors(truth, codes, len(labels))]
    for row in found:
        row |= {"share": _known(row["share"]), "ratio": _known(row["ratio"])}
    return tuple(AttractorRow(label=labels[row.pop("code")], **row) for row in found)


def _flips(
    plan: AuditPlan, found: ArmAnswers, truth: NDArray[np.int64], names: Sequence[str]
) -> tuple[Flip, ...]:
    """Images with more than one answer; those with the fewest answers like the usual first."""
    arms = [arm.name(plan.labels) for arm in plan.arms]
    flips = []
    for row, own in enumerate(found.codes):
        given = [c for c in own.tolist() if c != NO_ANSWER]
        if len(set(given)) < 2:
            continue
        answers = tuple(
            (plan.labels[code], tuple(arms[a] for a in np.flatnonzero(own == code).tolist()))
            for code, _ in Counter(given).most_common()
        )
        share = Counter(given).most_common(1)[0][1] / len(given)
        flip = Flip(row=row, image=names[row], truth=plan.labels[int(truth[row])], answers=answers)
        flips.append((share, row, flip))
    return tuple(flip for _, _, flip in sorted(flips, key=lambda f: f[:2])[:_MOST_FLIPS])


def _added_up(parts: Sequence[ArmAnswers]) -> dict[str, Any]:
    """Say what all that was asked came to."""
    return {
        "failures": dict(Counter(why for part in parts for why, _ in part.failures.values())),
        "n_requests": sum(part.n_requests for part in parts),
        "n_from_cache": sum(part.n_from_cache for part in parts),
        "cost_usd": _sum([part.cost_usd for part in parts]),
    }


def _gains(
    classifier: Any,
    plan: AuditPlan,
    images: Sequence[Media],
    truth: NDArray[np.int64],
    found: ArmAnswers,
    corrections: Sequence[str],
    parts: list[ArmAnswers],
    progress: Progress,
) -> tuple[Gain, ...]:
    """Measure corrections through the classifiers' own options, under two orders of the list."""
    gains = []
    before = found.codes[:, 0]
    columns = [0, *plan.of_kind("position")]
    flips_before = None
    if len(columns) > 1:
        half = columns[len(columns) // 2]
        flips_before = _known(flip_rate(found.codes[:, [0, half]]))
    for name in corrections:
        answers, costs, n_requests, n_kept, note = [], [], 0, 0, ""
        for labels in _two_orders(plan.labels):
            twin = _corrected(classifier, name, labels, fits=True)
            rows = twin.classify(images, progress=progress)
            index = np.array([plan.labels.index(label) for label in rows.classes])
            answers.append(np.where(rows.ok, index[rows.codes], NO_ANSWER))
            costs.append(_sum(rows.columns["cost_usd"]))
            n_requests += len(images) * int(twin.rotations_)
            n_kept += sum(map(bool, rows.columns["from_cache"])) * int(twin.rotations_)
            note = str(getattr(twin, "correction_", ""))
        after = answers[0].astype(np.int64)
        both = (before != NO_ANSWER) & (after != NO_ANSWER)
        if not both.any():
            continue
        right, wrong = (after == truth)[both], (before == truth)[both]
        gains.append(
            Gain(
                name=", ".join(f"{k}={v!r}" for k, v in CORRECTIONS[name].items()),
                n=int(both.sum()),
                accuracy=float(right.mean()),
                accuracy_before=float(wrong.mean()),
                p_value=mcnemar_exact(wrong, right).p_value,
                flip_rate=_known(flip_rate(np.column_stack(answers))),
                flip_rate_before=flips_before,
                requests_each=n_requests / 2 / len(images),
                cost_usd=_sum(costs),
                note=note,
            )
        )
        parts.append(
            replace(
                found,
                codes=after[:, None],
                failures={},
                cost_usd=_sum(costs),
                n_requests=n_requests,
                n_from_cache=n_kept,
            )
        )
    return tuple(gains)


def _two_orders(labels: Sequence[str]) -> list[list[str]]:
    """Give the usual order of the list, and the list rotated by half."""
    half = len(labels) // 2
    return [list(labels), [*labels[half:], *labels[:half]]]


def _corrected(classifier: Any, name: str, labels: list[str], *, fits: bool) -> Any:
    """Make the classifier with a correction; without `fits` nothing is asked for it."""
    parameters: dict[str, Any] = dict(CORRECTIONS[name])
    if not fits:
        parameters.pop("debias", None)
    return _refitted(classifier, labels=labels, **parameters)


def _sum(costs: Sequence[Decimal | None]) -> Decimal | None:
    known = [Decimal(str(cost)) for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
