"""The AU expert on whole clips: frames without a face teach nothing, every n-th person is kept back."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from captioner.train.experts import clip_scores
from captioner.train.experts.clip_scores import score_clips
from prompts.action_units import MAIN_AUS
from tests.helpers import noise_video

SMILE = list(MAIN_AUS).index(12)


def write_clips(folder: Path, splits: list[str]) -> None:
    """Clips of six frames of as many persons; what is no animated photo is passed over."""
    lines = []
    for number, split in enumerate(splits):
        noise_video(folder / f"{number}.mp4", number)
        extra = {"source": "photo" if number else "drawn"}
        line = {"id": str(number), "video": f"{number}.mp4", "split": split, "group": f"person_{number}", "fps": 6.0}
        lines.append(json.dumps(line | {"extra": extra, "au_ids": [12], "n_frames": 6}))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")


def test_clips_are_scored_as_the_captioner_sees_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clips(tmp_path, ["test", "test", "train", "test", "test"])
    shown = torch.tensor([[True, True, False]])

    class Frozen:
        def __init__(self, er: Any, au: Any, mean: Any, std: Any) -> None: ...

        def __call__(self, pixels: torch.Tensor, there: torch.Tensor | None) -> Any:
            frames = torch.full((1, 3, len(MAIN_AUS)), 0.1)
            frames[:, :2, SMILE] = 0.9
            return SimpleNamespace(au_frames=frames, au_scores=frames[:, :2].mean(1))

    def labels(folder: Path, line: dict[str, Any]) -> np.ndarray:
        known = np.zeros((6, len(MAIN_AUS)), np.int8)
        known[:, SMILE] = 1
        known[5, 0] = 1  # there for a moment: not salient
        return known

    monkeypatch.setattr(clip_scores, "FrozenExperts", Frozen)
    monkeypatch.setattr(clip_scores, "expert_crops", lambda clip, config: SimpleNamespace(pixels=None, shown=shown))
    monkeypatch.setattr(clip_scores, "frame_labels", labels)
    spec = SimpleNamespace(mean=0, std=1, size=96, margin=0.45)
    experts: Any = SimpleNamespace(er=None, au=None, config=spec)
    seen = score_clips(experts, tmp_path, ("test",), frames=3)
    assert seen.frames.shape == (3, 3, len(MAIN_AUS)) and seen.present.tolist() == pytest.approx([2 / 3] * 3)
    assert (seen.frame_labels[:, 2] == -1).all()  # no face was found there
    assert seen.clip_labels[0, [SMILE, 0]].tolist() == [1, -1] and seen.clip_labels[0, 3] == 0
    limits = torch.full((len(MAIN_AUS),), 0.5)
    assert seen.frame_f1(limits)[SMILE] == seen.clip_f1(limits)[SMILE] == 1
    assert 0 < seen.clip_thresholds()[SMILE] <= 0.9
    assert len(score_clips(experts, tmp_path, ("test",), every=3, frames=3).frames) == 1  # person 3 of 1, 3 and 4
