"""Whatever stands in a file, a list or an argument is read right, or refused in one line: generated inputs.

A few of each in the fast tier, the same every time; `EXAMPLES=20000 pytest tests/test_any_input.py` tries many others.
"""

import json
import math
import os
import tempfile
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import Request

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from captioner import cli
from captioner.config import Config, ModelConfig
from captioner.config_io import apply_override, load_config, read_yaml
from captioner.data.manifest import SPLITS, Record, read_manifest, write_manifest
from captioner.errors import CaptionerError, printable, public_name
from captioner.inference.results import VideoCaptions
from captioner.output.arguments import expand
from captioner.output.destination import output_paths
from captioner.output.writers import SrtWriter, VttWriter, clock
from captioner.sound.subtitles import parse_cues, read_cues
from captioner.video.fetch import Fetched, Refused
from captioner.video.input_limits import KEY, limits
from eval.io import hypotheses, read_entries, references
from tests.output.test_guards import odd
from tests.output.test_writers import caption

ANYTHING = st.text(st.characters(), max_size=12)  # controls, surrogates and all
WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**40, -(10**400), 2**63, 1e308, -0.0])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | ANYTHING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANYTHING, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """An empty folder that is the working one."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        yield Path(name)
        os.chdir(before)


def outcome(read: Callable[[], Any]) -> Any:
    """What reading gives; None where it is refused, which takes a line."""
    try:
        return read()
    except (CaptionerError, ArgumentTypeError) as error:
        said = str(error)
    assert said
    assert "\n" not in said
    return None


@st.composite
def spoilt(draw: st.DrawFn, sound: Callable[[int], dict[str, Any]], odd: st.SearchStrategy[Any] = JSON) -> bytes:
    """JSON lines of which some lack a key, have another value or one more, or are cut off; bytes among them."""
    lines = []
    for number in range(draw(st.integers(0, 3))):
        row = sound(number)
        for _ in range(draw(st.integers(0, 2))):
            name = draw(st.sampled_from(list(row)) | ANYTHING)
            row[name] = draw(odd)
        line = json.dumps(row, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
        lines.append(line[: draw(st.integers(0, len(line)))] if draw(st.integers(0, 5)) == 0 else line)
    between = draw(st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r", b",", b"\x00"]))
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"[", b" "])) + between.join(lines)


# -- manifests ------------------------------------------------------------------------------------------------------


def sound_record(number: int) -> dict[str, Any]:
    return {
        "id": f"v{number}", "video": f"clips/{number}.mp4", "split": "train", "captions": ["A man nods."],
        "emotion": None, "multi_emotion": ["joy"], "au_ids": [4], "group": "film", "fold": 1, "n_frames": 4,
        "fps": 25.0, "extra": {},
    }  # fmt: skip


@given(spoilt(sound_record))
def test_manifests(place: Path, data: bytes) -> None:
    path = place / "manifest.jsonl"
    path.write_bytes(data)
    outcome(lambda: read_manifest(path, labels=("joy", "anger")))  # no video of it is there
    records = outcome(lambda: read_manifest(path, check_files=False))
    if records is None:
        return
    assert all(each.split in SPLITS and math.isfinite(float(each.fps)) for each in records)
    write_manifest(place / "again.jsonl", records)
    assert read_manifest(place / "again.jsonl", check_files=False) == records


@given(st.lists(st.builds(Record, id=WORDS, video=st.just(Path("/a.mp4")), split=st.sampled_from(SPLITS), captions=st.lists(WORDS, min_size=1).map(tuple), group=WORDS), min_size=1, max_size=3))  # fmt: skip # noqa: E501
def test_records_that_are_written_are_read(place: Path, records: list[Record]) -> None:
    assume(len({each.id for each in records}) == len(records))
    assume(all(each.id.strip() and "\0" not in each.id and all(map(str.strip, each.captions)) for each in records))
    write_manifest(place / "m.jsonl", records)
    found = read_manifest(place / "m.jsonl", check_files=False)
    assert [(each.id, each.group) for each in found] == [(each.id, each.group) for each in records]
    assert [each.captions for each in found] == [
        tuple(" ".join(text.split()) for text in each.captions) for each in records
    ]


# -- lists, names and addresses -------------------------------------------------------------------------------------


@given(st.binary(max_size=40) | st.lists(ANYTHING, max_size=4).map(lambda all_: "\n".join(all_).encode("utf-8", "surrogatepass")))  # fmt: skip # noqa: E501
def test_lists(place: Path, data: bytes) -> None:
    assume(not any(mark in data for mark in (b"/", b"..", b"~")))  # nothing of the machine
    (place / "list.txt").write_bytes(data)
    inputs = outcome(lambda: expand(["@list.txt"]))
    for source, target in (outcome(lambda: output_paths(inputs, Path("out"))) or {}).items() if inputs else ():
        assert not odd(printable(source))
        assert target.parent == Path("out")


SECRET = st.text(st.sampled_from("S3CRET%=&+:;,.~!"), min_size=6).map(lambda text: f"k{text}k")


@given(
    st.sampled_from(["http", "https", "HTTP", "HttpS", "rtsp", "ftp", "s3"]), SECRET, SECRET,
    st.sampled_from(["host", "host:8080", "[::1]", "[::1", "1.2.3.4", ""]), st.text("ab/.é", max_size=5),
)  # fmt: skip
def test_no_secret_of_an_address_is_told(scheme: str, user: str, query: str, host: str, path: str) -> None:
    address = f"{scheme}://{user}@{host}/{path}?{query}"
    told = [public_name(address)]
    for each in outcome(lambda: expand([address])) or ():
        told += [each.source, each.fault, str(each.target)]
        assert each.fault or (each.address == address) == (scheme.lower() in ("http", "https"))
    assert not any(secret in line for line in told for secret in (user, query))


class _Taken(Fetched):
    """A playlist whose pieces are noted, not fetched."""

    def __init__(self, text: str) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115
        self.file.write(text.encode("utf-8", "replace"))
        self.taken: list[str] = []

    def _append(self, address: str, guard: Any) -> str:
        self.taken.append(address)
        return address


LINKS = st.sampled_from([
    "a.ts", "/b/c.ts?x=1", "../../d", "file:///etc/hostname", "http://evil/a", "//evil/a", "https://host:8/a",
    "http:a", "http://host:8@evil/", "http://host:8#@evil/", "concat:a|b", "data:text/plain,a", "http://[::1",
    "http://host:8/ok", "\\\\evil", "HTTP://host:8/b", "http://HOST:8/c",
])  # fmt: skip
MARKS = st.sampled_from([
    "#EXTINF:1,", "#EXT-X-STREAM-INF:BANDWIDTH=1", '#EXT-X-MAP:URI="init"', '#EXT-X-MAP:URI="file:///etc/x"',
    '#EXT-X-KEY:METHOD=AES-128,URI="k"', "#EXT-X-KEY:METHOD=NONE", "#", "",
])  # fmt: skip


@given(st.lists(LINKS | MARKS | ANYTHING, max_size=6))
def test_playlists_stay_on_their_host(lines: list[str]) -> None:
    kept = _Taken("\n".join(["#EXTM3U", *lines]))
    try:
        kept._join("http://host:8/live/list.m3u8", SimpleNamespace())  # type: ignore[arg-type]
    except (Refused, ValueError):
        pass
    finally:
        kept.file.close()
    assert all(Request(each).host == "host:8" and each.startswith("http://host:8") for each in kept.taken)


# -- times and subtitles --------------------------------------------------------------------------------------------


@given(ANYTHING | NUMBERS.map(str) | st.text("0123456789.-+e_naif \u0663\uff11"))
def test_numbers_of_the_command(text: str) -> None:
    seconds = outcome(lambda: cli._seconds(text))
    assert seconds is None or (0 <= seconds < math.inf and seconds == float(text))
    count = outcome(lambda: cli._positive(text))
    assert count is None or (count >= 1 and count == int(text))
    port = outcome(lambda: cli._port(text))
    assert port is None or 0 <= port < 65536


@given(ANYTHING, st.sampled_from(["pixels", "hours", "stdin_mb"]), ANYTHING | NUMBERS.map(str))
def test_limits_of_the_environment(name: str, known: str, value: str) -> None:
    for key in (name, known):
        with pytest.MonkeyPatch.context() as patch:
            text = f"{key}={value}".replace("\0", " ").encode("utf-8", "replace").decode()
            patch.setenv(KEY, text)
            found = outcome(limits)
        assert found is None or all(0 < number < math.inf for number in vars(found).values())


@given(st.floats(0, 10**6), st.floats(0, 10**5), st.lists(WORDS, min_size=1, max_size=3))
def test_subtitles_that_are_written_are_read(start: float, length: float, texts: list[str]) -> None:
    """One cue for a caption, at its time, whatever it says."""
    assume(all(any(letter.isalnum() for letter in text) for text in texts))
    said = []
    for number, text in enumerate(texts):
        said.append(caption(text))
        said[-1].start, said[-1].end = start + number * (length + 1), start + number * (length + 1) + length
    for writer in (SrtWriter(), VttWriter()):
        cues = list(parse_cues(writer.render(VideoCaptions("a.mp4", said, True), {})))
        assert len(cues) == len(said)
        for cue, each in zip(cues, said, strict=True):
            assert abs(cue.start - each.start) < 1e-3
            assert abs(cue.end - max(each.end, each.start + 0.5)) < 1e-3
    minutes = clock(start).split(":")
    assert abs(sum(float(part) * 60**place for place, part in enumerate(minutes[::-1])) - start) < 0.051


STAMP = st.sampled_from(["00:00:01,000", "1:2.3", "99999:59:59.999", "00:61:99,9", "9" * 5000 + ":00:01.0", "-1:00", "1e9", "\u0661:\u0662.\u0663", "00:00:02.5"])  # fmt: skip # noqa: E501
LINE = st.builds("{} --> {}{}".format, STAMP, STAMP, ANYTHING) | ANYTHING | st.sampled_from(["WEBVTT", "1", "", "<b>hi", "{\\an8}x"])  # fmt: skip # noqa: E501


@given(st.lists(LINE, max_size=8), st.sampled_from(["utf-8", "utf-16", "latin-1", "gb18030"]), st.binary(max_size=6))
def test_subtitle_files(place: Path, lines: list[str], encoding: str, tail: bytes) -> None:
    path = place / "a.srt"
    path.write_bytes("\n".join(lines).encode(encoding, "replace") + tail)
    cues = outcome(lambda: read_cues(path)) or []
    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
    for cue in cues:
        assert 0 <= cue.start < cue.end < math.inf
        assert cue.text == " ".join(cue.text.split()) != ""


# -- score files ----------------------------------------------------------------------------------------------------


def sound_score(number: int) -> dict[str, Any]:
    return {"id": f"v{number}", "captions": ["a man smiles", "he nods"], "emotion": {"joy": 0.5}, "split": "test"}


@given(spoilt(sound_score), st.sampled_from(["a.json", "a.jsonl", "a.txt"]))
def test_score_files(place: Path, data: bytes, name: str) -> None:
    (place / name).write_bytes(data)
    entries = outcome(lambda: read_entries(place / name))
    if entries is None:
        return
    assert all(isinstance(text, str) for entry in entries.values() for text in entry.captions)
    assert sum(map(len, references(entries).values())) == sum(len(entry.captions) for entry in entries.values())
    single = outcome(lambda: hypotheses(entries))
    assert single is None or single.keys() == entries.keys()


@given(st.recursive(JSON, lambda inner: st.dictionaries(st.sampled_from(["annotations", "id", "captions", "caption", "v1", "image_id"]), inner)))  # fmt: skip # noqa: E501
def test_score_files_of_any_shape(place: Path, whole: Any) -> None:
    (place / "b.json").write_text(json.dumps(whole))
    entries = outcome(lambda: read_entries(place / "b.json"))
    assert entries is None or all(isinstance(each, str) for entry in entries.values() for each in entry.captions)


# -- configurations -------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(["model.fusion.layers", "model.labels", "train.lr", "train.out", "data", "model.video", "a.b", "decode.beams", "model.fusion.dropout"])  # fmt: skip # noqa: E501
ODD_YAML = (
    "2020-13-45", "0b_", "0x_", "1:99", "!!int x", "!!python/object:os.system {}", "[" * 5000, "&a [*a]", "{[]: 1}",
    "? ", "1e999", "%", "[" * 90 + "]" * 90, "9" * 5000,
)  # fmt: skip
VALUES = ANYTHING | NUMBERS.map(str) | JSON.map(lambda value: json.dumps(value)) | st.sampled_from(ODD_YAML)


@given(st.lists(st.tuples(KEYS | ANYTHING, VALUES), max_size=3))
def test_overrides(pairs: list[tuple[str, str]]) -> None:
    overrides = [f"{key}={value}" for key, value in pairs]
    outcome(lambda: load_config(Config, None, overrides))
    outcome(lambda: load_config(ModelConfig, None, [each.removeprefix("model.") for each in overrides]))
    outcome(lambda: [apply_override({}, each) for each in overrides])


@given(st.lists(st.tuples(KEYS | ANYTHING, VALUES), max_size=3).map(lambda pairs: "\n".join(f"{k}: {v}" for k, v in pairs)) | ANYTHING)  # fmt: skip # noqa: E501
def test_yaml_files(place: Path, text: str) -> None:
    (place / "a.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    tree = outcome(lambda: read_yaml(place / "a.yaml"))
    assert tree is None or isinstance(tree, dict)
    outcome(lambda: load_config(Config, place / "a.yaml"))
