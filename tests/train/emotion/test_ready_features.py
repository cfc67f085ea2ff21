"""CMU-MOSI out of a pickle of features: read without running it, converted, trained on; hostile ones refused."""

import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import convert
import numpy as np
import pytest
import torch
import train as train_script
from safetensors import safe_open
from safetensors.torch import save_file

from captioner.data.adapters.feature_file import FeatureFile
from captioner.data.adapters.layout import LayoutError
from captioner.data.adapters.opinions import read_opinions
from captioner.data.adapters.toolkit_features import convert_toolkit, read_toolkit_pickle
from captioner.emotion.folder import load_recogniser
from captioner.emotion.mer_clip.modality_encoders import ReadyEncoder
from captioner.errors import ConfigError, ManifestError
from captioner.inference.emotion_reader import EmotionReader
from captioner.train.emotion.protocol import run_protocol
from captioner.train.emotion.run_config import load_emotion_run
from tests.helpers import ROOT
from tests.train.emotion.test_sound_protocol import PAIR

CONFIG = ROOT / "configs" / "emotion" / "mer_clip_mosi.yaml"
SIDES = {"train": 60, "valid": 10, "test": 20}
WIDTHS = {"text": 12, "audio": 5, "vision": 7}


def side(seed: int, count: int, frames: int = 9) -> dict[str, Any]:
    """One side as the MMSA toolkit has it (synthetic): opinions show in each modality, padding is zeros, in front."""
    random = np.random.default_rng(seed)
    values = random.uniform(-3, 3, count).astype(np.float32)
    part: dict[str, Any] = {
        "raw_text": np.array([f"so {('bad', 'good')[int(value > 0)]}" for value in values], dtype=object),
        "id": [f"film{row // 4}$_${row}" for row in range(count)],
        "regression_labels": values, "classification_labels": np.sign(values).astype(np.int64),
        "annotations": ["Negative" if value < 0 else "Positive" for value in values],
        "text_bert": np.zeros((count, 3, frames), np.int64),
    }  # fmt: skip
    for name, width in WIDTHS.items():
        array = random.standard_normal((count, frames, width)) * 3 + 40  # far from 0, as COVAREP's numbers are
        array[:, :, 0] += 3 * values[:, None]
        array[:, : frames // 3] = 0
        part[name] = array.astype(np.float32 if name == "text" else np.float64)
    part["audio"][0, 5, 2] = -np.inf
    return part


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mosi") / "aligned_50.pkl"
    path.write_bytes(pickle.dumps({name: side(place, count) for place, (name, count) in enumerate(SIDES.items())}))
    return path


@pytest.fixture(scope="module")
def ready(aligned: Path) -> Path:
    out = aligned.with_suffix(".safetensors")
    assert convert.main(["opinions", str(aligned), "--out", str(out)]) == 0
    return out


def words(out: Path, root: Path, *more: str) -> list[str]:
    """The configuration made small."""
    return [f"data.root={root}", f"train.out={out}", *PAIR, "train.epochs=12", "train.batch=10", "train.lr=5e-3", *more]


@pytest.mark.slow
def test_converted_features_are_trained_on(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_script.main([str(CONFIG), *words(tmp_path, ready)]) == 0
    scores = json.loads((tmp_path / "results.json").read_text())["opinions"]
    wanted = ("MAE", "corr", "Acc-7", "Acc-2 non-negative", "F1 non-negative", "Acc-2 positive", "F1 positive")
    assert set(scores) == set(wanted)
    values = side(2, SIDES["test"])["regression_labels"]
    assert scores["MAE"][0] < 0.6 * np.abs(values - values.mean()).mean() and scores["corr"][0] > 0.8
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "CMU-MOSI: 60 / 10 / 20 clips here, 1284 / 229 / 686" in report and "MER-CLIP is reconstr" in report
    model = load_recogniser(tmp_path / "split-0" / "model")
    assert {name: encoder.join.in_features for name, encoder in model.ready.items()} == WIDTHS
    assert model.config.ready.audio == [9, 5] and float(model.ready["vision"].mean[1]) == pytest.approx(40, abs=0.5)
    with pytest.raises(ConfigError, match=r"takes ready features \(text, audio, vision\) out of a file, no videos"):
        EmotionReader(model, "mosi")
    assert train_script.main([str(CONFIG), *words(tmp_path / "b", ready, "emotion.ready.audio=[50,5]")]) == 2
    assert "emotion.ready.audio is [50, 5], aligned_50.safetensors has [9, 5]" in capsys.readouterr().err


@pytest.mark.slow
def test_sentences_of_the_file_may_go_through_clip(ready: Path, tmp_path: Path) -> None:
    given = words(tmp_path, ready, "emotion.spoken.given=false", "emotion.order=[vision, text]", "train.epochs=1")
    run_protocol(load_emotion_run(CONFIG, given), torch.device("cpu"))
    model = load_recogniser(tmp_path / "split-0" / "model")
    assert list(model.ready) == ["vision"] and model.sound is None


def test_what_fits_no_file_is_named(ready: Path, aligned: Path, tmp_path: Path) -> None:
    def run(root: Path) -> None:
        run_protocol(load_emotion_run(CONFIG, words(tmp_path, root)), torch.device("cpu"))

    with pytest.raises(LayoutError, match=r"convert a pickle first, scripts/convert\.py opinions aligned_50\.pkl"):
        run(aligned)
    with safe_open(str(ready), "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file({name: value for name, value in tensors.items() if "audio" not in name}, tmp_path / "no.safetensors")
    with pytest.raises(ConfigError, match=r"emotion\.order has audio, which no\.safetensors has not \(it has text"):
        run(tmp_path / "no.safetensors")
    with pytest.raises(ConfigError, match="holds ready features, which mer_clip takes"):
        run_protocol(load_emotion_run(None, ["data.dataset=mosi", f"data.root={ready}"]), torch.device("cpu"))
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(LayoutError, match=r"holds no train\.regression_labels: make it by"):
        read_opinions(tmp_path / "other.safetensors", "mosi")
    save_file(tensors | {"val.text": tensors["val.text"][:3]}, tmp_path / "cut.safetensors")
    with pytest.raises(LayoutError, match=r"val\.text has the shape \(3, 9, 12\): \(10, frames, width\) is needed"):
        FeatureFile(tmp_path / "cut.safetensors")
    save_file(tensors, tmp_path / "texts.safetensors", {"texts": '{"train.id": ["a"]}'})
    with pytest.raises(LayoutError, match="its texts are damaged"):
        FeatureFile(tmp_path / "texts.safetensors")
    save_file(tensors | {"test.regression_labels": torch.full((20,), 4.0)}, tmp_path / "far.safetensors")
    with pytest.raises(LayoutError, match="label 4 of test0 is no number from -3 to 3"):
        read_opinions(tmp_path / "far.safetensors", "mosi")


def test_clips_of_a_file(ready: Path) -> None:
    records = FeatureFile(ready).records()
    assert [sum(record.split == name for record in records) for name in ("train", "val", "test")] == [60, 10, 20]
    assert records[5].id == "film1$_$5" and records[5].group == "film1" and records[5].extra["transcript"][:3] == "so "
    assert float(FeatureFile(ready).row("audio", "train", 0)[5, 2]) == 0  # it was minus infinity


@torch.no_grad()
def test_padding_is_not_looked_at_and_what_is_not_there_is_absent() -> None:
    torch.manual_seed(0)
    encoder = ReadyEncoder(6, 4, 8, 1, 2, 0.0).eval()
    encoder.settle(torch.tensor([5.0, 0, 0, 1]), torch.tensor([2.0, 1, 1, 0]))
    x = torch.randn(3, 6, 4)
    x[0, 4:], x[1] = 0, 0
    found = encoder(x)
    assert found.mask.sum(1).tolist() == [4, 0, 6] and found.present.tolist() == [True, False, True]
    assert found.states.isfinite().all()
    alone = ReadyEncoder(4, 4, 8, 1, 2, 0.0).eval()
    state = encoder.state_dict() | {"pictures.places": encoder.pictures.places[:4]}
    alone.load_state_dict(state)
    assert torch.allclose(alone(x[:1, :4]).states, found.states[:1, :4], atol=1e-5)
    changed = encoder(x + torch.tensor([0.0, 0, 0, 3]) * (x != 0).any(-1, keepdim=True))
    assert torch.allclose(changed.states, found.states, atol=1e-5)  # the last number never changed in training


# -- pickles ----------------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("a pickle ran",))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_toolkits_pickle_is_read_without_running_it(
    tmp_path: Path, protocol: int, capsys: pytest.CaptureFixture[str]
) -> None:
    part = side(0, 4) | {"vision": np.asfortranarray(side(0, 4)["vision"]), "count": np.float64(2.0)}
    path = tmp_path / "aligned_50.pkl"
    path.write_bytes(pickle.dumps({"train": part, "valid": part, "test": part}, protocol=protocol))
    read = read_toolkit_pickle(path)
    assert np.array_equal(read["val"]["vision"], part["vision"]) and read["train"]["id"] == part["id"]
    assert convert.main(["opinions", str(path), "--out", str(tmp_path / "out.safetensors")]) == 0
    assert "train: 4 clips, val: 4 clips, test: 4 clips" in capsys.readouterr().out
    with safe_open(str(tmp_path / "out.safetensors"), "np") as file:
        assert np.allclose(file.get_tensor("test.vision"), part["vision"]) and "so bad" in file.metadata()["texts"]
    path.write_bytes(pickle.dumps({"train": part, "valid": part, "test": part | {"x": Evil()}}, protocol=protocol))
    with pytest.raises(ManifestError, match="no pickle of plain numbers") as fault:
        convert_toolkit(path, tmp_path / "none.safetensors")
    assert "\n" not in str(fault.value) and "ran" not in capsys.readouterr().out
    assert not (tmp_path / "none.safetensors").exists()


def test_the_older_manner(tmp_path: Path) -> None:
    """labels (N, 1, 1), ids (N, 3) of a video and its seconds, no sentences."""
    random = np.random.default_rng(0)
    part = {
        "text": random.standard_normal((3, 5, 300)), "labels": random.uniform(-3, 3, (3, 1, 1)),
        "audio": random.standard_normal((3, 5, 74)), "vision": random.standard_normal((3, 5, 35)),
        "id": np.array([["aB", "1.5", "4.0"], ["aB", "4.0", "6"], ["c", "0", "2"]]),
    }  # fmt: skip
    (tmp_path / "mosei.pkl").write_bytes(pickle.dumps({"train": part, "valid": part, "test": part}, protocol=2))
    convert_toolkit(tmp_path / "mosei.pkl", tmp_path / "mosei.safetensors")
    listed = read_opinions(tmp_path / "mosei.safetensors", "mosei")
    assert listed.records[1].id == "aB$_$4.0$_$6" and listed.records[1].group == "aB"
    assert FeatureFile(tmp_path / "mosei.safetensors").shapes == {"text": (5, 300), "audio": (5, 74), "vision": (5, 35)}


def bomb(depth: int = 60) -> list[Any]:
    """Lists in lists that refer to each other: small in a pickle, endless when written out."""
    found: list[Any] = [0.5]
    for _ in range(depth):
        found = [found, found]
    return found


HOSTILE: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a list bomb of numbers": lambda part: part | {"audio": bomb()},
    "a list bomb of ids": lambda part: part | {"id": bomb()},
    "labels that are too few": lambda part: part | {"regression_labels": part["regression_labels"][:2]},
    "labels of two numbers": lambda part: part | {"regression_labels": np.zeros((4, 2))},
    "no labels": lambda part: {key: value for key, value in part.items() if key != "regression_labels"},
    "texts for numbers": lambda part: part | {"audio": part["raw_text"]},
    "rows of unequal length": lambda part: part | {"audio": [np.zeros((2, 5)), np.zeros((3, 5)), 1, 2]},
    "a number for ids": lambda part: part | {"id": 3},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_feature_files_are_one_line_at_once(name: str, tmp_path: Path) -> None:
    part = HOSTILE[name](side(0, 4))
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"train": part, "valid": part, "test": part}))
    began = time.perf_counter()
    with pytest.raises(ManifestError, match=r"a\.pkl") as fault:
        convert_toolkit(path, tmp_path / "none.safetensors")
    assert "\n" not in str(fault.value) and len(str(fault.value)) < 400 and time.perf_counter() - began < 2
    assert not (tmp_path / "none.safetensors").exists()


@pytest.mark.parametrize("data", [b"", b"\x80\x04no", pickle.dumps([1]), pickle.dumps({"train": 1})])
def test_what_is_no_feature_file_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(ManifestError, match=r"a\.pkl"):
        read_toolkit_pickle(tmp_path / "a.pkl")
