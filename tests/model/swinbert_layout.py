"""State dicts of SwinBERT and Video Swin with random values, and their definition in plain operations.

The reference runs over the whole sequence [text | video] with additive masks and over all places of a map at
once; of the package it uses the table of sizes alone. Axes: B clips, T frames, S side, M tokens, L text.
"""

import math
from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from captioner.model.video_encoder import SWIN_SIZES

Arch = Literal["swin3d_t", "swin3d_s", "swin3d_b", "swin3d_small_cpu"]
ARCH: Arch = "swin3d_small_cpu"
STEM = 16
PATCH, DEPTHS, HEADS, WINDOW = SWIN_SIZES[ARCH][1:]
FRAMES, SIZE, TOKENS = 10, 72, 45  # windows shifted in time, maps of 9, 5 and 3 that need padding
WIDTH, BERT_HEADS, LAYERS, FFN, MIDDLE, VOCAB = 32, 4, 2, 48, 24, 40
CLS, SEP, MASK, PAD = 2, 3, 4, 0
Shapes = dict[str, tuple[int, ...]]


def linear(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def swin_shapes() -> Shapes:
    """Every tensor of an official Video Swin backbone in the small size."""
    shapes = {"patch_embed.proj.weight": (STEM, 3, *PATCH), "patch_embed.proj.bias": (STEM,)}
    shapes |= norm("patch_embed.norm", STEM)
    for stage, (depth, heads) in enumerate(zip(DEPTHS, HEADS, strict=True)):
        width = STEM * 2**stage
        for block in range(depth):
            name = f"layers.{stage}.blocks.{block}"
            shapes |= norm(f"{name}.norm1", width) | norm(f"{name}.norm2", width)
            rows = math.prod(2 * side - 1 for side in WINDOW)
            shapes[f"{name}.attn.relative_position_bias_table"] = (rows, heads)
            shapes |= linear(f"{name}.attn.qkv", 3 * width, width)
            shapes |= linear(f"{name}.attn.proj", width, width)
            shapes |= linear(f"{name}.mlp.fc1", 4 * width, width)
            shapes |= linear(f"{name}.mlp.fc2", width, 4 * width)
        if stage + 1 < len(DEPTHS):
            shapes |= norm(f"layers.{stage}.downsample.norm", 4 * width)
            shapes[f"layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
    return shapes | norm("norm", STEM * 2 ** (len(DEPTHS) - 1))


def bert_shapes() -> Shapes:
    """Every tensor of SwinBERT outside the backbone, those that captions never read among them."""
    bert, head = "trans_encoder.bert", "trans_encoder.cls.predictions"
    shapes = linear("fc", MIDDLE, STEM * 4) | linear(f"{bert}.img_embedding", WIDTH, MIDDLE)
    for table, rows in (("word", VOCAB), ("position", 64), ("token_type", 2)):
        shapes[f"{bert}.embeddings.{table}_embeddings.weight"] = (rows, WIDTH)
    shapes |= norm(f"{bert}.embeddings.LayerNorm", WIDTH) | linear(f"{bert}.pooler.dense", WIDTH, WIDTH)
    for number in range(LAYERS):
        name = f"{bert}.encoder.layer.{number}"
        for part in ("query", "key", "value"):
            shapes |= linear(f"{name}.attention.self.{part}", WIDTH, WIDTH)
        shapes |= linear(f"{name}.attention.output.dense", WIDTH, WIDTH)
        shapes |= linear(f"{name}.intermediate.dense", FFN, WIDTH)
        shapes |= linear(f"{name}.output.dense", WIDTH, FFN)
        shapes |= norm(f"{name}.attention.output.LayerNorm", WIDTH)
        shapes |= norm(f"{name}.output.LayerNorm", WIDTH)
    for part, rows in ((head, VOCAB), ("trans_encoder.cls_img_feat", 20)):
        shapes |= linear(f"{part}.transform.dense", WIDTH, WIDTH) | norm(f"{part}.transform.LayerNorm", WIDTH)
        shapes |= {f"{part}.decoder.weight": (rows, WIDTH), f"{part}.bias": (rows,)}
    return shapes


def relative_rows(window: list[int]) -> Tensor:
    """For each pair of places of a window, the row of the bias table."""
    places = list(product(*map(range, window)))
    spans = [2 * side - 1 for side in window]
    table = torch.empty(len(places), len(places), dtype=torch.long)
    for i, j in product(range(len(places)), repeat=2):
        row = 0
        for a, b, side, span in zip(places[i], places[j], window, spans, strict=True):
            row = row * span + a - b + side - 1
        table[i, j] = row
    return table


ROWS = relative_rows(WINDOW)


def random_state(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Random values everywhere, biases and norms too, so that a tensor in the wrong place shows."""
    draw = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=draw)
        if len(shape) == 1:
            value = value * 0.2 + ("norm" in name.lower() and name.endswith("weight"))
        elif "embeddings" not in name and "table" not in name:
            value = value * 1.5 / math.prod(shape[1:]) ** 0.5
        state[name] = value
    return state


def swin_state(prefix: str = "backbone.") -> dict[str, Tensor]:
    state = random_state(swin_shapes(), seed=1)
    for name in [name for name in state if name.endswith("bias_table")]:
        state[name.replace("bias_table", "index")] = ROWS.clone()
    return {f"{prefix}{name}": value for name, value in state.items()}


def swinbert_state(video_mask: bool = True, tied: bool = False) -> dict[str, Tensor]:
    state = swin_state("swin.backbone.") | random_state(bert_shapes(), seed=2)
    if tied:
        words = state["trans_encoder.bert.embeddings.word_embeddings.weight"] * 0.2
        state["trans_encoder.bert.embeddings.word_embeddings.weight"] = words
        state["trans_encoder.cls.predictions.decoder.weight"] = words.clone()
    if video_mask:  # biases from 0 to -10000: a third are open, the others shut or nearly so
        mask = torch.randn(TOKENS**2, 1, generator=torch.Generator().manual_seed(3)) * 4
        mask[::3] += 12
        state["learn_vid_att.weight"] = mask
    return state


def pixels(clips: int = 2) -> Tensor:
    shape = (clips, FRAMES, 3, SIZE, SIZE)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(4), dtype=torch.uint8)


class Reference:
    """The definition, in straight operations on the state dict."""

    def __init__(self, state: dict[str, Tensor], swin: str = "swin.backbone.") -> None:
        self.state = {name: v.float() if v.is_floating_point() else v for name, v in state.items()}
        self.swin = swin

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.state[f"{name}.weight"].t() + self.state.get(f"{name}.bias", torch.zeros(()))

    def norm(self, x: Tensor, name: str, eps: float) -> Tensor:
        mean, spread = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        return (x - mean) / (spread + eps).sqrt() * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def video(self, frames: Tensor) -> Tensor:
        """uint8 (B, T, 3, S, S) -> (B, M, C)."""
        shift, scale = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = (frames / 255 - shift[:, None, None]) / scale[:, None, None]
        x = F.conv3d(
            x.transpose(1, 2),
            self.state[f"{self.swin}patch_embed.proj.weight"],
            self.state[f"{self.swin}patch_embed.proj.bias"],
            stride=tuple(PATCH),
        )
        x = self.norm(x.permute(0, 2, 3, 4, 1), f"{self.swin}patch_embed.norm", 1e-5)
        for stage, depth in enumerate(DEPTHS):
            for block in range(depth):
                x = self.block(x, f"{self.swin}layers.{stage}.blocks.{block}", HEADS[stage], block % 2 == 1)
            if stage + 1 < len(DEPTHS):
                x = self.merge(x, f"{self.swin}layers.{stage}.downsample")
        return self.norm(x, f"{self.swin}norm", 1e-5).flatten(1, 3)

    def merge(self, x: Tensor, name: str) -> Tensor:
        """Four neighbours side by side: column by column, the upper one first."""
        x = F.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2))
        quarters = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.linear(self.norm(torch.cat(quarters, -1), f"{name}.norm", 1e-5), f"{name}.reduction")

    def block(self, x: Tensor, name: str, heads: int, shifted: bool) -> Tensor:
        mixed = self.attend(self.norm(x, f"{name}.norm1", 1e-5), f"{name}.attn", heads, shifted)
        x = x + mixed
        hidden = F.gelu(self.linear(self.norm(x, f"{name}.norm2", 1e-5), f"{name}.mlp.fc1"))
        return x + self.linear(hidden, f"{name}.mlp.fc2")

    def attend(self, x: Tensor, name: str, heads: int, shifted: bool) -> Tensor:
        """Every place looks at every other; a matrix of biases keeps it to its window."""
        size = x.shape[1:4]
        window = [min(side, full) for side, full in zip(WINDOW, size, strict=True)]
        shift = [side // 2 * (shifted and full > side) for side, full in zip(WINDOW, size, strict=True)]
        full = [math.ceil(length / side) * side for length, side in zip(size, window, strict=True)]
        x = F.pad(x, (0, 0, 0, full[2] - size[2], 0, full[1] - size[1], 0, full[0] - size[0]))
        places = torch.tensor(list(product(*map(range, full))))
        rolled = (places - torch.tensor(shift)) % torch.tensor(full)
        cell, inner = rolled // torch.tensor(window), rolled % torch.tensor(window)
        region = (rolled >= torch.tensor(full) - torch.tensor(shift)).long()  # wrapped round an edge
        together = (cell[:, None] == cell[None]).all(-1)
        strangers = (region[:, None] != region[None]).any(-1)
        flat = (inner[:, 0] * window[1] + inner[:, 1]) * window[2] + inner[:, 2]
        # a window cut to the map reads the first rows and columns of the uncut window's table
        bias = self.state[f"{name}.relative_position_bias_table"][ROWS[flat[:, None], flat[None]]]
        bias = bias.permute(2, 0, 1) + torch.where(strangers, -100.0, 0.0)
        bias = bias.masked_fill(~together, -torch.inf)
        q, k, v = self.linear(x.flatten(1, 3), f"{name}.qkv").chunk(3, -1)
        x = self.linear(multihead(q, k, v, heads, bias), f"{name}.proj").view(x.shape)
        return x[:, : size[0], : size[1], : size[2]]

    def logits(self, ids: Tensor, frames: Tensor) -> Tensor:
        """ids (B, L), frames -> (B, L, V): one pass over [text | video] with biases of 0 and -10000."""
        bert, head = "trans_encoder.bert", "trans_encoder.cls.predictions"
        length = ids.shape[1]
        tables = {t: self.state[f"{bert}.embeddings.{t}_embeddings.weight"] for t in ("word", "position")}
        kind = self.state[f"{bert}.embeddings.token_type_embeddings.weight"][0]
        text = tables["word"][ids] + tables["position"][:length] + kind
        text = self.norm(text, f"{bert}.embeddings.LayerNorm", 1e-12)
        video = self.linear(self.linear(self.video(frames), "fc"), f"{bert}.img_embedding")
        x = torch.cat([text, video], 1)
        bias = (1 - self.allowed(length, video.shape[1])) * -10000.0
        for number in range(LAYERS):
            name = f"{bert}.encoder.layer.{number}"
            q, k, v = (self.linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
            mixed = self.linear(multihead(q, k, v, BERT_HEADS, bias), f"{name}.attention.output.dense")
            x = self.norm(x + mixed, f"{name}.attention.output.LayerNorm", 1e-12)
            hidden = F.gelu(self.linear(x, f"{name}.intermediate.dense"))
            x = self.norm(x + self.linear(hidden, f"{name}.output.dense"), f"{name}.output.LayerNorm", 1e-12)
        states = F.gelu(self.linear(x[:, :length], f"{head}.transform.dense"))
        states = self.norm(states, f"{head}.transform.LayerNorm", 1e-12)
        return states @ self.state[f"{head}.decoder.weight"].t() + self.state[f"{head}.bias"]

    def allowed(self, length: int, tokens: int) -> Tensor:
        """A[query, key]: text sees earlier text and the video, the video sees itself and never the text."""
        matrix = torch.zeros(length + tokens, length + tokens)
        learned = self.state.get("learn_vid_att.weight", torch.full((tokens**2, 1), torch.inf))
        for query, key in product(range(length + tokens), repeat=2):
            if query < length:
                matrix[query, key] = key <= query or key >= length
            elif key >= length:
                row, column = query - length, key - length
                matrix[query, key] = 1.0 if row == column else learned[row * tokens + column, 0].sigmoid()
        return matrix

    def greedy(self, frames: Tensor, steps: int) -> list[list[int]]:
        """[CLS] and a [MASK] behind it, the likeliest word in its place, and so on."""
        ids = torch.full((len(frames), 1), CLS)
        for _ in range(steps):
            with_mask = torch.cat([ids, torch.full((len(ids), 1), MASK)], 1)
            word = self.logits(with_mask, frames)[:, -1].argmax(-1)
            ids = torch.cat([ids, word[:, None]], 1)
        return ids.tolist()


def multihead(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor) -> Tensor:
    """(B, N, D) each -> (B, N, D), a head at a time; bias (N, N) or one a head."""
    width = q.shape[-1] // heads
    parts = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        scores = q[..., own] @ k[..., own].transpose(1, 2) / width**0.5
        scores = scores + (bias[head] if bias.dim() == 3 else bias)
        parts.append(scores.softmax(-1) @ v[..., own])
    return torch.cat(parts, -1)


def sentence() -> Tensor:
    """Two texts with [MASK] at several places."""
    ids = torch.randint(5, VOCAB, (2, 12), generator=torch.Generator().manual_seed(5))
    ids[:, 0], ids[:, -1] = CLS, SEP
    ids[0, [3, 4, 8]] = MASK
    ids[1, [1, 10]] = MASK
    return ids
