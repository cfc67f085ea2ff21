"""AV-CANet: halves of one answer, its losses, both integrations, silence, one clip as in a batch."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import save_file
from torchvision.models import swin_t
from torchvision.models.video import swin3d_t

from captioner.config_io import build_config, to_dict
from captioner.emotion.av_canet.av_canet import AVCANet, build_av_canet, late_mean
from captioner.emotion.av_canet.av_canet_config import (
    AudioStreamConfig,
    AVCANetConfig,
    AVFusionConfig,
    PolarityLossConfig,
    VideoStreamConfig,
)
from captioner.emotion.av_canet.cross_fusion import SelectiveIntegration
from captioner.emotion.av_canet.polarity import PolarityLoss
from captioner.emotion.av_canet.streams import VideoStream, start_swin, video_swin
from captioner.emotion.contract import EvidenceBatch, believe
from captioner.emotion.folder import save_recogniser
from captioner.emotion.looking import look
from captioner.emotion.prior import EmotionPrior
from captioner.errors import CheckpointError, ConfigError
from captioner.sound import Sound
from captioner.sound.fronts import FrontConfig
from captioner.train.emotion.run_config import load_emotion_run
from tests.helpers import ROOT
from tests.sound.voices import film, tone

LABELS = ["joy", "calm", "anger"]
POLARITY = PolarityLossConfig(positive=["joy"], neutral=["calm"], negative=["anger"])


def tiny(fusion: AVFusionConfig | None = None, **changes: object) -> AVCANetConfig:
    config = AVCANetConfig(
        labels=LABELS, segments=4, width=16, loss=POLARITY,
        video=VideoStreamConfig("swin3d_small", frames=2, size=32, dropout=0.0, drop_path=0.0),
        audio=AudioStreamConfig("small", FrontConfig("logmel", bands=16), frames=24, seconds=0.3),
        fusion=fusion or AVFusionConfig(heads=4, inner=24, dropout=0.0),
    )  # fmt: skip
    return replace(config, **changes)  # type: ignore[arg-type]


def model(fusion: AVFusionConfig | None = None, **changes: object) -> AVCANet:
    torch.manual_seed(0)
    return build_av_canet(tiny(fusion, **changes))


def clips(heard: tuple[bool, ...] = (True, True, True), seed: int = 0) -> EvidenceBatch:
    draw = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (len(heard), 8, 3, 32, 32), generator=draw, dtype=torch.uint8)
    waves = torch.randn(len(heard), 4 * 4800, generator=draw).numpy()
    sounds = tuple(Sound(wave, 16_000) if there else None for wave, there in zip(waves, heard, strict=True))
    return EvidenceBatch(frames, sounds=sounds, words=("",) * len(heard))


@pytest.mark.parametrize("head", ["mid_concat", "sum"])
def test_the_answer_is_the_sum_of_its_halves(head: str) -> None:
    net = model(AVFusionConfig(heads=4, inner=24, head=head))  # type: ignore[arg-type]
    together, audio, video = net.answers(net.features(clips()))
    assert torch.equal(together, audio + video) and not torch.allclose(audio, video)
    if head == "mid_concat":
        a, v = net.fused(net.features(clips()))
        assert torch.allclose(together, net.head.out(torch.cat([a, v], -1)), atol=1e-6)


@pytest.mark.parametrize("kind", ["lgf", "vanilla", "self_attention", "lgi_former", "sun"])
@pytest.mark.parametrize("head", ["gated", "multiply", "neural"])
def test_every_fusion_and_head_learns_from_both_streams(kind: str, head: str) -> None:
    net = model(AVFusionConfig(kind=kind, head=head, heads=4, inner=24)).train()  # type: ignore[arg-type]
    net.losses(net.features(clips((True, True, False))), torch.tensor([0, 1, 2])).total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(("lisf", "glcf"), [(True, False), (False, True), (False, False)])
def test_halves_of_the_fusion_may_be_left_out(lisf: bool, glcf: bool) -> None:
    net = model(AVFusionConfig(lisf=lisf, glcf=glcf, heads=4, inner=24))
    assert net(net.features(clips())).shape == (3, 3)


def test_each_loss_reaches_its_encoder() -> None:
    net = model(AVFusionConfig(kind="vanilla"))  # streams do not meet before the halves
    features, labels = net.features(clips()), torch.tensor([0, 1, 2])
    assert net.video is not None and net.audio is not None
    for place, (own, other) in enumerate([(net.audio, net.video), (net.video, net.audio)], start=1):
        net.zero_grad()
        net.criterion(net.answers(features)[place], labels).backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in own.parameters())
        assert all(p.grad is None or not p.grad.any() for p in other.parameters())
    fused = model()
    fused.criterion(fused.answers(fused.features(clips()))[0], labels).backward()
    assert fused.video is not None and fused.audio is not None
    for stream in (fused.video, fused.audio):
        assert sum(float(p.grad.abs().sum()) for p in stream.parameters() if p.grad is not None) > 0
    losses = fused.losses(fused.features(clips()), labels)
    parts = losses.task + losses.parts["audio"] + losses.parts["video"]
    assert torch.allclose(losses.total.detach(), parts)


def test_polarity_weighs_wrong_answers() -> None:
    labels = torch.tensor([0, 0, 2, 1])
    logits = torch.tensor([[3.0, 0, 0], [0, 0, 3.0], [0, 0, 3.0], [3.0, 0, 0]], requires_grad=True)
    loss = PolarityLoss(LABELS, POLARITY)
    assert loss.weights(logits, labels).tolist() == pytest.approx([1, 1.7, 1, 1.7])
    costs = F.cross_entropy(logits, labels, reduction="none")
    assert torch.allclose(loss(logits, labels), (costs * torch.tensor([1, 1.7, 1, 1.7])).mean())
    none = replace(POLARITY, gamma_positive=0.0, gamma_neutral=0.0, gamma_negative=0.0)
    for plain in (PolarityLoss(LABELS, none), PolarityLoss(["a", "b", "c"], PolarityLossConfig(kind="ce"))):
        assert torch.equal(plain(logits, labels), costs.mean())


def test_a_label_needs_one_polarity() -> None:
    with pytest.raises(ConfigError, match="no polarity for calm"):
        tiny(loss=replace(POLARITY, neutral=[]))
    with pytest.raises(ConfigError, match="calm in more than one"):
        tiny(loss=replace(POLARITY, negative=["anger", "calm"]))
    assert tiny(loss=PolarityLossConfig(kind="ce")).labels == LABELS


def test_only_the_plain_integration_knows_its_own_weights() -> None:
    torch.manual_seed(1)
    levels, other, video = torch.randn(2, 4, 3, 8), torch.randn(2, 4, 3, 8), torch.randn(2, 4, 3, 8)
    for released in (True, False):
        block = SelectiveIntegration(8, released).eval()
        for p in block.parameters():
            torch.nn.init.normal_(p)
        own = block.audio_score(levels).sigmoid() - block.audio_score(other).sigmoid()
        adjusted = block.weights(levels, video)[0] - block.weights(other, video)[0]
        # what the block adds to the weights must not depend on them
        assert (bool((adjusted - own).abs().max() < 1e-5)) == released


@pytest.mark.slow
def test_video_swin_is_torchvisions() -> None:
    torch.manual_seed(0)
    ours, theirs = VideoStream(VideoStreamConfig("swin3d_t"), 8).eval(), swin3d_t(weights=None).eval()
    assert ours.swin is not None
    theirs.head = torch.nn.Identity()
    theirs.load_state_dict(ours.swin.state_dict())
    with torch.no_grad():
        clip = torch.randn(1, 3, 4, 32, 32)
        assert torch.allclose(ours.look(clip), theirs(clip), atol=1e-5)
    assert sum(p.numel() for p in video_swin(VideoStreamConfig()).parameters()) == sum(
        p.numel() for p in swin3d_t(weights=None).parameters()
    ) - (768 * 400 + 400)


def test_silence_is_no_sound_and_one_clip_is_as_in_a_batch() -> None:
    net = model()
    batch = clips((True, False, True))
    whole = net.predict(net.features(batch))
    assert whole.probs.isfinite().all() and torch.allclose(whole.probs.sum(1), torch.ones(3))
    assert batch.frames is not None
    for row, sound in enumerate(batch.sounds):
        alone = EvidenceBatch(batch.frames[row : row + 1], sounds=(sound,), words=("",))
        assert torch.allclose(net.predict(net.features(alone)).probs, whole.probs[row : row + 1], atol=1e-5)
    zeros = replace(batch, sounds=(batch.sounds[0], Sound(np.zeros(19_200, np.float32), 16_000), batch.sounds[2]))
    assert torch.equal(net.predict(net.features(zeros)).probs, whole.probs)
    for length in (3, 4, 40):  # of any length
        sound = Sound(np.ones(length * 4, np.float32), 16_000)
        assert net.chunks(sound).shape == (4, 24, 16)


def test_the_released_alignment_tiles_and_cuts() -> None:
    config = tiny()
    net = model(audio=replace(config.audio, align="released"))
    wants = net.wants.sound
    assert wants is not None and wants.segments == 0 and wants.span == pytest.approx(1.2)
    sound = Sound(clips().sounds[0].wave[:8000], 16_000)  # type: ignore[union-attr]
    chunks = net.chunks(sound).flatten(0, 1)
    frames = net.front(torch.from_numpy(sound.wave)[None])[0]
    assert len(frames) < len(chunks) and torch.equal(chunks[: len(frames)], frames)
    assert torch.equal(chunks[len(frames)], frames[0])


@pytest.mark.parametrize("streams", ["video", "audio"])
def test_one_stream_alone_and_the_late_mean(streams: str) -> None:
    net, other = model(streams=streams), model()
    found = net.predict(net.features(clips()))
    assert (net.wants.count == 0) == (streams == "audio") and (net.wants.sound is None) == (streams == "video")
    both = late_mean([found, other.predict(other.features(clips()))])
    assert torch.allclose(both.probs.sum(1), torch.ones(3)) and both.labels == ("joy", "calm", "anger")


def test_configuration_survives_and_names_its_faults() -> None:
    config = tiny()
    assert build_config(AVCANetConfig, to_dict(config)) == config
    with pytest.raises(ConfigError, match=r"fusion\.heads"):
        tiny(AVFusionConfig(heads=5))
    with pytest.raises(ConfigError, match="experts look at faces"):
        tiny(video=VideoStreamConfig("experts", crop="frame"))
    assert math.isclose(sum(g["lr"] for g in model().parameter_groups(1.0, 0.5)), 1.5)




@pytest.mark.slow
def test_video_swin_starts_from_clips_or_pictures(tmp_path: Path) -> None:
    torch.manual_seed(0)
    flat, whole = swin_t(weights=None), swin3d_t(weights=None)
    save_file(flat.state_dict(), tmp_path / "flat.safetensors")
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    net = video_swin(VideoStreamConfig())
    start_swin(net, tmp_path / "whole.safetensors")
    assert torch.equal(net.features[2][0].mlp[0].weight, whole.features[2][0].mlp[0].weight)
    start_swin(net, tmp_path / "flat.safetensors")
    picture = torch.randn(1, 3, 32, 32)
    still = picture[:, :, None].expand(-1, -1, 2, -1, -1)
    with torch.no_grad():  # a still clip is embedded as its picture is
        ours, theirs = net.patch_embed(still)[:, 0], flat.features[0](picture)
    assert torch.allclose(ours, theirs, atol=1e-5)
    table = net.features[0][0].attn.relative_position_bias_table
    assert torch.equal(table[:169], table[169:338])
    save_file({"head.weight": torch.zeros(2)}, tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="does not fit"):
        start_swin(net, tmp_path / "none.safetensors")
    with pytest.raises(ConfigError, match=r"video\.pretrained"):
        tiny(video=VideoStreamConfig("swin3d_small", pretrained="x"))


def test_a_start_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"video\.pretrained: no such file: .* give a safetensors") as fault:
        start_swin(torch.nn.Linear(1, 1), tmp_path / "none.safetensors")
    assert "\n" not in str(fault.value)


TABLES = yaml.safe_load((ROOT / "configs" / "ablate" / "av_canet.yaml").read_text(encoding="utf-8"))["tables"]


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table["name"])
def test_every_row_of_every_table_takes_two_steps(table: dict[str, Any]) -> None:
    small = ["emotion.segments=4", "emotion.width=16", "emotion.video.net=swin3d_small", "emotion.video.frames=2",
             "emotion.video.size=32", "emotion.audio.net=small", "emotion.audio.frames=24", "emotion.fusion.heads=4",
             "emotion.audio.front={kind: logmel, bands: 16, rate: 16000}", "emotion.audio.seconds=0.3",
             "emotion.fusion.inner=24", "emotion.labels=[joy, surprise, anger]"]  # fmt: skip
    for row in table["rows"]:
        changes = row.get("changes", [])
        config = load_emotion_run(ROOT / "configs" / "emotion" / "avcanet_ekman6.yaml", [*small, *changes]).emotion
        torch.manual_seed(0)
        net = build_av_canet(config).train()  # type: ignore[arg-type]
        steps = torch.optim.AdamW(net.parameter_groups(1e-3, 1.0))
        before = {name: value.clone() for name, value in net.state_dict().items()}
        for _ in range(2):
            steps.zero_grad()
            net.losses(net.features(clips()), torch.tensor([0, 1, 2])).total.backward()
            steps.step()
        assert any(not torch.equal(value, before[name]) for name, value in net.state_dict().items()), row["name"]
        assert net.eval().predict(net.features(clips())).probs.isfinite().all()


def test_it_is_a_prior_of_a_captioner(tmp_path: Path) -> None:
    net = model()
    save_recogniser(tmp_path / "net", net)
    clip = film(tmp_path / "a.mp4", tone(1.0), seconds=1.0)
    prior = EmotionPrior(str(tmp_path / "net"), "av_canet")
    found = prior.read(clip)
    assert found.labels == tuple(LABELS) and found.heard is not None and bool(found.heard[0])
    assert torch.allclose(found.probs, believe(net, [look(clip, net.wants)]).probs, atol=1e-5)
    longer = film(tmp_path / "b.mp4", tone(3.0), seconds=3.0)
    span = prior.read(longer, 1.0, 2.0)
    assert torch.allclose(span.probs, believe(net, [look(longer, net.wants, 1.0, 2.0)]).probs, atol=1e-5)
    with pytest.raises(CheckpointError, match="kind av_canet"):
        EmotionPrior(str(tmp_path / "net"), "mer_clip")
