"""Questions through the vendors' real libraries, answered by a server that looks and listens."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from PIL import Image

import showtell as st
from showtell.ask import Frames, gather
from showtell.ask.answer import read_answers
from showtell.errors import MediaError
from showtell.media import Clip
from showtell.media.clip import clip_time
from showtell.mllm import AudioPart, DocumentPart, VideoPart, capabilities_of
from showtell.testing.world import (
    FRUIT,
    WALLS,
    draw_basket,
    draw_plate,
    draw_prices,
    draw_street,
    speak,
    write_clip,
)

pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
pytest.importorskip("av", reason="needs the extra video")
servers = pytest.importorskip("showtell.testing.servers")

KINDS = ["openai", "google", "anthropic", "ollama"]


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    for name in ("OPENAI", "GOOGLE", "ANTHROPIC"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-planted-0123456789abcdef")


@pytest.fixture(scope="module")
def server():
    with servers.LocalServer("all") as running:
        yield running


def model_of(server, kind="openai", **options):
    package = {"google": "google.genai", "anthropic": "anthropic"}.get(kind, "openai")
    pytest.importorskip(package, reason=f"needs the extra of {kind}")
    return st.Model(f"{kind}:try", base_url=server.url_for(kind), cache=None, **options)


def saved(folder, name, picture):
    path = folder / name
    picture.save(path)
    return path


def basket_and_prices(seed):
    """Some fruit, a price for each, and what they come to."""
    rng = random.Random(seed)
    counts = {name: rng.randint(1, 4) for name in rng.sample(list(FRUIT), 3)}
    prices = {name: Decimal(rng.randint(5, 250)) / 100 for name in counts}
    rows = [(name, f"${price:.2f}", "each") for name, price in prices.items()]
    total = sum((counts[name] * prices[name] for name in counts), Decimal(0))
    return draw_basket(counts, seed=seed), draw_prices(rows), counts, total


@pytest.mark.parametrize("seed", range(30))
def test_thirty_baskets_come_to_the_cent(server, seed):
    basket, prices, counts, total = basket_and_prices(seed)
    answer = st.ask(model_of(server), [basket, prices], "What do they cost?", schema="receipt")
    assert answer.status == "ok", answer.error
    assert answer.value == total
    assert {line.name: line.count.mode for line in answer.calculation.lines} == counts
    assert answer.calculation.agrees
    assert set(answer.evidence) == {"A", "B"}


def test_swapping_the_pictures_changes_ids_and_not_the_total(server):
    basket, prices, _, total = basket_and_prices(99)
    answer = st.ask(model_of(server), [prices, basket], schema="receipt")
    assert answer.value == total
    assert answer.calculation.lines[0].evidence == ("B", "A")


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([("apple", "$2.00", "kg"), ("lime", "$1.00", "each")], "needs_weight"),
        ([("lime", "$1.00", "each")], "no_price"),
        ([("apple", "1.250", "each"), ("lime", "$1.00", "each")], "unreadable_price"),
    ],
)
def test_what_cannot_be_added_up_is_said_and_left_out(server, rows, status):
    basket = draw_basket({"apple": 2, "lime": 3})
    answer = st.ask(model_of(server), [basket, draw_prices(rows)], schema="receipt")
    assert answer.calculation.lines[0].status == status
    assert answer.value is None
    assert answer.calculation.totals == {"USD": Decimal(3)}
    assert "not counted: apple" in answer.text


def test_two_currencies_have_two_totals(server):
    prices = draw_prices([("apple", "$2.00", "each"), ("lime", "1.00 EUR", "each")])
    answer = st.ask(model_of(server), [draw_basket({"apple": 1, "lime": 1}), prices],
                    schema="receipt")  # fmt: skip
    assert answer.calculation.totals == {"USD": Decimal(2), "EUR": Decimal(1)}
    assert answer.value is None


def test_a_false_total_is_overruled_and_flagged():
    basket, prices, _, total = basket_and_prices(5)
    with servers.LocalServer("openai", faults="false-total=1") as wrong:
        answer = st.ask(model_of(wrong), [basket, prices], schema="receipt")
    assert answer.value == total
    assert answer.calculation.model_total == total + Decimal("0.15")
    assert answer.calculation.agrees is False
    assert any("is wrong" in note for note in answer.calculation.notes)


def test_runs_that_miscount_show_their_range():
    basket = draw_basket({"apple": 3})
    prices = draw_prices([("apple", "$1.00", "each")])
    with servers.LocalServer("openai", faults="miscount=0.5") as wrong:
        answer = st.ask(model_of(wrong), [basket, prices], schema="receipt", runs=7)
    [line] = answer.calculation.lines
    assert set(line.count.counts) == {3, 4}
    assert not line.count.agree
    assert "3 to 4 in 7" in answer.calculation.notes[0]


def street_clip(seed, n=4, *, said="BONJOUR, NOUS VISITONS LE VILLAGE", backwards=False):
    """A walk past houses: signs in order, walls by sign, and speech."""
    rng = random.Random(seed)
    signs = rng.sample(["BAKERY", "HOTEL SOL", "PHARMACY", "BUS 28", "CAFE", "POST", "BANK"], n)
    walls = [rng.choice(list(WALLS)) for _ in signs]
    shots = list(zip(signs, walls, strict=True))
    pictures = [
        draw_street(wall, sign, moved=i)
        for sign, wall in (reversed(shots) if backwards else shots)
        for i in range(6)
    ]
    return write_clip(pictures, rate=3, sound=speak(said) if said else None), signs, walls


@pytest.mark.parametrize(
    ("kind", "seed"),
    [*(("openai", seed) for seed in range(20)), *(("google", seed) for seed in range(6))],
)
def test_twenty_clips_are_told_in_order_with_walls_and_language(server, kind, seed):
    clip, signs, walls = street_clip(seed)
    model = model_of(server, kind)
    said = st.ask(
        model,
        [clip],
        [
            "Which signs are there?",
            f"What colour is the wall beside the sign {signs[1]}?",
            f"What comes after {signs[0]}?",
            f"When is {signs[2]} seen?",
        ],
    )
    assert said[0].text == ", ".join(signs)
    assert said[1].text == walls[1]
    assert said[2].text == signs[1]
    assert abs(float(said[3].value) - 5.0) <= 1.5  # the third shot begins at 4 s
    shown = [e for answer in said for claim in answer.claims for e in claim.evidence]
    assert all(moment.ref.startswith("A") for moment in shown)
    assert not any(claim.unknown for answer in said for claim in answer.claims)


def test_the_language_is_heard_and_without_sound_unknown(server):
    clip, _, _ = street_clip(1)
    model = model_of(server, "google")
    with_sound = st.ask(model, [clip], "Which language is spoken?")
    without = st.ask(model, [clip], "Which language is spoken?", frames=Frames(sound=False))
    assert (with_sound.text, with_sound.claims[0].basis) == ("French", "heard")
    assert (without.status, without.text) == ("abstained", "")


def test_a_clip_and_its_reverse_answer_differently(server):
    forward, signs, _ = street_clip(3)
    backward, _, _ = street_clip(3, backwards=True)
    question = f"What comes after {signs[1]}?"
    model = model_of(server)
    assert st.ask(model, [forward], question).text == signs[2]
    assert st.ask(model, [backward], question).text == signs[0]


def test_nothing_before_the_start_is_sent(server):
    clip, signs, _ = street_clip(4)
    for kind in ("openai", "google"):
        answer = st.ask(model_of(server, kind), [Clip(clip, start=2.1)], "Which signs are there?")
        assert answer.text == ", ".join(signs[1:])
        [exhibit] = answer.material.exhibits
        assert all(m.time is None or m.time >= 2.09 for m in exhibit.moments)


def test_a_server_that_does_not_look_falls_to_chance():
    right = 0
    with servers.LocalServer("openai", faults="blind=1") as blind:
        for seed in range(6):
            clip, signs, _ = street_clip(seed)
            answer = st.ask(model_of(blind), [clip], "Which signs are there?")
            right += answer.text == ", ".join(signs)
    assert right == 0


def test_a_false_premise_is_said_and_not_followed(server):
    answer = st.ask(
        model_of(server), [draw_plate("MODEL WX-200")],
        "How can I cancel a subscription on this appliance?", steps="1. Look.\n2. Answer.",
    )  # fmt: skip
    assert (answer.premise_ok, answer.status, answer.text) == (False, "abstained", "")
    assert "subscription" in answer.premise_note


def test_what_the_material_does_not_tell_is_unknown(server):
    answer = st.ask(model_of(server), [draw_basket({"apple": 1})], "Which language is spoken?")
    assert (answer.status, answer.text, answer.error) == (
        "abstained",
        "",
        "the material does not tell",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_each_vendor_is_asked_about_pictures_through_its_own_library(server, kind):
    answer = st.ask(model_of(server, kind), [draw_basket({"lime": 3})], "How many limes?")
    assert (answer.value, answer.unit, answer.evidence) == (3, "limes", ("A",))


@pytest.mark.parametrize(
    ("kind", "source"),
    [("google", "video"), ("google", "sound"), ("google", "pdf"), ("openai", "pdf"),
     ("anthropic", "pdf")],
)  # fmt: skip
def test_media_arrive_byte_for_byte_as_they_were_recorded(server, kind, source, tmp_path):
    material = {
        "video": lambda: street_clip(0)[0],
        "sound": lambda: _sound(tmp_path, "HOLA, VAMOS AL PUEBLO"),
        "pdf": lambda: _pdf(tmp_path),
    }[source]()
    model = model_of(server, kind)
    answer = st.ask(model, [material], "Which signs are there?")
    sent = [p for p in answer.material.parts if isinstance(p, AudioPart | VideoPart | DocumentPart)]
    received = server.requests[-1].media
    assert [(m.digest, m.n_bytes, m.media_type) for m in received] == [
        (p.digest, len(p.data), p.media_type) for p in sent
    ]
    assert len(sent) == 1


def _sound(folder, text):
    from showtell.media.cutting import cut_sound

    path = folder / "said.wav"
    path.write_bytes(cut_sound(write_clip([Image.new("RGB", (64, 48))], sound=speak(text))))
    return path


def _pdf(folder):
    path = folder / "manual.pdf"
    pages = [draw_plate("MODEL WX-200", dot=8), draw_plate("SERIAL 4711", dot=8)]
    buffer = io.BytesIO()
    pages[0].save(buffer, "PDF", save_all=True, append_images=pages[1:], resolution=150)
    path.write_bytes(buffer.getvalue())
    return path


def test_pages_are_cited_whether_they_go_as_a_file_or_as_pictures(server, tmp_path):
    path = _pdf(tmp_path)
    for frames in (Frames(), Frames(send_as="frames")):
        answer = st.ask(model_of(server), [path], "What is the SERIAL?", frames=frames)
        assert (answer.text, answer.evidence) == ("4711", ("A:2",))


def test_a_model_that_cannot_hear_gets_a_transcript_or_an_error(server, tmp_path):
    path = _sound(tmp_path, "GOOD MORNING TO ALL")
    deaf = st.ask(model_of(server), [path], "Which language is spoken?")
    assert deaf.status == "error"
    assert "cannot hear; give a transcript" in deaf.error
    assert deaf.n_requests == 0
    transcript = tmp_path / "said.srt"
    transcript.write_text("1\n00:00:00,000 --> 00:00:02,000\nGood morning to all\n")
    told = st.ask(model_of(server), [path], "Which language is spoken?")
    assert (told.text, told.converted) == ("English", (f"A: {path} (its transcript)",))


def test_a_contradicted_claim_withholds_the_answer():
    with servers.LocalServer("openai", faults="miscount=0") as honest:
        answer = st.ask(
            model_of(honest), [draw_basket({"apple": 3})], "How many apples?", verify=True
        )
    assert [claim.verdict for claim in answer.claims] == ["supported"]
    with servers.LocalServer("openai", faults="miscount=1") as wrong:
        prices = draw_prices([("apple", "$1.00", "each")])
        answer = st.ask(
            model_of(wrong), [draw_basket({"apple": 3}), prices], schema="receipt", verify=True
        )
    assert answer.status == "abstained"
    assert "a second look contradicts" in answer.error
    assert answer.value is None


def test_more_can_be_asked_about_the_same_material(server):
    first = st.ask(model_of(server), [draw_basket({"apple": 3, "lime": 2})], "How many apples?")
    second = first.ask("How many limes?")
    third = second.ask("How many plums?")
    assert [a.text for a in (first, second, third)] == ["3", "2", "0"]
    assert second.material is first.material
    texts = server.requests[-1].texts
    assert any("Earlier you were asked: How many limes?" in text for text in texts)
    assert len(server.requests[-1].images) == 1


def test_one_request_for_each_question_unless_together(server):
    before = server.stats.n_requests
    questions = ["How many apples?", "How many limes?"]
    model, picture = model_of(server), draw_basket({"apple": 3, "lime": 2})
    apart = st.ask(model, [picture], questions)
    assert server.stats.n_requests - before == 2
    joined = st.ask(model, [picture], questions, together=True)
    assert server.stats.n_requests - before == 3
    assert [a.text for a in apart] == [a.text for a in joined] == ["3", "2"]
    assert joined["q2"].text == "2"


def test_an_input_that_cannot_be_read_is_an_error_and_asks_nothing(server, tmp_path):
    before = server.stats.n_requests
    answers = st.ask(model_of(server), [tmp_path / "none.png"], ["How many?", "What is it?"])
    assert [a.status for a in answers] == ["error", "error"]
    assert "no such file" in answers[0].error
    assert server.stats.n_requests == before


def test_data_come_with_the_page_they_were_read_on(server):
    text = "Supplier: Acme\nNumber: 2026-17\nTotal: 1.299,95\nCurrency: EUR"
    answer = st.ask(model_of(server), [text], schema="invoice")
    assert answer.data["supplier"] == "Acme"
    assert answer.data["total"] == "1.299,95"
    assert answer.data["due_date"] is None
    assert answer.data_evidence["number"] == ("A",)
    empty = st.ask(model_of(server), ["nothing of the kind"], schema="invoice")
    assert (empty.status, empty.error) == ("abstained", "the material has none of it")


def test_caps_hold_and_a_run_folder_asks_nothing_twice(server, tmp_path):
    from showtell.errors import BudgetError

    questions = [f"How many {name}s?" for name in ("apple", "lime", "plum", "orange")]
    picture = draw_basket({"apple": 3, "lime": 2})
    before = server.stats.n_requests
    with pytest.raises(BudgetError):
        st.ask(model_of(server, max_requests=2, run_folder=tmp_path / "run"), [picture], questions)
    assert server.stats.n_requests - before == 2
    answers = st.ask(model_of(server, run_folder=tmp_path / "run"), [picture], questions)
    assert server.stats.n_requests - before == 4
    assert [a.text for a in answers] == ["3", "2", "0", "0"]


def test_frames_carry_their_times_and_pictures_nothing_else(server):
    clip, _, _ = street_clip(2)
    material = gather([clip], capabilities_of("openai:gpt-4.1-mini"))
    [exhibit] = material.exhibits
    texts = [part.text for part in material.parts if hasattr(part, "text")]
    assert texts[0] == f"Clip A ({exhibit.name}):"
    assert texts[-1] == "End of clip A."
    assert len(exhibit.moments) == 8
    assert all(f"Clip A at {clip_time(m.time)}:" in texts for m in exhibit.moments)
    assert "its sound left out" in exhibit.converted


def test_a_rotated_photo_is_read_upright(server, tmp_path):
    plate = draw_plate("BAKERY", dot=6)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "phone.jpg"
    plate.transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)
    assert st.ask(model_of(server), [path], "Which signs are there?").text == "BAKERY"


def test_arrays_and_pictures_are_taken(server):
    picture = np.asarray(draw_basket({"plum": 2}))
    assert st.ask(model_of(server), picture, "How many plums?").text == "2"


@pytest.mark.parametrize("number", ["1e27", "1e28", "1e29", "1e400", "NaN"])
def test_numbers_that_no_table_can_hold_are_none_and_the_answer_stays(number):
    material = gather(["3 apples"], capabilities_of("openai:try"))
    row = {"id": "q1", "answer": "many", "value": float(number), "confidence": float(number)}
    answer = read_answers({"answers": [row]}, {"q1": "How many?"}, material)["q1"]
    assert (answer.status, answer.text) == ("ok", "many")
    assert answer.value == (Decimal("1e27") if number == "1e27" else None)


def test_evidence_with_a_page_of_thousands_of_digits_is_unknown_not_a_failure():
    material = gather(["3 apples"], capabilities_of("openai:try"))
    claim = {"claim": "3", "evidence": ["A:" + "9" * 5000], "basis": "text"}
    row = {"id": "q1", "answer": "3", "claims": [claim]}
    answer = read_answers({"answers": [row]}, {"q1": "How many?"}, material)["q1"]
    assert (answer.status, answer.claims[0].verdict) == ("ok", "unsupported")


def test_a_text_with_zero_bytes_is_none(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"one\0two")
    with pytest.raises(MediaError, match="zero bytes"):
        gather([path], capabilities_of("openai:try"))


def test_the_address_of_a_text_is_fetched_under_the_limits_of_addresses():
    with pytest.raises(MediaError, match="public internet"):
        gather(["http://127.0.0.1:9/notes.txt"], capabilities_of("openai:try"))


def test_ctrl_c_while_material_is_read_leaves_a_row_for_every_question(server, monkeypatch):
    from showtell.ask import run

    def interrupted(sources, *more, **others):
        if sources == ("stop",):
            raise KeyboardInterrupt
        return gather(sources, *more, **others)

    monkeypatch.setattr(run, "gather", interrupted)
    cases = [run.Case(sources=(text,), questions={text: "?"}) for text in ("one", "stop", "two")]
    rows = []
    asked = run.ask_cases(model_of(server), cases, run.make_style())
    with pytest.raises(KeyboardInterrupt):
        rows.extend(row for some in asked for row in some)
    assert [(row.question_id, row.error) for row in rows] == [
        (text, "not asked: stopped by Ctrl-C") for text in ("one", "stop", "two")
    ]


def test_more_pictures_than_a_model_takes_are_an_error_of_their_own_row(server):
    few = replace(capabilities_of("openai:try"), max_images=1)
    with pytest.raises(MediaError, match="more than the 1 that the model takes"):
        gather([draw_basket({"lime": 1}), draw_basket({"lime": 2})], few)
