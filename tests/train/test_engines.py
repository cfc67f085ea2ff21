"""Engines: shares of a batch, states, settings; that all engines agree is in test_proofs.py."""

import json
from pathlib import Path

import pytest
import torch

from captioner.config import Config, TrainConfig
from captioner.config_io import load_config
from captioner.errors import ConfigError
from captioner.train.deepspeed_engine import read_settings
from captioner.train.engine import PlainEngine
from captioner.train.processes import Processes, SharedLosses, join_processes, live_names
from captioner.train.trainer import shard
from tests.helpers import ROOT, tiny_batch, tiny_model

SETTINGS = sorted((ROOT / "configs").glob("ds_*.json"))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 16])
def test_shares_are_neighbours_and_complete(count: int) -> None:
    shares = [Processes(rank, 4).share(count) for rank in range(4)]
    assert [i for share in shares for i in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_portions_follow_one_order() -> None:
    order = [[4, 2, 0, 3], [1]]
    portions = [shard(order, Processes(rank, 3)) for rank in range(3)]  # type: ignore[arg-type]
    assert [part[0] for part in portions] == [[4, 2], [0], [3]]
    assert [part[1] for part in portions] == [[1], [1], [1]]  # stand-ins keep the others company


def test_alone_nothing_is_exchanged() -> None:
    processes = Processes()
    assert processes.main
    assert processes.any(True) and not processes.any(False)
    assert processes.all_gather_json({"a": 1}) == [{"a": 1}]
    assert processes.table([3, 4]).tolist() == [[3, 4]]
    model = tiny_model()
    batch = tiny_batch(model.config)
    plain = model(batch, warm=True)
    found = SharedLosses(model, processes)(batch, True, 3)
    assert live_names(model) == list(plain.live) == ["mlm", "er", "au"]
    assert all(torch.equal(f, v) for f, v in zip(found, plain.live.values(), strict=False))


def test_plain_state_goes_round() -> None:
    """Two engines, one continued from the other's state, make the same next step."""
    models = [tiny_model(), tiny_model()]
    batch = tiny_batch(models[0].config)
    engines = [PlainEngine(model, TrainConfig(lr=1e-2), torch.device("cpu")) for model in models]
    for _ in range(2):
        engines[0].backward(torch.stack(list(engines[0].losses(batch, True).live.values())).sum())
        engines[0].step(1.0)
    models[1].load_state_dict(models[0].state_dict())
    engines[1].restore(*engines[0].state())
    for engine in engines:
        engine.backward(torch.stack(list(engine.losses(batch, True).live.values())).sum())
        engine.step(0.5)
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


@pytest.mark.parametrize("path", SETTINGS, ids=lambda p: p.stem)
def test_settings_are_documented(path: Path) -> None:
    assert json.loads(path.read_text())["about"], path
    assert str(read_settings(path)["zero_optimization"]["stage"]) in path.stem


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"train_batch_size": 4}', ["train_batch_size", "train.batch", "remove it"]),
        ('{"zero_optimization": {"stage": 4}}', ["stage is 4", "0, 1, 2, 3"]),
        ("[1]", ["list", "mapping"]),
        ("{", ["not JSON"]),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, content: str, words: list[str]) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(ConfigError) as raised:
        read_settings(path)
    assert all(word in str(raised.value) for word in words)
    assert "\n" not in str(raised.value)


def test_a_missing_setting_has_a_neighbour() -> None:
    with pytest.raises(ConfigError, match=r"did you mean .*ds_zero2.json"):
        read_settings(ROOT / "configs" / "ds_zero_2.json")


def test_launcher_variables_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "zero")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="torchrun"):
        join_processes(torch.device("cpu"))


def test_the_override_of_the_documentation() -> None:
    config = load_config(Config, ROOT / "configs" / "tiny.yaml", ["--train.deepspeed", "configs/ds_zero2.json"])
    assert config.train.deepspeed == "configs/ds_zero2.json"
