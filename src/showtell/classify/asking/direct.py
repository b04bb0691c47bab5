"""DirectClassifier: ask a multimodal LLM for the label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from showtell.classify.asking.classifier import MLLMClassifier
from showtell.classify.asking.learning import learn
from showtell.media import Media


class DirectClassifier(MLLMClassifier):
    r"""Classify images by asking a multimodal LLM which of the labels fits; nothing is shown.

    Several images go into one request, each with an id before and after it; answers are joined to
    images by id. What is missing, contradictory or no label is asked about again (twice at most,
    and only that), failing requests are halved, and what stays open is a row that says why.

    Parameters
    ----------
    model : str, MLLM or Model
        ``"provider:name"``, for example ``"openai:gpt-4.1-mini"`` (key from the environment), an
        object, or a `showtell.Model` of either, which also says where it is reached, what it may
        cost, and where a run is kept.
    labels : sequence of label, mapping of label to description(s), or None
        The label set and its order; None takes the labels of `y` in `fit`, sorted.
    descriptions : mapping of label to str or sequence of str, optional
        How classes look, written beside the labels.
    aliases : mapping of label to str or sequence of str, optional
        Other names that an answer may use.
    role : str
        Who the model is asked to be: ``"an entomologist"``.
    confidence : {"auto", "verbalised", "logprobs", "votes", "decisions"} or None, default="auto"
        - ``"verbalised"``: the model says 0 to 10 after the label. Free; overconfident.
        - ``"logprobs"``: from the probabilities of the label's tokens, where the provider tells
          them. One image per request.
        - ``"votes"``: share of the answers of `n_samples` repetitions and `rotations`.
        - ``"decisions"``: the probabilities of a provider's classification endpoint, one image
          per request; label sets beyond its limit in rounds.
        - ``"auto"``: decisions where the model is such an endpoint, votes where `n_samples` or
          `rotations` is above 1, else verbalised.
        - None: none is asked for, and there are no probabilities.
    n_samples : int, default=1
        Repetitions of every question, with the labels in another order each time. Costs so many
        times as much. Without votes their probabilities are averaged.
    rotations : int or "all", default=1
        Ask about every image with so many cyclic shifts of the list of labels, spread evenly, and
        put the answers together: by the geometric mean where there are probabilities (log-
        probabilities, decisions), else by votes, or by the mean of stated confidences. As many as
        there are labels, "all", cancel a preference for places exactly. Demonstrations are
        shifted too, so that each class is shown last in turn, and neutral names move to other
        labels. Costs so many times as much; temperature stays 0. More than a question lists
        labels are not asked.
    debias : {"contextual", "batch"} or None, default=None
        Divide the prior of the prompt out of the probabilities, before confidences are
        calibrated. It needs probabilities of all labels (log-probabilities, decisions), or
        frequencies over `rotations` or `n_samples`; frequencies move an answer only to a label
        that was named about that image.

        - ``"contextual"``: what the model says, in `fit`, about pictures that show nothing, with
          the same demonstrations and instructions.
        - ``"batch"``: the mean over all images of a call, which should be 10 or more for each
          label, with labels about even: where one label really is most frequent, that is undone
          too. With `calibrate`, the mean over the labelled images, and the strength that makes
          them right most often.
    null_images : sequence of Media or "default", default="default"
        Pictures that show nothing, for ``debias="contextual"``. "default": grey, noise, blurred
        noise, and where `fit` has images their mean and two of them blurred.
    calibrate : bool or "auto", default=False
        Ask about the labelled images given to `fit` and learn how often answers of a confidence
        are right. This costs money, so it is never done unasked; "auto" does where there are 20.
        With 40 answers or more: isotonic regression over bins of 20; from 10: Platt; see
        `ConfidenceMap`.
    n_calibration : int, optional
        Ask about so many of these images at most, drawn at random.
    abstain_below : float, optional
        Give no label where the confidence is lower. `predict` returns "" there.
    shortlist : int, "two-step" or None, default=None
        For large label sets. A number: list only the so many labels that `encoder` finds
        likeliest for an image. ``"two-step"``: ask for the best of each group of labels, then
        for the best of those. None lists all; more than a provider's schema takes are listed in
        the text alone.
    encoder, store
        For `shortlist`, as in `ZeroShotClassifier`.
    images_per_request : int or "auto", default="auto"
        Images per request; "auto" plans it from limits and price (`plan_batches`).
    max_side : int or None, default=768
        Pixels of the longer side of what is sent; None sends what the provider can use.
    sampling_temperature : float, "auto" or None, default="auto"
        "auto" is 0, with repetitions 0.7; None leaves it to the provider.
    max_tokens : int, "auto" or None, default="auto"
        Longest answer.
    prompt_dir : path, optional
        Edited prompts; `showtell.prompts.copy_prompts` writes those to start from.
    random_state : int, optional
        Seed of label orders and ties; None is 0.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The label set.
    model_ : str
    confidence_ : str or None
        The kind in use.
    names_sent_ : tuple of str
        How labels are written in requests.
    rotations_ : int
        Shifts of the list that are asked with.
    calibration_ : ConfidenceMap
    prior_ : ndarray of shape (n_classes,) or None
        What probabilities are divided by; None where nothing is, or where each call has its own.
    gamma_ : float
        Power of the prior.
    correction_ : str
        What is corrected by, in words; "" for nothing.
    fit_cost_usd_ : Decimal or None
        USD that `fit` spent on calibration and content-free pictures; None where unknown.
    prompt_version_ : str
        Name and hash of the prompts.

    See Also
    --------
    InContextClassifier : The same with labelled images in the prompt.

    References
    ----------
    Tian et al. (2023), Just Ask for Calibration, arXiv:2305.14975 (verbalised confidence). Wang et
    al. (2022), Self-Consistency Improves Chain of Thought Reasoning, arXiv:2203.11171 (votes).
    Zhao et al. (2021), Calibrate Before Use, arXiv:2102.09690 (contextual). Zhou et al. (2023),
    Batch Calibration, arXiv:2309.17249. Zheng et al. (2024), Large Language Models Are Not Robust
    Multiple Choice Selectors, arXiv:2309.03882 (permutations).
    """

    _needs_examples = False

    def fit(self, X: Sequence[Media] | None = None, y: Any = None) -> Self:
        """Fix the label set; ask about labelled or content-free images where that is wanted.

        Parameters
        ----------
        X, y : optional
            As in `ZeroShotClassifier.fit`, with the errors of that. Images are looked at to
            calibrate, and to make content-free pictures of for `debias`.
        """
        learn(self, *self._prepare(X, y))
        return self

    def _prepare(
        self, X: Sequence[Media] | None, y: Any
    ) -> tuple[Sequence[Media], NDArray[np.intp], NDArray[np.intp]]:
        _, images, codes = self._fit_words(X, y)
        return images, codes, np.arange(len(images))
