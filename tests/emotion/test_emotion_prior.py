"""A trained PE-CLIP as the captioner's prior: opened once, cached, matched by name, mixed by one rule."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from captioner.config import ModelConfig, TrainConfig
from captioner.config_io import build_config, to_dict
from captioner.data import inputs
from captioner.data.dataset import ClipDataset, Place
from captioner.data.feature_store import FeatureStore
from captioner.data.manifest import Record
from captioner.emotion import folder, prior
from captioner.emotion.emotion_clip.emotion_clip import with_probe
from captioner.emotion.pe_clip.frame_features import read_frames
from captioner.emotion.pe_clip.pe_clip import PEClip
from captioner.errors import CheckpointError, ConfigError
from captioner.faces import EXPRESSION_NAMES, FaceReader, FaceTrack, crops
from captioner.faces.reader import make_track
from captioner.inference.predictor import Captioner
from captioner.model.batch import collate, features_of_faces
from captioner.model.captioner import EmotionCaptioner
from captioner.model.checkpoint import Checkpoint
from captioner.model.tokenizer import TextPieces, Tokenizer
from captioner.train.checkpoints import changed_settings
from captioner.video import reading
from captioner.video.reading import read_clip, write_video
from tests.emotion.test_emotion_clip import emotion_clip
from tests.emotion.test_pe_clip import LABELS, model_of
from tests.helpers import tiny_batch, tiny_config


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random recogniser with its gates ajar."""
    path = tmp_path_factory.mktemp("prior") / "pe"
    model = model_of()
    for layer in model.decoder.layers:
        layer.gate.data.fill_(0.5)
    folder.save_recogniser(path, model)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 255, (12, 72, 80, 3)).astype(np.uint8), 5)
    return path


@pytest.fixture(scope="module")
def face_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but it looks at the dominant face."""
    path = tmp_path_factory.mktemp("prior") / "pe-face"
    model = model_of("crop=face")
    for layer in model.decoder.layers:
        layer.gate.data.fill_(0.5)
    folder.save_recogniser(path, model)
    return path


@pytest.fixture(scope="module")
def probed_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random EmotionCLIP that is told where persons are, with a probe of the same labels."""
    path = tmp_path_factory.mktemp("prior") / "words"
    draw = torch.Generator().manual_seed(2)
    model = with_probe(emotion_clip(), LABELS, 9 * torch.randn(4, 16, generator=draw), torch.zeros(4), "single")
    folder.save_recogniser(path, model)
    return path


def config_of(source: Path, *more: str, labels: list[str] = LABELS) -> ModelConfig:
    given = ["emotion_prior=pe_clip", f"emotion_prior_source={source}", f"labels={json.dumps(labels)}"]
    return tiny_config(*given, *more)


class TwoFaces(FaceReader):
    """Follows a face on the left and a smaller one on the right; notes how many pictures it was given."""

    given: ClassVar[list[int]] = []

    def _read(self, clip: np.ndarray, times: np.ndarray | None) -> list[FaceTrack]:
        self.given.append(len(clip))
        seen, values = list(range(len(clip))), [np.zeros(len(EXPRESSION_NAMES), np.float32)] * len(clip)
        tracks = []
        for left, size in ((0.05, 0.4), (0.6, 0.3)):
            points = np.random.default_rng(0).uniform(0, 1, (68, 2)).astype(np.float32)
            points[36:42], points[42:48], points[48:] = (0.3, 0.3), (0.7, 0.3), (0.5, 0.7)
            marks = (points * size + (left, 0.3)) * clip.shape[2]
            tracks.append(make_track(len(clip), clip.shape[1:3], seen, [marks] * len(clip), [1.0] * len(clip), values))
        return tracks


@pytest.fixture
def two_faces(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[TwoFaces]]:
    """Every picture shows two people."""
    monkeypatch.setattr(crops, "open_reader", lambda name: TwoFaces())
    monkeypatch.setattr(TwoFaces, "given", [])
    crops.shared_reader.cache_clear()
    yield TwoFaces
    crops.shared_reader.cache_clear()


def belief_of(given: Any, config: ModelConfig, **how: Any) -> Any:
    """What a clip's inputs hold of the prior's belief."""
    return inputs.read_inputs(given, config, **how).inputs[0].prior


