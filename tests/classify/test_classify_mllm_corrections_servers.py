"""Biases planted in a local server, through a vendor's real library, and what is left of them."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image
from tests.classify.scripted import COLOURS

from showtell import DirectClassifier, InContextClassifier, load_dataset
from showtell.metrics import flip_rate, mcnemar_exact
from showtell.mllm.model import Model

pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
pytest.importorskip("openai", reason="needs the extra openai")
servers = pytest.importorskip("showtell.testing.servers")

LABELS = list(COLOURS)[:5]
RNG = np.random.default_rng(0)
TRUTH = np.arange(100) % len(LABELS)


def file_of_noise():
    """PNG that is sent byte for byte, so that the server may know its label."""
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 255, (4, 4, 3)).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


X = [file_of_noise() for _ in TRUTH]
SHOWN = [file_of_noise() for _ in LABELS * 2]
LABEL_OF = {x: LABELS[t] for x, t in zip(X, TRUTH, strict=True)}
LABEL_OF |= dict(zip(SHOWN, LABELS * 2, strict=True))
MOST_FLIPS = 0.02


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789abcdef")


def label_of(query):
    return LABEL_OF.get(query.image.data)


def answers(make, images=X, labels=LABELS, **params):
    """Codes under every shift of the list of labels, shape (n_images, n_labels)."""
    columns = []
    for k in range(len(labels)):
        clf = make([*labels[k:], *labels[:k]], **params)
        columns.append([labels.index(name) for name in clf.predict(images)])
    return np.array(columns).T


@pytest.mark.parametrize("pull", ["first", "last"])
def test_a_pull_towards_places_flips_no_answer_any_more(pull):
    bias = servers.Bias(**{pull: 0.3})
    with servers.LocalServer("openai", truth=label_of, bias=bias) as server:

        def make(labels, **params):
            return DirectClassifier(
                Model("openai:try", base_url=server.base_url, cache=None), labels=labels, **params
            ).fit()

        before, after = answers(make), answers(make, rotations="all")
    assert flip_rate(before) > 0.5
    assert flip_rate(after) <= MOST_FLIPS
    right, now = before[:, 0] == TRUTH, after[:, 0] == TRUTH
    assert now.mean() > 0.97 > 0.85 > right.mean()
    assert mcnemar_exact(now, right).p_value < 1e-3


@pytest.mark.parametrize("anonymise", [False, True])
def test_a_pull_towards_the_last_example_flips_no_answer_any_more(anonymise):
    bias = servers.Bias(recent=0.3)
    with servers.LocalServer("openai", truth=label_of, bias=bias) as server:

        def predict(seed, **params):
            clf = InContextClassifier(
                Model("openai:try", base_url=server.base_url, cache=None),
                shots=1,
                labels=LABELS,
                anonymise=anonymise,
                random_state=seed,
                **params,
            )
            return [LABELS.index(n) for n in clf.fit(SHOWN, LABELS * 2).predict(X)]

        before = np.array([predict(seed) for seed in range(4)]).T
        after = np.array([predict(seed, rotations="all") for seed in range(4)]).T
    assert flip_rate(before) > 0.5
    # neutral names differ from draw to draw as well, so that other images are pulled
    assert flip_rate(after) <= (0.1 if anonymise else MOST_FLIPS)
    assert (after == TRUTH[:, None]).mean() > 0.97
    assert mcnemar_exact(after[:, 0] == TRUTH, before[:, 0] == TRUTH).p_value < 1e-3


def test_without_a_bias_nothing_changes():
    with servers.LocalServer("openai", truth=label_of) as server:
        for params in ({}, {"rotations": "all"}):
            clf = DirectClassifier(
                Model("openai:try", base_url=server.base_url, cache=None), labels=LABELS, **params
            ).fit()
            assert (clf.predict(X) == np.array(LABELS)[TRUTH]).all()


def test_a_correction_of_answers_that_agree_leaves_them():
    with servers.LocalServer("openai", truth=label_of) as server:
        clf = DirectClassifier(
            Model("openai:try", base_url=server.base_url, cache=None),
            labels=LABELS,
            rotations="all",
            debias="batch",
        ).fit()
        with pytest.warns(UserWarning, match="nothing to work on"):
            found = clf.predict(X)
    assert (found == np.array(LABELS)[TRUTH]).all()


# Real photographs


@pytest.fixture(scope="module")
def butterflies(shared_datasets):
    data = load_dataset(shared_datasets / "butterflies")
    labels = list(data.labels)[:6]
    pairs = [(x, y) for x, y in zip(data.test.images, data.test.y, strict=True) if y in labels]
    return labels, [x for x, _ in pairs], np.array([labels.index(y) for _, y in pairs])


def decisions(server, labels, **params):
    return DirectClassifier(
        Model("openai-decisions:try", base_url=server.url_for("openai"), cache=None),
        labels=labels,
        **params,
    ).fit()


@pytest.mark.data
def test_weights_of_places_cancel_on_photographs(butterflies):
    labels, images, truth = butterflies
    images, truth = images[::3], truth[::3]
    with servers.LocalServer("all", bias=servers.Bias(order=4.0)) as server:

        def make(listed, **params):
            return decisions(server, listed, **params)

        before = answers(make, images, labels)
        after = answers(make, images, labels, rotations="all")
    with servers.LocalServer("all") as server:
        honest = [labels.index(name) for name in decisions(server, labels).predict(images)]
    assert flip_rate(before) > 0.5
    assert flip_rate(after) <= MOST_FLIPS
    assert (after[:, 0] == honest).mean() > 0.97
    assert (after == truth[:, None]).mean() > (before == truth[:, None]).mean() + 0.04


@pytest.mark.data
def test_a_planted_prior_is_undone_by_blank_pictures_and_by_a_balanced_batch(butterflies):
    labels, images, truth = butterflies
    prior = {labels[1]: 3.0}
    right = {}
    with servers.LocalServer("all", bias=servers.Bias(prior=prior)) as server:
        for name in (None, "contextual", "batch"):
            found = decisions(server, labels, debias=name).predict(images)
            right[name] = np.array([labels.index(n) for n in found]) == truth
    with servers.LocalServer("all") as server:
        found = decisions(server, labels).predict(images)
        honest = np.array([labels.index(n) for n in found]) == truth
        for name in ("contextual", "batch"):
            found = decisions(server, labels, debias=name).predict(images)
            unbiased = np.array([labels.index(n) for n in found]) == truth
            # no worse than chance would show
            assert unbiased.mean() > honest.mean() or mcnemar_exact(unbiased, honest).p_value > 0.05
    for name in ("contextual", "batch"):
        assert right[name].mean() > right[None].mean() + 0.1
        assert mcnemar_exact(right[name], right[None]).p_value < 1e-4
        assert right[name].mean() > honest.mean() - 0.05


@pytest.mark.data
def test_votes_with_a_prior_and_an_order_are_corrected_too(butterflies):
    labels, images, truth = butterflies
    bias = servers.Bias(order=2.0, prior={labels[1]: 3.0})
    right = {}
    with servers.LocalServer("all", bias=bias) as server:
        for name in ("once", None, "contextual", "batch"):
            params = {} if name == "once" else {"rotations": "all", "debias": name}
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                clf = DirectClassifier(
                    Model("openai:try", base_url=server.url_for("openai"), cache=None),
                    labels=labels,
                    **params,
                ).fit()
            found = [labels.index(n) for n in clf.predict(images)]
            right[name] = np.array(found) == truth
    assert mcnemar_exact(right[None], right["once"]).p_value < 1e-3
    for name in ("contextual", "batch"):
        assert right[name].mean() > right[None].mean()
        assert mcnemar_exact(right[name], right[None]).p_value < 0.01
