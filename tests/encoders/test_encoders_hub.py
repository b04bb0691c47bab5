"""Hub encoders compute what transformers computes, on small random checkpoints made here."""

from __future__ import annotations

import importlib
import json
import pickle
import shutil
import struct
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from showtell.encoders import default_store, embed_images, load_encoder, registry
from showtell.encoders.hub.config import choose_weights, read_scalars
from showtell.encoders.hub.encoder import HubEncoder, HubWarning
from showtell.encoders.hub.image import ImageSpec
from showtell.encoders.hub.text import TruncationWarning, clean_text
from showtell.errors import InputError, MissingExtraError, RunError, UnknownNameError

torch = pytest.importorskip("torch", reason="hub models are made and compared with torch")
transformers = pytest.importorskip("transformers", reason="the reference is transformers")
pytest.importorskip("onnx", reason="checkpoints are exported to ONNX")

TEXTS = ["a cat", "A big Dog!", "the quick brown fox jumped over 12 dogs", "cat, dog & fox"]
LETTERS = [chr(code) for code in range(97, 123)] + list("0123456789.,'!&")


@pytest.fixture(scope="module")
def pictures():
    """Landscape, portrait, square, smaller than the input, grey, and a strip."""
    rng = np.random.default_rng(0)
    sizes = [(50, 70), (71, 40), (32, 32), (20, 25), (33, 200), (64, 64)]
    images = [Image.fromarray(rng.integers(0, 256, (*s, 3), dtype=np.uint8)) for s in sizes]
    images.append(Image.fromarray(rng.integers(0, 256, (41, 37), dtype=np.uint8)))  # grey
    return images


def randomise(network, scale, bias=None):
    """Weights large enough that embeddings of different inputs differ."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2)
            elif parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.05)
        network.logit_scale.fill_(scale)
        if bias is not None:
            network.logit_bias.fill_(bias)
    return network.eval()


def quietly(make):
    """Call something of transformers that talks on stderr."""
    transformers.utils.logging.disable_progress_bar()
    return make()


@pytest.fixture(scope="module")
def clip_parts():
    """A CLIP model, its tokenizer and its image processor, from transformers."""
    vocabulary: dict[str, int] = {}
    for token in [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]:
        vocabulary[token] = len(vocabulary)
    merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    start = vocabulary["<|startoftext|>"] = len(vocabulary)
    end = vocabulary["<|endoftext|>"] = len(vocabulary)
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    network = transformers.CLIPModel(
        transformers.CLIPConfig(
            projection_dim=24,
            text_config={
                "vocab_size": len(vocabulary),
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "projection_dim": 24,
                "bos_token_id": start,
                "eos_token_id": end,
                "pad_token_id": end,
            },
            vision_config={
                "hidden_size": 48,
                "intermediate_size": 96,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 32,
                "patch_size": 8,
                "projection_dim": 24,
            },
        )
    )
    processor = transformers.models.clip.image_processing_pil_clip.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    return randomise(network, np.log(20.0)), tokenizer, processor


@pytest.fixture(scope="module")
def siglip_parts():
    """A SigLIP model with a unigram tokenizer like SentencePiece's."""
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    pieces = [("</s>", 0.0), ("<unk>", -20.0), ("▁", -3.0)]
    pieces += [(letter, -6.0) for letter in LETTERS]
    pieces += [(word, -4.0) for word in ("▁a", "▁cat", "▁dog", "▁the", "▁fox")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=1))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 0)]
    )
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="</s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=64,
        model_input_names=["input_ids"],
    )
    processor = transformers.models.siglip.image_processing_pil_siglip.SiglipImageProcessorPil(
        size={"height": 32, "width": 32}
    )
    return siglip_network(len(pieces)), wrapped, processor


def siglip_network(n_tokens):
    config = transformers.SiglipConfig(
        text_config={
            "vocab_size": n_tokens,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
    )
    return randomise(transformers.SiglipModel(config), np.log(10.0), -4.5)


@pytest.fixture(scope="module")
def siglip2_parts():
    """SigLIP 2 of fixed resolution: SigLIP's network with a lower-casing byte-pair tokenizer."""
    vocabulary = {t: i for i, t in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])}
    for letter in ["▁", *LETTERS]:
        vocabulary[letter] = len(vocabulary)
    merges = [("c", "a"), ("ca", "t"), ("d", "o"), ("do", "g")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = transformers.Siglip2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        model_max_length=64,
        model_input_names=["input_ids"],  # as published: the model was trained to see its padding
    )
    processor = transformers.models.siglip.image_processing_pil_siglip.SiglipImageProcessorPil(
        size={"height": 32, "width": 32}
    )
    return siglip_network(len(vocabulary)), tokenizer, processor


def save(folder, parts):
    network, tokenizer, processor = parts
    quietly(lambda: network.save_pretrained(folder))
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory, clip_parts, siglip_parts, siglip2_parts):
    """One folder per family, as it would come from the hub."""
    root = tmp_path_factory.mktemp("models")
    return {
        "clip": save(root / "clip", clip_parts),
        "siglip": save(root / "siglip", siglip_parts),
        "siglip2": save(root / "siglip2", siglip2_parts),
    }


