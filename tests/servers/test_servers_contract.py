"""What showtell's own prompts write, the server reads; what it estimates, the server counts."""

from __future__ import annotations

import itertools

import pytest
from tests.servers.wire import LABELS, b64, png

from showtell.mllm.base import ImagePart, TextPart
from showtell.mllm.capabilities import capabilities_of
from showtell.mllm.tokens import estimate_tokens
from showtell.mllm.tokens import image_tokens as estimated_tokens
from showtell.prompts import load_prompts
from showtell.prompts.requests import (
    Demonstration,
    Query,
    RequestForm,
    render_decision,
    render_request,
)
from showtell.testing.servers.counting import PrefixCache, image_tokens
from showtell.testing.servers.reading import read_scene
from showtell.testing.servers.sight import decode_image
from showtell.testing.servers.writing import allowed_labels

MODELS = (
    "openai:try",
    "openai:gpt-4o-mini",
    "openai:gpt-4.1-mini",
    "openai:gpt-5",
    "openai:gpt-5-nano",
    "google:try",
    "google:gemini-2.5-flash",
    "google:gemini-3-pro",
    "anthropic:try",
    "anthropic:claude-opus-4-7",
    "ollama:try",
    "ollama:llava",
)


def part(label, seed=0, size=(96, 96)):
    data = png(label, seed, size)
    image = decode_image(b64(data), "image/png", {})
    return ImagePart(
        data=data, media_type="image/png", digest=image.digest, width=size[0], height=size[1]
    )


def received(request):
    """The parts of a request as the server has them."""
    return [
        p.text if isinstance(p, TextPart) else decode_image(b64(p.data), p.media_type, {})
        for p in request.parts
    ]


def form(labels=LABELS, model="openai:try", **more):
    return RequestForm(
        model=model,
        prompts=load_prompts(),
        labels=labels,
        capabilities=capabilities_of(model),
        **more,
    )


def test_labels_demonstrations_and_queries_of_a_prompt_are_read():
    labels = ("red circle", "blue square: large", "class_2", 'it\'s 100% "odd" {label}')
    demonstrations = [Demonstration(image=part(LABELS[n % 3], n), code=n) for n in range(4)]
    queries = [Query(id=f"q{n}x", image=part(LABELS[n], 10 + n)) for n in range(3)]
    about = ((), ("It is large.", "It is blue."), (), ("- It starts with a dash",))
    request = render_request(form(labels, descriptions=about), demonstrations, queries, attempt=1)
    known = allowed_labels(request.schema)
    assert known == labels
    scene = read_scene(request.system, received(request), known)
    assert scene.labels == labels
    assert scene.descriptions["blue square: large"] == "It is large. It is blue."
    assert [(d.label, d.image.digest) for d in scene.demonstrations] == [
        (labels[d.code], d.image.digest) for d in demonstrations
    ]
    assert [(q.id, q.image.digest) for q in scene.queries] == [
        (q.id, q.image.digest) for q in queries
    ]
    assert scene.example_label is None


def test_a_decision_has_one_query_after_its_demonstrations():
    demonstrations = [Demonstration(image=part(LABELS[n], n), code=n) for n in range(3)]
    request = render_decision(form(), demonstrations, part(LABELS[1], 20))
    scene = read_scene(request.system, received(request))
    assert [d.label for d in scene.demonstrations] == list(LABELS)
    assert [q.image.digest for q in scene.queries] == [part(LABELS[1], 20).digest]


@pytest.mark.parametrize("model", MODELS)
def test_estimated_image_tokens_are_those_the_server_counts(model):
    vendor, _, name = model.partition(":")
    rule = capabilities_of(model).image_token_rule
    sides = (32, 200, 384, 385, 500, 512, 513, 768, 1024, 1568, 2048, 3000)
    for width, height in itertools.product(sides, sides):
        counted = image_tokens(vendor, name, width, height)
        assert estimated_tokens(rule, width, height) == counted, (width, height)


@pytest.mark.parametrize("model", ["openai:try", "google:try", "anthropic:try", "ollama:try"])
def test_an_estimate_of_a_request_is_what_the_server_counts(model):
    demonstrations = [Demonstration(image=part(LABELS[n], n, (400, 300)), code=n) for n in range(3)]
    queries = [Query(id=f"q{n}", image=part(LABELS[n % 3], 10 + n, (640, 480))) for n in range(5)]
    request = render_request(form(model=model), demonstrations, queries)
    estimate = estimate_tokens(request)
    vendor, _, name = model.partition(":")
    import json

    schema = json.dumps(request.schema, separators=(",", ":")) if request.schema else ""
    count = PrefixCache().count(vendor, name, request.system + schema, received(request))
    assert estimate.input == pytest.approx(count.input, rel=0.05)
    assert abs(estimate.input - count.input) <= 1
