"""What the classifiers whose prototypes come from texts share: scale, temperature, saved state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from showtell.checks import flag, one_of
from showtell.classify.base import EncoderClassifier
from showtell.classify.embedding.prototypes import cosines
from showtell.classify.probability import ProbabilityRule, probabilities, smoothed_temperature
from showtell.encoders import Embeddings, Encoder, embed_images
from showtell.errors import InputError
from showtell.media import Media

_RULES = ("encoder", "softmax", "sigmoid")
_MIN_CALIBRATION = 20


class PromptedClassifier(EncoderClassifier):
    """Base of the classifiers that score embeddings by prototypes made of texts.

    Subclasses have the parameters `probability` and `calibrate` besides those of
    `EncoderClassifier`, set ``classes_``, ``prototypes_`` and ``prompts_`` in `fit`, and then call
    `_take_scale` and `_calibrate`.
    """

    probability: Literal["encoder", "softmax", "sigmoid"]
    calibrate: bool | Literal["auto"]
    prototypes_: Embeddings
    prompts_: dict[str, list[str]]
    temperature_: float
    calibrated_: bool
    probability_: ProbabilityRule
    logit_scale_: float
    logit_bias_: float
    _needs_examples = False

    def _check_rules(self) -> None:
        one_of("probability rule", self.probability, _RULES)
        flag(also=["auto"], calibrate=self.calibrate)

    def _take_scale(self, encoder: Encoder) -> None:
        """Note how the encoder turns cosines into probabilities."""
        rule = encoder.probability if self.probability == "encoder" else self.probability
        self.probability_ = rule
        self.encoder_fingerprint_ = encoder.fingerprint
        self.logit_scale_, self.logit_bias_ = float(encoder.logit_scale), float(encoder.logit_bias)
        self.temperature_, self.calibrated_ = 1.0, False

    def _calibrate(
        self, encoder: Encoder, images: Sequence[Media] | None, codes: NDArray[np.intp] | None
    ) -> None:
        """Fit the temperature on labelled images, where there are enough."""
        if self.calibrate is False:
            return
        must = self.calibrate is True
        if images is None or codes is None:
            if must:
                raise InputError("`calibrate=True` needs labelled images: call `fit(X, y)`.")
            return
        if not must and len(codes) < _MIN_CALIBRATION:
            return
        found = embed_images(encoder, images, store=self.store)
        usable = found.ok
        if usable.any() and (must or usable.sum() >= _MIN_CALIBRATION):
            logits = self._logits(found.embeddings)[found.distinct[usable]]
            self.temperature_ = smoothed_temperature(logits, codes[usable], rule=self.probability_)
            self.calibrated_ = True
        elif must:
            raise InputError(
                f"`calibrate=True`: none of the {len(codes)} labelled images could be used; the "
                f"first: {found.errors[min(found.errors)] if found.errors else 'there are none'}."
            )

    def _logits(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """Logits of distinct images before the temperature, shape (n, n_classes)."""
        return self._scaled(cosines(embeddings, self.prototypes_))

    def _scaled(self, scores: NDArray[Any]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = (
            self.logit_scale_ * scores.astype(np.float64) + self.logit_bias_
        ).astype(np.float32)
        return logits

    def _score(self, embeddings: Embeddings) -> tuple[NDArray[Any], NDArray[np.float32]]:
        logits = self._logits(embeddings)
        return logits, probabilities(logits / self.temperature_, self.probability_)

    def _saved_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        values = {
            "temperature": self.temperature_,
            "calibrated": self.calibrated_,
            "probability": self.probability_,
            "logit_scale": self.logit_scale_,
            "logit_bias": self.logit_bias_,
            "prompts": list(self.prompts_.values()),
        }
        return values, {"prototypes": self.prototypes_}

    def _restore_state(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.temperature_ = float(values["temperature"])
        self.calibrated_ = bool(values["calibrated"])
        self.probability_ = values["probability"]
        self.logit_scale_ = float(values["logit_scale"])
        self.logit_bias_ = float(values["logit_bias"])
        self.prompts_ = dict(zip(map(str, self.classes_.tolist()), values["prompts"], strict=True))
        self.prototypes_ = np.asarray(arrays["prototypes"], np.float32)
