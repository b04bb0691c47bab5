"""How requests are read, guessed and written: the parts without a server."""

from __future__ import annotations

import asyncio
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import validate
from PIL import Image
from tests.servers.wire import LABELS, SCHEMA, SYSTEM, b64, contract, png

from showtell.testing import ColourEncoder, HashEncoder, draw_shape
from showtell.testing.servers.counting import PrefixCache, image_tokens, text_tokens
from showtell.testing.servers.guessing import Guess, Guesser, is_neutral
from showtell.testing.servers.knobs import Bias, Faults, uniform
from showtell.testing.servers.reading import interleave, read_scene, schema_in_text
from showtell.testing.servers.sight import BadImageError, Sight, decode_image
from showtell.testing.servers.writing import (
    Item,
    allowed_labels,
    break_json,
    make_items,
    make_tokens,
    write_answer,
)


def sent(data, detail="auto"):
    return decode_image(b64(data), "image/png", {}, detail=detail)


def scene_of(parts, system=SYSTEM):
    made = [part if isinstance(part, str) else sent(part) for part in parts]
    return read_scene(system, made)


# -- reading --------------------------------------------------------------------------------------
def test_demonstrations_and_queries_are_told_apart():
    red, green, blue = (png(label) for label in LABELS)
    scene = scene_of(contract([("x 1", blue)], [("a", red), ("b", green)]))
    assert [d.label for d in scene.demonstrations] == ["a", "b"]
    assert [query.id for query in scene.queries] == ["x 1"]
    assert scene.queries[0].image.digest == sent(blue).digest
    assert scene.labels == LABELS


def test_texts_may_be_joined_into_fewer_pieces():
    red, blue = png(LABELS[0]), png(LABELS[2])
    scene = scene_of(
        ["Look:\n\nExample:", red, "Label: a\nImage q1:", blue, "End of image q1.\nBye."]
    )
    assert [(d.label, d.image.digest) for d in scene.demonstrations] == [("a", sent(red).digest)]
    assert [query.id for query in scene.queries] == ["q1"]


def test_images_without_texts_are_numbered():
    scene = scene_of([png(LABELS[0]), "Image 2:", png(LABELS[1]), png(LABELS[2])])
    assert [query.id for query in scene.queries] == ["1", "2", "3"]


def test_an_id_after_the_image_names_it():
    scene = scene_of([png(LABELS[0]), "End of image late."])
    assert [query.id for query in scene.queries] == ["late"]


def test_a_label_after_an_image_makes_it_a_demonstration():
    scene = scene_of([png(LABELS[0]), "Label: a", png(LABELS[1])])
    assert [d.label for d in scene.demonstrations] == ["a"]
    assert len(scene.queries) == 1


def test_an_example_may_have_several_pictures():
    scene = scene_of(["Example 1:", png(LABELS[0]), png(LABELS[1]), "Label: a"])
    assert [d.label for d in scene.demonstrations] == ["a", "a"]


def test_known_labels_settle_where_a_name_with_a_colon_ends():
    system = "Labels:\n- star trek: tos\n- star trek: tos: with Kirk\nEnd of labels."
    assert read_scene(system, [], ["star trek: tos"]).labels == ("star trek: tos",)
    assert read_scene(system, [], ["star trek: tos"]).descriptions == {
        "star trek: tos": "with Kirk"
    }
    assert read_scene(system, []).labels == ("star trek",)


def test_the_label_of_a_filled_in_example_is_found_and_placeholders_are_not():
    form = 'Answer like {{"id": "1", "label": {}}}.'
    assert read_scene(form.format('"cat"'), []).example_label == "cat"
    assert read_scene(form.format('"<label>"'), []).example_label is None
    assert read_scene(form.format('"..."'), []).example_label is None
    assert read_scene("", [form.format('"zorb"')]).example_label == "zorb"


def test_images_go_where_the_text_refers_to_them():
    images = [sent(png(label)) for label in LABELS]
    parts = interleave("A <image 2> b <image 9> c <image 1>", images)
    digests = [part if isinstance(part, str) else part.digest for part in parts]
    assert digests == [
        "A ",
        images[1].digest,
        " b <image 9> c ",
        images[0].digest,
        "",
        images[2].digest,
    ]


@given(st.lists(st.text(), max_size=6))
def test_any_text_is_read_without_an_error(texts):
    scene = read_scene("", texts)
    assert scene.queries == ()
    schema_in_text(texts)


