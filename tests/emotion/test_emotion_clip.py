"""EmotionCLIP: equal to the public class, told where persons are, strict with released files, a belief by a probe."""

import argparse
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from captioner.config_io import load_config
from captioner.emotion import folder
from captioner.emotion.contract import believe, collate_evidence
from captioner.emotion.emotion_clip.emotion_clip import EmotionClip, build_emotion_clip, with_probe
from captioner.emotion.emotion_clip.emotion_clip_config import EmotionClipConfig
from captioner.emotion.emotion_clip.released import convert_released, read_released, released_names
from captioner.emotion.emotion_clip.snce import sentiment_weights, snce_loss
from captioner.emotion.emotion_clip.subject import closed_ways, masked_attention
from captioner.emotion.looking import look
from captioner.errors import CheckpointError, ConfigError
from eval.quality.goldens import compare_emotionclip
from tests.helpers import SHARED

LABELS = ["anger", "joy", "fear"]
SMALL = [
    "clip.source=", "clip.image_size=32", "clip.patch=16", "clip.vision_width=16", "clip.vision_layers=2",
    "clip.vision_heads=2", "clip.text_width=16", "clip.text_layers=2", "clip.text_heads=2", "clip.width=16",
    "clip.context=12", "fusion.layers=1", "fusion.heads=2", "fusion.hidden=32", "subject.mask_from=1",
]  # fmt: skip


def emotion_clip(*overrides: str) -> EmotionClip:
    torch.manual_seed(1)
    return build_emotion_clip(load_config(EmotionClipConfig, None, [*SMALL, *overrides]))


def probed(*overrides: str) -> EmotionClip:
    model = emotion_clip(*overrides)
    draw = torch.Generator().manual_seed(2)
    return with_probe(model, LABELS, 9 * torch.randn(3, 16, generator=draw), torch.zeros(3), model.config.belief)


