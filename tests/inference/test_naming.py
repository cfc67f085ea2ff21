"""Woman, man or person: decided once a track, of its best crops, below 95 % certain nobody's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from captioner.data.face_readings import LOOKS, DenseReader, Examiner, chance_of_woman, goodness
from captioner.errors import CheckpointError
from captioner.faces import EXPRESSION_NAMES
from captioner.faces.crops import MARGIN
from captioner.faces.face_reading import CERTAIN
from captioner.faces.reader import Sighting
from captioner.model.appearance import Appearance, AppearanceNet, AppearanceSpec
from captioner.model.experts import load_experts
from tests.faces.mean_face import mean_face, placed
from tests.faces.test_face_reading import reading
from tests.helpers import ROOT

SPEC = AppearanceSpec("face_small", 96, MARGIN, training_data="nothing", licence="Apache-2.0")


class Light(nn.Module):
    """In place of the net: the brighter a crop, the higher the odds; counts what it is shown."""

    shown = 0

    def forward(self, images: Tensor) -> Tensor:
        """Log odds (B,)."""
        self.shown += len(images)
        return images.mean((1, 2, 3))


def add(seen: Sighting, yaw: float, side: float = 80.0, score: float = 0.9) -> int:
    """One more frame with the person, the head turned so many degrees; its place."""
    values = np.zeros(len(EXPRESSION_NAMES), np.float32)
    values[EXPRESSION_NAMES.index("yaw")] = yaw / 30
    seen.at.append(len(seen.at))
    seen.marks.append(placed(mean_face(), 100, 100, side).numpy())
    seen.scores.append(score)
    seen.values.append(values)
    return len(seen.at) - 1


def test_the_word_follows_the_chance_and_doubt_says_person() -> None:
    just, below = CERTAIN + 1e-6, CERTAIN - 1e-6
    said = {just: "woman", below: "person", 0.5: "person", 1 - below: "person", 1 - just: "man", None: "person"}
    assert {chance: replace(reading(), woman=chance).named for chance in said} == said
    assert reading().woman is None and "woman" not in reading().table()


def test_frontal_sure_and_large_is_better_and_too_little_is_nothing() -> None:
    seen = Sighting()
    frontal, turned, small, doubtful = add(seen, 0), add(seen, 25), add(seen, 0, 40), add(seen, 0, score=0.4)
    best = goodness(seen, frontal)
    assert 0 < goodness(seen, turned) < best and 0 < goodness(seen, small) < best
    assert 0 < goodness(seen, doubtful) < best
    assert goodness(seen, add(seen, -60)) == goodness(seen, add(seen, 0, 12)) == 0.0


@pytest.mark.slow
def test_a_person_is_decided_once_by_the_mean_of_their_best_crops() -> None:
    experts = load_experts("experts")
    net = Light()
    examiner = Examiner(experts, appearance=Appearance(net, SPEC))  # type: ignore[arg-type]
    one, other = Sighting(), Sighting()
    for light, yaw in [(20, 35)] * 20 + [(200, 0)] * 20:  # dark while turned, bright while frontal
        picture = np.full((200, 200, 3), light, np.uint8)
        examiner.add(one, add(one, yaw), picture)
    examiner.add(other, add(other, 70), np.full((200, 200, 3), 90, np.uint8))
    examiner.flush()
    assert len(one.looks) == LOOKS and net.shown <= 2 * LOOKS  # not every frame is looked at
    bright = (200 / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    assert [odds for _, odds in one.looks] == pytest.approx([float(bright.mean())] * LOOKS, rel=1e-3)
    assert chance_of_woman(one) == pytest.approx(1 / (1 + np.exp(-bright.mean())), rel=1e-3)
    assert chance_of_woman(other) is None and len(other.notes) == 1


def test_a_net_for_other_crops_is_refused() -> None:
    strange = Appearance(AppearanceNet("face_small"), replace(SPEC, size=64))
    with pytest.raises(CheckpointError, match=r"size 64, the experts of 96: train one anew with size=96"):
        Examiner(load_experts("experts"), appearance=strange)


def test_a_video_is_read_with_a_net_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = Appearance(AppearanceNet("face_small").eval(), SPEC)
    path = "captioner.data.face_readings.shipped_appearance"
    monkeypatch.setattr(path, lambda: net)
    (with_net,) = DenseReader().read(str(ROOT / "examples" / "smile.mp4"), end=0.5)
    monkeypatch.setattr(path, lambda: None)
    (without,) = DenseReader().read(str(ROOT / "examples" / "smile.mp4"), end=0.5)
    assert with_net.woman is not None and 0 < with_net.woman < 1
    assert without.woman is None and without.named == "person"
    np.testing.assert_array_equal(with_net.aus, without.aus)
