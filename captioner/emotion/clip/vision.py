"""Image towers: CLIP's vision transformer for any picture, and the experts' trunks for aligned face crops.

Axes: B clips, T frames, N pictures, S pixels, C channels of the trunks, E width of the
space shared with texts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captioner.emotion.clip.clip_config import VISION_NAMES, ClipConfig
from captioner.model.experts import Experts
from captioner.video.transforms import CLIP_MEAN, CLIP_STD, normalise
from prompts.backbones import build_backbone

TRUNKS = {"emotion": "face", "units": "face_au"}  # of the frozen experts, side by side


class FaceTower(nn.Module):
    """The trunks of both experts, frozen, and a projection that learns: face crops uint8 (N, 3, S, S) -> (N, E)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        built = {name: build_backbone(arch) for name, arch in TRUNKS.items()}
        self.vision_model = nn.ModuleDict({name: trunk for name, (trunk, _) in built.items()})
        self.vision_model.requires_grad_(False).to(memory_format=torch.channels_last)
        channels = sum(count for _, count in built.values())
        self.visual_projection = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.visual_projection(self.trunks(pictures))
        return features

    @torch.no_grad()
    def trunks(self, pictures: Tensor) -> Tensor:
        """What the projection takes (N, C); it never changes in training, so it may be kept."""
        shown = normalise(pictures)
        return torch.cat([trunk(shown).mean(1) for trunk in self.vision_model.values()], 1)

    def start_from(self, experts: Experts) -> None:
        """Copy the trunks of trained experts of the same make, rounded as files of 16 bits hold them."""
        for name, net in (("emotion", experts.er.backbone), ("units", experts.au.backbone)):
            state = {key: x.half().to(x.dtype) if x.ndim > 1 else x for key, x in net.state_dict().items()}
            self.vision_model[name].load_state_dict(state)

    def train(self, mode: bool = True) -> FaceTower:
        """The trunks stay in evaluation."""
        super().train(mode)
        self.vision_model.eval()
        return self


class PatchTower(nn.Module):
    """CLIP's vision transformer, which is transformers': pictures uint8 (N, 3, S, S) -> (N, E)."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        sizes = {theirs: getattr(config, ours) for ours, theirs in VISION_NAMES.items()}
        self.sizes = CLIPVisionConfig(**sizes, intermediate_size=4 * config.vision_width, projection_dim=config.width)
        whole = CLIPVisionModelWithProjection(self.sizes)
        self.vision_model, self.visual_projection = whole.vision_model, whole.visual_projection

    def forward(self, pictures: Tensor) -> Tensor:
        seen = self.vision_model(pixel_values=normalise(pictures, CLIP_MEAN, CLIP_STD))
        features: Tensor = self.visual_projection(seen.pooler_output)
        return features


def build_tower(config: ClipConfig) -> FaceTower | PatchTower:
    """The image tower of a configuration, with random weights."""
    return FaceTower(config.width) if config.tower == "face" else PatchTower(config)


class VisionTower(nn.Module):
    """Frames uint8 (B, T, 3, S, S) -> features (B, T, E), frozen, never with gradients, not normalised."""

    def __init__(self, config: ClipConfig, chunk: int = 64) -> None:
        super().__init__()
        self.net = build_tower(config)
        self.chunk = chunk  # frames at a time: memory does not grow with the number of segments
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> VisionTower:
        """Always in evaluation."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        rows = [self.net(part) for part in torch.split(frames.flatten(0, 1), self.chunk)]
        return torch.unflatten(torch.cat(rows), 0, frames.shape[:2])

    @torch.no_grad()
    def project(self, kept: Tensor) -> Tensor:
        """Kept outputs of a face tower's trunks (N, C) -> features (N, E)."""
        features: Tensor = self.net.visual_projection(kept)
        return features
