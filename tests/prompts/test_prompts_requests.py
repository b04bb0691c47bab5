"""Requests: what stands in them, in which order, and what must not."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.datasets import anonymise_labels
from showtell.errors import InputError
from showtell.mllm import ImagePart, Settings, TextPart
from showtell.mllm.capabilities import Capabilities
from showtell.prompts import (
    Demonstration,
    Query,
    RequestForm,
    answer_form,
    answer_schema,
    copy_prompts,
    load_prompts,
    query_ids,
    render_decision,
    render_request,
)
from showtell.prompts.packing import Packer, plan_batches

LABELS = ("monarch", "red admiral", "zebra longwing")
STRUCTURED = Capabilities(structured_output=True)


def image(name):
    return ImagePart(data=name.encode(), media_type="image/png", digest=name, width=8, height=8)


def form(**changes):
    given_ = {"model": "openai:try", "prompts": load_prompts(), "labels": LABELS} | changes
    return RequestForm(**{"capabilities": STRUCTURED} | given_)


DEMONSTRATIONS = [Demonstration(image=image(f"d{n}"), code=n % 3) for n in range(6)]
QUERIES = [Query(id=name, image=image(name)) for name in ("k3f9", "b2mm", "z8wx")]


def texts(request):
    return [request.system, *(p.text for p in request.parts if isinstance(p, TextPart))]


def test_images_are_the_demonstrations_and_then_the_queries():
    request = render_request(form(), DEMONSTRATIONS, QUERIES)
    digests = [p.digest for p in request.parts if isinstance(p, ImagePart)]
    assert digests == ["d0", "d1", "d2", "d3", "d4", "d5", "k3f9", "b2mm", "z8wx"]
    assert request.n_queries == 3


def test_the_parts_stand_in_the_order_that_was_agreed():
    request = render_request(form(), DEMONSTRATIONS[:1], QUERIES[:2])
    shown = [p.text if isinstance(p, TextPart) else p.digest for p in request.parts]
    assert shown[:-1] == [
        "Example:", "d0", "Label: monarch",
        "Image k3f9:", "k3f9", "End of image k3f9.",
        "Image b2mm:", "b2mm", "End of image b2mm.",
    ]  # fmt: skip
    assert "2" in shown[-1]
    assert request.n_prefix == 3


def test_every_id_stands_once_before_and_once_after_its_image():
    request = render_request(form(), DEMONSTRATIONS, QUERIES)
    for query in QUERIES:
        assert sum(query.id in text for text in texts(request)) == 2


def test_the_prefix_is_the_same_whatever_is_asked():
    one = render_request(form(), DEMONSTRATIONS, QUERIES[:1])
    two = render_request(form(), DEMONSTRATIONS, QUERIES[1:], attempt=1)
    assert one.system == two.system
    assert one.schema is two.schema
    assert one.parts[: one.n_prefix] == two.parts[: two.n_prefix]


def test_the_label_set_stands_between_its_marks_with_descriptions():
    about = (("orange with black veins",), (), ("black,", "yellow stripes"))
    system = render_request(form(descriptions=about), [], QUERIES).system
    listed = system.split("Labels:\n")[1].split("\nEnd of labels.")[0]
    assert listed.splitlines() == [
        "- monarch: orange with black veins",
        "- red admiral",
        "- zebra longwing: black, yellow stripes",
    ]


def test_label_order_and_choice_follow_the_codes():
    request = render_request(form(), [DEMONSTRATIONS[2]], QUERIES, order=[2, 0])
    assert "- zebra longwing\n- monarch\nEnd" in request.system
    assert "red admiral" not in "".join(texts(request))
    item = request.schema["properties"]["answers"]["items"]
    assert item["properties"]["label"]["enum"] == ["zebra longwing", "monarch"]
    with pytest.raises(InputError, match="not listed"):
        render_request(form(), DEMONSTRATIONS, QUERIES, order=[2, 0])


def test_no_real_label_is_shown_as_an_answer():
    for verbalised in (True, False):
        request = render_request(form(verbalised=verbalised), [], QUERIES)
        answers = re.findall(r'"label": "([^"]*)"', "".join(texts(request)))
        assert answers == ["<label>"]
        assert answer_form(verbalised=verbalised) in request.system
        assert ("confidence" in request.system) == verbalised
        assert re.search(r'"confidence": \d', request.system) is None


def test_labels_beyond_the_enum_limit_are_listed_in_the_text_alone():
    few = form(capabilities=Capabilities(structured_output=True, max_enum=2))
    request = render_request(few, [], QUERIES)
    field = request.schema["properties"]["answers"]["items"]["properties"]["label"]
    assert field == {"type": "string"}
    assert "- zebra longwing" in request.system
    assert render_request(form(capabilities=Capabilities()), [], QUERIES).schema is None


def test_the_schema_is_json_and_closed():
    schema = json.loads(json.dumps(answer_schema(LABELS)))
    item = schema["properties"]["answers"]["items"]
    assert schema["additionalProperties"] is False
    assert item["additionalProperties"] is False
    assert item["required"] == ["id", "label", "confidence"] == list(item["properties"])


def test_asking_again_is_another_question():
    first, second, third = (render_request(form(), [], QUERIES, attempt=n) for n in range(3))
    assert len({first.key, second.key, third.key}) == 3
    assert "Earlier answers" not in first.parts[-1].text
    assert "Earlier answers" in second.parts[-1].text
    assert first.key == render_request(form(), [], QUERIES, settings=Settings(timeout=1)).key


def test_anonymised_requests_contain_no_class_name():
    key = anonymise_labels(LABELS, seed=3)
    coded = form(labels=tuple(key.to_code[label] for label in LABELS))
    for request in (
        render_request(coded, DEMONSTRATIONS, QUERIES, attempt=1),
        render_decision(coded, DEMONSTRATIONS, image("q")),
    ):
        everything = json.dumps([texts(request), request.schema, request.labels]).casefold()
        for label in LABELS:
            assert label not in everything
        assert "class_0" in everything


def test_a_decision_is_one_image_and_a_set_of_labels():
    request = render_decision(form(), DEMONSTRATIONS[:2], image("q"), order=[1, 0])
    assert request.labels == ("red admiral", "monarch")
    assert request.schema is None
    assert request.n_queries == 1
    assert request.parts[-1] == image("q")
    assert request.n_prefix == 6


@pytest.mark.parametrize("ids", [[], ["a", "a"]])
def test_a_request_needs_queries_that_differ(ids):
    with pytest.raises(InputError, match="all differ"):
        render_request(form(), [], [Query(id=i, image=image(i)) for i in ids])


# Prompt files


def test_edited_prompts_are_used_and_change_the_version(tmp_path):
    copy_prompts(tmp_path / "mine")
    same = load_prompts(tmp_path / "mine")
    assert same.version.partition("-")[2] == load_prompts().version.partition("-")[2]
    (tmp_path / "mine" / "closing.txt").write_text("{n_images} images: {ids}. Go!")
    mine = load_prompts(tmp_path / "mine")
    assert mine.version.startswith("mine-")
    assert mine.version != same.version
    request = render_request(form(prompts=mine), [], QUERIES)
    assert request.parts[-1].text == "3 images: k3f9, b2mm, z8wx. Go!"
    assert request.prompt_version == mine.version
    assert request.key != render_request(form(), [], QUERIES).key


def test_files_that_are_not_in_the_folder_are_taken_as_they_come(tmp_path):
    (tmp_path / "again.txt").write_text("Once more ({attempt}).")
    mine = load_prompts(tmp_path)
    assert mine.texts["system"] == load_prompts().texts["system"]
    assert mine.render("again", attempt=2) == "Once more (2)."


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("system.txt", "Labels: {labels}", r"system.txt lacks \{schema\}"),
        (
            "system.txt",
            "{labels} {schema} {colour}",
            r"unknown field '\{colour\}'. Allowed: \{role",
        ),
        ("system.txt", '{labels} {schema} {"a": 1}', "unknown field|stray brace"),
        ("closing.txt", "Go {n_images", "stray brace"),
        ("closing.txt", "Go {n_images:03d}", "write it plain"),
        ("closing.txt", "Go", r"lacks \{n_images\}"),
        ("clsing.txt", "Go {n_images}", "unknown prompts: clsing.txt. Prompts are: system.txt"),
    ],
)
def test_mistakes_in_prompt_files_are_named(tmp_path, name, text, complaint):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=complaint):
        load_prompts(tmp_path)


def test_a_folder_without_prompts_is_refused_and_nothing_is_overwritten(tmp_path):
    with pytest.raises(InputError, match="holds no prompt"):
        load_prompts(tmp_path)
    with pytest.raises(InputError, match="no folder of prompts"):
        load_prompts(tmp_path / "none")
    copy_prompts(tmp_path)
    with pytest.raises(InputError, match=r"already has README\.md"):
        copy_prompts(tmp_path)


def test_values_that_are_missing_or_unknown_are_errors():
    prompts = load_prompts()
    with pytest.raises(InputError, match=r"needs a value for '\{n_images\}'"):
        prompts.render("closing")
    with pytest.raises(InputError, match="no field 'colour'"):
        prompts.render("closing", n_images=1, colour="red")


def test_braces_in_labels_stay_as_they_are():
    request = render_request(form(labels=("a {label}", "b}")), [], QUERIES)
    assert "- a {label}\n- b}" in request.system


# Ids


@given(st.lists(st.text(max_size=4), max_size=60))
def test_ids_differ_and_follow_from_the_content(digests):
    ids = query_ids(digests)
    assert len(set(ids)) == len(ids) == len(digests)
    assert ids == query_ids(digests)
    assert all(re.fullmatch("[b-df-hj-np-tv-z2-9]{4,}", name) for name in ids)


def test_ids_avoid_labels():
    digests = [str(n) for n in range(300)]
    plain = query_ids(digests)
    label = plain[0][1:3].upper()
    assert not any(label.casefold() in name for name in query_ids(digests, avoid=[label]))
    with pytest.raises(InputError, match="leave no ids"):
        query_ids(["0"], avoid=list("bcdfghjkmnpqrstvwxyz23456789"))


# Batches


def test_fifteen_classes_of_five_shots_cost_a_thirtieth_of_one_by_one():
    shared, query = 300 + 75 * 270, 270
    plan = plan_batches(
        75, capabilities=Capabilities(max_images=3000), n_demonstrations=75,
        shared_tokens=shared, query_tokens=query,
    )  # fmt: skip
    assert plan.n_requests == 1
    assert plan.tokens_per_query <= (shared + query) / 30


@pytest.mark.parametrize(
    ("capabilities", "more", "size", "limit"),
    [
        (Capabilities(max_images=99), {"n_demonstrations": 75, "shared_tokens": 9e4}, 24, "images"),
        (Capabilities(max_images=1), {}, 1, "images"),
        (Capabilities(), {"shared_tokens": 300}, 10, "price"),
        (Capabilities(), {"shared_tokens": 0}, 1, "price"),
        (Capabilities(), {"shared_tokens": 99_000}, 100, "longest batch"),
        (Capabilities(), {"shared_tokens": 99_000, "max_output_tokens": 1000}, 25, "answer tokens"),
        (Capabilities(), {"images_per_request": 7}, 7, "asked for"),
        (Capabilities(max_images=4), {"images_per_request": 7}, 4, "images"),
        (Capabilities(max_request_bytes=4_000_000),
         {"shared_bytes": 1_500_000, "query_bytes": 50_000, "shared_tokens": 99_000}, 30, "bytes"),
    ],
)  # fmt: skip
def test_what_limits_a_batch(capabilities, more, size, limit):
    plan = plan_batches(1000, capabilities=capabilities, **more)
    assert (plan.images_per_request, plan.limit) == (size, limit)


def test_batches_are_even():
    plan = plan_batches(101, capabilities=Capabilities(), shared_tokens=99_000)
    assert (plan.images_per_request, plan.n_requests) == (51, 2)


def test_demonstrations_that_fill_the_request_are_refused():
    with pytest.raises(InputError, match=r"takes 20 images per request\. Show fewer `shots`"):
        plan_batches(5, capabilities=Capabilities(max_images=20), n_demonstrations=20)
    with pytest.raises(InputError, match="images_per_request"):
        plan_batches(5, capabilities=Capabilities(), images_per_request=0)


def packed(packer, items):
    """Batches of (item, keyword arguments) pairs."""
    batches = [batch for item, more in items for batch in packer.push(item, **more)]
    return batches + packer.flush()


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 7), st.integers(20, 90))
def test_packing_loses_nothing_and_keeps_order_and_limits(sizes, images_per_request, max_bytes):
    items = list(enumerate(sizes))
    packer = Packer(images_per_request=images_per_request, max_bytes=max_bytes)
    batches = [b.items for b in packed(packer, [(i, {"n_bytes": i[1]}) for i in items])]
    assert [item for batch in batches for item in batch] == items
    for batch in batches:
        assert 1 <= len(batch) <= images_per_request
        assert len(batch) == 1 or sum(size for _, size in batch) <= max_bytes


def test_packing_keeps_candidates_together_within_the_limit():
    wants = {"a": (0, 1), "b": (1, 2), "c": (5, 6), "d": None, "e": None, "f": (7,)}
    packer = Packer(images_per_request=9, max_labels=3)
    batches = packed(packer, [(name, {"candidates": codes}) for name, codes in wants.items()])
    assert [(b.items, b.candidates) for b in batches] == [
        (["a", "b"], (0, 1, 2)),
        (["c"], (5, 6)),
        (["d", "e"], None),
        (["f"], (7,)),
    ]
