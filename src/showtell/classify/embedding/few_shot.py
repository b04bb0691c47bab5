"""FewShotClassifier: learn from a few labelled images per class, helped by the label's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.checks import flag, one_of
from showtell.classify.base import read_labelled, say_limits_once
from showtell.classify.embedding.heads import (
    HeldOut,
    LinearHead,
    Support,
    choose,
    held_out,
    linear_head,
    prototype_head,
)
from showtell.classify.embedding.prototypes import cosines, text_prototypes
from showtell.classify.embedding.support import SupportClassifier
from showtell.classify.embedding.tip_adapter import cache_votes, search_tip_adapter
from showtell.classify.labels import LabelWords, Texts
from showtell.classify.probability import probabilities, smoothed_temperature
from showtell.encoders import Embeddings, Encoder, load_encoder
from showtell.encoders.embed import Store
from showtell.errors import InputError, UnknownNameError
from showtell.media import Media

FewShotMethod: TypeAlias = Literal["auto", "prototype", "tip-adapter", "linear"]
_METHODS = ("auto", "prototype", "tip-adapter", "linear")
_LINEAR_FROM = 5  # shots
_RULE = 0.5  # text weight of prototypes: _RULE / shots
_RULE_STEPS = (0.0, 0.25, 0.5, 2.0, 4.0, 8.0)  # multiples of the rule that are tried
_LINEAR_TEXT = (0.1, 0.25, 0.5, 1.0, 2.0)
_LINEAR_CS = (1.0, 10.0, 1000.0)  # tried besides 100
_PROTOTYPE_FOLDS, _LINEAR_FOLDS = 20, 5
_TIP_BETA = 5.5
_TIP_BETAS = np.geomspace(0.5, 50, 8)
_TIP_ALPHAS = np.geomspace(0.01, 1e4, 13)  # in units of the encoder's logit scale


class FewShotClassifier(SupportClassifier):
    r"""Classify images after seeing a few labelled ones per class (the support).

    Parameters
    ----------
    encoder : str or Encoder, default="mini"
        A name that `load_encoder` takes, or an object. Objects are shared by ``clone``, never
        copied.
    shots : int, optional
        Use this many images per class of those given to `fit`, drawn by `random_state`; the
        images of fewer shots are among those of more. Classes that have fewer give what they
        have. None uses all. 0 uses none: zero-shot with the labels of `y`.
    method : {"auto", "prototype", "tip-adapter", "linear"}, default="auto"
        - ``"prototype"``: nearest class mean (Snell et al.). Works from one shot.
        - ``"tip-adapter"``: zero-shot logits plus votes of a cache of the support (Zhang et al.).
        - ``"linear"``: logistic regression on the embeddings; needs about five shots.
        - ``"auto"``: "linear" where the median class has at least 5 images, else "prototype".
    labels : sequence of label, mapping of label to description(s), or None
        The label set and its order; None: the labels of `y`, sorted. Every label needs an image.
    templates, descriptions, aliases
        Words of the labels for the text side, as in `ZeroShotClassifier`.
    text_weight : float, "auto" or None, default="auto"
        How much the label prototypes made of text count beside the images; 0 or None: not at all,
        and no text is encoded.

        - prototype: ``cos(x', p_c) + text_weight * cos(x, q_c)``, with ``x'`` the centred
          embedding, image prototypes ``p`` and text prototypes ``q``. "auto" starts at the rule
          ``0.5 / shots`` and leaves it only for a multiple (0 to 8 times) that is better by more
          than one standard error on held-out support images. With one shot nothing can be held
          out: the rule stands.
        - linear: added to the log-odds as ``text_weight * logit_scale * cos(x, q_c)``; "auto"
          is 0 unless one of 0.1 to 2 is better by more than two standard errors.
        - tip-adapter: factor of the zero-shot logits; "auto" is 1.

        "auto" uses no text for labels that are not words (integers without `aliases` or
        `descriptions`).
    centre : bool, default=True
        prototype: subtract the mean of the classes' means, from support and queries alike, before
        scaling to length 1 (SimpleShot). Embeddings of one encoder share a direction that says
        nothing; with one or two shots this is worth about two points with ``"mini"``.
    C : float or "auto", default=100.0
        linear: inverse strength of the L2 penalty. "auto" tries 1, 10 and 1000 as well.
    alpha, beta : float or "auto", default="auto"
        tip-adapter: weight and sharpness of the cache. "auto" searches both by leaving each
        support image out of its own cache. `alpha` multiplies the mean vote of a class, so it
        means the same for any number of shots: ``K * alpha`` of the paper for K shots. With one
        shot: beta 5.5 and alpha ``logit_scale / 100``.
    calibrate : bool or "auto", default="auto"
        Fit a temperature on held-out support images (cross-validation within the support).
        "auto" does so where at least half of the classes have two images; else the encoder's
        zero-shot scale is used as it is, and confidences are not to be trusted. True insists.
    abstain_below : float, optional
        Give no label where the best probability is lower.
    store : EmbeddingStore, path, "default" or None, default="default"
        Where embeddings are kept.
    random_state : int, optional
        Seed of the draw of `shots`; None is 0. Nothing else is random.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    support_ : ndarray of shape (n_support,), int
        Row numbers, in what was given to `fit`, of the images that were learned from; sorted.
    n_support_ : int
        How many those are.
    method_ : {"zero-shot", "prototype", "tip-adapter", "linear"}
    text_weight_ : float
        In use; 0.0 for none.
    temperature_ : float
    calibrated_ : bool
        Whether held-out images set the temperature.
    head_ : LinearHead or None
        Weights of prototype and linear.
    text_prototypes_ : ndarray of shape (n_classes, n_dims), float32, or None
    C_, alpha_, beta_ : float or None
        In use.
    encoder_fingerprint_ : str

    Notes
    -----
    Probabilities are ``softmax(logits / temperature_)``, also with encoders whose zero-shot rule
    is a sigmoid. Images that cannot be read are replaced by the next of their class where
    `shots` leaves some, otherwise left out with a `SkippedImagesWarning` that names them; a class
    without any usable image is an error. The same picture given twice with one label counts once.
    The order of the images does not matter, but for which ones `shots` draws.

    References
    ----------
    Snell, Swersky, Zemel (2017), Prototypical Networks for Few-shot Learning, arXiv:1703.05175.
    Zhang et al. (2022), Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification,
    arXiv:2207.09519. Radford et al. (2021), arXiv:2103.00020 (linear probe). Wang et al. (2019),
    SimpleShot, arXiv:1911.04623 (centring).

    Examples
    --------
    >>> from showtell.testing import WordEncoder
    >>> encoder = WordEncoder(["stripes", "spots", "grass", "sky"])
    >>> X = ["stripes on grass", "stripes and sky", "spots on grass", "spots and sky"]
    >>> clf = FewShotClassifier(encoder, text_weight=None).fit(X, ["tiger", "tiger", "cow", "cow"])
    >>> clf.predict(["two spots", "stripes"])
    array(['cow', 'tiger'], dtype='<U5')
    >>> clf.method_, clf.support_
    ('prototype', array([0, 1, 2, 3]))
    """

    def __init__(
        self,
        encoder: str | Encoder = "mini",
        *,
        shots: int | None = None,
        method: FewShotMethod = "auto",
        labels: Sequence[Any] | Texts | None = None,
        templates: str | Sequence[str] | None = "default",
        descriptions: Texts | None = None,
        aliases: Texts | None = None,
        text_weight: float | Literal["auto"] | None = "auto",
        centre: bool = True,
        C: float | Literal["auto"] = 100.0,
        alpha: float | Literal["auto"] = "auto",
        beta: float | Literal["auto"] = "auto",
        calibrate: bool | Literal["auto"] = "auto",
        abstain_below: float | None = None,
        store: Store = "default",
        random_state: int | None = None,
    ) -> None:
        self.encoder = encoder
        self.shots = shots
        self.method = method
        self.labels = labels
        self.templates = templates
        self.descriptions = descriptions
        self.aliases = aliases
        self.text_weight = text_weight
        self.centre = centre
        self.C = C
        self.alpha = alpha
        self.beta = beta
        self.calibrate = calibrate
        self.abstain_below = abstain_below
        self.store = store
        self.random_state = random_state

    def fit(self, X: Sequence[Media], y: Any) -> Self:
        """Learn from labelled images.

        Parameters
        ----------
        X : sequence of Media, length n_samples
        y : array-like of shape (n_samples,)
            Labels: text, integers or booleans.

        Raises
        ------
        InputError
            If y does not fit X or the label set, a class is left without a usable image, or an
            argument is none of the allowed ones.
        """
        self._check_arguments()
        images, words, codes = read_labelled(
            X, y, self.labels, descriptions=self.descriptions, aliases=self.aliases
        )
        encoder = load_encoder(self.encoder)
        self.classes_ = words.classes
        self._check_abstain_below()
        self.encoder_fingerprint_ = encoder.fingerprint
        self.logit_scale_ = float(encoder.logit_scale)
        self.temperature_, self.calibrated_ = 1.0, False
        self.head_: LinearHead | None = None
        self.text_prototypes_: Embeddings | None = None
        self.C_: float | None = None
        self.alpha_: float | None = None
        self.beta_: float | None = None
        if self.shots == 0:
            self._fit_without_images(encoder, words)
        else:
            support = self._take_support(encoder, images, codes)
            self._fit_support(encoder, words, support)
        return self

    def _check_arguments(self) -> None:
        one_of("few-shot method", self.method, _METHODS)
        self._check_draw()
        if self.text_weight is not None:
            _check_number("text_weight", self.text_weight, positive=False)
        _check_number("C", self.C, positive=True)
        _check_number("alpha", self.alpha, positive=False)
        _check_number("beta", self.beta, positive=False)
        flag(also=["auto"], calibrate=self.calibrate)

    def _fit_without_images(self, encoder: Encoder, words: LabelWords) -> None:
        """No shots: the label's words are all there is."""
        if not self.text_weight:
            raise InputError("Without shots and without text (`text_weight`) nothing is known.")
        if self.calibrate is True:
            raise InputError("`calibrate=True` needs labelled images, and `shots` is 0.")
        say_limits_once(encoder)
        self._remember(np.zeros(0, np.intp))
        self.method_: str = "zero-shot"
        self.text_weight_ = 1.0
        self._embed_words(encoder, words)

    def _embed_words(self, encoder: Encoder, words: LabelWords) -> None:
        self.text_prototypes_, _ = text_prototypes(
            encoder, words.names, words.descriptions, self.templates, self.store
        )

    def _fit_support(self, encoder: Encoder, words: LabelWords, support: Support) -> None:
        """Fit the head; then blend with text and calibrate, both on held-out rows."""
        method = self.method
        if method == "auto":
            method = "linear" if np.median(support.shots) >= _LINEAR_FROM else "prototype"
        if method == "linear" and support.n_classes == 1:
            method = "prototype"  # nothing to separate
        self.method_ = method
        weight = self.text_weight
        if weight == "auto" and _wordless(words):
            weight = None
        if weight:
            self._embed_words(encoder, words)
        text = self._text_scores(support.embeddings)
        if method == "tip-adapter":
            self.text_weight_ = 1.0 if weight == "auto" else float(weight or 0)
            self._keys, self._key_codes = support.embeddings, support.codes
            rows, logits = self._fit_tip_adapter(support, text)
        else:
            rows, logits = self._fit_linear_scores(support, text, weight)
        self._calibrate(support, rows, logits)

    def _fit_linear_scores(
        self, support: Support, text: NDArray[np.float32], weight: float | str | None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Fit prototypes or a linear probe; return held-out rows and their logits."""
        image, default, steps, held = self._held_out(support, weight)
        if weight == "auto":
            self.text_weight_ = choose(
                lambda w: image * held.scores + w * text[held.rows],
                support.codes[held.rows],
                default=default,
                candidates=steps,
                n_errors=1.0 if self.method_ == "prototype" else 2.0,
            )
        else:
            self.text_weight_ = float(weight or 0)
        return held.rows, image * held.scores + self.text_weight_ * text[held.rows]

    def _held_out(
        self, support: Support, weight: float | str | None
    ) -> tuple[float, float, Sequence[float], HeldOut]:
        """Set the head; return its factor, the text weight to start from, others, held-out rows."""
        curious = weight == "auto" or self.calibrate is not False
        nothing = HeldOut(
            rows=np.zeros(0, np.intp), scores=np.zeros((0, support.n_classes), np.float32)
        )
        if self.method_ == "prototype":
            fit = partial(prototype_head, centre=self.centre)
            self.head_ = fit(support)
            held = held_out(support, fit, max_folds=_PROTOTYPE_FOLDS) if curious else nothing
            rule = _RULE * support.n_classes / len(support)
            return self.logit_scale_, rule, [rule * step for step in _RULE_STEPS], held
        self.C_ = 100.0 if self.C == "auto" else float(self.C)
        if curious or self.C == "auto":
            held = held_out(support, partial(linear_head, C=self.C_), max_folds=_LINEAR_FOLDS)
        else:
            held = nothing
        if self.C == "auto" and len(held.rows):
            trials = {
                c: held_out(support, partial(linear_head, C=c), max_folds=_LINEAR_FOLDS)
                for c in _LINEAR_CS
            }
            trials[self.C_] = held
            self.C_ = choose(
                lambda c: trials[c].scores,
                support.codes[held.rows],
                default=self.C_,
                candidates=_LINEAR_CS,
            )
            held = trials[self.C_]
        self.head_ = linear_head(support, C=self.C_)
        return 1.0, 0.0, _LINEAR_TEXT, held

    def _fit_tip_adapter(
        self, support: Support, text: NDArray[np.float32]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Choose alpha and beta; return left-out rows and their logits."""
        scale = self.logit_scale_
        free = self.alpha == "auto" or self.beta == "auto"
        if free and support.shots.max() == 1:
            alphas, betas = np.array([scale / 100]), np.array([_TIP_BETA])
        else:
            alphas, betas = _TIP_ALPHAS * scale, _TIP_BETAS
            if self.text_weight_ == 0:
                alphas = np.array([scale])  # nothing to weigh against: the temperature does it
        if self.alpha != "auto":
            alphas = np.array([float(self.alpha)])
        if self.beta != "auto":
            betas = np.array([float(self.beta)])
        choice = search_tip_adapter(
            support.embeddings,
            support.codes,
            support.distinct,
            self.text_weight_ * text,
            alphas=alphas,
            betas=betas,
        )
        self.alpha_, self.beta_ = choice.alpha, choice.beta
        return choice.rows, choice.logits

    def _calibrate(
        self, support: Support, rows: NDArray[np.intp], logits: NDArray[np.float32]
    ) -> None:
        """Fit the temperature on held-out rows, where enough classes have some."""
        codes = support.codes[rows]
        enough = 2 * len(np.unique(codes)) >= support.n_classes and len(rows) > 0
        if self.calibrate is True and not len(rows):
            raise InputError(
                "`calibrate=True` needs at least two different images of a class, to hold one "
                "out. Give more images or set `calibrate=False`."
            )
        if self.calibrate is True or (self.calibrate == "auto" and enough):
            self.temperature_ = smoothed_temperature(logits, codes)
            self.calibrated_ = True

    def _text_scores(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """Zero-shot logits without bias, shape (n, n_classes); 0 without text."""
        if self.text_prototypes_ is None:
            return np.zeros((len(embeddings), len(self.classes_)), np.float32)
        return np.float32(self.logit_scale_) * cosines(embeddings, self.text_prototypes_)

    def _logits(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """Logits before the temperature, shape (n, n_classes)."""
        logits = np.float32(self.text_weight_) * self._text_scores(embeddings)
        if self.method_ == "tip-adapter":
            assert self.alpha_ is not None
            assert self.beta_ is not None
            votes = cache_votes(
                embeddings, self._keys, self._key_codes, len(self.classes_), beta=self.beta_
            )
            logits = logits + np.float32(self.alpha_) * votes
        elif self.head_ is not None:
            scale = self.logit_scale_ if self.method_ == "prototype" else 1.0
            logits = logits + np.float32(scale) * self.head_.scores(embeddings)
        return logits

    def _score(self, embeddings: Embeddings) -> tuple[NDArray[Any], NDArray[np.float32]]:
        logits = self._logits(embeddings)
        return logits, probabilities(logits / self.temperature_, "softmax")

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        values = {
            "method": self.method_,
            "text_weight": self.text_weight_,
            "temperature": self.temperature_,
            "calibrated": self.calibrated_,
            "logit_scale": self.logit_scale_,
            "C": self.C_,
            "alpha": self.alpha_,
            "beta": self.beta_,
            "has_text": self.text_prototypes_ is not None,
            "has_centre": self.head_ is not None and self.head_.centre is not None,
        }
        arrays: dict[str, NDArray[Any]] = {"support": self.support_.astype(np.int64)}
        if self.text_prototypes_ is not None:
            arrays["text_prototypes"] = self.text_prototypes_
        if self.head_ is not None:
            arrays["weights"], arrays["bias"] = self.head_.weights, self.head_.bias
            if self.head_.centre is not None:
                arrays["centre"] = self.head_.centre
        if self.method_ == "tip-adapter":
            arrays["keys"] = self._keys
            arrays["key_codes"] = self._key_codes.astype(np.int64)
        return values, arrays

    def _saved_shapes(
        self, values: Mapping[str, Any], n_classes: int, n_dims: int
    ) -> dict[str, tuple[int | None, ...]]:
        if values["method"] not in (*_METHODS[1:], "zero-shot"):
            raise UnknownNameError("few-shot method", str(values["method"]), _METHODS[1:])
        shapes: dict[str, tuple[int | None, ...]] = {"support": (None,)}
        if values["has_text"]:
            shapes["text_prototypes"] = (n_classes, n_dims)
        if values["method"] in ("prototype", "linear"):
            shapes.update(weights=(n_classes, n_dims), bias=(n_classes,))
            if values["has_centre"]:
                shapes["centre"] = (n_dims,)
        elif values["method"] == "tip-adapter":
            shapes.update(keys=(None, n_dims), key_codes=(None,))
        return shapes

    def _restore_state(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.method_ = values["method"]
        self.text_weight_ = float(values["text_weight"])
        self.temperature_ = float(values["temperature"])
        self.calibrated_ = bool(values["calibrated"])
        self.logit_scale_ = float(values["logit_scale"])
        found = (values[name] for name in ("C", "alpha", "beta"))
        self.C_, self.alpha_, self.beta_ = (None if v is None else float(v) for v in found)
        self._remember(np.asarray(arrays["support"], np.intp))
        self.text_prototypes_ = arrays.get("text_prototypes")
        self.head_ = None
        if "weights" in arrays:
            self.head_ = LinearHead(
                weights=arrays["weights"], bias=arrays["bias"], centre=arrays.get("centre")
            )
        if self.method_ == "tip-adapter":
            if self.alpha_ is None or self.beta_ is None:
                raise InputError("a Tip-Adapter needs both alpha and beta.")
            codes = np.asarray(arrays["key_codes"], np.intp)
            n_classes = len(self.classes_)
            if len(codes) != len(arrays["keys"]) or not np.all((codes >= 0) & (codes < n_classes)):
                raise InputError("the classes of the cache do not fit its keys.")
            self._keys, self._key_codes = arrays["keys"], codes


def _wordless(words: LabelWords) -> bool:
    """Whether labels are numbers that nobody gave words for."""
    return (
        words.classes.dtype.kind != "U"
        and not any(words.descriptions)
        and all(
            names == (str(label),)
            for names, label in zip(words.names, words.classes.tolist(), strict=True)
        )
    )


def _check_number(name: str, value: float | str, *, positive: bool) -> None:
    if value == "auto":
        return
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not np.isfinite(value) or value < 0 or (positive and value == 0):  # type: ignore[operator]
        least = "above 0" if positive else "of 0 or more"
        raise InputError(f"`{name}` is a number {least}, or 'auto'; got {value!r}.")
