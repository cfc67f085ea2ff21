"""The cross-modal transformer: a text block that is causal and sees everything to its right, a right block
(class token, ER, AUs, video) that sees itself and never the text, so its keys and values are computed once.

Post-LN as BERT and SwinBERT. Axes: B clips, L text pieces, R right tokens, D width, H heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from captioner.config import FusionConfig

KINDS = ("class", "er", "au")  # prompt tokens carry a learned type embedding; video tokens carry none


@dataclass
class Memory:
    """Keys and values of the right block in every layer, and its final states: all that writing words needs."""

    keys: list[Tensor]  # each (B, H, R, D/H)
    values: list[Tensor]
    states: Tensor  # (B, R, D)
    entry: Tensor | None = None  # (B, R, D) the block as it came in, for whoever replays it

    def take(self, rows: Sequence[int]) -> "Memory":
        """Some of the clips."""
        at = list(rows)
        return Memory([k[at] for k in self.keys], [v[at] for v in self.values], self.states[at])

    def repeat(self, times: int) -> "Memory":
        """Every clip `times` in a row, for beams."""
        return Memory(
            [k.repeat_interleave(times, 0) for k in self.keys],
            [v.repeat_interleave(times, 0) for v in self.values],
            self.states.repeat_interleave(times, 0),
        )


@dataclass
class Cache:
    """Room for keys and values, (B, H, R + longest text, D/H) a layer: the right block first, then the words.

    Allocated once and written in place: a step copies two tokens, not the history.
    """

    keys: list[Tensor]
    values: list[Tensor]
    right: int
    length: int = 0  # words written so far

    def select(self, rows: Tensor) -> None:
        """Give each row the words of another one, as beams change places; rows stay within their clip."""
        words = slice(self.right, self.right + self.length)
        for buffer in (*self.keys, *self.values):
            buffer[:, :, words] = buffer[rows][:, :, words]


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """`layer(x)` for x (B, N, D); for two or three rows on a CPU the product is turned round.

    A step of decoding has two rows, and BLAS is bound by reading the weights: W x^T takes a quarter of the time.
    """
    b, n, d = x.shape
    if x.is_cuda or b * n > 4 or torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type):
        usual: Tensor = layer(x)
        return usual
    return (
        torch.addmm(layer.bias[:, None], layer.weight, x.reshape(b * n, d).t())
        .t()
        .contiguous()
        .view(b, n, -1)
    )


def text_mask(length: int, right: int, device: torch.device) -> Any:
    """What text may see, (L, R + L): the right block, which stands first, and words up to its own.

    On a GPU it is told as a rule, not as a table: so attention keeps its flash kernel.
    """
    if device.type == "cuda":
        from torch.nn.attention.bias import causal_lower_right  # loads torch's compiler: a second and 150 MB

        return causal_lower_right(length, right + length)
    return torch.ones(length, right + length, dtype=torch.bool, device=device).tril(right)


class TextEmbedding(nn.Module):
    """ids (B, L) -> (B, L, D): word + position + type 0, LayerNorm, dropout."""

    def __init__(self, vocab_size: int, config: FusionConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab_size, config.width)
        self.positions = nn.Embedding(max(512, config.max_text), config.width)
        self.kind = nn.Parameter(torch.zeros(config.width))
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, ids: Tensor, first: int = 0) -> Tensor:
        places = torch.arange(first, first + ids.shape[1], device=ids.device)
        states: Tensor = self.dropout(self.norm(self.words(ids) + self.positions(places) + self.kind))
        return states


class FusionLayer(nn.Module):
    """One post-LN layer; the caller says what may be attended to."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=1e-12)
        self.up = nn.Linear(width, config.ffn)
        self.down = nn.Linear(config.ffn, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)
        self.dropout = config.dropout

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, D) -> query, key, value, each (B, H, N, D/H)."""
        b, n, d = x.shape
        q, k, v = linear(x, self.qkv).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return q, k, v

    def forward(
        self, x: Tensor, keys: Tensor | None = None, values: Tensor | None = None, mask: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The layer's states of x (B, N, D), which looks at itself and, before it, at others; and its own keys, values.

        keys, values (B, H, R, D/H) are those of the right block, which stands first.
        """
        q, own_keys, own_values = self.project(x)
        k, v = own_keys, own_values
        if keys is not None and values is not None:
            k, v = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        return self.finish(x, q, k, v, mask), own_keys, own_values

    def finish(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Any) -> Tensor:
        """Attention, residual, feed-forward, residual: (B, N, D)."""
        drop = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=drop)
        x = self.norm1(x + F.dropout(linear(mixed.transpose(1, 2).flatten(2), self.out), drop))
        hidden = linear(F.gelu(linear(x, self.up)), self.down)
        states: Tensor = self.norm2(x + F.dropout(hidden, drop))
        return states


class LanguageHead(nn.Module):
    """States (..., D) -> logits (..., V); the word table is shared when tied."""

    def __init__(self, words: nn.Embedding, config: FusionConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.decoder = nn.Linear(config.width, words.num_embeddings)
        if config.tie_head:
            self.decoder.weight = words.weight

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.norm(F.gelu(self.dense(x))))
        return logits


