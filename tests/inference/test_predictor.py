"""From a file to a Caption, with the shipped model (what it says of the examples: test_examples.py)."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import captioner
from captioner.cli import main
from captioner.data import inputs
from captioner.data.dataset import ClipDataset, Place
from captioner.data.manifest import Record
from captioner.errors import CaptionerError, ConfigError, VideoError
from captioner.faces import EXPRESSION_NAMES, FaceTrack
from captioner.faces.crops import READ_SIDE
from captioner.inference.background import Failed
from captioner.inference.predictor import Caption, Captioner, pick_device
from captioner.model.captioner import EmotionCaptioner
from captioner.model.checkpoint import Checkpoint
from captioner.model.tokenizer import Tokenizer
from captioner.video.reading import read_clip, write_video
from tests.helpers import CAPTIONS, ROOT, drawn_portrait, tiny_config

EXAMPLE = ROOT / "examples" / "smile.mp4"


@pytest.fixture(scope="module")
def model() -> Captioner:
    return captioner.load(device="cpu")


@pytest.mark.slow
def test_caption_is_complete(model: Captioner) -> None:
    caption = model.caption(EXAMPLE)
    assert sum(caption.emotion.values()) == pytest.approx(1, abs=1e-4)
    assert set(caption.emotion) == set(model.model.config.labels)
    assert len(caption.action_units) == model.model.config.prompts.k
    assert 0 < caption.score <= 1
    assert caption.faces == 1
    assert 0 <= caption.start < caption.end
    for unit in caption.action_units:
        assert 0 <= unit.score <= 1
        assert unit.peak is not None
        assert caption.start <= unit.peak <= caption.end
        assert all(word.lower() in caption.text.lower() for word in unit.words)
    faces = model.caption(EXAMPLE, style="faces")
    assert faces.words == caption.words  # those that the network wrote
    assert "".join(w["word"] for w in faces.words).lower() == "".join(faces.text.lower().split())
    assert json.loads(json.dumps(caption.to_dict()))["text"] == caption.text


@pytest.mark.slow
def test_same_clip_same_words(model: Captioner) -> None:
    assert model.caption(EXAMPLE) == model.caption(EXAMPLE)


@pytest.mark.slow
def test_short_span_and_single_frame(model: Captioner, tmp_path: Path) -> None:
    span = model.caption(EXAMPLE, start=0.5, end=1.0)
    assert 0.4 <= span.start < span.end <= 1.0
    write_video(tmp_path / "one.mp4", np.full((1, 64, 64, 3), 128, np.uint8), 8)
    assert isinstance(model.caption(tmp_path / "one.mp4"), Caption)


@pytest.mark.slow
def test_beams_and_length(model: Captioner) -> None:
    assert len(model.caption(EXAMPLE, max_words=4).words) <= 4
    assert model.caption(EXAMPLE, beams=3).text


def test_no_video(model: Captioner, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("not a video")
    with pytest.raises(VideoError, match=r"x\.mp4"):
        model.caption(tmp_path / "x.mp4")


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(CaptionerError, match="allowed: auto"):
        pick_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(CaptionerError, match="--device cpu"):
            pick_device("cuda")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three clips of drawn faces, of different sizes and lengths."""
    paths = []
    for seed, side in enumerate((96, 112, 128)):
        story, frames = drawn_portrait(seed, side)
        paths.append(tmp_path_factory.mktemp("drawn") / f"{seed}.mp4")
        write_video(paths[-1], (frame.picture for frame in frames), story.fps)
    return paths


