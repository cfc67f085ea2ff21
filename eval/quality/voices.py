"""What recognisers that hear and read can learn, on synthetic voices and sentences, and on faces as made-up features.

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
from torch import Tensor

from captioner.emotion.av_canet.av_canet import AVCANet, late_mean
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
UNSEEN = 300  # clips that are scored
SHOWN = ("anger", "happiness", "sadness")  # of faces and voices in the rules
SYNONYMS = {"anger": "rage", "happiness": "joy", "sadness": "grief"}


@dataclass(frozen=True)
class Lesson:
    """Clips: what faces show, whom they belong to, sounds, words, labels (N,)."""

    faces: tuple[str, ...]
    persons: tuple[int, ...]
    sounds: tuple[Sound | None, ...]
    words: tuple[str, ...]
    labels: Tensor

    def batch(self) -> EvidenceBatch:
        """As a recogniser is handed them, without pictures."""
        return EvidenceBatch(sounds=self.sounds, words=self.words)


# -- synthetic clips ------------------------------------------------------------------------------------------------


def voice(rng: np.random.Generator, speaker: Speaker, emotion: str, text: str) -> Sound:
    """Two seconds of a sentence's beginning over a faint noise, in as many equal parts as snippets are taken."""
    said = say(" ".join(text.split()[:6]), speaker, sample_prosody(rng, emotion), rng).wave
    wave = np.zeros(round(SECONDS * VOICE_RATE), np.float32)
    wave[: min(len(said), len(wave))] = said[: len(wave)]
    return Sound(wave + 3e-4 * rng.standard_normal(len(wave)).astype(np.float32), VOICE_RATE)


Plan = Callable[[np.random.Generator], tuple[str, str | None, str, int]]
"""Emotion of the face, of the voice (None: silent), of the words, and the label."""


def make_lesson(seed: int, count: int, test: bool, plan: Plan) -> Lesson:
    """Clips of persons, voices and sentences of one side; each side has its own."""
    rng = np.random.default_rng([seed, int(test)])
    speakers = [sample_speaker(rng, "") for _ in range(6 if test else 16)]
    rows = []
    for _ in range(count):
        face, heard, worded, label = plan(rng)
        person = int(rng.integers(len(speakers)))
        text = sample_sentence(rng, worded, test)
        rows.append((face, person, None if heard is None else voice(rng, speakers[person], heard, text), text, label))
    faces, persons, sounds, words, labels = zip(*rows, strict=True)
    return Lesson(faces, persons, sounds, words, torch.tensor(labels))


def made_up_views(lesson: Lesson, width: int, seed: int) -> Tensor:
    """What a net that knows faces might say of pictures (N, T, W): an emotion's direction, a person's own, noise.

    A small untrained net says next to nothing of drawn faces, so these features are made up outright.
    """
    directions = torch.randn(len(SHOWN) + 1, width, generator=torch.Generator().manual_seed(7))
    directions[-1] = 0  # neutral
    names = (*SHOWN, "neutral")
    random = torch.Generator().manual_seed(seed)
    strength = 0.35 + 0.25 * torch.rand(len(lesson.faces), 1, 1, generator=random)
    own = torch.randn(max(lesson.persons) + 1, 1, width, generator=random)[list(lesson.persons)]
    shown = directions[[names.index(face) for face in lesson.faces]][:, None]
    return strength * shown + 0.6 * own + torch.randn(len(lesson.faces), FRAMES, width, generator=random)


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
        video=VideoStreamConfig("experts", frames=FRAMES // SEGMENTS, size=SIDE, crop="face", dropout=0.1),
        audio=AudioStreamConfig("small", FrontConfig("logmel"), frames=48, seconds=SECONDS / SEGMENTS),
        fusion=AVFusionConfig(heads=4, inner=96, dropout=0.1),
    )  # fmt: skip
    return replace(config, **changes)


