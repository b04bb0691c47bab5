"""InContextClassifier: show a multimodal LLM labelled images, and ask it about others."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.checks import flag, one_of, whole
from showtell.classify.asking.arguments import Confidence, Debias
from showtell.classify.asking.classifier import MLLMClassifier
from showtell.classify.asking.learning import learn
from showtell.classify.asking.state import ImageState
from showtell.classify.asking.wording import ended_by_rotations
from showtell.classify.base import report_broken
from showtell.classify.embedding.prototypes import class_means
from showtell.classify.labels import Texts, codes_of, true_labels
from showtell.datasets import support_rows
from showtell.encoders import Encoder, embed_images, load_encoder
from showtell.encoders.embed import Store
from showtell.errors import InputError, MediaError
from showtell.media import Media, read_media
from showtell.mllm.base import ImagePart
from showtell.mllm.images import prepare_image
from showtell.mllm.model import Asked
from showtell.prompts import DEFAULT_ROLE, Demonstration

Selection: TypeAlias = Literal["balanced", "random", "nearest"]
_SELECTIONS = ("balanced", "random", "nearest")


class InContextClassifier(MLLMClassifier):
    r"""Classify images by showing a multimodal LLM a few labelled ones in the prompt.

    The demonstrations stand first and in one order, so that a provider's prefix cache can reuse
    them, and many queries share them: with 15 classes of 5 shots, 75 queries in one request cost
    a thirty-eighth of what one by one would. Answers are joined to images by id, as in
    `DirectClassifier`.

    Parameters
    ----------
    model : str, MLLM or Model
        As in `DirectClassifier`.
    shots : int, default=5
        Labelled images shown per class, of those given to `fit`. Fewer shots are part of more.
        0 shows none.
    demonstrations : sequence of (image, label), optional
        Show exactly these instead, in an order drawn once; `fit` then needs no images.
    anonymise : bool, default=False
        Write ``class_0``, ``class_1`` ... for the labels, in an order drawn by `random_state`, so
        that only the demonstrations tell what they mean. No label, alias or description is sent.
    selection : {"balanced", "random", "nearest"}, default="balanced"
        - ``"balanced"``: `shots` of every class, drawn by `random_state`.
        - ``"random"``: as many in all, drawn from all images whatever their class.
        - ``"nearest"``: for each query the `shots` of every class that `encoder` finds most
          alike. Requests then share no prefix, so "auto" asks about one image at a time.
    labels, descriptions, aliases, role, confidence, n_samples
        As in `DirectClassifier`. Repetitions also show the demonstrations in another order.
    rotations, debias, null_images
        As in `DirectClassifier`. Each class is shown last in turn.
    calibrate, n_calibration
        As in `DirectClassifier`, with the labelled images that are not shown.
    abstain_below, shortlist, encoder, store, images_per_request, max_side
        As in `DirectClassifier`. With `shortlist` only demonstrations of listed labels are shown.
    sampling_temperature, max_tokens, prompt_dir
        As in `DirectClassifier`.
    random_state : int, optional
        Seed of the choice and order of demonstrations, neutral names, label orders and ties; None
        is 0.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    support_ : ndarray of shape (n_support,), int
        Row numbers, in what was given to `fit`, of the images that may be shown; sorted.
    demonstrations_ : tuple of Demonstration
        What is shown, in order; with "nearest", what there is to choose from.
    label_key_ : LabelKey or None
        Which neutral name stands for which label.
    model_, confidence_, names_sent_, rotations_, calibration_, prior_, gamma_, correction_
        As in `DirectClassifier`.
    fit_cost_usd_, prompt_version_
        As in `DirectClassifier`.

    Notes
    -----
    Labelled images that cannot be read are replaced by the next of their class, or left out with
    a `SkippedImagesWarning`. Open-weight models were found not to gain from demonstrations (Jiang
    et al.): compare with `DirectClassifier` first.

    References
    ----------
    Jiang et al. (2024), Many-Shot In-Context Learning in Multimodal Foundation Models,
    arXiv:2405.09798. Castillo (2024), Classifying images with Gemini Flash 1.5 (neutral names).
    """

    def __init__(
        self,
        model: Asked,
        *,
        shots: int = 5,
        demonstrations: Sequence[tuple[Media, Any]] | None = None,
        anonymise: bool = False,
        selection: Selection = "balanced",
        labels: Sequence[Any] | Texts | None = None,
        descriptions: Texts | None = None,
        aliases: Texts | None = None,
        role: str = DEFAULT_ROLE,
        confidence: Confidence | None = "auto",
        n_samples: int = 1,
        rotations: int | Literal["all"] = 1,
        debias: Debias | None = None,
        null_images: Sequence[Media] | Literal["default"] = "default",
        calibrate: bool | Literal["auto"] = False,
        n_calibration: int | None = None,
        abstain_below: float | None = None,
        shortlist: int | Literal["two-step"] | None = None,
        encoder: str | Encoder = "mini",
        store: Store = "default",
        images_per_request: int | Literal["auto"] = "auto",
        max_side: int | None = 768,
        sampling_temperature: float | Literal["auto"] | None = "auto",
        max_tokens: int | Literal["auto"] | None = "auto",
        prompt_dir: str | os.PathLike[str] | None = None,
        random_state: int | None = None,
    ) -> None:
        super().__init__(
            model,
            labels=labels,
            descriptions=descriptions,
            aliases=aliases,
            role=role,
            confidence=confidence,
            n_samples=n_samples,
            rotations=rotations,
            debias=debias,
            null_images=null_images,
            calibrate=calibrate,
            n_calibration=n_calibration,
            abstain_below=abstain_below,
            shortlist=shortlist,
            encoder=encoder,
            store=store,
            images_per_request=images_per_request,
            max_side=max_side,
            sampling_temperature=sampling_temperature,
            max_tokens=max_tokens,
            prompt_dir=prompt_dir,
            random_state=random_state,
        )
        self.shots = shots
        self.demonstrations = demonstrations
        self.anonymise = anonymise
        self.selection = selection

    @property
    def _anonymise(self) -> bool:  # type: ignore[override]
        return bool(self.anonymise)

    def explained_by(self) -> tuple[str, ...]:
        """Names of the parts besides "chances" that explain answers; see `explain`."""
        return ("examples", "demonstrations")

    def fit(self, X: Sequence[Media] | None = None, y: Any = None) -> Self:
        """Choose what to show; with `calibrate`, ask about the rest.

        Parameters
        ----------
        X : sequence of Media, optional
            Labelled images; needed unless `demonstrations` are given.
        y : array-like of shape (n_samples,), optional
            Their labels.

        Raises
        ------
        InputError
            If y does not fit X or the label set, a class has no usable image, or an argument is
            none of the allowed ones.
        """
        learn(self, *self._prepare(X, y))
        return self

    def _prepare(
        self, X: Sequence[Media] | None, y: Any
    ) -> tuple[Sequence[Media], NDArray[np.intp], NDArray[np.intp]]:
        one_of("selection", self.selection, _SELECTIONS)
        shots = self.shots
        whole(0, shots=shots)
        flag(anonymise=self.anonymise)
        pairs = None if self.demonstrations is None else _pairs(self.demonstrations)
        labels_of = y
        if pairs is not None and y is None and self.labels is None:
            labels_of, X = [label for _, label in pairs], None
        elif X is None and pairs is None and y is None and shots > 0:
            raise InputError(
                "Show what? Give labelled images, `fit(X, y)`, or `demonstrations=[(image, label), "
                "...]`; with `shots=0` nothing is shown."
            )
        _, images, codes = self._fit_words(X, labels_of)
        self._pool: NDArray[np.float32] | None = None
        if pairs is not None:
            shown = self._from_pairs(pairs)
            self.support_ = np.zeros(0, np.intp)
        else:
            shown = self._from_rows(images, codes)
        self.demonstrations_ = self._shuffled(shown, 0)
        if self.selection == "nearest" and pairs is None and shots > 0:
            self._embed_pool()
        rest = np.setdiff1d(np.arange(len(images)), self.support_)
        return images, codes, rest

    def _from_pairs(self, pairs: Sequence[tuple[Media, Any]]) -> list[Demonstration]:
        codes = codes_of(true_labels([label for _, label in pairs], None), self.classes_)
        n = len(pairs) + 1
        return [
            Demonstration(image=self._prepared(image, n), code=int(code))
            for (image, _), code in zip(pairs, codes, strict=True)
        ]

    def _from_rows(self, images: Sequence[Media], codes: NDArray[np.intp]) -> list[Demonstration]:
        """Take images in the order of choice; the next of the class stands in for a broken one."""
        n_classes, shots = len(self.classes_), int(self.shots)
        if shots == 0:
            self.support_ = np.zeros(0, np.intp)
            return []
        present = np.bincount(codes, minlength=n_classes)
        if (present == 0).any() and self.selection != "random":
            missing = ", ".join(str(c) for c in self.classes_[present == 0])
            raise InputError(f"Every label needs at least one image; without: {missing}.")
        order, most = self._order_of_choice(codes), shots
        if self.selection == "random":
            most = shots * n_classes
        n_shown = most * (1 if self.selection == "random" else n_classes) + 1
        taken: dict[int, list[tuple[int, ImagePart]]] = {}
        seen: set[tuple[int, str]] = set()
        broken: dict[int, MediaError] = {}
        for row in order.tolist():
            group = 0 if self.selection == "random" else int(codes[row])
            own = taken.setdefault(group, [])
            if self.selection != "nearest" and len(own) >= most:
                continue
            try:
                part = self._prepared(images[row], n_shown)
            except MediaError as error:
                broken[row] = error
                continue
            if (int(codes[row]), part.digest) not in seen:  # the same picture twice says no more
                seen.add((int(codes[row]), part.digest))
                own.append((row, part))
        chosen = [pair for own in taken.values() for pair in own]
        left = np.bincount([codes[row] for row, _ in chosen], minlength=n_classes)
        if broken:
            report_broken(
                images, broken, self.classes_, left, all_needed=self.selection != "random"
            )
        self.support_ = np.sort(np.array([row for row, _ in chosen], np.intp))
        return [Demonstration(image=part, code=int(codes[row])) for row, part in chosen]

    def _order_of_choice(self, codes: NDArray[np.intp]) -> NDArray[np.intp]:
        if self.selection == "random":
            return np.random.default_rng(self._seed % 2**63).permutation(len(codes))
        if self.selection == "nearest":
            return np.arange(len(codes))
        names = self.classes_.astype(np.str_)[codes]
        return support_rows(names, len(codes), seed=self._seed)

    def _prepared(self, image: Media, n_images: int) -> ImagePart:
        return prepare_image(
            read_media(image),
            max_side=self.max_side,
            capabilities=self._access().capabilities,
            n_images=n_images,
        )

    def _shuffled(self, shown: Sequence[Demonstration], view: int) -> tuple[Demonstration, ...]:
        """Demonstrations in the order of a repetition, mixed so that no class comes last."""
        order = np.random.default_rng([self._seed % 2**63, view, 1]).permutation(len(shown))
        return tuple(shown[i] for i in order)

    def _ordered(self, own: Sequence[Demonstration], view: int) -> tuple[Demonstration, ...]:
        """Mix for every repetition after the first; end with another class in every rotation."""
        sample, rotation = divmod(view, self.rotations_)
        mixed = self._shuffled(own, sample) if sample else own
        return ended_by_rotations(mixed, rotation, self.rotations_)

    def _embed_pool(self) -> None:
        encoder = load_encoder(self.encoder)
        parts = [d.image.data for d in self.demonstrations_]
        self._pool = embed_images(encoder, parts, store=self.store).rows()

    def _saved_arrays(self) -> dict[str, NDArray[Any]]:
        pool = {} if self._pool is None else {"pool": self._pool}
        return {"support": self.support_, **pool}

    def _restore_arrays(
        self, arrays: Mapping[str, NDArray[Any]], shown: tuple[Demonstration, ...]
    ) -> None:
        self.support_ = np.asarray(arrays["support"], np.intp)
        self._pool = arrays.get("pool")
        self.demonstrations_ = shown
        if self._pool is not None and len(self._pool) != len(shown):
            raise ValueError("embeddings and demonstrations do not fit")

    # What is shown

    def _one_by_one(self) -> bool:
        return self._pool is not None and self.images_per_request == "auto"

    def _usual_demonstrations(self, most_labels: int | None) -> Sequence[Demonstration]:
        counts: dict[int, int] = {}
        shown = []
        for d in self.demonstrations_:
            counts[d.code] = counts.get(d.code, 0) + 1
            if self._pool is not None and counts[d.code] > int(self.shots):
                continue
            if most_labels is None or d.code in list(counts)[:most_labels]:
                shown.append(d)
        return shown

    def _demonstrations(
        self, images: Sequence[Media]
    ) -> Callable[[int, tuple[int, ...], Sequence[ImageState]], Sequence[Demonstration]]:
        if self._pool is not None:
            return self._nearest(images, self._pool)
        kept: dict[tuple[int, tuple[int, ...]], tuple[Demonstration, ...]] = {}

        def fixed(view: int, listed: tuple[int, ...], _items: Sequence[ImageState]) -> Any:
            key = view, tuple(sorted(listed))
            if key not in kept:
                if len(kept) > 64:
                    kept.clear()
                known = set(listed)
                own = [d for d in self.demonstrations_ if d.code in known]
                kept[key] = self._ordered(own, view)
            return kept[key]

        return fixed

    def _nearest(
        self, images: Sequence[Media], pool: NDArray[np.float32]
    ) -> Callable[[int, tuple[int, ...], Sequence[ImageState]], Sequence[Demonstration]]:
        """Of every listed class the images most alike to any of those asked about."""
        found = embed_images(load_encoder(self.encoder), images, store=self.store)
        rows = found.rows()
        codes = np.array([d.code for d in self.demonstrations_])

        def nearest(view: int, listed: tuple[int, ...], items: Sequence[ImageState]) -> Any:
            queries = np.nan_to_num(rows[[item.first_row for item in items]])
            alike = np.nan_to_num((queries @ pool.T).max(axis=0), nan=-2.0)
            chosen: list[int] = []
            for code in sorted(listed):
                own = np.flatnonzero(codes == code)
                chosen += own[np.argsort(-alike[own], kind="stable")[: int(self.shots)]].tolist()
            sample, rotation = divmod(view, self.rotations_)
            mixed = self._shuffled([self.demonstrations_[i] for i in sorted(chosen)], sample)
            return ended_by_rotations(mixed, rotation, self.rotations_)

        return nearest

    def _label_prototypes(self, encoder: Encoder) -> NDArray[np.float32]:
        """Short-list by what the demonstrations look like, where every class has one."""
        codes = np.array([d.code for d in self.demonstrations_], np.intp)
        if len(np.unique(codes)) < len(self.classes_):
            return super()._label_prototypes(encoder)
        parts = [d.image.data for d in self.demonstrations_]
        found = embed_images(encoder, parts, store=self.store)
        return class_means(
            found.embeddings[found.distinct[found.ok]], codes[found.ok], len(self.classes_)
        )


def _pairs(demonstrations: Sequence[tuple[Media, Any]]) -> list[tuple[Media, Any]]:
    pairs = list(demonstrations)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(
                f"`demonstrations` are pairs (image, label); got {type(pair).__name__} {pair!r:.80}"
            )
    if not pairs:
        raise InputError("`demonstrations` is empty; leave it None, or set `shots=0`.")
    return [(image, label) for image, label in pairs]
