"""SCST, moving averages, adapters, smoothing: each does what it says on a model of two layers."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from captioner.config import Config, DecodeConfig, TrainConfig, VideoConfig
from captioner.config_io import load_config
from captioner.data.manifest import Record
from captioner.errors import ConfigError
from captioner.model.decoding import Special, decode_captions
from captioner.model.tokenizer import Tokenizer
from captioner.model.video_encoder import VideoEncoder
from captioner.train.engine import PlainEngine, parameter_groups
from captioner.train.self_critical import DrawnCaptions, SelfCritic, policy_loss
from captioner.train.weight_average import WeightAverage
from eval.metrics import score_captions
from eval.rewards import CiderReward
from tests.helpers import CAPTIONS, tiny_batch, tiny_model

SPECIAL = Special(cls=2, sep=3, mask=4, pad=0)
needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")


@pytest.mark.slow
def test_the_reward_is_the_toolkits_cider() -> None:
    refs = {f"clip{i}": [caption, CAPTIONS[i - 1]] for i, caption in enumerate(CAPTIONS)}
    hyps = {"clip0": "A woman nods. The open mouth.", "clip1": "A man looks down.", "clip2": "Nobody."}
    wanted = score_captions(refs, hyps).per_video
    found = CiderReward(refs)(list(hyps), list(hyps.values()))
    for key, value in zip(hyps, found, strict=True):
        assert value == pytest.approx(wanted[key]["CIDEr"], abs=1e-9)


def test_all_next_words_at_once_are_those_one_by_one() -> None:
    model = tiny_model()
    memory = model.see(tiny_batch(model.config)).memory
    options = DecodeConfig(sample=True, no_repeat=0, seed=3)
    drawn = decode_captions(model.fusion, memory, SPECIAL, options)
    for row, caption in enumerate(drawn):
        ids = torch.tensor([caption.ids[:-1]])
        keys, values = ([each[row : row + 1] for each in part] for part in (memory.keys, memory.values))
        one = replace(memory, keys=keys, values=values, states=memory.states[row : row + 1])
        logits = model.fusion.next_words(ids, SPECIAL.mask, one)[0]
        logits[:, SPECIAL.unwritten] = -torch.inf
        picked = logits.log_softmax(-1).gather(1, torch.tensor(caption.ids[1:])[:, None])[:, 0]
        last = len(picked) - (len(caption.ids) == model.config.fusion.max_text)  # an end without room is not drawn
        torch.testing.assert_close(picked[:last], torch.tensor(caption.log_probs)[:last], atol=1e-4, rtol=1e-4)


def test_better_captions_become_likelier() -> None:
    logits = torch.zeros(2, 3, 5, requires_grad=True)
    ids = torch.tensor([[2, 1, 4, 3], [2, 4, 3, 0]])
    written = torch.tensor([[True, True, True], [True, True, False]])
    policy_loss(logits, DrawnCaptions(ids, written, torch.tensor([[2.0, 1.0]]))).backward()
    grad = logits.grad
    assert grad is not None
    assert grad[0, 0, 1] < 0 < grad[1, 0, 4]  # a step against the gradient raises the first, lowers the second
    assert not grad[1, 2].any()  # nothing was written there
    even = torch.zeros(2, 3, 5)
    assert float(policy_loss(even, DrawnCaptions(ids, written, torch.ones(1, 2)))) == 0.0


@pytest.mark.slow
def test_a_stage_of_rewards_raises_them() -> None:
    """A made-up reward, the share of one word: it is drawn more often after some steps."""
    tokenizer = Tokenizer.build(CAPTIONS)
    model = tiny_model(f"vocab_size={tokenizer.vocab_size}", "fusion.max_text=8")
    batch = tiny_batch(model.config)
    records = [Record(i, Path(i), "train", tuple(CAPTIONS)) for i in batch.ids]
    train = TrainConfig(lr=3e-3, reward="CIDEr", start="x", reward_samples=8)
    engine = PlainEngine(model, train, torch.device("cpu"))

    def worth(ids: list[str], captions: list[str]) -> list[float]:
        return [caption.lower().split().count("frown") / max(1, len(caption.split())) for caption in captions]

    engine.critic = SelfCritic(tokenizer, SPECIAL, records, lambda refs: worth, train)  # type: ignore[arg-type, return-value]
    torch.manual_seed(0)
    rewards = []
    for _ in range(40):
        losses = engine.losses(batch, False)
        engine.backward(losses.live["scst"])
        engine.step(1.0)
        rewards.append(float(losses.told["reward"]))
    assert sum(rewards[-8:]) > 2 * sum(rewards[:8]), rewards
    assert not model.training or model.config.fusion.dropout > 0


def test_a_second_stage_needs_a_first() -> None:
    with pytest.raises(ConfigError, match=r"train\.start"):
        load_config(Config, None, ["train.reward=CIDEr"])
    with pytest.raises(ConfigError, match=r"train\.ema needs whole weights"):
        load_config(Config, None, ["train.ema=0.99", "train.deepspeed=configs/ds_zero2.json"])


def test_a_moving_average_follows_and_is_put_back() -> None:
    layer = torch.nn.Linear(2, 1)
    torch.nn.init.zeros_(layer.weight)
    average = WeightAverage(layer, 0.5)
    for step in range(20, 24):
        with torch.no_grad():
            layer.weight.fill_(1.0)
        average.update(step)
    with average.swapped():
        assert layer.weight[0, 0].item() == pytest.approx(1 - 0.5**4)
        kept = average.state()
    assert layer.weight[0, 0].item() == 1.0
    other = WeightAverage(torch.nn.Linear(2, 1), 0.5)
    other.restore(average.state())
    assert all(torch.equal(other.average[name], average.average[name]) for name in average.average)
    assert set(kept) == {"average.weight", "average.bias"}


def test_smoothing_raises_the_floor_of_the_word_loss() -> None:
    smooth, plain = tiny_model("fusion.label_smoothing=0.2"), tiny_model()
    batch = tiny_batch(plain.config)
    with torch.no_grad():
        for model in (smooth, plain):
            model.fusion.head.decoder.bias.copy_(torch.linspace(-4, 4, 60))
        assert smooth(batch).live["mlm"] != plain(batch).live["mlm"]


@needs_peft
@pytest.mark.parametrize("part", ["video", "text"])
def test_adapters_alone_learn(part: str) -> None:
    model = tiny_model(f"{part}.lora=2", "text.dropout=0").train()
    trained = {name for name, p in getattr(model, part).named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    batch = tiny_batch(model.config)
    engine = PlainEngine(model, TrainConfig(lr=1e-2, video_lr_scale=0.01), torch.device("cpu"))
    before = {name: p.detach().clone() for name, p in getattr(model, part).named_parameters()}
    losses = []
    for _ in range(12):
        total = sum(engine.losses(batch, False).live.values())
        engine.backward(total)  # type: ignore[arg-type]
        engine.step(1.0)
        losses.append(float(total.detach()))  # type: ignore[union-attr]
    assert losses[-1] < losses[0]
    changed = {n for n, p in getattr(model, part).named_parameters() if not torch.equal(p.detach(), before[n])}
    assert changed and changed <= trained
    scales = [group["scale"] for group in parameter_groups(model, TrainConfig()) if group["params"]]
    assert part == "text" or set(scales) == {1.0}


@needs_peft
def test_an_encoder_without_attention_takes_no_adapters() -> None:
    from captioner.model.lora import add_adapters

    with pytest.raises(ConfigError, match="no attention of linear maps"):
        add_adapters(torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)), 4, "model.video.lora")
    assert not VideoConfig(frozen=True, lora=4).fixed
    assert not any(p.requires_grad for p in VideoEncoder(VideoConfig(
        arch="swin3d_small_cpu", width=16, size=64, frozen=True)).parameters())  # fmt: skip
