"""Pairs and recognisers that see aligned faces: crops, frozen trunks, photos with votes, the shipped PE-CLIP."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from captioner.config import ModelConfig
from captioner.config_io import load_config
from captioner.data.manifest import Record
from captioner.emotion import folder, prior
from captioner.emotion.clip.clip_config import ClipConfig
from captioner.emotion.clip.opening import open_clip
from captioner.emotion.clip.vision import FaceTower, VisionTower
from captioner.emotion.face_frames import FaceFrames, TrunkFeatures, face_frames
from captioner.emotion.pe_clip.frame_features import FrameFeatures, read_frames
from captioner.emotion.pe_clip.pe_clip import build_pe_clip
from captioner.emotion.pe_clip.pe_clip_config import DecoderConfig, PEClipConfig
from captioner.emotion.wording import PromptConfig
from captioner.errors import CheckpointError, ConfigError
from captioner.faces.reader import FaceReader, make_track
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.model.experts import load_experts
from captioner.train.emotion.pair import PERSONS, run_pair
from captioner.train.emotion.pair_data import chosen_persons, prompt_texts
from captioner.train.emotion.photos import photo_loss, still_logits
from captioner.train.emotion.protocol import run_protocol
from captioner.train.emotion.run_config import EmotionRun, PairConfig
from captioner.video.reading import write_video
from tests.helpers import ROOT

SMALL = [
    "clip.text_width=32", "clip.text_layers=2", "clip.text_heads=2", "clip.width=16", "clip.image_size=32",
    "kept=3", "frames=2", "batch=8",
]  # fmt: skip
START = DecoderConfig(start=1)
SMALL_CLIP = ClipConfig(
    source="", tower="face", image_size=32, text_width=32, text_layers=2, text_heads=2, width=16, context=60
)


class OneFace(FaceReader):
    """A reader that sees a face in the right half of the frames that are bright."""

    name = "one"

    def _read(self, clip: np.ndarray, times: np.ndarray | None) -> list[Any]:
        seen = [t for t, frame in enumerate(clip) if frame.mean() > 60]
        if not seen:
            return []
        side = clip.shape[2]
        marks = np.random.default_rng(0).uniform(0.6, 0.9, (68, 2)).astype(np.float32) * side
        marks[36:42], marks[42:48], marks[48:68] = (np.array(p) * side for p in ((0.7, 0.3), (0.8, 0.3), (0.75, 0.42)))
        values = np.zeros((len(seen), len(self.expression_names)), np.float32)
        return [make_track(len(clip), clip.shape[1:3], seen, np.stack([marks] * len(seen)), [1.0] * len(seen), values)]


@pytest.fixture(autouse=True)
def one_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.emotion.face_frames.shared_reader", lambda _: OneFace())


def halves(level: int, count: int = 1) -> np.ndarray:
    """Frames (count, 80, 80, 3) whose right half has a colour, the left half black."""
    frames = np.zeros((count, 80, 80, 3), np.uint8)
    frames[:, :, 40:] = (level, 0, 0)
    return frames


def test_faces_are_grey_and_upright_and_the_nearest_stands_in() -> None:
    frames = np.concatenate([halves(0), np.full((1, 80, 80, 3), 200, np.uint8), halves(0)])
    crops = face_frames(frames, 24)
    assert crops.shape == (3, 3, 24, 24) and crops.dtype == torch.uint8
    assert torch.equal(crops[:, 0], crops[:, 2])  # grey
    assert torch.equal(crops[0], crops[1]) and torch.equal(crops[1], crops[2])  # the dark frames show no face
    assert crops.float().mean() == pytest.approx(200, abs=1)
    nobody = face_frames(halves(250), 24)
    assert nobody[0, 0, 0, 0] == 0 and nobody[0, 0, 0, -1] == round(250 * 0.299)  # the centre square


def test_equal_frames_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    whole = OneFace.read
    monkeypatch.setattr(OneFace, "read", lambda self, f, t=None: counts.append((len(f), t)) or whole(self, f, t))
    bright = np.full((2, 80, 80, 3), 100, np.uint8)
    frames = np.concatenate([bright, bright + 50])
    crops = face_frames(frames, 16, [0.0, 1.0, 2.0, 3.0])
    assert counts == [(2, [0.0, 2.0])]
    assert torch.equal(crops[0], crops[1]) and not torch.equal(crops[1], crops[2])


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    levels = np.linspace(90, 220, 6).astype(np.uint8)
    write_video(path, np.broadcast_to(levels[:, None, None, None], (6, 80, 80, 3)).copy(), 5)
    return path


def test_kept_crops_are_those_of_the_segments(video: Path, tmp_path: Path) -> None:
    kept = FaceFrames(tmp_path / "store", 32, 4)
    crops = kept.load(video)
    assert torch.equal(crops, read_frames(video, 32, 4, face=True))
    assert torch.equal(FaceFrames(tmp_path / "store", 32, 4).load(video), crops)
    assert crops.float().mean((1, 2, 3)).diff().min() > 5  # in the order of time
    tower = FaceTower(16)
    trunks = TrunkFeatures(tmp_path / "store", 32, 4, tower).load(video)
    torch.testing.assert_close(tower.eval().trunks(crops), trunks)
    random = read_frames(video, 32, 4, generator=torch.Generator().manual_seed(0), face=True)
    assert random.shape == crops.shape and not torch.equal(random, crops)


def test_frame_features_are_the_towers(video: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    vision = VisionTower(SMALL_CLIP)
    config = PEClipConfig(clip=SMALL_CLIP, labels=["joy", "fear"], segments=4, crop="face", decoder=START)
    kept = FrameFeatures(tmp_path / "store", config, vision, 1).load(video)
    torch.testing.assert_close(kept[:, 0], vision(read_frames(video, 32, 4, face=True)[None])[0])


def test_trunks_stay_as_they_are() -> None:
    tower = FaceTower(16).train()
    assert all(not module.training for module in tower.vision_model.modules())
    tower(torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)).sum().backward()
    learned = {name.split(".")[0] for name, p in tower.named_parameters() if p.grad is not None}
    assert learned == {"visual_projection"}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright and dim clips of eight persons with captions in two manners (synthetic)."""
    place, lines = tmp_path_factory.mktemp("faces"), []
    for number in range(16):
        bright, name = number % 2, f"clip{number}"
        draw = np.random.default_rng(number).integers(0, 50, (4, 64, 64, 3))
        write_video(place / f"{name}.mp4", (draw + (180 if bright else 70)).astype(np.uint8), 5)
        lines.append(
            {
                "id": name,
                "video": f"{name}.mp4",
                "split": "test" if number > 11 else "train",
                "captions": ["It is bright." if bright else "It is dim."],
                "emotion": ("fear", "happiness")[bright],
                "group": f"person_{number // 2}",
                "extra": {"feelings": [f"a {('scared', 'glad')[bright]} one"]},
            }
        )
    (place / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return place / "manifest.jsonl"


@pytest.fixture(scope="module")
def pair(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair trained for a moment; its reader sees one face."""
    out = tmp_path_factory.mktemp("pair") / "pair"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("captioner.emotion.face_frames.shared_reader", lambda _: OneFace())
        more = [f"manifest={manifest}", f"out={out}", "epochs=2", "part=0.6"]
        run_pair(load_config(PairConfig, ROOT / "configs" / "clip_face.yaml", [*SMALL, *more]), torch.device("cpu"))
    return out


def test_a_face_pair_loads_as_it_was_saved(pair: Path) -> None:
    clip = open_clip(ClipConfig(source=str(pair)))
    assert clip.config.tower == "face" and clip.config.image_size == 32
    assert isinstance(clip.vision.net, FaceTower)
    shipped = FaceTower(16)
    shipped.start_from(load_experts("experts"))
    for name, value in shipped.vision_model.state_dict().items():
        assert torch.equal(clip.vision.net.vision_model.state_dict()[name], value)  # what is kept stays valid
    ids = clip.encode("a glad one")
    assert len(ids) == 5  # the other manner's words are in the vocabulary


def test_persons_of_the_pair_are_left_out(pair: Path, manifest: Path, tmp_path: Path) -> None:
    seen = set((pair / PERSONS).read_text().split())
    assert seen and seen < {f"person_{i}" for i in range(6)}
    words = [
        f"emotion.clip.source={pair}", "emotion.segments=3", "emotion.temporal.inner=16", "emotion.decoder.start=1",
        f"data.root={manifest}", f"data.cache={tmp_path}", f"train.out={tmp_path / 'out'}", "train.epochs=1",
        "train.plots=never",
    ]  # fmt: skip
    run = load_config(EmotionRun, ROOT / "configs" / "emotion" / "face.yaml", words)
    summary = run_protocol(run, torch.device("cpu"))
    result = json.loads((tmp_path / "out" / "split-0" / "result.json").read_text())
    assert (result["train"], result["test"]) == (12 - 2 * len(seen), 4)
    model = folder.load_recogniser(tmp_path / "out" / "split-0" / "model")
    assert model.config.crop == "face" and model.config.clip.tower == "face"
    assert summary["labels"] == ["fear", "happiness"]
    (pair / PERSONS).rename(pair / "away")
    with pytest.raises(ConfigError, match=r"data\.unseen is set, but .*persons\.txt"):
        run_protocol(run, torch.device("cpu"))
    (pair / "away").rename(pair / PERSONS)
    with pytest.raises(ConfigError, match=r"data\.unseen is for data\.dataset=manifest, here it is ve8"):
        run_protocol(replace(run, data=replace(run.data, dataset="ve8")), torch.device("cpu"))


def test_the_same_persons_are_always_chosen() -> None:
    records = [Record(f"c{i}", Path("x"), "train", group=f"person_{i % 50}") for i in range(200)]
    half = chosen_persons(records, 0.5)
    assert {r.id for r in chosen_persons(records, 0.3)} < {r.id for r in half}
    assert 60 < len(half) < 140 and chosen_persons(records, 1.0) == records
    assert not {r.group for r in half} & {r.group for r in records if r not in half}


def test_prompts_say_one_emotion() -> None:
    first, second = prompt_texts(["joy", "fear"], "fear", PromptConfig())
    assert first == "without joy; with fear"
    assert second.endswith("like fear")


def test_photos_teach_only_what_they_can_show() -> None:
    torch.manual_seed(0)
    config = PEClipConfig(clip=SMALL_CLIP, labels=["joy", "fear", "anxiety"], segments=2, crop="face", decoder=START)
    model = build_pe_clip(replace(config, classifier="linear"))
    known, shares = torch.tensor([True, True, False]), torch.tensor([[0.8, 0.2, 0.0]])
    features = torch.randn(1, 16)
    loss = photo_loss(model, features, shares, known)
    among = still_logits(model, features)[:, :2].log_softmax(-1)
    torch.testing.assert_close(loss, -(shares[:, :2] * among).sum())
    loss.backward()
    grads = model.classifier.vectors.grad
    assert float(grads[:2].abs().sum()) > 0 and float(grads[2].abs().sum()) == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["clip.tower=vit"], "clip.tower vit does not see crop face: use face for both"),
        (["crop=frame", "clip.tower=vit", "photos=x"], "photos are aligned faces: set crop=face"),
        (["part=2"], r"part is 2\.0: a share between 0 and 1"),
        (["kept=1"], "kept is 1: at least 4 is needed"),
    ],
)
def test_bad_pairs_are_named(given: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(PairConfig, ROOT / "configs" / "clip_face.yaml", given)


def test_bad_runs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"clip\.tower is face: it looks at aligned faces alone, set crop=face"):
        PEClipConfig(clip=SMALL_CLIP, decoder=START)
    with pytest.raises(ConfigError, match=r"data\.photos are aligned faces, but emotion\.crop is frame"):
        load_config(EmotionRun, ROOT / "configs" / "emotion" / "made.yaml", ["data.photos=x"])
    with pytest.raises(ConfigError, match="start=drawn-experts: no face nets"):
        run_pair(
            load_config(
                PairConfig,
                ROOT / "configs" / "clip_face.yaml",
                ["start=drawn-experts", "part=1", f"manifest={one_clip(tmp_path)}"],
            ),
            torch.device("cpu"),
        )


def one_clip(place: Path) -> Path:
    """A manifest of one clip that is never read."""
    (place / "x.mp4").touch()
    (place / "m.jsonl").write_text(json.dumps(
        {"id": "x", "video": "x.mp4", "split": "train", "captions": ["A face."], "emotion": "fear", "group": "a"}
    ))  # fmt: skip
    return place / "m.jsonl"


def test_the_shipped_recogniser(video: Path) -> None:
    config = ModelConfig(emotion_prior="pe_clip", emotion_prior_source="pe-clip")
    opened = prior.open_prior(config)
    assert opened is not None and tuple(opened.model.config.labels) == tuple(opened.model.config.labels)
    assert set(opened.model.config.labels) == set(MAFW_LABELS) and opened.model.config.crop == "face"
    probs = opened.read(video).probs
    assert probs.shape == (1, 11)
    torch.testing.assert_close(probs.sum(), torch.tensor(1.0))
    places = [ROOT / "captioner" / "weights" / name for name in ("pe-clip", "pe-clip-pair")]
    sizes = [file.stat().st_size for place in places for file in place.iterdir()]
    assert sum(sizes) <= 15e6
    card = (places[0] / "CARD.md").read_text()
    assert "synthetic" in card and "not what a person feels" in card
    clip = open_clip(ClipConfig(source="pe-clip-pair"))
    torch.testing.assert_close(
        clip.vision.net.visual_projection[3].weight, opened.model.vision.net.visual_projection[3].weight
    )


def test_an_unknown_prior_names_the_shipped_one() -> None:
    with pytest.raises(CheckpointError, match=r"no-such holds no trained recogniser: .*; shipped: pe-clip"):
        folder.load_recogniser("no-such")
