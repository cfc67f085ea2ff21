"""What recognisers that hear and read can learn, on synthetic voices, schematic faces and sentences.

    sound:  the emotion of a voice, on unseen voices and sentences
    rules:  face and voice disagree by a rule, AV-CANet against its single streams and their late mean
    words:  face, voice and words vote, MER-CLIP against each modality alone; unseen words for labels; one modality less

All of it is synthetic and small; it shows that a fusion can do what no stream can, not how good it is on films.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.emotion.av_canet.av_canet import AVCANet, build_av_canet, late_mean
from captioner.emotion.av_canet.av_canet_config import (
    AudioStreamConfig,
    AVCANetConfig,
    AVFusionConfig,
    PolarityLossConfig,
    VideoStreamConfig,
)
from captioner.emotion.clip.clip_config import ClipConfig
from captioner.emotion.clip.opening import ClipTowers, build_clip
from captioner.emotion.contract import EvidenceBatch
from captioner.emotion.mer_clip.mer_clip import MERClip, build_mer_clip
from captioner.emotion.mer_clip.mer_clip_config import HeardConfig, MERClipConfig, SeenConfig
from captioner.sound import Sound
from captioner.sound.fronts import FrontConfig
from captioner.synth.voice.phrasebook import WORDED, sample_sentence
from captioner.synth.voice.prosody import VOICE_EMOTIONS, Speaker, sample_prosody, sample_speaker
from captioner.synth.voice.source_filter import VOICE_RATE, say

SIDE, FRAMES, SECONDS, SEGMENTS = 32, 8, 2.0, 4
SHOWN = ("anger", "happiness", "sadness")  # of faces and voices in the rules
SYNONYMS = {"anger": "rage", "happiness": "joy", "sadness": "grief"}


@dataclass(frozen=True)
class Lesson:
    """Clips: pictures (N, T, 3, S, S), sounds, words, labels (N,)."""

    frames: Tensor
    sounds: tuple[Sound | None, ...]
    words: tuple[str, ...]
    labels: Tensor

    def batch(self) -> EvidenceBatch:
        """As a recogniser is handed them."""
        return EvidenceBatch(self.frames, sounds=self.sounds, words=self.words)


# -- synthetic clips ------------------------------------------------------------------------------------------------


def voice(rng: np.random.Generator, speaker: Speaker, emotion: str, text: str) -> Sound:
    """Two seconds of a sentence over a faint noise, in as many equal parts as snippets are taken."""
    said = say(text, speaker, sample_prosody(rng, emotion), rng).wave
    wave = np.zeros(round(SECONDS * VOICE_RATE), np.float32)
    wave[: min(len(said), len(wave))] = said[: len(wave)]
    return Sound(wave + 3e-4 * rng.standard_normal(len(wave)).astype(np.float32), VOICE_RATE)


def schematic_face(rng: np.random.Generator, person: NDArray[np.float64], emotion: str) -> NDArray[np.uint8]:
    """Pictures (T, 3, S, S) of a disc with brows, eyes and a mouth; `person` sets proportions and colours."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1) * 2 - 1
    bend, brow = {"happiness": (0.35, 0.0), "sadness": (-0.3, 0.12), "anger": (-0.12, -0.16)}.get(emotion, (0.0, 0.0))
    strength = rng.uniform(0.6, 1.1)
    pictures = []
    for time in np.linspace(0, 1, FRAMES):
        grown = strength * min(1.0, 0.4 + 1.5 * time)
        x, y = columns - 0.15 * person[0] - 0.05 * rng.standard_normal(), rows - 0.12 * person[1]
        face = (x / (0.75 + 0.1 * person[2])) ** 2 + (y / (0.9 + 0.08 * person[3])) ** 2 < 1
        eyes = ((np.abs(x) - 0.32 - 0.05 * person[4]) ** 2 + (y + 0.2) ** 2) < 0.012
        line = y + 0.45 + brow * grown * (1 if emotion == "anger" else -1) * (0.4 - np.abs(np.abs(x) - 0.32)) * 4
        slant = np.abs(line - brow * grown * 2.5 * (np.abs(x) - 0.32)) < 0.06
        brows = slant & (np.abs(np.abs(x) - 0.32) < 0.2)
        mouth = (np.abs(y - 0.45 - bend * grown * (0.12 - x**2) * 3) < 0.07) & (np.abs(x) < 0.38)
        skin, ground = 150 + 40 * person[5:8], 90 + 60 * person[8:11]
        picture = np.where(face[None], skin[:, None, None], ground[:, None, None])
        picture = np.where((face & (eyes | brows | mouth))[None], 40.0, picture)
        pictures.append(picture + 8 * rng.standard_normal(picture.shape))
    return np.stack(pictures).clip(0, 255).astype(np.uint8)


