"""Which clips a protocol trains and tests: found in the data set's own layout, split, with the labels they have."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from captioner.data.adapters.emotions_set import EMOTIONS6, read_emotions
from captioner.data.adapters.layout import Videos
from captioner.data.adapters.mafw import FOLDS, read_mafw
from captioner.data.adapters.opinions import read_opinions
from captioner.data.adapters.viewer import VIEWER_SETS, ListedVideos, read_viewer_set
from captioner.data.manifest import Record, read_manifest
from captioner.emotion.clip.opening import find_pair
from captioner.emotion.mer_clip.mer_clip_config import SENTIMENT_VALUES, SENTIMENTS
from captioner.errors import ConfigError, ManifestError
from captioner.files import missing
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.train.emotion.optimising import answers_numbers
from captioner.train.emotion.pair import PERSONS
from captioner.train.emotion.run_config import EmotionDataConfig, EmotionRun
from captioner.train.emotion.splits import official_split, random_split


@dataclass
class Split:
    """Clips of one run and which of them train and test."""

    records: list[Record]
    train: list[int]
    test: list[int]


def find_splits(
    data: EmotionDataConfig, without: Collection[str] = ()
) -> tuple[tuple[str, ...], list[Split], list[str]]:
    """Category names, the splits, and what is to be reported; of a manifest, clips `without` some groups."""
    if not data.root:
        raise ConfigError("data.root is missing: give the dataset's folder, as in --data.root DIR")
    root = Path(data.root)
    if data.dataset == "mafw":
        return MAFW_LABELS, *mafw_folds(root, data)
    if data.dataset == "manifest":
        listed = ListedVideos([r for r in read_manifest(root) if r.emotion and (r.group or r.id) not in without])
        names = tuple(sorted({str(record.emotion) for record in listed.records}))
        listed.notices.append(f"{root.name}: {len(listed.records)} clips with an emotion")
    elif data.dataset == "emotions":
        listed, names = read_emotions(root, data.variant), EMOTIONS6
    elif data.dataset in ("mosi", "mosei"):
        listed, names = read_opinions(root, data.dataset), SENTIMENTS
    else:
        listed = read_viewer_set(root, data.dataset, data.group)
        names = VIEWER_SETS[data.dataset].labels
    if data.protocol == "official":
        pairs = [official_split(listed.records)]
    else:
        pairs = [random_split(listed.records, data.test_share, seed, data.by_group) for seed in range(data.splits)]
    splits = [Split(listed.records, train, test) for train, test in pairs]
    if data.by_group and not any(record.group for record in listed.records):
        raise ManifestError(
            "data.by_group is set, but no video has a group: set data.group, or add a list with a column 'group'"
        )
    return names, splits, listed.notices


def mafw_folds(root: Path, data: EmotionDataConfig) -> tuple[list[Split], list[str]]:
    """MAFW's own folds; clips whose video or label is missing are left out and counted."""
    videos, splits, notices = Videos(root), [], []
    for fold in range(1, min(data.splits, FOLDS) + 1):
        records, absent = [], 0
        for item in read_mafw(root, fold, captioned=False).items:
            path = videos.find(item.names)
            if path is None or item.emotion not in MAFW_LABELS:
                absent += 1
                continue
            records.append(Record(item.id, path, item.split, emotion=item.emotion))
        splits.append(Split(records, *official_split(records)))
        notices.append(f"MAFW, fold {fold}: {len(records)} clips, {absent} without video or label left out")
    return splits, notices


def seen_persons(run: EmotionRun) -> set[str]:
    """The persons whom the run's CLIP pair has learned from and the run is to leave out."""
    if not run.data.unseen:
        return set()
    if run.data.dataset != "manifest":
        raise ConfigError(f"data.unseen is for data.dataset=manifest, here it is {run.data.dataset}: leave it out")
    path = find_pair(run.emotion.clip.source) / PERSONS
    if not path.is_file():
        raise ConfigError(
            f"data.unseen is set, but {missing(path)}: scripts/train.py, recipe pair, writes it into a pair's folder"
        )
    return set(path.read_text(encoding="utf-8").split("\n"))


def settle_labels(run: EmotionRun, labels: Sequence[str]) -> Any:
    """The recogniser's configuration with the dataset's categories."""
    given = run.emotion.labels or list(labels)
    if set(given) != set(labels):
        raise ConfigError(
            f"emotion.labels are [{', '.join(given)}], the dataset has [{', '.join(labels)}]: "
            f"leave emotion.labels out, or only change their order"
        )
    config: Any = run.emotion
    if answers_numbers(config) and not config.answer.values:
        values = [SENTIMENT_VALUES[SENTIMENTS.index(label)] for label in given if label in SENTIMENTS]
        return replace(config, labels=given, answer=replace(config.answer, values=values))
    return replace(config, labels=given)