@pytest.fixture(scope="module")
def parts(clip_parts, siglip_parts, siglip2_parts):
    return {"clip": clip_parts, "siglip": siglip_parts, "siglip2": siglip2_parts}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache for the whole module, so that each model is exported once."""
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(autouse=True)
def _module_cache(cache, monkeypatch, _own_cache):
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(cache))
    monkeypatch.setattr(registry, "_loaded", {})


FAMILIES = ["clip", "siglip", "siglip2"]


def reference(parts, pictures, texts):
    """Embeddings and logits as transformers computes them."""
    network, tokenizer, processor = parts
    rgb = [picture.convert("RGB") for picture in pictures]
    padding = {"padding": True}
    if network.config.model_type == "siglip":
        padding = {"padding": "max_length", "max_length": 64, "truncation": True}
    ids = tokenizer(texts, return_tensors="pt", **padding)
    if network.config.model_type == "siglip":
        ids = {"input_ids": ids["input_ids"]}
    with torch.inference_mode():
        out = network(**ids, **processor(rgb, return_tensors="pt"))
    return out.image_embeds.numpy(), out.text_embeds.numpy(), out.logits_per_image.numpy()


def probabilities(encoder, images, texts):
    logits = encoder.logit_scale * images @ texts.T + encoder.logit_bias
    if encoder.probability == "sigmoid":
        return 1 / (1 + np.exp(-logits))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_and_logits_equal_those_of_transformers(folders, parts, pictures, family):
    encoder = HubEncoder(f"local-dir:{folders[family]}")
    images, texts = encoder.encode_images(pictures), encoder.encode_texts(TEXTS)
    expected_images, expected_texts, expected_logits = reference(parts[family], pictures, TEXTS)

    assert len(np.unique(expected_images.round(3), axis=0)) == len(pictures)  # not all the same
    np.testing.assert_allclose(images, expected_images, atol=1e-4)
    np.testing.assert_allclose(texts, expected_texts, atol=1e-4)
    logits = encoder.logit_scale * images @ texts.T + encoder.logit_bias
    np.testing.assert_allclose(logits, expected_logits, atol=1e-3)
    assert encoder.precision == "fp32"
    assert encoder.probability == ("softmax" if family == "clip" else "sigmoid")
    assert encoder.zero_shot_note == ""


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_equal_those_of_the_zero_shot_pipeline(folders, parts, pictures, family):
    network, tokenizer, processor = parts[family]
    pipeline = quietly(
        lambda: transformers.pipeline(
            "zero-shot-image-classification",
            model=network,
            tokenizer=tokenizer,
            image_processor=processor,
            device="cpu",
        )
    )
    labels = ["cat", "dog", "red fox"]
    encoder = load_encoder(f"local-dir:{folders[family]}")
    texts = encoder.encode_texts([f"This is a photo of {label}." for label in labels])
    ours = probabilities(encoder, encoder.encode_images(pictures), texts)
    for row, picture in zip(ours, pictures, strict=True):
        answer = {one["label"]: one["score"] for one in pipeline(picture, candidate_labels=labels)}
        np.testing.assert_allclose(row, [answer[label] for label in labels], atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_neither_batch_nor_order_matters(folders, pictures, family, precision):
    encoder = load_encoder(f"local-dir:{folders[family]}", precision=precision)
    exact = precision == "int8"  # there, everything goes through alone
    images = encoder.encode_images(pictures)
    texts = encoder.encode_texts(TEXTS)
    for batch_size in (1, 2, 5):
        other = embed_images(encoder, pictures[::-1], store=None, batch_size=batch_size).rows()
        np.testing.assert_allclose(other[::-1], images, atol=0 if exact else 1e-5)
    np.testing.assert_allclose(
        encoder.encode_texts(TEXTS[::-1])[::-1], texts, atol=0 if exact else 1e-5
    )
    alone = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, texts, atol=0 if exact else 1e-5)
    pixels = np.stack([encoder.prepare(picture) for picture in pictures])
    np.testing.assert_allclose(encoder.encode_prepared(pixels), images, atol=0 if exact else 1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_int8_stays_near_fp32(folders, pictures, family):
    """Stated tolerance: cosine of at least 0.99 to fp32, on networks of width 32 to 48."""
    full = load_encoder(f"local-dir:{folders[family]}", precision="fp32")
    small = load_encoder(f"local-dir:{folders[family]}", precision="int8")
    assert (small.precision, small.batch_size) == ("int8", 1)
    assert small.fingerprint != full.fingerprint
    assert (small.logit_scale, small.logit_bias) == (full.logit_scale, full.logit_bias)
    images = (full.encode_images(pictures) * small.encode_images(pictures)).sum(axis=1)
    texts = (full.encode_texts(TEXTS) * small.encode_texts(TEXTS)).sum(axis=1)
    assert images.min() > 0.99
    assert texts.min() > 0.99
    assert images.min() < 1 - 1e-7  # it is another computation


def test_scale_and_bias_are_read_from_the_weights(folders):
    clip = load_encoder(f"local-dir:{folders['clip']}")
    siglip = load_encoder(f"local-dir:{folders['siglip']}")
    assert (clip.logit_scale, clip.logit_bias) == (pytest.approx(20.0), 0.0)
    assert (siglip.logit_scale, siglip.logit_bias) == (pytest.approx(10.0), pytest.approx(-4.5))


@pytest.mark.parametrize("family", FAMILIES)
def test_torch_runtime_gives_the_same(folders, pictures, family):
    onnx = load_encoder(f"local-dir:{folders[family]}")
    native = HubEncoder(f"local-dir:{folders[family]}", runtime="torch", threads=1)
    np.testing.assert_allclose(
        native.encode_images(pictures), onnx.encode_images(pictures), atol=1e-5
    )
    np.testing.assert_allclose(native.encode_texts(TEXTS), onnx.encode_texts(TEXTS), atol=1e-5)
    assert native.fingerprint != onnx.fingerprint


def test_the_export_is_made_once(folders, cache, monkeypatch):
    load_encoder(f"local-dir:{folders['clip']}", precision="int8")
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setitem(sys.modules, "torch", None)  # cannot be imported any more
    monkeypatch.setitem(sys.modules, "onnx", None)
    for precision in ("fp32", "int8"):
        again = load_encoder(f"local-dir:{folders['clip']}", precision=precision)
        assert again.encode_texts(["a cat"]).shape == (1, 24)
    assert not [path for path in (cache / "onnx").iterdir() if path.name.count("-") > 2]  # no rests


@pytest.mark.parametrize("package", ["torch", "transformers", "onnx"])
def test_without_an_export_the_install_line_is_given(folders, tmp_path, monkeypatch, package):
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*showtell\[export\]"):
        HubEncoder(f"local-dir:{folders['clip']}")


def test_changed_weights_have_another_fingerprint(folders, clip_parts, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(folders["clip"], folder)
    same = HubEncoder(f"local-dir:{folder}")
    original = HubEncoder(f"local-dir:{folders['clip']}")
    assert same.fingerprint == original.fingerprint  # the place does not matter
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-40] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert HubEncoder(f"local-dir:{folder}").fingerprint != same.fingerprint


def test_other_preprocessing_has_another_fingerprint(folders, tmp_path, pictures):
    folder = tmp_path / "clip"
    shutil.copytree(folders["clip"], folder)
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    settings["resample"] = 2
    file.write_text(json.dumps(settings))
    changed, original = (HubEncoder(f"local-dir:{f}") for f in (folder, folders["clip"]))
    assert changed.fingerprint != original.fingerprint
    gap = np.abs(changed.encode_images(pictures) - original.encode_images(pictures)).max()
    assert gap > 1e-3


def test_long_texts_are_cut_counted_and_warned_about_once(folders, parts):
    network, tokenizer, _ = parts["clip"]
    encoder = HubEncoder(f"local-dir:{folders['clip']}")
    long = "cat dog " * 60
    with pytest.warns(TruncationWarning, match="2 of 3 texts have more than the 77 tokens"):
        rows = encoder.encode_texts([long, "cat", long + "fox"])
    assert encoder.n_truncated == 2
    encoder.encode_texts([long])  # no second warning: it would be an error here
    assert encoder.n_truncated == 3
    with torch.inference_mode():
        ids = tokenizer([long], truncation=True, max_length=77, return_tensors="pt")
        expected = network.get_text_features(**ids).pooler_output.numpy()[0]
    np.testing.assert_allclose(rows[0], expected / np.linalg.norm(expected), atol=1e-4)
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-6)


def test_siglip_texts_are_canonical_whatever_the_tokenizer_file_does(folders, tmp_path):
    folder = tmp_path / "siglip"
    shutil.copytree(folders["siglip"], folder)
    expected = HubEncoder(f"local-dir:{folder}").encode_texts(TEXTS)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None  # as converted SentencePiece files have it
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["tokenizer_class"] = "SiglipTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    np.testing.assert_allclose(
        HubEncoder(f"local-dir:{folder}").encode_texts(TEXTS), expected, atol=1e-6
    )


def test_clip_reads_its_older_tokenizer_files(folders, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(folders["clip"], folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(tokenizer["model"]["vocab"]))
    pairs = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]
    ]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs]))
    (folder / "tokenizer.json").unlink()
    texts = [*TEXTS, "it's  the\tfox's", "12 DOGS"]
    np.testing.assert_allclose(
        HubEncoder(f"local-dir:{folder}").encode_texts(texts),
        HubEncoder(f"local-dir:{folders['clip']}").encode_texts(texts),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("how", "expected"),
    [("none", "It's  A Cat."), ("lower", "it's  a cat."), ("canonical", "its a cat")],
)
def test_texts_are_cleaned_as_the_family_was_trained(how, expected):
    assert clean_text("It's  A Cat.", how) == expected


@pytest.mark.parametrize("texts", ["a cat", ["a cat", 3]])
def test_only_sequences_of_strings_are_texts(folders, texts):
    with pytest.raises(InputError, match="sequence of strings"):
        load_encoder(f"local-dir:{folders['clip']}").encode_texts(texts)


def test_nothing_in_nothing_out(folders):
    encoder = load_encoder(f"local-dir:{folders['clip']}")
    assert encoder.encode_texts([]).shape == (0, 24)
    assert encoder.encode_images([]).shape == (0, 24)
    assert encoder.encode_prepared(np.zeros((0, 3, 32, 32), np.float32)).shape == (0, 24)
    with pytest.raises(InputError, match=r"\(n, 3, 32, 32\), got \(1, 3, 8, 8\)"):
        encoder.encode_prepared(np.zeros((1, 3, 8, 8), np.float32))


def test_embeddings_are_kept_per_precision(folders, pictures, tmp_path, monkeypatch):
    full = load_encoder(f"local-dir:{folders['clip']}")
    small = load_encoder(f"local-dir:{folders['clip']}", precision="int8")
    for encoder in (full, small, full, small):
        result = embed_images(encoder, pictures, store=tmp_path / "store.sqlite")
    assert result.n_from_store == len(pictures)
    assert len(default_store().stats().encoders) == 0


def test_a_copy_in_another_process_is_made_from_the_name(folders, pictures):
    encoder = load_encoder(f"local-dir:{folders['clip']}", precision="int8", threads=1)
    copy = pickle.loads(pickle.dumps(encoder))
    assert (copy.fingerprint, copy.threads, copy.precision) == (encoder.fingerprint, 1, "int8")
    np.testing.assert_array_equal(copy.encode_images(pictures), encoder.encode_images(pictures))


# --- ONNX files as repositories publish them ---------------------------------------------------


@pytest.fixture(scope="module")
def exported(folders, cache):
    """Folder of the exported CLIP, SigLIP ... towers."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOWTELL_CACHE_DIR", str(cache))
        for family in FAMILIES:
            encoder = HubEncoder(f"local-dir:{folders[family]}")
            found[family] = encoder._files["image"].parent
    return found


