"""Training of one small net: a schedule, averaged weights, early stopping, exact resume after every epoch.

Everything but the captioner is trained here: experts, face reader, CLIP pair, PE-CLIP. What differs between them is
handed in: the loss of some examples, a score, an optimiser, a pace.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from captioner.errors import CheckpointError, NotFinite
from captioner.files import atomic
from captioner.train.finite import weight_norm

log = logging.getLogger(__name__)

MOST_LEFT_OUT = 20  # steps in a row; one now and then is the doing of an odd batch
BEST, _LAST = "best.safetensors", "last.safetensors"


@dataclass(frozen=True)
class FitConfig:
    """How long and how fast: epochs of `count` examples in batches, peak rate, patience in epochs without gain."""

    folder: Path | None
    """Of the best averaged weights and of what a killed run goes on from; None: the last weights, and no resume."""
    epochs: int
    count: int
    batch: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.05
    patience: int = 8
    average: float = 0.998
    """Share of the averaged weights that a step keeps; 0: the net itself is scored and kept."""
    rising: bool = True
    """An early average keeps less, and so forgets its start; False: it begins as a copy of the first step."""
    clip_norm: float = 5.0
    """Longest gradient; a step whose gradient is no number is left out. 0: neither."""
    warmup: float = 0.15
    seed: int = 0
    epoch_seed: int | None = None
    """Every random number of epoch n follows from this + n; None: from `seed` at the start alone."""
    drop_last: bool = True
    """Leave out the last examples of an epoch where they do not fill a batch."""
    half: bool = True
    """Compute in bfloat16 where the device is faster at it."""
    device: str = "cpu"
    minutes: float = 0.0
    """Of training, in which the rate falls to 0 however many epochs that is, `epochs` at most; 0: by the epochs."""
    name: str = ""
    """Of a progress bar, which then takes the place of a line of log an epoch."""

    def order(self, epoch: int) -> Tensor:
        """The examples of an epoch as `fit` draws them where `epoch_seed` says so and none are dropped."""
        return torch.randperm(self.count, generator=torch.Generator().manual_seed((self.epoch_seed or 0) + epoch))

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return max(1, self.count // self.batch if self.drop_last else math.ceil(self.count / self.batch))


@dataclass
class RunState:
    """Where a run stands: epochs done, the best score so far and its epoch, one line of log an epoch."""

    epoch: int = 0
    best: float = float("-inf")
    best_epoch: int = 0
    seconds: float = 0.0
    lines: list[str] = field(default_factory=list)
    loss: float = 0.0
    """Mean of the last epoch."""
    skipped: int = 0
    """Steps left out, their gradient being no number."""


Losses = Tensor | Mapping[str, Tensor]  # a loss, or its parts by name
LossOf = Callable[[nn.Module, Tensor, torch.Generator], Losses]
ScoreOf = Callable[[nn.Module], float]
Pace = Callable[[torch.optim.Optimizer, int, float], None]  # sets the rates: steps done, share of the run that is over


def best_device() -> str:
    """cuda where there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def fast_bfloat16(device: str) -> bool:
    """Whether the device multiplies bfloat16 faster than float32."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    ask = getattr(torch.cpu, "get_capabilities", None)  # torch 2.6 does not say
    return bool(ask and ask().get("avx512_bf16", False))


def cosine_rate(part: float, warmup: float) -> float:
    """Share of the peak rate after this part of the run: half a cosine up from 5 %, half a cosine down to 0."""
    if part < warmup:
        return 0.525 - 0.475 * math.cos(math.pi * part / warmup)
    return 0.5 + 0.5 * math.cos(math.pi * (part - warmup) / (1 - warmup))


def scaled_rate(lr: float, factor_of: Callable[[int, float], float]) -> Pace:
    """A pace: `lr` times a factor of steps done and of the share of the run that is over."""

    def pace(optimizer: torch.optim.Optimizer, step: int, part: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr * factor_of(step, part)

    return pace


def constant_rate(optimizer: torch.optim.Optimizer, step: int, part: float) -> None:
    """The pace of an optimiser whose rates stay as they are."""


def decayed_adamw(net: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW that leaves biases, norms and other vectors without decay."""
    vectors = [p for p in net.parameters() if p.ndim < 2]
    matrices = [p for p in net.parameters() if p.ndim > 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)


