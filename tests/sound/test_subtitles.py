"""What is said: transcripts, subtitle files in any encoding, text inside the video."""

from pathlib import Path

import av
import pytest

from captioner.errors import VideoError
from captioner.sound.subtitles import Cue, find_cues, parse_cues, read_cues, read_words, words_between
from tests.sound.voices import film

SRT = """1
00:00:00,500 --> 00:00:01,500
<i>Where</i> are you &amp; who?

2
00:00:01,000 --> 00:00:01,900
{\\an8}Here I am.
And here.

3
00:00:05,000 --> 00:00:05,000
nobody sees this
"""
VTT = """WEBVTT - a title

NOTE not said

first
00:00.500 --> 00:01.500 align:start position:0%
<v Anna>Where are you &amp; who?</v>

01:00:01.000 --> 01:00:02.000
Later.
"""


def test_both_kinds_of_files() -> None:
    assert [(c.start, c.end, c.text) for c in parse_cues(SRT)] == [
        (0.5, 1.5, "Where are you & who?"), (1.0, 1.9, "Here I am. And here."),
    ]  # fmt: skip
    assert [(c.start, c.text) for c in parse_cues(VTT)] == [(0.5, "Where are you & who?"), (3601.0, "Later.")]


LATIN = "où est-elle, ça va très bien"


@pytest.mark.parametrize(
    ("encoding", "said"),
    [*((name, LATIN) for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1")),
     ("cp1252", "it\u2019s \u201cgood\u201d, naïve"), ("cp1251", "мне очень грустно сегодня"), ("utf-8", "мне грустно"),
     ("gb18030", "你好我很高兴"), ("gb18030", "OK 你好"), ("utf-16-le", "你好我很高兴")],
)  # fmt: skip
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, said: str) -> None:
    path = tmp_path / "a.srt"
    path.write_bytes(f"1\r\n00:00:00,000 --> 00:00:01,000\r\n{said}\r\n".encode(encoding))
    assert read_cues(path)[0].text == said and read_cues(path)[0].end == 1.0


def test_windows_take_what_is_said_in_them() -> None:
    cues = [Cue(0, 2, "one"), Cue(1.5, 4, "two"), Cue(3, 3.2, "three"), Cue(0, 9, "always"), Cue(3, 9, "always")]
    assert words_between(cues, 0, 2) == "one always"
    assert words_between(cues, 2, 4) == "always two three"
    assert words_between(cues, 9, 12) == ""
    assert words_between(cues, 0, None) == "one always two three"


def test_transcript_then_file_then_nothing(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4", None, seconds=0.5)
    assert read_words(video) == ""
    (tmp_path / "a.srt").write_text(SRT, encoding="utf-8")
    assert read_words(video, 0, 3) == "Where are you & who? Here I am. And here."
    assert read_words(video, 4, 6) == ""
    assert read_words(video, 0, 3, transcript=" As it\n was said ") == "As it was said"


def test_text_inside_the_video(tmp_path: Path) -> None:
    (tmp_path / "t.srt").write_text(SRT, encoding="utf-8")
    with av.open(str(tmp_path / "t.srt")) as given, av.open(str(tmp_path / "a.mkv"), "w") as made:
        stream = made.add_stream_from_template(given.streams.subtitles[0])
        for packet in given.demux(given.streams.subtitles[0]):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    cues = find_cues(tmp_path / "a.mkv")
    assert [cue.text for cue in cues][:2] == ["Where are you & who?", "Here I am. And here."]
    assert cues[0].start == pytest.approx(0.5) and cues[0].end == pytest.approx(1.5)


def test_what_is_no_subtitle_file_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_bytes(b"just words")
    with pytest.raises(VideoError, match="holds no subtitles"):
        read_cues(path)
    path.write_bytes(b"")
    assert read_cues(path) == []
    with pytest.raises(VideoError, match="cannot be read"):
        read_cues(tmp_path / "b.srt")
