"""Fair comparison of descriptions: the template, the domain and random words on the same samples.

Much of what descriptions gain is that there are many prompts, or that one word says what kind of
thing is looked for. So whoever measures descriptions is shown what comes without them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell import metrics as m
from showtell._progress import Progress, no_progress
from showtell.checks import at_least
from showtell.classify.capabilities import Describes
from showtell.classify.described.described import DescriptionClassifier, domain_template
from showtell.classify.embedding.zero_shot import ZeroShotClassifier
from showtell.datasets import Dataset
from showtell.encoders import embed_images
from showtell.encoders.embed import ImageEmbeddings
from showtell.errors import InputError, SavedFolderError
from showtell.evaluate.samples import as_dataset, true_codes
from showtell.media import Media
from showtell.prompts import resolve_templates
from showtell.words import chance, joined, percent

ControlName: TypeAlias = Literal["template", "domain", "waffle"]

N_SEEDS = 5
_LEVEL = 0.05
_WIDE = 0.05
_FORMER = {"concept": "domain"}  # in records that are kept
_WORDS: Mapping[str, str] = {
    "template": "the template alone",
    "domain": "the domain alone",
    "waffle": "random words",
}


@dataclass(frozen=True, kw_only=True)
class Control:
    """What comes without descriptions, and what the descriptions add to it."""

    name: ControlName
    """"template": the label in the template; "domain": the same after what all labels are;
    "waffle": as many prompts with random words and characters."""
    prompt: str
    """One of its prompts."""
    n_prompts: int
    """Of each label."""
    accuracy: float
    """Mean over seeds where there are several."""
    accuracy_low: float
    """Wilson; over seeds of the mean over them."""
    accuracy_high: float
    sd: float | None
    """Standard deviation over seeds; None where nothing is random."""
    per_seed: tuple[float, ...]
    """Accuracy of each seed."""
    difference: float
    """Accuracy of the descriptions minus this one."""
    low: float
    """Lower end of the 95 % interval of the difference: score interval, or where there are seeds
    paired bootstrap over samples."""
    high: float
    p_value: float
    """Two-sided: exact McNemar; where there are seeds the sign-flip test of each sample's mean over
    them, which with one seed is McNemar's."""
    p_holm: float
    """`p_value`, corrected for the number of controls (Holm)."""
    p_per_seed: tuple[float, ...]
    """Exact McNemar against each seed, not corrected."""

    @property
    def words(self) -> str:
        """What it is, in words."""
        return _WORDS[self.name]

    @property
    def beaten(self) -> bool:
        """Whether the descriptions are better and the corrected p-value is below .05."""
        return self.difference > 0 and self.p_holm < _LEVEL

    @property
    def ahead(self) -> bool:
        """Whether it is better than the descriptions and the corrected p-value is below .05."""
        return self.difference < 0 and self.p_holm < _LEVEL