def fit(
    net: nn.Module,
    config: FitConfig,
    loss_of: LossOf,
    score_of: ScoreOf | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    pace: Pace | None = None,
) -> RunState:
    """Train the net in place and leave the best averaged weights in it.

    loss_of(net, rows, random) is the loss of the examples `rows`; score_of(averaged net) grows with quality, without
    it the last epoch is the best. Unless told otherwise AdamW follows `cosine_rate`.
    A run killed in `config.folder` goes on after its last whole epoch, as if it had not been killed.
    """
    run = _Run(net, config, optimizer or decayed_adamw(net, config.lr, config.weight_decay))
    run.resume()
    pace = pace or scaled_rate(config.lr, lambda _, part: cosine_rate(part, config.warmup))
    state = run.state
    with tqdm(
        total=config.epochs, initial=state.epoch, desc=config.name, unit="epoch", disable=None if config.name else True
    ) as bar:
        while run.part < 1 and state.epoch - state.best_epoch < config.patience:
            losses = [run.step(loss_of, pace, rows) for rows in run.batches()]
            run.close_epoch(losses, score_of)
            bar.update()
    if config.folder is not None:
        net.load_state_dict(load_file(config.folder / BEST))
    net.eval()
    return state


def minimise(loss_of: Callable[[], Tensor], parameters: Sequence[Tensor], steps: int = 50) -> None:
    """Bring a smooth loss of a few numbers to its minimum (L-BFGS)."""
    optimizer = torch.optim.LBFGS(list(parameters), max_iter=steps)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    optimizer.step(closure)


def read_run_state(folder: Path) -> RunState:
    """Where the run in a folder stands."""
    return _state_in(load_file(folder / _LAST))


