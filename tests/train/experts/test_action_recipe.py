"""The judge of actions: learned from stories, saved by name, strict when loaded."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from captioner.data.manifest import Record, write_manifest
from captioner.errors import CheckpointError, ConfigError
from captioner.faces.movement import MOTION_NAMES
from captioner.lexicon.actions import ACTIONS
from captioner.model.action_judge import ActionJudge, load_action_judge, save_action_judge
from captioner.train.experts import action_recipe
from captioner.train.experts.action_recipe import ActionRecipe, read_movements, told_movements, train_action_judge
from tests.helpers import noise_video


@pytest.mark.slow
def test_stories_alone_teach_more_than_chance(tmp_path: Path) -> None:
    recipe = ActionRecipe(out=str(tmp_path / "judge"), work=str(tmp_path), clips="", stories=400, epochs=12)
    scores = train_action_judge(recipe)
    assert scores["precision"] > 0.5  # a tenth of all names would be right by chance
    loaded = load_action_judge(tmp_path / "judge")
    told = told_movements(40, seed=5)
    assert loaded(told.numbers).shape == (len(told.done), len(ACTIONS))
    assert "synthetic" in (tmp_path / "judge" / "CARD.md").read_text()


def test_the_same_seed_tells_the_same_stories() -> None:
    one, two = told_movements(5, seed=3), told_movements(5, seed=3)
    assert torch.equal(one.numbers, two.numbers)
    assert one.persons == two.persons


def test_columns_are_laid_by_name_and_strange_folders_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    judge = ActionJudge().eval()
    judge.mean.copy_(torch.randn(len(MOTION_NAMES)))
    save_action_judge(judge, tmp_path, "card")
    numbers = torch.randn(3, len(MOTION_NAMES))
    torch.testing.assert_close(load_action_judge(tmp_path)(numbers), judge(numbers))
    config = json.loads((tmp_path / "config.json").read_text())
    for changed, message in (
        ({"numbers": config["numbers"][1:]}, "judges other numbers"),
        ({"actions": [*config["actions"][1:], "juggles"]}, "no caption can name: juggles"),
        ({"actions": None}, "damaged or of another kind"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | changed))
        with pytest.raises(CheckpointError, match=message):
            load_action_judge(tmp_path)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_action_judge(tmp_path / "nowhere")


def test_the_shipped_judge_knows_left_from_right() -> None:
    judge = load_action_judge()
    assert set(judge.names) == set(ACTIONS)
    told = told_movements(200, seed=11)
    chance = judge(told.numbers).sigmoid()
    left, right = judge.names.index("turns_left"), judge.names.index("turns_right")
    turned = told.done[:, [left, right]].sum(1) == 1
    sides = chance[turned][:, [left, right]].argmax(1) == told.done[turned][:, [left, right]].argmax(1)
    assert sides.float().mean() > 0.9


class Reader:
    """Follows a face on the left and one on the right of every film; counts films."""

    read_films: list[str] = []  # noqa: RUF012

    def read(self, video: Path) -> Any:
        self.read_films.append(video.stem)
        times, there = np.arange(5) / 5, np.ones(5, bool)
        boxes = [np.array([[left, 20, left + 20, 40]] * 5, float) for left in (60, 10)]
        return FilmReadings(SimpleNamespace(times=times, success=there, boxes=each) for each in boxes)


class FilmReadings(list[Any]):
    size, fps, duration = (100, 80), 5.0, 1.0


def test_clips_are_read_once_and_tell_of_the_person_captioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers(main: Any, other: Any) -> np.ndarray:
        return np.array([main, other] + [0.0] * (len(MOTION_NAMES) - 2))

    monkeypatch.setattr(action_recipe, "DenseReader", Reader)
    monkeypatch.setattr(action_recipe, "movements_of", lambda person, *_: float(person.boxes[0, 0]))
    monkeypatch.setattr(action_recipe, "motion_numbers", numbers)
    Reader.read_films.clear()

    def clip(name: str, left: float | None, *actions: str) -> Record:
        boxes = [None if left is None else [left, 20, left + 20, 40]] * 5
        extra = {"actions": list(actions), "boxes": boxes}
        film = noise_video(tmp_path / f"{name}.mp4", 0)
        return Record(name, film, "train", ("A man nods.",), group=f"{name}_1", fps=5.0, extra=extra)

    records = [clip("left", 11, "nods"), clip("right", 60, "talks"), clip("elsewhere", 35), clip("unseen", None)]
    write_manifest(tmp_path / "manifest.jsonl", records)
    moved = read_movements(tmp_path, tmp_path / "work")
    assert moved.persons == ("left_1", "right_1")  # nobody is where the others should be
    assert moved.numbers[:, :2].tolist() == [[10, 60], [60, 10]]
    names = list(ACTIONS)
    assert moved.done[0].nonzero()[:, 0].tolist() == [names.index("nods")]
    again = read_movements(tmp_path, tmp_path / "work")
    assert torch.equal(again.numbers, moved.numbers) and Reader.read_films == ["left", "right", "elsewhere", "unseen"]
    write_manifest(tmp_path / "manifest.jsonl", [Record("x", records[0].video, "train", ("A man.",))])
    with pytest.raises(ConfigError, match="tells no actions: give clips of scripts/make_clips"):
        read_movements(tmp_path, tmp_path / "work")
