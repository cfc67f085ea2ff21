"""A fifth recogniser takes one folder and one line of the registry: it trains, is saved, believes, serves as prior."""

import json
from pathlib import Path

import pytest
import torch

from captioner import load_emotion
from captioner.cli import main
from captioner.config import ModelConfig
from captioner.data import inputs
from captioner.emotion import folder, registry
from captioner.train.emotion.protocol import run_protocol
from captioner.train.emotion.run_config import load_emotion_run
from tests.helpers import tiny_config
from tests.train.emotion.test_emotion_protocol import paint


def captioner_of(model: Path, labels: list[str]) -> ModelConfig:
    given = ["emotion_prior=fifth", f"emotion_prior_source={model}", f"labels={json.dumps(labels)}"]
    return tiny_config(*given, "emotion_prior_weight=1")


@pytest.mark.slow
def test_a_fifth_kind_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(registry.KINDS, "fifth", "tests.emotion.fifth_recogniser")
    for place, (label, colour) in enumerate((("joy", (250, 30, 30)), ("fear", (20, 20, 250)))):
        for number in range(4):
            paint(tmp_path / "clips" / label / f"{number}.mp4", colour, 6, 10 * place + number)
    words = ["emotion.kind=fifth", f"data.root={tmp_path / 'clips'}", "data.dataset=ekman6", "data.splits=2"]
    words += [
        "data.test_share=0.5",
        f"train.out={tmp_path / 'out'}",
        "train.epochs=40",
        "train.lr=0.3",
        "train.plots=never",
    ]
    assert run_protocol(load_emotion_run(None, words), torch.device("cpu"))["scores"]["UAR"][0] == 1.0
    model, video = tmp_path / "out" / "split-0" / "model", tmp_path / "clips" / "joy" / "0.mp4"
    assert folder.load_recogniser(model, "fifth").KIND == "fifth"
    belief = load_emotion(model, device="cpu").believe(video)
    assert belief.sorted_labels()[0][0] == "joy"
    assert main([str(video), "--emotions", "--with", str(model), "-d", "cpu", "-q"]) == 0
    assert capsys.readouterr().out.startswith("joy ")
    seen = inputs.read_inputs(video, captioner_of(model, list(belief.labels))).inputs[0].prior
    torch.testing.assert_close(seen, belief.probs, atol=1e-6, rtol=0)
