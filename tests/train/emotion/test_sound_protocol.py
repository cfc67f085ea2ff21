"""AV-CANet's and MER-CLIP's protocols on miniatures in the data sets' own layouts; how weights are changed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from captioner.data.adapters.emotions_set import EMOTIONS6, read_emotions
from captioner.data.adapters.layout import LayoutError
from captioner.data.adapters.opinions import read_opinions
from captioner.emotion.folder import load_recogniser
from captioner.emotion.looking import SnippetSampling, look
from captioner.errors import ConfigError
from captioner.train.emotion.opinion_scores import opinion_scores
from captioner.train.emotion.optimising import accumulated, published_factor
from captioner.train.emotion.protocol import run_protocol
from captioner.train.emotion.run_config import load_emotion_run
from captioner.train.emotion.snippets import changed, cut_square, draw_snippets
from captioner.video.reading import write_video
from tests.helpers import ROOT
from tests.sound.voices import tone

CPU = torch.device("cpu")
TINY = [
    "emotion.segments=3", "emotion.width=16", "emotion.video.net=swin3d_small", "emotion.video.frames=2",
    "emotion.video.size=32", "emotion.video.step=0.1", "emotion.audio.net=small", "emotion.audio.front.kind=logmel",
    "emotion.audio.front.rate=16000", "emotion.audio.front.bands=16", "emotion.audio.frames=16",
    "emotion.fusion.heads=4", "emotion.fusion.inner=16", "train.epochs=2", "train.batch=4", "train.accumulate=2",
    "train.plots=never",
]  # fmt: skip
PAIR = [
    "emotion.clip.source=", "emotion.clip.image_size=32", "emotion.clip.patch=16", "emotion.clip.vision_width=16",
    "emotion.clip.vision_layers=1", "emotion.clip.vision_heads=2", "emotion.clip.text_width=16",
    "emotion.clip.text_layers=1", "emotion.clip.text_heads=2", "emotion.clip.width=16", "emotion.heads=2",
    "emotion.seen.frames=2", "emotion.heard.seconds=1", "emotion.heard.layers=1", "train.epochs=2", "train.batch=4",
    "train.plots=never",
]  # fmt: skip


def clip(path: Path, kind: int, seed: int) -> None:
    """A second of a colour with a tone of its own; every fourth is silent (synthetic)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([kind, seed])
    colour = np.array([40 * kind, 255 - 40 * kind, 128]) + random.integers(-20, 20, (8, 32, 40, 3))
    sound = None if seed % 4 == 3 else (tone(1.0, 16_000, 200.0 + 150 * kind), 16_000)
    write_video(path, colour.clip(0, 255).astype(np.uint8), 8, sound=sound)


@pytest.fixture(scope="module")
def short_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """eMotions in its layout: class folders and lists."""
    root = tmp_path_factory.mktemp("eMotions")
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for place, label in enumerate(EMOTIONS6):
        for number in range(4):
            clip(root / "videos" / label.capitalize() / f"{number}.mp4", place, number)
            lists["test" if number == 3 else "train"].append(f"{label.capitalize()}/{number} {place}")
    for side, lines in lists.items():
        (root / f"{side}list01.txt").write_text("\n".join(lines) + "\nFear/999 1\n" * (side == "train"))
    return root


def test_emotions_are_read_with_their_lists(short_videos: Path, tmp_path: Path) -> None:
    listed = read_emotions(short_videos)
    assert len(listed.records) == 24 and sum(record.split == "test" for record in listed.records) == 6
    assert "25 videos, 1 of them not here" in listed.notices[2]
    assert len(read_emotions(short_videos, "balanced").records) == 24
    with pytest.raises(LayoutError, match="is not laid out as eMotions"):
        read_emotions(tmp_path)
    (tmp_path / "Fear").mkdir()
    clip(tmp_path / "Fear" / "1.mp4", 0, 0)
    (tmp_path / "trainlist01.txt").write_text("Joy/1 0\n")
    with pytest.raises(LayoutError, match=r"trainlist01\.txt:1: 'Joy/1 0' is no 'class/id label'"):
        read_emotions(tmp_path)


