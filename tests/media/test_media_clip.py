"""Frames at exact times, cuts, sound, parts of clips, subtitles; broken and hostile files."""

from __future__ import annotations

import io
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image

from showtell.errors import (
    InputError,
    MediaError,
    MediaFormatError,
    MediaLimitError,
    MediaNotFoundError,
)
from showtell.media import Clip, Limits, find_cuts, frames_at, probe
from showtell.media.clip import clip_time, parse_time
from showtell.media.cutting import cut_clip, cut_sound, read_sound
from showtell.media.frames import frame_times, scene_times
from showtell.media.subtitles import read_subtitles, subtitles_beside
from showtell.testing.world import WALLS, draw_street, hear, speak, write_clip

av = pytest.importorskip("av", reason="needs the extra video")


def flat(n, size=(64, 48)):
    """A picture whose grey value says its number."""
    return Image.new("RGB", size, (10 * n, 10 * n, 10 * n))


def number(picture):
    return round(float(np.asarray(picture).mean()) / 10)


@pytest.fixture(scope="module")
def counting():
    """Two seconds, ten pictures a second, numbered."""
    return write_clip([flat(n) for n in range(20)], rate=10)


def test_the_frame_of_a_time_is_the_one_shown_then(counting):
    frames = list(frames_at(counting, [0.0, 0.35, 0.99, 1.5, 1.95]))
    assert [number(f.picture) for f in frames] == [0, 3, 9, 15, 19]
    assert [round(f.time, 3) for f in frames] == [0.0, 0.3, 0.9, 1.5, 1.9]


def test_times_of_a_varying_rate_are_the_files_own():
    times = [0.0, 0.1, 0.2, 1.2, 2.2, 2.25]
    clip = write_clip([flat(n) for n in range(6)], times=times)
    frames = list(frames_at(clip, [0.15, 1.1, 1.9, 2.21]))
    assert [number(f.picture) for f in frames] == [1, 2, 3, 4]


def test_no_frame_before_the_start_is_ever_given(counting):
    for start in (0.05, 0.31, 0.77, 1.43):
        clip = Clip(counting, start=start, end=1.8)
        got = list(frames_at(clip, frame_times(start, 1.8, 7)))
        assert all(start - 0.01 <= f.time <= 1.8 for f in got), start


@given(start=some.floats(0, 1.7), n=some.integers(1, 9))
def test_frames_come_in_order_and_once(counting, start, n):
    clip = Clip(counting, start=start)
    times = [f.time for f in frames_at(clip, frame_times(start, 2.0, n))]
    assert times == sorted(set(times))


