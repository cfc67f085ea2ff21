"""EmVidCap trains its emotion losses: the class of a video's source set is its label, and reaches every part."""

from pathlib import Path

import torch

from captioner.config import Config
from captioner.config_io import load_config
from captioner.data.adapters.emvidcap import SOURCES
from captioner.data.manifest import read_manifest
from captioner.model.batch import NO_LABEL
from scripts.prepare import main
from tests.helpers import ROOT, noise_video, tiny_batch, tiny_model

LARGE = {"vid10001": "a man shouts angrily", "vid50002": "a happy girl dances", "vid70003": "a shocked boy stares"}
SMALL = {"vid1": "a woman sadly cries"}


def miniature(root: Path) -> Path:
    """Both parts with a caption a video, their videos noise."""
    tables = {"S": (SMALL, ","), "L": (LARGE, "\t")}
    for part, (captions, mark) in tables.items():
        for split in ("trainval", "test"):
            folder = root / part
            folder.mkdir(exist_ok=True)
            rows = [f"{key if split == 'trainval' else key[:-1] + '9'}{mark}{text}" for key, text in captions.items()]
            table = folder / f"EmVideo_{split}_captions.csv"
            table.write_text("\n".join([f"VideoID{mark}EmCaptions", *rows]) + "\n", encoding="utf-8")
            for number, row in enumerate(rows):
                noise_video(root / f"{row.split(mark)[0]}.mp4", number)
    assert main(["emvidcap", "--root", str(root), "--out", str(root / "manifest.jsonl")]) == 0
    return root / "manifest.jsonl"


def test_the_class_of_a_source_set_is_the_emotion(tmp_path: Path) -> None:
    labels = load_config(Config, ROOT / "configs" / "emvidcap.yaml").model.labels
    assert tuple(labels) == SOURCES
    records = {r.id: r.emotion for r in read_manifest(miniature(tmp_path), split="train", labels=labels)}
    assert records == {"vid1": None, "vid10001": "anger", "vid50002": "joy", "vid70003": "surprise"}


def test_its_loss_reaches_every_part() -> None:
    model = tiny_model(f"labels=[{','.join(SOURCES)}]", "prompts.au_word=off").train()
    batch = tiny_batch(model.config)
    batch.emotion = torch.tensor([SOURCES.index("joy"), NO_LABEL, SOURCES.index("anger")])
    loss = model(batch).live["er"]
    assert float(loss.detach()) > 0
    loss.backward()
    for part in (model.visual.er_mlp, model.textual.belief, model.textual.classes, model.fusion.layers, model.text):
        assert any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())
