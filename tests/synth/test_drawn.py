"""The drawn face: action units show, clips are reproducible, captions are true."""

import json
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from captioner.errors import ConfigError
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.lexicon.phrases import PHRASES, find_phrases, phrases_of
from captioner.synth import clips as clips_module
from captioner.synth.captions import FEELINGS, captions
from captioner.synth.drawn.stills import (
    DRAWN_AUS,
    Scene,
    State,
    draw,
    make_clips,
    render,
    sample_face,
    sample_scene,
    sample_still,
)
from captioner.synth.scenario import ACTIONS, CONFLICTS, SALIENT, SUBTLE

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_drawn.py"

# Where on a frontal face an action unit must show, as rows of the picture (shares of its height).
UPPER, LOWER = (0.25, 0.62), (0.45, 0.95)
REGIONS = {au: UPPER if au in (1, 2, 4, 5, 6, 7, 9) else LOWER for au in DRAWN_AUS}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(np.random.default_rng(seed)) for seed in range(400)]


def records(manifest: Path) -> list[dict]:
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


def decoded(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("au", DRAWN_AUS)
def test_each_action_unit_shows_at_96_pixels(au: int) -> None:
    top, bottom = (round(96 * edge) for edge in REGIONS[au])
    for seed in range(6):
        face = sample_face(np.random.default_rng(seed))
        rest, weak, strong = (
            draw(face, State({au: value}), 96).astype(float) for value in (0.0, 0.15, SALIENT)
        )
        changed = np.abs(strong - rest).max(axis=2) > 25
        assert changed[top:bottom].sum() >= 12, f"AU {au} of face {seed} changes too little"
        assert changed[: round(0.12 * 96)].sum() == 0, "the background stays"
        assert np.abs(weak - rest).sum() < np.abs(strong - rest).sum()


def test_action_units_differ_from_each_other() -> None:
    face = sample_face(np.random.default_rng(3))
    pictures = [draw(face, State({au: 0.8}), 96).astype(float) for au in DRAWN_AUS]
    for i, first in enumerate(pictures):
        for second in pictures[i + 1 :]:
            assert (np.abs(first - second).max(axis=2) > 25).sum() >= 10


@pytest.mark.parametrize(
    "change",
    [{"yaw": 20.0}, {"pitch": 12.0}, {"roll": 12.0}, {"scale": 1.2}, {"x": 0.05}, {"gaze": (0.9, 0.0)},
     {"gaze": (0.0, 0.9)}, {"blink": 1.0}, {"speech": 1.0}],
)  # fmt: skip
def test_pose_and_actions_show(change: dict) -> None:
    face = sample_face(np.random.default_rng(1))
    moved, rest = draw(face, State(**change), 96), draw(face, State(), 96)
    assert (np.abs(moved.astype(int) - rest).max(axis=2) > 25).sum() >= 12


def test_a_turn_to_the_right_moves_the_nose_to_the_viewers_right() -> None:
    face = sample_face(np.random.default_rng(1))
    right, left = (draw(face, State(yaw=yaw), 96).astype(float) for yaw in (25.0, -25.0))
    columns = np.arange(96)
    dark = [(255 - picture[35:60].mean(axis=2)) ** 4 for picture in (right, left)]
    centres = [(weight.sum(axis=0) * columns).sum() / weight.sum() for weight in dark]
    assert centres[0] > centres[1] + 1


def test_stills_are_labelled_and_vary() -> None:
    rng = np.random.default_rng(0)
    stills = [sample_still(rng, 64) for _ in range(60)]
    assert all(still.image.shape == (64, 64, 3) and still.image.dtype == np.uint8 for still in stills)
    assert all(tuple(still.au) == DRAWN_AUS and still.emotion in MAFW_LABELS for still in stills)
    values = np.array([list(still.au.values()) for still in stills])
    assert values.min() >= 0
    assert values.max() <= 1
    assert ((values > 0) & (values <= SUBTLE)).any()
    assert (values >= SALIENT).any()
    assert len({still.image.tobytes() for still in stills}) == 60


def test_a_seed_gives_the_same_scene_and_frames() -> None:
    first, second = (sample_scene(np.random.default_rng(7)) for _ in range(2))
    assert first == second
    assert np.array_equal(render(first, 64), render(second, 64))
    assert captions(first, np.random.default_rng(1)) == captions(second, np.random.default_rng(1))


def test_scenes_are_unambiguous(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert 12 <= len(scene.states) <= 20
        facial = [name for name in scene.phrases if name != "closed_eyes"]
        assert set(facial) == set(phrases_of(scene.peaks))
        assert ("closed_eyes" in scene.phrases) == ("closes_eyes" in scene.actions)
        pairs = {frozenset((a, b)) for a in scene.phrases for b in scene.phrases if a != b}
        assert not pairs & CONFLICTS
        peaks = {au: max(state.aus.get(au, 0.0) for state in scene.states) for au in DRAWN_AUS}
        for au, peak in peaks.items():
            assert (peak >= 0.9 * SALIENT) if au in scene.peaks else (peak <= SUBTLE)
        if "talks" in scene.actions:
            assert not {18, 24, 25, 26, 27} & set(scene.peaks)


def test_every_phrase_and_action_happens(scenes: list[Scene]) -> None:
    drawn = {name for name, phrase in PHRASES.items() if not phrase.aus or set(phrase.aus) & set(DRAWN_AUS)}
    assert {name for scene in scenes for name in scene.phrases} == drawn
    assert {action for scene in scenes for action in scene.actions} == set(ACTIONS)
    assert any(not scene.phrases for scene in scenes)


def test_actions_show_in_eight_frames(scenes: list[Scene]) -> None:
    for scene in scenes:
        states = [scene.states[i] for i in np.linspace(0, len(scene.states) - 1, 8).round().astype(int)]
        yaw, pitch, roll, scale = (
            np.array([getattr(state, name) for state in states]) for name in ("yaw", "pitch", "roll", "scale")
        )
        if "nods" in scene.actions:
            assert np.ptp(pitch) > 18
            assert np.sum(np.abs(np.diff(np.sign(pitch - np.median(pitch)))) > 0) >= 2
        if "shakes_head" in scene.actions:
            assert np.ptp(yaw) > 22
        if "turns_right" in scene.actions:
            assert yaw[-1] - yaw[0] > 18
        if "turns_left" in scene.actions:
            assert yaw[0] - yaw[-1] > 18
        if "tilts_head" in scene.actions:
            assert abs(roll[-1] - roll[0]) > 10
        if "leans_in" in scene.actions:
            assert scale[-1] > 1.15 * scale[0]
        if "talks" in scene.actions:
            assert np.ptp([state.speech for state in states]) > 0.4


def test_captions_are_true_complete_and_name_no_emotion(scenes: list[Scene]) -> None:
    forbidden = set(MAFW_LABELS) | {word for words in FEELINGS.values() for word in words}
    forbidden |= {
        "fearful",
        "anger",
        "disgusting",
        "joy",
        "sorrow",
        "sadly",
        "happily",
        "hopeless",
        "upset",
        "nervous",
    }
    for seed, scene in enumerate(scenes):
        for text in captions(scene, np.random.default_rng(seed), n=3):
            assert len(text.split()) <= 40
            assert not forbidden & set(re.findall(r"[a-z]+", text.lower())), text
            named = [found.name for found in find_phrases(text)]
            assert set(named) == set(scene.phrases), text
            assert f" {scene.face.gender} " in text or f" {scene.face.gender}" in text
            assert text[0] == "A"
            assert text[-1] == "."
            if " hair" in text:
                assert f"{scene.face.hair_name} hair" in text
                assert scene.face.hair != "bald"


def test_captions_in_the_manner_of_feelings(scenes: list[Scene]) -> None:
    for scene in scenes[:60]:
        for text in captions(scene, np.random.default_rng(0), n=2, style="feelings"):
            assert any(word in text.split() for word in FEELINGS[scene.emotion])
            assert text == text.lower()
    with pytest.raises(ConfigError, match=r"unknown caption style 'mafv'.*did you mean 'mafw'"):
        captions(scenes[0], np.random.default_rng(0), style="mafv")


def test_clips_do_not_depend_on_workers_and_splits_share_no_face(tmp_path: Path) -> None:
    one = make_clips(tmp_path / "one", 12, seed=3, size=48, workers=1, val=0.25, test=0.25)
    two = make_clips(tmp_path / "two", 12, seed=3, size=48, workers=2, val=0.25, test=0.25)
    assert one.read_text() == two.read_text()
    lines = records(one)
    for line in lines:
        assert (one.parent / line["video"]).read_bytes() == (two.parent / line["video"]).read_bytes()
    groups = {
        split: {line["group"] for line in lines if line["split"] == split}
        for split in ("train", "val", "test")
    }
    assert [sum(line["split"] == split for line in lines) for split in groups] == [6, 3, 3]
    assert not groups["train"] & groups["val"]
    assert not groups["train"] & groups["test"]
    assert not groups["val"] & groups["test"]
    other = make_clips(tmp_path / "other", 12, seed=4, size=48, workers=1, val=0.25, test=0.25)
    assert records(other)[0]["captions"] != lines[0]["captions"]


def test_a_clip_decodes_to_what_was_drawn(tmp_path: Path) -> None:
    manifest = make_clips(tmp_path, 2, seed=0, size=96, workers=1, val=0, test=0)
    line = records(manifest)[0]
    frames = decoded(manifest.parent / line["video"])
    assert frames.shape == (line["n_frames"], 96, 96, 3)
    assert line["emotion"] in MAFW_LABELS
    assert line["extra"]["synthetic"] is True
    assert line["au_ids"] == sorted(int(au) for au in line["extra"]["au_peaks"])
    job = clips_module._Job(tmp_path, 0, "train", 0, 96, "mafw")
    assert np.abs(frames.astype(int) - render(job.scene(), 96)).mean() < 6


def test_an_interrupted_run_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_clips(tmp_path / "whole", 6, seed=1, size=48, workers=1, val=0, test=0)
    written: list[Path] = []
    original = clips_module.write_video

    def stop_at_four(path: Path, *rest: object) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        original(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(clips_module, "write_video", stop_at_four)
    with pytest.raises(KeyboardInterrupt):
        make_clips(tmp_path / "half", 6, seed=1, size=48, workers=1, val=0, test=0)
    assert not (tmp_path / "half" / "manifest.jsonl").exists()
    written.clear()
    half = make_clips(tmp_path / "half", 6, seed=1, size=48, workers=1, val=0, test=0)
    assert len(written) == 3, "the three finished clips are kept"
    assert half.read_text() == whole.read_text()
    assert sorted(path.name for path in half.parent.rglob("*.tmp")) == []


def test_a_folder_of_other_clips_is_refused(tmp_path: Path) -> None:
    make_clips(tmp_path, 1, seed=0, size=48, workers=1, val=0, test=0)
    with pytest.raises(
        ConfigError, match=r"holds clips made with .*'size': 48.*asked for .*'size': 50.*choose another"
    ):
        make_clips(tmp_path, 1, seed=0, size=50, workers=1, val=0, test=0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--clips", "0"], "error: clips is 0; it must be at least 1"),
        (["--size", "97"], "error: size is 97; it must be an even number of pixels from 48 to 1024"),
        (["--workers", "0"], "error: workers is 0; it must be at least 1"),
        (["--val", "0.7", "--test", "0.6"], "error: val 0.7 and test 0.6 are shares of the clips"),
    ],
)
def test_bad_arguments_end_with_one_line(tmp_path: Path, flags: list[str], message: str) -> None:
    from scripts.make_drawn import main

    status, error = _call(main, ["--out", str(tmp_path / "x"), *flags])
    assert status == 2
    assert error.startswith(message)
    assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def _call(main: object, arguments: list[str]) -> tuple[int, str]:
    import contextlib
    import io
    from unittest.mock import patch

    stream = io.StringIO()
    with patch.object(sys, "argv", ["make_drawn.py", *arguments]), contextlib.redirect_stderr(stream):
        status = main()  # type: ignore[operator]
    return status, stream.getvalue()


def test_the_command_writes_clips_and_a_contact_sheet(tmp_path: Path) -> None:
    flags = ["--clips", "2", "--size", "48", "--workers", "1", "--val", "0", "--test", "0"]
    paths = ["--out", str(tmp_path / "d"), "--sheet", str(tmp_path / "sheet.png")]
    command = [sys.executable, str(SCRIPT), *paths, *flags]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=SCRIPT.parents[1],
        env={"PYTHONPATH": str(SCRIPT.parents[1])},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "d" / "manifest.jsonl")
    assert len(records(tmp_path / "d" / "manifest.jsonl")) == 2
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
