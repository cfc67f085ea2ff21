"""What nets take in of a sound, and speech models of transformers by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from captioner.errors import CheckpointError
from captioner.sound import Sound, read_spans
from captioner.sound.fronts import FrontConfig, SoundFront, SpanFrames, segment_spans, span_frames
from captioner.sound.listening import Listener
from captioner.sound.subtitles import Cue
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


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random wav2vec2 that spells."""
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    folder = tmp_path_factory.mktemp("speller")
    vocabulary = {name: place for place, name in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFG"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)
    torch.manual_seed(3)
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        conv_dim=(8, 8), conv_kernel=(10, 8), conv_stride=(8, 8), num_feat_extract_layers=2,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_speech_model_by_folder(speller: Path) -> None:
    front = SoundFront(FrontConfig("speech", source=str(speller)))
    frames = front(torch.from_numpy(tone(0.5))[None])
    assert front.width == 16 and frames.shape[0] == 1 and frames.shape[2] == 16 and frames.isfinite().all()
    with pytest.raises(CheckpointError, match="cannot be opened"):
        SoundFront(FrontConfig("speech", source=str(speller / "none")))(torch.zeros(1, 800))


@pytest.mark.slow
def test_listening_hears_only_speech_and_keeps_it(speller: Path, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", spoken(1, silence=1.0))
    listener = Listener(tmp_path / "store", str(speller))
    cues = listener.load(path)
    assert all(isinstance(cue, Cue) and 0.5 < cue.start < cue.end for cue in cues)
    again = Listener(tmp_path / "store", str(speller))
    assert again.load(path) == cues and "transcriber" not in vars(again)  # read, not heard again
    assert Listener(tmp_path / "store", str(speller)).load(film(tmp_path / "b.mp4", None)) == []
    listener.transcriber = lambda wave: f" it lasts\n{len(wave)} "
    assert listener.compute(path)[0].text.startswith("it lasts")


@pytest.mark.slow
def test_a_model_that_is_none_is_one_line(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", spoken(1))
    with pytest.raises(CheckpointError, match="--listen") as fault:
        Listener(tmp_path / "store", str(tmp_path)).load(path)
    assert "\n" not in str(fault.value)
