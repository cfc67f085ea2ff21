"""Two people in a picture feel differently, and one is meant: only who is told whom can know what is felt."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from captioner.config_io import load_config
from captioner.data.manifest import Record, read_manifest
from captioner.emotion.folder import load_recogniser
from captioner.train.emotion.spoken_clips import SpokenClips, SpokenStore
from captioner.train.emotion.words_config import WordsRun
from captioner.train.emotion.words_recipe import run_words
from captioner.video.reading import write_video

SAID = {"joy": ("I am so happy", "what a wonderful day"), "fear": ("I am afraid", "run away")}
COLOURS = {"joy": (220, 40, 40), "fear": (40, 40, 220)}
SIZES = [
    "emotion.clip.source=", "emotion.clip.image_size=32", "emotion.clip.patch=8", "emotion.clip.vision_width=64",
    "emotion.clip.vision_layers=2", "emotion.clip.vision_heads=4", "emotion.clip.text_width=32",
    "emotion.clip.text_layers=1", "emotion.clip.text_heads=2", "emotion.clip.width=32", "emotion.clip.context=16",
    "emotion.fusion.kind=mean", "emotion.frames=2", "seconds=[0.2,9]", "kept=2", "batch=50", "epochs=30", "lr=2e-3",
    "tower_lr_scale=1", "warmup=10", "weight_decay=0.01", "sentiment.beta=1", "seed=2",
]  # fmt: skip


def write_clips(root: Path, count: int = 300) -> Path:
    """A red and a blue block are two people; the sentence is that of the boxed one. Half of the clips show both."""
    draw, lines = np.random.default_rng(0), []
    for number in range(count):
        left, right = (str(name) for name in draw.choice(["joy", "fear"], 2))
        side, name = int(draw.integers(2)), f"{number}.mp4"
        frames = np.full((4, 32, 32, 3), 120.0)
        frames[:, 4:28, 2:14], frames[:, 4:28, 18:30] = COLOURS[left], COLOURS[right]
        write_video(root / name, (frames + draw.normal(0, 25, frames.shape)).clip(0, 255).astype(np.uint8), 4)
        box = [320.0 * side, 0.0, 320.0 * (side + 1), 640.0, 0.9]
        path = root / "boxes" / name / "human_boxes.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps([{f"{frame + 1:08d}.jpg": [box]} for frame in range(4)]))
        felt = (left, right)[side]
        about = {"id": str(number), "video": name, "split": "train" if number < 200 else "test", "emotion": felt}
        said = SAID[felt][int(draw.integers(2))]
        more = {"captions": ["x"], "n_frames": 4, "fps": 4.0, "extra": {"transcript": said}}
        lines.append(json.dumps({**about, **more}))
    (root / "clips.jsonl").write_text("\n".join(lines) + "\n")
    return root / "clips.jsonl"


def probed_share(run: WordsRun, records: list[Record]) -> float:
    """Share of test clips that a linear probe on frozen features is right on, by least squares."""
    run_words(run, torch.device("cpu"))
    model, store, seen = load_recogniser(run.out), SpokenStore(run), {}
    for side in ("train", "test"):
        clips = SpokenClips([record for record in records if record.split == side], run, store)
        with torch.no_grad():
            features = F.normalize(model.encode_video(*clips.batch(range(len(clips)), None)), dim=-1)
        wanted = torch.tensor([1.0 if record.emotion == "joy" else -1.0 for record in clips.records])
        seen[side] = F.pad(features, (0, 1), value=1.0), wanted
    weights = torch.linalg.lstsq(seen["train"][0], seen["train"][1][:, None]).solution[:, 0]
    return float(((seen["test"][0] @ weights).sign() == seen["test"][1]).double().mean())


@pytest.mark.slow
def test_a_subject_token_tells_who_is_meant(tmp_path: Path) -> None:
    manifest = write_clips(tmp_path)
    shares = {}
    for rule in ("none", "soft"):
        words = [*SIZES, f"emotion.subject.rule={rule}", f"manifest={manifest}", f"boxes={tmp_path / 'boxes'}"]
        run = load_config(WordsRun, None, [*words, f"out={tmp_path / rule}", f"cache={tmp_path / 'cache'}"])
        shares[rule] = probed_share(run, read_manifest(manifest))
    assert shares["none"] < 0.82  # where both feel alike it is right, else it guesses: three quarters
    assert shares["soft"] > shares["none"] + 0.04
