"""Explanations and an overview as a classifier by clues would give them, of any size."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from showtell.classify.concepts.evidence import (
    ConceptImportances,
    GroupImportance,
    LabelCard,
    LabelGroup,
    LabelPair,
)
from showtell.explain import (
    Bar,
    Bars,
    Changes,
    ClueStep,
    ConceptOverview,
    Explanation,
    Neighbour,
    Neighbours,
    Swap,
    Waterfall,
    Words,
)
from showtell.prompts.concepts.trees import Clue

HOSTILE = "</script><img src=x onerror=alert(1)>"
PARTS = ("body", "head", "tail", "leg", "back", "coat", "chest", "belly")
INNER = {"head": ("ear", "eye", "muzzle")}
ATTRIBUTES = ("colour", "length", "texture", "shape", "pattern")
VALUES = ("short", "long", "black", "white", "curly", "smooth", "striped", "spotted")
LABELS = (
    "Afghan Hound", "Basset", "Beagle", "Boxer", "Collie", "Lhasa", "Papillon", "Pug",
    "Saluki", "Scotch Terrier",
)  # fmt: skip


def webp(rng, side=144):
    """A small picture that compresses as a photo does."""
    small = rng.integers(30, 225, (9, 9, 3), np.uint8)
    image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
    noise = rng.integers(-12, 13, (side, side, 3))
    pixels = np.clip(np.asarray(image, int) + noise, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", quality=60)
    return stream.getvalue()


def clues_of(n):
    paths = [(part,) for part in PARTS]
    paths += [(part, inner) for part, own in INNER.items() for inner in own]
    found = []
    for value in VALUES:
        for attribute in ATTRIBUTES:
            for path in paths:
                text = f"A photo of {path[-1]} of {value} {attribute}"
                found.append(Clue(text=text, part=path, attribute=attribute, value=value))
    return sorted(found[:n], key=lambda clue: (paths.index(clue.part), clue.attribute))


def overview_of(clues, labels, rng):
    importance = np.maximum(rng.gamma(0.4, 0.012, len(clues)) - 0.002, -0.002)

    def group(path, attribute):
        return tuple(
            i
            for i, clue in enumerate(clues)
            if clue.part[: len(path)] == path and attribute in (None, clue.attribute)
        )

    paths = list(dict.fromkeys(c.part[: k + 1] for c in clues for k in range(len(c.part))))
    paths.sort(key=lambda path: [p for c in clues for p in [c.part]].index(
        next(c.part for c in clues if c.part[: len(path)] == path)) * 10 + len(path))  # fmt: skip
    parts = tuple(
        GroupImportance(part=path, attribute=None, clue=None, columns=group(path, None),
                        mean=float(importance[list(group(path, None))].sum()), std=0.004)
        for path in paths
    )  # fmt: skip
    pairs = list(dict.fromkeys((clue.part, clue.attribute) for clue in clues))
    attributes = []
    for path, attribute in pairs:
        columns = tuple(
            i for i, c in enumerate(clues) if c.part == path and c.attribute == attribute
        )
        attributes.append(
            GroupImportance(part=path, attribute=attribute, clue=None, columns=columns,
                            mean=float(importance[list(columns)].sum()), std=0.003)
        )  # fmt: skip
    single = tuple(
        GroupImportance(part=c.part, attribute=c.attribute, clue=c, columns=(i,),
                        mean=float(importance[i]), std=0.001)
        for i, c in enumerate(clues)
    )  # fmt: skip
    cards = []
    for code, label in enumerate(labels):
        own = rng.gamma(0.5, 0.02, len(clues))
        direction = rng.normal(0, 1, len(clues))
        order = np.argsort(-own)
        cards.append(
            LabelCard(
                label=label,
                parts=tuple(
                    LabelGroup(part=p.part, attribute=None, clue=None, columns=p.columns,
                               importance=float(own[list(p.columns)].mean()), direction=1.0)
                    for p in parts
                ),
                attributes=(),
                clues=tuple(
                    LabelGroup(part=clues[i].part, attribute=clues[i].attribute, clue=clues[i],
                               columns=(int(i),), importance=float(own[i]),
                               direction=float(direction[i]))
                    for i in order
                ),
                n_images=20 + code,
            )
        )  # fmt: skip
    mixed = tuple(
        LabelPair(first=labels[k], second=labels[k - 1], n_top=30, shared=tuple(clues[k : k + 10]),
                  only_first=(), only_second=(), overlap=1 / 3, first_as_second=4,
                  second_as_first=2)
        for k in range(1, len(labels), 2)
    )  # fmt: skip
    return ConceptOverview(
        domain="dog",
        importances=ConceptImportances(
            parts=parts,
            attributes=tuple(attributes),
            clues=single,
            baseline=0.8316,
            measure="accuracy",
            n_samples=340,
        ),
        cards=tuple(cards),
        pairs=mixed,
    )


def explanations_of(n, clues, labels, rng, *, n_pictures=None):
    pictures = [webp(rng) for _ in range(min(n, n_pictures or n))]
    made = []
    for i in range(n):
        proba = rng.dirichlet(np.full(len(labels), 0.25))
        order = np.argsort(-proba)
        actual = labels[int(order[0] if rng.random() < 0.85 else order[1])]
        label, other = labels[order[0]], labels[order[1]]
        falls = [fall(clues, label, "label", proba[order[0]], rng)]
        if actual != label:
            falls.append(fall(clues, actual, "actual", proba[order[1]], rng))
        near = tuple(
            Neighbour(image=f"train/{labels[int(k) % len(labels)]}/{k}.jpg",
                      label=labels[int(k) % len(labels)], cosine=0.9 - 0.02 * j,
                      picture=pictures[int(k) % len(pictures)])
            for j, k in enumerate(rng.integers(0, 400, 5))
        )  # fmt: skip
        swap = Swap(text=clues[i % len(clues)].text, part=clues[i % len(clues)].part,
                    before=81.0, after=22.0)  # fmt: skip
        made.append(
            Explanation(
                image=f"photos/{actual}/{i:05}.jpg",
                method="ConceptClassifier",
                label=label,
                confidence=float(proba[order[0]]),
                proba=dict(zip(labels, map(float, proba), strict=True)),
                actual=actual,
                parts=(
                    Bars(title="Chances", about="probabilities",
                         bars=(Bar(text=label, value=0.5, shown="50%"),)),
                    *falls,
                    Neighbours(title="Most alike by clues", neighbours=near, label=label,
                               by="clues"),
                    Changes(label=label, target=other, flips=True, swaps=(swap,)),
                ),
                picture=pictures[i % len(pictures)],
            )
        )  # fmt: skip
    return made


def fall(clues, label, about, output, rng):
    chosen = rng.choice(len(clues), min(8, len(clues)), replace=False)
    values = rng.normal(0, 0.06, len(chosen))
    values = values[np.argsort(-np.abs(values))]
    rest = float(output) - 0.1 - float(values.sum())
    return Waterfall(
        title=f"Why {label}",
        label=label,
        unit="probability",
        base=0.1,
        output=float(output),
        about=about,
        steps=tuple(
            ClueStep(text=clues[i].text, part=clues[i].part, value=float(20 + rng.normal()),
                     percentile=float(rng.uniform(0, 100)), contribution=float(v))
            for i, v in zip(chosen, values, strict=True)
        ),
        rest=rest,
        n_rest=len(clues) - len(chosen),
    )  # fmt: skip


def made(n=24, n_clues=60, labels=LABELS[:4], seed=0, n_pictures=None):
    """Explanations and their overview."""
    rng = np.random.default_rng(seed)
    clues = clues_of(n_clues)
    overview = overview_of(clues, list(labels), rng)
    return explanations_of(n, clues, list(labels), rng, n_pictures=n_pictures), overview


def hostile():
    """Texts that would break out of a page that trusts them."""
    found, overview = made(6, 20, (HOSTILE, "b & \"q\" 'x'", "plain"))
    odd = Explanation(
        image=f"{HOSTILE}.jpg",
        method=HOSTILE,
        label=HOSTILE,
        confidence=0.5,
        proba={HOSTILE: 0.5, "plain": 0.5},
        actual="plain",
        parts=(Words(title=HOSTILE, text=HOSTILE),),
    )
    broken = Explanation(
        image="broken.jpg", method="m", label="", status="error", error=f"cannot read {HOSTILE}"
    )
    return [*found, odd, broken], overview
