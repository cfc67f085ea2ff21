"""From a video to a Caption: the object that `captioner.load()` returns."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from captioner.config import DecodeConfig
from captioner.data.dataset import TextPieces, collate, look
from captioner.data.tokenizer import Tokenizer
from captioner.errors import CaptionerError, ConfigError
from captioner.model import checkpoint
from captioner.model.captioner import Batch, EmotionCaptioner, View
from captioner.model.decoding import Special, Written, write
from prompts.alignment import Matching
from prompts.au_graph import MAIN_AUS


@dataclass
class ActionUnit:
    """An action unit the experts saw, and the word of the caption that it supports."""

    id: int
    name: str
    score: float  # mean over frames, 0..1
    peak: float | None  # second of its highest score
    words: list[str] = field(default_factory=list)
    similarity: float | None = None  # cosine of the AU with that word


@dataclass
class Caption:
    """What `caption` says of a clip and why."""

    text: str
    score: float  # exp(mean log-probability of the words)
    words: list[dict[str, Any]]  # {word, log_prob}
    emotion: dict[str, float]  # label -> probability; empty for models without an emotion head
    action_units: list[ActionUnit]
    faces: int
    start: float
    end: float
    frames: list[float] = field(default_factory=list)  # seconds of the frames looked at
    source: str = ""
    model: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def pick_device(name: str = "auto") -> torch.device:
    """The device asked for; "auto" takes CUDA, then MPS, then the CPU. An absent one is an error."""
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    kind = name.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"unknown device {name!r}; allowed: auto, cpu, cuda, cuda:N, mps")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not has_mps):
        raise ConfigError(f"device {name!r} is not available on this machine: use --device cpu or auto")
    return torch.device(name)


def special_ids(tokenizer: Tokenizer, styles: Sequence[str] = (), style: str = "") -> Special:
    """The ids decoding must know, for one of the model's styles ("": the first)."""
    if style and style not in styles:
        known = f"allowed: {', '.join(styles)}" if styles else "this model has one manner of captions: leave it out"
        raise ConfigError(f"unknown style {style!r}; {known}")
    starts = [tokenizer.start_id(number) for number in range(max(1, len(styles)))]
    start = starts[styles.index(style)] if style else starts[0]
    return Special(start, tokenizer.sep_id, tokenizer.mask_id, tokenizer.pad_id, tuple(starts))


@torch.inference_mode()
def caption_batch(
    model: EmotionCaptioner, tokenizer: Tokenizer, pieces: TextPieces, batch: Batch, options: DecodeConfig
) -> list[Caption]:
    """Captions of a batch with their evidence; peaks are shares of the clip until the caller knows its times."""
    view = model.see(batch)
    written = write(model.fusion, view.memory, special_ids(tokenizer, model.config.styles, options.style), options)
    texts = [tokenizer.decode(w.ids) for w in written]
    links = match_words(model, view, pieces, texts)
    belief = view.emotion.tolist() if view.emotion is not None else None
    captions = []
    for row, (text, result) in enumerate(zip(texts, written, strict=True)):
        emotion = dict(zip(model.config.labels, belief[row], strict=True)) if belief else {}
        captions.append(
            Caption(
                text=text,
                score=result.score,
                words=word_scores(tokenizer, result),
                emotion=emotion,
                action_units=action_units(view, row, links[row], model.config.prompts.threshold),
                faces=int(view.experts.present[row]) if view.experts is not None else 0,
                start=0.0,
                end=0.0,
            )
        )
    return captions


def word_scores(tokenizer: Tokenizer, written: Written) -> list[dict[str, Any]]:
    """Each word with the summed log-probability of its pieces."""
    scores = []
    for word, places in tokenizer.words(written.ids):
        scores.append({"word": word, "log_prob": sum(written.log_probs[p - 1] for p in places)})
    return scores


