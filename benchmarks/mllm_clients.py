"""One tool asks a server about a folder of photos; a process of its own, in the tool's environment.

Called by `mllm_overhead.py`, once per measurement. Every tool asks one question about each JPEG
file, in OpenAI's chat format, with up to 64 questions in flight, and keeps what it keeps by
default (cache, log). It first asks about the photos of a small folder, so that imports,
connections and first uses are told apart from the work itself. Prints one JSON object.

    python benchmarks/mllm_clients.py TOOL --url URL --warm FOLDER --photos FOLDER --scratch FOLDER

Beside the tool it needs the standard library alone.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Ask: TypeAlias = Callable[[Sequence[Path]], list[str]]
"""Photos to labels."""

LABELS = ("cat", "dog", "bird", "mountain")
SLOTS = 64
MODEL = "gpt-4.1-mini"
PROMPT = f"Which of these labels fits the image: {', '.join(LABELS)}? Answer with the label alone."


def ask_showtell(url: str, scratch: Path) -> Ask:
    """The classifier of the README: journal on, cache on, confidence and JSON schema asked for."""
    from showtell.classify import DirectClassifier
    from showtell.mllm import Model

    clf = DirectClassifier(
        Model(
            f"openai:{MODEL}",
            base_url=f"{url}/showtell/v1",
            max_concurrency=SLOTS,
            run_folder=scratch / "run",
            cache=scratch / "answers.sqlite",
        ),
        labels=LABELS,
        images_per_request=1,
    ).fit()

    def ask(photos: Sequence[Path]) -> list[str]:
        return [str(label) for label in clf.classify(photos).label]

    return ask


def ask_showtell_client(url: str, scratch: Path) -> Ask:
    """The same path without the classifier on top of it, and so without scikit-learn."""
    from showtell.media import read_media
    from showtell.mllm import AnswerCache, Client, Journal, Settings, load_mllm, prepare_image
    from showtell.prompts import AnswerParser, RequestForm, load_prompts, render_request
    from showtell.prompts.reconciled import reconcile
    from showtell.prompts.requests import Query, query_ids

    mllm = load_mllm(f"openai:{MODEL}", base_url=f"{url}/showtell/v1")
    form = RequestForm(
        model=mllm.name, prompts=load_prompts(), labels=LABELS, capabilities=mllm.capabilities
    )
    parser = AnswerParser(LABELS)

    def ask(photos: Sequence[Path]) -> list[str]:
        asked: dict[str, tuple[int, str]] = {}
        labels = [""] * len(photos)

        def requests() -> Iterator[Any]:
            for number, photo in enumerate(photos):
                part = prepare_image(
                    read_media(photo), max_side=768, capabilities=mllm.capabilities
                )
                [name] = query_ids([part.digest])
                request = render_request(
                    form, [], [Query(id=name, image=part)], settings=Settings(max_tokens=100)
                )
                asked[request.key] = number, name
                yield request

        def take(request: Any, outcome: Any) -> None:
            number, name = asked.pop(request.key)
            code = reconcile(outcome.text, [name], parser).outcomes[name].code
            labels[number] = "" if code is None else LABELS[code]

        with AnswerCache(scratch / "answers.sqlite") as cache, Journal(scratch / "run") as journal:
            Client(mllm, cache=cache, journal=journal, max_concurrency=SLOTS).run(requests(), take)
        return labels

    return ask


def ask_openai(url: str, scratch: Path) -> Ask:  # noqa: ARG001
    """The vendor's library alone, behind a semaphore: what most scripts are."""
    from openai import AsyncOpenAI

    base_url = f"{url}/plain/v1"

    async def ask_all(photos: Sequence[Path]) -> list[str]:
        slots = asyncio.Semaphore(SLOTS)

        async def one(photo: Path) -> str:
            async with slots:
                data = base64.b64encode(photo.read_bytes()).decode()
                image = {
                    "type": "image_url",
                    "image_url": {"url": f"data:image/jpeg;base64,{data}"},
                }
                answer = await client.chat.completions.create(
                    model=MODEL,
                    temperature=0,
                    messages=[
                        {"role": "user", "content": [{"type": "text", "text": PROMPT}, image]}
                    ],
                )
                return answer.choices[0].message.content or ""

        async with AsyncOpenAI(base_url=base_url, api_key="none") as client:
            return list(await asyncio.gather(*map(one, photos)))

    return lambda photos: asyncio.run(ask_all(photos))


