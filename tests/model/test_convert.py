"""Conversion of public layouts: the captions of the layout's own definition, or one line that says why not.

Weights are random (synthetic); no public file is read.
"""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from captioner.config import Config, DecodeConfig, VideoConfig
from captioner.config_io import load_config
from captioner.errors import CheckpointError, ConfigError
from captioner.model import checkpoint
from captioner.model.batch import Batch
from captioner.model.captioner import EmotionCaptioner
from captioner.model.convert import convert_swin, convert_swinbert, read_tensors, swin_names
from captioner.model.decoding import Special, decode_captions
from captioner.model.video_encoder import VideoEncoder, build_swin
from scripts.convert import main
from tests.model.swinbert_layout import (
    ARCH,
    BERT_HEADS,
    CLS,
    FRAMES,
    MASK,
    PAD,
    ROWS,
    SEP,
    SIZE,
    STEM,
    TOKENS,
    VOCAB,
    Arch,
    Reference,
    pixels,
    sentence,
    swin_state,
    swinbert_state,
)


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
    special, options = Special(CLS, SEP, MASK, PAD), DecodeConfig(no_repeat=0, max_words=8)
    written = decode_captions(model.fusion, memory, special, options)
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
    swin = {name.removeprefix("swin."): v for name, v in state.items() if name.startswith("swin.")}
    assert {value.dtype for value in convert_swin(swin, "s")[1].values()} == {torch.float32, torch.int64}


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
    made = checkpoint.load_checkpoint(out)
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
    encoder = VideoEncoder(load_config(Config, None, keys).model.video).eval()
    with torch.no_grad():
        found = encoder(pixels())
    assert found.shape == (2, TOKENS, 4 * STEM)
    assert (found - Reference(state, "backbone.").video(pixels())).abs().max() < 1e-4
    assert out.stat().st_mode & 0o044  # others may read it


def test_names_go_both_ways_for_every_size() -> None:
    """Each official name has one place and each place one name, in the sizes that were published."""
    archs: list[Arch] = ["swin3d_t", "swin3d_s", "swin3d_b"]
    for arch in archs:
        with torch.device("meta"):
            swin = build_swin(VideoConfig(arch=arch))
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


Change = Callable[[dict[str, Tensor]], object]


def without(name: str) -> Change:
    return lambda state: state.pop(name)


def put(name: str, value: Tensor) -> Change:
    return lambda state: state.update({name: value})


LAYER0 = "trans_encoder.bert.encoder.layer.0"
KEY, LAST = f"{LAYER0}.attention.self.key.weight", f"{LAYER0}.output.dense.bias"
INDEX = "swin.backbone.layers.0.blocks.0.attn.relative_position_index"
STRANGER, LARGE = "trans_encoder.bert.LayerNorm.bias", "swin.backbone.patch_embed.proj.weight"


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
def test_other_architectures_are_refused_by_name(change: Change, message: str) -> None:
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
        ("plain.bin", "needs unpickling of more than tensors, which could run code"),
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
    (given / "plain.bin").write_bytes(pickle.dumps({"state_dict": Trap(sprung)}))
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
    assert (
        run(monkeypatch, "swinbert", source, "--out", out, "--vocab", tmp_path / "vocab.text.txt", *SMALL)
        == 2
    )
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
    with pytest.raises(CheckpointError, match=r"does not fit video.arch=swin3d_small_cpu: 60 tensors"):
        VideoEncoder(VideoConfig(arch=ARCH, width=2 * STEM, pretrained=str(tmp_path / "x.safetensors")))
    with pytest.raises(ConfigError, match=r"each may have a .safetensors file made by scripts/convert.py"):
        VideoEncoder(VideoConfig(arch=ARCH, pretrained="swin.pth"))
    assert VideoEncoder(config).width == 4 * STEM
    assert len(load_file(tmp_path / "x.safetensors")) == len(build_swin(config).state_dict())


def test_read_tensors_takes_plain_and_nested_state_dicts(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "plain.bin")
    torch.save({"state_dict": {"a": torch.ones(2)}, "meta": {"time": "now"}}, tmp_path / "nested.pth")
    for name in ("plain.bin", "nested.pth"):
        assert read_tensors(tmp_path / name)["a"].tolist() == [1.0, 1.0]