def train(model: Any, lesson: Lesson, features: Any, seed: int, epochs: int, lr: float = 2e-3, batch: int = 32) -> Any:
    """AdamW, up and down half a cosine."""
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
    lesson, unseen = make_lesson(seed, clips, False, voice_plan), make_lesson(seed, UNSEEN, True, voice_plan)
    torch.manual_seed(seed)
    model = AVCANet(av_config(VOICE_EMOTIONS, streams="audio"))
    train(model, lesson, model.features(lesson.batch()), seed, epochs)
    found = model.predict(model.features(unseen.batch()))
    commonest = float(torch.bincount(unseen.labels).max() / len(unseen.labels))
    return {"sound alone": accuracy(found.probs, unseen.labels), "commonest": commonest}


def rule_features(model: AVCANet, lesson: Lesson, seed: int) -> dict[str, Tensor]:
    """What the recogniser takes in of clips, the faces' part made up."""
    found = dict(model.features(lesson.batch()))
    if model.video is not None and model.video.faces is not None:
        norm: Any = model.video.faces.visual_projection[0]
        found["frames"] = made_up_views(lesson, norm.normalized_shape[0], seed)
    return found


def measure_rules(seed: int, clips: int = 1200, epochs: int = 14) -> dict[str, float]:
    """AV-CANet's fusion against its streams alone, their late mean, and the visual row on silent clips."""
    lessons = [make_lesson(seed, clips, False, rule_plan), make_lesson(seed, UNSEEN, True, rule_plan)]
    labels, beliefs = lessons[1].labels, {}
    for name in ("both", "video", "audio"):
        torch.manual_seed(seed)
        model = AVCANet(av_config(RULE_LABELS, streams=name))
        learned, features = (rule_features(model, one, 2 * seed + place) for place, one in enumerate(lessons))
        train(model, lessons[0], learned, seed, epochs)
        beliefs[name] = model.predict(features)
    silent = torch.tensor([sound is None for sound in lessons[1].sounds])
    late = late_mean([beliefs["video"], beliefs["audio"]])
    return {
        "LGF": accuracy(beliefs["both"].probs, labels),
        "video alone": accuracy(beliefs["video"].probs, labels),
        "audio alone": accuracy(beliefs["audio"].probs, labels),
        "late mean": accuracy(late.probs, labels),
        "LGF, silent clips": accuracy(beliefs["both"].probs[silent], labels[silent]),
        "video alone, silent clips": accuracy(beliefs["video"].probs[silent], labels[silent]),
    }


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


def vote_features(model: MERClip, lesson: Lesson, seed: int) -> dict[str, Tensor]:
    """What the recogniser takes in of clips, the pictures' part made up."""
    found = dict(model.features(lesson.batch()))
    if model.vision is not None:
        found["vision"] = made_up_views(lesson, model.config.clip.width, seed)
    return found


def measure_votes(seed: int, clips: int = 1200, epochs: int = 30) -> dict[str, float]:
    """MER-CLIP's fusion against each modality alone; labels by words that it never learned; one modality less."""
    lesson, unseen = make_lesson(seed, clips, False, vote_plan), make_lesson(seed, UNSEEN, True, vote_plan)
    scores: dict[str, float] = {}
    whole: tuple[MERClip, dict[str, Tensor]] | None = None
    for order in (["text", "audio", "vision"], ["text"], ["audio"], ["vision"]):
        pair = knowing_pair(seed)
        config = MERClipConfig(
            labels=list(VOTE_LABELS), clip=pair.config, order=order, heads=4, seen=SeenConfig(FRAMES),
            heard=HeardConfig(seconds=SECONDS, layers=1, stride=8),
        )  # fmt: skip
        torch.manual_seed(seed)
        model = build_mer_clip(config, pair)
        learned, features = (vote_features(model, one, 2 * seed + place) for place, one in enumerate((lesson, unseen)))
        train(model, lesson, learned, seed, epochs, lr=1e-3)
        scores["fusion" if len(order) > 1 else f"{order[0]} alone"] = accuracy(
            model.predict(features).probs, unseen.labels
        )
        whole = whole or (model, features)
    assert whole is not None
    model, features = whole
    scores["fusion above the best"] = scores["fusion"] - max(scores[f"{each} alone"] for each in model.config.order)
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


SIZES = {"sound": (480, 9), "rules": (480, 9), "words": (1200, 30)}
"""Clips to learn from and epochs; three that vote need more, with 480 the fusion is level with the face alone."""


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return statistics.mean(values), error
