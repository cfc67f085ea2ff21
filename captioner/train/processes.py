"""Several processes on one batch: who takes which clips, and what they exchange so that all see the same losses.

Every micro-batch is cut into runs of neighbouring clips, one a process. Local to a process are decoding, both
encoders and the fusion. Gathered, with gradients, is what the alignment losses compare (ER, AU, class tokens, caption
features): ECA's negatives are the whole micro-batch, so its losses do not depend on how many processes share it.
The word loss is a sum of the process divided by the words hidden in all. Random layers (dropout, dropped paths) draw
from a generator of each process: with them, losses of different numbers of processes agree on average only.

Axes: B clips of the micro-batch, b of this process, J text pieces.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.errors import CaptionerError, CheckpointError, ConfigError, SilentError
from captioner.model.batch import Batch, EncodedClip
from captioner.model.captioner import CaptionLosses, EmotionCaptioner

_PATIENCE = timedelta(hours=1)  # one process draws clips or validates while the others wait
# What gloo and NCCL say when another process has ended; they raise plain RuntimeErrors.
_PARTED = ("closed by peer", "reset by peer", "roken pipe", "onnection refused", "Timed out", "timed out", "NCCL")


@dataclass(frozen=True)
class Processes:
    """Which process this is, among how many; methods that talk do nothing when it is alone."""

    rank: int = 0
    size: int = 1
    local: int = 0
    """Number of the process on its machine: its GPU."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where exchanged numbers lie."""

    @property
    def main(self) -> bool:
        """Whether this process writes logs and plain checkpoints."""
        return self.rank == 0

    def share(self, count: int, rank: int | None = None) -> range:
        """Places of `count` clips that a process takes; sizes differ by one at most, and may be 0."""
        rank = self.rank if rank is None else rank
        least, more = divmod(count, self.size)
        first = rank * least + min(rank, more)
        return range(first, first + least + (rank < more))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag if self.size == 1 else bool(self.table([int(flag)]).amax())

    def table(self, numbers: Sequence[int]) -> Tensor:
        """The numbers of every process, (processes, numbers) int64; no GPU is waited for."""
        own = torch.tensor([*numbers], dtype=torch.int64)
        if self.size == 1:
            return own[None]
        rows = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(rows, own)
        return torch.stack(rows)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a detached tensor over processes."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.size
        return value

    def all_gather_json(self, value: Any) -> list[Any]:
        """A JSON value of every process, in their order."""
        if self.size == 1:
            return [value]
        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = self.table([len(text)])[:, 0].tolist()
        own = F.pad(text, (0, max(lengths) - len(text)))
        rows = [torch.empty_like(own) for _ in lengths]
        dist.all_gather(rows, own)
        return [json.loads(bytes(row[:length].tolist()).decode()) for row, length in zip(rows, lengths, strict=True)]

    def wait(self) -> None:
        """Until every process is here."""
        self.any(False)

    @contextmanager
    def first(self) -> Iterator[None]:
        """The main process does the block before the others do."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()

    def error(self, text: str) -> CheckpointError:
        """What all processes raise alike; one line of it is enough for people."""
        return CheckpointError(text) if self.main else SilentError(text)

    @contextmanager
    def peer_failures(self) -> Iterator[None]:
        """A block that ends with one line when another process has ended in the middle of it."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(sign in str(error) for sign in _PARTED):
                raise
            raise CaptionerError(
                f"process {self.rank + 1} of {self.size} lost another one, whose output says why if it was not killed: "
                f"the same command goes on from the last checkpoint"
            ) from None

    def leave(self) -> None:
        """Say good-bye to the others."""
        if dist.is_initialized():
            dist.destroy_process_group()


