"""The whole network: which loss reaches which part, nothing leaks, every configuration of the paper runs."""

from dataclasses import replace

import pytest
import torch

from captioner.data.dataset import mask_words
from captioner.errors import ConfigError
from captioner.faces import EXPRESSION_NAMES
from captioner.faces.crops import FaceCrops
from captioner.model.batch import NO_LABEL, Batch, features_of_faces
from captioner.model.captioner import EmotionCaptioner
from captioner.model.tokenizer import Tokenizer
from tests.helpers import CAPTIONS, tiny_batch, tiny_config, tiny_model

PARTS = {"VEP": "visual.", "TEP": "textual.", "fusion": "fusion.layers."}


def gradients(model: EmotionCaptioner, name: str) -> dict[str, float]:
    """Gradient norm of each part from one loss alone."""
    model.zero_grad()
    model(tiny_batch(model.config), warm=True).live[name].backward()
    sums: dict[str, float] = {}
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            part = next((p for p, prefix in PARTS.items() if key.startswith(prefix)), key.split(".")[0])
            sums[part] = sums.get(part, 0.0) + float(parameter.grad.abs().sum())
    return sums


@pytest.mark.parametrize("name", ["mlm", "er", "au"])
def test_each_loss_alone_reaches_vep_tep_and_fusion(name: str) -> None:
    model = tiny_model()
    sums = gradients(model, name)
    for part in PARTS:
        assert sums.get(part, 0.0) > 1e-8, f"{name} does not reach {part}: {sums}"
    assert sums.get("experts", 0.0) == 0.0
    assert all(p.grad is None for p in model.experts.parameters())


def test_each_visual_prompt_learns_from_each_loss() -> None:
    model = tiny_model()
    for name, parts in [
        ("mlm", ["er_mlp", "au_fc"]),
        ("er", ["er_mlp", "au_fc"]),
        ("au", ["er_mlp", "au_fc"]),
    ]:
        model.zero_grad()
        model(tiny_batch(model.config), warm=True).live[name].backward()
        for part in parts:
            reached = sum(
                float(p.grad.abs().sum())
                for p in getattr(model.visual, part).parameters()
                if p.grad is not None
            )
            assert reached > 1e-9, (name, part)


@pytest.mark.parametrize(
    "overrides",
    [
        ("prompts.vep=false", "prompts.tep=false", "prompts.er_sentence=off", "prompts.au_word=off"),
        ("prompts.tep=false", "prompts.er_sentence=off", "prompts.au_word=off"),
        ("prompts.vep=false", "prompts.er_sentence=off", "prompts.au_word=off"),
        ("prompts.er_sentence=off", "prompts.au_word=off"),
        ("prompts.er_sentence=off",),
        ("prompts.au_word=off",),
        ("prompts.er_sentence=similarity",),
        ("prompts.er_sentence=similarity_ce",),
        ("prompts.au_word=ce",),
        ("prompts.au_word=contrastive",),
        ("prompts.k=1",),
        ("prompts.k=6", "prompts.threshold=0.1", "prompts.margin=0.9"),
        ("video.frozen=true", "text.frozen=true"),
        ("text.share_words=true",),
    ],
)
def test_every_ablation_trains(overrides: tuple[str, ...]) -> None:
    model = tiny_model(*overrides).train()
    losses = model(tiny_batch(model.config), warm=True)
    wanted = {"mlm"} | {
        n for n, k in [("er", "er_sentence"), ("au", "au_word")] if getattr(model.config.prompts, k) != "off"
    }
    assert set(losses.live) == wanted
    assert all(torch.isfinite(loss) for loss in losses.live.values())
    sum(losses.live.values()).backward()  # type: ignore[union-attr]
    silent = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    allowed = ("visual.null", "textual.", "text.", "fusion.kinds", "er_sentence.")
    assert not [n for n in silent if not n.startswith(allowed)], silent


def test_the_label_never_enters_the_prediction() -> None:
    model = tiny_model()
    views, losses = [], []
    for label in (0, 5):
        batch = tiny_batch(model.config)
        batch.emotion = torch.full((3,), label)
        with torch.no_grad():
            views.append(model.see(batch))
            losses.append(model(batch).live)
    assert torch.equal(views[0].memory.states, views[1].memory.states)
    assert torch.equal(losses[0]["mlm"], losses[1]["mlm"])
    assert not torch.equal(losses[0]["er"], losses[1]["er"])