@pytest.mark.slow
def test_paths_files_frames_and_lists_say_the_same(model: Captioner, drawn: list[Path]) -> None:
    said = [model.caption(path) for path in drawn]
    together = model.caption([str(path) for path in drawn])
    assert [(c.text, c.source) for c in together] == [(c.text, c.source) for c in said]
    assert model.caption(io.BytesIO(drawn[0].read_bytes())).text == said[0].text
    clip = read_clip(drawn[1], 8)  # everybody is followed through all pictures: of fewer there is less to say
    frames = model.caption(clip.frames, fps=8 / clip.duration)
    assert frames.text and frames.source == "frames"
    assert model.caption(torch.from_numpy(clip.frames), fps=8 / clip.duration).text == frames.text
    assert frames.duration == pytest.approx(said[1].duration)


@pytest.mark.slow
def test_spans_of_frames_and_faulty_frames(model: Captioner) -> None:
    frames = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(32, 1).repeat(48, 2).repeat(3, 3)
    caption = model.caption(frames, fps=10, start=1.0, end=2.0)
    assert caption.frames == [1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.7, 1.9]
    assert caption.duration == 4.0
    assert model.caption(frames[0]).frames == [0.0] * 8
    for wrong in (frames.astype(np.float32), frames[..., :2], frames[:0]):
        with pytest.raises(VideoError, match=r"uint8 \(T, H, W, 3\) is needed"):
            model.caption(wrong)
    with pytest.raises(VideoError, match="need > 0"):
        model.caption(frames, fps=0)


@pytest.mark.slow
def test_batches_change_nothing_and_failures_stay_in_place(model: Captioner, drawn: list[Path], tmp_path: Path) -> None:
    sources = [drawn[0], tmp_path / "gone.mp4", drawn[1], drawn[2], EXAMPLE]
    found = list(model.each(sources, batch=3))
    assert isinstance(found[1], Failed)
    assert "gone.mp4" in str(found[1].error)
    for path, captions in zip(sources, found, strict=True):
        if not isinstance(captions, Failed):
            alone = model.caption(path)
            assert [c.text for c in captions] == [alone.text]
            assert captions[0].score == pytest.approx(alone.score, abs=1e-4)
            assert [link.au for link in captions[0].phrases] == [link.au for link in alone.phrases]


