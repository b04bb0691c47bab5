"""shot_curve: what 0, 1, 2, 5 ... labelled images per label buy, over several draws."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from sklearn.base import clone

from showtell import metrics as m
from showtell._extras import need
from showtell._progress import Progress, no_progress
from showtell.classify.capabilities import Teachable
from showtell.datasets import Dataset, support_rows
from showtell.errors import InputError
from showtell.evaluate.notebook import html_table
from showtell.evaluate.provenance import about_data, about_estimator, about_machine, now
from showtell.evaluate.samples import ask, true_codes
from showtell.pages.charts import Chart, draw_shot_curve
from showtell.words import listed, plural

_N_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class ShotPoint:
    """Accuracy with one number of shots."""

    shots: int
    accuracy: float | None
    """Mean over seeds; None where the point could not be run."""
    low: float | None
    """Lower end of the 95 % interval over seeds and test samples together."""
    high: float | None
    per_seed: tuple[float, ...]
    note: str = ""
    """Why the point is missing, or what to know about it."""


@dataclass(frozen=True, kw_only=True)
class ShotStep:
    """Two neighbouring points, paired sample by sample."""

    shots_from: int
    shots_to: int
    difference: float
    """Accuracy gained, mean over seeds and samples."""
    low: float
    high: float
    p_value: float
    """Sign-flip test over test samples, each with its mean over seeds; two-sided."""
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class ShotCurve:
    """Accuracy against the number of labelled images per label.

    Parameters
    ----------
    points : tuple of ShotPoint
        In rising order of shots. A point that could not be run is there, marked by its note.
    steps : tuple of ShotStep
        Paired comparison of each point with the one before it.
    seeds : tuple of int
        Each seed draws its own support; for one seed the k-shot support is part of every larger
        one.
    n_test : int
        Samples each accuracy is measured on.
    run : dict
        What was run on what.
    """

    points: tuple[ShotPoint, ...]
    steps: tuple[ShotStep, ...]
    seeds: tuple[int, ...]
    n_test: int
    run: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What the curve says, in one sentence."""
        known = [p for p in self.points if p.accuracy is not None]
        if not known:
            return "No point of the curve could be run."
        first, best = known[0], max(known, key=lambda p: (p.accuracy or 0.0, -p.shots))
        start = f"{plural(first.shots, 'shot')}: {(first.accuracy or 0) * 100:.1f}%"
        if best is first:
            return f"{start}; more shots did not help."
        rising = [s for s in self.steps if s.difference > 0 and s.p_holm < 0.05]
        return (
            f"{start}; best with {plural(best.shots, 'shot')}: {(best.accuracy or 0) * 100:.1f}%. "
            f"{len(rising)} of {len(self.steps)} steps are gains beyond chance "
            "(p < 0.05 after correction)."
        )

    def rows(self) -> list[dict[str, Any]]:
        """One dict per point."""
        return [dataclasses.asdict(p) for p in self.points]

    def _repr_html_(self) -> str:
        """Return a small table for notebooks: one row per number of shots."""
        keys = ("shots", "accuracy", "low", "high", "note")
        return html_table(self.sentence, keys, ([row[k] for k in keys] for row in self.rows()))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "sentence": self.sentence,
            "n_test": self.n_test,
            "seeds": list(self.seeds),
            "points": self.rows(),
            "steps": [dataclasses.asdict(s) for s in self.steps],
            "run": self.run,
        }

    def to_pandas(self) -> Any:
        """Accuracy per shots and seed as a pandas DataFrame (extra ``pandas``)."""
        pandas = need("pandas", extra="pandas", what="A shot curve as a DataFrame")
        return pandas.DataFrame(
            [
                {"shots": point.shots, "seed": seed, "accuracy": value}
                for point in self.points
                for seed, value in zip(self.seeds, point.per_seed, strict=False)
            ]
        )

    def drawing(self) -> Markup:
        """Draw the curve as inline SVG."""
        keys = ("shots", "accuracy", "low", "high", "per_seed")
        return draw_shot_curve(*([getattr(point, k) for point in self.points] for k in keys))

    def plot(self) -> Chart:
        """Draw the curve with its interval and a dot per seed; `InputError` without a point."""
        if all(p.accuracy is None for p in self.points):
            raise InputError("No point of this curve could be run, so there is nothing to draw.")
        return Chart(self.drawing())


