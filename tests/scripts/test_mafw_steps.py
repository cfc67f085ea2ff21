"""The steps for MAFW in configs/README.md, copied from there, on a miniature of its layout.

Clips are those of examples/ under MAFW's names; the checkpoints are random files in the public layouts (synthetic).
The commands run as they stand, tiny sizes behind them.
"""

import importlib
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from captioner.config import ExpertsConfig, ModelConfig, VideoConfig
from captioner.data.inputs import read_inputs
from captioner.model.tokenizer import Tokenizer
from captioner.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from eval.__main__ import main as evaluation
from tests.helpers import ROOT
from tests.train.experts.public_files import opengraphau_file, resnet50_file

CAPTIONS = {
    "00001": ("frown", "anger", "A man looks at someone. The frown."),
    "00002": ("sad", "sadness", "A woman looks down. The lip corners down."),
    "00003": ("smile", "happiness", "A person nods. The raised lip corners."),
    "00004": ("surprise", "surprise", "A person looks up. The raised eyebrows and the open mouth."),
    "00005": ("talk", "happiness", "A man talks. The raised lip corners."),
    "00006": ("smile", "happiness", "A person nods. The raised lip corners."),
    "00007": ("talk", "neutral", ""),
}
TEST = ("00006",)
TINY = [
    "model.video.arch=swin3d_small_cpu", "model.video.width=16", "model.video.frames=4", "model.video.size=64",
    "model.video.pretrained=", "data.short_side=72", "model.experts.frames=2", "model.tokenizer=bert",
    "model.text.width=32", "model.text.heads=2", "model.text.layers=3", "model.text.pretrained=bert",
    "model.fusion.pretrained=bert", "model.fusion.layers=2", "model.fusion.heads=2", "model.fusion.width=32",
    "model.fusion.ffn=128", "model.fusion.visual_width=32",
    "data.val_share=0.4", "train.epochs=2", "train.batch_per_device=2", "train.lr=1e-3", "train.threads=1",
]  # fmt: skip


def steps() -> list[list[str]]:
    """The commands of the README's section, one list of words each."""
    section = (ROOT / "configs" / "README.md").read_text().split("## MAFW, step by step")[1]
    block = re.search(r"```sh\n(.*?)```", section, re.S)
    assert block
    return [shlex.split(line) for line in block[1].splitlines() if not line.startswith("hf ")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with MAFW/ as its owners lay it out, a BERT, and links to scripts and configs."""
    lists = tmp_path / "MAFW" / "Train & Test Set" / "single" / "with_caption" / "set_1"
    lists.mkdir(parents=True)
    clips = tmp_path / "MAFW" / "data" / "clips"
    clips.mkdir(parents=True)
    for name, (example, _, _) in CAPTIONS.items():
        shutil.copy(ROOT / "examples" / f"{example}.mp4", clips / f"{name}.mp4")
    for split in ("train", "test"):
        told = {n: row for n, row in CAPTIONS.items() if (n in TEST) == (split == "test") and row[2]}
        rows = [f"{name}.mp4\t{emotion}\t一句话\t{caption}" for name, (_, emotion, caption) in told.items()]
        (lists / f"{split}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for name in ("scripts", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def write_bert(folder: Path) -> None:
    """A BERT as a hub has it: config.json, model.safetensors, vocab; one layer more than the fusion."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    tokenizer = Tokenizer.build([caption for _, _, caption in CAPTIONS.values()])
    sizes = BertConfig(vocab_size=tokenizer.vocab_size, hidden_size=32, num_hidden_layers=3, num_attention_heads=2,
                       intermediate_size=128)  # fmt: skip
    BertForMaskedLM(sizes).save_pretrained(folder)
    tokenizer.save(folder / "tokenizer.json")


def face_pictures() -> torch.Tensor:
    """A normalised face of each example, (5, 3, 224, 224)."""
    config = ModelConfig(
        video=VideoConfig(frames=2, size=32), experts=ExpertsConfig(size=224, margin=0.3, frames=1)
    )
    faces = [read_inputs(path, config).inputs[0].faces for path in sorted((ROOT / "examples").glob("*.mp4"))]
    pixels = torch.cat([each.pixels[0] for each in faces if each is not None]).float() / 255
    return (pixels - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)


def run(words: list[str], *more: str) -> int | str | None:
    """A command of the section in this process."""
    main: Callable[[list[str]], int]
    if "eval" in words:
        return evaluation([*words[words.index("eval") + 1 :], *more])
    script = next(word for word in words if word.startswith("scripts/"))
    main = importlib.import_module(Path(script).stem).main
    return main([*words[words.index(script) + 1 :], *more])


@pytest.mark.slow
def test_the_steps_run_and_what_is_left_out_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare, graph, emotions, plan, precompute, train, bench = steps()
    assert run(prepare) == 0

    def refused(said: str, *more: str) -> None:
        capsys.readouterr()
        assert run(train, *TINY, *more) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("error: ") and said in last, last

    refused("MAFW/experts")  # nothing was converted
    opengraphau_file(place / "OpenGraphAU-ResNet50_first_stage.pth", backbone="resnet18")
    resnet50_file(place / "emotions_resnet50.pth", apart=face_pictures())
    assert run(graph, "--most", "3") == 0
    refused("the net of emotion is missing: python scripts/convert.py er-resnet50")
    assert run(emotions) == 0
    refused("model.tokenizer=bert")  # no BERT yet
    refused("model.text.pretrained=bert cannot be loaded", "model.tokenizer=captions")
    refused("model.experts.untrained=allowed", "model.experts.source=", "model.tokenizer=captions")
    write_bert(place / "bert")

    assert run(plan, *TINY) == 0
    assert run(precompute, *TINY) == 0
    capsys.readouterr()
    assert run(train, *TINY) == 0
    about = json.loads((place / "runs" / "paper" / "best" / "config.json").read_text())
    assert about["loaded"]["fusion"]["name"] == "bert" and about["loaded"]["experts"]["name"] == "MAFW/experts"
    assert "held out by group (data.val_share=0.4)" in about["best"]["on"]
    assert run(bench, "--out", "scores", "intervals=0", "metrics=[bleu,cider]") in (0, None)
    assert "SwinBERT" in (place / "scores" / "table.md").read_text()
