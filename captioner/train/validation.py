"""Validation: captions of the clips kept back, and the scores that choose the best checkpoint.

The scorer is an argument: what counts as good is for who starts a run to say.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from captioner.config import Config
from captioner.data.dataset import ClipDataset, EpochOrder
from captioner.data.loader import EpochLoader
from captioner.data.manifest import Record
from captioner.errors import ConfigError
from captioner.files import write_text
from captioner.inference.predictor import Caption, caption_batch
from captioner.model.batch import collate
from captioner.model.captioner import EmotionCaptioner
from captioner.model.tokenizer import TextPieces, Tokenizer
from captioner.train.checkpoints import random_state, restore_random_state
from captioner.train.engine import pick_precision
from captioner.train.processes import Processes

Scorer = Callable[[Mapping[str, Sequence[str]], Mapping[str, str]], Mapping[str, float]]
Told = tuple[str, Mapping[str, float]]  # a caption's text and its emotions


def autocast_on_gpu(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The number format of training for captions too, on a GPU; a CPU writes them in float32."""
    dtype = pick_precision(precision, device)
    if device.type != "cuda" or dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def predict_captions(
    model: EmotionCaptioner,
    tokenizer: Tokenizer,
    pieces: TextPieces,
    data: ClipDataset,
    config: Config,
    device: torch.device,
    processes: Processes | None = None,
) -> dict[str, Caption]:
    """Captions by id of all clips of a dataset, or of a process's batches; the random state is left as it was.

    Clips that cannot be read have none where the dataset lets others take their place.
    """
    kept = random_state()
    was_training = model.training
    model.eval()
    captions: dict[str, Caption] = {}
    for batch in batches_of(data, config, tokenizer, processes or Processes()):
        made = caption_batch(model, tokenizer, pieces, batch.to(device), config.decode)
        if data.bad is not None:  # found by a loader's worker, whose copy of the data knows it
            data.bad.update(batch.bad)
        captions.update((i, caption) for i, caption in zip(batch.ids, made, strict=True) if i not in batch.bad)
    model.train(was_training)
    restore_random_state(kept)
    return captions


def batches_of(data: ClipDataset, config: Config, tokenizer: Tokenizer, processes: Processes) -> Iterator[Any]:
    """A dataset in order: every batch that is this process's turn."""
    order = list(EpochOrder(len(data), config.train.batch, 0, 0, shuffle=False))
    return EpochLoader(data, config.data, partial(collate, pad_id=tokenizer.pad_id)).epoch(
        order[processes.rank :: processes.size]
    )


def write_validation(path: Path, captions: Mapping[str, Told]) -> None:
    """The captions as JSON lines, by id."""
    lines = [json.dumps({"id": i, "caption": text, "emotion": e}) for i, (text, e) in captions.items()]
    write_text(path, "\n".join(lines) + "\n")


def score_validation(
    records: Sequence[Record], captions: Mapping[str, Told], scorer: Scorer, labels: Sequence[str]
) -> dict[str, float]:
    """The scorer's scores of captions that clips have references for, and how often the emotion is right."""
    records = [record for record in records if record.id in captions]
    refs = {r.id: r.captions for r in records if r.captions}
    scores = dict(scorer(refs, {i: captions[i][0] for i in refs}))
    named = {r.id: r.emotion for r in records if r.emotion in labels}
    beliefs = {i: captions[i][1] for i in named}
    right = [max(beliefs[i], key=beliefs[i].__getitem__) == e for i, e in named.items() if beliefs[i]]
    return scores | ({"emotion accuracy": sum(right) / len(right)} if right else {})


def chosen_score(scores: Mapping[str, float], key: str) -> float:
    """The score that chooses `best`."""
    if key not in scores:
        raise ConfigError(f"train.best_by is {key!r}, the validation gives {', '.join(scores)}")
    return float(scores[key])
