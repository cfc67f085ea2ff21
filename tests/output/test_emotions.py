"""`caption --emotions` and `captioner.load_emotion`: beliefs for people, with a tiny recogniser of random weights."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import captioner
from captioner.cli import main
from captioner.emotion import folder
from captioner.emotion.belief import EmotionBelief
from captioner.errors import CheckpointError, ConfigError
from captioner.inference.emotion_reader import EmotionMoment, EmotionReader, named_recogniser
from captioner.output.emotion_page import emotion_page
from captioner.output.emotion_run import as_csv, as_json, as_text, text_line
from captioner.video.reading import write_video
from tests.emotion.test_emotion_clip import emotion_clip
from tests.emotion.test_pe_clip import LABELS, model_of


def moment(person: int = 0, lacking: tuple[str, ...] = ("words",)) -> EmotionMoment:
    labels = ("anger", "joy", "fear", "calm")
    belief = EmotionBelief(labels, torch.tensor([[0.05, 0.7, 0.1, 0.15]]), torch.zeros(1, 2))
    return EmotionMoment("a<b.mp4", 5.0, 10.0, belief, person, 2, ("face", "sound"), lacking)


def test_a_line_tells_the_likeliest_and_what_was_lacking() -> None:
    assert text_line(moment(), False) == "joy .70  calm .15  fear .10  (face, sound; no words)"
    wanted = "0:05.0-0:10.0  person 2  joy .70  calm .15  fear .10  (face, sound)"
    assert text_line(moment(2, ()), True) == wanted and as_text([moment(2, ())], True) == wanted + "\n"


def test_formats_hold_every_label() -> None:
    rows = list(csv.reader(io.StringIO(as_csv([moment(1), moment(2)], True))))
    assert rows[0] == ["file", "start", "end", "person", "faces", "anger", "joy", "fear", "calm"]
    assert rows[2] == ["a<b.mp4", "5.0", "10.0", "2", "2", "0.0500", "0.7000", "0.1000", "0.1500"]
    tree = json.loads(as_json([moment()], False))[0]
    assert tree["kind"] == "single" and tree["lacking"] == ["words"]
    assert next(iter(tree["belief"].items())) == ("joy", pytest.approx(0.7))
    page = emotion_page([moment(1)], True)
    assert "a&lt;b.mp4" in page and "person 1" in page and 'value="0.70"' in page and "<script" not in page


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recogniser") / "pe"
    model = model_of()
    for layer in model.decoder.layers:
        layer.gate.data.fill_(0.5)
    folder.save_recogniser(path, model)
    return path


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", draw.integers(0, 255, (12, 48, 64, 3)).astype(np.uint8), 4)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_windows_are_believed_as_their_spans(recogniser: Path, videos: Path) -> None:
    reader = captioner.load_emotion(recogniser, device="cpu")
    found = list(reader.windows("a.mp4", 1.5))
    assert [(each.start, each.end) for each in found] == [(0.0, 1.5), (1.5, 3.0)]
    for each in found:
        alone = reader.believe("a.mp4", each.start, each.end)
        torch.testing.assert_close(each.belief.probs, alone.probs, atol=1e-6, rtol=0)
    assert reader.labels == tuple(LABELS) and found[0].senses == ("picture",) and found[0].lacking == ()
    whole = reader.moments("a.mp4")[0]
    assert whole.belief.probs.sum() == pytest.approx(1) and whole.end == pytest.approx(3.0)
    with pytest.raises(ConfigError, match="looks at whole pictures: it cannot tell people apart"):
        reader.moments("a.mp4", people=2)
    with pytest.raises(ConfigError, match=r"windows of 0\.1 s are too short"):
        next(reader.windows("a.mp4", 0.1))
    with pytest.raises(ConfigError, match="start 2 and end 1 are no span"):
        reader.believe("a.mp4", 2, 1)


def test_the_command_prints_beliefs_and_writes_files(
    recogniser: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--emotions", "--with", str(recogniser), "-d", "cpu"]
    assert main(["a.mp4", *asked, "-q"]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and line.endswith("(picture)\n") and any(label in line for label in LABELS)
    assert main(["a.mp4", *asked, "-q", "--window", "1.5", "-f", "json"]) == 0
    assert [part["start"] for part in json.loads(capsys.readouterr().out)] == [0.0, 1.5]
    assert main(["a.mp4", "b.mp4", "gone.mp4", *asked, "-o", "out", "-f", "json,csv,txt,html"]) == 1
    said = capsys.readouterr()
    assert "error: no such file: 'gone.mp4'" in said.err and "1 of 3 failed: 'gone.mp4'" in said.err
    assert said.out.startswith("a.mp4\t") and said.out.count("\n") == 2
    names = sorted(path.name for path in (videos / "out").iterdir())
    assert names == [f"{name}.emotions.{suffix}" for name in "ab" for suffix in ("csv", "html", "json", "txt")]
    before = (videos / "out" / "a.emotions.json").stat().st_mtime_ns
    assert main(["a.mp4", *asked, "-o", "out", "-f", "json"]) == 0
    assert "skipped, its files are there" in capsys.readouterr().err
    assert (videos / "out" / "a.emotions.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--with", "pe-clip"], "--with names a recogniser of emotion: it needs --emotions"),
        (["--emotions", "--style", "faces"], "--style is of captions: leave it out with --emotions"),
        (["--emotions", "--model", "x"], "-m/--model is of captions"),
        (["--emotions", "-f", "srt"], "--emotions: unknown format 'srt'"),
        (["--emotions", "-f", "txt,json"], "--emotions prints one format: with -f txt,json give -o DIR"),
        (["--emotions", "--with", "no/such"], "no/such holds no trained recogniser"),
        (["--emotions", "--with", "emotion_clip"], "no emotion_clip is shipped: train one, and give its folder"),
    ],
)
def test_bad_usage_is_one_line(
    videos: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["a.mp4", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_recognisers_are_found_by_name_and_kind(tmp_path: Path) -> None:
    assert named_recogniser("pe-clip") == named_recogniser("pe_clip") == "pe-clip"
    assert named_recogniser(str(tmp_path)) == str(tmp_path)
    with pytest.raises(CheckpointError, match="own has no labels yet: fit a probe first"):
        EmotionReader(emotion_clip(), "own")


def test_models_are_listed_by_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "captioners, for --model:" and "  default" in lines
    at = lines.index("recognisers of emotion, for --emotions --with:")
    assert "  pe-clip (pe_clip)" in lines[at:] and "  default" in lines[:at]
