"""`showtell concepts` with a real, very small language model behind llama.cpp: a poor tree,
no crash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.mllm.test_mllm_real_servers import llama, start_llama  # noqa: F401  fixtures

from showtell.prompts import clean_values, read_concepts
from showtell.prompts.concepts import asking as concept_asking

pytestmark = pytest.mark.slow


def test_what_a_small_model_writes_is_in_the_tree_or_a_named_gap(cli, llama, monkeypatch):  # noqa: F811
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(concept_asking, "_MAX_TOKENS", 100)  # it often says the same on and on

    def build(*more):
        result = cli(
            "concepts", "dog", "--labels", "Corgi,Collie", "--depth", 1, "--layout", "merged",
            "--model", "llamacpp:smollm2", "--base-url", f"{llama}/v1", "--timeout", 300,
            "--max-concurrency", 2, "--json", "-o", "dog.json", *more,
        )  # fmt: skip
        assert result.exit_code in (0, 1), result.output
        assert "Traceback" not in result.output
        assert "This is a bug" not in result.output
        return json.loads(result.stdout), read_concepts("dog.json")

    told, tree = build("--until", "parts")
    assert told["output_tokens"] > 0
    assert told["cost_usd"] == 0
    assert tree.parts or [gap.task for gap in tree.gaps] == ["parts"]
    assert tree.depth <= 1

    record = tree.to_record()  # edited by hand: two parts are enough
    first = record["parts"][0]["part"] if record["parts"] else "coat"
    record["parts"] = [{"part": first}, {"part": "long tail", "attributes": {"length": []}}]
    record.pop("gaps", None)
    Path("dog.json").write_text(json.dumps(record))
    told, tree = build()
    gaps = {(gap.task, gap.part, gap.attribute) for gap in tree.gaps}
    assert [part.name for part in tree.parts] == [first, "long tail"]
    for path, part in tree.walk():
        assert part.attributes or ("attributes", path, None) in gaps
        for attribute in part.attributes:
            known = {("values", path, None), ("values", path, attribute.name)} & gaps
            assert attribute.values or known or attribute.name == "other attributes"
            for value in attribute.values:
                assert clean_values([value.text]) == (value.text,)
                assert value.text not in ("corgi", "collie")