def test_a_schema_written_into_the_instructions_is_found():
    text = f"Always respond with JSON like this:\n\n{json.dumps(SCHEMA)}\n\nNo {{other}} text."
    assert schema_in_text(["{not json}", text]) == SCHEMA
    assert schema_in_text(['{"a": 1} "properties"']) is None


# -- images ---------------------------------------------------------------------------------------
def test_url_safe_and_unpadded_base64_are_read():
    import base64

    data = png(LABELS[0])
    digest = sent(data).digest
    safe = base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert decode_image(safe, "image/png", {}).digest == digest


def test_the_digest_is_that_of_the_same_file(tmp_path):
    from showtell.media import content_hash

    path = tmp_path / "a.png"
    path.write_bytes(png(LABELS[0]))
    assert sent(path.read_bytes()).digest == content_hash(path)


def test_orientation_and_gps_are_seen():
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    draw_shape(LABELS[0], size=(60, 40)).save(stream, "JPEG", exif=exif)
    image = decode_image(b64(stream.getvalue()), "image/jpeg", {})
    assert (image.width, image.height, image.orientation) == (60, 40, 6)
    assert not image.upright
    assert image.has_gps
    assert image.has_exif
    assert sent(png(LABELS[0])).upright
    assert not sent(png(LABELS[0])).has_exif


@given(st.text(max_size=40))
def test_any_text_as_an_image_is_refused_not_crashed_on(text):
    with pytest.raises(BadImageError):
        decode_image(text, "image/png", {})


def test_each_image_is_embedded_once():
    encoder = HashEncoder()
    sight = Sight(encoder)
    images = [sent(png(label)) for label in LABELS]

    async def go():
        await asyncio.gather(*(sight.look(images) for _ in range(5)))
        return await sight.look(images)

    rows = asyncio.run(go())
    assert rows.shape == (3, 32)
    assert encoder.n_encoded == sight.n_encoded == 3


def test_warmed_images_are_not_embedded_again(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(LABELS[0]))
    encoder = HashEncoder()
    sight = Sight(encoder)
    sight.warm([path, path.read_bytes()])
    asyncio.run(sight.look([sent(path.read_bytes())]))
    assert encoder.n_encoded == 1


# -- guessing -------------------------------------------------------------------------------------
def guess(scene, allowed=(), *, temperature=None, attempt=0, key="k", **knobs):
    guesser = Guesser(sight=Sight(ColourEncoder()), **knobs)
    return asyncio.run(
        guesser.guess(scene, allowed, temperature=temperature, attempt=attempt, key=key)
    )


def test_the_nearest_demonstration_and_the_nearest_mean_may_differ():
    # "a" has one shot just like the query and one far off; "b" has two that are fairly near
    def grey(value):
        stream = io.BytesIO()
        Image.new("RGB", (32, 32), (value, 60, 60)).save(stream, "PNG")
        return stream.getvalue()

    demonstrations = [("a", grey(200)), ("a", grey(0)), ("b", grey(150)), ("b", grey(150))]
    scene = scene_of(contract([("q", grey(200))], demonstrations), "")
    sight = Sight(HashEncoder())
    found = {}
    for rule in ("mean", "nearest"):
        (one,) = asyncio.run(Guesser(sight=sight, rule=rule).guess(scene, ()))
        found[rule] = one.label
    assert found["nearest"] == "a"
    rows = asyncio.run(sight.look([d.image for d in scene.demonstrations]))
    query = asyncio.run(sight.look([scene.queries[0].image]))[0]
    means = [rows[:2].mean(axis=0), rows[2:].mean(axis=0)]
    cosines = [float(query @ m / np.linalg.norm(m)) for m in means]
    assert found["mean"] == ("a", "b")[int(np.argmax(cosines))]


def test_only_allowed_labels_are_answered():
    scene = scene_of(contract([("q", png("red circle", 3))], [(x, png(x)) for x in LABELS]))
    (one,) = guess(scene, ("green triangle", "blue square"))
    assert one.label in ("green triangle", "blue square")
    assert one.labels == ("green triangle", "blue square")
    assert one.probabilities.sum() == pytest.approx(1)


def test_labels_never_shown_stay_below_those_that_were():
    scene = scene_of(contract([("q", png("red circle", 3))], [("blue square", png("blue square"))]))
    (one,) = guess(scene)
    assert one.label == "blue square"
    assert all(p > 0 for p in one.probabilities)