def test_belief_is_the_recognisers_in_the_captioners_order(source: Path, video: Path) -> None:
    model = folder.load_recogniser(source)
    wanted = model.predict(model.look(read_frames(video, 32, 6)[None])).probs
    torch.testing.assert_close(belief_of(video, config_of(source)), wanted)
    turned = belief_of(video, config_of(source, labels=LABELS[::-1]))
    torch.testing.assert_close(turned, wanted.flip(1))
    with video.open("rb") as file:
        torch.testing.assert_close(belief_of(file, config_of(source)), wanted)
    part = belief_of(video, config_of(source), start=0.0, end=0.5)
    assert part is not None and not torch.allclose(part, wanted)
    assert belief_of(video, tiny_config()) is None
    opened = prior.open_prior(config_of(source))
    assert opened is not None
    torch.testing.assert_close(opened.read(video).probs, wanted)


@pytest.mark.parametrize("span", [{}, {"start": 0.4, "end": 1.6}])
def test_frames_in_memory_are_believed_as_the_file_is(source: Path, video: Path, span: dict[str, float]) -> None:
    config = config_of(source)
    frames = read_clip(video, 12).frames
    torch.testing.assert_close(
        belief_of(frames, config, fps=5, **span), belief_of(video, config, **span), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("crop", ["frame", "face", "persons"])
def test_a_clip_is_believed_alike_alone_in_a_batch_and_as_a_window(
    source: Path,
    face_source: Path,
    probed_source: Path,
    tmp_path: Path,
    tokenizer: Tokenizer,
    crop: str,
    two_faces: type[TwoFaces],
) -> None:
    video = tmp_path / "clip.mp4"  # windows look eight times a second: they see each of its pictures
    write_video(video, np.random.default_rng(0).integers(0, 255, (12, 72, 80, 3)).astype(np.uint8), 4)
    chosen = {"frame": source, "face": face_source, "persons": probed_source}[crop]
    kind = "emotion_prior=emotion_clip" if crop == "persons" else "emotion_prior=pe_clip"
    config = config_of(chosen, "experts.margin=0.2", kind)
    windows = list(inputs.read_windows(video, config, 1.5))
    assert [(w.start, w.end) for w in windows] == [(0.0, 1.5), (1.5, 3.0)]
    for window in windows:
        alone = inputs.read_inputs(video, config, start=window.start, end=window.end)
        shown = inputs.read_inputs(video, config, start=window.start, end=window.end, keep=True)
        for other in (alone, shown):
            torch.testing.assert_close(other.inputs[0].prior, window.inputs[0].prior, atol=1e-6, rtol=0)
            torch.testing.assert_close(other.inputs[0].faces.pixels, window.inputs[0].faces.pixels)
    both = [belief_of(video, config), belief_of(read_clip(video, 12).frames, config, fps=4)]
    config = replace(config, vocab_size=tokenizer.vocab_size)
    torch.manual_seed(0)
    model = Captioner(Checkpoint(EmotionCaptioner(config).eval(), tokenizer, None, {}, "tiny"))
    said = [captions[0].emotion for captions in model.each([video, video], max_words=4)]
    assert list(model.caption(video, max_words=4).emotion.values()) == pytest.approx(list(said[1].values()))
    torch.testing.assert_close(both[0], both[1], atol=0.02, rtol=0)


def test_a_prior_of_faces_is_fed_from_one_decoding_and_one_reading(
    face_source: Path, video: Path, two_faces: type[TwoFaces], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    open_video = reading.open_video
    monkeypatch.setattr(reading, "open_video", lambda given: opened.append(given) or open_video(given))
    plain, config = tiny_config("experts.margin=0.2"), config_of(face_source, "experts.margin=0.2")
    inputs.read_inputs(video, plain)
    once = len(opened)
    pair = inputs.read_inputs(video, config, people=2)
    assert len(opened) == 2 * once
    assert two_faces.given == [4, 7]  # 4 sampled pictures, and 6 of the prior, three of them the same
    first, second = (each.prior for each in pair.inputs)
    assert first is not None and second is not None and not torch.allclose(first, second)  # of each person its own
    torch.testing.assert_close(belief_of(video, config), first)


@pytest.mark.parametrize("crop", ["frame", "face"])
def test_a_store_keeps_the_belief_that_a_caption_tells(
    source: Path, face_source: Path, video: Path, tmp_path: Path, crop: str, two_faces: type[TwoFaces]
) -> None:
    config = config_of(face_source if crop == "face" else source, "experts.margin=0.2")
    model = EmotionCaptioner(config).eval()
    store = FeatureStore(tmp_path, config, model.experts, 72)
    kept, alone = store.load(video), inputs.read_inputs(video, config).inputs[0]
    torch.testing.assert_close(kept.prior, alone.prior)
    torch.testing.assert_close(kept.experts.au_nodes, features_of_faces(model.experts, alone.faces).au_nodes)
    other = FeatureStore(tmp_path, replace(config, labels=LABELS[::-1]), model.experts, 72)
    assert other.missing(video) == ["belief"]
    torch.testing.assert_close(other.load(video).prior, kept.prior.flip(1))
    unlike = FeatureStore(tmp_path, replace(config, emotion_prior=None), model.experts, 72)
    # for a prior of faces people are followed in other pictures too
    assert unlike.missing(video) == (["faces", "experts"] if crop == "face" else [])


def test_other_labels_are_refused_with_both_lists(source: Path, video: Path) -> None:
    wanted = r"pe: the emotion prior knows \[anger, joy, fear, deep sadness\], the captioner needs \[joy, trust\]"
    with pytest.raises(ConfigError, match=wanted):
        belief_of(video, config_of(source, labels=["joy", "trust"]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("emotion_prior_source=", "emotion_prior_source is missing"),
        ("prompts.tep=false", r"emotion_prior feeds the \[CLASS-k\] token: it needs prompts\.tep"),
        ("emotion_prior_weight=2", "emotion_prior_weight is 2.0: a share between 0 and 1"),
    ],
)
def test_bad_settings_are_named(source: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(source, override)


def test_kinds_are_checked(source: Path, video: Path) -> None:
    with pytest.raises(ConfigError, match="unknown emotion_prior 'clip'"):
        belief_of(video, config_of(source, "emotion_prior=clip"))


def test_other_names_meet_by_a_table(source: Path, video: Path) -> None:
    wanted = ["happiness", "sadness", "anger", "fear", "trust"]
    names = "emotion_prior_labels_as={joy: happiness, deep sadness: sadness}"
    own = belief_of(video, config_of(source))[0]
    given = belief_of(video, config_of(source, names, labels=wanted))[0]
    places = [LABELS.index(label) for label in ("joy", "deep sadness", "anger", "fear")]
    torch.testing.assert_close(given, torch.cat([own[places], torch.zeros(1)]))
    with pytest.raises(ConfigError, match="the prior's label 'deep sadness' is none of the captioner's"):
        belief_of(video, config_of(source, "emotion_prior_labels_as={joy: happiness}", labels=wanted))
    with pytest.raises(ConfigError, match="names 'pride', which the prior does not know"):
        belief_of(video, config_of(source, "emotion_prior_labels_as={pride: happiness}", labels=wanted))


def test_missing_priors_are_named(tmp_path: Path, video: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.emotion_prior_source: .* holds no trained recogniser"):
        belief_of(video, config_of(tmp_path / "none"))
    with pytest.raises(ConfigError, match="the clips come without its belief"):
        EmotionCaptioner(config_of(tmp_path)).eval().see(tiny_batch(config_of(tmp_path)))


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_beliefs_are_mixed_by_weight(source: Path, weight: float) -> None:
    config = config_of(source, f"emotion_prior_weight={weight}")
    model, batch = EmotionCaptioner(config).eval(), tiny_batch(config)
    batch.prior = torch.randn(3, 4).softmax(-1)
    with torch.no_grad():
        view = model.see(batch)
    assert view.belief is not None and view.emotion is not None and view.class_token is not None
    wanted = weight * batch.prior + (1 - weight) * view.belief.softmax(-1)
    torch.testing.assert_close(view.emotion, wanted)
    torch.testing.assert_close(view.class_token, (wanted @ model.textual.classes.weight)[:, None])


def test_belief_is_computed_once(
    source: Path, video: Path, tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config_of(source), vocab_size=tokenizer.vocab_size)
    model = EmotionCaptioner(config)
    cache = FeatureStore(tmp_path, config, model.experts, 72)
    first = cache.load(video).prior
    # nobody may compute it again: not in one process without a cache, and nowhere with one
    monkeypatch.setattr(PEClip, "predict", None)
    assert torch.equal(belief_of(video, config), first)
    monkeypatch.setattr(prior.EmotionPrior, "belief", None)
    again = FeatureStore(tmp_path, config, model.experts, 72)
    assert first is not None and torch.equal(again.load(video).prior, first)  # type: ignore[arg-type]
    assert FeatureStore(tmp_path, replace(config, emotion_prior=None), model.experts, 72).missing(video) == []
    assert FeatureStore(tmp_path, config_of(source, labels=LABELS[::-1]), model.experts, 72).missing(video) == [
        "belief"
    ]

    records = [Record(f"clip{i}", video, "train", ("A woman nods.",), emotion="joy") for i in range(2)]
    pieces = TextPieces(tokenizer, None, config.fusion.max_text)
    data = ClipDataset(records, config, tokenizer, pieces, train=TrainConfig(), store=again)
    batch = collate([data[Place(0, 0)], data[Place(0, 1)]], tokenizer.pad_id)
    torch.testing.assert_close(batch.prior, first.expand(2, -1))
    losses = model.train()(batch)
    sum(losses.live.values()).backward()  # type: ignore[union-attr]
    gradient = model.textual.classes.weight.grad
    assert gradient is not None and float(gradient.abs().sum()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pe_clip", "emotion_clip"])
def test_a_captioner_of_each_kind_trains_saves_loads_and_captions(
    source: Path, probed_source: Path, video: Path, tmp_path: Path, tokenizer: Tokenizer, kind: str
) -> None:
    chosen = probed_source if kind == "emotion_clip" else source
    config = replace(config_of(chosen, f"emotion_prior={kind}"), vocab_size=tokenizer.vocab_size)
    torch.manual_seed(0)
    model = EmotionCaptioner(config)
    records = [Record(f"clip{i}", video, "train", ("A woman nods.",), emotion="joy") for i in range(2)]
    pieces = TextPieces(tokenizer, None, config.fusion.max_text)
    store = FeatureStore(tmp_path / "store", config, model.experts, 72)
    data = ClipDataset(records, config, tokenizer, pieces, train=TrainConfig(), store=store)
    batch = collate([data[Place(0, 0)], data[Place(0, 1)]], tokenizer.pad_id)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    sum(model.train()(batch).live.values()).backward()  # type: ignore[union-attr]
    optimizer.step()
    Captioner(Checkpoint(model.eval(), tokenizer, None, {}, "tiny")).save_pretrained(tmp_path / "saved")
    back = Captioner.from_pretrained(tmp_path / "saved", device="cpu")
    caption = back.caption(video, max_words=4)
    assert list(caption.emotion) == LABELS and sum(caption.emotion.values()) == pytest.approx(1, abs=1e-4)
    opened = prior.open_prior(config)
    assert opened is not None
    torch.testing.assert_close(store.load(video).prior, opened.read(video).probs, atol=1e-6, rtol=0)


def test_a_folder_of_another_kind_is_refused(probed_source: Path, video: Path) -> None:
    with pytest.raises(CheckpointError, match=r"emotion_prior_source: .* of kind emotion_clip, asked for was pe_clip"):
        belief_of(video, config_of(probed_source))


def test_a_caption_tells_the_mixed_belief(source: Path, video: Path, tokenizer: Tokenizer) -> None:
    config = replace(config_of(source, "emotion_prior_weight=1"), vocab_size=tokenizer.vocab_size)
    torch.manual_seed(0)
    model = EmotionCaptioner(config).eval()
    caption = Captioner(Checkpoint(model, tokenizer, None, {}, "tiny")).caption(video, max_words=4)
    wanted = belief_of(video, config)
    assert wanted is not None
    assert list(caption.emotion) == LABELS
    assert list(caption.emotion.values()) == pytest.approx(wanted[0].tolist(), abs=1e-5)


def test_older_checkpoints_and_runs_go_on() -> None:
    config = tiny_config()
    old = {k: v for k, v in to_dict(config).items() if not k.startswith("emotion_prior")}
    assert build_config(ModelConfig, old) == config
    assert changed_settings(old, to_dict(config)) == []
