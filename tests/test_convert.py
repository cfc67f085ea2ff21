"""Conversion against the layouts' definition, written out here in plain operations on the state dict itself.

The references run over the whole sequence [text | video] with additive masks and over all places of a map at
once; they share no code with the package. Weights are random (synthetic); no public file is read.
"""

import math
import os
import pickle
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from captioner import checkpoint
from captioner.config import Config, DecodeConfig, VideoConfig, load
from captioner.convert import convert_swin, convert_swinbert, read_tensors, swin_names
from captioner.decoding import Special, write
from captioner.encoders import SWIN_SIZES, VideoEncoder, build_swin
from captioner.errors import CheckpointError, ConfigError
from captioner.model import Batch, EmotionCaptioner
from scripts.convert import main

ARCH, STEM = "swin3d_small_cpu", 16
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
        learned = self.state.get("learn_vid_att.weight")
        for query, key in product(range(length + tokens), repeat=2):
            if query < length:
                matrix[query, key] = key <= query or key >= length
            elif key >= length:
                row, column = query - length, key - length
                free = learned is None or row == column
                matrix[query, key] = 1.0 if free else learned[row * tokens + column, 0].sigmoid()
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


@torch.no_grad()
def our_logits(model: EmotionCaptioner, ids: Tensor, frames: Tensor) -> Tensor:
    return model.fusion.head(model.fusion.write(ids, model.see(Batch(frames=frames)).memory))


def converted(state: dict[str, Tensor], frames: int | None = None) -> EmotionCaptioner:
    return convert_swinbert(state, "model.bin", size=SIZE, frames=frames, heads=BERT_HEADS, max_text=20)[0]


@pytest.mark.parametrize("video_mask", [False, True])
def test_caption_logits_are_those_of_the_layouts_definition(video_mask: bool) -> None:
    state = swinbert_state(video_mask)
    model = converted(state, None if video_mask else FRAMES)
    wanted = Reference(state).logits(sentence(), pixels())
    found = our_logits(model, sentence(), pixels())
    assert wanted.std() > 0.5  # not near zero, where anything agrees
    assert (found - wanted).abs().max() < 1e-4
    assert model.config.video == VideoConfig(arch=ARCH, frames=FRAMES, size=SIZE, width=STEM)
    assert model.config.fusion.video_mask is video_mask
    assert not model.config.fusion.tie_head
    assert not model.training


def test_the_learned_mask_matters_and_is_not_all_or_nothing() -> None:
    state = swinbert_state()
    soft = Reference(state).logits(sentence(), pixels())
    for change in (lambda w: w.fill_(50.0), lambda w: w.copy_((w >= 0) * 100.0 - 50.0)):
        other = dict(state) | {"learn_vid_att.weight": state["learn_vid_att.weight"].clone()}
        change(other["learn_vid_att.weight"])
        assert (our_logits(converted(other), sentence(), pixels()) - soft).abs().max() > 1e-2


@pytest.mark.parametrize("video_mask", [False, True])
def test_greedy_captions_are_those_of_masked_decoding(video_mask: bool) -> None:
    state = swinbert_state(video_mask)
    state["trans_encoder.cls.predictions.bias"][[PAD, 1, CLS, SEP, MASK]] -= 30.0  # words only
    state["trans_encoder.bert.embeddings.position_embeddings.weight"] *= 10  # other words at other places
    model = converted(state, None if video_mask else FRAMES)
    with torch.no_grad():
        memory = model.see(Batch(frames=pixels())).memory
    written = write(model.fusion, memory, Special(CLS, SEP, MASK, PAD), DecodeConfig(max_words=8))
    wanted = Reference(state).greedy(pixels(), steps=8)
    assert [result.ids for result in written] == [[*ids, SEP] for ids in wanted]
    assert all(len(set(ids)) > 3 for ids in wanted)  # not one word again and again


