"""What every estimator with a parameter `model` shares, whatever else it inherits from."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from showtell.mllm.model import Asked, Model, as_model, restore_model

COLUMNS = ("cost_usd", "input_tokens", "output_tokens", "from_cache", "seconds", "reason")
"""Further columns of `Predictions` from the classifiers that ask a model."""


class AsksModel:
    """Mixin of estimators whose parameter `model` is a name, an MLLM or a `Model`."""

    model: Asked
    _shared: ClassVar[tuple[str, ...]] = ("model", "encoder", "store")

    def _access(self) -> Model:
        return as_model(self.model)

    @classmethod
    def _read_params(cls, params: dict[str, Any], model: Any) -> dict[str, Any]:
        asked = restore_model(params, model)  # takes what is about it out
        return {**params, "model": asked}

    def set_params(self, **params: Any) -> Self:
        """Set parameters; those of the model begin with ``model__``, be it a name or a `Model`."""
        if any(name.startswith("model__") for name in params):
            params["model"] = as_model(params.get("model", self.model))
        super().set_params(**params)  # type: ignore[misc]
        return self
