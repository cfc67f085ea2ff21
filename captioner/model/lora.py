"""Low-rank adapters in encoders that are otherwise frozen, by peft."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import nn

from captioner.errors import ConfigError

# Linear maps of attention, as the libraries call them.
ATTENTION = ("qkv", "q", "k", "v", "query", "key", "value", "q_proj", "k_proj", "v_proj", "c_attn")
MARK = "lora_"  # in the names of an adapter's weights


def add_adapters(net: nn.Module, rank: int, key: str) -> None:
    """Freeze a network and put adapters of that rank, which learn, beside the linear maps of its attention."""
    if find_spec("peft") is None:
        raise ConfigError(f"{key}={rank} needs peft, which is not installed: pip install peft, or set {key}=0")
    targets = sorted({
        name for name, module in net.named_modules()
        if name.rsplit(".", 1)[-1] in ATTENTION and not list(module.children()) and hasattr(module, "weight")
    })  # fmt: skip
    if not targets:
        raise ConfigError(f"{key}={rank}: this encoder has no attention of linear maps for adapters: set {key}=0")
    net.requires_grad_(False)
    peft: Any = import_module("peft")
    settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, lora_dropout=0.0)
    peft.inject_adapter_in_model(settings, net)
