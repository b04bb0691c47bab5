"""Models in this process: one reading of the prompt gives what full passes give."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("transformers", reason="extra `local` is not installed")

from tests.mllm.tiny_vlm import make_idefics3, make_llava

from showtell.errors import InputError, RunError, UnknownNameError
from showtell.mllm.local import vlm as module
from showtell.mllm.local.continuations import Continuations, score_labels
from showtell.mllm.local.vlm import LocalVLM

LABELS = ["cat", "bear", "bear cub", "tabby cat", "Egyptian mau", "dog"]
MAKERS = {"idefics3": make_idefics3, "llava": make_llava}


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))


@pytest.fixture(scope="module", params=MAKERS)
def folder(request, tmp_path_factory):
    target = tmp_path_factory.mktemp(request.param)
    MAKERS[request.param](target)
    return target


@pytest.fixture(scope="module")
def vlm(folder):
    return LocalVLM(f"local-dir:{folder}", threads=1)


@pytest.fixture(scope="module")
def prompt(vlm):
    return vlm.prompt("What is shown in this picture?", stub="It shows a")


@pytest.fixture(scope="module")
def labels(vlm, prompt):
    return vlm.continuations(prompt, LABELS)


def test_reuse_of_the_prefix_equals_full_passes(vlm, prompt, labels):
    shared = vlm.score(picture(0), prompt, labels, with_end=True)
    full = vlm.score(picture(0), prompt, labels, with_end=True, reuse_prefix=False)
    np.testing.assert_allclose(shared.logprobs, full.logprobs, atol=1e-4)
    np.testing.assert_allclose(shared.end, full.end, atol=1e-4)
    np.testing.assert_array_equal(shared.lengths, full.lengths)
    assert shared.lengths.max() > 2
    assert shared.lengths.min() < shared.lengths.max()  # some are padded


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_the_cache_may_have_its_new_or_its_old_name(vlm, folder, prompt, labels, name, monkeypatch):
    """transformers 5.24 renamed it, in calls and in answers; the model's signature tells."""
    theirs, passed = vlm._cache_name, []
    load = module._load

    def load_renamed(*arguments):
        processor, network = load(*arguments)
        original = network.forward

        def forward(**inputs):
            if name in inputs:
                passed.append(inputs.pop(name))
                inputs[theirs] = passed[-1]
            answer = original(**inputs)
            return SimpleNamespace(logits=answer.logits, **{name: getattr(answer, theirs)})

        only = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY)
        forward.__signature__ = inspect.Signature([only])
        network.forward = forward
        return processor, network

    monkeypatch.setattr(module, "_load", load_renamed)
    other = LocalVLM(f"local-dir:{folder}", threads=1)
    got = other.score(picture(0), prompt, labels)
    np.testing.assert_allclose(
        got.logprobs, vlm.score(picture(0), prompt, labels).logprobs, atol=1e-6
    )
    assert len(passed) == 1


def largest_difference(vlm: LocalVLM, seed: int) -> float:
    """Of log-probabilities with and without reuse of the prefix, for 20 random labels."""
    rng = np.random.default_rng(seed)
    names = {"".join(rng.choice(list("abcdefg"), size)) for size in rng.integers(1, 12, 20)}
    prompt = vlm.prompt("Which word?", stub="It says")
    words = vlm.continuations(prompt, sorted(names))
    shared = vlm.score(picture(seed), prompt, words).logprobs
    full = vlm.score(picture(seed), prompt, words, reuse_prefix=False).logprobs
    return float(np.abs(shared - full).max())


@pytest.mark.parametrize("seed", range(3))
def test_random_labels_score_alike_with_and_without_reuse(vlm, seed):
    assert largest_difference(vlm, seed) < 1e-4


def test_random_labels_score_alike_in_bfloat16_too(tmp_path):
    make_llava(tmp_path, spread=2.0)
    half = LocalVLM(f"local-dir:{tmp_path}", dtype="bfloat16", threads=1)
    assert max(largest_difference(half, seed) for seed in range(3)) < 2e-2


def test_tokens_are_counted_as_the_processor_writes_them(vlm, prompt):
    n_image, n_text = vlm.count_tokens(picture(0), prompt)
    inputs = vlm._processor(text=[prompt], images=[picture(0)], return_tensors="pt")
    assert n_image + n_text == inputs["input_ids"].shape[1]
    assert n_image >= 4
    assert n_text == len(vlm._encode(prompt)) - 1


def test_it_equals_plain_transformers(vlm, folder, prompt, labels):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    wanted = []
    for label in LABELS:
        inputs = processor(text=[f"{prompt} {label}"], images=[picture(1)], return_tensors="pt")
        n = len(labels.tokens[LABELS.index(label)])
        with torch.inference_mode():
            after = torch.log_softmax(model(**inputs).logits[0].double(), -1)
        ids = inputs["input_ids"][0]
        wanted.append(sum(float(after[k - 1, ids[k]]) for k in range(len(ids) - n, len(ids))))
    got = score_labels(vlm.score(picture(1), prompt, labels), "sum")
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_scoring_twice_gives_identical_numbers(vlm, prompt, labels):
    first = vlm.score(picture(0), prompt, labels, with_end=True)
    vlm.score(picture(1), prompt, labels)
    again = vlm.score(picture(0), prompt, labels, with_end=True)
    np.testing.assert_array_equal(first.logprobs, again.logprobs)
    np.testing.assert_array_equal(first.end, again.end)


def test_label_order_only_permutes_the_rows(vlm, prompt, labels):
    turned = vlm.continuations(prompt, LABELS[::-1])
    forward = score_labels(vlm.score(picture(0), prompt, labels), "sum")
    backward = score_labels(vlm.score(picture(0), prompt, turned), "sum")
    np.testing.assert_allclose(backward[::-1], forward, atol=1e-5)


