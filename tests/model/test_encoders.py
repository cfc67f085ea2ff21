"""Video Swin equals torchvision's; any number of frames; text encoders by configuration."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from captioner.config import TextConfig, VideoConfig
from captioner.errors import CheckpointError, ConfigError
from captioner.model.text_encoder import TextEncoder
from captioner.model.video_encoder import VideoEncoder
from captioner.model.weights import read_weights
from captioner.video.transforms import IMAGENET_MEAN, IMAGENET_STD, normalise
from tests.helpers import ROOT, tiny_batch, tiny_config, tiny_model


@pytest.mark.slow
@pytest.mark.parametrize(("frames", "size"), [(8, 64), (5, 90), (18, 64)])
def test_swin_equals_torchvision(frames: int, size: int) -> None:
    from torchvision.models.video import swin3d_t

    torch.manual_seed(0)
    ours = VideoEncoder(VideoConfig(arch="swin3d_t", drop_path=0.0)).eval().double()
    for name, parameter in ours.named_parameters():  # large enough that bias and masks matter
        if "relative_position" in name or "qkv.weight" in name:
            torch.nn.init.normal_(parameter, std=1.0 if "relative" in name else 0.1)
    theirs = swin3d_t().eval().double()
    theirs.head = torch.nn.Identity()
    theirs.load_state_dict(ours.net.state_dict())
    clip = torch.randint(0, 256, (2, frames, 3, size, size), dtype=torch.uint8)
    x = normalise(clip, IMAGENET_MEAN, IMAGENET_STD).double().transpose(1, 2)
    with torch.no_grad():
        wanted = theirs.norm(theirs.features(theirs.patch_embed(x)))
        given = ours.net.norm(ours.net.features(ours.net.patch_embed(x)))
    torch.testing.assert_close(given, wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_any_number_of_frames(frames: int) -> None:
    encoder = VideoEncoder(VideoConfig(arch="swin3d_small_cpu", width=16, frames=frames, size=64)).eval()
    tokens = encoder(torch.zeros(1, frames, 3, 64, 64, dtype=torch.uint8))
    assert tokens.shape == (1, (frames + 1) // 2 * 4, 64)


def test_checkpointing_changes_no_gradient() -> None:
    torch.manual_seed(0)
    clip = torch.randint(0, 256, (1, 4, 3, 64, 64), dtype=torch.uint8)
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(1)
        config = VideoConfig(arch="swin3d_small_cpu", width=16, size=64, drop_path=0.0, checkpointing=recompute)
        encoder = VideoEncoder(config).train()
        encoder(clip).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_frozen_encoder_stays_in_evaluation() -> None:
    encoder = VideoEncoder(VideoConfig(arch="swin3d_small_cpu", width=16, size=64, frozen=True)).train()
    assert not any(module.training for module in encoder.modules())
    assert not encoder(torch.zeros(1, 4, 3, 64, 64, dtype=torch.uint8)).requires_grad


@pytest.mark.parametrize("arch", ["bert", "clip", "t5", "gpt2"])
def test_text_encoders_are_configuration(arch: str) -> None:
    model = tiny_model(f"text.arch={arch}")
    losses = model(tiny_batch(model.config)).live
    assert set(losses) == {"mlm", "er", "au"}
    losses["er"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.text.parameters())


@pytest.mark.parametrize("arch", ["bert", "clip", "t5", "gpt2"])
def test_dropout_of_text_encoders(arch: str) -> None:
    """At 0 training is evaluation; at a half two passes differ."""
    ids, mask = torch.randint(5, 60, (2, 8)), torch.ones(2, 8, dtype=torch.bool)
    without = tiny_model(f"text.arch={arch}", "text.dropout=0").text
    assert torch.equal(without.train()(ids, mask), without.eval()(ids, mask))
    half = tiny_model(f"text.arch={arch}", "text.dropout=0.5").text.train()
    assert not torch.equal(half(ids, mask), half(ids, mask))


@pytest.mark.slow
def test_clip_as_video_encoder() -> None:
    encoder = VideoEncoder(VideoConfig(arch="clip", size=64, frames=3)).eval()
    assert encoder(torch.zeros(2, 3, 3, 64, 64, dtype=torch.uint8)).shape == (2, 3, encoder.width)


def test_pretrained_folder_is_used_and_its_width_checked(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = BertConfig(vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=128)
    saved = BertModel(sizes)
    saved.save_pretrained(tmp_path)
    encoder = TextEncoder(TextConfig(pretrained=str(tmp_path), layers=1, width=32, heads=2), 60)
    torch.testing.assert_close(encoder.net.embeddings.word_embeddings.weight, saved.embeddings.word_embeddings.weight)
    assert not encoder.foreign
    assert TextEncoder(TextConfig(pretrained=str(tmp_path), layers=1, width=32, heads=2), 61).foreign == 60
    with pytest.raises(ConfigError, match=r"set text\.width=32"):
        TextEncoder(TextConfig(pretrained=str(tmp_path), layers=1, width=64, heads=2), 60)


def test_dropout_of_a_pretrained_folder(tmp_path: Path) -> None:
    tiny_model().text.net.save_pretrained(tmp_path)
    model = tiny_model(f"text.pretrained={tmp_path}", "text.dropout=0")
    assert {m.p for m in model.text.modules() if isinstance(m, torch.nn.Dropout)} == {0.0}


def test_unreachable_weights_are_refused() -> None:
    """What was asked for is what runs: one line that says what is missing and which key allows random weights."""
    with pytest.raises(CheckpointError, match=r'/no/such/folder cannot be loaded .*model\.text\.pretrained=""'):
        TextEncoder(TextConfig(pretrained="/no/such/folder", layers=1, width=32, heads=2), 60)
    with pytest.raises(CheckpointError, match=r"model\.video\.pretrained"):
        VideoEncoder(VideoConfig(arch="clip", pretrained="/no/such/folder", size=64))


def test_a_folder_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    tiny_model().text.net.save_pretrained(tmp_path)
    tensors = read_weights(tmp_path / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if "layer.0.output" not in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 4 of the weights"):
        tiny_model(f"text.pretrained={tmp_path}")


def test_unknown_video_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="kinetics400"):
        VideoEncoder(VideoConfig(arch="swin3d_t", pretrained="imagenet"))


def test_shared_words_are_one_table() -> None:
    model = tiny_model("text.share_words=true")
    assert model.text.net.embeddings.word_embeddings.weight is model.fusion.head.decoder.weight
    assert tiny_config("text.share_words=true").text.share_words


@pytest.mark.parametrize("dropout", [None, 0.0])
def test_own_bert_equals_that_of_transformers(dropout: float | None) -> None:
    """Same names, same states, same gradients; a checkpoint of one opens in the other."""
    config = TextConfig(pretrained="", layers=2, width=32, heads=4, dropout=dropout)
    torch.manual_seed(0)
    theirs, ours = TextEncoder(config, 60).eval(), TextEncoder(config, 60, load=False).eval()
    assert type(ours.net).__module__ == "captioner.model.bert"
    ours.load_state_dict(theirs.state_dict())
    ids = torch.randint(0, 60, (3, 9))
    mask = torch.arange(9)[None] < torch.tensor([9, 4, 1])[:, None]
    outputs = [encoder(ids, mask)[mask] for encoder in (theirs, ours)]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        output.square().sum().backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], msg=name)
    drops = [sorted(m.p for m in e.modules() if isinstance(m, torch.nn.Dropout)) for e in (theirs, ours)]
    assert set(drops[0]) == set(drops[1]) == {0.1 if dropout is None else 0.0}


@pytest.mark.slow
def test_opening_a_shipped_captioner_imports_no_transformers() -> None:
    code = "import captioner, sys; captioner.load(device='cpu'); print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
