"""espeak-ng as a voice, through the library in the package espeakng-loader (an extra, for making data only).

The engine is GPL-3: it is called, never imported by what captions; what it says is ours.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from captioner.errors import ConfigError
from captioner.synth.voice.prosody import Prosody, Speaker
from captioner.synth.voice.source_filter import VOICE_RATE, Utterance

_RETRIEVAL, _PHONEMES, _UTF8 = 1, 1, 1  # sound is handed back, so are phonemes, text is UTF-8
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_EVENT_END, _EVENT_PHONEME = 0, 7
_STEP = 0.005  # seconds of the mouth's curve
_OPEN = {"a": 0.95, "A": 0.95, "V": 0.7, "3": 0.5, "@": 0.45, "e": 0.6, "E": 0.65, "i": 0.35, "I": 0.35, "o": 0.7,
         "O": 0.75, "0": 0.75, "u": 0.3, "U": 0.3, "m": 0.0, "b": 0.0, "p": 0.0, "f": 0.08, "v": 0.08}  # fmt: skip


class _Name(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int), ("unique", ctypes.c_uint), ("text", ctypes.c_int), ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int), ("sample", ctypes.c_int), ("user", ctypes.c_void_p), ("id", _Name),
    )  # fmt: skip


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def has_espeak() -> bool:
    """Whether the package is installed."""
    return find_spec("espeakng_loader") is not None


class Espeak:
    """The engine, opened once a process."""

    def __init__(self) -> None:
        if not has_espeak():
            raise ConfigError("voices by espeak need the package espeakng-loader: pip install 'captioner[sound]', "
                              "or use the voice of our own")  # fmt: skip
        loader = import_module("espeakng_loader")
        self.engine: Any = ctypes.CDLL(loader.get_library_path())
        self.rate = int(self.engine.espeak_Initialize(_RETRIEVAL, 0, loader.get_data_path().encode(), _PHONEMES))
        if self.rate <= 0:
            raise ConfigError("espeak-ng does not start: install espeakng-loader again")
        self.blocks: list[NDArray[np.int16]] = []
        self.phonemes: list[tuple[float, str]] = []
        self.callback = _Callback(self._take)
        self.engine.espeak_SetSynthCallback(self.callback)

    def _take(self, wave: Any, count: int, events: Any) -> int:
        if count > 0 and wave:
            self.blocks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        place = 0
        while events and events[place].type != _EVENT_END:
            if events[place].type == _EVENT_PHONEME:
                name = bytes(events[place].id.string).decode("utf-8", "replace")
                self.phonemes.append((events[place].milliseconds / 1000, name))
            place += 1
        return 0

    def say(self, text: str, speaker: Speaker, prosody: Prosody) -> Utterance:
        """A sentence; the engine's own melody, its pace, pitch, range and level by the prosody."""
        woman = speaker.throat < 0.93
        variant = 1 + int(speaker.rough * 1e4) % 4
        self.engine.espeak_SetVoiceByName(f"en+{'f' if woman else 'm'}{variant}".encode())
        pitch = np.clip(50 + 60 * np.log2(speaker.pitch * prosody.pitch / (205 if woman else 118)), 0, 99)
        for key, value in (
            (_RATE, np.clip(165 * speaker.pace * prosody.pace, 80, 400)), (_PITCH, pitch),
            (_RANGE, np.clip(50 * prosody.span, 0, 99)), (_VOLUME, 100),
        ):  # fmt: skip
            self.engine.espeak_SetParameter(key, int(value), 0)
        self.blocks, self.phonemes = [], []
        data = text.encode()
        self.engine.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
        self.engine.espeak_Synchronize()
        wave = np.concatenate(self.blocks).astype(np.float64) / 32768 if self.blocks else np.zeros(self.rate // 10)
        wave = resample_poly(wave, VOICE_RATE, self.rate)
        level = np.sqrt(np.mean(wave[np.abs(wave) > 0.02 * np.abs(wave).max()] ** 2)) if wave.any() else 1.0
        scaled = np.tanh(wave / level * 10 ** (prosody.level / 20)).astype(np.float32)
        return Utterance(scaled, VOICE_RATE, self._mouth(len(scaled) / VOICE_RATE), _STEP, text)

    def _mouth(self, seconds: float) -> NDArray[np.float64]:
        """How far the mouth is open, from the phonemes and when they begin."""
        times = np.arange(0, seconds, _STEP)
        begins = np.array([begin for begin, _ in self.phonemes] or [0.0])
        opens = np.array([_OPEN.get(name[:1], 0.2) if name else 0.0 for _, name in self.phonemes] or [0.0])
        curve = opens[np.clip(np.searchsorted(begins, times, side="right") - 1, 0, len(opens) - 1)]
        window = np.hanning(11)
        smooth: NDArray[np.float64] = np.convolve(curve, window / window.sum(), mode="same")
        return smooth


@lru_cache(maxsize=1)
def espeak() -> Espeak:
    """The engine of this process."""
    return Espeak()
