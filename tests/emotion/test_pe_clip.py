"""PE-CLIP: identity at the start, causality, what is trained, what predicts, CLIP's two layouts, saved folders."""

import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from captioner.config_io import load_config, to_dict
from captioner.emotion import folder
from captioner.emotion.belief import EmotionBelief
from captioner.emotion.clip.clip_config import ClipConfig
from captioner.emotion.clip.opening import ClipTowers, open_clip
from captioner.emotion.pe_clip.classifier import aggregated_anchors
from captioner.emotion.pe_clip.decoder import Decoder
from captioner.emotion.pe_clip.pe_clip import PEClip, build_pe_clip, pull_loss, vocabulary_texts
from captioner.emotion.pe_clip.pe_clip_config import DecoderConfig, PEClipConfig
from captioner.emotion.pe_clip.temporal import build_temporal
from captioner.emotion.wording import PromptConfig, aggregated
from captioner.errors import CheckpointError, ConfigError
from tests.emotion.clip_layouts import write_clip

LABELS = ["anger", "joy", "fear", "deep sadness"]
SMALL = [
    "clip.source=", "clip.image_size=32", "clip.patch=16", "clip.vision_width=16", "clip.vision_layers=2",
    "clip.vision_heads=2", "clip.text_width=16", "clip.text_layers=4", "clip.text_heads=2", "clip.width=16",
    "clip.context=40", "temporal.inner=24", "temporal.heads=4", "temporal.rank=2", "segments=6", "decoder.start=2",
    "tokens=5", "context_tokens=3", f"labels={json.dumps(LABELS)}",
]  # fmt: skip


def config(*overrides: str) -> PEClipConfig:
    return load_config(PEClipConfig, None, [*SMALL, *overrides])


def clip_of(settings: PEClipConfig) -> ClipTowers:
    torch.manual_seed(1)
    return open_clip(settings.clip, vocabulary_texts(settings.labels, settings.prompt))


def model_of(*overrides: str) -> PEClip:
    settings = config(*overrides)
    return build_pe_clip(settings, clip_of(settings))


def features(clips: int = 3, segments: int = 6, width: int = 16) -> Tensor:
    return torch.randn(clips, segments, width, generator=torch.Generator().manual_seed(0))


def gradient_names(model: PEClip) -> set[str]:
    """Parameters that a training step reaches, with the gates ajar."""
    for layer in model.decoder.layers:
        layer.gate.data.fill_(0.3)
    draw = torch.Generator().manual_seed(0)
    model.train().losses(features(), torch.tensor([0, 1, 3]), draw).total.backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}


# -- identity, causality, freezing ----------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 2, 3])
def test_closed_gates_give_clips_own_text_features(start: int) -> None:
    settings = config(f"decoder.start={start}")
    clip = clip_of(settings)
    model = build_pe_clip(settings, clip)
    rows = torch.arange(1, 5).expand(3, -1)
    evolved = model.evolve(features(), rows)
    anchors = aggregated_anchors(settings, clip)
    torch.testing.assert_close(evolved, anchors.expand(3, -1, -1), atol=1e-4, rtol=0)
    model.decoder.layers[0].gate.data.fill_(0.5)
    assert (model.evolve(features(), rows) - anchors).abs().max() > 1e-3


def test_neutral_prompt_names_every_category_as_absent() -> None:
    prompt = PromptConfig()
    assert aggregated(["anger", "joy", "fear"], None, prompt) == "without anger; without joy; without fear"
    assert aggregated(["anger", "joy", "fear"], 1, prompt) == "without anger; with joy; without fear"
    odd = PromptConfig("only", "no", ", ", reverse=True)
    assert aggregated(["anger", "joy_pride"], 0, odd) == "no joy pride, only anger"


@pytest.mark.parametrize("scan", ["parallel", "sequential"])
def test_mamba_ignores_later_frames(scan: str) -> None:
    torch.manual_seed(0)
    settings = config(f"temporal.scan={scan}").temporal
    net = build_temporal(settings, 16, 6).eval()
    x = features()
    changed = x.clone()
    changed[:, 4:] = changed[:, 4:].flip(-1)  # adding a constant would vanish in the norm
    before, after = net(x), net(changed)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])
    both = build_temporal(config("temporal.bidirectional=true").temporal, 16, 6).eval()
    assert not torch.allclose(both(x)[:, :4], both(changed)[:, :4])


