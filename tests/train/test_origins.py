"""What was asked for is what runs: origins by name and hash, untrained experts refused, processes that agree."""

from dataclasses import replace

import pytest
import torch

from captioner.config import Config, ExpertsConfig
from captioner.config_io import load_config
from captioner.errors import CheckpointError, ConfigError, SilentError
from captioner.model.tokenizer import Tokenizer
from captioner.train.experts_check import refuse_untrained, tell_what_experts_see
from captioner.train.origins import check_equal_weights, origins_of, together
from captioner.train.processes import Processes
from captioner.train.setup import find_tokenizer
from prompts.visual import ExpertFeatures
from tests.helpers import CAPTIONS, tiny_model


class Second(Processes):
    """The second of two processes; what the first one says is given."""

    def __init__(self, said: object) -> None:
        super().__init__(rank=1, size=2)
        object.__setattr__(self, "said", said)

    def all_gather_json(self, value: object) -> list[object]:
        return [self.said, value]  # type: ignore[attr-defined]


def features(er: torch.Tensor) -> ExpertFeatures:
    """One clip with a face and that ER feature."""
    one = torch.ones(1)
    scores, nodes, frames = torch.rand(1, 27), torch.zeros(1, 27, 4), torch.zeros(1, 2, 27)
    return ExpertFeatures(er[None], one[None], scores, nodes, frames, one.bool(), one, torch.zeros(1, 10))


def test_origins_name_parts_and_hashes() -> None:
    tokenizer, model, other = Tokenizer.build(CAPTIONS), tiny_model(), tiny_model(seed=1)
    found = origins_of(model.config, model, tokenizer, "")
    assert set(found) == {"video", "text", "fusion", "experts", "tokenizer"}
    assert found["fusion"]["name"] == "random" and found["tokenizer"]["name"] == "captions"
    assert found["video"]["sha256"] != origins_of(other.config, other, tokenizer, "")["video"]["sha256"]
    started = origins_of(model.config, model, tokenizer, "runs/a/best")
    assert started["fusion"]["name"] == started["tokenizer"]["name"] == "runs/a/best"


def test_a_process_without_the_file_ends_all_with_one_line() -> None:
    with pytest.raises(SilentError, match="process 1 of 2: no such file"):
        together(Second("no such file"), lambda: 1)

    def fails() -> int:
        raise CheckpointError("lost")

    with pytest.raises(SilentError, match="process 2 of 2: lost"):
        together(Second(""), fails)
    with pytest.raises(CheckpointError, match=r"^lost$"):
        together(Processes(), fails)


def test_other_weights_in_another_process_are_refused() -> None:
    with pytest.raises(CheckpointError, match="processes 2 of 2 start from other weights"):
        check_equal_weights(tiny_model(), Second("of process 1"))
    check_equal_weights(tiny_model(), Processes())


def test_an_unreachable_vocabulary_is_refused() -> None:
    config = load_config(Config, None, ["model.tokenizer=/no/such/folder", "train.out=/no/such/run"])
    with pytest.raises(CheckpointError, match=r"model\.tokenizer=captions"):
        find_tokenizer(config, [])


def test_untrained_experts_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.experts\.source is empty.*model\.experts\.untrained=allowed"):
        refuse_untrained(ExpertsConfig())
    refuse_untrained(ExpertsConfig(untrained="allowed"))
    refuse_untrained(ExpertsConfig(source="drawn-experts"))


def test_experts_that_see_the_same_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    same = [features(torch.ones(8) + 0.001 * torch.randn(8)) for _ in range(5)]
    with pytest.raises(ConfigError, match="see the same in all faces"):
        tell_what_experts_see(same, ExpertsConfig(source="x"))
    tell_what_experts_see(same, ExpertsConfig(untrained="allowed"))
    caplog.clear()
    tell_what_experts_see([features(torch.eye(8)[i]) for i in range(4)], ExpertsConfig(source="x"))
    told = "experts see: 4 of 4 clips with a face; cosine of ER features of two clips about their mean -0.333"
    assert told in caplog.text and "with what all faces share 0.000" in caplog.text
    nobody = replace(features(torch.ones(8)), present=torch.zeros(1).bool())
    tell_what_experts_see([nobody, nobody], ExpertsConfig(source="x"))
    assert "0 of 2 clips with a face" in caplog.text