def publish(folders, exported, family, target, *, ending=""):
    shutil.copytree(folders[family], target, ignore=shutil.ignore_patterns("*.safetensors"))
    (target / "onnx").mkdir()
    shutil.copy(exported[family] / "image.onnx", target / "onnx" / f"vision_model{ending}.onnx")
    shutil.copy(exported[family] / "text.onnx", target / "onnx" / f"text_model{ending}.onnx")
    return target


def test_published_towers_run_without_torch(folders, exported, pictures, tmp_path, monkeypatch):
    folder = publish(folders, exported, "siglip", tmp_path / "siglip")
    shutil.copy(folders["siglip"] / "model.safetensors", folder)
    original = load_encoder(f"local-dir:{folders['siglip']}")
    for package in ("torch", "transformers", "onnx"):
        monkeypatch.setitem(sys.modules, package, None)
    encoder = HubEncoder(f"local-dir:{folder}")
    assert (encoder.logit_scale, encoder.logit_bias) == (original.logit_scale, original.logit_bias)
    np.testing.assert_allclose(
        encoder.encode_images(pictures), original.encode_images(pictures), atol=1e-6
    )
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), original.encode_texts(TEXTS), atol=1e-6)


def test_clip_towers_without_their_scale_say_what_is_assumed(folders, exported, tmp_path):
    folder = publish(folders, exported, "clip", tmp_path / "clip")
    with pytest.warns(HubWarning, match="100 is used"):
        assert HubEncoder(f"local-dir:{folder}").logit_scale == 100.0


