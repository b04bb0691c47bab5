"""Words sent to encoders, and words that come back as answers."""

from __future__ import annotations

from showtell.prompts.answers import (
    ANSWER_RULES,
    AnswerParser,
    AnswerRule,
    ParsedAnswer,
    answer_codes,
    normalise,
    parse_answer,
)
from showtell.prompts.template import (
    DEFAULT_TEMPLATES,
    TEMPLATE_SETS,
    TemplateSet,
    fill,
    resolve_templates,
)

__all__ = [
    "ANSWER_RULES",
    "DEFAULT_TEMPLATES",
    "TEMPLATE_SETS",
    "AnswerParser",
    "AnswerRule",
    "ParsedAnswer",
    "TemplateSet",
    "answer_codes",
    "fill",
    "normalise",
    "parse_answer",
    "resolve_templates",
]
