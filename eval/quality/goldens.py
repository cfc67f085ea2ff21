"""What published classes computed with random weights, and what ours compute with the same weights and inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from captioner.emotion.emotion_clip.released import convert_released
from captioner.emotion.emotion_clip.snce import sentiment_weights, snce_loss
from captioner.emotion.emotion_clip.subject import SubjectTower
from captioner.errors import CheckpointError
from captioner.model.weights import read_weights
from eval.quality.golden_files import golden_file, largest_difference
from eval.quality.golden_sound import compare_mfcc, compare_pyramid

BETA = 10.0  # of the released training


@torch.no_grad()
def compare_emotionclip(folder: Path) -> dict[str, float]:
    """EmotionCLIP: encoders of video, image and text, weights of sentiment and loss; all masks of persons at once."""
    weights, given = (
        read_weights(golden_file(folder, f"emotionclip*_{part}.safetensors")) for part in ("weights", "io")
    )
    sizes = read_sizes(golden_file(folder, "*.json"))
    vision, text = sizes["vision_cfg"], sizes["text_cfg"]
    model = convert_released(
        weights,
        str(folder),
        head_width=vision.get("head_width", 64),
        text_head_width=text["width"] // text["heads"],
        fusion_heads=sizes.get("fusion_heads", 8),
    )
    assert isinstance(model.vision, SubjectTower)
    video, masks = given["video"], given["mask"]
    frames = model.vision.see(video.flatten(0, 1), masks.flatten(0, 1)).unflatten(0, video.shape[:2])
    images = model.vision.see(video[:, 0], masks[:, 0])
    ours = {"encode_image": images, "encode_video": model.fuse(frames), "encode_text": model.encode_text(given["text"])}
    guided = sentiment_weights(given["sentiment"], 1.0, "released")  # stored without beta
    unit = {name: F.normalize(value, dim=-1) for name, value in ours.items()}
    loss = snce_loss(unit["encode_video"], unit["encode_text"], given["scale"], sizes.get("beta", BETA) * guided)
    ours |= {"weight": guided, "loss": loss.reshape(given["loss"].shape)}
    return {name: largest_difference(value, given[name]) for name, value in ours.items()}


def read_sizes(path: Path) -> dict[str, Any]:
    """The sizes in a golden's JSON."""
    try:
        sizes = json.loads(path.read_text(encoding="utf-8"))
        sizes["vision_cfg"], sizes["text_cfg"]["width"], sizes["text_cfg"]["heads"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not tell the sizes of a golden: {type(error).__name__} {error}") from None
    return dict(sizes)


GOLDENS: dict[str, tuple[Callable[..., dict[str, float]], float]] = {
    "emotionclip": (compare_emotionclip, 1e-5),
    "lisf": (compare_pyramid, 1e-5),
    "mfcc": (compare_mfcc, 1e-3),
}
"""Name -> what compares a folder with ours, and the largest difference allowed."""
