"""The one template of all cards: every kind renders, and a value that is missing is an error."""

import pytest
from jinja2 import UndefinedError

from captioner.config import ModelConfig
from captioner.train.cards import format_cell, render_card


def test_captioner() -> None:
    card = render_card(
        "captioner", name="default", millions=10.26, trained=8.04, config=ModelConfig(),
        progress={"step": 7, "epoch": 2}, clips={"train": 30, "persons": 4, "test": 5},
        tables={"faces": [("CIDEr", "1.006 (0.887 .. 1.129)")], "feelings": [("CIDEr", "0.5")]},
    )  # fmt: skip
    assert card.startswith(
        "# default\n\nThe captioner of this package: ECPA with 10.3 M parameters (8.0 M trained here"
    )
    assert "**Trained on synthetic clips alone**: 30 clips of 4 persons" in card
    assert "### `--style faces`\n\n| score | value |\n|---|---|\n| CIDEr | 1.006 (0.887 .. 1.129) |\n" in card
    assert "not what a person feels. Do not judge people by it" in card and card.endswith("naming phrase.\n")


def test_pe_clip() -> None:
    result = {"split": 1, "train": 20, "test": 10, "top1": 0.345, "trained_parameters": 2.5e5, "parameters": 1e6}
    scores = {"UAR": 0.3, "WA-F1": 0.31, "macro F1": 0.29, "mAP": 0.4, "ECE": 0.1}
    card = render_card("pe_clip", title="PE-CLIP", result={**result, "scores": scores}, dataset="ve8", source="")
    assert card.startswith(
        "# PE-CLIP, split 1 of ve8\n\nTrained on 20 clips, top-1 34.5 % on the 10 of the other side."
    )
    assert "UAR 30.0 %, weighted F1 0.310, macro F1 0.290, mAP 0.400, calibration error 0.100;" in card
    assert "0.25 M of 1.00 M parameters" in card and "those of a random CLIP" in card
    assert "The dataset's terms bind these weights too.\n" in card


def test_emotionclip_converted_or_fitted() -> None:
    converted = render_card("emotionclip", name="file.pt", digest="abc", fit=None)
    assert "from `file.pt` (sha256 abc)" in converted and "It has no labels" in converted
    fitted = render_card("emotionclip", name="", digest="", fit="A linear probe: top1 0.500.")
    assert "A linear probe: top1 0.500." in fitted and "convert.py" not in fitted and "no labels" not in fitted


def test_pair_with_and_without_validation() -> None:
    given = {"millions": {"vision": 1.5, "text": 0.5}, "clips": 7, "manifest": "m.jsonl", "photos": "", "epochs": 3}
    card = render_card("pair", **given, scores={"loss": 1.5, "val clips": 4.0, "R@1": 0.5, "R@1 by chance": 0.25})
    assert "Of 4 validation clips the right text is nearest to 50.0 % (by chance 25.0 %)." in card
    assert "(1.50 M and 0.50 M parameters)" in card and "photos with votes" not in card
    assert "No validation clips were at hand." in render_card("pair", **given, scores={"loss": 1.5})


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'result' is undefined"):
        render_card("pe_clip", title="PE-CLIP", dataset="ve8", source="")


def test_cells() -> None:
    assert [format_cell(value) for value in (0.12345, 7, "-")] == ["0.123", "7", "-"]
