"""Answers read from tables, joined by image, judged pair by pair, ranked and corrected."""

import json
import re
from decimal import Decimal

import numpy as np
import pytest

from showtell.errors import DataError, InputError
from showtell.evaluate import (
    Answers,
    human_scores,
    join_answers,
    judge_all,
    judge_requests,
    pairs_for_a_person,
    read_answers,
)
from showtell.evaluate.judging.run import judge
from showtell.evaluate.judging.several import pairs_of
from showtell.mllm import Answer, Usage
from showtell.tables import write_rows


class Longest:
    """Prefers the longer answer; a few words about the pictures are all it needs."""

    name = "toy:judge"

    def __init__(self):
        self.n_asked = 0

    async def ask(self, request):
        text = request.parts[-1].text
        first, second = re.findall(r"answer:\n<<<\n(.*?)\n>>>", text, re.DOTALL)
        self.n_asked += 1
        said = "first" if len(first) > len(second) else "second"
        said = "tie" if len(first) == len(second) else said
        told = json.dumps({"reasons": "longer", "verdict": said})
        return Answer(text=told, usage=Usage(), finish="stop", model="judge")

    async def aclose(self):
        pass


def table(path, rows):
    write_rows(path, rows)
    return path


def contestant(name, texts):
    return Answers(name=name, texts={f"{i}.jpg": text for i, text in enumerate(texts)})


def test_a_table_is_read_with_what_it_says_of_time_and_price(tmp_path):
    rows = [
        {"image": "a.jpg", "label": "cat", "status": "ok", "seconds": 1.0, "cost_usd": "0.002"},
        {"image": "b.jpg", "label": "a dog", "status": "ok", "seconds": 3.0, "cost_usd": "0.004"},
        {"image": "c.jpg", "label": "", "status": "abstained", "seconds": 9.0, "cost_usd": "1"},
        {"image": "d.jpg", "label": "", "status": "error", "seconds": None, "cost_usd": None},
    ]
    found = read_answers(table(tmp_path / "one.csv", rows))
    assert found.name == "one"
    assert dict(found.texts) == {"a.jpg": "cat", "b.jpg": "a dog"}
    facts = found.facts()
    assert (facts["n_answers"], facts["n_missing"]) == (2, 2)
    assert facts["characters_each"] == 4
    assert facts["seconds_each"] == 2.0
    assert facts["seconds_per_1000_characters"] == 500
    assert facts["usd_per_1000"] == pytest.approx(3)
    assert found.costs["a.jpg"] == Decimal("0.002")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([{"picture": "a", "answer": "b"}], "'picture', 'answer'"),
        ([{"image": "a", "words": "b"}], "no column of answers"),
        ([{"image": "a", "answer": "b"}, {"image": "a", "answer": "c"}], "two different answers"),
        ([{"image": "a", "answer": "b", "seconds": "soon"}], "'soon' of 'a' is no number"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path, rows, match):
    with pytest.raises(DataError, match=match):
        read_answers(table(tmp_path / "one.csv", rows))


def test_answers_are_joined_by_image_and_never_by_position():
    one = Answers(name="one", texts={"b": "1b", "a": "1a", "x": "1x"})
    two = Answers(name="two", texts={"a": "2a", "y": "2y", "b": "2b"})
    for pair in ((one, two), (two, one)):
        found = join_answers(pair)
        at = dict(zip(found.images, zip(*found.texts, strict=True), strict=True))
        assert at["a"] in (("1a", "2a"), ("2a", "1a"))
        assert set(at) == {"a", "b"}
        assert dict(found.missing) == {"one": 1, "two": 1}
    with pytest.raises(InputError, match="No image was answered by all"):
        join_answers([one, Answers(name="three", texts={"z": "?"})])
    with pytest.raises(InputError, match="one name twice"):
        join_answers([one, one])


def test_three_contestants_are_ranked_with_corrected_p_values():
    n = 40
    joined = join_answers(
        [
            contestant("short", [f"{i:02}" for i in range(n)]),
            contestant("long", [f"{i:030}" for i in range(n)]),
            contestant("middle", [f"{i:09}" for i in range(n)]),
        ]
    )
    model = Longest()
    found = judge_all(joined, model=model)
    assert [s.name for s in found.standings] == ["long", "middle", "short"]
    assert [(s.rank_low, s.rank_high) for s in found.standings] == [(1, 1), (2, 2), (3, 3)]
    assert found.padded  # nobody beat the best
    assert sum(s.elo for s in found.standings) == pytest.approx(0, abs=1e-6)
    raw = [one.p for one in found.judgements]
    assert list(found.p_values) == pytest.approx([min(1, 3 * p) for p in raw])
    assert model.n_asked == 3 * n * 2
    assert len(list(found.rows())) == model.n_asked