def pictures(count: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Frames (count, 8, 3, 32, 32) and masks of their left halves."""
    draw = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (count, 8, 3, 32, 32), generator=draw, dtype=torch.uint8)
    masks = torch.zeros(count, 8, 32, 32, dtype=torch.bool)
    masks[..., :16] = True
    return frames, masks


# -- the public class --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_public_class_is_met() -> None:
    goldens = SHARED / "data" / "goldens"
    if not goldens.is_dir():
        pytest.skip("needs ../shared/data/goldens")
    differences = compare_emotionclip(goldens)
    assert set(differences) == {"encode_image", "encode_video", "encode_text", "weight", "loss"}
    assert max(differences.values()) <= 1e-5


def released_state() -> dict[str, Tensor]:
    """Random tensors in the released layout, at tiny sizes: 2 + 2 layers of width 16, 1 over 8 frames."""
    draw = torch.Generator().manual_seed(0)
    sizes = {"class_embedding": (16,), "conv1.weight": (16, 3, 16, 16), "token_embedding.weight": (30, 16)}
    sizes |= {"visual.positional_embedding": (5, 16), "positional_embedding": (12, 16), "in_proj_weight": (48, 16)}
    sizes |= {"in_proj_bias": (48,), "c_fc.weight": (64, 16), "c_fc.bias": (64,), "c_proj.weight": (16, 64)}
    sizes |= {"linear1.weight": (32, 16), "linear1.bias": (32,), "linear2.weight": (16, 32), "logit_scale": ()}
    sizes |= {"out_proj.weight": (16, 16), "text_projection": (16, 16), "visual.proj": (16, 16)}
    sizes |= {"frame_position_embedding.weight": (8, 16)}
    state = {}
    for name in sorted(released_names((2, 2), 1)):
        shape = next((sizes[end] for end in sorted(sizes, key=len, reverse=True) if name.endswith(end)), (16,))
        state[name] = torch.randn(shape, generator=draw) * 0.1
    state["visual_head.position_ids"] = torch.arange(8)
    state["backbone.logit_scale"] = state["logit_scale"].clone()
    return state


def converted(state: dict[str, Tensor]) -> EmotionClip:
    return convert_released(state, "FILE", head_width=8, fusion_heads=2)


def test_released_names_are_taken_strictly() -> None:
    assert len(released_names((12, 12), 6)) == 379
    state = released_state()
    model = converted(state)
    assert model.config.clip.activation == "gelu" and model.config.clip.vision_heads == 2
    assert torch.equal(
        model.temporal.frame_position_embedding.weight, state["visual_head.frame_position_embedding.weight"]
    )
    for name in state:
        with pytest.raises(CheckpointError, match=r"FILE is no EmotionCLIP as released: .* 1 missing \(" + name):
            converted({key: value for key, value in state.items() if key != name})
    for name in ("module.logit_scale", "backbone.input_resolution", "visual_head.fusion_layer.layers.0.norm3.bias"):
        with pytest.raises(CheckpointError, match=r"1 unknown \(" + name):
            converted({**state, name: torch.zeros(1)})
    with pytest.raises(CheckpointError, match="of another shape"):
        converted({**state, "backbone.ln_final.bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match="differ, they are one tensor"):
        converted({**state, "logit_scale": torch.tensor(9.0)})


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("boom",))


def test_released_files_hold_arguments_beside_tensors_and_never_run(tmp_path: Path, capsys: Any) -> None:
    state, path = released_state(), tmp_path / "emotionclip.pt"
    about = {"args": argparse.Namespace(lr=1e-4, name="x"), "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}
    torch.save({**about, "model": state}, path)
    assert read_released(path).keys() == state.keys()
    torch.save({**about, "model": state, "extra": Bomb()}, path)
    with pytest.raises(CheckpointError, match=r"needs unpickling of \S*print, which could run code"):
        read_released(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"emotionclip\.pt"):
        read_released(path)
    assert "boom" not in capsys.readouterr().out


# -- the subject -------------------------------------------------------------------------------------------------


def test_the_human_token_is_the_sum_of_covered_places() -> None:
    model = emotion_clip()
    tower = model.vision
    pixels = torch.zeros(2, 3, 32, 32)
    masks = torch.zeros(2, 32, 32)
    masks[1, :16, :8] = 1  # half of the first of four patches
    assert tower.covered(masks, pixels).tolist() == [[0, 0, 0, 0], [0.5, 0, 0, 0]]
    assert tower.covered(torch.ones(1, 32, 32), pixels).tolist() == [[1, 1, 1, 1]]
    assert emotion_clip("subject.rule=hard").vision.covered(masks, pixels)[1].tolist() == [1, 0, 0, 0]
    seen: list[Tensor] = []
    tower.vision_model.pre_layrnorm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tower.see(pixels, masks)
    places = tower.vision_model.embeddings.position_embedding.weight
    assert seen[0].shape == (2, 6, 16)  # CLS, 4 patches, human
    torch.testing.assert_close(seen[0][1, -1], 0.5 * places[1])
    assert not seen[0][0, -1].any()


@pytest.mark.parametrize("rule", ["soft", "hard", "mask", "none"])
def test_masks_matter_where_the_rule_says_so(rule: str) -> None:
    model = emotion_clip(f"subject.rule={rule}", "subject.mask_start=1")
    frames, masks = pictures()
    with torch.no_grad():
        full, part, nobody = (
            model.encode_video(frames, given) for given in (torch.ones_like(masks), masks, torch.zeros_like(masks))
        )
        without = model.encode_video(frames)
    assert torch.isfinite(nobody).all() and torch.equal(nobody, without)
    assert torch.equal(full, part) == (rule == "none") == torch.equal(part, nobody)


def test_masked_attention_is_the_printed_formula() -> None:
    model = emotion_clip("subject.rule=mask")
    attention = model.vision.vision_model.encoder.layers[1].self_attn
    inside = torch.tensor([[True, False, True, False]])
    x, weight = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(3)), torch.tensor([0.3, -0.8])
    closed = closed_ways(inside)
    assert closed[0].nonzero().tolist() == [[1, 5], [3, 5], [5, 1], [5, 3], [5, 4]]
    with torch.no_grad():
        q, k, v = (part(x)[0].reshape(6, 2, 8) for part in (attention.q_proj, attention.k_proj, attention.v_proj))
        heads = []
        for h in range(2):
            scores = q[:, h] @ k[:, h].T / math.sqrt(8)
            a = torch.sigmoid(weight[h])
            u = torch.softmax(scores + torch.where(closed[0], -torch.inf, 0.0), 1)
            s = torch.softmax(scores, 1)
            heads.append((s * (1 - a)) @ v[:, h] + (s * a) @ (u @ v[:, h]))
        wanted = attention.out_proj(torch.cat(heads, 1))
        torch.testing.assert_close(masked_attention(attention, x, closed, weight)[0], wanted)
        plain = masked_attention(attention, x, closed, torch.full((2,), -99.0))
    torch.testing.assert_close(plain, attention(x)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["transformer", "mean", "conv_1d"])
def test_frames_are_fused(kind: str) -> None:
    model = emotion_clip(f"fusion.kind={kind}")
    features = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(4))
    turned = features.flip(1)
    with torch.no_grad():
        assert model.fuse(features).shape == (2, 16)
        assert torch.allclose(model.fuse(features), model.fuse(turned), atol=1e-6) == (kind == "mean")
        assert torch.equal(model.fuse(features.repeat_interleave(3, 1)[:, 1:23]), model.fuse(features))
    if kind == "transformer":
        bare = emotion_clip("fusion.residual=false")
        torch.testing.assert_close(bare.fuse(features) + features.mean(1), model.fuse(features))


# -- sentiment-guided contrast -----------------------------------------------------------------------------------


def test_no_guidance_is_the_plain_contrast() -> None:
    v, t = (F.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(i)), dim=-1) for i in (0, 1))
    weights = sentiment_weights(torch.randn(4, 7), 0.0)
    own = torch.arange(4)
    wanted = (F.cross_entropy(20 * v @ t.T, own) + F.cross_entropy(20 * t @ v.T, own)) / 2
    torch.testing.assert_close(snce_loss(v, t, 20.0, weights), wanted, atol=0, rtol=1e-6)


def test_equal_sentiments_are_no_negatives_and_stay_finite() -> None:
    scores = torch.randn(5, 7, generator=torch.Generator().manual_seed(2))
    scores[1:] = scores[0]  # all alike: not one negative is left
    weights = sentiment_weights(scores.half().float(), 10.0)
    assert torch.isfinite(weights).all() and not weights.diagonal().any() and (weights.sum() == 20 * 1e4)
    v = F.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(3)), dim=-1).requires_grad_()
    scale = torch.tensor(100.0, requires_grad=True)
    loss = snce_loss(v, v.detach().flip(0), scale, weights)
    loss.backward()
    assert torch.isfinite(loss) and v.grad is not None and torch.isfinite(v.grad).all()
    logits = 100 * v.detach() @ v.detach().flip(0).T - weights
    assert logits.double().softmax(1)[0, 1:].max() < 1e-30
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(snce_loss(v, v.detach().flip(0), scale, weights), loss)


def test_directions_are_each_others_mirror() -> None:
    scores = torch.randn(3, 7, generator=torch.Generator().manual_seed(5))
    shares = scores.softmax(1)
    kl = (shares[0] * (shares[0] / shares[1]).log()).sum()
    torch.testing.assert_close(sentiment_weights(scores, 10.0)[0, 1], 10 / kl)
    torch.testing.assert_close(sentiment_weights(scores, 10.0, "released"), sentiment_weights(scores, 10.0).T)


def test_the_papers_example() -> None:
    before, after = [10.65, 12.6, 9.81, 13.8, 15.2], [10.65, -697.0, -97.6, 13.6, 15.0]
    # a fair coin's divergence from softmax(a, -a) is log cosh a
    wanted = [math.acosh(math.exp(10.0 / (b - a))) for b, a in zip(before[1:], after[1:], strict=True)]
    scores = torch.tensor([[0.0, 0.0], *([a, -a] for a in wanted)])
    logits = torch.tensor(before) - sentiment_weights(scores, 10.0)[0]
    torch.testing.assert_close(logits, torch.tensor(after), atol=0.02, rtol=0)


# -- a recogniser ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("belief", ["single", "several"])
def test_folders_give_the_same_belief(tmp_path: Path, belief: str) -> None:
    model = probed(f"belief={belief}")
    folder.save_recogniser(tmp_path / "own", model)
    back = folder.load_recogniser(tmp_path / "own", "emotion-clip")
    assert json.loads((tmp_path / "own" / "config.json").read_text())["kind"] == "emotion_clip"
    video = np.random.default_rng(0).integers(0, 255, (12, 40, 60, 3)).astype(np.uint8)
    parts = [look(video[at:], model.wants, fps=4) for at in (0, 1)]
    assert collate_evidence(parts).persons is not None
    before, after = believe(model, parts), believe(back, parts)
    torch.testing.assert_close(after.probs, before.probs, atol=1e-6, rtol=0)
    alone = torch.cat([believe(back, [part]).probs for part in parts])
    torch.testing.assert_close(alone, before.probs, atol=1e-6, rtol=0)
    assert before.kind == belief and before.features.norm(dim=1).tolist() == pytest.approx([1, 1])
    assert (abs(float(before.probs[0].sum()) - 1) < 1e-5) == (belief == "single")
    with pytest.raises(CheckpointError, match="holds a recogniser of kind emotion_clip, asked for was pe_clip"):
        folder.load_recogniser(tmp_path / "own", "pe_clip")


def test_without_labels_it_believes_nothing() -> None:
    model = emotion_clip()
    frames, _ = pictures(1)
    with pytest.raises(ConfigError, match="has no labels: fit a probe"):
        model.predict(model.encode_video(frames))


def test_rates_and_decay() -> None:
    model = probed()
    groups = model.parameter_groups(1.0, 0.1)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert {(group["lr"], group.get("weight_decay")) for group in groups} == {
        (1.0, None), (1.0, 0.0), (0.1, None), (0.1, 0.0)
    }  # fmt: skip
    flat, whole, scale = (sum(p.numel() for p in group["params"]) for group in model.released_groups())
    assert flat + whole + scale == model.trained_parameters() and scale == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fusion.heads=5", "fusion.heads 5 does not divide clip.width 16: use one of 1, 2, 4, 8, 16"),
        ("frames=0", "frames is 0: at least 1"),
        ("labels=[joy, joy]", "at least two different names"),
        ("clip.tower=face", "clip.tower face does not see crop frame: use face for both, or for none"),
        ("crop=face", "crop face shows one person alone: subject.rule soft has no place, use none"),
        ("subject.rule=loud", "unknown subject.rule 'loud'"),
    ],
)
def test_bad_settings_are_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(EmotionClipConfig, None, [*SMALL, override])


def test_golden_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a folder of goldens holds one"):
        compare_emotionclip(tmp_path)
    state = released_state()
    save_file(state, tmp_path / "emotionclip_weights.safetensors")
    save_file({"video": torch.zeros(1)}, tmp_path / "emotionclip_io.safetensors")
    (tmp_path / "tiny.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tiny.json does not tell the sizes of a golden: KeyError"):
        compare_emotionclip(tmp_path)
    assert load_file(tmp_path / "emotionclip_weights.safetensors").keys() == state.keys()
