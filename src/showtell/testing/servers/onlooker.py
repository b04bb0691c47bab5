"""The looking half of the local servers: free questions, answered from pixels, samples and pages.

It sees the world that `showtell.testing.world` draws: fruit by colour and shape, plates by their
letters, walls by the colour around a plate; it hears speech in tones; it reads the text of PDF and
of texts. Nothing is told to it beside what was sent. What it cannot tell it says it does not know.
"""

from __future__ import annotations

import asyncio
import functools
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any, TypeAlias

from PIL import Image

from showtell.media.clip import probe
from showtell.media.cutting import read_sound
from showtell.media.frames import frame_times, frames_at
from showtell.media.pages import read_pages
from showtell.testing.servers.knobs import Faults, uniform
from showtell.testing.servers.reading import Part
from showtell.testing.servers.sight import SentImage, SentMedia
from showtell.testing.world import FRUIT, Plate, count_fruit, hear, read_plates, wall_colour

__all__ = ["Onlooker", "is_question"]

_START = re.compile(r"(?:Image|Clip|Sound|Document|Text) ([A-Z]{1,3})(?: \(.*\))?:")
_MOMENT = re.compile(r"Clip ([A-Z]{1,3}) at (?:(\d+):)?(\d+):(\d+(?:\.\d+)?):")
_PAGE = re.compile(r"Document ([A-Z]{1,3}) page (\d+):")
_REFERENCE = re.compile(r"([A-Z]{1,3}(?:@[\d.]+|:\d+)?):")
_SHOWS = re.compile(r"It shows (?:(\d+):)?(\d+):(\d+(?:\.\d+)?) to ")
_PRICE = re.compile(r"(.+?) ([$]?\d[\d.,]*(?: ?EUR| ?USD)?)(?: PER| /|/)? ?(\w+)?$")
_LANGUAGES = {
    "English": ("THE", "AND", "WE", "GOOD", "TO"),
    "French": ("NOUS", "LE", "BONJOUR", "LA", "ET"),
    "Spanish": ("HOLA", "EL", "VAMOS", "LOS", "BUENOS"),
    "German": ("WIR", "DER", "GUTEN", "UND", "DAS"),
}
_MOST_FRAMES = 64

_Found: TypeAlias = tuple[dict[str, int], list[Plate], dict[str, str]]
"""Fruit, plates, and the colour around each."""


@dataclass(kw_only=True)
class _Sight:
    """What is seen at one moment."""

    ref: str
    fruit: dict[str, int] = field(default_factory=dict)
    plates: list[Plate] = field(default_factory=list)
    walls: dict[str, str] = field(default_factory=dict)
    """Text of a plate to the colour around it."""
    words: str = ""
    heard: str = ""
    time: float | None = None

    @property
    def signs(self) -> list[str]:
        return [plate.text for plate in self.plates]


def is_question(schema: Mapping[str, Any] | None) -> bool:
    """Whether an answer schema is that of a free question, a count, prices, a sum or a check."""
    names = set((schema or {}).get("properties") or ())
    return names in (
        {"answers"}, {"items"}, {"prices"}, {"total"}, {"verdict"}, {"matches"},
        {"data", "evidence"},
    )  # fmt: skip


