"""The engine over DeepSpeed: ZeRO 0-3, optimiser offload, mixed precision by torch's autocast.

The YAML config stays the only place that says how training goes (batch, rates, clipping, precision); the JSON says
where weights, gradients and moments live. Weights are float32 throughout, so what is saved is exact.
"""

import importlib.util
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from captioner.config import TrainConfig
from captioner.errors import ConfigError
from captioner.files import missing
from captioner.model.captioner import CaptionLosses, EmotionCaptioner
from captioner.train.engine import BETAS, EPS, parameter_groups, pick_precision, set_rates
from captioner.train.processes import Processes, SharedLosses, named_losses

log = logging.getLogger(__name__)

# Keys that would contradict the YAML, and what decides there.
_DECIDED = {
    "train_batch_size": "train.batch",
    "train_micro_batch_size_per_gpu": "train.batch",
    "gradient_accumulation_steps": "train.accumulate",
    "optimizer": "train.lr and train.weight_decay",
    "scheduler": "train.warmup",
    "gradient_clipping": "train.clip_norm",
    "fp16": "train.precision",
    "bf16": "train.precision",
    "torch_autocast": "train.precision",
}
_MOMENTS = ("exp_avg", "exp_avg_sq")
# Weights read outside a forward whose inputs and outputs ZeRO 3 can follow: it must be told.
_READ_DIRECTLY = (
    *("fusion.kinds.weight", "fusion.video_mask", "textual.classes.weight"),
    *("visual.null_er", "visual.null_au"),
)


def read_settings(path: str | Path) -> dict[str, Any]:
    """The JSON of a DeepSpeed setting, checked; its "about" is for people."""
    path = Path(path)
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"train.deepspeed: {missing(path)}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"train.deepspeed: {path} is not JSON: {error}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"train.deepspeed: {path} holds a {type(settings).__name__}, not a mapping")
    if twice := sorted(settings.keys() & _DECIDED):
        raise ConfigError(
            f"{path} sets {twice[0]}, which {_DECIDED[twice[0]]} of the YAML config decides: remove it there"
        )
    settings.pop("about", None)
    stage = settings.setdefault("zero_optimization", {}).setdefault("stage", 0)
    if stage not in (0, 1, 2, 3):
        raise ConfigError(f"{path}: zero_optimization.stage is {stage!r}; allowed: 0, 1, 2, 3")
    return settings