def test_the_truth_replaces_looking():
    scene = scene_of(contract([("q", png("red circle", 3)), ("r", png("red circle", 4))]))
    found = guess(scene, truth={"q": "blue square", scene.queries[1].image.digest: LABELS[1]})
    assert [one.label for one in found] == ["blue square", "green triangle"]
    found = guess(scene, truth=lambda query: "red circle" if query.id == "r" else "elsewhere")
    assert found[1].label == "red circle"


def test_the_truth_is_told_in_codes_where_demonstrations_name_them():
    demonstrations = [("c1", png("blue square")), ("c0", png("red circle"))]
    scene = scene_of(contract([("q", png("green triangle"))], demonstrations), "")
    truth = {sent(png(label)).digest: label for label in LABELS}
    truth[scene.queries[0].image.digest] = "blue square"
    assert guess(scene, truth=truth)[0].label == "c1"


def test_temperature_samples_and_zero_does_not():
    scene = scene_of(contract([("q", png("red circle", 3))]), "Labels:\n- c1\n- c2\nEnd of labels.")
    cold = {guess(scene, temperature=0, attempt=n)[0].label for n in range(10)}
    warm = {guess(scene, temperature=1.0, attempt=n)[0].label for n in range(10)}
    assert len(cold) == 1
    assert warm == {"c1", "c2"}


@pytest.mark.parametrize("label", ["class_3", "7", "Z", "label 12", "C4", "id-9", "group_b"])
def test_codes_are_neutral(label):
    assert is_neutral(label)


@pytest.mark.parametrize("label", ["cat", "monarch butterfly", "T-shirt", "Boeing 747", "opel"])
def test_names_are_not_neutral(label):
    assert not is_neutral(label)


# -- prejudices -----------------------------------------------------------------------------------
CODES = ("c0", "c1", "c2", "c3")
LIST = "Labels:\n" + "\n".join(f"- {c}" for c in CODES) + "\nEnd of labels."


def shares(n, system=LIST, parts=lambda picture: contract([("q", picture)]), **bias):
    """Share of each answered label over n different pictures."""
    counts = dict.fromkeys(CODES, 0)
    guesser = Guesser(sight=Sight(HashEncoder()), bias=Bias(**bias), truth=lambda query: "c2")
    for number in range(n):
        picture = png("red circle", number, size=(16, 16))
        made = [p if isinstance(p, str) else sent(p) for p in parts(picture)]
        scene = read_scene(system, made)
        (one,) = asyncio.run(guesser.guess(scene, (), key=str(number)))
        counts[one.label] += 1
    return {label: count / n for label, count in counts.items()}


def test_without_prejudice_the_truth_is_answered():
    assert shares(10)["c2"] == 1


def test_an_example_label_pulls_as_often_as_asked():
    system = LIST + '\nLike {"id": "1", "label": "c3"}'
    found = shares(200, system, example=0.3)
    assert found["c3"] == pytest.approx(0.3, abs=0.1)  # three standard deviations
    assert found["c2"] == pytest.approx(1 - found["c3"])
    assert shares(30, example=0.9)["c2"] == 1  # no example, no pull


@pytest.mark.parametrize(("knob", "label"), [("first", "c0"), ("last", "c3")])
def test_places_in_the_list_pull(knob, label):
    assert shares(120, **{knob: 0.5})[label] == pytest.approx(0.5, abs=0.14)


def test_the_last_and_the_most_frequent_demonstration_pull():
    def parts(picture):
        shown = png("blue square", size=(16, 16))
        demonstrations = [("c0", shown), ("c0", shown), ("c1", shown)]
        return contract([("q", picture)], demonstrations)

    assert shares(120, parts=parts, recent=0.5)["c1"] == pytest.approx(0.5, abs=0.14)
    assert shares(120, parts=parts, majority=0.5)["c0"] == pytest.approx(0.5, abs=0.14)


def test_a_prior_and_an_order_are_logits_that_sum_up():
    scene = scene_of(contract([("q", png("red circle"))]), LIST)
    plain = guess(scene, truth={"q": "c2"})[0].probabilities
    tilted = guess(scene, truth={"q": "c2"}, bias=Bias(prior={"c1": 2.0}, order=3.0))[0]
    logit = np.log(tilted.probabilities) - np.log(plain)
    np.testing.assert_allclose(logit - logit[3], [3, 2 + 2, 1, 0], atol=1e-9)


