"""A trained PE-CLIP as the captioner's prior: opened once, cached, matched by name, mixed by one rule."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from captioner.config import ModelConfig
from captioner.config_io import build_config, to_dict
from captioner.data import inputs
from captioner.data.dataset import ClipDataset, Place
from captioner.data.feature_store import FeatureStore, look
from captioner.data.manifest import Record
from captioner.emotion import folder, prior
from captioner.emotion.frame_features import read_frames
from captioner.errors import CheckpointError, ConfigError
from captioner.inference.predictor import Captioner
from captioner.model.batch import collate
from captioner.model.captioner import EmotionCaptioner
from captioner.model.checkpoint import Checkpoint
from captioner.model.tokenizer import TextPieces, Tokenizer
from captioner.train.checkpoints import changed_settings
from captioner.video.reading import read_clip, write_video
from tests.emotion.test_pe_clip import LABELS, model_of
from tests.helpers import tiny_batch, tiny_config


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random recogniser with its gates ajar."""
    path = tmp_path_factory.mktemp("prior") / "pe"
    model = model_of()
    for layer in model.decoder.layers:
        layer.gate.data.fill_(0.5)
    folder.save_pe_clip(path, model)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 255, (12, 72, 80, 3)).astype(np.uint8), 5)
    return path


def config_of(source: Path, *more: str, labels: list[str] = LABELS) -> ModelConfig:
    given = ["emotion_prior=pe_clip", f"emotion_prior_source={source}", f"labels={json.dumps(labels)}"]
    return tiny_config(*given, *more)


def test_belief_is_the_recognisers_in_the_captioners_order(source: Path, video: Path) -> None:
    model = folder.load_pe_clip(source)
    wanted = model.predict(model.features(read_frames(video, 32, 6)[None])).probs
    seen = look(video, config_of(source))
    assert seen.prior is not None
    torch.testing.assert_close(seen.prior, wanted)
    turned = look(video, config_of(source, labels=LABELS[::-1]))
    torch.testing.assert_close(turned.prior, wanted.flip(1))
    with video.open("rb") as file:
        torch.testing.assert_close(look(file, config_of(source)).prior, wanted)
    part = look(video, config_of(source), start=0.0, end=0.5).prior
    assert part is not None and not torch.allclose(part, wanted)
    assert look(video, tiny_config()).prior is None


@pytest.mark.parametrize("span", [{}, {"start": 0.4, "end": 1.6}])
def test_frames_in_memory_are_believed_as_the_file_is(source: Path, video: Path, span: dict[str, float]) -> None:
    config = config_of(source)
    frames = read_clip(video, 12).frames
    seen = inputs.view(frames, config, fps=5, **span).seen[0]
    torch.testing.assert_close(seen.prior, look(video, config, **span).prior, atol=0.02, rtol=0)


def test_a_window_is_believed_as_its_span_of_the_file_is(source: Path, video: Path) -> None:
    config = config_of(source)
    windows = list(inputs.view_windows(video, config, 1.2))
    assert [(w.start, w.end) for w in windows] == [(0.0, 1.2), (1.2, 2.4)]
    for window in windows:
        wanted = look(video, config, start=window.start, end=window.end).prior
        torch.testing.assert_close(window.seen[0].prior, wanted, atol=0.02, rtol=0)


