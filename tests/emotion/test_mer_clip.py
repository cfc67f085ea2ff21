"""MER-CLIP (reconstructed): a plain reference, labels that may be others, modalities that may lack."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from captioner.config_io import build_config, to_dict
from captioner.emotion.clip.clip_config import ClipConfig
from captioner.emotion.contract import EvidenceBatch
from captioner.emotion.folder import load_recogniser, save_recogniser
from captioner.emotion.mer_clip.label_queries import CrossModalDecoder
from captioner.emotion.mer_clip.mer_clip import MERClip, build_mer_clip
from captioner.emotion.mer_clip.mer_clip_config import (
    AnswerConfig,
    HeardConfig,
    LabelTextConfig,
    MERClipConfig,
    SeenConfig,
)
from captioner.errors import ConfigError
from captioner.sound import Sound

LABELS = ["anger", "calm", "joy"]
PAIR = ClipConfig(
    source="", image_size=32, patch=16, vision_width=32, vision_layers=1, vision_heads=2, text_width=32,
    text_layers=2, text_heads=2, width=32, context=20,
)  # fmt: skip


def tiny(**changes: object) -> MERClipConfig:
    config = MERClipConfig(
        labels=LABELS, clip=PAIR, heads=4, seen=SeenConfig(frames=3), heard=HeardConfig(seconds=1.0, layers=1)
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def model(**changes: object) -> MERClip:
    torch.manual_seed(0)
    return build_mer_clip(tiny(**changes))


def clips(count: int = 3) -> EvidenceBatch:
    draw = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (count, 3, 3, 32, 32), generator=draw, dtype=torch.uint8)
    waves = 0.1 * torch.randn(count, 12_000, generator=draw).numpy()
    words = ("i am so glad to see you", "no", "well, the door is open today")
    return EvidenceBatch(frames, sounds=tuple(Sound(wave, 16_000) for wave in waves), words=words[:count])


def plain(
    decoder: CrossModalDecoder, heads: int, said: dict[str, Tensor], anchors: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The decoder once more, in formulas: one clip's tokens (n, W) by modality -> a score for each label (C,), and
    where the clip lies in the labels' space after each modality (W,)."""
    w = {name: value.detach() for name, value in decoder.state_dict().items()}

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attend(x: Tensor, y: Tensor, name: str) -> Tensor:
        matrices, biases = w[f"{name}.in_proj_weight"].chunk(3), w[f"{name}.in_proj_bias"].chunk(3)
        q, k, v = (z @ m.T + b for z, m, b in zip((x, y, y), matrices, biases, strict=True))
        size, out = q.shape[1] // heads, []
        for at in range(0, q.shape[1], size):
            part = slice(at, at + size)
            out.append((q[:, part] @ k[:, part].T / math.sqrt(size)).softmax(-1) @ v[:, part])
        return torch.cat(out, 1) @ w[f"{name}.out_proj.weight"].T + w[f"{name}.out_proj.bias"]

    def feed(x: Tensor, name: str) -> Tensor:
        inner = x @ w[f"{name}.0.weight"].T + w[f"{name}.0.bias"]
        return 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2))) @ w[f"{name}.3.weight"].T + w[f"{name}.3.bias"]

    def scores(x: Tensor) -> Tensor:
        answers = x @ w["project.weight"].T + w["project.bias"]
        return (answers / answers.norm(dim=1, keepdim=True) * anchors).sum(1) / w["log_temperature"].exp()

    queries, places = anchors + w["kind"], {}
    for modality in decoder.order:
        if modality in said:
            block = f"blocks.{modality}"
            own = norm(queries, f"{block}.norm1")
            queries = queries + attend(own, own, f"{block}.own")
            queries = queries + attend(norm(queries, f"{block}.norm2"), said[modality], f"{block}.cross")
            queries = queries + feed(norm(queries, f"{block}.norm3"), f"{block}.feed")
            mean = scores(queries).softmax(0) @ queries
            places[modality] = mean / mean.norm()
    return scores(queries), places


@torch.no_grad()
@pytest.mark.parametrize("order", [["text", "audio", "vision"], ["vision", "text"], ["audio"]])
def test_the_decoder_is_the_plain_reference(order: list[str]) -> None:
    net = model(order=order)
    batch = replace(clips(), sounds=(clips().sounds[0], None, clips().sounds[2]), words=("glad", "so so", ""))
    features = net.features(batch)
    tokens, anchors, found = net.tokens(features), net.anchors().double(), net.predict(features).probs
    decoder = copy.deepcopy(net.decoder).double()
    whole = {name: replace(one, states=one.states.double()) for name, one in tokens.items()}
    queries, after = decoder(anchors, whole)
    for row in range(3):
        said = {name: one.states[row][one.mask[row]] for name, one in whole.items() if one.present[row]}
        wanted, places = plain(decoder, net.config.heads, said, anchors)
        assert (wanted - decoder.score(queries, anchors)[row]).abs().max() < 1e-6
        assert (wanted.softmax(0) - found[row]).abs().max() < 1e-6  # in 32 bits too
        for name, place in places.items():
            assert (place - decoder.shared(after[name], anchors)[row]).abs().max() < 1e-6
    there = {"text": 2, "audio": 2, "vision": 3}
    assert [int(tokens[name].present.sum()) for name in order] == [there[name] for name in order]