def test_both_scans_give_one_network() -> None:
    torch.manual_seed(0)
    slow = build_temporal(config("temporal.scan=sequential").temporal, 16, 6)
    fast = build_temporal(config().temporal, 16, 6)
    fast.load_state_dict(slow.state_dict())
    torch.testing.assert_close(fast(features()), slow(features()), atol=1e-5, rtol=0)


def test_mamba_starts_as_the_paper_says() -> None:
    net = build_temporal(load_config(PEClipConfig, None, ["clip.source="]).temporal, 512, 64)
    scan = net[0].scan
    assert scan.decay_log.shape == (8, 48, 4)
    assert scan.step_down.shape == (8, 16, 48)
    steps = F.softplus(scan.step_bias)
    assert steps.min() > 0.9e-3 and steps.max() < 1.1e-1
    torch.testing.assert_close(scan.decay_log.exp()[0, 0], torch.tensor([1.0, 2, 3, 4]))


def test_gradients_reach_the_new_parts_alone() -> None:
    names = gradient_names(model_of())
    parts = {re.sub(r"layers\.\d+\.", "", name).split(".weight")[0] for name in names if name.startswith("decoder")}
    assert all(re.search(r"\.(cross_attn|cross_norm|gate)", name) for name in names if name.startswith("decoder"))
    assert "decoder.cross_attn.q_proj" in parts and "decoder.gate" in parts
    assert all(name.startswith(("decoder.", "temporal.")) for name in names)
    assert any(name.startswith("temporal.") for name in names)


@pytest.mark.parametrize(
    ("override", "reached"),
    [
        ("decoder.init=random", "decoder.layers.0.mlp.fc1.weight"),
        ("decoder.train=all", "decoder.layers.0.self_attn.q_proj.weight"),
        ("prototype=learned", "prototypes.hidden"),
        ("classifier=linear", "classifier.vectors"),
        ("classifier=emotional", "classifier.text.layers.0.mlp.fc1.weight"),
        ("classifier=coop", "classifier.context"),
        ("decoder.gate=layerscale", "decoder.layers.0.gate"),
    ],
)
def test_ablations_train_what_they_name(override: str, reached: str) -> None:
    names = gradient_names(model_of(override))
    assert reached in names
    assert not any(name.startswith("vision.") for name in names)
    if "coop" in override:
        assert not any(name.startswith("classifier.text") for name in names)


def test_pretrained_weights_learn_slowly() -> None:
    model = model_of("decoder.train=all", "classifier=emotional")
    fast, slow, gates = model.parameter_groups(2e-4, 0.05)
    assert (fast["lr"], slow["lr"], gates["lr"]) == (2e-4, pytest.approx(1e-5), pytest.approx(2e-3))
    new = [p for layer in model.decoder.layers for p in layer.new_parameters()]
    members = {id(p) for group in (fast, gates) for p in group["params"]}
    assert all(id(p) in members for p in new)
    assert [p.tolist() for p in gates["params"]] == [[0.0], [0.0]]
    total = sum(p.numel() for group in (fast, slow, gates) for p in group["params"])
    assert total == model.trained_parameters()
    assert len(model_of().parameter_groups(2e-4, 0.05)) == 2


def test_gates_and_readout_start_as_asked() -> None:
    settings = config("decoder.gate_start=0.5", "decoder.init=random")
    clip = clip_of(settings)
    kept, drawn = (build_pe_clip(config(f"decoder.readout={way}", "decoder.init=random"), clip).decoder
                   for way in ("pretrained", "random"))  # fmt: skip
    assert build_pe_clip(settings, clip).decoder.gates()[0].tolist() == [0.5]
    assert torch.equal(kept.text_projection.weight, clip.text.text_projection.weight)
    assert not torch.equal(drawn.text_projection.weight, clip.text.text_projection.weight)
    assert not torch.equal(kept.layers[0].mlp.fc1.weight, clip.text.layers[2].mlp.fc1.weight)
    assert kept.text_projection.weight.requires_grad  # the baseline trains all of its decoder
    assert not model_of().decoder.text_projection.weight.requires_grad
    assert model_of("decoder.readout=random").decoder.text_projection.weight.requires_grad


