"""A CLIP pair of our own: it learns its clips, its folder is CLIP's, bad input is named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import train
from transformers import CLIPModel

from captioner.config_io import load_config
from captioner.emotion.clip.clip_config import ClipConfig
from captioner.emotion.clip.opening import open_clip
from captioner.errors import ConfigError
from captioner.train.emotion.pair import Pair, run_pair
from captioner.train.emotion.run_config import PairConfig
from captioner.video.reading import write_video
from captioner.video.transforms import CLIP_MEAN, CLIP_STD, normalise
from tests.helpers import ROOT

WORDS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220), "white": (225, 225, 225)}
SMALL = [
    "clip.source=", "clip.image_size=32", "clip.vision_width=32", "clip.vision_layers=1", "clip.vision_heads=2",
    "clip.text_width=32", "clip.text_layers=2", "clip.text_heads=2", "clip.width=16", "clip.context=40",
    "frames=2", "batch=8", "lr=5e-3",
]  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of four colours whose captions name them (synthetic)."""
    folder = tmp_path_factory.mktemp("colours")
    draw, lines = np.random.default_rng(0), []
    for number in range(6):
        for place, (word, colour) in enumerate(WORDS.items()):
            name = f"{word}{number}"
            pictures = np.array(colour) + draw.integers(-25, 25, (3, 40, 40, 3))
            write_video(folder / f"{name}.mp4", pictures.clip(0, 255).astype(np.uint8), 5)
            lines.append({"id": name, "video": f"{name}.mp4", "split": "val" if number == 5 else "train",
                          "captions": [f"A {word} wall."], "emotion": ("joy", "fear")[place % 2]})  # fmt: skip
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "manifest.jsonl"


def test_a_pair_learns_and_loads_as_clip(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip"
    config = load_config(PairConfig, ROOT / "configs" / "clip_small.yaml",
                  [*SMALL, f"manifest={manifest}", f"out={out}", "epochs=20"])  # fmt: skip
    scores = run_pair(config, torch.device("cpu"))
    assert scores["R@1"] >= 0.75 > 2 * scores["R@1 by chance"]
    assert f"nearest to {100 * scores['R@1']:.1f} % (by chance 25.0 %)" in (out / "CARD.md").read_text()
    clip = open_clip(ClipConfig(source=str(out)))
    reference = CLIPModel.from_pretrained(out).eval()
    frames = torch.randint(0, 256, (1, 3, 3, 32, 32), dtype=torch.uint8)
    ids = torch.tensor([clip.encode("a red wall.")])
    with torch.no_grad():
        images = reference.get_image_features(pixel_values=normalise(frames[0], CLIP_MEAN, CLIP_STD)).pooler_output
        texts = reference.get_text_features(input_ids=ids).pooler_output
        made = clip.text(ids, torch.tensor([ids.shape[1] - 1]))
    torch.testing.assert_close(clip.vision(frames)[0], images, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(made, texts, atol=1e-5, rtol=1e-5)
    assert len(clip.encode("with joy; without fear")) == 7  # the words of the prompts are in the vocabulary


def test_equal_texts_are_no_wrong_pairs() -> None:
    pair = Pair(load_config(PairConfig, None, [*SMALL, "clip.vocab_size=20"]).clip)
    images = torch.eye(16)[:2]
    tied, apart = images.mean(0, keepdim=True).expand(2, -1) * 2**0.5, images
    with torch.no_grad():
        one, other = torch.ones(2, 2), torch.eye(2)  # one caption twice, two captions
        assert pair.loss(images, tied, one) < pair.loss(images, apart, one)
        assert pair.loss(images, tied, other) > pair.loss(images, apart, other)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch=1", "batch is 1: at least 2"),
        ("clip.source=x", "clip.source is 'x', but this trains a pair from its sizes"),
        ("share_prompts=2", "share_prompts is 2.0"),
    ],
)
def test_bad_settings_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(PairConfig, None, [override])


def test_missing_manifest_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main([str(ROOT / "configs" / "clip_small.yaml")]) == 2
    assert "error: manifest is missing: give the clips" in capsys.readouterr().err