def test_labels_per_pass_changes_nothing(vlm, folder, prompt, labels):
    whole = vlm.score(picture(0), prompt, labels, with_end=True)
    small = LocalVLM(f"local-dir:{folder}", labels_per_pass=2)
    parts = small.score(picture(0), prompt, labels, with_end=True)
    np.testing.assert_allclose(parts.logprobs, whole.logprobs, atol=1e-5)
    np.testing.assert_allclose(parts.end, whole.end, atol=1e-5)


def test_the_picture_matters(vlm, prompt, labels):
    one = score_labels(vlm.score(picture(0), prompt, labels), "sum")
    other = score_labels(vlm.score(picture(1), prompt, labels), "sum")
    assert np.abs(one - other).max() > 0.01


def test_probabilities_of_all_first_tokens_sum_to_one(vlm, prompt, labels):
    after = vlm.first_token_logprobs(picture(0), prompt)
    assert np.exp(after).sum() == pytest.approx(1, abs=1e-5)
    firsts = [ids[0] for ids in labels.tokens]
    got = vlm.score(picture(0), prompt, labels).logprobs[:, 0]
    np.testing.assert_allclose(got, after[firsts], atol=1e-5)


def test_a_label_is_at_most_as_likely_as_its_beginning(vlm, prompt, labels):
    found = dict(zip(LABELS, score_labels(vlm.score(picture(0), prompt, labels), "sum"),
                     strict=True))  # fmt: skip
    assert found["bear cub"] < found["bear"] <= 0


def test_one_token_labels_need_no_second_pass(vlm, prompt, labels, monkeypatch):
    calls = []
    forward = vlm._model.forward
    monkeypatch.setattr(vlm._model, "forward", lambda **kw: calls.append(kw) or forward(**kw))
    single = Continuations(
        labels=("x", "y"), prefix=labels.prefix, tokens=((labels.tokens[0][0],), (9,))
    )
    vlm.score(picture(0), prompt, single)
    assert len(calls) == 1
    vlm.score(picture(0), prompt, labels)
    assert len(calls) == 3
    assert "pixel_values" not in calls[2]


def test_a_cache_that_is_not_copied_is_noticed(vlm, prompt, labels, monkeypatch):
    """The check has teeth: what an in-place cache does to several passes is found."""
    monkeypatch.setattr(vlm, "labels_per_pass", 1)
    assert vlm.check(prompt, labels) < 1e-4
    monkeypatch.setattr("showtell.mllm.local.vlm.copy.deepcopy", lambda cache: cache)
    with pytest.raises(RunError, match="cannot be scored"):
        vlm.check(prompt, labels)


def test_bfloat16_weights_stay_close(folder, vlm, prompt, labels):
    half = LocalVLM(f"local-dir:{folder}", dtype="bfloat16")
    shared = half.score(picture(0), prompt, labels)
    assert shared.logprobs.dtype == np.float64
    whole = vlm.score(picture(0), prompt, labels)
    assert 0 < np.abs(shared.logprobs - whole.logprobs).max() < 0.5
    assert half.fingerprint != vlm.fingerprint


def test_threads_are_set_only_inside(vlm, prompt, labels):
    import torch

    before = torch.get_num_threads()
    vlm.score(picture(0), prompt, labels)
    assert torch.get_num_threads() == before


def test_copies_share_the_weights_and_pickles_load_them_again(vlm, prompt, labels):
    assert copy.deepcopy([vlm])[0] is vlm
    assert copy.copy(vlm) is vlm
    again = pickle.loads(pickle.dumps(vlm))
    assert again.fingerprint == vlm.fingerprint
    np.testing.assert_array_equal(
        again.score(picture(0), prompt, labels).logprobs,
        vlm.score(picture(0), prompt, labels).logprobs,
    )


def test_a_checkpoint_without_a_chat_template(tmp_path):
    make_llava(tmp_path, chat_template=None)
    vlm = LocalVLM(f"local-dir:{tmp_path}")
    prompt = vlm.prompt("What is shown?", stub="It shows a")
    assert prompt == "<image>What is shown?\nIt shows a"
    labels = vlm.continuations(prompt, LABELS)
    assert vlm.check(prompt, labels) < 1e-4
    assert vlm.score(picture(0), vlm.prompt("Say:"), vlm.continuations(
        vlm.prompt("Say:"), ["cat"])).logprobs.shape[0] == 1  # fmt: skip


def test_a_question_with_a_picture_of_its_own_is_refused(vlm):
    with pytest.raises(InputError, match="has it 2 times"):
        vlm.prompt("What is <image>?")


@pytest.mark.parametrize("name", ["openai:gpt", "hf-hub:nothing", "local-dir:", "x", ""])
def test_another_name_is_refused(name):
    with pytest.raises(InputError, match="local-dir:PATH"):
        LocalVLM(name)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        LocalVLM(f"local-dir:{tmp_path}")


def test_missing_tensors_are_named(tmp_path):
    from safetensors.numpy import load_file, save_file

    make_llava(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    gone = next(name for name in tensors if "layers.0.mlp.up_proj" in name)
    del tensors[gone]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="lack 1 tensors"):
        LocalVLM(f"local-dir:{tmp_path}")


def test_another_kind_of_model_is_refused(tmp_path):
    make_llava(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_type"] = "bert"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cannot load it"):
        LocalVLM(f"local-dir:{tmp_path}")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"dtype": "int4"}, UnknownNameError),
        ({"threads": 0}, InputError),
        ({"labels_per_pass": 0}, InputError),
    ],
)
def test_impossible_options_are_refused(changes, error, tmp_path):
    with pytest.raises(error):
        LocalVLM(f"local-dir:{tmp_path}", **changes)