@pytest.mark.slow
def test_av_canet_on_emotions_and_ekman6(short_videos: Path, tmp_path: Path) -> None:
    config = ROOT / "configs" / "emotion" / "avcanet_emotions.yaml"
    words = [f"data.root={short_videos}", f"train.out={tmp_path / 'e'}", "data.validation=0.34", *TINY]
    summary = run_protocol(load_emotion_run(config, words), CPU)
    report = (tmp_path / "e" / "report.md").read_text(encoding="utf-8")
    assert "| AV-CANet | 67.79 | 67.32 |" in report and "**measured here**" in report
    assert "best on clips held out" in report and set(summary["scores"]) >= {"UAR", "WA-F1"}
    model = load_recogniser(tmp_path / "e" / "split-0" / "model")
    video = short_videos / "videos" / "Fear" / "0.mp4"
    evidence = look(video, model.wants)
    assert evidence.sound is not None and len(evidence.sound.wave) % 3 == 0
    assert not (tmp_path / "e" / "split-0" / "fit").exists()
    ekman = tmp_path / "Ekman6"
    for place, label in enumerate(("anger", "disgust", "fear", "joy", "sadness", "surprise")):
        for number in range(2):
            clip(ekman / label / f"{number}.mp4", place, number)
    config = ROOT / "configs" / "emotion" / "avcanet_ekman6.yaml"
    released = ["train.protocol=released", "emotion.audio.align=released", "emotion.fusion.integration=released"]
    words = [f"data.root={ekman}", f"train.out={tmp_path / 'k'}", "data.splits=1", *released, *TINY]
    run_protocol(load_emotion_run(config, words), CPU)
    report = (tmp_path / "k" / "report.md").read_text(encoding="utf-8")
    assert "| AV-CANet | 55.63 | 55.44 |" in report and "that is too good" in report