def shot_curve(
    clf: Any,
    data: Dataset,
    test: Dataset | None = None,
    *,
    shots: Sequence[int] = (0, 1, 2, 5, 10, 20),
    seeds: int | Sequence[int] = 5,
    progress: Progress = no_progress,
) -> ShotCurve:
    """Measure accuracy with 0, 1, 2, 5 ... labelled images per label, over several draws.

    Every point is fitted on ``support_rows(y, k, seed)`` of the train split and measured on the
    whole test split. Supports are nested: for one seed, the k-shot support is part of the larger
    ones, so neighbouring points differ by the added images alone. Images are embedded once.

    Parameters
    ----------
    clf : classifier
        Its settings are used for every point; it is cloned, never changed. A `ZeroShotClassifier`
        stands for a `FewShotClassifier` with its encoder and words. Other estimators are fitted
        on the support and have no 0-shot point.
    data : Dataset
        With splits ``train`` and ``test``; or the support images alone if `test` is given.
    test : Dataset, optional
        What to measure on.
    shots : sequence of int, default=(0, 1, 2, 5, 10, 20)
        Labelled images per label. A number that some label cannot give is kept as a marked
        point without a value, never quietly reduced.
    seeds : int or sequence of int, default=5
        A number n means seeds 0 to n - 1. Nothing is random at 0 shots, which runs once.
    progress : callable, optional
        Called as ``progress(done, total, stage)`` per fit.

    Returns
    -------
    curve : ShotCurve

    Notes
    -----
    The interval of a point resamples seeds and test samples together (2,000 times), so it covers
    both the luck of the support and the size of the test split; with one seed the samples alone.

    Raises
    ------
    InputError
        If `shots` or `seeds` are unusable, or no test samples are there.
    """
    train, test = (data.train, data.test) if test is None else (data, test)
    wanted, chosen = _checked(shots, seeds)
    train = train.labelled()
    if not len(test):
        raise InputError("The test split is empty, so there is nothing to measure on.")
    y_train = train.y
    available = min((int((y_train == label).sum()) for label in train.labels), default=0)
    started = now()
    total = sum(1 if k == 0 else len(chosen) for k in wanted if k <= available or k == 0)
    done = 0
    results: dict[int, NDArray[np.bool_]] = {}
    notes: dict[int, str] = {}
    with tempfile.TemporaryDirectory(
        prefix="showtell-curve-", ignore_cleanup_errors=True
    ) as folder:
        base = _prepared(clf, f"{folder}/embeddings.sqlite")
        for k in wanted:
            if k > available:
                notes[k] = _too_few(train, y_train, k)
                continue
            runs = []
            for seed in chosen[:1] if k == 0 else chosen:
                progress(done, total, "shot curve")
                fitted = _fit(base, train, y_train, k, seed)
                runs.append(_correct(fitted, test))
                done += 1
            results[k] = np.array(runs)  # (n_seeds, n_test) bool
        progress(done, total, "shot curve")
    return ShotCurve(
        points=tuple(_point(k, results.get(k), notes.get(k, "")) for k in wanted),
        steps=_steps(results),
        seeds=chosen,
        n_test=len(test),
        run={
            "estimator": about_estimator(clf),
            "seeds": list(chosen),
            "train": about_data(train),
            "test": about_data(test),
            "started": started,
            "finished": now(),
            **about_machine(),
        },
    )


def _checked(shots: Sequence[int], seeds: int | Sequence[int]) -> tuple[list[int], tuple[int, ...]]:
    """Sort the numbers of shots, and list the seeds."""
    wanted = sorted({int(k) for k in shots})
    if not wanted or wanted[0] < 0:
        raise InputError(f"`shots` must be numbers from 0 upwards, got {list(shots)}.")
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(s) for s in seeds)
    if not chosen or len(set(chosen)) != len(chosen):
        raise InputError(f"`seeds` must be a number from 1 upwards or different seeds: {seeds!r}.")
    return wanted, chosen


