"""Batches mean what they say: memory foretold, clips a process, fewer clips than processes, clips held out, parts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from captioner.config import Config, DataConfig, TrainConfig
from captioner.config_io import load_config
from captioner.data.clip_window import clip_window
from captioner.data.manifest import Record, write_manifest
from captioner.errors import ConfigError
from captioner.train import foretell
from captioner.train.engine import PlainEngine
from captioner.train.foretell import foretell_step, measure_step, settle_batch
from captioner.train.setup import about_validation, hold_out, usual_workers
from captioner.train.step_rows import StepRows
from captioner.train.trainer import losses_without_labels
from tests.helpers import CAPTIONS, noise_video, tiny_model


def record(number: int, group: str = "", emotion: str | None = None) -> Record:
    return Record(f"clip{number}", Path(f"{number}.mp4"), "train", tuple(CAPTIONS), emotion, group=group)


def test_clips_of_each_process() -> None:
    config = Config(train=TrainConfig(batch_per_device=6))
    assert settle_batch(config, 4) == 24
    assert settle_batch(Config(train=TrainConfig(batch=8)), 4) == 8
    with pytest.raises(ConfigError, match=r"train\.batch is 2 for 3 processes"):
        settle_batch(Config(train=TrainConfig(batch=2)), 3)


def test_a_step_that_cannot_fit_is_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    config = Config(model=model.config, train=TrainConfig(batch=12))
    engine = PlainEngine(model, config.train, torch.device("cpu"))
    state = torch.get_rng_state()
    step = measure_step(config, model, engine)
    assert torch.equal(torch.get_rng_state(), state)
    assert step.clips == 12 and step.clip > 0 and step.fixed == 12 * sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )
    foretell_step(config, model, engine)
    monkeypatch.setattr(foretell, "free_memory", lambda processes: step.fixed + 4.5 * step.clip)
    with pytest.raises(ConfigError, match=r"train\.batch_per_device=\d train\.accumulate=\d fits"):
        foretell_step(config, model, engine)
    foretell_step(replace(config, train=replace(config.train, foretell=False)), model, engine)
    monkeypatch.setattr(foretell, "free_memory", lambda processes: step.fixed)
    with pytest.raises(ConfigError, match="not even one clip fits"):
        foretell_step(config, model, engine)


def test_groups_are_held_out_whole() -> None:
    records = [record(i, group=f"film{i // 4}") for i in range(400)]
    kept, back = hold_out(records, 0.1)
    assert not {r.group for r in kept} & {r.group for r in back}
    assert 20 <= len(back) <= 70 and len(kept) + len(back) == 400
    assert hold_out(records[::-1], 0.1)[1] == back[::-1]  # who is held out does not hang on the order
    assert hold_out(records, 0.0) == (records, [])
    with pytest.raises(ConfigError, match=r"data\.val_share=0\.01 leaves 1 of 1 clips"):
        hold_out(records[:1], 0.01)


def test_what_best_was_chosen_on(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, [record(1)])
    config = load_config(Config, None, [f"data.manifest={path}", "data.val_share=0.2"])
    assert about_validation(config, 7) == "7 training clips held out by group (data.val_share=0.2)"
    assert "end of training" in about_validation(config, 0)
    write_manifest(path, [record(1), replace(record(2), split="val")])
    assert about_validation(config, 1) == "1 clips of the manifest's validation part"


def test_readers_where_clips_are_decoded() -> None:
    assert usual_workers(None, 1000) == 0
    assert 0 <= usual_workers(None, 1) <= 4


def test_a_loss_without_labels_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    class Clips:
        def __init__(self, *records: Record) -> None:
            self.records = list(records)

    config = Config()
    assert losses_without_labels(config, Clips(record(1), record(2, emotion="trust"))) == {"er"}  # type: ignore[arg-type]
    assert caplog.text.count("the ER-sentence loss is left out") == 1
    assert not losses_without_labels(config, Clips(record(1), record(2, emotion="anger")))  # type: ignore[arg-type]
    other = load_config(Config, None, ["model.prompts.er_sentence=similarity"])
    assert not losses_without_labels(other, Clips(record(1)))  # type: ignore[arg-type]


def test_numbers_wait_until_they_are_asked_for() -> None:
    rows = StepRows()
    rows.add({"loss": torch.tensor(2.0), "mlm": torch.tensor(1.5)})
    rows.add({"loss": torch.tensor(3.0), "mlm": torch.tensor(2.5)})
    rows.end_step({"step": 1}, torch.tensor(0.5))
    assert rows.settle() == [
        ({"loss": 2.0, "mlm": 1.5}, None), ({"loss": 3.0, "mlm": 2.5}, {"step": 1, "grad_norm": 0.5}),
    ]  # fmt: skip
    assert rows.settle() == []


@pytest.mark.parametrize("kind", ["random", "uniform", "constant"])
def test_parts_of_a_clip_by_pytorchvideos_samplers(kind: str, tmp_path: Path) -> None:
    video = str(noise_video(tmp_path / "a.mp4", 0))  # one second
    config = DataConfig(clip_sampler=kind, clip_share=0.6)  # type: ignore[arg-type]
    windows = [clip_window(config, video, epoch, 17 * epoch) for epoch in range(4)]
    assert windows == [clip_window(config, video, epoch, 17 * epoch) for epoch in range(4)]
    assert all(0 <= start < end <= 1.001 and end - start == pytest.approx(0.6, abs=0.01) for start, end in windows)
    wanted = {"random": 4, "uniform": 2, "constant": 3}[kind]
    assert len(set(windows)) == wanted
    assert clip_window(config, video, 0, 0)[0] < 0.35


def test_samplers_need_clips_that_are_decoded() -> None:
    with pytest.raises(ConfigError, match=r"data\.cache_frames=false"):
        DataConfig(clip_sampler="random", cache="cache")
    with pytest.raises(ConfigError, match=r"data\.crop=random"):
        DataConfig(clip_sampler="random", cache="cache", cache_frames=False, crop="centre")
