"""Evidence: attention is what the fusion used, phrases go to the units that act, no caption changes."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import captioner
from captioner.config import VideoConfig
from captioner.faces import EXPRESSION_NAMES, FaceTrack
from captioner.faces.crops import expert_crops
from captioner.inference.captions import WrittenBatch
from captioner.inference.evidence import expert_places, gather, link_phrases, prompt_names, token_grid
from captioner.inference.links import EXPERT, READER, WORDS, expert_curves, link_phrase, reader_curves, units_of
from captioner.inference.predictor import Captioner
from captioner.inference.results import AUCurve, Caption, Evidence
from captioner.lexicon.phrases import PHRASES, find_phrases
from captioner.lexicon.units import UNIT_NAMES
from captioner.model import attention
from captioner.model.captioner import EmotionCaptioner
from captioner.model.decoding import Special, Written
from captioner.model.fusion import FusionLayer
from captioner.model.tokenizer import TextPieces, Tokenizer
from captioner.video.reading import Clip
from prompts.action_units import MAIN_AUS
from tests.helpers import ROOT, tiny_batch, tiny_config, tiny_model

IDS = [1, 7, 9, 11, 8, 2]
SPECIAL = Special(cls=2, sep=3, mask=4, pad=0)


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The weights (H, N, keys) of every attention that is computed while a test runs."""
    seen: list[torch.Tensor] = []
    real = FusionLayer.finish

    def finish(self: FusionLayer, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:  # fmt: skip # noqa: E501
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        seen.append(scores.softmax(-1)[0])
        return real(self, x, q, k, v, mask)

    monkeypatch.setattr(FusionLayer, "finish", finish)
    return seen


@torch.inference_mode()
def test_word_attention_is_the_one_that_wrote_them(spied: list[torch.Tensor]) -> None:
    model = tiny_model()
    memory = model.see(tiny_batch(model.config, clips=2)).memory
    row = 1
    found = attention.of_words(model.fusion, IDS, 4, memory, row)
    layers, right = model.config.fusion.layers, memory.states.shape[1]
    assert found.text.shape == (layers, len(IDS) - 1, len(IDS))
    assert found.right.shape == (layers, len(IDS) - 1, right)
    torch.testing.assert_close(found.text.sum(-1) + found.right.sum(-1), torch.ones(layers, len(IDS) - 1))

    alone = type(memory)([k[1:] for k in memory.keys], [v[1:] for v in memory.values], memory.states[1:])
    cache = model.fusion.start(alone, len(IDS))
    for place, token in enumerate(IDS[:-1]):
        spied.clear()
        model.fusion.step(torch.tensor([token]), 4, cache)
        for layer, weights in enumerate(spied):
            used = weights.mean(0)[1]  # the [MASK]: right block, words so far, itself
            torch.testing.assert_close(found.right[layer, place], used[:right])
            torch.testing.assert_close(found.text[layer, place, : place + 1], used[right:-1])
            torch.testing.assert_close(found.text[layer, place, -1], used[-1])
            assert found.text[layer, place, place + 1 : -1].sum() == 0  # words to come


@pytest.mark.parametrize("mask", [(), ("fusion.video_mask=true", "fusion.video_tokens=8")])
@torch.inference_mode()
def test_prompt_attention_is_the_one_of_the_right_block(mask: tuple[str, ...], spied: list[torch.Tensor]) -> None:
    model = tiny_model(*mask)
    memory = model.see(tiny_batch(model.config, clips=1)).memory
    used = torch.stack([weights.mean(0)[:5] for weights in spied])
    found = attention.of_prompts(model.fusion, memory, 5)
    torch.testing.assert_close(found, used)
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:2]))
    with pytest.raises(ValueError, match=r"Fusion\.remember"):
        attention.of_prompts(model.fusion, memory.repeat(2), 5)


# What examples/README.md says that the faces do; talking opens the mouth.
COMMANDED = {
    "smile": {6, 12, 25}, "surprise": {1, 2, 5, 25, 26}, "frown": {4, 7, 15}, "sad": {1, 4, 15, 43},
    "talk": {1, 2, 6, 12, 25, 26},
}  # fmt: skip


def curve(au: int, *values: float) -> AUCurve:
    return AUCurve(au, UNIT_NAMES[au], EXPERT, tuple(i / 4 for i in range(len(values))), values)


def linked(text: str, curves: dict[int, AUCurve], similarity: dict[int, float] | None = None) -> list[tuple[int, bool]]:
    links = [link_phrase(found, text, curves, similarity or {}) for found in find_phrases(text)]
    assert all(text[each.start : each.end] == each.text for each in links)
    return [(each.au, each.seen) for each in links]


