"""ZeroShotClassifier: label names and descriptions are all it needs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from showtell.classify.base import read_given, say_limits_once, say_once
from showtell.classify.capabilities import PictureScorer
from showtell.classify.embedding.prompted import PromptedClassifier
from showtell.classify.embedding.prototypes import cosines, text_prototypes
from showtell.classify.embedding.transductive import adapt, balance
from showtell.classify.labels import Texts
from showtell.encoders import Embeddings, Encoder, load_encoder
from showtell.encoders.embed import Store
from showtell.errors import InputError, UnknownNameError
from showtell.media import Media

if TYPE_CHECKING:
    from showtell.classify.embedding.few_shot import FewShotClassifier

TransductiveMode = Literal["balance", "adapt"]
_MODES = ("balance", "adapt")


class ZeroShotClassifier(PromptedClassifier):
    r"""Classify images by the nearest label prototype; no labelled image is needed.

    The prototype of a label is the mean direction of the embeddings of its prompts (see
    `label_prototypes`). With an image embedding ``x``, prototypes ``w_c`` and the encoder's
    scale ``s`` and bias ``b``:

    ``logit_c = (s * cos(x, w_c) + b) / T``, ``p = softmax(logits)`` (CLIP) or
    ``p_c = sigmoid(logit_c)`` (SigLIP); ``T`` is 1 unless calibrated.

    Parameters
    ----------
    encoder : str or Encoder, default="mini"
        A name that `load_encoder` takes, or an object. Objects are shared by ``clone``, never
        copied.
    labels : sequence of str, mapping of label to description(s), or None
        The label set; its order is that of ``classes_`` and of the columns of `predict_proba`.
        None takes the labels of `y` in `fit`, sorted. (scikit-learn's own log-loss and ROC
        scorers expect sorted columns: with them, give labels in sorted order.)
    templates : str, sequence of str or None, default="default"
        Name of a template set or templates with ``{label}``; several are averaged in embedding
        space. None: descriptions alone count.
    descriptions : mapping of label to str or sequence of str, optional
        Sentences on how a class looks, as further prompts; see `label_prototypes` for weights.
    aliases : mapping of label to str or sequence of str, optional
        Other names for the same class, averaged into its prototype.
    abstain_below : float, optional
        Give no label where the best probability is lower. `predict` returns "" there, which
        counts as wrong in scikit-learn's scores.
    transductive : {"balance", "adapt"} or None, default=None
        Use the other images of the same call. Both look at the distinct images, so duplicates
        change nothing, and both make an answer depend on what else is asked: give the whole batch
        in one call (one image alone is classified plainly; fewer images than labels bring a
        `LimitsWarning`).

        - ``"balance"``: scale the scores until every label gets the same share of the batch
          (`showtell.classify.balance`). Right when classes are about even, wrong when not.
        - ``"adapt"``: move the prototypes to where the images are (`showtell.classify.adapt`).
          Needs about 100 images or more; amplifies what zero-shot gets right and wrong.
    probability : {"encoder", "softmax", "sigmoid"}, default="encoder"
        ``"encoder"`` is what its family was trained for. Sigmoid rows do not sum to 1: an image
        may show none of the labels. With `transductive`, always softmax.
    calibrate : bool or "auto", default="auto"
        Fit the temperature ``T`` on the images and labels given to `fit`. It changes
        confidences, never labels. True needs X and y; "auto" does it when `fit` gets at least 20
        usable labelled images; False never looks at X.
    store : EmbeddingStore, path, "default" or None, default="default"
        Where embeddings are kept.
    random_state : int, optional
        Nothing here is random; taken so that all classifiers can be given the same arguments.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The label set.
    prototypes_ : ndarray of shape (n_classes, n_dims), float32
        One unit row per label.
    prompts_ : dict of str to list of str
        What was embedded for each label.
    temperature_ : float
        1.0 unless calibrated.
    calibrated_ : bool
        Whether labelled images set the temperature.
    probability_ : {"softmax", "sigmoid"}
        The rule in use.
    encoder_fingerprint_ : str
        Of the encoder that made the prototypes.

    See Also
    --------
    FewShotClassifier : A few labelled images a class do much better.

    Notes
    -----
    The first `fit` in a process with an encoder that has known limits issues a `LimitsWarning`.

    References
    ----------
    Radford et al. (2021), Learning Transferable Visual Models From Natural Language Supervision,
    arXiv:2103.00020. Zhai et al. (2023), Sigmoid Loss for Language Image Pre-Training,
    arXiv:2303.15343. Guo et al. (2017), On Calibration of Modern Neural Networks,
    arXiv:1706.04599.

    Examples
    --------
    >>> from showtell.testing import WordEncoder
    >>> clf = ZeroShotClassifier(WordEncoder(["cat", "dog", "grass"]), labels=["cat", "dog"]).fit()
    >>> clf.predict(["a dog on grass", "my cat"])
    array(['dog', 'cat'], dtype='<U3')
    >>> clf.predict_proba(["a dog, a cat and another dog"]).round(2)
    array([[0.01, 0.99]], dtype=float32)
    """

    def __init__(
        self,
        encoder: str | Encoder = "mini",
        *,
        labels: Sequence[Any] | Texts | None = None,
        templates: str | Sequence[str] | None = "default",
        descriptions: Texts | None = None,
        aliases: Texts | None = None,
        abstain_below: float | None = None,
        transductive: TransductiveMode | None = None,
        probability: Literal["encoder", "softmax", "sigmoid"] = "encoder",
        calibrate: bool | Literal["auto"] = "auto",
        store: Store = "default",
        random_state: int | None = None,
    ) -> None:
        self.encoder = encoder
        self.labels = labels
        self.templates = templates
        self.descriptions = descriptions
        self.aliases = aliases
        self.abstain_below = abstain_below
        self.transductive = transductive
        self.probability = probability
        self.calibrate = calibrate
        self.store = store
        self.random_state = random_state

    def fit(self, X: Sequence[Media] | None = None, y: Any = None) -> Self:
        """Embed the labels; with labelled images, take labels from them and calibrate.

        Parameters
        ----------
        X : sequence of Media, optional
            Only looked at to calibrate; see `calibrate`.
        y : array-like of shape (n_samples,), optional
            Gives the label set where `labels` is None.

        Raises
        ------
        InputError
            If there are no labels, y does not fit X or the label set, or an argument is none of
            the allowed ones.
        """
        self._check_arguments()
        images, words, codes = read_given(
            X, y, self.labels, descriptions=self.descriptions, aliases=self.aliases
        )
        encoder = load_encoder(self.encoder)
        self.classes_ = words.classes
        self._check_abstain_below()
        self.prototypes_, prompts = text_prototypes(
            encoder, words.names, words.descriptions, self.templates, self.store
        )
        self.prompts_ = {str(c): p for c, p in zip(words.classes.tolist(), prompts, strict=True)}
        self._take_scale(encoder)
        if self.transductive is not None:
            self.probability_ = "softmax"
        say_limits_once(encoder)
        self._calibrate(encoder, images, codes)
        return self

    def _check_arguments(self) -> None:
        if self.transductive is not None and self.transductive not in _MODES:
            raise UnknownNameError("transductive mode", str(self.transductive), [*_MODES, "None"])
        self._check_rules()

    def picture_scorer(self) -> PictureScorer:
        """As of every classifier with an encoder: what a whole batch says is left out."""
        alone = copy.copy(self)
        alone.transductive = None
        return super(ZeroShotClassifier, alone).picture_scorer()

    def learner(self) -> FewShotClassifier:
        """Make an unfitted classifier with the same words and encoder that learns from images.

        Raises
        ------
        InputError
            If `transductive` is set.
        """
        from showtell.classify.embedding.few_shot import FewShotClassifier  # zero-shot needs none

        if self.transductive is not None:
            raise InputError(
                f"transductive={self.transductive!r} has no meaning with labelled images; leave it "
                "out.",
                param="transductive",
            )
        shared = FewShotClassifier().get_params(deep=False)
        given = self.get_params(deep=False)
        return FewShotClassifier(**{k: v for k, v in given.items() if k in shared})

    @property
    def note(self) -> str:
        """What to know before trusting zero-shot results of its encoder; "" if nothing."""
        return str(getattr(load_encoder(self.encoder), "zero_shot_note", ""))

    def _logits(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """Logits of distinct images before the temperature, shape (n, n_classes)."""
        if self.transductive is not None and 0 < len(embeddings) < max(2, len(self.classes_)):
            say_once(
                f"transductive {self.transductive}",
                f"transductive={self.transductive!r} looks at all images of a call, and "
                f"{len(embeddings)} different ones for {len(self.classes_)} labels say little. "
                "Classify the whole batch in one call, or set transductive=None.",
            )
        if self.transductive is not None and len(embeddings) > 1:
            if self.transductive == "balance":
                shares = balance(cosines(embeddings, self.prototypes_))
                return np.log(np.maximum(shares, 1e-30)).astype(np.float32)
            scores = adapt(embeddings, self.prototypes_)
        else:
            scores = cosines(embeddings, self.prototypes_)
        return self._scaled(scores)