def test_a_phones_portrait_clip_is_upright(counting):
    turned = io.BytesIO()
    picture = Image.new("RGB", (64, 48), "blue")
    picture.paste(Image.new("RGB", (64, 12), "red"), (0, 0))  # red on top of what is stored
    with av.open(turned, "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=5)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for i in range(5):
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = i, Fraction(1, 5)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    stored = turned.getvalue()
    place = stored.rindex(b"tkhd") + 4 + 40  # the matrix: a quarter turn clockwise
    fixed = [0, 1 << 16, 0, (1 << 32) - (1 << 16), 0, 0, 48 << 16, 0, 1 << 30]
    matrix = b"".join(value.to_bytes(4, "big") for value in fixed)
    turned_file = stored[:place] + matrix + stored[place + 36 :]
    info = probe(turned_file)
    [frame] = frames_at(turned_file, [0.1])
    assert (info.width, info.height) == frame.picture.size == (48, 64)
    right = np.asarray(frame.picture)[:, -4:].mean((0, 1))
    assert right[0] > 150 > right[2]  # what was on top is now on the right


def test_scene_times_show_every_shot_first():
    assert scene_times(0, 10, [4], 2) == [2.0, 7.0]
    assert scene_times(0, 10, [1, 2, 3], 2) == [0.5, 6.5]
    assert scene_times(0, 10, [4], 4) == [2.0, 2.5, 7.0, 7.5]


def test_centres_of_equal_parts():
    assert frame_times(0, 10, 5) == [1, 3, 5, 7, 9]
    assert frame_times(120, 330, 3) == [155.0, 225.0, 295.0]


def test_cuts_between_streets_are_found_and_a_moving_camera_is_none():
    rng = random.Random(0)
    pictures, cuts = [], []
    for shot in range(9):
        wall = list(WALLS)[shot % len(WALLS)]
        for i in range(rng.randint(6, 14)):
            pictures.append(draw_street(wall, "CAFE", moved=2 * i, size=(320, 180)))
        cuts.append(len(pictures) / 10)
    found = find_cuts(write_clip(pictures, rate=10))
    assert [round(t, 2) for t in found] == [round(t, 2) for t in cuts[:-1]]


def test_sound_is_heard_through_a_lossy_codec():
    said = "BONJOUR, NOUS VISITONS LE VILLAGE"
    clip = write_clip([flat(1)] * 40, sound=speak(said))
    assert hear(read_sound(clip)) == said


def test_sound_of_a_part_is_of_that_part():
    sound = np.concatenate([speak("AAAA"), np.zeros(16000, np.int16), speak("BBBB")])
    clip = write_clip([flat(1)] * 30, sound=sound)
    middle = len(speak("AAAA")) / 16000 + 0.5
    assert hear(read_sound(Clip(clip, end=middle))) == "AAAA"
    assert hear(read_sound(Clip(clip, start=middle))) == "BBBB"
    assert read_sound(Clip(clip, start=0.5, end=1.5)).shape == (16000,)


def test_sound_alone_goes_out_as_wav_without_metadata():
    wav = cut_sound(write_clip([flat(1)] * 10, sound=speak("HOLA")))
    assert wav[:4] == b"RIFF"
    assert hear(read_sound(wav)) == "HOLA"
    assert not probe(wav).has_video


def test_a_part_is_cut_exactly_and_its_clock_begins_at_zero(counting):
    part = cut_clip(Clip(counting, start=0.8, end=1.6), rate=10)
    info = probe(part)
    assert 0.75 <= info.seconds <= 0.9
    shown = [number(f.picture) for f in frames_at(part, frame_times(0, info.seconds, 8))]
    assert shown[0] == 8
    assert all(8 <= n <= 16 for n in shown)


def test_a_silent_clip_has_no_sound(counting):
    assert read_sound(counting).size == 0
    with pytest.raises(MediaFormatError, match="no sound"):
        cut_sound(counting)


def test_times_are_read_as_people_write_them():
    assert [parse_time(t) for t in ("90", "1:30", "1:02:03.5", 7)] == [90, 90, 3723.5, 7]
    for wrong in ("", "abc", "-1", "1:99", "1:2:3:4", -1, float("nan"), float("inf"), "\u0663"):
        with pytest.raises(InputError, match="A time is"):
            parse_time(wrong)


@given(some.floats(0, 359_999))
def test_a_time_that_is_written_is_read_again_to_a_tenth(seconds):
    assert abs(parse_time(clip_time(seconds)) - seconds) <= 0.0501


def test_a_clip_may_name_its_part_in_its_path():
    assert Clip("a.mp4#2:00-5:30") == Clip("a.mp4", start=120, end=330)
    assert Clip("a.mp4#10-") == Clip("a.mp4", start=10)
    assert Clip("a#b.mp4").source == "a#b.mp4"
    with pytest.raises(InputError, match="ends after it begins"):
        Clip("a.mp4", start=5, end=5)
    with pytest.raises(InputError, match="says already which part"):
        Clip("a.mp4#1-2", start=1)


def test_a_part_beyond_the_end_says_how_long_the_clip_is(counting):
    with pytest.raises(MediaLimitError, match=r"recording ends at 0:02\.0"):
        probe(Clip(counting, start=5))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
        b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
    ],
)
def test_playlists_and_rubbish_are_no_clips_and_fetch_nothing(content, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(MediaFormatError, match="no video or sound that can be read"):
            probe(source)


def test_a_playlist_opens_no_file_that_it_names(tmp_path, counting):
    (tmp_path / "real.mp4").write_bytes(counting)
    for name, text in {
        "a.m3u8": f"#EXTM3U\n#EXTINF:2,\n{tmp_path}/real.mp4\n#EXT-X-ENDLIST\n",
        "b.ffconcat": "ffconcat version 1.0\nfile 'real.mp4'\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(MediaFormatError):
            probe(tmp_path / name)


def test_missing_files_folders_and_huge_frames_are_said(tmp_path, counting):
    with pytest.raises(MediaNotFoundError, match="no such file"):
        probe(tmp_path / "none.mp4")
    with pytest.raises(MediaFormatError, match="a folder, not a video"):
        probe(tmp_path)
    with pytest.raises(MediaLimitError, match=r"Limits\.max_pixels"):
        list(frames_at(counting, [0], limits=Limits(max_pixels=100)))
    with pytest.raises(MediaLimitError, match=r"Limits\.max_seconds"):
        find_cuts(counting, limits=Limits(max_seconds=1))


def test_spoiled_clips_are_one_kind_of_error_or_fewer_frames():
    good = write_clip([flat(n % 20) for n in range(30)], sound=speak("HELLO"))
    rng, reasons = random.Random(7), set()
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.randint(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        spoiled = bytes(data[: rng.randint(1, len(data))] if rng.random() < 0.3 else data)
        try:
            list(frames_at(spoiled, frame_times(0, 3, 3)))
            read_sound(spoiled)
            find_cuts(spoiled)
        except MediaError as error:
            reasons.add(str(error))
    assert reasons
    assert not any("\n" in reason for reason in reasons)


def test_subtitles_are_found_beside_a_clip_and_read(tmp_path):
    (tmp_path / "trip.mp4").write_bytes(b"")
    (tmp_path / "trip2.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nno\n")
    assert subtitles_beside(tmp_path / "trip.mp4") is None
    path = tmp_path / "trip.en.srt"
    path.write_text(
        "1\n00:00:01,000 --> 00:00:02,500\n<i>Good</i> morning\n\n"
        "2\n00:00:03,000 --> 00:00:04,000\nto all\n"
    )
    assert subtitles_beside(tmp_path / "trip.mp4") == path
    lines = read_subtitles(path)
    assert [(line.start, line.end, line.text) for line in lines] == [
        (1.0, 2.5, "Good morning"),
        (3.0, 4.0, "to all"),
    ]
    assert str(lines[0]) == "[0:01.0-0:02.5] Good morning"


def test_what_is_no_subtitles_says_so(tmp_path):
    path = tmp_path / "a.srt"
    path.write_text("nothing of the kind")
    with pytest.raises(MediaFormatError, match="no subtitles"):
        read_subtitles(path)


def test_subtitles_inside_a_video_are_read(tmp_path):
    path = tmp_path / "with.mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=5)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        words = out.add_stream("subrip")
        words.codec_context.subtitle_header = (
            b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
            b"Style: Default,Arial,16\n\n[Events]\n"
            b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        )
        for i in range(10):
            frame = av.VideoFrame.from_image(flat(i))
            frame.pts, frame.time_base = i, Fraction(1, 5)
            out.mux(video.encode(frame))
        packet = av.Packet(b"<i>Good</i> morning")
        packet.stream, packet.time_base = words, Fraction(1, 1000)
        packet.pts = packet.dts = 500
        packet.duration = 800
        out.mux(packet)
        out.mux(video.encode(None))
    [line] = read_subtitles(path)
    assert (line.start, line.end, line.text) == (0.5, 1.3, "Good morning")
    assert probe(path).subtitles == ("und",)


def test_a_video_without_subtitles_has_none(tmp_path):
    path = tmp_path / "plain.mp4"
    path.write_bytes(write_clip([flat(1)] * 5))
    assert read_subtitles(path) == ()


@pytest.mark.data
def test_the_shots_of_a_real_slide_show_are_told_apart(repository):
    path = repository.parent / "shared" / "media" / "video" / "rome_jfk_11s.mp4"
    if not path.is_file():
        pytest.skip("the shared media are not there")
    assert [round(t, 2) for t in find_cuts(path)] == list(range(1, 11))
    info = probe(path)
    assert (info.seconds, info.width, info.has_sound) == (11.0, 426, True)


@pytest.mark.parametrize("start", [0.0, 5.0])
def test_a_recording_without_an_index_gives_the_frames_of_its_times(start, tmp_path):
    path = tmp_path / "walk.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 100  # one key frame only
        for n in range(20):
            frame = av.VideoFrame.from_image(flat(n)).reformat(format="yuv420p")
            frame.pts, frame.time_base = n + round(10 * start), Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    begins = probe(path).start
    frames = list(frames_at(path, [begins + 0.55, begins + 1.55]))
    assert [number(frame.picture) for frame in frames] == [5, 15]
    [late] = frames_at(Clip(path, start=begins + 1.2), [begins + 1.25])
    assert number(late.picture) == 12