def match_words(
    model: EmotionCaptioner, view: View, pieces: TextPieces, texts: list[str]
) -> list[list[tuple[str, float]]]:
    """For each clip and kept action unit: the word matched to it ("" for none) and their cosine."""
    if view.au is None or not model.aligned or model.config.prompts.au_word == "off":
        return [[] for _ in texts]
    encoded = [pieces(text or ".") for text in texts]
    longest = max(len(ids) for ids, _ in encoded)
    device = view.au.device

    def padded(rows: list[list[Any]], dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor([list(r) + [0] * (longest - len(r)) for r in rows], dtype=dtype, device=device)

    ids = padded([ids for ids, _ in encoded], torch.long)
    mask = padded([[1] * len(ids) for ids, _ in encoded], torch.bool)
    usable = padded([pieces.matchable(ids, words) for ids, words in encoded], torch.bool)
    matching: Matching | None = model.evidence(view, ids, mask, usable)
    assert matching is not None
    rows = []
    for (row_ids, _), places, values in zip(encoded, matching.word.tolist(), matching.similarity.tolist(), strict=True):
        rows.append([(pieces.word_at(row_ids, p) if p >= 0 else "", v) for p, v in zip(places, values, strict=True)])
    return rows


def action_units(view: View, row: int, links: list[tuple[str, float]], threshold: float) -> list[ActionUnit]:
    """The kept action units of a clip, most conspicuous first; `peak` still a share of the clip."""
    if view.au_index is None or view.experts is None or not bool(view.experts.present[row]):
        return []
    numbers, units = list(MAIN_AUS), []
    for slot, place in enumerate(view.au_index[row].tolist()):
        number = numbers[place]
        curve = view.experts.au_frames[row, :, place]
        word, similarity = links[slot] if links else ("", 0.0)
        word = word if similarity > threshold else ""  # eq 11: a weaker pair is no pair
        units.append(
            ActionUnit(
                id=number,
                name=MAIN_AUS[number],
                score=float(view.experts.au_scores[row, place]),
                peak=float(curve.argmax()) / max(len(curve) - 1, 1),
                words=[word] if word else [],
                similarity=similarity if word else None,
            )
        )
    return units


class Captioner:
    """A loaded captioner: `Captioner.from_pretrained(name)`, then `.caption(video)`."""

    def __init__(self, loaded: checkpoint.Checkpoint, device: torch.device | str = "cpu") -> None:
        self.checkpoint = loaded
        self.device = torch.device(device)
        self.model = loaded.model.to(self.device).eval()
        self.tokenizer = loaded.tokenizer
        self.pieces = TextPieces(loaded.tokenizer, loaded.foreign, self.model.config.fusion.max_text)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path | None = None,
        *,
        device: str = "auto",
        revision: str | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> "Captioner":
        """A captioner by shipped name, checkpoint folder or hub repository."""
        chosen = pick_device(device)
        return cls(checkpoint.load(name, offline=local_files_only, revision=revision, cache_dir=cache_dir), chosen)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the checkpoint folder that `from_pretrained` reads."""
        loaded = self.checkpoint
        checkpoint.save(folder, self.model, self.tokenizer, foreign=loaded.foreign, meta=loaded.meta, card=loaded.card)

    def push_to_hub(self, repo_id: str, *, private: bool = False, commit_message: str = "Add captioner") -> str:
        """Upload the checkpoint folder to the hub; returns the commit's address."""
        from tempfile import TemporaryDirectory

        from huggingface_hub import HfApi

        api = HfApi()
        api.create_repo(repo_id, private=private, exist_ok=True)
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            self.save_pretrained(folder)
            if self.checkpoint.card:  # where the hub looks for a card
                (folder / "README.md").write_text(self.checkpoint.card, encoding="utf-8")
            done = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message)
        return str(done)

    def caption(
        self,
        source: Any,
        *,
        beams: int = 1,
        max_words: int | None = None,
        start: float = 0.0,
        end: float | None = None,
    ) -> Caption:
        """The caption of a video file (or open file), or of its span from `start` to `end` seconds."""
        options = DecodeConfig(beams=beams, max_words=max_words or 0)
        seen = look(source, self.model.config, start=start, end=end)
        batch = collate([seen.item()]).to(self.device)
        try:
            result = caption_batch(self.model, self.tokenizer, self.pieces, batch, options)[0]
        except torch.OutOfMemoryError:
            raise CaptionerError(f"{self.device} is out of memory: use --device cpu") from None
        result.start, result.end, result.frames = seen.times[0], seen.times[-1], seen.times
        result.source, result.model = str(source), self.checkpoint.name
        result.faces = seen.people or result.faces
        for unit in result.action_units:
            unit.peak = round(result.start + (unit.peak or 0.0) * (result.end - result.start), 3)
        return result
