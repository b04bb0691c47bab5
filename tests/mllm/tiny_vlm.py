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


def train_on_pictures(
    model, processor, pictures, answers, *, prompt, eye_steps=1800, steps=400, batch=64, seed=0,
    log=None,
):  # fmt: skip
    """Teach a model to continue `prompt` with the answer, on pictures warped at random.

    First the vision tower learns alone, with a linear layer on the mean of its patches that is
    thrown away, then everything through the likelihood of the answer. With the numbers given and
    a tower of two layers of width 64 this takes about a minute of one core.

    Parameters
    ----------
    pictures : uint8 array of shape (n, side, side)
    answers : sequence of str, one per picture
    """
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    names = sorted(set(answers))
    truth = torch.tensor([names.index(a) for a in answers])
    source = torch.from_numpy(np.asarray(pictures)).float() / 255
    mean = torch.tensor(processor.image_processor.image_mean)[:, None, None]
    std = torch.tensor(processor.image_processor.image_std)[:, None, None]
    inputs = processor(text=[prompt], images=[_picture(pictures[0])], return_tensors="pt")
    prefix = inputs["input_ids"][0].tolist()
    tails = [[*processor.tokenizer(f" {a}", add_special_tokens=False)["input_ids"], 2]
             for a in names]  # fmt: skip
    longest = max(map(len, tails))
    ids = torch.tensor([[*prefix, *t, *[3] * (longest - len(t))] for t in tails])
    wanted = torch.tensor([[*t, *[-100] * (longest - len(t))] for t in tails])
    eyes = model.model.vision_tower
    width = eyes.config.hidden_size

    def read_alone(pixels, rows):
        seen = eyes(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]
        return F.cross_entropy(head(seen[:, 1:].mean(1)), truth[rows])

    def read_aloud(pixels, rows):
        which = truth[rows]
        logits = model(
            input_ids=ids[which], attention_mask=torch.ones_like(ids[which]),
            pixel_values=pixels, logits_to_keep=longest + 1,
        ).logits[:, :-1]  # fmt: skip
        return F.cross_entropy(logits.flatten(0, 1), wanted[which].flatten())

    def learn(loss_of, groups, n_steps):
        optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
        weights = [w for group in optimiser.param_groups for w in group["params"]]
        peaks = [group["lr"] for group in optimiser.param_groups]
        for step in range(n_steps):
            pace = min(1, (step + 1) / 50) * (0.5 + 0.5 * np.cos(np.pi * step / n_steps))
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * pace + 1e-5
            rows = torch.from_numpy(rng.integers(0, len(source), batch))
            pixels = (_warped(source[rows], generator).expand(-1, 3, -1, -1) - mean) / std
            loss = loss_of(pixels, rows)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            if log and step % 200 == 199:
                log(step + 1, loss.item())

    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    n_threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(1)  # sums are added up in one order, whatever the machine
        try:
            _open_eyes(eyes)
            head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(names)))
            model.train()
            learn(read_alone, [{"params": [*eyes.parameters(), *head.parameters()], "lr": 2e-3}],
                  eye_steps)  # fmt: skip
            seeing = {id(w) for w in eyes.parameters()}
            rest = [w for w in model.parameters() if id(w) not in seeing]
            learn(read_aloud, [{"params": list(eyes.parameters()), "lr": 3e-4},
                               {"params": rest, "lr": 3e-3}], steps)  # fmt: skip
        finally:
            model.eval()
            torch.set_num_threads(n_threads)


def _open_eyes(eyes) -> None:
    """Let a vision tower begin with places that are waves and patches that are not faint."""
    import numpy as np
    import torch

    parts = getattr(eyes, "vision_model", eyes).embeddings
    places, patches = parts.position_embedding.weight, parts.patch_embedding.weight
    n, width = eyes.config.image_size // eyes.config.patch_size, eyes.config.hidden_size
    waves = np.exp(-np.arange(width // 4) / (width // 4) * np.log(20))
    along = [place.reshape(-1, 1) * waves for place in np.mgrid[:n, :n]]
    table = np.concatenate([wave(a) for a in along for wave in (np.sin, np.cos)], axis=1)
    with torch.no_grad():
        places[1:] = torch.tensor(0.3 * table, dtype=torch.float32)
        torch.nn.init.trunc_normal_(patches, std=patches[0].numel() ** -0.5)


def _picture(pixels):
    from PIL import Image

    return Image.fromarray(pixels).convert("RGB")


def _warped(pictures, generator):
    """Shift, turn, shear, stretch and ripple pictures (n, side, side); thicken or thin them."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    n, side = len(pictures), pictures.shape[-1]

    def draw(low, high, *shape):
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    turn, shear = draw(-0.25, 0.25), draw(-0.3, 0.3)
    wide, high = torch.exp(draw(-0.2, 0.25)), torch.exp(draw(-0.2, 0.25))
    cos, sin = torch.cos(turn), torch.sin(turn)
    matrix = torch.stack([
        torch.stack([wide * cos, wide * (shear * cos - sin), draw(-0.15, 0.15)], dim=1),
        torch.stack([high * sin, high * (shear * sin + cos), draw(-0.15, 0.15)], dim=1),
    ], dim=1)  # fmt: skip
    grid = F.affine_grid(matrix, [n, 1, side, side], align_corners=False)
    ripple = F.interpolate(
        draw(-0.09, 0.09, 2, 5, 5), size=(side, side), mode="bicubic", align_corners=True
    )
    warped = F.grid_sample(
        pictures[:, None], grid + ripple.permute(0, 2, 3, 1), padding_mode="border",
        align_corners=False,
    )  # fmt: skip
    stroke = draw(-1, 1, 1, 1, 1)
    thick, thin = F.max_pool2d(warped, 3, 1, 1), -F.max_pool2d(-warped, 3, 1, 1)
    return torch.where(
        stroke > 0,
        warped + 0.8 * stroke * (thick - warped),
        warped - 0.5 * stroke * (thin - warped),
    )  # (n, 1, side, side)
