"""The judge of actions: learned from stories, saved by name, strict when loaded."""

import json
from pathlib import Path

import pytest
import torch

from captioner.errors import CheckpointError
from captioner.faces.movement import MOTION_NAMES
from captioner.lexicon.actions import ACTIONS
from captioner.model.action_judge import ActionJudge, load_action_judge, save_action_judge
from captioner.train.experts.action_recipe import ActionRecipe, told_movements, train_action_judge


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
