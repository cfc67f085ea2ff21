"""CLIP in OpenAI's and in Hugging Face's layout: loaded strictly, features as the references compute them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from captioner.emotion.clip.clip_config import ClipConfig
from captioner.emotion.clip.opening import encoder_of, open_clip, open_vocabulary
from captioner.errors import CheckpointError
from captioner.video.transforms import CLIP_MEAN, CLIP_STD, normalise
from tests.emotion.clip_layouts import write_clip, write_vocabulary


class Block(nn.Module):
    """A layer of OpenAI's network, by torch's own attention."""

    def __init__(self, width: int, causal: bool, act: str = "quick_gelu") -> None:
        super().__init__()
        self.act = act
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:  # (n, B, D)
        mask = torch.full((len(x), len(x)), -torch.inf).triu(1) if self.causal else None
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        inner = self.mlp.c_fc(self.ln_2(x))
        shaped = nn.functional.gelu(inner) if self.act == "gelu" else inner * torch.sigmoid(1.702 * inner)
        return x + self.mlp.c_proj(shaped)


class Tower(nn.Module):
    """OpenAI's transformer of layers `resblocks`."""

    def __init__(self, width: int, layers: int, causal: bool, act: str = "quick_gelu") -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(width, causal, act) for _ in range(layers)))


class OpenAIVision(nn.Module):
    """The image tower of OpenAI's release."""

    def __init__(self, act: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 16, 16, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(64))
        self.positional_embedding = nn.Parameter(torch.zeros(5, 64))
        self.ln_pre, self.ln_post = nn.LayerNorm(64), nn.LayerNorm(64)
        self.transformer = Tower(64, 2, causal=False, act=act)
        self.proj = nn.Parameter(torch.zeros(64, 32))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        x = self.transformer.resblocks(self.ln_pre(x).transpose(0, 1))
        return self.ln_post(x[0]) @ self.proj


class OpenAIClip(nn.Module):
    """OpenAI's release, written again as a second reference."""

    def __init__(self, act: str = "quick_gelu") -> None:
        super().__init__()
        self.visual = OpenAIVision(act)
        self.transformer = Tower(128, 3, causal=True, act=act)
        self.token_embedding = nn.Embedding(40, 128)
        self.positional_embedding = nn.Parameter(torch.zeros(40, 128))
        self.ln_final = nn.LayerNorm(128)
        self.text_projection = nn.Parameter(torch.zeros(128, 32))
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_text(self, ids: Tensor) -> Tensor:
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        x = self.ln_final(self.transformer.resblocks(x.transpose(0, 1))).transpose(0, 1)
        return x[torch.arange(len(x)), ids.argmax(-1)] @ self.text_projection