@pytest.mark.parametrize(
    ("kind", "supervision"),
    [
        ("mamba", "order"),
        ("none", "pull"),
        ("transformer", "off"),
        ("lstm", "order"),
        ("gru", "pull"),
        ("mamba", "off"),
    ],
)
def test_every_ablation_learns_its_batch(kind: str, supervision: str) -> None:
    torch.manual_seed(0)
    learned = "prototype=learned" if supervision == "off" else "prototype=aggregated"
    model = model_of(f"temporal.kind={kind}", f"supervision.kind={supervision}", learned, "temporal.layers=1").train()
    given, labels, draw = features(), torch.tensor([0, 1, 3]), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameter_groups(5e-3, 0.05))
    first = float(model.losses(given, labels, draw).task)
    for _ in range(25):
        optimizer.zero_grad()
        model.losses(given, labels, draw).total.backward()
        optimizer.step()
    assert float(model.losses(given, labels, draw).task) < 0.7 * first


def test_trained_parameters_fall_linearly_with_the_first_layer() -> None:
    sizes = ClipConfig(vocab_size=10)
    with torch.device("meta"):
        decoders = [Decoder(sizes, DecoderConfig(start=start)) for start in (8, 9, 10, 11)]
    counts = [sum(p.numel() for p in decoder.parameters() if p.requires_grad) for decoder in decoders]
    attention = 4 * (512 * 512 + 512)
    assert counts == [layers * (attention + 2 * 512 + 1) for layers in (4, 3, 2, 1)]


# -- predictions and losses -----------------------------------------------------------------------------------


def test_prediction_uses_the_neutral_prototype_alone() -> None:
    model = model_of()
    for layer in model.decoder.layers:
        layer.gate.data.fill_(0.5)
    before = model.predict(features())
    assert before.labels == tuple(LABELS)
    assert before.probs.shape == (3, 4) and before.features.shape == (3, 16)
    torch.testing.assert_close(before.probs.sum(1), torch.ones(3))
    with torch.no_grad():
        model.prototypes.hidden[1:] = 7.0  # whoever looked at them would notice
    assert torch.equal(model.predict(features()).probs, before.probs)
    assert model.compare(before.features).abs().max() <= 100.01


def test_right_tendency_comes_first_and_wrong_ones_are_wrong() -> None:
    model = model_of()
    labels = torch.tensor([0, 1, 2, 3] * 20)
    rows = model.draw_tendencies(labels, torch.Generator().manual_seed(0))
    assert rows.shape == (80, 3)
    assert torch.equal(rows[:, 0], labels)
    assert (rows[:, 1:] != labels[:, None]).all() and (rows[:, 1] != rows[:, 2]).all()
    assert model_of("supervision.wrong=0").draw_tendencies(labels, None).shape == (80, 4)


def test_order_supervision_is_the_formula() -> None:
    model = model_of("supervision.wrong=0", "supervision.weight=0.7")
    labels = torch.tensor([2, 0, 1])
    losses = model.losses(features(), labels)
    logits = model.compare(model.evolve(features(), torch.arange(5).expand(3, -1)))
    costs = torch.stack([F.cross_entropy(logits[:, r], labels, reduction="none") for r in range(5)], 1)
    share = torch.softmax(-costs[:, 1:], 1).gather(1, labels[:, None])
    wanted = costs[:, 0].mean() + 0.7 * -share.log().mean()
    torch.testing.assert_close(losses.total, wanted)
    torch.testing.assert_close(losses.task, costs[:, 0].mean())


def test_pull_supervision_is_the_formula() -> None:
    costs = torch.tensor([[1.0, 3.0, 0.5, 2.0]])  # neutral, right, wrong, wrong
    assert float(pull_loss(costs)) == pytest.approx(3.0 + (3.0 - 1.0) + (0.5 + 0.0) / 2)


def test_a_clip_of_unequal_widths_starts_as_clip_too(tmp_path: Path) -> None:
    write_clip(tmp_path, "huggingface", text_width=128)
    settings = config("decoder.start=1", f"clip.source={tmp_path}")
    clip = open_clip(settings.clip)
    model = build_pe_clip(settings, clip)
    assert model.config.clip.text_width == 128
    evolved = model.evolve(features(2, 6, 32), torch.arange(1, 5).expand(2, -1))
    torch.testing.assert_close(evolved[0], aggregated_anchors(settings, clip), atol=1e-4, rtol=0)
    gradient = gradient_names_of(model, 32)
    assert not any("mlp" in name or "vision" in name for name in gradient)


