"""WordPiece over captions: words to ids, ids to a readable sentence; the pieces that the text encoder sees."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from captioner.errors import CheckpointError, ConfigError, said_in_a_line
from captioner.files import read_small, write_text

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0..4 in a vocabulary of ours

_TIGHT_LEFT = frozenset(".,!?;:%)]}…")  # no space before
_TIGHT_RIGHT = frozenset("([{$#")  # no space after
_CONTRACTED = frozenset(["s", "t", "re", "ve", "ll", "d", "m"])  # what follows the apostrophe of one word
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_UNUSED = re.compile(r"\[unused(\d+)\]")
_ENDS = frozenset(".!?…")
_OPEN_END = re.compile(r"[\s,;:\-]+$")  # a sentence cut short ends on these


FUNCTION_WORDS = frozenset(
    """a an the and or but of to in on at by for from with as is are was were be
    his her their its he she they it him them that this while then who""".split()  # noqa: SIM905
)


class Tokenizer:
    """Lower-cased WordPiece with BERT's splitting; ids of the five special tokens are properties."""

    def __init__(self, backend: tokenizers.Tokenizer, source: str = "the tokenizer") -> None:
        lacking = [name for name in SPECIALS if backend.token_to_id(name) is None]
        fault = f"lacks {', '.join(lacking)}" if lacking else ""
        if not isinstance(backend.model, models.WordPiece):
            fault = f"is {type(backend.model).__name__}"
        if fault:
            raise CheckpointError(f"{source} {fault}; WordPiece with {' '.join(SPECIALS)} is needed")
        self._backend = backend
        backend.encode_special_tokens = True  # "[MASK]" typed in a caption is text, not a mask
        vocabulary = backend.get_vocab()
        ids = [vocabulary[name] for name in SPECIALS]
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = ids
        self.vocab_size: int = backend.get_vocab_size()
        if max(vocabulary.values()) >= self.vocab_size:
            raise CheckpointError(f"{source} numbers its {self.vocab_size} pieces up to {max(vocabulary.values())}")
        # What opens captions in a further manner; BERT's vocabularies have hundreds of such places.
        self._starts = {int(m[1]): i for piece, i in vocabulary.items() if (m := _UNUSED.fullmatch(piece))}
        self._special = frozenset([*ids, *self._starts.values()])

    @classmethod
    def build(cls, captions: Iterable[str], size: int = 4000, min_count: int = 1, styles: int = 1) -> Tokenizer:
        """A vocabulary of at most `size` pieces made from captions, in whatever order they come."""
        normalise, split = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
        counts: Counter[str] = Counter()
        for caption in captions:
            counts.update(word for word, _ in split.pre_tokenize_str(normalise.normalize_str(caption)))
        if not counts:
            raise ConfigError("a vocabulary cannot be built: the captions hold no words")
        inner = sorted({f"##{letter}" for word in counts for letter in word[1:]})
        starts = [f"[unused{style}]" for style in range(1, styles)]
        pieces = [*SPECIALS, *starts, *sorted({letter for word in counts for letter in word}), *inner]
        if len(pieces) > size:
            raise ConfigError(
                f"vocabulary size {size} is below the {len(pieces)} pieces that the captions' letters need"
            )
        known = set(pieces)
        frequent = sorted((-count, word) for word, count in counts.items() if count >= min_count and word not in known)
        pieces += [word for _, word in frequent[: size - len(pieces)]]
        return cls(_backend({piece: index for index, piece in enumerate(pieces)}))

    @classmethod
    def from_file(cls, path: str | Path) -> Tokenizer:
        """The tokenizer saved in a tokenizer.json."""
        if not Path(path).is_file():
            raise CheckpointError(f"no tokenizer at {str(path)!r}")
        return cls(open_tokenizer(Path(path)), repr(str(path)))

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, local_files_only: bool = False, revision: str | None = None
    ) -> Tokenizer:
        """The tokenizer of a folder or hub repository that has a tokenizer.json or a vocab.txt."""
        folder = Path(name_or_folder)
        if folder.is_dir():
            found = next((folder / n for n in ("tokenizer.json", "vocab.txt") if (folder / n).is_file()), None)
            if found is None:
                raise CheckpointError(f"folder {str(folder)!r} has neither tokenizer.json nor vocab.txt")
            return _open(found)
        return _open(_download(str(name_or_folder), local_files_only, revision))

    def vocabulary(self) -> dict[str, int]:
        """The id of every piece."""
        return dict(self._backend.get_vocab())

    def digest(self) -> str:
        """A short digest of pieces and rules."""
        return hashlib.sha256(self._backend.to_str().encode()).hexdigest()[:16]

    def save(self, path: str | Path) -> None:
        """A tokenizer.json at `path`, written atomically."""
        write_text(path, self._backend.to_str(pretty=True))

    @property
    def backend(self) -> tokenizers.Tokenizer:
        """The vocabulary itself."""
        return self._backend

    def start_id(self, style: int = 0) -> int:
        """What opens a caption: [CLS], or [unused1] and so on in a further manner."""
        if style and style not in self._starts:
            raise ConfigError(f"the vocabulary has no [unused{style}] for a further style; build one with styles")
        return self._starts[style] if style else self.cls_id

    def encode(self, caption: str, max_length: int, style: int = 0) -> list[int]:
        """[CLS] pieces [SEP], at most `max_length` ids: a long caption loses its last pieces, never [SEP]."""
        if max_length < 2:
            raise ConfigError(f"max_length {max_length} leaves no room for [CLS] and [SEP]; give at least 2")
        pieces: list[int] = self._backend.encode(caption, add_special_tokens=False).ids
        return [self.start_id(style), *pieces[: max_length - 2], self.sep_id]

    def words(self, ids: Iterable[int]) -> list[tuple[str, list[int]]]:
        """Each word or mark of `ids` with the positions of its pieces; special tokens are left out."""
        words: list[tuple[str, list[int]]] = []
        joinable = False  # a piece continues only the word right before it
        for position, token in enumerate(ids):
            piece = None if token in self._special else self._backend.id_to_token(int(token))
            if piece is None:
                joinable = False
            elif piece.startswith("##") and len(piece) > 2 and joinable:
                word, positions = words[-1]
                words[-1] = (word + piece[2:], [*positions, position])
            else:
                words.append((piece.removeprefix("##") or piece, [position]))
                joinable = True
        return words

    def piece(self, token: int) -> str:
        """The text of one id, without the marks of a word's inside."""
        return (self._backend.id_to_token(token) or "").removeprefix("##")

    def decode(self, ids: Iterable[int]) -> str:
        """The readable text of `ids`: marks tight, sentences capitalised, a full stop at the end."""
        text = _OPEN_END.sub("", _join([word for word, _ in self.words(ids)]))
        if text and text.rstrip("\"')]}")[-1:] not in _ENDS:
            text += "."
        return re.sub(r"(^\W*|[.!?…][\"')\]]*\s+[\"'(\[]*)([^\W\d_])", lambda m: m[1] + m[2].upper(), text)

    def __getstate__(self) -> dict[str, Any]:
        return {"backend": self._backend.to_str()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Tokenizer.__init__(self, tokenizers.Tokenizer.from_str(state["backend"]))


class TextPieces:
    """Captions as ids of the text encoder: the captioner's own vocabulary, or the encoder's."""

    def __init__(self, tokenizer: Tokenizer, foreign: tokenizers.Tokenizer | None, longest: int) -> None:
        self.tokenizer, self.foreign, self.longest = tokenizer, foreign, longest

    def __call__(self, caption: str) -> tuple[list[int], list[bool]]:
        """ids, and which of them are words rather than specials."""
        if self.foreign is None:
            ids = self.tokenizer.encode(caption, self.longest)
            special = (self.tokenizer.cls_id, self.tokenizer.sep_id)
            return ids, [i not in special for i in ids]
        piece = self.foreign.encode(caption)
        words = [not special for special in piece.special_tokens_mask]
        return piece.ids[: self.longest], words[: self.longest]

    def matchable(self, ids: list[int], words: list[bool]) -> list[bool]:
        """Places that an action unit may match: content words; a comma or an article shows on no face."""
        pieces = [self.piece(i).strip().lower() for i in ids]
        return [
            word and text not in FUNCTION_WORDS and any(c.isalnum() for c in text)
            for word, text in zip(words, pieces, strict=True)
        ]

    def piece(self, token: int) -> str:
        """The text of one id."""
        return self.foreign.decode([token]) if self.foreign is not None else self.tokenizer.piece(token)

    def word_at(self, ids: list[int], place: int) -> str:
        """The word that a place belongs to."""
        if self.foreign is not None:
            return self.piece(ids[place]).strip()
        return next((word for word, places in self.tokenizer.words(ids) if place in places), "")


def open_foreign(name: str) -> tokenizers.Tokenizer:
    """The tokenizer of a text encoder that does not share the captioner's vocabulary."""
    try:
        file = Path(name) / "tokenizer.json" if Path(name).is_dir() else Path(name)
        return (
            tokenizers.Tokenizer.from_file(str(file)) if file.exists() else tokenizers.Tokenizer.from_pretrained(name)
        )
    except Exception as error:  # the library raises bare Exception
        cause = str(error).splitlines()[0]
        raise CheckpointError(f"cannot load the tokenizer of the text encoder {name!r}: {cause}") from None


def open_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """The library's tokenizer of a tokenizer.json."""
    try:
        found: tokenizers.Tokenizer = tokenizers.Tokenizer.from_buffer(read_small(path))
        found.encode("a", add_special_tokens=False)  # some files open and cannot be used
        return found
    except CheckpointError:
        raise
    except BaseException as error:  # the library raises bare Exception, and a panic of Rust is not even one
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise CheckpointError(f"{str(path)!r} is not a tokenizer: {said_in_a_line(error)}") from None


def _backend(vocabulary: dict[str, int], lowercase: bool = True) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.add_special_tokens([name for name in SPECIALS if name in vocabulary])
    return backend


def _open(path: Path) -> Tokenizer:
    if path.name != "vocab.txt":
        return Tokenizer.from_file(path)
    pieces = path.read_text(encoding="utf-8").splitlines()
    config = path.with_name("tokenizer_config.json")
    lowercase = json.loads(config.read_text(encoding="utf-8")).get("do_lower_case", True) if config.is_file() else True
    return Tokenizer(_backend({piece: index for index, piece in enumerate(pieces)}, lowercase))


def _download(name: str, local_files_only: bool, revision: str | None) -> Path:
    if not _HUB_NAME.fullmatch(name):
        raise CheckpointError(f"no tokenizer for {name!r}: no such folder, and a hub name looks like owner/name")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for file in ("tokenizer.json", "vocab.txt"):
        try:
            return Path(hf_hub_download(name, file, revision=revision, local_files_only=local_files_only))
        except Exception as error:  # network, name, permission: the library has a dozen types for them
            cause = error
            uncached = isinstance(error, LocalEntryNotFoundError)
            if (uncached and not local_files_only) or not isinstance(error, EntryNotFoundError):
                break  # the other file would fail in the same way, after another timeout
    fault = _line(cause)
    if uncached:
        fault = "not in the local cache; " + ("allow the network once" if local_files_only else "no network")
    raise CheckpointError(f"no tokenizer for {name!r}: no such folder; on the hub: {fault}") from cause


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _join(words: list[str]) -> str:
    """Words and marks as one text, with spaces where English has them."""
    text = ""
    glue = True  # no space before the next word
    quoted = False
    for index, word in enumerate(words):
        before, after = words[index - 1] if index else "", words[index + 1] if index + 1 < len(words) else ""
        tight_left, tight_right = _spacing(word, before, after, quoted)
        quoted ^= word == '"'
        text += word if glue or tight_left else f" {word}"
        glue = tight_right
    return re.sub(r"\bi\b(?!-|\.e)", "I", text)


def _spacing(word: str, before: str, after: str, quoted: bool) -> tuple[bool, bool]:
    """Whether `word` clings to the word before it, and to the word after it."""
    if word == '"':
        return quoted, not quoted
    if word == "'":
        inside = after in _CONTRACTED and before[-1:].isalnum()
        return inside or before.endswith("s"), inside
    if word in "-/" or (word in ".,:" and before.isdigit() and after.isdigit()):
        inside = before[-1:].isalnum() and after[:1].isalnum()
        return inside, inside
    return word in _TIGHT_LEFT, word in _TIGHT_RIGHT
