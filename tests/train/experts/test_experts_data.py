"""Face pictures for the experts: aligned, labelled by votes, by a landmarker, by what posed them."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from torch import Tensor

from captioner.errors import ManifestError
from captioner.faces.points import MESH_68
from captioner.lexicon.emotions import FERPLUS_LABELS, MAFW_LABELS
from captioner.synth.identity import State
from captioner.train.experts.au_net import mirrored_labels, teacher_labels
from captioner.train.experts.augment import jitter, mirror_signs, relight
from captioner.train.experts.clip_frames import clip_lines, clip_stills, frame_labels
from captioner.train.experts.clip_scores import salient
from captioner.train.experts.portraits import (
    ALIGNED,
    align,
    both_sides,
    cut_pictures,
    majority,
    read_ferplus,
    read_portraits,
    view_of,
    vote_shares,
    whole_frames,
)
from captioner.train.experts.posed import HALVES, Posed, labels_of, oblique_state, posed, sample_state, taught
from captioner.video.reading import write_video
from prompts.action_units import MAIN_AUS, SUB_AUS
from prompts.backbones import FACE_WINDOW, FaceNet, build_backbone

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
ONES = torch.ones(1)


def face(turn: float = 0.0, size: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """68 landmarks (1, 68, 2) whose eyes and mouth lie as in an aligned crop, then moved."""
    points = torch.zeros(1, 68, 2)
    for part, (x, y) in zip((slice(36, 42), slice(42, 48), slice(48, 68)), ALIGNED, strict=True):
        points[:, part] = torch.tensor([x, y])
    cos, sin = size * np.cos(turn), size * np.sin(turn)
    return points @ torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float32) + torch.tensor(shift)


@pytest.mark.parametrize(("turn", "size", "shift"), [(0.0, 1.0, (0.0, 0.0)), (0.4, 0.7, (0.2, -0.1))])
def test_align_finds_eyes_and_mouth(turn: float, size: float, shift: tuple[float, float]) -> None:
    frame = align(face(turn, size, shift))
    corners = torch.tensor([[*point, 1.0] for point in ALIGNED])
    found = corners @ frame[0].T
    wanted = face(turn, size, shift)[0, [36, 42, 48]]
    assert torch.allclose(found, wanted, atol=1e-3)


def test_whole_picture_fills_the_emotion_net() -> None:
    pixels = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8)
    crops = cut_pictures(pixels, whole_frames(2), 48, FACE_WINDOW)
    assert torch.allclose(crops[:, 0], pixels / 255, atol=1e-4)


def test_a_mirrored_frame_mirrors_the_crop() -> None:
    pixels = torch.randint(0, 256, (1, 32, 32), dtype=torch.uint8)
    frame = align(face())
    plain = cut_pictures(pixels, jitter(frame, torch.Generator().manual_seed(0), ONES, 0.0), 32)
    other = cut_pictures(pixels, jitter(frame, torch.Generator().manual_seed(0), -ONES, 0.0), 32)
    assert torch.allclose(plain, cut_pictures(pixels, frame, 32), atol=1e-4)
    assert torch.allclose(other, plain.flip(-1), atol=1e-4)


def test_jitter_and_weather_follow_the_generator() -> None:
    frames = align(face()).expand(8, 2, 3)
    first, second = (jitter(frames, torch.Generator().manual_seed(3), torch.ones(8)) for _ in range(2))
    assert torch.equal(first, second)
    assert (first - frames).abs().amax((1, 2)).min() > 1e-4
    crops = torch.rand(8, 1, 16, 16)
    one, two = (relight(crops, torch.Generator().manual_seed(3), erase=1.0) for _ in range(2))
    assert torch.equal(one, two)
    assert one.min() >= 0 and one.max() <= 1
    assert set(mirror_signs(50, torch.Generator().manual_seed(0)).tolist()) == {1.0, -1.0}


def test_votes() -> None:
    """Lone votes are slips; more than half of the rest decides; unknown and no face teach nothing."""
    votes = torch.tensor([
        [6, 3, 1, 0, 0, 0, 0, 0, 0, 0],
        [5, 5, 0, 0, 0, 0, 0, 0, 0, 0],
        [2, 0, 0, 0, 0, 0, 0, 0, 8, 0],
        [0, 0, 0, 4, 3, 0, 3, 0, 0, 0],
    ]).float()  # fmt: skip
    assert majority(votes).tolist() == [0, -1, -1, -1]
    assert majority(votes, most=False).tolist() == [0, -1, -1, 3]
    parts = vote_shares(votes)
    assert parts[0].tolist() == pytest.approx([6 / 9, 3 / 9, 0, 0, 0, 0, 0, 0])
    assert parts[2].sum() == 0
    assert parts[1, :2].tolist() == [0.5, 0.5]


def test_both_sides() -> None:
    names = ["jawOpen", "mouthSmileLeft", "mouthSmileRight", "lonelyLeft"]
    assert both_sides(torch.tensor([[0.1, 0.2, 0.6, 0.9]]), names)[0].tolist() == pytest.approx([0.1, 0.4, 0.4, 0.9])


def webp(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="WEBP", lossless=True)
    return stream.getvalue()


def ferplus(folder: Path, count: int = 12, **changes: np.ndarray) -> Path:
    """A small folder in the layout of FER+: grey noise, votes for the emotion of the picture's number."""
    rng = np.random.default_rng(0)
    files = [webp(rng.integers(0, 256, (48, 48), dtype=np.uint8)) for _ in range(count)]
    votes = np.zeros((count, 10), np.uint8)
    votes[np.arange(count), np.arange(count) % 8] = 10
    folder.mkdir(parents=True, exist_ok=True)
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(folder / "images.npz", data=np.frombuffer(b"".join(files), np.uint8), offsets=offsets)
    notes = {
        "split": (np.arange(count) % 3 == 2).astype(np.uint8),
        "votes": votes,
        "found": np.arange(count) % 2 == 0,
        "landmarks68": face().expand(count, 68, 2).numpy().astype(np.float16),
        "blendshapes": rng.uniform(0, 1, (count, 52)).astype(np.float16),
        "blendshape_names": np.array([f"shape{i}" for i in range(52)]),
    }
    np.savez(folder / "annotations.npz", **{**notes, **changes})
    return folder


