"""Words sent to encoders and MLLMs, and words that come back as answers."""

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
from showtell.prompts.batches import BatchPlan, plan_batches
from showtell.prompts.files import LIBRARIES, PromptSet, copy_prompts, load_prompts
from showtell.prompts.reconcile import OUTCOMES, Outcome, OutcomeStatus, Reconciled, reconcile
from showtell.prompts.requests import (
    DEFAULT_ROLE,
    Demonstration,
    Query,
    RequestForm,
    answer_form,
    answer_schema,
    query_ids,
    render_decision,
    render_request,
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
    "DEFAULT_ROLE",
    "DEFAULT_TEMPLATES",
    "LIBRARIES",
    "OUTCOMES",
    "TEMPLATE_SETS",
    "AnswerParser",
    "AnswerRule",
    "BatchPlan",
    "Demonstration",
    "Outcome",
    "OutcomeStatus",
    "ParsedAnswer",
    "PromptSet",
    "Query",
    "Reconciled",
    "RequestForm",
    "TemplateSet",
    "answer_codes",
    "answer_form",
    "answer_schema",
    "copy_prompts",
    "fill",
    "load_prompts",
    "normalise",
    "parse_answer",
    "plan_batches",
    "query_ids",
    "reconcile",
    "render_decision",
    "render_request",
    "resolve_templates",
]
