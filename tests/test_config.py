"""The door: YAML, overrides and dictionaries in, checked dataclasses or one clear line out."""

from pathlib import Path

import pytest

from captioner.config import Config, DecodeConfig, ModelConfig
from captioner.config_io import build_config, load_config, to_dict
from captioner.errors import ConfigError


def fault(*overrides: str, kind: type = Config) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(kind, None, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_dictionary_round_trip() -> None:
    config = load_config(Config, None, ["model.fusion.layers=2", "train.lr=3e-4", "--data.manifest=x.jsonl"])
    assert config.train.lr == 3e-4
    assert config.data.manifest == "x.jsonl"
    assert build_config(Config, to_dict(config)) == config


def test_unknown_key_names_the_nearest() -> None:
    message = fault("model.fusion.layer=2")
    assert "'model.fusion.layer'" in message
    assert "did you mean 'model.fusion.layers'" in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.fusion.heads=7", ["heads 7 does not divide fusion.width 768", "use one of 1, 2, 3, 4"]),
        ("model.video.arch=swin3d", ["'swin3d'", "did you mean", "swin3d_b"]),
        ("train.epochs=two", ["train.epochs is 'two'", "whole number"]),
        ("train.epochs=2.5", ["train.epochs is 2.5", "whole number"]),
        ("model.prompts.tep=1", ["true or false"]),
        ("model.prompts.tep=false", ["needs prompts.vep and prompts.tep"]),
        ("model.prompts.k=28", ["28", "27 action units"]),
        ("model.labels=[anger]", ["at least two"]),
        ("model.fusion=3", ["group of keys"]),
        ("train", ["overrides look like"]),
        ("decode.beams=-1", ["0 or more"]),
        ("model.fusion.heads=0", ["fusion.heads is 0", "at least 1"]),
        ("model.video.size=0", ["at least 32"]),
        ("model.text.dropout=1", ["text.dropout is 1.0", "below 1"]),
    ],
)
def test_impossible_values_are_named(override: str, words: list[str]) -> None:
    message = fault(override)
    for word in words:
        assert word in message


def test_all_faults_at_once() -> None:
    message = fault("fusion.heads=7", "fusion.layers=0", "text.heads=5", kind=ModelConfig)
    assert message.count(";") == 2


def test_sampling_excludes_beams() -> None:
    assert "cannot be combined" in fault("sample=true", "beams=3", kind=DecodeConfig)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(Config, tmp_path / "absent.yaml")
    for text, words in [
        ("a: [", "not YAML"),
        ("- 1", "not a mapping"),
        ("trane: {}", "did you mean 'train'"),
    ]:
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ConfigError, match=words) as caught:
            load_config(Config, tmp_path / "x.yaml")
        assert "x.yaml" in str(caught.value)
        assert "\n" not in str(caught.value)
