"""The emotion recognition net: one feature vector and the emotion logits of a face crop.

Axes: B batch, P positions of the token map, F features.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from prompts.backbones import BACKBONES, build_backbone, check_name


@dataclass(frozen=True)
class ERNetConfig:
    """Backbone by name (prompts.backbones.BACKBONES) and number of emotions."""

    arch: str = "resnet50"
    classes: int = 11

    def __post_init__(self) -> None:
        check_name("backbone", self.arch, BACKBONES)
        if self.classes < 1:
            raise ValueError(f"classes is {self.classes}: at least 1 is needed")


@dataclass(frozen=True)
class EROutput:
    """features (B, F) before the classifier; logits (B, classes)."""

    features: Tensor
    logits: Tensor


class ERNet(nn.Module):
    """Backbone, mean over positions, linear classifier."""

    def __init__(self, config: ERNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or ERNetConfig()
        self.backbone, self.width = build_backbone(self.config.arch)
        self.fc = nn.Linear(self.width, self.config.classes)

    def forward(self, images: Tensor) -> EROutput:
        """Features (B, F) and logits (B, classes) of normalised face crops (B, 3, H, W)."""
        features = self.backbone(images).mean(1)
        return EROutput(features, self.fc(features))
