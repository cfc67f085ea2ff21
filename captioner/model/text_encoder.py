"""F_T: captions in, a feature a word piece out, by BERT, CLIP, T5 or GPT-2.

Axes: B clips, J text pieces.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from captioner.config import TextConfig
from captioner.errors import ConfigError
from captioner.model.bert import Bert
from captioner.model.lora import add_adapters
from captioner.model.weights import pretrained_model


class TextEncoder(nn.Module):
    """Caption ids (B, J) and mask (B, J) -> word features (B, J, width)."""

    def __init__(self, config: TextConfig, vocab_size: int, *, load: bool = True) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.width = config.width
        if config.arch == "bert" and not load:  # a checkpoint fills it; transformers is not needed for that
            words = config.vocab_size or vocab_size
            dropout = 0.1 if config.dropout is None else config.dropout
            self.net: nn.Module = Bert(words, config.width, config.layers, config.heads, dropout)
            own = words
        else:
            self.net, own = self._of_transformers(config, vocab_size, config.pretrained if load else "")
        if config.checkpointing and hasattr(self.net, "gradient_checkpointing_enable"):
            self.net.gradient_checkpointing_enable()  # type: ignore[operator]
        self.foreign = own if own != vocab_size else 0  # size of its own vocabulary; captions need its tokenizer then
        if config.frozen:
            self.requires_grad_(False)
        if config.lora:
            add_adapters(self.net, config.lora, "model.text.lora")

    def train(self, mode: bool = True) -> "TextEncoder":
        """A frozen encoder stays in evaluation: no dropout."""
        return super().train(mode and not self.config.frozen and not self.config.lora)

    @staticmethod
    def _of_transformers(config: TextConfig, vocab_size: int, name: str) -> tuple[nn.Module, int]:
        """A network of transformers and the size of its vocabulary."""
        kind, scratch = text_class(config, config.vocab_size or vocab_size)
        net = pretrained_model(name, kind, scratch, "model.text.pretrained", **dropped(config))
        check_text_sizes(config, net.config)
        return net, int(getattr(net.config, "vocab_size", vocab_size))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and (self.config.lora > 0 or not self.config.frozen)):
            own = isinstance(self.net, Bert)
            words: Tensor = (
                self.net(ids, mask) if own else self.net(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            )
            return words


def check_text_sizes(config: TextConfig, settings: Any) -> None:
    """Sizes of a named encoder must stand in the configuration: a checkpoint is opened by them."""
    given = {"width": hidden_size(settings), "layers": getattr(settings, "num_hidden_layers", None),
             "heads": getattr(settings, "num_attention_heads", None)}  # fmt: skip
    odd = {key: value for key, value in given.items() if value is not None and value != getattr(config, key)}
    if odd:
        told = ", ".join(f"text.{key} is {getattr(config, key)}" for key in odd)
        wanted = " ".join(f"text.{key}={value}" for key, value in odd.items())
        raise ConfigError(f"{told}, but text.pretrained has others: set {wanted}")
    inner = getattr(settings, "intermediate_size", None)
    if config.arch == "bert" and inner is not None and inner != 4 * config.width:
        raise ConfigError(f"text.pretrained has layers {inner} wide inside: {4 * config.width} are needed")


def hidden_size(config: Any) -> int:
    """Width of a transformers model, whatever its family calls it."""
    return int(getattr(config, "hidden_size", None) or config.d_model)


# What transformers calls the dropout of each kind.
_DROPOUTS = {
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "clip": ("attention_dropout",),
    "t5": ("dropout_rate",),
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
}


def dropped(config: TextConfig) -> dict[str, float]:
    """The configured dropout in transformers' names; empty where the kind's own stays."""
    return {} if config.dropout is None else dict.fromkeys(_DROPOUTS[config.arch], config.dropout)


def text_class(config: TextConfig, vocab: int) -> tuple[Any, Callable[[], nn.Module]]:
    """The transformers class of an arch, and a builder with our sizes and random weights."""
    import transformers as hf

    width, layers, heads, ffn = config.width, config.layers, config.heads, 4 * config.width
    drop: dict[str, Any] = dropped(config)
    if config.arch == "bert":
        sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
        bert = hf.BertConfig(vocab_size=vocab, intermediate_size=ffn, **sizes, **drop)
        return partial_bert(hf), lambda: hf.BertModel(bert, add_pooling_layer=False)
    if config.arch == "clip":
        sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
        clip = hf.CLIPTextConfig(vocab_size=vocab, intermediate_size=ffn, **sizes, **drop)
        return hf.CLIPTextModel, lambda: hf.CLIPTextModel(clip)
    if config.arch == "t5":
        t5 = hf.T5Config(
            vocab_size=vocab, d_model=width, d_ff=ffn, d_kv=width // heads, num_layers=layers, num_heads=heads, **drop
        )
        return hf.T5EncoderModel, lambda: hf.T5EncoderModel(t5)
    gpt2 = hf.GPT2Config(vocab_size=vocab, n_embd=width, n_layer=layers, n_head=heads, **drop)
    return hf.GPT2Model, lambda: hf.GPT2Model(gpt2)


def partial_bert(hf: Any) -> Any:
    """BertModel whose from_pretrained leaves the pooler out: nothing here reads it."""

    class Words(hf.BertModel):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config, add_pooling_layer=False)

    return Words
