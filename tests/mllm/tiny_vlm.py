"""Tiny vision-language checkpoints with local tokenizers, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

IMAGE = "<image>"
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", IMAGE, "<fake_token_around_image>",
           "<end_of_utterance>", "<global-img>"]  # fmt: skip
SENTENCES = [
    " zero one two three four five six seven eight nine" * 2,
    "What is shown in this picture? Answer with one of: cat, dog, bear, bear cub, tabby cat.",
    "User: Assistant: It shows a an the number A. B. C. D. E. Reply with one letter.",
    "Egyptian mau, catfish, horse, ship, mushroom, airplane",
]
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'].capitalize() + ': ' }}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{{ ' ' }}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def make_tokenizer(sentences: Sequence[str] = SENTENCES, *, vocab_size: int = 512):
    """A byte-level BPE tokenizer trained on a few sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    raw.train_from_iterator(sentences, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        pad_token="<pad>",
    )  # fmt: skip


def text_config(n_tokens: int, **changes):
    """A Llama of two layers."""
    from transformers import LlamaConfig

    return LlamaConfig(**{
        "vocab_size": n_tokens, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 512, "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2,
        "tie_word_embeddings": False, **changes,
    })  # fmt: skip


def make_llava(
    folder: Path, *, seed: int = 0, side: int = 28, patch: int = 7, vision=None, text=None,
    chat_template: str | None = CHAT_TEMPLATE,
    spread: float = 8.0,
):  # fmt: skip
    """Write a Llava checkpoint with random weights; return the model and its processor."""
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = make_tokenizer()
    eyes = CLIPVisionConfig(**{
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": side, "patch_size": patch, "projection_dim": 32,
        **(vision or {}),
    })  # fmt: skip
    config = LlavaConfig(
        vision_config=eyes,
        text_config=text_config(len(tokenizer), **(text or {})),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config).eval()
        _spread(model, spread)
    processor = LlavaProcessor(
        CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        ),
        tokenizer, patch_size=patch, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=chat_template,
    )  # fmt: skip
    return _saved(model, processor, folder)


def make_idefics3(folder: Path, *, seed: int = 0):
    """Write an Idefics3 checkpoint with random weights; return the model and its processor."""
    import torch
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    tokenizer = make_tokenizer()
    config = Idefics3Config(
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
        },
        text_config=text_config(len(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE), scale_factor=2, pad_token_id=3,
        tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Idefics3ForConditionalGeneration(config).eval()
        _spread(model, 8.0)
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(
            do_image_splitting=False, size={"longest_edge": 32},
            max_image_size={"longest_edge": 32},
        ),
        tokenizer, image_seq_len=4, chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    return _saved(model, processor, folder)


def _spread(model, factor: float) -> None:
    """Larger random weights, so that answers depend on the picture and on each token."""
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(factor)


def _saved(model, processor, folder: Path):
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def train_on_pictures(model, processor, pictures, answers, *, prompt, seconds, seed=0, log=None):
    """Teach a model to continue `prompt` with the answer, on pictures warped at random.

    Parameters
    ----------
    pictures : uint8 array of shape (n, side, side)
    answers : sequence of str, one per picture
    """
    import time

    import numpy as np
    import torch

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    tokenizer = processor.tokenizer
    full = processor(text=[prompt], images=[_picture(pictures[0])], return_tensors="pt")
    prefix = full["input_ids"][0].tolist()
    tails = {a: tokenizer(" " + a, add_special_tokens=False)["input_ids"] for a in set(answers)}
    longest = max(map(len, tails.values())) + 1
    ids, labels = [], []
    for answer in answers:
        tail = [*tails[answer], 2]
        pad = [3] * (longest - len(tail))
        ids.append([*prefix, *tail, *pad])
        labels.append([*[-100] * len(prefix), *tail, *[-100] * len(pad)])
    ids, labels = torch.tensor(ids), torch.tensor(labels)
    mean = torch.tensor(processor.image_processor.image_mean)[:, None, None]
    std = torch.tensor(processor.image_processor.image_std)[:, None, None]
    source = torch.from_numpy(np.asarray(pictures)).float() / 255
    generator = torch.Generator().manual_seed(seed)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # `seconds` are CPU seconds of one core
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    start, step = time.process_time(), 0
    while (spent := (time.process_time() - start) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * (1 - spent) + 1e-5
        rows = rng.integers(0, len(pictures), 64)
        pixels = (_warped(source[rows], generator) - mean) / std
        loss = model(
            input_ids=ids[rows], attention_mask=torch.ones_like(ids[rows]),
            pixel_values=pixels, labels=labels[rows],
        ).loss  # fmt: skip
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        if log and step % 50 == 0:
            log(step, round(spent, 2), loss.item())
    model.eval()
    torch.set_num_threads(n_threads)
    return step


def _picture(pixels):
    from PIL import Image

    return Image.fromarray(pixels).convert("RGB")


def _warped(pictures, generator):
    """Shift, turn, shear, stretch and ripple pictures (n, side, side) at random."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    n, side = len(pictures), pictures.shape[-1]

    def draw(low, high, *shape):
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    turn, shear = draw(-0.2, 0.2), draw(-0.2, 0.2)
    wide, high = draw(0.9, 1.15), draw(0.9, 1.15)
    cos, sin = torch.cos(turn), torch.sin(turn)
    matrix = torch.stack([
        torch.stack([wide * cos, wide * (shear * cos - sin), draw(-0.15, 0.15)], dim=1),
        torch.stack([high * sin, high * (shear * sin + cos), draw(-0.15, 0.15)], dim=1),
    ], dim=1)  # fmt: skip
    grid = F.affine_grid(matrix, [n, 1, side, side], align_corners=False)
    ripple = F.interpolate(
        draw(-0.06, 0.06, 2, 5, 5), size=(side, side), mode="bicubic", align_corners=True
    )
    grid = grid + ripple.permute(0, 2, 3, 1)
    return F.grid_sample(
        pictures[:, None], grid, padding_mode="border", align_corners=False
    )  # (n, 1, side, side)