class DeepSpeedEngine:
    """DeepSpeed behind the loop's interface; it starts with the first batch or checkpoint, on the model as it is."""

    def __init__(self, model: EmotionCaptioner, train: TrainConfig, device: torch.device, processes: Processes) -> None:
        if importlib.util.find_spec("deepspeed") is None:
            raise ConfigError(
                "train.deepspeed needs deepspeed, which is not installed: pip install 'captioner[train]', or leave "
                "train.deepspeed empty"
            )
        self.settings = read_settings(train.deepspeed)
        self.model, self.train, self.device, self.processes = model, train, device, processes
        self.stage = int(self.settings["zero_optimization"]["stage"])
        self.names = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.dtype = pick_precision(train.precision, device)
        self.adam = torch.optim.AdamW(parameter_groups(model, train), betas=BETAS, eps=EPS)
        self._started: Any = None

    @property
    def running(self) -> Any:
        """DeepSpeed's own engine, started when first needed: it copies the weights then."""
        if self._started is None:
            self._started = self.start()
        return self._started

    def start(self) -> Any:
        """Hand the model over to DeepSpeed."""
        os.environ.setdefault("DS_ACCELERATOR", "cuda" if self.device.type == "cuda" else "cpu")
        import deepspeed

        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        if self.device.type == "cpu":  # or it compiles a shared-memory kernel for minutes that gloo does without
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        settings = {
            **self.settings,
            "train_micro_batch_size_per_gpu": 1,  # the loop deals out clips; DeepSpeed only wants a number
            "gradient_accumulation_steps": 1,
            "gradient_clipping": self.train.clip_norm,
            "zero_force_ds_cpu_optimizer": False,  # the same AdamW wherever the moments lie
            "steps_per_print": 1 << 40,
        }
        if self.dtype != torch.float32:
            settings["torch_autocast"] = {"enabled": True, "dtype": str(self.dtype).removeprefix("torch.")}
        if not dist.is_initialized():
            alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
            dist.init_process_group(
                "nccl" if self.device.type == "cuda" else "gloo", store=dist.HashStore(), rank=0, world_size=1
            )
            os.environ.update(alone)
        shared = SharedLosses(self.model.to(self.device), self.processes)
        if self.stage == 3:
            self.tell_zero3(shared)
        started, *_ = deepspeed.initialize(model=shared, optimizer=self.adam, config=settings, dist_init_required=False)
        return started

    def tell_zero3(self, shared: SharedLosses) -> None:
        """Frozen experts travel as one piece; weights read outside their module belong to the whole forward."""
        from deepspeed.runtime.zero import register_external_parameter
        from deepspeed.utils import set_z3_leaf_module

        if hasattr(self.model, "experts"):
            set_z3_leaf_module(self.model.experts, True)
        for name, parameter in self.model.named_parameters():
            if name in _READ_DIRECTLY:
                register_external_parameter(shared, parameter)

    def losses(self, batch: Any, warm: bool, clips: int | None = None) -> CaptionLosses:
        clips = len(batch.frames) if clips is None else clips
        return named_losses(self.model, self.running(batch.to(self.device), warm, clips))

    def backward(self, loss: Tensor, last: bool = True) -> None:
        self.running.set_gradient_accumulation_boundary(last)
        self.running.backward(loss, scale_wrt_gas=False)

    def step(self, factor: float) -> Tensor:
        set_rates(self.adam, self.train.lr * factor)
        norm = None
        if self.stage == 0:  # DeepSpeed clips there, but does not say what it clipped
            norm = nn.utils.get_total_norm([p.grad for p in self.names.values() if p.grad is not None])
        self.running.step()
        norm = self.running.get_global_grad_norm() if norm is None else norm
        return torch.as_tensor(float("nan") if norm is None else norm)

    @contextmanager
    def whole(self) -> Iterator[None]:
        if self.stage < 3 or self._started is None:
            yield
            return
        import deepspeed

        offload = self.running.optimizer.parameter_offload
        parameters = list(self.model.parameters())
        with deepspeed.zero.GatheredParameters(parameters):
            for parameter in parameters:
                parameter.ds_active_sub_modules.clear()  # type: ignore[attr-defined]
            for hook in (*offload.forward_hooks, *offload.backward_hooks):
                hook.remove()  # or the first layer that runs would give its weights away again
            offload.forward_hooks, offload.backward_hooks = [], []
            try:
                yield
            finally:
                offload._register_deepspeed_module(offload.module)

    # -- what resumes it --------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors: dict[str, Tensor] = {}
        if self._started is None or not self.adam.state:
            return tensors, {"scaler": self.scaler_state()}
        steps = self.steps()
        self.link_moments()
        for place, (name, parameter) in enumerate(self.names.items()):
            mine = place % self.processes.size == self.processes.rank
            for key in _MOMENTS:
                value = self.moment(parameter, key)  # every process takes part
                if mine and value is not None:
                    tensors[f"optimizer.{key}.{name}"] = value.detach().cpu().clone()
            if mine:
                tensors[f"optimizer.step.{name}"] = torch.tensor(float(steps))
        return tensors, {"scaler": self.scaler_state()}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        running = self.running
        steps = max((float(v) for k, v in tensors.items() if k.startswith("optimizer.step.")), default=0.0)
        if steps:
            self.open_states(steps)
            for name, parameter in self.names.items():
                for key in _MOMENTS:
                    value = tensors.get(f"optimizer.{key}.{name}")
                    if value is not None:
                        self.set_moment(parameter, key, value)
        scaler = self.scaler()
        if scaler is not None and values.get("scaler"):
            scaler.load_state_dict(values["scaler"])
        running.global_steps = int(steps)

    def steps(self) -> float:
        """How many updates AdamW has made."""
        return max((float(s["step"]) for s in self.adam.state.values() if "step" in s), default=0.0)

    def masters(self) -> list[Tensor]:
        """The tensors that AdamW updates: parameters, or DeepSpeed's flat pieces of them."""
        zero = self.running.optimizer
        if self.stage == 0:
            return list(self.names.values())
        return list(zero.fp32_partitioned_groups_flat if self.stage == 3 else zero.single_partition_of_fp32_groups)

    def open_states(self, steps: float) -> None:
        """Zero moments after `steps` updates, for `set_moment` to fill."""
        for master in self.masters():
            zeros = {key: torch.zeros_like(master.detach()) for key in _MOMENTS}
            self.adam.state[master] = {"step": torch.tensor(float(steps)), **zeros}
        self.link_moments()

    def link_moments(self) -> None:
        """ZeRO 1 and 2 look parameters up in the flat moments by a link that is made once, at times too early."""
        if self.stage in (1, 2):
            zero = self.running.optimizer
            zero._hp_optimizer_states_linked = False
            zero._lazy_init_hp_params_optimizer_state()

    def moment(self, parameter: nn.Parameter, key: str) -> Tensor | None:
        """A parameter's moment in full."""
        value: Tensor | None
        if self.stage == 0:
            value = self.adam.state[parameter].get(key)
            return value
        from deepspeed.utils import safe_get_full_optimizer_state

        value = safe_get_full_optimizer_state(parameter, key)
        return value

    def set_moment(self, parameter: nn.Parameter, key: str, value: Tensor) -> None:
        """The inverse of `moment`; each process keeps its piece."""
        if self.stage == 0:
            self.adam.state[parameter][key].copy_(value)
            return
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        value = value.to(self.device)
        if self.stage < 3:
            safe_set_full_optimizer_state(parameter, value, key)
            return
        length = parameter.ds_tensor.numel()  # type: ignore[attr-defined]
        padded = value.new_zeros(length * self.processes.size)  # the last piece may be longer than what is left
        padded[: value.numel()] = value.flatten()
        safe_set_local_optimizer_state(parameter, padded[length * self.processes.rank :][:length].clone(), key)

    def scaler(self) -> Any:
        """DeepSpeed's loss scaler, float16 only."""
        if self._started is None:
            return None
        inner = getattr(self._started.optimizer, "torch_autocast_gradscaler", None)
        return inner if self.stage else self._started.torch_autocast_z0_gradscaler

    def scaler_state(self) -> dict[str, Any]:
        """Its state; empty without one."""
        scaler = self.scaler()
        return scaler.state_dict() if scaler is not None else {}