def test_a_tied_decoder_stays_tied_and_half_precision_is_widened() -> None:
    state = {n: v.half() if v.is_floating_point() else v for n, v in swinbert_state(tied=True).items()}
    model = converted(state)
    assert model.config.fusion.tie_head
    assert model.fusion.head.decoder.weight is model.fusion.embed.words.weight
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    wanted = Reference(state).logits(sentence(), pixels())
    assert (our_logits(model, sentence(), pixels()) - wanted).abs().max() < 1e-4


def vocabulary(folder: Path, pieces: int = VOCAB) -> Path:
    path = folder / "vocab.txt"
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(pieces - 5))]
    path.write_text("\n".join(names) + "\n")
    return path


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["convert.py", *map(str, words)])
    return main()


SMALL = ("--size", SIZE, "--heads", BERT_HEADS, "--max-text", 20)


def test_swinbert_command_writes_a_checkpoint_and_names_what_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "model.bin", tmp_path / "made"
    state = swinbert_state()
    torch.save(state, source)
    assert run(monkeypatch, "swinbert", source, "--out", out, "--vocab", vocabulary(tmp_path), *SMALL) == 0
    first, unused, unfilled = capsys.readouterr().out.splitlines()
    assert f"{ARCH}, 10 frames of 72 pixels, 2 layers of width 32 with 4 heads, 40 word pieces" in first
    assert "learned mask of 45 video tokens" in first
    left = [name for name in state if ".pooler." in name or ".cls_img_feat." in name]
    left.append("trans_encoder.bert.embeddings.token_type_embeddings.weight[1:]")
    assert unused == f"not used (9): {', '.join(sorted(left[:-1]))}, {left[-1]}"
    assert unfilled == "not in the file, set to zero (1): fusion.kinds.weight"
    assert sorted(p.name for p in out.iterdir()) == sorted([*checkpoint.FILES, "CARD.md"])
    assert "SwinBERT" in (out / "CARD.md").read_text()
    assert str(tmp_path) not in (out / "CARD.md").read_text() + (out / "config.json").read_text()
    made = checkpoint.load(out)
    assert made.tokenizer.mask_id == MASK
    wanted = Reference(state).logits(sentence(), pixels())
    assert (our_logits(made.model, sentence(), pixels()) - wanted).abs().max() < 1e-4


def test_video_swin_command_makes_a_file_that_a_configuration_can_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "swin.pth", tmp_path / "swin.safetensors"
    state = swin_state()
    head = {"cls_head.fc_cls.weight": torch.zeros(400, 64), "cls_head.fc_cls.bias": torch.zeros(400)}
    torch.save({"meta": {"epoch": 30}, "state_dict": state | head}, source)
    assert run(monkeypatch, "video-swin", source, "--out", out) == 0
    first, unused, _ = capsys.readouterr().out.splitlines()
    assert first == f"{out}: use model.video.arch={ARCH} and model.video.pretrained={out}"
    assert unused == "not used (2): cls_head.fc_cls.bias, cls_head.fc_cls.weight"
    keys = [f"model.video.pretrained={out}", f"model.video.arch={ARCH}", f"model.video.width={STEM}"]
    encoder = VideoEncoder(load(Config, None, keys).model.video).eval()
    with torch.no_grad():
        found = encoder(pixels())
    assert found.shape == (2, TOKENS, 4 * STEM)
    assert (found - Reference(state, "backbone.").video(pixels())).abs().max() < 1e-4
    assert out.stat().st_mode & 0o044  # others may read it


def test_names_go_both_ways_for_every_size() -> None:
    """Each official name has one place and each place one name, in the sizes that were published."""
    for arch in ("swin3d_t", "swin3d_s", "swin3d_b"):
        with torch.device("meta"):
            swin = build_swin(VideoConfig(arch=arch))  # type: ignore[arg-type]
        names = swin_names(arch)
        assert set(names) == set(swin.state_dict())
        assert len(set(names.values())) == len(names)


