"""What a run really starts from, part by part, and that all its processes start from the same."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from captioner.config import ModelConfig
from captioner.errors import CaptionerError
from captioner.model.captioner import EmotionCaptioner
from captioner.model.tokenizer import Tokenizer
from captioner.store import weights_hash
from captioner.train.processes import Processes

T = TypeVar("T")
Origin = dict[str, str]  # name ("random" for none), revision where a hub gave one, sha256 of the weights as loaded

log = logging.getLogger(__name__)


def origins_of(config: ModelConfig, network: EmotionCaptioner, tokenizer: Tokenizer, start: str) -> dict[str, Origin]:
    """Where each part of a network at the start of a run comes from; `start` is the captioner that filled it."""
    named = {"video": config.video.pretrained, "text": config.text.pretrained, "fusion": config.fusion.pretrained,
             "experts": config.experts.source}  # fmt: skip
    found = {
        part: _origin(start if start and part != "experts" else name, network.get_submodule(part))
        for part, name in named.items()
        if isinstance(getattr(network, part, None), nn.Module)
    }
    found["tokenizer"] = {"name": start or config.tokenizer, "revision": "", "sha256": tokenizer.digest()}
    if config.emotion_prior:
        path = Path(config.emotion_prior_source or "") / "model.safetensors"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""
        found["emotion prior"] = {"name": config.emotion_prior_source or "", "revision": "", "sha256": digest}
    return found


def _origin(name: str, part: nn.Module) -> Origin:
    settings: Any = getattr(getattr(part, "net", None), "config", None)
    revision = getattr(settings, "_commit_hash", None) or ""
    return {"name": name or "random", "revision": revision, "sha256": weights_hash(part)}


def tell_origins(found: dict[str, Origin]) -> None:
    """One line of log."""
    parts = [
        f"{part} {origin['name']}{'@' + origin['revision'][:12] if origin['revision'] else ''} ({origin['sha256']})"
        for part, origin in found.items()
    ]
    log.info("starts from: %s", "; ".join(parts))


def together(processes: Processes, work: Callable[[], T]) -> T:
    """What `work` makes in every process; where it fails in one, all end with that one's line.

    `work` must not talk to other processes: one that has failed would leave them waiting.
    """
    made: list[T] = []
    fault = ""
    try:
        made.append(work())
    except CaptionerError as error:
        if processes.size == 1:
            raise
        fault = str(error)
    faults = processes.all_gather_json(fault)
    if any(faults):
        first = next(rank for rank, text in enumerate(faults) if text)
        raise processes.error(f"process {first + 1} of {processes.size}: {faults[first]}")
    return made[0]


def check_equal_weights(network: nn.Module, processes: Processes) -> None:
    """Refuse to start where a process has loaded other weights than the first one."""
    digests = processes.all_gather_json(weights_hash(network)) if processes.size > 1 else []
    if strangers := [rank + 1 for rank, digest in enumerate(digests) if digest != digests[0]]:
        raise processes.error(
            f"processes {', '.join(map(str, strangers))} of {processes.size} start from other weights than process 1: "
            f"copy the same files to every machine"
        )