Plan = Callable[[np.random.Generator], tuple[str, str | None, str, int]]
"""Emotion of the face, of the voice (None: silent), of the words, and the label."""


def make_lesson(seed: int, count: int, test: bool, plan: Plan) -> Lesson:
    """Clips of persons, voices and sentences of one side; each side has its own."""
    rng = np.random.default_rng([seed, int(test)])
    persons = [(rng.standard_normal(11).clip(-1.5, 1.5), sample_speaker(rng, "")) for _ in range(6 if test else 16)]
    frames, sounds, words, labels = [], [], [], []
    for _ in range(count):
        face, heard, worded, label = plan(rng)
        looks, speaker = persons[int(rng.integers(len(persons)))]
        text = sample_sentence(rng, worded, test)
        frames.append(schematic_face(rng, looks, face))
        sounds.append(None if heard is None else voice(rng, speaker, heard, text))
        words.append(text)
        labels.append(label)
    return Lesson(torch.from_numpy(np.stack(frames)), tuple(sounds), tuple(words), torch.tensor(labels))


def voice_plan(rng: np.random.Generator) -> tuple[str, str | None, str, int]:
    """A plain face and plain words: only the voice tells."""
    label = int(rng.integers(len(VOICE_EMOTIONS)))
    return "neutral", VOICE_EMOTIONS[label], "neutral", label


RULE_LABELS = (*SHOWN, "neutral", "mixed")


def rule_plan(rng: np.random.Generator) -> tuple[str, str | None, str, int]:
    """The voice's where the face is neutral, the face's where the voice is, `mixed` where both are strong and differ.

    A fifth of the clips is silent.
    """
    face, heard = (("neutral", *SHOWN)[int(rng.integers(4))] for _ in range(2))
    silent = rng.random() < 0.2
    told = face if silent or heard in ("neutral", face) else (heard if face == "neutral" else "mixed")
    return face, None if silent else heard, "neutral", RULE_LABELS.index(told)


VOTE_LABELS = (*SHOWN, "mixed")


def vote_plan(rng: np.random.Generator) -> tuple[str, str | None, str, int]:
    """What two of face, voice and words tell; `mixed` where all differ."""
    told = [SHOWN[int(rng.integers(3))] for _ in range(3)]
    label = next((each for each in told if told.count(each) > 1), "mixed")
    return told[0], told[1], told[2], VOTE_LABELS.index(label)


# -- recognisers and their training -----------------------------------------------------------------------------------


