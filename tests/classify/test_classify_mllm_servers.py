"""Through the vendors' real libraries against local servers that look at what they are sent."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image
from tests.classify.scripted import COLOURS, picture

from showtell import DirectClassifier, InContextClassifier, load_dataset
from showtell.metrics import mcnemar_exact
from showtell.mllm.model import Model
from showtell.mllm.tokens import estimate_tokens

pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
servers = pytest.importorskip("showtell.testing.servers")

KINDS = [
    ("openai", "openai:try"),
    ("google", "google:try"),
    ("anthropic", "anthropic:try"),
    ("ollama", "ollama:try"),
]


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    for name in ("OPENAI", "GOOGLE", "ANTHROPIC"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-planted-0123456789abcdef")


@pytest.fixture(scope="module")
def server():
    from showtell.testing import ColourEncoder

    with servers.LocalServer("all", encoder=ColourEncoder(), rule="nearest") as running:
        yield running


@pytest.fixture(scope="module")
def looking():
    with servers.LocalServer("all") as running:
        yield running


def need(model):
    package = {"google": "google.genai", "anthropic": "anthropic"}.get(
        model.split(":")[0], "openai"
    )
    pytest.importorskip(package, reason=f"needs the extra of {model}")


LABELS = ["red", "green", "blue", "yellow"]
X = [picture(colour, n) for n in range(6) for colour in LABELS]
Y = np.array(LABELS * 6)


@pytest.mark.parametrize(("kind", "model"), KINDS)
def test_every_vendor_answers_about_the_right_images(server, kind, model):
    need(model)
    asked = Model(model, base_url=server.url_for(kind), cache=None)
    n_before = server.stats.n_requests
    direct = DirectClassifier(asked, labels=LABELS).fit().classify(X)
    assert direct.label.tolist() == Y.tolist()
    assert server.stats.n_requests - n_before < len(X)  # several images a request
    shown = InContextClassifier(asked, shots=2, anonymise=True).fit(X, Y).classify(X)
    assert shown.label.tolist() == Y.tolist()
    assert sum(shown.columns["input_tokens"]) > 0


def test_log_probabilities_come_through_the_wire(server):
    need("openai:try")
    clf = DirectClassifier(
        Model("openai:try", base_url=server.url_for("openai"), cache=None),
        labels=LABELS,
        confidence="logprobs",
    ).fit()
    decided = DirectClassifier(
        Model("openai-decisions:try", base_url=server.url_for("openai"), cache=None), labels=LABELS
    ).fit()
    proba = clf.predict_proba(X[:4])
    assert (proba.argmax(axis=1) == [0, 1, 2, 3]).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    # both say what the same model thinks, one by its tokens and one outright
    np.testing.assert_allclose(proba, decided.predict_proba(X[:4]), atol=0.02)


def test_a_run_through_faults_gives_every_image_one_row_and_no_wrong_label():
    need("openai:try")
    check_faults(n=400, rate=0.2)


@pytest.mark.slow
def test_ten_thousand_queries_with_a_fifth_of_faults():
    need("openai:try")
    check_faults(n=10_000, rate=0.2)


def check_faults(n, rate):
    labels = list(COLOURS)
    rng = np.random.default_rng(0)
    images, truth, label_of = [], [], {}
    for i in range(n):
        pixels = rng.integers(0, 255, (4, 4, 3)).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        images.append(stream.getvalue())
        truth.append(labels[i % len(labels)])
        label_of[images[-1]] = truth[-1]
    kinds = [
        "429",
        "500",
        "cut",
        "refuse",
        "block",
        "empty",
        "broken_json",
        "drop",
        "duplicate",
        "conflict",
        "swap",
        "unknown",
        "out_of_set",
    ]  # all but time-outs, which would make the test long
    faults = ",".join(f"{kind}={rate / len(kinds)}" for kind in kinds)
    with servers.LocalServer(
        "openai", truth=lambda query: label_of[query.image.data], faults=faults, retry_after=0.05
    ) as running:
        clf = DirectClassifier(
            Model("openai:try", base_url=running.base_url, cache=None),
            labels=labels,
            images_per_request=10,
        ).fit()
        predictions = clf.classify(images)
        seen = running.stats.faults
    truth = np.array(truth)
    assert len(predictions) == n
    assert sum(predictions.counts.values()) == n
    conflicted = predictions.ok & (predictions.label != truth)
    assert not conflicted.any()
    assert predictions.ok.mean() > 0.95
    reasons = predictions.columns["reason"]
    assert all((r is None) == ok for r, ok in zip(reasons, predictions.ok, strict=True))
    assert len(seen) > len(kinds) - 3


def test_what_requests_yields_is_what_is_sent_and_its_estimate_is_what_is_counted(server):
    need("openai:try")
    clf = InContextClassifier(
        Model("openai:try", base_url=server.url_for("openai"), cache=None),
        shots=2,
        images_per_request=9,
    ).fit(X, Y)
    planned = list(clf.requests(X))
    n_before = len(server.requests)
    clf.classify(X)
    sent = server.requests[n_before:]
    assert sorted(r.n_queries for r in planned) == sorted(len(r.ids) for r in sent) == [6, 9, 9]
    estimate = sum(estimate_tokens(r).input for r in planned)
    counted = sum(r.count.input for r in sent)
    assert estimate == pytest.approx(counted, rel=0.05)


def test_no_key_byte_or_coordinate_is_left_in_any_file(server, tmp_path):
    need("openai:try")
    exif = Image.Exif()
    exif[0x010E] = "planted description"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 29.987)
    exif[0x0112] = 6
    paths = []
    for n, colour in enumerate(LABELS):
        paths.append(str(tmp_path / f"{n}.jpg"))
        Image.fromarray(np.repeat(np.repeat(picture(colour, n), 4, 0), 8, 1)).save(
            paths[-1], exif=exif, quality=95
        )
    clf = DirectClassifier(
        Model(
            "openai:try",
            base_url=server.url_for("openai"),
            run_folder=tmp_path / "run",
            cache=tmp_path / "answers.sqlite",
        ),
        labels=LABELS,
    ).fit()
    predictions = clf.classify(paths)
    assert predictions.label.tolist() == LABELS
    predictions.write(tmp_path / "out.csv")
    clf.save(tmp_path / "saved")
    for image in server.requests[-1].images:
        assert not image.has_exif
        assert image.upright
        assert (image.width, image.height) == (64, 128)  # stored lying, sent standing
    written = [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".jpg"]
    assert len(written) >= 5
    for path in written:
        content = path.read_bytes()
        for secret in (b"planted", b"29.987", b"\xff\xd8\xff", b"/9j/", b"JFIF"):
            assert secret not in content, (path.name, secret)
    assert "planted" not in repr(clf)


# Real photographs


@pytest.mark.data
@pytest.mark.parametrize(("kind", "model"), KINDS)
def test_five_shots_beat_one_shot_beats_chance_on_butterflies(
    looking, shared_datasets, kind, model
):
    need(model)
    data = load_dataset(shared_datasets / "butterflies")
    test = data.test
    n_before = len(looking.requests)
    right = {}
    for shots in (1, 5):
        clf = InContextClassifier(
            Model(model, base_url=looking.url_for(kind), cache=None), shots=shots, anonymise=True
        ).fit(data.train.images, data.train.y)
        predictions = clf.classify(test.images)
        assert predictions.ok.all()
        right[shots] = predictions.label == test.y
    assert right[5].mean() > right[1].mean() > 3 / len(data.labels)
    assert mcnemar_exact(right[5], right[1]).p_value < 0.01
    words = {w for label in data.labels for w in re.findall(r"\w+", label.casefold())}
    words -= {"butterfly", "common"}  # also plain words of the instructions, if anywhere
    for request in looking.requests[n_before:]:
        sent = set(re.findall(r"\w+", " ".join(request.texts).casefold()))
        assert not sent & words
        assert not any(
            label.casefold() in " ".join(request.texts).casefold() for label in data.labels
        )
        for image in request.images:
            assert image.upright
            assert not image.has_exif
            assert max(image.width, image.height) <= 768


@pytest.mark.data
def test_zero_shot_with_names_beats_chance_and_without_them_is_chance(looking, shared_datasets):
    need("openai:try")
    data = load_dataset(shared_datasets / "butterflies")
    test = data.test
    asked = Model("openai:try", base_url=looking.url_for("openai"), cache=None)
    named = DirectClassifier(asked, labels=data.labels).fit()
    assert (named.predict(test.images) == test.y).mean() > 0.3
    blind = InContextClassifier(asked, labels=data.labels, shots=0, anonymise=True).fit()
    accuracy = (blind.predict(test.images) == test.y).mean()
    chance = 1 / len(data.labels)
    assert abs(accuracy - chance) < 3 * np.sqrt(chance * (1 - chance) / len(test.y))


@pytest.mark.data
def test_batches_of_many_shots_cost_a_thirtieth_and_answer_the_same(looking, shared_datasets):
    need("google:try")
    butterflies = load_dataset(shared_datasets / "butterflies")
    flowers = load_dataset(shared_datasets / "flowers")
    chosen = dict.fromkeys(flowers.labels[:5], flowers)
    chosen |= dict.fromkeys(butterflies.labels[:10], butterflies)
    X_fit, y_fit, X_ask = [], [], []
    for label, data in chosen.items():
        train, test = data.train, data.test
        X_fit += [x for x, y in zip(train.images, train.y, strict=True) if y == label][:5]
        y_fit += [label] * 5
        X_ask += [x for x, y in zip(test.images, test.y, strict=True) if y == label][:5]
    asked = Model("google:try", base_url=looking.url_for("google"), cache=None)
    batched = InContextClassifier(asked, shots=5).fit(X_fit, y_fit)
    single = InContextClassifier(asked, shots=5, images_per_request=1).fit(X_fit, y_fit)
    together, apart = batched.classify(X_ask), single.classify(X_ask)
    assert len(together) == 75
    assert together.label.tolist() == apart.label.tolist()
    tokens = [sum(p.columns["input_tokens"]) for p in (together, apart)]
    assert tokens[0] <= tokens[1] / 30