def test_kinetics_weights_of_torchvision_still_load(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models.video import swin3d_t

    whole = swin3d_t().state_dict()
    fake = {"KINETICS400_V1": SimpleNamespace(get_state_dict=lambda **_: whole)}
    monkeypatch.setattr("torchvision.models.get_model_weights", lambda _: fake)
    swin = build_swin(VideoConfig(arch="swin3d_t", pretrained="kinetics400"))
    assert torch.equal(swin.state_dict()["features.6.1.mlp.3.weight"], whole["features.6.1.mlp.3.weight"])


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.pop(name)


def put(name: str, value: Tensor) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.update({name: value})


LAYER0 = "trans_encoder.bert.encoder.layer.0"
KEY, LAST = f"{LAYER0}.attention.self.key.weight", f"{LAYER0}.output.dense.bias"
INDEX, STRANGER = "swin.backbone.layers.0.blocks.0.attn.relative_position_index", "trans_encoder.bert.LayerNorm.bias"
LARGE = "swin.backbone.patch_embed.proj.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("fc.weight"), "m is of another architecture: it lacks 1 tensor (fc.weight)"),
        (without(LAST), f"m is of another architecture: it lacks 1 tensor ({LAST})"),
        (without(LARGE), f"m is of another architecture: it lacks 1 tensor ({LARGE})"),
        (put("au.weight", torch.ones(3)), "m is of another architecture: no place for 1 tensor (au.weight)"),
        (put(STRANGER, torch.ones(3)), f"m is of another architecture: no place for 1 tensor ({STRANGER})"),
        (put(KEY, torch.ones(3, 4)), f"m: {KEY} has shape (3, 4), (32, 32) is needed"),
        (put("fc.weight", torch.ones(3)), "m: fc.weight has 1 dimensions, 2 are needed"),
        (put(INDEX, ROWS.t().clone()), f"m: {INDEX} orders the places of a window in another way"),
        (put(LARGE, torch.ones(192, 3, 2, 4, 4)), "m holds a Video Swin of width 192, patch [2, 4, 4]"),
        (put("learn_vid_att.weight", torch.ones(50, 1)), "m: learn_vid_att.weight has 50 values, no square"),
        (put("learn_vid_att.weight", torch.ones(49, 1)), "7 video tokens; 1 frames of 72 pixels give 9"),
    ],
)
def test_other_architectures_are_refused_by_name(change: Callable[[dict[str, Any]], None], message: str) -> None:
    state = swinbert_state()
    change(state)
    with pytest.raises(CheckpointError) as caught:
        convert_swinbert(state, "m", size=SIZE, heads=BERT_HEADS, max_text=20)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sizes_that_contradict_the_file_are_refused() -> None:
    state = swinbert_state()
    with pytest.raises(CheckpointError, match="32 frames of 72 pixels give 144"):
        convert_swinbert(state, "m", size=SIZE, frames=32, heads=BERT_HEADS)
    with pytest.raises(CheckpointError, match="m knows 64 places of a text, not 65"):
        convert_swinbert(state, "m", size=SIZE, heads=BERT_HEADS, max_text=65)
    with pytest.raises(ConfigError, match=r"fusion.heads 5 does not divide fusion.width 32"):
        convert_swinbert(state, "m", size=SIZE, heads=5, max_text=20)


