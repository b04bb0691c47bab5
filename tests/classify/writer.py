"""A language model that draws words for labels by chance, and does as it is told.

It knows a few words that fit and a few that do not, and mixes them; which ones come depends on the
question alone, so that the same question has the same answer in every process.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from decimal import Decimal

from showtell.mllm import Answer, Capabilities, Usage
from showtell.testing.servers.assignments import read_assignment

WORDS = ("whiskers", "stripes", "spots", "mane", "grass", "sky", "snow", "sand", "hooves", "horns")


class Writer:
    """`script(n, asked, classes)` gives a text, an exception, or None: no fault."""

    def __init__(self, script=None, *, words=WORDS, name="writer:v1", cost="0.01", **known):
        self.script, self.words, self.name, self.cost = script, words, name, cost
        self.capabilities = Capabilities(**{"structured_output": True} | known)
        self.requests = []

    async def ask(self, request):
        self.requests.append(request)
        await asyncio.sleep(0)
        asked = read_assignment([part.text for part in request.parts])
        key = request.key
        if len(request.parts) > 1:
            key += "again"
        classes = [
            {"index": i, "name": label, "descriptors": self.write(asked, label, key)}
            for i, label in enumerate(asked.labels)
        ]
        said = self.script(len(self.requests) - 1, asked, classes) if self.script else None
        if isinstance(said, BaseException):
            raise said
        text = json.dumps({"classes": classes}) if said is None else said
        cost = None if self.cost is None else Decimal(self.cost)
        usage = Usage(input_tokens=100, output_tokens=20, cost_usd=cost)
        return Answer(text=text, usage=usage, finish="stop", model=self.name, seconds=0.1)

    def write(self, asked, label, key):
        bad = set(asked.bad.get(label, ()))
        versions = asked.current.get(label, ((),))
        if asked.task == "crossover":
            return list(dict.fromkeys(w for version in versions for w in version))[: asked.count]
        kept = [word for word in versions[-1] if word not in bad]
        kept = sorted(kept, key=lambda w: digest(key, label, w, "kept"))
        kept = kept[: max(0, asked.count - (asked.replace or 0))]
        fresh = [w for w in self.words if w not in kept and w not in bad]
        fresh = sorted(fresh, key=lambda w: digest(key, label, w))
        return [*kept, *fresh][: asked.count]

    async def aclose(self):
        pass


def digest(*parts):
    return hashlib.blake2b("\0".join(parts).encode()).hexdigest()
