"""DistilledClassifier: a small student of a teacher that is dear, slow or far away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.classify.base import EncoderClassifier, media_list
from showtell.classify.chain.selection import SELECTIONS, SelectionRule, choose_images, copy_groups
from showtell.classify.chain.student import HEADS, Head, HeadKind, fit_head, fold_of, out_of_fold
from showtell.classify.chain.student_saved import (
    LearningCurve,
    Suspect,
    restore,
    shapes_of,
    state_of,
)
from showtell.classify.chain.teacher import TeacherLabels
from showtell.classify.estimator import check_is_fitted
from showtell.classify.labels import codes_of, label_words, true_labels
from showtell.classify.probability import probabilities, smoothed_temperature
from showtell.datasets.lazy import pick_rows
from showtell.encoders import Embeddings, Encoder, ImageEmbeddings, embed_images, load_encoder
from showtell.encoders.embed import Store
from showtell.errors import InputError, UnknownNameError
from showtell.media import Media
from showtell.metrics import SuspectLabels, find_wrong_labels

__all__ = ["Denoise", "DistilledClassifier", "LearningCurve", "Suspect"]

Denoise: TypeAlias = Literal["weight"]
_SUSPECTS = ("keep", "drop")
_DENOISE = ("weight", "None")
_CS = (1.0, 3.0, 10.0, 30.0, 100.0)
_C = 10.0
_SOFT_BELOW = 10  # labels per class
_MIN_GOLD = 50  # to choose C by, and to trust how sure a teacher says it is
_MIN_CALIBRATION = 20
_GOLD_WEIGHT = 2.0
_FOLDS = 5
_CURVE = (0.25, 0.5, 1.0)


class DistilledClassifier(EncoderClassifier):
    r"""Learn from a teacher's answers, then answer without it.

    Parameters
    ----------
    teacher : classifier, optional
        Anything fitted with `classify`: asked for at most `budget` images when `fit` is called.
        None where labels are given to `fit`.
    encoder : str or Encoder, default="mini"
        The student's eyes.
    labels : sequence of label, optional
        The label set and its order; None: the teacher's, or those that occur.
    budget : int, default=400
        Images the teacher is asked about, at most.
    select : {"auto", "cover", "typical", "margin", "random"}, default="auto"
        Which images; see `showtell.classify.chain.selection.choose_images`.
    head : {"blend", "linear", "mean", "mlp"}, default="blend"
        "blend" adds the logits of a logistic regression and 20 times the cosines with the class
        means: one linear layer that wrong labels hurt little.
    C : float or "auto", default="auto"
        Inverse strength of the L2 penalty. "auto" is 10, or with 50 gold images the value of 1, 3,
        10, 30 and 100 that has the lowest log-loss on them.
    soft : bool or "auto", default="auto"
        Learn from the teacher's probabilities. "auto": where there are any, and fewer than 10
        labels per class. How sure a model says it is does not count as one, unless the teacher
        was calibrated on 50 images.
    soft_temperature : float, default=1.0
        Softens both sides of the soft part.
    alpha : float, default=1.0
        Share of the soft part in the loss; the rest is cross-entropy with the best label.
    denoise : {"weight"}, optional
        "weight" gives each row the out-of-fold probability of its label as weight.
    suspects : {"keep", "drop"}, default="keep"
        What to do with labels that are most likely wrong. They are listed either way.
    abstain_below : float, optional
        Give no label where the best probability is lower.
    store : EmbeddingStore, path, "default" or None, default="default"
    random_state : int, optional
        Seed of folds, of "random" and of the network; None is 0.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    head_ : Head
    temperature_ : float
        Always fitted, out of fold: against gold labels if there are 20, else the teacher's.
    C_ : float
    soft_ : bool
    teacher_labels_ : TeacherLabels
        What was learned from, failed and abstained rows included.
    rows_ : ndarray of shape (n_teacher_labels,), int
        Their rows in what was given to `fit`.
    n_labels_ : int
        Rows that were learned from.
    agreement_ : float
        Out-of-fold share of rows on which student and teacher agree.
    suspects_ : tuple of Suspect
        The most doubtful first.
    missing_ : tuple of label
        Labels without any example; never an answer.
    curve_ : LearningCurve
    cost_ : Decimal or None
        USD the teacher's answers cost; None if that is not known.

    Notes
    -----
    Minimises ``sum_i v_i [alpha T^2 KL(q_i || softmax(z_i / T)) + (1 - alpha) CE]`` plus
    ``|W|^2 / (2 C)``. Images shown to the teacher as examples must not be among those given here,
    nor gold images among those it was trained on. A student is never to be evaluated on its
    teacher's labels: agreement is not accuracy.

    References
    ----------
    Hinton, Vinyals, Dean (2015), Distilling the Knowledge in a Neural Network, arXiv:1503.02531,
    section 2. Northcutt, Jiang, Chuang (2021), Confident Learning, arXiv:1911.00068.

    Examples
    --------
    >>> from showtell.classify import ZeroShotClassifier
    >>> from showtell.testing import WordEncoder
    >>> encoder = WordEncoder(["cat", "dog", "grass", "sky"])
    >>> teacher = ZeroShotClassifier(encoder, labels=["cat", "dog"]).fit()
    >>> X = ["cat on grass", "dog on grass", "cat and sky", "dog and sky", "cat", "dog"]
    >>> student = DistilledClassifier(teacher, encoder, budget=6).fit(X)
    >>> student.predict(["a cat in the grass", "sky over a dog"])
    array(['cat', 'dog'], dtype='<U3')
    >>> student.n_labels_, student.teacher_labels_.counts["ok"]
    (6, 6)
    """

    _shared = ("teacher", "encoder", "store")
    _needs_examples = False  # a teacher labels them

    def __init__(
        self,
        teacher: Any = None,
        encoder: str | Encoder = "mini",
        *,
        labels: Sequence[Any] | None = None,
        budget: int = 400,
        select: SelectionRule = "auto",
        head: HeadKind = "blend",
        C: float | Literal["auto"] = "auto",
        soft: bool | Literal["auto"] = "auto",
        soft_temperature: float = 1.0,
        alpha: float = 1.0,
        denoise: Denoise | None = None,
        suspects: Literal["keep", "drop"] = "keep",
        abstain_below: float | None = None,
        store: Store = "default",
        random_state: int | None = None,
    ) -> None:
        self.teacher = teacher
        self.encoder = encoder
        self.labels = labels
        self.budget = budget
        self.select = select
        self.head = head
        self.C = C
        self.soft = soft
        self.soft_temperature = soft_temperature
        self.alpha = alpha
        self.denoise = denoise
        self.suspects = suspects
        self.abstain_below = abstain_below
        self.store = store
        self.random_state = random_state

    def fit(
        self,
        X: Sequence[Media],
        y: Any = None,
        *,
        teacher_labels: TeacherLabels | None = None,
        gold: tuple[Sequence[Media], Any] | None = None,
        progress: Progress = no_progress,
    ) -> Self:
        """Ask the teacher about some of the images, and learn from its answers.

        Parameters
        ----------
        X : sequence of Media, length n_samples
            Images to learn from.
        y : array-like of shape (n_samples,), optional
            Labels of all of them, from wherever; then no teacher is asked.
        teacher_labels : TeacherLabels, optional
            Labels bought before, one row per image of X in its order; then no teacher is asked.
        gold : (images, labels), optional
            True labels. They replace the teacher's label of the same image, count twice, and
            choose C and temperature. Never use images that you evaluate on.
        progress : Progress
            Called with the number of images the teacher has been asked about.

        Returns
        -------
        self : DistilledClassifier

        Raises
        ------
        InputError
            If there is neither a teacher nor labels, nothing can be learned from, or an argument
            is none of the allowed ones.
        """
        self._check_arguments()
        images = media_list(X)
        encoder = load_encoder(self.encoder)
        self.encoder_fingerprint_ = encoder.fingerprint
        found = embed_images(encoder, images, store=self.store)
        gold_y = None if gold is None else true_labels(gold[1], len(gold[0]))
        if y is not None and teacher_labels is not None:
            raise InputError("Give `y` or `teacher_labels`, not both.")
        given = None if y is None else true_labels(y, len(images))
        self._set_classes(given, teacher_labels, gold_y)
        self._check_abstain_below()
        if given is not None:
            teacher_labels = self._as_teacher(given, images)
        if teacher_labels is None:
            rows, labels = self._ask(images, found, progress)
        else:
            if len(teacher_labels) != len(images):
                raise InputError(
                    f"X has {len(images)} images, but `teacher_labels` has {len(teacher_labels)} "
                    "rows; give one row per image, in order."
                )
            rows, labels = (
                np.arange(len(images)),
                teacher_labels.with_classes(tuple(map(str, self.classes_.tolist()))),
            )
        self.rows_, self.teacher_labels_ = rows, labels
        self.cost_: Decimal | None = labels.cost_usd
        self._learn(encoder, found, gold, gold_y)
        return self

    def _check_arguments(self) -> None:
        if self.head not in HEADS:
            raise UnknownNameError("head", str(self.head), HEADS)
        if self.select not in SELECTIONS:
            raise UnknownNameError("selection", str(self.select), SELECTIONS)
        if self.suspects not in _SUSPECTS:
            raise UnknownNameError("treatment of suspects", str(self.suspects), _SUSPECTS)
        if str(self.denoise) not in _DENOISE:
            raise UnknownNameError("denoising", str(self.denoise), _DENOISE)
        if isinstance(self.budget, bool) or not isinstance(self.budget, int) or self.budget < 1:
            raise InputError(f"`budget` is a whole number from 1 up; got {self.budget!r}.")
        if self.C != "auto" and not (isinstance(self.C, int | float) and self.C > 0):
            raise InputError(f"`C` is a number above 0, or 'auto'; got {self.C!r}.")
        if not (isinstance(self.soft, bool) or self.soft == "auto"):
            raise InputError(f"`soft` is True, False or 'auto'; got {self.soft!r}.")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"`alpha` is a share from 0 to 1; got {self.alpha!r}.")
        if not self.soft_temperature > 0:
            raise InputError(f"`soft_temperature` is above 0; got {self.soft_temperature!r}.")

    @property
    def _seed(self) -> int:
        return 0 if self.random_state is None else int(self.random_state)

    # Labels

    def _set_classes(
        self,
        given: NDArray[Any] | None,
        labels: TeacherLabels | None,
        gold_y: NDArray[Any] | None,
    ) -> None:
        """Fix the label set: as told, as the teacher's, or as the labels that occur."""
        if self.labels is not None:
            self.classes_ = label_words(self.labels, None).classes
        elif given is not None:
            self.classes_ = label_words(None, given).classes
        elif labels is not None:
            self.classes_ = np.array(labels.classes)
        elif self.teacher is not None:
            check_is_fitted(self.teacher)
            self.classes_ = np.asarray(self.teacher.classes_)
        elif gold_y is not None:
            self.classes_ = label_words(None, gold_y).classes
        else:
            raise InputError(
                "There is nobody to learn from: give a fitted `teacher`, or `y` or "
                "`teacher_labels` to `fit`."
            )

    def _as_teacher(self, given: NDArray[Any], images: Sequence[Media]) -> TeacherLabels:
        names = tuple(map(str, self.classes_.tolist()))
        return TeacherLabels(
            images=[""] * len(images),
            classes=names,
            codes=codes_of(given, self.classes_),
            proba=None,
            status=["ok"] * len(images),
            source="given labels",
            cost_usd=Decimal(0),
        )

    def _ask(
        self, images: Sequence[Media], found: ImageEmbeddings, progress: Progress
    ) -> tuple[NDArray[np.intp], TeacherLabels]:
        """Ask the teacher in rounds; each round's images rest on what is known by then."""
        n_classes = len(self.classes_)
        usable = np.flatnonzero(found.ok)
        _, first = np.unique(found.distinct[usable], return_index=True)
        pool = usable[np.sort(first)]  # each content once
        X = found.embeddings[found.distinct[pool]]
        asked: list[int] = []
        parts: list[TeacherLabels] = []
        names = tuple(map(str, self.classes_.tolist()))
        whole = self.budget if self.select in ("cover", "typical", "random") else 0
        step = whole or max(n_classes, self.budget // _FOLDS)
        while len(asked) < min(self.budget, len(pool)):
            n_known = sum(len(p.usable) for p in parts)
            size = min(step, self.budget - len(asked))
            fresh = choose_images(
                X,
                size,
                rule=self.select,
                labelled=asked,
                n_classes=n_classes,
                proba=partial(self._guess, X, list(asked), list(parts)) if n_known else None,
                random_state=self._seed,
            )
            if not len(fresh):
                break
            answers = self.teacher.classify(pick_rows(images, pool[fresh]))
            parts.append(
                TeacherLabels.from_predictions(
                    answers,
                    classes=names,
                    source=_name(self.teacher),
                    soft=_gives_chances(self.teacher),
                )
            )
            asked += fresh.tolist()
            progress(len(asked), min(self.budget, len(pool)), "asking the teacher")
        if not parts:
            raise InputError("None of the images could be read, so the teacher was not asked.")
        return pool[np.array(asked, np.intp)].astype(np.intp), _stacked(parts)

    def _guess(
        self, X: Embeddings, asked: Sequence[int], parts: Sequence[TeacherLabels]
    ) -> NDArray[Any]:
        """Probabilities of a student of the answers so far, shape (n, n_classes)."""
        joined = _stacked(parts)
        rows = joined.usable
        targets = joined.targets(soft=False)[rows]
        return _proba(fit_head(X[np.array(asked)[rows]], targets, head=self.head).logits(X))

    # Learning

    def _learn(
        self,
        encoder: Encoder,
        found: ImageEmbeddings,
        gold: tuple[Sequence[Media], Any] | None,
        gold_y: NDArray[Any] | None,
    ) -> None:
        labels = self.teacher_labels_
        kept = labels.usable[found.ok[self.rows_[labels.usable]]]
        rows = self.rows_[kept]
        self.soft_ = self._is_soft(labels, kept)
        X = found.embeddings[found.distinct[rows]]
        targets = labels.targets(soft=self.soft_)[kept]
        digests = np.asarray(found.digests, object)[found.distinct[rows]]
        weights = np.ones(len(rows))
        is_gold = np.zeros(len(rows), bool)
        if gold is not None and gold_y is not None:
            X, targets, weights, is_gold, rows = self._with_gold(
                encoder, gold[0], gold_y, X, targets, digests, rows
            )
        if not len(X):
            raise InputError(
                f"The teacher gave no label that can be learned from: {labels.counts}."
            )
        codes = targets.argmax(axis=1)
        groups = copy_groups(X, codes)
        fold = fold_of(codes, groups, _FOLDS, random_state=self._seed)
        probe = out_of_fold(X, targets, fold, head="linear", C=_C)
        doubts = find_wrong_labels(_proba(probe), codes)
        self.suspects_ = self._list_suspects(doubts, rows, is_gold)
        if self.denoise == "weight":
            own = doubts.self_confidence
            weights = weights * own / max(float(own.mean()), 1e-12)
        if self.suspects == "drop":
            left = np.setdiff1d(np.arange(len(X)), doubts.suspects[~is_gold[doubts.suspects]])
            X, targets, weights, is_gold = X[left], targets[left], weights[left], is_gold[left]
            codes, fold = codes[left], fold[left]
        how: dict[str, Any] = {
            "head": self.head,
            "temperature": self.soft_temperature,
            "alpha": self.alpha,
            "random_state": self._seed,
        }
        self.C_ = self._choose_c(X, targets, weights, is_gold, fold, how)
        how["C"] = self.C_
        held = out_of_fold(X, targets, fold, row_weights=weights, **how)
        judge = is_gold if is_gold.sum() >= _MIN_CALIBRATION else np.ones(len(X), bool)
        self.temperature_ = smoothed_temperature(held[judge], codes[judge])
        own_rows = ~is_gold if (~is_gold).any() else np.ones(len(X), bool)
        self.agreement_ = float((held.argmax(axis=1) == codes)[own_rows].mean())
        self.head_: Head = fit_head(X, targets, row_weights=weights, **how)
        self.n_labels_ = len(X)
        seen = np.unique(codes)
        self.missing_ = tuple(
            label for i, label in enumerate(self.classes_.tolist()) if i not in seen
        )
        self.curve_ = _curve(X, targets, weights, fold, judge, bool(is_gold.any()), how)

    def _is_soft(self, labels: TeacherLabels, kept: NDArray[np.intp]) -> bool:
        if self.soft != "auto":
            if self.soft and labels.proba is None:
                raise InputError("`soft=True` needs a teacher that gives probabilities.")
            return bool(self.soft)
        return labels.proba is not None and len(kept) < _SOFT_BELOW * len(self.classes_)

    def _with_gold(
        self,
        encoder: Encoder,
        images: Sequence[Media],
        y: NDArray[Any],
        X: Embeddings,
        targets: NDArray[Any],
        digests: NDArray[Any],
        rows: NDArray[np.intp],
    ) -> tuple[Any, ...]:
        """Join gold rows, which replace the teacher's label of the same image."""
        codes = codes_of(y, self.classes_)
        found = embed_images(encoder, images, store=self.store)
        usable = np.flatnonzero(found.ok)
        own = np.asarray(found.digests, object)[found.distinct[usable]]
        left = np.flatnonzero(~np.isin(digests, own))
        true = np.zeros((len(usable), len(self.classes_)))
        true[np.arange(len(usable)), codes[usable]] = 1.0
        is_gold = np.concatenate([np.zeros(len(left), bool), np.ones(len(usable), bool)])
        return (
            np.concatenate([X[left], found.embeddings[found.distinct[usable]]]),
            np.concatenate([targets[left], true]),
            np.where(is_gold, _GOLD_WEIGHT, 1.0),
            is_gold,
            np.concatenate([rows[left], np.full(len(usable), -1, np.intp)]),
        )

    def _list_suspects(
        self, doubts: SuspectLabels, rows: NDArray[np.intp], is_gold: NDArray[np.bool_]
    ) -> tuple[Suspect, ...]:
        names = self.classes_.tolist()
        codes = self.teacher_labels_.codes
        place = {int(row): i for i, row in enumerate(self.rows_)}
        return tuple(
            Suspect(
                row=int(rows[i]),
                given=names[int(codes[place[int(rows[i])]])],
                suggested=names[int(doubts.suggested[i])],
                margin=float(doubts.margin[i]),
            )
            for i in doubts.order.tolist()
            if doubts.margin[i] < 0 and not is_gold[i]
        )

    def _choose_c(
        self,
        X: Embeddings,
        targets: NDArray[Any],
        weights: NDArray[Any],
        is_gold: NDArray[np.bool_],
        fold: NDArray[np.intp],
        how: Mapping[str, Any],
    ) -> float:
        """Take 10, or what has the lowest log-loss on enough gold rows; never by the teacher's."""
        if self.C != "auto":
            return float(self.C)
        if is_gold.sum() < _MIN_GOLD or self.head in ("mean", "mlp"):
            return _C
        codes = targets.argmax(axis=1)[is_gold]

        def loss(c: float) -> float:
            held = out_of_fold(X, targets, fold, row_weights=weights, **how, C=c)[is_gold]
            proba = _proba(held / smoothed_temperature(held, codes))
            return float(-np.log(np.maximum(proba[np.arange(len(codes)), codes], 1e-12)).mean())

        return min(_CS, key=loss)

    def _score(self, embeddings: Embeddings) -> tuple[NDArray[Any], NDArray[np.float32]]:
        logits = self.head_.logits(embeddings)
        return logits, probabilities(logits / self.temperature_, "softmax")

    # Saving

    def _saved_params(self) -> dict[str, Any]:
        params = super()._saved_params()
        params["teacher"] = None  # its answers are learned; the teacher itself stays where it is
        return params

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return state_of(self)

    def _saved_shapes(
        self,
        values: Mapping[str, Any],
        n_classes: int,
        n_dims: int,
    ) -> dict[str, tuple[int | None, ...]]:
        return shapes_of(values, n_classes, n_dims)

    def _restore_state(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        restore(self, values, arrays)


def _proba(logits: NDArray[Any]) -> NDArray[np.float32]:
    return probabilities(logits, "softmax")


def _name(teacher: Any) -> str:
    model = getattr(teacher, "model_", None)
    return f"{type(teacher).__name__}({model})" if model else type(teacher).__name__


def _gives_chances(teacher: Any) -> bool:
    """Whether its probabilities are more than how sure a model says it is, which hardly varies."""
    if getattr(teacher, "confidence_", None) != "verbalised":
        return True
    return getattr(getattr(teacher, "calibration_", None), "n", 0) >= _MIN_GOLD


def _stacked(parts: Sequence[TeacherLabels]) -> TeacherLabels:
    """Put the rows of several rounds under one another."""
    costs = [p.cost_usd for p in parts]
    known = [c for c in costs if c is not None]
    probas = [p.proba for p in parts if p.proba is not None]
    return TeacherLabels(
        images=[name for p in parts for name in p.images],
        classes=parts[0].classes,
        codes=np.concatenate([p.codes for p in parts]),
        proba=np.concatenate(probas) if len(probas) == len(parts) else None,
        status=[s for p in parts for s in p.status],
        source=parts[0].source,
        cost_usd=sum(known, Decimal(0)) if len(known) == len(costs) else None,
    )


def _curve(
    X: Embeddings,
    targets: NDArray[Any],
    weights: NDArray[Any],
    fold: NDArray[np.intp],
    judge: NDArray[np.bool_],
    on_gold: bool,
    how: Mapping[str, Any],
) -> LearningCurve:
    """Out-of-fold accuracy with a quarter, half and all of the labels, nested."""
    rng = np.random.default_rng(how["random_state"])
    order = rng.permutation(len(X))
    codes = targets.argmax(axis=1)
    sizes, accuracy = [], []
    for share in _CURVE:
        taken = np.zeros(len(X), bool)
        taken[order[: max(1, round(share * len(X)))]] = True
        right = []
        for k in np.unique(fold):
            out, kept = np.flatnonzero((fold == k) & judge), np.flatnonzero((fold != k) & taken)
            if len(out) and len(kept):
                head = fit_head(X[kept], targets[kept], row_weights=weights[kept], **how)
                right.append(head.logits(X[out]).argmax(axis=1) == codes[out])
        sizes.append(int(taken.sum()))
        accuracy.append(float(np.concatenate(right).mean()) if right else float("nan"))
    return LearningCurve(n_labels=tuple(sizes), accuracy=tuple(accuracy), on_gold=on_gold)
