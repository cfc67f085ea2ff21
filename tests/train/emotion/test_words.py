"""EmotionCLIP learned from words said: which clips, which sentiments, which persons; what is trained, what is kept."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from captioner.config_io import load_config
from captioner.data.manifest import Record, read_manifest
from captioner.emotion import folder, persons
from captioner.emotion.contract import Wants
from captioner.emotion.looking import look
from captioner.errors import CheckpointError, ConfigError
from captioner.lexicon.sentiments import SENTIMENT_LABELS, sentiment_logits
from captioner.train.emotion.spoken_clips import SpokenClips, SpokenStore, score_sentiments, spoken_words
from captioner.train.emotion.words_config import SentimentConfig, WordsRun
from captioner.train.emotion.words_recipe import run_words, sentence_ids, words_pace
from captioner.train.fitting import FitConfig
from eval import words_runs
from eval.ablation import AblationOptions, AblationRow, AblationTable
from eval.words_runs import words_table
from tests.emotion.test_emotion_clip import SMALL
from tests.helpers import ROOT
from tests.train.emotion.test_emotion_protocol import paint

LINES = {
    "joy": "I am so happy, this is wonderful!",
    "fear": "I am afraid, run away!",
    "neutral": "The train leaves at nine.",
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of one second, red for joy and blue for fear, with what is said; two are plain, one says nothing."""
    root, lines = tmp_path_factory.mktemp("spoken"), []
    for number in range(12):
        name, colour = (("joy", (230, 30, 30)), ("fear", (30, 30, 230)))[number % 2]
        said = "" if number == 11 else LINES["neutral" if number in (4, 5) else name]
        paint(root / f"{number}.mp4", colour, 5, number)
        about = {
            "id": str(number),
            "video": f"{number}.mp4",
            "split": "test" if number > 7 else "train",
            "emotion": name,
        }
        lines.append(json.dumps({**about, "captions": [f"A face of {name}."], "extra": {"transcript": said}}))
    (root / "clips.jsonl").write_text("\n".join(lines) + "\n")
    return root / "clips.jsonl"


def run_of(manifest: Path, out: Path, *more: str) -> WordsRun:
    words = [f"emotion.{word}" for word in SMALL]
    words += [f"manifest={manifest}", f"out={out}", "seconds=[0.5,10]", "kept=9", "batch=4", "epochs=3", "lr=1e-3"]
    return load_config(WordsRun, None, [*words, "tower_lr_scale=1", *more])


@pytest.mark.slow
def test_a_run_writes_a_recogniser_without_labels(manifest: Path, tmp_path: Path) -> None:
    scores = run_words(run_of(manifest, tmp_path / "own", "epochs=12"), CPU)
    assert (
        scores["clips"] == 8
        and scores["held out"] == 3
        and 0 < scores["by chance"] < 1
        and math.isfinite(scores["loss"])
    )
    again = run_words(run_of(manifest, tmp_path / "again", "epochs=12"), CPU)
    assert again == scores
    model = folder.load_recogniser(tmp_path / "own", "emotion_clip")
    assert model.labels == () and "recipe `emotionclip`, on clips of" in (tmp_path / "own" / "CARD.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "still", "moved"),
    [("tower_lr_scale=0", "vision.visual_projection.weight", "temporal.frame_position_embedding.weight"),
     ("groups=released", "", "temporal.fusion_layer.norm.bias"),
     ("emotion.subject.rule=mask", "", "vision.human"),
     ("emotion.fusion.kind=mean", "", "text.text_projection.weight")],
)  # fmt: skip
def test_what_a_run_trains(manifest: Path, tmp_path: Path, word: str, still: str, moved: str) -> None:
    states = []
    for epochs in (1, 4):
        run_words(
            run_of(manifest, tmp_path / str(epochs), word, f"epochs={epochs}", "emotion.subject.mask_from=1"), CPU
        )
        states.append(folder.load_recogniser(tmp_path / str(epochs)).state_dict())
    assert not torch.equal(states[0][moved], states[1][moved])
    assert not still or torch.equal(states[0][still], states[1][still])
    if "released" in word:  # matrices next to stand still
        name = "vision.visual_projection.weight"
        assert (states[0][name] - states[1][name]).abs().max() < 1e-6