def test_a_phrase_is_linked_to_the_unit_that_stands_out() -> None:
    text = "A man nods. The open mouth and the raised eyebrows."
    curves = {25: curve(25, 0.2, 0.4), 26: curve(26, 0.1, 0.9)}
    assert linked(text, curves) == [(26, True), (1, False)]
    assert linked(text, curves, {25: 0.9, 26: 0.0}) == [(25, False), (1, False)]  # the matching outweighs it
    assert linked("He frowns.", curves) == [(4, False)]  # the lexicon alone, confirmed by nobody


def test_a_link_says_when_and_by_whom() -> None:
    text = "The smile."
    found = find_phrases(text)[0]
    best = link_phrase(found, text, {12: curve(12, 0.1, 0.9, 0.89, 0.9, 0.2)}, {12: 0.4})
    assert (best.second, best.score, best.source, best.similarity) == (0.5, 0.9, EXPERT, 0.4)  # midst of the plateau
    unknown = link_phrase(found, text, {}, {})
    assert (unknown.second, unknown.score, unknown.source, unknown.seen) == (None, None, WORDS, False)


def test_every_phrase_has_units_and_only_its_own() -> None:
    for name, phrase in PHRASES.items():
        assert units_of(name) == (phrase.aus or (43,))


def track(frames: int = 4, missing: tuple[int, ...] = (), size: int = 64) -> FaceTrack:
    """A face in the middle of the picture whose eyes close more and more."""
    turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.stack([np.cos(turn), np.sin(turn)], -1) * size / 6 + size / 2
    points[36:42], points[42:48], points[48:] = (
        (size * 0.4, size * 0.4),
        (size * 0.6, size * 0.4),
        (size / 2, size * 0.6),
    )
    landmarks = np.repeat(points[None].astype(np.float32), frames, 0)
    present = np.array([i not in missing for i in range(frames)])
    expression = np.zeros((frames, len(EXPRESSION_NAMES)), np.float32)
    expression[:, EXPRESSION_NAMES.index("eyeBlink")] = np.linspace(0, 1, frames)
    boxes = np.concatenate([landmarks.min(1), landmarks.max(1)], 1)
    return FaceTrack(boxes, landmarks, present, present.astype(np.float32), expression)


def test_the_face_reader_stands_in_for_units_that_no_expert_knows() -> None:
    curves = reader_curves(track(missing=(3,)), [0.0, 0.5, 1.0, 1.5])
    closed = curves[43]
    assert closed.seconds == (0.0, 0.5, 1.0)
    assert closed.values == pytest.approx((0, 1 / 3, 2 / 3))
    assert closed.source == READER
    assert reader_curves(None, [0.0]) == {}
    usable = np.ones(27, bool)
    usable[1] = False
    known = expert_curves(np.full((2, 27), 0.5, np.float32), [0, 1], usable)
    assert set(known) == set(MAIN_AUS) - {2}
    assert expert_curves(np.zeros((0, 27), np.float32), [], usable) == {}


def test_the_peak_is_the_midst_of_the_highest_values() -> None:
    assert curve(12, 0.0, 0.9, 0.9, 0.9, 0.1).peak == 0.5
    assert curve(12, 0.3).peak == 0.0


def test_strength_is_that_of_the_best_quarter() -> None:
    assert curve(12, 0.0, 0.0, 0.8, 0.0).strength == pytest.approx(0.8)
    assert curve(12, *[0.0] * 7, 1.0).strength == pytest.approx(0.5)  # one frame of eight: a blink
    assert curve(12, 0.4).strength == pytest.approx(0.4)


def test_grids_of_video_tokens() -> None:
    swin = VideoConfig(arch="swin3d_small_cpu", frames=8, size=96)
    assert token_grid(swin, 36, (360, 640)) == ((4, 3, 3), True)
    assert token_grid(swin, 4 * 3 * 6, (360, 640)) == ((4, 3, 6), False)
    assert token_grid(swin, 35, (360, 640)) == (None, False)
    assert token_grid(VideoConfig(arch="clip", frames=8), 8, (224, 224)) == ((8, 1, 1), True)


def test_experts_read_the_frames_that_evidence_names() -> None:
    config = tiny_config("experts.frames=3").experts
    frames = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 48, 48, 3), np.uint8)
    crops = expert_crops(Clip(frames, np.arange(8) / 8, "x", 8, 1), config).pixels
    assert crops is not None
    assert crops[0, :, 0, 0, 0].tolist() == expert_places(8, 3)


