"""Who computes gradients: the interface that the loop is blind to, and the plain engine (torch alone)."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from captioner.config import TrainConfig
from captioner.model.captioner import CaptionLosses, EmotionCaptioner
from captioner.model.lora import MARK
from captioner.train.processes import Processes, SharedLosses, named_losses
from captioner.train.reducer import GradientReducer
from captioner.train.self_critical import SelfCritic

BETAS, EPS = (0.9, 0.999), 1e-8  # of AdamW


def learning_rate(step: int, total: int, warmup: float) -> float:
    """Factor of a step: rises over the first `warmup` share, falls linearly to 0 (1e-8 at least)."""
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return max(1e-8, (total - step) / max(1, total - rise))


def parameter_groups(model: EmotionCaptioner, train: TrainConfig) -> list[dict[str, Any]]:
    """AdamW groups: video encoder at its own rate; biases, norms and other vectors without decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own_rate = name.startswith("video.") and MARK not in name  # adapters start from nothing
            groups.setdefault((own_rate, parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "params": members,
            "scale": train.video_lr_scale if video else 1.0,
            "lr": train.lr * (train.video_lr_scale if video else 1.0),
            "weight_decay": train.weight_decay if decay else 0.0,
        }
        for (video, decay), members in sorted(groups.items())
    ]


class Engine(Protocol):
    """What the loop needs from whoever computes gradients; plain below, DeepSpeed's in deepspeed_engine.py."""

    processes: Processes
    device: torch.device

    def losses(self, batch: Any, warm: bool, clips: int | None = None) -> CaptionLosses:
        """Forward pass of this process's clips out of `clips`; the losses are those of the whole micro-batch."""

    def backward(self, loss: Tensor, last: bool = True) -> None:
        """Add gradients of one micro-batch; `last` before a step."""

    def step(self, factor: float) -> Tensor:
        """Clip, update with the learning rates times `factor`, clear; returns the gradient norm, on the device."""

    def whole(self) -> AbstractContextManager[Any]:
        """While it is open every process holds every weight."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """This process's share of the optimiser: tensors by `optimizer.KEY.PARAMETER`, and plain values."""

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take up the states of all processes, however many they were, after the model took up its weights."""


class PlainEngine:
    """AdamW on one device a process, gradients averaged over processes; autocast on a GPU."""

    def __init__(
        self, model: EmotionCaptioner, train: TrainConfig, device: torch.device, processes: Processes | None = None
    ) -> None:
        self.model, self.train, self.device = model.to(device), train, device
        self.processes = processes or Processes(device=device)
        self.shared = SharedLosses(model, self.processes)
        fused = device.type in ("cpu", "cuda")  # a third of the time of one parameter after the other
        self.optimizer = torch.optim.AdamW(parameter_groups(model, train), betas=BETAS, eps=EPS, fused=fused)
        self.names = {id(p): name for name, p in model.named_parameters()}
        self.members = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.critic: SelfCritic | None = None  # of a second stage by rewards
        self.reducer = GradientReducer(self.members, self.processes)
        self.dtype = pick_precision(train.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Mixed precision, or nothing at float32."""
        # On a CPU the backward pass of flash attention takes twice as long in bfloat16 as the plain one.
        plain = self.device.type == "cpu" and self.dtype == torch.bfloat16
        with ExitStack() as stack:
            if self.dtype != torch.float32:
                stack.enter_context(torch.autocast(self.device.type, dtype=self.dtype))
            if plain:
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield

    def losses(self, batch: Any, warm: bool, clips: int | None = None) -> CaptionLosses:
        clips = len(batch.frames) if clips is None else clips
        with self.autocast():
            if self.critic is not None:
                return self.critic.losses(self.model, batch.to(self.device), self.processes, clips)
            return named_losses(self.model, self.shared(batch.to(self.device), warm, clips))

    def backward(self, loss: Tensor, last: bool = True) -> None:
        self.reducer.arm(last)
        self.scaler.scale(loss).backward()

    def step(self, factor: float) -> Tensor:
        set_rates(self.optimizer, self.train.lr * factor)
        self.reducer.finish()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.members, self.train.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def whole(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {}
        for place, (parameter, moments) in enumerate(self.optimizer.state.items()):
            if place % self.processes.size != self.processes.rank:
                continue
            for key, value in moments.items():
                tensors[f"optimizer.{key}.{self.names[id(parameter)]}"] = value.cpu()
        return tensors, {"scaler": self.scaler.state_dict()}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        by_name = {self.names[id(p)]: p for p in self.members}
        for full, value in tensors.items():
            if full.startswith("optimizer."):
                _, key, name = full.split(".", 2)
                place = value.to(self.device)  # the fused update counts its steps there too
                self.optimizer.state[by_name[name]][key] = place.clone()
        self.scaler.load_state_dict(values["scaler"])


def set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of every group: `rate` times the group's scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The number format of the forward pass: bf16 on GPUs that have it, else fp16; float32 on CPUs."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
