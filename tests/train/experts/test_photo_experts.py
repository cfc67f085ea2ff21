"""Training of the experts on photos: small nets resume exactly, temperatures fit, the card says what was measured."""

from pathlib import Path

import numpy as np
import pytest
import torch
import train
from torch import Tensor

from captioner.errors import ConfigError
from captioner.files import SHIPPED
from captioner.lexicon.emotions import FERPLUS_LABELS, MAFW_LABELS
from captioner.model.experts import load_experts
from captioner.train.experts import photo_recipe
from captioner.train.experts.au_net import (
    AURecipe,
    au_f1,
    best_thresholds,
    ranking,
    score_error,
    train_aus,
    training_table,
)
from captioner.train.experts.emotion_net import (
    PHOTO_CLASSES,
    UNPICTURED,
    EmotionPart,
    EmotionRecipe,
    WidenRecipe,
    all_shares,
    calibration_error,
    emotion_logits,
    f1_by_class,
    fit_temperature,
    mafw_places,
    mix_up,
    scale_by,
    smoothed_labels,
    train_emotions,
    widen_emotions,
)
from captioner.train.experts.portraits import CropView, FacePictures, majority, read_ferplus, whole_frames
from captioner.train.experts.posed import Posed
from prompts.action_units import MAIN_AUS, SUB_AUS
from prompts.au_graph import AUGraph, AUGraphConfig
from prompts.er_net import ERNet, ERNetConfig
from prompts.visual import FrozenExperts

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"
NAMES = ["browInnerUp", "browOuterUpLeft", "browDownLeft", "mouthUpperUpLeft", "mouthSmileLeft", "mouthDimpleLeft",
         "mouthFrownLeft", "mouthShrugLower", "mouthPucker", "mouthStretchLeft", "mouthPressLeft", "jawOpen",
         *(f"other{i}" for i in range(40))]  # fmt: skip