def test_read_ferplus(tmp_path: Path) -> None:
    pictures, votes = read_ferplus(ferplus(tmp_path), 1)
    assert len(pictures) == 4 and votes.shape == (4, 10)
    assert pictures.pixels.dtype == torch.uint8 and pictures.pixels.shape == (4, 48, 48)
    assert majority(votes).tolist() == [2, 5, 0, 3]
    assert torch.allclose(pictures.frames[0], align(face())[0], atol=1e-3)  # picture 2: a face was found
    assert torch.equal(pictures.frames[1], whole_frames(1)[0])  # picture 5: none
    assert (pictures.blendshapes[1] == -1).all() and (pictures.blendshapes[0] >= 0).all()


def test_broken_ferplus_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"annotations\.npz.*FER\+ is a folder with images\.npz"):
        read_ferplus(tmp_path, 0)
    ferplus(tmp_path)
    np.savez(tmp_path / "images.npz", data=np.zeros(9, np.uint8))
    with pytest.raises(ManifestError, match=r"images\.npz lacks offsets; it has data"):
        read_ferplus(tmp_path, 0)
    np.savez(tmp_path / "images.npz", data=np.zeros(130, np.uint8), offsets=np.arange(13) * 10)
    with pytest.raises(ManifestError, match=r"picture 0 of .* cannot be read"):
        read_ferplus(tmp_path, 0)
    (tmp_path / "annotations.npz").write_bytes(b"PK nothing")
    with pytest.raises(ManifestError, match="cannot be read as npz"):
        read_ferplus(tmp_path, 0)


def label(values: list[int], au: int | str) -> int:
    names = [*MAIN_AUS, *SUB_AUS]
    return values[names.index(au)]


def test_labels_of_a_pose() -> None:
    """One side counts for its own side only; a fallen jaw parts the lips; shut eyes hide the lids."""
    values = labels_of(State({12: 0.9, 26: 0.8, 4: 0.3, 5: 0.8}, sides={12: (1.0, 0.1)}, blink=0.8))
    assert (label(values, 12), label(values, "L12"), label(values, "R12")) == (1, 1, 0)
    assert (label(values, 26), label(values, 25), label(values, 4)) == (1, 1, -1)
    assert (label(values, 5), label(values, 7), label(values, 15)) == (-1, -1, 0)
    assert label(labels_of(State({27: 0.9, 25: 0.9})), 26) == -1


def test_states_are_reproducible_and_varied() -> None:
    first, second = (sample_state(np.random.default_rng([1, 2])) for _ in range(2))
    assert first == second
    labels = torch.tensor([labels_of(sample_state(np.random.default_rng(n))[0]) for n in range(800)])
    known = [au for au, sure in zip(MAIN_AUS, taught(labels, 5).tolist(), strict=False) if sure]
    assert known == [1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 27]