def join_processes(device: torch.device) -> Processes:
    """The processes that torchrun's or deepspeed's launcher describes in the environment; alone without one."""
    asked = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")}
    if asked["RANK"] is None or asked["WORLD_SIZE"] is None:
        return Processes(device=device)
    try:
        rank, size, local = (int(asked[name] or 0) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except ValueError:
        raise ConfigError(
            f"RANK={asked['RANK']!r}, WORLD_SIZE={asked['WORLD_SIZE']!r} in the environment: whole numbers are needed; "
            f"start with `torchrun --nproc-per-node N scripts/train.py ...`"
        ) from None
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"process {local} of this machine has no GPU of its own ({torch.cuda.device_count()} here): "
                f"start one process a GPU"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    # Tensors on GPUs go by NCCL, small talk by gloo.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    return Processes(rank, size, local, device)


class Gather(torch.autograd.Function):
    """Rows of every process in order.

    Each process computes the same loss from all rows, and gradients are averaged over processes afterwards: the
    gradient of the own rows is therefore multiplied by the number of processes here.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, processes: Processes, sizes: list[int]) -> Tensor:
        ctx.rows, ctx.processes, ctx.sizes = len(own), processes, sizes
        count = sizes[processes.rank]
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[:count] = own[:count]
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        first, count = sum(ctx.sizes[: ctx.processes.rank]), ctx.sizes[ctx.processes.rank]
        own = grad.new_zeros(ctx.rows, *grad.shape[1:])
        own[:count] = grad[first : first + count] * ctx.processes.size
        return own, None, None


class SharedLosses(nn.Module):
    """The captioner's losses of a micro-batch that processes share; in one process its plain forward."""

    def __init__(self, model: EmotionCaptioner, processes: Processes) -> None:
        super().__init__()
        self.model, self.processes = model, processes

    def forward(self, batch: Batch, warm: bool, clips: int) -> tuple[Tensor, ...]:
        """The live losses in the order of `live_names`, then the counts of pairs; `clips`: those of all processes.

        Values are those of the whole micro-batch; averaged over processes, so are gradients.
        """
        if self.processes.size == 1:
            losses = self.model(batch, warm=warm)
            return (*losses.live.values(), losses.counts)
        model, processes = self.model, self.processes
        sizes = [len(processes.share(clips, rank)) for rank in range(processes.size)]
        view = model.see(batch)
        assert batch.targets is not None
        hidden = batch.hidden_words * (sizes[processes.rank] > 0)
        longest = batch.text_ids.shape[1] if batch.text_ids is not None else 0
        table = processes.table([hidden, longest])
        share = hidden * processes.size / max(1, int(table[:, 0].sum()))
        live = [self.word_loss(view, batch, share)]
        counts = torch.zeros(2, device=batch.frames.device)
        if model.aligned:
            assert batch.text_ids is not None and batch.text_mask is not None
            features = model.text(batch.text_ids, batch.text_mask)
            view, features, batch = self.gathered(view, features, batch, sizes, int(table[:, 1].amax()))
            if model.config.prompts.er_sentence != "off":
                live.append(model.emotion_loss(view, features, batch))
            if model.config.prompts.au_word != "off":
                loss, counts = model.au_loss(view, features, batch, warm)
                live.append(loss)
        return (*live, counts)

    def word_loss(self, view: EncodedClip, batch: Batch, share: float) -> Tensor:
        """Value of all processes, gradient of this one; `share`: hidden words here over the mean of a process."""
        own = self.model.masked_words(view, batch) * share
        return own - own.detach() + self.processes.mean(own.detach())

    def gathered(
        self, view: EncodedClip, features: Tensor, batch: Batch, sizes: list[int], longest: int
    ) -> tuple[EncodedClip, Tensor, Batch]:
        """What the alignment losses read, of every clip: view (B, ...), features (B, J, width), masks and labels."""

        def rows(value: Tensor | None) -> Tensor | None:
            if value is None:
                return None
            plain = value.to(torch.uint8) if value.dtype == torch.bool else value
            gathered: Tensor = Gather.apply(plain.contiguous(), self.processes, sizes)
            return gathered.to(value.dtype)

        def texts(value: Tensor | None) -> Tensor | None:
            if value is None:
                return None
            room = longest - value.shape[1]
            return rows(F.pad(value, (0, 0, 0, room) if value.ndim == 3 else (0, room)))

        names = ("belief", "class_token", "er", "au", "au_index", "au_scores")
        whole: dict[str, Any] = {name: rows(getattr(view, name)) for name in names}
        words = texts(features)
        assert words is not None
        told = Batch(
            frames=batch.frames,
            text_mask=texts(batch.text_mask),
            text_words=texts(batch.text_words),
            emotion=rows(batch.emotion),
        )
        return replace(view, **whole), words, told


def live_names(model: EmotionCaptioner) -> list[str]:
    """The losses that a configuration has, in the order of the forward pass."""
    prompts = model.config.prompts
    names = [("mlm", True), ("er", prompts.er_sentence != "off"), ("au", prompts.au_word != "off")]
    return [name for name, alive in names if alive]


def named_losses(model: EmotionCaptioner, values: Sequence[Tensor]) -> CaptionLosses:
    """The output of `SharedLosses` as the loop takes it."""
    return CaptionLosses(dict(zip(live_names(model), values[:-1], strict=True)), values[-1])