def test_other_labels_are_refused_with_both_lists(source: Path, video: Path) -> None:
    wanted = r"pe: the emotion prior knows \[anger, joy, fear, deep sadness\], the captioner needs \[joy, trust\]"
    with pytest.raises(ConfigError, match=wanted):
        look(video, config_of(source, labels=["joy", "trust"]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("emotion_prior_source=", "emotion_prior_source is missing"),
        ("prompts.tep=false", r"emotion_prior feeds the \[CLASS-k\] token: it needs prompts\.tep"),
        ("emotion_prior_weight=2", "emotion_prior_weight is 2.0: a share between 0 and 1"),
        ("emotion_prior=clip", "unknown emotion_prior 'clip'"),
    ],
)
def test_bad_settings_are_named(source: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(source, override)


def test_missing_priors_are_named(tmp_path: Path, video: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.emotion_prior_source: .* holds no trained PE-CLIP"):
        look(video, config_of(tmp_path / "none"))
    with pytest.raises(ConfigError, match="the clips come without its belief"):
        EmotionCaptioner(config_of(tmp_path)).eval().see(tiny_batch(config_of(tmp_path)))


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_beliefs_are_mixed_by_weight(source: Path, weight: float) -> None:
    config = config_of(source, f"emotion_prior_weight={weight}")
    model, batch = EmotionCaptioner(config).eval(), tiny_batch(config)
    batch.prior = torch.randn(3, 4).softmax(-1)
    with torch.no_grad():
        view = model.see(batch)
    assert view.belief is not None and view.emotion is not None and view.class_token is not None
    wanted = weight * batch.prior + (1 - weight) * view.belief.softmax(-1)
    torch.testing.assert_close(view.emotion, wanted)
    torch.testing.assert_close(view.class_token, (wanted @ model.textual.classes.weight)[:, None])


def test_belief_is_computed_once(
    source: Path, video: Path, tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config_of(source), vocab_size=tokenizer.vocab_size)
    model = EmotionCaptioner(config)
    cache = FeatureStore(tmp_path, config, model.experts, 72)
    first = cache.load(video).prior
    with monkeypatch.context() as patch:  # in one process without a cache, too
        patch.setattr(prior.EmotionPrior, "compute", None)
        assert torch.equal(look(video, config).prior, first)  # type: ignore[arg-type]
    monkeypatch.setattr(prior.EmotionPrior, "belief", None)  # nobody may call it again
    again = FeatureStore(tmp_path, config, model.experts, 72)
    assert first is not None and torch.equal(again.load(video).prior, first)  # type: ignore[arg-type]
    assert FeatureStore(tmp_path, replace(config, emotion_prior=None), model.experts, 72).missing(video) == []
    assert FeatureStore(tmp_path, config_of(source, labels=LABELS[::-1]), model.experts, 72).missing(video) == [
        "belief"
    ]

    records = [Record(f"clip{i}", video, "train", ("A woman nods.",), emotion="joy") for i in range(2)]
    pieces = TextPieces(tokenizer, None, config.fusion.max_text)
    data = ClipDataset(records, config, tokenizer, pieces, cache=again, train=True, short_side=72)
    batch = collate([data[Place(0, 0)], data[Place(0, 1)]], tokenizer.pad_id)
    torch.testing.assert_close(batch.prior, first.expand(2, -1))
    losses = model.train()(batch)
    sum(losses.live.values()).backward()  # type: ignore[union-attr]
    gradient = model.textual.classes.weight.grad
    assert gradient is not None and float(gradient.abs().sum()) > 0


def test_a_caption_tells_the_mixed_belief(source: Path, video: Path, tokenizer: Tokenizer) -> None:
    config = replace(config_of(source, "emotion_prior_weight=1"), vocab_size=tokenizer.vocab_size)
    torch.manual_seed(0)
    model = EmotionCaptioner(config).eval()
    caption = Captioner(Checkpoint(model, tokenizer, None, {}, "tiny")).caption(video, max_words=4)
    wanted = look(video, config).prior
    assert wanted is not None
    assert list(caption.emotion) == LABELS
    assert list(caption.emotion.values()) == pytest.approx(wanted[0].tolist(), abs=1e-5)


def test_older_checkpoints_and_runs_go_on() -> None:
    config = tiny_config()
    old = {k: v for k, v in to_dict(config).items() if not k.startswith("emotion_prior")}
    assert build_config(ModelConfig, old) == config
    assert changed_settings(old, to_dict(config)) == []
