"""X3D and MViT of pytorchvideo, vision models of transformers by name: tokens, gradients, files, checkpoints."""

from pathlib import Path

import pytest
import torch

from captioner.config import ModelConfig, VideoConfig
from captioner.config_io import build_config, to_dict
from captioner.errors import CheckpointError, ConfigError
from captioner.model.captioner import EmotionCaptioner
from captioner.model.video_encoder import VideoEncoder
from captioner.model.video_nets import build_pytorchvideo
from captioner.model.weights import fill
from scripts.convert import main
from tests.helpers import tiny_batch, tiny_config


def noise(frames: int, size: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, frames, 3, size, size), generator=draw, dtype=torch.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models of transformers with random weights, as a hub would give them."""
    from transformers import SiglipVisionConfig, SiglipVisionModel, VideoMAEConfig, VideoMAEModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    nets = {
        "videomae": VideoMAEModel(VideoMAEConfig(image_size=64, num_frames=4, **sizes)),
        "siglip": SiglipVisionModel(SiglipVisionConfig(image_size=64, **sizes)),
    }
    root = tmp_path_factory.mktemp("hub")
    for name, net in nets.items():
        net.save_pretrained(root / name)
    return {name: root / name for name in nets}


@pytest.mark.parametrize(("name", "tokens"), [("videomae", 32), ("siglip", 4)])
def test_any_vision_model_by_name(name: str, tokens: int, folders: dict[str, Path]) -> None:
    config = tiny_config("video.arch=hf", f"video.pretrained={folders[name]}")
    model = EmotionCaptioner(config).train()
    assert model.video(noise(4, 64)).shape == (2, tokens, 32)
    sum(model(tiny_batch(config)).live.values()).backward()  # type: ignore[union-attr]
    assert any(p.grad is not None and p.grad.any() for p in model.video.parameters())
    kept = build_config(ModelConfig, to_dict(config) | {"video": to_dict(config)["video"] | {
        "network": model.video.network, "pretrained": "/gone/now"}})  # fmt: skip
    again = EmotionCaptioner(kept, load=False)  # a checkpoint opens without the source
    fill(again, model.state_dict(), "a checkpoint")
    torch.testing.assert_close(again.eval().video(noise(4, 64)), model.eval().video(noise(4, 64)))


def test_what_a_vision_model_does_not_take(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"set model\.video\.frames=4"):
        VideoEncoder(VideoConfig(arch="hf", pretrained=str(folders["videomae"]), size=64, frames=8))
    with pytest.raises(ConfigError, match=r"set model\.video\.size=64"):
        VideoEncoder(VideoConfig(arch="hf", pretrained=str(folders["siglip"]), size=96, frames=8))
    with pytest.raises(ConfigError, match="a hub name or a folder"):
        VideoEncoder(VideoConfig(arch="hf"))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        VideoEncoder(VideoConfig(arch="hf", pretrained="/no/such"))


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "frames", "size", "tokens"), [("x3d_xs", 4, 64, 16), ("mvit_small_cpu", 8, 64, 16)])
def test_encoders_of_pytorchvideo(arch: str, frames: int, size: int, tokens: int) -> None:
    torch.manual_seed(0)
    encoder = VideoEncoder(VideoConfig(arch=arch, frames=frames, size=size, drop_path=0.0)).train()  # type: ignore[arg-type]
    out = encoder(noise(frames, size))
    assert out.shape == (2, tokens, encoder.width)
    out.square().mean().backward()
    assert all(p.grad is not None for p in encoder.parameters() if p.numel() > 400)
    state = {name: value.clone() for name, value in encoder.named_buffers()}
    encoder(noise(frames, size))
    assert all(torch.equal(value, state[name]) for name, value in encoder.named_buffers())  # batch norms stay


@pytest.mark.slow
def test_a_published_x3d_becomes_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pytorchvideo.models.x3d import create_x3d

    torch.manual_seed(0)
    theirs = create_x3d(input_clip_length=4, input_crop_size=160)
    source, out = tmp_path / "X3D_XS.pyth", tmp_path / "x3d.safetensors"
    torch.save({"model_state": theirs.state_dict()}, source)
    assert main(["pytorchvideo", str(source), "--arch", "x3d_xs", "--out", str(out)]) == 0
    encoder = VideoEncoder(VideoConfig(arch="x3d_xs", frames=4, size=64, pretrained=str(out))).eval()
    x = torch.randn(1, 3, 4, 64, 64)
    wanted = x
    for block in theirs.eval().blocks[:-1]:
        wanted = block(wanted)
    torch.testing.assert_close(encoder.net(x.transpose(1, 2)), wanted.flatten(2).transpose(1, 2))
    capsys.readouterr()
    assert main(["pytorchvideo", str(source), "--arch", "x3d_l", "--out", str(tmp_path / "l.safetensors")]) == 2
    assert "is no x3d_l of pytorchvideo" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"scripts/convert\.py pytorchvideo"):
        VideoEncoder(VideoConfig(arch="x3d_xs", frames=4, size=64, pretrained="kinetics400"))


@pytest.mark.slow
def test_places_of_mvit_follow_frames_and_pixels() -> None:
    from captioner.model.video_nets import read_converted

    torch.manual_seed(0)
    small, large = (VideoConfig(arch="mvit_small_cpu", frames=t, size=s, pretrained="a") for t, s in ((4, 64), (8, 96)))
    given, net = build_pytorchvideo(small).state_dict(), build_pytorchvideo(large)
    read_converted(net, large, dict(given))
    name = "net.cls_positional_encoding.pos_embed_temporal"
    assert net.state_dict()[name].shape[1] == 2 * given[name].shape[1]
    with pytest.raises(CheckpointError, match=r"does not fit model\.video\.arch=mvit_small_cpu"):
        read_converted(net, large, {name: given[name]})