def gradient_names_of(model: PEClip, width: int) -> set[str]:
    model.train().losses(features(2, 6, width), torch.tensor([0, 1])).total.backward()
    return {name for name, p in model.named_parameters() if p.grad is not None}


# -- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("labels=[joy]", r"labels \['joy'\]: at least two different names"),
        ("labels=[joy, joy]", "at least two different names"),
        ("decoder.start=4", "decoder.start is 4: the text encoder has layers 0 to 3"),
        ("temporal.heads=5", "temporal.heads 5 does not divide 24: use one of 1, 2, 3, 4"),
        ("segments=0", "segments is 0: at least 1"),
        ("temperature=0", "temperature and supervision.temperature must be above 0"),
        ("prompt.template=joy", "has no {} for the category's name"),
        ("temporal.kind=rnn", "unknown temporal.kind 'rnn'.*allowed: mamba, none, transformer, lstm, gru"),
    ],
)
def test_bad_settings_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(override)


def test_prompts_longer_than_the_window_are_refused() -> None:
    settings = config("clip.context=12")
    with pytest.raises(ConfigError, match="has 14 word pieces, CLIP's text window has 12: use shorter category names"):
        build_pe_clip(settings)
    settings = config("clip.context=9", "prototype=learned", "classifier=coop", "context_tokens=8")
    with pytest.raises(ConfigError, match="word pieces beside 8 learned ones"):
        build_pe_clip(settings)


def test_labels_are_needed() -> None:
    with pytest.raises(ConfigError, match=r"name at least two categories in emotion\.labels"):
        build_pe_clip(config("labels=[]"))


# -- beliefs and folders --------------------------------------------------------------------------------------


def test_labels_meet_by_name() -> None:
    belief = EmotionBelief(("joy", "fear", "anger"), torch.tensor([[0.7, 0.2, 0.1]]), torch.zeros(1, 2))
    turned = belief.aligned(["anger", "joy", "fear"])
    assert turned.labels == ("anger", "joy", "fear")
    torch.testing.assert_close(turned.probs, torch.tensor([[0.1, 0.7, 0.2]]))
    wanted = r"knows \[joy, fear, anger\], the captioner needs \[anger, joy, trust\] \(lacking: trust\)"
    with pytest.raises(ConfigError, match=wanted):
        belief.aligned(["anger", "joy", "trust"])


@pytest.mark.parametrize("override", ["classifier=aggregated", "classifier=coop", "prototype=learned"])
def test_a_saved_folder_predicts_the_same(tmp_path: Path, override: str) -> None:
    model = model_of(override)
    for layer in model.decoder.layers:
        layer.gate.data.fill_(0.4)
    folder.save_recogniser(tmp_path / "pe", model, meta={"licence": "none"}, card="# A card\n")
    back = folder.load_recogniser(tmp_path / "pe")
    frames = torch.randint(0, 256, (2, 6, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(back.look(frames), model.look(frames))
    torch.testing.assert_close(back.predict(features()).probs, model.predict(features()).probs)
    assert to_dict(back.config) == to_dict(model.config)
    assert not any(p.requires_grad for p in back.parameters())
    folder.save_recogniser(tmp_path / "half", model, half=True)
    small = folder.load_recogniser(tmp_path / "half")
    torch.testing.assert_close(small.predict(features()).probs, model.predict(features()).probs, atol=0.1, rtol=0)


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no trained recogniser: no such file"):
        folder.load_recogniser(tmp_path / "none")
    folder.save_recogniser(tmp_path / "pe", model_of())
    about = json.loads((tmp_path / "pe" / "config.json").read_text())
    (tmp_path / "pe" / "config.json").write_text(json.dumps(about | {"kind": "captioner"}))
    with pytest.raises(CheckpointError, match=r"is not a recogniser's config\.json: a kind \(pe_clip"):
        folder.load_recogniser(tmp_path / "pe")
    about["emotion"]["segments"] = 0
    (tmp_path / "pe" / "config.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="segments is 0: at least 1"):
        folder.load_recogniser(tmp_path / "pe")
    about["emotion"] |= {"segments": 6, "labels": [*LABELS, "trust"]}
    (tmp_path / "pe" / "config.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=r"1 of another shape \(classifier\.vectors"):
        folder.load_recogniser(tmp_path / "pe")