@pytest.mark.slow
def test_a_clip_that_the_model_fails_at_costs_itself(
    model: Captioner, drawn: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    see, bad = EmotionCaptioner.see, inputs.read_inputs(drawn[1], model.config).inputs[0].frames

    def fragile(self: EmotionCaptioner, batch: Any) -> Any:
        if any(torch.equal(frames, bad) for frames in batch.frames):
            raise IndexError("index 7 is out of bounds")
        return see(self, batch)

    texts = [model.caption(path).text for path in drawn]
    monkeypatch.setattr(EmotionCaptioner, "see", fragile)
    found = list(model.each([*drawn, drawn[0]], batch=4))
    assert [isinstance(each, Failed) for each in found] == [False, True, False, False]
    assert str(found[1].error) == "index 7 is out of bounds"  # type: ignore[union-attr]
    assert [each[0].text for each in found if not isinstance(each, Failed)] == [texts[0], texts[2], texts[0]]
    assert [each[0].text for each in model.each(drawn[:1])] == texts[:1]  # type: ignore[index]
    with pytest.raises(IndexError):
        model.caption(drawn[1])


@pytest.mark.slow
def test_windows_go_on_behind_one(model: Captioner, drawn: list[Path], tmp_path: Path) -> None:
    frames = np.concatenate([read_clip(path, 24, short_side=96).frames for path in drawn])
    write_video(tmp_path / "film.mp4", frames, 8)
    whole = list(model.windows(tmp_path / "film.mp4", 2.0))
    for place, caption in enumerate(whole):
        assert list(model.windows(tmp_path / "film.mp4", 2.0, after=caption)) == whole[place + 1 :]


@pytest.mark.slow
def test_the_command_says_what_python_says(
    model: Captioner,
    drawn: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(captioner, "load", lambda *_, **__: model)
    assert main([str(drawn[0]), "-q", "-o", str(tmp_path), "-f", "json"]) == 0
    caption = model.caption(drawn[0])
    assert capsys.readouterr().out == caption.text + "\n"
    record = json.loads((tmp_path / "0.json").read_text())
    known = json.loads(json.dumps(caption.to_dict()))
    assert {key: record[key] for key in known if key in record} == {key: known[key] for key in known if key in record}
    assert record["settings"]["device"] == "cpu"
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(record, json.loads((Path(captioner.__file__).parent / "output" / "schema.json").read_text()))


@pytest.mark.slow
def test_windows_follow_each_other(model: Captioner, drawn: list[Path], tmp_path: Path) -> None:
    frames = [np.concatenate([read_clip(path, 24, short_side=96).frames]) for path in drawn]
    write_video(tmp_path / "film.mp4", np.concatenate(frames), 8)
    captions = list(model.windows(tmp_path / "film.mp4", 2.0))
    assert captions[0].start == 0
    assert captions[-1].end == captions[0].duration == 9.0
    assert [c.end for c in captions[:-1]] == [c.start for c in captions[1:]]
    assert all(c.start <= t <= c.end for c in captions for t in [*c.frames, *(u.peak or 0 for u in c.action_units)])
    assert [c.text for c in model.windows(tmp_path / "film.mp4", 2.0, batch=3)] == [c.text for c in captions]
    whole = list(model.windows(tmp_path / "film.mp4", 2.0, evidence=True))
    assert [c.text for c in whole] == [c.text for c in captions]
    assert all(c.evidence is not None for c in whole)


@pytest.mark.slow
def test_a_generator_of_windows_can_be_left_early(model: Captioner, drawn: list[Path]) -> None:
    walk = model.windows(drawn[0], 0.5)
    assert next(walk).start == 0
    walk.close()


@pytest.mark.slow
def test_evidence_changes_no_word(model: Captioner, drawn: list[Path]) -> None:
    plain, shown = model.caption(drawn[0]), model.caption(drawn[0], evidence=True)
    assert plain == shown
    assert plain.evidence is None
    assert shown.evidence is not None
    assert "evidence" not in shown.to_dict()


@pytest.mark.slow
def test_full_memory_halves_the_batch_once(
    model: Captioner, drawn: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone = [model.caption(path).text for path in drawn]
    sizes, most, see = [], 2, EmotionCaptioner.see

    def crowded(self: EmotionCaptioner, batch: Any) -> Any:
        sizes.append(len(batch.frames))
        if len(batch.frames) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return see(self, batch)

    monkeypatch.setattr(EmotionCaptioner, "see", crowded)
    monkeypatch.setattr(model, "_room", 0)
    found = list(model.each([*drawn, *drawn], batch=3))
    assert [c[0].text for c in found if not isinstance(c, Failed)] == alone * 2
    assert sizes == [3, 2, 1, 2, 1]
    assert caplog.text.count("out of memory: going on with 2 clips at a time") == 1
    most = 0
    with pytest.raises(CaptionerError, match="cpu is out of memory: use --batch 1"):
        model.caption(drawn[0])


def test_options_that_a_model_cannot_meet(model: Captioner) -> None:
    tokenizer = Tokenizer.build(CAPTIONS)
    untrained = EmotionCaptioner(replace(tiny_config(), vocab_size=tokenizer.vocab_size)).eval()
    plain = Captioner(Checkpoint(untrained, tokenizer, None, {}, "plain"))
    with pytest.raises(ConfigError, match="unknown style 'feelings'; this model has one style of captions"):
        plain.caption(EXAMPLE, style="feelings")
    with pytest.raises(ConfigError, match="unknown style 'feeling'; allowed: plain, faces, feelings"):
        model.caption(EXAMPLE, style="feeling")
    with pytest.raises(ConfigError, match="model 'plain' looks at whole pictures, not at faces"):
        plain.people(EXAMPLE)
    with pytest.raises(ConfigError, match="model 'plain' looks at whole pictures, not at faces"):
        Captioner(plain.checkpoint, faces="builtin")
    with pytest.raises(ConfigError, match=r"windows of 0\.1 s are too short: at least 0\.5 s are needed"):
        next(model.windows(EXAMPLE, 0.1))


# -- people: a tiny random model that looks at faces, and faces that are given to it ----------------------------


def face(left: float, frames: int = 4) -> FaceTrack:
    """A face of 40 pixels at `left` of a picture 96 high, as it is where faces are read."""
    marks = np.random.default_rng(0).uniform(0, 40, (68, 2)).astype(np.float32) + np.float32([left, 30])
    marks[36:42], marks[42:48], marks[48:] = [left + 10, 40], [left + 30, 40], [left + 20, 60]
    all_marks = marks[None].repeat(frames, 0) * np.float32(READ_SIDE / 96)
    boxes = np.concatenate([all_marks.min(1), all_marks.max(1)], 1)
    there, values = np.ones(frames, bool), np.zeros((frames, len(EXPRESSION_NAMES)), np.float32)
    return FaceTrack(boxes, all_marks, there, there.astype(np.float32), values)


@pytest.fixture
def onlooker(monkeypatch: pytest.MonkeyPatch) -> Captioner:
    """A captioner that looks at faces; it is told of two."""
    tokenizer = Tokenizer.build(CAPTIONS)
    torch.manual_seed(0)
    config = replace(tiny_config("experts.margin=0.2"), vocab_size=tokenizer.vocab_size)
    model = EmotionCaptioner(config).eval()
    monkeypatch.setattr(inputs, "face_tracks", lambda *_: [face(20), face(120)])
    return Captioner(Checkpoint(model, tokenizer, None, {}, "tiny"))


@pytest.fixture
def couple(tmp_path: Path) -> Path:
    """A wide picture, dark on its left and bright on its right."""
    frames = np.random.default_rng(0).integers(0, 60, (4, 96, 200, 3), dtype=np.uint8)
    frames[:, :, 100:] += 180
    write_video(tmp_path / "couple.mp4", frames, 4)
    return tmp_path / "couple.mp4"


def test_people_have_their_own_captions_and_crops(
    onlooker: Captioner, couple: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = inputs.read_inputs(couple, onlooker.config, people=5)
    left, right = (one.faces.pixels.float().mean() for one in seen.inputs if one.faces is not None)
    assert left < 60 < 150 < right
    captions = onlooker.people(couple, 5)
    assert [(c.person, c.faces) for c in captions] == [(1, 2), (2, 2)]
    assert captions[0].action_units != captions[1].action_units
    assert [c.person for c in onlooker.windows(couple, 5, people=1)] == [1]
    assert onlooker.caption(couple).person == 0
    assert onlooker.caption(couple).faces == 2
    monkeypatch.setattr(inputs, "face_tracks", lambda *_: [])
    alone = onlooker.people(couple, 2)
    assert [(c.person, c.faces, c.action_units) for c in alone] == [(0, 0, [])]


def test_the_encoder_sees_the_centre_square_as_in_training(onlooker: Captioner, couple: Path) -> None:
    record = Record("a", couple, "test", ["A man."])
    trained = ClipDataset([record], onlooker.config, onlooker.tokenizer)[Place(0, 0)]
    assert torch.equal(inputs.read_inputs(couple, onlooker.config).inputs[0].frames, trained.inputs.frames)
    assert trained.inputs.frames.shape == (4, 3, 64, 64)


def test_the_reader_of_faces_can_be_replaced(onlooker: Captioner) -> None:
    other = Captioner(onlooker.checkpoint, faces="mediapipe")
    assert other.config.experts.reader == "mediapipe"
    with pytest.raises(ConfigError, match=r"unknown face reader 'mediapip' \(did you mean 'mediapipe'\?\)"):
        Captioner(onlooker.checkpoint, faces="mediapip")
