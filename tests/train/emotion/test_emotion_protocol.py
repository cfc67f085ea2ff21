"""The protocol of PE-CLIP on generated miniatures of its datasets: layouts, splits, segments, training, report."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from captioner.config_io import build_config, load_config
from captioner.data.adapters.viewer import VIEWER_SETS
from captioner.data.manifest import Record
from captioner.emotion import folder
from captioner.emotion.pe_clip import frame_features
from captioner.emotion.pe_clip.pe_clip import build_pe_clip
from captioner.errors import ConfigError, VideoError
from captioner.train.emotion import plots, protocol, summary
from captioner.train.emotion.clip_features import VideoFeatures
from captioner.train.emotion.found_splits import find_splits, settle_labels
from captioner.train.emotion.run_config import EmotionRun
from captioner.video.reading import write_video
from eval.__main__ import main as evaluation
from tests.emotion.clip_layouts import write_clip
from tests.helpers import ROOT

VE8 = VIEWER_SETS["ve8"].labels
SEGMENTS = 6


def script(name: str = "train") -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def paint(path: Path, colour: tuple[int, int, int], count: int = 9, seed: int = 0) -> None:
    """A small video of one colour with some noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    pictures = np.array(colour) + draw.integers(-20, 20, (count, 36, 48, 3))
    write_video(path, pictures.clip(0, 255).astype(np.uint8), 5)


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VideoEmotion-8 in its layout (synthetic): a folder a category, files named alike in all of them."""
    root = tmp_path_factory.mktemp("VideoEmotion8")
    for place, label in enumerate(VE8):
        colour = (255 * (place & 1), 255 * (place >> 1 & 1), 255 * (place >> 2 & 1))
        for number in range(3):
            paint(root / "videos" / label.capitalize() / f"{number + 1}.mp4", colour, 3 + 4 * number, number)
    (root / "readme.txt").write_text("Predicting emotions\tin user-generated videos\n")
    return root


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP in Hugging Face's layout."""
    path = tmp_path_factory.mktemp("clip")
    write_clip(path, "huggingface")
    return path


def small(clip: Path, out: Path, *more: str) -> list[str]:
    return [
        f"emotion.clip.source={clip}", f"emotion.segments={SEGMENTS}", "emotion.decoder.start=2",
        "emotion.temporal.inner=32", "emotion.temporal.layers=1", "train.epochs=12", "train.lr=1e-2", "train.batch=4",
        f"train.out={out}", "train.plots=never", *more,
    ]  # fmt: skip


def run_of(clip: Path, root: Path, out: Path, *more: str) -> EmotionRun:
    overrides = [f"data.root={root}", *small(clip, out, *more)]
    return load_config(EmotionRun, ROOT / "configs" / "emotion" / "ve8.yaml", overrides)