def test_mirrored_labels_change_sides() -> None:
    labels = torch.arange(41).expand(2, 41)
    out = mirrored_labels(labels, torch.tensor([1.0, -1.0]))
    assert torch.equal(out[0], labels[0])
    assert out[1, :27].tolist() == list(range(27))
    assert out[1, 27:31].tolist() == [28, 27, 30, 29]


def clips(folder: Path, split: str = "test") -> Path:
    """A folder with one made clip of four frames: a white square at the left eye, a smile that grows."""
    frames = np.full((4, 64, 64, 3), 40, np.uint8)
    mesh = np.zeros((1, 4, 478, 2), np.float16)
    mesh[0, :, list(MESH_68)] = (face()[0].numpy() * 40 + 12)[:, None]
    left = mesh[0, 0, MESH_68[36]].astype(int)
    frames[:, left[1] - 2 : left[1] + 3, left[0] - 2 : left[0] + 3] = 255
    mesh[0, 3] = np.nan  # gone
    write_video(folder / "videos/a.mp4", frames, fps=8)
    (folder / "labels").mkdir()
    save_file({"landmarks": mesh, "mouth_and_lids": np.zeros((1, 4, 2), np.float16)}, folder / "labels/a.safetensors")
    extra = {
        "source": "photo",
        "size": [64, 64],
        "labels": "labels/a.safetensors",
        "apex": 2,
        "au": {"12": [0.0, 0.3, 0.9, 0.9]},
    }
    line = {"id": "a", "video": "videos/a.mp4", "split": split, "emotion": "happiness", "multi_emotion": [],
            "au_ids": [12], "group": "person_7", "n_frames": 4, "extra": extra}  # fmt: skip
    (folder / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def test_filmed_frames(tmp_path: Path) -> None:
    """Crops are aligned by the clip's own landmarks; the apex alone has an emotion; frames without a face are left."""
    frames = clip_stills(clips(tmp_path), ("val", "test"), each=4)
    assert len(frames) == 3
    assert frames.aus[:, list(MAIN_AUS).index(12)].tolist() == [0, -1, 1]
    assert (frames.aus[:, len(MAIN_AUS) :] == -1).all()
    assert frames.emotions.tolist() == [-1, -1, MAFW_LABELS.index("happiness")]
    assert frames.persons.tolist() == [7, 7, 7]
    x, y = (round(part * 128) for part in ALIGNED[0])
    assert frames.pixels[0, y, x] > 180 > 90 > frames.pixels[0, 120, 120]


def test_filmed_frames_are_kept(tmp_path: Path) -> None:
    """Cut once, then read; a face that leaves the picture is left out."""
    folder = clips(tmp_path / "clips")
    first = clip_stills(folder, ("test",), each=4, cache=tmp_path)
    (folder / "videos/a.mp4").unlink()
    again = clip_stills(folder, ("test",), each=4, cache=tmp_path)
    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in vars(first))
    notes = load_file(folder / "labels/a.safetensors")
    save_file({**notes, "landmarks": notes["landmarks"] + np.float16(40)}, folder / "labels/a.safetensors")
    with pytest.raises(ManifestError, match="has no clip of test that shows a face"):
        clip_stills(folder, ("test",), each=4)


def test_stills_of_another_puppet_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stills = Posed(*(torch.zeros(2, *shape) for shape in ((4, 4), (2, 3), (41,), (), ())))
    monkeypatch.setattr(
        "captioner.train.experts.posed.PhotoSet", lambda folder: SimpleNamespace(rows=lambda split, part: np.arange(2))
    )
    calls = []
    monkeypatch.setattr("captioner.train.experts.posed._pose_all", lambda *parts: calls.append(parts) or stills)
    for puppet in ("a", "a", "b"):
        monkeypatch.setattr("captioner.train.experts.posed.PUPPET", puppet)
        assert len(posed("faces", ("train",), 2, 0, tmp_path)) == 2
    assert len(calls) == 2
    posed("faces", ("train",), 2, 0, tmp_path, "upper")
    assert len(calls) == 3  # nor those of one half for those of the whole face
    assert calls[-1][4] == HALVES["upper"]


def test_half_a_face_moves_and_its_other_half_is_unknown() -> None:
    rng = np.random.default_rng(0)
    for able in HALVES.values():
        for _ in range(40):
            state, _ = sample_state(rng, able)
            assert set(state.aus) <= {43, *able}  # a blink closes any eyes
    assert not set(HALVES["upper"]) & set(HALVES["lower"])


