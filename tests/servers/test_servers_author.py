"""The writing half of the local servers: it knows good words from bad and only obeys."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from tests.servers.wire import LABELS, b64, png

from showtell.errors import InputError
from showtell.testing import ColourEncoder, draw_shape
from showtell.testing.servers import Author, Faults, LocalServer
from showtell.testing.servers.assignments import TASKS, read_assignment
from showtell.testing.servers.author import _gains
from showtell.testing.servers.sight import Sight

WORDS = tuple(f"{shade} {colour}" for colour in ("red", "green", "blue", "yellow")
              for shade in ("bright", "dark", "pale", "deep"))  # fmt: skip
NONSENSE = ("a promise", "an unpaid invoice", "seldom discussed")
NAMES = ("ball", "tent", "box")  # so that a label does not name its colour


def photos(n=4, seed=0):
    images, labels = [], []
    for shape, name in zip(LABELS, NAMES, strict=True):
        images += [draw_shape(shape, seed=seed + i) for i in range(n)]
        labels += [name] * n
    return images, labels


def author(**more):
    images, labels = photos()
    return Author(images=images, labels=labels, words=WORDS, nonsense=NONSENSE, **more)


def write(text, by=None, *, key="k", attempt=0, fault=None, schema=None):
    by = author() if by is None else by
    asked = read_assignment([text])
    return asyncio.run(
        by.write(asked, Sight(ColourEncoder()), draw_key=(0, key, attempt), fault=fault,
                 schema=schema)
    )  # fmt: skip


def evolve(*lines, task="mutate"):
    listed = ["Labels:", *(f"- {name}" for name in NAMES), "End of labels."]
    return "\n".join([f"Task: {task}", *listed, *lines, "", "Now think about what to change."])


def texts_of(value):
    return {entry["name"]: entry["descriptors"] for entry in value["classes"]}


# What is asked


def test_the_marked_lines_are_read_and_prose_is_not():
    asked = read_assignment(
        [
            "Task: mutate\nLabels:\n- cat: tabby\n- cat\nEnd of labels.\nCount: 3\nReplace: 2\n"
            "Sample: 4\nCurrent: cat: tabby: fur | ears\nCurrent: cat: tail | -\n"
            "Confused: cat: cat: tabby, dog\nGood words: cat: tail; whiskers\n"
            "Bad words: cat: none\n"
            "Hint: be brief.\nCount: 9\n",
            "Your last answer was:\nnothing",
        ]
    )
    assert asked.labels == ("cat: tabby", "cat")
    assert (asked.count, asked.replace, asked.sample) == (3, 2, 4)
    assert asked.current == {"cat: tabby": (("fur", "ears"),), "cat": (("tail",),)}
    assert asked.confused == {"cat": ("cat: tabby", "dog")}
    assert asked.good == {"cat": ("tail", "whiskers")}
    assert asked.bad == {"cat": ()}


@pytest.mark.parametrize("text", ["Write a poem.", "Task: sing\nLabel: x", "A Task: mutate", ""])
def test_without_a_known_task_nothing_is_to_be_written(text):
    assert read_assignment([text]) is None


# What is known


def test_words_are_good_or_bad_by_what_they_do_to_the_photos():
    known = author().measure(ColourEncoder())
    assert set(known) == set(NAMES)
    for name, colour in zip(NAMES, ("red", "green", "blue"), strict=True):
        assert {word.split()[1] for word in known[name].good} == {colour}
        assert not any(colour in word for word in known[name].bad)
        assert known[name].bad
        assert all(known[name].gains[word] > 0 for word in known[name].good)
        assert all(known[name].gains[word] < 0 for word in known[name].bad)


def test_a_gain_is_the_fall_of_the_cross_entropy_counted_one_by_one():
    rng = np.random.default_rng(3)
    usual, own = rng.normal(size=(7, 3)), rng.normal(size=(7, 5))
    y = rng.integers(0, 3, 7)

    def loss(scores):
        each = [np.log(np.exp(row).sum()) - row[code] for row, code in zip(scores, y, strict=True)]
        return np.mean(each)

    expected = []
    for word in range(5):
        changed = usual.copy()
        changed[:, 1] = own[:, word]
        expected.append(loss(usual) - loss(changed))
    np.testing.assert_allclose(_gains(usual, own, 1, y), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"images": [1, 2], "labels": ["a"]}, "got 2 and 1"),
        ({"share_bad": 1.5}, "from 0 to 1, got 1.5"),
        ({"prompt": "{label}"}, "needs {label} and {word}"),
        ({"words": []}, "must not be empty"),
    ],
)
def test_an_author_that_makes_no_sense_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        Author(**arguments)


# What is written


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_bad_words_is_obeyed_at_its_ends(share):
    by = author(share_bad=share)
    known = by.measure(ColourEncoder())["tent"]
    found = write("Task: describe-label\nLabel: tent\nCount: 3", by)
    assert set(found["descriptors"]) <= set(known.bad if share else known.good)
    assert len(set(found["descriptors"])) == 3


def test_good_and_bad_words_are_mixed_by_chance():
    by = author(share_bad=0.5)
    known = by.measure(ColourEncoder())["box"]
    n_bad = []
    for i in range(60):
        found = write("Task: describe-label\nLabel: box\nCount: 4", by, key=f"k{i}")
        n_bad.append(len(set(found["descriptors"]) & set(known.bad)))
    assert 1.5 < np.mean(n_bad) < 2.5
    assert len(set(n_bad)) > 2


def test_the_same_question_has_the_same_answer():
    text = "Task: describe-sentences\nLabel: ball\nCount: 5"
    first, again, other = write(text), write(text), write(text, key="other")
    assert first == again != other
    assert all("ball" in sentence for sentence in first["descriptors"])


def test_without_photos_any_label_gets_words():
    found = write("Task: describe-label\nLabel: velociraptor\nCount: 12", Author())
    assert len(set(found["descriptors"])) == 12
    assert found["category"] == "velociraptor"


def test_bad_words_it_is_told_of_go_and_never_come_back():
    by = author(share_bad=1.0)
    known = by.measure(ColourEncoder())["ball"]
    now = list(known.bad[:4])
    told = list(known.bad[:-1])
    lines = [
        "Current: ball: " + " | ".join([*now, "bright red"]),
        "Bad words: ball: " + "; ".join(told),
    ]
    for i in range(20):
        new = texts_of(write(evolve(*lines), by, key=f"k{i}"))["ball"]
        assert not set(new) & set(told)
        assert "bright red" in new
        assert len(new) == len(set(new)) == 5


def test_as_many_words_are_replaced_as_asked_and_praised_ones_stay():
    now = ["bright red", "dark red", "pale blue", "deep blue"]
    lines = ["Current: ball: " + " | ".join(now), "Replace: 2", "Good words: ball: dark red"]
    dropped = set()
    for i in range(20):
        new = texts_of(write(evolve(*lines), author(), key=f"k{i}"))["ball"]
        assert len(new) == 4
        assert len(set(now) - set(new)) == 2  # unused words come first
        assert "dark red" in new
        dropped |= set(now) - set(new)
    assert dropped == {"bright red", "pale blue", "deep blue"}


def test_the_first_round_writes_as_many_as_asked_for_every_label():
    value = write(evolve("Count: 6"))
    assert [(c["index"], c["name"], len(c["descriptors"])) for c in value["classes"]] == [
        (0, "ball", 6), (1, "tent", 6), (2, "box", 6),
    ]  # fmt: skip


def test_no_word_names_another_label_of_the_list():
    by = Author(words=["a ball", "bright red", "dark red"], nonsense=["like a box"])
    value = texts_of(write(evolve("Count: 4"), by))
    assert "a ball" not in value["tent"] + value["box"]
    assert "like a box" not in value["ball"] + value["tent"]


def test_crossover_mixes_what_is_there():
    lines = [
        "Count: 2",
        "Current: ball: bright red | dark red",
        "Current: ball: dark red | pale red",
        "Bad words: ball: pale red",
    ]
    value = texts_of(write(evolve(*lines, task="crossover")))
    assert value["ball"] == ["dark red", "bright red"]  # what stands in both versions first
    assert value["tent"] == []


def test_a_concept_is_what_all_labels_are_nearest_or_nothing():
    class Kinds(ColourEncoder):
        def encode_texts(self, texts):
            rows = np.full((len(texts), self.n_dims), 0.1, np.float32)
            for row, text in zip(rows, texts, strict=True):
                for place, words in enumerate((("wren", "robin", "a bird"), ("tea", "a drink"))):
                    row[place] += any(word in text for word in words)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def concept(encoder, *labels):
        text = "\n".join(["Task: find-concept", "Labels:", *(f"- {x}" for x in labels)])
        asked = read_assignment([text + "\nEnd of labels."])
        return asyncio.run(Author().write(asked, Sight(encoder)))["concept"]

    assert concept(Kinds(), "wren", "robin") == "bird"
    assert concept(Kinds(), "wren", "bird") != "bird"
    assert concept(ColourEncoder(), "wren", "tea") is None


def test_trees_come_in_their_forms():
    tree = write("Task: parts\nDomain: bird")
    assert tree["part"] == "bird"
    assert all(set(child) == {"part", "children"} for child in tree["children"])
    kinds = write("Task: attributes\nDomain: bird\nPart: wing")
    assert kinds["part"] == "wing"
    assert 3 <= len(set(kinds["attributes"])) <= 6
    text = "Task: values\nDomain: toy\nPart: surface\nLabel: ball\nAttributes: colour; shape"
    values = write(text, Author())
    assert (values["label"], values["part"]) == ("ball", "surface")
    assert list(values["values"]) == ["colour", "shape"]
    assert all(values["values"].values())
    pairs = {"properties": {"values": {"type": "array"}}}
    listed = write(text, Author(), schema=pairs)["values"]
    assert {pair["attribute"]: pair["values"] for pair in listed} == values["values"]


@pytest.mark.parametrize(
    ("fault", "is_so"),
    [
        ("forget_label", lambda made: len(made) == 2),
        ("repeat", lambda made: all(len({t.lower() for t in x}) < len(x) for x in made.values())),
        (
            "name_other",
            lambda made: all(
                any(f"like a {other}" in t for t in x for other in NAMES if other != name)
                for name, x in made.items()
            ),
        ),
    ],
)
def test_an_author_spoils_its_answer_as_it_is_told(fault, is_so):
    whole = texts_of(write(evolve("Count: 4")))
    assert not is_so(whole)
    assert is_so(texts_of(write(evolve("Count: 4"), fault=fault)))


PARTS = {
    "type": "object",
    "properties": {
        "part": {"type": "string"},
        "children": {
            "type": "array",
            "items": {"type": "object", "properties": {"part": {"type": "string"}}},
        },
    },
}
VALUES = "Task: values\nDomain: toy\nPart: surface\n{}\nAttributes: colour; shape"


def test_a_tree_of_parts_is_cut_where_its_schema_ends():
    deep = write("Task: parts\nDomain: bird")
    flat = write("Task: parts\nDomain: bird", schema=PARTS)
    assert any(child["children"] for child in deep["children"])
    names = [child["part"] for child in deep["children"]]
    assert flat == {"part": "bird", "children": [{"part": name} for name in names]}


def test_values_of_several_labels_are_mixed():
    known = author().measure(ColourEncoder())
    listed = "\n".join(["Labels:", *(f"- {name}" for name in NAMES), "End of labels."])
    together = write(VALUES.format(listed), author(share_bad=0.0))["values"]["colour"]
    assert 3 <= len(together) <= 8
    assert sum(bool(set(known[name].good) & set(together)) for name in NAMES) > 1


@pytest.mark.parametrize(
    ("task", "fault", "is_so"),
    [
        ("values", "invalid", lambda v: all(
            words in (["N/A"], ["not visible"], ["black, white, or tan"]) for words in v.values())),
        ("values", "name_other", lambda v: all(set(words) <= {"tent", "box"}
                                               for words in v.values())),
        ("values", "forget_label", lambda v: list(v) == ["shape"]),
        ("values", "repeat", lambda v: any(
            len({word.lower() for word in words}) < len(words) for words in v.values())),
        ("parts", "invalid", lambda v: [child["part"] for child in v] == ["N/A", ""]),
        ("parts", "name_other", lambda v: v[-1]["part"] in NAMES),
        ("parts", "repeat", lambda v: v[0] == v[-1]),
        ("attributes", "forget_label", lambda v: v == []),
        ("attributes", "invalid", lambda v: len(v) == 1),
    ],
)  # fmt: skip
def test_a_tree_is_spoiled_as_it_is_told(task, fault, is_so):
    text = {"values": VALUES.format("Label: ball"), "parts": "Task: parts\nDomain: toy",
            "attributes": "Task: attributes\nPart: surface"}[task]  # fmt: skip
    field = {"parts": "children"}.get(task, task)
    assert is_so(write(text, fault=fault)[field])
    assert not is_so(write(text)[field])


def test_parts_that_are_missing_are_the_first_or_all():
    whole = [child["part"] for child in write("Task: parts\nDomain: toy")["children"]]
    found = {
        tuple(c["part"] for c in write(
            "Task: parts\nDomain: toy", key=f"k{i}", fault="forget_label")["children"])
        for i in range(10)
    }  # fmt: skip
    assert found == {(), tuple(whole[1:])}


@pytest.mark.parametrize("fault", [None, "forget_label", "repeat", "name_other", "invalid"])
@pytest.mark.parametrize("task", TASKS)
def test_every_task_ends_with_an_answer_whatever_is_missing_and_goes_wrong(task, fault):
    value = write(f"Task: {task}", fault=fault)
    assert isinstance(json.loads(json.dumps(value)), dict)


# Over the wire


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
    with LocalServer("all", encoder=ColourEncoder(), author=author(share_bad=0.0)) as running:
        yield running


def chat(server, text, *, image=None, temperature=None, schema=None, stream=False):
    openai = pytest.importorskip("openai", reason="needs the extra openai")
    content = [{"type": "text", "text": text}]
    if image is not None:
        url = f"data:image/png;base64,{b64(image)}"
        content.append({"type": "image_url", "image_url": {"url": url}})
    more = {} if temperature is None else {"temperature": temperature}
    if schema is not None:
        form = {"name": "answer", "schema": schema, "strict": True}
        more["response_format"] = {"type": "json_schema", "json_schema": form}
    with openai.OpenAI(base_url=server.url_for("openai"), api_key="any", max_retries=0) as client:
        reply = client.chat.completions.create(
            model="try", messages=[{"role": "user", "content": content}], stream=stream, **more
        )
        if stream:
            return "".join(c.choices[0].delta.content or "" for c in reply if c.choices)
        message = reply.choices[0].message
        return message.refusal or message.content


@pytest.mark.parametrize("kind", ["openai", "google", "anthropic", "ollama"])
def test_descriptions_come_through_every_vendors_client(server, kind, monkeypatch):
    for name in ("OPENAI", "GOOGLE", "ANTHROPIC"):
        monkeypatch.setenv(f"{name}_API_KEY", "any")
    extra = {"ollama": "openai", "google": "google.genai"}.get(kind, kind)
    pytest.importorskip(extra, reason=f"needs the extra {kind}")
    from showtell.mllm.model import Model
    from showtell.prompts import write_descriptions

    before = server.stats.written["describe-label"]
    access = Model(model=f"{kind}:try", base_url=server.url_for(kind), cache=None)
    found = write_descriptions(NAMES, access, count=3)
    assert not found.gaps
    for name, colour in zip(NAMES, ("red", "green", "blue"), strict=True):
        assert len(found.descriptions[name]) == 3
        assert all(colour in text for text in found.descriptions[name])
    assert server.stats.written["describe-label"] == before + 3
    assert server.requests[-1].task == "describe-label"


@pytest.mark.parametrize("fault", [None, "forget_label", "repeat", "name_other", "invalid"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_trees_keep_to_the_schemas_they_are_asked_by(depth, fault):
    jsonschema = pytest.importorskip("jsonschema")
    from showtell.mllm.model import Model
    from showtell.prompts import read_concepts, tree_requests

    tree = read_concepts({"domain": "bird", "parts": [
        {"part": "wing", "attributes": ["colour", "shape"]}, {"part": "tail"}],
        "gaps": [{"task": "parts", "reason": "-"}]})  # fmt: skip
    access = Model(model="openai:gpt-4.1-mini")
    requests = tree_requests("bird", ["ball"], access, depth=depth, tree=tree)
    tasks = [request.parts[0].text.split()[1] for request in requests]
    assert tasks == ["parts", "attributes", "values", "values"]
    for request in requests:
        value = write(request.parts[0].text, schema=request.schema, fault=fault)
        jsonschema.validate(value, request.schema)


@pytest.mark.parametrize("kind", ["openai", "google", "anthropic", "ollama"])
def test_trees_come_through_every_vendors_client(server, kind, monkeypatch):
    for name in ("OPENAI", "GOOGLE", "ANTHROPIC"):
        monkeypatch.setenv(f"{name}_API_KEY", "any")
    extra = {"ollama": "openai", "google": "google.genai"}.get(kind, kind)
    pytest.importorskip(extra, reason=f"needs the extra {kind}")
    from showtell.mllm.model import Model
    from showtell.prompts import build_concepts

    access = Model(model=f"{kind}:try", base_url=server.url_for(kind), cache=None)
    built = build_concepts("bird", NAMES, access, depth=2, layout="merged")
    assert built.gaps == ()
    assert built.tree.depth == 2
    assert all(part.attributes for _, part in built.tree.walk())
    assert built.tree.n_values > 20
    tasks = [request.task for request in server.requests[-built.spent.n_requests :]]
    assert tasks[0] == "parts"
    assert set(tasks) == {"parts", "attributes", "values"}


def test_an_image_is_described_by_what_it_shows_and_no_label(server):
    text = "Task: describe-image\nWhat do you see?"
    for shape, colour in (("red circle", "red"), ("blue square", "blue")):
        seen = chat(server, text, image=png(shape))
        assert seen.startswith("A photo of ")
        assert colour in seen
        assert not any(name in seen for name in NAMES)
    schema = {
        "type": "object",
        "properties": {"description": {"type": "string"}, "confidence": {"type": "integer"}},
        "required": ["description", "confidence"],
        "additionalProperties": False,
    }
    value = json.loads(chat(server, text, image=png("red circle"), schema=schema))
    assert set(value) == {"description", "confidence"}
    assert "red" in value["description"]
    assert chat(server, text, image=png("red circle"), stream=True) == chat(
        server, text, image=png("red circle")
    )


def test_who_asks_for_a_label_gets_a_label_even_beside_a_task(server):
    text = "Task: describe-image\nWhich label?"
    schema = {"type": "object", "properties": {"label": {"type": "string", "enum": list(LABELS)}}}
    value = json.loads(chat(server, text, image=png("red circle"), schema=schema))
    assert value == {"label": "red circle"}


def test_samples_differ_only_where_they_are_to_be_sampled():
    pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
    with LocalServer("openai", encoder=ColourEncoder(), author=author()) as running:
        text = evolve("Count: 5")
        cold = {chat(running, text, temperature=0) for _ in range(4)}
        warm = {chat(running, text, temperature=1) for _ in range(4)}
        third = {chat(running, evolve("Count: 5", "Sample: 3"), temperature=1) for _ in range(4)}
        fourth = {chat(running, evolve("Count: 5", "Sample: 4"), temperature=1) for _ in range(4)}
        assert (len(cold), len(third), len(fourth)) == (1, 1, 1)
        assert len(warm) > 1
        assert third != fourth
        assert running.stats.written["mutate"] == 16


def test_faults_of_writing_come_as_often_as_said_and_are_counted():
    pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
    faults = Faults.parse("forget-label=0.3,repeat=0.3,name-other=0.3")
    with LocalServer("openai", encoder=ColourEncoder(), author=author(), faults=faults) as running:
        answers = [chat(running, evolve("Count: 4", f"Hint: {i}")) for i in range(60)]
        counted = dict(running.stats.faults)
    n_forgotten = sum(len(json.loads(answer)["classes"]) == 2 for answer in answers)
    assert counted["forget_label"] == n_forgotten
    assert set(counted) == {"forget_label", "repeat", "name_other"}
    assert all(8 <= n <= 30 for n in counted.values())


def test_other_faults_meet_who_writes_too():
    pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
    for name, is_so in (
        ("refuse", lambda text: "can't help" in text),
        ("empty", lambda text: text in ("", None)),
    ):
        with LocalServer("openai", encoder=ColourEncoder(), faults=f"{name}=1") as running:
            assert is_so(chat(running, "Task: describe-label\nLabel: box"))
            assert running.stats.faults[name] == 1
    with LocalServer("openai", encoder=ColourEncoder(), faults="broken-json=1") as running:
        texts = [chat(running, f"Task: describe-label\nLabel: box {i}") for i in range(20)]
    assert len({text[0] for text in texts}) == 3  # plain, prose around it, in a fence
    assert any('"descriptions_"' in text for text in texts)


@pytest.mark.data
def test_good_words_beat_bad_ones_on_photos_that_the_author_has_not_seen(shared_datasets):
    from showtell.datasets import load_dataset
    from showtell.encoders import load_encoder
    from showtell.encoders.embed import embed_images

    data = load_dataset(shared_datasets / "weather")
    encoder = load_encoder("mini")
    by = Author(images=data.train.images, labels=list(data.train.y))
    known = by.measure(encoder)
    rows = embed_images(encoder, data.test.images, store=None).rows()

    def accuracy(part):
        scores = []
        for label in data.labels:
            words = getattr(known[label], part)[:10]
            prompts = [f"a photo of a {label}, {word}" for word in words]
            scores.append((rows @ encoder.encode_texts(prompts).T).mean(axis=1))
        best = np.argmax(scores, axis=0)
        return np.mean(np.array(data.labels)[best] == np.array(data.test.y))

    assert accuracy("good") > accuracy("bad") + 0.05
