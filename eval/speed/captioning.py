"""Seconds of one clip's stages, with random weights: experts, video encoder, right block, decoding steps."""

import statistics
from dataclasses import replace

import torch

from captioner.config import Config, ModelConfig
from captioner.model.batch import Batch
from captioner.model.captioner import EmotionCaptioner
from captioner.model.decoding import Special, next_log_probs
from captioner.model.fusion import Memory
from eval.speed.timing import BenchTable, peak_mebibytes, time_call


def caption_table(config: Config, title: str, tokens: int, runs: int) -> BenchTable:
    """Median seconds of each stage over a few runs, and the peak memory of the process."""
    torch.manual_seed(0)
    model = build_random(config.model)
    stages = [stage_seconds(model, tokens) for _ in range(runs)]
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    video = config.model.video
    about = (
        f"{title}: {millions:.0f} M parameters, {video.frames} frames of {video.size}, {tokens} tokens, batch 1, "
        f"{torch.get_num_threads()} threads, random weights"
    )
    rows = [[name, f"{statistics.median(stage[name] for stage in stages):.3f} s"] for name in stages[0]]
    return BenchTable(about, ["stage", "median"], [*rows, ["peak memory", f"{peak_mebibytes() / 1024:.2f} GiB"]])


def build_random(config: ModelConfig) -> EmotionCaptioner:
    """The config's network with random weights and BERT's vocabulary size; nothing is downloaded."""
    config = replace(config, vocab_size=30522, experts=replace(config.experts, source=""))
    return EmotionCaptioner(config, load=False).eval()


@torch.inference_mode()
def stage_seconds(model: EmotionCaptioner, tokens: int) -> dict[str, float]:
    """Seconds by stage for one clip; so many tokens are written, whatever the random model would like."""
    config = model.config
    size = config.video.size
    frames = torch.randint(0, 256, (1, config.video.frames, 3, size, size), dtype=torch.uint8)
    seconds: dict[str, float] = {}
    batch = Batch(frames)
    if config.prompts.vep:
        side = config.experts.size
        crops = torch.randint(0, 256, (1, config.experts.frames, 3, side, side), dtype=torch.uint8)
        spent, batch.experts = time_call(lambda: model.experts(crops))
        seconds["experts"] = spent.clock
    spent, video = time_call(lambda: model.video(frames))
    seconds["encoder"] = spent.clock
    encoder, stand_in = model.video, Remembered(video)
    model.video = stand_in  # type: ignore[assignment]  # see() below must not encode twice
    spent, view = time_call(lambda: model.see(batch))
    seconds["right block"] = spent.clock
    model.video = encoder
    steps = decoding_seconds(model, view.memory, tokens)
    total = sum(seconds.values()) + sum(steps)
    return seconds | {"a decoding step": statistics.median(steps), "total": total}


def decoding_seconds(model: EmotionCaptioner, memory: Memory, tokens: int) -> list[float]:
    """Seconds of each greedy step."""
    special = Special(101, 102, 103, 0)
    cache = model.fusion.start(memory, tokens)
    last, steps = torch.tensor([special.cls]), []
    for _ in range(tokens):
        spent, scores = time_call(lambda word=last: next_log_probs(model.fusion, word, special, cache, [], 0))  # type: ignore[misc]
        steps.append(spent.clock)
        last = scores.argmax(-1)
    return steps


class Remembered(torch.nn.Module):
    """Stands in for the video encoder with tokens it has made already."""

    def __init__(self, tokens: torch.Tensor) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """The tokens, whatever the frames."""
        return self.tokens
