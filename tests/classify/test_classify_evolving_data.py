"""Evolving descriptions on photos, with a local server that writes good words and bad ones."""

from __future__ import annotations

import pytest

from showtell.classify import EvolvingDescriptionClassifier
from showtell.classify.base import LimitsWarning
from showtell.datasets import load_dataset
from showtell.encoders import load_encoder
from showtell.evaluate import evaluate
from showtell.metrics import mcnemar_exact
from showtell.mllm.model import Model
from showtell.prompts import write_descriptions
from showtell.testing.servers import Author, LocalServer

pytestmark = [
    pytest.mark.data,
    pytest.mark.filterwarnings(f"ignore::{LimitsWarning.__module__}.{LimitsWarning.__name__}"),
]


@pytest.fixture(scope="module")
def data(shared_datasets):
    return load_dataset(shared_datasets / "weather")


@pytest.fixture(scope="module")
def author(data):
    """Knows a third of the usual words from the training photos, and all of the planted ones."""
    pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
    labels = [str(label) for label in data.train.y]
    return Author(images=list(data.train.images), labels=labels, words=Author().words[::3])


@pytest.fixture(scope="module")
def known(author):
    return author.measure(load_encoder("mini"))


@pytest.fixture(scope="module")
def evolve(data, author, tmp_path_factory):
    """From descriptions that the server writes, half of their words bad ones."""
    store = tmp_path_factory.mktemp("evolving") / "embeddings.sqlite"
    labels = [str(label) for label in data.labels]

    def run():
        with LocalServer(
            "openai", author=author, faults="forget-label=0.1,repeat=0.1", seed=1
        ) as server:
            access = Model(model="openai:try", base_url=server.base_url, cache=None)
            return EvolvingDescriptionClassifier(
                Model("openai:try", base_url=server.base_url, cache=None),
                labels=labels,
                start=write_descriptions(labels, access).descriptions,
                n_generations=5,
                random_state=1,
                calibrate=False,
                store=store,
            ).fit(data.train.images, data.train.y)

    return run


@pytest.fixture(scope="module")
def evolved(evolve):
    return evolve()


def pairs(texts):
    return {(label, word.casefold()) for label, words in texts.items() for word in words}


def noted(evolved, bank):
    return set().union(*(pairs(getattr(generation, bank)) for generation in evolved.history_))


def test_words_get_better_on_photos_that_nobody_has_seen(data, evolved):
    before = evaluate(evolved.at(0), data.test, controls=False).correct
    after = evaluate(evolved, data.test, controls=False).correct
    assert evolved.best_generation_ > 0
    assert after.mean() > before.mean() + 0.05
    assert mcnemar_exact(before, after).p_value < 0.05


def test_the_memory_holds_words_that_were_planted_to_do_harm(author, known, evolved):
    planted = pairs(
        {label: set(words.bad) & set(author.nonsense) for label, words in known.items()}
    )
    assert planted & noted(evolved, "bad_words")


def test_words_are_noted_as_bad_that_do_harm_rather_than_those_that_help(known, evolved):
    bad = pairs({label: words.bad for label, words in known.items()})
    good = pairs({label: words.good for label, words in known.items()})
    found = noted(evolved, "bad_words")
    assert len(found & bad) > 3 * len(found & good)


def test_the_same_seed_is_the_same_evolution(evolve, evolved):
    assert evolve().history_ == evolved.history_