def test_the_caption_never_enters_the_view() -> None:
    model = tiny_model()
    first, second = tiny_batch(model.config), tiny_batch(model.config)
    assert second.masked is not None and second.text_ids is not None and second.targets is not None
    later = second.masked.clone()
    later[:, 6:] = 9  # what comes after a place must not change its loss
    second.masked, second.text_ids = later, torch.full_like(second.text_ids, 7)
    for batch in (first, second):
        batch.targets = batch.targets.clone()  # type: ignore[union-attr]
        batch.targets[:, 6:] = NO_LABEL
    with torch.no_grad():
        torch.testing.assert_close(model(first).live["mlm"], model(second).live["mlm"])


def test_unlabelled_clips_have_no_emotion_loss_but_all_others() -> None:
    model = tiny_model()
    batch = tiny_batch(model.config)
    batch.emotion = torch.full((3,), NO_LABEL)
    losses = model(batch).live
    assert losses["er"].item() == 0.0
    losses["er"].backward()  # its graph is intact
    assert losses["mlm"].item() > 0


def test_initial_losses_are_those_of_guessing() -> None:
    model = tiny_model()
    losses = model(tiny_batch(model.config, clips=16)).live
    assert losses["mlm"].item() == pytest.approx(torch.tensor(60.0).log().item(), rel=0.05)
    assert losses["er"].item() == pytest.approx(2 * torch.tensor(11.0).log().item(), rel=0.2)


def test_cached_expert_features_give_the_same_losses() -> None:
    model = tiny_model()
    batch = tiny_batch(model.config)
    with torch.no_grad():
        wanted = model(batch).live
        cached = replace(batch, experts=features_of_faces(model.experts, batch.faces), faces=None)
        given = model(cached).live
    assert all(torch.equal(wanted[n], given[n]) for n in wanted)


def test_missing_expert_input_is_named() -> None:
    model = tiny_model()
    with pytest.raises(ValueError, match="face crops"):
        model.see(Batch(tiny_batch(model.config).frames))


def test_vocabulary_must_be_known() -> None:
    with pytest.raises(ValueError, match="vocab_size"):
        EmotionCaptioner(tiny_config("vocab_size=0"))


def test_hidden_words(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(CAPTIONS[0], 40)
    hidden, kept_cls, masks = 0, True, 0
    for seed in range(300):
        shown, targets = mask_words(ids, tokenizer, 0.5, torch.Generator().manual_seed(seed))
        asked = [i for i, t in enumerate(targets) if t != NO_LABEL]
        assert len(asked) == round(0.5 * len(ids))
        assert all(targets[i] == ids[i] for i in asked)
        assert all(shown[i] == ids[i] for i in range(len(ids)) if i not in asked)
        kept_cls &= 0 not in asked
        hidden += len(ids) - 1 in asked  # [SEP]
        masks += sum(shown[i] == tokenizer.mask_id for i in asked)
    assert kept_cls
    assert 100 < hidden < 200
    assert masks / (300 * round(0.5 * len(ids))) == pytest.approx(0.8, abs=0.03)


def test_several_captions_a_clip_equal_clips_repeated() -> None:
    model = tiny_model("prompts.er_sentence=off", "prompts.au_word=off")
    batch, other = tiny_batch(model.config), tiny_batch(model.config)
    assert batch.masked is not None and batch.targets is not None and other.faces is not None
    batch.masked = torch.stack([batch.masked, batch.masked.flip(0)], 1).flatten(0, 1)
    batch.targets = torch.stack([batch.targets, batch.targets.flip(0)], 1).flatten(0, 1)
    other.frames = other.frames.repeat_interleave(2, 0)
    other.faces = FaceCrops(other.faces.pixels.repeat_interleave(2, 0))
    other.masked, other.targets = batch.masked, batch.targets
    with torch.no_grad():
        torch.testing.assert_close(model(batch).live["mlm"], model(other).live["mlm"])


def test_a_reading_judges_the_faces_of_a_batch_and_asks_for_aligned_crops() -> None:
    with pytest.raises(ConfigError, match=r"prompts\.reading needs"):
        tiny_model("prompts.reading=true")
    model = tiny_model("prompts.reading=true", "experts.margin=0.1")
    batch = tiny_batch(model.config)
    assert batch.faces is not None
    expression = torch.rand(3, 2, len(EXPRESSION_NAMES))
    batch.faces = replace(batch.faces, expression=expression)
    plain = model.see(batch)
    model.visual.reading.weight[:, -len(EXPRESSION_NAMES) :] = 1.0  # the swing of the reader's values
    expression[1, 0] += 1.0
    swung = model.see(batch).memory.states
    assert plain.memory.states.shape == swung.shape
    assert not torch.allclose(plain.memory.states[1], swung[1], atol=1e-4)
    assert model.visual(model.expert_features(batch)).er.shape == (3, 2, 32)
