"""Training of one small net: one cosine, averaged weights, early stopping, exact resume after every epoch."""

import json
import logging
import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from captioner.errors import CheckpointError
from captioner.files import atomic

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitConfig:
    """How long and how fast: epochs of `count` examples in batches, peak rate, patience in epochs without gain."""

    folder: Path
    epochs: int
    count: int
    batch: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.05
    patience: int = 8
    average: float = 0.998
    """Share of the averaged weights that a step keeps."""
    warmup: float = 0.15
    seed: int = 0
    device: str = "cpu"
    minutes: float = 0.0
    """Of training, in which the rate falls to 0 however many epochs that is, `epochs` at most; 0: by the epochs."""


@dataclass
class RunState:
    """Where a run stands: epochs done, the best score so far and its epoch, one line of log an epoch."""

    epoch: int = 0
    best: float = float("-inf")
    best_epoch: int = 0
    seconds: float = 0.0
    lines: list[str] = field(default_factory=list)


Loss = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
Score = Callable[[nn.Module], float]


def best_device() -> str:
    """cuda where there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def halves(device: str) -> bool:
    """Whether the device multiplies bfloat16 faster than float32."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    ask = getattr(torch.cpu, "get_capabilities", None)  # torch 2.6 does not say
    return bool(ask and ask().get("avx512_bf16", False))


def cosine_rate(part: float, warmup: float) -> float:
    """Share of the peak rate after this part of the run: half a cosine up from 5 %, half a cosine down to 0."""
    if part < warmup:
        return 0.525 - 0.475 * math.cos(math.pi * part / warmup)
    return 0.5 + 0.5 * math.cos(math.pi * (part - warmup) / (1 - warmup))


def fit(net: nn.Module, plan: FitConfig, loss_of: Loss, score_of: Score) -> RunState:
    """Train the net in place and leave the best averaged weights in it.

    loss_of(net, rows, random) is the loss of the examples `rows`; score_of(averaged net) grows with quality.
    A run killed in `plan.folder` goes on after its last whole epoch, as if it had not been killed.
    """
    run = _Run(net, plan)
    run.resume()
    steps = plan.count // plan.batch
    while run.part < 1 and run.course.epoch - run.course.best_epoch < plan.patience:
        losses = []
        order = torch.randperm(plan.count, generator=run.order)[: steps * plan.batch]
        for rows in order.split(plan.batch):
            losses.append(run.step(loss_of, rows.to(plan.device)))
            if plan.minutes and run.part >= 1:
                break
        run.close_epoch(sum(losses) / len(losses), score_of(run.mean))
    net.load_state_dict(load_file(plan.folder / "best.safetensors"))
    net.eval()
    return run.course


class _Run:
    """Net, averaged net, optimiser, schedule and random states."""

    def __init__(self, net: nn.Module, plan: FitConfig) -> None:
        self.net, self.plan, self.course = net.to(plan.device).train(), plan, RunState()
        self.mean = deepcopy(net).eval().requires_grad_(False)
        vectors = [p for p in net.parameters() if p.ndim < 2]
        matrices = [p for p in net.parameters() if p.ndim > 1]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=plan.lr, weight_decay=plan.weight_decay)
        self.total = plan.epochs * (plan.count // plan.batch)
        self.order = torch.Generator().manual_seed(plan.seed)
        self.random = torch.Generator(plan.device).manual_seed(plan.seed)
        self.half = halves(plan.device)
        self.steps = 0
        self.began = time.monotonic()  # of the epoch

    @property
    def part(self) -> float:
        """Share of the run that is over."""
        done = self.steps / self.total
        if self.plan.minutes:
            done = max(done, (self.course.seconds + time.monotonic() - self.began) / (60 * self.plan.minutes))
        return done

    def step(self, loss_of: Loss, rows: Tensor) -> float:
        """One step of the optimiser; the loss."""
        with torch.autocast(self.plan.device.split(":")[0], torch.bfloat16, enabled=self.half):
            loss = loss_of(self.net, rows, self.random)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.lr * cosine_rate(min(1.0, self.part), self.plan.warmup)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimizer.step()
        self.steps += 1
        keep = min(self.plan.average, self.steps / (self.steps + 10))  # an early average forgets its start
        with torch.no_grad():
            for old, new in zip(self.mean.state_dict().values(), self.net.state_dict().values(), strict=True):
                old.lerp_(new, 1 - keep) if old.is_floating_point() else old.copy_(new)
        return loss.item()

    def close_epoch(self, loss: float, score: float) -> None:
        """Log, keep the best, write what a resume needs."""
        course, seconds = self.course, time.monotonic() - self.began
        course.epoch += 1
        course.seconds += seconds
        self.began = time.monotonic()
        better = score > course.best or course.best_epoch == 0  # a score of nan, too, leaves weights behind
        if better:
            course.best, course.best_epoch = score, course.epoch
        line = f"epoch {course.epoch}: loss {loss:.4f}, score {score:.4f}{' *' if better else ''}, {seconds:.0f} s"
        course.lines.append(line)
        log.info("%s", line)
        if better:
            _write(self.plan.folder / "best.safetensors", self.mean.state_dict())
        _write(self.plan.folder / "last.safetensors", self._tensors())

    def resume(self) -> None:
        """Go on from `last.safetensors` when the folder has one."""
        path = self.plan.folder / "last.safetensors"
        if not path.exists():
            return
        try:
            state = load_file(path)
            self._restore(state)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{path} does not continue this run ({reason}); remove its folder") from None
        log.info("resumed %s after epoch %d", self.plan.folder, self.course.epoch)

    def _tensors(self) -> dict[str, Tensor]:
        state = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        state |= {f"mean.{k}": v for k, v in self.mean.state_dict().items()}
        moments = self.optimizer.state_dict()["state"]
        state |= {f"opt.{i}.{k}": v for i, parts in moments.items() for k, v in parts.items()}
        about = json.dumps(asdict(self.course)).encode()
        return state | {
            "random.order": self.order.get_state(),
            "random.pictures": self.random.get_state(),
            "steps": torch.tensor(self.steps),
            "course": torch.frombuffer(bytearray(about), dtype=torch.uint8),
        }

    def _restore(self, state: dict[str, Tensor]) -> None:
        self.net.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("net.")})
        self.mean.load_state_dict({k[5:]: v for k, v in state.items() if k.startswith("mean.")})
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("opt."):
                _, number, name = key.split(".")
                moments.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.order.set_state(state["random.order"])
        self.random.set_state(state["random.pictures"])
        self.course = RunState(**json.loads(bytes(state["course"].tolist()).decode()))
        self.steps = int(state["steps"])


def _write(path: Path, state: dict[str, Tensor]) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(save({k: v.detach().cpu().contiguous() for k, v in state.items()}))
