"""The loop that trains every small net: exact resume, early stopping, and the same steps as a plain loop of torch."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from captioner.errors import CheckpointError
from captioner.train.fitting import (
    BEST,
    FitConfig,
    constant_rate,
    cosine_rate,
    fit,
    minimise,
    read_run_state,
    scaled_rate,
)


def line(folder: Path, epochs: int) -> tuple[nn.Module, FitConfig]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    return net, FitConfig(folder, epochs, 64, batch=16, lr=0.02, patience=99)


X = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
Y = X.sum(1, keepdim=True).tanh()


def loss_of(net: nn.Module, rows: Tensor, random: torch.Generator) -> Tensor:
    noise = torch.randn(len(rows), 4, generator=random) * 0.01
    return (net(X[rows] + noise).float() - Y[rows]).square().mean()


def score_of(net: nn.Module) -> float:
    with torch.no_grad():
        return -(net(X) - Y).square().mean().item()


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_exactly(tmp_path: Path) -> None:
    """Killed in epoch 4 of 6 and started again: the same weights as in one go."""
    whole_run, config = line(tmp_path / "a", 6)
    state = fit(whole_run, config, loss_of, score_of)
    assert state.epoch == 6 and state.best > -0.5
    assert len(state.lines) == 6 and state.lines[0].startswith("epoch 1: loss ")

    steps = 0

    def fragile(net: nn.Module, rows: Tensor, random: torch.Generator) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 15:
            raise Killed
        return loss_of(net, rows, random)

    broken, config = line(tmp_path / "b", 6)
    with pytest.raises(Killed):
        fit(broken, config, fragile, score_of)
    again, config = line(tmp_path / "b", 6)
    fit(again, config, loss_of, score_of)
    for one, other in zip(whole_run.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(load_file(tmp_path / "b" / "best.safetensors")["0.weight"], again.state_dict()["0.weight"])


def test_training_stops_when_the_score_no_longer_grows(tmp_path: Path) -> None:
    net, config = line(tmp_path, 30)
    config = FitConfig(config.folder, 30, 64, batch=16, lr=0.02, patience=3)
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.5, 0.9])
    state = fit(net, config, loss_of, lambda _: next(scores))
    assert (state.epoch, state.best_epoch, state.best) == (5, 2, 0.5)


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    net, config = line(tmp_path, 1)
    fit(net, config, loss_of, score_of)
    with pytest.raises(CheckpointError, match=r"last\.safetensors does not continue this run .*; remove its folder"):
        fit(nn.Linear(4, 1), config, loss_of, score_of)


def test_the_rate_rises_and_falls() -> None:
    rates = [cosine_rate(part / 20, 0.25) for part in range(21)]
    assert rates[0] == pytest.approx(0.05) and rates[5] == pytest.approx(1) and rates[20] == pytest.approx(0)
    assert rates[:6] == sorted(rates[:6]) and rates[5:] == sorted(rates[5:], reverse=True)


# -- against plain loops ----------------------------------------------------------------------------------------


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(torch.equal(a, b) for (name, a), (_, b) in pairs if not name.endswith("num_batches_tracked"))


def test_adam_at_a_constant_rate_and_whole_epochs() -> None:
    """As PE-CLIP is trained: every example of an epoch, one generator an epoch, the last weights."""
    ours, theirs = small_net(), small_net()
    config = FitConfig(None, 3, 64, 10, average=0.0, clip_norm=0.0, drop_last=False, half=False, epoch_seed=100)
    optimizers = [torch.optim.Adam(net.parameters(), 0.01) for net in (ours, theirs)]
    state = fit(ours, config, loss_of, optimizer=optimizers[0], pace=constant_rate)
    for epoch in range(3):
        torch.manual_seed(100 + epoch)
        draw = torch.Generator().manual_seed(100 + epoch)
        losses = []
        for rows in torch.randperm(64, generator=draw).split(10):
            loss = loss_of(theirs, rows, draw)
            optimizers[1].zero_grad()
            loss.backward()
            optimizers[1].step()
            losses.append(loss.item())
    assert same(ours, theirs)
    assert state.loss == pytest.approx(sum(losses) / 7) and not ours.training


def test_rise_cosine_clipping_and_torch_averages(tmp_path: Path) -> None:
    """As the face reader is trained: parts of a loss, a warm-up in steps, averages that begin as a copy."""
    ours, theirs = small_net(), small_net()

    def factor(step: int, part: float) -> float:
        return min(1.0, (step + 1) / 5) * (0.01 + 0.99 * (1 + math.cos(math.pi * part)) / 2)

    def parts_of(net: nn.Module, rows: Tensor, random: torch.Generator) -> dict[str, Tensor]:
        loss = loss_of(net, rows, random)
        return {"near": loss, "far": 2 * loss}

    config = FitConfig(
        tmp_path, 3, 64, 16, 0.02, 0.03, rising=False, clip_norm=0.5, half=False, epoch_seed=7, patience=99
    )  # fmt: skip
    state = fit(ours, config, parts_of, pace=scaled_rate(0.02, factor))
    average = AveragedModel(theirs, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
    groups = [{"params": [p for p in theirs.parameters() if (p.ndim > 1) is big], "weight_decay": 0.03 * big}
              for big in (True, False)]  # fmt: skip
    optimizer = torch.optim.AdamW(groups)
    for epoch in range(3):
        torch.manual_seed(7 + epoch)
        draw = torch.Generator().manual_seed(7 + epoch)
        for step, rows in enumerate(torch.randperm(64, generator=draw).split(16)):
            for group in optimizer.param_groups:
                group["lr"] = 0.02 * factor(4 * epoch + step, (4 * epoch + step) / 12)
            optimizer.zero_grad()
            torch.stack(list(parts_of(theirs, rows, draw).values())).sum().backward()
            nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
            optimizer.step()
            average.update_parameters(theirs)
    assert same(ours, average.module)
    assert state.best_epoch == 3 and "near" in state.lines[0] and "far" in state.lines[0]
    assert read_run_state(tmp_path) == state
    torch.testing.assert_close(load_file(tmp_path / BEST)["0.weight"], ours[0].weight)  # type: ignore[index]


def test_a_step_without_a_number_is_left_out() -> None:
    ours, theirs = nn.Linear(4, 1), nn.Linear(4, 1)
    theirs.load_state_dict(ours.state_dict())
    calls = iter(range(100))

    def sick(net: nn.Module, rows: Tensor, random: torch.Generator) -> Tensor:
        return net(X[rows]).sum() * (math.nan if next(calls) else 1.0)

    config = FitConfig(None, 1, 64, 16, average=0.0, half=False, weight_decay=0.0)
    assert fit(ours, config, sick).skipped == 3
    assert not torch.equal(ours.weight, theirs.weight) and torch.isfinite(ours.weight).all()


def test_time_ends_a_run(tmp_path: Path) -> None:
    net, _ = line(tmp_path, 1)
    config = FitConfig(tmp_path, 10**6, 64, batch=16, minutes=0.005)
    state = fit(net, config, loss_of, score_of)
    assert 0.2 < state.seconds < 20 and state.epoch < 10**6


def test_minimise() -> None:
    x = torch.zeros(2, requires_grad=True)
    minimise(lambda: (x - torch.tensor([1.0, -2.0])).square().sum(), [x])
    torch.testing.assert_close(x.detach(), torch.tensor([1.0, -2.0]))