@torch.no_grad()
def test_losses_are_the_plain_formulas() -> None:
    net = model(answer=AnswerConfig("regression", [-2.0, 0.0, 2.0], align=0.3, bins=0.4))
    features, wanted, bins = net.features(clips()), torch.tensor([-1.7, 0.4, 2.0]), torch.tensor([0, 1, 2])
    tokens, anchors = net.tokens(features), net.anchors()
    rows = [plain(net.decoder, 4, {n: t.states[r][t.mask[r]] for n, t in tokens.items()}, anchors) for r in range(3)]
    probs = torch.stack([scores for scores, _ in rows]).softmax(1)
    distance = ((probs * torch.tensor([-2.0, 0, 2])).sum(1) - wanted).abs().mean()
    near = [torch.stack([places[name] for _, places in rows]) @ anchors.T / 0.07 for name in net.config.order]
    align = -torch.stack([one.log_softmax(1)[range(3), bins].mean() for one in near]).mean()
    task = distance - 0.4 * probs.log()[range(3), bins].mean()
    losses = net.losses(features, wanted)
    assert float(losses.task) == pytest.approx(float(task), abs=1e-5)
    assert float(losses.total) == pytest.approx(float(task + 0.3 * align), abs=1e-5)


@torch.no_grad()
def test_labels_in_another_order_permute_the_probabilities_and_nothing_else() -> None:
    net = model(label=LabelTextConfig(context_tokens=2))
    features = net.features(clips())
    ours, theirs = net.predict(features), net.predict(features, ["joy", "anger", "calm"])
    assert torch.allclose(ours.probs[:, [2, 0, 1]], theirs.probs, atol=1e-6)
    assert net.predict(features, ["fear", "boredom", "pride", "anger"]).probs.shape == (3, 4)


@torch.no_grad()
def test_labels_are_what_is_classified() -> None:
    net = model()
    features = net.features(clips())
    zero = torch.zeros(3, 32)
    assert net.decoder.score(net.decoder(zero, net.tokens(features))[0], zero).abs().max() == 0


@torch.no_grad()
@pytest.mark.parametrize("lacking", [("text",), ("audio",), ("vision",), ("text", "audio"), ("text", "vision")])
def test_any_modality_may_lack(lacking: tuple[str, ...]) -> None:
    net, batch = model(), clips()
    if "text" in lacking:
        batch = replace(batch, words=("", " ", ""))
    if "audio" in lacking:
        batch = replace(batch, sounds=(None, Sound(np.zeros(900, np.float32), 16_000), None))
    features = dict(net.features(batch))
    if "vision" in lacking:
        del features["vision"]
    found = net.predict(features)
    assert found.probs.isfinite().all() and torch.allclose(found.probs.sum(1), torch.ones(3))
    assert not torch.allclose(found.probs, net.predict(net.features(clips())).probs)


@torch.no_grad()
def test_the_order_matters_and_one_clip_is_as_in_a_batch() -> None:
    net, turned = model(), model(order=["vision", "audio", "text"])
    turned.load_state_dict(net.state_dict())
    features = net.features(clips())
    assert not torch.allclose(net(features), turned(features))
    for row in range(3):
        one = {name: value[row : row + 1] for name, value in features.items()}
        assert torch.allclose(net(one), net(features)[row : row + 1], atol=1e-4)


def test_training_hides_modalities_but_never_all() -> None:
    net = model(modality_dropout=0.5).train()
    tokens = net.tokens(net.features(clips()), torch.Generator().manual_seed(0))
    present = torch.stack([one.present for one in tokens.values()])
    assert bool(present.any(0).all()) and not present.all()


@pytest.mark.parametrize(
    ("task", "values", "labels"),
    [
        ("single", [], torch.tensor([0, 1, 2])),
        ("several", [], torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]])),
        ("regression", [-1.0, 0.0, 1.0], torch.tensor([-0.7, 0.1, 1.0])),
    ],
)
def test_every_task_learns(task: str, values: list[float], labels: Tensor) -> None:
    net = model(answer=AnswerConfig(task, values), modality_dropout=0.0, dropout=0.0).train()  # type: ignore[arg-type]
    features = net.features(clips())
    steps = torch.optim.AdamW(net.parameter_groups(5e-3, 1.0))
    costs = []
    for _ in range(20):
        steps.zero_grad()
        losses = net.losses(features, labels)
        losses.total.backward()
        steps.step()
        costs.append(float(losses.task))
    assert costs[-1] < 0.9 * costs[0] and all(p.grad is None for p in net.text.parameters())
    found = net.eval().predict(features)
    assert found.kind == ("several" if task == "several" else "single")
    assert len(net.parameter_groups(1.0, 1.0)[0]["params"]) > 10 and net.trained_parameters() > 0
    if task == "regression":
        assert bool((net.number(net(features)).abs() <= 1.0).all())


def test_long_words_lose_their_end_or_their_start() -> None:
    words = " ".join("abcdefghij"[i % 10] * (1 + i % 3) for i in range(60))
    net = model()
    first = net._fitted(net.encode(words), 20)
    assert len(first) == 20 and first[:5] == net.encode(words)[:5] and first[-1] == net.encode(words)[-1]
    states, mask = net.read([words])
    assert states.shape == (1, 20, 32) and bool(mask.all())


def test_a_folder_keeps_it_with_its_vocabulary(tmp_path: Path) -> None:
    net = model()
    save_recogniser(tmp_path / "m", net)
    back = load_recogniser(tmp_path / "m")
    features = net.features(clips())
    with torch.no_grad():
        assert torch.allclose(back(back.features(clips())), net(features), atol=1e-5)
        ours, theirs = (one.predict(features, ["fear", "joy"]).probs for one in (net, back))
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_faults_are_named() -> None:
    with pytest.raises(ConfigError, match="order is"):
        tiny(order=["text", "smell"])
    with pytest.raises(ConfigError, match=r"answer\.values"):
        tiny(answer=AnswerConfig("regression", [1.0]))
    with pytest.raises(ConfigError, match="labels are missing"):
        build_mer_clip(tiny(labels=[]))
    assert build_config(MERClipConfig, to_dict(tiny())) == tiny()
