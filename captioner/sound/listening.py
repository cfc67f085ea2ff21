"""Speech to text, only when it is asked for by the name of a model: `--listen MODEL`.

faster-whisper where it is installed and MODEL is one of its folders, names or sizes (small, large-v3, ...); else any
speech model of transformers, by hub name or folder. A size without faster-whisper is OpenAI's of that size.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioner.errors import CheckpointError, ConfigError, said_in_a_line
from captioner.files import missing
from captioner.sound.audio import RATE, Sound, sound_blocks
from captioner.sound.speech import find_speech
from captioner.sound.subtitles import Cue
from captioner.store import Kept

BLOCK = 300.0  # seconds of sound in memory
SIZES = ("tiny", "base", "small", "medium", "large", "large-v2", "large-v3", "turbo")
LONGEST = 28.0  # seconds handed to a model at once; Whisper hears 30
VERSION = 1


class Listener(Kept[list[Cue]]):
    """What is said in a video as cues, one a stretch of speech; kept in a store by model and file."""

    name = "words"

    def __init__(self, folder: str | Path, model: str, language: str = "", offline: bool = False) -> None:
        """language: as in `en`; "": the model finds out. offline: nothing is fetched."""
        self.model, self.language, self.offline = model, language, offline
        super().__init__(folder, {"version": VERSION, "model": model, "language": language})

    def open(self) -> None:
        """Open the model now, so that a wrong name is found before the first file."""
        _ = self.transcriber

    def compute(self, video: Path) -> list[Cue]:
        """From the sound; nothing where there is none."""
        return [cue for block in sound_blocks(video, RATE, seconds=BLOCK) for cue in self.hear(block)]

    def hear(self, sound: Sound) -> Iterator[Cue]:
        """The cues of a sound at 16 kHz."""
        for start, end in stretches(find_speech(sound).spans):
            text = " ".join(self.transcriber(sound.part(start, end).wave).split())
            if text:
                yield Cue(start, end, text)

    @cached_property
    def transcriber(self) -> Any:
        """A function from samples at 16 kHz to text."""
        name, offline = self.model, self.offline or bool(os.environ.get("HF_HUB_OFFLINE"))
        converted = (Path(name) / "model.bin").is_file() or "faster-whisper" in name.rpartition("/")[2].lower()
        if find_spec("faster_whisper") is not None and (converted or name in SIZES):
            return _faster_whisper(name, self.language, offline)
        if name.count(os.sep) > 1 and not Path(name).is_dir():  # no hub name has so many
            raise CheckpointError(f"--listen: {missing(Path(name))}; give a model's hub name, or its folder")
        if converted:
            raise ConfigError(f"--listen {name}: this is a model of faster-whisper: pip install faster-whisper")
        return _transformers(f"openai/whisper-{name}" if name in SIZES else name, self.language, offline)

    def pack(self, result: list[Cue]) -> dict[str, Tensor]:
        """The cues as JSON bytes."""
        data = json.dumps([[cue.start, cue.end, cue.text] for cue in result]).encode()
        return {"cues": torch.from_numpy(np.frombuffer(data, np.uint8).copy())}

    def unpack(self, tensors: dict[str, Tensor]) -> list[Cue]:
        """The inverse of `pack`."""
        return [Cue(*row) for row in json.loads(tensors["cues"].numpy().tobytes())]


def stretches(spans: tuple[tuple[float, float], ...]) -> Iterator[tuple[float, float]]:
    """Spans of speech joined over pauses of half a second, none longer than a model can hear."""
    joined: list[list[float]] = []
    for start, end in spans:
        if joined and start - joined[-1][1] < 0.5 and end - joined[-1][0] <= LONGEST:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    for start, end in joined:
        while end - start > LONGEST:
            yield start, start + LONGEST
            start += LONGEST
        yield start, end


def _faster_whisper(model: str, language: str, offline: bool) -> Any:
    try:
        whisper = import_module("faster_whisper").WhisperModel(model, device="cpu", local_files_only=offline)
    except Exception as error:  # the library raises whatever its engine raises
        raise _refused(model, error) from None

    def transcribe(wave: Any) -> str:
        segments, _ = whisper.transcribe(wave, language=language or None, beam_size=1)
        return " ".join(segment.text for segment in segments)

    return transcribe


def _transformers(model: str, language: str, offline: bool) -> Any:
    """Whisper and its kind write, wav2vec2 and its kind spell."""
    transformers, says = import_module("transformers"), import_module("transformers.utils.logging")
    says.disable_progress_bar()
    says.set_verbosity_error()
    try:
        config = transformers.AutoConfig.from_pretrained(model, local_files_only=offline)
        writes = bool(getattr(config, "is_encoder_decoder", False))
        kind = transformers.AutoModelForSpeechSeq2Seq if writes else transformers.AutoModelForCTC
        net = kind.from_pretrained(model, use_safetensors=True, local_files_only=offline).eval()
        processor = transformers.AutoProcessor.from_pretrained(model, local_files_only=offline)
    except Exception as error:  # of the hub, of safetensors, of tokenizers: each has its own
        raise _refused(model, error) from None

    @torch.no_grad()
    def transcribe(wave: Any) -> str:
        inputs = processor(wave, sampling_rate=RATE, return_tensors="pt")
        if writes:
            wanted = {"language": language} if language else {}
            ids = net.generate(inputs["input_features"], **wanted)
            return str(processor.batch_decode(ids, skip_special_tokens=True)[0])
        logits = net(inputs["input_values"]).logits
        return str(processor.batch_decode(logits.argmax(-1))[0]).lower()

    return transcribe


def _refused(model: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"--listen {model}: it cannot be opened ({said_in_a_line(error)}); name a speech-to-text model of "
        "transformers (Whisper, wav2vec2 with a vocabulary) with safetensors weights, or one of faster-whisper"
    )
