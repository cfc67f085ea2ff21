"""The tokenizer: deterministic vocabulary, ids that survive saving, sentences that read well."""

import json
import pickle
from pathlib import Path

import pytest

from captioner.errors import CheckpointError, ConfigError
from captioner.model.tokenizer import SPECIALS, Tokenizer

CAPTIONS = [
    "A woman talks to the person in front of her. The frown and the wrinkled nose.",
    'A middle-aged man in a black suit says, "I\'m fine!" The lip corners pulled down.',
    "The girl's mother (in red) doesn't answer; she has 2.5 seconds, or 10%? Lids wide.",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.build(CAPTIONS)


def test_specials_come_first_and_the_order_of_captions_does_not_matter(tokenizer: Tokenizer) -> None:
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id) == (
        0,
        1,
        2,
        3,
        4,
    )
    again = Tokenizer.build(reversed(CAPTIONS))
    assert again.encode(CAPTIONS[1], 99) == tokenizer.encode(CAPTIONS[1], 99)
    assert again.vocab_size == tokenizer.vocab_size


def test_whole_words_are_ordered_by_count_then_name() -> None:
    tokenizer = Tokenizer.build(["bb bb aa aa cc cc cc"])
    # a b c, ##a ##b ##c, then the words
    assert tokenizer.encode("a c cc aa bb", 10)[1:-1] == [5, 7, 11, 12, 13]
    assert tokenizer.vocab_size == 14


@pytest.mark.parametrize("caption", CAPTIONS)
def test_a_caption_comes_back_as_it_was_written(tokenizer: Tokenizer, caption: str) -> None:
    ids = tokenizer.encode(caption, 99)
    assert ids[0] == tokenizer.cls_id
    assert ids[-1] == tokenizer.sep_id
    assert tokenizer.decode(ids) == caption
    assert tokenizer.decode([*ids, tokenizer.pad_id, tokenizer.pad_id]) == caption


def test_a_cut_caption_keeps_its_end_token_and_ends_with_a_full_stop(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(CAPTIONS[1], 12)
    assert len(ids) == 12
    assert ids[-1] == tokenizer.sep_id
    assert tokenizer.decode(ids) == "A middle-aged man in a black suit says."
    with pytest.raises(ConfigError, match="max_length 1 leaves no room"):
        tokenizer.encode("a", 1)


def test_unseen_words_are_spelled_and_unseen_letters_are_unknown(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("The lipstick", 20)
    assert tokenizer.unk_id not in ids
    assert tokenizer.decode(ids) == "The lipstick."
    assert tokenizer.encode("漢", 5)[1] == tokenizer.unk_id
    assert tokenizer.decode(tokenizer.encode("漢", 5)) == ""


def test_words_carry_the_positions_of_their_pieces(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("The lipstick frown.", 30)
    words = tokenizer.words(ids)
    assert [word for word, _ in words] == ["the", "lipstick", "frown", "."]
    assert [position for _, positions in words for position in positions] == list(range(1, len(ids) - 1))
    assert len(words[1][1]) > 1


def test_a_piece_after_a_special_token_starts_its_own_word(tokenizer: Tokenizer) -> None:
    the, inner = tokenizer.encode("the", 5)[1], tokenizer.encode("zt", 5)
    piece = next(i for i in range(tokenizer.vocab_size) if tokenizer.words([the, i]) == [("thea", [0, 1])])
    assert tokenizer.words([the, tokenizer.mask_id, piece]) == [("the", [0]), ("a", [2])]
    assert inner[1] == tokenizer.unk_id  # no caption begins a word or piece with z


def test_special_names_typed_in_a_caption_are_plain_text(tokenizer: Tokenizer) -> None:
    copy = pickle.loads(pickle.dumps(tokenizer))
    for each in (tokenizer, copy):
        assert each.mask_id not in each.encode("[MASK] the frown", 30)
        assert each.sep_id not in each.encode("[SEP] the frown", 30)[:-1]


def test_saving_and_loading_keep_the_ids(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    for again in (Tokenizer.from_file(tmp_path / "tokenizer.json"), Tokenizer.from_pretrained(tmp_path)):
        assert again.vocab_size == tokenizer.vocab_size
        assert all(again.encode(text, 40) == tokenizer.encode(text, 40) for text in CAPTIONS)
        assert again.mask_id not in again.encode("[MASK]", 30)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_bert_vocabulary_file_is_read_with_its_own_ids(tmp_path: Path) -> None:
    pieces = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "frown", "##s", ".", "The"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert tokenizer.encode("The frowns.", 10) == [3, 6, 7, 8, 9, 4]
    assert tokenizer.decode([3, 6, 7, 8, 9, 4]) == "The frowns."
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert Tokenizer.from_pretrained(tmp_path).encode("The frowns.", 10) == [3, 10, 7, 8, 9, 4]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ('she says : " stop " . he doesn \' t', 'She says: "stop". He doesn\'t.'),
        ("the girls ' eyes , wide", "The girls' eyes, wide."),
        ("what ? i see him ( angry )", "What? I see him (angry)."),
        ("a man , a woman ,", "A man, a woman."),
        ("what did he say ?", "What did he say?"),
        ("the well - known 10 : 30 train , 1 , 000 people", "The well-known 10:30 train, 1,000 people."),
    ],
)
def test_spacing_follows_english(words: str, sentence: str) -> None:
    tokenizer = Tokenizer.build([words])
    assert tokenizer.decode(tokenizer.encode(words, 60)) == sentence


def test_nothing_decodes_to_nothing(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([tokenizer.cls_id, tokenizer.sep_id]) == ""
    assert tokenizer.decode([]) == ""


def test_a_vocabulary_needs_words_and_room() -> None:
    with pytest.raises(ConfigError, match="captions hold no words"):
        Tokenizer.build([" "])
    with pytest.raises(ConfigError, match="vocabulary size 6 is below the 12 pieces"):
        Tokenizer.build(["abcd"], size=6)
    assert Tokenizer.build(["abcd abcd efg"], size=20, min_count=2).vocab_size == len(SPECIALS) + 7 + 5 + 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no tokenizer at"),
        ("not json", "is not a tokenizer: "),
        (
            '{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}',
            "tokenizer.json' is WordLevel; WordP",
        ),
    ],
)
def test_a_wrong_file_is_named_in_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        Tokenizer.from_file(path)
    assert "\n" not in str(caught.value)


def test_unreachable_names_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="has neither tokenizer"):
        Tokenizer.from_pretrained(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"'nobody/none': .* not in the local cache; allow"):
        Tokenizer.from_pretrained("nobody/none", local_files_only=True)
    with pytest.raises(CheckpointError, match="no such folder, and a hub name looks like owner/name"):
        Tokenizer.from_pretrained(tmp_path / "gone")