def test_noise_depends_on_the_request_and_not_on_the_picture_alone():
    scene = scene_of(contract([("q", png("red circle"))]), LIST)
    found = [
        guess(scene, truth={"q": "c2"}, bias=Bias(noise=0.5), key=str(n))[0].label
        for n in range(60)
    ]
    assert 10 < found.count("c2") < 55


def test_prejudices_are_seeded():
    assert uniform(1, "a") != uniform(2, "a")
    first = [shares(20, first=0.5) for _ in range(2)]
    assert first[0] == first[1]


# -- writing --------------------------------------------------------------------------------------
def item(name="q", label="cat", confidence=0.73, probabilities=None):
    return Item(
        id=name,
        label=label,
        confidence=confidence,
        probabilities=probabilities or {"cat": 0.8, "catfish": 0.15, "dog": 0.05},
    )


def test_the_contracts_schema_is_filled():
    schema = json.loads(json.dumps(SCHEMA).replace("red circle", "cat"))
    text = write_answer([item("a"), item("b", confidence=0.0)], 2, schema, as_json=True)
    assert json.loads(text) == {
        "n_images": 2,
        "answers": [
            {"id": "a", "label": "cat", "confidence": 7},
            {"id": "b", "label": "cat", "confidence": 0},
        ],
    }


def test_other_schemas_are_filled_by_the_names_of_their_fields():
    schema = {
        "type": "object",
        "properties": {
            "number_of_labeled_images": {"type": "integer"},
            "output": {"type": "array", "items": {"$ref": "#/$defs/Entry"}},
        },
        "required": ["number_of_labeled_images", "output"],
        "$defs": {
            "Entry": {
                "type": "object",
                "properties": {
                    "image_id": {"type": "integer"},
                    "reason": {"type": "string"},
                    "label": {"enum": ["cat", "dog"]},
                    "probability": {"type": "number", "minimum": 0, "maximum": 1},
                    "cat": {"type": "number"},
                    "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
                    "sure": {"type": "boolean"},
                    "kind": {"const": "photo"},
                },
                "required": ["image_id", "label"],
            }
        },
    }
    answer = json.loads(write_answer([item("3"), item("4")], 2, schema, as_json=True))
    validate(answer, schema)
    assert answer["number_of_labeled_images"] == 2
    assert [entry["image_id"] for entry in answer["output"]] == [3, 4]
    entry = answer["output"][0]
    assert (entry["label"], entry["probability"], entry["cat"]) == ("cat", 0.73, 0.8)
    assert (entry["kind"], entry["sure"]) == ("photo", True)


SIMPLE = st.one_of(
    st.fixed_dictionaries({"type": st.sampled_from(["string", "boolean", "null"])}),
    st.builds(lambda a, b: {"type": "integer", "minimum": min(a, b), "maximum": max(a, b)},
              st.integers(-20, 20), st.integers(-20, 20)),
    st.builds(lambda options: {"enum": options}, st.lists(st.text(), min_size=1, unique=True)),
)  # fmt: skip
NAME = st.sampled_from(["id", "label", "confidence", "n_images", "reason", "x", "answers"])
SCHEMAS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
            st.dictionaries(NAME, inner, min_size=1, max_size=4),
        ),
        st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
    ),
    max_leaves=8,
)


@given(SCHEMAS, st.integers(0, 3))
def test_answers_validate_against_any_schema(schema, n_items):
    items = [item(str(number)) for number in range(n_items)]
    validate(json.loads(write_answer(items, n_items, schema, as_json=True)), schema)


def test_without_a_schema_one_query_is_answered_by_its_label_alone():
    assert write_answer([item()], 1, None, as_json=False) == "cat"
    assert write_answer([item("a"), item("b")], 2, None, as_json=False) == "a: cat\nb: cat"
    assert json.loads(write_answer([item("a")], 1, None, as_json=True))["n_images"] == 1


def test_the_label_field_decides_which_enum_holds_the_labels():
    schema = {"properties": {"label": {"enum": ["a", "b"]}, "mood": {"enum": list("wxyz")}}}
    assert allowed_labels(schema) == ("a", "b")
    assert allowed_labels({"properties": {"kind": {"enum": ["a", "b", "c"]}}}) == ("a", "b", "c")
    assert allowed_labels(None) == ()