class Onlooker:
    """Answers free questions by looking and listening.

    Parameters
    ----------
    faults : Faults
        What it does wrong on purpose.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    async def answer(
        self, parts: Sequence[Part], schema: Mapping[str, Any], draw_key: tuple[object, ...]
    ) -> dict[str, Any]:
        """Answer one request.

        Parameters
        ----------
        parts : sequence of Part
        schema : mapping
            JSON schema of the answer, one that `is_question`.
        draw_key : tuple
            What faults depend on.

        Raises
        ------
        BadImageError, MediaError
            If what was sent cannot be read.
        """
        blind = uniform(*draw_key, "blind") < self.faults.blind
        sights = [] if blind else await asyncio.to_thread(_look, parts)
        text = "\n".join(part for part in parts if isinstance(part, str))
        (name, *_) = schema["properties"]
        if name == "answers":
            return self._answers(text, sights, schema, blind=blind)
        if name in ("data", "evidence"):
            return _data(sights, schema)
        if name == "verdict":
            return {"verdict": _verdict(text, sights)}
        if name == "matches":
            return {"matches": []}
        items, prices = _items(sights), _prices(sights)
        if name == "items":
            if items and uniform(*draw_key, "miscount") < self.faults.miscount:
                items[0]["count"] += 1
            return {"items": items}
        if name == "prices":
            return {"prices": prices}
        total = _total(items, prices)
        if total is not None and uniform(*draw_key, "total") < self.faults.false_total:
            total += Decimal("0.15")
        return {"total": None if total is None else f"${total}"}

    def _answers(
        self, text: str, sights: list[_Sight], schema: Mapping[str, Any], *, blind: bool
    ) -> dict[str, Any]:
        fields = schema["properties"]["answers"]["items"]["properties"]
        ids = fields["id"].get("enum") or []
        found = []
        for name in ids:
            line = re.search(rf"^{re.escape(name)}: (.+)$", text, re.MULTILINE)
            asked = "" if line is None else line[1]
            answer = _guess() if blind else _answer(asked, sights)
            answer = {"id": name, **answer}
            if "steps" in fields:
                answer["steps"] = [{"n": 1, "text": f"Looked at {len(sights)} pieces."}]
            if "languages" in fields:
                codes = fields["languages"]["properties"]
                answer["languages"] = dict.fromkeys(codes, answer["answer"])
            found.append(answer)
        return {"answers": found}


def _look(parts: Sequence[Part]) -> list[_Sight]:
    """See, hear and read all that was sent, in order."""
    sights: list[_Sight] = []
    name, ref, time = "", "", None
    begins, inside = 0.0, False
    for part in parts:
        if isinstance(part, str):
            if (start := _START.fullmatch(part)) is not None:
                name = ref = start[1]
                time, inside = None, True
            elif (moment := _MOMENT.fullmatch(part)) is not None:
                time = float(moment[2] or 0) * 3600 + float(moment[3]) * 60 + float(moment[4])
                ref = f"{moment[1]}@{round(time, 1):g}"
            elif (page := _PAGE.fullmatch(part)) is not None:
                ref, time = f"{page[1]}:{page[2]}", None
            elif (shows := _SHOWS.match(part)) is not None:
                begins = float(shows[1] or 0) * 3600 + float(shows[2]) * 60 + float(shows[3])
            elif part.startswith("End of "):
                inside = False
            elif (pointed := _REFERENCE.fullmatch(part)) is not None:
                name = ref = pointed[1]
                inside = True
            elif inside:
                sights.append(_Sight(ref=ref, words=part))
        elif isinstance(part, SentImage):
            picture = Image.open(io.BytesIO(part.data)).convert("RGB")
            sights.append(_see(picture, ref or name, time))
        else:
            sights += _take_in(part, name, begins)
    return sights


def _see(picture: Image.Image, ref: str, time: float | None = None) -> _Sight:
    fruit, plates, walls = _seen(picture.tobytes(), picture.size)
    return _Sight(ref=ref, fruit=dict(fruit), plates=list(plates), walls=dict(walls), time=time)


@functools.lru_cache(maxsize=256)
def _seen(pixels: bytes, size: tuple[int, int]) -> _Found:
    """Look at a picture once, however many questions are asked about it."""
    picture = Image.frombytes("RGB", size, pixels)
    plates = read_plates(picture)
    walls = {plate.text: wall_colour(picture, plate) for plate in plates}
    return count_fruit(picture), plates, walls


def _take_in(media: SentMedia, name: str, begins: float) -> list[_Sight]:
    """Look at a video, listen to sound, read a document."""
    if media.kind == "application":
        sights = []
        for page in read_pages(media.data):
            seen = _see(page.picture, f"{name}:{page.number}")
            seen.words = page.text
            sights.append(seen)
        return sights
    sights = []
    frames, heard = _played(media.data, media.rate, is_video=media.kind == "video")
    for time, (fruit, plates, walls) in frames:
        ref = f"{name}@{round(begins + time, 1):g}"
        sights.append(
            _Sight(ref=ref, fruit=dict(fruit), plates=plates, walls=walls, time=begins + time)
        )
    if heard:
        sights.append(_Sight(ref=name, heard=heard))
    return sights


@functools.lru_cache(maxsize=16)
def _played(data: bytes, rate: float, *, is_video: bool) -> tuple[list[tuple[float, _Found]], str]:
    """Look at the frames of a video, each with its time, and listen to its sound."""
    heard = hear(read_sound(data))
    if not is_video:
        return [], heard
    info = probe(data)
    n = max(1, min(_MOST_FRAMES, round(info.seconds * rate)))
    shown = frames_at(data, frame_times(info.start, info.end, n))
    return [(f.time, _seen(f.picture.tobytes(), f.picture.size)) for f in shown], heard


def _claim(text: str, refs: Sequence[str], basis: str) -> dict[str, Any]:
    return {"claim": text, "evidence": list(dict.fromkeys(refs)), "basis": basis}


def _said(
    answer: str, claims: Sequence[Mapping[str, Any]], value: float | None = None, unit: str = ""
) -> dict[str, Any]:
    return {
        "claims": list(claims), "known": True, "premise_ok": True, "premise_note": None,
        "answer": answer, "value": value, "unit": unit or None, "confidence": 9,
    }  # fmt: skip


def _unknown() -> dict[str, Any]:
    return {
        "claims": [], "known": False, "premise_ok": True, "premise_note": None, "answer": "",
        "value": None, "unit": None, "confidence": 0,
    }  # fmt: skip


def _guess() -> dict[str, Any]:
    """Answer without having looked."""
    return _said("BAKERY", [_claim("It says BAKERY.", ["A"], "visible")], 3.0)


def _false_premise(note: str) -> dict[str, Any]:
    return {**_unknown(), "premise_ok": False, "premise_note": note, "confidence": 9}


def _answer(question: str, sights: Sequence[_Sight]) -> dict[str, Any]:
    plain = " ".join(question.split()).rstrip("?.! ")
    for pattern, find in _ANSWERS:
        found = re.search(pattern, plain, re.IGNORECASE)
        if found is not None:
            answer = find(found, sights)
            if answer is not None:
                return answer
    return _unknown()


def _how_many(found: re.Match[str], sights: Sequence[_Sight]) -> dict[str, Any] | None:
    wanted = found[1].lower()
    kinds = [kind for kind in FRUIT if wanted in (kind, f"{kind}s", kind[:-1] + "ies")]
    if wanted in ("fruit", "fruits"):
        kinds = list(FRUIT)
    counted = [(s.ref, sum(s.fruit.get(kind, 0) for kind in kinds)) for s in sights]
    seen = [(ref, n) for ref, n in counted if n]
    if not kinds or not any(s.fruit for s in sights):
        return None
    total = sum(n for _, n in seen)
    claims = [_claim(f"There are {n} {wanted}.", [ref], "visible") for ref, n in seen]
    refs = [s.ref for s in sights if s.fruit]
    claims = claims or [_claim(f"There are no {wanted}.", refs, "visible")]
    return _said(str(total), claims, float(total), wanted)


def _colour(found: re.Match[str], sights: Sequence[_Sight]) -> dict[str, Any] | None:
    sign = found[1].strip("'\" ").upper()
    for sight in sights:
        if sign in sight.walls:
            colour = sight.walls[sign]
            return _said(
                colour, [_claim(f"The wall by {sign} is {colour}.", [sight.ref], "visible")]
            )
    if any(sight.plates for sight in sights):
        return _false_premise(f"No sign in the material says {sign}.")
    return None


def _after(found: re.Match[str], sights: Sequence[_Sight]) -> dict[str, Any] | None:
    sign = found[1].strip("'\" ").upper()
    order = _signs_in_order(sights)
    for (ref, text), (later, following) in pairwise(order):
        if text == sign:
            return _said(
                following, [_claim(f"{following} follows {sign}.", [ref, later], "visible")]
            )
    return None


def _when(found: re.Match[str], sights: Sequence[_Sight]) -> dict[str, Any] | None:
    sign = found[1].strip("'\" ").upper()
    for sight in sights:
        if sign in sight.signs and sight.time is not None:
            claim = _claim(f"{sign} is seen.", [sight.ref], "visible")
            return _said(f"{sight.time:g} s", [claim], sight.time, "s")
    return None


def _signs(found: re.Match[str], sights: Sequence[_Sight]) -> dict[str, Any] | None:  # noqa: ARG001
    order = _signs_in_order(sights)
    if not order:
        return None
    claims = [_claim(f"It says {text}.", [ref], "text") for ref, text in order]
    return _said(", ".join(text for _, text in order), claims)


def _signs_in_order(sights: Sequence[_Sight]) -> list[tuple[str, str]]:
    order: list[tuple[str, str]] = []
    for sight in sights:
        for text in sight.signs:
            if not order or order[-1][1] != text:
                order.append((sight.ref, text))
    return order


def _spoken(found: re.Match[str], sights: Sequence[_Sight]) -> dict[str, Any] | None:  # noqa: ARG001
    heard = _all_heard(sights)
    if heard is None:
        return None
    ref, words, basis = heard
    return _said(words, [_claim(f"It is said: {words}", [ref], basis)])


def _all_heard(sights: Sequence[_Sight]) -> tuple[str, str, str] | None:
    for sight in sights:
        if sight.heard:
            return sight.ref, sight.heard, "heard"
    for sight in sights:
        if sight.words.startswith("What is said in "):
            lines = sight.words.splitlines()[1:]
            words = " ".join(line.partition("] ")[2] for line in lines).upper()
            return sight.words[len("What is said in ") :].partition(",")[0], words, "text"
    return None


def _language(found: re.Match[str], sights: Sequence[_Sight]) -> dict[str, Any] | None:  # noqa: ARG001
    heard = _all_heard(sights)
    if heard is None:
        return None
    ref, words, basis = heard
    present = set(re.findall(r"\w+", words))
    best = max(_LANGUAGES, key=lambda name: len(present & set(_LANGUAGES[name])))
    if not present & set(_LANGUAGES[best]):
        return None
    return _said(best, [_claim(f"The words are {best}.", [ref], basis)])


def _written(found: re.Match[str], sights: Sequence[_Sight]) -> dict[str, Any] | None:
    """Look a word up in texts and pages: the line that has it."""
    wanted = found[1].strip("'\" ").casefold()
    for sight in sights:
        for line in [*sight.words.splitlines(), *sight.signs]:
            if wanted in line.casefold():
                rest = re.split(re.escape(wanted), line, maxsplit=1, flags=re.IGNORECASE)[1]
                answer = rest.strip(" :,;=") or line
                return _said(answer, [_claim(line, [sight.ref], "text")])
    return None


def _how_do_i(found: re.Match[str], sights: Sequence[_Sight]) -> dict[str, Any] | None:
    """Something can be done with a thing only if what is written on it speaks of it."""
    thing = found[1].casefold()
    words = " ".join([*(s.words for s in sights), *(t for s in sights for t in s.signs)]).casefold()
    if thing in words:
        return _written(re.match("(.*)", thing), sights)  # type: ignore[arg-type]
    return _false_premise(f"Nothing in the material has a {thing}.")


_ANSWERS: tuple[
    tuple[str, Callable[[re.Match[str], Sequence[_Sight]], dict[str, Any] | None]], ...
] = (
    (r"how can i (?:cancel|change|set|use) (?:a |the )?(\w+)", _how_do_i),
    (r"how many (\w+)", _how_many),
    (r"colou?r .*(?:wall|house).*?(?:beside|behind|around|by|with) (?:the sign )?(.+)$", _colour),
    (r"(?:follows|comes after|after) (?:the sign )?(.+?)$", _after),
    (r"when .*?(?:is|does) (?:the sign )?(.+?)(?: seen| appear)?$", _when),
    (r"language", _language),
    (r"what (?:is|does .*) (?:said|heard|say aloud)|what .*spoken", _spoken),
    (r"(?:which|what) (?:signs?|places?|words? .*written)|what .* (?:written|read)", _signs),
    (r"what is the (.+?)(?: of .*| in .*| on .*)?$", _written),
)


def _items(sights: Sequence[_Sight]) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    refs: dict[str, list[str]] = {}
    for sight in sights:
        for name, n in sight.fruit.items():
            counts[name] = counts.get(name, 0) + n
            refs.setdefault(name, []).append(sight.ref)
    return [{"name": name, "count": n, "evidence": refs[name]} for name, n in counts.items()]


def _prices(sights: Sequence[_Sight]) -> list[dict[str, Any]]:
    rows = []
    for sight in sights:
        for line in [*sight.signs, *sight.words.splitlines()]:
            found = _PRICE.match(line.strip())
            if found is None:
                continue
            rows.append(
                {
                    "name": found[1].lower(),
                    "price": found[2],
                    "currency": None,
                    "unit": (found[3] or "unknown").lower(),
                    "row_text": line,
                    "evidence": [sight.ref],
                }
            )
    return rows


def _total(
    items: Sequence[Mapping[str, Any]], prices: Sequence[Mapping[str, Any]]
) -> Decimal | None:
    """Add up as a model would, without a word on units or currencies."""
    total = Decimal(0)
    for item in items:
        row = next((p for p in prices if p["name"].rstrip("s") == item["name"]), None)
        if row is None:
            return None
        digits = re.sub(r"[^\d.,]", "", str(row["price"])).replace(",", ".")
        if digits.count(".") > 1:
            return None
        total += item["count"] * Decimal(digits)
    return total if items else None


def _data(sights: Sequence[_Sight], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the fields whose names stand on a line with a colon."""
    fields = schema["properties"]["data"].get("properties") or {}
    data: dict[str, Any] = dict.fromkeys(fields)
    evidence: dict[str, list[str]] = {name: [] for name in fields}
    for sight in sights:
        for line in [*sight.words.splitlines(), *sight.signs]:
            name, colon, value = line.partition(":")
            key = "_".join(name.casefold().split())
            if colon and key in data and data[key] is None and value.strip():
                data[key], evidence[key] = value.strip(), [sight.ref]
    return {"data": data, "evidence": evidence}


def _verdict(text: str, sights: Sequence[_Sight]) -> str:
    """Look at one claim again."""
    claim = text.partition('Somebody says of the material above: "')[2].partition('"\n')[0]
    if not any(s.fruit or s.plates or s.words for s in sights):
        return "not visible"
    if (counted := re.fullmatch(r"(?:There are )?(\d+|no) (\w+)\.?", claim)) is not None:
        answer = _how_many(re.match("(.*)", counted[2]), sights)  # type: ignore[arg-type]
        if answer is None:
            return "not visible"
        said = 0 if counted[1] == "no" else int(counted[1])
        return "supported" if answer["value"] == said else "contradicted"
    signs = [sign for sight in sights for sign in sight.signs]
    for sign in signs:
        if sign in claim:
            wall = next((s.walls[sign] for s in sights if sign in s.walls), "")
            if "wall" in claim and wall not in claim:
                return "contradicted"
            return "supported"
    words = " ".join(sight.words for sight in sights)
    return "supported" if claim.rstrip(".") in words else "contradicted" if signs else "not visible"