@dataclass(frozen=True, kw_only=True)
class Controls:
    """How descriptions stand beside what comes without them, on the same samples.

    What is compared is the best guess of each sample, also where the classifier abstained.
    """

    method: str
    """Of the classifier: "dclip", "cupl", "waffle" or "waffle+descriptions"."""
    n_samples: int
    n_prompts: float
    """Mean number of prompts of a label."""
    accuracy: float
    """Of the descriptions."""
    accuracy_low: float
    accuracy_high: float
    controls: tuple[Control, ...]
    seeds: tuple[int, ...]
    """Of the random words."""

    @property
    def earned(self) -> bool:
        """Whether the descriptions are better than every control, beyond chance."""
        return all(control.beaten for control in self.controls)

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        subject = f"The {'random words' if self.method == 'waffle' else 'descriptions'}"
        ours = percent(self.accuracy)
        if self.earned:
            against = [f"{percent(c.accuracy)} with {_beside(c)}" for c in self.controls]
            return f"{subject} earned their place: {ours} against {joined(against)}."
        open_ = [control for control in self.controls if not control.beaten]
        best = max(open_, key=lambda control: (control.ahead, control.accuracy))
        verdict = "did harm" if best.ahead else "did not earn their place"
        text = f"{subject} {verdict}: {ours} against {percent(best.accuracy)} with {_beside(best)}."
        if not best.ahead and best.high > _WIDE:
            text += (
                f" {self.n_samples:,} samples cannot rule out a gain of up to "
                f"{100 * best.high:.0f} points."
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values, with `earned` and `sentence`."""
        values = dataclasses.asdict(self)
        values["controls"] = [
            {**dataclasses.asdict(c), "per_seed": list(c.per_seed), "p_per_seed": [*c.p_per_seed]}
            for c in self.controls
        ]
        return {
            **values,
            "seeds": list(self.seeds),
            "earned": self.earned,
            "sentence": self.sentence,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Controls:
        """Read what `to_dict` gave.

        Raises
        ------
        SavedFolderError
            If something is missing or of another kind.
        """
        try:
            controls = []
            for saved in values["controls"]:
                given = {**saved, "name": _FORMER.get(saved["name"], saved["name"])}
                if given["name"] not in _WORDS:
                    raise ValueError(f"there is no control {given['name']!r}")
                numbers = {f.name: given[f.name] for f in dataclasses.fields(Control)}
                for name in ("per_seed", "p_per_seed"):
                    numbers[name] = tuple(float(v) for v in given[name])
                controls.append(Control(**numbers))
            known = {f.name: values[f.name] for f in dataclasses.fields(cls)}
            seeds = tuple(int(seed) for seed in values["seeds"])
            return cls(**{**known, "controls": tuple(controls), "seeds": seeds})
        except (KeyError, TypeError, ValueError) as error:
            raise SavedFolderError(
                f"What was compared with the descriptions cannot be read: {type(error).__name__}: "
                f"{error}. Run the evaluation again."
            ) from None


def described_part(clf: Any) -> DescriptionClassifier | None:
    """Return the part of a fitted classifier that goes by descriptions; None if there is none."""
    return clf.described_part if isinstance(clf, Describes) else None


def description_controls(
    clf: Any,
    data: Dataset | tuple[Sequence[Media], Sequence[str]] | Sequence[Media],
    y: Sequence[str] | None = None,
    *,
    n_seeds: int = N_SEEDS,
    random_state: int | None = None,
    progress: Progress = no_progress,
) -> Controls:
    """Score what comes without descriptions on the same samples, and test the difference.

    The template alone; the domain before the label ("a photo of a bird: a wren"), if known; and
    Waffle, at least as many prompts with random words, averaged in the same way.

    Parameters
    ----------
    clf : DescriptionClassifier
        Fitted; or a classifier with one as ``classifier_``.
    data, y
        Samples that had no part in writing the descriptions, as in `evaluate`.
    n_seeds, random_state, progress
        Draws of random words: `random_state` (default: that of `clf`) and the numbers after it.

    Returns
    -------
    controls : Controls

    Raises
    ------
    InputError
        If `clf` goes by no descriptions or `n_seeds` is below 1.

    References
    ----------
    Roth et al. (2023), arXiv:2306.07282. McNemar (1947). Holm (1979).

    Examples
    --------
    >>> from showtell.testing import WordEncoder
    >>> words = WordEncoder(["stripes", "spots", "mane", "fur"])
    >>> clf = DescriptionClassifier(
    ...     words, descriptions={"tiger": ["stripes"], "leopard": ["spots"], "lion": ["a mane"]}
    ... ).fit()
    >>> X = ["spots in fur", "stripes on fur", "a mane of fur"] * 10
    >>> found = description_controls(clf, X, ["leopard", "tiger", "lion"] * 10)
    >>> found.earned, found.sentence[:67]
    (True, 'The descriptions earned their place: 100% against 33.3% with the te')
    """
    part = described_part(clf)
    if part is None:
        raise InputError(
            f"{type(clf).__name__} goes by no descriptions: give a fitted DescriptionClassifier."
        )
    at_least(1, n_seeds=n_seeds)
    samples = as_dataset(data, y)
    classes = [str(label) for label in part.classes_.tolist()]
    truth = true_codes(samples.y.tolist(), classes)
    found = embed_images(part._fitted_encoder(), samples.images, store=part.store)
    seed = int((part.random_state if random_state is None else random_state) or 0)
    seeds = tuple(range(seed, seed + n_seeds))
    ways = _ways(part, seeds)
    ours = _correct(part, found, classes, truth)
    everyone = [one for _, group in ways for one in group]
    right = []
    for one in everyone:
        right.append(_correct(one.fit(), found, classes, truth))
        progress(len(right), len(everyone), "controls")
    each = iter(right)
    tests = [_test(np.stack([next(each) for _ in group]), ours) for _, group in ways]
    corrected = m.holm([test["p_value"] for test in tests])
    low, high = m.accuracy_interval(int(ours.sum()), len(ours))
    return Controls(
        method=str(part.method),
        n_samples=len(ours),
        n_prompts=_mean_prompts(part),
        accuracy=float(ours.mean()),
        accuracy_low=low,
        accuracy_high=high,
        controls=tuple(
            Control(
                name=name,
                prompt=group[0].prompts_[classes[0]][0],
                n_prompts=len(group[0].prompts_[classes[0]]),
                p_holm=float(p),
                **test,
            )
            for (name, group), test, p in zip(ways, tests, corrected, strict=True)
        ),
        seeds=seeds if part.method != "waffle" else (),
    )


def _correct(
    one: Any, found: ImageEmbeddings, classes: list[str], truth: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Say of each sample whether the best guess of a classifier is right."""
    place = np.array([classes.index(str(label)) for label in one.classes_.tolist()] + [-1])
    scores, _ = one._score(found.embeddings)
    best = np.append(scores.argmax(axis=1), -1)[found.distinct]  # -1: could not be used
    right: NDArray[np.bool_] = place[best] == truth
    return right


def _ways(part: DescriptionClassifier, seeds: Sequence[int]) -> list[tuple[ControlName, list[Any]]]:
    """Make the controls, unfitted: one of each kind, and of random words one for each seed."""
    domain = _domain_of(part)
    labels = part.classes_.tolist()
    extra = () if part.templates is None else resolve_templates(part.templates)
    starts: list[tuple[ControlName, str]] = [("template", part.template)]
    if domain:
        starts.append(("domain", domain_template(domain)))
    ways: list[tuple[ControlName, list[Any]]] = []
    for name, start in starts:
        template = start if start.rstrip().endswith(".") else f"{start.rstrip()}."
        plain = ZeroShotClassifier(
            part.encoder,
            labels=labels,
            templates=(template, *extra),
            probability=part.probability,
            calibrate=False,
            store=part.store,
        )
        ways.append((name, [plain]))
    if part.method != "waffle":
        start = "" if _sentences_alone(part) else domain
        ways.append(("waffle", [_waffle(part, labels, start, s, len(extra)) for s in seeds]))
    return ways


def _domain_of(part: DescriptionClassifier) -> str:
    """Say what all labels are, as far as the classifier knows; "" if it does not."""
    if part.domain is not None:
        return part.domain
    return (part.descriptions_.domain or "") if part.descriptions_ is not None else ""


def _sentences_alone(part: DescriptionClassifier) -> bool:
    """Whether the prompts are sentences, which say nothing of the domain."""
    words = part.descriptions_
    return part.method in ("dclip", "cupl") and words is not None and words.kind == "sentences"


def _mean_prompts(part: DescriptionClassifier) -> float:
    return float(np.mean([len(prompts) for prompts in part.prompts_.values()]))


def _waffle(
    part: DescriptionClassifier, labels: list[Any], domain: str, seed: int, n_templates: int
) -> DescriptionClassifier:
    """Make the control that differs in its words only."""
    averaging = part.averaging
    if averaging == "auto":
        averaging = "embedding" if part.method == "cupl" else "similarity"
    return DescriptionClassifier(
        part.encoder,
        labels=labels,
        method="waffle",
        averaging=averaging,
        template=part.template,
        domain=domain,
        templates=part.templates,
        templates_share=part.templates_share,
        n_pairs=max(1, math.ceil((_mean_prompts(part) - n_templates) / 2)),
        probability=part.probability,
        calibrate=False,
        compat=part.compat,
        store=part.store,
        random_state=seed,
    )


def _test(control: NDArray[np.bool_], ours: NDArray[np.bool_]) -> dict[str, Any]:
    """Compare the descriptions with one control, shape (n_seeds, n_samples)."""
    n = len(ours)
    mean = control.mean(axis=0)
    change: m.PairedDifference | m.BootstrapDifference
    each = [m.mcnemar_exact(one, ours) for one in control]
    accuracy = float(mean.mean())
    if len(control) == 1:
        low, high = m.accuracy_interval(int(control.sum()), n)
        p_value, sd = each[0].p_value, None
        change = m.paired_difference(control[0], ours)
    else:
        change = m.paired_bootstrap(mean, ours.astype(float))
        found = m.paired_bootstrap(np.zeros(n), mean)
        low, high = found.low, found.high
        p_value = m.sign_flip_test(mean, ours.astype(float))
        sd = float(np.std(control.mean(axis=1), ddof=1))
    return {
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "sd": sd,
        "per_seed": tuple(float(one.mean()) for one in control) if sd is not None else (),
        "difference": float(ours.mean()) - accuracy,
        "low": change.low,
        "high": change.high,
        "p_value": p_value,
        "p_per_seed": tuple(one.p_value for one in each) if sd is not None else (),
    }


def _beside(control: Control) -> str:
    """Name a control and the chance of such a difference."""
    return f"{control.words} ({chance(control.p_holm)})"
