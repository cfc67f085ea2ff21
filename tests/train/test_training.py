"""The loop: DWA, schedule, groups, exact resume after a kill, what a run leaves behind."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from captioner.config import TrainConfig
from captioner.model.weights import read_weights
from captioner.train.checkpoints import changed_settings
from captioner.train.dwa import DWA
from captioner.train.engine import PlainEngine, learning_rate, parameter_groups
from captioner.train.run_log import cut_log
from tests.helpers import ROOT, tiny_batch, tiny_model

TINY = [
    "model.video.arch=swin3d_small_cpu", "model.video.width=16", "model.video.frames=4", "model.video.size=64",
    "model.text.pretrained=", "model.text.layers=1", "model.text.width=32", "model.text.heads=2",
    "model.experts.untrained=allowed", "model.experts.er_arch=small", "model.experts.au_backbone=small",
    "model.experts.size=48", "model.experts.frames=2",
    "model.fusion.layers=1", "model.fusion.heads=2", "model.fusion.width=32",
    "model.fusion.ffn=32", "model.fusion.visual_width=32", "model.fusion.max_text=24", "model.tokenizer=captions",
    "data.drawn=20", "data.drawn_size=72", "train.batch=3", "train.epochs=3", "train.lr=1e-3", "train.save_every=2",
    "train.validate_every=3", "train.threads=1", "train.log_every=1",
]  # fmt: skip


def test_dwa_by_hand() -> None:
    dwa = DWA({"mlm": 1.0, "er": 1.0, "au": 1.0}, temperature=2.0)
    names = ["mlm", "er", "au"]
    assert dwa.weights(names) == {"mlm": 1.0, "er": 1.0, "au": 1.0}
    dwa.close_epoch({"mlm": 4.0, "er": 2.0, "au": 1.0})
    assert dwa.weights(names) == {"mlm": 1.0, "er": 1.0, "au": 1.0}
    dwa.close_epoch({"mlm": 2.0, "er": 2.0, "au": 1.5})
    powers = [math.exp(r / 2) for r in (0.5, 1.0, 1.5)]
    wanted = [3 * p / sum(powers) for p in powers]
    assert list(dwa.weights(names).values()) == pytest.approx(wanted)
    dwa.close_epoch({"mlm": 0.0, "er": 2.0, "au": 1e9})  # ratios are kept within 0.1 and 10
    powers = [math.exp(r / 2) for r in (0.1, 1.0, 10.0)]
    assert list(dwa.weights(names).values()) == pytest.approx([3 * p / sum(powers) for p in powers])
    assert sum(dwa.weights(names).values()) == pytest.approx(3)


def test_fixed_weights_stay() -> None:
    dwa = DWA({"mlm": 1.0, "er": 0.2, "au": 0.6}, dynamic=False)
    for means in ({"mlm": 4.0, "er": 2.0, "au": 1.0}, {"mlm": 1.0, "er": 2.0, "au": 3.0}):
        dwa.close_epoch(means)
    assert dwa.weights(["mlm", "au"]) == {"mlm": 1.0, "au": 0.6}


def test_learning_rate() -> None:
    factors = [learning_rate(step, 100, 0.1) for step in range(100)]
    assert factors[0] == 0.1
    assert factors[9] == 1.0
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors == sorted(factors[:10]) + sorted(factors[10:], reverse=True)
    assert learning_rate(100, 100, 0.1) == 1e-8


def test_parameter_groups() -> None:
    model = tiny_model()
    groups = parameter_groups(model, TrainConfig(lr=1.0, video_lr_scale=0.05, weight_decay=0.2))
    of = {id(p): g for g in groups for p in g["params"]}
    assert of[id(model.fusion.layers[0].up.weight)]["weight_decay"] == 0.2  # type: ignore[union-attr]
    assert of[id(model.fusion.layers[0].norm1.weight)]["weight_decay"] == 0.0  # type: ignore[union-attr]
    assert of[id(model.fusion.layers[0].up.bias)]["weight_decay"] == 0.0  # type: ignore[union-attr]
    assert of[id(next(model.video.parameters()))]["lr"] == 0.05
    members = [p for g in groups for p in g["params"]]
    assert len({id(p) for p in members}) == len(members)
    assert {id(p) for p in members} == {id(p) for p in model.parameters() if p.requires_grad}


def rows_of(whole: Any, part: slice) -> Any:
    """Some clips of a batch, of the faces in it too."""
    if isinstance(whole, torch.Tensor):
        return whole[part]
    return replace(whole, **{k: rows_of(v, part) for k, v in vars(whole).items()}) if is_dataclass(whole) else whole


def test_accumulated_micro_batches_equal_one_batch() -> None:
    """Gradients of two halves, each weighted by one half, are those of the whole when every loss is a clip mean."""
    model = tiny_model("prompts.er_sentence=off", "prompts.au_word=off")
    whole = tiny_batch(model.config, clips=4)
    for row in range(4):  # the same number of hidden words in every row
        whole.targets[row] = torch.where(torch.arange(12) % 2 == 0, whole.text_ids[row], -100)  # type: ignore[index]
    grads = []
    for parts in ([slice(0, 4)], [slice(0, 2), slice(2, 4)]):
        model.zero_grad()
        engine = PlainEngine(model, TrainConfig(), torch.device("cpu"))
        for part in parts:
            engine.backward(engine.losses(rows_of(whole, part), False).live["mlm"] / len(parts))
        grads.append(model.video_in.weight.grad.clone())  # type: ignore[union-attr]
    torch.testing.assert_close(*grads)


@pytest.mark.slow
def test_positive_pairs_survive_a_cold_start() -> None:
    """Trained on one batch from random weights, pairs are still positive long after the warm-up."""
    torch.manual_seed(0)
    model = tiny_model().train()
    engine = PlainEngine(model, TrainConfig(lr=3e-3), torch.device("cpu"))
    batch, positives, losses = tiny_batch(model.config, clips=6), [], []
    for step in range(60):
        found = engine.losses(batch, warm=step < 10)
        engine.backward(sum(found.live.values()))  # type: ignore[arg-type]
        engine.step(1.0)
        positives.append(int(found.positives))
        losses.append(float(found.live["au"].detach()))
    assert positives[5] == 18
    assert min(positives[30:]) > 4
    assert losses[-1] < losses[0]


def test_differences_and_cut_log(tmp_path: Path) -> None:
    assert changed_settings({"train": {"lr": 1, "out": "a"}}, {"train": {"lr": 2, "out": "b"}}) == ["train.lr"]
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    cut_log(log, 2)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2]


def command(folder: Path, out: str) -> list[str]:
    manifest, cache = folder / "clips" / "manifest.jsonl", folder / "cache"
    places = [f"data.manifest={manifest}", f"data.cache={cache}", f"train.out={folder / out}"]
    return [sys.executable, str(ROOT / "scripts" / "train.py"), str(ROOT / "configs" / "tiny.yaml"),
            "model.experts.source=", *TINY, *places]  # fmt: skip


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=200, check=False)


def losses(folder: Path) -> list[tuple[float, ...]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(r["step"], r["loss"], r["mlm"], r["er"], r["au"], r["grad_norm"], r["positives"]) for r in rows]


@pytest.mark.slow
def test_killed_and_resumed_equals_undisturbed(tmp_path: Path) -> None:
    """SIGKILL in the middle of an epoch; the second start gives the same losses bit for bit, and the same weights."""
    done = run(command(tmp_path, "whole"))
    assert done.returncode == 0, done.stderr[-2000:]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command(tmp_path, "cut"), env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    log = tmp_path / "cut" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") >= 9) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / "cut" / "last" / "trainer.json").exists()
    assert len(losses(tmp_path / "cut")) < len(losses(tmp_path / "whole"))
    resumed = run(command(tmp_path, "cut"))
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert "resumed at step" in resumed.stderr
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    for name in ("last", "best"):
        ours, theirs = (read_weights(tmp_path / run / name / "model.safetensors") for run in ("cut", "whole"))
        assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    assert not list((tmp_path / "cut").glob(".*"))
    curves = EventAccumulator(str(tmp_path / "whole" / "curves")).Reload().Tags()["scalars"]
    assert {"train/loss", "train/mlm", "weight/er", "speed/clips_per_second", "speed/data_wait"} <= set(curves)

    other = run([*command(tmp_path, "cut"), "train.lr=2e-3"])
    assert other.returncode == 2
    assert "train.lr" in other.stderr.splitlines()[-1]

    onward = run([*command(tmp_path, "onward"), f"train.start={tmp_path / 'whole' / 'last'}", "train.max_steps=1"])
    assert onward.returncode == 0, onward.stderr[-2000:]
    assert losses(tmp_path / "onward")[0][1] < losses(tmp_path / "whole")[0][1]  # it knows what the other has learned
    odd = run([*command(tmp_path, "odd"), f"train.start={tmp_path / 'whole' / 'last'}", "model.fusion.ffn=96"])
    assert odd.returncode == 2
    assert "does not fit this architecture" in odd.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("data.manifest=nowhere/manifest.jsonl", ["nowhere"]),
        ("model.fusion.heads=3", ["heads 3 does not divide"]),
        ("model.fuson.heads=3", ["did you mean", "model.fusion"]),
    ],
)
def test_bad_runs_are_one_line(tmp_path: Path, change: str, words: list[str]) -> None:
    done = run([*command(tmp_path, "x"), "data.drawn=0", change])
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert all(word in done.stderr for word in words)
    assert not (tmp_path / "x").exists()
