"""The planner and the meter: arithmetic by hand, measured things within bounds, the printed table."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from captioner.config import Config, DataConfig, TrainConfig
from captioner.model import checkpoint
from captioner.model.tokenizer import Tokenizer
from captioner.train.engine import PlainEngine
from captioner.train.plan import (
    Offer,
    activations,
    device_memory,
    draft,
    estimate,
    noise_batch,
    part_sizes,
    saved_bytes,
)
from captioner.train.throughput import Meter, compile_encoders, peak_of, work_of
from scripts._command import config_arguments
from scripts.train import train_parser
from tests.helpers import tiny_batch, tiny_config, tiny_model

RUN = Config(
    model=tiny_config(),
    data=DataConfig(cache="somewhere"),
    train=TrainConfig(batch=4, epochs=3, accumulate=2, precision="float32"),
)


def test_memory_by_hand() -> None:
    """1000 trained and 100 frozen parameters on 4 devices."""
    needs = [device_memory(stage, 1000, 100, 4, 50.0) for stage in range(4)]
    assert [need.weights for need in needs] == [4400, 4400, 4400, 1100]
    assert [need.gradients for need in needs] == [4000, 4000, 1000, 1000]
    assert [need.optimizer for need in needs] == [8000, 3000, 3000, 3000]
    assert [need.total for need in needs] == [16450, 11450, 8450, 5150]
    assert device_memory(2, 1000, 100, 4, 0.0, offload=True).optimizer == 0


def test_sizes_count_every_parameter_once() -> None:
    model = tiny_model()
    parts = part_sizes(model)
    assert sum(s.trained for s in parts.values()) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert parts["experts"].trained == 0
    assert parts["experts"].frozen > 0


def test_saved_bytes_of_a_linear_layer() -> None:
    layer = nn.Sequential(nn.Linear(10, 20), nn.Tanh())
    x = torch.randn(3, 10)
    with saved_bytes(layer) as total:  # type: ignore[arg-type]
        layer(x)
    assert total[0] == 4 * (3 * 10 + 3 * 20)  # the input, and tanh's output


def peak_growth(call: Callable[[], None]) -> int:
    """Bytes that torch held at most while the call ran, beyond those held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        call()
    found = trace.profiler.kineto_results.events()  # type: ignore[union-attr]
    level, peak = 0, 0
    for _, change in sorted((event.start_ns(), event.nbytes()) for event in found if event.name() == "[memory]"):
        level += change
        peak = max(peak, level)
    return peak


def test_planned_memory_against_a_measured_step() -> None:
    """The second of two summed micro-batches, when weights, gradients, moments and activations are all there."""
    model, clips = tiny_model().train(), 6
    run = draft(RUN, 60, clips=22).config
    engine = PlainEngine(model, run.train, torch.device("cpu"))
    counts = part_sizes(model).values()
    trained, frozen = sum(s.trained for s in counts), sum(s.frozen for s in counts)
    planned = device_memory(0, trained, frozen, 1, clips * activations(engine, run))
    batch = noise_batch(model, run, clips)

    def micro_batch() -> None:
        engine.backward(torch.stack(list(engine.losses(batch, True).live.values())).sum())

    micro_batch()
    engine.step(1.0)
    micro_batch()
    grown = peak_growth(micro_batch)
    moments = [v for state in engine.optimizer.state.values() for v in state.values()]
    held = [*model.parameters(), *(p.grad for p in model.parameters() if p.grad is not None), *moments]
    measured = sum(tensor.nbytes for tensor in held) + grown
    assert planned.activations == pytest.approx(grown, rel=0.25)
    assert planned.total == pytest.approx(measured, rel=0.1)


def test_work_of_is_the_sum_of_its_products_and_leaves_no_trace() -> None:
    model = tiny_model().train()
    batch, state = tiny_batch(model.config, clips=2), torch.get_rng_state()
    work = work_of(model, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())
    assert work.frozen > 0  # the experts, on crops
    assert work.step == 3 * work.trained + work.frozen
    head = 2 * model.config.fusion.width * model.config.vocab_size  # one word's logits
    assert work.trained > head
    again = work_of(model, tiny_batch(model.config, clips=4))
    assert again.frozen == pytest.approx(work.frozen)


def test_invented_clips_are_taken_by_the_model() -> None:
    for cached in ("", "somewhere"):
        model = tiny_model().train()
        run = replace(RUN, data=DataConfig(cache=cached), train=replace(RUN.train, captions=2))
        losses = model(noise_batch(model, run, 3))
        assert all(torch.isfinite(loss) for loss in losses.live.values())


@pytest.mark.slow
def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    text = estimate(draft(RUN, 60, clips=22), torch.device("cpu"), Offer(devices=2, price=3.0))
    lines = {line.strip().split("  ")[0]: line for line in text.splitlines() if line.strip()}
    assert "9 of 8 clips (3 an epoch of 22 clips" in lines["steps"]  # 6 micro-batches of 4, two a step, 3 epochs
    assert "clips/s" in lines["speed"]
    assert "at 3.00 a device and hour" in lines["cost"]
    assert [name for name in lines if name.startswith("ZeRO")] == [
        "ZeRO 0", "ZeRO 1", "ZeRO 2", "ZeRO 3", "ZeRO 2, offloaded", "ZeRO 3, offloaded",
    ]  # fmt: skip


def test_options_of_the_script_and_overrides_are_told_apart() -> None:
    given = [
        "configs/tiny.yaml",
        "--plan",
        "--gpus",
        "8",
        "--train.deepspeed",
        "a.json",
        "--local_rank=3",
        "train.lr=1",
    ]
    options, path, overrides = config_arguments(train_parser(), given)
    assert (options.plan, options.gpus, options.price) == (True, 8, 0.0)
    assert (path, overrides) == ("configs/tiny.yaml", ["--train.deepspeed", "a.json", "train.lr=1"])


def test_meter() -> None:
    meter = Meter(step_flops=1e6, peak=1e9)
    with meter.waiting():
        time.sleep(0.02)
    meter.clips = 10
    rates = meter.report()
    assert 0.5 < rates["data_wait"] <= 1
    assert rates["utilisation"] == pytest.approx(rates["clips_per_second"] / 1000)
    assert meter.clips == 0
    assert "utilisation" not in Meter().report()


def test_peak_is_a_plausible_number() -> None:
    peak = peak_of(torch.device("cpu"), torch.float32)
    assert 1e8 < peak.flops < 1e14
    assert "measured" in peak.source


@pytest.mark.slow
def test_a_compiled_model_is_saved_without_a_trace(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = tiny_model(f"vocab_size={tokenizer.vocab_size}")
    names = list(model.state_dict())
    compile_encoders(model)
    assert list(model.state_dict()) == names
    assert model.video._compiled_call_impl is not None
    checkpoint.save_checkpoint(tmp_path / "folder", model, tokenizer)
    saved = checkpoint.load_checkpoint(tmp_path / "folder").model
    assert saved.video._compiled_call_impl is None
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in model.state_dict().items())