def test_more_than_five_are_compared_with_the_first_only():
    assert len(pairs_of(5)) == 10
    assert pairs_of(6) == [(0, i) for i in range(1, 6)]


def test_by_gold_every_image_has_a_row_and_nobody_is_asked():
    one, two = ["cat"] * 6 + ["dog"] * 2, ["dog"] * 6 + ["dog"] * 2
    joined = join_answers([contestant("one", one), contestant("two", two)])
    found = judge_all(joined, gold=["cat"] * 7 + ["dog"])
    rows = list(found.rows())
    assert [row["image"] for row in rows] == list(joined.images)
    assert [row["verdict"] for row in rows] == ["first"] * 6 + ["tie"] * 2
    assert dict(found.accuracies) == {"one": 7 / 8, "two": 1 / 8}
    assert found.n_verdicts == 0


def test_a_person_sees_no_names_and_the_file_finds_its_way_back(tmp_path):
    one = [f"one says {i}" for i in range(20)]
    two = [f"two says {i}" for i in range(20)]
    joined = join_answers([contestant("one", one), contestant("two", two)])
    rows = pairs_for_a_person(joined, [(0, 1)], 10, random_state=3)
    assert len({row["image"] for row in rows}) == 10
    assert 0 < sum(row["first"].startswith("one") for row in rows) < 10
    for row in rows[:8]:
        row["verdict"] = "first" if row["first"].startswith("one") else " Second "
    rows[8]["verdict"] = "tie"
    scores = human_scores(table(tmp_path / "human.csv", rows), joined, [(0, 1)])[0, 1]
    assert sorted(scores.values()) == [0.5] + [1.0] * 8  # the empty one is passed over
    swapped = join_answers([contestant("two", two), contestant("one", one)])
    turned = human_scores(tmp_path / "human.csv", swapped, [(0, 1)])[0, 1]
    assert sorted(turned.values()) == [0.0] * 8 + [0.5]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"verdict": "left"}, "first, second or tie"),
        ({"verdict": "first", "first": "made up"}, "none of one, two gave"),
    ],
)
def test_a_persons_file_that_does_not_fit_says_why(tmp_path, change, match):
    joined = join_answers([contestant("one", ["a cat"]), contestant("two", ["a dog"])])
    [row] = pairs_for_a_person(joined, [(0, 1)], 5)
    with pytest.raises(DataError, match=match):
        human_scores(table(tmp_path / "h.csv", [row | change]), joined, [(0, 1)])


def test_pairs_of_the_same_words_stay_ties_when_a_person_corrects_the_judge():
    """30 pairs are alike; a person who prefers A in all others makes that 0.5 + 10/40 / 2."""
    a = ["same"] * 30 + ["xx"] * 10
    b = ["same"] * 30 + ["y"] * 10
    human = dict.fromkeys(range(30, 40), 1.0)
    found = judge(a, b, model=Longest(), human=human)
    assert found.win_rate == pytest.approx(0.5 + 0.5 * 10 / 40)


def test_the_plan_counts_what_judging_asks():
    a, b = ["x", "same", "zz"], ["yy", "same", "z"]
    assert len(judge_requests(a, b, model="openai:gpt-4.1-mini")) == 4
    assert len(judge_requests(a, b, model="openai:gpt-4.1-mini", orders="random")) == 2
    model = Longest()
    judge(a, b, model=model)
    assert model.n_asked == 4


def test_the_page_shows_flips_first_and_escapes_answers(tmp_path):
    class First(Longest):
        async def ask(self, request):
            told = json.dumps({"reasons": "<i>it is</i>", "verdict": "first"})
            return Answer(text=told, usage=Usage(), finish="stop", model="judge")

    joined = join_answers(
        [contestant("one", ["<b>bold</b> a", "b"]), contestant("two", ["c", "d"])]
    )
    found = judge_all(joined, model=First())
    page = found.report(tmp_path / "page.html").read_text()
    assert "flips with the order" in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold" not in page
    assert "<i>it" not in page
    told = found.to_dict()
    assert told["pairs"][0]["position_bias"] == 1.0
    assert np.isclose(told["pairs"][0]["win_rate"], 0.5)
