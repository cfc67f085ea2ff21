"""What a step sends and waits for, counted without a GPU: nothing is copied after the first step."""

import torch

from captioner.config import Config, TrainConfig
from eval.speed.traffic import CountTraffic, traffic_of
from tests.helpers import tiny_config


def test_a_step_copies_nothing_between_host_and_device() -> None:
    config = Config(model=tiny_config("prompts.k=3", "video.frames=8"), train=TrainConfig(batch=1))
    found = traffic_of(config, torch.device("cpu"))
    assert (found.copies, found.megabytes) == (0, 0.0)
    assert found.waits <= 4


def test_copies_and_waits_are_seen() -> None:
    counter = CountTraffic()
    with counter:
        torch.ones(1000).to("meta")
        float(torch.ones(()))
    assert counter.found.copies == 1 and counter.found.megabytes == 0.004 and counter.found.waits == 1