def av_config(labels: Sequence[str], **changes: Any) -> AVCANetConfig:
    """A small AV-CANet, its loss plain: synthetic labels have no polarity."""
    config = AVCANetConfig(
        labels=list(labels), segments=SEGMENTS, width=48, loss=PolarityLossConfig("ce"),
        video=VideoStreamConfig("swin3d_small", frames=FRAMES // SEGMENTS, size=SIDE, dropout=0.1, drop_path=0.0),
        audio=AudioStreamConfig("small", FrontConfig("logmel"), frames=48, seconds=SECONDS / SEGMENTS),
        fusion=AVFusionConfig(heads=4, inner=96, dropout=0.1),
    )  # fmt: skip
    return replace(config, **changes)


def train(model: Any, lesson: Lesson, seed: int, epochs: int, lr: float = 2e-3, batch: int = 32) -> Any:
    """AdamW down half a cosine; features are computed once."""
    features = model.features(lesson.batch())
    random = torch.Generator().manual_seed(seed)
    steps = torch.optim.AdamW(model.parameter_groups(lr, 1.0), weight_decay=0.02)
    count = len(lesson.labels)
    schedule = torch.optim.lr_scheduler.OneCycleLR(steps, lr, epochs * (count // batch), pct_start=0.15)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(count, generator=random)
        for rows in order[: count // batch * batch].split(batch):
            steps.zero_grad()
            part = {name: value[rows] for name, value in features.items()}
            model.losses(part, lesson.labels[rows], random).total.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            steps.step()
            schedule.step()
    return model.eval()


def accuracy(probs: Tensor, labels: Tensor) -> float:
    """Share of right ones."""
    return float((probs.argmax(1) == labels).double().mean())


def measure_sound(seed: int, clips: int = 900, epochs: int = 12) -> dict[str, float]:
    """The emotion of a voice from its sound alone."""
    lesson, unseen = make_lesson(seed, clips, False, voice_plan), make_lesson(seed, 300, True, voice_plan)
    torch.manual_seed(seed)
    model: AVCANet = train(build_av_canet(av_config(VOICE_EMOTIONS, streams="audio")), lesson, seed, epochs)
    found = model.predict(model.features(unseen.batch()))
    commonest = float(torch.bincount(unseen.labels).max() / len(unseen.labels))
    return {"sound alone": accuracy(found.probs, unseen.labels), "commonest": commonest}


def measure_rules(seed: int, clips: int = 1200, epochs: int = 14) -> dict[str, float]:
    """AV-CANet's fusion against its streams alone, their late mean, and the visual row on silent clips."""
    lesson, unseen = make_lesson(seed, clips, False, rule_plan), make_lesson(seed, 500, True, rule_plan)
    beliefs = {}
    for name in ("both", "video", "audio"):
        torch.manual_seed(seed)
        model = train(build_av_canet(av_config(RULE_LABELS, streams=name)), lesson, seed, epochs)
        beliefs[name] = model.predict(model.features(unseen.batch()))
    silent = torch.tensor([sound is None for sound in unseen.sounds])
    scores = {f"{name} alone" if name != "both" else "LGF": accuracy(belief.probs, unseen.labels)
              for name, belief in beliefs.items()}  # fmt: skip
    scores["late mean"] = accuracy(late_mean([beliefs["video"], beliefs["audio"]]).probs, unseen.labels)
    for name, title in (("both", "LGF, silent clips"), ("video", "video alone, silent clips")):
        scores[title] = accuracy(beliefs[name].probs[silent], unseen.labels[silent])
    return scores


def knowing_pair(seed: int) -> ClipTowers:
    """A random small CLIP pair whose words for one emotion lie close together, as a trained one's do."""
    texts = [text for options in WORDED.values() for text in options]
    texts += [f"a person feeling {label}" for label in (*VOTE_LABELS, *SYNONYMS.values())]
    torch.manual_seed(seed)
    sizes = ClipConfig(
        source="", image_size=SIDE, patch=8, vision_width=48, vision_layers=1, vision_heads=4, text_width=48,
        text_layers=1, text_heads=4, width=48, context=24,
    )  # fmt: skip
    pair = build_clip(sizes, texts)
    words = pair.text.token_embedding.weight.data
    words.mul_(20)
    for label, other in SYNONYMS.items():
        here, there = (pair.vocabulary.token_to_id(word) for word in (label, other))
        words[there] = words[here] + 0.1 * words[there]
    return pair


def measure_votes(seed: int, clips: int = 1200, epochs: int = 16) -> dict[str, float]:
    """MER-CLIP's fusion against each modality alone; labels by words that it never learned; one modality less."""
    lesson, unseen = make_lesson(seed, clips, False, vote_plan), make_lesson(seed, 500, True, vote_plan)
    scores, whole = {}, None
    for order in (["text", "audio", "vision"], ["text"], ["audio"], ["vision"]):
        pair = knowing_pair(seed)
        config = MERClipConfig(
            labels=list(VOTE_LABELS), clip=pair.config, order=order, heads=4, seen=SeenConfig(FRAMES),
            heard=HeardConfig(seconds=SECONDS, layers=1, stride=8),
        )  # fmt: skip
        torch.manual_seed(seed)
        model: MERClip = train(build_mer_clip(config, pair), lesson, seed, epochs, lr=1e-3)
        features = model.features(unseen.batch())
        scores["fusion" if len(order) > 1 else f"{order[0]} alone"] = accuracy(
            model.predict(features).probs, unseen.labels
        )
        whole = whole or (model, features)
    model, features = whole  # type: ignore[misc]
    told = unseen.labels < len(SHOWN)
    others = model.predict(features, list(SYNONYMS.values())).probs
    scores["unseen label words, of 3"] = accuracy(others[told], unseen.labels[told])
    for name, keys in (("text", ("text", "text_mask")), ("audio", ("audio", "audio_length")), ("vision", ("vision",))):
        less = {key: torch.zeros_like(value) if key in keys else value for key, value in features.items()}
        found = model.predict(less).probs
        scores[f"without {name}"] = accuracy(found, unseen.labels) if bool(found.isfinite().all()) else float("nan")
    return scores


LESSONS: dict[str, Callable[..., dict[str, float]]] = {
    "sound": measure_sound,
    "rules": measure_rules,
    "words": measure_votes,
}


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return statistics.mean(values), error