def test_tokens_of_a_label_multiply_to_its_probability_even_beside_longer_names():
    text = write_answer([item()], 1, None, as_json=True)
    tokens = make_tokens(text, [item()], 3)
    assert "".join(token.text for token in tokens) == text
    start = next(i for i, token in enumerate(tokens) if token.text == "cat")
    # "cat" is left as a token of its own: "catf" of "catfish" is another one
    assert math.exp(tokens[start].logprob) == pytest.approx(0.8)
    assert {name for name, _ in tokens[start].top} == {"cat", "catf", "dog"}
    wide = {"abcd": 0.5, "abcdefgh": 0.3, "abcdxyz": 0.2}
    one = item(label="abcdefgh", probabilities=wide)
    tokens = make_tokens('"abcdefgh"', [one], 3)
    assert [token.text for token in tokens] == ['"', "abcd", "efgh", '"']
    total = sum(token.logprob for token in tokens[1:])
    assert math.exp(total) == pytest.approx(0.3)
    assert dict(tokens[2].top)['"'] == pytest.approx(math.log(0.5))


@given(
    st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4, unique=True),
    st.booleans(),
)
def test_tokens_join_to_the_text_for_any_labels(labels, as_json):
    p = {label: 1 / len(labels) for label in labels}
    items = [item(str(n), label, probabilities=p) for n, label in enumerate(labels)]
    text = write_answer(items, len(items), None, as_json=as_json)
    tokens = make_tokens(text, items, 2)
    assert "".join(token.text for token in tokens) == text
    assert all(token.logprob <= 1e-9 and math.isfinite(token.logprob) for token in tokens)


@given(st.floats(0, 1, exclude_max=True))
def test_broken_json_is_always_another_text(draw):
    text = write_answer([item()], 1, None, as_json=True)
    assert break_json(text, draw) != text


def test_items_are_spoiled_alike_for_the_same_draw():
    scene = scene_of(contract([(str(n), png("red circle", n)) for n in range(8)]))
    p = np.full(3, 1 / 3)
    guesses = [
        Guess(query=q, label=LABELS[0], labels=LABELS, probabilities=p) for q in scene.queries
    ]
    faults = Faults(drop=0.3, out_of_set=0.3, unknown=0.3)
    assert make_items(guesses, faults, 1, "k", 0) == make_items(guesses, faults, 1, "k", 0)
    assert make_items(guesses, faults, 1, "k", 0)[1] != make_items(guesses, faults, 1, "k", 1)[1]


# -- counting -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("vendor", "model", "size", "detail", "expected"),
    [
        ("openai", "gpt-4o", (1024, 1024), "auto", 765),
        ("openai", "gpt-4o", (2048, 4096), "high", 1105),
        ("openai", "gpt-4o", (4096, 8192), "low", 85),
        ("openai", "try", (512, 512), "auto", 255),
        ("openai", "gpt-5", (1024, 1024), "auto", 70 + 4 * 140),
        ("openai", "gpt-4o-mini", (512, 512), "auto", 2833 + 5667),
        ("openai", "gpt-4.1-mini", (1024, 1024), "auto", math.ceil(1024 * 1.62)),
        ("google", "g", (300, 200), "auto", 258),
        ("google", "g", (500, 375), "auto", 4 * 258),
        ("google", "g", (500, 375), "low", 64),
        ("anthropic", "c", (200, 200), "auto", 54),
        ("anthropic", "c", (1092, 1092), "auto", 1590),
        ("anthropic", "c", (8000, 6000), "auto", 1600),
        ("google", "gemini-3-pro", (500, 375), "auto", 1120),
        ("anthropic", "claude-opus-4-7", (2576, 1000), "auto", 3435),
        ("ollama", "try", (8000, 6000), "auto", 256),
        ("ollama", "llava:7b", (8000, 6000), "auto", 576),
    ],
)
def test_image_tokens_follow_the_published_rules(vendor, model, size, detail, expected):
    got = image_tokens(vendor, model, *size, detail=detail)
    assert abs(got - expected) <= (3 if vendor == "anthropic" and size[0] > 2000 else 0)


def test_text_tokens_are_characters_by_4_rounded_up():
    assert [text_tokens("x" * n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_an_unanswered_request_is_not_put_into_the_prefix_cache():
    cache = PrefixCache()
    parts = ["x" * 8000]
    assert cache.count("openai", "m", "", parts, remember=False).cached == 0
    assert cache.count("openai", "m", "", parts).cached == 0
    assert cache.count("openai", "m", "", parts).cached == 1920  # 2000 in steps of 128
    assert cache.count("openai", "other", "", parts).cached == 0
    assert cache.count("openai", "m", "other", parts).cached == 0