def test_siglip_towers_without_scale_and_bias_are_refused(folders, exported, tmp_path):
    folder = publish(folders, exported, "siglip", tmp_path / "siglip")
    with pytest.raises(InputError, match="are learned"):
        HubEncoder(f"local-dir:{folder}")


@pytest.mark.filterwarnings("ignore::showtell.encoders.hub.encoder.HubWarning")
def test_int8_files_are_taken_as_published(folders, exported, tmp_path, monkeypatch):
    folder = publish(folders, exported, "clip", tmp_path / "clip", ending="_quantized")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert HubEncoder(f"local-dir:{folder}").precision == "int8"
    assert HubEncoder(f"local-dir:{folder}", precision="int8").batch_size == 1
    with pytest.raises(InputError, match="int8 weights only"):
        HubEncoder(f"local-dir:{folder}", precision="fp32")


@pytest.mark.filterwarnings("ignore::showtell.encoders.hub.encoder.HubWarning")
def test_int8_is_made_from_published_fp32_without_torch(
    folders, exported, tmp_path, monkeypatch, pictures
):
    folder = publish(folders, exported, "clip", tmp_path / "clip")
    full = HubEncoder(f"local-dir:{folder}")
    monkeypatch.setitem(sys.modules, "torch", None)
    small = HubEncoder(f"local-dir:{folder}", precision="int8")
    cosine = (full.encode_images(pictures) * small.encode_images(pictures)).sum(axis=1)
    assert 0.99 < cosine.min() < 1 - 1e-7


