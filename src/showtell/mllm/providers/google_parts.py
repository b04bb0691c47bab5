"""Answers of Gemini whose parts are not all known: the text counts, the rest is passed over."""

from __future__ import annotations

from typing import Any

from pydantic_ai.models.google import GoogleModel


class PatientGoogleModel(GoogleModel):
    """Leaves out parts without text, of which pydantic-ai refuses those that it does not know."""

    def _process_response(self, response: Any, *more: Any, **named: Any) -> Any:
        for candidate in response.candidates or ():
            content = candidate.content
            if content is not None and content.parts:
                content.parts = [part for part in content.parts if part.text is not None]
        return super()._process_response(response, *more, **named)
