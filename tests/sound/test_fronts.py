"""What nets take in of a sound, and speech models of transformers by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from captioner.emotion.mer_clip.mer_clip_config import HeardConfig
from captioner.errors import CheckpointError
from captioner.sound import Sound, read_spans
from captioner.sound.fronts import FrontConfig, SoundFront, SpanFrames, _speech, segment_spans, span_frames
from tests.emotion.test_av_canet import clips as av_clips
from tests.emotion.test_av_canet import model as av_canet
from tests.emotion.test_av_canet import tiny as av_config
from tests.emotion.test_mer_clip import clips as mer_clips
from tests.emotion.test_mer_clip import model as mer_clip
from tests.sound import speech_models
from tests.sound.voices import film, spoken, tone


def test_fronts_give_frames_of_their_width() -> None:
    waves = torch.from_numpy(np.stack([tone(0.5), spoken(0)[:8000]]))
    level = SoundFront(FrontConfig())(waves)
    assert level.shape == (2, 51, 64) and float(level.max()) == pytest.approx(1.0) and float(level.min()) >= -1.01
    assert SoundFront(FrontConfig("mfcc", bands=20))(waves).shape == (2, 16, 20)


def test_spans_lie_in_the_middle_of_equal_parts() -> None:
    assert segment_spans(0, 8, 4, 1.0) == [(0.5, 1.5), (2.5, 3.5), (4.5, 5.5), (6.5, 7.5)]
    assert segment_spans(2, 4, 2, 9.0) == [(2.0, 3.0), (3.0, 4.0)]
    assert segment_spans(0, 3, 1, 0.0) == [(0.0, 3.0)]


def test_kept_frames_are_those_of_the_file(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", tone(2.0))
    kept = SpanFrames(tmp_path / "store", FrontConfig(), 4, 20, 0.5)
    frames = kept.load(path)
    sounds = read_spans(path, 16_000, segment_spans(0, 2, 4, 0.5))
    assert frames.shape == (4, 20, 64) and torch.equal(frames, span_frames(sounds, kept.front, 20))
    assert kept.has(path) and torch.equal(kept.load(path), frames)
    assert kept.load(film(tmp_path / "b.mp4", None)).shape == (0, 20, 64)
    assert span_frames([Sound(np.zeros(100, np.float32), 16_000)], kept.front, 20).shape == (0, 20, 64)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_a_speech_model_by_folder(kind: str, tmp_path: Path) -> None:
    folder = getattr(speech_models, kind)(tmp_path)
    front = SoundFront(FrontConfig("speech", source=str(folder)))
    frames = front(torch.from_numpy(tone(0.5))[None])
    assert front.width == 16 and frames.shape[0] == 1 and frames.shape[2] == 16 and frames.isfinite().all()
    first = SoundFront(FrontConfig("speech", source=str(folder), layer=0))(torch.from_numpy(tone(0.5))[None])
    assert first.shape == frames.shape and not torch.equal(first, frames)
    with pytest.raises(CheckpointError, match="cannot be opened"):
        SoundFront(FrontConfig("speech", source=str(tmp_path / "none")))(torch.zeros(1, 800))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    _speech.cache_clear()
    with pytest.raises(CheckpointError, match="cannot be opened") as fault:
        SoundFront(FrontConfig("speech", source=str(folder)))(torch.zeros(1, 800))
    assert "\n" not in str(fault.value)


@pytest.mark.slow
def test_recognisers_learn_from_a_speech_models_states(tmp_path: Path) -> None:
    front = FrontConfig("speech", source=str(speech_models.hubert(tmp_path)))
    av = av_canet(audio=replace(av_config().audio, front=front))
    mer = mer_clip(heard=HeardConfig(front, seconds=1.0, layers=1))
    for net, given in ((av, av_clips()), (mer, mer_clips())):
        net.train()
        net.losses(net.features(given), torch.tensor([0, 1, 2])).total.backward()
        assert net.eval().predict(net.features(given)).probs.isfinite().all()
