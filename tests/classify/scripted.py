"""A multimodal LLM that looks at the colour of the pictures it is sent, and follows a script.

With demonstrations it gives the label of the one whose mean colour is nearest; without, the label
that contains the name of the colour. So answers are right only if everything before is.
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
import re
from decimal import Decimal

import numpy as np
from PIL import Image

from showtell.mllm import Answer, Capabilities, ImagePart, TextPart, Usage

COLOURS = {
    "red": (210, 30, 30), "green": (40, 160, 40), "blue": (30, 60, 210), "yellow": (240, 210, 30),
    "black": (10, 10, 10), "white": (245, 245, 245), "purple": (130, 30, 150),
    "orange": (240, 130, 20), "grey": (128, 128, 128), "cyan": (30, 200, 220),
}  # fmt: skip


def picture(colour, n=0):
    """A small picture of one colour; each `n` is another picture."""
    noise = np.random.default_rng(n).integers(-8, 9, (16, 16, 3))
    return np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)


def pictures(colours, n=4):
    """`n` pictures of each colour, mixed, and their labels."""
    pairs = [(picture(c, 100 * i + k), c) for k in range(n) for i, c in enumerate(colours)]
    return [x for x, _ in pairs], np.array([c for _, c in pairs])


@functools.lru_cache(maxsize=4096)
def mean_colour(data):
    with Image.open(io.BytesIO(data)) as image:
        return tuple(np.asarray(image.convert("RGB"), float).mean(axis=(0, 1)))


class Scene:
    """What a request shows and asks, read as a model would."""

    def __init__(self, request):
        listed = request.system.split("Labels:\n")[1].split("\nEnd of labels.")[0]
        self.labels = [line[2:].partition(": ")[0] for line in listed.splitlines()]
        self.shown, self.queries = [], []
        pending = None
        for part in request.parts:
            if isinstance(part, TextPart):
                pending = part.text
                if match := re.fullmatch("Label: (.+)", part.text):
                    self.shown.append((image, match[1]))  # noqa: F821 - bound by the part before
                elif match := re.fullmatch(r"End of image (.+)\.", part.text):
                    assert self.queries[-1][0] == match[1]
            else:
                image = part.data
                if match := re.fullmatch("Image (.+):", pending or ""):
                    self.queries.append((match[1], image))
                elif pending != "Example:":
                    self.queries.append(("", image))  # a classification endpoint's only image

    def distances(self, data):
        """Distance of an image to each listed label, inf for one never shown."""
        mean = np.array(mean_colour(data))
        if self.shown:
            nearest = dict.fromkeys(self.labels, np.inf)
            for image, label in self.shown:
                gap = float(np.linalg.norm(mean - np.array(mean_colour(image))))
                nearest[label] = min(nearest[label], gap)
        else:
            nearest = {
                label: next((float(np.linalg.norm(mean - np.array(rgb)))
                             for c, rgb in COLOURS.items() if c in label.split()), 1e3)
                for label in self.labels
            }  # fmt: skip
        return nearest

    def items(self):
        out = []
        for name, data in self.queries:
            nearest = self.distances(data)
            label = min(nearest, key=nearest.get)
            out.append({"id": name, "label": label, "confidence": 9})
        return out


class ScriptedMLLM:
    """`script(n, request, items)` gives a text, an `Answer`, an exception, or None: no fault."""

    def __init__(self, script=None, *, name="script:v1", cost="0.003", tokens=(1000, 50), **known):
        self.name, self.script, self.cost, self.tokens = name, script, cost, tokens
        self.capabilities = Capabilities(**{"structured_output": True} | known)
        self.requests = []

    async def ask(self, request):
        self.requests.append(request)
        await asyncio.sleep(0)
        scene = Scene(request)
        items = scene.items()
        said = self.script(len(self.requests) - 1, request, items) if self.script else None
        if isinstance(said, BaseException):
            raise said
        if isinstance(said, Answer):
            return said
        if request.labels and said is None:
            return self.decide(scene)
        return self.answer(said if said is not None else dumps(items))

    def answer(self, text, *, finish="stop", **more):
        cost = None if self.cost is None else Decimal(self.cost)
        usage = Usage(input_tokens=self.tokens[0], output_tokens=self.tokens[1], cost_usd=cost)
        return Answer(text=text, usage=usage, finish=finish, model=self.name, seconds=0.5, **more)

    def decide(self, scene):
        nearest = scene.distances(scene.queries[0][1])
        weights = {label: float(np.exp(-gap / 50)) for label, gap in nearest.items()}
        total = sum(weights.values()) or 1.0
        shares = {label: w / total for label, w in weights.items()}
        return self.answer(max(shares, key=shares.get), probabilities=shares)

    async def aclose(self):
        pass

    @property
    def asked(self):
        """Ids asked about, per request."""
        return [[name for name, _ in Scene(request).queries] for request in self.requests]

    @property
    def n_images(self):
        return [sum(isinstance(p, ImagePart) for p in r.parts) for r in self.requests]


def dumps(items, **more):
    return json.dumps({"n_images": len(items), "answers": items} | more)
