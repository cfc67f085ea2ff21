"""The contract of recognisers: evidence as wanted, beliefs of two kinds, folders that name their kind."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from captioner.emotion import folder
from captioner.emotion.belief import EmotionBelief
from captioner.emotion.contract import Evidence, SoundWants, Wants, believe, collate_evidence
from captioner.emotion.looking import Span, gather_evidence, look
from captioner.emotion.persons import body_boxes, body_masks, square_mask
from captioner.emotion.registry import KINDS, kind_of
from captioner.errors import CheckpointError, ConfigError
from captioner.faces import EXPRESSION_NAMES
from captioner.faces.reader import make_track
from captioner.files import list_recognisers
from captioner.video.reading import Clip
from tests.emotion.test_pe_clip import LABELS, model_of

FRAMES = np.random.default_rng(0).integers(0, 255, (12, 40, 60, 3)).astype(np.uint8)


def test_nothing_is_looked_at_that_is_not_wanted() -> None:
    silent = look("no/such/video.mp4", Wants(words=True), 1.0, 2.0)
    assert silent.frames is None and silent.persons is None and (silent.start, silent.end) == (1.0, 2.0)
    plain = look(FRAMES, Wants(segments=4, size=32), fps=4)
    assert plain.frames is not None and plain.frames.shape == (4, 3, 32, 32) and plain.persons is None
    assert plain.times is not None and plain.times.tolist() == [0.25, 1.0, 1.75, 2.5] and plain.end == 3.0
    edges = look(FRAMES, Wants(segments=2, frames=2, size=32, edges=True), fps=4)
    assert edges.times is not None and edges.times.tolist() == [0.0, 0.75, 1.75, 2.75]


def test_evidence_is_known_by_its_content() -> None:
    one, other = Evidence(0, 1, torch.zeros(2, 3, 4, 4)), Evidence(0, 1, torch.ones(2, 3, 4, 4))
    assert one.key() != other.key() and one.key() == Evidence(3, 4, torch.zeros(2, 3, 4, 4)).key()
    assert one.key() != Evidence(0, 1, torch.zeros(2, 3, 4, 4), words="no").key()


def test_faces_are_grown_to_bodies_and_cut_as_the_pictures_are() -> None:
    assert body_boxes(np.array([[10.0, 20.0, 14.0, 26.0]])).tolist() == [[6.0, 17.0, 18.0, 59.0]]
    # 40 x 60 pixels, the centre 40 x 40 kept and halved: 10 columns are lost on the left
    mask = square_mask(np.array([[10.0, 0.0, 20.0, 10.0]]), 40, 60, 20)
    assert mask.nonzero().amax(0).tolist() == [4, 4] and int(mask.sum()) == 25
    assert square_mask(np.array([[-9.0, -9.0, 99.0, 99.0]]), 40, 60, 20).all()
    assert not square_mask(np.zeros((0, 4)), 40, 60, 20).any()
    points = [np.full((68, 2), 30.0) + np.random.default_rng(1).normal(0, 2, (68, 2))] * 2
    track = make_track(3, (40, 60), [0, 2], points, [1.0] * 2, [np.zeros(len(EXPRESSION_NAMES), np.float32)] * 2)
    track.present[:] = [True, False, True]
    masks = body_masks([track], (3, 40, 60), 20)
    assert masks[0].any() and not masks[1].any() and masks[2].any()


def test_of_one_person_or_of_all() -> None:
    values = [np.zeros(len(EXPRESSION_NAMES), np.float32)]
    left, right = (np.random.default_rng(2).normal((x, 15), 1, (68, 2)) for x in (15.0, 45.0))
    tracks = [make_track(1, (40, 60), [0], [points], [1.0], values) for points in (left, right)]
    clip = Clip(FRAMES[:1], np.zeros(1), "frames", 4.0, 0.25)
    wants = Wants(segments=1, size=40, persons="faces")
    union, first, second = (
        gather_evidence(clip, wants, tracks, Span(FRAMES), person).persons for person in (None, 0, 1)
    )
    assert union is not None and first is not None and second is not None
    assert torch.equal(union, first | second) and first.any() and second.any() and not torch.equal(first, second)


def test_what_was_heard_and_read_is_told() -> None:
    model = model_of()
    parts = [Evidence(0, 1, torch.zeros(6, 3, 32, 32, dtype=torch.uint8), words="yes") for _ in range(2)]
    belief = believe(model, parts)
    assert belief.heard is not None and belief.read is not None
    assert not belief.heard.any() and not belief.read.any()  # PE-CLIP neither listens nor reads
    assert collate_evidence(parts).words == ("yes", "yes") and Wants(sound=SoundWants()).sound is not None


def test_several_emotions_at_once_are_no_prior() -> None:
    both = EmotionBelief(("joy", "anger"), torch.tensor([[0.9, 0.8]]), torch.zeros(1, 2), "several")
    with pytest.raises(ConfigError, match=r"judges each of \[joy, anger\] for itself .* train it with single labels"):
        both.single()
    assert both.sorted_labels() == [("joy", pytest.approx(0.9)), ("anger", pytest.approx(0.8))]


def test_every_kind_can_be_asked_for() -> None:
    for name in KINDS:
        assert kind_of(name).name == kind_of(name.replace("_", "-")).name == name
    assert kind_of(None).name == "pe_clip"
    with pytest.raises(ConfigError, match=r"unknown kind 'pe_clap'.*did you mean"):
        kind_of("pe_clap")


def test_folders_tell_their_kind_and_older_ones_are_pe_clip(tmp_path: Path) -> None:
    folder.save_recogniser(tmp_path / "new", model_of())
    about = tmp_path / "new" / "config.json"
    assert json.loads(about.read_text())["kind"] == "pe_clip"
    tree = json.loads(about.read_text())
    del tree["kind"]
    about.write_text(json.dumps(tree))
    assert folder.load_recogniser(tmp_path / "new").labels == tuple(LABELS)
    about.write_text(json.dumps({**tree, "kind": "guesser"}))
    with pytest.raises(CheckpointError, match=r"not a recogniser's config\.json: a kind \(pe_clip"):
        folder.load_recogniser(tmp_path / "new")
    assert list_recognisers()["pe-clip"] == "pe_clip"