def test_clips_are_chosen_by_words_length_and_feeling(manifest: Path, tmp_path: Path) -> None:
    records = read_manifest(manifest)

    def kept(*more: str) -> list[str]:
        run = run_of(manifest, tmp_path, *more)
        return [record.id for record in SpokenClips(records, run, SpokenStore(run)).records]

    assert kept() == [str(number) for number in range(11)]
    assert kept("sentiment.most_neutral=0.5") == [str(number) for number in range(11) if number not in (4, 5)]
    assert kept("seconds=[2,10]") == [] and kept("letters=40") == []
    run = run_of(manifest, tmp_path, "said=captions")
    assert spoken_words(records[11], run) == "A face of fear."
    styled = Record("a", Path("a.mp4"), "train", ("plain",), extra={"feelings": ["glad"]})
    assert spoken_words(styled, run_of(manifest, tmp_path, "said=captions", "styles=[feelings]")) == "glad"
    with pytest.raises(ConfigError, match="0 clips can be learned from, 2 at least are needed"):
        run_words(run_of(manifest, tmp_path, "letters=99"), CPU)


def test_boxes_of_the_release_mask_persons(manifest: Path, tmp_path: Path) -> None:
    record = read_manifest(manifest)[0]
    rows = {f"{frame + 1:08d}.jpg": [[0, 0, 320, 480, 0.9]] for frame in range(5)}  # the left half
    path = tmp_path / "boxes" / record.video.name / "human_boxes.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([rows]))
    run = run_of(manifest, tmp_path, f"boxes={tmp_path / 'boxes'}")
    clips = SpokenClips([record], run, SpokenStore(run))
    frames, masks = clips.batch([0], None)
    assert frames.shape == (1, 8, 3, 32, 32) and masks.shape == (1, 8, 32, 32)
    assert masks[0, :, :, :14].all() and not masks[0, :, :, 18:].any()
    drawn = clips.batch([0], torch.Generator().manual_seed(0))[1]
    edges = drawn[0].any(1).sum(1)
    assert len(set(edges.tolist())) > 1  # every frame is cut at its own place, its mask alike
    (tmp_path / "boxes" / record.video.name / "human_boxes.json").unlink()
    with pytest.raises(Exception, match="no such file"):
        SpokenStore(run_of(manifest, tmp_path / "new", f"boxes={tmp_path / 'boxes'}")).load(record.video)


def test_words_tell_sentiments_plainly() -> None:
    said = {name: SENTIMENT_LABELS[int(np.argmax(sentiment_logits(line)))] for name, line in LINES.items()}
    assert said == {"joy": "joy", "fear": "fear", "neutral": "neutral"}
    assert SENTIMENT_LABELS[int(np.argmax(sentiment_logits("That hat is at an angle")))] == "neutral"
    assert score_sentiments([], SentimentConfig()).shape == (0, 7)


def test_a_sentiment_model_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"cannot be loaded .* set sentiment\.source=lexicon"):
        score_sentiments(["hello"], SentimentConfig(source=str(tmp_path / "none")))
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "glad": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(tmp_path)
    torch.manual_seed(0)
    for names in (("joy", "anger", "disgust", "fear", "neutral", "sadness", "surprise"), ("good", "bad")):
        config = DistilBertConfig(vocab_size=3, dim=8, n_layers=1, n_heads=2, hidden_dim=8, num_labels=len(names))
        config.id2label = dict(enumerate(names))
        net = DistilBertForSequenceClassification(config).eval()
        net.save_pretrained(tmp_path)
        if len(names) == 7:
            logits = score_sentiments(["glad", "glad glad"], SentimentConfig(source=str(tmp_path)))
            wanted = net(input_ids=torch.tensor([[2]])).logits[0]
            torch.testing.assert_close(logits[0, SENTIMENT_LABELS.index("joy")], wanted[0].detach(), atol=1e-5, rtol=0)
    with pytest.raises(ConfigError, match="tells good, bad: needed is anger, disgust"):
        score_sentiments(["glad"], SentimentConfig(source=str(tmp_path)))