@pytest.fixture(scope="module")
def opinions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CMU-MOSI as the MMSA toolkit lays it out."""
    root = tmp_path_factory.mktemp("MOSI")
    lines = ["video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"]
    for number in range(14):
        value = (number % 7) - 3 + 0.2 * (number % 2)
        mode = "test" if number >= 12 else ("valid" if number >= 10 else "train")
        said = f'"it was {["awful", "so so", "great"][number % 3]}, really"'
        lines.append(f"film{number // 7},{number},{said},{min(3, value)},,,,x,{mode}")
        clip(root / "Raw" / f"film{number // 7}" / f"{number}.mp4", number % 5, number)
    lines.append("film9,1,no video here,0.0,,,,x,train")
    (root / "label.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.slow
def test_mer_clip_on_mosi(opinions: Path, tmp_path: Path) -> None:
    config = ROOT / "configs" / "emotion" / "mer_clip_mosi.yaml"
    run = load_emotion_run(config, [f"data.root={opinions}", f"train.out={tmp_path}", *PAIR])
    summary = run_protocol(run, CPU)
    assert set(summary["opinions"]) >= {"MAE", "corr", "Acc-7", "Acc-2 non-negative", "Acc-2 positive", "F1 positive"}
    assert 0 < summary["opinions"]["MAE"][0] < 6
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "MER-CLIP (reconstructed)" in report and "no rows of its paper to quote" in report and "MAE" in report
    model = load_recogniser(tmp_path / "split-0" / "model")
    assert model.config.answer.values == [-3, -2, -1, 0, 1, 2, 3]


def test_opinions_are_read(opinions: Path, tmp_path: Path) -> None:
    listed = read_opinions(opinions, "mosi")
    assert [sum(r.split == side for r in listed.records) for side in ("train", "val", "test")] == [10, 2, 2]
    first = listed.records[0]
    assert first.extra == {"value": -3.0, "transcript": "it was awful, really"} and first.emotion == "strongly negative"
    assert "1 clips of label.csv have no video" in listed.notices[1]
    with pytest.raises(LayoutError, match="pickle are converted first"):
        read_opinions(tmp_path, "mosei")
    (tmp_path / "label.csv").write_text("video_id,clip_id,text,label,mode\na,1,x,seven,train\n")
    clip(tmp_path / "Raw" / "a" / "1.mp4", 0, 0)
    with pytest.raises(LayoutError, match=r"label\.csv:2: label 'seven' is no number"):
        read_opinions(tmp_path, "mosi")


def test_scores_of_opinions() -> None:
    wanted = np.array([-2.0, -0.4, 0.0, 1.0, 3.0])
    perfect = opinion_scores(wanted, wanted)
    assert perfect["MAE"] == 0 and perfect["corr"] == pytest.approx(1) and perfect["Acc-7"] == 1
    assert perfect["F1 non-negative"] == perfect["F1 positive"] == 1
    said = np.array([-1.0, 0.2, 0.1, 2.0, 9.0])
    scores = opinion_scores(said, wanted)
    assert scores["Acc-2 non-negative"] == pytest.approx(0.8) and scores["Acc-2 positive"] == pytest.approx(0.75)
    assert scores["Acc-7"] == pytest.approx(3 / 5) and scores["MAE"] == pytest.approx((1 + 0.6 + 0.1 + 1 + 6) / 5)


def test_four_batches_of_a_step_are_one_large_batch() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(10, 6), torch.randint(0, 3, (10,))
    grads = []
    for batch in (10, 3):
        net = nn.Linear(6, 3)
        nn.init.ones_(net.weight)
        nn.init.zeros_(net.bias)
        loss = accumulated(
            lambda rows, net=net: nn.functional.cross_entropy(net(x[rows]), y[rows]),  # type: ignore[misc]
            torch.arange(10), batch,
        )  # fmt: skip
        loss.backward()
        grads.append((loss.detach(), net.weight.grad))
    assert torch.allclose(grads[0][0], grads[1][0], atol=1e-6) and torch.allclose(grads[0][1], grads[1][1], atol=1e-6)


def test_the_published_rate() -> None:
    rates = [1.5e-4 * published_factor(epoch, 30) for epoch in (1, 2, 5, 15, 25, 30)]
    assert np.allclose(rates, [75e-6, 150e-6, 144e-6, 76e-6, 8e-6, 1.5e-6], atol=0.9e-6)


def test_snippets_are_drawn_in_their_parts(tmp_path: Path, short_videos: Path) -> None:
    sampling = SnippetSampling(8, (32,), edges=False, parts=2, step=0.04, places=(0.0, 1.0))
    seconds = sampling.seconds(0.0, 9.9, 10.0)
    assert seconds[:4] == pytest.approx([0.02, 0.06, 0.1, 0.14]) and seconds[-1] == pytest.approx(9.98)
    close = sampling.seconds(0.0, 0.19, 0.2)
    assert (np.diff(close) > 0).all() and close[-1] < 0.2
    run = load_emotion_run(ROOT / "configs" / "emotion" / "avcanet_emotions.yaml", TINY)
    assert run.emotion.kind == "av_canet"
    frames = np.zeros((2, 40, 80, 3), np.uint8)
    frames[:, :, 40:] = 255
    seen = {float(cut_square(frames, 40, torch.Generator().manual_seed(seed)).float().mean()) for seed in range(20)}
    assert seen == {0.0, 127.5, 255.0}
    assert {changed(torch.full((1, 3, 8, 8), 200, dtype=torch.uint8), torch.Generator().manual_seed(s)).shape
            for s in range(12)} == {(1, 3, 8, 8)}  # fmt: skip
    from captioner.emotion.contract import Wants

    wants = Wants(segments=3, frames=2, size=32, step=0.1)
    one, two = (draw_snippets(short_videos / "videos" / "Fear" / "0.mp4", wants, torch.Generator().manual_seed(1))
                for _ in range(2))  # fmt: skip
    assert one.shape == (6, 3, 32, 32) and torch.equal(one, two)


def test_the_released_protocol_is_av_canets() -> None:
    with pytest.raises(ConfigError, match="is AV-CANet's"):
        load_emotion_run(None, ["train.protocol=released"])
    with pytest.raises(ConfigError, match="no polarity for calm"):
        load_emotion_run(None, ["emotion.kind=av_canet", "emotion.labels=[calm, joy]", "emotion.loss.positive=[joy]"])
