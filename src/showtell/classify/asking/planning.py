"""From a fitted classifier to a run: form of the requests, images in each, settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from showtell.classify.asking.arguments import most_labels
from showtell.classify.asking.run import AskRun
from showtell.media import Media
from showtell.mllm.base import ImagePart, Settings
from showtell.mllm.call.client import Client
from showtell.mllm.capabilities import Capabilities
from showtell.mllm.tokens import image_tokens, text_tokens
from showtell.prompts import (
    AnswerParser,
    BatchPlan,
    Demonstration,
    RequestForm,
    answer_schema,
    plan_batches,
    render_request,
)
from showtell.prompts.requests import Query

if TYPE_CHECKING:
    from showtell.classify.asking.classifier import MLLMClassifier

_USUAL_TOKENS = 300  # of an image whose formula is not known
_OUTPUT_BASE, _OUTPUT_EACH = 4096, 60  # longest answer; models that think first take thousands
_VOTING_TEMPERATURE = 0.7
_TOP_LOGPROBS = 20
_BLANK = ImagePart(data=b"", media_type="image/png", digest="", width=1, height=1)


def make_run(clf: MLLMClassifier, client: Client | None, images: Sequence[Media]) -> AskRun:
    """Plan the questions about some images; without a client, only to look at them."""
    capabilities = clf._access().capabilities
    wording = clf._wording
    form = _form(clf, capabilities)
    decisions = clf.confidence_ == "decisions"
    most = most_labels(clf, capabilities)
    shown = clf._usual_demonstrations(most)
    plan = _plan(clf, form, shown, len(images), capabilities)
    return AskRun(
        client=client,
        form=form,
        parser=AnswerParser(wording.names, wording.aliases),
        settings=settings_of(clf, plan.images_per_request, capabilities),
        images_per_request=plan.images_per_request,
        demonstrations=clf._demonstrations(images),
        capabilities=capabilities,
        max_side=clf.max_side,
        n_demonstrations=len(shown),
        shared_bytes=sum(len(d.image.data) for d in shown),
        decisions=decisions,
        logprobs=clf.confidence_ == "logprobs",
        avoid=wording.known_names if clf._anonymise else (),
    )


def _form(clf: MLLMClassifier, capabilities: Capabilities) -> RequestForm:
    return RequestForm(
        model=clf.model_,
        prompts=clf._wording.prompts,
        labels=clf._wording.names,
        descriptions=clf._wording.sentences,
        role=clf.role.strip(),
        verbalised=clf.confidence_ == "verbalised",
        capabilities=capabilities,
    )


def _plan(
    clf: MLLMClassifier,
    form: RequestForm,
    shown: Sequence[Demonstration],
    n_queries: int,
    capabilities: Capabilities,
) -> BatchPlan:
    """Choose the batch size from what requests share and what an image takes."""
    rule, side = capabilities.image_token_rule, clf.max_side or 768
    sizes = [image_tokens(rule, d.image.width, d.image.height) for d in shown]
    each = [_USUAL_TOKENS if n is None else n for n in sizes]
    fallback = image_tokens(rule, side, max(1, side * 3 // 4))
    query = int(np.mean(each)) if each else (_USUAL_TOKENS if fallback is None else fallback)
    system = text_tokens(render_request(form, (), [Query(id="x", image=_BLANK)]).system)
    schema = text_tokens(json.dumps(answer_schema(form.labels, verbalised=form.verbalised)))
    single = clf.confidence_ in ("decisions", "logprobs") or clf._one_by_one()
    size = 1 if single else None if clf.images_per_request == "auto" else clf.images_per_request
    n_bytes = sum(len(d.image.data) for d in shown)
    return plan_batches(
        n_queries,
        capabilities=capabilities,
        n_demonstrations=len(shown),
        shared_tokens=system + schema + sum(each) + 6 * len(each),
        query_tokens=query + 15,
        shared_bytes=n_bytes,
        query_bytes=n_bytes // len(shown) if shown else 0,
        max_output_tokens=None if clf.max_tokens == "auto" else clf.max_tokens,
        images_per_request=size,
    )


def settings_of(
    clf: MLLMClassifier, images_per_request: int, capabilities: Capabilities
) -> Settings:
    """Say how requests of so many images are to be answered."""
    temperature = clf.sampling_temperature
    if temperature == "auto":
        temperature = 0.0 if clf.n_samples == 1 else _VOTING_TEMPERATURE
    longest = clf.max_tokens
    if longest == "auto":
        longest = _OUTPUT_BASE + _OUTPUT_EACH * images_per_request
    logprobs = None
    if clf.confidence_ == "logprobs":
        logprobs = min(_TOP_LOGPROBS, capabilities.max_top_logprobs or _TOP_LOGPROBS)
    decisions = clf.confidence_ == "decisions"
    return Settings(
        temperature=temperature if capabilities.sampling and not decisions else None,
        max_tokens=None if decisions else longest,
        top_logprobs=logprobs,
        timeout=clf._access().timeout,
    )


def fingerprint_of(clf: MLLMClassifier, run: AskRun) -> str:
    """Hash of what decides an answer besides the image, for the samples of a run folder."""
    shown = [(d.image.digest, d.code) for d in clf._usual_demonstrations(None)]
    content: dict[str, Any] = {
        "form": [
            run.form.model,
            run.form.prompts.version,
            run.form.labels,
            run.form.descriptions,
            run.form.role,
        ],
        "confidence": clf.confidence_,
        "n_samples": clf.n_samples,
        "shortlist": clf.shortlist,
        "side": clf.max_side,
        "settings": [run.settings.temperature],
        "shown": shown,
        "seed": clf._seed,
    }
    if clf.rotations_ > 1:
        content["permutations"] = clf.rotations_  # as ever: runs that are kept go on
    if run.client is not None and run.client.kept.endpoint:
        content["endpoint"] = run.client.kept.endpoint
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