# -- the whole protocol ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_whole_protocol(miniature: Path, clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "configs" / "emotion" / "ve8.yaml")
    flags = ["--data.root", str(miniature), "--data.splits", "2", "data.crop=centre"]
    assert script().main([config, *flags, *small(clip_folder, tmp_path)]) == 0
    summary = json.loads((tmp_path / "results.json").read_text())
    assert list(summary["splits"]) == ["0", "1"]
    assert summary["top1"] == pytest.approx(sum(summary["splits"].values()) / 2)
    assert summary["top1"] > 2 / 8  # chance is 1 / 8; the colours differ
    assert np.sum(summary["confusion"]) == 2 * 8
    right = np.trace(np.array(summary["confusion"]))
    assert right / 16 == pytest.approx(summary["top1"])
    assert 0 < summary["trained_parameters"] < summary["parameters"]
    assert summary["peak_memory_mb"] > 0
    report = (tmp_path / "report.md").read_text()
    assert "24 videos here, 1101 published" in report and "| trust |" in report
    rows = [json.loads(line) for line in (tmp_path / "split-0" / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    assert all(set(row["belief"]) == set(VE8) and abs(sum(row["belief"].values()) - 1) < 1e-4 for row in rows)
    loss = json.loads((tmp_path / "split-0" / "result.json").read_text())["loss"]
    assert len(loss) == 12 and loss[-1] < loss[0]
    assert build_config(EmotionRun, json.loads((tmp_path / "run.json").read_text())).emotion.labels == list(VE8)
    model = folder.load_recogniser(tmp_path / "split-1" / "model")
    assert model.config.labels == list(VE8)

    # started again: finished splits are read, not trained
    before = (tmp_path / "split-0" / "result.json").stat().st_mtime_ns
    capsys.readouterr()
    assert script().main([config, *flags, *small(clip_folder, tmp_path)]) == 0
    assert (tmp_path / "split-0" / "result.json").stat().st_mtime_ns == before
    assert script().main([config, *flags, *small(clip_folder, tmp_path, "train.only=[2]")]) == 2
    assert "error: train.only names split 2: there are splits 0 to 1" in capsys.readouterr().err


@pytest.mark.slow
def test_ablation_tables(
    miniature: Path, clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(ROOT / "configs" / "emotion" / "ve8.yaml")
    given = [f"data.root={miniature}", "data.crop=centre", "data.candidates=1", "data.splits=1"]
    given += small(clip_folder, tmp_path, "train.epochs=1")
    assert evaluation(["ablation", "--table", "pe-clip-s", "--config", config, *given]) == 0
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert [row.split(" | ")[0] for row in rows] == ["| off", "| order", "| pull"]
    assert rows[0].split(" | ")[3] == "+0.0"
    assert len(list((tmp_path / "features").rglob("*.safetensors"))) == 24  # shared between the rows


def test_random_crops_and_equal_runs(miniature: Path, clip_folder: Path, tmp_path: Path) -> None:
    one, two = (
        protocol.run_protocol(
            run_of(clip_folder, miniature, tmp_path / name, "data.splits=1", "train.epochs=1"), torch.device("cpu")
        )
        for name in ("one", "two")
    )
    assert one["confusion"] == two["confusion"]
    first, second = ((tmp_path / name / "split-0" / "predictions.jsonl").read_text() for name in ("one", "two"))
    assert first == second


def test_labels_never_enter_a_prediction(miniature: Path, clip_folder: Path, tmp_path: Path) -> None:
    run = run_of(clip_folder, miniature, tmp_path, "data.crop=centre")
    labels, splits, _ = find_splits(run.data)
    config = settle_labels(run, labels)
    model = build_pe_clip(config)
    data = VideoFeatures(run, model)
    records = [splits[0].records[i] for i in splits[0].test]
    wrong = [replace(record, emotion=VE8[(VE8.index(str(record.emotion)) + 1) % 8]) for record in records]
    for layer in model.decoder.layers:
        layer.gate.data.fill_(0.5)
    assert torch.equal(
        protocol.predict_beliefs(run, model, data, records)[0], protocol.predict_beliefs(run, model, data, wrong)[0]
    )
    alone = protocol.predict_beliefs(run, model, data, records[:1])[0]
    torch.testing.assert_close(alone, protocol.predict_beliefs(run, model, data, records)[0][:1], atol=1e-5, rtol=0)


# -- segments and crops ---------------------------------------------------------------------------------------


def test_segments_are_centres_or_drawn() -> None:
    np.testing.assert_allclose(frame_features.segment_seconds(8.0, 4), [1, 3, 5, 7])
    np.testing.assert_allclose(frame_features.candidate_seconds(8.0, 4, 3)[1::3], [1, 3, 5, 7])
    drawn = [frame_features.segment_seconds(8.0, 4, torch.Generator().manual_seed(seed)) for seed in range(50)]
    for seconds in drawn:
        assert (seconds >= [0, 2, 4, 6]).all() and (seconds < [2, 4, 6, 8]).all()
    assert np.std(drawn, axis=0).min() > 0.3


def test_short_videos_repeat_their_frames(tmp_path: Path) -> None:
    pictures = np.stack([np.full((32, 32, 3), shade, np.uint8) for shade in (0, 120, 240)])
    write_video(tmp_path / "short.mp4", pictures, 5)
    read = frame_features.read_frames(tmp_path / "short.mp4", 32, 12)
    assert read.shape == (12, 3, 32, 32)
    shades = read.float().mean((1, 2, 3))
    for third, shade in zip(shades.split(4), (0, 120, 240), strict=True):
        assert (third - shade).abs().max() < 12
    assert frame_features.read_frames(tmp_path / "short.mp4", 32, 64).shape[0] == 64


def test_one_crop_for_all_frames(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 96)[None, :, None], (64, 1, 3)).astype(np.uint8)
    write_video(tmp_path / "still.mp4", np.stack([ramp] * 8), 5)
    first, second = (
        frame_features.read_frames(tmp_path / "still.mp4", 32, 4, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 1)
    )
    assert first.shape == (4, 3, 32, 32)
    assert (first.float() - first[:1].float()).abs().max() < 12  # frames of one clip see one box
    assert (first.float() - second.float()).abs().mean() > 2  # another draw, another box


def test_crop_boxes_are_the_papers() -> None:
    draw = torch.Generator().manual_seed(0)
    boxes = np.array([frame_features.crop_box(100, 120, draw) for _ in range(300)])
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 100).all() and (left + width <= 120).all()
    area, ratio = height * width / 12000, width / height
    assert area.min() > 0.62 and area.max() <= 1 and ratio.min() > 0.73 and ratio.max() < 1.36
    assert frame_features.crop_box(10, 1000, draw) == (0, 495, 10, 10)


def test_features_are_kept_by_content(miniature: Path, clip_folder: Path, tmp_path: Path) -> None:
    run = run_of(clip_folder, miniature, tmp_path, "data.crop=centre", "data.candidates=3")
    model = build_pe_clip(settle_labels(run, VE8))
    data = VideoFeatures(run, model)
    video = tmp_path / "clip.mp4"
    shutil.copy(miniature / "videos" / "Joy" / "2.mp4", video)
    kept = data.kept.load(video)
    assert kept.shape == (SEGMENTS, 3, 32)
    whole = model.look(frame_features.read_frames(video, 32, SEGMENTS)[None])[0]
    torch.testing.assert_close(data.batch([Record("a", video, "")])[0], whole, atol=1e-5, rtol=0)
    file = data.kept.path(video)
    file.write_bytes(b"cut")
    torch.testing.assert_close(data.kept.load(video), kept)
    paint(video, (1, 2, 3))
    assert VideoFeatures(run, model).kept.path(video) != file
    video.write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"clip 'a': .*clip\.mp4"):
        VideoFeatures(run, model).fill([], [Record("a", video, "")])


