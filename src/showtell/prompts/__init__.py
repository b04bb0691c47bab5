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
from showtell.prompts.connectives import Compat, connect, described_prompts
from showtell.prompts.descriptions import (
    DescriptionDiff,
    DescriptionKind,
    DescriptionNote,
    DescriptionSet,
    Provenance,
    read_descriptions,
)
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
from showtell.prompts.waffle import WaffleShape, common_words, waffle_noise, waffle_shape

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
    "Compat",
    "Demonstration",
    "DescriptionDiff",
    "DescriptionKind",
    "DescriptionNote",
    "DescriptionSet",
    "Outcome",
    "OutcomeStatus",
    "ParsedAnswer",
    "PromptSet",
    "Provenance",
    "Query",
    "Reconciled",
    "RequestForm",
    "TemplateSet",
    "WaffleShape",
    "answer_codes",
    "answer_form",
    "answer_schema",
    "common_words",
    "connect",
    "copy_prompts",
    "described_prompts",
    "fill",
    "load_prompts",
    "normalise",
    "parse_answer",
    "plan_batches",
    "query_ids",
    "read_descriptions",
    "reconcile",
    "render_decision",
    "render_request",
    "resolve_templates",
    "waffle_noise",
    "waffle_shape",
]