class Fusion(nn.Module):
    """F_E = Trans(Concat(F_V, F_T, F_ER, F_AU)), eq 13, and the masked-word logits of eq 14."""

    def __init__(self, config: FusionConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embed = TextEmbedding(vocab_size, config)
        self.kinds = nn.Embedding(len(KINDS), config.width)
        self.layers = nn.ModuleList(FusionLayer(config) for _ in range(config.layers))
        self.head = LanguageHead(self.embed.words, config)
        self.apply(self.initialise)
        if config.video_mask:
            self.video_mask = nn.Parameter(torch.randn(config.video_tokens, config.video_tokens))

    @staticmethod
    def initialise(module: nn.Module) -> None:
        """BERT's start: N(0, 0.02) weights, zero biases."""
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def right_bias(self, length: int) -> Tensor | None:
        """SwinBERT's learned video mask as an additive bias (1, 1, R, R): (1 - A) * -10000, A = sigmoid, A_ii = 1."""
        if not self.config.video_mask:
            return None
        own = torch.eye(len(self.video_mask), device=self.video_mask.device)
        allowed = self.video_mask.sigmoid() * (1 - own) + own
        prompts = length - len(own)  # the video comes last in the right block
        return F.pad((1.0 - allowed) * -10000.0, (prompts, 0, prompts, 0))[None, None]

    def remember(self, right: Tensor) -> Memory:
        """Run the right block (B, R, D) alone through every layer."""
        keys, values, entry = [], [], right
        bias = self.right_bias(right.shape[1])
        bias = bias if bias is None else bias.to(right.dtype)
        for layer in self.layers:
            right, k, v = self.run(layer, right, None, None, bias)
            keys.append(k)
            values.append(v)
        return Memory(keys, values, right, entry)

    def write(self, ids: Tensor, memory: Memory) -> Tensor:
        """All text states at once, (B, L) -> (B, L, D); position i sees words 0..i and the whole right block."""
        x: Tensor = self.embed(ids)
        length, right = ids.shape[1], memory.states.shape[1]
        mask = text_mask(length, right, ids.device)
        for layer, keys, values in zip(self.layers, memory.keys, memory.values, strict=True):
            x, _, _ = self.run(layer, x, keys, values, mask)
        return x

    def next_words(self, ids: Tensor, mask_id: int, memory: Memory) -> Tensor:
        """Logits (B, L, V) of the word after each of ids (B, L), all at once, with gradients.

        Words run beside a [MASK] at each next place, which sees the words before it: what `step` does one by one.
        """
        length, right = ids.shape[1], memory.states.shape[1]
        x = torch.cat([self.embed(ids), self.embed(torch.full_like(ids, mask_id), first=1)], 1)  # (B, 2L, D)
        before = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        own = torch.eye(length, dtype=torch.bool, device=ids.device)
        words = torch.cat([before, torch.zeros_like(own)], 1)
        seen = torch.cat([words, torch.cat([before, own], 1)])
        mask = torch.cat([torch.ones(2 * length, right, dtype=torch.bool, device=ids.device), seen], 1)
        for layer, keys, values in zip(self.layers, memory.keys, memory.values, strict=True):
            x, _, _ = self.run(layer, x, keys, values, mask)
        logits: Tensor = self.head(x[:, length:])
        return logits

    def run(self, layer: nn.Module, *given: Any) -> tuple[Tensor, Tensor, Tensor]:
        """A layer's forward, recomputed in the backward pass where the configuration says so."""
        if self.config.checkpointing and self.training:
            return checkpoint(layer, *given, use_reentrant=False)  # type: ignore[no-any-return]
        return layer(*given)  # type: ignore[no-any-return]

    def start(self, memory: Memory, longest: int) -> Cache:
        """A cache that holds the right block and no words yet."""
        right = memory.states.shape[1]

        def room(part: Tensor) -> Tensor:
            return torch.cat([part, part.new_zeros(*part.shape[:2], longest + 1, part.shape[3])], 2)

        return Cache([room(k) for k in memory.keys], [room(v) for v in memory.values], right)

    def step(self, ids: Tensor, mask_id: int, cache: Cache) -> Tensor:
        """Logits (B, V) of the word after the last one `ids` (B,), which the cache takes in.

        Two tokens run: the last word, whose keys stay, and [MASK] at the next place, which the next step overwrites.
        """
        pair = torch.stack([ids, torch.full_like(ids, mask_id)], 1)  # (B, 2)
        x = self.embed(pair, first=cache.length)
        place, end = cache.right + cache.length, cache.right + cache.length + 2
        seen = torch.ones(2, end, dtype=torch.bool, device=ids.device)
        seen[0, end - 1] = False  # the word does not see the [MASK] after it
        for layer, keys, values in zip(self.layers, cache.keys, cache.values, strict=True):
            q, k, v = layer.project(x)  # type: ignore[operator]
            keys[:, :, place:end], values[:, :, place:end] = k, v
            x = layer.finish(x, q, keys[:, :, :end], values[:, :, :end], seen)  # type: ignore[operator]
        cache.length += 1
        logits: Tensor = self.head(x[:, 1])
        return logits
