"""How clips are seen in training: decoded ahead by workers in the order of fit, or kept; any kind in one protocol."""

from pathlib import Path

import pytest
import torch

from captioner.config_io import load_config
from captioner.data.manifest import Record
from captioner.emotion import folder
from captioner.emotion.pe_clip.pe_clip_config import PEClipConfig
from captioner.errors import ConfigError, VideoError
from captioner.train.emotion import protocol
from captioner.train.emotion.clip_features import DrawnFrames, EpochRows, VideoFeatures
from captioner.train.emotion.run_config import EmotionRun, load_emotion_run
from captioner.train.fitting import FitConfig, constant_rate, fit
from tests.emotion.test_emotion_clip import SMALL
from tests.emotion.test_pe_clip import SMALL as PE_SMALL
from tests.emotion.test_pe_clip import model_of
from tests.train.emotion.test_emotion_protocol import paint


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    root = tmp_path_factory.mktemp("clips")
    for number in range(5):
        paint(root / f"{number}.mp4", (50 * number, 90, 200 - 40 * number), 6, number)
    return [Record(str(number), root / f"{number}.mp4", "train", emotion="joy") for number in range(5)]


def setup(count: int = 5) -> FitConfig:
    return FitConfig(None, 3, count, 2, average=0.0, clip_norm=0.0, drop_last=False, half=False, epoch_seed=70)


def test_the_order_is_the_one_that_fit_asks_for() -> None:
    asked: list[tuple[int, int]] = []
    net = torch.nn.Linear(1, 1)

    def loss_of(_: torch.nn.Module, rows: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        asked.extend((len(asked) // 5, row) for row in rows.tolist())
        return net(torch.ones(1, 1)).sum()

    fit(net, setup(), loss_of, optimizer=torch.optim.SGD(net.parameters(), lr=0.0), pace=constant_rate)
    assert list(EpochRows(setup())) == asked and len(EpochRows(setup())) == 15


@pytest.mark.slow
def test_workers_decode_what_the_process_itself_would(clips: list[Record], tmp_path: Path) -> None:
    frames = {}
    for workers in (0, 2):
        words = [f"emotion.{word}" for word in PE_SMALL]
        run = load_config(EmotionRun, None, [*words, f"data.workers={workers}", f"train.out={tmp_path}"])
        data = VideoFeatures(run, model_of())
        data.start(clips, setup())
        order = [setup().order(epoch).tolist() for epoch in range(3)]
        draw = torch.Generator()
        frames[workers] = [data.train_batch(rows, draw) for rows in order]
    for alone, ahead in zip(frames[0], frames[2], strict=True):
        torch.testing.assert_close(alone, ahead)
    back = torch.argsort(torch.tensor(order))
    assert not torch.equal(frames[0][0][back[0]], frames[0][1][back[1]])  # other frames in every epoch


def test_frames_follow_from_seed_epoch_and_clip(clips: list[Record]) -> None:
    config = load_config(PEClipConfig, None, PE_SMALL)
    drawn = DrawnFrames(clips, config, 70)
    assert torch.equal(drawn[1, 2][1], DrawnFrames(clips, config, 70)[1, 2][1])
    assert not torch.equal(drawn[1, 2][1], drawn[2, 2][1])
    assert not torch.equal(drawn[1, 2][1], DrawnFrames(clips, config, 71)[1, 2][1])


def test_a_broken_video_is_named(clips: list[Record], tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    words = [f"emotion.{word}" for word in PE_SMALL]
    data = VideoFeatures(load_config(EmotionRun, None, [*words, f"train.out={tmp_path}"]), model_of())
    data.start([Record("bad", tmp_path / "bad.mp4", "train")], setup(1))
    with pytest.raises(VideoError, match="clip 'bad': "):
        data.train_batch([0], torch.Generator())
    data.start(clips, setup())
    with pytest.raises(RuntimeError, match="frames are not read in the order of fit"):
        data.train_batch([(setup().order(0)[0].item() + 1) % 5], torch.Generator())  # type: ignore[list-item]


@pytest.mark.slow
def test_another_kind_runs_the_same_protocol(tmp_path: Path) -> None:
    for place, (label, colour) in enumerate((("joy", (250, 30, 30)), ("fear", (20, 20, 250)))):
        for number in range(4):
            paint(tmp_path / "clips" / label / f"{number}.mp4", colour, 6, 10 * place + number)
    words = [f"emotion.{word}" for word in SMALL] + ["emotion.kind=emotion-clip".replace("-", "_")]
    words += [f"data.root={tmp_path / 'clips'}", "data.dataset=ekman6", "data.splits=1", "data.test_share=0.5"]
    words += [f"train.out={tmp_path / 'out'}", "train.epochs=30", "train.lr=0.3", "train.plots=never"]
    run = load_emotion_run(None, words)
    summary = protocol.run_protocol(run, torch.device("cpu"))
    assert summary["top1"] == 1.0 and summary["scores"]["UAR"][0] == 1.0 and "gates" not in summary
    assert (tmp_path / "out" / "report.md").read_text().startswith("# EmotionCLIP on ekman6")
    model = folder.load_recogniser(tmp_path / "out" / "split-0" / "model")
    assert model.KIND == "emotion_clip" and summary["trained_parameters"] == sum(
        p.numel() for p in model.probe.parameters()
    )
    kept = list((tmp_path / "out" / "features").glob("recogniser-*/*/*.safetensors"))
    assert len(kept) == 8


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown emotion\.kind 'pe_clap'"):
        load_emotion_run(None, ["emotion.kind=pe_clap"])
    assert isinstance(load_emotion_run(None).emotion, PEClipConfig)