# -- settings and plots ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "splits", "share"), [("ve8", 10, 1 / 3), ("ekman6", 5, 1 / 2), ("mv6", 3, 1 / 3)])
def test_configurations_are_the_papers(name: str, splits: int, share: float) -> None:
    run = load_config(EmotionRun, ROOT / "configs" / "emotion" / f"{name}.yaml")
    made, temporal = run.emotion, run.emotion.temporal
    assert (made.segments, made.temperature, made.decoder.start, made.supervision.weight) == (64, 0.01, 8, 0.7)
    assert (temporal.kind, temporal.layers, temporal.heads) == ("mamba", 3, 8)
    assert (temporal.inner, temporal.rank, temporal.states) == (384, 16, 4)
    assert (run.train.lr, run.train.batch, run.train.epochs) == (2e-4, 16, 50)
    assert (run.data.splits, run.data.crop) == (splits, "random")
    assert run.data.test_share == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.candidates=4", "data.candidates is 4: an odd number"),
        ("data.test_share=1", "data.test_share is 1.0: a share between 0 and 1"),
        ("data.splits=0", "data.splits is 0"),
        ("train.epochs=0", "train.epochs is 0"),
        ("train.lr=0", "train.lr is 0.0"),
        ("data.dataset=ve9", "unknown data.dataset 've9' .did you mean 've8'"),
    ],
)
def test_bad_settings_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(EmotionRun, None, [override])


def test_labels_must_be_the_datasets(clip_folder: Path, tmp_path: Path) -> None:
    run = run_of(clip_folder, tmp_path, tmp_path, "emotion.labels=[joy, anger]")
    with pytest.raises(ConfigError, match=r"emotion.labels are \[joy, anger\], the dataset has \[anger, anticipation"):
        settle_labels(run, VE8)


def test_missing_plot_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    wanted = r"plots need scikit-learn and matplotlib: pip install 'captioner\[eval\]', or set train.plots=never"
    with pytest.raises(ConfigError, match=wanted):
        protocol.run_protocol(load_config(EmotionRun, None, ["train.plots=always"]), torch.device("cpu"))
    summary.draw_plots(tmp_path, VE8, {}, [])  # auto: one line of log, nothing drawn
    assert not list(tmp_path.iterdir())


def test_confusion_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `eval` is not installed")
    plots.confusion_plot(tmp_path / "confusion.png", np.array([[3, 1], [0, 0]]), ["joy", "fear"], "two")
    assert (tmp_path / "confusion.png").read_bytes()[:4] == b"\x89PNG"


def test_silhouette_and_tsne(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `eval` is not installed")
    pytest.importorskip("sklearn", reason="the extra `eval` is not installed")
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1], 8)
    features = draw.normal(size=(16, 6)).astype(np.float32) + 4 * labels[:, None] * np.eye(6)[0] - 2 * np.eye(6)[0]
    score = plots.silhouette(features, labels)
    assert score is not None and score > 0.2
    assert plots.silhouette(features, np.zeros(16, int)) is None
    plots.tsne_plot(tmp_path / "tsne.png", features, labels, ["joy", "fear"], "two")
    assert (tmp_path / "tsne.png").stat().st_size > 1000