def _prepared(clf: Any, store: str) -> Any:
    """Clone a classifier, so that each image is embedded once and the original stays."""
    base = clone(clf)
    if isinstance(base, Teachable):
        base = base.learner()
    params = base.get_params(deep=False)
    if "store" in params and params["store"] is None:
        base.set_params(store=store)  # nothing is kept after the curve, as was asked
    return base


def _fit(base: Any, train: Dataset, y: NDArray[np.str_], k: int, seed: int) -> Any:
    """Fit a fresh clone on a k-shot support."""
    one = clone(base)
    params = one.get_params(deep=False)
    if "random_state" in params:
        one.set_params(random_state=seed)
    if "shots" in params:  # draws by `support_rows` itself, and replaces what cannot be read
        return one.set_params(shots=k).fit(train.images, y)
    if k == 0:
        raise InputError(
            f"{type(base).__name__} cannot do without labelled images; leave 0 out of `shots`."
        )
    rows = support_rows(y, k, seed=seed, short="error")
    return one.fit(train[rows].images, y[rows])


def _correct(fitted: Any, test: Dataset) -> NDArray[np.bool_]:
    """Say whether each test sample gets its label; errors and abstentions do not."""
    predictions = ask(fitted, test.images, no_progress)
    truth = true_codes(test.y.tolist(), predictions.classes)
    right: NDArray[np.bool_] = predictions.ok & (predictions.codes == truth)
    return right


def _too_few(train: Dataset, y: NDArray[np.str_], k: int) -> str:
    """Say which labels cannot give k shots."""
    short = {label: int((y == label).sum()) for label in train.labels}
    short = {label: n for label, n in short.items() if n < k}
    few = listed((f"{label} has {n}" for label, n in short.items()), most=3)
    return f"not run: {k} shots need {k} labelled images of every label, {few}"


def _point(k: int, correct: NDArray[np.bool_] | None, note: str) -> ShotPoint:
    """Summarise the runs of one number of shots."""
    if correct is None:
        return ShotPoint(shots=k, accuracy=None, low=None, high=None, per_seed=(), note=note)
    low, high = _interval(correct)
    return ShotPoint(
        shots=k,
        accuracy=float(correct.mean()),
        low=low,
        high=high,
        per_seed=tuple(float(a) for a in correct.mean(axis=1)),
        note=note,
    )


def _interval(correct: NDArray[np.bool_]) -> tuple[float, float]:
    """95 % interval of the mean over seeds and samples, both resampled."""
    n_seeds, n = correct.shape
    if n_seeds == 1:
        return tuple(m.accuracy_interval(int(correct.sum()), n))  # type: ignore[return-value]
    rng = np.random.default_rng(0)
    hits = correct.astype(np.float64)
    means = np.empty(_N_RESAMPLES)
    step = max(1, 4_000_000 // n)
    for start in range(0, _N_RESAMPLES, step):
        size = min(step, _N_RESAMPLES - start)
        samples = rng.multinomial(n, np.full(n, 1 / n), size=size) / n  # (size, n)
        draws = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=size) / n_seeds
        means[start : start + size] = ((samples @ hits.T) * draws).sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _steps(results: dict[int, NDArray[np.bool_]]) -> tuple[ShotStep, ...]:
    """Compare neighbouring points sample by sample."""
    found = []
    ran = sorted(results)
    for a, b in pairwise(ran):
        before, after = results[a].mean(axis=0), results[b].mean(axis=0)
        boot = m.paired_bootstrap(before, after)
        found.append((a, b, boot, m.sign_flip_test(before, after)))
    corrected = m.holm([p for *_, p in found])
    return tuple(
        ShotStep(
            shots_from=a,
            shots_to=b,
            difference=boot.difference,
            low=boot.low,
            high=boot.high,
            p_value=p,
            p_holm=float(q),
        )
        for (a, b, boot, p), q in zip(found, corrected, strict=True)
    )