def ask_daft(url: str, scratch: Path) -> Ask:  # noqa: ARG001
    """`daft.functions.prompt` over a column of downloaded files."""
    import daft
    from daft.ai.openai.provider import OpenAIProvider
    from daft.functions import prompt

    os.environ["DAFT_PROGRESS_BAR"] = "0"
    provider = OpenAIProvider(base_url=f"{url}/plain/v1", api_key="none")

    def ask(photos: Sequence[Path]) -> list[str]:
        frame = daft.from_pydict({"path": [str(photo) for photo in photos]})
        frame = frame.with_column("image", daft.col("path").download())
        label = prompt(
            [daft.lit(PROMPT), daft.col("image")],
            provider=provider,
            model=MODEL,
            use_chat_completions=True,
            temperature=0,
        )
        frame = frame.with_column("label", label).select("path", "label")
        return frame.to_pydict()["label"]

    return ask


def ask_dspy(url: str, scratch: Path) -> Ask:
    """`dspy.Predict` over 64 threads, its cache on disk as by default."""
    from typing import Literal

    os.environ["DSPY_CACHEDIR"] = str(scratch / "dspy")
    import dspy

    fields = {
        "image": (dspy.Image, dspy.InputField()),
        "label": (Literal[LABELS], dspy.OutputField()),
    }
    signature = dspy.Signature(fields, "Which label fits the image?")
    lm = dspy.LM(f"openai/{MODEL}", api_base=f"{url}/dspy/v1", api_key="none", temperature=0)
    dspy.configure(lm=lm)
    predict = dspy.Predict(signature)

    def ask(photos: Sequence[Path]) -> list[str]:
        examples = [
            dspy.Example(image=dspy.Image.from_path(str(photo))).with_inputs("image")
            for photo in photos
        ]
        found = predict.batch(examples, num_threads=SLOTS, disable_progress_bar=True)
        return [one.label for one in found]

    return ask


def ask_inspect_ai(url: str, scratch: Path) -> Ask:
    """`inspect_ai.eval` of a task without a scorer; its log, with images as by default."""
    import inspect_ai
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, get_model
    from inspect_ai.solver import generate

    model = get_model(f"openai-api/local/{MODEL}", base_url=f"{url}/plain/v1", api_key="none")

    def ask(photos: Sequence[Path]) -> list[str]:
        samples = [
            Sample(
                id=photo.stem,
                input=[
                    ChatMessageUser(
                        content=[ContentText(text=PROMPT), ContentImage(image=str(photo))]
                    )
                ],
            )
            for photo in photos
        ]
        [log] = inspect_ai.eval(
            inspect_ai.Task(dataset=MemoryDataset(samples), solver=generate()),
            model=model,
            temperature=0,
            max_connections=SLOTS,
            display="none",
            log_dir=str(scratch / "logs"),
            score=False,
        )
        assert log.status == "success", log.error
        assert log.samples is not None
        answers = {sample.id: sample.output.completion for sample in log.samples}
        return [answers[photo.stem] for photo in photos]

    return ask


TOOLS: dict[str, Callable[[str, Path], Ask]] = {
    "showtell": ask_showtell,
    "showtell-client": ask_showtell_client,
    "openai": ask_openai,
    "daft": ask_daft,
    "dspy": ask_dspy,
    "inspect_ai": ask_inspect_ai,
}
PACKAGES = ("showtell", "pydantic-ai-slim", "daft", "dspy", "inspect-ai", "openai", "litellm")


def cpu_seconds() -> float:
    """Of this process and those it started, user and system."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def peak_mb() -> float:
    """Most memory that was resident, in MB (10^6 bytes).

    Linux says it of this process alone; the other number may be that of the process which started
    it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("--url", required=True)
    for folder in ("warm", "photos", "scratch"):
        parser.add_argument(f"--{folder}", type=Path, required=True)
    chosen = parser.parse_args()
    began = time.perf_counter()
    ask = TOOLS[chosen.tool](chosen.url, chosen.scratch)
    imported = time.perf_counter()
    warm = sorted(chosen.warm.glob("*.jpg"))
    assert ask(warm) == [LABELS[0]] * len(warm)
    photos = sorted(chosen.photos.glob("*.jpg"))
    start_cpu, start = cpu_seconds(), time.perf_counter()
    labels = ask(photos)
    wall, cpu = time.perf_counter() - start, cpu_seconds() - start_cpu
    print(
        json.dumps(
            {
                "n_right": sum(label == LABELS[0] for label in labels),
                "n_photos": len(photos),
                "wall": wall,
                "cpu": cpu,
                "start_wall": imported - began,
                "start_cpu": start_cpu,
                "peak_mb": peak_mb(),
                "versions": versions(),
            }
        )
    )


if __name__ == "__main__":
    main()
