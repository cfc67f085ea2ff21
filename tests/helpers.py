"""Small models and batches that the tests share."""

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from captioner.config import ModelConfig
from captioner.config_io import load_config
from captioner.faces.crops import FaceCrops
from captioner.model.batch import NO_LABEL, Batch
from captioner.model.captioner import EmotionCaptioner
from captioner.model.tokenizer import Tokenizer
from captioner.output.animation import DESCRIPTION
from captioner.synth.actors import DrawnActor
from captioner.synth.film.stage import Frame, film_story
from captioner.synth.identity import DRAWN_AUS, sample_face
from captioner.synth.story.tale import Story, StorySettings, sample_story
from captioner.video.reading import write_video

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"  # data beside the repository; tests that need it skip where it is absent
CAPTIONS = [
    "A woman nods. The frown and the wrinkled nose.",
    "A man looks down. The open mouth.",
    "A man with glasses shakes his head. The raised eyebrows, the wide eyes and the pressed lips.",
]

torch.set_num_threads(1)  # these nets are too small to share out, and contended cores crawl


def tiny_config(*overrides: str) -> ModelConfig:
    """A model of two layers, 32 wide, with untrained experts."""
    small = [
        "video.arch=swin3d_small_cpu", "video.width=16", "video.frames=4", "video.size=64", "video.drop_path=0",
        "text.pretrained=", "text.layers=1", "text.width=32", "text.heads=2",
        "experts.er_arch=small", "experts.au_backbone=small", "experts.size=48", "experts.frames=2",
        "fusion.layers=2", "fusion.heads=4", "fusion.width=32", "fusion.ffn=64", "fusion.visual_width=24",
        "fusion.max_text=20", "tokenizer=captions", "vocab_size=60",
    ]  # fmt: skip
    return load_config(ModelConfig, None, [*small, *overrides])


def tiny_model(*overrides: str, seed: int = 0) -> EmotionCaptioner:
    """A random tiny model in evaluation mode."""
    torch.manual_seed(seed)
    return EmotionCaptioner(tiny_config(*overrides)).eval()


def tiny_batch(config: ModelConfig, clips: int = 3, length: int = 12, seed: int = 0) -> Batch:
    """Random frames, crops, captions and labels that fit a config."""
    draw = torch.Generator().manual_seed(seed)
    frames, size = config.video.frames, config.video.size
    ids = torch.randint(5, config.vocab_size, (clips, length), generator=draw)
    hidden = torch.rand(clips, length, generator=draw) < 0.5
    hidden[:, 1] = True
    crops = (clips, config.experts.frames, 3, config.experts.size, config.experts.size)
    return Batch(
        frames=torch.randint(0, 256, (clips, frames, 3, size, size), generator=draw, dtype=torch.uint8),
        faces=FaceCrops(torch.randint(0, 256, crops, generator=draw, dtype=torch.uint8)),
        masked=ids.masked_fill(hidden, 4),
        targets=ids.masked_fill(~hidden, NO_LABEL),
        text_ids=ids,
        text_mask=torch.ones(clips, length, dtype=torch.bool),
        text_words=~hidden,
        emotion=torch.randint(0, len(config.labels), (clips,), generator=draw),
        ids=[str(i) for i in range(clips)],
    )


def noise_video(path: Path, seed: int) -> Path:
    """A video of six noisy frames of 88 x 72 at that path."""
    write_video(path, np.random.default_rng(seed).integers(0, 256, (6, 72, 88, 3), dtype=np.uint8), 6)
    return path


def drawn_portrait(seed: int, side: int = 96) -> tuple[Story, list[Frame]]:
    """A story of one drawn person who fills the picture, and its frames of that side."""
    rng = np.random.default_rng([99, seed])
    settings = StorySettings((1.5, 2.5), (8.0, 8.0), people=1, aus=DRAWN_AUS, one_sided=False, framing="portrait")
    story = sample_story(rng, settings)
    return story, list(film_story(story, [DrawnActor(sample_face(rng))], side, side))


def heed_control_c() -> None:
    """For a child process: tests that run in the background, as under nohup, inherit that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def with_vocabulary(config: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
    """The config for a tokenizer's vocabulary."""
    return replace(config, vocab_size=tokenizer.vocab_size)


def read_description(path: Path) -> str:
    """The caption that an animation shows."""
    with Image.open(path) as picture:
        return str(picture.getexif().get(DESCRIPTION, ""))
