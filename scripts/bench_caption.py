"""Time the captioning of one clip with random weights:

    python scripts/bench_caption.py configs/paper.yaml [key=value ...]

Prints the seconds of the frozen experts, the video encoder, the right block, each decoding step and the total, and
the peak memory of the process. Extra keys: bench.tokens=20 bench.threads=2 bench.runs=3.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from captioner.config import Config, DecodeConfig, ModelConfig
from captioner.config_io import apply_override, build_config, read_yaml
from captioner.errors import CaptionerError
from captioner.model.batch import Batch
from captioner.model.captioner import EmotionCaptioner
from captioner.model.decoding import Special, next_log_probs


@dataclass(frozen=True)
class BenchConfig:
    """What is measured."""

    tokens: int = 20
    """Words written, whatever the random model would like."""
    threads: int = 2
    runs: int = 3
    """Repetitions; the median is printed."""


@dataclass(frozen=True)
class Timings(Config):
    """A training config with a bench section."""

    bench: BenchConfig = field(default_factory=BenchConfig)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result of a call."""
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def build_random(config: ModelConfig) -> EmotionCaptioner:
    """The config's network with random weights and BERT's vocabulary size; nothing is downloaded."""
    config = replace(config, vocab_size=30522, experts=replace(config.experts, source=""))
    return EmotionCaptioner(config, load=False).eval()


@torch.inference_mode()
def measure(model: EmotionCaptioner, tokens: int, with_experts: bool = True) -> dict[str, float]:
    """Seconds by stage for one clip."""
    config = model.config
    frames = torch.randint(
        0, 256, (1, config.video.frames, 3, config.video.size, config.video.size), dtype=torch.uint8
    )
    seconds: dict[str, float] = {}
    batch = Batch(frames)
    if config.prompts.vep:
        side = config.experts.size
        crops = torch.randint(0, 256, (1, config.experts.frames, 3, side, side), dtype=torch.uint8)
        seconds["experts"], batch.experts = timed(lambda: model.experts(crops))
    seconds["encoder"], video = timed(lambda: model.video(frames))
    model_video, model.video = model.video, Remembered(video)  # see() below must not encode twice
    seconds["right block"], view = timed(lambda: model.see(batch))
    model.video = model_video
    special = Special(101, 102, 103, 0)
    cache = model.fusion.start(view.memory, tokens)
    last, steps = torch.tensor([special.cls]), []
    for _ in range(tokens):
        passed, scores = timed(lambda word=last: next_log_probs(model.fusion, word, special, cache, [], 0))
        steps.append(passed)
        last = scores.argmax(-1)
    seconds["step"] = statistics.median(steps)
    seconds["total"] = sum(v for k, v in seconds.items() if k != "step") + sum(steps)
    return seconds


class Remembered(torch.nn.Module):
    """Stands in for the video encoder with tokens it has made already."""

    def __init__(self, tokens: torch.Tensor) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.tokens


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    try:
        from pathlib import Path

        tree = read_yaml(Path(arguments[0]))
        for override in arguments[1:]:
            apply_override(tree, override)
        config = build_config(Timings, tree, where=arguments[0])
        DecodeConfig(max_words=config.bench.tokens)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(config.bench.threads)
    torch.manual_seed(0)
    model = build_random(config.model)
    rows = [measure(model, config.bench.tokens) for _ in range(config.bench.runs)]
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    video = config.model.video
    print(
        f"{arguments[0]}: {millions:.0f} M parameters, {video.frames} frames of {video.size}, "
        f"{config.bench.tokens} tokens, batch 1, {torch.get_num_threads()} threads, random weights"
    )
    for stage in rows[0]:
        name = "a decoding step" if stage == "step" else stage
        print(f"{name:16s} {statistics.median(row[stage] for row in rows):7.3f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << 20 if sys.platform != "darwin" else 1 << 30
    )
    print(f"{'peak memory':16s} {peak:7.2f} GiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