@pytest.mark.parametrize("layout", ["openai", "openclip file", "openclip folder", "openclip side by side"])
@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_openais_own_network_agrees(tmp_path: Path, layout: str, act: str) -> None:
    torch.manual_seed(5)
    net = OpenAIClip(act).eval()
    for parameter in net.parameters():
        parameter.data += torch.randn_like(parameter) * 0.2
    state = {name: value.clone() for name, value in net.state_dict().items()}
    write_vocabulary(tmp_path)
    source, asked = tmp_path, "gelu"  # the file beside the weights is right, whatever is asked for
    if layout == "openai":
        state |= {key: torch.tensor(40) for key in ("input_resolution", "context_length", "vocab_size")}
        source, asked = tmp_path / "vit.safetensors", act
        save_file(state, source)
    elif layout == "openclip file":
        source, asked = tmp_path / "vit.pt", act
        torch.save({"epoch": 3, "state_dict": state}, source)
    else:
        sides = {} if layout == "openclip folder" else {name: f"text.{name}" for name in state if "visual" not in name}
        sides.pop("logit_scale", "")
        named = {sides.get(name, name): value for name, value in state.items()}
        save_file(named, tmp_path / "open_clip_model.safetensors")
        about: dict[str, Any] = {"embed_dim": 32, "vision_cfg": {"width": 64}, "text_cfg": {"width": 128, "heads": 2}}
        about |= {"quick_gelu": True} if act == "quick_gelu" else {}
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": about}))
    clip = open_clip(ClipConfig(source=str(source), activation=asked))
    assert clip.config.activation == act and clip.config.vision_heads == 1 and clip.config.text_heads == 2
    frames = torch.randint(0, 256, (1, 2, 3, 32, 32), dtype=torch.uint8)
    ids = torch.tensor([[38, 1, 2, 3, 39], [38, 4, 39, 0, 0]])
    with torch.no_grad():
        wanted = net.visual(normalise(frames[0], CLIP_MEAN, CLIP_STD))
        torch.testing.assert_close(clip.vision(frames)[0], wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(clip.text(ids, torch.tensor([4, 2])), net.encode_text(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("layout", "activation", "text_width"),
    [("huggingface", "quick_gelu", 128), ("huggingface", "gelu", 64), ("openai", "quick_gelu", 128),
     ("bin", "quick_gelu", 64)],
)  # fmt: skip
def test_layouts_agree_with_the_reference(tmp_path: Path, layout: str, activation: str, text_width: int) -> None:
    net = write_clip(tmp_path, layout, activation, text_width)
    clip = open_clip(ClipConfig(source=str(tmp_path)))
    assert clip.config.activation == activation and clip.config.context == 40 and clip.config.text_layers == 3
    frames = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8)
    ids = torch.tensor([[38, 1, 2, 3, 39], [38, 4, 39, 39, 39]])
    with torch.no_grad():
        pixels = normalise(frames.flatten(0, 1), CLIP_MEAN, CLIP_STD)
        images, texts = net.get_image_features(pixel_values=pixels), net.get_text_features(input_ids=ids)
        made = clip.text(ids, torch.tensor([4, 2]))
    torch.testing.assert_close(clip.vision(frames).flatten(0, 1), images.pooler_output, atol=1e-5, rtol=0)
    torch.testing.assert_close(made, texts.pooler_output, atol=1e-5, rtol=0)
    assert clip.encode("with joy; without fear") == [38, 32, 28, 26, 33, 29, 39]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("visual.ln_pre.bias"), "image tower.*1 tensors missing .net.vision_model.pre_layrnorm.bias"),
        (lambda s: s.pop("text_projection"), "no whole CLIP of OpenAI: text_projection.weight is missing"),
        (lambda s: s.update({"visual.attnpool.x": torch.zeros(1)}), "visual.attnpool.x has no place in OpenAI's CLIP"),
        (lambda s: s.update({"visual.layer1.0.conv1.weight": torch.zeros(1)}), "ResNet image tower"),
        (lambda s: s.update({"ln_final.bias": torch.zeros(3)}), "1 of another shape .final_layer_norm.bias"),
    ],
)
def test_damaged_clips_are_named(tmp_path: Path, spoil: Any, message: str) -> None:
    write_clip(tmp_path, "openai")
    state = load_file(tmp_path / "clip.safetensors")
    spoil(state)
    save_file(state, tmp_path / "clip.safetensors")
    with pytest.raises(CheckpointError, match=message):
        open_clip(ClipConfig(source=str(tmp_path / "clip.safetensors")))


def test_heads_that_nothing_tells_are_asked_for(tmp_path: Path) -> None:
    write_clip(tmp_path, "openai")
    source = str(tmp_path / "clip.safetensors")
    assert open_clip(ClipConfig(source=source, head_width=16, text_head_width=32)).config.vision_heads == 4
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"vision_cfg": {}}}')
    with pytest.raises(CheckpointError, match=r"open_clip_config\.json is no OpenCLIP's: KeyError 'text_cfg'"):
        open_clip(ClipConfig(source=source))


def test_missing_clips_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"cannot load CLIP 'openai/no-such-clip'.*connect once, give"):
        open_clip(ClipConfig(source="openai/no-such-clip"))
    with pytest.raises(CheckpointError, match="give a folder, a weights file or a hub repository owner/name"):
        open_clip(ClipConfig(source=str(tmp_path / "nowhere")))
    with pytest.raises(CheckpointError, match=r"holds no CLIP: model.safetensors or pytorch_model.bin is missing"):
        open_clip(ClipConfig(source=str(tmp_path)))
    write_clip(tmp_path, "openai")
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no vocabulary: put CLIP's tokenizer\.json"):
        open_clip(ClipConfig(source=str(tmp_path)))


def test_openais_vocabulary_files(tmp_path: Path) -> None:
    letters = [*"abcdefghijklmnopqrstuvwxyz;"]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "jo", "joy</w>", "<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({piece: place for place, piece in enumerate(pieces)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nj o\njo y</w>\n")
    encode = encoder_of(open_vocabulary(tmp_path, ClipConfig(vocab_size=len(pieces))))
    read = [pieces[i] for i in encode("Joy; fe")]
    assert read == ["<|startoftext|>", "joy</w>", ";</w>", "f", "e</w>", "<|endoftext|>"]
    with pytest.raises(CheckpointError, match="has 58 pieces, the weights 40: the files are of different models"):
        open_vocabulary(tmp_path, ClipConfig(vocab_size=40))
