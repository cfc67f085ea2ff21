"""The judge of facial phrases: how many to name, columns by name, folders that say what they hold."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from captioner.errors import CheckpointError
from captioner.faces.shown import shown_names, still_numbers
from captioner.lexicon.phrases import PHRASES
from captioner.model.phrase_judge import (
    FADING,
    LEGIBLE,
    PhraseJudge,
    expected_best,
    load_phrase_judge,
    save_phrase_judge,
    values_in_order,
)


def test_as_many_phrases_are_named_as_make_the_expected_f1_largest() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        chances = sorted(rng.uniform(0, 1, 5).tolist(), reverse=True)

        def expected(named: int, chances: list[float] = chances) -> float:
            total = 0.0
            for truth in product((0, 1), repeat=5):
                weight = np.prod([p if t else 1 - p for p, t in zip(chances, truth, strict=True)])
                hits, size = sum(truth[:named]), named + sum(truth)
                total += weight * (2 * hits / size if size else 1.0)
            return total

        best = max(range(5), key=expected)
        assert expected(expected_best(chances)) == pytest.approx(expected(best))
    assert expected_best([]) == 0
    assert expected_best([0.05, 0.02]) == 0
    assert expected_best([0.99, 0.98, 0.02]) == 2


def test_a_folder_gives_the_same_judge_back_and_columns_go_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    judge = PhraseJudge(("AU4", "jawOpen"), ("frown", "open_mouth")).eval()
    torch.nn.init.normal_(judge.straight.weight)
    save_phrase_judge(judge, tmp_path, "# card\n")
    again = load_phrase_judge(tmp_path)
    shown = torch.rand(3, 6)
    assert torch.equal(again(shown), judge(shown))
    other = shown[:, values_in_order(again, ("AU4", "jawOpen"))]
    assert torch.equal(other, shown)
    places = values_in_order(again, ("jawOpen", "yaw", "AU4"))
    assert [shown_names(("jawOpen", "yaw", "AU4"))[place] for place in places] == list(shown_names(("AU4", "jawOpen")))
    with pytest.raises(CheckpointError, match="lacks jawOpen"):
        values_in_order(again, ("AU4",))


def test_small_faces_are_told_less_of() -> None:
    judge = PhraseJudge(("AU4",), ("frown",)).eval()
    heights = torch.tensor([0.9, LEGIBLE, LEGIBLE / 2])
    large, legible, small = judge(torch.zeros(3, 3), heights)[:, 0].tolist()
    assert large == legible
    assert legible - small == pytest.approx(FADING * 0.6931, abs=1e-3)


def test_folders_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a judge of phrases needs one"):
        load_phrase_judge(tmp_path)
    for config, fault in [
        ({"kind": "actions", "phrases": [], "values": []}, "judges actions"),
        ({"kind": "phrases", "phrases": ["sneer"], "values": []}, "judges sneer"),
        ({"kind": "phrases"}, "damaged or of another kind"),
    ]:
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match=fault):
            load_phrase_judge(tmp_path)


def test_the_judge_that_ships_sees_a_smile() -> None:
    judge = load_phrase_judge()
    assert set(judge.names) == set(PHRASES)
    quiet = judge.mean[None].clone()
    smiling = quiet.clone()
    for place, name in enumerate(shown_names(judge.values)):
        if name.startswith(("AU12 ", "mouthSmile", "feels happiness")):
            smiling[0, place] = 0.9
    place = judge.names.index("smile")
    assert judge(smiling)[0, place] > judge(quiet)[0, place] + 1


def test_a_still_shows_its_values_thrice() -> None:
    values = np.array([[0.1, 0.7]], np.float32)
    assert still_numbers(values).tolist() == [pytest.approx([0.1, 0.7] * 3)]
