"""Vision-language models in this process, by torch and transformers (extra ``local``)."""

from __future__ import annotations

import copy
import inspect
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell._extras import first_line, need, quiet_transformers, refuse_missing
from showtell._threads import check_threads
from showtell.errors import InputError, RunError, UnknownNameError
from showtell.mllm.local.continuations import Continuations, TokenScores, tokenise_labels
from showtell.records.files import digest_files

Dtype: TypeAlias = Literal["float32", "bfloat16", "float16"]
_DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")
_WHAT = "A vision-language model in this process"
_AGREE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02}  # cached against full passes
_FILES = ("*.json", "*.jinja", "*.safetensors", "*.txt", "*.model")


class LocalVLM:
    """A vision-language model that says how likely each label is after a prompt.

    One object can be shared by several classifiers; its weights are never changed, and copies of
    it are the object itself.

    Parameters
    ----------
    name : str
        ``"local-dir:path"``: a folder with a transformers checkpoint (config, safetensors,
        tokenizer, image processor). ``"hf-hub:org/name"``, with ``@revision`` if wanted: the
        same from the Hugging Face hub.
    threads : int, optional
        CPU threads while it computes; torch's own setting by default.
    dtype : {"float32", "bfloat16", "float16"}, default="float32"
        Of the weights. Log-probabilities are computed in float32 whatever it is.
    device : str, default="cpu"
        A torch device.
    labels_per_pass : int, default=64
        Labels in one padded batch; fewer take less memory.

    Attributes
    ----------
    architecture : str
        Name of the model class, such as ``"LlavaForConditionalGeneration"``.
    fingerprint : str
        Hash of the files and of what changes results.
    end_ids : tuple of int
        Tokens that end a text, as the model's generation settings say.

    Raises
    ------
    InputError
        If the folder holds no such checkpoint, has only pickled weights, lacks tensors, or the
        model reads and writes with two separate networks (encoder-decoder).
    MissingExtraError
        If torch or transformers is not installed.
    RunError
        If the hub cannot be reached.

    Notes
    -----
    Code that comes with a checkpoint is never run, and pickled weights are never opened. Image
    processors are the ones of Pillow, so torchvision is not needed; checkpoints whose processor
    insists on it (video models such as Qwen2-VL) need torchvision installed.

    Examples
    --------
    >>> vlm = LocalVLM("hf-hub:HuggingFaceTB/SmolVLM-256M-Instruct")  # doctest: +SKIP
    >>> prompt = vlm.prompt("What is shown?", stub="It shows a")  # doctest: +SKIP
    >>> labels = vlm.continuations(prompt, ["cat", "dog"])  # doctest: +SKIP
    >>> vlm.score(picture, prompt, labels).logprobs.sum(axis=1)  # doctest: +SKIP
    array([-0.3, -2.1])
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int | None = None,
        dtype: Dtype = "float32",
        device: str = "cpu",
        labels_per_pass: int = 64,
    ) -> None:
        if dtype not in _DTYPES:
            raise UnknownNameError("dtype", str(dtype), _DTYPES)
        check_threads(threads)
        if labels_per_pass < 1:
            raise InputError(f"`labels_per_pass` must be at least 1, got {labels_per_pass}.")
        self.name, self.threads, self.dtype, self.device = name, threads, dtype, device
        self.labels_per_pass = labels_per_pass
        self._torch = need("torch", extra="local", what=_WHAT)
        folder = _find_folder(name)
        self.fingerprint = f"vlm-{_digest(folder)[:32]}-{dtype}"
        self._lock = threading.Lock()
        self._processor, self._model = _load(folder, name, getattr(self._torch, dtype))
        self._model.to(device)
        self.architecture = type(self._model).__name__
        self._tokenizer = self._processor.tokenizer
        self.end_ids = self._read_end_ids()
        accepted = inspect.signature(self._model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        # transformers named it past_key_values before 5.24, in calls and in answers
        self._cache_name = "cache" if "cache" in accepted else "past_key_values"

    def __reduce__(self) -> tuple[Callable[[], LocalVLM], tuple[()]]:
        remake = partial(
            LocalVLM,
            self.name,
            threads=self.threads,
            dtype=self.dtype,
            device=self.device,
            labels_per_pass=self.labels_per_pass,
        )
        return remake, ()

    def __copy__(self) -> LocalVLM:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> LocalVLM:
        return self

    def __sklearn_clone__(self) -> LocalVLM:
        return self

    def __repr__(self) -> str:
        return f"LocalVLM({self.name!r})"

    def prompt(self, question: str, *, stub: str = "") -> str:
        """Write a question about one picture the way the model was taught to read it.

        Parameters
        ----------
        question : str
        stub : str, default=""
            Start of the reply, after which a label is the next word.

        Returns
        -------
        prompt : str
            With the chat template of the checkpoint; without one: the picture, the question, a
            new line and the stub.

        Raises
        ------
        InputError
            If the template puts the picture into the text more or less than once.
        """
        token = self._image_token
        if getattr(self._processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": question}]
            try:
                text = str(
                    self._processor.apply_chat_template(
                        [{"role": "user", "content": content}],
                        add_generation_prompt=True,
                        tokenize=False,
                    )
                )
            except Exception as error:
                raise InputError(
                    f"{self.name}: its chat template cannot write a question with a picture: "
                    f"{type(error).__name__}: {first_line(error)}"
                ) from error
            gap = "" if not stub or text[-1:].isspace() else " "
            text = f"{text}{gap}{stub}"
        else:
            text = f"{token}{question}\n{stub}"
        if text.count(token) != 1:
            raise InputError(
                f"The prompt must have the picture ({token}) once, but has it {text.count(token)} "
                "times; leave it out of the question, and see the chat template of the checkpoint."
            )
        return text

    def continuations(
        self, prompt: str, labels: Sequence[str], *, separator: str | None = None
    ) -> Continuations:
        """Tokenise labels as what follows the prompt.

        Parameters
        ----------
        prompt : str
            As `prompt` gives it.
        labels : sequence of str
        separator : str, optional
            By default a space, or nothing after a prompt that ends in white space.

        Returns
        -------
        continuations : Continuations
            Their prefix is the prompt with the picture's place as one token.

        Raises
        ------
        InputError
            See `tokenise_labels`.
        """
        if separator is None:
            separator = "" if prompt[-1:].isspace() else " "
        return tokenise_labels(self._encode, prompt, labels, separator=separator)

    def score(
        self,
        picture: Image.Image,
        prompt: str,
        continuations: Continuations,
        *,
        with_end: bool = False,
        reuse_prefix: bool = True,
    ) -> TokenScores:
        """Log-probability of each token of each continuation, given picture and prompt.

        Parameters
        ----------
        picture : PIL.Image
            Upright, RGB.
        prompt : str
        continuations : Continuations
            Of the same prompt.
        with_end : bool, default=False
            Also how likely the text ends after each.
        reuse_prefix : bool, default=True
            Read picture and prompt once and all continuations in one padded batch. False: a full
            pass per continuation, which gives the same numbers and is slow.

        Raises
        ------
        RunError
            If picture and prompt do not end in the tokens that the continuations expect.
        """
        torch = self._torch
        with self._lock, self._threads(), torch.inference_mode():
            inputs = self._inputs(picture, prompt, continuations)
            if reuse_prefix:
                rows, ends = self._score_shared(inputs, continuations.tokens, with_end)
            else:
                rows, ends = self._score_each(inputs, continuations.tokens, with_end)
        longest = max(map(len, rows), default=0)
        table = np.zeros((len(rows), longest))
        for place, row in enumerate(rows):
            table[place, : len(row)] = row
        if not np.isfinite(table).all():
            raise RunError(f"{self.name} answered with NaN or infinite log-probabilities.")
        return TokenScores(
            logprobs=table,
            lengths=np.array([len(row) for row in rows], np.int64),
            end=np.array(ends) if with_end else None,
        )

    def count_tokens(self, picture: Image.Image, prompt: str) -> tuple[int, int]:
        """Count the tokens of picture and prompt; nothing is computed from them.

        Parameters
        ----------
        picture : PIL.Image
            Upright, RGB.
        prompt : str

        Returns
        -------
        n_image, n_text : int
            What stands for the picture, and the rest of the prompt.
        """
        head = tuple(self._encode(prompt))
        inputs = self._inputs(picture, prompt, Continuations(labels=(), prefix=head, tokens=()))
        n_text = len(head) - prompt.count(self._image_token)
        return int(inputs["input_ids"].shape[1]) - n_text, n_text

    def check(self, prompt: str, continuations: Continuations) -> float:
        """Compare reuse of the prefix with full passes on a grey picture.

        Parameters
        ----------
        prompt : str
        continuations : Continuations
            The longest label and the first are compared.

        Returns
        -------
        difference : float
            Largest difference of a log-probability.

        Raises
        ------
        RunError
            If they differ by more than rounding explains: this architecture cannot be scored.
        """
        sizes = [len(ids) for ids in continuations.tokens]
        some = sorted({0, int(np.argmax(sizes))})
        sample = Continuations(
            labels=tuple(continuations.labels[i] for i in some),
            prefix=continuations.prefix,
            tokens=tuple(continuations.tokens[i] for i in some),
        )
        grey = Image.new("RGB", (64, 64), (128, 128, 128))
        shared = self.score(grey, prompt, sample, with_end=True)
        full = self.score(grey, prompt, sample, with_end=True, reuse_prefix=False)
        assert shared.end is not None
        assert full.end is not None
        difference = float(
            max(
                np.abs(shared.logprobs - full.logprobs).max(),
                np.abs(shared.end - full.end).max(),
            )
        )
        if difference > _AGREE[self.dtype]:
            raise RunError(
                f"{self.name} ({self.architecture}) gives other log-probabilities when the prompt "
                f"is read once than when it is read per label (difference {difference:.3g}), so "
                "its labels cannot be scored. Use another architecture; Idefics3 and Llava are "
                "tested."
            )
        return difference

    # Parts

    @property
    def _image_token(self) -> str:
        token = getattr(self._processor, "image_token", None)
        return str(getattr(token, "content", token) or "<image>")

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text)["input_ids"]
        final = getattr(self._tokenizer, "eos_token_id", None)
        return ids[:-1] if len(ids) > 1 and ids[-1] == final else ids

    def _read_end_ids(self) -> tuple[int, ...]:
        settings = getattr(self._model, "generation_config", None)
        found = getattr(settings, "eos_token_id", None)
        if found is None:
            found = getattr(self._tokenizer, "eos_token_id", None)
        if found is None:
            return ()
        return (found,) if isinstance(found, int) else tuple(int(i) for i in found)

    def _inputs(
        self, picture: Image.Image, prompt: str, continuations: Continuations
    ) -> dict[str, Any]:
        """Picture and prompt as tensors; their last tokens must be those of the prompt."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self._processor(text=[prompt], images=[picture], return_tensors="pt")
        inputs = {
            key: value.to(self.device, self._model.dtype) if value.is_floating_point()
            else value.to(self.device)
            for key, value in found.items()
        }  # fmt: skip
        expanded = inputs["input_ids"][0].tolist()
        head = list(continuations.prefix)
        image_id = self._tokenizer.convert_tokens_to_ids(self._image_token)
        after = head[len(head) - head[::-1].index(image_id) :] if image_id in head else head
        if after and expanded[-len(after) :] != after:
            raise RunError(
                f"{self.name}: its processor ends the prompt otherwise than its tokenizer does, so "
                "labels cannot be appended."
            )
        return inputs

    def _score_shared(
        self, inputs: dict[str, Any], tokens: Sequence[Sequence[int]], with_end: bool
    ) -> tuple[list[list[float]], list[float]]:
        """One pass over the prefix, then padded batches of labels on copies of its cache."""
        torch = self._torch
        need_more = with_end or any(len(ids) > 1 for ids in tokens)
        prefill = self._model(**inputs, **self._last_only, use_cache=need_more)
        first = torch.log_softmax(prefill.logits[0, -1].float(), dim=-1)
        rows = [[float(first[ids[0]])] for ids in tokens]
        ends = [0.0] * len(tokens)
        extra = 0 if with_end else 1  # the last token is only read where the end is asked for
        order = sorted(
            (i for i, ids in enumerate(tokens) if len(ids) > extra), key=lambda i: len(tokens[i])
        )
        mask = inputs.get("attention_mask")
        n_prefix = inputs["input_ids"].shape[1]
        if mask is None:
            mask = torch.ones((1, n_prefix), dtype=torch.long, device=self.device)
        for start in range(0, len(order), self.labels_per_pass):
            group = order[start : start + self.labels_per_pass]
            longest = max(len(tokens[i]) for i in group) - extra
            fed = torch.zeros((len(group), longest), dtype=torch.long)
            real = torch.zeros((len(group), longest), dtype=mask.dtype)
            for row, i in enumerate(group):
                n = len(tokens[i]) - extra
                fed[row, :n] = torch.tensor(tokens[i][:n])
                real[row, :n] = 1
            # copied, for a forward pass changes it in place
            cache = copy.deepcopy(getattr(prefill, self._cache_name))
            cache.batch_repeat_interleave(len(group))
            places = torch.arange(n_prefix, n_prefix + longest, device=self.device)
            answer = self._model(
                input_ids=fed.to(self.device),
                attention_mask=torch.cat(
                    [mask.expand(len(group), -1), real.to(self.device)], dim=1
                ),
                position_ids=places.expand(len(group), -1),
                use_cache=True,
                **{self._cache_name: cache},
            )
            after = torch.log_softmax(answer.logits.float(), dim=-1)
            for row, i in enumerate(group):
                rows[i] += [float(after[row, k, t]) for k, t in enumerate(tokens[i][1:])]
                if with_end:
                    ends[i] = self._end(after[row, len(tokens[i]) - 1])
        return rows, ends

    def _score_each(
        self, inputs: dict[str, Any], tokens: Sequence[Sequence[int]], with_end: bool
    ) -> tuple[list[list[float]], list[float]]:
        """Make a full pass over picture, prompt and label for each label."""
        torch = self._torch
        n_prefix = inputs["input_ids"].shape[1]
        rows: list[list[float]] = []
        ends: list[float] = []
        for ids in tokens:
            tail = torch.tensor([list(ids)], device=self.device)
            whole = dict(inputs)
            for key, value in inputs.items():  # what has one entry per token
                if value.ndim == 2 and value.shape == inputs["input_ids"].shape:
                    more = torch.ones_like(tail) if key == "attention_mask" else 0 * tail
                    more = tail if key == "input_ids" else more
                    whole[key] = torch.cat([value, more.to(value.dtype)], dim=1)
            logits = self._model(**whole, use_cache=False).logits[0, n_prefix - 1 :].float()
            after = torch.log_softmax(logits, dim=-1)
            rows.append([float(after[k, t]) for k, t in enumerate(ids)])
            ends.append(self._end(after[len(ids)]) if with_end else 0.0)
        return rows, ends

    def _end(self, logprobs: Any) -> float:
        if not self.end_ids:
            raise InputError(f"{self.name} names no token that ends a text; use another score.")
        return float(self._torch.logsumexp(logprobs[list(self.end_ids)], dim=0))

    def first_token_logprobs(self, picture: Image.Image, prompt: str) -> NDArray[np.float64]:
        """Log-probability of every token right after the prompt, shape (n_tokens,).

        Returns
        -------
        logprobs : ndarray of shape (n_tokens,), float64
        """
        with self._lock, self._threads(), self._torch.inference_mode():
            empty = Continuations(labels=(), prefix=tuple(self._encode(prompt)), tokens=())
            inputs = self._inputs(picture, prompt, empty)
            logits = self._model(**inputs, **self._last_only, use_cache=False).logits[0, -1]
            after = self._torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
        return np.asarray(after, np.float64)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """Use `threads` CPU threads inside, as many as before afterwards."""
        if self.threads is None:
            yield
            return
        before = self._torch.get_num_threads()
        self._torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            self._torch.set_num_threads(before)


