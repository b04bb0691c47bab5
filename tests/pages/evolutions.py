"""An evolution written by hand, so that every number of its page is known."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from showtell.classify.evolving.record import (
    BeforeAfter,
    Cluster,
    Confusion,
    Evolution,
    Exchange,
    Generation,
    LabelChange,
)
from showtell.evaluate import Control, Controls, DescriptionScore, LabelDescriptions

HOSTILE = "<img src=x onerror=alert(1)>"
LABELS = (HOSTILE, "otter", "stoat")

WON = BeforeAfter(
    n=100, accuracy_before=0.5, accuracy_after=0.62, n_gained=15, n_lost=3, p_value=0.012
)


def confusion(label, taken_for, n_support, n_validation=0):
    return Confusion(
        label=label, taken_for=taken_for, n_support=n_support, n_validation=n_validation, n_near=9
    )


def generation(number, fitness, validation, **more):
    texts = {HOSTILE: (HOSTILE,), "otter": ("sleek",), "stoat": ()}
    values = {"descriptions": texts, "margin": 0.01, "n_requests": 3, "cost_usd": Decimal("0.02")}
    return Generation(number=number, fitness=fitness, validation=validation, **{**values, **more})


def evolution(**changes):
    """Three generations after the start, of which the second is chosen."""
    told = Exchange(
        task="mutate", labels=LABELS, sample=0, told=f"Task: mutate {HOSTILE}",
        said="{</script>", gaps={"stoat": "no descriptors"}, accuracy=0.5,
    )  # fmt: skip
    useless = replace(told, sample=1, labels=("otter",), reason="no JSON", accuracy=None)
    start = generation(
        0, 0.5, 0.4,
        descriptions=dict.fromkeys(LABELS, ()),
        confusions=(confusion("otter", "stoat", 6, 3), confusion("stoat", HOSTILE, 4, 2)),
        n_requests=0, cost_usd=Decimal(0),
    )  # fmt: skip
    first = generation(
        1, 0.6, 0.4,
        changes=(
            LabelChange(label="stoat", added=("a tail",), removed=(), n_kept=0),
            LabelChange(
                label="otter", added=("sleek", HOSTILE), removed=("grey",), n_kept=4,
                removed_was=-1, added_was=1,
            ),
        ),
        confusions=(confusion("otter", "stoat", 5, 3),),
        clusters=(
            Cluster(labels=LABELS, before=0.5, after=0.6, chosen="crossover", n_candidates=2),
        ),
        exchanges=(told, replace(told, sample=1), useless),
        good_words={"otter": ("wet", HOSTILE)},
        bad_words={"stoat": ("large",)},
        input_tokens=1200, output_tokens=340,
    )  # fmt: skip
    second = generation(
        2, 0.7, 0.55,
        changes=(LabelChange(label="stoat", added=(), removed=("a tail",), n_kept=0),),
        confusions=(confusion("otter", "stoat", 1, 1), confusion(HOSTILE, "otter", 0, 3)),
    )  # fmt: skip
    values = {
        "labels": LABELS,
        "model": f"openai:{HOSTILE}",
        "encoder": "mini",
        "prompt_version": "evolve-1",
        "seed": 7,
        "n_support": 30,
        "n_validation": 20,
        "generations": (start, first, second, generation(3, 0.7, 0.5)),
        "best": 2,
        "state": "patience",
        "settings": {"template": "a photo of a {label}", "n_start": 8},
        "cost_usd": Decimal("0.06"),
        "test": WON,
    }
    return Evolution(**{**values, **changes})


def scores():
    """Two labels on one scale from -0.1 to 0.3; the name alone reaches 0.1 and 0.3."""

    def one(text, contrast):
        return DescriptionScore(text=text, own=0.5 + contrast, others=0.5)

    seven = tuple(one(f"{HOSTILE} {i}", 0.2 - 0.05 * i) for i in range(7))
    return (
        LabelDescriptions(label=HOSTILE, n_photos=4, template=0.1, descriptions=seven),
        LabelDescriptions(label="otter", n_photos=1, template=0.3, descriptions=()),
    )


def controls(**changes):
    """Descriptions that are worse than the template alone and level with random words."""
    template = Control(
        name="template", prompt=f"a photo of a {HOSTILE}.", n_prompts=1, accuracy=0.8,
        accuracy_low=0.75, accuracy_high=0.85, sd=None, per_seed=(), difference=-0.1, low=-0.15,
        high=-0.05, p_value=0.0002, p_holm=0.0004, p_per_seed=(),
    )  # fmt: skip
    waffle = replace(
        template, name="waffle", n_prompts=6, accuracy=0.71, accuracy_low=0.66, accuracy_high=0.76,
        sd=0.012, per_seed=(0.7, 0.72), difference=-0.01, low=-0.03, high=0.01, p_value=0.4,
        p_holm=0.4, p_per_seed=(0.5, 0.3),
    )  # fmt: skip
    values = {
        "method": "dclip", "n_samples": 400, "n_prompts": 5.0, "accuracy": 0.7,
        "accuracy_low": 0.65, "accuracy_high": 0.75, "controls": (template, waffle),
        "seeds": (0, 1),
    }  # fmt: skip
    return Controls(**{**values, **changes})