class _Run:
    """Net, averaged net, optimiser and random states."""

    def __init__(self, net: nn.Module, config: FitConfig, optimizer: torch.optim.Optimizer) -> None:
        self.net, self.config, self.optimizer, self.state = net.to(config.device).train(), config, optimizer, RunState()
        self.mean = deepcopy(net).eval().requires_grad_(False) if config.average else net
        self.order = torch.Generator().manual_seed(config.seed)
        self.random = torch.Generator(config.device).manual_seed(config.seed)
        self.half = config.half and fast_bfloat16(config.device)
        self.steps = 0
        self.left_out = 0  # steps in a row
        self.began = time.monotonic()  # of the epoch

    @property
    def part(self) -> float:
        """Share of the run that is over."""
        done = self.steps / (self.config.epochs * self.config.steps)
        if self.config.minutes:
            done = max(done, (self.state.seconds + time.monotonic() - self.began) / (60 * self.config.minutes))
        return done

    def batches(self) -> Iterator[Tensor]:
        """The rows of this epoch's batches, until the time is over."""
        config = self.config
        if config.epoch_seed is not None:
            seed = config.epoch_seed + self.state.epoch
            torch.manual_seed(seed)
            self.random = self.order.manual_seed(seed)
        order = torch.randperm(config.count, generator=self.order)
        if config.drop_last:
            order = order[: config.steps * config.batch]
        for rows in order.split(config.batch):
            yield rows.to(config.device)
            if config.minutes and self.part >= 1:
                return

    def step(self, loss_of: LossOf, pace: Pace, rows: Tensor) -> dict[str, float]:
        """One step of the optimiser; the loss and, where it has some, its parts."""
        self.optimizer.zero_grad()  # first: a loss of several batches takes gradients of its own
        with torch.autocast(self.config.device.split(":")[0], torch.bfloat16, enabled=self.half):
            parts = loss_of(self.net, rows, self.random)
        loss = parts if isinstance(parts, Tensor) else torch.stack(list(parts.values())).sum()
        pace(self.optimizer, self.steps, min(1.0, self.part))
        loss.backward()
        self.steps += 1
        limit = self.config.clip_norm
        if limit and not torch.isfinite(nn.utils.clip_grad_norm_(self.net.parameters(), limit)):
            self.state.skipped += 1
            self.left_out += 1
        else:
            self.optimizer.step()
            self.average()
            self.left_out = 0
        if self.left_out >= MOST_LEFT_OUT or not (limit or torch.isfinite(loss)):
            rate = self.optimizer.param_groups[0]["lr"]
            raise NotFinite(f"step {self.steps}: the loss is {loss.item():.4g}, at learning rate {rate:.3g}")
        named = {} if isinstance(parts, Tensor) else parts
        return {"loss": loss.item(), **{name: value.item() for name, value in named.items()}}

    @torch.no_grad()
    def average(self) -> None:
        """Take the net's weights into the averaged ones."""
        if self.mean is self.net:
            return
        early = self.steps / (self.steps + 10) if self.config.rising else float(self.steps > 1)
        keep = min(self.config.average, early)
        for old, new in zip(self.mean.state_dict().values(), self.net.state_dict().values(), strict=True):
            old.lerp_(new, 1 - keep) if old.is_floating_point() else old.copy_(new)

    def close_epoch(self, losses: list[dict[str, float]], score_of: ScoreOf | None) -> None:
        """Score, log, keep the best, write what a resume needs."""
        state = self.state
        if not weight_norm(self.net).isfinite():
            raise NotFinite(f"epoch {state.epoch + 1}: a weight is not finite; the epoch before is kept")
        score = float(state.epoch + 1) if score_of is None else score_of(self.mean.eval())
        self.net.train()
        seconds = time.monotonic() - self.began
        state.epoch += 1
        state.seconds += seconds
        self.began = time.monotonic()
        better = score > state.best or state.best_epoch == 0  # a score of nan, too, leaves weights behind
        if better:
            state.best, state.best_epoch = (-math.inf if math.isnan(score) else score), state.epoch
        means = {name: sum(row[name] for row in losses) / len(losses) for name in losses[0]}
        state.loss = means["loss"]
        words = [f"{name} {value:.4f}" for name, value in means.items()]
        words += [f"score {score:.4f}{' *' if better else ''}"] if score_of is not None else []
        words += [f"{state.skipped} steps left out"] if state.skipped else []
        state.lines.append(f"epoch {state.epoch}: {', '.join(words)}, {seconds:.0f} s")
        log.log(logging.DEBUG if self.config.name else logging.INFO, "%s", state.lines[-1])
        if self.config.folder is not None:
            if better:
                _write(self.config.folder / BEST, self.mean.state_dict())
            _write(self.config.folder / _LAST, self._tensors())

    def resume(self) -> None:
        """Go on from `last.safetensors` when the folder has one."""
        path = None if self.config.folder is None else self.config.folder / _LAST
        if path is None or not path.exists():
            return
        try:
            self._restore(load_file(path))
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{path} does not continue this run ({reason}); remove its folder") from None
        log.info("resumed %s after epoch %d", path.parent, self.state.epoch)

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        if self.mean is not self.net:
            tensors |= {f"mean.{k}": v for k, v in self.mean.state_dict().items()}
        moments = self.optimizer.state_dict()["state"]
        tensors |= {f"opt.{i}.{k}": v for i, parts in moments.items() for k, v in parts.items()}
        about = json.dumps(asdict(self.state)).encode()
        return tensors | {
            "random.order": self.order.get_state(),
            "random.pictures": self.random.get_state(),
            "steps": torch.tensor(self.steps),
            "course": torch.frombuffer(bytearray(about), dtype=torch.uint8),
        }

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        self.net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
        if self.mean is not self.net:
            self.mean.load_state_dict({k[5:]: v for k, v in tensors.items() if k.startswith("mean.")})
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("opt."):
                _, number, name = key.split(".")
                moments.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.order.set_state(tensors["random.order"])
        self.random.set_state(tensors["random.pictures"])
        vars(self.state).update(vars(_state_in(tensors)))
        self.steps = int(tensors["steps"])


def _state_in(tensors: Mapping[str, Tensor]) -> RunState:
    return RunState(**json.loads(bytes(tensors["course"].tolist()).decode()))


def _write(path: Path, state: dict[str, Tensor]) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(save({k: v.detach().cpu().contiguous() for k, v in state.items()}))