def test_salient_units_of_a_clip(tmp_path: Path) -> None:
    """What the story names is there, what never shows is not, what shows unnamed is unknown."""
    folder = clips(tmp_path)
    (line,) = clip_lines(folder)
    frames = frame_labels(folder, line)
    assert frames[:, list(MAIN_AUS).index(12)].tolist() == [0, -1, 1, 1]
    labels = salient(line, frames)
    assert labels[list(MAIN_AUS).index(12)] == 1 and labels[list(MAIN_AUS).index(4)] == 0
    assert salient(line | {"au_ids": []}, frames)[list(MAIN_AUS).index(12)] == -1


def test_folders_without_clips_are_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.jsonl.*scripts/make_clips\.py makes such a folder"):
        clip_stills(tmp_path, ("test",))
    with pytest.raises(ManifestError, match="has no clip of val that shows a face"):
        clip_stills(clips(tmp_path), ("val",))


NAMES = ["browInnerUp", "browOuterUpLeft", "browDownLeft", "mouthUpperUpLeft", "mouthSmileLeft", "mouthDimpleLeft",
         "mouthFrownLeft", "mouthShrugLower", "mouthPucker", "mouthStretchLeft", "mouthPressLeft",
         "jawOpen"]  # fmt: skip


def test_teacher_labels() -> None:
    """Strong is present, weak absent, between unknown; a smile blurs the upper lip; no face says nothing."""
    shapes = torch.zeros(3, len(NAMES))
    shapes[0, NAMES.index("mouthSmileLeft")] = 0.9
    shapes[1, NAMES.index("browDownLeft")] = 0.3
    shapes[2] = -1
    rows = teacher_labels(shapes, NAMES).tolist()
    assert (label(rows[0], 12), label(rows[0], 10), label(rows[0], 4), label(rows[0], 6)) == (1, -1, 0, -1)
    assert (label(rows[1], 4), label(rows[1], 12), label(rows[1], 10)) == (-1, 0, 0)
    assert set(rows[2]) == {-1}
    with pytest.raises(ManifestError, match="no blendshape 'jawOpen'; they have browInnerUp"):
        teacher_labels(shapes, NAMES[:-1])


def test_views() -> None:
    """A FaceNet reads the same off a colour crop as off the grey picture it was trained on."""
    backbone = build_backbone("face")[0].eval()
    assert isinstance(backbone, FaceNet)
    view = view_of(backbone, 96)
    assert (view.side, view.window, view.grey) == (64, FACE_WINDOW, True)
    assert not view_of(build_backbone("small")[0], 96).grey
    pixels = torch.nn.functional.interpolate(torch.rand(2, 1, 12, 12) * 255, (192, 192), mode="bicubic").clamp(0, 255)
    pixels = pixels[:, 0].to(torch.uint8)
    square = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]]).expand(2, 2, 3)
    colour = cut_pictures(pixels, square, 96).expand(2, 3, 96, 96)
    normal = (colour - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    with torch.no_grad():
        grey = backbone.grey(normal)
        assert (grey - view.cut(pixels, square)).abs().max() < 0.05
        assert torch.allclose(backbone(normal), backbone(grey), atol=1e-5)
        assert torch.allclose(backbone(grey), backbone(grey.flip(-1)), atol=1e-5)


@pytest.mark.skipif(not (SHARED / "ferplus").is_dir(), reason="FER+ is not beside the repository")
def test_the_protocol_of_ferplus() -> None:
    """3,199 of the 3,579 validation pictures have a majority; disgust and contempt are rare."""
    pictures, votes = read_ferplus(SHARED / "ferplus", 1)
    labels = majority(votes)
    assert len(pictures) == 3579 and int((labels >= 0).sum()) == 3199
    counts = torch.bincount(labels[labels >= 0], minlength=8)
    assert counts.argmax() == FERPLUS_LABELS.index("neutral")
    assert counts[FERPLUS_LABELS.index("disgust")] < 50


@pytest.mark.skipif(not (SHARED / "faces").is_dir(), reason="the portraits are not beside the repository")
@pytest.mark.slow
def test_portraits_are_aligned() -> None:
    """Eyes are dark, cheeks are bright: where the frame says they are."""
    portraits = read_portraits(SHARED / "faces", 2, 64)
    assert len(portraits) == 678
    crops = cut_pictures(portraits.pixels, portraits.frames, 100).mean((0, 1))
    eye, cheek = crops[33:38, 33:38].mean(), crops[48:53, 33:38].mean()
    assert eye < 0.75 * cheek
    assert portraits.shares.sum(1).max() == 1


def test_oblique_brows_rise_and_knit_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        state, emotion = oblique_state(rng)
        labels = dict(zip((*MAIN_AUS, *SUB_AUS), labels_of(state), strict=True))
        assert emotion == -1
        assert [labels[name] for name in (1, 4, "L1", "R1", "L4", "R4")] == [1] * 6
