"""Configuration of a CLIP pair."""

from dataclasses import dataclass
from typing import Literal

# A tower's sizes: ClipConfig's names and those of transformers' configurations.
VISION_NAMES = {
    "vision_width": "hidden_size", "vision_layers": "num_hidden_layers", "vision_heads": "num_attention_heads",
    "image_size": "image_size", "patch": "patch_size", "activation": "hidden_act",
}  # fmt: skip
TEXT_NAMES = {
    "text_width": "hidden_size", "text_layers": "num_hidden_layers", "text_heads": "num_attention_heads",
    "context": "max_position_embeddings", "vocab_size": "vocab_size", "activation": "hidden_act",
}  # fmt: skip


@dataclass(frozen=True)
class ClipConfig:
    """The CLIP pair: `source` decides; the sizes below are then read from it."""

    source: str = "openai/clip-vit-base-patch32"
    """Hub name, folder, weights file in OpenAI's or Hugging Face's layout; "": random weights of the sizes below."""
    tower: Literal["vit", "face"] = "vit"
    """What looks at pictures: CLIP's transformer, or the emotion expert's small net for aligned face crops."""
    image_size: int = 224
    patch: int = 32
    vision_width: int = 768
    vision_layers: int = 12
    vision_heads: int = 12
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    width: int = 512
    """Of the space that images and texts share."""
    context: int = 77
    """Word pieces of a text with its start and end."""
    vocab_size: int = 0
    """Filled in when the vocabulary is known."""
    activation: str = "quick_gelu"
    """quick_gelu, as OpenAI trained, or gelu, as OpenCLIP mostly did. The config.json of Hugging Face and that of
    OpenCLIP tell it; of a lone file in OpenAI's layout this key decides."""
    head_width: int = 64
    """Channels of an attention head, of files that do not tell (OpenAI's layout); more than a tower has: one head."""
    text_head_width: int = 0
    """Likewise of the text tower; 0: as head_width."""
