"""A job in which a model writes: descriptions, concept trees, better words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from showtell.mllm.model import Model
from showtell.runs.job import Job


@dataclass(kw_only=True)
class WritingJob(Job):
    """A job whose recipe only names the model; what decides about the texts is in its inputs."""

    def _of_recipe(self) -> dict[str, Any]:
        return {}

    @property
    def access(self) -> Model:
        """How the model is reached, and within what limits."""
        return self.reached()
