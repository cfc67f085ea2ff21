"""A random CLIP in the layouts of its publishers, for tests."""

from pathlib import Path

import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers import models, pre_tokenizers
from torch import Tensor
from transformers import CLIPConfig, CLIPModel


def random_clip(activation: str = "quick_gelu", text_width: int = 64) -> CLIPModel:
    torch.manual_seed(3)
    text = {"hidden_size": text_width, "intermediate_size": 4 * text_width, "num_hidden_layers": 3}
    text |= {"num_attention_heads": text_width // 64, "vocab_size": 40, "max_position_embeddings": 40}
    text |= {"eos_token_id": 39, "bos_token_id": 38, "pad_token_id": 39}
    vision = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1}
    vision |= {"image_size": 32, "patch_size": 16}
    both = [{**sizes, "hidden_act": activation} for sizes in (text, vision)]
    net = CLIPModel(CLIPConfig(text_config=both[0], vision_config=both[1], projection_dim=32))
    for name, parameter in net.named_parameters():  # as shipped, biases are 0 and would hide a wrong order
        torch.nn.init.normal_(parameter, std=0.2 if parameter.ndim > 1 else 0.05)
        parameter.data += float("norm" in name and name.endswith("weight"))
    torch.nn.init.normal_(net.text_model.embeddings.token_embedding.weight)
    return net.eval()


def write_vocabulary(path: Path) -> None:
    words = [*"abcdefghijklmnopqrs", "anticipation", "disgust", "surprise", "trust", *"xyz;"]
    words += ["anger", "joy", "fear", "deep", "sadness", "with", "without"]
    names = {word: i for i, word in enumerate(words)} | {"[UNK]": 37, "<|startoftext|>": 38, "<|endoftext|>": 39}
    backend = tokenizers.Tokenizer(models.WordLevel(names, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.save(str(path / "tokenizer.json"))


def openai_layout(net: CLIPModel) -> dict[str, Tensor]:
    """The state dict under the names of OpenAI's release, written out here from its published code's structure."""
    state = {name: value.detach().clone() for name, value in net.state_dict().items()}
    moved: dict[str, Tensor] = {"logit_scale": state["logit_scale"]}
    for tower, prefix, layers in (("vision_model", "visual.transformer", 2), ("text_model", "transformer", 3)):
        for i in range(layers):
            old, new = f"{tower}.encoder.layers.{i}", f"{prefix}.resblocks.{i}"
            for kind in ("weight", "bias"):
                stacked = [state[f"{old}.self_attn.{key}_proj.{kind}"] for key in "qkv"]
                moved[f"{new}.attn.in_proj_{kind}"] = torch.cat(stacked)
                for theirs, ours in (
                    ("self_attn.out_proj", "attn.out_proj"), ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"),
                    ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
                ):  # fmt: skip
                    moved[f"{new}.{ours}.{kind}"] = state[f"{old}.{theirs}.{kind}"]
    for kind in ("weight", "bias"):
        moved[f"visual.ln_pre.{kind}"] = state[f"vision_model.pre_layrnorm.{kind}"]
        moved[f"visual.ln_post.{kind}"] = state[f"vision_model.post_layernorm.{kind}"]
        moved[f"ln_final.{kind}"] = state[f"text_model.final_layer_norm.{kind}"]
    moved["visual.conv1.weight"] = state["vision_model.embeddings.patch_embedding.weight"]
    moved["visual.class_embedding"] = state["vision_model.embeddings.class_embedding"]
    moved["visual.positional_embedding"] = state["vision_model.embeddings.position_embedding.weight"]
    moved["visual.proj"] = state["visual_projection.weight"].T.contiguous()
    moved["token_embedding.weight"] = state["text_model.embeddings.token_embedding.weight"]
    moved["positional_embedding"] = state["text_model.embeddings.position_embedding.weight"]
    moved["text_projection"] = state["text_projection.weight"].T.contiguous()
    return moved


def write_clip(path: Path, layout: str, activation: str = "quick_gelu", text_width: int = 64) -> CLIPModel:
    path.mkdir(exist_ok=True)
    net = random_clip(activation, text_width)
    if layout == "openai":
        save_file(openai_layout(net), path / "clip.safetensors")
    elif layout == "bin":
        net.config.save_pretrained(path)
        torch.save(net.state_dict(), path / "pytorch_model.bin")
    else:
        net.save_pretrained(path)
    write_vocabulary(path)
    return net