def seen(tracks: list[FaceTrack], person: int = 0, *overrides: str) -> tuple[EmotionCaptioner, Evidence, Caption]:
    """Evidence of a random model for a caption that we chose, and the caption with its links."""
    text = "A man nods. The frown, the closed eyes and the open mouth."
    tokenizer = Tokenizer.build([text])
    model = tiny_model(*overrides, f"vocab_size={tokenizer.vocab_size}")
    pieces = TextPieces(tokenizer, None, model.config.fusion.max_text)
    ids = tokenizer.encode(text, 20)
    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3), np.uint8)
    clip = Clip(frames, np.arange(4) / 4, "x.mp4", 4, 1)
    with torch.inference_mode():
        encoded = model.see(tiny_batch(model.config, clips=2))
    written, captions = Written(ids, [-1.0] * len(ids)), [Caption(text, 0.5, [], {}, [], 1, 0.0, 1.0) for _ in "ab"]
    batch = WrittenBatch(model, tokenizer, pieces, encoded, [written, written], captions)
    captions[1].phrases = link_phrases(batch, 1, clip.times.tolist(), tracks[person] if person >= 0 else None)
    return model, gather(batch, 1, clip, tracks, person), captions[1]


def test_evidence_is_complete() -> None:
    model, found, caption = seen([track(), track(missing=(0, 1))])
    assert [each.phrase for each in caption.phrases] == ["frown", "closed_eyes", "open_mouth"]
    assert caption.phrases[1].au == 43
    assert caption.phrases[1].second == 0.75
    assert set(found.portraits) == {each.au for each in caption.phrases}
    face = found.portraits[43]
    assert len(face.landmarks) == 68
    assert Image.open(io.BytesIO(face.jpeg)).size == (192, 192)
    assert [p.second for p in found.frames] == found.seconds == [0, 0.25, 0.5, 0.75]
    assert Image.open(io.BytesIO(found.frames[0].jpeg)).size == (96, 64)
    assert [person.captioned for person in found.people] == [True, False]
    assert [box is None for box in found.people[1].boxes] == [True, True, False, False]
    labels = model.config.labels
    assert [list(each.probs) for each in found.emotions] == [labels, model.config.experts.er_labels]
    assert all(sum(each.probs.values()) == pytest.approx(1, abs=2e-3) for each in found.emotions)
    assert set(MAIN_AUS) | {43} == {each.au for each in found.curves}
    linked = [each.au for each in caption.phrases]
    assert {each.au for each in found.curves[: len(linked)]} == set(linked)  # what the caption names comes first
    assert [each.text for each in caption.phrases if each.au == 43] == ["closed eyes"]
    assert all(len(each.values) == len(each.seconds) for each in found.curves)
    assert len(set(found.kept)) == model.config.prompts.k
    assert set(found.kept) <= {each.au for each in found.curves}
    assert "".join(each.name for each in found.words) == "".join(caption.text.lower().split())
    for each in [*found.words, *found.prompts]:
        assert each.words + sum(each.prompts.values()) + each.video == pytest.approx(1, abs=1e-3)
        assert each.map is not None
        assert each.map.shape == (2, 2, 2)
        assert float(each.map.sum()) == pytest.approx(each.video, abs=1e-3)
    assert list(found.words[0].prompts) == [each.name for each in found.prompts]
    assert json.loads(json.dumps(found.to_dict()))["attention"][0]["word"] == "a"
    assert json.loads(json.dumps(caption.to_dict()))["phrases"][0]["text"] == "frown"


def test_the_only_face_is_shown_though_nothing_was_read_from_it() -> None:
    _, found, caption = seen([track()], -1)
    assert set(found.portraits) == {each.au for each in caption.phrases}
    assert [person.captioned for person in found.people] == [False]
    assert caption.phrases[1].source == WORDS
    assert seen([track(), track()], -1)[1].portraits == {}


def test_evidence_without_a_face_and_without_prompts() -> None:
    _, nobody, caption = seen([], -1)
    assert nobody.portraits == {}
    assert nobody.people == []
    assert [each.source for each in caption.phrases] == [EXPERT, WORDS, EXPERT]
    off = ("prompts.vep=false", "prompts.tep=false", "prompts.er_sentence=off", "prompts.au_word=off")
    model, bare, _ = seen([], -1, *off)
    assert prompt_names(model, []) == []
    assert bare.prompts == bare.curves == bare.kept == bare.emotions == []
    assert all(each.words + each.video == pytest.approx(1, abs=1e-3) for each in bare.words)


@pytest.fixture(scope="module")
def shipped() -> Captioner:
    return captioner.load(device="cpu")


@pytest.mark.slow
def test_the_example_rests_on_its_smile(shipped: Captioner) -> None:
    caption = shipped.caption(ROOT / "examples" / "smile.mp4", evidence=True)
    assert caption.evidence is not None
    assert ("smile", 12, True) in [(each.phrase, each.au, each.seen) for each in caption.phrases], caption.text


@pytest.mark.slow
def test_links_of_the_examples(shipped: Captioner) -> None:
    """The action unit linked to a facial phrase is one that was commanded, but for one phrase of all at most."""
    right = total = 0
    for name, units in COMMANDED.items():
        links = shipped.caption(ROOT / "examples" / f"{name}.mp4", evidence=True).phrases
        total += len(links)
        right += sum(each.au in units for each in links)
    assert total >= 5
    assert right >= total - 1
