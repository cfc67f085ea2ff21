"""Two styles of captions in one model: each opens with a token of its own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from captioner.config import DecodeConfig, TrainConfig
from captioner.data.dataset import ClipDataset
from captioner.data.manifest import Record
from captioner.errors import ConfigError
from captioner.inference.predictor import special_ids
from captioner.model.decoding import decode_captions
from captioner.model.tokenizer import Tokenizer
from tests.helpers import tiny_batch, tiny_config, tiny_model

FACES = ["A woman talks. The frown.", "A woman speaks. The furrowed brow."]
FEELINGS = ["a woman talks angrily in the room"]
STYLES = ["faces", "feelings"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.build([*FACES, *FEELINGS], styles=2)


def record(style: str, captions: list[str], **extra: list[str]) -> Record:
    return Record("clip", Path("clip.mp4"), "train", captions, extra={"manner": style, **extra})


def opened(tokenizer: Tokenizer, one: Record, captions: int, seed: int = 0) -> list[tuple[bool, str]]:
    """Of each caption to learn: whether it opens as the second style, and its text."""
    config = replace(tiny_config("prompts.mask_words=0.01"), styles=STYLES, vocab_size=tokenizer.vocab_size)
    data = ClipDataset([one], config, tokenizer, train=TrainConfig())
    learned = data.caption_targets(one, captions, torch.Generator().manual_seed(seed))
    whole = [
        [shown if asked < 0 else asked for shown, asked in zip(*rows, strict=True)]
        for rows in zip(learned.masked, learned.targets, strict=True)
    ]
    return [(ids[0] == tokenizer.start_id(1), tokenizer.decode(ids)) for ids in whole]


def test_start_tokens_are_never_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert tokenizer.start_id(0) == tokenizer.cls_id != tokenizer.start_id(1)
    ids = tokenizer.encode(FEELINGS[0], 20, style=1)
    assert ids[0] == tokenizer.start_id(1)
    assert tokenizer.decode(ids) == "A woman talks angrily in the room."
    assert tokenizer.start_id(1) not in tokenizer.encode("[unused1] frowns", 20)
    tokenizer.save(tmp_path / "tokenizer.json")
    assert Tokenizer.from_file(tmp_path / "tokenizer.json").start_id(1) == tokenizer.start_id(1)
    with pytest.raises(ConfigError, match="no \\[unused2\\]"):
        tokenizer.start_id(2)


def test_captions_of_both_styles_are_learned_in_turn(tokenizer: Tokenizer) -> None:
    found = opened(tokenizer, record("faces", FACES, feelings=FEELINGS), captions=4)
    assert [second for second, _ in found] == [False, True, False, True]
    assert {text for second, text in found if not second} == set(FACES)
    assert {text for second, text in found if second} == {"A woman talks angrily in the room."}


def test_a_clip_told_in_one_style_is_learned_in_that_one(tokenizer: Tokenizer) -> None:
    assert [second for second, _ in opened(tokenizer, record("faces", FACES), captions=2)] == [False, False]
    assert [second for second, _ in opened(tokenizer, record("feelings", FEELINGS), captions=2)] == [True, True]


def test_the_style_decides_how_a_caption_opens(tokenizer: Tokenizer) -> None:
    model = tiny_model()
    with torch.inference_mode():
        memory = model.see(tiny_batch(model.config, 1)).memory
    texts = {}
    for style in ("", *STYLES):
        special = special_ids(tokenizer, STYLES, style)
        written = decode_captions(model.fusion, memory, special, DecodeConfig(style=style))[0]
        assert written.ids[0] == tokenizer.start_id(int(style == "feelings"))
        assert not {tokenizer.cls_id, tokenizer.start_id(1)} & set(written.ids[1:])
        texts[style] = written.ids
    assert texts[""] == texts["faces"]


@pytest.mark.parametrize(
    ("styles", "message"),
    [(STYLES, "unknown style 'moods'; allowed: faces, feelings"), ([], "this model has one style of captions")],
)
def test_unknown_styles_are_refused(tokenizer: Tokenizer, styles: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        special_ids(tokenizer, styles, "moods")
