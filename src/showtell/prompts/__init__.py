"""Words sent to encoders and MLLMs, and words that come back as answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from showtell._lazy import lazy_names

if TYPE_CHECKING:
    from showtell.prompts.answers import (
        ANSWER_RULES,
        AnswerParser,
        AnswerRule,
        ParsedAnswer,
        normalise,
        parse_answer,
    )
    from showtell.prompts.concepts.asking import Built, TreeStep, build_concepts, tree_requests
    from showtell.prompts.concepts.reading import read_concepts
    from showtell.prompts.concepts.tree_drawing import concepts_dot, draw_concepts
    from showtell.prompts.concepts.trees import (
        Attribute,
        Clue,
        ConceptGap,
        ConceptTree,
        TreePart,
        Value,
        clue_text,
        find_part,
    )
    from showtell.prompts.concepts.words import clean_values
    from showtell.prompts.descriptions.connectives import Compat, connect, described_prompts
    from showtell.prompts.descriptions.describe import (
        Described,
        Domain,
        describe_requests,
        domain_requests,
        find_domain,
        write_descriptions,
    )
    from showtell.prompts.descriptions.descriptions import (
        DescriptionDiff,
        DescriptionKind,
        DescriptionNote,
        DescriptionSet,
        Provenance,
        read_descriptions,
    )
    from showtell.prompts.descriptions.waffle import (
        WaffleShape,
        common_words,
        waffle_noise,
        waffle_shape,
    )
    from showtell.prompts.files import LIBRARIES, PromptSet, copy_prompts, load_prompts
    from showtell.prompts.packing import BatchPlan, plan_batches
    from showtell.prompts.reconciled import (
        OUTCOMES,
        OutcomeStatus,
        QueryOutcome,
        Reconciled,
        reconcile,
    )
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
    "Attribute",
    "BatchPlan",
    "Built",
    "Clue",
    "Compat",
    "ConceptGap",
    "ConceptTree",
    "Demonstration",
    "Described",
    "DescriptionDiff",
    "DescriptionKind",
    "DescriptionNote",
    "DescriptionSet",
    "Domain",
    "OutcomeStatus",
    "ParsedAnswer",
    "PromptSet",
    "Provenance",
    "Query",
    "QueryOutcome",
    "Reconciled",
    "RequestForm",
    "TemplateSet",
    "TreePart",
    "TreeStep",
    "Value",
    "WaffleShape",
    "answer_form",
    "answer_schema",
    "build_concepts",
    "clean_values",
    "clue_text",
    "common_words",
    "concepts_dot",
    "connect",
    "copy_prompts",
    "describe_requests",
    "described_prompts",
    "domain_requests",
    "draw_concepts",
    "fill",
    "find_domain",
    "find_part",
    "load_prompts",
    "normalise",
    "parse_answer",
    "plan_batches",
    "query_ids",
    "read_concepts",
    "read_descriptions",
    "reconcile",
    "render_decision",
    "render_request",
    "resolve_templates",
    "tree_requests",
    "waffle_noise",
    "waffle_shape",
    "write_descriptions",
]

_NAMES_OF = {
    "answers": "ANSWER_RULES AnswerParser AnswerRule ParsedAnswer normalise parse_answer",
    "concepts.asking": "Built TreeStep build_concepts tree_requests",
    "concepts.reading": "read_concepts",
    "concepts.tree_drawing": "concepts_dot draw_concepts",
    "concepts.trees": "Attribute Clue ConceptGap ConceptTree TreePart Value clue_text find_part",
    "concepts.words": "clean_values",
    "descriptions.connectives": "Compat connect described_prompts",
    "descriptions.describe": (
        "Described Domain describe_requests domain_requests find_domain write_descriptions"
    ),
    "descriptions.descriptions": (
        "DescriptionDiff DescriptionKind DescriptionNote DescriptionSet Provenance "
        "read_descriptions"
    ),
    "descriptions.waffle": "WaffleShape common_words waffle_noise waffle_shape",
    "files": "LIBRARIES PromptSet copy_prompts load_prompts",
    "packing": "BatchPlan plan_batches",
    "reconciled": "OUTCOMES QueryOutcome OutcomeStatus Reconciled reconcile",
    "requests": (
        "DEFAULT_ROLE Demonstration Query RequestForm answer_form answer_schema query_ids "
        "render_decision render_request"
    ),
    "template": "DEFAULT_TEMPLATES TEMPLATE_SETS TemplateSet fill resolve_templates",
}

__getattr__, __dir__ = lazy_names(__name__, _NAMES_OF)
