"""The decision engine of the local servers, asked about the arms of a plan without any wire."""

from __future__ import annotations

import asyncio
import hashlib
import json
from decimal import Decimal

import numpy as np

from showtell.evaluate.audits.plan import NONCE
from showtell.metrics import NO_ANSWER
from showtell.mllm import Answer, ImagePart, Usage, capabilities_of
from showtell.testing.servers import Bias, Query, SentImage
from showtell.testing.servers.guessing import Guesser
from showtell.testing.servers.knobs import uniform
from showtell.testing.servers.reading import Demonstration, Scene, read_scene


def picture(digest):
    """An image that is nothing but its hash."""
    return SentImage(
        digest=digest,
        data=b"",
        n_bytes=0,
        media_type="image/png",
        width=1,
        height=1,
        orientation=1,
        has_exif=False,
        has_gps=False,
    )


def answers(plan, shown, y_true, *, bias, seed, mistakes=0.1, neutral=False):
    """Codes of shape (n_images, n_arms) from a model that knows the truth but for some mistakes.

    A mistake belongs to the image: it is the same under every arm, as a deterministic model's is.
    """
    rng = np.random.default_rng([seed, 7])
    n = len(plan.labels)
    steady = np.where(rng.random(len(y_true)) < mistakes, rng.integers(0, n, len(y_true)), y_true)
    digests = [hashlib.sha1(f"{seed} {i}".encode()).hexdigest() for i in range(len(y_true))]
    names = [f"class_{i}" for i in rng.permutation(n)] if neutral else list(plan.labels)
    code = {name: i for i, name in enumerate(names)}
    truth = {d: names[k] for d, k in zip(digests, steady.tolist(), strict=True)}
    guesser = Guesser(sight=None, truth=truth, bias=bias, seed=seed)
    arms = plan.arms[:1] if neutral else plan.arms
    wanted = plan.wanted(y_true)
    codes = np.full((len(y_true), len(arms)), NO_ANSWER)

    async def ask():
        for column, arm in enumerate(arms):
            rows = np.flatnonzero(wanted[:, column])
            example = None
            if arm.kind == "example":
                example = names[arm.label]
            scene = Scene(
                labels=tuple(names[c] for c in plan.order(arm)),
                descriptions={},
                demonstrations=tuple(
                    Demonstration(picture(f"shot {i}"), names[shown[i]]) for i in arm.shown
                ),
                queries=tuple(Query(str(i), picture(digests[i])) for i in rows.tolist()),
                example_label=NONCE if arm.kind == "nonce" else example,
            )
            key = f"{neutral} {arm}"
            found = await guesser.guess(scene, (), key=key)
            codes[rows, column] = [code[guess.label] for guess in found]

    asyncio.run(ask())
    return codes[:, 0] if neutral else codes


def balanced(n_images, n_labels, seed):
    """Truths as evenly spread as can be, in random order."""
    return np.random.default_rng([seed, 3]).permutation(np.arange(n_images) % n_labels)


class Engine:
    """A model that reads requests as the local servers do, without a wire between.

    `out_of_set` of the answers name no label, whichever they are.
    """

    name = "toy:engine"

    def __init__(self, truth, *, bias=None, seed=0, out_of_set=0.0):
        self.capabilities = capabilities_of("openai:try")
        self.requests = []
        self._out_of_set, self._seed = out_of_set, seed
        self._guesser = Guesser(sight=None, truth=truth, bias=bias or Bias(), seed=seed)

    async def ask(self, request):
        self.requests.append(request)
        parts = [
            picture(part.digest) if isinstance(part, ImagePart) else part.text
            for part in request.parts
        ]
        scene = read_scene(request.system, parts)
        found = await self._guesser.guess(scene, (), key=request.key)
        answers = [{"id": g.query.id, "label": g.label, "confidence": 9} for g in found]
        for answer in answers:
            if uniform(self._seed, "out_of_set", request.system, answer["id"]) < self._out_of_set:
                answer["label"] = "nothing of the kind"
        text = json.dumps({"n_images": len(answers), "answers": answers})
        usage = Usage(input_tokens=100, output_tokens=10, cost_usd=Decimal("0.001"))
        return Answer(text=text, usage=usage, finish="stop", model="engine")

    async def aclose(self):
        pass


__all__ = ["Bias", "Engine", "answers", "balanced", "picture"]
