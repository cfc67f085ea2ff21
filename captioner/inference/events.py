"""The event of a clip by a public captioner, through transformers: what it writes is marked as not measured.

GIT-VATEX and its like take several frames, BLIP and its like the middle one. What they say of people is made to agree
with what was measured (`event_words.py`); the face stays ours.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from captioner.data.inputs import ReadClip
from captioner.errors import CheckpointError
from captioner.inference.claims import THRESHOLDS, Supports
from captioner.inference.event_words import reconcile
from captioner.inference.results import Caption

log = logging.getLogger(__name__)

WEIGHTS = "*.safetensors"
WANTED = ["*.json", "*.txt", "*.model", WEIGHTS]  # of a repository; nothing that would have to be unpickled
BEAMS, LONGEST = 4, 40  # of the search; word pieces
NOT_MEASURED = "by {}, not measured"
_FIT = "give an image- or video-to-text captioner, such as microsoft/git-base-vatex"


@dataclass(frozen=True)
class EventTeller:
    """A public captioner of pictures or videos: `EventTeller.load(name)`, then `.tell(frames)`."""

    name: str
    model: Any
    pictures: Any
    """Its image processor."""
    words: Any
    """Its tokenizer."""
    frames: int
    """How many it takes of a clip."""

    @classmethod
    def load(cls, name: str, device: torch.device | str = "cpu", offline: bool = False) -> EventTeller:
        """From a folder, or from the hub, visibly, where it is not in the cache yet."""
        folder = find_teller(name, offline)
        try:
            import transformers
        except ImportError:
            raise CheckpointError("events need the package transformers: pip install transformers") from None
        kind = _kind_of(folder, name, transformers)
        bars = transformers.utils.logging
        shown = bars.is_progress_bar_enabled()
        bars.disable_progress_bar()
        try:
            pictures = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
            words = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model, told = transformers.AutoModelForImageTextToText.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
            )
        except Exception as error:  # of many kinds: a file missing, cut off, of another model
            raise CheckpointError(f"{name!r} cannot be loaded as a {kind} model: {_first_line(error)}") from None
        finally:
            if shown:
                bars.enable_progress_bar()
        lacking = sorted(map(str, (*told["missing_keys"], *told["mismatched_keys"])))
        if lacking:
            raise CheckpointError(f"{name!r} lacks {len(lacking)} weights of its {kind} model, such as {lacking[0]}")
        frames = int(getattr(model.config, "num_image_with_embedding", None) or 1)
        return cls(name, model.to(device).eval(), pictures, words, frames)

    @property
    def source(self) -> str:
        """Whose words they are, as JSON, tables and pages say it."""
        return NOT_MEASURED.format(self.name)

    @torch.inference_mode()
    def tell(self, frames: NDArray[np.uint8]) -> str:
        """What it says of a clip (T, H, W, 3), word for word; the same clip gives the same words."""
        middles = (np.arange(self.frames) + 0.5) / self.frames * len(frames)  # the middle of equal parts
        chosen = [frames[int(place)] for place in middles]
        try:
            pixels = self.pictures(images=chosen, return_tensors="pt")["pixel_values"].to(self.model.device)
            if self.frames > 1 and pixels.ndim == 4:  # processors of videos make one clip of them themselves
                pixels = pixels[None]  # (1, N, 3, H, W)
            ids = self.model.generate(pixel_values=pixels, num_beams=BEAMS, do_sample=False, max_new_tokens=LONGEST)
        except (TypeError, ValueError, KeyError, RuntimeError, AttributeError, IndexError) as error:
            cause = _first_line(error)
            raise CheckpointError(f"{self.name!r} cannot caption a picture by itself: {cause}; {_FIT}") from None
        return str(self.words.decode(ids[0], skip_special_tokens=True))


def find_teller(name: str, offline: bool) -> Path:
    """The folder of a public captioner: a path, or a hub repository, fetched once and visibly."""
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise CheckpointError(f"{name!r} is no folder and no hub repository owner/name: {_FIT}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=WANTED))
        if list(folder.glob(WEIGHTS)):  # else an interrupted fetch
            return folder
    except (LocalEntryNotFoundError, ValueError, OSError):
        pass
    if offline or os.environ.get("HF_HUB_OFFLINE"):
        raise CheckpointError(f"{name!r} is not in the cache: fetch it once with a connection: `hf download {name}`")
    log.info("fetching %s from the hub (public captioner for events)", name)
    try:
        return Path(snapshot_download(name, allow_patterns=WANTED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise CheckpointError(f"{name!r} cannot be fetched from the hub: {_first_line(error)}") from None


def _kind_of(folder: Path, name: str, transformers: Any) -> str:
    """The kind of model in a folder, which must be one that captions pictures; read before anything is built."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(f"{name!r} has no config.json of transformers: {_FIT}") from None
    if not list(folder.glob(WEIGHTS)):
        raise CheckpointError(f"{name!r} has no {WEIGHTS}: weights of other formats are not read, they could run code")
    known = transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if kind not in known:
        raise CheckpointError(f"{name!r} is a {kind} model, which captions no pictures: {_FIT}")
    return kind


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def add_events(
    teller: EventTeller,
    rows: Sequence[tuple[ReadClip, int]],
    captions: Sequence[Caption],
    supports: Sequence[Mapping[str, Any] | None],
    neutral: bool = False,
) -> None:
    """Let captions begin with the teller's event; each clip is told once, however many people of it are described.

    neutral: nobody is called woman or man.
    """
    told: dict[int, str] = {}
    for (clip, _), caption, measured in zip(rows, captions, supports, strict=True):
        if clip.pictures is None:
            continue
        if id(clip) not in told:
            told[id(clip)] = teller.tell(clip.pictures.frames)
        people = len(clip.tracks if clip.readings is None else clip.readings)
        sentence = reconcile(told[id(clip)], people, () if neutral else known_genders(measured or {}))
        if sentence:
            put_event(caption, sentence, teller.source)
        else:
            log.warning("%s: %s says nothing of it", clip.source, teller.name)


def known_genders(measured: Supports) -> list[str]:
    """Of man and woman what a caption may say of the person it is about."""
    found = measured.get("gender", {})
    return [name for name, support in found.items() if support.probability >= THRESHOLDS["gender"]]


def put_event(caption: Caption, sentence: str, source: str) -> None:
    """Put a sentence in the place of a caption's own event, where the face has sentences behind it; else before all."""
    own = caption.text.partition(".")[0] + "."
    face = caption.text[len(own) :].lstrip()
    apart = bool(caption.phrases) and all(each.start >= len(own) for each in caption.phrases)
    kept = face if face and apart else caption.text
    moved = len(sentence) + 1 - (len(caption.text) - len(kept))
    caption.phrases = [replace(each, start=each.start + moved, end=each.end + moved) for each in caption.phrases]
    caption.text = f"{sentence} {kept}".strip()
    caption.event, caption.event_source = sentence, source