def test_temperature_restores_calibration() -> None:
    """Logits five times too large: T = 5, and confidence equals accuracy again."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 5, generator=random) * 1.5
    labels = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    temperature = fit_temperature(logits * 5, labels)
    assert temperature == pytest.approx(5, rel=0.08)
    assert calibration_error((logits * 5).softmax(1), labels) > 0.15
    assert calibration_error(logits.softmax(1), labels) < 0.03


def test_temperature_becomes_part_of_the_net() -> None:
    er = ERNet(ERNetConfig("small", 11)).eval()
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        before = er(images).logits
        scale_by(er, 2.0)
        assert torch.allclose(er(images).logits, before / 2, atol=1e-6)


def test_calibration_error_by_hand() -> None:
    chances = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    assert calibration_error(chances, torch.tensor([0, 1, 1, 1])) == pytest.approx((0.8 + 0.8) / 4)


def test_f1_by_class() -> None:
    said, labels = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 1])
    assert f1_by_class(said, labels, 3).tolist() == pytest.approx([2 / 3, 0.5, 0])


def test_labels_of_photos_among_all() -> None:
    assert [MAFW_LABELS[place] for place in PHOTO_CLASSES] == list(FERPLUS_LABELS)
    assert set(UNPICTURED) == {"anxiety", "helplessness", "disappointment"}
    assert mafw_places(torch.tensor([1, -1])).tolist() == [MAFW_LABELS.index("happiness"), -1]
    wide = all_shares(torch.eye(8), 11)
    assert wide.argmax(1).tolist() == list(PHOTO_CLASSES) and wide.sum(1).tolist() == [1] * 8
    assert smoothed_labels(torch.tensor([1]), 2, 0.2)[0].tolist() == pytest.approx([0.1, 0.9])


def test_mixed_pictures_and_labels_have_the_same_shares() -> None:
    ones = torch.eye(6)
    first, second = mix_up(0.5, torch.Generator().manual_seed(0), ones, ones[:, :, None])
    assert torch.equal(first, second[..., 0])
    assert torch.allclose(first.sum(1), torch.ones(6))
    assert (first.diagonal() >= 0.5).all()


def test_ranking() -> None:
    scores = torch.tensor([[0.1, 0.5], [0.4, 0.5], [0.35, 0.5], [0.8, 0.5]])
    labels = torch.tensor([[0, -1], [0, 1], [1, 1], [1, 1]])
    areas = ranking(scores, labels)
    assert areas[0] == pytest.approx(0.75) and areas[1].isnan()


def test_score_error_by_hand() -> None:
    scores, labels = torch.tensor([[0.9, 0.9], [0.1, 0.5]]), torch.tensor([[1, 0], [0, -1]])
    assert score_error(scores, labels) == pytest.approx((0.8 + 0.1) / 3)


def test_thresholds() -> None:
    """Where the F1 is best; an AU that never occurs keeps 0.5."""
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    labels = torch.tensor([[1, 0], [1, 0], [0, -1]])
    best = best_thresholds(scores, labels)
    assert 0.7 < best[0] <= 0.8 and best[1] == 0.5
    assert au_f1(scores, labels, best)[0] == 1


def gradients(kinds: Tensor, side: int) -> Tensor:
    """Pictures uint8 (N, side, side) whose upper half is bright where the kind is 1, dark where it is 0."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.rand(len(kinds), side, side, generator=random) * 100 + 50
    pixels[:, : side // 2] += (kinds[:, None, None] * 2 - 1) * 50
    return pixels.clamp(0, 255).to(torch.uint8)


def made(count: int = 72) -> tuple[EmotionPart, Posed]:
    """Two emotions told apart by brightness, as photos and as posed stills; AU 12 goes with the second."""
    kinds = torch.arange(count) % 2
    frames = whole_frames(count).contiguous()
    pictures = FacePictures(
        gradients(kinds, 48), frames, torch.eye(8)[kinds], torch.full((count, 52), -1.0), torch.arange(count) // 2
    )
    aus = torch.zeros(count, 41, dtype=torch.int8)
    aus[:, list(MAIN_AUS).index(12)] = kinds.to(torch.int8)
    emotions = torch.where(kinds == 1, MAFW_LABELS.index("anxiety"), -1)
    return EmotionPart(pictures, kinds), Posed(gradients(kinds, 64), frames, aus, emotions, torch.arange(count) // 2)


@pytest.mark.slow
def test_emotions_learn_what_photos_show(tmp_path: Path) -> None:
    """Eight epochs tell bright from dark; then stills of an emotion without photos are told from both."""
    torch.manual_seed(0)
    part, stills = made()
    er, view = ERNet(ERNetConfig("small", 11)), CropView(32, grey=False)
    recipe = EmotionRecipe(epochs=8, batch=24, erase=0, shapes=0.01)
    course = train_emotions(er, view, part, part, recipe, tmp_path / "er", seed=0)
    assert course.best > 0.9
    said = emotion_logits(er, view, part.pictures)[:, PHOTO_CLASSES].argmax(1)
    assert (said == part.emotions).float().mean() > 0.9
    went = widen_emotions(er, view, part, part, stills, WidenRecipe(epochs=1, batch=24), tmp_path / "wide", seed=0)
    assert went.epoch == 1 and not er.training


@pytest.mark.slow
def test_action_units_learn(tmp_path: Path) -> None:
    """AU 12 is told from brightness; one-sided and unknown labels do no harm."""
    torch.manual_seed(0)
    part, stills = made()
    au, view = AUGraph(AUGraphConfig("small")), CropView(32, grey=False)
    table = training_table(stills, None, None, NAMES)
    assert len(table.persons) == 72
    course = train_aus(au, view, table, AURecipe(epochs=8, batch=24, erase=0), tmp_path, seed=0)
    assert course.best > 0.9
    both = training_table(stills, None, FacePictures(**{**vars(part.pictures), "pixels": stills.pixels}), NAMES)
    assert len(both.persons) == 144 and both.aus.shape == (144, len(MAIN_AUS) + len(SUB_AUS))
    assert (both.aus[72:] == -1).all()
    assert au_f1(torch.tensor([[0.9], [0.2]]), torch.tensor([[1], [-1]])).item() == 1


def test_what_shows_often_in_clips_is_judged_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The F1 is that of clips where these show an AU often enough, else of stills; thresholds come from both."""
    count = 2 * photo_recipe.OFTEN
    labels = torch.zeros(count, 41, dtype=torch.int8)
    labels[: count // 2, :2] = 1
    rare = labels.clone()
    rare[1 : count // 2, 1] = 0
    told = {"stills": (labels * 0.4 + 0.1, labels), "clips": (torch.zeros(count, 41), rare)}
    monkeypatch.setattr(photo_recipe, "_held", lambda au, view, part, held: told[part])
    net = AUGraph(AUGraphConfig("small"))
    found, threshold = photo_recipe.judge_units(net, CropView(32), ["stills", "clips"], 12)  # type: ignore[list-item]
    assert found[0] == 0 and found[1] == 1 and not found[2:].any()
    assert (threshold[2:] == 0.5).all() and 0.3 < threshold[0] < 0.5


def test_the_mean_of_two_nets() -> None:
    one, other = AUGraph(AUGraphConfig("small")), AUGraph(AUGraphConfig("small"))
    before = one.head.main_sc.clone()
    photo_recipe.blend_weights(one, other, 0.25)
    assert torch.allclose(one.head.main_sc, before * 0.75 + other.head.main_sc * 0.25)


def test_a_start_of_another_shape_is_refused() -> None:
    er, au = ERNet(ERNetConfig("small", 11)), AUGraph(AUGraphConfig("small"))
    recipe = photo_recipe.PhotoRecipe(start="experts", er_arch="small", au_backbone="small")
    with pytest.raises(
        ConfigError, match=r"^start: experts holds face and face_au, the recipe asks for small and small,"
    ):
        photo_recipe._start(er, au, recipe)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ferplus=nowhere"], r"annotations.npz'? .*FER\+ is a folder with images.npz"),
        (["er_arch=fase"], "unknown backbone 'fase' (did you mean 'face'?)"),
        (["emotion.epoch=3"], "epoch"),
        (["size=8"], "size is 8: at least 32 is needed"),
    ],
)
def test_recipe_errors_take_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(ROOT / "configs/experts.yaml")
    assert train.main([recipe, f"work={tmp_path}", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message.split("'? ")[0] in error and message.split(".*")[-1].replace("\\", "") in error


def test_unknown_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text("source: fotos\n")
    assert train.main([str(tmp_path / "r.yaml")]) == 2
    assert "unknown source 'fotos' (did you mean 'photos'?)" in capsys.readouterr().err


@pytest.mark.skipif(not (SHIPPED / "experts").is_dir(), reason="no experts are shipped")
def test_shipped_experts() -> None:
    """They load, are small, say what no photo taught, and score a mirrored crop with the same emotions."""
    experts = load_experts("experts")
    size = sum(path.stat().st_size for path in (SHIPPED / "experts").iterdir())
    assert size < 6e6
    assert experts.config.synthetic_labels == UNPICTURED
    assert experts.config.margin == 0.45
    card = (SHIPPED / "experts" / "CARD.md").read_text()
    assert "anxiety, helplessness, disappointment" in card and "synthetic" in card
    crops = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 96, 96)).astype(np.float32))
    with torch.no_grad():
        assert torch.allclose(experts.er(crops).logits, experts.er(crops.flip(-1)).logits, atol=1e-3)
        scores = experts.au(crops).scores
    assert scores.shape == (2, 41) and scores.min() >= 0 and scores.max() <= 1


@pytest.mark.skipif(not (SHIPPED / "experts").is_dir(), reason="no experts are shipped")
def test_shipped_experts_behind_the_prompts() -> None:
    """Frames without a face leave no trace; a clip without any face is said to have none."""
    experts = load_experts("experts")
    frozen = FrozenExperts(experts.er, experts.au, experts.config.mean, experts.config.std)
    crops = torch.randint(0, 256, (2, 3, 3, 96, 96), dtype=torch.uint8)
    present = torch.tensor([[True, True, False], [False, False, False]])
    seen = frozen(crops, present)
    alone = frozen(crops[:1, :2])
    assert torch.allclose(seen.er[0], alone.er[0], atol=1e-4)
    assert torch.allclose(seen.au_scores[0], alone.au_scores[0], atol=1e-4)
    assert seen.present.tolist() == [True, False]
    assert seen.er_probs[0].sum().item() == pytest.approx(1, abs=1e-4) and seen.er_probs[1].sum() == 0


@pytest.mark.slow
@pytest.mark.skipif(
    not ((SHIPPED / "experts").is_dir() and (SHARED / "ferplus").is_dir()), reason="no shipped experts, or no FER+"
)
def test_shipped_experts_read_real_photos() -> None:
    """Every fifth picture of FER+'s validation part with a majority: at least 82 % right, by all 11 labels."""
    experts = load_experts("experts")
    pictures, votes = read_ferplus(SHARED / "ferplus", 1)
    labels = mafw_places(majority(votes))
    rows = torch.nonzero(labels >= 0)[::5, 0]
    logits = emotion_logits(experts.er, CropView(96, grey=False), pictures.take(rows))
    assert (logits.argmax(1) == labels[rows]).float().mean() > 0.82
