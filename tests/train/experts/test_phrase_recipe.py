"""Teaching the judges of phrases: weak labels, sources with their weights, habits, calibration, and the folder."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from captioner.data.manifest import Record
from captioner.lexicon.emotions import FERPLUS_LABELS
from captioner.lexicon.phrases import PHRASES
from captioner.model.phrase_judge import PhraseJudge, load_phrase_judge
from captioner.train.experts import phrase_recipe
from captioner.train.experts.phrase_card import PICTURE
from captioner.train.experts.phrase_recipe import (
    Faces,
    PhraseRecipe,
    calibration_error_of,
    fit_judge,
    main_person,
    ranked,
    read_stills,
    reliability,
    train_phrase_judge,
)
from captioner.train.experts.weak_phrases import CAPTIONED, MEASURED, SAID, add_landmarker, habits_of, labels_by_votes

VALUES = ("AU4", "AU12")  # of a toy reading; in each aspect
WIDTH = 3 * len(VALUES)
NAMES = list(PHRASES)
FROWN, SMILE, BROWS = (NAMES.index(name) for name in ("frown", "smile", "raised_brows"))


def faces(count: int, seed: int, **known: Tensor) -> Faces:
    """Random toy faces; known: labels by phrase, nothing is known of the others. Emotions follow the first number."""
    random = torch.Generator().manual_seed(seed)
    shown = torch.rand(count, WIDTH, generator=random)
    labels = torch.full((count, len(PHRASES)), torch.nan)
    for name, values in known.items():
        labels[:, NAMES.index(name)] = values
    emotions = torch.where(shown[:, 0] > 0.5, FERPLUS_LABELS.index("anger"), FERPLUS_LABELS.index("happiness"))
    return Faces(shown, labels, emotions)


def frowning(count: int, seed: int) -> Faces:
    """Who frowns shows it in the first number, and nobody who frowns smiles."""
    plain = faces(count, seed)
    there = (plain.shown[:, 0] > 0.5).float()
    return faces(count, seed, frown=there, smile=1 - there)


def test_votes_say_how_likely_a_phrase_is() -> None:
    shares = torch.eye(len(FERPLUS_LABELS))
    labels = labels_by_votes(torch.cat([shares, (shares[0] + shares[FERPLUS_LABELS.index("anger")])[None] / 2]))
    assert float(labels[FERPLUS_LABELS.index("anger"), FROWN]) == pytest.approx(0.95)
    assert float(labels[FERPLUS_LABELS.index("happiness"), FROWN]) == 0
    assert float(labels[-1, FROWN]) == pytest.approx((0.95 + 0.05) / 2)  # half neutral, half angry
    assert labels[:, NAMES.index("open_mouth")].isnan().all()  # votes say nothing of mouths


def test_a_landmarker_says_nothing_between_its_limits() -> None:
    name, least, most = MEASURED["open_mouth"]
    shapes = torch.tensor([[least / 2], [(least + most) / 2], [most * 2], [most * 2]])
    labels = torch.full((4, len(PHRASES)), 0.25)
    known = torch.tensor([True, True, True, False])
    add_landmarker(labels, shapes, [name], known, {"open_mouth": MEASURED["open_mouth"]})
    column = labels[:, NAMES.index("open_mouth")]
    assert column[0] == 0
    assert column[2] == 1
    assert column[[1, 3]].isnan().all()
    assert (labels[:, FROWN] == 0.25).all()


def test_with_habits_a_phrase_is_said_as_often_as_annotators_say_it() -> None:
    random = torch.Generator().manual_seed(0)
    emotions = torch.arange(7).repeat(300)
    logits = torch.randn(len(emotions), len(PHRASES), generator=random)
    said = (logits + habits_of(logits, emotions, NAMES) > 0)[:, FROWN]
    weights = torch.tensor([float(CAPTIONED.get(FERPLUS_LABELS[e], 0)) for e in emotions.tolist()])
    assert float((said * weights).sum() / weights.sum()) == pytest.approx(SAID["frown"], abs=0.01)


def test_each_source_teaches_what_it_knows_by_its_weight() -> None:
    torch.manual_seed(0)
    clips = frowning(300, 1)
    none = Faces(clips.shown[:0], clips.labels[:0], clips.emotions[:0])
    held = (clips.shown[:, 1] > 0.5).float()
    voted = faces(300, 1, raised_brows=torch.zeros(300))
    marked = faces(300, 1, raised_brows=held)  # the same faces, which a landmarker sees otherwise
    said = {}
    for share in (0.0, 1.0):
        judge = PhraseJudge(VALUES)
        judge.mean.copy_(clips.shown.mean(0))
        judge.std.copy_(clips.shown.std(0))
        recipe = PhraseRecipe(epochs=12, lr=1e-2, noise=0.1, portrait_brows=share)
        fit_judge(judge, clips, voted, marked if share else none, recipe)
        with torch.inference_mode():
            said[share] = judge(clips.shown)
    there = clips.labels[:, FROWN] > 0.5
    for logits in said.values():
        assert ranked(logits[there, FROWN], logits[~there, FROWN]) > 0.95
    assert float(said[0.0][:, BROWS].sigmoid().max()) < 0.2
    assert float(said[1.0][:, BROWS][held > 0.5].sigmoid().mean()) > 0.4


def test_a_judge_that_is_as_sure_as_right_has_no_error() -> None:
    chances = torch.tensor([0.25, 0.25, 0.25, 0.25, 0.75, 0.75, 0.05])
    truth = torch.tensor([0.0, 0, 0, 1, 1, 0.5, torch.nan])
    assert reliability(chances, truth) == [(0.25, 0.25, 4), (0.75, 0.75, 2)]
    assert calibration_error_of(chances, truth) == 0
    assert calibration_error_of(chances, 1 - truth) == pytest.approx((4 * 0.5 + 2 * 0.5) / 6)


def test_the_main_person_is_the_one_who_stands_where_the_captions_look() -> None:
    record = Record("a", Path("a.mp4"), "train", extra={"boxes": [None, [20, 20, 40, 40]], "size": [100, 100]})
    assert main_person(record, torch.tensor([[0.8, 0.3], [0.32, 0.31]])) == 1
    assert main_person(record, torch.tensor([[0.8, 0.3]])) is None
    assert main_person(record, torch.zeros(0, 2)) is None


def test_stills_are_read_once(tmp_path: Path) -> None:
    class Reader:
        values = VALUES
        calls = 0

        def read(self, frames: np.ndarray) -> object:
            self.calls += 1
            found = int(frames.max() > 0)  # nobody is found in a black picture
            return type("Found", (), {"__len__": lambda _: found, "shown": torch.ones(found, WIDTH)})()

    reader, rows = Reader(), [4, 7, 9]
    pictures = [np.full((8, 8, 3), value, np.uint8) for value in (9, 0, 9)]
    for _ in range(2):
        shown, found = read_stills(iter(pictures), rows, reader, tmp_path / "kept.safetensors")  # type: ignore[arg-type]
        assert found == [4, 9]
        assert shown.shape == (2, WIDTH)
    assert reader.calls == 3
    read_stills(iter(pictures[:1]), [4], reader, tmp_path / "kept.safetensors")  # type: ignore[arg-type]
    assert reader.calls == 4  # other rows are asked for


def test_the_recipe_makes_a_folder_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phrase_recipe, "NumbersReader", lambda config: SimpleNamespace(values=VALUES))
    for place, name in enumerate(("read_clips", "read_voted", "read_faces_of")):
        monkeypatch.setattr(phrase_recipe, name, lambda *_, seed=place: frowning(120, seed))
    scores = train_phrase_judge(PhraseRecipe(out=str(tmp_path / "judge"), epochs=4, lr=1e-2))
    assert scores["frown AUC"] > 0.9
    assert load_phrase_judge(tmp_path / "judge").values == VALUES
    card = (tmp_path / "judge" / "CARD.md").read_text()
    assert f"| frown | {scores['frown AUC']:.3f} |" in card
    pytest.importorskip("matplotlib", reason="the picture is drawn where the extra `eval` is installed")
    assert PICTURE in card
    assert (tmp_path / "judge" / PICTURE).stat().st_size > 1000


def test_a_folder_of_that_name_where_one_works_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "phrases").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_phrase_judge().names == tuple(PHRASES)
