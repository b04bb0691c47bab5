"""The line with a filled-in answer: absent unless asked for, and only in the instructions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from showtell.mllm.base import ImagePart
from showtell.prompts import (
    Query,
    RequestForm,
    copy_prompts,
    load_prompts,
    render_decision,
    render_request,
)

IMAGE = ImagePart(data=b"", media_type="image/png", digest="0", width=1, height=1)


@pytest.fixture
def form():
    return RequestForm(model="openai:try", prompts=load_prompts(), labels=("cat", 'the "dog"'))


def request(form):
    return render_request(form, [], [Query(id="k3f9", image=IMAGE)])


def test_no_real_label_stands_in_an_ordinary_request_outside_the_list(form):
    plain = request(form)
    assert plain.system.count("cat") == 1
    assert "For example" not in plain.system


def test_the_example_line_is_all_that_differs(form):
    plain, named = request(form), request(replace(form, example="cat"))
    assert named.parts == plain.parts
    extra = [line for line in named.system.splitlines() if line not in plain.system.splitlines()]
    assert extra == [
        'For example, one entry of "answers" may be: '
        '{"id": "<id>", "label": "cat", "confidence": <0 to 10>}'
    ]
    assert named.key != plain.key


def test_quotes_in_a_label_are_written_as_json(form):
    named = request(replace(form, example='the "dog"', verbalised=False))
    assert r'{"id": "<id>", "label": "the \"dog\""}' in named.system


def test_a_classification_endpoint_gets_the_line_too(form):
    plain = render_decision(form, [], IMAGE)
    named = render_decision(replace(form, example="cat"), [], IMAGE)
    assert named.system.startswith(plain.system)
    assert '"label": "cat"' in named.system


def test_edited_prompts_without_the_slot_leave_the_line_out(form, tmp_path):
    copy_prompts(tmp_path)
    file = tmp_path / "system.txt"
    file.write_text(file.read_text().replace("{example}", ""))
    own = replace(form, prompts=load_prompts(tmp_path))
    assert request(replace(own, example="cat")).system == request(own).system
