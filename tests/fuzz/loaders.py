"""Every loader with a file that it reads, what spoils the file, and what is done with what came."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import numpy as np
import typer
from tests.frozen.frozen import FORMAT1, ColourVLM
from tests.fuzz.mutations import spoil_arrays, spoil_bytes, spoil_json, spoil_text
from tests.spoiled import encoded, toy_photo
from typer.main import get_command

import showtell as st
from showtell.encoders import registry
from showtell.errors import ShowtellError
from showtell.mllm import Answer, Request, TextPart, Usage, load_mllm
from showtell.mllm.call.stored import check_answer
from showtell.mllm.providers import vendors
from showtell.prompts import write_descriptions
from showtell.prompts.answers import AnswerParser
from showtell.prompts.reconciled import reconcile
from showtell.testing import ColourEncoder, draw_shape

__all__ = ["LOADERS", "Loader", "try_one", "try_sound"]


@dataclass(frozen=True, kw_only=True)
class Loader:
    """A loader, a sound file or folder for it, and how that is spoiled."""

    name: str
    make: Callable[[Path], Path]
    """Writes what is sound into a folder; gives the file that is to be spoiled."""
    load: Callable[[Path], Any]
    """Reads the spoiled file or what it belongs to, and looks at what came."""
    spoil: Callable[[bytes, Random], bytes]


def try_one(loader: Loader, seed: int, folder: Path) -> BaseException | None:
    """Spoil the file once and load it; give what no loader may raise, None if all is well."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = loader.make(folder)
    path.write_bytes(loader.spoil(path.read_bytes(), Random(f"{loader.name} {seed}")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loader.load(path)
        except ShowtellError as error:
            return AssertionError(f"not one line: {error!r}") if "\n" in str(error) else None
        except Exception as error:  # noqa: BLE001
            return error
    return None


def try_sound(loader: Loader, folder: Path) -> None:
    """Load the file as it is, which must work."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loader.load(loader.make(folder))


def as_json(data: bytes, random: Random) -> bytes:
    """Spoil the values of a JSON file, or now and then its text."""
    if random.random() < 0.2:
        return spoil_text(data, random)
    return json.dumps(spoil_json(json.loads(data), random)).encode()


def as_lines(data: bytes, random: Random) -> bytes:
    """Spoil one line of JSON Lines, or the file."""
    lines = data.splitlines()
    place = random.randrange(len(lines))
    lines[place] = as_json(lines[place], random)
    return b"\n".join(lines) + b"\n"


def signed(data: bytes, random: Random) -> bytes:
    """Spoil what a saved classifier says of itself, and sign it anew."""
    from showtell.records.saved import digest_of

    record = spoil_json(json.loads(data), random)
    if isinstance(record, dict):
        try:
            record["sha256"] = digest_of(record)
        except (TypeError, ValueError, UnicodeEncodeError):
            return data
    return json.dumps(record).encode()


# -- sound files -----------------------------------------------------------------------------------
def written(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def copied(source: str, file: str = "") -> Callable[[Path], Path]:
    """Copy a file or folder of the kept ones; `file` of the folder is spoiled."""

    def make(folder: Path) -> Path:
        origin = FORMAT1 / source
        if origin.is_dir():
            shutil.copytree(origin, folder / origin.name)
            return folder / origin.name / file
        shutil.copy(origin, folder)
        return folder / origin.name

    return make


def table(name: str) -> Callable[[Path], Path]:
    """A table of images, labels, groups and splits."""
    rows = [
        {
            "image": f"{i}.png",
            "label": ("cat", "dog")[i % 2],
            "group": f"g{i % 3}",
            "split": "train",
            "score": i / 7,
            "n": i,
        }
        for i in range(12)
    ]
    if name.endswith(".parquet"):

        def make(folder: Path) -> Path:
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist(rows), folder / name)
            return folder / name

        return make
    if name.endswith(".jsonl"):
        return written(name, "".join(json.dumps(row) + "\n" for row in rows))
    if name.endswith(".json"):
        return written(name, json.dumps(rows))
    sign = "\t" if name.endswith(".tsv") else ","
    lines = [sign.join(rows[0]), *(sign.join(map(str, row.values())) for row in rows)]
    return written(name, "\n".join(lines) + "\n")


ENV = "export OPENAI_API_KEY=\"sk-1\"  # mine\nOPENAI_BASE_URL='https://a.b/v1'\n\n# no\nA = b c\n"
TOML = 'seed = 7\nlabels = ["cat", "dog"]\n\n[classify]\nabstain-below = 0.4\nproba = true\n'
MODELFILE = (
    'FROM llava:7b\nPARAMETER temperature 0.5\nPARAMETER stop "x"\nSYSTEM """One\nword."""\n'
)
LABELS_JSON = '{"cat": {"description": "a small animal", "aliases": ["kitty"]}, "dog": ["barks"]}'
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 2, 9, 12.5]}],
        "categories": [{"id": 3, "name": "cat"}],
    }
)
VOC = (
    "<annotation><filename>a.jpg</filename><size><width>40</width><height>30</height></size>"
    "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>20</xmax><ymax>22</ymax>"
    "</bndbox></object></annotation>"
)
ANSWERS = "image,actual,predicted,confidence\na.jpg,cat,It is a cat.,0.9\nb.jpg,dog,cat,0.4\n"
PROMPT = "Choose among {labels}.\n{notes}\n"


# -- loading, and looking at what came -------------------------------------------------------------
def settings(path: Path) -> None:
    from showtell.cli.main import app
    from showtell.cli.settings import read_settings

    group = get_command(app)
    parent = typer.Context(group, info_name="showtell")
    context = typer.Context(
        group.get_command(parent, "classify"), info_name="classify", parent=parent
    )
    repr(read_settings(path, context))


def variables(path: Path) -> None:
    from showtell.mllm.registry import _read_env_file, list_models

    repr(_read_env_file(path))
    list_models(env_file=path)


def modelfile(path: Path) -> None:
    from showtell.mllm.modelfile import read_modelfile

    repr(read_modelfile(path))


def labels(path: Path) -> None:
    found = st.datasets.parse_labels(labels_file=path)
    json.dumps([found.labels, found.descriptions, found.aliases])


def data(path: Path) -> None:
    found = st.load_dataset(path)
    repr(found)
    list(found.labels)
    found.y if found.labels else None  # noqa: B018
    list(found.images)


def folder_of_words(path: Path) -> None:
    data(path.parent)


def coco(path: Path) -> None:
    found = st.datasets.load_coco(path)
    repr((found.images, found.labels, found.notes, found.y))


def voc(path: Path) -> None:
    found = st.datasets.load_voc(path.parent)
    repr((found.images, found.labels, found.notes, found.y))


def label_key(path: Path) -> None:
    key = st.datasets.LabelKey.load(path)
    repr(key.to_label)


def descriptions(path: Path) -> None:
    from showtell.prompts import read_descriptions

    found = read_descriptions(path)
    repr((found, found.to_record(), found.check(["cat", "dog"])))
    found.write(path.with_name("again.json"))


def concepts(path: Path) -> None:
    from showtell.prompts import read_concepts

    tree = read_concepts(path)
    repr((tree, tree.to_record()))
    tree.write(path.with_name("again.json"))


def templates(path: Path) -> None:
    from showtell.prompts.template import resolve_templates
    from showtell.recipes.building import _templates

    [template.format(label="cat") for template in resolve_templates(_templates(str(path)))]


def prompts(path: Path) -> None:
    from showtell.prompts.files import load_prompts

    repr(load_prompts(path.parent))


def predictions(path: Path) -> None:
    found = st.Predictions.read(path)
    repr(found)
    found.rows()
    found.write(path.with_name("again.csv"))
    found.write(path.with_name("again.jsonl"))
    found._repr_html_()


def answers(path: Path) -> None:
    record = st.evaluate.score_predictions(path)
    repr((record, record.metrics))


ANSWER = """<think>It has "fur".</think>
```json
{"answers": [{"id": "img-1", "label": "cat", "confidence": 0.9},
             {"id": "img-2", "label": "dog", "why": "it barks"}]}
```
img-1: cat
"""


def answer(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    parser = AnswerParser(["cat", "dog", "tom"], {"dog": ["puppy"]}, field="label")
    for cut in (False, True):
        found = reconcile(text, ["img-1", "img-2"], parser, cut=cut).outcomes
        assert set(found) == {"img-1", "img-2"}
        assert all(o.confidence is None or 0 <= o.confidence <= 1 for o in found.values())
    parser.parse(text)


class Says:
    """A model that always answers the same."""

    name = "toy:says"

    def __init__(self, text: str) -> None:
        self.text = text

    async def ask(self, request: Request) -> Answer:
        return Answer(text=self.text, usage=Usage(), finish="stop", model="says")

    async def aclose(self) -> None:
        pass


WORDS = json.dumps({"descriptions": ["pointed ears", "long whiskers", "soft fur, striped"]})


def written_words(path: Path) -> None:
    model = st.Model(Says(path.read_bytes().decode("utf-8", "replace")), cache=None)
    found = write_descriptions(["cat", "dog"], model)
    found.descriptions.write(path.with_name("again.csv"))
    found.descriptions.write(path.with_name("again.json"))


ENVELOPES = {
    "openai": {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": '{"label": "cat"}', "refusal": None},
            "logprobs": {"content": [{
                "token": "cat", "logprob": -0.1, "bytes": [99],
                "top_logprobs": [{"token": "cat", "logprob": -0.1, "bytes": None}],
            }]},
        }],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                  "prompt_tokens_details": {"cached_tokens": 3}},
    },
    "google": {
        "candidates": [{
            "content": {"role": "model", "parts": [{"text": '{"label": "cat"}'}]},
            "finishReason": "STOP", "index": 0, "avgLogprobs": -0.1,
            "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW"}],
        }],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        "modelVersion": "m", "responseId": "x",
    },
    "anthropic": {
        "id": "x", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": '{"label": "cat"}'}],
        "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 3},
    },
}  # fmt: skip
MODELS = {
    "openai": "openai:gpt-4.1-mini",
    "google": "google:gemini-2.5-flash",
    "anthropic": "anthropic:claude-haiku-4-5",
}


def envelope(vendor: str) -> Callable[[Path], None]:
    """What a vendor's library and ours make of the body of an answer."""

    def load(path: Path) -> None:
        data = path.read_bytes()

        def respond(request: httpx2.Request) -> httpx2.Response:
            headers = {"content-type": "application/json"}
            return httpx2.Response(200, content=data, headers=headers, request=request)

        def client(look_at: Any = None) -> httpx2.AsyncClient:
            return httpx2.AsyncClient(transport=httpx2.MockTransport(respond))

        async def ask() -> Answer:
            model = load_mllm(MODELS[vendor], api_key="sk-0123456789", env_file=None)
            try:
                parts = (TextPart(text="Which?"),)
                return await model.ask(Request(model=model.name, system="", parts=parts))
            finally:
                await model.aclose()

        real, vendors.make_client = vendors.make_client, client
        try:
            found = asyncio.run(ask())
        finally:
            vendors.make_client = real
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            check_answer(found)  # the client makes an error row of these

    return load


def record(path: Path) -> None:
    found = st.Record.load(path.parent)
    repr((found, found.per_class, found.confusion, found.reliability))
    found.to_json()
    found.save(path.parent.with_name("again"))


def audit(path: Path) -> None:
    found = st.evaluate.Audit.load(path)
    repr(found)
    json.dumps(found.to_dict())
    found._repr_html_()


def evolution(path: Path) -> None:
    from showtell.classify.evolving.record import read_evolution

    found = read_evolution(path)
    repr(found)
    json.dumps(found.to_record())


def claimed(path: Path) -> None:
    from showtell.records.former import current_request
    from showtell.runs.folder import claim

    kept = json.loads((FORMAT1 / "runs" / "classify-direct" / "run.json").read_text("utf-8"))
    claim(path.parent, current_request(kept["request"]))


SEEN = [draw_shape("red circle"), draw_shape("blue square", seed=2)]


def classifier(path: Path) -> None:
    about = json.loads((FORMAT1 / "classifiers" / f"{path.parent.name}.json").read_text("utf-8"))
    more: dict[str, Any] = {"encoder": ColourEncoder()} if about["encoder_object"] else {}
    if about["class"] == "LikelihoodClassifier":
        more["model"] = ColourVLM()
    registry._loaded.setdefault(("colours", "auto", None), ColourEncoder())  # their plugin
    clf = st.load_classifier(path.parent, **more)
    if not about["n_requests"]:  # else a model would be asked
        found = clf.classify(SEEN)
        assert found.proba is None or not np.isnan(found.proba).any(), "a probability is NaN"
        repr(found)
    repr(clf.get_params())
    clf.save(path.parent.with_name("again"))


def sign_arrays(path: Path) -> None:
    """Let the JSON fit the spoiled arrays, so that only the arrays themselves are wrong."""
    from showtell.records.saved import digest_of

    told = path.with_name("classifier.json")
    value = json.loads(told.read_text("utf-8"))
    blob = path.read_bytes()
    value["files"] = {path.name: {"sha256": hashlib.sha256(blob).hexdigest(), "n_bytes": len(blob)}}
    value["sha256"] = digest_of(value)
    told.write_text(json.dumps(value))
    classifier(path)


def safetensors(path: Path) -> None:
    from showtell.encoders.hub.config import read_scalars

    read_scalars(path, ["logit_scale"], "hub")


def model_folder(path: Path) -> None:
    from showtell.encoders.hub.config import _json

    _json(path.parent, path.name, "hub")


def journal(path: Path) -> None:
    from showtell.mllm.call.journal import Journal

    with Journal(path.parent) as found:
        repr((found.spent, found.n_requests))


def cache(path: Path) -> None:
    from showtell.mllm import AnswerCache

    found = AnswerCache(path)
    found.stats()
    found.get("x")
    found.clear(older_than=100)


def store(path: Path) -> None:
    from showtell.encoders import EmbeddingStore, embed_images

    found = EmbeddingStore(path)
    found.stats()
    embed_images(ColourEncoder(), SEEN, store=found)


def image(path: Path) -> None:
    st.load_image(path)


TENSORS = json.dumps(
    {"logit_scale": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}
).encode()
SAFETENSORS = len(TENSORS).to_bytes(8, "little") + TENSORS + np.float32(4.6).tobytes()
KINDS = sorted(p.name for p in (FORMAT1 / "classifiers").iterdir() if p.is_dir())


def _loaders() -> list[Loader]:
    found = [
        ("settings", written("showtell.toml", TOML), settings, spoil_text),
        ("variables", written("my.env", ENV), variables, spoil_text),
        ("modelfile", written("Modelfile", MODELFILE), modelfile, spoil_text),
        ("labels.txt", written("labels.txt", "cat=a small animal\ndog\n"), labels, spoil_text),
        ("labels.csv", written("l.csv", "label,description\ncat,a|b\ndog,c\n"), labels, spoil_text),
        ("labels.json", written("l.json", LABELS_JSON), labels, as_json),
        ("folder words", _pictures, folder_of_words, as_json),
        ("label key", _key, label_key, as_json),
        ("coco", written("coco.json", COCO), coco, as_json),
        ("voc", written("a.xml", VOC), voc, spoil_text),
        ("templates", written("t.txt", "a photo of a {label}.\n{label}\n"), templates, spoil_text),
        ("prompts", _prompts, prompts, spoil_text),
        ("concepts", copied("words/tree.json"), concepts, as_json),
        ("audit", copied("audit.json"), audit, as_json),
        ("run.json", copied("runs/classify-direct", "run.json"), claimed, as_json),
        ("evolution", copied("runs/optimize", "evolution.json"), evolution, as_json),
        ("record csv", copied("record-csv", "predictions.csv"), record, spoil_text),
        ("record json", copied("record-csv", "run.json"), record, as_json),
        ("record arrays", copied("record-csv", "arrays.npz"), record, spoil_arrays),
        ("answers.csv", written("answers.csv", ANSWERS), answers, spoil_text),
        ("answer", written("answer.txt", ANSWER), answer, spoil_text),
        ("answer in words", written("a.txt", WORDS), written_words, spoil_text),
        *(
            (f"envelope {vendor}", written("body.json", json.dumps(body)), envelope(vendor), how)
            for vendor, body in ENVELOPES.items()
            for how in (as_json,)
        ),
        (
            "envelope text",
            written("body.json", json.dumps(ENVELOPES["openai"])),
            envelope("openai"),
            spoil_text,
        ),
        ("safetensors", written("model.safetensors", SAFETENSORS), safetensors, spoil_bytes),
        ("model folder", written("config.json", '{"model_type": "clip"}'), model_folder, as_json),
        ("journal", copied("runs/classify-direct", "journal.jsonl"), journal, as_lines),
        ("cache", copied("cache/answers-1.sqlite"), cache, spoil_bytes),
        ("store", copied("cache/embeddings-1.sqlite"), store, spoil_bytes),
        *(
            (f"phrases{end}", copied(f"words/phrases{end}"), descriptions, how)
            for end, how in ((".json", as_json), (".csv", spoil_text), (".yaml", spoil_text))
        ),
        *(
            (f"table{end}", table(f"t{end}"), data, how)
            for end, how in (
                (".csv", spoil_text),
                (".tsv", spoil_text),
                (".jsonl", as_lines),
                (".json", as_json),
                (".parquet", spoil_bytes),
            )
        ),
        *(
            (f"predictions{end}", copied(f"tables/predictions{end}"), predictions, how)
            for end, how in ((".csv", spoil_text), (".jsonl", as_lines), (".parquet", spoil_bytes))
        ),
        *(
            (
                f"image {kind}",
                written(f"a.{kind.lower()}", encoded(toy_photo(), kind)),
                image,
                spoil_bytes,
            )
            for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
        ),
        *(
            (f"saved {k}", copied(f"classifiers/{k}", "classifier.json"), classifier, signed)
            for k in KINDS
        ),
        *(
            (
                f"saved {k} arrays",
                copied(f"classifiers/{k}", "arrays.npz"),
                sign_arrays,
                spoil_arrays,
            )
            for k in KINDS
            if _has_arrays(k)
        ),
    ]
    return [Loader(name=a, make=b, load=c, spoil=d) for a, b, c, d in found]


def _has_arrays(kind: str) -> bool:
    import zipfile

    with zipfile.ZipFile(FORMAT1 / "classifiers" / kind / "arrays.npz") as archive:
        return bool(archive.namelist())


def _pictures(folder: Path) -> Path:
    for name in ("a_cat", "a_dog"):
        (folder / name).mkdir()
        (folder / name / "0.png").write_bytes(b"")
    (folder / "labels.json").write_text('{"a_cat": "cat", "a_dog": "dog"}')
    return folder / "labels.json"


def _key(folder: Path) -> Path:
    st.datasets.anonymise_labels(["cat", "dog"]).save(folder / "key.json")
    return folder / "key.json"


def _prompts(folder: Path) -> Path:
    from showtell.prompts.files import copy_prompts

    return next(path for path in copy_prompts(folder / "p") if path.name == "closing.txt")


LOADERS = {loader.name: loader for loader in _loaders()}