def _find_folder(name: str) -> Path:
    kind, _, place = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind == "local-dir" and place:
        folder = Path(place).expanduser()
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{str(folder)!r} is no checkpoint: it has no config.json. Give the folder that "
                "transformers' `save_pretrained` wrote."
            )
        return folder
    if kind != "hf-hub" or place.count("/") != 1:
        raise InputError(
            f"A model in this process is 'hf-hub:ORG/NAME' or 'local-dir:PATH', got {name!r}."
        )
    repository, _, revision = place.partition("@")
    hub = need("huggingface_hub", extra="local", what="A model of the Hugging Face hub")
    try:
        folder = hub.snapshot_download(
            repository, revision=revision or None, allow_patterns=list(_FILES)
        )
    except (OSError, ValueError) as error:
        raise RunError(
            f"Downloading {name} failed: {first_line(error)}. Check the spelling and the network; "
            "run again to go on where it stopped, or copy the model and use 'local-dir:PATH'."
        ) from error
    return Path(folder)


def _load(folder: Path, name: str, dtype: Any) -> tuple[Any, Any]:
    """Load processor and network, from local files only and without foreign code."""
    transformers = need("transformers", extra="local", what=_WHAT)
    try:
        with quiet_transformers():
            processor = transformers.AutoProcessor.from_pretrained(
                str(folder), local_files_only=True, backend="pil"
            )
            model, report = transformers.AutoModelForImageTextToText.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                dtype=dtype,
                output_loading_info=True,
            )
    except Exception as error:
        raise InputError(
            f"{name}: transformers cannot load it as a vision-language model: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    refuse_missing(report, name)
    if getattr(model.config, "is_encoder_decoder", False):
        raise InputError(
            f"{name} ({type(model).__name__}) is an encoder-decoder; labels are scored as what "
            "follows a prompt, which needs a decoder such as Llava or Idefics3."
        )
    if not hasattr(processor, "tokenizer"):
        raise InputError(f"{name}: the checkpoint has no tokenizer.")
    return processor, model.eval()


def _digest(folder: Path) -> str:
    """Hash of the checkpoint's files, names and contents."""
    return digest_files(folder, {path.name for pattern in _FILES for path in folder.glob(pattern)})