def test_long_sentences_are_cut_before_their_end(caplog: pytest.LogCaptureFixture) -> None:
    class Pair:
        config = type("C", (), {"context": 4})
        encode = staticmethod(lambda text: [1, *map(int, text.split()), 9])

    with caplog.at_level("WARNING"):
        ids, ends = sentence_ids(["5", "5 6 7 8"], Pair())  # type: ignore[arg-type]
    assert ids.tolist() == [[1, 5, 9, 9], [1, 5, 6, 9]] and ends.tolist() == [2, 3]
    assert "1 sentences have more than 4 pieces" in caplog.text


def test_rates_rise_and_fall_and_groups_keep_their_shares(manifest: Path, tmp_path: Path) -> None:
    setup = FitConfig(None, 10, 40, 4)
    pace = words_pace(run_of(manifest, tmp_path, "warmup=5"), setup)
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": 1.0}, {"params": [torch.zeros(1)], "lr": 0.1}])
    rates = []
    for step in range(100):
        pace(optimizer, step, step / 100)
        rates.append([group["lr"] for group in optimizer.param_groups])
    assert all(slow == pytest.approx(0.1 * fast) for fast, slow in rates)
    assert rates[0][0] == pytest.approx(0.2) and max(rates)[0] > 0.99 and rates[-1][0] < 1e-3


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("batch=1", "batch is 1: at least 2"),
        ("kept=4", "kept is 4: at least 8"),
        ("seconds=[5,2]", "two rising numbers are needed"),
        ("sentiment.beta=-1", "sentiment.beta is -1.0: 0 or more"),
        ("emotion.labels=[joy,fear]", "labels are for a probe"),
        ("manifest=", "manifest is missing"),
    ],
)
def test_bad_runs_are_one_line(manifest: Path, tmp_path: Path, word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_words(run_of(manifest, tmp_path, word), CPU)


def test_a_detector_masks_whom_it_is_sure_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def detector(pictures: list[torch.Tensor]) -> list[dict[str, Any]]:
        assert pictures[0].shape == (3, 360, 540) and float(pictures[0].max()) <= 1
        boxes = 9 * torch.tensor([[10.0, 0, 20, 10], [0, 0, 60, 40], [0, 0, 60, 40]])
        return [{"boxes": boxes, "labels": torch.tensor([1, 2, 1]), "scores": torch.tensor([0.9, 0.9, 0.4])}]

    monkeypatch.setattr(persons, "person_detector", lambda: detector)
    frames = np.random.default_rng(0).integers(0, 255, (2, 40, 60, 3)).astype(np.uint8)
    seen = look(frames, Wants(segments=2, size=20, persons="detector"), fps=1)
    assert seen.persons is not None and seen.persons.sum((1, 2)).tolist() == [25, 25]


def test_a_detector_that_cannot_be_fetched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import detection

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    kind = detection.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights
    monkeypatch.setattr(kind, "get_state_dict", offline)
    persons.person_detector.cache_clear()
    with pytest.raises(CheckpointError, match=r"cannot be fetched \(no route to host\).*subject\.persons=faces"):
        persons.person_detector()


def test_the_table_compares_seed_by_seed() -> None:
    one = {"R@1": 0.2, "top1": 0.5, "UAR": 0.4, "mAP": 0.3, "by chance": 0.01, "commonest": 0.25}
    text = words_table({"a": [one, one], "b": [{**one, "top1": 0.6}, {**one, "top1": 0.7}]})
    assert "65.0 ± 7.1 (+15.0 ± 7.1)" in text and "| chance, commonest | 1.0 | 25.0 |" in text


@pytest.mark.slow
def test_rows_are_learned_probed_and_kept(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="needs the extra eval")
    words = [f"emotion.{word}" for word in SMALL] + [f"manifest={manifest}", "said=transcript", "seconds=[0.5,10]"]
    words += ["kept=8", "batch=4", "epochs=1", "sentiment.source=lexicon", "sentiment.most_neutral=1"]
    options = AblationOptions(ROOT / "configs/emotion/emotionclip.yaml", tmp_path, tuple(words), seeds=1)
    table = AblationTable("tiny", (AblationRow("vanilla", ("emotion.subject.rule=none",)),))
    found = words_runs.run_words_rows(table, options)
    assert set(words_runs.COLUMNS) <= found["vanilla"][0].keys()
    monkeypatch.setattr(words_runs, "run_words", None)  # what was finished is read
    assert words_runs.run_words_rows(table, options) == found