@pytest.mark.filterwarnings("ignore::showtell.encoders.hub.encoder.HubWarning")
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("weights", ["QInt8", "QUInt8"])
def test_published_int8_stays_near_fp32_on_every_processor(
    folders, exported, tmp_path, pictures, weights, per_channel
):
    """Signed per channel falls to 0.95 where sums of products overflow (AVX2 without VNNI)."""
    quantization = importlib.import_module("onnxruntime.quantization")
    folder = publish(folders, exported, "clip", tmp_path / "clip", ending="_quantized")
    for side, name in (("image", "vision"), ("text", "text")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantization.quantize_dynamic(
                exported["clip"] / f"{side}.onnx",
                folder / "onnx" / f"{name}_model_quantized.onnx",
                op_types_to_quantize=["MatMul", "Gemm"],
                weight_type=quantization.QuantType[weights],
                per_channel=per_channel,
            )
    full = load_encoder(f"local-dir:{folders['clip']}")
    small = HubEncoder(f"local-dir:{folder}")
    images = (full.encode_images(pictures) * small.encode_images(pictures)).sum(axis=1)
    texts = (full.encode_texts(TEXTS) * small.encode_texts(TEXTS)).sum(axis=1)
    assert 0.99 < images.min() < 1 - 1e-7
    assert 0.99 < texts.min() < 1 - 1e-7


def test_int8_sessions_sum_without_overflow(folders):
    encoder = load_encoder(f"local-dir:{folders['clip']}", precision="int8")
    for side in ("image", "text"):
        options = encoder._session(side).get_session_options()
        assert options.get_session_config_entry("session.x64quantprecision") == "1"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_fingerprint_names_how_int8_is_made(folders, monkeypatch, precision):
    """Embeddings and files of another scheme are not mixed in; fp32 knows no scheme."""
    name = f"local-dir:{folders['clip']}"
    before = HubEncoder(name, precision=precision)
    for module in ("encoder", "export"):
        monkeypatch.setattr(f"showtell.encoders.hub.{module}.INT8_SCHEME", "int8_otherwise")
    after = HubEncoder(name, precision=precision)
    assert (after.fingerprint == before.fingerprint) == (precision == "fp32")
    assert (after._files == before._files) == (precision == "fp32")


def test_torch_runtime_needs_safetensors(folders, exported, tmp_path):
    folder = publish(folders, exported, "clip", tmp_path / "clip")
    with pytest.raises(InputError, match="needs safetensors"):
        HubEncoder(f"local-dir:{folder}", runtime="torch")


class Joint(torch.nn.Module):
    """Both towers in one graph, with the outputs that exporters of transformers give it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, input_ids, pixel_values):
        out = self.network(input_ids=input_ids, pixel_values=pixel_values)
        return out.logits_per_image, out.logits_per_text, out.text_embeds, out.image_embeds


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_one_joint_file_gives_embeddings_scale_and_bias(folders, parts, pictures, tmp_path, family):
    network, _, _ = parts[family]
    folder = tmp_path / family
    shutil.copytree(folders[family], folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "onnx").mkdir()
    length = 5 if family == "clip" else 64
    attention = network.config._attn_implementation
    network.set_attn_implementation("eager")
    names = ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Joint(network),
            (torch.ones(2, length, dtype=torch.int64), torch.zeros(3, 3, 32, 32)),
            str(folder / "onnx" / "model.onnx"),
            dynamo=False,
            input_names=["input_ids", "pixel_values"],
            output_names=names,
            dynamic_axes={
                "input_ids": {0: "n_texts"} | ({1: "length"} if family == "clip" else {}),
                "pixel_values": {0: "n_images"},
                "text_embeds": {0: "n_texts"},
                "image_embeds": {0: "n_images"},
                "logits_per_image": {0: "n_images", 1: "n_texts"},
                "logits_per_text": {0: "n_texts", 1: "n_images"},
            },
            opset_version=17,
        )
    network.set_attn_implementation(attention)
    encoder = HubEncoder(f"local-dir:{folder}")
    original = load_encoder(f"local-dir:{folders[family]}")
    assert encoder.logit_scale == pytest.approx(original.logit_scale, rel=1e-3)
    assert encoder.logit_bias == pytest.approx(original.logit_bias, abs=1e-3)
    np.testing.assert_allclose(
        encoder.encode_images(pictures), original.encode_images(pictures), atol=1e-5
    )
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), original.encode_texts(TEXTS), atol=1e-5)


# --- OpenCLIP ---------------------------------------------------------------------------------


class OpenClip(torch.nn.Module):
    """The plain ViT model of open_clip, written down from its architecture: the reference."""

    def __init__(self, n_tokens, context):
        super().__init__()
        self.visual = torch.nn.Module()
        self.visual.conv1 = torch.nn.Conv2d(3, 48, 8, 8, bias=False)
        self.visual.class_embedding = torch.nn.Parameter(torch.zeros(48))
        self.visual.positional_embedding = torch.nn.Parameter(torch.zeros(17, 48))
        self.visual.ln_pre = torch.nn.LayerNorm(48)
        self.visual.transformer = self.blocks(48, 2)
        self.visual.ln_post = torch.nn.LayerNorm(48)
        self.visual.proj = torch.nn.Parameter(torch.zeros(48, 24))
        self.token_embedding = torch.nn.Embedding(n_tokens, 32)
        self.positional_embedding = torch.nn.Parameter(torch.zeros(context, 32))
        self.transformer = self.blocks(32, 2)
        self.ln_final = torch.nn.LayerNorm(32)
        self.text_projection = torch.nn.Parameter(torch.zeros(32, 24))
        self.logit_scale = torch.nn.Parameter(torch.tensor(0.0))

    @staticmethod
    def blocks(width, n_heads):
        transformer = torch.nn.Module()
        transformer.resblocks = torch.nn.ModuleList()
        for _ in range(2):
            block = torch.nn.Module()
            block.ln_1, block.ln_2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
            block.attn = torch.nn.MultiheadAttention(width, n_heads, batch_first=True)
            block.mlp = torch.nn.Module()
            block.mlp.c_fc = torch.nn.Linear(width, 4 * width)
            block.mlp.c_proj = torch.nn.Linear(4 * width, width)
            transformer.resblocks.append(block)
        return transformer

    def run(self, transformer, x, mask, act):
        for block in transformer.resblocks:
            y = block.ln_1(x)
            x = x + block.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
            x = x + block.mlp.c_proj(act(block.mlp.c_fc(block.ln_2(x))))
        return x

    def embed_images(self, pixels, act):
        x = self.visual.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.visual.class_embedding.expand(len(x), 1, -1)
        x = torch.cat([first, x], dim=1) + self.visual.positional_embedding
        x = self.run(self.visual.transformer, self.visual.ln_pre(x), None, act)
        return self.visual.ln_post(x[:, 0]) @ self.visual.proj

    def embed_texts(self, ids, act):
        n = ids.shape[1]
        mask = torch.full((n, n), float("-inf")).triu(1)
        x = self.token_embedding(ids) + self.positional_embedding[:n]
        x = self.ln_final(self.run(self.transformer, x, mask, act))
        return x[torch.arange(len(x)), ids.argmax(dim=1)] @ self.text_projection


ACTS = {False: torch.nn.functional.gelu, True: lambda x: x * torch.sigmoid(1.702 * x)}


def open_clip_folder(folder, clip_folder, network, *, quick_gelu=False, prefix="", **changes):
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(clip_folder / file, folder)
    state = {
        key if key.startswith("visual.") or key == "logit_scale" else prefix + key: value
        for key, value in network.state_dict().items()
    }
    save_file(
        {key: value.contiguous() for key, value in state.items()},
        folder / "open_clip_model.safetensors",
    )
    vision = {"image_size": 32, "layers": 2, "width": 48, "patch_size": 8, "head_width": 24}
    text = {"context_length": 77, "vocab_size": network.token_embedding.num_embeddings}
    config = {
        "model_cfg": {
            "embed_dim": 24,
            "quick_gelu": quick_gelu,
            "vision_cfg": vision | changes.get("vision", {}),
            "text_cfg": text | {"width": 32, "heads": 2, "layers": 2} | changes.get("text", {}),
        }
        | changes.get("model", {}),
        "preprocess_cfg": {
            "mean": [0.48145466, 0.4578275, 0.40821073],
            "std": [0.26862954, 0.26130258, 0.27577711],
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        }
        | changes.get("preprocess", {}),
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def open_clip(clip_parts):
    return randomise(OpenClip(len(clip_parts[1]), 77), np.log(30.0))


@pytest.mark.parametrize(("quick_gelu", "prefix"), [(False, ""), (True, "text.")])
def test_open_clip_weights_are_mapped_tensor_by_tensor(
    folders, open_clip, clip_parts, tmp_path, pictures, quick_gelu, prefix
):
    folder = open_clip_folder(
        tmp_path / "m", folders["clip"], open_clip, quick_gelu=quick_gelu, prefix=prefix
    )
    encoder = HubEncoder(f"local-dir:{folder}")
    assert encoder.logit_scale == pytest.approx(30.0)
    pixels = np.stack([encoder.prepare(picture) for picture in pictures])
    ids = clip_parts[1](TEXTS, padding="max_length", max_length=77, return_tensors="pt")
    with torch.inference_mode():
        act = ACTS[quick_gelu]
        images = open_clip.embed_images(torch.from_numpy(pixels), act).numpy()
        padded = ids["input_ids"].masked_fill(
            ids["attention_mask"] == 0, 0
        )  # open_clip pads with 0
        texts = open_clip.embed_texts(padded, act).numpy()
    for ours, theirs in (
        (encoder.encode_images(pictures), images),
        (encoder.encode_texts(TEXTS), texts),
    ):
        expected = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
        np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision": {"timm_model_name": "vit_base"}}, "timm or transformers"),
        ({"text": {"hf_model_name": "roberta-base"}}, "timm or transformers"),
        ({"model": {"init_logit_bias": -10}}, "SigLIP's loss"),
        ({"vision": {"layers": [3, 4, 6, 3]}}, "ResNet"),
        ({"vision": {"attentional_pool": True}}, "attentional_pool"),
        ({"vision": {"something_new": 3}}, "something_new"),
        ({"text": {"pool_type": "last"}}, "pool_type"),
        ({"text": {"layers": 3}}, "tensors are missing or left over"),
        ({"vision": {"width": 96}}, "do not fit"),
        ({"preprocess": {"resize_mode": "longest"}}, "'longest'"),
        ({"preprocess": {"interpolation": "random"}}, "'random'"),
    ],
)
def test_other_open_clip_architectures_are_refused(folders, open_clip, tmp_path, changes, message):
    folder = open_clip_folder(tmp_path / "m", folders["clip"], open_clip, **changes)
    with pytest.raises(InputError, match=message):
        HubEncoder(f"local-dir:{folder}")


# --- folders that are not as they should be -----------------------------------------------------


@pytest.fixture
def copy(folders, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(folders["clip"], folder)
    return folder


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        load_encoder(f"local-dir:{tmp_path / 'nothing'}")


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(InputError, match=r"neither config\.json"):
        load_encoder(f"local-dir:{tmp_path}")


def test_pickled_weights_are_refused_with_the_way_out(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin, a pickle format.*save_pretrained"):
        HubEncoder(f"local-dir:{copy}")


def test_a_folder_without_weights(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights that can be read"):
        HubEncoder(f"local-dir:{copy}")


@pytest.mark.parametrize(
    ("kind", "message"),
    [("siglip2", "NaFlex"), ("blip", "type 'blip'. Readable are CLIP"), ("bert", "type 'bert'")],
)
def test_other_families_are_refused_by_name(copy, kind, message):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": kind}))
    with pytest.raises(InputError, match=message):
        HubEncoder(f"local-dir:{copy}")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", r"config\.json: not valid JSON"),
        ("config.json", "[]", "no JSON object"),
        ("preprocessor_config.json", None, r"has no preprocessor_config\.json"),
        ("preprocessor_config.json", '{"size": {"longest_edge": 9}}', "longest_edge"),
        ("preprocessor_config.json", '{"do_center_crop": false}', "neither crops nor squashes"),
        ("preprocessor_config.json", '{"crop_size": {"longest_edge": 9}}', "crops pictures by"),
        ("tokenizer.json", "{}", r"tokenizer\.json cannot be read"),
        ("tokenizer.json", None, r"has no tokenizer\.json"),
    ],
)
def test_files_that_are_wrong_are_named(copy, file, content, message):
    if content is None:
        (copy / file).unlink()
    else:
        (copy / file).write_text(content)
    with pytest.raises(InputError, match=message):
        HubEncoder(f"local-dir:{copy}")


def test_settings_inside_processor_config_are_read(copy, pictures, folders):
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").unlink()
    (copy / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    np.testing.assert_array_equal(
        HubEncoder(f"local-dir:{copy}").prepare(pictures[0]),
        HubEncoder(f"local-dir:{folders['clip']}").prepare(pictures[0]),
    )


def test_a_siglip_without_padding_token_is_refused(folders, tmp_path):
    folder = tmp_path / "siglip"
    shutil.copytree(folders["siglip"], folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"padding": None}))
    with pytest.raises(InputError, match="names no padding token"):
        HubEncoder(f"local-dir:{folder}")


def test_weights_that_lack_tensors_are_not_filled_with_noise(copy, tmp_path, monkeypatch):
    from safetensors.torch import load_file, save_file

    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))
    state = load_file(copy / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 tensors.*visual_projection"):
        HubEncoder(f"local-dir:{copy}")


def test_damaged_weights_are_named(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cannot load the weights"):
        HubEncoder(f"local-dir:{copy}")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": "fp16"}, UnknownNameError, "fp16"),
        ({"runtime": "tensorrt"}, UnknownNameError, "onnx, torch"),
        ({"runtime": "torch", "precision": "int8"}, InputError, "computes in fp32"),
        ({"threads": 0}, InputError, "between 1 and"),
    ],
)
def test_options_that_do_not_exist(folders, options, error, message):
    with pytest.raises(error, match=message):
        HubEncoder(f"local-dir:{folders['clip']}", **options)


def test_onnx_of_another_make_is_explained(folders, exported, tmp_path, pictures):
    folder = publish(folders, exported, "siglip", tmp_path / "siglip")
    shutil.copy(folders["siglip"] / "model.safetensors", folder)
    (folder / "onnx" / "vision_model.onnx").write_bytes(b"no network")
    with pytest.raises(RunError, match="onnxruntime cannot open"):
        HubEncoder(f"local-dir:{folder}").encode_images(pictures)
    shutil.copy(exported["clip"] / "image.onnx", folder / "onnx" / "vision_model.onnx")
    with pytest.raises(RunError, match="do not belong to the configuration"):
        HubEncoder(f"local-dir:{folder}").encode_images(pictures)


# --- choice of weights, scalars, pictures ------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "precision", "kind", "chosen"),
    [
        (["onnx/vision_model.onnx", "onnx/text_model.onnx", "config.json", "model.safetensors"],
         "auto", "towers", "onnx/vision_model.onnx"),
        (["onnx/vision_model.onnx", "onnx/text_model.onnx", "onnx/model.onnx"],
         "auto", "joint", "onnx/model.onnx"),
        (["onnx/model.onnx", "onnx/model_quantized.onnx"], "int8", "joint",
         "onnx/model_quantized.onnx"),
        (["onnx/model.onnx", "onnx/model_quantized.onnx"], "fp32", "joint", "onnx/model.onnx"),
        (["onnx/model_int8.onnx", "config.json", "model.safetensors"], "auto", "transformers",
         "model.safetensors"),
        (["vision_model.onnx", "text_model.onnx"], "int8", "towers", "vision_model.onnx"),
        (["open_clip_model.safetensors", "open_clip_config.json", "pytorch_model.bin"], "auto",
         "open_clip", "open_clip_model.safetensors"),
        (["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors",
          "model-00002-of-00002.safetensors"], "auto", "transformers",
         "model.safetensors.index.json"),
    ],
)  # fmt: skip
def test_the_right_weights_are_chosen(files, precision, kind, chosen):
    weights = choose_weights(files, precision, "model")
    assert (weights.kind, weights.files[0]) == (kind, chosen)


def test_external_data_of_large_onnx_files_comes_along():
    files = ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/other.onnx_data"]
    assert choose_weights(files, "auto", "m").files == ("onnx/model.onnx", "onnx/model.onnx_data")


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("F32", struct.pack("<f", 2.5)),
        ("F16", struct.pack("<e", 2.5)),
        ("F64", struct.pack("<d", 2.5)),
        ("BF16", struct.pack("<f", 2.5)[2:]),
    ],
)
def test_single_numbers_are_read_in_every_float_format(tmp_path, dtype, data):
    entry = {"dtype": dtype, "shape": [], "data_offsets": [3, 3 + len(data)]}
    header = json.dumps({"logit_scale": entry}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"abc" + data)
    assert read_scalars(path, ("logit_scale", "logit_bias"), "m") == {"logit_scale": 2.5}


@pytest.mark.parametrize(
    "content", [b"", b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 40, b"\x02" + b"\0" * 9]
)
def test_what_is_no_safetensors_file_is_named(tmp_path, content):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    if content.endswith(b"{}"):
        assert read_scalars(path, ("logit_scale",), "m") == {}
        return
    with pytest.raises(InputError, match=r"m\.safetensors is no whole"):
        read_scalars(path, ("logit_scale",), "m")


def spec(**changes):
    settings = {
        "resize": "shortest",
        "side": (32, 32),
        "crop": (32, 32),
        "centre": "floor",
        "resample": 3,
        "rescale": 1.0,
        "mean": (0.0,) * 3,
        "std": (1.0,) * 3,
    }
    return ImageSpec(**(settings | changes))


def test_half_a_pixel_is_decided_as_the_family_does():
    ramp = Image.fromarray(np.tile(np.arange(35, dtype=np.uint8)[None, :, None], (32, 1, 3)))
    floor, rounded = (spec(centre=centre).prepare(ramp) for centre in ("floor", "round"))
    assert (floor[0, 0, 0], rounded[0, 0, 0]) == (1, 2)  # (35 - 32) / 2 = 1.5


def test_a_picture_smaller_than_the_crop_gets_a_black_border():
    picture = Image.new("RGB", (10, 8), (200, 200, 200))
    pixels = spec(resize="none", crop=(12, 12)).prepare(picture)
    assert pixels.shape == (3, 12, 12)
    assert pixels[0].sum() == 200 * 80
    assert pixels[0, 2:10, 1:11].min() == 200


@pytest.mark.parametrize("size", [(40_000, 9), (9, 40_000)])
def test_a_strip_is_prepared_without_a_giant_picture(size):
    rng = np.random.default_rng(0)
    strip = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    quick = spec().prepare(strip)
    long = int(32 * 40_000 / 9)
    whole = strip.resize((long, 32) if size[0] > size[1] else (32, long), Image.Resampling.BICUBIC)
    start = (long - 32) // 2
    box = (start, 0, start + 32, 32) if size[0] > size[1] else (0, start, 32, start + 32)
    expected = np.asarray(whole.crop(box), np.float32).transpose(2, 0, 1)
    np.testing.assert_allclose(quick, expected, atol=1)  # of 255


# --- the hub, with its client replaced ----------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, folders):
    """A hub that holds one CLIP; records what was asked of it."""
    client = pytest.importorskip("huggingface_hub", reason="the client of the hub")
    asked = {}

    class Api:
        def list_repo_files(self, repository, *, revision=None):
            if "list" in asked.get("fail", {}):
                raise asked["fail"]["list"]
            asked["listed"] = (repository, revision)
            names = [path.name for path in folders["clip"].iterdir()]
            return [*names, "pytorch_model.bin", "README.md", "flax_model.msgpack"]

    def snapshot_download(repository, *, revision=None, allow_patterns=None, local_files_only):
        if "download" in asked.get("fail", {}):
            raise asked["fail"]["download"]
        asked["downloaded"] = (allow_patterns, local_files_only)
        return str(folders["clip"])

    monkeypatch.setattr(client, "HfApi", Api)
    monkeypatch.setattr(client, "snapshot_download", snapshot_download)
    asked["errors"] = importlib.import_module("huggingface_hub.errors")
    monkeypatch.delattr(client, "errors", raising=False)  # it is no attribute until it is imported
    return asked


def test_only_what_is_needed_is_downloaded(hub, folders):
    encoder = load_encoder("hf-hub:org/clip@v1")
    assert encoder.name == "hf-hub:org/clip@v1"
    assert hub["listed"] == ("org/clip", "v1")
    wanted, offline = hub["downloaded"]
    assert "model.safetensors" in wanted
    assert "tokenizer.json" in wanted
    assert not {"pytorch_model.bin", "README.md", "flax_model.msgpack"} & set(wanted)
    assert not offline
    assert encoder.fingerprint == HubEncoder(f"local-dir:{folders['clip']}").fingerprint


def client_error(module):
    """An error as an HTTP client raises it: no OSError."""
    return type("ConnectError", (Exception,), {"__module__": module})("name not known")


@pytest.mark.parametrize("module", [None, "httpx", "httpx2", "requests.exceptions"])
def test_without_a_network_the_local_cache_is_used(hub, module):
    error = ConnectionError("no route") if module is None else client_error(module)
    hub["fail"] = {"list": error}
    load_encoder("hf-hub:org/clip")
    assert hub["downloaded"] == (None, True)


def test_a_mistake_of_ours_is_not_taken_for_a_missing_network(hub):
    hub["fail"] = {"list": TypeError("wrong argument")}
    with pytest.raises(TypeError, match="wrong argument"):
        load_encoder("hf-hub:org/clip")


def test_the_real_client_knows_the_errors_that_are_caught():
    errors = importlib.import_module("huggingface_hub.errors")
    for name in ("GatedRepoError", "RevisionNotFoundError", "RepositoryNotFoundError"):
        assert issubclass(getattr(errors, name), Exception)
    assert issubclass(errors.HFValidationError, ValueError)
    assert issubclass(errors.OfflineModeIsEnabled, Exception)


def test_without_network_and_cache_the_way_out_is_told(hub):
    gone = hub["errors"].LocalEntryNotFoundError("not cached")
    hub["fail"] = {"list": hub["errors"].OfflineModeIsEnabled("offline"), "download": gone}
    with pytest.raises(RunError, match="not in the local cache and the hub cannot be reached"):
        load_encoder("hf-hub:org/clip")


@pytest.mark.parametrize("kind", ["system", "client"])
def test_a_download_that_breaks_says_it_can_go_on(hub, kind):
    error = OSError("connection reset\nlong trace")
    if kind == "client":
        error = type("ReadError", (Exception,), {"__module__": "httpx2"})(str(error))
    hub["fail"] = {"download": error}
    with pytest.raises(RunError, match=r"failed: connection reset\. Run again"):
        load_encoder("hf-hub:org/clip")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("RepositoryNotFoundError", "no public repository 'org/clip'"),
        ("GatedRepoError", "is gated: accept its terms"),
        ("RevisionNotFoundError", "no revision 'v9'"),
    ],
)
def test_answers_of_the_hub_are_explained(hub, error, message):
    kind = getattr(hub["errors"], error)
    hub["fail"] = {"list": kind.__new__(kind)}
    with pytest.raises(InputError, match=message):
        load_encoder("hf-hub:org/clip@v9")


@pytest.mark.parametrize("name", ["hf-hub:clip", "hf-hub:a/b/c"])
def test_a_repository_has_an_owner_and_a_name(name):
    with pytest.raises(InputError, match="hf-hub:ORG/NAME"):
        load_encoder(name)


def test_without_the_client_the_install_line_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"showtell\[hub\]"):
        load_encoder("hf-hub:org/clip")