def test_a_larger_swin_is_refused_with_the_known_sizes() -> None:
    state = swin_state()
    state["backbone.patch_embed.proj.weight"] = torch.ones(192, 3, 2, 4, 4)
    with pytest.raises(CheckpointError) as caught:
        convert_swin(state, "large.pth")
    assert "large.pth holds a Video Swin of width 192, patch [2, 4, 4], depths [1, 1, 2]" in str(caught.value)
    assert "swin3d_b 128, [2, 4, 4], [2, 2, 18, 2], [4, 8, 16, 32], [8, 7, 7]" in str(caught.value)


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.bin", "no such file"),
        ("folder", "is a folder: name the file"),
        ("empty.bin", "is damaged or no torch file"),
        ("text.bin", "is damaged or no torch file"),
        ("cut.bin", "is damaged or no torch file"),
        ("trap.bin", "mkdir, which could run code: give a file with tensors alone"),
        ("number.bin", "holds no state dict"),
        ("bert.bin", "is of another architecture: it lacks"),
    ],
)
@pytest.mark.parametrize("kind", ["swinbert", "video-swin"])
def test_files_that_cannot_be_converted_end_in_one_line_and_nothing_written(
    kind: str,
    name: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given, made, sprung = tmp_path / "in", tmp_path / "out", tmp_path / "sprung"
    (given / "folder").mkdir(parents=True)
    made.mkdir()
    (given / "empty.bin").touch()
    (given / "text.bin").write_text("<html>404</html>")
    torch.save(swinbert_state(), given / "whole.bin")
    (given / "cut.bin").write_bytes((given / "whole.bin").read_bytes()[:-5000])
    torch.save({"state_dict": Trap(sprung)}, given / "trap.bin")
    torch.save(3, given / "number.bin")
    torch.save({"embeddings.word_embeddings.weight": torch.ones(3, 4)}, given / "bert.bin")
    words = ["--vocab", vocabulary(given)] if kind == "swinbert" else []
    out = made / ("x" if kind == "swinbert" else "x.safetensors")
    assert run(monkeypatch, kind, given / name, "--out", out, *words) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert not printed.out
    assert not list(made.iterdir())
    assert not sprung.exists()


def test_the_trap_springs_when_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


def test_a_wrong_vocabulary_and_a_taken_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "model.bin", tmp_path / "out"
    torch.save(swinbert_state(), source)
    vocab = vocabulary(tmp_path, VOCAB + 1)
    assert run(monkeypatch, "swinbert", source, "--out", out, "--vocab", vocab, *SMALL) == 2
    assert "has 40 word pieces, --vocab" in capsys.readouterr().err
    assert not out.exists()
    assert run(monkeypatch, "swinbert", source, "--out", out, "--vocab", tmp_path / "vocab.text.txt") == 2
    assert f"did you mean {str(vocab)!r}" in capsys.readouterr().err
    out.mkdir()
    (out / "letter.txt").write_text("mine")
    assert run(monkeypatch, "swinbert", source, "--out", out, "--vocab", vocab) == 2
    assert capsys.readouterr().err == f"error: {out} exists already: name a new folder\n"
    assert (out / "letter.txt").read_text() == "mine"
    assert run(monkeypatch, "video-swin", source, "--out", tmp_path / "x.pth") == 2
    assert "must end in .safetensors" in capsys.readouterr().err


def test_a_converted_encoder_says_what_is_wrong_with_its_file(tmp_path: Path) -> None:
    config = VideoConfig(arch=ARCH, width=STEM)
    with pytest.raises(CheckpointError, match=r"video.pretrained: no such file: '.*x.safetensors'"):
        VideoEncoder(VideoConfig(arch=ARCH, pretrained=str(tmp_path / "x.safetensors")))
    (tmp_path / "x.safetensors").write_bytes(b"12345678901234567890")
    with pytest.raises(CheckpointError, match="is damaged or no safetensors file"):
        VideoEncoder(VideoConfig(arch=ARCH, pretrained=str(tmp_path / "x.safetensors")))
    save_file(convert_swin(swin_state(), "s")[1], tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"does not fit video.arch=swin3d_small_cpu: 5\d tensors"):
        VideoEncoder(VideoConfig(arch=ARCH, width=2 * STEM, pretrained=str(tmp_path / "x.safetensors")))
    with pytest.raises(ConfigError, match="each may have a .safetensors file made by scripts/convert.py"):
        VideoEncoder(VideoConfig(arch=ARCH, pretrained="swin.pth"))
    assert VideoEncoder(config).width == 4 * STEM
    assert len(load_file(tmp_path / "x.safetensors")) == len(build_swin(config).state_dict())


def test_read_tensors_takes_plain_and_nested_state_dicts(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "plain.bin")
    torch.save({"state_dict": {"a": torch.ones(2)}, "meta": {"time": "now"}}, tmp_path / "nested.pth")
    for name in ("plain.bin", "nested.pth"):
        assert read_tensors(tmp_path / name)["a"].tolist() == [1.0, 1.0]
